"""Every referral says what it was made from, refusals included: it must be possible to explain and to repeat it later."""

import numpy as np
import pytest

from roboref_node.frame import Frame
from roboref_node.geometry.camera import CameraModel
from roboref_node.geometry.transform import Transform
from roboref_node.goals.profile import load_profile
from roboref_node.pipeline import Pipeline
from roboref_node.pointing.registry import load_pointer
from roboref_node.status import Status
from roboref_node.task import Task, TaskKind

CAMERA = CameraModel(300.0, 300.0, 159.5, 119.5, 320, 240)
DOWN = Transform.from_rotation(np.array([[0.0, -1, 0], [-1, 0, 0], [0, 0, -1]]), [0.5, 0.1, 0.8])


def frame():
    rgb = np.full((240, 320, 3), 120, np.uint8)
    depth_m = np.full((240, 320), 0.8, np.float32)
    rgb[100:130, 150:180], depth_m[100:130, 150:180] = (210, 30, 30), 0.74
    depth_m[101, 151] = np.nan
    return Frame(rgb, depth_m, CAMERA, stamp_ns=12_000_000_345, skew_ns=-1000)


@pytest.fixture(scope="module")
def nano():
    return load_pointer("nano")


def refer(pointer, expression, pixel=None):
    task = Task(TaskKind.POINT, expression, f"point at {expression}")
    return Pipeline(pointer, load_profile("ur5")).refer(frame(), task, {"base_link": DOWN}, pixel=pixel).to_dict()


def test_a_given_pixel_carries_stamps_transform_depth_and_times():
    answer = refer(None, "the box", pixel=(165.0, 115.0))
    assert answer["status"] == "OK" and answer["task"]["instruction"] == "point at the box", answer
    found = answer["provenance"]
    assert answer["stamp_ns"] == 12_000_000_345 and found["depth_stamp_ns"] == 12_000_000_345 - 1000
    assert found["depth_sample"] == {
        "pixel": [165, 115],
        "depth_m": pytest.approx(0.74),
        "median_5x5_m": pytest.approx(0.74),
        "known_5x5": 25,
    }
    assert found["goal_from_optical"]["position_m"] == pytest.approx([0.5, 0.1, 0.8])
    assert {"roboref", "robot", "settings_sha256", "camera"} <= set(found) and {"lift", "plan", "total"} <= set(answer["timings_ms"])
    assert answer["surface"]["inliers"] > 0 and answer["surface"]["position_m"][2] == pytest.approx(0.74, abs=1e-3)


@pytest.mark.parametrize("expression", ["the red box", "the flux capacitor"])
def test_answers_and_refusals_of_a_model_carry_its_hashes(nano, expression):
    answer = refer(nano, expression)
    assert (answer["status"] == Status.NOT_FOUND.value) == (expression == "the flux capacitor"), answer
    found = answer["provenance"]
    assert found["model"] == "nano" and len(found["weights_sha256"]) == 64 and len(found["prompt_sha256"]) == 64
    assert "provenance" not in answer["details"] and answer["timings_ms"]["model"] > 0


def test_a_hole_and_a_pixel_outside_are_told_as_they_are():
    assert refer(None, "the box", pixel=(151.0, 101.0))["provenance"]["depth_sample"]["depth_m"] is None
    outside = refer(None, "the box", pixel=(900.0, 101.0))
    assert outside["status"] == "OUT_OF_IMAGE" and outside["provenance"]["depth_sample"] is None
