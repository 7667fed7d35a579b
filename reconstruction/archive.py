"""A read-only file tree over a folder or a zip: importers read entries from it and never unpack an archive.

Zip entries are inflated one at a time, in memory, under a size limit, each read through a file handle of its own; so
reading is thread-safe, leaves no handle open, and an archive can neither write outside its place nor fill the disk.
Names, sizes and links are checked when the archive is opened (ZIP application note, APPNOTE.TXT 6.3).
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import struct
import tempfile
import weakref
import zipfile
import zlib
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import IO, TypeVar

from reconstruction.errors import InputError, OutputError, UnsupportedFormatError
from reconstruction.temporary import TemporaryFolder

MAX_ENTRIES = 400_000
MAX_TOTAL_BYTES = 256 << 30
MAX_BOMB_RATIO = 200
BOMB_CHECK_FROM_BYTES = 256 << 20
MAX_FILE_BYTES = 512 << 20
MAX_FOLDERS_DEEP = 64
MAX_DIGITS = 18
"""Of a number in a file's name: what fits into 64 bits."""
_CHUNK = 1 << 20
_MIN_PACKED = 1 << 12
_CHEAP_BYTES = 1 << 18
_LOCAL_HEADER = struct.Struct("<4s22xHH")
_IGNORED_PARTS = {"__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini"}


def natural_key(name: str) -> tuple[object, ...]:
    """Sort key under which ``2.jpg`` comes before ``10.jpg``; longer rows of digits count in pieces."""
    parts = re.split(rf"([0-9]{{1,{MAX_DIGITS}}})", name)
    return tuple((int(part), "") if k % 2 else (-1, part) for k, part in enumerate(parts))


Value = TypeVar("Value")


