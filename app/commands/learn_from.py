"""``pocketworld learn-from``: what recorded runs say of the world goes into the scene."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from app.console import Console, Outcome
from app.learn_stage import LearnResult, LearnSettings, learn_from
from app.project import Project


def run(
    console: Console,
    project: tyro.conf.Positional[Path],
    runs: tyro.conf.Positional[tuple[Path, ...]] = (),
    /,
    settings: Annotated[LearnSettings, tyro.conf.arg(name="")] = LearnSettings(),  # noqa: B008 - frozen
    json: tyro.conf.FlagCreatePairsOff[bool] = False,
) -> Outcome:
    """Correct masses, frictions and the arm's delay in a project's scene by what runs have recorded.

    Cousins, demonstrations and policies made after that are of the corrected scene. Runs that `pocketworld probe` has
    recorded say what a thing weighs and how it slides; any run says how late the arm is.

    Args:
        console: Where to report to.
        project: A project folder made by `pocketworld reconstruct`.
        runs: Datasets that `pocketworld probe` and `run` have recorded.
        settings: What is learnt, and of which arm.
        json: Print one JSON object a line on stdout and nothing else.
    """
    made = learn_from(Project.open(project), runs, settings, console.progress)
    for sentence in made.warnings:
        console.warning(sentence)
    return Outcome(made.as_json(), _text(made, settings))


def _text(made: LearnResult, settings: LearnSettings) -> str:
    if settings.undo:
        return f"{made.scene}: " + ("what was learnt is forgotten" if made.changed else "nothing was learnt")
    units = {"mass_kg": ("mass", " kg"), "friction": ("friction", ""), "delay_s": ("delay", " s")}
    lines = []
    for item in made.learnt:
        if item.quantity in units:
            name, unit = units[item.quantity]
            low, high = item.interval
            lines.append(
                f"  {item.what}: {name} {item.value:.3f}{unit} (80 %: {low:.3f} – {high:.3f}; before "
                f"{item.before:.3f}), of {item.runs} runs"
            )
    end = "the scene is corrected" if made.changed else "the scene is as it was"
    return "\n".join([f"{made.runs} runs were read; {end}", *lines])
