"""A robot in a scene: it is told where to move ten times a second, and says what it measures.

Everything that acts in simulation (the expert, a person, a policy, a replay) does so through `Cell.act`. From the same
cousin the same actions lead to the same end, bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from reconstruction.scene import Scene, SceneObject
from simulation.bank import Wardrobe
from simulation.cousins import Cousin
from simulation.family import Family
from simulation.grasps import Grasps, antipodal
from simulation.late import Late
from simulation.layout import usual_mount
from simulation.learnt import delay_of_arm
from simulation.physics import Limbs, Physics
from simulation.reach import reached
from simulation.robots import Arm, Robot
from simulation.world import World, WorldSettings

FloatArray = npt.NDArray[np.float64]
RATE_HZ = 10.0
SETTLE_S = 0.25
"""What was put down by rule comes to lie as it will before the robot is asked for anything."""
TABLE_FRICTION = 0.6
"""A thing's coefficient is that against a wooden table: with the table's own like this, two things on each other come
to about what one has on the table, and fingers of rubber (0.8) to somewhat more."""
STILL_M_S, STILL_RAD_S = 0.01, 0.1
"""What moves slower than this then is at rest."""
SLACK_RAD = 0.01
"""A joint this far beyond its limit has broken it (the motors overshoot by a part of that)."""


def rub(world: World, friction: Mapping[str, float]) -> None:
    """Give supports and things, by their coefficients against wood, those with which a gripper holds them as it would.

    PyBullet multiplies the coefficients of two bodies: against the table this comes to what was estimated.
    """
    for name in world.fixed_names:
        world.call("changeDynamics", world.body(name), -1, lateralFriction=TABLE_FRICTION)
    for name, value in friction.items():
        world.call("changeDynamics", world.body(name), -1, lateralFriction=value / TABLE_FRICTION)


@dataclass
class Faults:
    """What a robot must not do, as counted over an episode's physics steps.

    Attributes:
        limit: joints beyond their limits.
        speed: joints faster than their limits.
    """

    limit: int = 0
    speed: int = 0

    def __bool__(self) -> bool:
        return bool(self.limit or self.speed)


@dataclass(frozen=True)
class Moment:
    """What a cell looks like at one time.

    Attributes:
        state: ``(J + 1,)`` measured joint positions and opening.
        objects: `scene_from_object` ``(4, 4)`` by name.
        links: `scene_from_link` ``(4, 4)`` by name.
    """

    state: FloatArray
    objects: Mapping[str, FloatArray]
    links: Mapping[str, FloatArray]


@dataclass
class Cell:
    """Cousin after cousin with a robot; use it as a context manager.

    Attributes:
        wardrobe: what stands in the cousins.
        robot: who acts.
        rate_hz: how often it is told what to do.
        scene: the cousin that is loaded.
        goal: ``(J + 1,)`` what the robot was told last.
        start: `scene_from_object` of everything when the cousin was loaded.
        notes: what tasks have found out about the cousin.
        faults: since the cousin was loaded.
    """

    wardrobe: Wardrobe
    robot: Robot
    rate_hz: float = RATE_HZ
    scene: Scene = field(init=False)
    cousin: Cousin = field(init=False)
    world: Physics = field(init=False)
    arm: Limbs = field(init=False)
    goal: FloatArray = field(init=False)
    start: dict[str, FloatArray] = field(init=False)
    mount: FloatArray = field(init=False)
    faults: Faults = field(init=False)
    ticks: int = field(init=False, default=0)
    notes: dict[tuple[str, str], object] = field(init=False, default_factory=dict)
    _grasps: dict[tuple[str, int], Grasps] = field(init=False, default_factory=dict)
    _behind: Late | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        # Things stand close together on a bench: with PyBullet's usual 2 cm, one that moves keeps all others awake.
        self.family = Family(self.wardrobe, WorldSettings(near_m=0.005, residual=1e-5))
        self.world = self.family.world
        self.step_s = self.family.world.settings.time_step_s
        self.steps = round(1.0 / (self.rate_hz * self.step_s))
        self._chain = self.robot.chain
        self._low, self._high = self._chain.low - SLACK_RAD, self._chain.high + SLACK_RAD
        self._speed = np.array(self.robot.speed)

    def __enter__(self) -> Cell:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the world; harmless when repeated."""
        self.family.close()

    @property
    def seconds(self) -> float:
        """Since the cousin was loaded."""
        return self.ticks / self.rate_hz

    def reset(self, cousin: Cousin) -> None:
        """Load a cousin with the robot at home.

        Raises:
            InputError: the recipe belongs to another scene, or to another pool.
        """
        self.cousin = cousin
        self._furnish()
        self.goal = np.array([*self.robot.home, 1.0])
        self.arm.drive(self.goal)
        self._settle()
        self.faults, self.ticks, self.notes = Faults(), 0, {}
        self.start = self.world.poses()

    def _furnish(self) -> None:
        """Make `scene`, `mount`, `world` and `arm` of `cousin`."""
        world, cousin = self.family.world, self.cousin
        self.scene = self.family.load(cousin)
        mount = self.scene.robot_mount
        self.mount = usual_mount(self.scene) if mount is None else mount
        rub(world, {item.name: item.friction for item in self.scene.objects})
        self.arm = Arm(world, self.robot, self.mount, cousin.values("gripper")["friction"])
        dead_s, lag_s = delay_of_arm(self.scene, self.robot.name)
        self._behind = Late(dead_s, lag_s, self.step_s) if dead_s or lag_s else None

    def _settle(self) -> None:
        """Let things come to rest."""
        self.family.world.step(round(SETTLE_S / self.step_s))
        self.family.world.sleep(STILL_M_S, STILL_RAD_S)

    def act(self, action: FloatArray) -> None:
        """Move the goal to `action` ``(J + 1,)`` in a straight line during one tick.

        Goals beyond the joints' limits are clipped to them.
        """
        action = np.append(
            np.clip(action[:-1], self._low + SLACK_RAD, self._high - SLACK_RAD), np.clip(action[-1], 0, 1)
        )
        start = self.goal
        for k in range(1, self.steps + 1):
            self._step(start + (action - start) * (k / self.steps))
            if k % 6 == 0:
                self._judge()
        self.goal = action
        self.ticks += 1

    def _step(self, goal: FloatArray) -> None:
        """One step of physics, the arm being told to be at `goal`; it hears that as late as is known of it."""
        self.arm.drive(goal if self._behind is None else self._behind.after(goal))
        self.family.world.step()

    def _judge(self) -> None:
        q, speed = self.arm.positions()[:-1], np.abs(self.arm.speeds())
        self.faults.limit += int(((q < self._low) | (q > self._high)).any())
        self.faults.speed += int((speed > self._speed * 1.001).any())

    def efforts(self) -> FloatArray | None:
        """``(J,)`` what the arm's motors say that they do, N·m (N where a joint slides); None: they say nothing."""
        return None

    def item(self, name: str) -> SceneObject:
        """The thing of that name, as it stands at first."""
        return next(item for item in self.scene.objects if item.name == name)

    def moment(self) -> Moment:
        """How things stand now."""
        return Moment(self.arm.positions(), self.world.poses(), self.arm.link_poses())

    def grasps(self, name: str) -> Grasps:
        """How the gripper could take hold of a thing if nothing else were there; none where it is too wide."""
        placed = self.cousin.objects[name]
        key = (placed.source, placed.form)
        if key not in self._grasps:
            item = self.item(name)
            self._grasps[key] = antipodal(item, self.robot.opening_m)
        return self._grasps[key]

    def reaches(self, point: FloatArray, down: bool = False) -> bool:
        """Whether the tool gets to a point ``(3,)`` of the scene, and 12 cm over it, pointing down.

        An arm of five joints may lean it: its wrist does not bend enough to point down wherever it gets to.

        Args:
            point: metres.
            down: at the point itself it may not.
        """
        return bool(reached(self.robot, self._chain, self.mount, point[None], down)[0])

    def still(self, name: str) -> bool:
        """Whether a thing is at rest, or as good as."""
        linear, angular = self.world.velocity(name)
        return float(np.linalg.norm(linear)) < 0.02 and float(np.linalg.norm(angular)) < 0.3

    def touched(self, name: str) -> bool:
        """Whether the robot touches a thing."""
        return self.arm.touches(self.world.body(name))
