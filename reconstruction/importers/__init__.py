"""Phone scans to `Capture`: what is inside decides which importer reads it, never the name.

`IMPORTERS` maps a format's key to its module, each with ``matches(root) -> bool`` (a look at the file list) and
``read(root) -> Capture``. A new format is one more file and one more line here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType

from reconstruction.archive import ZIPPED, FileTree, FolderTree, nested_zip, open_tree
from reconstruction.capture import Capture
from reconstruction.errors import InputError, UnsupportedFormatError
from reconstruction.importers import arkitscenes, laan, nerfcapture, nerfstudio, photos, polycam, record3d, rgbd, stray
from reconstruction.importers.damage import refuse_blank

IMPORTERS: dict[str, ModuleType] = {
    "record3d": record3d,
    "stray": stray,
    "laan": laan,
    "polycam": polycam,
    "arkitscenes": arkitscenes,
    "nerfcapture": nerfcapture,
    "nerfstudio": nerfstudio,
    "rgbd": rgbd,
}

PICTURES_ONLY: dict[str, ModuleType] = {"photos": photos}
"""Asked only where no format is found anywhere in the tree: other formats are full of pictures, too."""

_MAX_DEPTH = 4
_MAX_NESTED = 2

_LABELS = {
    "record3d": "Record3D (.r3d or EXR + JPG)",
    "stray": "Stray Scanner",
    "laan": "3D Scanner App 'All data'",
    "polycam": "Polycam raw data",
    "arkitscenes": "ARKitScenes",
    "nerfcapture": "NeRFCapture transforms.json",
    "nerfstudio": "nerfstudio transforms.json",
    "rgbd": "plain RGB-D folder (7-Scenes, ScanNet or TUM style)",
    "photos": "photos (JPEG, PNG, HEIC) or a video (MOV, MP4)",
}
KNOWN_FORMATS = "; ".join(_LABELS[kind] for kind in (*IMPORTERS, *PICTURES_ONLY))


def read_capture(path: Path) -> Capture:
    """Read a phone's export: a folder or a zip, with or without folders round the scan.

    Args:
        path: what the phone or its owner handed over.

    Returns:
        The capture; images are read from `path` later, when asked for, so it must stay in place.

    Raises:
        UnsupportedFormatError: no known format in it.
        InputError: unreadable, unsafe, damaged, or several scans at once.
    """
    path = Path(path)
    root, kind = find_scan(_open(path))
    capture: Capture = (IMPORTERS | PICTURES_ONLY)[kind].read(root)
    resolved = path.absolute()
    name = resolved.name if resolved.is_dir() else resolved.stem
    return refuse_blank(replace(capture, name=name or kind, source=path))


def _open(path: Path) -> FileTree:
    if path.suffix.lower() in photos.VIDEOS and path.is_file():
        return FolderTree(path.parent, sizes={path.name: path.stat().st_size})
    try:
        return open_tree(path)
    except UnsupportedFormatError as error:
        raise UnsupportedFormatError(
            error.message, remedy=f"{error.remedy} Known: {KNOWN_FORMATS}.", code=error.code
        ) from error


def find_scan(tree: FileTree, nested: int = 0) -> tuple[FileTree, str]:
    """The folder in `tree` that holds a scan, and its format: the tree itself, else the shallowest folder,
    else the only archive inside.

    Args:
        tree: what the user handed over.
        nested: how many archives `tree` already lies in.

    Raises:
        UnsupportedFormatError: nothing known in it.
        InputError: more than one scan on that level.
    """
    found = _shallowest(tree, IMPORTERS)
    if found is not None:
        return found
    archives = [name for name in tree.names if name.lower().endswith(ZIPPED)]
    if len(archives) > 1:
        raise _several(tree, archives)
    if archives and nested < _MAX_NESTED:
        return find_scan(nested_zip(tree, archives[0]), nested + 1)
    found = _shallowest(tree, PICTURES_ONLY)
    if found is not None:
        return found
    raise UnsupportedFormatError(
        f"{tree.where()} holds no scan of a known format.",
        remedy=f"Known: {KNOWN_FORMATS}.",
        code="unknown_format",
    )


def is_scan(tree: FileTree) -> bool:
    """Whether the root of `tree` itself, not something deeper in it, is what some importer reads."""
    return _format_of(tree, IMPORTERS | PICTURES_ONLY) is not None


def _shallowest(tree: FileTree, importers: Mapping[str, ModuleType]) -> tuple[FileTree, str] | None:
    kind = _format_of(tree, importers)
    if kind:
        return tree, kind
    for depth in range(_MAX_DEPTH):
        level = [folder for folder in tree.folders if folder.count("/") == depth]
        hits = [(folder, kind) for folder in level if (kind := _format_of(tree.below(folder), importers))]
        if len(hits) > 1:
            raise _several(tree, [folder for folder, _ in hits])
        if hits:
            return tree.below(hits[0][0]), hits[0][1]
    return None


def _several(tree: FileTree, scans: list[str]) -> InputError:
    return InputError(
        f"{tree.where()} holds {len(scans)} scans: {', '.join(scans[:5])}{' …' if len(scans) > 5 else ''}.",
        remedy="Name one of them.",
        code="several_scans",
    )


def _format_of(root: FileTree, importers: Mapping[str, ModuleType]) -> str | None:
    return next((kind for kind, module in importers.items() if module.matches(root)), None)
