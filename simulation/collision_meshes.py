"""What of a robot can be touched: the convex parts of every link, in the URDF's link frame."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from reconstruction.errors import InputError
from reconstruction.mesh import Mesh, hull_mesh
from simulation.jaws import mesh_path
from simulation.kinematics import origin_of

FloatArray = npt.NDArray[np.float64]


@cache
def collision_hulls(urdf: Path) -> Mapping[str, tuple[Mesh, ...]]:
    """Hulls of all collision shapes by link name; of a mesh file, one for each of its groups.

    Args:
        urdf: the robot's description.

    Raises:
        InputError: a mesh that it names is missing or damaged.
    """
    try:
        root = ET.fromstring(urdf.read_bytes())  # noqa: S314 - expat guards against expanding entities
        return {
            str(link.get("name")): tuple(
                Mesh(hull.vertices, hull.faces).moved(origin_of(collision))
                for collision in link.findall("collision")
                for points in _corners(urdf, collision)
                if (hull := hull_mesh(points)) is not None
            )
            for link in root.findall("link")
        }
    except (OSError, ET.ParseError, ValueError, KeyError, AttributeError, TypeError, IndexError) as error:
        raise InputError(
            f"The collision shapes of {urdf} cannot be read: {error}.",
            remedy="Check its meshes and numbers.",
            code="bad_urdf",
        ) from None


def _corners(urdf: Path, collision: ET.Element) -> list[FloatArray]:
    """Points ``(N, 3)`` that each convex part of a collision shape is the hull of, in the shape's own frame."""
    import trimesh

    geometry = collision.find("geometry")
    shape = None if geometry is None else next(iter(geometry), None)
    if shape is None:
        return []
    if shape.tag == "box":
        return [np.asarray(trimesh.creation.box(_numbers(shape.attrib["size"])).vertices)]
    if shape.tag == "sphere":
        return [np.asarray(trimesh.creation.icosphere(2, float(shape.attrib["radius"])).vertices)]
    if shape.tag in ("cylinder", "capsule"):
        radius, length = float(shape.attrib["radius"]), float(shape.attrib["length"])
        make = trimesh.creation.cylinder if shape.tag == "cylinder" else trimesh.creation.capsule
        return [np.asarray(make(radius=radius, height=length).vertices)]
    if shape.tag != "mesh":
        return []
    scale = _numbers(shape.get("scale") or "1 1 1")
    loaded = trimesh.load_scene(mesh_path(urdf, shape.attrib["filename"]))
    return [np.asarray(part.vertices) * scale for part in loaded.dump() if len(part.vertices) > 3]


def _numbers(text: str) -> FloatArray:
    return np.array(text.split(), dtype=np.float64)
