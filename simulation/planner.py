"""What is free for a robot in a scene, and how it gets from one configuration to another.

The planner has a world of its own in which nothing moves by itself, with the same shapes as the one that is simulated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reconstruction.scene import Scene
from simulation.cousins import Cousin
from simulation.family import Family
from simulation.motion import dense
from simulation.robots import Arm, Robot
from simulation.world import World

FloatArray = npt.NDArray[np.float64]
CHECK_RAD = 0.06
"""Configurations on a path are looked at this far apart."""
STRIDE_RAD = 0.25
MARGIN_M = 0.004
ROBOT, SCENE, CARRIED = 1, 64, 128
"""Collision groups."""


@dataclass(frozen=True)
class Held:
    """What the gripper carries.

    Attributes:
        name: of the body.
        tool_from_object: ``(4, 4)``.
    """

    name: str
    tool_from_object: FloatArray


class Planner:
    """A robot's own picture of a scene; use it as a context manager."""

    def __init__(self, robot: Robot) -> None:
        """Start with an empty world."""
        self.robot = robot
        self.chain = robot.chain
        self.world = World()
        self.arm: Arm
        self._never: frozenset[tuple[int, int]] | None = None

    def __enter__(self) -> Planner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the world; harmless when repeated."""
        self.world.close()

    def load(self, family: Family, cousin: Cousin, scene: Scene, mount: FloatArray) -> None:
        """Take over a cousin and where the robot stands in it."""
        family.fill(self.world, cousin, scene)
        self.stand(mount)

    def stand(self, mount: FloatArray) -> None:
        """Put the robot into what has been put into `world`, at `scene_from_robot` ``(4, 4)``."""
        for name in (*self.world.names, *self.world.fixed_names):
            self._layer(name, SCENE)
        self.arm = Arm(self.world, self.robot, mount, self_collision=True)
        self.held: Held | None = None
        if self._never is None:
            self._never = self._never_apart()
            self._base = {-1, *(self.arm.links[name] for name in self.robot.fixed_links())}

    def _never_apart(self, samples: int = 60) -> frozenset[tuple[int, int]]:
        """Pairs of links that touch at home or almost always, and so do not count (as MoveIt's set-up finds them).

        Nor do links of the gripper among themselves: fingers are made to meet, and knuckles pass each other closely.
        """
        rng = np.random.default_rng(0)
        chain = self.chain
        found: Counter[tuple[int, int]] = Counter()
        home = np.array(self.robot.home)
        for number in range(samples):
            q = home if number == 0 else rng.uniform(chain.low, chain.high)
            self.arm.reset(np.append(q, number % 2))
            self.world.detect()
            rows = self.world.call("getContactPoints", self.arm.body, self.arm.body) or ()
            pairs = {(min(row[3], row[4]), max(row[3], row[4])) for row in rows if row[8] < MARGIN_M}
            found.update({pair: samples if number == 0 else 1 for pair in pairs})
        hand = sorted(self.arm.links[name] for name in self.robot.hand_links())
        own = {(first, second) for first in hand for second in hand if first < second}
        return frozenset(own | {pair for pair, count in found.items() if count > 0.9 * samples})

    def _layer(self, name: str, layer: int) -> None:
        # Nothing falls here, so what things of the scene do to each other need not be looked at.
        meets = {SCENE: ROBOT | CARRIED, CARRIED: ROBOT | SCENE}[layer]
        self.world.call("setCollisionFilterGroupMask", self.world.body(name), -1, layer, meets)

    def look(self, poses: Mapping[str, FloatArray]) -> None:
        """Take over where things are: `scene_from_object` by name."""
        for name, pose in poses.items():
            self.world.set_pose(name, pose)

    def carry(self, held: Held | None) -> None:
        """Reckon with something in the gripper, or no longer."""
        if self.held is not None:
            self._layer(self.held.name, SCENE)
        if held is not None:
            self._layer(held.name, CARRIED)
        self.held = held

    def clearance(self, q: FloatArray, opening: float, ignore: frozenset[str] = frozenset()) -> float:
        """Smallest distance (m) of arm and held thing to everything, at most 2 cm; negative where they overlap.

        Args:
            q: ``(J,)`` joint positions.
            opening: of the gripper, 0 … 1.
            ignore: things that the gripper may touch.
        """
        world, arm = self.world, self.arm
        arm.reset(np.append(q, opening))
        held = self.held
        if held is not None:
            tool = arm.scene_from_robot @ self.chain.tool(q)
            world.set_pose(held.name, tool @ held.tool_from_object)
        world.detect()
        nearest, never = 0.02, self._never or frozenset()
        free = {world.body(name) for name in ignore} | ({world.body(held.name)} if held else set())
        for row in world.call("getContactPoints", arm.body) or ():
            other, link, distance = row[2], row[3], row[8]
            if distance >= nearest or (row[1] == arm.body and other in free):
                continue
            if row[1] == other:
                if (min(link, row[4]), max(link, row[4])) in never:
                    continue
            elif row[1] != arm.body:
                if row[1] in free:
                    continue
                link = row[4]
            if link in self._base:  # it stands where it stands
                continue
            nearest = distance
        if held is not None:
            body = world.body(held.name)
            for row in world.call("getContactPoints", body) or ():
                if arm.body not in row[1:3] and not (set(row[1:3]) & free - {body}):
                    nearest = min(nearest, row[8])
        return float(nearest)

    def touches_itself(self, positions: FloatArray) -> bool:
        """Whether links that can be apart overlap, at ``(J + 1,)`` positions of the arm and opening of the gripper."""
        self.arm.reset(positions)
        self.world.detect()
        rows = self.world.call("getContactPoints", self.arm.body, self.arm.body) or ()
        never = self._never or frozenset()
        return any(row[8] < 0.0 and (min(row[3], row[4]), max(row[3], row[4])) not in never for row in rows)

    def free(
        self, path: FloatArray, opening: float, margin_m: float = MARGIN_M, ignore: frozenset[str] = frozenset()
    ) -> bool:
        """Whether nothing is nearer than `margin_m` anywhere on the straight lines between ``(K, J)`` points."""
        points = dense(path, CHECK_RAD)
        # The middle first: that is where a bad path most likely hits.
        order = np.argsort(np.abs(np.arange(len(points)) - len(points) // 2), kind="stable")
        return all(self.clearance(points[k], opening, ignore) > margin_m for k in order)

    def way(
        self, start: FloatArray, goal: FloatArray, opening: float, seed: int, tries: int = 400
    ) -> FloatArray | None:
        """Corners ``(C, J)`` of a free path, or None where none was found.

        The straight line where it is free, else one found by RRT-Connect (Kuffner & LaValle, 2000), shortened.

        Args:
            start: ``(J,)``; taken as free.
            goal: ``(J,)``.
            opening: of the gripper meanwhile.
            seed: of the search.
            tries: samples at most.
        """
        if self.free(np.stack([start, goal]), opening):
            return np.stack([start, goal])
        if self.clearance(goal, opening) <= MARGIN_M:
            return None
        rng = np.random.default_rng(seed)
        trees: list[tuple[list[FloatArray], list[int]]] = [([start], [-1]), ([goal], [-1])]
        low, high = np.minimum(start, goal) - 0.8, np.maximum(start, goal) + 0.8
        low, high = np.maximum(low, self.chain.low), np.minimum(high, self.chain.high)
        for turn in range(tries):
            near, far = trees[turn % 2], trees[1 - turn % 2]
            reached = self._grow(near, rng.uniform(low, high), opening, 1)
            if reached < 0:
                continue
            met = self._grow(far, near[0][reached], opening, 40)
            if met >= 0 and np.allclose(far[0][met], near[0][reached]):
                first, second = _branch(near, reached), _branch(far, met)
                path = first[::-1] + second[1:] if turn % 2 == 0 else second[::-1] + first[1:]
                return self._shortened(np.array(path), opening, rng)
        return None

    def _grow(self, tree: tuple[list[FloatArray], list[int]], toward: FloatArray, opening: float, most: int) -> int:
        """Up to `most` strides from the nearest node; the number of the last new node, -1 where there is none."""
        nodes, parents = tree
        at = int(np.argmin(np.abs(np.array(nodes) - toward).max(axis=1)))
        last = -1
        for _ in range(most):
            offset = toward - nodes[at]
            far = float(np.abs(offset).max())
            fresh = toward if far <= STRIDE_RAD else nodes[at] + offset * (STRIDE_RAD / far)
            if far < 1e-9 or not self.free(np.stack([nodes[at], fresh]), opening):
                break
            nodes.append(fresh)
            parents.append(at)
            at = last = len(nodes) - 1
            if far <= STRIDE_RAD:
                break
        return last

    def _shortened(self, path: FloatArray, opening: float, rng: np.random.Generator) -> FloatArray:
        for _ in range(30):
            if len(path) < 3:
                break
            first, second = np.sort(rng.choice(len(path), 2, replace=False))
            if second - first > 1 and self.free(path[[first, second]], opening):
                path = np.vstack([path[: first + 1], path[second:]])
        return path


def _branch(tree: tuple[list[FloatArray], list[int]], leaf: int) -> list[FloatArray]:
    nodes, parents = tree
    found = []
    while leaf >= 0:
        found.append(nodes[leaf])
        leaf = parents[leaf]
    return found
