"""The window: opening, jobs, states, what a crash or a closing leaves. Jobs run the real command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from PySide6.QtCore import QMimeData, QPoint, QSettings, Qt, QTimer, QUrl
from PySide6.QtGui import QDropEvent
from PySide6.QtWidgets import QApplication, QMessageBox, QPushButton
from pytestqt.qtbot import QtBot

from app.gui import theme
from app.gui.about import Doctor
from app.gui.desk import Desk
from app.gui.import_dialog import ImportDialog
from app.gui.job import Job, Task
from app.gui.page import JobPanel, clock
from app.gui.preferences import Preferences
from app.gui.scan_page import ScanPage
from app.gui.start_page import StartPage
from app.gui.tour import Tour, steps
from app.gui.window import MainWindow
from app.project import Project
from tests.app.scans import fake_scan, half_written
from tests.app.windows import Heartbeat, cut_off
from tests.conftest import Run, environment

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
Shell = Callable[..., Run]


def job_of(qtbot: QtBot, desk: Desk, *words: object, within_ms: int = 60_000) -> Job:
    """A job that is over."""
    job = desk.run(Task("Try", tuple(map(str, words)), "scan"))
    qtbot.waitUntil(lambda: job.is_over, timeout=within_ms)
    return job


def project_of(shell: Shell, scan: Path, out: Path) -> Path:
    return Path(str(shell("reconstruct", scan, "--out", out, "--json").result["projects"][0]["project"]))


def open_dialog(window: MainWindow, kind: type) -> ImportDialog:
    found = window.findChildren(kind)
    assert len(found) == 1
    return found[0]  # type: ignore[no-any-return]


# --- jobs -----------------------------------------------------------------------------------------------------------


def test_a_job_reports_and_ends(qtbot: QtBot, desk: Desk, fake_steps: None, tmp_path: Path) -> None:
    job = job_of(qtbot, desk, "reconstruct", fake_scan(tmp_path / "Küche 1"), "--out", tmp_path / "out")
    assert job.state.kind == "done", job.state.failure
    assert job.state.fraction == 1.0
    assert job.state.result["projects"][0]["objects"] == 2
    assert job.state.warnings == ["no up"]
    assert any("step 2" in line for line in job.state.log)
    assert job.state.log[0].startswith("$ pocketworld reconstruct ")


@pytest.mark.parametrize(
    ("plan", "said"),
    [("fail", "Nothing can be seen"), ("kill", "was killed"), ("abort", "ended unexpectedly"), ("internal", "a bug")],
)
def test_what_fails_says_why(qtbot: QtBot, desk: Desk, fake_steps: None, tmp_path: Path, plan: str, said: str) -> None:
    job = job_of(qtbot, desk, "reconstruct", fake_scan(tmp_path / "s", do=plan), "--out", tmp_path / "out")
    assert job.state.kind == "failed"
    assert job.state.failure is not None
    assert said in job.state.failure.message
    assert job.state.failure.remedy


def test_a_killed_command_is_told_not_hidden(qtbot: QtBot, desk: Desk, fake_steps: None, tmp_path: Path) -> None:
    job = desk.run(
        Task("Try", ("reconstruct", str(fake_scan(tmp_path / "s", do="hang")), "--out", str(tmp_path / "o")), "scan")
    )
    qtbot.waitUntil(lambda: job.state.fraction > 0.0, timeout=30_000)
    os.kill(job.process_id(), signal.SIGKILL)
    qtbot.waitUntil(lambda: job.is_over, timeout=10_000)
    assert job.state.kind == "failed"
    assert job.state.failure is not None
    assert "crashed" in job.state.failure.message
    assert "again" in job.state.failure.remedy


def test_cancel_leaves_nothing_behind(qtbot: QtBot, desk: Desk, fake_steps: None, tmp_path: Path) -> None:
    out = tmp_path / "out"
    job = desk.run(Task("Try", ("reconstruct", str(fake_scan(tmp_path / "s", do="child")), "--out", str(out)), "scan"))
    qtbot.waitUntil(lambda: job.state.message.endswith("step 3"), timeout=30_000)
    family = psutil.Process(job.process_id()).children(recursive=True)
    assert len(family) >= 2
    job.cancel()
    qtbot.waitUntil(lambda: job.is_over, timeout=15_000)
    assert job.state.kind == "cancelled"
    qtbot.waitUntil(lambda: not any(child.is_running() for child in family), timeout=10_000)
    assert not out.exists() or not half_written(out)


def test_jobs_wait_for_each_other(qtbot: QtBot, desk: Desk, fake_steps: None, tmp_path: Path) -> None:
    first = desk.run(
        Task("1", ("reconstruct", str(fake_scan(tmp_path / "a", seconds=1.0)), "--out", str(tmp_path / "o")), "scan")
    )
    second = desk.run(Task("2", ("reconstruct", str(fake_scan(tmp_path / "b")), "--out", str(tmp_path / "o")), "scan"))
    third = desk.run(Task("3", ("doctor",), "doctor"))
    assert (first.state.kind, second.state.kind) == ("running", "waiting")
    third.cancel()
    qtbot.waitUntil(lambda: second.state.kind == "running", timeout=30_000)
    assert first.is_over
    qtbot.waitUntil(lambda: second.is_over, timeout=30_000)
    assert [job.state.kind for job in desk.jobs.all] == ["done", "done", "cancelled"]


def test_the_panel_shows_progress_and_failure(qtbot: QtBot, desk: Desk, fake_steps: None, tmp_path: Path) -> None:
    panel = JobPanel()
    qtbot.addWidget(panel)
    panel.show()
    words = ("reconstruct", str(fake_scan(tmp_path / "s", seconds=1.0, do="fail")), "--out", str(tmp_path / "out"))
    job = desk.run(Task("Try", words, "scan"))
    panel.show_job(job)
    assert panel.cancel.isVisible()
    qtbot.waitUntil(lambda: panel.bar.value() > 0, timeout=30_000)
    qtbot.waitUntil(lambda: "Nothing can be seen" in panel.failed.text(), timeout=30_000)
    assert not panel.cancel.isVisible()
    assert "in the light" in panel.failed.text()
    panel.show_job(None)


@pytest.mark.parametrize(("seconds", "text"), [(4, "4 s"), (89, "89 s"), (170, "3 min"), (7500, "2 h 05 min")])
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


# --- the window -----------------------------------------------------------------------------------------------------


def test_it_begins_empty_and_says_what_to_do(window: MainWindow) -> None:
    start = window.page("start")
    assert isinstance(start, StartPage)
    assert start.tiles() == []
    assert all(not window._steps[step].isEnabled() for step in ("scan", "scene", "cousins", "policy", "robot"))
    window.show_step("policy")
    assert window._stack.currentWidget() is start


def test_a_scan_is_shown_before_anything_long_starts(
    qtbot: QtBot, window: MainWindow, fake_steps: None, tmp_path: Path
) -> None:
    scan = fake_scan(tmp_path / "Späti & Co.zip", missing=["no colour"])
    window.open_path(scan)
    dialog = open_dialog(window, ImportDialog)
    assert not dialog.go.isEnabled()
    qtbot.waitUntil(lambda: dialog.job.is_over, timeout=30_000)
    assert dialog.job.state.kind == "done", dialog.job.state.failure
    assert not dialog.sheet.pixmap().isNull()
    assert dialog.go.isEnabled()
    assert dialog.folder() == tmp_path / "Projekte für Ömer" / "Späti & Co"
    dialog._name.setText("a/b")
    assert not dialog.go.isEnabled()
    dialog._name.setText("Mein Tisch")
    qtbot.mouseClick(dialog.go, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(
        lambda: (job := window.desk.jobs.all[-1]).task.words[0] == "reconstruct" and job.is_over, timeout=60_000
    )
    assert window.desk.jobs.all[-1].state.kind == "done", window.desk.jobs.all[-1].state.failure
    assert window.desk.project is not None
    assert window.desk.project.folder == tmp_path / "Projekte für Ömer" / "Mein Tisch"
    assert window.desk.standing()["scene"].kind == "done"
    assert "Mein Tisch" in window.windowTitle()
    window.show_step("start")
    start = window.page("start")
    assert isinstance(start, StartPage)
    assert [tile.folder.name for tile in start.tiles()] == ["Mein Tisch"]


def test_what_is_no_scan_is_refused_in_the_dialog(qtbot: QtBot, window: MainWindow, tmp_path: Path) -> None:
    (tmp_path / "holiday.zip").write_bytes(b"no zip at all")
    window.open_path(tmp_path / "holiday.zip")
    dialog = open_dialog(window, ImportDialog)
    qtbot.waitUntil(lambda: dialog.job.is_over, timeout=30_000)
    assert "holiday.zip" in dialog.failed.text()
    assert not dialog.go.isEnabled()
    dialog.reject()


def test_two_scans_of_one_name_do_not_share_a_project(
    qtbot: QtBot, window: MainWindow, fake_steps: None, shell: Shell, tmp_path: Path
) -> None:
    project_of(shell, fake_scan(tmp_path / "a" / "desk"), window.desk.home)
    window.open_path(fake_scan(tmp_path / "b" / "desk"))
    dialog = open_dialog(window, ImportDialog)
    assert dialog.folder().name == "desk_2"
    dialog.reject()


def test_a_scan_that_has_a_project_leads_to_it(
    qtbot: QtBot, window: MainWindow, fake_steps: None, shell: Shell, tmp_path: Path
) -> None:
    scan = fake_scan(tmp_path / "desk")
    project = project_of(shell, scan, window.desk.home)
    window.open_path(scan)
    dialog = open_dialog(window, ImportDialog)
    assert "already" in dialog.there.text()
    assert dialog.folder() == project
    dialog._name.setText("another")
    assert dialog.there.text() == ""
    assert not dialog.open_it.isVisible()
    dialog._name.setText("desk")
    qtbot.mouseClick(dialog.open_it, Qt.MouseButton.LeftButton)
    assert window.desk.project is not None
    assert window.desk.project.folder == project


def test_what_may_not_be_the_name_is_said_and_stays_so_when_the_scan_is_read(
    qtbot: QtBot, window: MainWindow, fake_steps: None, shell: Shell, tmp_path: Path
) -> None:
    project_of(shell, fake_scan(tmp_path / "desk"), window.desk.home)
    (window.desk.home / "holidays").mkdir()
    (window.desk.home / "holidays" / "beach.jpg").touch()
    window.open_path(fake_scan(tmp_path / "other"))
    dialog = open_dialog(window, ImportDialog)
    assert not dialog.job.is_over
    dialog._name.setText("desk")
    qtbot.waitUntil(lambda: dialog.job.is_over, timeout=30_000)
    assert dialog.job.state.kind == "done", dialog.job.state.failure
    assert "already" in dialog.there.text()
    assert not dialog.go.isEnabled()
    for name, said in (("a/b:", "name of a folder"), ("", "a name"), ("holidays", "something else")):
        dialog._name.setText(name)
        assert said in dialog.there.text()
        assert not dialog.go.isEnabled()
        assert not dialog.open_it.isVisible()
    dialog._name.setText("other")
    assert dialog.there.text() == ""
    assert dialog.go.isEnabled()
    dialog.reject()


def test_a_project_that_waits_has_its_name_to_itself(
    qtbot: QtBot, window: MainWindow, fake_steps: None, tmp_path: Path
) -> None:
    window.desk.run(Task("Try", ("reconstruct", str(fake_scan(tmp_path / "s", do="hang"))), "batch"))
    window.desk.begin(window.desk.home / "desk", fake_scan(tmp_path / "desk"))
    window.page("scan").run()  # type: ignore[attr-defined]
    window.open_path(tmp_path / "desk")
    dialog = open_dialog(window, ImportDialog)
    qtbot.waitUntil(lambda: dialog.job.is_over, timeout=30_000)
    assert "about to be made" in dialog.there.text()
    assert not dialog.go.isEnabled()
    dialog.reject()


def test_a_project_is_found_again_though_the_window_was_killed_over_its_first_scene(
    qtbot: QtBot, window: MainWindow, fake_steps: None, preferences: QSettings, tmp_path: Path
) -> None:
    folder = tmp_path / "out" / "desk"
    window.desk.begin(folder, fake_scan(tmp_path / "desk", do="hang"))
    window.page("scan").run()  # type: ignore[attr-defined]
    job = window.desk.jobs.all[-1]
    qtbot.waitUntil(lambda: job.state.fraction > 0.0, timeout=30_000)
    window.show_step("start")
    start = window.page("start")
    assert isinstance(start, StartPage)
    assert [tile.folder for tile in start.tiles()] == [folder]
    # What another window finds on the disk while this one has had no time to clear up.
    left = QSettings(preferences.fileName(), QSettings.Format.IniFormat)
    after = MainWindow(left)
    qtbot.addWidget(after)
    again = after.page("start")
    assert isinstance(again, StartPage)
    assert [tile.folder for tile in again.tiles()] == [folder]
    assert "Unfinished" in again.tiles()[0].accessibleDescription()
    again.tiles()[0].chosen.emit(folder)
    assert after.desk.project is not None
    assert after._stack.currentWidget() is after._pages["scan"]
    after.close()
    job.cancel()
    qtbot.waitUntil(lambda: job.is_over, timeout=15_000)


def test_the_scan_page_has_room_for_all_its_settings(
    qtbot: QtBot, window: MainWindow, fake_steps: None, shell: Shell, tmp_path: Path
) -> None:
    project = project_of(shell, fake_scan(tmp_path / "desk"), tmp_path / "out")
    window.desk.open_project(project)
    window.resize(1180, 700)
    page = window.page("scan")
    assert isinstance(page, ScanPage)
    page.form.open_all()
    qtbot.wait(100)
    assert cut_off(page) == []
    side = page.aside.viewport().width()
    assert page.form.minimumSizeHint().width() <= side - 36
    assert page.onward.mapTo(page, QPoint(page.onward.width(), 0)).x() <= side - 18


def test_what_waits_is_listed_shown_and_cancelled(
    qtbot: QtBot, window: MainWindow, fake_steps: None, tmp_path: Path
) -> None:
    tasks = []
    for name in ("first", "second"):
        window.desk.begin(tmp_path / "out" / name, fake_scan(tmp_path / name, do="hang"))
        window.page("scan").run()  # type: ignore[attr-defined]
        tasks.append(window.desk.jobs.all[-1])
    qtbot.waitUntil(lambda: tasks[0].state.fraction > 0.0, timeout=30_000)
    assert window._foot_jobs.isVisible()
    assert window._foot_jobs.text() == "1 more waits"
    assert window._foot_jobs.toolTip()
    window._jobs_menu.aboutToShow.emit()
    menus = [action.menu() for action in window._jobs_menu.actions()]
    assert ["first" in menu.title() for menu in menus] == [True, False]  # type: ignore[attr-defined]
    assert "waits" in menus[1].title()  # type: ignore[attr-defined]
    show, cancel = menus[0].actions()  # type: ignore[attr-defined]
    show.trigger()
    assert window.desk.project is not None
    assert window.desk.project.name == "first"
    menus[1].actions()[0].trigger()  # type: ignore[attr-defined]
    assert window.desk.project.name == "second"  # though it is not on the disk yet
    menus[1].actions()[1].trigger()  # type: ignore[attr-defined]
    assert tasks[1].state.kind == "cancelled"
    assert not window._foot_jobs.isVisible()
    cancel.trigger()
    qtbot.waitUntil(lambda: tasks[0].is_over, timeout=15_000)


def test_a_job_that_runs_is_shown_again_when_one_that_waited_is_cancelled(
    qtbot: QtBot, window: MainWindow, fake_steps: None, tmp_path: Path
) -> None:
    window.desk.begin(tmp_path / "out" / "desk", fake_scan(tmp_path / "desk", do="hang"))
    page = window.page("scan")
    assert isinstance(page, ScanPage)
    first, second = page.start(page.task()), page.start(page.task())
    qtbot.waitUntil(lambda: first.state.fraction > 0.0, timeout=30_000)
    assert page.panel.job is second
    qtbot.mouseClick(page.panel.cancel, Qt.MouseButton.LeftButton)
    assert page.panel.job is first
    assert page.panel.cancel.isVisible()
    qtbot.mouseClick(page.panel.cancel, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: first.is_over, timeout=15_000)


def test_a_scene_is_made_anew_though_only_a_hand_has_changed_it(
    qtbot: QtBot, window: MainWindow, fake_steps: None, shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = project_of(shell, fake_scan(tmp_path / "desk"), tmp_path / "out")
    path = project / "scene" / "scene.json"
    before = path.read_bytes()
    assert window.desk.open_project(project)
    page = window.page("scan")
    assert isinstance(page, ScanPage)
    qtbot.mouseClick(page.go, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: page.unchanged.isVisible(), timeout=60_000)  # nothing was done, and that is said
    path.write_text(json.dumps({**json.loads(before), "edited": ["Delete object_01"]}), encoding="utf-8")
    monkeypatch.setattr(page, "_may_lose", lambda: False)
    qtbot.mouseClick(page.go, Qt.MouseButton.LeftButton)
    assert len(window.desk.jobs.all) == 1
    monkeypatch.setattr(page, "_may_lose", lambda: True)
    qtbot.mouseClick(page.go, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: window.desk.jobs.all[-1].is_over, timeout=60_000)
    made = json.loads(path.read_bytes())
    assert made["objects"] == json.loads(before)["objects"]
    assert "edited" not in made
    assert (project / "scene_edited_1").is_dir()
    assert page.onward.isVisible()
    qtbot.mouseClick(page.onward, Qt.MouseButton.LeftButton)
    assert window._stack.currentWidget() is window._pages["scene"]


def test_a_scan_that_is_gone_is_said(
    qtbot: QtBot, window: MainWindow, fake_steps: None, shell: Shell, tmp_path: Path
) -> None:
    scan = fake_scan(tmp_path / "desk.zip")
    project = project_of(shell, scan, tmp_path / "out")
    scan.unlink()
    assert window.desk.open_project(project)
    page = window.page("scan")
    assert isinstance(page, ScanPage)
    qtbot.waitUntil(lambda: "desk.zip" in page.trouble.text(), timeout=30_000)


def test_what_a_batch_has_made_is_among_the_recent_ones(
    qtbot: QtBot, desk: Desk, fake_steps: None, tmp_path: Path
) -> None:
    scans = [fake_scan(tmp_path / name) for name in ("a", "b")]
    job_of(qtbot, desk, "reconstruct", *scans, "--out", tmp_path / "out")
    assert {folder.name for folder in desk.recent()} == {"a", "b"}


def test_dropping_opens(qtbot: QtBot, window: MainWindow, fake_steps: None, shell: Shell, tmp_path: Path) -> None:
    project = project_of(shell, fake_scan(tmp_path / "desk"), tmp_path / "out")
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(project))])
    copy = Qt.DropAction.CopyAction
    drop = QDropEvent(QPoint(9, 9), copy, data, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier)
    window.dropEvent(drop)
    assert window.desk.project is not None
    assert window.desk.project.folder == project
    assert window._stack.currentWidget() is window._pages["cousins"]  # the first step that is not done


def test_recent_projects_that_are_gone_are_not_offered(
    window: MainWindow, fake_steps: None, shell: Shell, tmp_path: Path
) -> None:
    project = project_of(shell, fake_scan(tmp_path / "desk"), tmp_path / "out")
    window.desk.open_project(project)
    assert window.desk.recent() == [project]
    (project / "project.json").unlink()
    assert window.desk.recent() == []
    assert not window.desk.open_project(project)
    box = window.findChildren(QMessageBox)[0]
    assert "no Pocketworld project" in box.text()
    box.close()


def test_states_are_seen_in_the_walk(window: MainWindow, fake_steps: None, shell: Shell, tmp_path: Path) -> None:
    scan = fake_scan(tmp_path / "desk.zip")
    project = project_of(shell, scan, tmp_path / "out")
    window.desk.open_project(project)
    assert window._steps["scene"].accessibleName() == "Scene: 2 objects"
    assert window._steps["cousins"].accessibleName() == "Cousins: Not made yet."
    later = time.time() + 5.0
    os.utime(scan, (later, later))
    window.desk.refreshed.emit()
    assert window._steps["scene"].accessibleName() == "Scene: 2 objects, the scan has changed since"
    cousins = project / "cousins"
    cousins.mkdir()
    record = {"figures": {"count": 7}, "inputs": {"scene": "blake2b:another"}}
    (cousins / "stage.json").write_text(json.dumps(record), encoding="utf-8")
    window.desk.refreshed.emit()
    assert "7 cousins, the scene has changed" in window._steps["cousins"].accessibleName()


def test_closing_asks_and_stops_what_runs(
    qtbot: QtBot, window: MainWindow, fake_steps: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = window.desk.run(
        Task("Try", ("reconstruct", str(fake_scan(tmp_path / "s", do="hang")), "--out", str(tmp_path / "o")), "batch")
    )
    qtbot.waitUntil(lambda: job.state.fraction > 0.0, timeout=30_000)
    process = psutil.Process(job.process_id())

    def answer(text: str) -> None:
        box = QApplication.activeModalWidget()
        assert isinstance(box, QMessageBox)
        button = next(button for button in box.buttons() if button.text() == text)
        assert isinstance(button, QPushButton)
        button.click()

    QTimer.singleShot(200, lambda: answer("Stay"))
    assert not window.close()
    assert window.isVisible()
    assert process.is_running()
    QTimer.singleShot(200, lambda: answer("Stop it and close"))
    assert window.close()
    assert not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    assert job.state.kind == "cancelled"


def test_a_killed_window_takes_its_job_along_and_loses_nothing(shell: Shell, fake_steps: None, tmp_path: Path) -> None:
    """As `kill -9` of the window: a process that holds a job's stdin, and is gone."""
    out = tmp_path / "out"
    done = project_of(shell, fake_scan(tmp_path / "desk"), out)
    scan = fake_scan(tmp_path / "s", do="child")
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import subprocess, sys, os, time\n"
            "child = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,"
            " env={**os.environ, 'POCKETWORLD_LIFE_LINE': '1'})\n"
            "print(child.pid, flush=True)\ntime.sleep(600)",
            *(sys.executable, "-m", "app.cli", "reconstruct", str(scan), "--out", str(out), "--json"),
        ],
        stdout=subprocess.PIPE,
        env=environment(fake=True),
    )
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    deadline = time.monotonic() + 30.0
    while len(family := child.children(recursive=True)) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    gone, alive = psutil.wait_procs([child, *family], timeout=15)
    assert alive == []
    assert half_written(out) == set()
    assert Project(done).record("scene")["figures"]["objects"] == 2


