"""The window for many scans: a table that follows one `reconstruct` of all of them."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PySide6.QtCore import QMimeData, QPointF, QSettings, Qt, QTimer, QUrl
from PySide6.QtGui import QDropEvent
from PySide6.QtWidgets import QPushButton, QToolButton
from pytestqt.qtbot import QtBot

from app.gui.batch_window import OBJECTS, OPEN, SAID, STATE, TIME, BatchWindow, Row
from app.gui.desk import Desk
from app.gui.job import Job, Task
from app.gui.start_page import TILE, StartPage
from app.gui.walk import Standing
from app.project import Project
from tests.conftest import FAKES


@pytest.fixture
def desk(qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    """Its jobs run the real command line with stand-ins for the steps."""
    monkeypatch.setenv("PYTHONPATH", str(FAKES))
    made = Desk(QSettings(str(tmp_path / "preferences.ini"), QSettings.Format.IniFormat))
    made.preferences.setValue("home", str(tmp_path / "Projekte für alle"))
    yield made
    made.jobs.stop_all()


@pytest.fixture
def window(qtbot: QtBot, desk: Desk) -> Iterator[BatchWindow]:
    made = BatchWindow(desk)
    qtbot.addWidget(made)
    made.show()
    yield made
    made.close()


def scan_at(place: Path, objects: int = 2, **more: Any) -> Path:
    place.mkdir(parents=True)
    (place / "fake.json").write_text(json.dumps({"objects": objects, **more}))
    return place


def drop(window: BatchWindow, *paths: Path) -> None:
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(path)) for path in paths])
    left, none = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    window.dropEvent(QDropEvent(QPointF(50, 50), Qt.DropAction.CopyAction, mime, left, none))


def found(qtbot: QtBot, window: BatchWindow, count: int) -> None:
    qtbot.waitUntil(lambda: not window.finder.runs, timeout=20_000)
    assert len(window.scans.rows) == count


def cells(window: BatchWindow, number: int) -> list[str]:
    model = window.scans
    return [str(model.data(model.index(number, column))) for column in range(model.columnCount())]


def test_scans_are_found_run_told_and_run_again(qtbot: QtBot, desk: Desk, window: BatchWindow, tmp_path: Path) -> None:
    assert not window.empty.isHidden()
    assert not window.go.isEnabled()
    scans = tmp_path / "scans"
    good = scan_at(scans / "bench one", 3)
    bad = scan_at(scans / "dark", do="fail")
    alone = scan_at(tmp_path / "elsewhere" / "desk", 1)
    drop(window, scans, alone)
    assert window.summary.text() == "Looking for scans …"
    found(qtbot, window, 3)
    assert window.empty.isHidden()
    assert [row.kind for row in window.scans.rows] == ["ready"] * 3
    assert cells(window, 0)[STATE] == "ready"
    assert "3 ready" in window.summary.text()
    drop(window, good)  # none twice
    found(qtbot, window, 3)

    kinds: set[tuple[str, str]] = set()
    window.scans.dataChanged.connect(lambda *_: kinds.update((r.scan, r.kind) for r in window.scans.rows))
    qtbot.mouseClick(window.go, Qt.MouseButton.LeftButton)
    job = desk.jobs.last("batch", None)
    assert job is not None
    assert job.task.words == ("reconstruct", str(good), str(bad), str(alone), "--out", str(desk.home))
    assert not window.go.isEnabled()
    assert not window.cancel.isHidden()
    assert not window.bar.isHidden()
    assert not window.remove.isEnabled()
    qtbot.waitUntil(lambda: job.is_over, timeout=60_000)
    rows = {Path(row.scan).name: number for number, row in enumerate(window.scans.rows)}
    assert {name: window.scans.rows[number].kind for name, number in rows.items()} == {
        "bench one": "done",
        "dark": "failed",
        "desk": "done",
    }
    assert (str(good), "running") in kinds
    done, failed = cells(window, rows["bench one"]), cells(window, rows["dark"])
    assert done[OBJECTS] == "3"
    assert done[TIME].endswith(" s")
    assert failed[STATE] == "failed"
    assert failed[SAID] == "Nothing can be seen in the scan. Scan again in the light."
    assert (done[OPEN], failed[OPEN]) == ("Open", "")
    assert "2 done, 1 failed" in window.summary.text()
    assert window.notice.text() == ""  # each failure stands in its row
    assert window.bar.isHidden()

    with qtbot.waitSignal(desk.step_wanted) as wanted:
        window.table.doubleClicked.emit(window.scans.index(rows["bench one"], 0))
    assert wanted.args == ["scene"]
    assert desk.project is not None
    assert desk.project.folder == desk.home / "bench one"
    desk.close_project()
    cell = window.table.visualRect(window.scans.index(rows["desk"], OPEN))
    qtbot.mouseClick(window.table.viewport(), Qt.MouseButton.LeftButton, pos=cell.center())
    assert desk.project is not None
    assert desk.project.folder == desk.home / "desk"
    desk.close_project()
    window.table.selectRow(rows["dark"])
    qtbot.keyClick(window.table, Qt.Key.Key_Return)  # a failed one has no project
    assert desk.project is None
    said = window.reason.text().splitlines()  # the whole of it, however narrow the table is
    assert said == [
        window.scans.rows[rows["dark"]].name,
        "Nothing can be seen in the scan.",
        "Scan again in the light.",
    ]
    window.table.selectRow(rows["desk"])
    assert window.reason.text() == ""
    qtbot.keyClick(window.table, Qt.Key.Key_Return)
    assert desk.project is not None

    (bad / "fake.json").write_text(json.dumps({"objects": 5}))
    assert window.go.text() == "Run again"
    qtbot.mouseClick(window.go, Qt.MouseButton.LeftButton)
    again = desk.jobs.last("batch", None)
    assert again is not None
    assert again is not job
    assert cells(window, rows["dark"])[STATE] == "waiting"
    assert cells(window, rows["dark"])[SAID] == ""
    qtbot.waitUntil(lambda: again.is_over, timeout=60_000)
    assert [row.kind for row in window.scans.rows] == ["done"] * 3
    assert "unchanged" in cells(window, rows["bench one"])[SAID]
    assert "unchanged" not in cells(window, rows["dark"])[SAID]


def test_cancel_leaves_nothing_running_and_says_what_is_kept(
    qtbot: QtBot, desk: Desk, window: BatchWindow, tmp_path: Path
) -> None:
    drop(window, scan_at(tmp_path / "a"), scan_at(tmp_path / "b", do="hang"))
    found(qtbot, window, 2)
    qtbot.mouseClick(window.go, Qt.MouseButton.LeftButton)
    job = desk.jobs.last("batch", None)
    assert job is not None
    qtbot.waitUntil(lambda: "running" in [row.kind for row in window.scans.rows], timeout=20_000)
    qtbot.mouseClick(window.cancel, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: job.is_over, timeout=20_000)
    assert job.state.kind == "cancelled"
    assert "running" not in [row.kind for row in window.scans.rows]
    assert cells(window, 1)[STATE] == "cancelled"
    assert cells(window, 1)[SAID].startswith(("Finished steps are kept", "It had not begun"))
    assert {row.kind for row in window.scans.rows} <= {"done", "cancelled"}
    assert "cancelled" in window.summary.text()
    assert window.cancel.isHidden()
    window.table.selectRow(1)
    qtbot.keyClick(window.table, Qt.Key.Key_Delete)
    assert [Path(row.scan).name for row in window.scans.rows] == ["a"]


def test_what_is_no_scan_and_a_place_that_cannot_be_written(
    qtbot: QtBot, desk: Desk, window: BatchWindow, tmp_path: Path
) -> None:
    drop(window, tmp_path / "gone.r3d")
    found(qtbot, window, 1)  # the command says what is wrong with it
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    window.out.setText(str(in_the_way))
    window.run()
    job = desk.jobs.last("batch", None)
    assert job is not None
    qtbot.waitUntil(lambda: job.is_over, timeout=20_000)
    assert window.scans.rows[0].kind == "failed"
    assert window.scans.rows[0].said


def test_a_window_opened_later_takes_up_what_runs(qtbot: QtBot, desk: Desk, tmp_path: Path) -> None:
    scan = scan_at(tmp_path / "bench", 4, seconds=4.0)
    job = desk.run(Task("Reconstruct", ("reconstruct", str(scan), "--out", str(tmp_path / "out")), "batch"))
    window = BatchWindow(desk)
    qtbot.addWidget(window)
    window.show()
    assert window.out.text() == str(tmp_path / "out")
    assert not window.go.isEnabled()
    qtbot.waitUntil(lambda: cells(window, 0)[STATE] == "at work", timeout=20_000)
    qtbot.waitUntil(lambda: job.is_over, timeout=30_000)
    assert cells(window, 0)[OBJECTS] == "4"
    later = BatchWindow(desk)
    qtbot.addWidget(later)
    assert cells(later, 0)[STATE] == "done"
    window.close()
    later.close()


def test_two_hundred_rows_never_block(qtbot: QtBot, desk: Desk, window: BatchWindow, tmp_path: Path) -> None:
    beats: list[float] = []
    timer = QTimer()
    timer.timeout.connect(lambda: beats.append(time.perf_counter()))
    timer.start(5)
    for number in range(200):
        scan_at(tmp_path / "all" / f"scan_{number:03d}", number % 9)
    beats.clear()
    drop(window, tmp_path / "all")
    found(qtbot, window, 200)
    task = window.task()
    assert len(task.words) == 203
    job = Job(task)
    job.state.kind = "running"
    desk.jobs.all.append(job)
    window._follow(job)
    for number in range(200):
        for step in range(10):
            fraction = (number + step / 10) / 200
            message = f"{number + 1} of 200: scan_{number:03d}: step {step}"
            job._take({"event": "progress", "fraction": fraction, "message": message, "seconds_left": 9.0})
        if number % 50 == 7:
            scan = str(tmp_path / "all" / f"scan_{number:03d}")
            job._take({"event": "error", "message": "Dark.", "remedy": "Light.", "code": "x", "scan": scan})
            assert cells(window, number)[STATE] == "failed"
        qtbot.wait(1)
    assert cells(window, 199)[STATE] == "at work"
    assert window.scans.rows[199].fraction > 0.3
    projects = [
        {"scan": row.scan, "project": row.project, "objects": 3, "seconds": 2.0, "status": "done", "warnings": []}
        for row in window.scans.rows
        if row.kind != "failed"
    ]
    failed = [
        {"scan": row.scan, "message": "Dark.", "remedy": "Light."} for row in window.scans.rows if row.kind == "failed"
    ]
    job._take({"event": "result", "projects": projects, "failed": failed, "seconds": 4000.0})
    job._end("failed")
    qtbot.wait(300)
    assert window.summary.text() == "200 scans: 196 done, 4 failed · 67 min"
    assert window.scans.rows[7].remedy == "Light."
    timer.stop()
    assert max(b - a for a, b in zip(beats, beats[1:], strict=False)) < 0.1


def test_a_row_is_named_after_the_users_own_folder() -> None:
    names = {scan: Row(scan).name for scan in ("/a/kitchen/EXR_RGBD", "/a/desk.r3d", "/a/b/0c14ef09", "/scan")}
    assert list(names.values()) == ["kitchen / EXR_RGBD", "desk.r3d", "b / 0c14ef09", "scan"]


def test_the_start_pages_cards_are_of_one_size(qtbot: QtBot, desk: Desk, tmp_path: Path) -> None:
    page = StartPage(desk)
    qtbot.addWidget(page)
    page.resize(1000, 800)
    long = "a very long name that goes on and on " * 2 + "until it ends"
    said = (
        "12 objects, the scan has changed since · 1000 cousins, the scene has changed since · 93 % success · 4 bundles"
    )
    for name in ("short", long):
        project = Project(tmp_path / name)
        project.create(Path("none"))
        desk.remember(project.folder)
    with pytest.MonkeyPatch.context() as patch:
        stands = {"scan": "9 frames", "scene": said, "cousins": said}
        patch.setattr(
            "app.gui.start_page.standing",
            lambda project: {} if project.name == "short" else {k: Standing("done", v) for k, v in stands.items()},
        )
        page.show()  # it reads what there is when it is shown
    first, second = page.tiles()
    assert first.folder.name == long
    assert first.size() == second.size()
    assert first.name.text().endswith("…")
    assert second.name.text() == "short"
    assert first.how.text().count("\n") == 1
    assert first.how.text().endswith("…")
    assert long in first.toolTip()
    assert said in first.toolTip()
    assert said in first.accessibleDescription()
    for tile in (first, second):
        # They are laid out when the event loop comes to it.
        qtbot.waitUntil(lambda tile=tile: tile.name.geometry().top() >= 10 + TILE.height(), timeout=5_000)
        for text in (tile.name, tile.how):
            assert text.sizeHint().width() <= text.width() + 1
            assert text.sizeHint().height() <= text.height()
            assert tile.rect().contains(text.geometry())


def test_every_control_is_named_and_explained(window: BatchWindow) -> None:
    for kind in (QPushButton, QToolButton):
        for button in window.findChildren(kind):
            if button.parent() is not window.table:
                assert button.accessibleName() or button.text()
                assert button.toolTip(), button.text()
