"""Open containers: their unseen depths are hollow, and what was guessed under their flanks is air."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reconstruction.refusion import Grid

BoolGrid3 = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class VesselSettings:
    """What is an open container."""

    min_cavity_m3: float = 2e-6
    """An opening of at least this volume (m³), seen from above, makes an object a container …"""
    min_opening_m: float = 0.012
    """… that was seen to go down at least this far (m): the dented top of a closed box is no opening."""
    frontier_share: float = 0.3
    """The unseen depths of a container must underlie at least this share of its opening."""
    wall_m: tuple[float, float] = (0.003, 0.008)
    """Least and greatest wall thickness (m) believed of a container."""


def opened_cavity(
    solid: Grid, known: BoolGrid3, base_above_origin_m: float, voxel: float, settings: VesselSettings
) -> Grid:
    """`solid` with the depths of a container, into which no view reached, hollowed out.

    Where free space that was seen inside the outline (a cavity) ends in the unknown rather than on a surface, the
    container goes on below: all that is unknown, joined to the cavity and farther than a wall from the outside is air.
    The wall is as thick as where both its faces were seen.
    """
    from scipy import ndimage

    inside = solid < 0
    filled = _without_holes(inside)
    cavity = _cavity(filled & ~inside & known, inside, voxel, settings)
    if cavity is None:
        return solid
    depth_m = ndimage.distance_transform_edt(filled) * voxel
    walled = cavity.any(axis=(0, 1))
    rim = (filled & (depth_m <= 1.01 * voxel))[:, :, walled].sum() * voxel**2
    measured_wall = inside[:, :, walled].sum() * voxel**3 / max(rim * 1.0, 1e-9)
    wall = float(np.clip(measured_wall, *settings.wall_m))
    bottom = int(np.ceil((base_above_origin_m + wall) / voxel))
    hollow = inside & ~known & (depth_m > wall)
    hollow[:, :, :bottom] = False
    # Leaks between a measured floor or wall and the unknown behind it are no frontier: it has to span the opening.
    frontier = (cavity[:, :, 1:] & hollow[:, :, :-1]).any(axis=2).sum()
    if frontier < settings.frontier_share * cavity.sum(axis=(0, 1)).max():
        return solid
    labels, _ = ndimage.label(hollow | cavity)
    joined = np.unique(labels[cavity])
    hollow &= np.isin(labels, joined[joined > 0])
    return np.where(hollow, np.minimum(depth_m - wall, 2 * voxel), solid).astype(np.float32)


def _without_holes(inside: BoolGrid3) -> BoolGrid3:
    """`inside` with what it goes round in each level slice."""
    from scipy import ndimage

    return np.stack([ndimage.binary_fill_holes(inside[:, :, k]) for k in range(inside.shape[2])], axis=2)


def _cavity(air: BoolGrid3, inside: BoolGrid3, voxel: float, settings: VesselSettings) -> BoolGrid3 | None:
    """The pieces of `air` that a pea can fall into from above, not the air between a toy car's wheels; None where they
    make no vessel.
    """
    from scipy import ndimage

    covered = np.flip(np.maximum.accumulate(np.flip(inside, axis=2), axis=2), axis=2)
    labels, count = ndimage.label(air)
    columns = np.zeros(count + 1)
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        piece = (labels[box] == label) & ~covered[box]
        columns[label] = piece.any(axis=2).sum()
    cavity = (columns * voxel**2 >= settings.min_opening_m**2)[labels] & air
    # A dent spreads over a slice or two; an opening goes on through many.
    open_slices = (cavity.sum(axis=(0, 1)) * voxel**2 >= settings.min_opening_m**2).sum()
    if cavity.sum() * voxel**3 < settings.min_cavity_m3 or open_slices * voxel < settings.min_opening_m:
        return None
    return np.asarray(cavity)


def thinned_shell(
    solid: Grid, known: BoolGrid3, base_above_origin_m: float, voxel: float, settings: VesselSettings
) -> Grid:
    """`solid` without what was guessed under the flanks of an open vessel, where the phone could not look.

    A vessel is a shell: its floor is as thick as the cavity's bottom lies above what it stands on, its walls no
    thicker. What is unknown and lies deeper below the cavity than that is air.
    """
    from scipy import ndimage

    inside = solid < 0
    filled = _without_holes(inside)
    cavity = _cavity(filled & ~inside, inside, voxel, settings)
    if cavity is None:
        return solid
    columns = cavity.any(axis=2)
    bottom = np.argmax(cavity, axis=2)[columns] * voxel - base_above_origin_m
    floor = float(np.percentile(bottom, 10))
    # A ring has no floor, and a dent is no vessel's inside.
    if floor < voxel or columns.sum() < settings.frontier_share * filled.any(axis=2).sum():
        return solid
    shell = max(floor, settings.wall_m[1]) + 1.5 * voxel
    deep = ndimage.distance_transform_edt(~cavity) * voxel - shell
    air = inside & ~known & (deep > 0)
    return np.where(air, np.minimum(deep, 2 * voxel), solid).astype(np.float32)
