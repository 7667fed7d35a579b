"""The reprojection test tells the right reading of poses from wrong ones, and keeps silent where it cannot tell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from reconstruction.capture import Capture, Frame
from reconstruction.conventions import DECLARED, HYPOTHESES, check_convention, convention_test
from reconstruction.errors import InputError
from tests import phone_files as phone

SIZE = (96, 72)
K = np.array([[84.0, 0.0, 47.5], [0.0, 84.0, 35.5], [0.0, 0.0, 1.0]])
DepthOf = Callable[[np.ndarray], np.ndarray]


def corner(pose: np.ndarray) -> np.ndarray:
    return phone.depth_m(pose, K, SIZE)


def wall(pose: np.ndarray) -> np.ndarray:
    """Depth of a bare wall at z = -1.2."""
    v, u = np.mgrid[0 : SIZE[1], 0 : SIZE[0]]
    rays = np.stack([(u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], np.ones(u.shape)], axis=-1)
    return -(pose[2, 3] + 1.2) / (rays @ pose[2, :3])


def walk(count: int = 40) -> list[np.ndarray]:
    return [phone.pose(0.15 * i) for i in range(count)]


def capture_of(
    poses: list[np.ndarray], depth_of: DepthOf = corner, noise_m: float = 0.0, drift_m: float = 0.0
) -> Capture:
    rng = np.random.default_rng(7)
    frames = []
    for i, pose in enumerate(poses):
        depth = (depth_of(pose) + noise_m * rng.normal(size=SIZE[::-1])).astype(np.float32)
        moved = pose.copy()
        moved[:3, 3] += drift_m * np.array([np.sin(i / 9), 0.0, np.cos(i / 7) - 1])
        frames.append(Frame(i, i / 30, SIZE, K, moved, SIZE, read_depth=lambda depth=depth: depth))  # type: ignore[misc]
    return Capture("made", "laan", Path("made"), "iPhone", frames)


def misread(capture: Capture, how: str) -> Capture:
    frames = [replace(f, capture_from_camera=HYPOTHESES[how](f.capture_from_camera)) for f in capture.frames]
    return replace(capture, frames=frames)


def test_exact_scan_fits_to_a_fraction_of_a_millimetre() -> None:
    """Only the nearest-pixel lookup is left: half a pixel of slope."""
    checked = check_convention(capture_of(walk()))
    assert checked.convention_error_m is not None
    assert checked.convention_error_m < 0.004


@pytest.mark.parametrize("noise_m", [0.0, 0.008])
@pytest.mark.parametrize("how", [name for name in HYPOTHESES if name != DECLARED])
def test_every_wrong_reading_is_found(how: str, noise_m: float) -> None:
    scan = misread(capture_of(walk(), noise_m=noise_m, drift_m=0.01), how)
    test = convention_test(scan)
    assert test is not None
    assert test.contradicts
    assert HYPOTHESES[test.alternative](HYPOTHESES[how](phone.pose(3))) == pytest.approx(phone.pose(3), abs=1e-9)
    with pytest.raises(InputError, match="do not fit") as caught:
        check_convention(scan)
    assert caught.value.code == "wrong_convention"
    assert "made" in caught.value.message


@pytest.mark.parametrize("how", list(HYPOTHESES))
def test_a_bare_wall_is_not_refused(how: str) -> None:
    sideways = []
    for i in range(30):
        pose = np.diag([1.0, -1.0, -1.0, 1.0])
        pose[:3, 3] = [0.02 * i, 0.004 * i, 0.0]
        sideways.append(pose)
    if how == DECLARED:
        error = check_convention(capture_of(sideways, wall, noise_m=0.004)).convention_error_m
        assert error is not None
        assert error < 0.01
    else:
        test = convention_test(capture_of(sideways, wall, noise_m=0.004))
        assert test is not None
        assert not test.contradicts


@pytest.mark.parametrize("count", [0, 1, 2, 40])
def test_without_motion_there_is_nothing_to_test(count: int) -> None:
    assert check_convention(capture_of([phone.pose(0)] * count)).convention_error_m is None


def test_without_depth_or_poses_there_is_nothing_to_test() -> None:
    scan = capture_of(walk())
    blind = replace(scan, frames=[replace(frame, read_depth=None) for frame in scan.frames])
    lost = replace(scan, frames=[replace(frame, capture_from_camera=None) for frame in scan.frames])
    assert check_convention(blind).convention_error_m is None
    assert check_convention(lost).convention_error_m is None


def test_heavy_drift_is_reported_but_not_refused() -> None:
    error = check_convention(capture_of(walk(), noise_m=0.02, drift_m=0.05)).convention_error_m
    assert error is not None
    assert error > 0.008


def test_damaged_frames_are_passed_over() -> None:
    def broken() -> np.ndarray:
        raise InputError("x is damaged", remedy="copy it", code="damaged_image")

    scan = capture_of(walk())
    frames = [replace(f, read_depth=broken) if f.index % 5 == 0 else f for f in scan.frames]
    assert check_convention(replace(scan, frames=frames)).convention_error_m is not None
