"""One description of the parameters: declared with ranges, wrong values named with what is allowed, changes judged."""

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")
import rclpy
from rclpy.node import Node
from rclpy.parameter import Parameter

from roboref_node.ros.parameters import NodeParameters
from roboref_node.ros.profile import ProfileParameters
from roboref_node.ros.settings import LIVE, ReferSettings, Transport
from roboref_node.status import Refused


@pytest.fixture
def make_node():
    context = rclpy.Context()
    context.init()
    nodes = []

    def make(**overrides):
        values = [Parameter(name.replace("__", "."), value=value) for name, value in overrides.items()]
        node = Node("n", context=context, automatically_declare_parameters_from_overrides=True, parameter_overrides=values)
        nodes.append(node)
        return node

    yield make
    for node in nodes:
        node.destroy_node()
    context.try_shutdown()


def test_defaults_overrides_and_integers_for_floats(make_node):
    settings = NodeParameters(make_node(sync_slop_s=0, color_transport="compressed", depth__far_m=4.0), ReferSettings).read()
    assert (settings.sync_slop_s, settings.color_transport, settings.depth.far_m) == (0.0, Transport.COMPRESSED, 4.0)
    assert settings.max_queue == ReferSettings().max_queue


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("sync_slop_s", -0.5, "a number from 0 to 1 s"),
        ("sync_slop_s", "fast", "a number from 0 to 1 s"),
        ("max_queue", 0, "an integer from 1 to 100"),
        ("max_queue", 2.5, "an integer from 1 to 100"),
        ("depth_transport", "zstd", "one of raw, compressed"),
        ("autostart", "yes", "true or false"),
        ("robot", 5, "text"),
        ("depth__near_m", -1.0, "a number from 0 to 10 m"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed_and_can_be_repaired(make_node, name, value, words):
    node = make_node(**{name: value})
    parameters = NodeParameters(node, ReferSettings)
    dotted = name.replace("__", ".")
    with pytest.raises(Refused) as caught:
        parameters.read()
    assert f"parameter {dotted} is {value!r}" in caught.value.sentence and words in caught.value.sentence
    good = node.get_parameter(dotted).value
    assert node.set_parameters([Parameter(dotted, value=good)])[0].successful
    parameters.read()


def test_all_wrong_values_are_told_at_once(make_node):
    with pytest.raises(Refused, match="(?s)(?=.*max_queue)(?=.*sync_slop_s)"):
        NodeParameters(make_node(max_queue=-1, sync_slop_s=9.0), ReferSettings).read()


def test_values_that_only_together_are_wrong(make_node):
    with pytest.raises(Refused, match="near_m is 3"):
        NodeParameters(make_node(depth__near_m=3.0, depth__far_m=2.0), ReferSettings).read()


def test_a_configured_node_takes_live_changes_only(make_node):
    node = make_node()
    parameters = NodeParameters(node, ReferSettings, live=LIVE)
    parameters.read()
    parameters.freeze(True)
    assert node.set_parameters([Parameter("tf_timeout_s", value=2.0)])[0].successful
    assert parameters.current.tf_timeout_s == 2.0
    refused = node.set_parameters([Parameter("robot", value="g1")])[0]
    assert not refused.successful and "robot is fixed" in refused.reason
    outside = node.set_parameters([Parameter("tf_timeout_s", value=-2.0)])[0]
    assert not outside.successful and "0" in outside.reason
    assert parameters.current.tf_timeout_s == 2.0
    parameters.freeze(False)
    assert node.set_parameters([Parameter("robot", value="g1")])[0].successful


def test_every_parameter_is_described(make_node):
    node = make_node()
    for name in NodeParameters(node, ReferSettings).names:
        descriptor = node.describe_parameter(name)
        assert len(descriptor.description) > 10, name
    assert node.describe_parameter("sync_slop_s").floating_point_range[0].to_value == 1.0
    assert "[s]" in node.describe_parameter("sync_slop_s").description


def test_the_profile_comes_from_the_robots_file_with_single_values_overridden(make_node):
    node = make_node(profile__reach__max_m=0.7)
    profiles = ProfileParameters(node)
    assert profiles.read("ur5").reach.max_m == 0.7
    assert node.get_parameter("profile.base_frame").value == "base_link"
    assert profiles.read("g1").name == "g1"  # what came from the file of the ur5 does not stick
    profiles.freeze(True)
    assert not node.set_parameters([Parameter("profile.base_frame", value="other")])[0].successful


def test_an_unknown_robot_lists_the_known_ones_and_a_wrong_key_is_named(make_node):
    with pytest.raises(Refused, match="(?s)ur6.*g1.*ur5"):
        ProfileParameters(make_node()).read("ur6")
    with pytest.raises(Refused, match="max_mm"):
        ProfileParameters(make_node(profile__reach__max_mm=1.0)).read("ur5")


def test_a_slip_of_the_pen_is_named_with_what_was_meant(make_node, capfd):
    NodeParameters(make_node(max_queue=2), ReferSettings).warn_of_unknown()
    assert "not known" not in capfd.readouterr().err
    node = make_node(max_que=3, max_queue=2, profile__base_frame="base", foo=1)
    NodeParameters(node, ReferSettings).warn_of_unknown("profile.")
    assert sorted(line.partition(" [n]: ")[2] for line in capfd.readouterr().err.splitlines() if "not known" in line) == [
        "parameter foo is not known and has no effect",
        "parameter max_que is not known and has no effect; is max_queue meant?",
    ]


@pytest.mark.parametrize(
    ("node", "given", "meant"),
    [
        ("pick_place", {"confrim": "true"}, "confirm"),
        ("navigate", {"arive_m": "0.05"}, "arrive_m"),
        ("speech", {"confrim": "true", "source": "none"}, "confirm"),
        ("sim", {"seeed": "3"}, "seed"),
    ],
)
def test_every_node_tells_a_slip_of_the_pen(graph, node, given, meant):
    """A pick_place node that was told to `confrim` moved the arm without asking, and said nothing."""
    process = graph.start(
        f"roboref_node.nodes.{node}", "--ros-args", *(word for name, value in given.items() for word in ("-p", f"{name}:={value}"))
    )
    (slip, *_) = given
    process.wait_for_log(f"parameter {slip} is not known and has no effect; is {meant} meant?")
    assert process.end() == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-p", "robot:=g1"], "not known: -p; parameters are given as --ros-args -p NAME:=VALUE"),
        (["--help"], "not known: --help; parameters"),
        (["--ros-args", "robot:=g1"], "after --ros-args these are not known: ['robot:=g1']"),
    ],
)
def test_arguments_that_are_not_ros_start_nothing(graph, arguments, words):
    """Without --ros-args the node ran with the defaults, on another robot's profile, and said nothing."""
    process = graph.start("roboref_node.nodes.refer", *arguments)
    assert process.wait(60.0) == 2
    assert words in process.log
