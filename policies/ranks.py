"""Several processes that train one network, a GPU each, as torchrun starts them.

Each computes the gradients of its share of a batch; their mean is that of the whole batch, and all take the same step.
The first one alone writes, measures and prints. The networks here are small, so one call a step sends all gradients as
one row of numbers once they are there; sending them while others are still computed would gain nothing.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
from torch import Tensor, distributed, nn

T = TypeVar("T")
LONGEST = timedelta(days=7)
"""For which the others wait until the first has made or measured something."""


@dataclass(frozen=True)
class Ranks:
    """Who of how many this process is.

    Attributes:
        rank: its number, from 0.
        count: processes in all.
    """

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether it is the one that writes, measures and prints."""
        return self.rank == 0

    def share(self, rows: Tensor) -> Tensor:
        """Its share of the rows ``(B,)`` of a batch; `count` divides B."""
        return rows[self.rank :: self.count]

    def mean(self, values: Tensor) -> Tensor:
        """The mean of all processes' values."""
        if self.count > 1:
            values = values.detach().clone()
            distributed.all_reduce(values)
            values /= self.count
        return values

    def average(self, weights: Sequence[nn.Parameter]) -> None:
        """Make all processes' gradients the same: their mean."""
        if self.count > 1:
            grads = [weight.grad for weight in weights if weight.grad is not None]
            whole = self.mean(torch.cat([grad.flatten() for grad in grads]))
            for grad, part in zip(grads, whole.split([grad.numel() for grad in grads]), strict=True):
                grad.copy_(part.view_as(grad))

    def alike(self, model: nn.Module) -> None:
        """Give all the first one's network."""
        if self.count > 1:
            for value in model.state_dict().values():
                distributed.broadcast(value, 0)

    def told(self, found: Callable[[], T]) -> T:
        """What the first one finds; the others wait for it."""
        if self.count == 1:
            return found()
        told = [found() if self.first else None]
        distributed.broadcast_object_list(told, 0, device=torch.device("cpu"))
        return told[0]  # type: ignore[return-value]

    def wait(self) -> None:
        """Go on when all have come so far."""
        self.told(lambda: None)


ALONE = Ranks()
"""One process, as usual."""


def started_as() -> Ranks:
    """Who of how many torchrun has started this process as, if it has."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    return Ranks(int(os.environ["RANK"]), count) if count > 1 else ALONE


@contextlib.contextmanager
def ranks_together(device: str) -> Iterator[Ranks]:
    """All processes that torchrun has started, connected for as long as the context lasts.

    Args:
        device: torch's name of where this one computes.
    """
    ranks = started_as()
    if ranks.count == 1:
        yield ranks
        return
    cuda = device.startswith("cuda")
    if cuda:
        torch.cuda.set_device(device)
    # What is told, however long it takes to find out, goes by way of the CPUs: there, waiting costs nothing.
    distributed.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo", timeout=LONGEST)
    try:
        yield ranks
    finally:
        distributed.destroy_process_group()
