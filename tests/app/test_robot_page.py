"""The robot page: every state, on made-up projects and a small real bundle, with a made-up command line."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QColor, QImage
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QComboBox, QLabel, QLineEdit
from pytestqt.qtbot import QtBot

from app.gui import robot_page, theme
from app.gui.background import Stopped, at_work
from app.gui.bundle_contents import Checked
from app.gui.desk import Desk
from app.gui.robot_page import RobotPage
from app.gui.walk import standing
from app.project import Project
from policies.deploy.bundle import sha256
from tests.app.skill_projects import (
    NAME,
    SOURCE,
    FakeCommand,
    film,
    made_policy,
    made_project,
    made_reality,
    progress,
    result,
    share,
    understood,
)
from tests.app.windows import cut_off, told_nothing
from tests.bundles import change, make_seeing_bundle

RAN = {
    "event": "result",
    "robot": "dry-run",
    "task": "place stick_1 in container_2",
    "success": None,
    "runs": 1,
    "successes": None,
    "dataset": "/runs/dry-run",
    "ticks": 21,
    "seconds": 2.1,
    "missed": 3,
    "stopped": "a key was pressed",
    "fault": False,
    "trust": 0.8,
}


@pytest.fixture(scope="module")
def pattern(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that looks at two cameras, with the figures of `made_policy`."""
    folder = make_seeing_bundle(tmp_path_factory.mktemp("pattern") / NAME)
    document = json.loads((folder / "manifest.json").read_text())
    document["training"] = {"dataset": NAME, "task": "put stick_1 in container_2", "robot": "panda", "seed": 3}
    document["training"]["episodes"] = 85
    document["evaluation"] = share(66, 100, 0.5628, 0.7454)
    document["trust"] = {"horizons": [4, 8, 16], "limit_m": 0.1922, "false_stops": 0.0448}
    document["policy"]["source"] = SOURCE
    (folder / "manifest.json").write_text(json.dumps(document))
    return folder


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeCommand:
    return FakeCommand(tmp_path / "command", monkeypatch)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return made_project(tmp_path / "Küche 1")


@pytest.fixture
def full(project: Path, pattern: Path) -> Path:
    """A project with a policy, its bundle and its reality check."""
    made_reality(made_policy(project))
    shutil.copytree(pattern, project / "bundle" / NAME)
    return project


@pytest.fixture
def page(qtbot: QtBot, desk: Desk, command: FakeCommand) -> Iterator[RobotPage]:
    made = RobotPage(desk)
    made.resize(1090, 740)
    made.show()
    qtbot.waitExposed(made)
    yield made
    desk.jobs.stop_all()
    made.close()
    made.deleteLater()
    assert at_work() == 0


def choose(page: RobotPage, robot: str) -> None:
    page.robot.setCurrentIndex([name for name, _, _ in page.robots].index(robot))


def test_without_a_bundle_it_leads_to_what_comes_first(
    qtbot: QtBot, page: RobotPage, desk: Desk, project: Path
) -> None:
    assert page.empty.isVisible()
    assert not page.go.isEnabled()
    assert not page.tabs.isVisible()
    with qtbot.waitSignal(desk.step_wanted) as wanted:
        page.to_policy.click()
    assert wanted.args == ["scan"]
    desk.open_project(project)
    with qtbot.waitSignal(desk.step_wanted) as wanted:
        page.to_policy.click()
    assert wanted.args == ["policy"]
    with qtbot.waitSignal(desk.problem):
        page.run()


def test_what_a_bundle_holds(qtbot: QtBot, page: RobotPage, desk: Desk, full: Path) -> None:
    desk.open_project(full)
    assert not page.empty.isVisible()
    assert page.bundles.currentText() == NAME
    assert "comparing" in page.inside.facts.text()
    qtbot.waitUntil(lambda: "all as they were exported" in page.inside.facts.text())
    text = page.inside.facts.text()
    for words in (
        "place block_1 in bowl_1",
        "panda, 7 joints",
        "10 commands a second",
        "before the arm (32 × 32), on the hand (32 × 32)",
        "85 demonstrations",
        "66 % in unseen cousins",
        "19.2 cm",
        "4 % of its successes",
        "2, all as they were exported",
    ):
        assert words in text
    assert not page.inside.damaged.text()
    assert not page.stale.text()


