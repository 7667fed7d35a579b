"""What a command says: progress, warnings, errors and its result, for people or for programs.

For programs (`--json`): one JSON object a line on stdout and nothing else. Native libraries (CoACD, PyBullet) print on
stdout too, so file descriptor 1 itself is led elsewhere while a command runs and the events go to a private copy of it.
For people: a bar with the time left on stderr, the result as text on stdout, an error as one block on stderr.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from app.project import mode_of
from reconstruction.errors import PocketworldError

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

MIN_SECONDS_BETWEEN_EVENTS = 0.1
LIFE_LINE = "POCKETWORLD_LIFE_LINE"
"""Set in the environment of a command whose stdin is open for as long as whoever started it lives."""


@dataclass(frozen=True)
class Outcome:
    """What a command hands back.

    Attributes:
        result: JSON-able figures, printed as the last event with `--json`.
        text: the same for people.
        exit_code: 0, or that of the error that was already reported.
    """

    result: dict[str, Any]
    text: str = ""
    exit_code: int = 0


class Console(Protocol):
    """Where a command reports to; `progress` fits `reconstruction.progress.Progress`."""

    def progress(self, fraction: float, message: str) -> None:
        """Say how far the command is: `fraction` in [0, 1]. The time left comes from the pace so far."""

    def progress_until(self, fraction: float, message: str, seconds_left: float | None) -> None:
        """`progress` of who knows better than the pace so far how long it takes; None: too early to say."""

    def warning(self, message: str, **details: object) -> None:
        """Say something the user should know although the command goes on."""

    def error(self, error: PocketworldError, **details: object) -> None:
        """Say what went wrong and what to do."""

    def say(self, event: str, text: str, **details: object) -> None:
        """Say something while the command goes on: `text` to people, `details` of an event to programs."""

    def result(self, outcome: Outcome) -> None:
        """Say what came out: the last word."""


@dataclass
class TimeLeft:
    """Estimates the time left from the pace so far."""

    started: float = field(default_factory=time.monotonic)

    def seconds(self, fraction: float) -> float | None:
        """Seconds left at `fraction`, or None while it is too early to say."""
        elapsed = time.monotonic() - self.started
        if fraction >= 1.0:
            return 0.0
        if fraction < 0.02 or elapsed < 1.0:
            return None
        return elapsed * (1.0 - fraction) / fraction


class StdoutError(OSError):
    """This process's stdout is gone or full: there is nobody left to report to."""


class JsonConsole:
    """Events as JSON lines through `write` (one call a line, so that lines never mix)."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self._time_left = TimeLeft()
        self._last = (-1.0, "", 0.0)

    def _emit(self, event: str, **details: object) -> None:
        line = json.dumps(_plain({"event": event, **details}), ensure_ascii=True, default=str, allow_nan=False)
        self._write(line.encode("ascii") + b"\n")

    def progress(self, fraction: float, message: str) -> None:
        """Emit how far the command is."""
        self.progress_until(fraction, message, self._time_left.seconds(fraction))

    def progress_until(self, fraction: float, message: str, seconds_left: float | None) -> None:
        """Emit at most ten events a second, and none twice."""
        fraction = round(min(max(float(fraction), 0.0), 1.0), 4)
        now = time.monotonic()
        last_fraction, last_message, last_time = self._last
        if (fraction, message) == (last_fraction, last_message):
            return
        if now - last_time < MIN_SECONDS_BETWEEN_EVENTS and message == last_message and fraction < 1.0:
            return
        self._last = (fraction, message, now)
        left = None if seconds_left is None else round(seconds_left, 1)
        self._emit("progress", fraction=fraction, message=message, seconds_left=left)

    def warning(self, message: str, **details: object) -> None:
        """Emit a warning event."""
        self._emit("warning", message=message, **details)

    def error(self, error: PocketworldError, **details: object) -> None:
        """Emit an error event."""
        said = {"code": error.code, "message": error.message, "remedy": error.remedy, "exit_code": error.exit_code}
        self._emit("error", **{**said, **details})

    def say(self, event: str, text: str, **details: object) -> None:
        """Emit an event of its own kind."""
        self._emit(event, **details)

    def result(self, outcome: Outcome) -> None:
        """Emit the result event."""
        self._emit("result", **outcome.result)


def _plain(value: object) -> object:
    """`value` with null for numbers that JSON has none for: a strict reader must get through every line."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


