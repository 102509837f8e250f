"""Pairs of colour and depth by stamp, where one of them comes much later than the other."""

import numpy as np
import pytest

pytest.importorskip("sensor_msgs.msg", reason="needs ROS 2")
pytest.importorskip("message_filters", reason="needs ROS 2 (make setup, . ./env.sh)")

import rclpy

from roboref_node.ros.frames import CameraTopics, FrameStore
from roboref_node.ros.image import color_message, depth_message
from roboref_node.status import Refused, Status

PERIOD_NS, START_NS = 33_333_333, 1_700_000_000_000_000_000


@pytest.fixture
def node():
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=91)
    made = rclpy.create_node("frames", context=context)
    yield made
    made.destroy_node()
    context.try_shutdown()


def filled(node, *, late_s, skew_ns=0, slop_s=0.0, keep=15):
    """Three seconds of colour at 30 Hz and of every third depth image, which comes late, as of a network that computes it."""
    clock = [START_NS]
    store = FrameStore(node, CameraTopics("c", "ci", "d", "di"), slop_s=slop_s, keep=keep, now_ns=lambda: clock[0])
    rgb, depth_mm = np.zeros((4, 4, 3), np.uint8), np.full((4, 4), 500, np.uint16)
    computed = []
    for number in range(90):
        clock[0] = START_NS + number * PERIOD_NS
        store._on_color(color_message(rgb, stamp_ns=clock[0], frame_id="camera"))
        if number % 3 == 0:
            computed.append(clock[0])
        while computed and computed[0] <= clock[0] - late_s * 1e9:
            store._on_depth(depth_message(depth_mm, stamp_ns=computed.pop(0) + skew_ns, frame_id="camera"))
    return store


@pytest.mark.parametrize("slop_s", [0.0, 0.02])
def test_depth_that_comes_late_is_paired(node, slop_s):
    """Ten images waited, a third of a second at 30 Hz, and more could not be had."""
    store = filled(node, late_s=0.45, slop_s=slop_s)
    assert store.latest(0.6).skew_ns == 0 and store.count > 20


@pytest.mark.parametrize("slop_s", [0.0, 0.02])
def test_depth_that_comes_too_late_names_what_helps(node, slop_s):
    """Not sync_slop_s, which would join depth with a colour image of another time."""
    with pytest.raises(Refused, match=r"comes 1\.\d+ s after the other.*15 wait, (3\d) are needed; raise frame_buffer") as caught:
        filled(node, late_s=1.0, slop_s=slop_s).latest(2.0)
    assert caught.value.status is Status.SYNC_SKEW
    assert filled(node, late_s=1.0, slop_s=slop_s, keep=40).count > 15


def test_stamps_that_do_not_match_are_told_as_before(node):
    with pytest.raises(Refused, match="their stamps do not pair: .* sync_slop_s allows 0.01 s"):
        filled(node, late_s=0.0, skew_ns=15_000_000, slop_s=0.01).latest(2.0)
