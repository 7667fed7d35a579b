"""Placing the robot: by the mouse in the view, by keys, or by numbers; each place that it comes to rest at is saved."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PySide6.QtCore import QObject, QSettings, QTimer, Signal
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QWidget

from app.gui.robot_handle import ShownRobot
from app.gui.robot_panel import TURN, RobotPanel
from app.gui.viewport import Viewport

FloatArray = npt.NDArray[np.float64]
USUAL = "panda"
KEPT = "robot_shown"
"""Under this the preferences keep which robot was chosen."""
REST_MS = 500
"""A place that keys or numbers brought it to is saved when nothing has changed for so long: one undo takes it back."""


class RobotTool(QObject):
    """The view's tool ``robot``, its panel, and whether the robot is shown without it.

    Signals:
        placed(pose): it is to stand there, ``(4, 4)`` scene_from_robot; None: wherever suits the scene.

    Attributes:
        panel: to be put below the view.
        shown: checkable; the tool checks it, and it stays so.
    """

    placed = Signal(object)

    def __init__(self, view: Viewport, preferences: QSettings, parent: QWidget) -> None:
        super().__init__(parent)
        self._view, self._preferences = view, preferences
        self.robot = str(preferences.value(KEPT, USUAL))
        self._pose: FloatArray | None = None
        self._brought = False  # into the picture, since the tool was chosen
        self._saving = False
        self.panel = RobotPanel(self.robot, parent)
        self.shown = QAction(self.tr("Robot"), self)
        self.shown.setCheckable(True)
        self.shown.toggled.connect(self._show)
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(REST_MS)
        self._rest.timeout.connect(self._save)
        view.tool_changed.connect(self._use)
        view.robot_shown.connect(self._take)
        view.robot_moved.connect(self._moved)
        view.reach_told.connect(self.panel.say_reach)
        self.panel.chosen.connect(self._choose)
        self.panel.typed.connect(self._typed)
        self.panel.freed.connect(self._free)

    @property
    def is_on(self) -> bool:
        """Whether it is the view's tool."""
        return self._view.tool() == "robot"

    def settle(self) -> None:
        """All edits have been made or refused: the robot belongs where the scene says that the view shows next."""
        self._saving = False

    def take_back(self) -> bool:
        """Give up a place that is not saved yet; False: there is none."""
        if not self._rest.isActive():
            return False
        self._rest.stop()
        self._go_home()
        return True

    def save_now(self) -> None:
        """Do not wait for more: another scene is to be opened, or none."""
        if self._rest.isActive():
            self._save()

    def _use(self, tool: str) -> None:
        on = tool == "robot"
        if on != self.panel.isHidden():
            return
        self.panel.setVisible(on)
        self.shown.setEnabled(not on)
        if on:
            self._brought = False
            self.panel.say("")
            self.shown.setChecked(True)
            self._view.set_options(robot=self.robot, reach=True)
            self._view.setFocus()
        else:
            self.save_now()
            self._view.set_options(reach=False)

    def _show(self, shown: bool) -> None:
        self._view.set_options(robot=self.robot if shown else None)

    def _choose(self, robot: str) -> None:
        self.robot = robot
        self._preferences.setValue(KEPT, robot)
        self.panel.say("")
        self.panel.show_ready(ready=False)
        self._view.set_options(robot=robot)

    def _take(self, shown: ShownRobot) -> None:
        """The view shows it, or shows it in a scene that has changed."""
        if not (self._saving or self._rest.isActive() or self._view.is_dragging):
            self._go_home()
        self.panel.show_freedom(free=not shown.said)
        self.panel.show_ready(ready=shown.whole or bool(shown.message))
        if shown.message:
            self.panel.say(f"{shown.message} {shown.remedy}")
        if self.is_on and shown.whole and not self._brought and self._pose is not None:
            self._brought = True
            self._view.bring_in(shown.outline(self._pose))

    def _go_home(self) -> None:
        """Have it where the scene has it."""
        self._view.put_robot(None)
        self._pose = self._view.robot_pose()
        self.panel.show_pose(self._pose)

    def _moved(self, pose: FloatArray, how: str) -> None:
        self._pose = pose
        self.panel.show_pose(pose)
        if how == "dropped":
            self._save()
        elif how == "pushed":
            self._rest.start()

    def _typed(self, number: int, value: float) -> None:
        pose = np.eye(4) if self._pose is None else self._pose.copy()
        if number == TURN:
            c, s = np.cos(np.radians(value)), np.sin(np.radians(value))
            pose[:3, :3] = [[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]]
        else:
            pose[number, 3] = value
        self._pose = pose
        self._view.put_robot(pose)
        self._rest.start()

    def _save(self) -> None:
        self._rest.stop()
        if self._pose is not None:
            self._saving = True
            self.panel.show_freedom(free=False)
            self.placed.emit(self._pose)

    def _free(self) -> None:
        self._rest.stop()
        self._saving = True
        self.placed.emit(None)