class FileTree(ABC):
    """Files below one root, named by relative paths with ``/``.

    Attributes:
        source: the folder or archive on disk.
        prefix: path of this tree's root inside `source`, ``""`` or ending in ``/``.
        label: what error messages call `source`.
    """

    def __init__(self, source: Path, prefix: str = "", label: str = "") -> None:
        self.source = source
        self.prefix = prefix
        self.label = label or str(source)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """All files in natural order, relative to the root."""
        return tuple(sorted(self._sizes, key=natural_key))

    @property
    @abstractmethod
    def _sizes(self) -> Mapping[str, int]:
        """Name -> size in bytes."""

    @abstractmethod
    def _open(self, name: str) -> IO[bytes]:
        """A stream over the file's bytes."""

    @abstractmethod
    def below(self, folder: str) -> FileTree:
        """The tree whose root is `folder` (``""`` for this one)."""

    def __contains__(self, name: str) -> bool:
        return name in self._sizes

    def size(self, name: str) -> int:
        """Bytes of the file as declared by the folder or the archive."""
        return self._sizes[name]

    def where(self, name: str = "") -> str:
        """What error messages call a file: path of the source, then path inside it."""
        return f"{self.label}/{self.prefix}{name}".rstrip("/")

    @cached_property
    def folders(self) -> tuple[str, ...]:
        """Every folder that holds a file or folder, shallow ones first, without the root."""
        found = {str(parent) for name in self.names for parent in PurePosixPath(name).parents}
        return tuple(sorted(found - {"."}, key=lambda folder: (folder.count("/"), natural_key(folder))))

    def files_in(self, folder: str) -> tuple[str, ...]:
        """Names directly inside `folder` (``""`` is the root), without its path."""
        return self._by_folder.get(folder, ())

    @cached_property
    def _by_folder(self) -> dict[str, tuple[str, ...]]:
        groups: dict[str, list[str]] = {}
        for name in self.names:
            folder, _, base = name.rpartition("/")
            groups.setdefault(folder, []).append(base)
        return {folder: tuple(bases) for folder, bases in groups.items()}

    @cached_property
    def _sorted(self) -> list[str]:
        """All files in an order in which those below a folder stand together."""
        return sorted(self._sizes)

    def _inside(self, entries: Mapping[str, Value], folder: str) -> dict[str, Value]:
        """The part of `entries`, one for each file, that lies below `folder`, named from there."""
        start = f"{folder}/"
        names = self._sorted
        at, inside = bisect_left(names, start), {}
        while at < len(names) and names[at].startswith(start):
            inside[names[at][len(start) :]] = entries[names[at]]
            at += 1
        return inside

    def numbered(self, folder: str, pattern: str) -> dict[int, str]:
        """Files directly in `folder` whose whole name matches `pattern`: number in its first group -> path.

        Ascending by number, so that gaps and missing zero padding do no harm.
        """
        compiled = re.compile(pattern)
        hits = ((compiled.fullmatch(base), base) for base in self.files_in(folder))
        named = [(match.group(1), base) for match, base in hits if match and len(match.group(1)) <= MAX_DIGITS]
        found = {int(digits): f"{folder}/{base}".lstrip("/") for digits, base in named}
        return dict(sorted(found.items()))

    def read(self, name: str, limit: int = MAX_FILE_BYTES) -> bytes:
        """The whole file.

        Raises:
            InputError: it is missing, unreadable, damaged, or larger than `limit` bytes.
        """
        if name not in self:
            raise InputError(f"{self.where(name)} is missing.", remedy=_EXPORT_AGAIN, code="missing_file")
        with self._guard(name), self._open(name) as stream:
            data = stream.read(limit + 1)
        if len(data) > limit:
            raise InputError(
                f"{self.where(name)} is larger than {limit >> 20} MiB, too large for its kind.",
                remedy="Check that this is the file the app wrote.",
                code="file_too_large",
            )
        return data

    def head(self, name: str, count: int) -> bytes:
        """The first `count` bytes (fewer if the file is shorter)."""
        with self._guard(name), self._open(name) as stream:
            return stream.read(count)

    @abstractmethod
    def tail(self, name: str, count: int) -> bytes | None:
        """The last `count` bytes; None where they cannot be had without inflating the whole file."""

    @contextmanager
    def local_path(self, name: str) -> Iterator[Path]:
        """The file as a path on disk, for libraries that need one; a temporary copy is removed afterwards."""
        with _temporary_folder() as folder:
            path = folder / "copy"
            with self._guard(name), self._open(name) as stream, _copying(), path.open("wb") as copy:
                shutil.copyfileobj(stream, copy, _CHUNK)
            yield path

    @contextmanager
    def _guard(self, name: str) -> Iterator[None]:
        """Turn what the operating system says about a file into an `InputError`."""
        try:
            yield
        except PermissionError as error:
            raise InputError(
                f"{self.where(name)} cannot be read: permission denied.",
                remedy="Give yourself read permission (chmod +r) or copy the scan to a folder of your own.",
                code="permission_denied",
            ) from error
        except OSError as error:
            raise InputError(
                f"{self.where(name)} cannot be read: {error.strerror or error}.",
                remedy=_EXPORT_AGAIN,
                code="unreadable",
            ) from error


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    with _copying():
        made = TemporaryFolder("scan")
    with made as folder:
        yield folder


@contextmanager
def _copying() -> Iterator[None]:
    """Tell a full disk for temporary files from a scan that cannot be read: both are an `OSError`.

    Raises:
        OutputError: no space, or no folder for temporary files that can be written.
    """
    try:
        yield
    except OSError as error:
        none_at_all = isinstance(error, FileNotFoundError) and error.filename is None
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS) and not none_at_all:
            raise
        place = tempfile.tempdir or "the folder for temporary files"
        raise OutputError(
            f"There is no space left for a temporary copy in {place}: {error.strerror or error}.",
            remedy="Free some space there, or set TMPDIR to a folder on another disk.",
            code="disk_full",
        ) from error


ZIPPED = (".zip", ".r3d")
"""What zips are called."""
_EXPORT_AGAIN = "Copy or export the scan from the phone again."


