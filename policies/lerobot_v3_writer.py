"""Adding episodes to a LeRobotDataset v3.0 (`policies.lerobot_v3` says what it looks like)."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from policies.dataset_folder import DatasetFolder, column_values
from policies.encoded import EncodedEpisode, arrow_column, arrow_type
from policies.features import COUNTERS, IMAGES, Extra, Features, bad_dataset
from policies.films import JoinedFilm
from policies.lerobot_v3 import (
    CODEBASE,
    DATA,
    EPISODES,
    FILMS,
    INFO,
    OWN,
    STATS,
    TASKS,
    episode_rows,
    place_of,
    read_tasks,
)
from policies.numbered_files import Limits, NumberedFiles, TableFile, next_place
from policies.statistics import NAMES, Statistics, column_statistics, pooled
from reconstruction.disk import write_whole

if TYPE_CHECKING:
    import pyarrow as pa

EPISODES_A_FILE = 10_000
EPISODES_AT_ONCE = 500


def append(folder: Path, episodes: Iterable[EncodedEpisode], robot: str | None, limits: Limits, block: object) -> int:
    """Add episodes to a dataset, made if missing; all of them count at once, or none if this is interrupted.

    Args:
        folder: of the dataset.
        episodes: in their order, alike in their features; read once, one at a time.
        robot: LeRobot's ``robot_type``.
        limits: of files, for a new dataset.
        block: what stands under ``pocketworld`` in ``info.json``.

    Returns:
        How many were added.

    Raises:
        InputError: episodes differ in their features, or what is there is damaged.
        OSError: the disk refuses.
    """
    addition = None
    try:
        for episode in episodes:
            if addition is None:
                addition = _Addition(folder, episode, robot, limits)
            addition.add(episode)
        if addition is None:
            return 0
        return addition.finish(block)
    finally:
        if addition is not None:
            addition.clear()


def counted(folder: Path) -> list[dict[str, Any]]:
    """Of each episode that counts: ``run_index``, ``reason`` and ``length``; none where there is no dataset."""
    reader = DatasetFolder(folder)
    return episode_rows(reader, reader.json(INFO), ["run_index", "reason", "length"]) if reader.has(INFO) else []


def sweep(folder: Path) -> None:
    """Take away what an interrupted addition left: files that no episode that counts lies in."""
    reader = DatasetFolder(folder)
    info = reader.json(INFO) if reader.has(INFO) else {"total_episodes": 0}
    keys = _film_keys(info)
    rows = complete_rows(reader, info, _places(keys))
    keep = {EPISODES.format(**place_of(row, "meta/episodes")) for row in rows}
    keep |= {DATA.format(**place_of(row, "data")) for row in rows}
    for key in keys:
        keep |= {FILMS.format(video_key=key, **place_of(row, f"videos/{key}")) for row in rows}
    for pattern in ("meta/episodes/*/file-*", "data/*/file-*", "videos/*/*/file-*"):
        for path in folder.glob(pattern):
            if path.relative_to(folder).as_posix() not in keep:
                path.unlink()


def complete_rows(folder: DatasetFolder, info: Mapping[str, Any], wanted: Sequence[str]) -> list[dict[str, Any]]:
    """The table of episodes, every wanted value there."""
    rows = episode_rows(folder, info, wanted)
    for row in rows:
        for name in wanted:
            value = row.get(name)
            if value is None or (name.endswith("_index") and not (type(value) is int and 0 <= value < 1 << 31)):
                raise bad_dataset(folder.where("meta/episodes"), f"{name} is {value!r}")
    return rows


def _film_keys(info: Mapping[str, Any]) -> list[str]:
    if not info.get("total_episodes"):
        return []
    features, _ = Features.from_json(info.get("features"), info.get("fps"), INFO)
    return [f"{IMAGES}{camera}" for camera in features.cameras]


def _places(keys: Sequence[str]) -> list[str]:
    """Columns that say which files an episode lies in; `keys` are of its films."""
    files = ("meta/episodes", "data", *(f"videos/{key}" for key in keys))
    return [f"{file}/{name}" for file in files for name in ("chunk_index", "file_index")]


class _Index(NumberedFiles):
    """Files of the table of episodes, written some rows at a time."""

    def __init__(self, folder: Path, first: tuple[int, int], limits: Limits, features: Features) -> None:
        super().__init__(folder, EPISODES, first, limits)
        self.schema = _index_schema(features)
        self.writer: TableFile | None = None
        self.waiting: list[dict[str, Any]] = []
        self.rows = 0

    def add(self, row: dict[str, Any]) -> None:
        """Put an episode's row into the table; it is told which file that is."""
        if self.rows % EPISODES_A_FILE == 0:
            self.close()
            self.writer = TableFile(self.begin(), self.schema)
        row["meta/episodes/chunk_index"], row["meta/episodes/file_index"] = self.place
        self.waiting.append(row)
        self.rows += 1
        if len(self.waiting) == EPISODES_AT_ONCE:
            self._write()

    def _write(self) -> None:
        import pyarrow as pa

        if self.waiting and self.writer is not None:
            self.writer.write(pa.Table.from_pylist(self.waiting, self.schema))
        self.waiting = []

    def close(self) -> None:
        """Complete the file at hand."""
        if self.writer is not None:
            with self.writer:
                self._write()
        self.writer = None


