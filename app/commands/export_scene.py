"""``pocketworld export-scene``: a project's scene for another tool."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import tyro

from app.console import Console, Outcome
from app.project import Project, writing_to


def run(
    console: Console,
    project: tyro.conf.Positional[Path],
    /,
    to: Literal["urdf", "mjcf", "usd", "sdf", "glb"],
    out: Path | None = None,
    json: bool = False,
) -> Outcome:
    """Write a project's scene for another tool.

    Args:
        console: Where to report to.
        project: A project folder made by `pocketworld reconstruct`.
        to: The format: urdf (PyBullet, ROS), mjcf (MuJoCo), usd (Isaac Sim), sdf (Gazebo), glb (viewers).
        out: Where to; left out, a folder or file named after the format inside the project's `exports` folder.
        json: Print one JSON object a line on stdout and nothing else.
    """
    opened = Project.open(project)
    folder = opened.require("scene")
    from reconstruction.exporters import EXPORTERS
    from reconstruction.scene import Scene

    scene = Scene.load(folder)
    target = out if out is not None else opened.folder / "exports" / to
    with writing_to(target.absolute().parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        written = EXPORTERS[to](scene, target)
    console.progress(1.0, "written")
    return Outcome({"format": to, "path": str(written)}, f"{written}")
