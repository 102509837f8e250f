from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from roboref_node.doctor.host import Host
from roboref_node.doctor.weights import check_model
from roboref_node.frame import Frame
from roboref_node.geometry.camera import CameraModel
from roboref_node.geometry.transform import Transform
from roboref_node.pointing.pointer import PixelPoint, PointAnswer, ReasoningStep
from roboref_node.pointing.registry import load_pointer
from roboref_node.pointing.several_looks import SeveralLooks, SeveralLooksSettings
from roboref_node.status import Refused, Status
from roboref_node.task import Task, TaskKind

WIDTH, HEIGHT = 320, 240
CAMERA = CameraModel(280.0, 280.0, 159.5, 119.5, WIDTH, HEIGHT)
PICK, PLACE = Task(TaskKind.PICK, "the dot", "x"), Task(TaskKind.PLACE, "beside the dot", "x")


def picture(u: int = 200, v: int = 150) -> Frame:
    rgb = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    rgb[v - 2 : v + 3, u - 2 : u + 3] = 255
    depth = np.full((HEIGHT, WIDTH), 1.0, np.float32)
    depth[v, u] = 0.5
    return Frame(rgb, depth, CAMERA)


class FindsTheDot:
    """Points at the white dot, wherever the picture shows it; `change` alters answer number n."""

    name = "dots"

    def __init__(self, change: Callable[[int, PointAnswer], PointAnswer] = lambda number, answer: answer) -> None:
        self.frames: list[Frame] = []
        self.change = change

    def point(self, frame: Frame, task: Task, *, canceled: Callable[[], bool] | None = None) -> PointAnswer:
        self.frames.append(frame)
        rows, columns = np.nonzero(frame.rgb[..., 0])
        u, v = float(columns.mean()), float(rows.mean())
        step = ReasoningStep("Position", "dot", ((u / frame.rgb.shape[1], v / frame.rgb.shape[0]),))
        steps = (step, ReasoningStep("Size", "dot", ((0.1,),)))
        answer = PointAnswer((PixelPoint(u, v, 0.5),), f"({u}, {v})", steps, {"model": 2.0}, {"model": self.name, "weights_sha256": "w"})
        return self.change(len(self.frames), answer)


def several(pointer: FindsTheDot, **settings: float) -> SeveralLooks:
    return SeveralLooks(pointer, SeveralLooksSettings("dots", **{"agree": 3, **settings}), "careful")  # type: ignore[arg-type]


def nothing(number: int, answer: PointAnswer) -> PointAnswer:
    raise Refused(Status.NOT_FOUND, "Nothing there.", provenance=dict(answer.provenance))


def test_answers_of_crops_are_points_of_the_picture_and_agreement_ends_the_asking() -> None:
    pointer = FindsTheDot(lambda number, answer: nothing(number, answer) if number == 1 else answer)
    answer = several(pointer).point(picture(), PICK)
    assert len(pointer.frames) == 4
    assert (answer.points[0].u_px, answer.points[0].v_px, answer.points[0].score) == (200.0, 150.0, 0.5)
    assert answer.steps[0].values[0] == pytest.approx((200 / WIDTH, 150 / HEIGHT))
    assert answer.steps[1].values == ((0.1,),)
    assert answer.timings_ms == {"model": 6.0}
    assert answer.provenance == {"model": "careful", "weights_sha256": "w", "looks": "4", "looks_agreeing": "3"}
    agreed = FindsTheDot()
    assert several(agreed).point(picture(), PICK).provenance["looks"] == "3"
    assert len(agreed.frames) == 3


def test_a_crop_keeps_colour_depth_and_rays_together() -> None:
    pointer = FindsTheDot()
    several(pointer, count=5, agree=5).point(picture(), PICK)
    whole, *crops = pointer.frames
    assert whole.rgb.shape == (HEIGHT, WIDTH, 3) and len(crops) == 4
    for crop in crops:
        assert crop.rgb.shape[:2] == crop.depth_m.shape == (228, 304) == (crop.camera.height, crop.camera.width)
        v, u = np.argwhere(crop.depth_m == 0.5)[0]
        np.testing.assert_allclose(crop.camera.rays([float(u), float(v)]), CAMERA.rays([200.0, 150.0]))
    small = CAMERA.scaled(60, 50)
    apart = Frame(picture().rgb, np.ones((50, 60), np.float32), CAMERA, depth_camera=small, color_from_depth=Transform.identity())
    unregistered = FindsTheDot()
    several(unregistered).point(apart, PICK)
    assert all(frame.depth_m is apart.depth_m and frame.depth_camera is small for frame in unregistered.frames)


