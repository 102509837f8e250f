"""An object of which only a part is seen: the fingers go where it is seen to end, or the grasp is refused with the reason."""

from __future__ import annotations

import numpy as np
import pytest

from roboref_node.evaluation.analytic_scene import Box, Cylinder, Floor, Solid, cast_scene, look_at
from roboref_node.frame import Frame
from roboref_node.geometry.camera import CameraModel
from roboref_node.geometry.crop import cut
from roboref_node.geometry.cut_off import Cause, open_ends
from roboref_node.geometry.depth import DepthNoise
from roboref_node.geometry.transform import Transform
from roboref_node.goals.hand import HandPoses, hits_object
from roboref_node.goals.profile import load_profile
from roboref_node.pipeline import Pipeline
from roboref_node.referral import Referral
from roboref_node.status import Status
from roboref_node.task import Task, TaskKind

UR5 = load_profile("ur5")
HAND = UR5.gripper
assert HAND is not None
POSE = look_at([0.5, -0.5, 0.7], [0.5, 0.1, 0.0])
DOWN = look_at([0.5, -0.02, 0.9], [0.5, 0.0, 0.0])
WIDE = CameraModel(600, 600, 319.5, 239.5, 640, 480)
NARROW = CameraModel(600, 600, 119.5, 239.5, 240, 480)
BORDER_X = 0.5 + 120.0 / 600.0 * float(DOWN.inverse().apply([0.5, 0.0, 0.06])[2])
"""Where the right border of the narrow image, seen from above, cuts the line y = 0, z = 0.06."""


def seen(camera: CameraModel, *solids: Solid, pose: Transform = POSE, noisy: bool = False) -> np.ndarray:
    depth = cast_scene([Floor(), *solids], camera, pose).depth_m
    if noisy:
        depth = depth + np.random.default_rng(0).normal(size=depth.shape) * DepthNoise().sigma_m(depth)
    return depth.astype(np.float32)


def pick(camera: CameraModel, depth: np.ndarray, point: tuple[float, float, float], pose: Transform = POSE) -> Referral:
    uv = camera.project(pose.inverse().apply(point))
    frame = Frame(np.full((*depth.shape, 3), 128, np.uint8), depth, camera)
    return Pipeline(None, UR5).refer(frame, Task(TaskKind.PICK, "it", "take it"), {"base_link": pose}, pixel=(float(uv[0]), float(uv[1])))


def refused_for(referral: Referral, cause: Cause) -> bool:
    return referral.status is Status.TOO_WIDE and f"cut off by {cause.value}" in referral.sentence


def fingers(referral: Referral) -> np.ndarray:
    """Points inside the open fingers at the grasp, in the base frame."""
    assert referral.goal is not None
    side, out, across, back = np.meshgrid(
        [-1, 1], np.linspace(0, HAND.finger_thickness_m, 4), np.linspace(-0.5, 0.5, 5), np.linspace(0, HAND.finger_depth_m, 8)
    )
    local = np.stack([side * (0.5 * referral.gripper_width_m + out), across * HAND.finger_width_m, -back], axis=-1)
    return referral.goal.apply(local.reshape(-1, 3))


def meets(referral: Referral, solid: Box | Cylinder) -> bool:
    """Whether the open hand of an answer, fingers and body, runs into the whole of an object, seen or not."""
    assert referral.goal is not None
    grid = np.stack(np.meshgrid(*[np.linspace(-0.5, 0.5, 25)] * 3), axis=-1).reshape(-1, 3)
    if isinstance(solid, Box):
        points = Transform(np.array([0, 0, np.sin(solid.yaw_rad / 2), np.cos(solid.yaw_rad / 2)]), np.array(solid.base_m)).apply(
            grid * (np.array(solid.size_m) - 0.006) + [0.0, 0.0, 0.5 * solid.size_m[2]]
        )
    else:
        grid = grid[np.hypot(grid[:, 0], grid[:, 1]) <= 0.5]
        inner = [2 * solid.radius_m - 0.006, 2 * solid.radius_m - 0.006, solid.height_m - 0.006]
        points = grid * inner + np.add(solid.base_m, [0.0, 0.0, 0.5 * solid.height_m])
    pose = HandPoses(referral.goal.translation_m[None], referral.goal.rotation[None])
    return bool(hits_object(HAND, pose, np.array([referral.gripper_width_m]), points, UR5.grasp.pregrasp_distance_m)[0])


