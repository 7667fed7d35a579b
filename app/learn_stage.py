"""What recorded runs say of the world goes into the scene: masses and frictions of things, the delay of the arm."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from app.project import Project, content_hash, replace_folder
from app.report import REPORT, write_report
from policies.dataset import open_dataset
from reconstruction.disk import writing_to
from reconstruction.errors import InputError, UsageError
from reconstruction.progress import Progress, part, silent
from reconstruction.scene import LEARNT, Scene, SceneObject, write_learnt
from simulation.episode import EFFORT, Episode

if TYPE_CHECKING:
    from simulation.identify import Estimate, Recorded
    from simulation.robots import Robot

PROBE = "probe "
"""How the name of a task begins that weighs and drags a thing."""


@dataclass(frozen=True)
class LearnSettings:
    """What is learnt, and of which arm."""

    robot: str = "panda"
    """Who was recorded: panda, xarm6, so101, or the path of a TOML file that describes an arm (docs/robots.md)."""
    undo: bool = False
    """Forget all that was learnt: masses and frictions are again those of the scan, arms have no delay."""
    dry: bool = False
    """Say what the runs teach, and change nothing."""


@dataclass(frozen=True)
class Learnt:
    """One thing that was learnt.

    Attributes:
        what: a thing's name, or the robot's.
        quantity: ``"mass_kg"``, ``"friction"``, or of the arm ``"delay_s"``, and what that is made of, ``"dead_s"`` and
            ``"lag_s"``.
        value: of it.
        interval: in which it is with 80 %.
        before: what the scan had said.
        runs: in how many runs it was found.
    """

    what: str
    quantity: str
    value: float
    interval: tuple[float, float]
    before: float
    runs: int


@dataclass(frozen=True)
class LearnResult:
    """What came of it, as the command line reports it.

    Attributes:
        project: its folder.
        scene: its ``scene.json``.
        runs: episodes that were read.
        learnt: what they taught.
        changed: whether the scene was changed.
        seconds: that it took.
        warnings: what could not be learnt, and why: plain sentences.
    """

    project: str
    scene: str
    runs: int
    learnt: tuple[Learnt, ...]
    changed: bool
    seconds: float
    warnings: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The result as a JSON-able dict."""
        return dataclasses.asdict(self)


def learn_from(
    project: Project, runs: Sequence[Path], settings: LearnSettings, progress: Progress = silent
) -> LearnResult:
    """Correct masses and frictions of a scene, and say how late its arm is, by what runs have recorded.

    Args:
        project: with a finished scene.
        runs: folders of datasets, as `pocketworld probe` and `run` record them.
        settings: what is learnt, and of which arm.
        progress: is told about it.

    Raises:
        UsageError: the words make no sense, or the runs are of another arm or scene.
        InputError: a dataset or the scene is damaged, or the runs teach nothing.
        OutputError: the scene cannot be written.
    """
    from simulation.robots import robot_of

    started = time.perf_counter()
    if settings.undo == bool(runs):
        raise UsageError(
            "Either runs are learnt from, or what was learnt is forgotten.",
            remedy="Name folders of recorded runs, or give --undo.",
            code="usage",
        )
    robot = robot_of(settings.robot)
    folder = project.require("scene")
    told: tuple[Learnt, ...] = ()
    warnings: list[str] = []
    count = 0
    with project.locked():
        scene = Scene.load(folder)
        before = scene.extra.get(LEARNT)
        plain = _forgotten(scene)
        if settings.undo:
            after, block = plain, None
        else:
            found, count = _read(runs, robot, plain, warnings, part(progress, 0.0, 0.9))
            told = tuple(item for items in found.values() for item in items)
            if not told:
                raise InputError(
                    "The runs teach nothing. " + " ".join(warnings),
                    remedy="Record some with `pocketworld probe`, or run the arm with `pocketworld run`.",
                    code="says_nothing",
                )
            sources = [{"path": str(run.absolute()), "content": content_hash(run)} for run in runs]
            after, block = _taught(scene, plain, before, found, robot.name, sources)
        changed = not settings.dry and block != before
        if changed:
            _write(project, after, block)
    if changed and (project.folder / REPORT).is_file():
        write_report(project)
    progress(1.0, "done")
    seconds = round(time.perf_counter() - started, 3)
    return LearnResult(str(project.folder), str(folder / "scene.json"), count, told, changed, seconds, tuple(warnings))


