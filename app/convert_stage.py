"""The stage from any dataset that can be read to one of ours, or into one that is there already.

An episode is known by its numbers (state, action, columns), not by where it came from: a run that goes on after being
killed, a source that has grown, and a copy of it under another name all add only what is not there yet.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import math
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy.typing as npt

from app.demonstrate_stage import run_file
from app.project import as_settings_json, read_json, real_path
from policies.dataset import INFO, DatasetSummary, DatasetWriter, open_dataset
from policies.dataset_folder import DatasetFolder, column_values
from policies.encoded import RATES, EncodedEpisode
from policies.episodes import Dataset
from policies.features import ACTION, STATE, Features
from policies.fitting import Fitted, Wishes
from policies.foreign import Foreign
from reconstruction.disk import write_whole, writing_to
from reconstruction.errors import InputError, OutputError, UsageError
from reconstruction.progress import Progress, part, silent
from simulation.episode import Episode

FORMAT, VERSION = "pocketworld.conversion", 1


@dataclass(frozen=True)
class ConvertSettings:
    """How a dataset is converted."""

    task: str = ""
    """What is done in it, one sentence; for sources that do not say so, or to replace what they say."""
    rate_hz: float | None = None
    """Frames a second, for sources that do not say so. Left out: 60 for UMI, 20 for robomimic."""
    every: int = 1
    """Take every n-th frame, with the last action before the next: right where actions say where to go, as UMI's, and
    wrong where they say by how much."""
    like: Path | None = None
    """Another dataset: take the cameras, columns and entries that it has, in its order, pictures in its size."""
    rename: tuple[str, ...] = ()
    """OLD=NEW for cameras, columns, and entries of state and action."""
    leave_out: tuple[str, ...] = ()
    """Names of cameras, columns, and entries of state and action (the old names) that are not wanted."""
    layout: Literal["lerobot", "gr00t"] = "lerobot"
    """Format of the dataset: LeRobotDataset v3.0, or v2.1 with modality.json as GR00T's fine-tuning reads it."""


@dataclass(frozen=True)
class ConvertResult:
    """What has been converted, as the command line reports it.

    Attributes:
        episodes, frames: in the dataset now.
        failures: episodes in the dataset of failures now.
        added: episodes, failures too, that this run has put there.
        known: episodes of the source that were there already.
        left_out: what of the source is not in it, and why.
        seconds: of this run.
        dataset, failed: folders of the successes and of the failures.
    """

    episodes: int
    frames: int
    failures: int
    added: int
    known: int
    left_out: tuple[str, ...]
    seconds: float
    dataset: str
    failed: str

    def as_json(self) -> dict[str, Any]:
        """The result as a JSON-able dict."""
        return dataclasses.asdict(self)


