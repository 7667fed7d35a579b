"""Many scans at once: a table of them with their state."""

from __future__ import annotations

import functools
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PySide6.QtCore import (
    QAbstractTableModel,
    QEvent,
    QModelIndex,
    QObject,
    QPersistentModelIndex,
    QProcess,
    QRectF,
    Qt,
    QTimer,
    Signal,
)
from PySide6.QtGui import (
    QCloseEvent,
    QColor,
    QDragEnterEvent,
    QDropEvent,
    QFont,
    QKeyEvent,
    QKeySequence,
    QPainter,
    QShortcut,
)
from PySide6.QtWidgets import (
    QDialog,
    QFileDialog,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableView,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from app.gui import theme
from app.gui.desk import Desk
from app.gui.job import Job, Task, child_environment
from app.gui.page import Notice, clock, label
from app.project import NO_NAME, read_json

STEP = "batch"
SCAN, STATE, OBJECTS, TIME, SAID, OPEN = range(6)
LOOK_S = 1.0
"""So often, at most, it is looked whether a scan that runs has its scene."""
GRACE_MS = 2000
LONG = 32_000
"""Characters of a command line that every system takes."""


@dataclass
class Row:
    """A scan.

    Attributes:
        scan: its file or folder; `project`: the folder that becomes of it, where that is known.
        kind: ready, waiting, running, done, failed, cancelled.
        objects: that were found; `seconds`: that it took.
        said: what it is at, its warnings, or why it failed; `remedy`: what to do about that.
        fraction: of it that is done, about; `since`: when it began.
    """

    scan: str
    project: str = ""
    kind: str = "ready"
    objects: int | None = None
    seconds: float | None = None
    said: str = ""
    remedy: str = ""
    fraction: float = 0.0
    since: float = 0.0

    @property
    def opens(self) -> bool:
        """Whether there is a project to open."""
        return self.kind == "done" and bool(self.project)

    @functools.cached_property
    def name(self) -> str:
        """For people: where apps name the folder inside every export alike, the user's own folder stands first."""
        scan = Path(self.scan)
        place = scan
        while NO_NAME.fullmatch(place.name) and place.parent.name:
            place = place.parent
        return " / ".join((place.name, *scan.relative_to(place).parts))


class Scans(QAbstractTableModel):
    """The table's rows."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self.rows: list[Row] = []
        self._at: dict[str, int] = {}

    def rowCount(self, parent: QModelIndex | QPersistentModelIndex = QModelIndex()) -> int:  # noqa: N802, B008
        """How many scans."""
        return 0 if parent.isValid() else len(self.rows)

    def columnCount(self, parent: QModelIndex | QPersistentModelIndex = QModelIndex()) -> int:  # noqa: N802, B008
        """How much is said of each."""
        return 0 if parent.isValid() else 6

    def headerData(  # noqa: N802 - Qt's name
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        """Of the columns."""
        if orientation == Qt.Orientation.Horizontal and role == Qt.ItemDataRole.DisplayRole:
            names = (self.tr("Scan"), self.tr("State"), self.tr("Objects"), self.tr("Time"), self.tr("What it says"))
            return (*names, "")[section]
        return super().headerData(section, orientation, role)

    def data(self, index: QModelIndex | QPersistentModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """A cell."""
        row, column = self.rows[index.row()], index.column()
        if role == Qt.ItemDataRole.DisplayRole:
            return self._text(row, column)
        if role == Qt.ItemDataRole.ToolTipRole:
            opens = self.tr("Open its project: double click or Return, too.") if row.opens else ""
            said = "\n".join(filter(None, (row.said, row.remedy)))
            return {SCAN: row.scan, STATE: opens, OPEN: opens}.get(column, said)
        if role == Qt.ItemDataRole.UserRole:
            return row
        if role == Qt.ItemDataRole.ForegroundRole:
            colors = theme.current()
            if column == STATE:
                by_kind = {"done": colors.good, "failed": colors.bad, "running": colors.text}
                return QColor(by_kind.get(row.kind, colors.faint))
            if column == OPEN:
                return QColor(colors.accent)
            return QColor(colors.text if column == SCAN else colors.faint)
        if role == Qt.ItemDataRole.FontRole and column == OPEN:
            font = QFont()
            font.setUnderline(True)  # as a link
            return font
        return None

    def _text(self, row: Row, column: int) -> str:
        if column == SCAN:
            return row.name
        if column == STATE:
            names = {
                "ready": self.tr("ready"),
                "waiting": self.tr("waiting"),
                "running": self.tr("at work"),
                "done": self.tr("done"),
                "failed": self.tr("failed"),
                "cancelled": self.tr("cancelled"),
            }
            return names[row.kind]
        if column == OBJECTS:
            return "" if row.objects is None else str(row.objects)
        if column == TIME:
            return "" if row.seconds is None else clock(row.seconds)
        if column == OPEN:
            return self.tr("Open") if row.opens else ""
        return " ".join(filter(None, (row.said, row.remedy))).replace("\n", " ")

    def add(self, scan: str, project: str = "", objects: int | None = None) -> bool:
        """One more scan, unless it is there already."""
        if scan in self._at:
            row = self.rows[self._at[scan]]
            row.project = project or row.project
            return False
        number = len(self.rows)
        self.beginInsertRows(QModelIndex(), number, number)
        row = Row(scan, project)
        if objects is not None:
            row.kind, row.objects, row.said = "done", objects, self.tr("from before")
        self.rows.append(row)
        self._at[scan] = number
        self.endInsertRows()
        return True

    def remove(self, numbers: Sequence[int]) -> None:
        """Take these out."""
        for number in sorted(numbers, reverse=True):
            self.beginRemoveRows(QModelIndex(), number, number)
            del self.rows[number]
            self.endRemoveRows()
        self._at = {row.scan: number for number, row in enumerate(self.rows)}

    def of(self, scan: str) -> Row | None:
        """The row of a scan."""
        number = self._at.get(scan)
        return None if number is None else self.rows[number]

    def of_project(self, name: str) -> Row | None:
        """The row whose project's folder is named so."""
        return next((row for row in self.rows if row.project and Path(row.project).name == name), None)

    def touched(self, row: Row) -> None:
        """It says something else now."""
        number = self._at[row.scan]
        self.dataChanged.emit(self.index(number, 0), self.index(number, OPEN))

    def all_touched(self) -> None:
        """Any of them may say something else."""
        if self.rows:
            self.dataChanged.emit(self.index(0, 0), self.index(len(self.rows) - 1, OPEN))


class StateDelegate(QStyledItemDelegate):
    """Draws the state; a scan that is at work has a bar below it."""

    def paint(
        self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex
    ) -> None:
        """Draw it."""
        super().paint(painter, option, index)
        row = index.data(Qt.ItemDataRole.UserRole)
        if row.kind != "running":
            return
        colors, box = theme.current(), QRectF(option.rect)
        bar = QRectF(box.left() + 8, box.bottom() - 7, box.width() - 16, 4)
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(colors.border))
        painter.drawRoundedRect(bar, 2, 2)
        painter.setBrush(QColor(colors.accent))
        bar.setWidth(max(4.0, bar.width() * row.fraction))
        painter.drawRoundedRect(bar, 2, 2)
        painter.restore()


