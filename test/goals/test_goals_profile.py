"""Robot profiles: the shipped ones load, every wrong value is named, nothing unknown is ignored."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import yaml

from roboref_node.config import find_config, load_ros_parameters, load_yaml
from roboref_node.goals.profile import Gripper, Reach, RobotKind, RobotProfile, StandoffSettings, known_robots, load_profile
from roboref_node.status import Refused, Status

CELL = {"type": "keep_in_box", "frame": "base_link", "min_m": [0.1, -0.5, 0.0], "max_m": [0.9, 0.5, 0.6]}
ARM = {"kind": "arm", "base_frame": "base_link", "goal_frame": "base_link", "gripper": {}, "reach": {}, "zones": {"cell": CELL}}


def refusal(parameters: dict[str, object]) -> str:
    with pytest.raises(Refused) as caught:
        RobotProfile.from_parameters(parameters, name="test")
    assert caught.value.status is Status.BAD_REQUEST
    return caught.value.sentence


def test_the_shipped_robots_load() -> None:
    assert known_robots() == ("g1", "ur5")
    ur5, g1 = load_profile("ur5"), load_profile("g1")
    assert ur5.kind is RobotKind.ARM and ur5.goal_frame == ur5.base_frame == "base_link"
    assert ur5.gripper is not None and ur5.gripper.max_opening_m == 0.085
    assert g1.kind is RobotKind.MOBILE and g1.goal_frame == "map" and g1.view is not None
    assert ur5.frames_needed == ("base_link",) and g1.frames_needed == ("map",)


@pytest.mark.parametrize("robot", ["ur5", "g1"])
def test_parameters_round_trip(robot: str) -> None:
    profile = load_profile(robot)
    parameters = profile.to_parameters()
    assert all(not isinstance(value, dict) and value != [] for value in parameters.values())
    assert RobotProfile.from_parameters(parameters, name=robot) == profile
    for item in profile.parameter_descriptions():
        assert item.doc.endswith("."), item.name
        if item.name.endswith(("_m", "_rad")):
            assert item.unit == item.name.rsplit("_", 1)[1], item.name


@pytest.mark.parametrize("robot", ["ur5", "g1"])
def test_the_shipped_files_are_homogeneous_ros_parameters(robot: str) -> None:
    """rcl refuses lists of mixed types and mappings in lists."""

    def leaves(value: object) -> list[object]:
        return [leaf for child in value.values() for leaf in leaves(child)] if isinstance(value, dict) else [value]

    for leaf in leaves(load_ros_parameters(find_config(robot))):
        if isinstance(leaf, list):
            assert leaf and len({type(element) for element in leaf}) == 1, leaf


def test_unknown_robot_lists_the_known_ones() -> None:
    with pytest.raises(Refused) as caught:
        load_profile("pr2")
    assert caught.value.status is Status.BAD_REQUEST
    assert "g1" in caught.value.sentence and "ur5" in caught.value.sentence
    with pytest.raises(Refused):
        find_config("../config/ur5")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"gripper.max_opening_m": -0.1}, "max_opening_m"),
        ({"gripper.max_opening_m": float("nan")}, "max_opening_m"),
        ({"gripper.max_opening_m": "wide"}, "max_opening_m"),
        ({"gripper.opening_margin_m": 0.05}, "opening_margin_m"),
        ({"gripper.max_openning_m": 0.05}, "max_openning_m"),
        ({"grasp.yaw_count": 2.5}, "yaw_count"),
        ({"grasp.side_grasps": 1}, "side_grasps"),
        ({"reach.shoulder_m": [0.0, 0.0]}, "shoulder_m"),
        ({"reach.min_m": 2.0}, "min_m"),
        ({"kind": "drone"}, "kind"),
        ({"goal_frame": "map"}, "goal_frame"),
        ({"zones.cell.min_m": [1.0, 1.0, 1.0]}, "min_m"),
        ({"zones.cell.type": "box"}, "type"),
        ({"zones.cell.polygon_m": [0.0, 0.0, 1.0, 0.0, 0.0, 1.0]}, "polygon_m"),
        ({"zones.cell.type": "keep_out_box"}, "zones"),
        ({"zones.table.min_m": [0.0, 0.0, 0.0]}, "profile.zones.table needs type and frame"),
        (
            {"zones.prism": {"type": "keep_out_prism", "frame": "map", "polygon_m": [0.0, 0, 1, 1, 1, 0, 0, 1], "z_range_m": [0.0, 1]}},
            "crosses",
        ),
    ],
)
def test_a_wrong_value_names_its_key(change: dict[str, object], named: str) -> None:
    RobotProfile.from_parameters(ARM, name="test")
    valid = RobotProfile.from_parameters(ARM, name="test").to_parameters()
    broken = {**{key: value for key, value in valid.items() if key not in change}, **change}
    assert named in refusal(broken)


def test_a_missing_section_or_key_is_named() -> None:
    assert "reach" in refusal({key: value for key, value in ARM.items() if key != "reach"})
    assert "base_frame" in refusal({key: value for key, value in ARM.items() if key != "base_frame"})
    assert "zones" in refusal({key: value for key, value in ARM.items() if key != "zones"})


def test_a_section_given_twice_is_refused() -> None:
    assert "gripper" in refusal({**ARM, "gripper": 3.0, "gripper.clearance_m": 0.01})


def test_python_callers_get_the_same_checks() -> None:
    with pytest.raises(ValueError, match="max_opening_m"):
        Gripper(max_opening_m=0.0)
    with pytest.raises(ValueError, match="preferred_m"):
        StandoffSettings(min_m=0.5, max_m=0.6, preferred_m=0.9)
    with pytest.raises(dataclasses.FrozenInstanceError):
        Reach().max_m = 3.0  # type: ignore[misc]


def test_files_that_are_no_profile(tmp_path: Path) -> None:
    file = tmp_path / "robot.yaml"
    with pytest.raises(Refused, match="cannot read"):
        load_profile(file)
    for text, part in [
        ("a: [1", "not plain YAML"),
        ("- 1", "not a mapping"),
        ("a: !!python/object/apply:os.getcwd []", "not plain YAML"),
        ("robot: ur5", "ros__parameters"),
        ("/**:\n  ros__parameters:\n    robot: x\n", "profile"),
        ("/**:\n  ros__parameters:\n    profile: {kind: arm}\n", "robot"),
    ]:
        file.write_text(text)
        with pytest.raises(Refused, match=part):
            load_profile(file)
    file.write_text(yaml.safe_dump({"/cell/refer": {"ros__parameters": {"robot": "mine", "profile": ARM}}}))
    assert load_profile(str(file)).name == "mine"
    assert load_yaml(file)["/cell/refer"]
