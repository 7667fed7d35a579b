"""A small bench with things to pick, place, push and stack, and its family of cousins."""

from __future__ import annotations

from dataclasses import replace

from reconstruction.scene import Scene
from simulation.bank import Bank, Wardrobe, build
from simulation.cousins import CousinSettings, wardrobe_of
from simulation.demonstrations import Job
from simulation.robots import robot_of
from simulation.tasks import task_of
from simulation.variations import strengths_of
from tests.small_scenes import bowl, box, cylinder, scene_of, textured, thing

VARY = ("pose=0.6", "physics", "light", "camera", "mount=0.5")
SEED = 3


def bench() -> Scene:
    dish, parts = bowl(0.08, 0.05, 0.006, 16)
    things = [
        thing("block_1", box(0.045, 0.06, 0.05), (-0.15, 0.1, 0.001)),
        thing("bowl_1", dish, (0.1, 0.15, 0.001), parts=parts),
        thing("box_1", box(0.11, 0.12, 0.06), (0.15, -0.1, 0.001)),
        thing("can_1", cylinder(0.03, 0.09, 20), (-0.1, -0.12, 0.001)),
    ]
    return scene_of(*(replace(item, visual=textured(item.visual)) for item in things))


def few_forms() -> tuple[Wardrobe, Bank]:
    wardrobe = replace(wardrobe_of(bench(), SEED, strengths_of(VARY)), forms=3)
    return wardrobe, build(wardrobe.bare())


def job(family: tuple[Wardrobe, Bank], words: str, robot: str = "panda", **more: object) -> Job:
    wardrobe, bank = family
    task = task_of(words, wardrobe.scene)
    settings = CousinSettings(seed=SEED, vary=VARY, gap_mm=15.0, keep=task.names)
    return replace(Job(wardrobe, bank, settings, task, robot_of(robot)), **more)  # type: ignore[arg-type]
