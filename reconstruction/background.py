"""What stays where it is: the coarse surface without the objects, and the outlines of the supports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from reconstruction.capture import FloatArray
from reconstruction.fusion import Fusion
from reconstruction.heightmap import Ground, HeightMap
from reconstruction.mesh import Mesh
from reconstruction.scene import Support
from reconstruction.supports import CELL_M, Placement


@dataclass(frozen=True)
class BackgroundSettings:
    """How the background is kept."""

    min_weight: float = 2.0
    """Surface seen by fewer frames is left out."""
    max_faces: int = 60_000
    """Triangles kept; fewer loads faster, more shows more of the room."""
    clearance_m: float = 0.012
    """Surface nearer (m) than this to an object belongs to the object."""


def background_mesh(coarse: Fusion, solids: Sequence[Mesh], settings: BackgroundSettings) -> Mesh | None:
    """The coarse fused surface less the objects, simplified; None where nothing is left."""
    mesh = coarse.mesh(settings.min_weight)
    if len(mesh.faces) == 0:
        return None
    keep = np.ones(len(mesh.vertices), dtype=bool)
    reach = settings.clearance_m + coarse.voxel_m
    for solid in solids:
        low, high = solid.vertices.min(axis=0) - reach, solid.vertices.max(axis=0) + reach
        near = np.flatnonzero(np.all((mesh.vertices > low) & (mesh.vertices < high), axis=1))
        # What lies level with the object's foot is the support it stands on.
        near = near[mesh.vertices[near, 2] > low[2] + reach + 0.5 * coarse.voxel_m]
        if len(near):
            keep[near[_distance(solid, mesh.vertices[near]) < reach]] = False
    mesh = _with_faces(mesh, np.asarray(keep[mesh.faces].all(axis=1)))
    return None if len(mesh.faces) == 0 else _simplified(mesh, settings.max_faces)


def _distance(solid: Mesh, points: FloatArray) -> FloatArray:
    import open3d as o3d
    import open3d.core as o3c

    scene = o3d.t.geometry.RaycastingScene(nthreads=1)
    scene.add_triangles(
        o3c.Tensor(solid.vertices.astype(np.float32)), o3c.Tensor(np.ascontiguousarray(solid.faces.astype(np.uint32)))
    )
    return np.asarray(scene.compute_signed_distance(o3c.Tensor(points.astype(np.float32))).numpy(), dtype=np.float64)


def _with_faces(mesh: Mesh, keep: npt.NDArray[np.bool_]) -> Mesh:
    faces = mesh.faces[keep]
    used = np.unique(faces)
    new = np.full(len(mesh.vertices), -1, dtype=np.int64)
    new[used] = np.arange(len(used))
    colors = None if mesh.colors is None else mesh.colors[used]
    return replace(mesh, vertices=mesh.vertices[used], faces=new[faces], colors=colors)


def _simplified(mesh: Mesh, max_faces: int) -> Mesh:
    import fast_simplification
    from scipy.spatial import cKDTree

    if len(mesh.faces) <= max_faces:
        return mesh
    vertices, faces = fast_simplification.simplify(
        mesh.vertices.astype(np.float32), mesh.faces.astype(np.int32), target_count=max_faces
    )
    vertices = np.asarray(vertices, dtype=np.float64)
    colors = None
    if mesh.colors is not None:
        colors = mesh.colors[cKDTree(mesh.vertices).query(vertices)[1]]
    return Mesh(vertices, np.asarray(faces, dtype=np.int64), colors=colors)


def support_outlines(
    placement: Placement, benches: Sequence[tuple[HeightMap, Ground]], lift: FloatArray
) -> tuple[Support, ...]:
    """The supports: each bench's levels in order (the main one first), then other level surfaces such as the floor."""
    supports: list[Support] = []
    for heights, ground in benches:
        for level, height in enumerate(ground.nominal_m):
            cells = np.argwhere(ground.level == level)
            if len(cells) < 3:
                continue
            xy = np.asarray(heights.origin + heights.cell_m * cells, dtype=np.float64)
            supports.append(_support(len(supports), xy, height + lift[2, 3]))
    known = [support.polygon[:, 2].mean() for support in supports]
    for patch in placement.patches:
        height = patch.height_m + lift[2, 3]
        if patch.area_m2 > 0.25 and all(abs(height - other) > 0.05 for other in known):
            xy = np.asarray((patch.cells + 0.5) * CELL_M, dtype=np.float64)
            supports.append(_support(len(supports), xy, height))
            known.append(height)
    return tuple(_named(supports))


def _support(number: int, xy: FloatArray, height: float) -> Support:
    import cv2

    hull = cv2.convexHull(xy.astype(np.float32).reshape(-1, 1, 2), clockwise=False)[:, 0].astype(np.float64)
    area = 0.5 * float(np.sum(hull[:, 0] * np.roll(hull[:, 1], -1) - np.roll(hull[:, 0], -1) * hull[:, 1]))
    if area < 0:
        hull = hull[::-1]
    polygon = np.column_stack([hull, np.full(len(hull), height)])
    return Support(f"support_{number}", np.array([0.0, 0.0, 1.0, -height]), polygon)


def _named(supports: list[Support]) -> list[Support]:
    """``table`` for the main support, ``floor`` for the lowest far below it, ``shelf_n`` above, ``level_n`` else."""
    names: list[str] = []
    heights = [float(support.polygon[0, 2]) for support in supports]
    for number, height in enumerate(heights):
        if number == 0:
            names.append("table")
        elif height == min(heights) and height < -0.3:
            names.append("floor")
        elif height > 0.1:
            names.append(f"shelf_{number}")
        else:
            names.append(f"level_{number}")
    return [replace(support, name=name) for support, name in zip(supports, names, strict=True)]
