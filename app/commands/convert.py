"""``pocketworld convert``: a dataset of any kind made one of ours, or put into one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from app.console import Console, Outcome
from app.convert_stage import ConvertResult, ConvertSettings, convert


def run(
    console: Console,
    source: tyro.conf.Positional[Path],
    dataset: tyro.conf.Positional[Path],
    /,
    settings: Annotated[ConvertSettings, tyro.conf.arg(name="")],
    json: tyro.conf.FlagCreatePairsOff[bool] = False,
) -> Outcome:
    """Make others' demonstrations a LeRobot dataset, or join them with one.

    Run again with another source, it adds to the dataset; an episode that is there already is not added again. After
    being killed, it goes on where it was.

    Args:
        console: Where to report to.
        source: A dataset: a LeRobot folder (v3.0, v2.1, v2.0, GR00T's), UMI's .zarr.zip, robomimic's .hdf5.
        dataset: The folder of the dataset to be written, or to be added to.
        settings: What of it, and how.
        json: Print one JSON object a line on stdout and nothing else.
    """
    made = convert(source, dataset, settings, console.progress)
    return Outcome(made.as_json(), _text(made))


def _text(made: ConvertResult) -> str:
    lines = [f"{made.episodes} episodes, {made.frames} frames, {made.seconds:.0f} s: {made.dataset}"]
    lines.append(f"  {made.added} added, {made.known} were there already")
    if made.failures:
        lines.append(f"  {made.failures} failures beside it: {made.failed}")
    lines += [f"  left out: {name}" for name in made.left_out]
    return "\n".join(lines)
