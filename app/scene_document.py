"""A scene that is being edited. Its state is the text of ``scene.json``: undo puts an earlier text back, byte for byte.

An edit writes what it makes (a merged thing, a half, a copy) into a folder of its own, ``edits/<number>/``, and never
touches files that an earlier state names, but for the ``object.urdf`` of a thing whose name, mass or friction changed.
Every state is on the disk, whole, as soon as it is reached. Killed in between, the next opening tidies up.
"""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from app.project import Project, real_path
from app.scene_draft import OWN_FOLDER, OWN_MARK, Draft, Edit, bad_scene, parsed_scene, remove_own, scene_files
from reconstruction.disk import locked, sync, write_whole, writing_to
from reconstruction.errors import InputError, PocketworldError, UsageError
from reconstruction.mesh import Mesh
from reconstruction.scene import EDITED, inside, urdf_text

FloatArray = npt.NDArray[np.float64]
SESSION = ".editing"
"""Lies beside ``scene.json`` while it is being edited; found at the opening, the last session was killed."""
KEPT_BY_RECONSTRUCT = ("robot_mount", "mounted_by")
"""`pocketworld reconstruct` keeps the robot's place itself (`app.stages`): nothing is lost, so nothing is marked."""
IN_URDF = ("name", "visual", "collision", "mass_kg", "center_of_mass", "inertia", "friction", "restitution")


@dataclass(frozen=True)
class ListedThing:
    """What a list shows of a thing; see `reconstruction.scene.SceneObject`.

    Attributes:
        size_m: width, depth, height along the axes of its own frame.
        pose: ``(4, 4)`` `scene_from_object`.
    """

    name: str
    material: str
    mass_kg: float
    mass_interval_kg: tuple[float, float]
    friction: float
    restitution: float
    size_m: tuple[float, float, float]
    seen_fraction: float
    support: str
    pose: FloatArray


