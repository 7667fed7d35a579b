from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from reconstruction.capture import Capture, Frame
from reconstruction.errors import ReconstructionError
from reconstruction.keyframes import KeyframeSettings, select_keyframes, select_views

K = np.array([[50.0, 0, 31.5], [0, 50.0, 23.5], [0, 0, 1]])


def pose(x: float, yaw_deg: float = 0.0) -> npt.NDArray[np.float64]:
    c, s = np.cos(np.radians(yaw_deg)), np.sin(np.radians(yaw_deg))
    matrix = np.eye(4)
    matrix[:3, :3] = [[c, 0, s], [0, 1, 0], [-s, 0, c]]
    matrix[0, 3] = x
    return matrix


def picture(sharp: bool) -> npt.NDArray[np.uint8]:
    import cv2

    noise = np.random.default_rng(1).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    return noise if sharp else np.asarray(cv2.GaussianBlur(noise, (9, 9), 3), dtype=np.uint8)


def frame(index: int, where: npt.NDArray[np.float64] | None, sharp: bool = True, depth: float = 0.8) -> Frame:
    return Frame(
        index=index,
        time_s=index / 60,
        size=(64, 48),
        intrinsics=K,
        capture_from_camera=where,
        depth_size=(64, 48),
        read_rgb=lambda: picture(sharp),
        read_depth=lambda: np.full((48, 64), depth, dtype=np.float32),
    )


def capture(frames: list[Frame]) -> Capture:
    return Capture("scan", "test", Path("scan"), "phone", frames)


def test_spacing_follows_motion_not_frame_rate() -> None:
    chosen = select_keyframes(capture([frame(i, pose(0.001 * i)) for i in range(200)]))
    x = np.array(chosen) * 0.001
    assert 9 <= len(chosen) <= 14
    assert np.all(np.diff(x) > 0.4 * 0.02)
    assert np.all(np.diff(x) < 1.7 * 0.02)


def test_turning_on_the_spot_counts() -> None:
    chosen = select_keyframes(capture([frame(i, pose(0.0, 0.5 * i)) for i in range(120)]))
    assert 18 <= len(chosen) <= 24


def test_trembling_on_the_spot_does_not() -> None:
    shake = np.random.default_rng(2).normal(0, 0.002, 500)
    assert len(select_keyframes(capture([frame(i, pose(float(shake[i]))) for i in range(500)]))) == 1


def test_the_sharpest_of_the_neighbours_is_taken() -> None:
    frames = [frame(i, pose(0.003 * i), sharp=i % 3 == 1) for i in range(120)]
    chosen = select_keyframes(capture(frames), KeyframeSettings(rivals=5))
    assert np.mean([i % 3 == 1 for i in chosen]) > 0.9


def test_the_apps_own_hint_is_used_without_reading_images() -> None:
    frames = [replace(frame(i, pose(0.003 * i)), read_rgb=None, blur=0.1 if i % 4 == 1 else 0.8) for i in range(80)]
    assert np.mean([i % 4 == 1 for i in select_keyframes(capture(frames))]) > 0.9


def test_slow_frames_are_preferred_where_no_image_may_be_read() -> None:
    steps = np.where(np.arange(400) % 8 < 4, 0.0005, 0.006)
    frames = [frame(i, pose(float(x))) for i, x in enumerate(np.cumsum(steps))]
    chosen = select_keyframes(capture(frames), KeyframeSettings(max_images=0))
    speeds = np.array([steps[i] for i in chosen[1:-1]])
    assert np.mean(speeds < 0.001) > 0.6


def test_frames_without_pose_or_depth_or_measurement_are_left_out() -> None:
    frames = [frame(i, pose(0.03 * i)) for i in range(12)]
    frames[3] = frame(3, None)
    frames[4] = frame(4, pose(0.12), depth=0.0)
    frames[5] = replace(frames[5], read_depth=None)
    frames[6] = frame(6, np.full((4, 4), np.nan))
    assert select_keyframes(capture(frames)) == [0, 1, 2, 7, 8, 9, 10, 11]


def test_the_cap_holds_and_the_whole_path_stays_covered() -> None:
    frames = [frame(i, pose(0.02 * i)) for i in range(700)]
    chosen = select_keyframes(capture(frames), KeyframeSettings(max_keyframes=60))
    assert 30 <= len(chosen) <= 60
    assert chosen[0] < 12
    assert chosen[-1] > 660
    assert max(np.diff(chosen)) <= 2 * 700 / len(chosen)


@pytest.mark.parametrize("frames", [[], [frame(0, None)], [frame(0, pose(0), depth=0.0)]])
def test_nothing_usable_is_an_error_with_a_remedy(frames: list[Frame]) -> None:
    with pytest.raises(ReconstructionError) as caught:
        select_keyframes(capture(frames))
    assert caught.value.remedy


def test_views_are_sharp_and_spread() -> None:
    frames = [frame(i, pose(0.02 * i), sharp=i % 3 == 0) for i in range(90)]
    views = select_views(capture(frames), range(90), KeyframeSettings(views=10))
    assert views == sorted(views)
    assert 8 <= len(views) <= 10
    assert all(i % 3 == 0 for i in views)
    assert max(np.diff(views)) <= 25


def test_views_need_colour_that_shows_something() -> None:
    dark = [replace(frame(i, pose(0.02 * i)), read_rgb=lambda: np.zeros((48, 64, 3), np.uint8)) for i in range(5)]
    grey = [replace(f, read_rgb=None) for f in dark]
    assert select_views(capture(dark), range(5)) == []
    assert select_views(capture(grey), range(5)) == []
