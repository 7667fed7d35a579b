"""What it costs to let a policy decide elsewhere: CPU time of both sides, a second of running, without the network's.

    python tests/bench/bench_remote.py

Ten times a second two pictures of 224 x 224 pixels go over loopback to a process of its own, and a chunk with a dream
comes back. The policy there is none: it answers at once.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from policies.deploy import remote  # noqa: E402 - the project is on the path from here on
from policies.deploy.bundle import JOINTS, Decision, Input, Manifest, read_bundle  # noqa: E402
from policies.deploy.server import Server  # noqa: E402

TOKEN = b"b" * 32
RATE_HZ, SECONDS, PLACES, SIDE = 10.0, 20.0, 3, 224


def seeing(manifest: Manifest) -> Manifest:
    """The same, of a policy that sees two pictures."""
    pictures = {f"observation.images.{name}": Input((1, SIDE, SIDE, 3), "uint8") for name in ("front", "wrist")}
    return dataclasses.replace(manifest, inputs={JOINTS: manifest.inputs[JOINTS], **pictures})


class Instant:
    """A bundle whose policy takes no time."""

    def __init__(self, manifest: Manifest) -> None:
        """Answer zeros."""
        self.manifest = manifest
        self.network = SimpleNamespace(get_outputs=lambda: [SimpleNamespace(name="places", shape=[1, PLACES, 3])])
        ahead = 0 if manifest.trust is None else len(manifest.trust.horizons)
        self._decision = Decision(
            np.zeros((manifest.length, 10)),
            np.zeros((PLACES, 3)),
            np.zeros((ahead, PLACES, 3)),
            np.zeros(manifest.memory, dtype=np.float32),
        )

    def decide(self, *_: Any) -> Decision:
        """At once."""
        return self._decision


def serve(folder: Path, ends: Connection) -> None:
    """Serve until told, then say how much CPU time that took since the first message."""
    import threading

    server = Server(Instant(seeing(read_bundle(folder)[0])), "127.0.0.1", 0, TOKEN)  # type: ignore[arg-type]
    threading.Thread(target=server.serve, daemon=True).start()
    ends.send(server.address[1])
    ends.recv()
    begun = time.process_time()
    ends.send(None)
    ends.recv()
    ends.send(time.process_time() - begun)
    server.close()


def main() -> None:
    """Print the table."""
    from tests.bundles import make_bundle

    with tempfile.TemporaryDirectory() as place:
        folder = make_bundle(Path(place) / "bundle", limit_m=1.0)
        ours, theirs = multiprocessing.get_context("spawn").Pipe()
        process = multiprocessing.get_context("spawn").Process(target=serve, args=(folder, theirs))
        process.start()
        port = ours.recv()
        manifest, sample, data = read_bundle(folder)
        rng = np.random.default_rng(0)
        seen = {
            name: rng.integers(0, 256, entry.shape[1:]).astype(entry.dtype)
            for name, entry in seeing(manifest).inputs.items()
        }
        remote.read_bundle = lambda folder: (seeing(manifest), sample, data)  # type: ignore[attr-defined]
        with remote.RemoteBundle(folder, "127.0.0.1", port, TOKEN, compensate=False) as asked:
            ours.send("begin")
            ours.recv()
            begun, due = time.process_time(), time.monotonic()
            for tick in range(int(SECONDS * RATE_HZ)):
                asked.check()
                asked.decide(seen, tick)
                due += 1.0 / RATE_HZ
                time.sleep(max(0.0, due - time.monotonic()))
            client = time.process_time() - begun
            ours.send("end")
            server = ours.recv()
            latency = asked.latency()
        process.join(10)
    print(f"{RATE_HZ:g} decisions a second, two pictures of {SIDE} x {SIDE} pixels, over loopback, {SECONDS:g} s")
    for name, seconds in (("robot", client), ("policy", server), ("both", client + server)):
        print(f"  {name:<6} {seconds / SECONDS:.4f} CPU seconds a second")
    print(f"  an answer takes {latency.median_ms:.1f} ms, at worst {latency.worst_ms:.1f}")


if __name__ == "__main__":
    main()