def _read(
    runs: Sequence[Path], robot: Robot, scene: Scene, warnings: list[str], progress: Progress
) -> tuple[dict[str, list[Learnt]], int]:
    """What runs teach, by the name of the thing, "" for the arm, and how many there were."""
    episodes: list[Episode] = []
    for number, folder in enumerate(runs):
        dataset = open_dataset(folder)
        if dataset.features.action_names != robot.action_names:
            raise UsageError(
                f"{folder} was recorded of another arm than {robot.name}.",
                remedy="Name the arm that was recorded with --robot.",
                code="other_robot",
            )
        for k in range(len(dataset)):
            progress((number + k / len(dataset)) / (2 * len(runs)), f"reading {folder.name}")
            episodes.append(dataset.read(k, ()))
    found: dict[str, list[Learnt]] = {}
    if late := _delay(episodes, robot, scene, warnings, part(progress, 0.5, 0.8)):
        found[""] = late
    probed: dict[str, list[Episode]] = {}
    for episode in episodes:
        if episode.task_name.startswith(PROBE):
            probed.setdefault(episode.task_name.removeprefix(PROBE), []).append(episode)
    items = {item.name: item for item in scene.objects}
    for number, (thing, some) in enumerate(sorted(probed.items())):
        progress(0.8 + 0.2 * number / len(probed), f"weighing {thing}")
        if thing not in items:
            raise UsageError(
                f"The scene has no {thing}, which was probed.",
                remedy="Name the project that the runs were recorded for.",
                code="other_scene",
            )
        if about := _probed(items[thing], some, robot, warnings):
            found[thing] = about
    if not probed:
        warnings.append("No mass or friction is learnt: no run is a probe (`pocketworld probe`).")
    return found, len(episodes)


def _recorded(episode: Episode) -> Recorded:
    from simulation.identify import Recorded
    from simulation.probing import PHASE

    phase, effort = episode.extra.get(PHASE), episode.extra.get(EFFORT)
    joints = episode.state.shape[1] - 1
    fits = effort is not None and effort.shape == (len(episode), joints)
    return Recorded(
        episode.rate_hz,
        episode.state.astype(np.float64),
        episode.action.astype(np.float64),
        None if phase is None else phase.reshape(len(episode)).astype(np.int64),
        effort.astype(np.float64) if effort is not None and fits else None,
    )


def _delay(
    episodes: Sequence[Episode], robot: Robot, scene: Scene, warnings: list[str], progress: Progress
) -> list[Learnt]:
    """How late the arm was, in a run like any other: the median of all."""
    from simulation.identify import OF_80, delay_of
    from simulation.learnt import PYBULLET_LAG_S

    found, why = [], ""
    for number, episode in enumerate(episodes):
        progress(number / len(episodes), f"run {number + 1} of {len(episodes)}")
        try:
            found.append(delay_of(_recorded(episode)))
        except InputError as error:
            why = error.message
    if not found:
        warnings.append(f"The arm's delay is not learnt. {why}")
        return []
    dead, lag = (np.array([getattr(one, name) for one in found]) for name in ("dead_s", "lag_s"))

    def learnt(quantity: str, value: float, values: npt.NDArray[np.float64], before: float) -> Learnt:
        spread = OF_80 * max(float(np.std(values)) / len(values) ** 0.5, 0.005)
        interval = round(max(0.0, value - spread), 6), round(value + spread, 6)
        return Learnt(robot.name, quantity, round(value, 6), interval, before, len(found))

    middle_dead, middle_lag = float(np.median(dead)), float(np.median(lag))
    return [
        learnt("delay_s", middle_dead + middle_lag, dead + lag, PYBULLET_LAG_S),
        learnt("dead_s", middle_dead, dead, 0.0),
        learnt("lag_s", middle_lag, lag, PYBULLET_LAG_S),
    ]


def _probed(item: SceneObject, episodes: Sequence[Episode], robot: Robot, warnings: list[str]) -> list[Learnt]:
    """Mass and friction of a thing."""
    from simulation.identify import combined, friction_of, mass_of, noise_of

    runs = [run for run in map(_recorded, episodes) if run.phase is not None and run.effort is not None]
    if not runs:
        warnings.append(f"Mass and friction of {item.name} are not learnt: the arm's motors did not say what they do.")
        return []
    noise, chain = noise_of(runs), robot.chain
    found = []
    for quantity, measure, before in (("mass_kg", mass_of, item.mass_kg), ("friction", friction_of, item.friction)):
        values, reasons = [], dict[str, int]()
        for run in runs:
            try:
                values.append(measure(run, chain, noise))
            except InputError as error:
                reasons[error.message] = reasons.get(error.message, 0) + 1
        for reason, times in reasons.items():
            warnings.append(f"{item.name}, {quantity}, in {times} of {len(runs)} runs: {reason}")
        estimate = combined(values)
        if estimate is not None:
            found.append(_learnt(item.name, quantity, estimate, before))
        elif values:
            middle = float(np.median([value for value, _ in values]))
            warnings.append(
                f"The {quantity.partition('_')[0]} of {item.name} is not learnt: {len(values)} runs say about "
                f"{middle:.2g}, too unsurely. Probe it more often, or put it on a kitchen scale."
            )
    return found


