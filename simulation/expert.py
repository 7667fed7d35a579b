"""Does the tasks in simulation, knowing where everything is: what a policy later learns to do from pictures.

It plans with `planner.Planner`: where to take hold (`grasps`), how to get there without touching anything, what is
held included, and looks again after every step; what slipped is tried again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from reconstruction.scene import HULL_MARGIN_M, SceneObject
from simulation.cell import LEANS, Cell
from simulation.chain import Loose
from simulation.forms import in_scene, outline
from simulation.grasps import Grasps, tool_poses
from simulation.motion import dense, even, rounded, timed
from simulation.planner import MARGIN_M, Held, Planner
from simulation.tasks import MOVED_M, TASKS, ZONE_M, Hollow, Task, moved, to_clear, top_middle, zone_of

FloatArray = npt.NDArray[np.float64]
Actions = Iterator[FloatArray]
SHARE_OF_SPEED = 0.7
ACCELERATION = 5.0
"""1/s: times its highest speed, a joint's acceleration in rad/s²."""
GENTLE = 0.35
"""Share of the usual speed near things."""
BACK_M = 0.08
"""The gripper comes in a straight line over this distance."""
LIFT_M = 0.12
CANDIDATES = 48
"""Grasps of a thing that are tried, each from several sides …"""
BATCH = 96
"""… so many at a time."""
STEEP = 0.1
"""Largest z of the direction from which a thing is grasped."""
NEARLY_LEVEL = np.sin(np.deg2rad(8.0))
"""A line between the fingers whose z is smaller is made level."""
TIP_M = 0.003
"""What is held lies at least so far inside the fingertips, and these stay so far above what it stands on."""
OTHERWISE = 6
"""More ways for the arm to get to a grasp, where the nearest has no room."""
NEAR_M = 0.001
"""The gripper may come this near to things where it grasps or lets go."""
TRIES = 3
ROUNDED = 8
JOINED = 4
"""Points on either side over which a corner is rounded, in a path and between two."""
RESTS_S = 0.8
"""So long it waits for a task to be done …"""
SURE = 3
"""… and for so many ticks on end it must be."""
STROKES = 8
"""Times that a thing is pushed on at most …"""
STROKE_M = 0.12
"""… by this at most …"""
FINGER_M = 0.012
"""… by fingers that are so thick, seen from the tool's frame."""
PUSH_PACE = 0.3
OVER_M = 0.04
"""It passes so far over the tallest thing of the scene as it was scanned …"""
SHARES_OF_RISE = (1.0, 0.5, 0.25)
"""… or goes up by a smaller share, where the arm does not get so high …"""
SMALL_RISE_M = 0.01
"""… or not at all where it is hardly any."""
GAP_M = 0.0025
"""A finger that does not move is put so far beside what the other one will press against it."""


class CannotError(Exception):
    """The task cannot be done; says why in a few words, always the same for the same cause."""


@dataclass(frozen=True)
class Hold:
    """A way to take hold of a thing.

    Attributes:
        approach: ``(K, J)`` joint positions from before to at the thing.
        opening: of the gripper before.
        base_from_tool: ``(4, 4)`` at the thing.
    """

    approach: FloatArray
    opening: float
    base_from_tool: FloatArray


