"""Files of a dataset's folder, read without trusting them: nothing outside it, nothing endless, nothing executed."""

from __future__ import annotations

import itertools
import json
import re
import stat
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from policies.features import Extra, bad_dataset
from reconstruction.errors import InputError, PocketworldError

if TYPE_CHECKING:
    import pyarrow as pa

MAX_JSON_BYTES = 256 << 20
MAX_TABLE_BYTES = 1 << 30
"""Of a table, or a part of one, in memory."""
MAX_ROWS = 1 << 28
ROWS_AT_ONCE = 4096
FOOTERS_KEPT = 32
FIELD = re.compile(r"\{([a-z_]+)(?::0[0-9]d)?\}")
"""What may stand in braces in a path template."""


class DatasetFolder:
    """A folder to read from; every error is an `InputError` that names the file."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._footers: dict[tuple[str, int, int], _Footer] = {}

    def has(self, name: str) -> bool:
        """Whether a file lies there."""
        try:
            return stat.S_ISREG((self.root / name).stat().st_mode)
        except OSError:
            return False

    def where(self, name: str) -> str:
        """What errors call a file."""
        return str(self.root / name)

    def path(self, name: str) -> Path:
        """The path of an existing file inside the folder.

        Raises:
            InputError: it leads out of the folder, is missing, or is no file.
        """
        path = self.root / name
        try:
            outside = not path.resolve().is_relative_to(self.root.resolve())
            kind = 0 if outside else path.stat().st_mode
        except (OSError, ValueError, RuntimeError) as error:  # links in a circle are a RuntimeError up to Python 3.12
            raise bad_dataset(path, f"it is missing or out of reach ({_why(error)})") from None
        if outside:
            raise InputError(
                f"{path} leads out of the dataset's folder.",
                remedy="Copy the dataset with what its links point to (cp -rL), if you trust it.",
                code="path_outside",
            )
        if not stat.S_ISREG(kind):
            raise bad_dataset(path, "it is no file")
        return path

    def filled(self, template: object, **values: object) -> str:
        """A path template such as ``data/chunk-{chunk_index:03d}.parquet`` with its numbers put in.

        Raises:
            InputError: it has other fields than `values`, or leads out of the folder.
        """
        if not isinstance(template, str) or not 0 < len(template) < 1000:
            raise bad_dataset(self.where("meta/info.json"), f"a path template is {template!r}")
        rest = FIELD.sub("", template)
        if set(FIELD.findall(template)) - set(values) or "{" in rest or "}" in rest:
            raise bad_dataset(self.where("meta/info.json"), f"the path template {template!r} has unknown fields")
        name = template.format(**values)
        if name.startswith("/") or "\\" in name or ":" in name or {"..", ""} & set(name.split("/")) or "\0" in name:
            raise InputError(
                f"{self.where('meta/info.json')}: the path template {template!r} leads out of the dataset's folder.",
                remedy="Do not use this dataset unless you know who made it.",
                code="path_outside",
            )
        return name

    def _text(self, name: str) -> str:
        path = self.path(name)
        try:
            if path.stat().st_size > MAX_JSON_BYTES:
                raise bad_dataset(path, f"it is larger than {MAX_JSON_BYTES >> 20} MiB")
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeError) as error:
            raise bad_dataset(path, _why(error)) from None

    def json(self, name: str) -> dict[str, Any]:
        """A file that holds one JSON object."""
        return _object(self._text(name), self.where(name))

    def json_lines(self, name: str) -> list[dict[str, Any]]:
        """A file that holds one JSON object a line."""
        lines = self._text(name).splitlines()
        return [_object(line, f"{self.where(name)}, line {k}") for k, line in enumerate(lines, 1) if line.strip()]

    def table(self, name: str, columns: Sequence[str] | None = None, rows: tuple[int, int] | None = None) -> pa.Table:
        """Columns of a Parquet file, only those asked for that it has; never unpickles, whatever the file says.

        Args:
            name: relative to the folder.
            columns: their names; None for all.
            rows: first and one past the last; None for all.

        Raises:
            InputError: it is damaged or too large, or does not have these rows.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self.path(name)
        try:
            status = path.stat()
            key = (name, status.st_mtime_ns, status.st_size)
            known = self._footers.get(key)
            metadata = known.metadata if known else None
            with pq.ParquetFile(path, metadata=metadata, arrow_extensions_enabled=False) as file:
                footer = self._footers[key] = known or _Footer(file.metadata)
                if len(self._footers) > FOOTERS_KEPT:
                    del self._footers[next(iter(self._footers))]
                return _checked_table(file, footer, columns, rows, self.where(name))
        except (pa.ArrowException, OSError, ValueError, TypeError, KeyError, OverflowError) as error:
            raise bad_dataset(path, _why(error)) from None


