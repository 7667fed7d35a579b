"""Colour objects from the views of a scan: which texel is seen where, the best views blended, the rest filled in.

Every view is read once. Each texel keeps the samples of its few best views (frontal, near, sharp, away from the image
border and from depth edges, where a pose error of some millimetres would paint one thing onto another). Then the
exposure of the views is evened out by least squares over texels that several views saw (Brown & Lowe, "Automatic
Panoramic Image Stitching using Invariant Features", 2007, section 6), outliers are dropped, the rest is blended, and
what light and shadow did to things is taken out (`reconstruction.shading`). Texels that no view saw get the smoothest
continuation of the colours round them over the surface.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from reconstruction.atlas import Atlas, unwrap
from reconstruction.mesh import Mesh
from reconstruction.progress import Progress, silent
from reconstruction.shading import brightened, exposure, hues, light_of

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]
ByteImage = npt.NDArray[np.uint8]
IntArray = npt.NDArray[np.int64]
PointTest = Callable[[Float32Array], npt.NDArray[np.bool_]]
_LIT_POINTS = 2000
"""So many points of each thing tell how it is lit."""
_NEUTRAL = 160  # grey of surfaces without any colour


@dataclass(frozen=True)
class TextureView:
    """A colour image with its pose; the image is read when its turn comes and dropped afterwards.

    Attributes:
        read_rgb: returns ``(H, W, 3)`` uint8 RGB, or None.
        size: ``(width, height)`` of that image.
        intrinsics: ``(3, 3)`` for `size`.
        scene_from_camera: ``(4, 4)`` rigid; "scene" is the frame of the meshes.
        sharpness: relative, greater is sharper; only ratios between views count.
    """

    read_rgb: Callable[[], ByteImage | None] = field(repr=False)
    size: tuple[int, int]
    intrinsics: FloatArray
    scene_from_camera: FloatArray
    sharpness: float = 1.0


@dataclass(frozen=True)
class TextureSettings:
    """How objects are coloured."""

    max_size: int = 1024
    """Largest width and height of an object's texture in texels."""
    texels_per_pixel: float = 1.0
    """Texels for a pixel of the nearest views; more keeps finer detail and makes bigger files."""
    blended_views: int = 3
    """Views that share a texel; fewer is sharper, more is smoother."""
    unlit: bool = True
    """Take out of the colours of things what light and shadow did to them: the simulation lights them anew."""
    max_faces: int = 12000
    """Meshes with more faces get colours at their vertices only: unwrapping takes too long."""


@dataclass
class _Samples:
    """The best samples so far of N surface points: colours, weights and views, ``K`` of each; weight 0 is none."""

    colors: npt.NDArray[np.uint8]
    weights: Float32Array
    views: npt.NDArray[np.int16]

    @staticmethod
    def empty(count: int, kept: int) -> _Samples:
        return _Samples(
            np.zeros((count, kept, 3), dtype=np.uint8),
            np.zeros((count, kept), dtype=np.float32),
            np.full((count, kept), -1, dtype=np.int16),
        )

    def offer(self, points: IntArray, colors: ByteImage, weights: Float32Array, view: int) -> None:
        """Keep each sample that is better than the worst one kept for its point."""
        worst = self.weights[points].argmin(axis=1)
        better = weights > self.weights[points, worst]
        where = (points[better], worst[better])
        self.colors[where], self.weights[where], self.views[where] = colors[better], weights[better], view


def texture_meshes(
    meshes: Sequence[Mesh],
    views: Sequence[TextureView],
    settings: TextureSettings | None = None,
    progress: Progress = silent,
    occluders: Sequence[Mesh] = (),
    doubtful: Sequence[PointTest | None] = (),
) -> list[Mesh]:
    """Colour several objects in one pass over the views.

    Args:
        meshes: all in the frame that the views' poses lead to. They hide one another.
        views: see `TextureView`. Best some 20 to 60, from all round.
        settings: see `TextureSettings`.
        progress: called after every view.
        occluders: other surfaces of the same frame that may stand in front (background, supports).
        doubtful: for each mesh a test of which points the views are not believed at, or None: a support under and near
            what stands on it, for colour and depth of a phone part by some pixels.

    Returns:
        The same vertices and faces, with `texture`, `corner_uv` and vertex `colors`; only neutral `colors` where no
        view shows the object.
    """
    settings = settings or TextureSettings()
    if not meshes:
        return []
    if not views:
        return [_neutral(mesh) for mesh in meshes]
    progress(0.0, "laying out textures")
    targets = [_target(mesh, views, settings) for mesh in meshes]
    raycaster = _raycaster([*meshes, *occluders])
    samples = _collect(meshes, targets, views, raycaster, settings, progress)
    gains = _exposure_gains(samples, len(views))
    colors, seen = _blend(samples, gains, settings.blended_views)
    if settings.unlit:
        things = [number for number in range(len(meshes)) if number >= len(doubtful) or doubtful[number] is None]
        colors = _unlit(meshes, targets, things, colors, seen, raycaster)
    results, start = [], 0
    for mesh, target, test in itertools.zip_longest(meshes, targets, doubtful[: len(meshes)]):
        end = start + len(target.faces)
        believed = seen[start:end] if test is None else seen[start:end] & ~test(target.positions)
        results.append(_painted(mesh, target, colors[start:end], believed))
        start = end
    progress(1.0, "textured")
    return results


