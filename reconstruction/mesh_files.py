"""Mesh files of strangers: their surfaces, textured, in the file's own units."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from reconstruction.atlas import baked, stack_textures
from reconstruction.errors import InputError
from reconstruction.mesh import Mesh

FloatArray = npt.NDArray[np.float64]
FaceArray = npt.NDArray[np.int64]

SUFFIXES = (".obj", ".glb", ".ply", ".stl", ".off")
MOST_BYTES = 50_000_000
MOST_FACES = 1_000_000
MOST_PIXELS = 64_000_000
GREY = 170


def refusal(path: Path, reason: str, remedy: str, code: str) -> InputError:
    """What is wrong with a mesh file."""
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
            raise refusal(path, "is a link out of its folder", "Put the file itself there.", "unsafe_path")
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise refusal(
                path, f"is larger than {MOST_BYTES // 10**6} MB", "Simplify the mesh, or take it away.", "too_large"
            )
        if size == 0:
            raise refusal(path, "is empty", remedy, "bad_mesh")
        kind = path.suffix.lower()[1:]
        scene: Any = trimesh.load_scene(io.BytesIO(path.read_bytes()), file_type=kind, resolver=_Beside(path.parent))
        count = sum(len(getattr(part, "faces", ())) for part in scene.geometry.values())
        if count > MOST_FACES:
            raise refusal(path, f"has more than {MOST_FACES:,} faces", "Simplify the mesh.", "too_large")
        placed = [part for part in scene.dump() if len(getattr(part, "faces", ()))]
        if sum(len(part.faces) for part in placed) > MOST_FACES:
            raise refusal(path, f"has more than {MOST_FACES:,} faces", "Simplify the mesh.", "too_large")
        mesh = joined([_painted(part, plain) for part in placed]) if placed else None
    except InputError:
        raise
    except Exception as error:
        # trimesh's readers fail on damaged files in any way there is.
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise refusal(path, f"cannot be read as a mesh: {reason.rstrip('.')}", remedy, "bad_mesh") from error
    if mesh is None:
        raise refusal(path, "has no faces", remedy, "bad_mesh")
    if not np.isfinite(mesh.vertices).all():
        raise refusal(path, "has vertices that are not finite numbers", remedy, "bad_mesh")
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


def with_holes_filled(vertices: FloatArray, faces: FaceArray) -> tuple[FloatArray, FaceArray, float]:
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
