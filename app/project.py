"""The project folder: one sub-folder a stage of the walk, each written whole or not at all.

On disk (also ``docs/on-disk.md``)::

    <project>/
      project.json        format "pocketworld.project", version, name, scan (the path it came from)
      capture/            inspection.json, contact_sheet.jpg, stage.json
      scene/              scene.json and what it names (`reconstruction.scene`), stage.json
      reality/            likewise of what is really there, where that is known, stage.json
      report.html         written from the stages, can be made again at any time
      .cache/             saves time when a stage runs again; may be deleted

A stage is written into ``<stage>.partial/`` and renamed when all of it is on the disk, its ``stage.json`` last. So
whatever has its final name is complete, whenever the process was killed; `Project.recover` clears away the rest.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import math
import os
import platform
import re
import shutil
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from reconstruction.disk import locked, sync, sync_tree, write_whole, writing_to
from reconstruction.errors import InputError, OutputError, PocketworldError, UsageError

PROJECT_FORMAT = "pocketworld.project"
STAGE_FORMAT = "pocketworld.stage"
VERSION = 1
STAGES = ("capture", "scene", "cousins", "episodes", "policy", "bundle", "reality")
RECORDED_PACKAGES = ("numpy", "scipy", "open3d", "opencv-python", "trimesh", "manifold3d", "coacd", "pybullet")
OWN_FILES = {"project.json", "project.json.partial", ".lock", "pocketworld.log"}
NO_NAME = re.compile(
    r"(?i)exr_rgbd|all[_ ]data|raw[_ ]data|keyframes|data|export|scan|(?=.*\d)(?=.*[a-f])[0-9a-f]{8,10}"
)
"""Names that apps give to the folder inside every export; Stray Scanner's is a random hexadecimal number."""


def version() -> str:
    """Pocketworld's own version."""
    try:
        return importlib.metadata.version("pocketworld")
    except importlib.metadata.PackageNotFoundError:
        return "0 (not installed)"


@dataclass(frozen=True)
class StageKey:
    """What a stage's result depends on: with an equal key it is not run again.

    Attributes:
        settings: JSON-able, the stage's settings dataclass as a dict.
        inputs: content hash of each input by name.
        code: hash of the source files that make the stage (`code_hash`).
    """

    settings: dict[str, Any]
    inputs: dict[str, str]
    code: str

    def as_json(self) -> dict[str, Any]:
        """The key as it reads back from ``stage.json``."""
        read_back: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return read_back


