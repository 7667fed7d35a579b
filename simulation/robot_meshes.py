"""What a robot in PyBullet looks like: the visual mesh of every link in its own frame, and where the links are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from reconstruction.atlas import baked
from reconstruction.mesh import Mesh
from simulation.mesh_files import joined, read_mesh
from simulation.world import pose_from_quaternion

FloatArray = npt.NDArray[np.float64]
_WELD_M = 1e-6


def link_meshes(body: int, client: int) -> dict[str, Mesh]:
    """The visual meshes of a body, by link name; links without any are left out.

    Colours are those of the mesh file (texture, else its materials), times the colour in the URDF.

    Args:
        body: number of the body in PyBullet; it was loaded from files that are still there.
        client: number of the physics client.

    Returns:
        Meshes in the frame that `link_poses` gives: the URDF's link frame, metres.

    Raises:
        InputError: a mesh file cannot be read.
    """
    import pybullet

    names = _link_names(body, client)
    parts: dict[str, list[Mesh]] = {}
    for row in pybullet.getVisualShapeData(body, physicsClientId=client):
        link, kind, sizes, file, position, quat_xyzw, rgba = row[1:8]
        shape = _shape(kind, np.array(sizes), file.decode())
        if shape is not None and rgba[3] > 0.0:
            placed = _tinted(shape, np.array(rgba[:3])).moved(pose_from_quaternion(position, quat_xyzw))
            parts.setdefault(names[link], []).append(placed)
    return {name: _welded(joined(found)) for name, found in parts.items()}


def link_poses(body: int, client: int) -> dict[str, FloatArray]:
    """`scene_from_link` ``(4, 4)`` of every link of a body, by name: of the URDF's link frames, not of the masses."""
    import pybullet

    names = _link_names(body, client)
    position, quat_xyzw = pybullet.getBasePositionAndOrientation(body, physicsClientId=client)
    inertial = pybullet.getDynamicsInfo(body, -1, physicsClientId=client)[3:5]
    base = pose_from_quaternion(position, quat_xyzw) @ np.linalg.inv(pose_from_quaternion(*inertial))
    poses = {names[-1]: base}
    links = [link for link in names if link >= 0]
    states = pybullet.getLinkStates(body, links, computeForwardKinematics=True, physicsClientId=client) if links else ()
    poses.update({names[link]: pose_from_quaternion(*state[4:6]) for link, state in zip(links, states, strict=True)})
    return poses


def _link_names(body: int, client: int) -> dict[int, str]:
    """Names by number; the base is -1."""
    import pybullet

    names = {-1: pybullet.getBodyInfo(body, physicsClientId=client)[0].decode()}
    for joint in range(pybullet.getNumJoints(body, physicsClientId=client)):
        names[joint] = pybullet.getJointInfo(body, joint, physicsClientId=client)[12].decode()
    return names


def _shape(kind: int, sizes: FloatArray, file: str) -> Mesh | None:
    """One visual shape in its own frame; None for what has no end (a plane)."""
    import pybullet
    import trimesh

    if kind == pybullet.GEOM_MESH:
        mesh = read_mesh(Path(file), plain=255)
        return Mesh(mesh.vertices * sizes, mesh.faces, mesh.corner_uv, mesh.texture)
    makers: dict[int, Any] = {
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
    """Corners in one place share a vertex: STL files share none, and no normals would be smooth."""
    keys = np.rint(mesh.vertices / _WELD_M)
    _, first, inverse = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    return Mesh(mesh.vertices[first], inverse.reshape(-1)[mesh.faces], mesh.corner_uv, mesh.texture)
