"""Thin parts that depth misses, found in colour: the shaft of a screwdriver, the handle of a spoon.

A phone's depth is smoothed over a centimetre, so that a shaft 7 mm thick is no more than a faint bump; its pictures
show it sharply, as a silhouette before the support (`reconstruction.silhouettes`).

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
from reconstruction.silhouettes import (
    CELL_M,
    MIN_VIEWS,
    ByteStack,
    Sheets,
    agreement,
    differences,
    footprints,
    lay_out,
)
from reconstruction.texture import TextureView

STEP_M = 0.003
"""Between heights that are tried."""
MIN_SPREAD = 0.1
"""It is seen from various directions: the lesser variance of their level unit vectors is at least this."""
AGREEMENT = 0.75
"""In this share of the pictures it differs from the support."""
GAP_M = 0.008
"""It begins at most this far from the thing: near it, its own unsharp edge is in the way."""
FOOT_M = 0.006
"""What is nearer to a thing than this may be its own edge."""
BLIND_M = 0.025
"""A part whose tip points at another thing nearer than this may lead on to it, and is left."""
SLENDER = 3.0
"""It is at least so many times longer than wide."""
MAX_OFF_M = 0.003
"""It departs so little (standard deviation) from an evenly bent line."""
MIN_HEIGHT_M = 0.005
"""Its middle stands at least this high over the support: lower ones are not told from a printed stripe."""
MIN_DROP = 0.25
"""So much greater is the share there than in and under the support."""


@dataclass(frozen=True)
class ThinPartSettings:
    """How thin parts are looked for in colour."""

    find: bool = True
    """Look for shafts and handles that depth misses."""
    reach_m: float = 0.15
    """Shafts and handles reach at most this far (m) from the rest of the thing …"""
    top_m: float = 0.033
    """… and lie at most this high (m) over the support."""
    max_width_m: float = 0.014
    """Widest (m) …"""
    min_length_m: float = 0.02
    """… and shortest (m) that is believed."""


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
    if not settings.find or not shapes or len(views) < MIN_VIEWS:
        return list(shapes)
    bases = [ground.nominal_m[shape.support - first_support] for shape in shapes]
    cores = [without_thin_end(shape.mesh, base_m, settings) for shape, base_m in zip(shapes, bases, strict=True)]
    sheets = lay_out(views, heights, ground, cores, settings.reach_m, progress)
    if sheets is None:
        return list(shapes)
    tried = heights_tried(settings)
    different, usual = differences(sheets)
    seen = agreement(sheets, different, usual, tried)
    owners = footprints(sheets.origin, sheets.cell_m, sheets.ground_m.shape, cores)
    result = list(shapes)
    for number, rod in find_rods(sheets, different, seen, tried, owners, settings):
        shape, core = result[number], cores[number]
        rod = replace(rod, middle=rod.middle + [0.0, 0.0, bases[number]])
        if core is not shapes[number].mesh and shape is shapes[number]:
            if not _covers(rod, shape.mesh, core, settings):
                continue
            shape = replace(shape, mesh=core)
        joined = with_rod(shape, rod)
        result[number] = result[number] if joined is shape else joined
    progress(1.0, "thin parts looked for")
    return result


def heights_tried(settings: ThinPartSettings) -> FloatArray:
    """``(H,)`` heights over the support, evenly spaced through 0; below it is where mirrored things show."""
    below, above = round(0.3 * settings.top_m / STEP_M), round(settings.top_m / STEP_M)
    return np.asarray(STEP_M * np.arange(-below, above + 1), dtype=np.float64)


def without_thin_end(mesh: Mesh, base_m: float, settings: ThinPartSettings) -> Mesh:
    """`mesh`, which stands on z = `base_m`, without the thin low end that depth has shown of it; itself without one.

    Depth shows of a shaft a lump, bent and thick here and missing there, that is not needed where colour shows it.
    """
    import manifold3d
    from scipy import ndimage

    cell = CELL_M
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
    if far.max() * cell < FOOT_M or away[end].min() >= 2.0:
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
    back_m = np.linspace(0.0, FOOT_M + settings.max_width_m, 10)
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
    low = tried_m >= MIN_HEIGHT_M
    strong = (seen[low].max(axis=0) >= AGREEMENT) & (owners == 0)
    away, nearest = ndimage.distance_transform_edt(owners == 0, return_indices=True)
    away, owner = away * cell, owners[tuple(nearest)]
    pieces, count = ndimage.label(strong & (away > FOOT_M) & (away < settings.reach_m), structure=cube)
    found = []
    for piece, box in enumerate(ndimage.find_objects(pieces), start=1):
        own = pieces[box] == piece
        width = 2.0 * cell * float(ndimage.distance_transform_edt(np.pad(own, 1)).max())
        touching = own & (away[box] < GAP_M + cell)
        length = float(away[box][own].max()) - FOOT_M
        if not touching.any() or width > settings.max_width_m + 2.0 * cell or length < settings.min_length_m:
            continue
        near = np.unique(owner[box][touching])
        if len(near) > 1:  # it leads from one thing to another
            continue
        corner = np.array([part.start for part in box])
        start = (np.argwhere(touching) + corner).mean(axis=0) * cell + sheets.origin
        cells = (np.argwhere(own) + corner) * cell + sheets.origin
        rod = _rod(sheets, different, seen, tried_m, cells, start, settings)
        if rod is not None and not _leads_to_another(sheets, rod, owners, int(near[0])):
            found.append((int(near[0]) - 1, rod))
    return found


def _leads_to_another(sheets: Sheets, rod: Rod, owners: npt.NDArray[np.int32], own: int) -> bool:
    """Whether a thing other than number `own` lies ahead of the tip, so near that few pictures see between the two."""
    ahead = rod.middle[-1] - rod.middle[-min(len(rod.middle), 8)]
    ahead /= np.linalg.norm(ahead)
    steps = np.arange(0.0, BLIND_M, sheets.cell_m)
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
    if spread[1] < SLENDER**2 * spread[0]:
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
    section[:, tried_m < STEP_M] = 0.0
    # Weighed by how surely each place is seen, the middle is finer than a cell.
    weight = np.clip(section - 0.8 * AGREEMENT, 0.0, None) ** 2
    total = weight.sum(axis=(1, 2))
    shown = section.max(axis=(1, 2)) >= AGREEMENT
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
    along_it = np.flatnonzero(along_middle >= 0.8 * AGREEMENT)
    if len(along_it) == 0:
        return None
    last = int(along_it[-1])
    q, middle, level, along_middle = (a[: last + 1] for a in (q, middle, level, along_middle))
    inner = slice(0, max(2, last - round(0.004 / step)))
    points = np.column_stack([center + q[:, None] * along + middle[:, None] * across, level])
    radius = _radius(sheets, different, points[inner], settings)
    below = sections(middle, np.zeros(len(q)))[:, : zero + 1, len(o) // 2].max(axis=1)
    ok = (
        off < MAX_OFF_M
        and 0.001 <= 2.0 * radius <= settings.max_width_m
        and float(q[-1] - q[0]) >= max(settings.min_length_m, SLENDER * 2.0 * radius)
        and float(level.min()) >= MIN_HEIGHT_M
        and float(along_middle[inner].mean()) >= AGREEMENT
        and float((along_middle - below)[inner].mean()) >= MIN_DROP
        and sheets.spread(center) >= MIN_SPREAD
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


def with_rod(shape: Shape, rod: Rod) -> Shape:
    """`shape` and `rod` (its heights are z in the frame of the shape) as one solid; `shape` where they do not meet."""
    import manifold3d

    begun = _begun_inside(shape.mesh, rod)
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


def _begun_inside(mesh: Mesh, rod: Rod) -> Rod | None:
    """`rod` led back along its own direction until it is rooted in `mesh`; None where it misses the mesh."""
    import open3d as o3d
    import open3d.core as o3c

    scene = o3d.t.geometry.RaycastingScene(nthreads=1)
    scene.add_triangles(o3c.Tensor(mesh.vertices.astype(np.float32)), o3c.Tensor(mesh.faces.astype(np.uint32)))
    ahead = rod.middle[min(len(rod.middle) - 1, 8)] - rod.middle[0]
    ahead /= np.linalg.norm(ahead)
    steps = np.arange(0.001, FOOT_M + GAP_M + 0.016, 0.001)
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
