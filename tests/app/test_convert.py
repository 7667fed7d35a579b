"""``pocketworld convert``: others' datasets become ours, are joined, fitted to each other, and survive being killed."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app import cli
from policies.dataset import DatasetWriter, open_dataset
from policies.fitting import Fitted, Wishes, resized
from simulation.episode import Episode
from tests.conftest import ROOT, Run, command, environment
from tests.episodes import assert_same, made_episode, moving, tree
from tests.policies.test_foreign import Files, write_folder, write_hdf5, zarr
from tests.policies.test_foreign import umi_without_packages as umi

Convert = Callable[..., Run]


@pytest.fixture
def convert(capfd: pytest.CaptureFixture[str]) -> Convert:
    """The command, in this process."""

    def run(*words: object) -> Run:
        capfd.readouterr()
        code = cli.main(["convert", *map(str, words), "--json"])
        said = capfd.readouterr()
        assert "Traceback" not in said.out + said.err
        return Run(code, said.out, said.err)

    return run


def refused(run: Run, *words: str, code: str = "") -> dict[str, Any]:
    assert run.code > 1, run.stdout  # 1 is for what nobody has foreseen
    (error,) = run.errors
    for word in words:
        assert word in error["message"], error
    assert error["remedy"]
    assert not code or error["code"] == code, error
    return error


def ours(folder: Path, episodes: list[Episode], layout: str = "lerobot") -> Path:
    with DatasetWriter(folder, layout=layout, robot="so101") as writer:
        for episode in episodes:
            writer.add(episode)
        writer.finish()
    return folder


def mixed(first: int = 0, count: int = 4) -> list[Episode]:
    return [made_episode(index, frames=6 + index, success=index % 2 == 0) for index in range(first, first + count)]


def same_but_place(read: Episode, made: Episode, pictures: float = 5.0, **more: Any) -> None:
    assert_same(read, dataclasses.replace(made, index=read.index, **more), pictures)


# --- one source ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["lerobot", "gr00t"])
def test_umi_becomes_a_dataset(convert: Convert, tmp_path: Path, layout: str) -> None:
    source, target = umi(tmp_path / "Küche 1" / "große tasse.zarr.zip"), tmp_path / "für uns" / "Tassen ä"
    run = convert(source, target, "--layout", layout, "--task", "Fülle die Tasse.")
    assert run.code == 0, run.stdout
    result = run.result
    assert (result["episodes"], result["frames"], result["added"], result["known"]) == (2, 9, 2, 0)
    assert result["dataset"] == str(target)
    assert result["seconds"] > 0
    assert result["left_out"] == ["depth: float64 (4, 4) a frame has no place in an episode"]
    info = json.loads((target / "meta" / "info.json").read_text(encoding="utf-8"))
    assert info["codebase_version"] == {"lerobot": "v3.0", "gr00t": "v2.1"}[layout]
    assert (target / "meta" / "modality.json").exists() == (layout == "gr00t")
    assert not (target / ".journal").exists()
    for read, made in zip(open_dataset(target), open_dataset(source, task="Fülle die Tasse."), strict=True):
        assert read.extra["tcp"].dtype == np.float64
        same_but_place(
            read,
            dataclasses.replace(made, extra={"tcp": made.extra["tcp"].astype(np.float64)}),
            5,
            task_name=read.task_name,
        )


def test_robomimic_becomes_a_dataset(convert: Convert, tmp_path: Path) -> None:
    source, target = write_hdf5(tmp_path / "lift.hdf5"), tmp_path / "set"
    run = convert(source, target, "--rate-hz", 5)
    assert run.result["episodes"] == 4
    assert [name.split(":")[0] for name in run.result["left_out"]] == ["agentview_depth"]
    for read, made in zip(open_dataset(target), open_dataset(source, rate_hz=5), strict=True):
        assert (read.task, read.rate_hz) == ("Lift", 5)
        same_but_place(read, made, task_name="task" if read.task_name == "task" else made.task_name)


def test_there_and_back_with_failures(convert: Convert, tmp_path: Path) -> None:
    made = mixed()
    source = ours(tmp_path / "own", made)
    there, back = tmp_path / "gr00t", tmp_path / "back"
    assert convert(source, there, "--layout", "gr00t").result["failures"] == 2
    result = convert(there, back).result
    assert (result["episodes"], result["failures"], result["added"], result["left_out"]) == (2, 2, 4, [])
    assert result["frames"] == sum(len(episode) for episode in made if episode.success)
    assert json.loads((back / "meta" / "info.json").read_text())["robot_type"] == "so101"
    for folder, success in ((back, True), (Path(result["failed"]), False)):
        kept = [episode for episode in made if episode.success == success]
        for read, episode in zip(open_dataset(folder), kept, strict=True):
            same_but_place(read, episode, pictures=8)


def test_a_task_is_replaced(convert: Convert, tmp_path: Path) -> None:
    convert(ours(tmp_path / "own", mixed()), tmp_path / "set", "--task", "Do it.")
    assert [episode.task for episode in open_dataset(tmp_path / "set")] == ["Do it."] * 2


def test_a_dataset_of_others_has_columns_without_a_place(convert: Convert, tmp_path: Path) -> None:
    source = ours(tmp_path / "own", mixed())
    info = json.loads((source / "meta" / "info.json").read_text())
    info["features"]["note"] = {"dtype": "string", "shape": [1], "names": None}
    del info["pocketworld"]
    (source / "meta" / "info.json").write_text(json.dumps(info))
    result = convert(source, tmp_path / "set").result
    assert result["left_out"] == ["note: string [1] has no place in an episode"]
    assert result["failures"] == 0  # what lies beside others' datasets is none of theirs


# --- several sources -------------------------------------------------------------------------------------------------


def test_sources_are_joined_and_nothing_is_there_twice(convert: Convert, tmp_path: Path) -> None:
    target, one, two = tmp_path / "all", ours(tmp_path / "one", mixed(0)), ours(tmp_path / "two", mixed(10))
    assert convert(one, target).result["added"] == 4
    before = tree(target)
    again = convert(one, target).result
    assert (again["added"], again["known"], again["episodes"]) == (0, 4, 2)
    assert tree(target) == before
    joined = convert(two, target).result
    assert (joined["added"], joined["episodes"], joined["failures"]) == (4, 4, 4)
    ours(one, [made_episode(20, frames=5)])  # the source grows
    grown = convert(one, target).result
    assert (grown["added"], grown["known"], grown["episodes"]) == (1, 4, 5)
    shutil.copytree(one, tmp_path / "copy")
    assert convert(tmp_path / "copy", target, "--task", "Otherwise.").result["added"] == 0
    read, made = list(open_dataset(target)), [*mixed(0)[::2], *mixed(10)[::2], made_episode(20, frames=5)]
    for episode, original in zip(read, made, strict=True):
        same_but_place(episode, original)
    assert len({episode.index for episode in [*read, *open_dataset(tmp_path / "all_failures")]}) == 9
    record = json.loads((tmp_path / "all.json").read_text(encoding="utf-8"))
    assert [Path(entry["source"]).name for entry in record["sources"]] == ["one", "two", "copy"]


def test_equal_episodes_of_one_source_all_count(convert: Convert, tmp_path: Path) -> None:
    still = {"robot0_eef_pos": np.ones((9, 3), np.float32), "robot0_gripper_width": np.ones((9, 1), np.float32)}
    files: Files = zarr("meta/episode_ends", np.array([3, 6, 9]), codec="")
    for name, values in still.items():
        files |= zarr(f"data/{name}", values, codec="")
    source = write_folder(tmp_path / "still.zarr", files)
    fewer = shutil.copytree(source, tmp_path / "fewer.zarr")
    write_folder(fewer, zarr("meta/episode_ends", np.array([3]), codec=""))
    assert convert(fewer, tmp_path / "set").result["episodes"] == 1
    assert convert(source, tmp_path / "set").result["episodes"] == 3
    assert convert(source, tmp_path / "set").result["episodes"] == 3


def test_other_features_do_not_fit_in(convert: Convert, tmp_path: Path) -> None:
    target = ours(tmp_path / "set", mixed())
    before = tree(target)
    error = refused(convert(umi(tmp_path / "cup.zarr.zip"), target), "rate_hz is 60", code="other_features")
    assert "--like" in error["remedy"]
    assert tree(target) == before


# --- like another ----------------------------------------------------------------------------------------------------


def test_like_another_takes_over_what_it_has(convert: Convert, tmp_path: Path) -> None:
    """Order of entries, size of pictures, type of columns are the pattern's; what it has not is left out."""
    rich, extra = made_episode(3, frames=7, size=64), {"reward": np.zeros(7, np.float32)}
    poor = dataclasses.replace(
        made_episode(8, frames=7, size=16, cameras=1),
        state=rich.state[:, :2], state_names=("gripper.pos", "elbow"), extra=extra,
    )  # fmt: skip
    pattern, source = ours(tmp_path / "pattern", [poor]), ours(tmp_path / "source", [rich])
    words = ("--like", pattern, "--rename", "elbow_flex.pos=elbow", "next.reward=reward")
    misfit = refused(convert(source, tmp_path / "set", *words), "elbow_flex.pos", code="other_features")
    assert "action: it lacks elbow_flex.pos" in misfit["message"]
    poor = dataclasses.replace(
        poor, action_names=tuple(n.replace("elbow_flex.pos", "elbow") for n in poor.action_names)
    )
    shutil.rmtree(pattern)
    ours(pattern, [poor])
    run = convert(source, tmp_path / "set", *words)
    assert run.code == 0, run.stdout
    left = {name.split(":")[0] for name in run.result["left_out"]}
    assert left == {*rich.state_names[:2], *rich.state_names[3:5], "wrist", "next.done", "mug.pose", "contacts"}
    (read,) = open_dataset(tmp_path / "set")
    np.testing.assert_array_equal(read.state, rich.state[:, [5, 2]])
    np.testing.assert_array_equal(read.action, rich.action)
    np.testing.assert_array_equal(read.extra["reward"], rich.extra["next.reward"])
    assert set(read.images) == {"front"}
    expected = np.array([resized(picture, (16, 16)) for picture in rich.images["front"]])
    assert np.abs(read.images["front"].astype(int) - expected).mean() < 6
    assert convert(pattern, tmp_path / "set").result["episodes"] == 2  # now they are one


