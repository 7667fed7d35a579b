"""Mesh files of strangers as closed, textured meshes in metres, or a sentence on why not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from reconstruction.convex import solid_of
from reconstruction.mesh import Mesh
from reconstruction.mesh_files import read_mesh, refusal, with_holes_filled
from simulation.repaint import repainted, simplified

SIZES_M = (0.005, 2.0)
"""Smallest and largest diagonal of a thing's bounding box."""
MILLIMETRES_FROM = 20.0
MOST_FILLED = 0.1
"""Holes are closed up to this share of the surface; more is a sheet, of which nobody knows what is inside."""
FACES, PIXELS = 4000, 512


def read_thing(path: Path) -> Mesh:
    """The thing in a mesh file: closed, textured, metres, z up, at most about `FACES` triangles.

    Colours come from the texture, else the vertex colours, else grey.

    Raises:
        InputError: damaged, too large, a link out of its folder, no closed surface, or of no believable size.
    """
    source = _in_metres(read_mesh(path), path)
    closed = _closed(source, path)
    return repainted(simplified(closed, FACES), source, PIXELS)


def _in_metres(mesh: Mesh, path: Path) -> Mesh:
    used = mesh.vertices[mesh.faces].reshape(-1, 3)
    diagonal = float(np.linalg.norm(np.ptp(used, axis=0)))
    factor = 0.001 if diagonal > MILLIMETRES_FROM else 1.0
    if not SIZES_M[0] <= diagonal * factor <= SIZES_M[1]:
        raise refusal(
            path,
            f"is {diagonal:.3g} units large, which is neither metres nor millimetres of a thing one can pick up",
            "Scale it to metres.",
            "not_metres",
        )
    return Mesh(mesh.vertices * factor, mesh.faces, mesh.corner_uv, mesh.texture, mesh.colors)


# --- closing ---------------------------------------------------------------------------------------------------------


def _closed(mesh: Mesh, path: Path) -> Mesh:
    """The solid that the surface bounds: vertices welded, sides made one, small holes filled, overlaps united."""
    import manifold3d
    import trimesh

    _, first, inverse = np.unique(np.round(mesh.vertices, 6), axis=0, return_index=True, return_inverse=True)
    vertices, faces = mesh.vertices[first], inverse.reshape(-1)[mesh.faces]
    faces = faces[(faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])]
    if len(faces):
        faces = faces[np.sort(np.unique(np.sort(faces, axis=1), axis=0, return_index=True)[1])]
    solid = solid_of(vertices, faces) if len(faces) else None
    if solid is None and len(faces):
        tri: Any = trimesh.Trimesh(vertices, faces, process=False)
        trimesh.repair.fix_winding(tri)
        vertices, faces, filled = with_holes_filled(vertices, np.array(tri.faces, dtype=np.int64))
        tri = trimesh.Trimesh(vertices, faces, process=False)
        with np.errstate(all="ignore"):  # a sheet has no volume to divide by
            trimesh.repair.fix_inversion(tri, multibody=True)
        if filled <= MOST_FILLED * float(tri.area):
            solid = solid_of(vertices, np.array(tri.faces, dtype=np.int64))
    if solid is None:
        raise refusal(
            path, "is no closed surface", "Close its holes, in Blender with Mesh > Clean Up > Fill Holes.", "not_closed"
        )
    pieces = solid.decompose()
    if len(pieces) > 1 and all(piece.volume() > 0.0 for piece in pieces):
        solid = manifold3d.Manifold.batch_boolean(pieces, manifold3d.OpType.Add)
    stored = solid.to_mesh64()
    return Mesh(np.array(stored.vert_properties[:, :3], dtype=np.float64), np.array(stored.tri_verts, dtype=np.int64))
