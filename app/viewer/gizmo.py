"""Handles to move or turn a thing by the mouse: where they are, which one is meant, and what dragging it does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.viewer.view import View

FloatArray = npt.NDArray[np.float64]
SIZE = 0.13
"""Length of an arrow, a share of the picture's height where the thing is."""
GRIP_PX = 9.0
"""So near to a handle the mouse is on it."""
SNAP_M, SNAP_DEG = 0.01, 15.0
EDGE_ON = 0.12
"""A ring whose plane is looked along so flatly (sine) is turned by the mouse's way round it on the screen."""
FARTHEST_M = 20.0
"""Beyond, a place on a plate's plane is none: the mouse is at the horizon, or over it."""


@dataclass(frozen=True)
class Handle:
    """One of them.

    Attributes:
        kind: arrow (along `axis`), plate (across it) or ring (about it).
        axis: 0 x, 1 y, 2 z of the scene.
    """

    kind: str
    axis: int

    @property
    def way(self) -> FloatArray:
        """Unit ``(3,)``."""
        return np.asarray(np.eye(3)[self.axis])


HANDLES: dict[str, tuple[Handle, ...]] = {
    "move": (Handle("plate", 2), Handle("arrow", 0), Handle("arrow", 1), Handle("arrow", 2)),
    "turn": (Handle("ring", 2), Handle("ring", 0), Handle("ring", 1)),
    "robot": (Handle("plate", 2), Handle("ring", 2), Handle("arrow", 0), Handle("arrow", 1)),
}


def line(handle: Handle, middle: FloatArray, view: View) -> FloatArray:
    """What is drawn of a handle, ``(N, 3)``."""
    ahead = float((middle - view.position) @ view.axes()[2])
    size = SIZE * 2 * max(ahead, 1e-3) * float(np.tan(np.radians(view.angle) / 2))
    if handle.kind == "arrow":
        return np.array([middle + 0.2 * size * handle.way, middle + size * handle.way])
    first, second = np.eye(3)[(handle.axis + 1) % 3], np.eye(3)[(handle.axis + 2) % 3]
    if handle.kind == "plate":
        square = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1], [-1, -1]]) * 0.12 * size
        return np.asarray(middle + square @ np.array([first, second]))
    angles = np.linspace(0.0, 2 * np.pi, 65)[:, None]
    return np.asarray(middle + size * (np.cos(angles) * first + np.sin(angles) * second))


def under(
    tool: str, middle: FloatArray, view: View, mouse: Sequence[float], size: tuple[float, float]
) -> Handle | None:
    """The handle that the mouse is on, in a picture of `size`; the nearest to the eye's liking where several are."""
    at, best, found = np.array(mouse), GRIP_PX, None
    for handle in HANDLES.get(tool, ()):
        pixels = view.project(line(handle, middle, view), size[0] / size[1])[0] * np.array(size)
        away = _distance(at, pixels)
        if handle.kind == "plate":
            away = max(0.0, float(np.abs(at - pixels[:-1].mean(axis=0)).max()) - np.ptp(pixels, axis=0).max() / 2)
            away *= 1.001  # inside, nothing is nearer
        if away < best:
            best, found = away, handle
    return found


def _distance(point: FloatArray, corners: FloatArray) -> float:
    """From a point to a line with corners, in the plane."""
    start, way = corners[:-1], np.diff(corners, axis=0)
    share = ((point - start) * way).sum(axis=1) / np.maximum((way**2).sum(axis=1), 1e-12)
    nearest = start + np.clip(share, 0.0, 1.0)[:, None] * way
    return float(np.linalg.norm(point - nearest, axis=1).min())


class Drag:
    """A handle in the user's hand."""

    def __init__(
        self,
        handle: Handle,
        pose: FloatArray,
        view: View,
        place: tuple[float, float],
        aspect: float,
        point: FloatArray | None = None,
    ) -> None:
        """Taken at a place in the picture (shares of its width and height), with the thing at `pose`.

        `point` ``(3,)``: what was taken hold of there, which stays under the mouse; None: the handle itself.
        """
        self.handle, self._pose, self._view, self._aspect = handle, pose.copy(), view, aspect
        self._middle = (pose[:3, 3] if point is None else point).copy()
        self._last = np.zeros(2)
        self._start = self._last = self._value(place)
        self._turned = 0.0

    def _value(self, place: tuple[float, float]) -> FloatArray:
        """How far along the arrow, where on the plate, or at which angle of the ring a place is."""
        eye, ray, way = self._view.position, self._view.ray(*place, self._aspect), self.handle.way
        if self.handle.kind == "arrow":
            # The point of the arrow's line that is nearest to the ray.
            across = np.cross(way, ray)
            size = max(float(across @ across), 1e-6)
            return np.array([float(np.cross(eye - self._middle, ray) @ across) / size])
        slope = float(ray @ way)
        if self.handle.kind == "ring" and abs(slope) < EDGE_ON:
            middle = self._view.project(self._middle, self._aspect)[0]
            x, y = (np.array(place) - middle) * (self._aspect, -1.0)
            facing = -float(np.sign(way @ (self._middle - eye))) or 1.0
            return np.array([facing * np.arctan2(y, x)])
        slope = slope if abs(slope) > 1e-3 else 1e-3
        ahead = float((self._middle - eye) @ way) / slope
        if self.handle.kind == "plate" and not 0.0 < ahead < FARTHEST_M:
            return self._last
        point = eye + ahead * ray - self._middle
        first, second = np.eye(3)[(self.handle.axis + 1) % 3], np.eye(3)[(self.handle.axis + 2) % 3]
        flat = np.array([point @ first, point @ second])
        return flat if self.handle.kind == "plate" else np.array([np.arctan2(flat[1], flat[0])])

    def pose(self, place: tuple[float, float], *, snap: bool = False) -> FloatArray:
        """The thing's pose now that the mouse is at a place; `snap`: by whole steps."""
        value = self._value(place)
        pose = self._pose.copy()
        if self.handle.kind == "ring":
            # Summed up from small steps: a turn may go beyond half a circle.
            step = float((value - self._last)[0])
            self._turned += (step + np.pi) % (2 * np.pi) - np.pi
            self._last = value
            angle = self._turned
            if snap:
                angle = np.radians(SNAP_DEG) * round(float(np.degrees(angle)) / SNAP_DEG)
            pose[:3, :3] = _turn(self.handle.axis, float(angle)) @ pose[:3, :3]
            return pose
        self._last = value
        shift = value - self._start
        if snap:
            shift = SNAP_M * np.round(shift / SNAP_M)
        if self.handle.kind == "arrow":
            pose[:3, 3] += shift[0] * self.handle.way
        else:
            pose[(self.handle.axis + 1) % 3, 3] += shift[0]
            pose[(self.handle.axis + 2) % 3, 3] += shift[1]
        return pose


def _turn(axis: int, angle: float) -> FloatArray:
    turn = np.eye(3)
    first, second = (axis + 1) % 3, (axis + 2) % 3
    turn[first, first] = turn[second, second] = np.cos(angle)
    turn[second, first], turn[first, second] = np.sin(angle), -np.sin(angle)
    return turn
