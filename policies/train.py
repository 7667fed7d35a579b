"""Trains a policy on the windows of a dataset.

Each step draws from a generator of its own, made of the seed and the step's number, and a checkpoint holds the
optimiser's state: so a run that was killed goes on from its last checkpoint, and ends with the same bits as one that
was not (on the CPU).
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from policies.checkpoint import load, save
from policies.files import BEST, LATEST, METRICS
from policies.muon import Muon, suits
from policies.policy import Policy
from policies.windows import Windows
from reconstruction.disk import write_whole, writing_to
from reconstruction.progress import Progress, silent

SEEING = "encoder.eyes."
"""How the names of the weights begin that see."""

Optimisers = list[tuple[torch.optim.Optimizer, float]]
"""With the highest learning rate of each."""


@dataclass(frozen=True)
class LoopSettings:
    """How a network is trained."""

    steps: int = 2000
    """Steps of the optimiser."""
    batch: int = 256
    """Windows a step."""
    learning_rate: float = 1e-3
    """AdamW's at its highest; it rises over the first `warm_up` steps and falls to zero along a cosine."""
    matrix_rate: float = 0.0
    """The same of the matrices, that are learnt by `muon.Muon`; 0: all is AdamW's."""
    warm_up: int = 100
    """Steps until the learning rate is at its highest."""
    weight_decay: float = 1e-3
    """Of AdamW."""
    stray_rad: float = 0.01
    """How far joints are taken to be from where they were: a policy is never quite where its teacher was."""
    dream: float = 0.3
    """Weight of foretelling what will be seen, beside that of acting."""
    part: Literal["act", "see"] = "act"
    """What is learnt: to act and foretell, or where things are in pictures (`encoders.Encoder.learn_to_see`)."""
    seed: int = 0
    """Of the first weights and of all that is drawn."""
    check_every: int = 500
    """Steps between checkpoints, and between measurements of success."""


@dataclass(frozen=True)
class Check:
    """What was measured of a network at one point of its training.

    Attributes:
        step: so many steps are done.
        success: share of held-out cousins in which it did the task; None where that was not measured.
    """

    step: int
    success: float | None


def train(
    model: Policy,
    windows: Windows,
    settings: LoopSettings,
    folder: Path,
    progress: Progress = silent,
    check: Callable[[Policy], float] | None = None,
    about: dict[str, Any] | None = None,
    device: str = "cpu",
) -> Check:
    """Train a model; goes on where a run with the same settings was killed.

    The network that is kept is the mean of the last ones (exponential moving average), at the check where it succeeded
    most often; without `check`, the last.

    Args:
        model: with first weights and scales.
        windows: to learn from.
        settings: how.
        folder: for ``latest.safetensors`` (to go on from), ``policy.safetensors`` (the best) and ``metrics.jsonl``.
        progress: is told about it.
        check: measures how often a network succeeds, 0 … 1.
        about: goes into the checkpoints.
        device: torch's name of where to compute.

    Returns:
        What was measured of the network that was kept.
    """
    s = settings
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
    model = model.to(device)
    mean = copy.deepcopy(model).requires_grad_(False)
    windows = windows.to(torch.device(device))
    learnt = []
    for name, weight in model.named_parameters():
        weight.requires_grad_(name.startswith(SEEING) == (s.part == "see"))
        learnt += [weight] if weight.requires_grad else []
    optimisers = _optimisers(learnt, s)
    key = json.dumps([dataclasses.asdict(s), dataclasses.asdict(model.settings), about or {}], sort_keys=True)
    first, best = _resume(folder, key, model, mean, optimisers)
    lines: list[str] = []
    since = time.perf_counter()
    for step in range(first, s.steps):
        torch.manual_seed(_mixed(s.seed, step))
        rows = torch.randint(len(windows), (s.batch,)).to(device)
        some = windows.some(rows)
        for optimiser, rate in optimisers:
            for group in optimiser.param_groups:
                group["lr"] = rate * _share(step, s)
        if s.part == "see":
            acting, dreaming = model.encoder.learn_to_see(some), torch.zeros(())
        else:
            acting, dreaming = model.loss(some, s.stray_rad)
        loss = acting + s.dream * dreaming
        model.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learnt, 1.0)
        for optimiser, _ in optimisers:
            optimiser.step()
        _follow(mean, model, step)
        done = step + 1
        if done % 50 == 0 or done == s.steps:
            seconds = round(time.perf_counter() - since, 3)
            lines.append(_line(step=done, acting=acting.item(), dreaming=dreaming.item(), seconds=seconds))
            progress(done / s.steps, f"step {done} of {s.steps}, loss {loss.item():.3f}")
        if done % s.check_every == 0 or done == s.steps:
            success = None if check is None else check(mean)
            if best is None or success is None or best.success is None or success >= best.success:
                best = Check(done, success)
                save(folder / BEST, mean, {"check": dataclasses.asdict(best), **(about or {})})
            if success is not None:
                lines.append(_line(step=done, success=success))
            _keep(folder, lines, {"key": key, "step": done}, model, mean, optimisers, best)
            lines = []
    assert best is not None  # the last step is a check
    return best


