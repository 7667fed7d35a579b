"""One physics client: load a scene, step it, grab and throw what is in it, read contacts and poses.

Bodies have names, never numbers. A pose is ``scene_from_object``: where the object's own frame (the URDF's link
frame) lies in the scene, in metres, also when the centre of mass is elsewhere.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import math
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from reconstruction.errors import InputError
from reconstruction.mesh import Mesh
from reconstruction.scene import (
    FORMAT,
    ROLLING_FRICTION_M,
    SPINNING_FRICTION_M,
    SUPPORT_FRICTION,
    VERSION,
    SceneObject,
    inside,
)
from reconstruction.temporary import TemporaryFolder

FloatArray = npt.NDArray[np.float64]

FINEST_DISTANCE_M = 0.02
"""How far apart two bodies may be for `World.gap` to measure the distance."""
_QUIET = threading.RLock()
"""Two threads that redirect the same descriptor would put back each other's."""


@dataclass(frozen=True)
class WorldSettings:
    """How a world is simulated."""

    gui: bool = False
    """Open PyBullet's own window. Without it nothing needs a display."""
    time_step_s: float = 1.0 / 240.0
    """Length of one step. PyBullet's contact solver is tuned for 1/240; longer steps sink and bounce."""
    near_m: float = 0.02
    """Bodies whose bounding boxes are nearer to each other are looked at together, and keep each other awake."""
    residual: float = 1e-7
    """The contact solver stops early when no constraint is off by more than the root of this (m/s, rad/s)."""
    gravity_m_s2: float = 9.81
    """Downwards, along −z."""
    ground: bool = False
    """Add an endless floor at z = 0 in place of the supports, as a tool does that knows nothing of supports."""
    background: bool = False
    """Show what stays where it is (visual only, never touched). Costs loading time, so off for checks."""


@dataclass(frozen=True)
class Contact:
    """Two bodies that touch.

    Attributes:
        names: the two bodies.
        point: ``(3,)`` on the second body, scene frame, metres.
        normal: ``(3,)`` unit, from the second body to the first.
        distance_m: negative where they overlap.
        force_n: along `normal`, in the last step.
    """

    names: tuple[str, str]
    point: FloatArray
    normal: FloatArray
    distance_m: float
    force_n: float


@dataclass(frozen=True)
class Energy:
    """Of all bodies that can move, in joule; potential energy is zero at z = 0."""

    kinetic_j: float
    potential_j: float


@contextlib.contextmanager
def quiet_stdout(descriptor: int = 1) -> Iterator[None]:
    """Drop what native code prints on stdout (or another `descriptor`) meanwhile: that is the command's own.

    Works on the file descriptor, so it catches C and C++ too, and flushes their buffers on both sides, because what
    waits in a buffer would otherwise come out after the guard has gone. Process wide: one thread waits for another.
    """
    with _QUIET, _dropped(descriptor):
        yield


@contextlib.contextmanager
def _dropped(descriptor: int) -> Iterator[None]:
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    try:
        kept = os.dup(descriptor)
    except OSError:  # stdout is closed: nothing to protect
        yield
        return
    _flush_c_streams()
    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, descriptor)
    os.close(sink)
    try:
        yield
    finally:
        _flush_c_streams()
        os.dup2(kept, descriptor)
        os.close(kept)


def _flush_c_streams() -> None:
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL("ucrtbase") if os.name == "nt" else ctypes.CDLL(None)
        library.fflush(None)


def pose_from_quaternion(position: Sequence[float] | FloatArray, quat_xyzw: Sequence[float] | FloatArray) -> FloatArray:
    """``(4, 4)`` rigid transform from a position ``(3,)`` and a unit quaternion ``(4,)``, scalar last."""
    x, y, z, w = (float(value) for value in quat_xyzw)  # floats: four numbers are few for NumPy
    s = 2.0 / (x * x + y * y + z * z + w * w)
    px, py, pz = position
    return np.array(
        [
            [1 - s * (y * y + z * z), s * (x * y - z * w), s * (x * z + y * w), px],
            [s * (x * y + z * w), 1 - s * (x * x + z * z), s * (y * z - x * w), py],
            [s * (x * z - y * w), s * (y * z + x * w), 1 - s * (x * x + y * y), pz],
            [0.0, 0.0, 0.0, 1.0],
        ],
        dtype=np.float64,
    )


