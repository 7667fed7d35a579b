"""Procedural things: closed, of true size, hollow where they should be, at rest on the table, believable in weight."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import trimesh
from scipy.spatial import ConvexHull

from reconstruction.mesh import Mesh, to_trimesh
from simulation.household import KINDS, furniture, make
from simulation.household.paint import single
from simulation.household.solids import difference, lathe, placed, rounded_box, tube, union, volume_m3
from simulation.virtual_world import VirtualWorld, overlap_m3, random_world, room_world, sample_world

RED, BLUE = (np.full((4, 4, 3), color, dtype=np.uint8) for color in ((255, 0, 0), (0, 0, 255)))


@cache
def made(kind: str, seed: int) -> Mesh:
    """A thing of that kind; made once for all tests."""
    return KINDS[kind](np.random.default_rng(seed))


ROOT = Path(__file__).resolve().parents[2]
MATERIALS = json.loads((ROOT / "resources" / "materials.json").read_text(encoding="utf-8"))["materials"]
OPEN = {"mug": 0.1, "cup": 0.1, "bowl": 0.2, "jug": 0.1, "tray": 0.2, "plate": 0.5}


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("seed", [1, 2])
def test_every_kind_is_one_closed_body_of_household_size(kind: str, seed: int) -> None:
    solid = to_trimesh(made(kind, seed))
    assert solid.is_watertight
    assert solid.is_winding_consistent
    assert solid.volume > 0
    assert solid.body_count == 1
    assert 0.03 <= solid.extents.max() <= 0.26
    assert solid.extents.min() >= 0.0079
    assert abs(solid.vertices[:, 2].min()) < 1e-9


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_masses_are_those_of_a_household(kind: str) -> None:
    thing = make(kind, np.random.default_rng(1))
    assert 0.02 < thing.mass_kg < 1.5
    assert thing.material in MATERIALS


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_is_textured_with_a_picture(kind: str) -> None:
    mesh = made(kind, 1)
    assert mesh.texture is not None
    assert mesh.corner_uv is not None
    assert mesh.corner_uv.shape == (len(mesh.faces), 3, 2)
    assert mesh.corner_uv.min() >= 0
    assert mesh.corner_uv.max() <= 1
    assert len(np.unique(mesh.texture.reshape(-1, 3), axis=0)) > 8


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_same_chance_makes_the_same_thing(kind: str) -> None:
    first, second, other = made(kind, 1), KINDS[kind](np.random.default_rng(1)), made(kind, 2)
    assert np.array_equal(first.vertices, second.vertices)
    assert np.array_equal(first.texture, second.texture)
    assert first.texture.shape != other.texture.shape or not np.array_equal(first.texture, other.texture)


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("seed", [1, 2])
def test_centre_of_mass_lies_over_what_touches_the_table(kind: str, seed: int) -> None:
    mesh = made(kind, seed)
    foot = mesh.vertices[mesh.vertices[:, 2] < 0.0006][:, :2]
    edges = ConvexHull(foot).equations
    assert (edges[:, :2] @ to_trimesh(mesh).center_mass[:2] + edges[:, 2] < 0).all()


@pytest.mark.parametrize("kind", sorted(OPEN))
@pytest.mark.parametrize("seed", [1, 2])
def test_open_vessels_hold_a_pea(kind: str, seed: int) -> None:
    solid = to_trimesh(made(kind, seed))
    middle = _axis(solid)
    hits, _ = _hits(solid, np.array([*middle, 0.5]), np.array([0.0, 0.0, -1.0]))
    floor = hits[:, 2].max()
    assert 0.003 <= floor <= 0.008
    assert floor < OPEN[kind] * solid.extents[2]


@pytest.mark.parametrize("kind", ["mug", "cup", "bowl", "jug", "tray"])
@pytest.mark.parametrize("seed", [1, 2])
def test_walls_are_three_to_five_millimetres_thick(kind: str, seed: int) -> None:
    solid = to_trimesh(made(kind, seed))
    start = np.array([*_axis(solid), 0.6 * solid.extents[2]])
    hits, faces = _hits(solid, start, np.array([0.0, 1.0, 0.0]))
    nearest = np.argsort(np.linalg.norm(hits - start, axis=1))
    gap = hits[nearest[1]] - hits[nearest[0]]
    thickness = abs(gap @ solid.face_normals[faces[nearest[0]]])
    assert 0.0025 < thickness < 0.0056


def _hits(solid: trimesh.Trimesh, start: np.ndarray, direction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where a ray passes through a mesh and through which faces (Möller & Trumbore 1997)."""
    a, b, c = solid.triangles.transpose(1, 0, 2)
    across = np.cross(direction, c - a)
    scale = np.einsum("ij,ij->i", b - a, across)
    scale[np.abs(scale) < 1e-15] = np.inf  # parallel to the ray
    u = np.einsum("ij,ij->i", start - a, across) / scale
    turned = np.cross(start - a, b - a)
    v = turned @ direction / scale
    reach = np.einsum("ij,ij->i", c - a, turned) / scale
    faces = np.flatnonzero((u >= 0) & (v >= 0) & (u + v <= 1) & (reach > 0))
    _, first = np.unique(reach[faces].round(7), return_index=True)  # an edge is hit once, not once a face
    faces = faces[first]
    return start + reach[faces, None] * direction, faces


