"""A few demonstrations by hand, multiplied: the same done in other cousins, aimed at where things are there.

A demonstration falls into parts that are each about one thing: taking hold of the object, and setting it down at its
target. A part is moved along with its thing, and between the parts the arm finds a free way (MimicGen, Mandlekar et al.
2023, moves such parts; to plan the ways between them is SkillMimicGen's, Garrett et al. 2024).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from reconstruction.errors import UsageError
from reconstruction.scene import Scene, SceneObject
from simulation.cell import Cell
from simulation.chain import Loose
from simulation.episode import Episode
from simulation.expert import Expert
from simulation.forms import in_scene, outline
from simulation.motion import rounded
from simulation.moves import Actions, CannotError
from simulation.planner import Held, Planner
from simulation.tasks import Task, zone_of
from simulation.world import pose_from_quaternion

FloatArray = npt.NDArray[np.float64]
KINDS = ("pick", "place-in", "place-on", "place-beside", "stack", "push")
NEAR_THING_M = 0.12
"""A part begins where the tool comes as near as this to where it takes hold, or lets go."""
LIFTED_M = 0.06
STARTS_M = 0.005
"""What has moved by this is on its way."""
TILT_RAD = np.deg2rad(20.0)
"""A thing that lies otherwise than in a demonstration, by more than this, needs another demonstration."""
GRIP = 0.08
"""The gripper opens or closes where its goal changes by more than this."""
JUMP_RAD = 0.6
PACE = 0.7
"""Share of the expert's own highest speed."""
SPARE_M = 0.002
"""Things are let go of by so much higher than shown, lest a larger one is pressed down."""


@dataclass(frozen=True)
class Sketch:
    """What a demonstration shows, in the frame of its own scene.

    Attributes:
        thing: ``(4, 4)`` pose of the object before it is touched.
        outline: ``(4, 4)`` its `plan_frame` then.
        taking: ``(T, 4, 4)`` tool poses until it is held and lifted, or, when pushed, until it moves.
        taking_opening: ``(T,)`` of the gripper.
        target: ``(4, 4)`` pose of what it is brought to; the zone's; None where there is none.
        target_outline: ``(4, 4)`` its `plan_frame`.
        over_m: how far over the target's top (stacking; else its lowest point) the object's lowest is when let go of.
        bringing: ``(B, 4, 4)`` poses of the object until it is let go of; when pushed, of the tool.
        leaving: ``(L, 4, 4)`` tool poses from then on, the first where it lets go.
        leaving_opening: ``(L,)`` of the gripper.
    """

    thing: FloatArray
    outline: FloatArray
    taking: FloatArray
    taking_opening: FloatArray
    target: FloatArray | None
    target_outline: FloatArray
    over_m: float
    bringing: FloatArray
    leaving: FloatArray
    leaving_opening: FloatArray

    @staticmethod
    def of(episode: Episode, task: Task, scene: Scene) -> Sketch:
        """What an episode shows, one that succeeded in a cousin which is `scene`.

        Raises:
            UsageError: it lacks a column, or shows nothing of the kind.
        """
        kind, items = task.kind, {item.name: item for item in scene.objects}
        columns = ["tool_pose", "object_pose", *(["target_pose"] if kind != "pick" else [])]
        for name in columns:
            if name not in episode.extra or episode.extra[name].shape != (len(episode), 7):
                raise _useless(episode, f"it has no column {name}")
            if np.abs(np.linalg.norm(episode.extra[name][:, 3:], axis=1) - 1.0).max() > 1e-3:
                raise _useless(episode, f"{name} holds no quaternions")
        tools, things = (_poses(episode.extra[name]) for name in columns[:2])
        targets = _poses(episode.extra["target_pose"]) if kind != "pick" else None
        # An action is reached by the next frame.
        tools = np.concatenate([tools[1:], tools[-1:]])
        opening = episode.action[:, -1].astype(np.float64)
        if kind == "push":
            assert targets is not None
            return _pushing(tools, opening, things, targets[-1])
        closes, opens = _changes(opening)
        let_go = len(tools) - 1
        if kind != "pick":
            after = [k for k in opens if closes and k > closes[0]]
            if not after:
                raise _useless(episode, "nothing is let go of in it")
            let_go = after[-1]
        before = [k for k in closes if k < let_go]
        if not before:
            raise _useless(episode, "nothing is taken hold of in it")
        grasp = before[-1]
        start = things[grasp]
        raised = np.flatnonzero(things[:, 2, 3] - start[2, 3] > LIFTED_M)
        raised = raised[raised > grasp]
        if not len(raised) or raised[0] >= let_go:
            raise _useless(episode, "nothing is lifted in it")
        begin = _nearing(tools, grasp, 0)
        own = plan_frame(items[task.what[0]], start)[0]
        if kind == "pick":
            rest = slice(len(tools), len(tools))
            taking = tools[begin:], opening[begin:]
            return Sketch(start, own, *taking, None, np.eye(4), 0.0, things[rest], tools[rest], opening[rest])
        assert targets is not None
        lifted = int(raised[0]) + 1
        bring, leave = slice(_nearing(tools, let_go, lifted), let_go), slice(let_go - 1, None)
        return Sketch(
            start,
            own,
            tools[begin:lifted],
            opening[begin:lifted],
            targets[let_go],
            plan_frame(items[task.where], targets[let_go])[0],
            _lowest(items[task.what[0]], things[let_go]) - _level(items[task.where], targets[let_go], kind),
            # The object is where it is seen a frame after the action that brought it there.
            np.concatenate([things[1:], things[-1:]])[bring],
            tools[leave],
            opening[leave],
        )

    def turned(self) -> Sketch:
        """The same with the hand turned by half a turn."""
        turn = np.diag([-1.0, -1.0, 1.0, 1.0])
        return replace(self, taking=self.taking @ turn, leaving=self.leaving @ turn)


