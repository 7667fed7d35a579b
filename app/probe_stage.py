"""An arm weighs a thing and drags it over the table, so that mass and friction can be learnt from what it feels."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from app.bundle_stage import open_bundle
from app.demonstrate_stage import forget_if_empty
from app.project import Project
from app.real_arm import ArmSettings, Person, check_robot, is_real, ready
from app.run_stage import efforts_of
from app.stand_in import standing, world_of
from policies.dataset import DatasetWriter
from policies.deploy.cautious import Cautious
from policies.deploy.follow import Followed, blind, follow
from policies.deploy.keys import any_key
from policies.deploy.robot import Reading, Robot
from reconstruction.errors import UsageError
from reconstruction.progress import Progress, part, silent
from reconstruction.scene import Scene
from simulation.episode import Episode

if TYPE_CHECKING:
    from policies.deploy.bundle import Manifest
    from simulation.probing import Plan, Probe
    from simulation.reality import RealCell
    from simulation.robots import Robot as Described

FloatArray = npt.NDArray[np.float64]
STAND_IN = "stand-in"
MISLAID_M, MISLAID_DEG = 0.004, 4.0
"""On the stand-in's bench a thing is put back where it was but for so much."""
MUTE = "its motors do not say what they do"


@dataclass(frozen=True)
class ProbeSettings:
    """What is probed, by what arm, and how."""

    robot: str = STAND_IN
    """stand-in: an arm on a bench that stands in for the real one; lerobot:TYPE: a real arm through LeRobot
    (docs/robots.md), whose motors must say their efforts."""
    thing: str = ""
    """Name of the thing. Left out: the one that the bundle's task moves."""
    count: int = 10
    """How often, with the stand-in; with a real arm, which asks somebody to lay the thing down first, once."""
    bench: int = 0
    """Which bench stands in for the real one: each has masses, frictions, delays and errors of its own, which stay."""
    press_n: float = 6.0
    """How firmly the thing is pressed onto the table, newtons."""
    speed: float = 1.0
    """Share of full speed, above 0 to 1."""
    fast: bool = False
    """Do not wait for the clock, with the stand-in."""


@dataclass(frozen=True)
class ProbeResult:
    """What has been probed, as the command line reports it.

    Attributes:
        robot: that did it.
        thing: that was probed.
        runs: how often it was begun.
        done: how often it came to its end.
        pressed: in how many of these the table was felt.
        stopped: why the last one ended, "" where it came to its end.
        dataset: to which the runs were added.
        seconds: that it took.
    """

    robot: str
    thing: str
    runs: int
    done: int
    pressed: int
    stopped: str
    dataset: str
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """The result as a JSON-able dict."""
        return dataclasses.asdict(self)


def probe(
    folder: Path,
    settings: ProbeSettings,
    progress: Progress = silent,
    *,
    project: Project,
    truth: Path | None = None,
    out: Path | None = None,
    arm: ArmSettings = ArmSettings(),  # noqa: B008 - frozen
    person: Person | None = None,
) -> ProbeResult:
    """Let an arm weigh a thing and drag it over the table, and add what it felt to a dataset.

    Args:
        folder: of a bundle, for the arm, its limits and its task.
        settings: what is probed, and how.
        progress: is told about it.
        project: with the scene, in which it is rehearsed.
        truth: what is really there, for the stand-in, as for `reality_stage.check_reality`.
        out: the dataset's folder; left out: beside the bundle, ``<bundle>_runs/<robot>_probes``.
        arm: which real arm it is, where one is driven.
        person: who is shown what a real arm is about to do, and asked; None: there is nobody to ask.

    Raises:
        UsageError: the words make no sense, the thing cannot be probed, or the arm's motors do not say what they do.
        InputError: the bundle or the project is damaged.
        OutputError: the dataset cannot be written.
    """
    from simulation.probing import Probe
    from simulation.robots import robot_of

    started = time.perf_counter()
    _check(settings, arm)
    progress(0.0, "reading the bundle")
    manifest = blind(open_bundle(folder).manifest)
    robot = robot_of(manifest.robot)
    scene = robot.mounted(Scene.load(project.require("scene")))
    thing = _thing(settings.thing, manifest, scene)
    name = f"{settings.robot.replace(':', '_')}_probes"
    runs = (out or folder.absolute().with_name(folder.absolute().name + "_runs") / name).absolute()
    progress(0.02, f"rehearsing it with {thing}")
    plan = _rehearsed(scene, robot, manifest, thing)
    count = settings.count if settings.robot == STAND_IN else 1
    done = pressed = begun = 0
    followed = Followed(0, "")
    try:
        with ExitStack() as opened:
            if settings.robot == STAND_IN:
                world = world_of(project, truth, robot, part(progress, 0.1, 0.15))
                cell = opened.enter_context(_bench(world, robot, manifest, thing, settings.bench))
            elif person is not None:
                person.show(_instructions(scene, thing))
            writer = opened.enter_context(DatasetWriter(runs, robot=Path(manifest.robot).stem))
            key = opened.enter_context(any_key())
            real = (
                opened.enter_context(ready(manifest, settings.robot, arm, person))
                if count == 1 and is_real(settings.robot)
                else None
            )
            for number in range(count):
                index = max(writer.done(), default=-1) + 1
                if real is None:
                    _lay(cell, thing, index)
                it: Robot = _Standing(cell) if real is None else real
                work = Probe(plan, robot, manifest.rate_hz, settings.press_n)
                log = _Log(work)
                cautious = Cautious(
                    it,
                    manifest,
                    settings.speed,
                    pressed=key,
                    sleep=(lambda seconds: None) if settings.fast else time.sleep,
                )
                share = part(progress, 0.15 + 0.85 * number / count, 0.15 + 0.85 * (number + 1) / count)
                followed = follow(
                    manifest,
                    cautious,
                    log.goals(share, f"run {number + 1} of {count}"),
                    fast=settings.fast,
                    pressed=cautious.pressed,
                    look=log.look,
                    watch=log.watch,
                    clock=cautious.clock,
                )
                if followed.stopped == MUTE:
                    raise UsageError(
                        f"{settings.robot} cannot weigh or feel anything: {MUTE}.",
                        remedy="Its delay can be learnt from what `pocketworld run` records. Put the thing on a "
                        "kitchen scale.",
                        code="no_efforts",
                    )
                begun += 1
                if log.rows:
                    writer.add(dataclasses.replace(log.episode(manifest, plan, followed.stopped), index=index))
                done += not followed.stopped
                pressed += not followed.stopped and work.pressed_n is not None
                if followed.stopped:
                    break
            writer.finish()
    finally:
        forget_if_empty(runs)
    progress(1.0, "done")
    kept = runs if done else runs.with_name(runs.name + "_failures")
    seconds = round(time.perf_counter() - started, 3)
    return ProbeResult(settings.robot, thing, begun, done, pressed, followed.stopped, str(kept), seconds)


