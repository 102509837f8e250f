"""An array that is not what a frame holds is refused by name, not called a defect of roboref."""

from __future__ import annotations

import numpy as np
import pytest

from roboref_node.frame import Frame
from roboref_node.geometry.camera import CameraModel
from roboref_node.geometry.transform import Transform
from roboref_node.goals.profile import load_profile
from roboref_node.pipeline import Pipeline
from roboref_node.status import Refused, Status
from roboref_node.task import Task, TaskKind

CAMERA = CameraModel(fx=60.0, fy=60.0, cx=31.5, cy=23.5, width=64, height=48)
RGB, DEPTH_M = np.zeros((48, 64, 3), np.uint8), np.ones((48, 64), np.float32)
POINT = Task(TaskKind.POINT, "this", "point at this")


@pytest.mark.parametrize(
    ("rgb", "words"),
    [
        (RGB.astype(np.float32), "the colour image is float32 (48, 64, 3)"),
        (RGB[..., 0], "uint8 (48, 64)"),
        (np.zeros((48, 64, 4), np.uint8), "uint8 (48, 64, 4)"),
        (RGB[::2, ::2], "uint8 (24, 32, 3); it must be uint8 (48, 64, 3), the camera's size"),
        (RGB.tolist(), "a list"),
    ],
)
@pytest.mark.parametrize("later", [False, True])
def test_a_colour_image_that_is_none(rgb, words: str, later: bool) -> None:
    with pytest.raises(Refused) as refusal:
        _ = Frame((lambda: rgb) if later else rgb, DEPTH_M, CAMERA).rgb
    assert refusal.value.status is Status.BAD_REQUEST and words in refusal.value.sentence


@pytest.mark.parametrize(
    ("depth_m", "words"),
    [
        ((1000 * DEPTH_M).astype(np.uint16), "uint16 (48, 64); it must be float32 (48, 64) in metres, the size of its camera (whole"),
        (DEPTH_M[..., None], "float32 (48, 64, 1)"),
        (DEPTH_M[:40], "float32 (40, 64); it must be float32 (48, 64) in metres, the size of its camera (depth that is not registered"),
        (DEPTH_M.tolist(), "a list"),
        (None, "a NoneType"),
    ],
)  # fmt: skip
def test_a_depth_image_that_is_none_is_an_answer_of_the_pipeline(depth_m, words: str) -> None:
    """Millimetres as whole numbers were 1000 m away; a list and a third axis ended as a defect."""
    profile = load_profile("ur5")
    transforms = dict.fromkeys(profile.frames_needed, Transform.identity())
    referral = Pipeline(None, profile).refer(Frame(RGB, depth_m, CAMERA), POINT, transforms, pixel=(30.0, 20.0))
    assert referral.status is Status.BAD_REQUEST and words in referral.sentence


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_metres_of_any_width_are_float32(kind) -> None:
    depth_m = Frame(RGB, DEPTH_M.astype(kind), CAMERA).depth_m
    assert depth_m.dtype == np.float32 and np.array_equal(depth_m, DEPTH_M)


def test_unregistered_depth_has_the_size_of_its_own_camera() -> None:
    small = Frame(RGB, DEPTH_M[::2, ::2], CAMERA, depth_camera=CAMERA.scaled(32, 24), color_from_depth=Transform.identity())
    assert small.depth_m.shape == (24, 32)
    with pytest.raises(Refused, match=r"float32 \(48, 64\); it must be float32 \(24, 32\)"):
        _ = Frame(RGB, DEPTH_M, CAMERA, depth_camera=CAMERA.scaled(32, 24), color_from_depth=Transform.identity()).depth_m
