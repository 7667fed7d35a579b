"""How an arm moves that knows where everything is: free ways, straight lines, the gripper."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from simulation.cell import Cell
from simulation.chain import Loose
from simulation.forms import in_scene
from simulation.motion import dense, even, rounded, timed
from simulation.planner import MARGIN_M, Planner
from simulation.reach import LEANS

FloatArray = npt.NDArray[np.float64]
Actions = Iterator[FloatArray]
SHARE_OF_SPEED = 0.7
ACCELERATION = 5.0
"""1/s: times its highest speed, a joint's acceleration in rad/s²."""
GENTLE = 0.35
"""Share of the usual speed near things."""
OTHERWISE = 6
"""More ways for the arm to get to a grasp, where the nearest has no room."""
NEAR_M = 0.001
"""The gripper may come this near to things where it grasps or lets go."""
ROUNDED = 8
JOINED = 4
"""Points on either side over which a corner is rounded, in a path and between two."""
OVER_M = 0.04
"""It passes so far over the tallest thing of the scene as it was scanned …"""
SHARES_OF_RISE = (1.0, 0.5, 0.25)
"""… or goes up by a smaller share, where the arm does not get so high …"""
SMALL_RISE_M = 0.01
"""… or not at all where it is hardly any."""
FUNNEL, BESIDE_M = 1.0, 0.1
"""… or where it is nearly there already: no farther beside the goal than this share of its height over it, or this."""
JOINS_M, JOINS_RAD, AHEAD = 0.02, 0.3, 2
"""So near to a straight line on which it goes on, in place and turn, it joins it, so many points ahead …"""
NEARLY = 0.1
"""… once the gripper is open as it is to be, or that much more or less."""


class CannotError(Exception):
    """The task cannot be done; says why in a few words, always the same for the same cause."""


class Moves:
    """What an arm does in one cell; each action is worked out when the one before it was done."""

    def __init__(self, cell: Cell, planner: Planner) -> None:
        """Take over a cell and its planner."""
        self.cell, self.planner, self.robot = cell, planner, cell.robot
        self._speed = SHARE_OF_SPEED * np.array(cell.robot.speed)
        self._home = np.array(cell.robot.home)

    def _begin(self) -> None:
        """Get ready for the cousin that is loaded, as it is now."""
        cell = self.cell
        self.planner.load(cell.family, cell.cousin, cell.scene, cell.mount)
        self._base_from_scene = np.linalg.inv(cell.mount)
        self._seed = cell.cousin.index
        self._opening = float(cell.goal[-1])

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
        rest = None if onward is None else self._joined(start, onward, wide)
        if rest is not None:
            if abs(opening - self._opening) > NEARLY:
                yield from self._grip(opening)
            yield from self._follow(rest, opening, GENTLE)
            return
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

    def _joined(self, start: FloatArray, onward: FloatArray, opening: float) -> FloatArray | None:
        """Joint positions ``(K, J)`` from some to the end of a line that they are nearly on; None where they are not.

        Nobody who is on the way down is to go back first: who learns from it would come to stand still there.
        """
        there, line = self.planner.chain.tool(start), self.planner.chain.tool(onward)
        off = np.linalg.norm(line[:, :3, 3] - there[:3, 3], axis=1)
        nearest = int(off.argmin())
        turned = Rotation.from_matrix(line[nearest, :3, :3].T @ there[:3, :3]).magnitude()
        if off[nearest] > JOINS_M or turned > JOINS_RAD:
            return None
        rest = np.vstack([start, onward[min(nearest + AHEAD, len(onward) - 1) :]])
        return rest if self.planner.free(rest[:2], opening, NEAR_M) else None

    def _over(self, start: FloatArray, goal: FloatArray, opening: float) -> FloatArray | None:
        """Corners ``(C, J)`` of a way up, over all that may stand in between, and down; None where there is none.

        Not the shortest, but always alike whatever stands there: who learns from it need not know.
        Straight where it is nearly there already.
        """
        mount = self.cell.mount
        places = np.array([(mount @ self.planner.chain.tool(q))[:3, 3] for q in (start, goal)])
        (start_m, goal_m), top_m = places[:, 2], self._top_m()
        if start_m < top_m:  # as it comes down there in demonstrations, nobody who has come so far is to go up again
            apart_m = float(np.linalg.norm(places[1, :2] - places[0, :2]))
            direct = np.stack([start, goal])
            if apart_m < max(BESIDE_M, FUNNEL * (start_m - goal_m)) and self.planner.free(direct, opening):
                return direct
        for share in SHARES_OF_RISE:
            over_m = goal_m + share * max(0.0, top_m - goal_m)
            ends = zip((start, goal), (start_m, goal_m), strict=True)
            lines = [self._up(q, over_m - height_m, opening) for q, height_m in ends]
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
            posed = replace(self.cell.item(held.name), scene_from_object=cell.world.pose(held.name))
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

    def _let_go(self) -> Actions:
        """Of whatever the gripper touches, and away from it where it still does; of nothing, it need not."""
        q = self.cell.goal[:-1]
        self._look()
        if self.planner.clearance(q, self._opening) >= NEAR_M:
            return
        if self._opening < 1.0:
            yield from self._grip(1.0)
            self._look()
        if self.planner.clearance(q, 1.0) < NEAR_M:
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
