"""A printed tag in a scan: its corners, its place, and the scan's scale, each against exact truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from reconstruction.capture import Capture, Frame, scaled_capture
from reconstruction.conventions import check_convention
from reconstruction.errors import ReconstructionError, UsageError
from reconstruction.importers import read_capture
from reconstruction.pipeline import ReconstructSettings, reconstruct
from reconstruction.poses import phone_poses
from reconstruction.quality import tag_advice
from reconstruction.tag_corners import refined_corners
from reconstruction.tag_pose import CORNERS, Tag, measure_tag, mount_from_tag, pose_at
from reconstruction.tags import FAMILIES, Sighting, Sightings, TagSettings, find_tag, modules
from reconstruction.texture import TextureSettings
from simulation.phone_formats import WRITERS
from simulation.recording import VirtualPhone, record
from simulation.tag_on_table import with_tag
from simulation.virtual_phone import VirtualScanSettings, virtual_scan
from simulation.virtual_world import random_world
from tests.table_views import looking

DATA = Path(__file__).parents[3] / "shared" / "data"
SETTINGS = TagSettings()
K = np.array([[900.0, 0, 480], [0, 900.0, 360], [0, 0, 1]])


def turned(axis: Sequence[float], degrees: float) -> np.ndarray:
    pose = np.eye(4)
    pose[:3, :3] = cv2.Rodrigues(np.radians(degrees) * np.array(axis, dtype=float))[0]
    return pose


def degrees_apart(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.degrees(np.linalg.norm(cv2.Rodrigues(first[:3, :3].T @ second[:3, :3])[0])))


def eyes(count: int = 12, arc_deg: float = 200.0) -> list[np.ndarray]:
    """Cameras on an arc round the tag's usual place."""
    turns = np.radians(np.linspace(0, arc_deg, count))
    return [looking(np.array([0.6 * np.cos(t), 0.6 * np.sin(t), 0.45]), np.zeros(3)) for t in turns]


def projected(capture_from_tag: np.ndarray, side_m: float, pose: np.ndarray) -> np.ndarray:
    """The tag's corners ``(4, 2)`` in the picture of a camera."""
    camera_from_tag = np.linalg.inv(pose) @ capture_from_tag
    points = side_m * CORNERS @ camera_from_tag[:3, :3].T + camera_from_tag[:3, 3]
    pixels = points @ K.T
    return pixels[:, :2] / pixels[:, 2:]


def capture_of(poses: Sequence[np.ndarray | None]) -> Capture:
    frames = [Frame(k, 0.1 * k, (960, 720), K, pose, None) for k, pose in enumerate(poses)]
    return Capture("tag", "virtual", Path("virtual"), "virtual", frames)


def seen(corners: Sequence[np.ndarray]) -> Sightings:
    return Sightings(tuple(Sighting(k, quad) for k, quad in enumerate(corners)), (), len(corners))


def measured(corners: Sequence[np.ndarray], poses: Sequence[np.ndarray]) -> Tag | None:
    return measure_tag(capture_of(poses), seen(corners), np.array(poses), SETTINGS)


@pytest.mark.parametrize("blur", [0.3, 1.5])
@pytest.mark.parametrize("lean_deg", [0.0, 60.0])
def test_corners_are_right_to_a_seventh_of_a_pixel_also_blurred(lean_deg: float, blur: float) -> None:
    fields = np.pad(modules("apriltag_36h11", 4), 2)
    texture = np.kron(np.where(fields, 0.02, 0.8), np.ones((32, 32)))
    capture_from_tag = turned((1, 0.2, 0), lean_deg) @ turned((0, 0, 1), 25)
    eye = looking(np.array([0.02, 0.01, 0.7]), np.zeros(3))
    true = projected(capture_from_tag, 0.08, eye)
    inside = 32 * np.array([[2, 2], [10, 2], [10, 10], [2, 10]]) - 0.5
    # Drawn four times as large and made smaller in light, as a lens and a sensor do.
    to_picture = cv2.getPerspectiveTransform(inside.astype(np.float32), (4 * true + 1.5).astype(np.float32))
    large = cv2.warpPerspective(texture, to_picture, (3840, 2880), flags=cv2.INTER_LINEAR, borderValue=0.4)
    light = cv2.GaussianBlur(cv2.resize(large, (960, 720), interpolation=cv2.INTER_AREA), (0, 0), blur)
    grey = np.round(255 * np.sqrt(light)).astype(np.uint8)
    found = refined_corners(grey, true + [[0.8, -0.5], [-0.6, 0.7], [0.5, 0.9], [-0.9, 0.2]], 8)
    assert found is not None
    assert np.linalg.norm(found - true, axis=1).max() < 1 / 7
    away = (true - true.mean(axis=0)) / np.linalg.norm(true - true.mean(axis=0), axis=1, keepdims=True)
    assert abs(((found - true) * away).sum(axis=1).mean()) < 0.05


