"""A calibration that is told once, before anybody listened, counts; who tells it again and again meets one ordinary subscription."""

import pytest

pytest.importorskip("tf2_ros", reason="needs ROS 2 (make setup, . ./env.sh)")
from live_graph import wait_until
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo

from roboref_node.ros.calibration_topic import CalibrationTopic
from roboref_node.ros.qos import LATCHED, images


@pytest.fixture
def listener(graph):
    node = Node("calibration_listener", context=graph.context)
    yield node
    node.destroy_node()


@pytest.mark.parametrize("width", [640, 1280])
def test_a_latched_calibration_is_heard_afterwards(graph, listener, width):
    name = f"/latched_{width}/camera_info"
    publisher = graph.node.create_publisher(CameraInfo, name, LATCHED)
    publisher.publish(CameraInfo(width=width))
    topic = CalibrationTopic(listener, name, images(reliable=False, depth=1))
    wait_until(lambda: topic.newest() is not None, topic.explain)
    assert topic.newest().width == width
    graph.node.destroy_publisher(publisher)


def test_an_ordinary_publisher_meets_no_subscription_that_does_not_fit(graph, listener):
    publisher = graph.node.create_publisher(CameraInfo, "/plain/camera_info", QoSProfile(depth=5))
    topic = CalibrationTopic(listener, "/plain/camera_info", images(reliable=False, depth=1))
    wait_until(lambda: publisher.get_subscription_count() == 1, "the subscription")
    assert topic.newest() is None and topic.newest() is None
    publisher.publish(CameraInfo(width=320))
    wait_until(lambda: topic.newest() is not None, topic.explain)
    assert graph.node.count_subscribers("/plain/camera_info") == 1
    graph.node.destroy_publisher(publisher)
