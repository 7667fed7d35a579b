"""``pocketworld mount``: where the robot stands in a project's scene."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tyro

from app.console import Console, Outcome
from app.mounting import Mounted, clear_mount, mount_by_hand, mount_by_tag
from app.project import Project
from reconstruction.errors import UsageError
from reconstruction.tags import TagSettings


def run(
    console: Console,
    project: tyro.conf.Positional[Path],
    /,
    xyz: tuple[float, float, float] | None = None,
    yaw_deg: float | None = None,
    from_tag: tyro.conf.FlagCreatePairsOff[bool] = False,
    clear: tyro.conf.FlagCreatePairsOff[bool] = False,
    json: tyro.conf.FlagCreatePairsOff[bool] = False,
    tag: TagSettings = TagSettings(),  # noqa: B008 - frozen
) -> Outcome:
    """Say where the robot stands in a project's scene.

    Args:
        console: Where to report to.
        project: A project folder made by `pocketworld reconstruct`.
        xyz: The robot's base in the scene's frame, metres: z is up, 0 the height of the table.
        yaw_deg: How far its front (+x) is turned from the scene's x axis, degrees, counter-clockwise from above.
        from_tag: Look for the tag in the project's scan (again), and place the robot as it says.
        clear: Forget the place: the robot stands at the edge of the table, where it reaches most.
        json: Print one JSON object a line on stdout and nothing else.
        tag: The tag to look for.
    """
    if [xyz is not None, from_tag, clear].count(True) != 1 or (yaw_deg is not None and xyz is None):
        raise UsageError(
            "The robot's place is given in one way.",
            remedy="Give --xyz X Y Z with --yaw-deg or without, or --from-tag, or --clear.",
            code="usage",
        )
    opened = Project.open(project)
    if xyz is not None:
        mounted = mount_by_hand(opened, xyz, yaw_deg or 0.0)
    else:
        mounted = mount_by_tag(opened, tag, console.progress) if from_tag else clear_mount(opened)
    for sentence in mounted.warnings:
        console.warning(sentence)
    return Outcome(mounted.as_json(), _text(mounted))


def _text(mounted: Mounted) -> str:
    pose = mounted.robot_mount
    if pose is None:
        return f"{mounted.project}: the robot stands wherever suits the scene"
    x, y, z = pose[:3, 3]
    turn = np.degrees(np.arctan2(pose[1, 0], pose[0, 0]))
    return f"{mounted.project}: the robot stands at {x:.3f} {y:.3f} {z:.3f} m, turned by {turn:.1f}°"
