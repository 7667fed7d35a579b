"""A scene as an edit changes it: its document, its things with their meshes, and a place for new files.

What an edit makes (a merged thing, a half, a copy) goes into a folder of its own, ``edits/<number>/`` in the scene: no
file that an earlier state names is ever touched.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from reconstruction.disk import sync, sync_tree, writing_to
from reconstruction.errors import InputError, UsageError
from reconstruction.mesh import Mesh, read_obj
from reconstruction.scene import FORMAT, LEARNT, VERSION, Scene, SceneObject, Support, inside

FloatArray = npt.NDArray[np.float64]
OWN_FOLDER = "edits"
OWN_MARK = ".pocketworld-edit"
"""Lies in each folder that an edit made: such a folder may be cleared away when no state names it any more."""


class Edit(Protocol):
    """One change of a scene."""

    @property
    def label(self) -> str:
        """What it does, for the undo menu: ``Move mug``."""
        ...

    def change(self, draft: Draft) -> None:
        """Make the change, or raise a `PocketworldError`."""
        ...


class Draft:
    """The scene as it is to be after an edit.

    Attributes:
        folder: of the scene.
        document: its ``scene.json``, for the edit to change.
    """

    def __init__(self, folder: Path, document: dict[str, Any], parts: dict[tuple[str, ...], tuple[Mesh, ...]]) -> None:
        """`parts` remembers what was read: no file that a state names ever changes."""
        self.folder = folder
        self.document = document
        self._parts = parts
        self._made: list[Path] = []

    @property
    def entries(self) -> list[dict[str, Any]]:
        """The things, as they stand in ``scene.json``."""
        found: list[dict[str, Any]] = self.document["objects"]
        return found

    @property
    def names(self) -> list[str]:
        """The things' names."""
        return [entry["name"] for entry in self.entries]

    @property
    def supports(self) -> tuple[Support, ...]:
        """The supports."""
        return tuple(
            Support(entry["name"], np.array(entry["plane"]), np.array(entry["polygon"]))
            for entry in self.document["supports"]
        )

    def entry(self, name: str) -> dict[str, Any]:
        """A thing's entry.

        Raises:
            UsageError: there is none of this name.
        """
        for entry in self.entries:
            if entry["name"] == name:
                return entry
        raise UsageError(
            f"The scene has no {name!r}.", remedy=f"Name one of: {', '.join(self.names)}.", code="no_such_thing"
        )

    def pose(self, name: str) -> FloatArray:
        """``(4, 4)`` `scene_from_object` of a thing."""
        return np.array(self.entry(name)["scene_from_object"], dtype=np.float64).reshape(4, 4)

    def parts(self, name: str) -> tuple[Mesh, ...]:
        """A thing's convex parts, in its own frame.

        Raises:
            InputError: a file is missing or damaged.
        """
        files = tuple(self.entry(name)["collision"])
        if files not in self._parts:
            self._parts[files] = tuple(read_obj(inside(self.folder, file)) for file in files)
        return self._parts[files]

    def thing(self, name: str) -> SceneObject:
        """A thing with all its meshes.

        Raises:
            InputError: a file is missing or damaged.
        """
        entry = self.entry(name)
        visual = read_obj(inside(self.folder, entry["visual"]))
        if entry.get("seen"):
            seen = _read_seen(inside(self.folder, entry["seen"]), len(visual.vertices))
            visual = Mesh(visual.vertices, visual.faces, visual.corner_uv, visual.texture, visual.colors, seen)
        low, high = entry.get("mass_interval_kg", (0.0, 0.0))
        return SceneObject(
            name=name,
            scene_from_object=self.pose(name),
            visual=visual,
            convex_parts=self.parts(name),
            mass_kg=float(entry["mass_kg"]),
            center_of_mass=np.array(entry["center_of_mass"], dtype=np.float64).reshape(3),
            inertia=np.array(entry["inertia"], dtype=np.float64).reshape(3, 3),
            friction=float(entry["friction"]),
            restitution=float(entry["restitution"]),
            material=entry["material"],
            volume_m3=float(entry["volume_m3"]),
            seen_fraction=float(entry["seen_fraction"]),
            mass_interval_kg=(float(low), float(high)),
            support=entry.get("support", ""),
        )

    def write(self, scene: Scene) -> dict[str, Any]:
        """Write all files of `scene` into a new folder; its document, with paths that lead there.

        Raises:
            OutputError: no space, no permission, something in the way.
        """
        place = self.folder / OWN_FOLDER
        if place.is_symlink():
            raise InputError(f"{place} is a link out of the scene.", remedy="Take it away.", code="unsafe_path")
        number = 1
        while any((place / f"{number}{ending}").exists() for ending in ("", ".partial")):
            number += 1
        target, partial = place / str(number), place / f"{number}.partial"
        self._made += [target, partial]
        with writing_to(self.folder):
            place.mkdir(exist_ok=True)
            partial.mkdir()
            (partial / OWN_MARK).touch()
            scene.save(partial)
            written: dict[str, Any] = json.loads((partial / "scene.json").read_text(encoding="utf-8"))
            (partial / "scene.json").unlink()
            sync_tree(partial)
            partial.rename(target)
            sync(place)
        _prefix(written, f"{OWN_FOLDER}/{number}/")
        return written

    def add(self, item: SceneObject) -> None:
        """Write a new thing, and list it as the last."""
        self.entries.extend(self.write(Scene(np.eye(4), objects=(item,)))["objects"])

    def replace(self, name: str, *items: SceneObject) -> None:
        """Write new things, and list them in the place of another."""
        written = self.write(Scene(np.eye(4), objects=items))["objects"]
        number = self.names.index(name)
        self.remove(name)
        self.entries[number:number] = written

    def remove(self, name: str) -> None:
        """Take a thing, and all that is recorded of it, out of the document."""
        self.entries.remove(self.entry(name))
        self.document.get("settling", {}).pop(name, None)
        self.learnt.pop(name, None)
        self.tidy_learnt()

    @property
    def learnt(self) -> dict[str, Any]:
        """What recorded runs have taught of the things, by name (docs/on-disk.md); to be changed, then tidied."""
        found: dict[str, Any] = self.document.get(LEARNT, {}).get("things", {})
        return found

    def tidy_learnt(self) -> None:
        """Without anything learnt the key is not there."""
        if LEARNT in self.document and not any(self.document[LEARNT].values()):
            del self.document[LEARNT]

    def discard(self) -> None:
        """Clear away what the edit has written."""
        for folder in self._made:
            remove_own(folder)
        with contextlib.suppress(OSError):
            (self.folder / OWN_FOLDER).rmdir()


