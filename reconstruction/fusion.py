"""TSDF fusion with Open3D's voxel block grid, bounded in space and memory.

Method: Curless & Levoy, "A volumetric method for building complex models from range images" (1996), on a hashed grid
of 16x16x16 blocks (Dong et al., "ASH", 2021). Only blocks inside a box are allocated, so a room costs no more than
the bench in it; what lies outside is fused again, coarsely, for the background.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from reconstruction.capture import FloatArray
from reconstruction.mesh import Mesh
from reconstruction.progress import Progress, silent
from reconstruction.views import DepthView

BLOCK = 16


@dataclass(frozen=True)
class FusionSettings:
    """How depth is fused."""

    voxel_m: float = 0.004
    """Voxel size (m) where objects can stand: smaller shows more and costs time with the third power."""
    background_voxel_m: float = 0.012
    """Voxel size (m) for everything else; grows by itself in large rooms."""
    truncation_voxels: float = 3.0
    """Half width of the band round the surface (voxels): wider bridges noise, narrower keeps thin walls."""
    max_blocks: int = 6000
    """Upper limit of blocks of 16x16x16 voxels (about 80 kB each): the voxel size is raised until they suffice."""
    max_depth_m: float = 3.5
    """Farther depth is left out (m)."""
    device: str = "auto"
    """``auto`` takes CUDA where Open3D has it, else the CPU; ``cpu`` or ``cuda`` insists."""


@dataclass(frozen=True)
class Box:
    """An axis-aligned box: `low` and `high` corners ``(3,)``, metres."""

    low: FloatArray
    high: FloatArray


@dataclass(frozen=True)
class Volume:
    """A dense grid: what fusion measured.

    Attributes:
        origin: ``(3,)`` position of voxel [0, 0, 0], metres.
        voxel_m: spacing.
        sdf_m: ``(X, Y, Z)`` float32 signed distance along the view rays, metres, positive in free space; NaN unseen.
        weight: ``(X, Y, Z)`` float32 number of observations.
        rgb: ``(X, Y, Z, 3)`` uint8, or None.
    """

    origin: FloatArray
    voxel_m: float
    sdf_m: npt.NDArray[np.float32]
    weight: npt.NDArray[np.float32]
    rgb: npt.NDArray[np.uint8] | None


def fusion_device(name: str) -> Any:
    """The Open3D device for a ``--device`` word."""
    import open3d.core as o3c

    if name == "cuda" or (name == "auto" and o3c.cuda.is_available()):
        return o3c.Device("CUDA:0")
    return o3c.Device("CPU:0")


class Fusion:
    """A voxel block grid that is fed views one by one."""

    def __init__(self, settings: FusionSettings, voxel_m: float, box: Box | None, with_rgb: bool) -> None:
        import open3d as o3d
        import open3d.core as o3c

        self.settings, self.voxel_m, self.box, self.with_rgb = settings, voxel_m, box, with_rgb
        self.device = fusion_device(settings.device)
        names: tuple[str, ...] = ("tsdf", "weight")
        kinds: tuple[Any, ...] = (o3c.float32, o3c.float32)
        channels: tuple[Any, ...] = ((1,), (1,))
        if with_rgb:
            names, kinds, channels = (*names, "color"), (*kinds, o3c.float32), (*channels, (3,))
        self.grid = o3d.t.geometry.VoxelBlockGrid(names, kinds, channels, voxel_m, BLOCK, 2000, self.device)

    def add(self, view: DepthView) -> None:
        """Integrate one view (poses in the grid's frame)."""
        import open3d as o3d
        import open3d.core as o3c

        depth = o3d.t.geometry.Image(o3c.Tensor(np.ascontiguousarray(view.depth_m))).to(self.device)
        # Open3D cuts pixel coordinates off instead of rounding them.
        intrinsics = o3c.Tensor(view.intrinsics + np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]]))
        extrinsics = o3c.Tensor(np.linalg.inv(view.world_from_camera))
        far, band = self.settings.max_depth_m, self.settings.truncation_voxels
        # Open3D looks for blocks at every fourth pixel and raises where it finds none there.
        looked_at = view.depth_m[::4, ::4]
        if not ((looked_at > 0) & (looked_at < far)).any():
            return
        blocks = self.grid.compute_unique_block_coordinates(depth, intrinsics, extrinsics, 1.0, far, band)
        blocks = self._inside(blocks)
        if blocks.shape[0] == 0:
            return
        if self.with_rgb and view.rgb is not None:
            color = o3d.t.geometry.Image(o3c.Tensor(view.rgb.astype(np.float32) / np.float32(255))).to(self.device)
            self.grid.integrate(blocks, depth, color, intrinsics, intrinsics, extrinsics, 1.0, far, band)
        else:
            self.grid.integrate(blocks, depth, intrinsics, extrinsics, 1.0, far, band)

    def _inside(self, blocks: Any) -> Any:
        if self.box is None:
            return blocks
        import open3d.core as o3c

        coordinates = blocks.cpu().numpy()
        size = self.voxel_m * BLOCK
        keep = np.all((coordinates + 1) * size > self.box.low, axis=1) & np.all(
            coordinates * size < self.box.high, axis=1
        )
        return o3c.Tensor(np.ascontiguousarray(coordinates[keep])).to(self.device)

    @property
    def blocks(self) -> int:
        """Number of allocated blocks."""
        return int(self.grid.hashmap().size())

    def volume(self) -> Volume:
        """The grid as one dense array, cut to what was seen. Order does not depend on threads or hashing."""
        import open3d.core as o3c

        table = self.grid.hashmap()
        active = table.active_buf_indices().to(o3c.int64)
        keys = table.key_tensor()[active].cpu().numpy()
        low = keys.min(axis=0)
        shape = (keys.max(axis=0) - low + 1) * BLOCK
        sdf = np.full(shape, np.nan, dtype=np.float32)
        weight = np.zeros(shape, dtype=np.float32)
        band = np.float32(self.voxel_m * self.settings.truncation_voxels)
        tsdf_blocks = self.grid.attribute("tsdf")[active].cpu().numpy()[..., 0]
        weight_blocks = self.grid.attribute("weight")[active].cpu().numpy()[..., 0]
        rgb = np.zeros((*shape, 3), dtype=np.uint8) if self.with_rgb else None
        rgb_blocks = self.grid.attribute("color")[active].cpu().numpy() if self.with_rgb else None
        for number, (x, y, z) in enumerate((keys - low) * BLOCK):
            place = (slice(x, x + BLOCK), slice(y, y + BLOCK), slice(z, z + BLOCK))
            # Open3D stores a block z-major: [z, y, x].
            seen = weight_blocks[number].T
            sdf[place] = np.where(seen > 0, tsdf_blocks[number].T * band, np.nan)
            weight[place] = seen
            if rgb is not None and rgb_blocks is not None:
                rgb[place] = np.clip(rgb_blocks[number].transpose(2, 1, 0, 3), 0, 255)
        return Volume(low * BLOCK * self.voxel_m, self.voxel_m, sdf, weight, rgb)

    def mesh(self, min_weight: float) -> Mesh:
        """Marching cubes; vertices and faces in an order that does not depend on threads."""
        if self.blocks == 0:
            return Mesh(np.zeros((0, 3)), np.zeros((0, 3), dtype=np.int64))
        legacy = self.grid.extract_triangle_mesh(weight_threshold=min_weight).cpu()
        if len(legacy.vertex.positions) == 0:
            return Mesh(np.zeros((0, 3)), np.zeros((0, 3), dtype=np.int64))
        vertices = legacy.vertex.positions.numpy().astype(np.float64)
        faces = legacy.triangle.indices.numpy().astype(np.int64)
        colors = None
        if self.with_rgb:
            colors = np.clip(np.round(legacy.vertex.colors.numpy() * 255.0), 0, 255).astype(np.uint8)
        return sorted_mesh(Mesh(vertices, faces, colors=colors))