def test_corners_of_what_is_no_tag_are_none() -> None:
    quad = np.array([[100.0, 100], [180, 100], [180, 180], [100, 180]])
    assert refined_corners(np.full((300, 300), 128, dtype=np.uint8), quad, 8) is None
    noise = np.random.default_rng(0).integers(0, 255, (300, 300)).astype(np.uint8)
    assert refined_corners(noise, quad, 8) is None
    assert refined_corners(noise, np.array([[100.0, 100], [100, 100], [100, 100], [100, 100]]), 8) is None


def test_exact_corners_give_the_exact_place() -> None:
    place = pose_at(np.array([0.05, -0.02, 0.01]), 40.0) @ turned((1, 0, 0), 3.0)
    tag = measured([projected(place, 0.084, eye) for eye in eyes()], eyes())
    assert tag is not None
    assert np.allclose(tag.capture_from_tag, place, atol=1e-7)
    assert tag.scale == pytest.approx(1.05, abs=1e-6)
    assert tag.scale_sigma < 1e-6
    assert tag.frames == 12
    assert tag.depth_scale is None


def test_the_uncertainty_covers_the_error_that_drifting_poses_make() -> None:
    rng = np.random.default_rng(2)
    place, off = pose_at(np.array([0.02, 0.03, 0.0]), -70.0), []
    for _ in range(30):
        drift = 0.006 * np.cumsum(rng.normal(size=(24, 3)), axis=0) / np.sqrt(24)
        believed = [eye + np.pad(step[:, None], ((0, 1), (3, 0))) for eye, step in zip(eyes(24), drift, strict=True)]
        corners = [projected(place, 0.08, eye) + rng.normal(0, 0.2, (4, 2)) for eye in eyes(24)]
        tag = measured(corners, believed)
        assert tag is not None
        off.append((tag.scale - 1.0) / tag.scale_sigma)
    assert 0.3 < np.std(off) < 2.0
    assert np.abs(off).max() < 6.0


def test_a_second_tag_of_the_same_number_is_not_mixed_in() -> None:
    poses = eyes(15)
    here, there = pose_at(np.zeros(3), 10.0), pose_at(np.array([0.15, 0.1, 0.0]), 80.0)
    corners = [projected(there if k % 3 == 0 else here, 0.08, pose) for k, pose in enumerate(poses)]
    tag = measured(corners, poses)
    assert tag is not None
    assert tag.frames == 10
    assert np.allclose(tag.capture_from_tag, here, atol=1e-6)


@pytest.mark.parametrize("unit", [0.001, 1.0, 1000.0])
def test_a_scan_in_any_unit(unit: float) -> None:
    place, poses = pose_at(np.array([0.05, 0.0, 0.0]), 20.0), eyes()
    corners = [projected(place, 0.08, eye) for eye in poses]
    tag = measure_tag(capture_of(poses), seen(corners), phone_poses(scaled_capture(capture_of(poses), unit)), SETTINGS)
    assert tag is not None
    assert tag.scale == pytest.approx(unit, rel=1e-6)


@pytest.mark.parametrize(
    ("poses", "why"),
    [(eyes(2), "too few"), (eyes(12, arc_deg=2.0), "from one side"), ([eyes(1)[0]] * 8, "from one place")],
)
def test_where_the_sightings_do_not_tell_that_is_said(poses: list[np.ndarray], why: str) -> None:
    rng = np.random.default_rng(1)
    corners = [projected(np.eye(4), 0.08, pose) + rng.normal(0, 0.2, (4, 2)) for pose in poses]
    assert measured(corners, poses) is None, why
    (said,) = tag_advice(seen(corners), None, None, SETTINGS)
    assert f"{len(poses)} of {len(poses)} pictures" in said
    assert "walk round it" in said


