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
from simulation.forms import in_scene
from simulation.moves import CannotError
from simulation.tasks import moved

FloatArray = npt.NDArray[np.float64]
REVISION = 3
"""Of what is drawn: counted up whenever other blunders come of the same cousin."""
STREAM = 7927
ELSEWHERE = (0.25, 0.5)
"""Share of blunders in which the hand goes over where the thing belongs, if it is empty and if it holds the thing …"""
OVER_M = 0.15
"""… at most so far over the top of what is there …"""
ASTRAY_M = (0.03, 0.03, 0.03)
"""… and in all somewhat astray, base frame: standard deviations …"""
TURNED_RAD, LEANT_RAD = 0.5, 0.1
"""… and turned by this about the upright, and leant."""
CLOSED, DROPPED = 0.6, 0.5
"""Share of blunders in which empty fingers close meanwhile, and in which the thing is then let go; else they stay."""
PACE = 0.4
"""Share of the arm's speed."""
REST_TICKS = 4
"""Until what was let go has come to lie."""
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
    """The hand goes somewhere and closes or lets go; nothing where the arm gets to none of the places drawn."""
    cell, task, start = stage.cell, stage.job.task, stage.cell.goal
    holds = cell.arm.holds(cell.world.body(moved(cell, task)))
    elsewhere = bool(task.where) and rng.random() < ELSEWHERE[holds]
    change = rng.random() < (DROPPED if holds else CLOSED)
    opening = 0.0 if change and not holds else start[-1]
    for _ in range(TRIES):
        q = _drawn(stage, elsewhere, rng)
        if q is None or stage.planner.touches_itself(np.append(q, opening)):
            continue
        seconds = float((np.abs(q - start[:-1]) / np.array(cell.robot.speed)).max()) / PACE
        ticks = max(3, round(seconds * cell.rate_hz))
        goal = np.append(q, opening)
        for share in np.linspace(0.0, 1.0, ticks + 1)[1:]:
            yield start + share * (goal - start)
        if change and holds:
            goal = np.append(q, 1.0)
        yield from itertools.repeat(goal, REST_TICKS)
        return


def _drawn(stage: Stage, elsewhere: bool, rng: np.random.Generator) -> FloatArray | None:
    """Joint positions ``(J,)`` to go to; None where the arm does not get there."""
    cell, task = stage.cell, stage.job.task
    chain, q = cell.robot.chain, cell.goal[:-1]
    base_from_scene, tool = np.linalg.inv(cell.mount), chain.tool(q)
    if elsewhere:
        points = in_scene(cell.item(task.where), cell.world.pose(task.where))
        middle = (points.min(axis=0) + points.max(axis=0)) / 2
        over = np.array([*middle[:2], points[:, 2].max() + OVER_M * rng.random(), 1.0])
        tool[:3, 3] = (base_from_scene @ over)[:3]
    lowest = base_from_scene[2, 3] + min(pose[2, 3] for pose in cell.start.values())
    tool[:3, 3] += np.array(ASTRAY_M) * rng.standard_normal(3)
    tool[2, 3] = max(tool[2, 3], lowest)
    turn = [TURNED_RAD * rng.standard_normal(), *(LEANT_RAD * rng.standard_normal(2))]
    tool[:3, :3] = Rotation.from_euler("zyx", turn).as_matrix() @ tool[:3, :3]
    found, exact = chain.solve(tool[None], q[None])
    return found[0] if exact[0] else None