@dataclass(frozen=True)
class StageNotes:
    """What a stage has to tell besides its files, recorded in its ``stage.json``.

    Attributes:
        warnings: plain sentences with advice.
        timings: seconds of each step, in order.
        figures: JSON-able numbers.
    """

    warnings: tuple[str, ...] = ()
    timings: dict[str, float] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Project:
    """A project folder. `folder` need not exist before `create`."""

    folder: Path

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name

    @property
    def is_project(self) -> bool:
        """Whether Pocketworld made this folder."""
        return stat.S_ISREG(mode_of(self.folder / "project.json"))

    def stage_folder(self, stage: str) -> Path:
        """Where a finished stage lies."""
        return self.folder / stage

    @staticmethod
    def open(folder: Path) -> Project:
        """An existing project; its scene folder or ``scene.json`` may be named instead.

        Raises:
            UsageError: there is none.
        """
        folder = real_path(folder)
        if folder.name == "scene.json":
            folder = folder.parent
        if folder.name in STAGES and not Project(folder).is_project:
            folder = folder.parent
        project = Project(folder)
        if not project.is_project:
            raise UsageError(
                f"{folder} is no Pocketworld project.",
                remedy="Name a folder made by `pocketworld reconstruct`: one that holds project.json.",
                code="no_project",
            )
        with contextlib.suppress(OSError, PocketworldError), project.locked():
            project.recover()
        return project

    def require(self, stage: str) -> Path:
        """The folder of a finished stage.

        Raises:
            UsageError: the stage has not been run.
        """
        folder = self.stage_folder(stage)
        if not (folder / "stage.json").is_file():
            raise UsageError(
                f"{self.folder} has no finished {stage} yet.",
                remedy="Run `pocketworld reconstruct` on its scan again.",
                code="no_stage",
            )
        return folder

    def create(self, scan: Path) -> None:
        """Make the folder, or take one over that Pocketworld made.

        Raises:
            OutputError: something else is in the way.
        """
        if self.is_project:
            return
        self._make_folder()
        document = {"format": PROJECT_FORMAT, "version": VERSION, "name": self.name, "scan": str(scan)}
        # ASCII: a path may hold bytes that are no UTF-8, and comes back from the escapes as it was.
        write_whole(self.folder / "project.json", json.dumps(document, indent=1) + "\n")

    def _make_folder(self) -> None:
        if self.folder.is_dir() and {entry.name for entry in self.folder.iterdir()} - OWN_FILES and not self.is_project:
            raise OutputError(
                f"{self.folder} holds files that are not Pocketworld's.",
                remedy="Choose another --out folder, or move these files away.",
                code="path_in_the_way",
            )
        self.folder.mkdir(parents=True, exist_ok=True)

    def scan(self) -> Path | None:
        """The scan that it came from, as recorded; None where that cannot be read."""
        document = read_json(self.folder / "project.json")
        return Path(document["scan"]) if document and isinstance(document.get("scan"), str) else None

    def record(self, stage: str) -> dict[str, Any]:
        """A finished stage's ``stage.json``; empty where there is none."""
        return read_json(self.stage_folder(stage) / "stage.json") or {}

    def is_fresh(self, stage: str, key: StageKey) -> bool:
        """Whether the stage is finished, made of the same inputs, settings and code, and still has all its files."""
        folder, record = self.stage_folder(stage), self.record(stage)
        if {name: record.get(name) for name in ("settings", "inputs", "code")} != key.as_json():
            return False
        return all((folder / name).is_file() for name in record.get("files", ()))

    @contextlib.contextmanager
    def being_made(self, scan: Path) -> Iterator[None]:
        """Make the project and keep others off it; a new one that fails is taken away again, with folders above it.

        Raises:
            OutputError: it cannot be made.
            UsageError: another process works on it.
        """
        missing = [place for place in (self.folder, *self.folder.parents) if not os.path.lexists(place)]
        try:
            with writing_to(self.folder):
                self._make_folder()
            with self.locked():
                yield from self._held(scan)
        except BaseException:
            _remove_empty(missing)
            raise

    def _held(self, scan: Path) -> Iterator[None]:
        """The middle of `being_made`: only who holds the lock may say that the project is new, or take it away."""
        new = not self.is_project
        try:
            with writing_to(self.folder):
                self.create(scan)
            yield
        except Exception:
            if new:
                self._unmake()
            raise

    def _unmake(self) -> None:
        for name in ("capture", "scene", ".cache") if self.is_project else ():
            shutil.rmtree(self.folder / name, ignore_errors=True)
        with contextlib.suppress(OSError):
            for name in OWN_FILES:
                (self.folder / name).unlink(missing_ok=True)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other Pocketworld processes off this project; the lock ends with the process, however that ends.

        Raises:
            UsageError: another process works on it.
        """
        with locked(self.folder):
            yield

    def recover(self) -> None:
        """Clear away what a killed process left: half-written stages, and an old stage caught in being replaced."""
        for stage in STAGES:
            target, partial, old = self._places(stage)
            if old.exists():
                if target.exists():
                    shutil.rmtree(old)
                else:
                    old.rename(target)
            if partial.exists():
                shutil.rmtree(partial)

    def run_stage(self, stage: str, key: StageKey, work: Callable[[Path], StageNotes]) -> StageNotes:
        """Run a stage: `work` writes its files into the folder it is given and says what there is to tell.

        Nothing is left of a stage that fails, and what was there before stays until the new one is complete.

        Raises:
            OutputError: no space, no permission, path in the way.
            PocketworldError: whatever `work` raises.
        """
        started = time.perf_counter()
        target, partial, old = self._places(stage)
        try:
            with writing_to(self.folder):
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir()
                notes = work(partial)
                _write_record(partial, stage, key, notes, time.perf_counter() - started)
                sync_tree(partial)
                replace_folder(partial, target, old)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        return notes

    def _places(self, stage: str) -> tuple[Path, Path, Path]:
        target = self.stage_folder(stage)
        return target, target.with_name(f"{stage}.partial"), target.with_name(f"{stage}.old")


def _write_record(folder: Path, stage: str, key: StageKey, notes: StageNotes, seconds: float) -> None:
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    record = {
        "format": STAGE_FORMAT,
        "version": VERSION,
        "stage": stage,
        **key.as_json(),
        "versions": versions(),
        "seconds": round(seconds, 3),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "timings": {step: round(value, 3) for step, value in notes.timings.items()},
        "warnings": list(notes.warnings),
        "figures": notes.figures,
        "files": files,
    }
    text = json.dumps(record, indent=1, allow_nan=False)
    (folder / "stage.json").write_text(text + "\n", encoding="utf-8")


def versions() -> dict[str, str]:
    """Versions that a result may depend on, for the record."""
    found = {"pocketworld": version(), "python": platform.python_version(), "system": platform.platform(terse=True)}
    for package in RECORDED_PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def _remove_empty(places: list[Path]) -> None:
    """Remove folders, the deepest first, as far as nothing is in them."""
    with contextlib.suppress(OSError):
        for place in places:
            place.rmdir()


def mode_of(path: Path) -> int:
    """`st_mode` of what lies there; 0 where nothing does, also under a name that the system does not take."""
    try:
        return path.stat().st_mode
    except (OSError, ValueError):
        return 0


def is_folder(path: Path) -> bool:
    """Whether a folder lies there; unlike `Path.is_dir` also to be asked about any name."""
    return stat.S_ISDIR(mode_of(path))


def folder_name(text: str) -> str:
    """A name as the name of a folder on any system."""
    name = re.sub(r'[\x00-\x1f<>:"/\\|?*\ud800-\udfff]', "_", text).strip(" .")
    return name[:100] or "scan"


def real_path(path: Path) -> Path:
    """`path` made absolute and without links; unlike `Path.resolve` also where links lead in a circle."""
    return Path(os.path.realpath(path))


def replace_folder(partial: Path, target: Path, old: Path) -> None:
    """Put `partial` in the place of `target`. Killed in between, `Project.recover` brings the old one back."""
    if old.exists():
        shutil.rmtree(old)
    if target.exists():
        target.rename(old)
    partial.rename(target)
    with contextlib.suppress(OSError):  # the new one is in its place; the disk only could not promise it yet
        sync(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object from a file, or None where there is none or it is damaged."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def content_hash(path: Path) -> str:
    """``"blake2b:…"`` of a file's bytes, or of the names and bytes of all files below a folder, in order of name.

    Raises:
        InputError: it is not there, cannot be read, or is a pipe or a device.
    """
    digest = hashlib.blake2b(digest_size=20)
    try:
        kind = path.stat().st_mode
        if stat.S_ISREG(kind):
            _feed(digest, path)
        elif stat.S_ISDIR(kind):
            for file in sorted(entry for entry in path.rglob("*") if entry.is_file()):
                relative = file.relative_to(path)
                if not any(part.startswith(".") for part in relative.parts):
                    digest.update(f"{relative.as_posix()}\0{file.stat().st_size}\0".encode("utf-8", "surrogateescape"))
                    _feed(digest, file)
        else:
            raise InputError(
                f"{path} is neither a file nor a folder.", remedy="Name the scan's folder or file.", code="not_a_scan"
            )
    except FileNotFoundError:
        raise InputError(f"{path} does not exist.", remedy="Check the path.", code="not_found") from None
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {error.strerror}.", remedy="Check its permissions.", code="unreadable"
        ) from None
    return f"blake2b:{digest.hexdigest()}"


def _feed(digest: hashlib.blake2b, path: Path) -> None:
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)


def code_hash(*places: Path) -> str:
    """Hash of source files and tables: a changed program makes a stage run again."""
    digest = hashlib.blake2b(digest_size=20)
    for place in places:
        files = sorted(place.rglob("*.py")) if place.is_dir() else [place]
        for file in files:
            digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def as_settings_json(settings: Any) -> dict[str, Any]:
    """A settings dataclass as a JSON-able dict.

    Raises:
        UsageError: a number in it is infinite or none.
    """

    def plain(value: Any, name: str) -> Any:
        if isinstance(value, Mapping):
            return {str(key): plain(item, f"{name}.{key}".lstrip(".")) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [plain(item, name) for item in value]
        if isinstance(value, float) and not math.isfinite(value):
            raise UsageError(f"The setting {name} is {value}.", remedy="Give it a finite number.", code="bad_value")
        return str(value) if isinstance(value, Path) else value

    converted: dict[str, Any] = plain(asdict(settings), "")
    return converted
