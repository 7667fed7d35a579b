"""Small repairs of one object so that it can stand where it was seen: a flat base, a trimmed flank, a moved centre.

A phone measures to some 2 mm, and completes what it did not see. Standing still asks for less than that. Every repair
stays within what the scan left open, and is recorded by the caller.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from reconstruction.mesh import Mesh
from reconstruction.scene import HULL_MARGIN_M, SceneObject, Support

FloatArray = npt.NDArray[np.float64]

THINNEST_PART_M = 0.0005
"""A convex part thinner than this after a cut is dropped (as long as another is left)."""


def in_scene(mesh: Mesh, item: SceneObject) -> FloatArray:
    """The vertices ``(V, 3)`` of one of the object's meshes, scene frame."""
    return np.asarray(mesh.vertices @ item.scene_from_object[:3, :3].T + item.scene_from_object[:3, 3])


def lowest(item: SceneObject) -> float:
    """Height of the lowest point of the convex parts, scene frame, metres."""
    return min(float(in_scene(part, item)[:, 2].min()) for part in item.convex_parts)


def hull_of(points: FloatArray) -> Mesh | None:
    """Convex hull of ``(N, 3)`` points, or None where they span no volume."""
    import trimesh
    from scipy.spatial import QhullError

    if len(points) < 4 or np.linalg.svd(points - points.mean(axis=0), compute_uv=False)[-1] < 1e-6:
        return None
    try:
        hull = trimesh.convex.convex_hull(points)
    except (QhullError, ValueError):
        return None
    return Mesh(np.array(hull.vertices, dtype=np.float64), np.array(hull.faces, dtype=np.int64))


def clip(part: Mesh, normal: FloatArray, offset: float) -> Mesh | None:
    """The half of a convex part with ``normal · x ≥ offset``, or None where nothing is left of it."""
    height = part.vertices @ normal - offset
    if (height >= 0).all():
        return part
    edges = np.vstack([part.faces[:, [0, 1]], part.faces[:, [1, 2]], part.faces[:, [2, 0]]])
    edges = edges[(height[edges[:, 0]] < 0) & (height[edges[:, 1]] >= 0)]
    low, high = height[edges[:, 0]], height[edges[:, 1]]
    share = (-low / (high - low))[:, None]
    crossing = part.vertices[edges[:, 0]] * (1 - share) + part.vertices[edges[:, 1]] * share
    return hull_of(np.vstack([part.vertices[height >= 0], crossing]))


def flatten_base(item: SceneObject, base_m: float, band_m: float) -> SceneObject:
    """Make the base flat and level at height `base_m` of the scene, in the object's present pose.

    Whatever reaches below is cut off; what ends less than `band_m` above is drawn down, in the convex parts and in
    the visual mesh (whose topology and texture stay).
    """
    up = item.scene_from_object[:3, :3].T @ np.array([0.0, 0.0, 1.0])
    offset = base_m - item.scene_from_object[2, 3]
    parts = [_flat_part(part, up, offset, band_m) for part in item.convex_parts]
    kept = tuple(part for part in parts if part is not None and _extent(part, up) > THINNEST_PART_M)
    height = item.visual.vertices @ up - offset
    drop = np.where(height < band_m, height, 0.0)[:, None] * up
    visual = replace(item.visual, vertices=item.visual.vertices - drop)
    return replace(item, convex_parts=kept or item.convex_parts, visual=visual)


def _flat_part(part: Mesh, up: FloatArray, offset: float, band_m: float) -> Mesh | None:
    clipped = clip(part, up, offset)
    if clipped is None or band_m <= 0:
        return clipped
    height = clipped.vertices @ up - offset
    near = (height > 0) & (height < band_m)
    if not near.any():
        return clipped
    return hull_of(clipped.vertices - np.where(near, height, 0.0)[:, None] * up)


def _extent(part: Mesh, direction: FloatArray) -> float:
    return float(np.ptp(part.vertices @ direction))


def trim(item: SceneObject, normal: FloatArray, offset: float, point: FloatArray, largest_share: float) -> SceneObject:
    """Cut the convex parts at `point` back to ``normal · x ≥ offset`` (all in the scene frame).

    Parts that do not reach `point` stay, so a fruit does not cost the far side of its bowl. No part loses more than
    `largest_share` of its width along `normal`.
    """
    rotation = item.scene_from_object[:3, :3]
    direction = rotation.T @ normal
    local_offset = offset - float(normal @ item.scene_from_object[:3, 3])
    local_point = rotation.T @ (point - item.scene_from_object[:3, 3])
    parts = []
    for part in item.convex_parts:
        reach = part.vertices @ direction
        deepest = float(reach.min() + largest_share * np.ptp(reach))
        cut = clip(part, direction, min(local_offset, deepest)) if _contains(part, local_point) else part
        if cut is not None:
            parts.append(cut)
    return replace(item, convex_parts=tuple(parts) or item.convex_parts)


