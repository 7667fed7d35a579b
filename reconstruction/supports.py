"""Which way is up, and on what do things stand: gravity and horizontal support surfaces.

Works on a thin sample of oriented points (a few hundred thousand), before fusion, so that fusion can run at full
resolution only where objects can be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reconstruction.capture import FloatArray
from reconstruction.fusion import Box
from reconstruction.views import DepthView


@dataclass(frozen=True)
class SupportSettings:
    """How supports are found."""

    min_area_m2: float = 0.04
    """Smaller horizontal patches (m²) are tops of things, not supports."""
    level_tolerance_deg: float = 8.0
    """A surface tilted by more than this (degrees) holds nothing."""
    plane_tolerance_m: float = 0.012
    """Points this near (m) to a plane belong to it; larger bridges more drift, smaller keeps thin things apart."""
    max_samples: int = 120_000
    """Oriented points taken from all views together."""
    min_attention_share: float = 0.25
    """Other supports are searched for objects where they were looked at, for their area, at least this share as much
    as the main one: the floor under a table was not scanned, a shelf beside it was."""
    max_benches: int = 4
    """Supports searched for objects."""
    margin_m: float = 0.12
    """Room (m) beyond a support's edge, for what hangs over it."""
    headroom_m: float = 0.6
    """Height (m) above a support in which objects are looked for."""


@dataclass(frozen=True)
class OrientedPoints:
    """A sample of the seen surface in some world frame.

    Attributes:
        points: ``(N, 3)`` metres.
        normals: ``(N, 3)`` unit, towards the camera.
        weight: ``(N,)`` how much the person looked at it: 1 in the middle of the picture, less at its edge.
    """

    points: FloatArray
    normals: FloatArray
    weight: FloatArray


@dataclass(frozen=True)
class HorizontalPatch:
    """A level, connected surface in an upright frame (z up).

    Attributes:
        plane: ``(4,)`` unit normal up and offset, ax + by + cz + d = 0.
        height_m: z at the patch's middle.
        cells: ``(N, 2)`` int64 occupied grid cells of side `CELL_M`.
        attention: summed weight of the points on it.
    """

    plane: FloatArray
    height_m: float
    cells: npt.NDArray[np.int64]
    attention: float

    @property
    def area_m2(self) -> float:
        """Area seen, square metres."""
        return len(self.cells) * CELL_M**2


CELL_M = 0.02


