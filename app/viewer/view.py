"""Where the scene is looked at from: a turntable camera that is always upright. NumPy only, for both processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
UP = np.array([0.0, 0.0, 1.0])
STEEPEST_DEG = 89.0
"""Beyond, upright has no meaning."""
NEAREST_M, FARTHEST_M = 0.02, 100.0


@dataclass(frozen=True)
class View:
    """A camera.

    Attributes:
        position: ``(3,)`` where it is.
        focal: ``(3,)`` what it looks at and turns about.
        angle: vertical angle of view, degrees.
    """

    position: FloatArray
    focal: FloatArray
    up: FloatArray = field(default_factory=UP.copy)
    angle: float = 32.0

    @staticmethod
    def of(words: Mapping[str, Any]) -> View:
        """From the words of a command.

        Raises:
            ValueError: they are no camera.
        """
        position, focal, up = (np.array(words[key], dtype=np.float64) for key in ("position", "focal", "up"))
        view = View(position, focal, up, float(words["angle"]))
        flat = np.concatenate([position, focal, up, [view.angle]])
        across = np.cross(focal - position, up)
        if flat.shape != (10,) or not np.isfinite(flat).all() or not across.any() or not 1.0 <= view.angle <= 150.0:
            raise ValueError("this is no camera")
        return view

    def words(self) -> dict[str, Any]:
        """For a command."""
        position, focal, up = (np.round(array, 7).tolist() for array in (self.position, self.focal, self.up))
        return {"position": position, "focal": focal, "up": up, "angle": self.angle}

    @property
    def distance(self) -> float:
        """From the camera to what it looks at."""
        return float(np.linalg.norm(self.focal - self.position))

    def axes(self) -> FloatArray:
        """``(3, 3)``, rows right, up, forward."""
        forward = (self.focal - self.position) / self.distance
        right = np.cross(forward, self.up)
        right /= np.linalg.norm(right)
        return np.array([right, np.cross(right, forward), forward])

    def _spread(self, aspect: float) -> FloatArray:
        """Half the picture's width and height one metre ahead."""
        half = np.tan(np.radians(self.angle) / 2)
        return np.array([half * aspect, half])

    def project(self, points: npt.ArrayLike, aspect: float) -> tuple[FloatArray, FloatArray]:
        """Places in the picture ``(..., 2)``, shares of width and height, and how far ahead ``(...)`` points lie."""
        local = (np.asarray(points, dtype=np.float64) - self.position) @ self.axes().T
        ahead = local[..., 2]
        at = local[..., :2] / np.maximum(ahead, 1e-9)[..., None] / self._spread(aspect)
        return 0.5 + at * np.array([0.5, -0.5]), ahead

    def ray(self, x: float, y: float, aspect: float) -> FloatArray:
        """Unit direction ``(3,)`` in which a place in the picture lies."""
        right, up = self._spread(aspect) * np.array([2 * x - 1, 1 - 2 * y])
        direction = np.array([right, up, 1.0]) @ self.axes()
        return np.asarray(direction / np.linalg.norm(direction))

    def orbited(self, right_deg: float, up_deg: float) -> View:
        """The camera goes round what it looks at."""
        offset = self.position - self.focal
        level = float(np.hypot(offset[0], offset[1]))
        azimuth = np.arctan2(offset[1], offset[0]) + np.radians(right_deg)
        elevation = np.degrees(np.arctan2(offset[2], level)) + up_deg
        elevation = np.radians(np.clip(elevation, -STEEPEST_DEG, STEEPEST_DEG))
        flat = np.cos(elevation)
        way = np.array([flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(elevation)])
        return replace(self, position=self.focal + self.distance * way)

    def panned(self, x: float, y: float, aspect: float) -> View:
        """What is seen moves by a share of the picture's width and height."""
        right, up, _ = self.axes()
        width, height = 2 * self.distance * self._spread(aspect)
        shift = -x * width * right + y * height * up
        return replace(self, position=self.position + shift, focal=self.focal + shift)

    def zoomed(self, factor: float, x: float = 0.5, y: float = 0.5, aspect: float = 1.0) -> View:
        """The distance times `factor`; what lies at a place in the picture (as far away as the focal point) stays."""
        distance = float(np.clip(self.distance * factor, NEAREST_M, FARTHEST_M))
        factor = distance / self.distance
        ray = self.ray(x, y, aspect)
        held = self.position + ray * self.distance / float(ray @ self.axes()[2])
        return replace(self, position=held + factor * (self.position - held), focal=held + factor * (self.focal - held))

    def turned_about(self, point: npt.ArrayLike) -> View:
        """The same way of looking, at another point."""
        focal = np.asarray(point, dtype=np.float64)
        return replace(self, position=self.position + focal - self.focal, focal=focal)

    def framing(self, low: npt.ArrayLike, high: npt.ArrayLike, aspect: float, margin: float = 1.08) -> View:
        """The same way of looking, from where a box just fills the picture."""
        return self.framing_points(corners(low, high), aspect, margin)

    def framing_points(self, points: FloatArray, aspect: float, margin: float = 1.08) -> View:
        """The same way of looking, from where points ``(N, 3)`` just fill the picture."""
        axes, spread = self.axes(), self._spread(aspect) / margin
        local = points @ axes.T
        # Each side of the picture is a plane that the camera must stay behind; two opposite ones meet where it stands.
        at = np.zeros(3)
        ahead = []
        for axis in (0, 1):
            most = (local[:, axis] - spread[axis] * local[:, 2]).max()
            least = (local[:, axis] + spread[axis] * local[:, 2]).min()
            at[axis] = (most + least) / 2
            ahead.append((least - most) / 2 / spread[axis])
        at[2] = min(ahead)
        middle = local[:, 2].mean()
        distance = float(np.clip(middle - at[2], NEAREST_M, FARTHEST_M))
        at[2] = middle - distance
        position = at @ axes
        return replace(self, position=position, focal=position + distance * axes[2])


def corners(low: npt.ArrayLike, high: npt.ArrayLike) -> FloatArray:
    """The eight of a box, ``(8, 3)``."""
    chosen = np.indices((2, 2, 2)).reshape(3, 8).T == 1
    return np.where(chosen, np.asarray(high, dtype=np.float64), np.asarray(low, dtype=np.float64))


def looking_down(azimuth_deg: float, elevation_deg: float) -> View:
    """From one metre away at the origin; `azimuth_deg` is where the camera stands, about z from +x."""
    return View(np.array([1.0, 0.0, 0.0]), np.zeros(3)).orbited(azimuth_deg, elevation_deg)
