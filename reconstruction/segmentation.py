"""Separate every object on a support: ledges, necks and what is background.

Things on a bench stand side by side or on each other, and the phone sees them mostly from above, so the work is done
on the height map over the ground:

1. connected blobs of cells that rise above the ground,
2. *ledges*: a flat level top inside a blob is a thing of its own, and what rises above it stands on or beside it,
3. *necks*: a blob whose horizontal slices narrow between two thick parts is two things that touch (watershed of the
   slices' distance transform, merged by the ratio of neck to thickness; after Beucher & Lantuéjoul 1979),
4. what hangs outside the support, reaches below it or leaves the picture is background.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from reconstruction.heightmap import BoolGrid, FloatGrid, Ground, HeightMap, IntGrid


@dataclass(frozen=True)
class SegmentationSettings:
    """What counts as an object."""

    min_height_m: float = 0.005
    """A blob rises at least this much (m) over the ground somewhere; thinner things stay part of the support."""
    min_area_m2: float = 4e-4
    """Smallest footprint (m²)."""
    thin_m: float = 0.012
    """Blobs lower than this (m) need `min_thin_area_m2`, for the bending of a scan looks like them."""
    min_thin_area_m2: float = 2.0e-3
    """Smallest footprint (m²) of a thin blob."""
    end_rise_m: float = 0.0022
    """A thin end of a thing (a screwdriver's shaft) rises at least this much (m) in the mean of all views …"""
    end_foot_m: float = 0.009
    """… beyond the smeared foot of the thing, this wide (m) …"""
    min_end_m: float = 0.024
    """… reaches at least this far (m) from it …"""
    end_share: float = 0.8
    """… and covers at most this share of the thing's own cells."""
    max_extent_m: float = 0.6
    """Longer blobs (m) are furniture."""
    groove_width_m: float = 0.028
    """Gaps up to this width (m) between low things are looked for as grooves …"""
    groove_below_m: float = 0.04
    """… between things lower than this (m) …"""
    min_groove_part_m2: float = 1.2e-3
    """… of at least this footprint (m²) each."""
    neck_ratio: float = 0.62
    """Two thick parts are two things if the neck between them is narrower than this share of the thinner part …"""
    colored_neck_ratio: float = 0.85
    """… or than this where they differ in colour by more than `other_color` …"""
    min_neck_area_m2: float = 8e-4
    """Smallest footprint (m²) of a thing that a neck parts from another: less is a spout or a handle."""
    min_colored_area_m2: float = 1.2e-3
    """Smallest footprint (m²) of a thing that only colour parts from another: less is a lid or a label."""
    same_neck_ratio: float = 0.6
    """… or than this where they differ by less than `same_color`; a long neck (a bar) then joins them anyhow."""
    same_color: float = 10.0
    """Parts whose mean colours are nearer than this (CIE L*a*b*, lightness halved) may be one thing …"""
    other_color: float = 24.0
    """… and parts farther apart than this are two."""
    least_floor_m: float = 0.007
    """Thickness (m) believed of the bottom of a vessel that is hidden under what lies in it."""
    flush_share: float = 0.5
    """What rises from a flat top of its own colour and ends flush with it along this share of its outline is part of
    it, where the two together are no more than one convex form from above: a bracket's upright, a toy car's cabin."""
    bar_length: float = 2.0
    """A neck longer than this many times its half width is a bar between two ends, not a place where things touch."""
    min_part_radius_m: float = 0.011
    """Parts thinner than this radius (m) are handles and spouts, never things of their own."""
    min_ledge_area_m2: float = 1.5e-3
    """Smallest flat top (m²) that can carry another thing."""
    min_raised_area_m2: float = 7e-4
    """Smallest footprint (m²) of a thing that stands on another: less is a knob or a button."""
    ledge_step_m: float = 0.016
    """How far (m) something must rise above a flat top to be another thing that stands on it."""
    min_ledge_share: float = 0.5
    """Something stands *beside* a flat top only if that top is at least this share of the lower thing."""
    side_step_m: float = 0.012
    """The same for a thing that stands beside the flat top rather than on it."""
    wall_gap_m: float = 0.03
    """Pieces of a thin wall are one thing across gaps up to this wide (m) if together they enclose something."""
    inside_share: float = 0.55
    """Share of an object's footprint that must lie on the support: the rest may hang over its edge."""


@dataclass(frozen=True)
class Segment:
    """One object's cells.

    Attributes:
        mask: ``(X, Y)`` bool cells whose highest surface belongs to it.
        hidden: ``(X, Y)`` bool cells that it fills under something that stands on it.
        hidden_top_m: z of its top there.
        base_m: z of what it stands on (scene frame).
        top_m: z of its highest cell.
        level: number of the support level, see `Ground`.
        on: position in the list of the segment it stands on, or -1.
    """

    mask: BoolGrid
    hidden: BoolGrid
    hidden_top_m: float
    base_m: float
    top_m: float
    level: int
    on: int = -1


@dataclass(frozen=True)
class Part:
    """One thing of a blob, in the blob's window; heights over the ground.

    Attributes:
        mask: cells whose highest surface belongs to it.
        hidden: cells that it fills under another part.
        hidden_top_m: its height there.
        base_m: height of what it stands on: 0 for the ground.
        on: position in the list of the part that carries it, or -1.
    """

    mask: BoolGrid
    hidden: BoolGrid
    hidden_top_m: float = 0.0
    base_m: float = 0.0
    on: int = -1


def segment(heights: HeightMap, ground: Ground, settings: SegmentationSettings) -> list[Segment]:
    """All objects on `ground`; what carries another stands before it."""
    from scipy import ndimage

    rise = np.where(np.isfinite(heights.top_m), heights.top_m - ground.height_m, 0.0).astype(np.float32)
    # Bent, half-seen rims of a support are noisier than its middle.
    threshold = max(settings.min_height_m, 3.0 * ground.noise_m)
    raised = (rise > threshold) & np.isfinite(heights.top_m)
    raised = ndimage.binary_opening(raised, iterations=1) | (raised & (rise > 3 * threshold))
    raised = with_thin_ends(raised, rise, ground, heights.cell_m, settings)
    labels, _ = ndimage.label(raised, structure=np.ones((3, 3)))
    labels = joined_walls(labels, rise, heights.cell_m, settings)
    segments: list[Segment] = []
    lab = lab_colors(heights)
    field = support_field(ground)
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None:  # joined to another
            continue
        window = tuple(
            slice(max(0, part.start - 2), min(part.stop + 2, size))
            for part, size in zip(box, labels.shape, strict=True)
        )
        mask = labels[window] == label
        if mask.sum() * heights.cell_m**2 < settings.min_area_m2:
            continue
        if is_background(mask, window, heights, ground, field, settings):
            continue
        pieces = [
            piece
            for bulk in split_grooves(mask, rise[window], heights.cell_m, settings)
            for piece in split_necks(bulk, rise[window], heights.cell_m, settings, lab[window])
        ]
        parts: list[Part] = []
        for piece in pieces:
            found = split(piece, rise[window], heights.cell_m, settings, lab[window])
            parts += [replace(part, on=part.on + len(parts) if part.on >= 0 else -1) for part in found]
        parts = with_joined_walls(parts, rise[window], heights.cell_m, settings)
        parts = without_splinters(parts, heights.cell_m, settings)
        segments += _placed(parts, window, rise, heights, ground, settings, first=len(segments))
    return _nested(segments, rise, heights.cell_m)


def with_thin_ends(
    raised: BoolGrid, rise: FloatGrid, ground: Ground, cell_m: float, settings: SegmentationSettings
) -> BoolGrid:
    """`raised` with what is too thin to stand out in the mean of all views: the shaft of a screwdriver.

    The smeared foot of a thing rises as little, but only a thin end goes away from it. One that leads from one thing to
    another is left out, for it would join them.
    """
    from scipy import ndimage

    cube = np.ones((3, 3))
    faint = ~raised & (rise > max(settings.end_rise_m, 2.0 * ground.noise_m))
    away = ndimage.distance_transform_edt(~raised) * cell_m
    beyond = faint & (away > settings.end_foot_m)
    labels, count = ndimage.label(raised, structure=cube)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    pieces, number = ndimage.label(beyond, structure=cube)
    reach = 2 + int(np.ceil(settings.end_foot_m / cell_m))
    result = raised.copy()
    for piece, box in enumerate(ndimage.find_objects(pieces), start=1):
        window = tuple(slice(max(0, part.start - reach - 2), part.stop + reach + 2) for part in box)
        own = pieces[window] == piece
        width = cell_m * float(ndimage.distance_transform_edt(np.pad(own, 1)).max())
        if away[window][own].max() < settings.min_end_m or width > settings.min_part_radius_m:
            continue  # the foot itself, or a sheet of paper
        path = ndimage.binary_dilation(own, structure=cube, iterations=reach, mask=faint[window])
        near = np.unique(labels[window][ndimage.binary_dilation(path, structure=cube)])
        near = near[near > 0]
        if len(near) == 1 and path.sum() <= settings.end_share * sizes[near[0]]:
            result[window] |= path
    return result


def joined_walls(labels: IntGrid, rise: FloatGrid, cell_m: float, settings: SegmentationSettings) -> IntGrid:
    """`labels` ``(X, Y)`` with blobs that are pieces of one thin wall given one label, the lowest.

    The rim of a tray comes in pieces where the phone missed it. Pieces are thin, equally high and end close to each
    other, and together they go round a floor.
    """
    from scipy import ndimage

    result = labels.copy()
    walls: list[tuple[int, float]] = []
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None:
            continue
        piece = labels[box] == label
        radius = cell_m * float(ndimage.distance_transform_edt(np.pad(piece, 1)).max())
        if radius < settings.min_part_radius_m and piece.sum() * cell_m**2 >= 0.5 * settings.min_area_m2:
            walls.append((label, float(np.percentile(rise[box][piece], 75))))
    reach = max(1, round(0.5 * settings.wall_gap_m / cell_m))
    group = {label: label for label, _ in walls}
    for number, (first, height) in enumerate(walls):
        beside = ndimage.binary_dilation(labels == first, iterations=2 * reach)
        for second, other in walls[number + 1 :]:
            if abs(height - other) < settings.side_step_m and (beside & (labels == second)).any():
                old, new = group[second], group[first]
                group = {label: new if name == old else name for label, name in group.items()}
    for name in sorted(set(group.values())):
        members = [label for label, own in group.items() if own == name]
        whole = np.pad(np.isin(labels, members), reach + 1)
        near = ndimage.distance_transform_edt(~whole) <= reach
        enclosed = ndimage.binary_fill_holes(near).sum() - near.sum()
        if len(members) > 1 and enclosed * cell_m**2 >= settings.min_area_m2:
            result[np.isin(labels, members)] = min(members)
    return result


def with_joined_walls(parts: list[Part], rise: FloatGrid, cell_m: float, settings: SegmentationSettings) -> list[Part]:
    """`parts` of one blob with the pieces of one thin wall joined, see `joined_walls`."""
    labels = np.zeros(rise.shape, dtype=np.int32)
    carriers = {part.on for part in parts}
    for number, part in enumerate(parts):
        if part.on < 0 and number not in carriers and not part.hidden.any():
            labels[part.mask] = number + 1
    joined = joined_walls(labels, rise, cell_m, settings)
    result = list(parts)
    for number in range(len(parts)):
        into = int(joined[labels == number + 1][0]) - 1 if (labels == number + 1).any() else number
        if into != number:
            result[into] = replace(result[into], mask=result[into].mask | parts[number].mask)
            result[number] = replace(parts[number], mask=np.zeros_like(parts[number].mask))
    return result


def without_splinters(parts: list[Part], cell_m: float, settings: SegmentationSettings) -> list[Part]:
    """`parts` of one blob with those too small to be things given to the neighbour they touch most: tips of spouts."""
    from scipy import ndimage

    result = list(parts)
    carriers = {part.on for part in parts}
    for number, part in enumerate(parts):
        if part.on >= 0 or number in carriers or part.mask.sum() * cell_m**2 >= settings.min_neck_area_m2:
            continue
        ring = ndimage.binary_dilation(part.mask, iterations=2)
        touching = [0 if other == number else int((item.mask & ring).sum()) for other, item in enumerate(result)]
        best = int(np.argmax(touching))
        if touching[best]:
            result[best] = replace(result[best], mask=result[best].mask | part.mask)
            result[number] = replace(part, mask=np.zeros_like(part.mask))
    return result


def _nested(segments: list[Segment], rise: FloatGrid, cell_m: float) -> list[Segment]:
    """Segments with those that stand in the hole of another one put on its floor, where it has one.

    A tray's floor is lower than what counts as raised, so what stands in the tray is a blob of its own inside a ring.
    """
    from scipy import ndimage

    result = list(segments)
    for outer, item in enumerate(segments):
        hole = ndimage.binary_fill_holes(item.mask) & ~item.mask
        if not hole.any():
            continue
        for inner, other in enumerate(segments):
            if inner == outer or other.on >= 0 or (other.mask & hole).sum() < 0.9 * other.mask.sum():
                continue
            floor = rise[ndimage.binary_erosion(hole & ~ndimage.binary_dilation(other.mask, iterations=3))]
            height = float(np.median(floor)) if floor.size else 0.0
            if height < 0.002:
                continue
            current = result[outer]
            result[outer] = replace(current, hidden=current.hidden | other.mask, hidden_top_m=current.base_m + height)
            result[inner] = replace(result[inner], on=outer, base_m=other.base_m + height)
    return result


def support_field(ground: Ground) -> BoolGrid:
    """Cells that lie on a support, seen or hidden under things: the convex hull of each level's main region."""
    import cv2

    field = np.zeros(ground.level.shape, dtype=np.uint8)
    for level in range(len(ground.coefficients)):
        cells = np.argwhere(ground.level == level).astype(np.int32)
        if len(cells) >= 3:
            hull = cv2.convexHull(cells[:, ::-1].reshape(-1, 1, 2))
            cv2.fillConvexPoly(field, hull, 1)
    return field.astype(bool)


def is_background(
    mask: BoolGrid,
    window: tuple[slice, ...],
    heights: HeightMap,
    ground: Ground,
    field: BoolGrid,
    settings: SegmentationSettings,
) -> bool:
    """Walls, chairs behind the edge, the monitor's foot in the next room: not on the support, or too large."""
    inside = field[window] & mask
    if inside.sum() < settings.inside_share * mask.sum():
        return True
    x, y = np.nonzero(mask)
    extent = heights.cell_m * max(np.ptp(x), np.ptp(y))
    if extent > settings.max_extent_m:
        return True
    from scipy import ndimage

    # A thing standing on the support is surrounded by it at least in part.
    ring = ndimage.binary_dilation(mask, iterations=3) & ~mask
    return bool((ground.level[window][ring] >= 0).mean() < 0.15)


def split(
    mask: BoolGrid, rise: FloatGrid, cell_m: float, settings: SegmentationSettings, lab: FloatGrid | None = None
) -> list[Part]:
    """The things of one blob; what carries another stands before it in the list."""
    from scipy import ndimage

    nothing = np.zeros_like(mask)
    inner = find_contents(mask, rise, cell_m, settings)
    if inner is not None:
        content, level = inner
        outer = Part(mask & ~content, content, level)
        return [
            outer,
            *(Part(piece, nothing, 0.0, level, 0) for piece in split_necks(content, rise, cell_m, settings, lab)),
        ]
    found = find_ledge(mask, rise, cell_m, settings)
    if found is None:
        return [Part(part, nothing) for part in split_necks(mask, rise, cell_m, settings, lab)]
    uppers = [upper for upper in found.raised if not _grown_from(upper, mask, lab, settings)]
    if not uppers:
        return [Part(part, nothing) for part in split_necks(mask, rise, cell_m, settings, lab)]
    rest = mask.copy()
    for upper in uppers:
        rest &= ~upper
    labels, _ = ndimage.label(rest, structure=np.ones((3, 3)))
    # What stands on a box can part its top into several pieces: all that end at the ledge's height are the box.
    flat = rest & (np.abs(rise - found.height_m) < 0.5 * settings.ledge_step_m)
    shares = np.bincount(labels[flat], minlength=int(labels.max()) + 1) / np.maximum(np.bincount(labels.ravel()), 1)
    shares[0] = 0
    shares[int(np.bincount(labels[found.ledge]).argmax())] = 1
    body = shares[labels] > 0.4
    outline = _convex_hull(flat & body)
    stacked = [bool((upper & outline).sum() > settings.inside_share * upper.sum()) for upper in uppers]
    if not all(stacked):
        # Low cells outside the flat top are the thin end of what lies beside it: a screwdriver's shaft.
        body &= ndimage.binary_dilation(outline, iterations=2) | (rise > found.height_m - 0.004)
    hidden = nothing.copy()
    for upper, on_top in zip(uppers, stacked, strict=True):
        hidden |= upper & outline & on_top
    bases = [
        _base_on(found, upper, outline, cell_m, settings) if on_top else 0.0
        for upper, on_top in zip(uppers, stacked, strict=True)
    ]
    hidden_top = min([base for base, on_top in zip(bases, stacked, strict=True) if on_top], default=0.0)
    low = np.where(hidden, np.float32(found.height_m), rise)
    parts = [
        Part(piece & rest, piece & hidden, hidden_top)
        for piece in split_necks(body | hidden, low, cell_m, settings, lab)
    ]
    uppers = _with_leftovers(uppers, stacked, rest & ~body)
    for upper, on_top, base in zip(uppers, stacked, bases, strict=True):
        carrier = int(np.argmax([(upper & part.hidden).sum() for part in parts])) if on_top else -1
        for piece in split_necks(upper, rise - np.float32(base), cell_m, settings, lab):
            parts.append(Part(piece, nothing, 0.0, base, carrier))
    return parts


def _grown_from(upper: BoolGrid, mask: BoolGrid, lab: FloatGrid | None, settings: SegmentationSettings) -> bool:
    """Whether `upper` is the raised part of one thing rather than another thing on or beside the rest of `mask`."""
    from scipy import ndimage

    if lab is None:
        return False
    ring = ndimage.binary_dilation(upper, iterations=2) & ~upper
    if (ring & ~mask).sum() < settings.flush_share * ring.sum() or mask.sum() < 0.9 * _convex_hull(mask).sum():
        return False
    around = ndimage.binary_dilation(upper, iterations=8) & mask & ~ndimage.binary_dilation(upper, iterations=2)
    inner = upper & ndimage.binary_erosion(upper, iterations=1)
    sides = [lab[cells][np.isfinite(lab[cells][:, 0])] for cells in (inner, around)]
    if min(len(side) for side in sides) < 8:
        return False
    return float(np.linalg.norm(np.median(sides[0], axis=0) - np.median(sides[1], axis=0))) < settings.same_color


def _base_on(found: Ledge, upper: BoolGrid, outline: BoolGrid, cell_m: float, settings: SegmentationSettings) -> float:
    """Height of what `upper` stands on: the flat top, or, where that is the rim of a vessel, its unseen inside.

    Round things hide the vessel's bottom; below the rim they reach about as far down as they are wide there.
    """
    from scipy import ndimage

    if (upper & outline).sum() < 0.4 * outline.sum() or found.ledge.sum() > 0.5 * outline.sum():
        return found.height_m
    # A rim goes all round; a box that carries a block nearly as large shows its corners.
    middle = np.argwhere(upper).mean(axis=0)
    directions = np.arctan2(*(np.argwhere(found.ledge) - middle).T)
    sectors = np.unique(((directions + np.pi) / (2 * np.pi) * 36).astype(np.int64))
    if len(sectors) < 31:
        return found.height_m
    radius = cell_m * float(ndimage.distance_transform_edt(np.pad(upper, 1)).max())
    return max(settings.least_floor_m, found.height_m - radius)


def _with_leftovers(uppers: list[BoolGrid], stacked: list[bool], left: BoolGrid) -> list[BoolGrid]:
    """`uppers` with the cells of `left` that touch one of those standing beside the flat top."""
    from scipy import ndimage

    labels, count = ndimage.label(left, structure=np.ones((3, 3)))
    result = [upper.copy() for upper in uppers]
    for label in range(1, count + 1):
        piece = labels == label
        near = ndimage.binary_dilation(piece, iterations=2)
        touching = [0 if on_top else int((near & upper).sum()) for upper, on_top in zip(uppers, stacked, strict=True)]
        if max(touching, default=0) > 0:
            result[int(np.argmax(touching))] |= piece
    return result


def _convex_hull(mask: BoolGrid) -> BoolGrid:
    import cv2

    cells = np.argwhere(mask).astype(np.int32)
    filled = np.zeros(mask.shape, dtype=np.uint8)
    cv2.fillConvexPoly(filled, cv2.convexHull(cells[:, ::-1].reshape(-1, 1, 2)), 1)
    return filled.astype(bool)


@dataclass(frozen=True)
class Ledge:
    """A flat level top and what rises from or beside it.

    Attributes:
        ledge: its cells.
        height_m: over the ground.
        raised: masks of the regions that rise above it.
    """

    ledge: BoolGrid
    height_m: float
    raised: list[BoolGrid]


def find_contents(
    mask: BoolGrid, rise: FloatGrid, cell_m: float, settings: SegmentationSettings
) -> tuple[BoolGrid, float] | None:
    """What lies in a container: cells inside a ring of higher cells, parted from it by a moat, and the moat's level.

    It shows as a piece of substance inside the ring in a slice through the blob; the level is the moat's bottom.
    """
    from scipy import ndimage

    top = float(rise[mask].max())
    for level in np.arange(0.012, top - 0.012, 0.006):
        labels, count = ndimage.label(mask & (rise > level))
        if count < 2:
            continue
        sizes = np.bincount(labels.ravel())
        sizes[0] = 0
        ring = labels == int(np.argmax(sizes))
        inside = ndimage.binary_fill_holes(ring) & ~ring
        for label in np.unique(labels[inside & (labels > 0)]):
            piece = labels == label
            radius = cell_m * float(ndimage.distance_transform_edt(np.pad(piece, 1)).max())
            high = float(rise[piece].max()) > level + 0.012
            if piece.sum() * cell_m**2 >= settings.min_raised_area_m2 and radius >= settings.min_part_radius_m and high:
                content = piece & mask
                # Cells that nobody saw have no height; a vessel has a bottom.
                moat = rise[inside & ~ndimage.binary_dilation(content, iterations=1)]
                moat = moat[moat > settings.least_floor_m]
                floor = float(np.percentile(moat, 20)) if moat.size >= 10 else float(level)
                # A moat as narrow as between an apple and its bowl is seen filled: a round thing reaches farther down.
                round_bottom = float(rise[piece].max()) - 2.0 * radius
                return content, min(max(min(floor, round_bottom), settings.least_floor_m), float(level))
    return None


def find_ledge(mask: BoolGrid, rise: FloatGrid, cell_m: float, settings: SegmentationSettings) -> Ledge | None:
    """A flat level top inside `mask` and the substantial regions that rise from it, if there are any."""
    from scipy import ndimage

    inner = ndimage.binary_erosion(mask, iterations=1)
    values = rise[inner]
    if values.size * cell_m**2 < settings.min_ledge_area_m2:
        return None
    step = 0.001
    counts = np.bincount((np.maximum(values, 0) / step).astype(np.int64)).astype(np.float64)
    smooth = ndimage.uniform_filter1d(counts, 7, mode="constant") * 7
    for height_index in np.argsort(-smooth, kind="stable")[:60]:
        if smooth[height_index] * cell_m**2 < settings.min_ledge_area_m2:
            break
        height = (height_index + 0.5) * step
        flat = ndimage.binary_opening(inner & (np.abs(rise - height) < 0.004), iterations=1)
        ledge = _largest(flat, 0.2)
        if ledge.sum() * cell_m**2 < settings.min_ledge_area_m2:
            ledge = _rim(mask, rise, height)
        if ledge.sum() * cell_m**2 < settings.min_ledge_area_m2 or not _level(ledge, rise, cell_m):
            continue
        raised = _rising_parts(mask, ledge, rise, height, cell_m, settings)
        if raised:
            return Ledge(ledge, float(np.median(rise[ledge])), raised)
    return None


def _largest(mask: BoolGrid, least_share: float = 1.0) -> BoolGrid:
    """The largest connected region of `mask`, and those of at least `least_share` of its size."""
    from scipy import ndimage

    labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
    if count == 0:
        return mask
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return np.asarray((sizes >= least_share * sizes.max())[labels] & mask)


def _rim(mask: BoolGrid, rise: FloatGrid, height: float) -> BoolGrid:
    """A thin ring of cells at `height`, too narrow to survive opening: the rim of a vessel that is full.

    A slope has such a band at every height; a rim stands out from the bands above and below it.
    """
    band = mask & (np.abs(rise - height) < 0.0025)
    beside = mask & (np.abs(rise - height) >= 0.0025) & (np.abs(rise - height) < 0.0075)
    if band.sum() < 1.6 * 0.5 * beside.sum():
        return np.zeros_like(mask)
    return _largest(band)


def _level(region: BoolGrid, rise: FloatGrid, cell_m: float) -> bool:
    x, y = np.nonzero(region)
    terms = np.stack([np.ones(len(x)), x * cell_m, y * cell_m], axis=1)
    fit, *_ = np.linalg.lstsq(terms, rise[region].astype(np.float64), rcond=None)
    residual = rise[region] - terms @ fit
    return bool(np.hypot(fit[1], fit[2]) < 0.1 and np.std(residual) < 0.0018)


def _rising_parts(
    mask: BoolGrid, ledge: BoolGrid, rise: FloatGrid, height: float, cell_m: float, settings: SegmentationSettings
) -> list[BoolGrid]:
    from scipy import ndimage

    # From halfway up the step: the lower half is the smeared foot of the upper thing's flank.
    high = mask & (rise > height + 0.75 * settings.side_step_m)
    labels, count = ndimage.label(high)
    outline = _convex_hull(ledge)
    result = []
    for label in range(1, count + 1):
        part = labels == label
        filled = ndimage.binary_fill_holes(part)
        beside = bool((filled & outline).sum() < 0.5 * filled.sum())
        tall = rise[part].max() > height + 2.0 * settings.ledge_step_m
        if beside and not tall and ledge.sum() < settings.min_ledge_share * (mask & ~high).sum():
            continue
        least_area = settings.min_area_m2 if beside else settings.min_raised_area_m2
        step = settings.side_step_m if beside else settings.ledge_step_m
        if filled.sum() * cell_m**2 < least_area or rise[part].max() < height + step:
            continue
        radius = cell_m * float(ndimage.distance_transform_edt(np.pad(filled, 1)).max())
        if radius < settings.min_part_radius_m * (0.7 if beside else 1.0):
            continue
        # The rim of a plate, a bowl or an open box bends round its own flat bottom: that is one thing.
        own_hull = _convex_hull(filled)
        bent = beside and filled.sum() < 0.65 * own_hull.sum()
        if bent or (ledge & filled).sum() > 0.5 * ledge.sum() or (ledge & own_hull).sum() > 0.6 * ledge.sum():
            continue
        # The flank between the ledge and the upper thing belongs to the upper thing.
        grown = ndimage.binary_dilation(filled, iterations=2) & mask & ~ledge
        result.append(np.asarray(filled & mask | grown))
    return result


def split_grooves(mask: BoolGrid, rise: FloatGrid, cell_m: float, settings: SegmentationSettings) -> list[BoolGrid]:
    """Low things that lie so close together that the gap between them is seen as a groove only."""
    from scipy import ndimage

    width = 2 * int(round(0.5 * settings.groove_width_m / cell_m)) + 1
    closed = ndimage.grey_closing(np.where(mask, rise, 0), size=(width, width))
    depth = closed - rise
    groove = mask & (closed < settings.groove_below_m) & (depth > np.maximum(0.005, 0.35 * closed))
    # The moat between a tray's rim and what stands in the tray parts nothing that lies side by side.
    if not groove.any() or find_contents(mask, rise, cell_m, settings) is not None:
        return [mask]
    labels, count = ndimage.label(mask & ~groove)
    sizes = np.bincount(labels.ravel(), minlength=count + 1) * cell_m**2
    large = [label for label in range(1, count + 1) if sizes[label] >= settings.min_groove_part_m2]
    if len(large) < 2:
        return [mask]
    kept = np.isin(labels, large)
    _, nearest = ndimage.distance_transform_edt(~kept, return_indices=True)
    owner = labels[tuple(nearest)]
    return [mask & (owner == label) for label in large]


def lab_colors(heights: HeightMap) -> FloatGrid:
    """``(X, Y, 3)`` colours of the cells in CIE L*a*b*, NaN without any; lightness, which light changes, is halved."""
    import cv2

    if heights.rgb is None:
        return np.full((*heights.top_m.shape, 3), np.nan, dtype=np.float32)
    lab = cv2.cvtColor(heights.rgb.astype(np.float32) / np.float32(255), cv2.COLOR_RGB2LAB)
    lab[..., 0] *= 0.5
    lab[~np.isfinite(heights.top_m)] = np.nan
    return np.asarray(lab, dtype=np.float32)


def split_necks(
    mask: BoolGrid, rise: FloatGrid, cell_m: float, settings: SegmentationSettings, lab: FloatGrid | None = None
) -> list[BoolGrid]:
    """Parts of `mask` that touch only through a neck, by watershed on the distance transform of its slices.

    How narrow the neck must be depends on how much the parts differ in colour (`lab` ``(X, Y, 3)``).
    """
    from scipy import ndimage

    if mask.sum() * cell_m**2 < 2 * settings.min_area_m2:
        return [mask]
    top = float(rise[mask].max())
    levels = np.arange(0.006, max(top, 0.007), max(0.008, top / 16))
    slices = []
    for level in levels:
        solid = ndimage.binary_fill_holes(ndimage.binary_closing(np.pad(mask & (rise > level), 3), iterations=2))
        slices.append(ndimage.distance_transform_edt(solid)[3:-3, 3:-3])
    thickness = np.stack(slices, axis=-1) * cell_m
    rule = _NeckRule(thickness, cell_m, settings, lab)
    owner = merge_tree(thickness, rule, settings.min_part_radius_m)
    # A cell belongs to the part that owns its highest solid slice.
    solid = owner >= 0
    highest = solid.shape[2] - 1 - np.argmax(solid[..., ::-1], axis=2)
    cell_owner = np.where(solid.any(axis=2), np.take_along_axis(owner, highest[..., None], axis=2)[..., 0], -1)
    names = [name for name in np.unique(cell_owner[mask]) if name >= 0]
    if len(names) <= 1:
        return [mask]
    missing = mask & (cell_owner < 0)
    if missing.any():
        _, nearest = ndimage.distance_transform_edt(cell_owner < 0, return_indices=True)
        cell_owner = np.where(missing, cell_owner[tuple(nearest)], cell_owner)
    parts = [mask & (cell_owner == name) for name in names]
    by_color = {int(owner.ravel()[cell]) for cell in rule.by_color}
    least = [settings.min_colored_area_m2 if name in by_color else settings.min_neck_area_m2 for name in names]
    return _without_crumbs(parts, least, cell_m)


class _NeckRule:
    """How narrow a neck must be for the parts on its two sides to be two things."""

    def __init__(
        self,
        thickness: npt.NDArray[np.floating[Any]],
        cell_m: float,
        settings: SegmentationSettings,
        lab: FloatGrid | None,
    ) -> None:
        self.thickness, self.cell_m, self.settings, self.lab = thickness, cell_m, settings, lab
        self.by_color: list[int] = []
        """A cell of each part that colour alone may have parted from another."""

    def __call__(
        self, first: npt.NDArray[np.int64], second: npt.NDArray[np.int64], value: float, waist: float
    ) -> float:
        """The ratio for two basins, given as flat indices of their cells, that meet where the thickness is `value`."""
        s = self.settings
        difference = self._difference(first, second, value)
        if difference > s.other_color and waist > 0.6:
            self.by_color.append(int(second[0]))
            # A tool's head and handle differ in colour too: thin parts need a clearer neck.
            return s.colored_neck_ratio * min(1.0, waist / 0.9)
        if difference >= s.same_color:
            return s.neck_ratio * waist
        bar = self._gap_m(first, second, value) > s.bar_length * value
        return 0.0 if bar else s.same_neck_ratio * waist

    def _difference(self, first: npt.NDArray[np.int64], second: npt.NDArray[np.int64], value: float) -> float:
        """Colour distance of the two parts' middles; between the limits where there is no colour."""
        unknown = 0.5 * (self.settings.same_color + self.settings.other_color)
        if self.lab is None:
            return unknown
        means = []
        for cells in (first, second):
            # At the rim of a thing the colours of what lies behind are mixed in.
            inner = cells[self.thickness.ravel()[cells] >= 2.0 * self.cell_m]
            columns = np.unique(inner // self.thickness.shape[2])
            colors = self.lab.reshape(-1, 3)[columns]
            colors = colors[np.isfinite(colors[:, 0])]
            if len(colors) < 8:
                return unknown
            means.append(np.median(colors, axis=0))
        return float(np.linalg.norm(means[0] - means[1]))

    def _gap_m(self, first: npt.NDArray[np.int64], second: npt.NDArray[np.int64], value: float) -> float:
        """How far apart the two parts are where they are clearly thicker than the neck."""
        from scipy.spatial import cKDTree

        flat = self.thickness.ravel()
        sides = []
        for cells in (first, second):
            thick = cells[flat[cells] >= 1.25 * value]
            sides.append(np.unique(np.stack(np.unravel_index(thick, self.thickness.shape)[:2], axis=1), axis=0))
        if not len(sides[0]) or not len(sides[1]):
            return 0.0
        return float(cKDTree(sides[0]).query(sides[1])[0].min()) * self.cell_m


def _without_crumbs(parts: Sequence[BoolGrid], least_m2: Sequence[float], cell_m: float) -> list[BoolGrid]:
    """`parts` with those smaller than their least area given to the neighbour they touch most."""
    from scipy import ndimage

    areas = [float(part.sum()) * cell_m**2 for part in parts]
    large = [part for part, area, least in zip(parts, areas, least_m2, strict=True) if area >= least]
    small = [part for part, area, least in zip(parts, areas, least_m2, strict=True) if area < least]
    if not large:
        return [np.logical_or.reduce(parts)]
    for crumb in small:
        ring = ndimage.binary_dilation(crumb, iterations=2)
        touching = [int((part & ring).sum()) for part in large]
        best = int(np.argmax(touching))
        large[best] = large[best] | crumb
    return large


NeckRule = Callable[[npt.NDArray[np.int64], npt.NDArray[np.int64], float, float], float]


def merge_tree(thickness: npt.NDArray[np.floating[Any]], neck_ratio: NeckRule | float, min_radius: float) -> IntGrid:
    """Watershed of `thickness` (any dimension, 0 outside), basins merged unless the pass between them is a neck.

    Cells are taken from thick to thin. Where two basins meet, they stay apart if both peaks reach `min_radius` and
    the thickness at the pass is below `neck_ratio` times the lower peak.

    Args:
        thickness: metres.
        neck_ratio: a number, or a function of the two basins' cells (flat indices), the thickness at the pass and how
            much narrower a pass must be to count as one in parts as thin as these (1: no narrower).
        min_radius: metres.

    Returns:
        Basin number of each cell, -1 outside.
    """
    shape = thickness.shape
    flat = thickness.ravel()
    cells = np.flatnonzero(flat > 0)
    order = cells[np.argsort(-flat[cells], kind="stable")]
    owner = np.full(flat.size, -1, dtype=np.int64)
    parent: list[int] = []
    peak: list[float] = []
    members: list[list[int]] = []
    apart: set[tuple[int, int]] = set()

    def root(number: int) -> int:
        while parent[number] != number:
            parent[number] = parent[parent[number]]
            number = parent[number]
        return number

    def separate(first: int, second: int, value: float) -> bool:
        """Whether two basins, the second the thinner, stay apart; thicker passes come first, so once is for ever."""
        if (first, second) in apart:
            return True
        if peak[second] < min_radius:
            return False
        # Thin things have waists: the thinner a part, the narrower the pass must be.
        waist = min(1.0, peak[second] / max(2.0 * min_radius, 1e-9))
        if isinstance(neck_ratio, float):
            ratio = neck_ratio * waist
        else:
            ratio = neck_ratio(np.array(members[first]), np.array(members[second]), value, waist)
        if value < ratio * peak[second]:
            apart.add((first, second))
            return True
        return False

    strides = [int(np.prod(shape[axis + 1 :])) for axis in range(len(shape))]
    coordinates = np.stack(np.unravel_index(order, shape), axis=1).tolist()
    for cell, place in zip(order.tolist(), coordinates, strict=True):
        value = float(flat[cell])
        around: list[tuple[float, int, int]] = []
        for axis, stride in enumerate(strides):
            for inside, beside in ((place[axis] > 0, cell - stride), (place[axis] < shape[axis] - 1, cell + stride)):
                if inside and owner[beside] >= 0:
                    basin = root(int(owner[beside]))
                    around.append((float(flat[beside]), -basin, basin))
        basins = sorted({basin for *_, basin in around}, key=lambda number: (-peak[number], number))
        if not basins:
            owner[cell] = len(parent)
            parent.append(len(parent))
            peak.append(value)
            members.append([cell])
            continue
        # The way up leads to the thickest neighbour, not to the mightiest basin: that one would eat its way along the
        # border of the others.
        owner[cell] = max(around)[2]
        members[owner[cell]].append(cell)
        for other in basins[1:]:
            if not separate(basins[0], other, value):
                parent[other] = basins[0]
                members[basins[0]] += members[other]
                members[other] = []
    names = {number: root(number) for number in range(len(parent))}
    result = np.array([names[number] if number >= 0 else -1 for number in owner.tolist()], dtype=np.int32)
    return result.reshape(shape)


def _placed(
    parts: Sequence[Part],
    window: tuple[slice, ...],
    rise: FloatGrid,
    heights: HeightMap,
    ground: Ground,
    settings: SegmentationSettings,
    first: int,
) -> list[Segment]:
    """The parts that are objects as segments of the whole grid; `first` is the list position of the first of them."""
    from scipy import ndimage

    segments: list[Segment] = []
    position: dict[int, int] = {}
    for number, part in enumerate(parts):
        mask, hidden = np.zeros(rise.shape, dtype=bool), np.zeros(rise.shape, dtype=bool)
        mask[window], hidden[window] = part.mask, part.hidden
        footprint = mask | hidden
        if not mask.any():
            continue
        ring = ndimage.binary_dilation(footprint, iterations=3) & ~footprint
        levels = ground.level[ring & (ground.level >= 0)]
        level = int(np.bincount(levels).argmax()) if levels.size else 0
        floor = float(np.median(ground.height_m[footprint]))
        candidate = Segment(
            mask,
            hidden,
            floor + part.hidden_top_m,
            floor + part.base_m,
            float(np.percentile(heights.top_m[mask], 99.5)),
            level,
            position.get(part.on, -1),
        )
        if is_object(candidate, heights.cell_m, settings):
            position[number] = first + len(segments)
            segments.append(candidate)
    return segments


def is_object(candidate: Segment, cell_m: float, settings: SegmentationSettings) -> bool:
    """Whether a part is big enough to be a thing rather than noise."""
    footprint = candidate.mask | candidate.hidden
    area = footprint.sum() * cell_m**2
    if area < settings.min_area_m2:
        return False
    height = candidate.top_m - candidate.base_m
    if height < settings.thin_m:
        from scipy import ndimage

        core = ndimage.binary_erosion(footprint, iterations=2)
        return bool(area >= settings.min_thin_area_m2 and core.sum() * cell_m**2 > 0.3 * area)
    return True
