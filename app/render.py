"""Pictures of meshes for reports, by ray casting on the CPU (Open3D's Embree scene): no window, no OpenGL.

A picture has an alpha channel, so that it lies on a light page as well as on a dark one. Edges and textures are
smoothed by taking `OVERSAMPLED`² rays a pixel. Light: a lamp from above with a shadow, and the open sky (ambient
occlusion with one ray a sample, averaged by a 4 × 4 box: interleaved sampling, Keller & Heidrich 2001).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from reconstruction.mesh import Mesh

FloatArray = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]
ByteImage = npt.NDArray[np.uint8]

OVERSAMPLED = 2
NO_HIT = np.uint32(0xFFFFFFFF)
SEEN_COLOR = np.array([60, 170, 90], dtype=np.float32)
GUESSED_COLOR = np.array([235, 140, 40], dtype=np.float32)
PLAIN_COLOR = np.array([170, 170, 170], dtype=np.float32)


@dataclass(frozen=True)
class Shape:
    """A mesh to be drawn.

    Attributes:
        mesh: in a frame of its own.
        scene_from_mesh: ``(4, 4)`` rigid.
        one_sided: leave out faces seen from behind, so that one can look into a room from outside.
    """

    mesh: Mesh
    scene_from_mesh: FloatArray = field(default_factory=lambda: np.eye(4))
    one_sided: bool = False


@dataclass(frozen=True)
class View:
    """A pinhole camera that looks at a point, upright.

    Attributes:
        eye: ``(3,)`` where it is, scene frame, metres.
        target: ``(3,)`` what is in the middle of the picture.
        field_deg: vertical angle of view.
    """

    eye: FloatArray
    target: FloatArray
    field_deg: float = 32.0

    def axes(self) -> FloatArray:
        """``(3, 3)``, columns right, down, forward: ``scene_from_camera``'s rotation (x right, y down, z forward)."""
        forward = self.target - self.eye
        forward = forward / np.linalg.norm(forward)
        right = np.cross(forward, [0.0, 0.0, 1.0])
        right = right / np.linalg.norm(right)
        return np.stack([right, np.cross(forward, right), forward], axis=1)


def view_of(
    points: FloatArray, azimuth_deg: float, elevation_deg: float, aspect: float, field_deg: float = 32.0
) -> View:
    """The nearest view from a direction that holds all of ``(N, 3)`` points.

    Args:
        points: what must be in the picture, scene frame, metres.
        azimuth_deg: from where it looks, about z, 0 = from +x.
        elevation_deg: above the horizon.
        aspect: width / height of the picture.
        field_deg: vertical angle of view.
    """
    azimuth, elevation = np.radians([azimuth_deg, elevation_deg])
    away = np.array([np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)])
    middle = (points.min(axis=0) + points.max(axis=0)) / 2
    axes = View(middle + away, middle).axes()
    local = (points - middle) @ axes
    tangent = np.tan(np.radians(field_deg / 2)) / 1.06  # a little air round it
    distance = max(
        float((np.abs(local[:, 1]) / tangent - local[:, 2]).max()),
        float((np.abs(local[:, 0]) / (tangent * aspect) - local[:, 2]).max()),
    )
    return View(middle + away * distance, middle, field_deg)


