"""The robot in the picture: what it looks like, where it stands and what it reaches from there.

Reading its meshes takes some seconds, and asking what it reaches a tenth of one: a thread does both, and the picture
goes on meanwhile. Until the meshes are there, its axes are shown.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from app.console import JsonConsole, internal_error
from app.viewer.canvas import Canvas, marker_actors, reach_actors, robot_actors
from app.viewer.files import Document, Meshes
from reconstruction.errors import InputError, PocketworldError
from reconstruction.mesh import Mesh
from reconstruction.scene import Scene, SceneObject, Support

if TYPE_CHECKING:
    from simulation.robots import Robot

FloatArray = npt.NDArray[np.float64]
Links = dict[str, tuple[Mesh, FloatArray]]
RESTS_S = 0.12
"""What it reaches is asked when it has not been moved for so long."""
FOOT_M, OVERLAP_M = 0.02, 0.005
"""A link that begins so low is the base's; a thing whose box is so far in that of such a link stands in the way."""
OVER_M = 0.004
"""The ring that shows its reach lies so far over the table: a scanned table is not even."""


@dataclass(frozen=True)
class _Found:
    """A robot in a scene.

    Attributes:
        robot: None where it is not on this computer.
        links: None until they have been read, or where they cannot be.
        suits: ``(4, 4)`` `scene_from_robot` where it stands if nobody says where; None where no place suits.
        error: why one of them is missing.
        bare: its meshes cannot be read.
    """

    name: str
    document: Document
    robot: Robot | None
    links: Links | None
    suits: FloatArray | None
    error: PocketworldError | None
    bare: bool = False


