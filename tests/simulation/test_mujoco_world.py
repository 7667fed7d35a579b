"""The other engine: the same bodies, names, frames and units, and an arm that can hold things."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from reconstruction.errors import InputError
from reconstruction.scene import Scene
from simulation.collision_meshes import collision_hulls
from simulation.mujoco_world import TIME_STEP_S, Matter, MujocoWorld
from simulation.robots import described, robot_of
from tests.robot_bench import bench, five_joints
from tests.small_scenes import box, scene_of, thing

MOUNT = np.array([[1.0, 0, 0, -0.5], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])


def world_of(scene: Scene, matter: Matter | None = None, robot: str = "panda") -> MujocoWorld:
    watched = [item.name for item in scene.objects]
    return MujocoWorld(scene, robot_of(robot), MOUNT, matter or Matter({}, {}), watched)


def test_things_stay_where_the_scene_puts_them() -> None:
    scene = bench()
    world = world_of(scene)
    assert world.names == tuple(item.name for item in scene.objects)
    assert world.fixed_names == ("table",)
    for item in scene.objects:
        assert np.allclose(world.pose(item.name), item.scene_from_object, atol=1e-9)
    world.step(500)
    for item in scene.objects:  # it stood 1 mm over the table
        moved = world.pose(item.name)[:3, 3] - item.scene_from_object[:3, 3]
        assert np.linalg.norm(moved[:2]) < 1e-3
        assert -2e-3 < moved[2] < 0.0
        assert np.linalg.norm(world.velocity(item.name)[0]) < 1e-3
        resting = [contact for contact in world.contacts(item.name) if contact.force_n > 0.01]
        assert {name for contact in resting for name in contact.names} == {item.name, "table"}
        assert sum(contact.force_n * abs(contact.normal[2]) for contact in resting) == pytest.approx(
            9.81 * item.mass_kg, rel=0.05
        )


@pytest.mark.parametrize("robot", ["panda", "xarm6"])
def test_an_arm_is_where_its_chain_says_and_goes_where_it_is_told(robot: str) -> None:
    world, arm = world_of(bench(), robot=robot), robot_of(robot)
    home = np.array([*arm.home, 1.0])
    assert np.allclose(world.arm.positions(), home, atol=1e-9)
    assert np.allclose(world.arm.tool(), MOUNT @ arm.chain.tool(np.array(arm.home)), atol=1e-6)
    goal = home.copy()
    goal[0] += 0.3
    goal[-1] = 0.0
    world.arm.drive(goal)
    world.step(round(1.0 / TIME_STEP_S))
    assert np.abs(world.arm.positions()[:-1] - goal[:-1]).max() < 5e-3  # its own weight does not bend it
    assert world.arm.positions()[-1] < 0.05
    assert np.abs(world.arm.speeds()).max() < 1e-2


def test_fingers_hold_what_they_close_on_and_slip_off_what_is_too_heavy() -> None:
    arm = robot_of("panda")
    held = {}
    for share in (1.0, 60.0):
        tool = MOUNT @ arm.chain.tool(np.array(arm.home))
        item = thing("block_1", box(0.05, 0.05, 0.05), mass_kg=0.1)
        pose = tool.copy()
        pose[:3, :3] = np.eye(3)
        scene = scene_of(replace(item, scene_from_object=pose))
        world = world_of(scene, Matter({"block_1": share}, {}))
        for _ in range(250):  # it is kept from falling until the fingers are closed
            world.data.qvel[:6] = 0.0
            world.arm.drive(np.array([*arm.home, 0.4]))
            world.step()
        assert world.arm.holds(world.body("block_1"))
        assert world.arm.touches(world.body("block_1"))
        begun = world.pose("block_1")[2, 3]
        world.step(500)
        held[share] = begun - world.pose("block_1")[2, 3]
    assert held[1.0] < 0.003
    assert held[60.0] > 0.05


def test_friction_decides_whether_a_thing_slides() -> None:
    """A push of 0.3 of its weight moves what has a coefficient of 0.2, not what has one of 0.5."""
    for share, slides in ((0.4, True), (1.0, False)):
        world = world_of(
            scene_of(thing("block_1", box(0.06, 0.06, 0.04), friction=0.5)), Matter({}, {"block_1": share})
        )
        world.step(100)
        at = world.pose("block_1")[0, 3]
        world.data.xfrc_applied[world.body("block_1"), 0] = 0.3 * 9.81 * 0.2
        world.step(250)
        assert bool(world.pose("block_1")[0, 3] - at > 0.02) is slides


def test_gaps_are_measured_between_the_nearest_parts() -> None:
    scene = scene_of(thing("a", box(0.04, 0.04, 0.04)), thing("b", box(0.04, 0.04, 0.04), (0.07, 0.0, 0.0)))
    world = world_of(scene)
    (gap,) = world.gaps("a", "b", 0.1)
    assert gap.distance_m == pytest.approx(0.03, abs=1e-4)
    assert np.allclose(np.abs(gap.normal), [1.0, 0.0, 0.0], atol=1e-3)
    assert gap.point[0] == pytest.approx(0.05, abs=1e-3)
    assert world.gaps("a", "b", 0.02) == []
    with pytest.raises(InputError, match="no body"):
        world.body("c")


def test_an_arm_with_one_moving_jaw_stands_there_too(tmp_path: Path) -> None:
    arm = described(five_joints(tmp_path))
    world = MujocoWorld(bench(), arm, MOUNT)
    assert np.allclose(world.arm.tool(), MOUNT @ arm.chain.tool(np.array(arm.home)), atol=1e-6)
    world.step(200)
    assert np.abs(world.arm.positions() - [*arm.home, 1.0]).max() < 0.03


def test_every_shape_of_a_urdf_becomes_a_hull(tmp_path: Path) -> None:
    shapes = (
        '<box size="0.1 0.2 0.3"/>',
        '<sphere radius="0.05"/>',
        '<cylinder radius="0.05" length="0.2"/>',
        '<mesh filename="package://part.obj" scale="0.001 0.001 0.001"/>',
    )
    box(100.0, 200.0, 300.0).export(tmp_path / "part.obj")
    links = "".join(
        f'<link name="l{number}"><collision><origin xyz="0 0 1" rpy="0 0 1.5707963"/><geometry>{shape}</geometry>'
        f"</collision></link>"
        for number, shape in enumerate(shapes)
    )
    joints = "".join(
        f'<joint name="j{n}" type="fixed"><parent link="l{n}"/><child link="l{n + 1}"/></joint>' for n in range(3)
    )
    (tmp_path / "arm.urdf").write_text(f'<robot name="r">{links}{joints}</robot>')
    hulls = collision_hulls(tmp_path / "arm.urdf")
    sizes = [np.ptp(hulls[f"l{number}"][0].vertices, axis=0).round(3).tolist() for number in range(4)]
    assert sizes[0] == [0.2, 0.1, 0.3]  # turned by a quarter
    assert sizes[1][2] == pytest.approx(0.1, abs=1e-3)
    assert sizes[2][2] == pytest.approx(0.2)
    assert sizes[3] == [0.2, 0.1, 0.3]
    (tmp_path / "part.obj").unlink()
    (tmp_path / "other.urdf").write_text((tmp_path / "arm.urdf").read_text())
    with pytest.raises(InputError, match="not there"):
        collision_hulls(tmp_path / "other.urdf")