class Expert:
    """Plans and acts in one cell."""

    def __init__(self, cell: Cell, planner: Planner) -> None:
        """Take over a cell and its planner."""
        self.cell, self.planner, self.robot = cell, planner, cell.robot
        self._speed = SHARE_OF_SPEED * np.array(cell.robot.speed)
        self._home = np.array(cell.robot.home)
        self._leant = np.eye(3)

    def perform(self, task: Task) -> Actions:
        """The actions that do a task, one a tick; each is worked out when the one before it was done.

        It takes over from whoever has begun: what is in the gripper is brought on from there.

        Raises:
            CannotError: it cannot be done, or was not.
        """
        cell = self.cell
        self.planner.load(cell.family, cell.cousin, cell.scene, cell.mount)
        self._base_from_scene = np.linalg.inv(cell.mount)
        self._seed = cell.cousin.index
        self._opening = float(cell.goal[-1])
        if cell.ticks and not self._has(moved(cell, task)):  # somebody else has begun
            yield from self._open_up()
        problem = "not done"
        for _ in range(TRIES):
            try:
                yield from self._once(task)
            except CannotError as error:
                problem = str(error)
                self.planner.carry(None)
                if not self._worth_another(problem):
                    break
                yield from self._stand_back()
            rested = 0
            for _ in range(round(RESTS_S * cell.rate_hz)):
                yield cell.goal
                rested = rested + 1 if TASKS[task.kind].done(cell, task) else 0
                if rested == SURE:
                    return
        raise CannotError(problem)

    def _worth_another(self, problem: str) -> bool:
        return problem in ("it slipped", "nothing was grasped", "not done", "no free way")

    def _once(self, task: Task) -> Actions:
        name = task.what[0]
        if task.kind == "pick":
            yield from self._pick(name, None)
        elif task.kind == "place-in":
            yield from self._bring(name, lambda item, pose: self._into(item, pose, task.where))
        elif task.kind in ("place-on", "stack"):
            yield from self._bring(name, lambda item, pose: self._onto(item, pose, task.where))
        elif task.kind == "place-beside":
            yield from self._bring(name, lambda item, pose: self._beside(item, pose, task.where))
        elif task.kind == "push":
            yield from self._push(name)
        else:
            yield from self._clear(task)

    # Taking hold ---------------------------------------------------------------------------------------------------

    def _bring(self, name: str, goals: Callable[[SceneObject, FloatArray], list[FloatArray]]) -> Actions:
        if self._has(name):
            yield from self._grip(0.0)
            yield from self._lift(name)
        else:
            yield from self._pick(name, goals)
        yield from self._put(name, goals)

    def _has(self, name: str) -> bool:
        return self.cell.arm.holds(self.cell.world.body(name))

    def _pick(self, name: str, goals: Callable[[SceneObject, FloatArray], list[FloatArray]] | None) -> Actions:
        cell = self.cell
        self._look()
        self._leant = np.eye(3)
        hold = self._hold(name, goals)
        yield from self._go(hold.approach[0], hold.opening, hold.approach)
        yield from self._grip(0.0)
        if not self._has(name):
            yield from self._grip(1.0)
            raise CannotError("nothing was grasped")
        before = cell.world.pose(name)[2, 3]
        yield from self._lift(name)
        if cell.world.pose(name)[2, 3] < before + LIFT_M / 2 or not self._has(name):
            self.planner.carry(None)
            yield from self._grip(1.0)
            raise CannotError("it slipped")

    def _lift(self, name: str) -> Actions:
        """Straight up with what is held."""
        cell = self.cell
        self._look()
        self.planner.carry(Held(name, np.linalg.inv(cell.arm.tool()) @ cell.world.pose(name)))
        stood = self.planner.chain.tool(cell.goal[:-1])
        yield from self._straight([0.0, 0.0, LIFT_M], 0.6, ignore=self._under(name))
        if self.robot.loose:
            turn = self.planner.chain.tool(cell.goal[:-1])[:3, :3] @ stood[:3, :3].T
            self._leant = cell.mount[:3, :3] @ turn @ cell.mount[:3, :3].T

    def _hold(self, name: str, goals: Callable[[SceneObject, FloatArray], list[FloatArray]] | None) -> Hold:
        cell = self.cell
        item, grasps = self._item(name), cell.grasps(name)
        if not len(grasps):
            raise CannotError("too wide for the gripper")
        pose = self._base_from_scene @ cell.world.pose(name)
        low_m = float(in_scene(replace(item, scene_from_object=pose))[:, 2].min())
        tools, scores, widths = self._ranked(grasps, pose, low_m)
        if not len(tools):
            raise CannotError("no grasp from above")
        why = "out of reach"
        for other in (False, True):
            for start in range(0, len(tools), BATCH):
                some = slice(start, start + BATCH)
                loose = self._about_closing(len(tools[some]))
                if other:
                    q, exact, which = self._otherwise(tools[some], loose)
                else:
                    q, exact = self._reach(tools[some], 2, loose)
                    which = np.arange(len(q))
                there = tools[some][which]
                if loose is not None:
                    there = self.planner.chain.tool(q)
                    exact &= there[:, 2, 2] < STEEP
                ease = scores[some][which] - 0.08 * np.abs(q - self._home).max(axis=1)
                for k in np.argsort(np.where(exact, -ease, np.inf), kind="stable")[: int(exact.sum())]:
                    hold = self._approach(name, there[k], q[k], float(widths[some][which[k]]))
                    if hold is None:
                        why = "no room for the gripper"
                        continue
                    if goals is not None:
                        tool_from_object = np.linalg.inv(hold.base_from_tool) @ pose
                        if self._where_to(name, item, tool_from_object, goals, quick=True) is None:
                            why = "no room to put it"
                            continue
                    return hold
        raise CannotError(why)

    def _approach(self, name: str, base_from_tool: FloatArray, q: FloatArray, width_m: float) -> Hold | None:
        """The way to a grasp, as far open as there is room for; None where there is none."""
        # Fingers on links go farther out as they close: what was just over the table would be pressed into it.
        if self.planner.clearance(q, min(1.0, self.robot.opening_for(width_m)), frozenset([name])) < NEAR_M:
            return None
        # A jaw that turns comes nearer to what is held the nearer to its pin: it may have to open wide.
        for spare_m in (0.03, 0.01) if not self.robot.jaw else (0.03, 1.0, 0.01):
            opening = min(1.0, self.robot.opening_for(width_m + spare_m))
            if self.planner.clearance(q, opening) < NEAR_M:
                continue
            line = self._line(base_from_tool, q, -BACK_M * base_from_tool[:3, 2], opening, frozenset(), NEAR_M)
            if line is not None:
                return Hold(line[::-1], opening, base_from_tool)
        return None

    def _ranked(self, grasps: Grasps, pose: FloatArray, low_m: float) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Tool poses ``(N, 4, 4)`` in the base frame for the best grasps of an object at `pose`, scores and widths.

        Nothing goes lower than `low_m`, that of the object's lowest point: there is what it stands on.
        """
        center = grasps.center @ pose[:3, :3].T + pose[:3, 3]
        axis = grasps.axis @ pose[:3, :3].T
        # What is nearly level may as well be: else one fingertip is lower than the other.
        nearly = np.abs(axis[:, 2]) < NEARLY_LEVEL
        axis[nearly, 2] = 0.0
        axis[nearly] /= np.linalg.norm(axis[nearly], axis=1)[:, None]
        left = grasps.level(pose[:3, :3])
        deep = np.clip(1.0 - (center[:, 2] - low_m) / (self.robot.finger_reach_m + TIP_M), 0.0, 1.0)
        score = grasps.score - 0.8 * np.abs(axis[:, 2]) - 0.4 * deep
        picked: list[int] = []
        for k in np.argsort(-score, kind="stable"):
            if left[k] and len(picked) < CANDIDATES:
                picked.append(int(k))
                # Another grasp just beside one that was taken adds nothing.
                apart = ((center - center[k]) ** 2).sum(axis=1) > 0.012**2
                left &= apart | (np.abs((axis * axis[k]).sum(axis=1)) < 0.95)
        tools = [tool_poses(center[k], axis[k]) for k in picked]
        if not tools:
            return np.zeros((0, 4, 4)), np.zeros(0), np.zeros(0)
        poses = np.concatenate(tools)
        scores = np.repeat(score[picked], len(tools[0])) - 0.4 * (1.0 + poses[:, 2, 2])
        widths = np.repeat(grasps.width[picked], len(tools[0]))
        if self.robot.jaw:
            poses[:, :3, 3] -= self.robot.jaw * (widths[:, None] / 2 + GAP_M) * poses[:, :3, 1]
        order = np.argsort(-scores, kind="stable")
        order = order[poses[order, 2, 2] < STEEP]
        # Low things are held by the very fingertips.
        reach = self.robot.finger_reach_m
        below = low_m + TIP_M - (poses[:, 2, 3] + reach * poses[:, 2, 2])
        back = np.clip(below, 0.0, max(reach - TIP_M, 0.0)) * (poses[:, 2, 2] < -0.5)
        poses[:, :3, 3] -= back[:, None] * poses[:, :3, 2]
        return poses[order], scores[order], widths[order]

    # Putting down --------------------------------------------------------------------------------------------------

    def _put(self, name: str, goals: Callable[[SceneObject, FloatArray], list[FloatArray]]) -> Actions:
        cell = self.cell
        self._look()
        tool_from_object = np.linalg.inv(cell.arm.tool()) @ cell.world.pose(name)
        self.planner.carry(Held(name, tool_from_object))
        found = self._where_to(name, self._item(name), tool_from_object, goals)
        if found is None:
            raise CannotError("no room to put it")
        above, down = found
        yield from self._go(above, self._opening, down)
        if not cell.arm.holds(cell.world.body(name)):
            self.planner.carry(None)
            yield from self._grip(1.0)
            raise CannotError("it slipped")
        self.planner.carry(None)
        yield from self._grip(self._wide(name))
        self._look()
        if self.robot.jaw:
            yield from self._aside(name)
        yield from self._straight([0.0, 0.0, 0.1], 0.6, along_tool=True, ignore=frozenset([name]))

    def _aside(self, name: str) -> Actions:
        """Take the finger that does not move off a thing, so that it does not drag it along."""
        across = self.cell.mount[:3, :3] @ self.planner.chain.tool(self.cell.goal[:-1])[:3, 1]
        try:
            yield from self._straight((-2 * GAP_M * self.robot.jaw * across).tolist(), GENTLE, frozenset([name]))
        except CannotError:
            return

    def _where_to(
        self,
        name: str,
        item: SceneObject,
        tool_from_object: FloatArray,
        goals: Callable[[SceneObject, FloatArray], list[FloatArray]],
        quick: bool = False,
    ) -> tuple[FloatArray, FloatArray] | None:
        """Joint positions over a place and the line ``(K, J)`` down to it, for a thing so held; None: no place."""
        cell, planner = self.cell, self.planner
        pose = cell.world.pose(name)
        pose[:3, :3] = self._leant.T @ pose[:3, :3]
        wanted = goals(item, pose)
        if not wanted:
            raise CannotError("no place for it")
        tools = np.array([self._base_from_scene @ pose @ np.linalg.inv(tool_from_object) for pose in wanted])
        loose = self._about_upright(tools, tool_from_object)
        q, exact = self._reach(tools, 1 if quick else 2, loose)
        if loose is not None:
            tools = planner.chain.tool(q)
        order = np.flatnonzero(exact)
        if quick:
            return (q[order[0]], q[order[:1]]) if len(order) else None
        for k in order:
            if planner.clearance(q[k], self._opening) < 0.0005:
                continue
            line = self._line(tools[k], q[k], np.array([0.0, 0.0, 0.08]), self._opening, frozenset(), 0.0005)
            if line is not None:
                return line[-1], line[::-1]
        return None

    def _about_closing(self, count: int) -> Loose | None:
        """An arm of five joints leans the hand as it must about the line between the fingers: it holds all the same."""
        if not self.robot.loose:
            return None
        return Loose(np.tile([0.0, 1.0, 0.0], (count, 1)), np.zeros((count, 3)))

    def _about_upright(self, tools: FloatArray, tool_from_object: FloatArray) -> Loose | None:
        """… and turns a thing as it must about the upright line through it: it stands all the same."""
        if not self.robot.loose:
            return None
        up = self._base_from_scene[:3, 2]
        return Loose(tools[:, :3, :3].transpose(0, 2, 1) @ up, np.tile(tool_from_object[:3, 3], (len(tools), 1)))

    def _turns(self, pose: FloatArray, place: FloatArray) -> tuple[float, ...]:
        """Quarter turns of a thing to try at a place ``(2,)``; an arm of five joints turns it as it turns itself."""
        usual = (0.0, 0.5, -0.5, 1.0, -1.0, 1.5, -1.5, 2.0)
        if not self.robot.loose:
            return usual
        base = self.cell.mount[:2, 3]
        ways = [np.arctan2(*(point - base)[::-1]) for point in (pose[:2, 3], place)]
        return (float(ways[1] - ways[0]) / (np.pi / 2), *usual)

    def _into(self, item: SceneObject, pose: FloatArray, where: str) -> list[FloatArray]:
        """Poses of a thing in a vessel: in the middle or, where something is, beside that; as low as it goes.

        What is longer than the vessel is wide leans in it: one end on its floor, the other over its rim.
        """
        cell = self.cell
        hollow = Hollow.of(cell, where)
        if len(hollow.rim) < 3:
            raise CannotError(f"{where} is not hollow")
        moved = cell.world.pose(where) @ np.linalg.inv(hollow.pose)
        rim_m, floor_m = hollow.rim_m + moved[2, 3], hollow.floor_m + moved[2, 3]
        center = (hollow.rim.min(axis=0) + hollow.rim.max(axis=0)) / 2
        middle = (moved @ np.array([*center, hollow.rim_m, 1.0]))[:2]
        wide = float(np.ptp(hollow.rim, axis=0).min())
        turns = self._turns(pose, middle)
        if _length(item, pose) > wide - 0.01:  # laid flat it would bridge the rim
            slope = float(np.arctan2(rim_m - floor_m, wide))
            return [
                _leaning(item, pose, turn * np.pi / 2, slope + more, middle, wide / 2 - 0.015, floor_m + bottom)
                for bottom in (0.012, 0.03)
                for more in (0.15, 0.3, 0.5)
                for turn in turns
            ]
        levels = np.unique(np.round(np.clip(np.array([0.012, 0.03, 0.05, 0.08]) + floor_m, None, rim_m + 0.02), 4))
        radius = wide / 4
        spots = [middle]
        taken = [cell.world.pose(name)[:2, 3] for name in cell.world.names if name not in (item.name, where)]
        if any(np.linalg.norm(place - middle) < 3 * radius for place in taken):
            way = np.arange(8) * np.pi / 4
            spots += list(middle + radius * np.stack([np.cos(way), np.sin(way)], axis=1))
        return [
            _standing(item, pose, turn * np.pi / 2, spot, float(bottom))
            for bottom in (*levels, rim_m + 0.02)
            for number, spot in enumerate(spots)
            for turn in (turns if number == 0 else turns[:3])
        ]

    def _onto(self, item: SceneObject, pose: FloatArray, where: str) -> list[FloatArray]:
        """Poses of a thing on another: where its top bears, just not touching."""
        cell = self.cell
        under = replace(self._item(where), scene_from_object=cell.world.pose(where))
        top = float(in_scene(under)[:, 2].max()) + 2 * HULL_MARGIN_M
        middle = top_middle(under, under.scene_from_object)
        return [_standing(item, pose, turn * np.pi / 2, middle, top + 0.003) for turn in self._turns(pose, middle)]

    def _beside(self, item: SceneObject, pose: FloatArray, where: str) -> list[FloatArray]:
        """Poses of a thing round another, 4 cm from it, those nearest to where it is first."""
        cell = self.cell
        other = in_scene(replace(self._item(where), scene_from_object=cell.world.pose(where)))
        middle = (other[:, :2].min(axis=0) + other[:, :2].max(axis=0)) / 2
        floor_m = float(other[:, 2].min()) - HULL_MARGIN_M + 0.004
        found = []
        for turn in (0.0, np.pi / 2):
            for way in np.arange(16) * np.pi / 8:
                ahead = np.array([np.cos(way), np.sin(way)])
                posed = _standing(item, pose, turn, middle, floor_m)
                own = in_scene(replace(item, scene_from_object=posed))[:, :2] - middle
                far = float(((other[:, :2] - middle) @ ahead).max() - (own @ ahead).min()) + 0.04
                posed[:2, 3] += far * ahead
                if np.linalg.norm(posed[:2, 3] - cell.start[item.name][:2, 3]) > 1.5 * MOVED_M:
                    found.append(posed)
        found.sort(key=lambda goal: round(float(np.linalg.norm(goal[:2, 3] - pose[:2, 3])), 6))
        return found

    # Pushing -------------------------------------------------------------------------------------------------------

    def _push(self, name: str) -> Actions:
        """Stroke by stroke: behind the thing, on towards the zone, away, and look again."""
        cell, item = self.cell, self._item(name)
        zone = zone_of(cell, name)
        if zone is None:
            raise CannotError("no free way to push")
        for _ in range(STROKES):
            self._look()
            pose = cell.world.pose(name)
            center = pose[:3, :3] @ item.center_of_mass + pose[:3, 3]
            offset = zone[:2] - center[:2]
            far = float(np.linalg.norm(offset))
            if far < 0.4 * ZONE_M:
                return
            yield from self._stroke(name, center, offset / far, far)

    def _stroke(self, name: str, center: FloatArray, ahead: FloatArray, far: float) -> Actions:
        cell, planner, robot = self.cell, self.planner, self.robot
        points = in_scene(replace(self._item(name), scene_from_object=cell.world.pose(name)))
        side = np.array([-ahead[1], ahead[0]])
        behind = float(((points[:, :2] - center[:2]) @ ahead).min()) - HULL_MARGIN_M
        wide = float(np.ptp(points[:, :2] @ side))
        low, high = float(points[:, 2].min()), float(points[:, 2].max())
        height = low + robot.finger_reach_m + float(np.clip(0.3 * (high - low), 0.006, 0.03))
        beside = float(np.clip(robot.opening_for(0.5 * wide), 0.01, 1.0))
        ways: list[tuple[FloatArray, float, FloatArray]] = []
        for back_m in (0.03, 0.02, 0.045):
            # Both fingers push side by side where there is room for the hand, else one behind the other, or askew.
            for turn in np.pi / 4 * np.array([0, 4, 2, -2, 1, -1, 3, -3]):
                across = np.cos(turn) * side + np.sin(turn) * ahead
                tool = np.eye(4)
                tool[:3, 1], tool[:3, 2] = [*across, 0.0], [0.0, 0.0, -1.0]
                tool[:3, 0] = np.cross(tool[:3, 1], tool[:3, 2])
                opening = beside if abs(np.sin(turn)) < 0.5 else 0.0
                start = center[:2] + ahead * (behind - back_m - (0.0 if opening else 0.012))
                stop = start + ahead * (min(far, STROKE_M) + back_m - (FINGER_M if opening else 0.0))
                tool[:3, 3] = [*start, height]
                tool[:3, 3] -= robot.off_middle_m(opening) * tool[:3, 1]
                onward = self._base_from_scene[:3, :3] @ np.array([*(stop - start), 0.0])
                ways.append((self._base_from_scene @ tool, opening, onward))
        for other in (False, True):
            for tool, opening, onward in ways:
                q, exact = self._otherwise(tool[None], None)[:2] if other else self._reach(tool[None], 2)
                for k in np.flatnonzero(exact):
                    if planner.clearance(q[k], opening) < NEAR_M:
                        continue
                    stroke = self._line(tool, q[k], onward, opening, frozenset([name]), NEAR_M, 16)
                    down = self._line(tool, q[k], np.array([0.0, 0.0, 0.1]), opening, frozenset(), NEAR_M)
                    if stroke is None or down is None:
                        continue
                    yield from self._go(down[-1], opening, down[::-1])
                    yield from self._follow(stroke, opening, PUSH_PACE)
                    self._look()
                    yield from self._straight([*(-0.02 * ahead), 0.0], GENTLE, ignore=frozenset([name]))
                    yield from self._straight([0.0, 0.0, 0.1], 0.6, ignore=frozenset([name]))
                    return
        raise CannotError("no room to push")

    # Clearing ------------------------------------------------------------------------------------------------------

    def _clear(self, task: Task) -> Actions:
        """One thing after the other, those nearest to the vessel first."""
        cell = self.cell
        goal = cell.start[task.where][:2, 3]
        near = sorted(to_clear(cell, task), key=lambda name: float(np.linalg.norm(cell.start[name][:2, 3] - goal)))
        for name in near:
            single = Task("place-in", (name,), task.where)
            if not TASKS["place-in"].done(cell, single):
                yield from self._bring(name, lambda item, pose: self._into(item, pose, task.where))
                yield from self._wait(0.3)

    # Moving --------------------------------------------------------------------------------------------------------

    def _item(self, name: str) -> SceneObject:
        return next(item for item in self.cell.scene.objects if item.name == name)

    def _look(self) -> None:
        self.planner.look(self.cell.world.poses())

    def _under(self, name: str) -> frozenset[str]:
        """What a thing touches: it may slide along that while it is lifted."""
        found: set[str] = set()
        for contact in self.cell.world.contacts(name):
            found.update(contact.names)
        return frozenset(found - {name, ""})

    def _wide(self, name: str) -> float:
        """How far to open so that a held thing is free: not farther, there may be a wall."""
        now = self.cell.arm.positions()
        wide = min(1.0, float(now[-1]) + self.robot.opening_for(0.025))
        if self.robot.jaw:  # one jaw makes all the way, and needs the more room on its side
            self._look()
            for more_m in (0.025, 0.015, 0.008):
                wide = min(1.0, float(now[-1]) + self.robot.opening_for(more_m))
                if self.planner.clearance(now[:-1], wide, frozenset([name])) > NEAR_M:
                    break
        return wide

    def _reach(
        self, tools: FloatArray, seeds: int, loose: Loose | None = None
    ) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
        """Joint positions ``(N, J)`` for tool poses, those nearest to home of several, and which are exact."""
        rng = np.random.default_rng(1)
        starts = [self._home, self.cell.goal[:-1]][: max(seeds, 1)]
        starts += [self._home + rng.normal(0.0, 0.5, len(self._home)) for _ in range(2)]
        q, exact = self._from(starts, tools, loose)
        cost = np.where(exact, np.abs(q - self._home).max(axis=2), np.inf)
        best = cost.argmin(axis=0)
        rows = np.arange(len(tools))
        return q[best, rows], exact[best, rows]

    def _otherwise(
        self, tools: FloatArray, loose: Loose | None
    ) -> tuple[FloatArray, npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
        """More joint positions ``(M, J)`` for tool poses, which are exact, and of which tool pose each is.

        An elbow on the other side, or a wrist turned the other way, may have room where the nearest one has none.
        """
        rng = np.random.default_rng(2)
        spread = np.minimum(1.2, (self.planner.chain.high - self.planner.chain.low) / 4)
        starts = [self._home + spread * rng.normal(size=len(spread)) for _ in range(OTHERWISE)]
        q, exact = self._from(starts, tools, loose)
        which = np.tile(np.arange(len(tools)), OTHERWISE)
        return q.reshape(len(which), -1), exact.ravel(), which

    def _from(
        self, starts: Sequence[FloatArray], tools: FloatArray, loose: Loose | None
    ) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
        """Joint positions ``(S, N, J)`` for N tool poses found from S starts, and which are exact."""
        chain = self.planner.chain
        turned = []
        for start in starts:
            q = np.tile(start, (len(tools), 1))
            # The first joint turns the arm towards the place: half of the way is done by that.
            q[:, 0] = chain.toward(self._home, tools[:, :3, 3])
            turned.append(q)
        goals = np.tile(tools, (len(starts), 1, 1))
        q, exact = chain.solve(goals, np.vstack(turned), 30)
        if loose is not None:  # from as near as it gets to the wanted pose
            every = Loose(np.tile(loose.axis, (len(starts), 1)), np.tile(loose.point, (len(starts), 1)))
            q, exact = chain.solve(goals, q, 30, every)
        return q.reshape(len(starts), len(tools), -1), exact.reshape(len(starts), len(tools))

    def _line(
        self,
        base_from_tool: FloatArray,
        q: FloatArray,
        offset: FloatArray,
        opening: float,
        ignore: frozenset[str],
        margin_m: float = 0.001,
        points: int = 8,
    ) -> FloatArray | None:
        """Joint positions ``(K, J)`` along a line from a tool pose by `offset` ``(3,)``; None where not free."""
        chain = self.planner.chain
        tools = np.tile(base_from_tool, (points, 1, 1))
        offsets = np.linspace(0.0, 1.0, points)[:, None] * offset
        tools[:, :3, 3] += offsets
        ways = [tools]
        if self.robot.loose:  # it may have to lean on the way
            ways += [chain.along(base_from_tool, offsets, lean) for lean in (0.0, *LEANS)]
        for way in ways:
            found, exact = chain.solve(way[1:], np.tile(q, (points - 1, 1)), 25)
            line = np.vstack([q, found])
            if not exact.all() or np.abs(np.diff(line, axis=0)).max() > 0.35:
                continue
            if self.planner.free(line, opening, margin_m, ignore):
                return line
        return None

    def _straight(
        self,
        offset: Sequence[float],
        pace: float,
        ignore: frozenset[str] = frozenset(),
        along_tool: bool = False,
    ) -> Actions:
        """Move the tool by `offset` (m, scene frame; or back along its own z), as far as it goes."""
        cell = self.cell
        q = cell.goal[:-1]
        tool = self.planner.chain.tool(q)
        way = self._base_from_scene[:3, :3] @ np.array(offset)
        if along_tool:
            way = -tool[:3, 2] * float(np.linalg.norm(offset))
        for share in (1.0, 0.6, 0.3):
            line = self._line(tool, q, share * way, self._opening, ignore, -0.002)
            if line is not None:
                yield from self._follow(line, self._opening, pace)
                return
        raise CannotError("no free way")

    def _go(self, goal: FloatArray, opening: float, onward: FloatArray | None = None) -> Actions:
        """Move freely to joint positions ``(J,)`` and, more slowly, on along a free line ``(K, J)`` from there."""
        start, wide = self.cell.goal[:-1], max(opening, self._opening)
        corners = self._over(start, goal, wide)
        if corners is None:
            corners = self.planner.way(start, goal, wide, self._seed)
        if corners is None:
            raise CannotError("no free way")
        first = rounded(even(dense(corners)), ROUNDED)
        if onward is None:
            yield from self._along(first, opening)
            return
        second = rounded(even(dense(onward)), ROUNDED)
        # In one go, where the corner between the two may be cut.
        both = rounded(np.vstack([first[:-1], second]), JOINED)
        pace = np.repeat([1.0, GENTLE], [len(first) - 1, len(second)])
        near = slice(max(0, len(first) - 1 - JOINED), len(first) + JOINED)
        if self.planner.free(both[near], max(opening, self._opening), NEAR_M):
            yield from self._along(both, opening, pace)
        else:
            yield from self._along(first, opening)
            yield from self._along(second, opening, np.full(len(second), GENTLE))

    def _over(self, start: FloatArray, goal: FloatArray, opening: float) -> FloatArray | None:
        """Corners ``(C, J)`` of a way up, over all that may stand in between, and down; None where there is none.

        Not the shortest, but always alike whatever stands there: who learns from it need not know.
        """
        mount = self.cell.mount
        heights = [float((mount @ self.planner.chain.tool(q))[2, 3]) for q in (start, goal)]
        rise_m = max(0.0, self._top_m() - max(heights))
        for share in SHARES_OF_RISE:
            top = max(heights) + share * rise_m
            lines = [self._up(q, top - height, opening) for q, height in zip((start, goal), heights, strict=True)]
            if lines[0] is None or lines[1] is None:
                continue
            across = self.planner.way(lines[0][-1], lines[1][-1], opening, self._seed)
            if across is not None:
                return np.vstack([lines[0][:-1], across, lines[1][-2::-1]])
        return None

    def _up(self, q: FloatArray, rise_m: float, opening: float) -> FloatArray | None:
        """Joint positions ``(K, J)`` straight up from some; these alone where it is no way, None where not free."""
        if rise_m < SMALL_RISE_M:
            return q[None]
        offset = np.asarray(rise_m * self._base_from_scene[:3, 2], dtype=np.float64)
        return self._line(self.planner.chain.tool(q), q, offset, opening, frozenset(), MARGIN_M)

    def _top_m(self) -> float:
        """Height of the tool (m, scene frame) at which what it holds passes over all that was scanned."""
        cell, held = self.cell, self.planner.held
        below = self.robot.finger_reach_m
        if held is not None:
            posed = replace(self._item(held.name), scene_from_object=cell.world.pose(held.name))
            below = max(below, float(cell.arm.tool()[2, 3] - in_scene(posed)[:, 2].min()))
        return max(float(in_scene(item)[:, 2].max()) for item in cell.wardrobe.scene.objects) + below + OVER_M

    def _follow(self, corners: FloatArray, opening: float, pace: float) -> Actions:
        path = rounded(even(dense(corners)), ROUNDED)
        yield from self._along(path, opening, np.full(len(path), pace))

    def _along(self, path: FloatArray, opening: float, pace: FloatArray | None = None) -> Actions:
        """Move along a dense path ``(K, J)``, at `pace` ``(K,)`` times the usual speed."""
        points = timed(path, self._speed, ACCELERATION * self._speed, self.cell.rate_hz, pace)
        before = self._opening
        self._opening = opening
        for k, q in enumerate(points, 1):
            yield np.append(q, before + (opening - before) * min(1.0, k / 4))

    def _grip(self, opening: float) -> Actions:
        """Open or close where it stands."""
        before, q = self._opening, self.cell.goal[:-1]
        ticks = max(2, round(0.25 * self.cell.rate_hz))
        for k in range(1, ticks + 1):
            yield np.append(q, before + (opening - before) * k / ticks)
        self._opening = opening
        yield from self._wait(0.2)

    def _wait(self, seconds: float) -> Actions:
        for _ in range(round(seconds * self.cell.rate_hz)):
            yield self.cell.goal

    def _open_up(self) -> Actions:
        """Let go of whatever it is; away from it only where the gripper touches something."""
        self._look()
        if self._opening < 1.0:
            yield from self._grip(1.0)
            self._look()
        if self.planner.clearance(self.cell.goal[:-1], 1.0) < NEAR_M:
            yield from self._stand_back()

    def _stand_back(self) -> Actions:
        """Away from whatever was tried, up and open."""
        self._look()
        if self._opening < 1.0:
            yield from self._grip(1.0)
        try:
            yield from self._straight([0.0, 0.0, 0.1], 0.6, ignore=frozenset(self.cell.world.names))
        except CannotError:
            return


def _standing(item: SceneObject, pose: FloatArray, turn: float, middle: FloatArray, bottom_m: float) -> FloatArray:
    """`scene_from_object` of a thing turned about z from `pose`, its middle and its lowest point where wanted."""
    c, s = np.cos(turn), np.sin(turn)
    moved = np.eye(4)
    moved[:2, :2] = [[c, -s], [s, c]]
    moved = moved @ pose
    points = in_scene(replace(item, scene_from_object=moved))
    moved[:2, 3] += middle - (points[:, :2].min(axis=0) + points[:, :2].max(axis=0)) / 2
    moved[2, 3] += bottom_m - float(points[:, 2].min())
    return moved


def _length(item: SceneObject, pose: FloatArray) -> float:
    """How long a thing at a pose is, seen from above."""
    corners = outline(in_scene(replace(item, scene_from_object=pose))[:, :2])
    return float(np.linalg.norm(corners[:, None] - corners[None], axis=2).max())


def _leaning(
    item: SceneObject, pose: FloatArray, turn: float, lean: float, middle: FloatArray, off_m: float, bottom_m: float
) -> FloatArray:
    """`scene_from_object` of a long thing with one end down by `lean`, that end `off_m` from the middle, turned."""
    plan = in_scene(replace(item, scene_from_object=pose))[:, :2]
    _, _, ways = np.linalg.svd(plan - plan.mean(axis=0), full_matrices=False)
    c, s = np.cos(turn), np.sin(turn)
    turned = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
    ahead = turned @ np.array([*ways[0], 0.0])
    moved = np.eye(4)
    # About the level axis across it: its front end goes down.
    moved[:3, :3] = Rotation.from_rotvec(lean * np.cross([0.0, 0.0, 1.0], ahead)).as_matrix() @ turned
    moved = moved @ pose
    points = in_scene(replace(item, scene_from_object=moved))
    front = points[:, :2] @ ahead[:2]
    across = points[:, :2] - front[:, None] * ahead[:2]
    moved[:2, 3] += middle - (across.min(axis=0) + across.max(axis=0)) / 2 + (off_m - front.max()) * ahead[:2]
    moved[2, 3] += bottom_m - float(points[:, 2].min())
    return moved