class FolderTree(FileTree):
    """Files below a folder on disk; linked folders are not followed."""

    def __init__(self, source: Path, prefix: str = "", sizes: Mapping[str, int] | None = None) -> None:
        super().__init__(source, prefix)
        self._known = sizes

    @cached_property
    def _sizes(self) -> Mapping[str, int]:
        if self._known is not None:
            return self._known
        root = self.source / self.prefix
        found: dict[str, int] = {}
        for folder, _, files in os.walk(root, onerror=self._refuse):
            base = Path(folder).relative_to(root).as_posix()
            for name in files:
                relative = name if base == "." else f"{base}/{name}"
                if not _ignored(relative):
                    self._add(found, relative, Path(folder) / name)
        return found

    def _add(self, found: dict[str, int], relative: str, path: Path) -> None:
        try:
            status = path.stat()
        except OSError:  # a dangling link is as good as no file
            return
        if stat.S_ISREG(status.st_mode):
            found[relative] = status.st_size
        if len(found) > MAX_ENTRIES:
            raise InputError(
                f"{self.source} holds more than {MAX_ENTRIES} files.",
                remedy="Name the folder of one scan.",
                code="too_many_files",
            )

    def _refuse(self, error: OSError) -> None:
        raise InputError(
            f"{error.filename} cannot be read: {error.strerror}.",
            remedy="Give yourself read permission or copy the scan to a folder of your own.",
            code="permission_denied",
        )

    def _open(self, name: str) -> IO[bytes]:
        return (self.source / self.prefix / name).open("rb")

    def tail(self, name: str, count: int) -> bytes:
        """See `FileTree.tail`."""
        with self._guard(name), self._open(name) as stream:
            stream.seek(-min(count, stream.seek(0, os.SEEK_END)), os.SEEK_END)
            return stream.read()

    def below(self, folder: str) -> FolderTree:
        """See `FileTree.below`."""
        return FolderTree(self.source, f"{self.prefix}{folder}/", self._inside(self._sizes, folder)) if folder else self

    @contextmanager
    def local_path(self, name: str) -> Iterator[Path]:
        """The file itself."""
        yield self.source / self.prefix / name


@dataclass(frozen=True)
class _Entry:
    """Where one file of a zip lies: byte offset of its local header, packed and unpacked size, method, checksum."""

    offset: int
    packed: int
    size: int
    method: int
    checksum: int


class ZipTree(FileTree):
    """Files inside a zip, checked when it is opened and inflated entry by entry."""

    def __init__(
        self,
        source: Path,
        entries: Mapping[str, _Entry] | None = None,
        prefix: str = "",
        label: str = "",
        keep: object = None,
    ) -> None:
        super().__init__(source, prefix, label)
        self._entries = _zip_entries(source, self.label) if entries is None else entries
        self._keep = keep

    @cached_property
    def _sizes(self) -> Mapping[str, int]:
        return {name: entry.size for name, entry in self._entries.items()}

    def _open(self, name: str) -> IO[bytes]:
        return _EntryStream(self.source, self.where(name), self._entries[name])  # type: ignore[return-value]

    def tail(self, name: str, count: int) -> bytes | None:
        """See `FileTree.tail`."""
        entry = self._entries[name]
        if entry.method != zipfile.ZIP_STORED:
            return self.read(name)[-count:] if entry.size <= _CHEAP_BYTES else None
        with self._guard(name), _EntryStream(self.source, self.where(name), entry) as stream:
            return stream.tail(count)

    def below(self, folder: str) -> ZipTree:
        """See `FileTree.below`."""
        if not folder:
            return self
        inside = self._inside(self._entries, folder)
        return ZipTree(self.source, inside, f"{self.prefix}{folder}/", self.label, self._keep)


