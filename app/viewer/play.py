"""Physics of the scene that is shown, in step with the clock: a hand that can hold one thing, and perhaps an arm."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from simulation.world import World

if TYPE_CHECKING:
    from simulation.driving import Driver

FloatArray = npt.NDArray[np.float64]
LONGEST_S = 0.1
"""A slower picture slows the physics down, rather than the physics the picture."""
STRENGTH = 12.0
"""How hard the hand pulls at most, times a thing's weight: enough to swing it, not to press it through others."""
GRAVITY = 9.81


class Play:
    """A world made from a scene folder, its hand, and how far its clock has come."""

    def __init__(self, folder: Path) -> None:
        """Load the scene's URDFs.

        Raises:
            InputError: the scene cannot be loaded.
        """
        self.folder = folder
        self.world = World.open(folder)
        self.driver: Driver | None = None
        self.running = False
        self.held = ""
        self._reach = 0.0
        self._clock = 0.0

    def close(self) -> None:
        """End it."""
        if self.driver is not None:
            self.driver.close()
        self.world.close()

    def drive(self, robot: str, mount: FloatArray) -> None:
        """Put an arm into the world, at `scene_from_robot` ``(4, 4)``.

        Raises:
            PocketworldError: it is not on this computer, or cannot be loaded.
        """
        from simulation.driving import Driver  # slow to import, and most scenes are only looked at
        from simulation.robots import robot_of

        self.driver = Driver(self.world, self.folder, robot_of(robot), mount)
        self._clock = time.monotonic()

    def run(self) -> None:
        """Let time pass from now on."""
        self.running = True
        self._clock = time.monotonic()

    def pause(self) -> None:
        """Stop time."""
        self.running = False

    def advance(self) -> dict[str, FloatArray]:
        """Simulate what has passed since the last call; returns where things are now."""
        now = time.monotonic()
        step = self.world.settings.time_step_s
        count = int(min(now - self._clock, LONGEST_S) / step)
        if now - self._clock > LONGEST_S:
            self._clock = now
        else:
            self._clock += count * step
        if self.driver is None:
            self.world.step(count)
        else:
            for _ in range(count):
                self.driver.step()
                self.world.step()
        return self.world.poses()

    def grab(self, name: str, point: FloatArray, ahead_m: float) -> bool:
        """Take hold of a thing at a point that lies `ahead_m` in front of the camera; False: it cannot be held."""
        self.release()
        if name not in self.world.names:
            return False
        mass = float(self.world.call("getDynamicsInfo", self.world.body(name), -1)[0])
        self.world.grab(name, point, max(STRENGTH * GRAVITY * mass, 1.0))
        self.world.set_damping(name, 0.9, 0.9)
        self.held, self._reach = name, ahead_m
        return True

    def drag(self, start: FloatArray, way: FloatArray, forward: FloatArray) -> None:
        """Move the hand to where a ray of the picture is as far ahead of the camera as when it took hold."""
        if self.held:
            target = start + way * self._reach / float(way @ forward)
            body = self.world.body(self.held)
            self.world.call("changeDynamics", body, -1, activationState=self.world.pybullet.ACTIVATION_STATE_WAKE_UP)
            self.world.drag(self.held, target)

    def release(self) -> None:
        """Open the hand."""
        if self.held:
            self.world.release(self.held)
            self.world.set_damping(self.held, 0.04, 0.04)
            self.held = ""
