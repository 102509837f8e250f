"""Occupancy grid messages as maps for the stand-off planner."""

from __future__ import annotations

import numpy as np
from nav_msgs.msg import OccupancyGrid

from roboref_node.geometry.transform import Transform
from roboref_node.goals.standoff import OccupancyMap
from roboref_node.status import Refused, Status


def map_from_message(message: OccupancyGrid, goal_frame: str) -> OccupancyMap:
    """The map in `goal_frame`.

    Raises:
        Refused: BAD_REQUEST when the grid is given in another frame or its size does not fit its data.
    """
    if message.header.frame_id != goal_frame:
        raise Refused(
            Status.BAD_REQUEST, f"the map is in frame '{message.header.frame_id}', goals are in '{goal_frame}' (profile.goal_frame)"
        )
    width, height = int(message.info.width), int(message.info.height)
    data = np.asarray(message.data, dtype=np.int8)
    if data.size != width * height or data.size == 0:
        raise Refused(Status.BAD_REQUEST, f"the map has {data.size} cells, its header says {width}x{height}")
    q, p = message.info.origin.orientation, message.info.origin.position
    origin = Transform(np.array([q.x, q.y, q.z, q.w]), np.array([p.x, p.y, p.z]))
    return OccupancyMap(data=data.reshape(height, width), resolution_m=float(message.info.resolution), origin=origin)
