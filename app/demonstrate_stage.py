"""The stage from a scene to demonstrations of a task: cousins, the expert's tries in them, a dataset."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import os
import re
import shutil
import time
import uuid
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from app.cousin_stage import bank_of, pool_of
from app.project import Project, as_settings_json, content_hash, read_json, real_path
from app.worker import from_json
from policies.dataset import DatasetWriter, open_dataset
from reconstruction.disk import write_whole, writing_to
from reconstruction.errors import InputError, ReconstructionError, UsageError
from reconstruction.progress import Progress, part, silent
from reconstruction.scene import Scene
from simulation.cousins import CousinSettings

if TYPE_CHECKING:
    from policies.encoded import EncodedEpisode
    from policies.episodes import Dataset
    from simulation.demonstrations import Job
    from simulation.mimic import Sketch
    from simulation.pool import Workers
    from simulation.robots import Robot
    from simulation.tasks import Task

FORMAT, VERSION = "pocketworld.demonstrations", 2
CHUNK = 2
"""Cousins that a process tries at a time."""
WRIST_OFF_CM, FRONT_OFF_DEG = 2.0, 7.5
"""A dataset's cameras that were farther from how they are today, on the wrist and before the robot, were others."""
HOPELESS = 60
"""Stop when so many cousins have brought nothing at first."""


@dataclass(frozen=True)
class TaskSettings:
    """What is done, by whom, in which cousins, and how it is recorded."""

    task: str
    """What to do, with the names of the scene's things: "pick X", "place X in Y", "place X on Y", "place X next to Y",
    "push X", "stack X on Y", "clear table into Y"."""
    robot: str = "panda"
    """Who does it: panda, xarm6, so101, or the path of a TOML file that describes an arm (docs/robots.md)."""
    seed: int = 0
    """Another seed gives another family of cousins."""
    vary: tuple[str, ...] = ()
    """What varies and how strongly, as for `pocketworld cousins`."""
    swap_from: tuple[Path, ...] = ()
    """Other projects, or folders of meshes, whose things are swapped in and added. Left out: the bundled ones."""
    gap_mm: float = 25.0
    """Things that do not stand on each other are at least this far apart: fingers need room."""
    rate_hz: float = 10.0
    """Actions, and pictures, a second; a whole number of physics steps (240 a second) must fit."""
    image_size: int = 96
    """Width and height of the recorded pictures, pixels."""
    layout: Literal["lerobot", "gr00t"] = "lerobot"
    """Format of the dataset: LeRobotDataset v3.0, or v2.1 with modality.json as GR00T's fine-tuning reads it."""


@dataclass(frozen=True)
class DemonstrateSettings(TaskSettings):
    """Which demonstrations are made."""

    count: int = 100
    """How many demonstrations that succeed; more than there are already: the dataset is added to."""
    cameras: Literal["both", "points", "front", "wrist", "none"] = "both"
    """Which cameras film it: one before the robot, one on its wrist; points: both, and what they see in depth is kept
    as a cloud of points."""
    like: Path | None = None
    """Do it as a few episodes show, of this dataset (`pocketworld teleoperate`), in place of the expert."""


