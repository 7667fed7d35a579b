"""Cutting a thing in two: a panel below the view, in which the plane is seen while it is chosen."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PySide6.QtCore import QSignalBlocker, Qt, Signal
from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtWidgets import (
    QComboBox,
    QDoubleSpinBox,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSlider,
    QWidget,
)

from app.gui.page import label

FloatArray = npt.NDArray[np.float64]
STEPS = 1000
FLAT, UPRIGHT = 0, 1


class SplitPanel(QFrame):
    """Which plane it is.

    Signals:
        moved(point, normal): the plane is another: ``(3,)`` each, of the scene, the normal unit.
        accepted(name, point, normal): this thing is to be cut by it.
        ended(): no plane is to be shown any more.
    """

    moved = Signal(object, object)
    accepted = Signal(str, object, object)
    ended = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("card")
        self._name = ""
        self._corners = np.zeros((8, 3))
        self._title = label("", "heading", self, wrap=False)
        self.way = QComboBox(self)
        self.way.addItem(self.tr("Flat: an upper and a lower part"))
        self.way.addItem(self.tr("Upright: two parts side by side"))
        self.way.setAccessibleName(self.tr("Cut"))
        self.way.setToolTip(self.tr("How the cut runs through the thing."))
        self.turn = QDoubleSpinBox(self)
        self.turn.setRange(-180.0, 180.0)
        self.turn.setDecimals(0)
        self.turn.setSingleStep(5.0)
        self.turn.setWrapping(True)
        self.turn.setSuffix(" °")
        self.turn.setAccessibleName(self.tr("Turned by"))
        self.turn.setToolTip(self.tr("Turns an upright cut about the vertical."))
        self.offset = QSlider(Qt.Orientation.Horizontal, self)
        self.offset.setRange(0, STEPS)
        self.offset.setToolTip(self.tr("Where the cut goes through the thing: arrow keys move it finely."))
        self.offset.setAccessibleName(self.tr("Place of the cut"))
        self._where = label("", "faint", self, wrap=False)
        self.apply = QPushButton(self.tr("Split"), self)
        self.apply.setObjectName("primary")
        self.apply.setToolTip(self.tr("Cut the thing here (Return)."))
        self.cancel = QPushButton(self.tr("Cancel"), self)
        self.cancel.setToolTip(self.tr("Leave the thing as it is (Esc)."))
        self._turned, place = QLabel(self.tr("Turned by"), self), QLabel(self.tr("Place"), self)
        self._turned.setBuddy(self.turn)
        place.setBuddy(self.offset)
        first = QHBoxLayout()
        first.setSpacing(10)
        for widget in (self._title, self.way, self._turned, self.turn):
            first.addWidget(widget)
        first.insertStretch(1, 1)
        grid = QGridLayout(self)
        grid.setContentsMargins(14, 10, 14, 10)
        grid.setHorizontalSpacing(10)
        grid.addLayout(first, 0, 0, 1, 5)
        for column, below in enumerate((place, self.offset, self._where, self.cancel, self.apply)):
            grid.addWidget(below, 1, column)
        grid.setColumnStretch(1, 1)
        self.way.currentIndexChanged.connect(self._chosen)
        self.turn.valueChanged.connect(self._chosen)
        self.offset.valueChanged.connect(self._tell)
        self.apply.clicked.connect(self._accept)
        self.cancel.clicked.connect(self.end)
        for key in ("Return", "Enter"):
            shortcut = QShortcut(QKeySequence(key), self)
            shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
            shortcut.activated.connect(self.apply.click)
        self.hide()

    @property
    def thing(self) -> str:
        """Which is to be cut; empty: none."""
        return self._name

    def begin(self, name: str, corners: FloatArray, toward: float, point: FloatArray | None = None) -> None:
        """Ask for a cut of a thing.

        `corners` ``(8, 3)`` are its box, in the scene. An upright cut is first across the way `toward`, degrees about
        the vertical. At first it goes through `point`, or through the middle.
        """
        self._name, self._corners = name, corners
        self.say_met(name, True)
        self._title.setText(self.tr("Split {0}").format(name))
        flat = np.ptp(corners[:, 2]) >= np.ptp(corners[:, :2], axis=0).max()  # tall things are cut across
        with QSignalBlocker(self.way), QSignalBlocker(self.turn), QSignalBlocker(self.offset):
            self.way.setCurrentIndex(FLAT if flat else UPRIGHT)
            self.turn.setValue(toward)
            low, high = self._reach()
            share = 0.5 if point is None or high <= low else (float(point @ self.normal()) - low) / (high - low)
            self.offset.setValue(round(STEPS * min(max(share, 0.0), 1.0)))
        self.show()
        self.offset.setFocus()
        self._chosen()

    def follow(self, corners: FloatArray) -> None:
        """The thing has its box elsewhere now."""
        self._corners = corners
        self._tell()

    def say_met(self, name: str, met: bool) -> None:
        """Whether the plane that was told last goes through the thing: else there is nothing to be cut."""
        if name == self._name:
            self.apply.setEnabled(met)
            tip = self.tr("Cut the thing here (Return).") if met else self.tr("The plane does not meet the thing.")
            self.apply.setToolTip(tip)

    def end(self) -> None:
        """Ask no more."""
        if self._name:
            self._name = ""
            self.hide()
            self.ended.emit()

    def normal(self) -> FloatArray:
        """``(3,)`` unit, of the plane; what lies there keeps the name."""
        if self.way.currentIndex() == FLAT:
            return np.array([0.0, 0.0, 1.0])
        turn = np.radians(self.turn.value())
        return np.array([np.cos(turn), np.sin(turn), 0.0])

    def point(self) -> FloatArray:
        """``(3,)`` of the plane, in the thing's middle as far as it can be."""
        normal, middle = self.normal(), self._corners.mean(axis=0)
        low, high = self._reach()
        wanted = low + self.offset.value() / STEPS * (high - low)
        return np.asarray(middle + (wanted - float(middle @ normal)) * normal)

    def _reach(self) -> tuple[float, float]:
        along = self._corners @ self.normal()
        return float(along.min()), float(along.max())

    def _chosen(self) -> None:
        for widget in (self._turned, self.turn):
            widget.setVisible(self.way.currentIndex() == UPRIGHT)
        self._tell()

    def _tell(self) -> None:
        low, high = self._reach()
        length = 1000 * (high - low)
        at = self.offset.value() / STEPS * length
        self._where.setText(self.tr("{0} of {1} mm").format(f"{at:.0f}", f"{length:.0f}"))
        # As wide as it gets: the slider must not shrink and grow under the mouse.
        widest = self.tr("{0} of {1} mm").format(f"{length:.0f}", f"{length:.0f}")
        self._where.setMinimumWidth(self._where.fontMetrics().horizontalAdvance(widest) + 4)
        if self._name:
            self.moved.emit(self.point(), self.normal())

    def _accept(self) -> None:
        if self._name:
            name, point, normal = self._name, self.point(), self.normal()
            self.end()
            self.accepted.emit(name, point, normal)
