"""A child process that reconstructs one scan: a crash in native code costs that scan only.

``python -m app.worker`` reads one line of JSON from stdin, ``{"scan", "folder", "settings", "jobs", "again"}``, and
prints events as every command does with `--json`. Its stdin stays open as a life line: when the parent is gone, however
it went, the worker and all it has started (it leads a process group of its own) end too.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
import threading
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

from app.console import JsonConsole, Outcome, internal_error, open_console
from reconstruction.errors import PocketworldError, UsageError

T = TypeVar("T")


def main() -> int:
    """Run the one job; returns the exit status."""
    line = sys.stdin.buffer.readline()
    signal.signal(signal.SIGTERM, _leave)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _offer_to_the_oom_killer()
    with open_console(True) as console:
        assert isinstance(console, JsonConsole)
        job = json.loads(line)
        folder = Path(job["folder"])
        try:
            console.result(Outcome(_work(job, console)))
        except PocketworldError as error:
            console.error(error)
            return error.exit_code
        except Exception as error:  # noqa: BLE001 - the last line of defence: no traceback on anyone's screen
            console.error(internal_error(error, folder))
            return 1
    return 0


def _work(job: dict[str, Any], console: JsonConsole) -> dict[str, Any]:
    from app.stages import SceneSettings, reconstruct_scan

    settings = from_json(SceneSettings, job["settings"])
    scan, folder, again = Path(job["scan"]), Path(job["folder"]), bool(job.get("again"))
    made = reconstruct_scan(scan, folder, settings, console.progress, jobs=job["jobs"], again=again)
    return made.as_json()


def from_json(kind: type[T], document: Mapping[str, Any]) -> T:
    """A settings dataclass from the dict that ``app.project.as_settings_json`` made of it.

    Raises:
        UsageError: the dict has a name that the dataclass does not.
    """
    types = typing.get_type_hints(kind)
    unknown = set(document) - set(types)
    if unknown:
        raise UsageError(
            f"{kind.__name__} has no setting {', '.join(sorted(unknown))}.",
            remedy=f"Its settings are: {', '.join(sorted(types))}.",
            code="unknown_setting",
        )
    return kind(**{name: _value(types[name], value) for name, value in document.items()})


def _value(kind: Any, value: Any) -> Any:
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return from_json(kind, value)
    if kind is Path:
        return Path(value)
    options = typing.get_args(kind)
    if isinstance(value, list):
        return tuple(map(_value, _element_types(kind, len(value)), value))
    if isinstance(value, str) and Path in options and str not in options:
        return Path(value)
    return value


def _element_types(kind: Any, count: int) -> Sequence[Any]:
    """The types of a tuple's elements, also of an optional tuple's."""
    if typing.get_origin(kind) is not tuple:
        kind = next(option for option in typing.get_args(kind) if typing.get_origin(option) is tuple)
    options = typing.get_args(kind)
    return [options[0]] * count if Ellipsis in options else options


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _end_with_parent() -> None:
    while os.read(0, 4096):
        pass
    if hasattr(os, "killpg") and os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def _offer_to_the_oom_killer() -> None:
    """Where memory runs out, Linux shall end this scan rather than the whole batch."""
    try:
        Path("/proc/self/oom_score_adj").write_text("600", encoding="ascii")
    except OSError:
        return


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)  # native libraries may crash in their clean-up when everything is already on the disk
