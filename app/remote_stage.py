"""A policy on another computer than the robot's: the one side lets it decide, the other one asks."""

from __future__ import annotations

import contextlib
import os
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.bundle_stage import bad_bundle, open_bundle
from policies.deploy import wire
from policies.deploy.bundle import Bundle, BundleError
from policies.deploy.remote import RemoteBundle, trusting
from policies.deploy.server import PORT, TOKEN_VARIABLE, Server, invitation, tls_of, until_told
from reconstruction.errors import ClusterError, UsageError
from reconstruction.progress import Progress, silent

REMEDIES = {
    wire.UNKNOWN: "Take the token that `pocketworld serve` printed when it was started last.",
    wire.ANOTHER: "Copy the bundle from the one computer to the other, and start `pocketworld serve` again.",
    wire.BUSY: "Wait until the other robot has ended, or stop it.",
    wire.SENSELESS: "Have the same Pocketworld on both computers.",
    wire.FAILED: "See what `pocketworld serve` says.",
}


@dataclass(frozen=True)
class ServeSettings:
    """Where a policy is served, and to whom."""

    host: str = "127.0.0.1"
    """Name or address of this computer by which robots reach it. Any but this computer's own wants --cert and --key."""
    port: int = PORT
    """Likewise; 0: any that is free."""
    token_file: Path | None = None
    """A file with the token that robots must know. Left out: a new one is made, and printed once."""
    cert: Path | None = None
    """The certificate of this computer, for TLS (PEM)."""
    key: Path | None = None
    """The certificate's key (PEM), without a password."""


def serve_bundle(
    folder: Path, settings: ServeSettings, say: Callable[..., None], progress: Progress = silent
) -> dict[str, Any]:
    """Let a bundle's policy decide for robots elsewhere, until Ctrl-C or a signal to end.

    Args:
        folder: of the bundle.
        settings: where.
        say: is told of how to connect, and of robots that come and go (`app.console.Console.say`).
        progress: is told about it.

    Returns:
        How many `robots` were connected, connections `refused`, and `decisions` made.

    Raises:
        UsageError: the words make no sense, or it cannot be served there.
        InputError: the bundle is damaged.
    """
    cert, key = settings.cert, settings.key
    if (cert is None) != (key is None):
        raise UsageError("--cert and --key go together.", remedy="Give both, or none.", code="bad_value")
    if not 0 <= settings.port < 1 << 16:
        raise UsageError(f"--port is {settings.port}.", remedy="Give a number up to 65535.", code="bad_value")
    token = wire.new_token() if settings.token_file is None else None
    secret = _token_in(settings.token_file) if settings.token_file is not None else str(token).encode()
    tls = None if cert is None or key is None else _tls(lambda: tls_of(cert, key), cert)
    progress(0.0, "reading the bundle")
    bundle = open_bundle(folder)

    def note(text: str) -> None:
        say("robot", text, message=text)

    server = _listening(bundle, settings, secret, tls, note)
    with server, until_told():
        text = invitation(server, bundle.manifest.sentence, token, tls is not None)
        host, port = server.address
        say("serving", text, host=host, port=port, token=token, tls=tls is not None, task=bundle.manifest.task)
        server.serve()
    return {"robots": server.robots, "refused": server.refused, "decisions": server.decisions}


