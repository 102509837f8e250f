"""The simulated cell and recorded bags as cameras of the refer node: what goes in is what comes out, live."""

import json
import re
import signal
import time

import numpy as np
import pytest

pytest.importorskip("roboref.action", reason="needs ROS 2 and the built interfaces (make setup, . ./env.sh)")
pytest.importorskip("tf2_ros", reason="needs ROS 2 (make setup, . ./env.sh)")
from asker import REFER, Asker
from live_graph import wait_until
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.serialization import serialize_message
from roboref.msg import Referral
from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_msgs.msg import String
from synthetic_camera import BASE_FROM_OPTICAL, BOX_M, CAMERA, OPTICAL, images
from tf2_msgs.msg import TFMessage

from roboref_node.rgbd import camera_from_info, decode_color, decode_depth_image, stamp_ns
from roboref_node.ros.camera import COLOR, COLOR_INFO, DEPTH, DEPTH_INFO
from roboref_node.ros.camera_info import info_from_camera
from roboref_node.ros.image import color_message, depth_message
from roboref_node.ros.qos import LATCHED
from roboref_node.ros.simulated_camera import START_NS
from roboref_node.ros.transforms import message_from_transform
from roboref_node.sim.cell import SimulatedCell

SIM, REPLAY = "roboref_node.nodes.sim", "roboref_node.nodes.replay"
SEED, RATE = 11, 15.0


def in_namespace(name, *parameters):
    arguments = ["--ros-args", "-r", f"__ns:=/{name}"]
    # Each camera of this file has a TF tree and a clock of its own.
    arguments += [x for topic in ("/tf", "/tf_static", "/clock") for x in ("-r", f"{topic}:=/{name}{topic}")]
    return [*arguments, *(x for parameter in parameters for x in ("-p", parameter))]


@pytest.fixture(scope="module")
def sim(graph):
    process = graph.start(SIM, *in_namespace("cell", f"seed:={SEED}", f"rate:={RATE}"))
    yield process
    assert process.end() == 0, process.log


def test_the_cell_publishes_what_the_simulation_renders(graph, sim):
    truth = graph.collect(String, "/cell/sim/truth", LATCHED)
    color, depth = graph.collect(Image, f"/cell/{COLOR}"), graph.collect(Image, f"/cell/{DEPTH}")
    infos, joints, clock = graph.collect(CameraInfo, f"/cell/{DEPTH_INFO}"), graph.collect(JointState, "/cell/joint_states"), []
    graph.node.create_subscription(Clock, "/cell/clock", clock.append, 10)
    wait_until(lambda: truth and len(color) > 20 and len(depth) > 20 and infos and joints and clock, f"20 frames\n{sim.log_end}")
    image = color[-1]
    with SimulatedCell(SEED) as cell:
        while START_NS + cell.stamp_ns < stamp_ns(image):
            cell.step(1 / RATE)
        rendered, spec = cell.render(), cell.spec
        assert START_NS + cell.stamp_ns == stamp_ns(image)
        np.testing.assert_array_equal(decode_color(image), rendered.rgb)
        partner = next(d for d in depth if d.header.stamp == image.header.stamp)
        np.testing.assert_allclose(decode_depth_image(partner), rendered.depth_m, atol=0.00051)
        assert camera_from_info(infos[-1], rectified=False) == cell.camera
    told = json.loads(truth[-1].data)
    assert [(o["shape"], o["colour"]) for o in told["objects"]] == [(o.shape, o.colour) for o in spec.objects]
    assert len(joints[-1].name) == 6
    stamps = np.array([stamp_ns(m) for m in color])
    assert (np.diff(stamps) > 0).all()


def test_a_pixel_on_an_object_of_the_cell_becomes_its_true_place(graph, sim):
    node = Asker(
        graph, graph.start(REFER, *in_namespace("cell", "model:=none", "use_sim_time:=true", "max_frame_age_s:=1.0")), "/cell/refer"
    )
    with SimulatedCell(SEED) as cell:
        truth = cell.truth()
        index = int(np.argmax([np.sum(truth.instance == i) for i in range(len(cell.spec.objects))]))
        rows, columns = np.nonzero(truth.instance == index)
        middle = np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2)
        pixel = (float(columns[middle]), float(rows[middle]))
        answer = wait_until(lambda: (r := node.look_at(pixel, role="point")).status == Referral.OK and r, lambda: node.process.log_end)
        position = [answer.position.x, answer.position.y, answer.position.z]
        assert np.linalg.norm(cell.surface_point(*pixel) - position) < 0.01
        assert cell.hit(index, position)
    assert node.process.end() == 0, node.process.log


