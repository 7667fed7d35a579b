"""What stays where it is, and the outlines of the supports."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from reconstruction.background import BackgroundSettings, background_mesh, support_outlines
from reconstruction.fusion import Fusion, fuse
from reconstruction.supports import SupportSettings, place_scene
from tests.table_views import BENCH, FUSION, mixed_bench, table, views_of

SETTINGS = BackgroundSettings()


def coarse() -> Fusion:
    return fuse(mixed_bench().views, FUSION, FUSION.background_voxel_m, None)


def test_the_table_stays_and_the_objects_are_gone() -> None:
    bench = mixed_bench()
    rest = background_mesh(coarse(), [shape.mesh for shape in bench.shapes], SETTINGS)
    assert rest is not None
    on_table = (np.abs(rest.vertices[:, :2]) < (0.33, 0.28)).all(axis=1) & (rest.vertices[:, 2] > -0.02)
    assert on_table.sum() > 500
    assert rest.vertices[on_table, 2].max() < 0.02  # the lowest of the others is 6 cm high, the slab 8 mm
    assert rest.vertices[:, 2].min() < -0.65  # the floor is part of it
    assert rest.colors is not None
    assert len(rest.colors) == len(rest.vertices)
    assert rest.faces.max() == len(rest.vertices) - 1


def test_without_objects_nothing_is_taken_away() -> None:
    fusion = coarse()
    whole = background_mesh(fusion, [], replace(SETTINGS, max_faces=10**9))
    assert whole is not None
    assert len(whole.faces) == len(fusion.mesh(SETTINGS.min_weight).faces)
    assert whole.vertices[(np.abs(whole.vertices[:, :2]) < 0.3).all(axis=1), 2].max() > 0.08


def test_it_is_simplified_to_so_many_faces_and_keeps_its_place() -> None:
    few = background_mesh(coarse(), [], replace(SETTINGS, max_faces=20_000))
    assert few is not None
    assert len(few.faces) <= 20_000
    assert few.colors is not None
    assert len(few.colors) == len(few.vertices)
    level = np.abs(few.vertices[:, 2]) < 0.01
    assert level.any()
    assert np.ptp(few.vertices[:, 0]) > 0.6


def test_nothing_seen_is_no_background() -> None:
    assert background_mesh(fuse([], FUSION, 0.012, None), [], SETTINGS) is None


def test_outlines_are_counter_clockwise_at_the_right_height_and_named() -> None:
    bench = mixed_bench()
    placement = place_scene(bench.views, None, SupportSettings())
    lift = np.eye(4)
    lift[2, 3] = 0.01
    supports = support_outlines(placement, [(bench.heights, bench.ground)], lift)
    assert [support.name for support in supports][:1] == ["table"]
    assert "floor" in [support.name for support in supports]
    for support in supports:
        x, y = support.polygon[:, 0], support.polygon[:, 1]
        assert 0.5 * float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y)) > 0
        on_plane = np.column_stack([support.polygon, np.ones(len(x))]) @ support.plane
        assert on_plane == pytest.approx(0.0, abs=1e-6)
    top = supports[0].polygon
    assert top[:, 2] == pytest.approx(0.01, abs=1e-3)
    assert np.ptp(top[:, 0]) == pytest.approx(0.7, abs=0.03)
    assert np.ptp(top[:, 1]) == pytest.approx(0.6, abs=0.03)


def test_no_support_no_outline() -> None:
    placement = place_scene([], None, SupportSettings())
    assert support_outlines(placement, [], np.eye(4)) == ()
    alone = place_scene(views_of([table()]), None, SupportSettings())
    assert support_outlines(alone, [], np.eye(4))[0].name == "table"
    assert BENCH.low[2] < 0
