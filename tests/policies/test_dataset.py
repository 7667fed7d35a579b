"""Datasets written and read back: what comes in comes out, however the run that made it went."""

from __future__ import annotations

import json
import os
import pickle
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from policies.dataset import LAYOUTS, DatasetWriter, open_dataset
from policies.dataset_folder import DatasetFolder
from policies.encoded import EncodedEpisode, encode
from policies.films import FilmSettings
from policies.numbered_files import Limits
from reconstruction.errors import InputError, OutputError, UnsupportedFormatError, UsageError
from simulation.episode import Episode
from tests.conftest import ROOT
from tests.episodes import TASKS, assert_same, made_episode, tree

SMALL = Limits(data_mb=0, film_mb=0, files_a_chunk=2)
"""A file an episode, two files a folder."""


def some_episodes(count: int = 7) -> list[Episode]:
    """Every third one failed."""
    return [made_episode(index, frames=8 + index, success=index % 3 != 2) for index in range(count)]


def write(folder: Path, episodes: list[Episode] | list[EncodedEpisode], **settings: Any) -> None:
    with DatasetWriter(folder, **settings) as writer:
        for episode in episodes:
            writer.add(episode)
        writer.finish()


@pytest.fixture(params=LAYOUTS)
def layout(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_what_comes_in_comes_out(tmp_path: Path, layout: str) -> None:
    episodes = some_episodes()
    with DatasetWriter(tmp_path / "set", layout=layout, robot="so101_follower") as writer:
        for episode in episodes:
            writer.add(episode)
        summary = writer.finish()
    good = [episode for episode in episodes if episode.success]
    assert (summary.episodes, summary.frames) == (len(good), sum(map(len, good)))
    assert (summary.failures, summary.reasons) == (2, {"dropped": 1, "timeout": 1})
    dataset = open_dataset(tmp_path / "set")
    assert len(dataset) == len(good)
    assert dataset.left_out == ()
    for read, made in zip(dataset, good, strict=True):
        assert_same(read, made)
    failures = open_dataset(summary.failures_folder)
    for read, made in zip(failures, [episode for episode in episodes if not episode.success], strict=True):
        assert_same(read, made)


def test_single_frames_are_those_of_the_whole(tmp_path: Path, layout: str) -> None:
    write(tmp_path / "set", some_episodes(), layout=layout)
    dataset = open_dataset(tmp_path / "set")
    for number in range(len(dataset)):
        whole = dataset.read(number).images["wrist"]
        wanted = [len(whole) - 1, 0, 3, 3]
        np.testing.assert_array_equal(dataset.frames(number, "wrist", wanted), whole[wanted])
        assert dataset.length(number) == len(whole)
    assert dataset.frames(0, "front", []).shape == (0, 32, 32, 3)
    assert set(dataset.read(0, ["wrist"]).images) == {"wrist"}
    assert dataset.read(0, ()).images == {}
    with pytest.raises(UsageError, match="no camera top"):
        dataset.read(0, ["top"])
    with pytest.raises(IndexError, match="has 8 frames"):
        dataset.frames(0, "front", [8])
    with pytest.raises(IndexError, match="none of number 99"):
        dataset.read(99)


def test_episodes_without_pictures(tmp_path: Path, layout: str) -> None:
    made = made_episode(0, cameras=0)
    write(tmp_path / "set", [made], layout=layout)
    assert_same(open_dataset(tmp_path / "set").read(0), made)
    assert json.loads((tmp_path / "set/meta/info.json").read_text())["video_path"] is None


def test_the_order_of_coming_in_changes_no_byte(tmp_path: Path, layout: str) -> None:
    episodes = [encode(episode) for episode in some_episodes()]
    write(tmp_path / "a" / "set", episodes, layout=layout, limits=SMALL)
    random.Random(1).shuffle(episodes)
    write(tmp_path / "b" / "set", episodes, layout=layout, limits=SMALL)
    assert tree(tmp_path / "a" / "set") == tree(tmp_path / "b" / "set")


def test_an_encoded_episode_crosses_processes_and_equals_itself() -> None:
    one, other = encode(made_episode(1)), encode(made_episode(1))
    assert one.to_bytes() == other.to_bytes() == pickle.loads(pickle.dumps(one)).to_bytes()
    assert EncodedEpisode.from_bytes(one.to_bytes(), "here") == one


def test_files_are_limited(tmp_path: Path) -> None:
    write(tmp_path / "set", some_episodes(), limits=SMALL)
    names = set(tree(tmp_path / "set"))
    for kind in ("data", "videos/observation.images.front", "videos/observation.images.wrist"):
        found = sorted(name for name in names if name.startswith(f"set/{kind}/"))
        places = ["chunk-000/file-000", "chunk-000/file-001", "chunk-001/file-000", "chunk-001/file-001"]
        assert [name.rpartition(".")[0] for name in found] == [
            f"set/{kind}/{place}" for place in (*places, "chunk-002/file-000")
        ]
    for read, made in zip(open_dataset(tmp_path / "set"), [e for e in some_episodes() if e.success], strict=True):
        assert_same(read, made)


def test_more_episodes_leave_what_is_there(tmp_path: Path, layout: str) -> None:
    write(tmp_path / "set", some_episodes(), layout=layout)
    before = tree(tmp_path / "set")
    more = [made_episode(index, success=index != 11) for index in (9, 10, 11)]
    with DatasetWriter(tmp_path / "set", layout=layout) as writer:
        assert writer.done() == set(range(7))
        for episode in more:
            writer.add(episode)
        assert writer.done() == {*range(7), 9, 10, 11}
        summary = writer.finish()
        assert writer.done() == {*range(7), 9, 10, 11}
    assert (summary.episodes, summary.failures) == (7, 3)
    after = tree(tmp_path / "set")
    changed = {name for name in before if after[name] != before[name]}
    assert {name.split("/")[1] for name in changed} == {"meta"}
    assert not any("/episodes/" in name for name in changed)
    dataset = open_dataset(tmp_path / "set")
    expected = [e for e in [*some_episodes(), *more] if e.success]
    for read, made in zip(dataset, expected, strict=True):
        assert_same(read, made)
    info = json.loads((tmp_path / "set/meta/info.json").read_text())
    assert info["splits"] == {"train": "0:7"}
    assert info["total_tasks"] == 2
    assert info["pocketworld"]["failures"] == {
        "folder": "../set_failures",
        "episodes": 3,
        "reasons": {"dropped": 1, "timeout": 2},
    }


def test_failures_alone(tmp_path: Path, layout: str) -> None:
    write(tmp_path / "set", [made_episode(0, success=False)], layout=layout)
    with pytest.raises(UnsupportedFormatError):
        open_dataset(tmp_path / "set")
    assert len(open_dataset(tmp_path / "set_failures")) == 1
    with DatasetWriter(tmp_path / "set", layout=layout) as writer:
        assert writer.done() == {0}
        writer.add(made_episode(1))
        writer.finish()
        writer.add(made_episode(3, success=False))
        assert writer.finish().reasons == {"dropped": 1, "timeout": 1}
    info = json.loads((tmp_path / "set/meta/info.json").read_text())
    assert info["pocketworld"]["failures"]["episodes"] == 2


def test_statistics_are_numpys(tmp_path: Path, layout: str) -> None:
    episodes = [made_episode(index, frames=10 + index) for index in range(4)]
    write(tmp_path / "set", episodes, layout=layout)
    write(tmp_path / "set", [made_episode(5)], layout=layout)
    episodes.append(made_episode(5))
    stats = json.loads((tmp_path / "set/meta/stats.json").read_text())
    columns = {
        "observation.state": np.concatenate([e.state for e in episodes]),
        "action": np.concatenate([e.action for e in episodes]),
        "next.done": np.concatenate([e.extra["next.done"] for e in episodes])[:, None],
        "mug.pose": np.concatenate([e.extra["mug.pose"] for e in episodes]),
        "index": np.arange(sum(map(len, episodes)))[:, None],
    }
    for name, values in columns.items():
        values = values.astype(np.float64)
        np.testing.assert_allclose(stats[name]["mean"], values.mean(axis=0), atol=1e-12)
        np.testing.assert_allclose(stats[name]["std"], values.std(axis=0), atol=1e-12)
        np.testing.assert_array_equal(stats[name]["min"], values.min(axis=0))
        np.testing.assert_array_equal(stats[name]["max"], values.max(axis=0))
        for key, share in {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}.items():
            np.testing.assert_allclose(stats[name][key], np.quantile(values, share, axis=0), atol=1e-12)
        assert stats[name]["count"] == [len(values)]


def test_statistics_of_pictures(tmp_path: Path) -> None:
    episodes = [made_episode(index, frames=10 + index) for index in range(3)]
    write(tmp_path / "set", episodes[:2])
    write(tmp_path / "set", episodes[2:])
    stats = json.loads((tmp_path / "set/meta/stats.json").read_text())["observation.images.front"]
    pixels = [episode.images["front"].reshape(-1, 3) / 255 for episode in episodes]
    everything = np.concatenate(pixels)
    assert np.shape(stats["mean"]) == (3, 1, 1)
    np.testing.assert_allclose(np.ravel(stats["mean"]), everything.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(np.ravel(stats["std"]), everything.std(axis=0), atol=1e-12)
    np.testing.assert_allclose(np.ravel(stats["min"]), everything.min(axis=0))
    np.testing.assert_allclose(np.ravel(stats["max"]), everything.max(axis=0))
    assert stats["count"] == [33]
    low = np.min([np.quantile(part, 0.1, axis=0, method="lower") for part in pixels], axis=0)
    high = np.max([np.quantile(part, 0.9, axis=0, method="lower") for part in pixels], axis=0)
    np.testing.assert_allclose(np.ravel(stats["q10"]), low)
    np.testing.assert_allclose(np.ravel(stats["q90"]), high)


def test_the_layout_of_lerobot(tmp_path: Path) -> None:
    write(tmp_path / "set", some_episodes(), robot="so101_follower")
    info = json.loads((tmp_path / "set/meta/info.json").read_text())
    assert info["codebase_version"] == "v3.0"
    assert (info["fps"], info["robot_type"], info["chunks_size"]) == (10, "so101_follower", 1000)
    assert info["features"]["observation.images.front"]["shape"] == [32, 32, 3]
    assert info["features"]["observation.images.front"]["info"]["video.codec"] == "h264"
    assert info["features"]["timestamp"] == {"dtype": "float32", "shape": [1], "names": None}
    data = pq.ParquetFile(tmp_path / "set/data/chunk-000/file-000.parquet")
    assert data.num_row_groups == 5
    table = data.read()
    data.close()
    assert b"huggingface" in table.schema.metadata
    assert "observation.images.front" not in table.column_names
    assert table["index"].to_pylist() == list(range(info["total_frames"]))
    frames, stamps = table["frame_index"].to_numpy(), table["timestamp"].to_numpy()
    np.testing.assert_array_equal(stamps, (frames / 10).astype(np.float32))
    rows = pq.read_table(tmp_path / "set/meta/episodes/chunk-000/file-000.parquet").to_pylist()
    assert [row["run_index"] for row in rows] == [0, 1, 3, 4, 6]
    assert [row["episode_index"] for row in rows] == list(range(5))
    for row in rows:
        assert row["dataset_to_index"] - row["dataset_from_index"] == row["length"]
        span = (
            row["videos/observation.images.front/to_timestamp"] - row["videos/observation.images.front/from_timestamp"]
        )
        assert span == pytest.approx(row["length"] / 10)
        assert json.loads(row["recipe"])["index"] == row["run_index"]
        assert (row["success"], row["reason"]) == (True, "")
        assert len(row["stats/observation.state/q99"]) == 6
        assert np.shape(row["stats/observation.images.front/mean"]) == (3, 1, 1)
    tasks = pq.read_table(tmp_path / "set/meta/tasks.parquet")
    assert tasks["task"].to_pylist() == list(TASKS)
    assert json.loads(tasks.schema.metadata[b"pandas"])["index_columns"] == ["task"]


def test_the_layout_of_groot(tmp_path: Path) -> None:
    write(tmp_path / "set", some_episodes(), layout="gr00t", robot="so101_follower")
    folder = tmp_path / "set"
    info = json.loads((folder / "meta/info.json").read_text())
    assert info["codebase_version"] == "v2.1"
    assert (info["total_episodes"], info["total_videos"], info["total_chunks"]) == (5, 10, 1)
    modality = json.loads((folder / "meta/modality.json").read_text())
    parts = {"single_arm": {"start": 0, "end": 5}, "gripper": {"start": 5, "end": 6}}
    assert modality["state"] == modality["action"] == parts
    assert modality["video"]["front"] == {"original_key": "observation.images.front"}
    assert modality["annotation"] == {"human.task_description": {"original_key": "task_index"}}
    lines = [json.loads(line) for line in (folder / "meta/episodes.jsonl").read_text().splitlines()]
    assert lines[2] | {"episode_index": 2, "tasks": [TASKS[1]], "length": 11} == lines[2]
    assert lines[2]["run_index"] == 3
    tasks = [json.loads(line) for line in (folder / "meta/tasks.jsonl").read_text().splitlines()]
    assert tasks == [{"task_index": k, "task": task} for k, task in enumerate(TASKS)]
    assert {"mean", "std", "min", "max", "q01", "q99"} <= set(
        json.loads((folder / "meta/stats.json").read_text())["action"]
    )
    stats = [json.loads(line) for line in (folder / "meta/episodes_stats.jsonl").read_text().splitlines()]
    assert set(stats[0]["stats"]["observation.images.front"]) == {"min", "max", "mean", "std", "count"}
    assert (folder / "data/chunk-000/episode_000004.parquet").is_file()
    assert (folder / "videos/chunk-000/observation.images.wrist/episode_000004.mp4").is_file()


def test_rows_of_a_table_wherever_its_row_groups_end(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for sizes in ([20], [1] * 20, [0, 7, 0, 0, 3, 10, 0], [5000, 1, 5000]):
        path, total = tmp_path / "x.parquet", sum(sizes)
        schema = pa.schema([("a", pa.int64()), ("a.b", pa.int64())])
        with pq.ParquetWriter(path, schema) as writer:
            for end, size in zip(np.cumsum(sizes), sizes, strict=True):
                numbers = pa.array(range(end - size, end), pa.int64())
                writer.write_table(pa.table([numbers, numbers], schema), row_group_size=max(1, size))
        folder = DatasetFolder(tmp_path)
        for first, last in [(0, total), (0, 0), (total, total), *np.sort(rng.integers(0, total + 1, (20, 2))).tolist()]:
            assert folder.table("x.parquet", ["a"], (first, last))["a"].to_pylist() == list(range(first, last))
        assert folder.table("x.parquet").column_names == ["a", "a.b"]
        with pytest.raises(InputError, match="rows"):
            folder.table("x.parquet", None, (0, total + 1))


# --- killed and gone on with -----------------------------------------------------------------------------------------


class Killed(BaseException):
    """Stands for SIGKILL: from then on no file operation works."""


@pytest.fixture
def kill_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Callable[[], None]]:
    """`kill_at(n)` makes the n-th operation on files, and all after it, raise; what it returns ends that."""

    def arm(number: int) -> Callable[[], None]:
        left = [number]
        patch = pytest.MonkeyPatch()
        for name in ("replace", "unlink", "rename", "mkdir", "rmdir", "write_bytes"):
            real = getattr(Path, name)

            def step(*arguments: Any, real: Callable[..., Any] = real, **more: Any) -> Any:
                left[0] -= 1
                if left[0] < 0:
                    raise Killed
                return real(*arguments, **more)

            patch.setattr(Path, name, step)
        return patch.undo

    return arm


def test_killed_anywhere_it_ends_the_same(
    tmp_path: Path, layout: str, kill_at: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    made = [
        made_episode(index, frames=3 + index, size=16, success=index not in (1, 4), cameras=1) for index in range(5)
    ]
    episodes, more = [encode(episode) for episode in made[:3]], [encode(episode) for episode in made[3:]]
    settings = {"layout": layout, "limits": SMALL}

    def run(folder: Path, batch: list[EncodedEpisode]) -> None:
        with DatasetWriter(folder, **settings) as writer:  # type: ignore[arg-type]
            for episode in batch:
                if episode.index not in writer.done():
                    writer.add(episode)
            writer.finish()

    run(tmp_path / "whole" / "set", episodes)
    run(tmp_path / "whole" / "set", more)
    whole = tree(tmp_path / "whole" / "set")
    kills = 1
    while True:
        folder = tmp_path / str(kills) / "set"
        calm = kill_at(kills)
        try:
            run(folder, episodes)
            run(folder, more)
            break
        except Killed:
            kills += 4
        finally:
            calm()
        seen = tree(folder)
        if "set/meta/info.json" in seen:  # what counts can be read in the middle of everything
            for episode in open_dataset(folder):
                assert episode.success
        run(folder, episodes)
        run(folder, more)
        assert tree(folder) == whole, f"killed at operation {kills - 4}"
    assert kills > 40


WORK = """
import sys, random
from pathlib import Path
from policies.dataset import DatasetWriter
from tests.episodes import made_episode
with DatasetWriter(Path(sys.argv[1]), layout=sys.argv[2]) as writer:
    print("ready", flush=True)
    todo = [index for index in range(16) if index not in writer.done()]
    random.Random(0).shuffle(todo)
    for index in todo:
        writer.add(made_episode(index, frames=30, success=index % 4 != 3))
    writer.finish()
"""


def test_killed_for_real_it_ends_the_same(tmp_path: Path) -> None:
    def start(folder: Path) -> subprocess.Popen[bytes]:
        words = [sys.executable, "-c", WORK, str(folder), "lerobot"]
        return subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)})

    began = time.perf_counter()
    with start(tmp_path / "whole" / "set") as child:
        assert child.stdout is not None
        child.stdout.readline()
        began = time.perf_counter()
        assert child.wait() == 0
    seconds = time.perf_counter() - began
    whole, folder = tree(tmp_path / "whole" / "set"), tmp_path / "killed" / "set"
    rng, codes = random.Random(5), []
    for share in (0.15, 0.2, 0.3, 0.5, 10.0):
        with start(folder) as child:
            assert child.stdout is not None
            child.stdout.readline()
            try:
                codes.append(child.wait(seconds * share * rng.uniform(0.5, 1)))
            except subprocess.TimeoutExpired:
                child.send_signal(signal.SIGKILL)
                codes.append(child.wait())
    assert codes[-1] == 0
    assert -signal.SIGKILL in codes
    assert tree(folder) == whole