class Finder(QObject):
    """Looks for the scans that paths mean, in a process of its own (`app.scan_list`), one call after the other.

    Attributes:
        found: a scan, the project that would be its own, and how many objects that has, or None.
        failed: a sentence and its remedy.
        idle: there is nothing more to look for.
    """

    found = Signal(str, str, object)
    failed = Signal(str, str)
    idle = Signal()

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._process: QProcess | None = None
        self._waiting: list[list[str]] = []
        self._rest = b""

    @property
    def runs(self) -> bool:
        """Whether it looks."""
        return self._process is not None

    def look(self, out: Path, paths: Sequence[Path]) -> None:
        """Look for the scans below these."""
        self._waiting.append([str(out), *(os.path.abspath(path) for path in paths)])  # noqa: PTH100 - no link followed
        self._next()

    def stop(self) -> None:
        """End it, waiting for it."""
        self._waiting.clear()
        process, self._process = self._process, None
        if process is not None:
            process.blockSignals(True)
            process.kill()
            process.waitForFinished(GRACE_MS)
            process.deleteLater()

    def _next(self) -> None:
        if self._process is not None or not self._waiting:
            return
        process = self._process = QProcess(self)
        process.setProcessEnvironment(child_environment())
        process.setProgram(sys.executable)
        process.setArguments(["-m", "app.scan_list", *self._waiting.pop(0)])
        process.setStandardErrorFile(QProcess.nullDevice())
        process.readyReadStandardOutput.connect(self._read)
        process.errorOccurred.connect(self._not_started)
        process.finished.connect(self._over)
        self._rest = b""
        process.start()
        process.closeWriteChannel()

    def _read(self) -> None:
        if self._process is None:
            return
        *lines, self._rest = (self._rest + self._process.readAllStandardOutput().data()).split(b"\n")
        for line in lines:
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if event.get("event") == "scan":
                self.found.emit(event["scan"], event["project"], event["objects"])
            elif event.get("event") == "error":
                self.failed.emit(str(event.get("message", "")), str(event.get("remedy", "")))

    def _not_started(self, error: QProcess.ProcessError) -> None:
        if error == QProcess.ProcessError.FailedToStart:
            self.failed.emit(self.tr("The scans could not be looked for."), self.tr("Install Pocketworld again."))
            self._over()

    def _over(self, *_: object) -> None:
        self._read()
        process, self._process = self._process, None
        if process is not None:
            process.deleteLater()
        self._next()
        if self._process is None:
            self.idle.emit()


