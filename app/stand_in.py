"""The world that stands in for the one that was scanned: the true one where it is known, else the scanned one."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Callable, Collection
from concurrent.futures import Executor
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from app.cousin_stage import bank_of, pool_of
from app.demonstrate_stage import DemonstrateSettings, Order
from app.project import Project, StageKey, StageNotes, code_hash, content_hash
from app.stages import PACKAGES
from policies.features import IMAGES
from reconstruction.progress import Progress
from reconstruction.scene import Scene

if TYPE_CHECKING:
    from policies.deploy.bundle import Manifest
    from simulation.robots import Robot
    from simulation.truth import Truth

REALITY_SEED = 5_000_003
"""Added to the demonstrations' seed: how things stand in reality is in no demonstration, training or evaluation."""
STAGE = "reality"
SOURCES = ("truth", "relatives", "kinship", "layout")


def standing() -> tuple[str, ...]:
    """What is otherwise on the bench of a stand-in: all but the shape of things, which they keep from run to run."""
    from simulation.reality import FACTORS

    return tuple(name for name in FACTORS if name != "shape")


def world_of(project: Project, truth: Path | None, robot: Robot, progress: Progress) -> Path:
    """The scene's folder that stands for the world: the true one, made once, else the reconstructed one.

    Raises:
        InputError: what is said to be the truth is none.
    """
    from simulation.truth import true_scene

    scene = project.require("scene")
    known = _truth_of(project, truth)
    if known is None:
        return scene
    digest, read = known
    code = code_hash(*(PACKAGES / "simulation" / f"{name}.py" for name in SOURCES))
    inputs = {"scene": content_hash(scene / "scene.json"), "truth": digest}
    key = StageKey({"robot": robot.name}, inputs, code)
    with project.locked():
        project.recover()
        if not project.is_fresh(STAGE, key):

            def make(folder: Path) -> StageNotes:
                true_scene(read(), Scene.load(scene), robot, progress).save(folder)
                return StageNotes()

            project.run_stage(STAGE, key, make)
    return project.stage_folder(STAGE)


def _truth_of(project: Project, truth: Path | None) -> tuple[str, Callable[[], Truth]] | None:
    """What stands for the truth, and how it is read; None where nobody knows it."""
    from simulation.truth import read_truth, truth_of
    from simulation.virtual_phone import SAMPLE, virtual_scan

    scan = project.scan()
    beside = None if scan is None else scan.with_name(f"{scan.stem}_truth")
    if truth is None and beside is not None and (beside / "truth.json").is_file():
        truth = beside
    if truth is not None:
        place = truth.absolute()
        return content_hash(place), partial(read_truth, place)
    told = project.record("capture").get("inputs")
    bundled = content_hash(Path(str(files("resources") / "sample_scan.zip")))
    if isinstance(told, dict) and told.get("scan") == bundled:
        return f"the bundled scan's {bundled}", lambda: truth_of(virtual_scan(SAMPLE))
    return None


def order_in(
    project: Project,
    world: Path,
    made: DemonstrateSettings,
    manifest: Manifest,
    factors: Collection[str],
    seed: int,
    executor: Executor | None,
    progress: Progress,
) -> Order:
    """Cousins of a world for the task of some demonstrations, filmed where a bundle looks at pictures.

    Args:
        project: that keeps how things stand there.
        world: of `world_of`.
        made: how the demonstrations were made.
        manifest: of the bundle.
        factors: that are otherwise there.
        seed: of where things stand.
        executor: does the work.
        progress: is told about it.
    """
    from simulation.cousins import wardrobe_of
    from simulation.reality import cousins_words
    from simulation.variations import strengths_of

    words = cousins_words(factors)
    filmed = any(name.startswith(IMAGES) for name in manifest.measures)
    settings = dataclasses.replace(
        made,
        seed=seed + REALITY_SEED,
        vary=words,
        swap_from=(),
        like=None,
        cameras=made.cameras if filmed else "none",
    )
    scene = Scene.load(world)
    wardrobe = wardrobe_of(scene, settings.seed, strengths_of(words), pool_of(())).bare()
    inputs = {"scene": content_hash(world / "scene.json")}
    cache = project.folder / ".cache"
    cache.mkdir(exist_ok=True)
    bank = cache / f"reality-bank-{'-'.join(words)}-{settings.seed}.json"
    bank_of(bank, (bank,), wardrobe, inputs, executor, progress)
    return Order(world, bank, settings, uuid.uuid4().hex)
