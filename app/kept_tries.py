"""What came of the tries so far, one JSON object a line: who was killed, or wants more of them, goes on from there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from app.project import code_hash
from app.stages import PACKAGES
from reconstruction.disk import write_whole, writing_to


class KeptTries:
    """The tries that earlier runs have kept, by groups, in each of them in the order of their numbers.

    Those kept for something else (other bytes of the policy, another scene, other settings, a changed program) are
    forgotten, and so is what a dying process has left half written.
    """

    def __init__(self, path: Path, about: Mapping[str, Any]) -> None:
        """Those in a file, if they are `about` the same: JSON-able, all that tries depend on."""
        self._path = path
        code = code_hash(PACKAGES / "policies", PACKAGES / "simulation")  # tries outlive the program that made them
        all_of_it = json.dumps({"code": code, **about}, sort_keys=True)
        self._about = hashlib.blake2b(all_of_it.encode(), digest_size=16).hexdigest()
        self._rows: dict[str, list[dict[str, Any]]] = {}
        whole = bytearray()
        for line in path.read_bytes().splitlines(keepends=True) if path.is_file() else ():
            if not self._read(line):
                break
            whole += line
        with writing_to(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, bytes(whole))

    def _read(self, line: bytes) -> bool:
        try:
            about, group, number, row = json.loads(line)
            rows = self._rows.setdefault(group, [])
            good = line.endswith(b"\n") and (about, number) == (self._about, len(rows)) and isinstance(row, dict)
        except (ValueError, TypeError, RecursionError):
            return False
        if good:
            rows.append(row)
        return good

    def of(self, group: str) -> Sequence[Mapping[str, Any]]:
        """The tries of a group."""
        return tuple(self._rows.get(group, ()))

    def add(self, group: str, row: Mapping[str, Any]) -> None:
        """Keep the next try of a group."""
        rows = self._rows.setdefault(group, [])
        line = json.dumps([self._about, group, len(rows), row])
        rows.append(dict(row))
        with writing_to(self._path.parent), self._path.open("a", encoding="utf-8", newline="\n") as file:
            file.write(line + "\n")
