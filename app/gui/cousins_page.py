"""The cousins page: sliders on the left, and on the right a wall of pictures that follows them."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

from PySide6.QtCore import (
    QAbstractListModel,
    QCoreApplication,
    QModelIndex,
    QObject,
    QPersistentModelIndex,
    QProcess,
    QProcessEnvironment,
    QRect,
    QRectF,
    QSize,
    Qt,
    QTimer,
    QUrl,
    Signal,
)
from PySide6.QtGui import (
    QColor,
    QDesktopServices,
    QHideEvent,
    QImage,
    QKeySequence,
    QPainter,
    QPainterPath,
    QPen,
    QPixmap,
    QResizeEvent,
    QShortcut,
    QShowEvent,
)
from PySide6.QtWidgets import (
    QCheckBox,
    QFileDialog,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QListView,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QSlider,
    QStackedWidget,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QToolButton,
    QVBoxLayout,
    QWidget,
)
from shiboken6 import isValid

from app.gui import theme
from app.gui.desk import Desk
from app.gui.job import ROOT, Job, Task
from app.gui.page import Notice, StepPage, label
from app.gui.settings_form import SettingsForm
from app.gui.walk import scene_hash
from app.project import read_json
from simulation.cousins import CousinSettings
from simulation.variations import VARIATIONS, strengths_of

SETTLED_MS = 250
"""So long nothing must have moved before new pictures are asked for."""
GRACE_MS = 2000
TILES = 12
MOST_TILES = 96
TILE_PX = 300
LARGE_PX = 960
NARROWEST_PX = 200
STEPS = 20
"""Steps of a slider, from nothing to the whole range."""
ORDINARY = {"count", "seed", "vary"}


def words_for(strengths: Mapping[str, float]) -> list[str]:
    """The shortest words after ``--vary`` that mean these strengths; none where all vary fully."""
    values = set(strengths.values())
    if values == {1.0}:
        return []
    if len(values) == 1:
        return [f"all={values.pop():g}"]
    return [name if value == 1.0 else f"{name}={value:g}" for name, value in strengths.items() if value]


class Strengths(QWidget):
    """A slider for each variation, with a check box that turns it off.

    Attributes:
        changed: one of them was moved.
    """

    changed = Signal()

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(10)
        grid.setVerticalSpacing(5)
        grid.setColumnStretch(1, 1)
        self._boxes: dict[str, QCheckBox] = {}
        self._sliders: dict[str, QSlider] = {}
        self._figures: dict[str, QLabel] = {}
        for row, (name, variation) in enumerate(VARIATIONS.items()):
            title, text = self._name(name), QCoreApplication.translate("variations", variation.help)
            box, slider, figure = QCheckBox(title, self), QSlider(Qt.Orientation.Horizontal, self), QLabel(self)
            box.setChecked(True)
            box.setAccessibleName(self.tr("Vary {0}").format(title))
            box.setToolTip(f"<p>{text} {self.tr('Unchecked: as scanned.')}</p>")
            slider.setRange(1, STEPS)
            slider.setValue(STEPS)
            slider.setPageStep(STEPS // 4)
            slider.setAccessibleName(self.tr("How strongly: {0}").format(title))
            slider.setToolTip(f"<p>{text}</p>")
            for control in (box, slider):
                control.setWhatsThis(text)
                control.setAccessibleDescription(text)
            figure.setObjectName("faint")
            figure.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            figure.setMinimumWidth(figure.fontMetrics().horizontalAdvance("100 %") + 6)
            box.toggled.connect(self._changed)
            slider.valueChanged.connect(self._changed)
            for column, widget in enumerate((box, slider, figure)):
                grid.addWidget(widget, row, column)
            self._boxes[name], self._sliders[name], self._figures[name] = box, slider, figure
        self._draw()

    def _name(self, name: str) -> str:
        names = {
            "pose": self.tr("Pose"),
            "shape": self.tr("Shape"),
            "swap": self.tr("Swap"),
            "clutter": self.tr("Clutter"),
            "appearance": self.tr("Appearance"),
            "light": self.tr("Light"),
            "camera": self.tr("Camera"),
            "physics": self.tr("Physics"),
            "gripper": self.tr("Gripper"),
            "support": self.tr("Support"),
            "mount": self.tr("Mount"),
        }
        return names.get(name, name.capitalize())

    def box(self, name: str) -> QCheckBox:
        """Turns a variation on and off."""
        return self._boxes[name]

    def slider(self, name: str) -> QSlider:
        """How strongly it varies, in `STEPS`."""
        return self._sliders[name]

    def values(self) -> dict[str, float]:
        """The strength of each variation."""
        return {
            name: self._sliders[name].value() / STEPS if box.isChecked() else 0.0 for name, box in self._boxes.items()
        }

    def set_values(self, strengths: Mapping[str, float]) -> None:
        """Show these strengths."""
        before = self.values()
        self.blockSignals(True)
        for name, value in strengths.items():
            self._boxes[name].setChecked(value > 0)
            if value > 0:
                self._sliders[name].setValue(max(1, round(value * STEPS)))
        self.blockSignals(False)
        if self.values() != before:
            self.changed.emit()

    def _changed(self) -> None:
        self._draw()
        self.changed.emit()

    def _draw(self) -> None:
        for name, value in self.values().items():
            self._sliders[name].setEnabled(self._boxes[name].isChecked())
            self._figures[name].setText(f"{value:.0%}".replace("%", " %") if value else self.tr("off"))


class WallProcess(QObject):
    """The process that draws (`app.cousin_wall`), with its tickets.

    Attributes:
        ready: it has loaded the scene.
        picture: it has drawn one: what it says of it, and the picture itself.
        sure: a sketch has proved right: what it says.
        done: all of the newest ticket are drawn.
        failed: a sentence, its remedy, and whether the process is gone.
    """

    ready = Signal()
    picture = Signal(dict, QImage)
    sure = Signal(dict)
    done = Signal()
    failed = Signal(str, str, bool)

    def __init__(self) -> None:
        super().__init__()
        self.ticket = 0
        self._process: QProcess | None = None
        self._rest = b""
        self._folder: Path | None = None
        self._said = False

    @property
    def runs(self) -> bool:
        """Whether there is one."""
        return self._process is not None

    def process_id(self) -> int:
        """Of it; 0 where there is none."""
        return 0 if self._process is None else int(self._process.processId())

    def start(self, scene: Path) -> None:
        """Have it load a scene's folder."""
        self.stop()
        process = self._process = QProcess()
        environment = QProcessEnvironment.systemEnvironment()
        environment.insert("PYTHONPATH", os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))))
        environment.insert("PYTHONUTF8", "1")
        process.setProcessEnvironment(environment)
        process.setProgram(sys.executable)
        process.setArguments(["-m", "app.cousin_wall", str(scene)])
        process.setStandardErrorFile(QProcess.nullDevice())
        process.readyReadStandardOutput.connect(self._read)
        process.errorOccurred.connect(self._not_started)
        process.finished.connect(self._finished)
        self._rest, self._folder, self._said = b"", None, False
        process.start()

    def ask(self, settings: Mapping[str, Any], first: int, count: int, size: int, skip: Sequence[int] = ()) -> None:
        """Ask for pictures; those asked for before are given up."""
        if self._process is None:
            return
        self.ticket += 1
        vary, seed = settings.get("vary", []), settings.get("seed", 0)
        more = {name: value for name, value in settings.items() if name not in ("vary", "seed")}
        line = {
            "ticket": self.ticket, "vary": vary, "seed": seed, "settings": more,
            "first": first, "count": count, "size": size, "skip": list(skip),
        }  # fmt: skip
        self._process.write(json.dumps(line).encode("ascii") + b"\n")

    def stop(self, wait: bool = False) -> None:
        """End it: at once, or, with `wait`, before this returns."""
        process, self._process = self._process, None
        self.ticket += 1
        if process is None or not isValid(process):  # the application may have ended it before the page
            return
        folder = self._folder
        process.readyReadStandardOutput.disconnect(self._read)
        process.errorOccurred.disconnect(self._not_started)
        process.finished.disconnect(self._finished)
        process.closeWriteChannel()  # at which it ends
        if wait:
            if process.state() != QProcess.ProcessState.NotRunning and not process.waitForFinished(GRACE_MS):
                process.kill()
                process.waitForFinished(GRACE_MS)
            _remove(folder)
            process.deleteLater()
            return
        _Farewell(process, folder)

    def _read(self) -> None:
        process = self._process
        if process is None:
            return
        *lines, self._rest = (self._rest + process.readAllStandardOutput().data()).split(b"\n")
        for line in lines:
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict) and self._process is process:
                self._take(event)

    def _take(self, event: dict[str, Any]) -> None:
        kind, mine = event.get("event"), event.get("ticket") == self.ticket
        if kind == "ready":
            self._folder = Path(str(event.get("folder")))
            self.ready.emit()
        elif kind == "picture":
            path = Path(str(event.get("path")))
            image = QImage(str(path)) if mine else QImage()
            path.unlink(missing_ok=True)
            if mine and not image.isNull():
                self.picture.emit(event, image)
        elif kind == "sure" and mine:
            self.sure.emit(event)
        elif kind == "done" and mine:
            self.done.emit()
        elif kind == "error" and (mine or event.get("ticket") is None):
            self._said = event.get("ticket") is None
            self.failed.emit(str(event.get("message", "")), str(event.get("remedy", "")), False)

    def _not_started(self, error: QProcess.ProcessError) -> None:
        if error == QProcess.ProcessError.FailedToStart:
            self._gone(self.tr("The pictures' process could not be started."))

    def _finished(self, code: int, status: QProcess.ExitStatus) -> None:
        self._read()
        self._gone(self.tr("The process that draws the pictures has ended (exit code {0}).").format(code))

    def _gone(self, message: str) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        _remove(self._folder)
        process.deleteLater()
        if self._said:  # it has said itself why it ends
            self.failed.emit("", "", True)
        else:
            self.failed.emit(message, self.tr("Nothing is lost: let it start again."), True)


