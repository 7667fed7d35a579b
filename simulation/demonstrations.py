"""Tries of the expert, one in each cousin, recorded as episodes; and played again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from reconstruction.errors import ReconstructionError
from simulation.bank import Bank, Wardrobe
from simulation.calibration import CALIBRATION
from simulation.cell import RATE_HZ, Cell, Faults, Moment
from simulation.cousins import Cousin, CousinSettings
from simulation.draw import Draw
from simulation.episode import Episode
from simulation.expert import Expert
from simulation.filming import Film, Take
from simulation.mimic import Mimic, Sketch
from simulation.moves import CannotError
from simulation.planner import Planner
from simulation.pointcloud import CLOUD
from simulation.privileged import COLUMN, POINTS, environment_state, middles
from simulation.renderer import Pictures
from simulation.robots import Robot
from simulation.tasks import TASKS, Task, moved, unsuitable, zone_of

FloatArray = npt.NDArray[np.float64]
LONGEST_S = 90.0
"""An episode that takes longer has failed."""


@dataclass(frozen=True)
class Job:
    """What is tried: everything that a process needs to know.

    Attributes:
        wardrobe: what stands in the cousins, with textures where they are filmed.
        bank: how it stands.
        cousins: what makes a cousin valid.
        task: what to do.
        robot: who does it.
        rate_hz: actions a second.
        cameras: that film it, of `filming.CAMERAS`.
        size: width and height of their pictures, pixels.
        points: the cloud of points that they see is recorded (`simulation.pointcloud`).
        film_every: they take a picture of every so manieth frame, and show it until they take the next.
        shown: demonstrations to go by in place of the expert; none: the expert.
    """

    wardrobe: Wardrobe
    bank: Bank
    cousins: CousinSettings
    task: Task
    robot: Robot
    rate_hz: float = RATE_HZ
    cameras: tuple[str, ...] = ()
    size: int = 96
    points: bool = False
    film_every: int = 1
    shown: tuple[Sketch, ...] = ()


@dataclass(frozen=True)
class Attempt:
    """What became of one cousin.

    Attributes:
        index: its number in the family.
        skipped: why the task makes no sense in it; "" where it was tried.
        episode: what was done, where it was tried.
    """

    index: int
    skipped: str = ""
    episode: Episode | None = None


@dataclass
class Recording:
    """Frames of an episode as they come."""

    moments: list[Moment] = field(default_factory=list)
    actions: list[FloatArray] = field(default_factory=list)


class Stage:
    """A cell with its expert, kept from one cousin to the next; use it as a context manager."""

    def __init__(self, job: Job) -> None:
        """Open the worlds."""
        self.job = job
        self._open = ExitStack()
        self.cell = self._open.enter_context(self._open_cell(job))
        self.planner = self._open.enter_context(Planner(job.robot))
        self.expert = Mimic(self.cell, self.planner, job.shown) if job.shown else Expert(self.cell, self.planner)
        self._film = Film(job.wardrobe, job.robot, job.size) if job.cameras else None
        self._take: Take | None = None
        self.draw = Draw(job.wardrobe, job.bank, job.cousins)

    def _open_cell(self, job: Job) -> Cell:
        return Cell(job.wardrobe.bare(), job.robot, job.rate_hz)

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the worlds; harmless when repeated."""
        self._open.close()

    def enter(self, index: int) -> str:
        """Load cousin number `index`; why the task makes no sense in it, "" where it does."""
        try:
            cousin, _ = self.draw.cousin(index)
        except ReconstructionError:
            return "no valid cousin"
        self.cell.reset(cousin)
        self._take = None
        return unsuitable(self.cell, self.job.task)

    def attempt(self, index: int) -> Attempt:
        """Let the expert try cousin number `index`; the same whatever was tried before."""
        why = self.enter(index)
        if why:
            return Attempt(index, why)
        recording = Recording()
        reason = record(self.cell, self.expert.perform(self.job.task), recording)
        return Attempt(index, episode=self.episode(recording, reason))

    def correct(self, index: int, begin: Callable[[Stage], Iterator[FloatArray]]) -> Attempt:
        """Let somebody else begin in cousin number `index`, and the expert take over; what it did is the episode.

        Args:
            index: of the cousin.
            begin: the other's actions, one a tick; the expert takes over when they end.
        """
        why = self.enter(index)
        if why:
            return Attempt(index, why)
        cell, task = self.cell, self.job.task
        for action in begin(self):
            cell.act(action)
            if TASKS[task.kind].done(cell, task):
                return Attempt(index, "done already")
        cell.faults = Faults()  # what the other did wrong is not the expert's fault
        recording = Recording()
        reason = record(cell, self.expert.perform(task), recording)
        return Attempt(index, episode=self.episode(recording, reason))

    def shots(self) -> dict[str, Pictures]:
        """What each of the job's cameras sees as things stand now: one frame."""
        take = self._filming()
        return {} if take is None else take.shoot([self.cell.moment()], self.job.cameras, first_frame=self.cell.ticks)

    def pictures(self) -> dict[str, npt.NDArray[np.uint8]]:
        """``(H, W, 3)`` of each of the job's cameras, as things stand now."""
        return {name: shot.rgb[0] for name, shot in self.shots().items()}

    def depths_m(self, shots: Mapping[str, Pictures]) -> dict[str, npt.NDArray[np.float32]]:
        """``(H, W)`` of the cameras of `shots`, as depth cameras would measure it (`filming.Take.depths_m`)."""
        take = self._filming()
        assert take is not None  # else there were no shots
        return {name: depth[0] for name, depth in take.depths_m(shots, self.cell.ticks).items()}

    def cloud(self, shots: Mapping[str, Pictures]) -> npt.NDArray[np.int16]:
        """``(n,)`` the cloud of points of `shots` (`filming.Take.clouds`)."""
        take = self._filming()
        assert take is not None  # else there were no shots
        found: npt.NDArray[np.int16] = take.clouds([self.cell.moment()], shots, self.cell.ticks)[0]
        return found

    def calibration(self) -> FloatArray:
        """What is known of the job's cameras (`simulation.calibration`), one after the other."""
        take = self._filming()
        return np.zeros(0) if take is None else take.calibration(self.job.cameras)

    def _filming(self) -> Take | None:
        if self._take is None and self._film is not None:
            self._take = self.take(self._film)
        return self._take

    def take(self, film: Film) -> Take:
        """Ready to film the cousin that is loaded."""
        cell, task = self.cell, self.job.task
        zone = zone_of(cell, task.what[0]) if task.kind == "push" else None
        return film.take(cell.cousin, cell.mount, zone)

    def episode(self, recording: Recording, reason: str) -> Episode:
        """What was recorded in the cousin that is loaded, as an episode."""
        cell, task, cousin = self.cell, self.job.task, self.cell.cousin
        reason = reason or broken_rules(cell, self.planner, recording.moments)
        names = cell.robot.action_names
        count = len(recording.actions)
        moments = recording.moments[:count]
        told = np.array([environment_state(cell, task, moment.objects) for moment in moments])
        images, filmed = {}, dict[str, npt.NDArray[Any]]()
        if self._film is not None:
            take = self.take(self._film)
            every = self.job.film_every
            shots = take.shoot(moments[::every], self.job.cameras)
            images = {name: shot.rgb.repeat(every, axis=0)[:count] for name, shot in shots.items()}
            base = cell.mount
            points = take.image_points(moments, middles(told) @ base[:3, :3].T + base[:3, 3], self.job.cameras)
            filmed[POINTS] = points.reshape(count, -1).astype(np.float32)
            filmed[CALIBRATION] = np.tile(take.calibration(self.job.cameras).astype(np.float32), (count, 1))
            if self.job.points:
                filmed[CLOUD] = take.clouds(moments[::every], shots).repeat(every, axis=0)[:count]
        tools = [moment.links[cell.robot.tool_link] @ cell.robot.link_from_tool for moment in moments]
        extra = {"tool_pose": as_rows(np.array(tools))}
        extra["object_pose"] = as_rows(np.array([moment.objects[moved(cell, task)] for moment in moments]))
        if task.where:
            extra["target_pose"] = as_rows(np.array([moment.objects[task.where] for moment in moments]))
        elif task.kind == "push":
            zone = zone_of(cell, task.what[0])
            assert zone is not None  # else the cousin would have been unsuitable
            extra["target_pose"] = np.tile(np.array([*zone, 0, 0, 0, 1], dtype=np.float32), (count, 1))
        extra.update({COLUMN: told.astype(np.float32), **filmed})
        return Episode(
            task=task.sentence,
            task_name=task.words,
            rate_hz=cell.rate_hz,
            state=np.array([moment.state for moment in moments], dtype=np.float32),
            state_names=names,
            action=np.array(recording.actions, dtype=np.float32),
            action_names=names,
            images=images,
            extra=extra,
            success=not reason,
            reason=reason,
            recipe=cousin.to_json(),
            seed=cousin.seed,
            index=cousin.index,
            seconds=count / cell.rate_hz,
        )


