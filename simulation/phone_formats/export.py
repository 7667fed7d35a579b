"""Where a writer puts its files: a folder, or a zip when the path ends like one."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from types import TracebackType
from typing import Any

ARCHIVES = {".zip", ".r3d"}


class Export:
    """Takes ``put(name, bytes)`` and makes a folder or an archive of it; use as a context manager.

    Archives are stored, not compressed (their payloads are), with a fixed date: the same recording is the same file.
    """

    def __init__(self, path: Path, enclosing: str = "") -> None:
        """Begin an export.

        Args:
            path: folder, or a file ending in one of `ARCHIVES`.
            enclosing: a folder that everything lies in inside an archive, e.g. ``"All_Data/"``.
        """
        self._path = path
        self._archive: zipfile.ZipFile | None = None
        self._enclosing = enclosing
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix.lower() in ARCHIVES:
            self._archive = zipfile.ZipFile(path, "w", zipfile.ZIP_STORED)

    def __enter__(self) -> Export:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._archive is not None:
            self._archive.close()

    def put(self, name: str, data: bytes) -> None:
        """Add one file."""
        if self._archive is not None:
            self._archive.writestr(zipfile.ZipInfo(self._enclosing + name, (2026, 1, 1, 12, 0, 0)), data)
            return
        target = self._path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)

    def put_text(self, name: str, text: str) -> None:
        """Add one UTF-8 file."""
        self.put(name, text.encode("utf-8"))

    def put_json(self, name: str, document: Any) -> None:
        """Add one JSON file."""
        self.put_text(name, json.dumps(document, indent=1) + "\n")
