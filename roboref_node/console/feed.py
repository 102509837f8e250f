"""Between the graph and the page: what is published is shown, what is pressed is published."""

# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

import json
import threading
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from roboref.msg import Referral as ReferralMessage
from sensor_msgs.msg import JointState
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger

from roboref_node.console.page import Actions, Page
from roboref_node.console.robot import link_meshes, link_poses
from roboref_node.frame import Frame
from roboref_node.geometry.transform import Transform
from roboref_node.referral import Referral
from roboref_node.rgbd import DepthTrust, build_frame
from roboref_node.ros import qos
from roboref_node.ros.call_soon import call_soon
from roboref_node.ros.camera import CameraReceiver
from roboref_node.ros.messages import referral_from_message
from roboref_node.ros.settings import CameraSettings
from roboref_node.status import Refused

_STRIDE = 4
"""Every fourth row and column of the depth image goes into the cloud."""
_FAR_M = 2.5
_MAX_AGE_S = 5.0
"""A slow simulation is shown all the same."""
_PINK = (255, 60, 200)
_SHOWN_CHARS = 500
"""Of what others publish; an instruction has at most as many (task.MAX_INSTRUCTION_CHARS)."""


class Feed:
    """Subscriptions, publishers and clients of the page.

    Args:
        node: Spun by somebody else.
        base_frame: Frame of the scene.
        refer: Name of the refer node.
        pick_place: Name of the pick_place node; instructions go there.
        arm_stop: Service that stops the arm, for a pick_place node that no longer answers.
        period_s: How often the image and the cloud are renewed while somebody watches.
        port: Of the page.
    """

    def __init__(
        self, node: Node, *, base_frame: str = "base_link", refer: str = "/refer", pick_place: str = "/pick_place",
        arm_stop: str = "/arm/stop", period_s: float = 0.5, port: int = 8080,
    ) -> None:  # fmt: skip
        self._node, self._base_frame, self._period_s = node, base_frame, period_s
        self._say = node.create_publisher(String, f"{pick_place}/instruction", qos.ANSWERS)
        self._confirm = node.create_client(SetBool, f"{pick_place}/confirm")
        self._stops = [node.create_client(Trigger, name) for name in (f"{pick_place}/stop", arm_stop)]
        self.page = Page(Actions(self._send, self._answer, self._on_stop), port=port)
        self._receiver = CameraReceiver(node, CameraSettings(max_frame_age_s=_MAX_AGE_S))
        self._answer_shown: Referral | None = None
        self._joints: JointState | None = None
        self._closing = threading.Event()
        try:
            for name, mesh in link_meshes().items():
                self.page.add_link(name, mesh)
        except FileNotFoundError as error:
            node.get_logger().warning(f"the page shows no robot: {error}")
        node.create_subscription(String, f"{pick_place}/status", self._on_status, qos.TIMELINE)
        node.create_subscription(ReferralMessage, f"{refer}/referral", self._on_referral, qos.ANSWERS)
        node.create_subscription(JointState, "joint_states", self._on_joints, qos.images(reliable=False, depth=1))
        self._thread = threading.Thread(target=self._renew_forever, name="roboref_page", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the page."""
        self._closing.set()
        self._thread.join(5.0)
        self._receiver.close()
        self.page.close()

    # ---- what is pressed (viser's threads) -----------------------------------------------------------------------------------

    def _send(self, text: str) -> None:
        if self._say.get_subscription_count() == 0:
            self.page.show_status("not sent", f"nobody listens to {self._say.topic_name}")
        self._say.publish(String(data=text))

    def _answer(self, yes: bool) -> None:
        if self._confirm.service_is_ready():
            call_soon(self._node, self._confirm.call_async, SetBool.Request(data=yes))
        else:
            self.page.show_status("not answered", f"there is no {self._confirm.srv_name}")

    def _on_stop(self) -> None:
        ready = [client for client in self._stops if client.service_is_ready()]
        for client in ready:
            call_soon(self._node, client.call_async, Trigger.Request())
        if not ready:
            names = " and no ".join(client.srv_name for client in self._stops)
            self.page.show_status("NOT STOPPED", f"there is no {names}: use the robot's own emergency stop")

    # ---- what is published (the executor's thread) ---------------------------------------------------------------------------

    def _on_status(self, message: String) -> None:
        try:
            status = json.loads(message.data)
        except (ValueError, RecursionError):
            status = None
        if not isinstance(status, dict):
            self._node.get_logger().warning(f"no status of a pick_place node: {message.data[:80]!r}", throttle_duration_sec=10.0)
            return
        state, sentence = str(status.get("state", "")), str(status.get("sentence", ""))[:_SHOWN_CHARS]
        asked = state == "confirm"
        self.page.show_status(str(status.get("outcome", state)), sentence, asked=asked)
        if status.get("instruction"):
            ended = status.get("outcome")
            self.page.note(str(status["instruction"])[:_SHOWN_CHARS], str(ended) if ended else "waiting" if asked else "running", sentence)

    def _on_referral(self, message: ReferralMessage) -> None:
        answer = referral_from_message(message)
        self._answer_shown = answer
        others = [grasp.pose for grasp in answer.grasps[1:]]
        text = f"{answer.task.expression or answer.task.instruction}: {answer.status.value}"
        self.page.show_goals(answer.position_m, answer.goal, answer.approach, others, text)

    def _on_joints(self, message: JointState) -> None:
        self._joints = message

    # ---- what the camera sees (a thread of its own) --------------------------------------------------------------------------

    def _renew_forever(self) -> None:
        while not self._closing.wait(self._period_s):
            if not self.page.watched:
                continue
            try:
                joints = self._joints
                poses = None if joints is None else link_poses(joints.name, joints.position)
                if poses is not None:
                    self.page.show_links(poses)
                self._renew()
            except Refused as refused:
                self._node.get_logger().warning(f"the page shows no image: {refused.sentence}", throttle_duration_sec=10.0)
            except Exception as error:  # one message that does not fit must not freeze the page
                self._node.get_logger().error(f"the page shows no image: {type(error).__name__}: {error}", throttle_duration_sec=10.0)

    def _renew(self) -> None:
        frames, transforms = self._receiver.frames, self._receiver.transforms
        pair = frames.latest(_MAX_AGE_S)
        trust = DepthTrust(0.05, 10.0, aligned=False, rectified=False)
        frame = build_frame(pair, *frames.calibrations(pair, 1.0), trust, transforms.lookup)
        self.page.show_image(_with_point(frame, self._answer_shown))
        if frame.is_registered:
            base_from_optical = transforms.lookup(self._base_frame, frame.frame_id, frame.stamp_ns)
            self.page.show_cloud(*_cloud(frame, base_from_optical))


def _with_point(frame: Frame, answer: Any) -> NDArray[np.uint8]:
    """The image with the pixel that was pointed at."""
    picture = frame.rgb.copy()
    if answer is not None and answer.pixel is not None:
        at = (round(answer.pixel.u_px), round(answer.pixel.v_px))
        size = max(6, picture.shape[1] // 50)
        for colour, thickness in (((0, 0, 0), 4), (_PINK, 2)):
            cv2.circle(picture, at, size, colour, thickness, cv2.LINE_AA)
            cv2.drawMarker(picture, at, colour, cv2.MARKER_CROSS, size, thickness)
    return picture


def _cloud(frame: Frame, base_from_optical: Transform) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """Thinned points in the base frame, shape (N, 3), and their colours."""
    depth = frame.depth_m[::_STRIDE, ::_STRIDE].astype(np.float64)
    rows, columns = np.nonzero(np.isfinite(depth) & (depth < _FAR_M))
    pixels = np.stack([columns, rows], axis=-1) * _STRIDE
    points = base_from_optical.apply(frame.camera.unproject(pixels.astype(np.float64), depth[rows, columns]))
    return points, frame.rgb[pixels[:, 1], pixels[:, 0]]
