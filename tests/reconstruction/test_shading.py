"""Light and shadow are taken out of colours; what is printed on things stays."""

from __future__ import annotations

import numpy as np
import open3d as o3d
import pytest
import trimesh

from reconstruction.shading import DIRECTIONS, brightened, directions, exposure, hues, light_of

LAMP = np.array([0.5, 0.3, 0.81])


def bench() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Points on a ball, a box and the inside of a cup: positions, normals, which thing, exposure, who sees the lamp."""
    ball = trimesh.creation.icosphere(4, 0.05)
    box = trimesh.creation.box([0.08, 0.1, 0.12]).subdivide_to_size(0.01)
    outer, inner = trimesh.creation.cylinder(0.06, 0.08), trimesh.creation.cylinder(0.055, 0.08)
    inner.apply_translation([0, 0, 0.006])
    cup = trimesh.boolean.difference([outer, inner]).subdivide_to_size(0.01)
    table = trimesh.creation.box([2.0, 2.0, 0.02])
    table.apply_translation([0, 0, -0.01])
    for mesh, at in ((ball, [0, 0, 0.05]), (box, [0.2, 0, 0.06]), (cup, [-0.2, 0.05, 0.04])):
        mesh.apply_translation(at)
    scene = o3d.t.geometry.RaycastingScene()
    for mesh in (ball, box, cup, table):
        scene.add_triangles(np.float32(mesh.vertices), np.uint32(mesh.faces))
    points, normals, things = [], [], []
    for number, mesh in enumerate((ball, box, cup)):
        points.append(mesh.triangles_center)
        normals.append(mesh.face_normals)
        things.append(np.full(len(mesh.faces), number))
    where, facing = np.float32(np.concatenate(points)), np.float32(np.concatenate(normals))
    exposed = exposure(where, facing, scene)
    rays = np.float32(np.concatenate([where + 0.002 * facing, np.tile(LAMP, (len(where), 1))], axis=1))
    lit = ~scene.test_occlusions(rays, tnear=0.0, tfar=5.0).numpy()
    return where, facing, np.concatenate(things), exposed, lit


BENCH = bench()


def photographed(albedo: np.ndarray, sky: float = 0.35) -> np.ndarray:
    """Levels ``(N, 3)`` of what has an albedo ``(N, 3)``, under a lamp and the sky, the root of brightness."""
    _, normals, _, exposed, lit = BENCH
    bright = sky * exposed.sum(axis=1) + 0.08 + 0.9 * lit * np.maximum(normals @ (LAMP / np.linalg.norm(LAMP)), 0.0)
    return np.float32(255.0 * np.sqrt(np.clip(albedo * bright[:, None], 0.0, 1.0)))


def uneven(colors: np.ndarray, some: np.ndarray) -> float:
    """How much the brightness of colours that should be the same varies: middle 80 %, logarithm."""
    low, high = np.quantile(np.log(colors[some].mean(axis=1)), [0.1, 0.9])
    return float(high - low)


def unlit(colors: np.ndarray) -> np.ndarray:
    _, _, things, exposed, _ = BENCH
    light = light_of(colors, hues(colors, things), exposed)
    return brightened(colors, exposed @ light[:-1] + light[-1])


@pytest.mark.parametrize("sky", [0.2, 0.35, 0.6])
def test_one_colour_is_one_colour_again(sky: float) -> None:
    _, normals, things, _, _ = BENCH
    albedo = np.array([[0.5, 0.12, 0.1], [0.2, 0.35, 0.15], [0.3, 0.25, 0.45]])[things]
    before = photographed(albedo, sky)
    after = unlit(before)
    for number in range(3):
        assert uneven(after, things == number) < 0.5 * uneven(before, things == number)
    up = normals[:, 2] > 0.95  # an open place keeps about the colour it was seen in
    open_up = up & (things != 2)
    assert after[open_up].mean() == pytest.approx(before[open_up].mean(), rel=0.15)


def test_what_is_printed_stays() -> None:
    where, _, things, _, _ = BENCH
    dark = (np.floor(where[:, 2] / 0.02) % 2 == 0) & (things == 1)
    albedo = np.where(dark[:, None], 0.06, 0.5) * np.ones(3)
    after = unlit(photographed(albedo))
    some = things == 1
    contrast = after[some & ~dark].mean() / after[some & dark].mean()
    assert contrast == pytest.approx((0.5 / 0.06) ** 0.5, rel=0.15)


def test_light_from_all_sides_is_all_there_is_in_the_open() -> None:
    _, normals, things, exposed, _ = BENCH
    top = (normals[:, 2] > 0.999) & (things == 1)
    assert exposed[top].sum(axis=1) == pytest.approx(1.0, abs=0.05)
    inside = (things == 2) & (normals[:, 2] > 0.999) & (BENCH[0][:, 2] < 0.02)
    assert inside.any()
    assert exposed[inside].sum(axis=1).max() < 0.8
    assert np.linalg.norm(directions(), axis=1) == pytest.approx(1.0)
    assert np.linalg.norm(directions().mean(axis=0)) < 0.01


@pytest.mark.parametrize("level", [0.0, 255.0])
def test_where_nothing_tells_of_light_colours_stay(level: float) -> None:
    _, _, things, exposed, _ = BENCH
    colors = np.full((len(things), 3), level, dtype=np.float32)
    light = light_of(colors, hues(colors, things), exposed)
    assert light.tolist() == [0.0] * DIRECTIONS + [1.0]
    assert np.array_equal(brightened(colors, exposed @ light[:-1] + light[-1]), colors)
