"""What an arm gets to from where it stands: so cousins are judged, and so a person is told who places it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from simulation.chain import Chain
from simulation.kinematics import rotation_rpy
from simulation.robots import Robot

FloatArray = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
LEANS = (0.3, 0.6, 0.9, -0.3, -0.6)
"""How far (rad) an arm of five joints leans its tool outwards to get somewhere."""
OVER_M = 0.12
"""So far over a point it must get, too: it comes from there."""
ON_TABLE_M = 0.02
WAYS = 72
"""So many directions round the base are asked about."""
FAR_M = np.arange(0.06, 1.2, 0.02)


def reached(robot: Robot, chain: Chain, mount: FloatArray, points: FloatArray, down: bool = False) -> Mask:
    """``(N,)`` whether the tool gets to points of the scene, and 12 cm over them, pointing down.

    An arm of five joints may lean it: its wrist does not bend enough to point down wherever it gets to.

    Args:
        robot: who.
        chain: its `Robot.chain`.
        mount: ``(4, 4)`` `scene_from_robot`.
        points: ``(N, 3)`` metres, scene frame.
        down: at the points themselves it may not lean.
    """
    home, inverse, count = np.array(robot.home), np.linalg.inv(mount), len(points)
    # Of each point four tools there, a quarter of a half turn apart, then four over it.
    tools = np.tile(np.diag([1.0, -1.0, -1.0, 1.0]), (count, 8, 1, 1))
    for row, point in enumerate(points):
        base = inverse @ np.append(point, 1.0)
        turn = np.arctan2(base[1], base[0])
        tools[row, :, :3, 3] = base[:3]
        tools[row, 4:, 2, 3] += OVER_M
        for number in range(8):
            turned = rotation_rpy([0.0, 0.0, turn + number % 4 * np.pi / 4])
            tools[row, number, :3, :3] = turned @ tools[row, number, :3, :3]
    there, over = _solved(chain, home, tools)
    if not robot.loose:
        return np.asarray(there & over)
    leaning = ~(there & over)
    if down:
        leaning &= there
    for row in np.flatnonzero(leaning).tolist():
        leant = np.concatenate([chain.along(tool, np.zeros((1, 3)), lean) for tool in tools[row] for lean in LEANS])
        seeds = np.repeat(_seeds(chain, home, tools[row]), len(LEANS), axis=0)
        _, exact = chain.solve(leant, seeds, 30)
        half = len(exact) // 2
        there[row] |= exact[:half].any()
        over[row] |= exact[half:].any()
    return np.asarray(there & over)


def _seeds(chain: Chain, home: FloatArray, tools: FloatArray) -> FloatArray:
    seeds = np.tile(home, (len(tools), 1))
    seeds[:, 0] = chain.toward(home, tools[:, :3, 3])
    return seeds


def _solved(chain: Chain, home: FloatArray, tools: FloatArray) -> tuple[Mask, Mask]:
    """Whether any of the first four, and of the last four, of tools ``(N, 8, 4, 4)`` is got to: ``(N,)`` each."""
    flat = tools.reshape(-1, 4, 4)
    _, exact = chain.solve(flat, _seeds(chain, home, flat), 30)
    exact = exact.reshape(-1, 8)
    return np.asarray(exact[:, :4].any(axis=1)), np.asarray(exact[:, 4:].any(axis=1))


def reach_on(robot: Robot, chain: Chain, height_m: float) -> tuple[FloatArray, FloatArray]:
    """How near to its base and how far from it a robot gets to what lies 2 cm over a level plane.

    Args:
        robot: who.
        chain: its `Robot.chain`.
        height_m: of the plane over its base.

    Returns:
        ``(WAYS,)`` nearest and farthest, metres in plan, in evenly spaced directions from its +x; zero where its first
        joint does not turn so far, or nothing is got to.
    """
    ahead = np.column_stack([FAR_M, np.zeros(len(FAR_M)), np.full(len(FAR_M), height_m + ON_TABLE_M)])
    met = FAR_M[reached(robot, chain, np.eye(4), ahead)]
    near, far = np.zeros(WAYS), np.zeros(WAYS)
    if not len(met):
        return near, far
    # Whatever it gets to straight ahead it gets to all round, as far as its first joint turns.
    angles = 2.0 * np.pi * np.arange(WAYS) / WAYS
    round_it = np.column_stack([np.cos(angles), np.sin(angles)]) * met[len(met) // 2]
    points = np.column_stack([round_it, np.full(WAYS, height_m + ON_TABLE_M)])
    open_ways = reached(robot, chain, np.eye(4), points)
    near[open_ways], far[open_ways] = met.min(), met.max()
    return near, far