@pytest.mark.parametrize("noisy", [False, True])
@pytest.mark.parametrize("shown_m", [0.07, 0.075])
def test_the_border_of_the_image_is_no_side_of_an_object(shown_m: float, noisy: bool) -> None:
    slab = Box((BORDER_X - shown_m + 0.15, 0.0, 0.0), (0.3, 0.3, 0.06))
    referral = pick(NARROW, seen(NARROW, slab, pose=DOWN, noisy=noisy), (BORDER_X - 0.5 * shown_m, 0.0, 0.06), DOWN)
    assert refused_for(referral, Cause.BORDER), referral.sentence


@pytest.mark.parametrize("noisy", [False, True])
def test_what_the_border_cuts_is_taken_across_its_other_axis(noisy: bool) -> None:
    bar = Box((BORDER_X - 0.08 + 0.15, 0.0, 0.0), (0.3, 0.05, 0.06))
    referral = pick(NARROW, seen(NARROW, bar, pose=DOWN, noisy=noisy), (BORDER_X - 0.04, 0.0, 0.06), DOWN)
    assert referral.ok, referral.sentence
    assert referral.segment is not None and referral.segment.ends is not None
    assert abs(referral.goal.rotation[1, 0]) > np.cos(np.radians(10))
    inside = np.abs(fingers(referral) - [bar.base_m[0], 0.0, 0.03]) < [0.15, 0.025, 0.03]
    assert not np.any(np.all(inside, axis=1))


@pytest.mark.parametrize("shown_m", [0.04, 0.06])
def test_depth_that_is_missing_is_no_side_of_an_object(shown_m: float) -> None:
    depth = seen(WIDE, Box((0.5, 0.1, 0.0), (0.3, 0.2, 0.06)))
    v, u = np.mgrid[0:480, 0:640]
    world = POSE.apply(WIDE.unproject(np.stack([u, v], axis=-1).astype(float), depth))
    depth[(world[..., 0] > 0.35 + shown_m) & (world[..., 2] > 0.002)] = np.nan
    assert refused_for(pick(WIDE, depth, (0.35 + 0.5 * shown_m, 0.05, 0.06)), Cause.NO_DEPTH)


@pytest.mark.parametrize("shown_m", [0.04, 0.06])
def test_what_stands_before_an_object_is_no_side_of_it(shown_m: float) -> None:
    """A wall 20 cm nearer to the camera, whose left edge covers the slab from there on."""
    share = 0.3 / 0.55  # of the way from the camera to y = 0.05
    edge = 0.5 + (0.35 + shown_m - 0.5) * share
    wall = Box((edge + 0.25, -0.2, 0.0), (0.5, 0.01, 0.7))
    depth = seen(WIDE, Box((0.5, 0.1, 0.0), (0.3, 0.2, 0.06)), wall)
    assert refused_for(pick(WIDE, depth, (0.35 + 0.5 * shown_m, 0.05, 0.06)), Cause.OCCLUDER)


def test_an_object_that_is_seen_to_end_has_no_open_ends() -> None:
    box = Box((0.5, 0.1, 0.0), (0.06, 0.06, 0.08))
    whole = seen(WIDE, box)
    top, left = (0.5, 0.1, 0.08), int(WIDE.project(POSE.inverse().apply([0.47, 0.07, 0.08]))[0])
    shadow = whole.copy()  # what a stereo camera does not see beside a near edge
    shadow[:, left - 14 : left] = np.nan
    beside = seen(NARROW, Box((BORDER_X - 0.045, 0.0, 0.0), (0.06, 0.06, 0.06)), pose=DOWN)
    floating = whole.copy()
    rng = np.random.default_rng(0)
    v, u = rng.integers(150, 330, 400), rng.integers(left - 6, left, 400)
    floating[v, u] -= np.float32(0.05)
    referrals = [pick(WIDE, depth, top) for depth in (whole, shadow, floating)]
    for referral in (*referrals, pick(NARROW, beside, (BORDER_X - 0.045, 0.0, 0.06), DOWN)):
        assert referral.ok and referral.segment is not None and referral.segment.ends is None, referral.sentence


