"""Faults of TF: missing, late, old, early, torn, ambiguous, set back, and not to be heard."""

from __future__ import annotations

import threading
import time

import numpy as np
from fault_camera import BASE, BASE_FROM_OPTICAL, LINK
from fault_spoiling import nothing, restart_node
from fault_table import HARMLESS, fault
from rclpy.qos import QoSProfile
from tf2_msgs.msg import TFMessage

from roboref_node.geometry.transform import Transform
from roboref_node.ros.transforms import message_from_transform

TF_GROUP = "Transforms"


@fault(
    TF_GROUP, "tf-missing",
    what="The camera's frame is not in TF", injection="the images name a frame that no transform mentions",
    status="TF_UNAVAILABLE", sentence=r"no transform from nowhere_optical to base_link after 0\.5 s \(tf_timeout_s\)", concern="TF",
    recovery="the first image of a known frame",
)  # fmt: skip
def _(bench):
    bench.camera.frame_id = bench.camera.depth_frame_id = "nowhere_optical"


@fault(
    TF_GROUP, "tf-absent",
    what="Nobody publishes TF", injection="the node is activated while there is no /tf; /tf_static comes from the camera alone",
    status="TF_UNAVAILABLE", sentence=r"no transform from camera_color_optical_frame to base_link after 0\.5 s \(tf_timeout_s\)",
    concern="TF", recovery="the first transform",
)  # fmt: skip
def _(bench):
    bench.camera.spoil["tf"] = nothing
    restart_node(bench)


@fault(
    TF_GROUP, "tf-stops",
    what="The robot's broadcaster stops", injection="/tf is no longer published, images go on",
    status="TF_STALE", sentence=r"the newest transform is \d\.\d{3} s older than the image \(waited up to tf_timeout_s = 0\.5 s",
    concern="TF",
    recovery="the first transform",
)  # fmt: skip
def _(bench):
    bench.camera.spoil["tf"] = nothing


@fault(
    TF_GROUP, "tf-late",
    what="Transforms come later than images", injection="each transform is sent 0.2 s after the image of its stamp",
    status=HARMLESS, sentence="the red box: pixel", recovery="none needed: a question waits up to tf_timeout_s for the transform",
)  # fmt: skip
def _(bench):
    camera = bench.camera

    def delay(message):
        threading.Timer(0.2, lambda: camera.publish("tf", message)).start()

    camera.spoil["tf"] = delay


@fault(
    TF_GROUP, "tf-clock-late",
    what="The robot's clock is late", injection="stamps of /tf are 5 s behind those of the images",
    status="TF_STALE", sentence=r"the newest transform is [45]\.\d{3} s older than the image", concern="TF",
    recovery="the first transform with the right time",
)  # fmt: skip
def _(bench):
    bench.camera.tf_offset_ns = -5_000_000_000
    restart_node(bench)


@fault(
    TF_GROUP, "tf-future",
    what="The robot's clock is ahead", injection="stamps of /tf are 60 s ahead of those of the images",
    status="TF_STALE", sentence=r"the image is \d+\.\d{3} s too old for the buffer .*tf_timeout_s = 0\.5",
    recovery="the first transform with the right time, although it jumps back",
)  # fmt: skip
def _(bench):
    bench.camera.tf_offset_ns = 60_000_000_000
    restart_node(bench)


@fault(
    TF_GROUP, "tf-jumps-back",
    what="The robot's clock is set back by an hour and forward again", injection="stamps of /tf 3600 s ahead, then right",
    status=HARMLESS, sentence="the red box: pixel", recovery="none needed: what moves is forgotten at the jump",
)  # fmt: skip
def _(bench):
    bench.camera.publish_transform(BASE_FROM_OPTICAL, BASE, LINK, time.time_ns() + 3_600_000_000_000)


@fault(
    TF_GROUP, "tf-broken-chain",
    what="The chain is broken", injection="/tf places camera_link in 'elsewhere' instead of in base_link",
    status="TF_UNAVAILABLE", sentence=r"no transform from camera_color_optical_frame to base_link",
    concern="TF", recovery="the first transform of the right chain",
)  # fmt: skip
def _(bench):
    def elsewhere(message):
        message.transforms[0].header.frame_id = "elsewhere"
        return message

    bench.camera.spoil["tf"] = elsewhere
    restart_node(bench)


