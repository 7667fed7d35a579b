"""Things on, in and beside each other: flat tops, rims of vessels that hold something, grooves between low things."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reconstruction.heightmap import BoolGrid, FloatGrid, convex_outline
from reconstruction.necks import split_necks
from reconstruction.segments import Part, SegmentationSettings


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
    uppers = [
        upper
        for upper in found.raised
        if not _grown_from(upper, mask, lab, settings)
        and not _stood_on_edge(upper, mask, rise - np.float32(found.height_m), cell_m, settings)
    ]
    stacked: list[bool] = []
    while uppers and not stacked:
        rest, body, outline = _carrier(found, uppers, mask, rise, settings)
        stacked = [bool((upper & outline).sum() > settings.inside_share * upper.sum()) for upper in uppers]
        least_top = found.crest_m + settings.ledge_step_m
        bumps = [on_top and rise[upper].max() < least_top for upper, on_top in zip(uppers, stacked, strict=True)]
        if any(bumps):  # bumps of the top, which is larger with them
            uppers, stacked = [upper for upper, bump in zip(uppers, bumps, strict=True) if not bump], []
    if not uppers:
        return [Part(part, nothing) for part in split_necks(mask, rise, cell_m, settings, lab)]
    if not all(stacked):
        # Low cells outside the flat top are the thin end of what lies beside it: a screwdriver's shaft.
        body &= ndimage.binary_dilation(outline, iterations=2) | (rise > found.height_m - 0.004)
    hidden = nothing.copy()
    for upper, on_top in zip(uppers, stacked, strict=True):
        hidden |= upper & outline & on_top
    bases = [
        _base_on(found, upper, outline, rise, cell_m, settings) if on_top else 0.0
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


def _carrier(
    found: Ledge, uppers: list[BoolGrid], mask: BoolGrid, rise: FloatGrid, settings: SegmentationSettings
) -> tuple[BoolGrid, BoolGrid, BoolGrid]:
    """What is not `uppers`, the part of that which belongs to the flat top, and the convex outline of the top."""
    from scipy import ndimage

    rest = mask & ~np.logical_or.reduce(uppers)
    labels, _ = ndimage.label(rest, structure=np.ones((3, 3)))
    # What stands on a box can part its top into several pieces: all that end at the ledge's height are the box.
    flat = rest & (np.abs(rise - found.height_m) < 0.5 * settings.ledge_step_m)
    shares = np.bincount(labels[flat], minlength=int(labels.max()) + 1) / np.maximum(np.bincount(labels.ravel()), 1)
    shares[0] = 0
    shares[int(np.bincount(labels[found.ledge]).argmax())] = 1
    body = shares[labels] > 0.4
    return rest, body, convex_outline(flat & body)


def _grown_from(upper: BoolGrid, mask: BoolGrid, lab: FloatGrid | None, settings: SegmentationSettings) -> bool:
    """Whether `upper` is the raised part of one thing rather than another thing on or beside the rest of `mask`."""
    from scipy import ndimage

    # Where the colour is the same the form may be less simple than where it is not.
    if lab is None or not _flush(upper, mask, 0.8, settings):
        return False
    around = ndimage.binary_dilation(upper, iterations=8) & mask & ~ndimage.binary_dilation(upper, iterations=2)
    inner = upper & ndimage.binary_erosion(upper, iterations=1)
    sides = [lab[cells][np.isfinite(lab[cells][:, 0])] for cells in (inner, around)]
    if min(len(side) for side in sides) < 8:
        return False
    return float(np.linalg.norm(np.median(sides[0], axis=0) - np.median(sides[1], axis=0))) < settings.same_color


def _flush(upper: BoolGrid, mask: BoolGrid, least_convex: float, settings: SegmentationSettings) -> bool:
    """Whether `upper` ends where `mask` does, and `mask` fills at least `least_convex` of its convex outline."""
    from scipy import ndimage

    ring = ndimage.binary_dilation(upper, iterations=2) & ~upper
    ends = (ring & ~mask).sum() >= settings.flush_share * ring.sum()
    return bool(ends and mask.sum() >= least_convex * convex_outline(mask).sum())


def _stood_on_edge(
    upper: BoolGrid, mask: BoolGrid, above: FloatGrid, cell_m: float, settings: SegmentationSettings
) -> bool:
    """Whether `upper` is a plate too slender to stand by itself that ends flush with the rest of `mask`: a bracket.

    `above` ``(X, Y)`` holds heights over the flat top (m).
    """
    import cv2

    if not _flush(upper, mask, 0.86, settings):
        return False
    height_m = float(above[upper].max())
    # The lower half is widened by the smeared foot of its flank.
    _, plate, _ = cv2.minAreaRect(np.argwhere(upper & (above > 0.5 * height_m)).astype(np.float32))
    _, whole, _ = cv2.minAreaRect(np.argwhere(mask).astype(np.float32))
    thickness, length = sorted((side + 1) * cell_m for side in plate)
    across = length > 0.75 * (min(whole) + 1) * cell_m
    # A bottle beside a book is as slender, but round.
    return bool(across and length > 1.2 * thickness and thickness < settings.slender_share * height_m)


def _base_on(
    found: Ledge, upper: BoolGrid, outline: BoolGrid, rise: FloatGrid, cell_m: float, settings: SegmentationSettings
) -> float:
    """Height of what `upper` stands on: the flat top, or, where that is the rim of a vessel, its unseen inside.

    Round things hide the vessel's bottom; below the rim they reach about as far down as they are wide there.
    """
    from scipy import ndimage

    radius = cell_m * float(ndimage.distance_transform_edt(np.pad(upper, 1)).max())
    # Between a rim and what lies in the vessel there is more than the foot of a flank.
    moat = outline & ~upper & ~found.ledge
    if moat.sum() > settings.moat_share * outline.sum():
        round_bottom = float(rise[upper].max()) - 2.0 * radius
        return max(settings.least_floor_m, min(found.height_m - radius, round_bottom))
    if (upper & outline).sum() < 0.4 * outline.sum() or found.ledge.sum() > 0.5 * outline.sum():
        return found.height_m
    # A rim goes all round; a box that carries a block nearly as large shows its corners.
    middle = np.argwhere(upper).mean(axis=0)
    directions = np.arctan2(*(np.argwhere(found.ledge) - middle).T)
    sectors = np.unique(((directions + np.pi) / (2 * np.pi) * 36).astype(np.int64))
    if len(sectors) < 31:
        return found.height_m
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


@dataclass(frozen=True)
class Ledge:
    """A flat level top and what rises from or beside it.

    Attributes:
        ledge: its cells.
        height_m: over the ground.
        crest_m: the same of its higher places: things on an uneven top, a lid with ribs, rise over its ribs too.
        raised: masks of the regions that rise above it.
    """

    ledge: BoolGrid
    height_m: float
    crest_m: float
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
    return _leaning_contents(mask, rise, cell_m, settings)


def _leaning_contents(
    mask: BoolGrid, rise: FloatGrid, cell_m: float, settings: SegmentationSettings
) -> tuple[BoolGrid, float] | None:
    """The same for what touches the wall of its container: a hill on a low floor that a wall goes round."""
    from scipy import ndimage

    filled = ndimage.binary_fill_holes(mask)
    depth_m = ndimage.distance_transform_edt(np.pad(filled, 1))[1:-1, 1:-1] * cell_m
    wall = filled & (depth_m < settings.wall_depth_m)
    inner = filled & ~wall
    seen = inner & mask
    if seen.sum() * cell_m**2 < settings.min_ledge_area_m2:
        return None
    floor = max(float(np.percentile(rise[seen], 10)), settings.least_floor_m)
    # All along the outline the wall stands above the floor.
    step = settings.side_step_m
    high = ndimage.binary_dilation(mask & (rise > floor + step), iterations=2)
    outline = filled & (depth_m < 1.5 * cell_m)
    low = seen & (rise < floor + 0.5 * step)
    if (outline & ~high).sum() > 0.1 * outline.sum() or low.sum() < 0.15 * inner.sum():
        return None
    rim = float(np.percentile(rise[wall & mask], 75))
    labels, count = ndimage.label(ndimage.binary_opening(seen & (rise > floor + step), iterations=1))
    content = np.zeros_like(mask)
    for label in range(1, count + 1):
        piece = labels == label
        deep = piece & (depth_m > 2.0 * settings.wall_depth_m)
        leaning = piece & (depth_m < settings.wall_depth_m + 2.0 * cell_m)
        if piece.sum() * cell_m**2 < settings.min_raised_area_m2 or not deep.any():
            continue
        # The inside of a bowl rises towards its wall and no higher; a thing in it falls towards the wall or tops it.
        beside = float(np.percentile(rise[leaning], 75)) if leaning.any() else floor
        hill = rise[deep].max() > min(beside, rim) + 0.5 * step
        # Something that lies along the outside of a vessel puts the rim there inside the outline: an arc, no hill.
        compact = piece.sum() > 0.6 * convex_outline(piece).sum()
        radius = cell_m * float(ndimage.distance_transform_edt(np.pad(piece, 1)).max())
        if compact and hill and radius >= settings.min_part_radius_m:
            content |= piece
    return (content, floor) if content.any() else None


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
        high = ndimage.binary_dilation(_above(mask, rise, height, settings), iterations=3)
        bare = rise[convex_outline(ledge) & mask & ~high]
        crest = max(height, float(np.percentile(bare, 90))) if bare.size else height
        raised = _rising_parts(mask, ledge, rise, height, cell_m, settings)
        if raised:
            return Ledge(ledge, float(np.median(rise[ledge])), crest, raised)
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


def _above(mask: BoolGrid, rise: FloatGrid, height: float, settings: SegmentationSettings) -> BoolGrid:
    """Cells of `mask` that rise over a flat top: the lower half of a step is the smeared foot of a flank."""
    return mask & (rise > height + 0.75 * settings.side_step_m)


def _rising_parts(
    mask: BoolGrid, ledge: BoolGrid, rise: FloatGrid, height: float, cell_m: float, settings: SegmentationSettings
) -> list[BoolGrid]:
    from scipy import ndimage

    high = _above(mask, rise, height, settings)
    labels, count = ndimage.label(high)
    outline = convex_outline(ledge)
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
        own_hull = convex_outline(filled)
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
    parts = [mask & (owner == label) for label in large]
    # The pieces of a tray's rim and what stands in the tray lie round each other, not side by side.
    for number, part in enumerate(parts):
        hull = convex_outline(part)
        if any((hull & other).sum() > 0.3 * other.sum() for other in parts[:number] + parts[number + 1 :]):
            return [mask]
    return parts
