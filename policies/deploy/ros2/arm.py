"""A robot as the runner knows robots (`policies.deploy.robot.Robot`), behind the topics of ROS 2."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from policies.deploy.bundle import PICTURES, Manifest
from policies.deploy.robot import Reading
from policies.deploy.ros2 import images
from policies.deploy.ros2.controllers import Controller, GripperAction, Positions, Trajectories
from policies.deploy.ros2.settings import CameraSettings, Settings
from simulation.calibration import CALIBRATION, calibration
from simulation.optics import Optics
from simulation.pointcloud import DEPTH

FloatArray = npt.NDArray[np.float64]
EMERGENCY = "the emergency stop was called"
STOP_S = 0.1
"""So long takes what stops the arm at once: as long as one tick of a policy."""
GLANCE_S = 0.02
"""How often a start looks whether everything is there."""
OFF_MIDDLE = 0.05
"""A camera whose optical axis is farther from its picture's middle (share of its height) is none to run with."""


class RosArm:
    """The arm, its gripper and its cameras.

    Messages are taken in threads of their own; the loop reads what came last. What is told to the robot, and the
    emergency stop, take turns by a lock: nothing goes out after that.

    Data are as old as it is since they *came*, by this computer's monotonic clock, which is the only one that the loop
    knows and that nobody can set. The stamp in a message's header is of whichever computer has sent it. It serves for
    one thing: a message whose stamp is farther than `stale_s` from now, whether it waited on the way or the clocks
    differ, is refused as if it had never come.

    Attributes:
        stopped: the emergency stop was called, and not taken back since.
    """

    def __init__(
        self,
        node: Any,
        manifest: Manifest,
        settings: Settings,
        *,
        timer: Callable[[], float] = time.monotonic,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        """Subscribe to all that is measured, and get ready to tell; nothing moves.

        Args:
            node: an ``rclpy.node.Node`` that somebody spins.
            manifest: of the bundle.
            settings: what is said of the robot.
            timer: time that never goes back, seconds.
            wait: so many seconds of it.
        """
        self._node, self._manifest, self._settings, self._timer, self._wait = node, manifest, settings, timer, wait
        self._lock = threading.RLock()
        self._joints: dict[str, tuple[float, float]] = {}
        self._latest: dict[str, tuple[float, Any]] = {}
        self._refused: dict[str, str] = {}
        self._since = 0.0
        self._way: tuple[FloatArray, FloatArray] | None = None
        self.stopped = False
        self._controllers = self._subscribe()
        self._tick_s = 1.0 / (manifest.rate_hz * settings.speed)

    # The loop's time passes more slowly than real time where the arm is to be slower: then all that the policy does,
    # foretells and sees of itself is as in training, only later. Ages of data stay in real seconds.

    def clock(self) -> float:
        """The loop's time, seconds."""
        return self._timer() * self._settings.speed

    def sleep(self, seconds: float) -> None:
        """Wait for so many seconds of the loop's; on the way, tell those that must be told of every step."""
        until = self._timer() + seconds / self._settings.speed
        step = 1.0 / self._settings.arm.stream_hz
        while not self.stopped and (left := until - self._timer()) > 0.0:
            if any(controller.stepwise for controller, _ in self._controllers):
                self._wait(min(step, left))
                self._tell(stepwise=True)
            else:
                self._wait(min(STOP_S, left))

    def connect(self) -> None:
        """Wait until all that is measured has come, and all that is told is listened to.

        Raises:
            ConnectionError: for `wait_s` that was not so; says what is missing, and why as far as is known.
        """
        until = self._timer() + self._settings.wait_s
        while (missing := self._missing()) and not self.stopped:
            if self._timer() >= until:
                raise ConnectionError(missing)
            self._wait(GLANCE_S)
        with self._lock:
            self._way = None

    def read(self) -> Reading:
        """What came last, in the manifest's order; NaN where nothing did."""
        with self._lock:
            joints, latest = dict(self._joints), dict(self._latest)
        positions, since = self._positions(joints)
        came = {"joints": since, **{name: when for name, (when, _) in latest.items()}}
        if self._settings.cameras and CALIBRATION in self._manifest.measures:
            came[CALIBRATION] = min(came.get(PICTURES + name, -np.inf) for name in self._settings.cameras)
        seen = self._seen(latest)
        now, loop = self._timer(), self.clock()
        measured = {name: loop - (now - came[name]) for name in ("joints", *seen)}
        return Reading(positions, measured, seen)

    def act(self, command: FloatArray) -> None:
        """Be there one tick from now; nothing after an emergency stop."""
        with self._lock:
            if self.stopped:
                return
            for controller, _ in self._controllers:
                if not controller.listened_to():
                    raise ConnectionError(f"nobody listens to {controller.topic}")
            here = self._setpoint()
            if here is None:
                here = self._positions(self._joints)[0]  # from where the guard begins too
            self._way, self._since = (here, np.array(command)), self._timer()
            self._tell(stepwise=False)
            self._tell(stepwise=True)

    def stop(self) -> None:
        """Stay where it was told to be by now."""
        with self._lock:
            here = self._setpoint()
            if here is not None and not self.stopped:
                self._hold(here)
            self._way = None

    def emergency(self) -> None:
        """Stay where it is, at once, whatever thread this is called from; nothing is told until `reset`."""
        with self._lock:
            positions, since = self._positions(self._joints)
            fresh = np.isfinite(positions).all() and self._timer() - since <= self._manifest.limits.stale_s
            here = self._setpoint()
            if here is not None:  # measured, not told: whatever the arm pushes against is not pushed on
                self._hold(positions if fresh else here)
            self._way, self.stopped = None, True

    def reset(self) -> None:
        """Take the emergency stop back; nothing moves until the next start."""
        self.stopped = False

    def _hold(self, here: FloatArray) -> None:
        """Tell the arm to be at joint positions and opening ``(J + 1,)``; the gripper, to do what it was told."""
        if self._way is not None:
            here = np.append(here[:-1], self._way[1][-1])
        for controller, pick in self._controllers:
            if controller.listened_to():
                controller.tell(pick(here), STOP_S)

    def _tell(self, *, stepwise: bool) -> None:
        """Tell where to be: at the end of the tick, or, of every step, by now."""
        with self._lock:
            here = self._setpoint()
            if self._way is None or here is None or self.stopped:
                return
            for controller, pick in self._controllers:
                if controller.stepwise == stepwise:
                    controller.tell(pick(here if stepwise else self._way[1]), self._tick_s)

    def _setpoint(self) -> FloatArray | None:
        """Where the arm is told to be by now, on the straight way to the last command; None before the first."""
        if self._way is None:
            return None
        share = min(1.0, max(0.0, (self._timer() - self._since) / self._tick_s))
        return (1.0 - share) * self._way[0] + share * self._way[1]

    def _subscribe(self) -> list[tuple[Controller, Callable[[FloatArray], FloatArray]]]:
        """Take what comes in; the controllers, and what each is told of a command ``(J + 1,)``."""
        from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
        from rclpy.qos import qos_profile_sensor_data
        from sensor_msgs.msg import CameraInfo, Image, JointState
        from std_msgs.msg import Float64MultiArray

        node, s = self._node, self._settings

        def take(kind: Any, topic: str, work: Callable[[Any], None]) -> None:
            own = MutuallyExclusiveCallbackGroup()
            node.create_subscription(kind, topic, partial(self._take, topic, work), qos_profile_sensor_data, callback_group=own)  # fmt: skip  # noqa: E501

        take(JointState, s.arm.states, self._take_joints)
        for name, camera in s.cameras.items():
            take(Image, camera.picture, partial(self._keep, PICTURES + name))
            if camera.depth:
                take(Image, camera.depth, partial(self._keep, DEPTH + name))
            if camera.info:
                take(CameraInfo, camera.info, partial(self._keep, camera.info))
        for name, topic in s.others.items():
            take(Float64MultiArray, topic, partial(self._keep, name))

        with_gripper = dict(zip(s.arm.joints, range(len(s.arm.joints)), strict=True))
        with_gripper[s.gripper.joint] = len(s.arm.joints)
        order = [with_gripper[name] for name in s.arm.order]
        arm = (
            Trajectories(node, s.arm.topic, s.arm.order)
            if s.arm.controller == "trajectory"
            else Positions(node, s.arm.topic)
        )
        found: list[tuple[Controller, Callable[[FloatArray], FloatArray]]] = [
            (arm, lambda command: self._in_ros(command)[order])
        ]
        if s.gripper.controller != "arm":
            gripper: Controller = GripperAction(node, s.gripper)
            if s.gripper.controller == "trajectory":
                gripper = Trajectories(node, s.gripper.topic, (s.gripper.joint,))
            elif s.gripper.controller == "position":
                gripper = Positions(node, s.gripper.topic)
            found.append((gripper, lambda command: self._in_ros(command)[-1:]))
        return found

    def _in_ros(self, command: FloatArray) -> FloatArray:
        """Joint positions and opening ``(J + 1,)`` as the robot's own joints have them, the gripper's last."""
        arm, gripper = self._settings.arm, self._settings.gripper
        return np.append(
            arm.signs * command[:-1] + arm.offsets,
            gripper.closed + command[-1] * (gripper.opened - gripper.closed),
        )

    def _positions(self, joints: Mapping[str, tuple[float, float]]) -> tuple[FloatArray, float]:
        """``(J + 1,)`` positions and opening, and when the oldest of them came."""
        arm, gripper = self._settings.arm, self._settings.gripper
        rows = [joints.get(name, (-np.inf, np.nan)) for name in (*arm.joints, gripper.joint)]
        values = np.array([value for _, value in rows])
        opening = (values[-1] - gripper.closed) / (gripper.opened - gripper.closed)
        found = np.append((values[:-1] - arm.offsets) / arm.signs, np.clip(opening, 0.0, 1.0))
        return found, min(when for when, _ in rows)

    def _seen(self, latest: Mapping[str, tuple[float, Any]]) -> dict[str, npt.NDArray[Any]]:
        """What of `latest` the policy looks at, as it does."""
        found: dict[str, npt.NDArray[Any]] = {}
        for name, camera in self._settings.cameras.items():
            if PICTURES + name in latest:
                found[PICTURES + name] = _looked(
                    images.picture, latest[PICTURES + name][1], camera.side, camera.picture
                )
            if DEPTH + name in latest:
                found[DEPTH + name] = _looked(images.depth, latest[DEPTH + name][1], camera.side, camera.depth)
        for name in self._settings.others:
            if name in latest:
                wanted = self._manifest.inputs[name]
                found[name] = np.asarray(latest[name][1].data, dtype=wanted.dtype)
        if CALIBRATION in self._manifest.measures and all(PICTURES + name in found for name in self._settings.cameras):
            known = [_known(camera, latest.get(camera.info)) for camera in self._settings.cameras.values()]
            found[CALIBRATION] = np.concatenate(known).astype(np.float32)
        return found

    def _missing(self) -> str:
        """What is not there yet, "" where all is; says why, as far as is known."""
        s = self._settings
        with self._lock:
            joints, latest = set(self._joints), set(self._latest)
        wanted = {s.arm.states: set(s.arm.joints) | {s.gripper.joint} <= joints}
        for name, camera in s.cameras.items():
            wanted[camera.picture] = PICTURES + name in latest
            wanted |= {camera.depth: DEPTH + name in latest} if camera.depth else {}
            wanted |= {camera.info: camera.info in latest} if camera.info else {}
        wanted |= {topic: name in latest for name, topic in s.others.items()}
        for topic, there in wanted.items():
            if not there:
                absent = sorted({*s.arm.joints, s.gripper.joint} - joints) if topic == s.arm.states else []
                of = f" of {', '.join(absent)}" if absent else ""
                why = f" ({self._refused[topic]})" if topic in self._refused else ""
                return f"nothing{of} comes on {topic}{why}"
        silent = [controller.topic for controller, _ in self._controllers if not controller.listened_to()]
        return f"nobody listens to {silent[0]}" if silent else ""

    def _take(self, topic: str, work: Callable[[Any], None], message: Any) -> None:
        """Take a message, or say why not; never raises: that would end the thread that takes all of them."""
        why = self._too_old(message)
        try:
            if not why:
                work(message)
        except (AttributeError, TypeError, ValueError, OverflowError) as error:
            why = str(error)
        with self._lock:
            new = why and self._refused.get(topic) != why
            self._refused.pop(topic, None)
            if why:
                self._refused[topic] = why
        if new:
            self._node.get_logger().warning(f"{topic}: a message is refused: {why}", throttle_duration_sec=2.0)

    def _too_old(self, message: Any) -> str:
        """Why a message's stamp says nothing of now, "" where it does, or there is none."""
        header = getattr(message, "header", None)
        if header is None:
            return ""
        now = self._node.get_clock().now().nanoseconds
        age = (now - (header.stamp.sec * 10**9 + header.stamp.nanosec)) * 1e-9
        if abs(age) <= self._manifest.limits.stale_s:
            return ""
        if header.stamp.sec == 0 and age > 0.0:
            return "its stamp is empty"
        return f"its stamp is {abs(age):.1f} s {'old' if age > 0.0 else 'ahead'}: late, or the computers' clocks differ"

    def _take_joints(self, message: Any) -> None:
        names, positions = list(message.name), list(message.position)
        if len(names) != len(positions) or len(set(names)) != len(names):
            raise ValueError(f"it has {len(positions)} positions of {len(set(names))} joints, {len(names)} named")
        now = self._timer()
        with self._lock:
            # Arm and gripper may come in messages of their own; others' joints on the same topic are none of ours.
            for name, position in zip(names, positions, strict=True):
                if name in self._settings.arm.joints or name == self._settings.gripper.joint:
                    self._joints[name] = now, float(position)

    def _keep(self, name: str, message: Any) -> None:
        with self._lock:
            self._latest[name] = self._timer(), message


def _looked(work: Callable[[Any, int], npt.NDArray[Any]], message: Any, side: int, topic: str) -> npt.NDArray[Any]:
    """A picture as the policy looks at it.

    Raises:
        ConnectionError: it is none that anybody can look at.
    """
    try:
        return work(message, side)
    except (ValueError, TypeError) as error:
        raise ConnectionError(f"the picture on {topic} cannot be used: {error}") from None


def _known(camera: CameraSettings, info: tuple[float, Any] | None) -> FloatArray:
    """What is known of a camera (`simulation.calibration`), its focal length from CameraInfo where that has come.

    Raises:
        ConnectionError: that says nothing of a camera which looks through the middle of its picture.
    """
    focal = camera.focal
    if info is not None:
        message = info[1]
        side = min(message.width, message.height)
        p, k = list(message.p), list(message.k)
        fx, fy, cx, cy = (p[0], p[5], p[2], p[6]) if len(p) == 12 and p[0] > 0.0 else (k[0], k[4], k[2], k[5])
        off = max(abs(cx - message.width / 2), abs(cy - message.height / 2))
        if not (side > 0 and fx > 0.0 and abs(fx - fy) <= OFF_MIDDLE * fx and off <= OFF_MIDDLE * side):
            raise ConnectionError(f"what {camera.info} says is of no rectified camera that looks through its middle")
        focal = (fx + fy) / 2 / (side / 2)
    return calibration(camera.pose, Optics(focal * camera.side / 2, (camera.side, camera.side), camera.lens))
