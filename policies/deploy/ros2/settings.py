"""What somebody who has a robot says of it: the node's parameters, with what they mean and what is usual.

One table (`parameters_of`) is what the node declares, what it reads, and what ``config/NAME.yaml`` is written from.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from policies.deploy.bundle import JOINTS, PICTURES, Manifest
from simulation.calibration import CALIBRATION
from simulation.pointcloud import CLOUD, DEPTH

FloatArray = npt.NDArray[np.float64]
Value = bool | float | str | list[str] | list[float]
ArmKind = Literal["trajectory", "position"]
GripperKind = Literal["action", "trajectory", "position", "arm"]
FIRST_SPEED = 0.1
LEAST_SPEED = 0.02


class Parameter(NamedTuple):
    """One of the node's.

    Attributes:
        name: as ROS knows it.
        usual: what it is where nobody says otherwise; also tells its kind.
        meaning: in a sentence.
    """

    name: str
    usual: Value
    meaning: str


@dataclass(frozen=True)
class ArmSettings:
    """How the arm is measured and told.

    Attributes:
        states: topic of sensor_msgs/JointState.
        controller: what is told.
        topic: of its commands.
        joints: ROS's names of the manifest's joints, in the manifest's order.
        signs, offsets: ``(J,)`` a joint in ROS is sign · (that of the manifest) + offset.
        order: names as the controller has them.
        stream_hz: how often a position controller is told.
    """

    states: str
    controller: ArmKind
    topic: str
    joints: tuple[str, ...]
    signs: FloatArray
    offsets: FloatArray
    order: tuple[str, ...]
    stream_hz: float


@dataclass(frozen=True)
class GripperSettings:
    """How the gripper is measured and told.

    Attributes:
        controller: what is told; ``"arm"``: the arm's, which has its joint too.
        topic: of its commands, or the action's name.
        joint: of it, in the joint states.
        closed, opened: that joint's positions then.
        effort: of the action, at most.
    """

    controller: GripperKind
    topic: str
    joint: str
    closed: float
    opened: float
    effort: float


@dataclass(frozen=True)
class CameraSettings:
    """What is known of one camera.

    Attributes:
        picture, depth: topics of sensor_msgs/Image; `depth` "" where none is looked at.
        info: topic of sensor_msgs/CameraInfo; "": it is as the manifest says.
        pose: ``(4, 4)`` in the frame of the base, or on the hand in that of the tool.
        lens: radial distortion (`simulation.optics.Optics.lens`).
        focal: nominal focal length, in halves of the picture's height.
        side: width and height of what is looked at, pixels.
    """

    picture: str
    depth: str
    info: str
    pose: FloatArray
    lens: float
    focal: float
    side: int


@dataclass(frozen=True)
class Settings:
    """All that the node is told.

    Attributes:
        arm: how it is measured and told.
        gripper: likewise.
        cameras: by name, in the manifest's order.
        others: topics of std_msgs/Float64MultiArray by the name of an input that is neither joints nor seen.
        speed: share of the speed of the demonstrations, up to 1.
        seconds: that a run takes at most, at full speed.
        heed: stop where what is seen falls short of what was dreamed.
        wait_s: for so long a start waits for what is to be measured.
    """

    arm: ArmSettings
    gripper: GripperSettings
    cameras: Mapping[str, CameraSettings]
    others: Mapping[str, str]
    speed: float
    seconds: float
    heed: bool
    wait_s: float


def parameters_of(manifest: Manifest) -> list[Parameter]:
    """The parameters of the node that drives by this manifest's policy."""
    count = len(manifest.joints)
    finger, closed, opened = _gripper_of(manifest)
    found = [
        Parameter("speed", FIRST_SPEED, "Share of the speed of the demonstrations; 1.0 is all of it. Begin with 0.1."),
        Parameter("seconds", 60.0, "A run ends after so many seconds, counted at full speed, at the latest."),
        Parameter("heed_doubts", True, "Stop when what is seen falls short of what the policy has foretold."),
        Parameter("wait_s", 5.0, "~/start waits so long for joints, pictures and controllers."),
        Parameter("joint_states", "/joint_states", "Topic of sensor_msgs/JointState."),
        Parameter("arm.controller", "trajectory", "trajectory: a joint_trajectory_controller; position: a "
                  "forward_command_controller (or position_controllers/JointGroupPositionController)."),
        Parameter("arm.topic", "/joint_trajectory_controller/joint_trajectory",
                  "Its topic: NAME/joint_trajectory, or NAME/commands of a position controller."),
        Parameter("arm.joints", list(manifest.joints),
                  f"The robot's names of the policy's joints {', '.join(manifest.joints)}, in this order."),
        Parameter("arm.signs", [1.0] * count, "1.0, or -1.0 where a joint turns the other way than in the URDF that "
                  "the policy learnt with. Robot = sign * policy + offset."),
        Parameter("arm.offsets", [0.0] * count, "rad (m where a joint slides): what the robot says at the policy's 0."),
        Parameter("arm.order", list(manifest.joints), "The same names as the controller's own parameter `joints` has "
                  "them, in its order; with the gripper's, where gripper.controller is arm."),
        Parameter("arm.stream_hz", 100.0, "A position controller is told so often where to be on the way."),
        Parameter("gripper.controller", "action", "action: control_msgs/action/GripperCommand; trajectory, position: "
                  "a controller as above, of one joint; arm: the arm's controller has that joint too."),
        Parameter("gripper.topic", "/gripper_controller/gripper_cmd", "The action's name, or the controller's topic."),
        Parameter("gripper.joint", finger, "The gripper's joint in the joint states."),
        Parameter("gripper.closed", closed, "Where that joint is when closed on nothing."),
        Parameter("gripper.open", opened, "Where it is when open."),
        Parameter("gripper.effort", 20.0, "Of the action: max_effort, N (N m of a turning joint)."),
    ]  # fmt: skip
    for name in _cameras(manifest):
        _, focal, pose = _nominal(manifest, name)
        of = f"cameras.{name}."
        frame = "tool" if "tool_from_camera" in _fact(manifest, name) else "robot's base"
        found.append(Parameter(of + "image", f"/{name}/image_rect", "Topic of sensor_msgs/Image, rectified: rgb8, bgr8, rgba8, bgra8 or mono8."))  # fmt: skip # noqa: E501
        if DEPTH + name in manifest.measures:
            found.append(Parameter(of + "depth", f"/{name}/depth_image_rect", "Topic of its depth, of the same pixels: 16UC1 (mm) or 32FC1 (m)."))  # fmt: skip # noqa: E501
        if CALIBRATION in manifest.measures:
            found += [
                Parameter(of + "info", "", "Topic of sensor_msgs/CameraInfo. Empty: it sees as the one in simulation."),
                Parameter(of + "pose", pose_numbers(pose), "Where its optical frame (x right, y down, z forward) is "
                          f"in the frame of the {frame}: x, y, z (m), roll, pitch, yaw (rad), as tf2_echo tells them."),
                Parameter(of + "focal", focal, "Focal length over half of the picture's height; not looked at where "
                          "`info` names a topic."),
                Parameter(of + "lens", 0.0, "Radial distortion; 0.0 of rectified pictures."),
            ]  # fmt: skip
    for name in _others(manifest):
        size = math.prod(manifest.inputs[name].shape)
        found.append(Parameter(f"inputs.{_short(name)}", f"/{_short(name)}", f"Topic of std_msgs/Float64MultiArray: the {size} numbers of {name}."))  # fmt: skip # noqa: E501
    return found