class _Footer:
    """What a Parquet file says of itself, kept: with an episode a row group it takes longer to read than an episode."""

    def __init__(self, metadata: Any) -> None:
        # No column's description is asked for: of a damaged file, pyarrow then ends the process (a C++ exception).
        self.metadata = metadata
        sizes = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
        self.ends = list(itertools.accumulate(sizes))
        """One past the last row of each row group."""

    def groups(self, first: int, last: int) -> list[int]:
        """Numbers of the row groups that hold some of these rows."""
        start, stop = bisect_right(self.ends, first), bisect_left(self.ends, last)
        return list(range(start, stop + 1)) if first < last else []


def _checked_table(
    file: Any, footer: _Footer, columns: Sequence[str] | None, rows: tuple[int, int] | None, where: str
) -> pa.Table:
    import pyarrow as pa

    total = footer.ends[-1] if footer.ends else 0
    first, last = rows or (0, total)
    if not 0 <= first <= last <= total <= MAX_ROWS:
        raise bad_dataset(where, f"rows {first} to {last} are asked for, and it has {total}")
    names = [name for name in file.schema_arrow.names if columns is None or name in columns]
    groups = footer.groups(first, last)
    skipped = first - (footer.ends[groups[0] - 1] if groups and groups[0] else 0) if groups else 0
    batches, size, left = [], 0, last - first + skipped
    for batch in file.iter_batches(ROWS_AT_ONCE, row_groups=groups, columns=names, use_threads=False):
        # Sizes are counted as they come: what a file says of itself may be wrong.
        size += batch.nbytes
        if size > MAX_TABLE_BYTES:
            raise bad_dataset(where, f"it takes more than {MAX_TABLE_BYTES >> 20} MiB of memory")
        batch.validate(full=True)  # text that is no UTF-8
        batches.append(batch.slice(0, left))
        left -= len(batches[-1])
        if left <= 0:
            break
    schema = pa.schema([file.schema_arrow.field(name) for name in names])
    table = pa.Table.from_batches(batches, schema) if batches else schema.empty_table()
    return table.slice(skipped)


def _object(text: str, where: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise bad_dataset(where, f"it is no JSON ({_why(error)})") from None
    if not isinstance(document, dict):
        raise bad_dataset(where, "it is no JSON object")
    return document


def _why(error: BaseException) -> str:
    if isinstance(error, PocketworldError):
        return error.message
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())[:200].rstrip(".")


def column_values(table: pa.Table, name: str, kind: Extra, where: str) -> npt.NDArray[Any]:
    """A column of a table as ``(T,)`` or ``(T, k)``, its type checked."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if name not in table.column_names:
        raise bad_dataset(where, f"it has no column {name}")
    column = table[name].combine_chunks()
    if column.null_count:
        raise bad_dataset(where, f"{name} has rows without a value")
    lists = pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type)
    try:
        even = not lists or len(column) == 0 or pc.all(pc.equal(pc.list_value_length(column), kind.length or 1)).as_py()
        flat = column.flatten() if lists else column
        if not even or not _is_number(flat.type) or (kind.length not in (None, 1) and not lists):
            raise ValueError("other lengths, or no numbers")
        values = flat.cast(pa.from_numpy_dtype(np.dtype(kind.dtype))).to_numpy(zero_copy_only=False)
    except (TypeError, ValueError, pa.ArrowException) as error:
        raise bad_dataset(where, f"{name} is {column.type}, not {kind.dtype} × {kind.length or 1}") from error
    if not np.isfinite(values).all():
        raise bad_dataset(where, f"{name} has values that are not finite")
    values = values if kind.length is None else values.reshape(len(column), kind.length)
    return np.ascontiguousarray(values)


def _is_number(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind))
