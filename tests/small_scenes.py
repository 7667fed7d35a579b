"""Small scenes with exact truth, made in code: what a reconstruction hands to settling and to the exporters."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import trimesh

from reconstruction.mesh import Mesh
from reconstruction.scene import Scene, SceneObject, Support

TABLE = Support(
    "table",
    np.array([0.0, 0.0, 1.0, 0.0]),
    np.array([[-0.6, -0.6, 0.0], [0.6, -0.6, 0.0], [0.6, 0.6, 0.0], [-0.6, 0.6, 0.0]]),
)


def as_mesh(solid: trimesh.Trimesh) -> Mesh:
    return Mesh(np.array(solid.vertices, dtype=np.float64), np.array(solid.faces, dtype=np.int64))


def standing(solid: trimesh.Trimesh) -> trimesh.Trimesh:
    """The solid with its lowest point at z = 0 and its bounding box centred on the z axis."""
    solid = solid.copy()
    low, high = solid.bounds
    solid.apply_translation([-(low[0] + high[0]) / 2, -(low[1] + high[1]) / 2, -low[2]])
    return solid


def box(x: float, y: float, z: float) -> trimesh.Trimesh:
    return standing(trimesh.creation.box([x, y, z]))


def cylinder(radius: float, height: float, sections: int = 48) -> trimesh.Trimesh:
    return standing(trimesh.creation.cylinder(radius, height, sections=sections))


def lying(radius: float, length: float) -> trimesh.Trimesh:
    solid = cylinder(radius, length)
    solid.apply_transform(trimesh.transformations.rotation_matrix(np.pi / 2, [1, 0, 0]))
    return standing(solid)


def ball(radius: float) -> trimesh.Trimesh:
    return standing(trimesh.creation.icosphere(3, radius))


def l_shape(length: float, width: float, height: float) -> tuple[trimesh.Trimesh, list[trimesh.Trimesh]]:
    """An L seen from above, and its two convex parts."""
    long, short = box(length, width, height), box(width, length - width, height)
    long.apply_translation([length / 2, width / 2, 0])
    short.apply_translation([width / 2, width + (length - width) / 2, 0])
    return trimesh.boolean.union([long, short], engine="manifold"), [long, short]


def bowl(
    radius: float, height: float, wall: float, sections: int = 16
) -> tuple[trimesh.Trimesh, list[trimesh.Trimesh]]:
    """An open, straight-walled cup: watertight, one floor part and one part a wall segment."""
    outer = cylinder(radius, height, sections)
    inner = cylinder(radius - wall, height, sections)
    inner.apply_translation([0, 0, wall])
    solid = trimesh.boolean.difference([outer, inner], engine="manifold")
    parts = [cylinder(radius, wall, sections)]
    angles = np.arange(sections + 1) * 2 * np.pi / sections
    for start, end in zip(angles[:-1], angles[1:], strict=True):
        corners = [
            [distance * np.cos(angle), distance * np.sin(angle), z]
            for distance in (radius, radius - wall)
            for angle in (start, end)
            for z in (wall, height)
        ]
        parts.append(trimesh.convex.convex_hull(np.array(corners)))
    return solid, parts


def thing(
    name: str,
    solid: trimesh.Trimesh,
    at: tuple[float, float, float] = (0.0, 0.0, 0.0),
    *,
    parts: list[trimesh.Trimesh] | None = None,
    turned_deg: float = 0.0,
    mass_kg: float = 0.2,
    friction: float = 0.5,
) -> SceneObject:
    """A scene object whose solid, as given, stands at `at` turned about z; the frame's origin at the centre of mass."""
    turn = trimesh.transformations.rotation_matrix(np.radians(turned_deg), [0, 0, 1])
    turn[:3, 3] = at
    solids = [piece.copy() for piece in [solid, *(parts or [solid])]]
    for piece in solids:
        piece.apply_transform(turn)
    whole = solids[0]
    center = np.array(whole.center_mass)
    pose = np.eye(4)
    pose[:3, 3] = center
    for piece in solids:
        piece.apply_translation(-center)
    inertia = np.array(whole.moment_inertia) * mass_kg / whole.volume
    return SceneObject(
        name=name,
        scene_from_object=pose,
        visual=as_mesh(whole),
        convex_parts=tuple(as_mesh(trimesh.convex.convex_hull(piece)) for piece in solids[1:]),
        mass_kg=mass_kg,
        center_of_mass=np.zeros(3),
        inertia=inertia,
        friction=friction,
        restitution=0.2,
        material="wood",
        volume_m3=float(whole.volume),
        seen_fraction=0.8,
        mass_interval_kg=(0.5 * mass_kg, 2 * mass_kg),
        support="table",
    )


def scene_of(*objects: SceneObject, supports: tuple[Support, ...] = (TABLE,)) -> Scene:
    return Scene(np.eye(4), supports, None, tuple(sorted(objects, key=lambda item: item.name)))


def noisy_base(item: SceneObject, rng: np.random.Generator, noise_m: float = 0.002) -> SceneObject:
    """The base as a phone leaves it: its corners and more points under it up and down by `noise_m`."""
    parts = []
    for part in item.convex_parts:
        vertices = part.vertices.copy()
        low = vertices[:, 2] < vertices[:, 2].min() + 1e-4
        base = vertices[low]
        weights = rng.dirichlet(np.ones(len(base)), 12)
        extra = weights @ base
        points = np.vstack([vertices[~low], base, extra])
        points[(~low).sum() :, 2] += rng.uniform(-noise_m, noise_m, len(base) + len(extra))
        parts.append(as_mesh(trimesh.convex.convex_hull(points)))
    return replace(item, convex_parts=tuple(parts))


def lifted(item: SceneObject, shift: tuple[float, float, float]) -> SceneObject:
    pose = item.scene_from_object.copy()
    pose[:3, 3] += shift
    return replace(item, scene_from_object=pose)


def textured(mesh: Mesh, size: int = 32) -> Mesh:
    """The mesh with a texture: every face shows its own piece of a picture of noise."""
    rng = np.random.default_rng(len(mesh.faces))
    uv = rng.uniform(0.0, 1.0, (len(mesh.faces), 3, 2)).astype(np.float32)
    return replace(mesh, corner_uv=uv, texture=rng.integers(0, 256, (size, size, 3)).astype(np.uint8))
