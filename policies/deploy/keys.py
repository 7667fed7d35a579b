"""A key press stops the arm."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def any_key() -> Iterator[Callable[[], bool]]:
    """Whether a key was pressed since, as a function; never, where there is no keyboard (stdin is no terminal)."""
    stream = sys.stdin
    if stream is None or stream.closed or not stream.isatty():
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
