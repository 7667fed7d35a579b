"""What stands around a place, as a map that needs no learning: how far it comes up towards the hand."""

from __future__ import annotations

import torch
from torch import Tensor

from policies.hand import Hand

CELLS, CELL_M = 9, 0.015
"""The map is so many cells wide and high: as wide as a gripper that is open, and its fingers."""
SIZE = CELLS * CELLS
AHEAD_M, BEHIND_M = 0.08, 0.06
"""What lies farther ahead of the place, as the hand looks, or farther behind it, counts for nothing …"""
FADING_M = 0.02
"""… the latter not all of a sudden: a map must not jump where a number is rounded otherwise."""


def surroundings(points: Tensor, place: Hand) -> Tensor:
    """``(B, SIZE)``: 0 where nothing is as far ahead as `AHEAD_M`, 1 where something reaches up to `BEHIND_M` behind.

    Args:
        points: ``(B, N, 3)`` metres, base frame.
        place: the map's middle, and the hand's axes: the map lies across the third, to which it looks.
    """
    seen = place.points(points)
    middle = (CELLS - 1) / 2
    lines = CELL_M * (torch.arange(CELLS, device=points.device) - middle)
    x, y = ((1.0 - (seen[..., None, :, axis] - lines[:, None]).abs() / CELL_M).clamp_min(0.0) for axis in (0, 1))
    rise = ((AHEAD_M - seen[..., 2]) / (AHEAD_M + BEHIND_M)).clamp(0.0, 1.0)
    rise = rise * ((seen[..., 2] + BEHIND_M + FADING_M) / FADING_M).clamp(0.0, 1.0)
    return (x[:, :, None] * (y * rise[:, None])[:, None]).amax(dim=-1).flatten(1)
