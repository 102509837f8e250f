"""Which topics of a bag are a camera, and what is said of one that lacks some."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from roboref_node.cli import main
from roboref_node.frame import Frame
from roboref_node.geometry.camera import CameraModel
from roboref_node.geometry.transform import Transform
from roboref_node.replay import BagTopics, RgbdBag
from roboref_node.replay.writing import RgbdBagWriter
from roboref_node.status import Refused, Status

TOPICS = BagTopics.of("/front/camera")
CAMERA = CameraModel(300.0, 300.0, 79.5, 59.5, 160, 120)


def write(folder: Path, stamps_ns: list[int], topics: BagTopics = TOPICS) -> Path:
    """A camera that looks straight down at a table 0.6 m away."""
    down = Transform.from_rotation(np.diag([1.0, -1.0, -1.0]), np.array([0.5, 0.0, 0.6]))
    with RgbdBagWriter(folder, topics) as writer:
        writer.add_transform("base_link", "camera_color_optical_frame", 0, down, static=True)
        for stamp_ns in stamps_ns:
            writer.add_frame(Frame(np.zeros((120, 160, 3), np.uint8), np.full((120, 160), 0.6, np.float32), CAMERA, stamp_ns=stamp_ns))
    return folder


@pytest.mark.parametrize("camera", ["/camera", "camera", "/camera/"])
def test_without_a_word_it_is_the_camera_of_the_nodes(camera: str) -> None:
    assert BagTopics.of(camera) == BagTopics.of() == BagTopics()


def test_a_calibration_lies_beside_its_images() -> None:
    topics = BagTopics.of("/", color="/left/rgb/image_rect/compressed", depth="/left/depth/image/compressedDepth", depth_info="/d")
    assert topics == BagTopics("/left/rgb/image_rect/compressed", "/left/depth/image/compressedDepth", "/left/rgb/camera_info", "/d")
    assert BagTopics.of("/").color == "/color/image_raw"


def test_a_namespace_is_enough(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As for `roboref record` and `roboref doctor`; realsense-ros publishes below /camera/camera."""
    bag, questions = write(tmp_path / "bag", [10**9]), tmp_path / "q.yaml"
    questions.write_text("questions: [{instruction: point at the table, pixel: [80, 60]}]")
    assert main(["replay", str(bag), "--questions", str(questions), "--camera", "front/camera", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["answers"][0]["status"] == "OK"
    assert main(["replay", str(bag), "--questions", str(questions)]) == 2
    assert "its image topics: /front/camera/color/image_raw" in capsys.readouterr().err


def test_a_missing_calibration_is_told_with_those_there_are(tmp_path: Path) -> None:
    topics = BagTopics(TOPICS.color, TOPICS.depth, "/elsewhere", TOPICS.depth_info)
    with RgbdBag(write(tmp_path / "bag", [10**9]), topics) as bag, pytest.raises(Refused) as refusal:
        bag.frame_at(10**9)
    assert refusal.value.status is Status.NO_CAMERA
    assert "/elsewhere; its calibrations: /front/camera/color/camera_info, " in refusal.value.sentence


def test_one_topic_is_not_colour_and_depth(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="is given for colour and for depth"):
        RgbdBag(write(tmp_path / "bag", [10**9]), BagTopics.of("/front/camera", depth=TOPICS.color))


@pytest.mark.parametrize(
    ("stamps_ns", "words"),
    [([10**9, 3 * 10**9], "the bag holds 2 images in 2.000 s"), ([0, 0, 0], "the bag holds 3 images, all with the stamp 0.000 s")],
)
def test_a_time_outside_is_told_with_how_long_the_bag_is(stamps_ns: list[int], words: str, tmp_path: Path) -> None:
    with RgbdBag(write(tmp_path / "bag", stamps_ns), TOPICS) as bag, pytest.raises(Refused, match=words):
        bag.frame_at(9 * 10**9)
