"""Pictures as ROS sends them (sensor_msgs/Image), made what a policy looks at. NumPy alone: no cv_bridge, no OpenCV."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from policies.deploy.pictures import fitted, middle

CHANNELS = {
    "rgb8": (0, 1, 2),
    "bgr8": (2, 1, 0),
    "rgba8": (0, 1, 2, 3),
    "bgra8": (2, 1, 0, 3),
    "mono8": (0,),
}
"""By encoding: where in a pixel red, green and blue are (grey is all three), and whether more follows."""
DEPTHS = {"16UC1": ("u2", 1e-3), "32FC1": ("f4", 1.0)}
"""By encoding: NumPy's name of a depth, without the order of its bytes, and its unit in metres (REP 118)."""
LARGEST_SIDE = 1 << 14


class Image(Protocol):
    """What is read of a sensor_msgs/Image."""

    height: int
    width: int
    encoding: str
    is_bigendian: int
    step: int
    data: Any


def picture(image: Image, side: int) -> npt.NDArray[np.uint8]:
    """``(side, side, 3)`` RGB: the largest square about a picture's middle, each pixel the mean of what lies in it.

    Args:
        image: as it came.
        side: pixels.

    Raises:
        ValueError: it is in an encoding that is not known, or not what it says of itself.
    """
    if image.encoding not in CHANNELS:
        raise ValueError(f"its encoding is {image.encoding!r}, none of {', '.join(CHANNELS)}")
    order = CHANNELS[image.encoding]
    rows = _rows(image, np.dtype(np.uint8), len(order))
    shades = np.repeat(rows, 3, axis=2) if len(order) == 1 else rows[..., list(order[:3])]
    return fitted(shades, None, (side, side))


def depth(image: Image, side: int) -> npt.NDArray[np.float32]:
    """``(side, side)`` metres along the optical axis, 0 where nothing was measured, of the same square.

    Each is what one pixel measured, that in its middle: the mean of near and far would be in mid-air.

    Args:
        image: as it came.
        side: pixels.

    Raises:
        ValueError: it is in an encoding that is not known, or not what it says of itself.
    """
    if image.encoding not in DEPTHS:
        raise ValueError(f"its encoding is {image.encoding!r}, none of {', '.join(DEPTHS)}")
    kind, unit_m = DEPTHS[image.encoding]
    rows = _rows(image, np.dtype(kind).newbyteorder(">" if image.is_bigendian else "<"), 1)[..., 0]
    left, top, wide = middle(rows.shape[1], rows.shape[0])
    square = rows[top : top + wide, left : left + wide]
    middles = ((np.arange(side) + 0.5) * len(square) / side).astype(np.int64)
    found: npt.NDArray[np.float32] = square[np.ix_(middles, middles)].astype(np.float32) * np.float32(unit_m)
    found[~(np.isfinite(found) & (found > 0.0))] = 0.0
    return found


def _rows(image: Image, dtype: np.dtype[Any], channels: int) -> npt.NDArray[Any]:
    """``(height, width, channels)`` of a picture, without what fills up its rows."""
    height, width, step = int(image.height), int(image.width), int(image.step)
    size = width * channels * dtype.itemsize
    if not (0 < height <= LARGEST_SIDE and 0 < width <= LARGEST_SIDE and size <= step <= 16 * LARGEST_SIDE):
        raise ValueError(f"it says that it is {width} x {height} in rows of {step} bytes")
    # Some leave out what would fill up the last row.
    there = np.frombuffer(image.data, dtype=np.uint8)
    if len(there) < (height - 1) * step + size:
        raise ValueError(f"it has {len(there)} bytes, {width} x {height} in rows of {step} have {height * step}")
    rows = np.zeros(height * step, dtype=np.uint8)
    rows[: len(there)] = there[: len(rows)]
    return np.ascontiguousarray(rows.reshape(height, step)[:, :size]).view(dtype).reshape(height, width, channels)
