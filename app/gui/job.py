"""Steps run as child processes of the command line: a crash in one is a red panel, and cancel always works."""

from __future__ import annotations

import json
import os
import sys
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PySide6.QtCore import QObject, QProcess, QProcessEnvironment, QTimer, Signal

from app.console import LIFE_LINE, quoted

ROOT = Path(__file__).resolve().parent.parent.parent
GRACE_MS = 5000
"""So long a cancelled step may take to clear up before it is killed."""
LOG_LINES = 2000
NOT_GOOD = "not_good_enough"
"""Code of the failure of a policy that succeeds too seldom to be exported."""


def child_environment() -> QProcessEnvironment:
    """Of a child process: this very Pocketworld on its path."""
    environment = QProcessEnvironment.systemEnvironment()
    environment.insert("PYTHONPATH", os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))))
    environment.insert("PYTHONUTF8", "1")
    return environment


@dataclass(frozen=True)
class Task:
    """What a job is to do.

    Attributes:
        title: for people: "Reconstruct kitchen".
        words: of the command line, without ``--json``.
        step: the page that it belongs to.
        project: the folder it works on; None where it has none yet.
    """

    title: str
    words: tuple[str, ...]
    step: str
    project: Path | None = None

    @property
    def command(self) -> str:
        """The same in a shell."""
        return quoted("pocketworld", *self.words)


@dataclass(frozen=True)
class Failed:
    """Why a job failed, and what to do about it."""

    message: str
    remedy: str = ""
    code: str = ""


@dataclass
class State:
    """How far a job is; what a page shows that is opened later."""

    kind: str = "waiting"
    """waiting, running, done, failed, cancelled"""
    fraction: float = 0.0
    message: str = ""
    seconds_left: float | None = None
    warnings: list[str] = field(default_factory=list)
    failure: Failed | None = None
    result: dict[str, Any] = field(default_factory=dict)
    log: deque[str] = field(default_factory=lambda: deque(maxlen=LOG_LINES))


