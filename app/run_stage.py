"""A bundle drives a robot: in a cousin of a project's scene, a real one, or none; what happened becomes a dataset."""

from __future__ import annotations

import dataclasses
import math
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from app.demonstrate_stage import forget_if_empty, made_with
from app.project import Project
from app.real_arm import ArmSettings, Person, check_robot, is_real, ready
from app.remote_stage import acting_bundle
from app.stand_in import order_in, standing, world_of
from app.train_stage import TrainSettings as Wanted
from app.train_stage import demonstrations_of
from app.trials import HELD_OUT_SEED, order_of
from policies.dataset import DatasetWriter
from policies.deploy.bundle import JOINTS
from policies.deploy.cautious import Cautious
from policies.deploy.keys import any_key
from policies.deploy.loop import KEY, Report, drive
from policies.deploy.main import dry_robot
from policies.deploy.remote import Latency, RemoteBundle
from policies.deploy.robot import Reading, Robot
from policies.features import IMAGES
from reconstruction.errors import UsageError
from reconstruction.progress import Progress, part, silent
from simulation.episode import EFFORT, Episode

if TYPE_CHECKING:
    from policies.deploy.bundle import Manifest
    from policies.deploy.loop import Acting
    from simulation.demonstrations import Stage

FloatArray = npt.NDArray[np.float64]
DONE = "the task is done"
TOLD = "it was told to stop"
SIMULATED = ("sim", "stand-in")
"""Robots in a cousin of a project's scene: in the simulation, and in what stands in for reality."""
COUSINS = 50
"""Cousins that are looked at, from the one that is asked for, until the task makes sense in one."""


@dataclass(frozen=True)
class RunSettings:
    """What is driven, and for how long."""

    robot: str = "sim"
    """sim: one in a cousin of the scene (give --project); stand-in: one on a bench that stands in for the real one, as
    in `pocketworld reality-check`; dry-run: none, as if it saw what a demonstration shows; lerobot:TYPE: a real arm
    through LeRobot, such as lerobot:so101_follower (docs/robots.md)."""
    cousin: int = 0
    """Number of the cousin, of those that `pocketworld evaluate` tries; where the task makes no sense, the next one."""
    count: int = 1
    """So many runs, each in the next cousin: with sim and stand-in."""
    bench: int = 0
    """Which bench stands in for the real one: each has masses, frictions, delays and errors of its own, which stay."""
    seconds: float = 20.0
    """Stop after so long, at the latest."""
    fast: bool = False
    """Do not wait for the clock: then the same run is the same every time."""
    policy: str = ""
    """HOST:PORT at which `pocketworld serve` lets the bundle's policy decide. Left out: it decides here."""
    token_file: Path | None = None
    """With --policy: a file with its token. Left out: the environment variable POCKETWORLD_TOKEN has it."""
    ca: Path | None = None
    """With --policy: the certificate by which its computer is known, or of who has signed that. Wanted where that is
    not this one."""
    speed: float = 1.0
    """Share of full speed, above 0 to 1: the same ticks take that much longer, on the clock than in --seconds."""
    ask: bool = False
    """Ask before each chunk of actions: Enter goes on, any other key stops the arm."""


@dataclass(frozen=True)
class RunResult:
    """How a run went, as the command line reports it: `policies.deploy.loop.Report`, and further.

    Attributes:
        robot: that was driven.
        task: what it was to do.
        success: whether it did; None where nobody can tell.
        cousin: number of the cousin in which it happened; None without one.
        runs: how many there were; all but the last two that follow are of the last one.
        successes: of them; None where nobody can tell.
        dataset: the folder to which the last run was added.
        report: of the loop.
        remote: how long answers of a policy at another computer took; None of one here.
    """

    robot: str
    task: str
    success: bool | None
    cousin: int | None
    runs: int
    successes: int | None
    dataset: str
    report: Report
    remote: Latency | None = None

    def as_json(self) -> dict[str, Any]:
        """The result as a JSON-able dict."""
        told = {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "report"}
        report = dataclasses.asdict(self.report)
        told["remote"] = None if self.remote is None else dataclasses.asdict(self.remote)
        return {**told, **report, "missed_share": round(self.report.missed / max(1, self.report.ticks), 4)}


