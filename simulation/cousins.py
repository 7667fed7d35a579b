"""Digital cousins: endless believable relatives of one scene, each valid in physics, each had again from its recipe.

A cousin is set like a table. What stands, and how, was tried in physics once (`simulation.bank`); here forms and
stances are drawn and put where they are apart from each other, on their support, within the arm's reach and in the
camera's picture (`simulation.layout`). What does not fit is drawn again and counted. A recipe holds what was drawn for
its objects; all other values follow from seed, index and attempt (`simulation.variations.unit`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from reconstruction.errors import InputError
from reconstruction.scene import LEARNT, Scene, SceneObject, Support
from simulation.bank import Wardrobe
from simulation.forms import repainted, reweighed
from simulation.kinship import relatives_of
from simulation.layout import (
    Camera,
    Ground,
    usual_camera,
    usual_mount,
)
from simulation.learnt import narrowed, of_thing
from simulation.relatives import procedural
from simulation.variations import VARIATIONS, unit
from simulation.world import pose_from_quaternion, quaternion_from_pose

FloatArray = npt.NDArray[np.float64]
FORMAT, VERSION = "pocketworld.cousin", 1
MICRO = 1e6
QUATERNION = 1e7
RELATIVES = 2
"""Relatives that may take the place of one object."""
EXTRAS = 5
"""Different things that may be added in one family."""


@dataclass(frozen=True)
class CousinSettings:
    """Which cousins are made, and what makes one valid."""

    count: int = 1000
    """How many."""
    seed: int = 0
    """Another seed gives another family."""
    vary: tuple[str, ...] = ()
    """What varies and how strongly: NAME or NAME=STRENGTH (0 … 1). Left out: everything, fully. Names: pose, shape,
    swap, clutter, appearance, light, camera, physics, gripper, support, mount, or all."""
    swap_from: tuple[Path, ...] = ()
    """Other projects, or folders of meshes, whose things are swapped in and added. Left out: the bundled ones."""
    reach_m: float = 0.75
    """The arm reaches things this far from its base, in plan. Wider where the scanned things are farther away."""
    near_m: float = 0.15
    """Nothing stands nearer to the arm's base than this."""
    gap_mm: float = 4.0
    """Things that do not stand on each other are at least this far apart, in plan."""
    edge_mm: float = 10.0
    """Nothing comes nearer to the edge of its support."""
    seen: float = 0.35
    """The camera sees at least this share of everything past the other things."""
    keep: tuple[str, ...] = ()
    """Names of the things that a task is about: never taken away."""
    attempts: int = 300
    """Give up when a cousin was drawn so often and never fitted."""


@dataclass(frozen=True)
class Placed:
    """One object of a cousin.

    Attributes:
        source: what it is made from (`bank.Wardrobe.sources`).
        form: which form of that.
        pose: x, y, z in µm and the quaternion x, y, z, w in 1e-7, of `scene_from_object`.
    """

    source: str
    form: int
    pose: tuple[int, ...]

    @staticmethod
    def at(source: str, form: int, pose: FloatArray) -> Placed:
        """With `scene_from_object` ``(4, 4)``, rounded."""
        position = np.rint(pose[:3, 3] * MICRO).astype(int)
        quat_xyzw = np.rint(quaternion_from_pose(pose) * QUATERNION).astype(int)
        return Placed(source, form, (*position.tolist(), *quat_xyzw.tolist()))

    def matrix(self) -> FloatArray:
        """`scene_from_object`, ``(4, 4)``."""
        return pose_from_quaternion(np.array(self.pose[:3]) / MICRO, np.array(self.pose[3:]) / QUATERNION)


