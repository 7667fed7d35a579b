"""How a camera sees: its lens and its sensor, without its place. NumPy alone: it goes to the robot."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
LENS_ROUNDS = 20


@dataclass(frozen=True)
class Optics:
    """A camera without its place. The optical axis goes through the middle of the picture.

    Attributes:
        focal_px: of both axes, pixels.
        size: width and height, pixels.
        lens: radial distortion k: what is seen at radius r (1 = half the height) lies where a pinhole camera sees
            r (1 + k r²) (Brown, 1966), shrunk so that the corners still see what lies in the pinhole camera's picture.
        exposure: factor on linear brightness.
        noise: standard deviation of a value in the picture, 1 = white.
    """

    focal_px: float
    size: tuple[int, int]
    lens: float = 0.0
    exposure: float = 1.0
    noise: float = 0.0

    def rays(self, u: npt.ArrayLike, v: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Where lines of sight through image points meet the plane z = 1 of the camera frame: x and y.

        Args:
            u: pixels to the right; the first pixel's middle is at 0.
            v: pixels down.
        """
        width, height = self.size
        x, y = np.asarray(u) + 0.5 - width / 2, np.asarray(v) + 0.5 - height / 2
        corner = 1.0 + self.lens * (1.0 + (width / height) ** 2)
        stretch = (1.0 + self.lens * (x * x + y * y) * (2.0 / height) ** 2) / max(corner, 1.0)
        return x * stretch / self.focal_px, y * stretch / self.focal_px

    def seen_at(self, points: FloatArray) -> FloatArray:
        """Where points ``(..., 3)`` of the camera frame are seen: ``(..., 2)``, right and down, the picture −1 … 1.

        What lies behind the camera is seen nowhere: what comes out then means nothing.
        """
        width, height = self.size
        depth = np.maximum(points[..., 2:], 1e-6)
        pinhole = np.clip(points[..., :2] / depth * self.focal_px, -10.0 * height, 10.0 * height)
        corner = 1.0 + self.lens * (1.0 + (width / height) ** 2)
        at = pinhole.copy()
        for _ in range(LENS_ROUNDS):  # backwards through `rays`
            square = np.minimum((at * at).sum(axis=-1, keepdims=True) * (2.0 / height) ** 2, 8.0)
            at = pinhole * max(corner, 1.0) / (1.0 + self.lens * square)
        return np.asarray(at / [width / 2, height / 2])
