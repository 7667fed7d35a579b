"""Speed against plain Open3D and accuracy against exact truth.

    python tests/bench/bench_reconstruction.py [SEED ...]

Prints two tables: import + fusion of the bundled sample scan beside the plain Open3D loop on the same frames, and, for
each seed, a virtual scan (150 frames) reconstructed and compared with its world. F-scores count, at 5 mm, all of the
true surface above the support (inside and hidden faces too) against all of the reconstructed one.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from reconstruction.capture import Capture, FloatArray
from reconstruction.fusion import FusionSettings, fuse
from reconstruction.importers import read_capture
from reconstruction.keyframes import select_keyframes
from reconstruction.mesh import Mesh, read_obj, to_trimesh
from reconstruction.pipeline import reconstruct
from reconstruction.scene import Scene
from reconstruction.supports import SupportSettings, place_scene, support_boxes
from reconstruction.views import ViewSettings, load_views

SAMPLE = Path(__file__).parents[2] / "resources" / "sample_scan.zip"
TOLERANCE_M = 0.005
FLOOR_M = 0.004


def plain_loop(capture: Capture) -> float:
    """Seconds that the loop of Open3D's own example takes: every frame read, coloured and fused at 4 mm, no box."""
    import cv2
    import open3d as o3d
    import open3d.core as o3c

    started = time.perf_counter()
    kinds = (o3c.float32, o3c.float32, o3c.float32)
    device = o3c.Device("CPU:0")
    grid = o3d.t.geometry.VoxelBlockGrid(
        ("tsdf", "weight", "color"), kinds, ((1,), (1,), (3,)), 0.004, 16, 20000, device
    )
    for frame in capture.frames:
        depth, rgb = frame.depth_m(), frame.rgb()
        if depth is None or rgb is None or frame.capture_from_camera is None:
            continue
        small = cv2.resize(rgb, depth.shape[::-1], interpolation=cv2.INTER_AREA).astype(np.float32) / 255
        images = o3d.t.geometry.Image(o3c.Tensor(depth)), o3d.t.geometry.Image(o3c.Tensor(small))
        intrinsics = o3c.Tensor(frame.depth_intrinsics)
        extrinsics = o3c.Tensor(np.linalg.inv(frame.capture_from_camera))
        blocks = grid.compute_unique_block_coordinates(images[0], intrinsics, extrinsics, 1.0, 3.5, 8.0)
        grid.integrate(blocks, *images, intrinsics, intrinsics, extrinsics, 1.0, 3.5, 8.0)
    return time.perf_counter() - started


def own_way(capture: Capture) -> float:
    """Seconds for the same frames here: chosen, read by two threads, fused finely on the bench, coarsely elsewhere."""
    started = time.perf_counter()
    keys = select_keyframes(capture)
    poses = np.array([capture.frames[key].capture_from_camera for key in keys])
    views = load_views(capture, keys, poses, ViewSettings())
    placement = place_scene(views, capture.up, SupportSettings())
    moved = [view.moved(placement.scene_from_world) for view in views]
    settings = FusionSettings()
    fuse(moved, settings, settings.background_voxel_m, None)
    for box, _ in support_boxes(placement, SupportSettings()):
        fuse(moved, settings, settings.voxel_m, box)
    return time.perf_counter() - started


def surface(mesh: Mesh, count: int = 20000) -> FloatArray:
    """``(count, 3)`` points spread evenly over `mesh`."""
    import trimesh

    return np.asarray(trimesh.sample.sample_surface(to_trimesh(mesh), count, seed=0)[0])


def f_score(first: FloatArray, second: FloatArray) -> float:
    """Harmonic mean of the shares of each, above the support, that lie within 5 mm of the other.

    The other is not cut off at the support: the floor of a tray may lie 0.5 mm below the cut in one and above it in
    the other.
    """
    from scipy.spatial import cKDTree

    shares = [
        float((cKDTree(b).query(a[a[:, 2] > FLOOR_M])[0] < TOLERANCE_M).mean())
        for a, b in ((first, second), (second, first))
    ]
    return 2 * shares[0] * shares[1] / max(sum(shares), 1e-9)


