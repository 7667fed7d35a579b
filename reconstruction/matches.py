"""Points of the image found again in another image: what holds poses where the geometry is flat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from reconstruction.capture import ByteImage, FloatArray, Frame
from reconstruction.frame_pairs import FramePair
from reconstruction.surface_maps import SurfaceMap

IndexArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Features:
    """Corners of one keyframe that lie on measured surface.

    Attributes:
        points: ``(n, 3)`` camera frame, metres.
        descriptors: ``(n, 32)`` uint8, ORB (Rublee et al. 2011).
        pixel_m: ``(n,)`` size of one image pixel at the point, metres.
    """

    points: FloatArray
    descriptors: npt.NDArray[np.uint8]
    pixel_m: FloatArray


@dataclass(frozen=True)
class PointMatches:
    """The same physical points in two keyframes.

    Attributes:
        a: first keyframe of the pair; b: second.
        points_a: ``(n, 3)`` in camera a, metres; points_b: ``(n, 3)`` in camera b.
        pixel_m: ``(n,)`` size of one pixel at the point, the larger of both, metres.
    """

    a: int
    b: int
    points_a: FloatArray
    points_b: FloatArray
    pixel_m: FloatArray


def find_features(frame: Frame, surface: SurfaceMap, long_side: int, count: int) -> Features | None:
    """ORB corners of `frame`'s colour image reduced to `long_side` pixels; None without colour."""
    import cv2

    rgb = frame.rgb()
    if rgb is None:
        return None
    scale = min(1.0, long_side / max(rgb.shape[:2]))
    size = (max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale)))
    small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA) if scale < 1.0 else rgb
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    keypoints, descriptors = _detect(grey, count)
    if not keypoints:
        return None
    pixels = np.array([point.pt for point in keypoints])
    x = (pixels[:, 0] / size[0] * frame.size[0] - frame.intrinsics[0, 2]) / frame.intrinsics[0, 0]
    y = (pixels[:, 1] / size[1] * frame.size[1] - frame.intrinsics[1, 2]) / frame.intrinsics[1, 1]
    depth = depth_at(surface, x, y)
    keep = depth > 0
    points = np.stack([x * depth, y * depth, depth], axis=1)[keep]
    octaves = np.array([1.2 ** (point.octave & 255) for point in keypoints])
    pixel_m = depth * octaves / (frame.intrinsics[0, 0] * size[0] / frame.size[0])
    return Features(points, descriptors[keep], pixel_m[keep])


