"""How often a policy does its task in cousins that it has never seen, and how sure that figure is."""

from __future__ import annotations

import itertools
import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from policies.encoded import EncodedEpisode, encode
from policies.films import FilmSettings, encode_film
from policies.rollout import Actor, roll
from simulation.blunders import blunder
from simulation.cell import Moment
from simulation.demonstrations import Attempt, Job, Stage
from simulation.departure import departures
from simulation.filming import Film
from simulation.glances import glances
from simulation.play import play
from simulation.variations import unit

PORTIONS = 3
NAMED = 10
FRAMES = 72
"""Of a film: it is to fit into a report."""
GLANCES = 10
"""Into a cousin: what a thing looks like is learnt from many cousins, and where the hand may be from many glances."""


@dataclass(frozen=True)
class Trial:
    """One try in one cousin.

    Attributes:
        index: the cousin's number in its family.
        skipped: why the task makes no sense in it; "" where it was tried.
        reason: why it failed; "" where it succeeded.
        seconds: until it was done, or given up.
        departures: how far the cousin is from the scanned scene (`simulation.departure`).
        doubts: seconds, and metres that what was seen then fell short of what was dreamed (`deploy.trust.Trust`).
        peak: the highest of them that counts.
    """

    index: int
    skipped: str = ""
    reason: str = ""
    seconds: float = 0.0
    departures: Mapping[str, float] = field(default_factory=dict)
    doubts: tuple[tuple[float, float], ...] = ()
    peak: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """What became of it as a JSON-able dict."""
        doubts = [[round(seconds, 3), round(metres, 4)] for seconds, metres in self.doubts]
        return {
            "index": self.index,
            "reason": self.reason,
            "seconds": round(self.seconds, 3),
            "doubts": doubts,
            "peak": round(self.peak, 4),
        }

    def as_row(self) -> dict[str, Any]:
        """All of it, exactly, as a JSON-able dict."""
        return {**vars(self), "departures": dict(self.departures)}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Trial:
        """What `as_row` has written."""
        return cls(**{**row, "doubts": tuple((at, metres) for at, metres in row["doubts"])})


@dataclass(frozen=True)
class Portion:
    """Cousins in which one variation went about as far.

    Attributes:
        low, high: how far (`simulation.departure`).
        count: cousins that were tried.
        successes: those in which it was done.
    """

    low: float
    high: float
    count: int
    successes: int

    def as_json(self) -> dict[str, Any]:
        """The portion as a JSON-able dict."""
        interval = [round(value, 4) for value in wilson(self.successes, self.count)]
        return {**asdict(self), "interval": interval}


@dataclass(frozen=True)
class Score:
    """What was measured over many cousins.

    Attributes:
        count: cousins that were tried.
        successes: those in which it was done.
        interval: between which the true share of successes lies with 95 % certainty.
        seconds: mean time to finish, of those in which it was done.
        failures: how often each reason was given.
        skipped: cousins in which the task makes no sense, by reason.
        by_variation: the same in portions, from those that are most as scanned to those that are least.
        worst: numbers of cousins in which it failed, the first few.
        done: of those in which it succeeded, likewise.
        dream_auroc: how often, of one that failed and one that succeeded, the former had fallen shorter of its dreams
            by `dream_at_s`; None where all or none succeeded, or nothing was dreamed.
        dream_at_s: half of the time, the median, that those took in which it was done.
        dream_auroc_halfway: likewise at half of what each took, which is later of those that fail: they go on until
            their time is over.
    """

    count: int
    successes: int
    interval: tuple[float, float]
    seconds: float
    failures: dict[str, int]
    skipped: dict[str, int]
    by_variation: dict[str, list[Portion]] = field(default_factory=dict)
    worst: tuple[int, ...] = ()
    done: tuple[int, ...] = ()
    dream_auroc: float | None = None
    dream_at_s: float | None = None
    dream_auroc_halfway: float | None = None

    @property
    def share(self) -> float:
        """Of successes."""
        return self.successes / self.count if self.count else 0.0

    def as_json(self) -> dict[str, Any]:
        """The score as a JSON-able dict."""
        return {
            "count": self.count,
            "successes": self.successes,
            "interval": [round(value, 4) for value in self.interval],
            "seconds_to_finish": round(self.seconds, 3),
            "failures": self.failures,
            "skipped": self.skipped,
            "by_variation": {
                name: [portion.as_json() for portion in portions] for name, portions in self.by_variation.items()
            },
            "worst": list(self.worst),
            "done": list(self.done),
            "dream_auroc": None if self.dream_auroc is None else round(self.dream_auroc, 4),
            "dream_at_s": None if self.dream_at_s is None else round(self.dream_at_s, 3),
            "dream_auroc_halfway": None if self.dream_auroc_halfway is None else round(self.dream_auroc_halfway, 4),
        }


