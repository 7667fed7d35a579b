"""Jaws as PyBullet can feel them.

PyBullet takes every collision mesh for its convex hull. A jaw that is one piece with the hand would lose the room
inside the hand by that; so it is cut into slices across its length, each of which may be taken for its hull. The other
meshes are replaced by their hulls, which PyBullet would make of them every time that the robot is loaded.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from reconstruction.errors import InputError

SLICES = 12
GRID_M = 5e-4
"""Hulls are rounded to this: they have a tenth of the corners then, and load and collide so much faster."""
HOLLOW = 1.25
"""Meshes whose convex hull has more than so many times their own volume are cut."""


def with_sliced(urdf: Path, links: Sequence[str]) -> Path:
    """A copy of a URDF, made once and kept, in which the collision meshes of some links are sliced.

    Args:
        urdf: the original; it stays as it is, and is returned where there is nothing to slice.
        links: by name.

    Raises:
        InputError: a mesh is missing.
    """
    root = ET.fromstring(urdf.read_bytes())  # noqa: S314 - read by `kinematics.read_joints` before
    cut = [
        link for link in root.findall("link") if link.get("name") in links and link.find("collision//mesh") is not None
    ]
    if not cut:
        return urdf
    key = hashlib.blake2b(
        urdf.read_bytes() + str((urdf.resolve(), sorted(links), SLICES, GRID_M)).encode(), digest_size=8
    )
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pocketworld" / "robots"
    target = cache / key.hexdigest() / urdf.name
    if target.is_file():
        return target
    cache.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=cache))
    try:
        for mesh in root.iter("mesh"):
            mesh.set("filename", str(mesh_path(urdf, mesh.attrib["filename"])))
        for number, link in enumerate(root.findall("link")):
            for collision in link.findall("collision"):
                slices = SLICES if link in cut else 1
                _slice(link, collision, slices, folder, target.parent, f"{number}")
        ET.ElementTree(root).write(folder / urdf.name, encoding="utf-8", xml_declaration=True)
        try:
            folder.rename(target.parent)
        except OSError:  # another process was faster
            if not target.is_file():
                raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return target


def mesh_path(urdf: Path, name: str) -> Path:
    """The mesh file that a URDF names.

    Raises:
        InputError: it is not there.
    """
    path = urdf.resolve().parent / name.removeprefix("package://").removeprefix("file://")
    if not path.is_file():
        raise InputError(
            f"{urdf} names a mesh that is not there: {path}.",
            remedy="Put the robot's meshes where its URDF says.",
            code="bad_urdf",
        )
    return path


def _slice(link: ET.Element, collision: ET.Element, slices: int, folder: Path, lasting: Path, name: str) -> None:
    """Put the hulls of a collision mesh's slices in its place; files go to `folder`, later called `lasting`."""
    import trimesh

    mesh = collision.find("geometry/mesh")
    if mesh is None:
        return
    solid = trimesh.load(mesh.attrib["filename"], force="mesh")
    if solid.convex_hull.volume < HOLLOW * abs(float(solid.volume)):
        slices = 1
    link.remove(collision)
    axis = int(np.argmax(np.ptp(solid.bounds, axis=0)))
    scale = np.array((mesh.get("scale") or "1 1 1").split(), dtype=np.float64)
    scale = 1.0 / np.abs(scale)  # from metres to the file's units
    start, end = solid.vertices[solid.edges_unique].transpose(1, 0, 2)
    edges = np.linspace(float(solid.bounds[0, axis]), float(solid.bounds[1, axis]), slices + 1)
    for number, (low, high) in enumerate(zip(edges[:-1], edges[1:], strict=True)):
        points = [solid.vertices[(solid.vertices[:, axis] >= low) & (solid.vertices[:, axis] <= high)]]
        for level in (low, high):
            crossing = (start[:, axis] - level) * (end[:, axis] - level) < 0.0
            a, b = start[crossing], end[crossing]
            points.append(a + (b - a) * ((level - a[:, axis]) / (b[:, axis] - a[:, axis]))[:, None])
        corners = np.vstack(points)
        if len(corners) < 4 or np.ptp(corners, axis=0).min() < 1e-5:
            continue
        file = f"{name}-{Path(mesh.attrib['filename']).stem}-{number}.obj"
        corners = np.unique(np.round(corners / scale / GRID_M), axis=0) * (scale * GRID_M)
        trimesh.convex.convex_hull(corners).export(folder / file)
        part = ET.fromstring(ET.tostring(collision))  # noqa: S314 - just written
        shape = part.find("geometry/mesh")
        assert shape is not None
        shape.set("filename", str(lasting / file))
        link.append(part)
