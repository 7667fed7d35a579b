"""What is really there, written beside a scan, read again, and put in the place of what was reconstructed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from reconstruction.errors import InputError
from reconstruction.scene import Scene
from simulation.layout import usual_camera, usual_mount
from simulation.recording import VirtualPhone, VirtualRecording, record
from simulation.robots import robot_of
from simulation.truth import read_truth, save_truth, true_scene, truth_of
from simulation.virtual_world import random_world
from tests.small_scenes import TABLE, box, scene_of, thing

PHONE = VirtualPhone(frames=4, rgb_size=(160, 120), depth_size=(128, 96))


@pytest.fixture(scope="module")
def recording() -> VirtualRecording:
    return record(random_world(np.random.default_rng(4), 4), PHONE, np.random.default_rng(7))


def reconstructed(recording: VirtualRecording) -> Scene:
    """A box for each thing but the last, as a scan a little off might give them: 3 mm, a fifth of a degree, smaller."""
    scene_from_world = np.eye(4)
    turn, lean = np.deg2rad(40.0), np.deg2rad(0.2)
    scene_from_world[:3, :3] = [
        [np.cos(turn), -np.sin(turn), 0.0],
        [np.sin(turn), np.cos(turn), 0.0],
        [0.0, 0.0, 1.0],
    ] @ np.array([[1.0, 0, 0], [0, np.cos(lean), -np.sin(lean)], [0, np.sin(lean), np.cos(lean)]])
    scene_from_world[:3, 3] = [0.02, -0.03, 0.002]
    things = []
    for number, item in enumerate(recording.world.objects[:-1]):
        points = item.world_mesh.moved(scene_from_world).vertices
        low, high = points.min(axis=0), points.max(axis=0)
        middle = (low + high) / 2 + [0.003, 0.0, 0.0]
        things.append(thing(f"thing_{number}", box(*(0.9 * (high - low))), (middle[0], middle[1], low[2])))
    made = scene_of(*things, supports=(replace(TABLE, polygon=TABLE.polygon + [0.0, 0.0, 0.001]),))
    return replace(made, scene_from_capture=scene_from_world @ np.linalg.inv(recording.capture_from_world))


def test_true_things_take_the_place_of_reconstructed_ones(recording: VirtualRecording, tmp_path: Path) -> None:
    save_truth(recording, tmp_path / "truth")
    scene, robot = reconstructed(recording), robot_of("panda")
    made = true_scene(read_truth(tmp_path / "truth"), scene, robot)
    missed = f"true_{recording.world.objects[-1].name}"
    assert [item.name for item in made.objects] == ["thing_0", "thing_1", "thing_2", missed]
    world_from_scene = np.linalg.inv(made.scene_from_capture @ recording.capture_from_world)
    assert np.allclose(world_from_scene[2], [0, 0, 1, 0], atol=1e-9)  # both tables are one
    for item, true in zip(made.objects, recording.world.objects, strict=True):
        assert item.mass_kg == pytest.approx(true.thing.mass_kg, abs=1e-6)
        assert item.material == true.thing.material
        points = item.visual.moved(world_from_scene @ item.scene_from_object).vertices
        low, high = true.world_mesh.vertices.min(axis=0), true.world_mesh.vertices.max(axis=0)
        assert np.abs(points.min(axis=0) - low).max() < 2e-3
        assert np.abs(points.max(axis=0) - high).max() < 2e-3
        assert item.visual.texture is not None
        assert len(item.convex_parts) >= 1
    assert made.background is not None
    assert made.supports[0].polygon[:, 2].tolist() == [0.0] * 4
    # Robot and camera stand where they stand in the reconstructed scene, which the policy knows.
    assert made.robot_mount is not None
    assert np.array_equal(made.robot_mount, usual_mount(scene))
    camera, believed = usual_camera(made, made.robot_mount), usual_camera(scene, usual_mount(scene))
    assert np.array_equal(camera.scene_from_camera, believed.scene_from_camera)
    made.save(tmp_path / "scene")
    again = Scene.load(tmp_path / "scene")
    assert np.array_equal(usual_camera(again, made.robot_mount).scene_from_camera, believed.scene_from_camera)


def test_what_is_written_is_what_was_recorded(recording: VirtualRecording, tmp_path: Path) -> None:
    save_truth(recording, tmp_path / "truth")
    read, known = read_truth(tmp_path / "truth"), truth_of(recording)
    assert [thing.name for thing in read.things] == [thing.name for thing in known.things]
    for a, b in zip((*read.things,), (*known.things,), strict=True):
        assert np.abs(a.mesh.vertices - b.mesh.vertices).max() < 1e-8
    assert len(read.background) == len(known.background)
    for wall, whole in zip(read.background, known.background, strict=True):
        assert np.abs(wall.vertices - whole.vertices).max() < 1e-8
        assert wall.texture is not None
        assert max(wall.texture.shape) <= 1024


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"format": "of something else"}, "no truth"),
        ({"background": None}, "older Pocketworld"),
        ({"objects": []}, "no things"),
        ({"capture_from_world": [[1.0]]}, "no pose"),
        ({"background": ["../../outside.obj"]}, "outside"),
        ({"objects": [{"name": "x", "mesh": "objects/none.obj", "mass_kg": 1.0, "material": "wood"}]}, "missing"),
        ({"objects": [{"name": "x", "mesh": "objects/none.obj", "mass_kg": -1.0, "material": "wood"}]}, "weighs"),
    ],
)
def test_damaged_truths_are_refused(
    recording: VirtualRecording, tmp_path: Path, change: dict[str, object], says: str
) -> None:
    save_truth(recording, tmp_path / "truth")
    path = tmp_path / "truth" / "truth.json"
    document = {**json.loads(path.read_text(encoding="utf-8")), **change}
    path.write_text(json.dumps({key: value for key, value in document.items() if value is not None}))
    with pytest.raises(InputError, match=says):
        read_truth(tmp_path / "truth")


def test_no_truth_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not say what is really there"):
        read_truth(tmp_path)
    (tmp_path / "truth.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match="does not say what is really there"):
        read_truth(tmp_path)
