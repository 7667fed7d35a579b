"""When training is fast, slow and over: laws of the schedule."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from policies.schedule import Check, Schedule, Standing


def _run(schedule: Schedule, successes: list[float], every: int = 10) -> tuple[list[float], Standing]:
    """The rate's share at each step, and how it ended, where checks bring these successes one after the other."""
    at, shares, coming = Standing(), [], itertools.chain(successes, itertools.repeat(successes[-1]))
    while at.step < schedule.end(at):
        shares.append(schedule.share(at))
        at = replace(at, step=at.step + 1)
        if at.step % every == 0 or at.step == schedule.end(at):
            at = schedule.after(at, Check(at.step, next(coming)))
    return shares, at


def test_without_patience_it_takes_all_steps_along_a_cosine() -> None:
    shares, at = _run(Schedule(100, 10), [0.5])
    assert at.step == 100
    assert at.cooling is None
    assert shares[50] == pytest.approx(0.5)
    assert shares == sorted(shares[:10]) + sorted(shares[10:], reverse=True)


def test_it_cools_down_when_nothing_better_has_come_for_a_while_and_then_ends() -> None:
    schedule = Schedule(1000, 10, patience=3)
    shares, at = _run(schedule, [0.1, 0.6, 0.5, 0.6, 0.4, 0.3])
    assert at.cooling == 50  # better at step 20, no better three times
    assert at.step == 50 + schedule.cool_down
    assert set(shares[10:51]) == {1.0}
    assert all(a > b for a, b in itertools.pairwise(shares[50:]))
    assert 0.0 < shares[-1] < 0.01


def test_what_gets_better_and_better_takes_all_steps_and_comes_to_rest_too() -> None:
    schedule = Schedule(1000, 10, patience=2)
    shares, at = _run(schedule, [number / 100 for number in range(101)])
    assert at.step == 1000
    assert at.cooling is None
    assert set(shares[10:801]) == {1.0}
    assert shares[-1] < 0.01


def test_patience_that_runs_out_while_it_cools_down_changes_nothing() -> None:
    _, at = _run(Schedule(100, 10, patience=2), [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.6, 0.6])
    assert at.step == 100


@pytest.mark.parametrize(("successes", "best"), [([0.5, 0.7, 0.7, 0.6], 3), ([0.9, 0.1], 1), ([0.1, 0.2], 2)])
def test_the_latest_of_the_best_is_kept(successes: list[float], best: int) -> None:
    at, schedule = Standing(), Schedule(100, 1)
    for number, success in enumerate(successes, 1):
        at = schedule.after(at, Check(number, success))
    assert at.best == Check(best, max(successes))


def test_where_success_is_not_measured_the_last_is_kept() -> None:
    at, schedule = Standing(), Schedule(100, 1)
    for number in (1, 2):
        at = schedule.after(at, Check(number, None))
    assert at.best == Check(2, None)
    assert at.idle == 0
