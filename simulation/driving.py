"""An arm in the very scene that was scanned, driven by a person: by its hand, or joint by joint."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from simulation.cell import RATE_HZ, rub
from simulation.planner import Planner
from simulation.robots import Arm, Robot
from simulation.teleoperation import GRIP_PER_S, Command, Jog
from simulation.world import World

FloatArray = npt.NDArray[np.float64]
SLOW = 0.5
"""Of the joints' highest speed, where one is told where to go: a person looks on."""

STUCK_RAD = 1e-4
"""An arm whose hand is to move and which moves less in a tick is held up."""


class Driver:
    """Stands in a scene's world and is driven there; whoever owns the world calls `step` before each of its steps.

    The arm pushes things about as it may, and takes hold of them, but goes through neither table nor itself, and no
    joint beyond its limits or faster than it may.

    Attributes:
        arm: in the world.
        goal: ``(J + 1,)`` where it is told to be: joints (rad, m where they slide) and the gripper's opening, 0 … 1.
        blocked: whether something keeps it from where a person wants it.
    """

    def __init__(self, world: World, scene_folder: Path, robot: Robot, mount: FloatArray) -> None:
        """Put it there, at home, open.

        Args:
            world: of that scene.
            scene_folder: which.
            robot: which.
            mount: ``(4, 4)`` `scene_from_robot`.

        Raises:
            InputError: PyBullet cannot load the robot or the scene.
        """
        self.robot, self._world = robot, world
        self._planner = Planner(robot)
        try:
            self._planner.world.furnish(scene_folder)
            self._planner.stand(mount)
            rub(world, {name: _friction(world, name) for name in world.names if name not in world.fixed_names})
            self.arm = Arm(world, robot, mount)
        except BaseException:
            self._planner.close()
            raise
        self._jog = Jog(self._planner, RATE_HZ, np.array([1.0, 0.0, 0.0]))
        self._steps = round(1.0 / (RATE_HZ * world.settings.time_step_s))
        self.goal = np.array([*robot.home, 1.0])
        self._before, self._step = self.goal, self._steps
        self._command, self._target, self._opening = Command(), self.goal[:-1], 1.0
        self.blocked = False

    def close(self) -> None:
        """End its picture of the scene; the arm goes with the world."""
        self._planner.close()

    def jog(self, command: Command, right: FloatArray) -> None:
        """Move the hand like this until told otherwise.

        Args:
            command: its `closed` says nothing: see `grip`.
            right: ``(3,)`` what is right for whoever looks on, in the scene.
        """
        self._command = command
        self._jog.face(right)

    def go(self, number: int, value: float) -> None:
        """Bring one joint there, as far as nothing is in the way; a jog ends that.

        Raises:
            IndexError: it has no such joint.
        """
        chain = self._planner.chain
        self._command = Command()
        self._jog.rest()
        self._target = self._target.copy()
        self._target[number] = np.clip(value, chain.low[number], chain.high[number])

    def grip(self, opening: float) -> None:
        """Open the gripper so far, 0 … 1."""
        self._opening = float(np.clip(opening, 0.0, 1.0))

    def step(self) -> None:
        """Tell the motors where to be in the world's next step."""
        if self._step >= self._steps:
            self._before, self._step = self.goal, 0
            self.goal = self._next()
        self._step += 1
        self.arm.drive(self._before + (self.goal - self._before) * (self._step / self._steps))

    def _next(self) -> FloatArray:
        """Where to be a tick later."""
        poses = {name: pose for name, pose in self._world.poses().items() if name not in self._world.fixed_names}
        moved = self._jog.action(self._command, self.goal, poses)
        most = GRIP_PER_S / RATE_HZ
        opening = float(np.clip(self._opening, self.goal[-1] - most, self.goal[-1] + most))
        wanted = any((*self._command.move, *self._command.turn))
        if wanted or not np.array_equal(moved[:-1], self.goal[:-1]):
            self._target = moved[:-1]
            self.blocked = wanted and bool(np.abs(moved[:-1] - self.goal[:-1]).max() < STUCK_RAD)
            return np.append(moved[:-1], opening)
        return np.append(self._nearer(frozenset(poses)), opening)

    def _nearer(self, things: frozenset[str]) -> FloatArray:
        """Joints ``(J,)`` a tick nearer to where they were told to go: all together, or those alone that can."""
        here, most = self.goal[:-1], SLOW * np.array(self.robot.speed) / RATE_HZ
        step = np.clip(self._target - here, -most, most)
        self.blocked = False
        if not step.any():
            return here
        if self._jog.may(here, here + step, float(self.goal[-1]), things):
            return np.asarray(here + step)
        for joint in np.flatnonzero(step):
            there = here.copy()
            there[joint] += step[joint]
            if self._jog.may(here, there, float(self.goal[-1]), things):
                return there
        self.blocked = True
        return here


def _friction(world: World, name: str) -> float:
    return float(world.call("getDynamicsInfo", world.body(name), -1)[1])
