"""Pictures without poses become posed RGB-D frames, kept in a folder from which they can be read again.

The folder holds ``solution.json`` (written last: without it the folder is no solution), a JPEG without distortion and a
16-bit depth PNG for each picture. Lengths are in units in which the things are `PhotoSettings.typical_m` away from the
cameras; `reconstruction.pipeline` makes metres of them where the tag is seen.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from reconstruction.archive import FolderTree
from reconstruction.capture import ByteImage, Capture, DepthImage, FloatArray, Frame
from reconstruction.disk import write_whole, writing_to
from reconstruction.errors import InputError
from reconstruction.importers.damage import DamagedImages
from reconstruction.importers.images import read_depth_png, read_rgb
from reconstruction.importers.photos import LEAST_FRAMES, too_few
from reconstruction.photogrammetry.dense import Picture, dense_depth
from reconstruction.photogrammetry.selection import sharp_frames
from reconstruction.photogrammetry.settings import PhotoSettings
from reconstruction.photogrammetry.structure import Structure, find_structure
from reconstruction.progress import Progress, part, silent
from reconstruction.temporary import TemporaryFolder

SOLUTION = "solution.json"
DEPTH_UNIT_M = 1e-4
_VERSION = 1
_JPEG_QUALITY = 95


def needs_solving(capture: Capture) -> bool:
    """Whether `capture` is pictures alone."""
    return capture.format in ("photos", "video") and not capture.adjusted


def solve(
    capture: Capture, settings: PhotoSettings | None, folder: Path, progress: Progress = silent
) -> Capture:
    """Find poses and depth of the pictures of `capture`.

    Args:
        capture: as `importers.photos` reads it.
        settings: None takes the defaults.
        folder: for the results, which the returned frames read; made where it is missing.
        progress: called with fractions and messages.

    Raises:
        InputError: the pictures are too few, or do not show the same things.
        MissingToolError: pycolmap is not installed.
        OutputError: `folder` cannot be written.
        ReconstructionError: COLMAP broke off.
    """
    s = settings or PhotoSettings()
    damaged = DamagedImages()
    forgiving = damaged.forgiven(capture)
    frames = sharp_frames(forgiving, s, part(progress, 0.0, 0.08))
    greys, frames = _read(frames, s, part(progress, 0.08, 0.12))
    if len(frames) < LEAST_FRAMES:
        raise too_few(str(capture.source), len(frames))
    with TemporaryFolder("photos") as work:
        structure = find_structure(frames, greys, capture, s, work, part(progress, 0.12, 0.5))
    if len(structure.positions) < LEAST_FRAMES:
        raise _scattered(capture, structure, len(frames))
    structure = _scaled(structure, s.typical_m)
    frames = [frames[k] for k in structure.positions]
    cameras = [_matrix(row) for row in structure.cameras]
    pictures = [
        Picture(
            _undistorted(greys[position], cameras[number], structure.cameras[number, 3]),
            cameras[number],
            structure.camera_from_world[number],
            structure.seen[1][structure.seen[0] == number],
        )
        for number, position in enumerate(structure.positions)
    ]
    depths, confidences = dense_depth(pictures, structure.points, s, part(progress, 0.5, 0.95))
    notes = (*damaged.sentences(), *_left_out(capture, structure, len(greys)))
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
        rows = [
            _save(folder, frame, picture, structure.cameras[number, 3], depths[number], confidences[number])
            for number, (frame, picture) in enumerate(zip(frames, pictures, strict=True))
        ]
    write_whole(folder / SOLUTION, json.dumps({"version": _VERSION, "notes": notes, "frames": rows}) + "\n")
    progress(1.0, "found where the pictures were taken")
    return load_solution(capture, folder)


def load_solution(capture: Capture, folder: Path) -> Capture:
    """`capture` with the poses and depth that `solve` left in `folder`.

    Raises:
        InputError: the folder is damaged.
    """
    try:
        document = json.loads((folder / SOLUTION).read_text(encoding="utf-8"))
        if document["version"] != _VERSION:
            raise ValueError(document["version"])
        frames = [_frame(folder, row) for row in document["frames"]]
        notes = tuple(str(note) for note in document["notes"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{folder} is damaged: {error}.", remedy="Remove that folder and run again.", code="damaged_cache"
        ) from error
    missing = (*capture.missing, *(note for note in notes if note not in capture.missing))
    return replace(capture, frames=frames, adjusted=True, missing=missing)


def _read(frames: Sequence[Frame], s: PhotoSettings, progress: Progress) -> tuple[list[ByteImage], list[Frame]]:
    """Grey pictures no larger than wanted, of those frames that can be read."""
    import cv2

    greys, kept = [], []
    for done, frame in enumerate(frames):
        rgb = frame.rgb()
        if rgb is not None:
            greys.append(_shrunk(np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), dtype=np.uint8), s.size_px))
            kept.append(frame)
        progress((done + 1) / len(frames), "reading the pictures")
    return greys, kept


def _shrunk(image: ByteImage, longer_px: int) -> ByteImage:
    import cv2

    scale = longer_px / max(image.shape[:2])
    if scale >= 1:
        return image
    size = round(image.shape[1] * scale), round(image.shape[0] * scale)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _matrix(camera: FloatArray) -> FloatArray:
    """``(3, 3)`` of COLMAP's SIMPLE_RADIAL, whose pixel centres lie at .5; here they lie at integers."""
    focal, x, y, _ = camera
    return np.array([[focal, 0.0, x - 0.5], [0.0, focal, y - 0.5], [0.0, 0.0, 1.0]])