def _neutral(mesh: Mesh) -> Mesh:
    colors = np.full((len(mesh.vertices), 3), _NEUTRAL, dtype=np.uint8)
    return Mesh(mesh.vertices, mesh.faces, colors=colors, seen=mesh.seen)


# --- what is coloured ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Target:
    """Surface points of one object: ``(N, 3)`` positions and normals, and the faces and weights they come from."""

    atlas: Atlas | None
    faces: IntArray
    barycentric: Float32Array
    positions: Float32Array
    normals: Float32Array

    def mixed(self, values: npt.NDArray[Any], mesh: Mesh, points: IntArray) -> npt.NDArray[Any]:
        """``(M, k)`` at some points, of values ``(V, k)`` at the mesh's vertices."""
        return np.asarray((values[mesh.faces[self.faces[points]]] * self.barycentric[points, :, None]).sum(axis=1))


def _vertex_normals(mesh: Mesh) -> FloatArray:
    """``(V, 3)`` unit normals, larger faces counting more."""
    corners = mesh.vertices[mesh.faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    smooth = np.zeros_like(mesh.vertices)
    for axis in range(3):
        smooth[:, axis] = np.bincount(mesh.faces.ravel(), np.repeat(normals[:, axis], 3), minlength=len(mesh.vertices))
    return np.asarray(smooth / np.maximum(np.linalg.norm(smooth, axis=1, keepdims=True), 1e-18))


def _target(mesh: Mesh, views: Sequence[TextureView], settings: TextureSettings) -> _Target:
    atlas = None
    if len(mesh.faces) <= settings.max_faces:
        atlas = unwrap(mesh, _texel_size(mesh, views) / settings.texels_per_pixel, settings.max_size)
    if atlas is not None:
        faces, barycentric = atlas.faces, atlas.barycentric
    else:
        # One point at each vertex: the first face corner that is it.
        _, first = np.unique(mesh.faces.ravel(), return_index=True)
        faces, barycentric = first // 3, np.eye(3, dtype=np.float32)[first % 3]
    weights = barycentric[:, :, None]
    positions = (mesh.vertices[mesh.faces[faces]] * weights).sum(axis=1)
    # Normals of vertices, interpolated: a face of a noisy mesh says little about how a texel faces the camera.
    mixed = (_vertex_normals(mesh)[mesh.faces[faces]] * weights).sum(axis=1)
    mixed /= np.maximum(np.linalg.norm(mixed, axis=1, keepdims=True), 1e-18)
    return _Target(atlas, faces, barycentric, positions.astype(np.float32), mixed.astype(np.float32))


@dataclass(frozen=True)
class _Surface:
    """The points of all objects together: ``(3, N)`` positions and normals (rows are quick to work on), the face of
    each; and ``(F, 3)`` centres and unit normals of all faces.
    """

    positions: Float32Array
    normals: Float32Array
    faces: IntArray
    face_centers: Float32Array
    face_normals: Float32Array


def _joined(meshes: Sequence[Mesh], targets: Sequence[_Target]) -> _Surface:
    corners = np.concatenate([mesh.vertices[mesh.faces] for mesh in meshes])
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-18)
    starts = np.cumsum([0, *(len(mesh.faces) for mesh in meshes)])
    return _Surface(
        np.ascontiguousarray(np.concatenate([target.positions for target in targets]).T),
        np.ascontiguousarray(np.concatenate([target.normals for target in targets]).T),
        np.concatenate([target.faces + start for target, start in zip(targets, starts[:-1], strict=True)]),
        corners.mean(axis=1).astype(np.float32),
        normals.astype(np.float32),
    )


