"""Where the robot stands, in numbers, and what it reaches from there: a panel below the view."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PySide6.QtCore import QSignalBlocker, Signal
from PySide6.QtWidgets import (
    QComboBox,
    QDoubleSpinBox,
    QFileDialog,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QWidget,
)

from app.gui.page import label

FloatArray = npt.NDArray[np.float64]
ROBOTS = ("panda", "xarm6", "so101")
FARTHEST_M = 50.0
NAMED = 3
"""So many things that are not reached are named; the tool tip names all."""
TURN = 3
"""The number of the box that turns it, after x, y and z."""


class RobotPanel(QFrame):
    """Which robot it is, where it stands, and what it reaches.

    Signals:
        chosen(robot): a name, or the path of a TOML file.
        typed(number, value): 0, 1, 2: x, y or z is to be this, metres; 3: so far it is to be turned, degrees.
        freed(): it is to stand wherever suits the scene.
    """

    chosen = Signal(str)
    typed = Signal(int, float)
    freed = Signal()

    def __init__(self, robot: str, parent: QWidget | None = None) -> None:
        """`robot` is chosen at first."""
        super().__init__(parent)
        self.setObjectName("card")
        self._robot = robot
        self.robot = QComboBox(self)
        self.robot.setAccessibleName(self.tr("Robot"))
        self.robot.setToolTip(
            self.tr("The robot that is shown and measured here. Which one learns is chosen on the Policy page.")
        )
        self.robot.activated.connect(self._chosen)
        self._list_robots()
        self.boxes: list[QDoubleSpinBox] = []
        first = QHBoxLayout()
        first.setSpacing(8)
        first.addWidget(self.robot)
        for number, (name, tip) in enumerate(
            (
                ("x", self.tr("Where its base stands along the scene's red arrow.")),
                ("y", self.tr("Where its base stands along the scene's green arrow.")),
                ("z", self.tr("How high its base stands; 0 is the table.")),
                (self.tr("Turned"), self.tr("Which way it looks, about the vertical.")),
            )
        ):
            first.addSpacing(6)
            first.addWidget(self._box(number, name, tip, first))
        first.addStretch(1)
        self.free = QPushButton(self.tr("Wherever suits the scene"), self)
        self.free.setToolTip(self.tr("Leave its place to Pocketworld: it stands by the things, where it reaches most."))
        self.free.clicked.connect(self.freed)
        self.said = label("", "", self)
        self._how = label("", "faint", self, wrap=False)
        self.show_ready(ready=False)
        self._how.setToolTip(self.tr("Page up and Page down lift and lower it; Ctrl with ← or → turns it, too."))
        grid = QGridLayout(self)
        grid.setContentsMargins(14, 10, 14, 10)
        grid.setColumnStretch(0, 1)
        grid.addLayout(first, 0, 0, 1, 2)
        grid.addWidget(self.said, 1, 0, 1, 2)
        grid.addWidget(self._how, 2, 0)
        grid.addWidget(self.free, 2, 1)
        self.hide()

    def _box(self, number: int, name: str, tip: str, row: QHBoxLayout) -> QDoubleSpinBox:
        box = QDoubleSpinBox(self)
        if number == TURN:
            box.setRange(-180.0, 180.0)
            box.setWrapping(True)
            box.setDecimals(1)
            box.setSingleStep(5.0)
            box.setSuffix(" °")
        else:
            box.setRange(-FARTHEST_M, FARTHEST_M)
            box.setDecimals(3)
            box.setSingleStep(0.01)
            box.setSuffix(" m")
        box.setKeyboardTracking(False)
        box.setFixedWidth(92)
        box.setAccessibleName(name)
        box.setToolTip(tip)
        box.valueChanged.connect(partial(self.typed.emit, number))
        said = QLabel(name, self)
        said.setBuddy(box)
        row.addWidget(said)
        self.boxes.append(box)
        return box

    def show_pose(self, pose: FloatArray | None) -> None:
        """Have the numbers of ``(4, 4)`` scene_from_robot."""
        if pose is None:
            return
        turn = float(np.degrees(np.arctan2(pose[1, 0], pose[0, 0])))
        for box, value in zip(self.boxes, (*pose[:3, 3].tolist(), turn), strict=True):
            with QSignalBlocker(box):
                box.setValue(value)

    def show_ready(self, *, ready: bool) -> None:
        """Whether the robot is in the view; until then, that it is on its way."""
        how = self.tr("Drag it, or use arrow keys and [ ]; Shift: finely. Thin rings: its reach.")
        self._how.setText(how if ready else self.tr("Getting the robot …"))

    def show_freedom(self, *, free: bool) -> None:
        """Whether it stands wherever suits the scene."""
        self.free.setEnabled(not free)

    def say(self, text: str, tip: str = "") -> None:
        """A sentence about it."""
        self.said.setText(text)
        self.said.setToolTip(tip)

    def say_reach(self, reached: Sequence[str], missed: Sequence[str], inside: Sequence[str] = ()) -> None:
        """Names of things that it reaches, of those that it does not, and of those that its base stands in."""
        count = len(reached) + len(missed)
        if not count:
            text = self.tr("Nothing stands in this scene.")
        elif not missed:
            text = self.tr("From here it reaches every one of the {0} things.").format(count)
        elif not reached:
            text = self.tr("From here it reaches none of the {0} things. Bring it nearer.").format(count)
        else:
            names = ", ".join(missed[:NAMED])
            if len(missed) > NAMED:
                names = self.tr("{0} and {1} more").format(names, len(missed) - NAMED)
            text = self.tr("From here it reaches {0} of the {1} things. Out of reach: {2}.").format(
                len(reached), count, names
            )
        if inside:
            text = self.tr("It stands in {0}: move one of them. {1}").format(", ".join(inside[:NAMED]), text)
        tip = self.tr("Its hand gets to the middle of a thing from above, and comes from 12 cm over it.")
        self.say(text, "\n".join([tip, *([self.tr("Out of reach: {0}").format(", ".join(missed))] if missed else [])]))

    def _list_robots(self) -> None:
        with QSignalBlocker(self.robot):
            self.robot.clear()
            for name in ROBOTS:
                self.robot.addItem(name, name)
            if self._robot not in ROBOTS:
                self.robot.addItem(Path(self._robot).stem, self._robot)
            self.robot.addItem(self.tr("Own…"), "")
            self.robot.setCurrentIndex(self.robot.findData(self._robot))

    def _chosen(self) -> None:
        word = str(self.robot.currentData())
        if not word:
            kinds = self.tr("Robots (*.toml)")
            word, _ = QFileDialog.getOpenFileName(self, self.tr("A robot's description"), str(Path.home()), kinds)
        if word and word != self._robot:
            self._robot = word
            self.chosen.emit(word)
        self._list_robots()