def test_frames_without_pose_and_no_sightings_at_all() -> None:
    poses = [*eyes(6), None]
    corners = [projected(np.eye(4), 0.08, pose) for pose in eyes(6)]
    capture = capture_of(poses)
    sightings = seen([*corners, corners[0]])
    tag = measure_tag(capture, sightings, phone_poses(capture), SETTINGS)
    assert tag is not None
    assert tag.frames == 6
    assert measure_tag(capture, Sightings(), phone_poses(capture), SETTINGS) is None
    assert tag_advice(Sightings(), None, None, SETTINGS) == ()


def a_tag(capture_from_tag: np.ndarray, scale: float = 1.0, sigma: float = 0.001, gap_m: float | None = None) -> Tag:
    return Tag(capture_from_tag, 0.08 * scale, scale, sigma, 9, 0.001, None if gap_m is None else 1.01, gap_m)


def test_a_level_tag_mounts_the_robot_upright_at_its_offset() -> None:
    # Arrow along scene -y, leaning by 4°; the base 10 cm behind the tag and 2 cm to its left, facing 90° left of it.
    tag = a_tag(pose_at(np.array([0.3, 0.2, 0.004]), -90.0) @ turned((0, 1, 0), 4.0))
    mount, lean_deg = mount_from_tag(tag, np.eye(4), (-0.1, 0.02, 0.0, 90.0))
    assert lean_deg == pytest.approx(4.0)
    assert mount is not None
    assert mount[:3, 3] == pytest.approx([0.32, 0.3, 0.004], abs=1e-9)
    assert np.allclose(mount[:3, :3], np.eye(3), atol=1e-9)


def test_the_tag_is_moved_onto_the_surface_that_depth_shows() -> None:
    mount, _ = mount_from_tag(a_tag(pose_at(np.array([0.3, 0.2, 0.007]), 0.0), gap_m=-0.007), np.eye(4), (0, 0, 0, 0))
    assert mount is not None
    assert mount[:3, 3] == pytest.approx([0.3, 0.2, 0.0], abs=1e-9)


def test_a_tag_on_an_upright_face_makes_its_normal_the_robot_s_front() -> None:
    # Its normal along scene +y, whatever way its arrow points; the base 8 cm behind the face and 5 cm below the tag.
    for spin in (0.0, 90.0, 213.0):
        tag = a_tag(pose_at(np.array([0.1, 0.4, 0.05]), 180.0) @ turned((1, 0, 0), 92.0) @ turned((0, 0, 1), spin))
        mount, lean_deg = mount_from_tag(tag, np.eye(4), (-0.08, 0.0, -0.05, 0.0))
        assert lean_deg == pytest.approx(92.0)
        assert mount is not None
        assert mount[:3, 3] == pytest.approx([0.1, 0.32, 0.0], abs=1e-9)
        assert mount[:3, 0] == pytest.approx([0, 1, 0], abs=1e-9)


@pytest.mark.parametrize("lean_deg", [20.0, 150.0])
def test_a_leaning_tag_mounts_nothing_and_says_so(lean_deg: float) -> None:
    mount, found_deg = mount_from_tag(a_tag(turned((1, 0, 0), lean_deg)), np.eye(4), (0, 0, 0, 0))
    assert mount is None
    (said,) = tag_advice(seen([CORNERS[:, :2]]), a_tag(np.eye(4)), found_deg, SETTINGS)
    assert f"leans by {min(lean_deg, 180 - lean_deg):.0f}°" in said


@pytest.mark.parametrize(
    ("scale", "sigma", "word"),
    [(1.0, 0.001, ""), (1.019, 0.001, ""), (1.048, 0.04, ""), (1.048, 0.002, "4.8 % (±0.4 %) too large"),
     (0.95, 0.001, "5.0 % (±0.2 %) too small"), (1000.0, 1.0, "1e+03 times too large")],
)  # fmt: skip
def test_a_wrong_scale_is_named_where_it_is_certain(scale: float, sigma: float, word: str) -> None:
    said = tag_advice(seen([CORNERS[:, :2]]), a_tag(np.eye(4), scale, sigma), None, SETTINGS)
    assert len(said) == bool(word)
    assert all(word in sentence and "--tag.rescale" in sentence and "80 mm" in sentence for sentence in said)


