"""The window: the walk on the left, a page of it on the right, and what runs at the foot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import QByteArray, QSettings, QSize, Qt, QUrl
from PySide6.QtGui import QAction, QCloseEvent, QDesktopServices, QDragEnterEvent, QDropEvent, QIcon, QKeySequence
from PySide6.QtWidgets import (
    QApplication,
    QButtonGroup,
    QFileDialog,
    QFrame,
    QHBoxLayout,
    QLabel,
    QMainWindow,
    QMenu,
    QMessageBox,
    QProgressBar,
    QPushButton,
    QStackedWidget,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from app.gui import theme
from app.gui.desk import Desk
from app.gui.icons import dot
from app.gui.job import Job
from app.gui.page import StepPage, clock, label
from app.gui.start_page import StartPage
from app.gui.walk import STEPS, next_step

WALK_PX = 190
SMALLEST = QSize(1180, 700)


class MainWindow(QMainWindow):
    """Pocketworld's window. Pages are made when they are first shown: it is there at once."""

    def __init__(self, preferences: QSettings) -> None:
        super().__init__()
        self.desk = Desk(preferences, self)
        self.setWindowTitle("Pocketworld")
        self.setMinimumSize(SMALLEST)
        self.resize(1280, 800)
        self.setAcceptDrops(True)
        self._pages: dict[str, QWidget] = {}
        self._extra: dict[str, QWidget] = {}
        self._shown_job: Job | None = None
        self._make_walk()
        self._make_foot()
        self._make_menus()
        self.desk.project_changed.connect(self._project_changed)
        self.desk.refreshed.connect(self._refresh)
        self.desk.jobs.changed.connect(self._jobs_changed)
        self.desk.step_wanted.connect(self.show_step)
        self.desk.tag_wanted.connect(self.show_tag)
        self.desk.problem.connect(self._problem)
        geometry = preferences.value("geometry")
        if isinstance(geometry, QByteArray):
            self.restoreGeometry(geometry)
        self.show_step("start")
        self._refresh()

    # --- what stands where -------------------------------------------------------------------------------------------

    def _make_walk(self) -> None:
        self._steps: dict[str, StepButton] = {}
        group = QButtonGroup(self)
        side = QWidget(self)
        side.setObjectName("panel")
        side.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        side.setFixedWidth(WALK_PX)
        column = QVBoxLayout(side)
        column.setContentsMargins(10, 14, 10, 14)
        column.setSpacing(4)
        self._project = label("", "heading", side)
        self._project.setContentsMargins(8, 6, 8, 10)
        names = {
            "start": self.tr("Start"),
            "scan": self.tr("Scan"),
            "scene": self.tr("Scene"),
            "cousins": self.tr("Cousins"),
            "policy": self.tr("Policy"),
            "robot": self.tr("Robot"),
        }
        for number, (step, name) in enumerate(names.items()):
            button = StepButton(name, side)
            button.setProperty("step", step)
            button.setToolTip(self.tr("Ctrl+{0}").format(number))
            group.addButton(button)
            column.addWidget(button)
            self._steps[step] = button
            if step == "start":
                column.addWidget(_line(side))
                column.addWidget(self._project)
        group.buttonClicked.connect(lambda button: self.show_step(str(button.property("step"))))
        column.addStretch(1)
        self._stack = QStackedWidget(self)
        both = QHBoxLayout()
        both.setContentsMargins(0, 0, 0, 0)
        both.setSpacing(0)
        both.addWidget(side)
        both.addWidget(self._stack, 1)
        self._whole = QVBoxLayout()
        self._whole.setContentsMargins(0, 0, 0, 0)
        self._whole.setSpacing(0)
        self._whole.addLayout(both, 1)
        middle = QWidget(self)
        middle.setObjectName("surface")
        middle.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        middle.setLayout(self._whole)
        self.setCentralWidget(middle)

    def _make_foot(self) -> None:
        """One line about what runs, on whatever page it was begun."""
        self._foot = QFrame(self)
        self._foot.setObjectName("panel")
        self._foot_text = QLabel(self._foot)
        self._foot_bar = QProgressBar(self._foot)
        self._foot_bar.setRange(0, 1000)
        self._foot_bar.setTextVisible(False)
        self._foot_bar.setFixedWidth(220)
        self._foot_bar.setAccessibleName(self.tr("Progress of what runs"))
        self._foot_show = QPushButton(self.tr("Show"), self._foot)
        self._foot_show.setToolTip(self.tr("Go to the page of what runs."))
        self._foot_show.clicked.connect(self._show_running)
        row = QHBoxLayout(self._foot)
        row.setContentsMargins(16, 6, 16, 6)
        self._foot_jobs = QToolButton(self._foot)
        self._foot_jobs.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self._foot_jobs.setToolTip(self.tr("All that runs and waits: show it, or cancel it."))
        self._jobs_menu = QMenu(self._foot_jobs)
        self._jobs_menu.aboutToShow.connect(self._list_jobs)
        self._foot_jobs.setMenu(self._jobs_menu)
        row.addWidget(self._foot_text, 1)
        row.addWidget(self._foot_jobs)
        row.addWidget(self._foot_bar)
        row.addWidget(self._foot_show)
        self._foot.hide()
        self._whole.addWidget(self._foot)

    def _make_menus(self) -> None:
        bar = self.menuBar()
        file = bar.addMenu(self.tr("&File"))
        self._action(file.addAction, self.tr("Open a &scan…"), self.choose_scan, "Ctrl+O")
        self._action(file.addAction, self.tr("Open a &project…"), self.choose_project, "Ctrl+Shift+O")
        self._action(file.addAction, self.tr("&Batch of scans…"), self.show_batch, "Ctrl+B")
        file.addSeparator()
        self._action(file.addAction, self.tr("Show the project's &folder"), self._show_folder)
        self._action(file.addAction, self.tr("Show its &report"), self._show_report)
        file.addSeparator()
        self._action(file.addAction, self.tr("Print a &tag…"), self.show_tag)
        file.addSeparator()
        self._action(file.addAction, self.tr("Se&ttings…"), self.show_settings, "Ctrl+,")
        self._action(file.addAction, self.tr("&Quit"), self.close, "Ctrl+Q")
        self.edit_menu = bar.addMenu(self.tr("&Edit"))
        view = bar.addMenu(self.tr("&View"))
        for number, step in enumerate(("start", *STEPS)):
            text = self._steps[step].name
            self._action(view.addAction, text, self._go(step), f"Ctrl+{number}")
        view.addSeparator()
        self._action(view.addAction, self.tr("Change between &dark and light"), self._other_theme, "Ctrl+Shift+L")
        helps = bar.addMenu(self.tr("&Help"))
        self._action(helps.addAction, self.tr("A short &tour"), self.show_tour, "F1")
        self._action(helps.addAction, self.tr("&Check this computer"), self.show_doctor)
        self._action(helps.addAction, self.tr("&About Pocketworld"), self.show_about)

    def _action(
        self, add: Callable[[str], QAction], text: str, what: Callable[[], object], keys: str | None = None
    ) -> QAction:
        action = add(text)
        if keys is not None:
            action.setShortcut(QKeySequence(keys))
        action.triggered.connect(lambda _checked=False: what())
        return action

    def _go(self, step: str) -> Callable[[], None]:
        return lambda: self.show_step(step)

    # --- pages -------------------------------------------------------------------------------------------------------

    def show_step(self, step: str) -> None:
        """Show a page of the walk, or ``"start"``."""
        if step != "start" and self.desk.project is None:
            step = "start"
        if step not in self._pages:
            page = self._pages[step] = self._new_page(step)
            self._stack.addWidget(page)
            if isinstance(page, StepPage):
                page.refresh()
        self._stack.setCurrentWidget(self._pages[step])
        self._steps[step].setChecked(True)
        self._steps[step].setFocus()

    def _new_page(self, step: str) -> QWidget:
        if step == "start":
            page = StartPage(self.desk)
            page.scan_chosen.connect(self.open_scan)
            page.choose_scan.connect(self.choose_scan)
            page.choose_project.connect(self.choose_project)
            page.batch.connect(self.show_batch)
            return page
        if step == "scan":
            from app.gui.scan_page import ScanPage

            return ScanPage(self.desk)
        if step == "scene":
            from app.gui.scene_page import ScenePage

            scene = ScenePage(self.desk)
            for action in scene.edit_actions():
                self.edit_menu.addAction(action)
            return scene
        if step == "cousins":
            from app.gui.cousins_page import CousinsPage

            return CousinsPage(self.desk)
        if step == "policy":
            from app.gui.policy_page import PolicyPage

            return PolicyPage(self.desk)
        from app.gui.robot_page import RobotPage

        return RobotPage(self.desk)

    def page(self, step: str) -> QWidget:
        """A page, which is made if it was never shown."""
        self.show_step(step)
        return self._pages[step]

    # --- opening -----------------------------------------------------------------------------------------------------

    def choose_scan(self) -> None:
        """Ask for a scan: a file, or by way of the dialog's own button a folder."""
        kinds = self.tr("Scans (*.zip *.r3d);;All files (*)")
        name, _ = QFileDialog.getOpenFileName(self, self.tr("Open a scan"), str(Path.home()), kinds)
        if name:
            self.open_scan(Path(name))

    def choose_project(self) -> None:
        """Ask for a project's folder, or the folder of a scan."""
        name = QFileDialog.getExistingDirectory(
            self, self.tr("Open a project, or the folder of a scan"), str(self.desk.home)
        )
        if name:
            self.open_path(Path(name))

    def open_path(self, path: Path) -> None:
        """Open whatever that is: a project, or a scan."""
        from app.project import Project

        if Project(path).is_project:
            if self.desk.open_project(path):
                self.show_step(next_step(self.desk.standing()))
        else:
            self.open_scan(path)

    def open_scan(self, path: Path) -> None:
        """Look into a scan and ask before anything long begins."""
        from app.gui.import_dialog import ImportDialog

        dialog = ImportDialog(self.desk, path, self)
        dialog.accepted.connect(lambda: self._import(dialog))
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.open()

    def _import(self, dialog: QWidget) -> None:
        from app.gui.import_dialog import ImportDialog

        assert isinstance(dialog, ImportDialog)
        self.desk.begin(dialog.folder(), dialog.scan)
        page = self.page("scan")
        assert isinstance(page, StepPage)
        page.run()

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:  # noqa: N802 - Qt's name
        """Take files and folders."""
        if any(url.isLocalFile() for url in event.mimeData().urls()):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:  # noqa: N802 - Qt's name
        """Open what was dropped; several scans are a batch."""
        paths = [Path(url.toLocalFile()) for url in event.mimeData().urls() if url.isLocalFile()]
        event.acceptProposedAction()
        if len(paths) == 1:
            self.open_path(paths[0])
        elif paths:
            self.show_batch(paths)

    # --- other windows -----------------------------------------------------------------------------------------------

    def show_batch(self, paths: list[Path] | None = None) -> None:
        """The window for many scans."""
        from app.gui.batch_window import BatchWindow

        window = self._extra.get("batch")
        if not isinstance(window, BatchWindow):
            window = self._extra["batch"] = BatchWindow(self.desk, self)
        window.show()
        window.raise_()
        if paths:
            window.add_paths(paths)

    def show_settings(self) -> None:
        """The person's preferences."""
        from app.gui.preferences import Preferences

        self._open_dialog(Preferences(self.desk, self))

    def show_doctor(self) -> None:
        """What this computer has and lacks."""
        from app.gui.about import Doctor

        self._open_dialog(Doctor(self.desk, self))

    def show_tag(self) -> None:
        """The page with the robot's tag."""
        from app.gui.tag_dialog import TagDialog

        project = self.desk.project
        there = project is not None and project.folder.is_dir()
        self._open_dialog(TagDialog(project.folder if project is not None and there else Path.home(), self))

    def show_about(self) -> None:
        """What this program is."""
        from app.gui.about import About

        self._open_dialog(About(self))

    def show_tour(self) -> None:
        """Five steps that say what the five steps are."""
        from app.gui.tour import Tour

        self._open_dialog(Tour(self.desk, self))

    def _open_dialog(self, dialog: QWidget) -> None:
        from PySide6.QtWidgets import QDialog

        assert isinstance(dialog, QDialog)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.open()

    def _show_folder(self) -> None:
        if self.desk.project is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(self.desk.project.folder)))

    def _show_report(self) -> None:
        if self.desk.project is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(self.desk.project.folder / "report.html")))

    def _other_theme(self) -> None:
        name = "light" if theme.current() is theme.THEMES["dark"] else "dark"
        self.desk.preferences.setValue("theme", name)
        app = QApplication.instance()
        assert isinstance(app, QApplication)
        theme.apply(app, name)
        self._refresh()

    # --- what changes ------------------------------------------------------------------------------------------------

    def _project_changed(self) -> None:
        project = self.desk.project
        self.setWindowTitle("Pocketworld" if project is None else f"{project.name} – Pocketworld")
        if project is None:
            self.show_step("start")

    def _refresh(self) -> None:
        colors, stands = theme.current(), self.desk.standing()
        project = self.desk.project
        self._project.setText("" if project is None else project.name)
        self._project.setToolTip("" if project is None else str(project.folder))
        kinds = {"empty": colors.border, "done": colors.good, "stale": colors.warn, "weak": colors.warn}
        for step, stands_at in stands.items():
            button = self._steps[step]
            button.setEnabled(project is not None)
            job = None if project is None else self.desk.jobs.last(step, project.folder)
            state = "" if job is None else job.state.kind
            color, text = kinds[stands_at.kind], stands_at.text
            if state in ("running", "waiting"):
                color, text = colors.accent, self.tr("at work") if state == "running" else self.tr("waits")
            elif state == "failed" and job is not None and not job.is_calm:
                color, text = colors.bad, self.tr("failed")
            button.show_state(dot(color, hollow=stands_at.kind == "empty" and not state), text)
            button.setToolTip(f"{text}\n" + self.tr("Ctrl+{0}").format(1 + STEPS.index(step)))
        self._steps["start"].show_state(dot(colors.faint, hollow=True), self.tr("open or go on"))

    def _jobs_changed(self) -> None:
        running, waiting = self.desk.jobs.running, len(self.desk.jobs.waiting)
        self._foot.setVisible(running is not None)
        if running is None:
            self._refresh()
            return
        state = running.state
        left = "" if state.seconds_left is None else self.tr(", about {0} left").format(clock(state.seconds_left))
        self._foot_text.setText(f"{running.task.title}: {state.fraction:.0%}{left}")
        self._foot_jobs.setVisible(waiting > 0)
        self._foot_jobs.setText(self.tr("1 more waits") if waiting == 1 else self.tr("{0} more wait").format(waiting))
        self._foot_bar.setValue(round(1000 * state.fraction))
        if self._shown_job is not running:
            self._shown_job = running
            self._refresh()

    def _list_jobs(self) -> None:
        """Fill the menu of all that runs and waits, as it is when the menu opens."""
        self._jobs_menu.clear()
        for old in self._jobs_menu.findChildren(QMenu):  # which it takes out, but keeps
            old.deleteLater()
        for job in self.desk.jobs.all:
            if job.is_over:
                continue
            how = f"{job.state.fraction:.0%}" if job.state.kind == "running" else self.tr("waits")
            title = f"{job.task.title} ({how})".replace("&", "&&")
            one = self._jobs_menu.addMenu(title)
            self._action(one.addAction, self.tr("Show"), self._shower(job))
            self._action(one.addAction, self.tr("Cancel"), job.cancel)

    def _shower(self, job: Job) -> Callable[[], None]:
        return lambda: self._show_job(job)

    def _show_running(self) -> None:
        if (job := self.desk.jobs.running) is not None:
            self._show_job(job)

    def _show_job(self, job: Job) -> None:
        from app.project import Project

        task = job.task
        if task.step == "batch":
            self.show_batch()
        elif task.project is not None:
            if self.desk.project is None or self.desk.project.folder != task.project:
                if Project(task.project).is_project:
                    self.desk.open_project(task.project)
                elif task.words[0] == "reconstruct":  # its folder is made when its turn comes
                    self.desk.begin(task.project, Path(task.words[1]))
            self.show_step(task.step)

    def _problem(self, message: str, remedy: str) -> None:
        box = QMessageBox(QMessageBox.Icon.Warning, "Pocketworld", message, QMessageBox.StandardButton.Ok, self)
        box.setInformativeText(remedy)
        box.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        box.open()

    def closeEvent(self, event: QCloseEvent) -> None:  # noqa: N802 - Qt's name
        """Ask while something runs; leave no process behind."""
        running = self.desk.jobs.running
        if running is not None and not self._may_stop(running.task.title):
            event.ignore()
            return
        self.desk.preferences.setValue("geometry", self.saveGeometry())
        self.desk.jobs.stop_all()
        for page in [*self._pages.values(), *self._extra.values()]:
            page.close()
        super().closeEvent(event)

    def _may_stop(self, title: str) -> bool:
        box = QMessageBox(
            QMessageBox.Icon.Question, "Pocketworld", self.tr("“{0}” still runs.").format(title), parent=self
        )
        box.setInformativeText(self.tr("What is finished of it is kept, and it goes on from there the next time."))
        stop = box.addButton(self.tr("Stop it and close"), QMessageBox.ButtonRole.AcceptRole)
        box.setDefaultButton(box.addButton(self.tr("Stay"), QMessageBox.ButtonRole.RejectRole))
        box.exec()
        return box.clickedButton() is stop


