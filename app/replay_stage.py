"""An episode of a dataset, played again in physics and filmed."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from app.cousin_stage import pool_of
from app.demonstrate_stage import check_scene, made_with
from policies.dataset import open_dataset
from reconstruction.disk import write_whole
from reconstruction.errors import UsageError
from reconstruction.progress import Progress, silent
from reconstruction.scene import Scene


@dataclass(frozen=True)
class ReplayResult:
    """What a replay has shown, as the command line reports it.

    Attributes:
        dataset: folder of the dataset.
        episode: which, from 0.
        task: what was to be done.
        success: whether it is done at the end of the replay.
        same: whether every measured joint position was that of the episode, bit for bit.
        seconds: of simulated time.
        video: the film, "" where none was wanted.
    """

    dataset: str
    episode: int
    task: str
    success: bool
    same: bool
    seconds: float
    video: str

    def as_json(self) -> dict[str, Any]:
        """The result as a JSON-able dict."""
        return dataclasses.asdict(self)


def replay_episode(
    folder: Path, number: int, progress: Progress = silent, *, video: Path | None = None, size: int = 384
) -> ReplayResult:
    """Play the actions of an episode again in its cousin.

    Args:
        folder: of a dataset made by `pocketworld demonstrate`.
        number: of the episode, from 0.
        progress: is told about it.
        video: where to film it, MP4: both cameras side by side.
        size: height of the film, pixels.

    Raises:
        InputError: it is no such dataset, or damaged, or its scene has changed.
        UsageError: there is no such episode.
        OutputError: the film cannot be written.
    """
    from policies.films import FilmSettings, encode_film
    from simulation.cell import Cell
    from simulation.cousins import Cousin, wardrobe_of
    from simulation.demonstrations import replay
    from simulation.filming import Film
    from simulation.robots import robot_of
    from simulation.tasks import TASKS, task_of, zone_of
    from simulation.variations import strengths_of

    folder = folder.absolute()
    progress(0.0, "reading the episode")
    settings, scene_folder = made_with(folder)
    check_scene(folder, scene_folder)
    dataset = open_dataset(folder)
    if not 0 <= number < len(dataset):
        raise UsageError(
            f"There is no episode {number}: {folder} has {len(dataset)}.",
            remedy=f"Name one of 0 … {len(dataset) - 1}." if len(dataset) else "Demonstrate something first.",
            code="bad_value",
        )
    episode = dataset.read(number, ())
    robot = robot_of(settings.robot)
    scene = robot.mounted(Scene.load(scene_folder))
    wardrobe = wardrobe_of(scene, settings.seed, strengths_of(settings.vary), pool_of(settings.swap_from), False)
    with Cell(wardrobe.bare(), robot, episode.rate_hz) as cell:
        progress(0.1, "replaying")
        recording, same = replay(cell, episode)
        task = task_of(episode.task_name, scene)
        success = TASKS[task.kind].done(cell, task)
        if video is not None:
            progress(0.4, "filming")
            cousin = Cousin.from_json(episode.recipe)
            zone = zone_of(cell, task.what[0]) if task.kind == "push" else None
            shots = Film(wardrobe, robot, size).take(cousin, cell.mount, zone).shoot(recording.moments)
            pictures = np.concatenate([shot.rgb for shot in shots.values()], axis=2)
            write_whole(video.absolute(), encode_film(pictures, round(episode.rate_hz), FilmSettings(pixels="yuv420p")))
    progress(1.0, "done")
    where = "" if video is None else str(video)
    seconds = len(episode) / episode.rate_hz
    return ReplayResult(str(folder), number, episode.task, success, same, seconds, where)
