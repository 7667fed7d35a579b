"""Thin parts that depth misses, found in colour: the shaft of a screwdriver, the handle of a spoon.

A phone's depth is smoothed over a centimetre, so that a shaft 7 mm thick is no more than a faint bump; its pictures
show it sharply. Every picture is laid onto the plane of the support. There the support, its patterns and the shadows on
it look the same in all pictures, and their median shows it bare; what stands over it lies elsewhere in each of them.
So a picture's difference from the median is a silhouette of what stands over the support (Piccardi, "Background
subtraction techniques", 2004), and a plane sweep over heights (Collins, "A space-sweep approach to true multi-image
matching", 1996) finds the places over it that lie in the silhouette in all directions from which they were seen:
their visual hull (Laurentini, 1994).

A part is believed only where it is narrow, long, goes away from one known thing that it touches, and stands clear of
the support. What lies on the support, flat or as shadow, cancels; what is mirrored in it shows below it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from reconstruction.capture import FloatArray
from reconstruction.heightmap import FloatGrid, Ground, HeightMap
from reconstruction.mesh import Mesh
from reconstruction.objects import Shape
from reconstruction.progress import Progress, silent
from reconstruction.texture import TextureView

ByteStack = npt.NDArray[np.uint8]
BoolStack = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class ThinPartSettings:
    """How thin parts are looked for in colour."""

    find: bool = True
    """Look for shafts and handles that depth misses."""
    reach_m: float = 0.15
    """They reach at most this far (m) from the rest of the thing."""
    cell_m: float = 0.0015
    """Resolution (m) on the support …"""
    max_cells: int = 600_000
    """… which gets coarser where that takes more cells than this."""
    step_m: float = 0.003
    """Step (m) between heights that are tried …"""
    top_m: float = 0.033
    """… up to this one (m) over the support."""
    contrast: float = 14.0
    """A picture differs from the support by at least this much (of 255) …"""
    noise_ratio: float = 3.0
    """… and by this many times as much as it usually does there."""
    min_views: int = 8
    """At least so many pictures show a place without a thing in front of it …"""
    min_spread: float = 0.1
    """… from various directions: the lesser variance of their level unit vectors is at least this."""
    agreement: float = 0.75
    """In this share of them it differs from the support."""
    gap_m: float = 0.008
    """It begins at most this far (m) from the thing: near it, its own unsharp edge is in the way."""
    foot_m: float = 0.006
    """What is nearer to a thing than this (m) may be its own edge."""
    blind_m: float = 0.025
    """A part whose tip points at another thing nearer than this (m) may lead on to it, and is left."""
    min_length_m: float = 0.02
    """Shortest part (m) beyond that."""
    max_width_m: float = 0.014
    """Widest part (m)."""
    slender: float = 3.0
    """It is at least so many times longer than wide."""
    max_off_m: float = 0.003
    """It departs so little (m, standard deviation) from an evenly bent line."""
    min_height_m: float = 0.005
    """Its middle stands at least this high (m) over the support: lower ones are not told from a printed stripe."""
    min_drop: float = 0.25
    """So much greater is the share there than in and under the support."""


@dataclass(frozen=True)
class Rod:
    """A thin part.

    Attributes:
        middle: ``(K, 3)`` points along it, from the thing to its tip: x, y in the scene frame, height over the support.
        radius_m: of its round section.
        agreement: mean share of the pictures that show it, along its middle.
    """

    middle: FloatArray
    radius_m: float
    agreement: float


@dataclass(frozen=True)
class Sheets:
    """Pictures laid onto the support.

    Attributes:
        origin: ``(2,)`` x, y of the middle of cell [0, 0], metres.
        cell_m: side of a cell.
        ground_m: ``(X, Y)`` z of the support.
        rgb: ``(V, X, Y, 3)`` uint8.
        clear: ``(V, X, Y)`` bool: in the picture, and no known thing in front.
        eyes: ``(V, 3)`` where the pictures were taken.
    """

    origin: FloatArray
    cell_m: float
    ground_m: FloatGrid
    rgb: ByteStack
    clear: BoolStack
    eyes: FloatArray


def with_thin_parts(
    views: Sequence[TextureView],
    heights: HeightMap,
    ground: Ground,
    shapes: Sequence[Shape],
    settings: ThinPartSettings,
    progress: Progress = silent,
    first_support: int = 0,
) -> list[Shape]:
    """`shapes` of one bench, in their order, with the thin parts that the pictures show.

    Args:
        views: pictures from all round, poses in the frame of the shapes.
        heights: the bench from above.
        ground: what the things stand on.
        shapes: closed meshes.
        settings: see there.
        progress: called with fractions and messages.
        first_support: the scene's number of the bench's level 0.
    """
    if not settings.find or not shapes or len(views) < settings.min_views:
        return list(shapes)
    bases = [ground.nominal_m[shape.support - first_support] for shape in shapes]
    cores = [without_thin_end(shape.mesh, base_m, settings) for shape, base_m in zip(shapes, bases, strict=True)]
    sheets = lay_out(views, heights, ground, cores, settings, progress)
    if sheets is None:
        return list(shapes)
    tried = heights_tried(settings)
    different, usual = differences(sheets, settings)
    seen = agreement(sheets, different, usual, tried, settings)
    owners = footprints(sheets.origin, sheets.cell_m, sheets.ground_m.shape, cores)
    result = list(shapes)
    for number, rod in find_rods(sheets, different, seen, tried, owners, settings):
        shape, core = result[number], cores[number]
        rod = replace(rod, middle=rod.middle + [0.0, 0.0, bases[number]])
        if core is not shapes[number].mesh and shape is shapes[number]:
            if not _covers(rod, shape.mesh, core, settings):
                continue
            shape = replace(shape, mesh=core)
        joined = with_rod(shape, rod, settings)
        result[number] = result[number] if joined is shape else joined
    progress(1.0, "thin parts looked for")
    return result


def heights_tried(settings: ThinPartSettings) -> FloatArray:
    """``(H,)`` heights over the support, evenly spaced through 0; below it is where mirrored things show."""
    below, above = round(0.3 * settings.top_m / settings.step_m), round(settings.top_m / settings.step_m)
    return np.asarray(settings.step_m * np.arange(-below, above + 1), dtype=np.float64)


def lay_out(
    views: Sequence[TextureView],
    heights: HeightMap,
    ground: Ground,
    meshes: Sequence[Mesh],
    settings: ThinPartSettings,
    progress: Progress = silent,
) -> Sheets | None:
    """The pictures on the support round `meshes`, or None where too few show it."""
    import cv2
    from scipy import ndimage

    corners = np.concatenate([mesh.vertices[:, :2] for mesh in meshes])
    support = heights.xy()[ground.level >= 0]
    low = np.maximum(corners.min(axis=0) - settings.reach_m, support.min(axis=0))
    high = np.minimum(corners.max(axis=0) + settings.reach_m, support.max(axis=0))
    if (high - low).min() < settings.reach_m:
        return None
    cell = max(settings.cell_m, float(np.sqrt(np.prod(high - low) / settings.max_cells)))
    x, y = (np.arange(low[axis], high[axis], cell, dtype=np.float32) for axis in (0, 1))
    where = np.stack(np.meshgrid(*((a - o) / heights.cell_m for a, o in zip((x, y), heights.origin, strict=True)),
                                 indexing="ij"))  # fmt: skip
    z = ndimage.map_coordinates(ground.height_m, where, order=1, mode="nearest")
    level = float(np.median(z))
    rgb, clear, eyes = [], [], []
    kernel = np.ones((5, 5), np.uint8)
    for number, view in enumerate(views):
        progress(0.8 * number / len(views), f"laying picture {number + 1} of {len(views)} on the support")
        picture = view.read_rgb()
        if picture is None:
            continue
        camera_from_scene = np.linalg.inv(view.scene_from_camera)
        rows = (view.intrinsics @ camera_from_scene[:3]).astype(np.float32)
        u, v, w = (a * x[:, None] + b * y[None, :] + c * z + d for a, b, c, d in rows)
        before = w > 0.05
        u, v = u / np.where(before, w, 1.0), v / np.where(before, w, 1.0)
        shown = before & (u >= 0) & (u <= picture.shape[1] - 1) & (v >= 0) & (v <= picture.shape[0] - 1)
        if not shown.any():
            continue
        eye = view.scene_from_camera[:3, 3]
        hidden = np.zeros(z.shape, dtype=np.uint8)
        for mesh in meshes:
            # What a thing hides of the support lies within the outline of its central projection onto it.
            share = (eye[2] - level) / np.maximum(eye[2] - mesh.vertices[:, 2], 0.05)
            shadow = eye[:2] + share[:, None] * (mesh.vertices[:, :2] - eye[:2])
            cells = np.clip(np.round((shadow - low) / cell), -9999, 9999).astype(np.int32)
            cv2.fillConvexPoly(hidden, cv2.convexHull(cells[:, ::-1].reshape(-1, 1, 2)), 1)
        rgb.append(np.asarray(cv2.remap(picture, u, v, cv2.INTER_LINEAR), dtype=np.uint8))
        clear.append(shown & (cv2.dilate(hidden, kernel) == 0))
        eyes.append(eye)
    if len(rgb) < settings.min_views:
        return None
    return Sheets(low, cell, z, np.stack(rgb), np.stack(clear), np.stack(eyes))


def differences(sheets: Sheets, settings: ThinPartSettings) -> tuple[ByteStack, FloatGrid]:
    """``(V, X, Y)`` how much (of 255) each picture differs from the bare support, 0 where it is not clear; and
    ``(X, Y)`` how much pictures usually do.
    """
    import cv2

    believed = sheets.clear.sum(axis=0) >= settings.min_views
    clear = sheets.clear[:, believed]
    colors = sheets.rgb[:, believed]
    bare = _median(colors, clear)
    different = np.zeros(clear.shape, dtype=np.uint8)
    for picture, own, result in zip(colors, clear, different, strict=True):
        # A phone changes exposure and white balance on the way.
        some = np.flatnonzero(own)[::50]
        gain = np.median((picture[some] + 1.0) / (bare[some] + 1.0), axis=0) if len(some) else np.ones(3)
        for channel in range(3):
            expected = cv2.convertScaleAbs(bare[:, channel], alpha=float(gain[channel])).ravel()
            np.maximum(result, cv2.absdiff(picture[:, channel], expected).ravel(), out=result)
        result *= own
    spread = np.zeros(sheets.clear.shape, dtype=np.uint8)
    for sheet, result in zip(spread, different, strict=True):
        sheet[believed] = result
    usual = np.zeros(sheets.ground_m.shape, dtype=np.float32)
    usual[believed] = _median(different[..., None], clear)[:, 0]
    return spread, usual


def _median(values: ByteStack, valid: BoolStack) -> npt.NDArray[np.uint8]:
    """``(N, C)`` lower median over the first axis of ``(V, N, C)`` where `valid` ``(V, N)``."""
    ordered = np.where(valid[..., None], values, np.uint8(255))
    ordered.sort(axis=0)
    middle = np.maximum(valid.sum(axis=0) - 1, 0) // 2
    return np.asarray(np.take_along_axis(ordered, middle[None, :, None], axis=0)[0])


def agreement(
    sheets: Sheets, different: ByteStack, usual: FloatGrid, tried_m: FloatArray, settings: ThinPartSettings
) -> FloatGrid:
    """``(H, X, Y)`` share of the clear pictures in whose silhouette a place at height `tried_m` ``(H,)`` lies.

    0 where too few pictures are clear. The others are as `differences` returns them.
    """
    import cv2

    slope = np.float32(255.0) / np.maximum(np.float32(settings.contrast), np.float32(settings.noise_ratio) * usual)
    result = np.zeros((len(tried_m), *sheets.ground_m.shape), dtype=np.float32)
    total, count = np.zeros_like(result), np.zeros_like(result)
    level = float(np.median(sheets.ground_m))
    size = sheets.ground_m.shape[::-1]
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    for values, clear, eye in zip(different, sheets.clear.astype(np.uint8), sheets.eyes, strict=True):
        silhouette = np.clip(values * slope - np.float32(127.5), 0.0, 255.0).astype(np.uint8)
        foot = (eye[:2] - sheets.origin) / sheets.cell_m
        for number, height in enumerate(tried_m):
            # A place at height h is seen against the support farther from the camera's foot by e / (e - h).
            scale = (eye[2] - level) / max(eye[2] - level - height, 0.05)
            warp = np.array([[scale, 0.0, (1.0 - scale) * foot[1]], [0.0, scale, (1.0 - scale) * foot[0]]])
            cv2.add(total[number], cv2.warpAffine(silhouette, warp, size, flags=flags), total[number],
                    dtype=cv2.CV_32F)  # fmt: skip
            cv2.add(count[number], cv2.warpAffine(clear, warp, size, flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP),
                    count[number], dtype=cv2.CV_32F)  # fmt: skip
    np.divide(total, 255.0 * count, out=result, where=count >= settings.min_views)
    return result


def footprints(
    origin: FloatArray, cell_m: float, size: tuple[int, ...], meshes: Sequence[Mesh]
) -> npt.NDArray[np.int32]:
    """``(X, Y)`` number + 1 of the mesh over each cell of a grid, 0 where there is none."""
    import cv2

    owners = np.zeros(size, dtype=np.int32)
    for number, mesh in enumerate(meshes):
        cells = np.round((mesh.vertices[:, :2] - origin) / cell_m).astype(np.int32)[:, ::-1]
        for triangle in np.ascontiguousarray(cells[mesh.faces]):
            cv2.fillConvexPoly(owners, triangle, number + 1)
    return owners


def without_thin_end(mesh: Mesh, base_m: float, settings: ThinPartSettings) -> Mesh:
    """`mesh`, which stands on z = `base_m`, without the thin low end that depth has shown of it; itself without one.

    Depth shows of a shaft a lump, bent and thick here and missing there, that is not needed where colour shows it.
    """
    import manifold3d
    from scipy import ndimage

    cell = settings.cell_m
    reach = int(np.ceil(0.5 * settings.max_width_m / cell)) + 1
    low = mesh.vertices[:, :2].min(axis=0) - 2 * reach * cell
    size = tuple(np.ceil((mesh.vertices[:, :2].max(axis=0) - low) / cell).astype(int) + 2 * reach)
    foot = footprints(low, cell, size, [mesh]) > 0
    deep = ndimage.distance_transform_edt(foot) > reach
    if not deep.any():
        return mesh
    away = ndimage.distance_transform_edt(~deep) - reach
    pieces, count = ndimage.label(foot & (away > 0.5))
    if count == 0:
        return mesh
    far = ndimage.maximum(away, pieces, np.arange(1, count + 1))
    end = pieces == int(np.argmax(far)) + 1
    if far.max() * cell < settings.foot_m or away[end].min() >= 2.0:
        return mesh
    place = np.argwhere(end) * cell + low
    start = place[away[end] < 2.0].mean(axis=0)
    tip = place[np.argmax(away[end])]
    along = np.append((tip - start) / max(float(np.linalg.norm(tip - start)), 1e-9), 0.0)
    offset = float(along[:2] @ start)
    beyond = mesh.vertices[mesh.vertices @ along > offset]
    cells = np.round((beyond[:, :2] - low) / cell).astype(int)
    own = ndimage.binary_dilation(end, iterations=2)[cells[:, 0], cells[:, 1]]
    if not own.all() or beyond[:, 2].max() > base_m + settings.top_m:
        return mesh  # the thing goes on beside it, or it is a handle high over the support
    solid = manifold3d.Manifold(manifold3d.Mesh64(mesh.vertices, mesh.faces.astype(np.uint64)))
    rest = solid.trim_by_plane(tuple(-along), -offset).decompose()
    if not rest:
        return mesh
    result = max(rest, key=lambda piece: piece.volume()).to_mesh64()
    vertices = np.asarray(result.vert_properties)[:, :3].astype(np.float64)
    return Mesh(vertices, np.asarray(result.tri_verts, dtype=np.int64), seen=_seen_before(mesh, vertices))


def _seen_before(mesh: Mesh, vertices: FloatArray) -> npt.NDArray[np.float32]:
    """``(N,)`` `seen` of those `vertices` that `mesh` has too; the others count as seen."""
    from scipy.spatial import cKDTree

    distance, nearest = cKDTree(mesh.vertices).query(vertices)
    seen = np.ones(len(vertices)) if mesh.seen is None else np.where(distance < 1e-6, mesh.seen[nearest], 1.0)
    return np.asarray(seen, dtype=np.float32)


def _covers(rod: Rod, mesh: Mesh, core: Mesh, settings: ThinPartSettings) -> bool:
    """Whether `rod` stands for all that `mesh` has more than `core`."""
    from scipy.spatial import cKDTree

    more = mesh.vertices[cKDTree(core.vertices).query(mesh.vertices)[0] > 1e-6]
    ahead = rod.middle[1] - rod.middle[0]
    back_m = np.linspace(0.0, settings.foot_m + settings.max_width_m, 10)
    root = rod.middle[0] - back_m[:, None] * ahead / np.linalg.norm(ahead)
    distance = cKDTree(np.vstack([root, rod.middle])[:, :2]).query(more[:, :2])[0]
    return bool((distance < settings.max_width_m).all())


def find_rods(
    sheets: Sheets,
    different: ByteStack,
    seen: FloatGrid,
    tried_m: FloatArray,
    owners: npt.NDArray[np.int32],
    settings: ThinPartSettings,
) -> list[tuple[int, Rod]]:
    """Thin parts with the number of the thing that each belongs to.

    Args:
        sheets: the pictures on the support.
        different: ``(V, X, Y)`` as `differences` returns it.
        seen: ``(H, X, Y)`` as `agreement` returns it.
        tried_m: ``(H,)`` its heights over the support.
        owners: ``(X, Y)`` as `footprints` returns it.
        settings: see there.
    """
    from scipy import ndimage

    cell = sheets.cell_m
    cube = np.ones((3, 3))
    low = tried_m >= settings.min_height_m
    strong = (seen[low].max(axis=0) >= settings.agreement) & (owners == 0)
    away, nearest = ndimage.distance_transform_edt(owners == 0, return_indices=True)
    away, owner = away * cell, owners[tuple(nearest)]
    pieces, count = ndimage.label(strong & (away > settings.foot_m) & (away < settings.reach_m), structure=cube)
    found = []
    for piece, box in enumerate(ndimage.find_objects(pieces), start=1):
        own = pieces[box] == piece
        width = 2.0 * cell * float(ndimage.distance_transform_edt(np.pad(own, 1)).max())
        touching = own & (away[box] < settings.gap_m + cell)
        length = float(away[box][own].max()) - settings.foot_m
        if not touching.any() or width > settings.max_width_m + 2.0 * cell or length < settings.min_length_m:
            continue
        near = np.unique(owner[box][touching])
        if len(near) > 1:  # it leads from one thing to another
            continue
        corner = np.array([part.start for part in box])
        start = (np.argwhere(touching) + corner).mean(axis=0) * cell + sheets.origin
        cells = (np.argwhere(own) + corner) * cell + sheets.origin
        rod = _rod(sheets, different, seen, tried_m, cells, start, settings)
        if rod is not None and not _leads_to_another(sheets, rod, owners, int(near[0]), settings):
            found.append((int(near[0]) - 1, rod))
    return found


def _leads_to_another(
    sheets: Sheets, rod: Rod, owners: npt.NDArray[np.int32], own: int, settings: ThinPartSettings
) -> bool:
    """Whether a thing other than number `own` lies ahead of the tip, so near that few pictures see between the two."""
    ahead = rod.middle[-1] - rod.middle[-min(len(rod.middle), 8)]
    ahead /= np.linalg.norm(ahead)
    steps = np.arange(0.0, settings.blind_m, sheets.cell_m)
    cells = np.round((rod.middle[-1, :2] + steps[:, None] * ahead[:2] - sheets.origin) / sheets.cell_m).astype(int)
    cells = np.clip(cells, 0, np.array(owners.shape) - 1)
    met = owners[cells[:, 0], cells[:, 1]]
    return bool(((met > 0) & (met != own)).any())


def _rod(
    sheets: Sheets,
    different: ByteStack,
    seen: FloatGrid,
    tried_m: FloatArray,
    cells: FloatArray,
    start: FloatArray,
    settings: ThinPartSettings,
) -> Rod | None:
    """The rod through the places over `cells` ``(N, 2)`` that begins near `start` ``(2,)``; None where it is none."""
    from scipy import ndimage

    step = sheets.cell_m
    center = cells.mean(axis=0)
    spread, axes = np.linalg.eigh(np.cov((cells - center).T))
    if spread[1] < settings.slender**2 * spread[0]:
        return None
    along = axes[:, 1] * (1.0 if axes[:, 1] @ (center - start) > 0 else -1.0)
    across = np.array([-along[1], along[0]])
    reach = (cells - center) @ along
    if (start - center) @ along > np.percentile(reach, 25):  # it lies beside the thing rather than going away from it
        return None
    q = np.arange(reach.min(), reach.max() + 0.006, step)
    o = np.arange(-settings.max_width_m, settings.max_width_m + 1e-9, 0.5 * step)

    def sections(middle: FloatArray, level: FloatArray) -> FloatArray:
        """``(K, H, O)`` agreement across the rod: heights over `level`, offsets from `middle`."""
        xy = center + q[:, None, None] * along + (middle[:, None, None] + o[None, :, None]) * across
        x, y = ((xy[..., a] - sheets.origin[a]) / step for a in (0, 1))
        h = (tried_m[None, :] + level[:, None] - tried_m[0]) / (tried_m[1] - tried_m[0])
        where = np.broadcast_arrays(h[:, :, None], x[:, None, :], y[:, None, :])
        return np.asarray(ndimage.map_coordinates(seen, np.stack(where), order=1, mode="nearest"))

    straight: FloatArray = np.zeros(len(q), dtype=np.float64)
    section = sections(straight, straight)
    section[:, tried_m < settings.step_m] = 0.0
    # Weighed by how surely each place is seen, the middle is finer than a cell.
    weight = np.clip(section - 0.8 * settings.agreement, 0.0, None) ** 2
    total = weight.sum(axis=(1, 2))
    shown = section.max(axis=(1, 2)) >= settings.agreement
    if shown.sum() * step < settings.min_length_m:
        return None
    measured = [(weight.sum(axis=1) @ o)[shown] / total[shown], (weight.sum(axis=2) @ tried_m)[shown] / total[shown]]
    degree = 2 if shown.sum() * step > 0.03 else 1  # a handle may be bent, a stub is not
    middle, level = (
        np.asarray(np.polyval(np.polyfit(q[shown], values, degree), q), dtype=np.float64) for values in measured
    )
    off = max(float(np.std(a[shown] - b)) for a, b in zip((middle, level), measured, strict=True))
    zero = int(np.argmin(np.abs(tried_m)))
    section = sections(middle, level - tried_m[zero])
    along_middle = section[:, zero - 1 : zero + 2, len(o) // 2].max(axis=1)
    along_it = np.flatnonzero(along_middle >= 0.8 * settings.agreement)
    if len(along_it) == 0:
        return None
    last = int(along_it[-1])
    q, middle, level, along_middle = (a[: last + 1] for a in (q, middle, level, along_middle))
    inner = slice(0, max(2, last - round(0.004 / step)))
    points = np.column_stack([center + q[:, None] * along + middle[:, None] * across, level])
    radius = _radius(sheets, different, points[inner], settings)
    below = sections(middle, np.zeros(len(q)))[:, : zero + 1, len(o) // 2].max(axis=1)
    ok = (
        off < settings.max_off_m
        and 0.001 <= 2.0 * radius <= settings.max_width_m
        and float(q[-1] - q[0]) >= max(settings.min_length_m, settings.slender * 2.0 * radius)
        and float(level.min()) >= settings.min_height_m
        and float(along_middle[inner].mean()) >= settings.agreement
        and float((along_middle - below)[inner].mean()) >= settings.min_drop
        and _spread(sheets, center) >= settings.min_spread
    )
    return Rod(points, radius, float(along_middle[inner].mean())) if ok else None


def _radius(sheets: Sheets, different: ByteStack, middle: FloatArray, settings: ThinPartSettings) -> float:
    """Radius (m) of the round rod along `middle` ``(K, 3)``: the edges of the pictures' mean difference across it.

    By its form rather than by a threshold: how much a rod differs from the support does not change its width. A picture
    sees its flanks where planes through the eye touch them, so offsets across are told as distances from those planes.
    """
    from scipy import ndimage

    ahead = middle[-1] - middle[0]
    ahead /= np.linalg.norm(ahead)
    across = np.array([-ahead[1], ahead[0]]) / np.linalg.norm(ahead[:2])
    apart = np.arange(-settings.max_width_m, settings.max_width_m + 1e-9, 0.25 * sheets.cell_m)
    total, count = np.zeros(len(apart)), np.zeros(len(apart))
    z = float(np.median(sheets.ground_m))
    for values, clear, eye in zip(different, sheets.clear, sheets.eyes, strict=True):
        toward = eye - middle.mean(axis=0) - [0.0, 0.0, z]
        normal = np.cross(ahead, toward)
        stretch = np.linalg.norm(normal) / max(abs(float(normal[:2] @ across)), 0.2 * float(np.linalg.norm(normal)))
        xy = middle[:, None, :2] + (stretch * apart)[None, :, None] * across
        share = middle[:, 2] / (eye[2] - z - middle[:, 2])
        where = ((xy + share[:, None, None] * (xy - eye[:2]) - sheets.origin) / sheets.cell_m).transpose(2, 0, 1)
        free = ndimage.map_coordinates(clear.view(np.uint8), where, order=0) > 0
        total += (ndimage.map_coordinates(values, where, order=1, output=np.float32) * free).sum(axis=0)
        count += free.sum(axis=0)
    profile = total / np.maximum(count, 1)
    top = float(np.max(profile[np.abs(apart) < 0.003]))
    least = float(np.percentile(profile, 10))
    # Somewhat outside of half the height, for a round thing's flanks are shaded.
    wide = np.count_nonzero(profile > least + 0.35 * (top - least)) * 0.25 * sheets.cell_m
    return 0.5 * float(wide)


def _spread(sheets: Sheets, place: FloatArray) -> float:
    """The lesser variance of the level unit vectors towards the cameras that see a place ``(2,)``."""
    x, y = np.round((place - sheets.origin) / sheets.cell_m).astype(int)
    toward = sheets.eyes[sheets.clear[:, x, y], :2] - place
    toward /= np.maximum(np.linalg.norm(toward, axis=1, keepdims=True), 1e-6)
    return float(np.linalg.eigvalsh(np.cov(toward.T))[0]) if len(toward) > 2 else 0.0


def with_rod(shape: Shape, rod: Rod, settings: ThinPartSettings) -> Shape:
    """`shape` and `rod` (its heights are z in the frame of the shape) as one solid; `shape` where they do not meet."""
    import manifold3d

    begun = _begun_inside(shape.mesh, rod, settings)
    if begun is None:
        return shape
    tube = tube_mesh(begun)
    one, other = (
        manifold3d.Manifold(manifold3d.Mesh64(mesh.vertices, mesh.faces.astype(np.uint64)))
        for mesh in (shape.mesh, tube)
    )
    both = one + other
    if both.status() != manifold3d.Error.NoError or len(both.decompose()) != 1:
        return shape
    result = both.to_mesh64()
    vertices = np.asarray(result.vert_properties)[:, :3].astype(np.float64)
    faces = np.asarray(result.tri_verts, dtype=np.int64)
    return replace(shape, mesh=Mesh(vertices, faces, seen=_seen_before(shape.mesh, vertices)))


def _begun_inside(mesh: Mesh, rod: Rod, settings: ThinPartSettings) -> Rod | None:
    """`rod` led back along its own direction until it is rooted in `mesh`; None where it misses the mesh."""
    import open3d as o3d
    import open3d.core as o3c

    scene = o3d.t.geometry.RaycastingScene(nthreads=1)
    scene.add_triangles(o3c.Tensor(mesh.vertices.astype(np.float32)), o3c.Tensor(mesh.faces.astype(np.uint32)))
    ahead = rod.middle[min(len(rod.middle) - 1, 8)] - rod.middle[0]
    ahead /= np.linalg.norm(ahead)
    steps = np.arange(0.001, settings.foot_m + settings.gap_m + 0.016, 0.001)
    places = rod.middle[0] - steps[:, None] * ahead
    inside = (
        scene.compute_signed_distance(o3c.Tensor(places.astype(np.float32)), nthreads=1, nsamples=1).numpy() < -0.002
    )
    if not inside.any():
        return None
    root = places[min(int(np.argmax(inside)) + 3, len(places) - 1)]
    return Rod(np.vstack([root, rod.middle]), rod.radius_m, rod.agreement)


def tube_mesh(rod: Rod, sides: int = 12) -> Mesh:
    """Closed mesh of round sections, about every 4 mm, of the area of the circles."""
    count = max(2, round(float(np.linalg.norm(rod.middle[-1] - rod.middle[0])) / 0.004))
    picks = np.unique(np.linspace(0, len(rod.middle) - 1, count + 1).round().astype(int))
    middle = rod.middle[picks]
    ahead = np.gradient(middle, axis=0)
    ahead /= np.linalg.norm(ahead, axis=1, keepdims=True)
    side = np.cross([0.0, 0.0, 1.0], ahead)
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    up = np.cross(ahead, side)
    angle = 2.0 * np.pi * np.arange(sides) / sides
    fair = np.sqrt(2.0 * np.pi / (sides * np.sin(2.0 * np.pi / sides)))
    ring = np.cos(angle)[None, :, None] * side[:, None] + np.sin(angle)[None, :, None] * up[:, None]
    vertices = (middle[:, None] + fair * rod.radius_m * ring).reshape(-1, 3)
    first = (sides * np.arange(len(picks) - 1)[:, None] + np.arange(sides)).ravel()
    second = (sides * np.arange(len(picks) - 1)[:, None] + np.roll(np.arange(sides), -1)).ravel()
    faces = [np.column_stack([first, second, second + sides]), np.column_stack([first, second + sides, first + sides])]
    fan = np.arange(1, sides - 1)
    end = sides * (len(picks) - 1)
    faces += [np.column_stack([0 * fan, fan + 1, fan]), np.column_stack([0 * fan + end, fan + end, fan + 1 + end])]
    return Mesh(vertices, np.concatenate(faces).astype(np.int64))