def test_empty_space_beyond_the_sensors_range_is_no_missing_depth() -> None:
    pose = look_at([0.0, 0.0, 0.2], [0.5, 0.0, 0.1])
    depth = cast_scene([Floor(), Box((0.5, 0.0, 0.0), (0.05, 0.05, 0.2))], WIDE, pose).depth_m
    depth[depth > 0.8] = np.nan
    referral = pick(WIDE, depth, (0.475, 0.0, 0.1), pose)
    assert referral.segment is not None and referral.segment.ends is None


@pytest.mark.parametrize("corner_px", range(1, 8))
def test_something_before_the_very_corner_of_an_object_is_no_defect(corner_px: int) -> None:
    """Nearer than the outline's reach in steps of pixels, farther than that as the crow flies."""
    camera = CameraModel(600, 600, 79.5, 59.5, 160, 120)
    depth = np.full((120, 160), 0.8, np.float32)
    depth[50:70, 70:90] = 0.6
    depth[70 : 70 + corner_px - 1, 90 : 90 + corner_px - 1] = np.nan
    start = 69 + corner_px
    depth[start : start + 10, start + 20 : start + 30] = 0.5
    pixels = depth == np.float32(0.6)
    ends = open_ends(pixels, cut(depth, camera, (0, 0, 160, 120), 1), camera, None, DepthNoise(), 2)
    assert ends is None or len(ends.points_m) > 0


@pytest.mark.parametrize("hidden_m", [0.01, 0.02, 0.05])
@pytest.mark.parametrize("eye", [0.13, 0.2])
def test_the_palm_does_not_come_down_on_what_the_upper_border_cut_off(eye: float, hidden_m: float) -> None:
    """The fingers fitted, and the palm met the upper end of a bottle that was out of the picture."""
    pose = look_at([0.0, 0.0, eye], [0.5, 0.0, 0.08])
    bottle = Cylinder((0.5, 0.0, 0.0), 0.02, 0.18)
    row = int(WIDE.project(pose.inverse().apply([0.48, 0.0, 0.18 - hidden_m]))[1])
    camera = WIDE.cropped(0, row, 640, 480 - row)
    referral = pick(camera, seen(camera, bottle, pose=pose, noisy=True), (0.48, 0.0, 0.09), pose)
    assert refused_for(referral, Cause.BORDER) or (referral.ok and not meets(referral, bottle)), referral.sentence


@pytest.mark.parametrize("gap_px", [8, 14])
def test_an_object_that_ends_in_the_shadow_of_something_nearer_may_go_on(gap_px: int) -> None:
    """A stereo camera sees neither the one nor the other beside the edge of what stands before: 8 pixels were taken for an end."""
    edge = 0.5 + (0.35 + 0.05 - 0.5) * 0.3 / 0.55
    wall = Box((edge + 0.25, -0.2, 0.0), (0.5, 0.01, 0.7))
    depth = seen(WIDE, Box((0.5, 0.1, 0.0), (0.3, 0.2, 0.06)), wall)
    for row in depth:
        first = int(np.argmax(row < 0.6)) if (row < 0.6).any() else 640
        if first < 640:
            row[first - gap_px : first] = np.nan
    assert refused_for(pick(WIDE, depth, (0.37, 0.05, 0.06)), Cause.OCCLUDER)


@pytest.mark.parametrize("yaw", [0.3, 0.6, 0.9, 1.2])
@pytest.mark.parametrize("left", [-0.03, -0.015])
@pytest.mark.parametrize("eye", [0.1, 0.25, 0.45])
def test_the_hand_does_not_meet_the_part_of_a_box_that_something_hides(eye: float, left: float, yaw: float) -> None:
    """Beside a post only a strip of the box is seen, and of that perhaps one face: neither tells how deep or wide the box is."""
    pose = look_at([0.0, 0.0, eye], [0.5, 0.0, 0.05])
    box, post = Box((0.55, 0.0, 0.0), (0.075, 0.065, 0.11), yaw), Box((0.4, left + 0.04, 0.0), (0.03, 0.08, 0.2))
    depth = seen(WIDE, box, post, pose=pose, noisy=True)
    hits = [
        referral
        for y in (-0.035, 0.04)
        if (referral := pick(WIDE, depth, (0.53, y, 0.07), pose)).ok and referral.position_m is not None and referral.position_m[0] > 0.45
    ]
    assert not any(meets(referral, box) for referral in hits)
