"""From what was seen of an object to a closed solid: hidden backs, the bottom on the support, open cavities kept.

The measured part of the surface becomes oriented points; screened Poisson reconstruction (Kazhdan & Hoppe 2013)
extends it smoothly into what nobody saw; free space that the phone looked through stays free, the support closes the
bottom, and the neighbours keep what is theirs. Where the phone measured, the measurement stands.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from reconstruction.capture import FloatArray
from reconstruction.mesh import Mesh
from reconstruction.refusion import Grid, Measured
from reconstruction.symmetry import SymmetrySettings, turned, upright_axis
from reconstruction.vessels import VesselSettings, opened_cavity, thinned_shell

BoolGrid3 = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class CompletionSettings:
    """How unseen surface is made up."""

    foot_m: float = 0.006
    """Points lower than this (m) over the support are not trusted: depth cameras smear the foot into the table."""
    guess_margin_m: float = 0.004
    """A guessed surface keeps this far (m) inside the limit for measured ones, about where the top view ends."""
    foot_width_m: float = 0.016
    """Breadth (m) of the strip along an object's outline where that smearing happens."""
    inflate_m: float = 0.0004
    """All measured surface is moved out by this much (m): depth cameras smooth, which shrinks convex things by up to a
    millimetre and eats thin walls."""
    thin_m: float = 0.017
    """A narrow valley of distances up to this wide (m) between free space on both sides is a thin wall or bar …"""
    thin_share: float = 0.38
    """… where it goes down to this share of the free space beside it: many of a phone's views miss a rim."""
    poisson_depth: int = 7
    """Octree depth of the Poisson solve: 7 resolves 1/128 of the object's size."""
    smoothing_steps: int = 5
    """How often the surface is smoothed (Taubin): more rounds edges, none leaves the noise of the last measurement."""
    simplify_m: float = 0.0004
    """Triangles are merged as long as the surface moves less than this (m) …"""
    max_faces: int = 6000
    """… or by more where it takes that to have at most so many."""
    vessel: VesselSettings = field(default_factory=VesselSettings)
    """What is an open container, and how its unseen inside and underside are made up."""
    symmetry: SymmetrySettings = field(default_factory=SymmetrySettings)
    """When one side of an object speaks for the other."""


@dataclass(frozen=True)
class Ceiling:
    """Columns of an object's grid in which something stands on it.

    Attributes:
        covered: ``(X, Y)`` bool columns under that thing.
        limited: ``(X, Y)`` bool columns in which nothing above `top_m` is the object's own; includes `covered`.
        top_m: z of the object's own top there.
    """

    covered: npt.NDArray[np.bool_]
    limited: npt.NDArray[np.bool_]
    top_m: float


