"""Occupancy grid messages as maps for the stand-off planner."""

from __future__ import annotations

from array import array

import numpy as np
from nav_msgs.msg import OccupancyGrid

from roboref_node.goals.standoff import OccupancyMap
from roboref_node.ros.messages import header
from roboref_node.ros.transforms import pose_from_transform, transform_from_pose
from roboref_node.status import Refused, Status


def map_from_message(message: OccupancyGrid, goal_frame: str) -> OccupancyMap:
    """The map in `goal_frame`.

    Raises:
        Refused: BAD_REQUEST when the grid is given in another frame, its size does not fit its data, or its origin is no pose.
    """
    if message.header.frame_id != goal_frame:
        raise Refused(
            Status.BAD_REQUEST, f"the map is in frame '{message.header.frame_id}', goals are in '{goal_frame}' (profile.goal_frame)"
        )
    width, height = int(message.info.width), int(message.info.height)
    data = np.asarray(message.data, dtype=np.int8)
    if data.size != width * height or data.size == 0:
        raise Refused(Status.BAD_REQUEST, f"the map has {data.size} cells, its header says {width}x{height}")
    try:
        origin = transform_from_pose(message.info.origin)
    except ValueError as error:
        raise Refused(Status.BAD_REQUEST, f"the origin of the map in '{goal_frame}' is unusable: {error}") from None
    return OccupancyMap(data=data.reshape(height, width), resolution_m=float(message.info.resolution), origin=origin)


def message_from_map(occupancy: OccupancyMap, *, frame_id: str, stamp_ns: int) -> OccupancyGrid:
    """A map as a message, the inverse of `map_from_message`."""
    data = np.asarray(occupancy.data, dtype=np.int8)
    message = OccupancyGrid(header=header(frame_id, stamp_ns))
    message.info.resolution = float(occupancy.resolution_m)
    message.info.height, message.info.width = data.shape
    message.info.origin = pose_from_transform(occupancy.origin)
    message.data = array("b", data.tobytes())
    return message
