"""Random damage to everything that reaches the pipeline's edge: image, calibration and TF messages, camera models and poses.

The edge is `Answerer.answer`, what the refer node does with a question, on messages as DDS would deliver them. A case is made from
its seed alone: `Fuzzer(seed)` does the same again.
"""

from __future__ import annotations

import contextlib
import math
import random
import struct
from collections import Counter

import cv2
import numpy as np
from fault_camera import BASE, BASE_FROM_OPTICAL, CAMERA, LINK, OPTICAL, pictures
from geometry_msgs.msg import TransformStamped
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from roboref_node.frame import Frame
from roboref_node.geometry.camera import CameraModel, DistortionModel
from roboref_node.geometry.transform import Transform
from roboref_node.goals.profile import load_profile
from roboref_node.pipeline import Context, Pipeline
from roboref_node.rgbd import RgbdPair
from roboref_node.ros.answering import Answerer
from roboref_node.ros.camera_info import info_from_camera
from roboref_node.ros.image import color_message, depth_message
from roboref_node.ros.messages import referral_message
from roboref_node.ros.requests import Request
from roboref_node.ros.settings import ReferSettings
from roboref_node.ros.transform_buffer import TransformBuffer
from roboref_node.ros.transforms import TransformSource, message_from_transform
from roboref_node.status import Refused
from roboref_node.task import Task, TaskKind

WIDTH, HEIGHT, STAMP_NS = 64, 48, 5_000_000_000
FLOATS = (0.0, -0.0, 1.0, -1.0, 1e-300, 1e-9, 1e9, 1e300, 5e-324, math.nan, math.inf, -math.inf)
NAMES = ("", "/", OPTICAL, LINK, BASE, "tool0", "a" * 300, "Größe", "/camera", "base_link ", "\x00")
ENCODINGS = (
    "rgb8",
    "bgr8",
    "rgba8",
    "mono8",
    "mono16",
    "16UC1",
    "32FC1",
    "64FC1",
    "8UC3",
    "bayer_rggb8",
    "yuv422",
    "",
    "RGB8",
    "🙂",
    "16UC1 ",
)
MODELS = ("plumb_bob", "rational_polynomial", "equidistant", "thin_prism", "fisheye", "", "none", "mei", "PLUMB_BOB")
FORMATS = ("", "jpeg", "png", "16UC1; compressedDepth png", "32FC1; compressedDepth", "rgb8; jpeg compressed bgr8", "🙂", ";")
SECONDS, NANOSECONDS = (0, -1, 5, 2**31 - 1, -(2**31)), (0, 1, 999_999_999, 2**32 - 1)
INSTRUCTIONS = (
    "pick up the red box",
    "point at the red box",
    "put it on the table",
    "pick up the cup and put it behind the bowl",
    "go to the door",
)


class Given:
    """What the camera has brought: the place of `FrameStore` without a graph."""

    def __init__(self, pair, color_info, depth_info):
        self.pair, self._color_info, self._depth_info = pair, color_info, depth_info

    def wait(self, max_age_s, timeout_s, *, canceled):
        return self.pair

    def at(self, wanted_ns, tolerance_s):
        return self.pair

    def before(self, pair, count):
        return []

    def calibrations(self, pair, timeout_s):
        return self._color_info, self._depth_info


