"""A stand-in for reality: what a policy meets outside of the simulation that it has learnt in.

Another engine (`simulation.mujoco_world`), the true things where they are known (`simulation.truth`), and what no
simulation gets right, each drawn by chance for each try: `FACTORS`. Whoever acts knows nothing of it; it is behind the
same interface as any robot.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from reconstruction.errors import UsageError
from simulation.bank import Wardrobe
from simulation.cell import SETTLE_S, Cell, Moment
from simulation.cousins import Cousin, dress, product, turned_about
from simulation.demonstrations import Job, Stage
from simulation.filming import Film, Take
from simulation.late import Late
from simulation.layout import usual_mount
from simulation.learnt import than_scanned
from simulation.mujoco_world import TIME_STEP_S, Matter, MujocoArm, MujocoWorld
from simulation.probing import rated
from simulation.renderer import Pictures
from simulation.robots import Robot
from simulation.variations import Range, Values, Variation, factor

FloatArray = npt.NDArray[np.float64]
FACTORS: dict[str, Variation] = {
    "friction": Variation(
        "Friction of each thing and of the fingers.", {"thing": factor(0.6, 1.6), "fingers": factor(0.75, 1.35)}
    ),
    "mass": Variation("Mass of each thing.", {"mass": factor(0.6, 1.6)}),
    "latency": Variation(
        "Time from a picture to its arrival, and from a command to the motors.",
        {"picture_s": Range(0, 0, 0.08), "command_s": Range(0, 0, 0.05)},
    ),
    "lag": Variation("Motors that follow late.", {"arm_s": Range(0, 0, 0.06), "gripper_s": Range(0, 0, 0.15)}),
    "backlash": Variation("Play in every joint.", {"play_rad": Range(0, 0, 0.008)}),
    "camera": Variation("Where the camera stands, its exposure, noise and lens.", {"noise": Range(0.0, 0.0, 0.03)}),
    "calibration": Variation(
        "Error of what is known of the cameras' places.",
        {
            **{f"{name}_{axis}_mm": Range(-4, 0, 4) for name in ("front", "wrist") for axis in "xyz"},
            **{f"{name}_{axis}_deg": Range(-0.6, 0, 0.6) for name in ("front", "wrist") for axis in "xyz"},
        },
    ),
    "mount": Variation(
        "Error of where the robot stands.",
        {
            "x_mm": Range(-5, 0, 5),
            "y_mm": Range(-5, 0, 5),
            "z_mm": Range(-2, 0, 2),
            "turn_deg": Range(-0.8, 0, 0.8),
            "lean_x_deg": Range(-0.3, 0, 0.3),
            "lean_y_deg": Range(-0.3, 0, 0.3),
        },
    ),
    "light": Variation("From where the light comes, its colour and strength.", {}),
    "shape": Variation("Size and proportions of each thing.", {}),
}
"""What may be otherwise than in the simulation. ``camera``, ``light`` and ``shape`` are those of cousins, too."""
SHAPE = 0.35
"""How strongly forms vary, of what cousins' do: errors of a scan, not other things."""


def strengths_of_factors(names: Iterable[str]) -> dict[str, float]:
    """1 for the factors that are named, 0 for the others.

    Raises:
        UsageError: there is no such factor.
    """
    named = set(names)
    if unknown := sorted(named - FACTORS.keys()):
        raise UsageError(
            f"There is no factor {unknown[0]!r}.", remedy=f"Use some of: {', '.join(FACTORS)}.", code="bad_value"
        )
    return {name: float(name in named) for name in FACTORS}


def cousins_words(factors: Collection[str]) -> tuple[str, ...]:
    """How cousins of the true scene are drawn (`variations.strengths_of`): things stand anywhere, whatever else is so.

    What light and camera do is added in `RealCell.reset`, so that things stand alike with these factors and without.
    """
    return ("pose", f"shape={SHAPE}") if "shape" in factors else ("pose",)