def test_what_does_not_fit_is_listed(convert: Convert, tmp_path: Path) -> None:
    pattern, source = ours(tmp_path / "pattern", mixed()), umi(tmp_path / "cup.zarr.zip")
    run = convert(source, tmp_path / "set", "--like", pattern, "--rename", "tcp=mug.pose")
    error = refused(
        run,
        "60 frames a second, not 10 (--every 6",
        "state: it lacks shoulder_pan.pos",
        "camera: it lacks front, wrist",
    )
    assert "column mug.pose is 6 × float64, not 7 × float64" in error["message"]
    assert "robot0_gripper_width" in error["remedy"]
    assert "camera0" in error["remedy"]
    assert not (tmp_path / "set").exists()
    assert not (tmp_path / "set.json").exists()


def test_numbers_too_large_for_the_pattern_are_refused(convert: Convert, tmp_path: Path) -> None:
    """NumPy would make them small, or negative, without a word."""
    made = made_episode(0, frames=3, cameras=0)
    small = dataclasses.replace(made, extra={"count": np.array([0, -1, 2], np.int32)})
    pattern = ours(tmp_path / "pattern", [small])
    fits = ours(tmp_path / "fits", [dataclasses.replace(made, extra={"count": np.array([5, -6, 7])})])
    assert convert(fits, tmp_path / "set", "--like", pattern).code == 0
    (read,) = open_dataset(tmp_path / "set")
    assert (read.extra["count"].dtype, read.extra["count"].tolist()) == (np.int32, [5, -6, 7])
    large = ours(tmp_path / "large", [dataclasses.replace(made, extra={"count": np.array([5, 6, 1 << 40])})])
    refused(convert(large, tmp_path / "set2", "--like", pattern), str(large), "count", "int32", code="other_features")
    assert not (tmp_path / "set2").exists()


