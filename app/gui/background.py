"""Work that the window does itself, beside its event loop: decode a film, hash a bundle's files."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QCoreApplication, QObject, QThread, Signal, Slot

Stopped = Callable[[], bool]
_AT_WORK: set[Worker] = set()
"""Kept here, not below their owners: a thread that is destroyed while it runs takes the window with it."""


class Worker(QThread):
    """A function in a thread of its own.

    Attributes:
        came: what the function has returned; never after `stop`.
        failed: why it could not.
        owner: on whose behalf it works: when that goes, the thread ends.
    """

    came = Signal(object)
    failed = Signal(str)

    def __init__(self, work: Callable[[Stopped], object], owner: QObject) -> None:
        """`work` is told how to find out that nobody waits for it any more."""
        super().__init__()
        self._work = work
        owner.destroyed.connect(self.requestInterruption)
        self.finished.connect(self._gone)
        application = QCoreApplication.instance()
        if application is not None:
            application.aboutToQuit.connect(self.stop)
        _AT_WORK.add(self)

    def run(self) -> None:
        """In the thread."""
        try:
            found = self._work(self.isInterruptionRequested)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a file, the person is told
            if not self.isInterruptionRequested():
                self.failed.emit(str(error))
            return
        if not self.isInterruptionRequested():
            self.came.emit(found)

    @Slot()
    def stop(self) -> None:
        """Nobody waits for it any more: let it end, and wait for that."""
        self.blockSignals(True)
        self.requestInterruption()
        self.wait()
        self._gone()

    @Slot()
    def _gone(self) -> None:
        _AT_WORK.discard(self)


def at_work() -> int:
    """How many threads there are."""
    return len(_AT_WORK)
