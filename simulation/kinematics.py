"""Where a robot's links are for given joint positions, and which joint positions bring its tool somewhere.

Everything works on many configurations at once, because a planner asks about many.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from reconstruction.errors import InputError

FloatArray = npt.NDArray[np.float64]
MOVING = ("revolute", "continuous", "prismatic")
UNLIMITED_RAD = 2.0 * np.pi
POSITION_M = 5e-4
"""Inverse kinematics is exact to this …"""
ROTATION_RAD = 3e-3
"""… and this."""


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
    origin = element.find("origin")
    xyz, rpy = (_numbers(None if origin is None else origin.get(key), "0 0 0") for key in ("xyz", "rpy"))
    axis_of = element.find("axis")
    axis = _numbers(None if axis_of is None else axis_of.get("xyz"), "1 0 0")
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation_rpy(rpy), xyz
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
        pose,
        axis / max(float(np.linalg.norm(axis)), 1e-12),
        -UNLIMITED_RAD if free else values["lower"],
        UNLIMITED_RAD if free else values["upper"],
        most["velocity"],
        most["effort"],
    )


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


@dataclass(frozen=True)
class Loose:
    """What of each wanted pose may be otherwise: the turn about a line. Arms of five joints cannot have it all.

    Attributes:
        axis: ``(N, 3)`` unit, direction of the line in the frame of the wanted tool.
        point: ``(N, 3)`` metres, a point of it there.
    """

    axis: FloatArray
    point: FloatArray


@dataclass(frozen=True)
class Chain:
    """The joints from a robot's base to its tool.

    Attributes:
        fixed: J + 1 rigid ``(4, 4)``: before each moving joint, and from the last one to the tool.
        axes: ``(J, 3)`` in each joint's frame; `sliding`: ``(J,)`` bool, prismatic.
        low: ``(J,)`` limits; `high` likewise.
    """

    fixed: tuple[FloatArray, ...]
    axes: FloatArray
    sliding: npt.NDArray[np.bool_]
    low: FloatArray
    high: FloatArray

    @staticmethod
    def of(joints: dict[str, Joint], moving: Sequence[str], tool_link: str, link_from_tool: FloatArray) -> Chain:
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
                raise InputError(
                    "The robot's links form a ring.", remedy="Name a robot that is a tree.", code="bad_urdf"
                )
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

    def tool(self, q: FloatArray) -> FloatArray:
        """`base_from_tool` ``(..., 4, 4)`` for joint positions ``(..., J)``."""
        flat = q.reshape(-1, q.shape[-1])
        rotation, position, _, _ = self._frames(flat)
        pose = np.tile(np.eye(4), (len(flat), 1, 1))
        pose[:, :3, :3], pose[:, :3, 3] = rotation, position
        return pose.reshape(*q.shape[:-1], 4, 4)

    def _frames(self, q: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """Tool rotation ``(N, 3, 3)`` and position ``(N, 3)``, axes and origins ``(N, J, 3)`` of the joints, base."""
        count = len(q)
        rotation, position = np.tile(np.eye(3), (count, 1, 1)), np.zeros((count, 3))
        axes, origins = np.empty((count, len(self.axes), 3)), np.empty((count, len(self.axes), 3))
        for number, axis in enumerate(self.axes):
            before = self.fixed[number]
            position = position + rotation @ before[:3, 3]
            rotation = rotation @ before[:3, :3]
            axes[:, number], origins[:, number] = rotation @ axis, position
            if self.sliding[number]:
                position = position + axes[:, number] * q[:, number, None]
            else:
                rotation = rotation @ _about(axis, q[:, number])
        last = self.fixed[-1]
        return rotation @ last[:3, :3], position + rotation @ last[:3, 3], axes, origins

    def toward(self, q: FloatArray, points: FloatArray) -> FloatArray:
        """``(N,)`` rad for the first joint, within its limits, with which the tool lies towards points ``(N, 3)``.

        Args:
            q: ``(J,)`` the other joints; nothing is turned where the first joint does not turn about the base's z.
            points: base frame.
        """
        axis = self.fixed[0][:3, :3] @ self.axes[0]
        if self.sliding[0] or abs(axis[2]) < 0.99:
            return np.full(len(points), q[0])
        center = self.fixed[0][:2, 3]
        now = np.round(self.tool(q)[:2, 3] - center, 9)
        wanted = points[:, :2] - center
        turn = np.arctan2(wanted[:, 1], wanted[:, 0]) - np.arctan2(now[1], now[0])
        # The same turn, more or less by a whole one, that is the least beyond the limits.
        ways = q[0] + np.sign(axis[2]) * turn + 2.0 * np.pi * np.array([0.0, -1.0, 1.0])[:, None]
        within = np.clip(ways, self.low[0], self.high[0])
        best = np.abs(ways - within).argmin(axis=0)
        return np.asarray(within[best, np.arange(len(points))])

    def along(self, base_from_tool: FloatArray, offsets: FloatArray, lean_rad: float = 0.0) -> FloatArray:
        """Poses ``(K, 4, 4)`` at `offsets` ``(K, 3)`` (m, base) from one, turned as an arm of five joints can.

        Such an arm turns as a whole towards where its tool is, and leans it in that plane only.

        Args:
            base_from_tool: ``(4, 4)``.
            offsets: the farthest last.
            lean_rad: by so much more the tool leans outwards at the last one.
        """
        at = base_from_tool[:3, 3] + offsets
        center = self.fixed[0][:2, 3]
        # The last joint lies in the plane in which the arm bends; the tool may lie a little beside it.
        last = base_from_tool[:3, :3] @ np.linalg.inv(self.fixed[-1])[:3, 3]
        first = np.arctan2(*(base_from_tool[:2, 3] + last[:2] - center)[::-1])
        beside = np.cos(first) * last[1] - np.sin(first) * last[0]
        out = at[:, :2] - center
        aside = np.arcsin(np.clip(beside / np.maximum(np.linalg.norm(out, axis=1), 1e-6), -1.0, 1.0))
        azimuth = np.arctan2(out[:, 1], out[:, 0]) + aside
        far = np.linalg.norm(offsets, axis=1)
        share = far / far[-1] if far[-1] else np.ones(len(far))
        poses = np.tile(np.eye(4), (len(at), 1, 1))
        turned = _about(np.array([0.0, 0.0, 1.0]), azimuth - first) @ base_from_tool[:3, :3]
        across = np.stack([-np.sin(azimuth), np.cos(azimuth), np.zeros(len(at))], axis=1)
        for k, axis in enumerate(across):
            poses[k, :3, :3] = _about(axis, np.array([-lean_rad * share[k]]))[0] @ turned[k]
        poses[:, :3, 3] = at
        return poses

    def solve(
        self, base_from_tool: FloatArray, seeds: FloatArray, rounds: int = 40, loose: Loose | None = None
    ) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
        """Joint positions that bring the tool to a pose, from each of several seeds: damped least squares.

        Steps are damped (Wampler, "Manipulator inverse kinematic solutions based on vector formulations and damped
        least-squares methods", 1986) and clipped to the joints' limits.

        Args:
            base_from_tool: ``(N, 4, 4)`` wanted poses.
            seeds: ``(N, J)`` where to start.
            rounds: steps at most.
            loose: what of the poses does not matter.

        Returns:
            ``(N, J)`` joint positions within limits, and ``(N,)`` whether they are exact.
        """
        q = np.clip(seeds, self.low, self.high)
        done = np.zeros(len(q), dtype=bool)
        goal_rotation, goal_position = base_from_tool[:, :3, :3], base_from_tool[:, :3, 3]
        for turn in range(rounds + 1):
            live = np.flatnonzero(~done)
            if not len(live):
                break
            rotation, position, axes, origins = self._frames(q[live])
            reach = position
            if loose is None:
                offset = goal_position[live] - position
                spin = _rotation_vector(goal_rotation[live] @ rotation.transpose(0, 2, 1))
            else:
                axis, point = loose.axis[live, :, None], loose.point[live, :, None]
                reach = position + (rotation @ point)[:, :, 0]
                offset = goal_position[live] + (goal_rotation[live] @ point)[:, :, 0] - reach
                wanted = (goal_rotation[live] @ axis)[:, :, 0]
                spin = _turn_between((rotation @ axis)[:, :, 0], wanted)
            near = (np.linalg.norm(offset, axis=1) < POSITION_M) & (np.linalg.norm(spin, axis=1) < ROTATION_RAD)
            done[live[near]] = True
            if turn == rounds:
                break
            far = ~near
            error = np.concatenate([offset, spin], axis=1)[far]
            sweep = _cross(axes, reach[:, None] - origins)
            turning = axes if loose is None else axes - (axes @ wanted[:, :, None]) * wanted[:, None]
            jacobian = np.concatenate(
                [np.where(self.sliding[:, None], axes, sweep), np.where(self.sliding[:, None], 0.0, turning)], axis=2
            )[far]
            damping = 1e-4 + 0.02 * np.minimum(np.linalg.norm(error, axis=1), 1.0) ** 2
            square = jacobian.transpose(0, 2, 1) @ jacobian + damping[:, None, None] * np.eye(6)
            step = (jacobian @ np.linalg.solve(square, error[:, :, None]))[:, :, 0]
            step *= np.minimum(1.0, 0.5 / np.maximum(np.abs(step).max(axis=1), 1e-12))[:, None]
            q[live[far]] = np.clip(q[live[far]] + step, self.low, self.high)
        return q, done


def _cross(first: FloatArray, second: FloatArray) -> FloatArray:
    """Cross products along the last axis; NumPy's own takes five times as long on few vectors."""
    (a, b, c), (x, y, z) = np.moveaxis(first, -1, 0), np.moveaxis(second, -1, 0)
    return np.stack([b * z - c * y, c * x - a * z, a * y - b * x], axis=-1)


def _turn_between(first: FloatArray, second: FloatArray) -> FloatArray:
    """``(N, 3)`` axis times angle of the shortest turn from unit vectors ``(N, 3)`` to others."""
    cross = _cross(first, second)
    sine = np.linalg.norm(cross, axis=1)
    angle = np.arctan2(sine, (first * second).sum(axis=1))
    return np.asarray(cross * (angle / np.maximum(sine, 1e-12))[:, None])


def _about(axis: FloatArray, angle: FloatArray) -> FloatArray:
    """``(N, 3, 3)`` rotations about a unit axis ``(3,)`` (Rodrigues)."""
    x, y, z = axis
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    square = cross @ cross
    return np.asarray(np.eye(3) + np.sin(angle)[:, None, None] * cross + (1 - np.cos(angle))[:, None, None] * square)


def _rotation_vector(rotation: FloatArray) -> FloatArray:
    """``(N, 3)`` axis times angle of rotations ``(N, 3, 3)``; near half a turn some axis of about that."""
    vee = np.stack(
        [
            rotation[:, 2, 1] - rotation[:, 1, 2],
            rotation[:, 0, 2] - rotation[:, 2, 0],
            rotation[:, 1, 0] - rotation[:, 0, 1],
        ],
        axis=1,
    )
    sine = np.linalg.norm(vee, axis=1) / 2
    angle = np.arctan2(sine, (np.trace(rotation, axis1=1, axis2=2) - 1) / 2)
    fallback = (angle > 3.0) & (sine < 1e-3)
    vee[fallback] = [2e-3, 0.0, 0.0]
    return np.asarray(vee * (angle / np.maximum(np.linalg.norm(vee, axis=1), 1e-12))[:, None])
