"""The command line as a person or a program meets it: help, words that are off, what stands on stdout."""

from __future__ import annotations

import inspect
import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import lxml.html
import pytest

from app import stages
from app.cli import COMMANDS
from app.console import JsonConsole, Outcome, program
from app.project import Project
from reconstruction.errors import OutputError
from reconstruction.progress import silent
from tests.app.scans import fake_scan, half_written, tree
from tests.conftest import ROOT, Run, command, environment

Shell = Callable[..., Run]


def test_help_is_quick_and_names_every_command() -> None:
    quickest = 9.0
    plain = {name: value for name, value in environment(False).items() if not name.startswith("COV")}
    for _ in range(5):
        started = time.perf_counter()
        done = subprocess.run(command("--help"), capture_output=True, text=True, env=plain, check=True)
        quickest = min(quickest, time.perf_counter() - started)
    assert all(name in done.stdout for name in COMMANDS)
    assert quickest < 0.5


def test_help_imports_nothing_heavy() -> None:
    code = "import sys; from app.cli import main; main(['--help']); print(','.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    modules = set(done.stdout.splitlines()[-1].split(","))
    assert not modules & {"numpy", "open3d", "cv2", "trimesh", "tyro", "rich", "scipy", "pybullet"}


@pytest.mark.parametrize("name", COMMANDS)
def test_summary_is_the_first_line_of_the_docstring_and_help_shows_it(name: str) -> None:
    code = f"from app.cli import load_command as load; print(load({name!r}).__doc__)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment(True), check=True
    )
    assert inspect.cleandoc(done.stdout).splitlines()[0] == COMMANDS[name]
    shown = subprocess.run(command(name, "--help"), capture_output=True, text=True, env=environment(True), check=True)
    assert " ".join(COMMANDS[name].split()) in " ".join(shown.stdout.split())
    assert "--json" in shown.stdout


def test_version(shell: Shell) -> None:
    assert shell("--version").stdout.startswith("pocketworld 0.")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["reconstrct", "x"], "Did you mean `pocketworld reconstruct`?"),
        (["reconstruct", "--out", "o"], "No scan is named"),
        (["reconstruct", "scan"], "--out"),
        (["reconstruct", "scan", "--out", "o", "--jobs", "many"], "many"),
        (["reconstruct", "scan", "--out", "o", "--jobs", "0"], "--jobs"),
        (["reconstruct", "scan", "--out", "o", "--fusion.voxel-m", "fine"], "fine"),
        (["reconstruct", "scan", "--out", "o", "--colour", "red"], "colour"),
        (["export-scene", "nowhere", "--to", "stl"], "stl"),
        (["export-scene", "nowhere", "--to", "glb"], "no Pocketworld project"),
        (["simulate", "nowhere", "--check"], "no Pocketworld project"),
        (["report", "nowhere"], "no Pocketworld project"),
        (["inspect"], "missing: PATH The phone's export: file, folder or zip."),
        (["reconstruct", "scan", "--out", "o", "--fusion.voxel", "1"], "Perhaps you meant --fusion.voxel-m."),
        (["simulate", "nowhere", "--video", "film.txt"], "film.txt is no name for the film"),
        (["simulate", "nowhere", "--check", "--video", "film"], "ends in .mp4"),
    ],
)
def test_words_that_are_off(shell: Shell, tmp_path: Path, words: list[str], said: str) -> None:
    spoken = shell(*words, cwd=tmp_path)
    assert spoken.code == 2
    assert spoken.stdout == ""
    assert said in spoken.stderr
    assert "Traceback" not in spoken.stderr
    as_json = shell(*words, "--json", cwd=tmp_path)
    assert as_json.code == 2
    (error,) = as_json.errors
    assert said.replace("`", "") in (error["message"] + error["remedy"]).replace("`", "")
    assert error["remedy"]
    for text in (spoken.stderr, error["message"]):
        assert not re.search("--- |---$|[│─╭╮╰╯]", text)  # what is left of a frame
        assert text.count("pocketworld ") <= 2
    assert tree(tmp_path) == set()


