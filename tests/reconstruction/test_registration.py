"""Colour laid onto depth: found where the two are of different cameras, and left alone where they fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from reconstruction.capture import Capture, Frame
from reconstruction.registration import RegistrationSettings, registered

SIZE = (320, 240)


def things(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Depth of boxes before a wall, and a colour image of the same: each thing of a colour, with noise."""
    rng = np.random.default_rng(seed)
    depth = np.full(SIZE[::-1], 1.5, np.float32)
    rgb = np.full((*SIZE[::-1], 3), 120, np.uint8)
    for _ in range(12):
        x, y = rng.integers(10, 280), rng.integers(10, 200)
        w, h = rng.integers(15, 60), rng.integers(15, 50)
        depth[y : y + h, x : x + w] = rng.uniform(0.5, 1.1)
        rgb[y : y + h, x : x + w] = rng.integers(0, 255, 3)
    noise = rng.normal(0, 4, rgb.shape)
    return depth, np.clip(rgb + noise, 0, 255).astype(np.uint8)


def shown(rgb: np.ndarray, scale: float, shift: tuple[float, float]) -> np.ndarray:
    """The picture of a camera that shows what the depth camera has at u at ``center + scale (u - center) + shift``."""
    center = (np.array(SIZE) - 1) / 2
    matrix = np.column_stack([scale * np.eye(2), (1 - scale) * center + shift])
    return np.asarray(cv2.warpAffine(rgb, matrix, SIZE, borderMode=cv2.BORDER_REPLICATE))


def capture(scale: float = 1.0, shift: tuple[float, float] = (0.0, 0.0), *, noise: bool = False) -> Capture:
    frames = []
    for number in range(8):
        depth, rgb = things(number)
        image = shown(things(100 + number)[1] if noise else rgb, scale, shift)
        frames.append(
            Frame(
                number, 0.1 * number, SIZE, np.eye(3), np.eye(4), SIZE, lambda image=image: image,
                lambda depth=depth: depth,
            )
        )  # fmt: skip
    return Capture("scan", "rgbd", Path("scan"), "camera", frames)


@pytest.mark.parametrize(("scale", "shift"), [(0.9, (-5.0, 2.0)), (1.0, (9.0, 0.0)), (1.08, (0.0, -6.0))])
def test_a_scale_and_a_shift_are_found_and_taken_out(scale: float, shift: tuple[float, float]) -> None:
    moved, found = registered(capture(scale, shift))
    assert found is not None
    assert found.scale == pytest.approx(scale, abs=0.012)
    assert np.array(found.shift) * SIZE[0] == pytest.approx(np.array(shift), abs=1.5)
    for before, after in zip(capture().frames, moved.frames, strict=True):
        original, result = before.rgb(), after.rgb()
        assert original is not None
        assert result is not None
        error = np.abs(original.astype(float) - result)[20:-20, 20:-20].max(axis=2)
        assert (error > 40).mean() < 0.12  # edges are soft and off by a pixel at most
        assert after.depth_m() is not None


def test_images_that_fit_are_left_as_they_are() -> None:
    scan = capture()
    moved, found = registered(scan)
    assert found is None
    assert moved is scan


def test_colours_of_something_else_are_left_as_they_are() -> None:
    assert registered(capture(noise=True))[1] is None


def test_without_edges_colour_or_leave_nothing_is_moved() -> None:
    scan = capture(0.9)
    flat = replace(scan, frames=[replace(f, read_depth=lambda: np.ones(SIZE[::-1], np.float32)) for f in scan.frames])
    assert registered(flat)[1] is None
    grey = replace(scan, frames=[replace(frame, read_rgb=None) for frame in scan.frames])
    assert registered(grey) == (grey, None)
    assert registered(scan, RegistrationSettings(frames=0))[1] is None


def test_damaged_images_are_passed_over() -> None:
    scan = capture(0.9)
    frames = [replace(f, read_rgb=(lambda: None) if f.index % 2 else f.read_rgb) for f in scan.frames]
    moved, found = registered(replace(scan, frames=frames))
    assert found is not None
    assert [frame.rgb() is None for frame in moved.frames] == [bool(frame.index % 2) for frame in frames]
