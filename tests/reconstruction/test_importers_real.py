"""Real scans beside the project (skipped where absent): imported, in the right convention, at the right scale."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from reconstruction.capture import Capture
from reconstruction.conventions import check_convention
from reconstruction.importers import read_capture
from tests.linemod import convert
from tests.phone_files import zipped

DATA = Path(__file__).parents[3] / "shared" / "data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="no real scans here")

# folder: format, frames, frames with colour, largest reprojection error in mm
SCANS = {
    "iphone_laan_blocks": ("laan", 92, 31, 4.0),
    "iphone_record3d_doorhandle": ("record3d", 57, 57, 6.0),
    "iphone_stray_room_norgb": ("stray", 300, 0, 15.0),
    "rgbd_7scenes_kitchen": ("rgbd", 200, 200, 12.0),
}


@pytest.mark.parametrize("name", sorted(SCANS))
def test_scan(name: str) -> None:
    kind, frames, coloured, error_mm = SCANS[name]
    capture = check_convention(read_capture(DATA / name))
    assert capture.format == kind
    assert len(capture.frames) == frames
    assert sum(frame.read_rgb is not None for frame in capture.frames) == coloured
    assert capture.metric
    assert capture.convention_error_m is not None
    assert capture.convention_error_m < error_mm / 1000
    assert (capture.up is None) == (kind == "rgbd")


def test_zip_of_a_real_scan(tmp_path: Path) -> None:
    folder = DATA / "iphone_record3d_doorhandle"
    capture = read_capture(zipped(folder, tmp_path / "whatever.bin", prefix="Exports/today/"))
    other = read_capture(folder)
    assert len(capture.frames) == len(other.frames)
    for index in (0, 30, 56):
        one, two = capture.frames[index], other.frames[index]
        np.testing.assert_array_equal(one.capture_from_camera, two.capture_from_camera)
        np.testing.assert_array_equal(one.depth_m(), two.depth_m())
        np.testing.assert_array_equal(one.rgb(), two.rgb())


def test_linemod_converted(tmp_path: Path) -> None:
    capture = check_convention(read_capture(convert(DATA / "rgbd_linemod_cat_L2", tmp_path / "cat")))
    assert len(capture.frames) == 67
    assert capture.convention_error_m is not None
    assert capture.convention_error_m < 0.006


def tag_corners(capture: Capture) -> dict[int, list[tuple[np.ndarray, np.ndarray]]]:
    """ArUco id -> (camera matrix ``(3, 4)``, corners ``(4, 2)``) of each sighting."""
    kinds = [cv2.aruco.DICT_6X6_50, cv2.aruco.DICT_6X6_100, cv2.aruco.DICT_6X6_250, cv2.aruco.DICT_6X6_1000]
    frames = [frame for frame in capture.frames if frame.read_rgb is not None][::3]
    for kind in kinds:
        detector = cv2.aruco.ArucoDetector(cv2.aruco.getPredefinedDictionary(kind))
        found: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {}
        for frame in frames:
            corners, ids, _ = detector.detectMarkers(cv2.cvtColor(frame.rgb(), cv2.COLOR_RGB2GRAY))
            camera = frame.intrinsics @ np.linalg.inv(frame.capture_from_camera)[:3]
            for tag, points in zip([] if ids is None else ids.ravel(), corners, strict=True):
                found.setdefault(int(tag), []).append((camera, points.reshape(4, 2)))
        if sum(len(sightings) > 4 for sightings in found.values()) > 10:
            return found
    return {}


def triangulated(sightings: list[tuple[np.ndarray, np.ndarray]], corner: int) -> np.ndarray:
    """The point ``(3,)`` that a corner's sightings agree on (linear triangulation)."""
    rows = [
        row for camera, points in sightings for row in (points[corner, :1, None] * camera[2:] - camera[:2][:1],
                                                        points[corner, 1:, None] * camera[2:] - camera[1:2])
    ]  # fmt: skip
    _, _, vt = np.linalg.svd(np.concatenate(rows))
    return vt[-1, :3] / vt[-1, 3]


@pytest.mark.skipif(not hasattr(cv2, "aruco"), reason="OpenCV without ArUco")
def test_tags_on_the_blocks_have_their_real_size() -> None:
    """Poses and intrinsics alone: sides of the printed tags are 16.65 mm (data set's README)."""
    found = tag_corners(read_capture(DATA / "iphone_laan_blocks"))
    assert found
    sides = []
    for sightings in found.values():
        if len(sightings) > 4:
            corners = np.array([triangulated(sightings, corner) for corner in range(4)])
            sides.extend(np.linalg.norm(corners - np.roll(corners, 1, axis=0), axis=1))
    assert np.median(sides) == pytest.approx(0.01665, rel=0.03)
