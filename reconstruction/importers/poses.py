"""Poses as phones write them, to `capture_from_camera` with x right, y down, z forward."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from reconstruction.capture import FloatArray, Frame
from reconstruction.errors import InputError

OPENCV_FROM_OPENGL: FloatArray = np.diag([1.0, -1.0, -1.0, 1.0])
"""Turns camera axes x right, y up, z backward (ARKit, OpenGL) into ours; its own inverse."""

Y_UP: FloatArray = np.array([0.0, 1.0, 0.0])
Z_UP: FloatArray = np.array([0.0, 0.0, 1.0])


def rotation_from_quat_xyzw(quat_xyzw: npt.ArrayLike) -> FloatArray:
    """Rotation matrices ``(..., 3, 3)`` of quaternions ``(..., 4)``, normalised first; zero or NaN gives NaN."""
    quat = np.asarray(quat_xyzw, dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        quat = quat / np.linalg.norm(quat, axis=-1, keepdims=True)
    x, y, z, w = np.moveaxis(quat, -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), (0, 1), (-2, -1))


def pose_from_quat(quat_xyzw: npt.ArrayLike, translation_m: npt.ArrayLike) -> FloatArray:
    """``(4, 4)`` rigid transform from a quaternion (x, y, z, w) and a translation in metres."""
    pose = np.eye(4)
    pose[:3, :3] = rotation_from_quat_xyzw(quat_xyzw)
    pose[:3, 3] = translation_m
    return pose


def rigid(matrix: npt.ArrayLike, where: str) -> FloatArray:
    """The nearest rigid ``(4, 4)`` transform of a matrix that a file declares as one.

    Apps write float32, so the last row and the rotation are off by some 1e-7; more than 2 % is damage.

    Raises:
        InputError: wrong shape, NaN or infinite, or no rotation.
    """
    pose = np.asarray(matrix, dtype=np.float64)
    if pose.shape == (3, 4):
        pose = np.vstack([pose, [0.0, 0.0, 0.0, 1.0]])
    if pose.shape != (4, 4) or not np.isfinite(pose).all():
        raise InputError(
            f"{where}: the camera pose is not a finite 4x4 matrix.",
            remedy="The app lost tracking or the file is damaged; export the scan again.",
            code="bad_pose",
        )
    u, scale, vt = np.linalg.svd(pose[:3, :3])
    if np.abs(scale - 1.0).max() > 0.02 or np.linalg.det(u @ vt) < 0 or np.abs(pose[:3, 3]).max() > 1e5:
        raise InputError(
            f"{where}: the camera pose is not a rotation and a translation in metres.",
            remedy="The file is damaged or was edited; export the scan again.",
            code="bad_pose",
        )
    clean = np.eye(4)
    clean[:3, :3] = u @ vt
    clean[:3, 3] = pose[:3, 3]
    return clean


def inverse(a_from_b: FloatArray) -> FloatArray:
    """``b_from_a`` ``(4, 4)`` of a rigid transform."""
    b_from_a = np.eye(4)
    b_from_a[:3, :3] = a_from_b[:3, :3].T
    b_from_a[:3, 3] = -a_from_b[:3, :3].T @ a_from_b[:3, 3]
    return b_from_a


def is_identity(pose: FloatArray, tolerance: float = 1e-4) -> bool:
    """Whether a pose says "here is the origin": old apps then know nothing of gravity."""
    return bool(np.abs(pose - np.eye(4)).max() <= tolerance)


def arkit_up(frames: Sequence[Frame]) -> FloatArray | None:
    """+Y of an ARKit world; None where the first pose is the identity, for then the app had reset the world."""
    first = frames[0].capture_from_camera if frames else None
    if first is None or is_identity(first @ OPENCV_FROM_OPENGL):
        return None
    return Y_UP


def pinhole(fx: float, fy: float, cx: float, cy: float, where: str) -> FloatArray:
    """Intrinsics ``(3, 3)`` in pixels.

    Raises:
        InputError: not finite, or a focal length that is not positive.
    """
    if not (np.isfinite([fx, fy, cx, cy]).all() and fx > 1.0 and fy > 1.0):
        raise InputError(
            f"{where}: the camera intrinsics fx={fx} fy={fy} cx={cx} cy={cy} make no camera.",
            remedy="Export the scan again.",
            code="bad_intrinsics",
        )
    return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])
