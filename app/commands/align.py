"""``pocketworld align``: where the robot's cameras are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from app.align_stage import Alignment, AlignSettings, align
from app.console import Console, Outcome
from reconstruction.tags import TagSettings


def run(
    console: Console,
    bundle: tyro.conf.Positional[Path],
    pictures: tyro.conf.Positional[tuple[Path, ...]],
    /,
    settings: Annotated[AlignSettings, tyro.conf.arg(name="")],
    out: Path = Path("alignment.json"),
    json: tyro.conf.FlagCreatePairsOff[bool] = False,
    tag: TagSettings = TagSettings(),  # noqa: B008 - frozen
) -> Outcome:
    """Find out where the robot's camera is, and whether it sees what the policy knows.

    It is found from pictures of the tag that `pocketworld tag` prints.

    Args:
        console: Where to report to.
        bundle: The bundle that is to be run.
        pictures: What the camera sees, PNG or JPEG, with the tag of `pocketworld tag` in it. The first says where the
            camera is; others make that surer, or tell how long its lens is where the tag lies otherwise in them.
        settings: Which camera, and how it sees.
        out: The file for `pocketworld run --align`; what it says of the other camera stays.
        json: Print one JSON object a line on stdout and nothing else.
        tag: The tag in the pictures; its offset says where the robot's base is.
    """
    found = align(bundle, pictures, settings, tag, out)
    for sentence in found.warnings:
        console.warning(sentence)
    return Outcome(found.as_json(), _text(found))


def _text(found: Alignment) -> str:
    x, y, z = found.pose[:3, 3]
    frame = "the robot's base" if found.camera == "front" else "its hand"
    return (
        f"{found.camera}: at {x:.3f} {y:.3f} {z:.3f} m from {frame}, "
        f"{100 * found.moved_m:.1f} cm and {found.turned_deg:.1f}° from where it stood in training\n"
        f"  the tag was seen in {found.pictures} pictures, its corners off by {found.off_px:.2f} pixels\n"
        f"  written: {found.file}"
    )
