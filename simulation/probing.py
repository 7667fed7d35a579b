"""How an arm finds out what a thing weighs, and how it slides: it holds it up, and drags it over the table.

What its motors do says so only where nothing else is in it. A motor's own friction, and its bias, are larger than a
light thing; so everything is done twice, once with what is looked for and once without, the joints moving alike both
times, slowly and without a stop (a joint that rests may be held by its friction):

- *weighed*: up and down with the thing in the gripper, and the same without.
- *dragged*: forth and back with the thing held a little over the table, and the same while it is pressed onto the
  table. What comes to it is the force of the table alone: how much of that is along the way, of that across it, is
  the friction, whatever the thing weighs.

The way is planned, and rehearsed, in the simulation (`rehearse`). What an arm then does (`Probe`) is that, told blindly
but for the pressing: it goes down until its motors feel the table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reconstruction.scene import Scene
from simulation.bank import AS_SCANNED
from simulation.chain import Chain
from simulation.cousins import Cousin, Placed, scene_key
from simulation.expert import Expert
from simulation.moves import NEAR_M, CannotError
from simulation.planner import Held
from simulation.robots import USUAL_EFFORT, Robot
from simulation.variations import VARIATIONS

FloatArray = npt.NDArray[np.float64]
MOVING, LOADED, EMPTY, AIR, PRESSED = range(5)
"""What is being done in a tick: nothing that is measured; weighed with the thing, and without; dragged in the air, and
on the table."""
PHASE = "probe.phase"
"""The column of a dataset that holds one of these numbers."""
SWEEP_M, SWEEP_M_S, SWEEPS = 0.04, 0.02, 4
"""So far, so fast and so often it goes down and up …"""
DRAG_M, DRAG_M_S, DRAGS = 0.05, 0.02, 3
"""… and forth and back …"""
CLEAR_M = 0.006
"""… so far over the table."""
DEEPEST_M = 0.012
"""It goes no farther down than this to find the table …"""
SINK_M_S = 0.0015
"""… as slowly as this …"""
LEVEL_S, FELT_S = 2.0, 0.5
"""… and feels nothing during the first; then it feels what it does on the average of the last of these."""
SOFTLY_M_N, DEEPER_M = 1e-5, 0.003
"""While it drags the thing, it presses by so much (m a tick for each newton) more where it presses too little, and goes
at most so much farther down."""
RAISE_M_S = 0.015
DIRECTIONS = 8


@dataclass(frozen=True)
class Plan:
    """A way that was rehearsed; rows of goals are joint positions and opening ``(K, J + 1)``, one a tick.

    Attributes:
        thing: that is probed.
        lift: from home to where the thing is held up.
        sweep: down and up again there, often.
        down: from there to a little over the table.
        drag: forth and back there, often.
        leave: from there: to put the thing down, let go of it, and come to where the sweep begins.
        home: from there to home.
        along: ``(3,)`` unit, the way forth, base frame.
    """

    thing: str
    lift: FloatArray
    sweep: FloatArray
    down: FloatArray
    drag: FloatArray
    leave: FloatArray
    home: FloatArray
    along: FloatArray


def as_it_stands(scene: Scene, seed: int = 0, index: int = 0) -> Cousin:
    """A cousin in which everything is as in the scene itself."""
    objects = {item.name: Placed.at(item.name, AS_SCANNED, item.scene_from_object) for item in scene.objects}
    return Cousin(scene_key(scene), seed, index, 0, dict.fromkeys(VARIATIONS, 0.0), objects)


class Prober(Expert):
    """Rehearses in one cell."""

    def rehearse(self, name: str) -> Plan:
        """Weigh and drag a thing in the cousin that is loaded, and say how.

        Raises:
            CannotError: it cannot be done there; says why.
        """
        cell = self.cell
        self._begin()
        lift = self._done(self._pick(name, None))
        start = cell.goal.copy()
        sweep = self._done(self._sweep(name))
        height = self._held_m(name)
        down = self._done(self._lower(name, height - CLEAR_M))
        along, drag = self._dragged(name)
        self._done(iter(drag))
        leave = self._done(self._leave(name, start))
        self._done(iter(np.column_stack([sweep[:, :-1], np.full(len(sweep), self._opening)])))
        home = self._done(self._go(self._home, 1.0))
        if cell.faults:
            raise CannotError("a limit of the robot was broken")
        return Plan(name, lift, sweep, down, drag, leave, home, along)

    def _done(self, actions: Iterator[FloatArray]) -> FloatArray:
        """Do something; what was told ``(K, J + 1)``."""
        rows = []
        for action in actions:
            rounded = action.astype(np.float32).astype(np.float64)
            self.cell.act(rounded)
            rows.append(rounded)
        return np.array(rows).reshape(-1, len(self.cell.goal))

    def _held_m(self, name: str) -> float:
        """How far the thing is over where it stood."""
        return float(self.cell.world.pose(name)[2, 3] - self.cell.start[name][2, 3])

    def _steady(self, offset: FloatArray, speed_m_s: float) -> FloatArray:
        """Joint positions ``(K, J)`` along a line of the tool by `offset` ``(3,)`` (m, base), at a steady speed.

        Raises:
            CannotError: the arm does not get along it.
        """
        chain, q = self.planner.chain, self.cell.goal[:-1]
        ticks = max(2, round(float(np.linalg.norm(offset)) / speed_m_s * self.cell.rate_hz))
        found = line(chain, q, np.linspace(0.0, 1.0, ticks + 1)[1:, None] * offset, bool(self.robot.loose))
        if found is None or np.abs(np.diff(np.vstack([q, found]), axis=0)).max() > 0.1:
            raise CannotError("no free way")
        return found

    def _sweep(self, name: str) -> Iterator[FloatArray]:
        """Down and up again, often, with what is held."""
        self._carrying(name)
        offset = np.asarray(-SWEEP_M * self._base_from_scene[:3, 2])
        way = self._steady(offset, SWEEP_M_S)
        if not self.planner.free(way, self._opening, NEAR_M):
            raise CannotError("no room below what is held")
        start = self.cell.goal[:-1]
        back = np.vstack([way[-2::-1], start])
        for _ in range(SWEEPS):
            for q in np.vstack([way, back]):
                yield np.append(q, self._opening)

    def _lower(self, name: str, by_m: float) -> Iterator[FloatArray]:
        """Straight down by so much."""
        self._carrying(name)
        for q in self._steady(np.asarray(-by_m * self._base_from_scene[:3, 2]), 3 * SWEEP_M_S):
            yield np.append(q, self._opening)
        yield from self._wait(0.5)

    def _dragged(self, name: str) -> tuple[FloatArray, FloatArray]:
        """A direction ``(3,)`` in which there is room, base frame, and goals ``(K, J + 1)`` forth and back, often."""
        self._carrying(name)
        start = self.cell.goal[:-1]
        under = frozenset(self.cell.world.fixed_names)
        for turn in 2.0 * np.pi * np.arange(DIRECTIONS) / DIRECTIONS:
            along = self._base_from_scene[:3, :3] @ np.array([np.cos(turn), np.sin(turn), 0.0])
            try:
                way = self._steady(DRAG_M * along, DRAG_M_S)
            except CannotError:
                continue
            if self.planner.free(way, self._opening, NEAR_M, under):
                once = np.vstack([way, way[-2::-1], start])
                goals = np.tile(once, (DRAGS, 1))
                return along, np.column_stack([goals, np.full(len(goals), self._opening)])
        raise CannotError("no room to drag it")

    def _leave(self, name: str, start: FloatArray) -> Iterator[FloatArray]:
        yield from self._lower(name, self._held_m(name) - 0.0005)
        self.planner.carry(None)
        yield from self._grip(self._wide(name))
        self._look()
        if self.robot.jaw:
            yield from self._aside(name)
        yield from self._straight([0.0, 0.0, 0.1], 0.6, along_tool=True, ignore=frozenset([name]))
        yield from self._go(start[:-1], self._opening)
        yield from self._wait(0.5)

    def _carrying(self, name: str) -> None:
        if not self._has(name):
            raise CannotError("it slipped")
        self._look()
        self.planner.carry(Held(name, np.linalg.inv(self.cell.arm.tool()) @ self.cell.world.pose(name)))


def line(chain: Chain, q: FloatArray, offsets: FloatArray, loose: bool = False) -> FloatArray | None:
    """Joint positions ``(K, J)`` that bring the tool from where it is at `q` ``(J,)`` by `offsets` ``(K, 3)``.

    Metres, base frame; None where the arm does not get there. One of five joints turns its hand as it must.
    """
    tool = chain.tool(q)
    tools = np.tile(tool, (len(offsets), 1, 1))
    tools[:, :3, 3] += offsets
    if loose:
        tools = chain.along(tool, offsets)
    rows, at = [], q
    for wanted in tools:
        found, exact = chain.solve(wanted[None], at[None], 25)
        if not exact[0]:
            return None
        at = found[0]
        rows.append(at)
    return np.array(rows)


def rated(robot: Robot) -> FloatArray:
    """``(J,)`` what the motors of an arm do at most, N·m (N where a joint slides)."""
    return np.array([robot.joints[name].effort or USUAL_EFFORT for name in robot.arm])


class Probe:
    """What an arm does, tick by tick, and what of it is measured.

    Attributes:
        phase: what is done in the tick whose goal was asked for last.
        pressed_n: how firmly the thing was pressed on the table, as the motors felt it; None: it never was.
    """

    def __init__(self, plan: Plan, robot: Robot, rate_hz: float, press_n: float) -> None:
        """Get ready.

        Args:
            plan: for `robot`.
            robot: who does it.
            rate_hz: ticks a second.
            press_n: how firmly (N) the thing is pressed on the table.
        """
        self.plan, self.phase = plan, MOVING
        self.pressed_n: float | None = None
        self._chain, self._rate_hz, self._press_n = robot.chain, rate_hz, press_n
        self._loose, self._noise = robot.loose, rated(robot)

    def goals(self, felt: Callable[[], tuple[FloatArray, FloatArray]]) -> Iterator[FloatArray]:
        """Goals ``(J + 1,)``, one a tick.

        Args:
            felt: joint positions ``(J,)`` and efforts ``(J,)`` as they are measured now.
        """
        plan = self.plan
        yield from self._as(MOVING, plan.lift)
        yield from self._as(LOADED, plan.sweep)
        yield from self._as(MOVING, plan.down)
        alone: list[FloatArray] = []
        for goal in self._as(AIR, plan.drag):
            yield goal
            alone.append(felt()[1])
        yield from self._pressing(felt, np.array(alone))
        yield from self._as(MOVING, plan.leave)
        empty = np.column_stack([plan.sweep[:, :-1], np.full(len(plan.sweep), plan.leave[-1, -1])])
        yield from self._as(EMPTY, empty)
        yield from self._as(MOVING, plan.home)

    def _as(self, phase: int, rows: FloatArray) -> Iterator[FloatArray]:
        for row in rows:
            self.phase = phase
            yield row

    def _pressing(self, felt: Callable[[], tuple[FloatArray, FloatArray]], alone: FloatArray) -> Iterator[FloatArray]:
        """Down until the table is felt, then forth and back, and up again.

        Args:
            felt: see `goals`.
            alone: ``(K, J)`` efforts of the drag in the air.
        """
        start, step = self.plan.drag[-1], SINK_M_S / self._rate_hz
        deepest = CLEAR_M + DEEPEST_M
        offsets = -step * np.arange(1, round(deepest / step) + 1)[:, None] * np.array([0.0, 0.0, 1.0])
        way = line(self._chain, start[:-1], offsets, self._loose)
        if way is None:
            return
        goals = np.column_stack([way, np.full(len(way), start[-1])])
        level, window = round(LEVEL_S * self._rate_hz), max(1, round(FELT_S * self._rate_hz))
        found: list[FloatArray] = []
        for goal in self._as(MOVING, goals):
            yield goal
            q, efforts = felt()
            found.append(efforts)
            if len(found) > level + window:
                # At first it goes steadily through the air; what comes to that is the table's.
                more = np.mean(found[-window:], axis=0) - np.mean(found[level // 4 : level], axis=0)
                force = self._down_n(q, more)
                if force > self._press_n:
                    self.pressed_n = force
                    break
        deep = step * len(found)
        if self.pressed_n is not None:
            for goal in self._dragged_down(felt, alone, deep):
                deep = float(self._chain.tool(start[:-1])[2, 3] - self._chain.tool(goal[:-1])[2, 3])
                yield goal
        yield from self._as(MOVING, goals[: round(deep / step)][::-1][:: round(RAISE_M_S / SINK_M_S)])
        yield from self._as(MOVING, start[None])

    def _dragged_down(
        self, felt: Callable[[], tuple[FloatArray, FloatArray]], alone: FloatArray, deep_m: float
    ) -> Iterator[FloatArray]:
        """The drag, lower by about `deep_m`: more where the thing is pressed less firmly than it should be."""
        plan, chain = self.plan, self._chain
        window, most = max(1, round(FELT_S * self._rate_hz)), SINK_M_S / self._rate_hz
        lowest = deep_m + DEEPER_M
        tools = chain.tool(plan.drag[:, :-1])
        q = plan.drag[-1, :-1]
        more: list[FloatArray] = []
        for row, tool, efforts in zip(plan.drag, tools, alone, strict=True):
            lowered = tool.copy()
            lowered[2, 3] -= deep_m
            q = chain.solve(lowered[None], (row[:-1] if not more else q)[None], 25)[0][0]
            self.phase = PRESSED
            yield np.append(q, row[-1])
            now, felt_now = felt()
            more = [*more[-window + 1 :], felt_now - efforts]
            off_n = self._press_n - self._down_n(now, np.mean(more, axis=0))
            deep_m = min(lowest, deep_m + float(np.clip(SOFTLY_M_N * off_n, -2 * most, most)))

    def _down_n(self, q: FloatArray, efforts: FloatArray) -> float:
        """How firmly (N) the tool presses down, by what the motors do more ``(J,)`` at joint positions ``(J,)``."""
        return -float(forces(self._chain, q[None], efforts[None], self._noise)[0, 2])


def forces(chain: Chain, q: FloatArray, efforts: FloatArray, noise: FloatArray, lever_m: float = 0.03) -> FloatArray:
    """``(T, 3)`` the forces (N, base frame) that an arm's tool exerts, by what its motors do beyond what they do alone.

    Weighted least squares of ``efforts = J^T wrench``; of moments about the tool it is only known that they are small.

    Args:
        chain: of the arm.
        q: ``(T, J)``.
        efforts: ``(T, J)`` N·m (N where a joint slides).
        noise: ``(J,)`` how unsure each is, up to a factor.
        lever_m: about so far beside the tool a force acts.
    """
    jacobian = chain.jacobian(q) / noise
    scale = np.array([1.0, 1.0, 1.0, lever_m, lever_m, lever_m])
    rows = (jacobian * scale[:, None]).transpose(0, 2, 1)
    typical = np.linalg.norm(rows[:, :, :3], axis=(1, 2)).mean() / np.sqrt(3.0)
    # A moment of a newton at the lever is about as likely as a force of a newton.
    ridge = np.diag([1e-9, 1e-9, 1e-9, 0.05, 0.05, 0.05]) * typical**2
    square = rows.transpose(0, 2, 1) @ rows + ridge
    found = np.linalg.solve(square, rows.transpose(0, 2, 1) @ (efforts / noise)[:, :, None])[:, :, 0]
    return np.asarray(found[:, :3])
