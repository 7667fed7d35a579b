"""``pocketworld window``: the whole walk in one window."""

from __future__ import annotations

import os
from pathlib import Path

import tyro

from app.console import Console, Outcome, has_display, program
from app.project import mode_of
from reconstruction.errors import InputError, MissingToolError


def run(
    console: Console,
    path: tyro.conf.Positional[Path | None] = None,
    /,
    json: tyro.conf.FlagCreatePairsOff[bool] = False,
) -> Outcome:
    """Open the window: from a scan to a robot without a command. `pocketworld` alone does the same.

    Args:
        console: Where to report to.
        path: A project, or a phone's export, to open at once.
        json: Print one JSON object a line on stdout and nothing else.
    """
    if path is not None and not mode_of(path):
        raise InputError(f"{path} does not exist.", remedy="Check the path.", code="not_found")
    if not (has_display() or os.environ.get("QT_QPA_PLATFORM")):
        raise MissingToolError(
            "There is no display for the window.",
            remedy=f"Run it on a desktop. Every step is a command, too: `{program()} --help`.",
            code="no_display",
        )
    try:
        from app.gui.main import open_window
    except ImportError as error:
        raise MissingToolError(
            f"The window cannot be opened: {error}.",
            remedy=f"Run `{program()} doctor`: it names the system packages that Qt needs.",
            code="no_qt",
        ) from None
    return Outcome({}, exit_code=open_window(None if path is None else path.absolute()))
