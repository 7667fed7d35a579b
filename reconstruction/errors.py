"""Errors a user can act on: what is wrong, what would be right, what to do next.

Every error that bad input, a full disk or a missing tool can cause is a `PocketworldError`. The command line prints
`message` and `remedy`, never a traceback, and leaves with `exit_code` (one a class of error).
"""

from __future__ import annotations

from typing import ClassVar


class PocketworldError(Exception):
    """Base class.

    Attributes:
        code: short machine-readable name of the error, e.g. ``"truncated_zip"``.
        message: one sentence naming the file and the reason.
        remedy: one sentence that says what to do next.
        exit_code: exit status of the process, one a class.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, remedy: str = "", code: str = "error") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.code = code

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".strip()

    def __reduce__(self) -> tuple[object, ...]:  # crosses process pools intact
        return (_rebuild, (type(self), self.message, self.remedy, self.code))


def _rebuild(kind: type[PocketworldError], message: str, remedy: str, code: str) -> PocketworldError:
    return kind(message, remedy=remedy, code=code)


class UsageError(PocketworldError):
    """The command's own words are off (unknown option value, missing project)."""

    exit_code = 2


class InputError(PocketworldError):
    """A scan, mesh or project file is damaged, inconsistent or unsafe to read."""

    exit_code = 3


class UnsupportedFormatError(InputError):
    """The input is of no kind that any importer knows."""

    exit_code = 4


class OutputError(PocketworldError):
    """The result cannot be written: no space, no permission, path in the way."""

    exit_code = 5


class MissingToolError(PocketworldError):
    """A system library or optional package is missing; the remedy is the command that installs it."""

    exit_code = 6


class ReconstructionError(PocketworldError):
    """The scan is readable but no scene can be made of it (no depth at all, poses that contradict each other)."""

    exit_code = 7


class ClusterError(PocketworldError):
    """The other computers that should do the work cannot be reached, were lost, or are not alike."""

    exit_code = 8
