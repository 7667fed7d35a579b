"""What `transforms.json` files have in common, whoever wrote them (NeRFCapture, instant-ngp, SplaTAM, nerfstudio).

Global or per frame: ``fl_x fl_y cx cy w h``, distortion ``k1 k2 p1 p2 k3 k4``; per frame ``file_path`` (with or
without ending, with or without ``./``), a 4x4 ``transform_matrix``, camera to world with OpenGL camera axes, a depth
path and a ``mask_path`` (0 = ignore). Distorted images are straightened when they are read.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from reconstruction.archive import MAX_DIGITS, FileTree
from reconstruction.capture import ByteImage, DepthImage, FloatArray, Frame
from reconstruction.errors import InputError
from reconstruction.importers import fields, images, poses
from reconstruction.importers.assemble import ImageFiles

NAME = "transforms.json"
DEPTH_KEYS = ("depth_file_path", "depth_path")
_ENDINGS = ("", ".png", ".jpg", ".jpeg", ".JPG", ".PNG")
_DISTORTION = ("k1", "k2", "p1", "p2", "k3", "k4")


def load(root: FileTree) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The file and its list of frames.

    Raises:
        InputError: broken JSON, or ``frames`` is no list of objects.
    """
    meta = fields.read_json(root, NAME)
    rows = meta.get("frames")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InputError(
            f"{root.where(NAME)} has no list of frames.", remedy="Export the scan again.", code="missing_field"
        )
    return meta, rows


def frame_numbers(rows: Sequence[dict[str, Any]]) -> list[int]:
    """A number for each row: the last one in its ``file_path``; the row's position if those are not unique."""
    found = [re.findall(r"[0-9]+", PurePosixPath(str(row.get("file_path", ""))).stem) for row in rows]
    numbers = [int(digits[-1]) for digits in found if digits and len(digits[-1]) <= MAX_DIGITS]
    if len(numbers) == len(rows) and len(set(numbers)) == len(rows):
        return numbers
    return list(range(len(rows)))


def metres_per_unit(root: FileTree, meta: dict[str, Any], keys: Sequence[str], has_depth: bool) -> float:
    """Metres per count of a 16-bit depth PNG, under the first of `keys` that the file has; a millimetre without.

    Raises:
        InputError: the file's scale makes no depth that a phone can measure.
    """
    where = root.where(NAME)
    key = next((key for key in keys if key in meta), keys[0])
    scale = fields.number(meta, key, where, default=1e-3)
    if has_depth and not 1e-6 < scale < 0.02:
        raise InputError(
            f"{where}: {key} = {scale:g} metres a count makes no depth that a phone can measure.",
            remedy="State the scale of the depth images there: 0.001 where they are in millimetres.",
            code="bad_depth_scale",
        )
    return scale


def resolve(root: FileTree, path: object) -> str | None:
    """The file that a path in the JSON means; None where there is none inside the scan."""
    if not isinstance(path, str) or not path:
        return None
    parts = [part for part in path.replace("\\", "/").split("/") if part not in ("", ".")]
    if ".." in parts:
        return None
    name = "/".join(parts)
    return next((name + ending for ending in _ENDINGS if name + ending in root), None)


