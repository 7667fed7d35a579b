"""Photos in any order, or a video: pictures without poses and depth (`reconstruction.photogrammetry` finds those).

Every picture is turned upright as its EXIF orientation says, and its focal length is that of EXIF's equivalent for 35 mm
film (CIPA DCG-001: the same diagonal angle as a 43.27 mm diagonal), a first guess that bundle adjustment betters. Of
EXIF nothing else is read but the camera's model: no place, no time, no name.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from reconstruction.archive import FileTree, natural_key
from reconstruction.capture import ByteImage, Capture, FloatArray, Frame
from reconstruction.errors import InputError
from reconstruction.importers.damage import sound_frames
from reconstruction.importers.images import MAX_PIXELS, damaged, probe, read_rgb
from reconstruction.importers.video import VideoFrames

PICTURES = (".jpg", ".jpeg", ".png", ".heic", ".heif")
VIDEOS = (".mov", ".mp4", ".m4v")
LEAST_PICTURES = 3
LEAST_FRAMES = 8
"""Fewer pictures show no thing from all sides, and hold no chain of poses together."""
VIDEO_CANDIDATES = 180
"""Of a video so many frames are looked at, evenly spaced; `photogrammetry.selection` takes the sharpest."""
USUAL_FOCAL = 0.6
"""Focal length over the diagonal where EXIF does not tell: a phone's main camera (26 mm for 35 mm film)."""
_FILM_DIAGONAL_MM = 43.2666
_LIMIT_BYTES = 256 << 20
_ORIENTATION, _MODEL, _EXIF, _FILM_FOCAL = 0x0112, 0x0110, 0x8769, 0xA405
_TURNED = (5, 6, 7, 8)


@dataclass(frozen=True)
class _Header:
    """What a picture says of itself.

    Attributes:
        size: ``(width, height)`` as stored.
        orientation: EXIF's, 1 … 8; 1 where the decoder turns the picture itself (HEIC).
        film_focal_mm: focal length for 35 mm film, or None.
        model: of the camera, or "".
    """

    size: tuple[int, int]
    orientation: int = 1
    film_focal_mm: float | None = None
    model: str = ""

    @property
    def upright_size(self) -> tuple[int, int]:
        """``(width, height)`` of the picture turned upright."""
        return self.size[::-1] if self.orientation in _TURNED else self.size


def matches(root: FileTree) -> bool:
    """Whether the root holds several pictures, or a single video, and little else.

    Asked last of all importers: what another one knows is none of ours, and so is a folder that holds other scans too.
    """
    here = root.files_in("")
    pictures = [name for name in here if name.lower().endswith(PICTURES)]
    if len(pictures) >= LEAST_PICTURES:
        return 2 * len(pictures) >= len(root.names)
    videos = [name for name in here if name.lower().endswith(VIDEOS)]
    return len(videos) == 1 and len(root.names) <= len(videos) + len(pictures) + 1


def read(root: FileTree) -> Capture:
    """Read a folder of photos, or a video.

    Raises:
        InputError: fewer pictures than it takes, or most of them damaged.
    """
    names = [name for name in root.files_in("") if name.lower().endswith(PICTURES)]
    if len(names) < LEAST_PICTURES:
        return _video(root, next(name for name in root.files_in("") if name.lower().endswith(VIDEOS)))
    names = sorted(names, key=natural_key)
    models: dict[str, int] = {}

    def photo(index: int) -> Frame:
        name = names[index]
        header = _header(root, name)
        models[header.model] = models.get(header.model, 0) + 1
        size = header.upright_size
        return Frame(
            index=index,
            time_s=float(index),
            size=size,
            intrinsics=_intrinsics(size, header.film_focal_mm),
            capture_from_camera=None,
            depth_size=None,
            read_rgb=_reader(root, name, header),
        )

    frames, missing = sound_frames(range(len(names)), photo, root.where())
    if len(frames) < LEAST_FRAMES:
        raise too_few(root.where(), len(frames))
    model = max(models, key=lambda key: (models[key], key))
    return Capture(
        name=root.source.stem,
        format="photos",
        source=root.source,
        device=model or "camera",
        frames=frames,
        metric=False,
        missing=missing,
    )


def too_few(where: str, count: int) -> InputError:
    """The error for a set from which nothing can be made."""
    return InputError(
        f"{where} holds {count} usable photos; it takes at least {LEAST_FRAMES}, better 40.",
        remedy="Walk round the things and take a photo every 10 degrees, at two heights, each showing most of them.",
        code="too_few_photos",
    )


def has_film_focal(frame: Frame) -> bool:
    """Whether the intrinsics are EXIF's rather than `USUAL_FOCAL`'s."""
    return abs(float(frame.intrinsics[0, 0]) / math.hypot(*frame.size) - USUAL_FOCAL) > 1e-9


