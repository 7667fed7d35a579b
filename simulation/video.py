"""A film of a scene: everything at rest, then each object grabbed, lifted and thrown.

Pictures come from ray casting (`simulation.raycast`), so no window and no graphics card is needed. The camera stands
still, so what never moves is looked at once; each picture then casts rays at the objects alone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt

from reconstruction.atlas import baked
from reconstruction.errors import OutputError
from reconstruction.mesh import Mesh
from reconstruction.progress import Progress, silent
from reconstruction.scene import Scene, support_slab
from simulation.raycast import RayScene, pixel_rays
from simulation.world import World

FloatArray = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]
Picture = npt.NDArray[np.uint8]

SKY = np.array([0.80, 0.85, 0.90], dtype=np.float32) ** 2
LARGEST_TEXTURE = 1024


@dataclass(frozen=True)
class VideoSettings:
    """How the film looks."""

    width: int = 640
    """Pixels, even."""
    height: int = 480
    """Pixels, even."""
    frames_per_s: int = 24
    """Pictures a second; 240 steps of physics a second are divided among them."""
    rest_s: float = 1.5
    """Everything stands still, at the start."""
    lift_s: float = 0.6
    """How long an object is being lifted."""
    flight_s: float = 0.7
    """How long it is watched flying, before the next is grabbed."""
    lift_m: float = 0.18
    """How high it is lifted."""
    speed_m_s: float = 1.2
    """How hard it is thrown."""
    objects: int = 12
    """At most so many objects are thrown, the highest first."""


def render_video(
    scene_folder: Path,
    path: Path,
    settings: VideoSettings = VideoSettings(),  # noqa: B008 - frozen
    progress: Progress = silent,
) -> None:
    """Film a scene into an MP4 (H.264, yuv420p), written whole or not at all.

    Args:
        scene_folder: a folder with ``scene.json``.
        path: the MP4; replaced if there.
        settings: size, speed and length.
        progress: told about each picture.

    Raises:
        InputError: no readable scene there.
        OutputError: the file cannot be written.
    """
    scene = Scene.load(scene_folder)
    if not path.name or path.is_dir():
        raise OutputError(f"{path} is a folder.", remedy="Name a file, such as film.mp4.", code="path_in_the_way")
    partial = path.with_name(f".{path.name}.partial.mp4")
    try:
        with World.open(scene_folder) as world:
            _encode(_pictures(scene, world, settings, progress), partial, settings)
        partial.replace(path)
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written: {error.strerror or error}.", remedy="Name another file.", code="cannot_write"
        ) from None
    finally:
        with contextlib.suppress(OSError):  # no folder to take it away from, either
            partial.unlink(missing_ok=True)


def _encode(pictures: Iterator[Picture], path: Path, settings: VideoSettings) -> None:
    import av

    with av.open(str(path), "w") as film:
        stream = film.add_stream("libx264", rate=settings.frames_per_s, options={"crf": "20", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = settings.width, settings.height, "yuv420p"
        stream.codec_context.time_base = Fraction(1, settings.frames_per_s)
        for picture in pictures:
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                film.mux(packet)
        for packet in stream.encode():
            film.mux(packet)


def _pictures(scene: Scene, world: World, settings: VideoSettings, progress: Progress) -> Iterator[Picture]:
    """The film, picture by picture, each ``(H, W, 3)`` RGB."""
    stage = _Stage(scene, settings)
    steps = round(1.0 / world.settings.time_step_s / settings.frames_per_s)
    moments = _script(scene, world, settings)
    total = _length(scene, settings)
    for number, _ in enumerate(moments):
        yield stage.picture(world.poses())
        world.step(steps)
        progress(min(1.0, (number + 1) / total), "Filming")


def _length(scene: Scene, settings: VideoSettings) -> int:
    thrown = min(len(scene.objects), settings.objects)
    rest, lift, flight = (
        round(seconds * settings.frames_per_s) for seconds in (settings.rest_s, settings.lift_s, settings.flight_s)
    )
    return max(1, rest + thrown * (lift + flight))


def _script(scene: Scene, world: World, settings: VideoSettings) -> Iterator[None]:
    """What the hand does between two pictures; yields once a picture."""
    fps = settings.frames_per_s
    yield from (None for _ in range(max(1, round(settings.rest_s * fps))))
    poses = world.poses()
    middle = np.mean([pose[:3, 3] for pose in poses.values()], axis=0) if poses else np.zeros(3)
    for name in sorted(poses, key=lambda key: -poses[key][2, 3])[: settings.objects]:
        start = world.pose(name)[:3, 3]
        lift = round(settings.lift_s * fps)
        for number in range(lift):
            if number == 0:
                world.grab(name, start)
            share = (number + 1) / lift
            world.drag(name, start + [0.0, 0.0, settings.lift_m * share * share * (3 - 2 * share)])
            yield
        away = (middle - start) * [1.0, 1.0, 0.0]
        away = away / max(float(np.linalg.norm(away)), 1e-6) * settings.speed_m_s
        world.throw(name, away + [0.0, 0.0, 0.8 * settings.speed_m_s], [away[1] * -4, away[0] * 4, 3.0])
        yield from (None for _ in range(round(settings.flight_s * fps)))


class _Stage:
    """Camera, light, and what never moves."""

    def __init__(self, scene: Scene, settings: VideoSettings) -> None:
        size = (settings.width, settings.height)
        self._objects = {item.name: _painted(item.visual) for item in scene.objects}
        fixed = [scene.background] if scene.background is not None and len(scene.background.faces) else []
        fixed = fixed or [_grey(support_slab(support)) for support in scene.supports]
        fixed = fixed or [_grey(_floor())]
        still = RayScene([_painted(mesh) for mesh in fixed])
        target, radius = _framed(scene)
        focal = 1.1 * settings.width
        intrinsics = np.array([[focal, 0, size[0] / 2 - 0.5], [0, focal, size[1] / 2 - 0.5], [0, 0, 1.0]])
        distance = radius * focal / (0.5 * settings.height) * 0.95
        self._rays = pixel_rays(intrinsics, size, _free_view(still, scene, target, distance))
        self._lamp = (target + radius * np.array([-1.2, -1.5, 4.0])).astype(np.float32)
        self._depth, faces, bary = still.cast(self._rays)
        self._albedo = np.where(np.isfinite(self._depth)[..., None], still.albedo(faces, bary), SKY)
        self._normals = _toward(still.normals(faces, bary), self._rays)
        self._free = _lit(still, self._points(self._depth), self._normals, self._lamp)

    def _points(self, depth: Float32) -> Float32:
        reach = np.where(np.isfinite(depth), depth, np.float32(0))[..., None]
        return np.asarray(self._rays[..., :3] + reach * self._rays[..., 3:], dtype=np.float32)

    def picture(self, poses: dict[str, FloatArray]) -> Picture:
        """``(H, W, 3)`` RGB of the objects at these poses."""
        depth, albedo, normals, lit = self._depth, self._albedo, self._normals, self._free
        if self._objects:
            moving = RayScene([mesh.moved(poses[name]) for name, mesh in self._objects.items()])
            reach, faces, bary = moving.cast(self._rays)
            nearer = (reach < depth)[..., None]
            depth = np.minimum(depth, reach)
            albedo = np.where(nearer, moving.albedo(faces, bary), albedo)
            normals = np.where(nearer, _toward(moving.normals(faces, bary), self._rays), normals)
            shadow = _lit(moving, self._points(depth), normals, self._lamp)
            lit = np.minimum(shadow, np.where(nearer[..., 0], np.float32(1), lit))
        to_lamp = self._lamp - self._points(depth)
        facing = np.einsum("...i,...i->...", normals, to_lamp) / np.linalg.norm(to_lamp, axis=-1)
        shade = 0.42 + 0.12 * normals[..., 2] + 0.6 * lit * np.maximum(facing, 0)
        linear = albedo * np.where(np.isfinite(depth), shade, 1.0)[..., None]
        return np.asarray(np.round(np.sqrt(np.clip(linear, 0, 1)) * 255), dtype=np.uint8)


def _toward(normals: Float32, rays: Float32) -> Float32:
    """Normals turned to the side that is looked at."""
    return np.asarray(normals * -np.sign(np.einsum("...i,...i->...", normals, rays[..., 3:]))[..., None])


def _lit(scene: RayScene, points: Float32, normals: Float32, lamp: Float32) -> Float32:
    """Share ``(H, W)`` of a round lamp that each point sees: 16 points of it in a 4 × 4 pattern, then smoothed."""
    import cv2

    angle, radius = np.arange(16) * 2.4, np.sqrt((np.arange(16) + 0.5) / 16)  # sunflower
    disc = np.stack([radius * np.cos(angle), radius * np.sin(angle), np.zeros(16)], axis=-1) * (0.12 * float(lamp[2]))
    small = (slice(None, None, 2), slice(None, None, 2))
    above = points[small] + np.float32(0.0015) * normals[small]
    rows, columns = np.mgrid[: above.shape[0], : above.shape[1]]
    goal = lamp + disc.astype(np.float32)[(rows % 4) * 4 + columns % 4]
    free = cv2.blur(scene.free(above, goal - above).astype(np.float32), (4, 4))
    return np.asarray(cv2.resize(free, points.shape[1::-1], interpolation=cv2.INTER_LINEAR), dtype=np.float32)


def _framed(scene: Scene) -> tuple[FloatArray, float]:
    """The middle of what is filmed and the radius round it."""
    corners = [
        item.visual.moved(item.scene_from_object).vertices[:, :] for item in scene.objects if len(item.visual.vertices)
    ]
    points = np.vstack(corners) if corners else np.vstack([np.zeros((1, 3)), *(s.polygon for s in scene.supports)])
    low, high = points.min(axis=0), points.max(axis=0)
    return (low + high) / 2, max(0.12, 0.5 * float(np.linalg.norm(high - low))) * 1.15


def _free_view(still: RayScene, scene: Scene, target: FloatArray, distance: float) -> FloatArray:
    """``scene_from_camera`` from 35° above, from the side where fewest walls are in the way."""
    best, view = -1, np.eye(4)
    elevation = np.radians(35)
    middles = np.array([item.scene_from_object[:3, 3] for item in scene.objects] or [target])
    for azimuth in np.radians(-90 + np.array([0, 30, -30, 60, -60, 90, -90, 120, -120, 150, -150, 180])):
        flat = np.cos(elevation) * np.array([np.cos(azimuth), np.sin(azimuth), 0])
        eye = target + distance * (flat + np.array([0, 0, np.sin(elevation)]))
        origins = np.repeat(eye[None].astype(np.float32), len(middles), axis=0)
        free = int(still.free(origins, ((middles - eye) * 0.9).astype(np.float32)).sum())
        if free > best:
            best, view = free, _look(eye, target)
    return view


def _look(eye: FloatArray, target: FloatArray) -> FloatArray:
    forward = (target - eye) / np.linalg.norm(target - eye)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3] = np.column_stack([right, np.cross(forward, right), forward])
    pose[:3, 3] = eye
    return pose


def _painted(mesh: Mesh) -> Mesh:
    """The mesh with a texture no larger than needed, made of its vertices' colours where it has none."""
    import cv2

    if mesh.texture is not None and mesh.corner_uv is not None:
        shrink = LARGEST_TEXTURE / max(mesh.texture.shape[:2])
        if shrink >= 1:
            return mesh
        small = cv2.resize(mesh.texture, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
        return replace(mesh, texture=np.asarray(small, dtype=np.uint8))
    return baked(mesh)


def _grey(mesh: Mesh) -> Mesh:
    return replace(mesh, colors=np.full((len(mesh.vertices), 3), 150, dtype=np.uint8))


def _floor(half_m: float = 1.0) -> Mesh:
    corners = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], dtype=np.float64) * half_m
    return Mesh(corners, np.array([[0, 1, 2], [0, 2, 3]], dtype=np.int64))
