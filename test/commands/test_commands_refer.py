"""``roboref refer`` on files: the JSON contract, units, camera files, refusals with an exit status."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from roboref_node.cli import main
from roboref_node.geometry.camera_file import save_camera
from roboref_node.sim.cell import SimulatedCell

KEYS = {"status", "sentence", "task", "pixel", "position_m", "goal", "approach", "gripper_width_m", "timings_ms", "provenance", "referrals"}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("frame")
    with SimulatedCell(3) as cell:
        rendered = cell.render()
        cv2.imwrite(str(folder / "rgb.png"), rendered.rgb[..., ::-1])
        np.save(folder / "depth.npy", rendered.depth_m)
        millimetres = np.nan_to_num(np.rint(1e3 * rendered.depth_m), nan=0.0).astype(np.uint16)
        cv2.imwrite(str(folder / "depth.png"), millimetres)
        np.save(folder / "metres_as_millimetres.npy", (1e3 * rendered.depth_m).astype(np.float32))
        save_camera(cell.camera, folder / "camera.yaml")
        (folder / "pose.yaml").write_text(yaml.safe_dump(cell.base_from_optical.to_dict()))
        truth = cell.truth()
        rows, columns = np.nonzero(truth.instance == 0)
        middle = int(np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2))
        pixel = (int(columns[middle]), int(rows[middle]))
        point = cell.surface_point(*pixel)
    return {"folder": folder, "pixel": f"{pixel[0]},{pixel[1]}", "point": point}


def refer(files: dict[str, Any], capsys: pytest.CaptureFixture[str], *extra: str, depth: str = "depth.png") -> tuple[int, dict[str, Any]]:
    folder: Path = files["folder"]
    base = ["refer", "--rgb", str(folder / "rgb.png"), "--depth", str(folder / depth), "--camera", str(folder / "camera.yaml"), "--json"]
    code = main([*base, *extra])
    return code, json.loads(capsys.readouterr().out.splitlines()[-1])


@pytest.mark.parametrize("depth", ["depth.png", "depth.npy"])
def test_a_pixel_with_a_pose_gives_a_point_in_the_base_frame(files: dict[str, Any], capsys: pytest.CaptureFixture[str], depth: str) -> None:
    pose = str(files["folder"] / "pose.yaml")
    code, answer = refer(files, capsys, "--pixel", files["pixel"], "--camera-pose", pose, depth=depth)
    assert code == 0 and set(answer) >= KEYS
    assert answer["status"] == "OK" and answer["goal"]["frame"] == "base_link"
    np.testing.assert_allclose(answer["position_m"], files["point"], atol=0.005)


def test_without_a_pose_goals_are_optical_and_say_what_was_not_checked(
    files: dict[str, Any], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, answer = refer(files, capsys, "--pixel", files["pixel"], "--role", "pick", "--explain", str(tmp_path / "why.png"))
    assert code == 0, answer["sentence"]
    assert answer["goal"]["frame"] == "camera_color_optical_frame"
    assert answer["details"]["workspace_checked"] is False and "unchecked" in answer["sentence"]
    assert np.linalg.norm(np.subtract(answer["goal"]["position_m"], answer["position_m"])) < 0.15
    picture = cv2.imread(str(tmp_path / "why.png"))
    assert picture is not None and picture.shape[0] > 480


@pytest.mark.parametrize(
    ("extra", "depth", "status"),
    [
        (("--pixel", "abc"), "depth.png", "BAD_REQUEST"),
        (("--pixel", "9000,10"), "depth.png", "OUT_OF_IMAGE"),
        (("--pixel", "100,100", "--robot", "nobody"), "depth.png", "BAD_REQUEST"),
        (("--pixel", "100,100"), "missing.png", "BAD_REQUEST"),
        (("--pixel", "100,100"), "rgb.png", "BAD_REQUEST"),
        (("--pixel", "100,100"), "metres_as_millimetres.npy", "UNITS_IMPLAUSIBLE"),
        (("--instruction", ""), "depth.png", "BAD_REQUEST"),
        (("--pixel", "100,100", "--model", "nothing", "--instruction", "x y z"), "depth.png", "BAD_REQUEST"),
    ],
)
def test_refusals(files: dict[str, Any], capsys: pytest.CaptureFixture[str], extra: tuple[str, ...], depth: str, status: str) -> None:
    code, answer = refer(files, capsys, *extra, depth=depth)
    assert code in (1, 2)
    assert answer["status"] == status, answer["sentence"]
    assert answer["sentence"] and answer.get("goal") is None


def test_a_picture_without_anything_level_asks_for_the_pose(
    files: dict[str, Any], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder: Path = files["folder"]
    depth = np.full((480, 640), np.nan, np.float32)
    depth[:, 300:304] = 1.0  # one upright stripe, as of a pole
    np.save(tmp_path / "pole.npy", depth)
    code, answer = refer(files, capsys, "--pixel", "302,240", depth=str(tmp_path / "pole.npy"))
    assert (code, answer["status"]) == (2, "NO_DEPTH") and "no --camera-pose" in answer["sentence"]
    code, answer = refer(files, capsys, "--pixel", "302,240", "--camera-pose", str(folder / "pose.yaml"), depth=str(tmp_path / "pole.npy"))
    assert code == 1 and "--camera-pose" not in answer["sentence"]


def test_a_calibration_of_something_else_is_told_as_such(files: dict[str, Any], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    camera = yaml.safe_load((files["folder"] / "camera.yaml").read_text())
    (tmp_path / "camera.yaml").write_text(yaml.safe_dump({**camera, "fx": 5e6}))
    code, answer = refer(files, capsys, "--pixel", files["pixel"], "--camera", str(tmp_path / "camera.yaml"))
    assert (code, answer["status"]) == (2, "BAD_REQUEST") and "fx = 5e+06" in answer["sentence"]


def test_the_g1_stands_off(files: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    pose = str(files["folder"] / "pose.yaml")
    code, answer = refer(files, capsys, "--pixel", files["pixel"], "--robot", "g1", "--role", "navigate", "--camera-pose", pose)
    # The cell's table is level with its base, so the G1's head camera cannot have it in view: a typed refusal is as right as a goal.
    assert answer["status"] in ("OK", "UNREACHABLE"), answer["sentence"]
    assert (code == 0) == (answer["status"] == "OK")


@pytest.mark.parametrize(
    "override, status, words",
    [
        ("pipeline.max_sigma_m=0.0001", "DEPTH_EDGE", "pipeline.max_sigma_m = 0.1 mm"),
        ("pipeline.lift.max_hole_px=4", "OK", ""),
        ("pipeline.lift.max_hole_px=-4", "BAD_REQUEST", "max_hole_px is -4, it must be at least 0 px"),
        ("pipeline.lift.holes=4", "BAD_REQUEST", "pipeline.lift has no setting holes"),
        ("lift.max_hole_px=4", "BAD_REQUEST", "below pipeline, profile or depth"),
        ("depth.near_m=5", "UNITS_IMPLAUSIBLE", "depth.near_m = 5"),
        ("depth.aligned=true", "BAD_REQUEST", "--depth-camera"),
        ("sync_slop_s=0.1", "BAD_REQUEST", "--depth-camera"),
        ("pipeline.max_sigma_m=1e-4", "DEPTH_EDGE", "pipeline.max_sigma_m = 0.1 mm"),
        ("profile.place.clearance_m=wide", "BAD_REQUEST", "clearance_m is 'wide', it must be of type float"),
    ],
)
def test_a_setting_that_a_refusal_names_can_be_set(
    files: dict[str, Any], capsys: pytest.CaptureFixture[str], override: str, status: str, words: str
) -> None:
    pose = str(files["folder"] / "pose.yaml")
    code, answer = refer(files, capsys, "--pixel", files["pixel"], "--role", "point", "--camera-pose", pose, "--set", override)
    assert answer["status"] == status and words in answer["sentence"]
    assert code == {"OK": 0, "DEPTH_EDGE": 1, "BAD_REQUEST": 2, "UNITS_IMPLAUSIBLE": 2}[status]


@pytest.mark.parametrize("pixel", ["nan,nan", "inf,1", "1,-inf"])
def test_a_pixel_that_is_no_number_leaves_the_json_strict(files: dict[str, Any], capsys: pytest.CaptureFixture[str], pixel: str) -> None:
    folder: Path = files["folder"]
    paths = [f"--{name}={folder / file}" for name, file in (("rgb", "rgb.png"), ("depth", "depth.png"), ("camera", "camera.yaml"))]
    code = main(["refer", *paths, f"--pixel={pixel}", "--json"])

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    answer = json.loads(capsys.readouterr().out.splitlines()[-1], parse_constant=refuse)
    assert (code, answer["status"], answer["pixel"]) == (1, "OUT_OF_IMAGE", None)


def test_a_group_of_settings_cannot_be_a_number(files: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    code, answer = refer(files, capsys, "--pixel", files["pixel"], "--set", "pipeline.lift=4")
    assert code == 2 and answer["sentence"] == "pipeline.lift is a group of settings, it cannot be 4"
