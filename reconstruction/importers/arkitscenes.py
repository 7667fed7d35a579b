"""ARKitScenes, raw and 3dod: ``lowres_wide``, ``lowres_depth``, ``confidence``, ``*_intrinsics``, ``lowres_wide.traj``.

Files are named ``<video id>_<seconds, 3 decimals>``. The trajectory has ``t rx ry rz tx ty tz``, axis-angle and
metres, *world to camera*, our camera axes; world z up. ``.pincam``: ``width height fx fy cx cy``. Poses between two
rows are interpolated. Source: apple/ARKitScenes ``DATA.md``, ``tenFpsDataLoader.py``.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence

import numpy as np

from reconstruction.archive import FileTree
from reconstruction.capture import Capture, FloatArray, Frame
from reconstruction.errors import InputError
from reconstruction.importers import fields, poses
from reconstruction.importers.assemble import ImageFiles
from reconstruction.importers.damage import sound_frames

_MAX_GAP_S = 0.1
_EDGE_S = 0.005
_PINCAM_MS = 5
_COLOUR_STREAMS = ("wide", "vga_wide", "lowres_wide")
_TRAJECTORY = "lowres_wide.traj"


def matches(root: FileTree) -> bool:
    """Whether the files are laid out as ARKitScenes does."""
    return bool(root.files_in("lowres_depth")) and (_TRAJECTORY in root or bool(root.files_in("lowres_wide")))


def read(root: FileTree) -> Capture:
    """Read one ARKitScenes scan.

    Raises:
        InputError: trajectory or intrinsics missing or damaged, no frames.
    """
    if _TRAJECTORY not in root:
        raise InputError(
            f"{root.where()} is an ARKitScenes scan without {_TRAJECTORY}.",
            remedy="Download that asset of the scan, too; it holds all camera poses.",
            code="missing_metadata",
        )
    times, rotvecs, shifts = _trajectory(root)
    depth = _timed(root, "lowres_depth", "png")
    stream, rgb = _colour(root, depth)
    pincams = _timed(root, f"{stream}_intrinsics", "pincam") or _timed(root, "lowres_wide_intrinsics", "pincam")
    files = ImageFiles(root, rgb, depth, _timed(root, "confidence", "png"))
    pincam_times = sorted(pincams)

    def build(index: int) -> Frame | None:
        camera_from_world = _interpolated(times, rotvecs, shifts, index / 1000.0)
        if camera_from_world is None:
            return None
        size, intrinsics = _intrinsics(root, pincams, pincam_times, index)
        return files.frame(index, index / 1000.0, intrinsics, poses.inverse(camera_from_world), size)

    frames, missing = sound_frames(files.indices, build, root.where())
    gaps = len(files.indices) - len(frames)
    if gaps:
        missing += (f"{gaps} of {len(files.indices)} moments have no pose near in time or are damaged",)
    return Capture(
        name=root.source.stem,
        format="arkitscenes",
        source=root.source,
        device="iPad (LiDAR)",
        frames=frames,
        up=poses.Z_UP,
        missing=missing + files.missing,
    )


def _timed(root: FileTree, folder: str, ending: str) -> dict[int, str]:
    """Files by their time in whole milliseconds."""
    found = {}
    for base in root.files_in(folder):
        match = re.fullmatch(rf"(?:.*_)?(\d{{1,12}})\.(\d{{1,3}})\.{ending}", base)
        if match:
            found[int(match.group(1)) * 1000 + int(match.group(2).ljust(3, "0"))] = f"{folder}/{base}"
    return dict(sorted(found.items()))


def _colour(root: FileTree, depth: dict[int, str]) -> tuple[str, dict[int, str]]:
    """The largest colour stream that has an image at half or more of the depth times, and its images there."""
    for stream in _COLOUR_STREAMS:
        rgb = {time: name for time, name in _timed(root, stream, "png").items() if time in depth}
        if rgb and 2 * len(rgb) >= len(depth):
            return stream, rgb
    return "lowres_wide", {}


def _trajectory(root: FileTree) -> tuple[list[float], FloatArray, FloatArray]:
    """Times in seconds, axis-angle ``(N, 3)`` radians and translation ``(N, 3)`` metres of world to camera."""
    where = root.where(_TRAJECTORY)
    table = fields.number_table(fields.read_text(root, _TRAJECTORY), where)
    if table.ndim != 2 or table.shape[1] != 7:
        raise InputError(f"{where} has no lines of 7 numbers.", remedy="Download the scan again.", code="bad_field")
    table = table[np.argsort(table[:, 0], kind="stable")]
    return table[:, 0].tolist(), table[:, 1:4], table[:, 4:7]


def _interpolated(times: Sequence[float], rotvecs: FloatArray, shifts: FloatArray, time: float) -> FloatArray | None:
    """Camera-from-world ``(4, 4)`` at `time`, None where no rows are near; between rows the centre moves straight."""
    from scipy.spatial.transform import Rotation

    at = bisect_left(times, time)
    before, after = max(at - 1, 0), min(at, len(times) - 1)
    nearest = min((before, after), key=lambda i: abs(times[i] - time))
    inside = times[before] <= time <= times[after] and times[after] - times[before] <= _MAX_GAP_S
    if not inside and abs(times[nearest] - time) > _EDGE_S:
        return None
    if not inside:
        before = after = nearest
    if not np.isfinite([rotvecs[[before, after]], shifts[[before, after]]]).all():
        raise InputError(
            f"{_TRAJECTORY}: the pose at {times[nearest]:.3f} s is not finite.",
            remedy="Download the trajectory again.",
            code="bad_pose",
        )
    span = times[after] - times[before]
    weight = (time - times[before]) / span if span > 0 else 0.0
    rotations = Rotation.from_rotvec(rotvecs[[before, after]])
    centres = -rotations.inv().apply(shifts[[before, after]])
    turn = (rotations[1] * rotations[0].inv()).as_rotvec() * weight
    camera_from_world = np.eye(4)
    camera_from_world[:3, :3] = (Rotation.from_rotvec(turn) * rotations[0]).as_matrix()
    camera_from_world[:3, 3] = -camera_from_world[:3, :3] @ (centres[0] + weight * (centres[1] - centres[0]))
    return poses.rigid(camera_from_world, f"pose at {time:.3f} s")


def _intrinsics(
    root: FileTree, pincams: dict[int, str], pincam_times: Sequence[int], time: int
) -> tuple[tuple[int, int], FloatArray]:
    """Size and intrinsics of the ``.pincam`` nearest in time (milliseconds).

    Raises:
        InputError: none within 5 ms, or it is damaged.
    """
    at = bisect_left(pincam_times, time)
    near = [pincam_times[i] for i in (at - 1, at) if 0 <= i < len(pincam_times)]
    best = min(near, key=lambda other: abs(other - time), default=None)
    if best is None or abs(best - time) > _PINCAM_MS:
        raise InputError(
            f"{root.where()}: no .pincam intrinsics for the image at {time / 1000:.3f} s.",
            remedy="Download the intrinsics of the scan, too.",
            code="missing_metadata",
        )
    where = root.where(pincams[best])
    table = fields.number_table(fields.read_text(root, pincams[best]), where)
    if table.shape != (1, 6) or not np.isfinite(table).all() or table[0, :2].min() < 1:
        raise InputError(f"{where} is not 'width height fx fy cx cy'.", remedy="Copy it again.", code="bad_intrinsics")
    width, height, fx, fy, cx, cy = table[0].tolist()
    return (int(width), int(height)), poses.pinhole(fx, fy, cx, cy, where)