def convert(
    source: Path,
    folder: Path,
    settings: ConvertSettings = ConvertSettings(),
    progress: Progress = silent,  # noqa: B008
) -> ConvertResult:
    """Put all episodes of a dataset into another, made if missing; those that are there already are left alone.

    Args:
        source: anything that `open_dataset` reads. Failures beside a dataset of ours are taken along, as failures.
        folder: of the dataset to be written.
        settings: what of it, and how.
        progress: is told about all of it.

    Raises:
        UsageError: settings that make no sense, or the two are not apart from each other.
        InputError: the source is damaged, or does not fit what is there, or what it should be like.
        OutputError: something else is in the way, or the disk refuses.
    """
    started = time.perf_counter()
    wishes = _checked(settings)
    source, folder = real_path(source), real_path(folder)
    progress(0.0, "looking at the source")
    sources = _with_failures(source)
    _check_apart(sources, folder)
    like, pattern = (None, "") if settings.like is None else (_plain(settings.like).features, str(settings.like))
    datasets = [Fitted(_opened(path, settings), wishes, like, pattern) for path in sources]
    _check_rate(datasets[0])
    marks = _marks(datasets, part(progress, 0.0, 0.1))
    _check_target(folder)
    fresh = not folder.exists()
    with writing_to(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        with DatasetWriter(folder, layout=settings.layout, robot=datasets[0].robot) as writer:
            _check_features(writer.features(), datasets, folder)
            left_out = _left_out(datasets)
            _note(folder, source, settings, left_out)
            known = _known(writer)
            added = _add(writer, datasets, marks, known, settings.task, part(progress, 0.1, 0.9))
            summary = writer.finish(part(progress, 0.9, 1.0))
    except BaseException:
        if fresh:
            _forget_if_empty(folder)
        raise
    progress(1.0, "done")
    return _result(summary, added, len(marks) - added, left_out, started)


def _result(
    summary: DatasetSummary, added: int, known: int, left_out: tuple[str, ...], started: float
) -> ConvertResult:
    return ConvertResult(
        episodes=summary.episodes,
        frames=summary.frames,
        failures=summary.failures,
        added=added,
        known=known,
        left_out=left_out,
        seconds=round(time.perf_counter() - started, 3),
        dataset=str(summary.folder),
        failed=str(summary.failures_folder),
    )


# --- what is asked for -----------------------------------------------------------------------------------------------


def _checked(settings: ConvertSettings) -> Wishes:
    if settings.task and not (settings.task.strip() and settings.task.isprintable()):
        raise UsageError(
            f"--task is {settings.task!r}.", remedy="Give one sentence, such as 'Lift the cup.'", code="bad_value"
        )
    rate = settings.rate_hz
    if rate is not None and not (math.isfinite(rate) and RATES[0] <= rate <= RATES[1]):
        raise UsageError(f"--rate-hz is {rate}.", remedy=f"Give {RATES[0]} … {RATES[1]}.", code="bad_value")
    if settings.every < 1:
        raise UsageError(f"--every is {settings.every}.", remedy="Give 1 or more.", code="bad_value")
    pairs = [pair.partition("=") for pair in settings.rename]
    wrong = [f"{old}{equals}{new}" for old, equals, new in pairs if not (old and new)]
    if wrong or len({old for old, _, _ in pairs}) < len(pairs):
        raise UsageError(
            f"--rename is {' '.join(settings.rename)}.", remedy="Give OLD=NEW, each OLD once.", code="bad_value"
        )
    return Wishes({old: new for old, _, new in pairs}, settings.leave_out, settings.every)


def _with_failures(source: Path) -> list[Path]:
    """A dataset, and that of its failures if it is one of ours that has such."""
    reader, beside = DatasetFolder(source), source.with_name(source.name + "_failures") if source.name else source
    block = reader.json(INFO).get("pocketworld") if reader.has(INFO) else None
    ours = isinstance(block, dict) and "failures_of" not in block
    return [source, beside] if ours and DatasetFolder(beside).has(INFO) else [source]


def _check_apart(sources: list[Path], folder: Path) -> None:
    """See that nothing is written into what is read."""
    if not folder.name:
        raise UsageError(f"{folder} is no folder for a dataset.", remedy="Name a new folder.", code="bad_value")
    for read in sources:
        for written in (folder, folder.with_name(folder.name + "_failures")):
            if read == written:
                what = f"{read} would be written into itself"
            elif read.is_relative_to(written):
                what = f"{read} lies in {written}, which is to be written"
            elif written.is_relative_to(read):
                what = f"{written} lies in {read}, which is to be read"
            else:
                continue
            raise UsageError(f"{what}.", remedy="Name another folder for the dataset.", code="path_in_the_way")


def _opened(path: Path, settings: ConvertSettings) -> Dataset:
    if not path.exists():
        raise UsageError(f"There is no {path}.", remedy="Name a dataset's folder or file.", code="no_such_path")
    dataset = open_dataset(path, task=settings.task, rate_hz=settings.rate_hz)
    rate = dataset.features.rate_hz
    if settings.rate_hz is not None and not isinstance(dataset, Foreign) and rate != settings.rate_hz:
        raise UsageError(
            f"{path} says that it has {rate:g} frames a second.",
            remedy="Leave out --rate-hz; --every takes fewer frames.",
            code="bad_value",
        )
    return dataset


def _plain(path: Path) -> Dataset:
    if not path.exists():
        raise UsageError(f"There is no {path}.", remedy="Name a dataset after --like.", code="no_such_path")
    return open_dataset(path)


def _check_rate(dataset: Dataset) -> None:
    rate = dataset.features.rate_hz
    if rate != round(rate) or not RATES[0] <= rate <= RATES[1]:
        raise InputError(
            f"{dataset.folder} would have {rate:g} frames a second.",
            remedy=f"It takes a whole number from {RATES[0]} to {RATES[1]}: choose another --every or --rate-hz.",
            code="bad_rate",
        )


def _check_target(folder: Path) -> None:
    """See that no other command's dataset lies there: `demonstrate` would count what is put in as its own."""
    record, reader = run_file(folder), DatasetFolder(folder)
    block = reader.json(INFO).get("pocketworld") if reader.has(INFO) else None
    other = record.exists() and (read_json(record) or {}).get("format") != FORMAT
    if other or (isinstance(block, dict) and "failures_of" in block):
        why = f"as {record} says" if other else "it holds the failures of a dataset"
        raise OutputError(
            f"{folder} was not made by `pocketworld convert` ({why}).",
            remedy="Convert it, too, into a new dataset: one source after the other.",
            code="path_in_the_way",
        )
    beside = folder.with_name(folder.name + "_failures")
    reader = DatasetFolder(beside)
    block = reader.json(INFO).get("pocketworld") if reader.has(INFO) else None
    if reader.has(INFO) and not (isinstance(block, dict) and "failures_of" in block):
        raise OutputError(
            f"{beside}, where failures would go, holds a dataset of its own.",
            remedy="Choose another folder for the dataset.",
            code="path_in_the_way",
        )


def _check_features(there: Features | None, datasets: list[Fitted], folder: Path) -> None:
    for dataset in datasets:
        difference = "" if there is None else there.difference(dataset.features)
        if difference:
            raise InputError(
                f"{dataset.folder} does not fit into {folder}: {difference}.",
                remedy="Add --like with the dataset that is there, or write another one.",
                code="other_features",
            )
        there = there or dataset.features


def _left_out(datasets: list[Fitted]) -> tuple[str, ...]:
    """Each once; names come from files, and are to be printed."""
    names = dict.fromkeys(name for dataset in datasets for name in dataset.left_out)
    return tuple("".join(sign if sign.isprintable() else "?" for sign in name) for name in names)


# --- which episodes are there ----------------------------------------------------------------------------------------


def _mark(columns: Mapping[str, npt.NDArray[Any]], recipe: str, seed: int) -> bytes:
    """What tells an episode from others: its numbers and its cousin, not its words, its place or its pictures."""
    digest = hashlib.blake2b(json.dumps([recipe, seed]).encode(), digest_size=16)
    for name, values in sorted(columns.items()):
        digest.update(f"\n{name} {values.dtype} {values.size}\n".encode())
        digest.update(values.tobytes())
    return digest.digest()


def _mark_of(episode: Episode) -> bytes:
    columns = {STATE: episode.state, ACTION: episode.action, **episode.extra}
    return _mark(columns, episode.recipe, episode.seed)


def _mark_of_encoded(episode: EncodedEpisode) -> bytes:
    table, where = episode.columns(), f"episode {episode.index} of the journal"
    columns = {name: column_values(table, name, kind, where) for name, kind in episode.features.columns.items()}
    return _mark(columns, episode.recipe, episode.seed)


def _marks(datasets: list[Fitted], progress: Progress) -> list[bytes]:
    """Of every episode; so all tables have been read before anything is written."""
    marks, total = list[bytes](), sum(map(len, datasets))
    if not total:
        raise InputError(
            f"{datasets[0].folder} has no episodes.", remedy="Name a dataset that has some.", code="bad_dataset"
        )
    for dataset in datasets:
        for number in range(len(dataset)):
            progress(len(marks) / total, "reading the source")
            marks.append(_mark_of(dataset.read(number, ())))
    return marks


def _known(writer: DatasetWriter) -> Counter[bytes]:
    """How often each episode is there, finished or in the journal."""
    known = Counter(map(_mark_of_encoded, writer.waiting()))
    for folder in (writer.folder, writer.failures_folder):
        if DatasetFolder(folder).has(INFO):
            there = open_dataset(folder)
            known.update(_mark_of(there.read(number, ())) for number in range(len(there)))
    return known


def _add(
    writer: DatasetWriter, datasets: list[Fitted], marks: list[bytes], known: Counter[bytes], task: str, tell: Progress
) -> int:
    """Put in the episodes that are not there yet, under numbers that nobody has; returns how many."""
    index, added, seen = max(writer.done(), default=-1) + 1, 0, Counter[bytes]()
    for place, ((dataset, number), mark) in enumerate(zip(_all(datasets), marks, strict=True)):
        tell(place / len(marks), f"{added} episodes added")
        seen[mark] += 1
        if seen[mark] <= known[mark]:  # a source may have the same twice
            continue
        episode = dataset.read(number)
        writer.add(dataclasses.replace(episode, index=index, task=task or episode.task))
        index, added = index + 1, added + 1
    return added


def _all(datasets: list[Fitted]) -> Iterator[tuple[Fitted, int]]:
    return ((dataset, number) for dataset in datasets for number in range(len(dataset)))


# --- how it was made -------------------------------------------------------------------------------------------------


def _note(folder: Path, source: Path, settings: ConvertSettings, left_out: tuple[str, ...]) -> None:
    """Write down beside the dataset what was put into it; other commands then leave it alone."""
    path = run_file(folder)
    entry = {"source": str(source), "settings": as_settings_json(settings), "left_out": list(left_out)}
    before = (read_json(path) or {}).get("sources")
    entries = before if isinstance(before, list) else []
    if entry not in entries:
        made = {"format": FORMAT, "version": VERSION, "sources": [*entries, entry]}
        write_whole(path, json.dumps(made, indent=1, ensure_ascii=False) + "\n")


def _forget_if_empty(folder: Path) -> None:
    """Take away what a run has left that came to nothing."""
    with contextlib.suppress(OSError):
        if folder.is_dir() and {path.name for path in folder.iterdir()} <= {".lock"}:
            shutil.rmtree(folder, ignore_errors=True)
            run_file(folder).unlink(missing_ok=True)
