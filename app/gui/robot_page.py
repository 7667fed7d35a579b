"""The page of the robot: what a bundle holds, how it would do in reality, where the cameras are, and a run of it."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PySide6.QtCore import QEvent, QObject, QSignalBlocker, Qt
from PySide6.QtGui import (
    QHideEvent,
    QKeyEvent,
    QShowEvent,
)
from PySide6.QtWidgets import (
    QApplication,
    QComboBox,
    QFileDialog,
    QFormLayout,
    QFrame,
    QHBoxLayout,
    QLabel,
    QPlainTextEdit,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from app.console import program, quoted
from app.gui.arm_places import TYPES, calibrated, serial_ports
from app.gui.background import Worker
from app.gui.bundle_contents import Checked, Contents, ContentsPanel, check, counted, percent
from app.gui.camera_panel import CameraPanel
from app.gui.curves import ShareBar
from app.gui.desk import Desk
from app.gui.job import Job, Task
from app.gui.page import Notice, StepPage, card, clock, label
from app.gui.reality_panel import RealityPanel, RunPanel
from app.gui.settings_form import NoWheel, SettingsForm
from app.gui.walk import SELDOM, bundles
from app.project import read_json
from app.real_arm import ArmSettings
from app.run_stage import SIMULATED, RunSettings
from policies.deploy.bundle import FORMAT, MANIFEST

REAL = "lerobot"
FAMILIES = {"so100": "so101", "so101": "so101", "so_follower": "so101", "koch": "so101"}
"""How LeRobot's types of arms begin, and which robot of ours they are."""
SLOW = 0.1
"""Share of full speed that a real arm begins with."""
LIVE_PX = 140
DOUBTED = 0.5
"""Trust below which a run is stopped (`app.reality_stage.DOUBTED`, whose import needs SciPy)."""