def test_an_interrupted_finish_leaves_all_as_it_was(tmp_path: Path, layout: str) -> None:
    def stop(fraction: float, message: str) -> None:
        if fraction > 0.5:
            raise KeyboardInterrupt

    with DatasetWriter(tmp_path / "set", layout=layout) as writer:
        for episode in some_episodes(6):
            writer.add(episode)
        with pytest.raises(KeyboardInterrupt):
            writer.finish(stop)
        assert not (tmp_path / "set/meta/info.json").exists()
        assert not list(tmp_path.rglob("*.partial"))
        summary = writer.finish()
        assert (summary.episodes, summary.failures) == (4, 2)
    assert not (tmp_path / "set/.journal").exists()


def test_two_do_not_write_at_once(tmp_path: Path) -> None:
    with DatasetWriter(tmp_path / "set"), pytest.raises(UsageError, match="Another Pocketworld"):
        DatasetWriter(tmp_path / "set")
    with DatasetWriter(tmp_path / "set"):
        pass


def test_a_full_disk(tmp_path: Path, tiny_disk: Callable[[str], Path]) -> None:
    place = tiny_disk("size=256k") / "set"
    with pytest.raises(OutputError, match="no space left"):
        write(place, [made_episode(index, size=64) for index in range(40)])
    with DatasetWriter(place) as writer:
        assert 0 < len(writer.done()) < 40
        with pytest.raises(OutputError, match="no space left"):
            writer.finish()
        assert len(writer.done()) > 0
    assert not list(place.rglob("*.partial"))


