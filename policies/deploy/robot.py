"""What a runner knows of a robot: it measures, and it is told where to be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Reading:
    """What a robot measures.

    Attributes:
        positions: ``(J + 1,)`` of its joints, in the manifest's order, rad (m where one slides), then the gripper's
            opening, 0 closed … 1 open.
        measured_s: when (`time.monotonic`), for ``"joints"`` and everything in `seen`.
        seen: what else the policy looks at, by the name of the input, without the first axis of length 1.
        efforts: ``(J,)`` what the motors of the arm's joints do, N·m (N where one slides), as far as they say it, its
            sign that of the joint; None: they say nothing.
    """

    positions: FloatArray
    measured_s: Mapping[str, float]
    seen: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    efforts: FloatArray | None = None


class Robot(Protocol):
    """An arm, real or not. Whatever loses its connection raises `ConnectionError`."""

    def connect(self) -> None:
        """Get ready to be read from and told; nothing moves yet."""

    def read(self) -> Reading:
        """What was measured last; never waits, however old that is."""

    def act(self, command: FloatArray) -> None:
        """Be at joint positions and opening ``(J + 1,)`` one tick from now."""

    def stop(self) -> None:
        """Stay where it is, and let go of the connection; harmless when repeated, and when never connected."""


class DryRun:
    """A robot that is none: it is wherever it was told to be, and sees what was seen in a recording."""

    def __init__(self, home: FloatArray, recorded: Mapping[str, npt.NDArray[Any]], clock: Callable[[], float]) -> None:
        """Stand at home.

        Args:
            home: ``(J + 1,)``.
            recorded: ``(T, …)`` by the name of the input; after its end it begins anew.
            clock: the time, seconds.
        """
        self._positions, self._recorded, self._clock, self._tick = home, recorded, clock, 0

    def connect(self) -> None:
        """Nothing to connect to."""

    def read(self) -> Reading:
        """Where it was told to be, and the next frame of the recording."""
        seen = {name: values[self._tick % len(values)] for name, values in self._recorded.items()}
        return Reading(self._positions.copy(), dict.fromkeys(["joints", *seen], self._clock()), seen)

    def act(self, command: FloatArray) -> None:
        """Be there."""
        self._positions = np.array(command)
        self._tick += 1

    def stop(self) -> None:
        """Nothing to stop."""
