"""A lab with a simulated arm behind the stand-in for ROS 2, whose time passes only when somebody waits."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import numpy as np

from policies.deploy.bundle import Manifest
from policies.deploy.loop import Report, drive
from policies.deploy.ros2.arm import RosArm
from policies.deploy.ros2.settings import parameters_of, settings_of
from simulation.privileged import BOX
from tests import fake_ros

NAMES = [f"lab_{number}" for number in (3, 1, 4, 7, 5, 2, 6)]
"""What the robot calls the policy's joints, in the policy's order."""
SIGNS = [1.0, -1.0, 1.0, 1.0, -1.0, 1.0, 1.0]
OFFSETS = [0.0, 0.5, 0.0, -0.25, 0.0, 0.0, 1.0]
OTHERS = "/environment_state"
ARM = "/joint_trajectory_controller/joint_trajectory"
GRIPPER = "/gripper_controller/gripper_cmd"
TOLD = {
    "arm.joints": NAMES,
    "arm.order": sorted(NAMES),
    "arm.signs": SIGNS,
    "arm.offsets": OFFSETS,
    "gripper.joint": "finger",
    "speed": 1.0,
    "wait_s": 1.0,
}


class AtOnce:
    """Decides in no time, where time passes only when somebody waits."""

    def __init__(self, threads: int) -> None:
        pass

    def submit(self, work: Callable[..., Any], *given: Any) -> Future[Any]:
        done = Future[Any]()
        try:
            done.set_result(work(*given))
        except Exception as error:  # noqa: BLE001 - as in a thread
            done.set_exception(error)
        return done

    def shutdown(self, **how: bool) -> None:
        pass


class World:
    """A lab whose time passes only when somebody waits; every 20 ms all that is measured comes."""

    def __init__(self, graph: fake_ros.Graph, manifest: Manifest, **told: Any) -> None:
        self.now, self.graph, self.manifest = 1000.0, graph, manifest
        graph.clock = lambda: self.now + 1e9
        start = np.array(SIGNS) * manifest.home[:-1] + np.array(OFFSETS)
        self.arm = fake_ros.SimulatedArm(
            {**dict(zip(NAMES, start, strict=True)), "finger": 0.04}, sorted(NAMES), lambda: self.now
        )
        self.events: list[tuple[float, Callable[[], object]]] = []
        self.numbers = [0.1] * (2 * BOX)
        self.silent: set[str] = set()
        self.picture: Any = None
        self.node = fake_ros.Node()
        values = {entry.name: entry.usual for entry in parameters_of(manifest)} | TOLD | told
        self.settings = settings_of(manifest, values.__getitem__)
        position = self.settings.arm.controller == "position"
        graph.subscribe(self.settings.arm.topic, self.arm.positions if position else self.arm.trajectory)
        graph.actions[GRIPPER] = self.arm.grip
        self.robot = RosArm(self.node, manifest, self.settings, timer=lambda: self.now, wait=self.wait)

    def wait(self, seconds: float) -> None:
        until = self.now + max(seconds, 1e-6)  # what is less is no time at all to a float
        while self.now < until:
            self.now = min(until, self.now + 0.02)
            for event in [event for event in self.events if event[0] <= self.now]:
                self.events.remove(event)
                event[1]()
            self.arm.publish()
            if OTHERS not in self.silent:
                self.graph.publish(OTHERS, fake_ros.Float64MultiArray(data=self.numbers))
            if self.picture is not None and "/front/image_rect" not in self.silent:
                self.graph.publish("/front/image_rect", self.picture(self.graph.header()))

    def after(self, seconds: float, event: Callable[[], object]) -> None:
        self.events.append((self.now + seconds, event))

    def drive(self, bundle: Any, seconds: float = 3.0) -> Report:
        return drive(bundle, self.robot, seconds, clock=self.robot.clock, sleep=self.robot.sleep)

    def way(self) -> np.ndarray:
        """``(T, J)`` where the arm was told to be, in the manifest's order and terms."""
        rows = []
        for _, sent in self.arm.told:
            point = dict(zip(sent.joint_names, sent.points[0].positions, strict=True))
            rows.append([(point[name] - o) / s for name, o, s in zip(NAMES, OFFSETS, SIGNS, strict=True)])
        return np.array(rows)
