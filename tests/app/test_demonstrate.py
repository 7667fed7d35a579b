"""``pocketworld demonstrate`` and ``replay``: datasets that grow, survive being killed, and are played again."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from app import demonstrate_stage as stage
from app.project import Project
from policies.dataset import open_dataset
from simulation.episode import Episode
from tests.conftest import Run, command, environment
from tests.ray_cluster import needs_ray, ray_cluster
from tests.robot_bench import VARY, project_at

Shell = Callable[..., Run]
TASK = ("--task", "place block_1 in bowl_1", "--seed", "3")
QUICK = (*TASK, "--cameras", "none", "--vary", *VARY)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a scene, with a space and an umlaut in its path."""
    return project_at(tmp_path_factory.mktemp("demonstrate") / "Küche eins").folder


def _episodes(folder: Path) -> list[Episode]:
    return list(open_dataset(folder))


def _same(first: Episode, second: Episode) -> bool:
    return (
        first.recipe == second.recipe
        and np.array_equal(first.action, second.action)
        and np.array_equal(first.state, second.state)
    )


def _files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def test_a_dataset_grows_and_ends_the_same_for_any_number_of_processes(
    project: Path, shell: Shell, tmp_path: Path
) -> None:
    one, two = tmp_path / "eins" / "data", tmp_path / "zwei" / "data"
    first = shell("demonstrate", project, *QUICK, "--count", 3, "--jobs", 1, "--out", one, "--json")
    assert first.code == 0, first.stdout + first.stderr
    result = first.result
    assert result["successes"] == 3
    assert result["attempts"] == 3 + sum(result["failures"].values())
    assert set(result) >= {"attempts", "successes", "failures", "seconds", "dataset", "skipped"}
    assert result["dataset"] == str(one)
    second = shell("demonstrate", project, *QUICK, "--count", 3, "--jobs", 2, "--out", two, "--json")
    assert second.result["successes"] == 3
    assert _files(one) == _files(two)
    more = shell("demonstrate", project, *QUICK, "--count", 5, "--jobs", 1, "--out", one, "--json")
    assert more.result["successes"] == 5
    old, new = _episodes(two), _episodes(one)
    assert all(map(_same, old, new))
    assert len({episode.recipe for episode in new}) == 5
    unchanged = shell("demonstrate", project, *QUICK, "--count", 4, "--jobs", 1, "--out", one, "--json")
    assert unchanged.result["successes"] == 5


def test_a_killed_run_goes_on_where_it_was(project: Path, shell: Shell, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole" / "data", tmp_path / "killed" / "data"
    assert shell("demonstrate", project, *QUICK, "--count", 4, "--jobs", 1, "--out", whole).code == 0
    words = command("demonstrate", project, *QUICK, "--count", 4, "--jobs", 1, "--out", killed, "--json")
    running = subprocess.Popen(
        words, env=environment(False), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL
    )
    journal = killed / ".journal"
    deadline = time.monotonic() + 120
    while not (journal.is_dir() and any(journal.glob("*-success.zip"))):
        assert running.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    assert any(journal.glob("*.zip"))
    again = shell("demonstrate", project, *QUICK, "--count", 4, "--jobs", 1, "--out", killed, "--json")
    assert again.result["successes"] == 4
    assert _files(whole) == _files(killed)


def test_an_episode_is_filmed_and_played_again(project: Path, shell: Shell, tmp_path: Path) -> None:
    made = shell(
        "demonstrate", project, *TASK, "--vary", *VARY, "--count", 1, "--image-size", 32, "--jobs", 1, "--json"
    )
    assert made.code == 0, made.stdout + made.stderr
    dataset = Path(made.result["dataset"])
    assert dataset.parent == project / "episodes"
    (episode,) = _episodes(dataset)
    assert episode.images["front"].shape == (len(episode), 32, 32, 3)
    assert episode.task == "put the block in the bowl"
    film = tmp_path / "Film ä.mp4"
    again = shell("replay", dataset, "--episode", 0, "--video", film, "--size", 64, "--json")
    assert again.code == 0, again.stdout + again.stderr
    assert again.result["same"] is True
    assert again.result["success"] is True
    import av

    with av.open(str(film)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == len(episode) + 1
    assert frames[0].shape == (64, 128, 3)
    assert np.std(frames[0]) > 10


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--task", "place block_1 in the sea"), "bad_task"),
        (("--task", "dance"), "bad_task"),
        ((*QUICK, "--robot", "r2d2"), "bad_value"),
        ((*QUICK, "--robot", "missing.toml"), "bad_robot"),
        ((*QUICK, "--count", "0"), "bad_value"),
        ((*QUICK, "--rate-hz", "7"), "bad_value"),
        ((*QUICK, "--image-size", "1"), "bad_value"),
        ((*QUICK, "--vary", "colour"), "bad_value"),
        (("--task", "stack box_1 on block_1", "--cameras", "none", "--vary", "light"), "no_success"),
    ],
)
def test_what_cannot_be_demonstrated_says_why(
    project: Path, shell: Shell, tmp_path: Path, words: tuple[str, ...], code: str
) -> None:
    run = shell("demonstrate", project, *words, "--out", tmp_path / "out", "--jobs", 1, "--json")
    assert run.code != 0
    assert run.errors[0]["code"] == code, run.errors
    assert run.errors[0]["remedy"]
    assert "Traceback" not in run.stdout + run.stderr
    if code != "no_success":  # whose failures are kept, to be looked at
        assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".bank-")] == []


