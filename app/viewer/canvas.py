"""The picture: what is in it, how it is lit, and how it is drawn fast (while it moves) or well (when it rests)."""

from __future__ import annotations

import contextlib
import os
import queue
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from app.viewer.files import Cloud, Document, Entry, Meshes, Stamp
from app.viewer.frames import MAX_PIXELS
from app.viewer.surfaces import (
    Target,
    coloured_parts,
    lighter,
    polydata,
    polyline,
    surface,
    texture_of,
)
from app.viewer.view import View, corners, looking_down
from reconstruction.errors import PocketworldError
from reconstruction.mesh import Mesh

if sys.platform.startswith("linux") and not os.environ.get("DISPLAY"):
    # Without a display VTK would first try one, and say so.
    os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")

import vtkmodules.vtkRenderingOpenGL2  # noqa: E402, F401 - it brings what draws
from vtkmodules.util.numpy_support import numpy_to_vtk, vtk_to_numpy  # noqa: E402
from vtkmodules.vtkCommonCore import vtkUnsignedCharArray  # noqa: E402
from vtkmodules.vtkCommonDataModel import vtkCellArray  # noqa: E402
from vtkmodules.vtkCommonMath import vtkMatrix4x4  # noqa: E402
from vtkmodules.vtkFiltersCore import vtkTriangleFilter, vtkTubeFilter  # noqa: E402
from vtkmodules.vtkIOPLY import vtkPLYReader  # noqa: E402
from vtkmodules.vtkRenderingCore import (  # noqa: E402
    vtkActor,
    vtkLight,
    vtkPolyDataMapper,
    vtkRenderer,
    vtkRenderWindow,
)

FloatArray = npt.NDArray[np.float64]
ByteImage = npt.NDArray[np.uint8]
LIGHT_FACES = 100_000
"""A scene with more is drawn with about so many while it moves."""
MOVING_PIXELS, STILL_PIXELS = 300_000, 2_500_000
"""A picture has at most so many where the processor draws it; the window enlarges it."""
CLOUD_POINTS = 200_000
"""Of a point cloud, drawn while it moves."""
SOFTWARE = ("llvmpipe", "softpipe", "swrast", "swiftshader", "software")
ACCENT = (1.0, 0.62, 0.05)
"""Of what is selected."""
OUTLINE = 0.0042
"""Width of its outline, a share of the picture's height."""
LARGE_BYTES = 20_000_000
"""A background file that is larger comes into the picture after the things."""
OPTIONS = ("background", "supports", "parts", "seen", "wireframe")
CUT_MARGIN = 0.12
"""So much wider on each side than the thing a cutting plane is shown, a share of the thing's diagonal."""
CUT_LEAST = 1e-3
"""A plane that takes off less of a thing's extent only touches it."""
CUT_COLOR = (0.25, 0.62, 1.0)
REACH_COLOR = (0.05, 0.78, 0.66)
PLUMB_M, PLUMB_COLOR = 0.015, (1.0, 0.62, 0.05)
"""Radius of the ring under a hand that is driven, and its colour."""
REACH_M = 0.003
"""Half the width of the lines that show what a robot reaches."""
THUMB_FINER = 3
"""Thumbnails are drawn so much larger than they are to be, which makes their edges smooth."""
THUMB_ELEVATIONS = (26.0, 44.0)
"""Thumbnails are drawn from there, whichever shows more of the thing."""
RESTS = 1e-4
"""What changes less in a pose is not seen: no new picture for it."""
NEAR_M = 0.015
"""What is scanned so near to a support's plane is that support."""


@dataclass(frozen=True)
class Hit:
    """What is at a place in the picture.

    Attributes:
        kind: object, support, background, point or nothing.
        point: ``(3,)`` of the scene; `normal`: unit, towards the camera's side. None where there is nothing.
    """

    kind: str = "nothing"
    name: str = ""
    point: FloatArray | None = None
    normal: FloatArray | None = None


def _actor(data: Any, texture: Any = None, *, ambient: float = 0.55, diffuse: float = 0.6) -> Any:
    """Something to be drawn. A scan's texture has the room's light in it already: most of ours is even."""
    mapper, actor = vtkPolyDataMapper(), vtkActor()
    mapper.SetInputData(data)
    actor.SetMapper(mapper)
    actor.SetTexture(texture)
    look = actor.GetProperty()
    look.SetAmbient(ambient)
    look.SetDiffuse(diffuse)
    look.SetSpecular(0.0)
    plain = texture is None and data.GetPointData().GetScalars() is None
    look.SetColor(*((0.74, 0.74, 0.76) if plain else (1.0, 1.0, 1.0)))
    look.SetInterpolationToPhong()
    return actor