class TextConsole:
    """For people: progress and errors on stderr, the result on stdout (through `write`)."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self._time_left = TimeLeft()
        self._bar: RichProgress | None = None
        self._last_line = 0.0

    def progress(self, fraction: float, message: str) -> None:
        """Show how far the command is."""
        self.progress_until(fraction, message, self._time_left.seconds(fraction))

    def progress_until(self, fraction: float, message: str, seconds_left: float | None) -> None:
        """Draw the bar; where stderr is no terminal, a line every five seconds."""
        fraction = min(max(float(fraction), 0.0), 1.0)
        remaining = "" if seconds_left is None else f"{_clock(seconds_left)} left"
        if not sys.stderr.isatty():
            if time.monotonic() - self._last_line >= 5.0:
                self._last_line = time.monotonic()
                _complain(f"{fraction:4.0%} {message} {remaining}".rstrip() + "\n")
            return
        if self._bar is None:
            self._bar = _new_bar()
            self._bar.add_task("", total=1.0, left="")
            self._bar.start()
        self._bar.update(self._bar.task_ids[0], completed=fraction, description=message, left=remaining)

    def warning(self, message: str, **details: object) -> None:
        """Print a warning on stderr."""
        self._say("warning", str(details.get("scan", "")), message)

    def error(self, error: PocketworldError, **details: object) -> None:
        """Print what went wrong and what to do as one block on stderr."""
        self._say("error", str(details.get("scan", "")), error.message, error.remedy)

    def say(self, event: str, text: str, **details: object) -> None:
        """Print the text on stdout."""
        self.close()
        self._write(text.encode("utf-8", "replace") + b"\n")

    def result(self, outcome: Outcome) -> None:
        """Print the result's text on stdout."""
        self.close()
        if outcome.text:
            self._write(outcome.text.rstrip("\n").encode("utf-8", "replace") + b"\n")

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _say(self, kind: str, subject: str, message: str, remedy: str = "") -> None:
        lines = [f"{kind}: {about(subject, message)}"]
        if remedy:
            lines.append(f"   what to do: {remedy}")
        text = "\n".join(lines)
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            _complain(text + "\n")


def about(subject: str, message: str) -> str:
    """A message with what it is about in front, unless it starts with that itself."""
    return message if not subject or message.startswith(subject) else f"{subject}: {message}"


def quoted(*words: object) -> str:
    """A command that can be pasted into this system's shell, whatever its words hold."""
    plain = list(map(str, words))
    return subprocess.list2cmdline(plain) if os.name == "nt" else shlex.join(plain)


def has_display() -> bool:
    """Whether a window can be opened."""
    return not sys.platform.startswith("linux") or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))


def program() -> str:
    """How this very Pocketworld is called from here, ready to be pasted: `pocketworld` where the shell finds it."""
    script = Path(sys.executable).with_name("pocketworld.exe" if os.name == "nt" else "pocketworld")
    found = shutil.which("pocketworld")
    if not mode_of(script):  # another tool's install, or none: a checkout on Python's path
        return "pocketworld" if found else quoted(sys.executable, "-m", "app.cli")
    if found and os.path.realpath(found) == os.path.realpath(script):
        return "pocketworld"
    with contextlib.suppress(OSError, ValueError):  # the folder one stands in is gone, or another
        script = script.relative_to(Path.cwd())
    return quoted(script)


def _complain(text: str) -> None:
    """Write on stderr, as far as that is possible."""
    with contextlib.suppress(OSError):
        sys.stderr.write(text)


