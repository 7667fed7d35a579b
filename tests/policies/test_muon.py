"""The optimiser of matrices."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from policies.muon import Muon, orthogonal, suits


@pytest.mark.parametrize("shape", [(16, 75), (64, 64), (20, 96)])
def test_a_direction_becomes_orthogonal_and_keeps_its_singular_directions(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    left, _, right = torch.linalg.svd(torch.randn(shape), full_matrices=False)
    # As lopsided as gradients are: the largest counts a hundred times the least.
    matrix = left @ torch.diag(torch.logspace(0, -2, min(shape))) @ right
    both = orthogonal(torch.stack([matrix, torch.randn(shape)]))
    middle = left.mT @ both[0] @ right.mT
    assert middle.diagonal().min() > 0.5
    assert middle.diagonal().max() < 1.3
    assert (middle - middle.diagonal().diag()).abs().max() < 0.01


def test_nothing_to_learn_changes_nothing() -> None:
    weight = nn.Parameter(torch.ones(16, 16))
    weight.grad = torch.zeros(16, 16)
    Muon([weight], 0.1).step()
    assert torch.equal(weight, torch.ones(16, 16))


def test_filters_learn_as_the_matrix_that_they_are() -> None:
    torch.manual_seed(0)
    first, gradients = torch.randn(16, 4, 3, 3), [torch.randn(16, 4, 3, 3) for _ in range(3)]
    filters, matrix = nn.Parameter(first.clone()), nn.Parameter(first.flatten(1).clone())
    optimiser = Muon([filters, matrix], 0.1, weight_decay=0.01)
    for gradient in gradients:
        filters.grad, matrix.grad = gradient, gradient.flatten(1)
        optimiser.step()
    assert torch.equal(filters.flatten(1), matrix)
    assert (filters - first).norm() > 0.1


def test_it_gets_farther_than_adam_where_directions_differ_much() -> None:
    """Least squares whose inputs are a thousand times stronger in one direction than in another."""
    torch.manual_seed(0)
    turn = torch.linalg.qr(torch.randn(24, 24))[0]
    inputs, wanted = torch.randn(512, 24) * torch.logspace(0, -3, 24) @ turn, torch.randn(24, 24)

    def off(optimiser: type[torch.optim.Optimizer], rate: float) -> float:
        weight = nn.Parameter(torch.zeros(24, 24))
        learner = optimiser([weight], lr=rate)
        for step in range(200):
            learner.param_groups[0]["lr"] = rate * (1.0 - step / 200)
            weight.grad = inputs.mT @ (inputs @ (weight - wanted)).detach() / len(inputs)
            learner.step()
        return float((weight - wanted).detach().norm())

    best = min(off(torch.optim.Adam, rate) for rate in (0.003, 0.01, 0.03, 0.1))
    assert min(off(Muon, rate) for rate in (0.01, 0.03, 0.1)) < 0.9 * best


def test_what_it_is_for() -> None:
    assert suits(torch.zeros(16, 3, 5, 5))
    assert not suits(torch.zeros(2, 64))
    assert not suits(torch.zeros(64))