def settings_of(manifest: Manifest, told: Callable[[str], Any]) -> Settings:
    """What was said of a robot.

    Args:
        manifest: of the bundle.
        told: the value of a parameter by its name.

    Raises:
        ValueError: that makes no sense; says which parameter.
    """
    read = {entry.name: _checked(entry, told(entry.name)) for entry in parameters_of(manifest)}
    count = len(manifest.joints)
    gripper = GripperSettings(
        cast(GripperKind, _one_of(read, "gripper.controller", ("action", "trajectory", "position", "arm"))),
        _name(read, "gripper.topic"),
        _name(read, "gripper.joint"),
        read["gripper.closed"],
        read["gripper.open"],
        _within(read, "gripper.effort", 0.0, 1e6),
    )
    if gripper.closed == gripper.opened:
        raise ValueError("gripper.closed and gripper.open are the same")
    joints, order = tuple(read["arm.joints"]), tuple(read["arm.order"])
    signs = np.array(read["arm.signs"])
    if len(joints) != count or len(set(joints)) != count or not all(joints) or gripper.joint in joints:
        raise ValueError(f"arm.joints are not {count} names, each once, without the gripper's")
    if signs.shape != (count,) or not (np.abs(signs) == 1.0).all() or len(read["arm.offsets"]) != count:
        raise ValueError(f"arm.signs and arm.offsets are not {count} numbers each, signs being 1.0 or -1.0")
    wanted = {*joints, *((gripper.joint,) if gripper.controller == "arm" else ())}
    if set(order) != wanted or len(order) != len(wanted):
        raise ValueError(f"arm.order does not name each of {', '.join(sorted(wanted))} once")
    arm = ArmSettings(
        _name(read, "joint_states"),
        cast(ArmKind, _one_of(read, "arm.controller", ("trajectory", "position"))),
        _name(read, "arm.topic"),
        joints,
        signs,
        np.array(read["arm.offsets"]),
        order,
        _within(read, "arm.stream_hz", 10.0, 1000.0),
    )
    return Settings(
        arm,
        gripper,
        {name: _camera(manifest, name, read) for name in _cameras(manifest)},
        {name: _name(read, f"inputs.{_short(name)}") for name in _others(manifest)},
        _within(read, "speed", LEAST_SPEED, 1.0),
        _within(read, "seconds", 0.1, 86400.0),
        read["heed_doubts"],
        _within(read, "wait_s", 0.0, 3600.0),
    )


