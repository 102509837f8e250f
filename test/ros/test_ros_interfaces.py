"""The interfaces: constants equal the core's statuses, messages carry every field, JSON is JSON."""

import dataclasses
import json
import math

import numpy as np
import pytest

pytest.importorskip("roboref.msg", reason="needs ROS 2 and the built interfaces (make setup)")
from rclpy.serialization import deserialize_message, serialize_message
from roboref.action import Refer
from roboref.msg import Referral as ReferralMessage

from roboref_node.geometry.transform import Transform
from roboref_node.goals.place import HeldObject
from roboref_node.pointing.pointer import PixelPoint
from roboref_node.referral import Referral
from roboref_node.ros.markers import markers
from roboref_node.ros.messages import (
    cloud_message,
    held_from_messages,
    held_message,
    in_frame,
    referral_from_message,
    referral_message,
    refusal_message,
)
from roboref_node.ros.transforms import message_from_transform, transform_from_message
from roboref_node.status import Refused, Status
from roboref_node.task import Task, TaskKind

TURN = Transform(np.array([0.1, -0.3, 0.5, 0.7]), np.array([0.4, -0.2, 1.1]))


def answer(status=Status.OK, **changes):
    fields = {
        "task": Task(TaskKind.PICK, "the red cup", "pick up the red cup"), "status": status, "sentence": "s", "stamp_ns": 7_000_000_009,
        "frame_id": "optical", "goal_frame": "base_link", "pixel": PixelPoint(12.5, 40.0, 0.9), "position_m": (0.4, 0.1, 0.02),
        "position_covariance_m2": tuple((1e-6 * np.diag([1.0, 4.0, 9.0])).ravel()), "goal": TURN, "approach": TURN,
        "gripper_width_m": 0.05, "timings_ms": {"model": 12.0, "total": 15.0},
        "provenance": {"weights": np.float32(1.5), "x": float("nan")},
    }  # fmt: skip
    return Referral(**{**fields, **changes})


def to_message(referral):
    return referral_message(referral, index=1, count=2, goal_from_optical=TURN, timings_ms={"frame": 1.0})


def test_constants_are_the_statuses():
    for status in Status:
        assert getattr(ReferralMessage, status.value) == status.code
    numbers = [name for name in dir(ReferralMessage) if name.isupper() and isinstance(getattr(ReferralMessage, name), int)]
    assert sorted(numbers) == sorted(status.value for status in Status)


def test_roles_of_the_action_are_the_task_kinds():
    assert Refer.Goal().role == "" and len(Refer.Goal().pixel) == 2
    assert {kind.value for kind in TaskKind} == {"point", "pick", "place", "navigate"}


def test_an_answer_survives_the_wire():
    message = deserialize_message(serialize_message(to_message(answer())), ReferralMessage)
    assert message.status == ReferralMessage.OK and message.status_text == "OK"
    assert (message.task_index, message.task_count, message.role, message.expression) == (1, 2, "pick", "the red cup")
    assert (message.header.frame_id, message.header.stamp.sec, message.header.stamp.nanosec) == ("base_link", 7, 9)
    assert message.goal.header == message.header
    np.testing.assert_allclose([message.goal.pose.position.x, message.goal.pose.position.z], [0.4, 1.1])
    np.testing.assert_allclose(message.covariance, 1e-6 * np.diag([1.0, 4.0, 9.0]).ravel())
    assert dict(zip(message.timing_names, message.timing_ms, strict=True)) == {"frame": 1.0, "model": 12.0, "total": 15.0}
    assert json.loads(message.provenance_json) == {"weights": 1.5, "x": None, "details": {}}


def test_the_turns_of_a_place_survive_the_wire():
    place = dataclasses.replace(
        answer(), task=Task(TaskKind.PLACE, "behind the bowl", "put it behind the bowl"), details={"turns_rad": [0.5]}
    )
    message = deserialize_message(serialize_message(to_message(place)), ReferralMessage)
    assert referral_from_message(message).details == {"turns_rad": [0.5]}
    message.provenance_json = ""
    assert referral_from_message(message).details == {"turns_rad": []}
    for damaged in (
        '{"details": {"turns_rad": 3}}',
        '{"details": {"turns_rad": [null]}}',
        '{"details": {"turns_rad": [1e999]}}',
        "[1]",
        "{",
    ):
        message.provenance_json = damaged
        with pytest.raises(ValueError, match="place"):
            referral_from_message(message)


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.OK])
def test_no_status_but_ok_carries_a_goal(status):
    message = to_message(answer(status))
    assert message.goal.header.frame_id == "" and message.approach.header.frame_id == "" and not message.grasps
    assert math.isnan(message.gripper_width_m)