@pytest.mark.parametrize(
    "settings",
    [TagSettings(id=-1), TagSettings(id=587), TagSettings(size_mm=float("nan")), TagSettings(size_mm=0.0),
     TagSettings(offset=(float("inf"), 0, 0, 0)), TagSettings(offset=(1e9, 0, 0, 0)), TagSettings(frames=0),
     TagSettings(family="aruco_9x9")],  # type: ignore[arg-type]
)  # fmt: skip
def test_settings_of_no_tag_are_refused(settings: TagSettings) -> None:
    with pytest.raises(UsageError) as caught:
        find_tag(capture_of(eyes(2)), settings)
    assert caught.value.remedy


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_found_among_its_first_and_last_tags(family: str) -> None:
    for number in (0, FAMILIES[family][-1][0] - 1):
        fields = np.kron(np.pad(modules(family, number), 2), np.ones((12, 12)))
        image = np.repeat(np.where(fields, 20, 230).astype(np.uint8)[..., None], 3, axis=2)
        frame = replace(capture_of(eyes(1)).frames[0], size=image.shape[1::-1], read_rgb=lambda shown=image: shown)
        capture = replace(capture_of(eyes(1)), frames=[frame])
        found = find_tag(capture, TagSettings(family=family, id=number))  # type: ignore[arg-type]
        assert len(found.seen) == 1
        low, high = 24 - 0.5, 24 + 12 * len(modules(family, number)) - 0.5
        assert found.seen[0].corners == pytest.approx(
            np.array([[low, low], [high, low], [high, high], [low, high]]), abs=0.2
        )


def test_the_effort_is_bounded_and_a_bare_scan_says_nothing() -> None:
    read: list[int] = []

    def picture(number: int) -> np.ndarray:
        read.append(number)
        return np.random.default_rng(number).integers(0, 255, (96, 128, 3)).astype(np.uint8)

    poses = eyes(500)
    frames = [
        replace(frame, size=(128, 96), read_rgb=lambda k=k: picture(k))
        for k, frame in enumerate(capture_of(poses).frames)
    ]
    capture = replace(capture_of(poses), frames=frames)
    sightings = find_tag(capture)
    assert sightings.seen == ()
    assert sightings.others == ()
    assert len(read) <= SETTINGS.frames + 6
    assert tag_advice(sightings, None, None, SETTINGS) == ()
    read.clear()
    assert find_tag(capture, TagSettings(search=False)) == Sightings()
    assert read == []


@pytest.mark.parametrize(
    ("kind", "name", "portrait", "scale"),
    [("record3d", "bench.r3d", True, 1.05), ("stray", "bench", False, 1.0), ("polycam", "bench.zip", True, 0.93)],
)
def test_mount_and_scale_from_a_phone_s_files(
    tmp_path: Path, kind: str, name: str, portrait: bool, scale: float
) -> None:
    settings = VirtualScanSettings(
        seed=11, frames=14, objects=2, tag=True, portrait=portrait, scale=scale, drift_m=0.001, rgb_width=480
    )
    recording = virtual_scan(settings)
    WRITERS[kind](recording, tmp_path / name)
    capture = check_convention(read_capture(tmp_path / name))
    sightings = find_tag(capture)
    tag = measure_tag(capture, sightings, phone_poses(capture), SETTINGS)
    assert tag is not None
    assert recording.world.tag is not None
    true = recording.capture_from_world @ recording.world.tag.world_from_tag
    assert np.linalg.norm((tag.capture_from_tag - true)[:3, 3]) < 0.003
    assert degrees_apart(tag.capture_from_tag, true / np.cbrt(np.linalg.det(true[:3, :3]))) < 0.5
    assert tag.scale == pytest.approx(scale, abs=0.006)
    assert tag.depth_scale == pytest.approx(scale, abs=0.012)
    said = tag_advice(sightings, tag, None, SETTINGS)
    assert len(said) == (scale != 1.0)
    assert all(("too large" if scale > 1 else "too small") in sentence for sentence in said)


