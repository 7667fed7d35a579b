"""The cousins page: sliders on the left, and on the right a wall of pictures that follows them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, ClassVar

from PySide6.QtCore import (
    QCoreApplication,
    Qt,
    QTimer,
    QUrl,
)
from PySide6.QtGui import (
    QDesktopServices,
    QHideEvent,
    QImage,
    QPixmap,
    QShowEvent,
)
from PySide6.QtWidgets import (
    QFileDialog,
    QHBoxLayout,
    QPushButton,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from app.gui.cousin_tiles import CousinView, TileDelegate, Tiles, TileView
from app.gui.cousin_wall_process import Farewell, WallProcess
from app.gui.desk import Desk
from app.gui.job import Job, Task
from app.gui.page import NeedsScan, Notice, StepPage, label
from app.gui.settings_form import SettingsForm
from app.gui.strengths import Strengths, words_for
from app.gui.walk import scene_hash
from app.project import read_json
from simulation.cousins import CousinSettings
from simulation.variations import strengths_of

SETTLED_MS = 250
"""So long nothing must have moved before new pictures are asked for."""
COUNT = 100
"""So many are proposed: enough for a first look. The command line makes more."""
TILES = 12
MOST_TILES = 96
TILE_PX = 300
LARGE_PX = 960


def open_folder(folder: Path) -> None:
    """Show a folder in the desktop's own way."""
    QDesktopServices.openUrl(QUrl.fromLocalFile(str(folder)))


