"""Play: the hand goes about the things of a task at random, and what comes of that is recorded.

There is nothing to be copied in it, but much to be foretold: things that are pushed, taken hold of by chance, carried
and let go (Lynch et al., "Learning Latent Plans from Play", 2019). Often the expert has begun, and the hand that goes
astray holds something, or stands where a blunder (`simulation.blunders`) is about to happen.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from simulation.demonstrations import Attempt, Recording, Stage, record
from simulation.moves import CannotError
from simulation.tasks import moved

FloatArray = npt.NDArray[np.float64]
REVISION = 1
"""Of what is drawn: counted up whenever other play comes of the same cousin."""
STREAM = 7933
SECONDS = 10.0
"""That it is played in a cousin."""
BEGUN = 0.7
"""Share of cousins in which the expert has begun, for some time up to that."""
BESIDE_M, OVER_M = 0.03, 0.12
"""How far the hand goes from a thing's middle: a standard deviation to the side, and at most over it."""
TURNED_RAD, LEANT_RAD = 0.5, 0.15
"""It is turned by this about the upright meanwhile, and leant."""
CHANGED = 0.6
"""Share of ways at whose end the fingers open, or close."""
PACES = (0.2, 0.7)
"""Shares of the arm's speed."""
REST_TICKS = 3
TRIES = 50
"""Places that are drawn until the arm is taken to get to none."""


def play(stage: Stage, index: int) -> Attempt:
    """Play in cousin number `index`; the same whatever was done before.

    Such an episode succeeds always: it has no goal.
    """
    why = stage.enter(index)
    if why:
        return Attempt(index, why)
    cell, recording = stage.cell, Recording()
    rng = np.random.default_rng([cell.cousin.seed, index, STREAM])
    stage.planner.load(cell.family, cell.cousin, cell.scene, cell.mount)
    record(cell, itertools.islice(_moves(stage, rng), round(SECONDS * cell.rate_hz)), recording)
    if not recording.actions:
        return Attempt(index, "the arm gets nowhere")
    return Attempt(index, episode=replace(stage.episode(recording, ""), success=True, reason=""))


def _moves(stage: Stage, rng: np.random.Generator) -> Iterator[FloatArray]:
    """Actions ``(J + 1,)``, one a tick; they end where the arm gets nowhere."""
    cell = stage.cell
    if rng.random() < BEGUN:
        well = int(rng.random() * SECONDS * cell.rate_hz)
        with contextlib.suppress(CannotError):
            yield from itertools.islice(stage.expert.perform(stage.job.task), well)
    while True:
        start = cell.goal
        goal = _drawn(stage, rng)
        if goal is None:
            return
        pace = rng.uniform(*PACES) * np.array(cell.robot.speed)
        ticks = max(2, round(float((np.abs(goal - start)[:-1] / pace).max()) * cell.rate_hz))
        for share in np.linspace(0.0, 1.0, ticks + 1)[1:]:
            yield start + share * (goal - start)
        if rng.random() < CHANGED:
            goal = np.append(goal[:-1], 0.0 if goal[-1] > 0.5 else 1.0)
            yield from itertools.repeat(goal, REST_TICKS)


def _drawn(stage: Stage, rng: np.random.Generator) -> FloatArray | None:
    """``(J + 1,)`` where to go with the fingers as they are; None where the arm gets to none of the places drawn."""
    cell, task = stage.cell, stage.job.task
    chain, goal = cell.robot.chain, cell.goal
    base_from_scene, upright = np.linalg.inv(cell.mount), chain.tool(np.array(cell.robot.home))[:3, :3]
    turned = Rotation.from_euler("z", goal[0] - cell.robot.home[0]).as_matrix()
    lowest = base_from_scene[2, 3] + min(pose[2, 3] for pose in cell.start.values())
    names = [moved(cell, task), *([task.where] if task.where else [])]
    for _ in range(TRIES):
        near = base_from_scene @ cell.world.pose(names[rng.integers(len(names))])[:, 3]
        tool = np.eye(4)
        tool[:3, 3] = near[:3] + [*(BESIDE_M * rng.standard_normal(2)), OVER_M * rng.random()]
        tool[2, 3] = max(tool[2, 3], lowest)
        turn = [TURNED_RAD * rng.standard_normal(), *(LEANT_RAD * rng.standard_normal(2))]
        tool[:3, :3] = Rotation.from_euler("zyx", turn).as_matrix() @ turned @ upright
        found, exact = chain.solve(tool[None], goal[None, :-1])
        there = np.append(found[0], goal[-1])
        if exact[0] and not stage.planner.touches_itself(there):
            return there
    return None
