"""From a dataset of demonstrations to a policy."""

from __future__ import annotations

import dataclasses
import time
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from app.demonstrate_stage import (
    DemonstrateSettings,
    check_cameras,
    check_scene,
    check_version,
    made_with,
    run_file,
    slug,
)
from app.lessons import MATRIX_RATE, Lessons, and_runs, digest, short_hash
from app.policy_folder import policy_file
from app.project import Project
from app.train_checks import check_settings, chosen_device
from app.trials import CHECK_SEED
from policies.dataset import open_dataset
from policies.files import BEST, PRETRAINED, ROUND
from reconstruction.disk import locked, writing_to
from reconstruction.errors import UsageError
from reconstruction.progress import Progress, part, silent
from reconstruction.scene import Scene
from simulation.pool import workers

if TYPE_CHECKING:
    from policies.episodes import Dataset
    from policies.policy import Policy
    from policies.rollout import ActSettings
    from simulation.robots import Robot

ACT_MEANWHILE = 0.1
"""Weight of acting while it learns to foretell: much of what was done then is not to be done likewise."""


@dataclass(frozen=True)
class TrainSettings:
    """What is learnt, and how."""

    task: str
    """What to do, as it was demonstrated: "place X in Y"."""
    robot: str = "panda"
    """Who does it: the robot of the demonstrations."""
    seed: int = 0
    """Of the demonstrations, of the first weights and of all that is drawn."""
    observe: Literal["rgb", "pointcloud", "state"] = "rgb"
    """What the policy sees: the cameras' pictures (rgb), the cloud of points that they see in depth (pointcloud), or
    where the things of the task are, which only a simulation knows (state)."""
    policy: Literal["world-action", "act"] = "world-action"
    """What learns: the world-action model, or, to compare it with, action chunking with transformers (act)."""
    action_only: bool = False
    """Let the world-action model not learn to foretell what will be seen (to find out what that is worth)."""
    episodes: int | None = None
    """Learn from so many demonstrations at most."""
    runs: tuple[Path, ...] = ()
    """Datasets that `pocketworld run` has recorded with --robot stand-in or sim, of the same task: what succeeded is
    learnt from like demonstrations, and with --pretrain-steps what failed, too, to foretell."""
    steps: int = 2000
    """Steps of training to act."""
    batch: int = 128
    """Frames a step."""
    glances: int = 400
    """Cousins of which the eyes see pictures with the hand anywhere, beside the demonstrations."""
    eye_steps: int = 6000
    """Steps of training to see, before that, where the policy sees pictures …"""
    eye_batch: int = 16
    """… with so many frames a step."""
    eyes: Path | None = None
    """A policy that sees pictures, or a safetensors file of its `encoder.eyes.…`: its eyes are taken over, and learn
    for `--eye-steps` more; with 0 of them, they stay as they are."""
    blunders: int = 100
    """Episodes in which the expert sets right what it has done wrong on purpose, beside the demonstrations."""
    pretrain_steps: int = 0
    """Steps in which it first learns to foretell, and hardly to act, from all there is: failures and play, too. Not
    done unless asked for: as many more steps to act helped as much (figures in the README)."""
    plays: int = 100
    """Episodes of play for that, 10 s each: the hand goes about the things at random."""
    check_every: int = 1000
    """Steps between checkpoints, and between measurements of success."""
    rounds: int = 0
    """Times that the policy then tries cousins, the expert takes over in each, and it learns from that too …"""
    corrections: int = 150
    """… each time from so many, for half as many steps."""
    checks: int = 20
    """Cousins in which success is measured meanwhile; 0: not measured, and the last policy is kept."""
    patience: int = 0
    """So many measurements in a row may bring no better success; then the learning rate falls, within a fifth of the
    steps, and training ends. 0: it takes all steps, as short trainings should."""
    device: str = "auto"
    """Where it is trained: auto takes CUDA, then MPS, then the CPU."""
    precision: Literal["auto", "bf16", "float32"] = "auto"
    """In what networks compute while they are trained: auto is bf16 on GPUs that can, else float32."""
    compile: Literal["auto", "on", "off"] = "auto"
    """Whether torch compiles them: auto does for long trainings on a GPU."""


