"""Files of limited size, numbered in folders of limited number, written under other names until all are complete."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from policies.features import bad_dataset
from reconstruction.disk import sync

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Limits:
    """When the next file, and the next folder of files, is begun."""

    data_mb: int = 100
    """MiB in memory of a file of frames; 0 for one an episode."""
    film_mb: int = 200
    """MiB of a film; 0 for one an episode."""
    files_a_chunk: int = 1000
    """Files in one folder."""

    @staticmethod
    def of(info: Mapping[str, Any], where: str) -> Limits:
        """Those that a dataset was begun with."""
        limits = [info.get(name) for name in ("data_files_size_in_mb", "video_files_size_in_mb", "chunks_size")]
        if not all(type(limit) is int and limit > 0 for limit in limits):
            raise bad_dataset(where, f"its limits of files are {limits}")
        return Limits(*limits)  # type: ignore[arg-type]


class NumberedFiles:
    """A row of files that are being written under other names: opened, filled, closed, begun anew when full."""

    def __init__(self, folder: Path, template: str, first: tuple[int, int], limits: Limits) -> None:
        self.folder, self.template, self.limits = folder, template, limits
        self.place = first
        self.made: list[tuple[Path, Path]] = []

    def begin(self) -> Path:
        """The path to write the next file at."""
        if self.made:
            self.place = next_place(self.place, self.limits.files_a_chunk)
        final = self.folder / self.template.format(chunk_index=self.place[0], file_index=self.place[1])
        final.parent.mkdir(parents=True, exist_ok=True)
        self.made.append((final.with_name(final.name + ".partial"), final))
        return self.made[-1][0]

    def publish(self) -> None:
        """Give the files their names, once the disk really holds them."""
        for partial, final in self.made:
            sync(partial)
            partial.replace(final)
        for parent in {final.parent for _, final in self.made}:
            sync(parent)

    def clear(self) -> None:
        """Take away those that have no name yet."""
        for partial, _ in self.made:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)


def next_place(place: tuple[int, int], files_a_chunk: int) -> tuple[int, int]:
    """Chunk and file number that follow."""
    chunk, file = place
    return (chunk + 1, 0) if file + 1 >= files_a_chunk else (chunk, file + 1)


class TableFile:
    """A Parquet file being written; one call to `write` makes one row group."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        import pyarrow.parquet as pq

        self._file = path.open("wb")
        self._writer = pq.ParquetWriter(self._file, schema, compression="snappy")
        self.bytes = 0

    def write(self, table: pa.Table) -> None:
        """Add rows."""
        self._writer.write_table(table, row_group_size=max(1, len(table)))
        self.bytes += table.nbytes

    def close(self) -> None:
        """Write the footer, without which the file cannot be read."""
        with self._file:
            self._writer.close()

    def __enter__(self) -> TableFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
