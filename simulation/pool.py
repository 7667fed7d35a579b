"""Worker processes for steps that can be cut into independent jobs."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import wait

NICE = 5
"""How much less urgent (POSIX) their work is than what waits for it: windows, and networks that learn meanwhile."""


@dataclass(frozen=True)
class Workers:
    """Who does the jobs of a step.

    Attributes:
        executor: takes them; None: nobody but this process.
        count: of jobs done at a time; on a cluster, to which nodes may come, when it was reached.
    """

    executor: Executor | None
    count: int


@contextlib.contextmanager
def workers(jobs: int, cluster: str | None = None) -> Iterator[Workers]:
    """Workers on this computer, or on a cluster; what is not done when they are left is cancelled.

    Args:
        jobs: processes on this computer.
        cluster: address of a Ray cluster that is used in place of them (see `simulation.cluster`).

    Raises:
        PocketworldError: the cluster cannot be used.
    """
    if cluster is None:
        with worker_pool(jobs) as executor:
            yield Workers(executor, jobs)
        return
    from simulation.cluster import cluster_pool

    with cluster_pool(cluster) as on_cluster:
        yield Workers(on_cluster, on_cluster.slots)


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
    if hasattr(os, "nice"):
        os.nice(NICE)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
