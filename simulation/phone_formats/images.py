"""Encoding pictures, and turning what the landscape sensor sees upright."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
OPENGL_FROM_OPENCV = np.diag([1.0, -1.0, -1.0, 1.0])
SENSOR_FROM_UPRIGHT = np.array([[0.0, 1, 0, 0], [-1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
"""Axes of the upright picture (x right = the sensor's -y, y down = the sensor's x), both OpenCV."""


def jpeg(rgb: npt.NDArray[np.uint8], quality: int = 92) -> bytes:
    """``(H, W, 3)`` RGB as JPEG."""
    import cv2

    return _encoded(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])


def png(image: npt.NDArray[Any]) -> bytes:
    """uint8 or uint16 grey ``(H, W)``, or RGB ``(H, W, 3)``, as PNG."""
    return _encoded(".png", image[..., ::-1] if image.ndim == 3 else image, [])


def _encoded(ending: str, image: npt.NDArray[Any], options: list[int]) -> bytes:
    import cv2

    done, data = cv2.imencode(ending, np.ascontiguousarray(image), options)
    if not done:
        raise ValueError(f"OpenCV cannot write {image.dtype} {image.shape} as {ending}")
    return bytes(data.tobytes())


def millimetres(depth_m: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
    """Depth as apps store it: whole millimetres, 0 = none."""
    return np.round(depth_m * 1000.0).astype(np.uint16)


def enlarged(image: npt.NDArray[Any], size: tuple[int, int]) -> npt.NDArray[Any]:
    """`image` at ``(width, height)`` by nearest neighbour."""
    import cv2

    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_NEAREST))


def turned(image: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The landscape sensor's picture upright, for a phone held upright: a quarter turn clockwise."""
    return np.ascontiguousarray(np.rot90(image, -1))


def turned_intrinsics(intrinsics: FloatArray, size: tuple[int, int]) -> FloatArray:
    """``(3, 3)`` of the picture after `turned`; `size` is that of the landscape picture."""
    out = np.eye(3)
    out[0, 0], out[1, 1] = intrinsics[1, 1], intrinsics[0, 0]
    out[0, 2], out[1, 2] = size[1] - 1 - intrinsics[1, 2], intrinsics[0, 2]
    return out


def pose_record(world_from_camera: FloatArray) -> list[float]:
    """``[qx, qy, qz, qw, tx, ty, tz]``."""
    from scipy.spatial.transform import Rotation

    return [*Rotation.from_matrix(world_from_camera[:3, :3]).as_quat().tolist(), *world_from_camera[:3, 3].tolist()]
