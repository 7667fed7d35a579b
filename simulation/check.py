"""Does a scene stand still? Checked in a fresh world made from its URDFs alone, as another program would see it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from reconstruction.progress import Progress, silent
from simulation.world import Energy, World, WorldSettings, pose_change

MOVED_LIMIT_MM = 3.0
TURNED_LIMIT_DEG = 2.0
PENETRATION_LIMIT_MM = 1.0
ENERGY_EVERY_S = 0.1


@dataclass(frozen=True)
class Drift:
    """How far one object went while nobody touched it."""

    name: str
    moved_mm: float
    turned_deg: float

    @property
    def passed(self) -> bool:
        """Within the limits, and a number."""
        return self.moved_mm <= MOVED_LIMIT_MM and self.turned_deg <= TURNED_LIMIT_DEG


@dataclass(frozen=True)
class Overlap:
    """How deep two bodies are in each other before the first step; 0 where they only touch."""

    names: tuple[str, str]
    depth_mm: float

    @property
    def passed(self) -> bool:
        """Within the limit."""
        return self.depth_mm <= PENETRATION_LIMIT_MM


@dataclass(frozen=True)
class CheckReport:
    """What `check_scene` saw.

    Attributes:
        seconds: simulated.
        drift: one an object, ordered as in the scene.
        overlaps: the pairs that touch at the start, objects and supports.
        times_s: when `energy` was taken.
        energy: kinetic and potential, all objects together.
    """

    seconds: float
    drift: tuple[Drift, ...]
    overlaps: tuple[Overlap, ...]
    times_s: tuple[float, ...]
    energy: tuple[Energy, ...]

    @property
    def passed(self) -> bool:
        """Everything stood still and nothing overlapped."""
        return all(item.passed for item in self.drift) and all(item.passed for item in self.overlaps)

    @property
    def restless(self) -> tuple[str, ...]:
        """Names of what moved, or overlaps something."""
        names = {item.name for item in self.drift if not item.passed}
        names |= {name for item in self.overlaps if not item.passed for name in item.names}
        return tuple(sorted(names))

    def summary(self) -> dict[str, Any]:
        """Plain JSON, rounded: drift in mm and degrees, penetration in mm, energy in J."""
        return {
            "passed": self.passed,
            "seconds": self.seconds,
            "drift": {
                item.name: {"moved_mm": round(item.moved_mm, 4), "turned_deg": round(item.turned_deg, 4)}
                for item in self.drift
            },
            "max_moved_mm": round(max((item.moved_mm for item in self.drift), default=0.0), 4),
            "max_turned_deg": round(max((item.turned_deg for item in self.drift), default=0.0), 4),
            "penetration": [{"pair": list(item.names), "depth_mm": round(item.depth_mm, 4)} for item in self.overlaps],
            "max_penetration_mm": round(max((item.depth_mm for item in self.overlaps), default=0.0), 4),
            "energy": {
                "time_s": [round(time, 4) for time in self.times_s],
                "kinetic_j": [round(item.kinetic_j, 9) for item in self.energy],
                "potential_j": [round(item.potential_j, 9) for item in self.energy],
            },
            "limits": {
                "moved_mm": MOVED_LIMIT_MM,
                "turned_deg": TURNED_LIMIT_DEG,
                "penetration_mm": PENETRATION_LIMIT_MM,
            },
        }


def check_scene(
    scene_folder: Path, seconds: float = 5.0, *, ground: bool = False, progress: Progress = silent
) -> CheckReport:
    """Simulate a scene untouched and report what moved.

    Args:
        scene_folder: a folder with ``scene.json``.
        seconds: how long, in simulated time.
        ground: stand everything on PyBullet's own ``plane.urdf`` at z = 0 instead of the scene's supports.
        progress: told about ten times a simulated second.

    Raises:
        InputError: no scene there, or one of its URDFs is missing or broken.
    """
    with World.open(scene_folder, WorldSettings(ground=ground)) as world:
        return watch(world, seconds, progress)


def watch(world: World, seconds: float, progress: Progress = silent) -> CheckReport:
    """`check_scene` for a world that is already there; `world` is stepped."""
    overlaps = measure_overlaps(world)
    before = world.poses()
    steps = max(1, round(seconds / world.settings.time_step_s))
    stride = max(1, round(ENERGY_EVERY_S / world.settings.time_step_s))
    times, energy = [0.0], [world.energy()]
    for done in range(0, steps, stride):
        count = min(stride, steps - done)
        world.step(count)
        times.append((done + count) * world.settings.time_step_s)
        energy.append(world.energy())
        progress((done + count) / steps, "Watching whether anything moves")
    after = world.poses()
    drift = []
    for name in before:
        moved_m, turned_deg = pose_change(before[name], after[name])
        drift.append(Drift(name, moved_m * 1000.0, turned_deg))
    return CheckReport(seconds, tuple(drift), overlaps, tuple(times), tuple(energy))


def measure_overlaps(world: World) -> tuple[Overlap, ...]:
    """Every pair of bodies that touches now, at least one of which can move."""
    movable, fixed = world.names, world.fixed_names
    pairs = [*combinations(movable, 2), *((name, other) for name in movable for other in fixed)]
    overlaps = []
    for first, second in pairs:
        gap_m = world.gap(first, second)
        if gap_m <= 0.0:
            overlaps.append(Overlap((first, second), -gap_m * 1000.0))
    return tuple(overlaps)