def _check(settings: ProbeSettings, arm: ArmSettings) -> None:
    """See that the words make sense.

    Raises:
        UsageError: they do not.
    """
    check_robot(settings.robot, (STAND_IN,))
    if settings.count < 1 or settings.bench < 0:
        raise UsageError("--count is 1 or more, --bench 0 or more.", remedy="Give such a number.", code="bad_value")
    if not 1.0 <= settings.press_n <= 30.0:
        raise UsageError(f"--press-n is {settings.press_n:g}.", remedy="Give 1 … 30 newtons.", code="bad_value")
    if not (math.isfinite(settings.speed) and 0.0 < settings.speed <= 1.0):
        raise UsageError(f"--speed is {settings.speed:g}.", remedy="Give a share, above 0 to 1.", code="bad_value")
    if is_real(settings.robot) and settings.fast:
        raise UsageError("A real arm cannot go by no clock.", remedy="Leave --fast out.", code="bad_value")
    if not is_real(settings.robot) and arm != ArmSettings():
        raise UsageError(
            f"--robot {settings.robot} is no real arm.",
            remedy="Leave out --port, --id, --mapping, --align, --config and --yes.",
            code="bad_value",
        )


def _thing(word: str, manifest: Manifest, scene: Scene) -> str:
    from simulation.tasks import task_of

    names = [item.name for item in scene.objects]
    if not word:
        return task_of(manifest.task, scene).what[0]
    if word not in names:
        raise UsageError(f"The scene has no {word!r}.", remedy=f"Name one of: {', '.join(names)}.", code="bad_value")
    return word


def _rehearsed(scene: Scene, robot: Described, manifest: Manifest, thing: str) -> Plan:
    """How it is done, tried in the simulation with everything where it was scanned.

    Raises:
        UsageError: it cannot be done there.
    """
    from simulation.cell import Cell
    from simulation.cousins import wardrobe_of
    from simulation.moves import CannotError
    from simulation.planner import Planner
    from simulation.probing import Prober, as_it_stands
    from simulation.variations import VARIATIONS

    wardrobe = wardrobe_of(scene, 0, dict.fromkeys(VARIATIONS, 0.0), ()).bare()
    why = ""
    with Cell(wardrobe, robot, manifest.rate_hz) as cell, Planner(robot) as planner:
        cell.reset(as_it_stands(scene))
        try:
            plan = Prober(cell, planner).rehearse(thing)
        except CannotError as error:
            why = str(error)
    if not why:
        box, chain = manifest.limits.workspace, manifest.chain
        rows = np.vstack([plan.lift, plan.sweep, plan.down, plan.drag, plan.leave, plan.home])
        points = chain.tool(rows[:, :-1])[:, :3, 3]
        if box is not None and ((points < box[0]) | (points > box[1])).any():
            why = "the tool would leave the workspace of the bundle"
    if why:
        raise UsageError(
            f"{thing} cannot be probed where it was scanned: {why}.",
            remedy="Name another --thing, or put it on a kitchen scale.",
            code="cannot_probe",
        )
    return plan