def _axis(solid: trimesh.Trimesh) -> np.ndarray:
    """Middle of a vessel: of its foot, for a handle shifts the bounding box."""
    foot = solid.vertices[solid.vertices[:, 2] < 0.0005]
    return (foot[:, :2].min(axis=0) + foot[:, :2].max(axis=0)) / 2


def test_lathe_of_a_rectangle_is_a_prism_that_nears_the_cylinder() -> None:
    profile = np.array([[0.0, 0.0], [0.03, 0.0], [0.03, 0.1], [0.0, 0.1]])
    sides = 60
    prism = sides / 2 * np.sin(2 * np.pi / sides) * 0.03**2 * 0.1
    assert volume_m3(lathe(profile, single(np.ones(3)), sides)) == pytest.approx(prism, rel=1e-9)


def test_lathe_of_a_closed_profile_is_a_ring() -> None:
    profile = np.array([[0.03, 0.0], [0.05, 0.0], [0.05, 0.02], [0.03, 0.02], [0.03, 0.0]])
    ring = to_trimesh(lathe(profile, single(np.ones(3))))
    assert ring.is_watertight
    assert ring.euler_number == 0


def test_rounded_box_has_its_size_and_loses_only_its_edges() -> None:
    size, radius = np.array([0.1, 0.06, 0.04]), 0.005
    box = rounded_box(size, radius, {"*": RED}, steps=8)
    assert np.allclose(np.ptp(box.vertices, axis=0), size)
    a, b, c = size - 2 * radius
    faces = 2 * radius * (a * b + b * c + c * a)
    steiner = a * b * c + faces + np.pi * radius**2 * (a + b + c) + 4 / 3 * np.pi * radius**3
    assert volume_m3(box) == pytest.approx(steiner, rel=1e-3)


def test_pictures_on_a_box_are_not_mirrored() -> None:
    box = rounded_box(np.array([0.1, 0.06, 0.04]), 0.005, {"*": RED})
    assert box.corner_uv is not None
    a, b, c = (box.corner_uv[:, k].astype(np.float64) for k in range(3))
    turn = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
    assert (turn > 0).all()


def test_tube_is_closed_and_as_large_as_its_cross_section_says() -> None:
    curve = np.column_stack([np.linspace(0, 0.2, 9), np.zeros(9), np.zeros(9)])
    rod = tube(curve, np.full(9, 0.01), RED, segments=40)
    assert to_trimesh(rod).is_watertight
    assert volume_m3(rod) == pytest.approx(20 * np.sin(2 * np.pi / 40) * 0.01**2 * 0.2, rel=1e-6)


