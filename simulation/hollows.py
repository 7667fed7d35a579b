"""What things hold: hollows to put something into, level tops to put something onto.

Looked at from above, on a grid; lengths are metres.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reconstruction.scene import SceneObject
from simulation.cell import Cell
from simulation.forms import in_scene, outline

FloatArray = npt.NDArray[np.float64]
LEVEL_M = 0.0015
"""What is lower than the highest point of a top by less than this is level with it."""
BEARS_M = 0.008
BELOW_RIM_M = 0.005
FLAT_M = 0.015
STEP_M = 0.002
"""Between the points at which it is looked at what is free."""


@dataclass(frozen=True)
class Hollow:
    """The inside of a vessel as it stood at the start.

    Attributes:
        rim: ``(K, 2)`` convex outline of the opening, scene frame; no corners where nothing is hollow.
        rim_m: height of the rim.
        floor_m: lowest height inside.
        floor: ``(K, 2)`` convex outline of what is no higher than 15 mm over that.
        pose: `scene_from_object` of the vessel then.
    """

    rim: FloatArray
    rim_m: float
    floor_m: float
    floor: FloatArray
    pose: FloatArray

    @staticmethod
    def of(cell: Cell, name: str) -> Hollow:
        """The hollow of a thing in the cell; looked at once a cousin."""
        key = ("hollow", name)
        if key not in cell.notes:
            cell.notes[key] = Hollow(*hollow_of(cell.item(name), cell.start[name]), cell.start[name])
        found = cell.notes[key]
        assert isinstance(found, Hollow)
        return found

    def contains(self, center: FloatArray, low_m: float, pose: FloatArray) -> bool:
        """Whether a thing is in it, the vessel being at `pose` now.

        Args:
            center: ``(3,)`` of the thing's mass, scene frame.
            low_m: height of its lowest point.
            pose: `scene_from_object` of the vessel; tipped over, it holds nothing.
        """
        if len(self.rim) < 3 or pose[2, :3] @ self.pose[2, :3] < np.cos(np.deg2rad(25.0)):
            return False
        then = (self.pose @ np.linalg.inv(pose) @ np.append(center, 1.0))[:3]
        low_then = low_m - float(pose[2, 3] - self.pose[2, 3])
        return bool(low_then < self.rim_m - BELOW_RIM_M and within(self.rim, then[None, :2])[0] > 0.0)

    def room(self, contents: Sequence[FloatArray]) -> float:
        """Diameter (m) of the largest circle inside that is free of `contents`, points ``(N, 3)`` of each."""
        from scipy.ndimage import distance_transform_edt

        if len(self.rim) < 3:
            return 0.0
        _, free = self._free(self.rim, [outline(p[:, :2]) for p in contents if p[:, 2].max() > self.floor_m + 0.01])
        return float(2 * STEP_M * distance_transform_edt(free).max())

    def places(self, corners: FloatArray, taken: Sequence[FloatArray], spare_m: float) -> FloatArray:
        """``(N, 2)`` where the origin of an outline may come to lie on the floor, that farthest from the middle first.

        Args:
            corners: ``(K, 2)`` convex outline of what is put in, about its own origin.
            taken: outlines ``(K, 2)`` of what is there already, scene frame.
            spare_m: it stays this far from everything.
        """
        import cv2

        # What is wider or longer than the opening fits nowhere.
        if len(self.floor) < 3 or (np.sort(sides(corners)) > np.sort(sides(self.floor))).any():
            return np.zeros((0, 2))
        grid, free = self._free(self.floor, taken)
        half = int(np.ceil((np.abs(corners).max() + spare_m) / STEP_M))
        own = np.stack(np.meshgrid(*[np.arange(-half, half + 1) * STEP_M] * 2, indexing="ij"), axis=-1)
        shape = within(corners, own.reshape(-1, 2)).reshape(own.shape[:2]) > -spare_m
        fits = cv2.erode(free.astype(np.uint8), shape.astype(np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0)
        found = grid[fits > 0]
        far = np.linalg.norm(found - (self.floor.min(axis=0) + self.floor.max(axis=0)) / 2, axis=1)
        return np.asarray(found[np.argsort(-np.round(far, 6), kind="stable")])

    def _free(self, bounds: FloatArray, taken: Sequence[FloatArray]) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
        """Points ``(X, Y, 2)`` about an outline, and which of them are in it and in none of the outlines `taken`."""
        low, high = bounds.min(axis=0) - STEP_M, bounds.max(axis=0) + 2 * STEP_M
        ways = [np.arange(a, b, STEP_M) for a, b in zip(low, high, strict=True)]
        grid = np.stack(np.meshgrid(*ways, indexing="ij"), axis=-1)
        free = within(bounds, grid.reshape(-1, 2)) > 0
        for corners in taken:
            if len(corners) > 2:
                free &= within(corners, grid.reshape(-1, 2)) < 0
        return grid, free.reshape(grid.shape[:2])


def hollow_of(item: SceneObject, pose: FloatArray, cells: int = 40) -> tuple[FloatArray, float, float, FloatArray]:
    """Rim ``(K, 2)``, its height, the lowest height inside and the outline ``(L, 2)`` of what is nearly as low, of an
    object at a pose; no rim where nothing is hollow.

    Looked at from above on a grid: inside is what lies lower than the rim and is walled in all round.
    """
    from scipy.ndimage import binary_fill_holes, label

    heights, low, step = height_map(item, pose, cells)
    solid = np.isfinite(heights)
    if not solid.any():
        return np.zeros((0, 2)), 0.0, 0.0, np.zeros((0, 2))
    top = float(heights[solid].max())
    best: tuple[FloatArray, float, float, FloatArray] = (np.zeros((0, 2)), top, top, np.zeros((0, 2)))
    bottom = float(in_scene(item, pose)[:, 2].min())
    # The rim is the highest level at which something is walled in.
    for level in np.linspace(top, bottom, 25)[1:]:
        wall = solid & (heights >= level)
        inside = binary_fill_holes(wall) & ~wall
        regions, count = label(inside)
        if not count:
            continue
        sizes = np.bincount(regions.ravel())[1:]
        largest = regions == 1 + int(np.argmax(sizes))
        if sizes.max() < max(9, 0.08 * solid.sum()):
            continue
        depth = heights[largest]
        floor_m = float(np.percentile(depth[np.isfinite(depth)], 20)) if np.isfinite(depth).any() else bottom
        if level - floor_m < 0.008:
            continue
        flat = largest & (heights < floor_m + FLAT_M)
        best = (_about(largest, low, step), float(level), floor_m, _about(flat, low, step))
        break
    return best


def _about(cells: npt.NDArray[np.bool_], low: FloatArray, step: float) -> FloatArray:
    """Convex outline ``(K, 2)`` of cells ``(X, Y)`` of a grid."""
    found = np.argwhere(cells)
    return outline(np.vstack([low + (found + offset) * step for offset in ((0, 0), (0, 1), (1, 0), (1, 1))]))


def height_map(item: SceneObject, pose: FloatArray, cells: int) -> tuple[FloatArray, FloatArray, float]:
    """Heights ``(X, Y)`` of the convex parts from above, -inf beside them; the lower corner; a cell's size."""
    points = in_scene(item, pose)
    low, high = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
    step = float((high - low).max()) / cells
    shape = np.maximum(np.ceil((high - low) / step).astype(int), 1)
    grid = np.stack(np.meshgrid(*(np.arange(n) + 0.5 for n in shape), indexing="ij"), axis=-1) * step + low
    flat = grid.reshape(-1, 2)
    heights = np.full(len(flat), -np.inf)
    start = 0
    for part in item.convex_parts:
        own = points[start : start + len(part.vertices)]
        start += len(part.vertices)
        corners = own[part.faces]
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        normals *= np.where((normals * (corners[:, 0] - own.mean(axis=0))).sum(axis=1) < 0, -1.0, 1.0)[:, None]
        size = np.linalg.norm(normals, axis=1)
        normals, corners = normals[size > 1e-14] / size[size > 1e-14][:, None], corners[size > 1e-14]
        room = (normals * corners[:, 0]).sum(axis=1) - flat @ normals[:, :2].T
        up = normals[:, 2]
        with np.errstate(divide="ignore", invalid="ignore"):
            at = room / up
        top = np.where(up > 1e-9, at, np.inf).min(axis=1)
        under = np.where(up < -1e-9, at, -np.inf).max(axis=1)
        beside = ((np.abs(up) <= 1e-9) & (room < 0)).any(axis=1)
        hit = (top >= under) & ~beside
        heights = np.where(hit, np.maximum(heights, top), heights)
    return heights.reshape(*shape), low, step


