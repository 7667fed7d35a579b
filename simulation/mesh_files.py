"""Mesh files of strangers as closed, textured meshes in metres, or a sentence on why not."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from reconstruction.atlas import baked, stack_textures
from reconstruction.convex import solid_of
from reconstruction.errors import InputError
from reconstruction.mesh import Mesh
from simulation.repaint import repainted, simplified

FloatArray = npt.NDArray[np.float64]
FaceArray = npt.NDArray[np.int64]

SUFFIXES = (".obj", ".glb", ".ply", ".stl", ".off")
MOST_BYTES = 50_000_000
MOST_FACES = 1_000_000
MOST_PIXELS = 64_000_000
SIZES_M = (0.005, 2.0)
"""Smallest and largest diagonal of a thing's bounding box."""
MILLIMETRES_FROM = 20.0
MOST_FILLED = 0.1
"""Holes are closed up to this share of the surface; more is a sheet, of which nobody knows what is inside."""
FACES, PIXELS = 4000, 512
GREY = 170


def read_thing(path: Path) -> Mesh:
    """The thing in a mesh file: closed, textured, metres, z up, at most about `FACES` triangles.

    Colours come from the texture, else the vertex colours, else grey.

    Raises:
        InputError: damaged, too large, a link out of its folder, no closed surface, or of no believable size.
    """
    source = _in_metres(read_mesh(path), path)
    closed = _closed(source, path)
    return repainted(simplified(closed, FACES), source, PIXELS)


def _refusal(path: Path, reason: str, remedy: str, code: str) -> InputError:
    return InputError(f"{path} {reason}.", remedy=remedy, code=code)


class _Beside:
    """Hands trimesh the files that lie in the mesh's own folder, and no others."""

    def __init__(self, folder: Path) -> None:
        self._folder = Path(os.path.realpath(folder))

    def get(self, name: str) -> bytes:
        path = Path(os.path.realpath(self._folder / name))
        if not path.is_relative_to(self._folder) or not path.is_file() or path.stat().st_size > MOST_BYTES:
            raise FileNotFoundError(name)
        return path.read_bytes()

    __getitem__ = get

    def namespaced(self, namespace: str) -> _Beside:
        return _Beside(self._folder / namespace) if self._inside(namespace) else self

    def _inside(self, namespace: str) -> bool:
        return Path(os.path.realpath(self._folder / namespace)).is_relative_to(self._folder)


def read_mesh(path: Path, plain: int = GREY) -> Mesh:
    """All surfaces of a file (`SUFFIXES`) as one textured mesh, in its own units, z up.

    Args:
        path: of the file.
        plain: grey, 0 … 255, of what the file gives no colour.

    Raises:
        InputError: damaged, too large, or a link out of its folder.
    """
    import trimesh

    remedy = "Export the mesh again."
    try:
        if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(path.parent)):
            raise _refusal(path, "is a link out of its folder", "Put the file itself there.", "unsafe_path")
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise _refusal(
                path, f"is larger than {MOST_BYTES // 10**6} MB", "Simplify the mesh, or take it away.", "too_large"
            )
        if size == 0:
            raise _refusal(path, "is empty", remedy, "bad_mesh")
        kind = path.suffix.lower()[1:]
        scene: Any = trimesh.load_scene(io.BytesIO(path.read_bytes()), file_type=kind, resolver=_Beside(path.parent))
        count = sum(len(getattr(part, "faces", ())) for part in scene.geometry.values())
        if count > MOST_FACES:
            raise _refusal(path, f"has more than {MOST_FACES:,} faces", "Simplify the mesh.", "too_large")
        placed = [part for part in scene.dump() if len(getattr(part, "faces", ()))]
        if sum(len(part.faces) for part in placed) > MOST_FACES:
            raise _refusal(path, f"has more than {MOST_FACES:,} faces", "Simplify the mesh.", "too_large")
        mesh = joined([_painted(part, plain) for part in placed]) if placed else None
    except InputError:
        raise
    except Exception as error:
        # trimesh's readers fail on damaged files in any way there is.
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise _refusal(path, f"cannot be read as a mesh: {reason.rstrip('.')}", remedy, "bad_mesh") from error
    if mesh is None:
        raise _refusal(path, "has no faces", remedy, "bad_mesh")
    if not np.isfinite(mesh.vertices).all():
        raise _refusal(path, "has vertices that are not finite numbers", remedy, "bad_mesh")
    if kind == "glb":
        mesh = mesh.moved(np.array([[1.0, 0, 0, 0], [0, 0, -1.0, 0], [0, 1.0, 0, 0], [0, 0, 0, 1.0]]))
    return mesh


