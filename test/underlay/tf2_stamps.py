"""Transforms of the tf2 tests: made, stored and read."""

import math

import numpy as np
from geometry_msgs.msg import TransformStamped
from rclpy.time import Time
from scipy.spatial.transform import Rotation
from tf2_ros import Buffer


def at(seconds):
    return Time(nanoseconds=round(seconds * 1e9))


def stamped(parent, child, seconds, xyz=(0.0, 0.0, 0.0), yaw=0.0, quaternion=None):
    message = TransformStamped()
    message.header.frame_id, message.child_frame_id = parent, child
    message.header.stamp = at(seconds).to_msg()
    t, q = message.transform.translation, message.transform.rotation
    t.x, t.y, t.z = (float(value) for value in xyz)
    q.x, q.y, q.z, q.w = quaternion or (0.0, 0.0, math.sin(yaw / 2), math.cos(yaw / 2))
    return message


def filled(*transforms, static=(), **options):
    buffer = Buffer(**options)
    for transform in transforms:
        buffer.set_transform(transform, "test")
    for transform in static:
        buffer.set_transform_static(transform, "test")
    return buffer


def xyz(message):
    t = message.transform.translation
    return np.array([t.x, t.y, t.z])


def rotation(message):
    q = message.transform.rotation
    return Rotation.from_quat([q.x, q.y, q.z, q.w])


def yaw(message):
    return rotation(message).as_euler("xyz")[2]


def seconds_of(message):
    return Time.from_msg(message.header.stamp).nanoseconds / 1e9


MOVING = (stamped("base", "camera", 10, (10, 0, 0)), stamped("base", "camera", 11, (11, 0, 0)))
