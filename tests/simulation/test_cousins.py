"""Cousins: valid, reproducible, spread over their ranges, and still of their kind."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from scipy import stats

from reconstruction.errors import InputError, ReconstructionError, UsageError
from reconstruction.scene import Scene, Support
from simulation.bank import AS_SCANNED, Bank, Wardrobe, build, scanned_groups
from simulation.check import check_scene
from simulation.cousin_pictures import contact_sheet, picture
from simulation.cousins import (
    Cousin,
    CousinSettings,
    dress,
    scene_key,
    wardrobe_of,
)
from simulation.draw import CHUNK, Draw, chunks, draw_some
from simulation.family import Family
from simulation.forms import in_scene, outline, recolored, reshaped
from simulation.layout import Camera, Ground, gaps, looking_at, seen_shares, support_function
from simulation.pool import worker_pool
from simulation.stances import Rig, upright
from simulation.variations import VARIATIONS, spread, strengths_of, unit
from simulation.world import World
from tests.conftest import ROOT, environment
from tests.small_scenes import TABLE, ball, bowl, box, cylinder, scene_of, textured, thing

FULL = strengths_of(())


def desk() -> Scene:
    """A book with a can on it, a cup, a block and a ball."""
    cup, parts = bowl(0.04, 0.08, 0.005, 10)
    things = [
        thing("book", box(0.16, 0.22, 0.02), (-0.2, 0.0, 0.001)),
        thing("can", cylinder(0.03, 0.1, 16), (-0.2, 0.03, 0.023)),
        thing("cup", cup, (0.1, 0.1, 0.001), parts=parts),
        thing("block", box(0.05, 0.06, 0.09), (0.1, -0.15, 0.001)),
        thing("ball", ball(0.035), (0.3, 0.0, 0.001)),
    ]
    return scene_of(*(replace(item, visual=textured(item.visual)) for item in things))


def wardrobe_of_few() -> Wardrobe:
    return replace(wardrobe_of(desk(), 5, FULL), forms=6)


@pytest.fixture(scope="module")
def draw() -> Draw:
    wardrobe = wardrobe_of_few()
    return Draw(wardrobe, build(wardrobe.bare()), CousinSettings(count=40, seed=5))


@pytest.fixture(scope="module")
def family(draw: Draw) -> list[Cousin]:
    return [draw.cousin(index)[0] for index in range(40)]


def test_every_cousin_stands_still_in_a_world_of_its_own(draw: Draw, family: list[Cousin], tmp_path: Path) -> None:
    for cousin in family[:8]:
        folder = tmp_path / str(cousin.index)
        dress(cousin, draw.wardrobe).save(folder)
        report = check_scene(folder, 5.0)
        assert report.passed, (cousin.index, report.summary())


def test_one_cousin_after_another_moves_as_in_a_world_of_its_own(draw: Draw, family: list[Cousin]) -> None:
    def stirred(world: World) -> np.ndarray:
        for number, name in enumerate(world.names):
            world.throw(name, (0.3, 0.2 * number, 0.6), (1.0, 2.0, 3.0))
        world.step(240)
        return np.array(list(world.poses().values()))

    alone = []
    for cousin in family[:6]:
        with Family(draw.wardrobe) as one:
            one.load(cousin)
            alone.append(stirred(one.world))
    with Family(draw.wardrobe) as many:
        parts: dict[tuple[str, int], object] = {}
        for cousin, moved in [*zip(family, alone, strict=False)] * 2:
            scene = many.load(cousin)
            assert np.array_equal(stirred(many.world), moved), cousin.index
            for item in scene.objects:
                placed = cousin.objects[item.name]
                first = parts.setdefault((placed.source, placed.form), item.convex_parts)
                assert item.convex_parts is first, (cousin.index, item.name)


def test_a_hundred_cousins_leave_nothing_behind(draw: Draw, family: list[Cousin]) -> None:
    process = psutil.Process()
    with Family(draw.wardrobe) as many:
        for cousin in family:
            many.load(cousin)
        before = process.memory_info().rss
        for _ in range(4):
            for cousin in family:
                many.load(cousin)
        # Bodies that are removed one by one cost 8 kB each: 6 MB here.
        assert process.memory_info().rss - before < 3e6
        folder = many._folder.path
        assert len(list(folder.iterdir())) == len(many._shapes)
    assert not folder.exists()


def test_what_is_about_to_tip_is_not_trusted_to_stand() -> None:
    post = thing("post", box(0.2, 0.2, 0.8), (0.0, 0.0, 0.0))
    with Rig(TABLE) as rig:
        for inside_mm, stands in ((1.0, False), (10.0, True)):
            center = np.array([0.1 - inside_mm * 1e-3, 0.0, 0.4 - post.scene_from_object[2, 3]])
            heavy = replace(post, center_of_mass=center)
            posed = upright(heavy, np.array([0.0, 0.0, 1.0]))
            assert (rig.stands([posed], [("post", 0)]) is not None) == stands, inside_mm


def test_a_bank_comes_back_from_json_the_same(draw: Draw) -> None:
    text = json.dumps(draw.bank.as_json())
    again = replace(draw, bank=Bank.from_json(json.loads(text)))
    assert json.dumps(again.bank.as_json()) == text
    assert draw_some(again, 0, 10) == draw_some(draw, 0, 10)


def test_cousins_differ_in_what_they_hold_and_where_it_stands(family: list[Cousin]) -> None:
    lines = {cousin.to_json() for cousin in family}
    assert len(lines) == len(family)
    assert len({tuple(cousin.objects) for cousin in family}) > 5  # added and taken away
    assert any("extra_1" in cousin.objects for cousin in family)
    swapped = {
        (name, p.source) for cousin in family for name, p in cousin.objects.items() if not name.startswith("extra")
    }
    assert any(name != source for name, source in swapped)
    on_the_book = [
        cousin for cousin in family if {"book", "can"} <= set(cousin.objects) and _rests_on(cousin, "can", "book")
    ]
    assert 0 < len(on_the_book) < len(family)  # stacked and spread


def _rests_on(cousin: Cousin, upper: str, lower: str) -> bool:
    a, b = (cousin.objects[name].matrix()[:3, 3] for name in (upper, lower))
    return bool(np.linalg.norm(a[:2] - b[:2]) < 0.08 and a[2] > b[2] + 0.03)


def test_recipes_are_small_and_come_back_the_same(family: list[Cousin]) -> None:
    for cousin in family:
        line = cousin.to_json()
        assert len(line.encode()) < 2000
        assert Cousin.from_json(line) == cousin


def test_the_same_recipes_in_any_order_and_any_number_of_processes(draw: Draw) -> None:
    settings = replace(draw.settings, count=CHUNK + 20)
    many = Draw(draw.wardrobe.bare(), draw.bank, settings)
    alone = [line for chunk in chunks(many, None) for line in chunk.lines]
    assert len(alone) == CHUNK + 20
    with worker_pool(2) as executor:
        assert repr(build(draw.wardrobe.bare(), executor)) == repr(draw.bank)
        assert [line for chunk in chunks(many, executor) for line in chunk.lines] == alone
    assert list(draw_some(many, 30, 33).lines) == alone[30:33]


def test_another_seed_gives_another_family(draw: Draw, family: list[Cousin]) -> None:
    other = Draw(replace(draw.wardrobe, seed=6), draw.bank, draw.settings)
    assert other.cousin(0)[0].objects != family[0].objects


def _digest(scene: Scene) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for item in scene.objects:
        for array in (item.scene_from_object, item.visual.vertices, item.inertia, item.center_of_mass):
            digest.update((array + 0.0).tobytes())
        for part in item.convex_parts:
            digest.update((part.vertices + 0.0).tobytes())
        assert item.visual.texture is not None
        digest.update(item.visual.texture.tobytes())
        digest.update(np.array([item.mass_kg, item.friction, item.restitution]).tobytes())
    return digest.hexdigest()


def test_a_recipe_gives_the_same_bits_in_another_process(draw: Draw, family: list[Cousin]) -> None:
    code = (
        "import sys\nfrom simulation.cousins import Cousin\nfrom tests.simulation import test_cousins as t\n"
        "print(t._digest(t.dress(Cousin.from_json(sys.stdin.read()), t.wardrobe_of_few())))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=family[3].to_json(),
        capture_output=True,
        text=True,
        env=environment(False),
        cwd=ROOT,
        check=False,
    )
    assert done.stdout.split()[-1:] == [_digest(dress(family[3], draw.wardrobe))], done.stderr


@pytest.mark.parametrize("name", VARIATIONS)
def test_parameters_cover_their_ranges_evenly(name: str) -> None:
    variation = VARIATIONS[name]
    blank = Cousin("", 11, 0, 0, FULL, {})
    about = ("cup",) if variation.each else ()
    drawn = [replace(blank, index=index).values(name, *about) for index in range(800)]
    for parameter, span in variation.ranges.items():
        low, high = span.at(0.0, 1.0), span.at(1.0, 1.0)
        values = np.array([row[parameter] for row in drawn])
        share = np.log(values / low) / np.log(high / low) if span.log else (values - low) / (high - low)
        assert stats.kstest(share, "uniform").pvalue > 1e-4, parameter
        assert share.min() < 0.01
        assert share.max() > 0.99


def test_forms_together_cover_their_ranges() -> None:
    values = sorted(spread(number, 24, 3, "size") for number in range(24))
    assert [int(value * 24) for value in values] == list(range(24))


def test_strength_nought_leaves_everything_as_scanned(tmp_path: Path) -> None:
    scene = desk()
    wardrobe = wardrobe_of(scene, 0, strengths_of(["all=0"]))
    cousin, _ = Draw(wardrobe, build(wardrobe.bare()), CousinSettings()).cousin(0)
    made = dress(cousin, wardrobe)
    assert [item.name for item in made.objects] == [item.name for item in scene.objects]
    for before, after in zip(scene.objects, made.objects, strict=True):
        assert np.abs(before.scene_from_object - after.scene_from_object).max() < 0.001
        assert after.mass_kg == before.mass_kg
        assert np.array_equal(after.visual.texture, before.visual.texture)
    assert np.allclose(made.supports[0].polygon, scene.supports[0].polygon)
    made.save(tmp_path)
    assert check_scene(tmp_path).passed


@pytest.mark.parametrize("words", [["light"], ["light", "clutter", "swap"], ["shape"]])
def test_without_pose_things_that_touch_stay_together(words: list[str]) -> None:
    cup, parts = bowl(0.06, 0.05, 0.005, 10)
    things = [
        thing("bowl", cup, (0.0, 0.0, 0.001), parts=parts),
        thing("ball", ball(0.03), (0.01, 0.0, 0.008)),  # in the bowl, and not quite at rest
        thing("block", box(0.05, 0.05, 0.05), (0.088, 0.0, 0.001)),
        thing("beside", box(0.05, 0.05, 0.05), (0.14, 0.0, 0.001)),  # two millimetres from the block
    ]
    scene = scene_of(*(replace(item, visual=textured(item.visual)) for item in things))
    wardrobe = replace(wardrobe_of(scene, 0, strengths_of(words)), forms=4)
    draw = Draw(wardrobe, build(wardrobe.bare()), CousinSettings())
    for index in range(4):
        cousin, _ = draw.cousin(index)
        for item in scene.objects:
            placed = cousin.objects.get(item.name)
            if placed is not None and placed.source == item.name:
                moved = placed.matrix()[:2, 3] - item.scene_from_object[:2, 3]
                assert np.abs(moved).max() < (0.001 if words[0] == "light" else 0.035)


def test_things_are_turned_evenly_all_round(draw: Draw) -> None:
    upright = [
        np.arctan2(pose[1, 0], pose[0, 0])
        for cousin in (draw.cousin(index)[0] for index in range(80))
        for name in ("block", "cup", "book")
        if name in cousin.objects
        and cousin.objects[name].source == name
        and (pose := cousin.objects[name].matrix())[2, 2] > 0.99
    ]
    assert len(upright) > 60
    assert stats.kstest(np.array(upright) / (2 * np.pi) + 0.5, "uniform").pvalue > 1e-4


def test_a_cup_of_any_form_still_holds_something(draw: Draw) -> None:
    for number in range(draw.wardrobe.forms_of("cup")):
        form = draw.wardrobe.form("cup", number)
        points = in_scene(form)
        middle = (points.min(axis=0) + points.max(axis=0)) / 2
        local = np.linalg.inv(form.scene_from_object) @ np.append(middle, 1.0)
        for part in form.convex_parts:
            a, b, c = (part.vertices[part.faces[:, corner]] for corner in range(3))
            outside = (np.cross(b - a, c - a) * (local[:3] - a)).sum(axis=1) > 0
            assert outside.any(), f"form {number} is filled"


def test_a_form_is_bent_but_its_weight_follows_its_volume(draw: Draw) -> None:
    parent = next(item for item in draw.wardrobe.scene.objects if item.name == "block")
    values = {"size": 1.1, "width": 1.0, "depth": 1.0, "height": 1.2, "lattice": 0.0}
    grown = reshaped(parent, values, "key")
    assert grown.mass_kg == pytest.approx(parent.mass_kg * 1.1**3 * 1.2, rel=1e-6)
    size = np.ptp(grown.visual.vertices, axis=0) / np.ptp(parent.visual.vertices, axis=0)
    assert size == pytest.approx([1.1, 1.1, 1.32], rel=1e-5)
    length = np.diag(parent.inertia) * 12 / parent.mass_kg
    assert length.sum() / 2 == pytest.approx((np.ptp(parent.visual.vertices, axis=0) ** 2).sum(), rel=1e-6)
    length = np.diag(grown.inertia) * 12 / grown.mass_kg
    assert length.sum() / 2 == pytest.approx((np.ptp(grown.visual.vertices, axis=0) ** 2).sum(), rel=1e-6)
    bent = reshaped(parent, {**values, "lattice": 0.05}, "key")
    assert np.abs(bent.visual.vertices - grown.visual.vertices).max() > 0.001


def test_colors_turn_and_grey_stays_grey() -> None:
    usual = {name: span.usual for name, span in VARIATIONS["appearance"].ranges.items()}
    image = np.array([[[120, 120, 120], [200, 40, 40]]], dtype=np.uint8)
    assert np.array_equal(recolored(image, usual), image)
    turned = recolored(image, {**usual, "hue_deg": 120.0})
    assert np.array_equal(turned[0, 0], image[0, 0])
    assert turned[0, 1].argmax() != 0


def test_groups_are_what_stands_on_something_else() -> None:
    assert scanned_groups(desk()) == [("book", "can")]


def test_a_recipe_of_another_scene_is_refused(family: list[Cousin]) -> None:
    other = scene_of(*desk().objects[:3])
    assert scene_key(other) != scene_key(desk())
    with pytest.raises(InputError, match="another scene"):
        family[0].apply(other)


def test_a_recipe_that_wants_what_is_not_there_is_refused(family: list[Cousin]) -> None:
    line = family[0].to_json()
    stranger = Cousin.from_json(line.replace('["",', '["+1.teapot",', 1))
    assert stranger != family[0]
    with pytest.raises(InputError, match="not among the things"):
        stranger.apply(desk())


@pytest.mark.parametrize(
    "line",
    ["", "[]", "{}", '{"format": "pocketworld.cousin", "version": 2}', "nul", '{"format":"pocketworld.cousin"'],
)
def test_what_is_no_recipe_is_refused(line: str) -> None:
    with pytest.raises(InputError, match="no recipe"):
        Cousin.from_json(line)


def test_damaged_poses_are_refused(family: list[Cousin]) -> None:
    document = json.loads(family[0].to_json())
    name = next(iter(document["objects"]))
    for broken in (["", 1, 2, 3], ["", 1, 0, 0, 0, 0, 0, 0, 0], None, ["", "x", *[1] * 7]):
        damaged = {**document, "objects": {**document["objects"], name: broken}}
        with pytest.raises(InputError, match="no recipe"):
            Cousin.from_json(json.dumps(damaged))


def test_what_never_stands_when_it_is_put_down_anew_stands_as_it_was_scanned(draw: Draw) -> None:
    """Such as a screwdriver, which rolls: one form alone is tried where nothing about forms varies."""
    name = draw.wardrobe.scene.objects[0].name
    bank = replace(draw.bank, alone={**draw.bank.alone, name: ((),)}, groups=(), stacks=())
    strengths = {**dict.fromkeys(draw.wardrobe.strengths, 0.0), "pose": 1.0}
    cousin, _ = Draw(replace(draw.wardrobe, strengths=strengths), bank, draw.settings).cousin(0)
    assert cousin.objects[name].form == AS_SCANNED


def test_what_cannot_be_valid_says_what_is_in_the_way(draw: Draw) -> None:
    small = Support("table", TABLE.plane, TABLE.polygon * 0.05)
    scene = replace(desk(), supports=(small,))
    crowded = Draw(replace(draw.wardrobe, scene=scene), draw.bank, CousinSettings(attempts=3))
    with pytest.raises(ReconstructionError, match="never valid.*pose"):
        crowded.cousin(0)


def test_strengths_are_read_from_words() -> None:
    assert set(FULL.values()) == {1.0}
    some = strengths_of(["all=0.5", "light"])
    assert some["light"] == 1.0
    assert some["pose"] == 0.5
    assert strengths_of(["pose=0.25"])["shape"] == 0.0
    for wrong in ("poses", "pose=2", "pose=x", "pose=", "pose=nan"):
        with pytest.raises(UsageError, match="--vary"):
            strengths_of([wrong])


def test_hashed_numbers_are_even_and_the_same_everywhere() -> None:
    values = np.array([unit(1, "x", number) for number in range(2000)])
    assert stats.kstest(values, "uniform").pvalue > 1e-3
    assert unit(0, "pose", "x") == 0.7664921406833217


def test_gaps_never_promise_more_than_there_is() -> None:
    square = outline(np.array([[-0.1, -0.1], [0.1, -0.1], [0.1, 0.1], [-0.1, 0.1]]))
    upright = support_function(square, np.zeros(1))
    turned = support_function(square, np.full(1, np.pi / 4))
    at = np.array([[0.0, 0.0]])
    assert gaps(at, upright, np.array([[0.3, 0.0]]), upright)[0, 0] == pytest.approx(0.1)
    assert gaps(at, upright, np.array([[0.3, 0.0]]), turned)[0, 0] == pytest.approx(0.2 - 0.1 * np.sqrt(2))
    assert gaps(at, upright, np.array([[0.1, 0.05]]), turned)[0, 0] < 0


def test_a_support_holds_what_lies_inside_its_edge() -> None:
    notched = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [0, 0, 0], [-1, 1, 0]], dtype=float)
    ground = Ground.of(Support("table", TABLE.plane, notched), 1.0)
    reach = support_function(outline(np.array([[-0.1, -0.1], [0.1, -0.1], [0.1, 0.1], [-0.1, 0.1]])), np.zeros(4))
    at = np.array([[0.0, -0.5], [0.0, 0.05], [0.95, 0.0], [0.0, -0.88]])
    assert ground.holds(at, reach, 0.01).tolist() == [True, False, False, True]
    assert ground.holds(at, reach, 0.05).tolist() == [True, False, False, False]


def test_the_camera_sees_what_nothing_hides() -> None:
    camera = Camera(looking_at(np.array([0.0, -1.0, 0.3]), np.zeros(3)), 500.0)
    ring = outline(np.array([[-0.05, -0.05], [0.05, -0.05], [0.05, 0.05], [-0.05, 0.05]]))
    spans = [(0.0, 0.1), (0.0, 0.4), (0.0, 0.1)]
    shares = seen_shares(camera, [ring, ring - [0.0, 0.3], ring + [0.3, 0.0]], spans)
    assert shares[0] < 0.2  # right behind the tall one
    assert shares[1:].tolist() == [1.0, 1.0]
    beside = [[0.0, 0.0, 0.0], [0.0, -2.0, 0.0], [0.5, 0.0, 0.0], [3.0, 0.0, 0.0]]
    assert camera.sees(np.array(beside)).tolist() == [True, False, False, False]  # policies see no wide pictures


def test_pictures_show_the_things_in_their_light(draw: Draw, family: list[Cousin]) -> None:
    scene = dress(family[0], draw.wardrobe)
    shown = picture(scene, 160)
    assert shown.shape == (120, 160, 3)
    look = scene.extra["cousin"]
    dark = {**look, "light": {**look["light"], "strength": 0.2}}
    darker = picture(replace(scene, extra={"cousin": dark}), 160)
    assert darker.mean() < shown.mean() - 10
    bare = picture(replace(scene, objects=scene.objects[:1]), 160)
    assert (np.abs(bare.astype(int) - shown).max(axis=2) > 40).mean() > 0.01
    assert contact_sheet([shown] * 5, 4).shape == (244, 652, 3)