@dataclass(frozen=True)
class DemonstrateResult:
    """What has been demonstrated, as the command line reports it.

    Attributes:
        attempts: cousins that were tried, in all runs.
        successes: demonstrations in the dataset.
        failures: tries that failed, by reason.
        skipped: cousins in which the task makes no sense, by reason; those looked at in this run.
        seconds: of this run.
        dataset: folder of the demonstrations.
        failed: folder of the failures' episodes.
    """

    attempts: int
    successes: int
    failures: dict[str, int]
    skipped: dict[str, int]
    seconds: float
    dataset: str
    failed: str

    def as_json(self) -> dict[str, Any]:
        """The result as a JSON-able dict."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class Order:
    """What a worker process needs to know to make the same attempts as any other.

    Attributes:
        scene: the scene's folder.
        bank: the file in which it is written how things stand.
        settings: of the demonstrations.
        key: the same for the calls of one run.
        held_out: the cousins hold things on which policies are tested, not those on which they are trained.
        film_every: see `demonstrations.Job`.
    """

    scene: Path
    bank: Path
    settings: DemonstrateSettings
    key: str
    held_out: bool = False
    film_every: int = 1

    def job(self) -> Job:
        """The same in terms of the simulation, read from the files.

        Raises:
            InputError: they are gone, or damaged.
        """
        from simulation.bank import Bank
        from simulation.cousins import wardrobe_of
        from simulation.demonstrations import Job
        from simulation.filming import CAMERAS
        from simulation.robots import robot_of
        from simulation.tasks import task_of
        from simulation.variations import strengths_of

        s = self.settings
        robot = robot_of(s.robot)
        scene = robot.mounted(Scene.load(self.scene))
        task = task_of(s.task, scene)
        wardrobe = wardrobe_of(scene, s.seed, strengths_of(s.vary), pool_of(s.swap_from), self.held_out)
        bank = Bank.from_json(json.loads(self.bank.read_text(encoding="utf-8"))["bank"])
        keep = (task.where,) if task.kind == "clear" else task.names
        cousins = CousinSettings(seed=s.seed, vary=s.vary, swap_from=s.swap_from, gap_mm=s.gap_mm, keep=keep)
        if robot.short:
            cousins = dataclasses.replace(cousins, reach_m=robot.reach_m)
        cameras = {"both": CAMERAS, "points": CAMERAS, "none": ()}.get(s.cameras, (s.cameras,))
        points, shown = s.cameras == "points", shown_in(s, task, robot)
        return Job(
            wardrobe, bank, cousins, task, robot, s.rate_hz, cameras, s.image_size, points, self.film_every, shown
        )


def demonstrate(
    project: Project,
    settings: DemonstrateSettings,
    progress: Progress = silent,
    *,
    out: Path | None = None,
    jobs: int = 1,
    cluster: str | None = None,
) -> DemonstrateResult:
    """Let the expert do a task in cousin after cousin until enough demonstrations have succeeded.

    What is there already from the same settings is kept and added to.

    Args:
        project: with a finished scene.
        settings: what to demonstrate.
        progress: is told about all of it.
        out: the dataset's folder; left out: ``episodes/<task>`` of the project.
        jobs: processes; never changes the result.
        cluster: address of a Ray cluster that does the work in place of them; its nodes read the project's folder.

    Raises:
        PocketworldError: no scene, no such task, a dataset of other settings in the way, or nothing ever succeeds.
    """
    from simulation.cluster import checked_address
    from simulation.pool import workers
    from simulation.robots import robot_of
    from simulation.tasks import task_of

    if jobs < 1:
        raise UsageError(f"--jobs is {jobs}.", remedy="Give 1 or more.", code="bad_value")
    check_settings(settings)
    if cluster is not None:
        checked_address(cluster)
    started = time.perf_counter()
    settings = dataclasses.replace(settings, swap_from=tuple(map(real_path, settings.swap_from)))
    if settings.like is not None:
        settings = dataclasses.replace(settings, like=real_path(settings.like))
    scene_folder = project.require("scene")
    task = task_of(settings.task, Scene.load(scene_folder))
    settings = dataclasses.replace(settings, task=task.words)  # however it was said
    shown_in(settings, task, robot_of(settings.robot))
    folder = (out or project.folder / "episodes" / slug(task.words, settings)).absolute()
    progress(0.0, "looking at what is there")
    with writing_to(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        with DatasetWriter(folder, layout=settings.layout, robot=Path(settings.robot).stem) as writer:
            make_or_match(folder, scene_folder, settings)
            with workers(jobs, cluster) as crew:
                bank = bank_file(folder, project, scene_folder, settings, crew.executor, part(progress, 0.0, 0.2))
                order = Order(scene_folder, bank, settings, uuid.uuid4().hex)
                skipped = _collect(writer, order, crew, part(progress, 0.2, 0.95))
            summary = writer.finish(part(progress, 0.95, 1.0))
    except BaseException:
        forget_if_empty(folder)
        raise
    progress(1.0, "done")
    return DemonstrateResult(
        attempts=summary.episodes + summary.failures,
        successes=summary.episodes,
        failures=dict(summary.reasons),
        skipped=dict(skipped.most_common()),
        seconds=round(time.perf_counter() - started, 3),
        dataset=str(summary.folder),
        failed=str(summary.failures_folder),
    )


def check_settings(settings: DemonstrateSettings) -> None:
    """Look at the numbers before anything is made.

    Raises:
        UsageError: one makes no sense.
    """
    from simulation.variations import strengths_of
    from simulation.world import WorldSettings

    strengths_of(settings.vary)
    if settings.count < 1:
        raise UsageError(f"--count is {settings.count}.", remedy="Give 1 or more.", code="bad_value")
    if not 16 <= settings.image_size <= 1024 or settings.image_size % 2:
        raise UsageError(
            f"--image-size is {settings.image_size}.", remedy="Give an even number, 16 … 1024.", code="bad_value"
        )
    steps = 1.0 / (WorldSettings().time_step_s * settings.rate_hz) if settings.rate_hz > 0 else 0.0
    if steps < 1 or abs(steps - round(steps)) > 1e-9:
        raise UsageError(
            f"--rate-hz is {settings.rate_hz}.", remedy="Give a divisor of 240, such as 10.", code="bad_value"
        )


def forget_if_empty(folder: Path) -> None:
    """Take away what a run has left that came to nothing."""
    if folder.is_dir() and {path.relative_to(folder).as_posix() for path in folder.rglob("*")} <= {".lock", ".journal"}:
        shutil.rmtree(folder, ignore_errors=True)
        run_file(folder).unlink(missing_ok=True)


def slug(words: str, settings: DemonstrateSettings) -> str:
    """Name of the folder of a task's dataset."""
    text = f"{words} {Path(settings.robot).stem} {settings.seed}"
    if settings.like is not None:
        text += f" like {settings.like.name}"
    return re.sub(r"[^\w]+", "_", text).strip("_")


