"""Photos alone against exact truth: poses, scale, things.

    python tests/bench/bench_photos.py [SEED ...]

Each seed is a virtual set of 48 photos of 1600 pixels, with the tag on the table. Prints, for each: median error of the
poses (mm, degrees) after the best similarity, error of the scale that the tag gave, and the figures of
`bench_reconstruction.compare`.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from bench_reconstruction import compare

from reconstruction.capture import Capture, FloatArray
from reconstruction.importers import read_capture
from reconstruction.photogrammetry import solve
from reconstruction.pipeline import reconstruct
from simulation.phone_formats.photos import photo_names
from simulation.virtual_phone import VirtualScanSettings, virtual_scan, write_virtual_scan


def similarity(source: FloatArray, target: FloatArray) -> tuple[FloatArray, float]:
    """``target_from_source`` ``(4, 4)`` rigid and the scale before it, of points ``(N, 3)`` (S. Umeyama, 1991)."""
    a, b = source - source.mean(axis=0), target - target.mean(axis=0)
    u, stretch, vt = np.linalg.svd(b.T @ a)
    sign = np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    scale = float((stretch * np.diag(sign)).sum() / (a**2).sum())
    pose = np.eye(4)
    pose[:3, :3] = u @ sign @ vt
    pose[:3, 3] = target.mean(axis=0) - scale * pose[:3, :3] @ source.mean(axis=0)
    return pose, scale


def true_poses(settings: VirtualScanSettings, capture: Capture, truth: Path) -> FloatArray:
    """``(N, 4, 4)`` in the truth's frame, of the frames of `capture`."""
    poses = np.array(json.loads((truth / "truth.json").read_text(encoding="utf-8"))["capture_from_camera"])
    order = np.argsort(photo_names(virtual_scan(settings)))  # frame index -> time
    return np.asarray(poses[order[[frame.index for frame in capture.frames]]])


def measured(settings: VirtualScanSettings, folder: Path) -> dict[str, float]:
    """Figures of one virtual set."""
    scan, truth = folder / "set.zip", folder / "set_truth"
    write_virtual_scan(settings, scan)
    started = time.perf_counter()
    capture = solve(read_capture(scan), None, folder / "solved")
    solved = time.perf_counter()
    made = reconstruct(capture, jobs=2)
    done = time.perf_counter()
    real = true_poses(settings, capture, truth)
    found = np.array([frame.capture_from_camera for frame in capture.frames])
    truth_from_found, scale = similarity(found[:, :3, 3], real[:, :3, 3])
    places = scale * found[:, :3, 3] @ truth_from_found[:3, :3].T + truth_from_found[:3, 3]
    turn = np.einsum("ij,njk,nlk->nil", truth_from_found[:3, :3], found[:, :3, :3], real[:, :3, :3])
    cosine = np.clip((np.trace(turn, axis1=1, axis2=2) - 1) / 2, -1, 1)
    factor = made.scene.extra.get("capture_scale", 1.0)
    # The scene is in the tag's metres: only a rigid motion is taken out.
    rigid, _ = similarity(factor * found[:, :3, 3], real[:, :3, 3])
    rigid[:3, 3] = real[:, :3, 3].mean(axis=0) - rigid[:3, :3] @ (factor * found[:, :3, 3]).mean(axis=0)
    scene = replace(made.scene, scene_from_capture=made.scene.scene_from_capture @ np.linalg.inv(rigid))
    return {
        "pictures": len(found),
        "pose mm": 1e3 * float(np.median(np.linalg.norm(places - real[:, :3, 3], axis=1))),
        "pose deg": float(np.degrees(np.median(np.arccos(cosine)))),
        "scale %": 100 * (factor / scale - 1),
        **compare(scene, truth),
        "solve s": solved - started,
        "scene s": done - solved,
    }


def main(seeds: list[int]) -> None:
    """Print a row a seed and the medians."""
    rows = []
    for seed in seeds:
        settings = VirtualScanSettings(
            format="photos", seed=seed, objects=5 + seed % 4, frames=48, rgb_width=1600, tag=True
        )
        with tempfile.TemporaryDirectory() as folder:
            rows.append(measured(settings, Path(folder)))
        print(f"seed {seed}: " + "  ".join(f"{name} {value:.3f}" for name, value in rows[-1].items()), flush=True)
    print("median:   " + "  ".join(f"{name} {np.median([row[name] for row in rows]):.3f}" for name in rows[0]))


if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:]] or [600, 601, 602, 603, 604])