@dataclass(frozen=True)
class Posed:
    """Builds frames of one `transforms.json`.

    Attributes:
        meta: the whole file.
        rows: its frames by number.
        files: images by number.
        masks: mask files by number; where one is 0, depth is dropped.
        original_from_world: takes the file's world to the scan's own (rotation and translation, then `scale`).
        scale: metres per unit of the file's world.
        fisheye: whether distortion is OpenCV's fisheye model.
    """

    meta: dict[str, Any]
    rows: dict[int, dict[str, Any]]
    files: ImageFiles
    masks: dict[int, str]
    original_from_world: Callable[[FloatArray], FloatArray]
    fisheye: bool = False

    @property
    def where(self) -> str:
        """The JSON's name for messages."""
        return self.files.root.where(NAME)

    def frame(self, index: int) -> Frame:
        """The frame of number `index`.

        Raises:
            InputError: a damaged pose, intrinsics or image.
        """
        row, where = self.rows[index], f"{self.where}: frame {index}"
        if index not in self.files.rgb:
            raise InputError(
                f"{where}: its image {row.get('file_path')!r:.90} is missing.",
                remedy="Keep the images beside transforms.json, as they were exported.",
                code="missing_file",
            )
        size = self._declared_size(row, where)
        frame = self.files.frame(
            index,
            time_s=fields.number(row, "timestamp", where, default=index / 30.0),
            intrinsics=self._intrinsics(row, size, where),
            capture_from_camera=self._pose(row, where),
            intrinsics_size=size,
        )
        return _masked(_straight(frame, self._distortion(row, where), self.fisheye), self.files.root, self.masks)

    def _pose(self, row: dict[str, Any], where: str) -> FloatArray:
        matrix = row.get("transform_matrix")
        if not isinstance(matrix, list) or len(matrix) not in (3, 4):
            raise InputError(f"{where} has no 4x4 transform_matrix.", remedy="Export the scan again.", code="bad_pose")
        world_from_camera = np.array([fields.floats(line, 4, f"{where}: transform_matrix") for line in matrix])
        if len(matrix) == 3:
            world_from_camera = np.vstack([world_from_camera, [0.0, 0.0, 0.0, 1.0]])
        return poses.rigid(self.original_from_world(world_from_camera), where) @ poses.OPENCV_FROM_OPENGL

    def _value(self, row: dict[str, Any], key: str, where: str, default: float | None = None) -> float:
        return fields.number(row if row.get(key) is not None else self.meta, key, where, default)

    def _declared_size(self, row: dict[str, Any], where: str) -> tuple[int, int]:
        width, height = self.files.rgb_size or (0, 0)
        stated = {"w": self._value(row, "w", where, width), "h": self._value(row, "h", where, height)}
        return fields.size(stated, "w", "h", where)

    def _intrinsics(self, row: dict[str, Any], size: tuple[int, int], where: str) -> FloatArray:
        angle = self.meta.get("camera_angle_x")
        guess = size[0] / (2.0 * math.tan(angle / 2.0)) if isinstance(angle, float) and 0.01 < angle < 3.1 else None
        fx = self._value(row, "fl_x", where, guess)
        fy = self._value(row, "fl_y", where, fx)
        cx = self._value(row, "cx", where, size[0] / 2.0)
        cy = self._value(row, "cy", where, size[1] / 2.0)
        return poses.pinhole(fx, fy, cx, cy, where)

    def _distortion(self, row: dict[str, Any], where: str) -> FloatArray:
        """OpenCV's coefficients: ``k1 k2 p1 p2 k3`` and for the rational model ``k4``; fisheye ``k1 k2 k3 k4``."""
        k = {key: self._value(row, key, where, 0.0) for key in _DISTORTION}
        if self.fisheye:
            return np.array([k["k1"], k["k2"], k["k3"], k["k4"]])
        return np.array([k["k1"], k["k2"], k["p1"], k["p2"], k["k3"], k["k4"], 0.0, 0.0])


def _straight(frame: Frame, distortion: FloatArray, fisheye: bool) -> Frame:
    """`frame` with readers that undo lens distortion; the same frame where there is none."""
    if not distortion.any():
        return frame
    read_rgb, read_depth = frame.read_rgb, frame.read_depth
    undo = partial(_undistorted, distortion=distortion, fisheye=fisheye)
    depth_k = frame.depth_intrinsics if frame.depth_size is not None else frame.intrinsics
    return replace(
        frame,
        read_rgb=None if read_rgb is None else lambda: undo(read_rgb(), frame.intrinsics, smooth=True),
        read_depth=None if read_depth is None else lambda: undo(read_depth(), depth_k, smooth=False),
    )


def _undistorted(image: Any, intrinsics: FloatArray, smooth: bool, distortion: FloatArray, fisheye: bool) -> Any:
    """The image of a lens without distortion and with the same intrinsics (OpenCV's camera models)."""
    import cv2

    size = (image.shape[1], image.shape[0])
    maps = cv2.fisheye.initUndistortRectifyMap if fisheye else cv2.initUndistortRectifyMap
    x, y = maps(intrinsics, distortion, np.eye(3), intrinsics, size, cv2.CV_32FC1)
    return cv2.remap(image, x, y, cv2.INTER_LINEAR if smooth else cv2.INTER_NEAREST)


def _masked(frame: Frame, root: FileTree, masks: dict[int, str]) -> Frame:
    """`frame` whose depth is 0 where its mask says to ignore it."""
    mask, read_depth = masks.get(frame.index), frame.read_depth
    if mask is None or read_depth is None:
        return frame
    return replace(frame, read_depth=lambda: _apply_mask(read_depth(), images.read_mask(root, mask)))


def _apply_mask(depth: DepthImage, mask: ByteImage) -> DepthImage:
    import cv2

    scaled = cv2.resize(mask, (depth.shape[1], depth.shape[0]), interpolation=cv2.INTER_NEAREST)
    return np.where(scaled > 0, depth, np.float32(0.0))
