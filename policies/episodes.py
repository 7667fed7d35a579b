"""Episodes on the disk, read one at a time, whatever the format."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt

from policies.features import ACTION, STATE, Features, bad_dataset
from reconstruction.errors import InputError, UsageError
from simulation.episode import Episode, Pictures


class Dataset(ABC):
    """Episodes on the disk, read one at a time.

    Attributes:
        folder: the folder or file.
        features: what all episodes have in common.
        left_out: names of columns that an `Episode` has no place for, or that cannot be read here, and why.
    """

    folder: Path
    features: Features
    left_out: tuple[str, ...] = ()

    @abstractmethod
    def __len__(self) -> int:
        """Episodes."""

    @abstractmethod
    def read(self, number: int, cameras: Sequence[str] | None = None) -> Episode:
        """Episode `number` (from 0).

        Args:
            number: which.
            cameras: whose pictures are wanted; None for all of them, and ``()`` for a quick look at everything else.

        Raises:
            InputError: it is damaged; the message names the file.
            IndexError: there is none of that number.
            UsageError: there is no such camera.
        """

    @abstractmethod
    def length(self, number: int) -> int:
        """Frames of episode `number`."""

    @abstractmethod
    def frames(self, number: int, camera: str, wanted: Sequence[int]) -> Pictures:
        """Some of an episode's pictures, ``(len(wanted), H, W, 3) uint8`` RGB, without the others.

        Raises:
            InputError: they are damaged.
            IndexError: it has no such frame.
        """

    def __iter__(self) -> Iterator[Episode]:
        return (self.read(number) for number in range(len(self)))

    def chosen(self, cameras: Sequence[str] | None) -> list[str]:
        """The wanted cameras, or all.

        Raises:
            UsageError: there is no such camera.
        """
        unknown = set(cameras or ()) - set(self.features.cameras)
        if unknown:
            raise UsageError(
                f"{self.folder} has no camera {', '.join(sorted(unknown))}.",
                remedy=f"It has {', '.join(self.features.cameras) or 'none'}.",
                code="no_camera",
            )
        return list(self.features.cameras if cameras is None else cameras)

    def _check(self, number: int, wanted: Sequence[int] = ()) -> None:
        if not 0 <= number < len(self):
            raise IndexError(f"{self.folder} has {len(self)} episodes, none of number {number}")
        if wanted and not 0 <= min(wanted) <= max(wanted) < self.length(number):
            raise IndexError(
                f"Episode {number} has {self.length(number)} frames, asked for {min(wanted)}…{max(wanted)}"
            )


def episode_of(
    features: Features,
    values: Mapping[str, npt.NDArray[Any]],
    images: Mapping[str, Pictures],
    task: str,
    number: int,
    row: Mapping[str, Any],
    where: str,
) -> Episode:
    """An episode put together from what was read; a dataset of others does not say how its episodes ended."""
    success = row.get("success") is not False
    try:
        return Episode(
            task=task,
            task_name=_text(row, "task_name") or "task",
            rate_hz=features.rate_hz,
            state=values[STATE],
            state_names=features.state_names,
            action=values[ACTION],
            action_names=features.action_names,
            images=images,
            extra={name: values[name] for name in features.extra},
            success=success,
            reason="" if success else _text(row, "reason") or "unknown",
            recipe=_text(row, "recipe"),
            seed=_number(row, "seed", 0),
            index=_number(row, "run_index", number),
            seconds=float(row["seconds"])
            if isinstance(row.get("seconds"), float)
            else len(values[STATE]) / features.rate_hz,
        )
    except InputError as error:
        raise bad_dataset(where, f"of episode {number}, {error.message}".rstrip(".")) from None


def _text(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    return value if isinstance(value, str) else ""


def _number(row: Mapping[str, Any], name: str, otherwise: int) -> int:
    value = row.get(name)
    return value if type(value) is int and -(1 << 63) <= value < 1 << 63 else otherwise
