"""What the launch files share: an argument that is a parameter of a node reaches it only when somebody gave it.

Of what a node is told the later wins: its own defaults, those of the launch file, ``params_file``, the arguments that were given.
"""

# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.conditions import evaluate_condition_expression
from launch.launch_context import LaunchContext
from launch.launch_description import LaunchDescription
from launch.logging import get_logger
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

Parameters = Mapping[str, tuple[type, str]]
"""Arguments that are parameters: type and description. They are empty by default, which leaves the node alone."""

Settings = Mapping[str, tuple[str, str]]
"""Other arguments: default and description."""

CLOCK: Parameters = {"use_sim_time": (bool, "true: take time from /clock, for simulations and bags.")}
CAMERA: Parameters = {
    "color_transport": (str, "raw (default) or compressed."),
    "depth_transport": (str, "raw (default) or compressed (compressedDepth)."),
    "rectified": (bool, "true: the image topics carry rectified images."),
    "depth_aligned": (bool, "true: depth is registered to colour although its frame_id differs."),
}
TOPICS: Settings = {
    "color_topic": ("camera/color/image_raw", "Colour image (base name, also with color_transport:=compressed)."),
    "color_info_topic": ("camera/color/camera_info", "CameraInfo of the colour image."),
    "depth_topic": ("camera/aligned_depth_to_color/image_raw", "Depth image: 16UC1, mono16 or 32FC1."),
    "depth_info_topic": ("camera/aligned_depth_to_color/camera_info", "CameraInfo of the depth image."),
}
PROCESS: Settings = {
    "namespace": ("", "Namespace of the nodes and of their relative names; one per camera or robot."),
    "params_file": ("", "ROS parameter file with anything else, a section for each node; see `ros2 param describe NODE NAME`."),
    "log_level": ("info", "debug, info, warn or error."),
}
RVIZ: Settings = {"rviz": ("false", "Start RViz with the overlay and the markers.")}


def description(nodes: Callable[[LaunchContext], list[Node]], parameters: Parameters, settings: Settings) -> LaunchDescription:
    """The arguments, and what `nodes` makes of them once they are known."""
    known = {**{name: ("", text) for name, (_, text) in parameters.items()}, **settings}

    def started(context: LaunchContext) -> list[Node]:
        for name in context.launch_configurations.keys() - known.keys():
            for near in get_close_matches(name, known, 1, cutoff=0.85):
                get_logger("roboref").warning(f"argument {name} is not known and has no effect; is {near} meant?")
        return nodes(context)

    arguments = [DeclareLaunchArgument(name, default_value=default, description=text) for name, (default, text) in known.items()]
    return LaunchDescription([*arguments, OpaqueFunction(function=started)])


def is_true(context: LaunchContext, name: str) -> bool:
    """Whether an argument that is no parameter says true.

    Raises:
        ValueError: Neither true nor false.
    """
    value = LaunchConfiguration(name)
    try:
        return bool(evaluate_condition_expression(context, [value]))
    except ValueError:
        raise _of_another_type(name, value.perform(context), bool) from None


def given(context: LaunchContext, parameters: Parameters) -> dict[str, ParameterValue]:
    """Those of `parameters` that somebody gave, by the names that they have in the node.

    Raises:
        ValueError: One that is of another type.
    """
    found = {}
    for name, (kind, _) in parameters.items():
        text = LaunchConfiguration(name).perform(context)
        if not text:
            continue
        value = ParameterValue(LaunchConfiguration(name), value_type=kind)
        try:
            value.evaluate(context)
        except ValueError:
            raise _of_another_type(name, text, kind) from None
        found["depth.aligned" if name == "depth_aligned" else name] = value
    return found


def _of_another_type(name: str, text: str, kind: type) -> ValueError:
    wanted = {bool: "true or false", int: "an integer", float: "a number"}[kind]
    return ValueError(f"argument {name} is '{text}', it must be {wanted}")


def node(
    context: LaunchContext,
    executable: str,
    parameters: Parameters,
    *,
    defaults: Mapping[str, Any] | None = None,
    fixed: Mapping[str, Any] | None = None,
    topics: Mapping[str, str] | None = None,
) -> Node:
    """One node of this package, called as its executable.

    Args:
        context: Of the launch, with the arguments `PROCESS` declared.
        executable: Of the node.
        parameters: Arguments that go to this node.
        defaults: Of the launch file where they are not the node's; `params_file` may change them.
        fixed: What follows from other arguments; wins over everything.
        topics: Arguments that are names, and the names in the node that they replace.

    Raises:
        FileNotFoundError: ``params_file`` is not there: launch alone would warn and start a robot with the defaults.
        ValueError: An argument is of another type.
    """
    file = LaunchConfiguration("params_file").perform(context)
    if file and not Path(file).is_file():
        raise FileNotFoundError(f"params_file:={file} is not a file")
    told = {**given(context, parameters), **(fixed or {})}
    # These go first and to any node (/**): a node takes the sections in the order in which their names first appear, so that its own
    # section, where launch writes what was given, comes after a /** in params_file wherever that stands.
    first = {"use_sim_time": False, **(defaults or {})}
    return Node(
        package="roboref",
        executable=executable,
        name=executable,
        namespace=LaunchConfiguration("namespace"),
        ros_arguments=[
            *("--log-level", LaunchConfiguration("log_level")),
            *(word for name, value in first.items() for word in ("-p", f"{name}:={json.dumps(value)}")),
        ],
        parameters=[source for source in (file, told) if source],
        remappings=[(inner, LaunchConfiguration(name)) for name, inner in (topics or {}).items()],
        output="screen",
    )


CAMERA_NAMES = {name: inner for name, (inner, _) in TOPICS.items()}
"""For `node`: the names of the camera's topics in every node that has one."""


def rviz(context: LaunchContext, *, use_sim_time: bool = False) -> list[Node]:
    """RViz, where ``rviz`` asks for it."""
    if not is_true(context, "rviz"):
        return []
    shown = PathJoinSubstitution([FindPackageShare("roboref"), "config", "roboref.rviz"])
    clock: dict[str, Any] = {"use_sim_time": use_sim_time, **given(context, CLOCK)}
    return [Node(package="rviz2", executable="rviz2", arguments=["-d", shown], parameters=[clock])]
