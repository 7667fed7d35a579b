"""What is believed of where things are: what is seen now, and what was seen before, put together.

A thing that the hand hides is still where it was, and one that is held goes along with the hand. So each look is
weighed against what all looks before have come to (Kalman, "A New Approach to Linear Filtering and Prediction
Problems", 1960), the thing being taken to have stayed where it was or to have moved with the hand, whichever fits what
is seen now better. A look that fits neither is not believed at once (as in Huber, "Robust Estimation of a Location
Parameter", 1964), and makes what is believed less sure: the third of several that agree with each other prevails.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from policies.hand import SHAPE, Hand

USUAL_M = 0.25
"""A thing that was never seen is about so far from where it usually is."""
STIRS_M = 0.01
"""From look to look a thing may move so far, on its own or in the hand."""
JUMP_M = 0.025
"""How much less sure it becomes where it is, when something is seen that does not fit."""
GATE = 9.0
"""Squared Mahalanobis distance up to which a look is believed as it is."""
HELD_M, HELD_OPENING = 0.12, 0.95
"""What is nearer to the tool than this may be in the hand, unless that is wide open."""
THING, HAND = 3 + 9 + SHAPE, 3 + 9
"""Numbers that are remembered of a thing, and of the hand."""
ROUGHLY = 100.0
"""How sure one is of where a thing is need be known so many times less exactly than where it is."""


class Sight(NamedTuple):
    """What is seen of T things now, base frame.

    Attributes:
        middle: ``(B, T, 3)`` metres.
        information: ``(B, T, 3, 3)`` inverse of its covariance.
        shape: ``(B, T, SHAPE)`` (`hand.Hand.things`).
    """

    middle: Tensor
    information: Tensor
    shape: Tensor


class Belief(NamedTuple):
    """The same, with all that was seen before.

    Attributes:
        middle, shape: as in `Sight`.
        spread: ``(B, T, 3, 3)`` covariance of `middle`.
        memory: ``(B, T · THING + HAND)`` what is to be known of it at the next look.
    """

    middle: Tensor
    shape: Tensor
    spread: Tensor
    memory: Tensor


def memory_size(things: int) -> int:
    """Numbers that are remembered."""
    return things * THING + HAND


def sizes(memory: Tensor) -> Tensor:
    """How large each number of a memory ``(B, n)`` is to be taken for, when two memories are compared, at least.

    What is known of where a thing is, an inverse covariance, is as exact as `ROUGHLY` its largest entry is: a look that
    fits what was believed less and less well, or that sees a thing in either of two places, rounds coarsely.
    """
    things = (memory.shape[1] - HAND) // THING
    large = torch.ones_like(memory)
    known = memory[:, : things * THING].unflatten(1, (things, THING))[..., 3:12]
    most = ROUGHLY * known.abs().amax(dim=-1, keepdim=True)
    large[:, : things * THING].unflatten(1, (things, THING))[..., 3:12] = most
    return large


def believe(sight: Sight, memory: Tensor, hand: Hand, opening: Tensor, usual: Tensor) -> Belief:
    """What to believe now.

    Args:
        sight: what is seen.
        memory: of the look before ``(B, T · THING + HAND)``.
        hand: where it is now.
        opening: ``(B,)`` of the gripper.
        usual: ``(T, 3)`` where things usually are.
    """
    things, one = sight.middle.shape[1], torch.eye(3, device=memory.device)
    kept = memory[:, : things * THING].unflatten(1, (things, THING))
    before, known, shape = kept[..., :3], kept[..., 3:12].unflatten(-1, (3, 3)), kept[..., 12:]
    place = memory[:, things * THING :]
    ever = (known.diagonal(dim1=-2, dim2=-1).sum(dim=-1) > 0.0) & (place[:, 3:].abs().amax(dim=1, keepdim=True) > 0.0)
    spread = inverse(known + one / USUAL_M**2)
    stayed = _times(spread, _times(known, before) + usual / USUAL_M**2)
    # Where nothing is remembered, that is a hand at the base: then nothing is carried either.
    then = Hand(place[:, :3], place[:, 3:].unflatten(1, (3, 3)))
    carried = hand.back().points(then.points(stayed))
    near = (stayed - then.position[:, None]).norm(dim=-1) < HELD_M
    may = ever & near & (opening[:, None] < HELD_OPENING)
    spread = spread + STIRS_M**2 * one
    wrong = inverse(sight.information)
    sure = inverse(spread + wrong)
    distances = [_length(sight.middle - guess, sure) for guess in (stayed, carried)]
    moved = may & (distances[1] < distances[0])
    strain = (torch.where(moved, distances[1], distances[0]) / GATE).clamp_min(1.0)
    guess = torch.where(moved[..., None], carried, stayed)
    wrong = wrong * strain[..., None, None]
    gain = spread @ inverse(spread + wrong)
    middle = guess + _times(gain, sight.middle - guess)
    # Joseph's form: whatever is rounded, it stays a covariance.
    rest = one - gain
    left = rest @ spread @ rest.mT + gain @ wrong @ gain.mT
    left = 0.5 * (left + left.mT) + JUMP_M**2 * (1.0 - 1.0 / strain)[..., None, None] * one
    turned = torch.where(moved[..., None], hand.back().shapes(then.shapes(shape)), shape)
    share = torch.where(ever, _trace(spread) / (_trace(spread) + _trace(wrong)), torch.ones_like(strain))
    shape = turned + share[..., None] * (sight.shape - turned)
    thing = torch.cat([middle, inverse(left).flatten(2), shape], dim=-1).flatten(1)
    return Belief(middle, shape, left, torch.cat([thing, hand.position, hand.rotation.flatten(1)], dim=1))


def inverse(square: Tensor) -> Tensor:
    """Of symmetric matrices ``(..., 3, 3)``, by their adjugates: ONNX knows no other."""
    a, b, c = square.unbind(dim=-1)
    rows = torch.stack([torch.linalg.cross(b, c), torch.linalg.cross(c, a), torch.linalg.cross(a, b)], dim=-2)
    return rows / (a * rows[..., 0, :]).sum(dim=-1)[..., None, None]


def _times(square: Tensor, vector: Tensor) -> Tensor:
    return (square @ vector[..., None])[..., 0]


def _length(vector: Tensor, square: Tensor) -> Tensor:
    """``vᵀ A v``."""
    return (vector * _times(square, vector)).sum(dim=-1)


def _trace(square: Tensor) -> Tensor:
    return square.diagonal(dim1=-2, dim2=-1).sum(dim=-1)
