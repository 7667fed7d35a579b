"""The expert does what it is asked for, breaks no limit, and what it did is played again bit for bit."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from simulation.bank import Bank, Wardrobe
from simulation.cell import Cell
from simulation.cousins import Cousin
from simulation.demonstrations import Attempt, Stage, replay
from simulation.forms import in_scene
from simulation.tasks import TASKS
from tests.robot_bench import few_forms, job

Family = tuple[Wardrobe, Bank]


@pytest.fixture(scope="module")
def family() -> Family:
    return few_forms()


def _tried(stage: Stage, wanted: int, most: int = 40) -> list[Attempt]:
    found: list[Attempt] = []
    for index in range(most):
        attempt = stage.attempt(index)
        if attempt.episode is not None:
            found.append(attempt)
        if len(found) == wanted:
            break
    return found


@pytest.mark.parametrize(
    ("words", "robot"),
    [
        ("pick block_1", "panda"),
        ("place block_1 in bowl_1", "panda"),
        ("place can_1 on box_1", "panda"),
        ("place block_1 next to can_1", "panda"),
        ("stack block_1 on box_1", "panda"),
        ("push block_1", "panda"),
        ("clear the table into bowl_1", "panda"),
        ("place block_1 in bowl_1", "xarm6"),
    ],
)
def test_the_expert_does_it(family: Family, words: str, robot: str) -> None:
    with Stage(job(family, words, robot)) as stage:
        tried = _tried(stage, 5)
        assert len(tried) == 5
        good = [attempt.episode for attempt in tried if attempt.episode is not None and attempt.episode.success]
        wanted = 3 if words.startswith("clear") else 4
        assert len(good) >= wanted, [attempt.episode and attempt.episode.reason for attempt in tried]
        chain, speed = stage.cell.robot.chain, np.array(stage.cell.robot.speed)
        for episode in good:
            arm = episode.state[:, :-1].astype(np.float64)
            assert ((arm > chain.low - 0.011) & (arm < chain.high + 0.011)).all()
            assert (np.abs(np.diff(arm, axis=0)) * episode.rate_hz <= speed * 1.01).all()
            assert (np.abs(np.diff(episode.action[:, :-1], axis=0)) * episode.rate_hz <= speed).all()
            assert ((episode.action[:, -1] >= 0) & (episode.action[:, -1] <= 1)).all()


@pytest.fixture(scope="module")
def placed(family: Family) -> Iterator[tuple[Stage, Attempt]]:
    with Stage(job(family, "place block_1 in bowl_1")) as stage:
        (attempt,) = _tried(stage, 1)
        yield stage, attempt


def test_an_episode_says_what_happened(placed: tuple[Stage, Attempt]) -> None:
    stage, attempt = placed
    episode = attempt.episode
    assert episode is not None
    assert episode.success
    assert episode.task == "put the block in the bowl"
    assert Cousin.from_json(episode.recipe).index == attempt.index == episode.index
    start, end = episode.extra["object_pose"][[0, -1], :3]
    vessel = episode.extra["target_pose"][-1, :3]
    assert np.linalg.norm(end[:2] - vessel[:2]) < 0.06 < np.linalg.norm(start[:2] - vessel[:2])
    assert episode.state.shape == episode.action.shape == (len(episode), 8)
    assert episode.seconds == pytest.approx(len(episode) / episode.rate_hz)


def test_it_passes_over_whatever_may_stand_there(family: Family, placed: tuple[Stage, Attempt]) -> None:
    episode = placed[1].episode
    assert episode is not None
    tool, start, end = episode.extra["tool_pose"][:, :3], *episode.extra["object_pose"][[0, -1], :2]
    between = np.minimum(*(np.linalg.norm(tool[:, :2] - place, axis=1) for place in (start, end))) > 0.06
    tallest = max(float(in_scene(item)[:, 2].max()) for item in family[0].scene.objects)
    assert between.sum() > 3
    assert tool[between, 2].min() > tallest


def _nudged(stage: Stage, holding: bool, over_m: float) -> Iterator[np.ndarray]:
    """The expert until its hand has come down to so far over what it goes to, and then a little to the side."""
    cell, task = stage.cell, stage.job.task
    body, chain = cell.world.body(task.what[0]), cell.robot.chain
    for action in stage.expert.perform(task):
        yield action
        goal = cell.world.pose(task.where if holding else task.what[0])[:3, 3]
        off = cell.arm.tool()[:3, 3] - goal
        if cell.arm.holds(body) == holding and np.linalg.norm(off[:2]) < 0.02 and off[2] < over_m:
            break
    start = cell.goal
    tool = chain.tool(start[:-1])
    tool[0, 3] += 0.012
    aside, exact = chain.solve(tool[None], start[None, :-1])
    assert exact[0]
    for share in (0.5, 1.0, 1.0, 1.0):
        yield start + share * (np.append(aside[0], start[-1]) - start)


@pytest.mark.parametrize(("holding", "over_m"), [(False, 0.2), (False, 0.06), (True, 0.22), (True, 0.12)])
def test_who_is_on_the_way_down_goes_on_down(placed: tuple[Stage, Attempt], holding: bool, over_m: float) -> None:
    stage, whole = placed
    left = stage.correct(whole.index, lambda stage: _nudged(stage, holding, over_m)).episode
    assert left is not None
    assert left.success, left.reason
    height, opening = left.extra["tool_pose"][:, 2], left.action[:, -1]
    there = int(np.argmax(opening > 0.2) if holding else np.argmax(opening < 0.1))
    assert there > 1
    assert height[:there].max() < height[0] + 0.005


def test_what_was_done_is_played_again_bit_for_bit(family: Family, placed: tuple[Stage, Attempt]) -> None:
    stage, attempt = placed
    episode = attempt.episode
    assert episode is not None
    with Cell(family[0].bare(), stage.cell.robot) as fresh:
        for _ in range(2):  # alone, and after something else
            recording, same = replay(fresh, episode)
            assert same
            assert TASKS["place-in"].done(fresh, stage.job.task)
            assert len(recording.actions) == len(episode)


def test_an_attempt_does_not_depend_on_those_before_it(family: Family, placed: tuple[Stage, Attempt]) -> None:
    _, attempt = placed
    assert attempt.episode is not None
    with Stage(job(family, "place block_1 in bowl_1")) as other:
        other.attempt(attempt.index + 3)
        again = other.attempt(attempt.index).episode
        assert again is not None
        assert np.array_equal(again.action, attempt.episode.action)
        assert np.array_equal(again.state, attempt.episode.state)


def test_an_episode_with_another_action_is_another(family: Family, placed: tuple[Stage, Attempt]) -> None:
    from dataclasses import replace

    stage, attempt = placed
    assert attempt.episode is not None
    action = attempt.episode.action.copy()
    action[5, 0] += 0.05
    with Cell(family[0].bare(), stage.cell.robot) as fresh:
        _, same = replay(fresh, replace(attempt.episode, action=action))
        assert not same


def test_broken_limits_are_noticed(family: Family) -> None:
    with Stage(job(family, "pick block_1")) as stage:
        stage.attempt(0)
        cell = stage.cell
        cell.reset(cell.cousin)
        jump = cell.goal.copy()
        jump[0] += 1.2  # rad in a tenth of a second
        cell.act(jump)
        assert cell.faults.speed > 0
        cell.reset(cell.cousin)
        assert not cell.faults


def test_cameras_see_the_thing_go_into_the_bowl(family: Family) -> None:
    with Stage(job(family, "place block_1 in bowl_1", cameras=("front", "wrist"), size=64)) as stage:
        (attempt,) = _tried(stage, 1)
        episode = attempt.episode
        assert episode is not None
        assert {name: images.shape for name, images in episode.images.items()} == {
            "front": (len(episode), 64, 64, 3),
            "wrist": (len(episode), 64, 64, 3),
        }
        for images in episode.images.values():
            assert images.std() > 10
            assert np.abs(images[0].astype(int) - images[len(images) // 2]).mean() > 2
        stage.attempt(attempt.index + 1)
        again = stage.attempt(attempt.index).episode
        assert again is not None
        for name, images in episode.images.items():
            assert np.array_equal(again.images[name], images)


def test_fingers_on_a_linkage_stay_parallel_on_what_they_hold(family: Family) -> None:
    with Stage(job(family, "pick block_1", "xarm6")) as stage:
        (attempt,) = _tried(stage, 1)
        assert attempt.episode is not None
        assert attempt.episode.success
        arm = stage.cell.arm
        numbers = [arm.links[arm.robot.joints[name].child] for name in arm.robot.opened]
        angles = [row[0] for row in stage.cell.world.call("getJointStates", arm.body, numbers)]
        assert min(angles) > 0.1
        assert max(angles) - min(angles) < 0.12
