"""``pocketworld reality-check``: how a bundle does where nothing is quite as in its simulation."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import tyro

from app.console import Console, Outcome
from app.project import Project
from app.reality_stage import RealityResult, RealitySettings, Share, check_reality


def run(
    console: Console,
    bundle: tyro.conf.Positional[Path],
    /,
    settings: Annotated[RealitySettings, tyro.conf.arg(name="")],
    project: Path,
    truth: Path | None = None,
    jobs: int | None = None,
    json: tyro.conf.FlagCreatePairsOff[bool] = False,
    dataset: Path | None = None,
) -> Outcome:
    """Try a bundle in a stand-in for reality: another engine, true things, and all that may be off.

    The world is rebuilt in MuJoCo. Where it is known what the virtual phone has scanned (--truth), the things are the
    true ones; of a real scan, they are the scanned ones with errors of shape.

    Args:
        console: Where to report to.
        bundle: A folder made by `pocketworld export`.
        settings: How often it is tried, and what is otherwise.
        project: The project that the bundle was made from.
        truth: What is really there: the folder `<scan>_truth` that `pocketworld virtual-scan` wrote. Left out: that
            beside the project's scan, if there is one.
        jobs: Processes at a time. Left out: one a core. The result is the same for any number.
        json: Print one JSON object a line on stdout and nothing else.
        dataset: The demonstrations of the policy. Left out: those in the project's folder `episodes`.
    """
    made = check_reality(
        bundle,
        settings,
        console.progress,
        project=Project.open(project),
        truth=truth,
        dataset=dataset,
        jobs=jobs if jobs is not None else os.cpu_count() or 1,
    )
    return Outcome(made.as_json(), _text(made))


def _text(made: RealityResult) -> str:
    world = "the true things" if made.known else "the scanned things, with errors of shape"
    lines = [f"in reality ({world}): {_share(made.real)}"]
    if made.simulated is not None and made.gap is not None:
        gap, low, high = (100 * value for value in made.gap)
        lines.append(f"in simulation: {_share(made.simulated)}")
        lines.append(f"the gap: {gap:.0f} points; with 95 % certainty between {low:.0f} and {high:.0f}")
    lines += [f"  failed: {reason} ({count})" for reason, count in made.failures.items()]
    bad, good = made.stopped
    if bad or good:
        lines.append(f"  its own doubts would have stopped {bad} failures and {good} successes")
    if made.factors:
        none = made.factors[""]
        lines.append(f"one thing otherwise at a time (nothing otherwise: {none.successes} of {none.count}):")
        rows = [(share.share, name, share) for name, share in made.factors.items() if name]
        lines += [
            f"  {name}: {share.successes} of {share.count} ({100 * (share.share - none.share):+.0f} points)"
            for _, name, share in sorted(rows)
        ]
    if made.skipped:
        lines.append("  not tried: " + ", ".join(f"{reason} ({count})" for reason, count in made.skipped.items()))
    if made.films:
        lines.append(f"  films: {made.films}")
    return "\n".join(lines)


def _share(share: Share) -> str:
    low, high = share.interval
    return f"{share.successes} of {share.count} ({share.share:.0%}; 95 % sure: {low:.0%} … {high:.0%})"
