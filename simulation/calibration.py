"""What is known of a robot's cameras when it runs: where they are, and how they see.

On a bench that is measured once (with a tag, or by laying the scene's picture over the camera's); in simulation it is
known. Whoever looks at the pictures is told it beside them. NumPy alone: it goes to the robot.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from simulation.optics import Optics

FloatArray = npt.NDArray[np.float64]
CALIBRATION = "observation.camera_calibration"
NUMBERS = 11
"""Of a camera."""
ON_THE_HAND = ("wrist",)
"""Cameras that move with the hand."""


def calibration(camera: FloatArray, optics: Optics) -> FloatArray:
    """``(11,)`` position (m), x and y axis of a camera, its focal length and its lens.

    Args:
        camera: ``(4, 4)`` its pose in the frame of what it is fixed to, the robot's base or its tool; camera axes x
            right, y down, z forward.
        optics: how it sees; the focal length is told in halves of the picture's height, the lens as `Optics.lens`.
    """
    focal = optics.focal_px / (optics.size[1] / 2)
    return np.concatenate([camera[:3, 3], camera[:3, 0], camera[:3, 1], [focal, optics.lens]])


def calibrated(known: npt.NDArray[Any], size: tuple[int, int]) -> tuple[FloatArray, Optics]:
    """The pose ``(4, 4)`` and the optics that `calibration` told of, for pictures of some width and height.

    Raises:
        ValueError: that is not what is known of one camera.
    """
    if known.shape != (NUMBERS,):
        raise ValueError(f"a camera is known by {NUMBERS} numbers, not {known.shape}")
    pose = np.eye(4)
    x, y = np.asarray(known[3:9], dtype=np.float64).reshape(2, 3)
    pose[:3, :3] = np.stack([x, y, np.cross(x, y)], axis=1)
    pose[:3, 3] = known[:3]
    return pose, Optics(float(known[9]) * size[1] / 2, size, float(known[10]))
