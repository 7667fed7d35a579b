"""The scene: supports, background and every object that can be picked up. Plain data, and its folder on disk.

World frame of a scene: metres, z up, gravity aligned, the main support surface at z = 0.

On disk (a contract that other tools read; JSON Schema in ``resources/scene.schema.json``)::

    scene/
      scene.json                 format "pocketworld.scene"; everything below is named in it, relative to it
      background.obj/.mtl/.png   what stays where it is (scene frame)
      supports/<name>.urdf/.obj  each support as a fixed slab that physics can stand things on (scene frame)
      objects/<name>/
        visual.obj/.mtl/.png     watertight, textured, in the object's frame
        seen.ply                 the same surface, green where the phone measured it, orange where it was completed
        part_000.obj …           convex parts, in the object's frame
        object.urdf

The object frame has its origin at the centre of mass and, as reconstructed, the axes of the scene.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from reconstruction.disk import write_whole
from reconstruction.errors import InputError
from reconstruction.mesh import Mesh, hull_mesh, read_obj, write_obj

FloatArray = npt.NDArray[np.float64]
FORMAT = "pocketworld.scene"
VERSION = 1

HULL_MARGIN_M = 0.001
"""PyBullet rests convex meshes this far outside their faces, on every side (URDF importer's default margin)."""
SUPPORT_FRICTION = 0.8
ROLLING_FRICTION_M = 0.001
SPINNING_FRICTION_M = 0.001
"""Torsional friction of the contact patch, in metres: a real can or fruit comes to rest, a bare Coulomb one never does.
As MuJoCo's 2nd and 3rd friction numbers; 1 mm is what fruit shows on wood."""
LEARNT = "learnt"
"""Key of ``scene.json``: what recorded runs have taught (`write_learnt`)."""
EDITED = "edited"
"""Key of ``scene.json``: what was changed by hand since the scene was made, a sentence an edit, in order."""


@dataclass(frozen=True)
class Support:
    """A horizontal surface that things stand on.

    Attributes:
        name: ``"table"``, ``"shelf_1"``, ``"floor"`` …
        plane: ``(4,)`` a, b, c, d in the scene frame with ax + by + cz + d = 0 and unit normal up.
        polygon: ``(N, 3)`` outline of what was seen of it, counter-clockwise from above, scene frame.
    """

    name: str
    plane: FloatArray
    polygon: FloatArray


@dataclass(frozen=True)
class SceneObject:
    """One thing that can be picked up.

    Attributes:
        scene_from_object: ``(4, 4)`` rigid.
        visual: watertight, textured mesh in the object's frame.
        convex_parts: closed convex meshes in the object's frame; their union stands for the object in contacts.
        mass_kg: estimate; `mass_interval_kg` is its 80 % interval.
        center_of_mass: ``(3,)`` in the object's frame.
        inertia: ``(3, 3)`` kg m² about the centre of mass, axes of the object's frame.
        friction: Coulomb coefficient against a table of wood; restitution: 0 … 1.
        material: key of ``resources/materials.json``.
        volume_m3: of the solid `visual`, cavities of open containers not counted.
        seen_fraction: share of the surface area that the phone measured.
        support: name of the support it stands on.
    """

    name: str
    scene_from_object: FloatArray
    visual: Mesh
    convex_parts: tuple[Mesh, ...]
    mass_kg: float
    center_of_mass: FloatArray
    inertia: FloatArray
    friction: float
    restitution: float
    material: str
    volume_m3: float
    seen_fraction: float
    mass_interval_kg: tuple[float, float] = (0.0, 0.0)
    support: str = ""


@dataclass(frozen=True)
class Scene:
    """What a scan becomes.

    Attributes:
        scene_from_capture: ``(4, 4)``: from the phone app's own world to the scene.
        supports: the first is the main one, at z = 0. Empty where the scan has none.
        background: everything that is no object, scene frame, or None.
        objects: ordered by name.
        metric: False where the scale is not metres for certain.
        warnings: plain sentences with advice.
    """

    scene_from_capture: FloatArray
    supports: tuple[Support, ...] = ()
    background: Mesh | None = None
    objects: tuple[SceneObject, ...] = ()
    metric: bool = True
    warnings: tuple[str, ...] = ()
    robot_mount: FloatArray | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Write the scene into `folder` (made if missing; the caller moves it into place when all is written)."""
        folder.mkdir(parents=True, exist_ok=True)
        document: dict[str, Any] = {
            "format": FORMAT,
            "version": VERSION,
            "metric": self.metric,
            "scene_from_capture": _listed(self.scene_from_capture),
            "robot_mount": None if self.robot_mount is None else _listed(self.robot_mount),
            "supports": [save_support(support, folder) for support in self.supports],
            "background": None,
            "objects": [_save_object(item, folder) for item in self.objects],
            "warnings": list(self.warnings),
        }
        if self.background is not None and len(self.background.faces):
            write_obj(folder / "background.obj", self.background)
            document["background"] = {"visual": "background.obj"}
        document.update(self.extra)
        text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)
        (folder / "scene.json").write_text(text + "\n", encoding="utf-8")

    @staticmethod
    def load(folder: Path) -> Scene:
        """Read a scene folder (or its ``scene.json``).

        Raises:
            InputError: no scene there, another format or version, or a file it names is missing.
        """
        path = folder if folder.suffix == ".json" else folder / "scene.json"
        folder = path.parent
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(document, dict):
                raise ValueError("not a JSON object")
            if document.get("format") != FORMAT or document.get("version") != VERSION:
                raise ValueError(f"format {document.get('format')!r} version {document.get('version')!r}")
            background = document["background"]
            mount = document.get("robot_mount")
            known = {"format", "version", "metric", "scene_from_capture", "robot_mount", "supports", "background"}
            known |= {"objects", "warnings"}
            return Scene(
                scene_from_capture=np.array(document["scene_from_capture"], dtype=np.float64).reshape(4, 4),
                supports=tuple(
                    Support(entry["name"], np.array(entry["plane"]), np.array(entry["polygon"]))
                    for entry in document["supports"]
                ),
                background=None if background is None else read_obj(inside(folder, background["visual"])),
                objects=tuple(_load_object(entry, folder) for entry in document["objects"]),
                metric=bool(document["metric"]),
                warnings=tuple(document.get("warnings", ())),
                robot_mount=None if mount is None else np.array(mount, dtype=np.float64),
                extra={key: value for key, value in document.items() if key not in known},
            )
        except (
            OSError,
            ValueError,
            KeyError,
            IndexError,
            TypeError,
            AttributeError,
            RecursionError,
            OverflowError,
        ) as error:
            raise InputError(
                f"{path} is not a readable Pocketworld scene: {error}.",
                remedy="Name a project folder made by `pocketworld reconstruct`.",
                code="bad_scene",
            ) from None


def write_mount(folder: Path, mount: FloatArray | None, by: str | None) -> None:
    """Change where the robot stands in a finished scene folder: all else in its ``scene.json`` stays as it is.

    Args:
        folder: of the scene.
        mount: ``(4, 4)`` `scene_from_robot`, or None: wherever suits the scene.
        by: what said so: ``"hand"`` or ``"tag"``; None with no mount.

    Raises:
        InputError: the scene is damaged.
        OutputError: it cannot be written.
    """
    path = folder / "scene.json"
    document = _document(path)
    document["robot_mount"] = None if mount is None else _listed(mount)
    document.pop("mounted_by", None)
    if by is not None:
        document["mounted_by"] = by
    write_whole(path, json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_learnt(folder: Path, scene: Scene, learnt: dict[str, Any] | None) -> None:
    """Change masses and frictions in a finished scene folder, and say where they come from; all else stays as it is.

    Args:
        folder: of the scene.
        scene: as it is now to be: of its things, ``mass_kg``, its interval, ``inertia`` and ``friction`` are taken.
        learnt: what stands under `LEARNT` (docs/on-disk.md); None: nothing is learnt.

    Raises:
        InputError: the scene is damaged, or has other things.
        OutputError: it cannot be written.
    """
    path = folder / "scene.json"
    document = _document(path)
    items = {item.name: item for item in scene.objects}
    for entry in document["objects"]:
        item, before = items[entry["name"]], dict(entry)
        entry["mass_kg"] = float(_listed(item.mass_kg))
        entry["mass_interval_kg"] = _listed(item.mass_interval_kg)
        entry["inertia"] = _listed(item.inertia, 12)
        entry["friction"] = float(_listed(item.friction))
        if entry != before:
            parts = [Path(part).name for part in entry["collision"]]
            write_whole(inside(folder, entry["urdf"]), _object_urdf(item, parts))
    document.pop(LEARNT, None)
    if learnt is not None:
        document[LEARNT] = learnt
    write_whole(path, json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def _document(path: Path) -> dict[str, Any]:
    """A finished scene's ``scene.json`` as it stands there.

    Raises:
        InputError: it is damaged, or of another version.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(document, dict) or document.get("format") != FORMAT or document.get("version") != VERSION:
            raise ValueError("it is none of this version")
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"{path} is not a readable Pocketworld scene: {error}.",
            remedy="Reconstruct the scan again.",
            code="bad_scene",
        ) from None
    return document


