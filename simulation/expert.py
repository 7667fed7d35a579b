"""Does the tasks in simulation, knowing where everything is: what a policy later learns to do from pictures.

It plans with `planner.Planner`: where to take hold (`grasps`), how to get there without touching anything, what is
held included, and looks again after every step; what slipped is tried again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from reconstruction.scene import HULL_MARGIN_M, SceneObject
from simulation.cell import Cell
from simulation.chain import Loose
from simulation.forms import in_scene
from simulation.grasps import Grasps, tool_poses
from simulation.moves import GENTLE, NEAR_M, Actions, CannotError, Moves
from simulation.packing import Spot
from simulation.places import beside, into, onto
from simulation.planner import Held, Planner
from simulation.tasks import TASKS, ZONE_M, Task, moved, to_clear, zone_of

FloatArray = npt.NDArray[np.float64]
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
SHUT = 0.02
"""A gripper that is told to open no farther than this presses as firmly as one that is told to close."""
TRIES = 3
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
GAP_M = 0.0025
"""A finger that does not move is put so far beside what the other one will press against it."""


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


class Expert(Moves):
    """Plans and acts in one cell."""

    def __init__(self, cell: Cell, planner: Planner) -> None:
        """Take over a cell and its planner."""
        super().__init__(cell, planner)
        self._leant = np.eye(3)

    def perform(self, task: Task) -> Actions:
        """The actions that do a task, one a tick; each is worked out when the one before it was done.

        It takes over from whoever has begun: what is in the gripper is brought on from there.

        Raises:
            CannotError: it cannot be done, or was not.
        """
        cell = self.cell
        self._begin()
        if cell.ticks and not self._has(moved(cell, task)):  # somebody else has begun
            yield from self._let_go()
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
        cell, name = self.cell, task.what[0]
        if task.kind == "pick":
            yield from self._pick(name, None)
        elif task.kind == "place-in":
            yield from self._bring(name, lambda item, pose: into(cell, item, pose, task.where))
        elif task.kind in ("place-on", "stack"):
            yield from self._bring(name, lambda item, pose: onto(cell, item, pose, task.where))
        elif task.kind == "place-beside":
            yield from self._bring(name, lambda item, pose: beside(cell, item, pose, task.where))
        elif task.kind == "push":
            yield from self._push(name)
        else:
            yield from self._clear(task)

    # Taking hold ---------------------------------------------------------------------------------------------------

    def _bring(self, name: str, goals: Callable[[SceneObject, FloatArray], list[FloatArray]]) -> Actions:
        if self._has(name):
            if self._opening > SHUT:
                yield from self._grip(0.0)
            if self._under(name):  # else it was lifted already: who holds it in the air goes on from there
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
        item, grasps = self.cell.item(name), cell.grasps(name)
        if not len(grasps):
            raise CannotError("too wide for the gripper")
        pose = self._base_from_scene @ cell.world.pose(name)
        low_m = float(in_scene(item, pose)[:, 2].min())
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
        tools = tool_poses(center[picked], axis[picked])
        poses = tools.reshape(-1, 4, 4)
        scores = np.repeat(score[picked], tools.shape[1]) - 0.4 * (1.0 + poses[:, 2, 2])
        widths = np.repeat(grasps.width[picked], tools.shape[1])
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
        found = self._where_to(name, self.cell.item(name), tool_from_object, goals)
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

    # Pushing -------------------------------------------------------------------------------------------------------

    def _push(self, name: str) -> Actions:
        """Stroke by stroke: behind the thing, on towards the zone, away, and look again."""
        cell, item = self.cell, self.cell.item(name)
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
        points = in_scene(self.cell.item(name), cell.world.pose(name))
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
        """One thing after the other, each to where it leaves room for the others, else to where it goes."""
        cell = self.cell
        for name, spot in to_clear(cell, task).items():
            single = Task("place-in", (name,), task.where)
            if not TASKS["place-in"].done(cell, single):
                yield from self._bring(name, partial(self._spot_or_else, task.where, spot))
                yield from self._wait(0.3)

    def _spot_or_else(self, where: str, spot: Spot, item: SceneObject, pose: FloatArray) -> list[FloatArray]:
        return [*into(self.cell, item, pose, where, spot), *into(self.cell, item, pose, where)]
