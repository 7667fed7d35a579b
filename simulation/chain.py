"""An arm as a chain of joints: where its tool is, and which joint positions bring it somewhere.

Everything works on many configurations at once, because a planner asks about many. NumPy alone: this very file goes to
the robot too (`policies.deploy`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
POSITION_M = 5e-4
"""Inverse kinematics is exact to this …"""
ROTATION_RAD = 3e-3
"""… and this."""


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

    @cached_property
    def _links(self) -> tuple[FloatArray, FloatArray]:
        """``(J, 4, 4)`` what comes before each joint, and ``(3, J, 4, 4)`` what is added to it by the sine and by
        1 - cosine of its angle, or for each metre that it slides.
        """
        before = np.array(self.fixed[:-1]).reshape(-1, 4, 4)
        cross, along = np.zeros((2, len(self.axes), 4, 4))
        cross[:, :3, :3] = _cross_matrix(self.axes)
        along[:, :3, 3] = self.axes
        return before, before @ np.stack([cross, cross @ cross, along])

    def tool(self, q: FloatArray) -> FloatArray:
        """`base_from_tool` ``(..., 4, 4)`` for joint positions ``(..., J)``."""
        pose, _, _ = self._frames(q.reshape(-1, q.shape[-1]))
        return pose.reshape(*q.shape[:-1], 4, 4)

    def _frames(self, q: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Tools ``(N, 4, 4)``, axes and origins ``(N, J, 3)`` of the joints, base, for joint positions ``(N, J)``."""
        turn = np.where(self.sliding, 0.0, q)[:, :, None, None]
        slide = np.where(self.sliding, q, 0.0)[:, :, None, None]
        before, (once, twice, along) = self._links
        links = before + np.sin(turn) * once + (1.0 - np.cos(turn)) * twice + slide * along
        frames = np.empty_like(links)
        pose = np.broadcast_to(np.eye(4), (len(q), 4, 4))
        for number in range(len(self.axes)):
            pose = frames[:, number] = pose @ links[:, number]
        axes = (frames[:, :, :3, :3] @ self.axes[:, :, None])[..., 0]
        origins = frames[:, :, :3, 3] - slide[..., 0] * axes
        return pose @ self.fixed[-1], axes, origins

    def jacobian(self, q: FloatArray) -> FloatArray:
        """``(N, 6, J)`` how the tool moves with each joint, for joint positions ``(N, J)``.

        Rows are its velocity (m, base frame), then its rate of turn (rad, base frame), for each rad (m) a second.
        """
        pose, axes, origins = self._frames(q)
        sweep = _cross(axes, pose[:, None, :3, 3] - origins)
        moved = np.where(self.sliding[:, None], axes, sweep)
        turned = np.where(self.sliding[:, None], 0.0, axes)
        return np.concatenate([moved, turned], axis=2).transpose(0, 2, 1)

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
            pose, axes, origins = self._frames(q[live])
            rotation, position = pose[:, :3, :3], pose[:, :3, 3]
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
    a, b, c = first[..., 0], first[..., 1], first[..., 2]
    x, y, z = second[..., 0], second[..., 1], second[..., 2]
    return np.stack([b * z - c * y, c * x - a * z, a * y - b * x], axis=-1)


def _cross_matrix(vectors: FloatArray) -> FloatArray:
    """``(..., 3, 3)`` matrices that multiply as cross products with vectors ``(..., 3)`` do."""
    x, y, z = vectors[..., 0], vectors[..., 1], vectors[..., 2]
    zero = np.zeros_like(x)
    rows = [np.stack(row, axis=-1) for row in ((zero, -z, y), (z, zero, -x), (-y, x, zero))]
    return np.stack(rows, axis=-2)


def _turn_between(first: FloatArray, second: FloatArray) -> FloatArray:
    """``(N, 3)`` axis times angle of the shortest turn from unit vectors ``(N, 3)`` to others."""
    cross = _cross(first, second)
    sine = np.linalg.norm(cross, axis=1)
    angle = np.arctan2(sine, (first * second).sum(axis=1))
    return np.asarray(cross * (angle / np.maximum(sine, 1e-12))[:, None])


def _about(axis: FloatArray, angle: FloatArray) -> FloatArray:
    """``(N, 3, 3)`` rotations about a unit axis ``(3,)`` (Rodrigues)."""
    cross = _cross_matrix(axis)
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
