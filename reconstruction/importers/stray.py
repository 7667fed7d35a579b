"""Stray Scanner: ``rgb.mp4``, ``depth/``, ``confidence/``, ``odometry.csv``, ``camera_matrix.csv``.

Depth is PNG uint16 millimetres (``.npy`` in very old exports), confidence 0/1/2. ``odometry.csv`` is read by its
header: newer apps add per-row intrinsics, some fields empty. Poses are camera to world and, unlike those of the other
apps, already have our camera axes (the app turns them; strayrobots/scanner ``OdometryEncoder.swift``).

The video lacks the first row's frame since commit 9e470db (2022): with one frame less than rows, video frame k belongs
to row k + 1, unless the edges of depth say otherwise. Times come from the table, never from k / fps.
"""

from __future__ import annotations

import io
import tokenize
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from reconstruction.archive import MAX_DIGITS, FileTree
from reconstruction.capture import Capture, DepthImage, FloatArray, Frame
from reconstruction.errors import InputError
from reconstruction.importers import fields, images, poses
from reconstruction.importers.assemble import ImageFiles
from reconstruction.importers.damage import sound_frames
from reconstruction.importers.video import VideoFrames
from reconstruction.importers.video_offset import first_frame_was_lost

_COLOUR_SIZES = ((1920, 1440), (1280, 960), (960, 720), (640, 480))
_NPY_ERRORS = (
    ValueError, EOFError, OSError, MemoryError, OverflowError, AttributeError, TypeError, SyntaxError,
    tokenize.TokenError, RecursionError,
)  # fmt: skip
"""What NumPy raises at a file that is none of its own: the header is Python source, parsed by Python's tokenizer."""
_INTRINSICS = ("fx", "fy", "cx", "cy")


def matches(root: FileTree) -> bool:
    """Whether the files are laid out as Stray Scanner does."""
    return "odometry.csv" in root or ("camera_matrix.csv" in root and bool(root.files_in("depth")))


def read(root: FileTree) -> Capture:
    """Read a Stray Scanner folder.

    Raises:
        InputError: a table is missing or damaged, the video does not fit the table, no frames.
    """
    if "odometry.csv" not in root:
        raise InputError(
            f"{root.where()} is a Stray Scanner scan without odometry.csv.",
            remedy="Copy the whole folder from the phone again; odometry.csv holds all camera poses.",
            code="missing_metadata",
        )
    scan = _Scan.of(root)
    frames, missing = sound_frames(sorted(scan.rows), scan.frame, root.where())
    return Capture(
        name=root.source.stem,
        format="stray",
        source=root.source,
        device="iPhone (LiDAR)",
        frames=frames,
        up=poses.arkit_up(frames),
        missing=missing + scan.missing,
    )


@dataclass(frozen=True)
class _Scan:
    """Tables and files; `first_row` is the odometry row that the video's first frame belongs to."""

    files: ImageFiles
    rows: dict[int, dict[str, str]]
    order: dict[int, int]
    matrix: FloatArray | None
    video: VideoFrames | None
    first_row: int

    @classmethod
    def of(cls, root: FileTree) -> _Scan:
        table, where = fields.read_csv(root, "odometry.csv"), root.where("odometry.csv")
        numbers = [_frame_number(row, where) for row in table]
        video = VideoFrames(root, "rgb.mp4") if "rgb.mp4" in root else None
        matrix = _camera_matrix(root)
        files_class = _NpyFiles if root.numbered("depth", r"(\d+)\.npy") else ImageFiles
        files = files_class(
            root,
            rgb={},
            depth=root.numbered("depth", r"(\d+)\.(?:png|npy)"),
            confidence=root.numbered("confidence", r"(\d+)\.png"),
            reference=_written_for(matrix, table, where, video),
        )
        return cls(
            files=files,
            rows=dict(zip(numbers, table, strict=True)),
            order={number: row for row, number in enumerate(numbers)},
            matrix=matrix,
            video=video,
            first_row=0 if video is None else _first_row(files, numbers, video),
        )

    @property
    def missing(self) -> tuple[str, ...]:
        absent = [note for note in self.files.missing if note != "no colour images"]
        if self.video is None:
            absent.append("no colour: rgb.mp4 is missing")
        elif self.first_row == 0 and len(self.video) < len(self.rows):
            absent.append("rgb.mp4 lacks its last frame, not its first: edges of depth and colour fit only so")
        gaps = len(self.rows.keys() - self.files.depth.keys())
        if self.files.depth and gaps:
            absent.append(f"{gaps} of {len(self.rows)} recorded moments have no depth image")
        return tuple(absent)

    def frame(self, index: int) -> Frame | None:
        video_frame = self.order[index] - self.first_row
        video = self.video if self.video is not None and 0 <= video_frame < len(self.video) else None
        if index not in self.files.depth and video is None:
            return None
        row, where = self.rows[index], f"{self.files.root.where('odometry.csv')}: frame {index}"
        quat = [fields.column(row, key, where) for key in ("qx", "qy", "qz", "qw")]
        translation = [fields.column(row, key, where) for key in ("x", "y", "z")]
        return self.files.frame(
            index,
            time_s=_finite(fields.column(row, "timestamp", where), where),
            intrinsics=self._intrinsics(row, where),
            capture_from_camera=poses.rigid(poses.pose_from_quat(quat, translation), where),
            video=None if video is None else (video.size, partial(video.read, video_frame)),
        )

    def _intrinsics(self, row: dict[str, str], where: str) -> FloatArray:
        """``(3, 3)`` for the colour size: the row's own (autofocus drifts), else the file's for the last frame."""
        fx, fy, cx, cy = (fields.column(row, key, where) if key in row else float("nan") for key in _INTRINSICS)
        if np.isfinite([fx, fy, cx, cy]).all():
            return poses.pinhole(fx, fy, cx, cy, where)
        if self.matrix is None:
            raise InputError(
                f"{where} has no intrinsics and camera_matrix.csv is missing.",
                remedy="Copy the whole folder from the phone again.",
                code="missing_metadata",
            )
        return self.matrix


