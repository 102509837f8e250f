"""Markers for RViz and Foxglove: the point with its uncertainty, the object's box, the goal's axes and the sentence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from visualization_msgs.msg import Marker, MarkerArray

from roboref_node.geometry.transform import Transform
from roboref_node.referral import Referral
from roboref_node.ros.messages import header
from roboref_node.ros.transforms import pose_from_transform

_AXIS_M, _SHAFT_M, _TEXT_M = 0.08, 0.006, 0.03
_GREEN, _RED, _WHITE = (0.2, 0.9, 0.2), (0.9, 0.2, 0.2), (1.0, 1.0, 1.0)
_MIN_SPHERE_M = 0.004


def markers(referrals: Sequence[Referral]) -> MarkerArray:
    """One array that replaces everything drawn before."""
    array = MarkerArray(markers=[Marker(action=Marker.DELETEALL)])
    for index, referral in enumerate(referrals):
        array.markers.extend(_one(referral, namespace=f"{index}_{referral.task.kind.value}"))
    return array


def _one(referral: Referral, *, namespace: str) -> list[Marker]:
    result: list[Marker] = []

    def add(kind: int, pose: Transform, scale: ArrayLike, color: tuple[float, float, float], alpha: float, frame: str = "") -> Marker:
        marker = Marker(ns=namespace, id=len(result), type=kind, action=Marker.ADD)
        marker.header = header(frame or referral.goal_frame, referral.stamp_ns)
        marker.pose = pose_from_transform(pose)
        marker.scale.x, marker.scale.y, marker.scale.z = (float(s) for s in np.asarray(scale))
        marker.color.r, marker.color.g, marker.color.b = color
        marker.color.a = alpha
        result.append(marker)
        return marker

    color = _GREEN if referral.ok else _RED
    if referral.position_m is not None:
        position = np.asarray(referral.position_m)
        ellipsoid, axes_m = _ellipsoid(referral.position_covariance_m2)
        add(Marker.SPHERE, Transform.from_rotation(ellipsoid, position), axes_m, color, 0.8)
        text_at = Transform(np.array([0.0, 0.0, 0.0, 1.0]), position + [0.0, 0.0, 0.12])
        text = add(Marker.TEXT_VIEW_FACING, text_at, (0.0, 0.0, _TEXT_M), _WHITE, 1.0)
        text.text = f"{referral.task.expression}\n{referral.status.value}"
    box = None if referral.segment is None else referral.segment.box
    if box is not None:
        add(Marker.CUBE, Transform.from_rotation(box.rotation, box.center_m), box.size_m, color, 0.25, frame=referral.frame_id)
    if referral.ok:
        for pose, alpha in ((referral.goal, 1.0), (referral.approach, 0.4)):
            if pose is None:
                continue
            for axis, axis_color in enumerate(((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))):
                # An arrow points along the x of its pose: turn x onto the axis by a cyclic permutation.
                turn = Transform.from_rotation(np.roll(np.eye(3), axis, axis=0), np.zeros(3))
                add(Marker.ARROW, pose @ turn, (_AXIS_M, _SHAFT_M, _SHAFT_M), axis_color, alpha)
    return result


def _ellipsoid(covariance_m2: tuple[float, ...] | None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rotation and diameters of the 2-sigma ellipsoid, never smaller than what can be seen."""
    if covariance_m2 is None:
        return np.eye(3), np.full(3, 0.02)
    values, vectors = np.linalg.eigh(np.reshape(covariance_m2, (3, 3)))
    if np.linalg.det(vectors) < 0:
        vectors[:, 0] *= -1
    return vectors, np.maximum(4.0 * np.sqrt(np.maximum(values, 0.0)), _MIN_SPHERE_M)
