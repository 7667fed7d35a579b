"""Solids of whole benches against what really stands there."""

from __future__ import annotations

import numpy as np
import pytest

from reconstruction.heightmap import Ground
from reconstruction.mesh import to_trimesh
from reconstruction.objects import ShapeSettings, shape_objects
from tests.table_views import at, box, found_in, mixed_bench, orbit, size_of, stacked_bench, table, views_of, watertight

TRUE_SIZES = {
    (-0.15, -0.1): (0.08, 0.05, 0.06),
    (0.15, -0.1): (0.06, 0.06, 0.10),
    (-0.15, 0.12): (0.08, 0.08, 0.09),
    (0.15, 0.12): (0.10, 0.07, 0.008),
}


def test_every_solid_is_closed_and_stands_on_the_table() -> None:
    for bench in (mixed_bench(), stacked_bench()):
        assert len(bench.shapes) == len(bench.segments)
        for shape, item in zip(bench.shapes, bench.segments, strict=True):
            assert watertight(shape.mesh)
            assert shape.mesh.vertices[:, 2].min() == pytest.approx(0.0 if item.on < 0 else 0.03, abs=0.002)
            assert shape.support == 0


@pytest.mark.parametrize(("place", "true"), TRUE_SIZES.items())
def test_sizes_are_true_within_4_mm(place: tuple[float, float], true: tuple[float, float, float]) -> None:
    shape = mixed_bench().shape_at(*place)
    assert size_of(shape.mesh) == pytest.approx(true, abs=0.004)
    low, high = shape.mesh.vertices.min(axis=0), shape.mesh.vertices.max(axis=0)
    assert (low + high)[:2] / 2 == pytest.approx(place, abs=0.002)


def test_a_thin_slab_keeps_its_thickness() -> None:
    slab = mixed_bench().shape_at(0.15, 0.12).mesh
    assert to_trimesh(slab).volume == pytest.approx(0.1 * 0.07 * 0.008, rel=0.15)


def test_solids_are_hulls_of_their_truth_within_8_percent() -> None:
    for place, (x, y, z) in TRUE_SIZES.items():
        shape = mixed_bench().shape_at(*place)
        true = x * y * z if place not in ((0.15, -0.1), (-0.15, 0.12)) else np.pi / 4 * x * y * z
        if z > 0.01:
            assert to_trimesh(shape.mesh).convex_hull.volume == pytest.approx(true, rel=0.08)


def test_a_block_on_a_book_and_the_book_under_it() -> None:
    bench = stacked_bench()
    block = bench.shape_at(-0.15, -0.1, 0.06).mesh
    book = bench.shape_at(-0.15, -0.1, 0.015).mesh
    assert size_of(block) == pytest.approx([0.05, 0.04, 0.05], abs=0.004)
    assert size_of(book) == pytest.approx([0.16, 0.12, 0.03], abs=0.004)
    assert to_trimesh(book).volume == pytest.approx(0.16 * 0.12 * 0.03, rel=0.1)


def test_touching_cylinders_keep_their_sizes_and_share_nothing() -> None:
    bench = stacked_bench()
    one, two = bench.shape_at(0.11, -0.1).mesh, bench.shape_at(0.19, -0.1).mesh
    assert size_of(one) == pytest.approx([0.06, 0.06, 0.07], abs=0.012)  # the lower is cut where the higher shades it
    assert size_of(two) == pytest.approx([0.06, 0.06, 0.08], abs=0.006)
    assert one.vertices[:, 0].max() < two.vertices[:, 0].min() + 0.003


def test_what_was_seen_is_told_from_what_was_not() -> None:
    corner = [pose for pose in orbit(90) if pose[0, 3] > 0.1 and pose[1, 3] > 0.1]
    views = views_of([table(), box(0.1, 0.1, 0.1)], corner)
    shape = found_in(views).shapes[0]
    all_round = found_in(views_of([table(), box(0.1, 0.1, 0.1)])).shapes[0]
    assert shape.seen_fraction < all_round.seen_fraction - 0.1
    assert 0.5 < all_round.seen_fraction <= 1.0
    seen, vertices = shape.mesh.seen, shape.mesh.vertices
    assert seen is not None
    flank = (vertices[:, 2] > 0.02) & (vertices[:, 2] < 0.09)
    assert seen[flank & (vertices[:, 0] > 0.045)].mean() > 0.8
    hidden = (vertices[:, 0] < -0.045) & (np.abs(vertices[:, 1]) < 0.03) & (vertices[:, 2] < 0.08)
    assert seen[flank & hidden].mean() < 0.2
    assert watertight(shape.mesh)
    assert size_of(shape.mesh) == pytest.approx([0.1, 0.1, 0.1], abs=0.02)


def test_bent_ground_is_flattened_under_the_object() -> None:
    bench = mixed_bench()
    bent = Ground(
        bench.ground.level,
        bench.ground.height_m + np.float32(0.004),
        bench.ground.coefficients,
        bench.ground.nominal_m,
        bench.ground.noise_m,
    )
    made = shape_objects(bench.views, bench.heights, bent, bench.segments[:1], ShapeSettings(), first_support=3)
    drop = bench.shapes[0].mesh.vertices[:, 2] - made[0].mesh.vertices[:, 2]
    assert drop == pytest.approx(0.004, abs=1e-5)
    assert made[0].support == 3


def test_nothing_floats_where_nothing_stands() -> None:
    assert found_in(views_of([table(), at(box(6, 6, 0.05), 0, 0, -0.75)])).shapes == []


def test_the_same_bytes_twice() -> None:
    bench = mixed_bench()
    again = shape_objects(bench.views, bench.heights, bench.ground, bench.segments, ShapeSettings())
    for one, two in zip(bench.shapes, again, strict=True):
        assert one.mesh.vertices.tobytes() == two.mesh.vertices.tobytes()
        assert one.mesh.faces.tobytes() == two.mesh.faces.tobytes()
        assert one.seen_fraction == two.seen_fraction