class _EntryStream:
    """One zip entry as a stream: inflates on demand, never past the declared size, checks the checksum at the end."""

    def __init__(self, archive: Path, where: str, entry: _Entry) -> None:
        self._where, self._entry = where, entry
        self._file = archive.open("rb")
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS) if entry.method == zipfile.ZIP_DEFLATED else None
        self._packed_left, self._given, self._checksum = entry.packed, 0, 0
        try:
            self._seek(entry.offset)
            header = self._file.read(_LOCAL_HEADER.size)
            if len(header) < _LOCAL_HEADER.size or header[:4] != b"PK\x03\x04":
                raise self._damaged("its header is not where the archive says")
            _, name_length, extra_length = _LOCAL_HEADER.unpack(header)
            self._file.seek(name_length + extra_length, os.SEEK_CUR)
        except BaseException:
            self._file.close()
            raise

    def _seek(self, offset: int) -> None:
        try:
            self._file.seek(offset)
        except (OSError, OverflowError, ValueError) as error:  # zip64 has room for what no file system has
            raise self._damaged(f"it starts at byte {offset}, where no file reaches") from error

    def __enter__(self) -> _EntryStream:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self, count: int = -1) -> bytes:
        """Up to `count` bytes, all that is left when negative; ``b""`` at the end."""
        left = self._entry.size - self._given
        count = left if count < 0 else min(count, left)
        pieces = []
        while count > 0:
            piece = self._piece(count)
            if not piece:
                raise self._damaged("it ends early")
            pieces.append(piece)
            count -= len(piece)
            self._given += len(piece)
            self._checksum = zlib.crc32(piece, self._checksum)
        if self._given == self._entry.size and self._checksum != self._entry.checksum:
            raise self._damaged("its checksum is wrong")
        return b"".join(pieces)

    def tail(self, count: int) -> bytes:
        """The last `count` bytes of an entry that is stored uncompressed."""
        self._file.seek(self._entry.size - min(count, self._entry.size), os.SEEK_CUR)
        return self._file.read(min(count, self._entry.size))

    def _piece(self, count: int) -> bytes:
        if self._inflate is None:
            return self._packed(count)
        try:
            piece = self._inflate.decompress(self._inflate.unconsumed_tail, count)
            while not piece and not self._inflate.eof:
                packed = self._packed(min(max(count, _MIN_PACKED), _CHUNK))
                if not packed:
                    break
                piece = self._inflate.decompress(packed, count)
        except zlib.error as error:
            raise self._damaged("its compressed data is broken") from error
        return piece

    def _packed(self, count: int) -> bytes:
        data = self._file.read(min(count, self._packed_left))
        self._packed_left -= len(data)
        return data

    def _damaged(self, reason: str) -> InputError:
        return InputError(f"{self._where} is damaged: {reason}.", remedy=_EXPORT_AGAIN, code="damaged_zip")


class TemporaryFile:
    """A file on disk that is removed with the last tree that reads it."""

    def __init__(self, tree: FileTree, name: str) -> None:
        stack = ExitStack()
        self.path = stack.enter_context(tree.local_path(name))
        weakref.finalize(self, stack.close)


def nested_zip(tree: FileTree, name: str) -> FileTree:
    """The tree of a zip inside a folder or another zip.

    Raises:
        InputError: see `open_tree`.
    """
    if isinstance(tree, FolderTree):
        return open_tree(tree.source / tree.prefix / name)
    copy = TemporaryFile(tree, name)
    return ZipTree(copy.path, label=tree.where(name), keep=copy)


def _zip_entries(source: Path, label: str) -> dict[str, _Entry]:
    """The archive's directory, checked.

    Raises:
        InputError: it is no zip, is cut off, encrypted, a bomb, or names files outside itself.
    """
    try:
        with zipfile.ZipFile(source) as archive:
            infos = [info for info in archive.infolist() if not info.is_dir() and not _ignored(info.filename)]
    except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError, struct.error) as error:
        raise InputError(
            f"{label} is a damaged or truncated zip.", remedy=_EXPORT_AGAIN, code="truncated_zip"
        ) from error
    _refuse_bombs(source, label, infos)
    for info in infos:
        _refuse_unsafe(label, info)
    return {
        info.filename.replace("\\", "/"): _Entry(
            info.header_offset, info.compress_size, info.file_size, info.compress_type, info.CRC
        )
        for info in infos
    }


