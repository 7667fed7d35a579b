"""Record3D: the `.r3d` archive (or its unpacked folder) and the "EXR + JPG" export.

Entries: ``metadata`` (JSON) with ``rgbd/<i>.jpg|depth|conf``, or ``metadata.json`` with ``rgb/<i>.jpg`` and
``depth/<i>.exr``. Depth is float32 metres, LZFSE-compressed (or an EXR channel ``R``, float16 in practice); confidence
uint8 0/1/2. ``K`` is column-major for ``w x h``; poses are camera to world, quaternion x y z w, ARKit camera axes *of
the image as stored*: images are never turned, portrait or landscape.

The number in a file's name is its index into ``poses``, ``frameTimestamps`` and ``perFrameIntrinsicCoeffs``; numbers
may have gaps. Source: the app author's answers in marek-simonik/record3d (#93, #7, #36, #63, #64, #100, #110).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from reconstruction.archive import FileTree
from reconstruction.capture import (
    ByteImage,
    Capture,
    DepthImage,
    FloatArray,
    Frame,
    scaled_intrinsics,
)
from reconstruction.errors import InputError
from reconstruction.importers import exr, fields, images, lzfse, poses
from reconstruction.importers.assemble import refuse_other_shape
from reconstruction.importers.damage import sound_frames

_TRUE_DEPTH = 0
_USUAL_FPS = 60.0


def matches(root: FileTree) -> bool:
    """Whether the files are laid out as Record3D does."""
    return bool(
        root.numbered("rgbd", r"(\d+)\.(?:depth|jpg)")
        or root.numbered("depth", r"(\d+)\.exr")
        or ("metadata" in root and b'"poses"' in root.read("metadata", fields.MAX_TEXT_BYTES))
    )


def read(root: FileTree) -> Capture:
    """Read a Record3D export.

    Raises:
        InputError: metadata missing or broken, sizes that contradict each other, no frames.
    """
    scan = _Scan.of(root)
    frames, missing = sound_frames(scan.indices, scan.frame, root.where())
    still = len(frames) > 1 and all(poses.is_identity(scan.pose(frame.index)) for frame in frames)
    face = scan.meta.get("cameraType") == _TRUE_DEPTH
    if still:
        frames = [frames[0], *(replace(frame, capture_from_camera=None) for frame in frames[1:])]
        missing += ("no camera motion: only the first frame has a place (FaceID recordings carry no poses)",)
    if scan.unused_poses:
        missing += (f"{scan.unused_poses} of {scan.pose_count} recorded moments have no image in the export",)
    return Capture(
        name=root.source.stem,
        format="record3d",
        source=root.source,
        device="iPhone (TrueDepth)" if face else "iPhone (LiDAR)",
        frames=frames,
        metric=not (face or still),
        up=None if still or scan.world_was_reset else poses.Y_UP,
        missing=missing + scan.missing_streams(),
    )


@dataclass(frozen=True)
class _Scan:
    """The export's metadata and file lists; sizes are ``(width, height)`` in pixels."""

    root: FileTree
    meta: dict[str, Any]
    where: str
    rgb: dict[int, str]
    depth: dict[int, str]
    confidence: dict[int, str]
    size: tuple[int, int]
    rgb_size: tuple[int, int]
    depth_size: tuple[int, int]

    @classmethod
    def of(cls, root: FileTree) -> _Scan:
        name = "metadata" if "metadata" in root else "metadata.json"
        if name not in root:
            raise InputError(
                f"{root.where()} is a Record3D scan without its metadata file.",
                remedy="Export it from the app again; the file 'metadata' holds all camera poses.",
                code="missing_metadata",
            )
        meta, where = fields.read_json(root, name), root.where(name)
        exr = bool(root.numbered("depth", r"(\d+)\.exr"))
        rgb = root.numbered("rgb" if exr else "rgbd", r"(\d+)\.jpe?g")
        depth = root.numbered("depth", r"(\d+)\.exr") if exr else root.numbered("rgbd", r"(\d+)\.depth")
        confidence = {} if exr else root.numbered("rgbd", r"(\d+)\.conf")
        size = _declared_size(meta, "w", "h", where, None)
        portrait = size[1] > size[0]
        depth_size = _declared_size(meta, "dw", "dh", where, (192, 256) if portrait else (256, 192))
        _refuse_edited(size, depth_size, where)
        rgb_size = images.common_size(root, rgb.values()) or size
        refuse_other_shape(rgb_size, size, root.where(next(iter(rgb.values()), "")))
        return cls(root, meta, where, rgb, depth, confidence, size, rgb_size, depth_size)

    @property
    def indices(self) -> list[int]:
        return sorted(self.rgb.keys() | self.depth.keys())

    @property
    def pose_count(self) -> int:
        table = self.meta.get("poses")
        return len(table) if isinstance(table, list) else 0

    @property
    def unused_poses(self) -> int:
        return len(set(range(self.pose_count)) - set(self.indices))

    def missing_streams(self) -> tuple[str, ...]:
        absent = []
        if not self.rgb:
            absent.append("no colour images")
        if not self.depth:
            absent.append("no depth images")
        if not self.confidence:
            absent.append("no confidence (this kind of export has none)")
        return tuple(absent)

    def pose(self, index: int) -> FloatArray:
        row = self._row("poses", index, 7)
        return poses.rigid(poses.pose_from_quat(row[:4], row[4:]), f"{self.where}: pose {index}")

    @property
    def world_was_reset(self) -> bool:
        """Whether pose 0 is the identity: old app versions then know nothing of gravity."""
        try:
            return poses.is_identity(self.pose(0))
        except InputError:
            return False

    def intrinsics(self, index: int) -> FloatArray:
        """``(3, 3)`` for the declared colour size; the frame's own where the app wrote them (autofocus)."""
        if isinstance(self.meta.get("perFrameIntrinsicCoeffs"), list):
            fx, fy, cx, cy = self._row("perFrameIntrinsicCoeffs", index, 4)
        else:
            k = fields.floats(self.meta.get("K"), 9, f"{self.where}: K")
            fx, fy, cx, cy = k[0], k[4], k[6], k[7]
        return poses.pinhole(fx, fy, cx, cy, f"{self.where}: frame {index}")

    def time_s(self, index: int) -> float:
        if isinstance(self.meta.get("frameTimestamps"), list):
            table = self.meta["frameTimestamps"]
            return fields.floats(table[index : index + 1], 1, f"{self.where}: frameTimestamps[{index}]")[0]
        fps = fields.hint(self.meta, "fps")
        return index / (fps if fps is not None and fps > 0 else _USUAL_FPS)

    def frame(self, index: int) -> Frame:
        rgb, depth, confidence = self.rgb.get(index), self.depth.get(index), self.confidence.get(index)
        if rgb is not None:
            images.probe(self.root, rgb, self.rgb_size)
        if depth is not None:
            _probe(self.root, depth, self.depth_size, 4)
            if confidence is not None:
                _probe(self.root, confidence, self.depth_size, 1)
        pose = self.pose(index) @ poses.OPENCV_FROM_OPENGL
        shown = self.depth_size if rgb is None else self.rgb_size
        return Frame(
            index=index,
            time_s=self.time_s(index),
            size=shown,
            intrinsics=scaled_intrinsics(self.intrinsics(index), self.size, shown),
            capture_from_camera=pose,
            depth_size=None if depth is None else self.depth_size,
            read_rgb=None if rgb is None else partial(images.read_rgb, self.root, rgb, self.rgb_size),
            read_depth=None if depth is None else partial(_read_depth, self.root, depth, self.depth_size),
            read_confidence=None
            if depth is None or confidence is None
            else partial(_read_confidence, self.root, confidence, self.depth_size),
        )

    def _row(self, key: str, index: int, count: int) -> list[float]:
        table = self.meta.get(key)
        if not isinstance(table, list) or index >= len(table):
            known = len(table) if isinstance(table, list) else 0
            raise InputError(
                f"{self.where}: {key!r} has {known} rows but there is a frame {index}.",
                remedy="The metadata belongs to another recording; export the scan again.",
                code="missing_pose",
            )
        return fields.floats(table[index], count, f"{self.where}: {key}[{index}]")


