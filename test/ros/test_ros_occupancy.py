"""Occupancy grid messages: what they hold is taken as it is, and what cannot be a map is refused in words."""

from __future__ import annotations

from array import array

import numpy as np
import pytest
from nav_msgs.msg import OccupancyGrid

from roboref_node.ros.occupancy import map_from_message
from roboref_node.status import Refused, Status


def grid() -> OccupancyGrid:
    message = OccupancyGrid()
    message.header.frame_id = "map"
    message.info.resolution, message.info.width, message.info.height = 0.5, 3, 2
    message.info.origin.position.x, message.info.origin.position.y = 10.0, 20.0
    message.info.origin.orientation.z = message.info.origin.orientation.w = float(np.sqrt(0.5))
    message.data = array("b", [0, 0, 100, -1, 0, 0])
    return message


def test_a_turned_map_has_its_rows_along_its_own_y() -> None:
    occupancy = map_from_message(grid(), "map")
    # Turned by a quarter: the grid's x runs along the map's y, its y along the map's -x.
    index, inside = occupancy.cells([[9.75, 21.25], [9.25, 20.25], [10.25, 20.25]])
    assert index[:2].tolist() == [[2, 0], [0, 1]] and inside.tolist() == [True, True, False]
    assert [int(occupancy.data[row, column]) for column, row in index[:2]] == [100, -1]


def test_what_is_no_map_is_refused() -> None:
    no_rotation, far, other, short, coarse, odd = (grid() for _ in range(6))
    no_rotation.info.origin.orientation.z = no_rotation.info.origin.orientation.w = 0.0
    far.info.origin.position.x = float("nan")
    other.header.frame_id = "odom"
    short.info.width = 4
    coarse.info.resolution = 0.0
    odd.data = array("b", [0, 0, 101, -1, 0, 0])
    for message, word in (
        (no_rotation, "quaternion"),
        (far, "finite"),
        (other, "odom"),
        (short, "cells"),
        (coarse, "resolution"),
        (odd, "101"),
    ):
        with pytest.raises(Refused, match=word) as caught:
            map_from_message(message, "map")
        assert caught.value.status is Status.BAD_REQUEST