class Fuzzer:
    """Makes cases, runs them, and raises when one of them breaks a promise.

    Args:
        seed: Of all randomness.
        node: Gives the transform buffer its clock.
    """

    def __init__(self, seed, node):
        self.random = random.Random(seed)
        self._node = node
        self.statuses = Counter()
        self.inputs = 0
        self.kinds = (94, 2, 2, 2)
        self._settings = ReferSettings(tf_timeout_s=0.0, frame_timeout_s=0.0)
        self._pipelines = [Pipeline(None, load_profile(robot)) for robot in ("ur5", "g1")]
        rgb, depth_mm = pictures()
        self._rgb, self._depth_mm = (np.ascontiguousarray(image[30:78, 50:114]) for image in (rgb, depth_mm))
        self._png = (
            cv2.imencode(".png", self._rgb[..., ::-1])[1].tobytes(),
            struct.pack("<iff", 0, 0.0, 0.0) + cv2.imencode(".png", self._depth_mm)[1].tobytes(),
        )
        self._ways = self._tables()
        self._camera = CameraModel(CAMERA.fx, CAMERA.fy, (WIDTH - 1) / 2, (HEIGHT - 1) / 2, WIDTH, HEIGHT)

    def again(self, seed):
        """The same fuzzer as if made with `seed`; it goes on counting."""
        self.random.seed(seed)
        return self

    # ---- messages ------------------------------------------------------------------------------------------------------------

    def number(self, present=None):
        """A float: one of the awkward ones, the present one slightly or wildly changed."""
        kind = self.random.randrange(4)
        if kind == 0 or present is None:
            return self.random.choice(FLOATS)
        return (
            present * (1 + self.random.gauss(0, 0.1)) if kind == 1 else present + self.random.gauss(0, 10.0 ** self.random.randint(-3, 6))
        )

    def integer(self, bits):
        """An unsigned integer: near zero, near the image's size, or any."""
        return self.random.choice((0, 1, 2, WIDTH, HEIGHT, WIDTH * 2, WIDTH * 3, 2**bits - 1, self.random.randrange(2**bits)))

    def spoil(self, message):
        """Change one or two things of a message."""
        ways = self._ways[type(message)]
        for _ in range(self.random.randint(1, 2)):
            self.random.choice(ways)(message)

    def _tables(self):
        """What can be changed of each kind of message; what is listed twice is changed twice as often."""
        size = [self._integers("width", 32), self._integers("height", 32)]
        return {
            Image: [
                self._header, *size, self._integers("step", 32), self._integers("is_bigendian", 8),
                self._one_of("encoding", ENCODINGS), self._cut, self._noise,
            ],
            CompressedImage: [self._header, self._one_of("format", FORMATS), self._cut, self._noise],
            CameraInfo: [
                self._header, *size, self._one_of("distortion_model", MODELS), self._coefficients, self._matrix, self._matrix,
                self._integers("binning_x", 32), self._region,
            ],
            TransformStamped: [self._header, self._one_of("child_frame_id", NAMES), self._translation, self._rotation, self._rotation],
        }  # fmt: skip

    def _one_of(self, field, values):
        return lambda message: setattr(message, field, self.random.choice(values))

    def _integers(self, field, bits):
        return lambda message: setattr(message, field, self.integer(bits))

    def _header(self, message):
        header = message.header
        field, owner, values = self.random.choice(
            (("frame_id", header, NAMES), ("sec", header.stamp, SECONDS), ("nanosec", header.stamp, NANOSECONDS))
        )
        setattr(owner, field, self.random.choice(values))

    def _cut(self, message):
        data = bytes(message.data)
        message.data = data[: self.random.randrange(len(data) + 1)]

    def _noise(self, message):
        data = np.frombuffer(bytes(message.data), np.uint8).copy()
        if data.size:
            start = self.random.randrange(data.size)
            noise = np.frombuffer(self.random.randbytes(min(data.size - start, self.random.randrange(1, 4000))), np.uint8)
            data[start : start + noise.size] = noise
        message.data = data.tobytes()

    def _coefficients(self, message):
        message.d = [self.number(0.05) for _ in range(self.random.choice((0, 1, 4, 5, 8, 12, 14, 30)))]

    def _matrix(self, message):
        name = self.random.choice(("k", "k", "p", "r"))
        values = list(getattr(message, name))
        index = self.random.randrange(len(values))
        values[index] = self.number(values[index])
        setattr(message, name, values)

    def _region(self, message):
        roi = message.roi
        roi.x_offset, roi.y_offset, roi.width, roi.height = (self.integer(32) for _ in range(4))
        roi.do_rectify = self.random.random() < 0.5

    def _translation(self, message):
        t = message.transform.translation
        setattr(t, name := self.random.choice("xyz"), self.number(getattr(t, name)))

    def _rotation(self, message):
        q = message.transform.rotation
        setattr(q, name := self.random.choice("xyzw"), self.number(getattr(q, name)))

    def _images(self):
        """Colour and depth of one look, raw or compressed."""
        color = color_message(self._rgb, stamp_ns=STAMP_NS, frame_id=OPTICAL)
        depth = depth_message(self._depth_mm, stamp_ns=STAMP_NS, frame_id=OPTICAL)
        if self.random.random() < 0.1:
            color = CompressedImage(header=color.header, format="rgb8; png compressed bgr8", data=self._png[0])
        if self.random.random() < 0.1:
            depth = CompressedImage(header=depth.header, format="16UC1; compressedDepth png", data=self._png[1])
        return color, depth

    def play_messages(self):
        """One question on six messages, some of them spoilt; counts the spoilt ones.

        Raises:
            AssertionError: It raised, blamed roboref, or answered with a goal that is not a number.
        """
        color, depth = self._images()
        color_info = info_from_camera(self._camera, stamp_ns=STAMP_NS, frame_id=OPTICAL)
        depth_info = info_from_camera(self._camera, stamp_ns=STAMP_NS, frame_id=OPTICAL)
        moving = message_from_transform(BASE_FROM_OPTICAL, parent=BASE, child=LINK, stamp_ns=STAMP_NS)
        static = message_from_transform(Transform.identity(), parent=LINK, child=OPTICAL, stamp_ns=0)
        spoilable = (color, depth, color_info, depth_info, moving, static)
        for message in self.random.sample(spoilable, self.random.choice((1, 1, 1, 2, 3))):
            self.spoil(message)
            self.inputs += 1
        buffer = TransformBuffer(30.0, self._node)
        buffer.set_transform(moving, "fuzz")
        buffer.set_transform_static(static, "fuzz")
        given = Given(RgbdPair(color, depth), color_info, depth_info if self.random.random() < 0.7 else None)
        source = TransformSource(buffer, 0.0)
        answerer = Answerer(self._pipelines[0], given, source, lambda: self._settings)
        pixel = (self.number(30.5), self.number(24.5)) if self.random.random() < 0.2 else (30.5, 24.5)
        request = Request(self.random.choice(INSTRUCTIONS[:4] + INSTRUCTIONS[1:2] * 36), finish=lambda *_: None, pixel=pixel)
        answers = answerer.answer(request)
        for message in answers.messages:
            self.check(message)
        with contextlib.suppress(Refused):
            source.lag_s(BASE, color.header.frame_id or "nowhere", STAMP_NS)  # what diagnostics ask each time
        buffer.close()

    # ---- camera models and poses ---------------------------------------------------------------------------------------------

    def camera(self):
        """A camera model from random numbers; None when its constructor refuses them."""
        model = self.random.choice([DistortionModel.NONE, DistortionModel.NONE, *DistortionModel])
        count = {"none": 0, "plumb_bob": 5, "rational_polynomial": 8, "equidistant": 4, "thin_prism": 12}[model.value]
        scale = 10.0 ** self.random.randint(-4, 2)
        coefficients = [self.number(0.0) if self.random.random() < 0.1 else self.random.gauss(0, scale) for _ in range(count)]
        base = self._camera
        spoilt = [self.number(x) if self.random.random() < 0.2 else x for x in (base.fx, base.fy, base.cx, base.cy)]
        try:
            return CameraModel(*spoilt, WIDTH, HEIGHT, model, tuple(coefficients))
        except Refused:
            self.statuses["camera refused"] += 1
            return None

    def pose(self):
        """A pose from random numbers, mostly near the usual one; None when its constructor refuses them."""
        usual = BASE_FROM_OPTICAL
        quaternion, translation = list(usual.quaternion_xyzw), list(usual.translation_m)
        for values in (quaternion, translation):
            if self.random.random() < 0.6:
                index = self.random.randrange(len(values))
                values[index] = self.number(values[index])
        try:
            return Transform(np.array(quaternion), np.array(translation))
        except (Refused, ValueError):
            self.statuses["pose refused"] += 1
            return None

    def play_geometry(self):
        """One question on a random camera, pose and depth.

        Raises:
            AssertionError: It raised, blamed roboref, or answered with a goal that is not a number.
        """
        camera, pose = self.camera(), self.pose()
        self.inputs += 2
        if camera is None or pose is None:
            return
        depth_m = self._depth_mm.astype(np.float32) / 1000
        if self.random.random() < 0.3:
            depth_m[self.random.randrange(HEIGHT)] = self.random.choice((np.nan, 0.01, 50.0, 1e30, 1e-30))
        unregistered = self.random.random() < 0.2
        other = self.camera() if unregistered else None
        self.inputs += unregistered
        frame = Frame(
            self._rgb, depth_m, camera, STAMP_NS, OPTICAL,
            depth_camera=other, color_from_depth=None if other is None else Transform(np.array([0.0, 0, 0, 1]), np.array([0.02, 0, 0])),
        )  # fmt: skip
        pipeline = self.random.choice((self._pipelines[0], self._pipelines[0], self._pipelines[1]))
        kind = self.random.choices((TaskKind.POINT, TaskKind.PICK, TaskKind.PLACE, TaskKind.NAVIGATE), self.kinds)[0]
        pixel = (self.number(30.5), self.number(24.5)) if self.random.random() < 0.1 else (30.5, 24.5)
        named = dict.fromkeys({*pipeline.frames_needed(), pipeline.profile.base_frame}, pose)
        referral = pipeline.refer(
            frame, Task(kind, "the red box", "x"), named, pixel=pixel, context=Context(goal_from_base=Transform.identity())
        )
        self.check(referral_message(referral, index=0, count=1, goal_from_optical=pose, timings_ms={}))

    def check(self, message):
        """Whether the answer keeps its promises.

        Raises:
            AssertionError: It does not.
        """
        self.statuses[message.status_text] += 1
        assert message.status_text != "INTERNAL", message.sentence
        assert message.sentence
        serialize_message(message)  # it can be published
        goals = [message.goal.pose, message.approach.pose, *(g.pose for g in message.grasps), *(g.pregrasp for g in message.grasps)]
        numbers = [x for pose in goals for x in (*_xyz(pose.position), *_xyz(pose.orientation), pose.orientation.w)]
        assert all(map(math.isfinite, numbers)), f"{message.status_text} with a goal that is not finite: {message.sentence}"
        if message.status_text == "OK":
            assert message.goal.header.frame_id
            found = [*_xyz(message.position), *message.covariance]
            assert all(map(math.isfinite, found)), f"OK with a point that is not finite: {message.sentence}"
            assert abs(np.linalg.norm([*_xyz(message.goal.pose.orientation), message.goal.pose.orientation.w]) - 1) < 1e-6


def _xyz(vector):
    return vector.x, vector.y, vector.z
