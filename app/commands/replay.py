"""``pocketworld replay``: an episode of a dataset, played again."""

from __future__ import annotations

from pathlib import Path

import tyro

from app.console import Console, Outcome
from app.replay_stage import replay_episode
from reconstruction.errors import UsageError


def run(
    console: Console,
    dataset: tyro.conf.Positional[Path],
    /,
    episode: int = 0,
    video: Path | None = None,
    size: int = 384,
    json: tyro.conf.FlagCreatePairsOff[bool] = False,
) -> Outcome:
    """Play an episode of a dataset again in physics, and film it.

    Args:
        console: Where to report to.
        dataset: The folder of a dataset that `pocketworld demonstrate` made.
        episode: Which, from 0.
        video: Film it into this file, whose name ends in .mp4.
        size: Height of the film, pixels.
        json: Print one JSON object a line on stdout and nothing else.
    """
    if video is not None and video.suffix.lower() != ".mp4":
        raise UsageError(
            f"{video} is no name for the film, which is an MP4.",
            remedy="Use a name that ends in .mp4.",
            code="bad_value",
        )
    if not 16 <= size <= 1024 or size % 2:
        raise UsageError(f"--size is {size}.", remedy="Give an even number, 16 … 1024.", code="bad_value")
    done = replay_episode(dataset, episode, console.progress, video=video, size=size)
    end = "done" if done.success else "not done"
    bits = "the same bits as before" if done.same else "other bits than before"
    lines = [f"{done.task}: {end} after {done.seconds:.1f} s, {bits}"]
    if done.video:
        lines.append(f"  watch it: {done.video}")
    return Outcome(done.as_json(), "\n".join(lines))
