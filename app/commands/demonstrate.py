"""``pocketworld demonstrate``: a robot does a task in a project's cousins."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import tyro

from app.console import Console, Outcome, program, quoted
from app.demonstrate_stage import DemonstrateResult, DemonstrateSettings, demonstrate
from app.project import Project
from reconstruction.errors import UsageError


def run(
    console: Console,
    project: tyro.conf.Positional[Path],
    /,
    settings: Annotated[DemonstrateSettings, tyro.conf.arg(name="")],
    jobs: int | None = None,
    cluster: str | None = None,
    json: tyro.conf.FlagCreatePairsOff[bool] = False,
    out: Path | None = None,
) -> Outcome:
    """Let a robot do a task in a project's cousins, and write a dataset of how it did.

    Run again with a larger --count, it adds to the dataset; after being killed, it goes on where it was.

    Args:
        console: Where to report to.
        project: A project folder made by `pocketworld reconstruct`.
        settings: What to demonstrate.
        jobs: Processes at a time. Left out: one a core. The result is the same for any number.
        cluster: Use the Ray cluster at HOST:PORT, or auto for the one this computer belongs to; the result is the same.
            Its nodes must see the project's folder under the same path.
        json: Print one JSON object a line on stdout and nothing else.
        out: The dataset's folder. Left out: one in the project's folder `episodes`, named after the task.
    """
    if jobs is not None and cluster is not None:
        raise UsageError(
            "--jobs and --cluster do not go together.",
            remedy="Leave out --jobs: on a cluster as many jobs run at a time as Ray was given CPUs.",
            code="usage",
        )
    processes = jobs if jobs is not None else os.cpu_count() or 1
    opened = Project.open(project)
    made = demonstrate(opened, settings, console.progress, out=out, jobs=processes, cluster=cluster)
    return Outcome(made.as_json(), _text(made))


def _text(made: DemonstrateResult) -> str:
    tried = f"{made.successes} of {made.attempts} tries succeeded" if made.attempts else "nothing was tried"
    what = "demonstration" if made.successes == 1 else "demonstrations"
    lines = [f"{made.successes} {what}, {made.seconds:.0f} s: {made.dataset}", f"  {tried}"]
    lines += [f"  failed: {reason} ({count})" for reason, count in made.failures.items()]
    if made.skipped:
        lines.append("  not tried: " + ", ".join(f"{reason} ({count})" for reason, count in made.skipped.items()))
    lines.append(f"  watch one:  {program()} replay {quoted(made.dataset)} --episode 0 --video {quoted('episode.mp4')}")
    return "\n".join(lines)
