"""LeRobotDataset v3.0 on the disk: many episodes a file, films joined, files of limited size.

From the format alone, without LeRobot's code (lerobot 0.6: ``datasets/utils.py dataset_writer.py io_utils.py
compute_stats.py`` and the page ``lerobot-dataset-v3.mdx``), and tried with its own class
(``tests/policies/test_lerobot.py``)::

    meta/info.json  meta/stats.json  meta/tasks.parquet
    meta/episodes/chunk-000/file-000.parquet
    data/chunk-000/file-000.parquet
    videos/<feature>/chunk-000/file-000.mp4

`policies.lerobot_v3_writer` writes it. Episodes are only ever added, in new files: a file with its final name never
changes, but for the three named first. Those are written last, ``info.json`` at the very end, and it says how many
episodes count. So a reader never sees half an addition.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from policies.dataset_folder import DatasetFolder, column_values
from policies.episodes import Dataset, episode_of
from policies.features import Extra, Features, bad_dataset, camera_name
from policies.films import read_frames
from simulation.episode import Episode, Pictures

CODEBASE = "v3.0"
INFO, STATS, TASKS = "meta/info.json", "meta/stats.json", "meta/tasks.parquet"
PLACE = "chunk-{chunk_index:03d}/file-{file_index:03d}"
EPISODES = f"meta/episodes/{PLACE}.parquet"
DATA = f"data/{PLACE}.parquet"
FILMS = f"videos/{{video_key}}/{PLACE}.mp4"
MAX_EPISODES = 10_000_000
MAX_LENGTH = 10_000_000
OWN = {"success": "bool", "reason": "text", "task_name": "text", "seed": "int64", "run_index": "int64"}
OWN |= {"seconds": "float64", "recipe": "text"}
"""Columns of ours in the table of episodes; LeRobot leaves them alone. ``run_index`` is `Episode.index`."""


def read_tasks(folder: DatasetFolder) -> list[str]:
    """The sentences of ``meta/tasks.parquet`` by their number."""
    table = folder.table(TASKS)
    names = [name for name in table.column_names if name != "task_index"]
    if "task_index" not in table.column_names or len(names) != 1:
        raise bad_dataset(folder.where(TASKS), "it does not have the columns task and task_index")
    pairs = zip(table["task_index"].to_pylist(), table[names[0]].to_pylist(), strict=True)
    tasks = {number: text for number, text in pairs if isinstance(text, str)}
    if sorted(tasks) != list(range(table.num_rows)):
        raise bad_dataset(folder.where(TASKS), "its tasks are not numbered from 0")
    return [tasks[number] for number in range(len(tasks))]


def episode_rows(
    folder: DatasetFolder, info: Mapping[str, Any], wanted: Sequence[str] | None = None
) -> list[dict[str, Any]]:
    """The table of episodes, as many rows as ``info.json`` says, in order; only the `wanted` columns."""
    total, rows, place = total_episodes(folder, info), list[dict[str, Any]](), (0, 0)
    columns = None if wanted is None else [*wanted, "episode_index"]
    while len(rows) < total:
        name = EPISODES.format(chunk_index=place[0], file_index=place[1])
        if not folder.has(name):  # other programs may begin a new folder early
            name, place = EPISODES.format(chunk_index=place[0] + 1, file_index=0), (place[0] + 1, 0)
        more = folder.table(name, columns).to_pylist()
        if [row.get("episode_index") for row in more] != list(range(len(rows), len(rows) + len(more))):
            raise bad_dataset(folder.where(name), "its episodes are not numbered one after the other")
        rows += more
        place = (place[0], place[1] + 1)
    return rows[:total]


def total_episodes(folder: DatasetFolder, info: Mapping[str, Any]) -> int:
    """How many episodes ``info.json`` says there are."""
    total = info.get("total_episodes")
    if type(total) is not int or not 0 <= total <= MAX_EPISODES:
        raise bad_dataset(folder.where(INFO), f"total_episodes is {total!r}")
    return total


class LeRobotV3(Dataset):
    """A LeRobotDataset v3.0, ours or anyone's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files = DatasetFolder(folder)
        self.info = self._files.json(INFO)
        where = self._files.where(INFO)
        if self.info.get("codebase_version") != CODEBASE:
            raise bad_dataset(where, f"codebase_version is {self.info.get('codebase_version')!r}, not {CODEBASE!r}")
        self.features, self.left_out = Features.from_json(self.info.get("features"), self.info.get("fps"), where)
        self._keys = {camera_name(key): key for key in reversed(self.info["features"])}
        self._rows = self._read_rows()
        self._tasks = read_tasks(self._files) if self._rows else []
        self._first_rows: dict[str, int] = {}
        for row in self._rows:
            self._first_rows.setdefault(self._data_name(row), row["dataset_from_index"])

    def _read_rows(self) -> list[dict[str, Any]]:
        needed = ["tasks", "length", "data/chunk_index", "data/file_index", "dataset_from_index", "dataset_to_index"]
        for camera in self.features.cameras:
            key = f"videos/{self._keys[camera]}"
            needed += [f"{key}/{name}" for name in ("chunk_index", "file_index", "from_timestamp", "to_timestamp")]
        own = OWN if isinstance(self.info.get("pocketworld"), dict) else {}  # others may mean something else by a name
        rows = episode_rows(self._files, self.info, [*needed, *own])
        for number, row in enumerate(rows):
            problem = _row_problem(row, needed)
            if problem:
                raise bad_dataset(self._files.where("meta/episodes"), f"episode {number}: {problem}")
        return rows

    def __len__(self) -> int:
        return len(self._rows)

    def length(self, number: int) -> int:
        """See `Dataset.length`."""
        self._check(number)
        return int(self._rows[number]["length"])

    def _data_name(self, row: Mapping[str, Any]) -> str:
        return self._files.filled(self.info.get("data_path"), **place_of(row, "data"))

    def read(self, number: int, cameras: Sequence[str] | None = None) -> Episode:
        """See `Dataset.read`."""
        self._check(number)
        row, name = self._rows[number], self._data_name(self._rows[number])
        start = row["dataset_from_index"] - self._first_rows[name]
        columns = {**self.features.columns, "episode_index": Extra("int64"), "task_index": Extra("int64")}
        table = self._files.table(name, list(columns), (start, start + row["length"]))
        where = self._files.where(name)
        values = {column: column_values(table, column, kind, where) for column, kind in columns.items()}
        if len(table) != row["length"] or (values.pop("episode_index") != number).any():
            raise bad_dataset(where, f"its rows {start} to {start + row['length']} are not those of episode {number}")
        task = int(values.pop("task_index")[0])
        if not 0 <= task < len(self._tasks):
            raise bad_dataset(where, f"episode {number} has the task {task}, of {len(self._tasks)}")
        images = {camera: self.frames(number, camera, range(row["length"])) for camera in self.chosen(cameras)}
        return episode_of(self.features, values, images, self._tasks[task], number, row, where)

    def frames(self, number: int, camera: str, wanted: Sequence[int]) -> Pictures:
        """See `Dataset.frames`."""
        self._check(number, wanted)
        row, key = self._rows[number], self._keys[camera]
        name = self._files.filled(self.info.get("video_path"), video_key=key, **place_of(row, f"videos/{key}"))
        first = round(row[f"videos/{key}/from_timestamp"] * self.features.rate_hz)
        numbers = [first + frame for frame in wanted]
        path, where = self._files.path(name), self._files.where(name)
        return read_frames(path, numbers, self.features.rate_hz, self.features.cameras[camera], where)


def _row_problem(row: Mapping[str, Any], needed: Sequence[str]) -> str:
    for name in needed:
        value = row.get(name)
        if name == "tasks":
            continue
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 1 << 53:
            return f"{name} is {value!r}"
        if not name.endswith("timestamp") and not isinstance(value, int):
            return f"{name} is {value!r}"
    if not 0 < row["length"] <= MAX_LENGTH or row["dataset_to_index"] - row["dataset_from_index"] != row["length"]:
        return f"length is {row['length']}, and its frames are {row['dataset_from_index']} to {row['dataset_to_index']}"
    return ""


def place_of(row: Mapping[str, Any], what: str) -> dict[str, int]:
    """Chunk and file number of one of an episode's files."""
    return {name: int(row[f"{what}/{name}"]) for name in ("chunk_index", "file_index")}