def inside(folder: Path, relative: str) -> Path:
    """A file that ``scene.json`` in `folder` names.

    Raises:
        InputError: it is missing, or outside of the folder: a scene from somebody else shall read nothing there.
    """
    path = Path(os.path.realpath(folder / relative))
    if not path.is_relative_to(os.path.realpath(folder)):
        raise InputError(
            f"{folder / 'scene.json'} names {relative!r}, which is outside its folder.",
            remedy="Do not use scenes from people you do not trust.",
            code="unsafe_path",
        )
    if not path.is_file():
        raise InputError(f"{path} is missing.", remedy="Reconstruct the scan again.", code="bad_scene")
    return path


def _listed(array: npt.ArrayLike, digits: int = 9) -> Any:
    # + 0.0 turns -0.0 into 0.0: the same number must be the same text.
    return (np.round(np.asarray(array, dtype=np.float64), digits) + 0.0).tolist()


def save_support(support: Support, folder: Path) -> dict[str, Any]:
    """Write one support's slab and URDF into the scene folder `folder`; returns its entry of scene.json."""
    relative = f"supports/{support.name}"
    (folder / "supports").mkdir(exist_ok=True)
    slab = support_slab(support, HULL_MARGIN_M)
    write_obj(folder / f"{relative}.obj", slab)
    mesh = f"{support.name}.obj"
    text = urdf_text(support.name, mesh, [mesh], 0.0, np.zeros(3), np.zeros((3, 3)), SUPPORT_FRICTION)
    (folder / f"{relative}.urdf").write_text(text, encoding="utf-8")
    return {
        "name": support.name,
        "plane": _listed(support.plane),
        "polygon": _listed(support.polygon, 6),
        "height_m": float(_listed(support.polygon[:, 2].mean(), 6)),
        "urdf": f"{relative}.urdf",
    }