def sorted_mesh(mesh: Mesh) -> Mesh:
    """`mesh` with vertices in lexicographic order and faces rotated and sorted: one form for one surface."""
    order = np.lexsort(mesh.vertices.T[::-1])
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    faces = rank[mesh.faces]
    first = np.argmin(faces, axis=1)
    faces = np.take_along_axis(faces, (first[:, None] + np.arange(3)) % 3, axis=1)
    faces = faces[np.lexsort(faces.T[::-1])]
    colors = None if mesh.colors is None else mesh.colors[order]
    return Mesh(mesh.vertices[order], faces, colors=colors)


def fuse(
    views: Sequence[DepthView],
    settings: FusionSettings,
    voxel_m: float,
    box: Box | None,
    progress: Progress = silent,
    with_rgb: bool = True,
) -> Fusion:
    """Fuse `views` (poses in the grid's frame) inside `box` (everything where None).

    The voxel size grows from `voxel_m` until the blocks that a thin sample of the views needs fit `max_blocks`.
    """
    while _blocks_needed(views, settings, voxel_m, box) > settings.max_blocks:
        voxel_m *= 1.25
    fusion = Fusion(settings, voxel_m, box, with_rgb)
    for number, view in enumerate(views):
        fusion.add(view)
        progress((number + 1) / len(views), f"fusing frame {number + 1} of {len(views)}")
    return fusion


def _blocks_needed(views: Sequence[DepthView], settings: FusionSettings, voxel_m: float, box: Box | None) -> int:
    size = voxel_m * BLOCK
    found: list[npt.NDArray[np.int64]] = []
    for view in views[:: max(1, len(views) // 60)]:
        depth = view.depth_m[::6, ::6].astype(np.float64)
        v, u = np.nonzero((depth > 0) & (depth < settings.max_depth_m))
        z = depth[v, u]
        rays = np.stack([u * 6.0, v * 6.0, np.ones(len(u))]) * z
        points = (np.linalg.inv(view.intrinsics) @ rays).T
        points = points @ view.world_from_camera[:3, :3].T + view.world_from_camera[:3, 3]
        if box is not None:
            points = points[np.all((points > box.low) & (points < box.high), axis=1)]
        found.append(np.unique(np.floor(points / size).astype(np.int64), axis=0))
    if not found:
        return 0
    # A surface crosses about half as many neighbours again through the band's width.
    return int(1.6 * len(np.unique(np.concatenate(found), axis=0)))