def run_file(folder: Path) -> Path:
    """Where it is written how a dataset was made."""
    return folder.with_name(folder.name + ".json")


def made_with(folder: Path) -> tuple[DemonstrateSettings, Path]:
    """How a dataset was made, and where its scene lies.

    Raises:
        InputError: it is not known.
    """
    plain = folder.with_name(folder.name.removesuffix("_failures"))
    record = read_json(run_file(plain))
    try:
        if record is None:
            raise ValueError("there is no such file, or it is damaged")
        settings = from_json(DemonstrateSettings, record["settings"])
        scene = (run_file(plain).parent / str(record["scene"])).resolve()
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{run_file(plain)} does not say how {folder} was made: {error}.",
            remedy="Name a dataset's folder as `pocketworld demonstrate` left it.",
            code="bad_dataset",
        ) from None
    return settings, scene


def check_version(folder: Path) -> None:
    """See that a dataset tells of things what those that are made now do.

    Raises:
        InputError: it does not.
    """
    record = read_json(run_file(folder))
    if record is not None and record.get("version") != VERSION:
        raise InputError(
            f"{folder} was demonstrated with another version of Pocketworld, and does not tell which end of a thing is "
            "the heavier.",
            remedy=f"Delete it and {run_file(folder).name}, and demonstrate again.",
            code="other_version",
        )


def check_scene(folder: Path, scene: Path) -> None:
    """See that the scene a dataset was made in is there, and still is as it was.

    Raises:
        InputError: it is not.
    """
    plain = folder.with_name(folder.name.removesuffix("_failures"))
    if not (scene / "scene.json").is_file():
        raise InputError(
            f"The scene in which {folder} was made is not in {scene}.",
            remedy="Leave the dataset in its project, or move the project as a whole.",
            code="no_scene",
        )
    inputs = (read_json(run_file(plain)) or {}).get("inputs")
    if not isinstance(inputs, dict) or inputs.get("scene") != content_hash(scene / "scene.json"):
        raise InputError(
            f"The scene has changed since {folder} was made: in another one, or with the robot elsewhere, "
            "the same actions come to something else.",
            remedy="Put the robot back with `pocketworld mount`, or demonstrate anew.",
            code="other_scene",
        )


