"""A camera's picture as a policy knows pictures: square, of another size, each pixel the mean of what it covers."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

Crop = tuple[int, int, int]
"""Left and upper edge, and side, pixels."""


def middle(width: int, height: int) -> Crop:
    """The largest square in the middle of a picture."""
    side = min(width, height)
    return (width - side) // 2, (height - side) // 2, side


def fitted(picture: npt.NDArray[Any], crop: Crop | None, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """A square of a picture, ``(h, w, 3)``.

    Args:
        picture: ``(H, W, 3)`` uint8.
        crop: what is kept; None: `middle`.
        size: w and h.

    Raises:
        ValueError: it is no such picture, or the crop lies outside of it.
    """
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8 or not picture.size:
        raise ValueError(f"a picture is {picture.shape} {picture.dtype}, not (height, width, 3) uint8")
    left, top, side = middle(picture.shape[1], picture.shape[0]) if crop is None else crop
    if left + side > picture.shape[1] or top + side > picture.shape[0]:
        raise ValueError(f"a picture of {picture.shape[1]} × {picture.shape[0]} pixels does not hold the crop {crop}")
    square = picture[top : top + side, left : left + side].astype(np.float32)
    rows = np.tensordot(_shares(side, size[1]), square, axes=(1, 0))
    mean = np.tensordot(rows, _shares(side, size[0]), axes=(1, 1)).transpose(0, 2, 1)
    return np.rint(mean).clip(0, 255).astype(np.uint8)


@lru_cache(maxsize=16)
def _shares(before: int, after: int) -> npt.NDArray[np.float32]:
    """``(after, before)`` the share of each pixel of a row in each pixel of a row of another length."""
    edges = np.arange(after + 1) * before / after
    pixels = np.arange(before)
    covered = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return (covered.clip(0.0, None) * after / before).astype(np.float32)
