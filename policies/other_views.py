"""Pictures as the same camera would have taken them, had it been turned or its focal length another.

What a camera sees from one place determines what any other camera sees from there (Hartley & Zisserman, "Multiple View
Geometry in Computer Vision", 2004, 8.4): so a picture whose camera and contents are known is as many as one likes, and
all of them are right but for the sampling.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from policies.precision import in_float32

TILT_RAD, ROLL_RAD, ZOOM = 0.08, 0.2, 0.15
"""How far cameras are turned across and about their optical axis, and their focal lengths are changed (a share):
standard deviations."""
ROUNDS = 8
KNOTS = 25
"""Rows and columns of a picture for which it is reckoned where they were: between them it hardly bends."""


def undistorted(where: Tensor, lens: Tensor) -> Tensor:
    """Where a pinhole camera sees what is at places of a picture ``(B, N, 2)``, −1 … 1, as wide as high.

    Args:
        where: in the picture.
        lens: ``(B,)`` (`simulation.optics.Optics.lens`).
    """
    lens = lens[:, None, None]
    return where * (1.0 + lens * where.square().sum(dim=-1, keepdim=True)) / (1.0 + 2.0 * lens).clamp_min(1.0)


def distorted(pinhole: Tensor, lens: Tensor) -> Tensor:
    """What `undistorted` was made from: by fixed-point iteration (`simulation.optics.Optics.seen_at`)."""
    wide = lens[:, None, None]
    shrunk = pinhole * (1.0 + 2.0 * wide).clamp_min(1.0)
    at = pinhole
    for _ in range(ROUNDS):
        at = shrunk / (1.0 + wide * at.square().sum(dim=-1, keepdim=True).clamp_max(8.0))
    return at


@in_float32
def other_view(picture: Tensor, known: Tensor, points: Tensor, chance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Pictures, what is known of their cameras, and where things are in them, of cameras turned and zoomed by chance.

    What the camera did not see is grey, and things that it did not see are told to lie behind it.

    Args:
        picture: ``(B, 3, H, H)``, 0 is grey.
        known: ``(B, 11)`` of the camera (`simulation.calibration`).
        points: ``(B, T, 3)`` right and down (the picture is −1 … 1), and depth (m) (`Take.image_points`).
        chance: ``(B, 4)`` drawn from the standard normal distribution.
    """
    count, device = len(picture), picture.device
    angles = chance[:, :3] * torch.tensor([TILT_RAD, TILT_RAD, ROLL_RAD], device=device)
    old_from_new = torch.linalg.matrix_exp(_cross(angles))
    focal, lens = known[:, 9], known[:, 10]
    zoomed = focal * torch.exp(ZOOM * chance[:, 3])
    side = picture.shape[-1]
    at = torch.linspace(1.0 / side - 1.0, 1.0 - 1.0 / side, KNOTS, device=device)
    down, right = torch.meshgrid(at, at, indexing="ij")
    grid = torch.stack([right, down], dim=-1).flatten(0, 1).expand(count, -1, -1)
    old = _seen(_rays(grid, zoomed, lens) @ old_from_new.mT, focal, lens).mT.unflatten(2, (KNOTS, KNOTS))
    old = nn.functional.interpolate(old, size=(side, side), mode="bilinear", align_corners=True)
    found = nn.functional.grid_sample(picture, old.permute(0, 2, 3, 1), align_corners=False)
    seen = (points[..., :2].abs().amax(dim=-1) < 1.0) & (points[..., 2] > 0.0)
    ahead = _rays(points[..., :2], focal, lens) @ old_from_new
    depth = torch.where(seen, (points[..., 2] * ahead[..., 2]).abs(), -1.0)
    moved = torch.cat([_seen(ahead, zoomed, lens), depth[..., None]], dim=-1)
    x, y = known[:, 3:6], known[:, 6:9]
    turned = torch.stack([x, y, torch.linalg.cross(x, y)], dim=-1) @ old_from_new
    axes = turned[..., :2].mT.flatten(1)
    return found, torch.cat([known[:, :3], axes, zoomed[:, None], known[:, 10:]], dim=1), moved


def _rays(where: Tensor, focal: Tensor, lens: Tensor) -> Tensor:
    """``(B, N, 3)`` lines of sight in the camera frame, 1 along the optical axis."""
    across = undistorted(where, lens) / focal[:, None, None]
    return torch.cat([across, torch.ones_like(across[..., :1])], dim=-1)


def _seen(rays: Tensor, focal: Tensor, lens: Tensor) -> Tensor:
    """``(B, N, 2)`` where in the picture; what lies aside or behind comes out far beyond its edge."""
    pinhole = rays[..., :2] / rays[..., 2:].clamp_min(0.05) * focal[:, None, None]
    return distorted(pinhole, lens)


def _cross(angles: Tensor) -> Tensor:
    """``(B, 3, 3)`` matrices of the cross products with vectors ``(B, 3)``."""
    x, y, z = angles.unbind(dim=1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=1).view(-1, 3, 3)
