"""Digital cousins: endless believable relatives of one scene, each valid in physics, each had again from its recipe.

A cousin is set like a table. What stands, and how, was tried in physics once (`simulation.bank`); here forms and
stances are drawn and put where they are apart from each other, on their support, within the arm's reach and in the
camera's picture (`simulation.layout`). What does not fit is drawn again and counted. A recipe holds what was drawn for
its objects; all other values follow from seed, index and attempt (`simulation.variations.unit`).
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from reconstruction.errors import InputError, ReconstructionError
from reconstruction.scene import Scene, SceneObject, Support
from simulation.bank import AS_SCANNED, Bank, Wardrobe, as_scanned
from simulation.forms import in_scene, repainted, reweighed
from simulation.kinship import relatives_of
from simulation.layout import (
    SHORT_M,
    Camera,
    Ground,
    gaps,
    seen_shares,
    support_function,
    usual_camera,
    usual_mount,
)
from simulation.relatives import procedural
from simulation.stances import Stance
from simulation.variations import VARIATIONS, unit
from simulation.world import pose_from_quaternion, quaternion_from_pose

FloatArray = npt.NDArray[np.float64]
FORMAT, VERSION = "pocketworld.cousin", 1
MICRO = 1e6
QUATERNION = 1e7
TRIES = 24
"""Places drawn for one thing before the whole cousin is drawn again."""
CHUNK = 100
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
            item = reweighed(item, cousin.values("physics", name))
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
        extra={"cousin": look},
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
    return np.round(_product(usual, own), 7)


def tilt_of(cousin: Cousin) -> FloatArray:
    """``(4, 4)`` by which all that stands on a support, and the background, is turned from level."""
    return _tilt(cousin.tilt_deg, cousin.values("support")["azimuth_deg"])


def camera_of(cousin: Cousin, usual: Camera) -> Camera:
    """The camera, moved and turned in its own frame."""
    values = cousin.values("camera")
    own = np.eye(4)
    for axis, name in enumerate(("pitch_deg", "pan_deg", "roll_deg")):
        own = _product(own, _turn(axis, np.deg2rad(values[name])))
    own[:3, 3] = values["x_m"], values["y_m"], values["z_m"]
    pose = np.round(_product(usual.scene_from_camera, own), 7)
    return Camera(pose, round(usual.focal_px * values["focal"], 4), usual.size)


def _turn(axis: int, angle: float) -> FloatArray:
    first, second = [other for other in range(3) if other != axis]
    pose = np.eye(4)
    pose[first, first] = pose[second, second] = np.cos(angle)
    pose[first, second], pose[second, first] = -np.sin(angle), np.sin(angle)
    return pose


def _product(first: FloatArray, second: FloatArray) -> FloatArray:
    # Written out: matrix libraries differ in the order of their sums.
    return np.asarray((first[:, :, None] * second[None, :, :]).sum(axis=1))


def _tilt(degrees: float, azimuth_deg: float) -> FloatArray:
    """``(4, 4)`` that leans what is level by `degrees`, down towards the azimuth (about z, 0 = +x)."""
    about = np.deg2rad(azimuth_deg)
    turned = _product(_turn(2, about), _turn(1, -np.deg2rad(degrees)))
    return _product(turned, _turn(2, -about))


def _support(support: Support, size: float, below_m: float, tilt: FloatArray) -> Support:
    ground = Ground.of(support, size)
    polygon = np.column_stack([ground.polygon, support.polygon[:, 2] - below_m])
    moved = np.stack([(polygon * tilt[row, :3]).sum(axis=1) for row in range(3)], axis=1)
    normal = np.array([(support.plane[:3] * tilt[row, :3]).sum() for row in range(3)])
    offset = support.plane[3] + below_m * support.plane[2]
    return Support(support.name, np.round(np.append(normal, offset), 9), np.round(moved, 7))


@dataclass
class Draw:
    """Draws cousins of one scene.

    Attributes:
        wardrobe: what may stand in them.
        bank: how it stands.
        settings: what makes them valid.
    """

    wardrobe: Wardrobe
    bank: Bank
    settings: CousinSettings
    _own: dict[str, FloatArray] = field(init=False)

    def __post_init__(self) -> None:
        scene = self.wardrobe.scene
        self._key = scene_key(scene)
        self._own = {item.name: item.scene_from_object[:2, 3] for item in scene.objects}
        self._mount = usual_mount(scene)
        self._camera = usual_camera(scene, self._mount)
        points = np.vstack([at for at in self._own.values()])
        farthest = float(np.linalg.norm(points - self._mount[:2, 3], axis=1).max())
        self._reach_m = max(self.settings.reach_m, farthest + 0.08)
        self._support_of = {item.name: self._nearest_support(item) for item in scene.objects}

    def _nearest_support(self, item: SceneObject) -> int:
        bottom = float(in_scene(item)[:, 2].min())
        below = [
            (abs(bottom - float(support.polygon[:, 2].mean())), number)
            for number, support in enumerate(self.wardrobe.scene.supports)
        ]
        return min(below)[1] if below else 0

    def cousin(self, index: int) -> tuple[Cousin, Counter[str]]:
        """Cousin number `index`, and how often something was drawn again for it, by variation.

        Raises:
            ReconstructionError: none was valid.
        """
        rejected: Counter[str] = Counter()
        for attempt in range(self.settings.attempts):
            cousin = self._attempt(index, attempt, rejected)
            if cousin is not None:
                return cousin, rejected
        worst = ", ".join(f"{name} {count}" for name, count in rejected.most_common(3))
        raise ReconstructionError(
            f"Cousin {index} was drawn {self.settings.attempts} times and never valid (drawn again for: {worst}).",
            remedy="Lower the strength of those with --vary, or use --reach-m, --gap-mm or --seen with other values.",
            code="no_valid_cousin",
        )

    def _attempt(self, index: int, attempt: int, rejected: Counter[str]) -> Cousin | None:
        blank = Cousin(self._key, self.wardrobe.seed, index, attempt, self.wardrobe.strengths, {})
        key = (self.wardrobe.seed, index, attempt)
        units = self._units(blank, key, rejected)
        if units is None:
            return None
        size = blank.values("support")["size"]
        height_m = blank.values("support")["height_m"]
        grounds = [Ground.of(support, size) for support in self.wardrobe.scene.supports]
        heights = [ground.height_m - (height_m if number else 0.0) for number, ground in enumerate(grounds)]
        place = _Place(grounds, heights, mount_of(blank, self._mount), camera_of(blank, self._camera))
        for unit_ in sorted(units, key=_first_of_all):
            if not self._put(unit_, place, blank, key, rejected):
                if unit_.members[0].name not in self._own:  # one thing less is added
                    rejected["clutter"] += 1
                    continue
                return None
        return self._finished(blank, place, rejected)

    def _units(self, blank: Cousin, key: tuple[int, ...], rejected: Counter[str]) -> list[Stance] | None:
        """What stands by itself or together, a stance each."""
        pose, scene = blank.strengths["pose"], self.wardrobe.scene
        share = blank.values("clutter")["removed"]
        names = [
            name for name in self._own if name in self.settings.keep or unit(*key, "removed", name) >= share
        ] or list(self._own)[:1]
        units: list[Stance] = []
        free = set(names)
        if not (pose or blank.strengths["shape"] or blank.strengths["physics"]):
            # Nothing that could make it fall: what is not swapped stands as it was found, beside whatever is near it.
            found = {name for name in free if self._source(name, blank) == name}
            together = [members for members, _ in self.bank.groups if found.issuperset(members)]
            alone = sorted(found.difference(*together))
            units += [as_scanned(scene, members) for members in (*together, *((name,) for name in alone))]
            free -= found
        for members, stances in self.bank.groups:
            kept = all(self._source(name, blank) == name for name in members)
            if kept and free.issuperset(members) and unit(*key, "spread", members[0]) >= 0.5 * pose:
                for again in range(6):
                    stance = stances[int(unit(*key, "form", members[0], again) * len(stances))]
                    if stance is not None:
                        units.append(stance)
                        free -= set(members)
                        break
                    rejected["shape"] += 1
        if pose and unit(*key, "stacked") < 0.4 * pose:
            own = {name for name in free if self._source(name, blank) == name}
            options = [stack for stack in self.bank.stacks if own.issuperset(member.name for member in stack.members)]
            if options:
                units.append(options[int(unit(*key, "stack") * len(options))])
                free -= {member.name for member in units[-1].members}
        for name in sorted(free):
            stance = self._alone(name, self._source(name, blank), blank, key, rejected)
            if stance is None:
                return None
            units.append(stance)
        extras = list(self.wardrobe.extras)
        for number in range(int(blank.values("clutter")["added"])):
            if extras:
                source = extras.pop(int(unit(*key, "extra", number) * len(extras)))
                stance = self._alone(f"extra_{number + 1}", source, blank, key, rejected)
                units += [stance] if stance is not None else []
        return units

    def _source(self, name: str, blank: Cousin) -> str:
        """What stands in for an object: itself, or, every second time at full strength, a relative."""
        values, options = blank.values("swap", name), list(self.wardrobe.relatives.get(name, {}))
        if not options or values["share"] < 0.5:
            return name
        return options[min(int(values["which"] * len(options)), len(options) - 1)]

    def _alone(
        self, name: str, source: str, blank: Cousin, key: tuple[int, ...], rejected: Counter[str]
    ) -> Stance | None:
        forms = self.bank.alone[source]
        side = blank.values("pose", name)["side"]
        for again in range(6):
            stances = forms[int(unit(*key, "form", name, again) * len(forms))]
            if stances:
                stance = stances[min(int(side * len(stances)), len(stances) - 1)]
                return replace(stance, members=(replace(stance.members[0], name=name),))
            rejected["shape" if source == name else "swap" if name in self._own else "clutter"] += 1
        return None

    def _put(self, stance: Stance, place: _Place, blank: Cousin, key: tuple[int, ...], rejected: Counter[str]) -> bool:
        """Put a stance where it may be; False where no place was found."""
        s, name = self.settings, stance.members[0].name
        strength = blank.strengths["pose"]
        number = self._ground_for(name, blank, place)
        polygon = place.grounds[number].polygon
        low, high = polygon.min(axis=0), polygon.max(axis=0)
        drawn = [VARIATIONS["pose"].values(1.0, *key, "place", name, n) for n in range(TRIES)]
        draws = np.array([[values[axis] for axis in ("x", "y")] for values in drawn])
        start = self._own.get(name, (low + high) / 2)
        at = start + strength * (low + draws * (high - low) - start)
        turns = strength * np.deg2rad([values["turn_deg"] for values in drawn])
        if strength < 0.3:  # things that have grown make room for each other
            nudge = 0.03 * np.arange(TRIES) / TRIES
            around = 2.0 * np.pi * draws[:, 0]
            at = at + nudge[:, None] * np.stack([np.cos(around), np.sin(around)], axis=1)
        at = np.round(at, 6)
        reach = support_function(stance.outline, turns)
        apart = place.grounds[number].holds(at, reach, s.edge_mm * 1e-3)
        if place.at[number]:
            others = gaps(at, reach, np.array(place.at[number]), np.array(place.reach[number]))
            apart &= others.min(axis=1) > s.gap_mm * 1e-3
        if not strength and stance.members[0].form == AS_SCANNED:
            place.add(stance, number, start, 0.0, reach[0])
            return True
        distance = np.linalg.norm(at - place.mount[:2, 3], axis=1)
        within = (distance < self._far_m(stance)) & (distance > min(s.near_m, s.reach_m / 2))
        middle = np.column_stack([at, np.full(TRIES, place.heights[number] + stance.height_m / 2)])
        if self.settings.reach_m < SHORT_M and {member.name for member in stance.members} & set(self.settings.keep):
            within &= (at - place.mount[:2, 3]) @ place.mount[:2, 0] > 0.0  # it does not turn round to what is behind
        shown = place.camera.sees(middle)
        for n in range(TRIES):
            if apart[n] and within[n] and shown[n]:
                place.add(stance, number, at[n], float(turns[n]), reach[n])
                return True
            rejected["pose" if not apart[n] else "mount" if not within[n] else "camera"] += 1
        return False

    def _far_m(self, stance: Stance) -> float:
        """How far from the arm's base things may stand: those that the task is about where a short arm gets to them."""
        if not {member.name for member in stance.members} & set(self.settings.keep):
            return self._reach_m
        own = [
            float(np.linalg.norm(self._own[name] - self._mount[:2, 3]))
            for name in self.settings.keep
            if name in self._own
        ]
        return min(self._reach_m, max(self.settings.reach_m, *own))

    def _ground_for(self, name: str, blank: Cousin, place: _Place) -> int:
        """Which support: as scanned, or now and then another one that the arm may reach."""
        usual = self._support_of.get(name, 0)
        value = blank.values("pose", name)["support"]
        others = [n for n in range(len(place.grounds)) if n != usual and abs(place.heights[n]) < 0.5 * self._reach_m]
        if not others or value < 0.8:
            return usual
        return others[int((value - 0.8) / 0.2 * len(others)) % len(others)]

    def _finished(self, blank: Cousin, place: _Place, rejected: Counter[str]) -> Cousin | None:
        # Where nothing is moved, what is hidden stays hidden however often it is drawn.
        hidden = seen_shares(place.camera, place.rings, place.spans) < self.settings.seen
        if hidden.any() and blank.strengths["pose"]:
            rejected["camera"] += 1
            return None
        values = blank.values("support")
        limit = min(stance.tilt_deg for stance, *_ in place.stances)
        widest = VARIATIONS["support"].ranges["tilt_deg"].high * blank.strengths["support"]
        tilt_deg = round(values["tilt_deg"] * (limit / widest if widest else 0.0), 6)
        tilt = _tilt(tilt_deg, values["azimuth_deg"])
        objects = {}
        for stance, number, at, turn in place.stances:
            frame = _turn(2, turn)
            frame[:3, 3] = at[0], at[1], place.heights[number]
            for member in stance.members:
                pose = _product(tilt, _product(frame, member.pose))
                position = np.rint(pose[:3, 3] * MICRO).astype(int)
                quat_xyzw = np.rint(quaternion_from_pose(pose) * QUATERNION).astype(int)
                objects[member.name] = Placed(member.source, member.form, (*position.tolist(), *quat_xyzw.tolist()))
        return replace(blank, objects=dict(sorted(objects.items())), tilt_deg=tilt_deg)


