"""Driving the arm in the scene that plays: keys in the view, a slider for each joint, or a gamepad."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from PySide6.QtCore import QEvent, QObject, QSignalBlocker, Qt, QTimer, Signal
from PySide6.QtGui import QKeyEvent, QKeySequence, QShortcut
from PySide6.QtWidgets import (
    QCheckBox,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSlider,
    QVBoxLayout,
    QWidget,
)

from app.gui.drive_keys import MOVES, held_motion
from app.gui.gamepad import Gamepad, open_gamepad
from app.gui.page import label
from reconstruction.errors import PocketworldError

STEPS = 1000
"""Of a slider, from a joint's one limit to the other."""
COLUMNS = 2
PAD_MS = 50


class DrivePanel(QFrame):
    """The arm's joints and gripper, and which keys move its hand.

    Signals:
        jogged(move, turn): the hand is to move like this from now on, as `simulation.teleoperation.Command` has it.
        wanted(number, value): a joint is to go there, rad or m.
        gripped(opening): the gripper is to open so far, 0 … 1.
        recording_wanted(): a demonstration of a task is to be recorded.
        ended(): the arm is not to be driven any more.
    """

    jogged = Signal(object, object)
    wanted = Signal(int, float)
    gripped = Signal(float)
    recording_wanted = Signal()
    ended = Signal()

    def __init__(self, view: QWidget, parent: QWidget | None = None) -> None:
        """`view`: keys that are pressed in it move the hand while the panel is shown."""
        super().__init__(parent)
        self.setObjectName("card")
        self._view = view
        self._held: set[int] = set()
        self._pad: Gamepad | None = None
        self._padded = False  # the pad's sticks have moved the hand
        self._limits: list[tuple[float, float]] = []
        self._open = True
        self._calm = ""
        self._title = label("", "heading", self, wrap=False)
        self._state = label("", "faint", self, wrap=False)
        self.pad = QCheckBox(self.tr("Gamepad"), self)
        self.pad.setToolTip(
            self.tr("Sticks: over the table, and turn. Triggers: down and up. A: grip. It needs the package pygame-ce.")
        )
        self.pad.toggled.connect(self._use_pad)
        self.record = QPushButton(self.tr("Record a demonstration…"), self)
        self.record.setToolTip(
            self.tr("Of a task, in cousins of this scene: choose the task on the Policy page, then Show it yourself.")
        )
        self.record.clicked.connect(self.recording_wanted)
        self.done = QPushButton(self.tr("Done"), self)
        self.done.setToolTip(self.tr("Drive the arm no longer (Esc); everything goes back to where the scene has it."))
        self.done.clicked.connect(self.end)
        head = QHBoxLayout()
        head.setSpacing(10)
        for widget in (self._title, self._state, self.pad, self.record, self.done):
            head.addWidget(widget)
        head.insertStretch(2, 1)
        self._keys = label(
            self.tr(
                "<b>← → ↑ ↓</b> over the table · <b>R F</b> up, down · <b>A D</b> turn · <b>W S</b> and <b>Q E</b> tilt"
                " · <b>Space</b> grip"
            ),
            "faint",
            self,
        )
        self._keys.setTextFormat(Qt.TextFormat.RichText)
        self.joints: list[QSlider] = []
        self._figures: list[QLabel] = []
        self._grid = QGridLayout()
        self._grid.setHorizontalSpacing(10)
        self._grid.setVerticalSpacing(4)
        column = QVBoxLayout(self)
        column.setContentsMargins(14, 10, 14, 10)
        column.addLayout(head)
        column.addWidget(self._keys)
        column.addLayout(self._grid)
        key = QShortcut(QKeySequence("Esc"), self)
        key.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
        key.activated.connect(self.end)
        self._timer = QTimer(self)
        self._timer.setInterval(PAD_MS)
        self._timer.timeout.connect(self._read_pad)
        self.hide()

    @property
    def is_on(self) -> bool:
        """Whether the arm is being driven."""
        return not self.isHidden()

    @property
    def said(self) -> str:
        """How it stands with the arm."""
        return self._state.text()

    def begin(self, robot: str) -> None:
        """Show the panel; the joints come with `show_arm`, when the arm is there."""
        self._title.setText(self.tr("Drive {0}").format(robot))
        self.say(self.tr("Getting the arm ready …"))
        self._view.installEventFilter(self)
        self.show()
        self._view.setFocus()
        self._tell_keys()

    def end(self) -> None:
        """Drive it no more."""
        if not self.is_on:
            return
        self._view.removeEventFilter(self)
        self.pad.setChecked(False)
        self._held.clear()
        self.hide()
        self.ended.emit()

    def show_arm(self, joints: Sequence[Mapping[str, Any]]) -> None:
        """The arm is there, with these joints: ``name``, ``low``, ``high`` (rad or m) of each."""
        while (item := self._grid.takeAt(0)) is not None:
            if (widget := item.widget()) is not None:
                widget.deleteLater()
        self._limits = [(float(joint["low"]), float(joint["high"])) for joint in joints]
        self.joints, self._figures = [], []
        self._open = True
        rows = -(-(len(joints) + 1) // COLUMNS)
        for number in range(len(joints) + 1):
            gripper = number == len(joints)
            name = self.tr("Gripper") if gripper else self.tr("Joint {0}").format(number + 1)
            slider, figure = QSlider(Qt.Orientation.Horizontal, self), label("", "faint", self, wrap=False)
            slider.setRange(0, STEPS)
            slider.setValue(STEPS if gripper else STEPS // 2)
            slider.setAccessibleName(name)
            slider.setToolTip(
                self.tr("How far the gripper is open.")
                if gripper
                else self.tr("{0}: it goes there slowly, as far as nothing is in its way.").format(
                    joints[number]["name"]
                )
            )
            figure.setMinimumWidth(figure.fontMetrics().horizontalAdvance("−180 °") + 4)
            figure.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            slider.valueChanged.connect(self._grip if gripper else partial(self._go, number))
            said = QLabel(name, self)
            said.setBuddy(slider)
            row, column = number % rows, 3 * (number // rows)
            for offset, widget in enumerate((said, slider, figure)):
                self._grid.addWidget(widget, row, column + offset)
            self._grid.setColumnStretch(column + 1, 1)
            self.joints.append(slider)
            self._figures.append(figure)

    def say(self, text: str) -> None:
        """Say how it stands with the arm, unless something is in its way."""
        self._calm = text
        self._state.setText(text)

    def show_goal(self, goal: Sequence[float], blocked: bool) -> None:
        """Where the arm is told to be, its gripper's opening last; `blocked`: something is in its way."""
        if len(goal) != len(self.joints):
            return
        self._state.setText(self.tr("Something is in its way.") if blocked else self._calm)
        for number, value in enumerate(goal):
            slider = self.joints[number]
            gripper = number == len(self._limits)
            low, high = (0.0, 1.0) if gripper else self._limits[number]
            if not slider.isSliderDown() and not slider.hasFocus():  # a person's hand is on it
                with QSignalBlocker(slider):
                    slider.setValue(round(STEPS * (value - low) / max(high - low, 1e-9)))
            self._figures[number].setText(f"{100 * value:.0f} %" if gripper else _angle(value))

    # --- sliders -----------------------------------------------------------------------------------------------------

    def _go(self, number: int, value: int) -> None:
        low, high = self._limits[number]
        self.wanted.emit(number, low + value / STEPS * (high - low))

    def _grip(self, value: int) -> None:
        self._open = value > STEPS // 2
        self.gripped.emit(value / STEPS)

    def grip(self) -> None:
        """Close the gripper, or open it."""
        self._open = not self._open
        if self.joints:
            with QSignalBlocker(self.joints[-1]):
                self.joints[-1].setValue(STEPS if self._open else 0)
        self.gripped.emit(1.0 if self._open else 0.0)

    # --- keys --------------------------------------------------------------------------------------------------------

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 - Qt's name
        """Take the keys of the view that move the arm, before the page's shortcuts and the camera do."""
        kind = event.type()
        if kind in (QEvent.Type.FocusIn, QEvent.Type.FocusOut):
            self._held.clear()  # a key that is let go elsewhere would be held for ever
            self._tell_held()
            self._tell_keys(here=kind == QEvent.Type.FocusIn)
        elif isinstance(event, QKeyEvent) and not event.modifiers() & ~Qt.KeyboardModifier.KeypadModifier:
            return self._key(event)
        return False

    def _key(self, event: QKeyEvent) -> bool:
        key, kind = event.key(), event.type()
        if key not in MOVES and key not in (Qt.Key.Key_Space, Qt.Key.Key_Escape):
            return False
        event.accept()
        if kind == QEvent.Type.ShortcutOverride or event.isAutoRepeat():
            return True
        if kind == QEvent.Type.KeyRelease:
            self._held.discard(key)
            self._tell_held()
        elif key == Qt.Key.Key_Space:
            self.grip()
        elif key == Qt.Key.Key_Escape:
            self.end()
        else:
            self._held.add(key)
            self._tell_held()
        return True

    def _tell_held(self) -> None:
        motion = held_motion(self._held)
        self.jogged.emit(motion[:3], motion[3:])

    def _tell_keys(self, *, here: bool = True) -> None:
        self._keys.setEnabled(here)
        self._keys.setToolTip("" if here else self.tr("Click the view: then these keys move the arm."))

    # --- gamepad -----------------------------------------------------------------------------------------------------

    def _use_pad(self, on: bool) -> None:
        self._timer.stop()
        self._pad = None
        if not on:
            return
        try:
            self._pad = open_gamepad()
        except PocketworldError as error:
            self.pad.setChecked(False)
            self._state.setText(str(error))
            return
        self._timer.start()

    def _read_pad(self) -> None:
        assert self._pad is not None
        command, pressed = self._pad.read()
        motion = [*command.move, *command.turn]
        if any(motion) or self._padded:
            self._padded = any(motion)
            both = np.clip(np.add(motion, held_motion(self._held)), -1.0, 1.0).tolist()
            self.jogged.emit(both[:3], both[3:])
        if "grip" in pressed:
            self.grip()


def _angle(value: float) -> str:
    return f"{np.degrees(value):.0f} °".replace("-", "−")