def support_slab(support: Support, below_m: float = 0.0, thickness_m: float = 0.02) -> Mesh:
    """The support as a closed convex slab: the convex hull of its outline, pushed down.

    Its top lies `below_m` below the plane: by `HULL_MARGIN_M` in the scene's own URDFs, so that in PyBullet things rest
    on the plane itself, exactly as they do on a plain floor at z = 0.
    """
    import trimesh

    a, b, c, d = support.plane
    top = support.polygon.copy()
    top[:, 2] = -(a * top[:, 0] + b * top[:, 1] + d) / c - below_m
    hull = trimesh.convex.convex_hull(np.vstack([top, top - np.array([0.0, 0.0, thickness_m])]))
    return Mesh(np.array(hull.vertices, dtype=np.float64), np.array(hull.faces, dtype=np.int64))


def _save_object(item: SceneObject, folder: Path) -> dict[str, Any]:
    relative = f"objects/{item.name}"
    target = folder / relative
    target.mkdir(parents=True, exist_ok=True)
    write_obj(target / "visual.obj", item.visual)
    # Repairs and rounding leave parts a hair concave or flat; what is written is convex to the last digit.
    hulls = [hull for part in item.convex_parts if (hull := hull_mesh(part.vertices)) is not None]
    parts = [f"part_{number:03d}.obj" for number in range(len(hulls))]
    for name, mesh in zip(parts, hulls, strict=True):
        write_obj(target / name, mesh)
    if item.visual.seen is not None:
        _write_seen(target / "seen.ply", item.visual, item.visual.seen)
    (target / "object.urdf").write_text(_object_urdf(item, parts), encoding="utf-8")
    return {
        "name": item.name,
        "scene_from_object": _listed(item.scene_from_object),
        "visual": f"{relative}/visual.obj",
        "collision": [f"{relative}/{name}" for name in parts],
        "urdf": f"{relative}/object.urdf",
        "seen": f"{relative}/seen.ply" if item.visual.seen is not None else None,
        "mass_kg": float(_listed(item.mass_kg)),
        "mass_interval_kg": _listed(item.mass_interval_kg),
        "center_of_mass": _listed(item.center_of_mass),
        "inertia": _listed(item.inertia, 12),
        "friction": float(_listed(item.friction)),
        "restitution": float(_listed(item.restitution)),
        "material": item.material,
        "volume_m3": float(_listed(item.volume_m3, 12)),
        "seen_fraction": float(_listed(item.seen_fraction, 6)),
        "support": item.support,
        "size_m": _listed(np.ptp(item.visual.vertices, axis=0) if len(item.visual.vertices) else np.zeros(3), 6),
    }


def _object_urdf(item: SceneObject, parts: list[str]) -> str:
    return urdf_text(
        item.name,
        "visual.obj",
        parts,
        item.mass_kg,
        item.center_of_mass,
        item.inertia,
        item.friction,
        item.restitution,
    )


