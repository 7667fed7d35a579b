"""What cousins are put together from: every object in a few dozen forms, and how each of them stands.

Forms are few (so that meshes are made once and shared by all cousins) but spread evenly over the ranges of their
parameters. Each is tried in physics once, by itself, on each of its sides; things that stood on each other in the scan
are tried together, and so are new stacks. What a cousin then needs is geometry alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from itertools import repeat
from typing import Any

import numpy as np
import numpy.typing as npt

from reconstruction.mesh import Mesh
from reconstruction.progress import Progress, silent
from reconstruction.scene import HULL_MARGIN_M, Scene, SceneObject
from simulation.forms import in_scene, rebalanced, reshaped
from simulation.stances import Member, Rig, Stance, sides, stance_of, upright
from simulation.variations import VARIATIONS, unit

FloatArray = npt.NDArray[np.float64]
FORMS = 16
"""Forms of each object of the scene."""
RELATIVE_FORMS = 2
"""Forms of each relative that may take an object's place."""
ALL_SIDES = 4
"""Every so many forms an object is also put on its other sides."""
STACKS = 20
"""New stacks that are tried."""
TOUCHING_M = 2 * HULL_MARGIN_M + 0.001
OFF_FLOOR_M = 0.004
AS_SCANNED = -1
"""The form of an object of the scene that nothing was done to."""


@dataclass(frozen=True)
class Bank:
    """Stances by what stands.

    Attributes:
        alone: for each source the stances of each of its forms, none where it does not stand.
        groups: things that belong together as scanned: names, and the stance of each form, None where it does not
            stand. Where none does, there is one more: as scanned, where settling has found it at rest.
        stacks: new stacks of two.
        tried: how many forms were tried, by variation; `fallen`: how many of these do not stand.
    """

    alone: Mapping[str, tuple[tuple[Stance, ...], ...]]
    groups: tuple[tuple[tuple[str, ...], tuple[Stance | None, ...]], ...]
    stacks: tuple[Stance, ...]
    tried: Mapping[str, int]
    fallen: Mapping[str, int]

    def as_json(self) -> dict[str, Any]:
        """A JSON-able dict from which `from_json` makes the same bank, bit for bit."""
        return {
            "alone": {source: [list(map(_as_json, form)) for form in forms] for source, forms in self.alone.items()},
            "groups": [
                [list(names), [None if stance is None else _as_json(stance) for stance in stances]]
                for names, stances in self.groups
            ],
            "stacks": list(map(_as_json, self.stacks)),
            "tried": dict(self.tried),
            "fallen": dict(self.fallen),
        }

    @staticmethod
    def from_json(document: Mapping[str, Any]) -> Bank:
        """The bank that `as_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: it did not write that.
        """
        alone = {
            source: tuple(tuple(map(_from_json, form)) for form in forms) for source, forms in document["alone"].items()
        }
        groups = tuple(
            (tuple(names), tuple(None if stance is None else _from_json(stance) for stance in stances))
            for names, stances in document["groups"]
        )
        stacks = tuple(map(_from_json, document["stacks"]))
        return Bank(alone, groups, stacks, dict(document["tried"]), dict(document["fallen"]))


def _as_json(stance: Stance) -> list[Any]:
    members = [[member.name, member.source, member.form, member.pose.tolist()] for member in stance.members]
    return [members, stance.outline.tolist(), stance.height_m, stance.tilt_deg]


def _from_json(row: Sequence[Any]) -> Stance:
    members, corners, height_m, tilt_deg = row
    found = tuple(
        Member(str(name), str(source), int(form), np.array(pose, dtype=np.float64).reshape(4, 4))
        for name, source, form, pose in members
    )
    return Stance(found, np.array(corners, dtype=np.float64).reshape(-1, 2), float(height_m), float(tilt_deg))


