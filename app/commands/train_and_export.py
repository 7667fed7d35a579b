"""``pocketworld train-and-export``: from a task's words to a bundle that drives a robot."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import tyro

from app.console import Console, Outcome, program, quoted
from app.project import Project
from app.skill_stage import SkillResult, SkillSettings, train_and_export


def run(
    console: Console,
    project: tyro.conf.Positional[Path],
    /,
    settings: Annotated[SkillSettings, tyro.conf.arg(name="")],
    out: Path | None = None,
    jobs: int | None = None,
    json: tyro.conf.FlagCreatePairsOff[bool] = False,
) -> Outcome:
    """Demonstrate a task, train a policy, evaluate it, and make it a bundle if it is good enough.

    After being killed, the same command goes on where it was.

    Args:
        console: Where to report to.
        project: A project folder with a finished scene.
        settings: What is learnt, from how much, and how good it must be.
        out: Folder of the bundle; one that is there is replaced. Left out: in the project's folder `bundle`.
        jobs: Processes at a time. Left out: one a core. The result is the same for any number.
        json: Print one JSON object a line on stdout and nothing else.
    """
    processes = jobs if jobs is not None else os.cpu_count() or 1
    made = train_and_export(Project.open(project), settings, console.progress, out=out, jobs=processes)
    return Outcome(made.as_json(), _text(made))


def _text(made: SkillResult) -> str:
    score = made.evaluated.score
    low, high = score.interval
    return (
        f"{made.exported.bundle}, after {made.seconds:.0f} s\n"
        f"  learnt from {made.trained.episodes} demonstrations; succeeded in {score.successes} of {score.count} unseen "
        f"cousins ({score.share:.0%}; with 95 % certainty between {low:.0%} and {high:.0%})\n"
        f"  try it:  {program()} run {quoted(made.exported.bundle)} --robot dry-run"
    )