def _pushing(tools: FloatArray, opening: FloatArray, things: FloatArray, zone: FloatArray) -> Sketch:
    start = things[0]
    moved = np.flatnonzero(np.linalg.norm(things[:, :2, 3] - start[:2, 3], axis=1) > STARTS_M)
    touch = int(moved[0]) if len(moved) else len(tools) - 1
    begin = _nearing(tools, touch, 0)
    return Sketch(
        start,
        np.eye(4),
        tools[begin:touch],
        opening[begin:touch],
        zone,
        np.eye(4),
        0.0,
        tools[touch:],
        tools[-1:],
        opening[touch:],
    )


def _poses(rows: npt.NDArray[np.float32]) -> FloatArray:
    return np.array([pose_from_quaternion(row[:3], row[3:]) for row in rows.astype(np.float64)])


def _changes(opening: FloatArray) -> tuple[list[int], list[int]]:
    """Frames at which the gripper begins to close, and to open."""
    found: dict[float, list[int]] = {-1.0: [], 1.0: []}
    way, start, total = 0.0, 0, 0.0
    for k, change in enumerate(np.diff(opening).tolist(), 1):
        if change and np.sign(change) != way:
            way, start, total = float(np.sign(change)), k, 0.0
        total += change
        if abs(total) > GRIP and start not in found[way]:
            found[way].append(start)
    return found[-1.0], found[1.0]


def _nearing(tools: FloatArray, at: int, first: int) -> int:
    """The frame from which on the tool is near to where it is in frame `at`, not before frame `first`."""
    far = np.flatnonzero(np.linalg.norm(tools[first:at, :3, 3] - tools[at, :3, 3], axis=1) > NEAR_THING_M)
    return first + int(far[-1]) + 1 if len(far) else first


def _useless(episode: Episode, why: str) -> UsageError:
    return UsageError(
        f"Episode {episode.index} cannot be multiplied: {why}.",
        remedy="Show the task from beginning to end with `pocketworld teleoperate`.",
        code="bad_dataset",
    )


def _tilt(first: FloatArray, second: FloatArray) -> float:
    """Angle (rad) between what is up for one pose and for another of the same thing."""
    return float(np.arccos(np.clip(first[2, :3] @ second[2, :3], -1.0, 1.0)))


@dataclass(frozen=True)
class Aim:
    """A demonstration aimed at where things are now.

    Attributes:
        sketch: which.
        way: ``(T, J)`` joint positions of its first part.
        fitted: ``(4, 4)`` from the frame of the object to that of the one shown, as both are held.
        stroke: ``(S, J)`` joint positions of a push from there on, `stroke_opening` ``(S,)`` of the gripper.
    """

    sketch: Sketch
    way: FloatArray
    fitted: FloatArray
    stroke: FloatArray
    stroke_opening: FloatArray