@dataclass(frozen=True)
class Wardrobe:
    """All forms of all things that may stand in a cousin, made when they are asked for.

    Attributes:
        scene: the parent.
        relatives: for each object of the scene those that may take its place, under ``name~relative``.
        extras: things that may be added, under ``+name``.
        seed: of the cousins.
        strengths: of every variation.
        forms: of each object of the scene; the usual number, or fewer to be quick.
    """

    scene: Scene
    relatives: Mapping[str, Mapping[str, SceneObject]]
    extras: Mapping[str, SceneObject]
    seed: int
    strengths: Mapping[str, float]
    forms: int = FORMS
    _made: dict[tuple[str, int], SceneObject] = field(default_factory=dict, init=False, repr=False, compare=False)

    def sources(self) -> dict[str, SceneObject]:
        """Everything that forms are made of, by name: the scene's own objects first."""
        found = {item.name: item for item in self.scene.objects}
        for group in self.relatives.values():
            found.update(group)
        found.update(self.extras)
        return found

    def bare(self) -> Wardrobe:
        """The same without what physics does not need, to be sent to other processes."""
        scene = replace(self.scene, background=None, objects=tuple(map(_bare, self.scene.objects)))
        relatives = {
            name: {source: _bare(item) for source, item in items.items()} for name, items in self.relatives.items()
        }
        extras = {source: _bare(item) for source, item in self.extras.items()}
        return replace(self, scene=scene, relatives=relatives, extras=extras)

    def forms_of(self, source: str) -> int:
        """How many forms a source has; one where nothing about forms is varied."""
        if not (self.strengths["shape"] or self.strengths["physics"]):
            return 1
        return RELATIVE_FORMS if "~" in source or source.startswith("+") else self.forms

    def form(self, source: str, number: int) -> SceneObject:
        """Form `number` of a source; the same bits on every machine, and the same object whenever it is asked for.

        Raises:
            KeyError: no such source.
        """
        if (source, number) not in self._made:
            self._made[source, number] = self._form(source, number)
        return self._made[source, number]

    def _form(self, source: str, number: int) -> SceneObject:
        item = self.sources()[source]
        if number == AS_SCANNED:
            return item
        count = self.forms_of(source)
        key = (self.seed, "form", source)
        if self.strengths["shape"]:
            values = VARIATIONS["shape"].spread(self.strengths["shape"], number, count, *key)
            item = reshaped(item, values, *key, number)
        if self.strengths["physics"]:
            item = rebalanced(item, VARIATIONS["physics"].spread(self.strengths["physics"], number, count, *key))
        return item


def _bare(item: SceneObject) -> SceneObject:
    return replace(item, visual=Mesh(item.visual.vertices, item.visual.faces))


def build(wardrobe: Wardrobe, executor: Executor | None = None, progress: Progress = silent) -> Bank:
    """Try everything once.

    Each job has a physics world of its own, so the result does not depend on who does it.

    Args:
        wardrobe: what there is.
        executor: runs the jobs; None: one after the other.
        progress: told after each job.
    """
    sources = list(wardrobe.sources())
    groups = scanned_groups(wardrobe.scene)
    each = map if executor is None else executor.map
    kinds = ["alone"] * len(sources) + ["group"] * len(groups)
    results: list[Any] = []
    for done in each(_tried, kinds, repeat(wardrobe), [*sources, *groups]):
        results.append(done)
        progress(0.9 * len(results) / len(kinds), "trying how things stand")
    alone = dict(zip(sources, results, strict=False))
    grouped = tuple(zip(groups, results[len(sources) :], strict=True))
    pairs = list(_pairs(wardrobe, alone))
    chunks = [tuple(pairs[start : start + 8]) for start in range(0, len(pairs), 8)]
    trials = each(_tried, repeat("stacks"), repeat(wardrobe), chunks)
    stacks = [stance for chunk in trials for stance in chunk]
    forms = [stances for source in alone.values() for stances in source]
    tried = {"shape": len(forms), "pose": len(stacks)}
    fallen = {
        "shape": sum(not stances for stances in forms),
        "pose": sum(stance is None for stance in stacks),
    }
    progress(1.0, "trying how things stand")
    return Bank(alone, grouped, tuple(stance for stance in stacks if stance is not None), tried, fallen)


def scanned_groups(scene: Scene) -> list[tuple[str, ...]]:
    """Names of the things that stand on or lean on each other, the lowest first; those that stand alone are in none."""
    floors = [support.polygon[:, 2].mean() for support in scene.supports] or [0.0]
    corners = {item.name: in_scene(item) for item in scene.objects}
    bottom = {name: float(points[:, 2].min()) for name, points in corners.items()}
    held = {name: min(abs(bottom[name] - floor) for floor in floors) > OFF_FLOOR_M for name in corners}
    links: dict[str, set[str]] = {name: {name} for name in corners}
    for name in corners:
        for other in corners if held[name] else ():
            if other != name and _near(corners[name], corners[other]):
                links[name].add(other)
                links[other].add(name)
    groups, left = [], sorted(corners)
    while left:
        reached, edge = {left[0]}, [left[0]]
        while edge:
            fresh = links[edge.pop()] - reached
            reached |= fresh
            edge += sorted(fresh)
        left = [name for name in left if name not in reached]
        if len(reached) > 1:
            groups.append(tuple(sorted(reached, key=lambda name: (bottom[name], name))))
    return groups


def _near(first: FloatArray, second: FloatArray) -> bool:
    """Whether the boxes round two sets of points overlap, or almost do."""
    return bool(
        (first.min(axis=0) < second.max(axis=0) + TOUCHING_M).all()
        and (second.min(axis=0) < first.max(axis=0) + TOUCHING_M).all()
    )


