"""A task by picking the objects of a scene."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from PySide6.QtCore import Qt
from PySide6.QtGui import QIcon, QImage, QPixmap
from PySide6.QtWidgets import QComboBox, QFormLayout, QLabel, QLineEdit, QWidget

from app.gui.page import Notice
from app.gui.settings_form import NoWheel
from app.gui.sizes import Thing, misfit, unsteady, usual_place, usual_thing, vessels_first
from app.gui.thing_pictures import PICTURE

IN, CLEAR, ON = 0, 6, (1, 4)
"""Numbers of verbs in `TaskChooser.verbs`: to put in, to clear away, and to stand on."""
PADDING_PX = 7
"""Of a box around its picture."""


@dataclass(frozen=True)
class Verb:
    """A kind of task, as the page offers it.

    Attributes:
        name: for people.
        words: the sentence, with places for the thing and where it goes.
    """

    name: str
    words: str


@dataclass(frozen=True)
class Chosen:
    """What is chosen in a `TaskChooser`.

    Attributes:
        verb: number of the verb.
        what: the thing's name.
        where: the place's name.
        typed: the sentence where it was typed, else "".
    """

    verb: int = 0
    what: str = ""
    where: str = ""
    typed: str = ""


class TaskChooser(QWidget):
    """A task by picking the objects: a verb, what is moved, where to, and the sentence that it makes."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._wanted = Chosen()  # where there are no things yet to choose it of
        self._things: dict[str, Thing] = {}
        self._pictures: dict[str, QIcon] = {}
        self.verbs = (
            Verb(self.tr("Put … in …"), "put {what} in {where}"),
            Verb(self.tr("Stack … on …"), "stack {what} on {where}"),
            Verb(self.tr("Pick up …"), "pick up {what}"),
            Verb(self.tr("Push …"), "push {what}"),
            Verb(self.tr("Put … on …"), "put {what} on {where}"),
            Verb(self.tr("Put … next to …"), "put {what} next to {where}"),
            Verb(self.tr("Clear the table into …"), "clear the table into {where}"),
        )
        self.verb, self.what, self.where = QComboBox(self), QComboBox(self), QComboBox(self)
        self.verb.addItems([verb.name for verb in self.verbs])
        self.sentence = QLineEdit(self)
        self._form = QFormLayout(self)
        self._form.setContentsMargins(0, 0, 0, 0)
        self._form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self._labels: dict[QWidget, QLabel] = {}
        for name, control, tip in (
            (self.tr("Do"), self.verb, self.tr("What the robot is to do.")),
            (self.tr("Thing"), self.what, self.tr("The thing that the robot moves, by its name in the scene.")),
            (self.tr("Place"), self.where, self.tr("Where the thing is brought.")),
            (
                self.tr("Task"),
                self.sentence,
                self.tr("The sentence that the choices make. It may also be typed, with the names of the scene."),
            ),
        ):
            control.setToolTip(tip)
            self._labels[control] = self.add_row(name, control)
        for box in (self.verb, self.what, self.where):
            box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
            box.currentIndexChanged.connect(self._say)
            box.installEventFilter(NoWheel(box))
        for box in (self.what, self.where):
            box.setIconSize(PICTURE)
            self._labels[box].setMinimumHeight(PICTURE.height() + 2 * PADDING_PX)  # beside the middle of the picture
        self.misfit = QLabel(self)
        self.misfit.setObjectName("faint")
        self.misfit.setWordWrap(True)
        self.misfit.setTextFormat(Qt.TextFormat.PlainText)
        self.senseless = Notice("stale", self)
        self._form.addRow(self.misfit)
        self._form.addRow(self.senseless)
        self.sentence.textChanged.connect(self._say_misfit)
        self._say_misfit()

    def add_row(self, name: str, control: QWidget) -> QLabel:
        """One more control below the others, in line with them."""
        said = QLabel(name, self)
        said.setBuddy(control)
        said.setToolTip(control.toolTip())
        control.setAccessibleName(name)
        self._form.addRow(said, control)
        return said

    def show_objects(self, objects: Sequence[Mapping[str, Any]]) -> None:
        """Offer a scene's objects; what is chosen of them stays chosen, under another name, too."""
        things = [Thing.of(entry) for entry in objects if isinstance(entry, dict) and "name" in entry]
        names, before = [thing.name for thing in things], list(self._things)
        self._things = {thing.name: thing for thing in things}
        if names == before and self.what.count() == len(names):
            self._say_misfit()  # a size may be another
            return
        chosen = self.chosen()
        for box, rows in ((self.what, names), (self.where, [thing.name for thing in vessels_first(things)])):
            box.blockSignals(True)
            box.clear()
            for name in rows:
                box.addItem(self._picture(name), name)
        place, wanted = _now(chosen.where, before, names), _now(chosen.what, before, names)
        self.where.setCurrentText(place if place in names else usual_place(things))
        self.what.setCurrentText(wanted if wanted in names else usual_thing(things, self.where.currentText()))
        for box in (self.what, self.where):
            box.blockSignals(False)
        self._say()
        self._wanted = Chosen() if names else chosen
        if names and chosen.typed:
            self.sentence.setText(chosen.typed)
            self.sentence.setCursorPosition(0)

    def set_picture(self, name: str, picture: QImage) -> None:
        """A thing looks like this."""
        self._pictures[name] = QIcon(QPixmap.fromImage(picture))
        for box in (self.what, self.where):
            if (index := box.findText(name)) >= 0:
                box.setItemIcon(index, self._pictures[name])

    def has_picture(self, name: str) -> bool:
        """Whether it is known what a thing looks like."""
        return name in self._pictures

    def _picture(self, name: str) -> QIcon:
        """As long as there is none, as much room: nothing jumps when it comes."""
        if name in self._pictures:
            return self._pictures[name]
        blank = QPixmap(PICTURE)
        blank.fill(Qt.GlobalColor.transparent)
        return QIcon(blank)

    def chosen(self) -> Chosen:
        """What is chosen now, to be chosen again later."""
        verb = max(self.verb.currentIndex(), 0)
        if not self.what.count():
            return replace(self._wanted, verb=verb)
        typed = self.sentence.text()
        return Chosen(
            verb,
            self.what.currentText(),
            self.where.currentText(),
            typed if typed.strip() and typed != self._made() else "",
        )

    def choose(self, chosen: Chosen) -> None:
        """Choose this, of the things that are shown next, which are of another scene."""
        for box in (self.what, self.where):
            box.blockSignals(True)
            box.clear()
            box.blockSignals(False)
        self._things, self._pictures = {}, {}
        self._wanted = chosen
        self.verb.setCurrentIndex(chosen.verb)
        self._say()

    def pick(self, name: str) -> None:
        """Choose what is moved."""
        index = self.what.findText(name)
        if index >= 0:
            self.what.setCurrentIndex(index)
            self._say()

    def words(self) -> str:
        """The task.

        Raises:
            ValueError: there is none.
        """
        text = " ".join(self.sentence.text().split())
        if not text:
            raise ValueError(self.tr("No task is chosen."))
        if text == self._made() and "{where}" in self._words() and self.what.currentText() == self.where.currentText():
            raise ValueError(self.tr("A thing cannot be brought to itself: choose another place."))
        return text

    def _words(self) -> str:
        return self.verbs[max(self.verb.currentIndex(), 0)].words

    def _made(self) -> str:
        return self._words().format(what=self.what.currentText(), where=self.where.currentText())

    def _say(self) -> None:
        words = self._words()
        for box, place in ((self.what, "{what}"), (self.where, "{where}")):
            box.setVisible(place in words)
            self._labels[box].setVisible(place in words)
        self.sentence.setText(self._made() if self.what.count() else "")
        self.sentence.setCursorPosition(0)
        self._say_misfit()

    def _say_misfit(self) -> None:
        """Say at once what otherwise hours of practising would."""
        thing, place = self._things.get(self.what.currentText()), self._things.get(self.where.currentText())
        verb, hard, senseless = self.verb.currentIndex(), "", ""
        if place is None or self.chosen().typed:
            pass
        elif verb == CLEAR:
            senseless = self._why_not_into(place)
        elif thing is not None and thing != place and verb in (IN, *ON):
            long, high, open_ = (round(100 * side) for side in (thing.long_m, thing.sides_m[1], place.across_m))
            words = {
                "long": self.tr(
                    "{0} is longer ({1} cm) than {2} is wide ({3} cm): it has to be leaned in, and may come to lie "
                    "across it."
                ),
                "small": self.tr("{0} is small ({1} cm): the cameras hardly see it. A larger thing is learnt better."),
                "large": self.tr("{0} ({1} × {4} cm) does not fit into {2}, which is {3} cm wide."),
                "broad": self.tr("{0} is broader than {2}: it will hardly stay on it."),
                "tall": self.tr("{2} is tall and slender: what stands on it tips it over."),
            }
            kind = misfit(thing, place) if verb == IN else unsteady(thing, place)
            said = words[kind].format(thing.name, long, place.name, open_, high) if kind else ""
            hard, senseless = (said, "") if kind in ("long", "small") else ("", said)
        self.misfit.setText(hard)
        self.misfit.setVisible(bool(hard))
        self.senseless.say(senseless)

    def _why_not_into(self, place: Thing) -> str:
        """Why all things will not go into a place, as far as its name tells; "" where they may."""
        vessels = [thing.name for thing in self._things.values() if thing.is_vessel]
        if place.is_vessel or not vessels:
            return ""
        return self.tr("Is {0} open above? The scan found these to be: {1}.").format(place.name, ", ".join(vessels))


def _now(name: str, before: Sequence[str], names: Sequence[str]) -> str:
    """What a thing is called now: a list with but one other name has a thing that was renamed."""
    others = [(old, new) for old, new in zip(before, names, strict=False) if old != new]
    renamed = len(before) == len(names) and len(others) == 1 and others[0][0] == name
    return others[0][1] if renamed else name
