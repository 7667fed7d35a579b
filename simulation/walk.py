"""How a person walks round a table with a phone, and how the phone's own idea of it drifts."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


def smooth_walk(rng: np.random.Generator, count: int, channels: int, width: float) -> FloatArray:
    """Smooth random signals ``(count, channels)`` of unit standard deviation; `width` is the correlation in frames."""
    from scipy.ndimage import gaussian_filter1d

    pad = int(4 * width) + 1
    noise = gaussian_filter1d(rng.normal(size=(count + 2 * pad, channels)), width, axis=0, mode="reflect")
    return np.asarray(noise[pad : pad + count] * np.sqrt(2 * width * np.sqrt(np.pi)))


def looking(eye: FloatArray, target: FloatArray, roll_rad: float = 0.0) -> FloatArray:
    """``world_from_camera`` (x right, y down, z forward) of a level camera at `eye` that looks at `target`."""
    forward = (target - eye) / np.linalg.norm(target - eye)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    c, s = np.cos(roll_rad), np.sin(roll_rad)
    pose = np.eye(4)
    pose[:3, :3] = np.column_stack([c * right + s * down, c * down - s * right, forward])
    pose[:3, 3] = eye
    return pose


def orbit(
    rng: np.random.Generator,
    count: int,
    fps: float,
    target: FloatArray,
    arc_deg: float,
    distance_m: tuple[float, float],
    elevation_deg: tuple[float, float],
    wander_m: float,
    tremble: float,
    returning: bool,
) -> FloatArray:
    """True ``world_from_camera`` ``(count, 4, 4)`` of a hand-held sweep round `target`.

    Distance and elevation swing slowly between their limits, the gaze wanders `wander_m` round the target, the hand
    trembles (`tremble` 1: about 3 mm and 0.3° at 1–2 Hz). With `returning` the last pose is near the first again.
    """
    share = np.linspace(0.0, 1.0, count)
    heading = rng.uniform(0, 2 * np.pi) + rng.choice([-1.0, 1.0]) * np.radians(arc_deg) * share
    turns = 2.0 if returning else rng.uniform(1.6, 2.6)
    swing = np.sin(2 * np.pi * turns * share + rng.uniform(0, 2 * np.pi))
    bob = np.sin(2 * np.pi * (turns + 1) * share + rng.uniform(0, 2 * np.pi))
    elevation = np.radians(np.mean(elevation_deg) + 0.5 * np.ptp(elevation_deg) * swing)
    distance = np.mean(distance_m) + 0.5 * np.ptp(distance_m) * bob
    hand = smooth_walk(rng, count, 6, max(0.15 * fps, 0.6)) * tremble
    gaze = smooth_walk(rng, count, 3, max(1.0 * fps, 1.0)) * np.array([1.0, 1.0, 0.2]) * wander_m
    poses = []
    for i in range(count):
        flat = np.cos(elevation[i])
        away = np.array([flat * np.cos(heading[i]), flat * np.sin(heading[i]), np.sin(elevation[i])])
        eye = target + distance[i] * away + 0.003 * hand[i, :3]
        aim = target + gaze[i] + 0.005 * distance[i] * hand[i, 3:]
        poses.append(looking(eye, aim, np.radians(1.5) * hand[i, 5]))
    return np.array(poses)


def tour(rng: np.random.Generator, count: int, fps: float, stops: FloatArray, tremble: float) -> FloatArray:
    """True ``world_from_camera`` ``(count, 4, 4)`` of a walk past `stops`.

    Args:
        rng: chance.
        count: number of frames.
        fps: frames a second.
        stops: ``(S, 2, 3)`` where the phone is and what it looks at, metres; passed smoothly and at an even pace.
        tremble: unsteadiness of the hand, 1 is usual.
    """
    from scipy.interpolate import PchipInterpolator

    flat = stops.reshape(len(stops), 6)
    pace = np.concatenate([[0.0], np.cumsum(0.05 + np.linalg.norm(np.diff(flat, axis=0), axis=1))])
    path = PchipInterpolator(pace / pace[-1], flat)(np.linspace(0.0, 1.0, count))
    hand = smooth_walk(rng, count, 6, max(0.15 * fps, 0.6)) * tremble
    poses = []
    for place, shake in zip(path, hand, strict=True):
        eye = place[:3] + 0.003 * shake[:3]
        aim = place[3:] + 0.005 * np.linalg.norm(place[3:] - place[:3]) * shake[3:]
        poses.append(looking(eye, aim, np.radians(1.5) * shake[5]))
    return np.array(poses)


def drifted(
    rng: np.random.Generator,
    poses: FloatArray,
    fps: float,
    drift_m: float,
    yaw_deg: float,
    jitter_m: float,
    jitter_deg: float,
) -> FloatArray:
    """Poses as the phone's odometry writes them: off by a smooth random walk in position and yaw, plus jitter.

    Frames are y-up. The error is zero at frame 0 and reaches about `drift_m` and `yaw_deg` at most; jitter is
    independent from frame to frame (standard deviations).
    """
    count = len(poses)
    walk = np.cumsum(smooth_walk(rng, count, 4, max(1.5 * fps, 2.0)), axis=0)
    walk -= walk[0]
    size = np.linalg.norm(walk[:, :3], axis=1).max()
    shift = walk[:, :3] / max(size, 1e-12) * drift_m
    yaw = walk[:, 3] / max(np.abs(walk[:, 3]).max(), 1e-12) * np.radians(yaw_deg)
    noise = rng.normal(size=(count, 6)) * np.array([jitter_m] * 3 + [np.radians(jitter_deg)] * 3)
    noise[0] = 0.0
    out = poses.copy()
    for i in range(count):
        c, s = np.cos(yaw[i]), np.sin(yaw[i])
        about_y = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
        out[i, :3, :3] = about_y @ _small(noise[i, 3:]) @ poses[i, :3, :3]
        out[i, :3, 3] += shift[i] + noise[i, :3]
    return out


def _small(vector: FloatArray) -> FloatArray:
    from scipy.spatial.transform import Rotation

    return np.asarray(Rotation.from_rotvec(vector).as_matrix())