def _flat(data: Any, color: Sequence[float], width: float = 1.0) -> Any:
    actor = _actor(data, ambient=1.0, diffuse=0.0)
    actor.GetProperty().SetColor(*color)
    actor.GetProperty().SetLineWidth(width)
    return actor


def _matrix(pose: FloatArray) -> Any:
    matrix = vtkMatrix4x4()
    matrix.DeepCopy(pose.ravel().tolist())
    return matrix


class Item:
    """One thing in the picture: its surface, in full and light, and its other looks, made when they are asked for."""

    def __init__(self, mesh: Mesh, pose: FloatArray, entry: Entry | None = None) -> None:
        self.mesh, self.pose, self.entry = mesh, pose, entry
        self.home = pose
        self.target = Target(mesh, one_sided=entry is None)
        self.low, self.high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
        textured = mesh.texture is not None and mesh.corner_uv is not None
        self._texture = texture_of(mesh.texture) if textured and mesh.texture is not None else None
        self.actors: dict[str, Any] = {"full": self._look(_actor(surface(mesh), self._texture))}

    def _look(self, actor: Any) -> Any:
        if self.entry is None:  # a room: looked into from outside, and with too rough a surface for much light
            actor.GetProperty().BackfaceCullingOn()
            actor.GetProperty().SetAmbient(0.88)
            actor.GetProperty().SetDiffuse(0.12)
        actor.SetUserMatrix(_matrix(self.pose))
        return actor

    def lighten(self, faces: int, low: FloatArray | None, high: FloatArray | None) -> None:
        """Make the copy for the moving picture."""
        self.actors["light"] = self._look(_actor(surface(lighter(self.mesh, faces, low, high))))

    def make(self, look: str, meshes: Meshes) -> None:
        """Make another look ready: ``parts`` or ``seen``."""
        if look in self.actors or self.entry is None:
            return
        if look == "parts":
            actor = _actor(coloured_parts([meshes.read(path) for path in self.entry.parts]))
        elif self.entry.seen is not None:
            reader = vtkPLYReader()
            reader.SetFileName(str(self.entry.seen))
            reader.Update()
            actor = _actor(reader.GetOutput())
        else:
            actor = _actor(surface(replace(self.mesh, corner_uv=None, texture=None, colors=None)))
        self.actors[look] = self._look(actor)

    def move(self, pose: FloatArray) -> None:
        """Show it elsewhere."""
        self.pose = pose
        for actor in self.actors.values():
            actor.SetUserMatrix(_matrix(pose))


