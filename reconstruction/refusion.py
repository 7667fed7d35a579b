"""One object, measured again at full resolution: a fine signed distance grid that keeps thin walls open on both sides.

A plain TSDF averages what a wall's outer and inner face say and swells or erases walls thinner than its band. Here
views are averaged in groups by direction, and the groups are then weighted, voxel by voxel, by how squarely the
surface faces them (after "directional TSDF", Splietker & Behnke 2019): the inside of a mug is measured by the views
that look into it, the outside by the others. What several views saw *through* is free, whatever the rest says
(space carving, Kutulakos & Seitz 2000).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reconstruction.capture import FloatArray
from reconstruction.fusion import Box
from reconstruction.views import DepthView

Grid = npt.NDArray[np.float32]
FRONT = 0.65  # share of the band in front of a surface


@dataclass(frozen=True)
class RefusionSettings:
    """How one object is measured again."""

    voxel_m: float = 0.0025
    """Finest voxel (m); grows for large objects so that a grid holds at most `max_voxels`."""
    max_voxels: int = 1_500_000
    """Upper limit of voxels in one object's grid."""
    band_m: float = 0.010
    """Half width (m) of the band in which depth is averaged."""
    max_views: int = 90
    """At most this many views, the nearest and best spread, measure an object."""
    min_views: float = 2.5
    """A direction counts where at least about this many views agree."""


@dataclass(frozen=True)
class Measured:
    """What the views say of one object's box.

    Attributes:
        origin: ``(3,)`` position of voxel [0, 0, 0].
        voxel_m: spacing.
        sdf_m: ``(X, Y, Z)`` float32, positive outside, clipped to the band; meaningless where `known` is false.
        known: ``(X, Y, Z)`` bool: measured near a surface or seen through.
    """

    origin: FloatArray
    voxel_m: float
    sdf_m: Grid
    known: npt.NDArray[np.bool_]


def measure(views: Sequence[DepthView], box: Box, settings: RefusionSettings) -> Measured:
    """Fuse `views` (poses in the box's frame) into a fine grid over `box`."""
    voxel = max(settings.voxel_m, float((np.prod(box.high - box.low) / settings.max_voxels) ** (1 / 3)))
    shape = tuple(int(n) for n in np.ceil((box.high - box.low) / voxel).astype(int) + 1)
    center = 0.5 * (box.low + box.high)
    groups = _direction_groups(views, center, box, settings)
    sums, weights, directions = [], [], []
    for members in groups:
        total, weight = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        for view in members:
            _accumulate(view, box.low, voxel, total, weight, settings.band_m)
        sums.append(total)
        weights.append(weight)
        toward = np.mean([_toward(view, center) for view in members], axis=0)
        directions.append(toward / np.linalg.norm(toward))
    return _combined(sums, weights, directions, box.low, voxel, settings)


def highest_hits(views: Sequence[DepthView], measured: Measured, own: npt.NDArray[np.bool_]) -> float:
    """Height (z, m) up to which depth points lie densely in the columns `own` ``(X, Y)``: where a rim ends.

    The mean distance of a thin rim is no measure of its height, for many views miss it; the hits are. It is the
    height at which their number a millimetre falls below half of what it is in the two centimetres below.
    """
    step = 0.002
    origin, voxel, shape = measured.origin, measured.voxel_m, measured.sdf_m.shape
    bins = int(np.ceil(shape[2] * voxel / step)) + 1
    counts = np.zeros(bins)
    high = origin + voxel * (np.array(shape) - 1)
    for view in views:
        left, top, right, bottom = _window(view, origin, high)
        v, u = np.nonzero(view.depth_m[top:bottom, left:right])
        v, u = v + top, u + left
        z = view.depth_m[v, u].astype(np.float64)
        rays = np.stack([(u - view.intrinsics[0, 2]) / view.intrinsics[0, 0] * z,
                         (v - view.intrinsics[1, 2]) / view.intrinsics[1, 1] * z, z])  # fmt: skip
        points = (view.world_from_camera[:3, :3] @ rays).T + view.world_from_camera[:3, 3] - origin
        cell = np.round(points[:, :2] / voxel).astype(np.int64)
        inside = np.all((cell >= 0) & (cell < shape[:2]), axis=1) & (points[:, 2] > 0)
        cell, height = cell[inside], points[inside, 2]
        height = height[own[cell[:, 0], cell[:, 1]]]
        counts += np.bincount(np.minimum((height / step).astype(np.int64), bins - 1), minlength=bins)
    smooth = np.convolve(counts, np.ones(3) / 3, mode="same")
    for number in range(bins - 1, 0, -1):
        below = smooth[max(0, number - 13) : max(0, number - 3)]
        if smooth[number] > 10 and below.size and smooth[number] >= 0.5 * float(np.median(below)):
            return float(origin[2] + (number + 0.5) * step)
    return float(origin[2] + shape[2] * voxel)


