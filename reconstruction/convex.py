"""Cut a solid with planes into nearly convex pieces, and fit one small convex polytope to each piece.

The pieces are exact: every cut splits the solid itself, so they tile it without gap or overlap. What is approximated
is only each piece, by a polytope of its own volume: a hull of noisy points stands on their peaks (a 4 mm wall with
±1 mm of noise becomes 6 mm thick), so the planes here go through the *mean* of the surface they stand for, except the
planes of the cuts, which stay where they are and keep neighbours flush.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Plane = tuple[tuple[float, float, float], float]  # unit normal n and offset d of the half-space n·x <= d


@dataclass(frozen=True)
class CutSettings:
    """How finely a solid is cut."""

    error_budget: float = 0.06
    """Volume of the symmetric difference of pieces and polytopes, as a share of the solid's; cutting stops below it."""
    surface_error_m: float = 0.0002
    """Cutting stops, too, where the polytopes lie on average so near the surface (metres): the walls of a cup need
    not be rounder than they were measured."""
    max_parts: int = 40
    """Cutting stops at so many pieces; more cost simulation time."""
    max_vertices: int = 64
    """Vertices of a polytope; more are rounder and cost simulation time."""
    merge_loss: float = 0.004
    """Two neighbours become one while that adds no more than this share of the solid's volume."""


@dataclass(frozen=True)
class Piece:
    """A connected part of the solid.

    Attributes:
        solid: `manifold3d.Manifold`.
        points: ``(N, 3)`` its vertices, metres.
        faces: ``(F, 3)``.
        volume: m³.
        hull_volume: m³ of its convex hull.
        rough_hull_volume: the same as `_outermost` finds it, to compare cuts by.
        cuts: half-spaces of the cuts that bound it.
    """

    solid: Any
    points: FloatArray
    faces: IntArray
    volume: float
    hull_volume: float
    rough_hull_volume: float
    cuts: tuple[Plane, ...] = ()

    @property
    def excess(self) -> float:
        """Volume (m³) that the hull has too much."""
        return max(self.hull_volume - self.volume, 0.0)


@dataclass(frozen=True)
class Fit:
    """A convex polytope that stands for a piece: ``(V, 3)`` vertices, and the symmetric difference to it in m³."""

    vertices: FloatArray
    error: float


def solid_of(vertices: FloatArray, faces: IntArray) -> Any | None:
    """The closed mesh as a `manifold3d.Manifold`, or None where it encloses no volume."""
    import manifold3d

    mesh = manifold3d.Mesh64(np.ascontiguousarray(vertices), np.ascontiguousarray(faces, dtype=np.uint64))
    solid = manifold3d.Manifold(mesh)
    if solid.status() != manifold3d.Error.NoError or not solid.volume() > 0.0:
        return None
    return solid


def piece_of(solid: Any, cuts: Sequence[Plane] = ()) -> Piece:
    """Measure a part of the solid; `cuts` that do not touch it are dropped."""
    mesh = solid.to_mesh64()
    points = np.array(mesh.vert_properties[:, :3], dtype=np.float64)
    faces = np.array(mesh.tri_verts, dtype=np.int64)
    touching = tuple(cut for cut in dict.fromkeys(cuts) if (points @ cut[0]).max() > cut[1] - 1e-6)
    rough = hull_volume(_outermost(points))
    return Piece(solid, points, faces, float(solid.volume()), hull_volume(points), rough, touching)


# --- hulls -----------------------------------------------------------------------------------------------------------


def _directions(count: int) -> FloatArray:
    """Evenly spread unit vectors ``(count, 3)`` on a Fibonacci spiral."""
    index = np.arange(count) + 0.5
    z = 1.0 - 2.0 * index / count
    angle = index * (np.pi * (1.0 + 5.0**0.5))
    radius = np.sqrt(1.0 - z * z)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), z], axis=1)


_SPREAD = _directions(128)


def _outermost(points: FloatArray, spread: FloatArray = _SPREAD) -> FloatArray:
    """The points farthest out in each direction of `spread`: enough to measure a hull by."""
    if len(points) <= len(spread):
        return points
    scaled = (points / np.maximum(np.ptp(points, axis=0), 1e-9)).astype(np.float32).T
    axes = spread.astype(np.float32).T[:, :, None]
    # Written out: a matrix product of such a shape runs slower, and not the same on every number of threads.
    reach = axes[0] * scaled[0] + axes[1] * scaled[1] + axes[2] * scaled[2]
    return np.asarray(points[np.unique(reach.argmax(axis=1))])


