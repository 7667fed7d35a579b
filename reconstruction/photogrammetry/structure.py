"""Where the pictures were taken from: structure from motion by COLMAP (`colmap_process`)."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from reconstruction.capture import ByteImage, Capture, FloatArray, Frame
from reconstruction.errors import InputError, MissingToolError, ReconstructionError
from reconstruction.importers.photos import USUAL_FOCAL, has_film_focal
from reconstruction.photogrammetry.settings import PhotoSettings
from reconstruction.progress import Progress, silent

IndexArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Structure:
    """Poses, cameras and sparse points of the largest connected set of N pictures; lengths in units of no meaning.

    Attributes:
        positions: ``(N,)`` of the pictures among those that were given.
        camera_from_world: ``(N, 4, 4)``; OpenCV axes.
        cameras: ``(N, 4)`` focal length, principal point x and y, radial distortion k of COLMAP's SIMPLE_RADIAL; its
            pixel centres lie at .5.
        points: ``(P, 3)`` world.
        errors_px: ``(P,)`` mean reprojection errors.
        seen: ``(2, M)`` which picture sees which point.
        others: sizes of the other connected sets, descending.
    """

    positions: IndexArray
    camera_from_world: FloatArray
    cameras: FloatArray
    points: FloatArray
    errors_px: FloatArray
    seen: IndexArray
    others: tuple[int, ...]


def find_structure(
    frames: Sequence[Frame],
    pictures: Sequence[ByteImage],
    capture: Capture,
    settings: PhotoSettings,
    folder: Path,
    progress: Progress = silent,
) -> Structure:
    """Find the poses of grey `pictures` ``(H, W)``, one for each of `frames`.

    Args:
        frames: whose intrinsics are the first guess.
        pictures: shrunk as they shall be compared.
        capture: for messages and whether it is a sequence.
        settings: see `PhotoSettings`.
        folder: an empty folder for files; the caller removes it.
        progress: called with fractions and messages.

    Raises:
        InputError: no two pictures overlap enough.
        MissingToolError: pycolmap is not installed.
        ReconstructionError: COLMAP broke off.
    """
    _write_job(frames, pictures, capture, settings, folder)
    _run(capture, settings, folder, progress)
    groups = json.loads((folder / "models.json").read_text(encoding="utf-8"))
    if not groups:
        raise _unconnected(capture, len(pictures), 0)
    with np.load(folder / "model.npz", allow_pickle=False) as stored:
        arrays = {name: np.array(stored[name]) for name in stored.files}
    positions = np.array([int(name.split(".")[0]) for name in arrays.pop("names")], dtype=np.int64)
    return Structure(positions=positions, others=tuple(len(group) for group in groups[1:]), **arrays)


def _unconnected(capture: Capture, count: int, most: int) -> InputError:
    found = "no two of them show" if most < 2 else f"no more than {most} of them show"
    return InputError(
        f"{capture.source}: of its {count} pictures {found} the same things from places that can be told.",
        remedy="Take sharp photos in good light, every 10 degrees round the things; put a newspaper or a printed cloth "
        "under things on a plain table.",
        code="unconnected_photos",
    )


def _write_job(
    frames: Sequence[Frame],
    pictures: Sequence[ByteImage],
    capture: Capture,
    settings: PhotoSettings,
    folder: Path,
) -> None:
    import cv2

    (folder / "pictures").mkdir()
    groups: dict[tuple[Any, ...], list[str]] = {}
    for number, (frame, picture) in enumerate(zip(frames, pictures, strict=True)):
        name = f"{number:05d}.png"
        cv2.imwrite(str(folder / "pictures" / name), picture, [cv2.IMWRITE_PNG_COMPRESSION, 1])
        height, width = picture.shape
        focal = float(frame.intrinsics[0, 0]) * width / frame.size[0]
        groups.setdefault((width, height, round(focal, 3), has_film_focal(frame)), []).append(name)
    rows = [
        {
            "names": names,
            "camera": [focal, width / 2, height / 2, 0.0] if known else None,
            "focal_factor": USUAL_FOCAL * math.hypot(width, height) / max(width, height),
        }
        for (width, height, focal, known), names in groups.items()
    ]
    in_order = capture.format == "video" or len(pictures) > settings.exhaustive_up_to
    job = {"groups": rows, "features": settings.features, "sequence": settings.sequence if in_order else 0}
    (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")


def _run(capture: Capture, settings: PhotoSettings, folder: Path, progress: Progress) -> None:
    command = [sys.executable, "-m", "reconstruction.photogrammetry.colmap_process", str(folder)]
    log = folder / "log.txt"
    with (
        log.open("wb") as errors,
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, text=True, encoding="utf-8"
        ) as child,
    ):
        timer = threading.Timer(settings.time_limit_s, child.kill)
        timer.start()
        try:
            assert child.stdout is not None
            for line in child.stdout:
                word, _, rest = line.partition(" ")
                share, _, message = rest.strip().partition(" ")
                if word == "progress":
                    progress(float(share), message)
            status = child.wait()
        finally:
            timer.cancel()
            child.kill()  # where the progress was told to stop; no harm to one that has ended
    if status == 0:
        return
    said = log.read_text(encoding="utf-8", errors="replace")
    if "No module named 'pycolmap'" in said:
        raise MissingToolError(
            "Photos need pycolmap, which is missing.", remedy="pip install pycolmap", code="no_pycolmap"
        )
    raise ReconstructionError(
        f"{capture.source}: COLMAP broke off with status {status} after at most {settings.time_limit_s:g} s.",
        remedy="Use fewer or smaller photos, or give it more time (--reconstruct.photos.time-limit-s).",
        code="colmap_failed",
    )
