"""A bundle whose policy runs on another computer: what is seen goes there, chunks of actions come back.

Manifest, limits and guard are those of the bundle on the robot's own computer. Whatever is wrong with the connection or
with what comes over it raises `ConnectionError` or `TimeoutError`, at once and from then on: the arm is stopped.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import secrets
import selectors
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from policies.deploy import wire
from policies.deploy.bundle import JOINTS, MEMORY, Decision, Manifest, looked_at, read_bundle
from policies.deploy.guard import Guard
from policies.deploy.messages import (
    MOST_PLACES,
    answer_layout,
    decision_of,
    look_layout,
    policy_digest,
)
from policies.deploy.wire import Channel, Message

FloatArray = npt.NDArray[np.float64]
CONNECTING_S = 5.0
"""So long it may take to be connected, and the first answer to come."""
LEAST_ANSWER_S = 1.0
"""An answer that takes longer than its whole chunk is of no use; it has at least so long."""
PROBES = 8
"""Decisions whose time is measured before the run, the first of them not."""


@dataclass(frozen=True)
class Latency:
    """How long answers took in a run.

    Attributes:
        answers: that came.
        median_ms: from what was seen to the decision.
        worst_ms: likewise, the longest.
        lead: ticks after which a chunk was taken over.
        usual_lead: the same by the manifest.
    """

    answers: int
    median_ms: float
    worst_ms: float
    lead: int
    usual_lead: int


class RemoteBundle:
    """A bundle, in the place of a `policies.deploy.bundle.Bundle`; use it as a context manager.

    Attributes:
        manifest: what the bundle says of itself, but for its `lead`, which is what the connection takes.
        sample: ``(T, …)`` what was seen in one demonstration, by the name of the input.
        note: what a person should know of the connection, or "".
    """

    def __init__(
        self,
        folder: Path,
        host: str,
        port: int,
        token: bytes,
        tls: ssl.SSLContext | None = None,
        *,
        compensate: bool = True,
    ) -> None:
        """Read the bundle, connect to its policy, and measure how long answers take.

        Args:
            folder: of the bundle, which the other computer has, too.
            host: name or address of the computer that serves the policy.
            port: likewise.
            token: that it wants to be known.
            tls: encrypts, and knows who the other computer is; wanted where that is not this one.
            compensate: where answers take more ticks than the manifest's `lead`, take chunks over so much later; else
                never, as where time does not pass while they are waited for.

        Raises:
            BundleError: the bundle is no good.
            NoTlsError: the other computer is not this one, and nothing would be encrypted.
            ValueError: the messages would be too large.
            RefusedError: it does not want us; says why.
            OSError: it cannot be reached, or does not know the token itself.
        """
        self.manifest, self.sample, _ = read_bundle(folder)
        self._usual_lead = self.manifest.lead
        self._answer_s = max(LEAST_ANSWER_S, self.manifest.length / self.manifest.rate_hz)
        self._where = f"the policy at {host}:{port}"
        self._asking, self._number, self._took = threading.Lock(), 0, list[float]()
        self._lost = self.note = ""
        family, address = wire.resolved(host, port)
        if tls is None and not wire.is_loopback(address):
            raise wire.NoTlsError(f"{host} is another computer: that takes TLS")
        self._look = look_layout(self.manifest)
        self._socket = _connected(family, address, host, tls)
        try:
            self._greet(token)
            if compensate:
                self._measure()
            self._watching = selectors.DefaultSelector()
            self._watching.register(self._socket, selectors.EVENT_READ)
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> RemoteBundle:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up; harmless when repeated."""
        self._hang_up("it was closed here")
        with self._asking:  # whoever waits for an answer has noticed
            self._watching.close()
            self._socket.close()

    def decide(
        self, seen: Mapping[str, npt.NDArray[Any]], tick: int = 0, memory: npt.NDArray[np.float32] | None = None
    ) -> Decision:
        """What is to be done, and what is dreamed of it; waits for the answer.

        Args:
            seen: every input of the manifest, without its first side.
            tick: now, from the beginning.
            memory: of the decision before; None: this is the first.

        Raises:
            BundleError: something is missing, or of another shape.
            OSError: the connection is lost, or what came over it makes no sense (`ConnectionError`), or nothing came in
                time (`TimeoutError`).
        """
        return self._decide(seen, tick, memory, self._answer_s)

    def guard(self, start: FloatArray) -> Guard:
        """A guard for an arm that is at joint positions and opening ``(J + 1,)``."""
        m = self.manifest
        return Guard(m.chain, m.limits, m.rate_hz, start)

    def check(self) -> None:
        """See that the connection stands; never waits.

        Raises:
            ConnectionError: it does not.
        """
        # While an answer is waited for, whoever waits for it finds out, and says so in `_lost`.
        if not self._lost and self._asking.acquire(blocking=False):
            try:
                if not self._lost and self._watching.select(0):  # nothing was asked: it has hung up, or makes no sense
                    self._hang_up("the other side has hung up")
            finally:
                self._asking.release()
        if self._lost:
            raise ConnectionError(f"{self._where}: {self._lost}")

    def latency(self) -> Latency:
        """How long answers have taken since the connection was made and measured."""
        took = self._took or [0.0]
        middle, worst = (round(1000.0 * seconds, 3) for seconds in (float(np.median(took)), max(took)))
        return Latency(len(self._took), middle, worst, self.manifest.lead, self._usual_lead)

    def _decide(
        self,
        seen: Mapping[str, npt.NDArray[Any]],
        tick: int,
        memory: npt.NDArray[np.float32] | None,
        seconds: float,
    ) -> Decision:
        arrays = looked_at(self.manifest, seen)
        if self.manifest.memory:
            arrays[MEMORY] = np.zeros(self.manifest.memory, dtype=np.float32) if memory is None else memory
        with self._asking:
            if self._lost:
                raise ConnectionError(f"{self._where}: {self._lost}")
            begun = time.monotonic()
            try:
                answer = self._ask(arrays, tick, begun + seconds)
            except OSError as error:
                silent = isinstance(error, TimeoutError)
                self._hang_up(f"no answer for {seconds:.1f} s" if silent else _reason(error))
                kind = TimeoutError if silent else ConnectionError
                raise kind(f"{self._where}: {self._lost}") from None
            self._took.append(time.monotonic() - begun)
        return decision_of(answer.arrays)

    def _ask(self, arrays: Mapping[str, npt.NDArray[Any]], tick: int, until: float) -> Message:
        self._number += 1
        self._channel.send(wire.LOOK, self._look, arrays, number=self._number, tick=tick, until=until)
        answer = self._receive(wire.ANSWER, self._answer, until)
        if (answer.number, answer.tick) != (self._number, tick):
            raise wire.WireError(f"an answer to request {answer.number} came, not to request {self._number}")
        return answer

    def _receive(self, kind: int, layout: wire.Layout, until: float) -> Message:
        """A message of a kind, unless it is refused."""
        found = self._channel.receive({kind: layout, wire.REFUSED: wire.REFUSED_LAYOUT}, until)
        if found.kind == wire.REFUSED:
            raise wire.RefusedError(int(found.arrays["reason"][0]))
        return found

    def _greet(self, token: bytes) -> None:
        """Show that this side knows the token, and see that the other one does."""
        until = time.monotonic() + CONNECTING_S
        self._channel = channel = Channel(self._socket)
        mine, policy = secrets.token_bytes(wire.NONCE_BYTES), policy_digest(self.manifest)
        said = {name: np.frombuffer(data, dtype=np.uint8) for name, data in (("nonce", mine), ("policy", policy))}
        channel.send(wire.HELLO, wire.HELLO_LAYOUT, said, until=until)
        theirs = self._receive(wire.CHALLENGE, wire.CHALLENGE_LAYOUT, until).arrays["nonce"].tobytes()
        channel.sign(wire.session_key(token, mine, theirs, policy))
        channel.send(wire.PROOF, until=until)
        places = int(self._receive(wire.WELCOME, wire.WELCOME_LAYOUT, until).arrays["places"][0])
        if not (places == 0 if self.manifest.trust is None else 2 <= places <= MOST_PLACES):
            raise wire.WireError(f"it tells of {places} places")
        self._answer = answer_layout(self.manifest, places)

    def _measure(self) -> None:
        """Ask as in a run, and take chunks over as late as they are ready, as far as a chunk allows."""
        took, guard = [], self.guard(self.manifest.home)
        for number in range(PROBES):
            seen = {name: values[number % len(values)] for name, values in self.sample.items()}
            begun = time.monotonic()
            decided = self._decide(seen, 0, None, CONNECTING_S)
            guard.joint_actions(seen[JOINTS][-1].astype(np.float64), decided.poses)
            took.append(time.monotonic() - begun)
        self._took.clear()
        m, longest = self.manifest, max(took[1:])
        needed = math.ceil(longest * m.rate_hz)
        lead = max(m.lead, min(needed, longest_lead(m)))
        self.manifest = dataclasses.replace(m, lead=lead)
        late = f"answers take up to {1000 * longest:.0f} ms"
        if lead > m.lead:
            self.note = f"{late}: chunks are taken over after {lead} ticks, not {m.lead}"
        if needed > lead:
            self.note = f"{late}, more than chunks allow: the arm will wait between them"

    def _hang_up(self, why: str) -> None:
        self._lost = self._lost or why
        with contextlib.suppress(OSError):  # wakes whoever waits for an answer
            self._socket.shutdown(socket.SHUT_RDWR)


def longest_lead(manifest: Manifest) -> int:
    """The most ticks after which chunks can be taken over so that each lasts until the next one is there.

    One decision is made at a time: from a lead of `execute` on, the next begins a tick after the one before came.
    """
    length, execute = manifest.length, manifest.execute
    fitting = (lead for lead in range(length) if max(execute, lead + 1) + lead <= length)
    return max(fitting, default=0)


def trusting(ca: Path) -> ssl.SSLContext:
    """What a robot's computer encrypts with, and tells by who the other computer is.

    Args:
        ca: certificate of the server, or of who has signed that.

    Raises:
        OSError: the file is no certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # checks the certificate and the host's name
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(ca)
    return context


def _connected(family: int, address: Any, host: str, tls: ssl.SSLContext | None) -> socket.socket:
    plain = socket.socket(family, socket.SOCK_STREAM)
    try:
        plain.settimeout(CONNECTING_S)
        plain.connect(address)
        wire.prepare(plain)
        return plain if tls is None else tls.wrap_socket(plain, server_hostname=host)
    except BaseException:
        plain.close()
        raise


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
