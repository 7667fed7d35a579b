"""``pocketworld inspect``: what is in a scan?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import tyro

from app.console import Console, Outcome


def run(
    console: Console,
    scan: tyro.conf.Positional[Path],
    /,
    json: tyro.conf.FlagCreatePairsOff[bool] = False,
    contact_sheet: Path | None = None,
) -> Outcome:
    """Show what a scan holds and what it lacks.

    Args:
        console: Where to report to.
        scan: The phone's export: file, folder or zip.
        json: Print one JSON object a line on stdout and nothing else.
        contact_sheet: Write a picture with frames of the whole scan into this JPEG or PNG file.
    """
    from app.pictures import write_picture
    from reconstruction import inspection
    from reconstruction.conventions import check_convention
    from reconstruction.importers import read_capture
    from reconstruction.quality import scan_advice

    capture = check_convention(read_capture(scan))
    found = inspection.inspect_capture(capture, console.progress)
    result = found.as_json()
    if contact_sheet is not None:
        write_picture(contact_sheet, inspection.contact_sheet(capture))
        result["contact_sheet"] = str(contact_sheet.absolute())
    for sentence in scan_advice(replace(capture, missing=found.missing)):
        console.warning(sentence)
    return Outcome(result, found.text())
