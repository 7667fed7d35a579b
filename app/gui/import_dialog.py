"""What is in a scan and what it lacks, before anything long begins."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QImageReader, QPixmap
from PySide6.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from app.gui.desk import Desk
from app.gui.job import Job, Task
from app.gui.page import Notice, label
from app.project import OWN_FILES, Project, folder_name, is_folder, real_path
from reconstruction.temporary import TemporaryFolder

SHEET = QSize(560, 360)


class ImportDialog(QDialog):
    """Looks into a scan by ``inspect``, shows its contact sheet, and asks where the project goes."""

    def __init__(self, desk: Desk, scan: Path, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.desk, self.scan = desk, scan
        self.setWindowTitle(self.tr("Open a scan"))
        self.setMinimumWidth(640)
        self._folder = TemporaryFolder("look")
        self._title = label(scan.name, "title", self)
        self._state = label(self.tr("Looking into the scan …"), "faint", self)
        self._bar = QProgressBar(self)
        self._bar.setRange(0, 1000)
        self._bar.setTextVisible(False)
        self.sheet = QLabel(self)
        self.sheet.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.sheet.setMinimumSize(SHEET)
        self.sheet.setAccessibleName(self.tr("Pictures of the scan"))
        self.facts = label("", "", self)
        self.advice, self.failed = Notice("warnings", self), Notice("failed", self)
        self._name = QLineEdit(self._free_name(), self)
        self._name.setToolTip(self.tr("The project's folder gets this name."))
        self._home = QLineEdit(str(desk.home), self)
        self._home.setToolTip(self.tr("The folder that the project's folder is put into."))
        browse = QPushButton("…", self)
        browse.setAccessibleName(self.tr("Choose a folder"))
        browse.clicked.connect(self._browse)
        where = QHBoxLayout()
        where.addWidget(self._home, 1)
        where.addWidget(browse)
        form = QFormLayout()
        form.addRow(self.tr("Name of the project"), self._name)
        form.addRow(self.tr("Put it into"), where)
        self.buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel, self)
        self.go = QPushButton(self.tr("Make a scene of it"), self)
        self.go.setObjectName("primary")
        self.go.setDefault(True)
        self.go.setEnabled(False)
        self.buttons.addButton(self.go, QDialogButtonBox.ButtonRole.AcceptRole)
        self.there = Notice("stale", self)
        self.open_it = QPushButton(self.tr("Open the project"), self)
        self.open_it.setToolTip(self.tr("Go on with what was made of this scan before."))
        self.buttons.addButton(self.open_it, QDialogButtonBox.ButtonRole.ActionRole)
        self.open_it.clicked.connect(self._open_it)
        self.buttons.accepted.connect(self.accept)
        self.buttons.rejected.connect(self.reject)
        column = QVBoxLayout(self)
        column.setContentsMargins(24, 20, 24, 18)
        column.setSpacing(12)
        for widget in (self._title, self._state, self._bar, self.sheet, self.facts, self.advice, self.failed):
            column.addWidget(widget)
        column.addStretch(1)
        column.addWidget(self.there)
        column.addLayout(form)
        column.addWidget(self.buttons)
        picture = self._folder.path / "sheet.jpg"
        words = ("inspect", str(scan), "--contact-sheet", str(picture))
        self.job = desk.run(Task(self.tr("Look into {0}").format(scan.name), words, "inspect"), at_once=True)
        self.job.changed.connect(self._further)
        self.job.ended.connect(self._looked)
        self.finished.connect(self._over)
        self._name.textChanged.connect(self._check)
        self._home.textChanged.connect(self._check)
        self._check()

    def folder(self) -> Path:
        """The project's folder."""
        return real_path(Path(self._home.text().strip()).expanduser() / self._name.text().strip())

    def _free_name(self) -> str:
        """The scan's name, numbered where a project of another scan has it."""
        scan = self.scan
        stem = name = folder_name(scan.name if is_folder(scan) else scan.stem)
        number = 1
        while (owner := Project(self.desk.home / name)).is_project and owner.scan() != real_path(self.scan):
            number += 1
            name = f"{stem}_{number}"
        return name

    def _open_it(self) -> None:
        folder = self.folder()
        self.reject()
        if self.desk.open_project(folder):
            self.desk.step_wanted.emit("scan" if self.desk.standing()["scene"].kind == "empty" else "scene")

    def _browse(self) -> None:
        name = QFileDialog.getExistingDirectory(self, self.tr("Put the project into"), self._home.text())
        if name:
            self._home.setText(name)

    def _check(self) -> None:
        objection = self._objection()
        self.there.say(objection)
        self.open_it.setVisible(self._is_named() and Project(self.folder()).is_project)
        self.go.setEnabled(not objection and self.job.state.kind == "done")

    def _is_named(self) -> bool:
        """Whether name and place can be those of a folder."""
        name = self._name.text().strip()
        return bool(name) and name == folder_name(name) and bool(self._home.text().strip())

    def _objection(self) -> str:
        """Why no project can be made under this name; empty where it can."""
        if not self._name.text().strip():
            return self.tr("Give the project a name.")
        if not self._home.text().strip():
            return self.tr("Say into which folder the project is to be put.")
        if not self._is_named():
            return self.tr(
                'This cannot be the name of a folder. It may not hold any of < > : " / \\ | ? *, '
                "nor begin or end with a dot, nor be longer than 100 characters."
            )
        folder = self.folder()
        if Project(folder).is_project:
            return self.tr("There is such a project already. Open it, or give another name.")
        if any(job.task.project == folder and not job.is_over for job in self.desk.jobs.all):
            # Its folder is made when its turn comes; until then the disk does not know of it.
            return self.tr("A project of this name is about to be made. Give another name.")
        if _is_in_the_way(folder):
            return self.tr("There is something else under this name. Give another one.")
        return ""

    def _further(self) -> None:
        self._bar.setValue(round(1000 * self.job.state.fraction))

    def _looked(self) -> None:
        state = self.job.state
        self._bar.hide()
        self._state.hide()
        if state.kind == "failed" and state.failure is not None:
            self.sheet.hide()
            self.failed.say(state.failure.message, state.failure.remedy)
        elif state.kind == "done":
            self._show(self.job)
        self._check()

    def _show(self, job: Job) -> None:
        reader = QImageReader(str(job.state.result.get("contact_sheet", "")))
        size = reader.size()
        if size.isValid():
            ratio = self.devicePixelRatioF()
            reader.setScaledSize(size.scaled(SHEET * ratio, Qt.AspectRatioMode.KeepAspectRatio))
            picture = QPixmap.fromImage(reader.read())
            picture.setDevicePixelRatio(ratio)
            self.sheet.setPixmap(picture)
        else:
            self.sheet.hide()
        self.facts.setText(self._facts(job.state.result))
        lacks = [self.tr("Missing: {0}").format(text) for text in job.state.result.get("missing", [])]
        self.advice.say(*lacks, *job.state.warnings)

    def _facts(self, found: dict[str, Any]) -> str:
        parts = [str(found.get("device") or found.get("format") or "")]
        parts.append(self.tr("{0} frames, {1} with depth").format(found.get("frames", 0), found.get("depth_frames", 0)))
        if isinstance(seconds := found.get("duration_s"), int | float):
            parts.append(self.tr("{0} s").format(round(seconds, 1)))
        if isinstance(path := found.get("path_length_m"), int | float):
            parts.append(self.tr("the phone went {0} m").format(round(path, 1)))
        coverage = found.get("coverage") or {}
        if isinstance(turn := coverage.get("azimuth_deg"), int | float):
            parts.append(self.tr("{0}° round the table").format(round(turn)))
        if found.get("metric") is False:
            parts.append(self.tr("not metric"))
        return " · ".join(filter(None, parts))

    def _over(self) -> None:
        with contextlib.suppress(RuntimeError):
            self.job.changed.disconnect(self._further)
            self.job.ended.disconnect(self._looked)
        self.job.cancel()
        self._folder.cleanup()


def _is_in_the_way(folder: Path) -> bool:
    """Whether something lies there that `Project.create` would refuse, but only when the job runs."""
    try:
        return any(entry.name not in OWN_FILES for entry in folder.iterdir())
    except FileNotFoundError:
        return False
    except NotADirectoryError:
        return os.path.lexists(folder)
    except OSError:
        return False  # whoever makes it says what is wrong
