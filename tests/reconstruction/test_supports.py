"""Gravity, level surfaces and where the scene frame lies."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from reconstruction.supports import (
    SupportSettings,
    find_patches,
    fit_plane,
    place_scene,
    sample_points,
    support_boxes,
    upright_from_world,
)
from tests.table_views import FloatArray, at, box, floor, orbit, table, views_of, wall


def tilt(degrees: float, axis: tuple[float, float, float] = (1.0, 0.3, 0.0)) -> FloatArray:
    turn = trimesh.transformations.rotation_matrix(np.radians(degrees), axis)
    turn[:3, 3] = (0.4, -1.2, 2.0)
    return np.asarray(turn)


@pytest.mark.parametrize("hinted", [True, False])
def test_the_table_lies_at_zero_and_z_is_up(hinted: bool) -> None:
    world_from_table = tilt(37.0)
    up = world_from_table[:3, 2]
    # An accelerometer is a degree or two off.
    hint = tilt(38.5)[:3, 2] if hinted else None
    views = [view.moved(world_from_table) for view in views_of([table(), floor(), box(0.1, 0.08, 0.12)])]
    placement = place_scene(views, hint, SupportSettings())
    assert placement.scene_from_world[:3, :3] @ up == pytest.approx([0, 0, 1], abs=2e-3)
    scene_from_table = placement.scene_from_world @ world_from_table
    corners = np.array([[x, y, 0.0, 1.0] for x in (-0.3, 0.3) for y in (-0.25, 0.25)])
    assert np.abs((corners @ scene_from_table.T)[:, 2]).max() < 1e-3
    rotation = placement.scene_from_world[:3, :3]
    assert rotation @ rotation.T == pytest.approx(np.eye(3), abs=1e-9)
    assert np.linalg.det(rotation) == pytest.approx(1.0)


def test_the_floor_below_is_a_patch_but_no_bench() -> None:
    placement = place_scene(views_of([table(), floor(), box(0.1, 0.08, 0.12)]), None, SupportSettings())
    heights = [patch.height_m for patch in placement.patches]
    assert heights[0] == pytest.approx(0.0, abs=1e-3)
    assert any(height == pytest.approx(-0.70, abs=3e-3) for height in heights)
    boxes, at_m = zip(*support_boxes(placement, SupportSettings()), strict=True)
    assert len(boxes) == 1
    assert at_m[0] == pytest.approx(0.0, abs=1e-3)
    assert (boxes[0].low[:2] < -0.3).all()
    assert (boxes[0].high[:2] > 0.25).all()
    assert boxes[0].low[2] < 0 < boxes[0].high[2]


def test_a_shelf_over_the_table_is_a_second_bench_and_ends_the_first() -> None:
    shelf = at(box(0.7, 0.3, 0.02), 0.0, 0.3, 0.25)
    views = views_of([table(), shelf], orbit(30, 0.9))
    found = support_boxes(place_scene(views, np.array([0.0, 0, 1]), SupportSettings()), SupportSettings())
    assert len(found) == 2
    boxes, heights = [box for box, _ in found], sorted(height for _, height in found)
    assert heights[1] - heights[0] == pytest.approx(0.27, abs=0.004)
    lower = min(boxes, key=lambda b: float(b.low[2]))
    assert lower.high[2] < heights[1]


def test_two_tables_of_one_height_are_two_benches_and_one_table_is_one() -> None:
    views = views_of([table(), at(table(), 1.3, 0.0)], [*orbit(20), *(moved(pose, 1.3) for pose in orbit(20))])
    found = support_boxes(place_scene(views, np.array([0.0, 0, 1]), SupportSettings()), SupportSettings())
    assert len(found) == 2
    (first, one_m), (second, other_m) = found
    assert one_m == pytest.approx(other_m, abs=0.003)
    assert first.high[0] < second.low[0] or second.high[0] < first.low[0]


def moved(pose: np.ndarray, x: float) -> np.ndarray:
    result = pose.copy()
    result[0, 3] += x
    return result


def test_a_bare_wall_has_no_support() -> None:
    away = np.array([0.0, 0.0, 0.0])
    poses = [pose for pose in orbit(40, 0.6) if pose[:3, 2] @ (0, 1, 0) > 0.5 and pose[2, 3] - away[2] < 0.4]
    placement = place_scene(views_of([wall()], poses), np.array([0.0, 0.0, 1.0]), SupportSettings())
    assert placement.patches == ()
    assert support_boxes(placement, SupportSettings()) == []
    assert placement.scene_from_world[:3, 2] == pytest.approx([0, 0, 1], abs=0.05)


def test_no_views_at_all_place_nothing() -> None:
    placement = place_scene([], None, SupportSettings())
    assert placement.patches == ()
    assert (placement.scene_from_world == np.eye(4)).all()


def test_normals_face_the_camera_and_small_tops_are_no_supports() -> None:
    views = views_of([table(), box(0.08, 0.08, 0.1)])
    points = sample_points(views, SupportSettings())
    assert np.linalg.norm(points.normals, axis=1) == pytest.approx(1.0)
    top = np.abs(points.points[:, 2] - 0.1) < 1e-3
    assert top.any()
    assert (points.normals[top & (np.abs(points.points[:, :2]) < 0.03).all(axis=1)][:, 2] > 0.95).all()
    assert all(abs(patch.height_m) < 0.005 for patch in find_patches(points, SupportSettings()))


def test_a_plane_is_found_among_outliers_on_one_side() -> None:
    rng = np.random.default_rng(8)
    normal = np.array([0.1, -0.2, 0.97]) / np.linalg.norm([0.1, -0.2, 0.97])
    xy = rng.uniform(-0.4, 0.4, (900, 2))
    z = (0.03 - xy @ normal[:2]) / normal[2] + rng.normal(0, 1e-3, 900)
    z[:150] += rng.uniform(0.01, 0.03, 150)
    plane = fit_plane(np.column_stack([xy, z]))
    assert np.degrees(np.arccos(min(1.0, float(plane[:3] @ normal)))) < 0.3
    assert -plane[3] == pytest.approx(0.03, abs=5e-4)


@pytest.mark.parametrize("up", [(0, 0, 1), (0, 1, 0), (1, 0, 0), (-1, 0, 0), (0.6, 0.0, -0.8)])
def test_upright_takes_up_to_z(up: tuple[float, float, float]) -> None:
    turn = upright_from_world(np.array(up, dtype=np.float64))
    assert turn[:3, :3] @ up == pytest.approx([0, 0, 1])
    assert turn[:3, :3] @ turn[:3, :3].T == pytest.approx(np.eye(3))
    assert np.linalg.det(turn[:3, :3]) == pytest.approx(1.0)
