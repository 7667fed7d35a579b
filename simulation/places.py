"""Where a thing may be put: poses of it in a vessel, on another thing or beside it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from reconstruction.scene import HULL_MARGIN_M, SceneObject
from simulation.cell import Cell
from simulation.forms import in_scene, outline
from simulation.hollows import Hollow, top_middle
from simulation.moves import CannotError
from simulation.packing import Spot
from simulation.tasks import MOVED_M

FloatArray = npt.NDArray[np.float64]


def _turns(cell: Cell, pose: FloatArray, place: FloatArray) -> tuple[float, ...]:
    """Quarter turns of a thing to try at a place ``(2,)``; an arm of five joints turns it as it turns itself."""
    usual = (0.0, 0.5, -0.5, 1.0, -1.0, 1.5, -1.5, 2.0)
    if not cell.robot.loose:
        return usual
    base = cell.mount[:2, 3]
    ways = [np.arctan2(*(point - base)[::-1]) for point in (pose[:2, 3], place)]
    return (float(ways[1] - ways[0]) / (np.pi / 2), *usual)


def into(cell: Cell, item: SceneObject, pose: FloatArray, where: str, spot: Spot | None = None) -> list[FloatArray]:
    """Poses of a thing in a vessel: at `spot`, or in the middle or, where something is, beside that; as low as it goes.

    What is longer than the vessel is wide leans in it: the heavy end on its floor, the other over its rim.
    """
    hollow = Hollow.of(cell, where)
    if len(hollow.rim) < 3:
        raise CannotError(f"{where} is not hollow")
    moved = cell.world.pose(where) @ np.linalg.inv(hollow.pose)
    rim_m, floor_m = hollow.rim_m + moved[2, 3], hollow.floor_m + moved[2, 3]
    center = (hollow.rim.min(axis=0) + hollow.rim.max(axis=0)) / 2
    middle = (moved @ np.array([*center, hollow.rim_m, 1.0]))[:2]
    wide = float(np.ptp(hollow.rim, axis=0).min())
    turns = _turns(cell, pose, middle)
    if _length(item, pose) > wide - 0.01:  # laid flat it would bridge the rim
        slope = float(np.arctan2(rim_m - floor_m, wide))
        leans = [(slope + more, turn * np.pi / 2) for more in (0.15, 0.3, 0.5, 0.8) for turn in turns]
        leaning = _leaning(item, pose, np.array(leans), middle, wide / 2 - 0.015)
        heavy = (leaning @ np.append(item.center_of_mass, 1.0))[:, :2] - middle
        leaning = leaning[np.linalg.norm(heavy, axis=1) < wide / 2 - 0.01]  # else it tips over the rim
        bottoms = np.array([0.012, 0.03, 0.05]) + floor_m
        goals = np.tile(leaning, (len(bottoms), 1, 1))
        goals[:, 2, 3] += np.repeat(bottoms, len(leaning))
        return list(goals)
    if spot is not None:
        here = (moved @ np.array([*spot.middle, hollow.rim_m, 1.0]))[:2]
        since = pose[:3, :3] @ cell.start[item.name][:3, :3].T
        turn = spot.turn - float(np.arctan2(since[1, 0] - since[0, 1], since[0, 0] + since[1, 1]))
        turns = tuple(turn / (np.pi / 2) + 2.0 * half for half in range(2))
    levels = np.unique(np.round(np.clip(np.array([0.012, 0.03, 0.05, 0.08]) + floor_m, None, rim_m + 0.02), 4))
    radius = wide / 4
    spots = [middle if spot is None else here]
    taken = [cell.world.pose(name)[:2, 3] for name in cell.world.names if name not in (item.name, where)]
    if spot is None and any(np.linalg.norm(place - middle) < 3 * radius for place in taken):
        way = np.arange(8) * np.pi / 4
        spots += list(middle + radius * np.stack([np.cos(way), np.sin(way)], axis=1))
    return [
        _standing(item, pose, turn * np.pi / 2, spot, float(bottom))
        for bottom in (*levels, rim_m + 0.02)
        for number, spot in enumerate(spots)
        for turn in (turns if number == 0 else turns[:3])
    ]


def onto(cell: Cell, item: SceneObject, pose: FloatArray, where: str) -> list[FloatArray]:
    """Poses of a thing on another: where its top bears, just not touching."""
    under = replace(cell.item(where), scene_from_object=cell.world.pose(where))
    top = float(in_scene(under)[:, 2].max()) + 2 * HULL_MARGIN_M
    middle = top_middle(under, under.scene_from_object)
    return [_standing(item, pose, turn * np.pi / 2, middle, top + 0.003) for turn in _turns(cell, pose, middle)]


def beside(cell: Cell, item: SceneObject, pose: FloatArray, where: str) -> list[FloatArray]:
    """Poses of a thing round another, 4 cm from it, those nearest to where it is first."""
    other = in_scene(cell.item(where), cell.world.pose(where))
    middle = (other[:, :2].min(axis=0) + other[:, :2].max(axis=0)) / 2
    floor_m = float(other[:, 2].min()) - HULL_MARGIN_M + 0.004
    found = []
    for turn in (0.0, np.pi / 2):
        for way in np.arange(16) * np.pi / 8:
            ahead = np.array([np.cos(way), np.sin(way)])
            posed = _standing(item, pose, turn, middle, floor_m)
            own = in_scene(item, posed)[:, :2] - middle
            far = float(((other[:, :2] - middle) @ ahead).max() - (own @ ahead).min()) + 0.04
            posed[:2, 3] += far * ahead
            if np.linalg.norm(posed[:2, 3] - cell.start[item.name][:2, 3]) > 1.5 * MOVED_M:
                found.append(posed)
    found.sort(key=lambda goal: round(float(np.linalg.norm(goal[:2, 3] - pose[:2, 3])), 6))
    return found


def _standing(item: SceneObject, pose: FloatArray, turn: float, middle: FloatArray, bottom_m: float) -> FloatArray:
    """`scene_from_object` of a thing turned about z from `pose`, its middle and its lowest point where wanted."""
    c, s = np.cos(turn), np.sin(turn)
    moved = np.eye(4)
    moved[:2, :2] = [[c, -s], [s, c]]
    moved = moved @ pose
    points = in_scene(item, moved)
    moved[:2, 3] += middle - (points[:, :2].min(axis=0) + points[:, :2].max(axis=0)) / 2
    moved[2, 3] += bottom_m - float(points[:, 2].min())
    return moved


def _length(item: SceneObject, pose: FloatArray) -> float:
    """How long a thing at a pose is, seen from above."""
    corners = outline(in_scene(item, pose)[:, :2])
    return float(np.linalg.norm(corners[:, None] - corners[None], axis=2).max())


def _leaning(item: SceneObject, pose: FloatArray, leans: FloatArray, middle: FloatArray, off_m: float) -> FloatArray:
    """`scene_from_object` ``(N, 4, 4)`` of a long thing with its heavier end down, the lowest point at z = 0.

    Args:
        item: the thing.
        pose: its own, from which it is turned.
        leans: ``(N, 2)`` how far (rad) it leans, and how far it is turned about z before.
        middle: ``(2,)`` where it leans.
        off_m: the heavier end is so far from there.
    """
    plan = in_scene(item, pose)[:, :2]
    _, _, ways = np.linalg.svd(plan - plan.mean(axis=0), full_matrices=False)
    along = plan @ ways[0]
    heavy = (pose @ np.append(item.center_of_mass, 1.0))[:2] @ ways[0] - (along.min() + along.max()) / 2
    heavier = ways[0] if heavy >= 0.0 else -ways[0]
    turned = Rotation.from_euler("z", leans[:, 1:]).as_matrix()
    ahead = turned[:, :2, :2] @ heavier
    # About the level axis across it: its front end goes down.
    across = np.column_stack([-ahead[:, 1], ahead[:, 0], np.zeros(len(leans))])
    moved = np.tile(np.eye(4), (len(leans), 1, 1))
    moved[:, :3, :3] = Rotation.from_rotvec(leans[:, :1] * across).as_matrix() @ turned
    moved = moved @ pose
    points = np.vstack([part.vertices for part in item.convex_parts]) @ moved[:, :3, :3].transpose(0, 2, 1)
    points += moved[:, None, :3, 3]
    front = (points[:, :, :2] @ ahead[:, :, None])[:, :, 0]
    beside = points[:, :, :2] - front[:, :, None] * ahead[:, None]
    moved[:, :2, 3] += middle - (beside.min(axis=1) + beside.max(axis=1)) / 2
    moved[:, :2, 3] += (off_m - front.max(axis=1))[:, None] * ahead
    moved[:, 2, 3] -= points[:, :, 2].min(axis=1)
    return moved
