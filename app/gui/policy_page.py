"""The page of the policy: choose a task by its objects, train and export with one button, see what it is worth."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PySide6.QtCore import QDateTime, QLocale, Qt, QTimer, QUrl
from PySide6.QtGui import QDesktopServices, QHideEvent, QShowEvent
from PySide6.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QFrame,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QSpinBox,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from app.gui.curves import Bars, ShareBar, groups_of, wilson
from app.gui.desk import Desk
from app.gui.film_player import FilmPlayer
from app.gui.job import NOT_GOOD, Job, Task
from app.gui.kept_trainings import OTHER_SETTINGS, KeptTrainings, Typed, demonstrated, in_the_way, with_vary
from app.gui.known_policies import Known, known
from app.gui.learning import Curves, Learning, Plan
from app.gui.page import Notice, StepPage, card, label
from app.gui.policy_failures import reworded, setting_labels
from app.gui.settings_form import NoWheel, SettingsForm
from app.gui.task_chooser import TaskChooser
from app.gui.thing_pictures import ThingPictures
from app.gui.varying import Varying
from app.gui.walk import LEAST, bundles, policies, scene_hash
from app.policy_folder import films_of
from app.project import Project, read_json
from app.report import REPORT
from app.skill_stage import SkillSettings
from policies.files import METRICS
from reconstruction.errors import PocketworldError
from simulation.variations import strengths_of

VARY = ("pose", "appearance", "light", "camera", "physics")
"""What varies unless it is said otherwise, as in `make demo`."""
ROBOTS = "panda", "xarm6", "so101"
"""Arms that Pocketworld brings, or knows where to find."""
STANDARD = 1
"""Number of the effort that is recommended."""
MEASURED = "put stick_2 in container_2", 83, 100
"""What the recommended effort was measured with: the sample's task, successes, unseen cousins."""
DREAM = "dream.mp4"
POLL_MS = 1000


GO_ON = "crashed", "disk_full", "no_permission", "no_start", "terminated"
"""Codes of failures after which the same command may well succeed: the training is not refused, only interrupted."""