def score(trials: Iterable[Trial]) -> Score:
    """Sum up trials."""
    done, failures, skipped = [], Counter[str](), Counter[str]()
    tried = []
    for trial in trials:
        if not trial.skipped:
            tried.append(trial)
        if trial.skipped:
            skipped[trial.skipped] += 1
        elif trial.reason:
            failures[trial.reason] += 1
        else:
            done.append(trial.seconds)
    count = len(tried)
    return Score(
        count,
        len(done),
        wilson(len(done), count),
        sum(done) / len(done) if done else 0.0,
        dict(failures.most_common()),
        dict(skipped.most_common()),
        {name: _portions(tried, name) for name in (tried[0].departures if tried else ())},
        tuple(trial.index for trial in tried if trial.reason)[:NAMED],
        tuple(trial.index for trial in tried if not trial.reason)[:NAMED],
        *_foretold(tried),
    )


def _foretold(tried: Sequence[Trial]) -> tuple[float | None, float | None, float | None]:
    """How well doubts tell failures from successes at half of a success, when that is, and at half of each try."""
    done = [trial.seconds for trial in tried if not trial.reason]
    if not done or not any(trial.doubts for trial in tried):
        return None, None, None
    half = 0.5 * statistics.median(done)
    early = [(_doubt(trial, half), trial.reason) for trial in tried]
    halfway = [(_doubt(trial, trial.seconds / 2), trial.reason) for trial in tried]
    told = [auroc([d for d, bad in rows if bad], [d for d, bad in rows if not bad]) for rows in (early, halfway)]
    return told[0], half, told[1]


def _doubt(trial: Trial, seconds: float) -> float:
    """The last doubt of a try up to some time; 0 where there was none."""
    return next((doubt for at, doubt in reversed(trial.doubts) if at <= seconds), 0.0)


def auroc(high: Sequence[float], low: Sequence[float]) -> float | None:
    """How often one of the former is higher than one of the latter, equal ones half; None without either."""
    if not high or not low:
        return None
    return sum((a > b) + 0.5 * (a == b) for a in high for b in low) / (len(high) * len(low))


