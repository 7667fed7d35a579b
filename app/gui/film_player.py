"""A film inside a page: decoded once in a thread of its own, then played round and round."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from PySide6.QtCore import QRectF, QSize, Qt, QTimer
from PySide6.QtGui import QColor, QHideEvent, QImage, QPainter, QPaintEvent
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QHBoxLayout,
    QPushButton,
    QSizePolicy,
    QSlider,
    QVBoxLayout,
    QWidget,
)

from app.gui import theme
from app.gui.background import Stopped, Worker

LARGEST_BYTES = 400_000_000
"""Of a film's pictures, decoded: what is longer is cut off there."""
SPEEDS = (1.0, 2.0, 4.0, 0.5)


@dataclass(frozen=True)
class Film:
    """A decoded film: its pictures, and how many a second."""

    pictures: list[QImage]
    rate: float


def decode(path: Path, stopped: Stopped) -> Film:
    """All pictures of an MP4."""
    import av

    pictures, bytes_so_far, rate = [], 0, 10.0
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"  # one busy core is enough for a small film
        if stream.average_rate:
            rate = float(stream.average_rate)
        for frame in container.decode(stream):
            if stopped():
                break
            shot = frame.to_ndarray(format="rgb24")
            high, wide = shot.shape[:2]
            pictures.append(QImage(shot.data, wide, high, shot.strides[0], QImage.Format.Format_RGB888).copy())
            bytes_so_far += shot.nbytes
            if bytes_so_far > LARGEST_BYTES:
                break
    if not pictures and not stopped():
        raise ValueError("there is no picture in it")
    return Film(pictures, rate)


