"""How a bundle does where nothing is quite as in the simulation that it has learnt in (`simulation.reality`)."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import shutil
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.bundle_stage import open_bundle
from app.demonstrate_stage import DemonstrateSettings, Order, made_with
from app.evaluate_stage import FILM_PX
from app.kept_tries import KeptTries
from app.policy_folder import REALITY_FILMS, policy_file, reality_file
from app.project import Project, as_settings_json, content_hash, replace_folder
from app.report import REPORT, write_report
from app.run_stage import DONE, SimRobot, dataset_of
from app.stand_in import order_in, world_of
from app.trials import check_sense, in_turn
from policies.deploy.bundle import MANIFEST
from policies.deploy.loop import drive
from reconstruction.disk import write_whole, writing_to
from reconstruction.errors import UsageError
from reconstruction.progress import Progress, part, silent
from simulation.pool import workers
from simulation.reality import FACTORS, strengths_of_factors

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from policies.deploy.bundle import Bundle
    from policies.deploy.robot import Reading
    from policies.evaluate import Trial
    from simulation.cell import Moment
    from simulation.reality import RealStage

FORMAT = "pocketworld.reality"
PATIENCE = 2.0
"""It may take so many times the longest demonstration, as in `pocketworld evaluate`."""
LONGEST_S = 20.0
"""… or this long, where a bundle does not say how long those were."""
DOUBTED = 0.5
"""A run whose trust falls below this would have been stopped."""


@dataclass(frozen=True)
class RealitySettings:
    """How often reality is tried, and what of it is otherwise than in the simulation."""

    count: int = 50
    """Tries with everything otherwise at once."""
    each: int = 0
    """Tries with one factor at a time, to find which one costs most; as many with none. 0: none of these."""
    films: int = 2
    """How many tries that failed are filmed, beside one that succeeded."""
    factors: tuple[str, ...] = ()
    """What is otherwise, of: friction, mass, latency, lag, backlash, camera, calibration, mount, light, shape. Left
    out: all of them (shape only where the scan's truth is not known)."""


@dataclass(frozen=True)
class Share:
    """How often it was done.

    Attributes:
        count: tries.
        successes: of them.
    """

    count: int
    successes: int

    @property
    def share(self) -> float:
        """Of successes."""
        return self.successes / self.count if self.count else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """Between which the true share lies with 95 % certainty."""
        from policies.evaluate import wilson

        return wilson(self.successes, self.count)

    def as_json(self) -> dict[str, Any]:
        """As a JSON-able dict."""
        interval = [round(value, 4) for value in self.interval]
        return {"count": self.count, "successes": self.successes, "interval": interval}


@dataclass(frozen=True)
class RealityResult:
    """What a bundle is worth in reality, as the command line reports it.

    Attributes:
        real: tries with everything otherwise.
        simulated: of the policy's last evaluation; None: it has none.
        failures: how often each reason was given.
        skipped: how things stood where the task makes no sense, by reason.
        factors: tries with one of them alone; under "" those with none.
        stopped: tries whose dreams fell so short that a real run would have been stopped: of failures, of successes.
        otherwise: names of `FACTORS` that were, all at once.
        known: whether the true world is known; else the scan stands for it, its shapes with errors.
        seconds: of this run.
        file: where all of this is kept.
        films: the folder with those of some tries, "" without any.
    """

    real: Share
    simulated: Share | None
    failures: Mapping[str, int]
    skipped: Mapping[str, int]
    factors: Mapping[str, Share]
    stopped: tuple[int, int]
    otherwise: tuple[str, ...]
    known: bool
    seconds: float
    file: str
    films: str

    @property
    def gap(self) -> tuple[float, float, float] | None:
        """Success in simulation less that in reality, and the interval that holds the true one with 95 % certainty."""
        return None if self.simulated is None else difference(self.simulated, self.real)

    def as_json(self) -> dict[str, Any]:
        """The result as a JSON-able dict."""
        gap = self.gap
        rows = {}
        for name, share in self.factors.items():
            cost = None if name == "" else round(self.factors[""].share - share.share, 4)
            rows[name or "none"] = {**share.as_json(), "cost": cost}
        return {
            **self.real.as_json(),
            "simulated": None if self.simulated is None else self.simulated.as_json(),
            "gap": None if gap is None else round(gap[0], 4),
            "gap_interval": None if gap is None else [round(value, 4) for value in gap[1:]],
            "failures": dict(self.failures),
            "skipped": dict(self.skipped),
            "factors": rows,
            "would_be_stopped": {"failures": self.stopped[0], "successes": self.stopped[1]},
            "otherwise": list(self.otherwise),
            "world": "true" if self.known else "scanned",
            "seconds": self.seconds,
            "file": self.file,
            "films": self.films,
        }


def difference(first: Share, second: Share) -> tuple[float, float, float]:
    """The first share less the second, and its 95 % interval (Newcombe, 1998, method 10: of Wilson's intervals)."""
    low_1, high_1 = first.interval
    low_2, high_2 = second.interval
    apart = first.share - second.share
    below = math.hypot(first.share - low_1, high_2 - second.share)
    above = math.hypot(high_1 - first.share, second.share - low_2)
    return apart, apart - below, apart + above


def check_reality(
    folder: Path,
    settings: RealitySettings,
    progress: Progress = silent,
    *,
    project: Project,
    truth: Path | None = None,
    dataset: Path | None = None,
    jobs: int = 1,
) -> RealityResult:
    """Try a bundle in a stand-in for reality.

    Args:
        folder: of the bundle.
        settings: how often, and what is otherwise.
        progress: is told about it.
        project: whose scene the policy has learnt in.
        truth: what is really there (`pocketworld virtual-scan` writes it beside the scan); left out: what lies beside
            the project's scan, or of the bundled scan; where there is none, the scan stands for it.
        dataset: the demonstrations that the policy was trained on; left out: those in the project.
        jobs: processes; never changes the result.

    Raises:
        UsageError: the words make no sense, or the project lacks what is needed.
        InputError: the bundle, the truth or the project is damaged.
    """
    from simulation.robots import robot_of

    started = time.perf_counter()
    if settings.count < 1 or min(settings.each, settings.films) < 0 or jobs < 1:
        raise UsageError(
            "--count and --jobs are 1 or more, --each and --films 0 or more.", remedy="Give such.", code="bad_value"
        )
    strengths_of_factors(settings.factors)
    progress(0.0, "reading the bundle")
    bundle = open_bundle(folder)
    demonstrations = dataset_of(bundle, project, dataset)
    made, _ = made_with(demonstrations)
    robot = robot_of(made.robot)
    world = world_of(project, truth, robot, part(progress, 0.0, 0.1))
    known = world != project.stage_folder("scene")
    names = settings.factors or tuple(name for name in FACTORS if name != "shape" or not known)
    longest_s = PATIENCE * _longest_s(bundle)
    with workers(jobs, None) as crew:
        where = reality_file(policy_file(project, demonstrations))
        about = {
            "bundle": content_hash(folder / MANIFEST),  # with the hashes of the other files
            "world": content_hash(world / "scene.json"),
            "made": as_settings_json(made),
            "patience": PATIENCE,
        }
        kept = KeptTries(where.with_name("reality_tries.jsonl"), about)
        check = _Check(project, world, made, bundle, folder.absolute(), longest_s, crew.executor, kept)
        share = settings.count / (settings.count + settings.each * (1 + len(names)))
        tried = check.tried(names, settings.count, part(progress, 0.1, 0.1 + 0.9 * share))
        alone = {}
        for number, factor in enumerate(["", *names] if settings.each else ()):
            begun = 0.1 + 0.9 * (share + (1 - share) * number / (1 + len(names)))
            ended = 0.1 + 0.9 * (share + (1 - share) * (number + 1) / (1 + len(names)))
            on = (factor,) if factor else ()
            alone[factor] = _share(check.tried(on, settings.each, part(progress, begun, ended)))
        films = check.filmed(names, tried, settings.films, where.with_name(REALITY_FILMS))
    seconds = round(time.perf_counter() - started, 3)
    result = dataclasses.replace(
        _result(bundle, tried, alone, names, known), seconds=seconds, file=str(where), films=str(films or "")
    )
    trials = [
        {"index": one.trial.index, "reason": one.trial.reason, "seconds": one.trial.seconds, "doubted": one.doubted}
        for one in tried
        if not one.trial.skipped
    ]
    found = {key: value for key, value in result.as_json().items() if key not in ("file", "films", "seconds")}
    head = {"format": FORMAT, "version": 1, "policy": bundle.manifest.document["policy"].get("source")}
    where.parent.mkdir(parents=True, exist_ok=True)
    write_whole(where, json.dumps({**head, **found, "trials": trials}, indent=1) + "\n")
    if (project.folder / REPORT).is_file():
        write_report(project)
    progress(1.0, "done")
    return result


def _result(
    bundle: Bundle, tried: Sequence[Tried], alone: Mapping[str, Share], names: tuple[str, ...], known: bool
) -> RealityResult:
    from policies.evaluate import score

    found = score(one.trial for one in tried)
    evaluation = bundle.manifest.document.get("evaluation")
    simulated = None
    if isinstance(evaluation, dict) and all(type(evaluation.get(key)) is int for key in ("count", "successes")):
        simulated = Share(evaluation["count"], evaluation["successes"])
    doubted = [bool(one.trial.reason) for one in tried if one.doubted]
    return RealityResult(
        Share(found.count, found.successes),
        simulated,
        found.failures,
        found.skipped,
        alone,
        (sum(doubted), len(doubted) - sum(doubted)),
        names,
        known,
        0.0,
        "",
        "",
    )


def _share(tried: Sequence[Tried]) -> Share:
    counted = [one.trial for one in tried if not one.trial.skipped]
    return Share(len(counted), sum(not trial.reason for trial in counted))


def _longest_s(bundle: Bundle) -> float:
    training = bundle.manifest.document.get("training")
    told = training.get("longest_s") if isinstance(training, dict) else None
    return float(told) if isinstance(told, (int, float)) and 0.0 < told < 600.0 else LONGEST_S


# --- tries -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tried:
    """What became of one try.

    Attributes:
        trial: as in an evaluation.
        doubted: a real run would have been stopped: what it saw had fallen too short of what it had foretold.
    """

    trial: Trial
    doubted: bool


@dataclass(frozen=True)
class _Check:
    """Tries of one bundle in one world; those that an earlier run has kept are not made again."""

    project: Project
    world: Path
    made: DemonstrateSettings
    bundle: Bundle
    folder: Path
    longest_s: float
    executor: Executor | None
    kept: KeptTries

    def tried(self, factors: Collection[str], count: int, progress: Progress) -> list[Tried]:
        """Try until it makes sense `count` times.

        Raises:
            InputError: it hardly ever does.
        """
        from policies.evaluate import Trial

        order = self._order(factors, part(progress, 0.0, 0.1))
        strengths = strengths_of_factors(factors)
        work = partial(try_some, order, strengths, self.folder, self.longest_s)
        group = ",".join(sorted(factors))
        kept = [Tried(Trial.from_row(row["trial"]), row["doubted"]) for row in self.kept.of(group)]
        found: list[Tried] = []
        tried = 0
        for one in itertools.chain(kept, in_turn(work, self.executor, len(kept))):
            found.append(one)
            tried += not one.trial.skipped
            if len(found) > len(kept):
                self.kept.add(group, {"trial": one.trial.as_row(), "doubted": one.doubted})
            what = next(iter(factors)) if len(factors) == 1 else "everything" if factors else "nothing"
            progress(0.1 + 0.9 * tried / count, f"{what} otherwise: {tried} of {count} tries")
            if tried >= count:
                break
            check_sense(len(found), tried, one.trial.skipped)
        return found

    def filmed(self, factors: Collection[str], tried: Sequence[Tried], count: int, folder: Path) -> Path | None:
        """Films of the first tries that failed, and of one that did not, in place of those that are in a folder."""
        trials = [one.trial for one in tried if not one.trial.skipped]
        failed = [trial.index for trial in trials if trial.reason][:count]
        shown = [*failed, *([trial.index for trial in trials if not trial.reason][:1] if count else [])]
        if not shown:
            shutil.rmtree(folder, ignore_errors=True)  # those of an earlier check show something else
            return None
        order = self._order(factors, silent)
        if order.settings.cameras == "none":  # things need their looks all the same
            order = dataclasses.replace(order, settings=dataclasses.replace(order.settings, cameras="both"))
        work = partial(film_one, order, strengths_of_factors(factors), self.folder, self.longest_s)
        each = map if self.executor is None else self.executor.map
        with writing_to(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            partial_folder = folder.with_name(f"{folder.name}.partial")
            shutil.rmtree(partial_folder, ignore_errors=True)
            partial_folder.mkdir()
            try:
                for index, film in zip(shown, each(work, shown), strict=True):
                    name = f"{'failed' if index in failed else 'succeeded'}_{index:06d}.mp4"
                    write_whole(partial_folder / name, film)
                replace_folder(partial_folder, folder, folder.with_name(f"{folder.name}.old"))
            finally:
                shutil.rmtree(partial_folder, ignore_errors=True)
            shutil.rmtree(folder.with_name(f"{folder.name}.old"), ignore_errors=True)
        return folder

    def _order(self, factors: Collection[str], progress: Progress) -> Order:
        return order_in(
            self.project, self.world, self.made, self.bundle.manifest, factors, self.made.seed, self.executor, progress
        )


_kept: dict[str, tuple[RealStage, Bundle]] = {}


def try_some(
    order: Order, strengths: Mapping[str, float], folder: Path, longest_s: float, indices: tuple[int, ...]
) -> list[Tried]:
    """Tries in a process that keeps its worlds and the bundle for the next call of the same order."""
    stage, bundle = _ready(order, strengths, folder)
    return [_try(stage, bundle, index, longest_s) for index in indices]


def film_one(order: Order, strengths: Mapping[str, float], folder: Path, longest_s: float, index: int) -> bytes:
    """A film (MP4) of one try, likewise."""
    from policies.evaluate import film_of

    stage, bundle = _ready(order, strengths, folder)
    moments: list[Moment] = []
    _try(stage, bundle, index, longest_s, lambda: moments.append(stage.cell.moment()))
    return film_of(stage, moments, FILM_PX)


def _ready(order: Order, strengths: Mapping[str, float], folder: Path) -> tuple[RealStage, Bundle]:
    from simulation.reality import RealStage

    if order.key not in _kept:
        for stage, _ in _kept.values():
            stage.close()
        _kept.clear()
        _kept[order.key] = RealStage(order.job(), strengths), open_bundle(folder)
    return _kept[order.key]


def _try(
    stage: RealStage, bundle: Bundle, index: int, longest_s: float, watch: Callable[[], object] = lambda: None
) -> Tried:
    from policies.evaluate import Trial

    why = stage.enter(index)
    if why:
        return Tried(Trial(index, skipped=why), False)
    robot = SimRobot(stage, bundle.manifest.measures, clock=lambda: stage.cell.seconds, fast=True)

    def watched(reading: Reading, command: npt.NDArray[np.float64]) -> str:
        watch()
        return robot.watch()

    report = drive(
        bundle,
        robot,
        longest_s,
        fast=True,
        heed=False,
        watch=watched,
        clock=lambda: stage.cell.seconds,
    )
    if robot.success:
        reason = ""
    elif report.stopped == DONE:
        reason = "joint limit broken" if stage.cell.faults.limit else "speed limit broken"
    else:
        reason = report.stopped
    doubted = report.trust is not None and report.trust < DOUBTED
    return Tried(Trial(index, reason=reason, seconds=stage.cell.seconds), doubted)
