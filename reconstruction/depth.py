"""Depth images as a phone's LiDAR writes them, without the pixels that lie on no surface."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reconstruction.capture import ByteImage, DepthImage, FloatArray

Float32Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class DepthSettings:
    """What counts as a measurement.

    Attributes:
        near_m: nearer depth is dropped (metres); phones measure nothing reliable below about 0.15 m.
        far_m: farther depth is dropped (metres); iPhone LiDAR is doubtful beyond about
            2.5 m and ends at 5 m.
        min_confidence: lowest confidence kept (0 low, 1 medium, 2 high). 1 drops ARKit's worst level; with 0 the
            fringes of objects grow thicker.
        max_grazing_deg: surfaces seen at a flatter angle than this (between view ray and normal, degrees) are
            dropped; also what removes mixed pixels, which lie on a steep ramp between foreground and background.
        noise_m: steps between neighbouring pixels up to this plus `noise_per_m2_m` times depth squared are noise,
            not slope (metres).
        noise_per_m2_m: growth of that noise with depth squared (metres per square metre).
    """

    near_m: float = 0.12
    far_m: float = 4.0
    min_confidence: int = 1
    max_grazing_deg: float = 80.0
    noise_m: float = 0.004
    noise_per_m2_m: float = 0.003


def clean_depth(
    depth_m: DepthImage, confidence: ByteImage | None, intrinsics: FloatArray, settings: DepthSettings | None = None
) -> DepthImage:
    """Depth without low confidence, out-of-range values and mixed pixels at depth edges; 0 where dropped.

    A pixel is judged by the smaller of its two one-sided slopes along each image axis. At a true edge the side towards
    the object's own surface is flat, so edge pixels stay; a mixed pixel has a steep slope on both sides and goes, as
    does a surface seen at a grazing angle. A ridge one pixel wide (a pen, nearer than both neighbours) counts as flat
    along that axis when it continues along the other one.

    Args:
        depth_m: ``(H, W)`` planar metres, 0 = none; not changed.
        confidence: ``(H, W)`` 0/1/2 or None.
        intrinsics: ``(3, 3)`` of the depth image.
        settings: None takes the defaults.
    """
    settings = settings or DepthSettings()
    depth = np.where((depth_m >= settings.near_m) & (depth_m <= settings.far_m), depth_m, np.float32(0))
    if confidence is not None and settings.min_confidence > 0:
        depth *= confidence >= settings.min_confidence
    if depth.shape[0] < 3 or depth.shape[1] < 3:
        return depth.astype(np.float32, copy=False)
    slack = np.float32(settings.noise_m) + np.float32(settings.noise_per_m2_m) * depth * depth
    slope_x, ridge_x = _slope(depth, slack, axis=1)
    slope_y, ridge_y = _slope(depth, slack, axis=0)
    focal_x, focal_y = np.float32(intrinsics[0, 0]), np.float32(intrinsics[1, 1])
    rows, columns = depth.shape
    x = (np.arange(columns, dtype=np.float32) - np.float32(intrinsics[0, 2]))[None, :] / focal_x
    y = (np.arange(rows, dtype=np.float32) - np.float32(intrinsics[1, 2]))[:, None] / focal_y
    # Depth z(u, v) has the normal (fx z_u, fy z_v, -(z + x fx z_u + y fy z_v)); the ray is (x, y, 1).
    a, b = focal_x * slope_x, focal_y * slope_y
    c = depth + x * a + y * b
    limit = np.float32(math.cos(math.radians(settings.max_grazing_deg)) ** 2)
    keep = depth * depth >= limit * (a * a + b * b + c * c) * (x * x + y * y + np.float32(1))
    keep &= ~(ridge_x & ridge_y)
    cleaned: DepthImage = depth * keep
    return cleaned


def _slope(depth: Float32Array, slack: Float32Array, axis: int) -> tuple[Float32Array, npt.NDArray[np.bool_]]:
    """Smaller one-sided difference along `axis` beyond the noise (metres a pixel), and whether the pixel stands alone.

    A neighbour without depth counts as infinitely far: it never vouches for a pixel.
    """
    step = np.diff(depth, axis=axis)
    pair = (slice(None), slice(1, None)) if axis == 1 else (slice(1, None), slice(None))
    back = (slice(None), slice(None, -1)) if axis == 1 else (slice(None, -1), slice(None))
    known = (depth[pair] > 0) & (depth[back] > 0)
    step = np.where(known, step, np.float32(1e3))
    after = np.full_like(depth, 1e3)
    before = np.full_like(depth, 1e3)
    after[back] = step
    before[pair] = step
    slope = np.where(np.abs(after) < np.abs(before), after, before)
    size = np.abs(slope)
    ridge = (size > slack) & (after * before <= 0) | (size >= 1e3)
    slope = np.sign(slope) * np.maximum(size - slack, np.float32(0))
    return np.where(ridge, np.float32(0), slope), ridge