def quaternion_from_pose(pose: FloatArray) -> FloatArray:
    """``(4,)`` unit quaternion, scalar last, of a rigid ``(4, 4)`` or ``(3, 3)``.

    From its largest part (Shepperd, "Quaternion from rotation matrix", 1978), in floats as above.
    """
    (a, b, c), (d, e, f), (g, h, i) = pose[:3, :3].tolist()
    x, y, z, w = max(
        (1.0 + a - e - i, b + d, c + g, h - f),
        (b + d, 1.0 - a + e - i, f + h, c - g),
        (c + g, f + h, 1.0 - a - e + i, d - b),
        (h - f, c - g, d - b, 1.0 + a + e + i),
        key=lambda parts: sum(part * part for part in parts),
    )
    return np.array([x, y, z, w]) / math.sqrt(x * x + y * y + z * z + w * w)


def pose_change(before: FloatArray, after: FloatArray) -> tuple[float, float]:
    """How far a rigid ``(4, 4)`` pose moved: metres between the origins, degrees of the rotation between."""
    turn = before[:3, :3].T @ after[:3, :3]
    # atan2 of both halves: arccos alone is blind below 1e-4 rad.
    sine = np.linalg.norm([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]]) / 2
    degrees = np.degrees(np.arctan2(sine, (np.trace(turn) - 1) / 2))
    return float(np.linalg.norm(after[:3, 3] - before[:3, 3])), float(degrees)


def read_scene_document(scene_folder: Path) -> tuple[dict[str, Any], Path]:
    """``scene.json`` alone, without the meshes it names, and the folder it lies in.

    Raises:
        InputError: it is missing, or no scene of this version.
    """
    path = scene_folder if scene_folder.suffix == ".json" else scene_folder / "scene.json"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(document, dict) or (document.get("format"), document.get("version")) != (FORMAT, VERSION):
            raise ValueError("not a scene of this version")
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"{path} is not a readable Pocketworld scene: {error}.",
            remedy="Name a scene folder made by `pocketworld reconstruct`.",
            code="bad_scene",
        ) from None
    return document, path.parent


