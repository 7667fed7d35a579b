"""Reads what is drawn: a scene folder's entries and meshes, each file once, and point clouds."""

from __future__ import annotations

import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from reconstruction.errors import InputError
from reconstruction.mesh import FaceArray, Mesh, read_obj, read_png
from reconstruction.scene import inside
from simulation.world import read_scene_document

FloatArray = npt.NDArray[np.float64]
Stamp = tuple[str, int, int]
PIECE_BYTES = 1 << 20
AGAIN = "Make the scene again on the Scan page."
"""What helps, as the window calls it: whoever reads a scene here looks at it there."""


@dataclass(frozen=True)
class Entry:
    """What a ``scene.json`` says of one thing that is drawn; files are read when they are needed.

    Attributes:
        visual: its surface; `parts`: its convex parts; `seen`: the surface coloured by what was measured, or None.
        stamps: of the files, so that an edit is noticed.
        support: what it stands on.
    """

    name: str
    pose: FloatArray
    visual: Path
    parts: tuple[Path, ...]
    seen: Path | None
    stamps: tuple[Stamp, ...]
    support: str


@dataclass(frozen=True)
class Document:
    """What a ``scene.json`` says, as far as it is drawn.

    Attributes:
        supports: by name: a plane ``(4,)`` and an outline ``(N, 3)``.
        mount: ``(4, 4)`` where the robot stands, or None.
    """

    folder: Path
    objects: tuple[Entry, ...]
    background: Path | None
    supports: dict[str, tuple[FloatArray, FloatArray]]
    mount: FloatArray | None


