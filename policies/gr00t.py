"""GR00T's flavour of LeRobotDataset v2.1: a table and films for each episode, and ``meta/modality.json``.

Written and read from the format alone (Isaac-GR00T N1.7: ``getting_started/data_preparation.md``,
``gr00t/data/dataset/lerobot_episode_loader.py``, ``gr00t/data/stats.py``; lerobot 0.3 for v2.1)::

    meta/info.json  meta/modality.json  meta/stats.json
    meta/episodes.jsonl  meta/tasks.jsonl  meta/episodes_stats.jsonl
    data/chunk-000/episode_000000.parquet
    videos/chunk-000/<feature>/episode_000000.mp4

Files in ``meta`` are written last, ``info.json`` at the very end; it says how many episodes count.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from policies.dataset_folder import DatasetFolder, column_values
from policies.encoded import EncodedEpisode, arrow_column
from policies.episodes import Dataset, episode_of
from policies.features import COUNTERS, IMAGES, Extra, Features, bad_dataset, camera_name
from policies.films import read_frames
from policies.lerobot_v3 import MAX_LENGTH, OWN, total_episodes
from policies.lerobot_v3_writer import as_text, counters, first_info, huggingface
from policies.numbered_files import Limits
from policies.statistics import NAMES, column_statistics
from reconstruction.disk import write_whole
from simulation.episode import Episode, Pictures

CODEBASE = "v2.1"
INFO, MODALITY, STATS = "meta/info.json", "meta/modality.json", "meta/stats.json"
EPISODES, TASKS, EPISODES_STATS = "meta/episodes.jsonl", "meta/tasks.jsonl", "meta/episodes_stats.jsonl"
DATA = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
FILMS = "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"


# --- writing ---------------------------------------------------------------------------------------------------------


def append(folder: Path, episodes: Iterable[EncodedEpisode], robot: str | None, limits: Limits, block: object) -> int:
    """See `policies.lerobot_v3_writer.append`."""
    addition = None
    for episode in episodes:
        if addition is None:
            addition = _Addition(folder, episode, robot, limits)
        addition.add(episode)
    return 0 if addition is None else addition.finish(block)


def counted(folder: Path) -> list[dict[str, Any]]:
    """See `policies.lerobot_v3_writer.counted`."""
    reader = DatasetFolder(folder)
    return episode_rows(reader, reader.json(INFO)) if reader.has(INFO) else []


def sweep(folder: Path) -> None:
    """See `policies.lerobot_v3_writer.sweep`."""
    count = len(counted(folder))
    for pattern in ("data/*/episode_*", "videos/*/*/episode_*"):
        for path in folder.glob(pattern):
            number = path.name.split(".")[0].removeprefix("episode_")
            if path.suffix == ".partial" or not number.isdigit() or int(number) >= count:
                path.unlink()


def modality(features: Features) -> dict[str, Any]:
    """GR00T's ``modality.json``: which entries are the arm's and which the gripper's, ``[start, end)``."""
    return {
        "state": _parts(features.state_names),
        "action": _parts(features.action_names),
        "video": {camera: {"original_key": f"{IMAGES}{camera}"} for camera in features.cameras},
        "annotation": {"human.task_description": {"original_key": "task_index"}},
    }


def _parts(names: Sequence[str]) -> dict[str, dict[str, int]]:
    parts: dict[str, dict[str, int]] = {}
    current = ""
    for number, name in enumerate(names):
        kind = "gripper" if "gripper" in name.lower() else "single_arm"
        if not current.startswith(kind):
            before = sum(part.startswith(kind) for part in parts)
            current = kind if not before else f"{kind}_{before + 1}"
            parts[current] = {"start": number, "end": number}
        parts[current]["end"] = number + 1
    return parts


