"""A phone that walks round a virtual world and records it: colour, LiDAR depth, confidence and drifting poses.

Frames of this module:

- *world*: z up, the world's own (`simulation.virtual_world`).
- *capture*: what the phone's app writes (ARKit): y up, origin at the first camera, -z its first heading. Drift is zero
  at frame 0, so ``capture_from_world`` is exact there.
- *camera*: the sensor's, always landscape, x right, y down, z forward. Held upright ("portrait"), the sensor's x axis
  points to the floor, as on the real phone; formats that store upright pictures turn them when writing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from reconstruction.capture import ByteImage, Capture, DepthImage, Frame, scaled_intrinsics
from simulation import walk
from simulation.lidar import LidarSettings, measure
from simulation.raycast import Light, RayScene
from simulation.virtual_world import VirtualWorld

FloatArray = npt.NDArray[np.float64]
WORLD_FROM_YUP = np.array([[1.0, 0, 0, 0], [0, 0, -1.0, 0], [0, 1.0, 0, 0], [0, 0, 0, 1.0]])


@dataclass(frozen=True)
class VirtualPhone:
    """Settings of a recording.

    Attributes:
        frames: number of frames.
        fps: frames a second.
        rgb_size: ``(width, height)`` of colour as the landscape sensor has it.
        depth_size: ``(width, height)`` of depth.
        portrait: the phone is held upright instead of across.
        arc_deg: how far round the table it walks.
        returning: walk a full circle and end where it began.
        distance_m: nearest and farthest distance from the middle of the things.
        elevation_deg: least and most that it looks down.
        wander_m: how far the gaze wanders round the middle.
        tremble: unsteadiness of the hand, 1 is usual.
        drift_m: largest position error of the written poses over the sweep.
        drift_yaw_deg: largest heading error.
        jitter_m: frame-to-frame position error, standard deviation.
        jitter_deg: frame-to-frame rotation error, standard deviation.
        exposure_s: shutter time; longer blurs more.
        rgb_noise: noise of the colour sensor, standard deviation in 0…255.
        scale: what the phone takes for a metre is too short by this: its places and depths are multiplied by it.
        lidar: faults of the depth sensor.
    """

    frames: int = 150
    fps: float = 10.0
    rgb_size: tuple[int, int] = (960, 720)
    depth_size: tuple[int, int] = (256, 192)
    portrait: bool = False
    arc_deg: float = 340.0
    returning: bool = False
    distance_m: tuple[float, float] = (0.55, 0.95)
    elevation_deg: tuple[float, float] = (27.0, 58.0)
    wander_m: float = 0.05
    tremble: float = 1.0
    drift_m: float = 0.008
    drift_yaw_deg: float = 0.25
    jitter_m: float = 0.0006
    jitter_deg: float = 0.03
    exposure_s: float = 0.008
    rgb_noise: float = 1.5
    scale: float = 1.0
    lidar: LidarSettings = field(default_factory=LidarSettings)


@dataclass(frozen=True)
class VirtualRecording:
    """What the phone recorded. Pictures are made when asked for; the same frame is always the same.

    Attributes:
        world: the true world.
        phone: settings.
        scene: the world, ready for rays.
        light: lamp and sky.
        seed: of all noise.
        times_s: ``(N,)`` seconds since the phone was started.
        world_from_camera: ``(N, 4, 4)`` true.
        capture_from_camera: ``(N, 4, 4)`` as the phone believes.
        capture_from_world: ``(4, 4)`` true at frame 0; with `phone.scale` in its upper left.
        intrinsics: ``(N, 3, 3)`` for `phone.rgb_size`.
        gain: ``(N,)`` exposure.
        on_picture: called before a picture is made; raising from it stops whoever asked.
    """

    world: VirtualWorld
    phone: VirtualPhone
    scene: RayScene
    light: Light
    seed: int
    times_s: FloatArray
    world_from_camera: FloatArray
    capture_from_camera: FloatArray
    capture_from_world: FloatArray
    intrinsics: FloatArray
    gain: FloatArray
    on_picture: Callable[[], None] | None = None

    def __len__(self) -> int:
        return len(self.times_s)

    def depth_and_confidence(self, index: int) -> tuple[DepthImage, ByteImage]:
        """LiDAR depth in metres (0 = none) and confidence of frame `index`."""
        if self.on_picture is not None:
            self.on_picture()
        phone = self.phone
        intrinsics = scaled_intrinsics(self.intrinsics[index], phone.rgb_size, phone.depth_size)
        rng = np.random.default_rng([self.seed, 1, index])
        depth, confidence = measure(
            self.scene, self.world_from_camera[index], intrinsics, phone.depth_size, phone.lidar, rng
        )
        return np.asarray(depth * np.float32(phone.scale), dtype=np.float32), confidence

    @property
    def undrifted(self) -> FloatArray:
        """``(N, 4, 4)`` what `capture_from_camera` would be without drift; rigid."""
        poses = self.capture_from_world @ self.world_from_camera
        poses[:, :3, :3] /= self.phone.scale
        return np.asarray(poses)

    def rgb(self, index: int) -> ByteImage:
        """Colour ``(H, W, 3)`` of frame `index`, landscape sensor."""
        import cv2

        if self.on_picture is not None:
            self.on_picture()
        phone = self.phone
        linear = self.scene.render(self.intrinsics[index], phone.rgb_size, self.world_from_camera[index], self.light)
        linear = cv2.filter2D(
            linear * np.float32(self.gain[index]),
            -1,
            _line_kernel(self._motion(index)),
            borderType=cv2.BORDER_REPLICATE,
        )
        rng = np.random.default_rng([self.seed, 2, index])
        shown = 255 * _tone(linear)
        small = rng.normal(size=(*shown.shape[:2], 1)).astype(np.float32)
        return np.asarray(np.clip(shown + phone.rgb_noise * small + 0.5, 0, 255), dtype=np.uint8)

    def motion_px(self, index: int) -> float:
        """Length of the blur at the picture's centre, pixels of `phone.rgb_size`."""
        return float(np.linalg.norm(self._motion(index)))

    def _motion(self, index: int) -> FloatArray:
        """How far ``(2,)`` what lies 0.75 m before the camera moves during the exposure, pixels."""
        if len(self) < 2:
            return np.zeros(2)
        other = index + 1 if index + 1 < len(self) else index - 1
        here, there = self.world_from_camera[index], self.world_from_camera[other]
        turn = here[:3, :3].T @ there[:3, 2]
        shift = here[:3, :3].T @ (there[:3, 3] - here[:3, 3])
        share = self.phone.exposure_s * self.phone.fps
        return np.asarray(self.intrinsics[index, 0, 0] * share * (turn[:2] / turn[2] + shift[:2] / 0.75))

    def capture(self) -> Capture:
        """The recording as an importer would return it, without going through files."""
        frames = []
        for index in range(len(self)):
            frames.append(
                Frame(
                    index=index,
                    time_s=float(self.times_s[index] - self.times_s[0]),
                    size=self.phone.rgb_size,
                    intrinsics=self.intrinsics[index],
                    capture_from_camera=self.capture_from_camera[index],
                    depth_size=self.phone.depth_size,
                    read_rgb=_reader(self.rgb, index),
                    read_depth=_reader(lambda i: self.depth_and_confidence(i)[0], index),
                    read_confidence=_reader(lambda i: self.depth_and_confidence(i)[1], index),
                )
            )
        return Capture(
            name=f"virtual_{self.world.name}_{self.seed}",
            format="virtual",
            source=Path("virtual"),
            device="virtual phone (LiDAR)",
            frames=frames,
            up=np.array([0.0, 1.0, 0.0]),
        )


