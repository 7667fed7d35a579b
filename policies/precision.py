"""How exactly a network computes while it is trained."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Literal, ParamSpec, TypeVar

import torch

P = ParamSpec("P")
T = TypeVar("T")
Precision = Literal["auto", "bf16", "float32"]
DEVICES = ("cuda", "mps", "cpu")


def in_float32(function: Callable[P, T]) -> Callable[P, T]:
    """Let a function compute in float32 even where the network around it computes in bfloat16.

    For geometry: bfloat16 has 8 bits, so that half a metre is only known to 2 mm.
    """

    @functools.wraps(function)
    def exact(*args: P.args, **kwargs: P.kwargs) -> T:
        for device in DEVICES:
            if torch.is_autocast_enabled(device):
                with torch.autocast(device, enabled=False):
                    return function(*args, **kwargs)
        return function(*args, **kwargs)

    return exact


def computing(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """In which losses are computed: weights stay float32, and so do gradients and what the optimiser does.

    Args:
        precision: auto is bfloat16 on GPUs that can do so (compute capability 8.0, Ampere, and later).
        device: on which.
    """
    kind = device.type
    able = kind == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
    if precision == "bf16" or (precision == "auto" and able):
        return torch.autocast(kind, torch.bfloat16)
    return nullcontext()
