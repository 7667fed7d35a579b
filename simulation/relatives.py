"""Things of the same kind: what may stand in another's place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from reconstruction.scene import Scene, SceneObject
from simulation.forms import in_scene

FloatArray = npt.NDArray[np.float64]
OF_A_KIND = 0.52
"""Up to this `kinship` two things count as of one kind: sizes within a third and alike in fullness."""


def from_paths(paths: Sequence[Path]) -> tuple[SceneObject, ...]:
    """The objects of other projects or scene folders, named ``<number>.<name>`` after the order of `paths`.

    Raises:
        InputError: one of them holds no readable scene.
    """
    found = []
    for number, path in enumerate(paths, 1):
        folder = path / "scene" if (path / "scene" / "scene.json").is_file() else path
        found += [replace(item, name=f"{number}.{item.name}") for item in Scene.load(folder).objects]
    return tuple(found)


def relatives_of(item: SceneObject, pool: Sequence[SceneObject], most: int) -> tuple[SceneObject, ...]:
    """The nearest relatives of `item` in `pool`, at most so many, nearest first, ties by name; never itself."""
    mine = traits(item)
    near = {other.name: (kinship(mine, traits(other)), other) for other in pool if other.name != item.name}
    order = sorted(near, key=lambda name: (near[name][0], name))
    return tuple(near[name][1] for name in order if near[name][0] <= OF_A_KIND)[:most]


def kinship(first: FloatArray, second: FloatArray) -> float:
    """How different two things are by their `traits`: 0 for alike ones, the same both ways."""
    return float(np.abs(first - second).max())


def traits(item: SceneObject) -> FloatArray:
    """``(4,)``: logarithms of length, width and height as it stands, turned as one likes, and its fullness.

    Length and width are those of the smallest upright box round it; fullness is the share of its convex hull that is
    solid: a bowl's is small, an apple's almost 1. It counts twice, so that no block takes the place of a mug.
    """
    import cv2
    from scipy.spatial import ConvexHull

    points = in_scene(item)
    sides = sorted(max(side, 1e-3) for side in cv2.minAreaRect(points[:, :2].astype(np.float32))[1])
    height = max(float(np.ptp(points[:, 2])), 1e-3)
    fullness = min(item.volume_m3 / max(float(ConvexHull(points).volume), 1e-12), 1.0)
    return np.array([np.log(sides[1]), np.log(sides[0]), np.log(height), 2.0 * fullness])
