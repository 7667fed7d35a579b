"""``pocketworld export-scene``: a project's scene for another tool."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Literal

import tyro

from app.console import Console, Outcome
from app.project import Project
from reconstruction.disk import writing_to
from reconstruction.errors import UsageError
from reconstruction.scene import Scene

ONE_FILE = {"glb": ".glb", "usd": ".usdz"}
"""Formats that can be one file without others beside it, and that file's ending."""
ENDINGS = {*ONE_FILE.values(), ".urdf", ".xml", ".mjcf", ".usd", ".usda", ".usdc", ".sdf", ".gltf"}


def run(
    console: Console,
    project: tyro.conf.Positional[Path],
    /,
    to: Literal["urdf", "mjcf", "usd", "sdf", "glb"],
    out: Path | None = None,
    json: tyro.conf.FlagCreatePairsOff[bool] = False,
) -> Outcome:
    """Write a project's scene for another tool.

    Args:
        console: Where to report to.
        project: A project folder made by `pocketworld reconstruct`.
        to: The format: urdf (PyBullet, ROS), mjcf (MuJoCo), usd (Isaac Sim), sdf (Gazebo), glb (viewers).
        out: Folder to write into; or the file, where its name ends in .glb (glb) or .usdz (usd). Left out: a folder
            named after the format inside the project's `exports`.
        json: Print one JSON object a line on stdout and nothing else.
    """
    opened = Project.open(project)
    folder = opened.require("scene")
    target = out if out is not None else opened.folder / "exports" / to
    ending = target.suffix.lower()
    if ending in ENDINGS and ending != ONE_FILE.get(to):
        alone = f", or a file that ends in {ONE_FILE[to]}" if to in ONE_FILE else ""
        raise UsageError(
            f"{target} is no name for a scene as {to}, which is several files.",
            remedy=f"Name a folder for them, such as {target.with_suffix('')}{alone}.",
            code="bad_value",
        )
    from reconstruction.exporters import EXPORTERS

    scene = Scene.load(folder)
    with writing_to(target.absolute().parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        written = _one_file(scene, to, target) if ending in ENDINGS else EXPORTERS[to](scene, target)
    console.progress(1.0, "written")
    return Outcome({"format": to, "path": str(written.absolute())}, f"{written}")


def _one_file(scene: Scene, to: str, target: Path) -> Path:
    """The file alone, whole or not at all."""
    from reconstruction.exporters import EXPORTERS

    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", suffix=".partial", dir=target.parent) as partial:
        main = EXPORTERS[to](scene, Path(partial) / to)
        if ONE_FILE[to] == ".usdz":
            main = _packed(main)
        main.replace(target)
    return target


def _packed(layer: Path) -> Path:
    """A USD layer and the textures beside it as one package."""
    from pxr import Sdf, UsdUtils

    package = layer.with_suffix(".usdz")
    if not UsdUtils.CreateNewUsdzPackage(Sdf.AssetPath(str(layer)), str(package)):
        raise RuntimeError(f"{layer.name} could not be packed")
    return package
