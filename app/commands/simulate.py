"""``pocketworld simulate``: a project's scene in physics."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from app.console import Console, Outcome, has_display
from app.project import Project
from reconstruction.disk import writing_to
from reconstruction.errors import MissingToolError, ReconstructionError, UsageError

if TYPE_CHECKING:
    from simulation.check import CheckReport


def run(
    console: Console,
    project: tyro.conf.Positional[Path],
    /,
    check: tyro.conf.FlagCreatePairsOff[bool] = False,
    json: tyro.conf.FlagCreatePairsOff[bool] = False,
    video: Path | None = None,
) -> Outcome:
    """Open a project's scene in PyBullet, check it, or film it.

    Without --check and --video a window opens in which everything can be grabbed and thrown with the mouse.

    Args:
        console: Where to report to.
        project: A project folder made by `pocketworld reconstruct`.
        check: Step it for five seconds without a window and report drift, penetration and energy.
        json: Print one JSON object a line on stdout and nothing else.
        video: Film the scene into this file, whose name ends in .mp4, without a window.
    """
    if video is not None and video.suffix.lower() != ".mp4":  # before minutes of filming
        raise UsageError(
            f"{video} is no name for the film, which is an MP4.",
            remedy="Use a name that ends in .mp4.",
            code="bad_value",
        )
    scene = Project.open(project).require("scene")
    result: dict[str, Any] = {"scene": str(scene / "scene.json")}
    lines: list[str] = []
    code = 0
    if check:
        from simulation.check import check_scene

        report = check_scene(scene, progress=console.progress)
        result.update(report.summary())
        lines.append(_verdict(report))
        code = 0 if report.passed else ReconstructionError.exit_code
    if video is not None:
        from simulation.video import render_video

        with writing_to(video.absolute().parent):
            render_video(scene, video, progress=console.progress)
        result["video"] = str(video.absolute())
        lines.append(f"film: {video}")
    if not check and video is None:
        _window(scene)
    return Outcome(result, "\n".join(lines), code)


def _verdict(report: CheckReport) -> str:
    figures = report.summary()
    verdict = "at rest" if report.passed else f"NOT at rest: {', '.join(report.restless)}"
    return (
        f"{verdict}; after {report.seconds:g} s at most {figures['max_moved_mm']:.2f} mm and "
        f"{figures['max_turned_deg']:.2f}° moved, initial penetration at most {figures['max_penetration_mm']:.2f} mm"
    )


def _window(scene: Path) -> None:
    """Show the scene until the user closes the window."""
    if not has_display():
        raise MissingToolError(
            "There is no display for PyBullet's window.",
            remedy="Run it on a desktop, or use --check or --video out.mp4, which need none.",
            code="no_display",
        )
    from simulation.world import World, WorldSettings

    with World.open(scene, WorldSettings(gui=True, background=True)) as world:
        while world.connected:
            world.step()
            time.sleep(world.settings.time_step_s)
