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
    "navigate": {
        "sim", "seed", "target", "robot", "model", "drive", "use_map", "color_topic", "depth_topic", "color_transport", "depth_transport",
        "rectified", "depth_aligned",
    },
    "replay": {"bag", "robot", "model", "color_topic", "depth_topic", "color_transport", "depth_transport", "params_file", "rate", "loop"},
}  # fmt: skip


@pytest.mark.parametrize("name", EXPECTED)
def test_every_argument_is_documented(name):
    description = get_launch_description_from_python_launch_file(str(LAUNCH / f"{name}.launch.py"))
    own = {argument.name: argument for argument in description.get_launch_arguments()}
    assert EXPECTED[name] <= set(own)
    assert all(len(argument.description) > 10 for argument in own.values())


def _context(description, **given):
    """As after the declarations of the arguments."""
    context = LaunchContext()
    for argument in description.get_launch_arguments():
        if argument.default_value is not None:
            context.launch_configurations[argument.name] = "".join(part.perform(context) for part in argument.default_value)
    context.launch_configurations.update(given)
    return context


def _refer_node(**given):
    description = get_launch_description_from_python_launch_file(str(LAUNCH / "refer.launch.py"))
    context = _context(description, **given)
    factory = next(entity for entity in description.entities if type(entity).__name__ == "OpaqueFunction")
    node = factory.execute(context)[0]
    assert isinstance(node, Node)
    node._perform_substitutions(context)
    return node, evaluate_parameters(context, node._Node__parameters)


def test_the_refer_node_gets_its_parameters_and_remappings():
    node, (values,) = _refer_node(robot="g1", namespace="head", color_topic="/rgb", depth_aligned="true")
    assert node.node_name == "/head/refer"
    assert ("camera/color/image_raw", "/rgb") in node.expanded_remapping_rules
    assert values == {"robot": "g1", "depth.aligned": True}


def test_arguments_that_nobody_gave_leave_the_parameter_file_alone(tmp_path):
    """Every default was passed on behind the file: `rectified: true` in it was silently false."""
    file = tmp_path / "camera.yaml"
    file.write_text("/**: {ros__parameters: {model: none, rectified: true, depth: {aligned: true}}}")
    assert _refer_node(params_file=str(file))[1] == (file,)
    assert _refer_node(params_file=str(file), model="nano")[1] == (file, {"model": "nano"})
    assert _refer_node()[1] == ()


@pytest.mark.parametrize(("transport", "topic"), [("", "/rgb"), ("raw", "/rgb"), ("compressed", "/rgb/compressed")])
def test_a_replay_waits_for_the_topic_that_the_bag_holds(transport, topic):
    """Most bags hold compressed images; with their base name the player ended at once."""
    description = get_launch_description_from_python_launch_file(str(LAUNCH / "replay.launch.py"))
    context = _context(description, bag="/bag", color_topic="/rgb", color_transport=transport)
    player = next(entity for entity in description.entities if isinstance(entity, Node))
    values = {name: value for part in evaluate_parameters(context, player._Node__parameters) for name, value in part.items()}
    assert values["wait_for"] == topic


def test_the_pick_place_node_sees_the_camera_as_the_refer_node_does():
    description = get_launch_description_from_python_launch_file(str(LAUNCH / "pick_place.launch.py"))
    context = LaunchContext()
    for argument in description.get_launch_arguments():
        context.launch_configurations[argument.name] = "".join(part.perform(context) for part in argument.default_value)
    context.launch_configurations.update(color_transport="compressed", depth_aligned="true")
    node = next(entity for entity in description.entities if isinstance(entity, Node) and entity.node_executable == "pick_place")
    (values,) = evaluate_parameters(context, node._Node__parameters)
    assert values["color_transport"] == "compressed" and values["depth.aligned"] is True
