"""Five steps that say what the five steps are; shown when the window is opened for the first time."""

from __future__ import annotations

from PySide6.QtCore import QCoreApplication, Qt
from PySide6.QtWidgets import QDialog, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from app.gui.desk import Desk
from app.gui.page import label


def steps() -> list[tuple[str, str]]:
    """Title and text of each step."""
    return [
        (
            _tr("1 · Scan"),
            _tr(
                "Walk once round your table with an iPhone Pro and a scanning app, then drop the export into this "
                "window. You see at once what the phone has seen and what it missed."
            ),
        ),
        (
            _tr("2 · Scene"),
            _tr(
                "Every thing on the table becomes an object with a shape, a mass and friction. Click one to select it; "
                "move, rename, merge or delete what the scan got wrong; press Play and throw it."
            ),
        ),
        (
            _tr("3 · Cousins"),
            _tr(
                "The scene is multiplied: other places, other things of the same kind, other light, other cameras. "
                "The sliders say how far they may differ, and the wall shows what comes of it."
            ),
        ),
        (
            _tr("4 · Policy"),
            _tr(
                "Say what the robot is to do by picking two things, and press Train & export. It is demonstrated, "
                "learnt, and tried in cousins that it has never seen: you get an honest figure."
            ),
        ),
        (
            _tr("5 · Robot"),
            _tr(
                "The bundle drives the arm. Try it first where nothing is quite as in the simulation; the red button "
                "stops it at any moment. For your own arm you get a command for a terminal: there you confirm each "
                "start, and any key stops it."
            ),
        ),
    ]


def _tr(text: str) -> str:
    return QCoreApplication.translate("Tour", text)


class Tour(QDialog):
    """One step at a time; Right and Left go on and back, Esc leaves."""

    def __init__(self, desk: Desk, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.desk = desk
        self.setWindowTitle(self.tr("A short tour"))
        self.setFixedWidth(520)
        self._steps, self.at = steps(), 0
        self._title = label("", "title", self)
        self._text = label("", "", self)
        self._text.setMinimumHeight(96)
        self._text.setAlignment(Qt.AlignmentFlag.AlignTop)
        self._dots = QLabel(self)
        self._back = QPushButton(self.tr("Back"), self)
        self._next = QPushButton(self)
        self._next.setObjectName("primary")
        self._next.setDefault(True)
        self._back.clicked.connect(lambda: self.go(self.at - 1))
        self._next.clicked.connect(lambda: self.go(self.at + 1))
        row = QHBoxLayout()
        row.addWidget(self._dots, 1)
        row.addWidget(self._back)
        row.addWidget(self._next)
        column = QVBoxLayout(self)
        column.setContentsMargins(28, 24, 28, 20)
        column.setSpacing(14)
        column.addWidget(self._title)
        column.addWidget(self._text)
        column.addLayout(row)
        desk.preferences.setValue("toured", True)
        self.go(0)

    def go(self, number: int) -> None:
        """Show a step; past the last one, the tour is over."""
        if number >= len(self._steps):
            self.accept()
            return
        self.at = max(0, number)
        title, text = self._steps[self.at]
        self._title.setText(title)
        self._text.setText(text)
        self._dots.setText(" ".join("●" if index == self.at else "○" for index in range(len(self._steps))))
        self._dots.setAccessibleName(self.tr("Step {0} of {1}").format(self.at + 1, len(self._steps)))
        self._back.setEnabled(self.at > 0)
        self._next.setText(self.tr("Next") if self.at + 1 < len(self._steps) else self.tr("Begin"))
