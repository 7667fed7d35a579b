"""The voxel grid against exact surfaces: distance, order, bounds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import open3d as o3d

from reconstruction.fusion import Box, FusionSettings, fuse, sorted_mesh
from reconstruction.mesh import Mesh
from tests.table_views import BENCH, FUSION, ball_on_table, box, floor, table, views_of


def test_the_surface_lies_where_it_is() -> None:
    mesh = fuse(ball_on_table(), FUSION, FUSION.voxel_m, BENCH).mesh(3.0)
    ball = mesh.vertices[mesh.vertices[:, 2] > 0.02]
    distance = np.linalg.norm(ball - (0.0, 0.0, 0.06), axis=1) - 0.06
    assert len(ball) > 500
    assert np.median(np.abs(distance)) < 1e-3
    assert np.percentile(np.abs(distance), 95) < 2.5e-3
    top = mesh.vertices[np.linalg.norm(mesh.vertices[:, :2], axis=1) > 0.12]
    top = top[top[:, 2] > -0.01]
    assert np.median(np.abs(top[:, 2])) < 5e-4


def test_the_dense_grid_is_positive_outside_and_unseen_inside() -> None:
    volume = fuse(ball_on_table(), FUSION, FUSION.voxel_m, BENCH).volume()

    def at_point(x: float, y: float, z: float) -> tuple[float, float]:
        index = tuple(np.round((np.array([x, y, z]) - volume.origin) / volume.voxel_m).astype(int))
        return float(volume.sdf_m[index]), float(volume.weight[index])

    # Along slanted rays the distance is more than across.
    assert 0.003 < at_point(0.0, 0.0, 0.124)[0] <= 0.012 + 1e-6
    assert -0.012 - 1e-6 <= at_point(0.0, 0.0, 0.116)[0] < -0.003
    assert at_point(0.2, 0.0, 0.008)[0] > 0
    sdf, weight = at_point(0.0, 0.0, 0.06)
    assert weight == 0
    assert np.isnan(sdf)
    assert (np.isnan(volume.sdf_m) == (volume.weight == 0)).all()


def test_colour_follows_the_surface() -> None:
    volume = fuse(ball_on_table(), FUSION, FUSION.voxel_m, BENCH).volume()
    assert volume.rgb is not None
    index = np.round((np.array([0.2, 0.0, 0.0]) - volume.origin) / volume.voxel_m).astype(int)
    assert abs(int(volume.rgb[tuple(index)][0]) - 200) < 12  # level surfaces are painted 200


def test_the_order_does_not_depend_on_threads_or_runs() -> None:
    views = views_of([table(), box(0.08, 0.08, 0.06)], size=(96, 72))
    first, second = (fuse(views, FUSION, 0.006, BENCH) for _ in range(2))
    a, b = first.volume(), second.volume()
    assert a.sdf_m.tobytes() == b.sdf_m.tobytes()
    assert a.weight.tobytes() == b.weight.tobytes()
    assert (a.origin == b.origin).all()
    one, two = first.mesh(2.0), second.mesh(2.0)
    assert one.vertices.tobytes() == two.vertices.tobytes()
    assert one.faces.tobytes() == two.faces.tobytes()


def test_nothing_is_kept_outside_the_box() -> None:
    bench = Box(np.array([-0.1, -0.1, -0.02]), np.array([0.1, 0.1, 0.1]))
    volume = fuse(views_of([table(), floor()]), FUSION, FUSION.voxel_m, bench).volume()
    block = 16 * FUSION.voxel_m
    assert (volume.origin > bench.low - block - 1e-9).all()
    assert (volume.origin + volume.voxel_m * np.array(volume.sdf_m.shape) < bench.high + block + 1e-9).all()


def test_a_room_too_large_for_memory_is_fused_more_coarsely() -> None:
    views = views_of([table(), floor()], size=(96, 72))
    small = FusionSettings(max_blocks=300, device="cpu")
    fusion = fuse(views, small, 0.004, None)
    assert fusion.voxel_m > 0.004
    assert fusion.blocks <= 2 * small.max_blocks


def test_no_views_make_an_empty_mesh() -> None:
    fusion = fuse([], FUSION, 0.004, BENCH)
    assert fusion.blocks == 0
    assert fusion.mesh(1.0).faces.shape == (0, 3)


def test_one_form_for_one_surface() -> None:
    ball = o3d.geometry.TriangleMesh.create_sphere(1.0)
    vertices, faces = np.asarray(ball.vertices), np.asarray(ball.triangles).astype(np.int64)
    rng = np.random.default_rng(1)
    colors = rng.integers(0, 255, (len(vertices), 3)).astype(np.uint8)
    order = rng.permutation(len(vertices))
    rank = np.argsort(order)
    shuffled = np.roll(rank[faces], 1, axis=1)[rng.permutation(len(faces))]
    one = sorted_mesh(Mesh(vertices, faces, colors=colors))
    two = sorted_mesh(Mesh(vertices[order], shuffled, colors=colors[order]))
    assert (one.vertices == two.vertices).all()
    assert (one.faces == two.faces).all()
    assert one.colors is not None
    assert two.colors is not None
    assert (one.colors == two.colors).all()
    corners = one.vertices[one.faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert (np.einsum("ij,ij->i", normal, corners.mean(axis=1)) > 0).all()  # still facing outwards


def test_a_view_of_nothing_within_reach_is_passed_over() -> None:
    view = ball_on_table()[0]
    far = replace(view, depth_m=np.full_like(view.depth_m, 3.9))
    speck = replace(view, depth_m=np.zeros_like(view.depth_m))
    speck.depth_m[5, 6] = 0.5  # between the pixels that Open3D looks at
    empty = fuse([far, speck], FUSION, FUSION.voxel_m, None)
    assert empty.blocks == 0
    assert len(empty.mesh(1.0).faces) == 0
    assert fuse([far, view], FUSION, FUSION.voxel_m, BENCH).blocks > 0
