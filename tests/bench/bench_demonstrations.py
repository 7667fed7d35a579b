"""Demonstrations a second, with and without cameras, and how many tries of each task succeed.

Run with ``python tests/bench/bench_demonstrations.py [PROJECT] [tries]``: PROJECT is one with a scene, left out the
small bench of the tests. Seconds are those of the clock, of all processes together, after the stances were found and
the processes have started. The baseline is PyBullet stepping the same scene with the same arm, untouched.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from app.demonstrate_stage import DemonstrateSettings, Order, bank_file, try_some
from app.project import Project, StageKey, StageNotes
from reconstruction.progress import silent
from reconstruction.scene import Scene
from simulation.cousins import Cousin, dress
from simulation.demonstrations import Stage
from simulation.hollows import hollow_of
from simulation.mimic import Sketch
from simulation.pool import worker_pool
from simulation.tasks import TASKS, Task
from simulation.world import World
from tests.robot_bench import bench

SEED = 11


def saved(folder: Path) -> StageNotes:
    """The small bench, as a scene."""
    bench().save(folder)
    return StageNotes()


def tasks_of(scene: Scene) -> list[str]:
    """One task of each kind: with the narrowest thing, the widest vessel and the largest top."""
    flat = {
        item.name: sorted(float(x) for x in item.visual.vertices.max(axis=0) - item.visual.vertices.min(axis=0))
        for item in scene.objects
    }
    vessels = {
        item.name: float(rim[0].max() - rim[0].min())
        for item in scene.objects
        if len((rim := hollow_of(item, item.scene_from_object))[0])
    }
    small = min((name for name in flat if name not in vessels and flat[name][1] < 0.07), key=lambda name: flat[name][1])
    large = max((name for name in flat if name not in (small, *vessels)), key=lambda name: flat[name][1])
    found = [Task("pick", (small,)), Task("push", (small,)), Task("stack", (small,), large)]
    if vessels:
        found.append(Task("place-in", (small,), max(vessels, key=lambda name: vessels[name])))
    return [task.words for task in found if task.kind in TASKS]


def multiplied(order: Order, tries: int, few: int = 5) -> None:
    """How often what a few episodes of the expert show is done in other cousins."""
    job = order.job()
    plain = job.wardrobe.bare()
    shown: list[Sketch] = []
    with Stage(job) as stage:
        for index in itertools.count(20_000):
            episode = stage.attempt(index).episode
            if episode is not None and episode.success:
                shown.append(Sketch.of(episode, job.task, dress(Cousin.from_json(episode.recipe), plain)))
            if len(shown) == few:
                break
    with Stage(dataclasses.replace(job, shown=tuple(shown))) as stage:
        started = time.perf_counter()
        found = (stage.attempt(index).episode for index in itertools.count())
        tried = list(itertools.islice((episode for episode in found if episode is not None), tries))
        seconds = time.perf_counter() - started
    good = sum(episode.success for episode in tried)
    print(f"{job.task.words}, as {few} episodes show it: {good} of {tries} succeeded, {good / seconds:.2f} a second")
    print(f"  on one core; failed: {dict(Counter(e.reason for e in tried if not e.success))}", flush=True)


def main() -> None:
    """Print the figures."""
    jobs = os.cpu_count() or 1
    tries = int(sys.argv[2]) if len(sys.argv) > 2 else 40
    with tempfile.TemporaryDirectory() as place:
        if len(sys.argv) > 1:
            project = Project.open(Path(sys.argv[1]))
        else:
            project = Project(Path(place) / "bench")
            project.create(Path("none"))
            project.run_stage("scene", StageKey({}, {}, ""), saved)
        folder = project.require("scene")
        with World.open(folder) as world:
            world.step(240)
            started = time.perf_counter()
            world.step(1200)
            steps = 1200 / (time.perf_counter() - started)
        words = tasks_of(Scene.load(folder))
        with worker_pool(jobs) as executor:
            assert executor is not None
            bank = None
            for cameras in ("none", "both"):
                for task in words if cameras == "none" else words[-1:]:
                    settings = DemonstrateSettings(task=task, seed=SEED, cameras=cameras)
                    bank = bank or bank_file(Path(place) / "set", project, folder, settings, executor, silent)
                    order = Order(folder, bank, settings, f"{task} {cameras}")
                    list(executor.map(try_some, [order] * jobs, [(10_000 + n,) for n in range(jobs)]))
                    started = time.perf_counter()
                    rows: list[Any] = []
                    index = 0
                    while sum(row[1] is not None for row in rows) < tries:
                        some = [tuple(range(index + 4 * n, index + 4 * n + 4)) for n in range(2 * jobs)]
                        for found in executor.map(try_some, [order] * len(some), some):
                            rows += found
                        index += 8 * jobs
                    seconds = time.perf_counter() - started
                    episodes = [row[1] for row in rows if row[1] is not None]
                    good = sum(episode.success for episode in episodes)
                    ticks = sum(episode.length for episode in episodes) / len(episodes)
                    raw = jobs * steps / (ticks * 24)
                    skipped = len(rows) - len(episodes)
                    print(f"{task}, cameras {cameras}: {good} of {len(episodes)} succeeded, {skipped} cousins skipped;")
                    print(f"  {good / seconds:.2f} a second on {jobs} cores, each {ticks / 10:.1f} s long;", end=" ")
                    print(f"PyBullet alone would step {raw:.2f} of them a second", flush=True)
        if bank is not None:
            for task in words:
                multiplied(Order(folder, bank, DemonstrateSettings(task=task, seed=SEED, cameras="none"), task), tries)


if __name__ == "__main__":
    main()