class Recorder(Robot, Protocol):
    """A robot that keeps what happens."""

    def __len__(self) -> int:
        """How often it was told something."""

    def watch(self) -> str:
        """Why a run is to end, "" where it is not; asked at every tick."""

    def episode(self, manifest: Manifest, stopped: str) -> Episode:
        """What happened."""


class Glance(Mapping[str, npt.NDArray[Any]]):
    """What a robot sees now, by name; pictures are only made when somebody looks at them."""

    def __init__(self, names: Sequence[str], look: Callable[[], Mapping[str, npt.NDArray[Any]]]) -> None:
        """Who looks gets what `look` returns, which is called once."""
        self._names, self._look = names, cache(look)

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        return self._look()[name]

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class SimRobot:
    """The arm of a cell, as a runner knows robots. It keeps what happens."""

    def __init__(
        self, stage: Stage, needs: Iterable[str], clock: Callable[[], float] = time.monotonic, fast: bool = False
    ) -> None:
        """Stand in the cousin that is loaded, at home.

        Args:
            stage: with the cousin.
            needs: names of what it measures beside its joints.
            clock: the time, seconds.
            fast: who looks at a reading does so before the next command: what nobody looks at need not be drawn.
        """
        from simulation.demonstrations import Recording

        self.stage, self.recording, self.success = stage, Recording(), False
        self._rested, self._needs, self._clock, self._fast = 0, tuple(needs), clock, fast
        self._efforts: list[FloatArray | None] = []
        self._felt: FloatArray | None = None

    def __len__(self) -> int:
        return len(self.recording.actions)

    def connect(self) -> None:
        """It is there already."""

    def read(self) -> Reading:
        """Positions, and what else is measured."""
        from policies.rollout import observed

        positions = self.stage.cell.arm.positions()
        glance = Glance(self._needs, lambda: observed(self.stage, self._needs, positions))
        seen = glance if self._fast else dict(glance)
        self._felt = self.stage.cell.efforts()
        return Reading(positions, dict.fromkeys(("joints", *self._needs), self._clock()), seen, self._felt)

    def act(self, command: FloatArray) -> None:
        """Go there during one tick of the simulated time."""
        # As it is stored, so that it can be played again bit for bit.
        rounded = command.astype(np.float32).astype(np.float64)
        self.recording.moments.append(self.stage.cell.moment())
        self.recording.actions.append(rounded)
        self._efforts.append(self._felt)
        self.stage.cell.act(rounded)

    def stop(self) -> None:
        """It holds its last goal."""

    def watch(self) -> str:
        """`DONE` when the task has been done for some ticks on end; told every tick."""
        from policies.rollout import SURE
        from simulation.tasks import TASKS

        task = self.stage.job.task
        self._rested = self._rested + 1 if TASKS[task.kind].done(self.stage.cell, task) else 0
        self.success = self._rested >= SURE and not self.stage.cell.faults
        return DONE if self._rested >= SURE else ""

    def episode(self, manifest: Manifest, stopped: str) -> Episode:
        """What happened; a success where the task was done and no limit broken."""
        made = self.stage.episode(self.recording, "" if stopped == DONE else stopped)
        return dataclasses.replace(made, extra={**made.extra, **efforts_of(self._efforts)})


