"""The bench from above: one height for every cell, and the ground that things stand on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reconstruction.capture import FloatArray
from reconstruction.fusion import Volume

BoolGrid = npt.NDArray[np.bool_]
FloatGrid = npt.NDArray[np.float32]
IntGrid = npt.NDArray[np.int32]


@dataclass(frozen=True)
class GroundSettings:
    """What counts as ground rather than as a thing lying on it."""

    band_m: float = 0.006
    """Cells this near (m) to a common height start a level."""
    search_m: float = 0.03
    """How far (m) from where it was found before fusion the main level may lie."""
    min_rise_m: float = 0.004
    """Cells rising less than this (m), or than three times the noise, are ground."""
    min_level_area_m2: float = 0.12
    """A flat patch above the ground is a support in its own right from this area (m²); below, a thing lying there."""
    min_main_area_m2: float = 0.04
    """The main level was found before fusion; at least this much (m²) of it must show between what stands on it."""
    min_weight: float = 2.0
    """Surface seen by fewer frames is not in the height map."""
    max_levels: int = 4
    """How many levels (a board on a table …) are told apart."""


@dataclass(frozen=True)
class HeightMap:
    """Highest seen surface over every cell of a grid in the scene frame.

    Attributes:
        origin: ``(2,)`` x, y of the middle of cell [0, 0], metres.
        cell_m: side of a cell.
        top_m: ``(X, Y)`` float32 z of the highest surface, NaN where nothing was seen.
        up: ``(X, Y)`` float32 z component of that surface's normal (1 = level).
        rgb: ``(X, Y, 3)`` uint8 or None.
    """

    origin: FloatArray
    cell_m: float
    top_m: FloatGrid
    up: FloatGrid
    rgb: npt.NDArray[np.uint8] | None

    def xy(self) -> FloatArray:
        """``(X, Y, 2)`` positions of the cells' middles."""
        x = self.origin[0] + self.cell_m * np.arange(self.top_m.shape[0])
        y = self.origin[1] + self.cell_m * np.arange(self.top_m.shape[1])
        return np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1)


def height_map(volume: Volume, min_weight: float) -> HeightMap:
    """The topmost zero crossing (free above, solid below) of every column of `volume`."""
    sdf, seen = volume.sdf_m, volume.weight >= min_weight
    crossing = (sdf[..., 1:] > 0) & (sdf[..., :-1] <= 0) & seen[..., 1:] & seen[..., :-1]
    depth = crossing.shape[2]
    top = depth - 1 - np.argmax(crossing[..., ::-1], axis=2)
    found = crossing.any(axis=2)
    below = np.take_along_axis(sdf, top[..., None], axis=2)[..., 0]
    above = np.take_along_axis(sdf, np.minimum(top + 1, depth)[..., None], axis=2)[..., 0]
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.clip(-below / (above - below), 0.0, 1.0)
    z = volume.origin[2] + volume.voxel_m * (top + share)
    top_m = np.where(found, z, np.nan).astype(np.float32)
    rgb = None
    if volume.rgb is not None:
        rgb = np.take_along_axis(volume.rgb, top[..., None, None], axis=2)[:, :, 0]
    return HeightMap(volume.origin[:2], volume.voxel_m, top_m, _levelness(top_m, volume.voxel_m), rgb)


def _levelness(top_m: FloatGrid, cell_m: float) -> FloatGrid:
    filled = np.nan_to_num(top_m, nan=1e3)
    slope = np.zeros_like(filled)
    for axis in (0, 1):
        forward = np.abs(np.diff(filled, axis=axis, append=np.take(filled, [-1], axis=axis)))
        backward = np.abs(np.diff(filled, axis=axis, prepend=np.take(filled, [0], axis=axis)))
        slope += np.minimum(forward, backward) ** 2
    return np.asarray(1.0 / np.sqrt(1.0 + slope / cell_m**2), dtype=np.float32)


@dataclass(frozen=True)
class Ground:
    """What things stand on, cell by cell.

    Attributes:
        level: ``(X, Y)`` int32 number of the support level of a cell that *is* seen support, -1 elsewhere.
        height_m: ``(X, Y)`` float32 ground height under every cell, from the nearest support cell's level.
        coefficients: for each level the 6 coefficients of its height 1, x, y, x², xy, y² (scene frame).
        nominal_m: the height of each level once its bending is taken out.
        noise_m: robust standard deviation of the main level's cells round their fit.
    """

    level: IntGrid
    height_m: FloatGrid
    coefficients: tuple[FloatArray, ...]
    nominal_m: tuple[float, ...]
    noise_m: float


def _terms(xy: FloatArray) -> FloatArray:
    x, y = xy[..., 0], xy[..., 1]
    return np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1)


