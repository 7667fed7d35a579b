"""A policy at work in simulated cousins."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from policies.features import STATE
from policies.model import WorldActionModel
from policies.windows import POSE
from simulation.cell import Cell
from simulation.chain import Chain
from simulation.privileged import COLUMN, environment_state
from simulation.tasks import TASKS, Task

FloatArray = npt.NDArray[np.float64]
SURE = 3
"""A task is done when it has been for so many ticks on end."""
FAR_M = 100.0
"""What is asked to be farther away makes no sense."""
ROUNDS = 8
"""Steps towards the joint positions of a pose."""
SHARE_OF_SPEED = 0.75
ACCELERATION = 4.0
"""The goal moves no faster than this share of a joint's highest speed, and comes to that in a quarter of a second,
whatever the network says."""


@dataclass(frozen=True)
class ActSettings:
    """How a policy is run."""

    execute: int = 8
    """Actions of a chunk that are done before the next decision."""
    flow_steps: int = 4
    """Steps from noise to a chunk."""
    patience: float = 2.0
    """Give up after so many times the longest demonstration."""


class Actor:
    """Decides what to do, chunk by chunk."""

    def __init__(self, model: WorldActionModel, settings: ActSettings = ActSettings()) -> None:  # noqa: B008 - frozen
        """Take over a network that is ready to act."""
        self.model, self.settings = model, settings

    def perform(self, cell: Cell, task: Task) -> Iterator[FloatArray]:
        """Actions ``(J + 1,)``, one a tick, without end; the same for the same cousin."""
        # From the middle of the noise: on the sample, chunks were a fifth nearer to the expert's than from noise.
        noise = torch.zeros(1, self.model.settings.chunk, POSE)
        most = SHARE_OF_SPEED * np.array(cell.robot.speed) / cell.rate_hz
        more = ACCELERATION * most / cell.rate_hz
        pace = np.zeros_like(most)
        now = before = cell.arm.positions()
        while True:
            around = environment_state(cell, task, cell.world.poses())
            seen = {STATE: _tensor(np.stack([before, now])), COLUMN: _tensor(around)}
            with torch.inference_mode():
                chunk = self.model.act(seen, noise, self.settings.flow_steps)[0].double().numpy()
            for action in joint_actions(cell.robot.chain, now, chunk[: self.settings.execute]):
                before = cell.arm.positions()
                if not np.isfinite(action).all():  # it does not know: stay
                    action = cell.goal
                wanted = np.clip(action[:-1] - cell.goal[:-1], -most, most)
                pace = np.clip(wanted, pace - more, pace + more)
                yield np.append(cell.goal[:-1] + pace, np.clip(action[-1], 0.0, 1.0))
            now = cell.arm.positions()


def roll(cell: Cell, task: Task, actor: Actor, longest_s: float) -> str:
    """Let a policy try a task in the cousin that is loaded; why it failed, "" where it succeeded."""
    rested = 0
    for action in actor.perform(cell, task):
        cell.act(action)
        rested = rested + 1 if TASKS[task.kind].done(cell, task) else 0
        if rested == SURE:
            if cell.faults.limit:
                return "joint limit broken"
            return "speed limit broken" if cell.faults.speed else ""
        if cell.seconds >= longest_s:
            return "took too long"
    raise AssertionError("a policy never stops by itself")


def joint_actions(chain: Chain, state: FloatArray, poses: FloatArray) -> FloatArray:
    """Joint positions and openings ``(K, J + 1)`` that bring the tool where it is to be, each from the one before.

    Args:
        chain: of the arm.
        state: ``(J + 1,)`` where it is.
        poses: ``(K, POSE)`` of the tool; where one makes no sense, NaN comes out.
    """
    q, rows = state[None, :-1], []
    for pose in poses:
        if not (np.abs(pose) < FAR_M).all():  # NaN and infinite too
            rows.append(np.full(len(state), np.nan))
            continue
        tool = np.eye(4)
        x = pose[3:6] / max(np.linalg.norm(pose[3:6]), 1e-9)
        y = pose[6:9] - (pose[6:9] @ x) * x
        y /= max(np.linalg.norm(y), 1e-9)
        tool[:3, :3], tool[:3, 3] = np.stack([x, y, np.cross(x, y)], axis=1), pose[:3]
        q, _ = chain.solve(tool[None], q, ROUNDS)
        rows.append(np.append(q[0], pose[-1]))
    return np.array(rows)


def _tensor(values: FloatArray) -> torch.Tensor:
    return torch.from_numpy(values.astype(np.float32))[None]
