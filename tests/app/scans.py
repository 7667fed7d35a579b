"""Fake scans (see ``fakes/fake_steps.py``) and what tests ask about project folders."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path


def fake_scan(path: Path, **plan: object) -> Path:
    """A scan for the stand-ins: a folder, or a zip where the name ends so."""
    text = json.dumps({"objects": 2, **plan})
    if path.suffix in (".zip", ".r3d"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(zipfile.ZipInfo("fake.json"), text)
    else:
        path.mkdir(parents=True)
        (path / "fake.json").write_text(text, encoding="utf-8")
    return path


def tree(folder: Path) -> set[str]:
    """All files and folders below `folder`."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def half_written(folder: Path) -> set[str]:
    """What a finished or failed run must never leave."""
    return {name for name in tree(folder) if name.endswith((".partial", ".old"))}


def scene_bytes(project: Path) -> dict[str, bytes]:
    """All files of the scene stage but its record, which tells times."""
    folder = project / "scene"
    names = [name for name in tree(folder) if (folder / name).is_file() and name != "stage.json"]
    return {name: (folder / name).read_bytes() for name in names}
