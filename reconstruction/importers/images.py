"""Decode the apps' JPEG and PNG files, after a look at their headers; nothing of EXIF is read or kept.

Sizes are read from the header before any pixel is decoded (PNG specification 11.2.2, JPEG ITU-T T.81 B.2), so that a
picture that declares a hundred megapixels never allocates them. Cut-off files are refused: decoders would fill the
rest with grey and say nothing.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np

from reconstruction.archive import FileTree
from reconstruction.capture import ByteImage, DepthImage
from reconstruction.errors import InputError

MAX_PIXELS = 64_000_000
_MAX_IMAGE_BYTES = 256 << 20
_HEAD_BYTES = 1 << 12
_LONG_HEAD_BYTES = 1 << 18
_TAIL_BYTES = 64
_PNG_START = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"IEND"
_JPEG_END = b"\xff\xd9"
_REMEDY = "Copy or export the scan from the phone again."
_NO_SIZE_MARKERS = {0x01, *range(0xD0, 0xD8)}
_FRAME_MARKERS = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}


def damaged(where: str, reason: str) -> InputError:
    """The error for an image that cannot be used."""
    return InputError(f"{where} is damaged: {reason}.", remedy=_REMEDY, code="damaged_image")


def wrong_size(where: str, found: tuple[int, int], expected: tuple[int, int]) -> InputError:
    """The error for an image whose ``(width, height)`` contradicts the rest of the scan."""
    return InputError(
        f"{where} is {found[0]}x{found[1]} pixels where {expected[0]}x{expected[1]} are expected.",
        remedy="Images of one kind share one size; use the export as the app wrote it.",
        code="wrong_size",
    )


def size_from_header(data: bytes, where: str) -> tuple[int, int]:
    """``(width, height)`` that a PNG or JPEG declares.

    Args:
        data: the file's first bytes (256 KiB do for a JPEG with a thumbnail in its EXIF).
        where: the file's name for messages.

    Raises:
        InputError: neither PNG nor JPEG, cut off, empty, or more than `MAX_PIXELS`.
    """
    if not data:
        raise InputError(f"{where} is an empty file.", remedy=_REMEDY, code="empty_file")
    if data[:8] == _PNG_START:
        width, height = struct.unpack(">II", data[16:24]) if len(data) >= 24 else (0, 0)
    elif data[:2] == b"\xff\xd8":
        width, height, _ = _jpeg_frame(data, where)
    else:
        raise damaged(where, "it is neither PNG nor JPEG")
    if width == 0 or height == 0:
        raise damaged(where, "its header declares no size")
    if width * height > MAX_PIXELS:
        raise InputError(
            f"{where} declares {width}x{height} pixels, more than any phone's scan has.",
            remedy=f"Use images of up to {MAX_PIXELS // 1_000_000} megapixels.",
            code="image_too_large",
        )
    return width, height


def _jpeg_frame(data: bytes, where: str) -> tuple[int, int, int]:
    """Width, height and the offset after the frame header, walking the JPEG's marker segments."""
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            raise damaged(where, "its JPEG segments do not line up")
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
        elif marker in _NO_SIZE_MARKERS:
            at += 2
        elif marker in _FRAME_MARKERS and at + 9 <= len(data):
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            return width, height, at + 9
        else:
            at += 2 + struct.unpack(">H", data[at + 2 : at + 4])[0]
    raise damaged(where, "it ends inside its header")


def _refuse_cut_off(data: bytes, where: str) -> None:
    if data[:8] == _PNG_START:
        complete = data.rfind(_PNG_END) > 0
    else:
        complete = data.find(_JPEG_END, _jpeg_frame(data, where)[2]) > 0
    if not complete:
        raise damaged(where, "it is cut off")


def image_size(tree: FileTree, name: str) -> tuple[int, int]:
    """``(width, height)`` of an image file, reading only its head.

    Raises:
        InputError: see `size_from_header`.
    """
    where = tree.where(name)
    try:
        return size_from_header(tree.head(name, _HEAD_BYTES), where)
    except InputError as error:
        if error.code != "damaged_image":
            raise
    return size_from_header(tree.head(name, _LONG_HEAD_BYTES), where)