def record(cell: Cell, actions: Iterator[FloatArray], recording: Recording) -> str:
    """Act, and keep every frame; why it came to nothing, "" where it came to an end by itself.

    Actions are rounded to float32 first, as they are stored, so that they can be played again bit for bit.
    """
    try:
        for action in actions:
            rounded = action.astype(np.float32).astype(np.float64)
            recording.moments.append(cell.moment())
            recording.actions.append(rounded)
            cell.act(rounded)
            if cell.seconds > LONGEST_S:
                return "took too long"
    except CannotError as error:
        if not recording.actions:  # nothing was done: one frame says so
            recording.moments.append(cell.moment())
            recording.actions.append(cell.goal)
        return str(error)
    recording.moments.append(cell.moment())
    return ""


def broken_rules(cell: Cell, planner: Planner, moments: Iterable[Moment]) -> str:
    """Which limit of the robot an episode has broken, "" for none; self-collision is looked for in every frame."""
    if cell.faults.limit:
        return "joint limit broken"
    if cell.faults.speed:
        return "speed limit broken"
    return "self-collision" if any(planner.touches_itself(moment.state) for moment in moments) else ""


def as_rows(poses: FloatArray) -> npt.NDArray[np.float32]:
    """``(T, 7)`` positions (m) and quaternions (x, y, z, w) of poses ``(T, 4, 4)``."""
    from scipy.spatial.transform import Rotation

    quat_xyzw = Rotation.from_matrix(poses[:, :3, :3]).as_quat()
    return np.concatenate([poses[:, :3, 3], quat_xyzw], axis=1).astype(np.float32)


def replay(cell: Cell, episode: Episode) -> tuple[Recording, bool]:
    """Play the actions of an episode again in its cousin; what happened, and whether all states are the same bits.

    Raises:
        InputError: its cousin does not belong to the cell's scene.
    """
    cell.reset(Cousin.from_json(episode.recipe))
    recording = Recording()
    record(cell, iter(episode.action.astype(np.float64)), recording)
    states = np.array([moment.state for moment in recording.moments[: len(episode)]], dtype=np.float32)
    return recording, bool(np.array_equal(states, episode.state))


_stages: dict[str, Stage] = {}


def attempt_some(job: Callable[[], Job], key: str, indices: tuple[int, ...]) -> list[Attempt]:
    """Attempts in a worker process, which keeps its stage for the next call with the same `key`; `job` says of what."""
    if key not in _stages:
        for stage in _stages.values():
            stage.close()
        _stages.clear()
        _stages[key] = Stage(job())
    return [_stages[key].attempt(index) for index in indices]
