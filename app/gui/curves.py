"""Figures as pictures: curves that grow while a training writes them, shares with their intervals, and small bars."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PySide6.QtCore import QPointF, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QFontMetricsF, QPainter, QPaintEvent, QPen, QPolygonF
from PySide6.QtWidgets import QSizePolicy, QWidget

from app.gui import theme

Z95 = 1.959964
LARGEST_READ = 8_000_000
"""A file of lines that has grown by more than this at once is no metrics file of ours."""


def wilson(successes: int, count: int) -> tuple[float, float]:
    """The interval in which a share lies, 95 % sure, as `policies.evaluate` has it, whose import needs torch."""
    if count < 1:
        return 0.0, 1.0
    share, whole = successes / count, 1 + Z95 * Z95 / count
    middle = share + Z95 * Z95 / (2 * count)
    half = Z95 * math.sqrt(share * (1 - share) / count + Z95 * Z95 / (4 * count * count))
    return max(0.0, (middle - half) / whole), min(1.0, (middle + half) / whole)


class Tail:
    """The lines of a growing file of JSON, each read once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[Any] = []
        self._at, self._rest, self._file = 0, b"", (0, 0)

    def poll(self) -> bool:
        """Read what is new; whether there was anything, or the file has begun anew."""
        try:
            state = self.path.stat()
        except OSError:
            gone = bool(self.rows)
            self.rows, self._at, self._rest = [], 0, b""
            return gone
        again = state.st_size < self._at or (self._at and (state.st_dev, state.st_ino) != self._file)
        if again:  # a resumed training writes the file anew, up to its last checkpoint
            self.rows, self._at, self._rest = [], 0, b""
        self._file = (state.st_dev, state.st_ino)
        if state.st_size == self._at:
            return bool(again)
        try:
            with self.path.open("rb") as file:
                file.seek(self._at)
                data = file.read(LARGEST_READ)
        except OSError:
            return bool(again)
        self._at += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            try:
                self.rows.append(json.loads(line))
            except ValueError:  # what a dying process has left half written
                continue
        return True


@dataclass
class Line:
    """One curve.

    Attributes:
        name: for the legend.
        points: x and y, x rising.
        color: name of a colour of `theme.Colors`.
        dots: draw the points themselves, too: there are few.
    """

    name: str
    points: list[tuple[float, float]]
    color: str = "accent"
    dots: bool = False


def points_of(rows: Sequence[Any], key: str, after: float = 0.0) -> list[tuple[float, float]]:
    """What `metrics.jsonl` says of `key`, over the steps, which are counted on from `after`."""
    found = []
    for row in rows:
        if not isinstance(row, dict):
            continue
        step, value = row.get("step"), row.get(key)
        if isinstance(step, int | float) and isinstance(value, int | float) and math.isfinite(value):
            found.append((after + float(step), float(value)))
    return found


