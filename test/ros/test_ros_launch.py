"""The launch files load in genuine launch, document every argument and start what they say."""

from pathlib import Path

import pytest

pytest.importorskip("launch", reason="needs ROS 2's launch, which a distribution brings and PyPI does not")
pytest.importorskip("launch_ros", reason="needs ROS 2's launch_ros, which a distribution brings and PyPI does not")
from launch.launch_description_sources import get_launch_description_from_python_launch_file
from launch_ros.actions import Node
from launch_ros.utilities import evaluate_parameters

from launch import LaunchContext

LAUNCH = Path(__file__).resolve().parents[2] / "launch"
EXPECTED = {
    "refer": {"robot", "model", "namespace", "use_sim_time", "color_topic", "depth_topic", "params_file", "autostart"},
    "demo": {"seed", "rate", "model"},
    "pick_place": {
        "robot", "model", "use_sim_time", "color_topic", "depth_topic", "color_transport", "depth_transport", "rectified", "depth_aligned",
        "arm_action", "arm_stop", "confirm", "sim",
    },
    "navigate": {"sim", "seed", "target", "robot", "model", "drive", "use_map", "color_topic", "depth_topic"},
    "replay": {"bag", "robot", "model", "color_topic", "depth_topic", "rate", "loop"},
}  # fmt: skip


@pytest.mark.parametrize("name", EXPECTED)
def test_every_argument_is_documented(name):
    description = get_launch_description_from_python_launch_file(str(LAUNCH / f"{name}.launch.py"))
    own = {argument.name: argument for argument in description.get_launch_arguments()}
    assert EXPECTED[name] <= set(own)
    assert all(len(argument.description) > 10 for argument in own.values())


def test_the_refer_node_gets_its_parameters_and_remappings():
    description = get_launch_description_from_python_launch_file(str(LAUNCH / "refer.launch.py"))
    context = LaunchContext()
    for argument in description.get_launch_arguments():
        context.launch_configurations[argument.name] = "".join(part.perform(context) for part in argument.default_value)
    context.launch_configurations.update(robot="g1", namespace="head", color_topic="/rgb")
    factory = next(entity for entity in description.entities if type(entity).__name__ == "OpaqueFunction")
    (node,) = factory.execute(context)
    assert isinstance(node, Node)
    node._perform_substitutions(context)
    assert node.node_name == "/head/refer"
    assert ("camera/color/image_raw", "/rgb") in node.expanded_remapping_rules


def test_the_pick_place_node_sees_the_camera_as_the_refer_node_does():
    description = get_launch_description_from_python_launch_file(str(LAUNCH / "pick_place.launch.py"))
    context = LaunchContext()
    for argument in description.get_launch_arguments():
        context.launch_configurations[argument.name] = "".join(part.perform(context) for part in argument.default_value)
    context.launch_configurations.update(color_transport="compressed", depth_aligned="true")
    node = next(entity for entity in description.entities if isinstance(entity, Node) and entity.node_executable == "pick_place")
    (values,) = evaluate_parameters(context, node._Node__parameters)
    assert values["color_transport"] == "compressed" and values["depth.aligned"] is True
