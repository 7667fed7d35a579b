"""A scene with a robot in MuJoCo: another engine than the one in which scenes are built and policies learn.

It answers what `simulation.cell` asks of bodies and of an arm, in the same names, frames and units as
`simulation.world` and `simulation.robots`. Contacts are MuJoCo's own (soft, elliptic friction cones; Todorov, "Convex
and analytically-invertible dynamics with contacts and constraints", 2014), the arm has motors with a torque limit.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reconstruction.errors import InputError
from reconstruction.mesh import Mesh
from reconstruction.scene import ROLLING_FRICTION_M, SPINNING_FRICTION_M, Scene, SceneObject, support_slab
from simulation.collision_meshes import collision_hulls
from simulation.kinematics import origin_of
from simulation.robots import USUAL_EFFORT, Robot
from simulation.world import FINEST_DISTANCE_M, Contact, quaternion_from_pose

FloatArray = npt.NDArray[np.float64]
TIME_STEP_S = 0.002
FINGER_FRICTION = 0.7
"""Of fingertips of rubber on what a household is made of."""
FINGER_SPIN_M = 0.005
"""A soft fingertip is no point: so large a patch of it resists turning."""
STIFFNESS = 40.0
"""A joint's motor is at its torque limit when it is this part (1/rad) of a radian off …"""
GRIP_STIFFNESS = 20.0
"""… one of the gripper, this part of its whole way."""
ARMATURE = 0.02
"""Of motors' turning parts, as a share of the joint's torque limit (kg m² for N m): without it, light links shake."""
TABLE, ROBOT, THING = 1, 2, 4
"""Kinds of bodies that meet each other: fixed ones and robots do not meet among themselves."""


@dataclass(frozen=True)
class Matter:
    """What a bench is made of, where it is not as the scene says.

    Attributes:
        mass: times the mass of a thing, by name.
        friction: times its friction on the table, by name.
        grip: times the friction of fingertips.
    """

    mass: Mapping[str, float]
    friction: Mapping[str, float]
    grip: float = 1.0


AS_SAID = Matter({}, {})


