from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh

from reconstruction.mesh import to_trimesh
from reconstruction.scene import Scene, SceneObject, Support
from simulation import repair
from simulation.check import check_scene
from simulation.settle import SettleSettings, settle
from simulation.world import pose_from_quaternion
from tests.small_scenes import TABLE, ball, bowl, box, cylinder, l_shape, lifted, lying, noisy_base, scene_of, thing


def raw_check(folder: Path, scene: Scene, ground: bool) -> tuple[float, float, float]:
    """Worst drift (mm, degrees) and overlap (mm) by PyBullet alone, as somebody else would write it."""
    import pybullet as p
    import pybullet_data
    from scipy.spatial.transform import Rotation

    p.connect(p.DIRECT)
    try:
        p.setPhysicsEngineParameter(enableFileCaching=0)
        p.setGravity(0, 0, -9.81)
        if ground:
            others = [p.loadURDF(f"{pybullet_data.getDataPath()}/plane.urdf")]
        else:
            others = [p.loadURDF(str(folder / f"supports/{entry.name}.urdf")) for entry in scene.supports]
        bodies = []
        for item in reversed(scene.objects):  # another order than ours
            quat = Rotation.from_matrix(item.scene_from_object[:3, :3]).as_quat()
            urdf = str(folder / f"objects/{item.name}/object.urdf")
            bodies.append(p.loadURDF(urdf, item.scene_from_object[:3, 3], quat))
        pairs = [(a, b) for k, a in enumerate(bodies) for b in [*bodies[k + 1 :], *others]]
        overlap = max((-row[8] for a, b in pairs for row in p.getClosestPoints(a, b, 0.01)), default=0.0)
        before = [p.getBasePositionAndOrientation(body) for body in bodies]
        for _ in range(1200):
            p.stepSimulation()
        after = [p.getBasePositionAndOrientation(body) for body in bodies]
    finally:
        p.disconnect()
    moved = max(np.linalg.norm(np.subtract(a[0], b[0])) for a, b in zip(before, after, strict=True))
    turned = max(
        (Rotation.from_quat(a[1]).inv() * Rotation.from_quat(b[1])).magnitude()
        for a, b in zip(before, after, strict=True)
    )
    return float(moved) * 1000, float(np.degrees(turned)), overlap * 1000


def assert_at_rest(scene: Scene, folder: Path) -> None:
    scene.save(folder)
    for ground in (False, True):
        moved_mm, turned_deg, overlap_mm = raw_check(folder, scene, ground)
        assert moved_mm <= 3, ground
        assert turned_deg <= 2, ground
        assert overlap_mm <= 1, ground
    for item in scene.objects:
        for part in item.convex_parts:
            mesh = to_trimesh(part)
            assert mesh.is_watertight
            assert trimesh.convex.convex_hull(part.vertices).volume == pytest.approx(mesh.volume, rel=1e-3)


def error(scene: Scene, name: str) -> tuple[float, float]:
    record = scene.extra["settling"][name]
    return record["moved_mm"], record["turned_deg"]


def by_name(scene: Scene) -> dict[str, SceneObject]:
    return {item.name: item for item in scene.objects}


def random_scene(seed: int) -> Scene:
    """A table as a phone sees it: noisy bases, sunk by 2 mm or hovering by 5, stacks, neighbours 4 mm in each other."""
    rng = np.random.default_rng(seed)
    cells = [(x, y) for x in (-0.4, -0.13, 0.13, 0.4) for y in (-0.4, -0.13, 0.13, 0.4)]
    rng.shuffle(cells)
    items: list[SceneObject] = []
    for number, (x, y) in enumerate(cells[: rng.integers(4, 8)]):
        items += _random_group(f"o{number}", x, y, rng)
    return scene_of(*items)


