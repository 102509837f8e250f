"""Every encoding that sensor_msgs names, as colour and as depth: understood, or refused by its name."""

import pytest

pytest.importorskip("roboref.action", reason="needs ROS 2 and the built interfaces (make setup, . ./env.sh)")
from fault_camera import HEIGHT, WIDTH
from faults_of_the_encodings import BYTES, COLOUR, DEPTH, as_encoding
from sensor_msgs.msg import Image

from roboref_node.rgbd import decode_color, decode_depth_image
from roboref_node.status import Refused, Status


@pytest.mark.parametrize("encoding", BYTES)
def test_colour(encoding):
    message = as_encoding(encoding)(Image(width=WIDTH, height=HEIGHT))
    if encoding in COLOUR:
        assert decode_color(message).shape == (HEIGHT, WIDTH, 3)
        return
    with pytest.raises(Refused, match=f"'{encoding}' are not understood") as caught:
        decode_color(message)
    assert caught.value.status is Status.BAD_REQUEST


@pytest.mark.parametrize("encoding", BYTES)
def test_depth(encoding):
    message = as_encoding(encoding)(Image(width=WIDTH, height=HEIGHT))
    if encoding in DEPTH:
        assert decode_depth_image(message).shape == (HEIGHT, WIDTH)
        return
    with pytest.raises(Refused, match=f"'{encoding}' is not supported") as caught:
        decode_depth_image(message)
    assert caught.value.status is Status.BAD_REQUEST
