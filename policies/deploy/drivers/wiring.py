"""Which motor is which joint, and which camera is which: from a bundle's radians to an arm's own units and back.

A joint's motor says ``offset_deg + sign · scale · degrees of the joint``; the gripper's says something between what it
says closed and what it says open.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from policies.deploy.bundle import PICTURES, Manifest
from policies.deploy.drivers.arm import ArmError
from policies.deploy.pictures import Crop
from simulation.calibration import CALIBRATION, NUMBERS, ON_THE_HAND, calibration
from simulation.optics import Optics

FloatArray = npt.NDArray[np.float64]
LARGEST_BYTES = 1 << 20
"""No file that a person writes about an arm is larger."""
GRIPPER = "gripper"


@dataclass(frozen=True)
class JointMotor:
    """The motor of a joint.

    Attributes:
        motor: its name.
        sign: 1, or -1 where it turns the other way round than the joint.
        offset_deg: what it says where the joint is at zero.
        scale: of its own units, in a degree.
    """

    motor: str
    sign: float = 1.0
    offset_deg: float = 0.0
    scale: float = 1.0


@dataclass(frozen=True)
class GripperMotor:
    """The motor of the gripper, and what it says at the openings 0 and 1 of the bundle."""

    motor: str = GRIPPER
    closed: float = 0.0
    open: float = 100.0


@dataclass(frozen=True)
class View:
    """A camera of the arm, and what of its picture the policy sees; None: the largest square in its middle."""

    camera: str
    crop: Crop | None = None


@dataclass(frozen=True)
class Wiring:
    """What of an arm is what of a bundle.

    Attributes:
        joints: their motors, in the manifest's order.
        gripper: that comes after them.
        views: by the names that the manifest gives to cameras.
    """

    joints: tuple[JointMotor, ...]
    gripper: GripperMotor
    views: Mapping[str, View]

    @property
    def motors(self) -> tuple[str, ...]:
        """Names of all motors, the gripper's last."""
        return (*(joint.motor for joint in self.joints), self.gripper.motor)

    def positions(self, said: FloatArray) -> FloatArray:
        """Joint positions (rad) and opening (0 … 1), ``(J + 1,)``, of what the motors say."""
        offset, factor = self._line()
        closed, wide = self.gripper.closed, self.gripper.open - self.gripper.closed
        opening = np.clip((said[-1] - closed) / wide, 0.0, 1.0)
        return np.append(np.deg2rad((said[:-1] - offset) / factor), opening)

    def goals(self, command: FloatArray) -> FloatArray:
        """What the motors are to say ``(J + 1,)`` at joint positions (rad) and opening."""
        offset, factor = self._line()
        closed, wide = self.gripper.closed, self.gripper.open - self.gripper.closed
        return np.append(offset + factor * np.rad2deg(command[:-1]), closed + wide * command[-1])

    def efforts(self, said: FloatArray) -> FloatArray:
        """What bears on the joints ``(J,)`` where their motors say so much, N·m of what the motor turns."""
        return np.asarray(np.sign(self._line()[1]) * said)

    def _line(self) -> tuple[FloatArray, FloatArray]:
        offset = np.array([joint.offset_deg for joint in self.joints])
        return offset, np.array([joint.sign * joint.scale for joint in self.joints])


def read_wiring(manifest: Manifest, file: Path | None, usual: GripperMotor, *, degrees: bool) -> Wiring:
    """How an arm is wired: as a file says, and where that says nothing, by the same names.

    Args:
        manifest: of the bundle.
        file: JSON; None: there is none.
        usual: the gripper's motor where the file does not tell of it.
        degrees: whether motors are known to say degrees; else the file has to tell of every joint.

    Raises:
        ArmError: the file is no good, or says too little.
    """
    told = {} if file is None else read_json(file)
    _known(told, ("joints", GRIPPER, "cameras"), str(file))
    joints, cameras = _table(told, "joints", file), _table(told, "cameras", file)
    pictures = pictures_of(manifest)
    _known(joints, manifest.joints, f"joints in {file}")
    _known(cameras, pictures, f"cameras in {file}")
    if not degrees and (left := [name for name in manifest.joints if name not in joints]):
        raise ArmError(
            f"It is not known in which unit the motor of {left[0]} says where it is.",
            "Tell of every joint in a --mapping file (docs/robots.md).",
        )
    motors = tuple(_joint(name, joints.get(name, {}), file) for name in manifest.joints)
    if GRIPPER in told:
        usual = _gripper(_table(told, GRIPPER, file), usual, file)
    views = {name: _view(name, cameras.get(name, {}), file) for name in pictures}
    wiring = Wiring(motors, usual, views)
    if len(set(wiring.motors)) < len(wiring.motors):
        raise ArmError(f"{file} gives one motor to two joints.", "Give each joint its own.")
    return wiring


def pictures_of(manifest: Manifest) -> tuple[str, ...]:
    """Names of the cameras whose pictures a bundle looks at, in the order of what is known of them."""
    return tuple(name.removeprefix(PICTURES) for name in manifest.inputs if name.startswith(PICTURES))