@dataclass(frozen=True)
class TrainResult:
    """What training has come to, as the command line reports it.

    Attributes:
        episodes: demonstrations it learnt from; `frames` of them and of what was set right.
        steps: of training, at most; `best_step`: that of the policy that is kept.
        success: share of the checks' cousins in which that one succeeded; None where it was not measured.
        seconds: of this run.
        policy: the file.
    """

    episodes: int
    frames: int
    steps: int
    best_step: int
    success: float | None
    seconds: float
    policy: str

    def as_json(self) -> dict[str, Any]:
        """The result as a JSON-able dict."""
        return dataclasses.asdict(self)


def demonstrations_of(project: Project, settings: TrainSettings) -> Path:
    """The folder in which the demonstrations of a task lie.

    Raises:
        UsageError: there are none.
    """
    from simulation.tasks import task_of

    task = task_of(settings.task, Scene.load(project.require("scene")))
    wanted = DemonstrateSettings(task=settings.task, robot=settings.robot, seed=settings.seed)
    folder = project.folder / "episodes" / slug(task.words, wanted)
    if not (folder / "meta" / "info.json").is_file():
        raise UsageError(
            f"Nobody has demonstrated {task.words!r} with {settings.robot} and seed {settings.seed} yet.",
            remedy="Run `pocketworld demonstrate` with the same task, robot and seed first.",
            code="no_demonstrations",
        )
    return folder


