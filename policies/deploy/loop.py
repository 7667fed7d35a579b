"""A policy drives a robot at a fixed rate, guarded, until something ends it; then the arm comes to rest."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from policies.deploy.bundle import JOINTS, Decision, Manifest
from policies.deploy.decisions import Decisions, Seen
from policies.deploy.guard import Guard
from policies.deploy.robot import Reading, Robot
from policies.deploy.trust import Trust, lowest_trust
from simulation.pointcloud import CLOUD

FloatArray = npt.NDArray[np.float64]
TIME_OVER, KEY = "the time is over", "a key was pressed"
DOUBTED = "for a while, what it saw has fallen short of what it had foretold"
IN_TIME = 0.5
"""A command that goes out later than this share of a tick after the tick began has missed its deadline."""


@dataclass(frozen=True)
class Report:
    """How a run went.

    Attributes:
        ticks: commands while the policy was in charge.
        seconds: that they took by the clock.
        missed: of them, those that went out too late.
        held: of them, those for which there was no action that makes sense.
        late: of them, those that went on with an old chunk since the next one was not there yet.
        deciding_ms: median time of a decision.
        stopped: why it ended.
        fault: whether that is one of the robot, of its data or of the policy.
        trust: the lowest (`policies.deploy.trust.lowest_trust`); None of a policy that only acts.
    """

    ticks: int
    seconds: float
    missed: int
    held: int
    late: int
    deciding_ms: float
    stopped: str
    fault: bool
    trust: float | None


class Acting(Protocol):
    """A bundle whose policy decides, here (`policies.deploy.bundle`) or elsewhere (`policies.deploy.remote`).

    Attributes:
        manifest: what it says of itself.
        sample: ``(T, …)`` what was seen in one demonstration, by the name of the input.
    """

    manifest: Manifest
    sample: dict[str, npt.NDArray[Any]]

    def decide(
        self, seen: Mapping[str, npt.NDArray[Any]], tick: int = 0, memory: npt.NDArray[np.float32] | None = None
    ) -> Decision:
        """What is to be done, and what is dreamed of it."""

    def guard(self, start: FloatArray) -> Guard:
        """A guard for an arm that is at joint positions and opening ``(J + 1,)``."""

    def check(self) -> None:
        """Raise `ConnectionError` where the connection to whoever decides is lost; never waits."""


def drive(
    bundle: Acting,
    robot: Robot,
    seconds: float,
    *,
    fast: bool = False,
    heed: bool = True,
    pressed: Callable[[], bool] = lambda: False,
    watch: Callable[[Reading, FloatArray], str] = lambda reading, command: "",
    trusted: Callable[[float], None] = lambda trust: None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Report:
    """Let a bundle's policy drive a robot; the arm is at rest and the robot stopped when this returns or raises.

    Args:
        bundle: with the policy and the limits.
        robot: that is not connected yet.
        seconds: of ticks, at most.
        fast: do not wait for the clock, nor for a thread: for simulations. All is the same every time.
        heed: stop when what is seen falls short of what was dreamed; where nothing that is told is done, it must.
        pressed: whether a key was.
        watch: is told of every tick before it happens; what it returns ends the run, as its reason, unless "".
        trusted: is told before each tick how far the run can be trusted now (`lowest_trust`), once there is a dream.
        clock: the time, seconds, that of the readings.
        sleep: wait so many seconds.
    """
    manifest = bundle.manifest
    period, begun = 1.0 / manifest.rate_hz, clock()
    missed = held = ticks = 0
    took: list[float] = []
    guard: Guard | None = None
    stopped, fault = "", True
    judged = manifest.trust
    trust = None if judged is None else Trust(judged.horizons)

    memory: npt.NDArray[np.float32] | None = None

    def decide(seen: Seen) -> FloatArray:
        nonlocal memory
        start = time.perf_counter()
        assert guard is not None  # since the first reading
        decided = bundle.decide(seen, decisions.asked, memory)
        memory = decided.memory
        if trust is not None and decided.places is not None and decided.dream is not None:
            trust.notice(decisions.asked, decided.places, decided.dream)
        found = guard.joint_actions(np.asarray(seen[JOINTS], dtype=np.float64)[-1], decided.poses)
        took.append(1000.0 * (time.perf_counter() - start))
        return found

    with Decisions(decide, manifest.execute, manifest.lead, threaded=not fast) as decisions:
        try:
            robot.connect()
            reading = robot.read()
            stopped = unfit(manifest, clock(), reading)
            if not stopped:
                guard = bundle.guard(reading.positions)
                stopped = guard.misplaced()
            before = reading.positions
            begun = due = clock()
            while not stopped and guard is not None:
                reading = robot.read()
                stopped = unfit(manifest, clock(), reading)
                if not stopped and (pressed() or ticks >= seconds * manifest.rate_hz):
                    stopped, fault = KEY if ticks < seconds * manifest.rate_hz else TIME_OVER, False
                elif not stopped and heed and judged is not None and trust is not None and trust.lost(judged.limit_m):
                    stopped, fault = DOUBTED, False
                if stopped:
                    break
                bundle.check()
                if judged is not None and trust is not None and trust.doubts:
                    trusted(lowest_trust(trust.doubts[-1], judged.limit_m))
                action = decisions.action(ticks, partial(_seen, manifest, reading, before))
                command = guard.step(action)
                ends = watch(reading, command)
                robot.act(command)
                before = reading.positions
                held += action is None or not np.isfinite(action).all()
                ticks += 1
                if ends:
                    stopped, fault = ends, False
                elif not fast:
                    now = clock()
                    missed += now > due + IN_TIME * period
                    # What was lost is not made up for: the arm would be told things faster than it may.
                    due = max(due + period, now)
                    sleep(due - now)
        except OSError as error:  # ConnectionError is one
            stopped = f"the connection is lost: {error}"
        except Exception as error:  # noqa: BLE001 - whatever goes wrong in a policy, the arm stops and a person is told
            stopped = f"the policy failed: {error}"
        finally:
            took_s = clock() - begun
            rest(robot, guard, 0.0 if fast else period, sleep)
    middle = float(np.median(took)) if took else 0.0
    least = None if judged is None or trust is None else round(lowest_trust(trust.peak, judged.limit_m), 3)
    return Report(ticks, round(took_s, 3), missed, held, decisions.late, round(middle, 3), stopped, fault, least)


def unfit(manifest: Manifest, now_s: float, reading: Reading) -> str:
    """Why a reading is none to act on, "" where it is: stale, incomplete, or no numbers."""
    ready = CLOUD in reading.seen  # a robot may make the cloud itself
    wanted = manifest.inputs.keys() - {JOINTS} if ready else set(manifest.measures)
    if missing := wanted - reading.seen.keys():
        return f"the robot does not measure {min(missing)}"
    if missing := {"joints", *reading.seen} - reading.measured_s.keys():
        return f"it is not known when {min(missing)} was measured"
    for name, time_s in reading.measured_s.items():
        if not now_s - time_s <= manifest.limits.stale_s:  # a time that is no number neither
            return f"stale data: {name} is {now_s - time_s:.2f} s old"
    if reading.positions.shape != manifest.home.shape or not np.isfinite(reading.positions).all():
        return "the joint data make no sense"
    return ""


def rest(robot: Robot, guard: Guard | None, period: float, sleep: Callable[[float], None]) -> None:
    """Bring the arm to rest as the guard means to, then let go of it."""
    with contextlib.suppress(OSError):  # it is lost: nothing more can be done from here
        while guard is not None and not guard.at_rest:
            robot.act(guard.step(None))
            sleep(period)
    with contextlib.suppress(OSError):
        robot.stop()


def _seen(manifest: Manifest, reading: Reading, before: FloatArray) -> dict[str, npt.NDArray[Any]]:
    """What the policy looks at; of the joints, the tick before now too."""
    seen = {**reading.seen, JOINTS: np.stack([before, reading.positions])}
    if manifest.points is not None and CLOUD not in seen:
        arm = reading.positions[:-1].astype(np.float32).astype(np.float64)  # as it was in training
        seen[CLOUD] = manifest.points.cloud(reading.seen, manifest.chain.tool(arm))
    return seen
