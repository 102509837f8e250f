"""Faults of the camera's topics: presence, time, calibration, registration, quality of service."""

from __future__ import annotations

import time

from fault_camera import BOX_PX, CAMERA, OPTICAL
from fault_table import HARMLESS, fault
from rclpy.qos import QoSProfile, ReliabilityPolicy

from roboref_node.geometry.transform import Transform

CAMERA_GROUP, TIME_GROUP, CALIBRATION_GROUP = "Camera", "Stamps and clocks", "Calibration and registration"
BEST_EFFORT = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)


def nothing(message):
    """For `FaultyCamera.spoil`: not published."""
    return None


def changed(**fields):
    """For `FaultyCamera.spoil`: the message with other fields; a value that can be called gets the present one."""

    def spoil(message):
        for name, value in fields.items():
            setattr(message, name, value(getattr(message, name)) if callable(value) else value)
        return message

    return spoil


def restart_node(bench):
    """Deactivate and activate: the node has seen nothing yet."""
    assert bench.reactivate()


# ---- presence --------------------------------------------------------------------------------------------------------------------


@fault(
    CAMERA_GROUP, "camera-never-starts",
    what="The camera never starts", injection="the node is activated while nobody publishes the camera's topics",
    status="NO_CAMERA", sentence=r"no image: nobody publishes /camera/color/image_raw", concern="camera",
    recovery="the first pair after the camera's start",
)  # fmt: skip
def _(bench):
    bench.camera.shut()
    restart_node(bench)


@fault(
    CAMERA_GROUP, "camera-stops",
    what="The camera stops", injection="nothing is published any more, the publishers stay",
    status="FRAME_STALE", sentence=r"is \d\.\d{3} s old: max_frame_age_s is 0\.5; did the camera stop", concern="camera",
    recovery="the first pair after it goes on",
)  # fmt: skip
def _(bench):
    bench.camera.running = False


@fault(
    CAMERA_GROUP, "camera-unplugged",
    what="The driver ends", injection="the camera's publishers are destroyed",
    status="FRAME_STALE", sentence=r"is \d\.\d{3} s old: max_frame_age_s is 0\.5; did the camera stop", concern="camera",
    recovery="the first pair of the restarted driver",
)  # fmt: skip
def _(bench):
    bench.camera.shut()


@fault(
    CAMERA_GROUP, "camera-stutters",
    what="The camera stutters", injection="one pair each 0.7 s instead of each 0.07 s",
    status=HARMLESS, sentence="the red box: pixel", recovery="none needed: a question waits up to frame_timeout_s for a fresh pair",
)  # fmt: skip
def _(bench):
    bench.camera.period_s = 0.7


@fault(
    CAMERA_GROUP, "colour-stops",
    what="Only the colour image stops", injection="colour is no longer published",
    status="FRAME_STALE",
    sentence=r"newest image of /camera/color/image_raw is \d\.\d{3} s old: max_frame_age_s is 0\.5; did the camera stop", concern="camera",
)  # fmt: skip
def _(bench):
    bench.camera.spoil["color"] = nothing


@fault(
    CAMERA_GROUP, "depth-stops",
    what="Only the depth image stops", injection="depth is no longer published",
    status="FRAME_STALE", sentence=r"newest image of /camera/aligned_depth_to_color/image_raw is \d\.\d{3} s old", concern="depth",
)  # fmt: skip
def _(bench):
    bench.camera.spoil["depth"] = nothing


@fault(
    CAMERA_GROUP, "depth-missing",
    what="There is no depth topic", injection="the node is activated while nobody publishes depth",
    status="NO_CAMERA", sentence=r"no image: nobody publishes /camera/aligned_depth_to_color/image_raw", concern="depth",
    recovery="the first pair",
)  # fmt: skip
def _(bench):
    bench.camera.shut("depth")
    restart_node(bench)
    bench.camera.spoil["depth"] = nothing


@fault(
    CAMERA_GROUP, "camera-restarts-larger",
    what="The camera restarts with another size", injection="images and calibrations of 320x240 instead of 160x120",
    status=HARMLESS, sentence="the red box: pixel", recovery="none needed: size and calibration are read with each pair",
)  # fmt: skip
def _(bench):
    bench.camera.shut()
    bench.camera.scale = 2
    bench.camera.open()
    return lambda: bench.look((2 * BOX_PX[0] + 0.5, 2 * BOX_PX[1] + 0.5))


@fault(
    CAMERA_GROUP, "camera-restarts-other-encoding",
    what="The camera restarts with another encoding", injection="bgr8 instead of rgb8",
    status=HARMLESS, sentence="the red box: pixel", recovery="none needed: the encoding is read with each image",
)  # fmt: skip
def _(bench):
    bench.camera.spoil["color"] = changed(encoding="bgr8")
    return bench.ask


