"""COLMAP in a process of its own: it prints, may abort, and its zlib clashes with OpenCV's PNG in one process.

Schönberger, Frahm: "Structure-from-Motion Revisited", CVPR 2016. Nothing of OpenCV may be imported here.

`main` reads ``job.json`` of a folder (groups of pictures that share a camera, settings) and writes ``model.npz``: of
the largest connected set of pictures the poses, cameras and points; and ``models.json``: which pictures each set holds.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

THREADS = 2
SEED = 0


def main(folder: Path) -> None:
    """Solve the job in `folder`."""
    import pycolmap

    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    pictures, database = folder / "pictures", folder / "database.db"
    pycolmap.logging.minloglevel = 3
    pycolmap.set_random_seed(SEED)
    _say(0.0, "finding features")
    for done, group in enumerate(job["groups"]):
        extraction = pycolmap.FeatureExtractionOptions()
        extraction.num_threads, extraction.use_gpu = THREADS, False
        extraction.sift.max_num_features = job["features"]
        # Where EXIF gives no focal length COLMAP shall know that it is a guess.
        reader = pycolmap.ImageReaderOptions()
        reader.camera_model = "SIMPLE_RADIAL"
        reader.default_focal_length_factor = group["focal_factor"]
        if group["camera"] is not None:
            reader.camera_params = ",".join(repr(value) for value in group["camera"])
        pycolmap.extract_features(
            database,
            pictures,
            image_names=group["names"],
            camera_mode=pycolmap.CameraMode.SINGLE,
            reader_options=reader,
            extraction_options=extraction,
            device=pycolmap.Device.cpu,
        )
        _say(0.3 * (done + 1) / len(job["groups"]), "finding features")
    _say(0.3, "comparing pictures")
    matching = pycolmap.FeatureMatchingOptions()
    matching.num_threads, matching.use_gpu = THREADS, False
    if job["sequence"]:
        pairing = pycolmap.SequentialPairingOptions()
        pairing.overlap, pairing.quadratic_overlap, pairing.loop_detection = job["sequence"], True, False
        pycolmap.match_sequential(
            database, matching_options=matching, pairing_options=pairing, device=pycolmap.Device.cpu
        )
    else:
        pycolmap.match_exhaustive(database, matching_options=matching, device=pycolmap.Device.cpu)
    _say(0.8, "finding where the pictures were taken")
    # Smaller first pairs, for sets that were taken with little motion between pictures.
    models = _mapped(database, pictures, folder, 16.0)
    if not models:
        models = _mapped(database, pictures, folder, 6.0)
    found = sorted(models.values(), key=lambda model: (-model.num_reg_images(), -model.num_points3D()))
    names = [[image.name for image in model.images.values() if image.has_pose] for model in found]
    if found:
        _refined(found[0])
        np.savez(folder / "model.npz", **_arrays(found[0]))
    (folder / "models.json").write_text(json.dumps([sorted(group) for group in names]), encoding="utf-8")
    _say(1.0, "finding where the pictures were taken")


def _mapped(database: Path, pictures: Path, folder: Path, first_angle_deg: float) -> dict[int, Any]:
    import pycolmap

    options = pycolmap.IncrementalPipelineOptions()
    # One thread: sums of several come in any order, and the same pictures shall give the same poses.
    options.num_threads, options.random_seed, options.min_model_size = 1, SEED, 3
    options.extract_colors = False
    options.mapper.random_seed = options.triangulation.random_seed = SEED
    options.mapper.init_min_tri_angle = first_angle_deg
    if first_angle_deg < 10:
        options.mapper.init_min_num_inliers = 50
    out = folder / "sparse"
    out.mkdir(exist_ok=True)
    found: dict[int, Any] = pycolmap.incremental_mapping(database, pictures, out, options)
    return found


def _refined(model: Any) -> None:
    """Adjust the principal points too, where pictures are many enough to tell: phones' lenses are not centred."""
    import pycolmap

    if model.num_reg_images() < 15:
        return
    options = pycolmap.BundleAdjustmentOptions()
    options.refine_principal_point = True
    options.print_summary = False
    options.ceres.solver_options.num_threads = 1
    pycolmap.bundle_adjustment(model, options)


def _arrays(model: Any) -> dict[str, Any]:
    """Per picture its name, ``camera_from_world`` (4, 4), camera (f, cx, cy, k), and the points that it sees."""
    images = sorted((image for image in model.images.values() if image.has_pose), key=lambda image: image.name)
    ids = sorted(model.points3D)
    row = {identity: number for number, identity in enumerate(ids)}
    poses, cameras, seen_by, seen = [], [], [], []
    for number, image in enumerate(images):
        pose = np.eye(4)
        pose[:3] = image.cam_from_world().matrix()
        poses.append(pose)
        cameras.append(model.cameras[image.camera_id].params)
        points = [row[point.point3D_id] for point in image.points2D if point.has_point3D()]
        seen += points
        seen_by += [number] * len(points)
    return {
        "names": np.array([image.name for image in images]),
        "camera_from_world": np.array(poses),
        "cameras": np.array(cameras),
        "points": np.array([model.points3D[identity].xyz for identity in ids]).reshape(-1, 3),
        "errors_px": np.array([model.points3D[identity].error for identity in ids]),
        "seen": np.array([seen_by, seen], dtype=np.int64),
    }


def _say(share: float, message: str) -> None:
    print(f"progress {share:.3f} {message}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