def test_every_third_frame(convert: Convert, tmp_path: Path) -> None:
    made = made_episode(1, frames=8)
    convert(ours(tmp_path / "own", [dataclasses.replace(made, rate_hz=30)]), tmp_path / "set", "--every", 3)
    (read,) = open_dataset(tmp_path / "set")
    assert read.rate_hz == 10
    np.testing.assert_array_equal(read.state, made.state[[0, 3, 6]])
    np.testing.assert_array_equal(read.action, made.action[[2, 5, 7]])
    np.testing.assert_array_equal(read.extra["mug.pose"], made.extra["mug.pose"][[0, 3, 6]])
    assert read.extra["next.done"].tolist() == [False, False, True]
    assert np.abs(read.images["front"].astype(int) - made.images["front"][[0, 3, 6]]).mean() < 5
    refused(convert(tmp_path / "own", tmp_path / "set2", "--every", 4), "7.5 frames", code="bad_rate")


def test_pictures_are_cut_to_the_middle_not_squeezed() -> None:
    picture = np.zeros((40, 80, 3), np.uint8)
    picture[:, 20:60] = 255
    assert (resized(picture, (20, 20)) == 255).all()
    assert resized(picture, (20, 20)).shape == (20, 20, 3)
    assert resized(picture, (40, 80)) is picture
    assert resized(picture, (100, 30)).shape == (100, 30, 3)


