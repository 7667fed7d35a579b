"""Small pictures that are drawn, not shipped."""

from __future__ import annotations

from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QIcon, QPainter, QPen, QPixmap


def dot(color: str, *, hollow: bool = False) -> QIcon:
    """A dot, or a ring."""
    picture = QPixmap(28, 28)
    picture.setDevicePixelRatio(2.0)
    picture.fill(Qt.GlobalColor.transparent)
    painter = QPainter(picture)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setPen(QPen(QColor(color), 1.6) if hollow else Qt.PenStyle.NoPen)
    painter.setBrush(Qt.BrushStyle.NoBrush if hollow else QColor(color))
    painter.drawEllipse(QRectF(3, 3, 8, 8))
    painter.end()
    return QIcon(picture)


def app_icon() -> QIcon:
    """A world in a pocket: a disc over a rounded square."""
    picture = QPixmap(256, 256)
    picture.fill(Qt.GlobalColor.transparent)
    painter = QPainter(picture)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(QColor("#1f66e5"))
    painter.drawRoundedRect(QRectF(16, 16, 224, 224), 52, 52)
    painter.setBrush(QColor("#ffffff"))
    painter.drawEllipse(QPointF(128, 116), 62, 62)
    painter.setBrush(QColor("#0f3f9c"))
    painter.drawRoundedRect(QRectF(44, 132, 168, 80), 28, 28)
    painter.end()
    return QIcon(picture)
