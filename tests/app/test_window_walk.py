"""From the sample scan to an exported bundle by clicks alone, with the real steps and tiny settings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QPushButton
from pytestqt.qtbot import QtBot

from app.gui.cousins_page import CousinsPage
from app.gui.import_dialog import ImportDialog
from app.gui.job import Job
from app.gui.policy_page import PolicyPage
from app.gui.robot_page import RobotPage
from app.gui.scene_page import ScenePage
from app.gui.start_page import StartPage
from app.gui.window import MainWindow
from tests.app.windows import Heartbeat


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_from_the_sample_to_a_bundle(
    qtbot: QtBot, window: MainWindow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def click(button: QPushButton) -> None:
        assert button.isEnabled(), button.text()
        qtbot.mouseClick(button, Qt.MouseButton.LeftButton)

    def step(name: str, kind: type) -> Any:
        click(window._steps[name])
        page = window._stack.currentWidget()
        assert isinstance(page, kind)
        return page

    def done(what: str, within_s: float, begin: Callable[[], None]) -> Job:
        before = len(window.desk.jobs.all)
        begin()
        job = window.desk.jobs.all[before]
        assert job.task.words[0] == what
        with Heartbeat() as heartbeat:
            qtbot.waitUntil(lambda: job.is_over, timeout=round(1000 * within_s))
        assert job.state.kind == "done", (job.state.failure, list(job.state.log)[-5:])
        beats[what] = heartbeat.longest_s
        return job

    beats: dict[str, float] = {}
    start = window.page("start")
    assert isinstance(start, StartPage)
    click(start.sample)
    dialog = window.findChildren(ImportDialog)[0]
    qtbot.waitUntil(lambda: dialog.job.is_over, timeout=60_000)
    assert "110 frames" in dialog.facts.text()
    done("reconstruct", 500, lambda: click(dialog.go))

    scene: ScenePage = step("scene", ScenePage)
    qtbot.waitUntil(lambda: scene.list.count() > 8, timeout=30_000)
    scene.select("stick_2")
    assert scene.facts.isVisible()

    cousins: CousinsPage = step("cousins", CousinsPage)
    cousins.form.control("count").write(3)
    done("cousins", 300, lambda: cousins.run())

    policy: PolicyPage = step("policy", PolicyPage)
    policy.chooser.pick("object_3")
    policy.form.set_values({"observe": "state", "demonstrations": 2, "steps": 20, "cousins": 2, "blunders": 0})
    policy.form.set_values({"anyway": True, "vary": ("pose", "physics")})
    done("train-and-export", 700, lambda: click(policy.big))

    robot: RobotPage = step("robot", RobotPage)
    assert robot.bundles.count() == 1
    robot.robot.setCurrentText("Dry run, no arm")
    robot.form.set_values({"seconds": 1.0})
    job = done("run", 120, lambda: click(robot.go))
    assert job.state.result["ticks"] == 10
    stands = window.desk.standing()
    known = policy.selected
    assert known is not None
    assert known.share is not None
    worth = "done" if known.share[0] else "weak"  # of 20 steps of training
    assert {step: stands[step].kind for step in stands} == {
        **dict.fromkeys(stands, "done"),
        **dict.fromkeys(("policy", "robot"), worth),
    }
    assert max(beats.values()) < 0.1, beats
