"""What a policy makes of what it sees: encoders turn observations into tokens.

`ENCODERS` names them: an encoder for another kind of observation is one class and one entry there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from policies.features import STATE
from simulation.kinematics import Chain
from simulation.privileged import COLUMN

BOX = 12
"""Numbers of a thing in `simulation.privileged`."""


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
    """A robot's kinematics (`simulation.kinematics.Chain`) in torch: they go into the bundle with the policy."""

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


class StateEncoder(nn.Module):
    """Sees where everything is: the arm's joints, and the boxes about the things of the task. One token for each.

    What a thing is to the hand is said in the hand's frame too: there it is the same wherever it happens.
    """

    def __init__(self, state: int, around: int, width: int) -> None:
        """An encoder for states of `state` numbers, the gripper's last, and surroundings of `around` numbers."""
        super().__init__()
        self.arm = Arm(state - 1)
        zeros = {STATE: torch.zeros(1, 2, state), COLUMN: torch.zeros(1, around)}
        sizes = [vector.shape[1] for vector in self.vectors(zeros)]
        self.scalers = nn.ModuleList(Scaler(size) for size in sizes)
        self.readers = nn.ModuleList(perceptron(size, width) for size in sizes)

    def vectors(self, seen: Mapping[str, Tensor]) -> list[Tensor]:
        """``(B, n)`` for each token: the arm, then thing after thing.

        Args:
            seen: states ``(B, 2, J + 1)``, one tick ago and now, and surroundings ``(B, n)``.
        """
        states, around = seen[STATE], seen[COLUMN]
        position, rotation = self.arm(states[:, 1, :-1])
        found = [torch.cat([states.flatten(1), position, rotation[:, :, :2].flatten(1)], dim=1)]
        middles: list[Tensor] = []
        for thing in around.split(BOX, dim=1):
            away = thing[:, :3] - position
            rows = [thing, away, (rotation.mT @ away[:, :, None])[:, :, 0]]
            if thing.shape[1] == BOX:  # a zone has no edges
                edges = thing[:, 3:].unflatten(1, (3, 3))
                rows.append((edges @ rotation).flatten(1))
            found.append(torch.cat([*rows, *(thing[:, :3] - middle for middle in middles)], dim=1))
            middles.append(thing[:, :3])
        return found

    def fit(self, seen: Mapping[str, Tensor]) -> None:
        """Take over the scales of training data."""
        for scaler, vector in zip(self.scalers, self.vectors(seen), strict=True):
            assert isinstance(scaler, Scaler)
            scaler.fit(vector)

    def forward(self, seen: Mapping[str, Tensor], noise: float = 0.0) -> Tensor:
        """Tokens ``(B, M, D)``; `noise` in units of the scales is added before."""
        tokens = []
        for scaler, reader, vector in zip(self.scalers, self.readers, self.vectors(seen), strict=True):
            scaled = scaler(vector)
            tokens.append(reader(scaled + noise * torch.randn_like(scaled) if noise else scaled))
        return torch.stack(tokens, dim=1)


ENCODERS: dict[str, Callable[[int, int, int], StateEncoder]] = {"state": StateEncoder}


def perceptron(size: int, width: int) -> nn.Module:
    """Two layers from `size` numbers to a token."""
    return nn.Sequential(nn.Linear(size, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
