"""A window in which a person drives an arm by keyboard or gamepad and shows a task.

Physics and pictures live in a thread of their own, so that the window answers whatever they take. Keys are looked at
when a tick of the arm begins: what is held down moves it.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PySide6.QtCore import QObject, Qt, QThread, Signal
from PySide6.QtGui import QCloseEvent, QFocusEvent, QImage, QKeyEvent, QPixmap
from PySide6.QtWidgets import QApplication, QGridLayout, QHBoxLayout, QLabel, QMainWindow, QVBoxLayout, QWidget

from app.gui.drive_keys import MOVES, held_motion
from app.gui.gamepad import Gamepad
from app.teleoperate_stage import Recorder
from simulation.teleoperation import Command

Picture = npt.NDArray[np.uint8]
PRESSES: dict[int, str] = {
    Qt.Key.Key_Space: "grip",
    Qt.Key.Key_Return: "keep",
    Qt.Key.Key_Enter: "keep",
    Qt.Key.Key_Backspace: "again",
    Qt.Key.Key_N: "next",
}
HELP = (
    ("← → ↑ ↓", "over the table"),
    ("R  F", "up, down"),
    ("A  D", "turn the hand"),
    ("W  S", "tilt it away, towards you"),
    ("Q  E", "tilt it left, right"),
    ("Space", "close or open the gripper"),
    ("Enter", "keep this episode"),
    ("Backspace", "start it again"),
    ("N", "another cousin"),
    ("Esc", "finish"),
)


class ClosedError(Exception):
    """The window was closed while things were made ready."""


@dataclass
class Hands:
    """What the person does now, written by the window and read by the loop; every write is one assignment."""

    held: frozenset[int] = frozenset()
    pressed: tuple[str, ...] = ()

    def press(self, what: str) -> None:
        """Something that happens once."""
        self.pressed = (*self.pressed, what)

    def taken(self) -> tuple[str, ...]:
        """What has been pressed since the last call."""
        pressed, self.pressed = self.pressed, ()
        return pressed


@dataclass(frozen=True)
class Status:
    """What the window says beside the pictures."""

    cousin: int
    seconds: float
    closed: bool
    done: bool
    good: int
    failed: int


class Loop(QObject):
    """Ticks of the arm, in the thread that `run` is called in, until `stop` is set."""

    pictures = Signal(object)
    status = Signal(object)
    progress = Signal(float, str)
    message = Signal(str)
    failed = Signal(object)
    finished = Signal()

    def __init__(self, recorder: Recorder, hands: Hands, gamepad: Callable[[], Gamepad] | None) -> None:
        super().__init__()
        self._recorder, self._hands, self._gamepad = recorder, hands, gamepad
        self.stop = False
        self._closed = False

    def run(self) -> None:
        """Open the recorder, then tick at its rate, or slower where the computer cannot keep up."""
        try:
            pad = self._gamepad() if self._gamepad else None
            self._recorder.open(self._report)
            session = self._recorder.session
            period = 1.0 / session.cell.rate_hz
            self._show()
            while not self.stop:
                started = time.perf_counter()
                command, pressed = self._command(pad)
                for what in pressed:
                    self._press(what)
                session.tick(command)
                self._show()
                time.sleep(max(0.0, period - (time.perf_counter() - started)))
        except ClosedError:
            pass
        except Exception as error:  # noqa: BLE001 - a thread's exception would go nowhere
            self.failed.emit(error)
        finally:
            self.finished.emit()

    def _report(self, fraction: float, message: str) -> None:
        if self.stop:
            raise ClosedError
        self.progress.emit(fraction, message)

    def _command(self, pad: Gamepad | None) -> tuple[Command, tuple[str, ...]]:
        values = held_motion(self._hands.held)
        pressed = list(self._hands.taken())
        if pad is not None:
            command, buttons = pad.read()
            values = [a + b for a, b in zip(values, (*command.move, *command.turn), strict=True)]
            pressed += buttons
        x, y, z, roll, pitch, yaw = (max(-1.0, min(1.0, value)) for value in values)
        if "grip" in pressed:
            self._closed = not self._closed
        return Command((x, y, z), (roll, pitch, yaw), self._closed), tuple(pressed)

    def _press(self, what: str) -> None:
        session = self._recorder.session
        if what == "keep" and session.recording.actions:
            self.message.emit("Keeping the episode …")
            good = self._recorder.keep()
            self.message.emit("Kept." if good else "Kept apart: the task was not done.")
        elif what == "again":
            session.again()
            self.message.emit("From the beginning.")
        elif what == "next":
            session.next()
            self.message.emit("Another cousin.")
        if what != "grip":
            self._closed = False

    def _show(self) -> None:
        session = self._recorder.session
        self.pictures.emit(session.pictures())
        seconds = len(session.recording.actions) / session.cell.rate_hz
        self.status.emit(Status(session.index, seconds, self._closed, session.done, *self._recorder.counts()))


class TeleoperationWindow(QMainWindow):
    """Two cameras, what to do, and the keys."""

    def __init__(self, recorder: Recorder, gamepad: Callable[[], Gamepad] | None = None) -> None:
        """Start the loop at once; `error` holds what ended it, if anything did."""
        super().__init__()
        self.error: Exception | None = None
        self.setWindowTitle("Pocketworld – show a task")
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self._hands = Hands()
        self._build(recorder.task.sentence)
        self._thread = QThread(self)
        self.loop = Loop(recorder, self._hands, gamepad)
        self.loop.moveToThread(self._thread)
        self._thread.started.connect(self.loop.run)
        self.loop.finished.connect(self._thread.quit, Qt.ConnectionType.DirectConnection)
        self.loop.pictures.connect(self._show)
        self.loop.status.connect(self._say)
        self.loop.message.connect(self._message.setText)
        self.loop.progress.connect(self._wait)
        self.loop.failed.connect(self._fail)
        self._thread.start()

    def _build(self, sentence: str) -> None:
        self._views = {name: _view(size) for name, size in (("front", 512), ("wrist", 256))}
        title = QLabel(sentence[:1].upper() + sentence[1:])
        title.setStyleSheet("font-size: 20px; font-weight: 600;")
        legend = QLabel("Orange outline: what is moved. Blue: where to.")
        self._status, self._message = QLabel("Getting ready …"), QLabel("")
        self._status.setWordWrap(True)
        self._message.setWordWrap(True)
        keys = QGridLayout()
        for row, (key, text) in enumerate(HELP):
            name = QLabel(key)
            name.setStyleSheet("font-weight: 600;")
            keys.addWidget(name, row, 0)
            keys.addWidget(QLabel(text), row, 1)
        keys.setColumnStretch(1, 1)
        side = QVBoxLayout()
        side.addWidget(self._views["wrist"])
        side.addLayout(keys)
        side.addStretch(1)
        front = QVBoxLayout()
        front.addWidget(title)
        front.addWidget(legend)
        front.addWidget(self._views["front"], 1)
        front.addWidget(self._status)
        front.addWidget(self._message)
        both = QHBoxLayout()
        both.addLayout(front, 1)
        both.addLayout(side)
        middle = QWidget()
        middle.setLayout(both)
        self.setCentralWidget(middle)

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802 - Qt's name
        """Hold a key down, or press one."""
        if event.isAutoRepeat():
            return
        key = event.key()
        if key == Qt.Key.Key_Escape:
            self.close()
        elif key in MOVES:
            self._hands.held |= {key}
        elif key in PRESSES:
            self._hands.press(PRESSES[key])
        else:
            super().keyPressEvent(event)

    def keyReleaseEvent(self, event: QKeyEvent) -> None:  # noqa: N802 - Qt's name
        """Let a key go."""
        if not event.isAutoRepeat():
            self._hands.held -= {event.key()}

    def focusOutEvent(self, event: QFocusEvent) -> None:  # noqa: N802 - Qt's name
        """What is let go of while another window has the keyboard would be held for ever."""
        self._hands.held = frozenset()
        super().focusOutEvent(event)

    def closeEvent(self, event: QCloseEvent) -> None:  # noqa: N802 - Qt's name
        """End the loop before the window goes."""
        self.loop.stop = True
        self._thread.quit()
        self._thread.wait()
        super().closeEvent(event)

    def _show(self, pictures: dict[str, Picture]) -> None:
        for name, picture in pictures.items():
            view = self._views[name]
            height, width = picture.shape[:2]
            image = QImage(picture.tobytes(), width, height, 3 * width, QImage.Format.Format_RGB888)
            smooth = Qt.TransformationMode.SmoothTransformation
            shown = QPixmap.fromImage(image).scaled(view.size(), Qt.AspectRatioMode.KeepAspectRatio, smooth)
            view.setPixmap(shown)

    def _say(self, status: Status) -> None:
        state = "Done: press Enter to keep it." if status.done else "Not done yet."
        grip = "closed" if status.closed else "open"
        self._status.setText(
            f"Cousin {status.cousin} · {status.seconds:.1f} s · gripper {grip} · {state}\n"
            f"Kept: {status.good} done, {status.failed} not done"
        )

    def _wait(self, fraction: float, message: str) -> None:
        self._status.setText(f"Getting ready: {message} ({100 * fraction:.0f} %)")

    def _fail(self, error: Exception) -> None:
        self.error = error
        self.close()


def _view(size: int) -> QLabel:
    view = QLabel()
    view.setMinimumSize(size, size)
    view.setAlignment(Qt.AlignmentFlag.AlignCenter)
    view.setStyleSheet("background: #202020;")
    return view


def show_task(recorder: Recorder, gamepad: Callable[[], Gamepad] | None = None) -> None:
    """Open the window and wait until it is closed.

    Raises:
        PocketworldError: what ended it, if anything did.
    """
    application = QApplication.instance() or QApplication([])
    window = TeleoperationWindow(recorder, gamepad)
    window.show()
    # Ctrl-C in the terminal is one more way to close the window; what was kept is kept.
    before = {number: signal.signal(number, lambda *_: window.close()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        application.exec()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if window.error is not None:
        raise window.error
