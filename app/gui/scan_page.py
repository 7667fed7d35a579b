"""The scan: what the phone saw, from where, and the button that makes a scene of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QImageReader, QPixmap, QResizeEvent
from PySide6.QtWidgets import QLabel, QMessageBox, QTabWidget, QVBoxLayout, QWidget

from app.gui.coverage import CoverageChart
from app.gui.desk import Desk
from app.gui.helper import Helper
from app.gui.job import Job, Task
from app.gui.page import Notice, StepPage, label
from app.gui.settings_form import SettingsForm
from app.gui.viewport import Viewport
from app.project import Project, read_json
from app.stages import SceneSettings
from reconstruction.temporary import TemporaryFolder

SHOWN = (
    "reconstruct.tag.search",
    "reconstruct.tag.size_mm",
    "reconstruct.texture.unlit",
)


class ScanPage(StepPage):
    """Point cloud and camera path, pictures, coverage; runs ``reconstruct``."""

    step: ClassVar[str] = "scan"

    def __init__(self, desk: Desk) -> None:
        super().__init__(
            desk, self.tr("Scan"), self.tr("What the phone has seen becomes objects with shape, mass and friction.")
        )
        self.facts = label("", "", self)
        labels = {
            SHOWN[0]: self.tr("Look for the robot's tag"),
            SHOWN[1]: self.tr("Its side (mm)"),
            SHOWN[2]: self.tr("Take out the room's light"),
        }
        self.form = SettingsForm(SceneSettings, SHOWN, parent=self, labels=labels)
        self.go = self.add_run(self.tr("Make the scene"))
        self.unchanged = label(
            self.tr("Nothing has changed since the scene was made: it is as it was. Other settings make another one."),
            "faint",
            self,
        )
        self.unchanged.hide()
        self.side.addWidget(self.unchanged)
        self.side.insertWidget(0, self.facts)
        self.side.addWidget(self.form)
        self.view = Viewport(self)
        self.sheet = Picture(self)
        self.chart = CoverageChart(self)
        self.chart_text = label("", "", self)
        coverage = QWidget(self)
        column = QVBoxLayout(coverage)
        column.addWidget(self.chart, 1)
        column.addWidget(self.chart_text)
        self.chart_text.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.tabs = QTabWidget(self)
        self.tabs.addTab(self.view, self.tr("Points"))
        self.tabs.addTab(self.sheet, self.tr("Pictures"))
        self.tabs.addTab(coverage, self.tr("Coverage"))
        self.advice, self.trouble = Notice("warnings", self), Notice("failed", self)
        self.result.addWidget(self.tabs, 1)
        self.result.addWidget(self.trouble)
        self.result.addWidget(self.advice)
        self._again = False
        self._preview: Helper | None = None
        self._previewed: Path | None = None
        self._folder: TemporaryFolder | None = None

    def task(self) -> Task:
        """``reconstruct`` of the project's scan into its folder.

        Raises:
            ValueError: no project, no scan, or a setting is none.
        """
        folder, scan = self.project_folder(), self.desk.scan
        if scan is None:
            raise ValueError(self.tr("It is not known what this project was made of."))
        words = ["reconstruct", str(scan), "--out", str(folder.parent), "--name", folder.name]
        words += [
            word.replace("--reconstruct.", "--", 1).replace("--no-reconstruct.", "--no-", 1)
            for word in self.form.words()
        ]
        words += ["--again"] if self._again else []
        return Task(self.tr("Make the scene of {0}").format(folder.name), tuple(words), self.step, folder)

    def run(self) -> None:
        """Line up the job; asks before a scene that was edited by hand is made anew."""
        project = self.desk.project
        self._again = project is not None and edited(project)
        if self._again and not self._may_lose():
            return
        super().run()

    def _may_lose(self) -> bool:
        box = QMessageBox(
            QMessageBox.Icon.Question, "Pocketworld", self.tr("The scene was edited by hand."), parent=self
        )
        box.setInformativeText(
            self.tr(
                "Made anew, it is without these edits; cousins and policies are then of another scene. The edited one "
                "is kept in the project's folder, as scene_edited_1 or the next number."
            )
        )
        again = box.addButton(self.tr("Make it anew"), QMessageBox.ButtonRole.AcceptRole)
        box.setDefaultButton(box.addButton(QMessageBox.StandardButton.Cancel))
        box.exec()
        return box.clickedButton() is again

    def refresh(self) -> None:
        """Show the project's scan."""
        super().refresh()
        project = self.desk.project
        if project is None:
            self._end_preview()
            self._previewed = None
            return
        done = bool(project.record("scene"))
        self.go.setObjectName("" if done else "primary")  # then the next step is what is blue
        self.go.style().polish(self.go)
        self.go.setText(self.tr("Make the scene again") if done else self.tr("Make the scene"))
        found = read_json(project.stage_folder("capture") / "inspection.json") or {}
        self.facts.setText(_facts(self, found) if found else str(self.desk.scan or ""))
        self.sheet.show_file(project.stage_folder("capture") / "contact_sheet.jpg")
        self.advice.say(*project.record("scene").get("warnings", ()))
        if self.desk.scan != self._previewed and self.isVisible():
            self._begin_preview()

    def showEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Look into the scan when the page is first seen with it."""
        super().showEvent(event)
        if self.desk.scan != self._previewed:
            self._begin_preview()

    def follow(self, job: Job | None) -> None:
        """While the scene is made, the button waits."""
        busy = job is not None and not job.is_over
        self.go.setEnabled(not busy and self.desk.project is not None and self.desk.scan is not None)
        made = [] if job is None else job.state.result.get("projects") or []
        same = bool(made) and isinstance(made[0], dict) and made[0].get("status") == "unchanged"
        self.unchanged.setVisible(same and not busy)

    def _begin_preview(self) -> None:
        self._end_preview()
        scan = self._previewed = self.desk.scan
        self.chart.forget()
        self.chart_text.setText("")
        self.trouble.say()
        if scan is None:
            return
        self._folder = TemporaryFolder("preview")
        self._preview = Helper("app.scan_preview", [str(scan), str(self._folder.path)], self)
        self._preview.said.connect(self._previewed_more)

    def _previewed_more(self, event: dict[str, Any]) -> None:
        if event.get("event") == "points":
            self.view.show_points(Path(str(event["path"])))
        elif event.get("event") == "coverage":
            self.chart.show_coverage(event["azimuth_deg"], event["elevation_deg"], event["distance_m"])
            self.chart_text.setText(self.chart.advice())
        elif event.get("event") == "error":
            self.trouble.say(str(event.get("message", "")), str(event.get("remedy", "")))

    def _end_preview(self) -> None:
        if self._preview is not None:
            self._preview.stop()
            self._preview.deleteLater()
            self._preview = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def closeEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Leave no process and no files."""
        self._end_preview()
        self.view.shut_down()
        super().closeEvent(event)


