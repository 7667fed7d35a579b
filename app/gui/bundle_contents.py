"""What a bundle holds, looked at without trusting it, and the tab that says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PySide6.QtCore import QCoreApplication, Qt, QUrl, Signal
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import (
    QCheckBox,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from app.gui.background import Stopped
from app.gui.curves import wilson
from app.gui.desk import Desk
from app.gui.job import Task
from app.gui.page import Notice, label
from policies.deploy.bundle import BundleError, read_bundle, read_manifest
from policies.features import IMAGES

STEP = "robot"
GOOD_SHARE = 0.8
"""Success that an export wants unless it is told otherwise (`app.bundle_stage.ExportSettings.least`)."""


@dataclass(frozen=True)
class Contents:
    """A bundle as its manifest describes it, looked at without trusting it.

    Attributes:
        folder: where it lies.
        document: the manifest, {} where it cannot be read.
        problem: why it cannot, "" where it can.
    """

    folder: Path
    document: Mapping[str, Any]
    problem: str = ""

    @staticmethod
    def of(folder: Path) -> Contents:
        """Read a bundle's manifest."""
        try:
            return Contents(folder, read_manifest(folder))
        except BundleError as error:
            return Contents(folder, {}, str(error))

    def part(self, name: str) -> Mapping[str, Any]:
        """One of the manifest's objects, {} where it has none of that name."""
        found = self.document.get(name)
        return found if isinstance(found, dict) else {}

    @property
    def cameras(self) -> tuple[str, ...]:
        """Names of the cameras that it looks at."""
        return tuple(self.part("cameras"))

    @property
    def share(self) -> tuple[int, int] | None:
        """Successes and tries when it was exported."""
        found = self.part("evaluation")
        done, count = found.get("successes"), found.get("count")
        return (done, count) if isinstance(done, int) and isinstance(count, int) and count > 0 else None

    @property
    def policy_words(self) -> tuple[str, ...]:
        """Which policy it was made of, for the command line."""
        training = self.part("training")
        robot = training.get("robot") or self.part("robot").get("name") or "panda"
        task = training.get("task") or self.part("task").get("words") or ""
        return "--task", str(task), "--robot", str(robot), "--seed", str(training.get("seed", 0))


@dataclass(frozen=True)
class Checked:
    """What was found when a bundle's files were compared with their hashes.

    Attributes:
        files: how many there are.
        problem: what is wrong, "" where all are whole.
        seen: by camera, the first picture of a demonstration ``(H, W, 3)``.
    """

    files: int
    problem: str
    seen: Mapping[str, npt.NDArray[np.uint8]]


def check(folder: Path, files: int, stopped: Stopped) -> Checked:
    """Compare a bundle's files with their hashes."""
    try:
        _, sample, _ = read_bundle(folder)
    except BundleError as error:
        return Checked(files, str(error), {})
    seen = {
        name.removeprefix(IMAGES): np.ascontiguousarray(shots[0], dtype=np.uint8)
        for name, shots in sample.items()
        if name.startswith(IMAGES) and len(shots) and shots.ndim == 4
    }
    return Checked(files, "", seen)


def _tr(text: str) -> str:
    return QCoreApplication.translate("RobotPage", text)


def percent(share: float) -> str:
    """``"66 %"``."""
    return f"{round(100 * share)} %"


def told(count: int, done: int) -> str:
    """A share with its interval, in words."""
    low, high = wilson(done, count)
    return _tr("{0} of {1}; the true share is {2} … {3} %, 95 % sure").format(
        done, count, round(100 * low), round(100 * high)
    )


def counted(count: object, one: str, many: str) -> str:
    """``"1 command"``, ``"3 commands"``: `many` has a place for the number, `one` has it in it."""
    return one if count == 1 else many.format(count)


