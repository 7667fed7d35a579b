"""From where a scan has looked at its table, seen from above: what the phone missed, and where to walk next time."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PySide6.QtCore import QPointF, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QPainter, QPainterPath, QPaintEvent, QPen
from PySide6.QtWidgets import QWidget

from app.gui import theme

SECTORS = 24
RINGS = ((0.0, 30.0), (30.0, 60.0), (60.0, 90.0))
"""Heights of the camera above the table, degrees: low ones are drawn outside."""


def seen_counts(azimuth_deg: Sequence[float], elevation_deg: Sequence[float]) -> list[list[int]]:
    """How many cameras looked from each sector of each ring of `RINGS`."""
    counts = [[0] * SECTORS for _ in RINGS]
    for azimuth, elevation in zip(azimuth_deg, elevation_deg, strict=True):
        for number, (low, high) in enumerate(RINGS):
            if low <= max(0.0, elevation) < high or (high == 90.0 and elevation >= high):
                counts[number][int(azimuth % 360.0 / 360.0 * SECTORS) % SECTORS] += 1
    return counts


class CoverageChart(QWidget):
    """Rings about the table: green where the phone looked from, orange where it never was."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._counts: list[list[int]] = []
        self._path: list[tuple[float, float]] = []
        self.setMinimumSize(QSize(260, 260))
        self.setToolTip(
            self.tr(
                "Seen from above: green where the phone looked from, orange where it never was. The line is its path."
            )
        )

    def show_coverage(
        self, azimuth_deg: Sequence[float], elevation_deg: Sequence[float], distance_m: Sequence[float]
    ) -> None:
        """Show from where the phone has looked, and how far it was away."""
        self._counts = seen_counts(azimuth_deg, elevation_deg)
        self._path = [
            (math.radians(azimuth), min(1.0, max(0.0, elevation) / 90.0))
            for azimuth, elevation in zip(azimuth_deg, elevation_deg, strict=True)
        ]
        self.setAccessibleName(self.advice())
        self.update()

    def forget(self) -> None:
        """Show nothing."""
        self._counts, self._path = [], []
        self.update()

    def advice(self) -> str:
        """What to do better the next time, in a sentence."""
        if not self._counts:
            return ""
        around = [any(ring[sector] for ring in self._counts) for sector in range(SECTORS)]
        missed = around.count(False)
        if missed > SECTORS // 4:
            degrees = round(360 * missed / SECTORS)
            return self.tr("{0}° of the round were never walked: next time, go all the way round.").format(degrees)
        if sum(map(bool, self._counts[0])) < SECTORS // 4:
            return self.tr("Hardly anything from low down: a second, lower round would show more of the sides.")
        if not any(self._counts[2]) and not any(self._counts[1]):
            return self.tr("All from low down: next time, walk a second round with the phone higher.")
        return self.tr("The phone went well round the table.")

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 - Qt's name
        """Draw the rings."""
        colors = theme.current()
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        side = min(self.width(), self.height()) - 16.0
        middle = QPointF(self.width() / 2.0, self.height() / 2.0)
        if not self._counts:
            painter.setPen(QColor(colors.faint))
            painter.drawText(self.rect(), Qt.AlignmentFlag.AlignCenter, self.tr("Not looked at yet"))
            painter.end()
            return
        most = max(1, *(max(ring) for ring in self._counts))
        widths = (0.5, 0.36, 0.2, 0.08)
        for number, ring in enumerate(self._counts):
            outer, inner = widths[number] * side, widths[number + 1] * side
            for sector, count in enumerate(ring):
                color = QColor(colors.good if count else colors.warn)
                color.setAlphaF((0.35 + 0.65 * min(1.0, 3 * count / most)) if count else 0.22)
                painter.setBrush(color)
                painter.setPen(QPen(QColor(colors.panel), 1.5))
                painter.drawPath(_sector(middle, inner, outer, sector))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.setPen(QPen(QColor(colors.text), 1.4))
        line = QPainterPath()
        for number, (angle, height) in enumerate(self._path):
            radius = (0.5 - 0.42 * height) * side
            place = middle + QPointF(radius * math.cos(angle), -radius * math.sin(angle))
            if number:
                line.lineTo(place)
            else:
                line.moveTo(place)
        painter.drawPath(line)
        painter.end()


def _sector(middle: QPointF, inner: float, outer: float, number: int) -> QPainterPath:
    start, span = 360.0 * number / SECTORS, 360.0 / SECTORS
    path = QPainterPath()
    big = QRectF(middle.x() - outer, middle.y() - outer, 2 * outer, 2 * outer)
    small = QRectF(middle.x() - inner, middle.y() - inner, 2 * inner, 2 * inner)
    path.arcMoveTo(big, start)
    path.arcTo(big, start, span)
    path.arcTo(small, start + span, -span)
    path.closeSubpath()
    return path