class World:
    """A physics world of named bodies; use it as a context manager, so that the client is always closed."""

    def __init__(self, settings: WorldSettings = WorldSettings()) -> None:  # noqa: B008 - frozen
        """Start an empty world."""
        self.settings = settings
        self._bodies: dict[str, int] = {}
        self._fixed: set[str] = set()
        self._grabs: dict[str, int] = {}
        self._inertial: dict[int, FloatArray] = {}
        self._unseen = -1
        with quiet_stdout(), quiet_stdout(2):  # on stderr it says when it was built
            import pybullet
            import pybullet_data
        with quiet_stdout():
            self._p = pybullet
            self._client = int(pybullet.connect(pybullet.GUI if settings.gui else pybullet.DIRECT))
            if self._client >= 0:
                self._p.setAdditionalSearchPath(pybullet_data.getDataPath(), physicsClientId=self._client)
        if self._client < 0:
            raise InputError("PyBullet cannot open its window.", remedy="Run without the window.", code="no_display")
        self._set_up()

    @classmethod
    def open(cls, scene_folder: Path, settings: WorldSettings = WorldSettings()) -> World:  # noqa: B008 - frozen
        """A world with the supports and objects of a scene folder, made from its URDFs alone.

        Raises:
            InputError: no scene there, or a URDF it names is missing, broken or outside the folder.
        """
        world = cls(settings)
        try:
            world.furnish(scene_folder)
        except InputError:
            world.close()
            raise
        return world

    def furnish(self, scene_folder: Path) -> None:
        """Add the supports and objects of a scene folder, made from its URDFs alone.

        Raises:
            InputError: as `open`; some of them may be there then.
        """
        document, folder = read_scene_document(scene_folder)
        settings = self.settings
        try:
            for entry in [] if settings.ground else document["supports"]:
                self.add(entry["name"], inside(folder, entry["urdf"]), np.eye(4), fixed=True)
            for entry in document["objects"]:
                pose = np.array(entry["scene_from_object"], dtype=np.float64).reshape(4, 4)
                self.add(entry["name"], inside(folder, entry["urdf"]), pose)
            if settings.background and document.get("background"):
                self._show(inside(folder, document["background"]["visual"]))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{folder / 'scene.json'} is damaged: {error!r}.",
                remedy="Reconstruct the scan again.",
                code="bad_scene",
            ) from None

    def __enter__(self) -> World:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the client; harmless when repeated."""
        if self._client >= 0:
            with quiet_stdout(), contextlib.suppress(self._p.error):
                self._p.disconnect(physicsClientId=self._client)
            self._client = -1

    def clear(self) -> None:
        """Empty the world, as if it were new but far quicker: nothing of what was in it shows in what comes after."""
        with quiet_stdout():
            self.call("resetSimulation")
        self._bodies.clear()
        self._fixed.clear()
        self._grabs.clear()
        self._inertial.clear()
        self._unseen = -1
        self._set_up()

    def _set_up(self) -> None:
        # A file read twice under one name may have changed in between: never use PyBullet's cache.
        self.call(
            "setPhysicsEngineParameter",
            enableFileCaching=0,
            fixedTimeStep=self.settings.time_step_s,
            solverResidualThreshold=self.settings.residual,
        )
        self._draw_near()
        self.call("setGravity", 0.0, 0.0, -self.settings.gravity_m_s2)
        if self.settings.ground:
            self._bodies["ground"] = int(self._load("loadURDF", "plane.urdf"))
            self._fixed.add("ground")

    @property
    def pybullet(self) -> Any:
        """The module, for its constants and its error."""
        return self._p

    @property
    def connected(self) -> bool:
        """False once closed, or when the user has closed PyBullet's window."""
        return self._client >= 0 and bool(self._p.isConnected(physicsClientId=self._client))

    @property
    def names(self) -> tuple[str, ...]:
        """The bodies that can move, in the order they were added."""
        return tuple(name for name in self._bodies if name not in self._fixed)

    @property
    def fixed_names(self) -> tuple[str, ...]:
        """Supports, ground and whatever was added as fixed."""
        return tuple(name for name in self._bodies if name in self._fixed)

    def add(self, name: str, urdf: Path, scene_from_object: FloatArray, *, fixed: bool = False) -> None:
        """Load a URDF with PyBullet's default flags at a pose.

        Raises:
            InputError: the file is missing or broken, or the name is taken.
        """
        if name in self._bodies:
            raise InputError(f"Two bodies are named {name!r}.", remedy="Give each its own name.", code="bad_scene")
        try:
            body = self._load(
                "loadURDF",
                str(urdf),
                basePosition=scene_from_object[:3, 3].tolist(),
                baseOrientation=quaternion_from_pose(scene_from_object).tolist(),
                useFixedBase=fixed,
            )
        except self._p.error:
            raise InputError(
                f"{urdf} cannot be loaded by PyBullet.", remedy="Reconstruct the scan again.", code="bad_urdf"
            ) from None
        self._bodies[name] = int(body)
        if fixed:
            self._fixed.add(name)

    def add_shape(self, parts: Sequence[Mesh]) -> int:
        """Convex parts as one shape for `add_solid`, shared by any number of bodies of this world."""
        with TemporaryFolder("shape") as folder:
            path = folder / "parts.obj"
            write_shape(path, parts)
            return self.add_shape_file(path)

    def add_shape_file(self, path: Path) -> int:
        """The shape in a file of `write_shape`.

        PyBullet makes a convex hull of every group of an OBJ file, with the margin that it gives to those of a URDF.
        """
        return int(self._load("createCollisionShape", self._p.GEOM_MESH, fileName=str(path)))

    def add_fixed(self, name: str, part: Mesh, friction: float = SUPPORT_FRICTION) -> None:
        """Add a convex mesh that stays where it is, scene frame.

        Raises:
            InputError: the name is taken.
        """
        self._make_body(name, self.add_shape([part]), 0.0, friction, 0.0)
        self._fixed.add(name)

    def add_solid(self, name: str, shape: int, item: SceneObject) -> None:
        """Add an object whose parts are the `shape` of `add_shape`, as its URDF would be loaded, without reading files.

        Raises:
            InputError: the name is taken.
        """
        moments, axes = np.linalg.eigh(item.inertia)
        axes[:, 2] *= np.sign(np.linalg.det(axes))
        center, quat_xyzw = item.center_of_mass.tolist(), quaternion_from_pose(axes).tolist()
        frame = {"baseInertialFramePosition": center, "baseInertialFrameOrientation": quat_xyzw}
        body = self._make_body(name, shape, item.mass_kg, item.friction, item.restitution, **frame)
        self.call("changeDynamics", body, -1, localInertiaDiagonal=moments.tolist())
        self.set_pose(name, item.scene_from_object)

    def _make_body(
        self, name: str, shape: int, mass_kg: float, friction: float, restitution: float, **frame: list[float]
    ) -> int:
        if name in self._bodies:
            raise InputError(f"Two bodies are named {name!r}.", remedy="Give each its own name.", code="bad_scene")
        if self._unseen < 0:  # without a visual shape PyBullet would look for the parts' file
            self._unseen = int(self.call("createVisualShape", self._p.GEOM_SPHERE, radius=1e-6))
        shapes = {"baseCollisionShapeIndex": shape, "baseVisualShapeIndex": self._unseen}
        body = int(self.call("createMultiBody", baseMass=mass_kg, **shapes, **frame))
        self.call(
            "changeDynamics",
            body,
            -1,
            lateralFriction=friction,
            rollingFriction=ROLLING_FRICTION_M,
            spinningFriction=SPINNING_FRICTION_M,
            restitution=restitution,
            frictionAnchor=1,
        )
        self._bodies[name] = body
        return body

    def set_layer(self, name: str, layer: int) -> None:
        """Let a body meet only what is fixed and what is in the same layer, 0 … 13."""
        self.call("setCollisionFilterGroupMask", self.body(name), -1, 2 << layer, (2 << layer) | 1)
        for fixed in self.fixed_names:
            self.call("setCollisionFilterGroupMask", self.body(fixed), -1, 1, -1)

    def remove(self, name: str) -> None:
        """Take a body out of the world."""
        body = self.body(name)
        self.release(name)
        self.call("removeBody", body)
        del self._bodies[name]
        self._inertial.pop(body, None)
        self._fixed.discard(name)

    def step(self, count: int = 1) -> None:
        """Simulate `count` steps of ``settings.time_step_s``."""
        self._draw_near()
        for _ in range(count):
            self._p.stepSimulation(physicsClientId=self._client)

    def detect(self) -> None:
        """Find out what touches, without a step."""
        self._draw_near()
        self._p.performCollisionDetection(physicsClientId=self._client)

    def _draw_near(self) -> None:
        # PyBullet keeps this one number for all clients of a process: another world may have set it.
        self._p.setPhysicsEngineParameter(contactBreakingThreshold=self.settings.near_m, physicsClientId=self._client)

    def sleep(self, below_m_s: float, below_rad_s: float) -> None:
        """Let everything that moves slower than this rest until it is touched, which costs far less to simulate.

        PyBullet does so by itself, but only with what has been slow for two seconds.
        """
        for name in self.names:
            linear, angular = self.velocity(name)
            states = [self._p.ACTIVATION_STATE_ENABLE_SLEEPING]
            if np.linalg.norm(linear) < below_m_s and np.linalg.norm(angular) < below_rad_s:
                states.append(self._p.ACTIVATION_STATE_SLEEP)
            for state in states:
                self.call("changeDynamics", self.body(name), -1, activationState=state)

    def pose(self, name: str) -> FloatArray:
        """``scene_from_object`` of one body, ``(4, 4)``."""
        body = self.body(name)
        position, quat_xyzw = self.call("getBasePositionAndOrientation", body)
        return pose_from_quaternion(position, quat_xyzw) @ self._inertial_from_object(body)

    def poses(self) -> dict[str, FloatArray]:
        """``scene_from_object`` of every body that can move."""
        return {name: self.pose(name) for name in self.names}

    def set_pose(self, name: str, scene_from_object: FloatArray) -> None:
        """Put a body somewhere, at rest."""
        body = self.body(name)
        inertial = scene_from_object @ self._object_from_inertial(body)
        quat_xyzw = quaternion_from_pose(inertial).tolist()
        self.call("resetBasePositionAndOrientation", body, inertial[:3, 3].tolist(), quat_xyzw)
        self.call("resetBaseVelocity", body, [0.0] * 3, [0.0] * 3)
        self.call("changeDynamics", body, -1, activationState=self._p.ACTIVATION_STATE_WAKE_UP)

    def velocity(self, name: str) -> tuple[FloatArray, FloatArray]:
        """Linear (m/s, of the centre of mass) and angular (rad/s) velocity, each ``(3,)``, scene frame."""
        linear, angular = self.call("getBaseVelocity", self.body(name))
        return np.array(linear), np.array(angular)

    def tilt(self, degrees: float, azimuth_deg: float = 0.0) -> None:
        """Lean gravity, as if all that is level leaned down towards an azimuth (about z, 0 = +x)."""
        lean, turn = np.radians([degrees, azimuth_deg])
        down = np.array([np.sin(lean) * np.cos(turn), np.sin(lean) * np.sin(turn), -np.cos(lean)])
        self.call("setGravity", *(self.settings.gravity_m_s2 * down).tolist())

    def set_damping(self, name: str, linear: float, angular: float) -> None:
        """Share of the velocity lost a second, 0 … 1 (PyBullet's default is 0.04)."""
        self.call("changeDynamics", self.body(name), -1, linearDamping=linear, angularDamping=angular)

    def grab(self, name: str, point: npt.ArrayLike, max_force_n: float = 50.0) -> None:
        """Hold a body at `point` ``(3,)`` of the scene, as with two fingertips: it hangs and swings there.

        Args:
            name: the body; a fixed one cannot be grabbed.
            point: on or in the body.
            max_force_n: how hard the fingers may pull when `drag` moves them.
        """
        if name in self._fixed:
            raise InputError(f"{name!r} is fixed.", remedy=f"Grab one of: {', '.join(self.names)}.", code="bad_name")
        self.release(name)
        body = self.body(name)
        position, quat_xyzw = self.call("getBasePositionAndOrientation", body)
        at = np.asarray(point, dtype=np.float64)
        local = np.linalg.inv(pose_from_quaternion(position, quat_xyzw)) @ np.append(at, 1.0)
        joint = self._p.JOINT_POINT2POINT
        grab = self.call("createConstraint", body, -1, -1, -1, joint, [0, 0, 0], local[:3].tolist(), at.tolist())
        self.call("changeConstraint", grab, maxForce=max_force_n)
        self._grabs[name] = int(grab)

    def drag(self, name: str, point: npt.ArrayLike) -> None:
        """Move the fingers that hold `name` to `point` ``(3,)``."""
        if name not in self._grabs:
            raise InputError(f"{name!r} is not held.", remedy="Call grab first.", code="not_held")
        self.call("changeConstraint", self._grabs[name], np.asarray(point, dtype=np.float64).tolist())

    def release(self, name: str) -> None:
        """Let go; harmless when not held."""
        grab = self._grabs.pop(name, None)
        if grab is not None:
            self.call("removeConstraint", grab)

    def throw(self, name: str, velocity: npt.ArrayLike, spin: npt.ArrayLike = (0.0, 0.0, 0.0)) -> None:
        """Let go with a linear velocity ``(3,)`` m/s and a spin ``(3,)`` rad/s."""
        self.release(name)
        linear, angular = np.asarray(velocity, dtype=np.float64), np.asarray(spin, dtype=np.float64)
        self.call("resetBaseVelocity", self.body(name), linear.tolist(), angular.tolist())

    def contacts(self, name: str | None = None) -> list[Contact]:
        """What touches (or what touches `name`) after the last step."""
        known = {body: key for key, body in self._bodies.items()}
        found = self.call("getContactPoints") if name is None else self.call("getContactPoints", self.body(name))
        return [_contact(row, known) for row in found or ()]

    def gaps(self, first: str, second: str, within_m: float = FINEST_DISTANCE_M) -> list[Contact]:
        """Closest points between two bodies nearer than `within_m`, without stepping (forces are zero)."""
        known = {body: key for key, body in self._bodies.items()}
        rows = self.call("getClosestPoints", self.body(first), self.body(second), within_m)
        return [_contact(row, known) for row in rows or ()]

    def gap(self, first: str, second: str) -> float:
        """Smallest distance in metres, negative where they overlap; inf beyond `FINEST_DISTANCE_M`."""
        return min((item.distance_m for item in self.gaps(first, second)), default=float("inf"))

    def energy(self) -> Energy:
        """Kinetic and potential energy of the bodies that can move."""
        kinetic = potential = 0.0
        for name in self.names:
            body = self.body(name)
            info = self.call("getDynamicsInfo", body, -1)
            mass, moments = float(info[0]), np.array(info[2])
            position, quat_xyzw = self.call("getBasePositionAndOrientation", body)
            linear, angular = self.velocity(name)
            turned = pose_from_quaternion(position, quat_xyzw)[:3, :3].T @ angular
            kinetic += 0.5 * mass * float(linear @ linear) + 0.5 * float(turned @ (moments * turned))
            potential += mass * self.settings.gravity_m_s2 * position[2]
        return Energy(kinetic, potential)

    def snapshot(self) -> int:
        """Keep the state of the world (poses, velocities, contacts); give it back to `restore`."""
        return int(self.call("saveState"))

    def restore(self, snapshot: int) -> None:
        """Go back to a snapshot; everything held is let go."""
        for name in list(self._grabs):
            self.release(name)
        self.call("restoreState", stateId=snapshot)

    def forget(self, snapshot: int) -> None:
        """Free a snapshot."""
        self.call("removeState", snapshot)

    def _show(self, obj: Path) -> None:
        shape = self._load("createVisualShape", self._p.GEOM_MESH, fileName=str(obj))
        self.call("createMultiBody", baseMass=0.0, baseVisualShapeIndex=shape)

    def _inertial_from_object(self, body: int) -> FloatArray:
        if body not in self._inertial:
            self._inertial[body] = np.asarray(np.linalg.inv(self._object_from_inertial(body)), dtype=np.float64)
        return self._inertial[body]

    def _object_from_inertial(self, body: int) -> FloatArray:
        info = self.call("getDynamicsInfo", body, -1)
        return pose_from_quaternion(info[3], info[4])

    def body(self, name: str) -> int:
        """PyBullet's number of a body.

        Raises:
            InputError: there is no such body.
        """
        if name not in self._bodies:
            raise InputError(
                f"There is no body {name!r}.", remedy=f"There are: {', '.join(self._bodies)}.", code="bad_name"
            )
        return self._bodies[name]

    def call(self, function: str, *args: Any, **kwargs: Any) -> Any:
        """A function of PyBullet, for this world, by its name there."""
        return getattr(self._p, function)(*args, physicsClientId=self._client, **kwargs)

    def _load(self, function: str, *args: Any, **kwargs: Any) -> Any:
        with quiet_stdout():  # reading files is where PyBullet talks
            return self.call(function, *args, **kwargs)


def _contact(row: tuple[Any, ...], known: dict[int, str]) -> Contact:
    names = (known.get(row[1], ""), known.get(row[2], ""))
    return Contact(names, np.array(row[6]), np.array(row[7]), float(row[8]), float(row[9]))


def write_shape(path: Path, parts: Sequence[Mesh]) -> None:
    """Convex parts as one OBJ file, a group each, for `World.add_shape_file`."""
    path.write_text("".join(_groups(parts)), encoding="ascii")


def _groups(parts: Sequence[Mesh]) -> Iterator[str]:
    first = 1
    for number, part in enumerate(parts):
        yield f"o part_{number}\n"
        for x, y, z in part.vertices.tolist():
            yield f"v {x:.9f} {y:.9f} {z:.9f}\n"
        for a, b, c in (part.faces + first).tolist():
            yield f"f {a} {b} {c}\n"
        first += len(part.vertices)
