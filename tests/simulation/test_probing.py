"""A thing is weighed and dragged by a stand-in's arm, and what is found is what it weighs, and how it slides."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import simulation.probing
from reconstruction.errors import InputError
from reconstruction.scene import SceneObject
from simulation.bank import Wardrobe
from simulation.cell import Cell
from simulation.cousins import wardrobe_of
from simulation.identify import Recorded, combined, delay_of, friction_of, mass_of, noise_of
from simulation.late import Late
from simulation.learnt import PYBULLET_LAG_S, narrowed
from simulation.moves import CannotError
from simulation.planner import Planner
from simulation.probing import AIR, EMPTY, LOADED, MOVING, PRESSED, Plan, Probe, Prober, as_it_stands, forces, rated
from simulation.reality import FACTORS, RealCell, strengths_of_factors
from simulation.robots import robot_of
from simulation.variations import VARIATIONS
from tests.robot_bench import bench

RATE_HZ, THING = 10.0, "block_1"
STANDING = strengths_of_factors(name for name in FACTORS if name != "shape")


def wardrobe(**more: Any) -> Wardrobe:
    """Of the small bench, its block being of steel: one run is then enough."""
    heavy = (replace(item, mass_kg=0.8, inertia=4 * item.inertia) if item.name == THING else item for item in things())
    return wardrobe_of(replace(bench(), objects=tuple(heavy), **more), 0, dict.fromkeys(VARIATIONS, 0.0), ()).bare()


def things() -> tuple[SceneObject, ...]:
    return bench().objects


@pytest.fixture(scope="module")
def plan() -> Iterator[Plan]:
    robot = robot_of("panda")
    with pytest.MonkeyPatch.context() as patch, Cell(wardrobe(), robot, RATE_HZ) as cell, Planner(robot) as planner:
        cell.reset(as_it_stands(cell.wardrobe.scene))
        patch.setattr(simulation.probing, "SWEEPS", 2)
        patch.setattr(simulation.probing, "DRAGS", 2)
        yield Prober(cell, planner).rehearse(THING)


def probed(plan: Plan, number: int) -> tuple[Recorded, float, float, float]:
    """A run on a bench, and the mass, the friction and the delay that are true there."""
    robot = robot_of("panda")
    with RealCell(wardrobe(), robot, RATE_HZ, STANDING, [THING], bench=number) as cell:
        cell.reset(as_it_stands(cell.wardrobe.scene))
        item = cell.item(THING)
        truth = (
            item.mass_kg * cell.drawn("mass", THING)["mass"],
            item.friction * cell.drawn("friction", THING)["thing"],
            cell.drawn("latency")["command_s"] + cell.drawn("lag")["arm_s"],
        )
        work, rows = Probe(plan, robot, RATE_HZ, 6.0), []
        now = [(cell.arm.positions(), cell.efforts())]
        for goal in work.goals(lambda: (now[-1][0][:-1], now[-1][1])):
            rows.append((*now[-1], goal, work.phase))
            cell.act(goal)
            now.append((cell.arm.positions(), cell.efforts()))
        assert work.pressed_n is not None
    state, effort, goals, phases = (np.array(column) for column in zip(*rows, strict=True))
    return Recorded(RATE_HZ, state, goals, phases, effort), *truth


@pytest.fixture(scope="module")
def runs(plan: Plan) -> dict[int, tuple[Recorded, float, float, float]]:
    return {number: probed(plan, number) for number in (1, 2)}


@pytest.mark.parametrize("number", [1, 2])
def test_what_is_found_is_what_is_true(runs: dict, number: int) -> None:
    run, mass, friction, late_s = runs[number]
    noise, chain = noise_of([run]), robot_of("panda").chain
    found = mass_of(run, chain, noise)
    assert found[0] == pytest.approx(mass, rel=0.2)
    assert abs(found[0] - mass) < 4 * found[1]
    assert friction_of(run, chain, noise)[0] == pytest.approx(friction, rel=0.2)
    # MuJoCo's motors are late by themselves, too.
    assert 0.03 < delay_of(run).late_s - late_s < 0.1
    assert noise == pytest.approx(0.01 * rated(robot_of("panda")), rel=0.4)


def test_two_benches_differ_and_one_stays_as_it_is(runs: dict, plan: Plan) -> None:
    first, second = (runs[number][1:] for number in (1, 2))
    assert all(a != b for a, b in zip(first, second, strict=True))
    again = probed(plan, 1)[0]
    for name in ("state", "goal", "phase", "effort"):
        assert np.array_equal(getattr(again, name), getattr(runs[1][0], name))


def test_what_was_not_held_was_not_weighed(runs: dict) -> None:
    run, chain = runs[1][0], robot_of("panda").chain
    noise = noise_of([run])
    state = run.state.copy()
    state[:, -1] = 0.0
    for measure in (mass_of, friction_of):
        with pytest.raises(InputError, match="held nothing"):
            measure(replace(run, state=state), chain, noise)
        with pytest.raises(InputError, match="did not say"):
            measure(replace(run, effort=None), chain, noise)
        with pytest.raises(InputError, match="not probed to its end"):
            measure(replace(run, phase=np.where(run.phase == EMPTY, MOVING, np.minimum(run.phase, AIR))), chain, noise)
    other = run.goal.copy()
    other[run.phase == EMPTY] += 0.01
    with pytest.raises(InputError, match="did not move alike"):
        mass_of(replace(run, goal=other), chain, noise)
    # A table that was hardly touched says nothing of friction.
    effort = run.effort.copy()
    effort[run.phase == PRESSED] = effort[run.phase == AIR]
    with pytest.raises(InputError, match="less than 1 N"):
        friction_of(replace(run, effort=effort), chain, noise)


def test_an_arm_that_feels_no_table_stops_going_down(plan: Plan) -> None:
    robot = robot_of("panda")
    work, goals, phases = Probe(plan, robot, RATE_HZ, 6.0), [plan.lift[0]], []
    for goal in work.goals(lambda: (goals[-1][:-1], np.zeros(7))):
        goals.append(goal)
        phases.append(work.phase)
    heights = robot.chain.tool(np.array(goals)[:, :-1])[:, 2, 3]
    over = robot.chain.tool(plan.drag[-1, :-1])[2, 3]
    assert work.pressed_n is None
    assert PRESSED not in phases
    assert heights.min() > over - 0.02
    assert phases.count(LOADED) == phases.count(EMPTY) == len(plan.sweep)
    assert np.array_equal(goals[-1], plan.home[-1])


def test_what_cannot_be_held_is_not_probed() -> None:
    robot = robot_of("panda")
    with Cell(wardrobe(), robot, RATE_HZ) as cell, Planner(robot) as planner:
        cell.reset(as_it_stands(cell.wardrobe.scene))
        with pytest.raises(CannotError, match="too wide|no grasp"):
            Prober(cell, planner).rehearse("box_1")


def test_forces_are_those_that_act() -> None:
    robot = robot_of("panda")
    q = np.array(robot.home)[None] + np.linspace(-0.2, 0.2, 5)[:, None]
    acting = np.array([1.5, -2.0, -6.0])
    wrench = np.append(acting, np.cross([0.01, -0.02, 0.0], acting))
    efforts = np.einsum("tij,i->tj", robot.chain.jacobian(q), wrench)
    assert np.allclose(forces(robot.chain, q, efforts, rated(robot)), acting, atol=0.6)
    # … and the Jacobian is how the tool moves.
    step = 1e-6
    for joint in range(7):
        moved = q[0].copy()
        moved[joint] += step
        speed = (robot.chain.tool(moved)[:3, 3] - robot.chain.tool(q[0])[:3, 3]) / step
        assert np.allclose(robot.chain.jacobian(q)[0, :3, joint], speed, atol=1e-5)


@pytest.mark.parametrize(("dead_s", "lag_s"), [(0.0, 0.0), (0.06, 0.04), (0.13, 0.1)])
def test_a_delay_is_found_whatever_the_joints_are_off_by(dead_s: float, lag_s: float) -> None:
    rng = np.random.default_rng(3)
    goals = np.cumsum(np.clip(rng.normal(0.0, 0.03, (60, 3)), -0.05, 0.05), axis=0)
    late, now, state = Late(dead_s, lag_s, 0.001), np.zeros(3), []
    reached = np.zeros(3)
    for goal in goals:
        state.append(reached + [0.02, -0.01, 0.0] + rng.normal(0.0, 2e-4, 3))
        for k in range(1, 101):
            reached = late.after(now + (goal - now) * k / 100)
        now = goal
    pad = np.ones((60, 1))
    found = delay_of(Recorded(RATE_HZ, np.hstack([state, pad]), np.hstack([goals, pad])))
    assert found.dead_s == pytest.approx(dead_s, abs=0.011)
    assert found.late_s == pytest.approx(dead_s + lag_s, abs=0.011)
    with pytest.raises(InputError, match="hardly moved"):
        delay_of(Recorded(RATE_HZ, np.ones((60, 4)), np.ones((60, 4))))


def test_runs_are_put_together() -> None:
    one = combined([(0.10, 0.004), (0.11, 0.004), (0.105, 0.004), (0.5, 0.004)])
    assert one is not None
    assert one.value == pytest.approx(0.105)  # without the one that is off
    assert one.runs == 3
    assert one.interval[0] < 0.105 < one.interval[1]
    assert combined([(0.10, 0.06)]) is None
    assert combined([(-0.01, 0.001)]) is None
    assert combined([]) is None


def test_what_is_known_varies_less_and_arms_are_late() -> None:
    drawn = {"mass": 1.4, "friction": 0.7, "bounce": 0.1}
    sure = narrowed(drawn, {"mass_kg": 0.1, "mass_kg_interval": [0.095, 0.105]})
    assert 1.0 < sure["mass"] < 1.06
    assert (sure["friction"], sure["bounce"]) == (0.7, 0.1)
    assert narrowed(drawn, {"mass_kg": 0.1, "mass_kg_interval": "tea"}) == drawn
    assert narrowed(drawn, {"mass_kg": 0.1, "mass_kg_interval": [0.01, 9.0]}) == drawn

    def late_s(learnt: dict) -> float:
        robot, state, goals = robot_of("panda"), [], []
        with Cell(wardrobe(extra=learnt), robot, RATE_HZ) as cell:
            cell.reset(as_it_stands(cell.wardrobe.scene))
            for tick in range(40):
                goal = np.array([*robot.home, 1.0])
                goal[:-1] += 0.2 * np.sin(2 * np.pi * tick / (15 + 3 * np.arange(7)))
                state.append(cell.arm.positions())
                goals.append(goal)
                cell.act(goal)
        return delay_of(Recorded(RATE_HZ, np.array(state), np.array(goals))).late_s

    assert late_s({}) == pytest.approx(PYBULLET_LAG_S, abs=0.006)
    arms = {"panda": {"dead_s": 0.06, "lag_s": 0.05}}
    assert late_s({"learnt": {"things": {}, "arms": arms}}) == pytest.approx(0.11, abs=0.008)