def _finite(value: float, where: str) -> float:
    if not np.isfinite(value):
        raise InputError(f"{where} has an empty or infinite number.", remedy="Export the scan again.", code="bad_field")
    return value


def _frame_number(row: dict[str, str], where: str) -> int:
    number = _finite(fields.column(row, "frame", where), f"{where}: column 'frame'")
    if not 0 <= number < 10**MAX_DIGITS:
        raise InputError(f"{where}: there is no frame {number:g}.", remedy="Export the scan again.", code="bad_field")
    return int(number)


def _camera_matrix(root: FileTree) -> FloatArray | None:
    """``camera_matrix.csv``, for the colour size; None where it is missing."""
    if "camera_matrix.csv" not in root:
        return None
    where = root.where("camera_matrix.csv")
    k = fields.number_table(fields.read_text(root, "camera_matrix.csv"), where)
    if k.shape != (3, 3):
        raise InputError(f"{where} is no 3x3 matrix.", remedy="Export the scan again.", code="bad_intrinsics")
    return poses.pinhole(k[0, 0], k[1, 1], k[0, 2], k[1, 2], where)


def _written_for(
    matrix: FloatArray | None, table: list[dict[str, str]], where: str, video: VideoFrames | None
) -> tuple[int, int]:
    """The colour size that the intrinsics are for: the video's unless the principal point is far from its middle.

    That happens when somebody made the video smaller, or when there is none; then it is the size, of those that
    iPhones record, whose middle is nearest.
    """
    own = [fields.column(row, "cx", where) for row in table if row.get("cx")]
    cx = float(np.median(own)) if own else (960.0 if matrix is None else float(matrix[0, 2]))
    if video is not None and abs(2 * cx / video.size[0] - 1.0) < 0.2:
        return video.size
    return min(_COLOUR_SIZES, key=lambda size: abs(2 * cx - size[0]))


def _first_row(files: ImageFiles, numbers: list[int], video: VideoFrames) -> int:
    """The odometry row of the video's first frame: 1 where the video is one frame short, unless depth contradicts."""
    short = len(numbers) - len(video)
    if short == 0:
        return 0
    if short == 1:
        rows = [row for row, number in enumerate(numbers) if number in files.depth]
        return int(
            first_frame_was_lost(
                rows, lambda row: files.depth_m(numbers[row]), video.read, len(video), video.key_frames
            )
        )
    raise InputError(
        f"{files.root.where('rgb.mp4')} has {len(video)} frames but odometry.csv {len(numbers)} rows, "
        "so no frame has a certain pose.",
        remedy="Use the folder as the app wrote it, or take rgb.mp4 out to import the geometry alone.",
        code="video_mismatch",
    )


class _NpyFiles(ImageFiles):
    """Depth of very old exports: NumPy files in millimetres, read without unpickling."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "rgb_size", None)
        height, width = _load_npy(self.root, next(iter(self.depth.values()))).shape
        object.__setattr__(self, "depth_size", (width, height))

    def _depth_reader(self, name: str) -> Callable[[], DepthImage]:
        return partial(_load_npy, self.root, name, self.depth_size)

    def _probe(self, name: str | None, size: tuple[int, int] | None) -> tuple[int, int] | None:
        return size if name is not None and name.endswith(".npy") else super()._probe(name, size)


def _load_npy(root: FileTree, name: str, size: tuple[int, int] | None = None) -> DepthImage:
    try:
        # `np.load` would also take archives and pickles for what they are.
        with np.errstate(invalid="ignore"):
            array = np.lib.format.read_array(io.BytesIO(root.read(name)), allow_pickle=False)
    except _NPY_ERRORS as error:
        raise images.damaged(root.where(name), "it is no NumPy array") from error
    if array.ndim != 2 or array.dtype.kind not in "uif":
        raise images.damaged(root.where(name), f"it holds {array.dtype} of shape {array.shape}")
    found = (array.shape[1], array.shape[0])
    if size is not None and found != size:
        raise images.wrong_size(root.where(name), found, size)
    return images.clean_depth(array.astype(np.float32) * np.float32(1e-3))
