"""Where a camera is, from pictures that a virtual one has taken: its place is known exactly."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from app.align_stage import AlignSettings, align, picture_doubts
from policies.deploy.bundle import Bundle
from reconstruction.errors import InputError, UsageError
from reconstruction.tag_pose import pose_at
from reconstruction.tags import TagSettings
from simulation.layout import looking_at
from simulation.raycast import Light, RayScene
from simulation.robots import robot_of
from simulation.tag_on_table import with_tag
from simulation.virtual_world import VirtualWorld, random_world
from tests import bundles
from tests.conftest import Run

SIZE = (480, 360)
FOCAL = 465.0
OFFSET = (-0.2, 0.05, 0.01, 30.0)
TAG = TagSettings(offset=OFFSET)
SIDE = 48
View = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def world() -> VirtualWorld:
    return with_tag(random_world(np.random.default_rng(3), 3), np.random.default_rng(5))


@pytest.fixture(scope="module")
def scene(world: VirtualWorld) -> RayScene:
    return RayScene(world.meshes)


@pytest.fixture(scope="module")
def views(world: VirtualWorld, scene: RayScene) -> list[View]:
    """Places `world_from_camera` round the tag, and what is seen from there."""
    return [(pose, shot(scene, pose)) for pose in around(world, 7)]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundles.make_bundle(tmp_path_factory.mktemp("plain") / "bundle")


def world_from_base(world: VirtualWorld) -> np.ndarray:
    assert world.tag is not None
    return world.tag.world_from_tag @ pose_at(np.array(OFFSET[:3]), OFFSET[3])


def shot(scene: RayScene, world_from_camera: np.ndarray) -> np.ndarray:
    intrinsics = np.array([[FOCAL, 0, (SIZE[0] - 1) / 2], [0, FOCAL, (SIZE[1] - 1) / 2], [0, 0, 1]])
    linear = scene.render(intrinsics, SIZE, world_from_camera, Light(np.array([0.5, -0.8, 1.8])))
    return np.asarray(np.clip(255 * np.sqrt(np.clip(linear, 0, 1)) + 0.5, 0, 255), dtype=np.uint8)


def around(world: VirtualWorld, count: int) -> list[np.ndarray]:
    assert world.tag is not None
    target = world.tag.world_from_tag[:3, 3]
    turns = np.linspace(0.0, 5.0, count)
    return [looking_at(target + [0.5 * np.cos(t), 0.5 * np.sin(t), 0.45 + 0.05 * t], target) for t in turns]


def saved(folder: Path, pictures: list[np.ndarray]) -> list[Path]:
    paths = [folder / f"Bild {number}.png" for number in range(len(pictures))]
    for path, picture in zip(paths, pictures, strict=True):
        path.write_bytes(cv2.imencode(".png", picture[..., ::-1])[1].tobytes())
    return paths


def bundle_that_sees(plain: Path, folder: Path, cameras: dict[str, np.ndarray]) -> Path:
    """A bundle whose manifest tells of cameras at `base_from_camera` (`tool_from_camera` of the one on the hand)."""
    made = Path(shutil.copytree(plain, folder))
    told = {
        name: {
            "size": [SIDE, SIDE],
            "focal_px": FOCAL * SIDE / SIZE[1],
            "base_from_camera" if name == "front" else "tool_from_camera": pose.tolist(),
        }
        for name, pose in cameras.items()
    }
    bundles.change(made, "cameras", to=told)
    return made


def off(found: np.ndarray, true: np.ndarray) -> tuple[float, float]:
    turn = found[:3, :3].T @ true[:3, :3]
    return (
        1e3 * float(np.linalg.norm(found[:3, 3] - true[:3, 3])),
        float(np.degrees(np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1)))),
    )


def test_the_front_camera_is_found_to_a_few_millimetres(
    world: VirtualWorld, views: list[View], plain: Path, shell: Callable[..., Run], tmp_path: Path
) -> None:
    pictures = saved(tmp_path, [views[0][1]])
    true = np.linalg.inv(world_from_base(world)) @ views[0][0]
    believed = true.copy()
    believed[:3, 3] += [0.02, -0.01, 0.01]
    bundle = bundle_that_sees(plain, tmp_path / "ein Bündel", {"front": believed})
    out = tmp_path / "alignment.json"
    found = align(bundle, pictures, AlignSettings(focal_px=FOCAL), TAG, out)
    far_mm, turned_deg = off(found.pose, true)
    assert far_mm < 4.0
    assert turned_deg < 0.4
    assert found.moved_m == pytest.approx(np.linalg.norm([0.02, 0.01, 0.01]), abs=0.005)
    assert found.warnings == ()
    said = shell("align", bundle, pictures[0], "--focal-px", FOCAL, "--tag.offset", *OFFSET, "--out", out, "--json")
    assert said.code == 0, said.stderr
    assert np.allclose(said.result["pose"], found.pose, atol=1e-5)
    kept = json.loads(out.read_text())["cameras"]["front"]
    assert kept["size"] == [SIDE, SIDE]
    assert kept["focal_px"] == pytest.approx(FOCAL * SIDE / SIZE[1])
    assert np.allclose(kept["base_from_camera"], found.pose)


def test_the_lens_is_found_from_many_pictures_and_else_doubted(
    world: VirtualWorld, views: list[View], plain: Path, tmp_path: Path
) -> None:
    pictures = saved(tmp_path, [picture for _, picture in views])
    believed = np.linalg.inv(world_from_base(world)) @ views[0][0]
    bundle = bundle_that_sees(plain, tmp_path / "bundle", {"front": believed})
    bundles.change(bundle, "cameras", "front", "focal_px", to=1.2 * FOCAL * SIDE / SIZE[1])
    found = align(bundle, pictures, AlignSettings(), TAG, tmp_path / "a.json")
    assert found.focal_px == pytest.approx(FOCAL * SIDE / SIZE[1], rel=0.03)
    assert any("focal length is 0.8" in sentence for sentence in found.warnings)
    alone = align(bundle, pictures[:1], AlignSettings(), TAG, tmp_path / "b.json")
    assert any("Nobody has said" in sentence for sentence in alone.warnings)
    assert alone.moved_m > 0.05  # a longer lens would stand farther away


def test_the_first_picture_counts_and_others_must_be_like_it(
    world: VirtualWorld, views: list[View], plain: Path, tmp_path: Path
) -> None:
    first, other = views[3], views[0]
    true = np.linalg.inv(world_from_base(world)) @ first[0]
    bundle = bundle_that_sees(plain, tmp_path / "bundle", {"front": true})
    pictures = saved(tmp_path, [first[1], other[1], other[1], first[1]])
    found = align(bundle, pictures, AlignSettings(focal_px=FOCAL), TAG, tmp_path / "a.json")
    assert off(found.pose, true)[0] < 10.0  # the others' place is a metre from here
    assert any("In 2 of 4 pictures" in sentence for sentence in found.warnings)
    every = saved(tmp_path, [first[1], *(picture for _, picture in views)])
    unsaid = align(bundle, every, AlignSettings(), TAG, tmp_path / "b.json")  # the others tell the lens
    assert off(unsaid.pose, true)[0] < 25.0  # the lens is known to 3 %
    assert not any("pictures the camera" in sentence for sentence in unsaid.warnings)


def test_a_blurred_tag_is_told(world: VirtualWorld, views: list[View], plain: Path, tmp_path: Path) -> None:
    bundle = bundle_that_sees(plain, tmp_path / "bundle", {"front": np.eye(4)})
    for sigma, blurred in ((0.0, False), (0.6, False), (1.8, True)):
        picture = views[0][1] if not sigma else cv2.GaussianBlur(views[0][1], (0, 0), sigma)
        found = align(bundle, saved(tmp_path, [picture]), AlignSettings(focal_px=FOCAL), TAG, tmp_path / "a.json")
        assert any("blurred" in sentence for sentence in found.warnings) is blurred


def test_the_camera_on_the_hand_is_found_where_the_arm_is_known(
    world: VirtualWorld, views: list[View], plain: Path, tmp_path: Path
) -> None:
    pose, picture = views[0]
    robot = robot_of("panda")
    joints = np.array(robot.home) + 0.1
    true = np.linalg.inv(robot.chain.tool(joints)) @ np.linalg.inv(world_from_base(world)) @ pose
    bundle = bundle_that_sees(plain, tmp_path / "bundle", {"front": np.eye(4), "wrist": true})
    pictures, out = saved(tmp_path, [picture]), tmp_path / "alignment.json"
    settings = AlignSettings(camera="wrist", focal_px=FOCAL)
    with pytest.raises(UsageError, match="7 joint positions"):
        align(bundle, pictures, settings, TAG, out)
    assert not out.exists()
    with pytest.raises(UsageError, match="beyond its limits"):
        align(bundle, pictures, replace(settings, joints=tuple(np.rad2deg(joints))), TAG, out)
    found = align(bundle, pictures, replace(settings, joints=tuple(joints)), TAG, out)
    far_mm, turned_deg = off(found.pose, true)
    assert far_mm < 4.0
    assert turned_deg < 0.4
    assert json.loads(out.read_text())["cameras"]["front"]["base_from_camera"] == np.eye(4).tolist()  # as believed


def test_what_cannot_be_is_refused(views: list[View], plain: Path, tmp_path: Path) -> None:
    bundle = bundle_that_sees(plain, tmp_path / "bundle", {"front": np.eye(4)})
    pictures, out = saved(tmp_path, [views[0][1]]), tmp_path / "alignment.json"
    (tmp_path / "torn.jpg").write_bytes(pictures[0].read_bytes()[:300])
    (tmp_path / "empty.png").write_bytes(b"")
    blank = saved(tmp_path / "bundle", [np.full((360, 480, 3), 90, dtype=np.uint8)])[0]
    for path, says in (
        (tmp_path / "torn.jpg", "damaged"),
        (tmp_path / "empty.png", "no picture"),
        (tmp_path / "none.png", "none.png cannot be read"),
        (blank, "not to be seen in"),
    ):
        with pytest.raises(InputError, match=says):
            align(bundle, [path], AlignSettings(focal_px=FOCAL), TAG, out)
    with pytest.raises(UsageError, match="no picture"):
        align(bundle, [], AlignSettings(focal_px=FOCAL), TAG, out)
    with pytest.raises(UsageError, match="no camera 'wrist'"):
        align(bundle, pictures, AlignSettings(camera="wrist"), TAG, out)
    with pytest.raises(UsageError, match="--focal-px is -3"):
        align(bundle, pictures, AlignSettings(focal_px=-3.0), TAG, out)
    (tmp_path / "letter.json").write_text("{}")
    with pytest.raises(InputError, match="is no alignment"):
        align(bundle, pictures, AlignSettings(focal_px=FOCAL), TAG, tmp_path / "letter.json")
    assert (tmp_path / "letter.json").read_text() == "{}"
    assert not out.exists()


def test_pictures_unlike_those_of_training_are_noticed(views: list[View], plain: Path) -> None:
    good = views[0][1]
    side = cv2.resize(good[:, 60:420], (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    bundle = Bundle(plain)
    bundle.sample["observation.images.front"] = np.repeat(side[None], 20, axis=0)
    assert picture_doubts(good, bundle, "front") == []
    faults = {
        "times as bright": (good // 4).astype(np.uint8),
        "is white": np.clip(good.astype(int) * 2 + 120, 0, 255).astype(np.uint8),
        "is blurred": cv2.GaussianBlur(good, (0, 0), 25),
        "does not look like": np.ascontiguousarray(good[::-1, ::-1]),
    }
    for says, picture in faults.items():
        assert any(says in sentence for sentence in picture_doubts(picture, bundle, "front")), says
