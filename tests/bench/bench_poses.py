"""What pose refinement gains and costs: virtual scans with exact truth, several strengths of drift.

Run with ``python tests/bench/bench_poses.py [frames]``. Figures are root mean squares over the frames, in the phone's
world (no alignment to the truth): *point* is how far what a camera sees 0.65 m ahead is put from where it is,
*camera* how far the camera's place is off.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from reconstruction.keyframes import select_keyframes
from reconstruction.poses import refine_poses
from simulation.virtual_phone import VirtualPhone, record
from simulation.virtual_world import random_world

PHONE = VirtualPhone(rgb_size=(640, 480))
CASES = {
    "usual drift": PHONE,
    "strong drift, returning": replace(PHONE, drift_m=0.03, drift_yaw_deg=1.0, returning=True),
    "no drift": replace(PHONE, drift_m=0.0, drift_yaw_deg=0.0, jitter_m=0.0, jitter_deg=0.0),
    "upright, 200 degrees": replace(PHONE, drift_m=0.005, portrait=True, arc_deg=200.0),
}


def errors_mm(true: npt.NDArray[np.float64], poses: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Root mean square error of points 0.65 m ahead and of the cameras' places, millimetres."""
    ahead = np.array([0, 0, 0.65, 1.0])
    gaps = ((poses @ ahead - true @ ahead)[:, :3], poses[:, :3, 3] - true[:, :3, 3])
    point, camera = (1e3 * float(np.sqrt((gap**2).sum(axis=1).mean())) for gap in gaps)
    return point, camera


def measure(name: str, seed: int, frames: int) -> tuple[str, float, float]:
    """A line of figures for one scan, and the point error before and after, millimetres."""
    rng = np.random.default_rng(seed)
    world = random_world(rng, 8)
    recording = record(world, replace(CASES[name], frames=frames), rng)
    capture = recording.capture()
    true = recording.capture_from_world @ recording.world_from_camera
    phone = np.array([frame.capture_from_camera for frame in capture.frames])
    keyframes = select_keyframes(capture)
    start = time.perf_counter()
    result = refine_poses(capture, keyframes)
    seconds = time.perf_counter() - start
    (before, camera_before), (after, camera_after) = errors_mm(true, phone), errors_mm(true, result.capture_from_camera)
    line = (
        f"{name:26s} seed {seed}: point {before:5.1f} -> {after:4.1f} mm, camera {camera_before:5.1f} -> "
        f"{camera_after:4.1f} mm, offset {1e3 * result.depth_offset_m:+.1f} mm, {len(keyframes)} keyframes, "
        f"{seconds:.1f} s with rendering"
    )
    return line, before, after


def main(frames: int) -> int:
    """Print a line a scan; 1 where refinement leaves more than 2.5 mm and 60 % of the drift."""
    worse = False
    for case in CASES:
        for seed in (1, 2):
            line, before, after = measure(case, seed, frames)
            print(line, flush=True)
            worse |= after > max(2.5, 0.6 * before)
    return int(worse)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 100))
