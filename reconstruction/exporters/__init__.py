"""The same scene for other tools: one file a format, each ``export(scene, folder) -> main file``.

Every format gets the same bodies (`bodies.py`): poses, masses, inertia, friction, textured visual meshes, convex
collision parts, and the supports as fixed slabs.
"""

from __future__ import annotations

import importlib
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from reconstruction.scene import Scene

Exporter = Callable[[Scene, Path], Path]


def _exporter(name: str) -> Exporter:
    def export(scene: Scene, folder: Path) -> Path:
        """Write `scene` into `folder` (made if missing; other files there stay) and return the main file."""
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".partial", dir=folder.parent))
        try:
            module = importlib.import_module(f"reconstruction.exporters.{name}")
            main: Path = module.export(scene, partial).relative_to(partial)
            _move_into(partial, folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return folder / main

    return export


def _move_into(source: Path, target: Path) -> None:
    target.mkdir(exist_ok=True)
    for path in sorted(source.rglob("*")):
        place = target / path.relative_to(source)
        if path.is_dir():
            place.mkdir(exist_ok=True)
        else:
            path.replace(place)


EXPORTERS: dict[str, Exporter] = {name: _exporter(name) for name in ("urdf", "mjcf", "usd", "sdf", "glb")}
