"""Worker processes for steps that can be cut into independent jobs."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from multiprocessing.connection import wait


@contextlib.contextmanager
def worker_pool(jobs: int) -> Iterator[Executor | None]:
    """An executor of `jobs` processes; None for one job, which this process then does itself.

    Fresh processes, not forks: PyBullet and the progress bar's thread do not survive those. They end with this process,
    however that ends.
    """
    if jobs <= 1:
        yield None
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_end_with_parent)
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
