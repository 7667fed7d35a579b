"""A real arm before it moves: opened, looked at, shown to a person, and let go of afterwards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from policies.deploy.bundle import Manifest
from policies.deploy.drivers import DRIVERS
from policies.deploy.drivers.arm import ArmError, ArmSettings, RealArm, misplaced, shown
from reconstruction.errors import UsageError

__all__ = ["ArmSettings", "Person", "check_robot", "is_real", "ready"]


class Person(Protocol):
    """Who stands beside the arm."""

    def show(self, text: str) -> None:
        """Show some lines."""

    def agree(self) -> bool:
        """Whether the arm may move, after what was shown."""

    def go_on(self) -> bool:
        """Whether it may do the next chunk of actions."""

    def judge(self) -> bool | None:
        """Whether the arm has done its task; None: nobody says so."""


def is_real(word: str) -> bool:
    """Whether ``--robot`` means a real arm."""
    kind, _, model = word.partition(":")
    return kind in DRIVERS and bool(model)


def check_robot(word: str, others: Sequence[str]) -> None:
    """See that ``--robot`` means anything.

    Args:
        word: that was given.
        others: what it may be beside a real arm.

    Raises:
        UsageError: it does not.
    """
    if word not in others and not is_real(word):
        raise UsageError(
            f"There is no robot {word!r}.",
            remedy=f"--robot takes {', '.join([*others, *(f'{kind}:TYPE' for kind in DRIVERS)])} (docs/robots.md).",
            code="unknown_robot",
        )


@contextmanager
def ready(manifest: Manifest, word: str, settings: ArmSettings, person: Person | None) -> Iterator[RealArm]:
    """A real arm, connected, that stands where it may, and that a person has allowed to move. It is let go of at last.

    Args:
        manifest: of the bundle.
        word: that names it, ``KIND:TYPE``.
        settings: what a user says of it.
        person: who is shown how it understands the bundle, and asked unless `settings` say yes; None: nobody.

    Raises:
        UsageError: it cannot be driven, stands where it may not, or nobody has allowed it.
    """
    kind, _, model = word.partition(":")
    if person is None and not settings.yes:
        raise UsageError(
            "With --json there is nobody to ask whether the arm may move.",
            remedy="Run it without --json first, and see what it shows; then add --yes.",
            code="not_confirmed",
        )
    try:
        arm = DRIVERS[kind](manifest, model, settings)
    except ArmError as error:
        raise UsageError(str(error), remedy=error.remedy, code="bad_arm") from None
    try:
        _check(arm, manifest, settings, person, word)
        yield arm
    finally:
        arm.stop()


def _check(arm: RealArm, manifest: Manifest, settings: ArmSettings, person: Person | None, word: str) -> None:
    """Connect an arm, show it, and see that it may move."""
    try:
        arm.connect()
        positions = arm.read().positions
        if person is not None:
            person.show(shown(manifest, arm, positions) + "\n")
        why = misplaced(manifest, positions)
        if not why and not settings.yes:
            if person is None or not person.agree():
                raise UsageError("The arm was not allowed to move.", remedy="Say y, or --yes.", code="not_confirmed")
            why = misplaced(manifest, arm.read().positions)  # somebody may have moved it meanwhile
    except ArmError as error:
        raise UsageError(str(error), remedy=error.remedy, code="bad_arm") from None
    except ConnectionError as error:
        raise UsageError(
            f"{word} does not answer: {error}.",
            remedy="See that it has power, that --port is right, and that nothing else uses it.",
            code="no_connection",
        ) from None
    if why:
        raise UsageError(
            f"The arm must not begin here: {why}.",
            remedy="Bring it near where the demonstrations begin (home in manifest.json). "
            "Where it stands there already, its zeros or signs are others: give a --mapping file (docs/robots.md).",
            code="misplaced",
        )