class Job(QObject):
    """One command, running or not yet or no longer."""

    changed = Signal()
    said = Signal(dict)
    ended = Signal()

    def __init__(self, task: Task, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.task, self.state = task, State()
        self._rest = {"out": b"", "err": b""}
        self._process: QProcess | None = None
        self._cancelled = False
        self._killer = QTimer(self)
        self._killer.setSingleShot(True)
        self._killer.timeout.connect(self._kill)

    @property
    def is_over(self) -> bool:
        """Whether nothing more comes of it."""
        return self.state.kind in ("done", "failed", "cancelled")

    @property
    def is_calm(self) -> bool:
        """Whether it harms nothing if it fails: a check has said no, or a policy was too weak to be exported."""
        return self.task.words[0] == "simulate" or (
            self.state.failure is not None and self.state.failure.code == NOT_GOOD
        )

    def start(self) -> None:
        """Run it."""
        process = self._process = QProcess(self)
        environment = child_environment()
        environment.insert(LIFE_LINE, "1")
        process.setProcessEnvironment(environment)
        process.setProgram(sys.executable)
        process.setArguments(["-m", "app.cli", *self.task.words, "--json"])
        process.readyReadStandardOutput.connect(self._read_events)
        process.readyReadStandardError.connect(self._read_chatter)
        process.errorOccurred.connect(self._not_started)
        process.finished.connect(self._finish)
        self.state.kind = "running"
        self.state.log.append(f"$ {self.task.command}")
        process.start()
        self.changed.emit()

    def cancel(self) -> None:
        """Ask it to stop; it clears up, and is killed if that takes long."""
        if self.state.kind == "waiting":
            self._end("cancelled")
        elif self._process is not None and self.state.kind == "running":
            self.state.message = self.tr("Stopping …")
            self.state.seconds_left = None
            self._cancelled = True
            self._process.terminate()
            self._killer.start(GRACE_MS)
            self.changed.emit()

    def stop_now(self) -> None:
        """End it before the window is gone, waiting for it; what is finished of it stays."""
        self._cancelled = True
        process = self._process
        if process is None or process.state() == QProcess.ProcessState.NotRunning:
            return
        process.blockSignals(True)
        process.terminate()
        if not process.waitForFinished(GRACE_MS):
            process.kill()
            process.waitForFinished(GRACE_MS)
        self._end("cancelled")

    def process_id(self) -> int:
        """Of the child; 0 where there is none."""
        return 0 if self._process is None else int(self._process.processId())

    def _kill(self) -> None:
        if self._process is not None:
            self._process.kill()

    def _read_events(self) -> None:
        assert self._process is not None
        for line in self._lines("out", self._process.readAllStandardOutput().data()):
            try:
                event = json.loads(line)
            except ValueError:
                event = None
            if isinstance(event, dict):
                self._take(event)
            else:
                self.state.log.append(line)
        self.changed.emit()

    def _read_chatter(self) -> None:
        assert self._process is not None
        for line in self._lines("err", self._process.readAllStandardError().data()):
            self.state.log.append(line)

    def _lines(self, channel: str, data: bytes | bytearray | memoryview) -> list[str]:
        *lines, self._rest[channel] = (self._rest[channel] + bytes(data)).split(b"\n")
        return [line.decode("utf-8", "replace") for line in lines if line.strip()]

    def _take(self, event: dict[str, Any]) -> None:
        state, kind = self.state, event.get("event")
        if kind == "progress":
            if self._cancelled:
                return
            fraction, left = event.get("fraction"), event.get("seconds_left")
            state.fraction = float(fraction) if isinstance(fraction, int | float) else state.fraction
            state.seconds_left = float(left) if isinstance(left, int | float) else None
            message = str(event.get("message", ""))
            if message != state.message:
                state.log.append(f"{state.fraction:4.0%}  {message}")
            state.message = message
        elif kind == "warning":
            state.warnings.append(str(event.get("message", "")))
            state.log.append(self.tr("warning: {0}").format(state.warnings[-1]))
        elif kind == "error":
            said = (str(event.get(key) or "") for key in ("message", "remedy", "code"))
            state.failure = Failed(*said)
            state.log.append(self.tr("error: {0}").format(state.failure.message))
        elif kind == "result":
            state.result = event
        self.said.emit(event)

    def _not_started(self, error: QProcess.ProcessError) -> None:
        if error == QProcess.ProcessError.FailedToStart:
            self.state.failure = Failed(
                self.tr("Pocketworld's command line could not be started."), self.tr("Install it again."), "no_start"
            )
            self._end("failed")

    def _finish(self, code: int, status: QProcess.ExitStatus) -> None:
        self._killer.stop()
        if self.is_over:
            return
        self._read_events()
        self._read_chatter()
        if self._cancelled:
            self._end("cancelled")
        elif code == 0 and status == QProcess.ExitStatus.NormalExit:
            self.state.fraction = 1.0
            self._end("done")
        else:
            if self.state.failure is None:
                self.state.failure = self._crashed(code, status)
            self._end("failed")

    def _crashed(self, code: int, status: QProcess.ExitStatus) -> Failed:
        if self.state.result.get("passed") is False and status == QProcess.ExitStatus.NormalExit:
            return Failed(self.tr("Not everything is at rest."), self.tr("Below stands what moves, and what to do."))
        how = self.tr("It crashed") if status == QProcess.ExitStatus.CrashExit else self.tr("It ended")
        return Failed(
            self.tr("{0} while it was at: {1} (exit code {2}).").format(how, self.state.message or "…", code),
            self.tr("Run it again: what is finished is kept. If it happens again, report it with the log below."),
            "crashed",
        )

    def _end(self, kind: str) -> None:
        if self.is_over:
            return
        self._killer.stop()
        self.state.kind = kind
        self.state.seconds_left = None
        self.changed.emit()
        self.ended.emit()


class Jobs(QObject):
    """All jobs of the window: those that wait run one after another.

    Attributes:
        changed: any of them is further, or there is one more or less that runs or waits.
        ended: this one has ended.
    """

    changed = Signal()
    ended = Signal(object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.all: list[Job] = []

    def add(self, task: Task, *, at_once: bool = False) -> Job:
        """Line up a job; it starts when those before it have ended, or at once: what only looks at a scan may."""
        job = Job(task, self)
        job.changed.connect(self.changed)
        job.ended.connect(lambda: self._next(job))
        self.all.append(job)
        if at_once:
            job.start()
        self._start()
        self.changed.emit()
        return job

    def _next(self, job: Job) -> None:
        self.ended.emit(job)
        self._start()

    def _start(self) -> None:
        if self.running is None and (waiting := self.waiting):
            waiting[0].start()

    @property
    def running(self) -> Job | None:
        """The one that runs."""
        return next((job for job in self.all if job.state.kind == "running"), None)

    @property
    def waiting(self) -> list[Job]:
        """Those that have not begun, in order."""
        return [job for job in self.all if job.state.kind == "waiting"]

    def last(self, step: str, project: Path | None) -> Job | None:
        """The newest job of a page and project that runs or waits; where none does, the newest of those that have."""
        found = [job for job in self.all if (job.task.step, job.task.project) == (step, project)]
        return next((job for job in reversed(found) if not job.is_over), found[-1] if found else None)

    def stop_all(self) -> None:
        """End whatever runs and drop what waits: the window closes."""
        for job in self.waiting:
            job.cancel()
        for job in self.all:
            if job.state.kind == "running":
                job.stop_now()
