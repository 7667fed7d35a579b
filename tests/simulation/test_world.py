from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from reconstruction.errors import InputError
from simulation.world import World, WorldSettings, pose_change, pose_from_quaternion, quaternion_from_pose
from tests.small_scenes import ball, box, lifted, scene_of, thing


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    scene_of(
        lifted(thing("box", box(0.06, 0.04, 0.1), turned_deg=30), (0, 0, 0.001)),
        lifted(thing("ball", ball(0.03), (0.2, 0, 0)), (0, 0, 0.001)),
    ).save(tmp_path)
    return tmp_path


def test_bodies_have_the_names_and_poses_of_the_scene(folder: Path) -> None:
    document = json.loads((folder / "scene.json").read_text())
    with World.open(folder) as world:
        assert world.names == ("ball", "box")
        assert world.fixed_names == ("table",)
        for entry in document["objects"]:
            np.testing.assert_allclose(world.pose(entry["name"]), entry["scene_from_object"], atol=1e-7)
        assert abs(world.gap("box", "table")) < 1e-5  # hull margins and lowered slab cancel
    assert not world.connected


def test_pose_is_of_the_object_frame_also_when_the_centre_of_mass_is_elsewhere(tmp_path: Path) -> None:
    from dataclasses import replace

    item = replace(thing("box", box(0.06, 0.04, 0.1)), center_of_mass=np.array([0.01, -0.005, 0.02]))
    scene_of(item).save(tmp_path)
    turned = pose_from_quaternion([0.1, 0.2, 0.5], [0.1, 0.2, 0.3, 0.9])
    with World.open(tmp_path) as world:
        np.testing.assert_allclose(world.pose("box"), item.scene_from_object, atol=1e-7)
        world.set_pose("box", turned)
        np.testing.assert_allclose(world.pose("box"), turned, atol=1e-6)


def test_free_fall_is_free_fall_and_keeps_its_energy(folder: Path) -> None:
    with World.open(folder) as world:
        pose = world.pose("ball")
        pose[2, 3] = 2.0
        world.set_pose("ball", pose)
        before = world.energy()
        world.step(60)
        fallen = 2.0 - world.pose("ball")[2, 3]
        after = world.energy()
    assert fallen == pytest.approx(0.5 * 9.81 * 0.25**2, rel=0.04)
    assert after.kinetic_j + after.potential_j == pytest.approx(before.kinetic_j + before.potential_j, rel=0.02)
    assert after.kinetic_j > 0.3


def test_everything_can_be_grabbed_lifted_and_thrown(folder: Path) -> None:
    with World.open(folder) as world:
        for name in world.names:
            start = world.pose(name)[:3, 3]
            world.grab(name, start)
            for number in range(240):
                world.drag(name, start + [0, 0, 0.2 * min(1.0, number / 120)])
                world.step()
            assert world.pose(name)[2, 3] - start[2] == pytest.approx(0.2, abs=0.01)
            world.throw(name, [0.0, 1.0, 0.5])
            world.step(48)
            assert world.pose(name)[1, 3] - start[1] == pytest.approx(0.2, abs=0.02)


def test_what_is_let_go_falls_down(folder: Path) -> None:
    with World.open(folder) as world:
        start = world.pose("box")[:3, 3]
        world.grab("box", start)
        world.drag("box", start + [0, 0, 0.1])
        world.step(120)
        world.release("box")
        world.release("box")
        world.step(240)
        assert world.pose("box")[2, 3] < start[2] + 0.01
        assert {item.names for item in world.contacts("box")} == {("box", "table")}
        assert sum(item.force_n for item in world.contacts("box")) == pytest.approx(0.2 * 9.81, rel=0.1)


def test_restore_goes_back_and_repeats_exactly(folder: Path) -> None:
    with World.open(folder) as world:
        world.step(10)
        kept, before = world.snapshot(), world.poses()
        runs = []
        for _ in range(2):
            world.throw("ball", [-1.0, 0.0, 0.5])
            world.step(120)
            runs.append(world.poses())
            world.restore(kept)
            np.testing.assert_array_equal(world.pose("ball"), before["ball"])
        world.forget(kept)
    for name in before:
        np.testing.assert_array_equal(runs[0][name], runs[1][name])
    assert pose_change(before["box"], runs[0]["box"])[0] > 1e-3  # the ball hit it


