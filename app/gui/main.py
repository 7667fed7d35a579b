"""Opens the window."""

from __future__ import annotations

import importlib
import signal
import sys
import threading
from pathlib import Path

from PySide6.QtCore import QSettings, QTimer
from PySide6.QtWidgets import QApplication

from app.gui import theme
from app.gui.icons import app_icon
from app.gui.window import MainWindow


def open_window(path: Path | None = None) -> int:
    """Show the window until it is closed, with a project or a scan opened in it; returns the exit status."""
    app = QApplication.instance() or QApplication([sys.argv[0]])
    assert isinstance(app, QApplication)
    app.setApplicationName("Pocketworld")
    app.setOrganizationName("Pocketworld")
    app.setDesktopFileName("pocketworld")
    app.setWindowIcon(app_icon())
    preferences = QSettings(QSettings.Format.IniFormat, QSettings.Scope.UserScope, "Pocketworld", "Pocketworld")
    name = str(preferences.value("theme", "system"))
    theme.apply(app, name if name in theme.THEMES else theme.system_theme())
    window = MainWindow(preferences)
    window.show()
    threading.Thread(target=_import_pages, daemon=True).start()
    if path is not None:
        QTimer.singleShot(0, window, lambda: window.open_path(path))
    elif preferences.value("toured") is None:
        QTimer.singleShot(300, window, window.show_tour)
    # Python sees Ctrl-C at the terminal only when Qt lets it run for a moment.
    listens = QTimer(window)
    listens.timeout.connect(lambda: None)
    listens.start(250)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: QTimer.singleShot(0, window, lambda: _leave(window)))
    return app.exec()


def _import_pages() -> None:
    """Before somebody goes to one: importing them then would hold the window up."""
    for name in ("import_dialog", "scan_page", "scene_page", "cousins_page", "policy_page", "robot_page"):
        importlib.import_module(f"app.gui.{name}")
    for name in ("scene_document", "scene_edits"):
        importlib.import_module(f"app.{name}")


def _leave(window: MainWindow) -> None:
    """Asked to end by a signal: nobody is there to be asked back."""
    window.desk.jobs.stop_all()
    window.close()