def _random_group(name: str, x: float, y: float, rng: np.random.Generator) -> list[SceneObject]:
    kind, parts = rng.integers(6), None
    if kind == 0:
        solid = box(*rng.uniform(0.03, 0.12, 3))
    elif kind == 1:
        solid = cylinder(rng.uniform(0.015, 0.05), rng.uniform(0.03, 0.2))
    elif kind == 2:
        solid = ball(rng.uniform(0.015, 0.05))
    elif kind == 3:
        solid, parts = l_shape(0.12, rng.uniform(0.02, 0.05), rng.uniform(0.02, 0.1))
    elif kind == 4:
        solid = lying(rng.uniform(0.015, 0.04), rng.uniform(0.05, 0.15))
    else:
        solid, parts = bowl(rng.uniform(0.05, 0.08), rng.uniform(0.03, 0.1), 0.004)
    mass_kg, turned = float(rng.uniform(0.02, 1)), float(rng.uniform(0, 360))
    item = thing(name, solid, (x, y, 0), parts=parts, turned_deg=turned, mass_kg=mass_kg)
    if kind in (0, 1, 3):
        item = noisy_base(item, rng)
    item = lifted(item, (0, 0, float(rng.uniform(-0.002, 0.005))))
    group = [item]
    if kind in (0, 1) and rng.random() < 0.5:
        wide = 0.9 * float(solid.extents[:2].min())
        top = box(*rng.uniform(0.4 * wide, 0.9 * wide, 2), rng.uniform(0.3, 1) * wide)
        on_top = thing(f"{name}_top", top, (x, y, solid.bounds[1, 2]), turned_deg=turned, mass_kg=mass_kg)
        group.append(lifted(noisy_base(on_top, rng, 0.001), (0, 0, float(rng.uniform(-0.002, 0.003)))))
    if kind == 5 and rng.random() < 0.6:
        inside = thing(f"{name}_in", ball(0.02), (x + 0.01, y, 0.004), mass_kg=0.1)
        group.append(lifted(inside, (0, 0, float(rng.uniform(-0.002, 0.003)))))
    if kind in (0, 1) and rng.random() < 0.6:
        edge = max(float(repair.in_scene(part, item)[:, 0].max()) for part in item.convex_parts)
        beside = (edge + 0.015 - float(rng.uniform(0, 0.004)), y, 0.0)
        group.append(noisy_base(thing(f"{name}_beside", box(0.03, 0.04, 0.05), beside), rng))
    return group


@pytest.mark.parametrize("seed", range(100, 105))
def test_any_table_comes_to_rest_where_it_was_seen(seed: int, tmp_path: Path) -> None:
    settled = settle(random_scene(seed))
    assert_at_rest(settled, tmp_path)
    assert settled.warnings == ()
    for name in by_name(settled):
        moved_mm, turned_deg = error(settled, name)
        assert moved_mm < 7.5
        assert turned_deg < 4


def test_what_already_stands_is_left_alone(tmp_path: Path) -> None:
    scene = scene_of(
        thing("box", box(0.06, 0.04, 0.1)),
        thing("can", lying(0.033, 0.12), (0.2, 0, 0)),
        thing("fruit", ball(0.035), (-0.2, 0, 0)),
        thing("plate", cylinder(0.1, 0.01), (0, 0.3, 0)),
    )
    settled = settle(scene)
    assert_at_rest(settled, tmp_path)
    for before, after in zip(scene.objects, settled.objects, strict=True):
        assert after.visual is before.visual
        assert after.convex_parts is before.convex_parts
        np.testing.assert_allclose(
            after.scene_from_object[:3, 3] - before.scene_from_object[:3, 3], [0, 0, 0.001], atol=1e-4
        )
        assert error(settled, after.name)[1] < 0.1


def test_a_mug_on_a_magazine_and_a_fruit_in_a_bowl(tmp_path: Path) -> None:
    solid, parts = bowl(0.07, 0.05, 0.005)
    mug, mug_parts = bowl(0.04, 0.09, 0.004)
    rng = np.random.default_rng(5)
    settled = settle(
        scene_of(
            noisy_base(thing("magazine", box(0.21, 0.28, 0.008), mass_kg=0.3), rng, 0.001),
            lifted(thing("mug", mug, (0.02, 0.03, 0.008), parts=mug_parts, mass_kg=0.35), (0, 0, -0.002)),
            thing("bowl", solid, (0.3, 0, 0), parts=parts, mass_kg=0.4),
            lifted(thing("fruit", ball(0.035), (0.3, 0, 0.005), mass_kg=0.15), (0.004, 0, 0.003)),
        )
    )
    assert_at_rest(settled, tmp_path)
    assert settled.warnings == ()
    objects = by_name(settled)
    assert 0.008 < repair.lowest(objects["mug"]) < 0.015
    assert 0.004 < repair.lowest(objects["fruit"]) < 0.011


