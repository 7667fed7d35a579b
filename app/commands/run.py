"""``pocketworld run``: a bundle drives a robot."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Annotated

import tyro

from app.console import Console, Outcome, TextConsole
from app.project import Project
from app.real_arm import ArmSettings
from app.run_stage import RunResult, RunSettings, run_bundle
from policies.deploy.keys import at_keyboard, enter, forget_keys
from reconstruction.errors import UsageError


def run(
    console: Console,
    bundle: tyro.conf.Positional[Path],
    /,
    settings: Annotated[RunSettings, tyro.conf.arg(name="")],
    arm: Annotated[ArmSettings, tyro.conf.arg(name="")],
    project: Path | None = None,
    out: Path | None = None,
    json: tyro.conf.FlagCreatePairsOff[bool] = False,
    dataset: Path | None = None,
) -> Outcome:
    """Let a bundle's policy drive a robot: one in simulation, a real one, or none at all.

    Any key stops it. A real arm is shown before it moves, joint by joint, and moves when that is confirmed; at the end
    you are asked whether it has done its task.

    Args:
        console: Where to report to.
        bundle: A folder made by `pocketworld export`.
        settings: What is driven, and for how long.
        arm: Which real arm it is, and how it is reached.
        project: The project with the scene, for --robot sim and stand-in.
        out: The dataset to which the run is added. Left out: one beside the bundle, in a
            folder with `_runs` after its name.
        json: Print one JSON object a line on stdout and nothing else.
        dataset: The demonstrations of the policy. Left out: those in the project's folder `episodes`.
    """
    if settings.ask and not json and (sys.stdin is None or not sys.stdin.isatty()):
        raise UsageError(
            "--ask needs a terminal to ask at.", remedy="Leave it out, or run it at one.", code="bad_value"
        )
    opened = None if project is None else Project.open(project)
    person = None if json else Person(console)
    made = run_bundle(
        bundle, settings, console.progress, project=opened, dataset=dataset, out=out, arm=arm, person=person
    )
    return Outcome(made.as_json(), _text(made), int(made.report.fault))


class Person:
    """Who sits at the terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def show(self, text: str) -> None:
        """Show some lines where the bar is else."""
        if isinstance(self._console, TextConsole):
            self._console.close()
        with contextlib.suppress(OSError):
            sys.stderr.write(text)
            sys.stderr.flush()

    def agree(self) -> bool:
        """Whether the answer is yes; silence is none."""
        self.show("May the arm move so? Keep the switch of its power at hand. [y/N] ")
        return sys.stdin is not None and sys.stdin.readline().strip().lower() in ("y", "yes")

    def go_on(self) -> bool:
        """Whether Enter is pressed."""
        self.show("The next actions? Enter: yes, any other key: stop. ")
        yes = enter()
        self.show("\n")
        return yes

    def judge(self) -> bool | None:
        """Whether Enter is pressed, of who sits at a keyboard."""
        if not at_keyboard():
            return None
        forget_keys()  # such as the one that has stopped the arm
        self.show("Has it done its task? Enter: yes, any other key: no. ")
        yes = enter()
        self.show("\n")
        return yes


def _text(made: RunResult) -> str:
    report = made.report
    end = {True: "done", False: "not done", None: "ended"}[made.success]
    trust = (
        "" if report.trust is None else f"  lowest trust: {report.trust:.2f} (1: all as foretold, ½: too far from it)\n"
    )
    remote, far = "", made.remote
    if far is not None:
        took = f"answers took {far.median_ms:.1f} ms, at worst {far.worst_ms:.1f}"
        remote = f"  {took}; chunks were taken over after {far.lead} ticks (usually {far.usual_lead})\n"
    of_all = f"  {made.successes} of {made.runs} runs succeeded; the last one:\n" if made.runs > 1 else ""
    return (
        f"{of_all}{made.task}: {end} after {report.ticks} ticks: {report.stopped}\n"
        f"  deadlines missed: {report.missed} of {report.ticks}; a decision took {report.deciding_ms:.1f} ms\n"
        f"{trust}{remote}"
        f"  recorded: {made.dataset}"
    )
