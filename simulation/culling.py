"""Where a thing can be seen, and where its shadow can fall: from the box round it, for many frames at once.

What is said here only ever spares rays that would meet nothing; it is generous, never wrong.
"""

from __future__ import annotations

import numpy as np

from simulation.sight import Float32, FloatArray, IntArray, Mask, dot

_CELLS = 80
_FAR = 30_000.0
"""Pixels; OpenCV's polygons reach no farther. What would is taken to be everywhere."""
_NEAR_M = 0.001
_BOX_EDGES = np.array([[a, a | bit] for bit in (1, 2, 4) for a in range(8) if not a & bit])
"""Corners as `Drawable.corners` has them: their numbers' bits choose between low and high."""
_LARGE_M = 2.5
"""Things with a larger box may throw their shadow anywhere."""


def picture_boxes(corners: FloatArray, focal_px: float, size: tuple[int, int]) -> Mask:
    """Pixels in which boxes may be seen by a camera without distortion.

    Args:
        corners: ``(F, 8, 3)`` of the boxes in the camera frame (z forward), metres.
        focal_px: of the camera; the optical axis goes through the middle.
        size: of the picture, pixels.

    Returns:
        ``(F, H * W)``, two pixels wider than the boxes.
    """
    width, height = size
    start, end = corners[:, _BOX_EDGES[:, 0]], corners[:, _BOX_EDGES[:, 1]]
    # What lies behind the camera is cut off: an edge's end there is drawn back to just before it.
    with np.errstate(divide="ignore", invalid="ignore"):
        share = (_NEAR_M - start[..., 2:]) / (end[..., 2:] - start[..., 2:])
    cut = start + np.where((share > 0.0) & (share < 1.0), share, 0.0) * (end - start)
    points = np.concatenate([corners, cut], axis=1)
    before = points[..., 2] > 0.999 * _NEAR_M
    shown = np.zeros((len(corners), height, width), dtype=np.bool_)
    # Outside where all corners are on the far side of one side of the view.
    half = np.array([width / 2 + 2, height / 2 + 2]) / focal_px * corners[..., 2:]
    beside = np.asarray((corners[..., :2] > half).all(axis=1) | (corners[..., :2] < -half).all(axis=1))
    some = np.flatnonzero(before.any(axis=1) & ~beside[:, 0] & ~beside[:, 1])
    if not len(some):
        return shown.reshape(len(shown), -1)
    points, before = points[some], before[some]
    first = np.take_along_axis(points, before.argmax(axis=1)[:, None, None], axis=1)
    points = np.where(before[..., None], points, first)
    middle = np.array([width / 2 - 0.5, height / 2 - 0.5])
    shown[some] = _filled(
        points[..., :2] / points[..., 2:] * focal_px + middle, (height, width), np.full(len(some), 2.0)
    )
    return shown.reshape(len(shown), -1)


