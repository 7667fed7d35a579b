"""How alike two things are, by their shape as they stand, and which of a pool may stand in for another."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from reconstruction.mesh import Mesh, hull_mesh, to_trimesh
from reconstruction.scene import HULL_MARGIN_M, SceneObject

FloatArray = npt.NDArray[np.float64]
WITHIN = 0.5
"""Things at most this far apart may be of a kind. A scan's noise moves a mug or a bowl by 0.3 from its true shape; a
can and an orange, a banana and a screwdriver are 0.4 to 0.6 apart."""
SPREAD = 0.25
"""What is this much farther away than the nearest is of another kind, even if it is within the limit."""
SCALES = (0.75, 1.33)
_GRID = 48
_LEVELS = 32
_SOFT_M = 0.005
"""Added to all sizes: a magazine of 9 mm is nearer to a book of 16 mm than the ratio says."""
# What a unit of each trait counts for. Size counts least: a relative is rescaled, but not from a die to a bucket.
_WEIGHTS = np.array([0.45, 0.8, 0.8, 1.4, 1.6, 1.2, 2.0])


def traits(item: SceneObject) -> FloatArray:
    """``(7,)`` weighted numbers whose Euclidean distance is the kinship; a turn about z changes none of them.

    Mean log size; log length / width; log height / breadth; share of its hull that the thing fills; share of the hull
    that is a hollow open to the top; plan area / circumscribed circle; hull / box. Length and width are those of the
    smallest upright rectangle round the plan.
    """
    mesh = item.visual.moved(item.scene_from_object)
    digest = hashlib.sha256(np.ascontiguousarray(mesh.vertices).tobytes())
    digest.update(np.ascontiguousarray(mesh.faces).tobytes())
    return _traits(_Posed(digest.digest(), mesh))


@dataclass(frozen=True)
class _Posed:
    """A mesh as it stands; equal where `key`, the hash of its vertices and faces, is."""

    key: bytes
    mesh: Mesh = field(compare=False)


@lru_cache(maxsize=256)  # the same pool is asked again for every thing of every scene
def _traits(posed: _Posed) -> FloatArray:
    import cv2

    mesh = posed.mesh
    hull = hull_mesh(mesh.vertices)
    if hull is None:
        return np.full(len(_WEIGHTS), np.inf)
    hull_volume = float(to_trimesh(hull).volume)
    plan = cv2.convexHull((hull.vertices[:, :2] - hull.vertices[:, :2].mean(axis=0)).astype(np.float32))
    _, sides, angle = cv2.minAreaRect(plan)
    length, width = max(sides), min(sides)
    height = float(np.ptp(hull.vertices[:, 2]))
    area, (_, radius) = float(cv2.contourArea(plan)), cv2.minEnclosingCircle(plan)
    logs = np.log(np.array([length, width, height]) + _SOFT_M)
    values = [
        logs.mean(),
        logs[0] - logs[1],
        logs[2] - logs[:2].mean(),
        min(float(to_trimesh(mesh).volume) / hull_volume, 1.0),
        _open_m3(mesh, hull, float(np.radians(angle))) / hull_volume,
        area / max(float(np.pi * radius**2), 1e-12),
        hull_volume / max(length * width * height, 1e-12),
    ]
    weighted: FloatArray = _WEIGHTS * values
    weighted.setflags(write=False)
    return weighted


def _open_m3(mesh: Mesh, hull: Mesh, turn: float) -> float:
    """Volume of the hollows of `mesh` (z up) that are open to the top, a ring's hole too, up to the hull.

    A hollow is where water would stand a tenth of the height deep if it rained on the thing on a table. It counts up to
    the hull, not to the water's level: a scan's rim has dents, and one of them drains a whole mug.
    """
    from scipy.ndimage import binary_fill_holes

    c, s = np.cos(turn), np.sin(turn)
    plane = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])  # the grid lies along the rectangle round the plan
    low, high = (mesh.vertices @ plane).min(axis=0), (mesh.vertices @ plane).max(axis=0)
    tops = [_tops(shape.vertices @ plane, shape.faces, low, high) for shape in (mesh, hull)]
    levels = low[2] + (np.arange(_LEVELS) + 0.5) * (high[2] - low[2]) / _LEVELS
    wet = np.sum([binary_fill_holes(tops[0] >= level) & (tops[0] < level) for level in levels], axis=0)
    deep = np.maximum(tops[1] - np.maximum(tops[0], low[2]), 0.0)[(wet >= _LEVELS / 10) & np.isfinite(tops[1])]
    return float(deep.sum() * np.prod((high - low)[:2] / _GRID))


def _tops(vertices: FloatArray, faces: npt.NDArray[np.int64], low: FloatArray, high: FloatArray) -> FloatArray:
    """Heights ``(G + 2, G + 2)`` of the topmost surface over a grid on the box `low` to `high` and a cell beyond."""
    import open3d as o3d

    step = (high - low) / _GRID
    x, y = (low[axis] + (np.arange(-1, _GRID + 1) + 0.5) * step[axis] for axis in (0, 1))
    rays = np.zeros((len(x), len(y), 6), dtype=np.float32)
    rays[..., 0], rays[..., 1], rays[..., 2], rays[..., 5] = x[:, None], y[None], high[2] + 0.01, -1.0
    scene = o3d.t.geometry.RaycastingScene(nthreads=1)
    scene.add_triangles(o3d.core.Tensor(vertices.astype(np.float32)), o3d.core.Tensor(faces.astype(np.uint32)))
    reach = scene.cast_rays(o3d.core.Tensor(rays))["t_hit"].numpy().astype(np.float64)  # inf beside the thing
    return np.asarray(high[2] + 0.01 - reach, dtype=np.float64)


def kinship(a: SceneObject, b: SceneObject) -> float:
    """How unlike two things are by size and shape as they stand: 0 alike, symmetric; inf for a flat sheet."""
    return _distance(traits(a), traits(b))


def _distance(a: FloatArray, b: FloatArray) -> float:
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return float("inf")
    return float(np.linalg.norm(a - b))


def relatives_of(
    item: SceneObject, pool: Sequence[SceneObject], most: int = 4, within: float = WITHIN
) -> tuple[SceneObject, ...]:
    """The things of `pool` that may stand in for `item`, nearest first (ties by name); none where none is of its kind.

    Each is rescaled towards the item's size (see `rescaled`), its origin above x = y = 0, standing on z = 0.

    Args:
        item: what is to be replaced.
        pool: candidates, e.g. `simulation.relatives.procedural`; where `item` itself is among them it counts too.
        most: how many at most.
        within: largest `kinship`; `SPREAD` limits it further.
    """
    own = traits(item)
    found = sorted(
        ((_distance(own, theirs), other.name, index, float(own[0] - theirs[0]) / float(_WEIGHTS[0]))
         for index, (other, theirs) in enumerate((other, traits(other)) for other in pool)),
    )  # fmt: skip
    return tuple(
        rescaled(pool[index], float(np.clip(np.exp(log_size), *SCALES)))
        for distance, _, index, log_size in found[:most]
        if distance <= min(within, found[0][0] + SPREAD)
    )


def rescaled(item: SceneObject, factor: float) -> SceneObject:
    """`item` `factor` times as large, of the same stuff: mass grows with the cube, inertia with the fifth power."""
    visual = replace(item.visual, vertices=item.visual.vertices * factor)
    low, high = item.mass_interval_kg
    return standing(
        replace(
            item,
            visual=visual,
            convex_parts=tuple(replace(part, vertices=part.vertices * factor) for part in item.convex_parts),
            mass_kg=item.mass_kg * factor**3,
            mass_interval_kg=(low * factor**3, high * factor**3),
            center_of_mass=item.center_of_mass * factor,
            inertia=item.inertia * factor**5,
            volume_m3=item.volume_m3 * factor**3,
        )
    )


def standing(item: SceneObject) -> SceneObject:
    """`item` as it is turned, its box centred on x = y = 0, its lowest point where physics rests it on z = 0."""
    pose = item.scene_from_object.copy()
    turned = item.visual.vertices @ pose[:3, :3].T
    low, high = turned.min(axis=0), turned.max(axis=0)
    pose[:3, 3] = -(low[0] + high[0]) / 2, -(low[1] + high[1]) / 2, HULL_MARGIN_M - low[2]
    return replace(item, scene_from_object=pose)
