"""Bring a reconstructed scene to rest: no overlap, no hovering, every object standing where it was seen.

The scene is built up as a person would set the table: object by object, the lowest first, each pushed out of what it
overlaps, let down and watched. One that will not stand is tried again when its neighbours are there (it may lean on
them), then with a small repair (`simulation.repair`), the smallest that helps. At last everything is let go together,
for as long as any later check takes, on the scene's own supports and on a plain floor.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from reconstruction.mesh import write_obj
from reconstruction.progress import Progress, part, silent
from reconstruction.scene import HULL_MARGIN_M, Scene, SceneObject, Support, save_support, urdf_text
from reconstruction.temporary import TemporaryFolder
from simulation import repair
from simulation.check import measure_overlaps
from simulation.world import World, WorldSettings, pose_change

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class SettleSettings:
    """How a scene is brought to rest."""

    near_mm: float = 3.5
    """An object may come to rest this far from where it was seen without any repair. Lower: more flattened bases."""
    near_deg: float = 1.2
    """The same for its rotation."""
    far_mm: float = 7.0
    """Beyond this an object counts as not standing where it was seen, and a warning says so."""
    far_deg: float = 4.0
    """The same for its rotation."""
    flatten_mm: tuple[float, ...] = (0.5, 1.0, 2.0, 3.0)
    """Base repairs, tried in order: cut this much off the lowest point and draw down as much above. The phone's noise
    is about 2 mm; more would show."""
    center_share: float = 0.15
    """How far the centre of mass may be moved sideways, as a share of the width: the inside is a guess."""
    lower_share: float = 0.1
    """How far the centre of mass may be lowered, as a share of the height."""
    part_sideways_mm: float = 2.5
    """Overlapping neighbours are moved apart by at most this each; what then still overlaps is cut off."""
    largest_cut: float = 0.4
    """No convex part loses more than this share of its width to a neighbour."""
    drop_s: float = 2.5
    """How long one object is watched, at most, in simulated time."""
    watch_s: float = 5.0
    """How long the whole scene must then stand still."""
    rest_mm: float = 1.0
    """It stands still when nothing moves more than this (the check allows 3)."""
    rest_deg: float = 0.7
    """The same for rotations (the check allows 2)."""
    overlap_mm: float = 0.5
    """Nothing may be deeper than this in anything else (the check allows 1)."""
    tolerated: float = 2.0
    """What creeps by up to this many times `rest_mm` and `rest_deg` in `watch_s`, and will not stop, is left so."""
    rounds: int = 4
    """How often the whole scene is watched and taken up from where it came to rest."""
    attempts: int = 4
    """How often the scene is set up again, with more repair for what did not stay."""


@dataclass(frozen=True)
class Draft:
    """An object on its way to rest.

    Attributes:
        seen: as reconstructed, apart from neighbours moved out of each other.
        item: repaired, and posed where it now is.
        goal: ``(4, 4)`` where it should be: `seen`'s pose for the (perhaps shifted) frame of `item`.
        level: which repair it had.
        cut_m: height of what was cut off its lowest point.
    """

    seen: SceneObject
    item: SceneObject
    goal: FloatArray
    level: int = 0
    cut_m: float = 0.0

    def error(self, pose: FloatArray) -> tuple[float, float]:
        """Millimetres and degrees between `pose` and where the object was seen."""
        moved_m, turned_deg = pose_change(self.goal, pose)
        return moved_m * 1000.0, turned_deg

    def at(self, pose: FloatArray) -> Draft:
        """The same, standing at `pose`."""
        return replace(self, item=replace(self.item, scene_from_object=pose))


@dataclass
class _Bench:
    """URDFs of drafts and supports in a scratch folder, without the visual meshes, and worlds that load them."""

    folder: Path
    supports: tuple[Support, ...]
    files: dict[str, tuple[SceneObject, Path]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for support in self.supports:
            save_support(support, self.folder)

    def urdf(self, item: SceneObject) -> Path:
        """The object's URDF as it will be written, less its visual; written again only when the object changed."""
        known = self.files.get(item.name)
        if known is not None and _same_body(known[0], item):
            return known[1]
        target = self.folder / f"{item.name}.{len(list(self.folder.glob(f'{item.name}.*')))}"
        target.mkdir()
        names = [f"part_{number:03d}.obj" for number in range(len(item.convex_parts))]
        for name, mesh in zip(names, item.convex_parts, strict=True):
            write_obj(target / name, mesh)
        text = urdf_text(
            item.name, names[0], names, item.mass_kg, item.center_of_mass, item.inertia, item.friction, item.restitution
        )
        (target / "object.urdf").write_text(text, encoding="utf-8")
        self.files[item.name] = (item, target / "object.urdf")
        return target / "object.urdf"

    @contextmanager
    def world(self, drafts: Mapping[str, Draft], *, fixed: bool, ground: bool = False) -> Iterator[World]:
        """A fresh world with these objects on the supports, or on a plain floor (also where there are none)."""
        ground = ground or not self.supports
        with World(WorldSettings(ground=ground)) as world:
            for support in () if ground else self.supports:
                world.add(
                    _support_key(support.name), self.folder / f"supports/{support.name}.urdf", np.eye(4), fixed=True
                )
            for draft in drafts.values():
                self.add(world, draft, fixed=fixed)
            yield world

    def add(self, world: World, draft: Draft, *, fixed: bool) -> None:
        world.add(draft.item.name, self.urdf(draft.item), draft.item.scene_from_object, fixed=fixed)


