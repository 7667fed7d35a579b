"""Cousins a second, how many of them an independent world finds at rest, and the memory that they take.

Run with ``python tests/bench/bench_cousins.py [count] [checked] [loaded]``. The baseline is PyBullet stepping the same
six things: a cousin could be tried in physics for so many steps in the time that one takes here.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import psutil

from app.cousin_stage import make_cousins, recipes
from app.project import Project, StageKey, StageNotes
from reconstruction.scene import Scene
from simulation.bank import Wardrobe
from simulation.check import check_scene
from simulation.cousins import Cousin, CousinSettings, dress, wardrobe_of
from simulation.family import Family
from simulation.variations import strengths_of
from simulation.world import World
from tests.small_scenes import ball, bowl, box, cylinder, l_shape, scene_of, textured, thing


def desk() -> Scene:
    """Six things: two vessels, a book with a can on it, an angle, a ball."""
    cup, cup_parts = bowl(0.04, 0.09, 0.005, 24)
    dish, dish_parts = bowl(0.07, 0.05, 0.006, 24)
    angle, angle_parts = l_shape(0.1, 0.03, 0.04)
    things = [
        thing("book", box(0.16, 0.22, 0.02), (-0.2, 0.0, 0.001)),
        thing("can", cylinder(0.03, 0.1, 24), (-0.2, 0.03, 0.023)),
        thing("cup", cup, (0.1, 0.1, 0.001), parts=cup_parts),
        thing("dish", dish, (0.1, -0.15, 0.001), parts=dish_parts),
        thing("angle", angle, (0.25, 0.2, 0.001), parts=angle_parts),
        thing("ball", ball(0.035), (0.3, 0.0, 0.001)),
    ]
    return scene_of(*(replace(item, visual=textured(item.visual)) for item in things))


def _saved(scene: Scene, folder: Path) -> StageNotes:
    scene.save(folder)
    return StageNotes()


def steps_a_second(folder: Path) -> float:
    """Steps of the untouched scene in PyBullet, one process."""
    with World.open(folder) as world:
        world.step(240)
        started = time.perf_counter()
        world.step(1200)
        return 1200 / (time.perf_counter() - started)


def one_after_another(wardrobe: Wardrobe, cousins: list[Cousin], loaded: int, rate: float) -> None:
    """Load cousins into one world: how long that takes, what it leaves, and the share of raw stepping speed."""
    process = psutil.Process()
    with Family(wardrobe.bare()) as family:
        for cousin in cousins[:200]:
            family.load(cousin)
        before, started = process.memory_info().rss, time.perf_counter()
        for number in range(loaded):
            family.load(cousins[number % len(cousins)])
        each = (time.perf_counter() - started) / loaded
        grown = (process.memory_info().rss - before) / 1e6
        started = time.perf_counter()
        for cousin in cousins[:20]:
            family.load(cousin)
            family.world.step(1200)
        share = 20 * 1200 / (time.perf_counter() - started) / rate
        print(
            f"{loaded} loaded into one world, one after another: {1e3 * each:.1f} ms each, {grown:+.1f} MB afterwards"
        )
        print(f"  loading and stepping 5 s of each: {share:.2f} of the speed of stepping the untouched scene")


def main() -> None:
    """Print the figures."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    checked = int(sys.argv[2]) if len(sys.argv) > 2 else 60
    loaded = int(sys.argv[3]) if len(sys.argv) > 3 else 1000
    jobs = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as place:
        project = Project(Path(place) / "desk")
        project.create(Path("none"))
        scene = desk()
        project.run_stage("scene", StageKey({}, {}, ""), lambda folder: _saved(scene, folder))
        rate = steps_a_second(project.folder / "scene")
        made = make_cousins(project, CousinSettings(count=count), jobs=jobs)
        timings = project.record("cousins")["timings"]
        drawing = timings["drawing cousins"]
        largest = max(len(cousin.to_json().encode()) for cousin in recipes(project))
        once = timings["trying how things stand"]
        in_all = count / made.seconds
        print(f"{count} cousins of six things, {jobs} processes: {made.seconds:.1f} s, {in_all:.0f} a second")
        print(f"  {once:.1f} s of it once, then {count / drawing:.0f} a second; largest recipe {largest} B")
        print(
            f"PyBullet steps this scene {rate:.0f} times a second: {jobs * rate * drawing / count:.1f} steps a cousin"
        )
        print("drawn again, a cousin:", {name: round(n / count, 3) for name, n in made.rejected.items()})
        wardrobe = wardrobe_of(Scene.load(project.folder / "scene"), 0, strengths_of(()))
        one_after_another(wardrobe, list(recipes(project))[:1000], loaded, rate)
        passed = 0
        worst = [0.0, 0.0, 0.0]
        for number, cousin in enumerate(recipes(project)):
            if number == checked:
                break
            folder = Path(place) / "one" / str(number)
            dress(cousin, wardrobe).save(folder)
            report = check_scene(folder)
            passed += report.passed
            figures = report.summary()
            found = [figures[f"max_{name}"] for name in ("moved_mm", "turned_deg", "penetration_mm")]
            worst = [max(pair) for pair in zip(worst, found, strict=True)]
        print(f"at rest for 5 s in a world of its own: {passed} of {checked}; worst mm, degrees, mm: {worst}")


if __name__ == "__main__":
    main()
