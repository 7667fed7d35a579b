"""A Ray cluster as an executor: jobs run on other computers, and none is lost when some of these die.

Ray itself lives in a process of its own (`simulation.ray_driver`): it ends the process that it lives in when the
cluster's head is gone, prints on that process's stdout, and looks for a cluster that is not there for minutes.

Jobs and results are pickled, here as by Ray: whoever reaches the cluster's ports may run anything on its nodes, and
they here. A cluster belongs into a network that is trusted.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import itertools
import multiprocessing
import os
import pickle
import re
import socket
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, wait
from queue import SimpleQueue
from typing import Any, ParamSpec, TypeVar

from reconstruction.errors import ClusterError, MissingToolError, UsageError
from simulation.cluster_node import PACKAGES, Stored, likeness
from simulation.ray_driver import serve

P = ParamSpec("P")
T = TypeVar("T")

RAY = "ray>=2.54"
"""The oldest that all of this was tried with; `pyproject.toml` says the same."""
CONNECT_S = 20.0
"""A cluster that has not let us in by then is none."""
ANSWER_S = 5.0
RETRIES = 20
"""A job whose process or node dies so often and once more is given up: it may well be what kills them."""
NODELESS_S = 120.0
LARGE = 50_000
"""Bytes from which on an argument is kept in the cluster's object store."""
KEPT = 8
"""Large arguments that are kept there at a time."""
END_S = 5.0


@contextlib.contextmanager
def cluster_pool(address: str) -> Iterator[ClusterExecutor]:
    """An executor on the cluster at `address`; what is not done when it is left is cancelled.

    Raises:
        PocketworldError: as `ClusterExecutor`.
    """
    pool = ClusterExecutor(address)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def checked_address(address: str) -> str:
    """The address of a cluster as Ray takes it: ``host:port``, or ``auto`` for the one that this computer belongs to.

    Raises:
        UsageError: it is of another form.
    """
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS") or address
    if address.startswith("ray://"):
        raise UsageError(
            f"{address} is an address for Ray's client, which loses all work when the connection breaks.",
            remedy="Make this computer a node (`ray start --address=HOST:6379 --num-cpus=0`), then use --cluster auto.",
            code="bad_value",
        )
    if address != "auto" and not re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^\s:/\[\]]+):\d{1,5}", address):
        raise UsageError(
            f"{address!r} is no address of a cluster.",
            remedy="Give HOST:PORT (Ray's own port is 6379), or auto on a computer that belongs to it.",
            code="bad_value",
        )
    return address


