"""``roboref explain`` answers again what ``replay --json`` and ``refer --json`` have stored, each question by itself."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from roboref_node.cli import main
from roboref_node.frame import Frame
from roboref_node.geometry.camera import CameraModel
from roboref_node.geometry.camera_file import save_camera
from roboref_node.geometry.transform import Transform
from roboref_node.replay import BagTopics
from roboref_node.replay.writing import RgbdBagWriter
from roboref_node.sim.cell import SimulatedCell

OPTICAL = "camera_color_optical_frame"
START_NS = 1_700_000_000_000_000_000


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[int]]:
    """One second of a camera that was moved by 5 cm in its middle, and a pixel of an object."""
    folder = tmp_path_factory.mktemp("moved") / "bag"
    with SimulatedCell(3) as cell:
        rendered = cell.render()
        rows, columns = np.nonzero(cell.truth().instance == 0)
        middle = int(np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2))
        with RgbdBagWriter(folder) as writer:
            for index in range(6):
                stamp_ns = START_NS + index * 200_000_000
                shift = Transform(np.array([0.0, 0.0, 0.0, 1.0]), np.array([0.05 * (index > 2), 0.0, 0.0]))
                writer.add_transform("base_link", OPTICAL, stamp_ns, shift @ cell.base_from_optical, static=False)
                writer.add_frame(Frame(rendered.rgb, rendered.depth_m, cell.camera, stamp_ns=stamp_ns, frame_id=OPTICAL))
    return folder, [int(columns[middle]), int(rows[middle])]


@pytest.fixture
def stored(bag: tuple[Path, list[int]], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    questions, path = tmp_path / "q.yaml", tmp_path / "answers.json"
    asked = [(0.2, "pick up the bottle"), (0.8, "point at the bottle"), (0.8, "point at the bottle"), (90.0, "point at the bottle")]
    lines = [f"  - {{at: {at}, instruction: '{text}', pixel: {bag[1]}}}" for at, text in asked]
    questions.write_text("\n".join(["questions:", *lines]))
    assert main(["replay", str(bag[0]), "--questions", str(questions), "--json"]) == 0
    path.write_text(capsys.readouterr().out.splitlines()[-1])
    return path


def explained(path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, dict[str, Any]]:
    code = main(["explain", str(path), "--json"])
    out = capsys.readouterr().out
    return code, out, json.loads(out.splitlines()[-1])


def test_each_question_of_a_replay_is_answered_again_by_itself(stored: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answers = json.loads(stored.read_text())["answers"]
    assert [a["status"] for a in answers] == ["OK", "OK", "OK", "FRAME_STALE"]
    code, _, told = explained(stored, capsys)
    assert code == 0, told
    assert [q["name"] for q in told["questions"]] == [f"answers, question {n}" for n in (1, 2, 3, 4)]
    assert [q["repeated"] for q in told["questions"]] == [True, True, True, False]
    assert "no frame" in told["questions"][3]["note"]


def test_topics_and_calibration_of_a_replay_are_those_of_its_explanation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A rectified camera under names of its own; its K, which is not that of the images, would give another point."""
    topics = BagTopics("/front/rgb", "/front/depth", "/front/rgb_info", "/front/depth_info")
    names = [f"--{name.replace('_', '-')}-topic={value}" for name, value in vars(topics).items()]
    with SimulatedCell(3) as cell:
        rendered = cell.render()
        with rectified_writer(tmp_path / "bag", topics) as writer:
            writer.add_transform("base_link", OPTICAL, START_NS, cell.base_from_optical, static=True)
            writer.add_frame(Frame(rendered.rgb, rendered.depth_m, cell.camera, stamp_ns=START_NS, frame_id=OPTICAL))
        (tmp_path / "q.yaml").write_text(f"questions: [{{instruction: point at the bottle, pixel: [{cell.camera.width // 2}, 400]}}]")
    stored = tmp_path / "answers.json"
    points = []
    for extra in (["--rectified"], []):
        assert main(["replay", str(tmp_path / "bag"), "--questions", str(tmp_path / "q.yaml"), *names, *extra, "--json"]) == 0
        stored.write_text(capsys.readouterr().out.splitlines()[-1])
        points.append(json.loads(stored.read_text())["answers"][0]["position_m"])
        code, out, told = explained(stored, capsys)
        assert code == 0 and told["questions"][0]["repeated"], out
    assert np.linalg.norm(np.subtract(*points)) > 0.01


def rectified_writer(folder: Path, topics: BagTopics) -> RgbdBagWriter:
    """A writer whose camera infos have a K of twice the focal length beside the right P."""

    class Writer(RgbdBagWriter):
        def _info(self, camera: CameraModel, stamp_ns: int, frame_id: str) -> Any:
            info = super()._info(camera, stamp_ns, frame_id)
            return dataclasses.replace(info, k=info.k * np.array([2, 1, 1, 1, 2, 1, 1, 1, 1]))

    return Writer(folder, topics)


