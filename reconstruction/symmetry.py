"""Surfaces of revolution: the axis of a standing vessel, bottle or fruit, and what one side says of the other.

The normals of a surface of revolution all meet its axis (Pottmann & Randrup, "Rotational and helical surface
approximation for reverse engineering", Computing 60, 1998). With the axis upright that is one linear equation a point
in the two coordinates of the axis. Where most of an object agrees, distances are averaged round the axis: noise goes,
and the back is as the front. What does not agree (a handle, a spout, a dent) stays as it was measured.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from reconstruction.capture import FloatArray
from reconstruction.refusion import Grid, Measured


@dataclass(frozen=True)
class SymmetrySettings:
    """When an object counts as turned on a lathe."""

    min_share: float = 0.72
    """Share of the seen flanks whose normals must meet the axis; 2 takes nothing for round."""
    max_angle_deg: float = 14.0
    """… to within this angle (degrees): noise of a phone's LiDAR over a few centimetres."""
    max_offset_m: float = 0.0035
    """Where measurement and the median round the axis differ by more than this (m), something may be there …"""
    min_feature_m3: float = 4e-7
    """… which is a handle or a spout from this volume (m³) on …"""
    min_feature_m: float = 0.015
    """… if it stands out this far (m); less is noise."""
    min_gap_m3: float = 2e-6
    """Where solid is missing in the round, it is a gap from this volume (m³) on."""
    min_arc: float = 0.2
    """Share of a circle that must have been seen for it to speak for the rest."""


def upright_axis(points: FloatArray, normals: FloatArray, settings: SymmetrySettings) -> FloatArray | None:
    """x, y ``(2,)`` of the axis of revolution of oriented points ``(N, 3)``; None where they have none.

    Normals have unit length. Level surfaces (lids, floors) say nothing and are not asked.
    """
    level = np.linalg.norm(normals[:, :2], axis=1)
    flank = level > 0.35
    if np.count_nonzero(flank) < 100:
        return None
    xy, direction = points[flank, :2], normals[flank, :2] / level[flank, None]
    # n × (p - c) = 0 in the plane: n_x (p_y - c_y) = n_y (p_x - c_x).
    rows = np.column_stack([direction[:, 1], -direction[:, 0]])
    right = np.einsum("ij,ij->i", rows, xy)
    weight = np.ones(len(xy))
    center = xy.mean(axis=0)
    limit = np.sin(np.deg2rad(settings.max_angle_deg))
    sine = np.ones(len(xy))
    for _ in range(12):
        normal = (rows * weight[:, None]).T @ rows + 1e-9 * np.eye(2)
        center = np.linalg.solve(normal, (rows * weight[:, None]).T @ right)
        radius = np.maximum(np.linalg.norm(xy - center, axis=1), 1e-4)
        sine = np.abs(rows @ center - right) / radius
        # Cauchy weights: handles and neighbours' fringes pull less and less.
        weight = 1.0 / (1.0 + (sine / limit) ** 2) / radius
    if float((sine < limit).mean()) < settings.min_share or not _surrounded(xy, direction, center, settings.min_arc):
        return None
    return np.asarray(center)


def _surrounded(xy: FloatArray, direction: FloatArray, center: FloatArray, min_arc: float) -> bool:
    """Whether flanks were seen over enough directions that the axis is not a guess from one side."""
    angle = np.arctan2(direction[:, 1], direction[:, 0])
    counts = np.bincount(((angle + np.pi) / (2 * np.pi) * 24).astype(np.int64).clip(0, 23), minlength=24)
    return bool((counts > 0.2 * counts.mean()).sum() >= 24 * max(min_arc, 0.4))


