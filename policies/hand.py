"""Where the hand is, in torch, and the world as it is seen from there."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from policies.precision import in_float32
from simulation.chain import Chain
from simulation.privileged import BOX

PAIRS = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))
"""The entries that make a symmetric matrix ``(3, 3)``."""
SHAPE = 9
"""Numbers of a thing's shape (`Hand.things`)."""


class Arm(nn.Module):
    """A robot's kinematics (`simulation.chain.Chain`) in torch: they go into the bundle with the policy."""

    before: Tensor
    turns: Tensor
    slides: Tensor

    def __init__(self, joints: int) -> None:
        """An arm that is all at its base, until `describe` or a checkpoint says more."""
        super().__init__()
        self.register_buffer("before", torch.eye(4).repeat(joints + 1, 1, 1))
        self.register_buffer("turns", torch.zeros(joints, 3, 3))
        self.register_buffer("slides", torch.zeros(joints, 3))

    def describe(self, chain: Chain) -> None:
        """Take over an arm."""
        self.before.copy_(torch.from_numpy(np.array(chain.fixed)))
        for number, axis in enumerate(chain.axes):
            x, y, z = axis
            cross = torch.tensor([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
            sliding = bool(chain.sliding[number])
            self.turns[number] = torch.zeros(3, 3) if sliding else cross
            self.slides[number] = torch.tensor(axis) if sliding else torch.zeros(3)

    @in_float32
    def forward(self, q: Tensor) -> tuple[Tensor, Tensor]:
        """Position ``(B, 3)`` and rotation ``(B, 3, 3)`` of the tool in the base frame, for positions ``(B, J)``."""
        rotation = torch.eye(3, device=q.device).expand(len(q), 3, 3)
        position = torch.zeros(len(q), 3, device=q.device)
        for number in range(len(self.turns)):
            position = position + rotation @ self.before[number, :3, 3]
            rotation = rotation @ self.before[number, :3, :3]
            angle, cross = q[:, number, None, None], self.turns[number]
            position = position + (rotation @ self.slides[number]) * q[:, number, None]
            # Rodrigues' formula.
            own = torch.eye(3, device=q.device) + angle.sin() * cross + (1.0 - angle.cos()) * (cross @ cross)
            rotation = rotation @ own
        last = self.before[-1]
        return position + rotation @ last[:3, 3], rotation @ last[:3, :3]


class Hand(NamedTuple):
    """Where the tool is: what is around, and what is to be done, is said as it is seen from there.

    There it is the same wherever on the table it happens, so that it need not be learnt for every place anew.

    Attributes:
        position: ``(B, 3)`` metres, base frame.
        rotation: ``(B, 3, 3)`` `base_from_tool`.
    """

    position: Tensor
    rotation: Tensor

    def points(self, points: Tensor) -> Tensor:
        """Points ``(B, …, 3)`` of the base frame as seen from the hand."""
        return self.directions(points - _beside(self.position, points))

    @in_float32
    def directions(self, vectors: Tensor) -> Tensor:
        """Vectors ``(B, …, 3)`` likewise."""
        return (_beside(self.rotation.mT, vectors[..., None]) @ vectors[..., None])[..., 0]

    def poses(self, poses: Tensor) -> Tensor:
        """Tool poses and openings ``(B, …, POSE)`` (see `windows`) likewise."""
        return torch.cat([self.points(poses[..., :3]), *map(self.directions, _axes(poses)), poses[..., 9:]], dim=-1)

    def poses_back(self, poses: Tensor) -> Tensor:
        """What `poses` made, in the base frame again."""
        return self.back().poses(poses)

    @in_float32
    def back(self) -> Hand:
        """The base as it is seen from the hand: what turns what the hand sees into the base frame."""
        turned = self.rotation.mT
        return Hand(-(turned @ self.position[..., None])[..., 0], turned)

    @in_float32
    def shapes(self, shapes: Tensor) -> Tensor:
        """Shapes ``(B, T, SHAPE)`` (see `things`) of the base frame as seen from the hand."""
        rows = [shapes[..., PAIRS.index((min(a, b), max(a, b)))] for a in range(3) for b in range(3)]
        square = torch.stack(rows, dim=-1).unflatten(-1, (3, 3))
        turn = self.rotation[:, None]
        return torch.cat([_six(turn.mT @ square @ turn), self.directions(shapes[..., 6:])], dim=-1)

    @in_float32
    def things(self, around: Tensor) -> list[tuple[Tensor, Tensor | None]]:
        """Middles ``(B, …, 3)`` and shapes ``(B, …, SHAPE)`` of things ``(B, …, n)`` (`simulation.privileged`).

        A shape is how far the thing goes each way, the six entries of a matrix, in which both ends of a thing are
        alike; then from its middle to its centre of mass (3), in which they are not. A zone has none.
        """
        found: list[tuple[Tensor, Tensor | None]] = []
        for thing in around.split(BOX, dim=-1):
            shape = None
            if thing.shape[-1] == BOX:
                edges = self.directions(thing[..., 3:12].unflatten(-1, (3, 3)))
                # Σ e eᵀ / |e|: the same whichever edge of a box is named first, and whichever way it points.
                extent = _six(edges.mT @ (edges / edges.norm(dim=-1, keepdim=True).clamp_min(1e-6)))
                shape = torch.cat([extent, self.directions(thing[..., 12:])], dim=-1)
            found.append((self.points(thing[..., :3]), shape))
        return found


def perceptron(size: int, width: int, out: int | None = None) -> nn.Module:
    """Two layers from `size` numbers to `out`, or to a token of `width`."""
    return nn.Sequential(nn.Linear(size, 2 * width), nn.GELU(), nn.Linear(2 * width, width if out is None else out))


def _six(square: Tensor) -> Tensor:
    return torch.stack([square[..., a, b] for a, b in PAIRS], dim=-1)


def _axes(poses: Tensor) -> tuple[Tensor, Tensor]:
    return poses[..., 3:6], poses[..., 6:9]


def _beside(values: Tensor, others: Tensor) -> Tensor:
    """Values ``(B, …)`` with as many dimensions as `others`, more of them after the first."""
    return values.view(len(values), *[1] * (others.ndim - values.ndim), *values.shape[1:])
