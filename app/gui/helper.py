"""A child process that only shows things: it says what there is in JSON lines, and ends with the window."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from PySide6.QtCore import QObject, QProcess, Signal

from app.gui.job import child_environment

GRACE_MS = 1000


class Helper(QObject):
    """``python -m MODULE WORDS``, started at once.

    Attributes:
        said: an event, a JSON object.
    """

    said = Signal(dict)

    def __init__(self, module: str, words: Sequence[str], parent: QObject) -> None:
        super().__init__(parent)
        self._rest = b""
        self.process = QProcess(self)
        self.process.setProcessEnvironment(child_environment())
        self.process.readyReadStandardOutput.connect(self._read)
        self.process.readyReadStandardError.connect(lambda: self.process.readAllStandardError())
        self.process.finished.connect(self._read)
        self.process.start(sys.executable, ["-m", module, *words])

    def stop(self) -> None:
        """End it, and wait for that."""
        self.process.blockSignals(True)
        if self.process.state() != QProcess.ProcessState.NotRunning:
            self.process.closeWriteChannel()
            if not self.process.waitForFinished(GRACE_MS):
                self.process.kill()
                self.process.waitForFinished(GRACE_MS)

    def _read(self) -> None:
        *lines, self._rest = (self._rest + self.process.readAllStandardOutput().data()).split(b"\n")
        for line in lines:
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict):
                self.said.emit(event)
