"""What a phone's LiDAR makes of a surface: 256 × 192 planar depth with its faults, and a confidence.

The sensor shoots a few hundred dots and a filter guided by the colour picture spreads them (ARKit "sceneDepth"). Seen
from outside: pixels on an edge mix both sides, small steps are smoothed, the error is correlated over centimetres and
grows with distance; structure below 1–2 cm is unreliable (``formats.md`` section 0).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from simulation.raycast import RayScene, pixel_rays

FloatArray = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class LidarSettings:
    """Faults of the depth sensor.

    Attributes:
        noise_share: independent noise, standard deviation as a share of the depth (before smoothing).
        blob_share: noise that is correlated over a few centimetres, standard deviation as a share of the depth.
        blob_cells: number of its bumps across the picture.
        smoothing_m: reach of the smoothing on the surface; edges lower than `step_m` are rounded off over it.
        step_m: depth steps well above this survive the smoothing.
        bleeding: share of edge pixels that take a depth between the two sides (0 none, 1 all).
        max_range_m: beyond this there is no measurement.
    """

    noise_share: float = 0.003
    blob_share: float = 0.0025
    blob_cells: int = 24
    smoothing_m: float = 0.006
    step_m: float = 0.02
    bleeding: float = 0.35
    max_range_m: float = 5.0


def measure(
    scene: RayScene,
    world_from_camera: FloatArray,
    intrinsics: FloatArray,
    size: tuple[int, int],
    settings: LidarSettings,
    rng: np.random.Generator,
) -> tuple[Float32, npt.NDArray[np.uint8]]:
    """Depth ``(H, W)`` metres (0 = none) and confidence ``(H, W)`` 0…2 of one frame.

    Args:
        scene: the true world.
        world_from_camera: true pose.
        intrinsics: of the depth picture.
        size: its ``(width, height)``.
        settings: faults.
        rng: chance; a generator of the frame's own makes frames independent of the order they are asked for.
    """
    import cv2

    rays = pixel_rays(intrinsics, size, world_from_camera)
    true, faces, bary = scene.cast(rays)
    reached = np.isfinite(true) & (true < settings.max_range_m)
    clean = np.where(reached, true, np.float32(settings.max_range_m)).astype(np.float32)
    facing = np.abs((scene.normals(faces, bary) * rays[..., 3:]).sum(-1)) / np.linalg.norm(rays[..., 3:], axis=-1)
    noisy = clean * (1 + settings.noise_share * rng.normal(size=clean.shape)).astype(np.float32)
    pixel_m = float(np.median(clean)) / intrinsics[0, 0]
    sigma = max(settings.smoothing_m / pixel_m, 0.3)
    smooth = cv2.bilateralFilter(noisy, 2 * int(np.ceil(2 * sigma)) + 1, settings.step_m, sigma)
    low, high = cv2.erode(clean, np.ones((3, 3), np.uint8)), cv2.dilate(clean, np.ones((3, 3), np.uint8))
    slope = 3.0 * high / intrinsics[0, 0] / np.maximum(facing, 0.15)  # a surface seen at an angle is no edge
    edge = (high - low) > np.maximum(0.012, slope)
    mixed = low + (high - low) * rng.uniform(size=clean.shape).astype(np.float32)
    bleeds = edge & (rng.uniform(size=clean.shape) < settings.bleeding)
    depth = cv2.GaussianBlur(np.where(bleeds, mixed, smooth), (3, 3), 0.6)
    depth = np.where(cv2.dilate(edge.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0, depth, smooth)
    depth = depth * (1 + settings.blob_share * _blobs(rng, clean.shape, settings.blob_cells))
    depth = np.where(reached, depth, 0).astype(np.float16).astype(np.float32)  # the sensor's own quantisation
    return np.asarray(depth), _confidence(edge, facing, clean, reached)


def _blobs(rng: np.random.Generator, shape: tuple[int, int], cells: int) -> Float32:
    import cv2

    coarse = rng.normal(size=(max(2, cells * shape[0] // shape[1]), cells)).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC) * np.float32(1.2))


def _confidence(
    edge: npt.NDArray[np.bool_], facing: Float32, depth: Float32, reached: npt.NDArray[np.bool_]
) -> npt.NDArray[np.uint8]:
    """High on what is near and faces the phone, medium beside edges, at grazing angles and far away, low on edges."""
    import cv2

    confidence = np.full(depth.shape, 2, dtype=np.uint8)
    near_edge = cv2.dilate(edge.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    confidence[near_edge | (facing < 0.25) | (depth > 3.0)] = 1
    confidence[edge | (facing < 0.1) | (depth > 4.5) | ~reached] = 0
    return confidence