class ClusterExecutor(Executor):
    """Runs jobs on the nodes of a Ray cluster, each on one CPU and in one thread.

    A job whose process or node dies is done again elsewhere, so it should not matter whether it runs twice. Arguments
    are constants: a large one, given again, is not sent again, so it must not be changed between two jobs. Functions
    and arguments are found by name on the nodes, which must have the same Pocketworld and packages; each job checks.

    Attributes:
        slots: how many jobs ran at a time when the cluster was reached; nodes may come and go later.
    """

    def __init__(
        self, address: str, *, wait_s: float = CONNECT_S, retries: int = RETRIES, nodeless_s: float = NODELESS_S
    ) -> None:
        """Reach the cluster.

        Args:
            address: ``host:port`` or ``auto``.
            wait_s: it must let us in within so many seconds.
            retries: how often a job is done again whose process or node has died.
            nodeless_s: jobs wait so many seconds for a node when the last one is gone.

        Raises:
            UsageError: `address` is none.
            MissingToolError: Ray is not installed.
            ClusterError: there is no cluster, or none for this Python and Ray, or it has no CPUs.
        """
        self._address = checked_address(address)
        _require_ray()
        if self._address != "auto":
            _require_answer(self._address)
        self._name = "of this computer" if self._address == "auto" else f"at {self._address}"
        self._lock = threading.RLock()
        self._numbers = itertools.count()
        self._futures: dict[int, Future[Any]] = {}
        self._outbox: SimpleQueue[tuple[Any, ...] | None] = SimpleQueue()
        self._stored: deque[tuple[object, int]] = deque()
        self._closed = False
        self._lost: ClusterError | None = None
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        words = (theirs, self._address, retries, nodeless_s, likeness(), _checkout())
        self._process = context.Process(target=serve, args=words, name="ray driver", daemon=True)
        self._process.start()
        theirs.close()
        try:
            self.slots = self._reached(wait_s)
        except BaseException:
            self._process.kill()
            self._process.join()
            self._pipe.close()
            raise
        self._threads = [threading.Thread(target=each, name="ray", daemon=True) for each in (self._talk, self._listen)]
        for thread in self._threads:
            thread.start()

    def _reached(self, wait_s: float) -> int:
        """How many CPUs the cluster has."""
        kind, said = "refused", f"nothing heard for {wait_s:.0f} s"
        with contextlib.suppress(EOFError, OSError):
            if self._pipe.poll(wait_s):
                kind, said = self._pipe.recv()
        if kind == "ready" and int(said) > 0:
            return int(said)
        if kind == "ready":
            raise ClusterError(
                f"The cluster {self._name} has no CPUs to work with.",
                remedy="Add a node: `ray start --address=HOST:PORT` on another computer.",
                code="no_cluster",
            )
        if "ersion mismatch" in said:
            raise ClusterError(
                f"The cluster {self._name} has another Ray or Python than this computer: {said}.",
                remedy="Install the same versions of both on all of them, and start Ray there again.",
                code="cluster_mismatch",
            )
        if "oken" in said:
            remedy = "Set RAY_AUTH_MODE=token, and copy the head's ~/.ray/auth_token to this computer."
        else:
            remedy = (
                "Start it (`ray start --head`), and make this computer part of it: `ray start --address=HOST:PORT`."
            )
        raise ClusterError(f"No way into a Ray cluster {self._name}: {said}.", remedy=remedy, code="no_cluster")

    def submit(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have a job done; see `Executor.submit`. Until it is done its future counts as pending, and can be cancelled.

        Raises:
            ClusterError: the cluster was lost.
        """
        future: Future[T] = Future()
        number = next(self._numbers)
        future.add_done_callback(functools.partial(self._forget, number))
        with self._lock:
            if self._closed:
                raise RuntimeError("this executor was shut down")
            if self._lost is not None:
                raise self._lost
            keys: list[int] = []
            job = pickle.dumps((function, [self._light(argument, keys) for argument in args], kwargs))
            self._futures[number] = future
            self._outbox.put(("job", number, job, keys))
            while len(self._stored) > KEPT:
                self._outbox.put(("drop", self._stored.popleft()[1]))  # kept there until jobs that need it are done
        return future

    def _light(self, argument: object, keys: list[int]) -> object:
        """What stands in the job for an argument; `keys`: of those that are in the object store."""
        key = next((key for known, key in self._stored if known is argument), None)
        if key is None:
            data = pickle.dumps(argument)
            if len(data) < LARGE:
                return argument
            key = next(self._numbers)
            self._stored.append((argument, key))
            self._outbox.put(("store", key, data))
        keys.append(key)
        return Stored(len(keys) - 1)

    def _talk(self) -> None:
        """Send what is in the outbox: in a thread, since Ctrl-C in the main one might tear a message in two."""
        with contextlib.suppress(OSError):  # where the other end is gone, `_listen` notices
            while (message := self._outbox.get()) is not None:
                self._pipe.send(message)

    def _forget(self, number: int, future: Future[Any]) -> None:
        """Tell who waits for a job that it was cancelled, and the nodes to stop it."""
        with self._lock:
            known = self._futures.pop(number, None) is not None
        if known and future.cancelled():
            future.set_running_or_notify_cancel()
            if not self._closed:  # leaving the cluster stops all jobs anyway
                self._outbox.put(("cancel", number))

    def _listen(self) -> None:
        lost = ClusterError(
            f"The Ray cluster {self._name} was lost: its head, or this computer's part of it, has ended.",
            remedy="Start it again (`ray start`), then run the same command again.",
            code="cluster_lost",
        )
        with contextlib.suppress(EOFError, OSError):
            while True:
                kind, *more = self._pipe.recv()
                if kind == "lost":
                    lost = ClusterError(
                        f"The Ray cluster {self._name} {more[0]}.",
                        remedy="Start its nodes again (`ray start`), then run the same command again.",
                        code="cluster_lost",
                    )
                    break
                self._finish(kind, *more)
        with self._lock:
            self._lost = lost
            waiting = list(self._futures.values())
            self._futures.clear()
        for future in waiting:
            if future.set_running_or_notify_cancel():
                future.set_exception(lost)

    def _finish(self, kind: str, number: int, said: Any) -> None:
        """Hand over what became of a job."""
        with self._lock:
            future = self._futures.pop(number, None)
        if future is None or not future.set_running_or_notify_cancel():
            return
        try:
            if kind == "done":
                future.set_result(pickle.loads(said))
                return
            future.set_exception(_error_of(kind, said))
        except Exception as error:  # noqa: BLE001 - a result that cannot be read is the job's error, too
            future.set_exception(error)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Leave the cluster when all jobs are done, or at once with `cancel_futures`; see `Executor.shutdown`."""
        with self._lock:
            self._closed = True
            left = list(self._futures.values())
        if cancel_futures:
            for future in left:
                future.cancel()
            left = []
        leaving = threading.Thread(target=self._leave, args=(left,), daemon=True)
        leaving.start()
        if wait:
            leaving.join()

    def _leave(self, left: Sequence[Future[Any]]) -> None:
        wait(left)
        self._outbox.put(("leave",))
        self._outbox.put(None)
        self._process.join(END_S)
        if self._process.is_alive():
            self._process.kill()
        for thread in self._threads:
            thread.join(END_S)
        self._pipe.close()


def _require_ray() -> None:
    if importlib.util.find_spec("ray") is None:
        raise MissingToolError(
            "A cluster needs the package ray, which is not installed.",
            remedy=f'{sys.executable} -m pip install "{RAY}"',
            code="missing_package",
        )


def _require_answer(address: str) -> None:
    """Refuse an address at which nobody listens: Ray would try for minutes."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWER_S).close()
    except (OSError, OverflowError, UnicodeError) as error:
        reason = "no answer" if isinstance(error, TimeoutError) else getattr(error, "strerror", None) or str(error)
        raise ClusterError(
            f"No Ray cluster at {address}: {reason}.",
            remedy="Start one there with `ray start --head --port=6379`, or name the right address.",
            code="no_cluster",
        ) from None


def _error_of(kind: str, said: Any) -> Exception:
    """The error of a job that was not done."""
    if kind == "raised":
        error, where = pickle.loads(said)
        assert isinstance(error, Exception)
        error.__cause__ = _OnNodeError(where)
        return error
    if kind == "unlike":
        return ClusterError(
            f"A node of the cluster cannot do this computer's work: {said}.",
            remedy="Install the same Pocketworld with the same Python and packages on all nodes, and start Ray there "
            "again.",
            code="cluster_mismatch",
        )
    return ClusterError(
        f"A job was given up on the cluster: {said}.",
        remedy="Look at the logs of its nodes (/tmp/ray/session_latest/logs); do they have memory enough?",
        code="job_lost",
    )


class _OnNodeError(Exception):
    """The traceback of an error on a node, as the cause of the same error here."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def _checkout() -> str | None:
    """The folder of a checkout; nodes that see it too (the same computer, a shared disk) take the code from there."""
    return str(PACKAGES) if (PACKAGES / "pyproject.toml").is_file() else None