def _reader(read: Callable[[int], Any], index: int) -> Callable[[], Any]:
    return lambda: read(index)


def _tone(linear: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Linear light to display values 0…1: gamma 2 with a soft shoulder, as phones do."""
    bent = np.where(linear > 0.7, 0.7 + 0.3 * np.tanh((linear - 0.7) / 0.3), linear)
    return np.asarray(np.sqrt(np.clip(bent, 0, 1)), dtype=np.float32)


def _line_kernel(move: FloatArray) -> npt.NDArray[np.float32]:
    reach = int(min(np.ceil(np.abs(move).max() / 2), 12))
    kernel = np.zeros((2 * reach + 3, 2 * reach + 3), dtype=np.float32)
    for share in np.linspace(-0.5, 0.5, 25):
        x, y = np.clip(share * move, -reach, reach) + reach + 1
        x0, y0 = int(np.floor(x)), int(np.floor(y))
        for dx, dy in ((0, 0), (1, 0), (0, 1), (1, 1)):
            kernel[y0 + dy, x0 + dx] += (1 - abs(x - x0 - dx)) * (1 - abs(y - y0 - dy))
    return np.asarray(kernel / kernel.sum())


def record(world: VirtualWorld, phone: VirtualPhone, rng: np.random.Generator) -> VirtualRecording:
    """Walk round `world` with `phone`.

    Poses and settings of every frame are drawn here; pictures are made when asked for.
    """
    count, seed = phone.frames, int(rng.integers(2**31))
    poses = _walked(world, phone, rng)
    if phone.portrait:
        upright_from_sensor = np.array([[0.0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
        poses = poses @ upright_from_sensor
    capture_from_world = _capture_from_world(poses[0])
    believed = walk.drifted(rng, capture_from_world @ poses, phone.fps, phone.drift_m, phone.drift_yaw_deg,
                            phone.jitter_m, phone.jitter_deg)  # fmt: skip
    believed[:, :3, 3] *= phone.scale
    capture_from_world = np.diag([phone.scale, phone.scale, phone.scale, 1.0]) @ capture_from_world
    width, height = phone.rgb_size
    focal = 0.7565 * width * (1 + 0.002 * walk.smooth_walk(rng, count, 1, max(phone.fps, 1.0))[:, 0])
    intrinsics = np.zeros((count, 3, 3))
    intrinsics[:, 0, 0] = intrinsics[:, 1, 1] = focal
    intrinsics[:, 0, 2] = width / 2 - 0.5 + rng.uniform(-0.004, 0.004) * width
    intrinsics[:, 1, 2] = height / 2 - 0.5 + rng.uniform(-0.004, 0.004) * height
    intrinsics[:, 2, 2] = 1.0
    around = rng.uniform(0, 2 * np.pi)
    light = Light(np.array([0.9 * np.cos(around), 0.9 * np.sin(around), 1.55]), rng.uniform(0.12, 0.35))
    gain = 1.05 + 0.05 * walk.smooth_walk(rng, count, 1, max(2 * phone.fps, 1.0))[:, 0]
    times = np.round(rng.uniform(2000, 90000), 3) + np.arange(count) / phone.fps
    return VirtualRecording(world, phone, RayScene(world.meshes), light, seed, times, poses, believed,
                            capture_from_world, intrinsics, gain)  # fmt: skip


def _walked(world: VirtualWorld, phone: VirtualPhone, rng: np.random.Generator) -> FloatArray:
    """True ``world_from_camera`` ``(N, 4, 4)`` of a phone held across."""
    if world.tour is not None:
        return walk.tour(rng, phone.frames, phone.fps, world.tour, phone.tremble)
    arc_deg = 360.0 if phone.returning else phone.arc_deg
    return walk.orbit(
        rng, phone.frames, phone.fps, world.target, arc_deg, phone.distance_m, phone.elevation_deg, phone.wander_m,
        phone.tremble, phone.returning,
    )  # fmt: skip


def _capture_from_world(world_from_camera: FloatArray) -> FloatArray:
    """ARKit's world of a session that starts at this pose: y up, origin at the camera, heading along -z."""
    forward = WORLD_FROM_YUP[:3, :3].T @ world_from_camera[:3, 2]
    yaw = np.arctan2(-forward[0], -forward[2])
    c, s = np.cos(-yaw), np.sin(-yaw)
    level = np.eye(4)
    level[:3, :3] = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]) @ WORLD_FROM_YUP[:3, :3].T
    level[:3, 3] = -level[:3, :3] @ world_from_camera[:3, 3]
    return level
