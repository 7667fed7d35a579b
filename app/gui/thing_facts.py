"""What is known of the selected thing, and can be said better: its name, material, mass, friction and bounce."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QSignalBlocker, Signal
from PySide6.QtWidgets import QComboBox, QDoubleSpinBox, QFormLayout, QLineEdit, QWidget

from app.gui.page import label

if TYPE_CHECKING:
    from app.scene_document import ListedThing

ROOT = Path(__file__).resolve().parent.parent.parent


@lru_cache(maxsize=1)
def materials() -> tuple[str, ...]:
    """The names of ``resources/materials.json``."""
    document = json.loads((ROOT / "resources" / "materials.json").read_text(encoding="utf-8"))
    return tuple(sorted(document["materials"]))


class ThingFacts(QWidget):
    """A form about one thing.

    Signals:
        wanted(edit): what was typed or chosen, an `app.scene_draft.Edit`.
    """

    wanted = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._thing: ListedThing | None = None
        self.setStyleSheet("QWidget:disabled { color: palette(placeholder-text); }")
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        self.name = QLineEdit(self)
        self.name.setToolTip(self.tr("Tasks call the thing by this name."))
        self.name.editingFinished.connect(self._rename)
        self.material = QComboBox(self)
        self.material.addItems(materials())
        self.material.setToolTip(self.tr("Sets mass, friction and bounce to what is usual for it."))
        self.material.activated.connect(self._set_material)
        self.mass = self._number(0.5, 50_000.0, 1, self.tr("Put the thing on a kitchen scale: that beats every guess."))
        self.mass.editingFinished.connect(self._set_mass)
        self.friction = self._number(0.0, 2.0, 2, self.tr("Against wood: 0.3 slips, 0.9 grips."))
        self.friction.editingFinished.connect(self._set_friction)
        self.bounce = self._number(0.0, 1.0, 2, self.tr("0 stays where it falls, 0.8 bounces like a ball."))
        self.bounce.editingFinished.connect(self._set_bounce)
        self.more = label("", "faint", self)
        for text, widget in (
            (self.tr("Name"), self.name),
            (self.tr("Material"), self.material),
            (self.tr("Mass (g)"), self.mass),
            (self.tr("Friction"), self.friction),
            (self.tr("Bounce"), self.bounce),
        ):
            form.addRow(text, widget)
            widget.setAccessibleName(text)
        form.addRow(self.more)

    def _number(self, low: float, high: float, digits: int, tip: str) -> QDoubleSpinBox:
        box = QDoubleSpinBox(self)
        box.setRange(low, high)
        box.setDecimals(digits)
        box.setSingleStep(10.0**-digits * 5)
        box.setKeyboardTracking(False)
        box.setToolTip(tip)
        return box

    def show_thing(self, thing: ListedThing) -> None:
        """Be about this one."""
        self._thing = thing
        for box, value in (
            (self.mass, 1000 * thing.mass_kg),
            (self.friction, thing.friction),
            (self.bounce, thing.restitution),
        ):
            with QSignalBlocker(box):
                box.setValue(value)
        self.name.setText(thing.name)
        self.material.setCurrentText(thing.material)
        low, high = thing.mass_interval_kg
        self.more.setText(
            self.tr("80 % sure: {0} … {1} g. {2} mm. {3} % was seen.").format(
                f"{1000 * low:.0f}",
                f"{1000 * high:.0f}",
                " × ".join(f"{1000 * side:.0f}" for side in thing.size_m),
                f"{100 * thing.seen_fraction:.0f}",
            )
        )

    def _shown(self) -> ListedThing | None:
        """The thing; hidden, a field that loses the focus means nobody."""
        return None if self.isHidden() else self._thing

    def _rename(self) -> None:
        from app.scene_edits import Rename, plain_name

        thing, text = self._shown(), plain_name(self.name.text())
        if thing is not None and text and text != thing.name:
            self.wanted.emit(Rename(thing.name, text))

    def _set_material(self) -> None:
        from app.scene_edits import SetMaterial

        thing = self._shown()
        if thing is not None and self.material.currentText() != thing.material:
            self.wanted.emit(SetMaterial(thing.name, self.material.currentText()))

    def _set_mass(self) -> None:
        from app.scene_edits import SetMass

        thing = self._shown()
        if thing is not None and abs(self.mass.value() - 1000 * thing.mass_kg) > 0.06:
            self.wanted.emit(SetMass(thing.name, self.mass.value() / 1000.0))

    def _set_friction(self) -> None:
        from app.scene_edits import SetFriction

        thing = self._shown()
        if thing is not None and abs(self.friction.value() - thing.friction) > 0.005:
            self.wanted.emit(SetFriction(thing.name, self.friction.value()))

    def _set_bounce(self) -> None:
        from app.scene_edits import SetRestitution

        thing = self._shown()
        if thing is not None and abs(self.bounce.value() - thing.restitution) > 0.005:
            self.wanted.emit(SetRestitution(thing.name, self.bounce.value()))
