"""Depth pictures of all cameras as one cloud of coloured points in the frame of the robot's base.

A robot makes it of what its own cameras measure, a simulation of what it draws, by the same function: NumPy alone.
Points are thinned to a fixed number, what rises from the table more finely than the table itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from simulation.calibration import NUMBERS, ON_THE_HAND, calibrated

FloatArray = npt.NDArray[np.float64]
Pictures = Mapping[str, npt.NDArray[Any]]
CLOUD = "observation.points"
"""Name of the cloud; of a camera's depth picture: `DEPTH` and the camera's name."""
DEPTH = "observation.depth."
COUNT, OF_A_POINT = 1024, 6
"""Points of a cloud, and numbers of a point: x, y, z in tenths of a millimetre, and red, green, blue of 0 … 255."""
UNIT_M = 1e-4
ROWS = 192
"""Of a larger picture, no more rows than this are looked at, and as few columns: a robot has no time for more."""
RISES_M = 0.008
"""What is higher over the table than this is more than the table."""
MORE_M = 0.35
"""Points are kept so far beyond an arm's reach, which is told carefully, …"""
BELOW_M, ABOVE_M = 0.03, 0.35
"""… and from so far below the table to so far above it."""
FINE_M, COARSE_M = 0.008, 0.025
"""Of what rises from the table, and of the table, one point is kept in a cube with edges so long."""
RISING = 7 * COUNT // 8
"""Points that what rises may have at most, where there are enough others."""


@dataclass(frozen=True)
class Bounds:
    """Where points are kept.

    Attributes:
        table_m: height of the table's plane in the base frame.
        reach_m: distance from the base's upright axis, in plan.
    """

    table_m: float
    reach_m: float

    @staticmethod
    def of(mount: FloatArray, reach_m: float) -> Bounds:
        """Those of an arm that gets so far (`robots.Robot.reach_m`).

        Args:
            mount: ``(4, 4)`` `scene_from_base`; the table is the scene's plane z = 0.
            reach_m: of the arm, in plan.
        """
        return Bounds(float(np.linalg.inv(mount)[2, 3]), reach_m + MORE_M)


def cloud(
    pictures: Pictures, depths_m: Pictures, known: npt.NDArray[Any], tool: FloatArray, bounds: Bounds
) -> npt.NDArray[np.int16]:
    """``(COUNT · 6,)`` the cloud; the same for the same pictures.

    Args:
        pictures: ``(H, W, 3)`` of each camera, RGB of 0 … 255.
        depths_m: ``(H, W)`` of the same, along the optical axis, 0 or no number where nothing was measured.
        known: ``(cameras · 11,)`` of them (`calibration.calibration`), in the order of `pictures`.
        tool: ``(4, 4)`` `base_from_tool` when they were taken.
        bounds: where points are kept.

    Raises:
        ValueError: these do not fit together.
    """
    if known.shape != (len(pictures) * NUMBERS,):
        raise ValueError(f"of {len(pictures)} cameras {len(pictures) * NUMBERS} numbers are known, not {known.shape}")
    found = []
    for (name, rgb), row in zip(pictures.items(), known.reshape(-1, NUMBERS), strict=True):
        found.append(_back_projected(name, rgb, depths_m[name], row, tool))
    points, colors = (np.concatenate(parts) for parts in zip(*found, strict=True))
    height = points[:, 2] - bounds.table_m
    kept = (height > -BELOW_M) & (height < ABOVE_M) & (np.hypot(points[:, 0], points[:, 1]) < bounds.reach_m)
    rows = _thinned(points, kept & (height > RISES_M), kept & (height <= RISES_M))
    packed = np.zeros((COUNT, OF_A_POINT), dtype=np.int16)  # a cloud of nothing lies in the base
    if len(rows):
        rows = np.resize(rows, COUNT)
        packed[:, :3] = np.rint(points[rows] / UNIT_M)
        packed[:, 3:] = colors[rows]
    return packed.ravel()


def _back_projected(
    name: str, rgb: npt.NDArray[Any], depth_m: npt.NDArray[Any], known: npt.NDArray[Any], tool: FloatArray
) -> tuple[FloatArray, npt.NDArray[Any]]:
    """Points ``(n, 3)`` of the base frame, metres, and their colours ``(n, 3)``, of one camera."""
    if rgb.shape != (*depth_m.shape, 3):
        raise ValueError(f"the pictures of {name} are {rgb.shape}, their depth {depth_m.shape}")
    height, width = depth_m.shape
    pose, optics = calibrated(known, (width, height))
    if name in ON_THE_HAND:
        pose = tool @ pose
    every = -(-height // ROWS)
    looked = depth_m[::every, ::every]
    v, u = every * np.array(np.nonzero((looked > 0.0) & (looked < np.inf)))
    depth = np.asarray(depth_m[v, u], dtype=np.float64)
    x, y = optics.rays(u, v)
    seen = np.stack([x * depth, y * depth, depth], axis=1)
    return seen @ pose[:3, :3].T + pose[:3, 3], rgb[v, u]


def _thinned(points: FloatArray, rising: npt.NDArray[np.bool_], flat: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Numbers of up to `COUNT` points of either kind, none of a kind twice in a cube."""
    rng = np.random.default_rng(0)
    parts = []
    for chosen, edge_m in ((rising, FINE_M), (flat, COARSE_M)):
        rows = rng.permutation(np.flatnonzero(chosen))
        x, y, z = (np.floor(points[rows] / edge_m).astype(np.int64) + (1 << 20)).T
        parts.append(rows[np.sort(np.unique((x << 42) | (y << 21) | z, return_index=True)[1])])
    most = max(RISING, COUNT - len(parts[1]))
    return np.concatenate([parts[0][:most], parts[1]])[:COUNT]