@fault(
    CAMERA_GROUP, "qos-best-effort",
    what="Reliable subscription, best-effort camera", injection="image_reliability:=reliable and best-effort publishers",
    status="NO_CAMERA", sentence=r"the QoS of \S+ on /camera/color/image_raw does not match", concern="camera",
    recovery="image_reliability:=best_effort and configuring again",
    mend=lambda bench: bench.reactivate(image_reliability="best_effort"),
)  # fmt: skip
def _(bench):
    bench.camera.open(BEST_EFFORT)
    bench.reactivate(image_reliability="reliable")


@fault(
    CAMERA_GROUP, "qos-best-effort-camera",
    what="Best-effort camera, default settings", injection="the camera's publishers are best effort",
    status=HARMLESS, sentence="the red box: pixel", recovery="none needed: best_effort subscriptions hear every camera",
    mend=lambda bench: bench.camera.open(),
)  # fmt: skip
def _(bench):
    bench.camera.open(BEST_EFFORT)


# ---- stamps ----------------------------------------------------------------------------------------------------------------------


@fault(
    TIME_GROUP, "stamps-skewed",
    what="Colour and depth are not stamped together", injection="depth is stamped 33 ms later than colour",
    status="SYNC_SKEW", sentence=r"0\.033\d s apart, sync_slop_s allows 0\.02 s", concern="pairing",
)  # fmt: skip
def _(bench):
    bench.camera.skew_ns = 33_000_000


@fault(
    TIME_GROUP, "stamps-jitter",
    what="Stamps of a pair differ a little", injection="depth is stamped 9 ms later than colour",
    status=HARMLESS, sentence="the red box: pixel", recovery="none needed: within sync_slop_s",
)  # fmt: skip
def _(bench):
    bench.camera.skew_ns = 9_000_000


@fault(
    TIME_GROUP, "stamps-reordered",
    what="Images arrive out of order", injection="colour of one look is sent after that of the next, depth in order",
    status=HARMLESS, sentence="the red box: pixel", recovery="none needed: pairs are made by stamp",
)  # fmt: skip
def _(bench):
    held = []

    def swap(message):
        held.append(message)
        if len(held) < 2:
            return None
        second = held.pop()
        bench.camera.publish("color", second)
        return held.pop()

    bench.camera.spoil["color"] = swap


def _stamps(offset_ns):
    def inject(bench):
        bench.camera.stamp_offset_ns = offset_ns

    return inject


fault(
    TIME_GROUP, "stamps-of-the-past",
    what="The camera's clock is an hour late", injection="all stamps are 3600 s in the past",
    status="FRAME_STALE", sentence=r"is 3600\.\d{3} s old: max_frame_age_s is 0\.5; it was 3600\.\d{3} s old when it arrived, .*clocks",
    concern="camera",
    recovery="the first pair with the right time, although it jumps",
)(_stamps(-3_600_000_000_000))  # fmt: skip

fault(
    TIME_GROUP, "stamps-of-the-future",
    what="The camera's clock is an hour ahead", injection="all stamps are 3600 s in the future",
    status="FRAME_STALE", sentence=r"stamped 3\d\d\d\.\d{3} s in the future: .*max_frame_age_s is 0\.5", concern="camera",
    recovery="the first pair with the right time, although it jumps back",
)(_stamps(3_600_000_000_000))  # fmt: skip


@fault(
    TIME_GROUP, "stamps-zero",
    what="The driver does not fill in the stamps", injection="all stamps are 0",
    status="FRAME_STALE", sentence=r"is \d{9,}\.\d{3} s old: .*max_frame_age_s is 0\.5", concern="camera",
)  # fmt: skip
def _(bench):
    bench.camera.clock_ns = lambda: 0


@fault(
    TIME_GROUP, "stamps-negative",
    what="Stamps before 1970", injection="all stamps are -5 s",
    status="FRAME_STALE", sentence=r"s old: .*max_frame_age_s is 0\.5", concern="camera",
)  # fmt: skip
def _(bench):
    bench.camera.clock_ns = lambda: -5_000_000_000


@fault(
    TIME_GROUP, "question-about-the-past",
    what="A question about a stamp that is no longer kept", injection="a goal with a stamp 100 s ago",
    status="FRAME_STALE", sentence=r"the nearest of the last \d+ is \d+\.\d{3} s away \(stamp_tolerance_s = 0\.05, frame_buffer = 15\)",
)  # fmt: skip
def _(bench):
    from builtin_interfaces.msg import Time

    return lambda: bench.look(stamp=Time(sec=int(time.time()) - 100))


# ---- calibration and registration ------------------------------------------------------------------------------------------------


@fault(
    CALIBRATION_GROUP, "info-missing",
    what="There is no camera info", injection="the node is activated while nobody publishes camera info of colour",
    status="NO_CAMERA", sentence=r"no camera info: nobody publishes /camera/color/camera_info", concern="camera",
    recovery="the first camera info",
)  # fmt: skip
def _(bench):
    bench.camera.shut("color_info")
    restart_node(bench)