def test_images_that_have_moved_are_named_and_the_rest_is_told(stored: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = json.loads(stored.read_text())
    for answer in data["answers"]:
        answer["provenance"]["source"]["bag"] = "/somewhere/else"
    stored.write_text(json.dumps(data))
    code, out, told = explained(stored, capsys)
    assert code == 0 and not any(question["repeated"] for question in told["questions"])
    assert "the bag /somewhere/else does not exist: give --rgb" in out and data["answers"][0]["sentence"] in out
    assert main(["explain", str(stored), "--rgb=a.png", "--depth=b.png", "--camera=c.yaml"]) == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("status", "FINE"),
        ("task", []),
        ("stamp_ns", "now"),
        ("pixel", [1]),
        ("timings_ms", {"lift": None}),
        ("timings_ms", {"lift": "long"}),
        ("goal.frame", None),
        ("goal.position_m", [1e300, 0, 0]),
        ("details.position_m", ["x", 0, 0]),
        ("provenance", "none"),
        ("provenance.source", "a bag"),
        ("provenance.source.bag", 5),
        ("provenance.source.topics", ["color"]),
        ("provenance.depth_sample", "near"),
        ("provenance.depth_sample.depth_m", "near"),
        ("provenance.goal_from_optical.position_m", [1e300, 0, 0]),
    ],
)
def test_an_answer_that_was_edited_is_refused_by_entry(
    stored: Path, name: str, value: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each of these ended with a traceback, or was drawn."""
    answer = json.loads(stored.read_text())["answers"][0]
    *groups, leaf = name.split(".")
    group = answer
    for part in groups:
        group = group[part]
    group[leaf] = value
    stored.write_text(json.dumps(answer))
    assert main(["explain", str(stored), "--out", str(tmp_path / "why.png")]) == 2
    told = capsys.readouterr().err
    assert f"{stored}: answer 1" in told and name in told


def test_far_numbers_are_drawn_on_a_grid_that_can_be_counted(stored: Path, tmp_path: Path) -> None:
    answer = json.loads(stored.read_text())["answers"][0]
    answer["goal"]["position_m"], answer["pixel"] = [9e8, 0, 0], [1e12, 0]
    stored.write_text(json.dumps(answer))
    assert main(["explain", str(stored), "--out", str(tmp_path / "why.png")]) == 1
    assert (tmp_path / "why.png").stat().st_size > 0


def test_a_goal_that_comes_out_differently_is_told_beside_the_stored_one(stored: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = json.loads(stored.read_text())
    x, y, z = data["answers"][0]["goal"]["position_m"]
    second = {**data["answers"][0], "sentence": "the goal of then", "goal": {**data["answers"][0]["goal"], "position_m": [x + 0.1, y, z]}}
    stored.write_text(json.dumps({"answers": [data["answers"][0], second]}))
    code, out, told = explained(stored, capsys)
    (difference,) = told["questions"][0]["differences"]
    assert code == 1 and difference.startswith("answer 2") and "100.0 mm off" in difference
    assert f"({x:.3f}, {y:.3f}, {z:.3f}) m in base_link, expected ({x + 0.1:.3f}, {y:.3f}, {z:.3f})" in out
    assert "recorded answer 2: OK: the goal of then" in out


def test_without_a_camera_pose_everything_is_in_the_optical_frame(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr("roboref_node.drawing.draw_explanation", lambda *a, **k: drawn.append((a, k)) or np.zeros((4, 4, 3), np.uint8))
    with SimulatedCell(3) as cell:
        rendered = cell.render()
        rows, columns = np.nonzero(cell.truth().instance == 0)
        middle = int(np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2))
        cv2.imwrite(str(tmp_path / "rgb.png"), rendered.rgb[..., ::-1])
        np.save(tmp_path / "depth.npy", rendered.depth_m)
        save_camera(cell.camera, tmp_path / "camera.yaml")
    files = [f"--{name}={tmp_path / file}" for name, file in (("rgb", "rgb.png"), ("depth", "depth.npy"), ("camera", "camera.yaml"))]
    pixel, why = f"--pixel={columns[middle]},{rows[middle]}", f"--explain={tmp_path / 'why.png'}"
    assert main(["refer", *files, pixel, why, "--role", "pick", "--json"]) == 0
    stored = tmp_path / "answer.json"
    stored.write_text(capsys.readouterr().out.splitlines()[-1])
    answer = json.loads(stored.read_text())
    (_, (shown,)), how = drawn[0]
    assert shown.sentence == answer["sentence"] and OPTICAL in shown.sentence
    np.testing.assert_allclose(how["goal_from_optical"].matrix, np.eye(4))
    code, out, told = explained(stored, capsys)
    assert code == 0 and answer["sentence"] in out and "in level" not in out and "on: the same\n" in out
    assert told["questions"][0]["uncompared"] == []
    answer["referrals"][0]["goal"]["position_m"][0] += 0.1
    stored.write_text(json.dumps(answer))
    code, _, told = explained(stored, capsys)
    assert code == 1 and "100.0 mm off" in told["questions"][0]["differences"][0]
    assert main(["explain", str(stored), "--out", str(tmp_path / "again.png")]) == 1 and cv2.imread(str(tmp_path / "again.png")) is not None
