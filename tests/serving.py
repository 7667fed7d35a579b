"""A policy that is served, for tests."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from policies.deploy.bundle import Bundle, Decision
from policies.deploy.server import Server

TOKEN = b"a token that nobody guesses".replace(b" ", b"-")
OTHER = b"b" * 32
HERE = "127.0.0.1"


class Watched(Bundle):
    """A bundle that counts what reaches its network, and can be made to do something else."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.calls, self.before = 0, lambda tick: None

    def decide(self, seen: Any, tick: int = 0, memory: Any = None) -> Decision:
        self.calls += 1
        self.before(tick)
        return super().decide(seen, tick, memory)


@contextlib.contextmanager
def serving(server: Server) -> Iterator[int]:
    """The port at which a server answers meanwhile."""
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        with server:
            yield server.address[1]
    finally:
        thread.join(10)
        assert not thread.is_alive()
