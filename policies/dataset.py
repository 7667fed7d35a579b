"""Datasets of episodes: one written by many workers' episodes in any order, any read whatever its format.

A finished episode first goes to the journal, ``<folder>/.journal/<index>-<success|failure>.zip``, whole or not at all.
When all are there, `DatasetWriter.finish` puts them into the dataset in the order of their index and takes the journal
away. So a run that is killed loses the episodes in flight and nothing else; the next one makes those that are missing,
and ends with the same bytes as if it had never been interrupted, whatever the number of workers. Failures go to a
dataset of their own beside, ``<folder>_failures``, each with its reason: no policy is to learn from them by accident.
"""

from __future__ import annotations

import contextlib
import importlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from policies.dataset_folder import DatasetFolder
from policies.encoded import EncodedEpisode, encode
from policies.episodes import Dataset
from policies.features import Features, bad_dataset
from policies.films import FilmSettings
from policies.foreign import foreign_kind
from policies.lerobot_v3_writer import as_text
from policies.numbered_files import Limits
from reconstruction.disk import locked, write_whole, writing_to
from reconstruction.errors import InputError, OutputError, UnsupportedFormatError, UsageError
from reconstruction.progress import Progress, part, silent
from simulation.episode import Episode

FORMAT, VERSION = "pocketworld.dataset", 1
INFO = "meta/info.json"
JOURNAL = ".journal"
ENTRY = re.compile(r"([0-9]{1,18})-(success|failure)\.zip")
OWN_FILES = {JOURNAL, ".lock", "meta", "data", "videos"}
LAYOUTS = {"lerobot": "policies.lerobot_v3_writer", "gr00t": "policies.gr00t"}
"""Layouts to write: the modules that ``append`` to one, say what is ``counted`` in it, and ``sweep`` it."""


@dataclass(frozen=True)
class DatasetSummary:
    """What a dataset holds.

    Attributes:
        folder: of the successes; `failures_folder`: of the rest.
        episodes, frames: of the successes.
        failures: how many episodes failed; `reasons`: how often each way.
    """

    folder: Path
    failures_folder: Path
    episodes: int
    frames: int
    failures: int
    reasons: Mapping[str, int]


