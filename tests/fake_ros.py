"""A stand-in for what the node uses of ROS 2, with one graph for all: messages arrive at once, in the sender's thread.

It imports nothing of the project, so that a process with an exported package alone can use it. Messages refuse fields
that the real ones have not.
"""

from __future__ import annotations

import sys
import threading
import time
import types
from collections.abc import Callable
from typing import Any

import numpy as np


def message(kind: str, /, **fields: Callable[[], Any]) -> type:
    def init(self: Any, **given: Any) -> None:
        assert set(given) <= set(fields), (kind, set(given) - set(fields))
        for field, usual in fields.items():
            object.__setattr__(self, field, given.get(field, usual()))

    def set_field(self: Any, field: str, value: Any) -> None:
        assert field in fields, (kind, field)
        object.__setattr__(self, field, value)

    return type(kind, (), {"__init__": init, "__setattr__": set_field})


Time = message("Time", sec=int, nanosec=int)
Duration = message("Duration", sec=int, nanosec=int)
Header = message("Header", stamp=Time, frame_id=str)
JointState = message("JointState", header=Header, name=list, position=list, velocity=list, effort=list)
Image = message("Image", header=Header, height=int, width=int, encoding=str, is_bigendian=int, step=int, data=bytes)
CameraInfo = message("CameraInfo", header=Header, height=int, width=int, k=list, p=list, d=list)
Point = message("Point", positions=list, velocities=list, accelerations=list, effort=list, time_from_start=Duration)
JointTrajectory = message("JointTrajectory", header=Header, joint_names=list, points=list)
Float64MultiArray = message("Float64MultiArray", layout=object, data=list)
String = message("String", data=str)
Command = message("GripperCommand", position=float, max_effort=float)
SetParametersResult = message("SetParametersResult", successful=bool, reason=str)


class Trigger:
    Request = message("Request")
    Response = message("Response", success=bool, message=str)


class GripperCommand:
    Goal = message("Goal", command=Command)


