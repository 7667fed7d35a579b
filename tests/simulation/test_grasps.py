"""Grasps against shapes whose right answer is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from simulation.grasps import CONE_RAD, antipodal, tool_poses
from tests.small_scenes import ball, bowl, box, cylinder, thing


def test_a_box_is_held_across_its_narrow_sides() -> None:
    grasps = antipodal(thing("box", box(0.05, 0.2, 0.03), (0, 0, 0)), 0.08)
    assert len(grasps) > 50
    across = np.abs(grasps.axis[:, 0]) > 0.99
    flat = np.abs(grasps.axis[:, 2]) > 0.99
    assert (across | flat).all()  # never along the 20 cm
    assert np.allclose(grasps.width[across], 0.052, atol=1e-3)
    best = grasps.center[:5]
    assert np.abs(best[:, 1]).max() < 0.04  # near the middle, where it does not turn in the hand


def test_what_is_too_wide_has_no_grasp() -> None:
    assert len(antipodal(thing("block", box(0.1, 0.1, 0.1), (0, 0, 0)), 0.08)) == 0
    assert len(antipodal(thing("ball", ball(0.045), (0, 0, 0)), 0.08)) == 0


def test_round_things_are_held_through_their_axis() -> None:
    item = thing("can", cylinder(0.03, 0.1, 32), (0, 0, 0))
    grasps = antipodal(item, 0.08)
    level = np.abs(grasps.axis[:, 2]) < 0.1
    assert level.sum() > 50
    offset = grasps.center[level, :2] - item.center_of_mass[:2]
    axis = grasps.axis[level]
    sideways = np.abs(axis[:, 0] * offset[:, 1] - axis[:, 1] * offset[:, 0])
    assert sideways.max() < 0.03 * np.sin(CONE_RAD)


def test_a_vessel_is_held_by_its_wall_and_not_through_its_hollow() -> None:
    mesh, parts = bowl(0.06, 0.06, 0.006, 24)
    item = thing("bowl", mesh, (0, 0, 0), parts=parts)
    grasps = antipodal(item, 0.08)
    assert len(grasps) > 20
    lowest = min(part.vertices[:, 2].min() for part in item.convex_parts)
    above = grasps.center[:, 2] > lowest + 0.01  # the foot may be held as a whole
    radius = np.hypot(*grasps.center[:, :2].T)
    walls = (np.abs(grasps.axis[:, 2]) < 0.3) & above
    assert walls.sum() > 10
    assert grasps.width[walls].max() < 0.03
    assert (radius[walls] > 0.04).all()


def test_parts_that_meet_are_one_solid() -> None:
    left, right = box(0.03, 0.06, 0.04), box(0.03, 0.06, 0.04)
    left.apply_translation([-0.015, 0, 0])
    right.apply_translation([0.015, 0, 0])
    whole = thing("halves", box(0.06, 0.06, 0.04), (0, 0, 0), parts=[left, right])
    grasps = antipodal(whole, 0.08)
    across = np.abs(grasps.axis[:, 0]) > 0.99
    assert across.any()
    assert np.allclose(grasps.width[across], 0.062, atol=1e-3)


def test_the_same_thing_has_the_same_grasps_wherever_it_stands() -> None:
    item = thing("box", box(0.05, 0.06, 0.03), (0, 0, 0))
    moved = replace(item, scene_from_object=np.array([[0, -1, 0, 1], [1, 0, 0, 2], [0, 0, 1, 0.1], [0, 0, 0, 1.0]]))
    first, second = antipodal(item, 0.08), antipodal(moved, 0.08)
    assert np.array_equal(first.center, second.center)
    assert np.array_equal(first.score, second.score)


def test_tools_close_along_the_axis_and_come_from_above() -> None:
    axis = np.array([0.6, 0.8, 0.0])
    poses = tool_poses(np.array([0.1, 0.2, 0.3]), axis)
    for pose in poses:
        assert np.allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-12)
        assert np.linalg.det(pose[:3, :3]) > 0.99
        assert abs(pose[:3, 1] @ axis) > 1 - 1e-9
        assert np.allclose(pose[:3, 3], [0.1, 0.2, 0.3])
    assert np.allclose(poses[:2, :3, 2], [0, 0, -1])
