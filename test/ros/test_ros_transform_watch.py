"""What tf2 is silent about: two parents, loops, stamps that go back; and what is no contradiction."""

import gc
import weakref

import pytest

pytest.importorskip("tf2_ros", reason="needs ROS 2 (make setup, . ./env.sh)")
from geometry_msgs.msg import TransformStamped
from rclpy.node import Node
from rclpy.time import Time

from roboref_node.ros import transform_buffer
from roboref_node.ros.camera import CameraReceiver
from roboref_node.ros.settings import CameraSettings
from roboref_node.ros.transform_buffer import TransformBuffer, TransformWatch
from roboref_node.ros.transforms import TransformSource
from roboref_node.status import Refused


@pytest.fixture
def clock(monkeypatch):
    """Monotonic time, moved by hand."""
    now = [1000.0]
    monkeypatch.setattr(transform_buffer.time, "monotonic", lambda: now[0])
    return now


def told(watch, parent, child, *, static=False, stamp_s=10.0):
    message = TransformStamped(child_frame_id=child)
    message.header.frame_id = parent
    message.header.stamp.sec, message.header.stamp.nanosec = int(stamp_s), round(stamp_s % 1 * 1e9)
    return watch.note(message, is_static=static)


def test_two_moving_parents_contradict_each_other_until_one_has_stopped(clock):
    watch = TransformWatch()
    told(watch, "base", "camera")
    told(watch, "tool", "camera")
    assert "camera has two parents in TF" in watch.find_contradiction("base", "camera")
    clock[0] += 1.5
    told(watch, "tool", "camera")
    clock[0] += 1.0
    assert watch.find_contradiction("base", "camera") == ""


def test_two_static_parents_contradict_each_other_for_ever_and_a_later_one_replaces_the_first(clock):
    watch = TransformWatch()
    told(watch, "base", "camera", static=True)
    told(watch, "tool", "camera", static=True)
    clock[0] += 3600.0
    assert "two parents" in watch.find_contradiction("base", "camera")
    told(watch, "tool", "camera", static=True)
    assert watch.find_contradiction("base", "camera") == ""


def test_a_contradiction_that_is_not_between_the_frames_does_not_matter(clock):
    watch = TransformWatch()
    told(watch, "map", "base")
    told(watch, "odom", "base")
    told(watch, "base", "camera", static=True)
    assert watch.find_contradiction("base", "camera") == ""
    assert "base has two parents" in watch.find_contradiction("map", "camera")


def test_a_loop_is_named(clock):
    watch = TransformWatch()
    told(watch, "base", "camera")
    told(watch, "camera", "base")
    assert "above itself" in watch.find_contradiction("base", "camera")


def test_stamps_that_go_back_by_more_than_a_second_are_told_once(clock):
    watch = TransformWatch()
    assert told(watch, "base", "camera", stamp_s=100.0) == 0.0
    assert told(watch, "base", "camera", stamp_s=99.5) == 0.0
    assert told(watch, "base", "camera", stamp_s=40.0) == 60.0
    assert told(watch, "base", "camera", stamp_s=40.1) == 0.0


def test_a_static_transform_comes_back_when_somebody_has_stopped_to_move_its_frame(graph, clock):
    node = Node("host_of_a_moved_frame", context=graph.context)
    buffer = TransformBuffer(10.0, node)
    source = TransformSource(buffer, 0.0)

    def tell(parent, x_m, *, static):
        message = TransformStamped(child_frame_id="camera")
        message.header.frame_id, message.header.stamp.sec = parent, 10
        message.transform.translation.x, message.transform.rotation.w = x_m, 1.0
        (buffer.set_transform_static if static else buffer.set_transform)(message, "test")

    tell("base", 0.5, static=True)
    assert source.lag_s("base", "camera", 0) is None
    clock[0] += 0.1
    tell("elsewhere", 7.0, static=False)
    with pytest.raises(Refused, match="camera has two parents in TF, elsewhere and base"):
        source.lag_s("base", "camera", 0)
    clock[0] += 2.5
    assert source.lag_s("base", "camera", 0) is None
    assert buffer.lookup_transform("base", "camera", Time()).transform.translation.x == 0.5
    buffer.close()
    node.destroy_node()


def test_a_receiver_that_is_closed_leaves_nothing_in_its_node(graph):
    node = Node("host_of_receivers", context=graph.context)
    services = len(list(node.services))
    buffers = []
    for _ in range(3):
        receiver = CameraReceiver(node, CameraSettings())
        buffers.append(weakref.ref(receiver.transforms._buffer))
        receiver.close()
        del receiver
    gc.collect()
    assert len(list(node.services)) == services and [buffer() for buffer in buffers] == [None] * 3
    node.destroy_node()