class Canvas:
    """The render window and all that is in it."""

    def __init__(self) -> None:
        self.view = looking_down(-70.0, 35.0)
        self.size = (640, 480)
        self.items: dict[str, Item] = {}
        self.document: Document | None = None
        self.meshes = Meshes()
        self.options: dict[str, bool] = {**dict.fromkeys(OPTIONS, False), "background": True, "supports": True}
        self.selected: set[str] = set()
        self.low, self.high = np.full(3, -0.5), np.full(3, 0.5)
        self.robot: dict[str, Any] = {}
        self.reach: list[Any] = []
        self._plumb: list[Any] = []
        self._background: Item | None = None
        self._supports: list[tuple[str, Any]] = []
        self._cloud: dict[str, Any] = {}
        self._cut: tuple[str, FloatArray, FloatArray] | None = None
        self._cut_actors: list[Any] = []
        self._pictured: dict[str, tuple[Stamp, ...]] = {}
        self._points = np.zeros((0, 3), dtype=np.float32)
        self._shown: list[Any] = []
        self._later: list[Callable[[], None]] = []
        self._reading: threading.Thread | None = None
        self._read: queue.SimpleQueue[tuple[Document, Item | PocketworldError | None]] = queue.SimpleQueue()
        self._renderer = vtkRenderer()
        self._window = vtkRenderWindow()
        self._window.SetOffScreenRendering(1)
        self._window.SetMultiSamples(0)
        self._window.SetAlphaBitPlanes(1)
        self._window.AddRenderer(self._renderer)
        # Lines are drawn after the shadows, which would make mud of their colours.
        self._over = vtkRenderer()
        self._over.SetLayer(1)
        self._over.SetPreserveDepthBuffer(1)
        self._over.SetActiveCamera(self._renderer.GetActiveCamera())
        self._window.SetNumberOfLayers(2)
        self._window.AddRenderer(self._over)
        self._bytes = vtkUnsignedCharArray()
        self._light_up()
        self.color((236, 239, 243), (200, 206, 214))
        self._software: bool | None = None

    def _light_up(self) -> None:
        self._renderer.SetAutomaticLightCreation(0)
        self._renderer.SetBackgroundAlpha(0.0)  # what is behind is put in afterwards
        for place, strength in (((0.0, 0.0, 1.0), 0.42), ((-0.8, 1.4, 0.9), 0.62)):  # ahead, and over the left shoulder
            light = vtkLight()
            light.SetLightTypeToCameraLight()
            light.SetPosition(*place)
            light.SetFocalPoint(0.0, 0.0, 0.0)
            light.SetIntensity(strength)
            self._renderer.AddLight(light)
        self._renderer.SetSSAOKernelSize(32)
        self._renderer.SSAOBlurOn()

    def color(self, top: Sequence[int], bottom: Sequence[int]) -> None:
        """Colours behind everything."""
        self._renderer.SetBackground(*((a + b) / 510 for a, b in zip(top, bottom, strict=True)))
        self._behind = (np.array(top, dtype=np.float64).reshape(3), np.array(bottom, dtype=np.float64).reshape(3))

    @property
    def aspect(self) -> float:
        """Width by height."""
        return self.size[0] / self.size[1]

    @property
    def empty(self) -> bool:
        """Whether there is nothing to be drawn."""
        return self.document is None and not self._cloud

    def clear(self) -> None:
        """Take everything out."""
        self.items, self.document, self._background = {}, None, None
        self._supports, self._cloud, self.robot, self._later, self._reading = [], {}, {}, [], None
        self.reach, self._plumb = [], []
        self._cut, self._cut_actors, self._pictured = None, [], {}
        self._points = np.zeros((0, 3), dtype=np.float32)
        self.meshes.forget(set())

    def show(self, document: Document) -> None:
        """Take a scene into the picture; what is there already and has not changed stays.

        Raises:
            InputError: one of its meshes is damaged; the picture is as before.
        """
        again = self.document is not None and self.document.folder == document.folder
        items = {}
        for entry in document.objects:
            item = self.items.get(entry.name) if again else None
            if item is None or item.entry is None or item.entry.stamps != entry.stamps:
                item = Item(self.meshes.read(entry.visual), entry.pose, entry)
            items[entry.name] = item
        large = document.background is not None and document.background.stat().st_size > LARGE_BYTES
        background = self._background if again else None
        if not large:
            background = self._background_of(document, background)
        for entry in document.objects:
            item = items[entry.name]
            item.entry, item.home = entry, entry.pose
            item.move(entry.pose)
        if not again:
            self._cloud, self.robot, self.reach = {}, {}, []
        self.document, self.items = document, items
        self._background = background
        carrying = {entry.support for entry in document.objects} or set(list(document.supports)[:1])
        self._supports = [
            drawn
            for name, (plane, outline) in document.supports.items()
            if name in carrying
            for drawn in _support(plane, outline)
        ]
        kept = {path for entry in document.objects for path in (entry.visual, *entry.parts)}
        self.meshes.forget(kept if document.background is None else kept | {document.background})
        self.low, self.high = self._worth_seeing()
        self._pictured = {name: files for name, files in self._pictured.items() if name in items}
        self.cut(self._cut)
        self._plan()
        self._reading = None
        if large:
            self._reading = threading.Thread(target=self._read_background, args=(document,), daemon=True)
            self._reading.start()

    def _background_of(self, document: Document, before: Item | None) -> Item | None:
        if document.background is None:
            return None
        mesh = self.meshes.read(document.background)
        return before if before is not None and before.mesh is mesh else Item(mesh, np.eye(4))

    def _read_background(self, document: Document) -> None:
        """In a thread of its own: a room of millions of faces takes many seconds, and the things are there already."""
        try:
            item = self._background_of(document, self._background)
            if item is not None and "light" not in item.actors:
                item.lighten(LIGHT_FACES // 2, self.low, self.high)
            self._read.put((document, item))
        except PocketworldError as error:
            self._read.put((document, error))

    @property
    def reading(self) -> bool:
        """Whether a large background is still being read."""
        return self._reading is not None

    def arrived(self) -> bool:
        """Take over a background that has been read; returns whether the picture is another with it.

        Raises:
            InputError: it is damaged.
        """
        with contextlib.suppress(queue.Empty):
            document, found = self._read.get_nowait()
            if document is not self.document:
                return False
            self._reading = None
            if isinstance(found, PocketworldError):
                raise found
            changed = found is not self._background
            self._background = found
            self._plan()
            return changed
        return False

    def _plan(self) -> None:
        """What can be made ready when there is time: lighter copies of large meshes, and what rays need."""
        self._later = []
        things = sum(len(item.mesh.faces) for item in self.items.values())
        if self._background is not None and "light" not in self._background.actors:
            count, share = len(self._background.mesh.faces), max(LIGHT_FACES // 2, LIGHT_FACES - things)
            if things + count > LIGHT_FACES and count > share:
                self._later.append(partial(self._background.lighten, share, self.low, self.high))
        if things > LIGHT_FACES:  # things are not made lighter without need: they are what is looked at
            for item in self.items.values():
                share = max(2000, LIGHT_FACES // 2 * len(item.mesh.faces) // things)
                if len(item.mesh.faces) > 1.5 * share and "light" not in item.actors:
                    self._later.append(partial(item.lighten, share, None, None))

    def pose_robot(self, poses: Mapping[str, FloatArray]) -> bool:
        """Show the robot's links at `scene_from_link`; whether one of them was elsewhere."""
        moved = False
        for link, actor in self.robot.items():
            pose = poses.get(link)
            if pose is None:
                continue
            before = np.array(
                [actor.GetUserMatrix().GetElement(row, column) for row in range(3) for column in range(4)]
            )
            if np.abs(before - pose[:3].ravel()).max() > RESTS:
                actor.SetUserMatrix(_matrix(pose))
                moved = True
        return moved

    def plumb(self, point: FloatArray | None) -> None:
        """Show where a point ``(3,)`` would fall, which a picture without shadows does not tell; None: nothing."""
        hit = None if point is None else self._along(point, np.array([0.0, 0.0, -1.0])).point
        if point is None or hit is None:
            self._plumb = []
            return
        if not self._plumb:
            angles = np.linspace(0.0, 2.0 * np.pi, 25)[:-1]
            ring = PLUMB_M * np.column_stack([np.cos(angles), np.sin(angles), np.zeros(24)])
            line = polyline(np.array([np.zeros(3), [0.0, 0.0, 1.0]]), closed=False)
            self._plumb = [_flat(line, PLUMB_COLOR, 2.0), _flat(polyline(ring, closed=True), PLUMB_COLOR, 3.0)]
        for actor, high in zip(self._plumb, (point[2] - hit[2], 1.0), strict=True):
            pose = np.diag([1.0, 1.0, high, 1.0])
            pose[:3, 3] = hit + [0.0, 0.0, 0.002]  # else the surface would hide half of it
            actor.SetUserMatrix(_matrix(pose))

    @property
    def is_plumbed(self) -> bool:
        """Whether it is shown where a point would fall."""
        return bool(self._plumb)

    def move_reach(self, pose: FloatArray) -> None:
        """Show what the robot reaches from elsewhere: `scene_from_ring` ``(4, 4)``."""
        for actor in self.reach:
            actor.SetUserMatrix(_matrix(pose))

    @property
    def unfinished(self) -> bool:
        """Whether something that was put off waits for `prepare`."""
        return bool(self._later)

    def prepare(self) -> None:
        """Make one thing ready that was put off."""
        self._later.pop(0)()

    def _worth_seeing(self) -> tuple[FloatArray, FloatArray]:
        """The box of the things and of the table around them, not of the whole room."""
        assert self.document is not None
        boxes = [_placed(corners(item.low, item.high), item.home) for item in self.items.values()]
        outlines = [outline for _, outline in self.document.supports.values()]
        if not boxes:
            points = outlines[0] if outlines else None
            if points is None and self._background is not None:
                points = corners(self._background.low, self._background.high)
            return (np.full(3, -0.5), np.full(3, 0.5)) if points is None else (points.min(axis=0), points.max(axis=0))
        points = np.concatenate(boxes)
        low, high = points.min(axis=0), points.max(axis=0)
        if outlines:  # as much of the table as is near
            room = 0.15 + 0.25 * (high - low)[:2].max()
            table_low, table_high = outlines[0].min(axis=0), outlines[0].max(axis=0)
            low[:2] = np.minimum(low[:2], np.maximum(table_low[:2], low[:2] - room))
            high[:2] = np.maximum(high[:2], np.minimum(table_high[:2], high[:2] + room))
        return low, high

    def good_view(self) -> View:
        """The things from obliquely above: the table's long side across, the lower things in front."""
        middles = np.array([item.home[:3, 3] + 0.5 * (item.low + item.high) for item in self.items.values()])
        width, depth = (self.high - self.low)[:2]
        azimuth = -90.0 if width >= depth else 0.0
        toward = np.array([np.cos(np.radians(azimuth)), np.sin(np.radians(azimuth))])
        if len(middles) > 1:
            heights = np.array([item.high[2] - item.low[2] for item in self.items.values()])
            front = (middles[:, :2] - middles[:, :2].mean(axis=0)) @ toward
            azimuth += 180.0 if float(front @ (heights - heights.mean())) > 0.0 else 0.0
        if self.document is None:  # a room of points: over its walls
            return looking_down(azimuth + 14.0, 50.0).framing(self.low, self.high, self.aspect)
        view = looking_down(azimuth + 14.0, 36.0)
        boxes = [_placed(corners(item.low, item.high), item.home) for item in self.items.values()]
        outlines = [outline for _, outline in self.document.supports.values()][:1]
        table = [np.clip(outline, self.low, self.high) for outline in outlines]
        shown = np.concatenate([*boxes, *table]) if boxes or table else corners(self.low, self.high)
        return view.framing_points(shown, self.aspect, 1.04)

    def show_cloud(self, cloud: Cloud) -> None:
        """Show points and nothing else."""
        self.clear()
        self._points = cloud.points
        order = np.random.default_rng(0).permutation(len(cloud.points))[:CLOUD_POINTS]
        for look, chosen, size in (("full", slice(None), 3.0), ("light", order, 3.0)):
            data = polydata(cloud.points[chosen])
            data.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(cloud.colors[chosen]), deep=True))
            self._cloud[look] = _flat(data, (0.5, 0.5, 0.5))
            self._cloud[look].GetProperty().SetPointSize(size)
        if len(cloud.path) > 1:
            self._cloud["path"] = _flat(polyline(cloud.path, closed=False), ACCENT, 3.0)
        seen = cloud.points if len(cloud.points) else np.array([[-0.5] * 3, [0.5] * 3])
        self.low, self.high = (np.percentile(seen, share, axis=0).astype(np.float64) for share in (3, 97))

    def pick(self, x: float, y: float) -> Hit:
        """What is at a place in the picture."""
        start, way = self.view.position, self.view.ray(x, y, self.aspect)
        return self._pick_point(start, way) if self._cloud else self._along(start, way)

    def _along(self, start: FloatArray, way: FloatArray) -> Hit:
        """What a ray meets first."""
        found: list[tuple[float, Hit]] = []
        for name, item in self.items.items():
            turn = item.pose[:3, :3]
            hit = item.target.hit(turn.T @ (start - item.pose[:3, 3]), turn.T @ way, 200.0)
            if hit is not None:
                found.append((hit[0], Hit("object", name, start + hit[0] * way, turn @ hit[1])))
        if self._background is not None and self.options["background"]:
            hit = self._background.target.hit(start, way, 200.0)
            if hit is not None:
                point = start + hit[0] * way
                found.append((hit[0], Hit(*self._support_at(point), point, hit[1])))
        elif self.document is not None and self.options["supports"]:
            for name, (plane, outline) in self.document.supports.items():
                falls = float(plane[:3] @ way)
                length = -float(plane[:3] @ start + plane[3]) / falls if falls < 0 else -1.0
                point = start + length * way
                if length > 0 and _inside(point, outline):
                    found.append((length, Hit("support", name, point, plane[:3])))
        return min(found, key=lambda pair: pair[0])[1] if found else Hit()

    def _support_at(self, point: FloatArray) -> tuple[str, str]:
        supports = {} if self.document is None else self.document.supports
        for name, (plane, outline) in supports.items():
            if abs(plane[:3] @ point + plane[3]) < NEAR_M and _inside(point, outline):
                return "support", name
        return "background", ""

    def _pick_point(self, start: FloatArray, way: FloatArray) -> Hit:
        offset = self._points - start
        ahead = offset @ way
        off = np.linalg.norm(offset - ahead[:, None] * way, axis=1)
        near = np.flatnonzero((ahead > 0) & (off < 0.006 * ahead))
        if not len(near):
            return Hit()
        return Hit("point", "", self._points[near[np.argmin(ahead[near])]].astype(np.float64), -way)

    def cut(self, cut: tuple[str, FloatArray, FloatArray] | None) -> bool:
        """Show a plane (a point ``(3,)``, a normal ``(3,)``) through a thing, or none; returns whether it cuts it."""
        item = None if cut is None else self.items.get(cut[0])
        self._cut, self._cut_actors = (None, []) if item is None else (cut, [])
        if cut is None or item is None:
            return False
        _, point, normal = cut
        points = _placed(item.mesh.vertices, item.pose)
        plate = _flat(polydata(_square(points, point, normal), np.array([[0, 1, 2], [0, 2, 3]])), CUT_COLOR)
        plate.GetProperty().SetOpacity(0.3)
        edge = _flat(polyline(_square(points, point, normal), closed=True), CUT_COLOR, 1.5)
        self._cut_actors = [plate, edge]
        line = _crossings(points, item.mesh.faces, point, normal)
        if len(line):  # as tubes: a line in the surface would be half hidden by it
            tubes = vtkTubeFilter()
            tubes.SetInputData(_segments(line))
            tubes.SetRadius(0.006 * float(np.linalg.norm(np.ptp(points, axis=0))))
            tubes.SetNumberOfSides(6)
            tubes.Update()
            self._cut_actors.append(_flat(tubes.GetOutput(), CUT_COLOR))
        off = (points - point) @ normal
        return bool(min(-off.min(), off.max()) > CUT_LEAST * np.ptp(off))

    def forget_thumbnails(self) -> None:
        """All are to be drawn anew."""
        self._pictured = {}

    @property
    def undrawn(self) -> str:
        """The first thing whose thumbnail is missing or shows what it was; empty: there is none."""
        for name, item in self.items.items():
            if item.entry is not None and self._pictured.get(name) != item.entry.stamps:
                return name
        return ""

    def thumbnail(self, name: str, width: int, height: int) -> ByteImage:
        """``(H, W, 4)``: a thing alone, where it belongs, with nothing behind it."""
        import cv2

        item = self.items[name]
        assert item.entry is not None
        self._pictured[name] = item.entry.stamps
        actor, pose = item.actors["full"], item.pose
        look = actor.GetProperty()
        # Not taken out but made invisible: VTK would have to load all that it lets go of again.
        hidden = [other for other in self._shown if other is not actor]
        added = actor not in self._shown
        wireframe = look.GetRepresentation()
        try:
            for other in hidden:
                other.VisibilityOff()
            if added:
                self._renderer.AddActor(actor)
            look.SetRepresentationToSurface()
            actor.SetUserMatrix(_matrix(item.home))
            self._renderer.SetUseSSAO(False)
            self._renderer.SetUseFXAA(False)
            self._aim(_best_view(_placed(item.mesh.vertices, item.home), item.mesh.faces, width / height))
            picture = self._render(THUMB_FINER * width, THUMB_FINER * height).astype(np.float32)
        finally:
            actor.SetUserMatrix(_matrix(pose))
            look.SetRepresentation(wireframe)
            if added:
                self._renderer.RemoveActor(actor)
            for other in hidden:
                other.VisibilityOn()
        picture[..., 3] = np.where(picture[..., 3] > 0, 255, 0)
        picture[..., :3] *= picture[..., 3:] / 255  # what is behind must not colour the edges
        small = np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA))
        small[..., :3] /= np.maximum(small[..., 3:], 1.0) / 255
        return np.asarray(np.rint(np.clip(small, 0, 255)), dtype=np.uint8)

    def draw(self, *, still: bool) -> ByteImage:
        """``(H, W, 3)``: in full with soft shadows and smooth edges, or as fast as it can be."""
        width, height = self._scaled(still)
        self._choose(still)
        self._renderer.SetUseSSAO(still and not self._cloud and not self.options["wireframe"])
        self._renderer.SetUseFXAA(still)
        size = float(np.linalg.norm(self.high - self.low))
        self._renderer.SetSSAORadius(0.05 * size)
        self._renderer.SetSSAOBias(0.0015 * size)
        self._aim(self.view)
        return self._with_outlines(self._before_sky(self._render(width, height)))

    def _aim(self, view: View) -> None:
        camera = self._renderer.GetActiveCamera()
        camera.SetPosition(*view.position.tolist())
        camera.SetFocalPoint(*view.focal.tolist())
        camera.SetViewUp(*view.up.tolist())
        camera.SetViewAngle(view.angle)

    def _render(self, width: int, height: int) -> ByteImage:
        """``(height, width, 4)`` of what is in the window."""
        if tuple(self._window.GetSize()) != (width, height):
            self._window.SetSize(width, height)
        self._renderer.ResetCameraClippingRange()
        self._window.Render()
        if self._software is None:
            said = str(self._window.ReportCapabilities()).lower()
            self._software = any(word in said for word in SOFTWARE)
        self._window.GetRGBACharPixelData(0, 0, width - 1, height - 1, 0, self._bytes, 0)
        return np.asarray(vtk_to_numpy(self._bytes).reshape(height, width, 4)[::-1])

    def _with_outlines(self, picture: ByteImage) -> ByteImage:
        """Lines round what is selected, also where something else hides it."""
        import cv2

        height, width = picture.shape[:2]
        items = [item for name, item in self.items.items() if name in self.selected]
        if not items:
            return picture
        mask = np.zeros((height, width), dtype=np.uint8)
        for item in items:
            at, ahead = self.view.project(_placed(item.mesh.vertices, item.pose), self.aspect)
            pixels = np.rint(np.clip(at, -4.0, 5.0) * (16 * width, 16 * height)).astype(np.int32)
            triangles = pixels[item.mesh.faces[(ahead[item.mesh.faces] > 0.005).all(axis=1)]]
            (ax, ay), (bx, by) = (triangles[:, 1] - triangles[:, 0]).T, (triangles[:, 2] - triangles[:, 0]).T
            for triangle in triangles[ax.astype(np.int64) * by < ay.astype(np.int64) * bx]:  # those that face us
                cv2.fillConvexPoly(mask, triangle, 255, shift=4)
        wide = 2 * max(1, round(OUTLINE * height)) + 1
        brush = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (wide, wide))
        line = cv2.GaussianBlur(cv2.dilate(mask, brush) - mask, (0, 0), 0.7)
        ink = line[..., None] / np.float32(255)
        return np.asarray(picture + ink * (255 * np.array(ACCENT, dtype=np.float32) - picture)).astype(np.uint8)

    def _before_sky(self, picture: ByteImage) -> ByteImage:
        """The picture ``(H, W, 4)`` laid over the colours behind everything: ``(H, W, 3)``."""
        top, bottom = self._behind
        share = np.linspace(0.0, 1.0, len(picture))[:, None]
        sky = np.rint(top + share * (bottom - top)).astype(np.uint8)
        gap = picture[..., 3:] == 0  # edges are smooth already, towards the sky's mean colour
        return np.where(gap, sky[:, None], picture[..., :3])

    def _scaled(self, still: bool) -> tuple[int, int]:
        most = MAX_PIXELS
        if self._software is not False:
            most = STILL_PIXELS if still else MOVING_PIXELS
        width, height = self.size
        share = min(1.0, float(np.sqrt(most / (width * height))))
        return max(1, int(width * share)), max(1, int(height * share))

    def _choose(self, still: bool) -> None:
        """Have the renderer draw what the options, the selection and the haste ask for."""
        shown = [*self.robot.values(), *self.reach, *self._plumb, *self._cut_actors]
        for item in self.items.values():
            shown.append(self._look_of(item, still))
        if self._background is not None and self.options["background"]:
            shown.append(self._look_of(self._background, still))
        bare = self._background is None or not self.options["background"]
        shown += [actor for kind, actor in self._supports if self.options["supports"] and (kind == "line" or bare)]
        if self._cloud:
            looks = ("full" if still else "light", "path")
            shown += [self._cloud[look] for look in looks if look in self._cloud]
        for actor in self._shown:
            if actor not in shown:
                self._layer_of(actor).RemoveActor(actor)
        for actor in shown:
            if actor not in self._shown:
                self._layer_of(actor).AddActor(actor)
        self._shown = shown

    def _layer_of(self, actor: Any) -> Any:
        return self._over if actor.GetProperty().GetDiffuse() == 0.0 else self._renderer

    def _look_of(self, item: Item, still: bool) -> Any:
        look = "light" if not still and "light" in item.actors else "full"
        for other in ("seen", "parts"):
            if self.options[other] and item.entry is not None:
                item.make(other, self.meshes)
                look = other
        actor = item.actors[look]
        if self.options["wireframe"]:
            actor.GetProperty().SetRepresentationToWireframe()
        else:
            actor.GetProperty().SetRepresentationToSurface()
        return actor