def complete(
    measured: Measured,
    outside_m: Grid,
    base_m: float,
    settings: CompletionSettings,
    ceiling: Ceiling | None = None,
    top_m: float = np.inf,
) -> tuple[Mesh, BoolGrid3] | None:
    """The closed solid of one object and where its surface was measured, or None where nothing solid is left.

    Args:
        measured: its grid.
        outside_m: ``(X, Y)`` signed distance to the object's own cells from above, positive outside.
        base_m: z of what it stands on.
        settings: see there.
        ceiling: what stands on the object, or None.
        top_m: z above which nothing thin is looked for, see `refusion.highest_hits`.
    """
    rim = outside_m > -settings.foot_width_m
    floor = np.where(rim, np.float32(base_m + settings.foot_m), np.float32(base_m + 0.5 * settings.foot_m))
    points, normals = surface_points(measured, outside_m, floor)
    if ceiling is not None:
        points, normals = _below(points, normals, ceiling, measured)
    seen_known = measured.known
    axis = upright_axis(points, normals, settings.symmetry)
    if axis is not None:
        measured = turned(measured, outside_m < settings.guess_margin_m, axis, settings.symmetry)
    measured = with_thin_walls(measured, top_m, settings)
    if axis is not None:
        points, normals = surface_points(measured, outside_m, floor)
        if ceiling is not None:
            points, normals = _below(points, normals, ceiling, measured)
    outer = outward(points, normals, outside_m, measured)
    points, normals = with_foot(points, normals, outer, base_m, settings)
    sdf = np.where(measured.known, measured.sdf_m, np.float32(np.nan))
    # Columns in which a guess is cut off anyhow are not asked.
    columns = outside_m < -settings.guess_margin_m + measured.voxel_m
    guess = _poisson_distance(points, normals, measured, columns, base_m, settings)
    if guess is None:
        guess = _column_fill(measured)
    z = (measured.origin[2] + measured.voxel_m * np.arange(sdf.shape[2])).astype(np.float32)
    # Near the support the smeared foot claims too much solid, but never too much free space.
    foot = (z[None, None, :] < floor[:, :, None]) & (measured.sdf_m < 0.001)
    untrusted = ~measured.known | foot
    # A guess stays under what was seen from above; only a measurement may stand out beyond it.
    guess = np.maximum(guess, outside_m[:, :, None] + np.float32(settings.guess_margin_m))
    guess = np.maximum(guess, hull_distance(points, base_m, measured))
    solid = np.where(untrusted, guess, measured.sdf_m - np.float32(settings.inflate_m))
    solid = np.maximum(solid, outside_m[:, :, None])
    solid = np.maximum(solid, (np.float32(base_m) - z)[None, None, :])
    if ceiling is not None:
        # Under what stands on it the object is solid up to its own top.
        covered = ceiling.covered[:, :, None] & (z[None, None, :] > base_m + settings.foot_m)
        solid = np.where(covered, np.minimum(solid, -np.float32(measured.voxel_m)), solid)
        above = (z - np.float32(ceiling.top_m))[None, None, :]
        solid = np.where(ceiling.limited[:, :, None], np.maximum(solid, above), solid)
    base_above_origin = base_m - float(measured.origin[2])
    for carve in (opened_cavity, thinned_shell):
        solid = carve(solid.astype(np.float32), measured.known, base_above_origin, measured.voxel_m, settings.vessel)
    mesh = closed_mesh(solid.astype(np.float32), measured, settings)
    return None if mesh is None else (mesh, seen_known & ~untrusted)


def with_thin_walls(measured: Measured, top_m: float, settings: CompletionSettings) -> Measured:
    """`measured` with rims, handles and shafts below `top_m` solid that only some of the views hit.

    Views that pass a thin thing pull the mean distance in it above zero, but the valley stays: its floor is drawn down
    to just below zero where that takes no more than a share of the free space beside it.
    """
    from scipy import ndimage

    voxel = measured.voxel_m
    sdf = np.where(measured.known, measured.sdf_m, np.float32(-0.005))
    size = 2 * max(1, round(0.5 * settings.thin_m / voxel)) + 1
    beside = ndimage.grey_closing(sdf, size=(size, size, size))
    floor = ndimage.minimum_filter(sdf, size=3)
    lift = np.clip(floor + np.float32(0.001), 0.0, np.float32(settings.thin_share) * beside)
    lift *= np.clip(3.0 - 3.0 * floor / np.maximum(beside, 1e-4), 0.0, 1.0)  # free space is no valley
    drawn = sdf - lift
    # A rim that shows again above a gap of a few voxels is one wall with what shows below.
    drawn = np.minimum(drawn, ndimage.grey_opening(drawn, size=(1, 1, 2 * max(1, round(0.005 / voxel)) + 1)))
    z = measured.origin[2] + voxel * np.arange(sdf.shape[2])
    valley = measured.known & (beside > 0.0025) & (z < top_m)
    return replace(measured, sdf_m=np.where(valley, drawn, measured.sdf_m).astype(np.float32))