def remove_own(folder: Path) -> None:
    """Remove a folder of our own, its mark last: killed in between, it is still known as ours."""
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name != OWN_MARK:
                path.unlink()
        shutil.rmtree(folder, ignore_errors=True)


# --- what stands in scene.json ---------------------------------------------------------------------------------------


def parsed_scene(text: str, path: Path) -> dict[str, Any]:
    """A state's document.

    Raises:
        InputError: it is no scene of this version.
    """
    try:
        document = json.loads(text)
        if not isinstance(document, dict) or document.get("format") != FORMAT or document.get("version") != VERSION:
            raise ValueError("it is none of this version")
    except (ValueError, RecursionError) as error:
        raise bad_scene(path, error) from None
    return document


def bad_scene(path: Path, error: Exception) -> InputError:
    """The refusal of a ``scene.json`` that cannot be read."""
    return InputError(
        f"{path} is not a readable Pocketworld scene: {error}.",
        remedy="Make the scene again from its scan.",
        code="bad_scene",
    )


def scene_files(document: dict[str, Any]) -> list[str]:
    """All files that a state names."""
    background = document["background"]
    files = [entry["urdf"] for entry in document["supports"]]
    files += [] if background is None else [background["visual"]]
    for entry in document["objects"]:
        files += [entry["visual"], entry["urdf"], *entry["collision"], *([entry["seen"]] if entry.get("seen") else [])]
    return files


def _prefix(document: dict[str, Any], prefix: str) -> None:
    """Put `prefix` before every path."""
    for entry in [*document["supports"], *document["objects"]]:
        entry["urdf"] = prefix + entry["urdf"]
    if document["background"] is not None:
        document["background"]["visual"] = prefix + document["background"]["visual"]
    for entry in document["objects"]:
        entry["visual"] = prefix + entry["visual"]
        entry["collision"] = [prefix + file for file in entry["collision"]]
        entry["seen"] = prefix + entry["seen"] if entry["seen"] else None


def _read_seen(path: Path, count: int) -> npt.NDArray[np.float32]:
    """What ``seen.ply`` says of each of `count` vertices, 0 … 1."""
    vertex = np.dtype([("xyz", "<f4", 3), ("rgb", "u1", 3), ("seen", "u1")])
    header, _, body = path.read_bytes().partition(b"end_header\n")
    if not re.search(rb"element vertex %d\n" % count, header) or len(body) < count * vertex.itemsize:
        raise InputError(f"{path} is damaged.", remedy="Reconstruct the scan again.", code="bad_mesh")
    table = np.frombuffer(body, dtype=vertex, count=count)
    return np.asarray(table["seen"], dtype=np.float32) / np.float32(255)
