"""What all real arms share: what a user says of one, and what is looked at before it moves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from policies.deploy.bundle import PICTURES, Manifest
from policies.deploy.robot import Robot
from simulation.calibration import CALIBRATION
from simulation.pointcloud import CLOUD, DEPTH

FloatArray = npt.NDArray[np.float64]
PLAY_RAD = 0.05
"""An arm at rest may be measured so far beyond a limit of its joints: they have play."""


class ArmError(ValueError):
    """An arm cannot be driven as it was asked for; says why, and what to do.

    Attributes:
        remedy: a sentence that says what to do.
    """

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


@dataclass(frozen=True)
class ArmSettings:
    """Which real arm it is, and how it is reached."""

    port: str | None = None
    """Where the arm is plugged in, such as /dev/ttyACM0 or COM5."""
    id: str | None = None
    """Name of the arm, under which LeRobot keeps its calibration."""
    mapping: Path | None = None
    """JSON file: which motor and camera is which (docs/robots.md). Left out: those of the same names."""
    align: Path | None = None
    """JSON file: where the cameras really are, as under `cameras` in the bundle's manifest.json."""
    config: Path | None = None
    """JSON file: further fields of LeRobot's configuration of the arm, such as its cameras."""
    yes: bool = False
    """Do not ask before the arm moves for the first time."""


class RealArm(Robot, Protocol):
    """An arm that can tell how it understands the bundle; `connect` does nothing where it is connected."""

    def describe(self) -> Sequence[Motor]:
        """Which motor is which joint, in the manifest's order, the gripper's last, and what they say now."""

    def notes(self) -> Sequence[str]:
        """What else a person should read before the arm moves, a sentence each."""


@dataclass(frozen=True)
class Motor:
    """One motor, as it is shown.

    Attributes:
        name: of it.
        reads: what it says, in its own unit.
    """

    name: str
    reads: float


def require_seeing(manifest: Manifest) -> None:
    """See that a bundle looks at nothing but joints and pictures.

    Raises:
        ArmError: it looks at what a real arm with cameras does not measure.
    """
    remedy = "Train a policy with --observe rgb, and export that."
    if manifest.points is not None or any(name == CLOUD or name.startswith(DEPTH) for name in manifest.measures):
        raise ArmError("This bundle looks at a cloud of points, and LeRobot's arms bring no depth for it.", remedy)
    for name in manifest.measures:
        if name == "observation.environment_state":
            raise ArmError("This bundle is told where the things are, which only a simulation knows.", remedy)
        if name != CALIBRATION and not name.startswith(PICTURES):
            raise ArmError(f"This bundle looks at {name}, which no arm is known to measure.", remedy)


def misplaced(manifest: Manifest, positions: FloatArray) -> str:
    """Why an arm at joint positions and opening ``(J + 1,)`` must not begin there, "" where it may."""
    limits = manifest.limits
    if not np.isfinite(positions).all():
        return "the joint data make no sense"
    for name, now, low, high in zip(manifest.joints, positions[:-1], limits.low, limits.high, strict=True):
        if not low - PLAY_RAD <= now <= high + PLAY_RAD:
            return f"{name} is at {now:.2f} rad, outside of {low:.2f} … {high:.2f} rad"
    if limits.workspace is not None:
        tool = manifest.chain.tool(np.clip(positions[:-1], limits.low, limits.high))[:3, 3]
        if (tool < limits.workspace[0]).any() or (tool > limits.workspace[1]).any():
            return f"the tool is at {_point(tool)} m, outside of its workspace"
    return ""


def shown(manifest: Manifest, arm: RealArm, positions: FloatArray) -> str:
    """What a person reads before the arm moves: which motor is which joint, where they are, and their limits.

    Args:
        manifest: of the bundle.
        arm: connected.
        positions: ``(J + 1,)`` measured.
    """
    *motors, gripper = arm.describe()
    limits, wide = manifest.limits, max(map(len, ("joint", "gripper", *manifest.joints)))
    long = max(map(len, ("motor", gripper.name, *(motor.name for motor in motors))))
    lines = [f"{'joint':<{wide}}  {'motor':<{long}}     reads  degrees      rad   from      to (rad)"]
    rows = zip(manifest.joints, motors, positions[:-1], limits.low, limits.high, strict=True)
    for name, motor, now, low, high in rows:
        lines.append(
            f"{name:<{wide}}  {motor.name:<{long}}  {motor.reads:8.2f}  {np.rad2deg(now):7.1f}  {now:7.3f}"
            f"  {low:6.3f}  {high:6.3f}"
        )
    opening = f"open to {positions[-1]:.2f} (0 closed, 1 open)"
    lines.append(f"{'gripper':<{wide}}  {gripper.name:<{long}}  {gripper.reads:8.2f}   {opening}")
    tool = manifest.chain.tool(positions[:-1])[:3, 3]
    box = limits.workspace
    lines.append(
        f"tool: {_point(tool)} m" + ("" if box is None else f", stays in {_point(box[0])} … {_point(box[1])} m")
    )
    return "\n".join([*lines, *arm.notes()])


def _point(point: FloatArray) -> str:
    return "(" + ", ".join(f"{value:.3f}" for value in point) + ")"
