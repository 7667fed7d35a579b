"""Where a camera stands, from the printed tag in its picture; and how long its lens is, from several such pictures.

Pixels have their middles at whole numbers. The optical axis goes through the middle of the picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reconstruction.capture import FloatArray
from reconstruction.tag_pose import CORNERS

AMBIGUOUS = 2.0
"""A small square seen from afar may lean either way: where the better of both explains the picture by no more than this
factor, the one nearer to what is expected is taken."""
LEAST_VIEWS = 5


@dataclass(frozen=True)
class Lens:
    """How a camera sees.

    Attributes:
        focal_px: of both axes, pixels.
        size: width and height of the picture, pixels.
    """

    focal_px: float
    size: tuple[int, int]

    @property
    def matrix(self) -> FloatArray:
        """Intrinsics ``(3, 3)``."""
        width, height = self.size
        return np.array(
            [[self.focal_px, 0.0, (width - 1) / 2], [0.0, self.focal_px, (height - 1) / 2], [0.0, 0.0, 1.0]]
        )


def camera_from_tag(corners: FloatArray, lens: Lens, side_m: float, expected: FloatArray) -> tuple[FloatArray, float]:
    """``(4, 4)`` from the tag's frame to the camera's, and by how many pixels (rms) its corners are off then.

    Infinitesimal plane-based pose estimation (Collins & Bartoli, 2014), then the least squares in the picture.

    Args:
        corners: ``(4, 2)`` pixels (`reconstruction.tags.seen_corners`).
        lens: of the camera.
        side_m: of the black square.
        expected: ``(4, 4)`` roughly where it is.
    """
    import cv2

    points = (side_m * CORNERS).astype(np.float64)
    found = cv2.solvePnPGeneric(points, corners, lens.matrix, None, flags=cv2.SOLVEPNP_IPPE_SQUARE)
    poses = []
    for turn, shift in zip(found[1], found[2], strict=True):
        turn, shift = cv2.solvePnPRefineLM(points, corners, lens.matrix, None, turn, shift)
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = cv2.Rodrigues(turn)[0], np.ravel(shift)
        poses.append((_off(pose, points, corners, lens), pose))
    poses.sort(key=lambda row: row[0])
    likely = [row for row in poses if row[0] <= AMBIGUOUS * poses[0][0] + 1e-9]
    off, pose = min(likely, key=lambda row: -float(np.trace(row[1][:3, :3].T @ expected[:3, :3])))
    return pose, off


def _off(pose: FloatArray, points: FloatArray, corners: FloatArray, lens: Lens) -> float:
    seen = points @ pose[:3, :3].T + pose[:3, 3]
    if (seen[:, 2] <= 0.0).any():
        return float("inf")
    pixels = (seen / seen[:, 2:]) @ lens.matrix.T
    return float(np.sqrt(((pixels[:, :2] - corners) ** 2).sum(axis=1).mean()))


def focal_of(views: Sequence[FloatArray], size: tuple[int, int], side_m: float) -> tuple[float, float] | None:
    """The focal length (pixels) of a camera that saw the tag from many sides, and its uncertainty (one sigma).

    Zhang, "A flexible new technique for camera calibration", 2000, with a square for a chessboard.

    Args:
        views: ``(4, 2)`` corners in each of its pictures, all of one size and zoom.
        size: width and height of them.
        side_m: of the black square.

    Returns:
        None: too few, or they do not tell.
    """
    import cv2

    if len(views) < LEAST_VIEWS:
        return None
    points = [(side_m * CORNERS).astype(np.float32)] * len(views)
    start = Lens(1.2 * max(size), size).matrix
    flags = cv2.CALIB_USE_INTRINSIC_GUESS | cv2.CALIB_FIX_PRINCIPAL_POINT | cv2.CALIB_FIX_ASPECT_RATIO
    flags |= cv2.CALIB_ZERO_TANGENT_DIST | cv2.CALIB_FIX_K1 | cv2.CALIB_FIX_K2 | cv2.CALIB_FIX_K3
    seen = [corners.astype(np.float32) for corners in views]
    found = cv2.calibrateCameraExtended(points, seen, size, start, np.zeros(5), flags=flags)
    matrix, sigma_px = found[1], float(np.ravel(found[5])[:2].max())
    if not 0.2 * max(size) < matrix[0, 0] < 20.0 * max(size) or not np.isfinite(sigma_px):
        return None
    return float(matrix[0, 0]), sigma_px
