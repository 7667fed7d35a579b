"""What a simulation knows of the things that a task is about, as numbers: no camera tells a robot that much.

LeRobot calls the column ``observation.environment_state``. Policies for tests and teachers learn from it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from reconstruction.scene import SceneObject
from simulation.cell import Cell
from simulation.tasks import Task, moved, zone_of

FloatArray = npt.NDArray[np.float64]
COLUMN = "observation.environment_state"
POINTS = "observation.image_points"
"""Where those things are in the pictures (`filming.Take.image_points`)."""
BOX = 15
"""Numbers of a thing."""


def environment_state(cell: Cell, task: Task, objects: Mapping[str, FloatArray]) -> FloatArray:
    """``(n,)`` numbers for the thing that is moved and, where there is one, the thing or the zone that it goes to.

    A thing is the box about it, in the robot's base frame, metres: middle ``(3,)``, then half of each edge as a vector,
    ``(9,)``, then from that middle to its centre of mass ``(3,)``, by which one end is told from the other; a zone is
    its middle ``(3,)``. Of several things that are moved, the first is told (`tasks.moved`).

    Args:
        cell: with the cousin.
        task: what it is about.
        objects: `scene_from_object` ``(4, 4)`` by name.
    """
    base_from_scene = np.linalg.inv(cell.mount)
    rows = []
    for name in (moved(cell, task), task.where):
        if name:
            item = cell.item(name)
            rows.append(box_of(item, base_from_scene @ objects[name]))
    if task.kind == "push":
        zone = zone_of(cell, task.what[0])
        assert zone is not None  # else the cousin would have been unsuitable
        rows.append((base_from_scene @ np.append(zone, 1.0))[:3])
    return np.concatenate(rows)


def middles(told: FloatArray) -> FloatArray:
    """``(..., T, 3)`` middles of the things that `environment_state` ``(..., n)`` tells of."""
    return np.stack([told[..., at : at + 3] for at in range(0, told.shape[-1], BOX)], axis=-2)


def box_of(item: SceneObject, pose: FloatArray) -> FloatArray:
    """``(BOX,)`` of the box along an object's own axes, the object being at `pose`."""
    points = np.vstack([part.vertices for part in item.convex_parts])
    low, high = points.min(axis=0), points.max(axis=0)
    middle = pose[:3, :3] @ ((low + high) / 2) + pose[:3, 3]
    edges = pose[:3, :3] * ((high - low) / 2)
    heavy = pose[:3, :3] @ (item.center_of_mass - (low + high) / 2)
    return np.concatenate([middle, edges.T.ravel(), heavy])