class Noted:
    """A robot, and what it measured and was told: nobody says whether that was a success."""

    def __init__(self, robot: Robot) -> None:
        """Note what `robot` does."""
        self._robot = robot
        self._readings: list[Reading] = []
        self._commands: list[FloatArray] = []

    def __len__(self) -> int:
        return len(self._commands)

    def connect(self) -> None:
        """As the robot does."""
        self._robot.connect()

    def read(self) -> Reading:
        """As the robot does."""
        self._last = self._robot.read()
        return self._last

    def act(self, command: FloatArray) -> None:
        """As the robot does, noted."""
        self._readings.append(self._last)
        self._commands.append(command)
        self._robot.act(command)

    def stop(self) -> None:
        """As the robot does."""
        self._robot.stop()

    def watch(self) -> str:
        """Never ends a run."""
        return ""

    def episode(self, manifest: Manifest, stopped: str) -> Episode:
        """What was noted."""
        names = (*(f"{name}.pos" for name in manifest.joints), "gripper.pos")
        extra = efforts_of([reading.efforts for reading in self._readings]) | {
            name: np.array([reading.seen[name] for reading in self._readings], dtype=entry.dtype)
            for name, entry in manifest.inputs.items()
            if name != JOINTS and len(entry.shape) == 2
        }
        images = {
            name.removeprefix(IMAGES): np.stack([reading.seen[name] for reading in self._readings])
            for name in manifest.inputs
            if name.startswith(IMAGES)
        }
        return Episode(
            task=manifest.sentence,
            task_name=manifest.task,
            rate_hz=manifest.rate_hz,
            state=np.array([reading.positions for reading in self._readings], dtype=np.float32),
            state_names=names,
            action=np.array(self._commands, dtype=np.float32),
            action_names=names,
            images=images,
            extra=extra,
            success=False,
            reason=stopped,
            seconds=len(self) / manifest.rate_hz,
        )


def efforts_of(rows: Sequence[FloatArray | None]) -> dict[str, npt.NDArray[Any]]:
    """The column of what the motors said that they do, one row a tick; none where they did not say it all along."""
    said = [row for row in rows if row is not None]
    return {EFFORT: np.array(said, dtype=np.float32)} if said and len(said) == len(rows) else {}


def run_bundle(
    folder: Path,
    settings: RunSettings,
    progress: Progress = silent,
    *,
    project: Project | None = None,
    dataset: Path | None = None,
    out: Path | None = None,
    arm: ArmSettings = ArmSettings(),  # noqa: B008 - frozen
    person: Person | None = None,
) -> RunResult:
    """Let a bundle's policy drive a robot, and add what happened to a dataset.

    Args:
        folder: of the bundle.
        settings: what is driven.
        progress: is told about it.
        project: with the scene, for a robot in simulation.
        dataset: the demonstrations that the policy was trained on; left out: those in the project.
        out: the dataset's folder; left out: beside the bundle, ``<bundle>_runs/<robot>``.
        arm: which real arm it is, where one is driven.
        person: who is shown what a real arm is about to do, and asked; None: there is nobody to ask.

    Raises:
        UsageError: the words make no sense, the project lacks what is needed, or the arm cannot be driven.
        InputError: the bundle is damaged.
        ClusterError: the policy's computer cannot be reached, or does not want us.
        OutputError: the dataset cannot be written.
    """
    _check(settings, arm, person)
    real = is_real(settings.robot)
    progress(0.0, "reading the bundle")
    beside = folder.absolute().with_name(folder.absolute().name + "_runs") / settings.robot.replace(":", "_")
    kept = runs = (out or beside).absolute()
    try:
        with ExitStack() as opened:
            bundle = opened.enter_context(
                acting_bundle(
                    folder, settings.policy, settings.token_file, settings.ca, progress, compensate=not settings.fast
                )
            )
            stage, cousin = None, settings.cousin - 1
            if settings.robot in SIMULATED:
                stage = opened.enter_context(_stage(bundle, settings, project, dataset, progress))
            arm_there = opened.enter_context(ready(bundle.manifest, settings.robot, arm, person)) if real else None
            writer = opened.enter_context(DatasetWriter(runs, robot=Path(bundle.manifest.robot).stem))
            pressed = opened.enter_context(any_key())
            successes, done = 0, 0
            judged: bool | None = None
            for number in range(settings.count):
                recorder: Recorder
                if stage is not None:
                    cousin = _enter(stage, cousin + 1)
                    recorder = SimRobot(stage, bundle.manifest.measures, fast=settings.fast)
                else:
                    recorder = Noted(dry_robot(bundle) if arm_there is None else arm_there)
                share = part(progress, number / settings.count, (number + 1) / settings.count)
                with _told_to_stop() as told:
                    report = _driven(bundle, recorder, settings, share, partial(_any, pressed, told), person)
                    if report.stopped == KEY and told():
                        report = dataclasses.replace(report, stopped=TOLD)
                done += 1
                if len(recorder):
                    episode = recorder.episode(bundle.manifest, report.stopped)
                    if real and person is not None and not report.fault:
                        judged = person.judge()
                        if judged:
                            episode = dataclasses.replace(episode, success=True, reason="")
                    writer.add(dataclasses.replace(episode, index=max(writer.done(), default=-1) + 1))
                    successes += episode.success
                    summary = writer.finish()
                    kept = summary.folder if episode.success else summary.failures_folder
                if report.fault or report.stopped in (KEY, TOLD):
                    break
    finally:
        forget_if_empty(runs)
    progress(1.0, "done")
    success = recorder.success if isinstance(recorder, SimRobot) else judged
    remote = bundle.latency() if isinstance(bundle, RemoteBundle) else None
    return RunResult(
        settings.robot,
        bundle.manifest.task,
        success,
        None if stage is None else cousin,
        done,
        None if stage is None else successes,
        str(kept),
        report,
        remote,
    )


