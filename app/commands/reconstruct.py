"""``pocketworld reconstruct``: phone scans become project folders."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated, Any

import tyro

from app.batch import Batch, Failure, expand_scans, missing_scans, overall_exit_code, parallel_scans, plan
from app.console import Console, Outcome, about, program, quoted
from app.project import as_settings_json
from app.stages import SceneSettings
from reconstruction.pipeline import ReconstructSettings
from simulation.settle import SettleSettings


def run(
    console: Console,
    scans: tyro.conf.Positional[tuple[Path, ...]],
    /,
    out: Path,
    name: str | None = None,
    again: tyro.conf.FlagCreatePairsOff[bool] = False,
    jobs: int | None = None,
    json: tyro.conf.FlagCreatePairsOff[bool] = False,
    settings: Annotated[ReconstructSettings, tyro.conf.arg(name="")] = ReconstructSettings(),  # noqa: B008 - frozen
    settle: SettleSettings = SettleSettings(),  # noqa: B008 - frozen
) -> Outcome:
    """Turn phone scans into physics scenes, one project folder a scan.

    Run again, only what is missing or changed is done. A scan that fails is reported and does not stop the others.

    Args:
        console: Where to report to.
        scans: Exports of the phone as they are: files, folders, zips, patterns, or folders full of them.
        out: Folder for the projects; each is named like its scan.
        name: Name of the project's folder, of a single scan.
        again: Make scenes anew though nothing has changed: without what was edited by hand, which is kept beside.
        jobs: Processes at a time. Left out: what cores and memory allow. The result is the same for any number.
        json: Print one JSON object a line on stdout and nothing else.
        settings: Settings of the reconstruction.
        settle: Settings of bringing the scene to rest.
    """
    started = time.perf_counter()
    missing_scans(scans)
    work = plan(expand_scans(scans), out.absolute(), name)
    parallel = parallel_scans(jobs, len(work))
    batch = Batch(
        settings=as_settings_json(SceneSettings(settings, settle)),
        parallel=parallel,
        jobs_inside=max(1, (jobs or os.cpu_count() or 1) // parallel),
        progress=console.progress_until,
        warn=console.warning,
        fail=lambda failure: console.error(failure.error, scan=failure.scan),
        again=again,
    )
    batch.run(work)
    result = {
        "projects": batch.projects,
        "failed": [failure.as_json() for failure in batch.failures],
        "seconds": round(time.perf_counter() - started, 3),
    }
    return Outcome(result, _text(result, batch.failures), overall_exit_code(batch.failures))


def _text(result: dict[str, Any], failures: list[Failure]) -> str:
    lines = []
    for project in result["projects"]:
        count = project["objects"]
        state = "unchanged" if project["status"] == "unchanged" else f"{project['seconds']:.0f} s"
        lines.append(f"{project['project']}: {count} object{'' if count == 1 else 's'}, {state}")
    if len(result["projects"]) == 1:
        lines += _next_steps(Path(result["projects"][0]["project"]))
    if failures:
        lines.append(f"{len(failures)} of {len(failures) + len(result['projects'])} scans failed:")
        lines += [f"  {about(failure.scan, failure.error.message)}" for failure in failures]
    return "\n".join(lines)


def _next_steps(project: Path) -> list[str]:
    play = f"{program()} simulate {quoted(project)}"
    return [f"  look at it:   {project / 'report.html'}", f"  play with it: {play}"]