def turned(measured: Measured, allowed: npt.NDArray[np.bool_], center: FloatArray, s: SymmetrySettings) -> Measured:
    """`measured` averaged round the upright axis through `center`, and known all round where enough of a circle is.

    `allowed` ``(X, Y)`` are the object's own columns: others speak neither for it nor are they changed.
    """
    x, y = (
        measured.origin[axis] + measured.voxel_m * np.arange(measured.sdf_m.shape[axis]) - center[axis]
        for axis in (0, 1)
    )
    radius = (np.hypot(x[:, None], y[None, :]) / measured.voxel_m).astype(np.float32)[allowed]
    sdf, known = measured.sdf_m[allowed], measured.known[allowed]  # (N, Z)
    ring = np.round(radius).astype(np.int64)
    profile, share = _profile(sdf, known, ring)
    speaks = _at((share >= s.min_arc).astype(np.float32), radius) > 0.99
    value = _at(profile, radius)
    form = np.full(measured.sdf_m.shape, np.float32(1.0))
    form[allowed] = np.where(speaks, value, 1.0)
    asked = np.zeros(form.shape, dtype=bool)
    asked[allowed] = known & speaks & (np.abs(sdf - value) > 0.5 * s.max_offset_m)
    kept = _features(form, measured, asked, s)[allowed]
    new_sdf, new_known = measured.sdf_m.copy(), measured.known.copy()
    new_sdf[allowed] = np.where(speaks & ~kept, value, sdf)
    new_known[allowed] = known | speaks
    return replace(measured, sdf_m=new_sdf, known=new_known)


def _features(
    form: Grid, measured: Measured, asked: npt.NDArray[np.bool_], s: SymmetrySettings
) -> npt.NDArray[np.bool_]:
    """Voxels of `asked` in which the measurement stands against the turned `form`: handles, spouts, large gaps."""
    from scipy import ndimage

    voxel = measured.voxel_m
    beyond = ndimage.distance_transform_edt(form > 0) * voxel
    kept = np.zeros(asked.shape, dtype=bool)
    solid = asked & (measured.sdf_m <= 0)
    # Noise clings to the wall: a handle is looked for where it has left it, then followed back.
    extra = solid & (beyond > 2.5 * voxel)
    missing = asked & (measured.sdf_m > 0) & (form <= 0)
    for different, least_m3, least_m in ((extra, s.min_feature_m3, s.min_feature_m), (missing, s.min_gap_m3, 0.0)):
        labels, count = ndimage.label(different, structure=np.ones((3, 3, 3)))
        if count == 0:
            continue
        sizes = np.bincount(labels.ravel(), minlength=count + 1) * voxel**3
        reach = ndimage.maximum(beyond, labels, np.arange(count + 1))
        good = (sizes >= least_m3) & (reach >= least_m)
        good[0] = False
        kept |= good[labels]
    cube = np.ones((3, 3, 3))
    kept |= ndimage.binary_dilation(kept, structure=cube, iterations=3, mask=solid)
    return np.asarray(ndimage.binary_dilation(kept, structure=cube))


def _profile(sdf: Grid, known: npt.NDArray[np.bool_], ring: npt.NDArray[np.int64]) -> tuple[Grid, Grid]:
    """Median of the known of ``(N, Z)`` distances in each of R rings ``(R, Z)``, and the known share of the circle."""
    order = np.argsort(ring, kind="stable")
    count = int(ring.max(initial=0)) + 2
    ends = np.searchsorted(ring[order], np.arange(count + 1))
    profile, share = np.zeros((count, sdf.shape[1]), np.float32), np.zeros((count, sdf.shape[1]), np.float32)
    for number in range(count):
        members = order[ends[number] : ends[number + 1]]
        if not len(members):
            continue
        own = known[members]
        sorted_sdf = np.sort(np.where(own, sdf[members], np.float32(np.inf)), axis=0)
        seen = own.sum(axis=0)
        middle = np.take_along_axis(sorted_sdf, np.maximum(seen - 1, 0)[None] // 2, axis=0)[0]
        profile[number] = np.where(seen > 0, middle, 0.0)
        # Of the whole circle, not only of what is the object's own: a pan's handle speaks for nothing beside it.
        share[number] = seen / max(len(members), 2 * np.pi * number)
    return profile, share


def _at(profile: Grid, radius: Grid) -> Grid:
    """`profile` ``(R, Z)`` at ``(N,)`` radii in rings, linear between two."""
    low = np.floor(radius).astype(np.int64)
    part = (radius - low)[:, None]
    return np.asarray(profile[low] * (1.0 - part) + profile[low + 1] * part, dtype=np.float32)
