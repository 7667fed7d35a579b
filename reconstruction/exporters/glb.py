"""Binary glTF 2.0 for viewers and game engines (Khronos Group, glTF 2.0 specification).

glTF is y-up: the root node ``scene`` turns our z-up scene, its children keep our coordinates. The file's default
scene shows what the phone saw; a second scene, ``collision``, holds the convex parts. Mass, inertia and friction are
in each object node's ``extras``.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from reconstruction.exporters.bodies import BACKGROUND, Body, bodies_of
from reconstruction.mesh import Mesh
from reconstruction.scene import Scene

Y_UP_FROM_Z_UP = [-0.7071067811865476, 0.0, 0.0, 0.7071067811865476]
"""Quaternion x, y, z, w: −90° about x takes z up to y up."""
FLOAT, UINT32, UINT8 = 5126, 5125, 5121
ARRAY_BUFFER, ELEMENT_BUFFER = 34962, 34963


@dataclass
class _File:
    """The JSON of a glTF and its binary chunk, growing."""

    document: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    data: bytearray = field(default_factory=bytearray)

    def add(self, kind: str, entry: dict[str, Any]) -> int:
        entries = self.document.setdefault(kind, [])
        entries.append(entry)
        return len(entries) - 1

    def view(self, content: bytes, target: int | None = None) -> int:
        self.data.extend(b"\0" * (-len(self.data) % 4))
        entry = {"buffer": 0, "byteOffset": len(self.data), "byteLength": len(content)}
        self.data.extend(content)
        return self.add("bufferViews", entry if target is None else {**entry, "target": target})

    def accessor(self, array: npt.NDArray[Any], component: int, kind: str, **more: Any) -> int:
        target = ELEMENT_BUFFER if kind == "SCALAR" else ARRAY_BUFFER
        view = self.view(np.ascontiguousarray(array).tobytes(), target)
        entry = {"bufferView": view, "componentType": component, "count": len(array), "type": kind, **more}
        return self.add("accessors", entry)


def export(scene: Scene, folder: Path) -> Path:
    """Write ``scene.glb``, all in one file; returns it."""
    supports, objects, background = bodies_of(scene)
    file = _File()
    seen: list[int] = []
    solid: list[int] = []
    if background is not None:
        seen.append(file.add("nodes", {"name": BACKGROUND, "mesh": _mesh(file, BACKGROUND, background)}))
    for body in supports:
        slab = file.add("nodes", {"name": body.name, "mesh": _mesh(file, body.name, body.visual)})
        (solid if background is not None else seen).append(slab)
    for body in objects:
        node = {"name": body.name, "matrix": _columns(body), "extras": _physics(body)}
        seen.append(file.add("nodes", {**node, "mesh": _mesh(file, body.name, body.visual)}))
        parts = [_part(file, body, number) for number in range(len(body.parts))]
        solid.append(file.add("nodes", {**node, "name": f"{body.name}_collision", "children": parts}))
    for name, children in (("scene", seen), ("collision", solid)):
        root: dict[str, Any] = {"name": name, "rotation": Y_UP_FROM_Z_UP}
        root |= {"children": children} if children else {}
        file.add("scenes", {"name": name, "nodes": [file.add("nodes", root)]})
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "scene.glb"
    path.write_bytes(_packed(file))
    return path


def _part(file: _File, body: Body, number: int) -> int:
    name = f"{body.name}_part_{number:03d}"
    return file.add("nodes", {"name": name, "mesh": _mesh(file, name, body.parts[number])})


def _columns(body: Body) -> list[float]:
    return [float(value) for value in (np.round(body.scene_from_body, 9) + 0.0).T.ravel()]


def _physics(body: Body) -> dict[str, Any]:
    item = body.source
    assert item is not None  # noqa: S101 - only objects have physics here
    return {
        "label": body.label,
        "mass_kg": item.mass_kg,
        "center_of_mass": item.center_of_mass.tolist(),
        "inertia": item.inertia.tolist(),
        "friction": item.friction,
        "restitution": item.restitution,
        "material": item.material,
    }


def _mesh(file: _File, name: str, mesh: Mesh) -> int:
    attributes: dict[str, int] = {}
    textured = mesh.texture is not None and mesh.corner_uv is not None
    vertices, faces, uv = _split(mesh) if textured else (mesh.vertices, mesh.faces, None)
    positions = vertices.astype(np.float32)
    low, high = positions.min(axis=0).tolist(), positions.max(axis=0).tolist()
    attributes["POSITION"] = file.accessor(positions, FLOAT, "VEC3", min=low, max=high)
    if uv is not None:
        attributes["TEXCOORD_0"] = file.accessor(np.column_stack([uv[:, 0], 1.0 - uv[:, 1]]), FLOAT, "VEC2")
    elif mesh.colors is not None:
        attributes["COLOR_0"] = file.accessor(_linear(mesh.colors), UINT8, "VEC4", normalized=True)
    primitive = {
        "attributes": attributes,
        "indices": file.accessor(faces.astype(np.uint32).ravel(), UINT32, "SCALAR"),
        "material": _material(file, name, mesh if textured else None),
    }
    return file.add("meshes", {"name": name, "primitives": [primitive]})


def _split(mesh: Mesh) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """A glTF has one texture coordinate a vertex: vertices on seams are doubled."""
    assert mesh.corner_uv is not None  # noqa: S101 - asked for only then
    corners = np.column_stack([mesh.faces.ravel(), mesh.corner_uv.reshape(-1, 2)])
    unique, inverse = np.unique(corners, axis=0, return_inverse=True)
    return mesh.vertices[unique[:, 0].astype(np.int64)], inverse.reshape(-1, 3), unique[:, 1:].astype(np.float32)


def _linear(colors: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Vertex colours are linear in glTF, ours are sRGB (IEC 61966-2-1)."""
    share = colors.astype(np.float64) / 255.0
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    return np.column_stack([np.round(linear * 255), np.full(len(colors), 255)]).astype(np.uint8)


def _material(file: _File, name: str, mesh: Mesh | None) -> int:
    surface: dict[str, Any] = {"metallicFactor": 0.0, "roughnessFactor": 0.8}
    if mesh is not None and mesh.texture is not None:
        image = file.add("images", {"name": name, "mimeType": "image/png", "bufferView": file.view(_png(mesh.texture))})
        surface["baseColorTexture"] = {"index": file.add("textures", {"source": image})}
    return file.add("materials", {"name": name, "pbrMetallicRoughness": surface})


def _png(texture: npt.NDArray[np.uint8]) -> bytes:
    import cv2

    ok, encoded = cv2.imencode(".png", np.ascontiguousarray(texture[..., ::-1]))
    if not ok:
        raise ValueError("texture cannot be encoded")
    return bytes(encoded.tobytes())


def _packed(file: _File) -> bytes:
    """GLB: a 12-byte header, a JSON chunk padded with spaces, a binary chunk padded with zeros."""
    file.data.extend(b"\0" * (-len(file.data) % 4))
    document: dict[str, Any] = {"asset": {"version": "2.0", "generator": "Pocketworld"}, "scene": 0, **file.document}
    if file.data:
        document["buffers"] = [{"byteLength": len(file.data)}]
    text = json.dumps(document, separators=(",", ":"), allow_nan=False).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text
    if file.data:
        chunks += struct.pack("<I4s", len(file.data), b"BIN\0") + bytes(file.data)
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks
