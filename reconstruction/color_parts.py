"""Things that lie side by side with no neck between them, parted where their colours meet.

A banana along the rim of a bowl, a screwdriver along a banana: from above one blob, but of two colours, and each colour
by itself is a simpler form than both together. The head and the handle of a tool differ in colour too; they meet at an
end, not along a side.
"""

from __future__ import annotations

import numpy as np

from reconstruction.fragments import continued_by, footprint_m2
from reconstruction.heightmap import BoolGrid, FloatGrid, convex_outline, largest_region
from reconstruction.segments import SegmentationSettings


def split_colors(mask: BoolGrid, lab: FloatGrid, cell_m: float, settings: SegmentationSettings) -> list[BoolGrid]:
    """`mask` as two things if its two main colours lie beside each other; `lab` ``(X, Y, 3)`` as `necks.lab_colors`."""
    labels = _two_colors(mask, lab, settings)
    if labels is None:
        return [mask]
    parts = [largest_region(mask & (labels == number)) for number in (0, 1)]
    if min(footprint_m2(part, cell_m) for part in parts) < settings.min_colored_area_m2:
        return [mask]
    scattered = mask.sum() - sum(part.sum() for part in parts)
    if scattered > 0.15 * mask.sum() or not _simpler(parts, mask, settings) or not _beside(*parts):
        return [mask]
    return _shared(mask, parts, cell_m, settings)


def _simpler(parts: list[BoolGrid], whole: BoolGrid, settings: SegmentationSettings) -> bool:
    """Whether two parts are simpler than both together: more convex, or one convex and the other bent round it."""
    solid, before = [_solidity(part) for part in parts], _solidity(whole)
    mean = float(np.average(solid, weights=[part.sum() for part in parts]))
    bent_round = max(solid) > 0.95 and min(solid) < 0.7 and max(solid) > before + 0.4 * settings.simpler_by
    return bent_round or mean > before + settings.simpler_by


def _two_colors(mask: BoolGrid, lab: FloatGrid, settings: SegmentationSettings) -> BoolGrid | None:
    """``(X, Y)`` number, 0 or 1, of the nearer of two main colours, smoothed; None where there is one only.

    Two means (Lloyd, 1982), begun by parting the colours across their main axis.
    """
    from scipy import ndimage

    inner = ndimage.binary_erosion(mask, iterations=1) & np.isfinite(lab[..., 0])
    colors = lab[inner].astype(np.float64)
    if len(colors) < 40:
        return None
    centered = colors - colors.mean(axis=0)
    axis = np.linalg.eigh(centered.T @ centered)[1][:, -1]
    second = centered @ axis > 0
    for _ in range(12):
        if second.all() or not second.any():
            return None
        means = np.stack([colors[~second].mean(axis=0), colors[second].mean(axis=0)])
        second = np.linalg.norm(colors - means[1], axis=1) < np.linalg.norm(colors - means[0], axis=1)
    if np.linalg.norm(means[1] - means[0]) < settings.other_color:
        return None
    known = np.zeros(mask.shape, dtype=np.float32)
    known[inner] = np.where(second, 1.0, -1.0)
    # The rim, where colours of what lies behind are mixed in, takes the side of what it surrounds.
    return np.asarray(ndimage.gaussian_filter(known, 1.5) > 0)


def _solidity(part: BoolGrid) -> float:
    """Share of its convex outline that a region with its holes fills."""
    from scipy import ndimage

    filled = ndimage.binary_fill_holes(part)
    return float(filled.sum() / max(convex_outline(filled).sum(), 1))


def _beside(first: BoolGrid, second: BoolGrid) -> bool:
    """Whether two regions meet along a side: for longer than the thinner is wide."""
    from scipy import ndimage

    border = ndimage.binary_dilation(first, iterations=2) & second
    if not border.any():
        return False
    length = float(np.linalg.norm(np.ptp(np.argwhere(border), axis=0)))
    width = min(2.0 * float(ndimage.distance_transform_edt(np.pad(part, 1)).max()) for part in (first, second))
    return length > 1.6 * width


def _shared(mask: BoolGrid, parts: list[BoolGrid], cell_m: float, settings: SegmentationSettings) -> list[BoolGrid]:
    """`mask` with every cell given to the nearer of two regions, and thin ends to what they are the ends of."""
    from scipy import ndimage

    away = [ndimage.distance_transform_edt(~part) for part in parts]
    result = [mask & (away[0] <= away[1]), mask & (away[0] > away[1])]
    labels, count = ndimage.label(mask & ~parts[0] & ~parts[1], structure=np.ones((3, 3)))
    for label in range(1, count + 1):
        end = labels == label
        whose = continued_by(end, parts) if end.sum() * cell_m**2 > settings.min_area_m2 else -1
        if whose >= 0:
            result[whose] = result[whose] | end
            result[1 - whose] = result[1 - whose] & ~end
    return result
