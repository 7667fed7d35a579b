"""An episode ready to be stored: a table and films, encoded where it was made, and written by whoever collects them.

On disk, in the journal of a dataset that is being made, it is a zip without compression: ``record.json`` (all that is
not per frame, with statistics), ``table.parquet`` (state, action and extra columns) and ``<camera>.mp4``.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from policies.features import IMAGES, Extra, Features
from policies.films import FilmSettings, encode_film, film_info
from policies.statistics import Statistics, column_statistics, picture_statistics
from reconstruction.errors import InputError
from simulation.episode import Episode

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT, VERSION = "pocketworld.episode", 1
RATES = (1, 1000)
"""LeRobot counts frames a second in whole numbers."""
STAMP = (2026, 1, 1, 0, 0, 0)
"""Time of entries in a zip: bytes must depend on the episode alone."""


@dataclass(frozen=True)
class EncodedEpisode:
    """An episode as it is stored.

    Attributes:
        index: its number in the run that made it.
        success: whether it reached the task's goal.
        reason: why not.
        length: frames.
        task, task_name, recipe, seed, seconds: as in `Episode`.
        features: of its frames.
        info: LeRobot's ``info`` block of each camera's film.
        statistics: of each column and each camera's pictures, by LeRobot's key.
        table: Parquet bytes.
        films: MP4 bytes by camera.
    """

    index: int
    success: bool
    reason: str
    length: int
    task: str
    task_name: str
    recipe: str
    seed: int
    seconds: float
    features: Features
    info: Mapping[str, Mapping[str, Any]]
    statistics: Mapping[str, Statistics]
    table: bytes
    films: Mapping[str, bytes]

    @property
    def rate_hz(self) -> int:
        """Frames a second."""
        return round(self.features.rate_hz)

    def columns(self) -> pa.Table:
        """The table read."""
        import pyarrow.parquet as pq

        return pq.read_table(io.BytesIO(self.table))

    def to_bytes(self) -> bytes:
        """The episode as one file of the journal; equal episodes give equal bytes."""
        record = {
            "format": FORMAT,
            "version": VERSION,
            **{name: getattr(self, name) for name in RECORDED},
            "rate_hz": self.features.rate_hz,
            "features": self.features.to_json(),
            "info": self.info,
            "statistics": self.statistics,
        }
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr(zipfile.ZipInfo("record.json", STAMP), json.dumps(record, indent=1, allow_nan=False))
            archive.writestr(zipfile.ZipInfo("table.parquet", STAMP), self.table)
            for camera, film in self.films.items():
                archive.writestr(zipfile.ZipInfo(f"{camera}.mp4", STAMP), film)
        return file.getvalue()

    @staticmethod
    def from_bytes(data: bytes, where: str) -> EncodedEpisode:
        """The episode from a file of the journal; `where` is what errors call it.

        Raises:
            InputError: it is damaged.
        """
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                record = json.loads(archive.read("record.json"))
                if (record["format"], record["version"]) != (FORMAT, VERSION):
                    raise ValueError("another version wrote it")
                features, _ = Features.from_json(record["features"], record["rate_hz"], where)
                return EncodedEpisode(
                    **{name: record[name] for name in RECORDED},
                    features=features,
                    info=record["info"],
                    statistics=record["statistics"],
                    table=archive.read("table.parquet"),
                    films={camera: archive.read(f"{camera}.mp4") for camera in features.cameras},
                )
        except (zipfile.BadZipFile, ValueError, KeyError, TypeError, EOFError, RecursionError) as error:
            raise InputError(
                f"{where} is damaged: {error}.",
                remedy="Delete it and run the same command again: its episode is then made again.",
                code="damaged_journal",
            ) from None


RECORDED = ("index", "success", "reason", "length", "task", "task_name", "recipe", "seed", "seconds")


def encode(episode: Episode, film: FilmSettings = FilmSettings()) -> EncodedEpisode:  # noqa: B008 - frozen
    """Encode an episode; to be called where it was made, so that many are encoded at once.

    Raises:
        InputError: its rate is no whole number, which LeRobot's format cannot hold.
    """
    features = Features.of(episode)
    rate = round(episode.rate_hz)
    if rate != episode.rate_hz or not RATES[0] <= rate <= RATES[1]:
        raise InputError(
            f"The episode has {episode.rate_hz} frames a second.",
            remedy=f"A dataset takes a whole number from {RATES[0]} to {RATES[1]}.",
            code="bad_rate",
        )
    values = {"observation.state": episode.state, "action": episode.action}
    values.update({name: episode.extra[name] for name in features.extra})
    return EncodedEpisode(
        index=int(episode.index),
        success=bool(episode.success),
        reason=episode.reason,
        length=len(episode),
        task=episode.task,
        task_name=episode.task_name,
        recipe=episode.recipe,
        seed=int(episode.seed),
        seconds=float(episode.seconds),
        features=features,
        info={camera: film_info(size, rate, film) for camera, size in features.cameras.items()},
        statistics={
            **{name: column_statistics(column) for name, column in values.items()},
            **{f"{IMAGES}{camera}": picture_statistics(episode.images[camera]) for camera in features.cameras},
        },
        table=_parquet(values, features.columns),
        films={camera: encode_film(episode.images[camera], rate, film) for camera in features.cameras},
    )


def _parquet(values: Mapping[str, npt.NDArray[Any]], columns: Mapping[str, Extra]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({name: arrow_column(values[name], column) for name, column in columns.items()})
    file = io.BytesIO()
    pq.write_table(table, file, compression="snappy")
    return file.getvalue()


def arrow_column(values: npt.NDArray[Any], column: Extra) -> pa.Array:
    """A column ``(T,)`` or ``(T, k)`` as Arrow has it: numbers, also for k = 1, or lists of a fixed length."""
    import pyarrow as pa

    flat = pa.array(np.ascontiguousarray(values).reshape(-1), arrow_type(column.dtype))
    return flat if column.length in (None, 1) else pa.FixedSizeListArray.from_arrays(flat, column.length)


def arrow_type(dtype: str) -> pa.DataType:
    """Arrow's type of NumPy's."""
    import pyarrow as pa

    return pa.from_numpy_dtype(np.dtype(dtype))
