"""Separate every object on a support: ledges, necks, fragments and what is background.

Things on a bench stand side by side or on each other, and the phone sees them mostly from above, so the work is done
on the height map over the ground:

1. connected blobs of cells that rise above the ground,
2. *ledges*: a flat level top inside a blob is a thing of its own, and what rises above it stands on or beside it,
3. *necks*: a blob whose horizontal slices narrow between two thick parts is two things that touch; how narrow depends
   on how much the parts differ in colour,
4. *colours*: what is left in one piece of two colours that lie along each other is two things,
5. *fragments*: faint shafts, rims in pieces and tips of spouts go to the thing they belong to,
6. what hangs outside the support, reaches below it or leaves the picture is background.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from reconstruction.color_parts import split_colors
from reconstruction.fragments import joined_walls, with_joined_walls, with_thin_ends, without_splinters
from reconstruction.heightmap import BoolGrid, FloatGrid, Ground, HeightMap, IntGrid, convex_outline
from reconstruction.ledges import split, split_grooves
from reconstruction.necks import lab_colors, split_necks
from reconstruction.segments import Part, Segment, SegmentationSettings


def segment(
    heights: HeightMap, ground: Ground, settings: SegmentationSettings, ceiling_m: float = np.inf
) -> list[Segment]:
    """All objects on `ground`; what carries another stands before it.

    What reaches `ceiling_m`, where the space that was looked at ends, goes on above: the leg of a table.
    """
    from scipy import ndimage

    rise = np.where(np.isfinite(heights.top_m), heights.top_m - ground.height_m, 0.0).astype(np.float32)
    # Bent, half-seen rims of a support are noisier than its middle.
    threshold = max(settings.min_height_m, 3.0 * ground.noise_m)
    seen = np.isfinite(heights.top_m)
    raised = (rise > threshold) & seen
    raised = ndimage.binary_opening(raised, iterations=1) | (raised & (rise > 3 * threshold))
    raised = with_thin_ends(raised, rise, seen, ground, heights.cell_m, settings)
    labels, _ = ndimage.label(raised, structure=np.ones((3, 3)))
    labels = joined_walls(labels, rise, heights.cell_m, settings)
    segments: list[Segment] = []
    lab = lab_colors(heights)
    enclosed = _enclosed(labels, heights.cell_m, settings)
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
        floor = (ground.level[window] >= 0) | ((enclosed[window] > 0) & (enclosed[window] != label))
        if is_background(mask, heights.cell_m, floor, field[window], settings):
            continue
        if heights.top_m[window][mask].max() > ceiling_m - settings.headroom_m:
            continue
        pieces = [
            piece
            for bulk in split_grooves(mask, rise[window], heights.cell_m, settings)
            for piece in split_necks(bulk, rise[window], heights.cell_m, settings, lab[window])
        ]
        parts: list[Part] = []
        for piece in pieces:
            found = split(piece, rise[window], heights.cell_m, settings, lab[window])
            if len(found) == 1:
                found = [replace(found[0], mask=m) for m in split_colors(piece, lab[window], heights.cell_m, settings)]
            parts += [replace(part, on=part.on + len(parts) if part.on >= 0 else -1) for part in found]
        parts = with_joined_walls(parts, rise[window], heights.cell_m, settings)
        parts = without_splinters(parts, rise[window], lab[window], heights.cell_m, settings)
        segments += _placed(parts, window, rise, heights, ground, settings, first=len(segments))
    return _nested(segments, rise, heights.cell_m)


def _enclosed(labels: IntGrid, cell_m: float, settings: SegmentationSettings) -> IntGrid:
    """Label of the blob that goes round each cell, 0 elsewhere: things may stand on the floor of a tray."""
    from scipy import ndimage

    result = np.zeros(labels.shape, dtype=labels.dtype)
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is not None and cell_m * max(part.stop - part.start for part in box) <= settings.max_extent_m:
            hole = ndimage.binary_fill_holes(labels[box] == label) & (labels[box] != label)
            result[box] = np.where(hole, label, result[box])
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
    levels = [convex_outline(ground.level == level) for level in range(len(ground.coefficients))]
    return np.asarray(np.logical_or.reduce(levels))


def is_background(
    mask: BoolGrid, cell_m: float, floor: BoolGrid, field: BoolGrid, settings: SegmentationSettings
) -> bool:
    """Walls, chairs behind the edge, the monitor's foot in the next room: not on the support, or too large.

    `floor` ``(X, Y)`` are cells in which something to stand on was seen, `field` those that lie on a support.
    """
    from scipy import ndimage

    if (field & mask).sum() < settings.inside_share * mask.sum():
        return True
    x, y = np.nonzero(mask)
    if cell_m * max(np.ptp(x), np.ptp(y)) > settings.max_extent_m:
        return True
    # A thing standing on the support is surrounded by it at least in part.
    ring = ndimage.binary_dilation(mask, iterations=3) & ~mask
    return bool(floor[ring].mean() < 0.15)


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