def level_m(item: SceneObject, pose: FloatArray) -> float:
    """Diameter (m) of the largest circle that fits into the level top of an object."""
    from scipy.ndimage import distance_transform_edt

    heights, _, step = height_map(item, pose, 40)
    top = heights > heights.max() - LEVEL_M
    return float(2 * step * distance_transform_edt(np.pad(top, 1)).max())


def top_middle(item: SceneObject, pose: FloatArray) -> FloatArray:
    """Where ``(2,)`` something is best put down on an object: over its middle, where its top bears on all sides of
    that, else on the middle of the largest level place.
    """
    from scipy.ndimage import distance_transform_edt

    heights, low, step = height_map(item, pose, 40)
    top = heights > heights.max() - LEVEL_M
    corners = _about(top, low, step)
    points = in_scene(item, pose)[:, :2]
    middle = (points.min(axis=0) + points.max(axis=0)) / 2
    if within(corners, middle[None])[0] > BEARS_M:
        return np.asarray(middle)
    room = distance_transform_edt(np.pad(top, 1))[1:-1, 1:-1]
    return np.asarray(low + (np.array(np.unravel_index(int(room.argmax()), room.shape)) + 0.5) * step)


def sides(points: FloatArray) -> tuple[float, float]:
    """Width and length (m) of the narrowest rectangle about points ``(N, 2)``, however that is turned."""
    corners = outline(points)
    edges = np.roll(corners, -1, axis=0) - corners
    along = edges / np.maximum(np.linalg.norm(edges, axis=1, keepdims=True), 1e-12)
    lengths, widths = np.ptp(corners @ along.T, axis=0), np.ptp(corners @ (along[:, ::-1] * [-1.0, 1.0]).T, axis=0)
    narrowest = int(widths.argmin())
    return float(widths[narrowest]), float(lengths[narrowest])


def within(polygon: FloatArray, points: FloatArray) -> FloatArray:
    """How far ``(N,)`` points are inside a convex counter-clockwise polygon; negative outside."""
    edge = np.roll(polygon, -1, axis=0) - polygon
    normal = np.stack([-edge[:, 1], edge[:, 0]], axis=1) / np.maximum(np.hypot(edge[:, 0], edge[:, 1]), 1e-12)[:, None]
    return np.asarray(((points[:, None] - polygon[None]) * normal[None]).sum(axis=2).min(axis=1))