def _portions(tried: Sequence[Trial], variation: str) -> list[Portion]:
    """Trials in `PORTIONS` of about as many, by how far a variation went; what went equally far stays together."""
    values = sorted({trial.departures[variation] for trial in tried})
    rows = sorted(tried, key=lambda trial: trial.departures[variation])
    cuts = {rows[len(rows) * k // PORTIONS].departures[variation] for k in range(1, PORTIONS)} - {values[0]}
    found = []
    for low, high in itertools.pairwise([-math.inf, *sorted(cuts), math.inf]):
        some = [trial for trial in rows if low <= trial.departures[variation] < high]
        far = [trial.departures[variation] for trial in some]
        found.append(Portion(min(far), max(far), len(some), sum(not trial.reason for trial in some)))
    return found


def wilson(successes: int, count: int, z: float = 1.959964) -> tuple[float, float]:
    """The interval in which a share lies, 95 % sure for the usual `z` (Wilson, 1927); all of 0 … 1 where none tried."""
    if not count:
        return 0.0, 1.0
    share = successes / count
    middle = share + z * z / (2 * count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    whole = 1 + z * z / count
    return max(0.0, (middle - half) / whole), min(1.0, (middle + half) / whole)


def try_policy(stage: Stage, actor: Actor, index: int, longest_s: float) -> Trial:
    """Let a policy try cousin number `index`; the same whatever was tried before."""
    why = stage.enter(index)
    if why:
        return Trial(index, skipped=why)
    trust = actor.trust()
    reason = roll(stage, actor, longest_s, trust=trust)
    far = departures(stage.cell.cousin, stage.cell.wardrobe.scene, stage.job.task.names)
    found = Trial(index, reason=reason, seconds=stage.cell.seconds, departures=far)
    if trust is None:
        return found
    seconds = [tick / stage.cell.rate_hz for tick in trust.ticks]
    return replace(found, doubts=tuple(zip(seconds, trust.doubts, strict=True)), peak=trust.peak)


def film_policy(stage: Stage, actor: Actor, index: int, longest_s: float, size: int) -> bytes:
    """A film (MP4) of a policy that tries cousin number `index`, as long as that takes, of `FRAMES` pictures at most.

    Args:
        stage: with what is needed to film.
        actor: the policy.
        index: of the cousin.
        longest_s: that it may take.
        size: height of the film, and width of what either camera sees, pixels; even.
    """
    stage.enter(index)
    moments = list[Moment]()
    # Dreaming as well: the same numbers rounded otherwise may lead elsewhere than the try that is to be shown.
    roll(stage, actor, longest_s, lambda cell: moments.append(cell.moment()), actor.trust())
    return film_of(stage, moments, size)


def film_of(stage: Stage, moments: Sequence[Moment], size: int) -> bytes:
    """A film (MP4) of what happened in the cousin that is loaded, of `FRAMES` pictures at most.

    Args:
        stage: with what is needed to film.
        moments: how things stood, tick by tick.
        size: height of the film, and width of what either camera sees, pixels; even.
    """
    every = max(2, math.ceil(len(moments) / FRAMES))
    shots = stage.take(Film(stage.job.wardrobe, stage.job.robot, size)).shoot(moments[::every])
    pictures = np.concatenate([shot.rgb for shot in shots.values()], axis=2)
    return encode_film(pictures, max(1, round(stage.cell.rate_hz / every)), FilmSettings(quality=29, pixels="yuv420p"))


def correct_policy(stage: Stage, actor: Actor, index: int, longest_s: float) -> Attempt:
    """Let a policy begin in cousin number `index`, and the expert take over at some time, drawn for each cousin.

    So it is shown what to do where its own mistakes lead: DAgger (Ross, Gordon & Bagnell, "A Reduction of Imitation
    Learning and Structured Prediction to No-Regret Online Learning", 2011), with the teacher at the controls from then
    on (Kelly et al., "HG-DAgger", 2019).
    """
    ticks = int(unit(stage.job.cousins.seed, index, "take over") * longest_s * stage.cell.rate_hz)
    return stage.correct(index, lambda stage: itertools.islice(actor.perform(stage), ticks))


_stages: dict[str, Stage] = {}
_actors: dict[str, Actor] = {}


def try_some(
    job: Callable[[], Job], actor: Callable[[], Actor], key: str, indices: Sequence[int], longest_s: float
) -> list[Trial]:
    """Trials in a worker process, which keeps its stage and policy for the next call with the same `key`."""
    stage, policy = _stage(job, key), _actor(actor, key)
    return [try_policy(stage, policy, index, longest_s) for index in indices]


def film_one(
    job: Callable[[], Job], actor: Callable[[], Actor], key: str, index: int, longest_s: float, size: int
) -> bytes:
    """A film in a worker process, likewise."""
    return film_policy(_stage(job, key), _actor(actor, key), index, longest_s, size)


def correct_some(
    job: Callable[[], Job], actor: Callable[[], Actor], key: str, indices: Sequence[int], longest_s: float
) -> list[tuple[int, EncodedEpisode | None]]:
    """Corrections in a worker process, likewise: the cousins' numbers, and episodes of those that succeeded."""
    stage = _stage(job, key)
    policy = _actor(actor, key)
    found = [(index, correct_policy(stage, policy, index, longest_s).episode) for index in indices]
    return [(index, encode(made) if made is not None and made.success else None) for index, made in found]


def blunder_some(
    job: Callable[[], Job], key: str, indices: Sequence[int], longest_s: float
) -> list[tuple[int, EncodedEpisode | None]]:
    """Blunders set right in a worker process, likewise: the cousins' numbers, and episodes of those that succeeded."""
    stage = _stage(job, key)
    found = [(index, blunder(stage, index, longest_s).episode) for index in indices]
    return [(index, encode(made) if made is not None and made.success else None) for index, made in found]


def play_some(job: Callable[[], Job], key: str, indices: Sequence[int]) -> list[tuple[int, EncodedEpisode | None]]:
    """Play in a worker process, likewise: the cousins' numbers, and an episode of each that the task is for."""
    stage = _stage(job, key)
    found = [(index, play(stage, index).episode) for index in indices]
    return [(index, None if made is None else encode(made)) for index, made in found]


def glance_some(job: Callable[[], Job], key: str, indices: Sequence[int]) -> list[tuple[int, EncodedEpisode | None]]:
    """Glances in a worker process, likewise: the cousins' numbers, and an episode of each into which there are any."""
    stage = _stage(job, key)
    found = [(index, glances(stage, index, GLANCES).episode) for index in indices]
    return [(index, None if made is None else encode(made)) for index, made in found]


def _stage(job: Callable[[], Job], key: str) -> Stage:
    if key not in _stages:
        for stage in _stages.values():
            stage.close()
        _stages.clear()
        _stages[key] = Stage(job())
    return _stages[key]


def _actor(actor: Callable[[], Actor], key: str) -> Actor:
    if key not in _actors:
        _actors.clear()
        _actors[key] = actor()
    return _actors[key]