@contextlib.contextmanager
def acting_bundle(
    folder: Path,
    policy: str,
    token_file: Path | None,
    ca: Path | None,
    progress: Progress = silent,
    *,
    compensate: bool = True,
) -> Iterator[Bundle | RemoteBundle]:
    """A bundle whose policy decides here or, where `policy` says HOST:PORT, there.

    Args:
        folder: of the bundle.
        policy: where its policy is served, or "".
        token_file: with the token; left out: it is in the environment.
        ca: the certificate by which the other computer is known.
        progress: is told what the connection is like.
        compensate: `policies.deploy.remote.RemoteBundle`.

    Raises:
        UsageError: the words make no sense.
        InputError: the bundle is damaged.
        ClusterError: the other computer cannot be reached, or does not want us.
    """
    if not policy:
        yield open_bundle(folder)
        return
    try:
        host, port = wire.host_and_port(policy)
    except ValueError as error:
        raise UsageError(
            f"--policy: {error}.", remedy="Give it as `pocketworld serve` says.", code="bad_value"
        ) from None
    token = _token_in(token_file) if token_file is not None else _token_around()
    tls = None if ca is None else _tls(lambda: trusting(ca), ca)
    progress(0.0, f"connecting to {policy}")
    try:
        remote = RemoteBundle(folder, host, port, token, tls, compensate=compensate)
    except BundleError as error:
        raise bad_bundle(error) from None
    except wire.NoTlsError as error:
        there = f"ssh -L {port}:127.0.0.1:{port} {host}"
        raise UsageError(
            f"--policy: {error}.",
            remedy=f"Name its certificate with --ca, or lead its port here: `{there}` (docs/remote.md).",
            code="no_tls",
        ) from None
    except ValueError as error:
        raise _too_large(error) from None
    except OSError as error:
        raise _unreachable(policy, error) from None
    with remote:
        progress(0.0, remote.note or "connected")
        yield remote


def _unreachable(policy: str, error: OSError) -> ClusterError:
    if isinstance(error, wire.RefusedError):
        remedy = REMEDIES.get(error.reason, "See what `pocketworld serve` says.")
        return ClusterError(f"The policy at {policy} refuses: {error}.", remedy=remedy, code="policy_refuses")
    if isinstance(error, ssl.SSLError):
        return ClusterError(
            f"The policy at {policy} is not who --ca tells of, or has no TLS: {error.reason or error}.",
            remedy="Give its certificate with --ca; the certificate must name the HOST that --policy does.",
            code="policy_unknown",
        )
    if isinstance(error, wire.SignatureError):
        return ClusterError(
            f"What is at {policy} does not know the token.", remedy="Look who listens there.", code="policy_unknown"
        )
    return ClusterError(
        f"The policy at {policy} cannot be reached: {error.strerror or error}.",
        remedy="See that `pocketworld serve` runs there, and with TLS if --ca is given and only then.",
        code="policy_unreachable",
    )


def _listening(
    bundle: Bundle, settings: ServeSettings, token: bytes, tls: ssl.SSLContext | None, note: Callable[[str], None]
) -> Server:
    try:
        return Server(bundle, settings.host, settings.port, token, tls, note=note)
    except wire.NoTlsError as error:
        raise UsageError(
            f"--host: {error}.",
            remedy="Give --cert and --key, or stay at 127.0.0.1 and let robots come through `ssh -L` (docs/remote.md).",
            code="no_tls",
        ) from None
    except ValueError as error:
        raise _too_large(error) from None
    except OSError as error:
        raise UsageError(
            f"Nobody can listen at {settings.host} port {settings.port}: {error.strerror or error}.",
            remedy="Choose another --host or --port.",
            code="bad_address",
        ) from None


def _too_large(error: ValueError) -> UsageError:
    return UsageError(
        f"What this policy looks at cannot be sent: {error}.",
        remedy="Let it decide on the robot's own computer, without --policy.",
        code="too_large",
    )


def _token_in(path: Path) -> bytes:
    try:
        return wire.read_token(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(
            f"{path} has no token: {reason}.",
            remedy="Put what `pocketworld serve` prints into a file, or leave --token-file out.",
            code="bad_token",
        ) from None


def _token_around() -> bytes:
    """The token in the environment."""
    try:
        return wire.token_of(os.environ[TOKEN_VARIABLE])
    except (KeyError, ValueError) as error:
        reason = "none is given" if isinstance(error, KeyError) else f"{TOKEN_VARIABLE}: {error}"
        raise UsageError(
            f"The policy's computer wants a token: {reason}.",
            remedy="Put what `pocketworld serve` printed into a file and name it with --token-file, or into the "
            f"environment variable {TOKEN_VARIABLE}.",
            code="no_token",
        ) from None


def _tls(made: Callable[[], ssl.SSLContext], path: Path) -> ssl.SSLContext:
    try:
        return made()
    except OSError as error:
        raise UsageError(
            f"{path} cannot be used for TLS: {error.strerror or error}.",
            remedy="Give a certificate as PEM (and the key that belongs to it); docs/remote.md says how to make one.",
            code="bad_certificate",
        ) from None
