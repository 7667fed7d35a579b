"""Losses compiled by torch, where that pays and where it can be done."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from policies.windows import Windows

Losses = Callable[[Windows], tuple[Tensor, Tensor]]
"""How wrong a network acts (or sees), and how wrong it foretells, on a batch."""
Compile = Literal["auto", "on", "off"]
PAYS_FROM = 10_000
"""Steps from which on auto compiles, on a GPU, where most of a step goes into starting many small pieces of work that
compiling joins: estimated. On a CPU core it took 35 s and saved 8 of 60 ms a step: there, auto does not."""


def compiled(losses: Losses, example: Windows, steps: int, wanted: Compile = "auto") -> tuple[Losses, str]:
    """The losses compiled, or as they are.

    Args:
        losses: of a network.
        example: a batch of the size of all, on the device; the losses' gradients are computed once to see whether
            they can be.
        steps: that are to come.
        wanted: auto is as above; off never.

    Returns:
        What to use, and why it is not compiled although that was to be: no compiler here, most likely.
    """
    device = example.actions.device.type
    if wanted == "off" or (wanted == "auto" and (device != "cuda" or steps < PAYS_FROM)):
        return losses, ""
    torch.compiler.reset()  # torch gives up on what was compiled for many networks
    faster: Losses = torch.compile(losses, dynamic=False)
    try:
        sum(faster(example)).backward()  # type: ignore[union-attr]
    except (RuntimeError, OSError, ImportError) as error:
        return losses, str(error).strip().split("\n")[0]
    return faster, ""
