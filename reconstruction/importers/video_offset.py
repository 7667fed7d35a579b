"""Which row of the table does a video's first frame belong to, when the video is one frame short?

Depth is measured together with its row's pose, so that the edges of a depth image fall on edges of the colour image
of the same moment. With the wrong neighbour they lie beside them by as much as the camera moved in between. The app's
source says that the first frame is lost; that holds unless the edges clearly say otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from reconstruction.capture import ByteImage, DepthImage
from reconstruction.errors import InputError

_SPOTS = 16
_MIN_VOTES = 10
_CLEARLY = 0.85
_CLEAR_DIFFERENCE = 0.1
_UNDECIDED = 0.01
_EDGE = 0.06
"""Relative step of depth to its neighbour that counts as an edge."""


def first_frame_was_lost(
    depth_rows: Sequence[int],
    read_depth: Callable[[int], DepthImage],
    read_rgb: Callable[[int], ByteImage],
    frames: int,
    near_key: Sequence[int],
) -> bool:
    """Whether video frame k belongs to row k + 1 rather than to row k.

    Args:
        depth_rows: rows that have a depth image.
        read_depth: depth of a row.
        read_rgb: video frame by number.
        frames: number of video frames.
        near_key: numbers of key frames, near which reading is cheap.

    Returns:
        True unless nearly all of the moments that can tell speak clearly against it.
    """
    usable = [row for row in depth_rows if 0 < row < frames]
    cheap = sorted({key + 1 for key in near_key} & set(usable))
    votes = []
    for row in _spread(cheap if len(cheap) >= _SPOTS else usable):
        try:
            edges = _depth_edges(read_depth(row))
            if edges.any():
                votes.append(_fit(edges, read_rgb(row - 1)) - _fit(edges, read_rgb(row)))
        except InputError:
            continue
    telling = np.array([vote for vote in votes if abs(vote) > _UNDECIDED])
    if len(telling) < _MIN_VOTES:
        return True
    return not (np.mean(telling < 0) >= _CLEARLY and telling.mean() < -_CLEAR_DIFFERENCE)


def _spread(rows: Sequence[int]) -> list[int]:
    if len(rows) <= _SPOTS:
        return list(rows)
    return [rows[i] for i in np.linspace(0, len(rows) - 1, _SPOTS).astype(int)]


def _depth_edges(depth: DepthImage) -> npt.NDArray[np.bool_]:
    """Pixels ``(H, W)`` at a step of depth."""
    near = np.maximum(depth, 1e-3)
    edges = np.zeros(depth.shape, dtype=bool)
    edges[:, 1:] |= np.abs(np.diff(near, axis=1)) > _EDGE * near[:, 1:]
    edges[1:] |= np.abs(np.diff(near, axis=0)) > _EDGE * near[1:]
    edges &= depth > 0
    return edges


def _fit(edges: npt.NDArray[np.bool_], rgb: ByteImage) -> float:
    """Mean colour gradient on the edges, relative to that of the whole image."""
    import cv2

    grey = cv2.cvtColor(cv2.resize(rgb, edges.shape[::-1], interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    grey = grey.astype(np.float32)
    gradient = np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1))
    return float(gradient[edges].mean() / max(float(gradient.mean()), 1e-6))