def pose_numbers(pose: FloatArray) -> list[float]:
    """x, y, z (m), roll, pitch, yaw (rad, about the fixed x, y, z one after another) of a pose ``(4, 4)``."""
    r = pose[:3, :3]
    across = math.hypot(r[0, 0], r[1, 0])
    pitch = math.atan2(-r[2, 0], across)
    # Looking straight up or down the x axis, roll and yaw are one turn: all of it is called roll.
    roll = math.atan2(r[2, 1], r[2, 2]) if across > 1e-9 else math.atan2(-r[1, 2], r[1, 1])
    yaw = math.atan2(r[1, 0], r[0, 0]) if across > 1e-9 else 0.0
    return [round(float(value), 6) + 0.0 for value in (*pose[:3, 3], roll, pitch, yaw)]


def pose_from(numbers: list[float]) -> FloatArray:
    """The pose ``(4, 4)`` of which `pose_numbers` told."""
    (a, b, c), (d, e, f) = np.cos(numbers[3:]), np.sin(numbers[3:])
    found = np.eye(4)
    found[:3, :3] = (
        np.array([[c, -f, 0.0], [f, c, 0.0], [0.0, 0.0, 1.0]])
        @ np.array([[b, 0.0, e], [0.0, 1.0, 0.0], [-e, 0.0, b]])
        @ np.array([[1.0, 0.0, 0.0], [0.0, a, -d], [0.0, d, a]])
    )
    found[:3, 3] = numbers[:3]
    return found


