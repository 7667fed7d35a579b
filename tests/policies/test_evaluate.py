"""How a policy is tried, and what its score says."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from policies.evaluate import Trial, correct_policy, score, try_policy, wilson
from policies.model import ModelSettings, WorldActionModel
from policies.rollout import Actor, roll
from simulation.demonstrations import Stage
from simulation.privileged import BOX, environment_state
from simulation.tasks import TASKS
from tests.robot_bench import few_forms, job


@given(st.integers(1, 400), st.floats(0, 1))
def test_the_interval_holds_the_share_and_narrows(count: int, share: float) -> None:
    successes = round(share * count)
    low, high = wilson(successes, count)
    assert 0 <= low <= successes / count + 1e-12
    assert successes / count - 1e-12 <= high <= 1
    more = wilson(successes * 4, count * 4)
    assert more[1] - more[0] < high - low


def test_the_interval_is_wilsons() -> None:
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)  # Newcombe, 1998, method 3
    assert wilson(0, 0) == (0.0, 1.0)


def test_a_score_counts_what_was_tried() -> None:
    found = score(
        [Trial(0, seconds=4.0), Trial(1, "too wide"), Trial(2, reason="took too long"), Trial(3, seconds=6.0)]
    )
    assert (found.count, found.successes, found.seconds) == (3, 2, 5.0)
    assert found.failures == {"took too long": 1}
    assert found.skipped == {"too wide": 1}
    assert found.share == pytest.approx(2 / 3)


def test_a_score_says_where_it_breaks() -> None:
    trials = [
        Trial(n, reason="" if n < 6 else "took too long", departures={"light": n / 10, "swap": float(n > 4)})
        for n in range(9)
    ]
    found = score([Trial(99, "too wide"), *trials])
    light, swap = found.by_variation["light"], found.by_variation["swap"]
    assert [(p.low, p.high, p.count, p.successes) for p in light] == [
        (0, 0.2, 3, 3),
        (0.3, 0.5, 3, 3),
        (0.6, 0.8, 3, 0),
    ]
    assert [(p.low, p.high, p.count, p.successes) for p in swap] == [(0, 0, 5, 5), (1, 1, 4, 1)]
    assert found.worst == (6, 7, 8)
    assert found.done == (0, 1, 2, 3, 4, 5)
    assert json.loads(json.dumps(found.as_json()))["by_variation"]["swap"][1]["successes"] == 1


@pytest.fixture(scope="module")
def stage():  # type: ignore[no-untyped-def]
    with Stage(job(few_forms(), "place block_1 in bowl_1")) as made:
        yield made


def _actor(stage: Stage, value: float | None) -> Actor:
    """Somebody who has learnt nothing, or whose network always says the same."""
    torch.manual_seed(0)
    model = WorldActionModel(ModelSettings(width=32, heads=2), "state", 8, 2 * BOX)
    model.encoder.arm.describe(stage.cell.robot.chain)
    if value is not None:
        model.foresee = lambda seen, noise, dreamt, steps=4: (  # type: ignore[method-assign]
            torch.full_like(noise, value),
            torch.full((1, 3, 3, 3), value),
        )
        model.act = lambda seen, noise, steps=4: torch.full_like(noise, value)  # type: ignore[method-assign]
    return Actor(model.eval())


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), -float("inf"), 1e30, -50.0])
def test_whatever_a_network_says_the_arm_keeps_its_limits(stage: Stage, value: float | None) -> None:
    trial = try_policy(stage, _actor(stage, value), _suitable(stage), 3.0)
    assert trial.reason == "took too long"
    assert trial.seconds == pytest.approx(3.0)
    assert [seconds for seconds, _ in trial.doubts] == pytest.approx(np.arange(0.4, 2.9, 0.4))
    assert np.isfinite([doubt for _, doubt in trial.doubts]).all()
    assert not stage.cell.faults
    assert np.isfinite(stage.cell.arm.positions()).all()


def _suitable(stage: Stage) -> int:
    return next(index for index in range(50) if not stage.enter(index))


def test_a_try_is_the_same_every_time(stage: Stage) -> None:
    index, ends = _suitable(stage), []
    for _ in range(2):
        try_policy(stage, _actor(stage, None), index, 2.0)
        ends.append(stage.cell.arm.positions())
    assert np.array_equal(*ends)


def test_what_has_fallen_down_is_not_waited_for(stage: Stage) -> None:
    assert not stage.enter(_suitable(stage))
    pose = stage.cell.world.pose("block_1")
    pose[:3, 3] -= [0.0, 3.0, 0.0]  # there is no table
    stage.cell.world.set_pose("block_1", pose)
    assert roll(stage, _actor(stage, None), 30.0) == "block_1 fell down"
    assert 0.3 < stage.cell.seconds < 3.0


def test_who_bumps_into_something_is_told_into_what(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not stage.enter(_suitable(stage))
    cell = stage.cell
    other = next(name for name in cell.start if name not in stage.job.task.names)
    kind = TASKS[stage.job.task.kind]
    monkeypatch.setitem(TASKS, stage.job.task.kind, dataclasses.replace(kind, done=lambda cell, task: cell.ticks > 4))
    assert roll(stage, _actor(stage, None), 30.0) == ""
    assert not stage.enter(_suitable(stage))
    pose = cell.world.pose(other)
    pose[:3, 3] = cell.arm.tool()[:3, 3]  # within the fingers: they are thrown out of there
    cell.world.set_pose(other, pose)
    assert roll(stage, _actor(stage, None), 30.0) == f"bumped into {other}"


@pytest.mark.parametrize("value", [None, 0.3])
def test_the_expert_takes_over_where_a_policy_has_led(stage: Stage, value: float | None) -> None:
    done = 0
    for index in range(12):
        found = correct_policy(stage, _actor(stage, value), index, 4.0)
        if found.episode is not None:
            assert found.episode.index == index
            done += found.episode.success
            away = np.abs(found.episode.state[0, :-1] - np.array(stage.cell.robot.home)).max()
            if value is None and done and away > 0.02:
                break
        if done >= 3:
            break
    assert done >= 1


def test_surroundings_are_told_in_the_robots_frame(stage: Stage) -> None:
    stage.enter(_suitable(stage))
    cell, task = stage.cell, stage.job.task
    told = environment_state(cell, task, cell.world.poses())
    assert told.shape == (2 * BOX,)
    middle = cell.mount @ np.append(told[BOX : BOX + 3], 1.0)
    assert np.linalg.norm(middle[:2] - cell.world.pose("bowl_1")[:2, 3]) < 0.01
    edges = np.linalg.norm(told[3:12].reshape(3, 3), axis=1)
    mass = (cell.mount @ np.append(told[:3] + told[12:15], 1.0))[:3]
    item, pose = cell.item(task.what[0]), cell.world.pose(task.what[0])
    assert np.allclose(mass, pose[:3, :3] @ item.center_of_mass + pose[:3, 3], atol=1e-6)
    assert np.all(edges > 0.01)
    assert np.all(edges < 0.1)
