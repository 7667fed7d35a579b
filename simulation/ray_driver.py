"""The process that talks to Ray, for `simulation.cluster`: jobs come in through a pipe, their outcomes go back.

What comes in: ``store, key, data`` · ``drop, key`` · ``job, number, data, keys`` · ``cancel, number`` · ``leave``.
What goes out: first ``ready, CPUs`` or ``refused, why``; then for each job ``done``, ``raised``, ``unlike`` or
``failed``, its number, and what there is to say; or ``lost, why`` for all of them.
Ray is imported here and nowhere else.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any

POLL_S = 0.1
LOOK_S = 5.0
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
QUICKER = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_NUM_REDIS_GET_RETRIES": "5",
    "RAY_gcs_server_request_timeout_seconds": "10",
    "RAY_task_oom_retries": "20",
}
"""Set before Ray is imported: it says nothing home, gives up sooner where it gets no way in, and does not try for ever
what takes more memory than a node has."""


def serve(
    pipe: Connection,
    address: str,
    retries: int,
    nodeless_s: float,
    likeness: Mapping[str, str],
    checkout: str | None,
) -> None:
    """Do what comes through `pipe` on the cluster at `address` until the pipe's other end is gone.

    Args:
        pipe: to `simulation.cluster.ClusterExecutor`.
        address: ``host:port`` or ``auto``.
        retries: of a job whose process or node has died.
        nodeless_s: jobs wait so many seconds for a node when the last one is gone.
        likeness: what nodes must have in common with this computer.
        checkout: a folder that nodes put on their path if they see it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the other end, which then lets go of the pipe
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nowhere, number)
    os.chdir(os.sep)  # Ray puts the folder one stands in on the nodes' path
    os.environ.update({name: os.environ.get(name, value) for name, value in QUICKER.items()})
    try:
        import ray

        ray.init(address=address, log_to_driver=False, runtime_env={"env_vars": ONE_THREAD})
        cpus = _cpus(ray)
    except Exception as error:  # noqa: BLE001 - Ray's own errors and those of what it is built on
        pipe.send(("refused", _reason(error)))
        return
    pipe.send(("ready", cpus))
    driver = _Driver(ray, pipe, _remote(ray, retries), ray.put((likeness, checkout)))
    try:
        driver.run(nodeless_s)
    except Exception as error:  # noqa: BLE001 - as above
        driver.tell("lost", f"was lost: {_reason(error)}")
    ray.shutdown()


def _cpus(ray: Any) -> int:
    return int(ray.cluster_resources().get("CPU", 0))


def _reason(error: BaseException) -> str:
    """The last cause of an error as one sentence; Ray quotes whole tracebacks, and adds advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = str(error)
    if "Traceback" in text:
        lines = [line for line in text.splitlines() if line and not line.startswith(" ")]
        text = lines[-1]
    return " ".join(text.split()).partition(". ")[0].rstrip(".") or type(error).__name__


class _Driver:
    """Passes jobs on to Ray and outcomes back."""

    def __init__(self, ray: Any, pipe: Connection, do: Any, common: Any) -> None:
        self._ray, self._pipe, self._do, self._common = ray, pipe, do, common
        self._lock = threading.Lock()
        self._stored: dict[int, Any] = {}
        self._numbers: dict[Any, int] = {}
        self._left = threading.Event()

    def run(self, nodeless_s: float) -> None:
        """Until the other end of the pipe leaves or is gone."""
        threading.Thread(target=self._listen, daemon=True).start()
        looked = with_nodes = time.monotonic()
        while not self._left.is_set():
            with self._lock:
                waiting = list(self._numbers)
            if not waiting:
                looked = with_nodes = time.monotonic()
                self._left.wait(POLL_S)
                continue
            ready, _ = self._ray.wait(waiting, num_returns=len(waiting), timeout=POLL_S)
            for reference in ready:
                self._report(reference)
            now = time.monotonic()
            if now - looked > LOOK_S:
                looked = now
                with_nodes = now if _cpus(self._ray) else with_nodes
                if now - with_nodes > nodeless_s:
                    self.tell("lost", f"has had no CPU to work on for {nodeless_s:.0f} s")
                    return

    def _report(self, reference: Any) -> None:
        with self._lock:
            number = self._numbers.pop(reference, None)
        if number is None:  # cancelled
            return
        try:
            kind, said = self._ray.get(reference)
        except self._ray.exceptions.LocalRayletDiedError:
            self.tell("lost", "has lost this computer: its raylet has ended")
        except Exception as error:  # noqa: BLE001 - whatever Ray thinks is wrong with a job
            self.tell("failed", number, f"{type(error).__name__}: {_reason(error)}")
        else:
            self.tell(kind, number, said)

    def tell(self, *message: object) -> None:
        """Send a message to the other end."""
        try:
            self._pipe.send(message)
        except OSError:
            self._left.set()

    def _listen(self) -> None:
        try:
            while True:
                kind, *more = self._pipe.recv()
                if kind == "leave":
                    break
                self._obey(kind, more)
        except (EOFError, OSError):
            pass  # the other end was killed
        self._left.set()

    def _obey(self, kind: str, more: Sequence[Any]) -> None:
        if kind == "store":
            key, data = more
            self._stored[key] = self._ray.put(data)
        elif kind == "drop":
            del self._stored[more[0]]
        elif kind == "job":
            number, data, keys = more
            reference = self._do.remote(self._common, data, *(self._stored[key] for key in keys))
            with self._lock:
                self._numbers[reference] = number
        elif kind == "cancel":
            with self._lock:
                found = next((reference for reference, number in self._numbers.items() if number == more[0]), None)
                self._numbers.pop(found, None)
            if found is not None:
                self._ray.cancel(found, force=True)


def _remote(ray: Any, retries: int) -> Any:
    """The function that Ray runs on the nodes.

    It is made in here so that Ray sends it whole: a node that has no Pocketworld can then say so.
    """

    def pocketworld_job(common: tuple[Mapping[str, str], str | None], job: bytes, *stored: bytes) -> tuple[str, Any]:
        import os
        import socket
        import sys

        likeness, checkout = common
        if checkout is not None and checkout not in sys.path and os.path.isdir(checkout):  # noqa: PTH112
            sys.path.insert(0, checkout)
        try:
            from simulation.cluster_node import perform
        except ImportError as error:
            return "unlike", f"{socket.gethostname()}: Pocketworld is not installed in {sys.executable} ({error})"
        return perform(likeness, job, stored)

    return ray.remote(num_cpus=1, max_retries=retries)(pocketworld_job)
