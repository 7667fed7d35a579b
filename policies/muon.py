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
            alike: dict[tuple[int, ...], list[nn.Parameter]] = {}
            for weight in group["params"]:
                if weight.grad is not None:
                    alike.setdefault(_lying(weight).shape, []).append(weight)
            for weights in alike.values():
                ways = orthogonal(torch.stack([_lying(self._pushed(weight)) for weight in weights]))
                for weight, way in zip(weights, ways, strict=True):
                    rows, columns = weight.flatten(1).shape
                    way = way.mT if rows > columns else way
                    weight.mul_(1.0 - group["lr"] * group["weight_decay"])
                    weight.add_(way.reshape(weight.shape), alpha=-group["lr"] * max(1.0, rows / columns) ** 0.5)
        return loss

    def _pushed(self, weight: nn.Parameter) -> Tensor:
        """Where a weight's gradients of late push it (Nesterov's momentum)."""
        grad, state = weight.grad, self.state[weight]
        assert grad is not None
        if not state:
            state["mean"] = torch.zeros_like(weight)
        mean: Tensor = state["mean"]
        mean.lerp_(grad, 1.0 - MOMENTUM)
        return grad.lerp(mean, MOMENTUM)


def _lying(weight: Tensor) -> Tensor:
    """As a matrix with no more rows than columns."""
    matrix = weight.flatten(1)
    return matrix.mT if matrix.shape[0] > matrix.shape[1] else matrix


def orthogonal(wide: Tensor) -> Tensor:
    """Matrices ``(N, R, C)``, R ≤ C, with the same singular directions, and all singular values about 1.

    The iteration is done on their squares, which are smaller; that comes to the same.
    """
    a, b, c = QUINTIC
    wide = wide / (wide.flatten(1).norm(dim=1)[:, None, None] + 1e-7)
    square, whole = wide @ wide.mT, torch.eye(wide.shape[1], device=wide.device)
    turned = whole
    for _ in range(ROUNDS):
        factor = a * whole + torch.baddbmm(square, square, square, beta=b, alpha=c)
        turned = factor @ turned
        square = factor @ square @ factor
    return turned @ wide