@dataclass(frozen=True)
class Cousin:
    """A recipe: which parent, which seed, and where everything stands.

    Attributes:
        parent: `scene_key` of the scene that it belongs to.
        seed: of the whole family; `index`: its number in it; `attempt`: which draw of it was the first valid one.
        strengths: of each variation, 0 … 1.
        objects: by name.
        tilt_deg: how much the support leans.
    """

    parent: str
    seed: int
    index: int
    attempt: int
    strengths: Mapping[str, float]
    objects: Mapping[str, Placed]
    tilt_deg: float = 0.0

    def to_json(self) -> str:
        """One line, the same text for the same cousin."""
        document = {
            "format": FORMAT,
            "version": VERSION,
            "parent": self.parent,
            "seed": self.seed,
            "index": self.index,
            "attempt": self.attempt,
            "vary": dict(self.strengths),
            "tilt_deg": self.tilt_deg,
            "objects": {
                name: [placed.source if placed.source != name else "", placed.form, *placed.pose]
                for name, placed in self.objects.items()
            },
        }
        return json.dumps(document, separators=(",", ":"), ensure_ascii=False, allow_nan=False)

    @staticmethod
    def from_json(text: str) -> Cousin:
        """A recipe from its line.

        Raises:
            InputError: it is none.
        """
        try:
            document = json.loads(text)
            if (document["format"], document["version"]) != (FORMAT, VERSION):
                raise ValueError(f"format {document['format']!r} version {document['version']!r}")
            objects = {}
            for name, (source, form, *pose) in document["objects"].items():
                if len(pose) != 7 or not any(pose[3:]):
                    raise ValueError(f"the pose of {name!r} is not seven numbers")
                objects[str(name)] = Placed(str(source) or str(name), int(form), tuple(map(int, pose)))
            strengths = {name: float(document["vary"][name]) for name in VARIATIONS}
            seed, index, attempt = (int(document[name]) for name in ("seed", "index", "attempt"))
            tilt_deg = float(document["tilt_deg"])
            return Cousin(str(document["parent"]), seed, index, attempt, strengths, objects, tilt_deg)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
            raise InputError(
                f"This is no recipe of a cousin: {error}.",
                remedy="Use a line of the recipes.jsonl that `pocketworld cousins` wrote.",
                code="bad_recipe",
            ) from None

    def values(self, variation: str, *name: str) -> dict[str, float]:
        """What was drawn for a variation (for the object `name`, where each has values of its own)."""
        key = (self.seed, self.index, self.attempt, variation, *name)
        return VARIATIONS[variation].values(self.strengths[variation], *key)

    def apply(self, scene: Scene, pool: Sequence[SceneObject] | None = None) -> Scene:
        """The cousin as a scene, the same bits in any process and on any machine.

        Args:
            scene: the parent.
            pool: things that may be swapped in and added, as when the recipe was made; None: the bundled ones.

        Raises:
            InputError: the recipe belongs to another scene, or to another pool.
        """
        return dress(self, wardrobe_of(scene, self.seed, self.strengths, pool))


def dress(cousin: Cousin, wardrobe: Wardrobe) -> Scene:
    """`Cousin.apply` for many cousins of one wardrobe: forms that were made stay made."""
    scene = wardrobe.scene
    if cousin.parent != scene_key(scene):
        raise InputError(
            "The recipe was made for another scene.",
            remedy="Use it with the scene of the project that it lies in.",
            code="other_scene",
        )
    size, height_m = (cousin.values("support")[name] for name in ("size", "height_m"))
    tilt = tilt_of(cousin)
    supports = tuple(
        _support(item, size, height_m if number else 0.0, tilt) for number, item in enumerate(scene.supports)
    )
    objects = []
    for name, placed in sorted(cousin.objects.items()):
        try:
            item = wardrobe.form(placed.source, placed.form)
        except KeyError:
            raise InputError(
                f"The recipe wants {placed.source!r}, which is not among the things at hand.",
                remedy="Give the same --swap-from as when the recipe was made.",
                code="unknown_source",
            ) from None
        if cousin.strengths["appearance"]:
            item = repainted(item, cousin.values("appearance", name))
        if cousin.strengths["physics"]:
            values = cousin.values("physics", name)
            item = reweighed(item, narrowed(values, of_thing(scene.extra, placed.source)))
        objects.append(replace(item, name=name, scene_from_object=placed.matrix()))
    mount = mount_of(cousin, usual_mount(scene))
    camera = camera_of(cousin, usual_camera(scene, usual_mount(scene)))
    look = {
        "recipe": json.loads(cousin.to_json()),
        "light": cousin.values("light"),
        "camera": {
            "scene_from_camera": camera.scene_from_camera.tolist(),
            "focal_px": camera.focal_px,
            "size": list(camera.size),
            **{name: cousin.values("camera")[name] for name in ("exposure", "noise", "lens")},
        },
        "gripper": cousin.values("gripper"),
    }
    background = None if scene.background is None else scene.background.moved(tilt)
    return replace(
        scene,
        supports=supports,
        background=background,
        objects=tuple(objects),
        robot_mount=mount,
        warnings=(),
        extra={"cousin": look, **{key: scene.extra[key] for key in (LEARNT,) if key in scene.extra}},
    )


def scene_key(scene: Scene) -> str:
    """Sixteen hex digits that stand for a scene's objects and supports."""
    digest = hashlib.blake2b(digest_size=8)
    for item in scene.objects:
        digest.update(item.name.encode())
        digest.update(np.round(item.scene_from_object, 7).tobytes())
        for part in item.convex_parts:
            digest.update((np.round(part.vertices, 7) + 0.0).tobytes())
    for support in scene.supports:
        digest.update((np.round(support.polygon, 6) + 0.0).tobytes())
    return digest.hexdigest()


