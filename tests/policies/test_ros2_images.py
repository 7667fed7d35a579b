"""Pictures and poses as ROS sends them, whatever the encoding."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from policies.deploy.ros2 import images
from policies.deploy.ros2.settings import pose_from, pose_numbers


def test_poses_are_told_as_tf_tells_them() -> None:
    assert pose_from([1, 2, 3, 0, 0, np.pi / 2])[:3, 0] == pytest.approx([0, 1, 0])
    rng = np.random.default_rng(0)
    for pitch in (0.3, np.pi / 2, -np.pi / 2):
        pose = pose_from([*rng.normal(size=3), 0.4, pitch, -1.1])
        assert pose_from(pose_numbers(pose)) == pytest.approx(pose, abs=1e-5)


def sent(array: np.ndarray, encoding: str, padding: int = 0, header: Any = None) -> Any:
    height, width = array.shape[:2]
    rows = array.reshape(height, -1).view(np.uint8)
    padded = np.pad(rows, ((0, 0), (0, padding)), constant_values=255)
    big = int(array.dtype.str[0] == ">")
    return SimpleNamespace(height=height, width=width, encoding=encoding, is_bigendian=big, step=padded.shape[1], data=padded.tobytes(), header=header)  # fmt: skip  # noqa: E501


def test_pictures_of_every_encoding_are_the_same() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    square = rgb[:, 8:56].reshape(16, 3, 16, 3, 3).mean(axis=(1, 3))
    alpha = np.full((48, 64, 1), 9, dtype=np.uint8)
    ways = {
        "rgb8": rgb,
        "bgr8": rgb[..., ::-1],
        "rgba8": np.concatenate([rgb, alpha], axis=2),
        "bgra8": np.concatenate([rgb[..., ::-1], alpha], axis=2),
    }
    for encoding, array in ways.items():
        for padding in (0, 5):
            found = images.picture(sent(np.ascontiguousarray(array), encoding, padding), 16)
            assert (found.dtype, found.shape) == (np.uint8, (16, 16, 3))
            assert np.abs(found - square).max() <= 0.51
    grey = images.picture(sent(np.ascontiguousarray(rgb[..., :1]), "mono8"), 48)
    assert (grey == rgb[:, 8:56, :1]).all()
    uneven = images.picture(sent(np.full((50, 37, 3), 77, dtype=np.uint8), "rgb8"), 16)
    assert (uneven == 77).all()


def test_pictures_that_are_none_are_refused() -> None:
    good = np.zeros((4, 6, 3), dtype=np.uint8)
    for change in ({"encoding": "yuv422_yuy2"}, {"step": 17}, {"data": b"tea"}, {"height": 0}, {"width": 1 << 20}):
        message = sent(good, "rgb8")
        message.__dict__.update(change)
        with pytest.raises(ValueError, match="it"):
            images.picture(message, 2)
    with pytest.raises(ValueError, match="rgb8"):
        images.depth(sent(good, "rgb8"), 2)


def test_depth_is_metres_and_never_between_near_and_far() -> None:
    metres = np.where(np.arange(8) < 4, 0.5, 2.0)[None].repeat(8, axis=0)
    metres[0, 0] = 0.0
    for kind in ("<u2", ">u2"):
        found = images.depth(sent((metres * 1000).astype(kind), "16UC1", 4), 8)
        assert found == pytest.approx(metres, abs=1e-6)
    bad = metres.astype("<f4")
    bad[1, 1], bad[2, 2], bad[3, 3] = np.nan, np.inf, -1.0
    found = images.depth(sent(bad, "32FC1"), 8)
    assert (found[1, 1], found[2, 2], found[3, 3], found[4, 4]) == (0.0, 0.0, 0.0, 2.0)
    assert set(np.unique(images.depth(sent(metres.astype("<f4"), "32FC1"), 3)).tolist()) <= {0.0, 0.5, 2.0}
