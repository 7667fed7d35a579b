"""Things that touch, parted where they are thin: watershed of the slices' distance transform, with a say for colour.

After Beucher & Lantuéjoul, "Use of watersheds in contour detection" (1979).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from reconstruction.fragments import continued_by, footprint_m2, most_touched
from reconstruction.heightmap import BoolGrid, FloatGrid, HeightMap, IntGrid
from reconstruction.segments import SegmentationSettings


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
    rule = _NeckRule(thickness, mask, cell_m, settings, lab)
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
        near_owner = np.where(missing, cell_owner[tuple(nearest)], cell_owner)
        labels, count = ndimage.label(missing, structure=np.ones((3, 3)))
        seen = [cell_owner == name for name in names]
        for label in range(1, count + 1):
            # The faint shaft of a tool, too low for any slice; rims go to what is next to them.
            end = labels == label
            far = ndimage.distance_transform_edt(np.pad(end, 1)).max() > 1.5
            if far and end.sum() * cell_m**2 > settings.min_area_m2 and (whose := continued_by(end, seen)) >= 0:
                near_owner[end] = names[whose]
        cell_owner = near_owner
    parts = [mask & (cell_owner == name) for name in names]
    by_color = {int(owner.ravel()[cell]) for cell in rule.by_color}
    least = [settings.min_colored_area_m2 if name in by_color else settings.min_neck_area_m2 for name in names]
    # A shaft that is too faint between its handle and its middle meets the handle in no slice.
    thin = [thickness[owner == name].max() < settings.min_part_radius_m for name in names]
    least = [max(area, 2.0 * settings.min_neck_area_m2 * slight) for slight, area in zip(thin, least, strict=True)]
    parts = _without_crumbs(parts, least, cell_m)
    return parts if lab is None else _with_true_borders(parts, rise, lab, cell_m, settings)


def _with_true_borders(
    parts: list[BoolGrid], rise: FloatGrid, lab: FloatGrid, cell_m: float, settings: SegmentationSettings
) -> list[BoolGrid]:
    """`parts` with the cells near a common border given to the part that looks like them.

    The watershed parts things where they are thinnest, which next to a leaning or round flank is some way into one of
    them. Colour and height of the cells farther from the border say whose the cells near it are.
    """
    from scipy import ndimage
    from scipy.spatial import cKDTree

    near = max(1, round(settings.border_m / cell_m))
    look = np.concatenate([lab / np.float32(settings.same_color), rise[..., None] / np.float32(0.01)], axis=-1)
    known = np.isfinite(look).all(axis=-1)
    parts = list(parts)
    for first, second in itertools.combinations(range(len(parts)), 2):
        sides = [parts[first], parts[second]]
        reach = [ndimage.distance_transform_edt(~side) for side in reversed(sides)]
        zone = np.logical_or.reduce([side & (far <= near) & known for side, far in zip(sides, reach, strict=True)])
        cores = [side & (far > near) & (far <= 3 * near) & known for side, far in zip(sides, reach, strict=True)]
        if not zone.any() or min(core.sum() for core in cores) < 20:
            continue
        away = [cKDTree(look[core]).query(look[zone], k=5)[0].mean(axis=1) for core in cores]
        for old, new in ((0, 1), (1, 0)):
            moved = np.zeros_like(zone)
            moved[zone] = away[new] < settings.border_ratio * away[old]
            moved = ndimage.binary_opening(moved & sides[old], iterations=1)
            # Only what is joined to its new owner.
            labels, _ = ndimage.label(moved | sides[new])
            moved &= np.isin(labels, np.unique(labels[sides[new]]))
            parts[(first, second)[old]] = parts[(first, second)[old]] & ~moved
            parts[(first, second)[new]] = parts[(first, second)[new]] | moved
    return parts


class _NeckRule:
    """How narrow a neck must be for the parts on its two sides to be two things."""

    def __init__(
        self,
        thickness: npt.NDArray[np.floating[Any]],
        mask: BoolGrid,
        cell_m: float,
        settings: SegmentationSettings,
        lab: FloatGrid | None,
    ) -> None:
        self.thickness, self.mask, self.cell_m, self.settings = thickness, mask, cell_m, settings
        self.lab = None if lab is None else np.where(mask[..., None], lab, np.float32(np.nan))
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
        if self._hollow(first) and self._hollow(second):
            return s.hollow_neck_ratio * waist
        if difference >= s.same_color:
            return s.neck_ratio * waist
        return 0.0 if self._bar(first, second, value) else s.same_neck_ratio * waist

    def _difference(self, first: npt.NDArray[np.int64], second: npt.NDArray[np.int64], value: float) -> float:
        """Colour distance of the two parts' middles; between the limits where there is no colour."""
        unknown = 0.5 * (self.settings.same_color + self.settings.other_color)
        if self.lab is None:
            return unknown
        means = []
        for cells in (first, second):
            # At the rim of a thing the colours of what lies behind are mixed in.
            inner = cells[self.thickness.ravel()[cells] >= 2.0 * self.cell_m]
            columns = np.unravel_index(np.unique(inner // self.thickness.shape[2]), self.thickness.shape[:2])
            colors = self.lab[columns]
            known = np.isfinite(colors[:, 0])
            colors = self._rim_colors(cells) if known.sum() < 0.5 * known.size else colors[known]
            if len(colors) < 8:
                return unknown
            means.append(np.median(colors, axis=0))
        return float(np.linalg.norm(means[0] - means[1]))

    def _hollow(self, cells: npt.NDArray[np.int64]) -> bool:
        """Whether nothing rises in the middle of a part: the inside of a ring or of a vessel."""
        i, j, _ = np.unravel_index(cells[np.argmax(self.thickness.ravel()[cells])], self.thickness.shape)
        return not self.mask[i, j]

    def _rim_colors(self, cells: npt.NDArray[np.int64]) -> FloatGrid:
        """``(N, 3)`` colours of the widest disc that fits a part: of a vessel often nothing is seen but its rim."""
        assert self.lab is not None  # noqa: S101 - the caller looked
        peak = cells[np.argmax(self.thickness.ravel()[cells])]
        i, j, k = np.unravel_index(peak, self.thickness.shape)
        radius = self.thickness[i, j, k] / self.cell_m + 1.5
        x, y = np.ogrid[: self.lab.shape[0], : self.lab.shape[1]]
        colors = self.lab[np.hypot(x - i, y - j) < radius]
        return np.asarray(colors[np.isfinite(colors[:, 0])])

    def _bar(self, first: npt.NDArray[np.int64], second: npt.NDArray[np.int64], value: float) -> bool:
        """Whether the neck is a bar between two ends rather than a place where things touch.

        Where two things touch, the thickness grows along the line between them as the distance to the neck's corners
        does, to t within sqrt(t² - value²) on either side. A bar keeps the ends farther apart than that.
        """
        from scipy import ndimage
        from scipy.spatial import cKDTree

        flat = self.thickness.ravel()
        clear = float(np.sqrt(value * min(flat[first].max(), flat[second].max())))
        sides = []
        for cells in (first, second):
            thick = np.zeros(flat.size, dtype=bool)
            thick[cells[flat[cells] >= clear]] = True
            # Bumps of a bar are apart from its end.
            labels, _ = ndimage.label(thick.reshape(self.thickness.shape))
            sizes = np.bincount(labels.ravel())
            sizes[0] = 0
            sides.append(np.argwhere(((labels == int(np.argmax(sizes))) & (labels > 0)).any(axis=2)))
        if not len(sides[0]) or not len(sides[1]):
            return False
        gap_m = float(cKDTree(sides[0]).query(sides[1])[0].min()) * self.cell_m
        return bool(gap_m > self.settings.bar_length * 2.0 * np.sqrt(clear**2 - value**2))


def _without_crumbs(parts: Sequence[BoolGrid], least_m2: Sequence[float], cell_m: float) -> list[BoolGrid]:
    """`parts` with those smaller than their least area given to the neighbour they touch most."""
    enough = [footprint_m2(part, cell_m) >= least for part, least in zip(parts, least_m2, strict=True)]
    large = [part for part, enough_of_it in zip(parts, enough, strict=True) if enough_of_it]
    if not large:
        return [np.logical_or.reduce(parts)]
    for part, enough_of_it in zip(parts, enough, strict=True):
        if not enough_of_it:
            best = max(0, most_touched(part, large))
            large[best] = large[best] | part
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