def train_policy(
    project: Project,
    settings: TrainSettings,
    progress: Progress = silent,
    *,
    dataset: Path | None = None,
    jobs: int = 1,
) -> TrainResult:
    """Learn a task from its demonstrations; goes on where a run with the same settings was killed.

    Args:
        project: with demonstrations of the task.
        settings: what is learnt, and how.
        progress: is told about it.
        dataset: the demonstrations; left out: those in the project's folder ``episodes``.
        jobs: processes that make what else it learns from, and measure success; never changes the result.

    Raises:
        PocketworldError: no demonstrations, or not of what is wanted.
    """
    import torch

    from policies.checkpoint import POLICIES, load_model, save
    from policies.encoders import ENCODERS
    from policies.evaluate import score
    from policies.eyes_file import mark_of_eyes, take_eyes
    from policies.model import WorldActionModel
    from policies.ranks import ranks_together, started_as
    from policies.train import LoopSettings, train
    from policies.windows import read_windows
    from simulation.robots import robot_of

    s, started = settings, time.perf_counter()
    check_settings(settings, jobs)
    device = chosen_device(settings.device)
    folder = dataset.absolute() if dataset is not None else demonstrations_of(project, settings)
    data = open_dataset(folder)
    robot = robot_of(settings.robot)
    if data.features.action_names != robot.action_names:
        raise UsageError(
            f"{folder} does not show {settings.robot}.", remedy="Name the robot that it shows.", code="bad_dataset"
        )
    if run_file(folder).is_file():  # it was made here
        check_version(folder)
        check_scene(folder, made_with(folder)[1])
        if ENCODERS[settings.observe].sensors:
            check_cameras(data)
    kind = POLICIES[settings.policy]
    size = kind.sizes(horizons=()) if settings.action_only else kind.sizes()
    eyes_of = ENCODERS[settings.observe]
    reads = partial(
        read_windows,
        chain=robot.chain,
        chunk=size.chunk,
        horizons=size.horizons,
        cameras=eyes_of.cameras,
        columns=eyes_of.columns,
    )
    progress = progress if started_as().first else silent
    windows = reads(data, progress=part(progress, 0.0, 0.05), episodes=settings.episodes)
    windows = and_runs(windows, s.runs, reads, data)
    count = len(data) if settings.episodes is None else min(settings.episodes, len(data))
    longest_s = max(data.length(number) for number in range(count)) / data.features.rate_hz
    about: dict[str, Any] = {
        "dataset": str(folder),
        "task": settings.task,
        "robot": settings.robot,
        "observe": settings.observe,
        "episodes": count,
        "longest_s": longest_s,
        # Another run's checkpoint is gone on from only where it learnt from the same.
        "data": digest(windows),
    }
    target = policy_file(project, folder)
    act = act_settings(data, robot)
    torch.manual_seed(settings.seed)
    model = kind(size, settings.observe, len(robot.action_names), windows.around)
    model.encoder.arm.describe(robot.chain)
    if s.eyes is not None:
        take_eyes(model, s.eyes)
    with writing_to(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as open_:
        ranks = open_.enter_context(ranks_together(device))
        if ranks.first:
            open_.enter_context(locked(target.parent))
        crew = open_.enter_context(workers(jobs if ranks.first else 1, None))
        lessons = Lessons(
            project, folder, s.runs, target.parent, reads, act, data.features.rate_hz, longest_s, crew, ranks
        )
        cameras = model.encoder.sensors

        def check(network: Policy) -> float:
            draft = target.with_name("draft.safetensors")
            save(draft, network, {})
            return score(lessons.trials(draft, CHECK_SEED, cameras).tried(s.checks, crew.executor, silent)).share

        loop = LoopSettings(
            s.steps,
            s.batch,
            matrix_rate=MATRIX_RATE,
            seed=s.seed,
            check_every=s.check_every,
            precision=s.precision,
            compile=s.compile,
        )
        begun = 0.05
        if cameras:
            if s.eye_steps:
                eyes = dataclasses.replace(loop, part="see", steps=s.eye_steps, batch=s.eye_batch, learning_rate=3e-3)
                share = part(progress, begun, 0.4)
                model, begun = lessons.seeing(model, s.glances, eyes, device, s.blunders, share), 0.4
            # Who learnt to act with other eyes does not go on with these.
            about["eyes"] = mark_of_eyes(model)
            windows = model.encoder.seen_once(windows, act.execute)
        if s.blunders:
            right = lessons.put_right(model, s.blunders, part(progress, begun, begun + 0.1))
            windows, begun = windows.and_those_of(right), begun + 0.1
            about["blunders"] = s.blunders
        model.fit(windows)
        if s.pretrain_steps and isinstance(model, WorldActionModel):
            foretell = dataclasses.replace(loop, steps=s.pretrain_steps, act=ACT_MEANWHILE, dream=1.0)
            share = part(progress, begun, begun + 0.2)
            model, begun = lessons.pretrained(model, windows, s.plays, foretell, about, device, share), begun + 0.2
            about["pretrained"] = short_hash(target.parent / PRETRAINED / BEST)
        loop = dataclasses.replace(loop, patience=s.patience)
        for number in range(s.rounds + 1):
            own = target.parent / f"{ROUND}{number}"
            parts = [begun + (1.0 - begun) * n / (s.rounds + 1) for n in (number, number + 1)]
            share = part(progress, *parts)
            with writing_to(own):
                own.mkdir(exist_ok=True)
            if number:
                before = target.parent / f"{ROUND}{number - 1}" / BEST
                windows = windows.and_those_of(lessons.corrections(before, s.corrections, own, part(share, 0.0, 0.4)))
                model, about["before"] = load_model(before)[0], short_hash(before)
                loop = dataclasses.replace(loop, steps=s.steps // 2, seed=s.seed + number)
            measure = check if s.checks else None
            share = part(share, 0.4 if number else 0.0, 1.0)
            best = train(model, windows, loop, own, share, measure, about, device, ranks)
        if ranks.first:
            save(target, load_model(own / BEST)[0], {"check": dataclasses.asdict(best), **about})
    progress(1.0, "done")
    seconds = round(time.perf_counter() - started, 3)
    return TrainResult(count, len(windows), settings.steps, best.step, best.success, seconds, str(target))


def require_policy(project: Project, dataset: Path) -> Path:
    """The file of the policy that was learnt from a dataset.

    Raises:
        UsageError: there is none yet.
    """
    path = policy_file(project, dataset)
    if not path.is_file():
        raise UsageError(
            f"{project.folder} has no policy for this task yet.",
            remedy="Run `pocketworld train` with the same task, robot and seed first.",
            code="no_policy",
        )
    return path


def act_settings(dataset: Dataset, robot: Robot) -> ActSettings:
    """How a policy is run that was learnt from a dataset: in its demonstrations' workspace, sure of itself as long as
    they take.

    Raises:
        InputError: the dataset is damaged.
    """
    from policies.rollout import ActSettings, workspace_of

    ticks = sum(dataset.length(number) for number in range(len(dataset)))
    return ActSettings(sure_ticks=round(ticks / max(len(dataset), 1)), workspace=workspace_of(dataset, robot.chain))
