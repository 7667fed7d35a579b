"""``pocketworld cousins``: recipes, contact sheet, one cousin as a scene; errors that say what to do."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest

from tests.app.scans import fake_scan, half_written
from tests.conftest import ROOT, Run, command, environment

Shell = Callable[..., Run]
QUICK = ("--vary", "pose", "light", "camera", "appearance")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of two cubes, with a space and an umlaut in its path."""
    folder = tmp_path_factory.mktemp("cousins") / "zwei Würfel"
    scan = fake_scan(folder / "scans" / "scan")
    words = command("reconstruct", scan, "--out", folder, "--json")
    subprocess.run(words, env=environment(True), check=True, capture_output=True, stdin=subprocess.DEVNULL)
    return folder / "scan"


@pytest.fixture
def project(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "zwei Würfel" / "scan"))


def _lines(project: Path) -> list[str]:
    return (project / "cousins" / "recipes.jsonl").read_text(encoding="utf-8").splitlines()


def test_recipes_sheet_and_result(project: Path, shell: Shell) -> None:
    first = shell("cousins", project, "--count", 30, "--jobs", 1, "--json", *QUICK)
    assert first.code == 0, first.stdout + first.stderr
    assert first.result["count"] == 30
    assert first.result["status"] == "done"
    assert set(first.result["rejected"]) <= {"pose", "mount", "camera", "shape", "swap", "clutter", "support"}
    assert first.result["seconds"] > 0
    lines = _lines(project)
    assert len(set(lines)) == 30
    assert [json.loads(line)["index"] for line in lines] == list(range(30))
    assert Path(first.result["contact_sheet"]).read_bytes()[:2] == b"\xff\xd8"
    assert half_written(project) == set()
    again = shell("cousins", project, "--count", 30, "--json", *QUICK)
    assert again.result["status"] == "unchanged"
    other = shell("cousins", project, "--count", 30, "--jobs", 2, "--seed", 1, "--json", *QUICK)
    assert other.result["status"] == "done"
    assert not set(_lines(project)) & set(lines)
    back = shell("cousins", project, "--count", 30, "--jobs", 2, "--json", *QUICK)
    assert back.result["status"] == "done"
    assert _lines(project) == lines


def test_how_things_stand_is_found_once(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import simulation.bank
    from app.cousin_stage import make_cousins
    from app.project import Project
    from simulation.cousins import CousinSettings

    settings = CousinSettings(count=5, vary=("pose", "light"))
    make_cousins(Project.open(project), settings)
    first, build = _lines(project), simulation.bank.build
    monkeypatch.setattr(simulation.bank, "build", None)
    make_cousins(Project.open(project), dataclasses.replace(settings, count=9))
    assert _lines(project)[:5] == first
    with pytest.raises(TypeError):  # another family stands otherwise
        make_cousins(Project.open(project), dataclasses.replace(settings, seed=1))
    kept = project / "cousins" / "bank.json"
    kept.write_text(kept.read_text(encoding="utf-8")[:-20], encoding="utf-8")
    monkeypatch.setattr(simulation.bank, "build", build)
    make_cousins(Project.open(project), dataclasses.replace(settings, count=7))
    assert _lines(project)[:5] == first


def test_one_cousin_becomes_a_scene_of_its_own(project: Path, shell: Shell, tmp_path: Path) -> None:
    assert shell("cousins", project, "--count", 3, "--jobs", 1, *QUICK).code == 0
    out = tmp_path / "Cousin Nr. 2"
    written = shell("cousins", project, "--materialize", 2, "--out", out, "--json")
    assert written.result["scene"] == str(out / "scene.json")
    document = json.loads((out / "scene.json").read_text(encoding="utf-8"))
    jsonschema.validate(document, json.loads((ROOT / "resources" / "scene.schema.json").read_text(encoding="utf-8")))
    assert document["cousin"]["recipe"] == json.loads(_lines(project)[2])
    assert document["robot_mount"] is not None
    assert sorted(path.name for path in out.parent.iterdir() if path.name.startswith(".")) == []
    from simulation.check import check_scene

    assert check_scene(out).passed
    taken = shell("cousins", project, "--materialize", 1, "--out", out, "--json")
    assert taken.code == 5
    assert taken.errors[0]["code"] == "path_in_the_way"
    assert (out / "scene.json").read_text(encoding="utf-8") == json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def test_things_of_another_project_are_swapped_in(project: Path, made: Path, shell: Shell, tmp_path: Path) -> None:
    vary = ("--vary", "swap", "pose")
    words = ("cousins", project, "--count", 8, "--jobs", 1, *vary, "--swap-from", made.name, "--json")
    assert shell(*words, cwd=made.parent).code == 0
    lines = _lines(project)
    number = next(number for number, line in enumerate(lines) if "~" in line)
    written = shell("cousins", project, "--materialize", number, "--out", tmp_path / "one", "--json", cwd=tmp_path)
    assert written.code == 0, written.stdout
    from simulation.check import check_scene

    assert check_scene(tmp_path / "one").passed


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--count", 0), "bad_value"),
        (("--jobs", 0), "bad_value"),
        (("--vary", "poses"), "bad_value"),
        (("--keep", "teapot"), "bad_name"),
        (("--materialize", 0), "usage"),
        (("--materialize", 0, "--out", "new"), "no_stage"),
        (("--swap-from", "nowhere"), "not_found"),
    ],
)
def test_wrong_words(project: Path, shell: Shell, words: tuple[object, ...], code: str) -> None:
    done = shell("cousins", project, "--json", *words)
    assert done.code != 0
    assert [error["code"] for error in done.errors] == [code], done.stdout
    assert not (project / "cousins").exists()
    assert half_written(project) == set()


def test_a_cousin_that_is_not_there(project: Path, shell: Shell, tmp_path: Path) -> None:
    assert shell("cousins", project, "--count", 2, "--jobs", 1, *QUICK).code == 0
    for number in (2, -1):
        done = shell("cousins", project, f"--materialize={number}", "--out", tmp_path / "out", "--json")
        assert done.errors[0]["code"] == "bad_value"
    recipes = project / "cousins" / "recipes.jsonl"
    recipes.write_text("{}\n", encoding="utf-8")
    done = shell("cousins", project, "--materialize", 0, "--out", tmp_path / "out", "--json")
    assert done.errors[0]["code"] == "bad_recipe"
    assert "recipes.jsonl, line 1" in done.errors[0]["message"]
    assert not (tmp_path / "out").exists()


def test_an_empty_scene_has_no_cousins(shell: Shell, tmp_path: Path) -> None:
    shell("reconstruct", fake_scan(tmp_path / "bare", objects=0), "--out", tmp_path / "out")
    done = shell("cousins", tmp_path / "out" / "bare", "--json")
    assert done.errors[0]["code"] == "empty_scene"
    assert done.code == 2


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_killed_in_the_middle_nothing_half_done_is_left_and_no_worker(project: Path, shell: Shell) -> None:
    assert shell("cousins", project, "--count", 5, "--jobs", 1, *QUICK).code == 0
    before = _lines(project)
    words = command("cousins", project, "--count", 100000, "--jobs", 2, "--json", *QUICK)
    with subprocess.Popen(words, env=environment(True), stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if b" of 100000" in line:
                break
        process.send_signal(signal.SIGKILL)
        process.wait()
        deadline = time.monotonic() + 20
        while _group_alive(process.pid) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not _group_alive(process.pid)
    assert _lines(project) == before
    assert shell("cousins", project, "--count", 5, "--jobs", 1, "--json", *QUICK).result["status"] == "unchanged"
    assert half_written(project) == set()


def _group_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
