"""Blunders: the expert, until its hand goes astray; what is to be learnt is how it then sets that right.

A policy that closes its fingers beside a thing, drops it, or stands over a vessel with nothing in its hand, has come to
where no demonstration begins or leads. Noise in what the teacher does leads there too, without a policy that has to be
trained, and tried, first (Laskey et al., "DART: Noise Injection for Robust Imitation Learning", 2017).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from simulation.demonstrations import Attempt, Stage
from simulation.expert import CannotError

FloatArray = npt.NDArray[np.float64]
REVISION = 1
"""Of what is drawn: counted up whenever other blunders come of the same cousin."""
STREAM = 7927
ELSEWHERE = 0.25
"""Share of blunders in which the hand goes over where the thing belongs; in the others, it goes somewhat astray …"""
ASTRAY_M = (0.04, 0.04, 0.03)
"""… by this, base frame: standard deviations …"""
TURNED_RAD, LEANT_RAD = 0.5, 0.1
"""… and turns by this about the upright, and leans."""
OVER_M = (0.08, 0.25)
"""Height over where the thing belongs."""
CLOSED, OPENED = 0.4, 0.2
"""Share of blunders in which the fingers close meanwhile, and in which they open; in the others they stay."""
PACE = 0.4
"""Share of the arm's speed."""
REST_TICKS = 2
TRIES = 10


def blunder(stage: Stage, index: int, longest_s: float) -> Attempt:
    """The expert setting right what went wrong in cousin number `index`; the same whatever was done before.

    Args:
        stage: of the task.
        index: of the cousin.
        longest_s: all is well for so long at most.
    """

    def begin(stage: Stage) -> Iterator[FloatArray]:
        cell = stage.cell
        rng = np.random.default_rng([cell.cousin.seed, index, STREAM])
        well = 1 + int(rng.random() * longest_s * cell.rate_hz)
        try:
            yield from itertools.islice(stage.expert.perform(stage.job.task), well)
        except CannotError:
            return
        yield from _astray(stage, rng)

    return stage.correct(index, begin)


def _astray(stage: Stage, rng: np.random.Generator) -> Iterator[FloatArray]:
    """The hand goes somewhere, and its fingers do something; nothing where the arm gets to none of the places drawn."""
    cell, start = stage.cell, stage.cell.goal
    chance = rng.random()
    opening = 0.0 if chance < CLOSED else 1.0 if chance < CLOSED + OPENED else start[-1]
    for _ in range(TRIES):
        q = _drawn(stage, rng)
        if q is None or stage.planner.touches_itself(np.append(q, opening)):
            continue
        seconds = float((np.abs(q - start[:-1]) / np.array(cell.robot.speed)).max()) / PACE
        ticks = max(3, round(seconds * cell.rate_hz))
        goal = np.append(q, opening)
        for share in np.linspace(0.0, 1.0, ticks + 1)[1:]:
            yield start + share * (goal - start)
        yield from itertools.repeat(goal, REST_TICKS)
        return


def _drawn(stage: Stage, rng: np.random.Generator) -> FloatArray | None:
    """Joint positions ``(J,)`` to go to; None where the arm does not get there."""
    cell, task = stage.cell, stage.job.task
    chain, q = cell.robot.chain, cell.goal[:-1]
    tool = chain.tool(q)
    if task.where and rng.random() < ELSEWHERE:
        over = np.append(cell.world.pose(task.where)[:3, 3], 1.0)
        over[2] += rng.uniform(*OVER_M)
        tool[:3, 3] = (np.linalg.inv(cell.mount) @ over)[:3]
    lowest = np.linalg.inv(cell.mount)[2, 3] + min(pose[2, 3] for pose in cell.start.values())
    tool[:3, 3] += np.array(ASTRAY_M) * rng.standard_normal(3)
    tool[2, 3] = max(tool[2, 3], lowest)
    turn = [TURNED_RAD * rng.standard_normal(), *(LEANT_RAD * rng.standard_normal(2))]
    tool[:3, :3] = Rotation.from_euler("zyx", turn).as_matrix() @ tool[:3, :3]
    found, exact = chain.solve(tool[None], q[None])
    return found[0] if exact[0] else None
