"""From a dataset of demonstrations to a policy, and how often it succeeds where it has never been."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from app.demonstrate_stage import DemonstrateSettings, Order, bank_file, made_with, run_file, slug
from app.policy_folder import FILMS, evaluation_file, policy_file
from app.project import Project, content_hash, read_json
from app.report import REPORT, write_report
from policies.dataset import open_dataset
from policies.files import BEST, EYES, ROUND
from reconstruction.disk import locked, write_whole, writing_to
from reconstruction.errors import InputError, UsageError
from reconstruction.progress import Progress, part, silent
from reconstruction.scene import Scene
from simulation.pool import workers

if TYPE_CHECKING:
    from policies.episodes import Dataset
    from policies.evaluate import Score, Trial
    from policies.policy import Policy
    from policies.rollout import Actor, ActSettings
    from simulation.robots import Robot

HELD_OUT_SEED = 1_000_003
"""Added to the demonstrations' seed for the cousins on which a policy is tested …"""
CHECK_SEED = 2_000_003
"""… and for those on which its training is watched: what it was chosen by must not be what it is judged by."""
FILM_PX = 192
"""Height of films of an evaluation."""
EVALUATION_FORMAT = "pocketworld.evaluation"
CHUNK = 2
"""Cousins that a process tries at a time."""
AHEAD = 6
"""Such portions that wait for a process."""


@dataclass(frozen=True)
class TrainSettings:
    """What is learnt, and how."""

    task: str
    """What to do, as it was demonstrated: "place X in Y"."""
    robot: str = "panda"
    """Who does it: the robot of the demonstrations."""
    seed: int = 0
    """Of the demonstrations, of the first weights and of all that is drawn."""
    observe: Literal["state", "rgb"] = "state"
    """What the policy sees: where the things of the task are, which only a simulation knows; or the cameras' pictures
    (rgb), which succeeds less often so far."""
    policy: Literal["world-action", "act"] = "world-action"
    """What learns: the world-action model, or, to compare it with, action chunking with transformers (act)."""
    action_only: bool = False
    """Let the world-action model not learn to foretell what will be seen (to find out what that is worth)."""
    episodes: int | None = None
    """Learn from so many demonstrations at most."""
    steps: int = 3000
    """Steps of training to act."""
    batch: int = 128
    """Frames a step."""
    glances: int = 400
    """Cousins of which the eyes see pictures with the hand anywhere, beside the demonstrations."""
    eye_steps: int = 3000
    """Steps of training to see, before that, where the policy sees pictures …"""
    eye_batch: int = 16
    """… with so many frames a step."""
    check_every: int = 1000
    """Steps between checkpoints, and between measurements of success."""
    rounds: int = 1
    """Times that the policy then tries cousins, the expert takes over in each, and it learns from that too …"""
    corrections: int = 150
    """… each time from so many, for half as many steps."""
    checks: int = 20
    """Cousins in which success is measured meanwhile; 0: not measured, and the last policy is kept."""
    device: str = "auto"
    """Where it is trained: auto takes CUDA, then MPS, then the CPU."""