def _new_bar() -> RichProgress:
    from rich.console import Console as RichConsole
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[left]}"),
        console=RichConsole(stderr=True),
        transient=True,
    )


def _clock(seconds: float) -> str:
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600}:{whole // 60 % 60:02d} h"
    return f"{whole // 60}:{whole % 60:02d}"


@contextmanager
def open_console(as_json: bool) -> Iterator[JsonConsole | TextConsole]:
    """A console that alone can write to this process's stdout until it is closed.

    Everything else that is printed on file descriptor 1 meanwhile goes to stderr with `--json` (a program keeps or
    drops it) and nowhere otherwise (it would tear the progress bar). Of several processes that torchrun has started,
    only the first one writes to stdout; what goes wrong in the others is said on stderr.
    """
    follows = os.environ.get("WORLD_SIZE", "1") != "1" and os.environ.get("RANK") != "0"
    with _own_stdout(as_json) as write:
        if follows:
            write = len
        elif as_json:
            yield JsonConsole(write)
            return
        text = TextConsole(write)
        try:
            yield text
        finally:
            text.close()


@contextmanager
def _own_stdout(chatter_to_stderr: bool) -> Iterator[Callable[[bytes], object]]:
    _flush()
    try:
        private = os.dup(1)
    except OSError:  # started without a stdout
        yield lambda data: len(data)
        return
    os.set_inheritable(private, False)
    elsewhere = os.open(os.devnull, os.O_WRONLY)
    if chatter_to_stderr:
        with contextlib.suppress(OSError):  # started without a stderr: nowhere then
            os.dup2(2, elsewhere)
    os.dup2(elsewhere, 1)
    os.close(elsewhere)

    def write(data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(private, view) :]
        except OSError as error:
            raise StdoutError(*error.args) from None

    try:
        yield write
    finally:
        _flush()
        os.dup2(private, 1)
        os.close(private)


def _flush() -> None:
    """Send what waits in Python's and in C's buffers of stdout on its way, before the way changes."""
    import ctypes

    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL("ucrtbase") if os.name == "nt" else ctypes.CDLL(None)
        library.fflush(None)


def log_traceback(folder: Path | None, details: str) -> Path | None:
    """Keep a traceback for the person who has to find the fault; returns the file, or None if none can be written."""
    stamp = time.strftime("%Y-%m-%d %H:%M:%S")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pocketworld"
    # Into a project's folder only where there is a project: a new one that failed has been taken away again.
    places = (folder, cache) if folder is not None and mode_of(folder / "project.json") else (cache,)
    for place in places:
        try:
            place.mkdir(parents=True, exist_ok=True)
            path = place / "pocketworld.log"
            with path.open("a", encoding="utf-8", errors="backslashreplace") as log:
                log.write(f"--- {stamp}\n{details}\n")
        except OSError:
            continue
        return path
    return None


def internal_error(error: BaseException, log_folder: Path | None) -> PocketworldError:
    """An error of ours, not of the user's: what to say about it, with the traceback put into a file."""
    import traceback

    details = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    log = log_traceback(log_folder, details)
    where = f"Details are in {log}; " if log is not None else ""
    return PocketworldError(
        f"Something went wrong inside Pocketworld: {type(error).__name__}: {error}.",
        remedy=f"{where}run `{program()} doctor`, and report it with that file if it stays.",
        code="internal",
    )


def told_in_json(work: Callable[[JsonConsole], None]) -> int:
    """Do the work of one of the window's helper programs, and say what goes wrong as every command does.

    Returns:
        The exit status.
    """
    with open_console(True) as console:
        assert isinstance(console, JsonConsole)
        try:
            work(console)
        except PocketworldError as error:
            console.error(error)
            return error.exit_code
        except Exception as error:  # noqa: BLE001 - the last line of defence: no traceback on anyone's screen
            console.error(internal_error(error, None))
            return 1
    return 0


def end_with_stdin() -> None:
    """End this process when its stdin does, whatever it is doing: whoever started it is gone."""

    def wait() -> None:
        while os.read(0, 4096):
            pass
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()
