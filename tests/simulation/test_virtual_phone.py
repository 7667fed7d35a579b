"""The virtual phone against exact truth: geometry, faults of the sensor, drift, determinism, and what it writes."""

from __future__ import annotations

import dataclasses
import io
import json
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from reconstruction.capture import scaled_intrinsics
from reconstruction.errors import OutputError, UsageError
from reconstruction.mesh import Mesh, read_obj
from simulation import walk
from simulation.household import HouseholdObject, furniture, make
from simulation.household.solids import rounded_box
from simulation.lidar import LidarSettings
from simulation.phone_formats import WRITERS, stray
from simulation.recording import VirtualPhone, VirtualRecording, record
from simulation.tag_on_table import with_tag
from simulation.truth import save_truth
from simulation.virtual_phone import SAMPLE, FormatName, VirtualScanSettings, virtual_scan, write_virtual_scan
from simulation.virtual_world import VirtualWorld, WorldObject, arrange, bare_wall, random_world, sample_world

ROOT = Path(__file__).resolve().parents[2]
SAMPLE_ZIP = ROOT / "resources" / "sample_scan.zip"
PERFECT = LidarSettings(noise_share=0.0, blob_share=0.0, smoothing_m=1e-4, bleeding=0.0)
SMALL = VirtualPhone(frames=6, rgb_size=(160, 120), depth_size=(128, 96))


@pytest.fixture(scope="module")
def world() -> VirtualWorld:
    return random_world(np.random.default_rng(4), 5)


@pytest.fixture(scope="module")
def recording(world: VirtualWorld) -> VirtualRecording:
    return record(world, SMALL, np.random.default_rng(7))


def color_block(color: tuple[int, int, int], at: tuple[float, float, float], size: tuple[float, float, float]) -> Mesh:
    picture = np.full((8, 8, 3), color, dtype=np.uint8)
    low = np.array(at) - np.array(size) / 2
    return furniture.slab(low, low + np.array(size), {"*": picture})


def two_blocks() -> VirtualWorld:
    """A red block left of a green one on a grey floor: a world whose pictures can be told in words."""
    picture = np.full((8, 8, 3), (200, 20, 20), dtype=np.uint8)
    cube = HouseholdObject("block", rounded_box(np.full(3, 0.08), 0.002, {"*": picture}), "wood", 0.3)
    pose = np.eye(4)
    pose[:3, 3] = (0.15, 0.05, 0.04)
    green = color_block((20, 200, 20), (-0.15, -0.05, 0.04), (0.08, 0.08, 0.08))
    floor = color_block((120, 120, 120), (0.0, 0.0, -0.05), (4.0, 4.0, 0.1))
    item = WorldObject("block_1", cube, pose, "table")
    return VirtualWorld("two_blocks", (item,), (green, floor), np.array([0.0, 0.0, 0.03]), 0.2)