class RobotPage(StepPage):
    """A bundle: what is in it, how it would do in reality, and a robot that it drives."""

    step = "robot"

    def __init__(self, desk: Desk) -> None:
        super().__init__(
            desk, self.tr("Robot"), self.tr("A bundle drives an arm: in simulation first, then the real one.")
        )
        self._opened: list[Path] = []  # by hand, from outside of the project
        self._contents: Contents | None = None
        self._checked: Checked | None = None
        self._worker: Worker | None = None
        self._run_job: Job | None = None
        self._guarded = False
        self._missing = "policy"  # the step that comes before this one
        self._speeds = {False: 1.0, True: SLOW}  # whether a real arm is chosen: its speed
        self._slow = False
        self.onward.setAccessibleName(self.tr("Next step"))  # never shown: this is the last one
        self._build_side()
        self._build_result()
        self.bundles.currentIndexChanged.connect(self._bundle_chosen)
        self.robot.currentIndexChanged.connect(self._robot_chosen)
        self.form.changed.connect(self._say_command)
        self.kind.textChanged.connect(self._say_command)
        self.arm_form.changed.connect(self._say_command)
        self._robot_chosen()
        self.refresh()

    # --- the left ----------------------------------------------------------------------------------------------------

    def _build_side(self) -> None:
        self.bundles = QComboBox(self)
        self.bundles.setAccessibleName(self.tr("Bundle"))
        self.bundles.setToolTip(self.tr("Which bundle drives the robot: those of the project, and opened ones."))
        self.bundles.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.open = QPushButton(self.tr("Open a bundle…"), self)
        self.open.setToolTip(self.tr("Choose the folder of a bundle from elsewhere."))
        self.open.clicked.connect(self._choose_bundle)
        self.side.addWidget(self.bundles)
        self.side.addWidget(self.open)
        self.robots = (
            ("sim", self.tr("An arm in simulation"), self.tr("In an unseen cousin of the scene.")),
            (
                "stand-in",
                self.tr("A stand-in for reality"),
                self.tr("Another engine; masses, frictions, delays and cameras are not quite as believed."),
            ),
            ("dry-run", self.tr("Dry run, no arm"), self.tr("As if it saw what a demonstration shows; nothing moves.")),
            (REAL, self.tr("A real arm (LeRobot)"), self.tr("Whatever LeRobot drives, such as an SO-101.")),
        )
        self.robot = QComboBox(self)
        self.robot.addItems([name for _, name, _ in self.robots])
        self.robot.setToolTip(self.tr("What is driven."))
        self.robot.setAccessibleName(self.tr("Robot"))
        self.robot_said = label("", "faint", self)
        said = QLabel(self.tr("Robot"), self)
        said.setBuddy(self.robot)
        row = QHBoxLayout()
        row.addWidget(said)
        row.addWidget(self.robot, 1)
        self.side.addLayout(row)
        self.side.addWidget(self.robot_said)
        self.form = SettingsForm(RunSettings, ("seconds", "speed", "cousin"), ("robot", "ask"), self)
        self.side.addWidget(self._make_arm())
        self.doubts = Notice("warnings", self)
        self.side.addWidget(self.doubts)
        self.side.addWidget(self.form)
        self.go = self.add_run(self.tr("Run"))
        self.go.setToolTip(self.tr("Let the bundle drive the robot (Ctrl+Return). Space and Esc stop it."))

    def _make_arm(self) -> QWidget:
        self.arm = QWidget(self)
        kinds = QComboBox(self.arm)
        kinds.setEditable(True)
        kinds.addItems(list(TYPES))
        kinds.installEventFilter(NoWheel(kinds))
        field = kinds.lineEdit()
        assert field is not None
        self.kind = field
        tip = self.tr("LeRobot's name of the arm's type.")
        said = QLabel(self.tr("Type"), self.arm)
        said.setBuddy(kinds)
        said.setToolTip(tip)
        for widget in (kinds, self.kind):
            widget.setToolTip(tip)
            widget.setAccessibleName(self.tr("Type of the arm"))
        self.arm_form = SettingsForm(ArmSettings, ("port", "id"), ("yes",), self.arm, choices={"port": (), "id": ()})
        self.kind.editingFinished.connect(self._offer)
        kinds.activated.connect(self._offer)
        layout = QFormLayout(self.arm)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        layout.addRow(said, kinds)
        layout.addRow(self.arm_form)
        return self.arm

    def _offer(self) -> None:
        """Offer the ports that are there now, and the arms of the type that are calibrated."""
        for name, found in (("port", serial_ports()), ("id", calibrated(self.kind.text().strip()))):
            box = self.arm_form.control(name).widget
            assert isinstance(box, QComboBox)
            text = box.currentText()
            with QSignalBlocker(box):
                box.clear()
                box.addItems(list(found))
                box.setCurrentText(text)

    @property
    def chosen_robot(self) -> str:
        """``--robot``'s word."""
        name = self.robots[self.robot.currentIndex()][0]
        return f"{REAL}:{self.kind.text().strip()}" if name == REAL else name

    @property
    def is_real(self) -> bool:
        """Whether a real arm is chosen."""
        return self.robots[self.robot.currentIndex()][0] == REAL

    def _robot_chosen(self) -> None:
        self.robot_said.setText(self.robots[self.robot.currentIndex()][2])
        self.arm.setVisible(self.is_real)
        if self.is_real:
            self._offer()
        self.form.set_shown("cousin", self.chosen_robot in SIMULATED)
        if self.is_real != self._slow:  # each has its own speed
            speed = self.form.control("speed")
            self._speeds[self._slow] = speed.read()
            self._slow = self.is_real
            speed.write(self._speeds[self._slow])
        self._show_parts()

    def _say_doubts(self) -> None:
        """What speaks against letting the bundle drive a real arm."""
        found = self._contents
        if found is None or found.problem or not self.is_real:
            self.doubts.say()
            return
        said, share = [], found.share
        robot, kind = str(found.part("robot").get("name") or ""), self.kind.text().strip()
        ours = next((name for start, name in FAMILIES.items() if kind.startswith(start)), "")
        if robot and ours and robot != ours:
            said.append(
                self.tr("This bundle is for the arm {0}, and {1} is another one ({2}): it does not fit.").format(
                    robot, kind, ours
                )
            )
        if not found.cameras:
            said.append(
                self.tr(
                    "This bundle is told where the things are, which only a simulation knows: it cannot drive a real "
                    "arm."
                )
            )
        if share is not None and share[0] < SELDOM * share[1]:
            said.append(
                self.tr("It succeeded in {0} of unseen cousins only: expect less of a real arm.").format(
                    percent(share[0] / share[1])
                )
            )
        self.doubts.say(*said)

    def run_words(self) -> tuple[str, ...]:
        """The words that let the bundle drive the robot.

        Raises:
            ValueError: something is missing.
        """
        if self._contents is None:
            raise ValueError(self.tr("No bundle is chosen."))
        words = ["run", str(self._contents.folder), "--robot", self.chosen_robot]
        if self.is_real:
            if not self.kind.text().strip():
                raise ValueError(self.tr("The type of the arm is missing."))
            words += self.arm_form.words()
        elif self.desk.project is not None:
            words += ["--project", str(self.desk.project.folder)]
        elif self.chosen_robot != "dry-run":
            raise ValueError(self.tr("An arm in simulation needs a scene: open the bundle's project."))
        return (*words, *self._form_words())

    def _form_words(self) -> list[str]:
        words = self.form.words()
        if self.chosen_robot not in SIMULATED and "--cousin" in words:  # of one chosen before
            at = words.index("--cousin")
            del words[at : at + 2]
        return words

    def task(self) -> Task:
        """Let the bundle drive the robot."""
        words = self.run_words()
        if self.is_real:
            raise ValueError(self.tr("A real arm is confirmed at a terminal: copy the command and run it there."))
        return Task(self.tr("Run: {0}").format(Path(words[1]).name), words, self.step, self._project())

    def _project(self) -> Path | None:
        return None if self.desk.project is None else self.desk.project.folder

    # --- the right ---------------------------------------------------------------------------------------------------

    def _build_result(self) -> None:
        self.result.addWidget(self._make_empty())
        self.result.addWidget(self._make_live())
        self.result.addWidget(self._make_terminal())
        self.tabs = QTabWidget(self)
        self.inside = ContentsPanel(self.desk, self)
        self.reality = RealityPanel(self.desk, self)
        self.cameras = CameraPanel(self.desk, self)
        self.tabs.addTab(self.inside, self.tr("Bundle"))
        self.tabs.addTab(self.reality, self.tr("Reality check"))
        self.run_panel = RunPanel(self.desk, self)
        self.tabs.addTab(self.cameras, self.tr("Cameras"))
        self.tabs.addTab(self.run_panel, self.tr("Run"))
        for panel in (self.inside, self.reality, self.cameras):
            panel.started.connect(self.start)
        self.cameras.found_at.connect(self._camera_found)
        for index, tip in enumerate(
            (
                self.tr("What the bundle holds, and whether its files are whole."),
                self.tr("How often it would succeed where nothing is quite as in the simulation."),
                self.tr("Where the robot's cameras are, and whether they see what the policy knows."),
                self.tr("What the cameras saw in the last run."),
            )
        ):
            self.tabs.setTabToolTip(index, tip)
        self.result.addWidget(self.tabs, 1)
        self.result.addStretch(0)

    def _make_empty(self) -> QFrame:
        self.empty_text = label("", "faint", self)
        self.to_policy = QPushButton(self.tr("Go to the policy"), self)
        self.to_policy.setObjectName("primary")
        self.to_policy.setToolTip(self.tr("The page on which a policy is trained and exported."))
        self.to_policy.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Fixed)
        self.to_policy.clicked.connect(lambda: self.desk.step_wanted.emit(self._missing))
        heading = label(self.tr("No bundle yet"), "heading", self)
        self.empty = card(heading, self.empty_text, self.to_policy, parent=self)
        self.empty.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Maximum)
        return self.empty

    def _make_live(self) -> QFrame:
        self.stop = QPushButton(self.tr("STOP"), self)
        self.stop.setObjectName("stop")
        self.stop.setToolTip(self.tr("Stop the arm at once. The Space key and Esc do so, too."))
        self.stop.setAccessibleName(self.tr("Stop the robot"))
        self.stop.clicked.connect(self.stop_run)
        self.live_said, self.live_more = label("", "heading", self), label("", "faint", self)
        self.live_more.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.trust = ShareBar(self, color="good")
        self.trust.setToolTip(
            self.tr(
                "How far what it saw was as it had foretold: 1 wholly, ½ (the dots) so little that it stops itself."
            )
        )
        self.trust_said = label("", "faint", self)
        self.stop.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        inside = QWidget(self)
        words = QVBoxLayout(inside)
        words.setContentsMargins(0, 0, 0, 0)
        words.addWidget(self.live_said)
        words.addWidget(self.live_more)
        words.addStretch(1)
        scroll = QScrollArea(self)
        scroll.setWidget(inside)
        scroll.setWidgetResizable(True)
        scroll.setAccessibleName(self.tr("What the run is at"))
        meter = QVBoxLayout()
        meter.addWidget(label(self.tr("Trust"), "group", self))
        meter.addWidget(self.trust)
        meter.addWidget(self.trust_said)
        meter.addStretch(1)
        self.live = card(parent=self)
        self.live.setFixedHeight(LIVE_PX)  # whatever it says: STOP and the tabs never move
        layout = self.live.layout()
        assert isinstance(layout, QVBoxLayout)
        row = QHBoxLayout()
        row.setSpacing(16)
        row.addWidget(self.stop)
        row.addWidget(scroll, 3)
        row.addLayout(meter, 2)
        layout.addLayout(row)
        return self.live

    def _make_terminal(self) -> QFrame:
        self.command = QPlainTextEdit(self)
        self.command.setReadOnly(True)
        self.command.setAccessibleName(self.tr("Command"))
        self.command.setToolTip(self.tr("The whole command for a terminal."))
        self.command.setFixedHeight(4 * self.command.fontMetrics().height() + 20)
        self.copy = QPushButton(self.tr("Copy the command"), self)
        self.copy.setToolTip(self.tr("Copy it, to paste it into a terminal."))
        self.copy.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Fixed)
        self.copy.clicked.connect(lambda: QApplication.clipboard().setText(self.command.toPlainText()))
        self.terminal = card(
            label(self.tr("A real arm starts at a terminal"), "heading", self),
            label(
                self.tr(
                    "Confirmation needs a terminal: any key there stops the arm, so there is no STOP button here. "
                    "Before it moves, the command shows which motor is which joint and where each is, and waits for "
                    "your yes, beside the arm, with the switch of its power at hand. Begin with a low speed."
                ),
                "faint",
                self,
            ),
            self.command,
            self.copy,
            parent=self,
        )
        self.terminal.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Maximum)
        return self.terminal

    # --- which bundle ------------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Show what the project's folder says now."""
        project = self.desk.project
        found = [*(bundles(project) if project is not None else []), *self._opened]
        chosen = self.bundles.currentData()
        self.bundles.blockSignals(True)
        self.bundles.clear()
        for folder in found:
            self.bundles.addItem(folder.name if folder not in self._opened else str(folder), str(folder))
            self.bundles.setItemData(self.bundles.count() - 1, str(folder), Qt.ItemDataRole.ToolTipRole)
        if found:
            self.bundles.setCurrentIndex(max(self.bundles.findData(chosen), 0))
        self.bundles.blockSignals(False)
        super().refresh()
        self._bundle_chosen()

    def open_bundle(self, folder: Path) -> None:
        """Take in a bundle from elsewhere."""
        if not (folder / MANIFEST).is_file() or (read_json(folder / MANIFEST) or {}).get("format") != FORMAT:
            self.desk.problem.emit(
                self.tr("{0} is no bundle.").format(folder), self.tr("Choose a folder made by an export.")
            )
            return
        if self.bundles.findData(str(folder)) < 0:
            self._opened.append(folder)
            self.refresh()
        self.bundles.setCurrentIndex(self.bundles.findData(str(folder)))

    def _choose_bundle(self) -> None:
        name = QFileDialog.getExistingDirectory(self, self.tr("Open a bundle"), str(self._project() or Path.home()))
        if name:
            self.open_bundle(Path(name))

    @property
    def contents(self) -> Contents | None:
        """The bundle that is chosen."""
        return self._contents

    def _bundle_chosen(self) -> None:
        name = self.bundles.currentData()
        self._stop_check()
        self._contents = Contents.of(Path(str(name))) if name else None
        self._checked = None
        if self.isVisible():
            self._begin_check()
        self.reality.show_bundle(self._contents)
        self._show_checked()
        self._show_parts()

    def _begin_check(self) -> None:
        """Compare the files with their hashes, in a thread: there may be hundreds of megabytes."""
        if self._contents is None or self._contents.problem or self._checked is not None or self._worker is not None:
            return
        folder, files = self._contents.folder, len(self._contents.part("files"))
        self._worker = Worker(lambda stopped: check(folder, files, stopped), self)
        self._worker.came.connect(self._was_checked)
        self._worker.failed.connect(self._check_failed)
        self._worker.start(Worker.Priority.LowPriority)

    def _stop_check(self) -> None:
        if self._worker is not None:
            self._worker.stop()
            self._worker = None

    def _was_checked(self, found: object) -> None:
        assert isinstance(found, Checked)
        self._worker, self._checked = None, found
        self._show_checked()

    def _show_checked(self) -> None:
        self.inside.show_bundle(self._contents, self._checked)
        self.cameras.show_bundle(self._contents, self._checked)

    def _check_failed(self, reason: str) -> None:
        self._was_checked(Checked(0, reason, {}))

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802 - Qt's name
        """Somebody looks."""
        super().showEvent(event)
        self._begin_check()

    def hideEvent(self, event: QHideEvent) -> None:  # noqa: N802 - Qt's name
        """Nobody looks: hold what works for nobody."""
        self._stop_check()
        super().hideEvent(event)

    # --- running -----------------------------------------------------------------------------------------------------

    def stop_run(self) -> None:
        """End the run at once: the arm comes to rest as its guard lets it."""
        if self._run_job is not None:
            self._run_job.cancel()

    def is_running(self) -> bool:
        """Whether a robot is driven now."""
        return self._run_job is not None and not self._run_job.is_over

    def follow(self, job: Job | None) -> None:
        """The page's job is further."""
        kind = None if job is None else job.task.words[0]
        if job is not None and kind == "run":
            self._run_job = job
        elif self._run_job is not None and self._run_job.task.project != self._project():
            self._run_job = None
        if job is not None and kind == "align":
            self.cameras.follow(job)
        self._guard(self.is_running())
        self._show_parts()

    def _guard(self, wanted: bool) -> None:
        """While a robot is driven, Space and Esc stop it, whatever has the focus."""
        application = QApplication.instance()
        if application is None or wanted == self._guarded:
            return
        self._guarded = wanted
        if wanted:
            application.installEventFilter(self)
        else:
            application.removeEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 - Qt's name
        """Space and Esc stop the robot while this page is to be seen; nothing else hears of them."""
        if (
            isinstance(event, QKeyEvent)
            and event.type() in (QEvent.Type.ShortcutOverride, QEvent.Type.KeyPress)
            and event.key() in (Qt.Key.Key_Space, Qt.Key.Key_Escape)
            and self.isVisible()
            and self.is_running()
        ):
            if event.type() == QEvent.Type.KeyPress and not event.isAutoRepeat():
                self.stop_run()
            event.accept()
            return True
        return super().eventFilter(watched, event)

    def _camera_found(self, file: str) -> None:
        """The next run of a real arm goes by where its camera is."""
        if self.arm_form.control("align").read() is None:
            self.arm_form.set_values({"align": Path(file)})
            self.arm_form.fold()

    def _show_parts(self) -> None:
        """Show and hide the parts as the bundle, the project and the job are."""
        found, project, job = self._contents, self.desk.project, self.panel.job
        there = found is not None
        good = found is not None and not found.problem
        busy = job is not None and not job.is_over
        self.empty.setVisible(not there)
        self._missing = "policy" if project is not None and project.record("scene") else "scan"
        self.to_policy.setText(self.tr("Go to the policy") if self._missing == "policy" else self.tr("Go to the scan"))
        self.empty_text.setText(
            self.tr("A bundle is what drives a robot: a policy that was exported. Train one first, or open a bundle.")
            if self._missing == "policy"
            else self.tr("A bundle comes from a policy, a policy from a scene, a scene from a scan. Begin there.")
        )
        self.tabs.setVisible(there)
        self.live.setVisible(there and (not self.is_real or self.is_running()))
        self.terminal.setVisible(there and self.is_real and not self.is_running())
        self.go.setVisible(not self.is_real)
        self.go.setEnabled(good and not busy)
        for panel in (self.inside, self.reality, self.cameras):
            panel.enable(good and not busy)
        self.stop.setEnabled(self.is_running())
        self._say_command()
        self._say_run()
        if self.run_panel.show_run(self._run_job) and self.tabs.currentWidget() is self.inside:
            self.tabs.setCurrentWidget(self.run_panel)

    def _say_command(self) -> None:
        self._say_doubts()
        if not self.is_real:
            return
        try:
            text = f"{_program()} {quoted(*self.run_words())}"
        except ValueError as error:
            text = str(error)
        if text != self.command.toPlainText():
            self.command.setPlainText(text)

    def _say_run(self) -> None:
        """What the run is at, or how it has ended."""
        job = self._run_job
        state = None if job is None else job.state
        if state is None:
            self.live_said.setText(self.tr("Nothing runs"))
            self.live_more.setText(self.tr("Run lets the bundle drive the chosen robot."))
            self._say_trust(None, self.tr("told while it runs"))
            return
        result = state.result
        if state.kind in ("waiting", "running"):
            self.live_said.setText(self.tr("Running") if state.kind == "running" else self.tr("Waits"))
            self.live_more.setText(state.message or self.tr("Starting …"))
            found = re.search(r"trust (\d\.\d\d)", state.message)
            self._say_trust(float(found[1]) if found else None, self.tr("nothing to compare yet"), self.tr("now"))
        elif result:
            self.live_said.setText(self._stopped(result) if state.kind == "cancelled" else self._ending(result))
            self.live_more.setText("\n".join(self._run_words(result)))
            trust = result.get("trust")
            self._say_trust(
                float(trust) if isinstance(trust, int | float) else None, self.tr("it only acts: nothing to compare")
            )
        elif state.kind == "cancelled":
            self.live_said.setText(self.tr("Stopped"))
            self.live_more.setText(
                self.tr("The arm was brought to rest. This run was not recorded.")
                if state.fraction > 0.0
                else self.tr("It was still getting ready: the arm had not moved. Nothing was recorded.")
            )
            self._say_trust(None, self.tr("unknown of a run that was stopped"))
        else:
            self.live_said.setText(self.tr("The run failed"))
            self.live_more.setText(state.failure.message if state.failure is not None else "")
            self._say_trust(None, "")

    def _stopped(self, result: Mapping[str, Any]) -> str:
        name = Path(str(result.get("dataset") or "")).name
        if not result.get("ticks") or not name:
            return self.tr("Stopped; nothing was recorded")
        return self.tr("Stopped; recorded in {0}").format(name)

    def _ending(self, result: Mapping[str, Any]) -> str:
        runs, successes = result.get("runs"), result.get("successes")
        if isinstance(runs, int) and runs > 1 and isinstance(successes, int):
            return self.tr("{0} of {1} runs succeeded").format(successes, runs)
        if result.get("fault"):
            return self.tr("Ended by a fault")
        success = result.get("success")
        return self.tr("Done") if success is True else self.tr("Not done") if success is False else self.tr("Ended")

    def _run_words(self, result: Mapping[str, Any]) -> list[str]:
        seconds, ticks = result.get("seconds"), result.get("ticks")
        took = clock(seconds) if isinstance(seconds, int | float) else "?"
        told = counted(ticks, self.tr("1 command"), self.tr("{0} commands"))
        lines = [self.tr("{0}, after {1} in {2}").format(result.get("stopped", ""), told, took)]
        if (missed := result.get("missed")) and isinstance(missed, int):
            lines.append(counted(missed, self.tr("1 command went out late"), self.tr("{0} commands went out late")))
        lines.append(self.tr("Recorded: {0}").format(result.get("dataset", "")))
        return lines

    def _say_trust(self, trust: float | None, otherwise: str, when: str = "") -> None:
        if trust is None:
            self.trust.clear()
            self.trust_said.setText(otherwise)
            return
        said = f"{trust:.2f} {when or self.tr('at the lowest')}"
        self.trust.set_color("good" if trust >= DOUBTED else "bad")
        self.trust.show_share(trust, trust, trust, self.tr("Trust: {0}").format(said), DOUBTED)
        self.trust_said.setText(said)


def _program() -> str:
    """How this Pocketworld is called at a terminal, wherever that stands: `app.console.program` goes by this folder."""
    script = Path(sys.executable).with_name("pocketworld")
    return quoted(script) if script.is_file() else program()