HELD_OUT = 0.25
"""Share of the things of a pool that no policy is trained on."""


def wardrobe_of(
    scene: Scene,
    seed: int,
    strengths: Mapping[str, float],
    pool: Sequence[SceneObject] | None = None,
    held_out: bool | None = None,
) -> Wardrobe:
    """Everything that may stand in the cousins of a scene.

    Args:
        scene: the parent.
        seed: of the family.
        strengths: of all variations.
        pool: things that may be swapped in and added; None: the bundled ones.
        held_out: only those on which policies are tested, or only the others, on which they are trained; None: all.
    """

    def wanted(item: SceneObject) -> bool:
        return held_out is None or (unit(0, "held out", item.name) < HELD_OUT) is held_out

    needed = strengths["swap"] or strengths["clutter"]
    things = procedural() if pool is None and needed else tuple(pool or ())
    relatives: dict[str, dict[str, SceneObject]] = {}
    if strengths["swap"]:
        for item in scene.objects:
            found = [other for other in relatives_of(item, things, RELATIVES) if wanted(other)]
            relatives[item.name] = {f"{item.name}~{other.name}": other for other in found}
    extras: dict[str, SceneObject] = {}
    if strengths["clutter"]:
        order = sorted(things, key=lambda item: unit(seed, "extra", item.name))
        extras = {f"+{item.name}": item for item in order[:EXTRAS] if wanted(item)}
    return Wardrobe(scene, relatives, extras, seed, dict(strengths))


def mount_of(cousin: Cousin, usual: FloatArray) -> FloatArray:
    """`scene_from_robot`, ``(4, 4)``: moved in its own frame; a higher support leaves it lower."""
    values = cousin.values("mount")
    turn = np.deg2rad(values["turn_deg"])
    own = np.eye(4)
    own[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    own[:3, 3] = values["x_m"], values["y_m"], -cousin.values("support")["height_m"]
    return np.round(product(usual, own), 7)


def tilt_of(cousin: Cousin) -> FloatArray:
    """``(4, 4)`` by which all that stands on a support, and the background, is turned from level."""
    return leant(cousin.tilt_deg, cousin.values("support")["azimuth_deg"])


def camera_of(cousin: Cousin, usual: Camera) -> Camera:
    """The camera, moved and turned in its own frame."""
    values = cousin.values("camera")
    own = np.eye(4)
    for axis, name in enumerate(("pitch_deg", "pan_deg", "roll_deg")):
        own = product(own, turned_about(axis, np.deg2rad(values[name])))
    own[:3, 3] = values["x_m"], values["y_m"], values["z_m"]
    pose = np.round(product(usual.scene_from_camera, own), 7)
    return Camera(pose, round(usual.focal_px * values["focal"], 4), usual.size)


def turned_about(axis: int, angle: float) -> FloatArray:
    """``(4, 4)`` that turns by `angle` (radians) about x (0), y (1) or z (2)."""
    first, second = [other for other in range(3) if other != axis]
    pose = np.eye(4)
    pose[first, first] = pose[second, second] = np.cos(angle)
    pose[first, second], pose[second, first] = -np.sin(angle), np.sin(angle)
    return pose


def product(first: FloatArray, second: FloatArray) -> FloatArray:
    """Two poses one after the other, written out: matrix libraries differ in the order of their sums."""
    return np.asarray((first[:, :, None] * second[None, :, :]).sum(axis=1))


def leant(degrees: float, azimuth_deg: float) -> FloatArray:
    """``(4, 4)`` that leans what is level by `degrees`, down towards the azimuth (about z, 0 = +x)."""
    about = np.deg2rad(azimuth_deg)
    turned = product(turned_about(2, about), turned_about(1, -np.deg2rad(degrees)))
    return product(turned, turned_about(2, -about))


def _support(support: Support, size: float, below_m: float, tilt: FloatArray) -> Support:
    ground = Ground.of(support, size)
    polygon = np.column_stack([ground.polygon, support.polygon[:, 2] - below_m])
    moved = np.stack([(polygon * tilt[row, :3]).sum(axis=1) for row in range(3)], axis=1)
    normal = np.array([(support.plane[:3] * tilt[row, :3]).sum() for row in range(3)])
    offset = support.plane[3] + below_m * support.plane[2]
    return Support(support.name, np.round(np.append(normal, offset), 9), np.round(moved, 7))
