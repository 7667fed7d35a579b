"""How far what is seen falls short of what was dreamed: whose dreams do not come true is not to be trusted.

With every decision a policy foretells where the tool and the things will be some ticks ahead. When those are over, it
is seen where they are. Less than was dreamed counts more than otherwise than was dreamed: whoever has missed a thing
dreams again and again that it will move.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
WHILE = 32
"""Ticks over which the mean counts: one decision alone may be a stumble."""
OTHERWISE = 0.5
"""What a thing is off by, wherever to, counts for this share of what it falls short by."""
FAR_M = 100.0
"""What is no number, or more, is taken for this."""
FALSE_STOPS = 0.05
"""The share of runs that would have succeeded which may be stopped."""
LEAST_M = 0.01
"""No limit is lower: cameras see no better."""


@dataclass(frozen=True)
class Yardstick:
    """What a policy foretells, and how far short of it is too far.

    Attributes:
        horizons: ticks ahead, rising.
        limit_m: a doubt that runs which succeed hardly ever come to.
    """

    horizons: tuple[int, ...]
    limit_m: float

    @staticmethod
    def from_json(told: Mapping[str, Any]) -> Yardstick:
        """From a manifest.

        Raises:
            KeyError, TypeError, ValueError: there is none in it.
        """
        horizons, limit = tuple(told["horizons"]), told["limit_m"]
        whole = all(type(ticks) is int for ticks in horizons)
        if not horizons or not whole or any(b <= a for a, b in zip((0, *horizons), horizons, strict=False)):
            raise ValueError(f"its dreams are of {horizons!r}")
        if not isinstance(limit, int | float) or not 0 < limit <= FAR_M:
            raise ValueError(f"{limit!r} is no limit of its doubts")
        return Yardstick(horizons, float(limit))


class Trust:
    """Compares what was dreamed with what is then seen, in one run.

    Attributes:
        ticks: of decisions before which there was a dream.
        doubts: metres that what was seen fell short of what was dreamed, at each of them, mean over `WHILE`.
        peak: the highest of them, as soon as there was a `WHILE`; 0 until then.
    """

    def __init__(self, horizons: Iterable[int]) -> None:
        """Begin before the first decision; dreams are of so many ticks ahead, rising."""
        self.ticks: list[int] = []
        self.doubts: list[float] = []
        self.peak = 0.0
        self._horizons = (0, *horizons)
        self._begun: int | None = None
        self._dreams: list[tuple[int, FloatArray]] = []
        self._last: list[tuple[int, float]] = []

    def notice(self, tick: int, places: npt.ArrayLike, dream: npt.ArrayLike) -> None:
        """Take note of a decision.

        Args:
            tick: at which it was asked for, later every time.
            places: ``(1 + T, 3)`` where the tool and the things were seen then, metres, base frame.
            dream: ``(H, 1 + T, 3)`` where they will be at the horizons.
        """
        now = np.asarray(places, dtype=np.float64)
        self._begun = tick if self._begun is None else self._begun
        self._dreams = [(asked, way) for asked, way in self._dreams if tick - asked <= self._horizons[-1]]
        found = [short_of(way[0], _at(way, tick - asked, self._horizons), now) for asked, way in self._dreams]
        way = np.concatenate([now[None], np.asarray(dream, dtype=np.float64)])
        self._dreams.append((tick, np.where(np.isfinite(way), way, np.nan)))
        if found:
            self._last = [(at, short) for at, short in self._last if at > tick - WHILE]
            self._last.append((tick, float(np.mean(found))))
            self.ticks.append(tick)
            self.doubts.append(float(np.mean([short for _, short in self._last])))
            if tick - self._begun >= WHILE:
                self.peak = max(self.peak, self.doubts[-1])

    def lost(self, limit_m: float) -> bool:
        """Whether it has at some time not come about as dreamed for a while."""
        return self.peak > limit_m


def lowest_trust(peak: float, limit_m: float) -> float:
    """How far a run could be trusted at its worst: 1 all as dreamed, less than ½ where it came to the limit."""
    return float(0.5 ** (max(peak, 0.0) / limit_m))


def short_of(before: FloatArray, dreamed: FloatArray, now: FloatArray) -> float:
    """Metres that things ``(1 + T, 3)``, the tool first, fall short of where they were dreamed to be.

    That is how far things did not come along the way that they were to go, half of how far off they are at all, and how
    much farther the tool is from the first one than it was to be.
    """
    if not all(np.isfinite(points).all() for points in (before, dreamed, now)):
        return FAR_M
    ways = dreamed[1:] - before[1:]
    length = np.linalg.norm(ways, axis=1)
    come = ((now[1:] - before[1:]) * ways).sum(axis=1) / np.maximum(length, 1e-6)
    off = np.linalg.norm(now[1:] - dreamed[1:], axis=1)
    apart = np.linalg.norm(now[1] - now[0]) - np.linalg.norm(dreamed[1] - dreamed[0])
    short = float((length - come + OTHERWISE * off).sum() + apart)
    return float(np.clip(short, -FAR_M, FAR_M))


def limit_of(peaks: Iterable[float]) -> tuple[float, float]:
    """A limit that of runs which succeed a share of `FALSE_STOPS` passes, and the share that does.

    After n runs, the next one passes their k-th highest peak with a chance of k in n + 1, whatever peaks are like
    (Vovk, Gammerman & Shafer, "Algorithmic Learning in a Random World", 2005). Of few, more than that share may.

    Args:
        peaks: of runs that succeeded, one or more (`Trust.peak`).
    """
    rows = sorted(peaks, reverse=True)
    spared = max(1, int(FALSE_STOPS * (len(rows) + 1)))
    return max(LEAST_M, rows[spared - 1]), spared / (len(rows) + 1)


def _at(way: FloatArray, age: int, ticks: tuple[int, ...]) -> FloatArray:
    """Places ``(1 + T, 3)`` after `age` ticks on a way ``(1 + H, 1 + T, 3)``, which is known at `ticks`."""
    late = min(int(np.searchsorted(ticks, age)), len(ticks) - 1)
    share = (age - ticks[late - 1]) / (ticks[late] - ticks[late - 1])
    found: FloatArray = (1.0 - share) * way[late - 1] + share * way[late]
    return found
