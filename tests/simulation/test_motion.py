"""Paths in joint space and their timing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulation.motion import dense, even, rounded, timed

SPEED = np.array([1.5, 2.0])
ACCELERATION = np.array([6.0, 8.0])


def test_dense_keeps_corners_and_leaves_no_gap() -> None:
    corners = np.array([[0.0, 0.0], [0.5, -0.3], [0.5, -0.3], [1.0, 1.0]])
    path = dense(corners, 0.05)
    assert np.abs(np.diff(path, axis=0)).max() <= 0.05 + 1e-12
    for corner in corners:
        assert np.abs(path - corner).max(axis=1).min() < 1e-12


def test_rounding_keeps_the_ends_and_stays_near() -> None:
    path = even(dense(np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]])))
    smooth = rounded(path, 8)
    assert np.array_equal(smooth[[0, -1]], path[[0, -1]])
    assert np.abs(smooth - path).max() < 0.1
    bends = np.abs(np.diff(smooth, 2, axis=0)).max()
    assert bends < 0.3 * np.abs(np.diff(path, 2, axis=0)).max()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(-2, 2), st.floats(-2, 2)), min_size=2, max_size=5),
    st.sampled_from([5.0, 10.0, 24.0]),
)
def test_timing_keeps_every_limit_and_ends_where_it_should(corners: list[tuple[float, float]], rate: float) -> None:
    path = rounded(even(dense(np.array(corners))), 8)
    points = timed(path, SPEED, ACCELERATION, rate)
    assert np.allclose(points[-1], path[-1])
    steps = np.diff(np.vstack([path[:1], points]), axis=0) * rate
    assert (np.abs(steps) <= SPEED * 1.02).all()
    # From rest to rest: the first and the last tick cover what the acceleration allows in a tick.
    assert (np.abs(steps[0]) <= ACCELERATION / rate + 1e-6).all()
    assert (np.abs(steps[-1]) <= ACCELERATION / rate + 1e-6).all()


def test_a_long_way_is_not_slower_than_it_must_be() -> None:
    path = even(dense(np.array([[0.0, 0.0], [3.0, 0.0]])))
    points = timed(path, SPEED, ACCELERATION, 10.0)
    least = 3.0 / 1.5 + 1.5 / 3.0  # at full speed, with both ramps at half the acceleration
    assert len(points) / 10.0 == pytest.approx(least, rel=0.15)


def test_points_that_all_but_coincide_do_not_stop_it() -> None:
    rng = np.random.default_rng(0)
    line = np.linspace(0.0, 1.0, 9)[:, None] * [1.0, 0.5]
    noisy = np.repeat(line, 3, axis=0) + rng.normal(0.0, 2e-4, (27, 2))
    assert len(timed(rounded(even(dense(noisy))), SPEED, ACCELERATION, 10.0)) < 25


def test_going_nowhere_takes_one_tick() -> None:
    assert timed(np.zeros((3, 2)), SPEED, ACCELERATION, 10.0).shape == (1, 2)


def test_a_slow_stretch_is_gone_through_slowly_and_without_a_stop() -> None:
    path = even(dense(np.array([[0.0, 0.0], [2.0, 0.0]])))
    pace = np.where(path[:, 0] < 1.0, 1.0, 0.3)
    points = timed(path, SPEED, ACCELERATION, 20.0, pace)
    speed = np.diff(np.append(0.0, points[:, 0])) * 20.0
    assert speed.max() > 0.9 * SPEED[0]
    slow = speed[points[:, 0] > 1.1]
    assert slow.max() <= 0.3 * SPEED[0] * 1.02
    between = speed[(points[:, 0] > 0.3) & (points[:, 0] < 1.7)]
    assert between.min() > 0.25 * SPEED[0]
