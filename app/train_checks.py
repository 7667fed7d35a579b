"""What is looked at before anything is trained."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from reconstruction.errors import UsageError

if TYPE_CHECKING:
    from app.train_stage import TrainSettings


def check_settings(settings: TrainSettings, jobs: int) -> None:
    """Look at the numbers.

    Raises:
        UsageError: one makes no sense, or some do not together.
    """
    from policies.ranks import started_as

    least = {
        "steps": 2,
        "batch": 1,
        "glances": 1,
        "eye_steps": 2 if settings.eyes is None else 0,
        "eye_batch": 1,
        "rounds": 0,
        "corrections": 1,
        "blunders": 0,
        "pretrain_steps": 0,
        "plays": 1,
        "patience": 0,
        "check_every": 1,
        "checks": 0,
    }
    for name, lowest in least.items():
        value = getattr(settings, name)
        if value < lowest:
            option = name.replace("_", "-")
            raise UsageError(f"--{option} is {value}.", remedy=f"Give {lowest} or more.", code="bad_value")
    if settings.action_only and settings.policy != "world-action":
        raise UsageError(
            f"--policy {settings.policy} only acts anyway.", remedy="Leave out --action-only.", code="bad_value"
        )
    if settings.pretrain_steps and (settings.action_only or settings.policy != "world-action"):
        raise UsageError(
            "What only acts cannot learn to foretell first.", remedy="Leave out --pretrain-steps.", code="bad_value"
        )
    if settings.eyes is not None and settings.observe == "state":
        raise UsageError("--observe state needs no eyes.", remedy="Leave out --eyes.", code="bad_value")
    if settings.patience and not settings.checks:
        raise UsageError(
            "--patience is about success, which --checks 0 does not measure.",
            remedy="Give --checks 20 or more, or leave out --patience.",
            code="bad_value",
        )
    for name in ("batch", "eye_batch"):
        if getattr(settings, name) % started_as().count:
            raise UsageError(
                f"--{name.replace('_', '-')} {getattr(settings, name)} cannot be shared by {started_as().count} "
                "processes evenly.",
                remedy=f"Give a multiple of {started_as().count}.",
                code="bad_value",
            )
    if jobs < 1 or (settings.episodes is not None and settings.episodes < 1):
        raise UsageError("--jobs and --episodes are 1 or more.", remedy="Give 1 or more.", code="bad_value")


def chosen_device(wanted: str) -> str:
    """Torch's name of the device that is meant; each process that torchrun has started has a GPU of its own.

    Raises:
        UsageError: there is none of that name here.
    """
    import torch

    from policies.ranks import started_as

    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        wanted = next(name for name, found in there.items() if found)
    if wanted == "cuda" and there["cuda"] and started_as().count > 1:
        return f"cuda:{os.environ['LOCAL_RANK']}"
    if not there.get(wanted.split(":")[0]):
        raise UsageError(
            f"There is no device {wanted!r} here.",
            remedy=f"Use one of: auto, {', '.join(name for name, found in there.items() if found)}.",
            code="no_device",
        )
    return wanted
