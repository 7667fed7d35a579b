"""``pocketworld cousins``: endless relatives of a project's scene."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import tyro

from app.console import Console, Outcome, program, quoted
from app.cousin_stage import CousinResult, make_cousins, materialize
from app.project import Project
from reconstruction.errors import UsageError
from simulation.cousins import CousinSettings


def run(
    console: Console,
    project: tyro.conf.Positional[Path],
    /,
    jobs: int | None = None,
    cluster: str | None = None,
    json: tyro.conf.FlagCreatePairsOff[bool] = False,
    materialize_number: Annotated[int | None, tyro.conf.arg(name="materialize")] = None,
    out: Path | None = None,
    settings: Annotated[CousinSettings, tyro.conf.arg(name="")] = CousinSettings(),  # noqa: B008 - frozen
) -> Outcome:
    """Make a project's scene into thousands of digital cousins, or write one of them as a scene.

    Args:
        console: Where to report to.
        project: A project folder made by `pocketworld reconstruct`.
        jobs: Processes at a time. Left out: one a core. The result is the same for any number.
        cluster: Use the Ray cluster at HOST:PORT, or auto for the one this computer belongs to; the result is the same.
        json: Print one JSON object a line on stdout and nothing else.
        materialize_number: Write this cousin (from 0) of those that were made as a scene folder of its own.
        out: Where --materialize writes it.
        settings: Which cousins.
    """
    if (materialize_number is None) != (out is None):
        raise UsageError(
            "--materialize and --out belong together.",
            remedy="Name a cousin with --materialize and a new folder with --out, or neither.",
            code="usage",
        )
    if jobs is not None and cluster is not None:
        raise UsageError(
            "--jobs and --cluster do not go together.",
            remedy="Leave out --jobs: on a cluster as many jobs run at a time as Ray was given CPUs.",
            code="usage",
        )
    opened = Project.open(project)
    if materialize_number is not None and out is not None:
        written = materialize(opened, materialize_number, out, console.progress)
        return Outcome({"scene": str(written), "cousin": materialize_number}, f"{written}")
    processes = jobs if jobs is not None else os.cpu_count() or 1
    made = make_cousins(opened, settings, console.progress, jobs=processes, cluster=cluster)
    return Outcome(made.as_json(), _text(made))


def _text(made: CousinResult) -> str:
    state = "unchanged" if made.status == "unchanged" else f"{made.seconds:.0f} s"
    again = ", ".join(f"{name} {count / made.count:.1f}" for name, count in made.rejected.items())
    one = f"{program()} cousins {quoted(made.project)} --materialize 0 --out {quoted('cousin_0')}"
    return "\n".join(
        [
            f"{made.count} cousins, {state}: {made.recipes}",
            f"  drawn again, a cousin: {again or 'nothing'}",
            f"  look at them:     {made.contact_sheet}",
            f"  one as a scene:   {one}",
        ]
    )
