"""Posed RGB-D frames, read lazily: what every importer returns and every later step reads.

Conventions (all of them, everywhere in `reconstruction`):

- Camera axes: x right, y down, z forward (OpenCV). Pixel centres lie at integer coordinates.
- Depth is planar z in metres, float32 ``(H, W)``; 0 means "no measurement" (never NaN).
- Confidence is uint8 ``(H, W)`` at depth resolution: 0 low, 1 medium, 2 high (ARKit's levels).
- Names of transforms cancel: ``capture_from_camera @ point_in_camera = point_in_capture``.
- The *capture frame* is the phone app's own world, as written in its export, in metres.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
DepthImage = npt.NDArray[np.float32]
ByteImage = npt.NDArray[np.uint8]


def scaled_intrinsics(intrinsics: FloatArray, from_size: tuple[int, int], to_size: tuple[int, int]) -> FloatArray:
    """Intrinsics ``(3, 3)`` of the same camera for another image size.

    Args:
        intrinsics: for images of `from_size`.
        from_size: ``(width, height)`` in pixels.
        to_size: ``(width, height)`` in pixels.
    """
    sx, sy = to_size[0] / from_size[0], to_size[1] / from_size[1]
    scaled = np.array(intrinsics, dtype=np.float64)
    scaled[0] *= sx
    scaled[1] *= sy
    return scaled


@dataclass(frozen=True)
class Frame:
    """One moment of a scan. Images are read when asked for and not kept.

    Attributes:
        index: the number in the phone's own file names; unique and ascending within a capture.
        time_s: seconds since the first frame.
        size: ``(width, height)`` of the colour image in pixels; of the depth image where there is no colour.
        intrinsics: ``(3, 3)`` for `size`.
        capture_from_camera: ``(4, 4)`` rigid, or None where the pose is unknown.
        depth_size: ``(width, height)`` of the depth image, or None without depth.
        blur: the app's own sharpness hint, 0 sharp … 1 blurred, or None.
    """

    index: int
    time_s: float
    size: tuple[int, int]
    intrinsics: FloatArray
    capture_from_camera: FloatArray | None
    depth_size: tuple[int, int] | None
    read_rgb: Callable[[], ByteImage] | None = field(default=None, repr=False, compare=False)
    read_depth: Callable[[], DepthImage] | None = field(default=None, repr=False, compare=False)
    read_confidence: Callable[[], ByteImage] | None = field(default=None, repr=False, compare=False)
    blur: float | None = None

    @property
    def depth_intrinsics(self) -> FloatArray:
        """``(3, 3)`` for the depth image: the colour intrinsics scaled by the size ratio."""
        if self.depth_size is None:
            raise ValueError(f"frame {self.index} has no depth")
        return scaled_intrinsics(self.intrinsics, self.size, self.depth_size)

    def rgb(self) -> ByteImage | None:
        """Colour ``(H, W, 3)`` uint8 RGB, or None where this frame has none (`importers.damage` for a damaged one)."""
        return self.read_rgb() if self.read_rgb is not None else None

    def depth_m(self) -> DepthImage | None:
        """Planar depth ``(H, W)`` float32 metres, 0 = no measurement, or None where this frame has none."""
        return self.read_depth() if self.read_depth is not None else None

    def confidence(self) -> ByteImage | None:
        """Confidence ``(H, W)`` uint8 0/1/2 at depth size, or None where the app gives none."""
        return self.read_confidence() if self.read_confidence is not None else None


@dataclass(frozen=True)
class Capture:
    """A scan: frames in time order and what is known of the whole.

    Attributes:
        name: display name (the export's file or folder name without ending).
        format: key in `reconstruction.importers.IMPORTERS`.
        source: file or folder that was read.
        device: kind of device, e.g. ``"iPhone (LiDAR)"``; never a person's name for it, never GPS.
        frames: ascending in time. Reading any image of any frame is thread-safe.
        metric: False where the scale of the poses is not metres for certain.
        up: ``(3,)`` unit vector against gravity in the capture frame, or None where unknown.
        region: ``(8, 3)`` corners of the user's own crop box in the capture frame, or None.
        missing: plain sentences on what the scan lacks ("no colour: rgb.mp4 is missing").
        adjusted: poses come of a bundle adjustment of all pictures, and depth and colour are of one picture: there is no
            drift to take out, and nothing to lay onto one another.
        convention_error_m: median depth reprojection error between frames, metres, or None if not testable.
    """

    name: str
    format: str
    source: Path
    device: str
    frames: Sequence[Frame]
    metric: bool = True
    up: FloatArray | None = None
    region: FloatArray | None = None
    missing: tuple[str, ...] = ()
    convention_error_m: float | None = None
    adjusted: bool = False

    @property
    def duration_s(self) -> float:
        """Seconds from the first to the last frame."""
        return self.frames[-1].time_s - self.frames[0].time_s if self.frames else 0.0

    @property
    def has_rgb(self) -> bool:
        """Whether any frame has a colour image."""
        return any(frame.read_rgb is not None for frame in self.frames)


def scaled_capture(capture: Capture, factor: float) -> Capture:
    """The same scan in other metres: places, depth and crop box times `factor`; pictures and angles as they are."""
    region = None if capture.region is None else factor * capture.region
    return replace(capture, frames=[_scaled(frame, factor) for frame in capture.frames], region=region)


def _scaled(frame: Frame, factor: float) -> Frame:
    pose = frame.capture_from_camera
    if pose is not None:
        pose = np.array(pose, dtype=np.float64)
        pose[:3, 3] *= factor
    read = frame.read_depth
    if read is None:
        return replace(frame, capture_from_camera=pose)

    def scaled() -> DepthImage:
        depth = read()
        # A damaged image is None (`importers.damage`).
        return depth if depth is None else np.asarray(depth * np.float32(factor), dtype=np.float32)

    return replace(frame, capture_from_camera=pose, read_depth=scaled)