class ShadowGrid:
    """The plane across the light in cells: whose shadow can lie on what lies in a cell.

    There are two layers of cells, for what lies above the lowest of the small things and for what lies deeper, where
    penumbras are wider.

    Attributes:
        shadows: of each thing, cells ``(F or 1, cells)`` that it may shade; None: any.
    """

    def __init__(self, toward: FloatArray, spread: float, reach_m: float, boxes: list[FloatArray]) -> None:
        """Lay it out.

        Args:
            toward: ``(3,)`` unit, to the lamp.
            spread: radius of the lamp over its distance.
            reach_m: shadows are no longer.
            boxes: ``(F or 1, 8, 3)`` corners of the box round each thing, scene frame, metres.
        """
        side = np.cross(toward, [0.0, 1.0, 0.0] if abs(toward[1]) < 0.9 else [1.0, 0.0, 0.0])
        side = side / np.linalg.norm(side)
        self._axes = np.stack([side, np.cross(toward, side)])
        small = [bool(np.ptp(box[0], axis=0).max() <= _LARGE_M) for box in boxes]
        deepest = min((float(box[..., 2].min()) for box in boxes), default=0.0)
        self._floor = min((float(box[..., 2].min()) for box, one in zip(boxes, small, strict=True) if one), default=0.0)
        self._floor -= 0.01
        flat = [box @ self._axes.T for box in boxes]
        # Light that passes a thing at its top goes only so far before it is below a level, and spreads on the way; that
        # from the lamp's lower rim goes farthest.
        steep = float(toward[2]) - spread * float(np.hypot(toward[0], toward[1]))
        reaches = [
            [spread * self._way(box[..., 2].max(axis=1) - level, steep, reach_m) for level in (self._floor, deepest)]
            for box in boxes
        ]
        ends = [
            np.concatenate([one.reshape(-1, 2) - reach[1].max(), one.reshape(-1, 2) + reach[1].max()])
            for one, reach, is_small in zip(flat, reaches, small, strict=True)
            if is_small
        ]
        points = np.concatenate(ends) if ends else np.zeros((1, 2))
        self._low = points.min(axis=0)
        self._cell = max(float((points.max(axis=0) - self._low).max()) / (_CELLS - 3), 1e-6)
        # The first row and column stay free: cell 0 stands for all that lies outside.
        self._low -= 1.5 * self._cell
        self.shadows = [
            self._shadow(one, reach) if is_small else None
            for one, reach, is_small in zip(flat, reaches, small, strict=True)
        ]

    @staticmethod
    def _way(height: FloatArray, steep: float, reach_m: float) -> FloatArray:
        """How far light goes before it has fallen by `height` ``(F,)``, at most `reach_m`."""
        return np.minimum(height / steep, reach_m) if steep > 0.0 else np.full_like(height, reach_m)

    def _shadow(self, flat: FloatArray, reaches: list[FloatArray]) -> Mask:
        layers = []
        for reach in reaches:
            grow = 1.0 + reach / self._cell
            shaded = _filled((flat - self._low) / self._cell - 0.5, (_CELLS, _CELLS), grow)
            shaded[:, 0], shaded[:, :, 0] = False, False
            layers.append(shaded.reshape(len(shaded), -1))
        return np.concatenate(layers, axis=1)

    @property
    def count(self) -> int:
        """Number of cells."""
        return 2 * _CELLS * _CELLS

    def cells(self, places: Float32) -> IntArray:
        """Cells ``(N,)`` of places ``(3, N)`` of the scene."""
        across, along = (dot(places, axis) for axis in self._axes.astype(np.float32))
        factor = np.float32(1.0 / self._cell)
        column = ((across - np.float32(self._low[0])) * factor).astype(np.int64)
        row = ((along - np.float32(self._low[1])) * factor).astype(np.int64)
        outside = (column < 0) | (column >= _CELLS) | (row < 0) | (row >= _CELLS)
        cell = np.where(places[2] < np.float32(self._floor), row + _CELLS, row) * _CELLS + column
        cell[outside] = 0
        return np.asarray(cell)


def _filled(points: FloatArray, shape: tuple[int, int], grow: FloatArray) -> Mask:
    """Masks ``(F, H, W)`` of the convex hulls of ``(F, N, 2)`` points (x, y), wider by `grow` ``(F,)`` on all sides."""
    import cv2

    masks = np.zeros((len(points), *shape), dtype=np.uint8)
    square = grow[:, None, None, None] * np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
    wide = (points[:, :, None] + square).reshape(len(points), -1, 2)
    far = np.abs(wide).max(axis=(1, 2)) > _FAR
    wide = np.rint(np.where(far[:, None, None], 0.0, wide)).astype(np.int32)
    for mask, one in zip(masks, wide, strict=True):
        cv2.fillConvexPoly(mask, cv2.convexHull(one), 1)
    masks[far] = 1
    return masks.view(np.bool_)
