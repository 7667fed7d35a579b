"""Values out of the apps' JSON, CSV and text files, with errors that name file and field."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from reconstruction.archive import FileTree
from reconstruction.capture import FloatArray
from reconstruction.errors import InputError

_REMEDY = "Copy or export the scan from the phone again."
MAX_TEXT_BYTES = 32 << 20
_MAX_SIDE = 16384


def read_text(tree: FileTree, name: str) -> str:
    """A UTF-8 text file (with or without byte order mark); bytes that are no UTF-8 become replacement marks."""
    return tree.read(name, limit=MAX_TEXT_BYTES).decode("utf-8-sig", errors="replace")


def read_json(tree: FileTree, name: str) -> dict[str, Any]:
    """A JSON object.

    Raises:
        InputError: no JSON, nested too deep, or not an object.
    """
    try:
        value = json.loads(read_text(tree, name))
    except (ValueError, RecursionError, MemoryError) as error:
        unlike = {RecursionError: "nested too deep", MemoryError: "it holds more than fits into memory"}
        reason = unlike.get(type(error), str(error))
        raise InputError(f"{tree.where(name)} is not valid JSON: {reason}.", remedy=_REMEDY, code="bad_json") from error
    if not isinstance(value, dict):
        raise InputError(f"{tree.where(name)} holds no JSON object.", remedy=_REMEDY, code="bad_json")
    return value


def number(table: dict[str, Any], key: str, where: str, default: float | None = None) -> float:
    """A finite number under `key`; `default` where the key is absent or null.

    Raises:
        InputError: absent without default, or no finite number.
    """
    value = table.get(key)
    if value is None:
        if default is None:
            raise InputError(f"{where} has no {key!r}.", remedy=_REMEDY, code="missing_field")
        return default
    return floats([value], 1, f"{where}: {key!r}")[0]


def size(table: dict[str, Any], width: str, height: str, where: str) -> tuple[int, int]:
    """An image size ``(width, height)`` in pixels under these two keys.

    Raises:
        InputError: absent, or no size that an image has.
    """
    found = (int(number(table, width, where)), int(number(table, height, where)))
    if not all(0 < side <= _MAX_SIDE for side in found):
        raise InputError(
            f"{where}: {width} x {height} = {found[0]:g} x {found[1]:g} is no image size.",
            remedy=_REMEDY,
            code="wrong_size",
        )
    return found


def hint(table: dict[str, Any], key: str) -> float | None:
    """A finite number under `key` that the scan can do without; None where there is none."""
    try:
        return number(table, key, "")
    except InputError:
        return None


def floats(value: object, count: int, where: str) -> list[float]:
    """A list of `count` numbers.

    Raises:
        InputError: another type or length, NaN or infinity among them.
    """
    good = isinstance(value, Sequence) and not isinstance(value, str) and len(value) == count
    if good:
        good = all(isinstance(item, (int, float)) and not isinstance(item, bool) for item in value)  # type: ignore[attr-defined]
    if good:
        try:
            result = [float(item) for item in value]  # type: ignore[attr-defined]
            if np.isfinite(result).all():
                return result
        except OverflowError:
            pass
    raise InputError(f"{where} is not {count} finite number(s).", remedy=_REMEDY, code="bad_field")


def read_csv(tree: FileTree, name: str) -> list[dict[str, str]]:
    """Rows of a CSV with a header line: header name -> text, spaces trimmed, missing fields empty."""
    lines = csv.reader(io.StringIO(read_text(tree, name)), skipinitialspace=True)
    try:
        rows = [[field.strip() for field in row] for row in lines if any(field.strip() for field in row)]
    except csv.Error as error:
        raise InputError(f"{tree.where(name)} is not a CSV table: {error}.", remedy=_REMEDY, code="bad_csv") from error
    if not rows:
        raise InputError(f"{tree.where(name)} is empty.", remedy=_REMEDY, code="empty_file")
    header = rows[0]
    return [dict(zip(header, row + [""] * (len(header) - len(row)), strict=False)) for row in rows[1:]]


def column(row: dict[str, str], key: str, where: str) -> float:
    """One number of a CSV row; NaN where the field is empty.

    Raises:
        InputError: there is no such column, or the field is no number.
    """
    if key not in row:
        raise InputError(f"{where} has no column {key!r}.", remedy=_REMEDY, code="missing_field")
    if not row[key]:
        return float("nan")
    try:
        return float(row[key])
    except ValueError as error:
        raise InputError(f"{where}: {key} is {row[key]!r}, not a number.", remedy=_REMEDY, code="bad_field") from error


def number_table(text: str, where: str) -> FloatArray:
    """Numbers ``(rows, columns)`` of a text file; commas or spaces between them, ``#`` starts a comment.

    Raises:
        InputError: a word that is no number, or rows of different lengths.
    """
    lines = (line.partition("#")[0].replace(",", " ").split() for line in text.splitlines())
    try:
        return np.array([[float(word) for word in line] for line in lines if line], dtype=np.float64)
    except ValueError as error:
        raise InputError(f"{where} is not a table of numbers.", remedy=_REMEDY, code="bad_field") from error
