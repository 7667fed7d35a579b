"""An arm follows goals that somebody has worked out, with the guard of a policy: tick by tick, until they end."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from policies.deploy.bundle import JOINTS, Manifest
from policies.deploy.guard import Guard
from policies.deploy.loop import KEY, rest, unfit
from policies.deploy.robot import Reading, Robot

FloatArray = npt.NDArray[np.float64]
NEAR_RAD = 2e-3
"""The next goal is asked for when the guard has brought the arm's so near to the last one …"""
PATIENCE_S = 3.0
"""… and given up when it has not after so long."""
KEPT = "the guard keeps the arm from going there"


@dataclass(frozen=True)
class Followed:
    """How that went.

    Attributes:
        ticks: goals that the arm was told.
        stopped: why it ended before its end; "" where it did not.
    """

    ticks: int
    stopped: str


def blind(manifest: Manifest) -> Manifest:
    """A manifest that looks at nothing but joints, as whoever follows goals does."""
    return dataclasses.replace(manifest, inputs={JOINTS: manifest.inputs[JOINTS]}, points=None)


def follow(
    manifest: Manifest,
    robot: Robot,
    goals: Iterator[FloatArray],
    *,
    fast: bool = False,
    pressed: Callable[[], bool] = lambda: False,
    look: Callable[[Reading], str] = lambda reading: "",
    watch: Callable[[Reading, FloatArray], None] = lambda reading, command: None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Followed:
    """Let an arm follow goals; it is at rest and let go of when this returns or raises.

    Args:
        manifest: of a bundle, for the limits.
        robot: that is not connected yet.
        goals: ``(J + 1,)`` each; the next one is asked for after `look` has seen what came of the one before.
        fast: do not wait for the clock.
        pressed: whether a key was.
        look: is shown every reading first; what it returns ends all, as its reason, unless "".
        watch: is told of every tick before it happens.
        clock: the time, seconds, that of the readings.
        sleep: wait so many seconds.
    """
    manifest = blind(manifest)
    period, ticks, waited = 1.0 / manifest.rate_hz, 0, 0
    guard: Guard | None = None
    wanted: FloatArray | None = None
    stopped, ended = "", False
    try:
        robot.connect()
        due = clock()
        while not stopped:
            reading = robot.read()
            stopped = unfit(manifest, clock(), reading) or (KEY if pressed() else look(reading))
            if not stopped and guard is None:
                guard = Guard(manifest.chain, manifest.limits, manifest.rate_hz, reading.positions)
                stopped = guard.misplaced()
            if stopped or guard is None:
                break
            if wanted is None or np.abs(guard.goal - wanted)[:-1].max() < NEAR_RAD:
                following = None if ended else next(goals, None)
                ended = following is None
                if following is not None:
                    wanted, waited = following, 0
                elif wanted is None or guard.at_rest:
                    break
            waited += 1
            if waited > PATIENCE_S * manifest.rate_hz:
                stopped = KEPT
                break
            command = guard.step(wanted)
            watch(reading, command)
            robot.act(command)
            ticks += 1
            if not fast:
                due = max(due + period, clock())
                sleep(due - clock())
    except OSError as error:
        stopped = f"the connection is lost: {error}"
    finally:
        rest(robot, guard, 0.0 if fast else period, sleep)
    return Followed(ticks, stopped)
