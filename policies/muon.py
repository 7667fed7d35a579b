"""Muon: an optimiser for the matrices inside a network, which needs fewer steps than Adam to teach it to see.

Each step's direction is made orthogonal, so that all of a matrix learns at the same pace and not only what many
examples agree on (Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024). Narrow matrices, as
last layers are, and what is no matrix are left to Adam. PyTorch has one of its own only from 2.9 on, and not for
convolutions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import overload

import torch
from torch import Tensor, nn

LEAST = 16
"""A matrix with fewer rows or columns is left to Adam."""
MOMENTUM = 0.95
ROUNDS = 5
QUINTIC = (3.4445, -4.7750, 2.0315)
"""Of the Newton–Schulz iteration; singular values come out between about 0.7 and 1.2, which does as well as 1."""


def suits(weight: Tensor) -> bool:
    """Whether this optimiser is for a weight: a matrix or a convolution's filters, of some size."""
    return weight.ndim >= 2 and min(weight.flatten(1).shape) >= LEAST


class Muon(torch.optim.Optimizer):
    """See the module."""

    def __init__(self, weights: Iterable[nn.Parameter], lr: float, weight_decay: float = 0.0) -> None:
        """For weights that it `suits`.

        Args:
            weights: to be learnt.
            lr: length of a step: about how far each singular direction of a weight goes.
            weight_decay: share of a weight that is lost, times `lr`.
        """
        super().__init__(weights, {"lr": lr, "weight_decay": weight_decay})

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One step along the gradients that are there."""
        loss = None if closure is None else closure()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["mean"] = torch.zeros_like(weight)
                mean = state["mean"]
                mean.lerp_(weight.grad, 1.0 - MOMENTUM)
                way = orthogonal(weight.grad.lerp(mean, MOMENTUM).flatten(1))
                tall = max(1.0, way.shape[0] / way.shape[1]) ** 0.5
                weight.mul_(1.0 - group["lr"] * group["weight_decay"])
                weight.add_(way.reshape(weight.shape), alpha=-group["lr"] * tall)
        return loss


def orthogonal(matrix: Tensor) -> Tensor:
    """A matrix with the same singular directions, and all singular values about 1."""
    a, b, c = QUINTIC
    wide: Tensor = matrix.mT if matrix.shape[0] > matrix.shape[1] else matrix
    wide = wide / (wide.norm() + 1e-7)
    for _ in range(ROUNDS):
        square = wide @ wide.mT
        wide = a * wide + (b * square + c * square @ square) @ wide
    return wide.mT if matrix.shape[0] > matrix.shape[1] else wide
