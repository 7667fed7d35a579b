"""Work that others do while this process is busy with something else."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from reconstruction.progress import Progress


class _StoppedError(Exception):
    """Nobody waits for the work any more."""


@contextlib.contextmanager
def beside(work: Callable[[Progress], object], progress: Progress) -> Iterator[None]:
    """Does `work`, most of which other processes do, while the block runs, and then waits for its end.

    Where the block ends with an error, so does the work, the next time that it tells how far it is.

    Args:
        work: is given whom to tell how far it is.
        progress: is told that, once the block is done.

    Raises:
        Exception: what the work raises.
    """
    left, alone = threading.Event(), threading.Event()

    def told(share: float, text: str) -> None:
        if left.is_set():
            raise _StoppedError
        if alone.is_set():
            progress(share, text)

    with ThreadPoolExecutor(1) as thread:
        future = thread.submit(work, told)
        try:
            yield
        except BaseException:
            left.set()
            raise
        alone.set()
        try:
            future.result()
        except BaseException:
            left.set()
            raise
