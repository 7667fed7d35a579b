"""Starts the node. Nothing moves before its service ~/start is called."""

from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

PACKAGE = Path(__file__).name.removesuffix(".launch.py")
CONFIG = Path(__file__).parent.parent / "config" / f"{PACKAGE}.yaml"
NUMBERS = {
    "speed": "share of the speed of the demonstrations, 0.02 ... 1",
    "seconds": "a run takes at most, counted at full speed",
}


def generate_launch_description() -> LaunchDescription:
    """The node with its config, and what is given beside it."""
    return LaunchDescription(
        [
            DeclareLaunchArgument("config", default_value=str(CONFIG), description="YAML file of parameters"),
            DeclareLaunchArgument("name", default_value="policy", description="of the node, and of its services"),
            DeclareLaunchArgument("namespace", default_value="", description="of the node"),
            *(
                DeclareLaunchArgument(name, default_value="", description=f"{meaning}; empty: as in config")
                for name, meaning in NUMBERS.items()
            ),
            OpaqueFunction(function=node),
        ]
    )


def node(context: LaunchContext) -> list[Node]:
    """The node; only what was given overrules the config."""
    told = {name: LaunchConfiguration(name).perform(context) for name in ("config", "name", "namespace", *NUMBERS)}
    given = {name: float(told[name]) for name in NUMBERS if told[name]}
    return [
        Node(
            package=PACKAGE,
            executable="node",
            name=told["name"],
            namespace=told["namespace"],
            parameters=[told["config"], *([given] if given else [])],
            output="screen",
            # Coming to rest at a tenth of the speed takes some seconds.
            sigterm_timeout="15",
            sigkill_timeout="15",
        )
    ]
