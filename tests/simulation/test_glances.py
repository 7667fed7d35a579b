"""Glances: pictures with the hand anywhere, for eyes to learn from."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from simulation.calibration import CALIBRATION, NUMBERS
from simulation.demonstrations import Stage
from simulation.filming import CAMERAS
from simulation.forms import in_scene, outline
from simulation.glances import glances
from simulation.optics import Optics
from simulation.privileged import BOX, COLUMN, POINTS
from simulation.shuffling import shuffled
from simulation.world import pose_from_quaternion
from tests.robot_bench import few_forms, job
from tests.small_scenes import box, scene_of, thing

DOWN = np.array([[1.0, 0, 0, 0], [0, -1.0, 0, 0], [0, 0, -1.0, 1.0], [0, 0, 0, 1.0]])
"""`scene_from_camera` of one that looks down from a metre."""


@pytest.fixture(scope="module")
def stage():  # type: ignore[no-untyped-def]
    with Stage(job(few_forms(), "place block_1 in bowl_1", cameras=CAMERAS, size=48)) as made:
        yield made


def _first(stage: Stage) -> int:
    return next(index for index in range(50) if not stage.enter(index))


def test_the_hand_is_anywhere_and_some_things_are_in_it(stage: Stage) -> None:
    made = glances(stage, _first(stage), 24).episode
    assert made is not None
    assert made.success
    assert len(made) >= 20
    tools, things = made.extra["tool_pose"][:, :3], made.extra["object_pose"][:, :3]
    assert np.ptp(tools, axis=0).min() > 0.1
    away = np.linalg.norm(tools - things, axis=1)
    assert 1 <= (away < 0.04).sum() < len(made) / 2
    assert (away > 0.15).sum() > len(made) / 4
    assert set(made.images) == set(CAMERAS)


def test_a_glance_is_the_same_whatever_was_done_before(stage: Stage) -> None:
    index, found = _first(stage), []
    for before in (index + 1, index + 2):
        stage.enter(before)
        found.append(glances(stage, index, 4).episode)
    first, second = found
    assert first is not None
    assert second is not None
    assert np.array_equal(first.state, second.state)
    assert all(np.array_equal(first.images[name], second.images[name]) for name in CAMERAS)


def test_points_are_where_the_things_are_seen(stage: Stage) -> None:
    """The thing's own pixels lie round where it is said to be."""
    index = _first(stage)
    made = glances(stage, index, 12).episode
    assert made is not None
    points = made.extra[POINTS].reshape(len(made), len(CAMERAS), 2, 3)
    assert np.isfinite(points).all()
    assert made.extra[COLUMN].shape == (len(made), 2 * BOX)
    stage.enter(index)
    film = stage._film
    assert film is not None
    now = stage.cell.moment()
    stood = [pose_from_quaternion(row[:3], row[3:]) for row in made.extra["target_pose"]]
    moments = [replace(now, objects={**now.objects, "bowl_1": pose}) for pose in stood]
    shot = stage.take(film).shoot(moments, ("front",))["front"]
    places = []
    for told, bodies in zip(points[:, 0, 1], shot.body, strict=True):
        rows, columns = np.nonzero(bodies == shot.names.index("bowl_1"))
        if len(rows) > 20:  # not behind the arm
            seen = np.array([columns.mean(), rows.mean()]) / 24.0 - 1.0
            assert np.linalg.norm(told[:2] - seen) < 0.15
            places.append(seen)
    assert len(places) > 6
    assert np.ptp(places, axis=0).min() > 0.2  # it is another one each time


def test_things_are_elsewhere_but_still_apart_and_upright(stage: Stage) -> None:
    stage.enter(_first(stage))
    scene = stage.cell.scene
    rng = np.random.default_rng(5)
    for _ in range(20):
        poses = shuffled(scene, rng)
        moved = replace(
            scene, objects=tuple(replace(item, scene_from_object=poses[item.name]) for item in scene.objects)
        )
        rings = [outline(in_scene(item)[:, :2]) for item in moved.objects]
        for number, (item, before) in enumerate(zip(moved.objects, scene.objects, strict=True)):
            was, now = before.scene_from_object, item.scene_from_object
            assert np.linalg.norm(was[:2, 3] - now[:2, 3]) > 1e-3
            assert now[2, 3] == pytest.approx(was[2, 3], abs=2e-3)
            normal = scene.supports[0].plane[:3]
            assert normal @ now[:3, :3] == pytest.approx(normal @ was[:3, :3], abs=1e-6)
            assert min(_distance(rings[number], other) for k, other in enumerate(rings) if k != number) > 0.003


def _distance(first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]) -> float:
    """Between two convex outlines; negative where they overlap: a corner of one is nearest."""
    found = []
    for ring, corners in ((first, second), (second, first)):
        polygon = (1e3 * ring).astype(np.float32)
        found += [-cv2.pointPolygonTest(polygon, tuple(map(float, 1e3 * corner)), True) for corner in corners]
    return min(found) / 1e3


def test_what_carries_something_stays_with_it() -> None:
    low, high = box(0.1, 0.1, 0.05), box(0.04, 0.04, 0.04)
    things = [
        thing("low", low, (0.1, 0.0, 0.0)),
        thing("high", high, (0.1, 0.0, 0.05)),
        thing("far", high, (-0.1, 0, 0)),
    ]
    camera = {"scene_from_camera": DOWN.tolist(), "focal_px": 300.0, "size": [640, 480]}
    scene = replace(scene_of(*things), extra={"cousin": {"camera": camera}})
    poses = shuffled(scene, np.random.default_rng(0))
    for item in scene.objects:
        stays = item.name != "far"
        assert np.array_equal(poses[item.name], item.scene_from_object) == stays


def test_what_is_said_of_the_cameras_is_how_they_filmed(stage: Stage) -> None:
    """A thing's middle, by what is known of the camera, is where it is told to be in the picture."""
    made = glances(stage, _first(stage), 12).episode
    assert made is not None
    points = made.extra[POINTS].reshape(len(made), len(CAMERAS), 2, 3)
    told = made.extra[CALIBRATION].reshape(len(made), len(CAMERAS), NUMBERS).astype(np.float64)
    middles = made.extra[COLUMN].reshape(len(made), 2, BOX)[..., :3]
    tools = stage.cell.robot.chain.tool(made.state[:, :-1].astype(np.float64))
    for number, name in enumerate(CAMERAS):
        x, y = told[:, number, 3:6], told[:, number, 6:9]
        camera = np.tile(np.eye(4), (len(made), 1, 1))
        camera[:, :3, :3] = np.stack([x, y, np.cross(x, y)], axis=-1)
        camera[:, :3, 3] = told[:, number, :3]
        if name == "wrist":
            camera = tools @ camera
        seen = np.linalg.inv(camera)[:, None] @ np.append(middles, np.ones((len(made), 2, 1)), axis=2)[..., None]
        seen = seen[..., :3, 0]
        focal, lens = told[0, number, 9:]
        before = seen[..., 2] > 0.05
        at = Optics(focal * 24.0, (48, 48), lens).seen_at(seen)
        assert before.any()
        assert np.abs(at - points[:, number, :, :2])[before].max() < 0.02
        assert np.abs(seen[..., 2] - points[:, number, :, 2])[before].max() < 0.002
