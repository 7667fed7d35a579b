"""A slider for each variation: how far cousins may differ in it."""

from __future__ import annotations

from collections.abc import Mapping

from PySide6.QtCore import (
    QCoreApplication,
    Qt,
    Signal,
)
from PySide6.QtWidgets import (
    QCheckBox,
    QGridLayout,
    QLabel,
    QSlider,
    QWidget,
)

from app.gui.settings_form import NoWheel
from simulation.variations import VARIATIONS

STEPS = 20
"""Steps of a slider, from nothing to the whole range."""


def words_for(strengths: Mapping[str, float]) -> list[str]:
    """The shortest words after ``--vary`` that mean these strengths; none where all vary fully."""
    values = set(strengths.values())
    if values == {1.0}:
        return []
    if len(values) == 1:
        return [f"all={values.pop():g}"]
    return [name if value == 1.0 else f"{name}={value:g}" for name, value in strengths.items() if value]


class Strengths(QWidget):
    """A slider for each variation, with a check box that turns it off.

    Attributes:
        changed: one of them was moved.
    """

    changed = Signal()

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(10)
        grid.setVerticalSpacing(5)
        grid.setColumnStretch(1, 1)
        self._boxes: dict[str, QCheckBox] = {}
        self._sliders: dict[str, QSlider] = {}
        self._figures: dict[str, QLabel] = {}
        for row, (name, variation) in enumerate(VARIATIONS.items()):
            title, text = self._name(name), QCoreApplication.translate("variations", variation.help)
            box, slider, figure = QCheckBox(title, self), QSlider(Qt.Orientation.Horizontal, self), QLabel(self)
            box.setChecked(True)
            box.setAccessibleName(self.tr("Vary {0}").format(title))
            box.setToolTip(f"<p>{text} {self.tr('Unchecked: as scanned.')}</p>")
            slider.setRange(1, STEPS)
            slider.setValue(STEPS)
            slider.setPageStep(STEPS // 4)
            slider.installEventFilter(NoWheel(slider))
            slider.setAccessibleName(self.tr("How strongly: {0}").format(title))
            most = self._most(name)
            slider.setToolTip(f"<p>{text}</p><p>{most}</p>")
            for control in (box, slider):
                control.setWhatsThis(f"{text} {most}".strip())
                control.setAccessibleDescription(control.whatsThis())
            figure.setObjectName("faint")
            figure.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            figure.setMinimumWidth(figure.fontMetrics().horizontalAdvance("100 %") + 6)
            box.toggled.connect(self._changed)
            slider.valueChanged.connect(self._changed)
            for column, widget in enumerate((box, slider, figure)):
                grid.addWidget(widget, row, column)
            self._boxes[name], self._sliders[name], self._figures[name] = box, slider, figure
        self._draw()

    def _name(self, name: str) -> str:
        names = {
            "pose": self.tr("Pose"),
            "shape": self.tr("Shape"),
            "swap": self.tr("Swap"),
            "clutter": self.tr("Clutter"),
            "appearance": self.tr("Appearance"),
            "light": self.tr("Light"),
            "camera": self.tr("Camera"),
            "physics": self.tr("Physics"),
            "gripper": self.tr("Gripper"),
            "support": self.tr("Support"),
            "mount": self.tr("Mount"),
        }
        return names.get(name, name.capitalize())

    def _most(self, name: str) -> str:
        """What the whole range of a variation is, in words."""

        def span(of: str, factor: float = 1.0) -> tuple[str, str]:
            ends = VARIATIONS[name].ranges[of]
            return f"{factor * ends.low:g}", f"{factor * ends.high:g}"

        if name == "pose":
            return self.tr("100 %: anywhere on the support that the arm reaches, turned any way, on any side.")
        if name == "shape":
            return self.tr("100 %: {0} to {1} times as large, and {2} to {3} times as high.").format(
                *span("size"), *span("height")
            )
        if name == "swap":
            return self.tr("100 %: about every second thing is another one of its kind.")
        if name == "clutter":
            return self.tr("100 %: up to {0} things more, and up to every second one is taken away.").format(
                int(VARIATIONS[name].ranges["added"].high)
            )
        if name == "appearance":
            return self.tr("100 %: colours up to {0}° round the colour wheel, {1} to {2} times as bright.").format(
                span("hue_deg")[1], *span("brightness")
            )
        if name == "light":
            return self.tr("100 %: from all round, {0}° to {1}° high, {2} K (a lamp) to {3} K (the sky).").format(
                *span("elevation_deg"), *span("warmth_k")
            )
        if name == "camera":
            return self.tr("100 %: up to {0} cm off and {1}° turned, each way.").format(
                span("x_m", 100)[1], span("pan_deg")[1]
            )
        if name == "physics":
            return self.tr("100 %: {0} to {1} times as heavy, {2} to {3} times as much friction.").format(
                *span("mass"), *span("friction")
            )
        if name == "gripper":
            return self.tr("100 %: {0} to {1} times as much friction.").format(*span("friction"))
        if name == "support":
            return self.tr("100 %: up to {0} cm higher or lower, and leaning by up to {1}°.").format(
                span("height_m", 100)[1], span("tilt_deg")[1]
            )
        if name == "mount":
            return self.tr("100 %: up to {0} cm off and {1}° turned, each way.").format(
                span("x_m", 100)[1], span("turn_deg")[1]
            )
        return ""

    def box(self, name: str) -> QCheckBox:
        """Turns a variation on and off."""
        return self._boxes[name]

    def slider(self, name: str) -> QSlider:
        """How strongly it varies, in `STEPS`."""
        return self._sliders[name]

    def values(self) -> dict[str, float]:
        """The strength of each variation."""
        return {
            name: self._sliders[name].value() / STEPS if box.isChecked() else 0.0 for name, box in self._boxes.items()
        }

    def set_values(self, strengths: Mapping[str, float]) -> None:
        """Show these strengths."""
        before = self.values()
        self.blockSignals(True)
        for name, value in strengths.items():
            self._boxes[name].setChecked(value > 0)
            if value > 0:
                self._sliders[name].setValue(max(1, round(value * STEPS)))
        self.blockSignals(False)
        if self.values() != before:
            self.changed.emit()

    def in_words(self) -> str:
        """What varies, and how strongly where that is not fully: ``"Pose, Light 50 %"``."""
        shown = {name: self._boxes[name].text() for name, value in self.values().items() if value}
        return ", ".join(
            text if self.values()[name] == 1.0 else f"{text} {self._figures[name].text()}"
            for name, text in shown.items()
        )

    def _changed(self) -> None:
        self._draw()
        self.changed.emit()

    def _draw(self) -> None:
        for name, value in self.values().items():
            self._sliders[name].setEnabled(self._boxes[name].isChecked())
            self._figures[name].setText(f"{value:.0%}".replace("%", " %") if value else self.tr("off"))
