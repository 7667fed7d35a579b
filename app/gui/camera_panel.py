"""The tab of the cameras: where they are, by a tag, with training's picture laid over what they see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from PySide6.QtCore import QRect, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QColor, QImage, QImageReader, QPainter, QPaintEvent
from PySide6.QtWidgets import (
    QFileDialog,
    QHBoxLayout,
    QListWidget,
    QPushButton,
    QSizePolicy,
    QSlider,
    QVBoxLayout,
    QWidget,
)

from app.align_stage import AlignSettings
from app.gui import theme
from app.gui.bundle_contents import STEP, Checked, Contents, Facts, Panel
from app.gui.desk import Desk
from app.gui.job import Job, Task
from app.gui.page import label
from app.gui.settings_form import SettingsForm
from reconstruction.tags import TagSettings

LARGEST_PICTURE_PX = 8000


@dataclass(frozen=True)
class CameraSettings(AlignSettings):
    """What `pocketworld align` takes, its tag included."""

    tag: TagSettings = field(default_factory=TagSettings)
    """The tag in the pictures."""


class Overlay(QWidget):
    """What a camera sees, with what it saw in training laid over it."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._now, self._then, self._share = QImage(), QImage(), 0.5
        self.setMinimumSize(240, 240)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setAccessibleName(self.tr("The camera's picture, with that of training laid over it"))

    def sizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """How large it would like to be."""
        return QSize(300, 300)

    def show_now(self, picture: QImage) -> None:
        """What the camera sees: of it, what the policy would see, the middle."""
        side = min(picture.width(), picture.height())
        where = QRect((picture.width() - side) // 2, (picture.height() - side) // 2, side, side)
        self._now = picture.copy(where) if side else QImage()
        self.update()

    def show_then(self, picture: npt.NDArray[np.uint8] | None) -> None:
        """What the camera saw in training."""
        self._then = QImage()
        if picture is not None:
            high, wide = picture.shape[:2]
            self._then = QImage(picture.data, wide, high, picture.strides[0], QImage.Format.Format_RGB888).copy()
        self.update()

    def mix(self, percentage: int) -> None:
        """So much of training's picture."""
        self._share = percentage / 100
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 - Qt's name
        """Draw it."""
        colors = theme.current()
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        side = min(self.width(), self.height())
        where = QRectF((self.width() - side) / 2, (self.height() - side) / 2, side, side)
        painter.fillRect(where, QColor(colors.view_bottom))
        if self._now.isNull() and self._then.isNull():
            painter.setPen(QColor(colors.faint))
            painter.drawText(
                where.adjusted(12, 12, -12, -12),
                Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap,
                self.tr("Add a picture to see it with that of training laid over it."),
            )
            return
        if not self._now.isNull():
            painter.drawImage(where, self._now)
        if not self._then.isNull():
            painter.setOpacity(1.0 if self._now.isNull() else self._share)
            painter.drawImage(where, self._then)


class CameraPanel(Panel):
    """Where a robot's cameras are, and whether they see what the policy has learnt from.

    Attributes:
        found_at: a camera was found: the file that says where, for a run.
    """

    found_at = Signal(str)

    def __init__(self, desk: Desk, parent: QWidget | None = None) -> None:
        super().__init__(desk, parent)
        self._checked: Checked | None = None
        self._free = False
        self._shown: Job | None = None
        self.no_cameras = label("", "faint", self)
        self.camera_form = SettingsForm(
            CameraSettings,
            ("camera", "field_deg", "tag.size_mm", "tag.offset", "joints"),
            ("tag.search", "tag.rescale", "tag.frames"),
            self,
        )
        self.camera_form.changed.connect(self._show_overlay)
        self.pictures = QListWidget(self)
        self.pictures.setAccessibleName(self.tr("Pictures"))
        self.pictures.setToolTip(self.tr("What the camera sees, with the tag in it. The first one says where it is."))
        self.pictures.setFixedHeight(3 * self.pictures.fontMetrics().height() + 24)
        self.pictures.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.pictures.currentRowChanged.connect(self._show_overlay)
        self.add = QPushButton(self.tr("Add pictures…"), self)
        self.add.setToolTip(self.tr("PNG or JPEG files, all of one size."))
        self.add.clicked.connect(self._choose_pictures)
        self.remove = QPushButton(self.tr("Remove"), self)
        self.remove.setToolTip(self.tr("Take the selected picture off the list; the file stays."))
        self.remove.clicked.connect(self._remove_picture)
        self.print_tag = QPushButton(self.tr("Print a tag…"), self)
        self.print_tag.setToolTip(self.tr("The page with the tag, for a printer."))
        self.print_tag.clicked.connect(self.desk.tag_wanted)
        self.align = QPushButton(self.tr("Find the camera"), self)
        self.align.setObjectName("primary")
        self.align.setToolTip(self.tr("Find out where the camera is, from the tag, and write it down for a run."))
        self.align.clicked.connect(self._align)
        self.found = Facts(self)
        self.overlay = Overlay(self)
        self.mix = QSlider(Qt.Orientation.Horizontal, self)
        self.mix.setRange(0, 100)
        self.mix.setValue(50)
        self.mix.setAccessibleName(self.tr("Share of training's picture"))
        self.mix.setToolTip(self.tr("Left: what the camera sees. Right: what it saw in training."))
        self.mix.valueChanged.connect(self.overlay.mix)
        left, right, buttons = QVBoxLayout(), QVBoxLayout(), QHBoxLayout()
        for button in (self.add, self.remove, self.print_tag):
            buttons.addWidget(button)
        left.addWidget(self.pictures)
        left.addLayout(buttons)
        left.addWidget(self.camera_form)
        left.addWidget(self.align)
        left.addStretch(1)
        right.addWidget(self.overlay)
        right.addWidget(self.mix)
        right.addWidget(label(self.tr("Left: the camera now. Right: as in training."), "faint", self))
        right.addWidget(self.found)
        right.addStretch(1)
        self.camera_parts = QWidget(self)
        both = QHBoxLayout(self.camera_parts)
        both.setContentsMargins(0, 0, 0, 0)
        both.setSpacing(18)
        both.addLayout(left, 1)
        both.addLayout(right, 1)
        self.fill(self.no_cameras, self.camera_parts)

    def show_bundle(self, contents: Contents | None, checked: Checked | None = None) -> None:
        """Be about another bundle; `checked` has what its cameras saw in training."""
        self._contents, self._checked = contents, checked
        self._show_cameras()

    def enable(self, free: bool) -> None:
        """Whether a camera can be looked for now."""
        self._free = free
        self.align.setEnabled(free and self.pictures.count() > 0)
        self.remove.setEnabled(self.pictures.count() > 0)

    def follow(self, job: Job) -> None:
        """Show what a job has found, once."""
        if job.state.kind == "done" and job is not self._shown:
            self._shown = job
            self._show_alignment(job.state.result)

    def _show_cameras(self) -> None:
        has = self._contents is not None and bool(self._contents.cameras)
        self.no_cameras.setText(
            self.tr(
                "Where is the camera really, and does it see what the policy has learnt from? Stick a printed tag onto "
                "the bench, take a picture with the robot's camera, and add it."
            )
            if has
            else self.tr("This bundle looks at no camera.")
        )
        self.camera_parts.setVisible(has)
        self._show_overlay()

    def add_pictures(self, names: Sequence[str]) -> None:
        """Put pictures on the list."""
        there = self._pictures()
        self.pictures.addItems([name for name in dict.fromkeys(names) if name not in there])
        self.pictures.setCurrentRow(self.pictures.count() - 1)
        self._show_overlay()
        self.enable(self._free)

    def _choose_pictures(self) -> None:
        what = self.tr("Pictures (*.png *.jpg *.jpeg)")
        names, _ = QFileDialog.getOpenFileNames(self, self.tr("Add pictures"), "", what)
        if names:
            self.add_pictures(names)

    def _remove_picture(self) -> None:
        if self.pictures.currentRow() >= 0:
            self.pictures.takeItem(self.pictures.currentRow())
            self._show_overlay()
            self.enable(self._free)

    def _pictures(self) -> list[str]:
        return [self.pictures.item(row).text() for row in range(self.pictures.count())]

    def _show_overlay(self) -> None:
        item = self.pictures.currentItem()
        picture = QImage()
        if item is not None:
            reader = QImageReader(item.text())
            reader.setAutoTransform(True)
            if max(reader.size().width(), reader.size().height()) <= LARGEST_PICTURE_PX:
                picture = reader.read()
        self.overlay.show_now(picture)
        seen = {} if self._checked is None else self._checked.seen
        self.overlay.show_then(seen.get(str(self.camera_form.control("camera").read())))

    def _align(self) -> None:
        if self._contents is None or not self._pictures():
            return
        out = self._contents.folder.with_name(self._contents.folder.name + "_alignment.json")
        try:
            words = ("align", str(self._contents.folder), *self._pictures(), *self.camera_form.words())
        except ValueError as error:
            self.desk.problem.emit(str(error), self.tr("Correct it and try again."))
            return
        title = self.tr("Find the camera: {0}").format(self._contents.folder.name)
        self.started.emit(Task(title, (*words, "--out", str(out)), STEP, self.folder()))

    def _show_alignment(self, found: Mapping[str, Any]) -> None:
        pose, file = found.get("pose"), str(found.get("file", ""))
        try:
            x, y, z = (float(row[3]) for row in pose[:3])  # type: ignore[index]
            moved, turned, off = (float(found[name]) for name in ("moved_m", "turned_deg", "off_px"))
        except (KeyError, TypeError, ValueError, IndexError):
            self.found.show_facts([])
            return
        frame = self.tr("the robot's base") if found.get("camera") == "front" else self.tr("the hand")
        self.found.show_facts(
            [
                (self.tr("Camera"), self.tr("at {0:.3f} {1:.3f} {2:.3f} m from {3}").format(x, y, z, frame)),
                (
                    self.tr("Moved"),
                    self.tr("{0:.1f} cm and {1:.1f}° from where it stood in training").format(100 * moved, turned),
                ),
                (
                    self.tr("Tag"),
                    self.tr("seen in pictures: {0}; its corners are off by {1:.2f} pixels").format(
                        found.get("pictures"), off
                    ),
                ),
                (self.tr("Written"), file),
            ]
        )
        self.found_at.emit(file)