def test_stdout_holds_json_only_whatever_native_code_prints(shell: Shell, tmp_path: Path) -> None:
    run = shell("reconstruct", fake_scan(tmp_path / "desk"), "--out", tmp_path / "out", "--json")
    assert run.code == 0
    kinds = [event["event"] for event in run.events]  # every line is JSON, or this fails
    assert kinds[-1] == "result"
    assert set(kinds) == {"progress", "warning", "result"}
    fractions = [event["fraction"] for event in run.events if event["event"] == "progress"]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    (project,) = run.result["projects"]
    assert project["objects"] == 2
    assert project["status"] == "done"
    assert project["warnings"] == ["no up"]
    assert Path(project["scene"]).is_file()


def test_warnings_are_the_same_wherever_one_looks(shell: Shell, tmp_path: Path) -> None:
    run = shell("reconstruct", fake_scan(tmp_path / "desk"), "--out", tmp_path / "out", "--json")
    (project,) = run.result["projects"]
    folder = tmp_path / "out" / "desk"
    page = lxml.html.parse(folder / "report.html")
    said = [item.text_content() for item in page.xpath("//ul[@class='notes']/li")]
    assert said == project["warnings"]
    assert said == [event["message"] for event in run.events if event["event"] == "warning"]
    for name in ("scene.json", "stage.json"):
        assert said == json.loads((folder / "scene" / name).read_text(encoding="utf-8"))["warnings"]
    captured = json.loads((folder / "capture" / "stage.json").read_text(encoding="utf-8"))["warnings"]
    inspected = shell("inspect", tmp_path / "desk", "--json").events
    assert captured == [event["message"] for event in inspected if event["event"] == "warning"]


def test_result_for_people(shell: Shell, tmp_path: Path) -> None:
    run = shell("reconstruct", fake_scan(tmp_path / "desk"), "--out", tmp_path / "out")
    assert run.code == 0
    assert f"{tmp_path / 'out' / 'desk'}: 2 objects" in run.stdout
    assert "report.html" in run.stdout
    assert "chatter" not in run.stdout + run.stderr
    assert "warning" in run.stderr


def test_what_is_said_can_be_pasted(shell: Shell, tmp_path: Path) -> None:
    fake_scan(tmp_path / "my desk")
    run = shell("reconstruct", "my desk", "--out", "the worlds", cwd=tmp_path)
    (line,) = [line for line in run.stdout.splitlines() if "play with it: " in line]
    words = shlex.split(line.partition("play with it: ")[2])
    assert words[-2:] == ["simulate", str(tmp_path / "the worlds" / "my desk")]
    shown = subprocess.run(
        [*words[:-2], "--version"], capture_output=True, text=True, env=environment(True), check=True
    )
    assert shown.stdout.startswith("pocketworld 0.")


