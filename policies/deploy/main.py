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
from policies.deploy.loop import drive
from policies.deploy.robot import DryRun, Robot


def dry_robot(bundle: Bundle) -> Robot:
    """A robot that needs nothing: it stands where the demonstrations began, and sees what was seen in one."""
    seen = {name: values for name, values in bundle.sample.items() if name != JOINTS}
    return DryRun(np.array(bundle.manifest.home), seen, time.monotonic)


def main(words: list[str] | None = None) -> int:
    """Read the command line, run, and print a line of JSON; 0 where nothing went wrong."""
    parser = argparse.ArgumentParser(prog="runner", description="Let this bundle's policy drive a robot.")
    parser.add_argument("bundle", nargs="?", type=Path, default=Path(sys.argv[0]).absolute().parent)
    parser.add_argument("--robot", choices=["dry-run"], default="dry-run", help="dry-run: none; nothing moves")
    parser.add_argument("--seconds", type=float, default=20.0, help="at most")
    parser.add_argument("--fast", action="store_true", help="do not wait for the clock")
    asked = parser.parse_args(words)
    folder = asked.bundle.parent if asked.bundle.name == "runner" else asked.bundle
    try:
        bundle = Bundle(folder)
    except BundleError as error:
        sys.stderr.write(f"error: {error}.\n   what to do: copy the bundle again, or export it again.\n")
        return 3
    with any_key() as pressed:
        report = drive(bundle, dry_robot(bundle), asked.seconds, fast=asked.fast, heed=False, pressed=pressed)
    sys.stdout.write(json.dumps(dataclasses.asdict(report)) + "\n")
    return int(report.fault)