def _refuse_bombs(source: Path, label: str, infos: list[zipfile.ZipInfo]) -> None:
    total = sum(info.file_size for info in infos)
    packed = sum(info.compress_size for info in infos)
    on_disk = source.stat().st_size
    overlapping = packed > on_disk  # entries that share their bytes: Fifield's construction
    too_dense = total > BOMB_CHECK_FROM_BYTES and total > MAX_BOMB_RATIO * on_disk
    if len(infos) > MAX_ENTRIES or total > MAX_TOTAL_BYTES or overlapping or too_dense:
        raise InputError(
            f"{label} would unpack to {total / 1e6:.0f} MB in {len(infos)} files from {on_disk / 1e6:.1f} MB: "
            "a zip bomb, not a scan.",
            remedy="Do not open it; export the scan from the phone again.",
            code="zip_bomb",
        )


def _refuse_unsafe(label: str, info: zipfile.ZipInfo) -> None:
    name = info.orig_filename
    parts = re.split(r"[/\\]", name)
    reason = ""
    if ".." in parts or name.startswith(("/", "\\")) or re.match(r"^[A-Za-z]:", name) or "\0" in name:
        reason = "points outside the archive"
    elif len(parts) > MAX_FOLDERS_DEEP:
        name, reason = f"{name[:60]}…", f"lies {len(parts) - 1} folders deep"
    elif stat.S_ISLNK(info.external_attr >> 16):
        reason = "is a symbolic link"
    elif info.flag_bits & 0x1:
        reason = "is encrypted"
    elif info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        reason = f"uses compression method {info.compress_type}, which phones do not write"
    if reason:
        raise InputError(
            f"{label}: the entry {name!r} {reason}.",
            remedy="Zip the scan's folder again with the system's own tool, without a password or links.",
            code="unsafe_zip",
        )


def _ignored(name: str) -> bool:
    parts = name.split("/")
    return parts[-1].startswith("._") or not _IGNORED_PARTS.isdisjoint(parts)


def open_tree(path: Path) -> FileTree:
    """The file tree of a folder or a zip (whatever it is called).

    Raises:
        UnsupportedFormatError: a file that is no zip.
        InputError: nothing there, no permission, an empty file, a pipe or device, a damaged or unsafe zip.
    """
    try:
        kind = path.stat().st_mode
        if stat.S_ISDIR(kind):
            return FolderTree(path)
        if not stat.S_ISREG(kind):  # reading a pipe waits for ever
            raise InputError(
                f"{path} is neither a file nor a folder.", remedy="Name the scan's folder or file.", code="not_a_scan"
            )
        with path.open("rb") as file:
            start = file.read(4)
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist.", remedy="Check the path.", code="not_found") from error
    except PermissionError as error:
        raise InputError(
            f"{path} cannot be read: permission denied.",
            remedy="Give yourself read permission (chmod +r) or copy the scan to a folder of your own.",
            code="permission_denied",
        ) from error
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {error.strerror}.", remedy=_EXPORT_AGAIN, code="unreadable"
        ) from error
    if not start:
        raise InputError(f"{path} is an empty file.", remedy=_EXPORT_AGAIN, code="empty_file")
    if start[:2] != b"PK" and path.suffix.lower() in ZIPPED:
        raise UnsupportedFormatError(
            f"{path} does not begin as a zip does: it is damaged, or something else that is only called so.",
            remedy=_EXPORT_AGAIN,
            code="not_a_scan",
        )
    if start[:2] != b"PK":
        raise UnsupportedFormatError(
            f"{path} is a single file and no zip, so no scan.",
            remedy="Name the scan's folder, its zip or its .r3d file.",
            code="not_a_scan",
        )
    return ZipTree(path)
