"""Pictures and depth of textured meshes by ray casting on the CPU (Open3D's Embree scene): no window, no OpenGL.

Soft shadows and ambient occlusion cost one ray each: neighbouring pixels look at different points of the lamp
and of the sky in a 4 × 4 pattern, and a box filter averages them ("interleaved sampling", Keller & Heidrich 2001).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from reconstruction.mesh import Mesh

FloatArray = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]
NO_HIT = np.uint32(0xFFFFFFFF)
NOTHING = 0.6
"""Linear grey where there is nothing to see."""


@dataclass(frozen=True)
class Light:
    """One soft lamp and a bright sky.

    Attributes:
        position: ``(3,)`` metres, the lamp's centre in the world.
        radius_m: of the lamp; larger is a softer shadow.
        lamp: brightness of the lamp on a surface that faces it.
        sky: brightness of the light from all sides.
        reach_m: things farther than this cast no ambient shadow.
    """

    position: FloatArray
    radius_m: float = 0.25
    lamp: float = 0.8
    sky: float = 0.55
    reach_m: float = 0.35


def pixel_rays(intrinsics: FloatArray, size: tuple[int, int], world_from_camera: FloatArray) -> Float32:
    """Rays ``(H, W, 6)`` through the pixels of a picture of ``(width, height)``; see `rays_through`."""
    u, v = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    return rays_through(u, v, intrinsics, world_from_camera)


def rays_through(
    u: npt.NDArray[Any], v: npt.NDArray[Any], intrinsics: FloatArray, world_from_camera: FloatArray
) -> Float32:
    """Rays ``(..., 6)`` through image points `u`, `v` (pixels), directions with camera z = 1.

    With such directions the hit distance that Open3D returns is planar depth.
    """
    local = np.stack(
        [(u - intrinsics[0, 2]) / intrinsics[0, 0], (v - intrinsics[1, 2]) / intrinsics[1, 1], np.ones_like(u)], -1
    )
    rays = np.empty((*u.shape, 6), dtype=np.float32)
    rays[..., :3] = world_from_camera[:3, 3]
    rays[..., 3:] = local @ world_from_camera[:3, :3].T
    return rays


class RayScene:
    """Textured meshes in the world frame, ready for rays. Reading is thread-safe."""

    def __init__(self, meshes: Sequence[Mesh]) -> None:
        import open3d as o3d

        self._scene = o3d.t.geometry.RaycastingScene(nthreads=2)
        counts = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes)])
        vertices = np.concatenate([mesh.vertices for mesh in meshes])
        faces = np.concatenate([mesh.faces + start for mesh, start in zip(meshes, counts, strict=False)])
        self._scene.add_triangles(
            o3d.core.Tensor(vertices.astype(np.float32)), o3d.core.Tensor(faces.astype(np.uint32))
        )
        self._mesh_of_face = np.repeat(np.arange(len(meshes)), [len(mesh.faces) for mesh in meshes]).astype(np.int32)
        self._normals = corner_normals(vertices, faces)
        self._pack_textures(meshes)
        self.cast(np.zeros((1, 6), dtype=np.float32))  # builds the tree now, so that later calls may run in parallel

    def _pack_textures(self, meshes: Sequence[Mesh]) -> None:
        sizes, offsets, pixels, start = [], [], [], 0
        for mesh in meshes:
            if mesh.texture is None or mesh.corner_uv is None:
                raise ValueError("the virtual phone wants textured meshes")
            sizes.append(mesh.texture.shape[1::-1])
            offsets.append(start)
            pixels.append(mesh.texture.reshape(-1, 3))
            start += len(pixels[-1])
        self._sizes, self._offsets = np.array(sizes, dtype=np.float32), np.array(offsets, dtype=np.int64)
        packed = np.zeros((start, 4), dtype=np.uint8)  # four bytes a pixel: one gather fetches all channels
        packed[:, :3] = np.concatenate(pixels)
        self._pixels = packed.view(np.uint32)[:, 0]
        self._uv = np.concatenate([mesh.corner_uv for mesh in meshes if mesh.corner_uv is not None])

    def cast(self, rays: Float32) -> tuple[Float32, npt.NDArray[np.uint32], Float32]:
        """First hits of ``(..., 6)`` rays: ray lengths (inf: none), face numbers, barycentric ``(..., 2)``."""
        import open3d as o3d

        hits = self._scene.cast_rays(o3d.core.Tensor(rays))
        return hits["t_hit"].numpy(), hits["primitive_ids"].numpy(), hits["primitive_uvs"].numpy()

    def free(self, origins: Float32, directions: Float32) -> npt.NDArray[np.bool_]:
        """Whether the segments from `origins` along `directions` (their full length) hit nothing."""
        import open3d as o3d

        rays = np.concatenate([origins, directions], axis=-1).astype(np.float32)
        return ~np.asarray(self._scene.test_occlusions(o3d.core.Tensor(rays), tnear=0.0, tfar=1.0).numpy())

    def faces_to_meshes(self, faces: npt.NDArray[np.uint32]) -> npt.NDArray[np.int32]:
        """Number of the mesh that each face belongs to, -1 for no hit."""
        safe = np.where(faces == NO_HIT, 0, faces)
        return np.where(faces == NO_HIT, np.int32(-1), self._mesh_of_face[safe])

    def normals(self, faces: npt.NDArray[np.uint32], bary: Float32) -> Float32:
        """Smooth unit normals ``(..., 3)`` at hits."""
        corners = self._normals[np.where(faces == NO_HIT, 0, faces)]
        mixed = _mixed(corners, bary)
        return np.asarray(mixed / np.maximum(_length(mixed), 1e-9)[..., None], dtype=np.float32)

    def albedo(self, faces: npt.NDArray[np.uint32], bary: Float32) -> Float32:
        """Linear colour ``(..., 3)`` at hits, bilinear in the texture; gamma 2 stands for sRGB."""
        safe = np.where(faces == NO_HIT, 0, faces)
        owner = self._mesh_of_face[safe]
        uv = _mixed(self._uv[safe], bary)
        width, height = self._sizes[owner, 0], self._sizes[owner, 1]
        x = np.clip(uv[..., 0] * width - 0.5, 0, width - 1)
        y = np.clip((1 - uv[..., 1]) * height - 0.5, 0, height - 1)
        x0, y0 = np.floor(x), np.floor(y)
        fx, fy = (x - x0)[..., None], (y - y0)[..., None]
        stride = width.astype(np.int64)
        base = self._offsets[owner] + y0.astype(np.int64) * stride + x0.astype(np.int64)
        right = x0 < width - 1
        down = np.where(y0 < height - 1, stride, 0)
        top = self._texel(base) * (1 - fx) + self._texel(base + right) * fx
        bottom = self._texel(base + down) * (1 - fx) + self._texel(base + down + right) * fx
        shown = (top * (1 - fy) + bottom * fy) * np.float32(1 / 255)
        return np.asarray(shown * shown, dtype=np.float32)

    def _texel(self, index: npt.NDArray[np.int64]) -> Float32:
        packed = np.take(self._pixels, index)
        return packed[..., None].view(np.uint8)[..., :3].astype(np.float32)

    def render(
        self, intrinsics: FloatArray, size: tuple[int, int], world_from_camera: FloatArray, light: Light
    ) -> Float32:
        """Linear colours ``(H, W, 3)`` of a picture; pixels on edges take four more rays."""
        rays = pixel_rays(intrinsics, size, world_from_camera)
        distance, faces, bary = self.cast(rays)
        shade = self._shade(rays, distance, faces, bary, light)
        linear = self.albedo(faces, bary) * shade[..., None]
        linear[faces == NO_HIT] = NOTHING
        v, u = np.nonzero(_edges(distance, self.faces_to_meshes(faces)))
        if len(v):
            linear[v, u] = self._supersampled(intrinsics, world_from_camera, u, v, shade[v, u])
        return np.asarray(linear, dtype=np.float32)

    def _supersampled(
        self,
        intrinsics: FloatArray,
        world_from_camera: FloatArray,
        u: npt.NDArray[np.int64],
        v: npt.NDArray[np.int64],
        shade: Float32,
    ) -> Float32:
        total = np.zeros((len(u), 3), dtype=np.float32)
        for du, dv in ((-0.375, -0.125), (0.125, -0.375), (0.375, 0.125), (-0.125, 0.375)):
            _, faces, bary = self.cast(rays_through(u + du, v + dv, intrinsics, world_from_camera))
            sample = self.albedo(faces, bary) * shade[:, None]
            sample[faces == NO_HIT] = NOTHING
            total += sample
        return total / np.float32(4)

    def _shade(
        self, rays: Float32, distance: Float32, faces: npt.NDArray[np.uint32], bary: Float32, light: Light
    ) -> Float32:
        """Light ``(H, W)`` that falls on each hit; what blocks it is looked up for every fourth pixel only."""
        import cv2

        toward = rays[..., 3:]
        reach = np.where(np.isfinite(distance), distance, np.float32(0))
        points: Float32 = np.asarray(rays[..., :3] + reach[..., None] * toward, dtype=np.float32)
        normal = self.normals(faces, bary)
        normal *= -np.sign(np.einsum("...i,...i->...", normal, toward))[..., None]
        coarse = (slice(None, None, 2), slice(None, None, 2))
        lit, open_sky = self._unblocked(points[coarse], normal[coarse], light)
        height, width = distance.shape
        lit, open_sky = (
            cv2.resize(field, (width, height), interpolation=cv2.INTER_LINEAR) for field in (lit, open_sky)
        )
        to_lamp = light.position.astype(np.float32) - points
        cosine = np.einsum("...i,...i->...", normal, to_lamp) / _length(to_lamp)
        facing = np.maximum(cosine, 0)
        return np.asarray(light.lamp * lit * facing + light.sky * (0.2 + 0.8 * open_sky), dtype=np.float32)

    def _unblocked(self, points: Float32, normal: Float32, light: Light) -> tuple[Float32, Float32]:
        """Shares ``(H, W)`` of the lamp and of the sky (cosine weighted, within `light.reach_m`) that a point sees."""
        import cv2

        lamp_at, sky_to = _patterns(light)
        rows, cols = np.mgrid[0 : points.shape[0], 0 : points.shape[1]]
        cell = (rows % 4) * 4 + cols % 4
        above = points + np.float32(0.001) * normal
        # Cosine weighted directions: a unit sphere that touches the surface, seen from the point of touch.
        hemisphere = (normal + np.float32(0.98) * sky_to[cell]) * np.float32(light.reach_m)
        lit = self.free(above, lamp_at[cell] - above).astype(np.float32)
        open_sky = self.free(above, hemisphere).astype(np.float32)
        return np.asarray(cv2.blur(lit, (4, 4))), np.asarray(cv2.blur(open_sky, (4, 4)))


def _patterns(light: Light) -> tuple[Float32, Float32]:
    """Sixteen points of the lamp and sixteen directions (Fibonacci sphere), in an order that mixes well in 4 × 4."""
    k = np.arange(16)
    order = np.array([0, 8, 2, 10, 12, 4, 14, 6, 3, 11, 1, 9, 15, 7, 13, 5])
    z = 1 - (2 * k + 1) / 16
    turn = k * np.pi * (3 - np.sqrt(5))
    sphere = np.stack([np.sqrt(1 - z**2) * np.cos(turn), np.sqrt(1 - z**2) * np.sin(turn), z], -1)[order]
    return (light.position + light.radius_m * sphere).astype(np.float32), sphere.astype(np.float32)


def _length(vectors: Float32) -> Float32:
    return np.asarray(np.sqrt(np.einsum("...i,...i->...", vectors, vectors)))


def _mixed(corners: Float32, bary: Float32) -> Float32:
    u, v = bary[..., :1], bary[..., 1:]
    return np.asarray(corners[..., 0, :] * (1 - u - v) + corners[..., 1, :] * u + corners[..., 2, :] * v)


def _edges(distance: Float32, owner: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
    edge = np.zeros(distance.shape, dtype=bool)
    d = np.where(np.isfinite(distance), distance, np.float32(100))
    for axis in (0, 1):
        first, second = [slice(None)] * 2, [slice(None)] * 2
        first[axis], second[axis] = slice(None, -1), slice(1, None)
        a, b = tuple(first), tuple(second)
        jump = (owner[a] != owner[b]) | (np.abs(d[a] - d[b]) > 0.02 * np.minimum(d[a], d[b]))
        edge[a] |= jump
        edge[b] |= jump
    return edge


def corner_normals(vertices: FloatArray, faces: npt.NDArray[np.int64]) -> Float32:
    """Normals ``(F, 3, 3)`` of the corners: the vertex mean where the face lies within 40° of it, else the face's."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    cross = np.cross(b - a, c - a)
    total = np.zeros_like(vertices)
    for k in range(3):
        np.add.at(total, faces[:, k], cross)
    face = cross / np.maximum(np.linalg.norm(cross, axis=1, keepdims=True), 1e-15)
    smooth = (total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-15))[faces]
    near = np.einsum("fij,fj->fi", smooth, face) > np.cos(np.radians(40))
    return np.asarray(np.where(near[..., None], smooth, face[:, None]), dtype=np.float32)