def _texel_size(mesh: Mesh, views: Sequence[TextureView]) -> float:
    """Metres that a pixel of the nearer quarter of the views spans on the object."""
    center = 0.5 * (mesh.vertices.min(axis=0) + mesh.vertices.max(axis=0)) if len(mesh.vertices) else np.zeros(3)
    spans = [
        max(float(np.linalg.norm(view.scene_from_camera[:3, 3] - center)), 0.05) / float(view.intrinsics[0, 0])
        for view in views
    ]
    return float(np.quantile(spans, 0.25))


# --- views -----------------------------------------------------------------------------------------------------------


def _raycaster(meshes: Sequence[Mesh]) -> Any:
    import open3d as o3d

    scene = o3d.t.geometry.RaycastingScene()
    for mesh in meshes:
        if len(mesh.faces):
            scene.add_triangles(
                np.ascontiguousarray(mesh.vertices, dtype=np.float32), np.ascontiguousarray(mesh.faces, dtype=np.uint32)
            )
    return scene


def _images(views: Sequence[TextureView]) -> Iterator[ByteImage | None]:
    """The views' images in order; the next one is read while the last is worked on."""
    with ThreadPoolExecutor(1) as reader:
        waiting = reader.submit(views[0].read_rgb)
        for following in [*views[1:], None]:
            image = waiting.result()
            if following is not None:
                waiting = reader.submit(following.read_rgb)
            yield image


def _collect(
    meshes: Sequence[Mesh],
    targets: Sequence[_Target],
    views: Sequence[TextureView],
    raycaster: Any,
    settings: TextureSettings,
    progress: Progress,
) -> _Samples:
    surface = _joined(meshes, targets)
    samples = _Samples.empty(len(surface.faces), settings.blended_views + 2)
    sharpest = max(max(view.sharpness for view in views), 1e-9)
    for number, (view, image) in enumerate(zip(views, _images(views), strict=True)):
        if image is not None:
            _sample_view(samples, surface, view, number, image, raycaster, sharpest)
        progress(0.1 + 0.75 * (number + 1) / len(views), f"colour from view {number + 1} of {len(views)}")
    return samples


def _sample_view(
    samples: _Samples,
    surface: _Surface,
    view: TextureView,
    number: int,
    image: ByteImage,
    raycaster: Any,
    sharpest: float,
) -> None:
    """Offer every visible point its colour in one view."""
    points, x, y, z, cosine = _facing_points(surface, view)
    if not len(points):
        return
    depth, clearance, scale = _depth_and_clearance(view, raycaster)
    focal = np.float32(view.intrinsics[0, 0])
    nearest = _pixels(x, y, scale, depth.shape)
    # A texel may lie behind the depth pixel's centre by what the surface falls away within two pixels.
    slack = 0.003 + 1.5 / (focal * np.float32(scale)) * z / cosine
    room = clearance[nearest]
    visible = np.flatnonzero((z <= depth[nearest] + slack) & (room > 1.0))
    if not len(visible):
        return
    x, y, z, cosine = x[visible], y[visible], z[visible], cosine[visible]
    width, height = view.size
    border = np.minimum(np.minimum(x, width - 1 - x), np.minimum(y, height - 1 - y))
    safe = np.minimum(room[visible] / 8.0, 1.0) * np.minimum(border / (0.04 * width), 1.0)
    # Four times as many pixels are worth as much as facing the camera rather than at 60 degrees.
    weights = cosine**2 * (focal / width / z) * safe * (max(view.sharpness, 0.0) / sharpest + 1e-3)
    across, down = image.shape[1] / width, image.shape[0] / height
    colors = _lookup(image, (x + 0.5) * across - 0.5, (y + 0.5) * down - 0.5)
    samples.offer(points[visible], colors, weights.astype(np.float32), number)


