"""Arms of five joints with one moving jaw, as many an owner of a phone has: kinematics, jaw, place, tasks."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import trimesh

from reconstruction.errors import InputError, UsageError
from simulation.bank import Bank, Wardrobe
from simulation.chain import Loose
from simulation.demonstrations import Stage
from simulation.jaws import with_sliced
from simulation.kinematics import rotation_rpy
from simulation.layout import BASE_M, near_mount, usual_mount
from simulation.robots import SO101_VARIABLE, Robot, described, robot_of
from simulation.world import World
from tests.robot_bench import bench, few_forms, five_joints, job, small_bench

Family = tuple[Wardrobe, Bank]


@pytest.fixture(scope="module")
def toml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return five_joints(tmp_path_factory.mktemp("five"))


@pytest.fixture(scope="module")
def five(toml: Path) -> Robot:
    return described(toml)


@pytest.fixture(scope="module")
def family() -> Family:
    return few_forms(small_bench())


@pytest.mark.parametrize("key", ["tool_xyz", "reach_m"])
def test_a_misspelt_key_is_told_with_those_there_are(toml: Path, key: str) -> None:
    other = toml.with_name("misspelt.toml")
    other.write_text(toml.read_text(encoding="utf-8").replace(key, f"{key}z"), encoding="utf-8")
    with pytest.raises(InputError, match=f"there is no key '{key}z', only .*{key}"):
        described(other)


@pytest.mark.parametrize(
    "words",
    ["pick block_1", "place block_1 in bowl_1", "push can_1", "stack block_1 on box_1", "place can_1 next to bowl_1"],
)
def test_an_arm_of_five_joints_does_it(family: Family, toml: Path, words: str) -> None:
    with Stage(job(family, words, str(toml))) as stage:
        attempts = (stage.attempt(index).episode for index in range(24))
        tried = list(islice((episode for episode in attempts if episode is not None), 3))
        assert len(tried) == 3
        good = [episode for episode in tried if episode.success]
        assert len(good) >= 2, [episode.reason for episode in tried]
        chain, speed = stage.cell.robot.chain, np.array(stage.cell.robot.speed)
        for episode in good:
            arm = episode.state[:, :-1].astype(np.float64)
            assert ((arm > chain.low - 0.011) & (arm < chain.high + 0.011)).all()
            assert (np.abs(np.diff(arm, axis=0)) * episode.rate_hz <= speed * 1.01).all()


def test_closing_one_jaw_does_not_shove_the_thing(family: Family, toml: Path) -> None:
    with Stage(job(family, "pick block_1", str(toml))) as stage:
        episode = next(found for found in (stage.attempt(k).episode for k in range(10)) if found is not None)
        place = episode.extra["object_pose"][:, :3]
        lifted = int(np.argmax(place[:, 2] > place[0, 2] + 0.003))
        assert lifted > 5
        assert np.linalg.norm(place[lifted - 1, :2] - place[0, :2]) < 0.006


def test_what_is_loose_may_turn_and_nothing_else(five: Robot) -> None:
    chain, rng = five.chain, np.random.default_rng(0)
    q = rng.uniform(chain.low, chain.high, (200, 5))
    goals, seeds = chain.tool(q), np.clip(q + rng.normal(0.0, 0.2, q.shape), chain.low, chain.high)
    axis = rng.normal(size=(200, 3))
    axis /= np.linalg.norm(axis, axis=1)[:, None]
    point = rng.normal(0.0, 0.02, (200, 3))
    # Turned about a line of its own, a pose is out of reach as it is, and within reach where that turn is loose.
    turn = np.array([trimesh.transformations.rotation_matrix(0.4, a, p) for a, p in zip(axis, point, strict=True)])
    turned = goals @ turn
    assert chain.solve(turned, seeds, 60)[1].mean() < 0.1
    found, exact = chain.solve(turned, seeds, 60, Loose(axis, point))
    assert exact.mean() > 0.95
    back = chain.tool(found[exact])
    for local, size, limit in ((point, 1.0, 6e-4), (axis, 0.0, 4e-3)):
        homogeneous = np.append(local[exact], np.full((exact.sum(), 1), size), axis=1)[:, :, None]
        assert np.abs((back - turned[exact]) @ homogeneous)[:, :3].max() < limit
    assert ((found >= chain.low) & (found <= chain.high)).all()


def test_it_leans_on_its_way_up_where_it_cannot_point_down(five: Robot) -> None:
    chain, home = five.chain, np.array(five.home)
    offset = np.linspace(0.0, 0.12, 8)[1:, None] * [0.0, 0.0, 1.0]
    reached = 0
    for yaw in (1.2, 2.0, 2.7, -0.8):
        tool = np.diag([1.0, -1.0, -1.0, 1.0])
        tool[:3, :3] = rotation_rpy([0.0, 0.0, yaw]) @ tool[:3, :3]
        tool[:3, 3] = 0.17, 0.1, 0.02
        seed = home.copy()
        seed[0] = chain.toward(home, tool[None, :3, 3])[0]
        q, exact = chain.solve(tool[None], seed[None], 60)
        assert exact[0]
        straight = np.tile(tool, (7, 1, 1))
        straight[:, :3, 3] += offset
        assert not chain.solve(straight, np.tile(q, (7, 1)), 60)[1].all()
        leaning = chain.along(tool, offset, 0.6)
        assert np.allclose(leaning[:, :3, 3], straight[:, :3, 3])
        assert leaning[-1, 2, 2] == pytest.approx(-np.cos(0.6))
        reached += bool(chain.solve(leaning, np.tile(q, (7, 1)), 60)[1].all())
    assert reached == 4


def test_the_first_joint_turns_the_arm_towards_a_place(five: Robot) -> None:
    chain, q = five.chain, np.array(five.home)
    places = np.array([[0.2, 0.1, 0.0], [0.1, -0.2, 0.0], [0.03, 0.2, 0.1]])
    for place, turn in zip(places, chain.toward(q, places), strict=True):
        tool = chain.tool(np.append(turn, q[1:]))[:2, 3] - chain.fixed[0][:2, 3]
        ahead = place[:2] - chain.fixed[0][:2, 3]
        assert np.arctan2(*tool) == pytest.approx(np.arctan2(*ahead), abs=1e-6)


def test_a_jaw_on_a_pin_opens_as_far_as_it_says(five: Robot) -> None:
    assert five.jaw == 1.0
    for opening in (0.2, 0.5, 0.9):
        angle = 0.85 * opening
        wide = 0.024 + 0.073 * np.sin(angle) - 0.024 * np.cos(angle)  # the spot at the tool, about the pin
        assert five.opening_for(wide) == pytest.approx(opening, abs=1e-3)
        assert 2 * five.off_middle_m(opening) == pytest.approx(wide, abs=1e-4)
    assert five.opening_for(0.2) > 1.0
    assert robot_of("panda").jaw == robot_of("xarm6").jaw == 0.0
    assert robot_of("panda").opening_for(0.04) == 0.5


def test_a_short_arm_stands_among_the_things(five: Robot) -> None:
    assert five.short
    assert 0.2 < five.reach_m < 0.3
    scene = small_bench()
    mount = five.mounted(scene).robot_mount
    assert mount is not None
    far = [float(np.linalg.norm(item.scene_from_object[:2, 3] - mount[:2, 3])) for item in scene.objects]
    assert all(BASE_M < distance < five.reach_m for distance in far)
    usual = usual_mount(scene)
    assert max(np.linalg.norm(item.scene_from_object[:2, 3] - usual[:2, 3]) for item in scene.objects) > five.reach_m
    placed = five.mounted(scene)
    assert np.array_equal(near_mount(placed, 0.1), mount)  # what the scene says holds
    assert robot_of("panda").mounted(bench()).robot_mount is None


SO101 = (
    ("shoulder_pan", "base", "shoulder", "0.0207909 -0.0230745 0.0948817", "-3.14159 0 1.5708", 1.91986),
    ("shoulder_lift", "shoulder", "upper", "-0.0303992 -0.0182778 -0.0542", "-1.5708 -1.5708 0", 1.74533),
    ("elbow_flex", "upper", "lower", "-0.11257 -0.028 0", "0 0 1.5708", 1.69),
    ("wrist_flex", "lower", "wrist", "-0.1349 0.0052 0", "0 0 -1.5708", 1.65806),
    ("wrist_roll", "wrist", "hand", "0 -0.0611 0.0181", "1.5708 0 3.14159", 2.79253),
    ("gripper", "hand", "jaw", "0.0202 0.0188 -0.0234", "1.5708 0 0", 1.74533),
)
"""Joint, parent, child, origin and limit, as the arm's makers give them."""


