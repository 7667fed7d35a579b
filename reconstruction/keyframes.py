"""Which frames of a scan are worth the work: sharp ones, spaced by how far the phone moved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reconstruction.capture import ByteImage, Capture, FloatArray, Frame
from reconstruction.errors import ReconstructionError
from reconstruction.progress import Progress, silent

IndexArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class KeyframeSettings:
    """How frames are chosen.

    Attributes:
        spacing_m: movement that makes a new keyframe worth it, metres; larger is faster and leaves less overlap.
        spacing_deg: the same for rotation, degrees.
        max_keyframes: where more would be chosen, both spacings grow until they are not; bounds time and memory.
        window: a keyframe is the sharpest frame between 1 and 1 + `window` spacings after the last one.
        rivals: the images of so many frames of a window, those with the least expected blur, are compared.
        max_images: at most so many images are read for that; beyond, blur is judged from the motion alone.
        min_depth_share: frames with a smaller share of measured depth pixels are dropped (covered lens, all black).
        views: frames chosen for the texture.
        max_view_images: images read at most to choose these.
    """

    spacing_m: float = 0.02
    spacing_deg: float = 3.0
    max_keyframes: int = 400
    window: float = 0.6
    rivals: int = 3
    max_images: int = 150
    min_depth_share: float = 0.02
    views: int = 40
    max_view_images: int = 120


def select_keyframes(
    capture: Capture, settings: KeyframeSettings | None = None, progress: Progress = silent
) -> list[int]:
    """Positions in ``capture.frames``, ascending: frames with depth and pose, spaced by motion, the sharpest nearby.

    Raises:
        ReconstructionError: no frame has both a pose and depth that measures anything.
    """
    settings = settings or KeyframeSettings()
    usable = [i for i, frame in enumerate(capture.frames) if _complete(frame)]
    if not usable:
        raise _nothing_usable(capture)
    poses = np.array([capture.frames[i].capture_from_camera for i in usable], dtype=np.float64)
    blur = _blur(capture, usable, poses)
    windows = _windows(poses, settings)
    budget = settings.max_images
    chosen: list[int] = []
    for number, window in enumerate(windows):
        ranked = sorted(window, key=lambda k: (blur[k], k))
        rivals = ranked[: settings.rivals]
        if 1 < len(rivals) <= budget:
            budget -= len(rivals)
            ranked[: len(rivals)] = sorted(rivals, key=lambda k: -_sharpness(capture.frames[usable[k]]))
        good = next((k for k in ranked if _measures(capture.frames[usable[k]], settings.min_depth_share)), None)
        if good is not None:
            chosen.append(usable[good])
        progress((number + 1) / len(windows), f"Selected {len(chosen)} of {len(capture.frames)} frames")
    if not chosen:
        raise _nothing_usable(capture)
    return chosen


def select_views(
    capture: Capture,
    candidates: Sequence[int],
    settings: KeyframeSettings | None = None,
    progress: Progress = silent,
) -> list[int]:
    """A few of `candidates` for texturing: well spread over places and directions, each the sharpest of its kind.

    Args:
        capture: the scan.
        candidates: positions in ``capture.frames`` with poses, e.g. from `select_keyframes`.
        settings: None takes the defaults.
        progress: called with fractions and messages.

    Returns:
        Ascending positions; empty where no candidate has a colour image that shows anything.
    """
    settings = settings or KeyframeSettings()
    coloured = [i for i in candidates if capture.frames[i].read_rgb is not None and _has_pose(capture.frames[i])]
    if not coloured:
        return []
    step = max(1, -(-len(coloured) // settings.max_view_images))
    coloured = coloured[::step]
    poses = np.array([capture.frames[i].capture_from_camera for i in coloured], dtype=np.float64)
    sharpness = np.zeros(len(coloured))
    for k, i in enumerate(coloured):
        sharpness[k] = _sharpness(capture.frames[i])
        progress((k + 1) / len(coloured), "Comparing the sharpness of views")
    owner = _spread(poses, settings.views)
    views = []
    for group in range(int(owner.max()) + 1):
        members = np.flatnonzero((owner == group) & (sharpness > 0))
        if len(members):
            views.append(coloured[int(members[np.argmax(sharpness[members])])])
    return sorted(views)


def _nothing_usable(capture: Capture) -> ReconstructionError:
    return ReconstructionError(
        f"{capture.name} has no frame with both a pose and a depth image that measures anything.",
        remedy="Scan again with LiDAR depth switched on, the lens uncovered and 0.3 to 2 m from the bench.",
        code="no_usable_frames",
    )


def _has_pose(frame: Frame) -> bool:
    pose = frame.capture_from_camera
    return pose is not None and bool(np.isfinite(pose).all())


def _complete(frame: Frame) -> bool:
    return frame.read_depth is not None and frame.depth_size is not None and _has_pose(frame)


def _measures(frame: Frame, share: float) -> bool:
    depth = frame.depth_m()
    return depth is not None and float((depth > 0).mean()) >= share


def _windows(poses: FloatArray, settings: KeyframeSettings) -> list[list[int]]:
    """Groups of neighbouring frames, one keyframe to come from each; at most ``max_keyframes`` groups."""
    spacing = 1.0
    while True:
        windows = _windows_at(poses, settings, spacing)
        if len(windows) <= settings.max_keyframes:
            return windows
        spacing *= max(1.05, len(windows) / settings.max_keyframes)


def _windows_at(poses: FloatArray, settings: KeyframeSettings, spacing: float) -> list[list[int]]:
    """Groups that begin where the phone is `spacing` units of motion away from the begin of the last group.

    Distance is measured from there rather than along the path, for a hand that trembles covers a long path.
    """
    windows = [[0]]
    start = 0
    for k in range(1, len(poses)):
        moved = _motion(poses[start], poses[k], settings) / spacing
        if moved >= 1.0:
            windows.append([k])
            start = k
        elif moved <= settings.window and k - start == len(windows[-1]):
            windows[-1].append(k)
    return windows


def _motion(first: FloatArray, second: FloatArray, settings: KeyframeSettings) -> float:
    """Motion between two poses in units of the spacing, translation and rotation together."""
    metres = float(np.linalg.norm(second[:3, 3] - first[:3, 3]))
    cosine = (float(np.sum(first[:3, :3] * second[:3, :3])) - 1.0) / 2.0
    degrees = float(np.degrees(np.arccos(min(1.0, max(-1.0, cosine)))))
    return max(metres / settings.spacing_m, degrees / settings.spacing_deg)


def _blur(capture: Capture, usable: list[int], poses: FloatArray) -> FloatArray:
    """Expected blur of each usable frame, larger is worse: the app's own hint, else the speed of the picture.

    The picture moves by the rotation and, at an arm's length of 0.6 m, by the translation; exposure is alike for all
    frames of a scan, so that speed orders them.
    """
    hints = [capture.frames[i].blur for i in usable]
    if all(hint is not None for hint in hints):
        return np.array(hints, dtype=np.float64)
    if len(usable) < 2:
        return np.zeros(len(usable))
    seconds = np.diff([capture.frames[i].time_s for i in usable])
    metres = np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1)
    cosine = (np.einsum("kij,kij->k", poses[1:, :3, :3], poses[:-1, :3, :3]) - 1.0) / 2.0
    speed = (np.arccos(np.clip(cosine, -1.0, 1.0)) + metres / 0.6) / np.maximum(seconds, 1e-3)
    before, after = np.concatenate([speed[:1], speed]), np.concatenate([speed, speed[-1:]])
    blur: FloatArray = (before + after) / 2
    return blur


def _sharpness(frame: Frame) -> float:
    """Variance of the Laplacian of the luma at 640 pixels, relative to its contrast; 0 for none or a black image."""
    import cv2

    rgb = frame.rgb()
    if rgb is None:
        return 0.0
    scale = min(1.0, 640 / max(rgb.shape[:2]))
    size = (max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale)))
    small: ByteImage = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    if int(grey.max()) < 16:
        return 0.0
    return float(cv2.Laplacian(grey, cv2.CV_32F).var()) + 1e-6


def _spread(poses: FloatArray, count: int) -> IndexArray:
    """Group ``(N,)`` of each pose: nearest of `count` poses that lie as far apart as possible (farthest point first).

    Poses are compared by place (metres) and viewing direction (half a metre a radian, a bench's size).
    """
    features = np.concatenate([poses[:, :3, 3], 0.5 * poses[:, :3, 2]], axis=1)
    owner = np.zeros(len(poses), dtype=np.int64)
    nearest = np.linalg.norm(features - features[0], axis=1)
    for group in range(1, min(count, len(poses))):
        seed = int(np.argmax(nearest))
        if nearest[seed] <= 0:
            break
        distance = np.linalg.norm(features - features[seed], axis=1)
        owner[distance < nearest] = group
        nearest = np.minimum(nearest, distance)
    return owner
