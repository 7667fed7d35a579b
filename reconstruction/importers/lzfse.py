"""Record3D's LZFSE streams, inflated only when they declare exactly the expected size.

Block layout: Apple's reference implementation, ``lzfse_internal.h``. Each block starts with a four-letter magic and
the number of bytes it becomes, so that the total is known before anything is inflated.
"""

from __future__ import annotations

import struct

from reconstruction.errors import InputError

_V1_HEADER_BYTES = 772
_BITS_20 = (1 << 20) - 1


def _block(data: bytes, at: int) -> tuple[int, int]:
    """Bytes that the block at `at` takes, and bytes it becomes."""
    magic = data[at : at + 4]
    (raw,) = struct.unpack_from("<I", data, at + 4)
    if magic == b"bvx-":
        return 8 + raw, raw
    if magic == b"bvxn":
        return 12 + struct.unpack_from("<I", data, at + 8)[0], raw
    if magic == b"bvx1":
        return _V1_HEADER_BYTES + struct.unpack_from("<I", data, at + 8)[0], raw
    if magic == b"bvx2":
        first, second, third = struct.unpack_from("<QQQ", data, at + 8)
        return (third & 0xFFFFFFFF) + (first >> 20 & _BITS_20) + (second >> 40 & _BITS_20), raw
    raise ValueError(magic)


def declared_size(data: bytes) -> int | None:
    """Bytes an LZFSE stream says it becomes; None if it is no complete LZFSE stream."""
    at = total = 0
    try:
        while data[at : at + 4] != b"bvx$":
            length, raw = _block(data, at)
            at, total = at + max(length, 8), total + raw
    except (struct.error, ValueError):
        return None
    return total


def inflate(data: bytes, size: int, where: str) -> bytes:
    """Exactly `size` bytes, from an LZFSE stream or (re-zipped files) stored as they are.

    Raises:
        InputError: neither, or another size.
    """
    import liblzfse

    if len(data) == size and data[:3] != b"bvx":
        return data
    declared = declared_size(data)
    if declared == size:
        try:
            raw: bytes = liblzfse.decompress(data)
        except (liblzfse.error, MemoryError):  # on broken data the library asks for ever larger buffers, unused
            declared = None
        else:
            if len(raw) == size:
                return raw
            declared = len(raw)
    reason = "it is no complete LZFSE stream" if declared is None else f"it holds {declared} bytes instead of {size}"
    raise InputError(
        f"{where} is damaged: {reason}.", remedy="Copy or export the scan from the phone again.", code="damaged_depth"
    )
