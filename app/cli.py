"""The command line: one function a command, imported only when that command is asked for."""

from __future__ import annotations

import contextlib
import errno
import functools
import importlib
import io
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType

from app.console import (
    LIFE_LINE,
    Console,
    JsonConsole,
    Outcome,
    StdoutError,
    TextConsole,
    internal_error,
    open_console,
    program,
)
from reconstruction.errors import PocketworldError, UsageError

COMMANDS: dict[str, str] = {
    "window": "Open the window: from a scan to a robot without a command. `pocketworld` alone does the same.",
    "doctor": "Check this computer and print the exact fix for what is missing.",
    "inspect": "Show what a scan holds and what it lacks.",
    "reconstruct": "Turn phone scans into physics scenes, one project folder a scan.",
    "mount": "Say where the robot stands in a project's scene.",
    "simulate": "Open a project's scene in PyBullet, check it, or film it.",
    "cousins": "Make a project's scene into thousands of digital cousins, or write one of them as a scene.",
    "teleoperate": "Show a task yourself: drive the arm by keyboard or gamepad, in a window.",
    "demonstrate": "Let a robot do a task in a project's cousins, and write a dataset of how it did.",
    "train": "Let a policy learn a task from its demonstrations.",
    "evaluate": "Try a policy in cousins that it has never seen, with things that are in no demonstration.",
    "dream": "Show what a policy foretells in an episode, beside what came.",
    "export": "Make a policy a bundle: a folder that drives a robot without Pocketworld.",
    "align": "Find out where the robot's camera is, and whether it sees what the policy knows.",
    "run": "Let a bundle's policy drive a robot: one in simulation, a real one, or none at all.",
    "probe": "Let an arm weigh a thing and drag it over the table, for `pocketworld learn-from`.",
    "learn-from": "Correct masses, frictions and the arm's delay in a project's scene by what runs have recorded.",
    "serve": "Let a bundle's policy decide on this computer for a robot at another one.",
    "reality-check": "Try a bundle in a stand-in for reality: another engine, true things, and all that may be off.",
    "train-and-export": "Demonstrate a task, train a policy, evaluate it, and make it a bundle if it is good enough.",
    "convert": "Make others' demonstrations a LeRobot dataset, or join them with one.",
    "replay": "Play an episode of a dataset again in physics, and film it.",
    "export-scene": "Write a project's scene for another tool.",
    "report": "Write a project's report.html anew.",
    "tag": "Print a tag to stick onto the robot's base, as a PDF: it tells a scan where the robot stands.",
    "virtual-scan": "Make a scan without a phone: a virtual phone walks round a made-up desk.",
}
"""The commands in the order of the walk, each with the first line of its function's docstring.

Written out here because reading them from the modules would import them all for `--help`; a test compares the two.
"""


def usage() -> str:
    """The text of ``pocketworld --help``."""
    width = max(map(len, COMMANDS)) + 2
    lines = [f"  {name:<{width}}{summary}" for name, summary in COMMANDS.items()]
    return (
        "usage: pocketworld COMMAND ...\n\nFrom an iPhone scan of a bench to a physics scene in which every object can "
        "be picked up.\n\ncommands:\n" + "\n".join(lines) + "\n\n`pocketworld COMMAND --help` shows a command's own "
        "options. With --json every command prints one\nJSON object a line on stdout and nothing else.\n"
    )


def load_command(name: str) -> Callable[..., Outcome]:
    """The function of a command: ``run(console, ...)`` in ``app/commands/<name>.py``."""
    module = importlib.import_module(f"app.commands.{name.replace('-', '_')}")
    run: Callable[..., Outcome] = module.run
    return run


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status.

    0 done · 1 something unforeseen · 2 … 8 the class of error (`reconstruction.errors`) · 130 Ctrl-C · 143 terminated.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    for name in ("stdout", "stderr"):  # None where the process was started without
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - as long as the process
    try:
        if not arguments:
            arguments = ["window"]
        if arguments[0] in ("-h", "--help"):
            _print(usage())
            return 0
        if arguments[0] == "--version":
            from app.project import version

            _print(f"pocketworld {version()}\n")
            return 0
        if {"-h", "--help"} & set(arguments) and arguments[0] in COMMANDS:
            return _help(arguments)
        with open_console("--json" in arguments) as console, _terminable():
            _end_with_parent()
            return _run(console, arguments)
    except StdoutError as error:
        return _without_stdout(error)


