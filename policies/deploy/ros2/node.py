"""The node of a bundle: ``~/start`` lets the policy drive, ``~/stop`` is the emergency stop, ``~/reset`` takes it back.

The loop (`policies.deploy.loop.drive`) has the main thread to itself. Everything that comes in is taken in others, so
that the emergency stop needs not wait for it. Ctrl-C (SIGINT, SIGTERM) brings the arm to rest before the node ends;
ROS's own handlers would end all publishing first.
"""

from __future__ import annotations

import dataclasses
import json
import signal
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from policies.deploy.bundle import Bundle, BundleError, Manifest
from policies.deploy.loop import Report, drive
from policies.deploy.robot import FloatArray, Reading
from policies.deploy.ros2.arm import EMERGENCY, RosArm
from policies.deploy.ros2.settings import Settings, parameters_of, settings_of

NAME = "policy"
ENDS = "the node ends"
ROS_OWN = ("use_sim_time", "start_type_description_service", "qos_overrides.")
"""How the parameters begin that every node has."""
THREADS = 4


class PolicyNode:
    """Runs that are asked for by services, one after another.

    Attributes:
        ending: set it, and `serve` comes to its end, the arm at rest.
    """

    def __init__(self, node: Any, bundle: Bundle, settings: Settings, arm: RosArm) -> None:
        """Offer the services; `node` is an ``rclpy.node.Node``."""
        from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
        from std_msgs.msg import String
        from std_srvs.srv import Trigger

        self._node, self._bundle, self._settings, self._arm = node, bundle, settings, arm
        self.ending, self._asked, self._running = threading.Event(), threading.Event(), threading.Event()
        self._reports = node.create_publisher(String, "~/report", 1)
        alone, others = MutuallyExclusiveCallbackGroup(), MutuallyExclusiveCallbackGroup()
        node.create_service(Trigger, "~/stop", self._stop, callback_group=alone)
        node.create_service(Trigger, "~/start", self._start, callback_group=others)
        node.create_service(Trigger, "~/reset", self._reset, callback_group=others)

    def serve(self) -> None:
        """Run whenever that is asked for, until `ending` is set."""
        while not self.ending.is_set():
            if not self._asked.wait(0.1):
                continue
            try:
                self._tell(self.run())
            finally:
                self._running.clear()

    def run(self) -> Report:
        """Let the policy drive until something ends it."""
        self._asked.clear()
        return drive(
            self._bundle,
            self._arm,
            self._settings.seconds,
            heed=self._settings.heed,
            pressed=lambda: self._arm.stopped,
            watch=self._watch,
            clock=self._arm.clock,
            sleep=self._arm.sleep,
        )

    def _watch(self, reading: Reading, command: FloatArray) -> str:
        return ENDS if self.ending.is_set() else ""

    def _tell(self, report: Report) -> None:
        from std_msgs.msg import String

        if self._arm.stopped:
            report = dataclasses.replace(report, stopped=EMERGENCY, fault=False)
        said = f"{report.stopped}, after {report.ticks} ticks ({report.missed} of them late)"
        logger = self._node.get_logger()
        (logger.error if report.fault else logger.info)(said)
        self._reports.publish(String(data=json.dumps(dataclasses.asdict(report))))

    def _start(self, request: Any, response: Any) -> Any:
        response.success = False
        if self._arm.stopped:
            response.message = f"{EMERGENCY}: call ~/reset first"
        elif self._running.is_set() or self.ending.is_set():
            response.message = "it runs already" if self._running.is_set() else ENDS
        else:
            self._running.set()
            self._asked.set()
            response.success, response.message = True, f"at {self._settings.speed:.0%} of the speed"
        return response

    def _stop(self, request: Any, response: Any) -> Any:
        self._arm.emergency()
        self._node.get_logger().warning(EMERGENCY)
        response.success, response.message = True, "stopped; ~/start works again after ~/reset"
        return response

    def _reset(self, request: Any, response: Any) -> Any:
        response.success = not self._running.is_set()
        response.message = "" if response.success else "it has not come to its end yet"
        if response.success:
            self._arm.reset()
        return response


def declared(node: Any, manifest: Manifest) -> Mapping[str, Any]:
    """Values of all parameters by name; the node was made with those that somebody has given declared.

    Raises:
        ValueError: one has a name that means nothing here.
    """
    usual = {entry.name: entry.usual for entry in parameters_of(manifest)}
    given = node.get_parameters_by_prefix("")
    unknown = sorted(name for name in given if name not in usual and not name.startswith(ROS_OWN))
    if unknown:
        raise ValueError(f"there is no parameter {unknown[0]}")
    for name, value in usual.items():
        if name not in given:
            node.declare_parameter(name, value)
    return {name: node.get_parameter(name).value for name in usual}


def main(folder: Path) -> int:
    """Serve the bundle in a folder until Ctrl-C; 0 where nothing went wrong."""
    import rclpy
    from rclpy.signals import SignalHandlerOptions

    try:
        bundle = Bundle(folder)
    except BundleError as error:
        sys.stderr.write(f"error: {error}.\n   what to do: copy the package again, or export it again.\n")
        return 3
    except ImportError as error:
        sys.stderr.write(f'error: {error}.\n   what to do: pip install onnxruntime "numpy<2", see README.md.\n')
        return 6
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node(NAME, automatically_declare_parameters_from_overrides=True)
    try:
        settings = settings_of(bundle.manifest, declared(node, bundle.manifest).__getitem__)
        node.add_on_set_parameters_callback(_refuse)
        _serve(node, PolicyNode(node, bundle, settings, RosArm(node, bundle.manifest, settings)))
    except ValueError as error:
        sys.stderr.write(f"error: {error}.\n   what to do: set it right in the config's YAML file.\n")
        return 2
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
    return 0


def _serve(node: Any, serving: PolicyNode) -> None:
    """Serve, with everything that comes in taken in other threads, until a signal."""
    from rclpy.executors import MultiThreadedExecutor

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: serving.ending.set())
    executor = MultiThreadedExecutor(num_threads=THREADS)
    executor.add_node(node)

    def spin() -> None:
        try:
            executor.spin()
        except Exception as error:  # noqa: BLE001 - without it nothing comes in any more, not even the emergency stop
            if not serving.ending.is_set():  # else it is torn down, which some versions of rclpy say so
                node.get_logger().fatal(f"the node ends: {error}")
        finally:
            serving.ending.set()

    thread = threading.Thread(target=spin, daemon=True)
    thread.start()
    try:
        serving.serve()
    finally:
        executor.shutdown()
        thread.join(2.0)


def _refuse(parameters: Any) -> Any:
    """Nobody changes a parameter while the node is there: an arm must not get faster by a slip."""
    from rcl_interfaces.msg import SetParametersResult

    return SetParametersResult(successful=False, reason="change the config's YAML file and start the node anew")
