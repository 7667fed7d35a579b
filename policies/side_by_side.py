"""Losses that have nothing in common, computed side by side: small networks make little use of a second core, but two
of them do.

PyTorch runs all that is on one device backwards in the thread that asked for it. So each loss has its own thread, in
which it is computed and run backwards at once; what comes out is one loss, whose gradients are there already.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")
Part = tuple[Callable[[], Tensor], Sequence[Tensor]]
"""A loss, and the weights that it alone depends on."""


def each(work: Sequence[Callable[[], T]]) -> list[T]:
    """What each comes to, each in a thread of its own; none draws by chance, and no gradients are asked for."""

    def alone(one: Callable[[], T]) -> T:
        with torch.no_grad():
            return one()

    with ThreadPoolExecutor(len(work)) as pool:
        return list(pool.map(alone, work))


def sum_of(parts: Sequence[Part], device: torch.device) -> Tensor:
    """The sum of losses; the same bits as one after the other.

    Args:
        parts: of which none draws by chance.
        device: on which; other than on a CPU they are computed one after the other.
    """
    weights = [weight for _, mine in parts for weight in mine]
    learning = torch.is_grad_enabled() and all(weight.requires_grad for weight in weights)
    if device.type != "cpu" or len(parts) < 2 or not learning or torch.is_autocast_enabled("cpu"):
        total = torch.zeros((), device=device)
        for loss, _ in parts:
            total = total + loss()
        return total
    found: Tensor = _SideBySide.apply(parts, *weights)  # type: ignore[no-untyped-call]
    return found


class _SideBySide(torch.autograd.Function):
    """Goes forwards and backwards at once."""

    @staticmethod
    def forward(ctx: Any, parts: Sequence[Part], *weights: Tensor) -> Tensor:
        def both(part: Part) -> tuple[Tensor, tuple[Tensor, ...]]:
            loss, mine = part
            with torch.enable_grad():
                value = loss()
            return value.detach(), torch.autograd.grad(value, list(mine))

        with ThreadPoolExecutor(len(parts)) as pool:
            done = list(pool.map(both, parts))
        ctx.save_for_backward(*(gradient for _, gradients in done for gradient in gradients))
        return torch.stack([value for value, _ in done]).sum()

    @staticmethod
    def backward(ctx: Any, *outside: Tensor) -> tuple[Tensor | None, ...]:
        return None, *(outside[0] * gradient for gradient in ctx.saved_tensors)