class _Addition:
    """Episodes being added to a dataset."""

    def __init__(self, folder: Path, first: EncodedEpisode, robot: str | None, limits: Limits) -> None:
        self.folder, self.features = folder, first.features
        self.limits = limits
        if (folder / INFO).exists():
            self.info = DatasetFolder(folder).json(INFO)
            self.limits = Limits.of(self.info, str(folder / INFO))
        else:
            self.info = first_info(first, robot, limits)
        keys = [f"{IMAGES}{camera}" for camera in self.features.cameras]
        self.kept = [*_places(keys), *(f"stats/{key}/{name}" for key in keys for name in NAMES)]
        before = complete_rows(DatasetFolder(folder), self.info, self.kept)
        self.rows, self.added = before, 0
        self.tasks = read_tasks(DatasetFolder(folder)) if before else []
        self.frames = int(self.info["total_frames"])
        self.data = NumberedFiles(folder, DATA, self._after(before, "data"), self.limits)
        self.table: TableFile | None = None
        self.index = _Index(folder, self._after(before, "meta/episodes"), self.limits, self.features)
        self.films = {}
        self.joined: dict[str, JoinedFilm] = {}
        for camera in self.features.cameras:
            template = FILMS.replace("{video_key}", IMAGES + camera)
            place = self._after(before, f"videos/{IMAGES}{camera}")
            self.films[camera] = NumberedFiles(folder, template, place, self.limits)

    def _after(self, rows: Sequence[Mapping[str, Any]], what: str) -> tuple[int, int]:
        places = [(int(row[f"{what}/chunk_index"]), int(row[f"{what}/file_index"])) for row in rows]
        return next_place(max(places), self.limits.files_a_chunk) if places else (0, 0)

    def add(self, episode: EncodedEpisode) -> None:
        """Write an episode's frames and pictures."""
        if episode.task not in self.tasks:
            self.tasks.append(episode.task)
        row: dict[str, Any] = {
            "episode_index": len(self.rows),
            "tasks": [episode.task],
            "length": episode.length,
        }
        numbers = counters(episode, row["episode_index"], self.frames, self.tasks.index(episode.task))
        self._add_table(episode, numbers)
        row["data/chunk_index"], row["data/file_index"] = self.data.place
        row["dataset_from_index"], row["dataset_to_index"] = self.frames, self.frames + episode.length
        self.frames += episode.length
        for camera in self.features.cameras:
            start = self._add_film(camera, episode) / episode.rate_hz
            place = self.films[camera].place
            row.update(_film_columns(camera, place, start, start + episode.length / episode.rate_hz))
        found = {**episode.statistics, **{name: column_statistics(values) for name, values in numbers.items()}}
        row.update({f"stats/{key}/{name}": value[name] for key, value in found.items() for name in NAMES})
        row.update(success=episode.success, reason=episode.reason, task_name=episode.task_name, seed=episode.seed)
        row.update(run_index=episode.index, seconds=episode.seconds, recipe=episode.recipe)
        self.index.add(row)
        self.rows.append({name: row[name] for name in self.kept})  # the rest is on the disk
        self.added += 1

    def _add_table(self, episode: EncodedEpisode, counters: Mapping[str, npt.NDArray[Any]]) -> None:
        table = episode.columns()
        for name, values in counters.items():
            table = table.append_column(name, arrow_column(values, Extra(COUNTERS[name])))
        table = table.replace_schema_metadata(huggingface(self.features))
        if self.table is not None and self.table.bytes + table.nbytes > self.limits.data_mb << 20:
            self.table.close()
            self.table = None
        if self.table is None:
            self.table = TableFile(self.data.begin(), table.schema)
        self.table.write(table)

    def _add_film(self, camera: str, episode: EncodedEpisode) -> int:
        film, joined = episode.films[camera], self.joined.get(camera)
        full = joined is not None and joined.bytes + len(film) > self.limits.film_mb << 20
        if joined is None or full or not joined.takes(film):
            if joined is not None:
                joined.close()
            joined = self.joined[camera] = JoinedFilm(self.films[camera].begin(), episode.rate_hz)
        first = joined.add(film)
        if joined.frames - first != episode.length:
            raise bad_dataset(f"film {camera} of episode {episode.index}", "it has not one picture a frame")
        return first

    def finish(self, block: object) -> int:
        """Give all files their names, the ones that make them count last."""
        self._close()
        for files in (self.data, *self.films.values(), self.index):
            files.publish()
        write_tasks(self.folder, self.tasks)
        stats = self._statistics()
        write_whole(self.folder / STATS, as_text(stats))
        count = len(self.rows)
        totals = {"total_episodes": count, "total_frames": self.frames, "total_tasks": len(self.tasks)}
        splits = {"splits": {"train": f"0:{count}"}, "pocketworld": block}
        write_whole(self.folder / INFO, as_text({**self.info, **totals, **splits}))
        return self.added

    def _statistics(self) -> dict[str, Statistics]:
        """Of the whole dataset: of the tables' columns exactly, of pictures from those of each episode."""
        reader = DatasetFolder(self.folder)
        names = sorted({DATA.format(**place_of(row, "data")) for row in self.rows})
        columns = {**self.features.columns, **{name: Extra(dtype) for name, dtype in COUNTERS.items()}}
        found = {}
        for column, kind in columns.items():
            parts = [column_values(reader.table(name, [column]), column, kind, name) for name in names]
            found[column] = column_statistics(np.concatenate(parts))
        for camera in self.features.cameras:
            key = f"{IMAGES}{camera}"
            found[key] = pooled([{name: row[f"stats/{key}/{name}"] for name in NAMES} for row in self.rows])
        return found

    def _close(self) -> None:
        with contextlib.ExitStack() as stack:  # each of them, whatever becomes of the others
            for file in (self.table, self.index, *self.joined.values()):
                if file is not None:
                    stack.callback(file.close)
        self.table, self.joined = None, {}

    def clear(self) -> None:
        """Take away what was not finished."""
        with contextlib.suppress(Exception):
            self._close()
        for files in (self.data, self.index, *self.films.values()):
            files.clear()