class RealCell(Cell):
    """A cell in MuJoCo in which nothing is quite as it was said to be.

    Attributes:
        seen: how things stood when the pictures that arrive now were taken.
        told_mount: `scene_from_robot` as everybody believes it to be; `mount` is where the robot stands.
    """

    def __init__(
        self,
        wardrobe: Wardrobe,
        robot: Robot,
        rate_hz: float,
        factors: Mapping[str, float],
        watched: Collection[str],
        bench: int | None = None,
    ) -> None:
        """Get ready.

        Args:
            wardrobe: what stands there.
            robot: who acts.
            rate_hz: how often it is told what to do.
            factors: strength of each of `FACTORS`.
            watched: names of the things that the task is about.
            bench: which bench it is: try after try, the same masses, frictions, delays, play and errors of place are
                met there, and the arm's motors say what they do. None: another one for each try.
        """
        super().__init__(wardrobe, robot, rate_hz)
        self._factors, self._watched, self._bench = factors, tuple(watched), bench
        self.step_s = TIME_STEP_S
        self.steps = round(1.0 / (rate_hz * self.step_s))
        self.seen: Moment
        self.told_mount: FloatArray
        self._physics: MujocoWorld
        self._motors: _Motors
        self._feeling: Feeling | None

    def drawn(self, factor: str, *name: str) -> Values:
        """What was drawn of a factor for this try (for one thing, where each has values of its own)."""
        cousin = self.cousin
        try_: tuple[object, ...] = (cousin.seed, cousin.index, cousin.attempt)
        key = (*(try_ if self._bench is None else ("bench", self._bench)), "reality", factor, *name)
        return FACTORS[factor].values(self._factors[factor], *key)

    def efforts(self) -> FloatArray | None:
        """``(J,)`` what the arm's motors say that they do, N·m (N where a joint slides); None where they say nothing.

        Beside what they do that is their own friction, a bias that stays, noise, and steps (`Feeling`).
        """
        return None if self._feeling is None else self._feeling.felt(self._physics.arm.efforts())

    def reset(self, cousin: Cousin) -> None:
        """Load a cousin with the robot at home.

        Raises:
            InputError: the recipe belongs to another scene, or to another pool.
        """
        also = {name: self._factors[name] for name in ("camera", "light")}
        super().reset(replace(cousin, strengths={**cousin.strengths, **also}))

    def _furnish(self) -> None:
        self.scene = dress(self.cousin, self.wardrobe)
        mount = self.scene.robot_mount
        self.told_mount = usual_mount(self.scene) if mount is None else mount
        self.mount = product(self.told_mount, _mount_error(self.drawn("mount")))
        names = [item.name for item in self.scene.objects]
        known = {name: than_scanned(self.scene, name) for name in names}
        matter = Matter(
            {name: self.drawn("mass", name)["mass"] / known[name][0] for name in names},
            {name: self.drawn("friction", name)["thing"] / known[name][1] for name in names},
            self.drawn("friction", "fingers")["fingers"],
        )
        self._physics = MujocoWorld(self.scene, self.robot, self.mount, matter, self._watched)
        self.world, self.arm = self._physics, self._physics.arm
        self._motors = _Motors(self._physics.arm, self.drawn("latency"), self.drawn("lag"), self.drawn("backlash"))
        self._late = round(self.drawn("latency")["picture_s"] / self.step_s)
        self._feeling = None
        if self._bench is not None:
            self._feeling = Feeling.of(self.robot, self._bench, self.cousin.index)
            self._physics.arm.rub(self._feeling.friction)

    def _settle(self) -> None:
        self._physics.step(round(SETTLE_S / self.step_s))
        self._count = 0
        self.seen = self.moment()

    def _step(self, goal: FloatArray) -> None:
        self._motors.drive(goal)
        self._physics.step()
        self._count += 1
        if (self._count + self._late) % self.steps == 0:
            self.seen = self.moment()


FRICTION, BIAS, NOISE, STEP = (0.01, 0.03), 0.02, 0.01, 0.001
"""Of what a motor does at most: its dry friction, from … to; the most that it is always off; the standard deviation of
each reading; and the steps in which it says it. Gears with current sensing (Dynamixel, Feetech, UR) are about so; arms
that measure the torque of their joints (Franka, iiwa) are better."""


@dataclass
class Feeling:
    """What an arm's motors say of what they do.

    Attributes:
        friction: ``(J,)`` N·m (N where a joint slides): dry, in the motors and gears.
        bias: ``(J,)`` likewise, that they are always off by.
        noise: ``(J,)`` standard deviation of each reading.
        step: ``(J,)`` in which they say it.
    """

    friction: FloatArray
    bias: FloatArray
    noise: FloatArray
    step: FloatArray
    _rng: np.random.Generator

    @staticmethod
    def of(robot: Robot, bench: int, number: int) -> Feeling:
        """Of an arm on a bench, at try number so and so."""
        most = rated(robot)
        own = np.random.default_rng([bench, 1])
        friction, bias = own.uniform(*FRICTION, len(most)), own.uniform(-BIAS, BIAS, len(most))
        return Feeling(
            most * friction, most * bias, most * NOISE, most * STEP, np.random.default_rng([bench, 2, number])
        )

    def felt(self, efforts: FloatArray) -> FloatArray:
        """``(J,)`` as they are said."""
        said = efforts + self.bias + self._rng.normal(0.0, self.noise)
        return np.asarray(np.round(said / self.step) * self.step)


