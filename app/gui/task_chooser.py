"""A task by picking the objects of a scene."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from PySide6.QtWidgets import QComboBox, QFormLayout, QLabel, QLineEdit, QWidget

VESSELS = ("container", "bowl", "box", "cup", "mug", "bin", "basket", "tray")


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

    def add_row(self, name: str, control: QWidget) -> QLabel:
        """One more control below the others, in line with them."""
        said = QLabel(name, self)
        said.setBuddy(control)
        said.setToolTip(control.toolTip())
        control.setAccessibleName(name)
        self._form.addRow(said, control)
        return said

    def show_objects(self, objects: Sequence[Mapping[str, Any]]) -> None:
        """Offer a scene's objects; what is chosen of them stays chosen."""
        names = [str(entry["name"]) for entry in objects if isinstance(entry, dict) and "name" in entry]
        if names == [self.what.itemText(index) for index in range(self.what.count())]:
            return
        chosen = self.chosen()
        what, where = chosen.what, chosen.where
        for box in (self.what, self.where):
            box.blockSignals(True)
            box.clear()
            box.addItems(names)
        vessel = _vessel(objects)
        self.what.setCurrentText(what if what in names else _light(objects, vessel))
        self.where.setCurrentText(where if where in names else vessel)
        for box in (self.what, self.where):
            box.blockSignals(False)
        self._say()
        self._wanted = Chosen() if names else chosen
        if names and chosen.typed:
            self.sentence.setText(chosen.typed)
            self.sentence.setCursorPosition(0)

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
        """Choose this, of the things that are shown next."""
        for box in (self.what, self.where):
            box.blockSignals(True)
            box.clear()
            box.blockSignals(False)
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


def _vessel(objects: Sequence[Mapping[str, Any]]) -> str:
    """The object into which things most likely go: the widest of those that are called so, else the largest."""
    named = [entry for entry in objects if str(entry.get("name", "")).startswith(VESSELS)]
    return max(named or objects, key=_size, default={"name": ""})["name"]


def _light(objects: Sequence[Mapping[str, Any]], vessel: str) -> str:
    """The lightest of the others."""
    rest = [entry for entry in objects if entry.get("name") != vessel and not str(entry["name"]).startswith(VESSELS)]
    return min(rest or objects, key=_mass, default={"name": ""})["name"]


def _size(entry: Mapping[str, Any]) -> float:
    size = entry.get("size_m")
    return float(size[0]) * float(size[1]) if isinstance(size, list) and len(size) == 3 else 0.0


def _mass(entry: Mapping[str, Any]) -> float:
    mass = entry.get("mass_kg")
    return float(mass) if isinstance(mass, int | float) else 1e9