def first_info(first: EncodedEpisode, robot: str | None, limits: Limits) -> dict[str, Any]:
    """``info.json`` of a dataset without episodes, which `first` will be put into."""
    features = first.features.to_json()
    for camera, info in first.info.items():
        features[f"{IMAGES}{camera}"]["info"] = dict(info)
    features.update({name: {"dtype": dtype, "shape": [1], "names": None} for name, dtype in COUNTERS.items()})
    return {
        "codebase_version": CODEBASE,
        "robot_type": robot,
        "total_episodes": 0,
        "total_frames": 0,
        "total_tasks": 0,
        "chunks_size": limits.files_a_chunk,
        "data_files_size_in_mb": max(1, limits.data_mb),  # LeRobot takes no 0
        "video_files_size_in_mb": max(1, limits.film_mb),
        "fps": first.rate_hz,
        "splits": {"train": "0:0"},
        "data_path": DATA,
        "video_path": FILMS if first.films else None,
        "features": features,
    }


def as_text(document: object) -> str:
    """A document as JSON text."""
    return json.dumps(document, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def counters(episode: EncodedEpisode, number: int, first_frame: int, task: int) -> dict[str, npt.NDArray[Any]]:
    """The columns that every dataset has: `number` is the episode's, `first_frame` the number of its first frame."""
    frames = np.arange(episode.length, dtype=np.int64)
    return {
        # Not the clock's time: readers look frames up in the film by round(timestamp * fps).
        "timestamp": (frames / episode.rate_hz).astype(np.float32),
        "frame_index": frames,
        "episode_index": np.full_like(frames, number),
        "index": frames + first_frame,
        "task_index": np.full_like(frames, task),
    }


def _film_columns(camera: str, place: tuple[int, int], start: float, end: float) -> dict[str, Any]:
    values = {"chunk_index": place[0], "file_index": place[1], "from_timestamp": start, "to_timestamp": end}
    return {f"videos/{IMAGES}{camera}/{name}": value for name, value in values.items()}


def huggingface(features: Features, vector: str = "List") -> dict[bytes, bytes]:
    """Metadata of a table: what the `datasets` package reads the columns' types from."""
    columns = {**features.columns, **{name: Extra(dtype) for name, dtype in COUNTERS.items()}}
    described: dict[str, Any] = {}
    for name, column in columns.items():
        value = {"dtype": column.dtype, "_type": "Value"}
        values = {"feature": value, "length": column.length, "_type": vector}
        described[name] = value if column.length in (None, 1) else values
    return {b"huggingface": json.dumps({"info": {"features": described}}).encode()}


def _index_schema(features: Features) -> pa.Schema:
    import pyarrow as pa

    numbers, floats = pa.int64(), pa.list_(pa.float64())
    color = pa.list_(pa.list_(floats))
    fields = {"episode_index": numbers, "tasks": pa.list_(pa.string()), "length": numbers}
    fields |= {"data/chunk_index": numbers, "data/file_index": numbers}
    fields |= {"dataset_from_index": numbers, "dataset_to_index": numbers}
    for camera in features.cameras:
        key = f"videos/{IMAGES}{camera}"
        fields |= {f"{key}/chunk_index": numbers, f"{key}/file_index": numbers}
        fields |= {f"{key}/from_timestamp": pa.float64(), f"{key}/to_timestamp": pa.float64()}
    for key in (*features.columns, *COUNTERS, *(IMAGES + camera for camera in features.cameras)):
        values = color if key.startswith(IMAGES) else floats
        fields |= {f"stats/{key}/{name}": pa.list_(numbers) if name == "count" else values for name in NAMES}
    fields |= {"meta/episodes/chunk_index": numbers, "meta/episodes/file_index": numbers}
    fields |= {name: pa.string() if kind == "text" else arrow_type(kind) for name, kind in OWN.items()}
    return pa.schema(list(fields.items()))


def write_tasks(folder: Path, tasks: Sequence[str]) -> None:
    """Write ``meta/tasks.parquet``: a pandas frame whose index is the sentence, made without pandas."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"task_index": pa.array(range(len(tasks)), pa.int64()), "task": pa.array(tasks, pa.string())})
    columns = [
        {"name": name, "field_name": name, "pandas_type": kind, "numpy_type": numpy, "metadata": None}
        for name, kind, numpy in (("task_index", "int64", "int64"), ("task", "unicode", "object"))
    ]
    pandas = {"index_columns": ["task"], "column_indexes": [], "columns": columns, "pandas_version": "2.0.0"}
    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata({b"pandas": json.dumps(pandas).encode()}), sink)
    write_whole(folder / TASKS, sink.getvalue().to_pybytes())