def test_so101_is_made_of_its_makers_urdf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    joints = [
        f'<joint name="{name}" type="revolute"><parent link="{parent}"/><child link="{child}"/><axis xyz="0 0 1"/>'
        f'<origin xyz="{xyz}" rpy="{rpy}"/><limit lower="{-limit}" upper="{limit}" velocity="10" effort="10"/></joint>'
        for name, parent, child, xyz, rpy, limit in SO101
    ]
    urdf = tmp_path / "so101 ü.urdf"
    urdf.write_text(f'<robot name="so101"><link name="base"/>{"".join(joints)}</robot>')
    monkeypatch.setenv(SO101_VARIABLE, str(urdf))
    robot = robot_of("so101")
    pose = robot.chain.tool(np.array(robot.home))
    assert pose[2, 2] < -0.99
    assert robot.jaw == 1.0
    assert 0.25 < robot.reach_m < 0.35
    assert 0.06 < robot.opening_m < 0.08
    monkeypatch.setenv(SO101_VARIABLE, str(tmp_path / "gone.urdf"))
    with pytest.raises(InputError):
        robot_of("so101")
    urdf.write_text(urdf.read_text().replace("wrist_roll", "twist"))
    monkeypatch.setenv(SO101_VARIABLE, str(urdf))
    with pytest.raises(InputError, match="no SO-101"):
        robot_of("so101")


