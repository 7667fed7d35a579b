"""``pocketworld doctor``: is everything there that Pocketworld needs?"""

from __future__ import annotations

import tyro

from app.console import Console, Outcome


def run(console: Console, /, json: tyro.conf.FlagCreatePairsOff[bool] = False) -> Outcome:
    """Check this computer and print the exact fix for what is missing.

    Leaves with 6 if something is missing without which no scan can be reconstructed, otherwise with 0.

    Args:
        console: Where to report to.
        json: Print one JSON object a line on stdout and nothing else.
    """
    from app.doctor import examine
    from reconstruction.errors import MissingToolError

    findings = examine(console.progress)
    stops = [finding for finding in findings if finding.stops]
    result = {"ok": not stops, "checks": [finding.as_json() for finding in findings]}
    lines = [line for finding in findings for line in finding.lines()]
    lines.append("Everything that is needed is there." if not stops else "Something that is needed is missing.")
    return Outcome(result, "\n".join(lines), MissingToolError.exit_code if stops else 0)