def common_size(tree: FileTree, names: Iterable[str], samples: int = 9) -> tuple[int, int] | None:
    """The size that most of some evenly spaced images have; None where none is readable."""
    names = list(names)
    sizes: Counter[tuple[int, int]] = Counter()
    for name in names[:: max(len(names) // samples, 1)]:
        try:
            sizes[image_size(tree, name)] += 1
        except InputError as error:
            if error.code == "image_too_large":
                raise
    return sizes.most_common(1)[0][0] if sizes else None


def probe(tree: FileTree, name: str, size: tuple[int, int]) -> None:
    """Look at an image's first and last bytes, without decoding it.

    Raises:
        InputError: no image, cut off, or not of `size` ``(width, height)``.
    """
    found = image_size(tree, name)
    if found != size:
        raise wrong_size(tree.where(name), found, size)
    tail = tree.tail(name, _TAIL_BYTES)
    if tail is not None and _PNG_END not in tail and _JPEG_END not in tail:
        _refuse_cut_off(tree.read(name, limit=_MAX_IMAGE_BYTES), tree.where(name))


def bits_per_pixel(tree: FileTree, name: str) -> int:
    """Bits of one channel of a PNG (its IHDR); 8 for anything else."""
    head = tree.head(name, 32)
    return head[24] if head[:8] == _PNG_START and len(head) > 24 else 8


def _decode(tree: FileTree, name: str, size: tuple[int, int] | None, flags: int) -> Any:
    import cv2

    data, where = tree.read(name, limit=_MAX_IMAGE_BYTES), tree.where(name)
    found = size_from_header(data, where)
    if size is not None and found != size:
        raise wrong_size(where, found, size)
    _refuse_cut_off(data, where)
    image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if image is None:
        raise damaged(where, "its pixels cannot be decoded")
    return image


def read_rgb(tree: FileTree, name: str, size: tuple[int, int] | None = None) -> ByteImage:
    """Colour ``(H, W, 3)`` uint8 RGB as stored: EXIF orientation is ignored, poses belong to the stored pixels.

    Raises:
        InputError: damaged, cut off, or not of `size` ``(width, height)``.
    """
    import cv2

    image = _decode(tree, name, size, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)  # type: ignore[no-any-return]


def read_depth_png(
    tree: FileTree, name: str, size: tuple[int, int] | None = None, metres_per_unit: float = 1e-3
) -> DepthImage:
    """Depth ``(H, W)`` float32 metres of a 16-bit PNG; 0 and 65535 mean none.

    Raises:
        InputError: damaged, not of `size` ``(width, height)``, or not one channel of 16 bits.
    """
    import cv2

    image = _decode(tree, name, size, cv2.IMREAD_UNCHANGED)
    if image.dtype != np.uint16 or image.ndim != 2:
        raise damaged(tree.where(name), f"depth has {image.dtype} pixels of shape {image.shape}, not 16-bit grey")
    depth = image.astype(np.float32) * np.float32(metres_per_unit)
    depth[image == 65535] = 0.0
    return depth  # type: ignore[no-any-return]


def read_grey(tree: FileTree, name: str, size: tuple[int, int] | None = None) -> ByteImage:
    """An 8-bit one-channel PNG ``(H, W)`` as stored, e.g. a mask.

    Raises:
        InputError: damaged, not of `size` ``(width, height)``, or of another kind.
    """
    import cv2

    image = _decode(tree, name, size, cv2.IMREAD_UNCHANGED)
    if image.dtype != np.uint8 or image.ndim != 2:
        raise damaged(tree.where(name), f"it has {image.dtype} pixels of shape {image.shape}, not 8-bit grey")
    return image  # type: ignore[no-any-return]


def read_mask(tree: FileTree, name: str) -> ByteImage:
    """A mask ``(H, W)`` uint8 of any size, decoded as grey.

    Raises:
        InputError: damaged or cut off.
    """
    import cv2

    return _decode(tree, name, None, cv2.IMREAD_GRAYSCALE)  # type: ignore[no-any-return]


def read_confidence_png(tree: FileTree, name: str, size: tuple[int, int]) -> ByteImage:
    """Confidence ``(H, W)`` stored as 0/1/2; larger values count as high.

    Raises:
        InputError: see `read_grey`.
    """
    return np.minimum(read_grey(tree, name, size), np.uint8(2))


def clean_depth(depth: DepthImage) -> DepthImage:
    """Float depth with NaN, infinite, negative and absurd values (over 1 km) set to 0."""
    with np.errstate(invalid="ignore"):
        good = (depth > 0) & (depth < 1000.0)
    return np.where(good, depth, np.float32(0.0)).astype(np.float32)
