"""What all pages share: the open project, the jobs, and what the person has chosen before."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QObject, QSettings, Signal

from app.gui.job import Job, Jobs, Task
from app.gui.walk import Standing, standing
from app.project import Project
from reconstruction.errors import PocketworldError

RECENT = 12


class Desk(QObject):
    """The window's state without its widgets.

    Attributes:
        scan: what the open project is made of; None where that is not known.
        varied: the strengths that the cousins page shows for the open project; None where it has shown none yet.
        project_changed: another project is open, or none.
        refreshed: something in the open project's folder may have changed.
        step_wanted: a page of the walk, or ``"start"``, is to be shown.
        problem: a sentence and its remedy, to be shown at once.
        tag_wanted: somebody needs a printed tag.
    """

    project_changed = Signal()
    refreshed = Signal()
    step_wanted = Signal(str)
    problem = Signal(str, str)
    tag_wanted = Signal()

    def __init__(self, preferences: QSettings, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.preferences = preferences
        self.project: Project | None = None
        self.scan: Path | None = None
        self.varied: dict[str, float] | None = None
        self.jobs = Jobs(self)
        self._begun: Job | None = None
        self.jobs.ended.connect(self._job_ended)
        self.jobs.changed.connect(self._remember_running)

    def open_project(self, folder: Path) -> bool:
        """Open a project; says so if that is none."""
        try:
            self.project = Project.open(folder)
        except PocketworldError as error:
            self.problem.emit(error.message, error.remedy)
            return False
        self.scan, self.varied = self.project.scan(), None
        self.remember(self.project.folder)
        self.project_changed.emit()
        self.refreshed.emit()
        return True

    def begin(self, folder: Path, scan: Path) -> None:
        """Have a project open whose folder its first step will make."""
        self.project = Project(folder)
        self.scan, self.varied = scan, None
        self.project_changed.emit()
        self.refreshed.emit()

    def close_project(self) -> None:
        """Have none open."""
        self.project = None
        self.project_changed.emit()
        self.refreshed.emit()

    def standing(self) -> dict[str, Standing]:
        """Where the steps of the open project stand."""
        return standing(self.project)

    def run(self, task: Task, *, at_once: bool = False) -> Job:
        """Line up a job."""
        return self.jobs.add(task, at_once=at_once)

    def _job_ended(self, job: Job) -> None:
        for made in job.state.result.get("projects") or ():  # of a batch, too
            if isinstance(made, dict) and Project(Path(str(made.get("project")))).is_project:
                self.remember(Path(str(made["project"])))
        if self.project is not None and job.task.project == self.project.folder:
            if self.project.is_project:
                self.remember(self.project.folder)
            self.refreshed.emit()

    def _remember_running(self) -> None:
        """As soon as there is something of a project: a window that is killed must find it again."""
        job = self.jobs.running
        if job is None or job is self._begun or (folder := job.task.project) is None:
            return
        if Project(folder).is_project:
            self._begun = job
            self.remember(folder)
            self.preferences.sync()  # it would be written when the window next has time, which may never be

    def recent(self) -> list[Path]:
        """Projects that were opened before and are still there, the last one first."""
        names = self.preferences.value("recent", [])
        folders = [Path(str(name)) for name in (names if isinstance(names, list) else [names])]
        return [folder for folder in folders if Project(folder).is_project]

    def remember(self, folder: Path) -> None:
        """Put a project first among the recent ones."""
        names = [str(folder), *(str(other) for other in self.recent() if other != folder)]
        self.preferences.setValue("recent", names[:RECENT])

    @property
    def home(self) -> Path:
        """Where new projects go."""
        return Path(str(self.preferences.value("home", str(Path.home() / "Pocketworld"))))