class _Farewell(QObject):
    """Lets a process end by itself, and helps where that takes long, while nobody waits for it."""

    waiting: ClassVar[set[_Farewell]] = set()

    def __init__(self, process: QProcess, folder: Path | None) -> None:
        super().__init__()
        self._process, self._folder = process, folder
        self.waiting.add(self)
        if process.state() == QProcess.ProcessState.NotRunning:
            self._over()
            return
        process.finished.connect(self._over)
        process.errorOccurred.connect(self._over)
        timer = QTimer(self)
        timer.setSingleShot(True)
        timer.timeout.connect(process.kill)
        timer.start(GRACE_MS)

    def _over(self, *_: object) -> None:
        if self._process.state() == QProcess.ProcessState.NotRunning and self in self.waiting:
            self.waiting.discard(self)
            _remove(self._folder)
            self._process.deleteLater()
            self.deleteLater()

    @classmethod
    def end_all(cls) -> None:
        """Wait for those that are still there."""
        for farewell in list(cls.waiting):
            process = farewell._process
            if not process.waitForFinished(GRACE_MS):
                process.kill()
                process.waitForFinished(GRACE_MS)
            farewell._over()


def _remove(folder: Path | None) -> None:
    """The pictures of a process that could not take them with it."""
    if folder is not None and folder.name.startswith("pocketworld_wall_"):
        shutil.rmtree(folder, ignore_errors=True)


