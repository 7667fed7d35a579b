"""The list of a scene's things: a picture, the name, and in a second line what it weighs and is made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from PySide6.QtCore import QModelIndex, QPersistentModelIndex, QPoint, QRect, QSignalBlocker, QSize, Qt
from PySide6.QtGui import QColor, QFont, QIcon, QImage, QPainter, QPixmap
from PySide6.QtWidgets import (
    QAbstractItemView,
    QListWidget,
    QListWidgetItem,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QWidget,
)

from app.gui import theme

if TYPE_CHECKING:
    from app.scene_document import ListedThing

PICTURE = QSize(56, 44)
"""Of a thing, pixels of the window."""
NAME = int(Qt.ItemDataRole.UserRole)
FACTS = NAME + 1
MARGIN_PX = 4


class ThingList(QListWidget):
    """Rows stay what they are when the scene is edited: so does the selection, and how far it is scrolled."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setIconSize(PICTURE)
        self.setItemDelegate(_Row(self))
        self.setUniformItemSizes(True)
        self.setMouseTracking(True)
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.setAccessibleName(self.tr("Things of the scene"))
        self.setToolTip(self.tr("Ctrl+click selects several. Del deletes, Ctrl+D duplicates, F2 renames."))

    def names(self) -> list[str]:
        """Of all rows."""
        return [str(self.item(row).data(NAME)) for row in range(self.count())]

    def selected(self) -> list[str]:
        """Of the selected rows, in their order."""
        return [str(item.data(NAME)) for row in range(self.count()) if (item := self.item(row)).isSelected()]

    def select(self, names: Sequence[str], *, reveal: bool = True) -> None:
        """Select these without saying so; `reveal`: scroll to the first."""
        bar = self.verticalScrollBar()
        place = bar.value()
        with QSignalBlocker(self):
            if not names:
                self.clearSelection()
            for row in range(self.count()):
                item = self.item(row)
                if names and item.data(NAME) == names[0]:
                    self.setCurrentItem(item)
                item.setSelected(item.data(NAME) in names)
            for row in range(self.count()):  # becoming the current one has changed what was selected before it
                self.item(row).setSelected(self.item(row).data(NAME) in names)
        if not reveal:
            bar.setValue(place)

    def show_things(self, things: Sequence[ListedThing]) -> None:
        """Show these; a row whose thing is still there stays, and one whose thing has but another name, too."""
        bar = self.verticalScrollBar()
        place, names = bar.value(), [thing.name for thing in things]
        with QSignalBlocker(self):
            known = self.names()
            others = [row for row, (old, new) in enumerate(zip(known, names, strict=False)) if old != new]
            if len(known) == len(names) and len(others) == 1 and names[others[0]] not in known:
                self.item(others[0]).setData(NAME, names[others[0]])
            for row in reversed(range(self.count())):
                if self.item(row).data(NAME) not in names:
                    self.takeItem(row)
            for row, name in enumerate(names):
                if row >= self.count() or self.item(row).data(NAME) != name:
                    self.insertItem(row, self._taken(name, row) or _new(name))
            for row, thing in enumerate(things):
                self._fill(self.item(row), thing)
        self.doItemsLayout()
        bar.setValue(place)

    def set_picture(self, name: str, picture: QImage) -> None:
        """A thing looks like this."""
        for row in range(self.count()):
            if self.item(row).data(NAME) == name:
                self.item(row).setIcon(QIcon(QPixmap.fromImage(picture)))

    def _taken(self, name: str, start: int) -> QListWidgetItem | None:
        """The row of this name, if there is one further down."""
        for row in range(start, self.count()):
            if self.item(row).data(NAME) == name:
                return self.takeItem(row)
        return None

    def _fill(self, item: QListWidgetItem, thing: ListedThing) -> None:
        low, high = thing.mass_interval_kg
        facts = self.tr("{0} · {1}").format(mass_text(thing.mass_kg), thing.material)
        tip = self.tr("{0}: {1}, {2} g ({3} … {4}), {5} % seen").format(
            thing.name,
            thing.material,
            *(f"{1000 * value:.0f}" for value in (thing.mass_kg, low, high)),
            f"{100 * thing.seen_fraction:.0f}",
        )
        item.setText(thing.name)
        item.setData(FACTS, facts)
        item.setData(Qt.ItemDataRole.AccessibleDescriptionRole, facts)
        item.setToolTip(tip)


def mass_text(mass_kg: float) -> str:
    """``"0.8 g"``, ``"42 g"``, ``"1.25 kg"``."""
    grams = 1000 * mass_kg
    return f"{mass_kg:.2f} kg" if grams >= 1000 else f"{grams:.0f} g" if grams >= 10 else f"{grams:.1f} g"


def _new(name: str) -> QListWidgetItem:
    item = QListWidgetItem(name)
    item.setData(NAME, name)
    return item


class _Row(QStyledItemDelegate):
    """Draws a row."""

    def sizeHint(  # noqa: N802 - Qt's name
        self, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex
    ) -> QSize:
        """As wide as there is room: names are cut short."""
        return QSize(PICTURE.width() + 60, PICTURE.height() + 2 * MARGIN_PX)

    def paint(
        self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex
    ) -> None:
        """The picture on the left, two lines beside it."""
        colors = theme.current()
        state, room = option.state, QRect(option.rect)
        chosen = bool(state & QStyle.StateFlag.State_Selected)
        enabled = bool(state & QStyle.StateFlag.State_Enabled)
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        if chosen or state & QStyle.StateFlag.State_MouseOver:
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(QColor(colors.accent if chosen else colors.raised))
            painter.drawRoundedRect(room.adjusted(2, 1, -2, -1), 6, 6)
        icon = index.data(Qt.ItemDataRole.DecorationRole)
        if isinstance(icon, QIcon):
            place = QRect(room.topLeft() + QPoint(6, MARGIN_PX), PICTURE)
            icon.paint(painter, place, mode=QIcon.Mode.Normal if enabled else QIcon.Mode.Disabled)
        room = room.adjusted(PICTURE.width() + 16, 0, -8, 0)
        middle = room.center().y()
        name, facts = str(index.data(Qt.ItemDataRole.DisplayRole)), str(index.data(FACTS) or "")
        font = option.font
        text = QColor(colors.on_accent if chosen else colors.text if enabled else colors.faint)
        faint = QColor(colors.on_accent if chosen else colors.faint)
        small = QFont(font)
        small.setPixelSize(11)
        if chosen:
            faint.setAlphaF(0.85)
        for line, color, face, top, flag in (
            (name, text, font, room.top(), Qt.AlignmentFlag.AlignBottom),
            (facts, faint, small, middle + 2, Qt.AlignmentFlag.AlignTop),
        ):
            painter.setFont(face)
            painter.setPen(color)
            shown = painter.fontMetrics().elidedText(line, Qt.TextElideMode.ElideRight, room.width())
            place = QRect(room.left(), top, room.width(), middle - room.top() + 1)
            painter.drawText(place, int(flag | Qt.AlignmentFlag.AlignLeft), shown)
        painter.restore()