def _first_of_all(stance: Stance) -> tuple[bool, float, str]:
    """Order of putting things: what must stand where it stood, then the widest."""
    first = stance.members[0]
    return first.form != AS_SCANNED, -float(np.ptp(stance.outline, axis=0).prod()), first.name


@dataclass
class _Place:
    """A table being set."""

    grounds: list[Ground]
    heights: list[float]
    mount: FloatArray
    camera: Camera
    stances: list[tuple[Stance, int, FloatArray, float]] = field(default_factory=list)
    rings: list[FloatArray] = field(default_factory=list)
    spans: list[tuple[float, float]] = field(default_factory=list)
    at: list[list[FloatArray]] = field(init=False)
    reach: list[list[FloatArray]] = field(init=False)

    def __post_init__(self) -> None:
        self.at, self.reach = [[] for _ in self.grounds], [[] for _ in self.grounds]

    def add(self, stance: Stance, number: int, at: FloatArray, turn: float, reach: FloatArray) -> None:
        self.stances.append((stance, number, at, turn))
        self.at[number].append(at)
        self.reach[number].append(reach)
        c, s = np.cos(turn), np.sin(turn)
        self.rings.append(stance.outline @ np.array([[c, s], [-s, c]]) + at)
        self.spans.append((self.heights[number], self.heights[number] + stance.height_m))


@dataclass(frozen=True)
class Chunk:
    """Some cousins in order: their recipes' lines, and how often something was drawn again, by variation."""

    lines: tuple[str, ...]
    rejected: Mapping[str, int]


def draw_some(draw: Draw, start: int, stop: int) -> Chunk:
    """Cousins `start` … `stop` - 1."""
    lines, rejected = [], Counter[str]()
    for index in range(start, stop):
        cousin, again = draw.cousin(index)
        lines.append(cousin.to_json())
        rejected += again
    return Chunk(tuple(lines), dict(rejected))


def chunks(draw: Draw, executor: Executor | None, ahead: int = 4) -> Iterator[Chunk]:
    """All of ``draw.settings.count`` cousins in order, at most `ahead` chunks of them in the works or waiting.

    The chunks are the same whoever draws them, and memory does not grow with the count.
    """
    count = draw.settings.count
    spans = [(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK)]
    if executor is None:
        for start, stop in spans:
            yield draw_some(draw, start, stop)
        return
    waiting: deque[Future[Chunk]] = deque()
    for start, stop in spans:
        waiting.append(executor.submit(draw_some, draw, start, stop))
        if len(waiting) >= ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