def _support_key(name: str) -> str:
    return f"support/{name}"  # an object may have the same name


def _same_body(first: SceneObject, second: SceneObject) -> bool:
    same = first.convex_parts is second.convex_parts
    return same and bool(np.array_equal(first.center_of_mass, second.center_of_mass))


def settle(scene: Scene, settings: SettleSettings = SettleSettings(), progress: Progress = silent) -> Scene:  # noqa: B008
    """Bring every object of a scene to rest where it was seen.

    Args:
        scene: objects with convex parts, in seen poses that may overlap or hover by some millimetres.
        settings: tolerances.
        progress: told about each object.

    Returns:
        The scene with new poses and, where needed, repaired parts, bases and centres of mass. ``extra["settling"]``
        says for each object what was done; objects that would not rest where they were seen have a warning.
    """
    if not scene.objects:
        return scene
    supports = _carrying(scene)
    drafts = {item.name: Draft(item, item, item.scene_from_object) for item in scene.objects if item.convex_parts}
    with TemporaryFolder("settle") as folder:
        bench = _Bench(folder, supports)
        drafts = _part_neighbours(bench, drafts, settings)
        drafts, restless = _arrange(bench, drafts, settings, progress)
    progress(1.0, "At rest")
    return _finished(scene, supports, drafts, restless, settings)


def _carrying(scene: Scene) -> tuple[Support, ...]:
    """The supports, each stretched under the objects that stand on it."""
    supports = {support.name: support for support in scene.supports}
    for item in scene.objects:
        name = _support_under(item, tuple(supports.values())) if item.convex_parts else None
        if name is not None:
            supports[name] = repair.widened(supports[name], repair.base_outline(item, 0.004))
    return tuple(supports.values())


def _support_under(item: SceneObject, supports: tuple[Support, ...], within_m: float = 0.008) -> str | None:
    """Name of the support whose plane is next to the object's lowest point; None for what stands on other objects."""
    low, xy = repair.lowest(item), item.scene_from_object[:2, 3]
    gaps = {support.name: abs(low - repair.plane_height(support, xy)) for support in supports}
    named = [name for name in gaps if name == item.support] or list(gaps)
    nearest = min(named, key=lambda name: gaps[name], default=None)
    return nearest if nearest is not None and gaps[nearest] < within_m else None


