"""``pocketworld probe``: an arm weighs a thing and drags it over the table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from app.commands.run import Person
from app.console import Console, Outcome
from app.probe_stage import ProbeResult, ProbeSettings, probe
from app.project import Project
from app.real_arm import ArmSettings


def run(
    console: Console,
    bundle: tyro.conf.Positional[Path],
    /,
    settings: Annotated[ProbeSettings, tyro.conf.arg(name="")],
    arm: Annotated[ArmSettings, tyro.conf.arg(name="")],
    project: Path,
    truth: Path | None = None,
    out: Path | None = None,
    json: tyro.conf.FlagCreatePairsOff[bool] = False,
) -> Outcome:
    """Let an arm weigh a thing and drag it over the table, for `pocketworld learn-from`.

    It takes hold of the thing where it was scanned, moves it up and down, drags it through the air and over the table,
    puts it back, and does the same without it. Any key stops it. The bundle's limits and guard hold; its policy is not
    asked.

    Args:
        console: Where to report to.
        bundle: A folder made by `pocketworld export`.
        settings: What is probed, by what arm, and how.
        arm: Which real arm it is, and how it is reached.
        project: The project with the scene, in which it is rehearsed first.
        truth: What is really there, for --robot stand-in: the folder `<scan>_truth` that `pocketworld virtual-scan`
            wrote. Left out: that beside the project's scan, if there is one.
        out: The dataset to which the runs are added. Left out: one beside the bundle, in a folder with `_runs` after
            its name.
        json: Print one JSON object a line on stdout and nothing else.
    """
    person = None if json else Person(console)
    made = probe(
        bundle,
        settings,
        console.progress,
        project=Project.open(project),
        truth=truth,
        out=out,
        arm=arm,
        person=person,
    )
    return Outcome(made.as_json(), _text(made), int(bool(made.stopped)))


def _text(made: ProbeResult) -> str:
    end = f"; the last one ended: {made.stopped}" if made.stopped else ""
    return (
        f"{made.thing}: probed {made.done} of {made.runs} times, and the table felt in {made.pressed}{end}\n"
        f"  recorded: {made.dataset}"
    )
