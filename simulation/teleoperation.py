"""A person drives an arm in a cousin: how its hand is to move becomes goals that the arm can follow.

A person may push things about as they like; the arm does not go through the table or itself, and no joint goes beyond
its limits or faster than it may.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from simulation.cell import Cell
from simulation.demonstrations import Recording, Stage
from simulation.episode import Episode
from simulation.filming import Film
from simulation.planner import Planner
from simulation.tasks import TASKS

FloatArray = npt.NDArray[np.float64]
MOVE_M_S = 0.25
TURN_RAD_S = 1.2
GRIP_PER_S = 4.0
"""Openings a second."""
SMOOTHING = 0.5
"""Share of the way to the wanted speed that is made up in a tick: keys know only all or nothing."""
WHAT_RGB, WHERE_RGB = (255, 176, 0), (0, 190, 255)
"""Outlines of the thing that is moved, and of what it is brought to."""
RESTS_S = 0.5
"""A task is done when it is so for this long."""


@dataclass(frozen=True)
class Command:
    """What the hand is to do, as seen through the front camera.

    Attributes:
        move: right, away and up, -1 … 1 of the highest speed.
        turn: about the line of sight's level direction (roll), about what is right (pitch) and about what is up (yaw),
            -1 … 1 likewise.
        closed: whether the gripper is to be closed.
    """

    move: tuple[float, float, float] = (0.0, 0.0, 0.0)
    turn: tuple[float, float, float] = (0.0, 0.0, 0.0)
    closed: bool = False


class Jog:
    """Steers an arm by its hand."""

    def __init__(self, planner: Planner, rate_hz: float, right: FloatArray) -> None:
        """Begin at rest.

        Args:
            planner: of the arm, with what stands round it.
            rate_hz: how often the arm is told what to do.
            right: ``(3,)`` what is right for whoever looks at it, in the scene; not upright.
        """
        self.planner, self._rate_hz = planner, rate_hz
        self._to_base = np.linalg.inv(planner.arm.scene_from_robot)[:3, :3]
        self._speed = np.array(planner.robot.speed)
        self._twist = np.zeros(6)
        self.face(right)

    def face(self, right: FloatArray) -> None:
        """From now on this ``(3,)`` is right for whoever looks at it; away is level."""
        right = right * [1.0, 1.0, 0.0]
        right = right / np.linalg.norm(right)
        self._axes = np.stack([right, np.cross([0.0, 0.0, 1.0], right), [0.0, 0.0, 1.0]], axis=1)

    def rest(self) -> None:
        """Hold what is left of the motion."""
        self._twist = np.zeros(6)

    def action(self, command: Command, goal: FloatArray, poses: Mapping[str, FloatArray]) -> FloatArray:
        """The next goal ``(J + 1,)``; where the hand cannot go as it should, it slides along as far as it can.

        Args:
            command: what the person wants.
            goal: ``(J + 1,)`` the one before.
            poses: where things are, `scene_from_object` by name.
        """
        wanted = np.concatenate(
            [MOVE_M_S * np.clip(command.move, -1.0, 1.0), TURN_RAD_S * np.clip(command.turn, -1.0, 1.0)[[1, 0, 2]]]
        )
        self._twist += SMOOTHING * (wanted - self._twist)
        q, opening = goal[:-1], float(goal[-1])
        most = GRIP_PER_S / self._rate_hz
        opening += float(np.clip((0.0 if command.closed else 1.0) - opening, -most, most))
        self.planner.look(poses)
        if np.abs(self._twist).max() > 1e-3:
            for kept in ((1, 1, 1, 1, 1, 1), (1, 1, 1, 0, 0, 0), (1, 1, 0, 0, 0, 0), (0, 0, 1, 0, 0, 0)):
                moved = self._moved(q, self._twist * kept, opening, frozenset(poses))
                if moved is not None:
                    return np.append(moved, opening)
        return np.append(q, opening)

    def _moved(self, q: FloatArray, twist: FloatArray, opening: float, things: frozenset[str]) -> FloatArray | None:
        """Joint positions a tick later; None where that is not possible."""
        chain, seconds = self.planner.chain, 1.0 / self._rate_hz
        to_base = self._to_base @ self._axes
        tool = chain.tool(q)
        before = tool[:2, 3] - chain.fixed[0][:2, 3]
        tool[:3, 3] += to_base @ twist[:3] * seconds
        if self.planner.robot.loose:  # an arm of five joints turns its hand with itself
            after = tool[:2, 3] - chain.fixed[0][:2, 3]
            turn = np.arctan2(before[0] * after[1] - before[1] * after[0], before @ after)
            tool[:3, :3] = Rotation.from_rotvec([0.0, 0.0, turn]).as_matrix() @ tool[:3, :3]
        tool[:3, :3] = Rotation.from_rotvec(to_base @ twist[3:] * seconds).as_matrix() @ tool[:3, :3]
        found, exact = chain.solve(tool[None], q[None], 20)
        step = found[0] - q
        if not exact[0] or (np.abs(step) > self._speed * seconds).any():
            return None
        return found[0] if self.may(q, found[0], opening, things) else None

    def may(self, before: FloatArray, after: FloatArray, opening: float, things: frozenset[str]) -> bool:
        """Whether the arm may go from joint positions ``(J,)`` to others; it may push these things about."""
        clear = self.planner.clearance(after, opening, things)
        # A hand that already touches the table may leave it.
        return clear > 0.0 or clear > self.planner.clearance(before, opening, things)


class Session:
    """Cousin after cousin in which a person shows a task, each recorded as an episode."""

    def __init__(self, stage: Stage, first: int = 0, size: int = 256) -> None:
        """Load the first cousin in which the task makes sense.

        Args:
            stage: of the task.
            first: number of the first cousin that is looked at.
            size: width and height of what the person sees, pixels; what is recorded is as `stage.job` says.
        """
        self.stage = stage
        self._film = Film(stage.job.wardrobe, stage.job.robot, size)
        self._begin(first)

    @property
    def cell(self) -> Cell:
        """Where it happens."""
        return self.stage.cell

    def _begin(self, index: int) -> None:
        while self.stage.enter(index):
            index += 1
        self.index = index
        self._ready()

    def _ready(self) -> None:
        cell, stage = self.cell, self.stage
        self.recording = Recording()
        self._rested = 0
        self._take = stage.take(self._film)
        stage.planner.load(cell.family, cell.cousin, cell.scene, cell.mount)
        front = self._take.views([cell.moment()])["front"].scene_from_camera
        self.jog = Jog(stage.planner, cell.rate_hz, front[:3, 0])

    def again(self) -> None:
        """Forget what was recorded: the same cousin from its beginning."""
        self.cell.reset(self.cell.cousin)
        self._ready()

    def next(self) -> None:
        """Forget what was recorded: the next cousin."""
        self._begin(self.index + 1)

    def tick(self, command: Command) -> None:
        """One tick of the arm, recorded; nothing is recorded before the first command that says anything."""
        cell = self.cell
        action = self.jog.action(command, cell.goal, cell.world.poses()).astype(np.float32).astype(np.float64)
        if not self.recording.actions and np.allclose(action, cell.goal, atol=1e-6):
            return
        self.recording.moments.append(cell.moment())
        self.recording.actions.append(action)
        cell.act(action)
        task = self.stage.job.task
        self._rested = self._rested + 1 if TASKS[task.kind].done(cell, task) else 0

    @property
    def done(self) -> bool:
        """Whether the task is done, and has been for `RESTS_S`."""
        return self._rested >= RESTS_S * self.cell.rate_hz

    def pictures(self) -> dict[str, npt.NDArray[np.uint8]]:
        """``(H, W, 3)`` of how it stands now, by camera; what the task is about is outlined."""
        task = self.stage.job.task
        colors = {name: WHAT_RGB for name in task.what[: 1 if task.kind != "clear" else None]}
        colors[task.where] = WHERE_RGB
        found = {}
        for camera, shot in self._take.shoot([self.cell.moment()], smooth=False).items():
            found[camera] = shot.rgb[0].copy()
            for name, color in colors.items():
                if name in shot.names:
                    found[camera][_outline(shot.body[0] == shot.names.index(name))] = color
        return found

    def episode(self) -> Episode:
        """What was recorded: a success where the task is done."""
        self.recording.moments.append(self.cell.moment())
        reason = "" if self.done else "not done"
        return self.stage.episode(self.recording, reason)


def _outline(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """The pixels ``(H, W)`` just inside the edge of what a mask shows."""
    inside = np.pad(mask, 1)
    inside = inside[1:-1, :-2] & inside[1:-1, 2:] & inside[:-2, 1:-1] & inside[2:, 1:-1]
    return np.asarray(mask & ~inside)
