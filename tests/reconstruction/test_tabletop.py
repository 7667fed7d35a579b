"""Tops of supports: closed under what stands on them, level, smooth at the rim, two levels apart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from reconstruction.atlas import baked
from reconstruction.background import BackgroundSettings, background_mesh, with_tops
from reconstruction.fusion import fuse
from reconstruction.heightmap import Ground, GroundSettings, HeightMap, find_ground
from reconstruction.mesh import Mesh
from reconstruction.segmentation import segment
from reconstruction.segments import SegmentationSettings
from reconstruction.tabletop import Tabletop, TabletopSettings, tabletops
from tests.table_views import FUSION, mixed_bench

CELL = 0.004
SETTINGS = TabletopSettings()


def bench(board: bool = False) -> tuple[HeightMap, Ground, list[Tabletop]]:
    """A table of 0.8 × 0.6 m with a box on it that hides what lies behind; with `board` a second level 5 cm higher."""
    top = np.zeros((200, 150), dtype=np.float32)
    top[60:80, 50:70] = 0.1
    top[80:95, 55:65] = np.nan  # behind the box
    if board:
        top[100:, :] = 0.05
    heights = HeightMap(np.array([-0.4, -0.3]), CELL, top, np.ones(top.shape, np.float32), None)
    ground = find_ground(heights, GroundSettings())
    assert ground is not None
    segments = segment(heights, ground, SegmentationSettings())
    return heights, ground, tabletops(heights, ground, segments, SETTINGS)


def area(mesh: Mesh) -> float:
    """Area seen from above; negative where faces look down."""
    a, b, c = (mesh.vertices[mesh.faces[:, k], :2] for k in range(3))
    u, v = b - a, c - a
    return float(0.5 * (u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]).sum())


def test_the_top_is_whole_under_a_box_and_behind_it() -> None:
    _, _, tops = bench()
    assert len(tops) == 1
    assert tops[0].mask[60:95, 50:70].all()
    assert area(tops[0].mesh) == pytest.approx(0.8 * 0.6, rel=0.02)
    assert np.ptp(tops[0].mesh.vertices[:, 2]) == 0.0
    low, high = tops[0].mesh.vertices.min(axis=0), tops[0].mesh.vertices.max(axis=0)
    assert low[:2] == pytest.approx([-0.402, -0.302], abs=0.006)
    assert high[:2] == pytest.approx([0.398, 0.298], abs=0.006)


def test_views_are_doubted_under_and_near_what_stands_there_and_nowhere_else() -> None:
    _, _, (top,) = bench()
    box = np.array([[-0.12, -0.06, 0.0], [-0.165 - 0.012, -0.06, 0.0]])  # under the box, and 1.2 cm beside it
    assert top.doubts(box).all()
    far = np.array([[-0.12, 0.1, 0.0], [0.2, -0.1, 0.0], [-0.2 - 0.03, -0.06, 0.0], [9.0, 9.0, 0.0]])
    assert not top.doubts(far).any()


def test_two_levels_share_nothing() -> None:
    _, ground, tops = bench(board=True)
    assert len(ground.nominal_m) == len(tops) == 2
    assert not (tops[0].mask & tops[1].mask).any()
    assert sorted(top.mesh.vertices[0, 2] for top in tops) == pytest.approx([0.0, 0.05], abs=1e-3)


def test_a_large_top_has_few_squares() -> None:
    heights, ground, _ = bench()
    few = tabletops(heights, ground, [], replace(SETTINGS, max_squares=200))
    assert len(few[0].mesh.faces) < 2 * 300


def test_the_background_has_a_clean_top_and_no_hole() -> None:
    made = mixed_bench()
    solids = [shape.mesh for shape in made.shapes]
    tops = tabletops(made.heights, made.ground, made.segments, SETTINGS)
    coarse = fuse(made.views, FUSION, FUSION.background_voxel_m, None)
    rest = background_mesh(coarse, solids, BackgroundSettings(), [(made.heights, made.ground, top) for top in tops])
    assert rest is not None
    on_table = (np.abs(rest.vertices[:, :2]) < (0.25, 0.2)).all(axis=1) & (np.abs(rest.vertices[:, 2]) < 0.02)
    assert not on_table.any()  # the coarse table is gone …
    whole = with_tops(rest, [top.mesh for top in tops])
    assert whole is not None
    flat = whole.vertices[len(rest.vertices) :]
    assert np.abs(flat[:, 2] - made.ground.nominal_m[0]).max() < 1e-9
    under = np.linalg.norm(flat[:, :2] - (-0.15, -0.1), axis=1) < 0.02  # … and its top goes on under the box
    assert under.any()
    assert whole.texture is not None
    assert whole.corner_uv is not None
    assert whole.corner_uv.min() >= 0.0
    assert whole.corner_uv.max() <= 1.0


def test_baked_colours_are_linear_within_a_face() -> None:
    colors = np.array([[0, 0, 0], [200, 100, 0], [0, 0, 240]], dtype=np.uint8)
    vertices = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
    mesh = baked(Mesh(vertices, np.array([[0, 1, 2]]), colors=colors))
    assert mesh.texture is not None
    assert mesh.corner_uv is not None
    size = np.array(mesh.texture.shape[1::-1])
    for weights in (np.eye(3), np.array([[0.5, 0.5, 0], [0, 0.5, 0.5], [1 / 3, 1 / 3, 1 / 3]])):
        for share in weights:
            u, v = (share @ mesh.corner_uv[0]) * size - 0.5
            v = size[1] - 1 - v
            x, y = int(u), int(v)
            fx, fy = u - x, v - y
            block = np.pad(mesh.texture, ((0, 1), (0, 1), (0, 0)), mode="edge")[y : y + 2, x : x + 2].astype(float)
            shown = (block[0, 0] * (1 - fx) + block[0, 1] * fx) * (1 - fy) + (
                block[1, 0] * (1 - fx) + block[1, 1] * fx
            ) * fy
            assert shown == pytest.approx(share @ colors.astype(float), abs=1.0)


def test_without_colour_the_parts_are_joined_plainly() -> None:
    triangle = Mesh(np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]), np.array([[0, 1, 2]]))
    whole = with_tops(triangle, [triangle])
    assert whole is not None
    assert whole.texture is None
    assert whole.faces.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert with_tops(None, []) is None