# --- what is refused -------------------------------------------------------------------------------------------------


def test_an_episode_twice_is_refused(tmp_path: Path) -> None:
    with DatasetWriter(tmp_path / "set") as writer:
        writer.add(made_episode(0))
        with pytest.raises(UsageError, match="has an episode 0 already"):
            writer.add(made_episode(0))


@pytest.mark.parametrize("finished", [False, True])
def test_other_features_are_refused(tmp_path: Path, finished: bool) -> None:
    with DatasetWriter(tmp_path / "set") as writer:
        writer.add(made_episode(0))
        if finished:
            writer.finish()
    with DatasetWriter(tmp_path / "set") as writer, pytest.raises(InputError, match="cameras is"):
        writer.add(made_episode(1, size=64))


def test_a_rate_that_lerobot_cannot_hold_is_refused() -> None:
    made = made_episode(0)
    with pytest.raises(InputError, match="2.5 frames a second"):
        encode(Episode(made.task, "put", 2.5, made.state, made.state_names, made.action, made.action_names))


def test_films_of_another_kind_go_to_files_of_their_own(tmp_path: Path) -> None:
    episodes = [made_episode(index) for index in range(4)]
    kinds = [FilmSettings(), FilmSettings(pixels="yuv420p"), FilmSettings(pixels="yuv420p"), FilmSettings(quality=30)]
    write(tmp_path / "set", [encode(episode, kind) for episode, kind in zip(episodes, kinds, strict=True)])
    assert len(list((tmp_path / "set/videos/observation.images.front/chunk-000").iterdir())) == 3
    for read, made in zip(open_dataset(tmp_path / "set"), episodes, strict=True):
        assert_same(read, made, pictures=9)


