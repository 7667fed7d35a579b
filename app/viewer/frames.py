"""The file in which pictures go from the drawing process to the window: two slots of memory, written in turn."""

from __future__ import annotations

import contextlib
import mmap
import os
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

ByteImage = npt.NDArray[np.uint8]
MAX_PIXELS = 3840 * 2160
"""Of one picture; larger windows get theirs enlarged."""
SLOT_BYTES = 3 * MAX_PIXELS


def new_file() -> Path:
    """An empty file of the right size, in memory where the system has a folder for that."""
    memory = Path("/dev/shm")
    room = memory.is_dir() and os.access(memory, os.W_OK)
    handle, name = tempfile.mkstemp(prefix="pocketworld-view-", dir=memory if room else None)
    try:
        os.truncate(handle, 2 * SLOT_BYTES)  # a hole: only what is written takes room
    finally:
        os.close(handle)
    return Path(name)


class Frames:
    """The file, mapped into this process.

    A reader takes the newest picture that it was told of. That one is safe while the next is drawn, and is written over
    by the one after.
    """

    def __init__(self, path: Path, *, write: bool) -> None:
        with path.open("r+b" if write else "rb") as file:
            access = mmap.ACCESS_WRITE if write else mmap.ACCESS_READ
            self._map = mmap.mmap(file.fileno(), 2 * SLOT_BYTES, access=access)
        self._number = 0

    def put(self, picture: ByteImage) -> tuple[int, int]:
        """Write ``(H, W, 3)``; returns its slot and its number."""
        self._number += 1
        slot = self._number % 2
        data = np.ascontiguousarray(picture)
        self._map[slot * SLOT_BYTES : slot * SLOT_BYTES + data.nbytes] = data.tobytes()
        return slot, self._number

    def take(self, slot: int, width: int, height: int) -> bytes:
        """A copy of the picture in a slot, rows from the top, RGB."""
        return self._map[slot * SLOT_BYTES : slot * SLOT_BYTES + 3 * width * height]

    def close(self) -> None:
        """Let go of the file; harmless when repeated."""
        with contextlib.suppress(BufferError):
            self._map.close()