def _learnt(what: str, quantity: str, estimate: Estimate, before: float) -> Learnt:
    low, high = estimate.interval
    return Learnt(
        what, quantity, round(estimate.value, 6), (round(low, 6), round(high, 6)), round(before, 6), estimate.runs
    )


def _forgotten(scene: Scene) -> Scene:
    """A scene as it was before anything was learnt."""
    from simulation.learnt import of_thing

    objects = []
    for item in scene.objects:
        scanned = of_thing(scene.extra, item.name).get("scanned")
        if isinstance(scanned, dict):
            try:
                low, high = map(float, scanned["mass_interval_kg"])
                mass, friction = float(scanned["mass_kg"]), float(scanned["friction"])
                inertia = np.array(scanned["inertia"], dtype=np.float64).reshape(3, 3)
            except (KeyError, TypeError, ValueError):
                raise InputError(
                    f"What scene.json says of {item.name} under {LEARNT!r} is damaged.",
                    remedy="Reconstruct the scan again.",
                    code="bad_scene",
                ) from None
            item = dataclasses.replace(_reweighed(item, mass, (low, high), friction), inertia=inertia)
        objects.append(item)
    extra = {key: value for key, value in scene.extra.items() if key != LEARNT}
    return dataclasses.replace(scene, objects=tuple(objects), extra=extra)


def _reweighed(item: SceneObject, mass: float, interval: tuple[float, float], friction: float) -> SceneObject:
    inertia = item.inertia * (mass / item.mass_kg)
    return dataclasses.replace(item, mass_kg=mass, mass_interval_kg=interval, inertia=inertia, friction=friction)


def _taught(
    scene: Scene,
    plain: Scene,
    before: object,
    found: Mapping[str, Sequence[Learnt]],
    robot: str,
    sources: list[dict[str, str]],
) -> tuple[Scene, dict[str, Any]]:
    """A scene that knows what was found, and what it says of that. What was learnt before of others stays."""
    known: dict[str, Any] = before if isinstance(before, dict) else {}
    things, arms = dict(known.get("things", {})), dict(known.get("arms", {}))
    scanned = {item.name: item for item in plain.objects}
    objects = {item.name: item for item in scene.objects}
    for name, items in found.items():
        values = {item.quantity: item for item in items}
        about: dict[str, Any] = {"runs": max(item.runs for item in items), "from": sources}
        if not name:
            late = values["delay_s"]
            arms[robot] = {
                "dead_s": values["dead_s"].value,
                "lag_s": values["lag_s"].value,
                "delay_s_interval": list(late.interval),
                **about,
            }
            continue
        old = scanned[name]
        # What these runs leave open is as it was learnt before, else as it was scanned.
        earlier = things.get(name, {})
        entry: dict[str, Any] = {
            key: earlier[key]
            for quantity in ("mass_kg", "friction")
            for key in (quantity, f"{quantity}_interval")
            if quantity not in values and key in earlier
        }
        now = objects[name] if entry else old
        for quantity, item in values.items():
            entry |= {quantity: item.value, f"{quantity}_interval": list(item.interval)}
        mass, friction = values.get("mass_kg"), values.get("friction")
        objects[name] = _reweighed(
            old,
            mass.value if mass else now.mass_kg,
            mass.interval if mass else now.mass_interval_kg,
            friction.value if friction else now.friction,
        )
        entry["scanned"] = {
            "mass_kg": old.mass_kg,
            "mass_interval_kg": list(old.mass_interval_kg),
            "inertia": old.inertia.tolist(),
            "friction": old.friction,
        }
        things[name] = {**entry, **about}
    block = {"things": things, "arms": arms}
    after = dataclasses.replace(scene, objects=tuple(objects[item.name] for item in scene.objects))
    return after, block


def _write(project: Project, scene: Scene, block: dict[str, Any] | None) -> None:
    """Put a changed scene folder in the place of the old one, all of it at once."""
    target = project.stage_folder("scene")
    partial, old = target.with_name("scene.partial"), target.with_name("scene.old")
    with writing_to(project.folder):
        project.recover()
        try:
            shutil.copytree(target, partial, copy_function=_linked)
            write_learnt(partial, scene, block)
            replace_folder(partial, target, old)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise


def _linked(source: str, target: str) -> None:
    """A second name for a file where the disk has such, else a copy: what is changed is written anew, never over it."""
    with contextlib.suppress(OSError):
        os.link(source, target)
        return
    shutil.copy2(source, target)