class CousinsPage(StepPage):
    """Cousins: what varies and how strongly, seen at once."""

    step: ClassVar[str] = "cousins"

    def __init__(self, desk: Desk) -> None:
        super().__init__(
            desk,
            QCoreApplication.translate("CousinsPage", "Cousins"),
            QCoreApplication.translate(
                "CousinsPage",
                "Relatives of your scene: the wall shows what varies; cousins made here can be looked at and written "
                "as scenes. The policy draws its own cousins, with the variations chosen there.",
            ),
        )
        self.open_scene: Callable[[Path], None] = open_folder
        """Shows a scene that was written; the window may have a better way."""
        self._record: dict[str, Any] | None = None
        self._folder = None if desk.project is None else desk.project.folder
        self._has_scene = self._busy = False
        self._ordered: dict[str, Any] | None = None
        self._scene: tuple[Path, str] | None = None
        self._asked: dict[str, Any] | None = None
        self._ready = False
        self._written: dict[int, Path] = {}
        self._open: int | None = None
        self._large: tuple[int, QPixmap, bool] | None = None
        self._wanted_tiles = TILES
        self._make_side()
        self._make_result()
        self.wall = WallProcess()
        self.wall.ready.connect(self._loaded)
        self.wall.picture.connect(self._drawn)
        self.wall.sure.connect(self._proved)
        self.wall.done.connect(self._finished)
        self.wall.failed.connect(self._failed)
        wall = self.wall
        self.destroyed.connect(lambda: wall.stop(wait=True))
        app = QCoreApplication.instance()
        if app is not None:
            app.aboutToQuit.connect(self._stop)
        self._settle = QTimer(self)
        self._settle.setSingleShot(True)
        self._settle.setInterval(SETTLED_MS)
        self._settle.timeout.connect(self._ask)
        self.strengths.changed.connect(self._moved)
        self.form.changed.connect(self._moved)
        desk.project_changed.connect(self._project_changed)
        self.refresh()

    # --- what stands where -------------------------------------------------------------------------------------------

    def _make_side(self) -> None:
        self.strengths = Strengths(self)
        self.form = SettingsForm(CousinSettings, shown=("count", "seed"), hidden=("vary",), parent=self)
        self.form.set_values({"count": COUNT})
        self.side.addWidget(self.strengths)
        self.side.addWidget(self.form)
        self.make = self.add_run(self.tr("Make cousins"))

    def _make_result(self) -> None:
        self._pages = QStackedWidget(self)
        self.empty = NeedsScan(self.desk, self.tr("Cousins are made of a scene, and a scene of a scan."), self)
        self._pages.addWidget(self.empty)
        self._pages.addWidget(self._make_wall())
        self.view = CousinView(self)
        self.view.back.connect(self._close_view)
        self.view.stepped.connect(self._step)
        self.view.wanted.connect(self._write)
        self.view.opened.connect(self._show_written)
        self._pages.addWidget(self.view)
        self.result.addWidget(self._pages, 1)

    def _make_wall(self) -> QWidget:
        whole = QWidget(self)
        self.heading = label("", "heading", whole)
        self.state = label("", "faint", whole)
        self.more = QPushButton(self.tr("More"), whole)
        self.more.setToolTip(self.tr("Show {0} more.").format(TILES))
        self.more.clicked.connect(self._show_more)
        texts = QVBoxLayout()
        texts.setSpacing(2)
        texts.addWidget(self.heading)
        texts.addWidget(self.state)
        top = QHBoxLayout()
        top.addLayout(texts, 1)
        top.addWidget(self.more, 0, Qt.AlignmentFlag.AlignVCenter)
        self.complaint = Notice("failed", whole)
        self.retry = QPushButton(self.tr("Try again"), whole)
        self.retry.setToolTip(self.tr("Start drawing the pictures again."))
        self.retry.clicked.connect(self._retry)
        self.retry.hide()
        self.tiles = Tiles(self)
        self.tile_view = TileView(whole)
        self.tile_view.setModel(self.tiles)
        self.tile_view.setItemDelegate(TileDelegate(self.tile_view))
        self.tile_view.setAccessibleName(self.tr("Cousins"))
        self.tile_view.setAccessibleDescription(self.tr("Arrow keys move, Return opens one."))
        self.tile_view.clicked.connect(lambda index: self._open_view(index.row()))
        self.tile_view.activated.connect(lambda index: self._open_view(index.row()))
        column = QVBoxLayout(whole)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(10)
        column.addLayout(top)
        column.addWidget(self.complaint)
        column.addWidget(self.retry, 0, Qt.AlignmentFlag.AlignLeft)
        column.addWidget(self.tile_view, 1)
        return whole

    # --- settings ----------------------------------------------------------------------------------------------------

    def task(self) -> Task:
        """Make cousins."""
        folder = self.project_folder()
        if self.form.control("count").read() < 1:
            raise ValueError(self.tr("There must be at least one cousin."))
        vary = words_for(self.strengths.values())
        self._ordered = self.settings()
        words = ("cousins", str(folder), *self.form.words(), *(("--vary", *vary) if vary else ()))
        return Task(self.tr("Cousins of {0}").format(folder.name), words, self.step, folder)

    def run(self) -> None:
        """Line up the page's job, unless it runs or waits already."""
        if self._at_work() is None:
            super().run()

    def follow(self, job: Job | None) -> None:
        """The page's job is further."""
        self._tell()

    def _at_work(self) -> Job | None:
        """What runs or waits for this project's cousins."""
        folder = None if self.desk.project is None else self.desk.project.folder
        jobs = (job for job in self.desk.jobs.all if (job.task.step, job.task.project) == (self.step, folder))
        return next((job for job in jobs if not job.is_over), None)

    def settings(self) -> dict[str, Any]:
        """What decides how cousins look, JSON-able; how many there are does not.

        Raises:
            ValueError: something in the form is none.
        """
        values = {name: _as_json(value) for name, value in self.form.values().items() if name != "count"}
        return {**values, "vary": words_for(self.strengths.values())}

    def _moved_meanwhile(self) -> bool:
        """Whether somebody has other settings in mind than those that cousins were last ordered with."""
        try:
            return self._ordered is not None and self._ordered != self.settings()
        except ValueError:
            return True

    def _show_settings(self, settings: Mapping[str, Any]) -> None:
        """Show the settings with which the cousins were made."""
        try:
            self.strengths.set_values(strengths_of(map(str, settings.get("vary", ()))))
            usual = {field.name: getattr(CousinSettings(), field.name) for field in fields(CousinSettings)}
            other = set(self.form.values()) | {n for n, v in usual.items() if _as_json(v) != settings.get(n, v)}
            names = (other | {"count", "seed"}) - {"vary"}
            # The rest is as usual: what is folded away stays so.
            self.form.set_values({name: settings.get(name, usual[name]) for name in names if name in usual})
        except (ValueError, TypeError, AttributeError):
            return  # a damaged record: what is shown stays
        except Exception as error:  # noqa: BLE001 - strengths that another version wrote
            self.desk.problem.emit(str(error), "")

    # --- the project -------------------------------------------------------------------------------------------------

    def _project_changed(self) -> None:
        self._stop_drawing()
        folder = None if self.desk.project is None else self.desk.project.folder
        other, self._folder = folder != self._folder, folder
        self._record, self._scene, self._asked, self._open, self._large = None, None, None, None, None
        self._ordered = None
        self._written.clear()
        self._wanted_tiles = TILES
        self.tiles.outdate(forget=True)
        if other:
            self._show_usual()

    def _show_usual(self) -> None:
        """Show the usual settings: what was chosen for another project is none of this one's."""
        self.strengths.set_values(strengths_of(()))
        usual = {field.name: getattr(CousinSettings(), field.name) for field in fields(CousinSettings)}
        try:
            changed = set(self.form.values())
        except ValueError:
            changed = set(usual)
        # What is folded away and unchanged is not made for this.
        self.form.set_values({**{name: usual[name] for name in changed if name in usual}, "count": COUNT})

    def refresh(self) -> None:
        """Show what the project's folder says now."""
        super().refresh()
        self.desk.varied = self.strengths.values()
        project = self.desk.project
        found = None if project is None else scene_hash(project)
        scene = None if project is None or found is None else (project.stage_folder("scene"), found)
        record = None if project is None else read_json(project.stage_folder("cousins") / "stage.json")
        renewed = record != self._record
        if record and renewed:
            self._record = record
            self._written.clear()
            if not self._moved_meanwhile():
                self._show_settings(record.get("settings") or {})
            self._ordered = None
        self._record = record
        self._has_scene = scene is not None
        if stale := self.stale.text():
            self.stale.say(stale, self.tr("Press “Make them again” to have them follow it."))
        self._tell()
        if scene != self._scene:  # another scene, or it was edited
            self._stop_drawing()
            self._scene = scene
            self.tiles.outdate(forget=scene is None)
        self._pages.setCurrentIndex(0 if scene is None else 1 if self._open is None else 2)
        self.empty.text.setText(
            self.tr("No project is open.") if project is None else self.tr("There is no scene yet.")
        )
        if scene is not None:
            self._size_wall()
            if self.isVisible():
                self._begin()
            if renewed:
                self._moved()

    def _tell(self) -> None:
        """What has been made or is being made, in a line, and what the button does."""
        job = self._at_work()
        self.make.setEnabled(self._has_scene and job is None)
        self.make.setText(self.tr("Make them again") if self.stale.text() else self.tr("Make cousins"))
        self.make.setToolTip(
            self.tr("Write the recipes of all of them: a matter of a minute. Ctrl+Return")
            if job is None
            else self.tr("It is at work: wait for it, or cancel it.")
        )
        if self._busy != (job is not None):
            self._busy = job is not None
            self._show_view()
        if job is not None and (ordered := _count_of(job)):
            words = (
                self.tr("{0} cousins are being made …")
                if job.state.kind == "running"
                else self.tr("{0} cousins will be made, once what runs is over …")
            )
            self.heading.setText(words.format(_spaced(ordered)))
            self.heading.setToolTip("")
            return
        figures = (self._record or {}).get("figures") or {}
        count, rejected = figures.get("count"), figures.get("rejected")
        if not isinstance(count, int) or count < 1:
            self.heading.setText(self.tr("None are made yet: this is how they would look"))
            self.heading.setToolTip("")
            return
        self.heading.setText(self.tr("{0} cousins are made").format(_spaced(count)))
        tries = self._tries(rejected, count) if isinstance(rejected, dict) else ""
        self.heading.setToolTip(f"<p>{tries}</p>" if tries else "")

    def _tries(self, rejected: Mapping[str, int], count: int) -> str:
        """How often something did not fit before a cousin did, in words."""
        reasons = {
            "pose": self.tr("places that were taken"),
            "mount": self.tr("places that the arm does not reach"),
            "camera": self.tr("things that the camera would not see"),
            "shape": self.tr("forms that did not stand"),
            "swap": self.tr("relatives that did not stand"),
            "clutter": self.tr("added things that found no place"),
        }
        number = sum(rejected.values()) / count
        if number < 0.05:
            return ""
        worst = max(rejected, key=lambda name: rejected[name])
        shown = f"{number:.0f}" if number >= 10 else f"{number:.1f}"
        words = self.tr("To find each valid cousin, about {0} other draws were given up: mostly {1} ({2}).")
        return words.format(shown, reasons.get(worst, worst), worst)

    # --- the wall ----------------------------------------------------------------------------------------------------

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802 - Qt's name
        """Begin to draw."""
        super().showEvent(event)
        self._begin()

    def hideEvent(self, event: QHideEvent) -> None:  # noqa: N802 - Qt's name
        """Draw nothing that nobody sees."""
        super().hideEvent(event)
        self._settle.stop()
        if self._ready:
            self.wall.ask({}, 0, 0, TILE_PX)

    def closeEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Leave no process behind."""
        self._stop()
        super().closeEvent(event)

    def _stop(self) -> None:
        self.wall.stop(wait=True)
        Farewell.end_all()
        self._ready, self._asked = False, None

    def _stop_drawing(self) -> None:
        self._settle.stop()
        self.wall.stop()
        self._ready, self._asked = False, None
        self._complain("", "")

    def _begin(self) -> None:
        if self._scene is None or not self.isVisible():
            return
        if self.wall.runs:
            self._ask()
        elif not self.complaint.text():
            self._ready = False
            self.wall.start(self._scene[0])
            self._say_state()

    def _retry(self) -> None:
        self._complain("", "")
        self._asked = None
        self._begin()

    def _loaded(self) -> None:
        self._ready = True
        self._ask()

    def _size_wall(self) -> None:
        try:
            count = max(1, int(self.form.control("count").read()))
        except ValueError:
            return
        self.tiles.resize(min(count, self._wanted_tiles))
        self.more.setVisible(min(count, MOST_TILES) > self._wanted_tiles)

    def _show_more(self) -> None:
        self._wanted_tiles = min(self._wanted_tiles + TILES, MOST_TILES)
        self._size_wall()
        self._ask()

    def _moved(self) -> None:
        self.desk.varied = self.strengths.values()
        if self._scene is not None:
            self._size_wall()
            self._settle.start()

    def _ask(self) -> None:
        """Ask for all pictures of the settings as they are now that are not there."""
        if not self._ready or self._scene is None or not self.isVisible() or not self.wall.runs:
            return
        try:
            settings = self.settings()
        except ValueError as error:
            self._complain(str(error), self.tr("Correct it to see its cousins."))
            return
        made = (self._record or {}).get("finished")
        wanted = {**settings, "made": made}
        if wanted != self._asked:
            self.tiles.outdate()
            self._large = None
            self._complain("", "")
        self._asked = wanted
        if self._open is not None and (self._large is None or not self._large[2]):
            self.wall.ask(settings, self._open, 1, LARGE_PX)
            self._show_view()
        elif missing := self.tiles.missing():
            have = set(range(len(self.tiles.tiles))) - set(missing)
            self.wall.ask(settings, 0, len(self.tiles.tiles), TILE_PX, sorted(have))
        self._say_state()

    def _drawn(self, event: dict[str, Any], image: QImage) -> None:
        number, large = int(event["index"]), event.get("size") == LARGE_PX
        if number >= len(self.tiles.tiles):
            return
        tile = self.tiles.tiles[number]
        tile.made, tile.facts = bool(event.get("made")), event.get("facts")
        picture = QPixmap.fromImage(image)
        if large:
            self._large = (number, picture, not event.get("sketch"))
        else:
            tile.image, tile.fresh, tile.sketch = picture, True, bool(event.get("sketch"))
            aspect = image.height() / image.width()
            if abs(aspect - self.tile_view.aspect) > 0.01:
                self.tile_view.aspect = min(max(aspect, 0.5), 1.0)
                self.tile_view.fit()
        self.tiles.touched(number, number)
        if self._open == number:
            self._show_view()
        self._say_state()

    def _proved(self, event: dict[str, Any]) -> None:
        number = int(event["index"])
        if number >= len(self.tiles.tiles):
            return
        tile = self.tiles.tiles[number]
        tile.facts = event.get("facts")
        if event.get("size") != LARGE_PX:
            tile.sketch = False
        elif self._large is not None and self._large[0] == number:
            self._large = (number, self._large[1], True)
        if self._open == number:
            self._show_view()
        self._say_state()

    def _finished(self) -> None:
        if self.tiles.missing():
            self._ask()  # what was given up for a large picture
        self._say_state()

    def _failed(self, message: str, remedy: str, gone: bool) -> None:
        if gone:
            self._ready, self._asked = False, None
        if message:
            self._complain(message, remedy)
        self.retry.setVisible(gone)  # otherwise other settings help
        self._say_state()

    def _complain(self, message: str, remedy: str) -> None:
        self.complaint.say(message, remedy)
        self.retry.setVisible(bool(message))

    def _say_state(self) -> None:
        tiles = self.tiles.tiles
        fresh = sum(tile.fresh for tile in tiles)
        left = sum(tile.fresh and tile.sketch for tile in tiles)
        if self.complaint.text():
            self.state.setText("")
        elif not self._ready:
            self.state.setText(self.tr("Loading the scene …"))
        elif fresh < len(tiles):
            self.state.setText(self.tr("Drawing: {0} of {1}").format(fresh, len(tiles)))
        elif left:
            self.state.setText(self.tr("{0} of {1} tried in physics").format(len(tiles) - left, len(tiles)))
        else:
            if tiles and all(tile.made for tile in tiles):
                self.state.setText(self.tr("These are the first of them. Click one to open it."))
            else:
                self.state.setText(self.tr("As they would be made with these settings. Click one to open it."))

    # --- one cousin --------------------------------------------------------------------------------------------------

    def _open_view(self, number: int) -> None:
        if not 0 <= number < len(self.tiles.tiles):
            return
        self._open = number
        self._pages.setCurrentWidget(self.view)
        self._show_view()
        self.view.setFocus()
        if self._large is None or self._large[0] != number:
            self._large = None
            self._ask()

    def _close_view(self) -> None:
        number, self._open = self._open, None
        self._pages.setCurrentIndex(1)
        self.tile_view.setFocus()
        if number is not None:
            self.tile_view.setCurrentIndex(self.tiles.index(number))
        self._ask()

    def _step(self, by: int) -> None:
        if self._open is not None:
            self._open_view((self._open + by) % max(1, len(self.tiles.tiles)))

    def _show_view(self) -> None:
        if self._open is None or self._open >= len(self.tiles.tiles):
            return
        tile = self.tiles.tiles[self._open]
        large = self._large if self._large is not None and self._large[0] == self._open else None
        self.view.show_cousin(
            self._open, tile, tile.image if large is None else large[1], large is not None and (large[2] or tile.made)
        )
        self.view.open_scene.setVisible(self._open in self._written)
        if self._busy and tile.made:
            self.view.write.setEnabled(False)
            self.view.write.setToolTip(self.tr("Something of this page is at work: wait for it, or cancel it."))

    def _write(self) -> None:
        if self._open is None or self.desk.project is None:
            return
        folder = self.desk.project.folder
        usual = folder.parent / f"{folder.name}_cousin_{self._open}"
        name, _ = QFileDialog.getSaveFileName(self, self.tr("A new folder for the scene"), str(usual))
        if name:
            self.write_scene(self._open, Path(name))

    def write_scene(self, number: int, out: Path) -> Job:
        """Write a cousin that was made as a scene folder of its own."""
        folder = self.project_folder()
        words = ("cousins", str(folder), "--materialize", str(number), "--out", str(out))
        title = self.tr("Cousin {0} of {1}").format(number, folder.name)
        job = self.start(Task(title, words, self.step, folder))
        job.ended.connect(lambda: self._has_written(job))
        return job

    def _has_written(self, job: Job) -> None:
        scene, number = job.state.result.get("scene"), job.state.result.get("cousin")
        if job.state.kind == "done" and isinstance(scene, str) and isinstance(number, int):
            self._written[number] = Path(scene).parent
            self._show_view()

    def _show_written(self) -> None:
        if self._open in self._written:
            self.open_scene(self._written[self._open])


def _count_of(job: Job) -> int:
    """How many cousins a job makes; 0 where it writes one of them."""
    words = job.task.words
    if "--materialize" in words:
        return 0
    return int(words[words.index("--count") + 1]) if "--count" in words else CousinSettings().count


def _spaced(number: int) -> str:
    return f"{number:,}".replace(",", " ")


def _as_json(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_as_json(item) for item in value]
    return str(value) if isinstance(value, Path) else value
