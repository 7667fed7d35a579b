"""Mass properties against closed forms, and the interval that comes with every guess."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from reconstruction.errors import InputError
from reconstruction.material import MaterialSettings, Override, materials, physical_properties, shape_kind
from reconstruction.mesh import Mesh


def as_mesh(solid: trimesh.Trimesh, color: tuple[int, int, int] | None = None) -> Mesh:
    colors = None if color is None else np.tile(np.array(color, dtype=np.uint8), (len(solid.vertices), 1))
    return Mesh(np.array(solid.vertices), np.array(solid.faces, dtype=np.int64), colors=colors)


def cup(radius: float = 0.04, height: float = 0.09, wall: float = 0.004) -> Mesh:
    outer = trimesh.creation.cylinder(radius, height, sections=48)
    inner = trimesh.creation.cylinder(radius - wall, height, sections=48)
    inner.apply_translation([0.0, 0.0, wall])
    return as_mesh(trimesh.boolean.difference([outer, inner], engine="manifold"))


BODIES = {
    "box": trimesh.creation.box((0.2, 0.12, 0.08)),
    "cylinder": trimesh.creation.cylinder(0.03, 0.18),
    "ball": trimesh.creation.icosphere(subdivisions=3, radius=0.035),
    "plate": trimesh.creation.box((0.21, 0.15, 0.008)),
    "rod": trimesh.creation.cylinder(0.01, 0.2),
    "ring": trimesh.creation.torus(0.06, 0.015),
}
SOLID = Override(material="stone", mass_kg=2.0)


def test_solid_box_has_the_textbook_inertia() -> None:
    a, b, c = 0.2, 0.12, 0.08
    found = physical_properties(as_mesh(BODIES["box"]), override=Override(material="fruit", mass_kg=3.0))
    expected = 3.0 / 12.0 * np.diag([b * b + c * c, a * a + c * c, a * a + b * b])
    np.testing.assert_allclose(found.inertia, expected, rtol=0.03, atol=1e-12)
    assert found.volume_m3 == pytest.approx(a * b * c)


def test_solid_cylinder_and_ball() -> None:
    found = physical_properties(as_mesh(trimesh.creation.cylinder(0.03, 0.18, sections=256)), override=SOLID)
    across = 2.0 * (3 * 0.03**2 + 0.18**2) / 12.0
    np.testing.assert_allclose(np.diag(found.inertia), [across, across, 2.0 * 0.03**2 / 2.0], rtol=0.06)
    ball = physical_properties(as_mesh(trimesh.creation.icosphere(subdivisions=4, radius=0.05)), override=SOLID)
    np.testing.assert_allclose(ball.inertia, np.eye(3) * 0.4 * 2.0 * 0.05**2, rtol=0.05, atol=1e-9)


def test_hollow_ball_lies_between_solid_and_shell() -> None:
    ball = as_mesh(trimesh.creation.icosphere(subdivisions=4, radius=0.05))
    steel = physical_properties(ball, override=Override(material="steel", mass_kg=1.0))
    assert 0.4 * 0.05**2 < steel.inertia[0, 0] < 2.0 / 3.0 * 0.05**2
    assert (
        steel.inertia[0, 0] > physical_properties(ball, override=Override(material="stone", mass_kg=1.0)).inertia[0, 0]
    )


@pytest.mark.parametrize("name", sorted(BODIES))
def test_laws_of_inertia_and_interval(name: str) -> None:
    found = physical_properties(as_mesh(BODIES[name]))
    moments = np.linalg.eigvalsh(found.inertia)
    assert moments[0] > 0.0
    assert moments[0] + moments[1] >= moments[2] * (1.0 - 1e-9)
    np.testing.assert_array_equal(found.inertia, found.inertia.T)
    low, high = found.mass_interval_kg
    assert low < found.mass_kg < high
    assert high > 1.3 * low  # nobody knows a mass from its looks to 30 %
    assert found.material in materials()


@pytest.mark.parametrize("seed", range(4))
def test_moving_the_mesh_moves_centre_and_turns_inertia(seed: int) -> None:
    pose = trimesh.transformations.random_rotation_matrix(np.random.default_rng(seed).random(3))
    pose[:3, 3] = [0.4, -0.2, 1.1]
    mesh = cup()
    here, there = physical_properties(mesh, override=SOLID), physical_properties(mesh.moved(pose), override=SOLID)
    np.testing.assert_allclose(there.center_of_mass, pose[:3, :3] @ here.center_of_mass + pose[:3, 3], atol=1e-9)
    np.testing.assert_allclose(there.inertia, pose[:3, :3] @ here.inertia @ pose[:3, :3].T, atol=1e-9)


def test_size_scales_inertia_with_its_square() -> None:
    small, large = as_mesh(BODIES["ring"]), as_mesh(BODIES["ring"].copy().apply_scale(1.5))
    override = Override(material="fruit", mass_kg=1.0)
    np.testing.assert_allclose(
        physical_properties(large, override=override).inertia,
        2.25 * physical_properties(small, override=override).inertia,
        rtol=0.02,
        atol=1e-12,
    )


def test_known_things_weigh_what_they_weigh() -> None:
    low, high = physical_properties(cup()).mass_interval_kg
    assert low < 0.30 < high  # a stoneware mug
    low, high = physical_properties(as_mesh(trimesh.creation.box((0.165, 0.24, 0.012)))).mass_interval_kg
    assert low < 0.30 < high  # a magazine of that size
    low, high = physical_properties(as_mesh(trimesh.creation.icosphere(subdivisions=3, radius=0.0375))).mass_interval_kg
    assert low < 0.18 < high  # an apple


def test_words_for_shapes() -> None:
    assert shape_kind(cup()) == "open"
    assert shape_kind(as_mesh(BODIES["plate"])) == "flat"
    assert shape_kind(as_mesh(BODIES["rod"])) == "long"
    assert shape_kind(as_mesh(BODIES["ball"])) == "round"
    assert shape_kind(as_mesh(BODIES["box"])) == "block"
    assert shape_kind(as_mesh(trimesh.creation.cylinder(0.033, 0.2))) in {"bottle", "long"}


def test_colour_shifts_the_odds_and_can_be_ignored() -> None:
    box = BODIES["box"]
    brown = physical_properties(as_mesh(box, (150, 110, 70)))
    grey = physical_properties(as_mesh(box, (200, 200, 200)))
    assert brown.mass_kg != grey.mass_kg
    deaf = MaterialSettings(color_weight=0.0)
    assert physical_properties(as_mesh(box, (150, 110, 70)), deaf).mass_kg == pytest.approx(
        physical_properties(as_mesh(box), deaf).mass_kg
    )


def test_the_users_word_wins() -> None:
    found = physical_properties(cup(), override=Override(0.333, "steel", 0.9, 0.05))
    assert (found.mass_kg, found.mass_interval_kg) == (0.333, (0.333, 0.333))
    assert (found.material, found.friction, found.restitution) == ("steel", 0.9, 0.05)
    assert physical_properties(cup(), MaterialSettings(default_material="wood")).material == "wood"


@pytest.mark.parametrize(
    "override",
    [Override(material="unobtainium"), Override(mass_kg=-1.0), Override(mass_kg=float("nan")), Override(friction=-0.1)],
)
def test_impossible_overrides_are_refused(override: Override) -> None:
    with pytest.raises(InputError) as caught:
        physical_properties(cup(), override=override)
    assert caught.value.remedy


def test_a_mesh_without_volume_is_refused() -> None:
    flat = Mesh(np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]), np.array([[0, 1, 2], [0, 2, 1]]))
    with pytest.raises(InputError):
        physical_properties(flat)
    with pytest.raises(InputError):
        physical_properties(Mesh(np.zeros((0, 3)), np.zeros((0, 3), dtype=np.int64)))


def test_table_is_in_order() -> None:
    assert len(materials()) >= 12
    for name, row in materials().items():
        for triple in (row.density_kg_m3, row.wall_m, row.fill):
            assert triple[0] <= triple[1] <= triple[2], name
        assert 0.0 <= row.restitution <= 1.0
        assert 0.0 < row.friction < 2.0
