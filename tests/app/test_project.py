"""The project folder: a stage is there whole or not at all, whatever refuses or dies in between."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app import project as module
from app.project import Project, StageKey, StageNotes, content_hash
from reconstruction import disk
from reconstruction.disk import write_whole, writing_to
from reconstruction.errors import InputError, OutputError, PocketworldError, ReconstructionError, UsageError
from tests.app.scans import half_written, tree

KEY = StageKey({"voxel_m": 0.003, "range_m": (0.1, 4.0)}, {"scan": "blake2b:00"}, "code")


def writes(text: str) -> Callable[[Path], StageNotes]:
    def work(folder: Path) -> StageNotes:
        (folder / "deep").mkdir()
        (folder / "deep" / "scene.txt").write_text(text, encoding="utf-8")
        return StageNotes(("a warning",), {"fuse": 1.23456}, {"objects": 1})

    return work


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path / "out" / "desk")
    made.create(tmp_path / "desk.r3d")
    return made


def content(project: Project) -> str:
    return (project.folder / "scene" / "deep" / "scene.txt").read_text(encoding="utf-8")


def test_a_stage_is_fresh_until_anything_it_depends_on_changes(project: Project) -> None:
    assert not project.is_fresh("scene", KEY)
    project.run_stage("scene", KEY, writes("one"))
    assert project.is_fresh("scene", KEY)
    assert not project.is_fresh("scene", StageKey({**KEY.settings, "voxel_m": 0.004}, KEY.inputs, KEY.code))
    assert not project.is_fresh("scene", StageKey(KEY.settings, {"scan": "blake2b:01"}, KEY.code))
    assert not project.is_fresh("scene", StageKey(KEY.settings, KEY.inputs, "other code"))
    assert project.record("scene")["timings"] == {"fuse": 1.235}
    assert project.record("scene")["files"] == ["deep/scene.txt"]
    (project.folder / "scene" / "deep" / "scene.txt").unlink()
    assert not project.is_fresh("scene", KEY)


def test_a_damaged_record_is_as_good_as_none(project: Project) -> None:
    project.run_stage("scene", KEY, writes("one"))
    for text in ("", "[]", "{", '{"settings": 3, "files": []}', "\x00"):
        (project.folder / "scene" / "stage.json").write_text(text, encoding="utf-8")
        assert not project.is_fresh("scene", KEY)


REFUSALS = [(errno.ENOSPC, "disk_full"), (errno.EDQUOT, "disk_full"), (errno.EROFS, "no_permission")]


@pytest.mark.parametrize(("number", "code"), REFUSALS)
@pytest.mark.parametrize("call", ["mkdir", "write_text", "write_bytes", "fsync", "rename", "open"])
def test_a_disk_that_refuses_at_any_call_leaves_what_was_there(
    project: Project, monkeypatch: pytest.MonkeyPatch, call: str, number: int, code: str
) -> None:
    project.run_stage("scene", KEY, writes("one"))
    before = tree(project.folder)
    place: Any = os if call in ("fsync", "open") else Path
    real = getattr(place, call)
    for allowed in range(12):
        made = 0

        def refuse(*args: Any, **kwargs: Any) -> Any:
            nonlocal made
            made += 1
            if made > allowed:  # noqa: B023 - used within this round only
                raise OSError(number, os.strerror(number), str(args[0]) if call != "fsync" else None)
            return real(*args, **kwargs)

        with monkeypatch.context() as patch:
            patch.setattr(place, call, refuse)
            failure: PocketworldError | None = None
            try:
                project.run_stage("scene", StageKey({}, {}, str(allowed)), writes("two"))
            except OutputError as error:
                failure = error
        project.recover()
        assert half_written(project.folder) == set()
        if failure is None:
            assert content(project) == "two"
            return
        assert failure.code == code
        assert failure.remedy
        assert content(project) == "one"
        assert tree(project.folder) == before
    if call != "open":
        assert made > 0


def test_what_the_work_raises_is_passed_on_and_nothing_stays(project: Project) -> None:
    def work(folder: Path) -> StageNotes:
        (folder / "half").write_text("half", encoding="utf-8")
        raise ReconstructionError("No depth.", remedy="Scan again.", code="no_depth")

    with pytest.raises(ReconstructionError, match="No depth"):
        project.run_stage("scene", KEY, work)
    with pytest.raises(KeyboardInterrupt):
        project.run_stage("scene", KEY, lambda folder: (_ for _ in ()).throw(KeyboardInterrupt()))
    assert tree(project.folder) == {"project.json"}


def test_a_native_writer_on_a_full_disk_is_a_full_disk(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def work(folder: Path) -> StageNotes:
        raise RuntimeError("WritePLY failed: unable to write")

    with pytest.raises(RuntimeError):
        project.run_stage("scene", KEY, work)
    monkeypatch.setattr(disk, "free_bytes", lambda folder: 4096)
    with pytest.raises(OutputError, match="no space left"):
        project.run_stage("scene", KEY, work)


def test_recover_after_a_kill_between_the_two_renames(project: Project) -> None:
    project.run_stage("scene", KEY, writes("one"))
    scene, old, partial = (project.folder / f"scene{suffix}" for suffix in ("", ".old", ".partial"))
    scene.rename(old)
    partial.mkdir()
    project.recover()
    assert content(project) == "one"
    assert half_written(project.folder) == set()
    old.mkdir()
    (old / "stale").write_text("", encoding="utf-8")
    project.recover()
    assert content(project) == "one"
    assert half_written(project.folder) == set()


def test_opening(project: Project, tmp_path: Path) -> None:
    project.run_stage("scene", KEY, writes("one"))
    (project.folder / "scene" / "scene.json").write_text("{}", encoding="utf-8")
    for named in (project.folder, project.folder / "scene", project.folder / "scene" / "scene.json"):
        assert Project.open(named).folder == project.folder.resolve()
    assert project.scan() == tmp_path / "desk.r3d"
    with pytest.raises(UsageError, match=r"no Pocketworld project"):
        Project.open(tmp_path)
    with pytest.raises(UsageError, match=r"no finished policy"):
        project.require("policy")


def test_the_lock_ends_with_its_process(project: Project) -> None:
    code = (
        "import sys, time; from pathlib import Path; from app.project import Project\n"
        f"with Project(Path({str(project.folder)!r})).locked(): print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UsageError, match="Another Pocketworld"), project.locked():
            pass
    finally:
        holder.kill()
        holder.communicate()
    with project.locked():
        pass


def test_content_hash_sees_names_and_bytes_and_nothing_else(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        (folder / "rgb").mkdir(parents=True)
        (folder / "rgb" / "größe 1.jpg").write_bytes(b"one")
        (folder / "pose.txt").write_bytes(b"two")
    os.utime(second / "pose.txt", (1, 1))
    (second / ".DS_Store").write_bytes(b"finder")
    assert content_hash(first) == content_hash(second)
    (second / "pose.txt").write_bytes(b"twO")  # same size
    assert content_hash(first) != content_hash(second)
    (second / "pose.txt").write_bytes(b"two")
    (second / "pose.txt").rename(second / "poses.txt")
    assert content_hash(first) != content_hash(second)
    # One file's end must not pass for another's beginning.
    (first / "a").write_bytes(b"xy")
    (first / "b").write_bytes(b"z")
    before = content_hash(first)
    (first / "a").write_bytes(b"x")
    (first / "b").write_bytes(b"yz")
    assert content_hash(first) != before
    with pytest.raises(InputError, match="does not exist"):
        content_hash(tmp_path / "absent")


def test_write_whole_keeps_the_old_file_when_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "report.html"
    write_whole(path, "old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError):
        write_whole(path, "new")
    assert path.read_text(encoding="utf-8") == "old"
    assert tree(tmp_path) == {"report.html"}


def test_refusals_elsewhere_are_about_what_is_read(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(InputError, match=r"scan\.r3d cannot be read"), writing_to(out):
        raise PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "scans" / "scan.r3d"))
    with pytest.raises(OutputError, match="cannot be written"), writing_to(out):
        raise PermissionError(errno.EACCES, "Permission denied", str(out / "scene"))
    with pytest.raises(TimeoutError), writing_to(out):
        raise TimeoutError


def test_others_files_survive_a_project_that_is_not_made(tmp_path: Path) -> None:
    theirs = tmp_path / "desk" / "capture" / "thesis.txt"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("years of work", encoding="utf-8")
    before = tree(tmp_path)
    with pytest.raises(OutputError, match="not Pocketworld's"), Project(tmp_path / "desk").being_made(tmp_path):
        pass
    assert tree(tmp_path) == before


@pytest.mark.parametrize("error", [ReconstructionError("No."), ZeroDivisionError("a bug")])
def test_a_new_project_that_fails_is_taken_away(tmp_path: Path, error: Exception) -> None:
    project = Project(tmp_path / "deep" / "desk")

    def fail() -> None:
        with project.being_made(tmp_path):
            project.run_stage("capture", KEY, writes("one"))
            raise error

    with pytest.raises(type(error)):
        fail()
    assert tree(tmp_path) == set()
    with project.being_made(tmp_path):
        project.run_stage("capture", KEY, writes("one"))
    with pytest.raises(type(error)), project.being_made(tmp_path):
        raise error
    assert (project.folder / "capture" / "stage.json").is_file()


def test_of_two_that_make_one_project_the_second_harms_nothing(tmp_path: Path) -> None:
    first = second = Project(tmp_path / "desk")
    with first.being_made(tmp_path):
        first.run_stage("capture", KEY, writes("one"))
        with pytest.raises(UsageError, match="Another Pocketworld"), second.being_made(tmp_path):
            pass
        assert first.is_fresh("capture", KEY)
    assert first.is_fresh("capture", KEY)


def test_a_lock_on_a_project_that_was_taken_away_is_none(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    real = fcntl.flock

    def late(lock: Any, how: int) -> None:
        (project.folder / ".lock").unlink()
        real(lock, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with pytest.raises(UsageError, match="Another Pocketworld"), project.locked():
        pass


def test_deep_json_is_as_good_as_none(tmp_path: Path) -> None:
    path = tmp_path / "stage.json"
    path.write_text("[" * 100_000, encoding="utf-8")
    assert module.read_json(path) is None


def test_places_that_are_gone(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written"), writing_to(tmp_path):
        raise FileNotFoundError(errno.ENOENT, "No such file", str(tmp_path / "x"))
    with pytest.raises(OutputError, match="cannot be written"), writing_to(tmp_path):
        raise OSError(errno.EIO, "Input/output error")


def test_what_a_kill_leaves_of_a_new_project_is_not_in_the_way(tmp_path: Path) -> None:
    folder = tmp_path / "desk"
    folder.mkdir()
    (folder / ".lock").touch()
    (folder / "project.json.partial").write_text('{"form', encoding="utf-8")
    project = Project(folder)
    with project.being_made(tmp_path / "scan"):
        assert project.is_project
    assert sorted(path.name for path in folder.iterdir()) == [".lock", "project.json"]