@contextmanager
def _bench(world: Path, robot: Described, manifest: Manifest, thing: str, bench: int) -> Iterator[RealCell]:
    """What stands in for reality, with everything where it was scanned."""
    from simulation.cousins import wardrobe_of
    from simulation.reality import RealCell, strengths_of_factors
    from simulation.variations import VARIATIONS

    scene = robot.mounted(Scene.load(world))
    if thing not in [item.name for item in scene.objects]:
        raise UsageError(
            f"What was scanned as {thing} is no thing of its own in what is really there.",
            remedy="Name another --thing.",
            code="cannot_probe",
        )
    wardrobe = wardrobe_of(scene, 0, dict.fromkeys(VARIATIONS, 0.0), ()).bare()
    factors = strengths_of_factors(standing())
    cell = RealCell(wardrobe, robot, manifest.rate_hz, factors, [thing], bench)
    with cell:
        yield cell


def _lay(cell: RealCell, thing: str, number: int) -> None:
    """Put everything back, the thing not quite where it was."""
    from simulation.bank import AS_SCANNED
    from simulation.cousins import Placed, product, turned_about
    from simulation.probing import as_it_stands
    from simulation.variations import unit

    cousin = as_it_stands(cell.wardrobe.scene, index=number)
    x, y, turn = (2.0 * unit("mislaid", number, axis) - 1.0 for axis in ("x", "y", "turn"))
    pose = cousin.objects[thing].matrix()
    laid = product(turned_about(2, math.radians(MISLAID_DEG * turn)), pose)
    laid[:3, 3] = pose[:3, 3] + MISLAID_M * np.array([x, y, 0.0])
    placed = {**cousin.objects, thing: Placed.at(thing, AS_SCANNED, laid)}
    cell.reset(dataclasses.replace(cousin, objects=placed))


def _instructions(scene: Scene, thing: str) -> str:
    """What a person is to do before a real arm probes something."""
    from simulation.layout import usual_mount

    mount = usual_mount(scene) if scene.robot_mount is None else scene.robot_mount
    pose = next(item.scene_from_object for item in scene.objects if item.name == thing)
    x, y, _ = (np.linalg.inv(mount) @ pose)[:3, 3]
    return (
        f"Lay {thing} as it lay in the scan: its middle {x:.3f} m before the robot's base and {y:.3f} m to its left, "
        "to half a centimetre. Everything else stands where it was scanned, or nowhere.\n"
    )


class _Standing:
    """The arm of a cell, as a runner knows robots."""

    def __init__(self, cell: RealCell) -> None:
        self._cell = cell

    def connect(self) -> None:
        """It is there already."""

    def read(self) -> Reading:
        """Positions and efforts."""
        cell = self._cell
        return Reading(cell.arm.positions(), {"joints": time.monotonic()}, efforts=cell.efforts())

    def act(self, command: FloatArray) -> None:
        """Go there during one tick of the simulated time."""
        self._cell.act(command.astype(np.float32).astype(np.float64))

    def stop(self) -> None:
        """It holds its last goal."""


@dataclass
class _Log:
    """What a probe did and felt.

    Attributes:
        work: the probe.
        rows: of each tick its phase, the reading before it, and what was told.
    """

    work: Probe
    rows: list[tuple[int, Reading, FloatArray]] = dataclasses.field(default_factory=list)
    _last: Reading | None = None

    def goals(self, progress: Progress, what: str) -> Iterator[FloatArray]:
        """What the arm is to be told."""
        parts = (self.work.plan.lift, self.work.plan.down, self.work.plan.leave, self.work.plan.home)
        most = sum(map(len, parts)) + 2 * (len(self.work.plan.sweep) + len(self.work.plan.drag)) + 100
        for number, goal in enumerate(self.work.goals(self._felt)):
            progress(min(1.0, number / most), what)
            yield goal

    def _felt(self) -> tuple[FloatArray, FloatArray]:
        assert self._last is not None
        assert self._last.efforts is not None  # else `look` has ended it
        return self._last.positions[:-1], self._last.efforts

    def look(self, reading: Reading) -> str:
        """Take note of a reading; why that ends all."""
        self._last = reading
        return MUTE if reading.efforts is None or not np.isfinite(reading.efforts).all() else ""

    def watch(self, reading: Reading, command: FloatArray) -> None:
        """Note a tick."""
        self.rows.append((self.work.phase, reading, command))

    def episode(self, manifest: Manifest, plan: Plan, stopped: str) -> Episode:
        """What was noted."""
        from simulation.probing import PHASE

        names = (*(f"{name}.pos" for name in manifest.joints), "gripper.pos")
        efforts = efforts_of([reading.efforts for _, reading, _ in self.rows])
        return Episode(
            task=f"Weigh {plan.thing.replace('_', ' ')} and drag it over the table.",
            task_name=f"probe {plan.thing}",
            rate_hz=manifest.rate_hz,
            state=np.array([reading.positions for _, reading, _ in self.rows], dtype=np.float32),
            state_names=names,
            action=np.array([command for _, _, command in self.rows], dtype=np.float32),
            action_names=names,
            extra={PHASE: np.array([phase for phase, _, _ in self.rows], dtype=np.int64), **efforts},
            success=not stopped,
            reason=stopped,
            seconds=len(self.rows) / manifest.rate_hz,
        )