def known_cameras(manifest: Manifest, file: Path | None) -> npt.NDArray[np.float32] | None:
    """What a policy is told of its cameras ``(cameras · 11,)``; None where it is told nothing of them.

    Args:
        manifest: of the bundle, where they were meant to be.
        file: what `pocketworld align` wrote, or JSON that tells where some of them really are, as ``cameras`` of the
            manifest does; None: there is none.

    Raises:
        ArmError: the file is no good, or it is not known of every camera.
    """
    names, meant = pictures_of(manifest), manifest.document.get("cameras")
    facts = dict(meant) if isinstance(meant, dict) else {}
    told = {} if file is None else read_json(file)
    real = told["cameras"] if isinstance(told.get("cameras"), dict) else told
    _known(real, {*names, *facts}, str(file))
    facts |= real
    if CALIBRATION not in manifest.inputs:
        return None
    rows = []
    for name in names:
        where = file if name in real else "the bundle's manifest"
        try:
            rows.append(_camera(facts[name], "tool_from_camera" if name in ON_THE_HAND else "base_from_camera"))
        except (KeyError, TypeError, ValueError) as error:
            what = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
            raise ArmError(
                f"Of the camera {name} {where} does not tell how it is placed: {what}.",
                "Give an --align file (docs/robots.md).",
            ) from None
    found = np.concatenate(rows).astype(np.float32)
    if found.shape != manifest.inputs[CALIBRATION].shape[1:] or len(found) != NUMBERS * len(names):
        raise ArmError(
            "This bundle is told of other cameras than those whose pictures it looks at.", "Export it again."
        )
    return found


def read_json(file: Path) -> dict[str, Any]:
    """What a person wrote into a file.

    Raises:
        ArmError: it cannot be read, or is no JSON object.
    """
    try:
        if file.stat().st_size > LARGEST_BYTES:
            raise ValueError("it is too large")
        told = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ArmError(f"{file} cannot be read: {error.strerror}.", "Name a file that can be read.") from None
    except (ValueError, RecursionError) as error:
        raise ArmError(f"{file} is no JSON: {error}.", "Write it as in docs/robots.md.") from None
    if not isinstance(told, dict):
        raise ArmError(f"{file} holds no JSON object.", "Write it as in docs/robots.md.")
    return told


def _camera(fact: Mapping[str, Any], key: str) -> FloatArray:
    pose = np.array(fact[key], dtype=np.float64)
    if pose.shape != (4, 4) or not np.isfinite(pose).all():
        raise ValueError(f"{key} is no 4 × 4 matrix")
    turned = pose[:3, :3]
    if not np.allclose(turned @ turned.T, np.eye(3), atol=1e-3) or np.linalg.det(turned) < 0:
        raise ValueError(f"{key} does not turn, it distorts")
    width, height = (int(side) for side in fact["size"])
    focal, lens = float(fact["focal_px"]), float(fact.get("lens", 0.0))
    if not (0 < width < 1 << 16 and 0 < height < 1 << 16 and 0 < focal < 1e6 and abs(lens) < 1):
        raise ValueError("size, focal_px or lens make no sense")
    return calibration(pose, Optics(focal, (width, height), lens))


def _joint(name: str, told: Any, file: Path | None) -> JointMotor:
    entry = _entry(told, ("motor", "sign", "offset_deg", "scale"), f"{name} in {file}")
    return JointMotor(
        _word(entry, "motor", name, file),
        _number(entry, "sign", 1.0, lambda value: abs(value) == 1, file),
        _number(entry, "offset_deg", 0.0, lambda value: abs(value) <= 720, file),
        _number(entry, "scale", 1.0, lambda value: 1e-3 <= value <= 1e3, file),
    )


def _gripper(told: Mapping[str, Any], usual: GripperMotor, file: Path | None) -> GripperMotor:
    entry = _entry(told, ("motor", "closed", "open"), f"{GRIPPER} in {file}")
    one = GripperMotor(
        _word(entry, "motor", usual.motor, file),
        _number(entry, "closed", usual.closed, math.isfinite, file),
        _number(entry, "open", usual.open, math.isfinite, file),
    )
    if abs(one.open - one.closed) < 1e-3:
        raise ArmError(
            f"{file} has the gripper closed and open at the same value.", "Give both as the motor says them."
        )
    return one


def _view(name: str, told: Any, file: Path | None) -> View:
    entry = _entry(told, ("camera", "crop"), f"{name} in {file}")
    crop = entry.get("crop")
    if crop is not None:
        whole = isinstance(crop, list) and len(crop) == 3 and all(type(side) is int for side in crop)
        if not whole or min(crop) < 0 or crop[2] < 1:
            raise ArmError(f"The crop of {name} in {file} is {crop!r}.", "Give [left, top, side] in pixels.")
        crop = tuple(crop)
    return View(_word(entry, "camera", name, file), crop)


def _known(told: Mapping[str, Any], names: Collection[str], where: str) -> None:
    """See that nothing is told of what there is not: it would be misspelt."""
    if extra := [name for name in told if name not in names]:
        raise ArmError(f"{where} tells of {extra[0]!r}.", f"It may tell of: {', '.join(sorted(names)) or 'nothing'}.")


def _table(told: Mapping[str, Any], key: str, file: Path | None) -> dict[str, Any]:
    found = told.get(key, {})
    if not isinstance(found, dict):
        raise ArmError(f"{key} in {file} is no JSON object.", "Write it as in docs/robots.md.")
    return found


def _entry(told: Any, keys: Collection[str], where: str) -> Mapping[str, Any]:
    if not isinstance(told, dict):
        raise ArmError(f"{where} is no JSON object.", "Write it as in docs/robots.md.")
    _known(told, keys, where)
    return told


def _word(entry: Mapping[str, Any], key: str, usual: str, file: Path | None) -> str:
    found = entry.get(key, usual)
    if not isinstance(found, str) or not found:
        raise ArmError(f"{key} in {file} is {found!r}, no name.", "Give the name that LeRobot uses.")
    return found


def _number(
    entry: Mapping[str, Any], key: str, usual: float, sensible: Callable[[float], bool], file: Path | None
) -> float:
    found = entry.get(key, usual)
    if isinstance(found, bool) or not isinstance(found, int | float) or not sensible(found):
        raise ArmError(f"{key} in {file} is {found!r}.", "Write it as in docs/robots.md.")
    return float(found)