def surface_points(measured: Measured, outside_m: Grid, floor_m: Grid) -> tuple[FloatArray, FloatArray]:
    """Oriented points ``(N, 3)`` and normals ``(N, 3)`` on the measured surface within the object's cells.

    `floor_m` ``(X, Y)`` is the height from which a column's measurements are trusted.
    """
    sdf, known = measured.sdf_m, measured.known
    gradient = np.stack(list(np.gradient(_blurred(sdf), measured.voxel_m)), axis=-1)
    points, normals = [], []
    allowed = outside_m < 0.004
    for axis in range(3):
        low = tuple(slice(0, -1) if a == axis else slice(None) for a in range(3))
        high = tuple(slice(1, None) if a == axis else slice(None) for a in range(3))
        a, b = sdf[low], sdf[high]
        crossing = known[low] & known[high] & ((a > 0) != (b > 0)) & (np.abs(a - b) < 0.75 * 0.02)
        crossing &= allowed[low[:2]][..., None] if axis == 2 else (allowed[low[:2]] & allowed[high[:2]])[..., None]
        index = np.argwhere(crossing).astype(np.float64)
        va, vb = a[crossing].astype(np.float64), b[crossing].astype(np.float64)
        share = va / (va - vb)
        normal = gradient[low][crossing] * (1 - share)[:, None] + gradient[high][crossing] * share[:, None]
        high_enough = (
            measured.origin[2] + measured.voxel_m * index[:, 2]
            > floor_m[index[:, 0].astype(int), index[:, 1].astype(int)]
        )
        index[:, axis] += share
        index, normal = index[high_enough], normal[high_enough]
        points.append(measured.origin + measured.voxel_m * index)
        normals.append(normal)
    all_points, all_normals = np.concatenate(points), np.concatenate(normals).astype(np.float64)
    length = np.linalg.norm(all_normals, axis=1)
    keep = length > 0.2
    return all_points[keep], all_normals[keep] / length[keep, None]


def hull_distance(points: FloatArray, base_m: float, measured: Measured) -> Grid:
    """``(X, Y, Z)`` distance beyond the convex hull of the seen points and their shadow on the support (m, a bound)."""
    from scipy.spatial import ConvexHull, QhullError

    shadow = points * np.array([1.0, 1.0, 0.0]) + np.array([0.0, 0.0, base_m])
    try:
        planes = ConvexHull(np.vstack([points, shadow])).equations.astype(np.float32)
    except (QhullError, ValueError):
        return np.zeros(measured.sdf_m.shape, dtype=np.float32)
    axes = [
        (measured.origin[a] + measured.voxel_m * np.arange(n)).astype(np.float32)
        for a, n in enumerate(measured.sdf_m.shape)
    ]
    result = np.full(measured.sdf_m.shape, -1.0, dtype=np.float32)
    # Neighbouring hull facets are all but parallel: one of a direction is enough.
    _, first = np.unique(np.round(planes[:, :3], 1), axis=0, return_index=True)
    for a, b, c, d in planes[first]:
        np.maximum(
            result,
            (a * axes[0] + d)[:, None, None] + (b * axes[1])[None, :, None] + (c * axes[2])[None, None, :],
            out=result,
        )
    return result


def _below(
    points: FloatArray, normals: FloatArray, ceiling: Ceiling, measured: Measured
) -> tuple[FloatArray, FloatArray]:
    """The points that are not of what stands on the object."""
    column = np.round((points[:, :2] - measured.origin[:2]) / measured.voxel_m).astype(int)
    column = np.clip(column, 0, np.array(ceiling.limited.shape) - 1)
    keep = (points[:, 2] < ceiling.top_m) | ~ceiling.limited[column[:, 0], column[:, 1]]
    return points[keep], normals[keep]


def outward(points: FloatArray, normals: FloatArray, outside_m: Grid, measured: Measured) -> npt.NDArray[np.bool_]:
    """``(N,)`` whether points face away from the object's middle: outer flanks, not the inside of a vessel."""
    slope = np.stack(list(np.gradient(outside_m, measured.voxel_m)), axis=-1)
    column = np.round((points[:, :2] - measured.origin[:2]) / measured.voxel_m).astype(int)
    column = np.clip(column, 0, np.array(outside_m.shape) - 1)
    return np.asarray(np.einsum("ij,ij->i", normals[:, :2], slope[column[:, 0], column[:, 1]]) > 0)


