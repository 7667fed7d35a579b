"""Thin parts are found where they are, and nothing else is taken for one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import open3d as o3d
import open3d.core as o3c
import pytest
import trimesh

from reconstruction.heightmap import Ground, HeightMap
from reconstruction.mesh import Mesh, to_trimesh
from reconstruction.objects import Shape
from reconstruction.texture import TextureView
from reconstruction.thin_parts import Rod, ThinPartSettings, tube_mesh, with_thin_parts
from tests.table_views import at, box, intrinsics, looking, orbit, table, watertight

FloatArray = npt.NDArray[np.float64]
SIZE = (480, 360)
SETTINGS = ThinPartSettings()
PLACES = {"rod": (-0.09, -0.08), "stripe": (-0.09, 0.05), "shadow": (0.13, 0.05), "bare": (0.13, -0.08)}
LENGTH, HEIGHT, RADIUS = 0.08, 0.016, 0.0035  # of the rod beyond its block
SIDE = 0.04


def block(name: str) -> trimesh.Trimesh:
    return at(box(SIDE, SIDE, 0.03), *PLACES[name])


def shape(name: str) -> Shape:
    """What depth has shown: the block alone."""
    solid = block(name)
    mesh = Mesh(np.asarray(solid.vertices), np.asarray(solid.faces, np.int64), seen=np.zeros(8, np.float32))
    return Shape(mesh, 0.9, 0)


def rod(start: Sequence[float], end: Sequence[float], radius: float = RADIUS) -> trimesh.Trimesh:
    return trimesh.creation.cylinder(radius, segment=[start, end], sections=24)


def rod_of(name: str) -> trimesh.Trimesh:
    x, y = PLACES[name]
    return rod([x, y, HEIGHT], [x + SIDE / 2 + LENGTH, y, HEIGHT])


def table_color(points: FloatArray, print_on_it: bool) -> FloatArray:
    """Wood, with a dark stripe printed from one block away and a soft shadow from another one away."""
    x, y = points[:, 0], points[:, 1]
    grain = np.sin(410 * x + 9 * np.sin(31 * y)) + np.sin(290 * x + 60 * y) + np.sin(700 * x - 45 * y)
    color = np.array([176.0, 128.0, 88.0]) * (1 + 0.05 * grain)[:, None]
    if print_on_it:
        left, row = PLACES["stripe"]
        stripe = (np.abs(y - row) < 0.003) & (x > left) & (x < left + 0.1)
        color[stripe] = (30.0, 30.0, 35.0)
        left, row = PLACES["shadow"]
        dark = np.exp(-(((y - row) / 0.005) ** 2)) * (x > left) * (x < left + 0.1)
        color *= 1 - 0.5 * dark[:, None]
    return color


def pictures(solids: list[trimesh.Trimesh], poses: list[FloatArray], print_on_it: bool = True) -> list[TextureView]:
    """Colour pictures of `solids` on a table; the first are shaded blue, the last grey. Poses are a little wrong."""
    scene = o3d.t.geometry.RaycastingScene(nthreads=1)
    for solid in [table(), *solids]:
        scene.add_triangles(
            o3c.Tensor(np.asarray(solid.vertices, np.float32)), o3c.Tensor(np.asarray(solid.faces, np.uint32))
        )
    matrix, chance = intrinsics(SIZE), np.random.default_rng(5)
    v, u = np.mgrid[: SIZE[1], : SIZE[0]]
    pixels = np.stack([u, v, np.ones_like(u)], axis=-1).reshape(-1, 3) @ np.linalg.inv(matrix).T
    views = []
    for number, pose in enumerate(poses):
        directions = pixels @ pose[:3, :3].T
        rays = np.concatenate([np.broadcast_to(pose[:3, 3], pixels.shape), directions], axis=-1)
        hit = scene.cast_rays(o3c.Tensor(rays.astype(np.float32)), nthreads=1)
        what, depth = hit["geometry_ids"].numpy(), hit["t_hit"].numpy()
        points = pose[:3, 3] + directions * np.where(np.isfinite(depth), depth, 0.0)[:, None]
        light = 0.7 + 0.3 * hit["primitive_normals"].numpy()[:, 2:]
        color = np.where((what == len(solids))[:, None], (170.0, 172.0, 176.0), (60.0, 80.0, 190.0)) * light
        color = np.where((what == 0)[:, None], table_color(points, print_on_it), color)
        color[~np.isfinite(depth)] = 90.0
        color = color * (1 + 0.03 * np.sin(number)) + chance.normal(0.0, 1.5, (len(color), 1))
        picture = np.clip(color, 0, 255).astype(np.uint8).reshape(SIZE[1], SIZE[0], 3)
        wrong = pose.copy()
        wrong[:3, 3] += chance.normal(0.0, 0.0005, 3)
        views.append(TextureView(lambda picture=picture: picture, SIZE, matrix, wrong))  # type: ignore[misc]
    return views


def bench() -> tuple[HeightMap, Ground]:
    cells = (176, 151)
    flat = np.zeros(cells, np.float32)
    heights = HeightMap(np.array([-0.35, -0.3]), 0.004, flat, np.ones(cells, np.float32), None)
    return heights, Ground(np.zeros(cells, np.int32), flat, (np.zeros(6),), (0.0,), 0.0005)


@lru_cache(maxsize=1)
def all_pictures() -> list[TextureView]:
    return pictures([*(block(name) for name in PLACES), rod_of("rod")], orbit(30))


@lru_cache(maxsize=1)
def found() -> dict[str, Shape]:
    shapes = [shape(name) for name in PLACES]
    return dict(zip(PLACES, with_thin_parts(all_pictures(), *bench(), shapes, SETTINGS), strict=True))


def test_a_rod_is_found_with_its_true_length_height_and_width() -> None:
    x, y = PLACES["rod"]
    mesh = found()["rod"].mesh
    assert watertight(mesh)
    tip = x + SIDE / 2 + LENGTH
    assert mesh.vertices[:, 0].max() == pytest.approx(tip, abs=0.003)
    section = to_trimesh(mesh).section(plane_origin=[tip - 0.03, y, 0.0], plane_normal=[1.0, 0.0, 0.0])
    low, high = section.vertices.min(axis=0), section.vertices.max(axis=0)
    assert (low + high)[1:] / 2 == pytest.approx([y, HEIGHT], abs=0.0015)
    assert (high - low)[1:] == pytest.approx([2 * RADIUS, 2 * RADIUS], abs=0.002)


def test_the_rest_of_its_thing_stays_and_the_rod_counts_as_seen() -> None:
    mesh = found()["rod"].mesh
    assert mesh.seen is not None
    on_rod = mesh.vertices[:, 0] > PLACES["rod"][0] + SIDE / 2 + 0.01
    assert mesh.seen[on_rod].min() == 1.0
    assert mesh.seen[mesh.vertices[:, 0] < PLACES["rod"][0]].max() == 0.0
    assert to_trimesh(mesh).volume == pytest.approx(SIDE**2 * 0.03 + np.pi * RADIUS**2 * LENGTH, rel=0.05)


def test_a_lump_that_depth_made_of_a_rod_gives_way_to_it() -> None:
    x, y = PLACES["rod"]
    lump = rod([x, y, 0.012], [x + SIDE / 2 + 0.5 * LENGTH, y + 0.004, 0.007], 0.006)
    solid = trimesh.boolean.union([block("rod"), lump], engine="manifold")
    mesh = Mesh(np.asarray(solid.vertices), np.asarray(solid.faces, np.int64))
    shapes = [replace(shape(name), mesh=mesh) if name == "rod" else shape(name) for name in PLACES]
    after = with_thin_parts(all_pictures(), *bench(), shapes, SETTINGS)[0].mesh
    assert watertight(after)
    assert after.vertices[:, 0].max() == pytest.approx(x + SIDE / 2 + LENGTH, abs=0.003)
    section = to_trimesh(after).section(plane_origin=[x + SIDE / 2 + 0.02, y, 0.0], plane_normal=[1.0, 0.0, 0.0])
    assert np.ptp(section.vertices, axis=0)[1:] == pytest.approx([2 * RADIUS, 2 * RADIUS], abs=0.002)


@pytest.mark.parametrize("name", ["stripe", "shadow", "bare"])
def test_what_lies_on_the_table_is_no_part(name: str) -> None:
    before, after = shape(name).mesh, found()[name].mesh
    assert after.vertices.shape == before.vertices.shape
    assert (after.vertices == before.vertices).all()


def changed(solids: list[trimesh.Trimesh], names: list[str], poses: list[FloatArray]) -> list[bool]:
    views = pictures(solids, poses, print_on_it=False)
    shapes = [shape(name) for name in names]
    return [a is not b for a, b in zip(with_thin_parts(views, *bench(), shapes, SETTINGS), shapes, strict=True)]


def test_a_bar_between_two_things_belongs_to_neither() -> None:
    (x, y), (end, _) = PLACES["rod"], PLACES["bare"]
    solids = [block("rod"), block("bare"), rod([x, y, HEIGHT], [end, y, HEIGHT])]
    assert changed(solids, ["rod", "bare"], orbit(16)) == [False, False]


def test_a_rod_that_touches_nothing_is_left() -> None:
    x, y = PLACES["rod"]
    away = [x + SIDE / 2 + 0.03, y, HEIGHT]
    assert changed([block("rod"), rod(away, [away[0] + LENGTH, y, HEIGHT])], ["rod"], orbit(16)) == [False]


def test_pictures_from_one_side_do_not_tell() -> None:
    poses = [
        looking(np.array([0.1 * np.sin(angle), -0.5, 0.4]), np.array([0.0, 0.0, 0.02]))
        for angle in np.linspace(-1.2, 1.2, 12)
    ]
    assert changed([block("rod"), rod_of("rod")], ["rod"], poses) == [False]


def test_few_pictures_or_no_wish_change_nothing() -> None:
    views = pictures([block("rod"), rod_of("rod")], orbit(5))
    shapes = [shape("rod")]
    assert with_thin_parts(views, *bench(), shapes, SETTINGS) == shapes
    assert with_thin_parts(2 * views, *bench(), shapes, ThinPartSettings(find=False)) == shapes
    assert with_thin_parts(2 * views, *bench(), [], SETTINGS) == []


def test_a_tube_is_closed_and_has_the_volume_of_its_circles() -> None:
    bent = np.column_stack([np.linspace(0, 0.1, 50), 0.01 * np.linspace(0, 1, 50) ** 2, np.full(50, 0.02)])
    mesh = tube_mesh(Rod(bent, 0.004, 1.0))
    assert watertight(mesh)
    assert to_trimesh(mesh).volume == pytest.approx(np.pi * 0.004**2 * 0.1, rel=0.03)