def _run(console: JsonConsole | TextConsole, arguments: list[str]) -> int:
    try:
        outcome = _parse(console, arguments)()
        console.result(outcome)
    except PocketworldError as error:
        console.error(error)
        return error.exit_code
    except StdoutError:
        raise
    except KeyboardInterrupt:
        console.error(_stopped("by Ctrl-C", "interrupted"), exit_code=130)
        return 130
    except SystemExit:
        console.error(_stopped("by a signal to end", "terminated"), exit_code=128 + signal.SIGTERM)
        return 128 + signal.SIGTERM
    except Exception as error:  # noqa: BLE001 - the last line of defence: no traceback on anyone's screen
        console.error(internal_error(error, None))
        return 1
    return outcome.exit_code


def _print(text: str) -> None:
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        raise StdoutError(*error.args) from None


def _without_stdout(error: StdoutError) -> int:
    """Leave when nobody reads on (`| head`) without a word, else (a full disk) with one."""
    with contextlib.suppress(OSError):
        if error.errno != errno.EPIPE:
            sys.stderr.write(f"error: The output cannot be written: {error.strerror}.\n")
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # Python's own last flush shall not complain again
    return 1


def _help(arguments: list[str]) -> int:
    try:
        _call(load_command(arguments[0]), None, arguments)
    except SystemExit as leave:
        _print("")
        return int(leave.code or 0)
    except OSError as error:
        raise StdoutError(*error.args) from None
    return 0


def _parse(console: Console, arguments: list[str]) -> Callable[[], Outcome]:
    """The command with its arguments filled in, ready to be called.

    Raises:
        UsageError: no such command, or its words are off.
    """
    if arguments[0] not in COMMANDS:
        import difflib

        near = difflib.get_close_matches(arguments[0], COMMANDS, n=1)
        hint = f"Did you mean `pocketworld {near[0]}`? " if near else ""
        raise UsageError(
            f"There is no command {arguments[0]!r}.",
            remedy=f"{hint}The commands are: {', '.join(COMMANDS)}.",
            code="unknown_command",
        )
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            return _call(load_command(arguments[0]), console, arguments)
    except SystemExit:
        message, meant = _plain(said.getvalue())
        raise UsageError(
            f"pocketworld {arguments[0]}: {message}",
            remedy=f"{meant}`{program()} {arguments[0]} --help` shows what it takes.",
            code="usage",
        ) from None


def _call(run: Callable[..., Outcome], console: Console | None, arguments: list[str]) -> Callable[[], Outcome]:
    """What `arguments` mean to `run`.

    Flags of settings come in pairs (``--truth, --no-truth``): `--no-truth` alone would stand beside a help that says
    what the setting does. A command's own flags, all off until they are named, are marked as single in its signature.
    """
    import tyro

    @functools.wraps(run)
    def later(*args: object, **kwargs: object) -> Callable[[], Outcome]:
        return functools.partial(run, *args, **kwargs)

    return tyro.cli(
        functools.partial(later, console),
        args=arguments[1:],
        prog=f"pocketworld {arguments[0]}",
    )


def _plain(boxed: str) -> tuple[str, str]:
    """Tyro's boxed message as one sentence without title, frame and help texts, and the options it may have meant."""
    sections: list[list[str]] = [[]]
    for line in boxed.splitlines():
        plain = re.sub(r"\x1b\[[0-9;]*m|[│╭╮╰╯]", "", line).strip()
        if re.search(r"[-─]{8}", plain):
            sections.append([])
        elif plain:
            sections[-1].append(plain)
    said, *more = [section for section in sections[1:] if section] or [["its words are not understood."]]
    message = re.sub(r"^Missing from pocketworld \S+:", "missing:", " ".join(said).partition(" Got errors:")[0])
    perhaps = [line for section in more if section[0].startswith("Perhaps") for line in section]
    meant = [line.split()[0] for line in perhaps if line.startswith("--")]
    return message.removesuffix(" (required)"), f"Perhaps you meant {' or '.join(meant[:3])}. " if meant else ""


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM unwinds like Ctrl-C does, so that half-written folders are taken away, and leaves with 143."""

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    try:
        before = signal.signal(signal.SIGTERM, leave)
    except ValueError:  # not in the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _end_with_parent() -> None:
    """Where stdin is a life line, end like after SIGTERM when it breaks: no window, no command that it has started."""
    if os.environ.pop(LIFE_LINE, None) is None:
        return

    def wait() -> None:
        with contextlib.suppress(OSError):
            while os.read(0, 4096):
                pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


def _stopped(how: str, code: str) -> PocketworldError:
    return PocketworldError(
        f"Stopped {how}.", remedy="Run the same command again: what is finished is kept.", code=code
    )


if __name__ == "__main__":
    sys.exit(main())
