"""Reading frames for fusion: halves, fringes and order."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from reconstruction.depth import DepthSettings
from reconstruction.views import ViewSettings, load_view, load_views, without_fringe
from tests.table_views import at, box, capture_of, orbit, table, views_of

RAW = ViewSettings(fringe_px=0, depth=DepthSettings(max_grazing_deg=89.0))


def seen_points(view_depth: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    v, u = np.nonzero(view_depth > 0)
    rays = np.stack([u, v, np.ones_like(u)], axis=-1) @ np.linalg.inv(matrix).T
    return np.asarray(rays * view_depth[v, u][:, None])


def test_halving_keeps_the_surface_where_it_is() -> None:
    pose = orbit()[0]
    capture = capture_of(views_of([table()], [pose], (256, 192)))
    for width in (256, 128, 64):
        view = load_view(capture.frames[0], 0, pose, replace(RAW, max_width_px=width), False)
        assert view is not None
        assert view.depth_m.shape == (width * 3 // 4, width)
        points = seen_points(view.depth_m, view.intrinsics) @ pose[:3, :3].T + pose[:3, 3]
        top = points[(np.abs(points[:, :2]) < 0.25).all(axis=1)]
        assert len(top) > 100
        assert np.abs(top[:, 2]).max() < 5e-4  # half a pixel off would be 2 mm and more


def test_halving_never_mixes_near_and_far() -> None:
    rng = np.random.default_rng(3)
    depth = np.where(rng.uniform(size=(48, 64)) < 0.5, np.float32(0.5), np.float32(2.0))
    depth[rng.uniform(size=depth.shape) < 0.2] = 0
    frame = replace(capture_of(views_of([table()], orbit()[:1], (64, 48))).frames[0], read_depth=lambda: depth)
    settings = ViewSettings(max_width_px=32, fringe_px=0, depth=DepthSettings(noise_m=10.0))
    view = load_view(frame, 0, np.eye(4), settings, False)
    assert view is not None
    assert set(np.unique(view.depth_m)) <= {np.float32(0), np.float32(0.5), np.float32(2.0)}
    blocks = depth.reshape(24, 2, 32, 2).transpose(0, 2, 1, 3).reshape(24, 32, 4)
    assert ((view.depth_m > 0) == (blocks > 0).any(axis=-1)).all()


def test_the_far_side_of_an_edge_is_left_out_and_the_near_side_stays() -> None:
    depth = np.full((20, 40), 1.0, np.float32)
    depth[:, :20] = 0.8
    kept = without_fringe(depth, depth, ViewSettings(fringe_px=2))
    assert (kept[:, :20] == depth[:, :20]).all()
    assert (kept[:, 20:22] == 0).all()
    assert (kept[:, 22:] == depth[:, 22:]).all()
    assert (without_fringe(depth, depth, ViewSettings(fringe_px=0)) == depth).all()


def test_a_slope_is_no_fringe_and_a_hole_makes_none() -> None:
    depth = np.tile(np.linspace(0.5, 0.8, 60, dtype=np.float32), (20, 1))
    depth[5:8, 10:14] = 0
    assert (without_fringe(depth, depth, ViewSettings()) == depth).all()


def test_views_come_in_order_with_their_poses_and_colours() -> None:
    views = views_of([table(), box(0.1, 0.1, 0.1)], size=(96, 72))
    capture = capture_of(views)
    positions = [1, 4, 9]
    poses = np.array([views[position].world_from_camera for position in positions])
    loaded = load_views(capture, positions, poses, ViewSettings())
    assert [view.position for view in loaded] == positions
    for view, pose in zip(loaded, poses, strict=True):
        assert (view.world_from_camera == pose).all()
        assert view.rgb is not None
        assert view.rgb.shape == (72, 96, 3)
    assert load_views(capture, positions, poses, ViewSettings(), with_rgb=False)[0].rgb is None


def test_frames_without_depth_are_passed_over() -> None:
    capture = capture_of(views_of([table(), at(box(0.1, 0.1, 0.1), 0, 0)], orbit()[:3]))
    blind = replace(capture.frames[1], read_depth=None, depth_size=None)
    capture = replace(capture, frames=[capture.frames[0], blind, capture.frames[2]])
    loaded = load_views(capture, [0, 1, 2], np.array([np.eye(4)] * 3), ViewSettings())
    assert [view.position for view in loaded] == [0, 2]


def test_moving_views_cancels() -> None:
    view = views_of([table()], orbit()[:1])[0]
    assert np.allclose(
        view.moved(orbit()[3]).moved(np.linalg.inv(orbit()[3])).world_from_camera, view.world_from_camera
    )


def test_a_view_without_depth_that_can_be_trusted_is_none() -> None:
    frame = capture_of(views_of([table()], orbit()[:1], (64, 48))).frames[0]
    near = replace(frame, read_depth=lambda: np.full((48, 64), 0.05, np.float32))
    unsure = replace(frame, read_confidence=lambda: np.zeros((48, 64), np.uint8))
    for bad in (near, unsure):
        assert load_view(bad, 0, np.eye(4), ViewSettings(), False) is None
