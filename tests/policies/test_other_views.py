"""Pictures as cameras that look elsewhere would have taken them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from policies.eyes import Camera
from policies.other_views import other_view
from simulation.calibration import calibrated, calibration
from simulation.optics import Optics

SIDE = 96


def _world(known: Tensor) -> Tensor:
    """A picture ``(3, SIDE, SIDE)`` of a world infinitely far away, of smooth colours, by a camera that is known."""
    pose, optics = calibrated(known.numpy(), (SIDE, SIDE))
    down, right = np.meshgrid(np.arange(SIDE), np.arange(SIDE), indexing="ij")
    x, y = optics.rays(right, down)
    rays = np.stack([x, y, np.ones_like(x)], axis=-1) @ pose[:3, :3].T
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    return torch.from_numpy(np.moveaxis(np.sin(6.0 * rays), -1, 0)).float()


def _known(lens: float) -> Tensor:
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_euler("xyz", [2.5, 0.3, -1.0]).as_matrix()
    pose[:3, 3] = 0.4, -0.2, 0.8
    return torch.from_numpy(calibration(pose, Optics(1.1 * SIDE / 2, (SIDE, SIDE), lens))).float()


@pytest.mark.parametrize("lens", [0.0, 0.2, -0.08])
def test_the_picture_is_what_the_other_camera_sees(lens: float) -> None:
    torch.manual_seed(5)
    known = _known(lens).expand(8, -1)
    picture = _world(known[0]).expand(8, -1, -1, -1)
    seen, told, _ = other_view(picture, known, torch.zeros(8, 1, 3), torch.randn(8, 4))
    assert (told[:, 3:10] - known[:, 3:10]).abs().amax(dim=1).min() > 0.02
    for one, row in zip(seen, told, strict=True):
        inside = one.abs().amax(dim=0) > 0.0  # what the camera did not see is grey
        inside[[0, -1]] = inside[:, [0, -1]] = False
        off = (one - _world(row)).abs().amax(dim=0)
        assert inside.float().mean() > 0.4
        # At its edge, what it saw goes over into grey.
        assert off[inside].quantile(0.95) < 0.02


@pytest.mark.parametrize("lens", [0.0, 0.2, -0.08])
def test_things_are_where_it_says_and_as_far_away_from_the_camera(lens: float) -> None:
    torch.manual_seed(6)
    known = _known(lens).expand(64, -1)
    pose, optics = calibrated(known[0].numpy(), (SIDE, SIDE))
    in_camera = np.random.default_rng(0).uniform([-0.3, -0.3, 0.5], [0.3, 0.3, 0.9], (64, 3, 3))
    points = np.concatenate([optics.seen_at(in_camera), in_camera[..., 2:]], axis=-1)
    _, told, moved = other_view(
        torch.zeros(64, 3, 32, 32), known, torch.from_numpy(points).float(), 0.5 * torch.randn(64, 4)
    )
    rays = Camera.told(told, None).rays(moved[..., :2])
    there = told[:, None, :3] + rays * moved[..., 2:]
    truly = torch.from_numpy(in_camera @ pose[:3, :3].T + pose[:3, 3]).float()
    near = moved[..., :2].abs().amax(dim=-1) < 1.0
    assert near.float().mean() > 0.8
    assert (there - truly).norm(dim=-1)[near].max() < 2e-3


def test_what_the_camera_did_not_see_the_other_one_does_not_see_either() -> None:
    known = _known(0.0)[None]
    points = torch.tensor([[[1.1, 0.0, 0.5], [0.0, 0.0, -0.5], [0.2, 0.1, 0.5]]])
    wider = torch.tensor([[0.0, 0.0, 0.0, -3.0]])
    *_, moved = other_view(torch.zeros(1, 3, 32, 32), known, points, wider)
    assert (moved[0, :, 2] > 0.0).tolist() == [False, False, True]
    assert abs(float(moved[0, 0, 0])) < 1.0  # it would be within the picture, which is grey there
    *_, same = other_view(torch.zeros(1, 3, 32, 32), known, points, torch.zeros(1, 4))
    assert torch.allclose(same[0, 2], points[0, 2], atol=1e-5)
