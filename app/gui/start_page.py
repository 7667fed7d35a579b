"""Where one begins: drop a scan, go on with a project, or try the sample."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QRect, QSize, Qt, Signal
from PySide6.QtGui import QFont, QFontMetrics, QImageReader, QKeyEvent, QMouseEvent, QPixmap, QShowEvent, QTextLayout
from PySide6.QtWidgets import (
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLayout,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from app.gui.desk import Desk
from app.gui.page import label
from app.gui.walk import next_step, standing
from app.project import Project

SAMPLE = Path(__file__).resolve().parent.parent.parent / "resources" / "sample_scan.zip"
TILE = QSize(250, 132)
COLUMNS = 3
STATUS_LINES = 2
SHEET_TILE, SHEET_CAPTION = 200, 18
"""Width of a picture of a contact sheet, and height of what is written above it, pixels."""


class StartPage(QWidget):
    """Recent projects, and three ways to a new one."""

    scan_chosen = Signal(Path)
    choose_scan = Signal()
    choose_project = Signal()
    batch = Signal()

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self.desk = desk
        self.setObjectName("surface")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        title = label(self.tr("Scan a bench. Get a robot that knows it."), "title", self)
        what = label(
            self.tr(
                "Pocketworld turns an iPhone scan into a physics scene, multiplies it into thousands of cousins, "
                "trains a policy in them, and hands you a bundle that drives the arm."
            ),
            "faint",
            self,
        )
        drop = QFrame(self)
        drop.setObjectName("card")
        drop.setMinimumHeight(150)
        inside = QVBoxLayout(drop)
        inside.setContentsMargins(24, 20, 24, 20)
        heading = label(self.tr("Drop a scan here"), "heading", drop)
        formats = label(
            self.tr("Record3D, Stray Scanner, 3D Scanner App, Polycam, NeRFCapture: the export as the phone made it."),
            "faint",
            drop,
        )
        for text in (heading, formats):
            text.setAlignment(Qt.AlignmentFlag.AlignCenter)
        buttons = QHBoxLayout()
        buttons.addStretch(1)
        self.open_scan = self._button(self.tr("Open a scan…"), "primary", self.tr("A file of a phone's export: Ctrl+O"))
        self.sample = self._button(
            self.tr("Try the sample"),
            "",
            self.tr("A scan of a desk comes with Pocketworld: about a minute and a half."),
        )
        self.open_project = self._button(
            self.tr("Open a folder…"), "", self.tr("A project, or a scan that is a folder: Ctrl+Shift+O")
        )
        self.many = self._button(self.tr("Many scans…"), "", self.tr("Reconstruct a whole list of scans: Ctrl+B"))
        for button in (self.open_scan, self.sample, self.open_project, self.many):
            buttons.addWidget(button)
        buttons.addStretch(1)
        inside.addStretch(1)
        inside.addWidget(heading)
        inside.addWidget(formats)
        inside.addSpacing(8)
        inside.addLayout(buttons)
        inside.addStretch(1)
        self.open_scan.clicked.connect(self.choose_scan)
        self.sample.clicked.connect(lambda: self.scan_chosen.emit(SAMPLE))
        self.open_project.clicked.connect(self.choose_project)
        self.many.clicked.connect(self.batch)
        self._recent_title = label(self.tr("Go on with"), "heading", self)
        self._tiles = QGridLayout()
        self._tiles.setSpacing(14)
        self._tiles.setAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignTop)
        shelf = QWidget(self)
        shelf.setLayout(self._tiles)
        scroll = QScrollArea(self)
        scroll.setWidget(shelf)
        scroll.setWidgetResizable(True)
        scroll.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        column = QVBoxLayout(self)
        column.setContentsMargins(36, 30, 36, 20)
        column.setSpacing(14)
        column.addWidget(title)
        column.addWidget(what)
        column.addWidget(drop)
        column.addWidget(self._recent_title)
        column.addWidget(scroll, 1)
        desk.refreshed.connect(self.refresh)
        self.refresh()

    def _button(self, text: str, name: str, tip: str) -> QPushButton:
        button = QPushButton(text, self)
        button.setObjectName(name)
        button.setToolTip(tip)
        return button

    def refresh(self) -> None:
        """Show the recent projects."""
        for index in reversed(range(self._tiles.count())):
            item = self._tiles.takeAt(index)
            if item is not None and (widget := item.widget()) is not None:
                widget.setParent(None)
                widget.deleteLater()
        folders = self.desk.recent()
        self._recent_title.setVisible(bool(folders))
        for number, folder in enumerate(folders):
            tile = ProjectTile(folder, self)
            tile.chosen.connect(self._open)
            self._tiles.addWidget(tile, number // COLUMNS, number % COLUMNS)

    def _open(self, folder: Path) -> None:
        if self.desk.open_project(folder):
            self.desk.step_wanted.emit(next_step(self.desk.standing()))

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802 - Qt's name
        """A project may have been begun on another page, which says so to nobody."""
        super().showEvent(event)
        self.refresh()

    def tiles(self) -> list[ProjectTile]:
        """The recent projects' tiles."""
        items = (self._tiles.itemAt(index) for index in range(self._tiles.count()))
        return [tile for item in items if item is not None and isinstance(tile := item.widget(), ProjectTile)]


