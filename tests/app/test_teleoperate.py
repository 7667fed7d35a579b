"""``pocketworld teleoperate``: a window in which keys move the arm, and the episodes that are kept."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import Qt
from pytestqt.qtbot import QtBot

from app.demonstrate_stage import TaskSettings
from app.gui.gamepad import LEFT_X, LEFT_Y, TRIGGER_RIGHT, A, B, Gamepad
from app.gui.teleoperation_window import TeleoperationWindow
from app.project import Project
from app.teleoperate_stage import Recorder
from policies.dataset import open_dataset
from reconstruction.errors import UsageError
from tests.conftest import Run, command, environment
from tests.robot_bench import VARY, project_at

Shell = Callable[..., Run]
SETTINGS = TaskSettings("pick block_1", seed=3, vary=VARY, image_size=32)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with a scene, with a space and an umlaut in its path."""
    return project_at(tmp_path_factory.mktemp("teleoperate") / "Küche eins")


@pytest.fixture
def recorder(project: Project, tmp_path: Path) -> Iterator[Recorder]:
    with Recorder(project, SETTINGS, project.folder / "episodes" / tmp_path.name) as opened:
        yield opened


class Fake:
    """A gamepad as SDL shows it."""

    def __init__(self) -> None:
        self.axes, self.buttons = dict.fromkeys(range(6), 0), set[int]()

    def get_axis(self, axis: int) -> int:
        return self.axes[axis]

    def get_button(self, button: int) -> bool:
        return button in self.buttons


def test_keys_drive_the_arm_and_keep_episodes(qtbot: QtBot, recorder: Recorder) -> None:
    window = TeleoperationWindow(recorder)
    qtbot.addWidget(window)
    window.show()
    qtbot.waitUntil(lambda: "gripper open" in window._status.text(), timeout=120_000)
    session = recorder.session
    height = float(session.cell.arm.tool()[2, 3])
    qtbot.keyPress(window, Qt.Key.Key_F)
    qtbot.waitUntil(lambda: len(session.recording.actions) > 8, timeout=20_000)
    qtbot.keyRelease(window, Qt.Key.Key_F)
    qtbot.keyClick(window, Qt.Key.Key_Space)
    qtbot.waitUntil(lambda: "gripper closed" in window._status.text(), timeout=20_000)
    assert float(session.recording.moments[-1].links["panda_hand"][2, 3]) < height + 0.105 - 0.05
    assert window._views["front"].pixmap().width() > 200
    first = session.index
    qtbot.keyClick(window, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: recorder.counts() == (0, 1), timeout=20_000)
    qtbot.waitUntil(lambda: session.index > first and not session.recording.actions, timeout=20_000)
    window.close()
    assert window.error is None
    assert not window._thread.isRunning()
    made = recorder.finish()
    assert (made.episodes, made.failures) == (0, 1)
    failed = recorder.folder.with_name(recorder.folder.name + "_failures")
    (episode,) = list(open_dataset(failed))
    assert episode.index == first
    assert episode.images["wrist"].shape[1:] == (32, 32, 3)
    assert episode.action[-1, -1] < 0.9
    assert np.abs(np.diff(episode.action, axis=0)).max() > 0.01


def test_what_goes_wrong_closes_the_window_and_is_said(qtbot: QtBot, recorder: Recorder) -> None:
    def none() -> Gamepad:
        raise UsageError("No gamepad is connected.", remedy="Connect one.", code="no_gamepad")

    window = TeleoperationWindow(recorder, none)
    qtbot.addWidget(window)
    window.show()
    qtbot.waitUntil(lambda: not window.isVisible(), timeout=20_000)
    assert isinstance(window.error, UsageError)


def test_a_gamepad_is_read() -> None:
    fake = Fake()
    pad = Gamepad(fake)
    assert pad.read()[0].move == (0.0, 0.0, 0.0)
    fake.axes.update({LEFT_X: 32767, LEFT_Y: -16000, TRIGGER_RIGHT: 32767})
    fake.buttons = {A, B}
    command, pressed = pad.read()
    assert command.move == pytest.approx((1.0, 0.488, 1.0), abs=0.01)
    assert pressed == ["grip", "again"]
    assert pad.read()[1] == []  # held down, not pressed anew
    fake.axes[LEFT_X] = 2000
    assert pad.read()[0].move[0] == 0.0


def test_the_command_ends_by_ctrl_c_and_leaves_nothing_empty(project: Project) -> None:
    out = project.folder / "leer" / "data"
    words = command("teleoperate", project.folder, "--task", "pick block_1", "--seed", 3, "--out", out, "--json")
    env = {**environment(False), "QT_QPA_PLATFORM": "offscreen"}
    running = subprocess.Popen(words, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deadline = time.monotonic() + 100
    while not out.is_dir():
        assert running.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(1.0)
    running.send_signal(signal.SIGINT)
    said, _ = running.communicate(timeout=60)
    assert running.returncode == 0, said
    assert '"episodes": 0' in said
    assert "Traceback" not in said
    assert not out.exists()


@pytest.mark.parametrize(
    ("words", "code"),
    [(("--task", "dance"), "bad_task"), (("--task", "pick block_1", "--rate-hz", "7"), "bad_value")],
)
def test_what_cannot_be_shown_says_why(project: Project, shell: Shell, words: tuple[str, ...], code: str) -> None:
    run = shell("teleoperate", project.folder, *words, "--json")
    assert run.code != 0
    assert run.errors[0]["code"] == code