def sample_points(views: Sequence[DepthView], settings: SupportSettings) -> OrientedPoints:
    """Oriented points of all views on a regular pixel grid, in the views' world frame."""
    points, normals, weights = [], [], []
    per_view = max(200, settings.max_samples // max(len(views), 1))
    for view in views:
        height, width = view.depth_m.shape
        step = max(1, round((height * width / per_view) ** 0.5))
        # Neighbours about 1 % of the picture away: nearer ones differ by noise rather than by slope.
        far = max(2, width // 100)
        v, u = np.mgrid[far : height - far : step, far : width - far : step]
        corners = [_back_project(view, u + du, v + dv) for du, dv in ((0, 0), (far, 0), (-far, 0), (0, far), (0, -far))]
        center, right, left, down, up = corners
        normal = np.cross(down - up, right - left)
        length = np.linalg.norm(normal, axis=-1)
        depth = view.depth_m[v, u]
        near = np.ones(depth.shape, dtype=bool)
        for other in corners[1:]:
            near &= np.abs(other[..., 2] - center[..., 2]) < 0.05 * depth
        good = (depth > 0) & near & (length > 1e-12)
        normal = normal[good] / length[good, None]
        normal *= -np.sign(np.einsum("ij,ij->i", normal, center[good]))[:, None]
        rotation, translation = view.world_from_camera[:3, :3], view.world_from_camera[:3, 3]
        points.append(center[good] @ rotation.T + translation)
        normals.append(normal @ rotation.T)
        off_center = ((u[good] - width / 2) / width) ** 2 + ((v[good] - height / 2) / height) ** 2
        weights.append(np.exp(-4.0 * off_center))
    if not points:
        return OrientedPoints(np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0))
    return OrientedPoints(np.concatenate(points), np.concatenate(normals), np.concatenate(weights))


def _back_project(view: DepthView, u: npt.NDArray[np.int64], v: npt.NDArray[np.int64]) -> FloatArray:
    depth = view.depth_m[v, u].astype(np.float64)
    intrinsics = view.intrinsics
    x = (u - intrinsics[0, 2]) / intrinsics[0, 0] * depth
    y = (v - intrinsics[1, 2]) / intrinsics[1, 1] * depth
    return np.stack([x, y, depth], axis=-1)


def find_up(points: OrientedPoints, views: Sequence[DepthView], up_hint: FloatArray | None) -> FloatArray:
    """The direction against gravity ``(3,)`` in the points' frame.

    With a hint (the phone's accelerometer) it is the hint, sharpened to the level surfaces it implies. Without one,
    it is the normal most shared among surfaces that face the cameras from below: people look down at a bench.
    """
    normals, weight = points.normals, points.weight
    if up_hint is None:
        back = -np.mean([view.world_from_camera[:3, 2] for view in views], axis=0)
        # Image up (-y) leans the same way as gravity for upright pictures; for a portrait phone it is sideways, so
        # it only helps to choose between otherwise equal directions.
        image_up = -np.mean([view.world_from_camera[:3, 1] for view in views], axis=0)
        candidates = _main_directions(normals, weight)
        scores = [share * max(0.0, c @ back) * (1.0 + max(0.0, c @ image_up)) for c, share in candidates]
        if not scores or max(scores) <= 0:
            return np.asarray(back / np.linalg.norm(back), dtype=np.float64)
        up = candidates[int(np.argmax(scores))][0]
    else:
        up = np.asarray(up_hint, dtype=np.float64) / np.linalg.norm(up_hint)
    for limit_deg in (10.0, 6.0, 4.0):
        level = normals @ up > np.cos(np.deg2rad(limit_deg))
        if np.count_nonzero(level) < 200:
            break
        mean = (normals[level] * weight[level, None]).sum(axis=0)
        mean /= np.linalg.norm(mean)
        if up_hint is not None and mean @ (up_hint / np.linalg.norm(up_hint)) < np.cos(np.deg2rad(5.0)):
            break  # a tilted board is no better witness of gravity than an accelerometer
        up = mean
    return np.asarray(up, dtype=np.float64)


def _main_directions(normals: FloatArray, weight: FloatArray) -> list[tuple[FloatArray, float]]:
    """The most shared directions among `normals` with their shares, by greedy voting on a sphere of 400 points."""
    number = np.arange(400) + 0.5
    z = 1 - 2 * number / 400
    angle = np.pi * (1 + 5**0.5) * number
    radius = np.sqrt(1 - z**2)
    sphere = np.stack([radius * np.cos(angle), radius * np.sin(angle), z], axis=-1)
    left = np.array(weight)
    result = []
    for _ in range(6):
        votes = np.array([left[normals @ direction > 0.985].sum() for direction in sphere])
        best = sphere[int(np.argmax(votes))]
        if votes.max() <= 0.01 * weight.sum():
            break
        for _ in range(3):
            close = normals @ best > 0.985
            best = (normals[close] * left[close, None]).sum(axis=0)
            best = best / np.linalg.norm(best)
        close = normals @ best > 0.97
        result.append((best, float(left[close].sum() / weight.sum())))
        left[close] = 0
    return result


def upright_from_world(up: FloatArray) -> FloatArray:
    """A rotation ``(4, 4)`` that takes `up` to +z, with x kept as level and as near to the world's x as possible."""
    side = np.array([1.0, 0.0, 0.0])
    if abs(up[0]) > 0.9:
        side = np.array([0.0, 0.0, 1.0])
    x = side - up * (side @ up)
    x /= np.linalg.norm(x)
    result = np.eye(4)
    result[:3, :3] = np.stack([x, np.cross(up, x), up])
    return result


def find_patches(points: OrientedPoints, settings: SupportSettings) -> list[HorizontalPatch]:
    """All level, connected surfaces of `points` (upright frame), the most looked-at first."""
    from scipy import ndimage

    level = points.normals[:, 2] > np.cos(np.deg2rad(settings.level_tolerance_deg + 6.0))
    xyz, weight = points.points[level], points.weight[level]
    if len(xyz) == 0:
        return []
    step = 0.005
    bottom = xyz[:, 2].min()
    bins = ((xyz[:, 2] - bottom) / step).astype(np.int64)
    histogram = np.bincount(bins, weights=weight, minlength=int(bins.max()) + 1).astype(np.float64)
    smooth = ndimage.gaussian_filter1d(histogram, 1.5)
    patches: list[HorizontalPatch] = []
    free = np.ones(len(xyz), dtype=bool)
    for peak in np.argsort(-smooth, kind="stable")[:200]:
        if smooth[peak] < 0.004 * weight.sum():
            break
        height = bottom + (peak + 0.5) * step
        near = free & (np.abs(xyz[:, 2] - height) < settings.plane_tolerance_m)
        if np.count_nonzero(near) < 50:
            continue
        for patch, members in _connected_patches(xyz, weight, np.flatnonzero(near), settings):
            patches.append(patch)
            free[members] = False
    return sorted(patches, key=lambda patch: -patch.attention)


def _connected_patches(
    xyz: FloatArray, weight: FloatArray, members: npt.NDArray[np.int64], settings: SupportSettings
) -> list[tuple[HorizontalPatch, npt.NDArray[np.int64]]]:
    from scipy import ndimage

    cells = np.floor(xyz[members, :2] / CELL_M).astype(np.int64)
    corner = cells.min(axis=0)
    grid = np.zeros(cells.max(axis=0) - corner + 1, dtype=bool)
    grid[tuple((cells - corner).T)] = True
    # Things on a table leave holes and thin bridges in it; 2 cells of closing join what is one surface.
    labels, count = ndimage.label(ndimage.binary_dilation(grid, iterations=2))
    result = []
    label_of = labels[tuple((cells - corner).T)]
    for label in range(1, count + 1):
        own = members[label_of == label]
        if len(own) < 30:
            continue
        plane = fit_plane(xyz[own], weight[own])
        if plane[2] < np.cos(np.deg2rad(settings.level_tolerance_deg)):
            continue
        height = -plane[3] / plane[2] - (plane[:2] @ xyz[own, :2].mean(axis=0)) / plane[2]
        around = np.flatnonzero(np.abs(xyz @ plane[:3] + plane[3]) < settings.plane_tolerance_m)
        spot = np.floor(xyz[around, :2] / CELL_M).astype(np.int64) - corner
        inside = np.all((spot >= 0) & (spot < grid.shape), axis=1)
        own = around[inside][labels[tuple(spot[inside].T)] == label]
        own_cells = np.unique(np.floor(xyz[own, :2] / CELL_M).astype(np.int64), axis=0)
        if len(own_cells) * CELL_M**2 < settings.min_area_m2:
            continue
        plane = fit_plane(xyz[own], weight[own])
        result.append((HorizontalPatch(plane, float(height), own_cells, float(weight[own].sum())), own))
    return result


def fit_plane(points: FloatArray, weight: FloatArray | None = None) -> FloatArray:
    """Robust plane ``(4,)`` with unit normal up through `points` ``(N, 3)``: reweighted least squares (Tukey)."""
    base = np.ones(len(points)) if weight is None else weight
    robust = np.ones(len(points))
    normal, offset = np.array([0.0, 0.0, 1.0]), 0.0
    for _ in range(6):
        w = base * robust
        mean = (points * w[:, None]).sum(axis=0) / w.sum()
        centered = points - mean
        _, vectors = np.linalg.eigh((centered * w[:, None]).T @ centered)
        normal = vectors[:, 0] * (1.0 if vectors[2, 0] >= 0 else -1.0)
        offset = -float(normal @ mean)
        residual = np.abs(points @ normal + offset)
        scale = max(4.0 * 1.4826 * float(np.median(residual)), 1e-3)
        robust = np.where(residual < scale, (1 - (residual / scale) ** 2) ** 2, 0.0) + 1e-9
    return np.append(normal, offset)


@dataclass(frozen=True)
class Placement:
    """Where the scene frame lies and what is level in it.

    Attributes:
        scene_from_world: ``(4, 4)`` from the views' world.
        patches: level surfaces in the scene frame, the main support first; empty where nothing level was seen.
    """

    scene_from_world: FloatArray
    patches: tuple[HorizontalPatch, ...]


def place_scene(views: Sequence[DepthView], up_hint: FloatArray | None, settings: SupportSettings) -> Placement:
    """Choose the scene frame: z up, z = 0 on the main support, its origin in that support's middle.

    Without a level surface the origin lies in the middle of what was seen, and gravity is the hint alone.
    """
    points = sample_points(views, settings)
    if len(points.points) == 0:
        return Placement(np.eye(4), ())
    upright = upright_from_world(find_up(points, views, up_hint))
    patches = find_patches(_turned(points, upright), settings)
    if not patches:
        shift = np.eye(4)
        shift[:3, 3] = -np.median(_turned(points, upright).points, axis=0)
        return Placement(shift @ upright, ())
    main = patches[0]
    # The table's own normal is truer than the accelerometer's up: things have to stand on it.
    level = upright_from_world(main.plane[:3])
    middle = np.append((main.cells.mean(axis=0) + 0.5) * CELL_M, main.height_m)
    level[:3, 3] = -level[:3, :3] @ middle
    scene_from_world = level @ upright
    return Placement(scene_from_world, tuple(find_patches(_turned(points, scene_from_world), settings)))


def _turned(points: OrientedPoints, target_from_points: FloatArray) -> OrientedPoints:
    rotation = target_from_points[:3, :3]
    moved = points.points @ rotation.T + target_from_points[:3, 3]
    return OrientedPoints(moved, points.normals @ rotation.T, points.weight)


def _beside(first: HorizontalPatch, second: HorizontalPatch, settings: SupportSettings) -> bool:
    """Whether the boxes over two patches have no column in common: two tables of one height."""
    margin = 2.0 * settings.margin_m / CELL_M
    low = np.maximum(first.cells.min(axis=0), second.cells.min(axis=0))
    high = np.minimum(first.cells.max(axis=0), second.cells.max(axis=0))
    return bool((low > high + 1 + margin).any())


def support_boxes(placement: Placement, settings: SupportSettings) -> list[tuple[Box, float]]:
    """Boxes (scene frame) in which objects are looked for, each with its support's height (m); the main one first."""
    if not placement.patches:
        return []
    main = placement.patches[0]
    chosen = [main]
    for patch in placement.patches[1:]:
        apart = all(abs(patch.height_m - other.height_m) > 0.06 or _beside(patch, other, settings) for other in chosen)
        looked_at = patch.attention / patch.area_m2 >= settings.min_attention_share * main.attention / main.area_m2
        if apart and looked_at and patch.area_m2 >= 2.0 * settings.min_area_m2:
            chosen.append(patch)
    boxes = []
    for patch in chosen[: settings.max_benches]:
        low = np.append(patch.cells.min(axis=0) * CELL_M - settings.margin_m, patch.height_m - 0.1)
        high = np.append((patch.cells.max(axis=0) + 1) * CELL_M + settings.margin_m, patch.height_m)
        higher = [other for other in chosen if other.height_m > patch.height_m + 0.06]
        above = [other.height_m for other in higher if not _beside(patch, other, settings)]
        # A shelf ends where the next board begins.
        high[2] += min([settings.headroom_m, *(height - patch.height_m - 0.03 for height in above)])
        boxes.append((Box(low, high), patch.height_m))
    return boxes
