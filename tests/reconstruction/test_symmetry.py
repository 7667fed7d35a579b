"""Surfaces of revolution: the axis is found, the hidden side is as the seen one, handles stay, boxes are left alone."""

from __future__ import annotations

import numpy as np
import pytest

from reconstruction.refusion import Measured
from reconstruction.symmetry import SymmetrySettings, turned, upright_axis

SETTINGS = SymmetrySettings()
VOXEL = 0.0025
AXIS = np.array([0.004, -0.003])
FloatArray = np.ndarray


def flank(count: int = 1200, arc_deg: float = 360.0, noise: float = 0.0) -> tuple[FloatArray, FloatArray]:
    """Points and normals on a cone-shaped cup round `AXIS`."""
    rng = np.random.default_rng(3)
    angle, z = np.deg2rad(arc_deg) * rng.uniform(size=count), rng.uniform(0.01, 0.08, count)
    out = np.column_stack([np.cos(angle), np.sin(angle), np.zeros(count)])
    points = (0.03 + 0.2 * z)[:, None] * out + np.column_stack([np.tile(AXIS, (count, 1)), z])
    normals = out + np.array([0.0, 0.0, -0.2]) + noise * rng.normal(size=(count, 3))
    return points, normals / np.linalg.norm(normals, axis=1, keepdims=True)


@pytest.mark.parametrize(("arc_deg", "noise"), [(360.0, 0.0), (360.0, 0.08), (200.0, 0.03)])
def test_normals_meet_the_axis(arc_deg: float, noise: float) -> None:
    axis = upright_axis(*flank(arc_deg=arc_deg, noise=noise), SETTINGS)
    assert axis is not None
    assert axis == pytest.approx(AXIS, abs=0.0015)


def test_a_handle_does_not_move_the_axis() -> None:
    points, normals = flank()
    handle = np.column_stack([np.full(180, 0.06), np.linspace(-0.005, 0.005, 180), np.linspace(0.02, 0.07, 180)])
    sideways = np.tile([0.0, 1.0, 0.0], (180, 1))
    axis = upright_axis(np.vstack([points, handle]), np.vstack([normals, sideways]), SETTINGS)
    assert axis is not None
    assert axis == pytest.approx(AXIS, abs=0.001)


def test_a_box_a_narrow_view_and_a_lid_have_no_axis() -> None:
    rng = np.random.default_rng(0)
    along, z = rng.uniform(-0.05, 0.05, 900), rng.uniform(0.0, 0.08, 900)
    sides, normals = [], []
    for x, y in ((1, 0), (-1, 0), (0, 1), (0, -1)):
        sides.append(np.column_stack([0.05 * x + along * abs(y), 0.05 * y + along * abs(x), z]))
        normals.append(np.tile([float(x), float(y), 0.0], (900, 1)))
    assert upright_axis(np.vstack(sides), np.vstack(normals), SETTINGS) is None
    assert upright_axis(*flank(arc_deg=60.0), SETTINGS) is None
    assert upright_axis(sides[0], np.tile([0.0, 0.0, 1.0], (900, 1)), SETTINGS) is None
    assert upright_axis(sides[0][:20], normals[0][:20], SETTINGS) is None


def cup(handle: bool = False) -> tuple[FloatArray, FloatArray]:
    """Grid points ``(X, Y, Z, 3)`` and the true distance to an open cup, radius 3 cm, wall 4 mm, round the z axis."""
    axes = [np.arange(-0.065, 0.065, VOXEL), np.arange(-0.045, 0.045, VOXEL), np.arange(-0.01, 0.1, VOXEL)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    radius, z = np.hypot(grid[..., 0], grid[..., 1]), grid[..., 2]
    outside = np.maximum(radius - 0.03, z - 0.08)
    hollow = np.maximum(radius - 0.026, 0.006 - z)
    sdf = np.maximum(outside, -hollow)
    if handle:
        ring = np.hypot(grid[..., 0] - 0.03, z - 0.045) - 0.022
        sdf = np.minimum(sdf, np.maximum(np.hypot(ring, grid[..., 1]) - 0.006, 0.028 - grid[..., 0]))
    return grid, sdf


def measured_of(grid: FloatArray, sdf: FloatArray, known: FloatArray) -> Measured:
    return Measured(grid[0, 0, 0], VOXEL, np.clip(sdf, -0.007, 0.0065).astype(np.float32), known)


def test_the_hidden_half_becomes_as_the_seen_one_and_noise_goes() -> None:
    grid, true = cup()
    noisy = true + 0.0015 * np.random.default_rng(1).normal(size=true.shape)
    known = grid[..., 0] > -0.005
    allowed = np.ones(grid.shape[:2], dtype=bool)
    result = turned(measured_of(grid, noisy, known), allowed, np.zeros(2), SETTINGS)
    radius = np.hypot(grid[..., 0], grid[..., 1])
    inside = (radius < 0.04) & (grid[..., 2] > 0.0)
    assert result.known[inside].mean() > 0.98
    clipped = np.clip(true, -0.007, 0.0065)
    hidden = inside & ~known
    assert np.abs(result.sdf_m - clipped)[hidden].mean() < 0.0008
    seen = inside & known
    assert (
        np.abs(result.sdf_m - clipped)[seen].mean()
        < 0.6 * np.abs(np.clip(noisy, -0.007, 0.0065) - clipped)[seen].mean()
    )


def test_a_handle_stays_and_crumbs_do_not() -> None:
    grid, true = cup(handle=True)
    crumb = np.linalg.norm(grid - np.array([-0.036, 0.0, 0.05]), axis=-1) < 0.005
    measured = measured_of(grid, np.where(crumb, -0.003, true), np.ones(true.shape, dtype=bool))
    result = turned(measured, np.ones(grid.shape[:2], dtype=bool), np.zeros(2), SETTINGS)
    handle = (true < -0.001) & (grid[..., 0] > 0.036)
    assert (result.sdf_m[handle] < 0).mean() > 0.95
    assert not (result.sdf_m[crumb & (grid[..., 0] < -0.034)] < 0).any()


def test_columns_of_others_are_not_touched() -> None:
    grid, true = cup()
    allowed = grid[:, :, 0, 0] < 0.02
    known = grid[..., 0] > -0.005
    measured = measured_of(grid, true, known)
    result = turned(measured, allowed, np.zeros(2), SETTINGS)
    np.testing.assert_array_equal(result.sdf_m[~allowed], measured.sdf_m[~allowed])
    np.testing.assert_array_equal(result.known[~allowed], measured.known[~allowed])