class Picture:
    """Shapes ready to be drawn from any view."""

    def __init__(self, shapes: Sequence[Shape], *, shadows: bool = True) -> None:
        import open3d as o3d

        shapes = [shape for shape in shapes if len(shape.mesh.faces)]
        self._shadows = shadows
        self._scene = o3d.t.geometry.RaycastingScene(nthreads=2)
        self._paints = [_Paint(shape) for shape in shapes]
        counts = np.cumsum([0, *(len(shape.mesh.faces) for shape in shapes)])
        self._first_face = counts[:-1]
        self._empty = not shapes
        if self._empty:
            return
        moved = [shape.mesh.moved(shape.scene_from_mesh).vertices for shape in shapes]
        starts = np.cumsum([0, *map(len, moved)])
        vertices = np.concatenate(moved)
        faces = np.concatenate([shape.mesh.faces + start for shape, start in zip(shapes, starts, strict=False)])
        self._one_sided = np.repeat([shape.one_sided for shape in shapes], np.diff(counts))
        self._owner = np.repeat(np.arange(len(shapes)), np.diff(counts))
        self._normals = corner_normals(vertices, faces)
        a, b, c = (vertices[faces[:, k]] for k in range(3))
        self._flat = np.cross(b - a, c - a).astype(np.float32)
        self._reach = np.float32(max(0.02, 0.15 * float(np.linalg.norm(np.ptp(vertices, axis=0)))))
        self._scene.add_triangles(
            o3d.core.Tensor(vertices.astype(np.float32)), o3d.core.Tensor(faces.astype(np.uint32))
        )

    def draw(self, view: View, size: tuple[int, int], *, by_seen: bool = False) -> ByteImage:
        """The picture ``(height, width, 4)`` uint8 RGBA, `size` = ``(width, height)``."""
        return self.draw_as(view, size, (by_seen,))[0]

    def draw_as(self, view: View, size: tuple[int, int], by_seen: Sequence[bool]) -> list[ByteImage]:
        """The same view in several colourings: with False in the things' own colours, with True green where the phone
        measured the surface and orange where it was completed. See `draw`.
        """
        import cv2

        if self._empty:
            return [np.zeros((size[1], size[0], 4), dtype=np.uint8) for _ in by_seen]
        rays = _rays(view, size[0] * OVERSAMPLED, size[1] * OVERSAMPLED)
        distance, face, bary = self._first_hits(rays)
        hit = face != NO_HIT
        light = self._light(view, rays, distance, face, bary)[hit][:, None]
        # Averaged premultiplied, in linear light.
        alpha = cv2.resize(hit.astype(np.float32), size, interpolation=cv2.INTER_AREA)
        pictures = []
        for seen in by_seen:
            linear = np.zeros((*hit.shape, 3), dtype=np.float32)
            linear[hit] = self._albedo(face[hit], bary[hit], seen) * light
            small = cv2.resize(linear, size, interpolation=cv2.INTER_AREA) / np.maximum(alpha, 1e-6)[..., None]
            color = np.clip(small, 0.0, 1.0) ** np.float32(1 / 2.2)
            pictures.append(np.round(np.dstack([color, alpha]) * 255).astype(np.uint8))
        return pictures

    def _first_hits(self, rays: Float32) -> tuple[Float32, npt.NDArray[np.uint32], Float32]:
        distance, face, bary = self._cast(rays)
        for _ in range(3 if self._one_sided.any() else 0):
            safe = np.where(face == NO_HIT, 0, face)
            behind = (face != NO_HIT) & self._one_sided[safe]
            behind[behind] = (self._flat[safe[behind]] * rays[behind][:, 3:]).sum(axis=-1) > 0
            if not behind.any():
                break
            onward = rays[behind]
            skipped = distance[behind] + np.float32(1e-4)
            onward[:, :3] += onward[:, 3:] * skipped[:, None]
            further, face[behind], bary[behind] = self._cast(onward)
            distance[behind] = further + skipped
        return distance, face, bary

    def _cast(self, rays: Float32) -> tuple[Float32, npt.NDArray[np.uint32], Float32]:
        import open3d as o3d

        hits = self._scene.cast_rays(o3d.core.Tensor(rays))
        return hits["t_hit"].numpy(), hits["primitive_ids"].numpy(), hits["primitive_uvs"].numpy()

    def _free(self, origins: Float32, directions: Float32) -> Float32:
        import open3d as o3d

        rays = np.concatenate([origins, directions], axis=-1).astype(np.float32)
        occluded = self._scene.test_occlusions(o3d.core.Tensor(rays), tnear=0.0, tfar=1.0).numpy()
        return np.asarray(~occluded, dtype=np.float32)

    def _albedo(self, face: npt.NDArray[np.uint32], bary: Float32, by_seen: bool) -> Float32:
        """Linear colours ``(N, 3)`` of hits."""
        colors = np.empty((len(face), 3), dtype=np.float32)
        owner = self._owner[face]
        for number, paint in enumerate(self._paints):
            mine = np.flatnonzero(owner == number)
            if len(mine):
                local = face[mine].astype(np.int64) - self._first_face[number]
                colors[mine] = paint.seen_at(local, bary[mine]) if by_seen else paint.at(local, bary[mine])
        return (colors / np.float32(255)) ** np.float32(2.2)

    def _light(
        self, view: View, rays: Float32, distance: Float32, face: npt.NDArray[np.uint32], bary: Float32
    ) -> Float32:
        """Brightness ``(H, W)`` of the hits: lamp and sky."""
        hit = face != NO_HIT
        toward = rays[hit][:, 3:]
        normal = _mixed(self._normals[face[hit]], bary[hit])
        normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-9)
        normal *= np.where((normal * toward).sum(-1, keepdims=True) > 0, np.float32(-1), np.float32(1))
        axes = view.axes().astype(np.float32)
        lamp = np.array([0.0, 0.0, 1.0], dtype=np.float32) - 0.45 * axes[:, 0] - 0.55 * axes[:, 2]
        lamp /= np.linalg.norm(lamp)
        brightness = np.zeros(hit.shape, dtype=np.float32)
        facing = np.maximum(normal @ lamp, 0)
        if not self._shadows:
            brightness[hit] = 0.62 * facing + 0.28 + 0.22 * np.maximum(-(normal @ axes[:, 2]), 0)
            return brightness
        points = rays[hit][:, :3] + distance[hit][:, None] * toward + normal * np.float32(0.0015)
        lamps, skies = _patterns(lamp)
        rows, columns = np.nonzero(hit)
        cell = rows % 4 * 4 + columns % 4
        lit = self._free(points, lamps[cell] * self._reach * np.float32(4))
        sky = self._free(points, (normal + np.float32(0.98) * skies[cell]) * self._reach)
        brightness[hit] = 0.68 * _averaged(lit, hit) * facing + 0.5 * (0.25 + 0.75 * _averaged(sky, hit))
        return brightness


