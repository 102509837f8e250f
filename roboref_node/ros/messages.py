"""Answers of the core as ROS messages."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from geometry_msgs.msg import Point, Vector3
from roboref.msg import GraspCandidate as GraspCandidateMessage
from roboref.msg import HeldObject as HeldObjectMessage
from roboref.msg import Referral as ReferralMessage
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header

from roboref_node.geometry.transform import Transform
from roboref_node.goals.grasp import GraspCandidate
from roboref_node.goals.place import HeldObject
from roboref_node.pointing.pointer import PixelPoint
from roboref_node.referral import Referral
from roboref_node.ros.transforms import pose_from_transform, pose_stamped, transform_from_pose
from roboref_node.status import Refused, Status
from roboref_node.strict_json import to_json
from roboref_node.task import Task, TaskKind

_ECHO_CHARS = 20_000
"""A refusal repeats the instruction so that its sender knows it; not all of one of megabytes."""


def header(frame_id: str, stamp_ns: int) -> Header:
    """Header with a stamp in nanoseconds."""
    message = Header(frame_id=frame_id)
    message.stamp.sec, message.stamp.nanosec = divmod(int(stamp_ns), 1_000_000_000)
    return message


def in_frame(referral: Referral, target_frame: str, target_from_goal: Transform) -> Referral:
    """The same answer with every pose, position and covariance expressed in `target_frame`."""
    position, covariance = referral.position_m, referral.position_covariance_m2
    moved = None if position is None else target_from_goal.apply(position)
    turned = None if covariance is None else target_from_goal.rotate_covariance(np.reshape(covariance, (3, 3)))
    return dataclasses.replace(
        referral,
        goal_frame=target_frame,
        position_m=None if moved is None else (float(moved[0]), float(moved[1]), float(moved[2])),
        position_covariance_m2=None if turned is None else tuple(float(x) for x in turned.ravel()),
        goal=None if referral.goal is None else target_from_goal @ referral.goal,
        approach=None if referral.approach is None else target_from_goal @ referral.approach,
        grasps=tuple(
            dataclasses.replace(grasp, pose=target_from_goal @ grasp.pose, pregrasp=target_from_goal @ grasp.pregrasp)
            for grasp in referral.grasps
        ),
    )


def referral_message(
    referral: Referral, *, index: int, count: int, goal_from_optical: Transform | None, timings_ms: dict[str, float]
) -> ReferralMessage:
    """The answer to task `index` of `count`.

    Args:
        referral: The answer.
        index: Position of the task in its sentence.
        count: Tasks in the sentence.
        goal_from_optical: Turns the surface normal into the goal frame; None leaves it zero.
        timings_ms: Stages outside of the pipeline (waiting for the queue, the frame and the transform), put before its own.
    """
    message = _message(referral.status, referral.sentence)
    message.header = header(referral.goal_frame, referral.stamp_ns)
    message.camera_frame = referral.frame_id
    message.instruction = referral.task.instruction
    message.task_index, message.task_count = index, count
    message.role, message.expression = referral.task.kind.value, referral.task.expression
    if referral.pixel is not None:
        message.pixel_u, message.pixel_v = float(referral.pixel.u_px), float(referral.pixel.v_px)
        message.score = float(referral.pixel.score)
    if referral.position_m is not None:
        message.position.x, message.position.y, message.position.z = (float(x) for x in referral.position_m)
    if referral.position_covariance_m2 is not None:
        message.covariance = np.asarray(referral.position_covariance_m2, dtype=np.float64)
    if referral.surface is not None and goal_from_optical is not None:
        normal = goal_from_optical.rotate(referral.surface.normal)
        message.normal.x, message.normal.y, message.normal.z = (float(x) for x in normal)
    if referral.ok and referral.goal is not None:
        message.goal = pose_stamped(referral.goal, frame_id=referral.goal_frame, stamp_ns=referral.stamp_ns)
        if referral.approach is not None:
            message.approach = pose_stamped(referral.approach, frame_id=referral.goal_frame, stamp_ns=referral.stamp_ns)
        message.gripper_width_m = float(referral.gripper_width_m)
        message.grasps = [_grasp_message(grasp) for grasp in referral.grasps]
    message.answer_text = referral.answer_text
    message.provenance_json = to_json({**referral.provenance, "details": dict(referral.details)})
    timings = {**timings_ms, **referral.timings_ms}
    message.timing_names = list(timings)
    message.timing_ms = [float(value) for value in timings.values()]
    return message


def referral_from_message(message: ReferralMessage) -> Referral:
    """What a client of the refer node needs of an answer: status, sentence, pixel, point and poses.

    Raises:
        ValueError: A pose of an OK answer is no pose, or what it says of other turns is no list of numbers.
    """
    status = Status(message.status_text)
    kind = TaskKind(message.role) if message.role else TaskKind.POINT
    position = (float(message.position.x), float(message.position.y), float(message.position.z))
    known = not math.isnan(message.pixel_u)
    ok = status is Status.OK
    return Referral(
        task=Task(kind, message.expression, message.instruction),
        status=status,
        sentence=message.sentence,
        stamp_ns=int(message.header.stamp.sec) * 1_000_000_000 + int(message.header.stamp.nanosec),
        frame_id=message.camera_frame,
        goal_frame=message.header.frame_id,
        pixel=PixelPoint(float(message.pixel_u), float(message.pixel_v), float(message.score)) if known else None,
        answer_text=message.answer_text,
        position_m=None if math.isnan(position[0]) else position,
        goal=transform_from_pose(message.goal.pose) if ok else None,
        approach=transform_from_pose(message.approach.pose) if ok and message.approach.header.frame_id else None,
        gripper_width_m=float(message.gripper_width_m),
        grasps=tuple(_grasp(grasp) for grasp in message.grasps) if ok else (),
        timings_ms=dict(zip(message.timing_names, (float(ms) for ms in message.timing_ms), strict=True)),
        details={"turns_rad": _turns_rad(message.provenance_json)} if ok and kind is TaskKind.PLACE else {},
    )


def _turns_rad(provenance_json: str) -> list[float]:
    """By how much a place may be turned about the vertical; none when the answer does not say."""
    try:
        found = json.loads(provenance_json or "{}")
        turns = [float(turn) for turn in found.get("details", {}).get("turns_rad", [])]
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"the provenance of a place is not as this package writes it: {error}") from error
    if not all(map(math.isfinite, turns)):
        raise ValueError(f"a place may be turned by {turns} rad: these are no angles")
    return turns


def refusal_message(instruction: str, refused: Refused, provenance: Mapping[str, Any] = MappingProxyType({})) -> ReferralMessage:
    """The answer to a request that never became a task: a sentence that is not understood, a full queue, a node that is not active.

    Args:
        instruction: What was asked.
        refused: Why it is not answered.
        provenance: What is known of who refused it.
    """
    message = _message(refused.status, refused.sentence)
    message.instruction = instruction[:_ECHO_CHARS]
    message.task_count = 1
    message.provenance_json = to_json({**provenance, "details": refused.details})
    return message


def held_message(held: HeldObject) -> HeldObjectMessage:
    """What the gripper holds, for a question about a place.

    Raises:
        ValueError: It does not know how it was grasped.
    """
    if held.base_from_tool is None or held.bottom_in_tool_m is None:
        raise ValueError("a held object without the pose of its grasp cannot be told")
    message = HeldObjectMessage(grasp_height_m=float(held.grasp_height_m), grasp=pose_from_transform(held.base_from_tool))
    message.size = Vector3(**{axis: float(x) for axis, x in zip("xyz", held.size_m, strict=True)})
    message.bottom_in_tool = Point(**{axis: float(x) for axis, x in zip("xyz", held.bottom_in_tool_m, strict=True)})
    message.radius_m = float(held.round_m or 0.0)
    return message


def held_from_messages(messages: Sequence[HeldObjectMessage]) -> HeldObject | None:
    """The object of a goal's field ``held``; None when it is empty.

    Raises:
        Refused: BAD_REQUEST when a number is not finite, a size negative or the quaternion no rotation.
    """
    if not messages:
        return None
    message = messages[0]
    size, bottom = message.size, np.array([message.bottom_in_tool.x, message.bottom_in_tool.y, message.bottom_in_tool.z])
    try:
        grasp = transform_from_pose(message.grasp)
        held = HeldObject(np.array([size.x, size.y, size.z]), float(message.grasp_height_m), grasp, bottom, message.radius_m or None)
    except ValueError as error:
        raise Refused(Status.BAD_REQUEST, f"the held object of the request cannot be: {error}") from error
    if not (np.isfinite(message.radius_m) and message.radius_m >= 0.0):
        raise Refused(Status.BAD_REQUEST, f"the held object of the request cannot be: its radius_m is {message.radius_m:g}")
    if not np.isfinite(bottom).all():
        raise Refused(Status.BAD_REQUEST, f"the held object of the request cannot be: its base is at {bottom.tolist()} in the tool frame")
    return held


def cloud_message(points_m: np.ndarray[Any, np.dtype[Any]], *, frame_id: str, stamp_ns: int) -> PointCloud2:
    """Points, shape (N, 3) in metres, as an unorganised cloud of float32 x, y, z."""
    points = np.ascontiguousarray(points_m, dtype=np.float32).reshape(-1, 3)
    fields = [PointField(name=name, offset=4 * i, datatype=PointField.FLOAT32, count=1) for i, name in enumerate("xyz")]
    cloud = PointCloud2(header=header(frame_id, stamp_ns), height=1, width=len(points), fields=fields, is_dense=True)
    cloud.point_step, cloud.row_step = 12, 12 * len(points)
    cloud.data = points.tobytes()
    return cloud


def _message(status: Status, sentence: str) -> ReferralMessage:
    message = ReferralMessage(status=status.code, status_text=status.value, sentence=sentence)
    message.pixel_u = message.pixel_v = message.score = message.gripper_width_m = math.nan
    message.position.x = message.position.y = message.position.z = math.nan
    message.covariance = np.array([-1.0] + [0.0] * 8)
    return message


def _grasp_message(grasp: Any) -> GraspCandidateMessage:
    return GraspCandidateMessage(
        pose=pose_from_transform(grasp.pose),
        pregrasp=pose_from_transform(grasp.pregrasp),
        width_m=float(grasp.width_m),
        score=float(grasp.score),
        kind=str(getattr(grasp.kind, "value", grasp.kind)),
    )


def _grasp(message: GraspCandidateMessage) -> GraspCandidate:
    pose, pregrasp = transform_from_pose(message.pose), transform_from_pose(message.pregrasp)
    unknown = math.nan
    return GraspCandidate(pose, pregrasp, float(message.width_m), float(message.score), str(message.kind), unknown, unknown)