def test_without_its_urdf_it_is_said_where_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SO101_VARIABLE, raising=False)
    monkeypatch.setattr("simulation.robots.find_spec", lambda _: None)
    with pytest.raises(UsageError) as error:
        robot_of("so101")
    assert SO101_VARIABLE in error.value.remedy
    assert "SO-ARM100" in error.value.remedy


def test_a_hollow_jaw_stays_hollow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    palm, finger = trimesh.creation.box([0.02, 0.06, 0.02]), trimesh.creation.box([0.1, 0.01, 0.02])
    finger.apply_translation([0.04, -0.025, 0.0])
    trimesh.boolean.union([palm, finger], engine="manifold").export(tmp_path / "hand.obj")
    urdf = tmp_path / "hand.urdf"
    urdf.write_text(
        '<robot name="hand"><link name="hand"><collision><geometry><mesh filename="hand.obj"/></geometry></collision>'
        "</link></robot>"
    )
    assert with_sliced(urdf, ["another"]) == urdf
    sliced = with_sliced(urdf, ["hand"])
    assert sliced != urdf
    assert with_sliced(urdf, ["hand"]) == sliced
    for file, felt in ((urdf, True), (sliced, False)):
        with World() as world:
            hand = world.call("loadURDF", str(file), useFixedBase=True)
            shape = world.call("createCollisionShape", world.pybullet.GEOM_SPHERE, radius=0.004)
            for at, inside in (([0.03, 0.0, 0.0], felt), ([0.06, -0.025, 0.0], True)):
                ball = world.call("createMultiBody", 0.0, shape, basePosition=at)
                assert bool(world.call("getClosestPoints", hand, ball, 0.0)) == inside
    (tmp_path / "hand.obj").unlink()
    urdf.write_text(urdf.read_text() + " ")
    with pytest.raises(InputError, match="not there"):
        with_sliced(urdf, ["hand"])