def hull_volume(points: FloatArray) -> float:
    """Volume (m³) of the convex hull of ``(N, 3)`` points; 0 where they are flat."""
    import manifold3d

    return float(manifold3d.Manifold.hull_points(points).volume())


def _split_hulls(piece: Piece, edges: IntArray, normal: FloatArray, offset: float) -> float:
    """Sum of the hull volumes on both sides of a cut, or infinity where the cut misses the piece."""
    height = piece.points @ normal - offset
    above = height > 0.0
    crossing = edges[above[edges[:, 0]] != above[edges[:, 1]]]
    if len(crossing) < 3:
        return float("inf")
    start, end = height[crossing[:, 0]], height[crossing[:, 1]]
    share = (start / (start - end))[:, None]
    rim = piece.points[crossing[:, 0]] * (1.0 - share) + piece.points[crossing[:, 1]] * share
    return sum(hull_volume(_outermost(np.vstack([piece.points[side], rim]))) for side in (above, ~above))


# --- cuts ------------------------------------------------------------------------------------------------------------


def _edges(faces: IntArray) -> IntArray:
    pairs = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    return pairs[pairs[:, 0] < pairs[:, 1]]


def _triangles(piece: Piece) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Normals ``(F, 3)``, areas ``(F,)`` m² and centres ``(F, 3)`` of a piece's triangles."""
    corners = piece.points[piece.faces]
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(cross, axis=1)
    return cross / np.maximum(length, 1e-18)[:, None], 0.5 * length, corners.mean(axis=1)


def _axes(piece: Piece) -> FloatArray:
    """Directions ``(K, 3)`` worth cutting across: the frame's own axes and the piece's principal ones."""
    _, areas, centers = _triangles(piece)
    offset = centers - np.average(centers, axis=0, weights=areas)
    _, principal = np.linalg.eigh((offset * areas[:, None]).T @ offset)
    chosen = list(np.eye(3))
    for axis in principal.T[::-1]:
        axis = axis * np.sign(axis[np.abs(axis).argmax()])
        if all(abs(axis @ other) < 0.98 for other in chosen):
            chosen.append(axis)
    return np.array(chosen)


def _offsets(piece: Piece, normal: FloatArray, count: int) -> list[float]:
    """Where to cut across `normal`: evenly spread, and along large flat faces of the piece."""
    height = piece.points @ normal
    low, high = float(height.min()), float(height.max())
    offsets = [float(x) for x in np.linspace(low, high, count + 2)[1:-1]]
    normals, areas, centers = _triangles(piece)
    facing = normals @ normal
    for side in (1.0, -1.0) if high - low > 2e-3 else ():
        flat = facing * side > 0.94
        # A few µm off the face on its empty side: no film of the solid stays on the wrong side of the cut.
        level = centers[flat] @ normal + side * 5e-6
        bins = np.minimum(((level - low) / (high - low) * 48).astype(np.int64), 47).clip(0)
        area = np.bincount(bins, areas[flat], 48)
        center = np.bincount(bins, areas[flat] * level, 48) / np.maximum(area, 1e-18)
        for index in np.argsort(-area, kind="stable")[:3]:
            if area[index] > 0.02 * areas.sum() and low + 1e-3 < center[index] < high - 1e-3:
                offsets.append(float(center[index]))
    return offsets


def _candidates(piece: Piece, count: int) -> list[tuple[float, FloatArray, float]]:
    """Possible cuts as (volume of both hulls, normal, offset), best first."""
    edges = _edges(piece.faces)
    cuts = []
    for normal in _axes(piece):
        for offset in _offsets(piece, normal, count):
            cost = _split_hulls(piece, edges, normal, offset)
            if np.isfinite(cost):
                cuts.append((cost, normal, offset))
    return sorted(cuts, key=lambda cut: cut[0])


def _split(piece: Piece, normal: FloatArray, offset: float) -> list[Piece]:
    n = (float(normal[0]), float(normal[1]), float(normal[2]))
    above, below = piece.solid.split_by_plane(n, offset)
    pieces = []
    for half, cut in ((above, ((-n[0], -n[1], -n[2]), -offset)), (below, (n, offset))):
        pieces += [piece_of(part, (*piece.cuts, cut)) for part in half.decompose() if part.volume() > 1e-12]
    return pieces


