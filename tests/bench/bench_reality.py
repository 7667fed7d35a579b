"""The whole claim: scan a world, rebuild it, train in what was rebuilt, succeed in the world that was scanned.

    python tests/bench/bench_reality.py [--worlds 1] [--first 1] [--objects 7] [--observe state] [--count 40] [--each 0]
        [--keep FOLDER]

For each made-up world: a virtual scan, its reconstruction, the task that makes sense in most of its cousins (something
placed in a vessel, else something picked up), demonstrations and training as `make demo` does them, and the bundle's
success in simulation beside that in the stand-in for reality, with the true things. Observations of `state` are quick
and show what shapes, masses and another engine cost; `rgb` is what a robot has, and takes a quarter of an hour a world.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from reconstruction.scene import Scene, SceneObject  # noqa: E402 - the project is on the path from here on
from simulation.bank import build  # noqa: E402
from simulation.cousins import CousinSettings, wardrobe_of  # noqa: E402
from simulation.demonstrations import Job, Stage  # noqa: E402
from simulation.hollows import hollow_of  # noqa: E402
from simulation.robots import robot_of  # noqa: E402
from simulation.tasks import task_of  # noqa: E402
from simulation.variations import strengths_of  # noqa: E402

VARY = ("pose", "appearance", "light", "camera", "physics")
LOOKED = 16
"""Cousins that are looked at to choose a task."""
PRACTICE = {
    "state": ("--demonstrations", 85, "--blunders", 40, "--steps", 2000),
    "rgb": ("--demonstrations", 85, "--blunders", 60, "--glances", 300, "--eye-steps", 4400, "--steps", 1300),
}


def pocketworld(*words: object) -> dict[str, Any]:
    """The result of a command."""
    command = [sys.executable, "-m", "app.cli", *map(str, words), "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout[-800:]}\n{done.stderr[-800:]}")
    found: dict[str, Any] = events[-1]
    return found


def vessels(scene: Scene) -> list[SceneObject]:
    """Things that are open above."""
    return [item for item in scene.objects if len(hollow_of(item, item.scene_from_object)[0]) > 2]


def best_task(scene: Scene) -> tuple[str, int]:
    """The task that makes sense in most of some cousins, and in how many; placing comes first."""
    wardrobe = wardrobe_of(scene, 0, strengths_of(VARY), None, held_out=False).bare()
    bank = build(wardrobe)
    open_ones = vessels(scene)
    words = [f"place {item.name} in {vessel.name}" for vessel in open_ones for item in scene.objects if item != vessel]
    counts: dict[str, int] = {}
    for kind in (words, [f"pick {item.name}" for item in scene.objects]):
        for text in kind:
            task = task_of(text, scene)
            settings = CousinSettings(vary=VARY, gap_mm=25.0, keep=task.names)
            with Stage(Job(wardrobe, bank, settings, task, robot_of("panda"))) as stage:
                counts[text] = sum(not stage.enter(index) for index in range(LOOKED))
        if max((counts[text] for text in kind), default=0) >= LOOKED // 3:
            break
    chosen = max(counts, key=lambda text: counts[text])
    return chosen, counts[chosen]


def row(*cells: object) -> None:
    """A line of the table."""
    widths = (6, 34, 12, 12, 10, 16, 8)
    print("".join(f"{cell!s:>{width}}" for cell, width in zip(cells, widths, strict=True)), flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, default=1)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--objects", type=int, default=7)
    parser.add_argument("--observe", choices=PRACTICE, default="state")
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--each", type=int, default=0)
    parser.add_argument("--keep", type=Path)
    s = parser.parse_args()
    row("world", "task", "simulated", "real", "gap", "95 % sure", "seconds")
    with tempfile.TemporaryDirectory() as name:
        for seed in range(s.first, s.first + s.worlds):
            began, place = time.perf_counter(), (s.keep or Path(name)) / f"world_{seed}"
            scan = place / "scan.zip"
            place.mkdir(parents=True, exist_ok=True)
            if not scan.exists():
                words = ("--format", "stray", "--world", "random", "--seed", seed, "--objects", s.objects)
                pocketworld("virtual-scan", scan, *words, "--frames", 110, "--returning")
            pocketworld("reconstruct", scan, "--out", place)
            project = place / "scan"
            task, _ = best_task(Scene.load(project / "scene"))
            practice = ("--observe", s.observe, "--vary", *VARY, *PRACTICE[s.observe], "--cousins", 100)
            pocketworld("train-and-export", project, "--task", task, *practice, "--anyway", "--out", place / "bundle")
            tries = ("--project", project, "--count", s.count, "--each", s.each, "--films", 2)
            real = pocketworld("reality-check", place / "bundle", *tries)
            low, high = (100 * value for value in real["gap_interval"])
            row(
                seed,
                task,
                f"{real['simulated']['successes']} of {real['simulated']['count']}",
                f"{real['successes']} of {real['count']}",
                f"{100 * real['gap']:.0f}",
                f"{low:.0f} … {high:.0f}",
                f"{time.perf_counter() - began:.0f}",
            )
            for factor, found in real["factors"].items():
                print(f"        {factor}: {found['successes']} of {found['count']}", flush=True)


if __name__ == "__main__":
    main()