def _check(settings: RunSettings, arm: ArmSettings, person: Person | None) -> None:
    """See that the words make sense.

    Raises:
        UsageError: they do not.
    """
    if not (math.isfinite(settings.seconds) and settings.seconds > 0) or settings.cousin < 0:
        raise UsageError(
            "--seconds is more than 0 and --cousin 0 or more.", remedy="Give such a number.", code="bad_value"
        )
    if settings.count < 1 or settings.bench < 0:
        raise UsageError("--count is 1 or more, --bench 0 or more.", remedy="Give such a number.", code="bad_value")
    if settings.count > 1 and settings.robot not in SIMULATED:
        raise UsageError(
            f"After a run of {settings.robot}, somebody must put the things back.",
            remedy="Leave --count out, and run it as often as wanted: runs are added to the same dataset.",
            code="bad_value",
        )
    if not 0.0 < settings.speed <= 1.0:
        raise UsageError(f"--speed is {settings.speed:g}.", remedy="Give a share, above 0 to 1.", code="bad_value")
    if settings.ask and person is None:
        raise UsageError("With --json there is nobody to --ask.", remedy="Leave one of them out.", code="bad_value")
    check_robot(settings.robot, (*SIMULATED, "dry-run"))
    if arm != ArmSettings() and not is_real(settings.robot):
        raise UsageError(
            f"--robot {settings.robot} is no real arm.",
            remedy="Leave out --port, --id, --mapping, --align, --config and --yes, or name one, such as "
            "--robot lerobot:so101_follower.",
            code="bad_value",
        )
    if settings.fast and is_real(settings.robot):
        raise UsageError("A real arm cannot go by no clock.", remedy="Leave --fast out.", code="bad_value")


