"""What stands between a policy and the arm, in simulation as on the bench: nothing else moves it.

Whatever is wanted, nonsense too, what the guard makes of it keeps within the joints' limits, speeds and accelerations,
and the tool in its workspace. It always knows a way to come to rest that keeps all of them, and makes no step after
which it would know none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from simulation.chain import Chain

FloatArray = npt.NDArray[np.float64]
SHARE_OF_SPEED = 0.75
RISE = 5.0
"""The goal moves no faster than this share of a joint's highest speed, and comes to that, or to rest, in 0.2 s."""
BETWEEN = 4
"""Times a tick that the tool is looked at, on the way that it is to come to rest."""
SHARES = (1.0, 0.5, 0.25, 0.0)
"""Shares of what is wanted that are tried one after another; the last one is to come to rest."""
STALE_S = 0.3
"""Measurements that are older say nothing about now."""
FAR_M = 100.0
"""What is asked to be farther away makes no sense."""
ROUNDS = 8
"""Steps towards the joint positions of a pose."""


@dataclass(frozen=True)
class Limits:
    """What an arm must keep.

    Attributes:
        low, high: ``(J,)`` rad (m where a joint slides).
        speed: ``(J,)`` rad/s (m/s) at most.
        acceleration: ``(J,)`` rad/s² (m/s²) at most.
        workspace: ``(2, 3)`` lowest and highest corner of the box in the base frame, metres, that the tool stays in;
            None: anywhere.
        stale_s: measurements that are older stop the arm.
    """

    low: FloatArray
    high: FloatArray
    speed: FloatArray
    acceleration: FloatArray
    workspace: FloatArray | None = None
    stale_s: float = STALE_S

    @staticmethod
    def of(chain: Chain, speed: npt.ArrayLike, workspace: npt.ArrayLike | None = None) -> Limits:
        """Those for policies, of an arm whose joints may be as fast as `speed` ``(J,)`` rad/s (m/s)."""
        most = SHARE_OF_SPEED * np.asarray(speed, dtype=np.float64)
        box = None if workspace is None else np.asarray(workspace, dtype=np.float64)
        return Limits(chain.low, chain.high, most, RISE * most, box)


class Guard:
    """Makes of what is wanted what is done, tick after tick.

    Attributes:
        chain: of the arm.
        limits: that are kept.
        goal: ``(J + 1,)`` joint positions and opening (0 closed … 1 open) that the arm was told last.
    """

    def __init__(self, chain: Chain, limits: Limits, rate_hz: float, start: FloatArray) -> None:
        """Begin at rest.

        Args:
            chain: of the arm.
            limits: to keep.
            rate_hz: ticks a second.
            start: ``(J + 1,)`` where the arm is.
        """
        self.chain, self.limits, self.rate_hz = chain, limits, rate_hz
        self._most = limits.speed / rate_hz
        self._more = limits.acceleration / rate_hz**2 * (1.0 + 1e-9)  # rounding is not to cost a tick
        self._pace = np.zeros_like(self._most)
        # What is measured may lie beyond a limit by the play of a joint.
        self.goal = np.append(np.clip(start[:-1], limits.low, limits.high), np.clip(start[-1], 0.0, 1.0))

    @property
    def at_rest(self) -> bool:
        """Whether the goal has come to rest."""
        return not self._pace.any()

    def misplaced(self) -> str:
        """Why the arm must not begin here, "" where it may."""
        return "" if self._fits(self.goal[None, :-1]) else "the tool is outside of its workspace"

    def step(self, wanted: FloatArray | None) -> FloatArray:
        """What the arm is told in this tick ``(J + 1,)``: on the way to what is `wanted`, if it makes sense.

        Args:
            wanted: ``(J + 1,)`` joint positions and opening; None, or anything that is not finite: come to rest.
        """
        opening = float(self.goal[-1])
        away = np.zeros_like(self._pace)
        if wanted is not None and wanted.shape == self.goal.shape and np.isfinite(wanted).all():
            aim = np.clip(wanted[:-1], self.limits.low, self.limits.high)
            away = np.clip(aim - self.goal[:-1], -self._most, self._most)
            opening = float(np.clip(wanted[-1], 0.0, 1.0))
        for share in SHARES:
            pace = np.clip(share * away, self._pace - self._more, self._pace + self._more)
            # The last one goes on as the step before meant to: that way was looked at then.
            if not share or self._fits(self._way_to_rest(pace)):
                break
        self._pace = pace
        self.goal = np.append(np.clip(self.goal[:-1] + pace, self.limits.low, self.limits.high), opening)
        return self.goal.copy()

    def _way_to_rest(self, pace: FloatArray) -> FloatArray:
        """Joint positions ``(T, J)`` on the way from the goal, at a pace ``(J,)`` a tick, until at rest."""
        q, rows = self.goal[:-1], []
        parts = np.arange(1, BETWEEN + 1)[:, None] / BETWEEN
        while True:
            rows.append(q + parts * pace)
            q, pace = q + pace, pace - np.clip(pace, -self._more, self._more)
            if not pace.any():
                return np.concatenate(rows)

    def _fits(self, way: FloatArray) -> bool:
        """Whether joint positions ``(T, J)`` keep the limits, and the tool its workspace."""
        box = self.limits.workspace
        if (way < self.limits.low - 1e-9).any() or (way > self.limits.high + 1e-9).any():
            return False
        if box is None:
            return True
        points = self.chain.tool(way)[:, :3, 3]
        return bool((points >= box[0]).all() and (points <= box[1]).all())

    def into_workspace(self, poses: FloatArray) -> FloatArray:
        """Poses ``(K, 10)`` of the tool, brought to the workspace's nearest point where they are outside of it."""
        if self.limits.workspace is None:
            return poses
        found = poses.copy()
        found[:, :3] = np.clip(poses[:, :3], *self.limits.workspace)
        return found

    def joint_actions(self, state: FloatArray, poses: FloatArray) -> FloatArray:
        """Joint positions and openings ``(K, J + 1)`` that bring the tool where it is to be, each from the one before.

        Args:
            state: ``(J + 1,)`` where the arm is.
            poses: ``(K, 10)`` of the tool: position (m), x and y axis in the base frame, and the opening; where one
                makes no sense, NaN comes out.
        """
        q, rows = state[None, :-1], []
        for pose, inside in zip(poses, self.into_workspace(poses), strict=True):
            if not (np.abs(pose) < FAR_M).all():  # NaN and infinite too
                rows.append(np.full(len(state), np.nan))
                continue
            tool = np.eye(4)
            x = pose[3:6] / max(np.linalg.norm(pose[3:6]), 1e-9)
            y = pose[6:9] - (pose[6:9] @ x) * x
            y /= max(np.linalg.norm(y), 1e-9)
            tool[:3, :3], tool[:3, 3] = np.stack([x, y, np.cross(x, y)], axis=1), inside[:3]
            q, _ = self.chain.solve(tool[None], q, ROUNDS)
            rows.append(np.append(q[0], pose[-1]))
        return np.array(rows)