def latched_qos():
    never = QosTime(0, 0)
    kind = (QosHistory.KEEP_LAST, 1, QosReliability.RELIABLE, QosDurability.TRANSIENT_LOCAL)
    return [Qos(*kind, never, never, QosLiveliness.AUTOMATIC, never, False)]


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    """Two seconds of the synthetic camera at 15 Hz, recorded in the past."""
    folder = tmp_path_factory.mktemp("bags") / "table"
    rgb, depth_mm = images()
    types = get_typestore(Stores.ROS2_JAZZY)
    sent = {}
    with Writer(folder, version=9, storage_plugin=StoragePlugin.MCAP) as writer:

        def connect(topic, kind, qos=()):
            return writer.add_connection(topic, kind, typestore=types, offered_qos_profiles=list(qos))

        static = connect("/tf_static", "tf2_msgs/msg/TFMessage", latched_qos())
        topics = {COLOR: "Image", DEPTH: "Image", COLOR_INFO: "CameraInfo", DEPTH_INFO: "CameraInfo"}
        connections = {name: connect(f"/{name}", f"sensor_msgs/msg/{kind}") for name, kind in topics.items()}
        start = 1_700_000_000_000_000_000
        transform = message_from_transform(BASE_FROM_OPTICAL, parent="base_link", child=OPTICAL, stamp_ns=start)
        writer.write(static, start, serialize_message(TFMessage(transforms=[transform])))
        for number in range(30):
            now = start + number * 66_666_667
            brighter = np.minimum(rgb.astype(int) + number, 255).astype(np.uint8)  # every frame is different
            messages = {
                COLOR_INFO: info_from_camera(CAMERA, stamp_ns=now, frame_id=OPTICAL),
                DEPTH_INFO: info_from_camera(CAMERA, stamp_ns=now, frame_id=OPTICAL),
                DEPTH: depth_message(depth_mm, stamp_ns=now, frame_id=OPTICAL),
                COLOR: color_message(brighter, stamp_ns=now, frame_id=OPTICAL),
            }
            for name, message in messages.items():
                writer.write(connections[name], now, serialize_message(message))
            sent[now] = brighter
    return folder, sent


def test_the_replay_node_publishes_every_frame_unchanged_and_ends(graph, bag):
    folder, sent = bag
    color = []
    graph.node.create_subscription(Image, f"/tape/{COLOR}", color.append, 50)
    arguments = [*in_namespace("tape", f"bag:={folder}", "rate:=4.0", f"wait_for:=/{COLOR}")]
    for name in (COLOR, DEPTH, COLOR_INFO, DEPTH_INFO):
        arguments += ["-r", f"/{name}:=/tape/{name}"]
    process = graph.start(REPLAY, *arguments)
    process.wait_for_log("played 121 messages")
    assert process.end() == 0
    wait_until(lambda: len(color) == len(sent), lambda: f"{len(sent)} frames, got {len(color)}")
    for message in color:
        np.testing.assert_array_equal(decode_color(message), sent[stamp_ns(message)])


def test_a_replayed_bag_is_a_camera_and_a_loop_jumps_back_in_time(graph, bag):
    folder, _ = bag
    node = Asker(graph, graph.start(REFER, *in_namespace("film", "model:=none", "use_sim_time:=true")), "/film/refer")
    arguments = in_namespace("film", f"bag:={folder}", "rate:=2.0", "loop:=true", f"wait_for:=/{COLOR}")
    for name in (COLOR, DEPTH, COLOR_INFO, DEPTH_INFO):
        arguments += ["-r", f"/{name}:=/film/{name}"]
    player = graph.start(REPLAY, *arguments)
    stamps, jumps = [], 0
    while jumps < 2:
        answer = wait_until(lambda: (r := node.look_at()).status == Referral.OK and r, lambda: node.process.log_end)
        np.testing.assert_allclose([answer.position.x, answer.position.y, answer.position.z], BOX_M, atol=0.004)
        now = answer.header.stamp.sec * 1_000_000_000 + answer.header.stamp.nanosec
        jumps += bool(stamps) and now < stamps[-1]
        stamps.append(now)
    assert player.end() == 0 and node.process.end() == 0, node.process.log


