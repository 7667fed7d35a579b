"""A policy on another computer: the same decisions, nobody without the token, and an arm that stops when it is lost."""

from __future__ import annotations

import dataclasses
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from policies.deploy import wire
from policies.deploy.bundle import Bundle, sha256
from policies.deploy.decisions import Decisions
from policies.deploy.loop import TIME_OVER, Report, drive
from policies.deploy.remote import RemoteBundle, longest_lead
from policies.deploy.robot import Reading
from policies.deploy.server import Server
from policies.deploy.wire import Channel, Layout, Part
from tests import bundles
from tests.policies.test_deploy import Arm
from tests.serving import HERE, OTHER, TOKEN, Watched, serving


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
        assert remote.note.startswith("answers take up to ")
        bundle.before = lambda tick: time.sleep(0.05)
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