class Stand:
    """The one robot that is shown, if any.

    It says ``robot`` and ``reach`` (`app.viewer`) by its console, and calls `changed` when the picture is another.
    """

    def __init__(self, canvas: Canvas, console: JsonConsole, changed: Callable[[], None]) -> None:
        self._canvas, self._console, self._changed = canvas, console, changed
        self._hands = ThreadPoolExecutor(max_workers=1)
        self._job: Future[Any] | None = None
        self._take: Callable[[Future[Any]], None] = lambda _: None
        self._name = ""
        self._document: Document | None = None
        self._preview: FloatArray | None = None
        self._moved = 0.0
        self._found: _Found | None = None
        self._wants_reach = False
        self._asked: tuple[Robot, Document, bytes] | None = None
        """Of what it was counted last what it reaches: the robot, the scene, and where it stood."""
        self._looks: dict[str, Links] = {}
        self._rings: dict[tuple[str, float], tuple[FloatArray, FloatArray]] = {}
        self._parts = Meshes()

    # What the viewer calls.

    def choose(self, name: str) -> None:
        """Show this robot, empty: none."""
        if name == self._name and (self._found is None or self._found.error is None):
            return
        self._name, self._found, self._asked = name, None, None
        self._canvas.robot, self._canvas.reach = {}, []
        self._changed()

    def scene(self, document: Document | None) -> None:
        """Another scene, the same one edited, or none. What was moved by `put` stays there."""
        same = document is not None and self._document is not None and document.folder == self._document.folder
        self._document = document
        if not same:
            self._preview, self._found, self._asked = None, None, None
            self._canvas.robot, self._canvas.reach = {}, []
        self.home()

    def put(self, pose: FloatArray | None) -> None:
        """Show it elsewhere, at `scene_from_robot` ``(4, 4)``; None: where it belongs."""
        self._preview, self._moved = pose, time.monotonic()
        self.home()

    def tell_reach(self, wanted: bool) -> None:
        """Whether to show and to say what it reaches, now and whenever that changes."""
        self._wants_reach, self._asked = wanted, None
        self._canvas.reach = []
        self._changed()

    def home(self) -> None:
        """Its joints are at home again, and it stands where it is to stand."""
        found, pose = self._found, self._pose
        if found is None:
            return
        if pose is None:
            self._canvas.robot, self._canvas.reach = {}, []
        elif found.links is None:
            self._canvas.robot = marker_actors(pose)
        elif not self._canvas.robot.keys() >= found.links.keys():
            self._canvas.robot = robot_actors({link: (mesh, pose @ at) for link, (mesh, at) in found.links.items()})
        else:
            self._canvas.pose_robot({link: pose @ at for link, (_, at) in found.links.items()})
        if pose is not None and self._document is not None:
            self._canvas.move_reach(_on_plane(pose, _table_m(self._document)))
        self._changed()

    def place(self, name: str) -> FloatArray:
        """``(4, 4)`` `scene_from_robot`, at once: where a robot stands in the scene that is shown.

        Raises:
            PocketworldError: there is no such robot, or no place for it.
        """
        from simulation.robots import robot_of

        if self._document is None:
            raise InputError("There is no scene for a robot.", remedy="Open a scene first.", code="no_scene")
        if self._document.mount is not None:
            return self._document.mount
        return self._suits(self._document, robot_of(name))

    @property
    def busy(self) -> bool:
        """Whether `advance` is to be called again soon."""
        return self._job is not None or self._next() is not None

    def advance(self) -> None:
        """Take over what the thread has found, and give it more to do."""
        if self._job is not None and self._job.done():
            job, self._job = self._job, None
            try:
                self._take(job)
            except Exception as error:  # noqa: BLE001 - a robot must not take the view away
                self._console.error(internal_error(error, None), about="robot")
        if self._job is None:
            work = self._next()
            if work is not None and time.monotonic() - self._moved >= RESTS_S:
                do, self._take = work
                self._job = self._hands.submit(do)

    # What the thread does.

    def _next(self) -> tuple[Callable[[], Any], Callable[[Future[Any]], None]] | None:
        """What is to be found out, and who takes it."""
        document, found, pose = self._document, self._found, self._pose
        if not self._name or document is None:
            return None
        if found is None or found.document is not document:
            return partial(self._find, self._name, document), partial(self._take_found, self._name, document)
        if self._wants_reach and found.robot is not None and pose is not None:
            asked = found.robot, document, pose.tobytes()
            if not _same(self._asked, asked):
                boxes = None if found.links is None else _boxes(found.links)
                return partial(self._count, found.robot, document, pose, boxes), partial(self._take_reach, asked)
        if found.robot is not None and found.links is None and not found.bare:
            return partial(self._dress, found), partial(self._take_found, self._name, document)
        return None

    def _find(self, name: str, document: Document) -> _Found:
        from simulation.robots import robot_of

        robot, suits, error = None, None, None
        try:
            robot = robot_of(name)
        except PocketworldError as missing:
            error = missing
        try:
            suits = document.mount if document.mount is not None else self._suits(document, robot)
        except PocketworldError as nowhere:
            error = error or nowhere
        return _Found(name, document, robot, self._looks.get(name), suits, error)

    def _dress(self, found: _Found) -> _Found:
        assert found.robot is not None
        try:
            self._looks[found.name] = _look(found.robot)
            return replace(found, links=self._looks[found.name])
        except PocketworldError as missing:
            return replace(found, error=missing, bare=True)

    def _suits(self, document: Document, robot: Robot | None) -> FloatArray:
        """Where a robot stands in cousins and demonstrations if nobody has said where.

        Raises:
            InputError: nothing is there that it could stand by, or a file is damaged.
        """
        from simulation.layout import usual_mount

        if not document.objects:
            raise InputError(
                "Nothing stands in this scene, so no place suits the robot by itself.",
                remedy="Say where it stands.",
                code="no_place_for_robot",
            )
        scene = self._outlines(document)
        return usual_mount(scene if robot is None else robot.mounted(scene))

    def _outlines(self, document: Document) -> Scene:
        """The scene as far as places are chosen by it: supports, and things' convex parts.

        Reading the rest of it would take long, and nobody looks at it.
        """
        things = []
        for entry in document.objects:
            parts = tuple(self._parts.read(path) for path in entry.parts)
            middle, nothing = np.zeros(3), np.zeros((3, 3))
            things.append(
                SceneObject(entry.name, entry.pose, parts[0], parts, 0.0, middle, nothing, 0.0, 0.0, "", 0.0, 0.0)
            )
        self._parts.forget({path for entry in document.objects for path in entry.parts})
        supports = tuple(Support(name, plane, outline) for name, (plane, outline) in document.supports.items())
        return Scene(np.eye(4), supports, objects=tuple(things), robot_mount=document.mount)

    def _count(self, robot: Robot, document: Document, pose: FloatArray, boxes: FloatArray | None) -> dict[str, Any]:
        from simulation.reach import reach_on, reached

        chain = robot.chain
        points = np.array([entry.pose[:3, 3] for entry in document.objects]).reshape(-1, 3)
        met = reached(robot, chain, pose, points) if len(points) else np.zeros(0, dtype=bool)
        height = round(_table_m(document) - float(pose[2, 3]), 3)
        key = robot.name, height
        if key not in self._rings:
            self._rings[key] = reach_on(robot, chain, height)
        names = [entry.name for entry in document.objects]
        return {
            "reached": [name for name, there in zip(names, met, strict=True) if there],
            "missed": [name for name, there in zip(names, met, strict=True) if not there],
            "inside": [] if boxes is None else self._standing_in(document, pose, boxes),
            "ring": self._rings[key],
        }

    def _standing_in(self, document: Document, pose: FloatArray, boxes: FloatArray) -> list[str]:
        """Names of things that the robot's base stands in, its links having such `boxes`."""
        feet, found = boxes[boxes[:, 0, 2] < FOOT_M], []
        for entry in document.objects:
            placed = np.linalg.inv(pose) @ entry.pose
            for path in entry.parts:
                points = self._parts.read(path).vertices @ placed[:3, :3].T + placed[:3, 3]
                low, high = points.min(axis=0) + OVERLAP_M, points.max(axis=0) - OVERLAP_M
                if ((low < feet[:, 1]) & (high > feet[:, 0])).all(axis=1).any():
                    found.append(entry.name)
                    break
        return found

    # What comes of it.

    @property
    def _pose(self) -> FloatArray | None:
        if self._preview is not None:
            return self._preview
        if self._document is not None and self._document.mount is not None:
            return self._document.mount
        return None if self._found is None else self._found.suits

    def _take_found(self, name: str, document: Document, job: Future[_Found]) -> None:
        if name != self._name or document is not self._document:
            return  # somebody has chosen otherwise meanwhile
        try:
            found = job.result()
        except Exception as error:  # noqa: BLE001 - it would be tried for ever
            found = _Found(name, document, None, None, document.mount, internal_error(error, None), bare=True)
        if self._found is None or self._found.links is not found.links:
            self._canvas.robot, self._asked = {}, None
        self._found = found
        self.home()
        mount = found.document.mount
        pose = found.suits if mount is None else mount
        self._console.say(
            "robot",
            "",
            name=found.name,
            pose=None if pose is None else pose.tolist(),
            said=mount is not None,
            boxes=_boxes(found.links).tolist(),
            message="" if found.error is None else found.error.message,
            remedy="" if found.error is None else found.error.remedy,
        )

    def _take_reach(self, asked: tuple[Robot, Document, bytes], job: Future[dict[str, Any]]) -> None:
        robot = None if self._found is None else self._found.robot
        if not self._wants_reach or asked[0] is not robot or asked[1] is not self._document or self._document is None:
            return
        self._asked = asked
        counted = job.result()
        near, far = counted["ring"]
        pose = self._pose
        if pose is not None:
            self._canvas.reach = reach_actors(near, far)
            self._canvas.move_reach(_on_plane(pose, _table_m(self._document)))
            self._changed()
        far_m = float(far.max())
        names = {key: counted[key] for key in ("reached", "missed", "inside")}
        self._console.say("reach", "", **names, far=far_m)