class DatasetWriter:
    """Collects episodes into a dataset. Use it in a ``with`` statement, in one process; others `encode` for it.

    Episodes may come in any order. Those that a killed run left are taken over, and a finished dataset is added to:
    its files stay as they are, and new ones follow.
    """

    def __init__(
        self,
        folder: Path,
        *,
        layout: str = "lerobot",
        robot: str | None = None,
        film: FilmSettings = FilmSettings(),  # noqa: B008 - frozen
        limits: Limits = Limits(),  # noqa: B008 - frozen
    ) -> None:
        """Open a dataset to be added to, or make it.

        Args:
            folder: of the dataset; its failures go to ``<folder>_failures``.
            layout: ``"lerobot"`` for LeRobotDataset v3.0, ``"gr00t"`` for v2.1 with ``modality.json``.
            robot: LeRobot's name for the robot's type, such as ``"so101_follower"``.
            film: how pictures of episodes that come unencoded are encoded.
            limits: of files, where the dataset is new.

        Raises:
            UsageError: no such layout, or another process is writing there.
            OutputError: something else is in the folder, or it cannot be written.
            InputError: the dataset that is there is damaged.
        """
        if layout not in LAYOUTS:
            raise UsageError(
                f"There is no layout {layout!r}.", remedy=f"Take one of {', '.join(LAYOUTS)}.", code="bad_value"
            )
        self.folder, self.failures_folder = folder, folder.with_name(folder.name + "_failures")
        self._layout, self._name = importlib.import_module(LAYOUTS[layout]), layout
        self._robot, self._film, self._limits = robot, film, limits
        self._features: Features | None = None
        self._stack = contextlib.ExitStack()
        for place in (self.folder, self.failures_folder):
            self._check_place(place)
        with writing_to(folder):
            self._journal.mkdir(parents=True, exist_ok=True)
        try:
            self._stack.enter_context(locked(folder))
            with writing_to(folder):
                self._recover()
        except BaseException:
            self.close()
            raise

    @property
    def _journal(self) -> Path:
        return self.folder / JOURNAL

    def _check_place(self, folder: Path) -> None:
        reader = DatasetFolder(folder)
        if reader.has(INFO):
            block = reader.json(INFO).get("pocketworld")
            layout = block.get("layout") if isinstance(block, dict) else None
            if layout != self._name:
                other = f"in the layout {layout}" if layout else "that was not made by Pocketworld"
                raise OutputError(
                    f"{folder} holds a dataset {other}; this one's would be {self._name}.",
                    remedy="Choose another folder" + (" or layout." if layout else "."),
                    code="path_in_the_way",
                )
        elif folder.is_dir() and {entry.name for entry in folder.iterdir()} - OWN_FILES:
            raise OutputError(
                f"{folder} holds files that are not a dataset's.",
                remedy="Choose another folder.",
                code="path_in_the_way",
            )

    def _recover(self) -> None:
        """Clear away what a killed run left half done."""
        for path in self._journal.glob("*.partial"):
            path.unlink()
        self._counted = set[int]()
        for folder in (self.folder, self.failures_folder):
            self._layout.sweep(folder)
            rows = self._rows(folder)
            self._counted |= {row["run_index"] for row in rows}
            if self._features is None and rows:
                info = DatasetFolder(folder).json(INFO)
                self._features, _ = Features.from_json(info["features"], info["fps"], str(folder / INFO))
        self._waiting = {}
        for path in self._journal.iterdir():
            match = ENTRY.fullmatch(path.name)
            if match and int(match[1]) in self._counted:  # killed between the dataset's last file and the journal's end
                path.unlink()
            elif match:
                self._waiting[int(match[1])] = path

    def _rows(self, folder: Path) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self._layout.counted(folder)
        kinds = {"run_index": int, "length": int, "reason": str}
        if not all(type(row.get(name)) is kind for row in rows for name, kind in kinds.items()):
            raise bad_dataset(folder, f"its episodes lack {', '.join(kinds)}")
        return rows

    def done(self) -> set[int]:
        """Indices of the episodes that are there already, successes and failures."""
        return self._counted | set(self._waiting)

    def succeeded(self) -> set[int]:
        """Indices of the successes among them."""
        waiting = {index for index, path in self._waiting.items() if path.name.endswith("-success.zip")}
        return waiting | {row["run_index"] for row in self._layout.counted(self.folder)}

    def features(self) -> Features | None:
        """Of the episodes that are there already; None where there is none."""
        if self._features is None and self._waiting:
            self._features = self._entry(self._waiting[min(self._waiting)]).features
        return self._features

    def waiting(self) -> Iterator[EncodedEpisode]:
        """What a run before has left in the journal, one at a time.

        Raises:
            InputError: it is damaged.
        """
        return (self._entry(path) for _, path in sorted(self._waiting.items()))

    def add(self, episode: Episode | EncodedEpisode) -> None:
        """Take an episode; when this returns, it is on the disk.

        Raises:
            UsageError: one of its index is there already.
            InputError: it does not fit the dataset's other episodes.
            OutputError: the disk is full, or cannot be written.
        """
        if isinstance(episode, Episode):
            episode = encode(episode, self._film)
        if episode.index in self._counted or episode.index in self._waiting:
            raise UsageError(
                f"{self.folder} has an episode {episode.index} already.",
                remedy="Skip those that are done.",
                code="episode_twice",
            )
        self._check_features(episode)
        path = self._journal / f"{episode.index:012d}-{'success' if episode.success else 'failure'}.zip"
        with writing_to(self.folder):
            write_whole(path, episode.to_bytes())
        self._waiting[episode.index] = path

    def _check_features(self, episode: EncodedEpisode) -> None:
        self._features = self.features() or episode.features
        difference = self._features.difference(episode.features)
        if difference:
            raise InputError(
                f"Episode {episode.index} does not fit into {self.folder}: {difference}.",
                remedy="Give all episodes of a dataset the same features, or write another dataset.",
                code="other_features",
            )

    def _entry(self, path: Path) -> EncodedEpisode:
        try:
            return EncodedEpisode.from_bytes(path.read_bytes(), str(path))
        except OSError as error:
            raise bad_dataset(path, error.strerror or str(error)) from None

    def _entries(self, paths: Sequence[Path], progress: Progress) -> Iterator[EncodedEpisode]:
        for number, path in enumerate(paths):
            progress(number / len(paths), "Writing the dataset")
            episode = self._entry(path)
            self._check_features(episode)
            yield episode

    def finish(self, progress: Progress = silent) -> DatasetSummary:
        """Put all episodes of the journal into the dataset, in the order of their index; then there is no journal.

        Interrupted, it has put all failures there or none, and then all successes or none; what is left stays in the
        journal, and is put there by the next call, or by the next run.

        Raises:
            InputError: the journal is damaged.
            OutputError: the disk is full, or cannot be written.
        """
        failed = {index: path for index, path in sorted(self._waiting.items()) if path.name.endswith("-failure.zip")}
        good = {index: path for index, path in sorted(self._waiting.items()) if index not in failed}
        share = len(failed) / max(1, len(self._waiting))
        with writing_to(self.folder):
            self._append(self.failures_folder, failed, {"failures_of": self.folder.name}, part(progress, 0, share))
            self._append(self.folder, good, {"failures": self._failures()}, part(progress, share, 1))
            self._count_failures()
        progress(1.0, "done")
        return self.summary()

    def _append(self, folder: Path, entries: Mapping[int, Path], more: Mapping[str, Any], progress: Progress) -> None:
        if not entries:
            return
        folder.mkdir(parents=True, exist_ok=True)
        episodes = self._entries(list(entries.values()), progress)
        self._layout.append(folder, episodes, self._robot, self._limits, self._block(more))
        for index, path in entries.items():
            self._counted.add(index)
            del self._waiting[index]
            path.unlink()

    def _block(self, more: Mapping[str, Any]) -> dict[str, Any]:
        return {"format": FORMAT, "version": VERSION, "layout": self._name, **more}

    def _failures(self) -> dict[str, Any]:
        reasons = Counter(row["reason"] for row in self._rows(self.failures_folder))
        folder = f"../{self.failures_folder.name}"
        return {"folder": folder, "episodes": reasons.total(), "reasons": dict(sorted(reasons.items()))}

    def _count_failures(self) -> None:
        reader, block = DatasetFolder(self.folder), self._block({"failures": self._failures()})
        info = reader.json(INFO) if reader.has(INFO) else None
        if info is not None and info["pocketworld"] != block:  # only failures were added
            write_whole(self.folder / INFO, as_text({**info, "pocketworld": block}))

    def summary(self) -> DatasetSummary:
        """What is in the dataset by now, without the journal."""
        good, failures = self._rows(self.folder), self._failures()
        return DatasetSummary(
            folder=self.folder,
            failures_folder=self.failures_folder,
            episodes=len(good),
            frames=sum(row["length"] for row in good),
            failures=failures["episodes"],
            reasons=failures["reasons"],
        )

    def close(self) -> None:
        """Let others write there; what was added stays, finished or not."""
        try:
            with contextlib.suppress(OSError):  # not empty: to be gone on with
                self._journal.rmdir()
        finally:
            self._stack.close()

    def __enter__(self) -> DatasetWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


