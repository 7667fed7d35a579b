"""``pocketworld report``: a project on one page."""

from __future__ import annotations

from pathlib import Path

import tyro

from app.console import Console, Outcome
from app.project import Project


def run(
    console: Console, project: tyro.conf.Positional[Path], /, json: tyro.conf.FlagCreatePairsOff[bool] = False
) -> Outcome:
    """Write a project's report.html anew.

    Args:
        console: Where to report to.
        project: A project folder made by `pocketworld reconstruct`.
        json: Print one JSON object a line on stdout and nothing else.
    """
    from app.report import write_report

    opened = Project.open(project)
    opened.require("scene")
    path = write_report(opened, console.progress, again=True)
    return Outcome({"report": str(path), "bytes": path.stat().st_size}, str(path))
