"""Tasks: what words mean, and when a task is done."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from reconstruction.errors import UsageError
from simulation.bank import Bank, Wardrobe
from simulation.demonstrations import Stage
from simulation.forms import in_scene, outline
from simulation.hollows import Hollow, hollow_of, sides, within
from simulation.tasks import TASKS, Task, _no_room, task_of, to_clear, unsuitable, zone_of
from tests.robot_bench import bench, few_forms, job
from tests.small_scenes import bowl, box, thing


@pytest.fixture(scope="module")
def family() -> tuple[Wardrobe, Bank]:
    return few_forms()


@pytest.fixture
def stage(family: tuple[Wardrobe, Bank]) -> Iterator[Stage]:
    with Stage(job(family, "place block_1 in bowl_1")) as opened:
        opened.cell.reset(opened.draw.cousin(0)[0])
        yield opened


@pytest.mark.parametrize(
    ("words", "task"),
    [
        ("pick block_1", Task("pick", ("block_1",))),
        ("Pick up the block", Task("pick", ("block_1",))),
        ("put the block in the bowl", Task("place-in", ("block_1",), "bowl_1")),
        ("place can 1 into bowl_1", Task("place-in", ("can_1",), "bowl_1")),
        ("place can_1 on top of the box", Task("place-on", ("can_1",), "box_1")),
        ("put the can next to box_1", Task("place-beside", ("can_1",), "box_1")),
        ("push the can into the zone", Task("push", ("can_1",))),
        ("push can_1", Task("push", ("can_1",))),
        ("stack block_1 on box_1", Task("stack", ("block_1",), "box_1")),
        ("clear the table into the bowl", Task("clear", ("block_1", "box_1", "can_1"), "bowl_1")),
    ],
)
def test_words_name_a_task(words: str, task: Task) -> None:
    assert task_of(words, bench()) == task
    assert task_of(task.words, bench()) == task
    assert task_of(task.sentence, bench()).kind in (task.kind, "place-on")


@pytest.mark.parametrize(
    "words", ["", "dance", "place block_1", "pick", "pick unicorn", "stack can_1 on can_1", "put block_1 in the sea"]
)
def test_words_that_name_none_are_refused_with_what_there_is(words: str) -> None:
    with pytest.raises(UsageError) as error:
        task_of(words, bench())
    assert error.value.code == "bad_task"
    assert error.value.remedy


def test_a_bowl_is_hollow_and_a_box_is_not() -> None:
    mesh, parts = bowl(0.08, 0.05, 0.006, 16)
    item = thing("bowl", mesh, (0.1, 0.2, 0.0), parts=parts)
    rim, rim_m, floor_m, _ = hollow_of(item, item.scene_from_object)
    assert np.allclose((rim.min(axis=0) + rim.max(axis=0)) / 2, [0.1, 0.2], atol=0.004)
    assert np.ptp(rim, axis=0) == pytest.approx([0.148, 0.148], abs=0.012)
    assert rim_m == pytest.approx(0.05, abs=0.004)
    assert floor_m == pytest.approx(0.006, abs=0.004)
    upside_down = item.scene_from_object @ np.diag([1.0, -1.0, -1.0, 1.0])
    assert not len(hollow_of(item, upside_down)[0])
    solid = thing("box", box(0.1, 0.1, 0.05), (0, 0, 0))
    assert not len(hollow_of(solid, solid.scene_from_object)[0])


def _put(stage: Stage, name: str, at: tuple[float, float, float], steps: int = 240) -> None:
    pose = stage.cell.start[name].copy()
    pose[:3, 3] = at
    stage.cell.world.set_pose(name, pose)
    stage.cell.world.step(steps)


def test_placing_is_done_when_it_lies_there_and_not_before(stage: Stage) -> None:
    cell, world = stage.cell, stage.cell.world
    task = Task("place-in", ("block_1",), "bowl_1")
    assert not TASKS["place-in"].done(cell, task)
    x, y, z = world.pose("bowl_1")[:3, 3]
    _put(stage, "block_1", (x, y, z + 0.2), 20)
    assert not TASKS["place-in"].done(cell, task)  # it still falls
    _put(stage, "block_1", (x, y, z + 0.06))
    assert TASKS["place-in"].done(cell, task)
    _put(stage, "block_1", (x + 0.2, y, 0.05))
    assert not TASKS["place-in"].done(cell, task)  # beside it


def test_things_on_and_beside_others(stage: Stage) -> None:
    cell, world = stage.cell, stage.cell.world
    on, beside = Task("place-on", ("block_1",), "box_1"), Task("place-beside", ("block_1",), "box_1")
    x, y, _ = world.pose("box_1")[:3, 3]
    _put(stage, "block_1", (x, y, 0.1))
    assert TASKS["place-on"].done(cell, on)
    assert not TASKS["place-beside"].done(cell, beside)
    start = cell.start["block_1"][:2, 3]
    for way in np.arange(8) * np.pi / 4:
        at = np.array([x, y]) + 0.14 * np.array([np.cos(way), np.sin(way)])
        if np.linalg.norm(at - start) > 0.1:
            break
    _put(stage, "block_1", (*at, 0.03))
    assert TASKS["place-beside"].done(cell, beside)
    assert not TASKS["place-on"].done(cell, on)


def test_a_zone_is_free_and_the_same_every_time(stage: Stage) -> None:
    cell = stage.cell
    zones = []
    for index in range(6):
        cell.reset(stage.draw.cousin(index)[0])
        zone = zone_of(cell, "block_1")
        if zone is not None:
            zones.append(zone)
            assert 0.09 < np.linalg.norm(zone[:2] - cell.start["block_1"][:2, 3]) < 0.23
            cell.reset(stage.draw.cousin(index)[0])
            again = zone_of(cell, "block_1")
            assert again is not None
            assert np.array_equal(zone, again)
    assert len(zones) >= 3
    assert len({zone.tobytes() for zone in zones}) == len(zones)


def test_cousins_that_are_none_for_a_task_say_why(stage: Stage) -> None:
    cell = stage.cell
    place = Task("place-in", ("block_1",), "bowl_1")
    assert unsuitable(cell, Task("place-in", ("gone",), "bowl_1")) == "gone is not there"
    assert unsuitable(cell, Task("place-in", ("box_1",), "bowl_1")) == "box_1 is too wide for the gripper"
    assert _no_room(cell, "place-in", "box_1", "bowl_1") == ""  # on its end it would, however it is turned now
    assert _no_room(cell, "place-in", "bowl_1", "bowl_1") == "bowl_1 does not fit into bowl_1"
    assert unsuitable(cell, Task("place-in", ("block_1",), "can_1")) == "can_1 is not open above"
    x, y, z = cell.world.pose("bowl_1")[:3, 3]
    _put(stage, "block_1", (x, y, z + 0.06))
    assert unsuitable(cell, place) == "done already"


@pytest.mark.parametrize("turned_deg", [0.0, 17.0, 45.0, 90.0])
def test_how_wide_a_thing_is_does_not_depend_on_how_it_is_turned(turned_deg: float) -> None:
    turn = np.deg2rad(turned_deg)
    corners = np.array([[0.0, 0.0], [0.2, 0.0], [0.2, 0.03], [0.0, 0.03], [0.1, 0.01]])
    points = corners @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    assert sides(points) == pytest.approx((0.03, 0.2))


def test_on_the_table_a_thing_has_the_friction_that_was_estimated(stage: Stage) -> None:
    world = stage.cell.world
    table = float(world.call("getDynamicsInfo", world.body(world.fixed_names[0]), -1)[1])
    for item in stage.cell.scene.objects:
        own = float(world.call("getDynamicsInfo", world.body(item.name), -1)[1])
        assert own * table == pytest.approx(item.friction)


def test_what_is_cleared_lies_side_by_side_on_the_floor(stage: Stage) -> None:
    cell = stage.cell
    spots = to_clear(cell, Task("clear", ("block_1", "box_1", "can_1"), "bowl_1"))
    hollow = Hollow.of(cell, "bowl_1")
    assert spots
    plans = []
    for name, spot in spots.items():
        plan = in_scene(cell.item(name), cell.start[name])[:, :2]
        c, s = np.cos(spot.turn), np.sin(spot.turn)
        plan = plan @ np.array([[c, s], [-s, c]])
        plans.append(outline(plan - (plan.min(axis=0) + plan.max(axis=0)) / 2 + spot.middle))
        assert within(hollow.floor, plans[-1]).min() > 0
    for n, plan in enumerate(plans):
        for other in plans[:n]:
            assert within(other, plan).max() < 0


def test_as_many_places_as_there_is_room_for() -> None:
    square = np.array([[-0.05, -0.05], [0.05, -0.05], [0.05, 0.05], [-0.05, 0.05]])
    hollow = Hollow(square, 0.05, 0.0, square, np.eye(4))
    half = square * [0.4, 0.8]
    taken: list[np.ndarray] = []
    while len(places := hollow.places(half, taken, 0.002)):
        taken.append(half + places[0])
    assert len(taken) == 2
    assert not len(hollow.places(square, [], 0.002))