def test_odd_sides_need_full_colour(tmp_path: Path) -> None:
    made = made_episode(0, size=33)
    with pytest.raises(InputError, match="33 × 33 cannot be encoded as yuv420p"):
        encode(made, FilmSettings(pixels="yuv420p"))
    write(tmp_path / "set", [made])
    assert_same(open_dataset(tmp_path / "set").read(0), made)


def test_other_folders_are_left_alone(tmp_path: Path) -> None:
    write(tmp_path / "set", [made_episode(0)])
    with pytest.raises(OutputError, match="holds a dataset"):
        DatasetWriter(tmp_path / "set", layout="gr00t")
    (tmp_path / "home").mkdir()
    (tmp_path / "home/thesis.txt").write_text("words")
    with pytest.raises(OutputError, match="not a dataset's"):
        DatasetWriter(tmp_path / "home")
    (tmp_path / "file").write_text("words")
    with pytest.raises(OutputError):
        DatasetWriter(tmp_path / "file")
    with pytest.raises(UsageError, match="Take one of lerobot, gr00t"):
        DatasetWriter(tmp_path / "other", layout="rlds")
    assert not (tmp_path / "other").exists()


def test_an_unfinished_dataset_says_so(tmp_path: Path) -> None:
    with DatasetWriter(tmp_path / "set") as writer:
        writer.add(made_episode(0))
    with pytest.raises(InputError, match="1 episodes wait in its journal"):
        open_dataset(tmp_path / "set")


def test_a_damaged_journal_says_which_file(tmp_path: Path) -> None:
    with DatasetWriter(tmp_path / "set") as writer:
        writer.add(made_episode(0))
        (entry,) = (tmp_path / "set/.journal").iterdir()
        entry.write_bytes(entry.read_bytes()[:1000])
        with pytest.raises(InputError, match="000000000000-success.zip is damaged"):
            writer.finish()


@pytest.mark.parametrize("place", ["nothing", "empty", "file.txt"])
def test_what_is_no_dataset(tmp_path: Path, place: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.txt").write_text("words")
    with pytest.raises(UnsupportedFormatError, match="no dataset of episodes"):
        open_dataset(tmp_path / place)