def robot_actors(links: Mapping[str, tuple[Mesh, FloatArray]]) -> dict[str, Any]:
    """A robot, by its links and where they are."""
    actors = {}
    for link, (mesh, pose) in links.items():
        actor = _actor(surface(mesh), None if mesh.texture is None else texture_of(mesh.texture))
        actor.SetUserMatrix(_matrix(pose))
        actors[link] = actor
    return actors


def marker_actors(pose: FloatArray) -> dict[str, Any]:
    """Where a robot stands: its three axes."""
    actors = {}
    for name, axis, color in zip(
        "xyz", np.eye(3), ((0.85, 0.25, 0.2), (0.3, 0.65, 0.25), (0.2, 0.4, 0.85)), strict=True
    ):
        actors[f"axis {name}"] = _flat(polyline(np.array([np.zeros(3), 0.15 * axis]), closed=False), color, 4.0)
        actors[f"axis {name}"].SetUserMatrix(_matrix(pose))
    return actors


def reach_actors(near: FloatArray, far: FloatArray) -> list[Any]:
    """Lines round what a robot reaches on a plane, in that plane, its base being the origin.

    `near` and `far` ``(N,)`` are distances in evenly spaced directions from its +x; where `far` is zero it reaches
    nothing.
    """
    count = len(far)
    angles = 2.0 * np.pi * np.arange(count) / count
    ways = np.column_stack([np.cos(angles), np.sin(angles), np.zeros(count)])
    outer, inner, there = ways * far[:, None], ways * near[:, None], far > 0.0
    if there.all():
        lines = [outer, inner]
    else:  # an arm that does not turn all the way: a piece of a ring for each way that it does
        first = int(np.argmin(there))
        turned = np.roll(np.arange(count), -first)
        ends = np.flatnonzero(np.diff(there[turned].astype(np.int8))) + 1
        pieces = [piece for piece in np.split(turned, ends) if there[piece[0]]]
        lines = [np.vstack([outer[piece], inner[piece][::-1]]) for piece in pieces]
    actors = []
    for line in lines:
        tubes = vtkTubeFilter()
        tubes.SetInputData(polyline(line, closed=True))
        tubes.SetRadius(REACH_M)
        tubes.SetNumberOfSides(6)
        tubes.Update()
        actors.append(_flat(tubes.GetOutput(), REACH_COLOR))
    return actors