def check_cameras(dataset: Dataset) -> None:
    """See that a dataset with pictures was filmed by the cameras that film today.

    An eye that learns from other places than those from which it will look sees little. Where the robot stands, and the
    camera before it, varies from cousin to cousin: what may be compared is by how much that one looks down.

    Raises:
        InputError: it was not.
    """
    from simulation.calibration import CALIBRATION, NUMBERS
    from simulation.filming import CAMERAS, camera_facts
    from simulation.robots import robot_of

    settings, scene_folder = made_with(dataset.folder)
    cameras = [name for name in CAMERAS if name in dataset.features.cameras]
    some = range(min(len(dataset), 20))
    if not cameras or not some or CALIBRATION not in dataset.features.extra:
        return
    robot = robot_of(settings.robot)
    facts = camera_facts(robot.mounted(Scene.load(scene_folder)), robot, settings.image_size)
    told = np.array([dataset.read(number, ()).extra[CALIBRATION][0] for number in some])
    rows = told.reshape(len(some), len(cameras), NUMBERS)
    for camera, known in zip(cameras, np.median(rows, axis=0), strict=True):
        if camera == "wrist":
            off = 100 * float(np.linalg.norm(known[:3] - np.array(facts[camera]["tool_from_camera"])[:3, 3]))
            words = f"was {off:.0f} cm from where it is today" if off > WRIST_OFF_CM else ""
        else:
            ahead = np.array(facts[camera]["base_from_camera"])[2, 2], np.cross(known[3:6], known[6:9])[2]
            today, then = np.rad2deg(-np.arcsin(np.clip(ahead, -1.0, 1.0)))
            words = f"looked down by {then:.0f}°, not {today:.0f}°" if abs(then - today) > FRONT_OFF_DEG else ""
        if words:
            raise InputError(
                f"The camera {camera!r} of {dataset.folder} {words}.",
                remedy="Demonstrate anew, into another folder or with another --seed.",
                code="other_cameras",
            )


def shown_in(settings: DemonstrateSettings, task: Task, robot: Robot) -> tuple[Sketch, ...]:
    """What is to be done alike; nothing where the expert does it.

    Raises:
        InputError: there is no such dataset, or it is damaged.
        UsageError: it shows another task or robot, or nothing that succeeded.
    """
    from simulation.cousins import Cousin, dress, wardrobe_of
    from simulation.mimic import KINDS, Sketch
    from simulation.variations import strengths_of

    if settings.like is None:
        return ()
    if task.kind not in KINDS:
        raise UsageError(
            f"What {task.words!r} needs cannot be done alike.", remedy="Leave out --like.", code="bad_task"
        )
    before, scene_folder = made_with(settings.like)
    dataset = open_dataset(settings.like)
    scene = robot.mounted(Scene.load(scene_folder))
    wardrobe = wardrobe_of(scene, before.seed, strengths_of(before.vary), pool_of(before.swap_from), False).bare()
    found = []
    for number in range(len(dataset)):
        episode = dataset.read(number, ())
        same = episode.task_name == task.words, episode.action_names == robot.action_names
        if not all(same):
            what = f"the robot {before.robot}" if same[0] else repr(episode.task_name)
            raise UsageError(
                f"{settings.like} shows {what}.", remedy="Name one with this task and robot.", code="bad_dataset"
            )
        if episode.success:
            found.append(Sketch.of(episode, task, dress(Cousin.from_json(episode.recipe), wardrobe)))
    if not found:
        raise UsageError(
            f"{settings.like} shows nothing that succeeded.",
            remedy="Show the task with `pocketworld teleoperate`.",
            code="bad_dataset",
        )
    return tuple(found)


