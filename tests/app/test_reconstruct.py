"""Batches of scans and what may happen to them: killed processes, full disks, names in the way, bugs of ours."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.app.scans import fake_scan, half_written, scene_bytes, tree
from tests.conftest import Run, command, environment

Shell = Callable[..., Run]


@contextmanager
def started(*words: object) -> Iterator[subprocess.Popen[bytes]]:
    """A running command, ended for certain afterwards."""
    process = subprocess.Popen(
        command(*words),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment(True),
        # Tests that run in the background of a shell inherit "ignore Ctrl-C".
        preexec_fn=None if sys.platform == "win32" else lambda: signal.signal(signal.SIGINT, signal.SIG_DFL) and None,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for(process: subprocess.Popen[bytes], message: str) -> None:
    """Read events until one says `message`."""
    assert process.stdout is not None
    for line in process.stdout:
        if message in json.loads(line).get("message", ""):
            return
    raise AssertionError(f"it ended without saying {message!r}")


def all_gone(processes: list[psutil.Process], within_s: float = 10.0) -> bool:
    return not psutil.wait_procs(processes, timeout=within_s)[1]


def test_one_bad_scan_does_not_stop_the_rest(shell: Shell, tmp_path: Path) -> None:
    scans = tmp_path / "scans"
    fake_scan(scans / "a")
    fake_scan(scans / "b", do="fail")
    fake_scan(scans / "c", do="kill")
    fake_scan(scans / "d", do="abort")
    fake_scan(scans / "e", do="internal")
    fake_scan(scans / "f.zip", objects=1)
    (scans / "g.r3d").write_bytes(b"PK\x03\x04 cut off")
    (scans / "notes.txt").write_text("no scan", encoding="utf-8")
    caches = {"XDG_CACHE_HOME": str(tmp_path / "caches")}
    run = shell("reconstruct", scans, "--out", tmp_path / "out", "--json", env=caches)
    assert run.code == 1
    assert [Path(project["scan"]).name for project in run.result["projects"]] == ["a", "f.zip"]
    failed = {Path(failure["scan"]).name: failure["code"] for failure in run.result["failed"]}
    assert failed.pop("g.r3d")
    assert failed == {"b": "empty", "c": "killed", "d": "crashed", "e": "internal"}
    assert len(run.errors) == 5
    assert "Traceback" not in run.stderr
    log = (tmp_path / "caches" / "pocketworld" / "pocketworld.log").read_text(encoding="utf-8")
    assert "ZeroDivisionError: a bug" in log
    assert half_written(tmp_path) == set()
    assert not (tmp_path / "out" / "e").exists()
    assert not (tmp_path / "out" / "b").exists()
    assert not (tmp_path / "out" / "g").exists()


def test_a_failing_scan_alone_gives_its_own_exit_code_and_writes_nothing(shell: Shell, tmp_path: Path) -> None:
    for number, (plan, code) in enumerate([("fail", 7), ("unreadable", 3), ("internal", 1)]):
        out = tmp_path / f"out_{number}" / "deep"
        caches = {"XDG_CACHE_HOME": str(tmp_path / "caches")}
        run = shell("reconstruct", fake_scan(tmp_path / f"s{number}", do=plan), "--out", out, "--json", env=caches)
        assert run.code == code
        assert run.result["projects"] == []
        assert not out.parent.exists()
    spoken = shell("reconstruct", tmp_path / "absent", "--out", tmp_path / "out")
    assert spoken.code == 3
    assert spoken.stderr.count("error: ") == 1
    assert not (tmp_path / "out").exists()


def test_again_does_only_what_changed(shell: Shell, tmp_path: Path) -> None:
    scan, out = fake_scan(tmp_path / "Küche & Flur" / "Späti 1"), tmp_path / "Ergebnis für Ömer"

    def status(*more: object) -> str:
        return str(shell("reconstruct", scan, "--out", out, "--json", *more).result["projects"][0]["status"])

    project = out / "Späti 1"
    assert status() == "done"
    before, record = scene_bytes(project), (project / "scene" / "stage.json").read_text(encoding="utf-8")
    report = (project / "report.html").stat().st_mtime_ns
    assert status() == "unchanged"
    assert (project / "scene" / "stage.json").read_text(encoding="utf-8") == record
    assert (project / "report.html").stat().st_mtime_ns == report
    (project / "scene" / "objects" / "object_01" / "visual.obj").unlink()
    assert status() == "done"
    assert scene_bytes(project) == before
    assert status("--fusion.voxel-m", "0.004") == "done"
    assert status("--fusion.voxel-m", "0.004") == "unchanged"
    assert status() == "done"
    (scan / "fake.json").write_text(json.dumps({"objects": 3}), encoding="utf-8")
    assert status() == "done"
    assert scene_bytes(project) != before
    os.utime(scan / "fake.json", (1, 1))
    assert status() == "unchanged"
    (project / "report.html").unlink()
    assert status() == "unchanged"
    assert (project / "report.html").is_file()


def test_failing_again_keeps_the_scene_that_was_there(shell: Shell, tmp_path: Path) -> None:
    scan, out = fake_scan(tmp_path / "desk"), tmp_path / "out"
    shell("reconstruct", scan, "--out", out)
    before = scene_bytes(out / "desk")
    (scan / "fake.json").write_text(json.dumps({"objects": 3, "do": "fail"}), encoding="utf-8")
    assert shell("reconstruct", scan, "--out", out).code == 7
    assert scene_bytes(out / "desk") == before
    assert half_written(out) == set()


def test_stage_record(shell: Shell, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shell(
        "reconstruct",
        fake_scan(tmp_path / "desk"),
        "--out",
        out,
        "--fusion.range-m",
        "0.2",
        "3",
        "--settle.near-mm",
        "2",
    )
    record = json.loads((out / "desk" / "scene" / "stage.json").read_text(encoding="utf-8"))
    assert record["settings"]["reconstruct"]["fusion"] == {"voxel_m": 0.003, "range_m": [0.2, 3.0]}
    assert record["settings"]["settle"]["near_mm"] == 2.0
    assert re.fullmatch("blake2b:[0-9a-f]{40}", record["inputs"]["scan"])
    assert record["timings"]["fuse"] == 0.1
    assert record["warnings"] == ["no up"]
    assert {"numpy", "python", "pocketworld"} <= set(record["versions"])
    assert record["seconds"] > 0
    scene = (out / "desk" / "scene" / "scene.json").read_text(encoding="utf-8")
    assert record["finished"][:10] not in scene
    assert str(tmp_path) not in scene


def test_same_bytes_for_any_number_of_jobs(shell: Shell, tmp_path: Path) -> None:
    scans = [fake_scan(tmp_path / "scans" / name, objects=number) for number, name in enumerate("abc")]
    one, many = tmp_path / "one", tmp_path / "many"
    assert shell("reconstruct", *scans, "--out", one, "--jobs", "1").code == 0
    assert shell("reconstruct", *reversed(scans), "--out", many, "--jobs", "3").code == 0
    for name in "abc":
        assert scene_bytes(one / name) == scene_bytes(many / name)


def test_two_scans_of_one_name_keep_their_own_projects(shell: Shell, tmp_path: Path) -> None:
    first = fake_scan(tmp_path / "monday" / "desk.zip", objects=1)
    second = fake_scan(tmp_path / "tuesday" / "desk.zip", objects=2)
    third = fake_scan(tmp_path / "wednesday" / "DESK.r3d", objects=3)
    out = tmp_path / "out"

    def projects(*scans: Path) -> dict[str, tuple[str, int, str]]:
        found = shell("reconstruct", *scans, "--out", out, "--json").result["projects"]
        return {
            Path(entry["scan"]).parent.name: (Path(entry["project"]).name, entry["objects"], entry["status"])
            for entry in found
        }

    assert projects(first, second, third) == {
        "monday": ("desk", 1, "done"),
        "tuesday": ("desk_2", 2, "done"),
        "wednesday": ("DESK_3", 3, "done"),
    }
    # In another order, and one alone: each finds its own again.
    assert projects(second, first)["tuesday"] == ("desk_2", 2, "unchanged")
    assert projects(third)["wednesday"] == ("DESK_3", 3, "unchanged")
    moved = tmp_path / "archive" / "desk.zip"
    moved.parent.mkdir()
    second.rename(moved)
    assert projects(moved)["archive"] == ("desk_2", 2, "unchanged")


def test_a_scan_named_from_where_one_stands_is_known_again_from_elsewhere(shell: Shell, tmp_path: Path) -> None:
    for day in ("monday", "tuesday"):
        fake_scan(tmp_path / day / "desk", objects=1)  # equal bytes, yet two scans
    (tmp_path / "elsewhere").mkdir()
    first = shell("reconstruct", "monday/desk", "tuesday/desk", "--out", "out", "--json", cwd=tmp_path).result
    again = shell("reconstruct", "../tuesday/desk", "--out", "../out", "--json", cwd=tmp_path / "elsewhere").result
    assert [Path(entry["project"]).name for entry in first["projects"]] == ["desk", "desk_2"]
    (project,) = again["projects"]
    assert (Path(project["project"]).name, project["status"]) == ("desk_2", "unchanged")


def test_patterns_folders_and_doubles(shell: Shell, tmp_path: Path) -> None:
    scans = tmp_path / "scans"
    for name in ("a.zip", "b.zip", "c"):
        fake_scan(scans / name)
    fake_scan(scans / "week 2" / "d")
    fake_scan(scans / "week 2" / "e")
    run = shell("reconstruct", scans / "*.zip", scans, scans / "a.zip", "--out", scans / "out", "--json")
    assert sorted(Path(entry["scan"]).stem for entry in run.result["projects"]) == ["a", "b", "c", "d", "e"]
    again = shell("reconstruct", scans, "--out", scans / "out", "--json")  # its own projects are no scans
    assert [entry["status"] for entry in again.result["projects"]] == ["unchanged"] * 5
    nothing = shell("reconstruct", tmp_path / "*.r3d", "--out", tmp_path / "out", "--json")
    assert nothing.code == 3
    assert nothing.result["failed"][0]["code"] == "not_found"


def test_places_that_cannot_be(shell: Shell, tmp_path: Path) -> None:
    scan = fake_scan(tmp_path / "desk")
    inside = shell("reconstruct", scan, "--out", scan / "out", "--json")
    assert (inside.code, inside.errors[0]["code"]) == (2, "out_inside_scan")
    assert tree(scan) == {"fake.json"}
    other = tmp_path / "taken" / "desk"
    other.mkdir(parents=True)
    (other / "thesis.txt").write_text("do not lose", encoding="utf-8")
    taken = shell("reconstruct", scan, "--out", tmp_path / "taken", "--json")
    assert (taken.code, taken.errors[0]["code"]) == (5, "path_in_the_way")
    assert tree(other) == {"thesis.txt"}
    file = tmp_path / "file"
    file.write_text("", encoding="utf-8")
    for out in (file, file / "deeper"):
        blocked = shell("reconstruct", scan, "--out", out, "--json")
        assert (blocked.code, blocked.errors[0]["code"]) == (5, "path_in_the_way")


def test_read_only_disk(shell: Shell, tmp_path: Path, tiny_disk: Callable[[str], Path]) -> None:
    disk = tiny_disk("ro")
    run = shell("reconstruct", fake_scan(tmp_path / "desk"), "--out", disk / "out", "--json")
    assert (run.code, run.errors[0]["code"]) == (5, "no_permission")
    assert str(disk) in run.errors[0]["message"]


@pytest.mark.parametrize("size", ["8k", "16k", "40k", "64k"])
def test_full_disk(shell: Shell, tmp_path: Path, tiny_disk: Callable[[str], Path], size: str) -> None:
    disk = tiny_disk(f"size={size}")
    run = shell("reconstruct", fake_scan(tmp_path / "desk", objects=40), "--out", disk / "out", "--json")
    assert (run.code, run.errors[0]["code"]) == (5, "disk_full")
    assert "--out" in run.errors[0]["remedy"]
    assert tree(disk) == set()


def test_full_disk_in_words_of_the_system(shell: Shell, tmp_path: Path) -> None:
    run = shell("reconstruct", fake_scan(tmp_path / "desk", do="full"), "--out", tmp_path / "out", "--json")
    assert (run.code, run.errors[0]["code"]) == (5, "disk_full")
    assert not (tmp_path / "out").exists()


def test_ctrl_c_leaves_nothing_half_done_and_nobody_behind(tmp_path: Path) -> None:
    scan, out = fake_scan(tmp_path / "desk", do="child"), tmp_path / "out"
    with started("reconstruct", scan, "--out", out, "--json") as process:
        wait_for(process, "step 3")
        time.sleep(0.5)
        family = psutil.Process(process.pid).children(recursive=True)
        assert len(family) >= 2
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=30)
        assert process.returncode == 130
        assert json.loads(said.splitlines()[-1])["code"] == "interrupted"
    assert all_gone(family)
    assert half_written(out) == set()


def test_sigterm_is_as_clean(tmp_path: Path) -> None:
    scan, out = fake_scan(tmp_path / "desk", do="hang"), tmp_path / "out"
    with started("reconstruct", scan, "--out", out, "--json") as process:
        wait_for(process, "step 3")
        family = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        process.wait(timeout=30)
        assert process.returncode == 143
    assert all_gone(family)
    assert half_written(out) == set()


def test_kill_9_takes_the_workers_and_their_children_along(shell: Shell, tmp_path: Path) -> None:
    if sys.platform == "win32":
        pytest.skip("no signals there")
    scan, out = fake_scan(tmp_path / "desk", do="child"), tmp_path / "out"
    with started("reconstruct", scan, "--out", out, "--json") as process:
        wait_for(process, "step 3")
        time.sleep(0.5)
        family = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        assert all_gone(family)
    assert not (out / "desk" / "scene").exists()
    (scan / "fake.json").write_text(json.dumps({"objects": 2}), encoding="utf-8")
    assert shell("reconstruct", scan, "--out", out).code == 0
    assert half_written(out) == set()


def test_kill_9_at_any_moment_and_again_gives_the_same_bytes(shell: Shell, tmp_path: Path) -> None:
    scan = fake_scan(tmp_path / "desk", objects=12, seconds=0.2)
    shell("reconstruct", scan, "--out", tmp_path / "calm")
    truth, out = scene_bytes(tmp_path / "calm" / "desk"), tmp_path / "out"
    for delay_ms in (50, 250, 400, 550, 700, 850, 1000):
        with started("reconstruct", scan, "--out", out, "--json") as process:
            time.sleep(delay_ms / 1000)
            family = psutil.Process(process.pid).children(recursive=True)
            process.kill()
            assert all_gone(family)
        if (out / "desk" / "scene").exists():
            assert scene_bytes(out / "desk") == truth
    run = shell("reconstruct", scan, "--out", out, "--json")
    assert run.code == 0
    assert scene_bytes(out / "desk") == truth
    assert half_written(out) == set()


def test_two_at_once_on_one_project(shell: Shell, tmp_path: Path) -> None:
    scan, out = fake_scan(tmp_path / "desk", do="hang"), tmp_path / "out"
    with started("reconstruct", scan, "--out", out, "--json") as process:
        wait_for(process, "step 3")
        second = shell("reconstruct", scan, "--out", out, "--json")
        assert (second.code, second.errors[0]["code"]) == (2, "busy")
        assert process.poll() is None
        assert (out / "desk" / "scene.partial").is_dir()


def test_a_bug_of_ours_is_logged_in_the_project_that_was_there(shell: Shell, tmp_path: Path) -> None:
    scan, out = fake_scan(tmp_path / "desk"), tmp_path / "out"
    shell("reconstruct", scan, "--out", out)
    (scan / "fake.json").write_text(json.dumps({"do": "internal"}), encoding="utf-8")
    assert shell("reconstruct", scan, "--out", out).code == 1
    assert "ZeroDivisionError: a bug" in (out / "desk" / "pocketworld.log").read_text(encoding="utf-8")


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes on Linux only")
def test_a_path_that_is_no_utf8(shell: Shell, tmp_path: Path) -> None:
    scan = fake_scan(Path(os.fsdecode(os.fsencode(tmp_path) + b"/K\xfcche")))
    run = shell("reconstruct", scan, "--out", tmp_path / "out", "--json")
    assert run.code == 0, run.stderr
    assert run.result["projects"][0]["project"] == str(tmp_path / "out" / "K_che")
    assert not run.result["projects"][0]["warnings"][1:]
    assert (tmp_path / "out" / "K_che" / "report.html").is_file()
    again = shell("reconstruct", scan, "--out", tmp_path / "out", "--json")
    assert again.result["projects"][0]["status"] == "unchanged"


def test_names_that_the_system_does_not_take(shell: Shell, tmp_path: Path) -> None:
    scan = fake_scan(tmp_path / "desk")
    long = "n" * 300
    loop = tmp_path / "loop"
    loop.symlink_to(tmp_path / "loop2")
    (tmp_path / "loop2").symlink_to(loop)
    for words, code in [
        ((tmp_path / long, "--out", tmp_path / "out"), 3),
        ((loop, "--out", tmp_path / "out"), 3),
        ((scan, "--out", tmp_path / long), 5),
        ((scan, "--out", loop / "out"), 5),
        ((tmp_path / "a**b", "--out", tmp_path / "out"), 2),
    ]:
        run = shell("reconstruct", *words, "--json")
        assert run.code == code, run.stdout + run.stderr
        assert run.errors[0]["remedy"]
        assert run.errors[0]["code"] != "internal"
    for named in (tmp_path / long, loop):
        assert shell("report", named, "--json").errors[0]["code"] == "no_project"
        assert shell("inspect", named, "--json").code == 3
    assert not (tmp_path / "out").exists()


def test_a_pipe_is_no_scan(shell: Shell, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for words in (("inspect", pipe), ("reconstruct", pipe, "--out", tmp_path / "out")):
        run = shell(*words, "--json", timeout=20)
        assert run.code == 3
        assert "neither a file nor a folder" in run.errors[0]["message"]


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="Linux only")
def test_places_where_nothing_can_be_made(shell: Shell, tmp_path: Path) -> None:
    scan = fake_scan(tmp_path / "desk")
    run = shell("reconstruct", scan, "--out", "/proc/nope", "--json")
    assert (run.code, run.errors[0]["code"]) == (5, "cannot_write")
    run = shell("inspect", scan, "--contact-sheet", "nodir/x.jpg", "--json", cwd=tmp_path)
    assert run.code == 5
    assert "nodir" in run.errors[0]["message"]


def test_settings_that_are_no_numbers(shell: Shell, tmp_path: Path) -> None:
    run = shell(
        "reconstruct", fake_scan(tmp_path / "desk"), "--out", tmp_path / "o", "--fusion.voxel-m", "nan", "--json"
    )
    assert run.code == 2
    assert "fusion.voxel_m is nan" in run.errors[0]["message"]


def test_sigterm_ends_with_an_event(tmp_path: Path) -> None:
    scan = fake_scan(tmp_path / "desk", do="hang")
    with started("reconstruct", scan, "--out", tmp_path / "out", "--json") as process:
        wait_for(process, "")
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        last = json.loads(process.stdout.read().splitlines()[-1])
        assert (last["event"], last["code"], last["exit_code"]) == ("error", "terminated", 143)
        assert process.wait(20) == 143


def test_an_edited_scene_is_kept_when_it_is_made_anew(shell: Shell, tmp_path: Path) -> None:
    scan, out = fake_scan(tmp_path / "desk"), tmp_path / "out"
    project = out / "desk"
    assert shell("reconstruct", scan, "--out", out, "--json").code == 0
    path = project / "scene" / "scene.json"
    document = {**json.loads(path.read_text(encoding="utf-8")), "edited": ["Rename object_01 to mug"]}
    path.write_text(json.dumps(document), encoding="utf-8")
    kept = scene_bytes(project)
    assert shell("reconstruct", scan, "--out", out, "--json").result["projects"][0]["status"] == "unchanged"
    assert scene_bytes(project) == kept  # nobody asked for another one
    anew = shell("reconstruct", scan, "--out", out, "--again", "--json").result["projects"][0]
    assert any("scene_edited_1" in warning for warning in anew["warnings"])
    assert json.loads((project / "scene_edited_1" / "scene.json").read_text(encoding="utf-8")) == document
    path.write_text(json.dumps(document), encoding="utf-8")
    again = shell("reconstruct", scan, "--out", out, "--fusion.voxel-m", "0.004", "--json").result["projects"][0]
    assert any("scene_edited_2" in warning for warning in again["warnings"])
    assert "edited" not in json.loads(path.read_text(encoding="utf-8"))
    assert json.loads((project / "scene_edited_2" / "scene.json").read_text(encoding="utf-8")) == document


def test_the_project_of_one_scan_may_be_named(shell: Shell, tmp_path: Path) -> None:
    scan, out = fake_scan(tmp_path / "export (2).zip"), tmp_path / "out"
    made = shell("reconstruct", scan, "--out", out, "--name", "Küche.2", "--json").result["projects"][0]
    assert Path(made["project"]) == out / "Küche.2"
    assert shell("reconstruct", scan, "--out", out, "--name", "Küche.2", "--json").code == 0
    other = fake_scan(tmp_path / "other", objects=3)
    refused = shell("reconstruct", other, "--out", out, "--name", "Küche.2", "--json")
    assert refused.code == 2
    assert "another scan" in refused.errors[0]["message"]
    for scans, name in (([scan, other], "both"), ([scan], "a/b"), ([scan], "")):
        refused = shell("reconstruct", *scans, "--out", out, "--name", name, "--json")
        assert refused.errors[0]["code"] == "bad_value"
    assert {path.name for path in out.iterdir()} == {"Küche.2"}
