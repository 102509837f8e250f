"""A calibration that is told once, before anybody listened, counts; who tells it again and again meets one ordinary subscription.

And an image gets the one that was told with it, also when the camera has another by now.
"""

import pytest

pytest.importorskip("tf2_ros", reason="needs ROS 2 (make setup, . ./env.sh)")
from live_graph import wait_until
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo

from roboref_node.ros.calibration_topic import CalibrationTopic
from roboref_node.ros.qos import LATCHED
from roboref_node.status import Refused

SECOND_NS = 1_000_000_000


@pytest.fixture
def listener(graph):
    node = Node("calibration_listener", context=graph.context)
    yield node
    node.destroy_node()


def info(width, stamp_ns=0):
    message = CameraInfo(width=width)
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp_ns, SECOND_NS)
    return message


class Told:
    """A publisher and a topic that know each other."""

    def __init__(self, graph, listener, name, now_ns=0):
        self._graph = graph
        self.publisher = graph.node.create_publisher(CameraInfo, name, QoSProfile(depth=100))
        self.topic = CalibrationTopic(listener, name, reliable=True, now_ns=lambda: now_ns)
        wait_until(lambda: self.publisher.get_subscription_count() == 1, "the subscription")

    def tell(self, *messages):
        for message in messages:
            self.publisher.publish(message)

    def wait_for(self, width, stamp_ns):
        def found():
            try:
                taken = self.topic.at(stamp_ns)
            except Refused:
                return False
            return taken is not None and taken.width == width

        wait_until(found, lambda: f"{width} at {stamp_ns}")


@pytest.mark.parametrize("width", [640, 1280])
def test_a_latched_calibration_is_heard_afterwards(graph, listener, width):
    name = f"/latched_{width}/camera_info"
    publisher = graph.node.create_publisher(CameraInfo, name, LATCHED)
    publisher.publish(CameraInfo(width=width))
    topic = CalibrationTopic(listener, name, reliable=False, now_ns=lambda: 5 * SECOND_NS)
    wait_until(topic.poll, topic.explain)
    for stamp_ns in (0, SECOND_NS, 1_000 * SECOND_NS):
        assert topic.at(stamp_ns).width == width
    graph.node.destroy_publisher(publisher)


def test_an_ordinary_publisher_meets_no_subscription_that_does_not_fit(graph, listener):
    publisher = graph.node.create_publisher(CameraInfo, "/plain/camera_info", QoSProfile(depth=5))
    topic = CalibrationTopic(listener, "/plain/camera_info", reliable=False, now_ns=lambda: 0)
    wait_until(lambda: publisher.get_subscription_count() == 1, "the subscription")
    assert not topic.poll() and topic.at(0) is None
    publisher.publish(CameraInfo(width=320))
    wait_until(topic.poll, topic.explain)
    assert graph.node.count_subscribers("/plain/camera_info") == 1
    graph.node.destroy_publisher(publisher)


def test_an_image_from_before_the_change_keeps_its_calibration(graph, listener):
    """The camera has been switched to another size, or has zoomed, when an older image is asked about."""
    told = Told(graph, listener, "/zooming/camera_info")
    told.tell(*(info(640, n * SECOND_NS // 10) for n in range(100, 110)), *(info(1280, n * SECOND_NS // 10) for n in range(111, 115)))
    told.wait_for(1280, 114 * SECOND_NS // 10)
    assert told.topic.at(10 * SECOND_NS).width == told.topic.at(109 * SECOND_NS // 10).width == 640
    assert told.topic.at(10_550_000_000).width == 640, "between two images"
    with pytest.raises(Refused, match=r"for the image at 11\.000 s: it changed between 10\.900 and 11\.100 s; ask about another image"):
        told.topic.at(11 * SECOND_NS)
    assert told.topic.at(11_100_000_000).width == told.topic.at(20 * SECOND_NS).width == 1280


def test_a_clock_that_was_set_back_begins_anew(graph, listener):
    told = Told(graph, listener, "/looped/camera_info")
    told.tell(info(640, 100 * SECOND_NS), info(640, 101 * SECOND_NS))
    told.wait_for(640, 101 * SECOND_NS)
    told.tell(info(1280, 5 * SECOND_NS))
    told.wait_for(1280, 6 * SECOND_NS)
    assert told.topic.at(101 * SECOND_NS).width == 1280


def test_one_without_a_stamp_counts_from_when_it_came(graph, listener):
    told = Told(graph, listener, "/unstamped/camera_info", now_ns=50 * SECOND_NS)
    told.tell(info(640))
    told.wait_for(640, 49 * SECOND_NS)
    told.tell(info(1280))
    told.wait_for(1280, 51 * SECOND_NS)