def test_a_task_that_makes_sense_in_few_cousins_is_added_to(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []

    def try_some(order: stage.Order, indices: tuple[int, ...]) -> list[stage.Tried]:
        tried.extend(indices)
        found = iter(real(order, tuple(index for index in indices if index % 90 == 0)))
        return [next(found) if index % 90 == 0 else ("in the way", None) for index in indices]

    real = stage.try_some
    monkeypatch.setattr(stage, "try_some", try_some)
    settings = stage.DemonstrateSettings(task=TASK[1], seed=3, cameras="none", vary=VARY, count=1)
    out = tmp_path / "data"
    stage.demonstrate(Project.open(project), settings, out=out)
    assert max(tried) < 90
    tried.clear()
    added = stage.demonstrate(Project.open(project), dataclasses.replace(settings, count=2), out=out)
    assert added.successes == 2
    assert added.skipped["in the way"] >= 89
    first, second = (episode.index for episode in _episodes(out))
    assert second - first >= 90
    tried.clear()
    stage.demonstrate(Project.open(project), dataclasses.replace(settings, count=3), out=out)
    assert min(tried) == second + 1  # those that made no sense are not tried again


def test_other_settings_do_not_mix(project: Path, shell: Shell, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert shell("demonstrate", project, *QUICK, "--count", 1, "--jobs", 1, "--out", out).code == 0
    before = _files(out)
    run = shell("demonstrate", project, *QUICK, "--count", 2, "--gap-mm", 30, "--jobs", 1, "--out", out, "--json")
    assert run.errors[0]["code"] == "other_settings"
    assert "gap_mm" in run.errors[0]["message"]
    assert _files(out) == before


def test_a_dataset_of_another_version_is_refused(project: Path, shell: Shell, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert shell("demonstrate", project, *QUICK, "--count", 1, "--jobs", 1, "--out", out).code == 0
    record = out.with_name("out.json")
    record.write_text(record.read_text().replace('"version": 2', '"version": 1'))
    before = _files(out)
    for words in (("demonstrate", project, *QUICK, "--count", 2), ("train", project, "--task", TASK[1])):
        option = "--out" if words[0] == "demonstrate" else "--dataset"
        run = shell(*words, option, out, "--json")
        assert run.code != 0
        assert run.errors[0]["code"] == "other_version"
        assert "out.json" in run.errors[0]["remedy"]
    assert _files(out) == before


def test_replay_refuses_what_it_cannot_play(project: Path, shell: Shell, tmp_path: Path) -> None:
    assert shell("replay", tmp_path / "nothing", "--json").errors[0]["code"] == "bad_dataset"
    out = tmp_path / "out"
    assert shell("demonstrate", project, *QUICK, "--count", 1, "--jobs", 1, "--out", out).code == 0
    assert shell("replay", out, "--episode", 7, "--json").errors[0]["code"] == "bad_value"
    assert shell("replay", out, "--video", tmp_path / "film.gif", "--json").errors[0]["code"] == "bad_value"
    record = out.with_name("out.json")
    record.write_text(json.dumps({**json.loads(record.read_text(encoding="utf-8")), "scene": "gone"}), encoding="utf-8")
    assert shell("replay", out, "--json").code == 3


@needs_ray
@pytest.mark.slow
def test_a_cluster_makes_the_same_dataset_though_a_node_dies(project: Path, shell: Shell, tmp_path: Path) -> None:
    one, two = tmp_path / "eins" / "data", tmp_path / "zwei" / "data"
    assert shell("demonstrate", project, *QUICK, "--count", 8, "--jobs", 1, "--out", one).code == 0
    with ray_cluster(1, 1) as (cluster, (_, second)):
        words = command("demonstrate", project, *QUICK, "--count", 8, "--out", two, "--json")
        words += ["--cluster", cluster.address]
        killed = False
        with subprocess.Popen(words, env=environment(False), stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if not killed and " of 8 demonstrations" in json.loads(line).get("message", ""):
                    second.kill()
                    killed = True
        assert process.returncode == 0
        assert killed
    assert _files(one) == _files(two)


def test_a_table_is_cleared_where_some_things_are_missing(project: Path, shell: Shell, tmp_path: Path) -> None:
    words = ("--task", "clear the table into bowl", "--seed", "3", "--cameras", "none", "--vary", *VARY, "clutter")
    made = shell("demonstrate", project, *words, "--count", 1, "--jobs", 1, "--out", tmp_path / "cleared", "--json")
    assert made.code == 0, made.stdout + made.stderr
    again = shell(
        "demonstrate", project, "--task", "clear table in bowl_1", *words[2:], "--count", 1, "--jobs", 1,
        "--out", tmp_path / "cleared", "--json",
    )  # fmt: skip
    assert again.code == 0, again.stdout + again.stderr  # the same task in other words


def test_an_episode_is_not_replayed_in_another_scene(project: Path, shell: Shell, tmp_path: Path) -> None:
    folder = project / "episodes" / "moved"
    made = shell("demonstrate", project, *QUICK, "--count", 1, "--jobs", 1, "--out", folder)
    assert made.code == 0, made.stdout + made.stderr
    assert shell("mount", project, "--xyz", 0.1, -0.4, 0).code == 0
    run = shell("replay", folder)
    assert run.code not in (0, 1)
    assert "The scene has changed" in run.stderr
    assert shell("mount", project, "--clear").code == 0
    assert shell("replay", folder).code == 0