def _look(robot: Robot) -> Links:
    """A robot's links by name, and their poses in the base's frame, the arm being at home.

    Raises:
        InputError: one of its files is missing or damaged.
    """
    from simulation.robot_meshes import link_meshes
    from simulation.robots import Arm
    from simulation.world import World

    with World() as world:
        poses = Arm(world, robot, np.eye(4)).link_poses()
    return {link: (mesh, poses.get(link, np.eye(4))) for link, mesh in link_meshes(robot.urdf).items()}


def _same(asked: tuple[Robot, Document, bytes] | None, other: tuple[Robot, Document, bytes]) -> bool:
    return asked is not None and asked[0] is other[0] and asked[1] is other[1] and asked[2] == other[2]


def _boxes(links: Links | None) -> FloatArray:
    """``(L, 2, 3)`` lowest and highest corner of each link in the base's frame: by them the mouse finds the robot."""
    if not links:  # the axes that stand for it
        return np.array([[[-0.05, -0.05, 0.0], [0.15, 0.15, 0.15]]])
    placed = [mesh.vertices @ pose[:3, :3].T + pose[:3, 3] for mesh, pose in links.values()]
    return np.array([[points.min(axis=0), points.max(axis=0)] for points in placed])


def _table_m(document: Document) -> float:
    """How high the main support is."""
    return next((float(outline[:, 2].mean()) for _, outline in document.supports.values() if len(outline)), 0.0)


def _on_plane(pose: FloatArray, height_m: float) -> FloatArray:
    """`scene_from_ring` ``(4, 4)``: where the robot stands, seen from above, at the table's height."""
    ring = pose.copy()
    ring[2, 3] = height_m + OVER_M
    return ring
