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
    json: tyro.conf.FlagCreatePairsOff[bool] = False,
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
    result, lines = {"scan": str(out.absolute())}, [f"{out}"]
    if settings.truth:
        truth = out.with_name(f"{out.stem}_truth")
        result["truth"] = str(truth.absolute())
        lines.append(f"{truth}: what is really there, to compare with (--no-truth leaves it out)")
    return Outcome(result, "\n".join(lines))
