"""Binary messages between a robot's computer and that of its policy, over a plain socket.

Both sides know of every message beforehand what is in it, from the manifest: how many arrays, of which names, types and
shapes, and so how many bytes. A message that differs in any of that is refused before anything is made room for. Once
both have said a random number, every message is signed with a key that follows from those and from a secret that is
itself never sent: whoever does not know it can neither say anything nor repeat what was said before.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import math
import secrets
import socket
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

MAGIC, VERSION = b"PWRP", 1
HEADER = struct.Struct("!4sBBHIII")
"""Magic, version, kind, how many arrays, the request's number, its tick, and how many bytes follow."""
HELLO, CHALLENGE, PROOF, WELCOME, LOOK, ANSWER, REFUSED = range(1, 8)
"""Kinds of messages; the robot's computer sends the first, the third and the fifth."""
LARGEST_BYTES = 4 << 20
"""No message is longer."""
SIGNATURE_BYTES = NONCE_BYTES = 32
LEAST_TOKEN, LONGEST_TOKEN = 16, 1024
"""Characters of a token. One of few could be guessed from what was signed with it."""
TYPES = {"float32": (1, "<f4"), "uint8": (2, "|u1"), "int16": (3, "<i2")}
"""For each type of numbers its code and how NumPy calls it as it is sent."""
UNKNOWN, ANOTHER, BUSY, SENSELESS, FAILED = range(1, 6)
REASONS = {
    UNKNOWN: "it does not know this token",
    ANOTHER: "it serves another policy: its policy.onnx has another SHA-256 than the one here",
    BUSY: "it is busy: another robot is connected",
    SENSELESS: "it could not read what it was sent",
    FAILED: "its policy failed",
}


class WireError(ConnectionError):
    """What came is not what was to come; says why."""


class SignatureError(WireError):
    """A message is not signed by who knows the token."""


class NoTlsError(ValueError):
    """An address can be reached from other computers, and nothing would be encrypted."""


class RefusedError(ConnectionError):
    """The other side refuses; says why."""

    def __init__(self, reason: int) -> None:
        """Of `REASONS`."""
        super().__init__(REASONS.get(reason, "it refuses"))
        self.reason = reason


class Part(NamedTuple):
    """An array in a message: NumPy's name of its numbers, and its shape."""

    dtype: str
    shape: tuple[int, ...]


class Message(NamedTuple):
    """What came: its kind, the number and tick of the request that it is or answers, and its arrays."""

    kind: int
    number: int
    tick: int
    arrays: Mapping[str, npt.NDArray[Any]]


def _bytes(part: Part) -> int:
    return math.prod(part.shape) * int(np.dtype(part.dtype).itemsize)


def _label(name: str, part: Part) -> bytes:
    """What stands before an array: its name, type and shape."""
    said = name.encode("utf-8")
    if part.dtype not in TYPES or len(said) > 255 or len(part.shape) > 255:
        raise ValueError(f"{name[:40]} cannot be sent")
    sides = struct.pack(f"!{len(part.shape)}I", *part.shape)
    return bytes([len(said)]) + said + bytes([TYPES[part.dtype][0], len(part.shape)]) + sides