def _facing_points(
    surface: _Surface, view: TextureView
) -> tuple[IntArray, Float32Array, Float32Array, Float32Array, Float32Array]:
    """Points inside a view's image that face it: indices, pixel x and y, depth z (m), cosine to the line of sight."""
    eye = view.scene_from_camera[:3, 3].astype(np.float32)
    towards = eye - surface.face_centers
    facing = np.einsum("fi,fi->f", towards, surface.face_normals) > -0.1 * np.linalg.norm(towards, axis=1)
    points = np.flatnonzero(facing[surface.faces])
    position = surface.positions[:, points]
    to_camera = eye[:, None] - position
    length = np.sqrt(_dots(to_camera, to_camera)).astype(np.float32)
    cosine = _dots(to_camera, surface.normals[:, points]) / length
    camera_from_scene = np.linalg.inv(view.scene_from_camera).astype(np.float32)
    local = camera_from_scene[:3, :3] @ position + camera_from_scene[:3, 3:]
    z = np.maximum(local[2], np.float32(1e-6))
    matrix = view.intrinsics.astype(np.float32)
    x = matrix[0, 0] * local[0] / z + matrix[0, 2]
    y = matrix[1, 1] * local[1] / z + matrix[1, 2]
    width, height = view.size
    inside = (x > 1.0) & (x < width - 2.0) & (y > 1.0) & (y < height - 2.0)
    chosen = np.flatnonzero((cosine > 0.15) & (z > 0.05) & inside)
    return points[chosen], x[chosen], y[chosen], z[chosen], cosine[chosen]


def _dots(a: Float32Array, b: Float32Array) -> Float32Array:
    """Scalar products ``(N,)`` of the columns of two ``(3, N)`` arrays."""
    return np.asarray(a[0] * b[0] + a[1] * b[1] + a[2] * b[2], dtype=np.float32)


def _pixels(x: Float32Array, y: Float32Array, scale: float, shape: tuple[int, ...]) -> tuple[IntArray, IntArray]:
    """Row and column of the nearest pixels in an image `scale` times the size."""
    column = np.rint((x + 0.5) * scale - 0.5).astype(np.int64)
    row = np.rint((y + 0.5) * scale - 0.5).astype(np.int64)
    return row.clip(0, shape[0] - 1), column.clip(0, shape[1] - 1)