class MujocoWorld:
    """Bodies of a scene, and a robot among them. Close it by letting go of it: it holds nothing but memory."""

    def __init__(
        self, scene: Scene, robot: Robot, mount: FloatArray, matter: Matter = AS_SAID, watched: Collection[str] = ()
    ) -> None:
        """Build it; the robot is at home, the hand open.

        Args:
            scene: its supports and objects.
            robot: who stands there.
            mount: `scene_from_robot` ``(4, 4)``.
            matter: masses and frictions.
            watched: names of the things whose contacts are asked for. The others sleep while nothing moves them, where
                MuJoCo knows how to (a bench is fifteen times as fast then), and nobody knows what those touch.

        Raises:
            InputError: MuJoCo makes no sense of the robot or of a thing.
        """
        import mujoco

        self._m = mujoco
        sleeping = hasattr(mujoco.mjtEnableBit, "mjENBL_SLEEP")
        root = _document(scene, robot, mount, matter, frozenset(watched) if sleeping else None)
        try:
            self.model = mujoco.MjModel.from_xml_string(ET.tostring(root, encoding="unicode"))
        except ValueError as error:
            raise InputError(
                f"MuJoCo cannot build this scene: {str(error).splitlines()[0]}.",
                remedy="Check the robot's description (docs/robots.md), or reconstruct the scan again.",
                code="bad_model",
            ) from None
        self.data = mujoco.MjData(self.model)
        self.fixed_names = tuple(support.name for support in scene.supports)
        self.names = tuple(item.name for item in scene.objects)
        self._body = {name: self._id("mjOBJ_BODY", _thing(name)) for name in (*self.names, *self.fixed_names)}
        self._named = {body: name for name, body in self._body.items()}
        self._geoms = {
            name: [geom for geom in range(self.model.ngeom) if self.model.geom_bodyid[geom] == body]
            for name, body in self._body.items()
        }
        self._free = {
            name: int(self.model.jnt_qposadr[self.model.body_jntadr[self._body[name]]]) for name in self.names
        }
        self._spin = {name: int(self.model.body_dofadr[self._body[name]]) for name in self.names}
        self.arm = MujocoArm(self, robot)
        mujoco.mj_forward(self.model, self.data)

    def _id(self, kind: str, name: str) -> int:
        return int(self._m.mj_name2id(self.model, getattr(self._m.mjtObj, kind), name))

    def step(self, count: int = 1) -> None:
        """Simulate `count` steps of `TIME_STEP_S`."""
        self._m.mj_step(self.model, self.data, count)

    def body(self, name: str) -> int:
        """MuJoCo's number of a body.

        Raises:
            InputError: there is no such body.
        """
        if name not in self._body:
            raise InputError(
                f"There is no body {name!r}.", remedy=f"There are: {', '.join(self._body)}.", code="bad_name"
            )
        return self._body[name]

    def pose(self, name: str) -> FloatArray:
        """``scene_from_object`` of one body, ``(4, 4)``."""
        body = self.body(name)
        return self.body_pose(body)

    def body_pose(self, body: int) -> FloatArray:
        """``(4, 4)`` of MuJoCo's body number `body` in the scene."""
        found = np.eye(4)
        found[:3, :3], found[:3, 3] = self.data.xmat[body].reshape(3, 3), self.data.xpos[body]
        return found

    def poses(self) -> dict[str, FloatArray]:
        """``scene_from_object`` of every body that can move."""
        return {name: self.pose(name) for name in self.names}

    def velocity(self, name: str) -> tuple[FloatArray, FloatArray]:
        """Linear (m/s, of the object's origin) and angular (rad/s) velocity, each ``(3,)``, scene frame."""
        at = self._spin[name]
        speeds = self.data.qvel[at : at + 6]
        return speeds[:3].copy(), self.data.xmat[self._body[name]].reshape(3, 3) @ speeds[3:]

    def contacts(self, name: str) -> list[Contact]:
        """What touches `name`, one of the `watched`, after the last step; a robot's links are named ""."""
        own, force, found = self.body(name), np.zeros(6), []
        for number in range(self.data.ncon):
            contact = self.data.contact[number]
            first, second = (int(self.model.geom_bodyid[geom]) for geom in contact.geom)
            if own not in (first, second):
                continue
            self._m.mj_contactForce(self.model, self.data, number, force)
            names = self._named.get(first, ""), self._named.get(second, "")
            # MuJoCo's normal points from the first body to the second.
            found.append(
                Contact(names, contact.pos.copy(), -contact.frame[:3].copy(), float(contact.dist), float(force[0]))
            )
        return found

    def gaps(self, first: str, second: str, within_m: float = FINEST_DISTANCE_M) -> list[Contact]:
        """The closest points between two bodies nearer than `within_m` (forces are zero); none where there are none."""
        line, best = np.zeros(6), None
        for a in self._geoms[first]:
            for b in self._geoms[second]:
                far = float(self._m.mj_geomDistance(self.model, self.data, a, b, within_m, line))
                if far < (within_m if best is None else best.distance_m):
                    normal = line[:3] - line[3:]
                    normal /= max(float(np.linalg.norm(normal)), 1e-12)
                    best = Contact((first, second), line[3:].copy(), normal, far, 0.0)
        return [] if best is None else [best]


