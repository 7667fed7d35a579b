"""Pictures of a scene's things, for whoever chooses among them: drawn beside the window, which has none of its own.

``python -m app.thing_pictures SCENE CACHE WIDTH HEIGHT`` says on stdout, a JSON line each, ``{"event": "picture",
"name", "png"}`` (base64, transparent around the thing) for each thing of a scene folder, or an error as every command
says it. What is drawn is kept in the folder CACHE for as long as the thing's files are what they were. It ends with its
stdin.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from app.console import JsonConsole, end_with_stdin, told_in_json
from app.viewer.files import Document, Entry, read_document
from reconstruction.errors import PocketworldError

Size = tuple[int, int]


def main() -> int:
    """Show the things of one scene."""
    end_with_stdin()
    with contextlib.suppress(OSError, AttributeError):
        os.nice(5)  # the window comes first where there are few processors
    return told_in_json(_show)


def _show(console: JsonConsole) -> None:
    scene, cache, width, height = sys.argv[1:]
    for name, png in pictures(Path(scene), Path(cache), (int(width), int(height))):
        console.say("picture", "", name=name, png=base64.b64encode(png).decode("ascii"))


def pictures(scene: Path, cache: Path, size: Size) -> Iterator[tuple[str, bytes]]:
    """The name and the PNG of each thing: first those that are there already, then those that are drawn now.

    Args:
        scene: a scene folder.
        cache: where pictures are kept; where that cannot be written, they are drawn each time.
        size: of a picture, pixels.

    Raises:
        InputError: the scene is damaged. Of a thing whose mesh alone is, there is no picture.
    """
    document = read_document(scene)
    kept = {entry.name: cache / f"{_key(entry, document.folder, size)}.png" for entry in document.objects}
    missing = []
    for entry in document.objects:
        try:
            yield entry.name, kept[entry.name].read_bytes()
        except OSError:
            missing.append(entry)
    if not missing:
        return
    for name, png in _drawn(document, missing, size):
        with contextlib.suppress(OSError):
            _keep(kept[name], png)
        yield name, png
    with contextlib.suppress(OSError):
        for path in set(cache.iterdir()) - set(kept.values()):  # of things that are no more, or are others now
            path.unlink()


def _key(entry: Entry, folder: Path, size: Size) -> str:
    """Another one when a thing's files are others. A project that is moved as a whole keeps its pictures."""
    files = [[os.path.relpath(path, folder), *state] for path, *state in entry.stamps]
    return hashlib.blake2b(json.dumps([files, size]).encode(), digest_size=16).hexdigest()


def _keep(path: Path, png: bytes) -> None:
    """Whole or not at all: this process may be ended at any time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_bytes(png)
    part.replace(path)


def _drawn(document: Document, entries: Sequence[Entry], size: Size) -> Iterator[tuple[str, bytes]]:
    import cv2

    from app.viewer.canvas import Canvas

    canvas = Canvas()
    for entry in entries:  # one at a time, without the room: the first is there at once, and one that is damaged alone
        try:
            canvas.show(replace(document, objects=(entry,), background=None))
        except PocketworldError:
            continue
        picture = canvas.thumbnail(entry.name, *size)
        yield entry.name, cv2.imencode(".png", picture[..., [2, 1, 0, 3]])[1].tobytes()


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
