"""What stands in for reality: each factor does what it says, and without any the arm does as in the simulation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from reconstruction.errors import UsageError
from simulation import reality
from simulation.bank import Bank, Wardrobe, build
from simulation.cousins import wardrobe_of
from simulation.demonstrations import Recording, record
from simulation.reality import FACTORS, RealCell, RealStage, cousins_words, strengths_of_factors
from simulation.tasks import TASKS
from simulation.variations import strengths_of
from tests.robot_bench import SEED, bench, job

Family = tuple[Wardrobe, Bank]


@pytest.fixture(scope="module")
def family() -> Family:
    wardrobe = wardrobe_of(bench(), SEED, strengths_of(cousins_words(())))
    return wardrobe, build(wardrobe.bare())


def stage_of(family: Family, *factors: str, cameras: tuple[str, ...] = ()) -> RealStage:
    made = job(family, "place block_1 in bowl_1", cameras=cameras)
    return RealStage(replace(made, cousins=replace(made.cousins, vary=("pose",))), strengths_of_factors(factors))


@pytest.fixture
def cell(family: Family, request: pytest.FixtureRequest) -> Iterator[RealCell]:
    with stage_of(family, *request.param) as stage:
        assert any(not stage.enter(index) for index in range(40))
        yield stage.cell


def swung(cell: RealCell, ticks: int = 12) -> np.ndarray:
    """Where the first joint is measured to be, tick by tick, while it is told to go 0.2 rad and back."""
    found = []
    for tick in range(ticks):
        goal = np.array([*cell.robot.home, 1.0])
        goal[0] += 0.2 * np.sin(2 * np.pi * tick / ticks)
        cell.act(goal)
        found.append(cell.arm.positions()[0] - cell.robot.home[0])
    return np.array(found)


def test_the_expert_does_there_what_it_does_in_the_simulation(family: Family) -> None:
    done = tried = 0
    with stage_of(family) as stage:
        for index in range(60):
            if stage.enter(index):
                continue
            record(stage.cell, stage.expert.perform(stage.job.task), Recording())
            tried, done = tried + 1, done + TASKS["place-in"].done(stage.cell, stage.job.task)
            if tried == 5:
                break
    assert done >= 4


def test_who_sets_up_the_camera_sees_to_it_that_the_things_are_in_its_picture(
    family: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    turned = np.eye(4)
    turned[:3, :3] = Rotation.from_euler("y", 60, degrees=True).as_matrix()  # to another side
    with stage_of(family, cameras=("front", "wrist")) as stage:
        good = next(index for index in range(40) if not stage.enter(index))
        monkeypatch.setattr(reality, "_camera_error", lambda drawn, camera: turned)
        assert stage.enter(good) == "block_1 is not in the camera's picture"
    with stage_of(family, cameras=("wrist",)) as stage:
        assert not stage.enter(good)


@pytest.mark.parametrize("cell", [()], indirect=True)
def test_nothing_is_otherwise_unless_it_is_asked_for(cell: RealCell) -> None:
    assert np.array_equal(cell.mount, cell.told_mount)
    swung(cell)
    at_rest = cell.goal
    for _ in range(8):
        cell.act(at_rest)
    assert np.allclose(cell.arm.positions(), at_rest, atol=2e-3)
    assert np.array_equal(cell.seen.state, cell.arm.positions())  # pictures arrive at once
    for name in FACTORS:
        drawn = cell.drawn(name, "block_1")
        assert all(value == FACTORS[name].ranges[key].usual for key, value in drawn.items())


@pytest.mark.parametrize("cell", [("latency", "lag")], indirect=True)
def test_motors_are_late_and_so_are_pictures(cell: RealCell, family: Family) -> None:
    with stage_of(family) as prompt:
        prompt.cell.reset(cell.cousin)
        told = swung(prompt.cell)
    late = swung(cell)
    assert late.max() < told.max()
    assert late[1] < told[1]
    assert not np.array_equal(cell.seen.state, cell.arm.positions())
    before = cell.seen.state[0]
    goal = np.array([*cell.robot.home, 1.0])
    goal[0] += 0.1
    cell.act(goal)
    # What is seen lies between where it was a tick ago and where it is now.
    assert min(before, cell.arm.positions()[0]) <= cell.seen.state[0] <= max(before, cell.arm.positions()[0])


@pytest.mark.parametrize("cell", [("backlash",)], indirect=True)
def test_play_is_between_what_is_measured_and_where_the_tool_is(cell: RealCell) -> None:
    play = cell.drawn("backlash")["play_rad"]
    assert 0.0 < play < 0.008
    for sign in (1.0, -1.0):
        goal = np.array([*cell.robot.home, 1.0])
        goal[0] += sign * 0.1
        for _ in range(12):
            cell.act(goal)
        joint = cell._physics.data.qpos[cell._physics.arm._at[0]]
        assert cell.arm.positions()[0] - joint == pytest.approx(sign * play / 2, abs=1e-6)
        assert cell.arm.positions()[0] == pytest.approx(goal[0], abs=2e-3)  # it believes to be there


@pytest.mark.parametrize("cell", [("mount", "mass", "friction")], indirect=True)
def test_the_robot_stands_elsewhere_and_things_weigh_something_else(cell: RealCell) -> None:
    off = np.linalg.inv(cell.told_mount) @ cell.mount
    assert 1e-4 < np.linalg.norm(off[:3, 3]) < 0.009
    assert 0.0 < np.rad2deg(np.arccos(np.clip((np.trace(off[:3, :3]) - 1) / 2, -1, 1))) < 1.0
    assert np.allclose(cell.arm.tool(), cell.mount @ cell.robot.chain.tool(np.array(cell.robot.home)), atol=5e-3)
    model, world = cell._physics.model, cell._physics
    shares = []
    for item in cell.scene.objects:
        shares.append(model.body_mass[world.body(item.name)] / item.mass_kg)
        assert shares[-1] == pytest.approx(cell.drawn("mass", item.name)["mass"], rel=1e-6)
    assert len(set(np.round(shares, 6))) == len(shares)


def test_cameras_are_not_quite_where_they_are_believed_to_be(family: Family) -> None:
    shots, known = {}, {}
    for factors in ((), ("calibration",), ("mount",), ("camera",), ("light",)):
        with stage_of(family, *factors, cameras=("front", "wrist")) as stage:
            assert any(not stage.enter(index) for index in range(40))
            shots[factors] = {name: shot.rgb[0].astype(int) for name, shot in stage.shots().items()}
            known[factors] = stage.calibration()
    for name in ("front", "wrist"):
        assert np.abs(shots[("calibration",)][name] - shots[()][name]).mean() > 0.5
        assert np.abs(shots[("light",)][name] - shots[()][name]).mean() > 2.0
    # Nobody knows that the cameras, or the robot, are elsewhere …
    assert np.array_equal(known[("calibration",)], known[()])
    assert np.array_equal(known[("mount",)], known[()])
    # … but where the camera was put is known.
    assert not np.allclose(known[("camera",)][:3], known[()][:3], atol=1e-3)


def test_the_same_try_is_the_same_again(family: Family) -> None:
    rounds = []
    for skipped in ((), (0,)):  # whatever was tried before
        with stage_of(family, *FACTORS) as stage:
            tried = [index for index in range(12) if index not in skipped and not stage.enter(index)]
            rounds.append({index: [] for index in tried[-2:]})
            for index in tried[-2:]:
                stage.enter(index)
                rounds[-1][index] = [swung(stage.cell, 5), stage.cell.world.pose("block_1"), stage.cell.mount]
    assert rounds[0].keys() == rounds[1].keys()
    assert len(rounds[0]) == 2
    for index, found in rounds[0].items():
        assert all(np.array_equal(a, b) for a, b in zip(found, rounds[1][index], strict=True))


def test_unknown_factors_are_refused() -> None:
    with pytest.raises(UsageError, match="no factor 'wind'"):
        strengths_of_factors(["mass", "wind"])
