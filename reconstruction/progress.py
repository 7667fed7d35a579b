"""The one progress callable that every step takes."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[float, str], None]
"""`progress(fraction, message)`: fraction in [0, 1] of the step at hand; raising from it stops the step."""


def silent(fraction: float, message: str) -> None:
    """Report nothing: the default."""


def part(progress: Progress, start: float, end: float) -> Progress:
    """A progress callable for a part of a step: maps its [0, 1] onto [start, end] of the whole."""

    def report(fraction: float, message: str) -> None:
        progress(start + (end - start) * min(max(fraction, 0.0), 1.0), message)

    return report
