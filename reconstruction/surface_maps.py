"""Small smoothed depth and normal images of the keyframes: what pose refinement compares with each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reconstruction.capture import DepthImage, FloatArray

Float32Array = npt.NDArray[np.float32]
IndexArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class SurfaceMap:
    """One keyframe's surface at reduced resolution.

    Attributes:
        depth_m: ``(h, w)`` planar depth of the locally fitted plane, 0 where no smooth surface was measured.
        normal: ``(h, w, 3)`` unit, camera frame, towards the camera; 0 where unknown.
        intrinsics: ``(3, 3)`` for ``(h, w)``.
    """

    depth_m: Float32Array
    normal: Float32Array
    intrinsics: FloatArray

    def points(self) -> Float32Array:
        """``(h, w, 3)`` points in the camera frame, metres."""
        x, y = pixel_rays(self.depth_m.shape, self.intrinsics)
        points: Float32Array = np.stack([x * self.depth_m, y * self.depth_m, self.depth_m], axis=-1)
        return points


def pixel_rays(shape: tuple[int, ...], intrinsics: FloatArray) -> tuple[Float32Array, Float32Array]:
    """Coordinates x ``(1, w)`` and y ``(h, 1)`` of the rays (x, y, 1) through the pixels of an ``(h, w)`` image."""
    x = (np.arange(shape[1], dtype=np.float64) - intrinsics[0, 2]) / intrinsics[0, 0]
    y = (np.arange(shape[0], dtype=np.float64) - intrinsics[1, 2]) / intrinsics[1, 1]
    return x[None, :].astype(np.float32), y[:, None].astype(np.float32)


def surface_map(depth_m: DepthImage, intrinsics: FloatArray, long_side: int) -> SurfaceMap:
    """Reduce a cleaned depth image and fit a plane round every pixel.

    Inverse depth of a plane is linear in the image, so a linear fit over a window gives the plane exactly. The window
    is 5×5 reduced pixels, and 3×3 where something small or an edge does not fill the larger one.

    Args:
        depth_m: ``(H, W)`` cleaned planar metres, 0 = none.
        intrinsics: ``(3, 3)`` for ``(H, W)``.
        long_side: pixels of the reduced image's longer side, about.
    """
    factor = max(1, round(max(depth_m.shape) / long_side))
    inverse, small = _reduced_inverse_depth(depth_m, factor), np.array(intrinsics, dtype=np.float64)
    small[:2] /= factor
    small[:2, 2] = (intrinsics[:2, 2] - (factor - 1) / 2) / factor
    centre, gradient_x, gradient_y = _plane_fit(inverse, 1)
    wide = _plane_fit(inverse, 2)
    filled = wide[0] > 0
    centre, gradient_x, gradient_y = (
        np.where(filled, a, b) for a, b in zip(wide, (centre, gradient_x, gradient_y), strict=True)
    )
    x, y = pixel_rays(inverse.shape, small)
    a, b = np.float32(small[0, 0]) * gradient_x, np.float32(small[1, 1]) * gradient_y
    normal = -np.stack([a, b, centre - x * a - y * b], axis=-1)
    length = np.linalg.norm(normal, axis=-1, keepdims=True)
    known = centre > 0
    normal = np.where(known[..., None], normal / np.maximum(length, np.float32(1e-12)), np.float32(0))
    depth = np.where(known, np.float32(1) / np.where(known, centre, np.float32(1)), np.float32(0))
    return SurfaceMap(depth.astype(np.float32), normal.astype(np.float32), small)


def _reduced_inverse_depth(depth_m: DepthImage, factor: int) -> Float32Array:
    """``(h, w)`` inverse mean depth of blocks that lie on one surface and are at least half measured; else 0."""
    h, w = depth_m.shape[0] // factor, depth_m.shape[1] // factor
    blocks = depth_m[: h * factor, : w * factor].reshape(h, factor, w, factor)
    known = blocks > 0
    count = known.sum(axis=(1, 3))
    mean = blocks.sum(axis=(1, 3)) / np.maximum(count, 1)
    spread = blocks.max(axis=(1, 3)) - np.where(known, blocks, np.float32(np.inf)).min(axis=(1, 3))
    keep = (2 * count >= factor * factor) & (count > 0) & (spread < 0.015 + 0.04 * mean)
    inverse: Float32Array = np.where(keep, 1.0 / np.where(keep, mean, 1.0), 0.0).astype(np.float32)
    return inverse


def _plane_fit(inverse: Float32Array, radius: int) -> tuple[Float32Array, Float32Array, Float32Array]:
    """Value and both gradients (per pixel) of the linear fit over full windows; value 0 where no plane fits."""
    import cv2

    size = 2 * radius + 1
    ramp = np.arange(-radius, radius + 1, dtype=np.float32)
    flat = np.ones(size, dtype=np.float32)
    moment = float((ramp * ramp).sum()) * size

    def window(image: Float32Array, along_x: Float32Array, along_y: Float32Array) -> Float32Array:
        filtered: Float32Array = cv2.sepFilter2D(image, cv2.CV_32F, along_x, along_y, borderType=cv2.BORDER_CONSTANT)
        return filtered

    full = window((inverse > 0).astype(np.float32), flat, flat) > size * size - 0.5
    value = window(inverse, flat, flat) / (size * size)
    gradient_x, gradient_y = window(inverse, ramp, flat) / moment, window(inverse, flat, ramp) / moment
    variance = window(inverse * inverse, flat, flat) / (size * size) - value * value
    variance -= (gradient_x**2 + gradient_y**2) * moment / (size * size)
    # Residual of the fit as a depth: dz = dw z². Noise of a LiDAR stays below; an edge in the window does not.
    limit = (np.float32(0.004) * value + np.float32(0.008)) * value
    flat_enough = full & (variance < limit * limit)
    return np.where(flat_enough, value, np.float32(0)), gradient_x, gradient_y


def sample_pixels(surface: SurfaceMap, capture_from_camera: FloatArray, count: int) -> IndexArray:
    """Flat indices ``(n ≤ count,)`` of pixels that together hold a pose in every direction.

    On a table nine pixels of ten see the one horizontal plane, which says nothing of sliding along it. Pixels are
    drawn evenly with a weight of one over the square root of how many share their normal (27 bins), after Rusinkiewicz
    and Levoy, "Efficient variants of the ICP algorithm", 2001, section 3.1.
    """
    known = np.flatnonzero(surface.depth_m.ravel() > 0)
    if len(known) <= count:
        return known
    normals = surface.normal.reshape(-1, 3)[known] @ capture_from_camera[:3, :3].T
    cells = np.rint(normals * 1.4).astype(np.int64) + 1
    bins = cells[:, 0] * 9 + cells[:, 1] * 3 + cells[:, 2]
    totals = np.bincount(bins, minlength=27)
    weights = 1.0 / np.sqrt(totals[bins])
    cumulative = np.cumsum(weights)
    targets = (np.arange(count) + 0.5) * (cumulative[-1] / count)
    chosen: IndexArray = known[np.unique(np.searchsorted(cumulative, targets))]
    return chosen