def test_what_sleeps_stays_where_it_is_until_it_is_touched(folder: Path) -> None:
    with World.open(folder) as world:
        name = world.names[0]
        world.step(480)
        world.sleep(0.01, 0.1)
        world.step()
        rested = world.pose(name)
        world.step(120)
        assert np.array_equal(world.pose(name), rested)
        world.set_pose(name, rested + [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0.1], [0, 0, 0, 0]])
        world.step(24)
        assert world.pose(name)[2, 3] < rested[2, 3] + 0.09  # put elsewhere, it falls
        world.sleep(0.01, 0.1)
        before = world.pose(name)
        world.step(12)
        assert world.pose(name)[2, 3] < before[2, 3]  # what moves is not put to sleep


def test_two_worlds_do_not_mix(folder: Path) -> None:
    with World.open(folder) as first, World(WorldSettings(ground=True)) as second:
        assert second.names == ()
        first.remove("ball")
        assert first.names == ("box",)
        second.add("box", folder / "objects/box/object.urdf", np.eye(4))
        assert second.names == ("box",)


def test_names_that_are_not_there_are_told(folder: Path) -> None:
    with World.open(folder) as world:
        with pytest.raises(InputError, match="ball, box|table, ball, box"):
            world.pose("cup")
        with pytest.raises(InputError, match="fixed"):
            world.grab("table", [0, 0, 0])
        with pytest.raises(InputError, match="not held"):
            world.drag("box", [0, 0, 0])
        with pytest.raises(InputError, match="named 'box'"):
            world.add("box", folder / "objects/box/object.urdf", np.eye(4))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda scene: scene["objects"][0].update(urdf="objects/ball/none.urdf"), "missing"),
        (lambda scene: scene["objects"][0].update(urdf="../../etc/passwd"), "outside"),
        (lambda scene: scene["objects"][0].pop("urdf"), "damaged"),
        (lambda scene: scene["objects"][0].update(scene_from_object=[1, 2]), "damaged"),
        (lambda scene: scene["objects"][1].update(name="ball"), "named 'ball'"),
        (lambda scene: scene.update(version=99), "readable"),
    ],
)
def test_damaged_scenes_are_input_errors(folder: Path, damage, says: str) -> None:  # type: ignore[no-untyped-def]
    document = json.loads((folder / "scene.json").read_text())
    damage(document)
    (folder / "scene.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match=says):
        World.open(folder)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"format": "pocketworld.scene"}'])
def test_no_scene_is_an_input_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "scene.json").write_text(content)
    with pytest.raises(InputError, match=r"scene\.json"):
        World.open(tmp_path)
    with pytest.raises(InputError):
        World.open(tmp_path / "nowhere")


def test_a_broken_urdf_is_an_input_error(folder: Path) -> None:
    (folder / "objects/box/object.urdf").write_text("<robot")
    with pytest.raises(InputError, match=r"object\.urdf"):
        World.open(folder)


def test_nothing_native_reaches_stdout(folder: Path) -> None:
    code = (
        "import ctypes, os, sys\n"
        "from pathlib import Path\n"
        "from simulation.check import check_scene\n"
        "from simulation.world import quiet_stdout\n"
        "print('before')\n"
        "with quiet_stdout():\n"
        "    os.write(1, b'raw'); ctypes.CDLL(None).printf(b'buffered'); print('python')\n"
        "    sys.stdout.flush()\n"
        f"check_scene(Path({str(folder)!r}), 0.1)\n"
        "print('after')\n"
    )
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == "before\nafter\n"


def test_quaternions_and_poses_agree() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        quat_xyzw = rng.normal(size=4)
        pose = pose_from_quaternion(rng.normal(size=3), quat_xyzw)
        np.testing.assert_allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-12)
        back = quaternion_from_pose(pose)
        assert abs(back @ quat_xyzw) == pytest.approx(np.linalg.norm(quat_xyzw))
    for angle in (1e-9, 1e-3, 1.0, 179.999, 180.0):
        half = np.radians(angle) / 2
        turned = pose_from_quaternion([3.0, 4.0, 0.0], [0, np.sin(half), 0, np.cos(half)])
        assert pose_change(np.eye(4), turned) == (pytest.approx(5.0), pytest.approx(angle, rel=1e-4))


def test_nothing_native_is_heard_when_a_world_opens_and_closes() -> None:
    code = "from simulation.world import World, WorldSettings\nwith World(WorldSettings(ground=True)) as w: w.step()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert (done.stdout, done.stderr) == ("", "")