def with_foot(
    points: FloatArray,
    normals: FloatArray,
    outer: npt.NDArray[np.bool_],
    base_m: float,
    settings: CompletionSettings,
) -> tuple[FloatArray, FloatArray]:
    """The points and, for `outer` flanks near the support, their continuation down through it.

    Poisson surfaces flare where their samples end. Flanks are continued along their own slope (undersides inwards,
    flaring ones straight down) to a centimetre below the support, where the solid is cut.
    """
    low = outer & (points[:, 2] < base_m + 2.0 * settings.foot_m) & (np.abs(normals[:, 2]) < 0.8)
    start, normal = points[low], normals[low].copy()
    normal[:, 2] = np.minimum(normal[:, 2], 0.0)
    level = np.linalg.norm(normal[:, :2], axis=1, keepdims=True)
    normal = np.where(level > 0.3, normal / np.linalg.norm(normal, axis=1, keepdims=True), normal)
    # Along the slope, going down by 1 moves by normal_z / |normal_xy| against the level part of the normal.
    run = normal[:, :2] / np.maximum(level, 0.3) * (normal[:, 2:] / np.maximum(level, 0.3))
    added_points, added_normals = [points], [normals]
    for drop in np.arange(0.002, 2.0 * settings.foot_m + 0.010, 0.002):
        moved = start.copy()
        moved[:, 2] -= drop
        moved[:, :2] += run * drop
        added_points.append(moved)
        added_normals.append(normal)
    return np.concatenate(added_points), np.concatenate(added_normals)


def _blurred(sdf: Grid) -> Grid:
    from scipy import ndimage

    return np.asarray(ndimage.gaussian_filter(sdf, 1.0), dtype=np.float32)


def _poisson_distance(
    points: FloatArray,
    normals: FloatArray,
    measured: Measured,
    columns: npt.NDArray[np.bool_],
    base_m: float,
    settings: CompletionSettings,
) -> Grid | None:
    """Signed distance ``(X, Y, Z)`` to the Poisson surface of the points, positive outside; None if there is none.

    Only `columns` ``(X, Y)`` are asked; elsewhere all is outside.
    """
    import open3d as o3d
    import open3d.core as o3c

    if len(points) < 60:
        return None
    cloud = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(points))
    cloud.normals = o3d.utility.Vector3dVector(normals)
    # One thread: Poisson's sums depend on the order in which threads add.
    surface, _ = o3d.geometry.TriangleMesh.create_from_point_cloud_poisson(
        cloud, depth=settings.poisson_depth, scale=1.3, linear_fit=False, n_threads=1
    )
    if len(surface.triangles) == 0:
        return None
    scene = o3d.t.geometry.RaycastingScene(nthreads=1)
    scene.add_triangles(o3d.t.geometry.TriangleMesh.from_legacy(surface))
    axes = [measured.origin[a] + measured.voxel_m * np.arange(n) for a, n in enumerate(measured.sdf_m.shape)]
    queries = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).astype(np.float32)
    near = (~measured.known | (queries[..., 2] < base_m + 2 * settings.foot_m)) & columns[:, :, None]
    result = np.full(measured.sdf_m.shape, measured.voxel_m * 3, dtype=np.float32)
    asked = np.ascontiguousarray(queries[near])
    result[near] = scene.compute_signed_distance(o3c.Tensor(asked), nthreads=1, nsamples=1).numpy()
    return np.clip(result, -0.02, 0.02)


def _column_fill(measured: Measured) -> Grid:
    inside = measured.known & (measured.sdf_m < 0)
    below = np.flip(np.maximum.accumulate(np.flip(inside, axis=2), axis=2), axis=2)
    return np.where(below, -measured.voxel_m, measured.voxel_m).astype(np.float32)