def test_a_damaged_file_is_found(qtbot: QtBot, page: RobotPage, desk: Desk, full: Path) -> None:
    network = full / "bundle" / NAME / "policy.onnx"
    network.write_bytes(network.read_bytes() + b"x")
    desk.open_project(full)
    qtbot.waitUntil(lambda: bool(page.inside.damaged.text()))
    assert "SHA-256" in page.inside.damaged.text()
    assert "damaged" in page.inside.facts.text()


def test_files_are_compared_only_while_somebody_looks(
    qtbot: QtBot, page: RobotPage, desk: Desk, full: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def slow(folder: Path, files: int, stopped: Stopped) -> Checked:
        asked.append(folder)
        while not stopped() and len(asked) < 2:
            time.sleep(0.01)
        return Checked(files, "", {})

    monkeypatch.setattr("app.gui.robot_page.check", slow)
    desk.open_project(full)
    assert at_work() == 1
    page.hide()
    assert at_work() == 0
    assert "comparing" in page.inside.facts.text()
    page.show()
    qtbot.waitUntil(lambda: "all as they were exported" in page.inside.facts.text())


@pytest.mark.parametrize("text", ["{", '{"format": "pocketworld.bundle", "version": 99}'])
def test_a_manifest_that_is_none_is_said(page: RobotPage, desk: Desk, full: Path, text: str) -> None:
    (full / "bundle" / NAME / "manifest.json").write_text(text)
    desk.open_project(full)
    assert page.inside.damaged.isVisible()
    assert not page.go.isEnabled()


def test_a_manifest_of_nonsense_does_no_harm(qtbot: QtBot, page: RobotPage, desk: Desk, full: Path) -> None:
    head = {"format": "pocketworld.bundle", "version": 1, "rate_hz": "fast", "robot": [], "files": {"a": 1}}
    (full / "bundle" / NAME / "manifest.json").write_text(json.dumps({**head, "cameras": {"front": 3}, "trust": {}}))
    desk.open_project(full)
    qtbot.waitUntil(lambda: bool(page.inside.damaged.text()))


def test_a_policy_that_was_trained_again_makes_the_bundle_stale(page: RobotPage, desk: Desk, full: Path) -> None:
    desk.open_project(full)
    assert not page.stale.text()
    (full / "policy" / NAME / "policy.safetensors").touch()
    desk.refreshed.emit()
    assert page.stale.isVisible()


def test_a_bundle_from_elsewhere(qtbot: QtBot, page: RobotPage, desk: Desk, pattern: Path, tmp_path: Path) -> None:
    with qtbot.waitSignal(desk.problem):
        page.open_bundle(tmp_path)
    page.open_bundle(pattern)
    assert page.contents is not None
    assert page.contents.folder == pattern
    page.open_bundle(pattern)
    assert page.bundles.count() == 1
    qtbot.waitUntil(lambda: at_work() == 0)
    assert not page.reality.reality.isEnabled()  # no project is open
    assert not page.inside.export.isEnabled()
    with pytest.raises(ValueError, match="needs a scene"):
        page.task()
    choose(page, "dry-run")
    understood(page.task().words)


def test_reality_beside_simulation(qtbot: QtBot, page: RobotPage, desk: Desk, full: Path) -> None:
    desk.open_project(full)
    page.tabs.setCurrentWidget(page.reality)
    panel = page.reality
    assert [panel.figures[key][0].text() for key in ("simulated", "real", "gap")] == ["66 %", "65 %", "1 point"]
    assert "-15 and 19" in panel.figures["gap"][2].text()
    assert "13 × the time is over" in panel.reality_more.text()
    assert "10 failures and 7 successes" in panel.reality_more.text()
    assert [group.name for group in panel.factors.groups] == ["nothing", "camera", "mass"]  # what costs most first
    assert panel.factors.groups[1].bars[0].text == "4 / 10  (-50 points)"
    assert not panel.reality_stale.text()
    assert [panel.figures[key][1]._color for key in ("simulated", "real")] == ["accent", "accent"]
    qtbot.waitUntil(lambda: panel.player.frames == 8)
    made_reality(full / "policy" / NAME, source="blake2b:11")
    desk.refreshed.emit()
    assert "another policy" in panel.reality_stale.text()
    reality = json.loads((full / "policy" / NAME / "reality.json").read_text())
    (full / "policy" / NAME / "reality.json").write_text(json.dumps({**reality, "successes": 1}))
    desk.refreshed.emit()
    assert [panel.figures[key][1]._color for key in ("simulated", "real")] == ["accent", "warn"]
    (full / "policy" / NAME / "reality.json").write_text('{"count": 3, "successes": null, "factors": []}')
    desk.refreshed.emit()
    assert not panel.shares.isVisible()
    assert "Not tried yet" in panel.reality_said.text()


def test_the_reality_check_runs(qtbot: QtBot, page: RobotPage, desk: Desk, full: Path, command: FakeCommand) -> None:
    desk.open_project(full)
    command.will(progress(0.1, "everything otherwise: 1 of 40 tries"), {"await": str(command.gate)}, result(count=40))
    page.reality.tries.setValue(40)
    page.reality.each.setValue(6)
    page.reality.reality.click()
    qtbot.waitUntil(lambda: "1 of 40" in page.panel._what.text())
    assert not page.reality.reality.isEnabled()
    assert not page.stop.isEnabled()  # nothing moves
    command.gate.touch()
    qtbot.waitUntil(lambda: page.reality.reality.isEnabled())
    bundle = str(full / "bundle" / NAME)
    assert command.words == [["reality-check", bundle, "--project", str(full), "--count", "40", "--each", "6"]]
    understood(command.words[0])


def test_export_again_and_for_ros2(qtbot: QtBot, page: RobotPage, desk: Desk, full: Path, command: FakeCommand) -> None:
    desk.open_project(full)
    assert page.inside.anyway.isChecked()  # 66 of 100 is less than an export wants
    page.inside.ros2.click()
    qtbot.waitUntil(lambda: page.inside.export.isEnabled())
    page.inside.anyway.setChecked(False)
    page.inside.export.click()
    qtbot.waitUntil(lambda: page.inside.export.isEnabled())
    named = ["--task", "put stick_1 in container_2", "--robot", "panda", "--seed", "3"]
    common = ["export", str(full), *named, "--out", str(full / "bundle" / NAME)]
    assert command.words == [[*common, "--ros2", "--anyway"], common]
    for words in command.words:
        understood(words)


# --- running --------------------------------------------------------------------------------------------------------


def start(qtbot: QtBot, page: RobotPage, command: FakeCommand, **more: object) -> None:
    command.will(progress(0.1, "2.0 s"), {"await": str(command.gate)}, {"say": RAN}, **more)  # type: ignore[arg-type]
    choose(page, "dry-run")
    page.go.click()
    qtbot.waitUntil(lambda: page.live_more.text() == "2.0 s")


@pytest.mark.parametrize(
    ("found", "stands"),
    [
        ({"successes": 66, "count": 100}, ("done", "1 bundle")),
        ({"successes": 13, "count": 100}, ("weak", "1 bundle: 13 % success")),
        ({"successes": 0, "count": 4}, ("weak", "1 bundle: 0 % success")),
        ({"successes": 0, "count": 0}, ("done", "1 bundle")),
        ("nonsense", ("done", "1 bundle")),
    ],
)
def test_a_bundle_that_hardly_ever_succeeds_is_not_green(full: Path, found: object, stands: tuple[str, str]) -> None:
    change(full / "bundle" / NAME, "evaluation", to=found)
    there = standing(Project(full))["robot"]
    assert (there.kind, there.text) == stands


def test_a_run_and_its_result(qtbot: QtBot, page: RobotPage, desk: Desk, full: Path, command: FakeCommand) -> None:
    desk.open_project(full)
    assert not page.stop.isEnabled()
    assert page.stop.objectName() == "stop"
    start(qtbot, page, command)
    assert page.stop.isEnabled()
    assert not page.go.isEnabled()
    assert page.live_said.text() == "Running"
    assert page.trust.share is None
    command.gate.touch()
    qtbot.waitUntil(lambda: page.go.isEnabled())
    assert not page.stop.isEnabled()
    assert page.live_said.text() == "Ended"
    for words in ("a key was pressed, after 21 commands", "3 commands went out late", "Recorded: /runs/dry-run"):
        assert words in page.live_more.text()
    assert page.trust.share == (0.8, 0.8, 0.8)
    assert page.trust._color == "good"
    assert command.words == [["run", str(full / "bundle" / NAME), "--robot", "dry-run", "--project", str(full)]]
    understood(command.words[0])
    # Another job of the page leaves the run's result where it is.
    command.will(result(count=1))
    page.reality.reality.click()
    qtbot.waitUntil(lambda: len(command.words) == 2 and page.go.isEnabled())
    assert page.live_said.text() == "Ended"


def test_trust_is_shown_while_it_runs(
    qtbot: QtBot, page: RobotPage, desk: Desk, full: Path, command: FakeCommand
) -> None:
    desk.open_project(full)
    steps = [progress(0.1, "1.0 s"), {"await": str(command.gate)}, progress(0.2, "2.0 s, trust 0.35")]
    command.will(*steps, {"await": str(command.folder / "never")}, stopped={**RAN, "trust": 0.35})
    choose(page, "dry-run")
    page.go.click()
    qtbot.waitUntil(lambda: page.live_more.text() == "1.0 s")
    assert page.trust.share is None
    command.gate.touch()
    qtbot.waitUntil(lambda: page.trust.share == (0.35, 0.35, 0.35))
    assert page.trust._color == "bad"
    assert page.trust_said.text() == "0.35 now"
    page.stop.click()
    qtbot.waitUntil(lambda: page.trust_said.text() == "0.35 at the lowest")


@pytest.mark.parametrize(
    ("figures", "said"),
    [
        ({"success": True, "trust": 0.2}, "Done"),
        ({"success": False}, "Not done"),
        ({"runs": 10, "successes": 7}, "7 of 10 runs succeeded"),
        ({"fault": True, "stopped": "the connection is lost: x"}, "Ended by a fault"),
        ({"trust": None}, "Ended"),
    ],
)
def test_how_a_run_ended(
    qtbot: QtBot,
    page: RobotPage,
    desk: Desk,
    full: Path,
    command: FakeCommand,
    figures: dict[str, object],
    said: str,
) -> None:
    desk.open_project(full)
    command.will({"say": {**RAN, **figures}}, {"exit": int(bool(figures.get("fault")))})
    page.go.click()
    qtbot.waitUntil(lambda: page.live_said.text() == said)
    if figures.get("trust", 0.8) is None:
        assert "only acts" in page.trust_said.text()
    else:
        assert page.trust._color == ("bad" if figures.get("trust") == 0.2 else "good")


@pytest.mark.parametrize("how", ["button", "space", "escape", "space in a field"])
def test_stop_ends_a_run_at_once(
    qtbot: QtBot, page: RobotPage, desk: Desk, full: Path, command: FakeCommand, how: str
) -> None:
    desk.open_project(full)
    start(qtbot, page, command)
    job = page.panel.job
    assert job is not None
    if how == "button":
        page.stop.click()
    elif how == "space in a field":
        page.kind.setFocus()
        QTest.keyClick(page.kind, Qt.Key.Key_Space)
        assert page.kind.text() == "so101_follower"  # nothing is typed
    else:
        QTest.keyClick(page, Qt.Key.Key_Space if how == "space" else Qt.Key.Key_Escape)
    qtbot.waitUntil(lambda: job.state.kind == "cancelled", timeout=2000)
    assert page.live_said.text() == "Stopped"
    assert "was brought to rest. This run was not recorded" in page.live_more.text()
    assert not page.stop.isEnabled()
    QTest.keyClick(page.kind, Qt.Key.Key_Space)
    assert page.kind.text().endswith(" ")  # the key is a key again


def test_stop_and_tabs_never_move(qtbot: QtBot, page: RobotPage, desk: Desk, full: Path, command: FakeCommand) -> None:
    desk.open_project(full)

    def places() -> tuple[object, ...]:
        QApplication.processEvents()
        return page.stop.mapTo(page, QPoint()), page.stop.size(), page.tabs.geometry()

    before = places()
    start(qtbot, page, command, stopped={**RAN, "dataset": "/runs/" + 20 * "a long name/", "stopped": "told " * 40})
    assert places() == before
    page.stop.click()
    qtbot.waitUntil(lambda: page.live_said.text().startswith("Stopped"))
    assert places() == before
    assert page.live_more.isVisible()
    error = {"event": "error", "code": "bad", "message": "It is not so. " * 60, "remedy": "Do otherwise."}
    command.will({"say": error}, {"exit": 2})
    page.go.click()
    qtbot.waitUntil(lambda: page.live_said.text() == "The run failed")
    assert places() == before


def test_films_of_a_run(qtbot: QtBot, page: RobotPage, desk: Desk, full: Path, command: FakeCommand) -> None:
    desk.open_project(full)
    panel = page.run_panel
    assert not panel.player.isVisible()
    assert "After a run" in panel.said.text()
    runs = full / "bundle" / f"{NAME}_runs" / "sim_failures"
    for number, frames in enumerate((4, 8)):  # a file of each run
        for camera in ("front", "wrist"):
            place = f"videos/observation.images.{camera}/chunk-000/file-00{number}.mp4"
            os.utime(film(runs / place, frames), (1_700_000_000 + number,) * 2)
    command.will({"await": str(command.gate)}, {"say": {**RAN, "robot": "sim", "dataset": str(runs)}})
    page.go.click()
    qtbot.waitUntil(lambda: "has ended" in panel.said.text())
    command.gate.touch()
    qtbot.waitUntil(lambda: page.tabs.currentWidget() is panel)  # nobody looks at another tab
    assert [panel.player.choice.itemText(index) for index in range(2)] == ["before the arm", "on the hand"]
    qtbot.waitUntil(lambda: panel.player.frames == 8)
    assert cut_off(page) == []
    assert told_nothing(page) == []
    page.tabs.setCurrentWidget(page.inside)
    desk.refreshed.emit()
    assert page.tabs.currentWidget() is page.inside


@pytest.mark.parametrize("cameras", [True, False])
def test_a_run_without_films_says_so(
    qtbot: QtBot, page: RobotPage, desk: Desk, full: Path, command: FakeCommand, cameras: bool
) -> None:
    if not cameras:
        change(full / "bundle" / NAME, "cameras", to={})
    desk.open_project(full)
    command.will({"say": {**RAN, "dataset": str(full / "runs")}})
    page.go.click()
    qtbot.waitUntil(lambda: page.live_said.text() == "Ended")
    said = page.run_panel.said.text()
    assert said == ("This run has left no film." if cameras else "This policy looks at no camera: nothing was filmed.")
    assert page.tabs.currentWidget() is page.inside


def test_one_command_is_told_as_one(
    qtbot: QtBot, page: RobotPage, desk: Desk, full: Path, command: FakeCommand
) -> None:
    change(full / "bundle" / NAME, "training", "episodes", to=1)
    path = full / "policy" / NAME / "reality.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "would_be_stopped": {"failures": 1, "successes": 1}}))
    desk.open_project(full)
    command.will({"say": {**RAN, "ticks": 1, "missed": 1}})
    page.go.click()
    qtbot.waitUntil(lambda: page.live_said.text() == "Ended")
    assert "after 1 command in" in page.live_more.text()
    assert "1 command went out late" in page.live_more.text()
    assert "1 demonstration\n" in page.inside.facts.text()
    assert "1 failure and 1 success." in page.reality.reality_more.text()


def test_a_stopped_run_that_says_what_it_recorded_is_shown(
    qtbot: QtBot, page: RobotPage, desk: Desk, full: Path, command: FakeCommand
) -> None:
    desk.open_project(full)
    start(qtbot, page, command, stopped={**RAN, "dataset": "/runs/kept"})
    page.stop.click()
    qtbot.waitUntil(lambda: "Recorded: /runs/kept" in page.live_more.text(), timeout=2000)
    assert page.live_said.text() == "Stopped; recorded in kept"


def test_a_run_stopped_before_it_moved_has_recorded_nothing(
    qtbot: QtBot, page: RobotPage, desk: Desk, full: Path, command: FakeCommand
) -> None:
    desk.open_project(full)
    start(qtbot, page, command, stopped={**RAN, "ticks": 0})
    page.stop.click()
    qtbot.waitUntil(lambda: page.live_said.text() == "Stopped; nothing was recorded")


def test_a_run_stopped_while_it_was_read_says_that_nothing_moved(
    qtbot: QtBot, page: RobotPage, desk: Desk, full: Path, command: FakeCommand
) -> None:
    desk.open_project(full)
    command.will(progress(0.0, "reading the bundle"), {"await": str(command.gate)}, {"say": RAN})
    choose(page, "dry-run")
    page.go.click()
    qtbot.waitUntil(lambda: page.live_more.text() == "reading the bundle")
    page.stop.click()
    qtbot.waitUntil(lambda: page.live_said.text() == "Stopped", timeout=2000)
    assert "had not moved" in page.live_more.text()


def test_another_page_keeps_its_keys(
    qtbot: QtBot, page: RobotPage, desk: Desk, full: Path, command: FakeCommand
) -> None:
    desk.open_project(full)
    start(qtbot, page, command)
    page.hide()
    field = QLineEdit()
    qtbot.addWidget(field)
    field.show()
    QTest.keyClick(field, Qt.Key.Key_Space)
    assert field.text() == " "
    assert page.live_more.text() == "2.0 s"
    assert page.is_running()


def test_a_run_that_fails(qtbot: QtBot, page: RobotPage, desk: Desk, full: Path, command: FakeCommand) -> None:
    desk.open_project(full)
    error = {"event": "error", "code": "no_scene", "message": "No such cousin.", "remedy": "Choose another."}
    command.will({"say": error}, {"exit": 2})
    page.go.click()
    qtbot.waitUntil(lambda: page.live_said.text() == "The run failed")
    assert page.live_more.text() == "No such cousin."
    assert "Choose another" in page.panel.failed.text()


def test_a_real_arm_gets_its_command(page: RobotPage, desk: Desk, full: Path) -> None:
    desk.open_project(full)
    choose(page, "lerobot")
    assert page.terminal.isVisible()
    assert not page.go.isVisible()
    assert not page.live.isVisible()
    page.arm_form.set_values({"port": "/dev/ttyACM0", "id": "my arm"})
    text = page.command.toPlainText()
    assert text.startswith("/")  # to be pasted wherever the terminal is
    words = ["--robot", "lerobot:so101_follower", "--port", "/dev/ttyACM0", "--id"]
    assert " ".join(words) in text
    assert "'my arm'" in text
    assert "--project" not in text
    page.copy.click()
    assert QApplication.clipboard().text() == text
    understood(page.run_words())
    with pytest.raises(ValueError, match="terminal"):
        page.task()
    page.kind.setText(" ")
    assert "missing" in page.command.toPlainText()


def test_what_is_plugged_in_and_calibrated_is_offered(
    page: RobotPage, desk: Desk, full: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offered(name: str) -> list[str]:
        box = page.arm_form.control(name).widget
        assert isinstance(box, QComboBox)
        return [box.itemText(number) for number in range(box.count())]

    arms = {"so101_follower": ("left", "right"), "koch_follower": ("old",)}
    monkeypatch.setattr(robot_page, "serial_ports", lambda: ("/dev/ttyACM0", "/dev/ttyACM1"))
    monkeypatch.setattr(robot_page, "calibrated", lambda kind: arms.get(kind, ()))
    desk.open_project(full)
    choose(page, "lerobot")
    assert (offered("port"), offered("id")) == (["/dev/ttyACM0", "/dev/ttyACM1"], ["left", "right"])
    assert not {"--port", "--id"} & set(page.run_words())  # nothing is chosen for anybody
    page.arm_form.set_values({"port": "/dev/ttyACM1"})
    page.kind.setText("koch_follower")
    page.kind.editingFinished.emit()
    assert offered("id") == ["old"]
    words = page.run_words()
    assert "/dev/ttyACM1" in words
    assert "lerobot:koch_follower" in words


def test_a_real_arm_begins_slowly(page: RobotPage, desk: Desk, full: Path) -> None:
    desk.open_project(full)
    speed, cousin = page.form.control("speed"), page.form.control("cousin")
    cousin.write(3)
    assert cousin.widget.isVisible()
    assert "--cousin" in page.run_words()
    choose(page, "lerobot")
    assert speed.read() == 0.1
    assert "--speed 0.1" in page.command.toPlainText()
    assert "any key there stops the arm" in " ".join(said.text() for said in page.terminal.findChildren(QLabel))
    assert not cousin.widget.isVisible()
    assert "--cousin" not in page.run_words()
    choose(page, "dry-run")
    assert speed.read() == 1.0
    assert not cousin.widget.isVisible()
    assert "--cousin" not in page.run_words()
    choose(page, "stand-in")
    assert cousin.widget.isVisible()
    speed.write(0.5)
    choose(page, "lerobot")
    assert speed.read() == 0.1
    choose(page, "sim")
    assert speed.read() == 0.5  # as it was set


def test_what_speaks_against_a_real_arm(page: RobotPage, desk: Desk, full: Path) -> None:
    desk.open_project(full)
    assert page.doubts.isHidden()
    choose(page, "lerobot")
    assert "for the arm panda" in page.doubts.text()
    assert "so101_follower is another one" in page.doubts.text()
    assert cut_off(page) == []
    page.kind.setText("somebody_s_arm")  # nobody knows
    assert page.doubts.isHidden()
    change(full / "bundle" / NAME, "robot", "name", to="so101")
    desk.refreshed.emit()
    for kind in ("so101_follower", "so100_follower", "koch_follower"):
        page.kind.setText(kind)
        assert page.doubts.isHidden()
    change(full / "bundle" / NAME, "evaluation", "successes", to=49)
    change(full / "bundle" / NAME, "cameras", to={})
    desk.refreshed.emit()
    assert "49 %" in page.doubts.text()
    assert "only a simulation knows" in page.doubts.text()
    choose(page, "sim")
    assert page.doubts.isHidden()


# --- cameras --------------------------------------------------------------------------------------------------------


def picture(path: Path, color: str) -> str:
    made = QImage(64, 48, QImage.Format.Format_RGB888)
    made.fill(QColor(color))
    assert made.save(str(path))
    return str(path)


def test_a_camera_is_found(
    qtbot: QtBot, page: RobotPage, desk: Desk, full: Path, command: FakeCommand, tmp_path: Path
) -> None:
    desk.open_project(full)
    panel = page.cameras
    page.tabs.setCurrentWidget(panel)
    assert not panel.align.isEnabled()
    first, second = picture(tmp_path / "a b.png", "red"), picture(tmp_path / "b.png", "blue")
    panel.add_pictures([first, second, first])
    assert panel.pictures.count() == 2
    panel.remove.click()
    assert panel._pictures() == [first]
    panel.camera_form.control("field_deg").write(60.0)
    panel.camera_form.control("tag.size_mm").write(100.0)
    out = str(full / "bundle" / f"{NAME}_alignment.json")
    pose = [[1, 0, 0, 1.1], [0, 1, 0, 0.2], [0, 0, 1, 0.9], [0, 0, 0, 1]]
    command.will(
        {"say": {"event": "warning", "message": "The tag is blurred."}},
        result(file=out, camera="front", pose=pose, moved_m=0.012, turned_deg=0.7, off_px=0.31, pictures=1),
    )
    panel.align.click()
    qtbot.waitUntil(lambda: "1.2 cm and 0.7°" in panel.found.text())
    assert "blurred" in page.panel.warnings.text()
    words = command.words[0]
    understood(words)
    assert words[:3] == ["align", str(full / "bundle" / NAME), first]
    assert words[-2:] == ["--out", out]
    assert words[3:-2] == ["--field-deg", "60.0", "--tag.size-mm", "100.0"]
    choose(page, "lerobot")
    assert f"--align {out}" in page.command.toPlainText().replace("'", "")  # a real arm then goes by it


def test_training_is_laid_over_the_picture(
    qtbot: QtBot, page: RobotPage, desk: Desk, full: Path, pattern: Path, tmp_path: Path
) -> None:
    sample = dict(np.load(pattern / "sample.npz"))
    sample["observation.images.front"][:] = (0, 0, 255)
    sample["observation.images.wrist"][:] = (0, 255, 0)
    folder = full / "bundle" / NAME
    np.savez(folder / "sample.npz", **sample)
    document = json.loads((folder / "manifest.json").read_text())
    document["files"]["sample.npz"] = sha256((folder / "sample.npz").read_bytes())
    (folder / "manifest.json").write_text(json.dumps(document))
    desk.open_project(full)
    panel = page.cameras
    page.tabs.setCurrentWidget(panel)
    panel.add_pictures([picture(tmp_path / "a.png", "red")])
    qtbot.waitUntil(lambda: at_work() == 0)

    def middle() -> tuple[int, ...]:
        shot = panel.overlay.grab().toImage()
        color = shot.pixelColor(shot.width() // 2, shot.height() // 2)
        return color.red(), color.green(), color.blue()

    qtbot.waitUntil(lambda: middle() == pytest.approx((128, 0, 128), abs=3))
    panel.mix.setValue(0)
    assert middle() == (255, 0, 0)
    panel.mix.setValue(100)
    assert middle() == (0, 0, 255)
    panel.camera_form.control("camera").write("wrist")
    assert middle() == (0, 255, 0)
    panel.add_pictures([str(tmp_path / "none.png")])
    assert middle() == (0, 255, 0)


def test_a_bundle_without_cameras_says_so(page: RobotPage, desk: Desk, full: Path) -> None:
    path = full / "bundle" / NAME / "manifest.json"
    document = json.loads(path.read_text())
    document["cameras"] = {}
    path.write_text(json.dumps(document))
    desk.open_project(full)
    page.tabs.setCurrentWidget(page.cameras)
    assert not page.cameras.camera_parts.isVisible()
    assert "no camera" in page.cameras.no_cameras.text()


# --- looks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["dark", "light"])
def test_nothing_is_cut_off_and_all_is_told(
    qtbot: QtBot, page: RobotPage, desk: Desk, full: Path, command: FakeCommand, name: str, qapp: QApplication
) -> None:
    theme.apply(qapp, name)
    assert cut_off(page) == []
    desk.open_project(full)
    for index in range(page.tabs.count()):
        page.tabs.setCurrentIndex(index)
        qtbot.waitUntil(lambda: at_work() == 0)
        assert cut_off(page) == []
        assert not page.grab().isNull()
    choose(page, "lerobot")
    assert cut_off(page) == []
    start(qtbot, page, command)
    assert cut_off(page) == []
    assert told_nothing(page) == []
    page.stop.click()
    qtbot.waitUntil(lambda: not page.is_running())


def test_a_page_that_goes_leaves_no_thread(qtbot: QtBot, page: RobotPage, desk: Desk, full: Path) -> None:
    desk.open_project(full)
    other = RobotPage(desk)
    other.show()
    other.setParent(None)
    other.deleteLater()
    qtbot.waitUntil(lambda: at_work() == 0)