@pytest.mark.skipif(sys.platform == "win32", reason="its shell is another")
def test_the_program_is_named_as_it_is_called_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "my venv"
    folder.mkdir()
    monkeypatch.setattr(sys, "executable", str(folder / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert shlex.split(program()) == [str(folder / "python"), "-m", "app.cli"]
    script = folder / "pocketworld"
    script.write_text("#!/bin/sh\n", encoding="utf-8")
    script.chmod(0o755)
    assert program() == "'my venv/pocketworld'"
    monkeypatch.chdir(ROOT)
    assert program() == f"'{script}'"
    (tmp_path / "pocketworld").write_text("#!/bin/sh\n", encoding="utf-8")
    (tmp_path / "pocketworld").chmod(0o755)  # another one is found first
    assert program() == f"'{script}'"
    monkeypatch.setenv("PATH", str(folder))
    assert program() == "pocketworld"


def test_json_names_places_in_full(shell: Shell, tmp_path: Path) -> None:
    fake_scan(tmp_path / "desk", do="fail")
    fake_scan(tmp_path / "good")
    run = shell("reconstruct", "desk", "good", "--out", "out", "--json", cwd=tmp_path)
    (failure,), (project,) = run.result["failed"], run.result["projects"]
    assert failure["scan"] == run.errors[0]["scan"] == str(tmp_path / "desk")
    assert project["scan"] == str(tmp_path / "good")
    assert project["project"] == str(tmp_path / "out" / "good")
    warned = [event for event in run.events if event["event"] == "warning"]
    assert {event["scan"] for event in warned} == {str(tmp_path / "good")}
    sheet = shell("inspect", "good", "--contact-sheet", "sheet.png", "--json", cwd=tmp_path).result["contact_sheet"]
    assert sheet == str(tmp_path / "sheet.png")
    for words, key in (
        (["export-scene", "out/good", "--to", "glb", "--out", "x"], "path"),
        (["report", "out/good"], "report"),
    ):
        assert Path(shell(*words, "--json", cwd=tmp_path).result[key]).is_absolute()


def test_a_place_is_not_named_twice(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    run = shell("reconstruct", "empty", "--out", "out", cwd=tmp_path)
    assert run.code == 4
    assert f"error: {tmp_path / 'empty'} holds no scan" in run.stderr
    assert (run.stdout + run.stderr).count(f"{tmp_path / 'empty'}") == 2  # the error, and the list of what failed


def test_a_stdout_that_nobody_reads_is_no_traceback(tmp_path: Path) -> None:
    scan = fake_scan(tmp_path / "desk")
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        command("reconstruct", scan, "--out", tmp_path / "out", "--json"),
        stdout=writer, stderr=subprocess.PIPE, env=environment(True), timeout=60, check=False,
    )  # fmt: skip
    os.close(writer)
    assert done.returncode not in (0, 139)
    assert b"Traceback" not in done.stderr
    assert half_written(tmp_path) == set()


def test_inspect(shell: Shell, tmp_path: Path) -> None:
    scan = fake_scan(tmp_path / "desk", missing=["no confidence"])
    sheet = tmp_path / "sheet.png"
    run = shell("inspect", scan, "--json", "--contact-sheet", sheet)
    assert run.code == 0
    assert run.result["format"] == "fake"
    colour, confidence = [event["message"] for event in run.events if event["event"] == "warning"]
    assert "record and export the colour pictures" in colour
    assert confidence.startswith("No confidence. Doubtful depth")
    assert sheet.read_bytes().startswith(b"\x89PNG")
    bad = shell("inspect", scan, "--contact-sheet", tmp_path / "sheet.gif", "--json")
    assert bad.code == 2
    assert shell("inspect", scan).stdout.startswith("format: fake")


def test_inspect_of_nothing_and_of_rubbish(shell: Shell, tmp_path: Path) -> None:
    rubbish = tmp_path / "rubbish.r3d"
    rubbish.write_bytes(b"PK\x03\x04 and no more")
    for scan, code in ((tmp_path / "absent", 3), (rubbish, 3), (fake_scan(tmp_path / "x") / "fake.json", 4)):
        run = shell("inspect", scan, "--json")
        assert run.code == code, run.stderr
        assert run.errors[0]["remedy"]
    (tmp_path / "empty").mkdir()
    assert shell("inspect", tmp_path / "empty", "--json").code in (3, 4)


def test_window_without_display(shell: Shell, tmp_path: Path) -> None:
    if not sys.platform.startswith("linux"):
        pytest.skip("only Linux has no display")
    shell("reconstruct", fake_scan(tmp_path / "desk"), "--out", tmp_path / "out")
    run = shell("simulate", tmp_path / "out" / "desk", "--json", env={"DISPLAY": "", "WAYLAND_DISPLAY": ""})
    assert run.code == 6
    assert run.errors[0]["code"] == "no_display"
    assert "--check" in run.errors[0]["remedy"]


def test_check_says_what_stands_still(shell: Shell, tmp_path: Path) -> None:
    shell("reconstruct", fake_scan(tmp_path / "desk"), "--out", tmp_path / "out")
    run = shell("simulate", tmp_path / "out" / "desk", "--check", "--json")
    assert run.code == 0, run.stdout
    assert run.result["passed"] is True
    assert run.result["max_moved_mm"] < 3
    spoken = shell("simulate", tmp_path / "out" / "desk", "--check")
    assert spoken.stdout.startswith("at rest")


def test_check_of_a_scene_that_falls(shell: Shell, tmp_path: Path) -> None:
    shell("reconstruct", fake_scan(tmp_path / "desk"), "--out", tmp_path / "out")
    path = tmp_path / "out" / "desk" / "scene" / "scene.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    document["objects"][0]["scene_from_object"][2][3] += 0.2
    path.write_text(json.dumps(document), encoding="utf-8")
    run = shell("simulate", tmp_path / "out" / "desk", "--check", "--json")
    assert run.code == 7
    assert run.result["passed"] is False
    assert run.result["drift"]["object_01"]["moved_mm"] > 100


def test_flags_say_what_they_do(shell: Shell) -> None:
    shown = " ".join(shell("virtual-scan", "--help").stdout.replace("│", " ").split())
    assert "--truth, --no-truth Also write what is really there" in shown
    assert "--json Print one JSON object" in shown
    shown = " ".join(shell("export-scene", "--help").stdout.replace("│", " ").split())
    assert "--out {None}|PATH Folder to write into; or the file, where its name ends in .glb" in shown


def test_an_export_is_the_file_that_was_named(shell: Shell, tmp_path: Path) -> None:
    shell("reconstruct", fake_scan(tmp_path / "desk"), "--out", "out", cwd=tmp_path)
    for to, name, start in (("glb", "my desk.glb", b"glTF"), ("usd", "my.USDZ", b"PK")):
        run = shell("export-scene", "out/desk", "--to", to, "--out", f"files/{name}", "--json", cwd=tmp_path)
        assert run.result["path"] == str(tmp_path / "files" / name)
        assert (tmp_path / "files" / name).read_bytes().startswith(start)
    assert tree(tmp_path / "files") == {"my desk.glb", "my.USDZ"}
    before = tree(tmp_path)
    for to, name in (("urdf", "my.urdf"), ("usd", "my.usdc"), ("usd", "my.glb"), ("mjcf", "my.xml"), ("sdf", "my.sdf")):
        run = shell("export-scene", "out/desk", "--to", to, "--out", name, "--json", cwd=tmp_path)
        assert run.code == 2
        assert "such as my" in run.errors[0]["remedy"]
    assert tree(tmp_path) == before


def test_a_virtual_scan_names_all_that_it_writes(pocketworld: Callable[..., Run], tmp_path: Path) -> None:
    words = ("virtual-scan", "desk.r3d", "--frames", "2", "--objects", "1", "--rgb-width", "64")
    said = pocketworld(*words, cwd=tmp_path).stdout
    assert {line.split(":")[0] for line in said.splitlines()} == {path.name for path in tmp_path.iterdir()}
    for path in ("desk.r3d", "desk_truth"):
        (tmp_path / path).rename(tmp_path / f"old_{path}")
    assert pocketworld(*words, "--json", cwd=tmp_path).result["truth"] == str(tmp_path / "desk_truth")
    (tmp_path / "desk.r3d").unlink()
    assert "truth" not in pocketworld(*words, "--no-truth", "--json", cwd=tmp_path).result


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux only")
@pytest.mark.parametrize("where", [">&-", ">/dev/full", ">&- 2>&-"])
@pytest.mark.parametrize("words", [["--help"], ["doctor", "--help"], ["inspect", "absent", "--json"], ["inspect", "x"]])
def test_a_stdout_that_is_closed_or_full_is_no_traceback(words: list[str], where: str, tmp_path: Path) -> None:
    done = subprocess.run(
        ["sh", "-c", f'"$@" {where}', "sh", *command(*words)],
        stderr=subprocess.PIPE, env=environment(True), cwd=tmp_path, timeout=60, check=False,
    )  # fmt: skip
    assert b"Traceback" not in done.stderr
    assert b"Exception" not in done.stderr
    assert done.returncode in (0, 1, 3)


def test_json_has_no_word_that_json_has_not() -> None:
    lines: list[bytes] = []
    JsonConsole(lines.append).result(Outcome({"a": float("nan"), "b": [1.5, (float("inf"), "x")], "c": {"d": -1e999}}))
    assert lines == [b'{"event": "result", "a": null, "b": [1.5, [null, "x"]], "c": {"d": null}}\n']


def test_films_into_places_that_cannot_be(shell: Shell, tmp_path: Path) -> None:
    shell("reconstruct", fake_scan(tmp_path / "desk"), "--out", tmp_path / "out")
    project = tmp_path / "out" / "desk"
    (tmp_path / "folder.mp4").mkdir()
    before = tree(tmp_path)
    for video in ("folder.mp4", project / "project.json" / "film.mp4"):
        run = shell("simulate", project, "--video", video, "--json", cwd=tmp_path)
        assert run.code == 5, run.stdout
        assert run.errors[0]["code"] != "internal"
    assert tree(tmp_path) == before


def test_a_report_that_does_not_fit_on_the_disk_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OutputError("There is no space left.", remedy="Free some.", code="disk_full")

    monkeypatch.setattr("app.report.write_report", full)
    with pytest.raises(OutputError, match="no space left"):
        stages._report(Project(tmp_path), silent)
