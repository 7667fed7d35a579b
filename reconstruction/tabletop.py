"""The top of each support as one clean surface: level, closed under the things that stand on it.

What was scanned of a table has holes wherever something stood. Once things can be picked up, those holes show; so the
support's own cells, those under its objects and the small gaps between them become one level mesh, and the texture
step colours it from the views, continued smoothly into what they hid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from reconstruction.capture import FloatArray
from reconstruction.heightmap import BoolGrid, Ground, HeightMap
from reconstruction.mesh import Mesh
from reconstruction.segments import Segment


@dataclass(frozen=True)
class TabletopSettings:
    """How the tops of supports are made."""

    grid_m: float = 0.02
    """Side (m) of its squares; grows for large supports so that there are at most `max_squares`."""
    max_squares: int = 4000
    """Upper limit of squares of one support."""
    bridge_m: float = 0.03
    """Gaps up to this width (m) belong to the support; so do wider ones that it surrounds if nothing was seen there."""
    min_area_m2: float = 0.01
    """Smaller separate pieces (m²) are left to the background."""
    faint_m: float = 0.0022
    """What rises at least this much (m) stands on a top, though it may be too faint for an object."""
    keep_off_m: float = 0.02
    """No view is believed nearer than this (m) to what stands on a top: it would leave its colours behind."""


@dataclass(frozen=True)
class Tabletop:
    """The top of one level of a bench.

    Attributes:
        mask: ``(X, Y)`` cells of the bench's height map that it covers.
        mesh: open, facing up, at the level's height; not coloured yet.
        doubtful: ``(X, Y)`` cells under or near something, which may show its colours instead of the support's.
        origin: x and y of the middle of the first cell (m).
        cell_m: side of a cell (m).
    """

    mask: BoolGrid
    mesh: Mesh
    doubtful: BoolGrid
    origin: FloatArray
    cell_m: float

    def doubts(self, points: npt.NDArray[np.floating[Any]]) -> BoolGrid:
        """Which of ``(N, 3)`` points lie in a doubtful cell."""
        cells = np.round((points[:, :2] - self.origin) / self.cell_m).astype(np.int64)
        x, y = np.clip(cells, 0, np.array(self.doubtful.shape) - 1).T
        return np.asarray(self.doubtful[x, y])


def tabletops(
    heights: HeightMap, ground: Ground, segments: Sequence[Segment], settings: TabletopSettings
) -> list[Tabletop]:
    """The tops of all levels of one bench, in the scene frame; levels of which nothing large is left are missing."""
    tops = []
    doubtful = doubtful_cells(heights, ground, segments, settings)
    for level, height in enumerate(ground.nominal_m):
        mask = top_cells(heights, ground, segments, level, settings)
        if mask.any():
            mesh = level_mesh(mask, heights, height, settings)
            tops.append(Tabletop(mask, mesh, doubtful, heights.origin, heights.cell_m))
    return tops


def doubtful_cells(
    heights: HeightMap, ground: Ground, segments: Sequence[Segment], settings: TabletopSettings
) -> BoolGrid:
    """Cells near objects or near what rises a little and is none: the shaft of a screwdriver, a sheet of paper."""
    from scipy import ndimage

    with np.errstate(invalid="ignore"):
        faint = heights.top_m - ground.height_m > max(settings.faint_m, 2.0 * ground.noise_m)
    covered = ndimage.binary_opening(faint, iterations=1)
    for item in segments:
        covered |= item.mask | item.hidden
    near = ndimage.distance_transform_edt(~covered) * heights.cell_m < settings.keep_off_m
    # Where no depth was measured nobody knows what the colour is of.
    return np.asarray(near | ~np.isfinite(heights.top_m))


def top_cells(
    heights: HeightMap, ground: Ground, segments: Sequence[Segment], level: int, settings: TabletopSettings
) -> BoolGrid:
    """``(X, Y)`` cells of one level: seen, hidden under its objects, or in small gaps between."""
    from scipy import ndimage

    own = ground.level == level
    for item in segments:
        if item.level == level and item.on < 0:
            own = own | item.mask | item.hidden
    reach = max(1, round(0.5 * settings.bridge_m / heights.cell_m))
    # A disc by distance rather than a square by iterations; cells of other levels are never bridged.
    near = ndimage.distance_transform_edt(~np.pad(own, reach + 1)) <= reach
    closed = ndimage.distance_transform_edt(near)[reach + 1 : -reach - 1, reach + 1 : -reach - 1] > reach
    own = (own | closed) & ((ground.level == level) | (ground.level < 0))
    # What nobody saw and the support surrounds is support; a sink was seen, deeper.
    own |= ndimage.binary_fill_holes(own) & ~np.isfinite(heights.top_m)
    labels, count = ndimage.label(own)
    sizes = np.bincount(labels.ravel(), minlength=count + 1) * heights.cell_m**2
    sizes[0] = 0.0
    return np.asarray((sizes >= settings.min_area_m2)[labels])


def level_mesh(mask: BoolGrid, heights: HeightMap, height_m: float, settings: TabletopSettings) -> Mesh:
    """Squares over `mask` at z = `height_m`; corners that fall outside are drawn to its outline."""
    from scipy import ndimage

    cell = heights.cell_m
    side = max(settings.grid_m, float(np.sqrt(mask.sum() * cell**2 / settings.max_squares)))
    margin = int(np.ceil(side / cell)) + 2
    padded = np.pad(mask, margin)
    # Positive inside, zero on the outline, in cells; blurred, for cells are stairs.
    inside = ndimage.distance_transform_edt(padded) - ndimage.distance_transform_edt(~padded)
    inside = ndimage.gaussian_filter((inside - 0.5 * np.sign(inside)).astype(np.float32), 1.5)
    slope = np.stack(np.gradient(inside))
    x, y = (np.arange(0.0, size - 1.0, side / cell) for size in padded.shape)
    corner = np.stack(np.meshgrid(x, y, indexing="ij")).reshape(2, -1)
    value = ndimage.map_coordinates(inside, corner, order=1)
    pull = np.stack([ndimage.map_coordinates(part, corner, order=1) for part in slope])
    length = np.maximum(np.linalg.norm(pull, axis=0), 0.3)
    moved = corner - pull / length * np.minimum(value, 0.0) / length
    number = np.arange(len(value)).reshape(len(x), len(y))
    squares = np.stack([number[:-1, :-1], number[1:, :-1], number[1:, 1:], number[:-1, 1:]], axis=-1).reshape(-1, 4)
    squares = squares[(value[squares] > 0.0).any(axis=1)]
    faces = np.concatenate([squares[:, [0, 1, 2]], squares[:, [0, 2, 3]]])
    a, b, c = (moved[:, faces[:, k]] for k in range(3))
    doubled = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
    faces = faces[doubled > 1e-3]
    used, index = np.unique(faces, return_inverse=True)
    xy = heights.origin + cell * (moved[:, used].T - margin)
    vertices = np.column_stack([xy, np.full(len(used), height_m)])
    return Mesh(vertices, index.reshape(-1, 3).astype(np.int64))
