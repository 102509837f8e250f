"""Every answer says what it was made from: refusals that come before there is a frame, a transform or a task as well."""

import json

import pytest

pytest.importorskip("roboref.action", reason="needs ROS 2 and the built interfaces (make setup, . ./env.sh)")
from fault_camera import BASE, BASE_FROM_OPTICAL, BOX_PX, CAMERA, OPTICAL, pictures
from fault_fuzz import Given

from roboref_node.goals.profile import load_profile
from roboref_node.pipeline import Pipeline
from roboref_node.pointing.registry import load_pointer
from roboref_node.rgbd import RgbdPair
from roboref_node.ros.answering import Answerer
from roboref_node.ros.camera_info import info_from_camera
from roboref_node.ros.image import color_message, depth_message
from roboref_node.ros.requests import Request
from roboref_node.ros.settings import ReferSettings
from roboref_node.ros.transform_buffer import TransformBuffer
from roboref_node.ros.transforms import TransformSource, message_from_transform
from roboref_node.status import Refused, Status

STAMP_NS, DEPTH_NS = 5_000_000_000, 5_004_000_000


class NoCamera(Given):
    """A camera that has brought nothing."""

    def __init__(self):
        super().__init__(None, None, None)

    def wait(self, max_age_s, timeout_s, *, canceled):
        raise Refused(Status.NO_CAMERA, "nobody publishes")


def camera():
    rgb, depth_mm = pictures()
    info = info_from_camera(CAMERA, stamp_ns=STAMP_NS, frame_id=OPTICAL)
    color, depth = color_message(rgb, stamp_ns=STAMP_NS, frame_id=OPTICAL), depth_message(depth_mm, stamp_ns=DEPTH_NS, frame_id=OPTICAL)
    return Given(RgbdPair(color, depth), info, info)


@pytest.fixture(scope="module")
def pipeline():
    return Pipeline(load_pointer("nano"), load_profile("ur5"))


@pytest.fixture
def answered(graph, pipeline):
    """The message that answers an instruction, and its provenance."""
    buffers = []

    def ask(text, given, *, placed=True, pixel=None):
        buffers.append(buffer := TransformBuffer(30.0, graph.node))
        if placed:
            buffer.set_transform_static(message_from_transform(BASE_FROM_OPTICAL, parent=BASE, child=OPTICAL, stamp_ns=0), "test")
        answerer = Answerer(pipeline, given, TransformSource(buffer, 0.0), lambda: ReferSettings(tf_timeout_s=0.0, frame_timeout_s=0.0))
        message = answerer.answer(Request(text, finish=lambda *_: None, pixel=pixel)).messages[0]
        return message, json.loads(message.provenance_json)

    yield ask
    for buffer in buffers:
        buffer.close()


@pytest.mark.parametrize(
    ("status", "text", "given", "more"),
    [
        ("BAD_REQUEST", "?!", camera, {}),
        ("NO_CAMERA", "pick up the red box", NoCamera, {}),
        ("TF_UNAVAILABLE", "pick up the red box", camera, {"placed": False}),
        ("OUT_OF_IMAGE", "pick up the red box", camera, {"pixel": (-5.0, 3.0)}),
        ("OK", "point at the red box", camera, {"pixel": BOX_PX}),
    ],
)
def test_program_settings_model_and_weights_are_in_every_answer(answered, pipeline, status, text, given, more):
    message, provenance = answered(text, given(), **more)
    assert message.status_text == status and message.instruction == text, message.sentence
    assert provenance["model"] == "nano" and len(provenance["weights_sha256"]) == 64
    assert provenance["settings_sha256"] == pipeline.settings_sha256 and provenance["robot"] == "ur5" and provenance["roboref"]
    if status != "BAD_REQUEST":
        assert "queue" in message.timing_names and message.role in ("pick", "point")


def test_a_frame_that_was_seen_is_named_with_both_stamps_though_tf_refused_it(answered):
    message, provenance = answered("pick up the red box", camera(), placed=False)
    assert message.header.stamp.sec == 5 and message.camera_frame == OPTICAL and provenance["depth_stamp_ns"] == DEPTH_NS
    assert "goal_from_optical" not in provenance


def test_an_answer_holds_pixel_depth_transform_and_the_hash_of_the_prompt(answered):
    message, provenance = answered("point at the red box", camera(), pixel=BOX_PX)
    assert provenance["pixel_given"] and "prompt_sha256" not in provenance and (message.pixel_u, message.pixel_v) == BOX_PX
    assert provenance["depth_sample"]["depth_m"] == pytest.approx(0.75) and provenance["goal_from_optical"]["position_m"][2] == 0.8
    asked, provenance = answered("point at the red box", camera())
    assert len(provenance["prompt_sha256"]) == 64 and "pixel_given" not in provenance and "model" in asked.timing_names
