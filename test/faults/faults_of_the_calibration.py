"""Faults of calibration and registration: camera infos that are missing or wrong, and depth that is not where colour is."""

from __future__ import annotations

from fault_camera import CAMERA, OPTICAL
from fault_spoiling import changed, restarted, sets, shuts, spoils
from fault_table import HARMLESS, fault

from roboref_node.geometry.transform import Transform

GROUP = "Calibration and registration"

for name, what, injection, status, sentence, spoil in (
    ("info-of-another-size", "Camera info of another size", "the colour camera info is for 80x60",
     "NO_CAMERA", r"colour camera info is for 80x60 images, the image has 160x120", {"color_info": changed(width=80, height=60)}),
    ("depth-info-of-another-size", "Depth camera info of another size", "the depth camera info is for 80x60",
     "NO_CAMERA", r"depth camera info is for 80x60 images, the image has 160x120", {"depth_info": changed(width=80, height=60)}),
    ("info-all-zeros", "The camera is not calibrated", "K of the camera info is all zeros",
     "BAD_REQUEST", r"K is zero: the camera is not calibrated", {"color_info": changed(k=[0.0] * 9)}),
    ("info-nan", "A number of the calibration is NaN", "fx of the camera info is NaN",
     "BAD_REQUEST", r"K has a number that is not finite", {"color_info": changed(k=lambda k: [float("nan"), *list(k)[1:]])}),
    ("info-negative", "A focal length below zero", "fx of the camera info is -150",
     "BAD_REQUEST", r"focal lengths are fx = -150, fy = 150", {"color_info": changed(k=lambda k: [-150.0, *list(k)[1:]])}),
    ("info-normalised", "Intrinsics as shares of the image", "K of the camera info is divided by the width",
     "BAD_REQUEST", r"fx = 0\.9375, fy = 0\.9375 px are not those of 160x120 images, which have 0\.01 to 1000 times the width",
     {name: changed(k=lambda k: [x / 160 for x in k[:8]] + [1.0]) for name in ("color_info", "depth_info")}),
    ("info-unknown-lens", "Unknown distortion model", "distortion_model is 'mei'",
     "BAD_REQUEST", r"mei", {"color_info": changed(distortion_model="mei", d=[0.1] * 5)}),
    ("info-wrong-coefficients", "Wrong number of distortion coefficients", "plumb_bob with 3 coefficients",
     "BAD_REQUEST", r"plumb_bob has 4 or 5 coefficients, this camera gives 3", {"color_info": changed(d=[0.1, 0.1, 0.1])}),
):  # fmt: skip
    fault(GROUP, name, what=what, injection=injection, status=status, sentence=sentence)(spoils(**spoil))

fault(
    GROUP, "info-missing",
    what="There is no camera info", injection="the node is activated while nobody publishes camera info of colour",
    status="NO_CAMERA", sentence=r"no camera info: nobody publishes /camera/color/camera_info", concern="camera",
    recovery="the first camera info",
)(restarted(shuts("color_info")))  # fmt: skip

fault(
    GROUP, "depth-info-missing",
    what="There is no camera info of registered depth", injection="the node is activated while nobody publishes it",
    status=HARMLESS, sentence="the red box: pixel", recovery="none needed: registered depth has the colour camera's calibration",
)(restarted(shuts("depth_info")))  # fmt: skip

fault(
    GROUP, "no-frame-id",
    what="The images have no frame_id", injection="frame_id is empty",
    status="BAD_REQUEST", sentence=r"the colour image has no frame_id", concern="TF",
)(sets(frame_id="", depth_frame_id=""))  # fmt: skip

fault(
    GROUP, "depth-not-registered",
    what="Depth is not registered, and TF does not know its camera", injection="depth in the frame depth_optical, which is nowhere",
    status="TF_UNAVAILABLE", sentence=r"no transform from depth_optical to camera_color_optical_frame after 0\.5 s \(tf_timeout_s\)",
)(sets(depth_frame_id="depth_optical"))  # fmt: skip

# An image of the same scene through another lens: the box keeps its place near the axis, within the lift's tolerance.
fault(
    GROUP, "depth-of-another-camera",
    what="Depth and colour in one frame with different intrinsics",
    injection="the focal length of the depth camera info is 1.1 times that of colour's",
    status=HARMLESS, sentence="the red box: pixel", recovery="none needed: depth then has a camera of its own",
)(spoils(depth_info=changed(k=[1.1 * CAMERA.fx, 0.0, CAMERA.cx, 0.0, 1.1 * CAMERA.fy, CAMERA.cy, 0.0, 0.0, 1.0])))  # fmt: skip


@fault(
    GROUP, "depth-info-missing-elsewhere",
    what="There is no camera info of depth that is not registered", injection="depth in a frame of its own, without camera info",
    status="NO_CAMERA", sentence=r"depth comes in depth_optical, colour in camera_color_optical_frame, and there is no depth camera info",
    recovery="the first camera info of depth",
)  # fmt: skip
def _(bench):
    bench.camera.depth_frame_id = "depth_optical"
    restarted(shuts("depth_info"))(bench)


@fault(
    GROUP, "depth-of-another-size",
    what="Depth of another size, without camera info", injection="depth of 80x60, and nobody publishes its camera info",
    status="NO_CAMERA", sentence=r"the depth image has 80x60 pixels, colour has 160x120, and there is no depth camera info",
    recovery="depth of the colour image's size, or its camera info",
)  # fmt: skip
def _(bench):
    bench.camera.spoil["depth"] = changed(width=80, height=60, step=160, data=bytes(80 * 60 * 2))
    restarted(shuts("depth_info"))(bench)


@fault(
    GROUP, "depth-not-registered-but-placed",
    what="Depth is not registered, and TF knows its camera", injection="depth in a frame of its own, placed by /tf_static",
    status=HARMLESS, sentence="the red box: pixel", recovery="none needed: depth is projected into the colour image",
)  # fmt: skip
def _(bench):
    bench.camera.publish_static(Transform.identity(), OPTICAL, "placed_depth_optical")
    bench.camera.depth_frame_id = "placed_depth_optical"