class Layout:
    """What is in messages of a kind.

    Attributes:
        parts: by name, in their order.
        size: bytes of them all.
    """

    def __init__(self, parts: Mapping[str, Part]) -> None:
        """Know it.

        Raises:
            ValueError: such a message would be too large, or cannot be written.
        """
        self.parts = dict(parts)
        self._labels = {name: _label(name, part) for name, part in self.parts.items()}
        self.size = sum(len(self._labels[name]) + _bytes(part) for name, part in self.parts.items())
        if self.size > LARGEST_BYTES:
            raise ValueError(f"a message would have {self.size} bytes; at most {LARGEST_BYTES} are sent")

    def write(self, arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
        """Arrays as bytes.

        Raises:
            ValueError: one has another shape.
        """
        rows: list[bytes] = []
        for name, part in self.parts.items():
            array = np.ascontiguousarray(arrays[name], dtype=TYPES[part.dtype][1])
            if np.shape(arrays[name]) != part.shape:
                raise ValueError(f"{name} is {np.shape(arrays[name])}, not {part.shape}")
            rows += [self._labels[name], array.tobytes()]
        return b"".join(rows)

    def read(self, data: memoryview) -> dict[str, npt.NDArray[Any]]:
        """Arrays of bytes, copied.

        Raises:
            WireError: they are not these arrays.
        """
        if len(data) != self.size:
            raise WireError(f"a message has {len(data)} bytes, not {self.size}")
        found, at = {}, 0
        for name, part in self.parts.items():
            label, count = self._labels[name], _bytes(part)
            if data[at : at + len(label)] != label:
                raise WireError(f"a message lacks {name}: {part.dtype} {part.shape}")
            at += len(label)
            values = np.frombuffer(data[at : at + count], dtype=TYPES[part.dtype][1]).reshape(part.shape)
            found[name] = values.astype(part.dtype)
            at += count
        return found


NOTHING = Layout({})
HELLO_LAYOUT = Layout({"nonce": Part("uint8", (NONCE_BYTES,)), "policy": Part("uint8", (32,))})
"""The robot's random number, and the SHA-256 of the policy that it is to be."""
CHALLENGE_LAYOUT = Layout({"nonce": Part("uint8", (NONCE_BYTES,))})
WELCOME_LAYOUT = Layout({"places": Part("int16", (1,))})
"""How many places the policy tells of with every answer; 0: of none."""
REFUSED_LAYOUT = Layout({"reason": Part("uint8", (1,))})


class Channel:
    """Messages over a connected socket. One thread at a time."""

    def __init__(self, connection: socket.socket) -> None:
        """Say and hear messages that nobody signs, until there is a key."""
        self._socket = connection
        self._key: bytes | None = None

    def sign(self, key: bytes) -> None:
        """From now on, sign what is sent and believe only what is signed.

        Refusals are never signed: whoever could forge one could cut the line as well, and it does as much.
        """
        self._key = key

    def send(
        self,
        kind: int,
        layout: Layout = NOTHING,
        arrays: Mapping[str, npt.NDArray[Any]] | None = None,
        *,
        number: int = 0,
        tick: int = 0,
        until: float,
    ) -> None:
        """Send a message.

        Args:
            kind: of it.
            layout: what is in such a message.
            arrays: that, by name.
            number: of the request.
            tick: of the request.
            until: when (`time.monotonic`) it is too late.

        Raises:
            OSError: it cannot be sent, or not in time.
            ValueError: an array has another shape.
        """
        body = layout.write(arrays or {})
        key = None if kind == REFUSED else self._key
        size = len(body) + (0 if key is None else SIGNATURE_BYTES)
        head = HEADER.pack(MAGIC, VERSION, kind, len(layout.parts), number, tick, size)
        signature = b"" if key is None else _signature(key, head, body)
        self._socket.settimeout(_left(until))
        self._socket.sendall(b"".join((head, body, signature)))

    def receive(self, expected: Mapping[int, Layout], until: float, begun_until: float | None = None) -> Message:
        """The next message.

        Args:
            expected: kinds that may come, and what is in them.
            until: when (`time.monotonic`) the whole of it must be there, or with `begun_until` its first byte.
            begun_until: seconds that it may take from its first byte on.

        Raises:
            WireError: something else came.
            SignatureError: it is not signed by who knows the token.
            TimeoutError: it did not come in time.
            OSError: the connection is lost.
        """
        head = bytearray(HEADER.size)
        if begun_until is not None:
            self._fill(memoryview(head)[:1], until)
            until = time.monotonic() + begun_until
            self._fill(memoryview(head)[1:], until)
        else:
            self._fill(memoryview(head), until)
        magic, version, kind, count, number, tick, size = HEADER.unpack(head)
        if magic != MAGIC:
            raise WireError("what came is no message of Pocketworld")
        if version != VERSION:
            raise WireError(f"a message has version {version}, this reads {VERSION}")
        layout = expected.get(kind)
        key = None if kind == REFUSED else self._key
        signed = 0 if key is None else SIGNATURE_BYTES
        if layout is None or count != len(layout.parts) or size != layout.size + signed:
            raise WireError(f"a message of kind {kind}, {count} arrays and {size} bytes came out of turn")
        data = bytearray(size)
        self._fill(memoryview(data), until)
        body = memoryview(data)[: layout.size]
        if key is not None and not hmac.compare_digest(_signature(key, head, body), bytes(data[layout.size :])):
            raise SignatureError("a message is not signed with the token")
        return Message(kind, number, tick, layout.read(body))

    def _fill(self, place: memoryview, until: float) -> None:
        """Read as many bytes as there is place for."""
        while place:
            self._socket.settimeout(_left(until))
            count = self._socket.recv_into(place)
            if not count:
                raise ConnectionResetError("the other side has hung up")
            place = place[count:]


def session_key(token: bytes, robots: bytes, servers: bytes, policy: bytes) -> bytes:
    """What messages are signed with: HMAC-SHA256, by the token, of both random numbers and the policy.

    Args:
        token: the secret of both sides.
        robots: the random number of the robot's computer.
        servers: that of the policy's computer.
        policy: SHA-256 of ``policy.onnx``, 32 bytes.
    """
    return hmac.new(token, b"pocketworld session" + robots + servers + policy, hashlib.sha256).digest()


def new_token() -> str:
    """One that nobody guesses."""
    return secrets.token_urlsafe(32)


def read_token(path: Path) -> bytes:
    """A token that stands in a file, alone.

    Raises:
        OSError: the file cannot be read.
        ValueError: there is none in it.
    """
    with path.open("rb") as file:
        return token_of(file.read(2 * LONGEST_TOKEN).decode("latin-1"))


def token_of(text: str) -> bytes:
    """A token as somebody has written it down.

    Raises:
        ValueError: it is none.
    """
    token = text.strip()
    if not LEAST_TOKEN <= len(token) <= LONGEST_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise ValueError(f"a token is one word of {LEAST_TOKEN} to {LONGEST_TOKEN} letters, digits and signs")
    return token.encode("ascii")


def resolved(host: str, port: int) -> tuple[socket.AddressFamily, Any]:
    """The family and address that sockets take for a host's name or number.

    Raises:
        OSError: there is no such host.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except UnicodeError:
        raise OSError("there is no host of this name") from None
    return family, address


def is_loopback(address: Any) -> bool:
    """Whether nobody outside of this computer reaches an address that `resolved` returned."""
    return ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback


def host_and_port(text: str) -> tuple[str, int]:
    """Of ``HOST:PORT``; a host of numbers and colons stands in brackets.

    Raises:
        ValueError: it is none.
    """
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") if host.startswith("[") else host
    if not colon or not host or not (port.isascii() and port.isdigit()) or not 0 < int(port[:6]) < 1 << 16:
        raise ValueError(f"{text!r} is no HOST:PORT")
    return host, int(port)


def prepare(connection: socket.socket) -> None:
    """Let messages go at once, and notice a computer that is gone although nothing is said."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError("the time is over")
    return left


def _signature(key: bytes, head: bytes | bytearray, body: bytes | memoryview) -> bytes:
    made = hmac.new(key, head, hashlib.sha256)
    made.update(body)
    return made.digest()
