"""Which frames of a video are used: sharp ones, spaced by how much the picture has changed."""

from __future__ import annotations

import numpy as np

from reconstruction.capture import ByteImage, Capture, FloatArray, Frame
from reconstruction.inspection import sharpness
from reconstruction.photogrammetry.settings import PhotoSettings
from reconstruction.progress import Progress, silent

_LOOK_PX = 320
_LEAST_MOTION = 0.01
"""Share of the picture's width that it must move between two frames that are used: less shows nothing new."""


def sharp_frames(capture: Capture, settings: PhotoSettings, progress: Progress = silent) -> list[Frame]:
    """All photos; of a video the sharpest frame of each of `video_frames` equal pieces of the way of the picture."""
    if capture.format != "video":
        return list(capture.frames)
    frames, sharp, way = [], [], [0.0]
    before: ByteImage | None = None
    for done, frame in enumerate(capture.frames):
        rgb = frame.rgb()
        if rgb is not None:
            small = _small(rgb)
            if before is not None:
                way.append(way[-1] + _motion(before, small))
            frames.append(frame)
            sharp.append(sharpness(rgb))
            before = small
        progress((done + 1) / len(capture.frames), "looking for sharp pictures")
    return [frames[k] for k in spaced(np.array(way[: len(frames)]), np.array(sharp), settings.video_frames)]


def spaced(way: FloatArray, sharp: FloatArray, count: int) -> list[int]:
    """The sharpest of each of `count` equal pieces of `way`; fewer where it is short.

    Args:
        way: ``(N,)`` how far the picture has moved so far, in widths, ascending.
        sharp: ``(N,)``, larger is sharper.
        count: most that are taken.
    """
    if not len(way):
        return []
    pieces = int(np.clip(way[-1] / _LEAST_MOTION, 1, count))
    piece = np.minimum((way / max(float(way[-1]), 1e-9) * pieces).astype(int), pieces - 1)
    return [int(members[np.argmax(sharp[members])]) for k in range(pieces) if len(members := np.flatnonzero(piece == k))]


def _small(rgb: ByteImage) -> ByteImage:
    import cv2

    scale = _LOOK_PX / max(rgb.shape[:2])
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    return np.asarray(cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _motion(before: ByteImage, after: ByteImage) -> float:
    """Median way of corners (B. Lucas, T. Kanade, 1981) in widths of the picture; 0.1 where none is found again."""
    import cv2

    corners = cv2.goodFeaturesToTrack(before, 200, 0.01, 7)
    if corners is None:
        return 0.1
    moved, found, _ = cv2.calcOpticalFlowPyrLK(before, after, corners, None)  # type: ignore[call-overload]
    way = np.linalg.norm((moved - corners).reshape(-1, 2), axis=1)[found.ravel() == 1]
    return float(np.median(way)) / max(before.shape) if len(way) >= 8 else 0.1
