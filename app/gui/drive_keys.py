"""The keys that move an arm's hand, in the window of demonstrations and in the scene."""

from __future__ import annotations

from collections.abc import Iterable

from PySide6.QtCore import Qt

MOVES: dict[int, tuple[int, float]] = {
    Qt.Key.Key_Right: (0, 1.0),
    Qt.Key.Key_Left: (0, -1.0),
    Qt.Key.Key_Up: (1, 1.0),
    Qt.Key.Key_Down: (1, -1.0),
    Qt.Key.Key_R: (2, 1.0),
    Qt.Key.Key_F: (2, -1.0),
    Qt.Key.Key_E: (3, 1.0),
    Qt.Key.Key_Q: (3, -1.0),
    Qt.Key.Key_W: (4, -1.0),
    Qt.Key.Key_S: (4, 1.0),
    Qt.Key.Key_A: (5, 1.0),
    Qt.Key.Key_D: (5, -1.0),
}
"""Which number of a command (three of moving, three of turning) a key is about, and which way."""


def held_motion(held: Iterable[int]) -> list[float]:
    """Three of moving and three of turning, -1 … 1, as `simulation.teleoperation.Command`, of the keys held down."""
    values = [0.0] * 6
    for key in held:
        number, way = MOVES[key]
        values[number] += way
    return values
