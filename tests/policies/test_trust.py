"""Dreams beside what comes: when a policy is to be doubted, and how rarely one that succeeds is."""

from __future__ import annotations

import numpy as np
import pytest

from policies.deploy.trust import FALSE_STOPS, FAR_M, LEAST_M, WHILE, Trust, limit_of, lowest_trust, short_of
from policies.evaluate import Trial, auroc, score

HORIZONS = (4, 8, 16)
START = np.array([[0.0, 0.0, 0.3], [0.2, 0.0, 0.0], [0.0, 0.4, 0.0]])


def told(come: float, dreamed: float, decisions: int = 9) -> Trust:
    """The hand carries the first thing along y: `dreamed` metres a tick, of which `come` come about."""
    trust, way = Trust(HORIZONS), np.array([[0.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    for tick in range(0, 8 * decisions, 8):
        now = START + come * tick * way
        trust.notice(tick, now, np.stack([now + dreamed * ahead * way for ahead in HORIZONS]))
    return trust


def test_dreams_that_come_true_raise_no_doubt() -> None:
    trust = told(0.01, 0.01)
    assert trust.ticks == [8, 16, 24, 32, 40, 48, 56, 64]
    assert np.abs(trust.doubts).max() < 1e-12
    assert not trust.lost(LEAST_M)
    assert lowest_trust(trust.peak, 0.1) == pytest.approx(1.0)


def test_what_stays_behind_its_dreams_is_doubted_more_than_what_runs_ahead() -> None:
    stuck, swift = told(0.0, 0.01), told(0.02, 0.01)
    # Of 8 and 16 ticks, 1.5 times (short, and half of off) 8 and 16 cm.
    assert stuck.doubts[-1] == pytest.approx(1.5 * 0.12)
    assert swift.doubts[-1] == pytest.approx(-0.5 * 0.12)
    assert stuck.lost(0.1)
    assert lowest_trust(stuck.peak, 0.18) == pytest.approx(0.5)
    assert lowest_trust(swift.peak, 0.18) == 1.0


def test_a_stumble_is_no_reason_to_stop() -> None:
    trust = told(0.0, 0.01, WHILE // 8)  # the last of them 8 ticks too soon
    assert trust.doubts[-1] > 0.1
    assert not trust.lost(0.1)
    assert told(0.0, 0.01, WHILE // 8 + 1).lost(0.1)


def test_what_is_pushed_aside_or_taken_away_counts() -> None:
    dreamed = START.copy()
    aside, away = START.copy(), START.copy()
    aside[2, 0] += 0.2  # where the thing goes to is moved, though it was to stay
    away[1, 0] += 0.2  # the thing that the hand reaches for
    assert short_of(START, dreamed, aside) == pytest.approx(0.1)
    assert short_of(START, dreamed, away) == pytest.approx(0.1 + 0.5 - np.hypot(0.2, 0.3))
    assert short_of(START, dreamed, START) == 0.0


def test_what_is_no_number_is_as_bad_as_can_be() -> None:
    assert short_of(START, START * np.nan, START) == FAR_M
    assert short_of(START, START + np.inf, START) == FAR_M
    assert short_of(START, START + 1e30, START) == FAR_M


def test_dreams_are_looked_at_between_their_horizons_and_not_beyond() -> None:
    """Decisions that come late, as on a robot: 12 ticks after, then 40."""
    way = np.array([[0.0, 0.01, 0.0]] * 3)
    trust = Trust(HORIZONS)
    for tick in (0, 12, 52):
        now = START + tick * way
        trust.notice(tick, now, np.stack([now + ahead * way for ahead in HORIZONS]))
    assert trust.ticks == [12]
    assert abs(trust.doubts[0]) < 1e-12


def test_a_limit_is_passed_by_as_few_as_promised() -> None:
    rng = np.random.default_rng(0)
    stopped = []
    for _ in range(300):
        peaks = rng.gamma(1.0, 0.1, 101)
        limit, share = limit_of(peaks[:100])
        stopped.append(peaks[100] > limit)
    assert share <= FALSE_STOPS
    assert np.mean(stopped) == pytest.approx(share, abs=0.03)
    assert limit_of([0.3, 0.2]) == (0.3, pytest.approx(1 / 3))  # of two, nobody can promise more
    assert limit_of([-0.1] * 30)[0] == LEAST_M


def test_an_evaluation_says_how_well_dreams_foretell_failure() -> None:
    good = [Trial(n, seconds=6.0, doubts=((0.8, 0.01 * n), (4.0, 9.0))) for n in range(4)]
    bad = [Trial(9, reason="took too long", seconds=20.0, doubts=((0.8, 0.0), (2.4, 0.025), (3.2, -1.0)))]
    found = score([*good, *bad])
    assert found.dream_at_s == 3.0  # half of a success; what comes later does not count
    assert found.dream_auroc == pytest.approx(0.75)
    assert found.as_json()["dream_auroc"] == 0.75
    # The failure's half is its tenth second: by then it had fallen less short than any of the others.
    assert found.dream_auroc_halfway == pytest.approx(0.0)
    assert found.as_json()["dream_auroc_halfway"] == 0.0
    assert score(good).dream_auroc is None
    assert score(bad).dream_auroc is None
    assert score([Trial(0, seconds=6.0), Trial(1, reason="took too long")]).dream_auroc is None
    assert auroc([1.0, 2.0], [1.0]) == 0.75
