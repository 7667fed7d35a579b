"""Depth views: the chosen frames of a capture, read once, at a common small size, ready for fusion."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from reconstruction.capture import Capture, DepthImage, FloatArray, Frame
from reconstruction.depth import DepthSettings, clean_depth
from reconstruction.progress import Progress, silent


@dataclass(frozen=True)
class ViewSettings:
    """How frames are read for fusion."""

    max_width_px: int = 640
    """Depth images wider than this are halved (block median) until they are not: less noise, less time."""
    depth: DepthSettings = field(default_factory=DepthSettings)
    """Which depth measurements are trusted."""
    fringe_px: int = 2
    """Pixels this near to a nearer surface are left out: a depth camera smears what lies behind over thin things."""
    fringe_step_m: float = 0.025
    """How much nearer (m) a neighbour must be to count as another surface."""


@dataclass(frozen=True)
class DepthView:
    """One frame, ready for fusion.

    Attributes:
        position: of the frame in ``capture.frames``.
        depth_m: ``(H, W)`` float32 planar depth in metres, cleaned, 0 = none.
        intrinsics: ``(3, 3)`` for `depth_m`.
        rgb: ``(H, W, 3)`` uint8 at the size of `depth_m`, or None without colour.
        world_from_camera: ``(4, 4)`` in whichever world frame the caller works.
    """

    position: int
    depth_m: DepthImage
    intrinsics: FloatArray
    rgb: npt.NDArray[np.uint8] | None
    world_from_camera: FloatArray

    def moved(self, target_from_world: FloatArray) -> DepthView:
        """The same view with its pose in another frame."""
        return replace(self, world_from_camera=target_from_world @ self.world_from_camera)


def load_views(
    capture: Capture,
    positions: Sequence[int],
    poses: FloatArray,
    settings: ViewSettings,
    progress: Progress = silent,
    with_rgb: bool = True,
) -> list[DepthView]:
    """Read frames `positions` (ascending) with `poses` ``(N, 4, 4)`` (one for each position).

    Frames are decoded by two threads (OpenCV and the decompressors release the GIL) but returned in order.
    """

    def load(item: tuple[int, FloatArray]) -> DepthView | None:
        position, pose = item
        return load_view(capture.frames[position], position, pose, settings, with_rgb)

    views: list[DepthView] = []
    with ThreadPoolExecutor(max_workers=2) as pool:
        for done, view in enumerate(pool.map(load, zip(positions, poses, strict=True))):
            if view is not None:
                views.append(view)
            progress((done + 1) / max(len(positions), 1), f"reading frame {done + 1} of {len(positions)}")
    return views


def load_view(
    frame: Frame, position: int, pose: FloatArray, settings: ViewSettings, with_rgb: bool
) -> DepthView | None:
    """One frame as a `DepthView`, or None where it has no depth that can be trusted: fusion takes no empty images."""
    import cv2

    depth = frame.depth_m()
    if depth is None or frame.depth_size is None:
        return None
    raw = depth
    depth = clean_depth(raw, frame.confidence(), frame.depth_intrinsics, settings.depth)
    depth = without_fringe(depth, raw, settings)
    if not depth.any():
        return None
    intrinsics = frame.depth_intrinsics
    while depth.shape[1] > settings.max_width_px:
        depth = _halved(depth)
        # The centre of a 2x2 block lies half a pixel right of and below its first pixel.
        intrinsics = np.diag([0.5, 0.5, 1.0]) @ (intrinsics - np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]]))
    height, width = depth.shape
    rgb = frame.rgb() if with_rgb else None
    if rgb is not None and rgb.shape[:2] != depth.shape:
        rgb = np.asarray(cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)
    return DepthView(position, depth, intrinsics, rgb, np.asarray(pose, dtype=np.float64))


def without_fringe(depth: DepthImage, raw: DepthImage, settings: ViewSettings) -> DepthImage:
    """`depth` without the far side of the depth edges of `raw`; 0 where dropped.

    A LiDAR's coarse dots are spread over the picture, so the background bleeds over rims, handles and corners and
    would carve them away. The near side of an edge stays.
    """
    import cv2

    if settings.fringe_px <= 0:
        return depth
    kernel = np.ones((2 * settings.fringe_px + 1,) * 2, np.uint8)
    nearest = cv2.erode(np.where(raw > 0, raw, np.float32(100.0)), kernel)
    return np.where(depth - nearest > settings.fringe_step_m * np.maximum(depth, 1.0), np.float32(0), depth)


def _halved(depth: DepthImage) -> DepthImage:
    """Half the size: the median of the valid pixels of each 2x2 block, if at least two agree within 3 %."""
    height, width = depth.shape[0] // 2 * 2, depth.shape[1] // 2 * 2
    blocks = depth[:height, :width].reshape(height // 2, 2, width // 2, 2).transpose(0, 2, 1, 3)
    blocks = np.sort(blocks.reshape(height // 2, width // 2, 4), axis=-1)
    valid = np.count_nonzero(blocks, axis=-1)
    # Zeros sort first; the lower median is the nearer surface, never a mixture of near and far.
    lower = np.clip(4 - valid + (valid - 1) // 2, 0, 3)
    upper = np.minimum(lower + 1, 3)
    first = np.take_along_axis(blocks, lower[..., None], -1)[..., 0]
    second = np.take_along_axis(blocks, upper[..., None], -1)[..., 0]
    agree = (valid >= 2) & (second - first < 0.03 * first)
    return np.where(agree, 0.5 * (first + second), np.where(valid >= 1, first, 0)).astype(np.float32)
