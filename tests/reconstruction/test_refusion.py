"""Measuring one object again: walls stay thin, what was seen through is free."""

from __future__ import annotations

import numpy as np
import pytest

from reconstruction.fusion import Box
from reconstruction.refusion import Measured, RefusionSettings, highest_hits, measure
from tests.table_views import FloatArray, at, ball_on_table, box, cup, mixed_bench, orbit, table, views_of

SETTINGS = RefusionSettings()


def around(x: float, y: float, half: float, height: float) -> Box:
    return Box(np.array([x - half, y - half, -0.012]), np.array([x + half, y + half, height]))


def value(measured: Measured, point: tuple[float, float, float]) -> tuple[float, bool]:
    index = tuple(np.round((np.array(point) - measured.origin) / measured.voxel_m).astype(int))
    return float(measured.sdf_m[index]), bool(measured.known[index])


def test_distances_to_a_ball_are_true_near_its_surface() -> None:
    measured = measure(ball_on_table(), around(0, 0, 0.08, 0.14), SETTINGS)
    axes = [measured.origin[a] + measured.voxel_m * np.arange(n) for a, n in enumerate(measured.sdf_m.shape)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    true: FloatArray = np.linalg.norm(grid - (0.0, 0.0, 0.06), axis=-1) - 0.06
    near = (np.abs(true) < 0.003) & measured.known & (grid[..., 2] > 0.06)
    assert near.sum() > 1000
    assert np.abs(measured.sdf_m[near] - true[near]).mean() < 1e-3
    apart = (np.abs(true) > 0.004) & (np.abs(true) < 0.005) & (grid[..., 2] > 0.06)
    assert (np.sign(measured.sdf_m[apart]) == np.sign(true[apart])).mean() > 0.98


def test_a_thin_wall_is_solid_and_both_its_sides_are_free() -> None:
    measured = measure(mixed_bench().views, around(-0.15, 0.12, 0.06, 0.11), SETTINGS)
    for angle in np.linspace(0, 2 * np.pi, 9)[:-1]:
        way = np.array([np.cos(angle), np.sin(angle)])
        line = [
            value(measured, (-0.15 + r * way[0], 0.12 + r * way[1], 0.07))[0] for r in np.arange(0.028, 0.05, 0.001)
        ]
        assert line[0] > 0  # in the cup
        assert line[-1] > 0  # beside it
        wall = np.arange(0.028, 0.05, 0.001)[np.array(line) < 0]
        assert len(wall) >= 1
        assert abs(wall.mean() - 0.038) < 0.003
        assert np.ptp(wall) < 0.008


def test_inside_and_below_nothing_is_known() -> None:
    measured = measure(views_of([table(), box(0.1, 0.1, 0.1)]), around(0, 0, 0.07, 0.12), SETTINGS)
    sdf, _ = value(measured, (0.0, 0.0, 0.05))
    assert sdf < 0
    assert not value(measured, (0.0, 0.0, 0.05))[1]
    assert value(measured, (0.0, 0.06, 0.08)) == (pytest.approx(0.0065, abs=0.004), True)


def test_a_large_object_takes_no_more_memory_than_allowed() -> None:
    settings = RefusionSettings(max_voxels=20_000)
    measured = measure(views_of([table(), box(0.3, 0.3, 0.2)]), around(0, 0, 0.2, 0.25), settings)
    assert measured.sdf_m.size < 1.3 * 20_000
    assert measured.voxel_m > settings.voxel_m


def test_without_views_nothing_is_known() -> None:
    box_far = Box(np.array([5.0, 5.0, 0.0]), np.array([5.1, 5.1, 0.1]))
    assert not measure([], box_far, SETTINGS).known.any()
    assert not measure(views_of([table()], orbit()[:4]), box_far, SETTINGS).known.any()


def test_the_same_views_give_the_same_bytes() -> None:
    views = views_of([table(), at(cup(), 0.0, 0.0)], size=(96, 72))
    one, two = (measure(views, around(0, 0, 0.05, 0.1), SETTINGS) for _ in range(2))
    assert one.sdf_m.tobytes() == two.sdf_m.tobytes()
    assert one.known.tobytes() == two.known.tobytes()


@pytest.mark.parametrize(("x", "y", "height"), [(-0.15, 0.12, 0.09), (0.15, -0.1, 0.10), (-0.15, -0.1, 0.06)])
def test_a_thing_ends_where_its_hits_end(x: float, y: float, height: float) -> None:
    views = mixed_bench().views
    measured = measure(views, around(x, y, 0.06, height + 0.05), SETTINGS)
    own = np.ones(measured.sdf_m.shape[:2], dtype=bool)
    assert highest_hits(views, measured, own) == pytest.approx(height, abs=0.005)


def test_where_nothing_was_hit_there_is_no_limit() -> None:
    views = mixed_bench().views[:1]
    measured = measure(views, Box(np.array([2.0, 2.0, 0.0]), np.array([2.1, 2.1, 0.1])), SETTINGS)
    limit = highest_hits(views, measured, np.ones(measured.sdf_m.shape[:2], dtype=bool))
    assert limit >= measured.origin[2] + measured.voxel_m * (measured.sdf_m.shape[2] - 1)