def _part_neighbours(bench: _Bench, drafts: dict[str, Draft], settings: SettleSettings) -> dict[str, Draft]:
    """Move objects that overlap side by side apart, half each; cut what then still overlaps."""
    drafts = dict(drafts)
    names = list(drafts)
    for _ in range(12):
        moved = False
        with bench.world(drafts, fixed=False) as world:
            for number, first in enumerate(names):
                for second in names[number + 1 :]:
                    moved |= _part_pair(world, drafts, first, second, settings)
        if not moved:
            break
    return drafts


def _part_pair(world: World, drafts: dict[str, Draft], first: str, second: str, settings: SettleSettings) -> bool:
    """One pair; True if anything was changed."""
    contact = min(world.gaps(first, second, 0.0), key=lambda item: item.distance_m, default=None)
    if contact is None or contact.distance_m > -1e-4:
        return False
    sideways = np.array([contact.normal[0], contact.normal[1], 0.0])
    share = float(np.linalg.norm(sideways))
    if share < 0.7:  # one on top of the other: letting down takes care of that
        return False
    step = -contact.distance_m / share / 2
    room = [_room_m(drafts[name], settings) for name in (first, second)]
    if min(room) > 1e-5:
        for name, sign, left in ((first, 1.0, room[0]), (second, -1.0, room[1])):
            pose = drafts[name].item.scene_from_object.copy()
            pose[:3, 3] += sign * min(step, left) * sideways / share
            drafts[name] = drafts[name].at(pose)
            world.set_pose(name, pose)
        return True
    middle = contact.point + contact.normal * contact.distance_m / 2
    for name, sign in ((first, 1.0), (second, -1.0)):
        normal = sign * contact.normal
        offset = float(normal @ middle) + HULL_MARGIN_M
        item = repair.trim(drafts[name].item, normal, offset, middle, settings.largest_cut)
        drafts[name] = replace(drafts[name], item=item)
    return True


def _room_m(draft: Draft, settings: SettleSettings) -> float:
    return settings.part_sideways_mm / 1000.0 - pose_change(draft.goal, draft.item.scene_from_object)[0]


def _arrange(
    bench: _Bench, start: dict[str, Draft], settings: SettleSettings, progress: Progress
) -> tuple[dict[str, Draft], set[str]]:
    """Set the table and let go, with more repair for what did not stay; the best of a few attempts."""
    carriers = _carriers(bench, start)
    levels = dict.fromkeys(start, 0)
    best: tuple[tuple[int, float], dict[str, Draft], set[str]] | None = None
    for attempt in range(settings.attempts):
        share = part(progress, attempt / settings.attempts, (attempt + 1) / settings.attempts)
        drafts = _set_table(bench, start, carriers, levels, settings, part(share, 0.0, 0.6))
        drafts, restless = _let_go(bench, drafts, settings, part(share, 0.6, 1.0))
        costs = {name: _cost(draft, settings) for name, draft in drafts.items()}
        bad = restless | {name for name, cost in costs.items() if cost > 1.0}
        score = (len(bad), sum(costs.values()))
        if best is None or score < best[0]:
            best = (score, drafts, restless)
        if not any(drafts[name].level < _last_level(settings) for name in bad):
            break
        levels = {name: min(draft.level + (name in bad), _last_level(settings)) for name, draft in drafts.items()}
    assert best is not None  # noqa: S101 - at least one attempt
    return best[1], best[2]


def _last_level(settings: SettleSettings) -> int:
    return len(settings.flatten_mm) + 1


def _carriers(bench: _Bench, drafts: dict[str, Draft], within_m: float = 0.006) -> dict[str, set[str]]:
    """For each object the others that seem to carry it: close under its middle, and starting lower down."""
    boxes = {name: _box(draft.item) for name, draft in drafts.items()}
    carriers: dict[str, set[str]] = {name: set() for name in drafts}
    with bench.world(drafts, fixed=False) as world:
        for name, (low, high) in boxes.items():
            middle = (low[:2] + high[:2]) / 2
            for other, (other_low, other_high) in boxes.items():
                over = (middle > other_low[:2]).all() and (middle < other_high[:2]).all()
                below = over and other_low[2] < low[2] and name not in carriers[other]
                if below and world.gap(name, other) < within_m:
                    carriers[name].add(other)
    return carriers


