"""What stays where it is: the coarse surface without the objects, with clean tabletops, and the supports' outlines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from reconstruction.atlas import baked, stack_textures
from reconstruction.capture import FloatArray
from reconstruction.fusion import Fusion
from reconstruction.heightmap import Ground, HeightMap
from reconstruction.mesh import Mesh
from reconstruction.scene import Support
from reconstruction.supports import CELL_M, Placement
from reconstruction.tabletop import Tabletop, TabletopSettings


@dataclass(frozen=True)
class BackgroundSettings:
    """How the background is kept."""

    min_weight: float = 2.0
    """Surface seen by fewer frames is left out."""
    max_faces: int = 60_000
    """Triangles kept; fewer loads faster, more shows more of the room."""
    clearance_m: float = 0.012
    """Surface nearer (m) than this to an object belongs to the object."""
    top_band_m: float = 0.02
    """Coarse surface this near (m) to a support is replaced by its clean top."""
    tabletop: TabletopSettings = field(default_factory=TabletopSettings)
    """How the tops of supports are made."""


Top = tuple[HeightMap, Ground, Tabletop]


def background_mesh(
    coarse: Fusion, solids: Sequence[Mesh], settings: BackgroundSettings, tops: Sequence[Top] = ()
) -> Mesh | None:
    """The coarse fused surface less the objects and less what `tops` replace, simplified; None where nothing is left.

    `solids` and `tops` are in the frame of `coarse`.
    """
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
    vertices = mesh.vertices.copy()
    for heights, ground, top in tops:
        covered, tucked = _under(top, heights, ground, vertices, coarse.voxel_m, settings)
        keep &= ~covered
        # What reaches in from the rim goes just below the clean top.
        vertices[tucked, 2] = top.mesh.vertices[0, 2] - 0.002
    mesh = _with_faces(replace(mesh, vertices=vertices), np.asarray(keep[mesh.faces].all(axis=1)))
    return None if len(mesh.faces) == 0 else _simplified(mesh, settings.max_faces)


def _under(
    top: Tabletop, heights: HeightMap, ground: Ground, vertices: FloatArray, voxel_m: float, s: BackgroundSettings
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Which vertices are the top's own surface, and which of them lie within a voxel of its outline."""
    from scipy import ndimage

    inner = ndimage.distance_transform_edt(np.pad(top.mask, 1))[1:-1, 1:-1] * heights.cell_m
    cell = np.round((vertices[:, :2] - heights.origin) / heights.cell_m).astype(np.int64)
    within = np.all((cell >= 0) & (cell < top.mask.shape), axis=1)
    cell = np.clip(cell, 0, np.array(top.mask.shape) - 1)
    depth = np.where(within, inner[cell[:, 0], cell[:, 1]], 0.0)
    level = np.abs(vertices[:, 2] - ground.height_m[cell[:, 0], cell[:, 1]]) < s.top_band_m
    return level & (depth > voxel_m), level & (depth > 0.0) & (depth <= voxel_m)


def with_tops(rest: Mesh | None, tops: Sequence[Mesh]) -> Mesh | None:
    """`rest` (colours at its vertices) and the textured `tops` as one mesh with one texture; None where all is empty.

    Without any colour the result has none.
    """
    parts = [mesh for mesh in ([] if rest is None else [rest]) + list(tops) if len(mesh.faces)]
    if not parts:
        return None
    starts = np.cumsum([0, *(len(mesh.vertices) for mesh in parts)])
    vertices = np.concatenate([mesh.vertices for mesh in parts])
    faces = np.concatenate([mesh.faces + start for mesh, start in zip(parts, starts, strict=False)])
    if all(mesh.colors is None and mesh.texture is None for mesh in parts):
        return Mesh(vertices, faces)
    painted = [mesh if mesh.texture is not None else baked(mesh) for mesh in parts]
    pictures = [mesh.texture for mesh in painted if mesh.texture is not None]
    boxes, texture = stack_textures(pictures)
    corner_uv = []
    for mesh, picture, (origin, extent) in zip(painted, pictures, boxes, strict=True):
        size = np.array(picture.shape[1::-1], dtype=np.float64)
        # The stack's places run between the middles of texels, a mesh's own coordinates between their edges.
        own = (np.asarray(mesh.corner_uv, dtype=np.float64) * size - 0.5) / np.maximum(size - 1.0, 1.0)
        corner_uv.append(origin + own * extent)
    return Mesh(vertices, faces, np.concatenate(corner_uv).astype(np.float32), texture)


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