class Screen(QWidget):
    """A picture, as large as there is room, or a sentence in its place."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._picture, self._sentence = QImage(), ""
        policy = QSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        policy.setHeightForWidth(True)
        self.setSizePolicy(policy)

    def show_picture(self, picture: QImage, sentence: str = "") -> None:
        """Show it, or the sentence where there is none."""
        anew = picture.size() != self._picture.size()
        self._picture, self._sentence = picture, sentence
        if anew:
            self.updateGeometry()
        self.update()

    @property
    def picture(self) -> QImage:
        """What is shown."""
        return self._picture

    def sizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """How large it would like to be."""
        return QSize(360, self.heightForWidth(360))

    def minimumSizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """How small it may become."""
        return QSize(200, 100)

    def heightForWidth(self, width: int) -> int:  # noqa: N802 - Qt's name
        """As high as the picture is then."""
        shape = self._picture.size()
        high = width // 2 if shape.isEmpty() else width * shape.height() // shape.width()
        return max(100, min(high, 420))

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 - Qt's name
        """Draw it."""
        colors = theme.current()
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        painter.fillRect(self.rect(), QColor(colors.view_bottom))
        if self._picture.isNull():
            painter.setPen(QColor(colors.faint))
            around = self.rect().adjusted(12, 8, -12, -8)
            painter.drawText(around, Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap, self._sentence)
            return
        wide, high = self._picture.width(), self._picture.height()
        scale = min(self.width() / wide, self.height() / high)
        where = QRectF(0, 0, wide * scale, high * scale)
        where.moveCenter(QRectF(self.rect()).center())
        painter.drawImage(where, self._picture)


class FilmPlayer(QWidget):
    """Films by name: choose one, play it, stop it, look at any moment of it.

    It holds no thread and no timer while it is hidden.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._films: dict[str, Path] = {}
        self._film: Film | None = None
        self._worker: Worker | None = None
        self._wanted: tuple[Path, int] | None = None
        self.choice = QComboBox(self)
        self.choice.setToolTip(self.tr("Which try is shown."))
        self.choice.setAccessibleName(self.tr("Film"))
        self.choice.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.choice.currentIndexChanged.connect(self._choose)
        self.screen_ = Screen(self)
        self.play_button = QPushButton(self.tr("Play"), self)
        self.play_button.setToolTip(self.tr("Play the film, or hold it."))
        self.play_button.clicked.connect(self._toggle)
        self.place = QSlider(Qt.Orientation.Horizontal, self)
        self.place.setToolTip(self.tr("Which moment of the film is shown."))
        self.place.setAccessibleName(self.tr("Moment"))
        self.place.valueChanged.connect(self._draw)
        self.loop = QCheckBox(self.tr("Loop"), self)
        self.loop.setChecked(True)
        self.loop.setToolTip(self.tr("Begin again at the film's end."))
        self.speed = QComboBox(self)
        for speed in SPEEDS:
            self.speed.addItem(f"{speed:g}×", speed)
        self.speed.setToolTip(self.tr("How fast it is played; 1× is as it happened."))
        self.speed.setAccessibleName(self.tr("Speed"))
        self.speed.currentIndexChanged.connect(self._pace)
        controls = QHBoxLayout()
        controls.addWidget(self.play_button)
        controls.addWidget(self.place, 1)
        controls.addWidget(self.loop)
        controls.addWidget(self.speed)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.choice)
        layout.addWidget(self.screen_)
        layout.addLayout(controls)
        self._clock = QTimer(self)
        self._clock.timeout.connect(self._step)
        self._choose()

    def show_films(self, films: Mapping[str, Path]) -> None:
        """Offer these, and show the first one's first picture; a film that is shown already goes on."""
        found = dict(films)
        if found == self._films and (self._wanted is None or self._wanted == self._about(self._wanted[0])):
            return
        before = self.choice.currentText()
        self._films = found
        self.choice.blockSignals(True)
        self.choice.clear()
        self.choice.addItems(list(found))
        self.choice.setCurrentIndex(max(self.choice.findText(before), 0) if found else -1)
        self.choice.blockSignals(False)
        self.choice.setVisible(len(found) > 1)
        self._choose()

    def select(self, name: str) -> None:
        """Show one of the films."""
        self.choice.setCurrentIndex(self.choice.findText(name))

    @property
    def is_playing(self) -> bool:
        """Whether it runs."""
        return self._clock.isActive()

    @property
    def frames(self) -> int:
        """Pictures of the film that is shown, 0 while it is not decoded."""
        return 0 if self._film is None else len(self._film.pictures)

    def stop(self) -> None:
        """Hold the film, and let go of the thread."""
        self._hold()
        if self._worker is not None:
            self._worker.stop()
            self._worker = None

    def hideEvent(self, event: QHideEvent) -> None:  # noqa: N802 - Qt's name
        """Nobody looks: hold what works for nobody."""
        if self._worker is not None:
            self._wanted = None  # it was not finished: decode it when it is looked at again
        self.stop()
        super().hideEvent(event)

    def showEvent(self, event: object) -> None:  # noqa: N802 - Qt's name
        """Somebody looks."""
        super().showEvent(event)  # type: ignore[arg-type]
        self._choose()

    @staticmethod
    def _about(path: Path) -> tuple[Path, int] | None:
        """A film as it is on the disk now: it may be filmed anew under its old name."""
        try:
            return path, path.stat().st_mtime_ns
        except OSError:
            return None

    def _choose(self) -> None:
        path = self._films.get(self.choice.currentText())
        wanted = None if path is None else self._about(path)
        if wanted is not None and wanted == self._wanted:
            return
        self.stop()
        self._film, self._wanted = None, None
        for control in (self.play_button, self.place, self.loop, self.speed):
            control.setEnabled(False)
        if path is None:
            self.screen_.show_picture(QImage(), self.tr("No films yet."))
            return
        self.screen_.show_picture(QImage(), self.tr("Reading the film …"))
        if not self.isVisible():
            return  # it is decoded when it is looked at
        self._wanted = wanted
        film = path
        self._worker = Worker(lambda stopped: decode(film, stopped), self)
        self._worker.came.connect(self._came)
        self._worker.failed.connect(self._failed)
        self._worker.start(Worker.Priority.LowPriority)

    def _came(self, film: object) -> None:
        assert isinstance(film, Film)
        self._worker, self._film = None, film
        self.place.setRange(0, len(film.pictures) - 1)
        self.place.setValue(0)
        for control in (self.play_button, self.place, self.loop, self.speed):
            control.setEnabled(True)
        self._draw()

    def _failed(self, reason: str) -> None:
        self._worker = None
        self.screen_.show_picture(QImage(), self.tr("This film cannot be shown: {0}").format(reason))

    def _draw(self) -> None:
        if self._film is not None and self._film.pictures:
            self.screen_.show_picture(self._film.pictures[min(self.place.value(), len(self._film.pictures) - 1)])

    def _toggle(self) -> None:
        if self.is_playing:
            self._hold()
        elif self._film is not None:
            if self.place.value() >= self.place.maximum():
                self.place.setValue(0)
            self.play_button.setText(self.tr("Pause"))
            self._clock.start()
            self._pace()

    def _hold(self) -> None:
        self._clock.stop()
        self.play_button.setText(self.tr("Play"))

    def _pace(self) -> None:
        if self._film is not None:
            self._clock.setInterval(max(15, round(1000 / (self._film.rate * float(self.speed.currentData())))))

    def _step(self) -> None:
        if self._film is None:
            self._hold()
        elif self.place.value() < self.place.maximum():
            self.place.setValue(self.place.value() + 1)
        elif self.loop.isChecked():
            self.place.setValue(0)
        else:
            self._hold()