class Mimic(Expert):
    """Does a task as it was shown."""

    def __init__(self, cell: Cell, planner: Planner, sketches: Sequence[Sketch]) -> None:
        """Take over a cell, its planner, and what was shown: one or more."""
        super().__init__(cell, planner)
        self._sketches = tuple(sketches)

    def _once(self, task: Task) -> Actions:
        name = task.what[0]
        self._look()
        aim = self._aimed(task)
        sketch = aim.sketch
        if task.kind == "push":
            yield from self._go(aim.way[0], float(sketch.taking_opening[0]))
            opening = np.concatenate([sketch.taking_opening, aim.stroke_opening])
            yield from self._play(np.concatenate([aim.way, aim.stroke]), opening)
            return
        yield from self._go(aim.way[0], float(sketch.taking_opening[0]))
        yield from self._play(aim.way, sketch.taking_opening)
        if not self.cell.arm.holds(self.cell.world.body(name)):
            yield from self._grip(1.0)
            raise CannotError("nothing was grasped")
        if sketch.target is not None:
            yield from self._set_down(task, aim)

    def _aimed(self, task: Task) -> Aim:
        """The demonstration that fits best here.

        Raises:
            CannotError: none fits.
        """
        name = task.what[0]
        pose = self.cell.world.pose(name)
        ways: list[tuple[int, float, Sketch, FloatArray]] = []
        for sketch in self._sketches:
            for rank, moved in self._places(task, sketch):
                turn = float(np.arctan2(moved[1, 0], moved[0, 0]))
                # The gripper is the same turned by half a turn.
                ways.append((rank, abs(turn), sketch, moved))
                ways.append((rank, np.pi - abs(turn), sketch.turned(), moved))
        ways.sort(key=lambda way: way[:2])
        closing = [next(iter(_changes(way[2].taking_opening)[0]), len(way[2].taking) - 1) for way in ways]
        grasps = [moved @ sketch.taking[at] for (_, _, sketch, moved), at in zip(ways, closing, strict=True)]
        if not ways:
            raise CannotError("no demonstration fits")
        exact = self._reach(self._base_from_scene @ np.array(grasps), 2, self._about_closing(len(grasps)))[1]
        for k in np.flatnonzero(exact):
            _, _, sketch, moved = ways[k]
            fitted = np.linalg.inv(moved @ sketch.thing) @ pose
            if task.where:
                held = np.linalg.inv(grasps[k]) @ pose
                if not len(self._brought(task, sketch, fitted, held)):
                    continue
            way = self._solved(moved @ sketch.taking)
            if way is not None and self._room(way, sketch.taking_opening, closing[k], name):
                stroke, opening = way[:0], sketch.taking_opening[:0]
                if task.kind == "push":
                    found, opening = self._stroke_on(name, sketch, way[-1])
                    if found is None:
                        continue
                    stroke = found
                return Aim(sketch, way, fitted, stroke, opening)
        raise CannotError("no demonstration fits")

    def _places(self, task: Task, sketch: Sketch) -> list[tuple[int, FloatArray]]:
        """Ways ``(4, 4)`` from where the object was shown to where it is, with their rank, the best 0."""
        name = task.what[0]
        pose = self.cell.world.pose(name)
        if task.kind == "push":
            zone = zone_of(self.cell, name)
            assert zone is not None  # else the cousin would have been unsuitable
            assert sketch.target is not None
            there = _heading(sketch.thing, sketch.target[:3, 3])
            return [(0, _heading(pose, zone) @ np.linalg.inv(there))]
        found = []
        if _tilt(pose, sketch.thing) < TILT_RAD:
            found.append((0, pose @ np.linalg.inv(sketch.thing)))
        # Otherwise shaped, or lying otherwise: by its outline.
        frame, long = plan_frame(self.cell.item(name), pose)
        for quarter in (0, 2) if long else range(4):
            found.append((1, frame @ _about_z(quarter * np.pi / 2) @ np.linalg.inv(sketch.outline)))
        return found

    def _brought(self, task: Task, sketch: Sketch, fitted: FloatArray, held: FloatArray) -> list[FloatArray]:
        """Ways ``(4, 4)`` from where the target was shown to where it is, at which the arm gets there, best first.

        Args:
            task: with a target.
            sketch: what was shown.
            fitted: see `Aim`.
            held: ``(4, 4)`` `tool_from_object`.
        """
        assert sketch.target is not None
        item, under = self.cell.item(task.what[0]), self.cell.item(task.where)
        pose = self.cell.world.pose(task.where)
        ways = [pose @ np.linalg.inv(sketch.target)] if _tilt(pose, sketch.target) < TILT_RAD else []
        frame, _ = plan_frame(under, pose)
        turns = np.arange(8) * np.pi / 4
        ways += [frame @ _about_z(turn) @ np.linalg.inv(sketch.target_outline) for turn in turns]
        level_m = _level(under, pose, task.kind) + sketch.over_m + SPARE_M
        for way in ways:  # as high over it as shown, whatever has become of their sizes
            way[2, 3] += level_m - _lowest(item, way @ sketch.bringing[-1] @ fitted)
        ends = np.array([way @ sketch.bringing[-1] @ fitted @ np.linalg.inv(held) for way in ways])
        ends = self._base_from_scene @ ends
        q, exact = self._reach(ends, 1, self._about_upright(ends, held))
        far = np.abs(q - self._home).max(axis=1)
        own = len(ways) - len(turns)
        # As it was shown where that goes, else with the wrist turned least.
        order = sorted(np.flatnonzero(exact).tolist(), key=lambda k: (k >= own, round(float(far[k]), 6)))
        return [ways[k] for k in order]

    def _solved(
        self, tools: FloatArray, start: FloatArray | None = None, held: FloatArray | None = None
    ) -> FloatArray | None:
        """Joint positions ``(T, J)`` for tool poses in the scene, each from the one before; None where it cannot.

        Args:
            tools: ``(T, 4, 4)``; an arm of five joints leans or turns the hand as it must.
            start: ``(J,)`` from where to the first; left out: wherever the arm gets there most easily.
            held: ``(4, 4)`` `tool_from_object` of what stays upright on the way.
        """
        base = self._base_from_scene @ tools
        loose = self._about_closing(len(base)) if held is None else self._about_upright(base, held)
        each = [None if loose is None else Loose(loose.axis[k, None], loose.point[k, None]) for k in range(len(base))]
        solve = self.planner.chain.solve
        q, exact = self._reach(base[:1], 2, each[0]) if start is None else solve(base[:1], start[None], 25, each[0])
        if not exact[0]:
            return None
        found = [q[0]]
        for pose, slack in zip(base[1:], each[1:], strict=True):
            q, exact = solve(pose[None], found[-1][None], 25, slack)
            if not exact[0] or np.abs(q[0] - found[-1]).max() > JUMP_RAD:
                return None
            found.append(q[0])
        return np.array(found)

    def _room(self, way: FloatArray, opening: FloatArray, closes: int, name: str) -> bool:
        """Whether nothing is touched on the way but the object, and that only once the gripper closes."""
        own = frozenset([name])
        return all(
            self.planner.clearance(q, float(width), own if k >= closes else frozenset()) > -0.001
            for k, (q, width) in enumerate(zip(way[: closes + 2], opening, strict=False))
        )

    def _set_down(self, task: Task, aim: Aim) -> Actions:
        cell, sketch, name = self.cell, aim.sketch, task.what[0]
        self._look()
        held = np.linalg.inv(cell.arm.tool()) @ cell.world.pose(name)
        self.planner.carry(Held(name, held))
        for moved in self._brought(task, sketch, aim.fitted, held):
            # As the object was brought, not the hand: it may be held a little otherwise.
            tools = moved @ sketch.bringing @ aim.fitted @ np.linalg.inv(held)
            way = self._solved(tools, held=held)
            if way is not None and all(self.planner.clearance(q, self._opening) > -0.001 for q in way):
                break
        else:
            raise CannotError("no demonstration fits")
        yield from self._go(way[0], self._opening)
        if not cell.arm.holds(cell.world.body(name)):
            self.planner.carry(None)
            yield from self._grip(1.0)
            raise CannotError("it slipped")
        yield from self._play(way, np.full(len(way), self._opening))
        self.planner.carry(None)
        leaving = moved @ sketch.leaving
        end = cell.mount @ self.planner.chain.tool(way[-1])
        away = self._solved(end @ np.linalg.inv(leaving[0]) @ leaving, way[-1])
        if away is not None:
            yield from self._play(away, sketch.leaving_opening)
            return
        yield from self._grip(self._wide(name))
        self._look()
        yield from self._straight([0.0, 0.0, 0.1], 0.6, along_tool=True, ignore=frozenset([name]))

    def _stroke_on(
        self, name: str, sketch: Sketch, behind: FloatArray
    ) -> tuple[FloatArray | None, npt.NDArray[np.float64]]:
        """From ``(J,)`` behind the object on, so that the end is at the zone as shown: joint positions, openings."""
        assert sketch.target is not None
        zone = zone_of(self.cell, name)
        assert zone is not None
        here, there = _heading(self.cell.world.pose(name), zone), _heading(sketch.thing, sketch.target[:3, 3])
        here[:3, 3], there[:3, 3] = zone, sketch.target[:3, 3]
        tools = here @ np.linalg.inv(there) @ sketch.bringing
        last = self.cell.mount @ self.planner.chain.tool(behind)
        # What of the stroke lies before its beginning here is left out; a gap is crossed in a straight line.
        along = (tools[:, :3, 3] - last[:3, 3]) @ here[:3, 0]
        first = int(np.argmax(along > 0.0)) if (along > 0.0).any() else len(tools) - 1
        gap = float(np.linalg.norm(tools[first, :3, 3] - last[:3, 3]))
        steps = max(1, int(np.ceil(gap / 0.01)))
        bridge = np.tile(last, (steps, 1, 1))
        bridge[:, :3, 3] += np.linspace(0.0, 1.0, steps, endpoint=False)[:, None] * (tools[first] - last)[:3, 3]
        opening = np.concatenate([np.full(steps, sketch.taking_opening[-1]), sketch.leaving_opening[first:]])
        return self._solved(np.concatenate([bridge, tools[first:]]), behind), opening

    def _play(self, way: FloatArray, opening: FloatArray) -> Actions:
        """Joint positions one a tick as they were shown; slower where a joint would be too fast, and without jerks."""
        most = PACE * self._speed / self.cell.rate_hz
        rows = np.column_stack([way, opening])
        points = [np.append(self.cell.goal[:-1], self._opening)]
        for row in rows:
            ticks = max(1, int(np.ceil((np.abs(row - points[-1])[:-1] / most).max() - 1e-6)))
            points += list(points[-1] + (row - points[-1]) * (np.arange(1, ticks + 1) / ticks)[:, None])
        smooth = rounded(np.array(points), 2)
        self._opening = float(opening[-1])
        yield from smooth[1:]