def _contains(part: Mesh, point: FloatArray, slack_m: float = 2 * HULL_MARGIN_M) -> bool:
    a, b, c = (part.vertices[part.faces[:, corner]] for corner in range(3))
    normals = np.cross(b - a, c - a)
    lengths = np.linalg.norm(normals, axis=1)
    solid = lengths > 1e-12
    outside = np.einsum("ij,ij->i", normals[solid], point - a[solid]) / lengths[solid]
    return bool((outside < slack_m).all())


def base_outline(item: SceneObject, band_m: float = 0.0005) -> FloatArray:
    """Points ``(N, 2)`` of the convex parts within `band_m` of the lowest: what it stands on, scene x and y."""
    vertices = np.vstack([in_scene(part, item) for part in item.convex_parts])
    return np.asarray(vertices[vertices[:, 2] < vertices[:, 2].min() + band_m, :2])


def has_flat_base(item: SceneObject, band_m: float = 0.003, share: float = 0.5) -> bool:
    """Whether what lies within `band_m` of the lowest point spans that share of the object's outline from above.

    A box or a mug does, also with the phone's noise; a fruit, a ball or a can on its side does not.
    """
    from scipy.spatial import ConvexHull, QhullError

    outline = np.vstack([in_scene(part, item) for part in item.convex_parts])[:, :2]
    try:
        return bool(ConvexHull(base_outline(item, band_m)).volume > share * ConvexHull(outline).volume)
    except (QhullError, ValueError):
        return False


def center_over_base(item: SceneObject, share: float, lower_share: float) -> SceneObject:
    """Move the centre of mass towards the middle of the base until the object can stand, and down.

    The inside of an object is a guess, so its centre of mass is known to some 15 % of its size. The object's frame
    follows: its origin stays at the centre of mass, the meshes stay where they are in the scene.

    Args:
        item: the object, with a flat base.
        share: largest horizontal shift, as a share of the object's width.
        lower_share: how far down, as a share of its height.
    """
    middle, radius = _inner_disc(base_outline(item))
    vertices = np.vstack([in_scene(part, item) for part in item.convex_parts])
    size = np.ptp(vertices, axis=0)
    center = item.scene_from_object[:3, 3] + item.scene_from_object[:3, :3] @ item.center_of_mass
    away = center[:2] - middle
    distance = float(np.linalg.norm(away))
    wanted = max(0.0, distance - 0.5 * radius)
    shift = np.zeros(3)
    if distance > 0:
        shift[:2] = -away / distance * min(wanted, share * float(size[:2].min()))
    shift[2] = -min(lower_share * size[2], max(0.0, center[2] - vertices[:, 2].min() - 0.2 * size[2]))
    return move_center(item, item.scene_from_object[:3, :3].T @ shift)


def move_center(item: SceneObject, shift: FloatArray) -> SceneObject:
    """Shift the centre of mass by ``(3,)`` in the object's frame and put the frame's origin there."""
    center = item.center_of_mass + shift
    pose = item.scene_from_object.copy()
    pose[:3, 3] += pose[:3, :3] @ center
    return replace(
        item,
        scene_from_object=pose,
        center_of_mass=np.zeros(3),
        visual=replace(item.visual, vertices=item.visual.vertices - center),
        convex_parts=tuple(replace(part, vertices=part.vertices - center) for part in item.convex_parts),
    )


def _inner_disc(points: FloatArray) -> tuple[FloatArray, float]:
    """Middle ``(2,)`` and radius of a disc inside the convex hull of ``(N, 2)`` points; radius 0 for a line."""
    from scipy.spatial import ConvexHull, QhullError

    try:
        hull = ConvexHull(points)
    except (QhullError, ValueError):
        return np.asarray(points.mean(axis=0)), 0.0
    corners = points[hull.vertices]
    edge = np.roll(corners, -1, axis=0) - corners
    cross = corners[:, 0] * np.roll(corners[:, 1], -1) - corners[:, 1] * np.roll(corners[:, 0], -1)
    if abs(cross.sum()) < 1e-12 or not np.isfinite(edge).all():
        return np.asarray(points.mean(axis=0)), 0.0
    middle = ((corners + np.roll(corners, -1, axis=0)) * cross[:, None]).sum(axis=0) / (3 * cross.sum())
    radius = -float((hull.equations[:, :2] @ middle + hull.equations[:, 2]).max())
    return np.asarray(middle), max(0.0, radius)


def plane_height(support: Support, xy: FloatArray) -> float:
    """Height of the support's plane at ``(2,)`` scene x and y."""
    a, b, c, d = support.plane
    return float(-(a * xy[0] + b * xy[1] + d) / c)


def widened(support: Support, outline: FloatArray) -> Support:
    """The support, stretched so that its slab carries ``(N, 2)`` points.

    A table is never seen under what stands on it; its outline may end where an object hides it.
    """
    from scipy.spatial import ConvexHull

    hull = ConvexHull(support.polygon[:, :2])
    distance = outline @ hull.equations[:, :2].T + hull.equations[:, 2]
    outside = outline[(distance > 0).any(axis=1)]
    if not len(outside):
        return support
    points = np.vstack([support.polygon[:, :2], outside])
    corners = points[ConvexHull(points).vertices]
    heights = np.array([plane_height(support, xy) for xy in corners])
    return replace(support, polygon=np.column_stack([corners, heights]))
