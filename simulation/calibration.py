"""What is known of a robot's cameras when it runs: where they are, and how they see.

On a bench that is measured once (with a tag, or by laying the scene's picture over the camera's); in simulation it is
known. Whoever looks at the pictures is told it beside them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from simulation.renderer import Optics

FloatArray = npt.NDArray[np.float64]
CALIBRATION = "observation.camera_calibration"
NUMBERS = 11
"""Of a camera."""


def calibration(camera: FloatArray, optics: Optics) -> FloatArray:
    """``(11,)`` position (m), x and y axis of a camera, its focal length and its lens.

    Args:
        camera: ``(4, 4)`` its pose in the frame of what it is fixed to, the robot's base or its tool; camera axes x
            right, y down, z forward.
        optics: how it sees; the focal length is told in halves of the picture's height, the lens as `Optics.lens`.
    """
    focal = optics.focal_px / (optics.size[1] / 2)
    return np.concatenate([camera[:3, 3], camera[:3, 0], camera[:3, 1], [focal, optics.lens]])
