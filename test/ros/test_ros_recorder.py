"""The recorder hears every publisher of a topic, and records messages that are no part of ROS itself."""

import time
from collections import Counter

import pytest

pytest.importorskip("roboref.msg", reason="needs ROS 2 and the built interfaces (make setup, . ./env.sh)")

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from roboref.msg import Referral
from rosbags.highlevel import AnyReader
from std_msgs.msg import String

from roboref_node.ros.recorder import Recorder

RELIABLE = QoSProfile(depth=10)
BEST_EFFORT = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
LATCHED = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)


@pytest.fixture
def nodes():
    """One that publishes and one that records, in a domain of their own."""
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=91)
    made = [rclpy.create_node(name, context=context) for name in ("talker", "recorder")]
    yield made
    for node in made:
        node.destroy_node()
    context.try_shutdown()


def recorded(nodes, folder, publishers):
    """Words on each topic after all publishers of `publishers`, (message, publisher), have been heard or ten seconds."""
    _, listener = nodes
    topics = {publisher.topic_name for _, publisher in publishers}
    executor = SingleThreadedExecutor(context=listener.context)
    executor.add_node(listener)
    deadline = time.monotonic() + 10.0
    while any(listener.count_publishers(t) < sum(p.topic_name == t for _, p in publishers) for t in topics):
        assert time.monotonic() < deadline, "the publishers are not seen"
        time.sleep(0.05)
    recorder = Recorder(listener, folder, sorted(topics))
    assert not recorder.look()
    end = time.monotonic() + 2.0
    while time.monotonic() < end:
        for message, publisher in publishers:
            publisher.publish(message)
        for _ in range(20):
            executor.spin_once(timeout_sec=0.01)
    recorder.close()
    with AnyReader([folder]) as reader:
        return Counter((c.topic, getattr(reader.deserialize(raw, c.msgtype), "data", "")) for c, _, raw in reader.messages())


def test_publishers_of_different_qos_are_all_heard(nodes, tmp_path):
    """The subscription was made for the first publisher that the graph named; the others were missing without a word."""
    talker, _ = nodes
    offers = {"/mixed": {"reliable": RELIABLE, "best effort": BEST_EFFORT}, "/static": {"volatile": RELIABLE, "latched": LATCHED}}
    publishers = [
        (String(data=word), talker.create_publisher(String, topic, qos)) for topic, words in offers.items() for word, qos in words.items()
    ]
    publishers[-1][1].publish(String(data="earlier"))
    words = recorded(nodes, tmp_path / "bag", publishers)
    assert all(words[topic, word] for topic, named in offers.items() for word in named), words
    assert words["/static", "earlier"] == 1


def test_messages_of_roboref_itself_are_recorded(nodes, tmp_path):
    """Their definition is no part of ROS: `roboref record --topics /refer/referral` ended with a traceback."""
    talker, _ = nodes
    words = recorded(nodes, tmp_path / "bag", [(Referral(), talker.create_publisher(Referral, "/refer/referral", RELIABLE))])
    assert words["/refer/referral", ""]
