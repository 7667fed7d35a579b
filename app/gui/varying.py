"""What varies while a policy practises: said in a line, with its sliders folded away below."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QPushButton, QToolButton, QVBoxLayout, QWidget

from app.gui.page import label
from app.gui.settings_form import Control
from app.gui.strengths import Strengths, words_for
from simulation.variations import strengths_of


class Varying(QWidget):
    """The strengths of the variations, as the setting `vary` of a command.

    Attributes:
        wanted_from_cousins: the strengths of the cousins page are asked for.
    """

    wanted_from_cousins = Signal()

    def __init__(self, usual: tuple[str, ...], parent: QWidget) -> None:
        """`usual` are the words of what varies unless it is said otherwise."""
        super().__init__(parent)
        self.fold = QToolButton(self)
        self.fold.setText(self.tr("What varies"))
        self.fold.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.fold.setToolTip(self.tr("How far the cousins in which it practises differ from your scene."))
        self.fold.setCheckable(True)
        self.fold.setAutoRaise(True)
        self.said = label("", "faint", self)
        self.strengths = Strengths(self)
        self.usual = QPushButton(self.tr("As usual"), self)
        self.usual.setToolTip(self.tr("Where things are, colours, light, cameras and physics vary, and nothing else."))
        self.as_cousins = QPushButton(self.tr("As on the Cousins page"), self)
        self.as_cousins.setToolTip(self.tr("Set the sliders as they stand there."))
        self.control = Control(
            self.strengths,
            lambda: tuple(words_for(self.strengths.values())),
            lambda words: self.strengths.set_values(strengths_of(words)),
        )
        self.strengths.changed.connect(self.control.changed)
        self.strengths.changed.connect(self._say)
        self.fold.toggled.connect(self._unfold)
        self.usual.clicked.connect(lambda: self.control.write(usual))
        self.as_cousins.clicked.connect(self.wanted_from_cousins)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        for widget in (self.fold, self.said, self.strengths, self.as_cousins, self.usual):
            column.addWidget(widget)
        self._unfold(False)
        self._say()

    def _unfold(self, opened: bool) -> None:
        self.fold.setArrowType(Qt.ArrowType.DownArrow if opened else Qt.ArrowType.RightArrow)
        for widget in (self.strengths, self.usual, self.as_cousins):
            widget.setVisible(opened)

    def _say(self) -> None:
        values = self.strengths.values()
        if set(values.values()) == {1.0}:
            self.said.setText(self.tr("Everything, as far as it goes."))
        elif not any(values.values()):
            self.said.setText(self.tr("Nothing: it practises in the scene as it was scanned."))
        else:
            self.said.setText(self.strengths.in_words())
