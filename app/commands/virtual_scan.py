"""``pocketworld virtual-scan``: a scan without a phone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from app.console import Console, Outcome
from simulation.virtual_phone import VirtualScanSettings


def run(
    console: Console,
    out: tyro.conf.Positional[Path],
    /,
    settings: Annotated[VirtualScanSettings, tyro.conf.arg(name="")] = VirtualScanSettings(),  # noqa: B008 - frozen
    json: bool = False,
) -> Outcome:
    """Make a scan without a phone: a virtual phone walks round a made-up desk.

    Args:
        console: Where to report to.
        out: The scan to write, in the form that a phone's app exports.
        settings: What is recorded and how.
        json: Print one JSON object a line on stdout and nothing else.
    """
    from simulation.virtual_phone import write_virtual_scan

    write_virtual_scan(settings, out, console.progress)
    return Outcome({"scan": str(out)}, str(out))