def _load_object(entry: dict[str, Any], folder: Path) -> SceneObject:
    visual = read_obj(inside(folder, entry["visual"]))
    if entry.get("seen"):
        visual = Mesh(
            visual.vertices,
            visual.faces,
            visual.corner_uv,
            visual.texture,
            visual.colors,
            _read_seen(inside(folder, entry["seen"])),
        )
    low, high = entry.get("mass_interval_kg", (0.0, 0.0))
    return SceneObject(
        name=entry["name"],
        scene_from_object=np.array(entry["scene_from_object"], dtype=np.float64).reshape(4, 4),
        visual=visual,
        convex_parts=tuple(read_obj(inside(folder, path)) for path in entry["collision"]),
        mass_kg=float(entry["mass_kg"]),
        center_of_mass=np.array(entry["center_of_mass"], dtype=np.float64).reshape(3),
        inertia=np.array(entry["inertia"], dtype=np.float64).reshape(3, 3),
        friction=float(entry["friction"]),
        restitution=float(entry["restitution"]),
        material=entry["material"],
        volume_m3=float(entry["volume_m3"]),
        seen_fraction=float(entry["seen_fraction"]),
        mass_interval_kg=(float(low), float(high)),
        support=entry.get("support", ""),
    )


_PLY_VERTEX = np.dtype(
    [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("red", "u1"), ("green", "u1"), ("blue", "u1"), ("seen", "u1")]
)
_PLY_FACE = np.dtype([("count", "u1"), ("a", "<i4"), ("b", "<i4"), ("c", "<i4")])


def _write_seen(path: Path, mesh: Mesh, seen: npt.NDArray[np.float32]) -> None:
    vertices = np.zeros(len(mesh.vertices), dtype=_PLY_VERTEX)
    vertices["x"], vertices["y"], vertices["z"] = mesh.vertices.T
    share = np.clip(seen, 0.0, 1.0)[:, None]
    colors = np.round(share * (60.0, 170.0, 90.0) + (1.0 - share) * (235.0, 140.0, 40.0)).astype(np.uint8)
    vertices["red"], vertices["green"], vertices["blue"] = colors.T
    vertices["seen"] = np.round(share[:, 0] * 255)
    faces = np.zeros(len(mesh.faces), dtype=_PLY_FACE)
    faces["count"] = 3
    faces["a"], faces["b"], faces["c"] = mesh.faces.T
    header = (
        f"ply\nformat binary_little_endian 1.0\ncomment seen: 255 measured by the phone, 0 completed\n"
        f"element vertex {len(vertices)}\nproperty float x\nproperty float y\nproperty float z\n"
        f"property uchar red\nproperty uchar green\nproperty uchar blue\nproperty uchar seen\n"
        f"element face {len(faces)}\nproperty list uchar int vertex_indices\nend_header\n"
    )
    path.write_bytes(header.encode("ascii") + vertices.tobytes() + faces.tobytes())


def _read_seen(path: Path) -> npt.NDArray[np.float32]:
    data = path.read_bytes()
    header, _, body = data.partition(b"end_header\n")
    count = int(header.split(b"element vertex ")[1].split(b"\n")[0])
    table = np.frombuffer(body, dtype=_PLY_VERTEX, count=count)
    return np.asarray(table["seen"], dtype=np.float32) / np.float32(255)


def urdf_text(
    name: str,
    visual: str,
    parts: list[str],
    mass_kg: float,
    center_of_mass: FloatArray,
    inertia: FloatArray,
    friction: float,
    restitution: float = 0.0,
) -> str:
    """A URDF of one link: mass 0 makes it fixed in PyBullet. Paths are relative to the URDF file.

    The friction anchor is PyBullet's remedy for contacts that slide without end by some micrometres a step.
    """
    xyz = " ".join(f"{value:.9f}" for value in center_of_mass)
    terms = {"ixx": (0, 0), "ixy": (0, 1), "ixz": (0, 2), "iyy": (1, 1), "iyz": (1, 2), "izz": (2, 2)}
    moments = " ".join(f'{key}="{inertia[index]:.12g}"' for key, index in terms.items())
    collisions = "".join(
        f'    <collision><geometry><mesh filename="{part}"/></geometry></collision>\n' for part in parts
    )
    return (
        f'<?xml version="1.0"?>\n<robot name="{name}">\n  <link name="{name}">\n'
        f'    <contact><lateral_friction value="{friction:.4f}"/><rolling_friction value="{ROLLING_FRICTION_M}"/>'
        f'<spinning_friction value="{SPINNING_FRICTION_M}"/><restitution value="{restitution:.4f}"/>'
        f"<friction_anchor/></contact>\n"
        f'    <inertial><origin xyz="{xyz}" rpy="0 0 0"/><mass value="{mass_kg:.6f}"/><inertia {moments}/></inertial>\n'
        f'    <visual><geometry><mesh filename="{visual}"/></geometry></visual>\n'
        f"{collisions}  </link>\n</robot>\n"
    )