class MujocoArm:
    """A robot in a `MujocoWorld`. Positions of its joints are those of `Robot.arm`, then the gripper's opening, 0 … 1.

    Attributes:
        unseen: ``(J,)`` by how much the joints' encoders, on the motors' side of the gears, are ahead of the joints.
    """

    def __init__(self, world: MujocoWorld, robot: Robot) -> None:
        """Made by `MujocoWorld`."""
        self.world, self.robot = world, robot
        model = world.model
        names = [*robot.arm, *robot.opened]
        numbers = [world._id("mjOBJ_JOINT", _joint(name)) for name in names]
        self._at = np.array([model.jnt_qposadr[number] for number in numbers])
        self._speed_at = np.array([model.jnt_dofadr[number] for number in numbers])
        self._motors = np.array([world._id("mjOBJ_ACTUATOR", _joint(name)) for name in names])
        self._closed = np.array([robot.closed[name] for name in robot.opened])
        self._span = np.array([robot.opened[name] for name in robot.opened]) - self._closed
        links = {joint.child for joint in robot.joints.values()}
        self.links = {name: world._id("mjOBJ_BODY", _link(name)) for name in sorted(links)}
        self._bodies = {world._id("mjOBJ_BODY", _link(name)) for name in links | {_base(robot)}}
        self.unseen = np.zeros(len(robot.arm))
        self.reset(np.array([*robot.home, 1.0]))

    def _joint_values(self, positions: FloatArray) -> FloatArray:
        return np.concatenate([positions[:-1], self._closed + positions[-1] * self._span])

    def reset(self, positions: FloatArray) -> None:
        """Put all joints somewhere at once, at rest."""
        self.world.data.qpos[self._at] = self._joint_values(positions)
        self.world.data.qvel[self._speed_at] = 0.0
        self.drive(positions)

    def drive(self, positions: FloatArray) -> None:
        """Give the motors new goals ``(J + 1,)``; they hold for every step until the next."""
        self.world.data.ctrl[self._motors] = self._joint_values(positions)

    def positions(self) -> FloatArray:
        """``(J + 1,)`` as measured."""
        values = self.world.data.qpos[self._at]
        count = len(self.robot.arm)
        return np.append(values[:count] + self.unseen, np.mean((values[count:] - self._closed) / self._span))

    def speeds(self) -> FloatArray:
        """``(J,)`` rad/s of the arm's joints."""
        return np.asarray(self.world.data.qvel[self._speed_at[: len(self.robot.arm)]].copy())

    def efforts(self) -> FloatArray:
        """``(J,)`` what the motors of the arm's joints do, N·m (N where one slides): what holds up the arm, too."""
        data, at = self.world.data, self._speed_at[: len(self.robot.arm)]
        return np.asarray(data.qfrc_actuator[at] + data.qfrc_gravcomp[at])

    def rub(self, effort: FloatArray) -> None:
        """Let the arm's joints turn against a dry friction ``(J,)``, N·m (N where one slides)."""
        self.world.model.dof_frictionloss[self._speed_at[: len(self.robot.arm)]] = effort

    def link_poses(self, links: Sequence[str] | None = None) -> dict[str, FloatArray]:
        """`scene_from_link` ``(4, 4)`` of all links but the base (or of `links`)."""
        return {name: self.world.body_pose(self.links[name]) for name in (self.links if links is None else links)}

    def tool(self) -> FloatArray:
        """`scene_from_tool` ``(4, 4)`` as it is."""
        return np.asarray(self.world.body_pose(self.links[self.robot.tool_link]) @ self.robot.link_from_tool)

    def _pressing(self, body: int, least_n: float) -> set[int]:
        """Bodies of the robot that touch a body of the world with more than so much force."""
        world, force, found = self.world, np.zeros(6), set()
        for number in range(world.data.ncon):
            pair = {int(world.model.geom_bodyid[geom]) for geom in world.data.contact[number].geom}
            if body in pair and (own := pair & self._bodies):
                world._m.mj_contactForce(world.model, world.data, number, force)
                if force[0] > least_n:
                    found |= own
        return found

    def holds(self, body: int) -> bool:
        """Whether every finger presses on a body of the world."""
        pressing = self._pressing(body, 0.05)
        return all(self.links[name] in pressing for name in self.robot.fingers)

    def touches(self, body: int) -> bool:
        """Whether the robot touches a body of the world."""
        return bool(self._pressing(body, 0.0))


def _thing(name: str) -> str:
    return f"thing/{name}"


def _joint(name: str) -> str:
    return f"joint/{name}"


def _link(name: str) -> str:
    return f"link/{name}"


def _base(robot: Robot) -> str:
    """The link that stands on the bench."""
    children = {joint.child for joint in robot.joints.values()}
    return next(joint.parent for joint in robot.joints.values() if joint.parent not in children)