def _box(item: SceneObject) -> tuple[FloatArray, FloatArray]:
    vertices = np.vstack([repair.in_scene(piece, item) for piece in item.convex_parts])
    return vertices.min(axis=0), vertices.max(axis=0)


def _set_table(
    bench: _Bench,
    drafts: dict[str, Draft],
    carriers: dict[str, set[str]],
    levels: dict[str, int],
    settings: SettleSettings,
    progress: Progress,
) -> dict[str, Draft]:
    """Build the scene up, what carries before what is carried, with the least repair that lets each stand.

    `levels` says with which repair to begin. What no repair helps is put where it came closest, so that the others
    can stand on it.
    """
    waiting = dict(sorted(drafts.items(), key=lambda pair: (round(repair.lowest(pair[1].item), 3), pair[0])))
    levels, first = dict(levels), dict(levels)
    placed: dict[str, Draft] = {}
    best: dict[str, Draft] = {}
    last = _last_level(settings)
    with bench.world({}, fixed=True) as world:
        while waiting:
            ready = [name for name in waiting if not carriers[name] & waiting.keys()] or list(waiting)
            name = min(ready, key=lambda key: levels[key])  # the first of the least repaired
            tried, near = best.get(name), levels[name] > last
            if not near:
                repaired = _repaired(waiting[name], bench.supports, levels[name], settings)
                tried, near = _try(bench, world, repaired, placed, settings)
                if name not in best or _cost(tried, settings) < _cost(best[name], settings):
                    best[name] = tried
            levels[name] += 1
            if near and tried is not None:
                placed[name] = tried
                del waiting[name]
                bench.add(world, tried, fixed=True)
                levels.update({key: first[key] for key, other in waiting.items() if _close(other.item, tried.item)})
                progress(len(placed) / len(drafts), f"{name} stands")
    return {name: placed[name] for name in drafts}


def _cost(draft: Draft, settings: SettleSettings) -> float:
    """How far from where it was seen, 1 at the limit of what still counts as there."""
    moved_mm, turned_deg = draft.error(draft.item.scene_from_object)
    return max(moved_mm / settings.far_mm, turned_deg / settings.far_deg)


def _close(first: SceneObject, second: SceneObject, within_m: float = 0.02) -> bool:
    """Whether the boxes round two objects come that near: one may carry the other, or be leant on."""
    (low, high), (other_low, other_high) = _box(first), _box(second)
    return bool((np.maximum(low - other_high, other_low - high) < within_m).all())


def _repaired(draft: Draft, supports: tuple[Support, ...], level: int, settings: SettleSettings) -> Draft:
    """The draft with repair number `level`: 0 none, then flatter and flatter bases, at last a moved centre of mass."""
    flatten = (0.0, *settings.flatten_mm, settings.flatten_mm[-1])[level] / 1000.0
    item, low = draft.item, repair.lowest(draft.item)
    base = low + flatten
    support = _support_under(item, supports)
    if support is not None:
        plane = next(entry for entry in supports if entry.name == support)
        height = repair.plane_height(plane, item.scene_from_object[:2, 3])
        sunk_limit = 0.002 if level == 0 and not repair.has_flat_base(item) else 0.0
        base = max(base, min(height - sunk_limit, low + settings.flatten_mm[-1] / 1000.0 + sunk_limit))
    if base > low + 1e-5:
        item = repair.flatten_base(item, base, flatten)
    goal = draft.goal
    if level > len(settings.flatten_mm) - 1:
        last = level > len(settings.flatten_mm)
        before = item
        item = repair.center_over_base(item, settings.center_share, settings.lower_share if last else 0.0)
        shift = before.scene_from_object[:3, :3].T @ (item.scene_from_object[:3, 3] - before.scene_from_object[:3, 3])
        goal = draft.goal.copy()
        goal[:3, 3] += goal[:3, :3] @ shift
    return replace(draft, item=item, goal=goal, level=level, cut_m=max(0.0, base - low))


