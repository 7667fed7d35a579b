"""A page of the walk: its few settings and its button on the left, what has come of it on the right."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from PySide6.QtCore import Qt, QTimer
from PySide6.QtGui import QKeySequence, QShortcut, QShowEvent
from PySide6.QtWidgets import (
    QApplication,
    QFrame,
    QHBoxLayout,
    QLabel,
    QPlainTextEdit,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from app.gui import theme
from app.gui.desk import Desk
from app.gui.job import NOT_GOOD, Failed, Job, Task

SIDE_PX = 340
_NEXT = {"scan": "scene", "scene": "cousins", "cousins": "policy", "policy": "robot"}


def clock(seconds: float) -> str:
    """``"4 s"``, ``"3 min"``, ``"2 h 05 min"``: as exact as a time left ever is."""
    whole = round(seconds)
    if whole < 90:
        return f"{whole} s"
    if whole < 90 * 60:
        return f"{round(whole / 60)} min"
    return f"{whole // 3600} h {whole // 60 % 60:02d} min"


class Notice(QFrame):
    """A panel of a colour with a sentence and what to do."""

    def __init__(self, kind: str, parent: QWidget | None = None) -> None:
        """`kind` is the style: ``failed``, ``stale`` or ``warnings``."""
        super().__init__(parent)
        self.setObjectName(kind)
        self._text = QLabel(self)
        self._text.setWordWrap(True)
        self._text.setTextFormat(Qt.TextFormat.PlainText)
        self._text.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(12, 10, 12, 10)
        layout.addWidget(self._text)
        self.hide()

    def say(self, *sentences: str) -> None:
        """Show these, or nothing where there are none."""
        said = [sentence for sentence in sentences if sentence]
        self._text.setText("\n".join(said))
        self.setAccessibleName(self._text.text())
        self.setVisible(bool(said))

    def text(self) -> str:
        """What it says."""
        return self._text.text() if not self.isHidden() else ""


class JobPanel(QWidget):
    """Progress, time left, warnings and log of the newest job of a page, and its Cancel button.

    Attributes:
        reword: a page's own words for a failure: those of the command line may speak of its flags.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._job: Job | None = None
        self.reword: Callable[[Failed], Failed] = lambda failure: failure
        self.bar = QProgressBar(self)
        self.bar.setRange(0, 1000)
        self.bar.setTextVisible(False)
        self.bar.setAccessibleName(self.tr("Progress"))
        self._what, self._left = QLabel(self), QLabel(self)
        self._what.setWordWrap(True)
        self._what.setObjectName("faint")
        self._left.setObjectName("faint")
        self.cancel = QPushButton(self.tr("Cancel"), self)
        self.cancel.setToolTip(self.tr("Stop this step. What is finished of it is kept."))
        self.failed, self.warnings = Notice("failed", self), Notice("warnings", self)
        self.weak = Notice("stale", self)  # nothing is broken, but there is nothing to go on with either
        self._unfold = QToolButton(self)
        self._unfold.setText(self.tr("Log"))
        self._unfold.setCheckable(True)
        self._unfold.setToolTip(self.tr("What the step has said, and its command for a terminal."))
        self._copy = QToolButton(self)
        self._copy.setText(self.tr("Copy"))
        self._copy.setToolTip(self.tr("Copy the log."))
        self._copy.clicked.connect(self._copy_log)
        self.log = QPlainTextEdit(self)
        self.log.setReadOnly(True)
        self.log.setMinimumHeight(150)
        self.log.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self.log.setAccessibleName(self.tr("Log"))
        self._unfold.toggled.connect(self._show_log)
        self.cancel.clicked.connect(self._cancel)
        times = QHBoxLayout()
        times.addWidget(self._left, 1)
        times.addWidget(self.cancel)
        folds = QHBoxLayout()
        folds.addWidget(self._unfold)
        folds.addWidget(self._copy)
        folds.addStretch(1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.bar)
        layout.addLayout(times)  # above the message, which may be of one line or two: Cancel never moves
        layout.addWidget(self._what)
        layout.addWidget(self.failed)
        layout.addWidget(self.weak)
        layout.addWidget(self.warnings)
        layout.addLayout(folds)
        layout.addWidget(self.log)
        # Ten events a second are more than anybody reads: the panel is drawn anew at most five times a second.
        self._redraw = QTimer(self)
        self._redraw.setSingleShot(True)
        self._redraw.setInterval(200)
        self._redraw.timeout.connect(self._draw)
        self._draw()

    @property
    def job(self) -> Job | None:
        """The one that is shown."""
        return self._job

    def show_job(self, job: Job | None) -> None:
        """Follow another job, or none."""
        if job is self._job:
            return
        if self._job is not None:
            self._job.changed.disconnect(self._soon)
        self._job = job
        if job is not None:
            job.changed.connect(self._soon)
        self._draw()

    def _soon(self) -> None:
        if self._job is not None and self._job.is_over:
            self._redraw.stop()
            self._draw()
        elif not self._redraw.isActive():
            self._redraw.start()

    def _cancel(self) -> None:
        if self._job is not None:
            self._job.cancel()

    def _show_log(self) -> None:
        shown = self._unfold.isChecked() and self._job is not None
        if shown and self._job is not None:
            self._fill_log(list(self._job.state.log))
        self.log.setVisible(shown)
        self._copy.setVisible(shown)

    def _copy_log(self) -> None:
        QApplication.clipboard().setText(self.log.toPlainText())

    def _draw(self) -> None:
        job = self._job
        at_work = job is not None and not job.is_over
        for widget in (self.bar, self._left, self.cancel):
            widget.setVisible(at_work)
        self._unfold.setVisible(job is not None)
        self._show_log()
        if job is None:
            self._what.hide()
            self.failed.say()
            self.weak.say()
            self.warnings.say()
            return
        state = job.state
        self.bar.setValue(round(1000 * state.fraction))
        words = {
            "waiting": self.tr("Waits for the step before it."),
            "running": state.message or self.tr("Starting …"),
            "done": self.tr("Done."),
            "cancelled": self.tr("Stopped.")
            if job.task.words[0] == "run"
            else self.tr("Cancelled. What was finished is kept: run it again to go on."),
            "failed": "",
        }
        self._what.setText(words[state.kind])
        self._what.setVisible(bool(words[state.kind]))
        left = "" if state.seconds_left is None else self.tr("about {0} left").format(clock(state.seconds_left))
        self._left.setText(f"{state.fraction:.0%}   {left}" if state.kind == "running" else "")
        failure = state.failure if state.kind == "failed" else None
        said = self.reword(failure) if failure is not None else Failed("")
        weak = failure is not None and failure.code == NOT_GOOD
        self.failed.say(*(() if weak else (said.message, said.remedy)))
        self.weak.say(*((said.message, said.remedy) if weak else ()))
        self.warnings.say(*state.warnings)

    def _fill_log(self, lines: list[str]) -> None:
        text = "\n".join(lines)
        if text != self.log.toPlainText():
            self.log.setPlainText(text)
            bar = self.log.verticalScrollBar()
            bar.setValue(bar.maximum())


