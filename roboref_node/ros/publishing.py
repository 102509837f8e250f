"""What leaves the refer node on topics: every referral, the goals that may be executed, and pictures for people."""

# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from geometry_msgs.msg import PoseStamped
from rclpy.node import Node
from roboref.msg import Referral as ReferralMessage
from sensor_msgs.msg import Image, PointCloud2
from visualization_msgs.msg import MarkerArray

from roboref_node.drawing import draw_overlay
from roboref_node.ros import qos
from roboref_node.ros.answering import Answers
from roboref_node.ros.image import color_message
from roboref_node.ros.markers import markers
from roboref_node.ros.messages import cloud_message
from roboref_node.task import TaskKind

_KINDS = {
    "~/referral": (ReferralMessage, qos.ANSWERS),
    "~/grasp_pose": (PoseStamped, qos.ANSWERS),
    "~/pregrasp_pose": (PoseStamped, qos.ANSWERS),
    "~/place_pose": (PoseStamped, qos.ANSWERS),
    "~/object_cloud": (PointCloud2, qos.ANSWERS),
    "~/overlay": (Image, qos.PICTURES),
    "~/markers": (MarkerArray, qos.PICTURES),
}


class AnswerPublisher:
    """The publishers of a refer node.

    Args:
        node: Carries them.
        drive: Publish stand-off poses on ``goal_pose`` too.
    """

    def __init__(self, node: Node, drive: bool) -> None:
        kinds = {**_KINDS, **({"goal_pose": (PoseStamped, qos.ANSWERS)} if drive else {})}
        self._node = node
        self._publishers: dict[str, Any] = {name: node.create_publisher(kind, name, profile) for name, (kind, profile) in kinds.items()}

    def close(self) -> None:
        """Remove the publishers."""
        for publisher in self._publishers.values():
            self._node.destroy_publisher(publisher)

    def refusal(self, message: ReferralMessage) -> None:
        """Publish a referral that has no goal."""
        self._publishers["~/referral"].publish(message)

    def goals(self, messages: Sequence[ReferralMessage]) -> None:
        """Publish the answers to one sentence, and their goals up to the first refusal: a place never goes out without its pick."""
        executable = True
        for message in messages:
            self._publishers["~/referral"].publish(message)
            self._node.get_logger().info(f"{message.role or 'instruction'}: {message.status_text}: {message.sentence}")
            executable = executable and message.status == ReferralMessage.OK
            if not executable:
                continue
            if message.role == TaskKind.PICK.value:
                self._publishers["~/pregrasp_pose"].publish(message.approach)
                self._publishers["~/grasp_pose"].publish(message.goal)
            elif message.role == TaskKind.PLACE.value:
                self._publishers["~/place_pose"].publish(message.goal)
            elif message.role == TaskKind.NAVIGATE.value and "goal_pose" in self._publishers:
                self._publishers["goal_pose"].publish(message.goal)

    def pictures(self, answers: Answers) -> None:
        """Publish overlay, markers and the clouds of the objects found."""
        if answers.frame is None:
            return
        frame = answers.frame
        picture = draw_overlay(frame, answers.referrals, goal_from_optical=answers.target_from_optical)
        self._publishers["~/overlay"].publish(color_message(picture, stamp_ns=frame.stamp_ns, frame_id=frame.frame_id))
        self._publishers["~/markers"].publish(markers(answers.referrals))
        for referral in answers.referrals:
            if referral.ok and referral.segment is not None:
                cloud = cloud_message(referral.segment.cloud_m, stamp_ns=frame.stamp_ns, frame_id=frame.frame_id)
                self._publishers["~/object_cloud"].publish(cloud)