class CurveChart(QWidget):
    """Curves over steps, with a legend that says their last values."""

    def __init__(self, title: str, parent: QWidget | None = None, *, top: float | None = None) -> None:
        """`top` is the end of the upright axis; left out: where the curves need it."""
        super().__init__(parent)
        self.title, self._top, self._lines = title, top, list[Line]()
        self._percent = top == 1.0
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setToolTip(
            self.tr("How wrong the network still is while it learns: lower is better, and level means learnt out.")
        )
        self._name()

    def sizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """How large it would like to be."""
        return QSize(300, 190)

    def minimumSizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """How small it may become."""
        return QSize(220, 170)

    def show_lines(self, lines: Sequence[Line]) -> None:
        """Draw these, in this order."""
        self._lines = [line for line in lines if line.points]
        self._name()
        self.update()

    @property
    def lines(self) -> Sequence[Line]:
        """Those that are drawn."""
        return tuple(self._lines)

    def _name(self) -> None:
        said = [f"{line.name}: {self._value(line.points[-1][1])}" for line in self._lines]
        self.setAccessibleName(self.title)
        self.setAccessibleDescription(", ".join(said) or self.tr("nothing yet"))

    def _value(self, value: float) -> str:
        return f"{100 * value:.0f} %" if self._percent else f"{value:.3g}"

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 - Qt's name
        """Draw it."""
        colors = theme.current()
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        text = QFontMetricsF(self.font())
        high = text.height()
        bold = self.font()
        bold.setBold(True)
        painter.setFont(bold)
        painter.setPen(QColor(colors.text))
        painter.drawText(QRectF(0, 0, self.width(), high), Qt.AlignmentFlag.AlignLeft, self.title)
        painter.setFont(self.font())
        legend = self._legend(painter, text, colors, high + 4)
        top, steps = self._range()
        wide = max(text.horizontalAdvance(self._value(value)) for value in (0.0, top / 2, top)) + 8
        area = QRectF(wide, legend + 8, self.width() - wide - 4, self.height() - legend - 8 - high - 6)
        if area.height() < 20:
            return
        for share in (0.0, 0.5, 1.0):
            y = area.bottom() - share * area.height()
            painter.setPen(QPen(QColor(colors.border), 1))
            painter.drawLine(QPointF(area.left(), y), QPointF(area.right(), y))
            painter.setPen(QColor(colors.faint))
            where = QRectF(0, y - high / 2, wide - 6, high)
            painter.drawText(where, Qt.AlignmentFlag.AlignRight, self._value(share * top))
        painter.setPen(QColor(colors.faint))
        below = QRectF(area.left(), area.bottom() + 4, area.width(), high)
        if not self._lines:
            painter.drawText(area, Qt.AlignmentFlag.AlignCenter, self.tr("nothing yet"))
            return
        painter.drawText(below, Qt.AlignmentFlag.AlignLeft, "0")
        painter.drawText(below, Qt.AlignmentFlag.AlignRight, self.tr("{0} steps").format(f"{steps:.0f}"))
        for line in self._lines:
            points = [
                QPointF(area.left() + area.width() * x / steps, area.bottom() - area.height() * min(y / top, 1.0))
                for x, y in line.points
            ]
            color = QColor(getattr(colors, line.color))
            painter.setPen(QPen(color, 2))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawPolyline(QPolygonF(points))
            if line.dots or len(points) == 1:
                painter.setBrush(color)
                for point in points:
                    painter.drawEllipse(point, 3.0, 3.0)

    def _range(self) -> tuple[float, float]:
        values = [y for line in self._lines for _, y in line.points]
        steps = max((x for line in self._lines for x, _ in line.points), default=1.0)
        return self._top or nice(max(values, default=1.0)), max(steps, 1.0)

    def _legend(self, painter: QPainter, text: QFontMetricsF, colors: theme.Colors, top: float) -> float:
        x, high = 0.0, text.height()
        for line in self._lines:
            said = f"{line.name} {self._value(line.points[-1][1])}"
            wide = 18 + text.horizontalAdvance(said) + 14
            if x and x + wide > self.width():
                x, top = 0.0, top + high
            painter.fillRect(QRectF(x, top + high / 2 - 2, 12, 4), QColor(getattr(colors, line.color)))
            painter.setPen(QColor(colors.faint))
            painter.drawText(QRectF(x + 18, top, wide, high), Qt.AlignmentFlag.AlignLeft, said)
            x += wide
        return top + (high if self._lines else 0.0)


def nice(value: float) -> float:
    """The next round number from `value` on: the end of an axis."""
    if not value > 0:
        return 1.0
    unit = 10.0 ** math.floor(math.log10(value))
    return next(step * unit for step in (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0) if step * unit >= value * 0.999)


class ShareBar(QWidget):
    """A share of 0 … 1 with the interval that holds the true one."""

    def __init__(self, parent: QWidget | None = None, *, color: str = "accent") -> None:
        super().__init__(parent)
        self._share: tuple[float, float, float] | None = None
        self._mark: float | None = None
        self._color = color
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setToolTip(self.tr("Full: the share that was measured. Line: where the true one is, with 95 % certainty."))

    def sizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """How large it would like to be."""
        return QSize(160, 22)

    def show_share(self, share: float, low: float, high: float, said: str = "", mark: float | None = None) -> None:
        """Show it; `mark` is a place on the bar worth a line of its own."""
        self._share, self._mark = (share, low, high), mark
        self.setAccessibleName(said or f"{share:.0%} ({low:.0%} … {high:.0%})")
        self.update()

    def clear(self) -> None:
        """Show nothing."""
        self._share = None
        self.setAccessibleName("")
        self.update()

    @property
    def share(self) -> tuple[float, float, float] | None:
        """What is shown: the share, and the interval's ends."""
        return self._share

    def set_color(self, color: str) -> None:
        """Fill it with another colour of `theme.Colors`."""
        self._color = color
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 - Qt's name
        """Draw it."""
        colors = theme.current()
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        middle, wide = self.height() / 2, self.width() - 2.0
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(colors.raised))
        painter.drawRoundedRect(QRectF(1, middle - 5, wide, 10), 5, 5)
        if self._share is None:
            return
        share, low, high = (min(max(value, 0.0), 1.0) for value in self._share)
        painter.setBrush(QColor(getattr(colors, self._color)))
        if share > 0:
            painter.drawRoundedRect(QRectF(1, middle - 5, max(wide * share, 6.0), 10), 5, 5)
        painter.setPen(QPen(QColor(colors.text), 2))
        if high > low:
            left, right = 1 + wide * low, 1 + wide * high
            painter.drawLine(QPointF(left, middle), QPointF(right, middle))
            for x in (left, right):
                painter.drawLine(QPointF(x, middle - 5), QPointF(x, middle + 5))
        if self._mark is not None:
            x = 1 + wide * self._mark
            painter.setPen(QPen(QColor(colors.text), 2, Qt.PenStyle.DotLine))
            painter.drawLine(QPointF(x, middle - 10), QPointF(x, middle + 10))