def _painted(part: Any, plain: int) -> Mesh:
    """One `trimesh.Trimesh` with a texture."""
    vertices, faces = np.array(part.vertices, dtype=np.float64), np.array(part.faces, dtype=np.int64)
    if faces.min() < 0 or faces.max() >= len(vertices):
        raise ValueError("a face names a vertex that is not there")
    visual: Any = part.visual
    if visual.kind == "texture":
        material = visual.material
        image = getattr(material, "baseColorTexture", None) or getattr(material, "image", None)
        if image is not None and visual.uv is not None and len(visual.uv) == len(vertices):
            if image.size[0] * image.size[1] > MOST_PIXELS:
                raise ValueError("its texture is too large")
            picture = np.array(image.convert("RGB"), dtype=np.uint8)
            uv = np.nan_to_num(np.asarray(visual.uv, dtype=np.float32))[faces]
            return Mesh(vertices, faces, uv, picture)
        color = np.asarray(material.main_color, dtype=np.uint8)[:3]
        return baked(Mesh(vertices, faces, colors=np.tile(color, (len(vertices), 1))))
    colors = np.full((len(vertices), 3), plain, dtype=np.uint8)
    if visual.defined:
        colors = np.asarray(visual.vertex_colors, dtype=np.uint8)[:, :3]
    return baked(Mesh(vertices, faces, colors=colors))


def joined(parts: list[Mesh]) -> Mesh:
    """Textured meshes as one."""
    if len(parts) == 1:
        return parts[0]
    textures = [part.texture for part in parts if part.texture is not None]
    distinct = {(texture.shape, texture.tobytes()): texture for texture in textures}  # parts often share one
    places, atlas = stack_textures(list(distinct.values()))
    box_of = dict(zip(distinct, places, strict=True))
    boxes = [box_of[texture.shape, texture.tobytes()] for texture in textures]
    starts = np.cumsum([0, *(len(part.vertices) for part in parts)])
    uv = [
        (origin + np.clip(part.corner_uv, 0.0, 1.0) * extent).astype(np.float32)
        for part, (origin, extent) in zip(parts, boxes, strict=True)
        if part.corner_uv is not None
    ]
    return Mesh(
        np.concatenate([part.vertices for part in parts]),
        np.concatenate([part.faces + start for part, start in zip(parts, starts, strict=False)]),
        np.concatenate(uv),
        atlas,
    )


def _in_metres(mesh: Mesh, path: Path) -> Mesh:
    used = mesh.vertices[mesh.faces].reshape(-1, 3)
    diagonal = float(np.linalg.norm(np.ptp(used, axis=0)))
    factor = 0.001 if diagonal > MILLIMETRES_FROM else 1.0
    if not SIZES_M[0] <= diagonal * factor <= SIZES_M[1]:
        raise _refusal(
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
        vertices, faces, filled = _filled(vertices, np.array(tri.faces, dtype=np.int64))
        tri = trimesh.Trimesh(vertices, faces, process=False)
        with np.errstate(all="ignore"):  # a sheet has no volume to divide by
            trimesh.repair.fix_inversion(tri, multibody=True)
        if filled <= MOST_FILLED * float(tri.area):
            solid = solid_of(vertices, np.array(tri.faces, dtype=np.int64))
    if solid is None:
        raise _refusal(
            path, "is no closed surface", "Close its holes, in Blender with Mesh > Clean Up > Fill Holes.", "not_closed"
        )
    pieces = solid.decompose()
    if len(pieces) > 1 and all(piece.volume() > 0.0 for piece in pieces):
        solid = manifold3d.Manifold.batch_boolean(pieces, manifold3d.OpType.Add)
    stored = solid.to_mesh64()
    return Mesh(np.array(stored.vert_properties[:, :3], dtype=np.float64), np.array(stored.tri_verts, dtype=np.int64))


def _filled(vertices: FloatArray, faces: FaceArray) -> tuple[FloatArray, FaceArray, float]:
    """A fan over every hole's rim; vertices, faces, and the area (m²) that was filled."""
    edges = faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2).tolist()
    present = {(a, b) for a, b in edges}
    after: dict[int, list[int]] = {}  # along the rims, the hole on the left
    for a, b in edges:
        if (b, a) not in present:
            after.setdefault(b, []).append(a)
    added: list[FloatArray] = []
    fans: list[tuple[int, int, int]] = []
    for start in sorted(after):
        walk = [start]
        while after.get(walk[-1]):
            following = after[walk[-1]].pop()
            if following in walk:  # also where two rims touch in a vertex: each gets its own fan
                loop = walk[walk.index(following) :]
                del walk[walk.index(following) + 1 :]
                center = len(vertices) + len(added)
                added.append(vertices[loop].mean(axis=0))
                fans += [(a, b, center) for a, b in zip(loop, [*loop[1:], loop[0]], strict=True)]
            else:
                walk.append(following)
    if not fans:
        return vertices, faces, 0.0
    vertices = np.vstack([vertices, *added])
    fan = np.array(fans, dtype=np.int64)
    corners = vertices[fan]
    area = 0.5 * float(
        np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1).sum()
    )
    return vertices, np.vstack([faces, fan]), area
