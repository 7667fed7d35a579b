"""Trains a policy on the windows of a dataset.

Each step draws from a generator of its own, made of the seed and the step's number, and a checkpoint holds the
optimiser's state: so a run that was killed goes on from its last checkpoint, and ends with the same bits as one that
was not (on the CPU).
"""

from __future__ import annotations

import copy
import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from policies.batches import batches_of
from policies.checkpoint import save
from policies.compiling import Compile, Losses, compiled
from policies.eyes_file import SEEING
from policies.files import BEST
from policies.muon import Muon, suits
from policies.policy import Policy
from policies.precision import Precision, computing
from policies.ranks import ALONE, Ranks
from policies.resume import keep, resumed
from policies.schedule import Check, Schedule
from policies.windows import Windows
from reconstruction.disk import writing_to
from reconstruction.progress import Progress, silent

Optimisers = list[tuple[torch.optim.Optimizer, float]]
"""With the highest learning rate of each."""


@dataclass(frozen=True)
class LoopSettings:
    """How a network is trained."""

    steps: int = 2000
    """Steps of the optimiser; with `patience`, at most."""
    batch: int = 256
    """Windows a step, of all processes together."""
    learning_rate: float = 1e-3
    """AdamW's at its highest; it rises over the first `warm_up` steps, and falls to zero (`schedule.Schedule`)."""
    matrix_rate: float = 0.0
    """The same of the matrices, that are learnt by `muon.Muon`; 0: all is AdamW's."""
    warm_up: int = 100
    """Steps until the learning rate is at its highest."""
    weight_decay: float = 1e-3
    """Of AdamW."""
    stray_rad: float = 0.01
    """How far joints are taken to be from where they were: a policy is never quite where its teacher was."""
    act: float = 1.0
    """Weight of acting (or seeing) …"""
    dream: float = 0.3
    """… and of foretelling what will be seen."""
    part: Literal["act", "see"] = "act"
    """What is learnt: to act and foretell, or where things are in pictures (`encoders.Encoder.learn_to_see`)."""
    seed: int = 0
    """Of the first weights and of all that is drawn."""
    check_every: int = 500
    """Steps between checkpoints, and between measurements of success."""
    patience: int = 0
    """Measurements in a row that may bring no better success before it ends (`schedule.Schedule`); 0: all steps."""
    precision: Precision = "auto"
    """In what is computed: bf16, float32, or auto (`precision.computing`)."""
    compile: Compile = "auto"
    """Whether the losses are compiled: on, off, or auto (`compiling.compiled`)."""


def train(
    model: Policy,
    windows: Windows,
    settings: LoopSettings,
    folder: Path,
    progress: Progress = silent,
    check: Callable[[Policy], float] | None = None,
    about: dict[str, Any] | None = None,
    device: str = "cpu",
    ranks: Ranks = ALONE,
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
        check: measures how often a network succeeds, 0 … 1; asked by the first of the `ranks` alone.
        about: goes into the checkpoints.
        device: torch's name of where to compute.
        ranks: the processes that train it together.

    Returns:
        What was measured of the network that was kept.
    """
    s, schedule = settings, Schedule(settings.steps, settings.warm_up, settings.patience)
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
    model = model.to(device)
    mean = copy.deepcopy(model).requires_grad_(False)
    learnt = []
    for name, weight in model.named_parameters():
        weight.requires_grad_(name.startswith(SEEING) == (s.part == "see"))
        learnt += [weight] if weight.requires_grad else []
    optimisers = _optimisers(learnt, s)
    key = json.dumps([dataclasses.asdict(s), dataclasses.asdict(model.settings), about or {}], sort_keys=True)
    at = resumed(folder, key, model, mean, [optimiser for optimiser, _ in optimisers], writes=ranks.first)
    ranks.alike(model)
    batches = batches_of(windows, torch.device(device))
    losses = _losses(model, s)
    if at.step < schedule.end(at):
        example = batches.some(ranks.share(_drawn(s, at.step, len(windows), torch.Generator())))
        losses, why = compiled(losses, example, schedule.end(at) - at.step, s.compile)
        if why:
            progress(at.step / schedule.end(at), f"goes on without compiling ({why})")
    lines: list[str] = []
    since = time.perf_counter()
    while at.step < schedule.end(at):
        torch.manual_seed(_mixed(s.seed, at.step))
        some = batches.some(ranks.share(_drawn(s, at.step, len(windows), torch.default_generator)))
        if ranks.count > 1:  # what else is drawn is each one's own
            torch.manual_seed(_mixed(_mixed(s.seed, at.step), ranks.rank))
        for optimiser, rate in optimisers:
            for group in optimiser.param_groups:
                group["lr"] = rate * schedule.share(at)
        acting, dreaming = losses(some)
        model.zero_grad()
        (s.act * acting + s.dream * dreaming).backward()
        batches.soon(ranks.share(_drawn(s, at.step + 1, len(windows), torch.Generator())))
        ranks.average(learnt)
        torch.nn.utils.clip_grad_norm_(learnt, 1.0)
        for optimiser, _ in optimisers:
            optimiser.step()
        _follow(mean, model, at.step)
        at, end = dataclasses.replace(at, step=at.step + 1), schedule.end(at)
        if at.step % 50 == 0 or at.step == end:
            means = [ranks.mean(loss).item() for loss in (acting, dreaming)]
            seconds = round(time.perf_counter() - since, 3)
            lines.append(_line(step=at.step, acting=means[0], dreaming=means[1], seconds=seconds))
            loss = s.act * means[0] + s.dream * means[1]
            progress(at.step / end, f"step {at.step} of {end}, loss {loss:.3f}")
        if at.step % s.check_every == 0 or at.step == end:
            success = None if check is None else ranks.told(partial(check, mean))
            measured = Check(at.step, success)
            at = schedule.after(at, measured)
            if success is not None:
                lines.append(_line(step=at.step, success=success))
            if ranks.first:
                if at.best is measured:
                    save(folder / BEST, mean, {"check": dataclasses.asdict(measured), **(about or {})})
                keep(folder, lines, key, at, model, mean, [optimiser for optimiser, _ in optimisers])
            lines = []
    ranks.wait()  # until all of it is written
    assert at.best is not None  # the last step is a check
    return at.best


def _losses(model: Policy, s: LoopSettings) -> Losses:
    def losses(windows: Windows) -> tuple[Tensor, Tensor]:
        with computing(s.precision, windows.actions.device):
            if s.part == "see":
                return model.encoder.learn_to_see(windows), torch.zeros((), device=windows.actions.device)
            return model.loss(windows, s.stray_rad)

    return losses


def _drawn(s: LoopSettings, step: int, count: int, chance: torch.Generator) -> Tensor:
    """Which of so many windows a step learns from ``(batch,)``; what `chance` had drawn before does not matter."""
    return torch.randint(count, (s.batch,), generator=chance.manual_seed(_mixed(s.seed, step)))


def _optimisers(learnt: Sequence[torch.nn.Parameter], s: LoopSettings) -> Optimisers:
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


def _follow(mean: Policy, model: Policy, step: int) -> None:
    share = 1.0 - min(0.999, (1 + step) / (10 + step))
    with torch.no_grad():  # all of them in one call: there are many, and small ones
        torch._foreach_lerp_(list(mean.parameters()), list(model.parameters()), share)


def _line(**values: float) -> str:
    return json.dumps(values) + "\n"