@dataclass(frozen=True)
class Bar:
    """One bar of `Bars`.

    Attributes:
        share: how long it is, 0 … 1.
        text: behind it.
        interval: of the share, if known.
        color: of `theme.Colors`.
    """

    share: float
    text: str
    interval: tuple[float, float] | None = None
    color: str = "accent"


@dataclass
class Group:
    """Bars that belong together, under a name."""

    name: str
    bars: list[Bar] = field(default_factory=list)


class Bars(QWidget):
    """Groups of bars, one group below the other, their names on the left."""

    def __init__(self, title: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._groups: list[Group] = []
        self.setAccessibleName(title)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def show_groups(self, groups: Sequence[Group]) -> None:
        """Draw these."""
        self._groups = list(groups)
        said = [f"{group.name}: {', '.join(bar.text for bar in group.bars)}" for group in groups]
        self.setAccessibleDescription("; ".join(said))
        self.updateGeometry()
        self.update()

    @property
    def groups(self) -> Sequence[Group]:
        """Those that are drawn."""
        return tuple(self._groups)

    def _row(self) -> float:
        return QFontMetricsF(self.font()).height() + 3

    def sizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """How large it would like to be."""
        rows = sum(len(group.bars) for group in self._groups)
        return QSize(280, math.ceil(rows * self._row() + 8 * max(len(self._groups) - 1, 0)))

    def minimumSizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """How small it may become."""
        return QSize(240, self.sizeHint().height())

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 - Qt's name
        """Draw it."""
        if not self._groups:
            return
        colors = theme.current()
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        text = QFontMetricsF(self.font())
        names = max(text.horizontalAdvance(group.name) for group in self._groups) + 12
        said = max(text.horizontalAdvance(bar.text) for group in self._groups for bar in group.bars) + 10
        wide = max(self.width() - names - said, 30.0)
        row, top = self._row(), 0.0
        for group in self._groups:
            painter.setPen(QColor(colors.text))
            painter.drawText(QRectF(0, top, names, row), Qt.AlignmentFlag.AlignVCenter, group.name)
            for bar in group.bars:
                middle = top + row / 2
                painter.setPen(Qt.PenStyle.NoPen)
                painter.setBrush(QColor(colors.raised))
                painter.drawRoundedRect(QRectF(names, middle - 4, wide, 8), 4, 4)
                painter.setBrush(QColor(getattr(colors, bar.color)))
                if bar.share > 0:
                    painter.drawRoundedRect(QRectF(names, middle - 4, max(wide * min(bar.share, 1.0), 5), 8), 4, 4)
                if bar.interval is not None:
                    painter.setPen(QPen(QColor(colors.text), 1.5))
                    low, high = (names + wide * min(max(value, 0.0), 1.0) for value in bar.interval)
                    painter.drawLine(QPointF(low, middle), QPointF(high, middle))
                painter.setPen(QColor(colors.faint))
                where = QRectF(names + wide + 8, top, said, row)
                painter.drawText(where, Qt.AlignmentFlag.AlignVCenter, bar.text)
                top += row
            top += 8


def groups_of(by_variation: object) -> list[Group]:
    """How an evaluation's success goes with how far each variation went, least first."""
    groups = []
    for name, portions in by_variation.items() if isinstance(by_variation, Mapping) else ():
        bars = []
        for portion in portions if isinstance(portions, list) else ():
            try:
                count, done = int(portion["count"]), int(portion["successes"])
                low, high = (float(value) for value in portion["interval"])
            except (KeyError, TypeError, ValueError):
                continue
            if count:
                bars.append(Bar(done / count, f"{done} / {count}", (low, high)))
        if bars:
            groups.append(Group(str(name), bars))
    return groups