class StepButton(QPushButton):
    """A step of the walk: a dot of its state, its name, and where it stands."""

    def __init__(self, name: str, parent: QWidget) -> None:
        super().__init__(parent)
        self.name = name
        self.setObjectName("step")
        self.setCheckable(True)
        self.setMinimumHeight(50)
        self._dot, title, self._state = QLabel(self), QLabel(name, self), QLabel(self)
        title.setObjectName("step")
        self._state.setObjectName("small")
        row = QHBoxLayout(self)
        row.setContentsMargins(10, 4, 6, 4)
        row.setSpacing(8)
        lines = QVBoxLayout()
        lines.setSpacing(0)
        lines.addStretch(1)
        lines.addWidget(title)
        lines.addWidget(self._state)
        lines.addStretch(1)
        row.addWidget(self._dot)
        row.addLayout(lines, 1)
        for widget in (self._dot, title, self._state):
            widget.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)

    def show_state(self, icon: QIcon, text: str) -> None:
        """Show how the step stands."""
        self._dot.setPixmap(icon.pixmap(14, 14))
        room = WALK_PX - 66
        self._state.setText(self._state.fontMetrics().elidedText(text, Qt.TextElideMode.ElideRight, room))
        self.setAccessibleName(f"{self.name}: {text}")


def _line(parent: QWidget) -> QFrame:
    line = QFrame(parent)
    line.setObjectName("line")
    return line
