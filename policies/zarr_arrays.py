"""Arrays of a Zarr v2 group in a folder or a zip, read without trusting them and without the zarr package.

The format (Zarr storage specification, version 2): ``<array>/.zarray`` is JSON with shape, chunks, dtype, compressor,
fill_value and order; a chunk lies in ``<array>/<i>.<j>…``, always whole. Objects (``|O``) are pickles: never read.
"""

from __future__ import annotations

import json
import math
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from policies.dataset_folder import DatasetFolder
from policies.features import bad_dataset
from reconstruction.archive import FileTree, FolderTree
from reconstruction.errors import InputError, MissingToolError

MAX_META_BYTES = 1 << 20
MAX_CHUNK_BYTES = 1 << 28
MAX_READ_BYTES = 4 << 30
MAX_PIECES = 1 << 18
"""Of an array, to be read at once."""
MAX_SIDE = 1 << 48
ATTRIBUTES = ".zarray"


@dataclass(frozen=True)
class ZarrArray:
    """One array; its rows are read as they are needed.

    Attributes:
        tree: of all files; `name`: the array's folder in it.
        shape, chunks: of the array, and of a chunk.
        dtype: of its values.
        codec: id of the compressor; empty for none.
        fill: value of what was never written.
        order: ``"C"`` or ``"F"``, inside chunks.
        separator: between the numbers in a chunk's name.
        problem: why it cannot be read, in words; empty where it can.
    """

    tree: FileTree
    name: str
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    dtype: np.dtype[Any]
    codec: str
    fill: Any
    order: str
    separator: str
    problem: str

    def read(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Rows `start` to `stop`, ``(stop - start, *shape[1:])``.

        Raises:
            InputError: damaged, larger than fits into memory, or not to be read (`problem`).
            MissingToolError: its compressor is not installed.
        """
        where = self.tree.where(self.name)
        if self.problem:
            raise bad_dataset(where, self.problem)
        if math.prod(self.shape[1:]) * (stop - start) * self.dtype.itemsize > MAX_READ_BYTES:
            raise bad_dataset(where, f"{stop - start} rows of it do not fit into memory")
        rows = np.empty((stop - start, *self.shape[1:]), self.dtype)
        counts = [-(-side // chunk) for side, chunk in zip(self.shape[1:], self.chunks[1:], strict=True)]
        if math.prod(counts) * ((stop - start) // self.chunks[0] + 2) > MAX_PIECES:
            raise bad_dataset(where, "it is cut into too many pieces")
        for first in range(start // self.chunks[0], -(-stop // self.chunks[0])):
            base = first * self.chunks[0]
            inside = slice(max(start, base) - base, min(stop, base + self.chunks[0]) - base)
            target = slice(base + inside.start - start, base + inside.stop - start)
            for rest in np.ndindex(*counts):
                offsets = [k * chunk for k, chunk in zip(rest, self.chunks[1:], strict=True)]
                ends = zip(offsets, self.chunks[1:], self.shape[1:], strict=True)
                places = [slice(offset, min(offset + chunk, side)) for offset, chunk, side in ends]
                cut = [slice(0, place.stop - place.start) for place in places]
                rows[(target, *places)] = self._chunk((first, *rest))[(inside, *cut)]
        return rows

    def _chunk(self, numbers: tuple[int, ...]) -> npt.NDArray[Any]:
        name = f"{self.name}/{self.separator.join(map(str, numbers))}"
        if name not in self.tree:
            if self.fill is None:
                raise bad_dataset(self.tree.where(name), "it is missing")
            return np.full(self.chunks, self.fill, self.dtype)
        size = math.prod(self.chunks) * self.dtype.itemsize
        packed = read_bytes(self.tree, name, 2 * size + (1 << 16))
        try:
            data = CODECS[self.codec](packed, size, self.chunks)
        except MissingToolError:
            raise
        except Exception as error:  # every codec's package has errors of its own
            text = " ".join(str(error).split())[:200]
            raise bad_dataset(self.tree.where(name), f"{self.codec or 'raw'} data is damaged ({text})") from error
        if len(data) != size:
            raise bad_dataset(self.tree.where(name), f"it holds {len(data)} bytes, not {size}")
        return np.frombuffer(data, self.dtype).reshape(self.chunks, order=self.order)  # type: ignore[call-overload,no-any-return]


def read_bytes(tree: FileTree, name: str, limit: int) -> bytes:
    """A file of the tree; its errors are those of a dataset."""
    if isinstance(tree, FolderTree):
        DatasetFolder(Path(tree.where())).path(name)  # refuses links that lead out of it
    try:
        return tree.read(name, limit)
    except InputError as error:
        raise bad_dataset(tree.where(name), error.message.rstrip(".")) from error


def zarr_array(tree: FileTree, name: str) -> ZarrArray:
    """The array in the folder `name`, described; what cannot be read has a `problem`.

    Raises:
        InputError: its description is damaged.
    """
    where = tree.where(f"{name}/{ATTRIBUTES}")
    try:
        meta = json.loads(read_bytes(tree, f"{name}/{ATTRIBUTES}", MAX_META_BYTES))
        shape, chunks = tuple(meta["shape"]), tuple(meta["chunks"])
        compressor, filters, kind = meta["compressor"], meta["filters"], meta["dtype"]
        fill, order, separator = meta["fill_value"], meta["order"], meta.get("dimension_separator", ".")
        codec = compressor["id"] if compressor else ""
        plain = isinstance(kind, str) and kind[1:2] in "biuf" and kind[:1] in "<>|"
        dtype = np.dtype(kind if plain else np.uint8)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise bad_dataset(where, f"it describes no array of Zarr version 2 ({error})") from error
    sides = all(type(side) is int and 0 <= side <= MAX_SIDE for side in shape) and all(
        type(side) is int and 0 < side <= MAX_SIDE for side in chunks
    )
    if meta.get("zarr_format") != 2 or not sides or len(shape) != len(chunks) or not shape:
        raise bad_dataset(where, f"its shape is {shape!r}, in pieces of {chunks!r}")
    if order not in ("C", "F") or separator not in (".", "/"):
        raise bad_dataset(where, f"its order is {order!r}, its separator {separator!r}")
    problem = ""
    if not plain or dtype.itemsize > 8:
        problem = f"it holds {kind!r}, no plain numbers"
    elif codec not in CODECS or filters:
        problem = f"it is packed with {codec or filters!r}, which is not known here"
    elif math.prod(chunks) * dtype.itemsize > MAX_CHUNK_BYTES:
        problem = f"its pieces are larger than {MAX_CHUNK_BYTES >> 20} MiB"
    elif fill is not None and not isinstance(fill, int | float):
        problem = f"its fill value is {fill!r}"
    return ZarrArray(tree, name, shape, chunks, dtype, str(codec), fill, order, separator, problem)


# --- codecs: packed bytes, size that must come out, shape of the chunk -----------------------------------------------


def _raw(data: bytes, size: int, chunks: tuple[int, ...]) -> bytes:
    return data


def _zlib(bits: int) -> Callable[[bytes, int, tuple[int, ...]], bytes]:
    def unpack(data: bytes, size: int, chunks: tuple[int, ...]) -> bytes:
        return zlib.decompressobj(bits).decompress(data, size + 1)

    return unpack


def _zstd(data: bytes, size: int, chunks: tuple[int, ...]) -> bytes:
    import pyarrow as pa

    return pa.decompress(data, decompressed_size=size, codec="zstd", asbytes=True)  # type: ignore[no-any-return]


def _lz4(data: bytes, size: int, chunks: tuple[int, ...]) -> bytes:
    import pyarrow as pa

    return pa.decompress(data[4:], decompressed_size=size, codec="lz4_raw", asbytes=True)  # type: ignore[no-any-return]


def _blosc(data: bytes, size: int, chunks: tuple[int, ...]) -> bytes:
    numcodecs = _package("numcodecs")
    # Its header (16 bytes) says how much will come out: asked before it does.
    (declared,) = struct.unpack_from("<I", data, 4)
    if declared != size or len(data) < 16:
        raise ValueError(f"{declared} bytes are declared, not {size}")
    return bytes(numcodecs.Blosc().decode(data))


def _jpegxl(data: bytes, size: int, chunks: tuple[int, ...]) -> bytes:
    picture = np.empty(chunks[1:], np.uint8)
    _package("imagecodecs").jpegxl_decode(data, out=picture)  # refuses pictures of another size
    return picture.tobytes()


def _package(name: str) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingToolError(
            f"This dataset is packed so that {name} is needed to read it.",
            remedy="pip install 'pocketworld[foreign]'",
            code="missing_package",
        ) from error


CODECS: dict[str, Callable[[bytes, int, tuple[int, ...]], bytes]] = {
    "": _raw,
    "zlib": _zlib(zlib.MAX_WBITS),
    "gzip": _zlib(zlib.MAX_WBITS | 16),
    "zstd": _zstd,
    "lz4": _lz4,
    "blosc": _blosc,
    "imagecodecs_jpegxl": _jpegxl,
}
"""By numcodecs' id."""