def test_frames_are_those_of_the_whole_film(tmp_path: Path) -> None:
    fitted = Fitted(open_dataset(umi(tmp_path / "cup.zarr.zip")), Wishes({"camera0": "front"}, every=2))
    whole = fitted.read(0).images["front"]
    np.testing.assert_array_equal(whole, moving(0, 9, 24)[[0, 2, 4]])
    np.testing.assert_array_equal(fitted.frames(0, "front", [2, 0]), whole[[2, 0]])
    assert [fitted.length(number) for number in range(2)] == [3, 2]


def test_a_column_that_is_damaged_can_be_left_out(convert: Convert, tmp_path: Path) -> None:
    source = umi(tmp_path / "cup.zarr.zip", force=np.full((9, 2), np.nan))
    refused(convert(source, tmp_path / "set"), str(source), "force", code="bad_dataset")
    assert not (tmp_path / "set").exists()
    run = convert(source, tmp_path / "set", "--leave-out", "force", "camera0", "--rename", "tcp=hand")
    assert "force: as asked for" in run.result["left_out"]
    dataset = open_dataset(tmp_path / "set")
    assert (set(dataset.features.extra), dataset.features.cameras) == ({"hand"}, {})


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--rename", "nothing=x"), "no_such_name"),
        (("--leave-out", "nothing"), "no_such_name"),
        (("--rename", "tcp"), "bad_value"),
        (("--rename", "tcp="), "bad_value"),
        (("--rename", "tcp=a", "tcp=b"), "bad_value"),
        (("--rename", "camera0=../up"), "bad_value"),
        (("--rename", "tcp=index"), "bad_value"),
        (("--rename", "robot0_eef_pos_0=robot0_eef_pos_1"), "bad_value"),
        (("--leave-out", *(f"robot0_eef_pos_{k}" for k in range(3)), "robot0_gripper_width"), "bad_value"),
        (("--every", "0"), "bad_value"),
        (("--every", "7"), "bad_rate"),
        (("--rate-hz", "nan"), "bad_value"),
        (("--rate-hz", "29.97"), "bad_rate"),
        (("--task", " "), "bad_value"),
        (("--task", "a\nb"), "bad_value"),
        (("--like", "missing"), "no_such_path"),
        (("--layout", "tfds"), "usage"),
    ],
)
def test_words_that_make_no_sense(convert: Convert, tmp_path: Path, words: tuple[str, ...], code: str) -> None:
    refused(convert(umi(tmp_path / "cup.zarr.zip"), tmp_path / "set", *words), code=code)
    assert {path.name for path in tmp_path.iterdir()} == {"cup.zarr.zip"}


