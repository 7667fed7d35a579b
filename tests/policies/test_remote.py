"""A policy on another computer: the same decisions, nobody without the token, and an arm that stops when it is lost."""

from __future__ import annotations

import contextlib
import dataclasses
import hmac
import random
import resource
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from policies.deploy import wire
from policies.deploy.bundle import JOINTS, Bundle, Decision, sha256
from policies.deploy.decisions import Decisions
from policies.deploy.loop import TIME_OVER, Report, drive
from policies.deploy.messages import look_layout, policy_digest
from policies.deploy.remote import RemoteBundle, longest_lead, trusting
from policies.deploy.robot import Reading
from policies.deploy.server import Server, tls_of
from policies.deploy.wire import Channel, Layout, Part
from tests import bundles
from tests.policies.test_deploy import Arm

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


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a policy that dreams."""
    return bundles.make_bundle(tmp_path_factory.mktemp("bundle") / "fern", limit_m=50.0)


@pytest.fixture
def bundle(folder: Path) -> Watched:
    return Watched(folder)


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


@pytest.fixture
def port(bundle: Watched) -> Iterator[int]:
    with serving(Server(bundle, HERE, 0, TOKEN)) as found:
        yield found


def told_in(acting: Any, at: int = 0, harm: Any = None, seconds: float = 3.0, **more: Any) -> tuple[np.ndarray, Report]:
    arm = Arm(acting, harm, at)
    report = drive(acting, arm, seconds, **more)
    assert arm.stopped == 1
    return np.array(arm.told), report


def test_it_decides_as_it_does_here_to_the_last_bit(bundle: Watched, port: int, folder: Path) -> None:
    here, report = told_in(bundle, fast=True)
    with RemoteBundle(folder, HERE, port, TOKEN, compensate=False) as remote:
        there, found = told_in(remote, fast=True)
        assert np.array_equal(here, there)
        assert (found.trust, found.ticks, found.stopped) == (report.trust, 30, TIME_OVER)
        latency = remote.latency()
    assert (latency.answers, latency.lead, latency.usual_lead) == (8, 1, 1)
    assert 0 < latency.median_ms <= latency.worst_ms
    with pytest.raises(ConnectionError, match="closed here"):
        remote.check()


def test_arrays_come_as_they_were_or_not_at_all() -> None:
    parts = {"picture": Part("uint8", (4, 5, 3)), "cloud": Part("int16", (6,)), "memory": Part("float32", (2,))}
    rng = np.random.default_rng(0)
    arrays = {name: rng.integers(0, 99, part.shape).astype(part.dtype) for name, part in parts.items()}
    layout = Layout(parts)
    read = layout.read(memoryview(layout.write(arrays)))
    assert all(np.array_equal(read[name], arrays[name]) and read[name].dtype == parts[name].dtype for name in parts)
    assert all(read[name].flags.aligned for name in parts)
    with pytest.raises(ValueError, match="picture is"):
        layout.write({**arrays, "picture": arrays["picture"][1:]})
    longer = Layout({**parts, "cloud": Part("int16", (7,))}).write({**arrays, "cloud": np.zeros(7)})
    with pytest.raises(wire.WireError, match="bytes, not"):
        layout.read(memoryview(longer))
    other = Layout({**parts, "cloud": Part("uint8", (12,))}).write({**arrays, "cloud": np.zeros(12)})
    with pytest.raises(wire.WireError, match="lacks cloud"):
        layout.read(memoryview(other))
    with pytest.raises(ValueError, match="at most"):
        Layout({"huge": Part("float32", (1 << 20, 2))})


def test_who_does_not_know_the_token_is_refused_and_so_is_another_policy(
    bundle: Watched, port: int, folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(wire.RefusedError, match="does not know this token"):
        RemoteBundle(folder, HERE, port, OTHER)
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    network = (other / "policy.onnx").read_bytes() + b" "  # the robot's computer does not look into it
    (other / "policy.onnx").write_bytes(network)
    files = Bundle(folder).manifest.document["files"]
    bundles.change(other, "files", to={**files, "policy.onnx": sha256(network)})
    with pytest.raises(wire.RefusedError, match="another SHA-256"):
        RemoteBundle(other, HERE, port, TOKEN)
    assert bundle.calls == 0
    with RemoteBundle(folder, HERE, port, TOKEN), pytest.raises(wire.RefusedError, match="busy"):
        RemoteBundle(folder, HERE, port, TOKEN)
    limit = time.monotonic() + 10  # the first one's place is free as soon as the server has noticed
    while True:
        try:
            RemoteBundle(folder, HERE, port, TOKEN).close()
            break
        except wire.RefusedError:
            assert time.monotonic() < limit


def test_a_server_that_does_not_know_the_token_is_told_nothing(folder: Path, bundle: Watched) -> None:
    heard = []

    def pretend(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            channel, until = Channel(connection), time.monotonic() + 10
            channel.receive({wire.HELLO: wire.HELLO_LAYOUT}, until)
            channel.send(wire.CHALLENGE, wire.CHALLENGE_LAYOUT, {"nonce": np.zeros(32)}, until=until)
            connection.recv(wire.HEADER.size + wire.SIGNATURE_BYTES)
            channel.sign(OTHER)
            channel.send(wire.WELCOME, wire.WELCOME_LAYOUT, {"places": np.array([3])}, until=until)
            connection.settimeout(10)
            heard.append(connection.recv(1))

    with socket.create_server((HERE, 0)) as listener:
        thread = threading.Thread(target=pretend, args=(listener,))
        thread.start()
        with pytest.raises(wire.SignatureError):
            RemoteBundle(folder, HERE, listener.getsockname()[1], TOKEN)
        thread.join(10)
    assert heard == [b""]


class Harmful(Server):
    """A server that knows the token, and says something else from some request on."""

    def harm(self, connection: Channel, number: int, tick: int, answer: dict[str, np.ndarray]) -> None:
        raise NotImplementedError

    def _answer_all(self, channel: Channel) -> Any:
        send = channel.send

        def altered(kind: int, layout: Layout, arrays: Any, *, number: int = 0, tick: int = 0, until: float) -> None:
            if kind == wire.ANSWER and number > 10:  # eight of them are tried before the run
                self.harm(channel, number, tick, arrays)
            else:
                send(kind, layout, arrays, number=number, tick=tick, until=until)

        channel.send = altered  # type: ignore[method-assign]
        self.send, self.answer = send, self._answer
        super()._answer_all(channel)


def numbered(server: Harmful, channel: Channel, number: int, tick: int, answer: Any) -> None:
    server.send(wire.ANSWER, server.answer, answer, number=number - 1, tick=tick, until=time.monotonic() + 5)


def ticked(server: Harmful, channel: Channel, number: int, tick: int, answer: Any) -> None:
    server.send(wire.ANSWER, server.answer, answer, number=number, tick=tick + 1, until=time.monotonic() + 5)


def garbled(server: Harmful, channel: Channel, number: int, tick: int, answer: Any) -> None:
    channel._socket.sendall(bytes(range(256)) * 20)


def unsigned(server: Harmful, channel: Channel, number: int, tick: int, answer: Any) -> None:
    channel.sign(OTHER)
    numbered(server, channel, number + 1, tick, answer)


def cut_short(server: Harmful, channel: Channel, number: int, tick: int, answer: Any) -> None:
    channel._socket.sendall(wire.HEADER.pack(wire.MAGIC, wire.VERSION, wire.ANSWER, 3, number, tick, 1)[:9])
    channel._socket.shutdown(socket.SHUT_RDWR)


def huge(server: Harmful, channel: Channel, number: int, tick: int, answer: Any) -> None:
    channel._socket.sendall(wire.HEADER.pack(wire.MAGIC, wire.VERSION, wire.ANSWER, 3, number, tick, (1 << 32) - 1))


def refused(server: Harmful, channel: Channel, number: int, tick: int, answer: Any) -> None:
    raise ZeroDivisionError("on purpose")


def twice(server: Harmful, channel: Channel, number: int, tick: int, answer: Any) -> None:
    for _ in range(2):
        numbered(server, channel, number + 1, tick, answer)


HARM: dict[str, tuple[Callable[..., None], str]] = {
    "wrong number": (numbered, "answer to request 10"),
    "wrong tick": (ticked, "an answer to request"),
    "no message": (garbled, "no message of Pocketworld"),
    "another's": (unsigned, "not signed"),
    "cut short": (cut_short, "hung up"),
    "too long": (huge, "out of turn"),
    "policy fails": (refused, "its policy failed"),
    "said twice": (twice, "hung up"),
}


@pytest.mark.parametrize("harm", HARM)
def test_answers_that_make_no_sense_stop_the_arm(folder: Path, bundle: Watched, harm: str) -> None:
    work, why = HARM[harm]
    server = Harmful(bundle, HERE, 0, TOKEN)
    server.harm = lambda *told: work(server, *told)  # type: ignore[method-assign]
    with serving(server) as port, RemoteBundle(folder, HERE, port, TOKEN) as remote:
        told, report = told_in(remote, seconds=20.0)
        assert report.stopped.startswith("the connection is lost: the policy at ")
        assert why in report.stopped
        assert report.fault
        with pytest.raises(ConnectionError):
            remote.decide({name: values[0] for name, values in remote.sample.items()})
    pace = np.diff(told, axis=0)[:, :-1]
    assert np.abs(pace).max() > 1e-3
    assert np.abs(pace[-1]).max() <= (bundle.manifest.limits.acceleration / 100).max()


@pytest.mark.parametrize("at", [12, 14, 15])
def test_a_lost_connection_stops_the_arm_at_once(folder: Path, bundle: Watched, at: int) -> None:
    """Whether an answer is waited for or not."""
    server = Server(bundle, HERE, 0, TOKEN)

    def cut(arm: Arm, reading: Reading) -> Reading:
        server.close()
        return reading

    with serving(server) as port, RemoteBundle(folder, HERE, port, TOKEN) as remote:
        _, report = told_in(remote, at, cut)
    assert "the connection is lost" in report.stopped
    assert report.fault
    assert report.ticks <= at + 4  # 0.3 s and a tick, as for stale data


def test_a_silent_server_leads_to_a_hold_and_then_to_a_stop(folder: Path, bundle: Watched) -> None:
    gate = threading.Event()
    bundle.before = lambda tick: gate.wait(20) if tick >= 8 else None
    with serving(Server(bundle, HERE, 0, TOKEN)) as port, RemoteBundle(folder, HERE, port, TOKEN) as remote:
        told, report = told_in(remote, seconds=20.0)
        gate.set()
    assert "no answer for 1.6 s" in report.stopped
    assert report.held > 2  # at first, and when the last chunk was used up
    assert 16 <= report.ticks < 100
    assert not np.diff(told, axis=0)[-1, :-1].any()  # it had come to rest long before


def test_slow_answers_are_taken_over_later(folder: Path, bundle: Watched) -> None:
    bundle.before = lambda tick: time.sleep(0.25)
    with serving(Server(bundle, HERE, 0, TOKEN)) as port, RemoteBundle(folder, HERE, port, TOKEN) as remote:
        lead = remote.manifest.lead
        assert 3 <= lead <= longest_lead(bundle.manifest) == 7
        assert remote.manifest.execute <= remote.manifest.length - lead
        assert f"after {lead} ticks, not 1" in remote.note
        asked: list[int] = []
        bundle.before = lambda tick: (asked.append(tick), time.sleep(0.05))
        told, report = told_in(remote)
        assert report.stopped == TIME_OVER
        assert report.held >= lead
        assert not np.diff(told, axis=0)[:lead].any()
        assert remote.latency().lead == lead


@pytest.mark.parametrize("length", [2, 5, 16, 17])
def test_the_longest_lead_leaves_no_gap_and_a_longer_one_does(bundle: Watched, length: int) -> None:
    for execute in range(1, length):
        manifest = dataclasses.replace(bundle.manifest, length=length, execute=execute)
        longest = longest_lead(manifest)
        assert execute <= length - longest

        def gaps(lead: int, execute: int = execute) -> int:
            with Decisions(lambda seen: np.zeros((length, 1)), execute, lead, threaded=False) as decisions:
                done = [decisions.action(tick, dict) for tick in range(100)]
            return sum(action is None for action in done[lead:])

        assert gaps(longest) == 0
        assert gaps(longest + 1) > 0


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
        _, report = told_in(remote, fast=True)
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
