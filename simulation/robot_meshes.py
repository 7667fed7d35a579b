"""What a robot looks like: the visual mesh of every link, in the URDF's link frame."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from reconstruction.atlas import baked
from reconstruction.errors import InputError
from reconstruction.mesh import Mesh
from reconstruction.mesh_files import joined, read_mesh
from simulation.drawable import Drawable
from simulation.world import World, pose_from_quaternion, quiet_stdout

FloatArray = npt.NDArray[np.float64]
_WELD_M = 1e-6


@cache
def drawn_links(urdf: Path) -> Mapping[str, Drawable]:
    """`link_meshes` ready for drawing; made once in a process, which takes some two seconds for a Panda."""
    return {name: Drawable(mesh) for name, mesh in link_meshes(urdf).items()}


def link_meshes(urdf: Path) -> dict[str, Mesh]:
    """The visual meshes of a robot by link name, the base's first; links without any are left out.

    Colours are those of the mesh file (its texture, else its materials) times the colour in the URDF.

    Args:
        urdf: the robot's description; PyBullet says what it means.

    Returns:
        Textured meshes in the links' own frames (not those of their masses), metres.

    Raises:
        InputError: the URDF or a mesh that it names cannot be read.
    """
    with World() as world:
        try:
            with quiet_stdout():
                body = int(world.call("loadURDF", str(urdf), useFixedBase=True))
        except world.pybullet.error:
            raise InputError(
                f"PyBullet cannot load {urdf}.",
                remedy="Check that the meshes it names lie where it says.",
                code="bad_urdf",
            ) from None
        names = {-1: world.call("getBodyInfo", body)[0].decode()}
        for joint in range(world.call("getNumJoints", body)):
            names[joint] = world.call("getJointInfo", body, joint)[12].decode()
        parts: dict[str, list[Mesh]] = {}
        for row in world.call("getVisualShapeData", body):
            link, kind, sizes, file, position, quat_xyzw, rgba = row[1:8]
            shape = _shape(world.pybullet, kind, np.array(sizes), file.decode())
            if shape is not None and rgba[3] > 0.0:
                placed = _tinted(shape, np.array(rgba[:3])).moved(pose_from_quaternion(position, quat_xyzw))
                parts.setdefault(names[link], []).append(placed)
    return {name: _welded(joined(found)) for name, found in parts.items()}


def _shape(pybullet: Any, kind: int, sizes: FloatArray, file: str) -> Mesh | None:
    """One visual shape in its own frame; None for what has no end (a plane)."""
    import trimesh

    if kind == pybullet.GEOM_MESH:
        mesh = read_mesh(Path(file), plain=255)
        return Mesh(mesh.vertices * sizes, mesh.faces, mesh.corner_uv, mesh.texture)
    makers = {
        pybullet.GEOM_BOX: lambda: trimesh.creation.box(sizes),
        pybullet.GEOM_SPHERE: lambda: trimesh.creation.icosphere(3, sizes[0]),
        pybullet.GEOM_CYLINDER: lambda: trimesh.creation.cylinder(sizes[1], sizes[0], sections=48),
        pybullet.GEOM_CAPSULE: lambda: trimesh.creation.capsule(sizes[0], sizes[1]),
    }
    if kind not in makers:
        return None
    solid = makers[kind]()
    white = np.full((len(solid.vertices), 3), 255, dtype=np.uint8)
    return baked(Mesh(np.array(solid.vertices), np.array(solid.faces, dtype=np.int64), colors=white))


def _tinted(mesh: Mesh, rgb: FloatArray) -> Mesh:
    if mesh.texture is None or (rgb == 1.0).all():
        return mesh
    texture = np.rint(mesh.texture * np.clip(rgb, 0.0, 1.0)).astype(np.uint8)
    return Mesh(mesh.vertices, mesh.faces, mesh.corner_uv, texture)


def _welded(mesh: Mesh) -> Mesh:
    """Corners in one place share a vertex: those of STL files share none, and no normals would be smooth."""
    keys = np.rint(mesh.vertices / _WELD_M)
    _, first, inverse = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    return Mesh(mesh.vertices[first], inverse.reshape(-1)[mesh.faces], mesh.corner_uv, mesh.texture)
