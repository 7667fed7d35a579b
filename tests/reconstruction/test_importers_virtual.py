"""Every format that the virtual phone writes comes back as it was recorded."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from reconstruction.capture import Capture, scaled_intrinsics
from reconstruction.importers import IMPORTERS, read_capture
from reconstruction.importers.poses import Y_UP, Z_UP
from simulation.phone_formats import WRITERS
from simulation.phone_formats.images import SENSOR_FROM_UPRIGHT, turned, turned_intrinsics
from simulation.phone_formats.stray import video
from simulation.virtual_phone import VirtualPhone, VirtualRecording, record
from simulation.virtual_world import random_world

WORLD_FROM_YUP = np.array([[1.0, 0, 0, 0], [0, 0, -1.0, 0], [0, 1.0, 0, 0], [0, 0, 0, 1.0]])
SIZE, DEPTH_SIZE, FRAMES = (240, 180), (64, 48), 5


@dataclass(frozen=True)
class Expected:
    """What one format keeps of a recording."""

    kind: str
    depth_error: float  # metres at one metre
    colour_error: float  # mean over pixels, of 255
    up: np.ndarray | None = None
    confidence: bool = False
    colour_every: int = 1
    colour_from: int = 0


EXPECTED = {
    "record3d": Expected("record3d", 1e-6, 3.0, Y_UP, confidence=True),
    "record3d_exr": Expected("record3d", 6e-4, 3.0, Y_UP),
    "stray": Expected("stray", 6e-4, 4.0, Y_UP, confidence=True, colour_from=1),
    "polycam": Expected("polycam", 6e-4, 3.0, Y_UP, confidence=True),
    "laan": Expected("laan", 6e-4, 3.0, Y_UP, confidence=True, colour_every=3),
    "nerfcapture": Expected("nerfcapture", np.nan, 0.0, Y_UP),
    "nerfcapture_instant_ngp": Expected("nerfcapture", 2e-4, 0.0, Y_UP),
    "nerfcapture_splatam": Expected("nerfcapture", 2e-4, 0.0, Y_UP),
    "nerfstudio": Expected("nerfstudio", 6e-4, 3.0, Y_UP),
    "arkitscenes": Expected("arkitscenes", 6e-4, 1.0, Z_UP, confidence=True),
    "sevenscenes": Expected("rgbd", 6e-4, 4.0),
    "tum": Expected("rgbd", 2e-4, 0.0),
}


class RememberedRecording(VirtualRecording):
    """Renders each picture once for all tests."""

    def rgb(self, index: int) -> np.ndarray:
        return remember((self.phone.portrait, "rgb", index), lambda: VirtualRecording.rgb(self, index))

    def depth_and_confidence(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        key = (self.phone.portrait, "depth", index)
        return remember(key, lambda: VirtualRecording.depth_and_confidence(self, index))


pictures: dict[tuple[object, ...], Any] = {}


def remember(key: tuple[object, ...], make: Callable[[], Any]) -> Any:
    if key not in pictures:
        pictures[key] = make()
    return pictures[key]


def recorded(portrait: bool = False) -> VirtualRecording:
    world = random_world(np.random.default_rng(4), 3)
    phone = VirtualPhone(frames=FRAMES, rgb_size=SIZE, depth_size=DEPTH_SIZE, portrait=portrait)
    recording = record(world, phone, np.random.default_rng(5))
    return RememberedRecording(**{name.name: getattr(recording, name.name) for name in fields(recording)})


@pytest.fixture(scope="module")
def recording() -> VirtualRecording:
    return recorded()


def test_every_writer_has_an_expectation() -> None:
    assert set(WRITERS) == set(EXPECTED)
    assert {expected.kind for expected in EXPECTED.values()} == set(IMPORTERS)


def true_poses(name: str, recording: VirtualRecording) -> np.ndarray:
    if name == "polycam":
        return recording.capture_from_world @ recording.world_from_camera
    if name == "arkitscenes":
        return WORLD_FROM_YUP @ recording.capture_from_camera
    return recording.capture_from_camera


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "zip"])
@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_comes_back_as_recorded(name: str, packed: bool, recording: VirtualRecording, tmp_path: Path) -> None:
    expected = EXPECTED[name]
    path = tmp_path / ("Küche mit Ü.zip" if packed else "Küche mit Ü")
    WRITERS[name](recording, path)
    capture = read_capture(path)
    assert (capture.format, capture.name, capture.source) == (expected.kind, "Küche mit Ü", path)
    assert len(capture.frames) == FRAMES
    assert capture.metric
    if expected.up is None:
        assert capture.up is None
    else:
        np.testing.assert_allclose(capture.up, expected.up, atol=1e-9)
    check_geometry(capture, true_poses(name, recording), recording)
    check_images(capture, expected, recording)


def check_geometry(capture: Capture, poses: np.ndarray, recording: VirtualRecording) -> None:
    times = recording.times_s - recording.times_s[0]
    rate = np.arange(FRAMES) / 30.0  # formats that store no time
    for place, frame in enumerate(capture.frames):
        np.testing.assert_allclose(frame.capture_from_camera, poses[place], atol=1e-4)
        assert min(abs(frame.time_s - times[place]), abs(frame.time_s - rate[place])) < 2e-3
        # Polycam's border is cut off, which leaves the focal length; the other sizes are scaled.
        k = frame.depth_intrinsics if frame.depth_size else frame.intrinsics
        width = DEPTH_SIZE[0] if capture.format == "polycam" else (frame.depth_size or frame.size)[0]
        k_true = scaled_intrinsics(recording.intrinsics[place], SIZE, (width, width * 3 // 4))
        tolerance = 0.01 * k_true[0, 0] if capture.format == "rgbd" else 1e-3  # rgbd: one matrix for all frames
        assert k[0, 0] == pytest.approx(k_true[0, 0], abs=tolerance)
        assert k[1, 1] == pytest.approx(k_true[1, 1], abs=tolerance)


def check_images(capture: Capture, expected: Expected, recording: VirtualRecording) -> None:
    for place, frame in enumerate(capture.frames):
        true_depth, true_confidence = recording.depth_and_confidence(place)
        depth = frame.depth_m()
        if np.isnan(expected.depth_error):
            assert depth is None
        else:
            assert depth is not None
            assert frame.depth_size == (depth.shape[1], depth.shape[0])
            assert_same_depth(depth, fitted(true_depth, depth.shape, frame), expected.depth_error)
        confidence = frame.confidence()
        assert (confidence is not None) == expected.confidence
        if confidence is not None:
            np.testing.assert_array_equal(confidence, fitted(true_confidence, confidence.shape, frame))
        rgb = frame.rgb()
        has_colour = place % expected.colour_every == 0 and place >= expected.colour_from
        assert (rgb is not None) == has_colour
        if rgb is not None:
            assert frame.size == (rgb.shape[1], rgb.shape[0])
            error = np.abs(rgb.astype(float) - shrunk(recording.rgb(place), rgb.shape).astype(float)).mean()
            assert error <= expected.colour_error


def assert_same_depth(depth: np.ndarray, true: np.ndarray, error_at_1m: float) -> None:
    np.testing.assert_array_equal(depth == 0, true == 0)
    assert depth.dtype == np.float32
    assert np.abs(depth - true).max() <= error_at_1m * max(1.0, float(true.max()))


def fitted(true: np.ndarray, shape: tuple[int, ...], frame: object) -> np.ndarray:
    """The recorded depth as a format stores it: enlarged by nearest neighbour, or with its border cut off."""
    if shape[0] < true.shape[0]:
        cut = (true.shape[0] - shape[0]) // 2
        return true[cut:-cut, cut:-cut]
    return cv2.resize(true, (shape[1], shape[0]), interpolation=cv2.INTER_NEAREST)


def shrunk(true: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if true.shape[0] - shape[0] in range(30, 60):  # Polycam's black border
        cut = (true.shape[0] - shape[0]) // 2
        return true[cut:-cut, cut:-cut]
    return cv2.resize(true, (shape[1], shape[0]), interpolation=cv2.INTER_AREA)


def test_polycam_border_is_cut_and_intrinsics_follow(recording: VirtualRecording, tmp_path: Path) -> None:
    WRITERS["polycam"](recording, tmp_path / "scan")
    frame = read_capture(tmp_path / "scan").frames[0]
    rgb = frame.rgb()
    assert rgb is not None
    assert min(rgb[0].max(), rgb[-1].max(), rgb[:, 0].max(), rgb[:, -1].max()) > 20
    cut = (SIZE[0] - frame.size[0]) // 2
    assert cut >= 15
    np.testing.assert_allclose(frame.intrinsics[:2, 2], recording.intrinsics[0][:2, 2] - cut, atol=1e-6)
    assert frame.depth_size is not None
    depth_cut = (DEPTH_SIZE[0] - frame.depth_size[0]) // 2
    k_true = scaled_intrinsics(recording.intrinsics[0], SIZE, DEPTH_SIZE)
    np.testing.assert_allclose(frame.depth_intrinsics[:2, 2], k_true[:2, 2] - depth_cut, atol=1e-6)


@pytest.mark.parametrize("name", ["record3d", "record3d_exr"])
def test_portrait_is_not_turned(name: str, tmp_path: Path) -> None:
    recording = recorded(portrait=True)
    WRITERS[name](recording, tmp_path / "scan.r3d")
    capture = read_capture(tmp_path / "scan.r3d")
    frame = capture.frames[2]
    assert frame.size == SIZE[::-1]
    assert frame.depth_size == DEPTH_SIZE[::-1]
    np.testing.assert_allclose(
        frame.capture_from_camera, recording.capture_from_camera[2] @ SENSOR_FROM_UPRIGHT, atol=1e-4
    )
    np.testing.assert_allclose(frame.intrinsics, turned_intrinsics(recording.intrinsics[2], SIZE), atol=1e-3)
    depth = frame.depth_m()
    assert depth is not None
    assert_same_depth(depth, turned(recording.depth_and_confidence(2)[0]), 6e-4)


def test_gps_and_owner_never_leave_the_importer(recording: VirtualRecording, tmp_path: Path) -> None:
    WRITERS["laan"](recording, tmp_path / "scan")
    assert b"12.345678" in (tmp_path / "scan" / "info.json").read_bytes()
    text = repr(read_capture(tmp_path / "scan"))
    assert "12.345" not in text
    assert "98.765" not in text


def test_crop_box_of_3d_scanner_app_holds_the_objects(recording: VirtualRecording, tmp_path: Path) -> None:
    WRITERS["laan"](recording, tmp_path / "scan")
    region = read_capture(tmp_path / "scan").region
    assert region is not None
    assert region.shape == (8, 3)
    points = np.concatenate([item.world_mesh.vertices for item in recording.world.objects])
    true = points @ recording.capture_from_world[:3, :3].T + recording.capture_from_world[:3, 3]
    height = region @ Y_UP
    assert height.min() < true[:, 1].min()
    assert height.max() > true[:, 1].max()


@pytest.mark.parametrize("layers", ["All_Data/", "Scans/3f7a91c2/"])
def test_enclosing_folders_make_no_difference(layers: str, recording: VirtualRecording, tmp_path: Path) -> None:
    WRITERS["stray"](recording, tmp_path / "plain")
    with zipfile.ZipFile(tmp_path / "scan.bin", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted((tmp_path / "plain").rglob("*")):
            if file.is_file():
                archive.write(file, layers + file.relative_to(tmp_path / "plain").as_posix())
        archive.writestr("__MACOSX/._odometry.csv", b"junk")
    capture = read_capture(tmp_path / "scan.bin")
    check_geometry(capture, recording.capture_from_camera, recording)
    check_images(capture, EXPECTED["stray"], recording)


def test_an_archive_in_a_folder_and_in_an_archive(recording: VirtualRecording, tmp_path: Path) -> None:
    folder = tmp_path / "from phone"
    folder.mkdir()
    WRITERS["record3d"](recording, folder / "scan.r3d")
    (folder / "notes.txt").write_text("hello")
    check_geometry(read_capture(folder), recording.capture_from_camera, recording)
    with zipfile.ZipFile(tmp_path / "outer.zip", "w") as archive:
        archive.write(folder / "scan.r3d", "x/scan.r3d")
    capture = read_capture(tmp_path / "outer.zip")
    check_images(capture, EXPECTED["record3d"], recording)


@pytest.fixture(scope="module")
def sweep() -> VirtualRecording:
    world = random_world(np.random.default_rng(11), 5)
    phone = VirtualPhone(frames=24, rgb_size=(160, 120), depth_size=(96, 72), arc_deg=70)
    return record(world, phone, np.random.default_rng(12))


class TestStrayVideoOffset:
    """A video one frame short: which frame is it that is missing?"""

    @pytest.mark.parametrize("lost", ["first", "last"])
    def test_edges_of_depth_tell(self, lost: str, sweep: VirtualRecording, tmp_path: Path) -> None:
        WRITERS["stray"](sweep, tmp_path / "scan")
        if lost == "last":
            (tmp_path / "scan/rgb.mp4").write_bytes(video(sweep, list(range(len(sweep) - 1))))
        capture = read_capture(tmp_path / "scan")
        coloured = [frame.index for frame in capture.frames if frame.read_rgb is not None]
        assert coloured == (list(range(1, 24)) if lost == "first" else list(range(23)))
        rgb = capture.frames[12].rgb()
        assert rgb is not None
        errors = [np.abs(rgb.astype(float) - sweep.rgb(index)).mean() for index in (11, 12, 13)]
        assert np.argmin(errors) == 1
        assert any("lacks its last frame" in sentence for sentence in capture.missing) == (lost == "last")
