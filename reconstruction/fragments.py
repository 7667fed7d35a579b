"""Cells that belong to a thing though the scan tore them off it: faint shafts, rims in pieces, tips of spouts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from reconstruction.heightmap import BoolGrid, FloatGrid, Ground, IntGrid
from reconstruction.segments import Part, SegmentationSettings


def with_thin_ends(
    raised: BoolGrid, rise: FloatGrid, seen: BoolGrid, ground: Ground, cell_m: float, settings: SegmentationSettings
) -> BoolGrid:
    """`raised` with what is too thin to stand out in the mean of all views: the shaft of a screwdriver.

    The smeared foot of a thing rises as little, but only a thin end goes away from it. One that leads from one thing to
    another is left out, for it would join them.
    """
    from scipy import ndimage

    cube = np.ones((3, 3))
    # A shaft is a row of cells that all rise a little, noise is not.
    faint = seen & ~raised & (ndimage.gaussian_filter(rise, 0.8) > max(settings.end_rise_m, 2.0 * ground.noise_m))
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
        far = away[window][own].max()
        if far < max(settings.min_end_m, settings.end_slender * width) or width > settings.end_radius_m:
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
        closed = footprint_m2(piece, cell_m) > 1.25 * piece.sum() * cell_m**2  # all round already
        large = piece.sum() * cell_m**2 >= 0.5 * settings.min_area_m2
        if radius < settings.min_part_radius_m and large and not closed:
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


def most_touched(piece: BoolGrid, others: Sequence[BoolGrid]) -> int:
    """Which of `others` most cells within two of `piece` belong to, or -1 where none do."""
    from scipy import ndimage

    ring = ndimage.binary_dilation(piece, iterations=2)
    touching = [int((other & ring).sum()) for other in others]
    return int(np.argmax(touching)) if any(touching) else -1


def continued_by(piece: BoolGrid, others: Sequence[BoolGrid]) -> int:
    """Which of `others` the thin `piece` is the end of: a long one that points at it and touches it, or -1.

    The shaft of a screwdriver that lies along a banana is the screwdriver's.
    """
    from scipy import ndimage

    ring = ndimage.binary_dilation(piece, iterations=3)
    middle = np.argwhere(piece).mean(axis=0)
    best, least = -1, np.inf
    for number, other in enumerate(others):
        cells = np.argwhere(other)
        if len(cells) < 8 or not (other & ring).any():
            continue
        spread, axes = np.linalg.eigh(np.cov(cells.T))
        aside = abs(float(axes[:, 0] @ (middle - cells.mean(axis=0)))) / np.sqrt(max(float(spread[0]), 0.1))
        if spread[1] > 4.0 * spread[0] and aside < least:
            best, least = number, aside
    return best


def footprint_m2(mask: BoolGrid, cell_m: float) -> float:
    """Area of `mask` with its holes: of a vessel often no more than the rim is seen."""
    from scipy import ndimage

    return float(ndimage.binary_fill_holes(mask).sum()) * cell_m**2


def without_splinters(
    parts: list[Part], rise: FloatGrid, lab: FloatGrid, cell_m: float, settings: SegmentationSettings
) -> list[Part]:
    """`parts` of one blob with those too small to be things given to the neighbour they touch most: tips of spouts.

    The tip of a spout over a book belongs to the teapot beside the book, also where it is larger, if it goes on there
    at the same height in the same colour.
    """
    result = list(parts)
    carriers = {part.on for part in parts}
    for number, part in enumerate(parts):
        area = footprint_m2(part.mask, cell_m)
        if number in carriers or area >= (2.0 if part.on >= 0 else 1.0) * settings.min_neck_area_m2:
            continue
        nothing = np.zeros_like(part.mask)
        others = [nothing if n in (number, part.on) else other.mask for n, other in enumerate(result)]
        best = most_touched(part.mask, others)
        if best >= 0 and (part.on < 0 or _goes_on(part.mask, others[best], rise, lab, settings)):
            result[best] = replace(result[best], mask=result[best].mask | part.mask)
            result[number] = replace(part, mask=nothing)
    return result


def _goes_on(
    first: BoolGrid, second: BoolGrid, rise: FloatGrid, lab: FloatGrid, settings: SegmentationSettings
) -> bool:
    """Whether height and colour are the same on both sides of where two parts touch."""
    from scipy import ndimage

    sides = [own & ndimage.binary_dilation(other, iterations=3) for own, other in ((first, second), (second, first))]
    step = np.median(rise[sides[0]]) - np.median(rise[sides[1]])
    colors = [np.nanmedian(lab[side], axis=0) for side in sides]
    difference = float(np.linalg.norm(colors[0] - colors[1]))  # NaN without colour
    return bool(abs(step) < settings.side_step_m and not difference > settings.same_color)
