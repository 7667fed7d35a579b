"""Temporary folders that do not outlive their process for long, however it ended.

Whoever is killed cleans nothing up, and a scan that was unpacked may be gigabytes. So beside each folder lies a file
that its process keeps locked; the next process that needs a folder takes away those whose lock nobody holds.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import threading
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from reconstruction.disk import take_lock

PREFIX, LOCK = "pocketworld-", ".lock"
TRIES = 3
_swept = threading.Event()


class TemporaryFolder:
    """A folder of one's own, until `cleanup` or the end of the process; a context manager that gives its path.

    Attributes:
        path: of the folder.
    """

    def __init__(self, purpose: str) -> None:
        """Make one.

        Args:
            purpose: a word in its name.

        Raises:
            OSError: there is no place for it.
        """
        if not _swept.is_set():
            _swept.set()
            sweep()
        self._owner = os.getpid()
        for _ in range(TRIES):
            self.path = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{purpose}-"))
            self._lock = self.path.with_name(self.path.name + LOCK)
            self._held = _taken(self._lock)
            if self._held is not None:
                return
            # Who sweeps at this very moment was quicker, or nothing can be locked here.
            shutil.rmtree(self.path, ignore_errors=True)
            self._lock.unlink(missing_ok=True)
        self.path = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{purpose}-"))  # without a lock, nobody sweeps it

    def cleanup(self) -> None:
        """Take it away; harmless when repeated, and in a process that was forked from the owner."""
        if os.getpid() != self._owner:
            return
        shutil.rmtree(self.path, ignore_errors=True)
        if self._held is not None:
            with contextlib.suppress(OSError):
                self._lock.unlink()
            self._held.close()
            self._held = None

    def __enter__(self) -> Path:
        return self.path

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.cleanup()

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError, TypeError):  # not quite made, or at the interpreter's end
            self.cleanup()


def sweep() -> None:
    """Take away temporary folders whose process has ended."""
    for lock in Path(tempfile.gettempdir()).glob(f"{PREFIX}*{LOCK}"):
        held = _taken(lock)
        if held is None:
            continue
        shutil.rmtree(lock.with_name(lock.name.removesuffix(LOCK)), ignore_errors=True)
        with contextlib.suppress(OSError):
            lock.unlink()
        held.close()


def _taken(path: Path) -> BinaryIO | None:
    try:
        return take_lock(path)
    except OSError:  # another user's
        return None
