"""Kinematics of arms against PyBullet's, and inverse kinematics against forward kinematics."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from reconstruction.errors import InputError
from simulation.kinematics import chain_of, read_joints, rotation_rpy
from simulation.robots import ROBOTS, Arm
from simulation.world import World

BUNDLED = sorted(ROBOTS.keys() - {"so101"})  # its URDF is not part of the project
MOUNT = np.array([[0.0, -1.0, 0.0, 0.1], [1.0, 0.0, 0.0, -0.2], [0.0, 0.0, 1.0, 0.05], [0.0, 0.0, 0.0, 1.0]])


@pytest.mark.parametrize("name", BUNDLED)
def test_the_tool_is_where_pybullet_has_it(name: str) -> None:
    robot = ROBOTS[name]()
    chain = robot.chain
    rng = np.random.default_rng(0)
    with World() as world:
        arm = Arm(world, robot, MOUNT)
        for _ in range(10):
            q = rng.uniform(chain.low, chain.high)
            arm.reset(np.append(q, 0.5))
            assert np.allclose(arm.tool(), MOUNT @ chain.tool(q), atol=2e-6)
            assert np.allclose(arm.positions(), [*q, 0.5], atol=1e-6)


@pytest.mark.parametrize("name", BUNDLED)
def test_solutions_bring_the_tool_there_within_the_limits(name: str) -> None:
    robot = ROBOTS[name]()
    chain = robot.chain
    rng = np.random.default_rng(1)
    home = np.array(robot.home)
    goals = chain.tool(np.clip(home + rng.normal(0.0, 0.4, (60, len(home))), chain.low, chain.high))
    q, exact = chain.solve(goals, np.tile(home, (60, 1)), 60)
    assert exact.mean() > 0.8
    assert ((q >= chain.low) & (q <= chain.high)).all()
    reached = chain.tool(q[exact])
    assert np.abs(reached[:, :3, 3] - goals[exact][:, :3, 3]).max() < 6e-4
    assert np.abs(reached[:, :3, :3] - goals[exact][:, :3, :3]).max() < 4e-3


def test_what_is_out_of_reach_is_not_called_reached() -> None:
    robot = ROBOTS["panda"]()
    far = np.diag([1.0, -1.0, -1.0, 1.0])
    far[:3, 3] = 2.0, 0.0, 0.2
    _, exact = robot.chain.solve(far[None], np.array([robot.home]), 60)
    assert not exact.any()


def test_tools_point_down_at_home() -> None:
    for name in BUNDLED:
        robot = ROBOTS[name]()
        pose = robot.chain.tool(np.array(robot.home))
        assert pose[2, 2] < -0.99
        assert 0.2 < pose[0, 3] < 0.6


def test_a_sliding_joint_slides(tmp_path: Path) -> None:
    urdf = tmp_path / "rail.urdf"
    urdf.write_text(
        '<robot name="rail"><link name="base"/><link name="cart"/><link name="arm"/>'
        '<joint name="slide" type="prismatic"><parent link="base"/><child link="cart"/><axis xyz="0 1 0"/>'
        '<origin xyz="0 0 1" rpy="0 0 1.5707963"/><limit lower="0" upper="2" effort="1" velocity="1"/></joint>'
        '<joint name="turn" type="continuous"><parent link="cart"/><child link="arm"/><axis xyz="0 0 1"/></joint>'
        "</robot>"
    )
    joints = read_joints(urdf)
    chain = chain_of(joints, ["slide", "turn"], "arm", np.eye(4))
    pose = chain.tool(np.array([0.5, 0.0]))
    assert np.allclose(pose[:3, 3], [-0.5, 0.0, 1.0], atol=1e-6)
    assert joints["turn"].low < -6 < 6 < joints["turn"].high
    with pytest.raises(InputError, match="not those on the way"):
        chain_of(joints, ["turn", "slide"], "arm", np.eye(4))


@pytest.mark.parametrize(
    "text",
    ["", "<robot", "<html/>", '<robot><joint name="a" type="fixed"/></robot>', "<robot><link name='a'/></robot>"],
)
def test_what_is_no_urdf_is_refused(tmp_path: Path, text: str) -> None:
    urdf = tmp_path / "kaputt ä.urdf"
    urdf.write_text(text)
    with pytest.raises(InputError, match="no readable URDF") as error:
        read_joints(urdf)
    assert str(urdf) in error.value.message


def test_roll_pitch_yaw_turn_about_fixed_axes() -> None:
    assert np.allclose(rotation_rpy([0.0, 0.0, np.pi / 2]) @ [1, 0, 0], [0, 1, 0])
    assert np.allclose(rotation_rpy([np.pi / 2, 0.0, np.pi / 2]) @ [0, 1, 0], [0, 0, 1])