def _document(
    scene: Scene, robot: Robot, mount: FloatArray, matter: Matter, sleepless: frozenset[str] | None
) -> ET.Element:
    """The scene as MJCF (https://mujoco.readthedocs.io/en/stable/XMLreference.html); None: nothing ever sleeps."""
    root = ET.Element("mujoco", model="bench")
    ET.SubElement(root, "compiler", angle="radian", autolimits="true", balanceinertia="true", boundmass="1e-4")
    ET.SubElement(root, "size", memory="64M")
    option = {"cone": "elliptic", "impratio": "10", "noslip_iterations": "5", "integrator": "implicitfast"}
    element = ET.SubElement(root, "option", option, timestep=f"{TIME_STEP_S:g}", gravity="0 0 -9.81")
    flag = ET.SubElement(element, "flag", multiccd="enable")  # flat on flat needs more than one contact point
    if sleepless is not None:
        flag.set("sleep", "enable")
    parts = {name: ET.SubElement(root, name) for name in ("asset", "worldbody", "equality", "actuator")}
    for support in scene.supports:
        body = ET.SubElement(parts["worldbody"], "body", name=_thing(support.name))
        # Everything that stands on it brings its own friction: of two, MuJoCo takes the higher one.
        _geoms(parts["asset"], body, _thing(support.name), [support_slab(support)], TABLE, (0.01, 0.0, 0.0))
    for item in scene.objects:
        _object(parts, item, matter, sleepless is not None and item.name in sleepless)
    _robot(parts, robot, mount, matter.grip)
    return root


def _object(parts: Mapping[str, ET.Element], item: SceneObject, matter: Matter, sleepless: bool) -> None:
    body = ET.SubElement(parts["worldbody"], "body", {"name": _thing(item.name), **_placed(item.scene_from_object)})
    if sleepless:
        body.set("sleep", "never")
    ET.SubElement(body, "freejoint")
    share = matter.mass.get(item.name, 1.0)
    _inertial(body, item.mass_kg * share, item.center_of_mass, item.inertia * share)
    friction = item.friction * matter.friction.get(item.name, 1.0), SPINNING_FRICTION_M, ROLLING_FRICTION_M
    _geoms(parts["asset"], body, _thing(item.name), item.convex_parts, THING, friction)


def _inertial(body: ET.Element, mass: float, center: FloatArray, inertia: FloatArray) -> None:
    order = [inertia[0, 0], inertia[1, 1], inertia[2, 2], inertia[0, 1], inertia[0, 2], inertia[1, 2]]
    ET.SubElement(body, "inertial", pos=_text(center), mass=f"{mass:.9g}", fullinertia=_text(order))


def _geoms(
    assets: ET.Element,
    body: ET.Element,
    name: str,
    hulls: Sequence[Mesh],
    kind: int,
    friction: tuple[float, float, float],
    priority: int = 0,
) -> None:
    """Convex parts of a body; which meet which is `TABLE`, `ROBOT` or `THING`."""
    meets = {TABLE: ROBOT | THING, ROBOT: TABLE | THING, THING: TABLE | ROBOT | THING}[kind]
    for number, hull in enumerate(hulls):
        mesh = f"{name}/{number}"
        ET.SubElement(assets, "mesh", name=mesh, vertex=_text(hull.vertices), inertia="convex")
        ET.SubElement(
            body,
            "geom",
            type="mesh",
            mesh=mesh,
            mass="0",
            contype=str(kind),
            conaffinity=str(meets),
            condim="6",
            friction=_text(friction),
            priority=str(priority),
        )


