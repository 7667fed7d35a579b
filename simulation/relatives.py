"""Other things of the same kind: what a digital cousin puts in the place of a scanned thing.

``python -m simulation.relatives resources/relatives.zip`` makes the bundled ones again: a scene folder (see
`reconstruction.scene`) in a zip, the same bytes for the same code.
"""

from __future__ import annotations

import argparse
import os
import re
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np

from reconstruction.archive import open_tree
from reconstruction.atlas import baked
from reconstruction.decomposition import DecompositionSettings, decompose
from reconstruction.errors import InputError
from reconstruction.material import Override, materials, physical_properties
from reconstruction.mesh import Mesh
from reconstruction.mesh_files import MOST_BYTES, MOST_FACES, SUFFIXES
from reconstruction.scene import Scene, SceneObject
from simulation.household import make
from simulation.kinship import standing
from simulation.mesh_files import read_thing
from simulation.repaint import repainted, simplified

BUNDLED = (
    "mug", "cup", "bowl", "bottle", "can", "box", "book", "block", "screwdriver", "tape_roll", "controller", "apple",
    "orange", "banana", "plate", "jug",
)  # fmt: skip
SEEDS = (101, 202)
"""Seeds of the first and the second of each kind; the bundled scan shows others."""
FACES, PIXELS = 1400, 208
PARTS = DecompositionSettings(max_parts=24, single_error=0.06, method="cuts")
"""24 parts: with 16 the walls of mugs and bowls gape. Plane cuts only: CoACD stops by the clock, and the same things
shall come out on every machine."""


# --- the bundled ones ------------------------------------------------------------------------------------------------


@cache
def procedural() -> tuple[SceneObject, ...]:
    """The bundled things, ordered by name (``mug_1`` …), each standing at x = y = 0 on z = 0. Read once a process.

    Raises:
        InputError: the resource is damaged.
    """
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        tree = open_tree(Path(str(files("resources") / "relatives.zip")))  # refuses names that lead out of the folder
        for name in tree.names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(tree.read(name))
        return Scene.load(folder).objects


def made_thing(kind: str, seed: int, name: str) -> SceneObject:
    """A household thing as a scan would give it: fewer triangles, a small texture, convex parts, its true mass."""
    thing = make(kind, np.random.default_rng(seed))
    mesh = repainted(simplified(thing.mesh, FACES), thing.mesh, PIXELS)
    return as_object(name, mesh, Override(mass_kg=thing.mass_kg, material=thing.material))


def as_object(name: str, mesh: Mesh, override: Override | None = None) -> SceneObject:
    """A closed mesh (metres, z up, as it stands) as an object with its origin at the centre of mass."""
    known = physical_properties(mesh, override=override)
    # Micrometres: the text of the files gets shorter, and parts and picture are made for what is written.
    visual = replace(mesh, vertices=np.round(mesh.vertices - known.center_of_mass, 6))
    return standing(
        SceneObject(
            name=name,
            scene_from_object=np.eye(4),
            visual=visual,
            convex_parts=_convex_parts(visual),
            mass_kg=known.mass_kg,
            center_of_mass=np.zeros(3),
            inertia=known.inertia,
            friction=known.friction,
            restitution=known.restitution,
            material=known.material,
            volume_m3=known.volume_m3,
            seen_fraction=1.0,
            mass_interval_kg=known.mass_interval_kg,
        )
    )


