"""Triangle meshes as plain arrays, and the OBJ files they are stored in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from reconstruction.errors import InputError

FloatArray = npt.NDArray[np.float64]
FaceArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Mesh:
    """A triangle mesh.

    Attributes:
        vertices: ``(V, 3)`` float64 metres.
        faces: ``(F, 3)`` int64, counter-clockwise seen from outside.
        corner_uv: ``(F, 3, 2)`` texture coordinates of each face corner (v up, as in OBJ), or None.
        texture: ``(H, W, 3)`` uint8 RGB, or None. Goes with `corner_uv`.
        colors: ``(V, 3)`` uint8 RGB of the vertices, or None.
        seen: ``(V,)`` float32 in [0, 1]: 1 where the phone measured the surface, 0 where it was completed, or None.
    """

    vertices: FloatArray
    faces: FaceArray
    corner_uv: npt.NDArray[np.float32] | None = None
    texture: npt.NDArray[np.uint8] | None = None
    colors: npt.NDArray[np.uint8] | None = None
    seen: npt.NDArray[np.float32] | None = None

    def moved(self, target_from_mesh: FloatArray) -> Mesh:
        """The same mesh in another frame; `target_from_mesh` is a rigid ``(4, 4)``."""
        vertices = self.vertices @ target_from_mesh[:3, :3].T + target_from_mesh[:3, 3]
        return Mesh(vertices, self.faces, self.corner_uv, self.texture, self.colors, self.seen)


def write_obj(path: Path, mesh: Mesh) -> None:
    """Write `mesh` as OBJ; with texture also ``<stem>.mtl`` and ``<stem>.png`` beside it.

    Coordinates are rounded to 1 nm: the text is the same on every machine, and coarser rounding would make convex parts
    concave. Vertices are shared between faces
    (texture seams split only the ``vt`` records), so a watertight mesh stays watertight by its ``v`` indices.
    """
    import cv2

    lines: list[str] = []
    textured = mesh.texture is not None and mesh.corner_uv is not None
    if textured:
        lines += [f"mtllib {path.stem}.mtl", "usemtl surface"]
    if mesh.colors is not None and not textured:
        colors = mesh.colors.astype(np.float64) / 255.0
        lines += [
            f"v {x:.9f} {y:.9f} {z:.9f} {r:.4f} {g:.4f} {b:.4f}"
            for (x, y, z), (r, g, b) in zip(mesh.vertices.tolist(), colors.tolist(), strict=True)
        ]
    else:
        lines += [f"v {x:.9f} {y:.9f} {z:.9f}" for x, y, z in mesh.vertices.tolist()]
    faces = (mesh.faces + 1).tolist()
    if mesh.corner_uv is not None and mesh.texture is not None:
        corners, inverse = np.unique(mesh.corner_uv.reshape(-1, 2), axis=0, return_inverse=True)
        lines += [f"vt {u:.6f} {v:.6f}" for u, v in corners.tolist()]
        uv_faces = (inverse.reshape(-1, 3) + 1).tolist()
        lines += [f"f {a}/{ta} {b}/{tb} {c}/{tc}" for (a, b, c), (ta, tb, tc) in zip(faces, uv_faces, strict=True)]
        path.with_suffix(".mtl").write_text(
            f"newmtl surface\nKa 1 1 1\nKd 1 1 1\nKs 0 0 0\nd 1\nillum 1\nmap_Kd {path.stem}.png\n", encoding="utf-8"
        )
        ok, encoded = cv2.imencode(".png", np.ascontiguousarray(mesh.texture[..., ::-1]))
        if not ok:
            raise ValueError("texture cannot be encoded")
        path.with_suffix(".png").write_bytes(encoded.tobytes())
    else:
        lines += [f"f {a} {b} {c}" for a, b, c in faces]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_obj(path: Path) -> Mesh:
    """Read an OBJ as `write_obj` writes it (positions, optional vertex colours, ``vt``, one texture).

    Raises:
        InputError: the file is missing or not such an OBJ.
    """
    try:
        return _parsed(path)
    except (OSError, ValueError, IndexError) as error:
        raise InputError(
            f"{path} cannot be read as OBJ: {error}.", remedy="Reconstruct the scan again.", code="bad_mesh"
        ) from None


def _parsed(path: Path) -> Mesh:
    positions: list[list[float]] = []
    uvs: list[list[float]] = []
    faces: list[list[int]] = []
    uv_faces: list[list[int]] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        kind, _, rest = line.partition(" ")
        if kind == "v":
            positions.append([float(x) for x in rest.split()])
        elif kind == "vt":
            uvs.append([float(x) for x in rest.split()[:2]])
        elif kind == "f":
            corners = [corner.split("/") for corner in rest.split()]
            faces.append([int(corner[0]) - 1 for corner in corners])
            if len(corners[0]) > 1 and corners[0][1]:
                uv_faces.append([int(corner[1]) - 1 for corner in corners])
    table = np.array(positions, dtype=np.float64).reshape(len(positions), -1 if positions else 3)
    if not positions or not faces:
        raise ValueError("it has no vertices or no faces")
    if table.shape[1] < 3 or not np.isfinite(table).all():
        raise ValueError("its vertices are not three finite numbers each")
    face_array = _indices(faces, len(table))
    texture = corner_uv = colors = None
    if uv_faces:
        if len(uv_faces) != len(faces):
            raise ValueError("some faces have texture coordinates and some have none")
        corner_uv = np.array(uvs, dtype=np.float32).reshape(len(uvs), 2)[_indices(uv_faces, len(uvs))]
        texture = read_png(path.with_suffix(".png"))
        corner_uv = None if texture is None else corner_uv
    if table.shape[1] >= 6:
        colors = np.round(np.clip(table[:, 3:6], 0, 1) * 255).astype(np.uint8)
    return Mesh(table[:, :3], face_array, corner_uv, texture, colors)


def _indices(rows: list[list[int]], count: int) -> FaceArray:
    faces = np.array(rows, dtype=np.int64).reshape(len(rows), 3)
    if len(faces) and (faces.min() < 0 or faces.max() >= count):
        raise ValueError(f"a face names number {faces.max() + 1} of {count}")
    return faces


def read_png(path: Path) -> npt.NDArray[np.uint8] | None:
    """A picture as ``(H, W, 3)`` uint8 RGB; None where there is none or it cannot be read."""
    import cv2

    data = np.frombuffer(path.read_bytes(), np.uint8) if path.is_file() else np.zeros(0, np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
    return None if image is None else np.asarray(image[..., ::-1], dtype=np.uint8)


def to_trimesh(mesh: Mesh) -> Any:
    """The geometry alone as a `trimesh.Trimesh`, vertices and faces in the same order."""
    import trimesh

    return trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)


def hull_mesh(points: FloatArray) -> Mesh | None:
    """Closed convex hull of ``(N, 3)`` points, or None where they span no volume.

    Points are put on a grid of 1 µm first, so that nearly equal ones leave no slivers that look concave.
    """
    from scipy.spatial import ConvexHull, QhullError

    distinct = np.unique(np.round(points, 6), axis=0)
    try:
        hull = ConvexHull(distinct)
    except (QhullError, ValueError):
        return None
    faces = hull.simplices.astype(np.int64)
    a, b, c = (distinct[faces[:, corner]] for corner in range(3))
    inward = np.einsum("ij,ij->i", np.cross(b - a, c - a), hull.equations[:, :3]) < 0
    faces[inward] = faces[inward][:, ::-1]
    used, renumbered = np.unique(faces, return_inverse=True)
    return Mesh(distinct[used], renumbered.reshape(-1, 3).astype(np.int64))