def _optimisers(learnt: list[torch.nn.Parameter], s: LoopSettings) -> Optimisers:
    matrices = [weight for weight in learnt if s.matrix_rate and suits(weight)]
    others = [weight for weight in learnt if not s.matrix_rate or not suits(weight)]
    adam = torch.optim.AdamW(others, s.learning_rate, (0.9, 0.99), weight_decay=s.weight_decay, fused=True)
    found: Optimisers = [(adam, s.learning_rate)]
    if matrices:
        found.append((Muon(matrices, s.matrix_rate, s.weight_decay), s.matrix_rate))
    return found


def _mixed(seed: int, step: int) -> int:
    """One number of two, so that neighbours have nothing in common (SplitMix64)."""
    mask = (1 << 64) - 1
    value = (seed * 0x9E3779B97F4A7C15 + step + 1) & mask
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & mask
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & mask
    return (value ^ (value >> 31)) >> 1


def _share(step: int, s: LoopSettings) -> float:
    rising = min(1.0, (step + 1) / max(s.warm_up, 1))
    return rising * 0.5 * (1.0 + math.cos(math.pi * step / s.steps))


def _follow(mean: Policy, model: Policy, step: int) -> None:
    share = 1.0 - min(0.999, (1 + step) / (10 + step))
    with torch.no_grad():  # all of them in one call: there are many, and small ones
        torch._foreach_lerp_(list(mean.parameters()), list(model.parameters()), share)


def _line(**values: float) -> str:
    return json.dumps(values) + "\n"


def _keep(
    folder: Path,
    lines: list[str],
    about: dict[str, Any],
    model: Policy,
    mean: Policy,
    optimisers: Optimisers,
    best: Check | None,
) -> None:
    """Write what a killed run goes on from; the metrics first, since only what a checkpoint counts is believed."""
    with (folder / METRICS).open("a", encoding="utf-8") as file:
        file.writelines(lines)
    tensors: dict[str, Tensor] = {f"mean.{name}": value for name, value in mean.state_dict().items()}
    for which, (optimiser, _) in enumerate(optimisers):
        for number, state in optimiser.state_dict()["state"].items():
            tensors.update({f"optimiser.{which}.{number}.{name}": value for name, value in state.items()})
    with (folder / METRICS).open(encoding="utf-8") as file:
        count = sum(1 for _ in file)
    notes = {**about, "metrics": count, "best": None if best is None else dataclasses.asdict(best)}
    save(folder / LATEST, model, notes, tensors)


def _resume(folder: Path, key: str, model: Policy, mean: Policy, optimisers: Optimisers) -> tuple[int, Check | None]:
    """Steps done and the best check of a run with the same `key`, its state taken over; 0 and None without one."""
    path = folder / LATEST
    if not path.is_file():
        (folder / METRICS).unlink(missing_ok=True)
        return 0, None
    weights, notes, others = load(path)
    if notes.get("key") != key:
        (folder / METRICS).unlink(missing_ok=True)
        return 0, None
    model.load_state_dict(weights)
    mean.load_state_dict({name[5:]: value for name, value in others.items() if name.startswith("mean.")})
    for which, (optimiser, _) in enumerate(optimisers):
        whole = optimiser.state_dict()
        for name, value in others.items():
            kind, *rest = name.split(".")
            if kind == "optimiser" and int(rest[0]) == which:
                whole["state"].setdefault(int(rest[1]), {})[rest[2]] = value
        optimiser.load_state_dict(whole)
    with (folder / METRICS).open(encoding="utf-8") as file:
        counted = list(itertools.islice(file, int(notes["metrics"])))
    write_whole(folder / METRICS, "".join(counted))
    best = notes["best"]
    return int(notes["step"]), None if best is None else Check(**best)
