"""A key press stops the arm."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def any_key() -> Iterator[Callable[[], bool]]:
    """Whether a key was pressed since, as a function; never, where there is no keyboard (stdin is no terminal)."""
    stream = sys.stdin
    if not at_keyboard():
        yield lambda: False
        return
    if sys.platform == "win32":
        import msvcrt

        yield msvcrt.kbhit
        return
    import select
    import termios
    import tty

    before = termios.tcgetattr(stream)
    try:
        tty.setcbreak(stream)
        yield lambda: bool(select.select([stream], [], [], 0)[0])
    finally:
        termios.tcsetattr(stream, termios.TCSAFLUSH, before)  # the key is not typed into the shell


def at_keyboard() -> bool:
    """Whether there is a keyboard: stdin is a terminal."""
    return sys.stdin is not None and not sys.stdin.closed and sys.stdin.isatty()


def forget_keys() -> None:
    """Let those that were pressed until now be no answer to what is asked next."""
    if not at_keyboard():
        return
    if sys.platform == "win32":
        import msvcrt

        while msvcrt.kbhit():
            msvcrt.getwch()
        return
    import termios

    termios.tcflush(sys.stdin, termios.TCIFLUSH)


def enter() -> bool:
    """Wait until a person answers: whether with Enter. Where there is no keyboard, a line is; its end says no."""
    stream = sys.stdin
    if stream is None or stream.closed:
        return False
    if not stream.isatty():
        return stream.readline() in ("\n", "\r\n")
    if sys.platform == "win32":
        import msvcrt

        return msvcrt.getwch() == "\r"
    import os

    return os.read(stream.fileno(), 64) in (b"\n", b"\r", b"\r\n")