def _window(view: DepthView, low: FloatArray, high: FloatArray) -> tuple[int, int, int, int]:
    """Left, top, right and bottom pixel limits of a box in a view; empty where it lies behind the camera."""
    corners = np.stack(np.meshgrid(*zip(low, high, strict=True), indexing="ij"), axis=-1).reshape(-1, 3)
    camera_from_world = np.linalg.inv(view.world_from_camera)
    x, y, z = camera_from_world[:3, :3] @ corners.T + camera_from_world[:3, 3:]
    height, width = view.depth_m.shape
    if z.max() <= 0.05:
        return 0, 0, 0, 0
    if z.min() <= 0.05:
        return 0, 0, width, height
    u = view.intrinsics[0, 0] * x / z + view.intrinsics[0, 2]
    v = view.intrinsics[1, 1] * y / z + view.intrinsics[1, 2]
    left, right = np.clip([np.floor(u.min()), np.ceil(u.max()) + 1], 0, width).astype(int)
    top, bottom = np.clip([np.floor(v.min()), np.ceil(v.max()) + 1], 0, height).astype(int)
    return int(left), int(top), int(right), int(bottom)


def _toward(view: DepthView, center: FloatArray) -> FloatArray:
    offset = view.world_from_camera[:3, 3] - center
    return np.asarray(offset / np.linalg.norm(offset), dtype=np.float64)


def _direction_groups(
    views: Sequence[DepthView], center: FloatArray, box: Box, settings: RefusionSettings
) -> list[list[DepthView]]:
    """Views that see the box, thinned, in sectors of 45° of azimuth; steep ones (above 65°) in a group of their own."""
    seeing = [view for view in views if _sees(view, box)]
    if len(seeing) > settings.max_views:
        picks = np.unique(np.linspace(0, len(seeing) - 1, settings.max_views).round().astype(int))
        seeing = [seeing[pick] for pick in picks]
    groups: dict[int, list[DepthView]] = {}
    for view in seeing:
        x, y, z = _toward(view, center)
        sector = 8 if z > np.sin(np.deg2rad(65.0)) else int(np.floor(np.arctan2(y, x) / (np.pi / 4))) % 8
        groups.setdefault(sector, []).append(view)
    return [groups[key] for key in sorted(groups)]


def _sees(view: DepthView, box: Box) -> bool:
    center = 0.5 * (box.low + box.high)
    camera_from_world = np.linalg.inv(view.world_from_camera)
    x, y, z = camera_from_world[:3, :3] @ center + camera_from_world[:3, 3]
    if z <= 0.05:
        return False
    height, width = view.depth_m.shape
    u = view.intrinsics[0, 0] * x / z + view.intrinsics[0, 2]
    v = view.intrinsics[1, 1] * y / z + view.intrinsics[1, 2]
    return bool(-0.1 * width < u < 1.1 * width and -0.1 * height < v < 1.1 * height)


