"""The first time on an arm: slowly, and only as far as a person says yes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from policies.deploy.bundle import Manifest
from policies.deploy.robot import Reading, Robot

FloatArray = npt.NDArray[np.float64]


class Cautious:
    """A robot that takes its time, as a runner knows robots.

    Between two ticks it is told goals on the way from one to the other, no farther apart in time than ticks are at full
    speed. For whoever drives it, time stands still meanwhile: it is driven by its own `clock`.

    Attributes:
        refused: whether a person said no; nothing is asked then any more.
    """

    def __init__(
        self,
        robot: Robot,
        manifest: Manifest,
        speed: float = 1.0,
        *,
        ask: Callable[[], bool] | None = None,
        pressed: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Slow a robot down.

        Args:
            robot: that is driven.
            manifest: of the bundle.
            speed: share of full speed, above 0 to 1.
            ask: asks a person before each chunk of actions whether to go on, the arm being at rest; None: nobody.
            pressed: whether a key was; then, as where data go stale, it goes no farther.
            clock: the time, seconds, that of the readings.
            sleep: wait so many seconds.
        """
        if not (math.isfinite(speed) and 0 < speed <= 1):
            raise ValueError(f"{speed!r} is no share of full speed")
        self._robot, self._manifest, self._speed, self._ask = robot, manifest, speed, ask
        self._pressed, self._clock, self._sleep = pressed, clock, sleep
        self._waited, self._ticks, self._asked = 0.0, 0, -1
        self._told: FloatArray | None = None
        self.refused = False

    def clock(self) -> float:
        """The time without that in which it took its time."""
        return self._clock() - self._waited

    def pressed(self) -> bool:
        """Whether a person wants it to end."""
        return self.refused or self._pressed()

    def connect(self) -> None:
        """As the robot does."""
        self._robot.connect()

    def read(self) -> Reading:
        """As the robot does, as soon as a person has said yes where one is to be asked; of an age by `clock`."""
        due = self._ticks % self._manifest.execute == 0 and self._asked != self._ticks
        if self._ask is not None and due and not self.refused:
            begun, self._asked = self._clock(), self._ticks
            self.refused = not self._ask()
            self._waited += self._clock() - begun
        reading = self._robot.read()
        if self._told is None:
            self._told = reading.positions.copy()
        times = {name: time_s - self._waited for name, time_s in reading.measured_s.items()}
        return Reading(reading.positions, times, reading.seen, reading.efforts)

    def act(self, command: FloatArray) -> None:
        """Go there in as many steps as it takes; stay where that is no longer wanted, or safe, on the way."""
        begun, period = self._clock(), 1.0 / self._manifest.rate_hz
        start = np.array(command) if self._told is None else self._told
        times, shares = self._way(period)
        for number, (due, share) in enumerate(zip(times, shares, strict=True)):
            if number:
                self._sleep(max(0.0, begun + due - self._clock()))
                if self.pressed() or self._stale():
                    break
            self._told = start + share * (command - start)
            self._robot.act(self._told)
        self._ticks += 1
        if len(times) > 1:
            self._waited += self._clock() - begun

    def stop(self) -> None:
        """As the robot does."""
        self._robot.stop()

    def _way(self, period: float) -> tuple[FloatArray, FloatArray]:
        """When goals are told in a tick, seconds from its beginning, and how far on its way each is, 0 … 1.

        The tick lasts for another `period` after the last one.
        """
        asks, execute = self._ask is not None, self._manifest.execute
        begins, ends = asks and self._ticks % execute == 0, asks and (self._ticks + 1) % execute == 0
        # From rest, and to rest, the same way takes twice as long at the same acceleration all along.
        length = (2.0 if begins or ends else 1.0) * period / self._speed
        count = math.ceil((length - period) / period - 1e-9)
        times = np.linspace(0.0, length - period, count + 1)
        u = np.append(times[1:], length) / length
        if begins and ends:
            return times, u * u * (3.0 - 2.0 * u)
        return times, u * u if begins else u * (2.0 - u) if ends else u

    def _stale(self) -> bool:
        now, reading = self._clock(), self._robot.read()
        return any(not now - time_s <= self._manifest.limits.stale_s for time_s in reading.measured_s.values())