@dataclass
class Tile:
    """A cousin on the wall.

    Attributes:
        image: its newest picture, if there is one.
        fresh: whether that is of the settings as they are now; `sketch`: whether physics is still to be asked.
        facts: what is another way in it, see `app.cousin_wall.facts_of`; `made`: whether it was made.
    """

    image: QPixmap | None = None
    fresh: bool = False
    sketch: bool = True
    made: bool = False
    facts: dict[str, Any] | None = None


class Tiles(QAbstractListModel):
    """The wall's tiles."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self.tiles: list[Tile] = []

    def rowCount(self, parent: QModelIndex | QPersistentModelIndex = QModelIndex()) -> int:  # noqa: N802, B008
        """How many there are."""
        return 0 if parent.isValid() else len(self.tiles)

    def data(self, index: QModelIndex | QPersistentModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """A tile, and what is said of it."""
        if not index.isValid():
            return None
        tile = self.tiles[index.row()]
        if role == Qt.ItemDataRole.UserRole:
            return tile
        if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.AccessibleTextRole):
            return self.tr("Cousin {0}").format(index.row())
        if role == Qt.ItemDataRole.ToolTipRole:
            if not tile.fresh:
                return self.tr("It is being drawn.")
            return "<p>" + summary(tile.facts or {}, self.tr) + "</p>"
        return None

    def resize(self, count: int) -> None:
        """So many tiles; those that stay keep their pictures."""
        have = len(self.tiles)
        if count > have:
            self.beginInsertRows(QModelIndex(), have, count - 1)
            self.tiles += [Tile() for _ in range(count - have)]
            self.endInsertRows()
        elif count < have:
            self.beginRemoveRows(QModelIndex(), count, have - 1)
            del self.tiles[count:]
            self.endRemoveRows()

    def outdate(self, forget: bool = False) -> None:
        """All are to be drawn anew; with `forget` nothing is shown until they are."""
        for tile in self.tiles:
            tile.fresh, tile.sketch, tile.made = False, True, False
            if forget:
                tile.image = None
        self.touched(0, len(self.tiles) - 1)

    def touched(self, first: int, last: int) -> None:
        """These look another way now."""
        if 0 <= first <= last:
            self.dataChanged.emit(self.index(first), self.index(last))

    def missing(self) -> list[int]:
        """Those that are not drawn, or only sketched."""
        return [number for number, tile in enumerate(self.tiles) if not tile.fresh or tile.sketch]


class TileView(QListView):
    """The wall: as many columns as fit, moved through by arrow keys, opened by a click or Return."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.aspect = 0.75
        self.setViewMode(QListView.ViewMode.IconMode)
        self.setMovement(QListView.Movement.Static)
        self.setResizeMode(QListView.ResizeMode.Adjust)
        self.setUniformItemSizes(True)
        self.setSelectionMode(QListView.SelectionMode.SingleSelection)
        self.setVerticalScrollMode(QListView.ScrollMode.ScrollPerPixel)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOn)
        self.setFrameShape(QListView.Shape.NoFrame)
        self.setStyleSheet("QListView { background: transparent; border: none; }")
        self.setMouseTracking(True)

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802 - Qt's name
        """Fit the columns."""
        super().resizeEvent(event)
        self.fit()

    def fit(self) -> None:
        """Share the width between as many columns as fit."""
        width = self.viewport().width() - 2
        columns = max(1, width // NARROWEST_PX)
        size = QSize(width // columns, round((width // columns - 10) * self.aspect) + 10)
        if size != self.gridSize():
            self.setGridSize(size)


class TileDelegate(QStyledItemDelegate):
    """Draws a tile: its picture, faded while a newer one is drawn; a plain panel where there is none yet."""

    def sizeHint(  # noqa: N802 - Qt's name
        self, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex
    ) -> QSize:
        """As the view's grid."""
        view = self.parent()
        return view.gridSize() if isinstance(view, TileView) else QSize(NARROWEST_PX, NARROWEST_PX)

    def paint(
        self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex
    ) -> None:
        """Draw it."""
        tile, colors = index.data(Qt.ItemDataRole.UserRole), theme.current()
        box: QRect = option.rect.adjusted(5, 5, -5, -5)
        state: QStyle.StateFlag = option.state
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        shape = QPainterPath()
        shape.addRoundedRect(QRectF(box), 9, 9)
        painter.fillPath(shape, QColor(colors.raised))
        painter.setClipPath(shape)
        if tile.image is not None:
            painter.setOpacity(1.0 if tile.fresh else 0.3)
            painter.drawPixmap(box, tile.image, _filling(tile.image, box))
            painter.setOpacity(1.0)
        if not tile.fresh:
            painter.setPen(QColor(colors.faint))
            painter.drawText(box, Qt.AlignmentFlag.AlignCenter, "…")
        self._number(painter, box, str(index.row()), colors)
        painter.setClipping(False)
        current = bool(state & QStyle.StateFlag.State_HasFocus)
        over = bool(state & QStyle.StateFlag.State_MouseOver)
        painter.setPen(QPen(QColor(colors.accent if current or over else colors.border), 2.5 if current else 1.2))
        painter.drawPath(shape)
        painter.restore()

    def _number(self, painter: QPainter, box: QRect, text: str, colors: theme.Colors) -> None:
        width = painter.fontMetrics().horizontalAdvance(text) + 14
        plate = QRectF(box.left() + 7, box.bottom() - 28, width, 21)
        back = QColor(colors.window)
        back.setAlpha(205)
        path = QPainterPath()
        path.addRoundedRect(plate, 6, 6)
        painter.fillPath(path, back)
        painter.setPen(QColor(colors.text))
        painter.drawText(plate, Qt.AlignmentFlag.AlignCenter, text)


def _filling(image: QPixmap, box: QRect) -> QRect:
    """The middle of a picture that has the box's proportions."""
    size = QSize(box.size()).scaled(image.size(), Qt.AspectRatioMode.KeepAspectRatio)
    return QRect(
        (image.width() - size.width()) // 2, (image.height() - size.height()) // 2, size.width(), size.height()
    )


Translate = Callable[[str], str]


def _plain(name: str) -> str:
    return name.replace("_", " ")


def sentences(facts: Mapping[str, Any], tr: Translate) -> list[tuple[str, list[str]]]:
    """What is another way in a cousin: groups of lines, each with its heading."""
    swapped, added, gone, moved, kept = [], [], [], [], []
    for thing in facts.get("things", ()):
        name, change = _plain(str(thing["name"])), thing["change"]
        far = tr("{0} cm").format(round(100 * float(thing.get("moved_m", 0.0))))
        if change == "swapped":
            swapped.append(tr("{0} → {1}").format(name, _plain(str(thing["source"]))))
        elif change == "added":
            added.append(_plain(str(thing["source"])))
        elif change == "gone":
            gone.append(name)
        elif change == "moved":
            line = tr("{0}, by {1}").format(name, far)
            moved.append(tr("{0}, on another side").format(line) if thing.get("on_side") else line)
        else:
            kept.append(name)
    found = [
        (tr("Swapped"), swapped),
        (tr("Added"), added),
        (tr("Taken away"), gone),
        (tr("Moved"), moved),
        (tr("Where it was"), kept),
    ]
    light, support = facts.get("light"), facts.get("support")
    if light:
        line = tr("{0} K, {1}° high").format(round(light["warmth_k"], -2).__trunc__(), round(light["elevation_deg"]))
        found.append((tr("Light"), [line]))
    if support:
        line = tr("{0:+.0f} mm high, {1:.1f}° tilted").format(1e3 * support["height_m"], facts.get("tilt_deg", 0.0))
        found.append((tr("Support"), [line]))
    return [(heading, lines) for heading, lines in found if lines]


def summary(facts: Mapping[str, Any], tr: Translate) -> str:
    """The same in a line."""
    changes = [thing["change"] for thing in facts.get("things", ())]
    counts = [
        (tr("{0} swapped"), changes.count("swapped")),
        (tr("{0} added"), changes.count("added")),
        (tr("{0} taken away"), changes.count("gone")),
        (tr("{0} moved"), changes.count("moved")),
    ]
    return ", ".join(text.format(count) for text, count in counts if count) or tr("Everything is where it was.")


class LargePicture(QLabel):
    """A picture as large as there is room for."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._whole = QPixmap()
        self.setAlignment(Qt.AlignmentFlag.AlignHCenter | Qt.AlignmentFlag.AlignTop)
        self.setMinimumSize(240, 180)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Ignored)

    def set_picture(self, picture: QPixmap) -> None:
        """Show another one."""
        self._whole = picture
        self._fit()

    def whole(self) -> QPixmap:
        """As it was drawn."""
        return self._whole

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802 - Qt's name
        """Fit it."""
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        if self._whole.isNull():
            self.clear()
            return
        ratio = self.devicePixelRatioF()
        smooth = Qt.TransformationMode.SmoothTransformation
        fitted = self._whole.scaled(self.size() * ratio, Qt.AspectRatioMode.KeepAspectRatio, smooth)
        fitted.setDevicePixelRatio(ratio)
        self.setPixmap(fitted)


class CousinView(QWidget):
    """One cousin, large, with what is another way in it.

    Attributes:
        back: to the wall; `stepped`: to the one before or after.
        wanted: it is to be written as a scene; `opened`: the scene that was written is to be shown.
    """

    back = Signal()
    stepped = Signal(int)
    wanted = Signal()
    opened = Signal()

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.title = label("", "heading", self, wrap=False)
        self._back = QPushButton(self.tr("← All cousins"), self)
        self._back.setToolTip(self.tr("Back to the wall: Esc"))
        self._back.clicked.connect(self.back)
        before, after = QToolButton(self), QToolButton(self)
        for button, arrow, step, tip in (
            (before, "‹", -1, self.tr("The one before: Page up")),
            (after, "›", 1, self.tr("The next one: Page down")),
        ):
            button.setText(arrow)
            button.setToolTip(tip)
            button.setAccessibleName(tip)
            button.clicked.connect(lambda _checked=False, step=step: self.stepped.emit(step))
        for keys, what in (
            ("Esc", self.back.emit),
            ("PgUp", lambda: self.stepped.emit(-1)),
            ("PgDown", lambda: self.stepped.emit(1)),
        ):
            shortcut = QShortcut(QKeySequence(keys), self)
            shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
            shortcut.activated.connect(what)
        self.picture = LargePicture(self)
        self.state = label("", "faint", self)
        self.write = QPushButton(self.tr("Write as a scene…"), self)
        self.write.setToolTip(self.tr("Write this cousin as a scene folder of its own."))
        self.write.clicked.connect(self.wanted)
        self.open_scene = QPushButton(self.tr("Open its scene"), self)
        self.open_scene.setToolTip(self.tr("Show the folder that this cousin was written into."))
        self.open_scene.clicked.connect(self.opened)
        self._facts = QLabel(self)
        self._facts.setWordWrap(True)
        self._facts.setTextFormat(Qt.TextFormat.RichText)
        self._facts.setAlignment(Qt.AlignmentFlag.AlignTop)
        self._facts.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._facts.setContentsMargins(0, 0, 8, 0)
        scroll = QScrollArea(self)
        scroll.setWidget(self._facts)
        scroll.setWidgetResizable(True)
        scroll.setFixedWidth(210)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setAccessibleName(self.tr("What is another way in this cousin"))
        top = QHBoxLayout()
        for widget in (self._back, before, after, self.title):
            top.addWidget(widget)
        top.addStretch(1)
        top.addWidget(self.open_scene)
        top.addWidget(self.write)
        both = QHBoxLayout()
        both.setSpacing(16)
        both.addWidget(self.picture, 1)
        both.addWidget(scroll)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(12)
        column.addLayout(top)
        column.addLayout(both, 1)
        column.addWidget(self.state)

    def show_cousin(self, number: int, tile: Tile, picture: QPixmap | None, sharp: bool) -> None:
        """Show a cousin; `picture` is what there is of it, `sharp` whether that is the large one."""
        self.title.setText(self.tr("Cousin {0}").format(number))
        self.picture.set_picture(picture or QPixmap())
        self.picture.setAccessibleName(self.title.text())
        self.write.setEnabled(tile.made)
        self.write.setToolTip(
            self.tr("Write this cousin as a scene folder of its own.")
            if tile.made
            else self.tr("Only cousins that are made can be written: press “Make cousins” first.")
        )
        if not sharp:
            self.state.setText(self.tr("It is being drawn …"))
        elif tile.made:
            self.state.setText(self.tr("One of those that are made."))
        else:
            self.state.setText(self.tr("As it would be made with these settings."))
        parts = []
        for heading, lines in sentences(tile.facts or {}, self.tr):
            rows = "<br>".join(_escaped(line) for line in lines)
            parts.append(f"<p style='margin:0 0 10px 0'><b>{_escaped(heading)}</b><br>{rows}</p>")
        self._facts.setText("".join(parts))

    def facts(self) -> str:
        """What it says of the cousin, as HTML."""
        return self._facts.text()


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")


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
                "CousinsPage", "Relatives of your scene, so that the policy learns more than this one bench."
            ),
        )
        self.open_scene: Callable[[Path], None] = open_folder
        """Shows a scene that was written; the window may have a better way."""
        self._record: dict[str, Any] | None = None
        self._again = ""
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
        self.side.addWidget(self.strengths)
        self.side.addWidget(self.form)
        self.make = self.add_run(self.tr("Make cousins"))
        self.make.setToolTip(self.tr("Write the recipes of all of them: a matter of a minute. Ctrl+Return"))

    def _make_result(self) -> None:
        self._pages = QStackedWidget(self)
        self._pages.addWidget(self._make_empty())
        self._pages.addWidget(self._make_wall())
        self.view = CousinView(self)
        self.view.back.connect(self._close_view)
        self.view.stepped.connect(self._step)
        self.view.wanted.connect(self._write)
        self.view.opened.connect(self._show_written)
        self._pages.addWidget(self.view)
        self.result.addWidget(self._pages, 1)

    def _make_empty(self) -> QWidget:
        empty = QWidget(self)
        self.empty_text = label("", "heading", empty)
        why = label(self.tr("Cousins are made of a scene, and a scene of a scan."), "faint", empty)
        self.to_scan = QPushButton(self.tr("Go to the scan"), empty)
        self.to_scan.setObjectName("primary")
        self.to_scan.setToolTip(self.tr("Make the scene first."))
        self.to_scan.clicked.connect(lambda: self.desk.step_wanted.emit("scan"))
        column = QVBoxLayout(empty)
        column.addStretch(1)
        for text in (self.empty_text, why):
            text.setAlignment(Qt.AlignmentFlag.AlignCenter)
            column.addWidget(text)
        column.addWidget(self.to_scan, 0, Qt.AlignmentFlag.AlignCenter)
        column.addStretch(1)
        return empty

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
        self._record, self._scene, self._asked, self._open, self._large = None, None, None, None, None
        self._ordered = None
        self._written.clear()
        self._wanted_tiles = TILES
        self.tiles.outdate(forget=True)

    def refresh(self) -> None:
        """Show what the project's folder says now."""
        super().refresh()
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
        self.make.setEnabled(scene is not None)
        self._tell()
        if scene != self._scene:  # another scene, or it was edited
            self._stop_drawing()
            self._scene = scene
            self.tiles.outdate(forget=scene is None)
        self._pages.setCurrentIndex(0 if scene is None else 1 if self._open is None else 2)
        self.empty_text.setText(
            self.tr("No project is open.") if project is None else self.tr("There is no scene yet.")
        )
        if scene is not None:
            self._size_wall()
            if self.isVisible():
                self._begin()
            if renewed:
                self._moved()

    def _tell(self) -> None:
        """What has been made, in a line."""
        figures = (self._record or {}).get("figures") or {}
        count, rejected = figures.get("count"), figures.get("rejected")
        if not isinstance(count, int) or count < 1:
            self.heading.setText(self.tr("None are made yet: this is how they would look"))
            self.heading.setToolTip("")
            return
        self.heading.setText(self.tr("{0} cousins are made").format(f"{count:,}".replace(",", " ")))
        rows = sorted((rejected or {}).items(), key=lambda item: -item[1]) if isinstance(rejected, dict) else []
        again = ", ".join(f"{name} {number / count:.1f}" for name, number in rows)
        self._again = again
        tip = self.tr("So often a place was drawn again for each cousin, by what did not fit: {0}.")
        self.heading.setToolTip(f"<p>{tip.format(again)}</p>" if again else "")

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
        _Farewell.end_all()
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
                text = self.tr("These are the first of them.")
                more = self.tr("Drawn again, a cousin: {0}").format(self._again) if self._again else ""
                self.state.setText(f"{text} {more}".strip())
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


def _as_json(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_as_json(item) for item in value]
    return str(value) if isinstance(value, Path) else value
