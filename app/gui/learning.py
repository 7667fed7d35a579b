"""A training while it runs: its four parts, and the curves of what it writes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PySide6.QtCore import QCoreApplication, Qt
from PySide6.QtWidgets import QGridLayout, QHBoxLayout, QLabel, QWidget

from app.gui.curves import CurveChart, Line, Tail, points_of
from app.gui.page import label
from policies.files import EYES, METRICS, PRETRAINED, ROUND


class Learning:
    """What a training has written so far, each line read once."""

    def __init__(self, folder: Path) -> None:
        """Of a policy's folder."""
        self.folder = folder
        self._tails: dict[str, Tail] = {}
        self._tries = Tail(folder / "evaluation_tries.jsonl")

    def poll(self) -> bool:
        """Read what is new; whether there was anything."""
        for place in (EYES, PRETRAINED, *self._rounds()):
            self._tails.setdefault(place, Tail(self.folder / place / METRICS))
        return bool(sum([tail.poll() for tail in (*self._tails.values(), self._tries)]))

    def _rounds(self) -> list[str]:
        found = [path.parent.name for path in self.folder.glob(f"{ROUND}*/{METRICS}")]
        numbers = sorted(int(name.removeprefix(ROUND)) for name in found if name.removeprefix(ROUND).isdigit())
        return [f"{ROUND}{number}" for number in numbers]

    def _rows(self, place: str) -> Sequence[Any]:
        return self._tails[place].rows if place in self._tails else ()

    def seeing(self) -> list[Line]:
        """How wrong its eyes are."""
        return [Line(_tr("seeing"), points_of(self._rows(EYES), "acting"))]

    def acting(self) -> list[Line]:
        """How wrong its actions and its foretelling are, of all rounds one after another."""
        act, dream, after = list[tuple[float, float]](), list[tuple[float, float]](), 0.0
        for place in (PRETRAINED, *self._rounds()):
            rows = self._rows(place)
            act += points_of(rows, "acting", after) if place != PRETRAINED else []
            dream += [point for point in points_of(rows, "dreaming", after) if point[1]]
            after = max((x for x, _ in points_of(rows, "dreaming", after)), default=after)
        return [Line(_tr("acting"), act), Line(_tr("foretelling"), dream, "good")]

    def checks(self) -> list[Line]:
        """Success as it was measured meanwhile, where that was asked for."""
        found, after = list[tuple[float, float]](), 0.0
        for place in self._rounds():
            rows = self._rows(place)
            found += points_of(rows, "success", after)
            after = max((x for x, _ in points_of(rows, "acting", after)), default=after)
        return [Line(_tr("success"), found, "good", dots=True)]

    def tried(self) -> tuple[int, int]:
        """Successes and tries of the evaluation so far; what made no sense does not count."""
        rows = [row for row in self._tries.rows if isinstance(row, list) and len(row) == 4 and isinstance(row[3], dict)]
        of_last = [row[3] for row in rows if row[0] == rows[-1][0]]
        counted = [trial for trial in of_last if not trial.get("skipped")]
        return sum(not trial.get("reason") for trial in counted), len(counted)


class Curves(QWidget):
    """The curves of a training, side by side."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.seeing = CurveChart(self.tr("Learning to see: error"), self)
        self.acting = CurveChart(self.tr("Learning to act: error"), self)
        self.checks = CurveChart(self.tr("Success while it learns"), self, top=1.0)
        self.checks.setToolTip(self.tr("Share of some unseen cousins in which it succeeds; higher is better."))
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(20)
        for chart in (self.seeing, self.acting, self.checks):
            layout.addWidget(chart, 1)

    def show_learning(self, learning: Learning | None) -> None:
        """Draw what was read of a training."""
        for chart, lines in (
            (self.seeing, learning.seeing() if learning else []),
            (self.acting, learning.acting() if learning else []),
            (self.checks, learning.checks() if learning else []),
        ):
            chart.show_lines(lines)
        self.checks.setVisible(bool(self.checks.lines))
        # A policy that is told where things are has no eyes to train.
        self.seeing.setVisible(bool(self.seeing.lines) or not self.acting.lines)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to draw."""
        return not any(chart.lines for chart in (self.seeing, self.acting, self.checks))


class Plan(QWidget):
    """The four parts of the way to a bundle, with the one that is under way marked."""

    PARTS = ("demonstrating", "training", "evaluating", "exporting")

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        texts = (
            (
                self.tr("1  Demonstrate"),
                self.tr("An expert that sees everything does the task in cousins of the scene."),
            ),
            (self.tr("2  Train"), self.tr("The policy learns to see, to act, and to foretell what it will see.")),
            (self.tr("3  Evaluate"), self.tr("It tries cousins, and things in them, that it has never seen.")),
            (self.tr("4  Export"), self.tr("If it is good enough, it becomes a bundle that drives the real arm.")),
        )
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(12)
        grid.setColumnStretch(2, 1)
        self._rows: list[tuple[QLabel, QLabel, QLabel]] = []
        for number, (name, what) in enumerate(texts):
            row = label("", parent=self, wrap=False), label(name, parent=self, wrap=False), label(what, "faint", self)
            for column, widget in enumerate(row):
                grid.addWidget(widget, number, column, Qt.AlignmentFlag.AlignTop)
            grid.setAlignment(row[2], Qt.AlignmentFlag(0))
            self._rows.append(row)
        self._what = [what for _, what in texts]
        self.current = -1
        self.mark(-1)

    def mark(self, current: int, message: str = "", *, stopped: bool = False) -> None:
        """Say which part is under way, 0 … 3, and how; -1: none has begun, 4: all are done.

        Args:
            current: the part.
            message: what it is at.
            stopped: nothing goes on there.
        """
        self.current = current
        here = self.tr("stopped") if stopped else self.tr("under way")
        for number, (sign, name, what) in enumerate(self._rows):
            sign.setText("✓" if number < current else "▶" if number == current and not stopped else "·")
            state = self.tr("done") if number < current else here if number == current else self.tr("later")
            name.setStyleSheet("font-weight: 600;" if number == current and not stopped else "")
            what.setText(message if number == current and message else self._what[number])
            name.setAccessibleName(f"{name.text()}: {state}")

    def hold(self) -> None:
        """Nothing goes on: what was under way is stopped."""
        self.mark(self.current, stopped=True)

    def signs(self) -> str:
        """The signs before the parts, in order."""
        return "".join(sign.text() for sign, _, _ in self._rows)

    def follow(self, message: str) -> None:
        """Mark what a progress message says: ``2 of 4, training: …``."""
        found = re.match(r"(\d) of 4, \w+: (.*)", message)
        if found is not None:
            self.mark(int(found.group(1)) - 1, found.group(2))


def _tr(text: str) -> str:
    return QCoreApplication.translate("PolicyPage", text)
