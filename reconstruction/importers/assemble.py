"""Frames from an app's files: the checks and readers that all image-per-frame formats share.

An importer says which files belong to a frame; `ImageFiles` knows the sizes, looks at each file's first and last
bytes, and makes the `Frame` with its lazy readers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from reconstruction.archive import FileTree
from reconstruction.capture import ByteImage, DepthImage, FloatArray, Frame, scaled_intrinsics
from reconstruction.errors import InputError
from reconstruction.importers import images

MAX_ASPECT_ERROR = 0.02


def refuse_other_shape(size: tuple[int, int], reference: tuple[int, int], where: str, code: str = "wrong_size") -> None:
    """Raise unless two sizes ``(width, height)`` have the same aspect ratio to 2 %.

    Raises:
        InputError: cropped, turned or replaced images.
    """
    if abs(size[0] * reference[1] / (size[1] * reference[0]) - 1.0) > MAX_ASPECT_ERROR:
        raise InputError(
            f"{where}: {size[0]}x{size[1]} pixels do not have the shape of {reference[0]}x{reference[1]}.",
            remedy="Images were cropped, turned or replaced; use the export as the app wrote it.",
            code=code,
        )


@dataclass(frozen=True)
class ImageFiles:
    """Image files of a scan by frame number, with the sizes they share.

    Attributes:
        root: where the paths lead.
        rgb: JPEG or PNG colour.
        depth: 16-bit PNG depth.
        confidence: 8-bit PNG confidence at depth size.
        reference: ``(width, height)`` of colour images where the scan has none; None if the app states none.
        metres_per_unit: of the depth PNG.
        read_confidence: decodes a confidence file.
        rgb_size: of the colour images, or None without any.
        depth_size: of the depth images, or None without any.
    """

    root: FileTree
    rgb: Mapping[int, str]
    depth: Mapping[int, str]
    confidence: Mapping[int, str] = field(default_factory=dict)
    reference: tuple[int, int] | None = None
    metres_per_unit: float = 1e-3
    read_confidence: Callable[[FileTree, str, tuple[int, int]], ByteImage] = images.read_confidence_png
    rgb_size: tuple[int, int] | None = field(init=False)
    depth_size: tuple[int, int] | None = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "rgb_size", images.common_size(self.root, self.rgb.values()))
        object.__setattr__(self, "depth_size", images.common_size(self.root, self.depth.values()))
        shape = self.rgb_size or self.reference
        if self.depth_size is not None and shape is not None:
            where = self.root.where(next(iter(self.depth.values())))
            refuse_other_shape(self.depth_size, shape, where, "wrong_depth_size")

    @property
    def indices(self) -> list[int]:
        """Numbers of all frames with an image, ascending."""
        return sorted(self.rgb.keys() | self.depth.keys())

    @property
    def missing(self) -> tuple[str, ...]:
        """What kinds of images the scan lacks."""
        absent = []
        if not self.rgb:
            absent.append("no colour images")
        if not self.depth:
            absent.append("no depth images")
        elif not self.confidence:
            absent.append("no confidence")
        if self.depth and len(self.depth.keys() & self.rgb.keys()) < len(self.rgb):
            gaps = len(self.rgb.keys() - self.depth.keys())
            absent.append(f"{gaps} of {len(self.rgb)} colour images have no depth")
        return tuple(absent)

    def frame(
        self,
        index: int,
        time_s: float,
        intrinsics: FloatArray,
        capture_from_camera: FloatArray,
        intrinsics_size: tuple[int, int] | None = None,
        blur: float | None = None,
        video: tuple[tuple[int, int], Callable[[], ByteImage]] | None = None,
    ) -> Frame:
        """The frame of number `index`.

        Args:
            index: the frame's number.
            time_s: on the app's own clock, seconds.
            intrinsics: ``(3, 3)`` as written by the app.
            capture_from_camera: ``(4, 4)``.
            intrinsics_size: ``(width, height)`` they are for; None: colour's, else `reference`, else depth's.
            blur: see `Frame`.
            video: size and reader of the colour image where it comes from a video instead of a file.

        Raises:
            InputError: an image is damaged or of another size than its like.
        """
        rgb, depth = self.rgb.get(index), self.depth.get(index)
        confidence = self.confidence.get(index) if depth is not None else None
        depth_size = self._probe(depth, self.depth_size)
        rgb_size = self._probe(rgb, self.rgb_size)
        if depth_size is not None:
            self._probe(confidence, depth_size)
        read_rgb: Callable[[], ByteImage] | None = None
        if rgb is not None:
            read_rgb = partial(images.read_rgb, self.root, rgb, rgb_size)
        if video is not None:
            rgb_size, read_rgb = video
        shown = rgb_size or depth_size
        if shown is None:
            raise InputError(f"{self.root.where()}: frame {index} has no image.", remedy="", code="no_frames")
        written_for = intrinsics_size or self.rgb_size or self.reference or shown
        return Frame(
            index=index,
            time_s=time_s,
            size=shown,
            intrinsics=scaled_intrinsics(intrinsics, written_for, shown),
            capture_from_camera=capture_from_camera,
            depth_size=depth_size,
            read_rgb=read_rgb,
            read_depth=None if depth is None else self._depth_reader(depth),
            read_confidence=None
            if confidence is None or depth_size is None
            else partial(self.read_confidence, self.root, confidence, depth_size),
            blur=blur,
        )

    def depth_m(self, index: int) -> DepthImage:
        """Depth of one frame, metres.

        Raises:
            InputError: it is damaged.
        """
        return self._depth_reader(self.depth[index])()

    def _depth_reader(self, name: str) -> Callable[[], DepthImage]:
        return partial(images.read_depth_png, self.root, name, self.depth_size, self.metres_per_unit)

    def _probe(self, name: str | None, size: tuple[int, int] | None) -> tuple[int, int] | None:
        if name is None:
            return None
        if size is None:
            images.image_size(self.root, name)
            raise images.damaged(self.root.where(name), "it cannot be read")
        images.probe(self.root, name, size)
        return size