def closed_mesh(solid: Grid, measured: Measured, settings: CompletionSettings) -> Mesh | None:
    """Marching cubes of the largest piece of `solid` < 0, watertight, simplified; None where nothing is left."""
    from scipy import ndimage

    solid = np.pad(solid, 1, constant_values=np.float32(0.01))
    labels, count = ndimage.label(solid < 0)
    if count == 0:
        return None
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    solid = np.where((labels > 0) & (labels != int(np.argmax(sizes))), np.float32(measured.voxel_m), solid)
    # Cavities that nothing connects with the outside are noise.
    air, _ = ndimage.label(solid >= 0)
    solid = np.where((solid >= 0) & (air != air[0, 0, 0]), np.float32(-measured.voxel_m), solid)
    origin = measured.origin - measured.voxel_m
    return _isosurface(solid.astype(np.float32), origin, measured.voxel_m, settings)


def _isosurface(solid: Grid, origin: FloatArray, voxel: float, settings: CompletionSettings) -> Mesh | None:
    import manifold3d
    import open3d as o3d
    import open3d.core as o3c

    # Open3D's volumes are indexed [z, y, x]; its isosurfaces face the growing values.
    # Values of exactly zero put several vertices on one grid point.
    solid = np.where(np.abs(solid) < 2e-5, np.float32(2e-5), solid)
    volume = o3c.Tensor(np.ascontiguousarray(solid.transpose(2, 1, 0)))
    surface = o3d.t.geometry.TriangleMesh.create_isosurfaces(volume, [0.0])
    vertices = surface.vertex.positions.numpy().astype(np.float64) * voxel + origin
    faces = surface.triangle.indices.numpy().astype(np.int64)
    if len(faces) == 0:
        return None
    vertices = _smoothed(vertices, faces, settings.smoothing_steps)
    body = manifold3d.Manifold(manifold3d.Mesh64(vertices, faces.astype(np.uint64)))
    if body.volume() < 0:
        body = manifold3d.Manifold(manifold3d.Mesh64(vertices, faces[:, ::-1].astype(np.uint64)))
    if body.status() != manifold3d.Error.NoError:
        return Mesh(vertices, faces)
    body = max(body.decompose(), key=lambda piece: piece.volume())
    tolerance = settings.simplify_m
    simple = body.simplify(tolerance)
    while simple.num_tri() > settings.max_faces and tolerance < 0.004:
        tolerance *= 1.4
        simple = body.simplify(tolerance)
    body = simple
    result = body.to_mesh64()
    points = np.asarray(result.vert_properties)[:, :3].astype(np.float64)
    triangles = np.asarray(result.tri_verts, dtype=np.int64)
    return Mesh(_apart(points, triangles), triangles)


def _smoothed(vertices: FloatArray, faces: npt.NDArray[np.int64], steps: int) -> FloatArray:
    """Noise of the size of a voxel taken out without shrinking (Taubin, "A signal processing approach to fair surface
    design", 1995).
    """
    import trimesh

    mesh = trimesh.Trimesh(vertices, faces, process=False)
    smooth = trimesh.smoothing.filter_taubin(mesh, lamb=0.5, nu=0.53, iterations=2 * steps)
    return np.asarray(smooth.vertices, dtype=np.float64)


def _apart(vertices: FloatArray, faces: npt.NDArray[np.int64]) -> FloatArray:
    """`vertices` with those that coincide (where two sheets touch) drawn 20 µm into the solid, one after another.

    Readers that merge vertices by position would otherwise weld the sheets into edges of four faces.
    """
    _, inverse = np.unique(np.round(vertices, 6), axis=0, return_inverse=True)
    inverse = inverse.ravel()
    order = np.argsort(inverse, kind="stable")
    starts = np.flatnonzero(np.diff(inverse[order], prepend=-1))
    rank = np.empty(len(vertices), dtype=np.int64)
    rank[order] = np.arange(len(vertices)) - np.repeat(starts, np.diff(np.append(starts, len(vertices))))
    double = np.flatnonzero(rank)
    if len(double) == 0:
        return vertices
    corners = vertices[faces]
    normal = np.zeros_like(vertices)
    np.add.at(
        normal,
        faces.ravel(),
        np.repeat(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), 3, axis=0),
    )
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    result = vertices.copy()
    normal[np.linalg.norm(normal, axis=1) < 0.5] = (0.0, 0.0, -1.0)
    result[double] -= 2e-5 * rank[double, None] * normal[double]
    return result
