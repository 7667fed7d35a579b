"""Figures of a scan against a scan whose figures are known."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from reconstruction.capture import Capture, Frame
from reconstruction.errors import InputError
from reconstruction.importers import read_capture
from reconstruction.inspection import contact_sheet, inspect_capture, path_length_m, sharpness
from tests import phone_files as phone

SIZE, DEPTH_SIZE = (80, 60), (40, 30)
K = np.array([[70.0, 0.0, 39.5], [0.0, 70.0, 29.5], [0.0, 0.0, 1.0]])


def constantly(image: np.ndarray) -> Callable[[], np.ndarray]:
    return lambda: image


def looking(place: np.ndarray, target: np.ndarray, up: np.ndarray) -> np.ndarray:
    """Capture-from-camera ``(4, 4)`` of a level camera at `place` that looks at `target`."""
    forward = (target - place) / np.linalg.norm(target - place)
    right = np.cross(forward, up)
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, np.cross(forward, right), forward], axis=1)
    pose[:3, 3] = place
    return pose


def texture(blurred: bool) -> np.ndarray:
    import cv2

    noise = np.random.default_rng(3).integers(0, 255, (*SIZE[::-1], 3), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 3) if blurred else noise


def orbit(arc_deg: float = 180.0, count: int = 37, blurred: int = 0, height_deg: float = 40.0) -> Capture:
    """A circle of radius 1 m round a point 0.5 m up, y up, looking down onto a floor that is flat at y = 0.5."""
    target, up = np.array([0.2, 0.5, -0.3]), np.array([0.0, 1.0, 0.0])
    tilt = np.radians(height_deg)
    frames = []
    for i, angle in enumerate(np.radians(np.linspace(0, arc_deg, count))):
        around = np.array([np.cos(angle) * np.cos(tilt), np.sin(tilt), np.sin(angle) * np.cos(tilt)])
        pose = looking(target + around, target, up)
        v, u = np.mgrid[0 : DEPTH_SIZE[1], 0 : DEPTH_SIZE[0]]
        rays = np.stack([(u * 2 - K[0, 2]) / K[0, 0], (v * 2 - K[1, 2]) / K[1, 1], np.ones(u.shape)], axis=-1)
        depth = (-np.sin(tilt) / (rays @ pose[1, :3])).astype(np.float32)
        depth[0] = 0.0
        confidence = np.zeros(DEPTH_SIZE[::-1], np.uint8)
        confidence[:, 10:], confidence[:, 30:] = 1, 2
        frames.append(
            Frame(
                index=2 * i if i < 10 else 2 * i + 4,
                time_s=i / 10,
                size=SIZE,
                intrinsics=K,
                capture_from_camera=pose,
                depth_size=DEPTH_SIZE,
                read_rgb=constantly(texture(i < blurred)),
                read_depth=constantly(depth),
                read_confidence=constantly(confidence),
            )
        )
    return Capture("orbit", "laan", Path("orbit"), "iPhone (LiDAR)", frames, up=up, missing=("no sugar",))


def visible_floor_m2(capture: Capture) -> float:
    """Area of the floor y = 0.5 that any camera of the scan sees, by projecting its points into all of them."""
    x, z = np.meshgrid(np.arange(-4, 4, 0.04), np.arange(-4, 4, 0.04))
    floor = np.stack([x.ravel(), np.full(x.size, 0.5), z.ravel(), np.ones(x.size)])
    seen = np.zeros(x.size, bool)
    for frame in capture.frames:
        assert frame.capture_from_camera is not None
        camera = np.linalg.inv(frame.capture_from_camera) @ floor
        u, v = (K[:2] @ camera[:3]) / np.where(camera[2] > 0, camera[2], np.inf)
        seen |= (
            (camera[2] > 0) & (abs(u - SIZE[0] / 2) < SIZE[0] / 2) & (v > 1) & (v < SIZE[1])
        )  # the first row of depth is empty
    return float(np.count_nonzero(seen)) * 0.04**2


def test_figures_of_a_half_circle() -> None:
    messages: list[float] = []
    found = inspect_capture(orbit(), lambda fraction, message: messages.append(fraction))
    assert messages == sorted(messages)
    assert messages[-1] == 1.0
    assert (found.frames, found.colour_frames, found.depth_frames, found.posed_frames) == (37, 37, 37, 37)
    assert (found.first_index, found.last_index) == (0, 76)
    assert found.missing_indices == (20, 22)
    assert found.missing_count == 2
    assert found.duration_s == pytest.approx(3.6)
    assert (found.colour_size, found.depth_size) == (SIZE, DEPTH_SIZE)
    assert found.path_length_m == pytest.approx(np.pi * np.cos(np.radians(40)), rel=0.01)
    assert found.coverage is not None
    assert found.coverage.azimuth_deg in (180, 190)
    assert found.coverage.elevation_deg == pytest.approx((40, 40), abs=1.5)
    assert not found.coverage.gravity_guessed
    assert found.coverage.area_m2 == pytest.approx(visible_floor_m2(orbit()), rel=0.1)
    assert found.blurred_share == 0.0
    assert found.depth_share == pytest.approx(29 / 30, abs=1e-3)
    assert found.confidence_shares == pytest.approx((0.25, 0.5, 0.25))
    assert found.depth_range_m is not None
    assert found.depth_range_m[0] < 1.0 < found.depth_range_m[2]
    assert found.convention_error_m is not None
    assert found.convention_error_m < 0.02
    assert found.metric
    assert found.gravity_known
    assert found.missing == ("no sugar",)


@pytest.mark.parametrize("arc_deg", [60, 355])
def test_coverage_follows_the_arc(arc_deg: float) -> None:
    coverage = inspect_capture(orbit(arc_deg, count=73)).coverage
    assert coverage is not None
    assert abs(coverage.azimuth_deg - arc_deg) <= 10


def test_gravity_guessed_from_how_the_phone_was_held() -> None:
    coverage = inspect_capture(replace(orbit(355, count=73), up=None)).coverage
    assert coverage is not None
    assert coverage.gravity_guessed
    assert coverage.elevation_deg == pytest.approx((40, 40), abs=3)


def test_blurred_frames_are_counted() -> None:
    share = inspect_capture(orbit(count=24, blurred=6)).blurred_share
    assert share == pytest.approx(0.25)
    assert sharpness(texture(blurred=False)) > 5 * sharpness(texture(blurred=True))


def test_trembling_is_no_way() -> None:
    rng = np.random.default_rng(0)
    frames = [replace(frame, capture_from_camera=_at(rng.normal(size=3) * 0.003)) for frame in orbit(count=100).frames]
    assert path_length_m(frames) < 0.05
    straight = [replace(frame, capture_from_camera=_at([0.01 * i, 0, 0])) for i, frame in enumerate(frames)]
    assert path_length_m(straight) == pytest.approx(0.99, abs=0.02)


def _at(place: object) -> np.ndarray:
    pose = np.eye(4)
    pose[:3, 3] = place
    return pose


def test_json_and_text_say_the_same() -> None:
    found = inspect_capture(orbit())
    table = json.loads(json.dumps(found.as_json(), allow_nan=False))
    assert table["frames"] == 37
    assert table["coverage"]["azimuth_deg"] == found.coverage.azimuth_deg if found.coverage else False
    text = found.text()
    for word in ("37 frames", "80x60", "40x30", "no sugar", "mm"):
        assert word in text


@pytest.mark.parametrize("kind", sorted(phone.EXPORTS))
def test_every_format_can_be_inspected(kind: str, tmp_path: Path) -> None:
    capture = read_capture(phone.EXPORTS[kind](tmp_path / "a"))
    found = inspect_capture(capture)
    json.dumps(found.as_json(), allow_nan=False)
    assert found.format == kind
    assert found.missing_count == 0
    assert found.text().startswith("a: ")
    sheet = contact_sheet(capture, columns=3, width=64)
    assert sheet.dtype == np.uint8
    assert sheet.shape[1:] == (192, 3)


def test_geometry_only_and_nothing_posed() -> None:
    scan = orbit(count=8)
    bare = replace(scan, frames=[replace(f, read_rgb=None, read_confidence=None, capture_from_camera=None)
                                 for f in scan.frames])  # fmt: skip
    found = inspect_capture(bare)
    assert found.blurred_share is None
    assert found.confidence_shares is None
    assert found.coverage is None
    assert found.convention_error_m is None
    assert found.path_length_m == 0.0
    assert "cannot be compared" in found.text()


def test_a_damaged_frame_does_not_stop_it_but_damaged_scans_do() -> None:
    def broken() -> np.ndarray:
        raise InputError("x.png is damaged", remedy="copy it", code="damaged_image")

    scan = orbit(count=20)
    some = [replace(f, read_rgb=broken, read_depth=broken) if i in (3, 4) else f for i, f in enumerate(scan.frames)]
    assert inspect_capture(replace(scan, frames=some)).frames == 20
    assert contact_sheet(replace(scan, frames=some)).shape[2] == 3
    every = [replace(f, read_rgb=broken, read_depth=broken) for f in scan.frames]
    with pytest.raises(InputError, match="x.png"):
        inspect_capture(replace(scan, frames=every))


class TestContactSheet:
    def test_layout(self) -> None:
        sheet = contact_sheet(orbit(count=11), columns=4, width=80)
        assert sheet.shape == (3 * (18 + 60 + 60), 320, 3)
        assert len(np.unique(sheet[-60:, 240:].reshape(-1, 3), axis=0)) == 1  # the twelfth place is empty

    def test_near_is_red_far_is_blue_none_is_grey(self) -> None:
        sheet = contact_sheet(orbit(count=1), width=80)
        depth = sheet[18 + 60 :].astype(int)
        near, far = depth[-3, 40], depth[4, 40]
        assert near[0] > near[2] + 50
        assert far[2] > far[0] + 20
        assert depth[0, 40].tolist() == [60, 60, 60]

    def test_it_shows_the_pictures(self) -> None:
        red = np.zeros((*SIZE[::-1], 3), np.uint8)
        red[..., 0] = 220
        scan = orbit(count=2)
        scan = replace(scan, frames=[replace(frame, read_rgb=constantly(red)) for frame in scan.frames])
        sheet = contact_sheet(scan, width=80)
        assert sheet[18 + 30, 40].tolist() == [220, 0, 0]
        assert sheet[:18].max() > 150  # the caption