@dataclass
class _Motors:
    """What becomes of what an arm is told on its way to the joints: late, smoothed, and with play at the end."""

    arm: MujocoArm
    latency: Values
    lag: Values
    backlash: Values
    _joint: FloatArray | None = field(default=None, init=False)
    _late: Late = field(init=False)

    def __post_init__(self) -> None:
        times = np.append(np.full(len(self.arm.robot.arm), self.lag["arm_s"]), self.lag["gripper_s"])
        self._late = Late(self.latency["command_s"], times, TIME_STEP_S)

    def drive(self, goal: FloatArray) -> None:
        """Hand on a goal ``(J + 1,)``, one a step."""
        smooth = self._late.after(goal)
        if self._joint is None:
            self._joint = smooth
        half = np.full(len(smooth), self.backlash["play_rad"] / 2)
        half[-1] = 0.0
        # The joint stays where it is until the play is used up on one side.
        self._joint = np.clip(self._joint, smooth - half, smooth + half)
        self.arm.drive(self._joint)
        self.arm.unseen = (smooth - self._joint)[:-1]


def _mount_error(drawn: Values) -> FloatArray:
    """``(4, 4)`` from where the robot is believed to stand to where it stands."""
    lean = product(
        turned_about(0, math.radians(drawn["lean_x_deg"])), turned_about(1, math.radians(drawn["lean_y_deg"]))
    )
    pose = product(turned_about(2, math.radians(drawn["turn_deg"])), lean)
    pose[:3, 3] = [1e-3 * drawn[f"{axis}_mm"] for axis in "xyz"]
    return pose


def _camera_error(drawn: Values, camera: str) -> FloatArray:
    """``(4, 4)`` from where a camera is believed to be to where it is."""
    pose = np.eye(4)
    for number, axis in enumerate("xyz"):
        pose = product(pose, turned_about(number, math.radians(drawn[f"{camera}_{axis}_deg"])))
    pose[:3, 3] = [1e-3 * drawn[f"{camera}_{axis}_mm"] for axis in "xyz"]
    return pose


class RealStage(Stage):
    """A stage on which a policy is shown what a real robot would be shown."""

    cell: RealCell

    def __init__(self, job: Job, factors: Mapping[str, float], bench: int | None = None) -> None:
        """Open the worlds.

        Args:
            job: of the true scene.
            factors: strength of each of `FACTORS`.
            bench: see `RealCell`.
        """
        self._factors, self._bench = factors, bench
        super().__init__(job)

    def _open_cell(self, job: Job) -> Cell:
        return RealCell(job.wardrobe.bare(), job.robot, job.rate_hz, self._factors, job.task.names, self._bench)

    def enter(self, index: int) -> str:
        """See `Stage.enter`; who sets up the camera before a robot sees to it that the things are in its picture."""
        why = super().enter(index)
        take = None if why or "front" not in self.job.cameras else self._filming()
        if take is None:
            return why
        moment, names = self.cell.moment(), self.job.task.names
        places = np.array([[moment.objects[name][:3, 3] for name in names]])
        where = take.image_points([moment], places, ("front",))[0, 0]
        seen = (np.abs(where[:, :2]).max(axis=1) < 1.0) & (where[:, 2] > 0.0)
        return "" if seen.all() else f"{names[int(seen.argmin())]} is not in the camera's picture"

    def shots(self) -> dict[str, Pictures]:
        """What each of the job's cameras saw when the pictures that arrive now were taken."""
        take = self._filming()
        return {} if take is None else take.shoot([self.cell.seen], self.job.cameras, first_frame=self.cell.ticks)

    def take(self, film: Film) -> Take:
        """Ready to film this try: the cameras are not quite where they are believed to be, nor is the robot."""
        cell = self.cell
        take = super().take(film)
        drawn, noise = cell.drawn("calibration"), cell.drawn("camera")["noise"]
        return take.otherwise(cell.told_mount, _camera_error(drawn, "front"), _camera_error(drawn, "wrist"), noise)
