"""Glances: pictures of a cousin with the hand anywhere, and where the things are in them.

In demonstrations the hand is always where a good hand is. Eyes that learn from those alone believe that a thing is
where a good hand would have it, and see nothing where a policy has strayed. Nothing moves here: for each glance the
things are put elsewhere, and the arm somewhere, often near a thing of the task, sometimes with that thing between its
fingers.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from simulation.cell import Cell, Moment
from simulation.demonstrations import Attempt, Recording, Stage
from simulation.forms import in_scene
from simulation.grasps import tool_poses
from simulation.shuffling import shuffled
from simulation.tasks import Task, moved

FloatArray = npt.NDArray[np.float64]
REVISION = 4
"""Of what is drawn: counted up whenever other glances come of the same cousin."""
STREAM = 7919
LAID = 0.15
"""Share of glances with the thing in or across what it belongs in or on, where a hand that lets go may leave it …"""
LAID_M, LAID_RAD = 0.02, 0.3
"""… so far from the middle of that, and from lying as it usually does: standard deviations."""
HELD = 0.3
"""Share of glances with the thing in the hand …"""
NEAR = 0.85
"""… and of all, of those with the hand near a thing of the task …"""
NEXT = 0.8
"""… and of those, with the hand near what it goes to next: the thing or, once that is held, where it belongs."""
NEAR_M = 0.05
"""How near, beside it: a standard deviation."""
HEIGHTS_M = (0.02, 0.4)
"""Over the thing, or the table."""
LEAN_RAD = 0.25
"""How far from upright the hand is: a standard deviation."""
TRIES = 20


def glances(stage: Stage, index: int, count: int) -> Attempt:
    """`count` glances into cousin number `index`, as an episode; the same whatever was done before.

    Args:
        stage: of the task, with cameras.
        index: of the cousin.
        count: of the glances; fewer where the arm gets to few places.
    """
    why = stage.enter(index)
    if why:
        return Attempt(index, why)
    cell, recording = stage.cell, Recording()
    stage.planner.load(cell.family, cell.cousin, cell.scene, cell.mount)
    rng = np.random.default_rng([cell.cousin.seed, index, STREAM])
    for _ in range(count):
        things = shuffled(cell.scene, rng)
        for _ in range(TRIES):
            moment = _moment(cell, things, stage.job.task, rng)
            if moment is not None and not stage.planner.touches_itself(moment.state):
                recording.moments.append(moment)
                recording.actions.append(moment.state)
                break
    if not recording.moments:
        return Attempt(index, "the arm gets nowhere")
    return Attempt(index, episode=stage.episode(recording, ""))


def _moment(cell: Cell, things: dict[str, FloatArray], task: Task, rng: np.random.Generator) -> Moment | None:
    """Some moment with the things in these poses; None where the arm does not get to what was drawn."""
    name, objects = moved(cell, task), dict(things)
    held = rng.random() < HELD
    if not held and task.where and rng.random() < LAID / (1.0 - HELD):
        things = objects = {**things, name: _laid(cell, name, things[name], task.where, things[task.where], rng)}
    places = np.array([pose[:3, 3] for pose in things.values()])
    if rng.random() < NEAR:
        there = (rng.random() < NEXT) == held
        middle = things[task.where if task.where and there else name][:3, 3]
        beside = middle[:2] + NEAR_M * rng.standard_normal(2)
    else:
        middle = places.min(axis=0)
        beside = rng.uniform(places.min(axis=0)[:2], places.max(axis=0)[:2])
    # More often low than high: there it matters.
    height = HEIGHTS_M[0] + (HEIGHTS_M[1] - HEIGHTS_M[0]) * rng.random() ** 2
    tool = np.eye(4)
    turn = Rotation.from_euler("zyx", [rng.uniform(-np.pi, np.pi), *(LEAN_RAD * rng.standard_normal(2))])
    tool[:3, :3], tool[:3, 3] = turn.as_matrix() @ np.diag([1.0, -1.0, -1.0]), [*beside, middle[2] + height]
    chain, home = cell.robot.chain, np.array(cell.robot.home)
    base = np.linalg.inv(cell.mount) @ tool
    seed = home + 0.1 * rng.standard_normal(len(home))
    seed[0] = chain.toward(home, base[None, :3, 3])[0]
    q, exact = chain.solve(base[None], seed[None])
    opening = float(rng.random())
    grasps = cell.grasps(name)
    if held and len(grasps):
        which = int(rng.integers(len(grasps)))
        ways = tool_poses(grasps.center[which], grasps.axis[which])
        objects[name] = tool @ np.linalg.inv(ways[rng.integers(len(ways))])
        opening = float(np.clip(cell.robot.opening_for(grasps.width[which]), 0.0, 1.0))
    if not exact[0]:
        return None
    cell.arm.reset(np.append(q[0], opening))
    return Moment(cell.arm.positions(), objects, cell.arm.link_poses())


def _laid(
    cell: Cell, name: str, pose: FloatArray, where: str, there: FloatArray, rng: np.random.Generator
) -> FloatArray:
    """A thing's pose where it lies about on another one, or in it: turned at will, its lowest point at some height."""
    points = in_scene(cell.item(where), there)
    low, high = points.min(axis=0), points.max(axis=0)
    turn = Rotation.from_euler("zyx", [rng.uniform(-np.pi, np.pi), *(LAID_RAD * rng.standard_normal(2))])
    laid = pose.copy()
    laid[:3, :3] = turn.as_matrix() @ pose[:3, :3]
    own = in_scene(cell.item(name), laid)
    laid[:2, 3] += (low + high)[:2] / 2 + LAID_M * rng.standard_normal(2) - (own.min(axis=0) + own.max(axis=0))[:2] / 2
    laid[2, 3] += rng.uniform(low[2], high[2]) - float(own[:, 2].min())
    return laid
