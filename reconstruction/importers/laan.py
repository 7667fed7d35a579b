"""3D Scanner App (Laan Labs), export "All data".

One flat folder: ``info.json``, ``frame_00000.json`` for every recorded moment, ``depth_00000.png`` (uint16 mm) and
``conf_00000.png`` (0/1/2) for most, ``frame_00000.jpg`` for some. ``cameraPoseARFrame`` is row-major, camera to world,
ARKit camera axes; ``intrinsics`` row-major for the colour size, per frame. ``userOBB`` in ``info.json`` is the crop
box of the app's own mesh, in the frame of the poses. GPS fields are never read.
Source: laanlabs/3dScannerApp_samples.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from reconstruction.archive import FileTree
from reconstruction.capture import Capture, FloatArray, Frame
from reconstruction.errors import InputError
from reconstruction.importers import fields, poses
from reconstruction.importers.assemble import ImageFiles
from reconstruction.importers.damage import sound_frames


def matches(root: FileTree) -> bool:
    """Whether the files are laid out as 3D Scanner App does."""
    images_there = root.numbered("", r"depth_(\d+)\.png") or root.numbered("", r"frame_(\d+)\.jpg")
    return bool(images_there) and ("info.json" in root or bool(root.numbered("", r"frame_(\d+)\.json")))


def read(root: FileTree) -> Capture:
    """Read an "All data" export.

    Raises:
        InputError: no frame JSON, damaged metadata, no frames.
    """
    meta = root.numbered("", r"frame_(\d+)\.json")
    if not meta:
        raise InputError(
            f"{root.where()} is a 3D Scanner App export without its frame_*.json files.",
            remedy="In the app choose Share, 'All Data'; other exports carry no camera poses.",
            code="missing_metadata",
        )
    files = ImageFiles(
        root,
        rgb=root.numbered("", r"frame_(\d+)\.jpe?g"),
        depth=root.numbered("", r"depth_(\d+)\.png"),
        confidence=root.numbered("", r"conf_(\d+)\.png"),
        reference=(1920, 1440),
    )
    frames, missing = sound_frames(files.indices, lambda index: _frame(files, meta, index), root.where())
    return Capture(
        name=root.source.stem,
        format="laan",
        source=root.source,
        device="iPhone (LiDAR)",
        frames=frames,
        up=poses.arkit_up(frames),
        region=_region(root),
        missing=missing + files.missing,
    )


def _frame(files: ImageFiles, names: dict[int, str], index: int) -> Frame:
    root = files.root
    if index not in names:
        raise InputError(
            f"{root.where()}: frame {index} has images but no frame_{index:05d}.json.",
            remedy="Copy the whole folder from the phone again.",
            code="missing_pose",
        )
    meta, where = fields.read_json(root, names[index]), root.where(names[index])
    pose = poses.rigid(_square(meta, "cameraPoseARFrame", 4, where), where)
    k = _square(meta, "intrinsics", 3, where)
    return files.frame(
        index,
        time_s=fields.number(meta, "time", where, default=index / 60.0),
        intrinsics=poses.pinhole(k[0, 0], k[1, 1], k[0, 2], k[1, 2], where),
        capture_from_camera=pose @ poses.OPENCV_FROM_OPENGL,
        blur=_blur(meta),
    )


def _square(meta: dict[str, Any], key: str, side: int, where: str) -> FloatArray:
    values = fields.floats(meta.get(key), side * side, f"{where}: {key!r}")
    return np.array(values).reshape(side, side)


def _blur(meta: dict[str, Any]) -> float | None:
    quality = fields.hint(meta, "motionQuality")
    return None if quality is None else float(np.clip(1.0 - quality, 0.0, 1.0))


def _region(root: FileTree) -> FloatArray | None:
    """The user's crop box ``(8, 3)``; None where there is none or it is broken (it is only a hint)."""
    try:
        points = fields.read_json(root, "info.json")["userOBB"]["points"]
        corners = np.array([fields.floats(point, 3, "userOBB") for point in points])
    except (InputError, KeyError, TypeError):
        return None
    return corners if corners.shape == (8, 3) else None
