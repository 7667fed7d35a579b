"""Run a bundle without Pocketworld: ``python BUNDLE/runner``."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from pathlib import Path

import numpy as np

from policies.deploy.bundle import JOINTS, Bundle, BundleError
from policies.deploy.keys import any_key
from policies.deploy.loop import Acting, drive
from policies.deploy.robot import DryRun, Robot
from policies.deploy.server import PORT, Server, invitation, tls_of, until_told
from policies.deploy.wire import new_token, read_token, token_of


def dry_robot(bundle: Acting) -> Robot:
    """A robot that needs nothing: it stands where the demonstrations began, and sees what was seen in one."""
    seen = {name: values for name, values in bundle.sample.items() if name != JOINTS}
    return DryRun(np.array(bundle.manifest.home), seen, time.monotonic)


def serve(bundle: Bundle, asked: argparse.Namespace) -> int:
    """Decide for robots elsewhere until Ctrl-C or a signal to end; 0 where that could be begun."""
    token = None if asked.token_file else new_token()
    try:
        if (asked.cert is None) != (asked.key is None):
            raise ValueError("--cert and --key go together")
        secret = read_token(asked.token_file) if token is None else token_of(token)
        tls = None if asked.cert is None else tls_of(asked.cert, asked.key)
        server = Server(bundle, asked.host, asked.port, secret, tls, note=_say)
    except (OSError, ValueError, OverflowError) as error:
        remedy = "look at --host, --port, --token-file, --cert and --key"
        sys.stderr.write(f"error: this cannot be served: {error}.\n   what to do: {remedy}.\n")
        return 2
    with server, until_told():
        _say(invitation(server, bundle.manifest.sentence, token, tls is not None))
        server.serve()
    return 0


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main(words: list[str] | None = None) -> int:
    """Read the command line, run, and print a line of JSON; 0 where nothing went wrong."""
    parser = argparse.ArgumentParser(prog="runner", description="Let this bundle's policy drive a robot.")
    parser.add_argument("bundle", nargs="?", type=Path, default=Path(sys.argv[0]).absolute().parent)
    parser.add_argument("--robot", choices=["dry-run"], default="dry-run", help="dry-run: none; nothing moves")
    parser.add_argument("--seconds", type=float, default=20.0, help="at most")
    parser.add_argument("--fast", action="store_true", help="do not wait for the clock")
    parser.add_argument("--serve", action="store_true", help="drive none: decide for a robot at another computer")
    parser.add_argument("--host", default="127.0.0.1", help="with --serve: where it reaches this computer")
    parser.add_argument("--port", type=int, default=PORT, help="with --serve; 0: any that is free")
    parser.add_argument("--token-file", type=Path, help="with --serve: has the token; left out: a new one is printed")
    parser.add_argument("--cert", type=Path, help="with --serve: the certificate for TLS")
    parser.add_argument("--key", type=Path, help="with --serve: the certificate's key")
    asked = parser.parse_args(words)
    folder = asked.bundle.parent if asked.bundle.name == "runner" else asked.bundle
    try:
        bundle = Bundle(folder)
    except BundleError as error:
        sys.stderr.write(f"error: {error}.\n   what to do: copy the bundle again, or export it again.\n")
        return 3
    if asked.serve:
        return serve(bundle, asked)
    with any_key() as pressed:
        report = drive(bundle, dry_robot(bundle), asked.seconds, fast=asked.fast, heed=False, pressed=pressed)
    sys.stdout.write(json.dumps(dataclasses.asdict(report)) + "\n")
    return int(report.fault)
