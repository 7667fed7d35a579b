"""Draws cousins: sets the table again and again, until all that stands there may stand there."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from reconstruction.errors import ReconstructionError
from reconstruction.scene import SceneObject
from simulation.bank import AS_SCANNED, Bank, Wardrobe, as_scanned
from simulation.cousins import (
    Cousin,
    CousinSettings,
    Placed,
    camera_of,
    leant,
    mount_of,
    product,
    scene_key,
    turned_about,
)
from simulation.forms import in_scene
from simulation.layout import SHORT_M, Camera, Ground, gaps, seen_shares, support_function, usual_camera, usual_mount
from simulation.stances import Stance
from simulation.variations import VARIATIONS, unit

FloatArray = npt.NDArray[np.float64]
TRIES = 24
"""Places drawn for one thing before the whole cousin is drawn again."""
CHUNK = 100
"""Cousins drawn at a time."""


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
        # What rolls when it is put down anew stands as settling has found it at rest.
        return as_scanned(self.wardrobe.scene, (name,)) if source == name and name in self._own else None

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
        tilt = leant(tilt_deg, values["azimuth_deg"])
        objects = {}
        for stance, number, at, turn in place.stances:
            frame = turned_about(2, turn)
            frame[:3, 3] = at[0], at[1], place.heights[number]
            for member in stance.members:
                pose = product(tilt, product(frame, member.pose))
                objects[member.name] = Placed.at(member.source, member.form, pose)
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