def test_a_rate_that_the_source_contradicts(convert: Convert, tmp_path: Path) -> None:
    refused(convert(ours(tmp_path / "own", mixed()), tmp_path / "set", "--rate-hz", 5), "10 frames", code="bad_value")


# --- places ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Datasets ``own``, with a failure, and ``gr00t``, to be copied."""
    place = tmp_path_factory.mktemp("small")
    ours(place / "own", [made_episode(k, frames=2, cameras=0, success=k > 0) for k in range(2)])
    ours(place / "gr00t", [made_episode(0, frames=2, cameras=0)], "gr00t")
    return place


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("own", "own"),
        ("own", "own_failures"),
        ("own_failures", "own"),
        ("own", "own/inside"),
        ("own/../link", "own"),
        ("inner/own", "inner"),
        ("missing", "set"),
        ("own", "cup.zarr.zip"),
        ("own", "demonstrated"),
        ("own", "other_failures"),
        ("own", "taken"),
        ("pipe", "set"),
        ("own", "gr00t"),
        ("own", "stranger"),
        ("own", "photos"),
        ("photos", "set"),
        ("empty", "set"),
        ("own", "/"),
    ],
)
def test_places_that_are_refused(convert: Convert, tmp_path: Path, small: Path, source: str, target: str) -> None:
    for name in ("own", "other", "demonstrated", "inner/own", "stranger"):
        for end in ("", "_failures"):
            shutil.copytree(small / f"own{end}", tmp_path / f"{name}{end}")
    shutil.copytree(small / "gr00t", tmp_path / "gr00t")
    shutil.copytree(small / "own", tmp_path / "taken_failures")  # successes, whatever it is called
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
    (tmp_path / "demonstrated.json").write_text('{"format": "pocketworld.demonstrations"}')
    info = tmp_path / "stranger" / "meta" / "info.json"
    info.write_text(json.dumps({k: v for k, v in json.loads(info.read_text()).items() if k != "pocketworld"}))
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "me.jpg").write_bytes(b"me")
    shutil.copytree(tmp_path / "stranger", tmp_path / "empty")
    info = tmp_path / "empty" / "meta" / "info.json"
    info.write_text(json.dumps(json.loads(info.read_text()) | {"total_episodes": 0}))
    (tmp_path / "link").symlink_to(tmp_path / "own")
    umi(tmp_path / "cup.zarr.zip")

    def files() -> dict[str, bytes]:
        paths = (path for path in tmp_path.rglob("*") if path.is_file() and path.name != ".lock")
        return {str(path): path.read_bytes() for path in paths}

    before = files()
    refused(convert(tmp_path / source, tmp_path / target), str(tmp_path) if target != "/" else "/")
    assert files() == before


# --- killed ----------------------------------------------------------------------------------------------------------


