"""A wall of pictures of cousins, and one of them at large with its facts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import (
    QAbstractItemModel,
    QAbstractListModel,
    QModelIndex,
    QObject,
    QPersistentModelIndex,
    QRect,
    QRectF,
    QSize,
    Qt,
    Signal,
)
from PySide6.QtGui import (
    QColor,
    QKeySequence,
    QPainter,
    QPainterPath,
    QPen,
    QPixmap,
    QResizeEvent,
    QShortcut,
)
from PySide6.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QListView,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from app.gui import theme
from app.gui.page import label

NARROWEST_PX = 200


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
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)  # `fit` shows it where it is needed
        self.setFrameShape(QListView.Shape.NoFrame)
        self.setStyleSheet("QListView { background: transparent; border: none; }")
        self.setMouseTracking(True)

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802 - Qt's name
        """Fit the columns."""
        super().resizeEvent(event)
        self.fit()

    def setModel(self, model: QAbstractItemModel | None) -> None:  # noqa: N802 - Qt's name
        """Show this model's tiles."""
        super().setModel(model)
        if model is not None:
            model.rowsInserted.connect(self.fit)
            model.rowsRemoved.connect(self.fit)

    def fit(self) -> None:
        """Share the width between as many columns as fit, with a scroll bar only where the tiles are too many.

        That is reckoned, not left to Qt: a bar narrows the tiles, which may then need none.
        """
        count = 0 if self.model() is None else self.model().rowCount()
        whole = self.contentsRect()
        size, columns = self._grid(whole.width() - 2)
        scrolls = -(-count // columns) * size.height() > whole.height()
        if scrolls:
            bar = self.verticalScrollBar().sizeHint().width()
            size, _ = self._grid(whole.width() - bar - 2)
        policy = Qt.ScrollBarPolicy
        self.setVerticalScrollBarPolicy(policy.ScrollBarAlwaysOn if scrolls else policy.ScrollBarAlwaysOff)
        if size != self.gridSize():
            self.setGridSize(size)

    def _grid(self, width: int) -> tuple[QSize, int]:
        columns = max(1, width // NARROWEST_PX)
        return QSize(width // columns, round((width // columns - 10) * self.aspect) + 10), columns


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