def _robot(parts: Mapping[str, ET.Element], robot: Robot, mount: FloatArray, grip: float) -> None:
    """The links as a tree of bodies that gravity does not pull (an arm's own controller makes up for it)."""
    root = ET.fromstring(robot.urdf.read_bytes())  # noqa: S314 - read by `kinematics.read_joints` before
    described = {str(link.get("name")): link for link in root.findall("link")}
    hulls = collision_hulls(robot.urdf)
    below: dict[str, list[str]] = {}
    joints = robot.joints
    for name, joint in joints.items():
        below.setdefault(joint.parent, []).append(name)

    def add(parent: ET.Element, link: str, pose: FloatArray, joint: str | None) -> None:
        body = ET.SubElement(parent, "body", {"name": _link(link), "gravcomp": "1", **_placed(pose)})
        if joint is not None and joints[joint].kind != "fixed":
            _moving(body, joint)
        _link_inertia(body, described.get(link))
        tip = link in robot.fingers
        friction = (FINGER_FRICTION * grip, FINGER_SPIN_M, ROLLING_FRICTION_M) if tip else (0.3, 0.001, 0.001)
        _geoms(parts["asset"], body, _link(link), hulls.get(link, ()), ROBOT, friction, priority=1)
        for name in below.get(link, ()):
            add(body, joints[name].child, joints[name].origin, name)

    def _moving(body: ET.Element, name: str) -> None:
        joint, slides = joints[name], joints[name].kind == "prismatic"
        moved = name in robot.arm or name in robot.opened
        effort = robot.grip_n if name in robot.opened else joint.effort or USUAL_EFFORT
        element = ET.SubElement(
            body,
            "joint",
            name=_joint(name),
            type="slide" if slides else "hinge",
            axis=_text(joint.axis),
            armature=f"{_armature(effort, slides):.6g}",
        )
        if joint.kind != "continuous":
            element.set("range", _text([joint.low, joint.high]))
        if not moved:
            element.set("frictionloss", "0.01")
            return
        span = abs(robot.opened[name] - robot.closed[name]) if name in robot.opened else 1.0
        stiffness = effort * (GRIP_STIFFNESS / span if name in robot.opened else STIFFNESS)
        ET.SubElement(
            parts["actuator"],
            "position",
            name=_joint(name),
            joint=_joint(name),
            kp=f"{stiffness:.6g}",
            dampratio="1",
            forcerange=_text([-effort, effort]),
        )

    add(parts["worldbody"], _base(robot), mount, None)
    first, *others = robot.opened
    for name in others:  # gears keep the fingers together
        share = (robot.opened[name] - robot.closed[name]) / (robot.opened[first] - robot.closed[first])
        start = robot.closed[name] - share * robot.closed[first]
        line = _text([start, share, 0.0, 0.0, 0.0])
        ET.SubElement(parts["equality"], "joint", joint1=_joint(name), joint2=_joint(first), polycoef=line)


def _armature(effort: float, slides: bool) -> float:
    return 0.2 if slides else max(ARMATURE * effort, 0.005)


def _link_inertia(body: ET.Element, described: ET.Element | None) -> None:
    """As the URDF says; what it says nothing of, weighs next to nothing."""
    own = None if described is None else described.find("inertial")
    pose, mass, tensor = np.eye(4), 1e-3, 1e-6 * np.eye(3)
    if own is not None and own.find("mass") is not None and own.find("inertia") is not None:
        pose = origin_of(own)
        mass_of, inertia_of = own.find("mass"), own.find("inertia")
        assert mass_of is not None
        assert inertia_of is not None
        mass = max(float(mass_of.get("value", "0")), 1e-3)
        xx, yy, zz, xy, xz, yz = (float(inertia_of.get(key, "0")) for key in ("ixx", "iyy", "izz", "ixy", "ixz", "iyz"))
        given = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
        tensor = given if np.linalg.eigvalsh(given).min() > 1e-9 else tensor
    _inertial(body, mass, pose[:3, 3], pose[:3, :3] @ tensor @ pose[:3, :3].T)


def _placed(pose: FloatArray) -> dict[str, str]:
    x, y, z, w = quaternion_from_pose(pose)
    return {"pos": _text(pose[:3, 3]), "quat": _text([w, x, y, z])}


def _text(numbers: npt.ArrayLike) -> str:
    return " ".join(f"{value:.9g}" for value in np.asarray(numbers, dtype=np.float64).ravel())
