"""The 3-D view: a widget that shows what a process of its own draws (`app.viewer`), and passes the mouse on to it.

The window never waits for that process: it sends a line and paints what came last. When the process dies, of native
code or of a lack of memory, the widget says so and starts another on request.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PySide6.QtCore import QByteArray, QEvent, QPoint, QPointF, QProcess, QRectF, QSize, Qt, Signal
from PySide6.QtGui import (
    QCloseEvent,
    QColor,
    QContextMenuEvent,
    QImage,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPalette,
    QResizeEvent,
    QShowEvent,
    QWheelEvent,
)
from PySide6.QtWidgets import QPushButton, QSizePolicy, QWidget

from app.gui import view_process
from app.gui.robot_handle import ShownRobot, nudged
from app.gui.view_marks import paint_handles, paint_measure
from app.viewer import gizmo
from app.viewer.frames import Frames, new_file
from app.viewer.view import View, corners

FloatArray = npt.NDArray[np.float64]
TOOLS = ("select", "move", "turn", "measure", "robot", "grab")
OPTIONS = ("background", "supports", "parts", "seen", "wireframe", "robot", "reach")
CLICK_PX = 4.0
"""A mouse that moves less between press and release has clicked."""
ORBIT_DEG = 0.4
"""A pixel of dragging."""
KEY_DEG, KEY_ZOOM = 6.0, 0.85
LIGHT_SKY, DARK_SKY = ((238, 241, 245), (203, 209, 217)), ((66, 71, 80), (33, 36, 41))
TOLD_BYTES = 4000
"""So much of what the process says on stderr is kept."""


@dataclass(frozen=True)
class Hit:
    """What is at a place in the view.

    Attributes:
        kind: object, support, background, point or nothing.
        name: of the thing or support, else empty.
        point: ``(3,)`` of the scene, metres; `normal`: unit, towards the camera. None where there is nothing.
    """

    kind: str
    name: str
    point: FloatArray | None
    normal: FloatArray | None


@dataclass(frozen=True)
class _Thing:
    pose: FloatArray
    low: FloatArray
    high: FloatArray


class Viewport(QWidget):
    """Shows a scene or a point cloud; see the tool tip for the mouse.

    Signals:
        picked(name, point): a click; the name of the thing there, else empty, and its point ``(3,)`` or None.
        hit(Hit): the same click, with what else is known of it.
        pose_changed(name, pose): a thing was moved or turned by its handles: ``(4, 4)`` scene_from_object. It is shown
            there until `reload` or `show_scene`.
        picked_more(name, point): the same with Ctrl: the thing was added to what is outlined, or taken from it.
        menu_wanted(name, place): a click with the right button on a thing, else empty, or the menu key (empty, too);
            the place ``QPoint`` is of the screen.
        measured(metres): between two clicks; 0: what was measured is not shown any more.
        tool_changed(tool): clicking and dragging do something else now.
        robot_shown(ShownRobot): the robot of the options is there, or its scene is another.
        robot_moved(pose, how): to ``(4, 4)`` scene_from_robot; how: dragged (and still held), dropped, or pushed (by
            keys). It is shown there until `put_robot` or `show_scene`.
        reach_told(reached, missed, inside, far): names of things that it reaches from where it is shown, of those that
            it does not and of those that its base stands in, and how far it reaches on the table (m).
        cut_shown(name, met): the plane of `show_cut` is there; met: it goes through the thing.
        thumbnail(name, picture): a thing alone, a transparent ``QImage``; see `set_thumbnails`.
        loaded(names): a scene (its things' names) or a point cloud (none) is there.
        physics_changed(state): playing, paused or reset.
        driven(robot, joints): an arm is in the world, to be driven: its name, and ``name``, ``low``, ``high`` of each
            joint (rad or m).
        arm_moved(goal, blocked): where it is told to be, its gripper's opening (0 … 1) last, and whether something is
            in its way.
        frame_shown(still): another picture is there; still: in full quality.
        failed(message, remedy): a scene cannot be shown, or the process has died.
    """

    picked = Signal(str, object)
    hit = Signal(object)
    pose_changed = Signal(str, object)
    picked_more = Signal(str, object)
    menu_wanted = Signal(str, object)
    measured = Signal(float)
    tool_changed = Signal(str)
    robot_shown = Signal(object)
    robot_moved = Signal(object, str)
    reach_told = Signal(object, object, object, float)
    cut_shown = Signal(str, bool)
    thumbnail = Signal(str, object)
    loaded = Signal(object)
    physics_changed = Signal(str)
    driven = Signal(str, object)
    arm_moved = Signal(object, bool)
    frame_shown = Signal(bool)
    failed = Signal(str, str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setMinimumSize(160, 120)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setMouseTracking(True)
        self.setAttribute(Qt.WidgetAttribute.WA_OpaquePaintEvent)
        self._again = QPushButton(self)
        self._again.hide()
        self._again.clicked.connect(self.restart)
        self._process: QProcess | None = None
        self._mine: list[QProcess] = []  # outlives the widget, so that its end can end them
        self._frames: Frames | None = None
        self._ready = False
        self._pending = b""
        self._told = b""
        # What another process would have to be told after this one.
        self._source: tuple[str, str] | None = None
        self._options: dict[str, bool | str | None] = {}
        self._selected: tuple[str, ...] = ()
        self._kept_view: View | None = None
        self._thumbnails: QSize | None = None
        self._cut: tuple[str, list[float], list[float]] | None = None
        self._robot_at: FloatArray | None = None
        self._colors: tuple[tuple[int, int, int], tuple[int, int, int]] | None = None
        # What is shown.
        self._image: QImage | None = None
        self._pixels = b""
        self._view: View | None = None
        self._good_view: View | None = None
        self._shown: View | None = None
        self._things: dict[str, _Thing] = {}
        self._robot: ShownRobot | None = None
        self._box = (np.full(3, -0.5), np.full(3, 0.5))
        self._state = "empty"
        self._awaited = False  # something else was asked for than what frames still show
        self._message = ""
        self._playing = self._to_play = False  # whether it does, and whether it was asked to
        self._driven: str | None = None
        # What the mouse is doing.
        self._tool = "select"
        self._doing = ""
        self._pressed = self._last = QPointF()
        self._drag: gizmo.Drag | None = None
        self._before = np.eye(4)
        self._before_at: FloatArray | None = None
        self._hover: gizmo.Handle | None = None
        self._measure: list[FloatArray] = []
        self._asked: dict[int, tuple[str, QPoint]] = {}
        self._asks = 0
        self._name_things()
        self.destroyed.connect(partial(view_process.end, self._mine))

    # What the window calls.

    def show_scene(self, folder: Path | str) -> None:
        """Show a scene folder."""
        self._show("scene", str(folder))

    def show_points(self, path: Path | str) -> None:
        """Show an ``.npz`` with ``points``, ``colors`` and, as wished, ``path``; the next takes its place."""
        self._show("points", str(path))

    def reload(self) -> None:
        """The scene's folder has been edited: take over what has changed. The camera stays."""
        self._send("reload")

    def clear(self) -> None:
        """Show nothing."""
        self._source, self._image, self._shown = None, None, None
        self._things, self._state, self._cut = {}, "empty", None
        self._robot, self._robot_at = None, None
        self.clear_measure()
        self._send("clear")
        self.update()

    def set_options(self, **options: bool | str | None) -> None:
        """Set ``background``, ``supports``, ``parts``, ``seen``, ``wireframe``, ``reach``, or ``robot`` (its word)."""
        for name in options:
            if name not in OPTIONS:
                raise ValueError(f"there is no option {name!r}, only {', '.join(OPTIONS)}")
        self._options.update(options)
        self._send("options", **options)

    def options(self) -> dict[str, bool | str | None]:
        """What `set_options` was told so far."""
        return dict(self._options)

    def select(self, names: Sequence[str]) -> None:
        """Outline things; the handles of a tool are those of the last."""
        if tuple(names) != self._selected:
            self._selected = tuple(names)
            self._send("select", names=list(names))
            self.update()

    def selection(self) -> tuple[str, ...]:
        """What is outlined."""
        return self._selected

    def set_tool(self, tool: str) -> None:
        """What clicking and dragging do: ``select``, ``move``, ``turn``, ``measure``, ``robot`` or ``grab``."""
        if tool not in TOOLS:
            raise ValueError(f"there is no tool {tool!r}, only {', '.join(TOOLS)}")
        self._cancel()
        self._tool, self._hover = tool, None
        self.clear_measure()
        self.setCursor(Qt.CursorShape.CrossCursor if tool == "measure" else Qt.CursorShape.ArrowCursor)
        self.update()
        self.tool_changed.emit(tool)

    def tool(self) -> str:
        """Which tool it is."""
        return self._tool

    @property
    def is_dragging(self) -> bool:
        """Whether the mouse holds one of the tool's handles."""
        return self._drag is not None

    def clear_measure(self) -> None:
        """Show no measurement."""
        said, self._measure = len(self._measure) == 2, []
        if said:
            self.measured.emit(0.0)
        self.update()

    def set_thumbnails(self, size: QSize) -> None:
        """Have each thing drawn alone, so large (of this widget's pixels), in the process's spare time.

        `thumbnail` follows for each, and again for those that have changed after a `reload`.
        """
        self._thumbnails = size
        self._send_thumbnails()

    def show_cut(self, name: str, point: FloatArray, normal: FloatArray) -> None:
        """Show a plane through a thing."""
        self._cut = (name, point.tolist(), normal.tolist())
        self._send_cut()

    def hide_cut(self) -> None:
        """Show none."""
        if self._cut is not None:
            self._cut = None
            self._send_cut()

    def put_robot(self, pose: FloatArray | None) -> None:
        """Show the robot elsewhere, at ``(4, 4)`` scene_from_robot; None: where it belongs."""
        if pose is not None or self._robot_at is not None:
            self._robot_at = pose
            self._send("robot", pose=None if pose is None else pose.tolist())
            self.update()

    def robot_pose(self) -> FloatArray | None:
        """``(4, 4)`` where the robot is shown; None: nowhere."""
        return self._robot_at if self._robot is None or self._robot_at is not None else self._robot.pose

    def box(self, name: str) -> FloatArray | None:
        """``(8, 3)`` corners of a thing's box, in the scene; None: it is not shown."""
        thing = self._things.get(name)
        if thing is None:
            return None
        return np.asarray(corners(thing.low, thing.high) @ thing.pose[:3, :3].T + thing.pose[:3, 3])

    def play(self) -> None:
        """Let physics run, from where it was paused."""
        self._to_play = True
        self._send("play")

    def pause(self) -> None:
        """Stop physics where it is."""
        self._to_play = False
        self._send("pause")

    def reset(self) -> None:
        """End physics; everything is where the scene has it."""
        self._to_play = False
        self._send("reset")

    @property
    def is_playing(self) -> bool:
        """Whether physics runs."""
        return self._playing

    def drive(self, robot: str | None) -> None:
        """Begin physics anew with this robot in it, to be driven; None: without any. It plays on if it did."""
        self._driven = robot
        self._send("drive", robot=robot)

    def jog(self, move: Sequence[float], turn: Sequence[float]) -> None:
        """Move the arm's hand like this until told otherwise, as seen from here: `simulation.teleoperation.Command`."""
        self._send("jog", move=list(move), turn=list(turn))

    def bring_joint(self, number: int, value: float) -> None:
        """Bring a joint there, rad or m, as far as nothing is in its way."""
        self._send("joints", joint=number, value=value)

    def open_gripper(self, opening: float) -> None:
        """Open the gripper so far, 0 … 1."""
        self._send("joints", opening=opening)

    def frame(self, names: Sequence[str] = ()) -> None:
        """Come so near that these things fill the view; without names: everything worth seeing."""
        if self._view is None:
            return
        things = [self._things[name] for name in names if name in self._things]
        if things:
            boxes = [corners(item.low, item.high) @ item.pose[:3, :3].T + item.pose[:3, 3] for item in things]
            self._look(self._view.framing_points(np.concatenate(boxes), self._aspect, margin=2.2))
        else:
            self._look(self._view.framing(*self._box, self._aspect))

    def bring_in(self, points: FloatArray) -> None:
        """Go so far away that what is worth seeing and these points ``(N, 3)`` are seen, unless they are."""
        if self._view is not None and not self.sees(points):
            self._look(self._view.framing_points(np.concatenate([corners(*self._box), points]), self._aspect))

    def sees(self, points: FloatArray) -> bool:
        """Whether points ``(N, 3)`` are all in the picture."""
        if self._view is None:
            return False
        at, ahead = self._view.project(points, self._aspect)
        return bool((at > 0.0).all() and (at < 1.0).all() and (ahead > 0.0).all())

    def set_sky(self, top: tuple[int, int, int], bottom: tuple[int, int, int]) -> None:
        """Colours behind the scene, instead of those that suit the window's theme."""
        self._colors = (top, bottom)
        self._send("colors", top=top, bottom=bottom)
        self.update()

    def view(self) -> View | None:
        """The camera, or None while there is nothing to look at."""
        return self._view

    def set_view(self, view: View) -> None:
        """Look from elsewhere."""
        self._look(view)

    def image(self) -> QImage:
        """A copy of the picture that is shown; null if there is none."""
        return QImage() if self._image is None else self._image.copy()

    def pid(self) -> int:
        """The process's number, 0: there is none."""
        return 0 if self._process is None else int(self._process.processId())

    def restart(self) -> None:
        """Start the process anew and show what was shown."""
        self._kept_view = self._view
        self._stop()
        self._start()

    def shut_down(self) -> None:
        """End the process; showing something starts another."""
        self._stop()
        self._image, self._shown, self._state = None, None, "empty"

    def sizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """As large as there is room; this much by itself."""
        return QSize(800, 600)

    # The process.

    def _show(self, kind: str, place: str) -> None:
        if kind == "scene" or self._source is None or self._source[0] != kind:
            self._state = "loading"
            self._image, self._shown, self._things = None, None, {}
            self._kept_view, self._cut, self._robot, self._robot_at = None, None, None, None
            self.clear_measure()
            self._cancel()
        self._source, self._awaited = (kind, place), True
        if self._process is None:
            self._start()
        else:
            self._send(kind, **{"folder" if kind == "scene" else "path": place})
        self.update()

    def _start(self) -> None:
        self._state = "loading" if self._source is not None else "empty"
        self._again.hide()
        try:
            file = new_file()
            self._frames = Frames(file, write=False)
        except OSError as error:
            self._fail(self.tr("The 3-D view cannot start: {0}.").format(error), self.tr("Make room on the disk."))
            return
        process = view_process.new_process()
        process.readyReadStandardOutput.connect(self._hear)
        process.readyReadStandardError.connect(self._overhear)
        process.finished.connect(self._died)
        process.errorOccurred.connect(self._died)
        self._process = process
        self._mine.append(process)
        view_process.start(process, file)
        self.update()

    def _stop(self) -> None:
        process, self._process = self._process, None
        self._ready, self._pending, self._playing, self._to_play = False, b"", False, False
        self._cancel()
        if process is not None:
            view_process.end(self._mine)
        if self._frames is not None:
            self._frames.close()
            self._frames = None

    def _died(self) -> None:
        if self._process is None or self._process.state() != QProcess.ProcessState.NotRunning:
            return
        self._stop()
        said = self._told.decode("utf-8", "replace").strip().splitlines()
        detail = f" ({said[-1][:200]})" if said else ""
        self._fail(
            self.tr("The 3-D view has stopped.") + detail, self.tr("Restart the view; nothing of your scene is lost.")
        )

    def _fail(self, message: str, remedy: str) -> None:
        self._state = "crashed"
        self._message = f"{message}\n{remedy}"
        self._again.show()
        self._place_button()
        self.update()
        self.failed.emit(message, remedy)

    def _send(self, do: str, **more: object) -> None:
        """Tell the process something; before it is ready nothing is lost, for it is told the whole state then."""
        if self._process is not None and self._ready:
            self._process.write(QByteArray(json.dumps({"do": do, **more}).encode() + b"\n"))

    def _tell_all(self) -> None:
        self._send_size()
        top, bottom = self._sky()
        self._send("colors", top=top, bottom=bottom)
        if self._options:
            self._send("options", **self._options)
        if self._source is not None:
            kind, place = self._source
            self._send(kind, **{"folder" if kind == "scene" else "path": place})
        if self._driven is not None:
            self._send("drive", robot=self._driven)
        if self._to_play:
            self._send("play")
        if self._robot_at is not None:
            self._send("robot", pose=self._robot_at.tolist())
        if self._selected:
            self._send("select", names=list(self._selected))
        if self._thumbnails is not None:
            self._send_thumbnails()
        if self._cut is not None:
            self._send_cut()

    def _send_size(self) -> None:
        ratio = self.devicePixelRatioF()
        self._send("size", width=max(1, round(self.width() * ratio)), height=max(1, round(self.height() * ratio)))

    def _send_thumbnails(self) -> None:
        if self._thumbnails is not None:
            size = self._thumbnails * self.devicePixelRatioF()
            self._send("thumbnails", width=size.width(), height=size.height())

    def _send_cut(self) -> None:
        name, point, normal = self._cut or (None, None, None)
        self._send("cut", name=name, point=point, normal=normal)

    def _overhear(self) -> None:
        if self._process is not None:
            self._told = (self._told + self._process.readAllStandardError().data())[-TOLD_BYTES:]

    def _hear(self) -> None:
        if self._process is None:
            return
        *lines, self._pending = (self._pending + self._process.readAllStandardOutput().data()).split(b"\n")
        newest: Mapping[str, Any] | None = None
        for line in lines:
            try:
                said = json.loads(line)
            except ValueError:
                continue  # half a line of a process that died
            if said["event"] == "frame":
                newest = said  # older ones are being written over
                continue
            if said["event"] == "loaded":
                newest = None
            self._take(said)
        if newest is not None:
            self._take_frame(newest)

    def _take(self, said: Mapping[str, Any]) -> None:
        event = said["event"]
        if event == "ready":
            self._ready = True
            self._tell_all()
        elif event == "loaded":
            self._take_scene(said)
        elif event == "picked":
            self._take_pick(said)
        elif event == "robot":
            self._robot = ShownRobot.of(said)
            self.robot_shown.emit(self._robot)
            self.update()
        elif event == "reach":
            self.reach_told.emit(said["reached"], said["missed"], said["inside"], said["far"])
        elif event == "cut":
            self.cut_shown.emit(said["name"], said["met"])
        elif event == "thumbnail":
            picture = QImage.fromData(QByteArray(base64.b64decode(said["png"])))
            picture.setDevicePixelRatio(self.devicePixelRatioF())
            self.thumbnail.emit(said["name"], picture)
        elif event == "physics":
            self._playing = said["state"] == "playing"
            self.physics_changed.emit(said["state"])
            self.update()
        elif event == "driven":
            self.driven.emit(said["robot"], said["joints"])
        elif event == "arm":
            self.arm_moved.emit(said["joints"], said["blocked"])
        elif event == "grabbed" and self._doing == "hand" and not said["name"]:
            self._doing = "orbit"  # nothing there to be held
        elif event == "error":
            if said["about"] in ("scene", "points"):
                self._awaited = False
                if self._image is None:
                    self._state, self._message = "failed", f"{said['message']}\n{said['remedy']}"
                    self.update()
            self.failed.emit(said["message"], said["remedy"])

    def _take_scene(self, said: Mapping[str, Any]) -> None:
        self._awaited = False
        self._things = {
            item["name"]: _Thing(*(np.array(item[key]) for key in ("pose", "low", "high"))) for item in said["objects"]
        }
        self._box = (np.array(said["low"]), np.array(said["high"]))
        self._selected = tuple(name for name in self._selected if name in self._things)
        if self._kept_view is not None:
            self._look(self._kept_view)
            self._kept_view = None
        elif not said["again"] or self._view is None:
            self._view = View.of(said["camera"])
        self._good_view = View.of(said["camera"])
        self.loaded.emit(list(self._things))

    def _take_frame(self, said: Mapping[str, Any]) -> None:
        if self._frames is None or self._awaited or self._state in ("empty", "failed"):
            return
        width, height = said["width"], said["height"]
        self._pixels = self._frames.take(said["slot"], width, height)
        self._image = QImage(self._pixels, width, height, 3 * width, QImage.Format.Format_RGB888)
        self._shown = View.of(said["camera"])
        self._state = "shown"
        self.update()
        self.frame_shown.emit(said["still"])

    def _take_pick(self, said: Mapping[str, Any]) -> None:
        point, normal = (None if said[key] is None else np.array(said[key]) for key in ("point", "normal"))
        asked, place = self._asked.pop(said["id"], ("", QPoint()))
        if asked == "pivot":
            if point is not None and self._view is not None:
                self._look(self._view.turned_about(point))
        elif asked == "measure":
            if point is not None:
                if len(self._measure) == 2:
                    self.clear_measure()
                self._measure.append(point)
                self.update()
                if len(self._measure) == 2:
                    self.measured.emit(float(np.linalg.norm(self._measure[1] - self._measure[0])))
        elif asked:
            name = said["name"] if said["kind"] == "object" else ""
            if asked == "menu":
                self.menu_wanted.emit(name, place)
            elif asked == "more":
                if name:
                    others = [other for other in self._selected if other != name]
                    self.select(others if name in self._selected else [*others, name])
                self.picked_more.emit(name, point)
            else:
                self.select([name] if name else [])
                self.picked.emit(name, point)
                self.hit.emit(Hit(said["kind"], said["name"], point, normal))

    # The camera.

    @property
    def _aspect(self) -> float:
        return max(1, self.width()) / max(1, self.height())

    def _look(self, view: View) -> None:
        self._view = view
        self._send("camera", **view.words())

    def _share(self, at: QPointF) -> tuple[float, float]:
        return at.x() / max(1, self.width()), at.y() / max(1, self.height())

    def _ask(self, at: QPointF, purpose: str) -> None:
        x, y = self._share(at)
        self._asks += 1
        self._asked[self._asks] = (purpose, self.mapToGlobal(at.toPoint()))
        self._send("pick", x=x, y=y, id=self._asks)

    # Handles.

    def _held(self) -> FloatArray | None:
        """The pose of what the tool's handles belong to: the robot, or the last selected thing."""
        if self._playing or self._tool not in gizmo.HANDLES:
            return None
        if self._tool == "robot":
            return self.robot_pose()
        thing = self._things.get(self._selected[-1]) if self._selected else None
        return None if thing is None else thing.pose

    def _handle_at(self, at: QPointF) -> tuple[gizmo.Handle, FloatArray | None] | None:
        """The handle at a place, and the point of the robot that is taken hold of instead, if it is that."""
        pose = self._held()
        if pose is None or self._shown is None:
            return None
        size = self.width(), self.height()
        handle = gizmo.under(self._tool, pose[:3, 3], self._shown, (at.x(), at.y()), size)
        if handle is not None:
            return handle, None
        if self._tool == "robot" and self._robot is not None:
            point = self._robot.under(pose, self._shown, self._share(at), self._aspect)
            if point is not None:
                return gizmo.HANDLES["robot"][0], point
        return None

    def _cancel(self) -> None:
        """Give up what the mouse was doing."""
        if self._drag is not None:
            self._drag = None
            if self._tool == "robot":
                self.put_robot(self._before_at)
                self.robot_moved.emit(self._before, "dragged")
            elif self._selected and self._selected[-1] in self._things:
                self._move(self._selected[-1], self._before)
                self._send("pose", name=self._selected[-1], pose=None)
        if self._doing == "hand":
            self._send("release")
        self._doing = ""

    def _move(self, name: str, pose: FloatArray) -> None:
        thing = self._things[name]
        self._things[name] = _Thing(pose, thing.low, thing.high)
        self._send("pose", name=name, pose=pose.tolist())
        self.update()

    def _move_robot(self, pose: FloatArray, how: str) -> None:
        self.put_robot(pose)
        self.robot_moved.emit(pose, how)

    # What Qt calls.

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802 - Qt's name
        """Begin to orbit, to pan, to drag a handle, or to grab."""
        at, left = event.position(), event.button() == Qt.MouseButton.LeftButton
        self._pressed = self._last = at
        if self._view is None:
            return
        found, pose = self._handle_at(at) if left else None, self._held()
        if found is not None and pose is not None and self._shown is not None:
            self._before, self._before_at = pose, self._robot_at
            self._drag = gizmo.Drag(found[0], pose, self._shown, self._share(at), self._aspect, found[1])
            self._doing, self._hover = "handle", found[0]
        elif left and self._tool == "grab" and self._playing:
            self._doing = "hand"
            x, y = self._share(at)
            self._send("grab", x=x, y=y)
        elif left and not event.modifiers() & Qt.KeyboardModifier.ShiftModifier:
            self._doing = "click"
        elif event.button() == Qt.MouseButton.RightButton:
            self._doing = "menu"
        else:
            self._doing = "pan"

    def mouseMoveEvent(self, event: QMouseEvent) -> None:  # noqa: N802 - Qt's name
        """Go on with it."""
        at = event.position()
        step, self._last = at - self._last, at
        if self._doing == "click" and _length(at - self._pressed) > CLICK_PX:
            self._doing, step = "orbit", at - self._pressed
        elif self._doing == "menu" and _length(at - self._pressed) > CLICK_PX:
            self._doing, step = "pan", at - self._pressed
        if self._doing == "handle" and self._drag is not None:
            snap = bool(event.modifiers() & Qt.KeyboardModifier.ControlModifier)
            pose = self._drag.pose(self._share(at), snap=snap)
            if self._tool == "robot":
                self._move_robot(pose, "dragged")
            else:
                self._move(self._selected[-1], pose)
        elif self._doing == "hand":
            x, y = self._share(at)
            self._send("drag", x=x, y=y)
        elif self._doing == "orbit" and self._view is not None:
            self._look(self._view.orbited(-ORBIT_DEG * step.x(), ORBIT_DEG * step.y()))
        elif self._doing == "pan" and self._view is not None:
            self._look(self._view.panned(*self._share(step), self._aspect))
        elif not self._doing:
            found = self._handle_at(at)
            handle = None if found is None else found[0]
            if handle != self._hover:
                self._hover = handle
                self.update()

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:  # noqa: N802 - Qt's name
        """End it."""
        doing, self._doing = self._doing, ""
        if doing == "handle" and self._drag is not None:
            self._drag = None
            if self._tool == "robot":
                pose = self.robot_pose()
                if pose is not None and not np.array_equal(pose, self._before):
                    self.robot_moved.emit(pose, "dropped")
                return
            name = self._selected[-1]
            if name in self._things and not np.array_equal(self._things[name].pose, self._before):
                self.pose_changed.emit(name, self._things[name].pose.copy())
        elif doing == "hand":
            self._send("release")
        elif doing == "menu":
            self._ask(event.position(), "menu")
        elif doing == "click":
            more = bool(event.modifiers() & Qt.KeyboardModifier.ControlModifier)
            self._ask(event.position(), "measure" if self._tool == "measure" else "more" if more else "click")

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:  # noqa: N802 - Qt's name
        """The mouse asks when its button is let go without having moved."""
        if event.reason() == QContextMenuEvent.Reason.Keyboard:
            self.menu_wanted.emit("", self.mapToGlobal(self.rect().center()))
        event.accept()

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:  # noqa: N802 - Qt's name
        """Turn about what is there from now on."""
        self._doing = ""
        if event.button() == Qt.MouseButton.LeftButton:
            self._ask(event.position(), "pivot")

    def wheelEvent(self, event: QWheelEvent) -> None:  # noqa: N802 - Qt's name
        """Come nearer to what the cursor is on."""
        if self._view is not None and self._doing != "hand":
            factor = float(0.9987 ** event.angleDelta().y())
            self._look(self._view.zoomed(factor, *self._share(event.position()), self._aspect))
        event.accept()

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802 - Qt's name
        """Arrows orbit or push the robot, + and - zoom, F frames, Home looks as at first, Escape gives up."""
        turns = {
            Qt.Key.Key_Left: (-KEY_DEG, 0.0),
            Qt.Key.Key_Right: (KEY_DEG, 0.0),
            Qt.Key.Key_Up: (0.0, KEY_DEG),
            Qt.Key.Key_Down: (0.0, -KEY_DEG),
        }
        key, robot = event.key(), self._held() if self._tool == "robot" and not self._doing else None
        pushed = None if robot is None or self._view is None else nudged(robot, key, event.modifiers(), self._view)
        if pushed is not None:
            self._move_robot(pushed, "pushed")
        elif self._view is not None and key in turns:
            self._look(self._view.orbited(*turns[Qt.Key(key)]))
        elif self._view is not None and key in (Qt.Key.Key_Plus, Qt.Key.Key_Equal):
            self._look(self._view.zoomed(KEY_ZOOM))
        elif self._view is not None and key in (Qt.Key.Key_Minus, Qt.Key.Key_Underscore):
            self._look(self._view.zoomed(1 / KEY_ZOOM))
        elif key == Qt.Key.Key_F:
            self.frame(self._selected)
        elif key == Qt.Key.Key_Home and self._good_view is not None:
            self._look(self._good_view)
        elif key == Qt.Key.Key_Escape and (self._doing or self._measure):
            self._cancel()
            self.clear_measure()
        else:
            super().keyPressEvent(event)

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802 - Qt's name
        """Ask for pictures of the new size."""
        self._send_size()
        self._place_button()
        super().resizeEvent(event)

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802 - Qt's name
        """Ask for pictures as fine as the screen that this is now on."""
        self._send_size()
        super().showEvent(event)

    def closeEvent(self, event: QCloseEvent) -> None:  # noqa: N802 - Qt's name
        """End the process with the widget."""
        self.shut_down()
        super().closeEvent(event)

    def event(self, event: QEvent) -> bool:
        """Follow the screen's density."""
        if event.type() == getattr(QEvent.Type, "DevicePixelRatioChange", None):
            self._send_size()
            self._send_thumbnails()
        return bool(super().event(event))

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802 - Qt's name
        """Follow the theme and the language."""
        if event.type() == QEvent.Type.PaletteChange:
            top, bottom = self._sky()
            self._send("colors", top=top, bottom=bottom)
            self.update()
        elif event.type() == QEvent.Type.LanguageChange:
            self._name_things()
        super().changeEvent(event)

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 - Qt's name
        """Paint the last picture and what lies over it."""
        painter = QPainter(self)
        if self._image is not None and self._state != "crashed":
            painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
            painter.drawImage(QRectF(self.rect()), self._image)
            painter.setRenderHint(QPainter.RenderHint.Antialiasing)
            held = self._held()
            if held is not None and self._shown is not None:
                alone = self._doing == "handle"
                paint_handles(painter, self.size(), self._tool, held[:3, 3], self._shown, self._hover, alone=alone)
            if self._measure and self._shown is not None:
                paint_measure(painter, self.size(), np.array(self._measure), self._shown)
        else:
            painter.fillRect(self.rect(), QColor(*self._sky()[0]))
            self._paint_text(painter)
        painter.end()

    def _paint_text(self, painter: QPainter) -> None:
        texts = {
            "empty": self.tr("Nothing to show yet."),
            "loading": self.tr("Loading the scene …"),
            "shown": "",
        }
        text = texts.get(self._state, self._message)
        color = self.palette().color(QPalette.ColorRole.WindowText)
        color.setAlphaF(0.7)
        painter.setPen(color)
        room = QRectF(self.rect()).adjusted(24, 24, -24, -24)
        if self._state == "crashed":
            room.setBottom(max(room.top() + 1, self._again.y() - 12))
            flags = Qt.AlignmentFlag.AlignHCenter | Qt.AlignmentFlag.AlignBottom | Qt.TextFlag.TextWordWrap
        else:
            flags = Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap
        painter.drawText(room, int(flags), text)

    def _sky(self) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
        if self._colors is not None:
            return self._colors
        dark = self.palette().color(QPalette.ColorRole.Window).lightness() < 128
        return DARK_SKY if dark else LIGHT_SKY

    def _place_button(self) -> None:
        self._again.adjustSize()
        self._again.move((self.width() - self._again.width()) // 2, self.height() // 2 + 8)

    def _name_things(self) -> None:
        self._again.setText(self.tr("Restart the view"))
        self._again.setToolTip(self.tr("Start what draws the scene again; nothing of the scene is lost."))
        self.setAccessibleName(self.tr("3-D view of the scene"))
        self.setAccessibleDescription(
            self.tr("Arrow keys turn it, plus and minus zoom, F frames what is selected, Home begins anew.")
        )
        self.setToolTip(
            self.tr(
                "Drag: turn · right button or Shift and drag: move · wheel: zoom\n"
                "Click: select · Ctrl+click: several · double click: turn about this point\n"
                "Right click: what can be done\n"
                "Arrows: turn · + and −: zoom · F: frame what is selected, or all · Home: look as at first"
            )
        )


def _length(way: QPointF) -> float:
    return float(np.hypot(way.x(), way.y()))