def _best_cut(piece: Piece) -> list[Piece]:
    """Split along the plane whose two hulls are smallest.

    Halving a cup, a ring or a box without a lid makes the hulls no smaller at once; only the next cuts do. Where no
    plane gains much, the best are therefore judged by what one more cut on each side would gain.
    """
    cuts = _candidates(piece, 7)
    if not cuts:
        return [piece]
    if piece.rough_hull_volume - cuts[0][0] > 0.15 * piece.excess:
        return _split(piece, cuts[0][1], cuts[0][2])
    best: list[Piece] = [piece]
    least = float("inf")
    for cost, normal, offset in cuts[:10]:
        if cost > cuts[0][0] + 0.1 * piece.excess:
            break
        halves = _split(piece, normal, offset)
        after = 0.0
        for half in halves:
            deeper = _candidates(half, 3) if half.excess > 0.02 * piece.excess else []
            after += min([half.rough_hull_volume] + [cut[0] for cut in deeper[:1]])
        if after < least * (1.0 - 1e-9):
            best, least = halves, after
    return best


# --- polytopes -------------------------------------------------------------------------------------------------------


def _clustered_normals(normals: FloatArray, areas: FloatArray, limit: int) -> FloatArray:
    """At most `limit` unit normals that stand for all, large facets first."""
    order = np.argsort(-areas, kind="stable")
    angle = np.radians(12.0)
    while True:
        left = order
        seeds: list[FloatArray] = []
        while len(left) and len(seeds) <= limit:
            seeds.append(normals[left[0]])
            left = left[normals[left] @ normals[left[0]] < np.cos(angle)]
        if len(seeds) <= limit:
            break
        angle *= 1.08
    chosen = np.array(seeds).reshape(-1, 3)
    for _ in range(6 if len(chosen) else 0):  # Lloyd's iteration on the sphere
        owner = (normals @ chosen.T).argmax(axis=1)
        for axis in range(3):
            chosen[:, axis] = np.bincount(owner, areas * normals[:, axis], len(chosen))
        length = np.linalg.norm(chosen, axis=1)
        chosen = chosen[length > 1e-12] / length[length > 1e-12, None]
    return chosen


def _polytope(normals: FloatArray, offsets: FloatArray, inside: FloatArray) -> tuple[FloatArray, float] | None:
    """Vertices ``(V, 3)`` and volume of the half-spaces' intersection, by duality about `inside`.

    None where `inside` is not inside, or the half-spaces do not close.
    """
    from scipy.spatial import ConvexHull, QhullError

    gap = offsets - normals @ inside
    if gap.min() < 1e-5:
        return None
    try:
        facets = ConvexHull(normals / gap[:, None]).equations
        if facets[:, 3].max() > -1e-9:
            return None
        vertices = np.unique(np.round(facets[:, :3] / -facets[:, 3:], 7), axis=0) + inside
        hull = ConvexHull(vertices)
    except QhullError:
        return None
    return vertices[hull.vertices], float(hull.volume)


@dataclass(frozen=True)
class _Shell:
    """Half-spaces that a piece is fitted with: normals, fitted and supporting offsets, and which may move."""

    normals: FloatArray
    offsets: FloatArray
    support: FloatArray
    free: npt.NDArray[np.bool_] = field(repr=False)


