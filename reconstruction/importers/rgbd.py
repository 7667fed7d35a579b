"""Plain RGB-D folders: 7-Scenes style, ScanNet style and TUM style.

7-Scenes: ``frame-000000.{color.png|jpg, depth.png, pose.txt}``. ScanNet: the same in folders ``color|rgb/<n>.*``,
``depth/<n>.png``, ``pose|poses/<n>.txt``. Depth uint16 mm, 0 and 65535 none; pose 4x4, camera to world, our camera
axes. ``camera-intrinsics.txt`` (3x3 for the colour image), else 7-Scenes' stated 585/585/320/240.
TUM: ``rgb.txt``, ``depth.txt``, ``groundtruth.txt`` (``t tx ty tz qx qy qz qw``), depth / 5000, matched by time within
20 ms; intrinsics as above or ROS' defaults 525/525/319.5/239.5.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import numpy as np

from reconstruction.archive import FileTree
from reconstruction.capture import Capture, FloatArray, Frame
from reconstruction.errors import InputError
from reconstruction.importers import fields, poses
from reconstruction.importers.assemble import ImageFiles
from reconstruction.importers.damage import sound_frames

_NOMINAL_FPS = 30.0
_MAX_TIME_GAP_S = 0.02
_TUM_DEPTH_UNIT_M = 1.0 / 5000.0
_INTRINSICS_FILES = (
    "camera-intrinsics.txt",
    "camera_intrinsics.txt",
    "intrinsics.txt",
    "calibration.txt",
    "intrinsic/intrinsic_color.txt",
)
_DEFAULT_7SCENES = (585.0, 585.0, 320.0, 240.0)
_DEFAULT_TUM = (525.0, 525.0, 319.5, 239.5)

_Found = tuple[list[Frame], tuple[str, ...]]


def matches(root: FileTree) -> bool:
    """Whether the files are laid out like one of these data sets."""
    return _is_tum(root) or bool(_files(root, "depth"))


def read(root: FileTree) -> Capture:
    """Read a plain RGB-D folder.

    Raises:
        InputError: poses or intrinsics missing, damaged tables, no frames.
    """
    frames, missing = _read_tum(root) if _is_tum(root) else _read_7scenes(root)
    return Capture(
        name=root.source.stem,
        format="rgbd",
        source=root.source,
        device="RGB-D camera",
        frames=frames,
        missing=(*missing, "direction of gravity unknown"),
    )


def _is_tum(root: FileTree) -> bool:
    return "depth.txt" in root and ("groundtruth.txt" in root or "rgb.txt" in root)


def _files(root: FileTree, kind: str) -> dict[int, str]:
    """Colour, depth or pose files by number, whichever layout has them."""
    ending = {"color": r"\.(?:png|jpe?g)", "depth": r"\.png", "pose": r"\.txt"}[kind]
    flat = root.numbered("", rf"frame-(\d+)\.{kind}{ending}")
    if flat:
        return flat
    if kind == "depth" and not any(root.files_in(folder) for folder in ("pose", "poses")):
        return {}
    folders = {"color": ("color", "rgb"), "depth": ("depth",), "pose": ("pose", "poses")}[kind]
    return next((found for folder in folders if (found := root.numbered(folder, rf"\D*(\d+){ending}"))), {})


def _read_7scenes(root: FileTree) -> _Found:
    pose_files, depth = _files(root, "pose"), _files(root, "depth")
    if not pose_files:
        raise InputError(
            f"{root.where()} has depth images but no pose files such as frame-000000.pose.txt.",
            remedy="Add the camera poses (4x4, camera to world, one file a frame).",
            code="missing_metadata",
        )
    rgb = {index: name for index, name in _files(root, "color").items() if index in depth}
    files = ImageFiles(root, rgb, depth)
    intrinsics, note = _intrinsics(files, _DEFAULT_7SCENES)

    def build(index: int) -> Frame:
        if index not in pose_files:
            raise InputError(f"{root.where(depth[index])} has no pose file.", remedy="Add it.", code="missing_pose")
        where = root.where(pose_files[index])
        pose = poses.rigid(fields.number_table(fields.read_text(root, pose_files[index]), where), where)
        return files.frame(index, index / _NOMINAL_FPS, intrinsics, pose)

    frames, missing = sound_frames(files.indices, build, root.where())
    return frames, missing + note + files.missing


def _read_tum(root: FileTree) -> _Found:
    if "groundtruth.txt" not in root:
        raise InputError(
            f"{root.where()} has depth.txt but no groundtruth.txt.",
            remedy="Add the camera poses, lines of 't tx ty tz qx qy qz qw'.",
            code="missing_metadata",
        )
    where = root.where("groundtruth.txt")
    track = fields.number_table(fields.read_text(root, "groundtruth.txt"), where)
    if track.ndim != 2 or track.shape[1] != 8:
        raise InputError(
            f"{where} has no lines of 8 numbers.", remedy="Write 't tx ty tz qx qy qz qw' a line.", code="bad_field"
        )
    track = track[np.argsort(track[:, 0], kind="stable")]
    rgb, depth = _time_list(root, "rgb.txt"), _time_list(root, "depth.txt")
    rgb_times = [time for time, _ in rgb]
    partners = {index: _nearest(rgb_times, time) for index, (time, _) in enumerate(depth)}
    files = ImageFiles(
        root,
        rgb={index: rgb[partner][1] for index, partner in partners.items() if partner is not None},
        depth={index: name for index, (_, name) in enumerate(depth)},
        metres_per_unit=_TUM_DEPTH_UNIT_M,
    )
    intrinsics, note = _intrinsics(files, _DEFAULT_TUM)
    times: list[float] = track[:, 0].tolist()

    def build(index: int) -> Frame | None:
        nearest = _nearest(times, depth[index][0])
        if nearest is None:
            return None
        pose = poses.rigid(poses.pose_from_quat(track[nearest, 4:], track[nearest, 1:4]), f"{where}: row {nearest}")
        return files.frame(index, depth[index][0], intrinsics, pose)

    frames, missing = sound_frames(files.indices, build, root.where())
    gaps = sum(_nearest(times, time) is None for time, _ in depth)
    if gaps:
        missing += (f"{gaps} of {len(depth)} depth images have no pose within 20 ms",)
    return frames, missing + note + files.missing


def _time_list(root: FileTree, name: str) -> list[tuple[float, str]]:
    """``(seconds, file)`` lines of ``rgb.txt`` or ``depth.txt``, ascending, files that exist only.

    Raises:
        InputError: a line is not of that form.
    """
    if name not in root:
        return []
    lines = (line.split() for line in fields.read_text(root, name).splitlines() if not line.startswith("#"))
    try:
        pairs = sorted((float(words[0]), words[1]) for words in lines if words)
    except (ValueError, IndexError) as error:
        raise InputError(
            f"{root.where(name)} has a line that is not 'seconds file'.", remedy="Correct the list.", code="bad_field"
        ) from error
    return [(time, file) for time, file in pairs if file in root]


def _nearest(times: Sequence[float], time: float) -> int | None:
    """Position of the nearest time within 20 ms."""
    at = bisect_left(times, time)
    near = [i for i in (at - 1, at) if 0 <= i < len(times) and abs(times[i] - time) <= _MAX_TIME_GAP_S]
    return min(near, key=lambda i: abs(times[i] - time)) if near else None


def _intrinsics(files: ImageFiles, default: tuple[float, float, float, float]) -> tuple[FloatArray, tuple[str, ...]]:
    """Intrinsics ``(3, 3)`` for the colour (else depth) size, and what to say where they are a data set's default."""
    root = files.root
    for name in _INTRINSICS_FILES:
        if name in root:
            where = root.where(name)
            table = fields.number_table(fields.read_text(root, name), where)
            if table.shape == (1, 4):
                fx, fy, cx, cy = table[0]
                return poses.pinhole(fx, fy, cx, cy, where), ()
            if table.shape in ((3, 3), (4, 4)):
                return poses.pinhole(table[0, 0], table[1, 1], table[0, 2], table[1, 2], where), ()
            raise InputError(f"{where} is no 3x3 matrix.", remedy="Write K as 3 rows of 3.", code="bad_intrinsics")
    if files.depth and (files.rgb_size or files.depth_size) != (640, 480):
        raise InputError(
            f"{root.where()} has no camera-intrinsics.txt.",
            remedy="Write the colour camera's 3x3 matrix into camera-intrinsics.txt.",
            code="missing_metadata",
        )
    note = f"no camera-intrinsics.txt: the data set's usual fx={default[0]:g} cx={default[2]:g} cy={default[3]:g} taken"
    return poses.pinhole(*default, where=root.where()), (note,)