def world_points(recording: VirtualRecording, index: int, poses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Back-projected depth ``(N, 3)`` and its confidence ``(N,)``."""
    depth, confidence = recording.depth_and_confidence(index)
    phone = recording.phone
    k = scaled_intrinsics(recording.intrinsics[index], phone.rgb_size, phone.depth_size)
    v, u = np.nonzero(depth > 0)
    z = depth[v, u]
    points = np.column_stack([(u - k[0, 2]) / k[0, 0] * z, (v - k[1, 2]) / k[1, 1] * z, z])
    return points @ poses[index, :3, :3].T + poses[index, :3, 3], confidence[v, u]


def first_frames(recording: VirtualRecording, count: int) -> VirtualRecording:
    fields = ("times_s", "world_from_camera", "capture_from_camera", "intrinsics", "gain")
    return dataclasses.replace(recording, **{name: getattr(recording, name)[:count] for name in fields})


def distance_to(world: VirtualWorld, points: np.ndarray) -> np.ndarray:
    import open3d as o3d

    scene = o3d.t.geometry.RaycastingScene()
    for mesh in world.meshes:
        scene.add_triangles(mesh.vertices.astype(np.float32), mesh.faces.astype(np.uint32))
    return np.asarray(scene.compute_distance(o3d.core.Tensor(points.astype(np.float32))).numpy())


@pytest.mark.parametrize("portrait", [False, True])
def test_depth_of_a_perfect_sensor_lies_on_the_true_surfaces(world: VirtualWorld, portrait: bool) -> None:
    phone = dataclasses.replace(SMALL, frames=3, portrait=portrait, lidar=PERFECT)
    recording = record(world, phone, np.random.default_rng(1))
    points, confidence = world_points(recording, 1, recording.world_from_camera)
    distance = distance_to(world, points[confidence == 2])
    assert np.median(distance) < 0.0005  # half a step of float16 at a metre
    assert np.quantile(distance, 0.98) < 0.003


def test_default_sensor_errs_by_millimetres_and_most_where_confidence_is_low(recording: VirtualRecording) -> None:
    points, confidence = world_points(recording, 2, recording.world_from_camera)
    distance = distance_to(recording.world, points)
    high, low = distance[confidence == 2], distance[confidence == 0]
    assert 0.0003 < np.median(high) < 0.004
    assert np.quantile(low, 0.9) > 3 * np.quantile(high, 0.9)


def test_noise_grows_with_distance() -> None:
    spread = []
    for distance in (0.5, 3.0):
        wall = color_block((180, 180, 180), (0.0, distance + 0.05, 0.0), (12.0, 0.1, 12.0))
        tour = np.array([[[0.0, 0.0, 0.0], [0.0, 1.0, 0.0]], [[0.01, 0.0, 0.0], [0.01, 1.0, 0.0]]])
        world = VirtualWorld("wall", (), (wall,), np.zeros(3), 1.0, tour)
        recording = record(world, dataclasses.replace(SMALL, frames=2, tremble=0.0), np.random.default_rng(3))
        spread.append(recording.depth_and_confidence(0)[0].std())
    assert spread[1] > 3 * spread[0] > 0


def test_edges_mix_both_sides_and_say_so() -> None:
    recording = record(two_blocks(), dataclasses.replace(SMALL, frames=2), np.random.default_rng(2))
    perfect = dataclasses.replace(recording, phone=dataclasses.replace(recording.phone, lidar=PERFECT))
    measured, confidence = recording.depth_and_confidence(0)
    true, _ = perfect.depth_and_confidence(0)
    far_off = np.abs(measured - true) > 0.02
    assert far_off.sum() > 5
    assert (confidence[far_off] < 2).mean() > 0.95
    assert (confidence == 2).mean() > 0.6


def test_nothing_is_measured_beyond_the_range() -> None:
    wall = color_block((180, 180, 180), (0.0, 6.05, 0.0), (40.0, 0.1, 40.0))
    tour = np.array([[[0.0, 0.0, 0.0], [0.0, 1.0, 0.0]], [[0.01, 0.0, 0.0], [0.01, 1.0, 0.0]]])
    recording = record(VirtualWorld("far", (), (wall,), np.zeros(3), 1.0, tour), SMALL, np.random.default_rng(3))
    depth, confidence = recording.depth_and_confidence(0)
    assert (depth == 0).all()
    assert (confidence == 0).all()


@pytest.mark.parametrize("portrait", [False, True])
def test_colour_shows_things_where_the_pose_says(portrait: bool) -> None:
    world = two_blocks()
    phone = dataclasses.replace(SMALL, frames=4, portrait=portrait, rgb_noise=0.0, exposure_s=0.0)
    recording = record(world, phone, np.random.default_rng(8))
    for centre, channel in (((0.15, 0.05, 0.06), 0), ((-0.15, -0.05, 0.06), 1)):
        seen = 0
        for index in range(4):
            camera = np.linalg.inv(recording.world_from_camera[index]) @ np.append(centre, 1.0)
            u, v, w = recording.intrinsics[index] @ camera[:3]
            column, row = round(u / w), round(v / w)
            if 0 <= column < 160 and 0 <= row < 120:
                seen += 1
                pixel = recording.rgb(index)[row, column].astype(int)
                assert pixel[channel] > 1.8 * np.delete(pixel, channel).max()
        assert seen >= 2


def test_capture_frame_is_that_of_arkit(recording: VirtualRecording) -> None:
    transform = recording.capture_from_world
    assert np.allclose(transform[:3, :3] @ [0, 0, 1], [0, 1, 0])
    assert np.linalg.det(transform[:3, :3]) == pytest.approx(1.0)
    first = transform @ recording.world_from_camera[0]
    assert np.allclose(first[:3, 3], 0, atol=1e-12)
    assert first[0, 2] == pytest.approx(0, abs=1e-12)
    assert first[2, 2] < 0


def test_phone_held_upright_points_the_sensors_x_axis_to_the_floor(world: VirtualWorld) -> None:
    upright = record(world, dataclasses.replace(SMALL, portrait=True), np.random.default_rng(7))
    across = record(world, SMALL, np.random.default_rng(7))
    assert (upright.world_from_camera[:, 2, 0] < -0.4).all()
    assert (np.abs(across.world_from_camera[:, 2, 0]) < 0.15).all()
    assert np.allclose(upright.world_from_camera[:, :3, 2:], across.world_from_camera[:, :3, 2:])


def test_drift_starts_at_zero_and_reaches_what_was_asked() -> None:
    poses = np.tile(np.eye(4), (200, 1, 1))
    out = walk.drifted(np.random.default_rng(1), poses, 10.0, 0.02, 0.5, 0.0, 0.0)
    assert np.allclose(out[0], np.eye(4))
    assert np.linalg.norm(out[:, :3, 3], axis=1).max() == pytest.approx(0.02)
    yaw = np.degrees(np.arctan2(out[:, 0, 2], out[:, 0, 0]))
    assert np.abs(yaw).max() == pytest.approx(0.5)
    assert np.allclose(out[:, :3, :3] @ [0, 1, 0], [0, 1, 0])  # gravity is never lost
    steps = np.linalg.norm(np.diff(out[:, :3, 3], axis=0), axis=1)
    assert steps.max() < 0.02 / 10  # smooth


def test_jitter_has_the_size_that_was_asked() -> None:
    poses = np.tile(np.eye(4), (3000, 1, 1))
    out = walk.drifted(np.random.default_rng(1), poses, 10.0, 0.0, 0.0, 0.001, 0.1)
    assert out[1:, :3, 3].std() == pytest.approx(0.001, rel=0.05)
    turn = np.degrees(np.arccos(np.clip((np.trace(out[1:, :3, :3], axis1=1, axis2=2) - 1) / 2, -1, 1)))
    assert np.sqrt((turn**2).mean() / 3) == pytest.approx(0.1, rel=0.05)
    assert np.allclose(out[:, :3, :3] @ out[:, :3, :3].transpose(0, 2, 1), np.eye(3))


@pytest.mark.parametrize("seed", range(5))
def test_walk_keeps_its_distance_and_looks_down(seed: int) -> None:
    target = np.array([0.0, 0.0, 0.04])
    poses = walk.orbit(
        np.random.default_rng(seed), 150, 10.0, target, 340.0, (0.5, 1.0), (25.0, 60.0), 0.05, 1.0, False
    )
    away = poses[:, :3, 3] - target
    distance = np.linalg.norm(away, axis=1)
    elevation = np.degrees(np.arcsin(away[:, 2] / distance))
    assert distance.min() > 0.47
    assert distance.max() < 1.03
    assert elevation.min() > 23
    assert elevation.max() < 62
    headings = np.unwrap(np.arctan2(away[:, 1], away[:, 0]))
    assert np.ptp(headings) == pytest.approx(np.radians(340), abs=0.1)
    assert np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1).max() < 0.12  # at most 1.2 m/s


def test_a_returning_walk_ends_where_it_began(world: VirtualWorld) -> None:
    phone = dataclasses.replace(SMALL, frames=150, returning=True, tremble=0.0, wander_m=0.0)
    poses = record(world, phone, np.random.default_rng(2)).world_from_camera
    assert np.allclose(poses[0], poses[-1], atol=1e-9)


def test_same_seed_same_pictures_in_any_order_and_on_any_thread(world: VirtualWorld) -> None:
    first, second = (record(world, SMALL, np.random.default_rng(11)) for _ in range(2))
    with ThreadPoolExecutor(4) as pool:
        pictures = list(pool.map(second.rgb, reversed(range(4))))[::-1]
        depths = list(pool.map(second.depth_and_confidence, reversed(range(4))))[::-1]
    for index in range(4):
        assert np.array_equal(first.rgb(index), pictures[index])
        assert np.array_equal(first.depth_and_confidence(index)[0], depths[index][0])
        assert np.array_equal(first.depth_and_confidence(index)[1], depths[index][1])
    assert not np.array_equal(first.rgb(0), record(world, SMALL, np.random.default_rng(12)).rgb(0))


def test_capture_is_the_recording(recording: VirtualRecording) -> None:
    capture = recording.capture()
    frame = capture.frames[3]
    assert [item.index for item in capture.frames] == list(range(6))
    assert frame.time_s == pytest.approx(0.3)
    assert np.array_equal(frame.rgb(), recording.rgb(3))
    assert np.array_equal(frame.depth_m(), recording.depth_and_confidence(3)[0])
    assert np.array_equal(frame.confidence(), recording.depth_and_confidence(3)[1])
    assert np.array_equal(frame.capture_from_camera, recording.capture_from_camera[3])


def test_truth_leads_from_the_capture_to_every_object(recording: VirtualRecording, tmp_path: Path) -> None:
    save_truth(recording, tmp_path / "truth")
    truth = json.loads((tmp_path / "truth" / "truth.json").read_text(encoding="utf-8"))
    world_from_capture = np.linalg.inv(truth["capture_from_world"])
    assert [entry["name"] for entry in truth["objects"]] == [item.name for item in recording.world.objects]
    for entry, item in zip(truth["objects"], recording.world.objects, strict=True):
        mesh = read_obj(tmp_path / "truth" / entry["mesh"]).moved(world_from_capture)
        assert np.abs(mesh.vertices - item.world_mesh.vertices).max() < 2e-6
        assert entry["mass_kg"] == pytest.approx(item.thing.mass_kg, abs=1e-6)
    written = np.array(truth["capture_from_camera"])
    assert np.allclose(written[0], recording.capture_from_camera[0], atol=1e-8)
    assert not np.allclose(written[-1], recording.capture_from_camera[-1], atol=1e-4)


def test_format_names_of_the_settings_are_those_of_the_writers() -> None:
    assert set(get_args(FormatName)) == set(WRITERS)


@pytest.mark.parametrize("name", sorted(WRITERS))
def test_an_archive_is_the_same_bytes_each_time(name: str, recording: VirtualRecording, tmp_path: Path) -> None:
    short = first_frames(recording, 2)
    paths = [tmp_path / "a.zip", tmp_path / "b.zip"]
    for path in paths:
        WRITERS[name](short, path)
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_films_of_a_frame_or_two_can_be_written_and_read(recording: VirtualRecording) -> None:
    import av

    for number in range(24):
        count = 1 + number % 3
        with av.open(io.BytesIO(stray.video(recording, list(range(count))))) as film:
            assert len(list(film.decode(video=0))) == count


def test_stray_video_is_one_frame_short_and_on_the_sixty_hertz_grid(
    recording: VirtualRecording, tmp_path: Path
) -> None:
    import av

    WRITERS["stray"](recording, tmp_path / "scan")
    with av.open(str(tmp_path / "scan" / "rgb.mp4")) as video:
        frames = list(video.decode(video=0))
    assert len(frames) == len(recording) - 1
    assert [round(float(frame.time) * 60) for frame in frames] == [6 * number for number in range(len(frames))]
    shown = frames[0].to_ndarray(format="rgb24").astype(float)
    errors = [np.abs(shown - recording.rgb(index)).mean() for index in range(3)]
    assert int(np.argmin(errors)) == 1


def test_stray_accelerometer_feels_gravity(world: VirtualWorld) -> None:
    recording = record(world, dataclasses.replace(SMALL, frames=150, jitter_m=0.0), np.random.default_rng(7))
    table = np.loadtxt(io.StringIO(stray.imu_table(recording)), delimiter=",", skiprows=1)
    assert 0.8 < np.median(np.linalg.norm(table[:, 1:4], axis=1)) < 1.2  # in g


def test_laan_export_carries_a_position_to_be_stripped(recording: VirtualRecording, tmp_path: Path) -> None:
    WRITERS["laan"](recording, tmp_path / "scan")
    frame = json.loads((tmp_path / "scan" / "frame_00002.json").read_text(encoding="utf-8"))
    assert {"latitude", "longitude", "altitude"} <= set(frame)
    assert sorted(path.stem for path in (tmp_path / "scan").glob("frame_*.jpg")) == ["frame_00000", "frame_00003"]


@pytest.mark.parametrize("world", ["random", "bare_wall", "room"])
def test_a_scan_is_written_with_its_truth_and_progress(world: str, tmp_path: Path) -> None:
    heard: list[float] = []
    settings = VirtualScanSettings(world=world, frames=3, rgb_width=128, objects=4)  # type: ignore[arg-type]
    write_virtual_scan(settings, tmp_path / "scan.r3d", lambda fraction, message: heard.append(fraction))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scan.r3d", "scan_truth"]
    assert heard == sorted(heard)
    assert heard[-1] == 1.0
    truth = json.loads((tmp_path / "scan_truth" / "truth.json").read_text(encoding="utf-8"))
    assert len(truth["objects"]) == (0 if world == "bare_wall" else 4)


def test_bare_wall_fills_the_view() -> None:
    recording = virtual_scan(VirtualScanSettings(world="bare_wall", frames=20, rgb_width=128))
    for index in (0, 10, 19):
        assert (recording.depth_and_confidence(index)[0] > 0.5).all()


def test_what_is_there_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "scan.zip").write_bytes(b"mine")
    with pytest.raises(OutputError, match="already there"):
        write_virtual_scan(VirtualScanSettings(frames=2, rgb_width=64), tmp_path / "scan.zip")
    assert (tmp_path / "scan.zip").read_bytes() == b"mine"


@pytest.mark.parametrize("change", [{"frames": 1}, {"rgb_width": 8}, {"objects": 0}])
def test_settings_out_of_range_are_refused(change: dict[str, int], tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        write_virtual_scan(dataclasses.replace(VirtualScanSettings(), **change), tmp_path / "scan")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["scan", "scan.zip"])
def test_stopping_leaves_nothing_behind(name: str, tmp_path: Path) -> None:
    def stop(fraction: float, message: str) -> None:
        if fraction > 0.4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_virtual_scan(VirtualScanSettings(format="tum", frames=4, rgb_width=64, objects=1), tmp_path / name, stop)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_an_error_that_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match="No space left"):
        write_virtual_scan(VirtualScanSettings(format="tum", frames=2, rgb_width=64, objects=1), tmp_path / "scan")
    assert not list(tmp_path.iterdir())


def test_bundled_sample_is_small_and_the_one_that_the_command_makes() -> None:
    assert SAMPLE_ZIP.stat().st_size <= 8 * 1024 * 1024
    recording = virtual_scan(SAMPLE)
    with zipfile.ZipFile(SAMPLE_ZIP) as archive:
        names = archive.namelist()
        odometry = next(name for name in names if name.endswith("odometry.csv"))
        table = np.genfromtxt(io.BytesIO(archive.read(odometry)), delimiter=",", skip_header=1)
    assert len(table) == SAMPLE.frames
    assert sum("/depth/" in name for name in names) == SAMPLE.frames
    assert np.allclose(table[:, 2:5], recording.capture_from_camera[:, :3, 3], atol=1e-6)
    assert not any(name.startswith("/") or ".." in name for name in names)


@pytest.mark.parametrize(
    "change",
    [{"objects": 500}, {"objects": 0}, {"drift_m": float("nan")}, {"drift_m": float("inf")}, {"seed": -1},
     {"rgb_width": 10**6}, {"frames": 1}],
)  # fmt: skip
def test_settings_out_of_range(change: dict[str, float], tmp_path: Path) -> None:
    settings = dataclasses.replace(VirtualScanSettings(), **change)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=next(iter(change))):
        write_virtual_scan(settings, tmp_path / "scan.r3d")
    assert list(tmp_path.iterdir()) == []


def test_more_things_than_a_table_holds() -> None:
    with pytest.raises(UsageError, match="do not fit"):
        arrange(
            np.random.default_rng(0), [(make("tray", np.random.default_rng(0)), None)] * 2, (0.01, 0.01), False, 9.0
        )


def test_targets_that_cannot_be(tmp_path: Path) -> None:
    settings = VirtualScanSettings(world="bare_wall", frames=2, rgb_width=64)
    (tmp_path / "file").write_text("x", encoding="utf-8")
    (tmp_path / "link.r3d").symlink_to(tmp_path / "nowhere" / "x")
    (tmp_path / "other_truth").symlink_to(tmp_path / "nowhere")
    before = sorted(tmp_path.iterdir())
    targets = [tmp_path / "file" / "scan.r3d", tmp_path / "link.r3d", tmp_path / "other.r3d", tmp_path / ("n" * 300)]
    for out in targets:
        with pytest.raises(OutputError):
            write_virtual_scan(settings, out)
    assert sorted(tmp_path.iterdir()) == before


def test_the_scan_goes_again_where_its_truth_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.rename

    def refuse(path: Path, target: Path) -> Path:
        if target.name.endswith("_truth"):
            raise PermissionError(13, "Permission denied")
        return real(path, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(OutputError):
        write_virtual_scan(VirtualScanSettings(world="bare_wall", frames=2, rgb_width=64), tmp_path / "scan.r3d")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("make_world", [sample_world, lambda: random_world(np.random.default_rng(4), 6)])
def test_a_tag_lies_on_the_bare_table(make_world: object) -> None:
    bare = make_world()  # type: ignore[operator]
    world = with_tag(bare, np.random.default_rng(8), size_mm=60.0, number=3)
    assert world.tag is not None
    assert (world.tag.id, world.tag.size_mm) == (3, 60.0)
    sheet = world.background[-1]
    side = np.linalg.norm(sheet.vertices[1] - sheet.vertices[0])
    assert side == pytest.approx(0.075)  # a white field on either side of eight
    assert np.ptp(sheet.vertices[:, 2]) < 1e-9
    corners = sheet.vertices.mean(axis=0) + np.linspace(0, 1, 9)[:, None, None] * (
        sheet.vertices - sheet.vertices.mean(0)
    )
    # Nothing of the rest comes nearer than the table under the paper.
    assert distance_to(bare, corners.reshape(-1, 3)).max() < 0.0005
    things = [item.world_mesh.vertices[:, :2] for item in bare.objects]
    assert min(np.linalg.norm(points - sheet.vertices.mean(0)[:2], axis=1).min() for points in things) > side / 2


def test_no_bare_place_for_a_tag() -> None:
    with pytest.raises(UsageError):
        with_tag(bare_wall(np.random.default_rng(0)), np.random.default_rng(0))


def test_a_phone_with_a_wrong_scale_errs_alike_in_poses_and_depth(world: VirtualWorld) -> None:
    true = record(world, SMALL, np.random.default_rng(7))
    wrong = record(world, dataclasses.replace(SMALL, scale=1.1), np.random.default_rng(7))
    assert np.allclose(wrong.depth_and_confidence(2)[0], 1.1 * true.depth_and_confidence(2)[0], rtol=1e-6)
    assert np.allclose(wrong.capture_from_camera[:, :3, 3], 1.1 * true.capture_from_camera[:, :3, 3])
    assert np.array_equal(wrong.capture_from_camera[:, :3, :3], true.capture_from_camera[:, :3, :3])
    assert np.array_equal(wrong.rgb(2), true.rgb(2))
    assert np.allclose(wrong.undrifted[0], wrong.capture_from_camera[0], atol=2e-3)
    assert np.allclose(np.linalg.det(wrong.undrifted[:, :3, :3]), 1.0)


def test_the_truth_says_where_the_tag_is(tmp_path: Path) -> None:
    settings = VirtualScanSettings(frames=2, objects=1, tag=True, rgb_width=64)
    write_virtual_scan(settings, tmp_path / "scan.r3d")
    truth = json.loads((tmp_path / "scan_truth" / "truth.json").read_text(encoding="utf-8"))
    tag = virtual_scan(settings).world.tag
    assert tag is not None
    assert (truth["tag"]["family"], truth["tag"]["id"], truth["tag"]["size_mm"]) == ("apriltag_36h11", 0, 80.0)
    assert np.allclose(truth["tag"]["world_from_tag"], tag.world_from_tag, atol=1e-8)
