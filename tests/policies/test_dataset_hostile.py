"""Damaged and malicious datasets: an error that names the file and says what to do, never a traceback, never worse."""

from __future__ import annotations

import contextlib
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from policies import dataset_folder, films
from policies.dataset import DatasetWriter, open_dataset
from reconstruction.errors import InputError, OutputError
from tests.episodes import made_episode

INFO = "meta/info.json"
EPISODES = "meta/episodes/chunk-000/file-000.parquet"
DATA = "data/chunk-000/file-000.parquet"
FILM = "videos/observation.images.front/chunk-000/file-000.mp4"
FILM_V21 = "videos/chunk-000/observation.images.front/episode_000001.mp4"
DATA_V21 = "data/chunk-000/episode_000001.parquet"


@pytest.fixture(scope="module", params=["lerobot", "gr00t"])
def good(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _made(tmp_path_factory.mktemp("good") / "set", str(request.param))


@pytest.fixture(scope="module")
def good_v3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _made(tmp_path_factory.mktemp("good") / "set", "lerobot")


@pytest.fixture(scope="module")
def good_v21(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _made(tmp_path_factory.mktemp("good") / "set", "gr00t")


def _made(folder: Path, layout: str) -> Path:
    with DatasetWriter(folder, layout=layout) as writer:
        for index in range(3):
            writer.add(made_episode(index))
        writer.finish()
    return folder


def read_all(folder: Path) -> None:
    for _ in open_dataset(folder):
        pass


def refused(folder: Path, match: str = ".") -> InputError:
    with pytest.raises(InputError, match=match) as caught:
        read_all(folder)
    assert str(folder) in caught.value.message
    assert caught.value.remedy
    assert "\n" not in caught.value.message
    return caught.value


Change = Callable[[Any], Any]


def change_info(folder: Path, change: Change) -> None:
    info = json.loads((folder / INFO).read_text())
    changed = change(info)
    (folder / INFO).write_text(json.dumps(info if changed is None else changed))


def change_table(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    pq.write_table(change(pq.read_table(path)), path)


def with_column(name: str, values: Any) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        array = values(table) if callable(values) else pa.array(values)
        return table.set_column(table.column_names.index(name), name, array)

    return change


def test_any_file_cut_short(good: Path, tmp_path: Path) -> None:
    names = [path.relative_to(good).as_posix() for path in sorted(good.rglob("*")) if path.is_file()]
    for name in names:
        if name.startswith((".", "meta/stats", "meta/episodes_stats", "meta/modality")):  # not needed to read episodes
            continue
        for keep in (0.0, 0.5, 0.95):
            folder = tmp_path / "set"
            shutil.copytree(good, folder)
            data = (folder / name).read_bytes()
            (folder / name).write_bytes(data[: int(len(data) * keep)])
            refused(folder)
            shutil.rmtree(folder)


def test_any_file_missing(good: Path, tmp_path: Path) -> None:
    names = [path.relative_to(good).as_posix() for path in sorted(good.rglob("*")) if path.is_file()]
    for name in names:
        if name.startswith((".", "meta/stats", "meta/episodes_stats", "meta/modality", INFO)):
            continue
        folder = tmp_path / "set"
        shutil.copytree(good, folder)
        (folder / name).unlink()
        refused(folder)
        (folder / name).mkdir()
        refused(folder)
        shutil.rmtree(folder)


def _del(*keys: str) -> Change:
    def change(info: Any) -> None:
        for key in keys[:-1]:
            info = info[key]
        del info[keys[-1]]

    return change


def _set(value: object, *keys: str) -> Change:
    def change(info: Any) -> None:
        for key in keys[:-1]:
            info = info[key]
        info[keys[-1]] = value

    return change


FRONT = "observation.images.front"
INFOS: dict[str, tuple[Change, str]] = {
    "a list": (lambda info: [info], "no JSON object"),
    "no features": (_del("features"), "no table of features"),
    "features that are none": (_set({"action": 3}, "features"), "no table of features"),
    "no state": (_del("features", "observation.state"), "has no observation.state"),
    "state of text": (_set("string", "features", "observation.state", "dtype"), "no vector"),
    "state without shape": (_del("features", "observation.state", "shape"), "shape of observation.state is None"),
    "state of negative shape": (_set([-1], "features", "observation.state", "shape"), "shape of"),
    "state of giant shape": (_set([1 << 40], "features", "observation.state", "shape"), "no vector"),
    "state longer than it is": (_set([7], "features", "observation.state", "shape"), "observation.state is"),
    "an extra of giant shape": (_set([1 << 40], "features", "next.reward", "shape"), "entries a frame"),
    "giant pictures": (_set([1 << 20, 1 << 20, 3], "features", FRONT, "shape"), "up to 8192"),
    "pictures of other size": (_set([16, 16, 3], "features", FRONT, "shape"), "a picture is 32 × 32, not 16 × 16"),
    "pictures of no size": (_set([0, 16, 3], "features", FRONT, "shape"), "shape of"),
    "no fps": (_del("fps"), "fps is None"),
    "fps in words": (_set("ten", "fps"), "fps is 'ten'"),
    "negative fps": (_set(-10, "fps"), "fps is -10"),
    "no version": (_del("codebase_version"), "version None"),
    "version of later": (_set("v9", "codebase_version"), "version 'v9'"),
    "version that cannot be hashed": (_set([], "codebase_version"), r"version \[\]"),
    "no count": (_del("total_episodes"), "total_episodes is None"),
    "too many episodes": (_set(10**12, "total_episodes"), "total_episodes is"),
    "more episodes than there are": (_set(5, "total_episodes"), "episodes|missing"),
    "no data path": (_del("data_path"), "template is None"),
    "a data path that climbs": (_set("../data.parquet", "data_path"), "leads out"),
    "a data path that climbs inside": (_set("data/../../x/{episode_index}", "data_path"), "leads out|unknown fields"),
    "a data path from the root": (_set("/etc/passwd", "data_path"), "leads out"),
    "a data path to a drive": (_set("C:\\data.parquet", "data_path"), "leads out"),
    "a data path with attributes": (_set("{chunk_index.__class__}", "data_path"), "unknown fields"),
    "a data path with other fields": (_set("{secret}", "data_path"), "unknown fields"),
    "a data path with wide numbers": (_set("{chunk_index:0999999999d}", "data_path"), "unknown fields"),
    "a video path that climbs": (_set("{video_key}/../../x.mp4", "video_path"), "leads out"),
}


@pytest.mark.parametrize("name", INFOS)
def test_info(good: Path, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "set"
    shutil.copytree(good, folder)
    change_info(folder, INFOS[name][0])
    refused(folder, INFOS[name][1])


def test_a_camera_whose_name_climbs_is_left_out(good: Path, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    shutil.copytree(good, folder)
    key = "observation.images.../../../secret"
    change_info(folder, lambda info: info["features"].update({key: info["features"].pop(FRONT)}))
    dataset = open_dataset(folder)
    assert [name.split(":")[0] for name in dataset.left_out] == [key]
    assert set(dataset.read(0).images) == {"wrist"}


def test_text_that_is_no_utf8_and_json_that_is_too_deep(good: Path, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    shutil.copytree(good, folder)
    (folder / INFO).write_bytes(b'{"fps": "\xff"}')
    refused(folder)
    (folder / INFO).write_text('{"a":' + "[" * 200_000)
    refused(folder)


def test_giant_json(good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset_folder, "MAX_JSON_BYTES", 100)
    refused(good, "larger than")


NOT_FINITE = np.full((12, 6), np.nan, np.float32)
TABLES: dict[str, tuple[Callable[[pa.Table], pa.Table], str]] = {
    "a column missing": (lambda table: table.drop_columns(["action"]), "no column action"),
    "an extra column missing": (lambda table: table.drop_columns(["next.reward"]), "no column next.reward"),
    "rows missing": (lambda table: table.slice(0, len(table) - 5), "rows|frames"),
    "state not finite": (
        with_column(
            "action", lambda t: pa.FixedSizeListArray.from_arrays(pa.array([np.nan] * 6 * len(t), pa.float32()), 6)
        ),
        "not finite",
    ),
    "state of text": (with_column("action", lambda t: pa.array(["a"] * len(t))), "action is string"),
    "state null": (with_column("action", lambda t: pa.nulls(len(t), pa.list_(pa.float32(), 6))), "without a value"),
    "ragged state": (
        with_column(
            "action", lambda t: pa.array([[0.0] * (5 + k % 2 * 2) for k in range(len(t))], pa.list_(pa.float32()))
        ),
        "action",
    ),
    "ragged state of the right total": (
        with_column(
            "action", lambda t: pa.array([[0.0] * (12 if k == 0 else 0 if k == 1 else 6) for k in range(len(t))])
        ),
        "action",
    ),
    "values too large for their type": (
        with_column("action", lambda t: pa.FixedSizeListArray.from_arrays(pa.array([1e300] * 6 * len(t)), 6)),
        "not finite",
    ),
    "a task that is not listed": (with_column("task_index", lambda t: pa.array([9] * len(t))), "task"),
    "numbers with fractions": (with_column("task_index", lambda t: pa.array([0.5] * len(t))), "task_index"),
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_of_frames(good: Path, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "set"
    shutil.copytree(good, folder)
    for path in (folder / "data").rglob("*.parquet"):
        change_table(path, TABLES[name][0])
    refused(folder, TABLES[name][1])


def test_rows_of_another_episode(good_v3: Path, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    shutil.copytree(good_v3, folder)
    change_table(folder / DATA, with_column("episode_index", lambda t: pa.array([1] * len(t))))
    refused(folder, "not those of episode 0")


ROWS: dict[str, tuple[Callable[[pa.Table], pa.Table], str]] = {
    "not numbered": (with_column("episode_index", [0, 2, 1]), "not numbered"),
    "no length": (lambda table: table.drop_columns(["length"]), "length is None"),
    "no length at all": (with_column("length", pa.nulls(3)), "length is None"),
    "length of text": (with_column("length", ["a", "b", "c"]), "length is 'a'"),
    "length 0": (with_column("length", [0, 12, 12]), "length is 0"),
    "giant length": (with_column("length", [1 << 50] * 3), "length is"),
    "a range that is not the length": (with_column("dataset_to_index", [13, 24, 36]), "length is 12"),
    "a giant range": (with_column("dataset_from_index", [-1, 12, 24]), "dataset_from_index is -1"),
    "no such file": (with_column("data/file_index", [5, 5, 5]), "missing"),
    "negative file": (with_column("data/file_index", [-1, 0, 0]), "file_index is -1"),
    "film time that is none": (with_column(f"videos/{FRONT}/from_timestamp", [float("nan"), 1, 2]), "is nan"),
    "film time that is infinite": (with_column(f"videos/{FRONT}/from_timestamp", [float("inf"), 1, 2]), "is inf"),
    "film time beyond the film": (with_column(f"videos/{FRONT}/from_timestamp", [0.0, 1.2, 1e9]), "FFmpeg|no frame"),
    "too few rows": (lambda table: table.slice(0, 2), "missing"),
    "a recipe that is none": (with_column("recipe", ["{", "{", "{"]), "recipe"),
}


@pytest.mark.parametrize("name", ROWS)
def test_tables_of_episodes(good_v3: Path, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "set"
    shutil.copytree(good_v3, folder)
    change_table(folder / EPISODES, ROWS[name][0])
    with pytest.raises(InputError, match=ROWS[name][1]) as caught:
        read_all(folder)
    assert str(folder) in caught.value.message
    assert caught.value.remedy


TASKS: dict[str, Callable[[pa.Table], pa.Table]] = {
    "no numbers": lambda table: table.drop_columns(["task_index"]),
    "no text": lambda table: table.drop_columns(["task"]),
    "a gap": with_column("task_index", [0, 2]),
    "twice": with_column("task_index", [0, 0]),
    "text that is none": with_column("task", [1, 2]),
}


@pytest.mark.parametrize("name", TASKS)
def test_tables_of_tasks(good_v3: Path, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "set"
    shutil.copytree(good_v3, folder)
    change_table(folder / "meta/tasks.parquet", TASKS[name])
    refused(folder, "task")


@pytest.mark.parametrize(
    "line", ['{"episode_index": 0}', '{"episode_index": 0, "length": -3}', "[]", "{", '{"length": 1e3}']
)
def test_lines_of_episodes(good_v21: Path, tmp_path: Path, line: str) -> None:
    folder = tmp_path / "set"
    shutil.copytree(good_v21, folder)
    (folder / "meta/episodes.jsonl").write_text(line + "\n")
    refused(folder)


def test_text_in_tables_that_is_no_utf8(good_v3: Path, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    shutil.copytree(good_v3, folder)
    data = (folder / "meta/tasks.parquet").read_bytes()
    assert b"banana" in data
    (folder / "meta/tasks.parquet").write_bytes(data.replace(b"banana", b"\xffanana"))
    refused(folder, "UTF-?8")


def test_lines_of_tasks_and_size_of_chunks(good_v21: Path, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    shutil.copytree(good_v21, folder)
    (folder / "meta/tasks.jsonl").write_text('{"task_index": 0}\n')
    refused(folder, "no task")
    change_info(folder, _set(0, "chunks_size"))
    refused(folder, "chunks_size is 0")


@pytest.mark.parametrize(
    "film", [b"", b"words", b"ffconcat version 1.0\nfile /etc/passwd\n", b"#EXTM3U\n/etc/passwd\n"]
)
def test_films_that_are_none(good: Path, tmp_path: Path, film: bytes) -> None:
    folder = tmp_path / "set"
    shutil.copytree(good, folder)
    for path in (folder / "videos").rglob("*.mp4"):
        path.write_bytes(film)
    refused(folder)


def test_a_film_too_short(good_v21: Path, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    shutil.copytree(good_v21, folder)
    with DatasetWriter(tmp_path / "short", layout="gr00t") as writer:
        for index in range(2):
            writer.add(made_episode(index, frames=4))
        writer.finish()
    shutil.copy(tmp_path / "short" / FILM_V21, folder / FILM_V21)
    refused(folder, "has no frame 4")


def test_films_with_bits_turned(good: Path, tmp_path: Path) -> None:
    """Whatever is in it: pictures of the right shape, or an error."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "set"
    shutil.copytree(good, folder)
    paths = [path for path in (folder / "videos").rglob("*.mp4") if "front" in str(path)]
    for _ in range(40):
        for path in paths:
            data = np.frombuffer((good / path.relative_to(folder)).read_bytes(), np.uint8).copy()
            places = rng.integers(0, len(data), 30)
            data[places] = rng.integers(0, 256, 30)
            path.write_bytes(data.tobytes())
        with contextlib.suppress(InputError):
            for number in range(3):
                assert open_dataset(folder).frames(number, "front", range(12)).shape == (12, 32, 32, 3)


def test_tables_with_bits_turned(good: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    folder = tmp_path / "set"
    shutil.copytree(good, folder)
    paths = sorted(folder.rglob("*.parquet"))
    for round_ in range(200):
        path = paths[round_ % len(paths)]
        whole = path.read_bytes()
        data = np.frombuffer(whole, np.uint8).copy()
        start = 0 if round_ % 4 == 0 else len(data) - 8 - int.from_bytes(whole[-8:-4], "little")  # mostly the footer
        data[rng.integers(start, len(data), 4)] = rng.integers(0, 256, 4)
        path.write_bytes(data.tobytes())
        with contextlib.suppress(InputError):
            for episode in open_dataset(folder):
                assert np.isfinite(episode.state).all()
        path.write_bytes(whole)


def test_links(good_v3: Path, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    shutil.copytree(good_v3, folder)
    shutil.move(folder / DATA, tmp_path / "elsewhere.parquet")
    (folder / DATA).symlink_to(tmp_path / "elsewhere.parquet")
    assert "cp -rL" in refused(folder, "leads out of the dataset's folder").remedy
    (folder / DATA).unlink()
    (folder / DATA).symlink_to(folder / DATA)  # in a circle
    refused(folder)
    (folder / DATA).unlink()
    shutil.move(tmp_path / "elsewhere.parquet", folder / "inside.parquet")
    (folder / DATA).symlink_to(folder / "inside.parquet")  # within the folder a link does no harm
    read_all(folder)


def test_tables_and_pictures_that_would_fill_the_memory(
    good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(films, "MAX_DECODED_BYTES", 1000)
    refused(good, "do not fit into memory")
    monkeypatch.setattr(dataset_folder, "MAX_TABLE_BYTES", 100)
    refused(good, "MiB of memory")


def test_a_table_that_unpacks_to_far_more(good_v3: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A million rows of one long text take few bytes in a Parquet file, and few by its own account."""
    folder = tmp_path / "set"
    shutil.copytree(good_v3, folder)
    table = pq.read_table(folder / EPISODES)
    rows = 20_000
    columns = {
        name: pa.array([table[name][0].as_py()] * rows, table.schema.field(name).type) for name in table.column_names
    }
    columns["recipe"] = pa.array(["x" * 10_000] * rows)
    columns["episode_index"] = pa.array(range(rows))
    pq.write_table(pa.table(columns), folder / EPISODES)
    assert (folder / EPISODES).stat().st_size < 2_000_000
    monkeypatch.setattr(dataset_folder, "MAX_TABLE_BYTES", 100 << 20)
    refused(folder, "takes more than 100 MiB")


class Evil:
    """Says so when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return pytest.fail, ("something was unpickled",)


def test_nothing_is_unpickled(good_v3: Path, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    shutil.copytree(good_v3, folder)
    table = pq.read_table(folder / DATA)
    metadata = {
        b"ARROW:extension:name": b"arrow.py_extension_type",
        b"ARROW:extension:metadata": pickle.dumps(Evil()),
    }
    field = table.schema.field("action").with_metadata(metadata)
    schema = table.schema.set(table.schema.get_field_index("action"), field)
    pq.write_table(table.cast(schema), folder / DATA)
    read_all(folder)


def test_a_damaged_dataset_is_not_added_to(good: Path, tmp_path: Path) -> None:
    """Whatever is in it: it is added to, or an error says what is wrong, and the episode waits in the journal."""
    rng = np.random.default_rng(2)
    layout = "gr00t" if (good / "meta/modality.json").exists() else "lerobot"
    names = [path.relative_to(good).as_posix() for path in sorted((good / "meta").rglob("*")) if path.is_file()]
    for round_ in range(30):
        folder = tmp_path / "set"
        shutil.copytree(good, folder)
        path = folder / names[round_ % len(names)]
        data = np.frombuffer(path.read_bytes(), np.uint8).copy()
        data[rng.integers(0, len(data), 6)] = rng.integers(0, 256, 6)
        path.write_bytes(data.tobytes())
        with contextlib.suppress(InputError, OutputError), DatasetWriter(folder, layout=layout) as writer:
            writer.add(made_episode(7))
            writer.finish()
        shutil.rmtree(folder)


OWN: dict[str, tuple[Callable[[pa.Table], pa.Table], str]] = {
    "run_index": (lambda table: table.drop_columns(["run_index"]), "lack run_index"),
    "reason": (with_column("reason", pa.nulls(3, pa.string())), "lack run_index"),
    "place": (with_column("data/file_index", pa.nulls(3, pa.int64())), "data/file_index is None"),
    "negative place": (with_column("data/file_index", [-1, -1, -1]), "data/file_index is -1"),
}


@pytest.mark.parametrize("name", OWN)
def test_a_dataset_that_lacks_our_columns_is_not_added_to(good_v3: Path, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "set"
    shutil.copytree(good_v3, folder)
    change_table(folder / EPISODES, OWN[name][0])
    with pytest.raises(InputError, match=OWN[name][1]):
        DatasetWriter(folder)


def test_limits_that_are_none(good_v3: Path, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    shutil.copytree(good_v3, folder)
    change_info(folder, _set("many", "data_files_size_in_mb"))
    with DatasetWriter(folder) as writer:
        writer.add(made_episode(7))
        with pytest.raises(InputError, match="its limits of files are"):
            writer.finish()
        assert writer.done() == {0, 1, 2, 7}