def _undistorted(image: ByteImage, camera: FloatArray, radial: float) -> ByteImage:
    import cv2

    return np.asarray(cv2.undistort(image, camera, np.array([radial, 0.0, 0.0, 0.0])), dtype=np.uint8)


def _scaled(structure: Structure, typical: float) -> Structure:
    """`structure` in units in which the median distance of what cameras see is `typical`."""
    by, seen = structure.seen
    rows = structure.camera_from_world[by, 2]
    depth = (structure.points[seen] * rows[:, :3]).sum(axis=1) + rows[:, 3]
    factor = typical / float(np.median(depth[depth > 0]))
    poses = structure.camera_from_world.copy()
    poses[:, :3, 3] *= factor
    return replace(structure, camera_from_world=poses, points=factor * structure.points)


def _scattered(capture: Capture, structure: Structure, count: int) -> InputError:
    return InputError(
        f"{capture.source}: only {len(structure.positions)} of {count} pictures could be joined; it takes "
        f"{LEAST_FRAMES}.",
        remedy="Take sharp photos in good light, every 10 degrees round the things, each showing most of what the one "
        "before shows; a newspaper or printed cloth under the things helps on a plain table.",
        code="unconnected_photos",
    )


def _left_out(capture: Capture, structure: Structure, count: int) -> tuple[str, ...]:
    """What to say of pictures that belong to no or another place."""
    lost = count - len(structure.positions)
    if not lost:
        return ()
    elsewhere = [size for size in structure.others if size >= 3]
    why = (
        f"{max(elsewhere)} of them show another place or side, which none of the pictures joins to the rest"
        if elsewhere
        else "they are blurred or show too little of what the others show"
    )
    return (f"pictures left out: {lost} of {count} could not be joined to the rest; {why}",)


def _save(
    folder: Path,
    frame: Frame,
    picture: Picture,
    radial: float,
    depth: DepthImage,
    confidence: ByteImage,
) -> dict[str, Any]:
    import cv2

    rgb = frame.rgb()
    height, width = picture.grey.shape
    assert rgb is not None  # it was read before
    rgb = _undistorted(_shrunk(rgb, max(width, height)), picture.intrinsics, radial)
    name = f"{frame.index:06d}"
    stored = np.clip(np.round(depth / DEPTH_UNIT_M), 0, 65534).astype(np.uint16)
    stored[stored == 65534] = 0
    for path, image, options in (
        (folder / f"{name}.jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]),
        (folder / f"{name}_depth.png", stored, [cv2.IMWRITE_PNG_COMPRESSION, 3]),
        (folder / f"{name}_confidence.png", confidence, [cv2.IMWRITE_PNG_COMPRESSION, 3]),
    ):
        _, data = cv2.imencode(path.suffix, np.ascontiguousarray(image), options)
        path.write_bytes(data.tobytes())
    return {
        "index": frame.index,
        "time_s": frame.time_s,
        "size": [width, height],
        "depth_size": [depth.shape[1], depth.shape[0]],
        "intrinsics": picture.intrinsics.tolist(),
        "capture_from_camera": np.linalg.inv(picture.camera_from_world).tolist(),
    }


def _frame(folder: Path, row: dict[str, Any]) -> Frame:
    tree, name = FolderTree(folder), f"{int(row['index']):06d}"
    width, height = (int(side) for side in row["size"])
    depth_size = int(row["depth_size"][0]), int(row["depth_size"][1])
    readers: dict[str, Callable[[], Any]] = {
        "read_rgb": lambda: read_rgb(tree, f"{name}.jpg", (width, height)),
        "read_depth": lambda: read_depth_png(tree, f"{name}_depth.png", depth_size, DEPTH_UNIT_M),
        "read_confidence": lambda: _confidence(tree, f"{name}_confidence.png", depth_size),
    }
    return Frame(
        index=int(row["index"]),
        time_s=float(row["time_s"]),
        size=(width, height),
        intrinsics=np.array(row["intrinsics"], dtype=np.float64).reshape(3, 3),
        capture_from_camera=np.array(row["capture_from_camera"], dtype=np.float64).reshape(4, 4),
        depth_size=depth_size,
        **readers,
    )


def _confidence(tree: FolderTree, name: str, size: tuple[int, int]) -> ByteImage:
    from reconstruction.importers.images import read_confidence_png

    return read_confidence_png(tree, name, size)