def _gripper_of(manifest: Manifest) -> tuple[str, float, float]:
    """The gripper's first joint and where it is closed and open; of older bundles nothing is known."""
    joints = manifest.document["robot"].get("gripper_joints")
    if not isinstance(joints, dict) or not joints:
        return "", 0.0, 1.0
    name, (closed, opened) = next(iter(joints.items()))
    return str(name), float(closed), float(opened)


def _cameras(manifest: Manifest) -> list[str]:
    """Names of the cameras that are looked at, in the order of what is known of them."""
    return [name.removeprefix(PICTURES) for name in manifest.measures if name.startswith(PICTURES)]


def _others(manifest: Manifest) -> list[str]:
    """Inputs that nothing here can make: numbers that somebody else must know."""
    known = (JOINTS, CALIBRATION, CLOUD)
    return [name for name in manifest.inputs if name not in known and not name.startswith(PICTURES)]


def _short(name: str) -> str:
    return name.rpartition(".")[2]


def _fact(manifest: Manifest, name: str) -> Mapping[str, Any]:
    fact = manifest.document.get("cameras", {}).get(name)
    if not isinstance(fact, dict):
        raise ValueError(f"the manifest says nothing of the camera {name}")
    return fact


def _nominal(manifest: Manifest, name: str) -> tuple[int, float, FloatArray]:
    """Side of a camera's picture, focal length over half of it, and pose, as the manifest says."""
    fact = _fact(manifest, name)
    seen = manifest.inputs.get(PICTURES + name)
    side = int(fact["size"][1] if seen is None else seen.shape[-3])
    pose = np.array(fact.get("base_from_camera", fact.get("tool_from_camera")), dtype=np.float64)
    focal = float(fact["focal_px"]) / (float(fact["size"][1]) / 2)
    if pose.shape != (4, 4) or not (np.isfinite(pose).all() and 0.0 < focal < 100.0 and 0 < side <= 4096):
        raise ValueError(f"what the manifest says of the camera {name} makes no sense")
    return side, focal, pose


def _camera(manifest: Manifest, name: str, read: Mapping[str, Any]) -> CameraSettings:
    side, focal, pose = _nominal(manifest, name)
    of = f"cameras.{name}."
    if of + "pose" in read:
        numbers = read[of + "pose"]
        if len(numbers) != 6:
            raise ValueError(f"{of}pose is not six numbers")
        pose, focal = pose_from(numbers), _within(read, of + "focal", 0.05, 100.0)
    return CameraSettings(
        _name(read, of + "image"),
        _name(read, of + "depth") if of + "depth" in read else "",
        read.get(of + "info", ""),
        pose,
        read.get(of + "lens", 0.0),
        focal,
        side,
    )


def _checked(entry: Parameter, value: Any) -> Any:
    """A parameter's value, in the kind of what is usual; whole numbers are numbers too."""
    usual = entry.usual
    if isinstance(usual, bool | str):
        good, found = isinstance(value, type(usual)), value
    elif isinstance(usual, float):
        good, found = _is_number(value), value
    else:
        value = list(value) if isinstance(value, list | tuple) or hasattr(value, "tolist") else None
        words = isinstance(usual[0], str)
        good = value is not None and all(isinstance(one, str) if words else _is_number(one) for one in value)
        found = value if words or not good else [float(one) for one in value or ()]
    if not good:
        raise ValueError(f"{entry.name} is {value!r}, not like {usual!r}")
    return float(found) if isinstance(usual, float) else found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _name(read: Mapping[str, Any], key: str) -> str:
    if not read[key]:
        raise ValueError(f"{key} is empty")
    return str(read[key])


def _one_of(read: Mapping[str, Any], key: str, words: tuple[str, ...]) -> str:
    if read[key] not in words:
        raise ValueError(f"{key} is {read[key]!r}, none of {', '.join(words)}")
    return str(read[key])


def _within(read: Mapping[str, Any], key: str, least: float, most: float) -> float:
    if not least <= read[key] <= most:
        raise ValueError(f"{key} is {read[key]:g}, not {least:g} ... {most:g}")
    return float(read[key])
