"""What is painted over the 3-D view's picture: handles, and a measured length."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PySide6.QtCore import QPointF, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QPainter, QPen, QPolygonF

from app.viewer import gizmo
from app.viewer.view import View

FloatArray = npt.NDArray[np.float64]
AXIS_COLORS = ("#e5484d", "#46a758", "#3e8bff")
ACCENT = "#ff9d0a"


def paint_handles(
    painter: QPainter,
    size: QSize,
    tool: str,
    middle: FloatArray,
    view: View,
    hover: gizmo.Handle | None,
    *,
    alone: bool,
) -> None:
    """A tool's handles at `middle` ``(3,)``, seen from `view`; `alone`: only the one that the mouse is on."""
    if (middle - view.position) @ view.axes()[2] <= 0.01:
        return
    for handle in gizmo.HANDLES[tool]:
        if alone and handle != hover:
            continue
        points = _pixels_of(size, gizmo.line(handle, middle, view), view)
        color = QColor(ACCENT if handle == hover else AXIS_COLORS[handle.axis])
        painter.setPen(QPen(color, 5 if handle == hover else 3.5, c=Qt.PenCapStyle.RoundCap))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        if handle.kind == "arrow":
            painter.drawLine(points[0], points[1])
            painter.setBrush(color)
            painter.drawPolygon(_tip(points[0], points[1]))
        elif handle.kind == "plate":
            color.setAlphaF(0.55)
            painter.setBrush(color)
            painter.drawPolygon(QPolygonF(points))
        else:
            painter.drawPolyline(QPolygonF(points))


def paint_measure(painter: QPainter, size: QSize, ends: FloatArray, view: View) -> None:
    """One or two points ``(N, 3)``, and how far they are apart."""
    points = _pixels_of(size, ends, view)
    for color, width in (("#20242a", 5.0), (ACCENT, 2.5)):
        painter.setPen(QPen(QColor(color), width, c=Qt.PenCapStyle.RoundCap))
        if len(points) == 2:
            painter.drawLine(points[0], points[1])
        painter.setBrush(QColor(color))
        for point in points:
            painter.drawEllipse(point, 1.5 * width / 2, 1.5 * width / 2)
    if len(points) == 2:
        text = _length_text(float(np.linalg.norm(ends[1] - ends[0])))
        room = painter.fontMetrics().boundingRect(text).adjusted(-8, -4, 8, 4)
        room.moveCenter(((points[0] + points[1]) / 2 - QPointF(0, 18)).toPoint())
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(32, 36, 42, 225))
        painter.drawRoundedRect(QRectF(room), 5, 5)
        painter.setPen(QColor("white"))
        painter.drawText(room, int(Qt.AlignmentFlag.AlignCenter), text)


def _pixels_of(size: QSize, points: FloatArray, view: View) -> list[QPointF]:
    """Where in a widget of that size points ``(N, 3)`` are."""
    width, height = size.width(), size.height()
    at, _ = view.project(points, max(1, width) / max(1, height))
    return [QPointF(x * width, y * height) for x, y in at]


def _tip(start: QPointF, end: QPointF) -> QPolygonF:
    """An arrow's head."""
    way = end - start
    way *= 1.0 / max(float(np.hypot(way.x(), way.y())), 1e-6)
    across = QPointF(-way.y(), way.x()) * 5.5
    back = end - way * 5.0
    return QPolygonF([end + way * 8.0, back + across, back - across])


def _length_text(metres: float) -> str:
    return f"{100 * metres:.1f} cm" if metres < 1.0 else f"{metres:.3f} m"