def _heading(pose: FloatArray, zone: FloatArray) -> FloatArray:
    """``(4, 4)`` frame at a thing, x level and towards its zone, z up."""
    ahead = np.append(zone[:2] - pose[:2, 3], 0.0)
    ahead = ahead / max(float(np.linalg.norm(ahead)), 1e-9)
    frame = np.eye(4)
    frame[:3, 0], frame[:3, 1] = ahead, [-ahead[1], ahead[0], 0.0]
    frame[:3, 3] = pose[:3, 3]
    return frame


def plan_frame(item: SceneObject, pose: FloatArray) -> tuple[FloatArray, bool]:
    """``(4, 4)`` frame of a thing by its outline from above: at its middle, x along it, z up; whether it is long."""
    points = in_scene(item, pose)
    corners = outline(points[:, :2])
    _, _, ways = np.linalg.svd(corners - corners.mean(axis=0), full_matrices=False)
    along = corners @ ways.T
    low, high = along.min(axis=0), along.max(axis=0)
    frame = np.eye(4)
    frame[:2, 0], frame[:2, 1] = ways[0], [-ways[0, 1], ways[0, 0]]
    frame[:2, 3] = (low + high) / 2 @ ways
    frame[2, 3] = (points[:, 2].min() + points[:, 2].max()) / 2
    sides = high - low
    return frame, bool(sides[0] > 1.25 * sides[1])


def _lowest(item: SceneObject, pose: FloatArray) -> float:
    return float(in_scene(item, pose)[:, 2].min())


def _level(item: SceneObject, pose: FloatArray, kind: str) -> float:
    """Height of what counts of a target: its top where something is put onto it, else its lowest point."""
    heights = in_scene(item, pose)[:, 2]
    return float(heights.max() if kind in ("stack", "place-on") else heights.min())


def _about_z(angle: float) -> FloatArray:
    pose = np.eye(4)
    pose[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return pose