def _shell(piece: Piece, max_vertices: int) -> _Shell:
    """The planes of a piece: its cuts, and the mean planes of the surface between them."""
    from scipy.spatial import ConvexHull

    hull = ConvexHull(piece.points)
    corners = piece.points[hull.simplices]
    areas = 0.5 * np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    cut_normals = np.array([cut[0] for cut in piece.cuts]).reshape(-1, 3)
    cut_offsets = np.array([cut[1] for cut in piece.cuts])
    facets, surface_normals = hull.equations[:, :3], _triangles(piece)
    own = np.ones(len(facets), dtype=bool)
    if len(cut_normals):
        own = (facets @ cut_normals.T).max(axis=1) < 0.9995
    normals = _clustered_normals(facets[own], areas[own], max(max_vertices - len(cut_normals), 8))
    support = (piece.points @ normals.T).max(axis=0)
    triangle_normals, triangle_areas, centers = surface_normals
    if len(cut_normals):
        flush = (triangle_normals @ cut_normals.T > 0.9995) & (np.abs(centers @ cut_normals.T - cut_offsets) < 1e-6)
        triangle_areas = np.where(flush.any(axis=1), 0.0, triangle_areas)
    offsets = support.copy()
    if len(normals):
        # A triangle counts for the plane that it lies least below: normals of noisy triangles say little.
        depth = support - centers @ normals.T
        owner = np.where(triangle_normals @ normals.T > 0.3, depth, np.inf).argmin(axis=1)
        depth = np.take_along_axis(depth, owner[:, None], axis=1)[:, 0]
        total = np.bincount(owner, triangle_areas, len(normals))
        offsets = support - np.bincount(owner, triangle_areas * depth, len(normals)) / np.maximum(total, 1e-18)
    # The bounding box, too: a corner between slanted planes must not stick out below what an object stands on.
    box = np.vstack([np.eye(3), -np.eye(3)])
    fixed_normals = np.vstack([cut_normals, box])
    fixed_offsets = np.concatenate([cut_offsets, (piece.points @ box.T).max(axis=0)])
    return _Shell(
        np.vstack([normals, fixed_normals]),
        np.concatenate([offsets, fixed_offsets]),
        np.concatenate([support, fixed_offsets]),
        np.arange(len(normals) + len(fixed_normals)) < len(normals),
    )


def fit_polytope(piece: Piece, max_vertices: int, target: float = 1.0) -> Fit:
    """The convex polytope that stands for a piece: same planes, same volume, few vertices.

    Args:
        piece: what to fit.
        max_vertices: see `CutSettings`.
        target: volume of the polytope as a share of the piece's.
    """
    from scipy.spatial import ConvexHull, QhullError

    try:
        hull = ConvexHull(piece.points)
    except QhullError:
        return Fit(piece.points, piece.volume)
    vertices: FloatArray = piece.points[hull.vertices]
    if len(vertices) <= max_vertices and piece.excess < 0.01 * piece.volume and abs(target - 1.0) < 0.03:
        return Fit(vertices, piece.excess)
    shell = _shell(piece, max_vertices)
    normals, areas, centers = _triangles(piece)
    inside = (vertices.mean(axis=0) + np.average(centers, axis=0, weights=areas)) / 2.0
    best = _at_volume(shell, inside, target * piece.volume, max_vertices)
    if best is None:
        best = _shrunk(vertices, target * piece.volume, hull.volume)
    return Fit(best, _difference(piece.solid, best))


def _at_volume(shell: _Shell, inside: FloatArray, volume: float, max_vertices: int) -> FloatArray | None:
    """Move the free planes together until the polytope has the wanted volume (m³): Illinois false position."""
    limit = np.maximum(shell.support, shell.offsets)
    spread = _directions(max_vertices)

    def at(shift: float) -> tuple[FloatArray, float] | None:
        found = _polytope(shell.normals, np.minimum(shell.offsets + shift * shell.free, limit), inside)
        if found is None or len(found[0]) <= max_vertices:
            return found
        corners = _outermost(found[0], spread)
        return corners, hull_volume(corners)

    low, high = -2e-3, float(max((limit - shell.offsets).max(), 1e-6))
    widest = at(high)
    if widest is None or widest[1] <= volume:
        return None if widest is None else widest[0]
    best, value_high = widest[0], widest[1] - volume
    narrowest = at(low)
    value_low = -volume if narrowest is None else narrowest[1] - volume
    if value_low >= 0.0 and narrowest is not None:
        return narrowest[0]
    for _ in range(8):
        shift = (low * value_high - high * value_low) / (value_high - value_low)
        found = at(shift)
        value = -volume if found is None else found[1] - volume
        if found is not None:
            best = found[0]
        if abs(value) < 2e-3 * volume:
            break
        if value < 0.0:
            low, value_low, value_high = shift, value, 0.5 * value_high
        else:
            high, value_high, value_low = shift, value, 0.5 * value_low
    return best


def _shrunk(vertices: FloatArray, volume: float, hull_volume_m3: float) -> FloatArray:
    """The hull scaled about its middle to a volume: the last resort for pieces that planes do not fit."""
    center = vertices.mean(axis=0)
    shrunk: FloatArray = center + (vertices - center) * min(1.0, (volume / max(hull_volume_m3, 1e-18)) ** (1.0 / 3.0))
    return shrunk


