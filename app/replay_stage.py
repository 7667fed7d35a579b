"""An episode of a dataset, played again in physics and filmed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from app.cousin_stage import pool_of
from app.demonstrate_stage import check_scene, made_with
from policies.dataset import open_dataset
from reconstruction.disk import write_whole
from reconstruction.errors import UsageError
from reconstruction.progress import Progress, silent
from reconstruction.scene import Scene
from simulation.episode import Episode

if TYPE_CHECKING:
    from policies.episodes import Dataset
    from simulation.bank import Wardrobe
    from simulation.cell import Cell
    from simulation.cousins import Cousin
    from simulation.demonstrations import Recording
    from simulation.filming import Take
    from simulation.tasks import Task


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
    from simulation.tasks import TASKS

    folder = folder.absolute()
    progress(0.0, "reading the episode")
    made_with(folder)  # what is not one of ours cannot be played, whatever else it is
    episode = episode_of(folder, open_dataset(folder), number)
    progress(0.1, "replaying")
    with replayed(folder, episode) as again:
        success = TASKS[again.task.kind].done(again.cell, again.task)
        if video is not None:
            progress(0.4, "filming")
            shots = again.take(size).shoot(again.recording.moments)
            pictures = np.concatenate([shot.rgb for shot in shots.values()], axis=2)
            write_whole(video.absolute(), encode_film(pictures, round(episode.rate_hz), FilmSettings(pixels="yuv420p")))
    progress(1.0, "done")
    where = "" if video is None else str(video)
    seconds = len(episode) / episode.rate_hz
    return ReplayResult(str(folder), number, episode.task, success, again.same, seconds, where)


def episode_of(folder: Path, dataset: Dataset, number: int, cameras: Sequence[str] = ()) -> Episode:
    """An episode of the dataset in a folder, with the pictures of these `cameras`.

    Raises:
        UsageError: there is none of that number.
        InputError: it is damaged.
    """
    if not 0 <= number < len(dataset):
        raise UsageError(
            f"There is no episode {number}: {folder} has {len(dataset)}.",
            remedy=f"Name one of 0 … {len(dataset) - 1}." if len(dataset) else "Demonstrate something first.",
            code="bad_value",
        )
    return dataset.read(number, cameras)


@dataclass(frozen=True)
class Replayed:
    """An episode that has been played again.

    Attributes:
        cell: in which it was, as things stand at its end.
        wardrobe: of the cousins.
        cousin: in which it happened.
        task: what was to be done.
        recording: what happened.
        same: whether every measured joint position was that of the episode, bit for bit.
    """

    cell: Cell
    wardrobe: Wardrobe
    cousin: Cousin
    task: Task
    recording: Recording
    same: bool

    def take(self, size: int) -> Take:
        """Ready to film it, in pictures of so many pixels a side."""
        from simulation.filming import Film
        from simulation.tasks import zone_of

        zone = zone_of(self.cell, self.task.what[0]) if self.task.kind == "push" else None
        return Film(self.wardrobe, self.cell.robot, size).take(self.cousin, self.cell.mount, zone)


@contextmanager
def replayed(folder: Path, episode: Episode) -> Iterator[Replayed]:
    """Play the actions of an episode of the dataset in a folder again in its cousin.

    Raises:
        InputError: it is no such dataset, or its scene has changed.
    """
    from simulation.cell import Cell
    from simulation.cousins import Cousin, wardrobe_of
    from simulation.demonstrations import replay
    from simulation.robots import robot_of
    from simulation.tasks import task_of
    from simulation.variations import strengths_of

    settings, scene_folder = made_with(folder)
    check_scene(folder, scene_folder)
    robot = robot_of(settings.robot)
    scene = robot.mounted(Scene.load(scene_folder))
    wardrobe = wardrobe_of(scene, settings.seed, strengths_of(settings.vary), pool_of(settings.swap_from), False)
    with Cell(wardrobe.bare(), robot, episode.rate_hz) as cell:
        recording, same = replay(cell, episode)
        task = task_of(episode.task_name, scene)
        yield Replayed(cell, wardrobe, Cousin.from_json(episode.recipe), task, recording, same)
