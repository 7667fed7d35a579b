"""Small scans of known things on a table, rendered exactly: depth views with true poses, and what becomes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import open3d as o3d
import open3d.core as o3c
import trimesh

from reconstruction.capture import Capture, Frame
from reconstruction.fusion import Box, FusionSettings, Volume, fuse
from reconstruction.heightmap import Ground, GroundSettings, HeightMap, find_ground, height_map
from reconstruction.mesh import Mesh, to_trimesh
from reconstruction.objects import Shape, ShapeSettings, shape_objects
from reconstruction.segmentation import segment
from reconstruction.segments import Segment, SegmentationSettings
from reconstruction.views import DepthView
from tests.small_scenes import box, cylinder

FloatArray = npt.NDArray[np.float64]
Solid = trimesh.Trimesh
SIZE = (192, 144)
FUSION = FusionSettings(device="cpu")
BENCH = Box(np.array([-0.35, -0.3, -0.1]), np.array([0.35, 0.3, 0.4]))


def at(solid: Solid, x: float, y: float, z: float = 0.0) -> Solid:
    moved = solid.copy()
    moved.apply_translation([x, y, z])
    return moved


def table(x: float = 0.7, y: float = 0.6) -> Solid:
    return at(box(x, y, 0.03), 0.0, 0.0, -0.03)


def floor() -> Solid:
    return at(box(6.0, 6.0, 0.05), 0.0, 0.0, -0.75)


def wall() -> Solid:
    return at(box(4.0, 0.05, 3.0), 0.0, 1.0, -1.5)


def looking(eye: FloatArray, target: FloatArray) -> FloatArray:
    """``world_from_camera`` of a level camera: x right, y down, z forward."""
    forward = (target - eye) / np.linalg.norm(target - eye)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3] = np.column_stack([right, np.cross(forward, right), forward])
    pose[:3, 3] = eye
    return pose


def orbit(count: int = 28, distance: float = 0.6, arc_deg: float = 360.0) -> list[FloatArray]:
    """Poses round the table, by turns low and high."""
    poses = []
    for number in range(count):
        heading = np.radians(arc_deg) * number / count
        height = np.radians((32.0, 48.0, 68.0)[number % 3])
        away = np.array([np.cos(heading) * np.cos(height), np.sin(heading) * np.cos(height), np.sin(height)])
        poses.append(looking(distance * away, np.array([0.0, 0.0, 0.02])))
    return poses


def intrinsics(size: tuple[int, int] = SIZE) -> FloatArray:
    width, height = size
    return np.array([[0.8 * width, 0, width / 2 - 0.5], [0, 0.8 * width, height / 2 - 0.5], [0, 0, 1.0]])


def views_of(
    solids: Sequence[Solid], poses: Sequence[FloatArray] | None = None, size: tuple[int, int] = SIZE
) -> list[DepthView]:
    """Exact planar depth of `solids` from `poses`, grey where they are lit."""
    scene = o3d.t.geometry.RaycastingScene(nthreads=1)
    for solid in solids:
        vertices, faces = np.asarray(solid.vertices, np.float32), np.asarray(solid.faces, np.uint32)
        scene.add_triangles(o3c.Tensor(vertices), o3c.Tensor(faces))
    matrix = intrinsics(size)
    v, u = np.mgrid[: size[1], : size[0]]
    pixels = np.stack([u, v, np.ones_like(u)], axis=-1) @ np.linalg.inv(matrix).T
    views = []
    for number, pose in enumerate(orbit() if poses is None else poses):
        # Rays of unit z: the distance along them is the planar depth.
        rays = np.concatenate([np.broadcast_to(pose[:3, 3], pixels.shape), pixels @ pose[:3, :3].T], axis=-1)
        hit = scene.cast_rays(o3c.Tensor(rays.astype(np.float32)), nthreads=1)
        depth = hit["t_hit"].numpy()
        shade = 40 + 160 * np.abs(hit["primitive_normals"].numpy()[..., 2:])
        rgb = np.repeat(shade, 3, axis=-1).astype(np.uint8)
        views.append(DepthView(number, np.where(np.isfinite(depth), depth, 0).astype(np.float32), matrix, rgb, pose))
    return views


@dataclass(frozen=True)
class Found:
    """What the steps from fusion to solids make of views."""

    views: list[DepthView]
    volume: Volume
    heights: HeightMap
    ground: Ground
    segments: list[Segment]
    shapes: list[Shape]

    def shape_at(self, x: float, y: float, z: float | None = None) -> Shape:
        """The one whose box holds the point, or the column over it."""
        held = []
        for shape in self.shapes:
            low, high = shape.mesh.vertices.min(axis=0), shape.mesh.vertices.max(axis=0)
            if low[0] < x < high[0] and low[1] < y < high[1] and (z is None or low[2] < z < high[2]):
                held.append(shape)
        assert len(held) == 1, (len(held), [shape.mesh.vertices.mean(axis=0) for shape in self.shapes])
        return held[0]


def found_in(views: list[DepthView], bench: Box = BENCH) -> Found:
    volume = fuse(views, FUSION, FUSION.voxel_m, bench).volume()
    heights = height_map(volume, GroundSettings().min_weight)
    ground = find_ground(heights, GroundSettings())
    assert ground is not None
    segments = segment(heights, ground, SegmentationSettings())
    return Found(
        views, volume, heights, ground, segments, shape_objects(views, heights, ground, segments, ShapeSettings())
    )


def size_of(mesh: Mesh) -> FloatArray:
    return np.asarray(np.ptp(mesh.vertices, axis=0))


def contains(mesh: Mesh, points: Sequence[Sequence[float]]) -> list[bool]:
    scene = o3d.t.geometry.RaycastingScene(nthreads=1)
    scene.add_triangles(o3c.Tensor(mesh.vertices.astype(np.float32)), o3c.Tensor(mesh.faces.astype(np.uint32)))
    occupied = scene.compute_occupancy(o3c.Tensor(np.array(points, np.float32)), nthreads=1, nsamples=5)
    return [bool(value) for value in occupied.numpy()]


def watertight(mesh: Mesh) -> bool:
    solid = to_trimesh(mesh)
    return bool(solid.is_watertight and solid.is_winding_consistent and solid.volume > 0)


def cup(radius: float = 0.04, height: float = 0.09, wall: float = 0.004, bottom: float = 0.006) -> Solid:
    """An open cup, metres."""
    return trimesh.boolean.difference(
        [cylinder(radius, height), at(cylinder(radius - wall, height), 0.0, 0.0, bottom)], engine="manifold"
    )


@lru_cache(maxsize=1)
def mixed_bench() -> Found:
    """A box, a cylinder, an open cup and a thin slab, apart from each other."""
    solids = [
        at(box(0.08, 0.05, 0.06), -0.15, -0.1),
        at(cylinder(0.03, 0.1), 0.15, -0.1),
        at(cup(), -0.15, 0.12),
        at(box(0.1, 0.07, 0.008), 0.15, 0.12),
    ]
    return found_in(views_of([table(), floor(), *solids]))


@lru_cache(maxsize=1)
def stacked_bench() -> Found:
    """A block on a book, two boxes that touch at a corner's breadth, two cylinders that touch."""
    solids = [
        at(box(0.16, 0.12, 0.03), -0.15, -0.1),
        at(box(0.05, 0.04, 0.05), -0.15, -0.1, 0.03),
        at(cylinder(0.03, 0.07), 0.12, -0.1),
        at(cylinder(0.03, 0.08), 0.18, -0.1),
        at(box(0.06, 0.06, 0.05), -0.1, 0.12),
        at(box(0.06, 0.06, 0.05), -0.04, 0.155),
    ]
    return found_in(views_of([table(), floor(), *solids]))


def capture_of(views: Sequence[DepthView], up: FloatArray | None = None) -> Capture:
    """The views as a scan without faults."""

    def frame(view: DepthView) -> Frame:
        size = (view.depth_m.shape[1], view.depth_m.shape[0])
        rgb = view.rgb
        return Frame(
            view.position, 0.1 * view.position, size, view.intrinsics, view.world_from_camera, size,
            None if rgb is None else lambda: rgb, lambda: view.depth_m,
        )  # fmt: skip

    return Capture("scan", "virtual", Path("scan"), "none", [frame(view) for view in views], up=up)


def ball_on_table() -> list[DepthView]:
    """A ball of 60 mm radius on the table."""
    return views_of([table(), floor(), at(trimesh.creation.icosphere(4, 0.06), 0.0, 0.0, 0.06)])
