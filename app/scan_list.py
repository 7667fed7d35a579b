"""Which scans the window's batch means, found out in a process of its own: looking into archives takes time.

``python -m app.scan_list OUT PATH...`` prints a line of JSON for each scan below the paths: ``{"scan", "project",
"objects"}``, the project folder in OUT that would be its own, and how many objects that has already, or null. Then
``{"event": "done"}``, or an error as every command says it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from app.batch import expand_scans, plan
from app.console import JsonConsole, told_in_json
from app.project import Project, read_json


def main() -> int:
    """List the scans; returns the exit status."""
    return told_in_json(_list)


def _list(console: JsonConsole) -> None:
    out, *named = map(Path, sys.argv[1:])
    for job in plan(expand_scans(named), out.absolute()):
        details = {"scan": str(job.scan), "project": str(job.folder), "objects": _objects(job.folder)}
        console.say("scan", "", **details)
    console.say("done", "")


def _objects(folder: Path) -> int | None:
    place = Project(folder).stage_folder("scene")
    if not (place / "stage.json").is_file():
        return None
    found = (read_json(place / "scene.json") or {}).get("objects")
    return len(found) if isinstance(found, list) else None


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)
