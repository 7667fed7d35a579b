"""Physics in the scene's view: play, pause, reset, and driving the arm in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PySide6.QtCore import QObject, Signal
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QWidget

from app.gui.drive_panel import DrivePanel
from app.gui.robot_handle import ShownRobot
from app.gui.robot_tool import RobotTool
from app.gui.viewport import Viewport


class ScenePlay(QObject):
    """The actions, and the panel that belongs to one of them.

    Signals:
        over(): the mouse is the tools' again.

    Attributes:
        play, reset, drive: actions.
        panel: of the arm.
    """

    over = Signal()

    def __init__(self, view: Viewport, place: RobotTool, parent: QWidget) -> None:
        """`place` knows which robot it is."""
        super().__init__(parent)
        self._view, self._place = view, place
        self._brought = True  # the arm into the picture
        self._whole = False  # whether its meshes are there
        self.panel = DrivePanel(view, parent)
        self.play = QAction(self.tr("Play"), self)
        self.play.setCheckable(True)
        self.play.triggered.connect(self._play)
        self.reset = QAction(self.tr("Reset"), self)
        self.reset.triggered.connect(self.start_over)
        self.drive = QAction(self.tr("Drive"), self)
        self.drive.setCheckable(True)
        self.drive.triggered.connect(self._drive)
        view.physics_changed.connect(self._changed)
        view.failed.connect(self._failed)
        view.robot_shown.connect(self._bring)
        view.driven.connect(self._driven)
        view.arm_moved.connect(self.panel.show_goal)
        self.panel.jogged.connect(view.jog)
        self.panel.wanted.connect(view.bring_joint)
        self.panel.gripped.connect(view.open_gripper)
        self.panel.ended.connect(self._drive_ended)

    def start_over(self) -> None:
        """Everything is where the scene has it; nothing moves, unless an arm is driven: then that begins anew."""
        if self.panel.is_on:
            self._view.drive(self._place.robot)
            return
        self._view.reset()
        self._show(playing=False)

    def _play(self) -> None:
        if self.play.isChecked():
            self._view.set_tool("grab")
            self._view.play()
            self._show(playing=True)
        else:
            self._view.pause()
            self._show(playing=False)

    def _drive(self) -> None:
        if not self.drive.isChecked():
            self.panel.end()
            return
        self._brought = False
        robot = self._place.robot
        self.panel.begin(Path(robot).stem)
        self._view.drive(robot)
        if not self.play.isChecked():
            self.play.trigger()

    def _driven(self, _robot: str, joints: Sequence[Mapping[str, Any]]) -> None:
        """The arm is in the world; its picture may still be made."""
        self.panel.show_arm(joints)
        self.panel.say("" if self._whole else self.tr("Getting the arm's picture ready …"))

    def _bring(self, shown: ShownRobot) -> None:
        """Look from where the whole arm is seen, once: a person needs to see what it does."""
        pose = self._view.robot_pose()
        if shown.message or (shown.whole and not self._whole):
            self.panel.say(shown.message)
        self._whole = shown.whole
        if self._brought or not shown.whole or pose is None:
            return
        self._brought = True
        self._view.bring_in(shown.outline(pose))

    def _drive_ended(self) -> None:
        self.drive.setChecked(False)
        self._view.drive(None)
        self._view.setFocus()

    def _changed(self, state: str) -> None:
        """Physics is otherwise than it was: an edit, too, ends it."""
        if state == "reset" and self.panel.is_on:
            self.panel.say(self.tr("Play (P) to go on."))
        if (state == "playing") != self.play.isChecked():
            self._show(playing=state == "playing")

    def _failed(self) -> None:
        """The view could not do it, or has stopped."""
        if self.play.isChecked() and not self._view.is_playing:
            self._show(playing=False)
            self.panel.end()

    def _show(self, *, playing: bool) -> None:
        self.play.setChecked(playing)
        self.play.setText(self.tr("Pause") if playing else self.tr("Play"))
        if playing:
            self._view.set_tool("grab")
        else:
            self.over.emit()
