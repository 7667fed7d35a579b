"""Losses computed side by side."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from policies.side_by_side import each, sum_of


def _nets() -> list[nn.Module]:
    torch.manual_seed(0)
    return [nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 1, 3)) for _ in range(3)]


def _parts(nets: list[nn.Module], x: Tensor) -> list[tuple[Callable[[], Tensor], list[Tensor]]]:
    def loss_of(net: nn.Module) -> Callable[[], Tensor]:
        return lambda: net(x).square().mean()

    return [(loss_of(net), list(net.parameters())) for net in nets]


def test_it_comes_to_the_same_bits_as_one_after_the_other() -> None:
    nets, x = _nets(), torch.randn(4, 3, 12, 12)
    together = sum_of(_parts(nets, x), x.device)
    (2.0 * together).backward()
    found = [weight.grad.clone() for net in nets for weight in net.parameters() if weight.grad is not None]
    for net in nets:
        net.zero_grad()
    alone = torch.stack([loss() for loss, _ in _parts(nets, x)]).sum()
    (2.0 * alone).backward()
    wanted = [weight.grad for net in nets for weight in net.parameters() if weight.grad is not None]
    assert torch.equal(together, alone)
    assert len(found) == len(wanted) == 12
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(found, wanted, strict=True))


def test_each_has_a_thread_of_its_own() -> None:
    meet, x = threading.Barrier(3, timeout=20.0), torch.ones(2, 3, 8, 8)

    def waits(loss: Callable[[], Tensor]) -> Callable[[], Tensor]:
        def waiting() -> Tensor:
            meet.wait()  # only goes on when all are there
            return loss()

        return waiting

    sum_of([(waits(loss), weights) for loss, weights in _parts(_nets(), x)], x.device).backward()
    assert each([meet.wait] * 3) in ([a, b, 3 - a - b] for a in range(3) for b in range(3))


def test_where_nothing_is_learnt_it_is_only_computed() -> None:
    nets, x = _nets(), torch.ones(2, 3, 8, 8)
    with torch.no_grad():
        assert not sum_of(_parts(nets, x), x.device).requires_grad
    for net in nets:
        net.requires_grad_(False)
    assert not sum_of(_parts(nets, x), x.device).requires_grad


def test_what_fails_in_a_thread_fails() -> None:
    def broken() -> Tensor:
        raise RuntimeError("no")

    nets, x = _nets(), torch.ones(2, 3, 8, 8)
    first, second, _ = _parts(nets, x)
    with pytest.raises(RuntimeError, match="no"):
        sum_of([first, (broken, second[1])], x.device)
