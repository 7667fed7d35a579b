"""The small renderer against shapes whose picture is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from app.render import Picture, Shape, View, corner_normals, view_of
from reconstruction.mesh import Mesh
from tests.app.fakes.fake_steps import box


def facing_wall(size_m: float = 1.0) -> Mesh:
    """A square at y = 0 that faces -y."""
    half = size_m / 2
    vertices = np.array([[-half, 0, -half], [half, 0, -half], [half, 0, half], [-half, 0, half]])
    return Mesh(vertices, np.array([[0, 1, 2], [0, 2, 3]]))


FRONT = View(np.array([0.0, -2.0, 0.0]), np.zeros(3), field_deg=60.0)


def test_size_and_place_in_the_picture() -> None:
    alpha = Picture([Shape(facing_wall())]).draw(FRONT, (200, 100))[..., 3] / 255
    # 1 m at 2 m distance: focal length in pixels / 2.
    edge = 100 / 2 / np.tan(np.radians(30)) / 2
    assert alpha.sum() == pytest.approx(edge**2, rel=0.03)
    rows, columns = np.nonzero(alpha > 0.5)
    assert rows.mean() == pytest.approx(49.5, abs=0.3)
    assert columns.mean() == pytest.approx(99.5, abs=0.3)


def test_up_is_up_and_right_is_right() -> None:
    small = box(0.1)
    right_and_up = np.eye(4)
    right_and_up[:3, 3] = (0.3, 0.0, 0.2)
    alpha = Picture([Shape(small, right_and_up)]).draw(FRONT, (200, 100))[..., 3]
    rows, columns = np.nonzero(alpha)
    assert rows.mean() < 50
    assert columns.mean() > 100


@pytest.mark.parametrize("azimuth", [-170, -60, 0, 45, 90])
@pytest.mark.parametrize("elevation", [5, 38, 80])
def test_view_holds_everything_and_wastes_little(azimuth: float, elevation: float) -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(-1, 1, (50, 3)) * (0.6, 0.2, 0.1) + (3, 4, 5)
    view = view_of(points, azimuth, elevation, 1.5)
    local = (points - view.eye) @ view.axes()
    height = np.tan(np.radians(view.field_deg / 2)) * local[:, 2]
    share = np.maximum(np.abs(local[:, 1]) / height, np.abs(local[:, 0]) / (1.5 * height))
    assert 0.9 < share.max() < 1.0


def test_colours_of_vertices_textures_and_what_was_seen() -> None:
    red = replace(facing_wall(), colors=np.full((4, 3), (200, 20, 20), dtype=np.uint8))
    uv = np.array([[[0, 0], [1, 0], [1, 1]], [[0, 0], [1, 1], [0, 1]]], dtype=np.float32)
    picture = np.zeros((2, 2, 3), dtype=np.uint8)
    picture[0, :, 1] = 220  # the image's first row is the top: green above, blue below
    picture[1, :, 2] = 220
    textured = replace(facing_wall(), corner_uv=uv, texture=picture)
    half_seen = replace(facing_wall(), seen=np.array([1, 1, 0, 0], dtype=np.float32))
    size = (80, 80)
    assert Picture([Shape(red)]).draw(FRONT, size)[40, 40].argmax() in (0, 3)
    drawn = Picture([Shape(textured)]).draw(FRONT, size)[..., :3].astype(int)
    assert drawn[28, 40].argmax() == 1
    assert drawn[52, 40].argmax() == 2
    seen = Picture([Shape(half_seen)]).draw(FRONT, size, by_seen=True)[..., :3].astype(int)
    assert seen[52, 40, 1] > seen[52, 40, 0]  # green where measured
    assert seen[28, 40, 0] > seen[28, 40, 1]  # orange where completed


def test_one_looks_through_the_back_of_a_one_sided_wall() -> None:
    behind = View(np.array([0.0, 2.0, 0.0]), np.zeros(3), field_deg=60.0)
    wall = facing_wall()
    cube = replace(box(0.2), colors=np.full((8, 3), (20, 20, 200), dtype=np.uint8))
    away = np.eye(4)
    away[1, 3] = -0.5
    through = Picture([Shape(wall, one_sided=True), Shape(cube, away)]).draw(behind, (80, 80))
    assert through[40, 40, 3] == 255
    assert through[40, 40, 2] > through[40, 40, 0]
    assert through[28, 40, 3] == 0
    blocked = Picture([Shape(wall), Shape(cube, away)]).draw(behind, (80, 80))
    assert abs(int(blocked[40, 40, 2]) - int(blocked[40, 40, 0])) < 10
    assert Picture([Shape(wall, one_sided=True)]).draw(FRONT, (80, 80))[28, 40, 3] == 255


def test_shadow_falls_below_a_thing() -> None:
    ground = Mesh(np.array([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]]), np.array([[0, 1, 2], [0, 2, 3]]))
    above = np.eye(4)
    above[2, 3] = 0.15
    view = view_of(ground.vertices, -60.0, 50.0, 1.0)
    plain = Picture([Shape(ground)]).draw(view, (120, 120)).astype(int)
    shaded = Picture([Shape(ground), Shape(replace(box(0.2), colors=None), above)]).draw(view, (120, 120)).astype(int)
    assert (shaded[..., 0] < 0.8 * plain[..., 0]).sum() > 20


def test_nothing_to_draw() -> None:
    empty = Mesh(np.zeros((0, 3)), np.zeros((0, 3), dtype=np.int64))
    for shapes in ([], [Shape(empty)]):
        assert not Picture(shapes).draw(FRONT, (20, 10)).any()


def test_smooth_on_a_ball_flat_on_a_cube() -> None:
    cube = box(1.0)
    normals = corner_normals(cube.vertices, cube.faces)
    assert np.allclose(np.abs(normals).max(axis=-1), 1.0)
    import trimesh

    ball = trimesh.creation.icosphere(subdivisions=3)
    vertices, faces = np.array(ball.vertices), np.array(ball.faces, dtype=np.int64)
    assert np.allclose(corner_normals(vertices, faces), vertices[faces], atol=0.02)
