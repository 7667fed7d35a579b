"""Jobs for clusters and pools of processes: they must be found by name wherever they run."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np


def where(number: int, seconds: float = 0.0) -> tuple[int, int]:
    time.sleep(seconds)
    return number, os.getpid()


def where_with_much(number: int, seconds: float) -> tuple[int, int, bytes]:
    """A result too large to travel by itself: it lies on the node until somebody fetches it."""
    time.sleep(seconds)
    return number, os.getpid(), bytes([number]) * 300_000


def fail(error: Exception) -> None:
    raise error


class StubbornError(Exception):
    """It does not survive being pickled."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} {second}")


def stubborn() -> None:
    raise StubbornError("it", "broke")


def unreadable() -> object:
    return lambda: 0


def die_once(mark: Path) -> str:
    if not mark.exists():
        mark.touch()
        os.abort()
    return "alive"


def die() -> None:
    os.abort()


def beat(mark: Path) -> None:
    """Runs until it is stopped."""
    while True:
        mark.write_text(str(time.monotonic()), encoding="utf-8")
        time.sleep(0.05)


def threads() -> tuple[int, str]:
    """How many more threads a product of matrices starts, and where the function runs."""
    running = Path("/proc/self/task")
    before = len(list(running.iterdir()))
    square = np.ones((1500, 1500))
    _ = square @ square
    return len(list(running.iterdir())) - before, os.environ["OPENBLAS_NUM_THREADS"]


class Counted:
    """Counts how often it was pickled."""

    def __init__(self, size: int) -> None:
        self.values, self.pickled = np.ones(size), 0

    def __getstate__(self) -> dict[str, object]:
        self.pickled += 1
        return self.__dict__.copy()


def total(values: Counted, more: int, *, times: int = 1) -> float:
    return times * (float(values.values.sum()) + more)


def sizes(*many: Counted) -> list[int]:
    return [len(values.values) for values in many]
