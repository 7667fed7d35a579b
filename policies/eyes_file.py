"""Eyes that another policy has learnt to see with, taken over from its file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from policies.policy import Policy
from reconstruction.errors import InputError, UsageError

SEEING = "encoder.eyes."
"""How the names of the weights begin that see."""


def take_eyes(model: Policy, path: Path) -> None:
    """Give a policy the eyes in a file: of a policy (`checkpoint.save`), or weights of the same names alone.

    Raises:
        InputError: the file is missing or damaged.
        UsageError: it has no eyes, or they are for other cameras or another number of things, or of another size.
    """
    eyes, mine = _read(path), _eyes_of(model)
    if not mine:
        raise UsageError(
            "The policy has no eyes.", remedy="Leave out --eyes, or let it see (--observe).", code="no_eyes"
        )
    if not eyes:
        raise UsageError(
            f"{path} has no eyes: no weights named {SEEING}…",
            remedy="Name a policy that was trained with the same `--observe`.",
            code="no_eyes",
        )
    theirs, ours = (_looking_at(names) for names in (eyes, mine))
    if theirs != ours:
        raise _misfit(path, theirs, ours.removeprefix("the cameras "))
    things = [len(found["usual"]) if "usual" in found else 0 for found in (eyes, mine)]
    if things[0] != things[1]:
        raise _misfit(path, f"{things[0]} things", f"{things[1]} in this task")
    for name, value in mine.items():
        if name not in eyes or eyes[name].shape != value.shape:
            found = f"of {tuple(eyes[name].shape)}" if name in eyes else "missing"
            raise _misfit(path, f"networks whose {name} is {found}", f"of {tuple(value.shape)}")
    for name, value in mine.items():  # now that all of it fits
        value.copy_(eyes[name])


def _looking_at(names: Iterable[str]) -> str:
    """What eyes with weights of such names see, in words; those for pictures have a network a camera."""
    cameras = sorted({name.split(".")[1] for name in names if name.startswith("eyes.")})
    return f"the cameras {', '.join(cameras)}" if cameras else "clouds of points"


def mark_of_eyes(model: Policy) -> str:
    """What tells a policy's eyes from others."""
    data = b"".join(value.cpu().numpy().tobytes() for value in _eyes_of(model).values())
    return hashlib.blake2b(data, digest_size=8).hexdigest()


def _eyes_of(model: Policy) -> dict[str, Tensor]:
    """Weights and buffers by name; what is written into them is in the network."""
    return {name[len(SEEING) :]: value for name, value in model.state_dict().items() if name.startswith(SEEING)}


def _read(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError, safe_open

    found: dict[str, Tensor] = {}
    try:
        with safe_open(str(path), "pt") as file:
            for name in file.keys():  # noqa: SIM118 - no mapping
                plain = name.removeprefix("model.")
                if plain.startswith(SEEING):
                    found[plain[len(SEEING) :]] = file.get_tensor(name)
    except (OSError, SafetensorError, ValueError) as error:
        raise _bad(path, str(error)) from None
    if not all(bool(torch.isfinite(value).all()) for value in found.values()):
        raise _bad(path, "it has weights that are not finite")
    return found


def _bad(path: Path, why: str) -> InputError:
    return InputError(
        f"{path} cannot be read as eyes: {why}.",
        remedy="Name the policy.safetensors of a policy that was trained with the same `--observe`.",
        code="bad_eyes",
    )


def _misfit(path: Path, theirs: str, ours: str) -> UsageError:
    return UsageError(
        f"The eyes in {path} are for {theirs}, not {ours}.",
        remedy="Take those of a policy for the same cameras and as many things, or leave out --eyes.",
        code="other_eyes",
    )