class Graph:
    """Who listens to what, and who serves what."""

    def __init__(self) -> None:
        self.subscriptions: dict[str, list[Callable[[Any], None]]] = {}
        self.services: dict[str, Callable[[Any, Any], Any]] = {}
        self.actions: dict[str, Callable[[Any], None]] = {}
        self.parameters: dict[str, Any] = {}
        self.said: list[str] = []
        self.clock: Callable[[], float] = time.time

    def publish(self, topic: str, sent: Any) -> None:
        for take in list(self.subscriptions.get(topic, [])):
            take(sent)

    def subscribe(self, topic: str, take: Callable[[Any], None]) -> None:
        self.subscriptions.setdefault(topic, []).append(take)

    def call(self, name: str) -> Any:
        return self.services[name](Trigger.Request(), Trigger.Response())

    def header(self, late_s: float = 0.0) -> Any:
        now = round((self.clock() - late_s) * 1e9)
        return Header(stamp=Time(sec=now // 10**9, nanosec=now % 10**9))


GRAPH = Graph()


class Publisher:
    def __init__(self, kind: type, topic: str) -> None:
        self.kind, self.topic = kind, topic

    def publish(self, sent: Any) -> None:
        assert isinstance(sent, self.kind)
        GRAPH.publish(self.topic, sent)

    def get_subscription_count(self) -> int:
        return len(GRAPH.subscriptions.get(self.topic, []))


class Node:
    def __init__(self, name: str = "policy") -> None:
        self.name, self.declared = name, dict(GRAPH.parameters)

    def _named(self, topic: str) -> str:
        return topic.replace("~", f"/{self.name}", 1)

    def create_publisher(self, kind: type, topic: str, qos: Any) -> Publisher:
        return Publisher(kind, self._named(topic))

    def create_subscription(self, kind: type, topic: str, take: Any, qos: Any, *, callback_group: Any) -> None:
        def checked(sent: Any) -> None:
            assert isinstance(sent, kind)
            take(sent)

        GRAPH.subscribe(self._named(topic), checked)

    def create_service(self, kind: type, name: str, serve: Any, *, callback_group: Any) -> None:
        assert kind is Trigger
        GRAPH.services[self._named(name)] = serve

    def get_clock(self) -> Any:
        return types.SimpleNamespace(now=lambda: types.SimpleNamespace(nanoseconds=round(GRAPH.clock() * 1e9)))

    def get_logger(self) -> Any:
        def say(text: str, throttle_duration_sec: float = 0.0) -> None:
            GRAPH.said.append(text)

        return types.SimpleNamespace(info=say, warning=say, error=say)

    def get_parameters_by_prefix(self, prefix: str) -> dict[str, Any]:
        assert prefix == ""
        return dict(self.declared)

    def get_parameter(self, name: str) -> Any:
        return types.SimpleNamespace(value=self.declared[name])

    def declare_parameter(self, name: str, value: Any) -> None:
        assert name not in self.declared
        self.declared[name] = value

    def add_on_set_parameters_callback(self, callback: Any) -> None:
        self.on_set = callback

    def destroy_node(self) -> None:
        GRAPH.said.append("destroyed")


class Executor:
    def __init__(self, num_threads: int) -> None:
        assert num_threads > 1
        self._over = threading.Event()

    def add_node(self, node: Node) -> None:
        pass

    def spin(self) -> None:
        self._over.wait()

    def shutdown(self) -> None:
        self._over.set()


class ActionClient:
    def __init__(self, node: Node, kind: type, name: str) -> None:
        assert kind is GripperCommand
        self._name = name

    def server_is_ready(self) -> bool:
        return self._name in GRAPH.actions

    def send_goal_async(self, goal: Any) -> None:
        assert isinstance(goal, GripperCommand.Goal)
        GRAPH.actions[self._name](goal)


def modules(share: str = "") -> dict[str, types.ModuleType]:
    """By name, for `sys.modules`; a package's share folder is `share`. The graph is empty after that."""
    GRAPH.__init__()  # type: ignore[misc]

    def make_node(name: str, *, automatically_declare_parameters_from_overrides: bool) -> Node:
        assert automatically_declare_parameters_from_overrides
        return Node(name)

    def init(*, signal_handler_options: str) -> None:
        assert signal_handler_options == "no"

    content: dict[str, dict[str, Any]] = {
        "rclpy": {"init": init, "create_node": make_node, "try_shutdown": lambda: None},
        "rclpy.action": {"ActionClient": ActionClient},
        "rclpy.callback_groups": {"MutuallyExclusiveCallbackGroup": object},
        "rclpy.executors": {"MultiThreadedExecutor": Executor},
        "rclpy.qos": {"qos_profile_sensor_data": "sensors"},
        "rclpy.signals": {"SignalHandlerOptions": types.SimpleNamespace(NO="no")},
        "builtin_interfaces.msg": {"Duration": Duration},
        "control_msgs.action": {"GripperCommand": GripperCommand},
        "rcl_interfaces.msg": {"SetParametersResult": SetParametersResult},
        "sensor_msgs.msg": {"CameraInfo": CameraInfo, "Image": Image, "JointState": JointState},
        "std_msgs.msg": {"Float64MultiArray": Float64MultiArray, "String": String},
        "std_srvs.srv": {"Trigger": Trigger},
        "trajectory_msgs.msg": {"JointTrajectory": JointTrajectory, "JointTrajectoryPoint": Point},
        "ament_index_python.packages": {"get_package_share_directory": lambda name: share},
    }
    found = {name.partition(".")[0]: types.ModuleType(name.partition(".")[0]) for name in content}
    for name, members in content.items():
        found.setdefault(name, types.ModuleType(name)).__dict__.update(members)
    return found


class SimulatedArm:
    """Joints of ros2_control: a joint_trajectory_controller (or one of positions) that does exactly what it is told.

    Attributes:
        at: position of each joint.
        told: what came, with its time.
        late_s: joint states have stamps that are so old.
        spoil: makes something else of a joint state, or none.
    """

    def __init__(self, start: dict[str, float], order: list[str], timer: Callable[[], float]) -> None:
        self.at, self.order, self._timer = dict(start), order, timer
        self._way = dict.fromkeys(order, (0.0, 0.0, 0.0))
        self.told: list[tuple[float, Any]] = []
        self.grips: list[float] = []
        self.fastest = dict.fromkeys(order, 0.0)
        self.late_s = 0.0
        self.spoil: Callable[[Any], Any] = lambda state: state
        self._last = timer()
        self._goals: dict[str, tuple[float, float]] = {}

    def trajectory(self, sent: Any) -> None:
        now = self._timer()
        self.told.append((now, sent))
        self.move()
        (point,) = sent.points
        assert (sent.header.stamp.sec, sent.header.stamp.nanosec) == (0, 0)
        assert sorted(sent.joint_names) == sorted(self.order)
        assert point.velocities == []
        after = point.time_from_start.sec + point.time_from_start.nanosec * 1e-9
        assert after > 0
        for name, goal in zip(sent.joint_names, point.positions, strict=True):
            self._goals[name] = goal, now + after

    def positions(self, sent: Any) -> None:
        self.told.append((self._timer(), sent))
        for name, value in zip(self.order, sent.data, strict=True):
            self.at[name] = value

    def grip(self, goal: Any) -> None:
        self.grips.append(goal.command.position)
        self.at["finger"] = goal.command.position

    def move(self) -> None:
        """Where the joints are by now, on a straight way."""
        now = self._timer()
        for name, (goal, when) in self._goals.items():
            share = 1.0 if now >= when else (now - self._last) / (when - self._last)
            self.at[name] += share * (goal - self.at[name])
        self._last = now

    def publish(self) -> None:
        self.move()
        names = [*reversed(self.order), "somebody_elses", "finger"]
        state = JointState(header=GRAPH.header(self.late_s), name=names)
        state.position = [float(self.at.get(name, np.nan)) for name in names]
        state = self.spoil(state)
        if state is not None:
            GRAPH.publish("/joint_states", state)


def install(share: str = "") -> Graph:
    """Put the modules where Python finds them, in a process of one's own."""
    sys.modules.update(modules(share))
    return GRAPH
