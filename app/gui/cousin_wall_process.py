"""The process that draws cousins, as the window sees it (`app.cousin_wall`)."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from PySide6.QtCore import (
    QObject,
    QProcess,
    QTimer,
    Signal,
)
from PySide6.QtGui import (
    QImage,
)
from shiboken6 import isValid

from app.gui.job import child_environment

GRACE_MS = 2000


class WallProcess(QObject):
    """The process that draws (`app.cousin_wall`), with its tickets.

    Attributes:
        ready: it has loaded the scene.
        picture: it has drawn one: what it says of it, and the picture itself.
        sure: a sketch has proved right: what it says.
        done: all of the newest ticket are drawn.
        failed: a sentence, its remedy, and whether the process is gone.
    """

    ready = Signal()
    picture = Signal(dict, QImage)
    sure = Signal(dict)
    done = Signal()
    failed = Signal(str, str, bool)

    def __init__(self) -> None:
        super().__init__()
        self.ticket = 0
        self._process: QProcess | None = None
        self._rest = b""
        self._folder: Path | None = None
        self._said = False

    @property
    def runs(self) -> bool:
        """Whether there is one."""
        return self._process is not None

    def process_id(self) -> int:
        """Of it; 0 where there is none."""
        return 0 if self._process is None else int(self._process.processId())

    def start(self, scene: Path) -> None:
        """Have it load a scene's folder."""
        self.stop()
        process = self._process = QProcess()
        process.setProcessEnvironment(child_environment())
        process.setProgram(sys.executable)
        process.setArguments(["-m", "app.cousin_wall", str(scene)])
        process.setStandardErrorFile(QProcess.nullDevice())
        process.readyReadStandardOutput.connect(self._read)
        process.errorOccurred.connect(self._not_started)
        process.finished.connect(self._finished)
        self._rest, self._folder, self._said = b"", None, False
        process.start()

    def ask(self, settings: Mapping[str, Any], first: int, count: int, size: int, skip: Sequence[int] = ()) -> None:
        """Ask for pictures; those asked for before are given up."""
        if self._process is None:
            return
        self.ticket += 1
        vary, seed = settings.get("vary", []), settings.get("seed", 0)
        more = {name: value for name, value in settings.items() if name not in ("vary", "seed")}
        line = {
            "ticket": self.ticket, "vary": vary, "seed": seed, "settings": more,
            "first": first, "count": count, "size": size, "skip": list(skip),
        }  # fmt: skip
        self._process.write(json.dumps(line).encode("ascii") + b"\n")

    def stop(self, wait: bool = False) -> None:
        """End it: at once, or, with `wait`, before this returns."""
        process, self._process = self._process, None
        self.ticket += 1
        if process is None or not isValid(process):  # the application may have ended it before the page
            return
        folder = self._folder
        process.readyReadStandardOutput.disconnect(self._read)
        process.errorOccurred.disconnect(self._not_started)
        process.finished.disconnect(self._finished)
        process.closeWriteChannel()  # at which it ends
        if wait:
            if process.state() != QProcess.ProcessState.NotRunning and not process.waitForFinished(GRACE_MS):
                process.kill()
                process.waitForFinished(GRACE_MS)
            _remove(folder)
            process.deleteLater()
            return
        Farewell(process, folder)

    def _read(self) -> None:
        process = self._process
        if process is None:
            return
        *lines, self._rest = (self._rest + process.readAllStandardOutput().data()).split(b"\n")
        for line in lines:
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict) and self._process is process:
                self._take(event)

    def _take(self, event: dict[str, Any]) -> None:
        kind, mine = event.get("event"), event.get("ticket") == self.ticket
        if kind == "ready":
            self._folder = Path(str(event.get("folder")))
            self.ready.emit()
        elif kind == "picture":
            path = Path(str(event.get("path")))
            image = QImage(str(path)) if mine else QImage()
            path.unlink(missing_ok=True)
            if mine and not image.isNull():
                self.picture.emit(event, image)
        elif kind == "sure" and mine:
            self.sure.emit(event)
        elif kind == "done" and mine:
            self.done.emit()
        elif kind == "error" and (mine or event.get("ticket") is None):
            self._said = event.get("ticket") is None
            self.failed.emit(str(event.get("message", "")), str(event.get("remedy", "")), False)

    def _not_started(self, error: QProcess.ProcessError) -> None:
        if error == QProcess.ProcessError.FailedToStart:
            self._gone(self.tr("The pictures' process could not be started."))

    def _finished(self, code: int, status: QProcess.ExitStatus) -> None:
        self._read()
        self._gone(self.tr("The process that draws the pictures has ended (exit code {0}).").format(code))

    def _gone(self, message: str) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        _remove(self._folder)
        process.deleteLater()
        if self._said:  # it has said itself why it ends
            self.failed.emit("", "", True)
        else:
            self.failed.emit(message, self.tr("Nothing is lost: let it start again."), True)


class Farewell(QObject):
    """Lets a process end by itself, and helps where that takes long, while nobody waits for it."""

    waiting: ClassVar[set[Farewell]] = set()

    def __init__(self, process: QProcess, folder: Path | None) -> None:
        super().__init__()
        self._process, self._folder = process, folder
        self.waiting.add(self)
        if process.state() == QProcess.ProcessState.NotRunning:
            self._over()
            return
        process.finished.connect(self._over)
        process.errorOccurred.connect(self._over)
        timer = QTimer(self)
        timer.setSingleShot(True)
        timer.timeout.connect(process.kill)
        timer.start(GRACE_MS)

    def _over(self, *_: object) -> None:
        if self._process.state() == QProcess.ProcessState.NotRunning and self in self.waiting:
            self.waiting.discard(self)
            _remove(self._folder)
            self._process.deleteLater()
            self.deleteLater()

    @classmethod
    def end_all(cls) -> None:
        """Wait for those that are still there."""
        for farewell in list(cls.waiting):
            process = farewell._process
            if not process.waitForFinished(GRACE_MS):
                process.kill()
                process.waitForFinished(GRACE_MS)
            farewell._over()


def _remove(folder: Path | None) -> None:
    """The pictures of a process that could not take them with it."""
    if folder is not None and folder.name.startswith("pocketworld_wall_"):
        shutil.rmtree(folder, ignore_errors=True)
