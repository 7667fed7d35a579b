"""The stage from a scene to its cousins: load, call, save into the project folder."""

from __future__ import annotations

import dataclasses
import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.pictures import write_picture
from app.project import Project, StageKey, StageNotes, as_settings_json, code_hash, content_hash, is_folder, real_path
from app.worker import from_json
from reconstruction.disk import write_whole, writing_to
from reconstruction.errors import InputError, OutputError, UsageError
from reconstruction.progress import Progress, part, silent
from reconstruction.scene import Scene
from simulation.cousins import Cousin, CousinSettings
from simulation.pool import Workers, workers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from concurrent.futures import Executor
    from contextlib import AbstractContextManager

    from reconstruction.scene import SceneObject
    from simulation.bank import Bank, Wardrobe

PACKAGES = Path(__file__).resolve().parent.parent
SOURCES = (
    "variations",
    "forms",
    "stances",
    "bank",
    "layout",
    "cousins",
    "draw",
    "cousin_pictures",
    "renderer",
    "relatives",
    "kinship",
    "world",
)
RECIPES = "recipes.jsonl"
BANK = "bank.json"
SHEET = "contact_sheet.jpg"
SHEET_PICTURES = 12
AHEAD = 8
"""Chunks of cousins a worker that may be drawn before their turn: enough for all to go on while one is done again whose
node has died, which Ray notices after about 15 s."""


@dataclass(frozen=True)
class CousinResult:
    """What became of a scene's cousins, as the command line reports it.

    Attributes:
        project: its folder.
        recipes: the file of recipes, one JSON line a cousin.
        contact_sheet: pictures of the first ones.
        count: how many there are.
        rejected: how often something was drawn again, by variation.
        seconds: that making them took.
        status: ``"done"``, or ``"unchanged"`` where nothing had to be run.
    """

    project: str
    recipes: str
    contact_sheet: str
    count: int
    rejected: dict[str, int]
    seconds: float
    status: str

    def as_json(self) -> dict[str, Any]:
        """The result as a JSON-able dict."""
        return dataclasses.asdict(self)


def make_cousins(
    project: Project,
    settings: CousinSettings,
    progress: Progress = silent,
    *,
    jobs: int = 1,
    cluster: str | None = None,
) -> CousinResult:
    """Write the recipes of a project's cousins and a sheet of pictures; does nothing where they are there already.

    Args:
        project: with a finished scene.
        settings: which cousins.
        progress: is told about all of it.
        jobs: processes; never changes the result.
        cluster: address of a Ray cluster that does the work in place of them; never changes the result.

    Raises:
        PocketworldError: no scene, nothing in it, no valid cousins with these settings, or no cluster.
    """
    from simulation.cluster import checked_address
    from simulation.variations import strengths_of

    if settings.count < 1:
        raise UsageError(f"--count is {settings.count}.", remedy="Give 1 or more.", code="bad_value")
    if jobs < 1:
        raise UsageError(f"--jobs is {jobs}.", remedy="Give 1 or more, or leave it out.", code="bad_value")
    if cluster is not None:
        checked_address(cluster)
    strengths_of(settings.vary)
    # Recorded for `materialize`, which may be called from another folder.
    settings = dataclasses.replace(settings, swap_from=tuple(map(real_path, settings.swap_from)))
    folder = project.require("scene")
    started = time.perf_counter()
    key = _key(folder, settings)
    status = "unchanged"
    with project.locked():
        project.recover()
        if not project.is_fresh("cousins", key):
            status = "done"
            scene = _scene(folder, settings)
            project.run_stage(
                "cousins",
                key,
                lambda target: _make(
                    target,
                    project.stage_folder("cousins"),
                    scene,
                    settings,
                    key.inputs,
                    progress,
                    workers(jobs, cluster),
                ),
            )
    progress(1.0, "done")
    made, record = project.stage_folder("cousins"), project.record("cousins")
    return CousinResult(
        project=str(project.folder),
        recipes=str(made / RECIPES),
        contact_sheet=str(made / SHEET),
        count=int(record["figures"]["count"]),
        rejected={name: int(count) for name, count in record["figures"]["rejected"].items()},
        seconds=round(time.perf_counter() - started, 3),
        status=status,
    )


def _key(folder: Path, settings: CousinSettings) -> StageKey:
    inputs = {"scene": content_hash(folder / "scene.json")}
    inputs.update({f"swap_from {path}": content_hash(path) for path in settings.swap_from})
    return StageKey(as_settings_json(settings), inputs, _code())


def _scene(folder: Path, settings: CousinSettings) -> Scene:
    scene = Scene.load(folder)
    names = [item.name for item in scene.objects]
    if not names or not scene.supports:
        raise UsageError(
            f"{folder} has {'no objects' if not names else 'no support'}: there is nothing to vary.",
            remedy="Scan a bench with things on it.",
            code="empty_scene",
        )
    unknown = sorted(set(settings.keep) - set(names))
    if unknown:
        raise UsageError(
            f"The scene has no {unknown[0]!r} to keep.", remedy=f"It has: {', '.join(names)}.", code="bad_name"
        )
    return scene


def pool_of(swap_from: Sequence[Path]) -> Sequence[SceneObject] | None:
    """The things of projects and folders of meshes; None where none are named: the bundled ones."""
    from simulation.relatives import from_paths

    return from_paths(swap_from) if swap_from else None


