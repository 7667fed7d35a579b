"""An arm that a person drives in the scene itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from reconstruction.scene import Scene
from simulation.driving import Driver
from simulation.layout import usual_mount
from simulation.robots import robot_of
from simulation.teleoperation import MOVE_M_S, Command
from simulation.world import World
from tests.robot_bench import bench

FloatArray = npt.NDArray[np.float64]
RIGHT = np.array([1.0, 0.0, 0.0])


class Bench:
    """The small bench, its arm, and what time it is."""

    def __init__(self, folder: Path) -> None:
        bench().save(folder)
        self.world = World.open(folder)
        self.driver = Driver(self.world, folder, robot_of("panda"), usual_mount(Scene.load(folder)))
        self.chain = robot_of("panda").chain
        self.fastest = np.zeros(7)

    def wait(self, seconds: float) -> None:
        for _ in range(round(seconds / self.world.settings.time_step_s)):
            self.driver.step()
            self.world.step()
            self.fastest = np.maximum(self.fastest, np.abs(self.driver.arm.speeds()))

    def close(self) -> None:
        self.driver.close()
        self.world.close()

    @property
    def tool(self) -> FloatArray:
        return self.driver.arm.tool()[:3, 3]

    def to(self, place: FloatArray, near_m: float = 0.006) -> None:
        """Steer by looking, as a person does."""
        for _ in range(200):
            off = place - self.tool
            if np.abs(off).max() < near_m:
                break
            x, y, z = np.clip(off / 0.06, -1.0, 1.0)
            self.driver.jog(Command((x, y, z)), RIGHT)
            self.wait(0.1)
        self.driver.jog(Command(), RIGHT)
        self.wait(0.5)


@pytest.fixture
def bench_(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path / "scene")
    yield made
    made.close()


def test_keys_move_the_hand_as_it_is_seen(bench_: Bench) -> None:
    bench_.wait(0.2)
    for right, way in ((RIGHT, [1.0, 0.0, 0.0]), (np.array([0.0, 1.0, 0.0]), [0.0, 1.0, 0.0])):
        before = bench_.tool.copy()
        bench_.driver.jog(Command((1.0, 0.0, 0.0)), right)
        bench_.wait(0.8)
        bench_.driver.jog(Command(), right)
        bench_.wait(0.5)
        moved = bench_.tool - before
        assert moved @ np.array(way) > 0.5 * 0.8 * MOVE_M_S
        assert np.linalg.norm(moved - moved @ np.array(way) * np.array(way)) < 0.02


def test_a_thing_can_be_taken_hold_of_and_lifted(bench_: Bench) -> None:
    bench_.wait(0.2)
    block = bench_.world.pose("block_1")[:3, 3].copy()
    # The block's narrow side lies along x, as the fingers must.
    across = bench_.driver.arm.tool()[:2, 1]
    turn = (np.arctan2(across[1], across[0]) + np.pi / 2) % np.pi - np.pi / 2
    bench_.driver.go(6, float(bench_.driver.goal[6]) + turn)
    bench_.wait(2.0)
    bench_.to(block + [0.0, 0.0, 0.15])
    bench_.to(block + [0.0, 0.0, 0.01])
    bench_.driver.grip(0.0)
    bench_.wait(1.0)
    bench_.to(block + [0.0, 0.0, 0.2])
    assert bench_.world.pose("block_1")[2, 3] > block[2] + 0.15
    bench_.driver.grip(1.0)
    bench_.wait(1.0)
    assert bench_.world.pose("block_1")[2, 3] < block[2] + 0.06


def test_the_table_stops_it_and_it_says_so(bench_: Bench) -> None:
    bench_.driver.jog(Command((0.0, 0.0, -1.0)), RIGHT)
    bench_.wait(4.0)
    assert bench_.driver.blocked
    assert 0.0 < bench_.tool[2] < 0.05
    bench_.driver.jog(Command((0.0, 0.0, 1.0)), RIGHT)
    bench_.wait(1.5)
    assert not bench_.driver.blocked
    assert bench_.tool[2] > 0.1


def test_joints_go_where_they_are_told_within_limits_and_no_faster_than_they_may(bench_: Bench) -> None:
    home = bench_.driver.goal[:-1].copy()
    bench_.driver.go(0, home[0] + 0.6)
    bench_.driver.go(5, 99.0)
    bench_.wait(6.0)
    reached = bench_.driver.arm.positions()[:-1]
    assert reached[0] == pytest.approx(home[0] + 0.6, abs=0.01)
    assert reached[5] == pytest.approx(bench_.chain.high[5], abs=0.02)
    assert np.abs(reached - home)[[1, 2, 3, 4, 6]].max() < 0.02
    assert (bench_.fastest <= np.array(robot_of("panda").speed)).all()


def test_a_joint_that_would_go_through_the_table_stays_above_it(bench_: Bench) -> None:
    lowest = 1.0
    bench_.driver.go(1, float(bench_.chain.high[1]))  # leans forward, into the table
    for _ in range(60):
        bench_.wait(0.1)
        lowest = min(lowest, bench_.tool[2])
    assert bench_.driver.blocked
    assert lowest > 0.0
    assert bench_.driver.arm.positions()[1] < bench_.chain.high[1] - 0.2


def test_the_hand_rests_when_nothing_is_held(bench_: Bench) -> None:
    bench_.driver.jog(Command((0.0, 1.0, 0.0)), RIGHT)
    bench_.wait(0.5)
    bench_.driver.jog(Command(), RIGHT)
    bench_.wait(1.5)
    before = bench_.driver.goal.copy()
    bench_.wait(1.0)
    assert np.array_equal(bench_.driver.goal, before)
    assert not bench_.driver.blocked
