"""The launch files load in genuine launch, document every argument and start what they say."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("launch", reason="needs ROS 2's launch, which a distribution brings and PyPI does not")
pytest.importorskip("launch_ros", reason="needs ROS 2's launch_ros, which a distribution brings and PyPI does not")
from launch.launch_description_sources import get_launch_description_from_python_launch_file
from launch.logging import get_logger
from launch.utilities import perform_substitutions
from launch_ros.actions import Node
from launch_ros.utilities import evaluate_parameters

from launch import LaunchContext

LAUNCH = Path(__file__).resolve().parents[2] / "launch"
CAMERA = {"color_topic", "color_info_topic", "depth_topic", "depth_info_topic", "color_transport", "depth_transport"}
CAMERA |= {"rectified", "depth_aligned"}
EVERYWHERE = {"namespace", "params_file", "log_level"}
EXPECTED = {
    "refer": {"robot", "model", "use_sim_time", "autostart", "rviz"} | CAMERA | EVERYWHERE,
    "demo": {"seed", "width", "height", "rate", "model", "rviz"} | EVERYWHERE,
    "pick_place": {"robot", "model", "use_sim_time", "arm_action", "arm_stop", "arm_stopped", "confirm", "sim", "seed", "rviz"}
    | CAMERA
    | EVERYWHERE,
    "navigate": {"robot", "model", "use_sim_time", "drive", "use_map", "sim", "seed", "target", "rviz"} | CAMERA | EVERYWHERE,
    "speech": {"source", "wav", "recogniser", "confirm", "voice", "instruction_topic", "audio_topic", "use_sim_time"} | EVERYWHERE,
    "replay": {"bag", "robot", "model", "params_file", "rate", "loop", "stay", "rviz"} | CAMERA,
}


def _description(name):
    return get_launch_description_from_python_launch_file(str(LAUNCH / f"{name}.launch.py"))


@pytest.mark.parametrize("name", EXPECTED)
def test_every_argument_is_documented(name):
    own = {argument.name: argument for argument in _description(name).get_launch_arguments()}
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


class Started:
    """The nodes that a launch file starts, by their executables."""

    def __init__(self, name, **given):
        description = _description(name)
        self.context = _context(description, **given)
        (factory,) = (entity for entity in description.entities if type(entity).__name__ == "OpaqueFunction")
        self.nodes = {}
        for node in factory.execute(self.context):
            assert isinstance(node, Node)
            node._perform_substitutions(self.context)
            self.nodes[node.node_executable] = node

    def parameters(self, executable):
        """What follows the defaults of the launch file: params_file, then what was given."""
        return evaluate_parameters(self.context, self.nodes[executable]._Node__parameters)

    def told(self, executable, *names):
        """The values that rclpy makes of the command line; None for what is not there."""
        namespace = self.nodes[executable].expanded_node_namespace
        self.context.extend_locals({"ros_specific_arguments": {"name": f"__node:={executable}", "ns": f"__ns:={namespace}"}})
        (_, *words) = (perform_substitutions(self.context, word) for word in self.nodes[executable].cmd)
        program = (
            "import json, sys, rclpy; from rclpy.node import Node; rclpy.init(args=sys.argv); "
            f"node = Node('node', automatically_declare_parameters_from_overrides=True); "
            f"print(json.dumps([node.get_parameter(name).value if node.has_parameter(name) else None for name in {names}]))"
        )
        done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])


def test_the_refer_node_gets_its_parameters_and_remappings():
    started = Started("refer", robot="g1", namespace="head", color_topic="/rgb", depth_aligned="true")
    node = started.nodes["refer"]
    assert node.node_name == "/head/refer"
    assert ("camera/color/image_raw", "/rgb") in node.expanded_remapping_rules
    assert started.parameters("refer") == ({"robot": "g1", "depth.aligned": True},)


def test_arguments_that_nobody_gave_leave_the_parameter_file_alone(tmp_path):
    """Every default was passed on behind the file: `rectified: true` in it was silently false."""
    file = tmp_path / "camera.yaml"
    file.write_text("/**: {ros__parameters: {model: none, rectified: true, depth: {aligned: true}}}")
    assert Started("refer", params_file=str(file)).parameters("refer") == (file,)
    assert Started("refer", params_file=str(file), model="nano").parameters("refer") == (file, {"model": "nano"})
    assert Started("refer").parameters("refer") == ()


NODES = [("demo", "sim"), ("demo", "refer"), ("pick_place", "refer"), ("pick_place", "pick_place"), ("pick_place", "sim")]
NODES += [("navigate", "refer"), ("navigate", "navigate"), ("navigate", "sim_g1"), ("speech", "speech"), ("refer", "refer")]


@pytest.mark.parametrize(("name", "executable"), NODES)
def test_every_node_reads_the_parameter_file_and_nothing_that_nobody_gave(name, executable, tmp_path):
    """pick_place and navigate had no file, and speech replaced what its file said by its defaults: a yes was no longer waited for."""
    file = tmp_path / "all.yaml"
    file.write_text("/**: {ros__parameters: {rectified: true}}")
    simulated = {"sim": "true"} if name in ("pick_place", "navigate") else {}
    assert Started(name, params_file=str(file), **simulated).parameters(executable) == (file,)


@pytest.mark.parametrize("section", ["/**", "/refer"])
def test_the_defaults_of_a_launch_file_give_way_to_the_parameter_file_and_that_to_arguments(section, tmp_path):
    """Asked of rclpy itself, which takes the sections of all files in the order in which their names first appear."""
    file = tmp_path / "model.yaml"
    file.write_text(f"/refer: {{ros__parameters: {{max_queue: 3}}}}\n{section}: {{ros__parameters: {{model: none, use_sim_time: false}}}}")
    names = ("model", "use_sim_time")
    assert Started("pick_place", sim="true").told("refer", *names) == ["nano_careful", True]
    assert Started("pick_place", sim="true", params_file=str(file)).told("refer", *names) == ["none", False]
    assert Started("pick_place", params_file=str(file), model="nano", use_sim_time="true").told("refer", *names) == ["nano", True]
    assert Started("refer", params_file=str(file), model="nano").told("refer", *names) == ["nano", False]


def test_a_parameter_file_that_is_not_there_starts_nothing(tmp_path):
    """Launch alone warns, and starts the robot with the defaults."""
    with pytest.raises(FileNotFoundError, match=r"params_file:=.*missing\.yaml is not a file"):
        Started("pick_place", params_file=str(tmp_path / "missing.yaml"))


def test_an_argument_of_another_type_is_named():
    with pytest.raises(ValueError, match="argument confirm is 'perhaps', it must be true or false"):
        Started("pick_place", confirm="perhaps")
    with pytest.raises(ValueError, match="argument seed is 'x', it must be an integer"):
        Started("navigate", sim="true", seed="x")
    with pytest.raises(ValueError, match="argument sim is 'perhaps', it must be true or false"):
        Started("navigate", sim="perhaps")


def test_an_argument_that_is_spelled_otherwise_is_told(caplog, monkeypatch):
    """Launch takes any argument: the node listened to the default topic, and nothing said so."""
    monkeypatch.setattr(get_logger("roboref"), "propagate", True)
    Started("refer", colour_topic="/rgb", something="1", ros_namespace="x")
    assert caplog.messages == ["argument colour_topic is not known and has no effect; is color_topic meant?"]


@pytest.mark.parametrize("name", ["refer", "pick_place", "navigate"])
def test_a_launch_file_for_robots_simulates_nothing_unless_told_to(name):
    """A simulation beside a real robot would publish its camera, and send the real base where the simulated one should go."""
    started = Started(name)
    assert not {"sim", "sim_g1"} & set(started.nodes)
    assert started.told("refer", "use_sim_time") == [False]


@pytest.mark.parametrize("name", ["pick_place", "navigate"])
def test_what_looks_at_a_simulation_takes_the_time_from_it(name):
    started = Started(name, sim="true", namespace="left")
    assert {node.node_name for node in started.nodes.values()} == {f"/left/{executable}" for executable in started.nodes}
    assert all(started.told(executable, "use_sim_time") == [not executable.startswith("sim")] for executable in started.nodes)


@pytest.mark.parametrize(("drive", "expected"), [("", ["goal_pose", None]), ("goal_pose", ["goal_pose", True]), ("nav2", ["nav2", False])])
def test_nav2_gets_its_goal_once(drive, expected):
    started = Started("navigate", drive=drive)
    assert started.told("navigate", "drive") + started.told("refer", "publish_goal_pose") == expected


@pytest.mark.parametrize(("transport", "topic"), [("", "/rgb"), ("raw", "/rgb"), ("compressed", "/rgb/compressed")])
def test_a_replay_waits_for_the_topic_that_the_bag_holds(transport, topic):
    """Most bags hold compressed images; with their base name the player ended at once."""
    description = _description("replay")
    context = _context(description, bag="/bag", color_topic="/rgb", color_transport=transport)
    player = next(entity for entity in description.entities if isinstance(entity, Node))
    values = {name: value for part in evaluate_parameters(context, player._Node__parameters) for name, value in part.items()}
    assert values["wait_for"] == topic


def test_the_pick_place_node_sees_the_camera_as_the_refer_node_does():
    started = Started("pick_place", color_transport="compressed", depth_aligned="true", color_topic="/rgb")
    for executable in ("refer", "pick_place"):
        (values,) = started.parameters(executable)
        assert values["color_transport"] == "compressed" and values["depth.aligned"] is True
        assert ("camera/color/image_raw", "/rgb") in started.nodes[executable].expanded_remapping_rules
