"""``pocketworld dream``: what a policy foretells, beside what came."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from app.console import Console, Outcome
from app.dream_stage import DreamResult, DreamSettings, dream_episode
from app.project import Project
from reconstruction.errors import UsageError


def run(
    console: Console,
    project: tyro.conf.Positional[Path],
    /,
    settings: Annotated[DreamSettings, tyro.conf.arg(name="")],
    episodes: Path | None = None,
    video: Path | None = None,
    json: tyro.conf.FlagCreatePairsOff[bool] = False,
    dataset: Path | None = None,
) -> Outcome:
    """Show what a policy foretells in an episode, beside what came.

    Args:
        console: Where to report to.
        project: A project folder with a policy for the task.
        settings: Whose dreams, and of what.
        episodes: The dataset with the episode. Left out: the policy's demonstrations.
        video: Film it into this file, whose name ends in .mp4.
        json: Print one JSON object a line on stdout and nothing else.
        dataset: The demonstrations of the policy. Left out: those in the project's folder `episodes`.
    """
    if video is not None and video.suffix.lower() != ".mp4":
        raise UsageError(
            f"{video} is no name for the film, which is an MP4.",
            remedy="Use a name that ends in .mp4.",
            code="bad_value",
        )
    if not 16 <= settings.size <= 1024 or settings.size % 8:
        raise UsageError(
            f"--size is {settings.size}.", remedy="Give a number that 8 divides, 16 … 1024.", code="bad_value"
        )
    made = dream_episode(
        Project.open(project), settings, console.progress, dataset=dataset, episodes=episodes, video=video
    )
    return Outcome(made.as_json(), _text(made))


def _text(made: DreamResult) -> str:
    end = "done" if made.success else "not done"
    lines = [f"{made.task}: {end} after {made.seconds:.1f} s"]
    for ahead, *off in zip(made.horizons_s, made.tool_off_m, made.things_off_m, strict=True):
        tool, things = ("too short to tell" if metres is None else f"{100 * metres:.1f} cm" for metres in off)
        lines.append(f"  {ahead:.1f} s ahead: tool off by {tool}, things by {things}")
    known = "" if made.limit_m is None else f"; more than {100 * made.limit_m:.1f} cm would stop the arm"
    lines.append(f"  fell short of what was foretold by {100 * made.peak_m:.1f} cm at most{known}")
    lines += [f"    {seconds:5.1f} s  {100 * doubt:6.1f} cm" for seconds, doubt in made.doubts]
    if made.video:
        lines.append(f"  watch it: {made.video}")
    return "\n".join(lines)
