"""What a robot's cell asks of a physics engine: bodies with names, and an arm among them.

Two answer it: PyBullet (`simulation.world`, `simulation.robots`), in which scenes are built and policies learn, and
MuJoCo (`simulation.mujoco_world`), which stands in for reality.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from simulation.world import FINEST_DISTANCE_M, Contact

FloatArray = npt.NDArray[np.float64]


class Physics(Protocol):
    """A world of named bodies; poses are `scene_from_object` ``(4, 4)``."""

    @property
    def names(self) -> tuple[str, ...]:
        """The bodies that can move."""

    @property
    def fixed_names(self) -> tuple[str, ...]:
        """Those that cannot, but for the robot."""

    def body(self, name: str) -> int:
        """The engine's number of a body, for `Limbs`."""

    def pose(self, name: str) -> FloatArray:
        """Of one body."""

    def poses(self) -> dict[str, FloatArray]:
        """Of every body that can move."""

    def velocity(self, name: str) -> tuple[FloatArray, FloatArray]:
        """Linear (m/s) and angular (rad/s), each ``(3,)``, scene frame."""

    def contacts(self, name: str) -> list[Contact]:
        """What touches a body; robots are named ""."""

    def gaps(self, first: str, second: str, within_m: float = FINEST_DISTANCE_M) -> list[Contact]:
        """The closest points of two bodies, nearer than `within_m`; none where they are farther apart."""


class Limbs(Protocol):
    """A robot. Positions of its joints are those of `Robot.arm`, then the gripper's opening, 0 … 1."""

    def reset(self, positions: FloatArray) -> None:
        """Put all joints somewhere at once, at rest."""

    def drive(self, positions: FloatArray) -> None:
        """Give the motors new goals ``(J + 1,)``."""

    def positions(self) -> FloatArray:
        """``(J + 1,)`` as measured."""

    def speeds(self) -> FloatArray:
        """``(J,)`` of the arm's joints."""

    def link_poses(self, links: Sequence[str] | None = None) -> dict[str, FloatArray]:
        """`scene_from_link` ``(4, 4)`` of all links but the base (or of `links`)."""

    def tool(self) -> FloatArray:
        """`scene_from_tool` ``(4, 4)``."""

    def holds(self, body: int) -> bool:
        """Whether every finger presses on a body."""

    def touches(self, body: int) -> bool:
        """Whether any part of it touches a body."""