def test_booleans_keep_closed_and_each_part_its_colour() -> None:
    first = rounded_box(np.full(3, 0.04), 0.002, {"*": RED})
    second = placed(rounded_box(np.full(3, 0.04), 0.002, {"*": BLUE}), (0.02, 0.011, 0.007))
    joined, cut = union(first, second), difference(first, second)
    shared = overlap_m3(first, second)
    assert to_trimesh(joined).is_watertight
    assert to_trimesh(cut).is_watertight
    assert volume_m3(joined) == pytest.approx(volume_m3(first) + volume_m3(second) - shared, rel=1e-6)
    assert volume_m3(cut) == pytest.approx(volume_m3(first) - shared, rel=1e-6)
    centres = joined.vertices[joined.faces].mean(axis=1)
    colors = _face_colors(joined)
    assert (colors[centres[:, 0] < -0.005] == (255, 0, 0)).all()
    assert (colors[centres[:, 0] > 0.025] == (0, 0, 255)).all()


def _face_colors(mesh: Mesh) -> np.ndarray:
    assert mesh.texture is not None
    assert mesh.corner_uv is not None
    height, width = mesh.texture.shape[:2]
    u, v = mesh.corner_uv.mean(axis=1).T
    return mesh.texture[((1 - v) * height).astype(int), (u * width).astype(int)]


def _touching_pairs(world: VirtualWorld, gap_m: float) -> int:
    import manifold3d

    solids = [
        manifold3d.Manifold(manifold3d.Mesh64(mesh.vertices, mesh.faces.astype(np.uint64)))
        for mesh in (item.world_mesh for item in world.objects if item.support == "table")
    ]
    pairs = [(a, b) for number, a in enumerate(solids) for b in solids[:number]]
    return sum(a.min_gap(b, 0.01) < gap_m for a, b in pairs)


def _deepest_overlap_m3(world: VirtualWorld) -> float:
    meshes = [item.world_mesh for item in world.objects]
    return max(overlap_m3(a, b) for number, a in enumerate(meshes) for b in meshes[:number])


@pytest.mark.parametrize(("seed", "hard"), [(0, False), (1, False), (2, True), (3, True)])
def test_random_worlds_hold_what_was_asked_without_intersections(seed: int, hard: bool) -> None:
    rng = np.random.default_rng(seed)
    world = random_world(rng, 9, touching=hard, stacked=hard)
    names = [item.name for item in world.objects]
    assert len(set(names)) == 9
    assert _deepest_overlap_m3(world) < 1e-10
    carried = [item for item in world.objects if item.support != "table"]
    assert bool(carried) == hard
    assert {item.support for item in carried} <= set(names)
    assert _touching_pairs(world, 0.005) == 0 if not hard else _touching_pairs(world, 0.001) > 0


def test_things_lie_on_the_table_and_not_beside_it() -> None:
    for seed in range(4):
        world = random_world(np.random.default_rng(seed), 8)
        tables = [to_trimesh(mesh).bounds for mesh in world.background if abs(mesh.vertices[:, 2].max()) < 1e-9]
        low, high = min(tables, key=lambda bounds: -np.prod(bounds[1, :2] - bounds[0, :2]))
        for item in world.objects:
            x, y = item.world_from_object[:2, 3]
            assert low[0] < x < high[0]
            assert low[1] < y < high[1]
            assert abs(item.world_mesh.vertices[:, 2].min()) < 1e-6


def test_sample_desk_shows_each_kind_the_readme_names_and_nothing_intersects() -> None:
    world = sample_world()
    kinds = {item.thing.kind for item in world.objects}
    assert {"mug", "bowl", "box", "bottle", "screwdriver", "banana", "book"} <= kinds
    assert _deepest_overlap_m3(world) < 1e-10
    assert _touching_pairs(world, 0.001) == 1
    supports = {item.name: item.support for item in world.objects}
    assert supports["mug_1"] == "magazine_1"
    assert supports["apple_1"] == "bowl_1"


def test_room_has_things_on_several_supports() -> None:
    world = room_world(np.random.default_rng(1), 16)
    assert {"table", "shelf_2", "floor"} <= {item.support for item in world.objects}
    assert len(world.objects) == 16
    for item in world.objects:
        if item.support == "floor":
            assert item.world_mesh.vertices[:, 2].min() == pytest.approx(-furniture.TABLE_HEIGHT_M)
