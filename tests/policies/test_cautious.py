"""A robot that takes its time, and asks."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import numpy as np
import pytest

from policies.deploy import decisions
from policies.deploy.bundle import JOINTS, Bundle
from policies.deploy.cautious import Cautious
from policies.deploy.loop import KEY, TIME_OVER, drive
from policies.deploy.robot import DryRun, Reading
from tests import bundles


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return Bundle(bundles.make_seeing_bundle(tmp_path_factory.mktemp("bundle") / "b"))


class AtOnce:
    """A pool without a thread: by a clock that only sleeping moves on, a decision takes no time."""

    def __init__(self, count: int) -> None:
        assert count == 1

    def submit(self, work: Callable[..., Any], *given: Any) -> Future[Any]:
        done = Future[Any]()
        done.set_result(work(*given))
        return done

    def shutdown(self, **how: bool) -> None:
        pass


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decisions, "ThreadPoolExecutor", AtOnce)


class Timed(DryRun):
    """A dry run by a clock that only sleeping moves on; it notes when it was told what."""

    def __init__(self, bundle: Bundle) -> None:
        self.now, self.home = 100.0, np.array(bundle.manifest.home)
        seen = {name: values for name, values in bundle.sample.items() if name != JOINTS}
        super().__init__(self.home, seen, self.clock)
        self.told: list[tuple[float, np.ndarray]] = []
        self.stopped, self.frozen_at = 0, float("inf")

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def read(self) -> Reading:
        reading = super().read()
        return Reading(
            reading.positions, dict.fromkeys(reading.measured_s, min(self.now, self.frozen_at)), reading.seen
        )

    def act(self, command: np.ndarray) -> None:
        self.told.append((self.now, np.array(command)))
        super().act(command)

    def stop(self) -> None:
        self.stopped += 1


def paces(arm: Timed) -> np.ndarray:
    """How fast the arm was told to be, from each goal to the next: rad/s."""
    times, goals = np.array([at for at, _ in arm.told]), np.array([goal[:-1] for _, goal in arm.told])
    # A goal that is told now is to be reached when the next one is told.
    return np.abs(np.diff(goals, axis=0))[:-1].max(axis=1) / np.diff(times[1:])


@pytest.mark.parametrize("speed", [1.0, 0.7, 0.25, 0.1])
def test_the_same_ticks_take_longer_and_the_arm_never_jumps(bundle: Bundle, speed: float) -> None:
    arm = Timed(bundle)
    robot = Cautious(arm, bundle.manifest, speed, clock=arm.clock, sleep=arm.sleep)
    report = drive(bundle, robot, 2.0, clock=robot.clock, sleep=arm.sleep)
    assert (report.ticks, report.missed, report.stopped) == (20, 0, TIME_OVER)
    begun = arm.told[0][0]
    assert report.seconds == pytest.approx(2.0)  # by its own clock
    ended = next(at for at, _ in arm.told[1:] if at >= begun + 2.0 / speed - 0.1 - 1e-6)
    assert ended - begun == pytest.approx(2.0 / speed, abs=0.11)
    gaps = np.diff([at for at, _ in arm.told])
    assert gaps.max() <= 0.1 + 1e-6  # told something at the full rate
    assert paces(arm).max() <= speed * bundle.manifest.limits.speed.max() + 1e-6
    assert np.abs(np.diff([goal for _, goal in arm.told], axis=0)[:, :-1]).max() > 1e-3 * speed  # it does move
    assert arm.stopped == 1


def test_on_the_way_it_ends_where_it_is_to_be(bundle: Bundle) -> None:
    arm = Timed(bundle)
    robot = Cautious(arm, bundle.manifest, 0.3, clock=arm.clock, sleep=arm.sleep)
    robot.read()
    robot.act(arm.home + 0.03)
    assert np.allclose(arm.told[-1][1], arm.home + 0.03)
    way = np.array([arm.home, *(goal for _, goal in arm.told)])[:, 0]
    steps, gaps = np.diff(way), np.diff([*(at for at, _ in arm.told), arm.now + 0.1])
    assert np.allclose(steps / gaps, 0.03 / (0.1 / 0.3))  # evenly
    assert arm.now == pytest.approx(100.0 + 0.1 / 0.3 - 0.1)  # the last tenth is the driver's to wait


@pytest.mark.parametrize("why", ["key", "stale"])
def test_it_stops_on_the_way(bundle: Bundle, why: str) -> None:
    """At a twentieth of full speed a tick takes 2 s: nobody waits for its end."""
    arm = Timed(bundle)
    robot = Cautious(
        arm,
        bundle.manifest,
        0.05,
        clock=arm.clock,
        sleep=arm.sleep,
        pressed=lambda: why == "key" and arm.now > 103.5,
    )
    arm.frozen_at = 103.5 if why == "stale" else float("inf")
    report = drive(bundle, robot, 5.0, pressed=robot.pressed, clock=robot.clock, sleep=arm.sleep)
    assert report.stopped == KEY if why == "key" else "stale data" in report.stopped
    late = 103.5 + (bundle.manifest.limits.stale_s if why == "stale" else 0.0) + 0.2
    before = [goal for at, goal in arm.told if at <= late]
    after = [goal for at, goal in arm.told if at > late]
    # It comes to rest, a step in each tick of that, and does not run on.
    assert len(after) <= 5
    assert all(np.abs(goal - before[-1]).max() < 0.02 for goal in after)
    assert arm.stopped == 1


def test_a_person_is_asked_before_each_chunk_the_arm_being_at_rest(bundle: Bundle) -> None:
    arm, asked = Timed(bundle), list[int]()

    def ask() -> bool:
        asked.append(len(arm.told))
        arm.now += 30.0  # a person thinks
        return len(asked) <= 3

    robot = Cautious(arm, bundle.manifest, ask=ask, clock=arm.clock, sleep=arm.sleep)
    report = drive(bundle, robot, 20.0, pressed=robot.pressed, clock=robot.clock, sleep=arm.sleep)
    execute = bundle.manifest.execute
    assert (report.ticks, report.stopped, report.missed) == (3 * execute, KEY, 0)
    assert len(asked) == 4  # and not once more after the no
    assert asked[0] == 0
    limits = bundle.manifest.limits
    goals = np.array([arm.home, *(goal for _, goal in arm.told)])[:, :-1]
    steps = np.diff(goals, axis=0)
    for number in asked[1:]:
        # Into and out of each pause at most as fast as from rest, and to rest, in a tick.
        assert np.abs(steps[number - 1]).max() <= 0.5 * limits.speed.max() / 10
    assert np.abs(steps).max() <= limits.speed.max() / 10 + 1e-9


def test_no_at_once_moves_nothing(bundle: Bundle) -> None:
    arm = Timed(bundle)
    robot = Cautious(arm, bundle.manifest, ask=lambda: False, clock=arm.clock, sleep=arm.sleep)
    report = drive(bundle, robot, 5.0, pressed=robot.pressed, clock=robot.clock, sleep=arm.sleep)
    assert (report.ticks, report.stopped, arm.told, arm.stopped) == (0, KEY, [], 1)


@pytest.mark.parametrize("speed", [0.0, -1.0, 1.5, float("nan")])
def test_no_other_speeds(bundle: Bundle, speed: float) -> None:
    with pytest.raises(ValueError, match="share"):
        Cautious(Timed(bundle), bundle.manifest, speed)
