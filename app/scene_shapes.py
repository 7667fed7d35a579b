"""Things and scenes in other shapes: two things as one, one cut in two, a whole scene in other metres."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from reconstruction.atlas import baked
from reconstruction.decomposition import DecompositionSettings, decompose
from reconstruction.errors import InputError, UsageError
from reconstruction.material import Override, physical_properties
from reconstruction.mesh import Mesh, hull_mesh, to_trimesh
from reconstruction.mesh_files import GREY, joined
from reconstruction.scene import Scene, SceneObject
from simulation.repair import THINNEST_PART_M, clip, lowest

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
LEAST_SHARE = 0.01
LEAST_M3 = 1e-7
"""A half with less than this share of the volume, or of this volume, is a sliver and no thing."""


# --- two as one ------------------------------------------------------------------------------------------------------


def merged(first: SceneObject, second: SceneObject, name: str) -> SceneObject:
    """Two things as one rigid body: frame at the joint centre of mass, axes of the scene.

    Contact properties are weighted by mass; the material is that of the heavier.
    """
    pair = (first, second)
    masses = np.array([item.mass_kg for item in pair])
    centers = np.array([(item.scene_from_object @ np.append(item.center_of_mass, 1.0))[:3] for item in pair])
    center = masses @ centers / masses.sum()
    inertia = np.zeros((3, 3))
    for item, at in zip(pair, centers, strict=True):
        turn, away = item.scene_from_object[:3, :3], at - center
        inertia += turn @ item.inertia @ turn.T + item.mass_kg * (away @ away * np.eye(3) - np.outer(away, away))
    pose = np.eye(4)
    pose[:3, 3] = center
    moves = [np.linalg.inv(pose) @ item.scene_from_object for item in pair]
    skins = [_textured(item.visual).moved(move) for item, move in zip(pair, moves, strict=True)]
    areas = np.array([float(to_trimesh(skin).area) for skin in skins])
    # The guesses err independently of each other.
    lows, highs = np.array([item.mass_interval_kg for item in pair]).T
    below = float(np.linalg.norm(np.maximum(masses - lows, 0.0)))
    above = float(np.linalg.norm(np.maximum(highs - masses, 0.0)))
    mass = float(masses.sum())
    heavier = first if first.mass_kg >= second.mass_kg else second
    lower = first if lowest(first) <= lowest(second) else second
    return SceneObject(
        name=name,
        scene_from_object=pose,
        visual=replace(joined([_for_joining(skin) for skin in skins]), seen=_joined_seen(skins)),
        convex_parts=tuple(
            part.moved(move) for item, move in zip(pair, moves, strict=True) for part in item.convex_parts
        ),
        mass_kg=mass,
        center_of_mass=np.zeros(3),
        inertia=inertia,
        friction=float(masses @ [item.friction for item in pair]) / mass,
        restitution=float(masses @ [item.restitution for item in pair]) / mass,
        material=heavier.material,
        volume_m3=_joint_volume(first, second),
        seen_fraction=float(areas @ [item.seen_fraction for item in pair] / areas.sum()),
        mass_interval_kg=(mass - below, mass + above),
        support=lower.support,
    )


def _textured(mesh: Mesh) -> Mesh:
    return mesh if mesh.texture is not None and mesh.corner_uv is not None else baked(mesh)


def _for_joining(mesh: Mesh) -> Mesh:
    """`joined` counts texture coordinates from the middle of the first texel to that of the last, not from rim to rim:
    without this, colours would move by up to half a texel.
    """
    assert mesh.corner_uv is not None
    assert mesh.texture is not None
    size = np.array(mesh.texture.shape[1::-1], dtype=np.float64)
    uv = (mesh.corner_uv * size - 0.5) / np.maximum(size - 1.0, 1.0)
    return replace(mesh, corner_uv=uv.clip(0.0, 1.0).astype(np.float32))


def _joined_seen(skins: list[Mesh]) -> npt.NDArray[np.float32] | None:
    if all(skin.seen is None for skin in skins):
        return None
    return np.concatenate(
        [np.zeros(len(skin.vertices), dtype=np.float32) if skin.seen is None else skin.seen for skin in skins]
    )


def _joint_volume(first: SceneObject, second: SceneObject) -> float:
    """Volume (m³) of both, what they share counted once."""
    from reconstruction.convex import solid_of

    solids = [
        solid_of(item.visual.moved(item.scene_from_object).vertices, item.visual.faces) for item in (first, second)
    ]
    if solids[0] is None or solids[1] is None:
        return first.volume_m3 + second.volume_m3
    return float(first.volume_m3 + second.volume_m3 - (solids[0] ^ solids[1]).volume())


# --- one in two ------------------------------------------------------------------------------------------------------


def halves(
    item: SceneObject, point: FloatArray, normal: FloatArray, names: tuple[str, str]
) -> tuple[SceneObject, SceneObject]:
    """A thing cut by a plane: what lies on the side that the normal points to, and the rest.

    Both are closed and keep the thing's axes; the mass is shared by volume; the cut has the colour of its rim, and
    counts as not seen.

    Args:
        item: the thing.
        point: ``(3,)`` on the plane, scene frame.
        normal: ``(3,)`` of the plane, of any length, scene frame.
        names: of the two.

    Raises:
        UsageError: no plane, or it misses the thing or cuts off next to nothing.
        InputError: the thing's surface is not closed.
    """
    turn = item.scene_from_object[:3, :3]
    length = float(np.linalg.norm(normal))
    if not (np.isfinite(point).all() and np.isfinite(length) and length > 1e-9):
        raise UsageError(
            f"{item.name} cannot be split by that plane.", remedy="Give a point and a direction.", code="bad_value"
        )
    direction = turn.T @ (normal / length)
    offset = float(direction @ (turn.T @ (point - item.scene_from_object[:3, 3])))
    solid = _painted_solid(item)
    painted_id = int(solid.to_mesh64().run_original_id[0])
    sides = solid.split_by_plane(tuple(direction), offset)
    volumes = [max(0.0, float(side.volume())) for side in sides]
    whole = sum(volumes)
    if min(volumes) <= 1e-6 * whole:
        raise UsageError(
            f"The plane does not go through {item.name}.", remedy="Move the plane into it.", code="plane_misses"
        )
    if min(volumes) < max(LEAST_SHARE * whole, LEAST_M3):
        raise UsageError(
            f"The smaller half of {item.name} would be {100 * min(volumes) / whole:.2g} % of it "
            f"({1e6 * min(volumes):.2g} ml), too little for a thing.",
            remedy="Move the plane towards its middle.",
            code="too_small",
        )
    made = []
    for name, side, volume, sign in zip(names, sides, volumes, (1.0, -1.0), strict=True):
        visual, seen_fraction = _painted_mesh(side, painted_id, item)
        parts = _cut_parts(item, sign * direction, sign * offset) or _new_parts(visual)
        made.append(_half(item, name, visual, parts, volume / whole, seen_fraction))
    return made[0], made[1]


def _half(
    item: SceneObject, name: str, visual: Mesh, parts: tuple[Mesh, ...], share: float, seen_fraction: float
) -> SceneObject:
    """One half, from meshes in the frame of the whole."""
    known = physical_properties(visual, override=Override(material=item.material, mass_kg=share * item.mass_kg))
    move = np.eye(4)
    move[:3, 3] = -known.center_of_mass
    low, high = item.mass_interval_kg
    return replace(
        item,
        name=name,
        scene_from_object=item.scene_from_object @ np.linalg.inv(move),
        visual=visual.moved(move),
        convex_parts=tuple(part.moved(move) for part in parts),
        mass_kg=share * item.mass_kg,
        mass_interval_kg=(share * low, share * high),
        center_of_mass=np.zeros(3),
        inertia=known.inertia,
        volume_m3=known.volume_m3,
        seen_fraction=seen_fraction,
    )


def _cut_parts(item: SceneObject, direction: FloatArray, offset: float) -> tuple[Mesh, ...]:
    """The convex parts, as far as they lie beyond the plane."""
    clipped = [clip(part, direction, offset) for part in item.convex_parts]
    return tuple(
        part
        for part in clipped
        if part is not None and np.ptp(part.vertices @ direction) > THINNEST_PART_M and hull_mesh(part.vertices)
    )


def _new_parts(visual: Mesh) -> tuple[Mesh, ...]:
    return decompose(visual, DecompositionSettings(method="cuts")).parts


def _painted_solid(item: SceneObject) -> Any:
    """The visual mesh as a `manifold3d.Manifold` whose vertices carry u, v and seen through the cut."""
    import manifold3d

    mesh = _textured(item.visual)
    assert mesh.corner_uv is not None
    corners = np.column_stack([mesh.faces.reshape(-1), mesh.corner_uv.reshape(-1, 2).astype(np.float64)])
    table, faces = np.unique(corners, axis=0, return_inverse=True)
    vertex = table[:, 0].astype(np.int64)
    seen = np.zeros(len(mesh.vertices)) if mesh.seen is None else mesh.seen.astype(np.float64)
    # A vertex on a seam has several texture coordinates; it stays one point.
    first = np.searchsorted(vertex, vertex)
    twins = np.flatnonzero(first != np.arange(len(vertex)))
    solid = manifold3d.Manifold(
        manifold3d.Mesh64(
            vert_properties=np.column_stack([mesh.vertices[vertex], table[:, 1:], seen[vertex]]),
            tri_verts=faces.reshape(-1, 3).astype(np.uint64),
            merge_from_vert=twins.astype(np.uint64),
            merge_to_vert=first[twins].astype(np.uint64),
            # Each triangle a face of its own: else level ones are joined across the seams of the texture.
            face_id=np.arange(len(mesh.faces), dtype=np.uint64),
        )
    )
    if solid.status() != manifold3d.Error.NoError or not solid.volume() > 0.0:
        raise InputError(
            f"The surface of {item.name} is not closed, so that it cannot be split.",
            remedy="Reconstruct the scan again.",
            code="not_closed",
        )
    return solid


def _painted_mesh(side: Any, painted_id: int, item: SceneObject) -> tuple[Mesh, float]:
    """A half as a mesh with a texture, and the share of its surface that was seen.

    Args:
        side: `manifold3d.Manifold` made from `_painted_solid`.
        painted_id: which of its triangles come from there; the others close the cut.
        item: the whole thing.
    """
    stored = side.to_mesh64()
    properties = np.array(stored.vert_properties, dtype=np.float64)
    triangles = np.array(stored.tri_verts, dtype=np.int64)
    runs = np.array(stored.run_index, dtype=np.int64) // 3
    owner = np.repeat(np.array(stored.run_original_id, dtype=np.int64), np.diff(runs))
    order = np.argsort(owner != painted_id, kind="stable")  # the surface first, then the cut
    triangles, is_cut = triangles[order], owner[order] != painted_id
    point = np.arange(len(properties))
    point[np.array(stored.merge_from_vert, dtype=np.int64)] = np.array(stored.merge_to_vert, dtype=np.int64)
    used, faces = np.unique(point[triangles], return_inverse=True)
    faces = faces.reshape(-1, 3).astype(np.int64)
    vertices = properties[used, :3]
    whole = _textured(item.visual)
    assert whole.texture is not None
    uv = properties[triangles[~is_cut], 3:5]
    skin = Mesh(vertices, faces[~is_cut], uv.astype(np.float32), whole.texture)
    if is_cut.any():
        colour = _rim_colour(skin, np.isin(np.arange(len(vertices)), faces[is_cut]))
        flat = np.full((int(is_cut.sum()), 3, 2), 0.5, dtype=np.float32)
        painted = joined([_for_joining(skin), Mesh(vertices, faces[is_cut], flat, np.tile(colour, (4, 4, 1)))])
        skin = replace(painted, vertices=vertices, faces=faces)
    tri = to_trimesh(skin)
    areas = np.asarray(tri.area_faces, dtype=np.float64)
    if item.visual.seen is None:
        return skin, float(item.seen_fraction * areas[~is_cut].sum() / areas.sum())
    share = properties[triangles[~is_cut], 5].mean(axis=1).clip(0.0, 1.0)
    seen = np.zeros(len(vertices), dtype=np.float32)
    seen[faces[~is_cut]] = properties[triangles[~is_cut], 5].clip(0.0, 1.0)
    seen[faces[is_cut]] = 0.0  # nobody saw the cut
    return replace(skin, seen=seen), float(areas[~is_cut] @ share / areas.sum())


def _rim_colour(skin: Mesh, on_rim: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """The mean colour ``(3,)`` along the edges between vertices that are `on_rim`; grey without any."""
    assert skin.corner_uv is not None
    assert skin.texture is not None
    onward = np.roll(skin.faces, -1, axis=1)
    edge = on_rim[skin.faces] & on_rim[onward]
    start, end = skin.corner_uv[edge], np.roll(skin.corner_uv, -1, axis=1)[edge]
    lengths = np.linalg.norm(skin.vertices[onward[edge]] - skin.vertices[skin.faces[edge]], axis=1)
    if not lengths.sum() > 0.0:
        return np.full(3, GREY, dtype=np.uint8)
    share = (np.arange(8)[:, None, None] + 0.5) / 8
    uv = start * (1.0 - share) + end * share
    height, width = skin.texture.shape[:2]
    columns = (uv[..., 0] * width).astype(np.int64).clip(0, width - 1)
    rows = ((1.0 - uv[..., 1]) * height).astype(np.int64).clip(0, height - 1)
    colours = skin.texture[rows, columns].mean(axis=0)
    return np.asarray(np.rint(lengths @ colours / lengths.sum()), dtype=np.uint8)


# --- other metres ----------------------------------------------------------------------------------------------------


def scaled(scene: Scene, factor: float, weighed: frozenset[str]) -> Scene:
    """A scene all of whose lengths are `factor` times as large.

    Volumes and guessed masses grow with the cube, inertia with the fifth power. The masses of `weighed` things (by
    name) are known otherwise, and stay: their inertia grows with the square.
    """
    return replace(
        scene,
        metric=True,
        scene_from_capture=scaled_pose(scene.scene_from_capture, factor),
        robot_mount=None if scene.robot_mount is None else scaled_pose(scene.robot_mount, factor),
        supports=tuple(
            replace(each, plane=each.plane * [1.0, 1.0, 1.0, factor], polygon=factor * each.polygon)
            for each in scene.supports
        ),
        background=None if scene.background is None else _scaled_mesh(scene.background, factor),
        objects=tuple(_scaled_thing(item, factor, item.name in weighed) for item in scene.objects),
    )


def scaled_pose(pose: FloatArray, factor: float) -> FloatArray:
    """A rigid ``(4, 4)`` between frames whose lengths are `factor` times as large."""
    pose = np.array(pose, dtype=np.float64)
    pose[:3, 3] *= factor
    return pose


def _scaled_mesh(mesh: Mesh, factor: float) -> Mesh:
    return replace(mesh, vertices=factor * mesh.vertices)


def _scaled_thing(item: SceneObject, factor: float, weighed: bool) -> SceneObject:
    heavier = 1.0 if weighed else factor**3
    low, high = item.mass_interval_kg
    return replace(
        item,
        scene_from_object=scaled_pose(item.scene_from_object, factor),
        visual=_scaled_mesh(item.visual, factor),
        convex_parts=tuple(_scaled_mesh(part, factor) for part in item.convex_parts),
        mass_kg=heavier * item.mass_kg,
        mass_interval_kg=(heavier * low, heavier * high),
        center_of_mass=factor * item.center_of_mass,
        inertia=heavier * factor**2 * item.inertia,
        volume_m3=factor**3 * item.volume_m3,
    )