class PolicyPage(StepPage):
    """From a task's words to a bundle, and what the policies of the project are worth."""

    step = "policy"

    def __init__(self, desk: Desk) -> None:
        super().__init__(
            desk,
            self.tr("Policy"),
            self.tr("The robot practises a task in cousins of your scene until it can do it, and proves it."),
        )
        self._known: list[Known] = []
        self._learning: Learning | None = None  # of the job that runs
        self._began = 0.0
        self._followed: Job | None = None
        self._filling = False
        self._kept = KeptTrainings(desk.preferences)
        self.panel.reword = reworded
        self._build_side()
        pictures = self.pictures = ThingPictures()
        pictures.came.connect(self.chooser.set_picture)
        self.destroyed.connect(lambda: pictures.stop())
        self._new, self._folder = self._typed(), self._open_folder()
        desk.project_changed.connect(self._project_changed)
        desk.jobs.ended.connect(self._training_ended)
        self._build_result()
        if self._folder is not None:
            self._show_typed()
        self.chooser.sentence.textChanged.connect(self._show_parts)
        self._timer = QTimer(self)
        self._timer.setInterval(POLL_MS)
        self._timer.timeout.connect(self._poll)
        self.refresh()

    # --- the left ----------------------------------------------------------------------------------------------------

    def _build_side(self) -> None:
        self.chooser = TaskChooser(self)
        self.side.addWidget(self.chooser)
        self.presets: tuple[tuple[str, Mapping[str, int] | None, str], ...] = (
            (
                self.tr("Quick (does it work at all?)"),
                {"demonstrations": 25, "blunders": 10, "glances": 60, "eye_steps": 800, "steps": 300, "cousins": 20},
                self.tr("To see whether it works at all, from the task to a bundle. Usually too little to succeed."),
            ),
            (
                self.tr("Standard (recommended)"),
                {
                    "demonstrations": 85,
                    "blunders": 60,
                    "glances": 300,
                    "eye_steps": 4400,
                    "steps": 1300,
                    "cousins": 100,
                },
                self.tr(
                    "About 20 minutes on two cores. Measured only with the sample's “{0}”: it succeeded in {1} of {2} "
                    "unseen cousins. If it stays below {3} %, you are asked before it is exported."
                ).format(*MEASURED, round(100 * LEAST)),
            ),
            (
                self.tr("Thorough"),
                {
                    "demonstrations": 300,
                    "blunders": 100,
                    "glances": 400,
                    "eye_steps": 6000,
                    "steps": 2000,
                    "cousins": 100,
                },
                self.tr("Three and a half times the demonstrations of Standard. Takes longer; not measured yet."),
            ),
            (self.tr("Own numbers"), None, self.tr("The numbers below, as you have set them.")),
        )
        self.preset = QComboBox(self)
        self.preset.addItems([name for name, _, _ in self.presets])
        self.preset.setToolTip(self.tr("How much it practises: sets the numbers below."))
        self.preset.installEventFilter(NoWheel(self.preset))
        self.preset.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.honest = label("", "faint", self)
        self.chooser.add_row(self.tr("Effort"), self.preset)
        self.side.addWidget(self.honest)
        self.big = self.add_run(self.tr("Train && export"), "big")
        self.big.setAccessibleName(self.tr("Train and export"))
        self.big.setToolTip(
            self.tr(
                "Demonstrate, train, evaluate and export, one after another (Ctrl+Return). It goes on where it was."
            )
        )
        self.varying = Varying(VARY, self)
        self.varying.wanted_from_cousins.connect(self._vary_as_cousins)
        self.form = SettingsForm(
            SkillSettings,
            ("robot", "observe", "demonstrations", "steps", "cousins"),
            ("task",),
            self,
            choices={"robot": ROBOTS},
            labels=setting_labels(),
            outside={"vary": self.varying.control},
        )
        self._tell_of_robot()
        self.form.set_values({"vary": VARY})
        self.form.fold()  # what is preset is not to be looked at by everybody
        self.form.changed.connect(self._numbers_changed)
        self.preset.currentIndexChanged.connect(self._preset_chosen)
        self.side.addWidget(self.form)
        self.side.addWidget(self.varying)
        self.told = Notice("warnings", self)
        self.side.addWidget(self.told)
        self.show_it = QPushButton(self.tr("Show it yourself…"), self)
        self.show_it.setToolTip(
            self.tr("Drive the arm by keyboard, in a window of its own, and record demonstrations of the task.")
        )
        self.show_it.clicked.connect(self._show_it)
        self.side.addWidget(self.show_it)
        self.preset.setCurrentIndex(STANDARD)

    def _tell_of_robot(self) -> None:
        """Say which arms there are, and how one's own comes in."""
        tip = self.tr(
            "Which arm is to do it. Your own: the path of a TOML file that names its URDF and describes its gripper "
            "(docs/robots.md)."
        )
        widget = self.form.control("robot").widget
        for part in (widget, *(said for said in self.form.findChildren(QLabel) if said.buddy() == widget)):
            part.setToolTip(f"<p>{tip}</p>")
            part.setWhatsThis(tip)
        widget.setAccessibleDescription(tip)

    def _preset_chosen(self) -> None:
        _, numbers, honest = self.presets[self.preset.currentIndex()]
        self.honest.setText(honest)
        if numbers is not None:
            self._filling = True
            self.form.set_values(dict(numbers))
            self._filling = False

    def _numbers_changed(self) -> None:
        self.told.say(
            self.tr("Only a simulation knows where things are: such a policy cannot drive a real arm.")
            if self.form.control("observe").read() == "state"
            else ""
        )
        if self._filling:
            return
        for index, (_, numbers, _) in enumerate(self.presets):
            if numbers is None or all(self.form.control(name).read() == value for name, value in numbers.items()):
                self.preset.setCurrentIndex(index)
                return

    def _vary_as_cousins(self) -> None:
        """Take over what the cousins page shows, or would show: what the project's cousins were made with."""
        project = self.desk.project
        if project is None:
            return
        strengths = self.desk.varied
        if strengths is None:
            made = (read_json(project.stage_folder("cousins") / "stage.json") or {}).get("settings")
            words = made.get("vary") if isinstance(made, dict) else None
            try:
                strengths = strengths_of(map(str, words or ()))
            except (PocketworldError, TypeError):
                strengths = strengths_of(())  # a damaged record: the cousins page shows what is usual there
        self.varying.strengths.set_values(strengths)

    def _open_folder(self) -> Path | None:
        return None if self.desk.project is None else self.desk.project.folder

    def _typed(self) -> Typed:
        names = [field.name for field in dataclasses.fields(SkillSettings) if field.name != "task"]
        values = {name: self.form.control(name).read() for name in names}
        return Typed(self.chooser.chosen(), values, self.preset.currentIndex())

    def _project_changed(self) -> None:
        """What is typed stays with its project."""
        folder = self._open_folder()
        if folder == self._folder:
            return
        self._keep_typed()
        self._folder = folder
        self.pictures.forget()
        self._show_typed()

    def _keep_typed(self) -> None:
        """What is typed outlives the window: who closed it while it trained would not know it any more."""
        if self._folder is not None:
            self._kept.keep_typed(self._folder, self._typed())

    def _show_typed(self) -> None:
        """What was typed for the open project, or what is there was made with, or what is usual."""
        typed, project = None, self.desk.project
        if self._folder is not None and project is not None:
            typed = self._kept.typed(self._folder) or demonstrated(project, self.chooser.verbs, STANDARD)
        typed = typed or self._new
        efforts = range(len(self.presets))
        effort = typed.effort if typed.effort in efforts else efforts[-1]
        numbers = self.presets[effort][1] or {}  # as they are today: who chose an effort chose no numbers
        self.chooser.choose(typed.task)
        self._filling = True
        for name, value in ({**self._new.values, **typed.values, **numbers}).items():
            try:
                self.form.set_values({name: value})
            except (PocketworldError, TypeError, ValueError, OverflowError):
                self.form.set_values({name: self._new.values[name]})  # a damaged record
        self.preset.blockSignals(True)
        self.preset.setCurrentIndex(effort)
        self.preset.blockSignals(False)
        self.honest.setText(self.presets[effort][2])
        self._filling = False

    def pick(self, name: str) -> None:
        """An object was selected elsewhere: it is what the robot moves."""
        self.chooser.pick(name)

    def task(self) -> Task:
        """The whole way from the task's words to a bundle."""
        folder, words = self.project_folder(), self.chooser.words()
        if not self._has_scene():
            raise ValueError(self.tr("There is no scene yet."))
        if not self.form.control("robot").read():
            raise ValueError(self.tr("No robot is chosen."))
        command = ("train-and-export", str(folder), "--task", words, *self.form.words())
        return Task(self.tr("Train: {0}").format(words), command, self.step, folder)

    def _has_scene(self) -> bool:
        project = self.desk.project
        return project is not None and bool(project.record("scene"))

    # --- the right ---------------------------------------------------------------------------------------------------

    def _build_result(self) -> None:
        inside = QWidget(self)
        self.column = QVBoxLayout(inside)
        self.column.setContentsMargins(0, 0, 0, 0)
        self.column.setSpacing(12)
        scroll = QScrollArea(self)
        scroll.setWidget(inside)
        scroll.setWidgetResizable(True)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.result.addWidget(scroll)
        for made in (
            self._make_empty(),
            self._make_interrupted(),
            self._make_otherwise(),
            self._make_refused(),
            self._make_live(),
            self._make_list(),
            self._make_detail(),
            self._make_breaks(),
        ):
            self.column.addWidget(made)
        self.column.addStretch(1)

    def _make_empty(self) -> QFrame:
        self.empty_text = label("", "faint", self)
        self.go = QPushButton(self.tr("Go to the scan"), self)
        self.go.setObjectName("primary")
        self.go.setToolTip(self.tr("The page on which a scan becomes a scene."))
        self.go.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Fixed)
        self.go.clicked.connect(lambda: self.desk.step_wanted.emit("scan"))
        self.empty = card(label(self.tr("First, a scene"), "heading", self), self.empty_text, self.go, parent=self)
        return self.empty

    def _make_interrupted(self) -> QFrame:
        self.interrupted_text = label("", "", self)
        self.go_on = QPushButton(self.tr("Go on"), self)
        self.go_on.setObjectName("primary")
        self.go_on.setAccessibleName(self.tr("Go on with the training"))
        self.go_on.setToolTip(self.tr("Train & export with the settings it was begun with, from where it was."))
        self.go_on.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Fixed)
        self.go_on.clicked.connect(self._go_on)
        heading = label(self.tr("Training was interrupted"), "heading", self)
        self.interrupted = card(heading, self.interrupted_text, self.go_on, parent=self)
        return self.interrupted

    def _make_otherwise(self) -> QFrame:
        self.otherwise_text = label("", "", self)
        self.as_there = QPushButton(self.tr("Go on with those settings"), self)
        self.as_there.setToolTip(self.tr("Set “What varies” and “Observe” as they were, and train from there."))
        self.as_there.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Fixed)
        self.as_there.clicked.connect(self._go_on_as_there)
        heading = label(self.tr("It was begun with other settings"), "heading", self)
        self.otherwise = card(heading, self.otherwise_text, self.as_there, parent=self)
        return self.otherwise

    def _make_refused(self) -> QFrame:
        self.refused_text = label("", "", self)
        self.anyway = QPushButton(self.tr("Export it anyway"), self)
        self.anyway.setToolTip(
            self.tr("Make it a bundle although it succeeds too seldom. What is finished is not done again.")
        )
        self.anyway.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Fixed)
        self.anyway.clicked.connect(self._export_anyway)
        heading = label(self.tr("Trained, but too weak to export"), "heading", self)
        self.refused = card(heading, self.refused_text, self.anyway, parent=self)
        self.refused.setObjectName("stale")
        return self.refused

    def _make_live(self) -> QFrame:
        self.live_heading = label("", "heading", self)
        self.plan = Plan(self)
        self.live_success = ShareBar(self)
        self.live_said = label("", "faint", self)
        self.live_curves = Curves(self)
        self.live = card(self.live_heading, self.plan, self.live_curves, self.live_success, self.live_said, parent=self)
        return self.live

    def _make_list(self) -> QFrame:
        self.table = QTableWidget(0, 5, self)
        self.table.setHorizontalHeaderLabels(
            [self.tr("Task"), self.tr("Sees"), self.tr("Shown"), self.tr("Success"), self.tr("Trained")]
        )
        self.table.setAccessibleName(self.tr("Policies of this project"))
        self.table.setToolTip(self.tr("The policies of this project; the selected one is shown below."))
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setTabKeyNavigation(False)
        self.table.verticalHeader().hide()
        self.table.setShowGrid(False)
        header = self.table.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        header.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        header.setHighlightSections(False)
        self.table.itemSelectionChanged.connect(self._show_selected)
        self.report = QPushButton(self.tr("Open report"), self)
        self.report.setToolTip(self.tr("Everything about this project on one page, report.html, in the browser."))
        self.report.clicked.connect(self._open_report)
        head = QHBoxLayout()
        head.addWidget(label(self.tr("Policies"), "heading", self), 1)
        head.addWidget(self.report)
        self.list = card(parent=self)
        layout = self.list.layout()
        assert isinstance(layout, QVBoxLayout)
        layout.addLayout(head)
        layout.addWidget(self.table)
        return self.list

    def _make_detail(self) -> QFrame:
        self.detail_title = label("", "heading", self)
        self.detail_stale = label("", "faint", self)
        self.detail_weak = Notice("stale", self)
        self.figure, self.figure_said = label("", "figure", self, wrap=False), label("", "faint", self)
        self.interval = ShareBar(self)
        self.facts, self.failures = label("", "", self), label("", "", self)
        self.player = FilmPlayer(self)
        left = QVBoxLayout()
        for widget in (self.figure, self.interval, self.figure_said, self.failures, self.facts):
            left.addWidget(widget)
        left.addStretch(1)
        right = QVBoxLayout()
        right.addWidget(self.player)
        right.addStretch(1)
        both = QHBoxLayout()
        both.setSpacing(18)
        both.addLayout(left, 4)
        both.addLayout(right, 5)
        self.export = QPushButton(self.tr("Export"), self)
        self.export.clicked.connect(self._export)
        head = QHBoxLayout()
        head.addWidget(self.detail_title, 1)
        head.addWidget(self.export, 0, Qt.AlignmentFlag.AlignTop)
        self.detail = card(parent=self)
        layout = self.detail.layout()
        assert isinstance(layout, QVBoxLayout)
        layout.addLayout(head)
        layout.addWidget(self.detail_stale)
        layout.addWidget(self.detail_weak)
        layout.addLayout(both)
        layout.addLayout(self._make_buttons())
        return self.detail

    def _make_buttons(self) -> QHBoxLayout:
        self.count = QSpinBox(self)
        self.count.setRange(1, 100_000)
        self.count.setValue(200)
        self._say_count()
        self.count.valueChanged.connect(self._say_count)
        self.count.setAccessibleName(self.tr("Cousins to evaluate on"))
        self.count.setToolTip(self.tr("In so many unseen cousins it is tried, those of before included."))
        self.again = QPushButton(self.tr("Evaluate again"), self)
        self.again.setToolTip(self.tr("Try it in more unseen cousins: the figure becomes surer, with new films."))
        self.again.clicked.connect(self._evaluate)
        self.episode = QSpinBox(self)
        self.episode.setRange(0, 1_000_000)
        self.episode.setPrefix(self.tr("episode "))
        self.episode.setAccessibleName(self.tr("Episode to dream"))
        self.episode.setToolTip(self.tr("Which demonstration it is shown."))
        self.dream = QPushButton(self.tr("Film its dream"), self)
        self.dream.setToolTip(
            self.tr("What it foretells in a demonstration (rings), beside what then came (dots), as a film.")
        )
        self.dream.clicked.connect(self._dream)
        row = QHBoxLayout()
        for box in (self.count, self.episode):
            box.setMinimumWidth(110)  # not for the largest number that could be typed: the smallest window has no room
        for widget in (self.again, self.count):
            row.addWidget(widget)
        row.addSpacing(10)
        for widget in (self.dream, self.episode):
            row.addWidget(widget)
        row.addStretch(1)
        return row

    def _say_count(self) -> None:
        self.count.setSuffix(self.tr(" cousin") if self.count.value() == 1 else self.tr(" cousins"))

    def _make_breaks(self) -> QFrame:
        self.bars = Bars(self.tr("Success by variation"), self)
        self.bars_heading = label(self.tr("Success by how far each variation went (least to most)"), "heading", self)
        self.curves_heading = label(self.tr("How it learnt"), "heading", self)
        self.curves = Curves(self)
        self.breaks = card(self.bars_heading, self.bars, self.curves_heading, self.curves, parent=self)
        return self.breaks

    # --- what there is -----------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Show what the project's folder says now."""
        project = self.desk.project
        scene = None if project is None else scene_hash(project)
        document = read_json(project.stage_folder("scene") / "scene.json") if project is not None else None
        objects = (document or {}).get("objects")
        self.chooser.show_objects(objects if isinstance(objects, list) else [])
        self._known = [] if project is None else [known(project, path, scene) for path in policies(project)]
        super().refresh()
        if self._known and self._known[0].stale:
            self.stale.say(self._known[0].stale)
        self._fill_table()
        self._show_parts()
        self._draw_things()

    def _draw_things(self) -> None:
        """Have pictures of the things that can be chosen, while somebody looks."""
        project = self.desk.project
        if project is not None and self.isVisible() and self._has_scene():
            self.pictures.show_scene(project.stage_folder("scene"), project.folder / ".cache" / "pictures")

    def _offer_next(self) -> None:
        """A robot needs a bundle."""
        super()._offer_next()
        if self.desk.project is None or not bundles(self.desk.project):
            self.onward.hide()

    def _fill_table(self) -> None:
        row = max(self.table.currentRow(), 0)
        before = self.table.item(row, 0)
        chosen = None if before is None else before.data(Qt.ItemDataRole.UserRole)
        self.table.blockSignals(True)
        self.table.setRowCount(len(self._known))
        for number, one in enumerate(self._known):
            for column, text in enumerate(self._row_of(one)):
                item = QTableWidgetItem(text)
                item.setToolTip(one.stale or text)
                self.table.setItem(number, column, item)
            first = self.table.item(number, 0)
            assert first is not None
            first.setData(Qt.ItemDataRole.UserRole, one.name)
        names = [one.name for one in self._known]
        self.table.setCurrentCell(names.index(chosen) if chosen in names else 0, 0)
        self.table.blockSignals(False)
        high = self.table.horizontalHeader().sizeHint().height() + 2 * self.table.frameWidth() + 2
        rows = sum(self.table.rowHeight(index) for index in range(min(len(self._known), 5)))
        self.table.setFixedHeight(high + rows)
        self._show_selected()

    def _row_of(self, one: Known) -> tuple[str, ...]:
        if one.share is None:
            success = self.tr("not evaluated")
        else:
            done, count = one.share
            low, high = one.interval
            success = self.tr("{0} %  ({1} … {2})").format(
                round(100 * done / count), round(100 * low), round(100 * high)
            ) + (" *" if one.stale else "")
        shown = "" if one.episodes is None else str(one.episodes)
        return one.task, self._sees(one.observe), shown, success, _when(one.seconds)

    def _sees(self, observe: str) -> str:
        return {
            "rgb": self.tr("cameras"),
            "pointcloud": self.tr("points"),
            "state": self.tr("is told"),
        }.get(observe, "")

    @property
    def selected(self) -> Known | None:
        """The policy that is shown."""
        row = self.table.currentRow()
        return self._known[row] if 0 <= row < len(self._known) else None

    def _show_selected(self) -> None:
        one = self.selected
        if one is None:
            self.player.show_films({})
            return
        self.detail_title.setText(one.task)
        self.detail_stale.setText(one.stale)
        self.detail_stale.setVisible(bool(one.stale))
        weak = (
            self.tr("Trained, but too weak to export: {0} % is asked for.").format(round(100 * LEAST))
            if one.share and one.share[0]
            else self.tr("Trained, but it has never succeeded.")
        )
        self.detail_weak.say(*([weak] if one.weak else []))
        self.interval.set_color("warn" if one.weak else "accent")
        if one.share is None:
            self.figure.setText("–")
            self.figure_said.setText(self.tr("Not evaluated yet: nobody knows how often it succeeds."))
            self.interval.clear()
        else:
            done, count = one.share
            low, high = one.interval
            self.figure.setText(f"{round(100 * done / count)} %")
            said = self.tr("{0} of {1} unseen cousins; the true share is {2} … {3} %, 95 % sure").format(
                done, count, round(100 * low), round(100 * high)
            )
            self.figure_said.setText(said)
            self.interval.show_share(done / count, low, high, said)
        self.figure.setAccessibleName(self.tr("Success: {0}").format(self.figure.text()))
        self._show_export(one)
        self._show_words(one)
        films = films_of(one.file)
        if (one.file.parent / DREAM).is_file():
            films[self.tr("its dream beside what came")] = one.file.parent / DREAM
        self.player.show_films(films)
        groups = groups_of((one.evaluation or {}).get("by_variation"))
        self.bars.show_groups(groups)
        for widget in (self.bars, self.bars_heading):
            widget.setVisible(bool(groups))
        learning = Learning(one.file.parent)
        learning.poll()
        self.curves.show_learning(learning)
        for part in (self.curves, self.curves_heading):
            part.setVisible(not self.curves.is_empty)
        self.breaks.setVisible(bool(groups) or not self.curves.is_empty)
        self._enable()

    def _show_export(self, one: Known) -> None:
        """Say before it is pressed that a policy is exported that an export would refuse."""
        good = one.share is not None and one.share[0] >= LEAST * one.share[1]
        self.export.setText(self.tr("Export") if good else self.tr("Export it anyway"))
        what = self.tr("Make this policy the bundle that a robot is given.")
        why = (
            self.tr("Nobody knows yet how often it succeeds.")
            if one.share is None
            else self.tr("It succeeds in less than {0} % of the cousins.").format(round(100 * LEAST))
        )
        self.export.setToolTip(what if good else f"{what} {why}")

    def _show_words(self, one: Known) -> None:
        found = one.evaluation or {}
        failures = found.get("failures")
        rows = [f"{count} × {reason}" for reason, count in (failures if isinstance(failures, dict) else {}).items()]
        self.failures.setText(self.tr("Failures: {0}").format(", ".join(rows)) if rows else "")
        self.failures.setVisible(bool(rows))
        facts = []
        if isinstance(found.get("seconds_to_finish"), int | float) and one.share and one.share[0]:
            facts.append(self.tr("A success takes {0:.1f} s.").format(found["seconds_to_finish"]))
        if isinstance(auroc := found.get("dream_auroc"), int | float):
            at = found.get("dream_at_s")
            when = self.tr("after {0:.1f} s").format(at) if isinstance(at, int | float) else ""
            facts.append(
                self.tr(
                    "Its dreams tell failures from successes {0}: AUROC {1:.2f} (½ is chance, 1 is always)."
                ).format(when, auroc)
            )
        skipped = found.get("skipped")
        if isinstance(skipped, dict) and skipped:
            count = sum(value for value in skipped.values() if isinstance(value, int))
            facts.append(
                self.tr("In 1 further cousin the task made no sense: not counted.")
                if count == 1
                else self.tr("In {0} further cousins the task made no sense: not counted.").format(count)
            )
        self.facts.setText("\n".join(facts))
        self.facts.setVisible(bool(facts))

    # --- jobs --------------------------------------------------------------------------------------------------------

    def _evaluate(self) -> None:
        if (one := self.selected) is not None:
            words = ("evaluate", str(self.project_folder()), *one.words, "--count", str(self.count.value()))
            self.start(Task(self.tr("Evaluate: {0}").format(one.task), words, self.step, self.project_folder()))

    def _dream(self) -> None:
        if (one := self.selected) is not None:
            video = str(one.file.parent / DREAM)
            words = ("dream", str(self.project_folder()), *one.words, "--episode", str(self.episode.value()))
            task = Task(
                self.tr("Dream: {0}").format(one.task), (*words, "--video", video), self.step, self.project_folder()
            )
            self.start(task)

    def _export(self) -> None:
        if (one := self.selected) is not None:
            good = one.share is not None and one.share[0] >= LEAST * one.share[1]
            words = ("export", str(self.project_folder()), *one.words, *(() if good else ("--anyway",)))
            self.start(Task(self.tr("Export: {0}").format(one.task), words, self.step, self.project_folder()))

    def _export_anyway(self) -> None:
        job = self.panel.job
        if job is not None:
            self.start(Task(job.task.title, (*job.task.words, "--anyway"), self.step, job.task.project))

    def start(self, task: Task) -> Job:
        """Line up a job; of a training it is kept what it was told, until it comes to an end."""
        if task.words[0] == "train-and-export" and task.project is not None:
            self._keep_typed()
            self._kept.keep_begun(task.project, task.words[2:])
        return super().start(task)

    def _training_ended(self, job: Job) -> None:
        """Of whichever project: it may be another one that is open now."""
        if job.task.words[0] != "train-and-export" or job.task.project is None:
            return
        failure = job.state.failure if job.state.kind == "failed" else None
        if job.state.kind == "done" or (failure is not None and failure.code not in GO_ON):
            self._kept.keep_begun(job.task.project, ())
        self._show_parts()

    def _go_on(self) -> None:
        folder = self.project_folder()
        if words := self._kept.begun(folder):
            command = ("train-and-export", str(folder), *words)
            self.start(Task(self.tr("Train: {0}").format(words[1]), command, self.step, folder))

    def _go_on_as_there(self) -> None:
        there = self._there()
        self.form.set_values(there)
        try:
            task = self.task()
        except ValueError as error:
            self.desk.problem.emit(str(error), self.tr("Correct it and try again."))
            return
        self.start(dataclasses.replace(task, words=with_vary(task.words, there.get("vary", ()))))

    def _there(self) -> dict[str, Any]:
        """The settings of the demonstrations that the last training did not fit; {} where it failed of nothing such."""
        job, project = self.panel.job, self.desk.project
        failure = job.state.failure if job is not None and job.state.kind == "failed" else None
        if project is None or failure is None or failure.code != OTHER_SETTINGS:
            return {}
        return in_the_way(failure.message, project)

    def _show_unfinished(self, ready: bool, busy: bool, away: bool) -> None:
        """Offer to go on, where something is there to go on with."""
        begun = self._kept.begun(self._folder) if ready and not busy and self._folder is not None else ()
        if begun:
            said = self.tr("“{0}” was begun and has not come to an end. What is finished is kept.")
            self.interrupted_text.setText(said.format(begun[1]))
        self.interrupted.setVisible(bool(begun))
        there = self._there() if ready and not busy and not away else {}
        if there:
            varies = " ".join(there.get("vary", ())) or self.tr("nothing")
            said = self.tr("Its demonstrations that are there were made so that this varies: {0}.").format(varies)
            if there.get("observe", "") != self.form.control("observe").read():
                said += " " + self.tr("“Observe” was: {0}.").format(there.get("observe", ""))
            self.otherwise_text.setText(said)
        self.otherwise.setVisible(bool(there))

    def _open_report(self) -> None:
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(self.project_folder() / REPORT)))

    def follow(self, job: Job | None) -> None:
        """The page's job is further."""
        if job is not self._followed:
            self._followed, self._learning, self._began = job, None, time.time()
            self.plan.mark(-1)
            self.live_success.clear()
            self.live_said.setText("")
            self.live_curves.show_learning(None)
            if job is not None:
                job.ended.connect(self._ended)
        if job is not None and job.state.kind == "running":
            self.plan.follow(job.state.message)
        elif job is not None and job.state.kind in ("cancelled", "failed"):
            self.plan.hold()
        self._show_parts()

    def _ended(self) -> None:
        job = self._followed
        if job is not None and job.state.kind == "done" and job.task.words[0] == "dream":
            self._show_selected()
            self.player.select(self.tr("its dream beside what came"))

    def _show_parts(self) -> None:
        """Show and hide the cards as the project and the job are."""
        job = self.panel.job
        ready, busy = self._has_scene(), job is not None and not job.is_over
        training = busy and job is not None and job.task.words[0] == "train-and-export"
        self.empty.setVisible(not ready)
        self.empty_text.setText(
            self.tr("No project is open. Open one, or begin with a scan.")
            if self.desk.project is None
            else self.tr("A policy practises in cousins of a scene. Reconstruct the scan first, then come back.")
        )
        away = self._put_away()
        failure = job.state.failure if job is not None and job.state.kind == "failed" and not away else None
        refused = failure is not None and failure.code == NOT_GOOD
        self.refused.setVisible(refused and ready)
        if failure is not None and refused:
            self.refused_text.setText(
                self.tr("{0} It is kept, and listed below: export it all the same to try the rest of the way.").format(
                    failure.message
                )
            )
        self._show_unfinished(ready, busy, away)
        stopped = job is not None and job.task.words[0] == "train-and-export" and job.state.kind == "cancelled"
        self.live.setVisible(ready and (training or stopped or not self._known))
        self.live_heading.setText(
            self.tr("At work")
            if training
            else self.tr("Stopped: run it again to go on")
            if stopped
            else self.tr("Four parts, one button")
        )
        self.live_curves.setVisible(training and not self.live_curves.is_empty)
        for widget in (self.live_success, self.live_said):
            widget.setVisible(training and self.live_success.share is not None)
        for part in (self.list, self.detail):
            part.setVisible(ready and bool(self._known))
        if not (ready and self._known):
            self.breaks.hide()
        self.chooser.setEnabled(ready)
        self.big.setEnabled(ready and not busy)
        self._enable()
        self._watch()

    def _put_away(self) -> bool:
        """Show what the last job failed of only with the task that it failed at; say whether it is put away."""
        job = self.panel.job
        asked = () if job is None or job.state.kind != "failed" else job.task.words
        of_chooser = asked[:1] in (("train-and-export",), ("teleoperate",))
        other = of_chooser and asked[asked.index("--task") + 1] != " ".join(self.chooser.sentence.text().split())
        for notice in (self.panel.failed, self.panel.weak, self.panel.warnings):
            notice.setVisible(not other and bool(notice.accessibleName()))  # which is what it says
        return other

    def _show_it(self) -> None:
        """A person shows the task: needs no turn among the jobs, for a person waits for it."""
        try:
            folder, task = self.project_folder(), self.chooser.words()
        except ValueError as error:
            self.desk.problem.emit(str(error), self.tr("Choose one of the scene's things."))
            return
        words = ("teleoperate", str(folder), "--task", task)
        self.panel.show_job(
            self.desk.run(Task(self.tr("Show: {0}").format(task), words, self.step, folder), at_once=True)
        )

    def _enable(self) -> None:
        job, one = self.panel.job, self.selected
        free = one is not None and (job is None or job.is_over)
        for button in (self.again, self.dream, self.export):
            button.setEnabled(free)
        project = self.desk.project
        self.report.setEnabled(project is not None and (project.folder / REPORT).is_file())

    # --- live --------------------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        """Read what a training writes only while it runs and is looked at."""
        job = self.panel.job
        wanted = self.isVisible() and job is not None and job.state.kind == "running"
        wanted = wanted and job is not None and job.task.words[0] == "train-and-export"
        if wanted and not self._timer.isActive():
            self._timer.start()
        elif not wanted:
            self._timer.stop()

    @property
    def is_watching(self) -> bool:
        """Whether it reads what a training writes."""
        return self._timer.isActive()

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802 - Qt's name
        """Somebody looks."""
        super().showEvent(event)
        self._watch()
        self._draw_things()

    def hideEvent(self, event: QHideEvent) -> None:  # noqa: N802 - Qt's name
        """Nobody looks: hold what works for nobody."""
        self._timer.stop()
        self.pictures.stop()
        self._keep_typed()
        super().hideEvent(event)

    def _poll(self) -> None:
        project = self.desk.project
        if project is None:
            return
        folder = self._written(project)
        if folder is None:
            return
        if self._learning is None or self._learning.folder != folder:
            self._learning = Learning(folder)
        if not self._learning.poll():
            return
        self.live_curves.show_learning(self._learning)
        done, count = self._learning.tried()
        if count and self.plan.current >= 2:
            low, high = wilson(done, count)
            said = self.tr("{0} of {1} unseen cousins so far; the true share is {2} … {3} %, 95 % sure").format(
                done, count, round(100 * low), round(100 * high)
            )
            self.live_success.show_share(done / count, low, high, said)
            self.live_said.setText(said)
        self._show_parts()

    def _written(self, project: Project) -> Path | None:
        """The policy's folder in which something was written since the job began: its name is the command's affair."""
        newest, found = self._began - 2.0, None
        patterns = (f"*/*/{METRICS}", "*/evaluation_tries.jsonl")
        for path in (path for pattern in patterns for path in (project.folder / "policy").glob(pattern)):
            try:
                written = path.stat().st_mtime
            except OSError:
                continue
            if written >= newest:
                newest, found = written, path
        if found is None:
            return None
        return found.parent if found.name != METRICS else found.parent.parent


def _when(seconds: float) -> str:
    return QLocale().toString(QDateTime.fromSecsSinceEpoch(int(seconds)), QLocale.FormatType.ShortFormat)