@fault(
    CALIBRATION_GROUP, "depth-info-missing",
    what="There is no camera info of registered depth", injection="the node is activated while nobody publishes it",
    status=HARMLESS, sentence="the red box: pixel", recovery="none needed: registered depth has the colour camera's calibration",
)  # fmt: skip
def _(bench):
    bench.camera.shut("depth_info")
    restart_node(bench)


@fault(
    CALIBRATION_GROUP, "depth-info-missing-elsewhere",
    what="There is no camera info of depth that is not registered", injection="depth in a frame of its own, without camera info",
    status="NO_CAMERA", sentence=r"depth comes in depth_optical, colour in camera_color_optical_frame, and there is no depth camera info",
    recovery="the first camera info of depth",
)  # fmt: skip
def _(bench):
    bench.camera.shut("depth_info")
    bench.camera.depth_frame_id = "depth_optical"
    restart_node(bench)


@fault(
    CALIBRATION_GROUP, "info-of-another-size",
    what="Camera info of another size", injection="the colour camera info is for 80x60",
    status="NO_CAMERA", sentence=r"colour camera info is for 80x60 images, the image has 160x120",
)  # fmt: skip
def _(bench):
    bench.camera.spoil["color_info"] = changed(width=80, height=60)


@fault(
    CALIBRATION_GROUP, "depth-info-of-another-size",
    what="Depth camera info of another size", injection="the depth camera info is for 80x60",
    status="NO_CAMERA", sentence=r"depth camera info is for 80x60 images, the image has 160x120",
)  # fmt: skip
def _(bench):
    bench.camera.spoil["depth_info"] = changed(width=80, height=60)


@fault(
    CALIBRATION_GROUP, "info-all-zeros",
    what="The camera is not calibrated", injection="K of the camera info is all zeros",
    status="BAD_REQUEST", sentence=r"K is zero: the camera is not calibrated",
)  # fmt: skip
def _(bench):
    bench.camera.spoil["color_info"] = changed(k=[0.0] * 9)


@fault(
    CALIBRATION_GROUP, "info-nan",
    what="A number of the calibration is NaN", injection="fx of the camera info is NaN",
    status="BAD_REQUEST", sentence=r"K has a number that is not finite",
)  # fmt: skip
def _(bench):
    bench.camera.spoil["color_info"] = changed(k=lambda k: [float("nan"), *list(k)[1:]])


@fault(
    CALIBRATION_GROUP, "info-unknown-lens",
    what="Unknown distortion model", injection="distortion_model is 'mei'",
    status="BAD_REQUEST", sentence=r"mei",
)  # fmt: skip
def _(bench):
    bench.camera.spoil["color_info"] = changed(distortion_model="mei", d=[0.1] * 5)


@fault(
    CALIBRATION_GROUP, "info-wrong-coefficients",
    what="Wrong number of distortion coefficients", injection="plumb_bob with 3 coefficients",
    status="BAD_REQUEST", sentence=r"plumb_bob has 4 or 5 coefficients, this camera gives 3",
)  # fmt: skip
def _(bench):
    bench.camera.spoil["color_info"] = changed(d=[0.1, 0.1, 0.1])


@fault(
    CALIBRATION_GROUP, "no-frame-id",
    what="The images have no frame_id", injection="frame_id is empty",
    status="BAD_REQUEST", sentence=r"the colour image has no frame_id", concern="TF",
)  # fmt: skip
def _(bench):
    bench.camera.frame_id = bench.camera.depth_frame_id = ""


@fault(
    CALIBRATION_GROUP, "depth-not-registered",
    what="Depth is not registered, and TF does not know its camera", injection="depth in the frame depth_optical, which is nowhere",
    status="TF_UNAVAILABLE", sentence=r"no transform from depth_optical to camera_color_optical_frame after 0\.5 s \(tf_timeout_s\)",
)  # fmt: skip
def _(bench):
    bench.camera.depth_frame_id = "depth_optical"


@fault(
    CALIBRATION_GROUP, "depth-not-registered-but-placed",
    what="Depth is not registered, and TF knows its camera", injection="depth in a frame of its own, placed by /tf_static",
    status=HARMLESS, sentence="the red box: pixel", recovery="none needed: depth is projected into the colour image",
)  # fmt: skip
def _(bench):
    bench.camera.publish_static(Transform.identity(), OPTICAL, "placed_depth_optical")
    bench.camera.depth_frame_id = "placed_depth_optical"


@fault(
    CALIBRATION_GROUP, "depth-of-another-camera",
    what="Depth and colour in one frame with different intrinsics",
    injection="the focal length of the depth camera info is 1.1 times that of colour's",
    status=HARMLESS, sentence="the red box: pixel", recovery="none needed: depth then has a camera of its own",
)  # fmt: skip
def _(bench):
    # An image of the same scene through another lens: the box keeps its place near the axis, within the lift's tolerance.
    bench.camera.spoil["depth_info"] = changed(k=[1.1 * CAMERA.fx, 0.0, CAMERA.cx, 0.0, 1.1 * CAMERA.fy, CAMERA.cy, 0.0, 0.0, 1.0])
