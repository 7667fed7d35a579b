"""A policy for robots elsewhere: answers whoever shows that it knows the token, one robot at a time.

Nothing of what others send reaches the network before that; until then a connection has a few seconds and a few
hundred bytes.
"""

from __future__ import annotations

import contextlib
import secrets
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import NoReturn

import numpy as np

from policies.deploy import wire
from policies.deploy.bundle import MEMORY, PLACES, Bundle
from policies.deploy.messages import answer_arrays, answer_layout, look_layout, policy_digest
from policies.deploy.wire import Channel, Layout

PORT = 8473
ENDING = (signal.SIGINT, signal.SIGTERM)
TOKEN_VARIABLE = "POCKETWORLD_TOKEN"
"""The environment variable in which a robot's computer may have the token."""
PATIENCE_S = 5.0
"""So long a connection may take to show that it knows the token, and a message to come in once it has begun."""
IDLE_S = 120.0
"""A robot that has asked nothing for so long is let go: another may be waiting."""
AT_ONCE = 16
"""Connections that may be about to show that they know the token; further ones are hung up on."""


class Server:
    """Serves a bundle's policy; use it as a context manager.

    Attributes:
        address: host and port on which it listens.
        robots: that have been connected.
        refused: connections that did not come to be answered.
        decisions: that were made.
    """

    def __init__(
        self,
        bundle: Bundle,
        host: str,
        port: int,
        token: bytes,
        tls: ssl.SSLContext | None = None,
        *,
        patience_s: float = PATIENCE_S,
        idle_s: float = IDLE_S,
        note: Callable[[str], None] = lambda text: None,
    ) -> None:
        """Listen; `serve` then answers.

        Args:
            bundle: with the policy.
            host: name or address of this computer on which robots reach it.
            port: likewise; 0: any that is free.
            token: that robots must know.
            tls: encrypts; wanted where other computers can reach this one.
            patience_s: seconds for a connection to show that it knows the token, and for a message to come in.
            idle_s: seconds after which a robot that asks nothing is let go.
            note: is told of robots that come and go, from whatever thread.

        Raises:
            NoTlsError: others could reach it, and nothing would be encrypted.
            ValueError: the policy's messages are too large.
            OSError: it cannot listen there.
        """
        family, address = wire.resolved(host, port)
        if tls is None and not wire.is_loopback(address):
            raise wire.NoTlsError(f"{host} can be reached from other computers: that takes TLS")
        self._bundle, self._token, self._tls, self._note = bundle, token, tls, note
        self._patience_s, self._idle_s = patience_s, idle_s
        self._digest = policy_digest(bundle.manifest)
        shapes = {entry.name: entry.shape for entry in bundle.network.get_outputs()}
        self._places = 0 if bundle.manifest.trust is None else int(shapes[PLACES][1])
        self._look, self._answer = look_layout(bundle.manifest), answer_layout(bundle.manifest, self._places)
        self.robots = self.refused = self.decisions = 0
        self._counting, self._free = threading.Lock(), threading.Lock()
        self._slots = threading.BoundedSemaphore(AT_ONCE)
        self._open: set[socket.socket] = set()
        self._closed = False
        self._listener = socket.create_server(address, family=family, backlog=AT_ONCE)
        self._listener.settimeout(0.2)
        self.address: tuple[str, int] = self._listener.getsockname()[:2]

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up on everybody, and listen no more."""
        self._closed = True
        self._listener.close()
        with self._counting:
            connections = list(self._open)
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def serve(self) -> None:
        """Answer robots until it is closed."""
        while not self._closed:
            try:
                connection, peer = self._listener.accept()
            except TimeoutError:
                continue
            except OSError:  # closed, or somebody was gone before; of the latter, or no more files, wait a little
                time.sleep(0.01)
                continue
            if not self._slots.acquire(blocking=False):
                self._refuse()
                connection.close()
                continue
            with self._counting:
                self._open.add(connection)
            name = f"{peer[0]} port {peer[1]}"
            threading.Thread(target=self._attend, args=(connection, name), daemon=True).start()

    def _refuse(self) -> None:
        with self._counting:
            self.refused += 1

    def _attend(self, connection: socket.socket, name: str) -> None:
        """All of a connection, in a thread of its own."""
        waiting = _Once(self._slots.release)
        try:
            until = time.monotonic() + self._patience_s
            with self._encrypted(connection) as safe:
                channel = Channel(safe)
                try:
                    self._admit(channel, until)
                except wire.RefusedError as refused:
                    _say(channel, refused.reason, until)
                    raise
                waiting()
                try:
                    self._entertain(channel, name, until)
                finally:
                    self._free.release()
        except OSError:  # refused, or gone
            self._refuse()
        finally:
            waiting()
            with self._counting:
                self._open.discard(connection)
            connection.close()

    @contextlib.contextmanager
    def _encrypted(self, connection: socket.socket) -> Iterator[socket.socket]:
        wire.prepare(connection)
        connection.settimeout(self._patience_s)
        if self._tls is None:
            yield connection
            return
        with self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False) as safe:
            with self._counting:  # the plain one has handed its connection over
                self._open.discard(connection)
                self._open.add(safe)
            try:
                safe.do_handshake()
                yield safe
            finally:
                with self._counting:
                    self._open.discard(safe)

    def _admit(self, channel: Channel, until: float) -> None:
        """Let a connection have the only place, if it knows the token and wants this policy.

        Raises:
            RefusedError: it does not, or another has the place.
            OSError: it is gone.
        """
        try:
            hello = channel.receive({wire.HELLO: wire.HELLO_LAYOUT}, until).arrays
            nonce = secrets.token_bytes(wire.NONCE_BYTES)
            said = {"nonce": np.frombuffer(nonce, dtype=np.uint8)}
            channel.send(wire.CHALLENGE, wire.CHALLENGE_LAYOUT, said, until=until)
            policy = hello["policy"].tobytes()
            channel.sign(wire.session_key(self._token, hello["nonce"].tobytes(), nonce, policy))
            channel.receive({wire.PROOF: wire.NOTHING}, until)
        except wire.SignatureError:
            raise wire.RefusedError(wire.UNKNOWN) from None
        except wire.WireError:
            raise wire.RefusedError(wire.SENSELESS) from None
        if policy != self._digest:
            raise wire.RefusedError(wire.ANOTHER)
        if not self._free.acquire(blocking=False):
            raise wire.RefusedError(wire.BUSY)

    def _entertain(self, channel: Channel, name: str, until: float) -> None:
        """Answer a robot until it has enough, or makes no sense."""
        welcome = {"places": np.array([self._places])}
        channel.send(wire.WELCOME, wire.WELCOME_LAYOUT, welcome, until=until)
        with self._counting:
            self.robots += 1
        self._note(f"a robot at {name} is connected")
        try:
            self._answer_all(channel)
        except wire.WireError as error:
            why = str(error)
            _say(channel, wire.SENSELESS, time.monotonic() + self._patience_s)
        except TimeoutError:
            why = "it has said nothing for too long"
        except OSError:
            why = "it has hung up"
        except Exception as error:  # noqa: BLE001 - whatever goes wrong in a policy, the server lives on
            why = f"the policy failed: {error}"
            _say(channel, wire.FAILED, time.monotonic() + self._patience_s)
        self._note(f"the robot at {name} is gone: {why}")

    def _answer_all(self, channel: Channel) -> NoReturn:
        expected: dict[int, Layout] = {wire.LOOK: self._look}
        last = 0
        while True:
            asked = channel.receive(expected, time.monotonic() + self._idle_s, self._patience_s)
            if asked.number != last + 1:
                raise wire.WireError(f"request {asked.number} came after request {last}")
            last = asked.number
            found = self._bundle.decide(asked.arrays, asked.tick, asked.arrays.get(MEMORY))
            channel.send(
                wire.ANSWER,
                self._answer,
                answer_arrays(found),
                number=asked.number,
                tick=asked.tick,
                until=time.monotonic() + self._patience_s,
            )
            self.decisions += 1


def invitation(server: Server, sentence: str, token: str | None, encrypted: bool) -> str:
    """What a person must know to let a robot connect.

    Args:
        server: that listens.
        sentence: what its policy does.
        token: where it was made just now; else None.
        encrypted: whether with TLS.
    """
    host, port = server.address
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [f"Serving {sentence!r} at {place}. Ctrl-C ends it."]
    if token is not None:
        lines += [f"  token: {token}", f"  Put it into a file beside the robot, or into {TOKEN_VARIABLE} there."]
    more = " --ca CERTIFICATE" if encrypted else ""
    lines.append(f"  The robot's computer: pocketworld run BUNDLE --policy {place} --token-file FILE{more}")
    if not encrypted:
        lines.append(f"  If that is another one, first, there: ssh -N -L {port}:{place} THIS_COMPUTER")
    return "\n".join(lines)


class _Once:
    """Does something the first time that it is called."""

    def __init__(self, work: Callable[[], object]) -> None:
        self._work, self._done = work, False

    def __call__(self) -> None:
        if not self._done:
            self._done = True
            self._work()


@contextlib.contextmanager
def until_told() -> Iterator[None]:
    """Ctrl-C and SIGTERM end what is done here, and nothing else; in the main thread."""

    def leave(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = [signal.signal(number, leave) for number in ENDING]
    try:
        with contextlib.suppress(KeyboardInterrupt):
            yield
    finally:
        for number, handler in zip(ENDING, before, strict=True):
            signal.signal(number, handler)


def tls_of(cert: Path, key: Path) -> ssl.SSLContext:
    """What a server encrypts with.

    Raises:
        OSError: the files are not a certificate and its key.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.num_tickets = 0  # nothing comes that was not asked for
    context.load_cert_chain(cert, key, password=_no_password)
    return context


def _no_password() -> str:
    raise ssl.SSLError("the key is locked by a password")


def _say(channel: Channel, reason: int, until: float) -> None:
    """Tell the other side why it is refused, as far as that is possible."""
    with contextlib.suppress(OSError):
        said = {"reason": np.array([reason])}
        channel.send(wire.REFUSED, wire.REFUSED_LAYOUT, said, until=until)