class Facts(QWidget):
    """Rows of a name and what there is to say."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setHorizontalSpacing(16)
        self._grid.setVerticalSpacing(8)
        self._grid.setColumnStretch(1, 1)
        self._rows: list[tuple[QLabel, QLabel]] = []

    def show_facts(self, facts: Sequence[tuple[str, str]]) -> None:
        """Say these, and nothing else; rows are used again."""
        while len(self._rows) < len(facts):
            row = label("", "faint", self, wrap=False), label("", "", self)
            row[1].setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
            for column, widget in enumerate(row):
                self._grid.addWidget(widget, len(self._rows), column)
            self._grid.setAlignment(row[0], Qt.AlignmentFlag.AlignTop)
            self._rows.append(row)
        for number, row in enumerate(self._rows):
            there = number < len(facts)
            for widget, text in zip(row, facts[number] if there else ("", ""), strict=True):
                widget.setText(text)
                widget.setVisible(there)

    def text(self) -> str:
        """All that it says."""
        return "\n".join(f"{name.text()}: {what.text()}" for name, what in self._rows if not name.isHidden())


def policy_folder(desk: Desk, contents: Contents | None) -> Path | None:
    """Of the policy in the open project that a bundle was made from."""
    name = None if contents is None else contents.part("training").get("dataset")
    if desk.project is None or not isinstance(name, str) or Path(name).name != name:
        return None
    folder = desk.project.folder / "policy" / name
    return folder if folder.is_dir() else None


class Panel(QScrollArea):
    """A tab of the robot page, about the bundle that is chosen; it scrolls where it does not fit.

    Attributes:
        started: a `Task` is to be run.
    """

    started = Signal(object)

    def __init__(self, desk: Desk, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.desk = desk
        self._contents: Contents | None = None
        self.setWidgetResizable(True)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)

    def fill(self, *parts: QWidget | QHBoxLayout) -> None:
        """Put these below each other."""
        inside = QWidget(self)
        layout = QVBoxLayout(inside)
        layout.setContentsMargins(16, 14, 16, 14)
        layout.setSpacing(10)
        for part in parts:
            if isinstance(part, QHBoxLayout):
                layout.addLayout(part)
            else:
                layout.addWidget(part)
        layout.addStretch(1)
        self.setWidget(inside)

    def folder(self) -> Path | None:
        """Of the open project."""
        return None if self.desk.project is None else self.desk.project.folder


class ContentsPanel(Panel):
    """What a bundle holds, whether its files are whole, and to export it again."""

    def __init__(self, desk: Desk, parent: QWidget | None = None) -> None:
        super().__init__(desk, parent)
        self._checked: Checked | None = None
        self.damaged = Notice("failed", self)
        self.facts = Facts(self)
        self.export = QPushButton(self.tr("Export again"), self)
        self.export.setToolTip(self.tr("Make the bundle anew from the project's policy, in the same place."))
        self.export.clicked.connect(lambda: self._export())
        self.ros2 = QPushButton(self.tr("Export for ROS 2"), self)
        self.ros2.setToolTip(self.tr("The same, with a package for ROS 2 (Humble, Jazzy) in the bundle's folder ros2."))
        self.ros2.clicked.connect(lambda: self._export("--ros2"))
        self.anyway = QCheckBox(self.tr("even if it succeeds too seldom"), self)
        self.anyway.setToolTip(self.tr("An export wants 80 % success in unseen cousins, unless this is ticked."))
        self.files = QPushButton(self.tr("Open folder"), self)
        self.files.setToolTip(self.tr("Show the bundle's files; README.md says how to use it without Pocketworld."))
        self.files.clicked.connect(self._open_folder)
        row = QHBoxLayout()
        for widget in (self.export, self.ros2, self.anyway):
            row.addWidget(widget)
        row.addStretch(1)
        row.addWidget(self.files)
        self.fill(self.damaged, self.facts, row)

    def show_bundle(self, contents: Contents | None, checked: Checked | None = None) -> None:
        """Say what is in it; `checked` is None as long as its files are being looked at."""
        if contents is not None and (self._contents is None or self._contents.folder != contents.folder):
            share = contents.share
            self.anyway.setChecked(share is not None and share[0] < GOOD_SHARE * share[1])
        self._contents, self._checked = contents, checked
        self._show_contents()

    def enable(self, free: bool) -> None:
        """Whether it can be exported again now."""
        made_here = policy_folder(self.desk, self._contents) is not None
        for button in (self.export, self.ros2, self.anyway):
            button.setEnabled(made_here and free)

    def _show_contents(self) -> None:
        found = self._contents
        if found is None:
            self.facts.show_facts([])
            self.damaged.say()
            return
        problem = found.problem or (self._checked.problem if self._checked is not None else "")
        self.damaged.say(
            *((problem, self.tr("Export it again, or copy it again from where it is whole.")) if problem else ())
        )
        self.facts.show_facts([] if found.problem else self._facts_of(found))

    def _facts_of(self, found: Contents) -> list[tuple[str, str]]:
        task, robot, policy, training = (found.part(name) for name in ("task", "robot", "policy", "training"))
        joints = robot.get("joints")
        facts = [
            (self.tr("Task"), f"{task.get('sentence', '')}  ({task.get('words', '')})"),
            (
                self.tr("Robot"),
                self.tr("{0}, {1} joints and a gripper").format(
                    robot.get("name", "?"), len(joints) if isinstance(joints, list) else "?"
                ),
            ),
        ]
        rate, execute = found.document.get("rate_hz"), policy.get("execute")
        if isinstance(rate, int | float) and rate > 0:
            text = counted(rate, self.tr("1 command a second"), self.tr("{0:g} commands a second"))
            if isinstance(execute, int):
                text += self.tr(", a decision every {0:g} s").format(round(execute / rate, 3))
            facts.append((self.tr("Rate"), text))
        facts.append((self.tr("Sees"), self._sees(found)))
        if isinstance(training.get("episodes"), int):
            facts.append((self.tr("Learnt from"), self._shown(training["episodes"])))
        share = found.share
        facts.append(
            (
                self.tr("Success"),
                self.tr("nobody knows: it was never evaluated")
                if share is None
                else self.tr("{0} in unseen cousins ({1})").format(
                    percent(share[0] / share[1]), told(share[1], share[0])
                ),
            )
        )
        facts.append((self.tr("Trust"), self._trust_of(found)))
        facts.append((self.tr("Files"), self._whole()))
        facts.append((self.tr("Folder"), str(found.folder)))
        return facts

    def _shown(self, episodes: int) -> str:
        return counted(episodes, self.tr("1 demonstration"), self.tr("{0} demonstrations"))

    def _sees(self, found: Contents) -> str:
        seen = []
        for name, entry in found.part("cameras").items():
            size = entry.get("size") if isinstance(entry, dict) else None
            where = {"front": self.tr("before the arm"), "wrist": self.tr("on the hand")}.get(name, name)
            seen.append(where + (f" ({size[0]} × {size[1]})" if isinstance(size, list) and len(size) == 2 else ""))
        if not seen:
            return self.tr("nothing: it is told where the things are, which only a simulation knows")
        sort = self.tr("Cameras, with depth: {0}") if found.document.get("points") else self.tr("Cameras: {0}")
        return sort.format(", ".join(seen))

    def _trust_of(self, found: Contents) -> str:
        trust = found.part("trust")
        limit, false = trust.get("limit_m"), trust.get("false_stops")
        if not isinstance(limit, int | float):
            return self.tr("it only acts: nothing is foretold that could be compared")
        text = self.tr("stops itself if for a while it falls {0:.1f} cm short of what it foretold").format(100 * limit)
        if isinstance(false, int | float):
            text += self.tr("; so would {0:.0f} % of its successes").format(100 * false)
        return text

    def _whole(self) -> str:
        if self._checked is None:
            return self.tr("comparing them with their hashes …")
        if self._checked.problem:
            return self.tr("damaged")
        return counted(self._checked.files, self.tr("1, as it was exported"), self.tr("{0}, all as they were exported"))

    def _export(self, *more: str) -> None:
        if self._contents is None:
            return
        words = ["export", str(self.folder()), *self._contents.policy_words]
        words += ["--out", str(self._contents.folder), *more]
        if self.anyway.isChecked():
            words.append("--anyway")
        title = self.tr("Export: {0}").format(self._contents.folder.name)
        self.started.emit(Task(title, tuple(words), STEP, self.folder()))

    def _open_folder(self) -> None:
        if self._contents is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(self._contents.folder)))