def tagged_capture(scale: float) -> tuple[Capture, np.ndarray]:
    """A phone's walk round one thing and a tag, and where the tag truly is in its capture frame (a similarity)."""
    rng = np.random.default_rng(6)
    world = with_tag(random_world(rng, objects=1, chairs=False), rng)
    phone = VirtualPhone(frames=24, fps=2.0, rgb_size=(400, 300), depth_size=(128, 96), scale=scale, drift_m=0.004)
    recording = record(world, phone, rng)
    assert world.tag is not None
    return recording.capture(), recording.capture_from_world @ world.tag.world_from_tag


@pytest.mark.slow
@pytest.mark.parametrize("rescale", [False, True])
def test_a_scene_has_its_robot_and_a_warning_or_the_right_scale(rescale: bool) -> None:
    capture, capture_from_tag = tagged_capture(1.05)
    settings = ReconstructSettings(texture=TextureSettings(max_size=128), tag=TagSettings(rescale=rescale))
    scene = reconstruct(capture, settings).scene
    scaling = np.diag([*[scene.extra.get("capture_scale", 1.0)] * 3, 1.0])
    true = scene.scene_from_capture @ scaling @ capture_from_tag
    assert scene.robot_mount is not None
    assert np.linalg.norm((scene.robot_mount - true)[:3, 3]) < 0.003
    assert degrees_apart(scene.robot_mount, true / np.cbrt(np.linalg.det(true[:3, :3]))) < 0.5
    assert np.array_equal(scene.robot_mount[2, :3], [0, 0, 1])
    assert scene.extra["mounted_by"] == "tag"
    assert ("capture_scale" in scene.extra) == rescale
    assert [s for s in scene.warnings if "too large" in s] == ([] if rescale else [scene.warnings[0]])
    if rescale:
        assert scene.extra["capture_scale"] == pytest.approx(1 / 1.05, rel=0.006)


def test_rescaling_without_a_tag_is_an_error() -> None:
    capture = capture_of(eyes(4))
    with pytest.raises(ReconstructionError) as caught:
        reconstruct(capture, ReconstructSettings(tag=TagSettings(rescale=True)))
    assert caught.value.code == "no_tag"


def test_a_scaled_capture_is_larger_in_all_its_lengths() -> None:
    depth = np.array([[0.0, 0.5], [1.0, 2.0]], dtype=np.float32)
    frames = [replace(frame, depth_size=(2, 2), read_depth=lambda: depth) for frame in capture_of(eyes(3)).frames]
    frames.append(replace(capture_of([None]).frames[0], read_depth=lambda: None))
    capture = replace(capture_of([]), frames=frames, region=np.ones((8, 3)))
    scaled = scaled_capture(capture, 2.0)
    assert np.array_equal(scaled.frames[1].depth_m(), 2 * depth)
    assert np.allclose(scaled.frames[1].capture_from_camera[:3, 3], 2 * frames[1].capture_from_camera[:3, 3])
    assert np.array_equal(scaled.frames[1].capture_from_camera[:3, :3], frames[1].capture_from_camera[:3, :3])
    assert scaled.frames[3].capture_from_camera is None
    assert scaled.frames[3].depth_m() is None
    assert np.array_equal(scaled.region, 2 * np.ones((8, 3)))


@pytest.mark.skipif(not DATA.is_dir(), reason="no real scans here")
def test_tags_in_a_real_scan_agree_on_its_scale_and_lie_on_its_floor() -> None:
    capture = read_capture(DATA / "iphone_laan_blocks")
    sides, heights = [], []
    for number in (1, 3, 7):
        settings = TagSettings(family="aruco_6x6", id=number, size_mm=16.65)
        tag = measure_tag(capture, find_tag(capture, settings), phone_poses(capture), settings)
        assert tag is not None
        assert tag.frames > 20
        assert tag.depth_gap_m is not None
        sides.append(tag.side_m)
        heights.append(tag.depth_gap_m)
        assert tag.capture_from_tag[:3, 2] @ capture.up == pytest.approx(1.0, abs=0.01)
    # Printed alike; measured elsewhere as 16.65 mm with corners that were not corrected for blur.
    assert np.ptp(sides) / np.mean(sides) < 0.01
    assert np.mean(sides) == pytest.approx(0.01665, rel=0.025)
    assert np.mean(heights) == pytest.approx(-0.0066, abs=0.0015)
    assert find_tag(capture).seen == ()