@contextmanager
def _told_to_stop() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C or SIGTERM has come: the first one brings the arm to rest, and what it did is recorded.

    A second one is what it always is.
    """
    came, before = False, dict[signal.Signals, Any]()

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal came
        earlier = before[signal.Signals(number)]
        if came and callable(earlier):
            earlier(number, frame)
        came = True

    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, note)
    except ValueError:  # not in the main thread: signals do not come here
        yield lambda: False
        return
    try:
        yield lambda: came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _any(*asked: Callable[[], bool]) -> bool:
    return any(one() for one in asked)


def _driven(
    bundle: Acting,
    recorder: Recorder,
    settings: RunSettings,
    progress: Progress,
    pressed: Callable[[], bool],
    person: Person | None,
) -> Report:
    """Let a bundle drive a robot, as slowly as asked for."""
    rate, ticks = bundle.manifest.rate_hz, 0
    cautious = Cautious(
        recorder,
        bundle.manifest,
        settings.speed,
        ask=person.go_on if settings.ask and person is not None else None,
        pressed=pressed,
        sleep=(lambda seconds: None) if settings.fast else time.sleep,
    )

    said = ""

    def trusted(trust: float) -> None:
        nonlocal said
        said = f", trust {trust:.2f}"

    def watch(reading: Reading, command: FloatArray) -> str:
        nonlocal ticks
        progress(min(1.0, ticks / rate / settings.seconds), f"{ticks / rate:.1f} s{said}")
        ticks += 1
        return recorder.watch()

    return drive(
        bundle,
        cautious,
        settings.seconds,
        fast=settings.fast,
        heed=settings.robot != "dry-run",  # a dry run does nothing of what was dreamed
        pressed=cautious.pressed,
        watch=watch,
        trusted=trusted,
        clock=cautious.clock,
    )


def dataset_of(bundle: Acting, project: Project, dataset: Path | None = None) -> Path:
    """The demonstrations that a bundle's policy was trained on; left out: those in the project.

    Raises:
        UsageError: there are none.
    """
    if dataset is not None:
        return dataset.absolute()
    manifest = bundle.manifest
    training = manifest.document.get("training")
    seed = training.get("seed") if isinstance(training, dict) else None
    wanted = Wanted(task=manifest.task, robot=manifest.robot, seed=seed if type(seed) is int else 0)
    return demonstrations_of(project, wanted)


@contextmanager
def _stage(
    bundle: Acting, settings: RunSettings, project: Project | None, dataset: Path | None, progress: Progress
) -> Iterator[Stage]:
    """The stage of a bundle's task: of the scene, or of what stands in for reality."""
    from simulation.demonstrations import Stage
    from simulation.reality import RealStage, strengths_of_factors
    from simulation.robots import robot_of

    manifest = bundle.manifest
    if project is None:
        raise UsageError(
            "A robot in simulation needs a scene.",
            remedy="Name a project with --project, or use --robot dry-run.",
            code="no_project",
        )
    dataset = dataset_of(bundle, project, dataset)
    cameras = any(name.startswith(IMAGES) for name in manifest.measures)
    if settings.robot == "sim":
        job = order_of(project, dataset, HELD_OUT_SEED, held_out=True, cameras=cameras).job()
    else:
        made, _ = made_with(dataset)
        world = world_of(project, None, robot_of(made.robot), progress)
        job = order_in(project, world, made, manifest, standing(), made.seed, None, progress).job()
    if job.robot.arm != manifest.joints or job.rate_hz != manifest.rate_hz or job.task.words != manifest.task:
        raise UsageError(
            f"The bundle is for another robot, rate or task than {dataset}.",
            remedy="Name the project, or with --dataset the demonstrations, that it was made from.",
            code="other_bundle",
        )
    with (
        Stage(job)
        if settings.robot == "sim"
        else RealStage(job, strengths_of_factors(standing()), settings.bench) as stage
    ):
        yield stage


def _enter(stage: Stage, first: int) -> int:
    """Load the next cousin in which the task makes sense, from number `first` on; its number.

    Raises:
        UsageError: it makes none in many.
    """
    for index in range(first, first + COUSINS):
        if not (why := stage.enter(index)):
            cell = stage.cell
            stage.planner.load(cell.family, cell.cousin, cell.scene, cell.mount)  # it judges self-collision
            return index
    raise UsageError(
        f"The task makes no sense in cousins {first} … {index} ({why}).",
        remedy="Choose another --cousin.",
        code="no_cousins",
    )