def read_document(folder: Path) -> Document:
    """Read a scene folder's ``scene.json``.

    Raises:
        InputError: it is damaged, or a file that it names is missing.
    """
    try:
        document, folder = read_scene_document(folder)
    except InputError as error:
        raise InputError(error.message, remedy=AGAIN, code=error.code) from None
    try:
        background = document["background"]
        mount = document.get("robot_mount")
        objects = tuple(_entry(item, folder) for item in document["objects"])
        if len({item.name for item in objects}) < len(objects):
            raise ValueError("two things have the same name")
        return Document(
            folder,
            objects,
            None if background is None else inside(folder, background["visual"]),
            {
                str(item["name"]): (_numbers(item["plane"], (4,)), _numbers(item["polygon"], (-1, 3)))
                for item in document["supports"]
            },
            None if mount is None else _numbers(mount, (4, 4)),
        )
    except (OSError, KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InputError(f"{folder / 'scene.json'} is damaged: {error!r}.", remedy=AGAIN, code="bad_scene") from None


def _entry(item: dict[str, Any], folder: Path) -> Entry:
    visual, seen = inside(folder, item["visual"]), item.get("seen")
    parts = tuple(inside(folder, path) for path in item["collision"])
    seen = inside(folder, seen) if seen else None
    files = (visual, *parts) if seen is None else (visual, *parts, seen)
    pose = _numbers(item["scene_from_object"], (4, 4))
    return Entry(
        str(item["name"]), pose, visual, parts, seen, tuple(stamp(path) for path in files), str(item.get("support", ""))
    )


def _numbers(given: Any, shape: tuple[int, ...]) -> FloatArray:
    array = np.array(given, dtype=np.float64).reshape(shape)
    if not np.isfinite(array).all():
        raise ValueError("a number is not finite")
    return array


def stamp(path: Path) -> Stamp:
    """Changes when the file does."""
    state = path.stat()
    return str(path), state.st_mtime_ns, state.st_size


class Meshes:
    """Meshes by file: one that was read and has not changed since is not read again."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Stamp, Mesh]] = {}

    def read(self, path: Path) -> Mesh:
        """The mesh in an OBJ file.

        Raises:
            InputError: it is missing or damaged.
        """
        try:
            now = stamp(path)
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error}.", remedy=AGAIN, code="bad_mesh") from None
        kept = self._known.get(now[0])
        if kept is None or kept[0] != now:
            kept = self._known[now[0]] = now, read_quickly(path)
        return kept[1]

    def forget(self, keep: set[Path]) -> None:
        """Drop all but these files."""
        names = set(map(str, keep))
        self._known = {name: kept for name, kept in self._known.items() if name in names}


def read_quickly(path: Path) -> Mesh:
    """`reconstruction.mesh.read_obj`, ten times as fast for files as `write_obj` writes them.

    Raises:
        InputError: the file is missing or damaged.
    """
    try:
        found = _blocks(path)
    except (OSError, ValueError, DeprecationWarning):
        found = None
    return read_obj(path) if found is None else found


def _blocks(path: Path) -> Mesh | None:
    """A mesh from a file that holds all positions, then all texture coordinates, then all faces; None: another order.

    Raises:
        ValueError, DeprecationWarning: what is there are no numbers.
    """
    data = b"\n" + path.read_bytes()
    first, texts, faces = data.find(b"\nv "), data.find(b"\nvt "), data.find(b"\nf ")
    if first < 0 or faces < first or 0 <= texts < first or texts > faces:
        return None
    positions = _table(data[first : faces if texts < 0 else texts], b"v ")
    if positions.shape[1] not in (3, 6):
        return None
    indices = _table(data[faces:].replace(b"/", b" "), b"f ").astype(np.int64) - 1
    colors = corner_uv = texture = None
    if positions.shape[1] == 6:
        colors = np.round(np.clip(positions[:, 3:], 0, 1) * 255).astype(np.uint8)
    if texts >= 0:
        uv = _table(data[texts:faces], b"vt ").astype(np.float32)
        if indices.shape[1] != 6 or uv.shape[1] != 2 or not _within(indices[:, 1::2], len(uv)):
            return None
        texture = read_png(path.with_suffix(".png"))
        corner_uv = None if texture is None else uv[indices[:, 1::2]]
        indices = indices[:, ::2]
    if indices.shape[1] != 3 or not _within(indices, len(positions)) or not np.isfinite(positions).all():
        return None
    return Mesh(positions[:, :3], np.ascontiguousarray(indices), corner_uv, texture, colors)


def _table(block: bytes, word: bytes) -> FloatArray:
    columns = len(block[1 : block.find(b"\n", 1)].split()) - 1
    text = block.replace(b"\n" + word, b"\n")
    found, start = [], 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # how NumPy says that there is something else than numbers
        while start < len(text):  # in pieces, between which another thread can draw
            end = text.find(b"\n", start + PIECE_BYTES)
            end = len(text) if end < 0 else end
            found.append(np.fromstring(text[start:end].decode("ascii"), sep=" "))
            start = end + 1
    return np.concatenate(found).reshape(-1, columns)


def _within(indices: FaceArray, count: int) -> bool:
    return bool(len(indices)) and bool(indices.min() >= 0) and bool(indices.max() < count)


@dataclass(frozen=True)
class Cloud:
    """Points ``(N, 3)``, their colours ``(N, 3)`` uint8, and the camera's way ``(M, 3)``."""

    points: npt.NDArray[np.float32]
    colors: npt.NDArray[np.uint8]
    path: npt.NDArray[np.float32]


def read_cloud(path: Path) -> Cloud:
    """Read a point cloud.

    Raises:
        InputError: it is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            points = np.asarray(arrays["points"], dtype=np.float32).reshape(-1, 3)
            colors = np.asarray(arrays["colors"], dtype=np.uint8).reshape(-1, 3)
            way = np.asarray(arrays["path"] if "path" in arrays else np.zeros((0, 3)), dtype=np.float32)
            way = way.reshape(-1, 3)
        if len(points) != len(colors) or not np.isfinite(way).all():
            raise ValueError("points and colours do not fit")
    except (OSError, KeyError, TypeError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path} is not a readable point cloud: {error}.", remedy="Scan again.", code="bad_cloud"
        ) from None
    good = np.isfinite(points).all(axis=1)
    return Cloud(points[good], colors[good], way)