class SceneDocument:
    """A scene folder that is open for edits.

    One at a time: a second opening is refused. Between edits the project is free for other commands; an edit while one
    of them works on it, or after it has changed ``scene.json``, is refused and changes nothing.
    """

    def __init__(self, folder: Path, text: str, held: contextlib.ExitStack) -> None:
        """See `open`."""
        self.folder = folder
        self._path = folder / "scene.json"
        self._held = held
        self._open = True
        self._begun = False
        self._parts: dict[tuple[str, ...], tuple[Mesh, ...]] = {}
        self._text = text
        self._document = parsed_scene(text, self._path)
        self._objects = _listed(self._document, self._path)
        self._urdf_keys = {entry["urdf"]: _urdf_key(entry) for entry in self._document["objects"]}
        self._urdf_texts: dict[tuple[str, str], bytes] = {}

    @classmethod
    def open(cls, scene_folder: Path) -> SceneDocument:
        """Open a scene folder (or its ``scene.json``) for edits.

        Raises:
            InputError: no scene there, or a damaged one.
            UsageError: it is open elsewhere, or is a digital cousin.
            OutputError: nothing can be written there.
        """
        folder = real_path(scene_folder)
        folder = folder.parent if folder.name == "scene.json" else folder
        path = folder / "scene.json"
        if "cousin" in parsed_scene(_read(path), path):
            raise UsageError(
                f"{folder} is a digital cousin: it follows from its recipe.",
                remedy="Edit the scene that it was made from.",
                code="is_a_cousin",
            )
        with contextlib.ExitStack() as held:
            held.enter_context(locked(folder))
            document = cls(folder, _read(path), held.pop_all())
        try:
            # Busy, it can still be looked at; the first edit tidies up then.
            with contextlib.suppress(UsageError), document._project_locked():
                document._recover()
        except BaseException:
            document._held.close()
            raise
        return document

    def __enter__(self) -> SceneDocument:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def text(self) -> str:
        """The state: ``scene.json`` as it lies on the disk."""
        return self._text

    @property
    def objects(self) -> tuple[ListedThing, ...]:
        """The things, in the order of ``scene.json``."""
        return self._objects

    def draft(self) -> Draft:
        """The scene to look into, with its meshes; changing it changes nothing."""
        return Draft(self.folder, copy.deepcopy(self._document), self._parts)

    def apply(self, edit: Edit) -> None:
        """Make an edit; the new state is on the disk when this returns. Whatever is raised, nothing has changed.

        Raises:
            UsageError: the edit makes no sense, or the scene is in use, or has been changed by another program.
            InputError: a mesh is damaged.
            OutputError: the disk is full, or may not be written.
        """
        with self._writing():
            draft = self.draft()
            try:
                edit.change(draft)
                _mark(draft.document, self._document, edit.label)
                self._commit(json.dumps(draft.document, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
            except BaseException:
                # Only where the new state did not get as far as the disk: else that would lose its files.
                with contextlib.suppress(OSError):
                    if self._path.read_bytes() == self._text.encode("utf-8"):
                        draft.discard()
                raise

    def put(self, text: str) -> None:
        """Go to a state that `text` was in this session: undo and redo.

        Raises:
            UsageError: a file of that state is gone, or as with `apply`.
            InputError: it is none.
            OutputError: the disk is full, or may not be written.
        """
        with self._writing():
            document = parsed_scene(text, self._path)
            try:
                for file in scene_files(document):
                    inside(self.folder, file)
            except InputError as error:
                raise UsageError(
                    f"There is no way back to this state of {self.folder}: {error.message}",
                    remedy="Open the scene again, and go on from what is there now.",
                    code="state_is_gone",
                ) from None
            self._commit(text)

    def close(self) -> None:
        """Clear away what only undo and redo needed, and let others edit; harmless when repeated."""
        if not self._open:
            return
        self._open = False
        with self._held:
            # Changed by others, it is theirs to tidy up: the next opening does.
            if self._begun and self._is_ours():
                self._clear_unused()
                with contextlib.suppress(OSError):
                    (self.folder / SESSION).unlink(missing_ok=True)

    # --- writing -----------------------------------------------------------------------------------------------------

    def _project_locked(self) -> contextlib.AbstractContextManager[None]:
        project = Project(self.folder.parent)
        return project.locked() if project.is_project else contextlib.nullcontext()

    def _is_ours(self) -> bool:
        try:
            return self._path.read_bytes() == self._text.encode("utf-8")
        except OSError:
            return False

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        if not self._open:
            raise UsageError(f"{self.folder} is closed.", remedy="Open the scene again.", code="closed")
        with self._project_locked():
            if not self._is_ours():
                raise UsageError(
                    f"{self._path} was changed by another program since it was opened here.",
                    remedy="Open the scene again to see what is there now, then make the edit once more.",
                    code="scene_changed",
                )
            if not self._begun:
                self._recover()
                write_whole(self.folder / SESSION, "Open in Pocketworld's editor, or left by one that was killed.\n")
                self._begun = True
            yield

    def _commit(self, text: str) -> None:
        """Write a state: ``scene.json`` at one stroke, then the URDFs, which are prepared before."""
        if text == self._text:
            return
        document = parsed_scene(text, self._path)
        objects = _listed(document, self._path)
        keys = {entry["urdf"]: _urdf_key(entry) for entry in document["objects"]}
        staged: list[tuple[Path, Path, bytes]] = []
        try:
            with writing_to(self.folder):
                for entry in document["objects"]:
                    before = self._urdf_keys.get(entry["urdf"])
                    if before is not None and before != keys[entry["urdf"]]:
                        staged.append(self._stage_urdf(entry, before))
                write_whole(self._path, text)
        except BaseException:
            for _, partial, _ in staged:
                with contextlib.suppress(OSError):
                    partial.unlink(missing_ok=True)
            raise
        try:
            with writing_to(self.folder):
                for path, partial, _ in staged:
                    partial.replace(path)
        except BaseException:
            with contextlib.suppress(OSError, PocketworldError):
                for path, _, old in staged:
                    write_whole(path, old)
                write_whole(self._path, self._text)
            raise
        self._urdf_keys |= keys
        self._text, self._document, self._objects = text, document, objects

    def _stage_urdf(self, entry: dict[str, Any], before: str) -> tuple[Path, Path, bytes]:
        """Write a thing's URDF beside its old one: the path, where the new one lies, what the old one holds.

        One that was there before comes back as it was: the digits of ``scene.json`` are fewer.
        """
        path = inside(self.folder, entry["urdf"])
        partial = path.with_name(f"{path.name}.partial")
        old = self._urdf_texts.setdefault((entry["urdf"], before), path.read_bytes())
        new = self._urdf_texts.get((entry["urdf"], _urdf_key(entry)), _urdf_text(entry).encode("utf-8"))
        try:
            partial.write_bytes(new)
            sync(partial)
        except BaseException:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
            raise
        return path, partial, old

    # --- tidying up --------------------------------------------------------------------------------------------------

    def _recover(self) -> None:
        """Tidy up after a session that was killed; nothing to do after any other."""
        if (self.folder / SESSION).is_file():
            for entry in self._document["objects"]:
                path = inside(self.folder, entry["urdf"])
                path.with_name(f"{path.name}.partial").unlink(missing_ok=True)
                text = _urdf_text(entry)
                if path.read_text(encoding="utf-8", errors="replace") != text:
                    write_whole(path, text)
            (self.folder / "scene.json.partial").unlink(missing_ok=True)
        self._clear_unused()
        with contextlib.suppress(OSError):
            for name in (f"{SESSION}.partial", SESSION):
                (self.folder / name).unlink(missing_ok=True)

    def _clear_unused(self) -> None:
        """Remove what edits made and ``scene.json`` does not name."""
        place = self.folder / OWN_FOLDER
        if place.is_symlink() or not place.is_dir():
            return
        used = {
            PurePosixPath(file).parts[1] for file in scene_files(self._document) if file.startswith(f"{OWN_FOLDER}/")
        }
        for folder in place.iterdir():
            if folder.name not in used and not folder.is_symlink() and (folder / OWN_MARK).is_file():
                remove_own(folder)
            elif folder.name.endswith(".partial"):  # killed before it had its mark, it is empty
                with contextlib.suppress(OSError):
                    folder.rmdir()
        with contextlib.suppress(OSError):
            place.rmdir()


def _mark(document: dict[str, Any], before: dict[str, Any], label: str) -> None:
    """Note in `document` that it was edited by hand, where more was than `reconstruct` keeps anyway."""
    rest = [
        {key: value for key, value in each.items() if key not in KEPT_BY_RECONSTRUCT} for each in (document, before)
    ]
    if rest[0] != rest[1]:
        said = document.setdefault(EDITED, [])
        if not said or said[-1] != label:
            said.append(label)


# --- what stands in scene.json ---------------------------------------------------------------------------------------


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")  # read_text would change line ends
    except (OSError, ValueError) as error:
        raise bad_scene(path, error) from None


def _listed(document: dict[str, Any], path: Path) -> tuple[ListedThing, ...]:
    try:
        for key in IN_URDF:
            _ = [entry[key] for entry in document["objects"]]
        _ = scene_files(document)
        return tuple(
            ListedThing(
                name=str(entry["name"]),
                material=str(entry["material"]),
                mass_kg=float(entry["mass_kg"]),
                mass_interval_kg=(float(entry["mass_interval_kg"][0]), float(entry["mass_interval_kg"][1])),
                friction=float(entry["friction"]),
                restitution=float(entry["restitution"]),
                size_m=(float(entry["size_m"][0]), float(entry["size_m"][1]), float(entry["size_m"][2])),
                seen_fraction=float(entry["seen_fraction"]),
                support=str(entry.get("support", "")),
                pose=np.array(entry["scene_from_object"], dtype=np.float64).reshape(4, 4),
            )
            for entry in document["objects"]
        )
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise bad_scene(path, error) from None


def _urdf_key(entry: dict[str, Any]) -> str:
    return json.dumps([entry[key] for key in IN_URDF])


def _urdf_text(entry: dict[str, Any]) -> str:
    """A thing's URDF; its meshes lie beside it."""
    return urdf_text(
        entry["name"],
        PurePosixPath(entry["visual"]).name,
        [PurePosixPath(file).name for file in entry["collision"]],
        float(entry["mass_kg"]),
        np.array(entry["center_of_mass"], dtype=np.float64),
        np.array(entry["inertia"], dtype=np.float64).reshape(3, 3),
        float(entry["friction"]),
        float(entry["restitution"]),
    )
