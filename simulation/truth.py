"""What is really there: the world that a virtual phone scanned, and a reconstructed scene with the true things in it.

On disk (`save_truth`, beside a virtual scan)::

    <scan>_truth/
      truth.json           format "pocketworld.truth"
      objects/<name>.obj   each thing, textured, capture frame
      background/<n>.obj   room and furniture, likewise

``truth.json``: ``capture_from_world`` (exact at frame 0), ``objects`` with ``name``, ``kind``, ``mesh``,
``world_from_object`` (world: z up, table top at z = 0), ``mass_kg``, ``material``, ``support``; ``background``, a list
of meshes; ``capture_from_camera``: the true poses without drift; and where the world has one ``tag``: ``family``,
``id``, ``size_mm`` and ``world_from_tag``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from reconstruction.errors import InputError
from reconstruction.material import Override, materials, physical_properties
from reconstruction.mesh import Mesh, read_obj, write_obj
from reconstruction.mesh_files import MOST_BYTES, joined
from reconstruction.progress import Progress, silent
from reconstruction.scene import Scene, SceneObject, Support, inside
from simulation.layout import CAMERA, usual_camera, usual_mount
from simulation.recording import VirtualRecording
from simulation.relatives import as_object
from simulation.repaint import repainted, simplified
from simulation.robots import Robot

FloatArray = npt.NDArray[np.float64]
FORMAT = "pocketworld.truth"
SAME = 0.15
"""A true thing is a reconstructed one where the boxes about them share this part of both together."""
FACES, PIXELS = 4000, 512
PIXELS_OF_A_ROOM = 1024
LARGEST_JSON = 50_000_000


@dataclass(frozen=True)
class TrueThing:
    """A thing as it is.

    Attributes:
        name: its own.
        mesh: closed and textured, capture frame.
        mass_kg: that it weighs.
        material: key of ``resources/materials.json``.
    """

    name: str
    mesh: Mesh
    mass_kg: float
    material: str


@dataclass(frozen=True)
class Truth:
    """A world as it is.

    Attributes:
        things: that can be picked up.
        background: everything else, capture frame.
        capture_from_world: ``(4, 4)``; the world's z points up, its table top is at z = 0.
    """

    things: tuple[TrueThing, ...]
    background: tuple[Mesh, ...]
    capture_from_world: FloatArray


def truth_of(recording: VirtualRecording) -> Truth:
    """The world that a virtual phone has recorded."""
    world, frame = recording.world, recording.capture_from_world
    things = tuple(
        TrueThing(item.name, item.world_mesh.moved(frame), item.thing.mass_kg, item.thing.material)
        for item in world.objects
    )
    return Truth(things, tuple(mesh.moved(frame) for mesh in world.background), frame)


def save_truth(recording: VirtualRecording, folder: Path) -> None:
    """Write what is really there where a virtual phone has recorded."""
    truth, world = truth_of(recording), recording.world
    for place in ("objects", "background"):
        (folder / place).mkdir(parents=True, exist_ok=True)
    entries: list[dict[str, Any]] = []
    for item, thing in zip(world.objects, truth.things, strict=True):
        mesh = f"objects/{item.name}.obj"
        write_obj(folder / mesh, thing.mesh)
        entries.append({
            "name": item.name,
            "kind": item.thing.kind,
            "mesh": mesh,
            "world_from_object": np.round(item.world_from_object, 9).tolist(),
            "mass_kg": round(item.thing.mass_kg, 6),
            "material": item.thing.material,
            "support": item.support,
        })  # fmt: skip
    background = [f"background/{number:03d}.obj" for number in range(len(truth.background))]
    for name, part in zip(background, truth.background, strict=True):
        write_obj(folder / name, _with_small_texture(part))
    document: dict[str, Any] = {
        "format": FORMAT,
        "world": world.name,
        "capture_from_world": np.round(recording.capture_from_world, 9).tolist(),
        "objects": entries,
        "background": background,
        "capture_from_camera": np.round(recording.undrifted, 9).tolist(),
    }
    if world.tag is not None:
        document["tag"] = {**asdict(world.tag), "world_from_tag": np.round(world.tag.world_from_tag, 9).tolist()}
    (folder / "truth.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def read_truth(folder: Path) -> Truth:
    """What `save_truth` wrote.

    Raises:
        InputError: it did not write that, or a file is missing, damaged, or outside of the folder.
    """
    path = folder / "truth.json"
    try:
        if path.stat().st_size > LARGEST_JSON:
            raise ValueError("it is too large")
        document = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise ValueError("it is no truth of a virtual scan")
        if "background" not in document:
            raise ValueError("it was written by an older Pocketworld, without the room")
        frame = np.array(document["capture_from_world"], dtype=np.float64)
        if frame.shape != (4, 4) or not np.isfinite(frame).all():
            raise ValueError("capture_from_world is no pose")
        things = []
        for entry in document["objects"]:
            mass_kg, material = float(entry["mass_kg"]), str(entry["material"])
            if not 0.0 < mass_kg < 1000.0 or material not in materials():
                raise ValueError(f"{entry['name']!r} weighs {mass_kg} kg and is of {material!r}")
            things.append(TrueThing(str(entry["name"]), _mesh(folder, entry["mesh"]), mass_kg, material))
        if not things or len({thing.name for thing in things}) < len(things):
            raise ValueError("it holds no things, or two of one name")
        return Truth(tuple(things), tuple(_mesh(folder, name) for name in document["background"]), frame)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        what = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
        raise InputError(
            f"{path} does not say what is really there: {what}.",
            remedy="Name the folder that `pocketworld virtual-scan` wrote beside the scan; make the scan anew if it "
            "is older than this version.",
            code="bad_truth",
        ) from None


def _mesh(folder: Path, name: str) -> Mesh:
    path = inside(folder, str(name))
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(f"{name} is too large")
    found = read_obj(path)
    if not len(found.faces) or not np.isfinite(found.vertices).all():
        raise ValueError(f"{name} shows nothing")
    return found


def _with_small_texture(mesh: Mesh) -> Mesh:
    """A mesh of a room: nobody looks at its wallpaper through a magnifying glass."""
    import cv2

    if mesh.texture is None or max(mesh.texture.shape[:2]) <= PIXELS_OF_A_ROOM:
        return mesh
    share = PIXELS_OF_A_ROOM / max(mesh.texture.shape[:2])
    size = tuple(max(2, round(share * side)) for side in mesh.texture.shape[1::-1])
    return replace(mesh, texture=np.asarray(cv2.resize(mesh.texture, size, interpolation=cv2.INTER_AREA)))


def true_scene(truth: Truth, scene: Scene, robot: Robot, progress: Progress = silent) -> Scene:
    """A reconstructed scene as it really is: true things, masses, frictions and room.

    Things have the names of the reconstructed ones that they are; what the reconstruction has not seen is called
    ``true_<name>``. Robot and front camera stand where they stand in the reconstructed scene.

    Args:
        truth: of the world that was scanned.
        scene: what came of the scan.
        robot: who stands there.
        progress: is told after each thing.
    """
    scene_from_world = _upright(scene.scene_from_capture @ truth.capture_from_world)
    scene_from_capture = scene_from_world @ np.linalg.inv(truth.capture_from_world)
    meshes = [thing.mesh.moved(scene_from_capture) for thing in truth.things]
    names = _names([thing.name for thing in truth.things], meshes, scene.objects)
    found = []
    for number, (name, thing, mesh) in enumerate(zip(names, truth.things, meshes, strict=True)):
        known = Override(mass_kg=thing.mass_kg, material=thing.material)
        small = repainted(simplified(mesh, FACES), mesh, PIXELS)
        found.append(replace(as_object(name, small, known), scene_from_object=_placed(small, known)))
        progress((number + 1) / len(names), "taking in what is really there")
    standing = robot.mounted(scene)
    mount = usual_mount(standing)
    camera = usual_camera(standing, mount)
    told = {"scene_from_camera": camera.scene_from_camera.tolist(), "focal_px": camera.focal_px, "size": camera.size}
    room = [_with_small_texture(mesh.moved(scene_from_capture)) for mesh in truth.background]
    return Scene(
        scene_from_capture=scene_from_capture,
        supports=tuple(_level(support, number) for number, support in enumerate(scene.supports)),
        background=joined(room) if room else None,
        objects=tuple(sorted(found, key=lambda item: item.name)),
        robot_mount=mount,
        extra={CAMERA: told},
    )


def _placed(mesh: Mesh, known: Override) -> FloatArray:
    """`scene_from_object` of a thing whose mesh is given in the scene: its origin is the centre of its mass."""
    pose = np.eye(4)
    pose[:3, 3] = physical_properties(mesh, override=known).center_of_mass
    return pose


def _upright(scene_from_world: FloatArray) -> FloatArray:
    """The turn about z and the shift in plan of a pose: both frames stand upright on the same table."""
    turn = np.arctan2(scene_from_world[1, 0] - scene_from_world[0, 1], scene_from_world[0, 0] + scene_from_world[1, 1])
    pose = np.eye(4)
    pose[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    pose[:2, 3] = scene_from_world[:2, 3]
    return pose


def _level(support: Support, number: int) -> Support:
    """The main support, the first, is exactly at z = 0; of the others, only the reconstruction is known."""
    if number:
        return support
    return replace(support, plane=np.array([0.0, 0.0, 1.0, 0.0]), polygon=support.polygon * [1.0, 1.0, 0.0])


def _names(own: Sequence[str], meshes: Sequence[Mesh], items: Sequence[SceneObject]) -> list[str]:
    """For each true thing the name of the reconstructed one that it is, by the boxes about them."""
    from scipy.optimize import linear_sum_assignment

    true = [_box(mesh.vertices) for mesh in meshes]
    seen = [_box(item.visual.moved(item.scene_from_object).vertices) for item in items]
    shared = np.array([[_shared(a, b) for b in seen] for a in true]).reshape(len(true), len(seen))
    names = [f"true_{name}" for name in own]
    for a, b in zip(*linear_sum_assignment(-shared), strict=True):
        if shared[a, b] > SAME:
            names[a] = items[b].name
    return names


def _box(points: FloatArray) -> FloatArray:
    return np.stack([points.min(axis=0), points.max(axis=0)])


def _shared(first: FloatArray, second: FloatArray) -> float:
    """The volume that two boxes ``(2, 3)`` share, of what they fill together."""
    low, high = np.maximum(first[0], second[0]), np.minimum(first[1], second[1])
    both = float(np.prod(np.maximum(high - low, 0.0)))
    return both / max(float(np.prod(first[1] - first[0]) + np.prod(second[1] - second[0])) - both, 1e-12)