def test_a_bag_of_one_frame_is_looped_at_the_pace_of_a_camera(graph, bag, tmp_path):
    """As a recorded question is: it was sent thousands of times a second."""
    types = get_typestore(Stores.ROS2_JAZZY)
    with Writer(tmp_path / "one", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection("/text", "std_msgs/msg/String", typestore=types)
        writer.write(connection, 1_700_000_000_000_000_000, serialize_message(String(data="word")))
    process = graph.start(REPLAY, *in_namespace("one", f"bag:={tmp_path / 'one'}", "loop:=true"))
    process.wait_for_log("playing")
    time.sleep(1.5)
    assert process.end() == 0
    played = int(re.search(r"played (\d+) messages", process.log)[1])
    assert 2 < played < 100, process.log


def test_signals_while_a_node_ends_change_nothing(graph, bag):
    """Ctrl-C as the bag comes to its end, or twice: the node was in pieces already, and the status became 1 with a traceback."""
    process = graph.start(REPLAY, *in_namespace("short", f"bag:={bag[0]}", "rate:=100.0"))
    process.wait_for_log("played 121 messages")
    while process.alive:
        process.send(signal.SIGINT)
        time.sleep(0.002)
    assert process.wait(1.0) == 0 and "Traceback" not in process.log, process.log


def test_latched_topics_stay_for_late_subscribers(graph, bag):
    folder, _ = bag
    process = graph.start(REPLAY, *in_namespace("late", f"bag:={folder}", "rate:=100.0", "stay:=true"))
    process.wait_for_log("played 121 messages")
    static = graph.collect(TFMessage, "/late/tf_static", QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL))
    wait_until(lambda: static, "the latched transform")
    assert process.end() == 0


def test_an_unreadable_bag_is_named_and_the_status_is_1(graph):
    cases = {
        "parameter bag is empty": [],
        "cannot read the bag /nowhere/at/all": ["bag:=/nowhere/at/all"],
        "parameter rate is -1.0, it must be a number from 0.01 to 100": ["bag:=/nowhere", "rate:=-1.0"],
    }
    processes = {words: graph.start(REPLAY, *in_namespace("bad", *parameters)) for words, parameters in cases.items()}
    for words, process in processes.items():
        process.wait_for_log(words)
        assert process.wait(10.0) == 1


def test_topics_of_a_type_that_is_not_installed_are_left_out(graph, tmp_path):
    """A robot records its own messages and the topics of its actions too; `ros2 bag play` leaves them out as well."""
    types = get_typestore(Stores.ROS2_JAZZY)
    foreign = {"/arm/state": "vendor_msgs/msg/State", "/walk/_action/feedback": "vendor_msgs/action/Walk_FeedbackMessage"}
    for kind in foreign.values():
        types.register(get_types_from_msg("string data", kind))
    for name, more in (("mixed", {"/text": "std_msgs/msg/String"}), ("foreign", {})):
        with Writer(tmp_path / name, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
            for topic, kind in {**foreign, **more}.items():
                connection = writer.add_connection(topic, kind, typestore=types)
                writer.write(connection, 1_700_000_000_000_000_000, serialize_message(String(data="word")))
    process = graph.start(REPLAY, *in_namespace("mixed", f"bag:={tmp_path / 'mixed'}"))
    process.wait_for_log("played 1 messages")
    assert all(f"{topic} is not played: the type {kind} of {topic} is not installed" in process.log for topic, kind in foreign.items())
    assert process.wait(10.0) == 0
    waiting = graph.start(REPLAY, *in_namespace("mixed", f"bag:={tmp_path / 'mixed'}", "wait_for:=/arm/state"))
    waiting.wait_for_log("parameter wait_for names /arm/state; what is played of the bag is /text")
    nothing = graph.start(REPLAY, *in_namespace("mixed", f"bag:={tmp_path / 'foreign'}"))
    nothing.wait_for_log("the types of all topics")
    assert waiting.wait(10.0) == nothing.wait(10.0) == 1