def test_a_killed_run_goes_on_where_it_was(convert: Convert, tmp_path: Path) -> None:
    source = ours(
        tmp_path / "own", [made_episode(k, frames=20, size=32, cameras=1, success=k % 5 > 0) for k in range(24)]
    )
    whole, killed = tmp_path / "whole" / "set", tmp_path / "killed" / "set"
    assert convert(source, whole).code == 0
    running = subprocess.Popen(
        command("convert", source, killed), env=environment(False), stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while len(list((killed / ".journal").glob("*.zip"))) < 3:
        assert running.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    waiting = len(list((killed / ".journal").glob("*.zip")))
    assert 3 <= waiting < 24
    refused(convert(killed, tmp_path / "x"), "is not finished", code="unfinished_dataset")
    result = convert(source, killed).result
    assert (result["known"], result["added"]) == (waiting, 24 - waiting)
    assert tree(killed) == tree(whole)
    assert (killed.parent / "set.json").read_bytes() == (whole.parent / "set.json").read_bytes()


@pytest.mark.parametrize("after", [2, 6, 9, 13])
def test_killed_at_any_file(convert: Convert, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Ctrl-C at the n-th file that is given its name, in the journal, the failures, the dataset."""
    made = [made_episode(k, frames=4, cameras=1, success=k != 1) for k in range(3)]
    source, whole, killed = ours(tmp_path / "own", made), tmp_path / "a" / "set", tmp_path / "b" / "set"
    assert convert(source, whole).code == 0
    count, real = 0, Path.replace

    def replace(self: Path, target: Path) -> Path:
        nonlocal count
        count += 1
        if count > after:
            raise KeyboardInterrupt
        return real(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", replace)
        assert convert(source, killed).code == 130
    result = convert(source, killed).result
    assert (result["episodes"], result["failures"]) == (2, 1)
    assert tree(killed) == tree(whole)


# --- hostile ---------------------------------------------------------------------------------------------------------


def _cut(name: str, keep: float) -> Callable[[Path], None]:
    def change(source: Path) -> None:
        data = (source / name).read_bytes()
        (source / name).write_bytes(data[: int(len(data) * keep)])

    return change


def _info(**more: Any) -> Callable[[Path], None]:
    def change(source: Path) -> None:
        path = source / "meta" / "info.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | more))

    return change


def _rows(name: str, value: Any) -> Callable[[Path], None]:
    def change(source: Path) -> None:
        path = source / "meta" / "episodes" / "chunk-000" / "file-000.parquet"
        table = pq.read_table(path)
        pq.write_table(table.set_column(table.column_names.index(name), name, pa.array([value] * len(table))), path)

    return change


def _feature(key: str, **more: Any) -> Callable[[Path], None]:
    def change(source: Path) -> None:
        path = source / "meta" / "info.json"
        info = json.loads(path.read_text())
        info["features"][key] = info["features"].get(key, {}) | more
        path.write_text(json.dumps(info))

    return change


FILM = "videos/observation.images.front/chunk-000/file-000.mp4"
HOSTILE: dict[str, Callable[[Path], None]] = {
    "a table cut short": _cut("data/chunk-000/file-000.parquet", 0.6),
    "a film cut short": _cut(FILM, 0.6),
    "an empty film": _cut(FILM, 0),
    "info cut short": _cut("meta/info.json", 0.9),
    "a rate in words": _info(fps="often"),
    "a version of nobody": _info(codebase_version="v9"),
    "giant counts": _info(total_episodes=1 << 60),
    "paths that climb": _info(data_path="../../{chunk_index:03d}"),
    "giant pictures": _feature("observation.images.front", dtype="video", shape=[1 << 20, 1 << 20, 3]),
    "pictures of another size": _feature("observation.images.front", shape=[4096, 4096, 3]),
    "a giant state": _feature("observation.state", shape=[1 << 40]),
    "a column that is missing": _feature("ghost", dtype="float32", shape=[1], names=None),
    "a giant length": _rows("length", 1 << 40),
    "a length in words": _rows("length", "many"),
    "seconds without end": _rows("seconds", float("inf")),
    "an index below zero": _rows("run_index", -5),
    "a recipe that is none": _rows("recipe", "{"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_datasets(convert: Convert, tmp_path: Path, name: str) -> None:
    source = ours(tmp_path / "quelle ü", [made_episode(k, frames=5) for k in range(2)])
    HOSTILE[name](source)
    refused(convert(source, tmp_path / "set"), str(source))
    assert not (tmp_path / "set" / "meta").exists()
    if "film" not in name and "pictures" not in name:  # all else is seen before anything is written
        assert not (tmp_path / "set").exists()
        assert not (tmp_path / "set.json").exists()


def test_seeds_and_words_that_no_table_can_hold(convert: Convert, tmp_path: Path) -> None:
    source = ours(tmp_path / "own", [made_episode(0, frames=4, cameras=0)], "gr00t")
    lines = json.loads((source / "meta" / "episodes.jsonl").read_text())
    (source / "meta" / "episodes.jsonl").write_text(json.dumps(lines | {"seed": 1 << 70}) + "\n")
    assert convert(source, tmp_path / "set").code == 0
    (source / "meta" / "tasks.jsonl").write_text('{"task_index": 0, "task": "half a \\ud83d sign"}\n')
    refused(convert(source, tmp_path / "set2"), str(source), "no Unicode")


@pytest.mark.parametrize("keep", [0.0, 0.1, 0.5, 0.95])
def test_a_zip_cut_short(convert: Convert, tmp_path: Path, keep: float) -> None:
    source = umi(tmp_path / "cup.zarr.zip")
    source.write_bytes(source.read_bytes()[: int(source.stat().st_size * keep)])
    refused(convert(source, tmp_path / "set"), str(source))
    assert not (tmp_path / "set").exists()


def _put(name: str, values: Any) -> Callable[[Any], None]:
    def change(file: Any) -> None:
        del file[name]
        file[name] = values

    return change


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (_put("data/demo_1/actions", np.full((7, 7), np.nan)), "not finite"),
        (_put("data/demo_1/obs/object", np.zeros((2, 10))), "demo_1/obs/object"),
        (_put("data/demo_0/actions", np.array([b"a"] * 6)), "no actions"),
        (_put("data", np.zeros(3)), "no group data"),
    ],
)
def test_hostile_hdf5(convert: Convert, tmp_path: Path, change: Callable[[Any], None], word: str) -> None:
    source = write_hdf5(tmp_path / "größe 1.hdf5", change)
    refused(convert(source, tmp_path / "set"), str(source), word, code="bad_dataset")
    assert {path.name for path in tmp_path.iterdir()} == {source.name}


@pytest.mark.parametrize("keep", [0.0, 0.1, 0.5, 0.95])
def test_an_hdf5_cut_short(convert: Convert, tmp_path: Path, keep: float) -> None:
    source = write_hdf5(tmp_path / "lift.hdf5")
    source.write_bytes(source.read_bytes()[: int(source.stat().st_size * keep)])
    refused(convert(source, tmp_path / "set"), str(source))
    assert not (tmp_path / "set").exists()


def test_a_source_that_breaks_off_in_its_pictures_can_be_mended(convert: Convert, tmp_path: Path) -> None:
    source = ours(tmp_path / "own", mixed())
    film = (source / FILM).read_bytes()
    _cut(FILM, 0.7)(source)
    refused(convert(source, tmp_path / "set"), str(source / FILM))
    (source / FILM).write_bytes(film)
    assert convert(source, tmp_path / "set").result["episodes"] == 2


def test_tiny_pictures(convert: Convert, tmp_path: Path) -> None:
    source = umi(
        tmp_path / "cup.zarr.zip", camera0_rgb=moving(0, 9, 24)[:, :1, :1], camera1_rgb=moving(0, 9, 24)[:, :3, :5]
    )
    result = convert(source, tmp_path / "set").result
    assert result["episodes"] == 2
    assert open_dataset(tmp_path / "set").features.cameras == {"camera0": (1, 1), "camera1": (3, 5)}


# --- the README ------------------------------------------------------------------------------------------------------


def test_the_commands_of_the_readme(convert: Convert, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With small datasets where it has them."""
    lines = re.findall(r"^pocketworld convert (.*)$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert lines
    monkeypatch.chdir(tmp_path)
    for line in lines:
        words = shlex.split(line)
        if not Path(words[0]).exists():
            umi(Path(words[0])) if words[0].endswith(".zip") else ours(Path(words[0]), mixed())
        run = convert(*words)
        assert run.code == 0, run.stdout
        assert run.result["episodes"] == len(open_dataset(Path(words[1])))