def _difference(solid: Any, vertices: FloatArray) -> float:
    """Volume (m³) of the symmetric difference of a solid and the hull of ``(V, 3)`` points."""
    import manifold3d

    hull = manifold3d.Manifold.hull_points(vertices)
    return float(hull.volume() + solid.volume() - 2.0 * (hull ^ solid).volume())


# --- the whole -------------------------------------------------------------------------------------------------------


def cut(solid: Any, settings: CutSettings, progress: Callable[[float], None] | None = None) -> list[Piece]:
    """Cut a solid until convex polytopes stand for its pieces within the budget, then merge what may be merged.

    Args:
        solid: `manifold3d.Manifold`.
        settings: see `CutSettings`.
        progress: called with a share in [0, 1] between cuts; raising from it stops.
    """
    total = float(solid.volume())
    budget = max(settings.error_budget * total, settings.surface_error_m * float(solid.surface_area()))
    # Bubbles inside come as parts of negative volume: contacts never reach them.
    open_pieces = [piece_of(part) for part in solid.decompose() if part.volume() > 1e-12]
    errors = [_error(piece, settings) for piece in open_pieces]
    done: list[Piece] = []
    spent = 0.0
    # Merging gives some parts back, so cutting may go past the limit.
    while open_pieces and spent + sum(errors) > budget:
        if len(open_pieces) + len(done) >= 1.25 * settings.max_parts:
            break
        index = int(np.argmax(errors))
        piece, error = open_pieces.pop(index), errors.pop(index)
        halves = _best_cut(piece)
        after = [_error(half, settings) for half in halves]
        if len(halves) < 2 or (error < 0.02 * total and sum(after) > error - 0.002 * total):
            done.append(piece)
            spent += error
            continue
        open_pieces += halves
        errors += after
        if progress is not None:
            progress(min(1.0, budget / max(spent + sum(errors), 1e-18)))
    return merge(open_pieces + done, settings, total)


def _error(piece: Piece, settings: CutSettings) -> float:
    """How badly one polytope stands for a piece, m³."""
    if piece.excess > 0.5 * piece.volume:
        return piece.excess
    return fit_polytope(piece, settings.max_vertices).error


def merge(pieces: list[Piece], settings: CutSettings, total: float) -> list[Piece]:
    """Join neighbours, the cheapest pair first, while that costs little or there are too many parts."""
    import manifold3d

    pieces = list(pieces)
    costs: dict[tuple[int, int], float] = {}
    alive = set(range(len(pieces)))

    def price(a: int, b: int) -> None:
        gap = np.maximum(
            pieces[a].points.min(axis=0) - pieces[b].points.max(axis=0),
            pieces[b].points.min(axis=0) - pieces[a].points.max(axis=0),
        )
        if gap.max() < 1e-6 and _touch(pieces[a], pieces[b]):
            joint = np.vstack([_outermost(pieces[a].points), _outermost(pieces[b].points)])
            costs[a, b] = hull_volume(joint) - pieces[a].hull_volume - pieces[b].hull_volume

    for a in range(len(pieces)):
        for b in range(a + 1, len(pieces)):
            price(a, b)
    while costs:
        (a, b), loss = min(costs.items(), key=lambda item: (item[1], item[0]))
        if loss > settings.merge_loss * total and len(alive) <= settings.max_parts:
            break
        joined = manifold3d.Manifold.batch_boolean([pieces[a].solid, pieces[b].solid], manifold3d.OpType.Add)
        cuts = pieces[a].cuts + pieces[b].cuts
        points = np.vstack([pieces[a].points, pieces[b].points])
        whole = tuple(plane for plane in cuts if (points @ plane[0]).max() < plane[1] + 1e-6)
        pieces.append(piece_of(joined, whole))
        alive -= {a, b}
        costs = {pair: cost for pair, cost in costs.items() if not {a, b} & set(pair)}
        for other in sorted(alive):
            price(other, len(pieces) - 1)
        alive.add(len(pieces) - 1)
    return [pieces[index] for index in sorted(alive)]


def _touch(a: Piece, b: Piece) -> bool:
    """Whether two pieces share a cut: a plane of one is the opposite plane of the other."""
    for normal, offset in a.cuts:
        for other, other_offset in b.cuts:
            if abs(offset + other_offset) < 1e-9 and np.dot(normal, other) < -1.0 + 1e-9:
                return True
    return False