def _intrinsics(size: tuple[int, int], film_focal_mm: float | None) -> FloatArray:
    focal = math.hypot(*size) * (film_focal_mm / _FILM_DIAGONAL_MM if film_focal_mm else USUAL_FOCAL)
    return np.array([[focal, 0.0, (size[0] - 1) / 2], [0.0, focal, (size[1] - 1) / 2], [0.0, 0.0, 1.0]])


def _is_heic(name: str) -> bool:
    return name.lower().endswith((".heic", ".heif"))


def _header(root: FileTree, name: str) -> _Header:
    """Size and EXIF of one picture, without decoding its pixels.

    Raises:
        InputError: damaged, cut off, or absurdly large.
    """
    from PIL import Image, UnidentifiedImageError

    where = root.where(name)
    if _is_heic(name):
        picture = _heic(root, name)
        size, exif = picture.size, Image.Exif()
        exif.load(picture.info.get("exif") or b"")
        return _with_exif(size, 1, exif)
    data = root.read(name, limit=_LIMIT_BYTES)
    try:
        with Image.open(io.BytesIO(data)) as image:
            size, exif = image.size, image.getexif()
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise damaged(where, "it is no readable picture") from error
    probe(root, name, size)
    try:
        orientation = int(exif.get(_ORIENTATION, 1))
    except (TypeError, ValueError):
        orientation = 1
    return _with_exif(size, orientation if 1 <= orientation <= 8 else 1, exif)


def _with_exif(size: tuple[int, int], orientation: int, exif: Any) -> _Header:
    try:
        inner = exif.get_ifd(_EXIF)
    except (KeyError, TypeError, ValueError, OSError, SyntaxError):
        inner = {}
    return _Header(size, orientation, _focal(inner.get(_FILM_FOCAL)), _text(exif.get(_MODEL)))


def _focal(value: Any) -> float | None:
    try:
        focal = float(value)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return focal if 5.0 <= focal <= 400.0 else None


def _text(value: Any) -> str:
    return "".join(c for c in value if c.isprintable())[:60].strip() if isinstance(value, str) else ""


def _heic(root: FileTree, name: str) -> Any:
    """The picture of a HEIC file, not decoded yet; libheif turns it upright itself.

    Raises:
        InputError: damaged, or absurdly large.
        MissingToolError: no decoder.
    """
    try:
        import pillow_heif
    except ImportError as error:
        from reconstruction.errors import MissingToolError

        raise MissingToolError(
            "HEIC pictures cannot be read: pillow-heif is missing.", remedy="pip install pillow-heif", code="no_heif"
        ) from error

    where = root.where(name)
    try:
        picture = pillow_heif.open_heif(root.read(name, limit=_LIMIT_BYTES), convert_hdr_to_8bit=True)
        size = picture.size
    except (ValueError, OSError, RuntimeError, SyntaxError, EOFError, IndexError) as error:
        raise damaged(where, "it is no readable HEIC picture") from error
    if not 0 < size[0] * size[1] <= MAX_PIXELS:
        raise damaged(where, f"it declares {size[0]}x{size[1]} pixels")
    return picture


def _reader(root: FileTree, name: str, header: _Header) -> Callable[[], ByteImage]:
    def heic() -> ByteImage:
        picture = _heic(root, name)
        try:
            pixels = np.asarray(picture)
        except (ValueError, OSError, RuntimeError, SyntaxError, EOFError) as error:
            raise damaged(root.where(name), "its pixels cannot be decoded") from error
        if pixels.ndim == 2:
            pixels = np.repeat(pixels[..., None], 3, axis=2)
        return np.ascontiguousarray(pixels[..., :3], dtype=np.uint8)

    def plain() -> ByteImage:
        return upright(read_rgb(root, name, header.size), header.orientation)

    return heic if _is_heic(name) else plain


def upright(image: ByteImage, orientation: int) -> ByteImage:
    """`image` ``(H, W, 3)`` as it is meant to be seen (EXIF 2.32, 4.6.4 A, Orientation)."""
    if orientation in _TURNED:
        image = np.swapaxes(image, 0, 1)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)


def _video(root: FileTree, name: str) -> Capture:
    video = VideoFrames(root, name)
    if len(video) < LEAST_FRAMES:
        raise too_few(root.where(name), len(video))
    numbers = np.unique(np.linspace(0, len(video) - 1, min(len(video), VIDEO_CANDIDATES)).round().astype(int)).tolist()
    turn = video.rotation_deg() // 90  # quarters to the left
    width, height = video.size
    size = (height, width) if turn % 2 else (width, height)

    def reader(number: int) -> Callable[[], ByteImage]:
        return lambda: np.ascontiguousarray(np.rot90(video.read(number), turn))

    frames = [
        Frame(
            index=number,
            time_s=video.times_s[number] - video.times_s[0],
            size=size,
            intrinsics=_intrinsics(size, None),
            capture_from_camera=None,
            depth_size=None,
            read_rgb=reader(number),
        )
        for number in numbers
    ]
    return Capture(
        name=root.source.stem,
        format="video",
        source=root.source,
        device="camera",
        frames=frames,
        metric=False,
    )
