"""What a policy makes of what it sees: encoders turn observations into tokens.

`ENCODERS` names them: an encoder for another kind of observation is one class and one entry there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from policies.features import STATE
from simulation.chain import Chain
from simulation.privileged import COLUMN

BOX = 12
"""Numbers of a thing in `simulation.privileged`."""
PAIRS = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))
"""The entries that make a symmetric matrix ``(3, 3)``."""
NEAR_M = (0.1, 0.03, 0.01)
"""Distances are told on these scales too: where fingers close, millimetres count."""


class Scaler(nn.Module):
    """Makes values about one in size, by mean and standard deviation; goes where the network goes, into checkpoints."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, *shape: int) -> None:
        """Change nothing, until `fit`."""
        super().__init__()
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("deviation", torch.ones(shape))

    def fit(self, values: Tensor, least: float = 1e-3) -> None:
        """Take over the scale of values ``(N, …)``; what hardly varies is not blown up."""
        self.mean.copy_(values.mean(dim=0))
        self.deviation.copy_(values.std(dim=0).clamp_min(least))

    def forward(self, values: Tensor) -> Tensor:
        """Values made about one in size."""
        return (values - self.mean) / self.deviation

    def back(self, values: Tensor) -> Tensor:
        """What `forward` made, in units again."""
        return values * self.deviation + self.mean


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

    def directions(self, vectors: Tensor) -> Tensor:
        """Vectors ``(B, …, 3)`` likewise."""
        return (_beside(self.rotation.mT, vectors[..., None]) @ vectors[..., None])[..., 0]

    def poses(self, poses: Tensor) -> Tensor:
        """Tool poses and openings ``(B, …, POSE)`` (see `windows`) likewise."""
        return torch.cat([self.points(poses[..., :3]), *map(self.directions, _axes(poses)), poses[..., 9:]], dim=-1)

    def poses_back(self, poses: Tensor) -> Tensor:
        """What `poses` made, in the base frame again."""
        turn = Hand(torch.zeros_like(self.position), self.rotation.mT)
        position = turn.directions(poses[..., :3])
        position = position + _beside(self.position, position)
        return torch.cat([position, *map(turn.directions, _axes(poses)), poses[..., 9:]], dim=-1)

    def things(self, around: Tensor) -> list[tuple[Tensor, Tensor | None]]:
        """Middles and extents of things ``(B, …, n)`` (`simulation.privileged`); a zone has no extent."""
        found: list[tuple[Tensor, Tensor | None]] = []
        for thing in around.split(BOX, dim=-1):
            extent = None
            if thing.shape[-1] == BOX:
                edges = self.directions(thing[..., 3:].unflatten(-1, (3, 3)))
                # Σ e eᵀ / |e|: the same whichever edge of a box is named first, and whichever way it points.
                square = edges.mT @ (edges / edges.norm(dim=-1, keepdim=True).clamp_min(1e-6))
                extent = torch.stack([square[..., a, b] for a, b in PAIRS], dim=-1)
            found.append((self.points(thing[..., :3]), extent))
        return found


class StateEncoder(nn.Module):
    """Sees where everything is: the arm, and the boxes about the things of the task. One token for each."""

    def __init__(self, state: int, around: int, width: int) -> None:
        """An encoder for states of `state` numbers, the gripper's last, and surroundings of `around` numbers."""
        super().__init__()
        self.arm = Arm(state - 1)
        zeros = {STATE: torch.zeros(1, 2, state), COLUMN: torch.zeros(1, around)}
        sizes = [vector.shape[1] for vector in self.vectors(zeros)]
        self.scalers = nn.ModuleList(Scaler(size) for size in sizes)
        self.readers = nn.ModuleList(perceptron(size, width) for size in sizes)

    def hand(self, seen: Mapping[str, Tensor]) -> Hand:
        """Where the tool is now."""
        return Hand(*self.arm(seen[STATE][:, 1, :-1]))

    def vectors(self, seen: Mapping[str, Tensor]) -> list[Tensor]:
        """``(B, n)`` for each token: the arm, then thing after thing, then how one lies to the other.

        Args:
            seen: states ``(B, 2, J + 1)``, one tick ago and now, and surroundings ``(B, n)``.
        """
        states = seen[STATE]
        hand, before = self.hand(seen), Hand(*self.arm(states[:, 0, :-1]))
        back = hand.rotation.mT @ before.rotation
        spin = torch.stack([back[:, b, a] - back[:, a, b] for a, b in PAIRS[3:]], dim=1)
        reach = torch.stack([hand.position[:, 2], hand.position[:, :2].norm(dim=1)], dim=1)
        # The first joint turns all of it about the upright: that changes nothing.
        own = [reach, hand.rotation[:, 2], states[:, 1, 1:-1], states[:, :, -1], hand.points(before.position), spin]
        found, middles = [torch.cat(own, dim=1)], list[Tensor]()
        for middle, extent in hand.things(seen[COLUMN]):
            found.append(torch.cat([_near(middle), *([] if extent is None else [extent])], dim=1))
            middles.append(middle)
        if len(middles) > 1:
            found.append(_near(middles[1] - middles[0]))
        return found

    def fit(self, seen: Mapping[str, Tensor]) -> None:
        """Take over the scales of training data."""
        for scaler, vector in zip(self.scalers, self.vectors(seen), strict=True):
            assert isinstance(scaler, Scaler)
            scaler.fit(vector)

    def forward(self, seen: Mapping[str, Tensor]) -> Tensor:
        """Tokens ``(B, M, D)``."""
        readers = zip(self.scalers, self.readers, self.vectors(seen), strict=True)
        return torch.stack([reader(scaler(vector)) for scaler, reader, vector in readers], dim=1)


ENCODERS: dict[str, Callable[[int, int, int], StateEncoder]] = {"state": StateEncoder}


def perceptron(size: int, width: int) -> nn.Module:
    """Two layers from `size` numbers to a token."""
    return nn.Sequential(nn.Linear(size, 2 * width), nn.GELU(), nn.Linear(2 * width, width))


def _near(offset: Tensor) -> Tensor:
    """An offset ``(B, 3)`` as it is, and on finer scales ``(B, 12)``."""
    return torch.cat([offset, *(torch.tanh(offset / scale) for scale in NEAR_M)], dim=-1)


def _axes(poses: Tensor) -> tuple[Tensor, Tensor]:
    return poses[..., 3:6], poses[..., 6:9]


def _beside(values: Tensor, others: Tensor) -> Tensor:
    """Values ``(B, …)`` with as many dimensions as `others`, more of them after the first."""
    return values.view(len(values), *[1] * (others.ndim - values.ndim), *values.shape[1:])