def test_a_refused_sentence_says_so_in_every_field():
    message = refusal_message("", Refused(Status.BAD_REQUEST, "empty", width=float("inf")))
    assert (message.status, message.status_text, message.sentence) == (Status.BAD_REQUEST.code, "BAD_REQUEST", "empty")
    assert (
        math.isnan(message.pixel_u)
        and math.isnan(message.position.z)
        and message.covariance[0] == -1
        and json.loads(message.provenance_json)["details"] == {"width": None}
    )


def test_another_target_frame_moves_everything_rigidly():
    moved = in_frame(answer(), "map", TURN)
    np.testing.assert_allclose(moved.position_m, TURN.apply([0.4, 0.1, 0.02]))
    np.testing.assert_allclose(moved.goal.matrix, TURN.matrix @ TURN.matrix, atol=1e-12)
    np.testing.assert_allclose(np.linalg.eigvalsh(np.reshape(moved.position_covariance_m2, (3, 3))), [1e-6, 4e-6, 9e-6])
    assert moved.goal_frame == "map"


def test_transform_messages_round_trip():
    message = message_from_transform(TURN, parent="a", child="b", stamp_ns=3)
    np.testing.assert_allclose(transform_from_message(message).matrix, TURN.matrix, atol=1e-12)


def test_markers_show_the_axes_of_a_goal_and_none_without():
    drawn = markers([answer()]).markers
    arrows = [marker for marker in drawn if marker.action == marker.ADD and marker.type == marker.ARROW]
    assert len(arrows) == 6 and drawn[0].action == drawn[0].DELETEALL
    for axis, arrow in enumerate(arrows[:3]):
        q = arrow.pose.orientation
        along = Transform(np.array([q.x, q.y, q.z, q.w]), np.zeros(3)).rotate([1.0, 0.0, 0.0])
        np.testing.assert_allclose(along, TURN.rotation[:, axis], atol=1e-9)
    refused = markers([answer(Status.UNREACHABLE)]).markers
    assert not [marker for marker in refused if marker.action == marker.ADD and marker.type == marker.ARROW]


def test_cloud_holds_the_points():
    points = np.arange(12, dtype=np.float64).reshape(4, 3)
    cloud = cloud_message(points, frame_id="optical", stamp_ns=1)
    np.testing.assert_allclose(np.frombuffer(cloud.data, np.float32).reshape(-1, 3), points)
    assert cloud.width == 4 and cloud.row_step == 48


def test_a_held_object_survives_the_wire_and_an_impossible_one_is_a_bad_request():
    held = HeldObject(np.array([0.06, 0.05, 0.09]), 0.04, TURN, np.array([0.001, 0.0, 0.05]), 0.035)
    message = deserialize_message(serialize_message(Refer.Goal(held=[held_message(held)])), Refer.Goal)
    back = held_from_messages(message.held)
    np.testing.assert_allclose(back.size_m, held.size_m)
    np.testing.assert_allclose(back.base_from_tool.matrix, TURN.matrix, atol=1e-12)
    np.testing.assert_allclose([*back.bottom_in_tool_m, back.grasp_height_m, back.round_m], [0.001, 0.0, 0.05, 0.04, 0.035])
    assert held_from_messages([held_message(dataclasses.replace(held, round_m=None))]).round_m is None
    assert held_from_messages(Refer.Goal().held) is None
    for spoil in (
        lambda m: setattr(m.size, "x", -0.1),
        lambda m: setattr(m.grasp.orientation, "w", math.nan),
        lambda m: setattr(m.bottom_in_tool, "z", math.inf),
        lambda m: setattr(m, "grasp_height_m", math.nan),
        lambda m: setattr(m, "radius_m", math.nan),
        lambda m: setattr(m, "radius_m", -0.1),
    ):
        wrong = held_message(held)
        spoil(wrong)
        with pytest.raises(Refused) as refusal:
            held_from_messages([wrong])
        assert refusal.value.status is Status.BAD_REQUEST