class _Addition:
    def __init__(self, folder: Path, first: EncodedEpisode, robot: str | None, limits: Limits) -> None:
        self.folder, self.features = folder, first.features
        reader = DatasetFolder(folder)
        if reader.has(INFO):
            self.info = reader.json(INFO)
            self.rows = episode_rows(reader, self.info)
            self.tasks = read_tasks(reader)
            self.stats = reader.json_lines(EPISODES_STATS)[: len(self.rows)]
        else:
            self.info, self.rows, self.tasks, self.stats = _new_info(first, robot, limits), [], [], []
        self.added = 0
        self.frames = int(self.info["total_frames"])

    def add(self, episode: EncodedEpisode) -> None:
        """Write an episode's files."""
        import pyarrow.parquet as pq

        if episode.task not in self.tasks:
            self.tasks.append(episode.task)
        number = len(self.rows)
        numbers = counters(episode, number, self.frames, self.tasks.index(episode.task))
        table = episode.columns()
        for name, values in numbers.items():
            table = table.append_column(name, arrow_column(values, Extra(COUNTERS[name])))
        sink = io.BytesIO()
        # By the name that `datasets` had for vectors when v2.1 was new, and still knows.
        table = table.replace_schema_metadata(huggingface(self.features, vector="Sequence"))
        pq.write_table(table, sink, compression="snappy")
        self._write(DATA, sink.getvalue())
        for camera, film in episode.films.items():
            self._write(FILMS, film, video_key=f"{IMAGES}{camera}")
        found = {**episode.statistics, **{name: column_statistics(values) for name, values in numbers.items()}}
        short = {key: {name: value[name] for name in NAMES[:5]} for key, value in found.items()}
        self.stats.append({"episode_index": number, "stats": short})
        row = {"episode_index": number, "tasks": [episode.task], "length": episode.length}
        own = {name: getattr(episode, "index" if name == "run_index" else name) for name in OWN}
        self.rows.append({**row, **own})
        self.frames += episode.length
        self.added += 1

    def _write(self, template: str, data: bytes, **more: str) -> None:
        number = len(self.rows)
        chunk = number // int(self.info["chunks_size"])
        path = self.folder / template.format(episode_chunk=chunk, episode_index=number, **more)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, data)

    def finish(self, block: object) -> int:
        """Write what makes the episodes count, ``info.json`` last."""
        count, size = len(self.rows), int(self.info["chunks_size"])
        (self.folder / "meta").mkdir(exist_ok=True)
        tasks = [{"task_index": number, "task": task} for number, task in enumerate(self.tasks)]
        write_whole(self.folder / MODALITY, as_text(modality(self.features)))
        write_whole(self.folder / STATS, as_text(self._statistics()))
        # GR00T's loader does not ask info.json, but takes every line of the last of these.
        for name, lines in ((TASKS, tasks), (EPISODES_STATS, self.stats), (EPISODES, self.rows)):
            write_whole(self.folder / name, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
        totals = {
            "total_episodes": count,
            "total_frames": self.frames,
            "total_tasks": len(tasks),
            "total_videos": count * len(self.features.cameras),
            "total_chunks": -(-count // size),
            "splits": {"train": f"0:{count}"},
            "pocketworld": block,
        }
        write_whole(self.folder / INFO, as_text({**self.info, **totals}))
        return self.added

    def _statistics(self) -> dict[str, Any]:
        reader, size = DatasetFolder(self.folder), int(self.info["chunks_size"])
        names = [DATA.format(episode_chunk=n // size, episode_index=n) for n in range(len(self.rows))]
        kinds = {**self.features.columns, **{name: Extra(dtype) for name, dtype in COUNTERS.items()}}
        parts: dict[str, list[npt.NDArray[Any]]] = {column: [] for column in kinds}
        for name in names:
            table = reader.table(name)
            for column, kind in kinds.items():
                parts[column].append(column_values(table, column, kind, name))
        return {column: column_statistics(np.concatenate(values)) for column, values in parts.items()}


def _new_info(first: EncodedEpisode, robot: str | None, limits: Limits) -> dict[str, Any]:
    info = first_info(first, robot, limits)
    for name in ("data_files_size_in_mb", "video_files_size_in_mb"):
        del info[name]
    changed = {"codebase_version": CODEBASE, "data_path": DATA, "video_path": FILMS if first.films else None}
    return {**info, **changed, "total_videos": 0, "total_chunks": 0}


# --- reading ---------------------------------------------------------------------------------------------------------


def read_tasks(folder: DatasetFolder) -> list[str]:
    """The sentences of ``meta/tasks.jsonl`` by their number."""
    tasks = [line.get("task") for line in folder.json_lines(TASKS)]
    if not all(isinstance(task, str) for task in tasks):
        raise bad_dataset(folder.where(TASKS), "a line has no task")
    return [str(task) for task in tasks]


def episode_rows(folder: DatasetFolder, info: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The lines of ``meta/episodes.jsonl``, as many as ``info.json`` says."""
    total = total_episodes(folder, info)
    rows = folder.json_lines(EPISODES)[:total] if total else []
    for number, row in enumerate(rows):
        length = row.get("length")
        if row.get("episode_index") != number or type(length) is not int or not 0 < length <= MAX_LENGTH:
            raise bad_dataset(folder.where(EPISODES), f"line {number + 1} is not that of episode {number}")
    if len(rows) < total:
        raise bad_dataset(folder.where(EPISODES), f"it has {len(rows)} episodes, not {total}")
    return rows


class LeRobotV21(Dataset):
    """A LeRobotDataset v2.1 (or v2.0), ours or anyone's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files = DatasetFolder(folder)
        self.info = self._files.json(INFO)
        where = self._files.where(INFO)
        self.features, self.left_out = Features.from_json(self.info.get("features"), self.info.get("fps"), where)
        self._keys = {camera_name(key): key for key in reversed(self.info["features"])}
        size = self.info.get("chunks_size")
        if type(size) is not int or size < 1:
            raise bad_dataset(where, f"chunks_size is {size!r}")
        self._size: int = size
        self._rows = episode_rows(self._files, self.info)
        self._tasks = read_tasks(self._files) if self._rows else []

    def __len__(self) -> int:
        return len(self._rows)

    def length(self, number: int) -> int:
        """See `Dataset.length`."""
        self._check(number)
        return int(self._rows[number]["length"])

    def _name(self, template: str, number: int, **more: str) -> str:
        place = {"episode_chunk": number // self._size, "episode_index": number}
        return self._files.filled(self.info.get(template), **place, **more)

    def read(self, number: int, cameras: Sequence[str] | None = None) -> Episode:
        """See `Dataset.read`."""
        length, row = self.length(number), self._rows[number]
        name = self._name("data_path", number)
        columns = {**self.features.columns, "task_index": Extra("int64")}
        table = self._files.table(name, list(columns))
        where = self._files.where(name)
        values = {column: column_values(table, column, kind, where) for column, kind in columns.items()}
        task = int(values.pop("task_index")[0]) if len(table) == length else -1
        if not 0 <= task < len(self._tasks):
            raise bad_dataset(where, f"it has {len(table)} frames of {length}, or a task that is not listed")
        images = {camera: self.frames(number, camera, range(length)) for camera in self.chosen(cameras)}
        own = row if isinstance(self.info.get("pocketworld"), dict) else {}
        return episode_of(self.features, values, images, self._tasks[task], number, own, where)

    def frames(self, number: int, camera: str, wanted: Sequence[int]) -> Pictures:
        """See `Dataset.frames`."""
        self._check(number, wanted)
        name = self._name("video_path", number, video_key=self._keys[camera])
        path, where = self._files.path(name), self._files.where(name)
        return read_frames(path, wanted, self.features.rate_hz, self.features.cameras[camera], where)
