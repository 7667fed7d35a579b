"""``pocketworld evaluate``: how often a policy succeeds in cousins that it has never seen."""

from __future__ import annotations

import os
from pathlib import Path

import tyro

from app.console import Console, Outcome
from app.evaluate_stage import EvaluateResult, evaluate_policy
from app.project import Project
from app.train_stage import TrainSettings


def run(
    console: Console,
    project: tyro.conf.Positional[Path],
    /,
    task: str,
    robot: str = "panda",
    seed: int = 0,
    count: int = 100,
    films: int = 3,
    jobs: int | None = None,
    json: tyro.conf.FlagCreatePairsOff[bool] = False,
    dataset: Path | None = None,
) -> Outcome:
    """Try a policy in cousins that it has never seen, with things that are in no demonstration.

    Args:
        console: Where to report to.
        project: A project folder with a policy for the task.
        task: What it is to do, as for `pocketworld train`.
        robot: Who does it.
        seed: Of the demonstrations.
        count: Cousins to try.
        films: How many of those in which it fails are filmed, beside one in which it succeeds (the folder `films` by
            the policy).
        jobs: Processes at a time. Left out: one a core. The result is the same for any number.
        json: Print one JSON object a line on stdout and nothing else.
        dataset: The demonstrations that it was trained on. Left out: those in the project's folder `episodes`.
    """
    processes = jobs if jobs is not None else os.cpu_count() or 1
    settings = TrainSettings(task=task, robot=robot, seed=seed)
    found = evaluate_policy(
        Project.open(project), settings, count, console.progress, dataset=dataset, films=films, jobs=processes
    )
    return Outcome(found.as_json(), _text(found))


def _text(found: EvaluateResult) -> str:
    score = found.score
    low, high = score.interval
    lines = [
        f"{score.successes} of {score.count} cousins ({score.share:.0%}); "
        f"with 95 % certainty between {low:.0%} and {high:.0%}, in {score.seconds:.1f} s each"
    ]
    lines += [f"  failed: {reason} ({count})" for reason, count in score.failures.items()]
    for variation, portions in score.by_variation.items():
        shares = ", ".join(f"{p.successes} of {p.count} at {p.low:.2g} … {p.high:.2g}" for p in portions)
        lines.append(f"  {variation}: {shares}")
    if score.dream_auroc is not None:
        lines.append(
            f"  after {score.dream_at_s:.1f} s, half of what a success takes, its dreams tell failures from successes "
            f"with an AUROC of {score.dream_auroc:.2f}; at half of each try, {score.dream_auroc_halfway:.2f}"
        )
    if score.skipped:
        lines.append("  not tried: " + ", ".join(f"{reason} ({count})" for reason, count in score.skipped.items()))
    if found.films:
        lines.append(f"  films: {found.films}")
    return "\n".join(lines)