def _square(points: FloatArray, point: FloatArray, normal: FloatArray) -> FloatArray:
    """``(4, 3)``: a part of a plane that is somewhat wider than what lies round it."""
    across = np.cross((0.0, 0.0, 1.0) if abs(normal[2]) < 0.99 else (1.0, 0.0, 0.0), normal)
    across /= np.linalg.norm(across)
    sides = np.array([across, np.cross(normal, across)])
    local = (points - point) @ sides.T
    margin = CUT_MARGIN * float(np.linalg.norm(np.ptp(points, axis=0)))
    low, high = local.min(axis=0) - margin, local.max(axis=0) + margin
    places = np.array([low, (high[0], low[1]), high, (low[0], high[1])])
    return np.asarray(point + places @ sides)


def _crossings(points: FloatArray, faces: npt.NDArray[np.int64], point: FloatArray, normal: FloatArray) -> FloatArray:
    """``(N, 2, 3)``: the lines in which a plane meets a surface."""
    off = (points - point) @ normal
    above = off[faces] > 0.0
    met = faces[above.any(axis=1) & ~above.all(axis=1)]
    if not len(met):
        return np.zeros((0, 2, 3))
    side = off[met] > 0.0
    alone = np.argmax(side == (side.sum(axis=1) == 1)[:, None], axis=1)  # the corner that is by itself on its side
    rows = np.arange(len(met))
    ends = []
    for step in (1, 2):
        a, b = met[rows, alone], met[rows, (alone + step) % 3]
        share = (off[a] / (off[a] - off[b]))[:, None]
        ends.append(points[a] + share * (points[b] - points[a]))
    return np.stack(ends, axis=1)


