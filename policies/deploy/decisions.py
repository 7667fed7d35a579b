"""Chunk after chunk of actions, each decided while the one before is carried out: deciding never makes the arm wait."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
Seen = Mapping[str, npt.NDArray[Any]]


def noise(tick: int, sure_ticks: int, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """What actions are made of, of some shape: the same at the same tick.

    At first it is the middle of all noise, from which comes what is likeliest. Who has not succeeded by `sure_ticks`
    may be stuck between two ways of going on: from then on it is drawn at random, and one of them is taken.
    """
    if tick < sure_ticks:
        return np.zeros(shape, dtype=np.float32)
    return np.random.default_rng(tick).standard_normal(shape, dtype=np.float32)


class Decisions:
    """Says which action is due; use it as a context manager.

    What is decided from what was seen at tick n holds for the ticks from n on: its first actions are never done where
    the decision takes their time.

    Attributes:
        asked: the tick of the last decision that was begun.
        late: ticks for which the next chunk should have been there, and was not.
    """

    def __init__(self, decide: Callable[[Seen], FloatArray], execute: int, lead: int, *, threaded: bool) -> None:
        """Begin before the first tick.

        Args:
            decide: actions ``(K, m)`` of the present tick and the next ones, from what is seen.
            execute: ticks between decisions.
            lead: ticks that a decision may take; its chunk is taken over that much later, no sooner.
            threaded: decide in a thread, and never wait for it; else at once, so that all is the same every time.
        """
        self._decide, self._execute, self._lead = decide, execute, lead
        self._pool = ThreadPoolExecutor(1) if threaded else None
        self.asked, self._next = 0, 0
        self._coming: Future[FloatArray] | None = None
        self._chunk: FloatArray | None = None
        self._first = 0
        self.late = 0

    def __enter__(self) -> Decisions:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def action(self, tick: int, look: Callable[[], Seen]) -> FloatArray | None:
        """What is due ``(m,)`` at `tick`; None where nothing is known any more: hold.

        Args:
            tick: one more at every call.
            look: what is seen now; called only where a decision begins.

        Raises:
            Exception: whatever deciding has raised.
        """
        if self._coming is None and tick >= self._next:
            self.asked = tick
            self._coming = self._submit(look())
        if self._coming is not None and tick >= self.asked + self._lead:
            if self._coming.done():
                self._chunk, self._first = self._coming.result(), self.asked
                self._coming, self._next = None, self.asked + self._execute
            else:
                self.late += 1
        due = tick - self._first
        return self._chunk[due] if self._chunk is not None and due < len(self._chunk) else None

    def _submit(self, seen: Seen) -> Future[FloatArray]:
        if self._pool is not None:
            return self._pool.submit(self._decide, seen)
        now = Future[FloatArray]()
        now.set_result(self._decide(seen))
        return now
