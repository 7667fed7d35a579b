"""Planning a batch: how many at a time, and settings and errors on their way to and from a worker."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from app.batch import (
    Batch,
    Failure,
    Job,
    _Running,
    available_memory,
    error_from_json,
    expand_scans,
    overall_exit_code,
    parallel_scans,
    plan,
    project_name,
    worker_environment,
)
from app.project import as_settings_json
from app.worker import from_json
from reconstruction.errors import InputError, MissingToolError, OutputError, PocketworldError, UsageError


def test_as_many_at_a_time_as_fit() -> None:
    assert parallel_scans(8, 200, 100e9) == 8
    assert parallel_scans(8, 3, 100e9) == 3
    assert parallel_scans(8, 200, 10e9) == 3
    assert parallel_scans(8, 200, 1e9) == 1
    assert parallel_scans(None, 200, 100e9) >= 1
    for wanted in (0, -1):
        with pytest.raises(UsageError, match="--jobs"):
            parallel_scans(wanted, 1, 1e9)
    assert 1e7 < available_memory() < 1e14


@pytest.mark.parametrize(
    ("scan", "name"),
    [
        ("desk.r3d", "desk"),
        ("Größe 1 (2).zip", "Größe 1 (2)"),
        ("a:b?c*.r3d", "a_b_c_"),
        ("2024.05.01.zip", "2024.05.01"),
        ("...zip", "scan"),
        ("x" * 250 + ".r3d", "x" * 100),
    ],
)
def test_project_names_work_on_any_system(tmp_path: Path, scan: str, name: str) -> None:
    assert project_name(tmp_path / scan) == name


def test_a_folder_keeps_its_dots(tmp_path: Path) -> None:
    (tmp_path / "scan 2024.05").mkdir()
    assert project_name(tmp_path / "scan 2024.05") == "scan 2024.05"


def stray(folder: Path) -> Path:
    """A folder that is recognised as a scan."""
    folder.mkdir(parents=True)
    (folder / "odometry.csv").write_text("", encoding="utf-8")
    return folder


def test_projects_are_named_after_what_the_user_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for scan in (
        "door/EXR_RGBD",
        "bench/desk",
        "week/a1b2c3d4e5",
        "week/0f9e8d7c6b",
        "days/20240501",
        "data/scan/0a0a0a0a0a",
    ):
        stray(tmp_path / scan)

    def names(*named: str) -> list[str]:
        return [job.folder.name for job in plan(expand_scans([tmp_path / name for name in named]), tmp_path / "out")]

    assert names("door") == ["door"]
    assert names("door/EXR_RGBD") == ["EXR_RGBD"]
    assert names("bench") == ["desk"]
    assert names("week") == ["0f9e8d7c6b", "a1b2c3d4e5"]  # not one name for both
    assert names("days") == ["20240501"]
    assert names("data/scan") == ["scan"]
    assert names("data") == ["data"]
    monkeypatch.chdir(tmp_path)
    (job,) = plan(expand_scans([Path("door")]), tmp_path / "out")
    assert job == Job(tmp_path / "door" / "EXR_RGBD", tmp_path / "out" / "door")


def test_the_time_left_comes_from_the_scans_that_really_ran(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = Batch({}, 1, 1, lambda *_: None, lambda *_, **__: None, lambda _: None)
    monkeypatch.setattr("app.batch.time.monotonic", lambda: 112.0)
    running = _Running(Job(Path("b"), Path("b")), None, None, started=100.0)  # type: ignore[arg-type]
    batch.failures.append(Failure("a", InputError("at once")))
    assert batch._seconds_left(2, [running]) is None  # nothing ran long enough to tell
    running.fraction = 0.25
    assert batch._seconds_left(2, [running]) == pytest.approx(36 + 48)
    batch._took.append(72.0)
    assert batch._seconds_left(2, [running]) == pytest.approx(36 + 60)
    assert batch._seconds_left(0, []) == 0.0
    batch.parallel = 4
    assert batch._seconds_left(2, [running]) == pytest.approx(48)


def test_threads_do_not_depend_on_jobs() -> None:
    environment = worker_environment()
    assert environment["OPENBLAS_NUM_THREADS"] == "1"
    assert int(environment["OMP_NUM_THREADS"]) >= 1


@pytest.mark.parametrize("error", [InputError, OutputError, UsageError, MissingToolError, PocketworldError])
def test_an_error_keeps_its_exit_code_on_the_way_from_a_worker(error: type[PocketworldError]) -> None:
    sent = error("What.", remedy="Do.", code="some_code")
    event = {"code": sent.code, "message": sent.message, "remedy": sent.remedy, "exit_code": sent.exit_code}
    received = error_from_json(event)
    assert received.exit_code == error.exit_code
    assert (received.message, received.remedy, received.code) == ("What.", "Do.", "some_code")


def test_exit_code_of_a_batch() -> None:
    bad, full = Failure("a", InputError("x")), Failure("b", OutputError("y"))
    assert overall_exit_code([]) == 0
    assert overall_exit_code([bad, bad]) == 3
    assert overall_exit_code([bad, full]) == 1


@dataclass(frozen=True)
class Inner:
    kind: Literal["a", "b"] = "a"
    steps: tuple[float, ...] = (1.0, 2.0)
    region: tuple[tuple[float, float], ...] = ((0.0, 1.0),)
    limit: int | None = None
    table: Path | None = None


@dataclass(frozen=True)
class Outer:
    inner: Inner = field(default_factory=Inner)
    on: bool = True


def test_settings_survive_the_way_to_a_worker() -> None:
    for settings in (Outer(), Outer(Inner("b", (), ((1.0, 2.0), (3.0, 4.0)), 3, Path("a b")), False)):
        assert from_json(Outer, as_settings_json(settings)) == settings
    with pytest.raises(UsageError, match="colour"):
        from_json(Outer, {"colour": 1})


def test_the_real_settings_survive_it_too() -> None:
    from app.stages import SceneSettings

    settings = SceneSettings()
    assert from_json(SceneSettings, as_settings_json(settings)) == settings
    assert all(dataclasses.is_dataclass(value) for value in vars(settings).values())
