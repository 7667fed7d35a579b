"""Convex parts: convex, of the right volume, cavities open, the same whatever the number of processes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import manifold3d
import numpy as np
import pytest
import trimesh

from reconstruction import coacd_process, decomposition
from reconstruction.convex import CutSettings, cut, fit_polytope, piece_of, solid_of
from reconstruction.decomposition import DecompositionSettings, Parts, convex_parts
from reconstruction.errors import OutputError
from reconstruction.mesh import Mesh, read_obj, to_trimesh, write_obj

Solid = manifold3d.Manifold


def cylinder(height: float, radius: float, top: float = -1.0, z: float = 0.0) -> Solid:
    return Solid.cylinder(height, radius, top, 40).translate([0.0, 0.0, z])


def ring(radius: float, tube: float) -> Solid:
    angle = np.linspace(0.0, 2.0 * np.pi, 12, endpoint=False)
    outline = np.stack([radius + tube * np.cos(angle), tube * np.sin(angle)], axis=1)
    return Solid.revolve(manifold3d.CrossSection([outline]), 36)


def mug() -> Solid:
    handle = ring(0.025, 0.005).rotate([90.0, 0.0, 0.0]).translate([0.043, 0.0, 0.048])
    body = cylinder(0.095, 0.04) - cylinder(0.1, 0.036, z=0.005)
    return body + (handle - cylinder(0.095, 0.04))


def bowl() -> Solid:
    shell = Solid.sphere(0.07, 40) - Solid.sphere(0.066, 40)
    return shell.trim_by_plane([0.0, 0.0, -1.0], 0.0)


def open_box() -> Solid:
    return Solid.cube([0.15, 0.1, 0.08]) - Solid.cube([0.142, 0.092, 0.08]).translate([0.004, 0.004, 0.004])


SOLIDS = {
    "mug": mug,
    "bowl": bowl,
    "open_box": open_box,
    "ring": lambda: ring(0.05, 0.012),
    "l_shape": lambda: Solid.cube([0.1, 0.04, 0.03]) + Solid.cube([0.03, 0.1, 0.03]),
    "ball": lambda: Solid.sphere(0.035, 40),
    "plate": lambda: Solid.cube([0.2, 0.14, 0.008]),
    "screwdriver": lambda: (cylinder(0.1, 0.015, 0.012) + cylinder(0.12, 0.0035, z=0.095)).rotate([0.0, 90.0, 0.0]),
}


def as_mesh(solid: Solid) -> Mesh:
    stored = solid.to_mesh64()
    return Mesh(np.array(stored.vert_properties[:, :3]), np.array(stored.tri_verts, dtype=np.int64))


@cache
def found(name: str) -> tuple[Solid, Parts]:
    solid = SOLIDS[name]()
    return solid, convex_parts([as_mesh(solid)])[0]


def union(parts: Parts) -> Solid:
    hulls = [Solid.hull_points(part.vertices) for part in parts.parts]
    return Solid.batch_boolean(hulls, manifold3d.OpType.Add)


@pytest.mark.parametrize("name", sorted(SOLIDS))
def test_union_has_the_volume_and_every_part_is_convex(name: str) -> None:
    solid, parts = found(name)
    joined = union(parts)
    assert joined.volume() == pytest.approx(solid.volume(), rel=0.05)
    assert parts.volume_error == pytest.approx(joined.volume() / solid.volume() - 1.0, abs=2e-3)
    assert (joined ^ solid).volume() > 0.88 * solid.volume()
    assert len(parts.parts) <= DecompositionSettings().max_parts
    for part in parts.parts:
        shape = to_trimesh(part)
        assert shape.is_watertight
        assert shape.is_convex
        assert len(part.vertices) <= 64


@pytest.mark.parametrize("name", sorted(SOLIDS))
def test_parts_do_not_stick_out(name: str) -> None:
    solid, parts = found(name)
    points = np.vstack([part.vertices for part in parts.parts])
    whole = as_mesh(solid).vertices
    assert (points.min(axis=0) > whole.min(axis=0) - 1.2e-3).all()
    assert (points.max(axis=0) < whole.max(axis=0) + 1.2e-3).all()


@pytest.mark.parametrize(
    ("name", "center", "radius"),
    [
        ("mug", (0.0, 0.0, 0.025), 0.015),
        ("mug", (0.025, 0.0, 0.012), 0.004),  # a pea in the corner
        ("mug", (0.052, 0.0, 0.048), 0.006),  # a finger in the handle
        ("bowl", (0.0, 0.0, -0.03), 0.03),
        ("open_box", (0.075, 0.05, 0.03), 0.02),
        ("ring", (0.0, 0.0, 0.0), 0.03),
    ],
)
def test_cavities_and_handles_stay_open(name: str, center: tuple[float, float, float], radius: float) -> None:
    ball = Solid.sphere(radius, 24).translate(list(center))
    assert (ball ^ union(found(name)[1])).volume() < 1e-3 * ball.volume()


def test_a_cup_is_closed_below() -> None:
    rod = cylinder(0.1, 0.002, z=-0.05)
    assert (rod ^ union(found("mug")[1])).volume() > 0.5 * 0.005 * np.pi * 0.002**2


@pytest.mark.parametrize("name", ["ball", "plate"])
def test_what_is_convex_gets_one_part(name: str) -> None:
    parts = found(name)[1]
    assert (len(parts.parts), parts.method) == (1, "hull")


def test_few_parts_where_few_do() -> None:
    assert len(found("l_shape")[1].parts) == 2
    assert len(found("open_box")[1].parts) <= 8
    assert len(found("screwdriver")[1].parts) <= 3


def rough(mesh: Mesh, noise_m: float, seed: int) -> Mesh:
    """The mesh with its vertices moved along their normals."""
    shift = np.random.default_rng(seed).uniform(-noise_m, noise_m, len(mesh.vertices))
    return Mesh(mesh.vertices + to_trimesh(mesh).vertex_normals * shift[:, None], mesh.faces)


@pytest.mark.parametrize("name", ["mug", "l_shape"])
def test_noise_does_not_make_parts_fat(name: str) -> None:
    clean = SOLIDS[name]()
    mesh = rough(as_mesh(clean.refine_to_length(0.008)), 0.0007, 1)
    parts = convex_parts([mesh])[0]
    joined = union(parts)
    assert joined.volume() == pytest.approx(to_trimesh(mesh).volume, rel=0.05)
    assert (joined ^ clean).volume() > 0.85 * clean.volume()


def test_the_same_whatever_the_number_of_processes(tmp_path: Path) -> None:
    meshes = [as_mesh(SOLIDS[name]()) for name in ("l_shape", "screwdriver", "ball")]
    alone = convex_parts(meshes)
    with ThreadPoolExecutor(2) as threads:
        for other in (convex_parts(meshes, jobs=2), convex_parts(meshes, executor=threads)):
            assert [len(parts.parts) for parts in other] == [len(parts.parts) for parts in alone]
            for mine, theirs in zip(alone, other, strict=True):
                for a, b in zip(mine.parts, theirs.parts, strict=True):
                    assert a.vertices.tobytes() == b.vertices.tobytes()
                    assert a.faces.tobytes() == b.faces.tobytes()


def test_cache_answers_and_survives_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mesh = as_mesh(SOLIDS["l_shape"]())
    first = convex_parts([mesh], cache_folder=tmp_path)[0]
    (entry,) = tmp_path.glob("*")
    assert entry.suffix == ".npz"
    calls: list[int] = []
    real = decomposition.decompose

    def counted(mesh: Mesh, settings: DecompositionSettings) -> Parts:
        calls.append(1)
        return real(mesh, settings)

    monkeypatch.setattr(decomposition, "decompose", counted)
    again = convex_parts([mesh], cache_folder=tmp_path)[0]
    assert not calls
    assert [part.vertices.tobytes() for part in again.parts] == [part.vertices.tobytes() for part in first.parts]
    assert (again.volume_error, again.method, again.notes) == (first.volume_error, first.method, first.notes)
    entry.write_bytes(entry.read_bytes()[:100])
    convex_parts([mesh], cache_folder=tmp_path)
    assert len(calls) == 1
    convex_parts([mesh], DecompositionSettings(max_vertices=32), cache_folder=tmp_path)
    assert len(calls) == 2


def test_a_cache_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError) as caught:
        convex_parts([as_mesh(SOLIDS["plate"]())], cache_folder=tmp_path / "file")
    assert "file" in caught.value.message


def test_coacd_runs_beside_and_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    settings = DecompositionSettings(method="coacd")
    parts = convex_parts([as_mesh(SOLIDS["l_shape"]())], settings)[0]
    assert (parts.method, len(parts.parts)) == ("coacd", 2)
    assert abs(parts.volume_error) < 0.05
    assert capfd.readouterr() == ("", "")


def test_coacd_that_hangs_or_dies_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    mesh = as_mesh(SOLIDS["l_shape"]())
    late = convex_parts([mesh], DecompositionSettings(method="coacd", coacd_time_limit_s=0.01))[0]
    assert late.method == "cuts"
    assert "0.01 s" in late.notes[0]
    monkeypatch.setattr(coacd_process.sys, "executable", "/bin/false")
    dead = convex_parts([mesh], DecompositionSettings(method="coacd"))[0]
    assert dead.method == "cuts"
    assert "status 1" in dead.notes[0]


@pytest.mark.parametrize(
    "mesh",
    [
        Mesh(np.random.default_rng(0).random((20, 3)), np.array([[0, 1, 2], [3, 4, 5]])),
        Mesh(np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]), np.array([[0, 1, 2]])),
        Mesh(np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]), np.array([[0, 1, 2], [0, 2, 3]])),
    ],
)
def test_a_mesh_that_is_not_closed_gets_one_hull_and_a_note(mesh: Mesh) -> None:
    parts = convex_parts([mesh])[0]
    assert len(parts.parts) == 1
    assert to_trimesh(parts.parts[0]).is_convex
    assert "not watertight" in parts.notes[0]


def test_parts_survive_being_written(tmp_path: Path) -> None:
    for number, part in enumerate(found("mug")[1].parts):
        write_obj(tmp_path / f"{number}.obj", part)
        assert to_trimesh(read_obj(tmp_path / f"{number}.obj")).is_convex


def test_a_solid_ball_inside_a_bubble_and_two_separate_balls() -> None:
    hollow = Solid.sphere(0.04, 32) - Solid.sphere(0.01, 16)
    assert len(convex_parts([as_mesh(hollow)])[0].parts) == 1
    pair = Solid.sphere(0.02, 32) + Solid.sphere(0.02, 32).translate([0.1, 0.0, 0.0])
    parts = convex_parts([as_mesh(pair)])[0]
    assert len(parts.parts) == 2
    assert abs(parts.volume_error) < 0.05


def test_pieces_tile_the_solid() -> None:
    solid = SOLIDS["l_shape"]()
    pieces = cut(solid, CutSettings())
    assert sum(piece.volume for piece in pieces) == pytest.approx(solid.volume(), rel=1e-6)


def test_a_fitted_polytope_has_the_volume_asked_for() -> None:
    piece = piece_of(Solid.sphere(0.05, 48))
    for target in (0.9, 1.0, 1.03):
        fit = fit_polytope(piece, 40, target)
        assert len(fit.vertices) <= 40
        assert trimesh.convex.convex_hull(fit.vertices).volume == pytest.approx(target * piece.volume, rel=0.03)


def test_nothing_to_do() -> None:
    assert convex_parts([]) == []
    assert solid_of(np.zeros((3, 3)), np.array([[0, 1, 2]])) is None