def test_a_pea_does_not_fall_through_an_open_cup(tmp_path: Path) -> None:
    cup, parts = bowl(0.04, 0.09, 0.004)
    settled = settle(
        scene_of(thing("cup", cup, parts=parts), thing("pea", ball(0.004), (0.01, 0, 0.03), mass_kg=0.0005))
    )
    assert_at_rest(settled, tmp_path)
    low = repair.lowest(by_name(settled)["pea"])
    assert 0.004 < low < 0.009


def test_a_book_that_leans_on_a_box_still_leans(tmp_path: Path) -> None:
    book = thing("a_book", box(0.15, 0.02, 0.2), friction=0.8)
    tilt = pose_from_quaternion([0, 0, 0], [np.sin(np.radians(-10) / 2), 0, 0, np.cos(np.radians(10) / 2)])
    corners = book.visual.vertices @ tilt[:3, :3].T
    tilt[:3, 3] = [0, -corners[:, 1].max() - 0.0505, -corners[:, 2].min()]  # its top edge just touches the box
    tilt[1, 3] += 0.002
    book = replace(book, scene_from_object=tilt)
    heavy = thing("box", box(0.1, 0.1, 0.25), mass_kg=2.0)
    settled = settle(scene_of(book, heavy))
    assert_at_rest(settled, tmp_path)
    assert settled.warnings == ()
    assert error(settled, "a_book")[1] < 3
    assert error(settled, "box")[0] < 3  # hull margins


def test_a_wobbly_rod_gets_a_flat_base_within_the_noise(tmp_path: Path) -> None:
    bump = trimesh.convex.convex_hull(np.vstack([cylinder(0.012, 0.2, 24).vertices, [[0.006, 0.0, -0.002]]]))
    rod = lifted(thing("rod", bump), (0, 0, 0.001))
    settled = settle(scene_of(rod))
    assert_at_rest(settled, tmp_path)
    assert 0.2 < settled.extra["settling"]["rod"]["base_cut_mm"] <= 4
    assert error(settled, "rod")[1] < 1.5
    after = by_name(settled)["rod"]
    volume = [sum(to_trimesh(part).volume for part in item.convex_parts) for item in (rod, after)]
    assert volume[1] == pytest.approx(volume[0], rel=0.03)
    assert len(repair.base_outline(after, 1e-5)) >= 3


def test_a_centre_of_mass_beside_the_base_is_moved_over_it_and_recorded(tmp_path: Path) -> None:
    """The phone saw it stand, so the guess of what is inside must be off."""
    seen = repair.move_center(thing("lamp", box(0.06, 0.06, 0.12)), np.array([0.034, 0.0, 0.0]))
    settled = settle(scene_of(seen))
    assert_at_rest(settled, tmp_path)
    assert error(settled, "lamp")[1] < 2
    assert 4 < settled.extra["settling"]["lamp"]["center_shift_mm"] < 15
    after = by_name(settled)["lamp"]
    np.testing.assert_allclose(after.center_of_mass, 0)
    moved = after.visual.moved(after.scene_from_object).vertices - seen.visual.moved(seen.scene_from_object).vertices
    assert np.abs(moved).max() < 0.006  # only the centre moved, not the thing


def test_neighbours_in_each_other_are_parted_without_leaving_their_places(tmp_path: Path) -> None:
    row = [thing(f"o{k}", box(0.05, 0.05, 0.06), (0.047 * k, 0, 0)) for k in range(4)]
    settled = settle(scene_of(*row))
    assert_at_rest(settled, tmp_path)
    for item in settled.objects:
        assert error(settled, item.name)[0] < 6
        assert error(settled, item.name)[1] < 1


