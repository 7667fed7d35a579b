"""Other places for the things of a cousin, found by geometry alone: for pictures, in which nothing has to move."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from reconstruction.scene import Scene, Support
from simulation.forms import in_scene, outline
from simulation.layout import BASE_M, Camera, Ground, gaps, support_function

FloatArray = npt.NDArray[np.float64]
GAP_M = 0.004
"""Things are put at least this far from each other, in plan …"""
EDGE_M = 0.01
"""… and from the edge of what they stand on."""
TRIES = 24
"""Places drawn for one thing before it stays where it is."""


def shuffled(scene: Scene, rng: np.random.Generator) -> dict[str, FloatArray]:
    """Poses ``(4, 4)`` of the things of a cousin, each elsewhere on what it stands on, turned at will.

    What stands or leans on something else, or carries it, stays where it is.

    Args:
        scene: the cousin (`cousins.dress`).
        rng: draws the places.
    """
    look = scene.extra["cousin"]["camera"]
    camera = Camera(np.array(look["scene_from_camera"]), look["focal_px"], tuple(look["size"]))
    poses = {item.name: item.scene_from_object for item in scene.objects}
    names, points = list(poses), [in_scene(item) for item in scene.objects]
    at = np.array([pose[:2, 3] for pose in poses.values()])
    low, high = at.min(axis=0), at.max(axis=0)
    rings = [outline(corners[:, :2] - place) for corners, place in zip(points, at, strict=True)]
    reach = np.concatenate([support_function(ring, np.zeros(1)) for ring in rings])
    alone = [k for k in range(len(at)) if _apart(at[k : k + 1], reach[k : k + 1], at, reach, k)[0] > 0.0]
    for k in rng.permutation(alone):
        places, turns = rng.uniform(low, high, (TRIES, 2)), rng.uniform(-np.pi, np.pi, TRIES)
        wide, support = support_function(rings[k], turns), _under(scene.supports, points[k])
        fits = Ground.of(support, 1.0).holds(places, wide, EDGE_M) & (_apart(places, wide, at, reach, k) > GAP_M)
        fits &= camera.sees(np.column_stack([places, np.full(TRIES, poses[names[k]][2, 3])]))
        if scene.robot_mount is not None:
            fits &= np.linalg.norm(places - scene.robot_mount[:2, 3], axis=1) > BASE_M
        for n in np.flatnonzero(fits)[:1]:
            poses[names[k]] = _moved(poses[names[k]], places[n] - at[k], turns[n], support.plane[:3])
            at[k], reach[k] = places[n], wide[n]
    return poses


def _apart(places: FloatArray, wide: FloatArray, at: FloatArray, reach: FloatArray, own: int) -> FloatArray:
    """``(C,)`` how far placements are from the nearest thing other than number `own`."""
    others = np.arange(len(at)) != own
    return np.asarray(gaps(places, wide, at[others], reach[others]).min(axis=1, initial=np.inf))


def _moved(pose: FloatArray, off: FloatArray, turn: float, normal: FloatArray) -> FloatArray:
    """A pose moved by ``(2,)`` in plan along a plane, and turned about its normal."""
    found = pose.copy()
    found[:3, :3] = Rotation.from_rotvec(turn * normal).as_matrix() @ pose[:3, :3]
    found[:3, 3] += [*off, -float(off @ normal[:2]) / normal[2]]
    return found


def _under(supports: Sequence[Support], points: FloatArray) -> Support:
    """What a thing stands on, from its points."""
    lowest = points[points[:, 2].argmin()]
    return min(supports, key=lambda support: abs(float(support.plane[:3] @ lowest + support.plane[3])))
