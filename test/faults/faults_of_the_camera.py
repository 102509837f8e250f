"""Faults of the camera's topics: presence and quality of service."""

from __future__ import annotations

import time

from fault_camera import BOX_PX, OPTICAL, pictures
from fault_spoiling import changed, nothing, restarted, sets, shuts, spoils
from fault_table import HARMLESS, fault
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

from roboref_node.ros.image import color_message

GROUP = "Camera"
BEST_EFFORT = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
TOO_OLD = r"is \d\.\d{3} s old: max_frame_age_s is 0\.5; did the camera stop"
COLOR, DEPTH = "/camera/color/image_raw", "/camera/aligned_depth_to_color/image_raw"

for name, what, injection, status, sentence, concern, recovery, inject in (
    ("never-starts", "The camera never starts", "the node is activated while nobody publishes the camera's topics",
     "NO_CAMERA", rf"no image: nobody publishes {COLOR}", "camera", "the first pair after the camera's start", restarted(shuts())),
    ("stops", "The camera stops", "nothing is published any more, the publishers stay",
     "FRAME_STALE", TOO_OLD, "camera", "the first pair after it goes on", sets(running=False)),
    ("unplugged", "The driver ends", "the camera's publishers are destroyed",
     "FRAME_STALE", TOO_OLD, "camera", "the first pair of the restarted driver", shuts()),
    ("stutters", "The camera stutters", "one pair each 0.7 s instead of each 0.1 s",
     HARMLESS, "the red box: pixel", "", "none needed: a question waits up to frame_timeout_s for a fresh pair", sets(period_s=0.7)),
    ("restarts-other-encoding", "The camera restarts with another encoding", "bgr8 instead of rgb8",
     HARMLESS, "the red box: pixel", "", "none needed: the encoding is read with each image",
     spoils(by_model=True, color=changed(encoding="bgr8"))),
):  # fmt: skip
    fault(
        GROUP, f"camera-{name}", what=what, injection=injection, status=status, sentence=sentence, concern=concern, recovery=recovery
    )(inject)  # fmt: skip

for name, topic in (("color", COLOR), ("depth", DEPTH)):
    fault(
        GROUP, f"{'colour' if name == 'color' else name}-stops",
        what=f"Only the {'colour' if name == 'color' else name} image stops", injection="it is no longer published",
        status="FRAME_STALE", sentence=f"newest image of {topic} {TOO_OLD}", concern="camera" if name == "color" else name,
    )(spoils(**{name: nothing}))  # fmt: skip


@fault(
    GROUP, "depth-missing",
    what="There is no depth topic", injection="the node is activated while nobody publishes depth",
    status="NO_CAMERA", sentence=rf"no image: nobody publishes {DEPTH}", concern="depth", recovery="the first pair",
)  # fmt: skip
def _(bench):
    restarted(shuts("depth"))(bench)
    bench.camera.spoil["depth"] = nothing


@fault(
    GROUP, "camera-restarts-larger",
    what="The camera restarts with another size", injection="images and calibrations of 320x240 instead of 160x120",
    status=HARMLESS, sentence="the red box: pixel", recovery="none needed: size and calibration are read with each pair",
)  # fmt: skip
def _(bench):
    bench.camera.shut()
    bench.camera.scale = 2
    bench.camera.open()
    return lambda: bench.look((2 * BOX_PX[0] + 0.5, 2 * BOX_PX[1] + 0.5))


@fault(
    GROUP, "camera-twice",
    what="Two drivers publish one topic", injection="a second publisher of the colour image, with another picture and other stamps",
    status=HARMLESS, sentence="the red box: pixel", concern="camera",
    recovery="none needed as long as only one has depth with its stamps; ending the other ends the warning",
)  # fmt: skip
def _(bench):
    stamp_ns = time.time_ns() - 200_000_000
    look = color_message(pictures()[0][::-1].copy(), stamp_ns=stamp_ns, frame_id=OPTICAL)
    bench.camera.publish_from_elsewhere(Image, bench.camera.topic("color"), look, 5)


@fault(
    GROUP, "qos-best-effort",
    what="Reliable subscription, best-effort camera", injection="image_reliability:=reliable and best-effort publishers",
    status="NO_CAMERA", sentence=rf"the QoS of \S+ on {COLOR} does not match", concern="camera",
    recovery="image_reliability:=best_effort and configuring again",
    mend=lambda bench: bench.reactivate(image_reliability="best_effort"),
)  # fmt: skip
def _(bench):
    bench.camera.open(BEST_EFFORT)
    bench.reactivate(image_reliability="reliable")


@fault(
    GROUP, "qos-best-effort-camera",
    what="Best-effort camera, default settings", injection="the camera's publishers are best effort",
    status=HARMLESS, sentence="the red box: pixel", recovery="none needed: best_effort subscriptions hear every camera",
    mend=lambda bench: bench.camera.open(),
)  # fmt: skip
def _(bench):
    bench.camera.open(BEST_EFFORT)
