"""The robot in the 3-D view as the window knows it: where it is taken hold of, and how keys push it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PySide6.QtCore import Qt

from app.viewer.view import View, corners

FloatArray = npt.NDArray[np.float64]
STEP_M, FINE_M = 0.01, 0.001
STEP_DEG, FINE_DEG = 5.0, 1.0
"""What a key does, and with Shift."""


@dataclass(frozen=True)
class ShownRobot:
    """What the view's process has said of the robot.

    Attributes:
        name: which, as it was asked for.
        pose: ``(4, 4)`` `scene_from_robot` where it belongs; None: nowhere.
        said: the scene says so; else the place was found.
        boxes: ``(L, 2, 3)`` lowest and highest corner of each of its links, in its own frame.
        message: what is wrong with it, else empty; `remedy`: what helps.
    """

    name: str
    pose: FloatArray | None
    said: bool
    boxes: FloatArray
    message: str
    remedy: str

    @staticmethod
    def of(words: Mapping[str, Any]) -> ShownRobot:
        """From the event ``robot`` (`app.viewer`)."""
        pose = None if words["pose"] is None else np.array(words["pose"], dtype=np.float64)
        boxes = np.array(words["boxes"], dtype=np.float64)
        return ShownRobot(words["name"], pose, words["said"], boxes, words["message"], words["remedy"])

    @property
    def whole(self) -> bool:
        """Whether its links are shown, and not its axes in their place: until they are read, or for want of them."""
        return len(self.boxes) > 1

    def outline(self, pose: FloatArray) -> FloatArray:
        """``(N, 3)`` corners of its boxes in the scene, it being at `pose`."""
        points = np.concatenate([corners(low, high) for low, high in self.boxes])
        return np.asarray(points @ pose[:3, :3].T + pose[:3, 3])

    def under(self, pose: FloatArray, view: View, place: tuple[float, float], aspect: float) -> FloatArray | None:
        """``(3,)`` where it is met at a place in the picture (shares of its size), being at `pose`; None: nowhere."""
        start = pose[:3, :3].T @ (view.position - pose[:3, 3])
        way = pose[:3, :3].T @ view.ray(*place, aspect)
        way = np.where(np.abs(way) < 1e-9, 1e-9, way)
        ends = np.sort((self.boxes - start) / way, axis=1)
        enters, leaves = ends[:, 0].max(axis=1), ends[:, 1].min(axis=1)
        hit = (enters <= leaves) & (enters > 0.0)
        if not hit.any():
            return None
        return np.asarray(pose[:3, :3] @ (start + enters[hit].min() * way) + pose[:3, 3])


def nudged(pose: FloatArray, key: int, modifiers: Qt.KeyboardModifier, view: View) -> FloatArray | None:
    """`pose` after a key: arrows push it along the scene's axes as they are seen, [ and ] turn it; None: no such key.

    Page up and down lift and lower it. Ctrl and an arrow turn it, too: not every keyboard has brackets at hand.
    """
    fine = bool(modifiers & Qt.KeyboardModifier.ShiftModifier)
    turn = bool(modifiers & Qt.KeyboardModifier.ControlModifier)
    step, angle = (FINE_M, FINE_DEG) if fine else (STEP_M, STEP_DEG)
    turns = {Qt.Key.Key_BracketLeft: 1.0, Qt.Key.Key_BracketRight: -1.0}
    turns |= {Qt.Key.Key_BraceLeft: 1.0, Qt.Key.Key_BraceRight: -1.0}  # with Shift on many keyboards
    if turn:
        turns |= {Qt.Key.Key_Left: 1.0, Qt.Key.Key_Right: -1.0}
    right = _nearest_axis(view.axes()[0])
    ahead = np.array([-right[1], right[0], 0.0])
    up = np.array([0.0, 0.0, 1.0])
    ways = {Qt.Key.Key_PageUp: up, Qt.Key.Key_PageDown: -up}
    if not turn:
        ways |= {Qt.Key.Key_Right: right, Qt.Key.Key_Left: -right, Qt.Key.Key_Up: ahead, Qt.Key.Key_Down: -ahead}
    moved = pose.copy()
    if key in turns:
        c, s = np.cos(np.radians(angle)), turns[Qt.Key(key)] * np.sin(np.radians(angle))
        moved[:3, :3] = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]]) @ pose[:3, :3]
    elif key in ways:
        moved[:3, 3] += step * ways[Qt.Key(key)]
    else:
        return None
    return moved


def _nearest_axis(way: FloatArray) -> FloatArray:
    """The one of ±x and ±y, ``(3,)``, that points most like `way`."""
    axis = int(np.argmax(np.abs(way[:2])))
    found = np.zeros(3)
    found[axis] = 1.0 if way[axis] >= 0.0 else -1.0
    return found