def _declared_size(
    meta: dict[str, Any], width: str, height: str, where: str, default: tuple[int, int] | None
) -> tuple[int, int]:
    if default is not None and meta.get(width) is None and meta.get(height) is None:
        return default
    return fields.size(meta, width, height, where)


def _refuse_edited(size: tuple[int, int], depth_size: tuple[int, int], where: str) -> None:
    if (size[0] > size[1]) != (depth_size[0] > depth_size[1]) and size[0] != size[1]:
        raise InputError(
            f"{where}: colour is {size[0]}x{size[1]} but depth {depth_size[0]}x{depth_size[1]}: "
            "one is upright, the other lies on its side, so the file was edited.",
            remedy="Use the export as the app wrote it.",
            code="wrong_depth_size",
        )
    refuse_other_shape(depth_size, size, where, "wrong_depth_size")


def _read_depth(root: FileTree, name: str, size: tuple[int, int]) -> DepthImage:
    if name.endswith(".exr"):
        return exr.read_depth(root, name, size)
    width, height = size
    raw = lzfse.inflate(root.read(name), width * height * 4, root.where(name))
    return images.clean_depth(np.frombuffer(raw, "<f4").reshape(height, width))


def _read_confidence(root: FileTree, name: str, size: tuple[int, int]) -> ByteImage:
    width, height = size
    raw = lzfse.inflate(root.read(name), width * height, root.where(name))
    return np.minimum(np.frombuffer(raw, np.uint8).reshape(height, width), 2)


def _probe(root: FileTree, name: str, size: tuple[int, int], item_bytes: int) -> None:
    """Look at the ends of a depth or confidence file of `item_bytes` a pixel.

    Raises:
        InputError: empty, cut off, or of another size.
    """
    where = root.where(name)
    if name.endswith(".exr"):
        found = exr.size_of_complete(root.read(name), where)
        if found != size:
            raise images.wrong_size(where, found, size)
        return
    wanted, there = size[0] * size[1] * item_bytes, root.size(name)
    declared = lzfse.declared_size(root.read(name)) if root.head(name, 3) == b"bvx" else there
    if declared is None or not there:
        raise images.damaged(where, "it is cut off" if there else "it is empty")
    if declared != wanted:
        raise InputError(
            f"{where} holds {declared} bytes where depth of {size[0]}x{size[1]} pixels takes {wanted}.",
            remedy="Depth and metadata belong to different recordings; use the export as the app wrote it.",
            code="wrong_depth_size",
        )
