"""``pocketworld serve``: a bundle's policy decides for a robot at another computer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from app.console import Console, Outcome
from app.remote_stage import ServeSettings, serve_bundle


def run(
    console: Console,
    bundle: tyro.conf.Positional[Path],
    /,
    settings: Annotated[ServeSettings, tyro.conf.arg(name="")],
    json: tyro.conf.FlagCreatePairsOff[bool] = False,
) -> Outcome:
    """Let a bundle's policy decide on this computer for a robot at another one.

    It says how to connect; Ctrl-C ends it.

    Args:
        console: Where to report to.
        bundle: A folder made by `pocketworld export`. The robot's computer needs it, too.
        settings: Where it is served, and to whom.
        json: Print one JSON object a line on stdout and nothing else.
    """
    made = serve_bundle(bundle, settings, console.say, console.progress)
    text = f"{made['decisions']} decisions for {made['robots']} robots; {made['refused']} connections refused"
    return Outcome(made, text)