def _convex_parts(mesh: Mesh) -> tuple[Mesh, ...]:
    """The better of two: of fine walls the cuts make holes in floors that they do not make of coarse ones, or not."""
    found = [decompose(mesh, PARTS), decompose(simplified(mesh, FACES // 2), PARTS)]
    return min(found, key=lambda parts: parts.shape_error).parts


# --- the user's own --------------------------------------------------------------------------------------------------


def from_paths(paths: Sequence[Path]) -> tuple[SceneObject, ...]:
    """The user's own things, each standing at x = y = 0 on z = 0; names are unique and fit for file names.

    Args:
        paths: each a project folder, a scene folder, a folder of mesh files (`SUFFIXES`; folders in it are not
            entered), or one mesh file. A mesh stands as it was drawn: z up, y up in glTF; in metres, or in millimetres
            where it would be over 20 m large. Things of a scene stand as they stood there.

    Raises:
        InputError: nothing there, or a file that is damaged, too large, a link out of its folder, no closed surface,
            or of no believable size; names the file.
    """
    found: dict[str, SceneObject] = {}
    for path in paths:
        for item in _things_at(path):
            plain = re.sub(r"[^A-Za-z0-9_]+", "_", item.name).strip("_")[:60] or "thing"
            name, number = plain, 2
            while name in found:
                name, number = f"{plain}_{number}", number + 1
            found[name] = replace(item, name=name)
    return tuple(found.values())


def _things_at(path: Path) -> list[SceneObject]:
    try:
        for folder in (path / "scene", path):
            if (folder / "scene.json").is_file():
                return _scene_things(folder)
        names = sorted(path.iterdir()) if path.is_dir() else [path] if path.is_file() else []
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {error.strerror or error}.", remedy="Check its permissions.", code="cannot_read"
        ) from None
    meshes = [file for file in names if file.suffix.lower() in SUFFIXES]
    if not meshes:
        raise InputError(
            f"{path} holds no things: no scene and no {', '.join(SUFFIXES)} file.",
            remedy="Name a project folder, or a folder of mesh files.",
            code="no_relatives",
        )
    return [as_object(file.stem, read_thing(file)) for file in meshes]


def _scene_things(folder: Path) -> list[SceneObject]:
    for place, _, names in os.walk(folder):  # does not follow links; `Scene.load` refuses those that lead out
        for name in names:
            if name.endswith(".obj") and (Path(place) / name).lstat().st_size > MOST_BYTES:
                raise InputError(
                    f"{Path(place) / name} is larger than {MOST_BYTES // 10**6} MB.",
                    remedy="Reconstruct the scan again with fewer faces.",
                    code="too_large",
                )
    items = []
    for item in Scene.load(folder).objects:
        _check(item, folder)
        visual = item.visual if item.visual.texture is not None else baked(item.visual)
        items.append(standing(replace(item, visual=visual, support="")))
    return items


def _check(item: SceneObject, folder: Path) -> None:
    """Refuse numbers that would only fail later, in the middle of a simulation."""
    turn = item.scene_from_object[:3, :3]
    numbers = (
        item.scene_from_object,
        item.inertia,
        item.center_of_mass,
        item.friction,
        item.restitution,
        item.mass_interval_kg,
    )
    reason = ""
    if not isinstance(item.name, str) or not all(np.isfinite(value).all() for value in numbers):
        reason = "has numbers that are not finite"
    elif not 0.0 < item.mass_kg < 1e4 or not item.volume_m3 > 0.0:
        reason = f"weighs {item.mass_kg} kg at {item.volume_m3} m³"
    elif np.abs(turn @ turn.T - np.eye(3)).max() > 1e-4 or np.linalg.det(turn) < 0.0:
        reason = "has a pose that is no turn and shift"
    elif not item.convex_parts or item.material not in materials():
        reason = "has no convex parts or no known material"
    elif len(item.visual.faces) > MOST_FACES:
        reason = f"has more than {MOST_FACES:,} faces"
    if reason:
        raise InputError(
            f"{folder / 'scene.json'}: the object {item.name!r} {reason}.",
            remedy="Reconstruct the scan again.",
            code="bad_scene",
        )


# --- making the resource ---------------------------------------------------------------------------------------------


def build(out: Path) -> None:
    """Write the bundled things to `out`, a zip whose bytes depend on the things alone; replaces an older one at once.

    Raises:
        OSError: `out` cannot be written.
    """
    things = [
        made_thing(kind, seed, f"{kind}_{number}") for kind in BUNDLED for number, seed in enumerate(SEEDS, start=1)
    ]
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        objects = tuple(sorted(things, key=lambda item: item.name))
        Scene(scene_from_capture=np.eye(4), objects=objects).save(folder)
        partial = out.with_name(f".partial_{out.name}")
        with zipfile.ZipFile(partial, "w") as archive:
            for file in sorted(path for path in folder.rglob("*") if path.is_file()):
                entry = zipfile.ZipInfo(file.relative_to(folder).as_posix(), (2026, 1, 1, 12, 0, 0))
                archive.writestr(entry, file.read_bytes(), zipfile.ZIP_DEFLATED, 9)
        partial.replace(out)


def main() -> None:
    """Make the bundled relatives again; an older file is replaced when the new one is complete."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("out", type=Path, metavar="ZIP", help="file to write")
    build(parser.parse_args().out)


if __name__ == "__main__":
    main()