@fault(
    TF_GROUP, "tf-two-parents",
    what="Two broadcasters give a frame two parents", injection="/tf places camera_link in base_link and, elsewhere, in tool0",
    status="TF_UNAVAILABLE", sentence=r"camera_link has two parents in TF, \w+ and \w+: end one of their broadcasters", concern="TF",
    within_s=1.0, recovery="2 s after one of them has stopped",
)  # fmt: skip
def _(bench):
    bench.camera.publish_static(Transform(np.array([0.0, 0, 0, 1]), np.array([0.3, 0, 0])), BASE, "tool0")

    def both(message):
        stamp = message.transforms[0].header.stamp
        stamp_ns = stamp.sec * 1_000_000_000 + stamp.nanosec
        message.transforms.append(message_from_transform(BASE_FROM_OPTICAL, parent="tool0", child=LINK, stamp_ns=stamp_ns))
        return message

    bench.camera.spoil["tf"] = both


@fault(
    TF_GROUP, "tf-not-a-number",
    what="A transform that is not a number", injection="x of base_link > camera_link is NaN, the node is activated after that",
    status="TF_UNAVAILABLE", sentence=r"no transform from camera_color_optical_frame to base_link", concern="TF",
    recovery="the first transform that is one",
)  # fmt: skip
def _(bench):
    def not_a_number(message):
        message.transforms[0].transform.translation.x = float("nan")
        return message

    bench.camera.spoil["tf"] = not_a_number
    restart_node(bench)


@fault(
    TF_GROUP, "tf-no-rotation",
    what="A quaternion of zeros", injection="the rotation of base_link > camera_link is (0, 0, 0, 0), the node is activated after that",
    status="TF_UNAVAILABLE", sentence=r"no transform from camera_color_optical_frame to base_link", concern="TF",
    recovery="the first transform with a rotation",
)  # fmt: skip
def _(bench):
    def no_rotation(message):
        q = message.transforms[0].transform.rotation
        q.x = q.y = q.z = q.w = 0.0
        return message

    bench.camera.spoil["tf"] = no_rotation
    restart_node(bench)


@fault(
    TF_GROUP, "tf-infinite",
    what="A transform to infinity", injection="x of base_link > camera_link is infinite",
    status="TF_UNAVAILABLE", sentence=r"is not finite: position \(.*inf", concern="TF", recovery="the first transform that is finite",
)  # fmt: skip
def _(bench):
    def infinite(message):
        message.transforms[0].transform.translation.x = float("inf")
        return message

    bench.camera.spoil["tf"] = infinite


@fault(
    TF_GROUP, "tf-loop",
    what="A loop in TF", injection="/tf places base_link in camera_link too",
    status="TF_UNAVAILABLE", sentence=r"(camera|base)_link is above itself in TF, by way of (camera|base)_link", concern="TF",
    recovery="2 s after the loop's transform has stopped",
)  # fmt: skip
def _(bench):
    def loop(message):
        stamp = message.transforms[0].header.stamp
        stamp_ns = stamp.sec * 1_000_000_000 + stamp.nanosec
        message.transforms.append(message_from_transform(BASE_FROM_OPTICAL.inverse(), parent=LINK, child=BASE, stamp_ns=stamp_ns))
        return message

    bench.camera.spoil["tf"] = loop
    bench.camera.frame_id = bench.camera.depth_frame_id = "looping_optical"
    bench.camera.publish_static(Transform.identity(), LINK, "looping_optical")


@fault(
    TF_GROUP, "tf-static-volatile",
    what="A volatile publisher of /tf_static", injection="the camera's static transform comes from a volatile publisher",
    status="TF_UNAVAILABLE", sentence=r"the QoS of \S+ on /tf_static does not match", concern="TF",
    recovery="the first image of a frame that a transient-local publisher places",
)  # fmt: skip
def _(bench):
    camera = bench.camera
    static = message_from_transform(Transform.identity(), parent=LINK, child="volatile_optical", stamp_ns=0)
    camera.publish_from_elsewhere(TFMessage, "/tf_static", TFMessage(transforms=[static]), QoSProfile(depth=1))
    camera.frame_id = camera.depth_frame_id = "volatile_optical"


@fault(
    TF_GROUP, "target-frame-unknown",
    what="A question about a frame that TF does not know", injection="a goal with target_frame 'moon'",
    status="TF_UNAVAILABLE", sentence=r"to moon after 0\.5 s \(tf_timeout_s\)",
)  # fmt: skip
def _(bench):
    return lambda: bench.look(target_frame="moon")