class ProjectTile(QFrame):
    """A recent project: a picture of it, its name, and how far it is; all are of one size, whatever they say."""

    chosen = Signal(Path)

    def __init__(self, folder: Path, parent: QWidget) -> None:
        super().__init__(parent)
        self.folder = folder
        self.setObjectName("card")
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        picture = QLabel(self)
        picture.setFixedSize(TILE)
        picture.setAlignment(Qt.AlignmentFlag.AlignCenter)
        picture.setPixmap(thumbnail(folder))
        stands = standing(Project(folder))
        done = [place.text for place in stands.values() if place.kind != "empty"]
        stands_at = " · ".join(done[1:]) or self.tr("Unfinished: the scene is still to be made")
        self.name, self.how = label("", "heading", self, wrap=False), label("", "faint", self, wrap=False)
        for text, said, lines in ((self.name, folder.name, 1), (self.how, stands_at, STATUS_LINES)):
            text.ensurePolished()  # the font is the style sheet's
            text.setText(elided(said, text.font(), TILE.width(), lines))
            text.setAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignTop)
            text.setFixedSize(TILE.width(), lines * text.fontMetrics().lineSpacing() + 2)
        self.setToolTip("\n".join((folder.name, stands_at, str(folder))))
        self.setAccessibleName(self.tr("Project {0}").format(folder.name))
        self.setAccessibleDescription(stands_at)
        column = QVBoxLayout(self)
        column.setContentsMargins(10, 10, 10, 10)
        column.setSizeConstraint(QLayout.SizeConstraint.SetFixedSize)
        for widget in (picture, self.name, self.how):
            column.addWidget(widget)

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:  # noqa: N802 - Qt's name
        """Open it."""
        if event.button() == Qt.MouseButton.LeftButton and self.rect().contains(event.position().toPoint()):
            self.chosen.emit(self.folder)

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802 - Qt's name
        """Return or Space opens it."""
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Space):
            self.chosen.emit(self.folder)
        else:
            super().keyPressEvent(event)


def elided(text: str, font: QFont, width: int, lines: int) -> str:
    """As much of a text as fits into so many lines of a width, with dots where it goes on."""
    rows, metrics = list[str](), QFontMetrics(font)
    while text and len(rows) < lines - 1:
        layout = QTextLayout(text, font)
        layout.beginLayout()
        line = layout.createLine()
        line.setLineWidth(width)
        layout.endLayout()
        # A word that is wider than the line stays whole in it; the last line's dots cut it off.
        if line.naturalTextWidth() > width or not 0 < line.textLength() < len(text):
            break
        rows.append(text[: line.textLength()].rstrip())
        text = text[line.textLength() :]
    return "\n".join([*rows, metrics.elidedText(text, Qt.TextElideMode.ElideRight, width)])


def thumbnail(folder: Path, size: QSize = TILE) -> QPixmap:
    """The first colour picture of a project's contact sheet (`reconstruction.inspection.contact_sheet`)."""
    reader = QImageReader(str(folder / "capture" / "contact_sheet.jpg"))
    if not reader.size().isValid():
        return QPixmap()
    width = min(SHEET_TILE, reader.size().width())
    reader.setClipRect(QRect(0, SHEET_CAPTION, width, round(width * size.height() / size.width())))
    return QPixmap.fromImage(reader.read()).scaled(
        size, Qt.AspectRatioMode.KeepAspectRatioByExpanding, Qt.TransformationMode.SmoothTransformation
    )
