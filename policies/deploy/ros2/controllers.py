"""What is told to the robot, as its controllers of ros2_control want it."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from policies.deploy.ros2.settings import GripperSettings

FloatArray = npt.NDArray[np.float64]
NOTABLE = 0.02
"""A gripper's action is asked anew where the opening has changed by more: every goal ends the one before."""


class Controller(Protocol):
    """Moves some joints.

    Attributes:
        topic: of it, for people.
        stepwise: goes where it is told at once, and must be told of every step on the way.
    """

    topic: str
    stepwise: bool

    def listened_to(self) -> bool:
        """Whether anybody is there who is told."""

    def tell(self, positions: FloatArray, seconds: float) -> None:
        """Be at these positions after so long, and stay."""


class Trajectories:
    """A joint_trajectory_controller, told by its topic: one point, which ends what it was told before.

    The point has positions alone. Whoever gives a velocity at the end is refused by newer controllers, and where this
    node ends or hangs the arm must stay at the last point, not go on.
    """

    stepwise = False

    def __init__(self, node: Any, topic: str, joints: tuple[str, ...]) -> None:
        """Tell `joints` on a topic; `node` is an ``rclpy.node.Node``."""
        from trajectory_msgs.msg import JointTrajectory

        self.topic, self._joints = topic, joints
        self._publisher = node.create_publisher(JointTrajectory, topic, 1)

    def listened_to(self) -> bool:
        """Whether a controller has subscribed."""
        return bool(self._publisher.get_subscription_count())

    def tell(self, positions: FloatArray, seconds: float) -> None:
        """Be there after so long; the header's stamp stays zero, which means: from now on."""
        from builtin_interfaces.msg import Duration
        from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

        whole = round(seconds * 1e9)
        after = Duration(sec=whole // 10**9, nanosec=whole % 10**9)
        point = JointTrajectoryPoint(positions=positions.tolist(), time_from_start=after)
        self._publisher.publish(JointTrajectory(joint_names=list(self._joints), points=[point]))


class Positions:
    """A forward_command_controller of positions: the numbers alone, in the controller's own order."""

    stepwise = True

    def __init__(self, node: Any, topic: str) -> None:
        """Tell positions on a topic; `node` is an ``rclpy.node.Node``."""
        from std_msgs.msg import Float64MultiArray

        self.topic = topic
        self._publisher = node.create_publisher(Float64MultiArray, topic, 1)

    def listened_to(self) -> bool:
        """Whether a controller has subscribed."""
        return bool(self._publisher.get_subscription_count())

    def tell(self, positions: FloatArray, seconds: float) -> None:
        """Be there now."""
        from std_msgs.msg import Float64MultiArray

        self._publisher.publish(Float64MultiArray(data=positions.tolist()))


class GripperAction:
    """A gripper's action server (control_msgs/action/GripperCommand)."""

    stepwise = False

    def __init__(self, node: Any, settings: GripperSettings) -> None:
        """Ask for what the settings name; `node` is an ``rclpy.node.Node``."""
        from control_msgs.action import GripperCommand
        from rclpy.action import ActionClient

        self.topic, self._effort = settings.topic, settings.effort
        self._notable = NOTABLE * abs(settings.opened - settings.closed)
        self._client = ActionClient(node, GripperCommand, settings.topic)
        self._asked = np.nan

    def listened_to(self) -> bool:
        """Whether its server is there."""
        return bool(self._client.server_is_ready())

    def tell(self, positions: FloatArray, seconds: float) -> None:
        """Go there, as fast as it does; nothing where it is on its way there already."""
        from control_msgs.action import GripperCommand

        wanted = float(positions[0])
        if abs(wanted - self._asked) <= self._notable:  # never of a NaN: the first is asked for
            return
        goal = GripperCommand.Goal()
        goal.command.position, goal.command.max_effort = wanted, self._effort
        self._client.send_goal_async(goal)
        self._asked = wanted