def _lookup(image: ByteImage, x: FloatArray | Float32Array, y: FloatArray | Float32Array) -> ByteImage:
    """Bilinear colours ``(N, 3)`` of an image at N places."""
    import cv2

    # OpenCV takes maps of less than 32,768 columns.
    columns = 4096
    maps = []
    for places in (x, y):
        padded = np.zeros(-(-len(places) // columns) * columns, dtype=np.float32)
        padded[: len(places)] = places
        maps.append(padded.reshape(-1, columns))
    colors = cv2.remap(image, maps[0], maps[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(colors, dtype=np.uint8).reshape(-1, 3)[: len(x)]


def _depth_and_clearance(view: TextureView, raycaster: Any) -> tuple[Float32Array, Float32Array, float]:
    """What a view would see, at about 400 columns.

    Returns:
        Planar depth (m, inf where nothing is), the distance of each pixel (in such pixels) from the nearest depth edge,
        and the scale from the view's pixels to these.
    """
    import cv2

    width, height = view.size
    scale = min(1.0, 400.0 / max(width, height))
    columns, rows = max(2, round(width * scale)), max(2, round(height * scale))
    u, v = np.meshgrid(np.arange(columns), np.arange(rows))
    u = ((u + 0.5) / scale - 0.5 - view.intrinsics[0, 2]) / view.intrinsics[0, 0]
    v = ((v + 0.5) / scale - 0.5 - view.intrinsics[1, 2]) / view.intrinsics[1, 1]
    # Directions of planar depth one: the distance along the ray is the planar depth.
    rays = np.empty((rows, columns, 6), dtype=np.float32)
    rays[..., :3] = view.scene_from_camera[:3, 3]
    rays[..., 3:] = np.stack([u, v, np.ones_like(u)], axis=-1) @ view.scene_from_camera[:3, :3].T
    depth: Float32Array = raycaster.cast_rays(rays)["t_hit"].numpy()
    finite = np.minimum(depth, 100.0)
    kernel = np.ones((3, 3), dtype=np.uint8)
    # Only the far side of an edge is unsafe for the far surface and the near side for the near one: both are left out.
    step = cv2.dilate(finite, kernel) - cv2.erode(finite, kernel)
    smooth = (step < 0.015 + 0.02 * finite).astype(np.uint8)
    clearance: Float32Array = cv2.distanceTransform(smooth, cv2.DIST_L2, 3)
    return depth, clearance, scale


# --- blending --------------------------------------------------------------------------------------------------------


def _exposure_gains(samples: _Samples, views: int) -> FloatArray:
    """Factors ``(views, 3)`` that make the views agree where they show the same points.

    Minimises Σ (log cᵢ + gᵢ - log cⱼ - gⱼ)² + λ Σ g² over pairs of samples of a point, per colour channel.
    """
    step = max(1, len(samples.weights) // 60000)
    weights, ids = samples.weights[::step], samples.views[::step].astype(np.int64)
    levels = samples.colors[::step].astype(np.float64)
    usable = (weights > 0.0) & (levels.min(axis=2) > 12.0) & (levels.max(axis=2) < 243.0)
    logs = np.log(np.maximum(levels, 1.0))
    gains = np.ones((views, 3))
    kept = weights.shape[1]
    matrix, right = np.zeros((views, views)), np.zeros((views, 3))
    for first in range(kept):
        for second in range(first + 1, kept):
            both = usable[:, first] & usable[:, second]
            difference = logs[both, second] - logs[both, first]
            agree = np.abs(difference).max(axis=1, initial=0.0) < 0.5
            i, j, difference = ids[both, first][agree], ids[both, second][agree], difference[agree]
            matrix -= np.bincount(i * views + j, minlength=views * views).reshape(views, views)
            for channel in range(3):
                right[:, channel] += np.bincount(i, difference[:, channel], views)
                right[:, channel] -= np.bincount(j, difference[:, channel], views)
    matrix += matrix.T.copy()
    counts = -matrix.sum(axis=1)
    matrix[np.diag_indices(views)] = counts
    # λ keeps views that share few points with others as they are.
    matrix += np.eye(views) * (0.02 * max(float(counts.mean()), 1.0) + 1.0)
    gains = np.exp(np.linalg.solve(matrix, right))
    gains /= np.exp(np.average(np.log(gains), axis=0, weights=counts + 1e-9))
    return np.asarray(gains.clip(0.6, 1.7), dtype=np.float64)


def _blend(samples: _Samples, gains: FloatArray, count: int) -> tuple[Float32Array, npt.NDArray[np.bool_]]:
    """Colours ``(N, 3)`` in levels and whether any view showed the point."""
    order = np.argsort(-samples.weights, axis=1, kind="stable")
    weights = np.take_along_axis(samples.weights, order, axis=1)
    ids = np.take_along_axis(samples.views, order, axis=1)
    levels = np.take_along_axis(samples.colors, order[:, :, None], axis=1)
    colors = levels * gains[ids].astype(np.float32)
    seen = weights[:, 0] > 0.0
    weights = (weights / np.maximum(weights[:, :1], np.float32(1e-20))).astype(np.float32)
    # An outlier (a reflection, something unmodelled in front) stands out from the middle of at least three.
    present = weights > 0.0
    brightness = np.where(present, colors.mean(axis=2), np.nan)
    enough = present.sum(axis=1) >= 3
    middle = np.nanmedian(brightness[enough], axis=1) if enough.any() else np.zeros(0)
    apart = np.abs(brightness[enough] - middle[:, None])
    limit = np.maximum(18.0, 2.5 * np.nanmedian(apart, axis=1)) if enough.any() else np.zeros(0)
    weights[enough] = np.where(apart <= limit[:, None], weights[enough], 0.0)
    # Of what is left the best few share the point; the power keeps it sharp where one view is clearly best.
    rank = np.cumsum(weights > 0.0, axis=1)
    weights = np.where(rank <= count, weights, 0.0) ** 3
    total = np.maximum(weights.sum(axis=1), np.float32(1e-20))
    mixed = (colors * weights[:, :, None]).sum(axis=1) / total[:, None]
    return mixed.astype(np.float32), seen


# --- light ----------------------------------------------------------------------------------------------------------


def _unlit(
    meshes: Sequence[Mesh],
    targets: Sequence[_Target],
    things: Sequence[int],
    colors: Float32Array,
    seen: npt.NDArray[np.bool_],
    raycaster: Any,
) -> Float32Array:
    """Colours ``(N, 3)`` of all points, those of some `things` without what light and shadow did to them."""
    starts = np.cumsum([0, *(len(target.faces) for target in targets)])
    # Light changes little within a face: it is cast at the vertices.
    cast = {
        number: exposure(
            meshes[number].vertices.astype(np.float32), _vertex_normals(meshes[number]).astype(np.float32), raycaster
        )
        for number in things
    }
    points, owners, exposed = [], [], []
    for number in things:
        there = np.flatnonzero(seen[starts[number] : starts[number + 1]])
        some = there[:: max(1, len(there) // _LIT_POINTS)]
        points.append(starts[number] + some)
        owners.append(np.full(len(some), number))
        exposed.append(targets[number].mixed(cast[number], meshes[number], some))
    if not sum(map(len, points)):
        return colors
    chosen = colors[np.concatenate(points)]
    light = light_of(chosen, hues(chosen, np.concatenate(owners)), np.concatenate(exposed))
    colors = colors.copy()
    for number in things:
        rows = slice(starts[number], starts[number + 1])
        got = cast[number] @ light[:-1] + light[-1]
        at = targets[number].mixed(got[:, None], meshes[number], np.arange(len(targets[number].faces)))[:, 0]
        colors[rows] = brightened(colors[rows], at)
    return colors


# --- the picture -----------------------------------------------------------------------------------------------------


def _painted(mesh: Mesh, target: _Target, colors: Float32Array, seen: npt.NDArray[np.bool_]) -> Mesh:
    """The mesh with its texture, or with vertex colours where it was not unwrapped."""
    if not seen.any():
        return _neutral(mesh)
    vertex_colors = _vertex_colors(mesh, target, colors, seen)
    table = np.rint(vertex_colors.clip(0.0, 255.0)).astype(np.uint8)
    if target.atlas is None:
        return Mesh(mesh.vertices, mesh.faces, colors=table, seen=mesh.seen)
    hidden = np.flatnonzero(~seen)
    corners = vertex_colors[mesh.faces[target.faces[hidden]]]
    colors = colors.copy()
    colors[hidden] = (corners * target.barycentric[hidden, :, None]).sum(axis=1)
    width, height = target.atlas.size
    texture = np.zeros((height * width, 3), dtype=np.uint8)
    texture[target.atlas.texels] = np.rint(colors.clip(0.0, 255.0)).astype(np.uint8)
    covered = np.zeros(height * width, dtype=bool)
    covered[target.atlas.texels] = True
    picture = _padded(texture.reshape(height, width, 3), covered.reshape(height, width))
    return Mesh(mesh.vertices, mesh.faces, target.atlas.corner_uv, picture, table, mesh.seen)


def _vertex_colors(mesh: Mesh, target: _Target, colors: Float32Array, seen: npt.NDArray[np.bool_]) -> FloatArray:
    """Colours ``(V, 3)`` of the vertices from the texels round them, continued harmonically where none was seen."""
    faces = mesh.faces[target.faces[seen]].ravel()
    # The fourth power: a vertex takes its colour from the texels next to it, not from the whole face.
    weights = (target.barycentric[seen].astype(np.float64) ** 4).ravel()
    count = len(mesh.vertices)
    total = np.bincount(faces, weights, count)
    known = total > 1e-3
    values = np.zeros((count, 3))
    for channel in range(3):
        values[:, channel] = np.bincount(faces, weights * np.repeat(colors[seen, channel], 3), count)
    values[known] /= total[known, None]
    if known.all():
        return values
    average = values[known].mean(axis=0) if known.any() else np.full(3, float(_NEUTRAL))
    return _harmonic(mesh.faces, values, known, average)


def _harmonic(faces: IntArray, values: FloatArray, known: npt.NDArray[np.bool_], average: FloatArray) -> FloatArray:
    """Fill unknown rows of `values`: each is the mean of its neighbours, with a slight pull to `average`."""
    from scipy.sparse import coo_matrix, diags
    from scipy.sparse.linalg import spsolve

    count = len(values)
    rows = np.concatenate([faces[:, [0, 1, 2]].ravel(), faces[:, [1, 2, 0]].ravel()])
    columns = np.concatenate([faces[:, [1, 2, 0]].ravel(), faces[:, [0, 1, 2]].ravel()])
    links = coo_matrix((np.ones(len(rows)), (rows, columns)), shape=(count, count)).tocsr()
    degree = np.asarray(links.sum(axis=1)).ravel()
    pull = 1e-4
    unknown = np.flatnonzero(~known)
    matrix = (diags(degree + pull) - links)[unknown][:, unknown].tocsc()
    right = links[unknown][:, np.flatnonzero(known)] @ values[known] + pull * average
    filled = values.copy()
    filled[unknown] = spsolve(matrix, right).reshape(len(unknown), 3)
    return filled


def _padded(texture: ByteImage, covered: npt.NDArray[np.bool_]) -> ByteImage:
    """Give every texel between the charts the colour of the nearest chart, so that no lookup finds black."""
    from scipy.ndimage import distance_transform_edt

    nearest = distance_transform_edt(~covered, return_distances=False, return_indices=True)
    return np.asarray(texture[nearest[0], nearest[1]], dtype=np.uint8)
