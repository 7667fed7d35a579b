"""What a policy foretells in an episode, beside what came: as numbers over time, and as a film."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from app.evaluate_stage import evaluation_of
from app.project import Project
from app.replay_stage import episode_of, replayed
from app.train_stage import TrainSettings, act_settings, demonstrations_of, require_policy
from policies.dataset import open_dataset
from reconstruction.disk import write_whole
from reconstruction.errors import UsageError
from reconstruction.progress import Progress, silent
from simulation.calibration import CALIBRATION, NUMBERS
from simulation.episode import Episode, Pictures

if TYPE_CHECKING:
    from policies.episodes import Dataset

FRONT = "front"
"""The camera into whose pictures is drawn."""


@dataclass(frozen=True)
class DreamSettings:
    """Whose dreams, and of what."""

    task: str
    """What the policy does, as for `pocketworld train`."""
    robot: str = "panda"
    """Who does it."""
    seed: int = 0
    """Of the demonstrations."""
    episode: int = 0
    """Which episode, from 0."""
    size: int = 384
    """Width of the film, pixels."""


@dataclass(frozen=True)
class DreamResult:
    """What was dreamed and what came, as the command line reports it.

    Attributes:
        episodes: the dataset.
        episode: number of the episode.
        task: what was to be done; `success`: whether it was.
        seconds: that it lasted.
        horizons_s: so far ahead it is foretold.
        tool_off_m: by how much the tool was elsewhere than foretold, the median, at each horizon; None: too short.
        things_off_m: likewise, the things of the task.
        doubts: seconds, and metres that what was seen by then fell short of what was foretold (`deploy.trust`).
        peak_m: the highest that counts.
        limit_m: beyond which a bundle stops, as the policy's evaluation has shown; None: it has not.
        video: the film, "" where none was wanted.
    """

    episodes: str
    episode: int
    task: str
    success: bool
    seconds: float
    horizons_s: list[float]
    tool_off_m: list[float | None]
    things_off_m: list[float | None]
    doubts: list[list[float]]
    peak_m: float
    limit_m: float | None
    video: str

    def as_json(self) -> dict[str, Any]:
        """The result as a JSON-able dict."""
        return dataclasses.asdict(self)


def dream_episode(
    project: Project,
    settings: DreamSettings,
    progress: Progress = silent,
    *,
    dataset: Path | None = None,
    episodes: Path | None = None,
    video: Path | None = None,
) -> DreamResult:
    """Let a policy foretell what comes at every frame of an episode, of what was then done, and compare.

    Args:
        project: with the policy.
        settings: whose dreams, and of what.
        progress: is told about it.
        dataset: the demonstrations that the policy was trained on; left out: those in the project.
        episodes: the dataset with the episode; left out: those demonstrations.
        video: where to film it, MP4.

    Raises:
        UsageError: there is no policy, or none that dreams, no such episode, or not what the policy looks at in it.
        InputError: something is damaged, or of an episode without pictures it is not known where it happened.
        OutputError: the film cannot be written.
    """
    from app.dream_film import drawn
    from policies.checkpoint import load_model
    from policies.dreams import dreams_of, limit_from
    from policies.films import FilmSettings, encode_film
    from policies.windows import check_columns
    from simulation.robots import robot_of

    progress(0.0, "reading the episode")
    wanted = TrainSettings(task=settings.task, robot=settings.robot, seed=settings.seed)
    shown = dataset.absolute() if dataset is not None else demonstrations_of(project, wanted)
    path, robot = require_policy(project, shown), robot_of(settings.robot)
    model, _ = load_model(path)
    folder = shown if episodes is None else episodes.absolute()
    data = open_dataset(folder)
    if data.features.action_names != robot.action_names:
        raise UsageError(
            f"{folder} does not show {settings.robot}.", remedy="Name the robot that it shows.", code="bad_dataset"
        )
    cameras = model.encoder.cameras
    check_columns(data, cameras, model.encoder.columns)
    episode = episode_of(folder, data, settings.episode, cameras)
    told = episode.extra["observation.environment_state"].shape[1]
    if told != model.around:
        raise UsageError(
            f"{folder} tells {told} numbers of the things around, the policy's demonstrations {model.around}.",
            remedy="Name episodes of the policy's own task.",
            code="other_task",
        )
    progress(0.2, "dreaming")
    act = act_settings(open_dataset(shown), robot)
    dreams = dreams_of(model, episode, robot.chain, act.execute)
    trust, limit = dreams.trust(act.execute), limit_from(evaluation_of(path, act))
    limit_m = None if limit is None else float(limit["limit_m"])
    if video is not None:
        progress(0.4, "filming")
        pictures, known = _front(folder, data, episode, settings)
        film = drawn(pictures, known, dreams, trust, limit_m, settings.size)
        write_whole(video.absolute(), encode_film(film, round(episode.rate_hz), FilmSettings(pixels="yuv420p")))
    progress(1.0, "done")
    off = dreams.off_m()
    return DreamResult(
        str(folder),
        settings.episode,
        episode.task,
        episode.success,
        len(episode) / episode.rate_hz,
        [horizon / episode.rate_hz for horizon in dreams.horizons],
        [_rounded(value) for value in off[:, 0]],
        [_rounded(value) for value in off[:, 1:].mean(axis=1)],
        [[tick / episode.rate_hz, round(doubt, 4)] for tick, doubt in zip(trust.ticks, trust.doubts, strict=True)],
        round(trust.peak, 4),
        limit_m,
        "" if video is None else str(video),
    )


def _front(
    folder: Path, data: Dataset, episode: Episode, settings: DreamSettings
) -> tuple[Pictures, npt.NDArray[np.float64]]:
    """``(T, H, H, 3)`` what the front camera sees, filmed again where that was not kept, and what is known of it."""
    if FRONT in data.features.cameras and CALIBRATION in data.features.extra:
        filmed = data.read(settings.episode, (FRONT,))
        return filmed.images[FRONT], np.asarray(filmed.extra[CALIBRATION][0, :NUMBERS], dtype=np.float64)
    with replayed(folder, episode) as again:
        take = again.take(settings.size)
        shots = take.shoot(again.recording.moments[: len(episode)], (FRONT,))
        return shots[FRONT].rgb, take.calibration((FRONT,))


def _rounded(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 4)