class StepPage(QWidget):
    """The frame of all five pages. A page fills `side` and `result`, and says what it runs in `task`.

    Attributes:
        aside: the widget that `side` is in.
    """

    step: ClassVar[str] = ""

    def __init__(self, desk: Desk, title: str, what: str) -> None:
        """`what` says in a sentence what the step does."""
        super().__init__()
        self.desk = desk
        self._at: tuple[Job, str] | None = None
        self.setObjectName("surface")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        heading, sentence = QLabel(title, self), QLabel(what, self)
        heading.setObjectName("title")
        sentence.setObjectName("faint")
        sentence.setWordWrap(True)
        self.stale = Notice("stale", self)
        self.side = QVBoxLayout()
        self.side.setSpacing(10)
        self.panel = JobPanel(self)
        self.onward = QPushButton(self)
        self.onward.setObjectName("primary")
        self.onward.setToolTip(self.tr("Go to the next step."))
        self.onward.clicked.connect(lambda: desk.step_wanted.emit(_NEXT[self.step]))
        self.onward.hide()
        inside = QWidget(self)
        inside.setObjectName("panel")
        column = QVBoxLayout(inside)
        column.setContentsMargins(18, 16, 18, 16)
        column.setSpacing(10)
        column.addWidget(heading)
        column.addWidget(sentence)
        column.addWidget(self.stale)
        column.addWidget(self.panel)
        column.addWidget(self.onward)
        column.addLayout(self.side)
        column.addStretch(1)
        scroll = QScrollArea(self)
        scroll.setObjectName("panel")
        scroll.setWidget(inside)
        scroll.setWidgetResizable(True)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setFixedWidth(SIDE_PX)
        scroll.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.aside = scroll
        self.result = QVBoxLayout()
        self.result.setContentsMargins(18, 16, 18, 16)
        self.result.setSpacing(12)
        both = QHBoxLayout(self)
        both.setContentsMargins(0, 0, 0, 0)
        both.setSpacing(0)
        both.addWidget(scroll)
        both.addLayout(self.result, 1)
        desk.refreshed.connect(self.refresh)
        desk.jobs.changed.connect(self._follow)

    def add_run(self, text: str, name: str = "primary") -> QPushButton:
        """A button that runs `task`; Ctrl+Return presses it, too."""
        button = QPushButton(text, self)
        button.setObjectName(name)
        button.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        button.clicked.connect(self.run)
        shortcut = QShortcut(QKeySequence("Ctrl+Return"), self)
        shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
        shortcut.activated.connect(button.click)
        button.setToolTip(self.tr("Ctrl+Return"))
        self.side.addWidget(button)
        return button

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802 - Qt's name
        """Dress what style sheets cannot."""
        super().showEvent(event)
        theme.pad_numbers(self)

    def task(self) -> Task:
        """What the page's button runs.

        Raises:
            ValueError: the settings make no sense; the sentence says why.
        """
        raise NotImplementedError

    def run(self) -> None:
        """Line up the page's job."""
        try:
            task = self.task()
        except ValueError as error:
            self.desk.problem.emit(str(error), self.tr("Correct it and try again."))
            return
        self.start(task)

    def start(self, task: Task) -> Job:
        """Line up a job and show it on this page."""
        job = self.desk.run(task)
        self.panel.show_job(job)
        return job

    def project_folder(self) -> Path:
        """Of the open project.

        Raises:
            ValueError: none is open.
        """
        if self.desk.project is None:
            raise ValueError(self.tr("No project is open."))
        return self.desk.project.folder

    def refresh(self) -> None:
        """Show what the project's folder says now."""
        self._follow()
        stands = self.desk.standing()[self.step]
        self.stale.say(*([stands.text] if stands.kind == "stale" else []))
        self._offer_next()

    def _offer_next(self) -> None:
        """What comes next, once this step is done."""
        names = {
            "scene": self.tr("Next: look at the scene"),
            "cousins": self.tr("Next: its cousins"),
            "policy": self.tr("Next: teach it a task"),
            "robot": self.tr("Next: try the bundle"),
        }
        step = _NEXT.get(self.step)
        job = self.panel.job
        if step is not None:
            self.onward.setText(names[step] + "  →")
            done = self.desk.standing()["scene" if self.step == "scan" else self.step].kind != "empty"
            self.onward.setVisible(done and (job is None or job.is_over))

    def _follow(self) -> None:
        folder = None if self.desk.project is None else self.desk.project.folder
        self.panel.show_job(self.desk.jobs.last(self.step, folder))
        job = self.panel.job
        at = None if job is None else (job, job.state.kind)
        if at != self._at:  # not at each of ten events a second: it reads files
            self._at = at
            self._offer_next()
        self.follow(job)

    def follow(self, job: Job | None) -> None:
        """The page's job is further; pages that show more than the panel override this."""


