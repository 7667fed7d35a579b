"""``pocketworld train``: a policy learns a task from its demonstrations."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import tyro

from app.console import Console, Outcome, program, quoted
from app.project import Project
from app.train_stage import TrainResult, TrainSettings, train_policy


def run(
    console: Console,
    project: tyro.conf.Positional[Path],
    /,
    settings: Annotated[TrainSettings, tyro.conf.arg(name="")],
    jobs: int | None = None,
    json: tyro.conf.FlagCreatePairsOff[bool] = False,
    dataset: Path | None = None,
) -> Outcome:
    """Let a policy learn a task from its demonstrations.

    After being killed, the same command goes on from its last checkpoint.

    Args:
        console: Where to report to.
        project: A project folder with demonstrations of the task.
        settings: What is learnt, and how.
        jobs: Processes that measure success meanwhile. Left out: one a core. The result is the same for any number.
        json: Print one JSON object a line on stdout and nothing else.
        dataset: The demonstrations. Left out: those in the project's folder `episodes`.
    """
    processes = jobs if jobs is not None else os.cpu_count() or 1
    opened = Project.open(project)
    made = train_policy(opened, settings, console.progress, dataset=dataset, jobs=processes)
    return Outcome(made.as_json(), _text(made, settings, project))


def _text(made: TrainResult, settings: TrainSettings, project: Path) -> str:
    lines = [f"Learnt from {made.episodes} demonstrations in {made.seconds:.0f} s: {made.policy}"]
    if made.success is not None:
        lines.append(f"  succeeded in {made.success:.0%} of {settings.checks} cousins after {made.best_step} steps")
    again = f"--task {quoted(settings.task)}"
    lines.append(f"  how good is it:  {program()} evaluate {quoted(str(project))} {again}")
    return "\n".join(lines)
