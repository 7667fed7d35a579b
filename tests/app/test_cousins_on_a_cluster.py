"""``pocketworld cousins --cluster``: the same recipes, whoever dies; and what is said where there is no cluster."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from simulation.cluster import RAY
from tests.app.scans import fake_scan, half_written
from tests.conftest import Run, command, environment
from tests.ray_cluster import HAS_RAY, eventually, needs_ray, ray_cluster
from tests.test_readme import CLUSTER

Shell = Callable[..., Run]
VARY = ("--vary", "pose", "shape", "light", "camera", "appearance")
COUNT = 2000


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of two cubes, with a space and an umlaut in its path."""
    folder = tmp_path_factory.mktemp("cluster") / "zwei Würfel"
    scan = fake_scan(folder / "scans" / "scan")
    words = command("reconstruct", scan, "--out", folder, "--json")
    subprocess.run(words, env=environment(True), check=True, capture_output=True, stdin=subprocess.DEVNULL)
    return folder / "scan"


@pytest.fixture
def project(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "zwei Würfel" / "scan"))


def _recipes(project: Path) -> bytes:
    return (project / "cousins" / "recipes.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--cluster", "127.0.0.1:6379", "--jobs", 2), "usage"),
        (("--cluster", "auto", "--jobs", 1), "usage"),
        (("--cluster", "head"), "bad_value"),
        (("--cluster", "local"), "bad_value"),
        (("--cluster", ""), "bad_value"),
        (("--cluster", "ray://10.0.0.1:10001"), "bad_value"),
        (("--cluster",), "usage"),
    ],
)
def test_wrong_words(project: Path, shell: Shell, words: tuple[object, ...], code: str) -> None:
    done = shell("cousins", project, "--json", *VARY, *words)
    assert done.code == 2
    assert [error["code"] for error in done.errors] == [code], done.stdout
    assert done.errors[0]["remedy"]
    assert not (project / "cousins").exists()


@pytest.mark.skipif(HAS_RAY, reason="Ray is installed here")
def test_without_ray(project: Path, shell: Shell) -> None:
    done = shell("cousins", project, "--cluster", "127.0.0.1:6379", "--json")
    assert done.code == 6
    assert [error["code"] for error in done.errors] == ["missing_package"]
    assert done.errors[0]["remedy"] == f'{sys.executable} -m pip install "{RAY}"'
    assert "Traceback" not in done.stdout + done.stderr
    assert not (project / "cousins").exists()
    assert half_written(project) == set()


@needs_ray
def test_without_a_cluster(project: Path, shell: Shell) -> None:
    started = time.monotonic()
    done = shell("cousins", project, "--cluster", "127.0.0.1:1", "--json")
    assert done.code == 8
    assert [error["code"] for error in done.errors] == ["no_cluster"]
    assert time.monotonic() - started < 20
    told = shell("cousins", project, "--cluster", "127.0.0.1:1")
    assert told.code == 8
    assert "No Ray cluster at 127.0.0.1:1: Connection refused." in told.stderr
    assert "ray start --head" in told.stderr
    assert "Traceback" not in done.stderr + told.stderr
    assert told.stdout == ""
    assert not (project / "cousins").exists()
    assert half_written(project) == set()


@pytest.fixture(scope="module")
def expected(made: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The recipes that one process on this computer writes."""
    project = Path(shutil.copytree(made, tmp_path_factory.mktemp("one") / "scan"))
    words = command("cousins", project, "--count", COUNT, "--jobs", 1)
    subprocess.run(words, env=environment(True), check=True, capture_output=True, stdin=subprocess.DEVNULL)
    return _recipes(project)


@needs_ray
@pytest.mark.slow
@pytest.mark.parametrize("step", ["trying how things stand", f"of {COUNT} cousins"])
def test_a_node_killed_in_the_middle_changes_nothing(
    project: Path, shell: Shell, expected: bytes, tmp_path: Path, step: str
) -> None:
    assert expected.count(b"\n") == COUNT
    words = command("cousins", project, "--count", COUNT, "--json")
    with ray_cluster(1, 1) as (cluster, (head, second)), (tmp_path / "stderr").open("wb") as stderr:
        words += ["--cluster", cluster.address]
        events, killed = [], 0.0
        with subprocess.Popen(words, env=environment(True), stdout=subprocess.PIPE, stderr=stderr) as process:
            assert process.stdout is not None
            for line in process.stdout:
                events.append(json.loads(line))
                if not killed and step in events[-1].get("message", ""):
                    eventually(lambda: bool(second.busy()) and bool(head.busy()), 20)
                    second.kill()
                    killed = events[-1]["fraction"]
        assert process.returncode == 0
        assert 0.0 < killed < 0.7
        assert not second.pids()
    assert _recipes(project) == expected
    assert events[-1]["event"] == "result"
    assert events[-1]["status"] == "done"
    assert {event["event"] for event in events} == {"progress", "result"}
    assert (tmp_path / "stderr").read_text(encoding="utf-8") == ""
    again = shell("cousins", project, "--count", COUNT, "--jobs", 2, "--json")
    assert again.result["status"] == "unchanged"


@needs_ray
@pytest.mark.slow
def test_errors_on_a_node_the_readmes_command_and_all_ways_to_stop(project: Path, shell: Shell) -> None:
    with ray_cluster(1, 1) as (cluster, nodes):
        words = ("--count", 5, "--cluster", cluster.address, "--json")
        impossible = shell("cousins", project, *words, "--vary", "pose", "--edge-mm", 450, "--attempts", 3)
        assert impossible.code == 7
        assert [error["code"] for error in impossible.errors] == ["no_valid_cousin"]
        assert "--vary" in impossible.errors[0]["remedy"]
        assert impossible.stderr == ""
        named = {"pocketworld": "", "worlds/desk": project, "HEAD:6379": cluster.address, "100000": 5}
        told = [named.get(word, word) for word in shlex.split(CLUSTER[-1])]
        assert shell(*told[1:], "--json", *VARY).result["count"] == 5
        assert shell("cousins", project, *words, *VARY).result["status"] == "unchanged"
        before = _recipes(project)
        for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)):
            endless = command("cousins", project, "--count", 1_000_000, "--cluster", cluster.address, "--json", *VARY)
            with subprocess.Popen(
                endless, env=environment(True), stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
            ) as process:
                assert process.stdout is not None
                assert process.stderr is not None
                while b" of 1000000" not in process.stdout.readline():
                    assert process.poll() is None
                if number == signal.SIGKILL:
                    process.kill()
                else:
                    os.killpg(process.pid, number)  # as a terminal does
                rest = process.stdout.read().splitlines()
                assert process.wait(30) == code
                assert process.stderr.read() == b""
            if number != signal.SIGKILL:
                assert json.loads(rest[-1])["code"] in ("interrupted", "terminated")
                assert half_written(project) == set()
            eventually(lambda: not any(node.busy() for node in nodes), 20)
            assert _recipes(project) == before
        assert shell("cousins", project, *words, *VARY).result["status"] == "unchanged"
        assert half_written(project) == set()
