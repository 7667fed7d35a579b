"""The joints of a URDF, and the chain of those that move a robot's tool."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from reconstruction.errors import InputError
from simulation.chain import Chain

FloatArray = npt.NDArray[np.float64]
MOVING = ("revolute", "continuous", "prismatic")
UNLIMITED_RAD = 2.0 * np.pi


@dataclass(frozen=True)
class Joint:
    """One joint of a URDF.

    Attributes:
        name: as in the file; `parent` and `child` are the links it joins.
        kind: ``fixed``, ``revolute``, ``continuous`` or ``prismatic``.
        origin: ``(4, 4)`` `parent_from_joint`.
        axis: ``(3,)`` unit, joint frame.
        low: rad or m; `high` likewise, ±2π where the file sets no limit.
        speed: rad/s or m/s at most; 0 where the file gives none.
        effort: N·m or N at most; 0 where the file gives none.
    """

    name: str
    parent: str
    child: str
    kind: str
    origin: FloatArray
    axis: FloatArray
    low: float
    high: float
    speed: float
    effort: float


def read_joints(urdf: Path) -> dict[str, Joint]:
    """All joints of a URDF by name.

    Raises:
        InputError: it is missing or no URDF.
    """
    try:
        root = ET.fromstring(urdf.read_bytes())  # noqa: S314 - expat guards against expanding entities
        found = {joint.name: joint for joint in map(_joint, root.findall("joint"))}
        if root.tag != "robot" or not found:
            raise ValueError("it describes no robot with joints")
    except (OSError, ET.ParseError, ValueError, KeyError, AttributeError) as error:
        raise InputError(
            f"{urdf} is no readable URDF: {error}.", remedy="Name the robot's own description file.", code="bad_urdf"
        ) from None
    return found


def _joint(element: ET.Element) -> Joint:
    axis_of = element.find("axis")
    axis = _numbers(None if axis_of is None else axis_of.get("xyz"), "1 0 0")
    limit = element.find("limit")
    values = {key: float("nan" if limit is None else limit.get(key, "nan")) for key in ("lower", "upper")}
    most = {key: float("0" if limit is None else limit.get(key, "0")) for key in ("velocity", "effort")}
    kind = element.attrib["type"]
    free = kind == "continuous" or not values["lower"] < values["upper"]
    parent, child = element.find("parent"), element.find("child")
    if parent is None or child is None:
        raise ValueError(f"joint {element.get('name')!r} joins nothing")
    return Joint(
        element.attrib["name"],
        parent.attrib["link"],
        child.attrib["link"],
        kind,
        origin_of(element),
        axis / max(float(np.linalg.norm(axis)), 1e-12),
        -UNLIMITED_RAD if free else values["lower"],
        UNLIMITED_RAD if free else values["upper"],
        most["velocity"],
        most["effort"],
    )


def origin_of(element: ET.Element) -> FloatArray:
    """``(4, 4)`` the pose that an element's ``origin`` gives; none: at rest in its parent."""
    origin = element.find("origin")
    xyz, rpy = (_numbers(None if origin is None else origin.get(key), "0 0 0") for key in ("xyz", "rpy"))
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation_rpy(rpy), xyz
    return pose


def _numbers(text: str | None, default: str) -> FloatArray:
    values = np.array((text or default).split(), dtype=np.float64)
    if values.shape != (3,) or not np.isfinite(values).all():
        raise ValueError(f"{text!r} is not three numbers")
    return values


def rotation_rpy(rpy: npt.ArrayLike) -> FloatArray:
    """``(3, 3)`` of roll, pitch and yaw as a URDF means them: about fixed x, then y, then z."""
    roll, pitch, yaw = np.asarray(rpy, dtype=np.float64)
    cr, sr, cp, sp, cy, sy = np.cos(roll), np.sin(roll), np.cos(pitch), np.sin(pitch), np.cos(yaw), np.sin(yaw)
    return np.array(
        [
            [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
            [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
            [-sp, cp * sr, cp * cr],
        ]
    )


def chain_of(joints: dict[str, Joint], moving: Sequence[str], tool_link: str, link_from_tool: FloatArray) -> Chain:
    """The chain that ends at `tool_link`; joints that are not in `moving` stay at zero.

    Raises:
        InputError: there is no such link or joint, or `moving` are not those of the chain, base first.
    """
    above = {joint.child: joint for joint in joints.values()}
    path: list[Joint] = []
    link = tool_link
    while link in above:
        path.append(above[link])
        link = above[link].parent
        if len(path) > len(above):
            raise InputError("The robot's links form a ring.", remedy="Name a robot that is a tree.", code="bad_urdf")
    path.reverse()
    on_path = [joint.name for joint in path if joint.name in set(moving)]
    if on_path != list(moving):
        raise InputError(
            f"The joints {', '.join(moving)} are not those on the way to link {tool_link!r}, base first.",
            remedy=f"On the way are: {', '.join(j.name for j in path if j.kind in MOVING) or 'none'}.",
            code="bad_robot",
        )
    fixed, frame = [], np.eye(4)
    for joint in path:
        frame = frame @ joint.origin
        if joint.name in moving:
            fixed.append(frame)
            frame = np.eye(4)
    fixed.append(frame @ link_from_tool)
    own = [joint for joint in path if joint.name in moving]
    return Chain(
        tuple(fixed),
        np.array([joint.axis for joint in own]),
        np.array([joint.kind == "prismatic" for joint in own]),
        np.array([joint.low for joint in own]),
        np.array([joint.high for joint in own]),
    )
