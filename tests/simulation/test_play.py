"""Play: the hand goes about the things at random."""

from __future__ import annotations

import numpy as np
import pytest

from simulation.demonstrations import Stage
from simulation.episode import Episode
from simulation.play import SECONDS, play
from simulation.privileged import COLUMN
from tests.robot_bench import few_forms, job


@pytest.fixture(scope="module")
def stage():  # type: ignore[no-untyped-def]
    with Stage(job(few_forms(), "place block_1 in bowl_1")) as made:
        yield made


@pytest.fixture(scope="module")
def plays(stage: Stage) -> list[Episode]:
    found = [play(stage, index).episode for index in range(12)]
    return [episode for episode in found if episode is not None]


def test_it_goes_on_for_a_while_near_the_things_and_moves_some(plays: list[Episode]) -> None:
    assert len(plays) >= 6
    assert all(len(episode) == round(SECONDS * episode.rate_hz) for episode in plays)
    assert all(episode.success and not episode.reason for episode in plays)
    tools = np.concatenate([episode.extra["tool_pose"][50:, :3] for episode in plays])
    things = np.concatenate([[e.extra[name][50:, :3] for name in ("object_pose", "target_pose")] for e in plays], 1)
    assert np.median(np.linalg.norm(things - tools, axis=-1).min(axis=0)) < 0.15
    moved = [np.ptp(episode.extra["object_pose"][:, :3], axis=0).max() for episode in plays]
    assert max(moved) > 0.03
    openings = np.concatenate([episode.action[:, -1] for episode in plays])
    assert openings.min() < 0.1 < 0.9 < openings.max()
    assert all(np.isfinite(episode.extra[COLUMN]).all() for episode in plays)


def test_it_is_not_the_same_everywhere_but_the_same_again(stage: Stage, plays: list[Episode]) -> None:
    assert not np.array_equal(plays[0].action, plays[1].action)
    again = play(stage, plays[1].index).episode
    assert again is not None
    assert np.array_equal(again.state, plays[1].state)
    assert np.array_equal(again.action, plays[1].action)


def test_the_arm_goes_no_faster_than_it_may_be_told(stage: Stage, plays: list[Episode]) -> None:
    speed = np.array(stage.cell.robot.speed)
    for episode in plays:
        told = np.abs(np.diff(episode.action[:, :-1].astype(float), axis=0)) * episode.rate_hz
        assert (told <= speed * 1.01).all()