def _accumulate(view: DepthView, origin: FloatArray, voxel: float, total: Grid, weight: Grid, band: float) -> None:
    """Add one view's clipped signed distances to `total` and `weight` in place."""
    camera_from_world = np.linalg.inv(view.world_from_camera)
    rotation, offset = camera_from_world[:3, :3], camera_from_world[:3, 3] + camera_from_world[:3, :3] @ origin
    fx, fy, cx, cy = (view.intrinsics[i] for i in ((0, 0), (1, 1), (0, 2), (1, 2)))
    height, width = view.depth_m.shape
    rows = np.stack([fx * rotation[0] + cx * rotation[2], fy * rotation[1] + cy * rotation[2], rotation[2]])
    start = np.array([fx * offset[0] + cx * offset[2], fy * offset[1] + cy * offset[2], offset[2]])
    axes = [np.arange(n, dtype=np.float32) * np.float32(voxel) for n in total.shape]

    def plane(row: int) -> Grid:
        a, b, c = (np.float32(rows[row, axis]) * axes[axis] for axis in range(3))
        result: Grid = (a + np.float32(start[row]))[:, None, None] + b[None, :, None] + c[None, None, :]
        return result

    z = plane(2)
    np.maximum(z, np.float32(0.01), out=z)
    inverse = np.float32(1) / z
    u = plane(0)
    u *= inverse
    u += np.float32(0.5)
    v = plane(1)
    v *= inverse
    v += np.float32(0.5)
    inside = (u >= 0) & (u < width) & (v >= 0) & (v < height)
    np.clip(u, 0, width - 1, out=u)
    np.clip(v, 0, height - 1, out=v)
    index = v.astype(np.int32)
    index *= width
    index += u.astype(np.int32)
    depth = view.depth_m.ravel()[index]
    distance = depth - z
    band32 = np.float32(band)
    good = inside & (depth > 0) & (distance > -band32)
    # Behind the surface the weight soon falls to zero: the far side of a thin wall is not this view's business.
    share = (distance + np.float32(0.7 * band)) * np.float32(2.5 / band)
    np.clip(share, 0, 1, out=share)
    share *= good
    # Clipped early in front: a thin rim is missed by some views, and those must not outvote the ones that hit it.
    np.minimum(distance, np.float32(FRONT * band), out=distance)
    weight += share
    distance *= share
    total += distance


def _combined(
    sums: list[Grid],
    weights: list[Grid],
    directions: list[FloatArray],
    origin: FloatArray,
    voxel: float,
    settings: RefusionSettings,
) -> Measured:
    from scipy import ndimage

    band = np.float32(settings.band_m)
    if not sums:
        shape = (2, 2, 2)
        return Measured(origin, voxel, np.full(shape, band, np.float32), np.zeros(shape, bool))
    all_weight = np.sum(weights, axis=0)
    mean = np.where(all_weight > 0, np.sum(sums, axis=0) / np.maximum(all_weight, 1e-6), -band).astype(np.float32)
    smooth = ndimage.gaussian_filter(mean, 1.2)
    normal = np.stack(np.gradient(smooth, voxel))
    normal /= np.maximum(np.sqrt((normal**2).sum(axis=0)), 1e-6)
    total, weight = np.zeros_like(mean), np.zeros_like(mean)
    free = np.zeros(mean.shape, dtype=bool)
    for part, part_weight, toward in zip(sums, weights, directions, strict=True):
        facing = np.tensordot(toward.astype(np.float32), normal, axes=1)
        # Distance along a slanted ray times the cosine is the distance to the surface (planar to first order). Views
        # from behind the surface count only where there are no others.
        cosine = np.clip(facing, 0.15, 1.0)
        trust = np.clip(facing, 0.01, 1.0) ** 2 * part_weight
        total += trust * np.where(part_weight > 0, cosine * part / np.maximum(part_weight, 1e-9), 0)
        weight += trust
        free |= (part_weight >= settings.min_views) & (part > 0.9 * FRONT * band * part_weight)
    fused = np.where(weight > 0, total / np.maximum(weight, 1e-9), -band).astype(np.float32)
    fused = np.where(free, np.maximum(fused, 0.5 * FRONT * band), fused).astype(np.float32)
    known = all_weight >= 1.0
    return Measured(origin, voxel, fused, known)