def _try(
    bench: _Bench, world: World, draft: Draft, placed: Mapping[str, Draft], settings: SettleSettings
) -> tuple[Draft, bool]:
    """Put one object into a world of fixed ones, out of overlap, and watch it come to rest.

    Returns:
        Where it came to rest, and whether that is where it was seen.
    """
    name = draft.item.name
    bench.add(world, draft, fixed=False)
    try:
        _push_out(world, name)
        rested = _come_to_rest(world, draft, settings)
        rise_m = _rise_m(world, name, placed)
        draft = draft.at(world.pose(name))
    finally:
        world.remove(name)
    carried = draft.item.scene_from_object.copy()
    carried[2, 3] -= rise_m
    moved_mm, turned_deg = draft.error(carried)
    share = draft.level / _last_level(settings)  # the more was tried, the more is accepted
    near_mm = settings.near_mm + share * (settings.far_mm - settings.near_mm)
    near_deg = settings.near_deg + share * (settings.far_deg - settings.near_deg)
    return draft, rested and moved_mm <= near_mm and turned_deg <= near_deg


def _rise_m(world: World, name: str, placed: Mapping[str, Draft]) -> float:
    """How much higher than seen the objects stand that carry `name`: it cannot help that."""
    below = {item.names[1] for item in world.contacts(name) if item.names[0] == name and item.normal[2] > 0.5}
    carriers = [placed[other] for other in below if other in placed]
    return max((float(entry.item.scene_from_object[2, 3] - entry.goal[2, 3]) for entry in carriers), default=0.0)


def _push_out(world: World, name: str) -> None:
    """Move one body out of the fixed ones, deepest overlap first (at most 2 cm in all)."""
    for _ in range(40):
        contacts = [item for other in world.fixed_names for item in world.gaps(name, other, 0.0)]
        deepest = min(contacts, key=lambda item: item.distance_m, default=None)
        if deepest is None or deepest.distance_m > -1e-5:
            return
        pose = world.pose(name)
        pose[:3, 3] -= deepest.normal * max(deepest.distance_m, -0.005)
        world.set_pose(name, pose)


def _come_to_rest(world: World, draft: Draft, settings: SettleSettings) -> bool:
    """Let down slowly, then let go; True when it lies still before the time is over."""
    name, window = draft.item.name, 48
    world.set_damping(name, 0.9, 0.999)  # lands without rocking
    world.step(window * 2)
    world.set_damping(name, 0.04, 0.04)
    still, before = 0, world.pose(name)
    for _ in range(round(settings.drop_s / world.settings.time_step_s / window)):
        world.step(window)
        after = world.pose(name)
        moved_m, turned_deg = pose_change(before, after)
        still = still + 1 if moved_m < 2e-5 and turned_deg < 0.02 else 0
        if still == 3:
            return True
        moved_mm, turned = draft.error(after)
        if moved_mm > 4 * settings.far_mm or turned > 4 * settings.far_deg:
            return False
        before = after
    return False


def _let_go(
    bench: _Bench, drafts: dict[str, Draft], settings: SettleSettings, progress: Progress
) -> tuple[dict[str, Draft], set[str]]:
    """Let everything go at once; take it up from where it comes to rest until it stays there.

    Returns:
        The drafts, and the names of those that would still move too far.
    """
    grounds = (False, True) if _all_on_zero(drafts, bench.supports) else (False,)
    restless: dict[str, float] = {}
    for turn in range(settings.rounds):
        progress(turn / settings.rounds, "Watching whether anything moves")
        restless = {}
        for ground in grounds:
            with bench.world(drafts, fixed=False, ground=ground) as world:
                restless = _watch(world, settings)
                if restless and turn + 1 < settings.rounds:
                    _calm(world)
                    drafts = {name: _followed(draft, world.pose(name)) for name, draft in drafts.items()}
            if restless:
                break
        if not restless:
            break
    return drafts, {name for name, share in restless.items() if share > settings.tolerated}


