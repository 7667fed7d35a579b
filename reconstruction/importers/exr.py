"""Depth in OpenEXR files: a look at header and chunk table first, then OpenEXR's own reader.

File layout: OpenEXR "File Layout" document: magic, version, attributes, chunk offsets, chunks. Scan-line files only.
"""

from __future__ import annotations

import struct

import numpy as np

from reconstruction.archive import FileTree
from reconstruction.capture import DepthImage
from reconstruction.errors import InputError
from reconstruction.importers import images

_MAGIC = b"v/1\x01"
_LINES_IN_CHUNK = {0: 1, 1: 1, 2: 1, 3: 16, 4: 32, 5: 16, 6: 32, 7: 32, 8: 32, 9: 256}
"""Compression -> scan lines in one chunk: none, RLE, ZIPS, ZIP, PIZ, PXR24, B44, B44A, DWAA, DWAB."""


def size_of_complete(data: bytes, where: str) -> tuple[int, int]:
    """``(width, height)`` of an EXR all of whose chunks are there.

    Raises:
        InputError: no scan-line EXR, cut off, or of an absurd size.
    """
    if data[:4] != _MAGIC or len(data) < 8 or data[4] != 2 or data[5] & ~0x04:
        raise images.damaged(where, "it is empty" if not data else "it is no plain scan-line EXR")
    try:
        attributes, at = _attributes(data)
        x0, y0, x1, y1 = struct.unpack("<4i", attributes["dataWindow"])
        width, height = x1 - x0 + 1, y1 - y0 + 1
        if not (width > 0 and height > 0 and width * height <= images.MAX_PIXELS):
            raise images.damaged(where, f"it declares {width}x{height} pixels")
        chunks = -(-height // _LINES_IN_CHUNK[attributes["compression"][0]])
        for offset in struct.unpack_from(f"<{chunks}Q", data, at):
            _, length = struct.unpack_from("<iI", data, offset)
            if not at < offset <= offset + 8 + length <= len(data):
                raise images.damaged(where, "it is cut off")
    except (struct.error, KeyError, ValueError, IndexError, OverflowError) as error:
        raise images.damaged(where, "it is cut off or its header is broken") from error
    return width, height


def _attributes(data: bytes) -> tuple[dict[str, bytes], int]:
    """Header attributes, raw, and the offset behind them."""
    found, at = {}, 8
    while data[at] != 0:
        name_end = data.index(b"\0", at)
        kind_end = data.index(b"\0", name_end + 1)
        (length,) = struct.unpack_from("<I", data, kind_end + 1)
        start = kind_end + 5
        found[data[at:name_end].decode("latin-1")] = data[start : start + length]
        at = start + length
    return found, at + 1


def read_depth(root: FileTree, name: str, size: tuple[int, int]) -> DepthImage:
    """Depth ``(H, W)`` metres of the channel ``R`` (else the first one), float16 or float32.

    Raises:
        InputError: damaged, or not of `size` ``(width, height)``.
    """
    import OpenEXR

    where = root.where(name)
    found = size_of_complete(root.read(name), where)
    if found != size:
        raise images.wrong_size(where, found, size)
    try:
        with root.local_path(name) as path, OpenEXR.File(str(path), separate_channels=True) as file:
            channels = {key: np.array(channel.pixels) for key, channel in file.channels().items()}
    except InputError:
        raise
    except Exception as error:  # noqa: BLE001 - the binding raises whatever the C++ library throws
        raise images.damaged(where, "its pixels cannot be decoded") from error
    pixels = channels.get("R", next(iter(channels.values()), np.empty(0)))
    if pixels.shape != (size[1], size[0]):
        raise images.damaged(where, f"its channel has shape {pixels.shape}")
    return images.clean_depth(pixels.astype(np.float32))
