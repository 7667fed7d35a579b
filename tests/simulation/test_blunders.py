"""Blunders: what the expert does where its own hand went astray."""

from __future__ import annotations

import numpy as np
import pytest

from simulation.blunders import blunder
from simulation.demonstrations import Attempt, Stage
from tests.robot_bench import few_forms, job

LONGEST_S = 5.0


@pytest.fixture(scope="module")
def stage():  # type: ignore[no-untyped-def]
    with Stage(job(few_forms(), "place block_1 in bowl_1")) as made:
        yield made


@pytest.fixture(scope="module")
def blunders(stage: Stage) -> list[Attempt]:
    tried = [blunder(stage, index, LONGEST_S) for index in range(30)]
    return [attempt for attempt in tried if attempt.episode is not None]


def test_most_are_set_right(blunders: list[Attempt]) -> None:
    good = [attempt.episode for attempt in blunders if attempt.episode is not None and attempt.episode.success]
    assert len(good) >= 10
    assert len(good) > 0.8 * len(blunders)
    for episode in good:
        start, end = episode.extra["object_pose"][[0, -1], :3]
        assert np.linalg.norm(end[:2] - episode.extra["target_pose"][-1, :2]) < 0.06
        assert np.isfinite(start).all()


def test_they_begin_where_no_demonstration_does(stage: Stage, blunders: list[Attempt]) -> None:
    home = np.array(stage.cell.robot.home)
    begun = [attempt.episode for attempt in blunders if attempt.episode is not None]
    states = np.array([episode.state[0] for episode in begun])
    away = np.array([np.linalg.norm(e.extra["tool_pose"][0, :3] - e.extra["object_pose"][0, :3]) for e in begun])
    assert np.abs(states[:, :-1] - home).max(axis=1).min() > 0.02
    closed = states[:, -1] < 0.2
    assert closed.any()
    assert (states[:, -1] > 0.8).any()
    assert (closed & (away > 0.05)).any()  # closed, and nothing in it
    assert ((states[:, -1] < 0.9) & (away < 0.03)).any()  # held


def test_a_blunder_is_the_same_whatever_was_done_before(stage: Stage, blunders: list[Attempt]) -> None:
    before = blunders[2]
    assert before.episode is not None
    stage.attempt(blunders[0].index)
    again = blunder(stage, before.index, LONGEST_S).episode
    assert again is not None
    assert np.array_equal(again.state, before.episode.state)
    assert np.array_equal(again.action, before.episode.action)
