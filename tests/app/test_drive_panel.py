"""Driving the arm in the scene's page: by keys in the view, by its sliders, by a gamepad."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import Qt
from pytestqt.qtbot import QtBot

from app.gui import drive_panel
from app.gui.desk import Desk
from app.gui.gamepad import LEFT_X, A, Gamepad
from app.gui.scene_page import ScenePage
from tests.app.test_scene_page import document
from tests.app.test_teleoperate import Fake
from tests.app.windows import Heartbeat, cut_off, told_nothing
from tests.robot_bench import project_at

WAIT_MS = 20_000
pytestmark = pytest.mark.usefixtures("fake_steps")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return project_at(tmp_path / "Küche 1" / "bench").folder


@pytest.fixture
def page(qtbot: QtBot, desk: Desk, project: Path) -> Iterator[ScenePage]:
    made = ScenePage(desk)
    made.resize(1090, 740)
    with qtbot.waitExposed(made):
        made.show()
    assert desk.open_project(project)
    qtbot.waitUntil(lambda: made.list.count() == 4, timeout=WAIT_MS)
    yield made
    made.close()
    made.deleteLater()


class Arm:
    """What is heard of it."""

    def __init__(self, page: ScenePage) -> None:
        self.goal: list[float] = []
        self.blocked = False
        page.view.arm_moved.connect(self._heard)

    def _heard(self, goal: list[float], blocked: bool) -> None:
        self.goal, self.blocked = goal, blocked


def driving(qtbot: QtBot, page: ScenePage) -> Arm:
    """The arm is there and at home."""
    arm = Arm(page)
    with qtbot.waitSignal(page.view.driven, timeout=WAIT_MS):
        page.playing.drive.trigger()
    qtbot.waitUntil(lambda: bool(arm.goal), timeout=WAIT_MS)
    return arm


def test_keys_in_the_view_move_the_arm_and_not_the_camera_or_the_tools(qtbot: QtBot, page: ScenePage) -> None:
    with Heartbeat() as heart:
        arm = driving(qtbot, page)
        assert page.playing.play.isChecked()
        assert page.view.is_playing
        panel, camera = page.playing.panel, page.view.view()
        assert [len(panel.joints), panel.isVisible()] == [8, True]
        for key in (Qt.Key.Key_R, Qt.Key.Key_Left, Qt.Key.Key_W):
            before = list(arm.goal)
            qtbot.keyPress(page.view, key)
            qtbot.waitUntil(
                lambda before=before: bool(np.abs(np.subtract(arm.goal, before)).max() > 0.05), timeout=WAIT_MS
            )
            qtbot.keyRelease(page.view, key)
        assert page.view.view() is camera
        assert page.tool_actions["select"].isChecked()  # W is the tool Move's key, R that of Measure
        qtbot.keyClick(page.view, Qt.Key.Key_Space)
        qtbot.waitUntil(lambda: arm.goal[-1] < 0.05, timeout=WAIT_MS)
        assert panel.joints[-1].value() == 0
    assert heart.longest_s < 0.1
    rests: list[list[float]] = []
    page.view.arm_moved.connect(lambda goal, _: rests.append(goal))
    qtbot.waitUntil(lambda: _quiet(qtbot, rests), timeout=WAIT_MS)  # no key is held any more


def _quiet(qtbot: QtBot, heard: list[list[float]]) -> bool:
    count = len(heard)
    qtbot.wait(700)
    return len(heard) == count


def test_a_key_that_is_held_when_the_view_loses_the_keyboard_is_let_go(qtbot: QtBot, page: ScenePage) -> None:
    driving(qtbot, page)
    told: list[tuple[list[float], list[float]]] = []
    page.playing.panel.jogged.connect(lambda move, turn: told.append((move, turn)))
    qtbot.keyPress(page.view, Qt.Key.Key_F)
    assert told[-1] == ([0.0, 0.0, -1.0], [0.0, 0.0, 0.0])
    page.facts.name.setFocus()
    page.playing.panel.joints[0].setFocus()
    qtbot.waitUntil(lambda: told[-1] == ([0.0, 0.0, 0.0], [0.0, 0.0, 0.0]), timeout=WAIT_MS)


def test_sliders_bring_joints_and_follow_them(qtbot: QtBot, page: ScenePage) -> None:
    arm = driving(qtbot, page)
    panel, home = page.playing.panel, list(arm.goal)
    first = panel.joints[0]
    first.setValue(first.value() + 60)
    qtbot.waitUntil(lambda: arm.goal[0] > home[0] + 0.2, timeout=WAIT_MS)
    assert np.abs(np.subtract(arm.goal, home))[1:].max() < 0.01
    panel.joints[-1].setValue(300)
    qtbot.waitUntil(lambda: arm.goal[-1] == pytest.approx(0.3, abs=0.01), timeout=WAIT_MS)
    low = panel.joints[3].value()
    qtbot.keyPress(page.view, Qt.Key.Key_Down)
    qtbot.waitUntil(lambda: abs(panel.joints[3].value() - low) > 10, timeout=WAIT_MS)
    qtbot.keyRelease(page.view, Qt.Key.Key_Down)


def test_what_is_in_its_way_is_said(qtbot: QtBot, page: ScenePage) -> None:
    arm = driving(qtbot, page)
    qtbot.keyPress(page.view, Qt.Key.Key_F)
    qtbot.waitUntil(lambda: arm.blocked, timeout=WAIT_MS)
    assert page.playing.panel.said == "Something is in its way."
    qtbot.keyRelease(page.view, Qt.Key.Key_F)


def test_an_edit_ends_physics_and_play_brings_the_arm_back(qtbot: QtBot, page: ScenePage, project: Path) -> None:
    driving(qtbot, page)
    before = document(project)
    page.select("box_1")
    page.duplicate.trigger()
    qtbot.waitUntil(lambda: page.list.count() == 5, timeout=WAIT_MS)
    qtbot.waitUntil(lambda: not page.playing.play.isChecked(), timeout=WAIT_MS)
    assert page.playing.panel.said == "Play (P) to go on."
    with qtbot.waitSignal(page.view.driven, timeout=WAIT_MS):
        page.playing.play.trigger()
    qtbot.waitUntil(page.undo.isEnabled, timeout=WAIT_MS)
    page.undo.trigger()
    qtbot.waitUntil(lambda: document(project) == before, timeout=WAIT_MS)  # driving it about has changed nothing


def test_reset_brings_the_arm_home_and_goes_on(qtbot: QtBot, page: ScenePage) -> None:
    arm = driving(qtbot, page)
    home = list(arm.goal)
    qtbot.keyPress(page.view, Qt.Key.Key_Left)
    qtbot.waitUntil(lambda: bool(np.abs(np.subtract(arm.goal, home)).max() > 0.1), timeout=WAIT_MS)
    qtbot.keyRelease(page.view, Qt.Key.Key_Left)
    with qtbot.waitSignal(page.view.driven, timeout=WAIT_MS):
        page.playing.reset.trigger()
    qtbot.waitUntil(lambda: np.allclose(arm.goal, home), timeout=WAIT_MS)
    qtbot.waitUntil(lambda: page.view.is_playing, timeout=WAIT_MS)
    assert page.playing.play.isChecked()
    assert page.playing.panel.said != "Play (P) to go on."


def test_escape_ends_it(qtbot: QtBot, page: ScenePage) -> None:
    driving(qtbot, page)
    qtbot.keyClick(page.view, Qt.Key.Key_Escape)
    assert not page.playing.panel.isVisible()
    assert not page.playing.drive.isChecked()
    before = page.view.view()
    assert before is not None
    qtbot.keyClick(page.view, Qt.Key.Key_Left)  # the camera's again
    assert page.view.view() is not before


def test_a_gamepad_drives_it_and_a_missing_one_is_said(
    qtbot: QtBot, page: ScenePage, monkeypatch: pytest.MonkeyPatch
) -> None:
    arm = driving(qtbot, page)
    panel = page.playing.panel
    fake = Fake()
    monkeypatch.setattr(drive_panel, "open_gamepad", lambda: Gamepad(fake))
    panel.pad.setChecked(True)
    home = list(arm.goal)
    fake.axes[LEFT_X] = 32767
    qtbot.waitUntil(lambda: bool(np.abs(np.subtract(arm.goal, home)).max() > 0.05), timeout=WAIT_MS)
    fake.axes[LEFT_X] = 0
    fake.buttons.add(A)
    qtbot.waitUntil(lambda: arm.goal[-1] < 0.05, timeout=WAIT_MS)
    panel.pad.setChecked(False)
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "pygame", None)
    panel.pad.setChecked(True)
    assert not panel.pad.isChecked()
    assert "pygame" in panel.said


def test_the_panel_explains_itself_and_fits(qtbot: QtBot, page: ScenePage) -> None:
    driving(qtbot, page)
    page.resize(1000, 620)
    qtbot.wait(50)
    assert told_nothing(page) == []
    assert cut_off(page) == []