def make_or_match(folder: Path, scene: Path, settings: DemonstrateSettings) -> None:
    """Write down how a dataset is made, or see that it is made as it was.

    Raises:
        UsageError: what is there was made otherwise.
        InputError: … with another version.
    """
    asked = as_settings_json(dataclasses.replace(settings, count=0))
    inputs = {"scene": content_hash(scene / "scene.json")}
    inputs.update({f"swap_from {path}": content_hash(path) for path in settings.swap_from})
    if settings.like is not None:
        inputs["like"] = content_hash(settings.like)
    made = {"format": FORMAT, "version": VERSION, "settings": asked, "inputs": inputs}
    path = run_file(folder)
    # From here, so that a project can be moved as a whole.
    made["scene"] = Path(os.path.relpath(scene, path.parent)).as_posix()
    before = read_json(path) if path.is_file() else None
    if before is None:
        write_whole(path, json.dumps(made, indent=1, ensure_ascii=False) + "\n")
        return
    check_version(folder)
    if before.get("settings") != asked or before.get("inputs") != inputs:
        changed = [key for key in asked if (before.get("settings") or {}).get(key) != asked[key]]
        changed = changed or [key for key in inputs if (before.get("inputs") or {}).get(key) != inputs[key]]
        raise UsageError(
            f"{folder} was made with other settings ({', '.join(changed)}).",
            remedy="Name another folder with --out, or delete this one.",
            code="other_settings",
        )


def bank_file(
    folder: Path,
    project: Project,
    scene_folder: Path,
    settings: DemonstrateSettings,
    executor: Executor | None,
    progress: Progress,
) -> Path:
    """The file in which it is written how the things of the family stand."""
    from simulation.cousins import wardrobe_of
    from simulation.variations import strengths_of

    strengths = strengths_of(settings.vary)
    wardrobe = wardrobe_of(Scene.load(scene_folder), settings.seed, strengths, pool_of(settings.swap_from)).bare()
    inputs = {"scene": content_hash(scene_folder / "scene.json")}
    inputs.update({f"swap_from {path}": content_hash(path) for path in settings.swap_from})
    name = hashlib.blake2b(json.dumps([settings.seed, strengths]).encode(), digest_size=6).hexdigest()
    target = folder.parent / f".bank-{name}.json"
    bank_of(target, (target, project.stage_folder("cousins") / "bank.json"), wardrobe, inputs, executor, progress)
    return target


def _collect(writer: DatasetWriter, order: Order, crew: Workers, progress: Progress) -> Counter[str]:
    """Try cousin after cousin, in the order of their numbers, and hand in what was done."""
    wanted = order.settings.count
    good = len(writer.succeeded())
    first = max(writer.done(), default=-1) + 1  # they are handed in by number: a run before has skipped the rest
    skipped: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    for why, episode in _attempts(order, crew.executor, first, 3 * crew.count) if good < wanted else ():
        if episode is None:
            skipped[why] += 1
        else:
            writer.add(episode)
            good += episode.success
            if not episode.success:
                failed[episode.reason] += 1
        progress(min(1.0, good / wanted), f"{good} of {wanted} demonstrations, {failed.total()} failed")
        if good >= wanted:
            break
        if not good and skipped.total() + failed.total() >= HOPELESS:
            worst = ", ".join(f"{name} {count}" for name, count in (skipped + failed).most_common(3))
            raise ReconstructionError(
                f"Nothing has succeeded in {skipped.total() + failed.total()} cousins ({worst}).",
                remedy="Choose another task or thing, another place for the robot, or lower --vary.",
                code="no_success",
            )
    return skipped


Tried = tuple[str, "EncodedEpisode | None"]


def _attempts(order: Order, executor: Executor | None, first: int, ahead: int) -> Iterator[Tried]:
    """Tries in the order of the cousins' numbers, from the `first` on: why it was skipped, or the episode."""
    chunks = (tuple(range(start, start + CHUNK)) for start in itertools.count(first, CHUNK))
    if executor is None:
        while True:
            yield from try_some(order, next(chunks))
    waiting: deque[Future[list[Tried]]] = deque()
    try:
        while True:
            while len(waiting) < ahead:
                waiting.append(executor.submit(try_some, order, next(chunks)))
            yield from waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def try_some(order: Order, indices: tuple[int, ...]) -> list[Tried]:
    """Attempts in some cousins, in a process that keeps its worlds for the next call."""
    from policies.encoded import encode
    from simulation.demonstrations import attempt_some

    found: list[Tried] = []
    for attempt in attempt_some(order.job, order.key, indices):
        found.append((attempt.skipped, None if attempt.episode is None else encode(attempt.episode)))
    return found