class BatchWindow(QDialog):
    """Reconstructs a list of scans: those that fail do not stop the others, and only what is missing is done again."""

    def __init__(self, desk: Desk, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.desk = desk
        self._job: Job | None = None
        self._looked = self._asked = 0.0
        self.setWindowTitle(self.tr("Many scans"))
        self.setModal(False)
        self.setAcceptDrops(True)
        self.resize(920, 600)
        self.setMinimumSize(640, 400)
        self.finder = Finder(self)
        self.finder.found.connect(self._found)
        self.finder.failed.connect(self._not_found)
        self.finder.idle.connect(self._all_found)
        self.scans = Scans(self)
        self._make()
        self._redraw = QTimer(self)
        self._redraw.setSingleShot(True)
        self._redraw.setInterval(200)
        self._redraw.timeout.connect(self._draw)
        desk.jobs.changed.connect(self._soon)
        self._take_up()
        self._draw()

    # --- what stands where -------------------------------------------------------------------------------------------

    def _make(self) -> None:
        heading = label(self.tr("Many scans"), "title", self)
        what = label(
            self.tr("Each becomes a project of its own. Those that fail are told, and do not stop the others."),
            "faint",
            self,
        )
        self.add_files = self._button(self.tr("Add files…"), self.tr("Exports as the phone made them."))
        self.add_folder = self._button(self.tr("Add a folder…"), self.tr("A scan, or a folder full of them."))
        self.remove = self._button(self.tr("Remove"), self.tr("Take the chosen rows out of the table: Delete"))
        self.add_files.clicked.connect(self._choose_files)
        self.add_folder.clicked.connect(self._choose_folder)
        self.remove.clicked.connect(self._remove_chosen)
        self.table = QTableView(self)
        self.table.setModel(self.scans)
        self.table.setItemDelegateForColumn(STATE, StateDelegate(self.table))
        self.table.setSelectionBehavior(QTableView.SelectionBehavior.SelectRows)
        self.table.setEditTriggers(QTableView.EditTrigger.NoEditTriggers)
        self.table.setShowGrid(False)
        self.table.setWordWrap(False)
        self.table.setTabKeyNavigation(False)
        self.table.setAccessibleName(self.tr("Scans"))
        self.table.setAccessibleDescription(self.tr("Return opens the project of a scan that is done."))
        self.table.setToolTip(self.tr("Drop files and folders here."))
        self.table.verticalHeader().hide()
        self.table.verticalHeader().setDefaultSectionSize(36)
        header = self.table.horizontalHeader()
        header.setHighlightSections(False)
        header.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        for column, width in ((SCAN, 220), (STATE, 120), (OBJECTS, 76), (TIME, 76), (OPEN, 64)):
            self.table.setColumnWidth(column, width)
        header.setSectionResizeMode(SAID, QHeaderView.ResizeMode.Stretch)
        self.table.clicked.connect(self._clicked)
        self.table.doubleClicked.connect(self._double_clicked)
        self.table.setMouseTracking(True)
        self.table.entered.connect(self._point_at)
        self.table.viewportEntered.connect(lambda: self.table.viewport().unsetCursor())
        self.table.installEventFilter(self)
        self.empty = label(self.tr("Drop scans here, or folders full of them."), "heading", self.table)
        self.empty.setAlignment(Qt.AlignmentFlag.AlignCenter)
        over = QVBoxLayout(self.table)
        over.addWidget(self.empty)
        self.out = QLineEdit(str(self.desk.home), self)
        self.out.setAccessibleName(self.tr("Folder for the projects"))
        self.out.setToolTip(self.tr("Each project is a folder in this one, named like its scan."))
        choose = QToolButton(self)
        choose.setText("…")
        choose.setAccessibleName(self.tr("Choose the folder for the projects"))
        choose.setToolTip(choose.accessibleName())
        choose.clicked.connect(self._choose_out)
        self._choose = choose
        name = QLabel(self.tr("&Projects in"), self)
        name.setBuddy(self.out)
        self.reason, self.notice = Notice("failed", self), Notice("failed", self)
        self.table.selectionModel().selectionChanged.connect(self._explain)
        self.scans.dataChanged.connect(self._explain)
        self.bar = QProgressBar(self)
        self.bar.setRange(0, 1000)
        self.bar.setTextVisible(False)
        self.bar.setAccessibleName(self.tr("Progress of all scans"))
        self.summary = label("", "faint", self)
        self.go = self._button(self.tr("Run"), self.tr("Ctrl+Return"))
        self.go.setObjectName("primary")
        self.go.clicked.connect(self.run)
        self.cancel = self._button(self.tr("Cancel"), self.tr("Stop. What is finished of it is kept."))
        self.cancel.clicked.connect(self._cancel)
        shortcut = QShortcut(QKeySequence("Ctrl+Return"), self)
        shortcut.activated.connect(self.go.click)
        buttons = QHBoxLayout()
        for button in (self.add_files, self.add_folder, self.remove):
            buttons.addWidget(button)
        buttons.addStretch(1)
        place = QHBoxLayout()
        place.addWidget(name)
        place.addWidget(self.out, 1)
        place.addWidget(choose)
        foot = QHBoxLayout()
        foot.addWidget(self.summary, 1)
        foot.addWidget(self.cancel)
        foot.addWidget(self.go)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(20, 18, 20, 18)
        whole.setSpacing(10)
        whole.addWidget(heading)
        whole.addWidget(what)
        whole.addLayout(buttons)
        whole.addWidget(self.table, 1)
        whole.addWidget(self.reason)
        whole.addLayout(place)
        whole.addWidget(self.notice)
        whole.addWidget(self.bar)
        whole.addLayout(foot)

    def _button(self, text: str, tip: str) -> QPushButton:
        button = QPushButton(text, self)
        button.setToolTip(tip)
        button.setAutoDefault(False)  # Return in the folder's field must not press it
        return button

    # --- the list ----------------------------------------------------------------------------------------------------

    def add_paths(self, paths: Sequence[Path]) -> None:
        """Add the scans that these files and folders are or hold."""
        if paths:
            self.notice.say()
            self.finder.look(self._out(), list(paths))
            self._draw()

    def _out(self) -> Path:
        return Path(self.out.text().strip() or str(self.desk.home)).expanduser().absolute()

    def _explain(self) -> None:
        """Say in full why the chosen scan failed: the table has a line for it."""
        chosen = [self.scans.rows[index.row()] for index in self.table.selectionModel().selectedRows()]
        row = chosen[0] if len(chosen) == 1 and chosen[0].kind == "failed" else None
        self.reason.say(*((row.name, row.said, row.remedy) if row else ()))

    def _found(self, scan: str, project: str, objects: int | None) -> None:
        self.scans.add(scan, project, objects)

    def _not_found(self, message: str, remedy: str) -> None:
        self.notice.say(message, remedy)

    def _all_found(self) -> None:
        self._draw()

    def _choose_files(self) -> None:
        kinds = self.tr("Scans (*.zip *.r3d);;All files (*)")
        names, _ = QFileDialog.getOpenFileNames(self, self.tr("Add scans"), str(Path.home()), kinds)
        self.add_paths([Path(name) for name in names])

    def _choose_folder(self) -> None:
        name = QFileDialog.getExistingDirectory(self, self.tr("Add a scan, or a folder full of them"), str(Path.home()))
        self.add_paths([Path(name)] if name else [])

    def _choose_out(self) -> None:
        name = QFileDialog.getExistingDirectory(self, self.tr("Folder for the projects"), str(self._out()))
        if name:
            self.out.setText(name)

    def _remove_chosen(self) -> None:
        if self._at_work():
            return
        self.scans.remove([index.row() for index in self.table.selectionModel().selectedRows()])
        self._draw()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 - Qt's name
        """In the table Return opens what is chosen, and Delete takes it out."""
        if watched is self.table and isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress:
            plain = event.modifiers() in (Qt.KeyboardModifier.NoModifier, Qt.KeyboardModifier.KeypadModifier)
            if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and plain:
                self.open_row(self.table.currentIndex().row())
                return True
            if event.key() == Qt.Key.Key_Delete and plain:
                self._remove_chosen()
                return True
        return super().eventFilter(watched, event)

    def _clicked(self, index: QModelIndex) -> None:
        if index.column() == OPEN:
            self.open_row(index.row())

    def _double_clicked(self, index: QModelIndex) -> None:
        if index.column() != OPEN:  # there the first click has
            self.open_row(index.row())

    def _point_at(self, index: QModelIndex) -> None:
        """What opens something looks so."""
        if index.column() == OPEN and self.scans.rows[index.row()].opens:
            self.table.viewport().setCursor(Qt.CursorShape.PointingHandCursor)
        else:
            self.table.viewport().unsetCursor()

    def open_row(self, number: int) -> None:
        """Open the project of a scan that is done."""
        if not 0 <= number < len(self.scans.rows):
            return
        row = self.scans.rows[number]
        if row.opens and self.desk.open_project(Path(row.project)):
            self.desk.step_wanted.emit("scene")

    # --- running -----------------------------------------------------------------------------------------------------

    def task(self) -> Task:
        """Reconstruct all of the table.

        Raises:
            ValueError: there is nothing to do; the sentence says why.
        """
        scans = [row.scan for row in self.scans.rows]
        if not scans:
            raise ValueError(self.tr("There are no scans in the table."))
        if os.name == "nt" and sum(map(len, scans)) + 3 * len(scans) > LONG:
            raise ValueError(self.tr("These are more scans than one command can name: add the folder they lie in."))
        title = self.tr("Reconstruct {0} scans").format(len(scans))
        return Task(title, ("reconstruct", *scans, "--out", str(self._out())), STEP)

    def run(self) -> None:
        """Reconstruct what is not done yet; what is done and unchanged takes no time."""
        if self._at_work() or self.finder.runs:
            return
        try:
            task = self.task()
        except ValueError as error:
            self.notice.say(str(error))
            return
        self.notice.say()
        for row in self.scans.rows:
            if row.kind != "done":
                row.kind, row.said, row.remedy, row.seconds = "waiting", "", "", None
        self.scans.all_touched()
        self._follow(self.desk.run(task))

    def _take_up(self) -> None:
        """Follow a batch that was begun before this window was opened."""
        job = self.desk.jobs.last(STEP, None)
        if job is None or job.task.words[0] != "reconstruct" or "--out" not in job.task.words:
            return
        words = job.task.words[1:]
        end = words.index("--out")
        self.out.setText(words[end + 1])
        for scan in words[:end]:
            self.scans.add(scan)
        if job.is_over:
            self._job = job
            self._finish(job)
        else:
            for row in self.scans.rows:
                row.kind = "waiting"
            self.finder.look(self._out(), [Path(scan) for scan in words[:end]])  # which projects they become
            self._follow(job)

    def _follow(self, job: Job) -> None:
        self._job, self._looked = job, 0.0
        self._began = time.time()
        job.said.connect(self._take)
        job.ended.connect(lambda: self._finish(job))
        self._draw()

    def _at_work(self) -> bool:
        return self._job is not None and not self._job.is_over

    def _take(self, event: dict[str, Any]) -> None:
        kind = event.get("event")
        if kind == "progress":
            self._at(str(event.get("message", "")))
            self._share(event.get("fraction"))
        elif kind in ("warning", "error"):
            row = self.scans.of(str(event.get("scan", "")))
            if row is not None and kind == "error":
                self._fails(row, str(event.get("message", "")), str(event.get("remedy", "")))
            elif row is not None and row.kind != "done":
                row.said = str(event.get("message", ""))
                self.scans.touched(row)

    def _at(self, message: str) -> None:
        """What the command is at: ``"3 of 7: kitchen: fusing"``; it names the project, not how far that is."""
        rest = message.partition(": ")[2] if " of " in message.partition(": ")[0] else message
        name, _, what = rest.partition(": ")
        row = self.scans.of_project(name)
        if row is None or row.kind == "failed" or (row.kind == "done" and what == "done"):
            return
        now = time.time()
        if row.kind != "running":
            row.kind, row.since, row.objects, row.fraction = "running", now, None, 0.0
        if what != row.said:
            row.said = what
            self.scans.touched(row)
        if what == "done":
            self._look(row, now, again=True)
        elif now - self._looked > LOOK_S:
            self._looked = now
            for other in self.scans.rows:
                if other.kind == "running" and other is not row:
                    self._look(other, now)

    def _share(self, fraction: object) -> None:
        """How far those are that are at work: the command says it of all together."""
        if not isinstance(fraction, int | float):
            return
        running = [row for row in self.scans.rows if row.kind == "running"]
        over = sum(row.kind in ("done", "failed") for row in self.scans.rows)
        each = (fraction * len(self.scans.rows) - over) / max(1, len(running))
        for row in running:
            if each > row.fraction + 0.005:
                row.fraction = min(each, 1.0)
                self.scans.touched(row)

    def _look(self, row: Row, now: float, again: bool = False) -> None:
        """Whether the scene of one is there, made since the batch began or, where `again`, before."""
        stage = Path(row.project) / "scene" / "stage.json"
        try:
            if stage.stat().st_mtime < self._began and not again:
                return
        except OSError:
            return
        record = read_json(stage) or {}
        objects = (record.get("figures") or {}).get("objects")
        row.kind, row.said, row.seconds = "done", "", now - row.since
        row.objects = objects if isinstance(objects, int) else None
        self.scans.touched(row)

    def _fails(self, row: Row, message: str, remedy: str) -> None:
        row.kind, row.said, row.remedy, row.objects = "failed", message, remedy, None
        self.scans.touched(row)

    def _finish(self, job: Job) -> None:
        if job is not self._job:
            return
        result = job.state.result
        for made in result.get("projects", ()):
            row = self.scans.of(str(made.get("scan")))
            if row is not None:
                row.kind, row.project, row.objects = "done", str(made.get("project")), made.get("objects")
                row.seconds, row.remedy = made.get("seconds"), ""
                said = [self.tr("unchanged")] if made.get("status") == "unchanged" else []
                row.said = " ".join([*said, *map(str, made.get("warnings", ()))])
        for failure in result.get("failed", ()):
            row = self.scans.of(str(failure.get("scan")))
            if row is not None:
                self._fails(row, str(failure.get("message", "")), str(failure.get("remedy", "")))
        for row in self.scans.rows:
            if row.kind in ("running", "waiting"):
                self._left_off(row, cancelled=job.state.kind == "cancelled")
        failure = job.state.failure
        if job.state.kind == "failed" and not result and failure is not None:
            self.notice.say(failure.message, failure.remedy)
        self.scans.all_touched()
        self._draw()

    def _left_off(self, row: Row, cancelled: bool) -> None:
        """The command is over, and this one was not finished, as far as it said."""
        begun = row.kind == "running"
        if begun:
            self._look(row, time.time())  # it may have been, just before
        if row.kind == "done":
            return
        row.kind, row.said = ("cancelled" if cancelled else "ready"), ""
        if cancelled and begun:
            row.said = self.tr("Finished steps are kept: run it again.")
        elif cancelled:
            row.said = self.tr("It had not begun.")

    def _cancel(self) -> None:
        if self._job is not None:
            self._job.cancel()

    # --- how it looks ------------------------------------------------------------------------------------------------

    def _soon(self) -> None:
        if not self._redraw.isActive():
            self._redraw.start()

    def _draw(self) -> None:
        rows, job, at_work = self.scans.rows, self._job, self._at_work()
        self.empty.setVisible(not rows and not self.finder.runs)
        for widget in (self.add_files, self.add_folder, self.out, self._choose):
            widget.setEnabled(not at_work)
        self.remove.setEnabled(not at_work and bool(rows))
        self.go.setEnabled(not at_work and bool(rows) and not self.finder.runs)
        again = job is not None or any(row.kind == "done" for row in rows)
        self.go.setText(self.tr("Run again") if again else self.tr("Run"))
        self.go.setToolTip(self.tr("Only what is missing or has changed is done. Ctrl+Return"))
        self.cancel.setVisible(at_work)
        self.bar.setVisible(at_work)
        self.summary.setText(self._summary())
        if job is not None and at_work:
            self.bar.setValue(round(1000 * job.state.fraction))

    def _summary(self) -> str:
        rows, job = self.scans.rows, self._job
        if self.finder.runs:
            return self.tr("Looking for scans …")
        if not rows:
            return ""
        kinds = [row.kind for row in rows]
        counts = [
            (self.tr("{0} done"), kinds.count("done")),
            (self.tr("{0} failed"), kinds.count("failed")),
            (self.tr("{0} at work"), kinds.count("running")),
            (self.tr("{0} waiting"), kinds.count("waiting")),
            (self.tr("{0} cancelled"), kinds.count("cancelled")),
            (self.tr("{0} ready"), kinds.count("ready")),
        ]
        text = ", ".join(words.format(count) for words, count in counts if count)
        text = self.tr("{0} scans: {1}").format(len(rows), text)
        if job is None:
            return text
        if self._at_work():
            left = job.state.seconds_left
            if job.state.kind == "waiting":
                return self.tr("{0} · waits for what runs").format(text)
            return text if left is None else self.tr("{0} · about {1} left").format(text, clock(left))
        if job.state.kind == "cancelled":
            return self.tr("{0} · run it again to go on").format(text)
        seconds = job.state.result.get("seconds")
        return self.tr("{0} · {1}").format(text, clock(seconds)) if isinstance(seconds, int | float) else text

    # --- dropping and closing ----------------------------------------------------------------------------------------

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:  # noqa: N802 - Qt's name
        """Take files and folders, but not while it runs."""
        if not self._at_work() and any(url.isLocalFile() for url in event.mimeData().urls()):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:  # noqa: N802 - Qt's name
        """Add what was dropped."""
        event.acceptProposedAction()
        self.add_paths([Path(url.toLocalFile()) for url in event.mimeData().urls() if url.isLocalFile()])

    def closeEvent(self, event: QCloseEvent) -> None:  # noqa: N802 - Qt's name
        """What runs goes on; nothing is looked for any more."""
        self.finder.stop()
        super().closeEvent(event)
