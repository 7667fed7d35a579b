"""Real Ray nodes on this computer, each killed like a computer that loses its power."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from simulation.cluster_node import PACKAGES

HAS_RAY = importlib.util.find_spec("ray") is not None
needs_ray = pytest.mark.skipif(
    not HAS_RAY or not sys.platform.startswith("linux"), reason="needs Linux and `pip install ray`"
)
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
STORE_BYTES = 100_000_000


@dataclass(frozen=True)
class Node:
    """A node: all the processes of one session."""

    session: int

    def pids(self) -> set[int]:
        found = set()
        for process in psutil.process_iter():
            with contextlib.suppress(ProcessLookupError, psutil.Error):
                if os.getsid(process.pid) == self.session and process.status() != psutil.STATUS_ZOMBIE:
                    found.add(process.pid)
        return found

    def busy(self) -> set[int]:
        """Its processes that are doing one of our jobs right now, as Ray titles them."""
        found = set()
        for pid in self.pids():
            with contextlib.suppress(psutil.Error):
                title = " ".join(psutil.Process(pid).cmdline())
                found |= {pid} if title.startswith("ray::pocketworld_job") else set()
        return found

    def kill(self) -> None:
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


class RayCluster:
    """Nodes with a CPU each by default; use it as a context manager."""

    def __init__(self) -> None:
        self._place = Path(tempfile.mkdtemp(prefix="ray", dir="/tmp"))  # the names of sockets must be short
        self._processes: list[subprocess.Popen[bytes]] = []
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"

    def __enter__(self) -> RayCluster:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            Node(process.pid).kill()
            process.wait()
        shutil.rmtree(self._place, ignore_errors=True)

    def add(self, cpus: int = 1, env: Mapping[str, str] | None = None) -> Node:
        """One more node, the first of them the head."""
        number = len(self._processes) + 1
        port = self.address.rpartition(":")[2]
        role = ["--head", f"--port={port}", "--include-dashboard=false", f"--temp-dir={self._place}"]
        words = role if number == 1 else [f"--address={self.address}"]
        words += [f"--node-ip-address=127.0.0.{number}", f"--num-cpus={cpus}", f"--object-store-memory={STORE_BYTES}"]
        log = self._place / f"node_{number}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats", *words],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=self._place,
                env={**os.environ, **QUIET, "PYTHONPATH": str(PACKAGES), **(env or {})},
            )
        self._processes.append(process)
        eventually(lambda: b"runtime started" in log.read_bytes() or process.poll() is not None, 60)
        assert process.poll() is None, log.read_text(encoding="utf-8")
        return Node(process.pid)


@contextlib.contextmanager
def ray_cluster(*cpus: int) -> Iterator[tuple[RayCluster, list[Node]]]:
    """A cluster with so many CPUs on each of its nodes."""
    with pytest.MonkeyPatch.context() as patch, RayCluster() as cluster:
        for name, value in QUIET.items():
            patch.setenv(name, value)
        yield cluster, [cluster.add(count) for count in cpus]


def eventually(true: Callable[[], object], seconds: float) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.05)