def _make(
    folder: Path,
    before: Path,
    scene: Scene,
    settings: CousinSettings,
    inputs: Mapping[str, str],
    progress: Progress,
    hired: AbstractContextManager[Workers],
) -> StageNotes:
    from simulation.cousin_pictures import contact_sheet, picture
    from simulation.cousins import dress, wardrobe_of
    from simulation.draw import Draw, chunks
    from simulation.variations import strengths_of

    progress(0.0, "choosing what may stand in them")
    times = [time.perf_counter()]
    rejected: Counter[str] = Counter()
    shown: list[str] = []
    with hired as crew:
        wardrobe = wardrobe_of(scene, settings.seed, strengths_of(settings.vary), pool_of(settings.swap_from))
        bare = wardrobe.bare()
        tried = part(progress, 0.02, 0.4)
        bank = bank_of(folder / BANK, (before / BANK,), bare, inputs, crew.executor, tried)
        times.append(time.perf_counter())
        done = 0
        with (folder / RECIPES).open("w", encoding="utf-8") as recipes:
            for chunk in chunks(Draw(bare, bank, settings), crew.executor, AHEAD * crew.count):
                recipes.writelines(f"{line}\n" for line in chunk.lines)
                shown += chunk.lines[: SHEET_PICTURES - len(shown)]
                rejected.update(chunk.rejected)
                done += len(chunk.lines)
                progress(0.4 + 0.5 * done / settings.count, f"{done} of {settings.count} cousins")
    times.append(time.perf_counter())
    progress(0.9, "drawing the contact sheet")
    pictures = [picture(dress(Cousin.from_json(line), wardrobe)) for line in shown]
    write_picture(folder / SHEET, contact_sheet(pictures, 4))
    times.append(time.perf_counter())
    names = ("trying how things stand", "drawing cousins", "contact sheet")
    timings = dict(zip(names, (b - a for a, b in zip(times, times[1:], strict=False)), strict=True))
    figures = {
        "count": settings.count,
        "rejected": dict(sorted(rejected.items())),
        "tried": dict(bank.tried),
        "fallen": dict(bank.fallen),
    }
    return StageNotes((), timings, figures)


def bank_of(
    target: Path,
    before: Sequence[Path],
    wardrobe: Wardrobe,
    inputs: Mapping[str, str],
    executor: Executor | None = None,
    progress: Progress = silent,
) -> Bank:
    """How things stand, read from one of the files `before` where that was of the same things; kept in `target`.

    Args:
        target: the file to be written.
        before: where it may have been kept; what is missing or damaged is passed over.
        wardrobe: the things.
        inputs: content hashes of what they are made of.
        executor: tries them where they must be tried; None: this process.
        progress: told about that.
    """
    from simulation.bank import Bank, build

    made_of = {
        "seed": wardrobe.seed,
        "strengths": dict(wardrobe.strengths),
        "inputs": dict(inputs),
        "code": _code(),
    }
    bank = None
    for path in before:
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            if document["made_of"] == made_of:
                bank = Bank.from_json(document["bank"])
                break
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            continue  # none there, or damaged
    bank = bank or build(wardrobe, executor, progress)
    document = {"made_of": made_of, "bank": bank.as_json()}
    # Demonstrations of several tasks may be made at the same time, all from this one.
    write_whole(target, json.dumps(document, separators=(",", ":"), ensure_ascii=False), shared=True)
    return bank


def _code() -> str:
    modules = (PACKAGES / "simulation" / f"{name}.py" for name in SOURCES)
    return code_hash(*modules, PACKAGES / "resources" / "relatives.zip")


def recipes(project: Project) -> Iterator[Cousin]:
    """A project's cousins in order.

    Raises:
        UsageError: none were made yet.
        InputError: the file is damaged.
    """
    path = _recipes_file(project)
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            yield _parsed(path, number, line)


def materialize(project: Project, number: int, out: Path, progress: Progress = silent) -> Path:
    """Write one cousin as a scene folder of its own; returns its ``scene.json``.

    Args:
        project: with finished cousins.
        number: which, from 0.
        out: a new or empty folder.
        progress: told when done.

    Raises:
        UsageError: there is no such cousin.
        OutputError: the place is taken, or cannot be written.
    """
    import shutil

    path = _recipes_file(project)
    if number < 0:
        raise UsageError(f"--materialize is {number}.", remedy="Count from 0.", code="bad_value")
    line = None
    with path.open(encoding="utf-8") as lines:
        for count, candidate in enumerate(lines):
            if count == number:
                line = candidate
                break
    if line is None:
        count = int(project.record("cousins")["figures"]["count"])
        raise UsageError(
            f"There is no cousin {number}: {project.folder} has {count}.",
            remedy=f"Name one of 0 … {count - 1}.",
            code="bad_value",
        )
    cousin = _parsed(path, number + 1, line)
    settings = from_json(CousinSettings, project.record("cousins")["settings"])
    out = out.absolute()
    if out.exists() and (not is_folder(out) or any(out.iterdir())):
        raise OutputError(f"{out} is there already and not empty.", remedy="Name a new folder.", code="path_in_the_way")
    scene = cousin.apply(Scene.load(project.require("scene")), pool_of(settings.swap_from))
    partial = out.with_name(f".{out.name}.partial")
    with writing_to(out.parent):
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(partial, ignore_errors=True)
        try:
            scene.save(partial)
            if out.exists():
                out.rmdir()
            partial.rename(out)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
    progress(1.0, "written")
    return out / "scene.json"


def _recipes_file(project: Project) -> Path:
    folder = project.stage_folder("cousins")
    if not (folder / "stage.json").is_file():
        raise UsageError(
            f"{project.folder} has no cousins yet.", remedy="Run `pocketworld cousins` on it first.", code="no_stage"
        )
    return folder / RECIPES


def _parsed(path: Path, number: int, line: str) -> Cousin:
    try:
        return Cousin.from_json(line)
    except InputError as error:
        raise InputError(
            f"{path}, line {number}: {error.message}",
            remedy="Run `pocketworld cousins` on the project again.",
            code=error.code,
        ) from None