def _averaged(values: Float32, where: npt.NDArray[np.bool_]) -> Float32:
    """Each of the values ``(N,)`` at the True pixels of `where`, averaged over its 4 × 4 neighbours there."""
    import cv2

    image = np.zeros(where.shape, dtype=np.float32)
    image[where] = values
    share = cv2.blur(where.astype(np.float32), (4, 4))
    return np.asarray(cv2.blur(image, (4, 4))[where] / share[where], dtype=np.float32)


class _Paint:
    """The colours of one shape's surface."""

    def __init__(self, shape: Shape) -> None:
        mesh = shape.mesh
        self._texture = self._corner_uv = None
        self._faces, self._seen = mesh.faces, mesh.seen
        if mesh.texture is not None and mesh.corner_uv is not None:
            self._texture, self._corner_uv = mesh.texture, mesh.corner_uv
        elif mesh.colors is not None:
            self._corners = mesh.colors[mesh.faces].astype(np.float32)
        else:
            self._corners = np.broadcast_to(PLAIN_COLOR, (len(mesh.faces), 3, 3))

    def seen_at(self, face: npt.NDArray[np.int64], bary: Float32) -> Float32:
        """As `at`: green where measured, orange where completed, grey where that was not recorded."""
        if self._seen is None:
            return np.broadcast_to(PLAIN_COLOR, (len(face), 3))
        share = _mixed(self._seen[self._faces[face]][..., None], bary)
        return np.asarray(share * SEEN_COLOR + (1 - share) * GUESSED_COLOR, dtype=np.float32)

    def at(self, face: npt.NDArray[np.int64], bary: Float32) -> Float32:
        """Colours ``(N, 3)``, 0 … 255, at hits: face number within the shape, barycentric ``(N, 2)``."""
        if self._texture is None or self._corner_uv is None:
            return _mixed(self._corners[face], bary)
        uv = _mixed(self._corner_uv[face], bary)
        height, width = self._texture.shape[:2]
        x = np.clip(uv[:, 0] * width - 0.5, 0, width - 1)
        y = np.clip((1 - uv[:, 1]) * height - 0.5, 0, height - 1)
        left, top = x.astype(np.int64), y.astype(np.int64)
        right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
        fx, fy = (x - left)[:, None], (y - top)[:, None]
        pixels = self._texture
        upper = pixels[top, left] * (1 - fx) + pixels[top, right] * fx
        lower = pixels[bottom, left] * (1 - fx) + pixels[bottom, right] * fx
        return np.asarray(upper * (1 - fy) + lower * fy, dtype=np.float32)