def fit_ground(
    xy: FloatArray, z: FloatArray, start_m: FloatArray, band_m: float, weight: FloatArray, bend: bool
) -> tuple[FloatArray, float]:
    """Robust bent plane through cells near `start_m`: coefficients ``(6,)`` and residual sigma (m).

    A table is flat; a scanned table is not: lens distortion and drift bend it by up to a centimetre over a metre, and
    a second-order surface takes that out. Fitted by reweighted least squares (Tukey), so that thin things lying on it
    stay outliers.
    """
    terms = _terms(xy)
    if not bend:
        terms = terms * np.array([1.0, 1, 1, 0, 0, 0])
    fit = np.zeros(6)
    current = np.asarray(start_m, dtype=np.float64)
    sigma = band_m
    for step in range(8):
        residual = z - current
        near = np.abs(residual) < (band_m if step < 2 else max(4.0 * sigma, 0.003))
        if np.count_nonzero(near) < 30:
            break
        sigma = max(1.4826 * float(np.median(np.abs(residual[near]))), 5e-4)
        limit = max(4.0 * sigma, 0.003)
        robust = np.where(near, (1 - np.minimum(np.abs(residual) / limit, 1.0) ** 2) ** 2, 0.0) * weight
        normal = (terms * robust[:, None]).T @ terms + 1e-6 * np.diag([0, 0, 0, 1.0, 1, 1]) * robust.sum()
        normal += 1e-12 * np.eye(6)
        fit = np.linalg.solve(normal, (terms * robust[:, None]).T @ z)
        current = terms @ fit
    return fit, sigma


def find_ground(heights: HeightMap, settings: GroundSettings, height_m: float = 0.0) -> Ground | None:
    """The support levels of `heights`, the main one first (the most common height near `height_m`), or None."""
    from scipy import ndimage

    top, up = heights.top_m, heights.up
    level_cells = np.isfinite(top) & (up > np.cos(np.deg2rad(20.0)))
    xy = heights.xy()
    labels = np.full(top.shape, -1, dtype=np.int32)
    coefficients: list[FloatArray] = []
    left = level_cells.copy()
    noise = 0.001
    for number in range(settings.max_levels):
        start = _dominant_height(top[left & (np.abs(top - height_m) < settings.search_m)] if number == 0 else top[left])
        if start is None:
            break
        cells = left & (np.abs(top - start) < settings.band_m)
        if number > 0:
            cells = largest_region(cells)
        least_m2 = settings.min_main_area_m2 if number == 0 else settings.min_level_area_m2
        if np.count_nonzero(cells) * heights.cell_m**2 < least_m2:
            if number == 0:
                return None
            left &= ~cells
            continue
        near = left & (np.abs(top - start) < 3 * settings.band_m)
        fit, sigma = fit_ground(
            xy[near],
            top[near].astype(np.float64),
            np.full(np.count_nonzero(near), start),
            settings.band_m,
            np.ones(np.count_nonzero(near)),
            bend=number == 0,
        )
        surface = (_terms(xy) @ fit).astype(np.float32)
        own = left & (np.abs(top - surface) < max(settings.min_rise_m, 3.0 * sigma))
        if number == 0:
            noise = sigma
        else:
            own = largest_region(ndimage.binary_closing(own, iterations=2) & left)
        labels[own] = len(coefficients)
        coefficients.append(fit)
        left &= ~ndimage.binary_dilation(own, iterations=1)
    if not coefficients:
        return None
    _, nearest = ndimage.distance_transform_edt(labels < 0, return_indices=True)
    owner = labels[tuple(nearest)]
    surfaces = np.stack([_terms(xy) @ fit for fit in coefficients])
    ground = np.take_along_axis(surfaces, owner[None], axis=0)[0].astype(np.float32)
    nominal = [float(np.median(top[labels == n] - surfaces[0][labels == n])) for n in range(len(coefficients))]
    nominal = [height + float(np.median(surfaces[0][labels == 0])) for height in nominal]
    return Ground(labels, ground, tuple(coefficients), tuple(nominal), noise)


def _dominant_height(values: npt.NDArray[np.float32]) -> float | None:
    from scipy import ndimage

    if values.size < 50:
        return None
    step = 0.001
    low = float(values.min())
    counts = np.bincount(((values - low) / step).astype(np.int64)).astype(np.float64)
    smooth = ndimage.gaussian_filter1d(counts, 3.0)
    return low + (int(np.argmax(smooth)) + 0.5) * step


def largest_region(mask: BoolGrid) -> BoolGrid:
    """The largest connected region of `mask` (cells that share a side)."""
    from scipy import ndimage

    labels, count = ndimage.label(mask)
    if count == 0:
        return mask
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return np.asarray(labels == int(np.argmax(sizes)))


def convex_outline(mask: BoolGrid) -> BoolGrid:
    """All cells within the convex hull of the cells of `mask`."""
    import cv2

    filled = np.zeros(mask.shape, dtype=np.uint8)
    cells = np.argwhere(mask).astype(np.int32)
    if len(cells) >= 3:
        cv2.fillConvexPoly(filled, cv2.convexHull(cells[:, ::-1].reshape(-1, 1, 2)), 1)
    return filled.astype(bool)
