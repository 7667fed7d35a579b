"""``pocketworld teleoperate``: a person drives the arm and shows a task."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import tyro

from app.console import Console, Outcome, has_display, program, quoted
from app.demonstrate_stage import TaskSettings
from app.project import Project
from app.teleoperate_stage import Recorder
from reconstruction.errors import MissingToolError


def run(
    console: Console,
    project: tyro.conf.Positional[Path],
    /,
    settings: Annotated[TaskSettings, tyro.conf.arg(name="")],
    gamepad: tyro.conf.FlagCreatePairsOff[bool] = False,
    json: tyro.conf.FlagCreatePairsOff[bool] = False,
    out: Path | None = None,
) -> Outcome:
    """Show a task yourself: drive the arm by keyboard or gamepad, in a window.

    A few such episodes are multiplied over thousands of cousins by `pocketworld demonstrate --like DATASET`.

    Args:
        console: Where to report to.
        project: A project folder made by `pocketworld reconstruct`.
        settings: What to show.
        gamepad: Drive with a gamepad as well.
        json: Print one JSON object a line on stdout and nothing else.
        out: The dataset's folder. Left out: one in the project's folder `episodes`, named after the task.
    """
    if not (has_display() or os.environ.get("QT_QPA_PLATFORM")):
        raise MissingToolError(
            "There is no display for the window.",
            remedy="Run it on a desktop; `pocketworld demonstrate` needs none.",
            code="no_display",
        )
    try:
        from app.gui.gamepad import open_gamepad
        from app.gui.teleoperation_window import show_task
    except ImportError as error:
        raise MissingToolError(
            f"The window cannot be opened: {error}.",
            remedy="Run `pocketworld doctor`: it names the system packages that Qt needs.",
            code="no_qt",
        ) from None
    with Recorder(Project.open(project), settings, out) as recorder:
        show_task(recorder, open_gamepad if gamepad else None)
        made = recorder.finish(console.progress)
    lines = [f"{made.episodes} episodes in which the task was done, {made.failures} others: {made.dataset}"]
    if made.episodes:
        line = [program(), "demonstrate", quoted(project), "--task", quoted(settings.task)]
        lines.append(f"  multiply them:  {' '.join(line)} --like {quoted(made.dataset)}")
    return Outcome(made.as_json(), "\n".join(lines))
