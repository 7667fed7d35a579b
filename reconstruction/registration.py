"""Colour laid onto depth where a scan's two images are not of one camera, as with a Kinect that nobody registered.

Things end in both images at the same places. A scale and a shift of the colour image that puts its edges onto the edges
of depth is searched over some frames at once, by correlation in the frequency domain for each scale. Where the images
fit as they are, as a phone's do, nothing is changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from reconstruction.capture import ByteImage, Capture, DepthImage, Frame
from reconstruction.progress import Progress, silent

Float32Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class RegistrationSettings:
    """When colour is moved onto depth."""

    frames: int = 16
    """Frames that are looked at; 0 leaves colour where it is."""
    width_px: int = 320
    """They are compared at this width."""
    least_scale: float = 0.84
    """Smallest scale of the colour image that is tried; the largest is its inverse."""
    most_shift_px: int = 24
    """Largest shift at `width_px`."""
    least_edges: int = 2000
    """Fewer depth edges in all frames together say nothing."""
    least_gain: float = 1.6
    """Colour is moved only where its edges then fit this many times better than as they are …"""
    least_deviations: float = 5.0
    """… and stand out from other shifts by this many standard deviations."""


@dataclass(frozen=True)
class Registration:
    """Where a colour image has what a depth image shows at u: ``center + scale * (u - center) + shift``.

    Attributes:
        scale: about the image's middle.
        shift: x and y as shares of the image's width.
    """

    scale: float
    shift: tuple[float, float]


def registered(
    capture: Capture, settings: RegistrationSettings | None = None, progress: Progress = silent
) -> tuple[Capture, Registration | None]:
    """`capture` with its colour images laid onto its depth images, and how; as it is, and None, where they fit."""
    settings = settings or RegistrationSettings()
    both = [frame for frame in capture.frames if frame.read_rgb is not None and frame.read_depth is not None]
    count = min(len(both), settings.frames)
    if count == 0:
        return capture, None
    chosen = [both[i] for i in np.linspace(0, len(both) - 1, count).astype(int)]
    found = find_registration(chosen, settings, progress)
    if found is None:
        return capture, None
    return replace(capture, frames=[_moved(frame, found) for frame in capture.frames]), found


def find_registration(
    frames: Sequence[Frame], settings: RegistrationSettings, progress: Progress = silent
) -> Registration | None:
    """The scale and shift that put colour onto depth; None where it lies there already, or where edges do not tell."""
    pairs: list[tuple[Float32Array, Float32Array]] = []
    for number, frame in enumerate(frames):
        depth, rgb = frame.depth_m(), frame.rgb()
        progress((number + 1) / len(frames), "comparing colour with depth")
        if depth is not None and rgb is not None:
            height = round(settings.width_px * depth.shape[0] / depth.shape[1])
            pairs.append((_depth_edges(depth, settings.width_px, height), _color_edges(rgb, settings.width_px, height)))
    pairs = [pair for pair in pairs if pair[0].shape == pairs[0][0].shape]
    if sum(float(depth.sum()) for depth, _ in pairs) < settings.least_edges:
        return None
    colors = [np.fft.rfft2(color) for _, color in pairs]
    scales = np.exp(np.arange(np.log(settings.least_scale), -np.log(settings.least_scale) + 1e-9, 0.01))
    fits = [_fit([depth for depth, _ in pairs], colors, scale, settings) for scale in scales]
    here = int(np.argmin(np.abs(np.log(scales))))
    reach = settings.most_shift_px
    # As they are, give or take what an edge's own pixel is worth.
    unmoved = float(fits[here][reach - 2 : reach + 3, reach - 2 : reach + 3].max())
    best = int(np.argmax([fit.max() for fit in fits]))
    fit = fits[best]
    if fit.max() < settings.least_gain * max(unmoved, 0.0) or fit.max() < settings.least_deviations * fit.std():
        return None
    down, right = np.unravel_index(int(np.argmax(fit)), fit.shape)
    shift = float(right - reach) / settings.width_px, float(down - reach) / settings.width_px
    return Registration(float(scales[best]), shift)


def _fit(
    depths: Sequence[Float32Array], colors: Sequence[npt.NDArray[Any]], scale: float, settings: RegistrationSettings
) -> Float32Array:
    """Mean colour edge under the depth edges at `scale`, for each shift (down, right) up to the largest."""
    import cv2

    height, width = depths[0].shape
    center = np.array([(width - 1) / 2, (height - 1) / 2])
    matrix = np.column_stack([scale * np.eye(2), (1.0 - scale) * center])
    total = np.zeros((height, width))
    weight = 0.0
    for depth, color in zip(depths, colors, strict=True):
        scaled = cv2.GaussianBlur(cv2.warpAffine(depth, matrix, (width, height)), (0, 0), 1.0)
        total += np.fft.irfft2(color * np.conj(np.fft.rfft2(scaled)), s=(height, width))
        weight += float(scaled.sum())
    reach = settings.most_shift_px
    window = np.fft.fftshift(total)[height // 2 - reach :, width // 2 - reach :][: 2 * reach + 1, : 2 * reach + 1]
    return np.asarray(window / max(weight, 1e-9), dtype=np.float32)


def _depth_edges(depth: DepthImage, width: int, height: int) -> Float32Array:
    """1 on the near side of jumps in depth, away from what was not measured."""
    import cv2

    small = cv2.resize(depth, (width, height), interpolation=cv2.INTER_NEAREST)
    measured = (small > 0).astype(np.uint8)
    jump = cv2.dilate(small, np.ones((3, 3), np.uint8)) - small > 0.04 * small
    return np.asarray(jump & (cv2.erode(measured, np.ones((5, 5), np.uint8)) > 0), dtype=np.float32)


def _color_edges(rgb: ByteImage, width: int, height: int) -> Float32Array:
    """Strength of the edges of brightness, clipped, less the mean round about: texture everywhere says nothing."""
    import cv2

    grey = cv2.cvtColor(cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    across, down = (cv2.Sobel(grey, cv2.CV_32F, *axis) / 4 for axis in ((1, 0), (0, 1)))
    strength = np.minimum(np.hypot(across, down), 30.0)
    return np.asarray(strength - cv2.blur(strength, (41, 41)), dtype=np.float32)


def _moved(frame: Frame, found: Registration) -> Frame:
    """`frame` with its colour image resampled so that it lies on depth."""
    if frame.read_rgb is None:
        return frame
    read = frame.read_rgb

    def moved() -> ByteImage:
        import cv2

        image = read()
        if image is None:  # damaged (`importers.damage`)
            return image
        height, width = image.shape[:2]
        center = np.array([(width - 1) / 2, (height - 1) / 2])
        offset = (1.0 - found.scale) * center + np.array(found.shift) * width
        matrix = np.column_stack([found.scale * np.eye(2), offset])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        result = cv2.warpAffine(image, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(result, dtype=np.uint8)

    return replace(frame, read_rgb=moved)
