"""``pocketworld export``: a policy becomes a folder that drives a robot."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from app.bundle_stage import ExportResult, ExportSettings, export_bundle
from app.console import Console, Outcome, program, quoted
from app.project import Project


def run(
    console: Console,
    project: tyro.conf.Positional[Path],
    /,
    settings: Annotated[ExportSettings, tyro.conf.arg(name="")],
    out: Path | None = None,
    json: tyro.conf.FlagCreatePairsOff[bool] = False,
    dataset: Path | None = None,
) -> Outcome:
    """Make a policy a bundle: a folder that drives a robot without Pocketworld.

    Args:
        console: Where to report to.
        project: A project folder with a policy for the task.
        settings: Which policy, and how good it must be.
        out: Folder of the bundle; one that is there is replaced. Left out: in the project's folder `bundle`.
        json: Print one JSON object a line on stdout and nothing else.
        dataset: The demonstrations that it was trained on. Left out: those in the project's folder `episodes`.
    """
    made = export_bundle(Project.open(project), settings, console.progress, out=out, dataset=dataset)
    return Outcome(made.as_json(), _text(made))


def _text(made: ExportResult) -> str:
    package = "" if made.ros2 is None else f"\n  for ROS 2: put {quoted(made.ros2)} into a workspace's src"
    known = "never evaluated" if made.success is None else f"{made.success:.0%} of unseen cousins"
    return (
        f"{made.bundle}\n  success: {known}; differs from the trained policy by {made.parity:.0e} at most\n"
        f"  try it:  {program()} run {quoted(made.bundle)} --robot dry-run"
        f"{package}"
    )
