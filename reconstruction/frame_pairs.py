"""Which keyframes see the same surface: neighbours in time, and returns to a place seen long before."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reconstruction.capture import FloatArray
from reconstruction.surface_maps import SurfaceMap

IndexArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class FramePair:
    """Two keyframes that see the same surface.

    Attributes:
        a: position of the earlier keyframe; b: of the later.
        overlap: share of what one sees that the other sees too, 0 … 1.
        loop: they are far apart in time.
        angle_deg: between their viewing directions.
    """

    a: int
    b: int
    overlap: float
    loop: bool
    angle_deg: float


def overlap_matrix(surfaces: list[SurfaceMap], poses: FloatArray, gate_m: float, samples: int = 80) -> FloatArray:
    """``(K, K)`` share of row keyframe's samples that land on the surface the column keyframe saw.

    Args:
        surfaces: one a keyframe.
        poses: ``(K, 4, 4)`` capture_from_camera.
        gate_m: largest difference in depth, metres, plus 4 % of the depth.
        samples: points drawn a keyframe.
    """
    points = np.zeros((len(surfaces), samples, 3))
    known = np.zeros((len(surfaces), samples), dtype=bool)
    for k, surface in enumerate(surfaces):
        cloud = surface.points().reshape(-1, 3)
        cloud = cloud[cloud[:, 2] > 0]
        if len(cloud):
            step = np.linspace(0, len(cloud) - 1, min(samples, len(cloud))).astype(np.int64)
            points[k, : len(step)] = cloud[step] @ poses[k, :3, :3].T + poses[k, :3, 3]
            known[k, : len(step)] = True
    overlap = np.zeros((len(surfaces), len(surfaces)))
    total = np.maximum(known.sum(axis=1), 1)
    for k, surface in enumerate(surfaces):
        hits = _lands_on(points.reshape(-1, 3), surface, poses[k], gate_m).reshape(known.shape)
        overlap[:, k] = (hits & known).sum(axis=1) / total
    return overlap


def _lands_on(
    points: FloatArray, surface: SurfaceMap, capture_from_camera: FloatArray, gate_m: float
) -> npt.NDArray[np.bool_]:
    """Which capture-frame points ``(N, 3)`` project onto measured surface at about their own depth."""
    local = (points - capture_from_camera[:3, 3]) @ capture_from_camera[:3, :3]
    z = local[:, 2]
    ahead = z > 0.05
    safe = np.where(ahead, z, 1.0)
    k = surface.intrinsics
    u = np.rint(local[:, 0] / safe * k[0, 0] + k[0, 2]).astype(np.int64)
    v = np.rint(local[:, 1] / safe * k[1, 1] + k[1, 2]).astype(np.int64)
    h, w = surface.depth_m.shape
    ahead &= (u >= 0) & (u < w) & (v >= 0) & (v < h)
    seen = surface.depth_m[np.where(ahead, v, 0), np.where(ahead, u, 0)]
    return ahead & (seen > 0) & (np.abs(seen - z) < gate_m + 0.04 * z)


def choose_pairs(
    overlap: FloatArray, poses: FloatArray, neighbours: tuple[int, ...], loops_per_frame: int, loop_gap: int
) -> list[FramePair]:
    """Pairs worth comparing, in a fixed order.

    Args:
        overlap: ``(K, K)`` from `overlap_matrix`.
        poses: ``(K, 4, 4)`` capture_from_camera.
        neighbours: distances in keyframes between temporal neighbours that are compared.
        loops_per_frame: for each keyframe at most so many partners farther away in time, the best overlap first,
            themselves at least `loop_gap` keyframes apart.
        loop_gap: keyframes that make a pair a loop.
    """
    both = np.minimum(overlap, overlap.T)
    axes = poses[:, :3, 2]
    angles = np.degrees(np.arccos(np.clip(axes @ axes.T, -1.0, 1.0)))
    count = len(poses)
    chosen = {(a, a + step) for step in neighbours for a in range(count - step) if both[a, a + step] > 0.2}
    for a in range(count):
        # A little less overlap is worth it for a more similar view: edges bleed alike and colours match.
        score = np.where(np.abs(np.arange(count) - a) >= loop_gap, both[a] - 0.002 * angles[a], -1.0)
        score[both[a] < 0.25] = -1.0
        for _ in range(loops_per_frame):
            b = int(np.argmax(score))
            if score[b] <= -1.0:
                break
            chosen.add((min(a, b), max(a, b)))
            score[max(0, b - loop_gap) : b + loop_gap + 1] = -1.0
    return [FramePair(a, b, float(both[a, b]), b - a >= loop_gap, float(angles[a, b])) for a, b in sorted(chosen)]