def card(*widgets: QWidget, parent: QWidget | None = None) -> QFrame:
    """A framed panel with these widgets below each other."""
    frame = QFrame(parent)
    frame.setObjectName("card")
    layout = QVBoxLayout(frame)
    layout.setContentsMargins(16, 14, 16, 14)
    layout.setSpacing(8)
    for widget in widgets:
        layout.addWidget(widget)
    return frame


def label(text: str, name: str = "", parent: QWidget | None = None, *, wrap: bool = True) -> QLabel:
    """A label of a style of the theme (``title``, ``heading``, ``faint``, ``figure``)."""
    made = QLabel(text, parent)
    made.setObjectName(name)
    made.setWordWrap(wrap)
    made.setTextFormat(Qt.TextFormat.PlainText)
    return made


class NeedsScan(QWidget):
    """What a page shows in place of its result while there is no scene.

    Attributes:
        text: what is missing; `button`: leads to the scan's page.
    """

    def __init__(self, desk: Desk, why: str, parent: QWidget) -> None:
        super().__init__(parent)
        self.text, said = label("", "heading", self), label(why, "faint", self)
        self.button = QPushButton(self.tr("Go to the scan"), self)
        self.button.setObjectName("primary")
        self.button.setToolTip(self.tr("Make the scene first."))
        self.button.clicked.connect(lambda: desk.step_wanted.emit("scan"))
        column = QVBoxLayout(self)
        column.addStretch(1)
        for line in (self.text, said):
            line.setAlignment(Qt.AlignmentFlag.AlignCenter)
            column.addWidget(line)
        column.addWidget(self.button, 0, Qt.AlignmentFlag.AlignCenter)
        column.addStretch(1)
