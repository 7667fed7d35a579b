"""When a training is slow, fast, and over.

How long it takes is either known from the start: then the learning rate falls along a cosine, as slowly as there is
time. Or it ends when it no longer improves, which nobody knows beforehand: a cosine that is cut off would leave a
network that has never come to rest. So the rate then stays at its highest until a few checks in a row have brought
nothing better, and only then falls, within a given time (warm-up, stable, decay: Hägele et al., "Scaling Laws and
Compute-Optimal Training Beyond Fixed Training Durations", 2024, whose 1 - sqrt it is).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

COOL_DOWN = 0.2
"""Share of the most steps in which the rate falls at the end, where it is open when that comes."""


@dataclass(frozen=True)
class Check:
    """What was measured of a network at one point of its training.

    Attributes:
        step: so many steps are done.
        success: share of held-out cousins in which it did the task; None where that was not measured.
    """

    step: int
    success: float | None


@dataclass(frozen=True)
class Standing:
    """How far a training has come: what one that was killed goes on from.

    Attributes:
        step: so many steps are done.
        best: the check of the network that is kept; None before the first.
        idle: checks in a row that were no better than one before.
        cooling: the step at which the rate began to fall because of that; None where it has not.
    """

    step: int = 0
    best: Check | None = None
    idle: int = 0
    cooling: int | None = None


@dataclass(frozen=True)
class Schedule:
    """See the module.

    Attributes:
        steps: at most.
        warm_up: steps until the rate is at its highest.
        patience: checks in a row that may bring nothing better; 0: it takes all steps, along a cosine.
    """

    steps: int
    warm_up: int
    patience: int = 0

    @property
    def cool_down(self) -> int:
        """Steps in which the rate falls, where it is open when that comes."""
        return max(1, round(COOL_DOWN * self.steps))

    def falls_at(self, at: Standing) -> int:
        """The step from which on it does, as things stand."""
        latest = self.steps - self.cool_down
        return latest if at.cooling is None else min(at.cooling, latest)

    def end(self, at: Standing) -> int:
        """Steps in all, as things stand."""
        return self.falls_at(at) + self.cool_down if self.patience else self.steps

    def share(self, at: Standing) -> float:
        """Of the highest learning rate, 0 … 1, for the step that comes next."""
        rising = min(1.0, (at.step + 1) / max(self.warm_up, 1))
        if not self.patience:
            return rising * 0.5 * (1.0 + math.cos(math.pi * at.step / self.steps))
        return rising * (1.0 - math.sqrt(max(0, at.step - self.falls_at(at)) / self.cool_down))

    def after(self, at: Standing, check: Check) -> Standing:
        """How things stand after a check; its network is the one to keep if none before was better."""
        best = None if at.best is None else at.best.success
        if best is None or check.success is None:
            return replace(at, best=check)
        idle = 0 if check.success > best else at.idle + 1
        falls = self.patience > 0 and at.cooling is None and idle >= self.patience
        return replace(
            at,
            best=check if check.success >= best else at.best,
            idle=idle,
            cooling=check.step if falls else at.cooling,
        )