def _segments(lines: FloatArray) -> Any:
    """Separate lines ``(N, 2, 3)`` as `vtkPolyData`."""
    data, cells = polydata(lines.reshape(-1, 3)), vtkCellArray()
    data.SetVerts(None)
    for number in range(len(lines)):
        cells.InsertNextCell(2)
        cells.InsertCellPoint(2 * number)
        cells.InsertCellPoint(2 * number + 1)
    data.SetLines(cells)
    return data


def _best_view(points: FloatArray, faces: npt.NDArray[np.int64], aspect: float) -> View:
    """From obliquely above, where most of a surface is seen, filling the picture."""
    a, b, c = (points[faces[:, corner]] for corner in range(3))
    across = np.cross(b - a, c - a)
    views = [looking_down(azimuth, raised) for raised in THUMB_ELEVATIONS for azimuth in range(-80, 280, 30)]
    seen = [float(np.maximum(across @ -view.axes()[2], 0.0).sum()) for view in views]
    return views[int(np.argmax(seen))].framing_points(points, aspect, 1.06)


def _placed(points: FloatArray, pose: FloatArray) -> FloatArray:
    return np.asarray(points @ pose[:3, :3].T + pose[:3, 3])


def _inside(point: FloatArray, outline: FloatArray) -> bool:
    """Whether a point lies in an outline, seen from above."""
    x, y = point[:2]
    ax, ay = outline[:, 0], outline[:, 1]
    bx, by = np.roll(ax, -1), np.roll(ay, -1)
    crosses = (ay > y) != (by > y)
    rise = np.where(by == ay, 1.0, by - ay)
    return bool(np.count_nonzero(crosses & (x < ax + (y - ay) / rise * (bx - ax))) % 2)


def _support(plane: FloatArray, outline: FloatArray) -> list[tuple[str, Any]]:
    """A support's outline, and its surface for where the scan itself is not shown."""
    if len(outline) < 3:
        return []
    top = outline.copy()
    top[:, 2] = -(plane[0] * top[:, 0] + plane[1] * top[:, 1] + plane[3]) / plane[2]
    line = _flat(polyline(top + 0.002 * plane[:3], closed=True), (0.35, 0.5, 0.75), 1.5)
    return [("line", line), ("plate", _actor(_plate(top)))]


def _plate(top: FloatArray) -> Any:
    """The surface within an outline, which may have bays."""
    data, cells = polydata(top), vtkCellArray()
    cells.InsertNextCell(len(top))
    for number in range(len(top)):
        cells.InsertCellPoint(number)
    data.SetVerts(None)
    data.SetPolys(cells)
    cut = vtkTriangleFilter()
    cut.SetInputData(data)
    cut.Update()
    return cut.GetOutput()