def jumping(number: int, answer: PointAnswer) -> PointAnswer:
    return PointAnswer((PixelPoint(60.0 * number, 100.0),), answer.text, provenance=answer.provenance)


def test_a_guess_that_jumps_is_ambiguous_for_an_object_and_a_place_is_the_middle_of_the_answers() -> None:
    with pytest.raises(Refused) as caught:
        several(FindsTheDot(jumping)).point(picture(), PICK)
    assert caught.value.status is Status.AMBIGUOUS and "1 agree" in caught.value.sentence and "needed are 3" in caught.value.sentence
    assert len(caught.value.details["points_px"]) == 4
    assert caught.value.details["provenance"]["looks_agreeing"] == "1"
    two_apart = FindsTheDot(lambda number, answer: jumping(number, answer) if number < 3 else answer)
    assert several(two_apart).point(picture(), PLACE).points[0] == PixelPoint(200.0, 150.0, 0.5)


def test_nothing_is_an_answer_like_any_other() -> None:
    once = FindsTheDot(lambda number, answer: nothing(number, answer) if number == 2 else answer)
    assert several(once).point(picture(), PICK).points[0].u_px == 200.0
    mostly = FindsTheDot(lambda number, answer: answer if number == 2 else nothing(number, answer))
    with pytest.raises(Refused) as caught:
        several(mostly).point(picture(), PICK)
    assert caught.value.status is Status.NOT_FOUND
    assert caught.value.details["provenance"] == {"model": "careful", "weights_sha256": "w", "looks": "4", "looks_agreeing": "3"}


def test_answers_that_nobody_can_read_stay_what_they_are() -> None:
    def garble(number: int, answer: PointAnswer) -> PointAnswer:
        raise Refused(Status.UNPARSEABLE, f"Garbled {number}.")

    with pytest.raises(Refused) as caught:
        several(FindsTheDot(garble)).point(picture(), PICK)
    assert caught.value.status is Status.UNPARSEABLE and caught.value.sentence == "Garbled 1."


@pytest.mark.parametrize("refusal", [Refused(Status.MODEL_UNAVAILABLE, "down"), Refused(Status.NOT_FOUND, "word", unknown_words=["zzz"])])
def test_what_no_other_look_can_mend_ends_at_once(refusal: Refused) -> None:
    def fail(number: int, answer: PointAnswer) -> PointAnswer:
        raise refusal

    pointer = FindsTheDot(fail)
    with pytest.raises(Refused) as caught:
        several(pointer).point(picture(), PICK)
    assert caught.value is refusal and len(pointer.frames) == 1


def test_the_shipped_file_asks_the_nano_and_wrong_settings_are_named(tmp_path) -> None:
    pointer = load_pointer("nano_careful")
    assert isinstance(pointer, SeveralLooks)
    assert pointer.identity["model"] == "nano_careful" and len(pointer.identity["weights_sha256"]) == 64
    for settings, word in (("count: 9", "count"), ("agree: 5", "agree"), ("crop: 1.0", "crop"), ("model: nano_careful", "once")):
        file = tmp_path / "wrong.yaml"
        key = settings.split(":")[0]
        lines = [line for line in ("model: nano", "count: 4", "agree: 3") if not line.startswith(f"{key}:")]
        file.write_text("\n".join(["backend: several_looks", settings, *lines]))
        with pytest.raises(Refused) as caught:
            load_pointer(file)
        assert caught.value.status is Status.BAD_REQUEST and word in caught.value.sentence


def test_the_doctor_looks_at_the_model_that_is_asked() -> None:
    findings = {finding.id: finding for finding in check_model(Host(), "nano_careful")}
    assert findings["model_hash"].level.value == "ok" and findings["model"].what == "the model nano_careful loads"
