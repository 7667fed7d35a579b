"""A bundle drives a robot: one in a cousin of a project's scene, or none at all; what happened becomes a dataset."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from app.bundle_stage import open_bundle
from app.project import Project
from app.train_stage import HELD_OUT_SEED, demonstrations_of, order_of
from app.train_stage import TrainSettings as Wanted
from policies.dataset import DatasetWriter
from policies.deploy.bundle import JOINTS
from policies.deploy.keys import any_key
from policies.deploy.loop import Report, drive
from policies.deploy.main import dry_robot
from policies.deploy.robot import Reading, Robot
from policies.features import IMAGES
from reconstruction.disk import writing_to
from reconstruction.errors import UsageError
from reconstruction.progress import Progress, silent
from simulation.episode import Episode

if TYPE_CHECKING:
    from policies.deploy.bundle import Bundle, Manifest
    from simulation.demonstrations import Stage

FloatArray = npt.NDArray[np.float64]
DONE = "the task is done"
COUSINS = 50
"""Cousins that are looked at, from the one that is asked for, until the task makes sense in one."""


@dataclass(frozen=True)
class RunSettings:
    """What is driven, and for how long."""

    robot: Literal["sim", "dry-run"] = "sim"
    """sim: one in a cousin of the scene (give --project); dry-run: none, as if it saw what a demonstration shows."""
    cousin: int = 0
    """Number of the cousin, of those that `pocketworld evaluate` tries; where the task makes no sense, the next one."""
    seconds: float = 20.0
    """Stop after so long, at the latest."""
    fast: bool = False
    """Do not wait for the clock: then the same run is the same every time."""


@dataclass(frozen=True)
class RunResult:
    """How a run went, as the command line reports it: `policies.deploy.loop.Report`, and further.

    Attributes:
        robot: that was driven.
        task: what it was to do.
        success: whether it did; None where nobody can tell.
        cousin: number of the cousin in which it happened; None without one.
        dataset: the folder to which the run was added.
        report: of the loop.
    """

    robot: str
    task: str
    success: bool | None
    cousin: int | None
    dataset: str
    report: Report

    def as_json(self) -> dict[str, Any]:
        """The result as a JSON-able dict."""
        told = {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "report"}
        report = dataclasses.asdict(self.report)
        return {**told, **report, "missed_share": round(self.report.missed / max(1, self.report.ticks), 4)}


class SimRobot:
    """The arm of a cell, as a runner knows robots; `watch` tells it when the task is done."""

    def __init__(self, stage: Stage, index: int, needs: Iterable[str]) -> None:
        """Stand in a cousin, at home.

        Args:
            stage: of the task.
            index: of the cousin that is loaded.
            needs: names of what the policy is told, beside the joints.
        """
        from simulation.demonstrations import Recording

        self.stage, self.index = stage, index
        self.recording, self.success = Recording(), False
        self._rested, self._needs = 0, tuple(needs)

    def connect(self) -> None:
        """It is there already."""

    def read(self) -> Reading:
        """Positions, and what else the policy needs."""
        from policies.rollout import observed

        positions = self.stage.cell.arm.positions()
        seen = observed(self.stage, self._needs, positions)
        now = time.monotonic()
        return Reading(positions, dict.fromkeys(("joints", *self._needs), now), dict(seen))

    def act(self, command: FloatArray) -> None:
        """Go there during one tick of the simulated time; it is recorded."""
        # As it is stored, so that it can be played again bit for bit.
        rounded = command.astype(np.float32).astype(np.float64)
        self.recording.moments.append(self.stage.cell.moment())
        self.recording.actions.append(rounded)
        self.stage.cell.act(rounded)

    def stop(self) -> None:
        """It holds its last goal."""

    def watch(self, reading: Reading, command: FloatArray) -> str:
        """`DONE` when the task has been done for some ticks on end."""
        from policies.rollout import SURE
        from simulation.tasks import TASKS

        task = self.stage.job.task
        self._rested = self._rested + 1 if TASKS[task.kind].done(self.stage.cell, task) else 0
        self.success = self._rested >= SURE and not self.stage.cell.faults
        return DONE if self._rested >= SURE else ""


class Noted:
    """What a robot measured and was told, tick after tick, to make an episode of."""

    def __init__(self) -> None:
        self.readings: list[Reading] = []
        self.commands: list[FloatArray] = []

    def watch(self, reading: Reading, command: FloatArray) -> str:
        """Keep it; never ends a run."""
        self.readings.append(reading)
        self.commands.append(command)
        return ""

    def episode(self, manifest: Manifest, stopped: str) -> Episode:
        """The episode; nobody says that it was a success."""
        names = (*(f"{name}.pos" for name in manifest.joints), "gripper.pos")
        extra = {
            name: np.array([reading.seen[name] for reading in self.readings], dtype=np.float32)
            for name, entry in manifest.inputs.items()
            if name != JOINTS and len(entry.shape) == 2
        }
        return Episode(
            task=manifest.sentence,
            task_name=manifest.task,
            rate_hz=manifest.rate_hz,
            state=np.array([reading.positions for reading in self.readings], dtype=np.float32),
            state_names=names,
            action=np.array(self.commands, dtype=np.float32),
            action_names=names,
            extra=extra,
            success=False,
            reason=stopped,
            seconds=len(self.commands) / manifest.rate_hz,
        )


def run_bundle(
    folder: Path,
    settings: RunSettings,
    progress: Progress = silent,
    *,
    project: Project | None = None,
    dataset: Path | None = None,
    out: Path | None = None,
) -> RunResult:
    """Let a bundle's policy drive a robot, and add what happened to a dataset.

    Args:
        folder: of the bundle.
        settings: what is driven.
        progress: is told about it.
        project: with the scene, for a robot in simulation.
        dataset: the demonstrations that the policy was trained on; left out: those in the project.
        out: the dataset's folder; left out: beside the bundle, ``<bundle>_runs/<robot>``.

    Raises:
        UsageError: the words make no sense, or the project lacks what is needed.
        InputError: the bundle is damaged.
        OutputError: the dataset cannot be written.
    """
    if not (math.isfinite(settings.seconds) and settings.seconds > 0) or settings.cousin < 0:
        raise UsageError(
            "--seconds is more than 0 and --cousin 0 or more.", remedy="Give such a number.", code="bad_value"
        )
    progress(0.0, "reading the bundle")
    bundle = open_bundle(folder)
    beside = folder.absolute().with_name(folder.absolute().name + "_runs") / settings.robot
    runs = (out or beside).absolute()
    with writing_to(runs):
        runs.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as opened:
        writer = opened.enter_context(DatasetWriter(runs, robot=Path(bundle.manifest.robot).stem))
        pressed = opened.enter_context(any_key())
        ticks = settings.seconds * bundle.manifest.rate_hz

        def run(robot: Robot, watch: Any) -> Report:
            told = 0

            def also(reading: Reading, command: FloatArray) -> str:
                nonlocal told
                told += 1
                progress(min(1.0, told / ticks), f"{told / bundle.manifest.rate_hz:.1f} s")
                said: str = watch(reading, command)
                return said

            return drive(bundle, robot, settings.seconds, fast=settings.fast, pressed=pressed, watch=also)

        if settings.robot == "sim":
            stage, index = opened.enter_context(_stage(bundle, settings, project, dataset))
            simulated = SimRobot(stage, index, (name for name in bundle.manifest.inputs if name != JOINTS))
            report = run(simulated, simulated.watch)
            success, cousin = simulated.success, index
            episode = None
            if simulated.recording.actions:
                episode = stage.episode(simulated.recording, "" if success else report.stopped)
        else:
            noted = Noted()
            report = run(dry_robot(bundle), noted.watch)
            success, cousin = None, None
            episode = noted.episode(bundle.manifest, report.stopped) if noted.commands else None
        if episode is not None:
            writer.add(dataclasses.replace(episode, index=max(writer.done(), default=-1) + 1))
            writer.finish()
    progress(1.0, "done")
    return RunResult(settings.robot, bundle.manifest.task, success, cousin, str(runs), report)


@contextmanager
def _stage(
    bundle: Bundle, settings: RunSettings, project: Project | None, dataset: Path | None
) -> Iterator[tuple[Stage, int]]:
    """The stage of a bundle's task with a cousin in which it makes sense, and that one's number."""
    from simulation.demonstrations import Stage

    manifest = bundle.manifest
    if project is None:
        raise UsageError(
            "A robot in simulation needs a scene.",
            remedy="Name a project with --project, or use --robot dry-run.",
            code="no_project",
        )
    if dataset is None:
        training = manifest.document.get("training")
        seed = training.get("seed") if isinstance(training, dict) else None
        wanted = Wanted(task=manifest.task, robot=manifest.robot, seed=seed if type(seed) is int else 0)
        dataset = demonstrations_of(project, wanted)
    cameras = any(name.startswith(IMAGES) for name in manifest.inputs)
    job = order_of(project, dataset.absolute(), HELD_OUT_SEED, held_out=True, cameras=cameras).job()
    if job.robot.arm != manifest.joints or job.rate_hz != manifest.rate_hz or job.task.words != manifest.task:
        raise UsageError(
            f"The bundle is for another robot, rate or task than {dataset}.",
            remedy="Name the project, or with --dataset the demonstrations, that it was made from.",
            code="other_bundle",
        )
    with Stage(job) as stage:
        for index in range(settings.cousin, settings.cousin + COUSINS):
            if not (why := stage.enter(index)):
                cell = stage.cell
                stage.planner.load(cell.family, cell.cousin, cell.scene, cell.mount)  # it judges self-collision
                yield stage, index
                return
        raise UsageError(
            f"The task makes no sense in cousins {settings.cousin} … {index} ({why}).",
            remedy="Choose another --cousin.",
            code="no_cousins",
        )
