"""The scene: select, move, rename, merge, split, weigh its things, and throw them about."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt
from PySide6.QtCore import QPoint, Qt, QTimer
from PySide6.QtGui import QAction, QActionGroup, QKeySequence, QShortcut
from PySide6.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QDoubleSpinBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QMenu,
    QPushButton,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from app.gui.desk import Desk
from app.gui.editor import Editor
from app.gui.job import Job, Task
from app.gui.page import NeedsScan, Notice, StepPage, label
from app.gui.robot_tool import RobotTool
from app.gui.scene_list import PICTURE, ThingList
from app.gui.scene_play import ScenePlay
from app.gui.scene_split import SplitPanel
from app.gui.thing_facts import ThingFacts
from app.gui.viewport import Viewport
from app.viewer.view import View, corners

if TYPE_CHECKING:
    from app.scene_document import ListedThing
    from app.scene_draft import Draft, Edit

FloatArray = npt.NDArray[np.float64]
HOLDING = ("reconstruct", "cousins", "mount", "learn-from")
"""Commands that keep the project to themselves; others do so for a moment at most."""
CALM_MS = 6000
"""So long it is said that an edit was refused because the project was in use, where no job of ours is known to be."""
MESHES = "*.obj *.ply *.stl *.glb *.gltf *.off"


class ScenePage(StepPage):
    """A list of things, what is known of the selected one, and the viewport with its tools."""

    step: ClassVar[str] = "scene"

    def __init__(self, desk: Desk) -> None:
        super().__init__(
            desk,
            self.tr("Scene"),
            self.tr("Click a thing to select it. Every change is saved at once, and can be undone."),
        )
        self.editor = Editor(self)
        self._objects: dict[str, ListedThing] = {}
        self._told_names: set[str] = set()
        self._stamp: tuple[Path, int] | None = None
        self._point: FloatArray | None = None
        self._clicked = ""
        self._measured = 0.0
        self._scaling = False
        self._held = False
        self._came_nearer: tuple[View | None, View | None] = (None, None)
        self._make_list()
        self._make_facts()
        self._make_view()
        self._make_actions()
        self.editor.changed.connect(self._changed)
        self.editor.refused.connect(self._refused)
        self.editor.busy.connect(self._busy)
        self._select_names(())

    # --- what stands where -------------------------------------------------------------------------------------------

    def _make_list(self) -> None:
        self.wait = label("", "faint", self)
        self.wait.hide()
        self._calm = QTimer(self)
        self._calm.setSingleShot(True)
        self._calm.setInterval(CALM_MS)
        self._calm.timeout.connect(self._hold)
        self.list = ThingList(self)
        self.list.setMinimumHeight(364)
        self.list.customContextMenuRequested.connect(
            lambda place: self.menu.popup(self.list.viewport().mapToGlobal(place))
        )
        self.list.itemSelectionChanged.connect(self._list_selected)
        self.side.addWidget(self.wait)
        self.side.addWidget(self.list)

    def _make_facts(self) -> None:
        self.facts = ThingFacts(self)
        self.facts.wanted.connect(self._want)
        self.side.addWidget(self.facts)
        self.check = self.add_run(self.tr("Check that it is at rest"), "")
        self.rest = label("", "faint", self)
        self.side.addWidget(self.rest)
        self._restless: list[str] = []
        self.show_restless = QPushButton(self.tr("Select what moves"), self)
        self.show_restless.setToolTip(self.tr("Then Put it down (Ctrl+Down), or move it to where it can stand."))
        self.show_restless.clicked.connect(lambda: self._select_names(self._restless))
        self.show_restless.hide()
        self.side.addWidget(self.show_restless)

    def _make_view(self) -> None:
        self.trouble = Notice("failed", self)
        self.view = Viewport(self)
        self.view.picked.connect(self._picked)
        self.view.picked_more.connect(self._picked_more)
        self.view.menu_wanted.connect(self._menu_wanted)
        self.view.loaded.connect(self._loaded)
        self.view.thumbnail.connect(self.list.set_picture)
        self.view.set_thumbnails(PICTURE)
        self.view.pose_changed.connect(self._moved)
        self.view.measured.connect(self._measure)
        self.view.failed.connect(lambda message, remedy: self.trouble.say(message, remedy))
        self._tools = QHBoxLayout()
        self._tools.setSpacing(4)
        self.said = label("", "faint", self)
        self.true_length = QPushButton(self.tr("This is … mm"), self)
        self.true_length.setToolTip(self.tr("Say how long this is in truth: the whole scene gets its true size by it."))
        self.true_length.clicked.connect(self._scale)
        self.true_length.hide()
        self.cut = SplitPanel(self)
        self.cut.moved.connect(lambda point, normal: self.view.show_cut(self.cut.thing, point, normal))
        self.cut.accepted.connect(self._cut_in_two)
        self.cut.ended.connect(self._no_cut)
        self.view.cut_shown.connect(self.cut.say_met)
        self._no_cut_key = QShortcut(QKeySequence("Esc"), self)
        self._no_cut_key.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
        self._no_cut_key.setEnabled(False)  # Esc has other uses in the view
        self._no_cut_key.activated.connect(self.cut.end)
        self.place = RobotTool(self.view, self.desk.preferences, self)
        self.place.placed.connect(self._place_robot)
        self.playing = ScenePlay(self.view, self.place, self)
        self.playing.over.connect(self._use_checked_tool)
        self.playing.panel.recording_wanted.connect(lambda: self.desk.step_wanted.emit("policy"))
        self._below = QHBoxLayout()
        self._below.setSpacing(12)
        self._below.addWidget(self.said, 100)
        self._below.addWidget(self.true_length)
        self._below.addStretch(1)
        self._bench = QWidget(self)
        column = QVBoxLayout(self._bench)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(self.result.spacing())
        column.addLayout(self._tools)
        column.addWidget(self.view, 1)
        column.addWidget(self.cut)
        column.addWidget(self.place.panel)
        column.addWidget(self.playing.panel)
        column.addWidget(self.trouble)
        column.addLayout(self._below)
        self.result.addWidget(self._bench, 1)
        self.empty = NeedsScan(self.desk, self.tr("It is made of the scan, on the page before this one."), self)
        self.result.addWidget(self.empty, 1)

    def _make_actions(self) -> None:
        tools = QActionGroup(self)
        tips = {
            "select": (self.tr("Select"), "Q", self.tr("Click a thing.")),
            "move": (
                self.tr("Move"),
                "W",
                self.tr("Drag the arrows of the selected thing; it comes to stand on what is below it."),
            ),
            "turn": (self.tr("Turn"), "E", self.tr("Drag the ring of the selected thing.")),
            "measure": (
                self.tr("Measure"),
                "R",
                self.tr("Click two points. If you know how far apart they are, the scene can get its true size."),
            ),
            "robot": (
                self.tr("Robot"),
                "T",
                self.tr("Say where the robot stands, and see what it reaches from there."),
            ),
        }
        self.tool_actions: dict[str, QAction] = {}
        for tool, (text, key, tip) in tips.items():
            action = self._new_action(text, lambda tool=tool: self._use(tool), key, tip)
            action.setCheckable(True)
            tools.addAction(action)
            self.tool_actions[tool] = action
            self._tools.addWidget(self._button(action))
        self.tool_actions["select"].setChecked(True)
        self._tools.addSpacing(10)
        for action, key, tip in (
            (self.playing.play, "P", self.tr("Let physics go; grab things with the mouse and throw them.")),
            (self.playing.reset, "", self.tr("Put everything back where the scene has it.")),
            (self.playing.drive, "G", self.tr("Drive the robot's arm by keys, sliders or a gamepad.")),
        ):
            self._tools.addWidget(self._button(self._adopted(action, key, tip)))
        self._tools.addStretch(1)
        shown = QToolButton(self)
        shown.setText(self.tr("Show"))
        shown.setToolTip(self.tr("What the view shows."))
        shown.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        menu = QMenu(shown)
        for name, text, on in (
            ("background", self.tr("Background"), True),
            ("parts", self.tr("Convex parts"), False),
            ("seen", self.tr("Seen green, guessed orange"), False),
            ("wireframe", self.tr("Wireframe"), False),
        ):
            action = menu.addAction(text)
            action.setCheckable(True)
            action.setChecked(on)
            action.toggled.connect(lambda value, name=name: self.view.set_options(**{name: value}))
        menu.addAction(self.place.shown)
        shown.setMenu(menu)
        self._tools.addWidget(shown)
        self.undo = self._new_action(self.tr("Undo"), self._undo, "Ctrl+Z", "")
        self.redo = self._new_action(self.tr("Redo"), self.editor.undo.redo, "Ctrl+Shift+Z", "")
        self.editor.undo.indexChanged.connect(self._name_undo)
        self._name_undo()
        self.duplicate = self._new_action(self.tr("Duplicate"), self._duplicate, "Ctrl+D", "")
        self.delete = self._new_action(self.tr("Delete"), self._delete, "Del", "")
        self.merge = self._new_action(
            self.tr("Merge two"), self._merge, "Ctrl+M", self.tr("Make two selected things one.")
        )
        self.split = self._new_action(self.tr("Split…"), self._split, "", self.tr("Cut a thing in two by a plane."))
        self.rename = self._new_action(self.tr("Rename"), self._to_name, "F2", "")
        self.add = self._new_action(
            self.tr("Add a mesh…"), self._add, "", self.tr("A thing from a file: OBJ, PLY, STL, GLB.")
        )
        self.scale = self._new_action(
            self.tr("Set the scale…"), self._scale, "", self.tr("Measure a distance that you know first.")
        )
        self.robot = self._new_action(
            self.tr("Place the robot"), self.tool_actions["robot"].trigger, "", self.tr("Where its base stands.")
        )
        self.drop = self._new_action(
            self.tr("Put it down"), self._drop, "Ctrl+Down", self.tr("Let a thing stand on what is below it.")
        )
        self.menu = QMenu(self)
        self.menu.addActions(self.edit_actions()[2:])
        more = QToolButton(self)
        more.setText(self.tr("Edit"))
        more.setToolTip(self.tr("What can be done with the selected things."))
        more.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        more.setMenu(self.menu)
        self._tools.addWidget(more)

    def _new_action(self, text: str, what: Any, key: str, tip: str) -> QAction:
        action = QAction(text, self)
        action.triggered.connect(lambda _checked=False: what())
        return self._adopted(action, key, tip)

    def _adopted(self, action: QAction, key: str, tip: str) -> QAction:
        if key:
            action.setShortcut(QKeySequence(key))
            action.setShortcutContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
        action.setToolTip(f"{tip} {f'({key})' if key else ''}".strip() or action.text())
        for place in (self.aside, self._bench):  # not the page: it has keys of its own where there is no scene
            place.addAction(action)
        return action

    def _button(self, action: QAction) -> QToolButton:
        button = QToolButton(self)
        button.setDefaultAction(action)
        return button

    def edit_actions(self) -> Sequence[QAction]:
        """For the window's Edit menu: undo and redo first."""
        things = [self.rename, self.duplicate, self.delete, self.merge, self.split, self.drop]
        return [self.undo, self.redo, *things, self.add, self.scale, self.robot]

    # --- the scene ---------------------------------------------------------------------------------------------------

    def task(self) -> Task:
        """``simulate --check``.

        Raises:
            ValueError: no project is open.
        """
        folder = self.project_folder()
        return Task(self.tr("Check {0}").format(folder.name), ("simulate", str(folder), "--check"), self.step, folder)

    def refresh(self) -> None:
        """Open the project's scene, or the one that has taken its place."""
        super().refresh()
        project = self.desk.project
        scene = None if project is None else project.stage_folder("scene")
        there = scene is not None and (scene / "stage.json").is_file()
        for place in (self.aside, self._bench):
            place.setEnabled(there)
        self._bench.setVisible(there)
        self.empty.setVisible(not there)
        self._hold()
        if self._stamp is not None and scene != self._stamp[0]:
            self.place.save_now()
        if scene is None or not there:
            self.editor.close_scene()
            self._stamp = None
            self._changed(())
            return
        stamp = (scene, (scene / "stage.json").stat().st_mtime_ns)
        if stamp != self._stamp:
            self.place.take_back()
            self._stamp = stamp
            self.editor.open(scene)
            self.view.show_scene(scene)
        else:
            self.editor.check()

    def follow(self, job: Job | None) -> None:
        """The scene is let go before it is made anew."""
        super().follow(job)
        self._hold()
        self._say_empty()
        running, open_at = self.desk.jobs.running, self._stamp
        if (
            running is not None
            and open_at is not None
            and (running.task.step, running.task.project) == ("scan", open_at[0].parent)
        ):
            self.editor.close_scene()
            self._stamp = None
        said, restless = ("", []) if job is None or not job.is_over else _at_rest(self, job.state.result)
        self.rest.setText(said)
        self.rest.setVisible(bool(said))
        self._restless = [name for name in restless if name in self._objects]
        self.show_restless.setVisible(bool(self._restless))

    def _say_empty(self) -> None:
        folder = None if self.desk.project is None else self.desk.project.folder
        scan = None if folder is None else self.desk.jobs.last("scan", folder)
        at_work = scan is not None and not scan.is_over
        self.empty.text.setText(self.tr("The scene is being made.") if at_work else self.tr("There is no scene yet."))

    def _hold(self, *, refused: bool = False) -> None:
        """Edits wait for a job that keeps the project to itself, in place of being refused one after another."""
        folder = None if self.desk.project is None else self.desk.project.folder
        self._held = any(
            job.state.kind == "running" and job.task.project == folder and job.task.words[0] in HOLDING
            for job in self.desk.jobs.all
        )
        if refused:
            self._calm.start()
        waits = self._held or self._calm.isActive()
        said = self.tr("Another step is at work on this project: edits wait until it has ended.") if waits else ""
        self.wait.setText(said)
        self.wait.setVisible(waits)
        if self._held:
            self.cut.end()
        for tool in ("move", "turn", "robot"):
            self.tool_actions[tool].setEnabled(not self._held)
        if not self.playing.play.isChecked():
            self._use_checked_tool()
        self._enable()
        self._name_undo()

    def _changed(self, objects: tuple[ListedThing, ...]) -> None:
        chosen = self.selected()
        self._objects = {item.name: item for item in objects}
        self.list.show_things(objects)
        if self._stamp is not None and self.editor.folder is not None:
            self.view.reload()
        if self.cut.thing not in self._objects:
            self.cut.end()
        if self._scaling:  # what was measured is as long as it was said to be
            self._scaling = False
            self.view.clear_measure()
        self._calm.stop()
        self.wait.setVisible(self._held)
        self.list.select([name for name in chosen if name in self._objects], reveal=False)
        self._show_selected()
        if set(self._objects) != self._told_names:  # other pages speak of the things, too
            self._told_names = set(self._objects)
            QTimer.singleShot(0, self.desk, self.desk.refreshed.emit)

    def _refused(self, message: str, remedy: str, code: str) -> None:
        if code == "busy":
            self._hold(refused=True)
        else:
            self.desk.problem.emit(message, remedy)
        self._scaling = False
        self._show_selected()
        if self._stamp is not None:
            self.view.reload()  # a preview may stand where the edit did not lead

    def _busy(self, at_work: bool) -> None:
        saving = self.tr("Saving …")
        if at_work:
            self.said.setText(saving)
        elif self.said.text() == saving:
            self.said.setText("")
        if not at_work:
            self.place.settle()
        self._name_undo()

    def _name_undo(self) -> None:
        """An edit that is being made cannot be undone yet, nor anything before it."""
        stack = self.editor.undo
        free = not self.editor.at_work and not self._held
        self.undo.setEnabled(stack.canUndo() and free)
        self.redo.setEnabled(stack.canRedo() and free)
        self.undo.setText(self.tr("Undo: {0}").format(stack.undoText()) if stack.canUndo() else self.tr("Undo"))
        self.redo.setText(self.tr("Redo: {0}").format(stack.redoText()) if stack.canRedo() else self.tr("Redo"))

    # --- selection ---------------------------------------------------------------------------------------------------

    def selected(self) -> list[str]:
        """The names of the selected things, in the order of the list."""
        return self.list.selected()

    def select(self, *names: str) -> None:
        """Select these."""
        self._select_names(names)

    def _select_names(self, names: Sequence[str]) -> None:
        self.list.select(names)
        self._show_selected()

    def _list_selected(self) -> None:
        self._show_selected()

    def _show_selected(self) -> None:
        names = self.selected()
        self.view.select(names)
        one = self._objects.get(names[0]) if len(names) == 1 else None
        self.facts.setVisible(one is not None)
        self._enable()
        if one is not None:
            self.facts.show_thing(one)

    def _enable(self) -> None:
        """Whatever edits: by how many things are selected, and not while a step keeps the project to itself."""
        count, free = len(self.selected()), not self._held
        for action in (self.duplicate, self.delete):
            action.setEnabled(count > 0 and free)
        for action in (self.rename, self.split, self.drop):
            action.setEnabled(count == 1 and free)
        self.merge.setEnabled(count == 2 and free)
        self.scale.setEnabled(self._measured > 0.0 and free)
        self.true_length.setEnabled(free)
        for action in (self.add, self.robot):
            action.setEnabled(free)
        self.facts.setEnabled(free)

    def _picked(self, name: str, point: Any) -> None:
        self._point = None if point is None else np.asarray(point, dtype=np.float64)
        self._clicked = name
        self._select_names([name] if name in self._objects else [])

    def _picked_more(self, name: str, point: Any) -> None:
        """Ctrl was held: one more, or one less."""
        if name in self._objects:
            others = [other for other in self.selected() if other != name]
            self._select_names(others if name in self.selected() else [*others, name])

    def _menu_wanted(self, name: str, place: QPoint) -> None:
        """A right click is about what is there, but not only where that is one of several that are selected."""
        if name in self._objects and name not in self.selected():
            self._select_names([name])
        self.menu.popup(place)

    def _to_name(self) -> None:
        self.facts.name.setFocus()
        self.facts.name.selectAll()

    def _undo(self) -> None:
        if not self.place.take_back():
            self.editor.undo.undo()

    # --- edits -------------------------------------------------------------------------------------------------------

    def _apply(self, edit: Edit) -> None:
        self.editor.apply(lambda _draft: edit)

    def _one(self) -> ListedThing | None:
        names = self.selected()
        return self._objects.get(names[0]) if len(names) == 1 else None

    def _want(self, edit: Edit) -> None:
        """What is typed about the selected thing."""
        from app.scene_edits import Rename

        if isinstance(edit, Rename):
            self._then_select(edit.to)
        self._apply(edit)

    def _then_select(self, name: str) -> None:
        """Select a thing that the edit under way will bring."""

        def once(_objects: object) -> None:
            self.editor.changed.disconnect(once)
            if name in self._objects:
                self._select_names([name])

        self.editor.changed.connect(once)

    def _moved(self, name: str, pose: FloatArray) -> None:
        """A gizmo was let go: the thing comes to stand on what is below it."""

        def make(draft: Draft) -> Edit:
            from app.scene_edits import Move
            from app.scene_places import snapped

            return Move(name, snapped(draft, name, pose))

        self.editor.apply(make)

    def _drop(self) -> None:
        one = self._one()
        if one is not None:
            self._moved(one.name, one.pose)

    def _duplicate(self) -> None:
        from app.scene_edits import Duplicate

        before = set(self._objects)

        def once(_objects: object) -> None:
            self.editor.changed.disconnect(once)
            self._select_names([name for name in self._objects if name not in before])

        self.editor.changed.connect(once)
        for name in self.selected():
            self._apply(Duplicate(name))

    def _delete(self) -> None:
        from app.scene_edits import Delete

        for name in self.selected():
            self._apply(Delete(name))

    def _merge(self) -> None:
        from app.scene_edits import Merge

        names = self.selected()
        if len(names) == 2:
            self._apply(Merge(*names))

    def _split(self) -> None:
        one = self._one()
        if one is not None:
            size, pose = one.size_m, one.pose
            longest = pose[:2, int(np.argmax(np.abs(pose[:2, :3]).max(axis=0) * size))]
            turn = float(np.degrees(np.arctan2(longest[1], longest[0])))
            point = self._point if self._clicked == one.name else None
            self.cut.end()
            self._no_cut_key.setEnabled(True)
            before = self.view.view()
            self.view.frame([one.name])
            self._came_nearer = (before, self.view.view())
            self.cut.begin(one.name, self._corners(one), turn, point)

    def _corners(self, one: ListedThing) -> FloatArray:
        """``(8, 3)`` of a thing's box, also before the view has it."""
        box = self.view.box(one.name)
        half = 0.5 * np.array(one.size_m)
        return corners(-half, half) @ one.pose[:3, :3].T + one.pose[:3, 3] if box is None else box

    def _loaded(self) -> None:
        """What is to be cut may have been moved."""
        one = self._objects.get(self.cut.thing)
        if one is not None:
            self.cut.follow(self._corners(one))

    def _no_cut(self) -> None:
        self._no_cut_key.setEnabled(False)
        self.view.hide_cut()
        self.view.setFocus()
        before, near = self._came_nearer
        if before is not None and self.view.view() is near:  # nobody has looked from elsewhere since
            self.view.set_view(before)

    def _cut_in_two(self, name: str, point: FloatArray, normal: FloatArray) -> None:
        from app.scene_edits import Split

        self._apply(Split(name, point, normal))

    def _add(self) -> None:
        from app.scene_edits import AddThing

        kinds = self.tr("Meshes ({0})").format(MESHES)
        name, _ = QFileDialog.getOpenFileName(self, self.tr("Add a mesh"), str(Path.home()), kinds)
        if name:
            at = None if self._point is None else (float(self._point[0]), float(self._point[1]))
            self._apply(AddThing(Path(name), at))

    def _measure(self, distance_m: float) -> None:
        self._measured = float(distance_m)
        there = self._measured > 0.0
        self.said.setText(self.tr("Measured: {0} mm").format(f"{1000 * self._measured:.1f}") if there else "")
        self.said.setWordWrap(not there)
        self._below.setStretch(0, 0 if there else 100)  # the button stands next to the length, whose text is short
        self.true_length.setVisible(there)
        self._enable()

    def _scale(self) -> None:
        if self._measured <= 0.0:
            return
        dialog = _LengthDialog(
            self.tr("Set the scale"),
            self.tr("The measured distance is {0} mm. In truth it is:").format(f"{1000 * self._measured:.1f}"),
            self.tr("True distance (mm)"),
            1000 * self._measured,
            self,
        )
        dialog.accepted.connect(lambda: self._scale_to(dialog.value() / 1000.0))
        dialog.open()

    def _scale_to(self, true_m: float) -> None:
        from app.scene_edits import Scale

        self._scaling = True
        self._apply(Scale(self._measured, true_m))

    def _place_robot(self, pose: FloatArray | None) -> None:
        from app.scene_edits import PlaceRobot

        self._apply(PlaceRobot(pose))

    # --- the view ----------------------------------------------------------------------------------------------------

    def _use(self, tool: str) -> None:
        self.view.set_tool(tool)
        if tool == "measure":
            self.said.setText(
                self.tr("Click two points. If you know how far apart they are, the scene can get its true size.")
            )
        elif self._measured <= 0.0:
            self.said.setText("")

    def _use_checked_tool(self) -> None:
        tool = next((name for name, action in self.tool_actions.items() if action.isChecked()), "select")
        tool = tool if self.tool_actions[tool].isEnabled() else "select"
        if tool != self.view.tool():  # told again, it would forget what was measured
            self.view.set_tool(tool)

    def closeEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Leave no process, no thread and no lock."""
        self.place.save_now()
        self.view.shut_down()
        self.editor.stop()
        super().closeEvent(event)


def _at_rest(page: QWidget, result: dict[str, Any]) -> tuple[str, list[str]]:
    """What ``simulate --check`` has found, in words, and the names of what does not stay where it is."""
    drift, limits = result.get("drift"), result.get("limits")
    if not isinstance(drift, dict) or not isinstance(limits, dict):
        return "", []
    if result.get("passed"):
        return page.tr("At rest: at most {0} mm in five seconds.").format(result.get("max_moved_mm")), []
    lines, names = [], []
    for name, found in drift.items():
        moved, turned = float(found["moved_mm"]), float(found["turned_deg"])
        if moved > float(limits["moved_mm"]) or turned > float(limits["turned_deg"]):
            names.append(str(name))
            lines.append(
                page.tr("{0} moves by {1} mm and turns by {2}°.").format(name, round(moved, 1), round(turned, 1))
            )
    for pair in result.get("penetration") or []:
        if float(pair["depth_mm"]) > float(limits["penetration_mm"]):
            names += [str(name) for name in pair["pair"]]
            both = page.tr("{0} and {1} are in each other by {2} mm.")
            lines.append(both.format(*pair["pair"], round(float(pair["depth_mm"]), 1)))
    lines.append(page.tr("Put it down (Ctrl+Down), move it to where it can stand, or let it be: cousins try it anew."))
    return "\n".join(lines), list(dict.fromkeys(names))


class _LengthDialog(QDialog):
    """How long something is, millimetres."""

    def __init__(self, title: str, text: str, name: str, value_mm: float, parent: QWidget) -> None:
        super().__init__(parent)
        self.setWindowTitle(title)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        column = QVBoxLayout(self)
        column.addWidget(label(text, "", self))
        form = QFormLayout()
        self._box = QDoubleSpinBox(self)
        self._box.setRange(0.1, 1e5)
        self._box.setDecimals(3)
        self._box.setValue(value_mm)
        form.addRow(name, self._box)
        column.addLayout(form)
        buttons = QDialogButtonBox(
            QDialogButtonBox.StandardButton.Ok | QDialogButtonBox.StandardButton.Cancel, parent=self
        )
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        column.addWidget(buttons)

    def value(self) -> float:
        """As it was typed."""
        return self._box.value()
