"""Polycam "raw data" (developer mode): ``keyframes/{images,cameras,depth,confidence,corrected_*}/<t>.*``.

``<t>`` is the time in microseconds. Camera JSON: ``fx fy cx cy width height blur_score`` and ``t_00 … t_23``, row and
column of a 3x4 camera-to-world matrix with ARKit camera axes, world +Y up. Depth is PNG uint16 mm, confidence uint8
0 / 127 / 255. Where Polycam has optimised the poses, ``corrected_images`` and ``corrected_cameras`` are used and
nothing is mixed in from the others; undistortion leaves those images a black border, which is cut off.
Source: PolyCam/polyform (README, ``core/capture_folder.py``), nerfstudio ``process_data/polycam_utils.py``.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np

from reconstruction.archive import FileTree
from reconstruction.capture import ByteImage, Capture, FloatArray, Frame
from reconstruction.errors import InputError
from reconstruction.importers import fields, images, poses
from reconstruction.importers.assemble import ImageFiles
from reconstruction.importers.damage import sound_frames

_BORDER_PX = 15
_HALF_SHARP_SCORE = 25.0
_REMEDY = (
    "In Polycam switch on developer mode before scanning, scan in LiDAR or Room mode, then export 'raw data'; "
    "a mesh alone carries no camera poses."
)


def matches(root: FileTree) -> bool:
    """Whether the files are laid out as Polycam does."""
    return any(_cameras(root, base) for base in ("keyframes/", "")) or ("mesh_info.json" in root and "raw.glb" in root)


def _cameras(root: FileTree, base: str) -> dict[int, str]:
    return root.numbered(f"{base}corrected_cameras", r"(\d+)\.json") or root.numbered(f"{base}cameras", r"(\d+)\.json")


def read(root: FileTree) -> Capture:
    """Read a raw data export.

    Raises:
        InputError: no key frames, damaged metadata.
    """
    base = "keyframes/" if _cameras(root, "keyframes/") else ""
    cameras = _cameras(root, base)
    if not cameras:
        raise InputError(f"{root.where()} is a Polycam export without key frames.", remedy=_REMEDY, code="no_keyframes")
    corrected = bool(root.numbered(f"{base}corrected_cameras", r"(\d+)\.json"))
    rgb = root.numbered(f"{base}{'corrected_images' if corrected else 'images'}", r"(\d+)\.jpe?g")
    files = ImageFiles(
        root,
        rgb={index: name for index, name in rgb.items() if index in cameras},
        depth=_with_camera(root.numbered(f"{base}depth", r"(\d+)\.png"), cameras),
        confidence=root.numbered(f"{base}confidence", r"(\d+)\.png"),
        read_confidence=_read_confidence,
    )
    border = _border(files) if corrected else (0, 0)
    frames, missing = sound_frames(
        files.indices, lambda index: _cropped(_frame(files, cameras[index], index), *border), root.where()
    )
    return Capture(
        name=root.source.stem,
        format="polycam",
        source=root.source,
        device="iPhone (LiDAR)",
        frames=frames,
        up=poses.arkit_up(frames),
        missing=missing + files.missing,
    )


def _with_camera(files: dict[int, str], cameras: dict[int, str]) -> dict[int, str]:
    return {index: name for index, name in files.items() if index in cameras}


def _frame(files: ImageFiles, camera: str, index: int) -> Frame:
    meta, where = fields.read_json(files.root, camera), files.root.where(camera)
    fx, fy, cx, cy = (fields.number(meta, key, where) for key in ("fx", "fy", "cx", "cy"))
    pose = [[fields.number(meta, f"t_{row}{column}", where) for column in range(4)] for row in range(3)]
    return files.frame(
        index,
        time_s=index * 1e-6,
        intrinsics=poses.pinhole(fx, fy, cx, cy, where),
        capture_from_camera=poses.rigid(pose, where) @ poses.OPENCV_FROM_OPENGL,
        intrinsics_size=fields.size(meta, "width", "height", where),
        blur=_blur(meta),
    )


def _blur(meta: dict[str, Any]) -> float | None:
    """Polycam's score grows with sharpness, without an upper end; nerfstudio leaves out images below 25."""
    score = fields.hint(meta, "blur_score")
    return None if score is None else 1.0 / (1.0 + max(score, 0.0) / _HALF_SHARP_SCORE)


def _read_confidence(root: FileTree, name: str, size: tuple[int, int]) -> ByteImage:
    """0 / 127 / 255 to 0 / 1 / 2."""
    return ((images.read_grey(root, name, size).astype(np.uint16) + 64) // 127).astype(np.uint8)


def _border(files: ImageFiles) -> tuple[int, int]:
    """Pixels to cut from each side of colour and of depth: at least the black border, and whole pixels of both."""
    if files.rgb_size is None:
        return 0, 0
    if files.depth_size is None:
        return _BORDER_PX, 0
    ratio = Fraction(files.rgb_size[0], files.depth_size[0])
    same = ratio == Fraction(files.rgb_size[1], files.depth_size[1])
    depth_px = next((n for n in range(1, 65) if n * ratio >= _BORDER_PX and (n * ratio).denominator == 1), None)
    return (int(depth_px * ratio), depth_px) if same and depth_px else (0, 0)


def _cropped(frame: Frame, colour_px: int, depth_px: int) -> Frame:
    """`frame` without a border; intrinsics move with it."""
    if not colour_px or frame.read_rgb is None:
        return frame
    intrinsics: FloatArray = frame.intrinsics.copy()
    intrinsics[:2, 2] -= colour_px
    read_rgb, read_depth, read_confidence = frame.read_rgb, frame.read_depth, frame.read_confidence
    return replace(
        frame,
        size=_smaller(frame.size, colour_px),
        intrinsics=intrinsics,
        depth_size=None if frame.depth_size is None else _smaller(frame.depth_size, depth_px),
        read_rgb=lambda: _inside(read_rgb(), colour_px),
        read_depth=None if read_depth is None else lambda: _inside(read_depth(), depth_px),
        read_confidence=None if read_confidence is None else lambda: _inside(read_confidence(), depth_px),
    )


def _smaller(size: tuple[int, int], border: int) -> tuple[int, int]:
    return size[0] - 2 * border, size[1] - 2 * border


def _inside(image: Any, border: int) -> Any:
    return np.ascontiguousarray(image[border : image.shape[0] - border, border : image.shape[1] - border])