READERS = {
    "v3.0": ("policies.lerobot_v3", "LeRobotV3"),
    "v2.1": ("policies.gr00t", "LeRobotV21"),
    "v2.0": ("policies.gr00t", "LeRobotV21"),
}
"""Readers by LeRobot's ``codebase_version``."""


def open_dataset(path: Path, *, task: str = "", rate_hz: float | None = None) -> Dataset:
    """A dataset to read: LeRobot's v3.0, v2.1 or v2.0 (also GR00T's), UMI's Zarr, robomimic's HDF5.

    Args:
        path: a folder or file.
        task: sentence for a dataset that holds none (UMI, robomimic).
        rate_hz: frames a second, likewise.

    Raises:
        InputError: it is damaged, or not safe to read.
        UnsupportedFormatError: it is of no kind that is known.
        MissingToolError: a package for this kind is missing.
    """
    reader = DatasetFolder(path)
    if reader.has(INFO):
        version = reader.json(INFO).get("codebase_version")
        if not isinstance(version, str) or version not in READERS:
            raise UnsupportedFormatError(
                f"{path} is a LeRobotDataset of version {version!r}.",
                remedy=f"Convert it with LeRobot's own scripts to one of {', '.join(READERS)}.",
                code="unknown_version",
            )
        module, name = READERS[version]
        dataset: Dataset = getattr(importlib.import_module(module), name)(path)
        return dataset
    kind = foreign_kind(path)
    if kind is not None:
        return kind(path, task, rate_hz)
    waiting = sum(1 for _ in (path / JOURNAL).glob("*.zip"))
    if waiting:
        raise InputError(
            f"{path} is not finished: {waiting} episodes wait in its journal.",
            remedy="Run the command that makes it again: it goes on where it stopped.",
            code="unfinished_dataset",
        )
    raise UnsupportedFormatError(
        f"{path} is no dataset of episodes that is known.",
        remedy="Name a LeRobotDataset's folder (it has meta/info.json), a UMI .zarr.zip or a robomimic .hdf5.",
        code="unknown_dataset",
    )
