"""The page with the robot's tag, to look at and to keep as a PDF for the printer."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QPointF, QSize, Qt, QUrl
from PySide6.QtGui import QColor, QDesktopServices, QFont, QPainter, QPainterPath, QPaintEvent, QPolygonF
from PySide6.QtWidgets import (
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QDoubleSpinBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from app.gui.page import Notice, label
from app.tag_page import FAMILY, PAPERS_MM, POINTS_A_MM, SIZES_MM, Page, pdf, tag_page
from reconstruction.disk import write_whole
from reconstruction.errors import PocketworldError
from reconstruction.tags import FAMILIES

HEIGHT_PX = 420


class PageView(QWidget):
    """A page as it will be printed."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._page: Page | None = None

    def show_page(self, page: Page) -> None:
        """Show it."""
        self._page = page
        width, height = page.size_mm
        self.setFixedSize(QSize(round(HEIGHT_PX * width / height), HEIGHT_PX))
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 - Qt's name
        """Draw it: millimetres from the page's lower left."""
        if self._page is None:
            return
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.fillRect(self.rect(), Qt.GlobalColor.white)
        share = self.height() / self._page.size_mm[1]
        painter.scale(share, share)
        painter.setPen(Qt.PenStyle.NoPen)
        for ink in self._page.inks:
            path = QPainterPath()
            for polygon in ink.polygons:
                path.addPolygon(QPolygonF([QPointF(x, self._page.size_mm[1] - y) for x, y in polygon]))
                path.closeSubpath()
            painter.fillPath(path.simplified(), QColor.fromRgbF(ink.grey, ink.grey, ink.grey))
        painter.setPen(Qt.GlobalColor.black)
        for words in self._page.words:
            font = QFont("Helvetica")
            font.setPixelSize(100)  # a font of few pixels would be spaced for a screen of few
            painter.save()
            painter.setFont(font)
            painter.translate(words.at[0], self._page.size_mm[1] - words.at[1])
            small = words.size_pt / POINTS_A_MM / 100.0
            painter.scale(small, small)
            painter.drawText(0, 0, words.text)
            painter.restore()


class TagDialog(QDialog):
    """Which tag, how large, on which paper; it is kept as a PDF."""

    def __init__(self, folder: Path, parent: QWidget | None = None) -> None:
        """`folder` is proposed for the file."""
        super().__init__(parent)
        self.setWindowTitle(self.tr("Print a tag"))
        self._folder, self._made = folder, Path()
        self.size_mm = QDoubleSpinBox(self)
        self.size_mm.setRange(*SIZES_MM)
        self.size_mm.setDecimals(0)
        self.size_mm.setSuffix(" mm")
        self.size_mm.setValue(80.0)
        self.number = QSpinBox(self)
        self.number.setRange(0, FAMILIES[FAMILY][-1][0] - 1)
        self.paper = QComboBox(self)
        for name, title in (("a4", self.tr("A4")), ("letter", self.tr("US Letter"))):
            self.paper.addItem(title, name)
        assert self.paper.count() == len(PAPERS_MM)
        form = QFormLayout()
        for name, widget, tip in (
            (self.tr("Side of the black square"), self.size_mm, self.tr("Larger is found from farther away.")),
            (self.tr("Number"), self.number, self.tr("Two tags in one scan need different numbers.")),
            (self.tr("Paper"), self.paper, self.tr("The size of the page.")),
        ):
            widget.setToolTip(tip)
            widget.setAccessibleName(name)
            said = QLabel(name, self)
            said.setBuddy(widget)
            said.setToolTip(tip)
            form.addRow(said, widget)
        self.view = PageView(self)
        self.done_said = label("", "faint", self)
        self.failed = Notice("failed", self)
        self.save = QPushButton(self.tr("Save as PDF…"), self)
        self.save.setObjectName("primary")
        self.save.setDefault(True)
        self.save.setToolTip(self.tr("Choose where the page is kept; then print it at 100 %."))
        self.save.clicked.connect(self._save)
        self.open_it = QPushButton(self.tr("Open it"), self)
        self.open_it.setToolTip(self.tr("Show the PDF in the program that prints it."))
        self.open_it.setEnabled(False)
        self.open_it.clicked.connect(lambda: QDesktopServices.openUrl(QUrl.fromLocalFile(str(self._made))))
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close, self)
        buttons.rejected.connect(self.reject)
        buttons.button(QDialogButtonBox.StandardButton.Close).setToolTip(self.tr("Close this window."))
        side = QVBoxLayout()
        side.addWidget(label(self.tr("Where the robot stands"), "heading", self))
        side.addWidget(
            label(
                self.tr(
                    "Stick it onto the robot's base, or lay it where the base is to stand, the arrow pointing to the "
                    "robot's front, and scan it with the bench: the scan then knows where the robot is. A camera that "
                    "sees it is found by it, too."
                ),
                "faint",
                self,
            )
        )
        side.addLayout(form)
        side.addStretch(1)
        for below in (self.failed, self.done_said, self.save, self.open_it, buttons):
            side.addWidget(below)
        row = QHBoxLayout(self)
        row.setContentsMargins(20, 18, 20, 16)
        row.setSpacing(20)
        row.addWidget(self.view)
        row.addLayout(side, 1)
        self.size_mm.valueChanged.connect(self._show)
        self.number.valueChanged.connect(self._show)
        self.paper.currentIndexChanged.connect(self._show)
        self._show()

    def page(self) -> Page:
        """The page as it is chosen."""
        return tag_page(self.number.value(), self.size_mm.value(), str(self.paper.currentData()))

    def _show(self) -> None:
        self.view.show_page(self.page())

    def _save(self) -> None:
        proposed = self._folder / f"tag_{self.number.value()}.pdf"
        name, _ = QFileDialog.getSaveFileName(self, self.tr("Save the tag"), str(proposed), self.tr("PDF (*.pdf)"))
        if name:
            self.save_as(Path(name) if Path(name).suffix else Path(f"{name}.pdf"))

    def save_as(self, path: Path) -> None:
        """Keep the page there, and say so."""
        try:
            write_whole(path.absolute(), pdf(self.page()))
        except PocketworldError as error:
            self.failed.say(str(error), error.remedy)
            self.done_said.setText("")
            return
        self.failed.say()
        self._made = path
        self.open_it.setEnabled(True)
        self.done_said.setText(
            self.tr("{0}: print it at 100 %, and check with its ruler that it is.").format(path.name)
        )