def test_the_window_listens_while_a_job_runs(
    qtbot: QtBot, window: MainWindow, fake_steps: None, tmp_path: Path
) -> None:
    scan = fake_scan(tmp_path / "s", seconds=3.0)
    window.desk.begin(tmp_path / "out" / "s", scan)
    window.show_step("scan")
    qtbot.wait(500)
    with Heartbeat() as heartbeat:
        page = window.page("scan")
        page.run()  # type: ignore[attr-defined]
        job = window.desk.jobs.all[-1]
        qtbot.waitUntil(lambda: job.is_over, timeout=60_000)
    assert job.state.kind == "done", job.state.failure
    assert heartbeat.longest_s < 0.1


def test_both_themes_and_the_persons_choice_is_kept(qtbot: QtBot, window: MainWindow, preferences: QSettings) -> None:
    dialog = Preferences(window.desk, window)
    for name in ("light", "dark"):
        dialog.theme.setCurrentIndex(dialog.theme.findData(name))
        assert theme.current() is theme.THEMES[name]
        assert preferences.value("theme") == name
        color = window.grab().toImage().pixelColor(600, 700).lightness()
        assert (color > 200) if name == "light" else (color < 60)
    dialog.home.setText("~/somewhere")
    dialog.home.editingFinished.emit()
    assert window.desk.home == Path.home() / "somewhere"
    dialog.accept()
    dialog.deleteLater()


