"""What this program is, and whether this computer has what it needs."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Qt
from PySide6.QtWidgets import (
    QApplication,
    QDialog,
    QDialogButtonBox,
    QFrame,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from app.gui import theme
from app.gui.desk import Desk
from app.gui.icons import app_icon, dot
from app.gui.job import Task
from app.gui.page import Notice, label
from app.project import version


class About(QDialog):
    """Name, version, licence."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(self.tr("About Pocketworld"))
        picture = QLabel(self)
        picture.setPixmap(app_icon().pixmap(72, 72))
        picture.setAlignment(Qt.AlignmentFlag.AlignCenter)
        texts = [
            label("Pocketworld", "title", self),
            label(self.tr("Version {0}, licence Apache 2.0").format(version()), "faint", self),
            label(self.tr("From an iPhone scan of a bench to a policy that drives the real arm."), "", self),
            label(self.tr("Everything is computed on this computer. Nothing is sent anywhere."), "faint", self),
        ]
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close, self)
        buttons.rejected.connect(self.reject)
        column = QVBoxLayout(self)
        column.setContentsMargins(36, 26, 36, 20)
        column.setSpacing(10)
        column.addWidget(picture)
        for text in texts:
            text.setAlignment(Qt.AlignmentFlag.AlignCenter)
            column.addWidget(text)
        column.addWidget(buttons)


class Doctor(QDialog):
    """Runs ``doctor`` and shows what it finds, each with its fix."""

    def __init__(self, desk: Desk, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._text = ""
        self.setWindowTitle(self.tr("Check this computer"))
        self.resize(620, 560)
        self._bar = QProgressBar(self)
        self._bar.setRange(0, 1000)
        self._bar.setTextVisible(False)
        self.failed = Notice("failed", self)
        self.found = QVBoxLayout()
        self.found.setAlignment(Qt.AlignmentFlag.AlignTop)
        inside = QWidget(self)
        inside.setLayout(self.found)
        scroll = QScrollArea(self)
        scroll.setWidget(inside)
        scroll.setWidgetResizable(True)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close, self)
        buttons.rejected.connect(self.reject)
        copy = QPushButton(self.tr("Copy"), self)
        copy.setToolTip(self.tr("Copy what was found, to send it to somebody who helps."))
        copy.clicked.connect(lambda: QApplication.clipboard().setText(self._text))
        buttons.addButton(copy, QDialogButtonBox.ButtonRole.ActionRole)
        column = QVBoxLayout(self)
        column.setContentsMargins(20, 18, 20, 16)
        column.addWidget(self._bar)
        column.addWidget(self.failed)
        column.addWidget(scroll, 1)
        column.addWidget(buttons)
        self.job = desk.run(Task(self.tr("Check this computer"), ("doctor",), "doctor"), at_once=True)
        self.job.changed.connect(self._further)
        self.job.ended.connect(self._show)
        self.finished.connect(self._over)

    def _further(self) -> None:
        self._bar.setValue(round(1000 * self.job.state.fraction))

    def _show(self) -> None:
        self._bar.hide()
        checks: list[dict[str, Any]] = self.job.state.result.get("checks", [])
        if not checks and self.job.state.failure is not None:
            self.failed.say(self.job.state.failure.message, self.job.state.failure.remedy)
        colors, lines = theme.current(), []
        lacks = [check for check in checks if not check.get("ok")]
        if checks:
            sum_up = self.tr("{0} of {1} are missing.").format(len(lacks), len(checks))
            self.found.addWidget(label(sum_up if lacks else self.tr("Everything is there."), "heading", self))
        for check in sorted(checks, key=lambda one: bool(one.get("ok"))):
            good = bool(check.get("ok"))
            color = colors.good if good else colors.bad if check.get("stops") else colors.warn
            row = QFrame(self)
            row.setObjectName("card")
            mark = QLabel(row)
            mark.setPixmap(dot(color).pixmap(14, 14))
            mark.setAccessibleName(self.tr("good") if good else self.tr("missing"))
            said = [str(check.get(key) or "") for key in ("name", "found", "fix")]
            lines.append("  ".join(filter(None, said)))
            head = QHBoxLayout()
            head.addWidget(mark)
            head.addWidget(label(said[0], "heading", row), 1)
            inside = QVBoxLayout(row)
            inside.setContentsMargins(12, 8, 12, 8)
            inside.addLayout(head)
            for text in said[1 : 2 if good else 3]:  # the remedy of what is there already would look like a lack
                if text:
                    inside.addWidget(label(text, "faint", row))
            self.found.addWidget(row)
        self._text = "\n".join(lines)

    def _over(self) -> None:
        self.job.changed.disconnect(self._further)
        self.job.ended.disconnect(self._show)
        self.job.cancel()
