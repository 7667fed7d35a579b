"""nerfstudio `transforms.json`, with or without depth.

World +Z up after ``applied_transform`` and ``applied_scale``, which are undone here: poses come out in the coordinates
the scan was made in. Depth is PNG 16 bit, millimetres (``depth_unit_scale_factor`` if stated). Poses that COLMAP found
have no scale: `metric` is False. Source: nerfstudio ``data_conventions.md`` and ``nerfstudio_dataparser.py``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from reconstruction.archive import FileTree
from reconstruction.capture import Capture, FloatArray
from reconstruction.errors import InputError
from reconstruction.importers import fields
from reconstruction.importers.assemble import ImageFiles
from reconstruction.importers.damage import sound_frames
from reconstruction.importers.poses import Z_UP
from reconstruction.importers.transforms_json import (
    DEPTH_KEYS,
    NAME,
    Posed,
    frame_numbers,
    load,
    metres_per_unit,
    resolve,
)

_COLMAP_TRANSFORM = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])


def matches(root: FileTree) -> bool:
    """Whether there is a `transforms.json`: with a damaged one the error shall name it."""
    return NAME in root


def read(root: FileTree) -> Capture:
    """Read a nerfstudio folder.

    Raises:
        InputError: damaged metadata or images, no frames.
    """
    meta, rows = load(root)
    table = dict(sorted(zip(frame_numbers(rows), rows, strict=True), key=lambda pair: pair[0]))
    applied, scale = _applied(meta, root.where(NAME))
    rgb = {index: name for index, row in table.items() if (name := resolve(root, row.get("file_path")))}
    depth = {index: name for index, row in table.items() for key in DEPTH_KEYS if (name := resolve(root, row.get(key)))}
    scale_of_depth = metres_per_unit(root, meta, ("depth_unit_scale_factor",), bool(depth))
    files = ImageFiles(root, rgb, depth, metres_per_unit=scale_of_depth)
    masks = {index: name for index, row in table.items() if (name := resolve(root, row.get("mask_path")))}
    fisheye = meta.get("camera_model") == "OPENCV_FISHEYE" or meta.get("is_fisheye") is True
    undo = np.linalg.inv(applied)

    def original_from_world(world_from_camera: FloatArray) -> FloatArray:
        unscaled = world_from_camera.copy()
        unscaled[:3, 3] /= scale
        return undo @ unscaled

    scan = Posed(meta, table, files, masks, original_from_world, fisheye)
    frames, missing = sound_frames(table, scan.frame, root.where())
    metric = bool(files.depth) and not _from_colmap(meta, rows, applied)
    if not metric:
        missing += ("scale unknown: poses were found from pictures; one known length is needed",)
    return Capture(
        name=root.source.stem,
        format="nerfstudio",
        source=root.source,
        device="phone or camera",
        frames=frames,
        metric=metric,
        up=undo[:3, :3] @ Z_UP if metric else None,
        missing=missing + files.missing,
    )


def _applied(meta: dict[str, Any], where: str) -> tuple[FloatArray, float]:
    """``applied_transform`` as ``(4, 4)`` and ``applied_scale``; identity and 1 where the file states none.

    Raises:
        InputError: no invertible transform, or a scale that is not positive.
    """
    applied = np.eye(4)
    rows = meta.get("applied_transform")
    if rows is not None:
        if not isinstance(rows, list) or len(rows) not in (3, 4):
            raise InputError(f"{where}: applied_transform is no 3x4 matrix.", remedy="Export again.", code="bad_pose")
        applied[:3] = [fields.floats(row, 4, f"{where}: applied_transform") for row in rows[:3]]
    scale = fields.number(meta, "applied_scale", where, default=1.0)
    if scale <= 0 or np.abs(np.abs(np.linalg.det(applied[:3, :3])) - 1.0) > 0.02:
        raise InputError(
            f"{where}: applied_transform and applied_scale cannot be undone.",
            remedy="Export the scan again.",
            code="bad_pose",
        )
    return applied, scale


def _from_colmap(meta: dict[str, Any], rows: list[dict[str, Any]], applied: FloatArray) -> bool:
    """Whether COLMAP found the poses: its image numbers, its sparse points, or nerfstudio's transform for it."""
    sparse = str(meta.get("ply_file_path", "")).startswith("sparse_pc")
    legacy = bool(np.abs(applied[:3, :3] - _COLMAP_TRANSFORM).max() < 1e-6)
    return sparse or legacy or any("colmap_im_id" in row for row in rows)
