"""Whoever does not know the token, says what makes no sense, or dawdles, harms nothing."""

from __future__ import annotations

import contextlib
import hmac
import random
import resource
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from policies.deploy import wire
from policies.deploy.bundle import JOINTS
from policies.deploy.loop import TIME_OVER, drive
from policies.deploy.messages import look_layout, policy_digest
from policies.deploy.remote import RemoteBundle, trusting
from policies.deploy.server import Server, tls_of
from policies.deploy.wire import Channel, Layout, Part
from tests import bundles
from tests.policies.test_deploy import Arm
from tests.serving import HERE, TOKEN, Watched, serving


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a policy that dreams."""
    return bundles.make_bundle(tmp_path_factory.mktemp("bundle") / "fern", limit_m=50.0)


@pytest.fixture
def bundle(folder: Path) -> Watched:
    return Watched(folder)


@pytest.fixture
def port(bundle: Watched) -> Iterator[int]:
    with serving(Server(bundle, HERE, 0, TOKEN)) as found:
        yield found


def good(port: int, folder: Path) -> None:
    """A robot that is answered."""
    limit = time.monotonic() + 20
    while True:
        try:
            with RemoteBundle(folder, HERE, port, TOKEN, compensate=False) as remote:
                remote.decide({name: values[0] for name, values in remote.sample.items()})
                return
        except (wire.RefusedError, ConnectionError):  # busy, until the one before is let go
            assert time.monotonic() < limit
            time.sleep(0.05)


def message(rng: random.Random, digest: bytes) -> bytes:
    """A first message that is off somewhere."""
    nonce = np.frombuffer(rng.randbytes(32), dtype=np.uint8)
    body = bytearray(wire.HELLO_LAYOUT.write({"nonce": nonce, "policy": np.frombuffer(digest, dtype=np.uint8)}))
    head = [wire.MAGIC, wire.VERSION, wire.HELLO, 2, rng.getrandbits(32), rng.getrandbits(32), len(body)]
    kind = rng.randrange(8)
    if kind == 0:
        return rng.randbytes(rng.randrange(200))
    if kind == 1:  # giant, or otherwise another length
        head[6] = rng.choice([(1 << 32) - 1, 1 << 31, wire.LARGEST_BYTES, 0, len(body) + 1, rng.getrandbits(32)])
    if kind == 2:
        head[rng.randrange(2, 4)] = rng.randrange(256)
    if kind == 3:  # another name, type or shape
        body[rng.choice([*range(12), *range(44, 57)])] ^= 1 << rng.randrange(8)
    whole = wire.HEADER.pack(*head) + bytes(body)
    if kind == 4:
        return whole[: rng.randrange(len(whole))]
    if kind == 5:  # as it should be, then a proof by who does not know
        proof = wire.HEADER.pack(wire.MAGIC, wire.VERSION, wire.PROOF, 0, 0, 0, 32)
        return whole + proof + rng.randbytes(rng.choice([0, 5, 32, 64]))
    if kind == 7:  # a proof that was one, after another random number
        proof = wire.HEADER.pack(wire.MAGIC, wire.VERSION, wire.PROOF, 0, 0, 0, 32)
        key = wire.session_key(TOKEN, nonce.tobytes(), rng.randbytes(32), digest)
        return whole + proof + hmac.digest(key, proof, "sha256")
    if kind == 6:  # and goes on as if it were known
        return whole + wire.HEADER.pack(wire.MAGIC, wire.VERSION, wire.LOOK, 2, 1, 0, 1000) + rng.randbytes(1000)
    return whole


def test_thousands_of_bad_messages_leave_the_server_as_it_was(folder: Path, bundle: Watched) -> None:
    """Nine thousand by who does not know the token, a thousand by who does."""
    rng, digest = random.Random(0), policy_digest(bundle.manifest)
    server = Server(bundle, HERE, 0, TOKEN, patience_s=2.0)
    with serving(server) as port:
        good(port, folder)
        calls, before = bundle.calls, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for number in range(9000):
            ours, theirs = socket.socketpair()
            with ours, theirs:
                ours.sendall(message(rng, digest))
                ours.shutdown(socket.SHUT_WR)
                if number % 30:  # here, where it is quicker
                    server._slots.acquire()
                    server._attend(Named(theirs), "someone")
                    continue
            with socket.create_connection((HERE, port), 10) as outside, contextlib.suppress(OSError):
                outside.sendall(message(rng, digest))
                outside.shutdown(socket.SHUT_WR)
                while outside.recv(1 << 16):
                    pass
        assert bundle.calls == calls
        for _ in range(1000):
            inside(server, rng, digest)
        assert bundle.calls == calls
        good(port, folder)
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert after - before < 64 << 10  # KiB
    assert server.refused >= 9000
    assert threading.active_count() < 8


class Named(socket.socket):
    """One end of a pair, as if it had come over the network."""

    def __init__(self, end: socket.socket) -> None:
        super().__init__(end.family, end.type, end.proto, end.detach())

    def setsockopt(self, *words: Any) -> None:
        """Pairs have no such options."""


def inside(server: Server, rng: random.Random, digest: bytes) -> None:
    """Somebody who knows the token says something that makes no sense."""
    ours, theirs = socket.socketpair()
    server._slots.acquire()
    thread = threading.Thread(target=server._attend, args=(Named(theirs), "someone"))
    thread.start()
    with ours:
        until, nonce = time.monotonic() + 10, rng.randbytes(32)
        channel = Channel(ours)
        said = {"nonce": np.frombuffer(nonce, dtype=np.uint8), "policy": np.frombuffer(digest, dtype=np.uint8)}
        channel.send(wire.HELLO, wire.HELLO_LAYOUT, said, until=until)
        theirs_said = channel.receive({wire.CHALLENGE: wire.CHALLENGE_LAYOUT}, until).arrays["nonce"].tobytes()
        channel.sign(wire.session_key(TOKEN, nonce, theirs_said, digest))
        channel.send(wire.PROOF, until=until)
        channel.receive({wire.WELCOME: wire.WELCOME_LAYOUT}, until)
        layout = look_layout(server._bundle.manifest)
        arrays = {name: np.zeros(part.shape) for name, part in layout.parts.items()}
        kind = rng.randrange(5)
        if kind == 0:
            ours.sendall(rng.randbytes(rng.randrange(2000)))
        elif kind == 1:  # signed, of another shape
            part = layout.parts[JOINTS]
            other = Layout({**layout.parts, JOINTS: Part(part.dtype, part.shape[::-1])})
            channel.send(wire.LOOK, other, {**arrays, JOINTS: np.zeros(part.shape[::-1])}, number=1, until=until)
        elif kind == 2:  # a number that was, or is to come
            channel.send(wire.LOOK, layout, arrays, number=rng.choice([0, 2, 9]), until=until)
        elif kind == 3:  # altered on the way
            channel.sign(rng.randbytes(32))
            channel.send(wire.LOOK, layout, arrays, number=1, until=until)
        else:
            ours.sendall(wire.HEADER.pack(wire.MAGIC, wire.VERSION, wire.LOOK, 2, 1, 0, rng.getrandbits(32)))
        ours.shutdown(socket.SHUT_WR)
        thread.join(10)
    assert not thread.is_alive()


def test_a_handshake_that_was_overheard_opens_nothing(bundle: Watched, folder: Path, port: int) -> None:
    heard: list[bytes] = []

    def relay(listener: socket.socket) -> None:
        robot, _ = listener.accept()
        with robot, socket.create_connection((HERE, port)) as server:
            for size in (wire.HEADER.size + wire.HELLO_LAYOUT.size, wire.HEADER.size + wire.SIGNATURE_BYTES):
                heard.append(robot.recv(size, socket.MSG_WAITALL))
                server.sendall(heard[-1])
                robot.sendall(server.recv(1 << 12))

    with socket.create_server((HERE, 0)) as listener:
        thread = threading.Thread(target=relay, args=(listener,))
        thread.start()
        RemoteBundle(folder, HERE, listener.getsockname()[1], TOKEN, compensate=False).close()
        thread.join(10)
    with socket.create_connection((HERE, port), 10) as again:
        again.sendall(heard[0] + heard[1])
        channel, until = Channel(again), time.monotonic() + 10
        channel.receive({wire.CHALLENGE: wire.CHALLENGE_LAYOUT}, until)
        told = channel.receive({wire.REFUSED: wire.REFUSED_LAYOUT}, until)
    assert told.arrays["reason"][0] == wire.UNKNOWN
    assert bundle.calls == 0


def test_who_dawdles_is_let_go(folder: Path, bundle: Watched) -> None:
    server = Server(bundle, HERE, 0, TOKEN, patience_s=0.5)
    with serving(server) as port:
        slow = [socket.create_connection((HERE, port), 10) for _ in range(20)]
        limit = time.monotonic() + 10
        byte = wire.MAGIC[:1]
        while server.refused < 20:  # a byte now and then does not help
            assert time.monotonic() < limit
            for connection in slow:
                with contextlib.suppress(OSError):
                    connection.sendall(byte)
            byte = b""
            time.sleep(0.05)
        for connection in slow:
            connection.close()
        good(port, folder)


def test_an_idle_robot_makes_room_for_another(folder: Path, bundle: Watched) -> None:
    server = Server(bundle, HERE, 0, TOKEN, idle_s=0.3)
    with serving(server) as port, RemoteBundle(folder, HERE, port, TOKEN, compensate=False):
        good(port, folder)


def until_lost(remote: RemoteBundle) -> None:
    for _ in range(200):
        remote.check()
        time.sleep(0.05)


def certificate(place: Path) -> tuple[Path, Path]:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl here")
    place.mkdir()
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -keyout key.pem -out cert.pem"
    names = ["-subj", "/CN=policy", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(["openssl", *words.split(), *names], cwd=place, check=True, capture_output=True)
    return place / "cert.pem", place / "key.pem"


def test_other_computers_are_spoken_to_with_tls_alone(bundle: Watched, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(wire.NoTlsError, match="takes TLS"):
        Server(bundle, "0.0.0.0", 0, TOKEN)
    with pytest.raises(wire.NoTlsError, match="takes TLS"):
        RemoteBundle(folder, "192.0.2.1", 9, TOKEN)
    cert, key = certificate(tmp_path / "one")
    other, _ = certificate(tmp_path / "two")
    with pytest.raises(ssl.SSLError):
        tls_of(other, key)
    server = Server(bundle, "0.0.0.0", 0, TOKEN, tls_of(cert, key), patience_s=2.0)
    with serving(server) as port, RemoteBundle(folder, HERE, port, TOKEN, trusting(cert)) as remote:
        report = drive(remote, Arm(remote), 3.0, fast=True)
        assert report.stopped == TIME_OVER
        remote.check()
        server.close()
        with pytest.raises(ConnectionError):
            until_lost(remote)
    with serving(Server(bundle, HERE, 0, TOKEN, tls_of(cert, key), patience_s=0.5)) as port:
        with pytest.raises(ssl.SSLError, match="certificate"):
            RemoteBundle(folder, HERE, port, TOKEN, trusting(other))
        with pytest.raises(OSError):  # noqa: PT011 - it is hung up on
            RemoteBundle(folder, HERE, port, TOKEN)


@pytest.mark.parametrize(
    "text", ["", "host", ":5", "host:", "host:0", "host:65536", "host:x", "host:²", "host:99999999"]
)
def test_addresses_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="HOST:PORT"):
        wire.host_and_port(text)
    assert wire.host_and_port("[::1]:80") == ("::1", 80)


@pytest.mark.parametrize(
    "text", ["", "short", "a" * 2000, "two words, long enough", "ümlaut-ümlaut-ümlaut", "a\0" * 20]
)
def test_tokens_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="a token is"):
        wire.token_of(text)
    assert wire.token_of(f" {wire.new_token()}\n")
