"""Closed solids: cups stay open, bottoms lie on the support, hidden depths are hollow."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from reconstruction.completion import (
    Ceiling,
    CompletionSettings,
    closed_mesh,
    complete,
    hull_distance,
    surface_points,
    with_foot,
    with_thin_walls,
)
from reconstruction.mesh import to_trimesh
from reconstruction.refusion import Measured
from reconstruction.vessels import VesselSettings, opened_cavity, thinned_shell
from tests.table_views import FloatArray, contains, mixed_bench, watertight

SETTINGS = CompletionSettings()
VESSEL = VesselSettings()
VOXEL = 0.0025
Field = Callable[[FloatArray], FloatArray]


def measured_of(field: Field, known: Field, half: float = 0.06, height: float = 0.12) -> Measured:
    """A grid of true signed distances of which `known` > 0 was seen."""
    axes = [np.arange(-half, half, VOXEL), np.arange(-half, half, VOXEL), np.arange(-0.0125, height, VOXEL)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    sdf = np.clip(field(grid), -0.01, 0.01).astype(np.float32)
    return Measured(grid[0, 0, 0], VOXEL, sdf, np.asarray(known(grid) > 0))


def cylinder_field(radius: float, height: float) -> Field:
    def field(p: FloatArray) -> FloatArray:
        side, lid = np.hypot(p[..., 0], p[..., 1]) - radius, p[..., 2] - height
        return np.asarray(np.maximum(side, lid))

    return field


def outline(measured: Measured, radius: float) -> np.ndarray:
    x, y = (measured.origin[a] + VOXEL * np.arange(measured.sdf_m.shape[a]) for a in (0, 1))
    return (np.hypot(*np.meshgrid(x, y, indexing="ij")) - radius).astype(np.float32)


def test_an_unseen_back_and_bottom_are_closed_within_the_outline() -> None:
    # Seen: the shell in front (x > -1 cm) and the top.
    field = cylinder_field(0.03, 0.08)
    measured = measured_of(field, lambda p: ((p[..., 0] > -0.01) | (p[..., 2] > 0.075)) & (field(p) > -0.006))
    made = complete(measured, outline(measured, 0.036), 0.0, SETTINGS)
    assert made is not None
    mesh, trusted = made
    assert watertight(mesh)
    assert np.ptp(mesh.vertices, axis=0) == pytest.approx([0.06, 0.06, 0.08], abs=0.006)
    assert mesh.vertices[:, 2].min() == pytest.approx(0.0, abs=1e-3)
    assert to_trimesh(mesh).volume == pytest.approx(np.pi * 0.03**2 * 0.08, rel=0.12)
    assert trusted.shape == measured.known.shape
    assert not trusted[~measured.known].any()


def test_nothing_reaches_beyond_the_outline_or_under_the_support() -> None:
    field = cylinder_field(0.05, 0.08)
    measured = measured_of(field, lambda p: field(p) > -0.006)
    made = complete(measured, outline(measured, 0.03), 0.02, SETTINGS)
    assert made is not None
    mesh = made[0]
    assert np.hypot(mesh.vertices[:, 0], mesh.vertices[:, 1]).max() < 0.031
    assert mesh.vertices[:, 2].min() > 0.019


def test_under_a_ceiling_the_object_ends_there() -> None:
    field = cylinder_field(0.04, 0.1)
    measured = measured_of(field, lambda p: field(p) > -0.006)
    everywhere = np.ones(measured.sdf_m.shape[:2], dtype=bool)
    ceiling = Ceiling(everywhere, everywhere, 0.05)
    made = complete(measured, outline(measured, 0.046), 0.0, SETTINGS, ceiling)
    assert made is not None
    assert made[0].vertices[:, 2].max() == pytest.approx(0.05, abs=0.002)
    assert watertight(made[0])


def test_where_nothing_is_solid_there_is_no_object() -> None:
    measured = measured_of(lambda p: np.full(p.shape[:-1], 0.01), lambda p: np.ones(p.shape[:-1]))
    assert complete(measured, outline(measured, 0.04), 0.0, SETTINGS) is None


def test_the_hidden_depths_of_a_container_are_hollow() -> None:
    """A tall tumbler into which no view reached farther than 2 cm: seen free above, unknown below."""

    def tumbler(p: FloatArray) -> FloatArray:
        radius = np.hypot(p[..., 0], p[..., 1])
        wall = np.maximum(np.maximum(radius - 0.04, p[..., 2] - 0.1), 0.036 - radius)
        return np.asarray(np.where((radius < 0.036) & (p[..., 2] < 0.08), -0.01, wall))

    def seen(p: FloatArray) -> FloatArray:
        radius = np.hypot(p[..., 0], p[..., 1])
        return np.asarray((radius > 0.038) | (p[..., 2] >= 0.08)).astype(np.float64)

    measured = measured_of(tumbler, seen)
    made = opened_cavity(measured.sdf_m, measured.known, 0.0125, VOXEL, VESSEL)
    middle = made.shape[0] // 2
    z = measured.origin[2] + VOXEL * np.arange(made.shape[2])
    assert (made[middle, middle, (z > 0.015) & (z < 0.09)] > 0).all()
    assert (made[middle, middle, z < 0.002] < 0).all()
    assert (
        made[(outline(measured, 0.0) > 0.0381) & (outline(measured, 0.0) < 0.04)][:, (z > 0.01) & (z < 0.09)] < 0
    ).all()


def test_a_solid_block_is_not_hollowed() -> None:
    field = cylinder_field(0.04, 0.1)
    measured = measured_of(field, lambda p: field(p) > -0.006)
    made = opened_cavity(measured.sdf_m, measured.known, 0.0125, VOXEL, VESSEL)
    assert (made == measured.sdf_m).all()


def test_a_closed_block_with_a_dented_lid_is_not_hollowed() -> None:
    def dented(p: FloatArray) -> FloatArray:
        dent = np.maximum(np.hypot(p[..., 0], p[..., 1]) - 0.03, 0.094 - p[..., 2])
        return np.asarray(np.maximum(cylinder_field(0.04, 0.1)(p), -dent))

    # Of the dent's bottom nothing was measured: only the free space over it.
    measured = measured_of(dented, lambda p: np.where(np.hypot(p[..., 0], p[..., 1]) < 0.03, dented(p), 1.0))
    made = opened_cavity(measured.sdf_m, measured.known, 0.0125, VOXEL, VESSEL)
    assert (made == measured.sdf_m).all()


def test_a_tray_whose_floor_was_seen_is_not_hollowed_further() -> None:
    def tray(p: FloatArray) -> FloatArray:
        radius = np.hypot(p[..., 0], p[..., 1])
        hollow = np.maximum(radius - 0.035, 0.05 - p[..., 2])
        return np.asarray(np.maximum(cylinder_field(0.04, 0.07)(p), -hollow))

    measured = measured_of(tray, lambda p: tray(p) > -0.006)
    made = opened_cavity(measured.sdf_m, measured.known, 0.0125, VOXEL, VESSEL)
    assert (made == measured.sdf_m).all()


def test_measured_points_lie_on_the_surface_and_face_outwards() -> None:
    field = cylinder_field(0.03, 0.08)
    measured = measured_of(field, lambda p: np.ones(p.shape[:-1]))
    floor = np.full(measured.sdf_m.shape[:2], 0.006, np.float32)
    points, normals = surface_points(measured, outline(measured, 0.04), floor)
    assert np.abs(field(points)).max() < 1e-4
    assert points[:, 2].min() > 0.006
    assert np.linalg.norm(normals, axis=1) == pytest.approx(1.0)
    flank = (np.abs(points[:, 2] - 0.04) < 0.02) & (np.abs(field(points)) < 1e-4)
    outward = points[flank, :2] / np.linalg.norm(points[flank, :2], axis=1)[:, None]
    assert np.einsum("ij,ij->i", normals[flank, :2], outward).min() > 0.9


def test_a_flank_is_continued_through_the_support_and_no_top_is() -> None:
    flank, top = np.array([[0.03, 0.0, 0.008]]), np.array([[0.0, 0.0, 0.008]])
    points, normals = with_foot(flank, np.array([[1.0, 0.0, 0.0]]), np.array([True]), 0.0, SETTINGS)
    assert points[:, 2].min() < -0.005
    assert points[:, 0] == pytest.approx(0.03)
    assert len(normals) == len(points)
    assert len(with_foot(top, np.array([[0.0, 0.0, 1.0]]), np.array([True]), 0.0, SETTINGS)[0]) == 1


def test_the_hull_bounds_the_seen_points_and_their_shadow() -> None:
    rng = np.random.default_rng(3)
    direction = rng.normal(size=(400, 3))
    points = 0.03 * direction / np.linalg.norm(direction, axis=1)[:, None] + (0.0, 0.0, 0.05)
    measured = measured_of(cylinder_field(0.03, 0.08), lambda p: np.ones(p.shape[:-1]))
    distance = hull_distance(points, 0.0, measured)
    axes = [measured.origin[a] + VOXEL * np.arange(n) for a, n in enumerate(measured.sdf_m.shape)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    # A bound: never positive within the hull of the points and their shadow, positive well outside.
    radius = np.hypot(grid[..., 0], grid[..., 1])
    assert (distance[(radius < 0.027) & (grid[..., 2] > 0.0) & (grid[..., 2] < 0.05)] <= 1e-6).all()
    assert (distance[(radius > 0.042) | (grid[..., 2] < -0.01) | (grid[..., 2] > 0.095)] > 0).all()
    assert not hull_distance(points[:2], 0.0, measured).any()


def test_only_the_largest_piece_is_kept_and_it_has_no_bubbles() -> None:
    def field(p: FloatArray) -> FloatArray:
        ball = np.linalg.norm(p - (0.0, 0.0, 0.05), axis=-1)
        crumb = np.linalg.norm(p - (0.05, 0.05, 0.1), axis=-1) - 0.006
        return np.asarray(np.minimum(np.maximum(ball - 0.035, 0.008 - ball), crumb))

    measured = measured_of(field, lambda p: np.ones(p.shape[:-1]))
    mesh = closed_mesh(measured.sdf_m, measured, SETTINGS)
    assert mesh is not None
    assert watertight(mesh)
    assert to_trimesh(mesh).volume == pytest.approx(4 / 3 * np.pi * 0.035**3, rel=0.02)
    assert np.linalg.norm(mesh.vertices - (0, 0, 0.05), axis=1).max() < 0.037
    assert len(mesh.faces) <= SETTINGS.max_faces


def test_a_seen_cup_is_open_and_holds_a_pea() -> None:
    cup_mesh = mixed_bench().shape_at(-0.15, 0.12).mesh
    pea = (-0.004, 0.0, 0.004)
    held = [(-0.15 + dx, 0.12 + dy, z) for z in (0.012, 0.03, 0.06, 0.085) for dx in pea for dy in pea]
    assert not any(contains(cup_mesh, held))
    walls = [(-0.15 + 0.038 * np.cos(a), 0.12 + 0.038 * np.sin(a), z) for z in (0.02, 0.05, 0.08) for a in range(6)]
    assert all(contains(cup_mesh, walls))


def test_a_seen_cup_has_a_bottom() -> None:
    cup_mesh = mixed_bench().shape_at(-0.15, 0.12).mesh
    bottom = [(-0.15 + r * np.cos(a), 0.12 + r * np.sin(a), 0.003) for r in (0.0, 0.015, 0.03) for a in range(6)]
    assert all(contains(cup_mesh, bottom))
    assert to_trimesh(cup_mesh).euler_number == 2  # and no hole in it


def test_a_rim_that_half_of_the_views_missed_is_drawn_solid_up_to_where_it_was_hit() -> None:
    def wall(p: FloatArray) -> FloatArray:
        distance = np.minimum(np.abs(p[..., 0]) - 0.002, 0.0065)
        missed = 0.45 * (0.0065 - distance) * (p[..., 2] > 0.04)  # every other view saw free space from 4 cm on
        return np.asarray(np.where(p[..., 2] < 0.09, distance + missed, 0.0065))

    measured = measured_of(wall, lambda p: np.ones(p.shape[:-1]))
    column = measured.sdf_m.shape[0] // 2, measured.sdf_m.shape[1] // 2
    z = measured.origin[2] + VOXEL * np.arange(measured.sdf_m.shape[2])
    rim = (z > 0.045) & (z < 0.07)
    assert (measured.sdf_m[column][rim] > 0).all()
    made = with_thin_walls(measured, 0.072, SETTINGS)
    assert (made.sdf_m[column][rim] < 0).all()
    np.testing.assert_array_equal(made.sdf_m[..., z > 0.073], measured.sdf_m[..., z > 0.073])
    away = measured.sdf_m > 0.006
    assert (made.sdf_m[away] > 0.003).all()  # nothing grows in free space


def test_a_thick_solid_has_no_thin_walls_to_draw() -> None:
    field = cylinder_field(0.03, 0.08)
    measured = measured_of(field, lambda p: field(p) > -0.006)
    made = with_thin_walls(measured, 1.0, SETTINGS)
    np.testing.assert_array_equal(made.sdf_m < 0, measured.sdf_m < 0)
    near = np.abs(measured.sdf_m) < 0.0015
    np.testing.assert_allclose(made.sdf_m[near], measured.sdf_m[near], atol=3e-4)


def test_what_was_guessed_under_a_bowl_is_air_and_its_floor_is_not() -> None:
    def ball(p: FloatArray, radius: float) -> FloatArray:
        return np.asarray(np.linalg.norm(p - (0.0, 0.0, 0.056), axis=-1) - radius)

    def bowl(p: FloatArray) -> FloatArray:
        return np.asarray(np.maximum(np.maximum(ball(p, 0.055), -ball(p, 0.05)), p[..., 2] - 0.05))

    def filled(p: FloatArray) -> FloatArray:  # down to the support, as a guess from above has it
        shadow = np.maximum(np.hypot(p[..., 0], p[..., 1]) - 0.054, np.abs(p[..., 2] - 0.025) - 0.025)
        return np.asarray(np.minimum(bowl(p), np.maximum(shadow, -ball(p, 0.05))))

    measured = measured_of(filled, lambda p: np.abs(bowl(p)) < 0.004, half=0.065)
    thin = thinned_shell(measured.sdf_m, measured.known, 0.0125, VOXEL, VESSEL)
    grid_radius = outline(measured, 0.0)
    z = measured.origin[2] + VOXEL * np.arange(thin.shape[2])
    low_rim = (grid_radius > 0.045)[:, :, None] & ((z > 0.002) & (z < 0.008))[None, None, :] & (measured.sdf_m < 0)
    assert low_rim.any()
    assert (thin[low_rim] > 0).all()
    floor = (grid_radius < 0.01)[:, :, None] & ((z > 0.002) & (z < 0.004))[None, None, :]
    assert (thin[floor] < 0).all()


@pytest.mark.parametrize("roofed", [False, True])
def test_only_air_that_opens_to_the_sky_makes_a_vessel(roofed: bool) -> None:
    def body(p: FloatArray) -> FloatArray:
        side = np.abs(p[..., :2]).max(axis=-1)
        block = np.maximum(side - 0.04, np.abs(p[..., 2] - 0.025) - 0.025)
        room = np.maximum(side - 0.03, np.abs(p[..., 2] - 0.0342) - (0.0083 if roofed else 0.0183))
        return np.asarray(np.maximum(block, -room))

    def seen(p: FloatArray) -> FloatArray:  # all but what lies deep below the room
        deep = (np.abs(p[..., :2]).max(axis=-1) < 0.032) & (p[..., 2] > 0.002) & (p[..., 2] < 0.027)
        return np.asarray(~deep | (body(p) > 0))

    measured = measured_of(body, seen)
    made = opened_cavity(measured.sdf_m, measured.known, 0.0125, VOXEL, VESSEL)
    if roofed:  # the air between a toy car's wheels
        np.testing.assert_array_equal(made, measured.sdf_m)
    else:
        assert ((made > 0) & (measured.sdf_m < 0)).sum() > 1000
