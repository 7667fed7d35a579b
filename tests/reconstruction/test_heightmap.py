"""The bench from above against known heights, and the ground without its bending."""

from __future__ import annotations

import numpy as np
import pytest

from reconstruction.fusion import Volume
from reconstruction.heightmap import GroundSettings, HeightMap, find_ground, fit_ground, height_map
from tests.table_views import FloatArray, mixed_bench

CELL = 0.004
SHAPE = (180, 150)


def grid_xy() -> FloatArray:
    x, y = (CELL * (np.arange(n) - n / 2) for n in SHAPE)
    return np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1)


def map_of(top: FloatArray) -> HeightMap:
    up = np.ones(SHAPE, np.float32)
    return HeightMap(grid_xy()[0, 0], CELL, top.astype(np.float32), up, None)


def bent(xy: FloatArray) -> FloatArray:
    """A table as drift bends it: up to a centimetre over its length."""
    x, y = xy[..., 0], xy[..., 1]
    return np.asarray(0.002 + 0.01 * x - 0.004 * y + 0.05 * x**2 - 0.03 * x * y + 0.02 * y**2)


def test_heights_of_a_real_bench() -> None:
    bench = mixed_bench()
    index = {
        place: tuple(np.round((np.array(place) - bench.heights.origin) / bench.heights.cell_m).astype(int))
        for place in ((-0.15, -0.1), (0.15, -0.1), (0.15, 0.12), (-0.15, 0.12), (0.0, 0.0))
    }
    expected = [0.06, 0.1, 0.008, 0.006, 0.0]  # box, cylinder, slab, inside of the cup, table
    tops = [float(bench.heights.top_m[cell]) for cell in index.values()]
    assert tops == pytest.approx(expected, abs=0.0015)
    assert float(bench.heights.up[index[(0.0, 0.0)]]) > 0.99
    assert bench.ground.nominal_m[0] == pytest.approx(0.0, abs=1e-3)


def test_the_topmost_crossing_is_taken_and_unseen_columns_have_none() -> None:
    sdf = np.full((3, 1, 12), 0.01, np.float32)
    sdf[0, 0, :3] = -0.01  # ground
    sdf[0, 0, 6:8] = -0.002  # and a board over it
    sdf[1, 0, :3] = -0.01
    weight = np.full(sdf.shape, 5.0, np.float32)
    weight[2] = 1.0
    result = height_map(Volume(np.zeros(3), 0.01, sdf, weight, None), 2.0)
    assert result.top_m[0, 0] == pytest.approx(0.07 + 0.01 * 0.002 / 0.012, abs=1e-6)
    assert result.top_m[1, 0] == pytest.approx(0.025, abs=1e-6)
    assert np.isnan(result.top_m[2, 0])


def test_bending_is_taken_out_and_things_lying_on_it_stay() -> None:
    rng = np.random.default_rng(5)
    xy = grid_xy()
    truth = bent(xy)
    top = truth + rng.normal(0, 5e-4, SHAPE)
    top[40:80, 40:80] += 0.008
    top[100:140, 30:60] += 0.05
    ground = find_ground(map_of(top), GroundSettings())
    assert ground is not None
    assert np.abs(ground.height_m - truth).max() < 1.5e-3
    assert (ground.level[42:78, 42:78] == -1).all()
    assert (ground.level[102:138, 32:58] == -1).all()
    assert (ground.level == 0).mean() > 0.8
    assert len(ground.nominal_m) == 1
    assert ground.noise_m == pytest.approx(5e-4, abs=3e-4)


def test_a_board_is_a_level_of_its_own_and_a_small_one_is_not() -> None:
    top = np.zeros(SHAPE)
    top[10:120, 10:100] = 0.02  # 0.16 m2
    top[140:165, 30:80] = 0.02  # 0.02 m2
    ground = find_ground(map_of(top + 1e-5 * np.random.default_rng(0).normal(size=SHAPE)), GroundSettings())
    assert ground is not None
    assert sorted(ground.nominal_m) == pytest.approx([0.0, 0.02], abs=5e-4)
    board = int(np.argmax(ground.nominal_m))
    assert (ground.level[15:115, 15:95] == board).all()
    assert (ground.level[142:163, 32:78] == -1).all()
    assert ground.height_m[60, 50] == pytest.approx(0.02, abs=1e-3)
    assert ground.height_m[150, 50] == pytest.approx(0.0, abs=1e-3)


def test_no_level_surface_is_no_ground() -> None:
    xy = grid_xy()
    assert find_ground(map_of(np.full(SHAPE, np.nan)), GroundSettings()) is None
    slope = HeightMap(xy[0, 0], CELL, (xy[..., 0] * 2).astype(np.float32), np.full(SHAPE, 0.44, np.float32), None)
    assert find_ground(slope, GroundSettings()) is None


def test_a_plane_stays_a_plane_unless_it_may_bend() -> None:
    rng = np.random.default_rng(2)
    xy = rng.uniform(-0.3, 0.3, (4000, 2))
    z = bent(xy)
    curved, _ = fit_ground(xy, z, np.zeros(len(z)), 0.05, np.ones(len(z)), bend=True)
    assert curved == pytest.approx([0.002, 0.01, -0.004, 0.05, -0.03, 0.02], abs=1e-4)
    flat, _ = fit_ground(xy, z, np.zeros(len(z)), 0.05, np.ones(len(z)), bend=False)
    assert flat[3:] == pytest.approx([0, 0, 0], abs=1e-9)