def _tried(kind: str, wardrobe: Wardrobe, what: Any) -> Any:
    lean = VARIATIONS["support"].ranges["tilt_deg"].high * wardrobe.strengths["support"]
    with Rig(wardrobe.scene.supports[0], lean_deg=lean) as rig:
        if kind == "alone":
            ups = sides(wardrobe.sources()[what])
            count = wardrobe.forms_of(what)
            return tuple(_alone(rig, wardrobe, what, number, ups) for number in range(count))
        if kind == "group":
            count = wardrobe.forms_of(what[0])
            stances = tuple(_group(rig, wardrobe, what, number) for number in range(count))
            return stances if any(stances) else (*stances, as_scanned(wardrobe.scene, what))
        return [_stack(rig, wardrobe, lower, upper) for lower, upper in what]


def _alone(rig: Rig, wardrobe: Wardrobe, source: str, number: int, ups: Sequence[FloatArray]) -> tuple[Stance, ...]:
    item = wardrobe.form(source, number)
    found = []
    for up in ups if wardrobe.strengths["pose"] and number % ALL_SIDES == 0 else ups[:1]:
        stance = rig.stands([upright(item, up)], [(source, number)])
        if stance is not None:
            found.append(stance)
    return tuple(found)


def _group(rig: Rig, wardrobe: Wardrobe, names: tuple[str, ...], number: int) -> Stance | None:
    """The group as it was scanned, each thing in its form `number`, lifted by what those below it have grown."""
    own = {item.name: item for item in wardrobe.scene.objects}
    items: list[SceneObject] = []
    base = min(float(in_scene(own[name])[:, 2].min()) for name in names)
    for name in names:
        item = replace(wardrobe.form(name, number), name=name)
        pose = item.scene_from_object.copy()
        before = in_scene(own[name])[:, 2].min() - base
        lift = 0.0
        for below in items if before > OFF_FLOOR_M else ():
            if _near_in_plan(in_scene(item), in_scene(below)):
                old, new = in_scene(own[below.name]), in_scene(below)
                lift = max(lift, float(new[:, 2].max() - (old[:, 2].max() - base)))
        pose[2, 3] += before - float(in_scene(item)[:, 2].min()) + lift + 0.0015
        items.append(replace(item, scene_from_object=pose))
    return rig.stands(items, [(name, number) for name in names])


def as_scanned(scene: Scene, names: Sequence[str]) -> Stance:
    """The things `names` of a scene as they stand in it, not trusted with any tilt."""
    own = {item.name: item for item in scene.objects}
    items = [own[name] for name in names]
    bottom = min(float(in_scene(item)[:, 2].min()) for item in items)
    floors = [float(support.polygon[:, 2].mean()) for support in scene.supports]
    floor_m = min(floors, key=lambda floor: abs(floor - bottom))
    return stance_of(items, [(name, AS_SCANNED) for name in names], 0.0, floor_m)


def _near_in_plan(first: FloatArray, second: FloatArray) -> bool:
    return _near(first * [1, 1, 0], second * [1, 1, 0])


def _pairs(wardrobe: Wardrobe, alone: Mapping[str, tuple[tuple[Stance, ...], ...]]) -> Iterable[tuple[Stance, Stance]]:
    """Stances of two different objects, the upper one less wide than the lower one: worth a try as a stack."""
    own = [item.name for item in wardrobe.scene.objects]
    if len(own) < 2 or not wardrobe.strengths["pose"]:
        return
    for number in range(STACKS):
        for attempt in range(20):
            key = (wardrobe.seed, "stack", number, attempt)
            lower, upper = (_picked(own, *key, side) for side in ("lower", "upper"))
            stances = [_picked(alone[name], *key, name, "form") for name in (lower, upper)]
            if lower == upper or not all(stances):
                continue
            below, above = (_picked(options, *key, "side", k) for k, options in enumerate(stances))
            if (np.ptp(above.outline, axis=0) < 0.9 * np.ptp(below.outline, axis=0)).all():
                yield below, above
                break


def _stack(rig: Rig, wardrobe: Wardrobe, lower: Stance, upper: Stance) -> Stance | None:
    members = [lower.members[0], upper.members[0]]
    items = []
    for member, lift in zip(members, (0.0, lower.height_m + 0.0005), strict=True):
        pose = member.pose.copy()
        pose[2, 3] += lift
        item = wardrobe.form(member.source, member.form)
        items.append(replace(item, name=member.name, scene_from_object=pose))
    return rig.stands(items, [(member.source, member.form) for member in members])


def _picked(options: Sequence[Any], *key: object) -> Any:
    return options[int(unit(*key) * len(options))] if options else None
