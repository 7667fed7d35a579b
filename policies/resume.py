"""What a training that was killed goes on from."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from policies.checkpoint import load, save
from policies.files import LATEST, METRICS
from policies.policy import Policy
from policies.schedule import Check, Standing
from reconstruction.disk import write_whole


def keep(
    folder: Path,
    lines: Sequence[str],
    key: str,
    at: Standing,
    model: Policy,
    mean: Policy,
    optimisers: Sequence[torch.optim.Optimizer],
) -> None:
    """Write it; the metrics first, since only what a checkpoint counts is believed.

    Args:
        folder: for it.
        lines: that are new in the metrics.
        key: only a run with the same goes on from it.
        at: how far it has come.
        model: as it is then.
        mean: of the last ones.
        optimisers: with their states.
    """
    with (folder / METRICS).open("a", encoding="utf-8") as file:
        file.writelines(lines)
    tensors: dict[str, Tensor] = {f"mean.{name}": value for name, value in mean.state_dict().items()}
    for which, optimiser in enumerate(optimisers):
        for number, state in optimiser.state_dict()["state"].items():
            tensors.update({f"optimiser.{which}.{number}.{name}": value for name, value in state.items()})
    with (folder / METRICS).open(encoding="utf-8") as file:
        count = sum(1 for _ in file)
    save(folder / LATEST, model, {"key": key, "metrics": count, **dataclasses.asdict(at)}, tensors)


def resumed(
    folder: Path,
    key: str,
    model: Policy,
    mean: Policy,
    optimisers: Sequence[torch.optim.Optimizer],
    *,
    writes: bool = True,
) -> Standing:
    """How far a run with the same `key` has come, its state taken over; without one, the beginning.

    Args:
        folder: with what `keep` has written, if anything.
        key: of this run.
        model: takes its weights over.
        mean: likewise.
        optimisers: take over their states.
        writes: take away what is in the metrics beyond that; one of several processes does.
    """
    path, metrics = folder / LATEST, folder / METRICS
    weights, notes, others = load(path) if path.is_file() else ({}, {}, {})
    if notes.get("key") != key:
        if writes:
            metrics.unlink(missing_ok=True)
        return Standing()
    model.load_state_dict(weights)
    mean.load_state_dict({name[5:]: value for name, value in others.items() if name.startswith("mean.")})
    for which, optimiser in enumerate(optimisers):
        whole = optimiser.state_dict()
        for name, value in others.items():
            kind, *rest = name.split(".")
            if kind == "optimiser" and int(rest[0]) == which:
                whole["state"].setdefault(int(rest[1]), {})[rest[2]] = value
        optimiser.load_state_dict(whole)
    if writes:
        with metrics.open(encoding="utf-8") as file:
            counted = list(itertools.islice(file, int(notes["metrics"])))
        write_whole(metrics, "".join(counted))
    best = notes["best"]
    return Standing(int(notes["step"]), None if best is None else Check(**best), int(notes["idle"]), notes["cooling"])