def test_a_table_ends_where_the_things_on_it_hide_it(tmp_path: Path) -> None:
    polygon = np.array([[-0.1, -0.1, 0], [0.1, -0.1, 0], [0.1, 0.1, 0], [-0.1, 0.1, 0]])
    small = Support("table", TABLE.plane, polygon)
    settled = settle(scene_of(thing("box", box(0.08, 0.08, 0.1), (0.12, 0, 0)), supports=(small,)))
    assert_at_rest(settled, tmp_path)
    widened = settled.supports[0].polygon
    assert widened[:, 0].max() == pytest.approx(0.16, abs=1e-3)
    assert widened[:, 0].min() == pytest.approx(-0.1)


def test_things_on_a_shelf_stay_there(tmp_path: Path) -> None:
    shelf = Support("shelf", np.array([0, 0, 1, -0.3]), TABLE.polygon * [0.3, 0.3, 0] + [0, 0.8, 0.3])
    on_shelf = replace(thing("cup", cylinder(0.03, 0.08), (0, 0.8, 0.3)), support="shelf")
    settled = settle(scene_of(thing("box", box(0.08, 0.08, 0.1)), on_shelf, supports=(TABLE, shelf)))
    settled.save(tmp_path)
    assert check_scene(tmp_path).passed
    assert settled.warnings == ()


def test_what_cannot_stand_is_said(tmp_path: Path) -> None:
    floating = lifted(thing("lost", box(0.05, 0.05, 0.05)), (0, 0, 0.2))
    settled = settle(scene_of(floating, thing("box", box(0.08, 0.08, 0.1), (0.3, 0, 0))))
    assert_at_rest(settled, tmp_path)
    assert len(settled.warnings) == 1
    assert "lost" in settled.warnings[0]
    assert error(settled, "box")[0] < 2


def test_twice_the_same_to_the_last_bit(tmp_path: Path) -> None:
    for number in range(2):
        settle(random_scene(104)).save(tmp_path / str(number))
    texts = [(tmp_path / str(number) / "scene.json").read_bytes() for number in range(2)]
    assert texts[0] == texts[1]
    for path in sorted((tmp_path / "0").rglob("*.obj")):
        assert path.read_bytes() == (tmp_path / "1" / path.relative_to(tmp_path / "0")).read_bytes()


def test_nothing_to_settle() -> None:
    empty = scene_of()
    assert settle(empty) is empty
    without = replace(thing("box", box(0.05, 0.05, 0.05)), convex_parts=())
    assert settle(scene_of(without)).objects == (without,)


def test_without_a_support_nothing_is_lost() -> None:
    settled = settle(scene_of(thing("box", box(0.05, 0.05, 0.05)), supports=()), SettleSettings(watch_s=1.0))
    assert len(settled.objects) == 1
    assert settled.objects[0].scene_from_object[2, 3] == pytest.approx(0.026, abs=1e-4)


def test_progress_rises_to_the_end() -> None:
    told: list[float] = []
    settle(scene_of(thing("box", box(0.05, 0.05, 0.05))), progress=lambda fraction, message: told.append(fraction))
    assert told == sorted(told)
    assert told[-1] == 1.0


def test_clipping_a_convex_part_keeps_its_volume_true() -> None:
    part = thing("box", box(0.1, 0.1, 0.1)).convex_parts[0]
    normal = np.array([1.0, 2.0, 3.0]) / np.sqrt(14)
    halves = [repair.clip(part, normal, 0.01), repair.clip(part, -normal, -0.01)]
    volumes = [to_trimesh(half).volume for half in halves if half is not None]
    assert len(volumes) == 2
    assert sum(volumes) == pytest.approx(0.001, rel=1e-9)
    assert repair.clip(part, normal, -1.0) is part
    assert repair.clip(part, normal, 1.0) is None


def test_a_flat_base_is_told_from_a_round_one() -> None:
    rng = np.random.default_rng(1)
    assert repair.has_flat_base(noisy_base(thing("a", box(0.1, 0.1, 0.1)), rng, 0.0015))
    assert repair.has_flat_base(thing("a", cylinder(0.02, 0.1)))
    assert not repair.has_flat_base(thing("a", ball(0.035)))
    assert not repair.has_flat_base(thing("a", lying(0.033, 0.1)))
