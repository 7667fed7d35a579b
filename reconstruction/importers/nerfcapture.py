"""NeRFCapture: the app's own zip, and what instant-ngp's and SplaTAM's receiving scripts write.

A `transforms.json` in an ARKit world (metres, +Y up). Depth counts only as 16-bit PNG: metres = value x
``integer_depth_scale``. The app's own zip draws depth into an 8-bit PNG that saturates near one metre; that is no
measurement and is left out. Source: jc211/NeRFCapture ``DatasetWriter.swift``, instant-ngp ``nerfcapture2nerf.py``.
"""

from __future__ import annotations

from reconstruction.archive import FileTree
from reconstruction.capture import Capture
from reconstruction.importers import fields, images, poses
from reconstruction.importers.assemble import ImageFiles
from reconstruction.importers.damage import sound_frames
from reconstruction.importers.transforms_json import (
    DEPTH_KEYS,
    NAME,
    Posed,
    frame_numbers,
    load,
    metres_per_unit,
    resolve,
)

_SCALE_KEYS = ("integer_depth_scale", "depth_integer_scale")


def matches(root: FileTree) -> bool:
    """Whether there is a `transforms.json` with one of NeRFCapture's keys."""
    return NAME in root and any(f'"{key}"'.encode() in root.read(NAME, fields.MAX_TEXT_BYTES) for key in _SCALE_KEYS)


def read(root: FileTree) -> Capture:
    """Read a NeRFCapture folder.

    Raises:
        InputError: damaged metadata or images, no frames.
    """
    meta, rows = load(root)
    table = dict(sorted(zip(frame_numbers(rows), rows, strict=True), key=lambda pair: pair[0]))
    rgb = {index: name for index, row in table.items() if (name := resolve(root, row.get("file_path")))}
    depth = {index: name for index, row in table.items() for key in DEPTH_KEYS if (name := resolve(root, row.get(key)))}
    grey = bool(depth) and images.bits_per_pixel(root, next(iter(depth.values()))) < 16
    scale = metres_per_unit(root, meta, _SCALE_KEYS, bool(depth) and not grey)
    files = ImageFiles(root, rgb, {} if grey else depth, metres_per_unit=scale)
    scan = Posed(meta, table, files, masks={}, original_from_world=lambda world_from_camera: world_from_camera)
    frames, missing = sound_frames(table, scan.frame, root.where())
    if grey:
        missing += ("depth left out: the app's zip holds 8-bit pictures of it, not metres; stream to a computer",)
    return Capture(
        name=root.source.stem,
        format="nerfcapture",
        source=root.source,
        device="iPhone (LiDAR)" if files.depth else "iPhone",
        frames=frames,
        up=poses.arkit_up(frames),
        missing=missing + files.missing,
    )
