"""What the replay node reads: bags with damage, and of ROS 1."""

from __future__ import annotations

from pathlib import Path

import pytest
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from roboref_node.ros.bag import Bag
from roboref_node.status import Refused


def _bag(folder: Path) -> Path:
    """Twenty messages, each compressed by itself; returns the file."""
    store = get_typestore(Stores.ROS2_JAZZY)
    writer = Writer(folder, version=9, storage_plugin=StoragePlugin.MCAP)
    writer.set_compression(CompressionMode.MESSAGE, CompressionFormat.ZSTD)
    with writer:
        connection = writer.add_connection("/words", "std_msgs/msg/String", typestore=store)
        for number in range(20):
            message = store.types["std_msgs/msg/String"]("word " * 50)
            writer.write(connection, number, store.serialize_cdr(message, "std_msgs/msg/String"))
    return next(folder.glob("*.mcap"))


def test_a_message_that_cannot_be_unpacked_is_a_refusal(tmp_path: Path) -> None:
    """zstd has an error of its own, which names neither the bag nor what is wrong with it."""
    file = _bag(tmp_path / "bag")
    whole = file.read_bytes()
    magic = b"\x28\xb5\x2f\xfd"  # of zstd
    last = whole.rindex(magic)
    file.write_bytes(whole[:last] + b"\xff" + whole[last + 1 :])
    bag = Bag(tmp_path / "bag")
    read = []
    with pytest.raises(Refused, match="no readable rosbag2"):
        read.extend(bag.messages())
    bag.close()
    file.write_bytes(whole)
    bag = Bag(tmp_path / "bag")
    assert len(list(bag.messages())) == 20
    bag.close()


def test_a_bag_of_ros_1_is_told_how_to_convert_it(tmp_path: Path) -> None:
    (tmp_path / "old.bag").touch()
    with pytest.raises(Refused, match=r"cannot read the bag .*old\.bag.*rosbags-convert"):
        Bag(tmp_path / "old.bag")
