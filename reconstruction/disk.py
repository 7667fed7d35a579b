"""Files that are whole whenever the program is killed, and what the system refuses to write, in words that help."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from reconstruction.errors import InputError, OutputError, PocketworldError, UsageError

try:
    import fcntl
except ImportError:  # Windows has no advisory locks
    fcntl = None  # type: ignore[assignment]

NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
NOT_ALLOWED = {errno.EACCES, errno.EPERM, errno.EROFS}
IN_THE_WAY = {errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP}


def write_whole(path: Path, content: str | bytes, *, shared: bool = False) -> None:
    """Write a file so that it is either the old or the new one, whole.

    Args:
        path: of the file.
        content: of it.
        shared: another process may write it at the same time; the later one stays.
    """
    data = content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial" if shared else f"{path.name}.partial")
    try:
        with writing_to(path.parent):
            partial.write_bytes(data)
            sync(partial)
            partial.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other Pocketworld processes off this folder; the lock ends with the process, however that ends.

    Raises:
        UsageError: another process works on it.
        OutputError: the lock cannot be written.
    """
    if fcntl is None:  # two runs on one folder are up to the user
        yield
        return
    with writing_to(folder):
        lock = take_lock(folder / ".lock")
    if lock is None:
        raise UsageError(
            f"Another Pocketworld is working on {folder}.",
            remedy="Wait until it is done, or stop it.",
            code="busy",
        )
    with lock:
        yield


def take_lock(path: Path) -> BinaryIO | None:
    """A file, locked until it is closed or the process ends; None where somebody else holds it, or on Windows.

    Raises:
        OSError: it cannot be opened.
    """
    if fcntl is None:
        return None
    # Not through a link: somebody else may have put it there.
    lock = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666), "r+b")
    with contextlib.suppress(BlockingIOError, FileNotFoundError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Another process may have taken its new folder away, and with it the file that was opened here.
        if os.path.samestat(os.fstat(lock.fileno()), path.stat()):
            return lock
    lock.close()
    return None


def sync_tree(folder: Path) -> None:
    """Have the disk really hold every file below `folder`, so that a power cut leaves no empty ones behind a rename."""
    for path in sorted(folder.rglob("*")):
        sync(path)
    sync(folder)


def sync(path: Path) -> None:
    """Have the disk really hold a file, or a folder's list of names."""
    if path.is_dir() and os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Turn the system's refusals to write below `folder` into errors that say what to do.

    Raises:
        OutputError: no space, no permission, path in the way, no such place.
        InputError: a file elsewhere cannot be read.
    """
    try:
        yield
    except OSError as error:
        translated = _translated(error, folder)
        if translated is None:
            raise
        raise translated from error
    except PocketworldError:
        raise
    except Exception as error:
        # Native writers (Open3D, OpenCV) report a full disk in words of their own.
        if free_bytes(folder) >= 1 << 16:
            raise
        raise _no_space(folder) from error


def _translated(error: OSError, folder: Path) -> PocketworldError | None:
    culprit = Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else None
    if error.errno in NO_SPACE:
        return _no_space(folder)
    if culprit is not None and culprit.is_absolute() and not _touches(culprit, folder):
        return InputError(
            f"{culprit} cannot be read: {error.strerror}.",
            remedy="Check that it is there and its permissions.",
            code="unreadable",
        )
    if error.errno in NOT_ALLOWED:
        return OutputError(
            f"{culprit or folder} cannot be written: {error.strerror}.",
            remedy="Choose another --out folder, or make this one writable for you.",
            code="no_permission",
        )
    if error.errno in IN_THE_WAY:
        return OutputError(
            f"{culprit or folder} cannot be made: {error.strerror}.",
            remedy="Choose another --out folder, or move what is in the way.",
            code="path_in_the_way",
        )
    if culprit is not None or error.errno == errno.EIO:
        return OutputError(
            f"{culprit or folder} cannot be written: {error.strerror}.",
            remedy="Name a place on a disk that is there and in order.",
            code="cannot_write",
        )
    return None


def _touches(path: Path, folder: Path) -> bool:
    return path.is_relative_to(folder) or folder.is_relative_to(path)


def _no_space(folder: Path) -> OutputError:
    return OutputError(
        f"There is no space left on the disk of {folder} ({free_bytes(folder) / 1e6:.0f} MB free).",
        remedy="Free some space or choose an --out folder on another disk, then run the same command again.",
        code="disk_full",
    )


def free_bytes(folder: Path) -> int:
    """Bytes free on the disk of `folder` or of its nearest existing parent."""
    for place in (folder, *folder.parents):
        if place.is_dir():
            return shutil.disk_usage(place).free
    return 0