def test_the_computer_is_checked(qtbot: QtBot, desk: Desk) -> None:
    dialog = Doctor(desk)
    qtbot.addWidget(dialog)
    dialog.show()
    qtbot.waitUntil(lambda: dialog.job.is_over, timeout=90_000)
    assert dialog.job.state.kind == "done", dialog.job.state.failure
    assert dialog.found.count() == 1 + len(dialog.job.state.result["checks"]) > 5  # and what that comes to
    assert not dialog.failed.isVisible()
    dialog.reject()


def test_the_tour_goes_through_five_steps(qtbot: QtBot, desk: Desk) -> None:
    tour = Tour(desk)
    qtbot.addWidget(tour)
    seen = []
    for _ in range(5):
        seen.append(tour._title.text())
        tour._next.click()
    assert seen == [title for title, _ in steps()]
    assert tour.result() == Tour.DialogCode.Accepted


def test_everything_is_reached_by_keyboard(window: MainWindow) -> None:
    unnamed = [
        button
        for button in window.findChildren(QPushButton)
        if button.isVisible() and not (button.text() or button.accessibleName())
    ]
    assert unnamed == []
    shortcuts = {
        action.shortcut().toString() for menu in window.menuBar().actions() for action in menu.menu().actions()
    }
    assert {"Ctrl+O", "Ctrl+Shift+O", "Ctrl+B", "Ctrl+Q", "Ctrl+0", "Ctrl+5", "F1"} <= shortcuts


def test_the_command_opens_it_and_a_signal_closes_it(tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path), "QT_QPA_PLATFORM": "offscreen"}
    process = subprocess.Popen(
        [sys.executable, "-m", "app.cli"], env={**environment(fake=True), **home}, stderr=subprocess.PIPE
    )
    time.sleep(4.0)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    _, complaints = process.communicate(timeout=20)
    assert process.returncode == 0
    assert b"Traceback" not in complaints


def test_without_a_display_it_says_what_to_do(shell: Shell) -> None:
    none = {name: "" for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")}
    run = shell(env=none)
    assert run.code == 6
    assert "no display" in run.stderr
    assert "--help" in run.stderr
    assert "Traceback" not in run.stderr