def _rays(view: View, width: int, height: int) -> Float32:
    """Rays ``(H, W, 6)`` through the pixels' centres, unit directions."""
    focal = height / 2 / np.tan(np.radians(view.field_deg / 2))
    u, v = np.meshgrid(np.arange(width) - (width - 1) / 2, np.arange(height) - (height - 1) / 2)
    local = np.stack([u / focal, v / focal, np.ones_like(u)], axis=-1)
    local /= np.linalg.norm(local, axis=-1, keepdims=True)
    rays = np.empty((height, width, 6), dtype=np.float32)
    rays[..., :3] = view.eye
    rays[..., 3:] = local @ view.axes().T
    return rays


def _mixed(corners: Float32, bary: Float32) -> Float32:
    """Values ``(..., K)`` at barycentric ``(..., 2)`` between corner values ``(..., 3, K)``."""
    u, v = bary[..., :1], bary[..., 1:]
    return np.asarray(corners[..., 0, :] * (1 - u - v) + corners[..., 1, :] * u + corners[..., 2, :] * v)


def _patterns(lamp: Float32) -> tuple[Float32, Float32]:
    """Sixteen directions of a soft lamp and sixteen of the sky (Fibonacci sphere), in an order that mixes well."""
    k = np.array([0, 8, 2, 10, 12, 4, 14, 6, 3, 11, 1, 9, 15, 7, 13, 5])
    z, turn = 1 - (2 * k + 1) / 16, k * np.pi * (3 - np.sqrt(5))
    radius = np.sqrt(1 - z**2)
    sphere = np.stack([radius * np.cos(turn), radius * np.sin(turn), z], axis=-1).astype(np.float32)
    return (lamp + np.float32(0.12) * sphere).astype(np.float32), sphere


def corner_normals(vertices: FloatArray, faces: npt.NDArray[np.int64], crease_deg: float = 40.0) -> Float32:
    """Unit normals ``(F, 3, 3)`` of the corners: the vertex's mean, or the face's own where they part at a crease."""
    corners = vertices[faces]
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    flat = cross / np.maximum(np.linalg.norm(cross, axis=1, keepdims=True), 1e-15)
    # Weighted by the corner's angle, so that it does not matter how a flat side is cut into triangles.
    onward, back = np.roll(corners, -1, axis=1) - corners, np.roll(corners, 1, axis=1) - corners
    lengths = np.linalg.norm(onward, axis=2) * np.linalg.norm(back, axis=2)
    angle = np.arccos(np.clip((onward * back).sum(axis=2) / np.maximum(lengths, 1e-15), -1.0, 1.0))
    weighted = flat[:, None] * angle[..., None]
    total = np.stack(
        [np.bincount(faces.ravel(), weighted[..., axis].ravel(), minlength=len(vertices)) for axis in range(3)], axis=1
    )
    smooth = (total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-15))[faces]
    near = np.einsum("fij,fj->fi", smooth, flat) > np.cos(np.radians(crease_deg))
    return np.asarray(np.where(near[..., None], smooth, flat[:, None]), dtype=np.float32)