def _detect(grey: ByteImage, count: int) -> tuple[list[Any], npt.NDArray[np.uint8]]:
    """ORB keypoints spread over a grid, so that one busy poster does not take them all."""
    import cv2

    orb = cv2.ORB.create(nfeatures=2 * count, fastThreshold=7, nlevels=4)
    found = orb.detect(grey, None)
    places = np.array(cv2.KeyPoint.convert(found), dtype=np.float64).reshape(-1, 2)
    responses = np.array([point.response for point in found])
    order = np.lexsort((places[:, 1], places[:, 0], -responses))
    cells = (places // (max(grey.shape) / 10)).astype(np.int64)[order]
    taken: dict[tuple[int, int], int] = {}
    kept: list[Any] = []
    for k, (column, row) in zip(order.tolist(), cells.tolist(), strict=True):
        taken[column, row] = taken.get((column, row), 0) + 1
        if taken[column, row] <= max(1, count // 40):
            kept.append(found[k])
    described, descriptors = orb.compute(grey, kept[:count])
    return list(described), descriptors if descriptors is not None else np.zeros((0, 32), np.uint8)


def depth_at(surface: SurfaceMap, x: FloatArray, y: FloatArray) -> FloatArray:
    """Planar depth ``(n,)`` on rays (x, y, 1), between four pixels of one surface; 0 where there are no such."""
    h, w = surface.depth_m.shape
    u = x * surface.intrinsics[0, 0] + surface.intrinsics[0, 2]
    v = y * surface.intrinsics[1, 1] + surface.intrinsics[1, 2]
    inside = (u >= 0) & (v >= 0) & (u < w - 1) & (v < h - 1)
    left, top = np.where(inside, u, 0).astype(np.int64), np.where(inside, v, 0).astype(np.int64)
    du, dv = np.where(inside, u - left, 0.0), np.where(inside, v - top, 0.0)
    corners = np.stack([surface.depth_m[top + j, left + i] for j in (0, 1) for i in (0, 1)]).astype(np.float64)
    nearest, farthest = corners.min(axis=0), corners.max(axis=0)
    inside &= (nearest > 0) & (farthest - nearest < 0.02 + 0.03 * nearest)
    inverse = 1.0 / np.where(inside, corners, 1.0)
    value = (inverse[0] * (1 - du) + inverse[1] * du) * (1 - dv) + (inverse[2] * (1 - du) + inverse[3] * du) * dv
    return np.where(inside, 1.0 / value, 0.0)


def match_pairs(
    features: Sequence[Features | None],
    pairs: Sequence[FramePair],
    poses: FloatArray,
    gate_m: float,
    max_angle_deg: float,
) -> list[PointMatches]:
    """Matches of all pairs of similar views; pairs without a consistent set are left out.

    Args:
        features: one a keyframe, or None.
        pairs: candidates.
        poses: ``(K, 4, 4)`` the phone's capture_from_camera.
        gate_m: how far the phone's poses may put the two points apart, metres.
        max_angle_deg: ORB is not found again under a larger change of view.
    """
    found = []
    for pair in pairs:
        first, second = features[pair.a], features[pair.b]
        if first is None or second is None or pair.angle_deg > max_angle_deg:
            continue
        matches = _match(pair, first, second, poses, gate_m)
        if matches is not None:
            found.append(matches)
    return found


def _match(pair: FramePair, first: Features, second: Features, poses: FloatArray, gate_m: float) -> PointMatches | None:
    import cv2

    if len(first.points) < 12 or len(second.points) < 12:
        return None
    found = cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True).match(first.descriptors, second.descriptors)
    index = np.array([(m.queryIdx, m.trainIdx) for m in found if m.distance <= 60], dtype=np.int64).reshape(-1, 2)
    index = index[np.lexsort((index[:, 1], index[:, 0]))]
    a, b = first.points[index[:, 0]], second.points[index[:, 1]]
    gap = (a @ poses[pair.a, :3, :3].T + poses[pair.a, :3, 3]) - (b @ poses[pair.b, :3, :3].T + poses[pair.b, :3, 3])
    near = np.linalg.norm(gap, axis=1) < gate_m
    if near.sum() < 12:
        return None
    # Drift moves all points of a pair nearly alike; false matches scatter.
    pixel_m = np.maximum(first.pixel_m[index[:, 0]], second.pixel_m[index[:, 1]])
    centre = np.median(gap[near], axis=0)
    for _ in range(3):
        agree = near & (np.linalg.norm(gap - centre, axis=1) < 0.015 + 4 * pixel_m)
        if agree.sum() < 12:
            return None
        centre = np.median(gap[agree], axis=0)
    if agree.sum() < 0.35 * near.sum():
        return None
    return PointMatches(pair.a, pair.b, a[agree], b[agree], pixel_m[agree])


def neighbours_apart(found: Sequence[PointMatches], poses: FloatArray) -> tuple[float, float]:
    """How far across the line of sight matched points of neighbouring frames lie apart: metres and pixels, medians.

    The phone's odometry is good to a millimetre from one keyframe to the next, so that a larger figure says that depth
    and colour do not belong together. (0, 0) without any pair.
    """
    metres, pixels = [0.0] * (not found), [0.0] * (not found)
    for matches in found:
        a, b = poses[matches.a], poses[matches.b]
        gap = (matches.points_a @ a[:3, :3].T + a[:3, 3]) - (matches.points_b @ b[:3, :3].T + b[:3, 3])
        across = gap - np.outer(gap @ a[:3, 2], a[:3, 2])
        metres.append(float(np.linalg.norm(np.median(across, axis=0))))
        pixels.append(metres[-1] / float(np.median(matches.pixel_m)))
    return float(np.median(metres)), float(np.median(pixels))