@dataclass(frozen=True)
class TrainResult:
    """What training has come to, as the command line reports it.

    Attributes:
        episodes: demonstrations it learnt from; `frames` of them.
        steps: of training; `best_step`: that of the policy that is kept.
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


@dataclass(frozen=True)
class EvaluateResult:
    """What a policy is worth, as the command line reports it.

    Attributes:
        score: of all cousins.
        policy: its file.
        films: the folder with those of some of them, "" without any.
        seconds: of this run.
    """

    score: Score
    policy: str
    films: str
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """The result as a JSON-able dict."""
        return {**self.score.as_json(), "seconds": self.seconds, "policy": self.policy, "films": self.films}


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
        jobs: processes that measure success meanwhile; never changes the result.

    Raises:
        PocketworldError: no demonstrations, or not of what is wanted.
    """
    import torch

    from policies.checkpoint import POLICIES, load_model, save
    from policies.evaluate import score
    from policies.train import LoopSettings, train
    from policies.windows import read_windows
    from simulation.robots import robot_of

    started = time.perf_counter()
    _check(settings, jobs)
    folder = dataset.absolute() if dataset is not None else demonstrations_of(project, settings)
    data = open_dataset(folder)
    robot = robot_of(settings.robot)
    if data.features.action_names != robot.action_names:
        raise UsageError(
            f"{folder} does not show {settings.robot}.", remedy="Name the robot that it shows.", code="bad_dataset"
        )
    kind = POLICIES[settings.policy]
    size = kind.sizes(horizons=()) if settings.action_only else kind.sizes()
    reads = partial(
        read_windows, chain=robot.chain, chunk=size.chunk, horizons=size.horizons, cameras=cameras_of(settings.observe)
    )
    windows = reads(data, progress=part(progress, 0.0, 0.05), episodes=settings.episodes)
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
        "data": hashlib.blake2b(windows.actions.numpy().tobytes(), digest_size=8).hexdigest(),
    }
    target = policy_file(project, folder)
    act = act_settings(data, robot)
    device = chosen_device(settings.device)
    torch.manual_seed(settings.seed)
    model = kind(size, settings.observe, len(robot.action_names), windows.around)
    model.encoder.arm.describe(robot.chain)
    model.fit(windows)
    with writing_to(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
    with locked(target.parent), workers(jobs, None) as crew:

        def check(network: Policy) -> float:
            draft = target.with_name("draft.safetensors")
            save(draft, network, {})
            trials = Trials(project, folder, draft, CHECK_SEED, longest_s, act, model.encoder.cameras)
            return score(trials.tried(settings.checks, crew.executor, silent)).share

        begun = 0.05
        if model.encoder.cameras:
            begun, place = 0.4, target.parent / EYES
            loop = LoopSettings(
                part="see",
                steps=settings.eye_steps,
                batch=settings.eye_batch,
                learning_rate=3e-3,
                matrix_rate=0.02,
                seed=settings.seed,
                check_every=settings.check_every,
            )
            wide = place / f"glances-{_short(content_hash(run_file(folder)))}"  # of this scene, varied so
            order = order_of(project, folder, 0, held_out=False, cameras=True, executor=crew.executor)
            glances_into(order, settings.glances, crew.executor, wide, part(progress, 0.05, 0.2))
            # From glances alone: so what they then say of demonstrations is as wrong as it will be elsewhere.
            views = reads(open_dataset(wide))
            told = {**about, "glances": settings.glances}
            train(model, views, loop, place, part(progress, 0.2, begun), None, told, device)
            del views
            # Who learnt to act with other eyes does not go on with these.
            about["eyes"] = _short(content_hash(place / BEST))
            model = load_model(place / BEST)[0]
            windows = model.encoder.seen_once(windows, act.execute)
            model.fit(windows)
        for number in range(settings.rounds + 1):
            own = target.parent / f"{ROUND}{number}"
            parts = [begun + (1.0 - begun) * n / (settings.rounds + 1) for n in (number, number + 1)]
            share = part(progress, *parts)
            with writing_to(own):
                own.mkdir(exist_ok=True)
            if number:
                before = target.parent / f"{ROUND}{number - 1}" / BEST
                model = load_model(before)[0]
                # Of this very policy: another one's mistakes are not what is to be set right.
                made_by = _short(content_hash(before))
                fixes = own / f"corrections-{made_by}"
                about["before"] = made_by
                trials = Trials(project, folder, before, 0, longest_s, act, model.encoder.cameras)
                trials.corrections(settings.corrections, crew.executor, fixes, part(share, 0.0, 0.4))
                more = reads(open_dataset(fixes))
                windows = windows.and_those_of(model.encoder.seen_once(more, act.execute))
            loop = LoopSettings(
                steps=settings.steps if number == 0 else settings.steps // 2,
                batch=settings.batch,
                seed=settings.seed + number,
                check_every=settings.check_every,
            )
            measure = check if settings.checks else None
            best = train(model, windows, loop, own, part(share, 0.4 if number else 0.0, 1.0), measure, about, device)
        save(target, load_model(own / BEST)[0], {"check": dataclasses.asdict(best), **about})
    progress(1.0, "done")
    seconds = round(time.perf_counter() - started, 3)
    return TrainResult(count, len(windows), settings.steps, best.step, best.success, seconds, str(target))


def evaluate_policy(
    project: Project,
    settings: TrainSettings,
    count: int,
    progress: Progress = silent,
    *,
    dataset: Path | None = None,
    films: int = 3,
    jobs: int = 1,
) -> EvaluateResult:
    """Let a policy try cousins that neither its demonstrations nor its training have seen, nor things in them.

    Args:
        project: with a policy.
        settings: which one.
        count: cousins in which it tries.
        progress: is told about it.
        dataset: the demonstrations it was learnt from; left out: those in the project's folder ``episodes``.
        films: of the first cousins in which it failed, as many, and of one in which it did not, into the folder
            ``films`` beside the policy.
        jobs: processes; never changes the result.

    Raises:
        PocketworldError: there is no policy, or it is damaged.
    """
    from policies.checkpoint import load_model
    from policies.evaluate import score
    from simulation.robots import robot_of

    started = time.perf_counter()
    if count < 1 or jobs < 1:
        raise UsageError("--count and --jobs are 1 or more.", remedy="Give 1 or more.", code="bad_value")
    if films < 0:
        raise UsageError(f"--films is {films}.", remedy="Give 0 or more.", code="bad_value")
    folder = dataset.absolute() if dataset is not None else demonstrations_of(project, settings)
    path = require_policy(project, folder)
    model, notes = load_model(path)
    content = content_hash(path)
    act = act_settings(open_dataset(folder), robot_of(settings.robot))
    with workers(jobs, None) as crew:
        cameras = model.encoder.cameras
        trials = Trials(project, folder, path, HELD_OUT_SEED, float(notes["longest_s"]), act, cameras)
        tried = trials.tried(count, crew.executor, part(progress, 0.0, 0.9 if films else 1.0))
        found = score(tried)
        shown = [*found.worst[:films], *(found.done[:1] if films else ())]
        _keep_films(path, found, trials.films(shown, crew.executor, FILM_PX, part(progress, 0.9, 1.0)))
    learnt = {name: notes.get(name) for name in ("task", "robot", "observe", "episodes")}
    about = {"format": EVALUATION_FORMAT, "version": 1, "policy": content, "act": _plain(act), "learnt": learnt}
    about.update(found.as_json())
    about["trials"] = [trial.as_json() for trial in tried if not trial.skipped]
    write_whole(evaluation_file(path), json.dumps(about, indent=1) + "\n")
    if (project.folder / REPORT).is_file():
        write_report(project)
    where = str(path.parent / FILMS) if shown else ""
    return EvaluateResult(found, str(path), where, round(time.perf_counter() - started, 3))


def _keep_films(policy: Path, score: Score, films: Iterator[tuple[int, bytes]]) -> None:
    """Write films beside a policy, in place of those of an evaluation before."""
    folder = policy.parent / FILMS
    with writing_to(folder):
        folder.mkdir(exist_ok=True)
        for path in folder.glob("*.mp4"):
            path.unlink()
        for index, film in films:
            write_whole(folder / f"{'failed' if index in score.worst else 'succeeded'}_{index:06d}.mp4", film)


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


def evaluation_of(policy: Path, act: ActSettings) -> dict[str, Any] | None:
    """The last score of this very policy, run in this very way, or None: never evaluated, or changed since."""
    found = read_json(evaluation_file(policy))
    wanted = {"format": EVALUATION_FORMAT, "policy": content_hash(policy), "act": _plain(act)}
    if found is None or any(found.get(key) != value for key, value in wanted.items()):
        return None
    counts = found.get("count"), found.get("successes")
    return found if all(type(count) is int and count >= 0 for count in counts) else None


def _plain(act: ActSettings) -> Any:
    """As it reads back from JSON."""
    return json.loads(json.dumps(dataclasses.asdict(act)))


def order_of(
    project: Project,
    dataset: Path,
    more: int,
    *,
    held_out: bool,
    cameras: bool = False,
    executor: Executor | None = None,
    progress: Progress = silent,
) -> Order:
    """Cousins for the task of a dataset, of its seed plus `more`, with `held_out` things or the others.

    They are filmed as in the dataset where `cameras` are wanted.

    Raises:
        InputError: it is not known how the dataset was made.
    """
    settings, scene = made_with(dataset)
    settings = dataclasses.replace(settings, seed=settings.seed + more, like=None)
    if not cameras:
        settings = dataclasses.replace(settings, cameras="none")
    bank = bank_file(dataset, project, scene, settings, executor, progress)
    return Order(scene, bank, settings, uuid.uuid4().hex, held_out)


class Trials:
    """Cousins in which a policy is tried: of another seed, with other things than the demonstrations'."""

    def __init__(
        self,
        project: Project,
        dataset: Path,
        policy: Path,
        more: int,
        longest_s: float,
        act: ActSettings,
        cameras: Sequence[str],
    ) -> None:
        """Those of the demonstrations' seed plus `more`, filmed by `cameras`."""
        self._filmed = bool(cameras)
        self._project, self._dataset, self._more = project, dataset, more
        self._policy, self._act = policy, act
        self._longest_s = act.patience * longest_s

    def tried(self, count: int, executor: Executor | None, progress: Progress) -> list[Trial]:
        """Try until `count` cousins were tried in which the task makes sense, in the order of their numbers.

        Raises:
            InputError: hardly any makes sense.
        """
        from policies.evaluate import try_some

        order = self._order(executor, part(progress, 0.0, 0.1), held_out=True)
        found: list[Trial] = []
        tried = 0
        for trial in in_turn(self._work(try_some, order), executor):
            found.append(trial)
            tried += not trial.skipped
            progress(0.1 + 0.9 * tried / count, f"{tried} of {count} cousins")
            if tried >= count:
                break
            _check_sense(len(found), tried, trial.skipped)
        return found

    def corrections(self, count: int, executor: Executor | None, folder: Path, progress: Progress) -> None:
        """Fill a dataset with `count` episodes of the expert setting right what the policy has begun."""
        from policies.evaluate import correct_some

        order = self._order(executor, part(progress, 0.0, 0.1), held_out=False)
        _fill(folder, order, count, self._work(correct_some, order), executor, part(progress, 0.1, 1.0))

    def films(
        self, indices: Sequence[int], executor: Executor | None, size: int, progress: Progress
    ) -> Iterator[tuple[int, bytes]]:
        """Films of held-out cousins being tried, by the cousins' numbers."""
        from policies.evaluate import film_one

        order = self._order(executor, silent, held_out=True)
        if not self._filmed:  # things need their looks all the same
            order = dataclasses.replace(order, settings=dataclasses.replace(order.settings, cameras="both"))
        actor = partial(actor_of, self._policy, self._act)
        work = partial(film_one, order.job, actor, order.key, longest_s=self._longest_s, size=size)
        films = map(work, indices) if executor is None else executor.map(work, indices)
        for number, (index, film) in enumerate(zip(indices, films, strict=True), 1):
            progress(number / len(indices), f"{number} of {len(indices)} films")
            yield index, film

    def _order(self, executor: Executor | None, progress: Progress, held_out: bool) -> Order:
        return order_of(
            self._project,
            self._dataset,
            self._more,
            held_out=held_out,
            cameras=self._filmed,
            executor=executor,
            progress=progress,
        )

    def _work(self, work: Callable[..., list[Any]], order: Order) -> Callable[[tuple[int, ...]], list[Any]]:
        actor = partial(actor_of, self._policy, self._act)
        return partial(work, order.job, actor, order.key, longest_s=self._longest_s)


def glances_into(order: Order, count: int, executor: Executor | None, folder: Path, progress: Progress) -> None:
    """Fill a dataset with what `count` cousins look like with the hand anywhere (`simulation.glances`)."""
    from policies.evaluate import glance_some

    _fill(folder, order, count, partial(glance_some, order.job, order.key), executor, progress)


def _fill(
    folder: Path,
    order: Order,
    count: int,
    work: Callable[[tuple[int, ...]], list[Any]],
    executor: Executor | None,
    progress: Progress,
) -> None:
    """Fill a dataset with `count` episodes of what `work` makes of cousin after cousin; goes on where it was killed."""
    from policies.dataset import DatasetWriter

    with DatasetWriter(folder, robot=Path(order.settings.robot).stem) as writer:
        good = len(writer.succeeded())
        found = in_turn(work, executor) if good < count else ()
        for looked, (index, episode) in enumerate(found, 1):
            if episode is not None and index not in writer.done():
                writer.add(episode)
                good += 1
            progress(min(1.0, good / count), f"{good} of {count} {folder.name.split('-')[0]}")
            if good >= count:
                break
            _check_sense(looked, good, "nothing came of it")
        writer.finish()


def in_turn(work: Callable[[tuple[int, ...]], list[Any]], executor: Executor | None) -> Iterator[Any]:
    """What `work` makes of cousin after cousin, without end, in the order of their numbers."""
    chunks = (tuple(range(start, start + CHUNK)) for start in itertools.count(0, CHUNK))
    if executor is None:
        for chunk in chunks:
            yield from work(chunk)
        return
    waiting: deque[Future[list[Any]]] = deque()
    try:
        while True:
            while len(waiting) < AHEAD:
                waiting.append(executor.submit(work, next(chunks)))
            yield from waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def _short(content: str) -> str:
    """A content hash as a part of a file's name."""
    return content.split(":")[-1][:16]


def _check_sense(looked: int, good: int, why: str) -> None:
    if looked > 50 + 50 * good:
        raise InputError(
            f"The task makes no sense in {looked} cousins ({why}).",
            remedy="Choose another task or thing, or another place for the robot.",
            code="no_cousins",
        )


def actor_of(policy: Path, act: ActSettings) -> Actor:
    """The policy in a file, on one core: processes share the others."""
    import torch

    from policies.checkpoint import load_model
    from policies.rollout import Actor

    torch.set_num_threads(1)
    return Actor(load_model(policy)[0], act)


def cameras_of(observe: str) -> tuple[str, ...]:
    """Whose pictures a policy needs that observes so."""
    from simulation.filming import CAMERAS

    return CAMERAS if observe == "rgb" else ()


def chosen_device(wanted: str) -> str:
    """Torch's name of the device that is meant.

    Raises:
        UsageError: there is none of that name here.
    """
    import torch

    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        return next(name for name, found in there.items() if found)
    if not there.get(wanted.split(":")[0]):
        raise UsageError(
            f"There is no device {wanted!r} here.",
            remedy=f"Use one of: auto, {', '.join(name for name, found in there.items() if found)}.",
            code="no_device",
        )
    return wanted


def act_settings(dataset: Dataset, robot: Robot) -> ActSettings:
    """How a policy is run that was learnt from a dataset: in its demonstrations' workspace, sure of itself as long as
    they take.

    Raises:
        InputError: the dataset is damaged.
    """
    from policies.rollout import ActSettings, workspace_of

    ticks = sum(dataset.length(number) for number in range(len(dataset)))
    return ActSettings(sure_ticks=round(ticks / max(len(dataset), 1)), workspace=workspace_of(dataset, robot.chain))


def _check(settings: TrainSettings, jobs: int) -> None:
    least = {
        "steps": 2,
        "batch": 1,
        "glances": 1,
        "eye_steps": 2,
        "eye_batch": 1,
        "rounds": 0,
        "corrections": 1,
        "check_every": 1,
        "checks": 0,
    }
    for name, lowest in least.items():
        value = getattr(settings, name)
        if value < lowest:
            option = name.replace("_", "-")
            raise UsageError(f"--{option} is {value}.", remedy=f"Give {lowest} or more.", code="bad_value")
    if settings.action_only and settings.policy != "world-action":
        raise UsageError(
            f"--policy {settings.policy} only acts anyway.", remedy="Leave out --action-only.", code="bad_value"
        )
    if jobs < 1 or (settings.episodes is not None and settings.episodes < 1):
        raise UsageError("--jobs and --episodes are 1 or more.", remedy="Give 1 or more.", code="bad_value")
