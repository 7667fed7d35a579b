"""A film of a scene: everything at rest, then each object grabbed, lifted and thrown.

Pictures come from `simulation.renderer`, so no window and no graphics card is needed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt

from reconstruction.atlas import baked
from reconstruction.errors import OutputError
from reconstruction.mesh import Mesh
from reconstruction.progress import Progress, silent
from reconstruction.scene import Scene
from simulation.cousin_pictures import BACKDROP, backdrop
from simulation.drawable import Drawable
from simulation.optics import Optics
from simulation.raycast import RayScene
from simulation.renderer import DistantLight, Renderer
from simulation.world import World

FloatArray = npt.NDArray[np.float64]
Picture = npt.NDArray[np.uint8]

LIGHT = DistantLight((-1.2, -1.5, 4.0), spread=0.11, lamp=0.6, sky=0.54)
AT_ONCE = 12
"""Pictures drawn together."""


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
    seen: list[dict[str, FloatArray]] = []
    for number, _ in enumerate(moments):
        seen.append(world.poses())
        world.step(steps)
        if len(seen) == AT_ONCE:
            yield from stage.pictures(seen)
            seen.clear()
        progress(min(1.0, (number + 1) / total), "Filming")
    yield from stage.pictures(seen) if seen else ()


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
    """Camera, light, and what there is to see."""

    def __init__(self, scene: Scene, settings: VideoSettings) -> None:
        fixed = backdrop(scene)
        fixed = fixed if len(fixed.faces) else _floor()
        bodies = {item.name: Drawable(item.visual) for item in scene.objects}
        self._renderer = Renderer({**bodies, BACKDROP: Drawable(fixed)})
        target, radius = _framed(scene)
        self._optics = Optics(1.1 * settings.width, (settings.width, settings.height))
        distance = radius * self._optics.focal_px / (0.5 * settings.height) * 0.95
        still = RayScene([fixed if fixed.texture is not None else baked(fixed)])
        self._camera = _free_view(still, scene, target, distance)

    def pictures(self, moments: Sequence[dict[str, FloatArray]]) -> npt.NDArray[np.uint8]:
        """``(F, H, W, 3)`` RGB of the objects at the poses of each moment."""
        poses = {name: np.array([moment[name] for moment in moments]) for name in moments[0]}
        cameras = np.tile(self._camera, (len(moments), 1, 1))
        return self._renderer.render({**poses, BACKDROP: np.eye(4)}, cameras, self._optics, LIGHT).rgb


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


def _floor(half_m: float = 1.0) -> Mesh:
    corners = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], dtype=np.float64) * half_m
    return Mesh(corners, np.array([[0, 1, 2], [0, 2, 3]], dtype=np.int64))