def edited(project: Project) -> bool:
    """Whether the project's scene was edited by hand."""
    return bool((read_json(project.stage_folder("scene") / "scene.json") or {}).get("edited"))


def _facts(page: QWidget, found: dict[str, Any]) -> str:
    coverage = found.get("coverage") or {}
    parts = [
        str(found.get("device") or found.get("format") or ""),
        page.tr("{0} frames, {1} with depth").format(found.get("frames", 0), found.get("depth_frames", 0)),
    ]
    if isinstance(turn := coverage.get("azimuth_deg"), int | float):
        parts.append(page.tr("{0}° round the table").format(round(turn)))
    if isinstance(error := found.get("convention_error_m"), int | float):
        parts.append(page.tr("depth agrees to {0} mm").format(round(1000 * error, 1)))
    return "\n".join(filter(None, parts))


class Picture(QLabel):
    """A picture from a file, as large as there is room."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.setMinimumSize(QSize(200, 150))
        self._file: Path | None = None
        self.setAccessibleName(self.tr("Pictures of the scan"))

    def show_file(self, path: Path) -> None:
        """Show this file, or nothing where there is none."""
        self._file = path
        self._draw()

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802 - Qt's name
        """Draw it anew at the new size."""
        super().resizeEvent(event)
        self._draw()

    def _draw(self) -> None:
        reader = QImageReader(str(self._file)) if self._file is not None else QImageReader()
        whole = reader.size()
        if not whole.isValid():
            self.setText(self.tr("No pictures yet."))
            return
        ratio = self.devicePixelRatioF()
        reader.setScaledSize(whole.scaled(self.size() * ratio, Qt.AspectRatioMode.KeepAspectRatio))
        picture = QPixmap.fromImage(reader.read())
        picture.setDevicePixelRatio(ratio)
        self.setPixmap(picture)
