"""``pocketworld tag``: the tag that tells a scan where the robot stands."""

from __future__ import annotations

from pathlib import Path

import tyro

from app.console import Console, Outcome
from app.tag_page import FAMILY, Paper


def run(
    console: Console,
    out: Path = Path("tag.pdf"),
    id: int = 0,  # noqa: A002 - the option's name
    size_mm: float = 80.0,
    paper: Paper = "a4",
    json: tyro.conf.FlagCreatePairsOff[bool] = False,
) -> Outcome:
    """Print a tag to stick onto the robot's base, as a PDF: it tells a scan where the robot stands.

    Args:
        console: Where to report to.
        out: The PDF to write; one that is there is replaced.
        id: Number of the tag.
        size_mm: Side of its black square, mm. Larger is found from farther away.
        paper: Size of the page.
        json: Print one JSON object a line on stdout and nothing else.
    """
    from app.tag_page import pdf, tag_page
    from reconstruction.disk import write_whole

    write_whole(out.absolute(), pdf(tag_page(id, size_mm, paper)))
    result = {"pdf": str(out.absolute()), "family": FAMILY, "id": id, "size_mm": size_mm, "paper": paper}
    return Outcome(result, f"{out}: print it at 100 %, and check with its ruler that it is")
