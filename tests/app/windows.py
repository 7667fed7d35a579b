"""What tests of the window share: preferences of its own, the stand-ins' command line, and what it must not leave."""

from __future__ import annotations

import contextlib
import gc
import os
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from PySide6.QtCore import QCoreApplication, QEvent, QObject, QPoint, QSettings, QTimer
from PySide6.QtWidgets import QAbstractButton, QApplication, QComboBox, QLabel, QLineEdit, QSpinBox, QTabBar, QWidget

from app.gui import theme
from app.gui.desk import Desk
from app.gui.settings_form import SettingsForm
from app.gui.window import MainWindow
from tests.conftest import FAKES, ROOT


@pytest.fixture
def fake_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs run the real command line with stand-ins for the steps."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(FAKES), str(ROOT))))


@pytest.fixture
def preferences(tmp_path: Path) -> QSettings:
    """Nobody's, in a folder of their own."""
    found = QSettings(str(tmp_path / "preferences.ini"), QSettings.Format.IniFormat)
    found.setValue("home", str(tmp_path / "Projekte für Ömer"))
    found.setValue("toured", True)
    return found


@pytest.fixture
def clean(qapp: QApplication) -> Iterator[None]:
    """Fails where a widget, a timer, a thread or a process outlives the test. To be asked for before the window."""
    theme.apply(qapp, "dark")
    processes = {child.pid for child in _children()}
    widgets = set(map(id, qapp.topLevelWidgets()))
    threads = _qt_threads()
    yield
    deadline = time.monotonic() + 5.0
    left: dict[str, object] = {}
    while time.monotonic() < deadline:
        qapp.processEvents()
        QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
        gc.collect()
        left = {
            "processes": [child for child in _children() if child.pid not in processes],
            "widgets": [widget for widget in qapp.topLevelWidgets() if id(widget) not in widgets],
            "threads": _qt_threads() - threads,
        }
        if not any(left.values()):
            return
        time.sleep(0.05)
    pytest.fail(f"left over: {left}")


def _children() -> list[psutil.Process]:
    """All there are but the one that forks commands for all tests (`tests.prefork`), and its own."""
    found = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if not any(word.endswith("prefork.py") for word in child.cmdline()):
                found += [child, *child.children(recursive=True)]
    return found


def _qt_threads() -> int:
    """How many threads of Qt's run; the render and pool threads of libraries have other names."""
    count = 0
    for task in Path("/proc/self/task").iterdir():
        try:
            count += (task / "comm").read_text(encoding="utf-8").startswith("QThread")
        except OSError:
            continue
    return count


@pytest.fixture
def desk(clean: None, preferences: QSettings) -> Iterator[Desk]:
    """A desk without a window."""
    made = Desk(preferences)
    yield made
    made.jobs.stop_all()
    made.deleteLater()


@pytest.fixture
def window(clean: None, preferences: QSettings) -> Iterator[MainWindow]:
    """The window, closed and gone at the end."""
    made = MainWindow(preferences)
    made.show()
    yield made
    made.desk.jobs.stop_all()
    made.close()
    made.deleteLater()


class Heartbeat(QObject):
    """For how long at a time the window did not listen.

    Attributes:
        longest_s: the second longest such time: others use the machine, too, and one pause may be theirs.
    """

    def __init__(self) -> None:
        super().__init__()
        self._pauses, self._last = [0.0, 0.0], time.perf_counter()
        self._timer = QTimer(self)
        self._timer.timeout.connect(self._beat)

    @property
    def longest_s(self) -> float:
        return sorted(self._pauses)[-2]

    def __enter__(self) -> Heartbeat:
        self._last = time.perf_counter()
        self._timer.start(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.stop()

    def _beat(self) -> None:
        now = time.perf_counter()
        self._pauses.append(now - self._last)
        self._last = now


def told_nothing(page: QWidget) -> list[str]:
    """Controls without a tool tip or a name for who cannot see them."""
    kinds = (QAbstractButton, QComboBox, QSpinBox, QLineEdit)
    found = []
    for widget in (widget for kind in kinds for widget in page.findChildren(kind)):
        inside = isinstance(
            widget.parent(), QComboBox | QSpinBox | QTabBar | SettingsForm
        ) or widget.objectName().startswith("qt_")
        named = widget.accessibleName() or (isinstance(widget, QAbstractButton) and widget.text())
        if not inside and not (widget.toolTip() and named):
            found.append(f"{type(widget).__name__} {widget.objectName()} {widget.accessibleName()!r}")
    return found


def cut_off(page: QWidget) -> list[str]:
    """Labels and buttons that are to be seen and narrower than their text, or reach out of the page."""
    found = list[str]()
    shown: list[QLabel | QAbstractButton] = [*page.findChildren(QLabel), *page.findChildren(QAbstractButton)]
    for widget in shown:
        if not widget.isVisible() or not widget.text():
            continue
        wraps = isinstance(widget, QLabel) and widget.wordWrap()
        wide, high = widget.width(), widget.height()
        out = widget.mapTo(page, QPoint(wide, 0)).x() > page.width()
        short = high < widget.heightForWidth(wide) if wraps else wide < widget.sizeHint().width()
        if out or short:
            found.append(widget.text())
    return found