def overlap(first: Mesh, second: Mesh) -> float:
    """Intersection over union of the two bounding boxes, thin ones taken as 2 cm thick."""
    low = [mesh.vertices.min(axis=0) for mesh in (first, second)]
    high = [
        np.maximum(mesh.vertices.max(axis=0), corner + 0.02) for mesh, corner in zip((first, second), low, strict=True)
    ]
    shared = float(np.prod(np.clip(np.minimum(*high) - np.maximum(*low), 0, None)))
    return shared / float(np.prod(high[0] - low[0]) + np.prod(high[1] - low[1]) - shared)


def compare(scene: Scene, truth: Path) -> dict[str, float]:
    """Figures of one scene against the ``truth.json`` of its virtual scan."""
    import json

    entries = json.loads((truth / "truth.json").read_text(encoding="utf-8"))["objects"]
    real = [read_obj(truth / entry["mesh"]).moved(scene.scene_from_capture) for entry in entries]
    made = [item.visual.moved(item.scene_from_object) for item in scene.objects]
    scores, hulls, used = [], [], set[int]()
    for mesh in real:
        rivals = [(overlap(mesh, other), number) for number, other in enumerate(made) if number not in used]
        best, number = max(rivals, default=(0.0, -1))
        if best < 0.25:
            continue
        used.add(number)
        scores.append(f_score(surface(made[number]), surface(mesh)))
        hulls.append(abs(to_trimesh(made[number]).convex_hull.volume / to_trimesh(mesh).convex_hull.volume - 1))
    whole = f_score(np.vstack([surface(m, 8000) for m in made]), np.vstack([surface(m, 8000) for m in real]))
    return {
        "recall": len(used) / len(real),
        "precision": len(used) / max(len(made), 1),
        "scene F": whole,
        "median F": float(np.median(scores)),
        "worst F": min(scores),
        "hull error": float(np.median(hulls)),
        "watertight": float(np.mean([to_trimesh(mesh).is_watertight for mesh in made])),
    }


def virtual(seed: int, folder: Path) -> tuple[dict[str, float], float]:
    """Figures and seconds of the virtual scan of `seed`; odd seeds Record3D, even Stray, every other one crowded."""
    from simulation.virtual_phone import VirtualScanSettings, write_virtual_scan

    settings = VirtualScanSettings(
        format="record3d" if seed % 2 else "stray",
        seed=seed,
        objects=6 + seed % 5,
        touching=seed % 4 in (2, 3),
        stacked=seed % 4 in (1, 3),
        rgb_width=640,
        drift_m=0.004,
    )
    scan = folder / (f"scan_{seed}" + (".r3d" if seed % 2 else ""))
    write_virtual_scan(settings, scan)
    started = time.perf_counter()
    made = reconstruct(read_capture(scan), jobs=2)
    return compare(made.scene, folder / f"scan_{seed}_truth"), time.perf_counter() - started


def main(seeds: list[int]) -> None:
    """Print both tables."""
    capture = read_capture(SAMPLE)
    plain, own = plain_loop(capture), own_way(capture)
    frames = len(capture.frames)
    print(f"import + fusion of {frames} frames: plain Open3D {frames / plain:.1f} frames/s, here {frames / own:.1f}")
    print(f"  ratio {plain / own:.2f}")
    with tempfile.TemporaryDirectory() as folder:
        for seed in seeds:
            figures, seconds = virtual(seed, Path(folder))
            row = "  ".join(f"{name} {value:.3f}" for name, value in figures.items())
            print(f"seed {seed}: {row}  {seconds:.0f} s")


if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:]] or [600, 601, 602, 603, 604])