def _watch(world: World, settings: SettleSettings) -> dict[str, float]:
    """Objects that move, or overlap something from the start: how much, 1 at the limit of standing still.

    Stops at the end of the first second in which something moves too far.
    """
    overlaps = measure_overlaps(world)
    restless = {
        name: pair.depth_mm / settings.overlap_mm
        for pair in overlaps
        if pair.depth_mm > settings.overlap_mm
        for name in pair.names
        if name in world.names
    }
    before = world.poses()
    seconds = np.arange(0.0, settings.watch_s, 1.0)
    for start in seconds:
        world.step(round(min(1.0, settings.watch_s - start) / world.settings.time_step_s))
        for name, pose in world.poses().items():
            moved_m, turned_deg = pose_change(before[name], pose)
            share = max(moved_m * 1000.0 / settings.rest_mm, turned_deg / settings.rest_deg)
            if share > 1.0:
                restless[name] = max(share, restless.get(name, 0.0))
        if any(share > settings.tolerated for share in restless.values()):
            break
    return restless


def _calm(world: World) -> None:
    """Bring everything to rest where it now goes, without rocking."""
    for linear, angular, steps in ((0.9, 0.999, 240), (0.04, 0.04, 120)):
        for name in world.names:
            world.set_damping(name, linear, angular)
        world.step(steps)


def _followed(draft: Draft, pose: FloatArray) -> Draft:
    """The draft where it went, unless it fell off everything."""
    return draft.at(pose) if draft.error(pose)[0] < 1000.0 else draft


def _all_on_zero(drafts: dict[str, Draft], supports: tuple[Support, ...]) -> bool:
    """Whether a plain floor at z = 0 would carry the scene as well."""
    level = supports and all(abs(repair.plane_height(entry, np.zeros(2))) < 1e-4 for entry in supports[:1])
    return bool(level) and len(supports) == 1 and all(repair.lowest(draft.item) > -0.001 for draft in drafts.values())


def _finished(
    scene: Scene, supports: tuple[Support, ...], drafts: dict[str, Draft], restless: set[str], settings: SettleSettings
) -> Scene:
    objects, records, warnings = [], {}, list(scene.warnings)
    for item in scene.objects:
        draft = drafts.get(item.name)
        if draft is None:
            objects.append(item)
            continue
        objects.append(_with_volume(draft.item, item))
        records[item.name] = _record(draft, item)
        moved_mm, turned_deg = draft.error(draft.item.scene_from_object)
        if item.name in restless:
            warnings.append(
                f"{item.name} does not come to rest: look at its base in the report, or scan it lower down."
            )
        elif moved_mm > settings.far_mm or turned_deg > settings.far_deg:
            warnings.append(
                f"{item.name} does not stand as it was seen: it came to rest {moved_mm:.0f} mm and {turned_deg:.0f}° "
                "from there. Scan its base and what it leans on from lower down."
            )
    extra = {**scene.extra, "settling": records}
    return replace(scene, supports=supports, objects=tuple(objects), warnings=tuple(warnings), extra=extra)


def _with_volume(item: SceneObject, original: SceneObject) -> SceneObject:
    """The volume follows what a flattened base took from (or gave to) the visual mesh."""
    if item.visual is original.visual or item.visual.vertices is original.visual.vertices:
        return item
    from reconstruction.mesh import to_trimesh

    before, after = float(to_trimesh(original.visual).volume), float(to_trimesh(item.visual).volume)
    return replace(item, volume_m3=item.volume_m3 * after / before) if before > 0 and after > 0 else item


def _record(draft: Draft, original: SceneObject) -> dict[str, Any]:
    """What was done to one object, for scene.json and the report."""
    moved_m, turned_deg = pose_change(draft.goal, draft.item.scene_from_object)
    shift_m = np.linalg.norm(draft.goal[:3, 3] - original.scene_from_object[:3, 3])
    return {
        "moved_mm": round(moved_m * 1000.0, 3),
        "turned_deg": round(turned_deg, 3),
        "repair": draft.level,
        "base_cut_mm": round(draft.cut_m * 1000.0, 3),
        "center_shift_mm": round(float(shift_m) * 1000.0, 3),
    }
