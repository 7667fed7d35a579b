"""The processes that draw for 3-D views: each is ended with its view, and its file with it, however the window ends."""

from __future__ import annotations

import atexit
import contextlib
import sys
from functools import partial
from pathlib import Path

from PySide6.QtCore import QProcess

from app.gui.job import child_environment

_RUNNING: list[tuple[QProcess, Path]] = []
"""All processes of all views that have not ended yet, with their files."""


def new_process() -> QProcess:
    """One that is not a child of the widget: it may take a moment to end, and the widget is not to wait for that."""
    process = QProcess()
    process.setProcessEnvironment(child_environment())
    return process


def start(process: QProcess, file: Path) -> None:
    """Have it draw into `file` (`app.viewer.frames.new_file`)."""
    _RUNNING.append((process, file))
    process.start(sys.executable, ["-m", "app.viewer", str(file)])


def end(processes: list[QProcess]) -> None:
    """End these, and empty the list.

    They hold nothing that would be lost, and their native code may be busy for seconds: no farewell.
    """
    while processes:
        process = processes.pop()
        process.finished.connect(partial(_forget, process))
        process.kill()
        if process.state() == QProcess.ProcessState.NotRunning:  # it had ended already: no signal will come
            _forget(process)


def _forget(process: QProcess, *_: object) -> None:
    """It has ended, and its file with it (where files in use can be removed, it has done that itself)."""
    for known, file in list(_RUNNING):
        if known is process:
            _RUNNING.remove((known, file))
            process.deleteLater()
            with contextlib.suppress(OSError):
                file.unlink()


@atexit.register
def _end_all() -> None:
    """The program ends, and no event loop hears of their end any more."""
    for process, file in _RUNNING:
        with contextlib.suppress(RuntimeError):  # Qt has gone before
            process.blockSignals(True)
            process.kill()
            process.waitForFinished(1000)
        with contextlib.suppress(OSError):
            file.unlink()
