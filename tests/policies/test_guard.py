"""Whatever a network says, the arm keeps its limits, speeds, accelerations and its workspace."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from policies.deploy.guard import Guard, Limits
from simulation.cell import SLACK_RAD
from simulation.demonstrations import Stage
from simulation.robots import robot_of
from tests.robot_bench import few_forms, job

ROBOT = robot_of("panda")
CHAIN = ROBOT.chain
HOME = np.array([*ROBOT.home, 1.0])
RATE = 10.0
MIDDLE = CHAIN.tool(HOME[:-1])[:3, 3]
BOX = np.array([MIDDLE - [0.12, 0.15, 0.2], MIDDLE + [0.1, 0.15, 0.08]])
LIMITS = Limits.of(CHAIN, ROBOT.speed, BOX)
POISON = [float("nan"), float("inf"), -float("inf"), 1e300, -1e300, 0.0, 1.0, -1.0, 3.2, -3.2]
numbers = st.one_of(st.sampled_from(POISON), st.floats(-4.0, 4.0))


def guarded(box: bool = True) -> Guard:
    return Guard(CHAIN, LIMITS if box else Limits.of(CHAIN, ROBOT.speed), RATE, HOME)


def check_all(told: np.ndarray) -> None:
    """Commands ``(T, J + 1)`` from home on keep everything."""
    assert np.isfinite(told).all()
    q = told[:, :-1]
    pace = np.diff(np.vstack([HOME[:-1], q]), axis=0)
    assert (q >= LIMITS.low - 1e-9).all()
    assert (q <= LIMITS.high + 1e-9).all()
    assert (np.abs(pace) <= LIMITS.speed / RATE + 1e-9).all()
    change = np.diff(np.vstack([np.zeros(len(HOME) - 1), pace]), axis=0)
    assert (np.abs(change) <= LIMITS.acceleration / RATE**2 + 1e-9).all()
    assert ((told[:, -1] >= 0) & (told[:, -1] <= 1)).all()
    shares = np.linspace(0, 1, 21)[:, None, None]
    between = np.vstack([HOME[:-1], q])[:-1] + shares * pace  # also within a tick, as the motors are led
    points = CHAIN.tool(between)[..., :3, 3]
    assert (points >= BOX[0] - 1e-3).all()
    assert (points <= BOX[1] + 1e-3).all()


@settings(max_examples=60, deadline=None)
@given(arrays(np.float64, st.tuples(st.integers(1, 25), st.just(8)), elements=numbers))
def test_joint_goals_of_any_kind_are_made_harmless(wanted: np.ndarray) -> None:
    guard = guarded()
    told = [guard.step(row) for row in wanted]
    while not guard.at_rest:
        told.append(guard.step(None))
    check_all(np.array(told))
    assert len(told) <= len(wanted) + 6


@settings(max_examples=25, deadline=None)
@given(arrays(np.float64, st.tuples(st.integers(1, 12), st.just(10)), elements=numbers))
def test_poses_of_any_kind_are_made_harmless(poses: np.ndarray) -> None:
    guard = guarded()
    told = [guard.step(row) for row in guard.joint_actions(guard.goal, poses)]
    check_all(np.array(told))


@pytest.mark.parametrize("corner", range(16))
def test_thrown_at_the_corners_it_stays_inside(corner: int) -> None:
    """The worst that could be asked for: every joint as fast as it can, and back when it is nearest to the wall."""
    signs = np.array([1.0 if corner >> bit & 1 else -1.0 for bit in range(4)])
    guard, told = guarded(), []
    for tick in range(80):
        way = signs if tick // (5 + corner) % 2 == 0 else -signs
        wanted = guard.goal.copy()
        wanted[:4] += 9.0 * way
        told.append(guard.step(wanted))
    check_all(np.array(told))
    assert np.abs(np.diff(np.array(told), axis=0)).max() > 0.02  # it does move


def test_it_goes_where_it_is_asked_to() -> None:
    guard = guarded()
    tool = CHAIN.tool(HOME[:-1])
    pose = np.concatenate([tool[:3, 3] + [0.05, 0.05, -0.05], tool[:3, 0], tool[:3, 1], [0.3]])
    for _ in range(20):
        (action,) = guard.joint_actions(guard.goal, pose[None])
        guard.step(action)
    assert np.abs(CHAIN.tool(guard.goal[:-1])[:3, 3] - pose[:3]).max() < 2e-3
    assert guard.goal[-1] == pytest.approx(0.3)


def test_what_is_asked_for_outside_ends_at_the_wall() -> None:
    guard = guarded()
    tool = CHAIN.tool(HOME[:-1])
    pose = np.concatenate([tool[:3, 3] + [0.0, 0.0, 0.5], tool[:3, 0], tool[:3, 1], [1.0]])
    for _ in range(30):
        guard.step(guard.joint_actions(guard.goal, pose[None])[0])
    height = CHAIN.tool(guard.goal[:-1])[2, 3]
    assert BOX[1, 2] - 0.02 < height <= BOX[1, 2] + 1e-6


def test_nonsense_brings_it_to_rest() -> None:
    guard = guarded(box=False)
    for _ in range(5):
        guard.step(HOME + 0.9)
    assert not guard.at_rest
    for _ in range(round(0.2 * RATE)):
        guard.step(np.full(8, np.nan))
    assert guard.at_rest


def test_an_arm_outside_of_its_workspace_must_not_begin() -> None:
    away = HOME.copy()
    away[0] += 1.5
    assert "outside of its workspace" in Guard(CHAIN, LIMITS, RATE, away).misplaced()
    assert guarded().misplaced() == ""


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with Stage(job(few_forms(), "place block_1 in bowl_1")) as made:
        assert any(not made.enter(index) for index in range(50))
        yield made


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(poses=arrays(np.float64, st.tuples(st.integers(4, 12), st.just(10)), elements=numbers), swing=st.booleans())
def test_a_simulated_arm_never_leaves_its_bounds(stage: Stage, poses: np.ndarray, swing: bool) -> None:
    cell = stage.cell
    cell.reset(cell.cousin)
    guard = Guard(CHAIN, LIMITS, cell.rate_hz, cell.goal)
    for tick, pose in enumerate(poses):
        action = guard.joint_actions(cell.arm.positions(), pose[None])[0]
        if swing:
            action = guard.goal + 9.0 * (-1.0) ** (tick // 5)
        cell.act(guard.step(action))
        q = cell.arm.positions()[:-1]
        assert (q >= LIMITS.low - SLACK_RAD).all()
        assert (q <= LIMITS.high + SLACK_RAD).all()
        assert (np.abs(cell.arm.speeds()) <= np.array(ROBOT.speed)).all()
        point = CHAIN.tool(q)[:3, 3]
        # Motors lag behind what they are told, and swing beyond it by a little.
        assert (point >= BOX[0] - 0.01).all()
        assert (point <= BOX[1] + 0.01).all()
    assert not cell.faults
