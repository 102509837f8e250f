"""Scenes and instructions of ``bench pickplace``: what is asked for can be done, by the true shapes and not by the planner under test."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from roboref_node.arm.paths import PathPlanner
from roboref_node.geometry.transform import Transform
from roboref_node.goals.profile import load_profile
from roboref_node.sim.arm import GRIPPER_MAX_OPENING_M, GRIPPER_TIP_M, HOME_RAD
from roboref_node.sim.cell import SimulatedCell
from roboref_node.sim.obstacles import CellObstacles
from roboref_node.sim.render import SceneRenderer
from roboref_node.sim.scene import ObjectSpec, SceneSpec, sample_scene
from roboref_node.sim.ways import planner_of
from roboref_node.synth.freespace import direction_region, region_answer
from roboref_node.synth.language import DIRECTIONS, NEXT_TO
from roboref_node.synth.questions import Asker
from roboref_node.synth.split import RESERVED_PAIRS, reserved_seeds
from roboref_node.synth.view import SceneView

FloatArray = NDArray[np.float64]
BoolImage = NDArray[np.bool_]

FIRST_SEED = 3_000_000
MIN_VISIBLE = 0.6
"""Least share of the target's silhouette that nothing hides."""
WIDEST_M = 0.075
"""Across a body that counts as graspable; the gripper opens 85 mm and needs some air on both sides."""
CLEARANCE_M = 0.005
"""Gap that the robot's profile wants between the open gripper and anything but the object (profile.gripper.clearance_m)."""
PREGRASP_M = 0.10
PALM_CLEAR_M = 0.09
"""From the middle of a destination to any other object's edge: half of the gripper's palm and a little."""
REACH_SPARE_M = 0.03
"""A destination's pixels keep so much of the arm's reach in hand, for an object that is not held by its middle."""
_ROUND_YAWS = np.arange(8) * np.pi / 8
_RIM_YAWS = np.arange(16) * np.pi / 8


@dataclass(frozen=True, eq=False)
class Episode:
    """One scene with what is asked for.

    Args:
        spec: The scene.
        target: Index of the object to pick.
        expression: What it is called.
        place: The place phrase.
        region: Pixels of the first image at which the place is, bool (H, W).
        region_m: Points of the table that those pixels show, world, shape (N, 2).
        room: Those of them at which the target and the gripper have room and that are in reach, bool (H, W).
    """

    spec: SceneSpec
    target: int
    expression: str
    place: str
    region: BoolImage
    region_m: FloatArray
    room: BoolImage


def draw_episodes(count: int, renderer: SceneRenderer, first_seed: int = FIRST_SEED) -> Iterator[Episode]:
    """Fresh scenes of reserved seeds, one episode each.

    A target is named as briefly as is unique (by attributes, else by a relation), at least `MIN_VISIBLE` of it is seen, nothing
    stands on it, and the arm can stand at some grasp from above, and over it, with the gap to everything else that the robot's
    profile asks for. A destination is free table to a side of, or next to, another object, where the target and the gripper have
    room and the arm can stand.
    """
    made = 0
    for seed in reserved_seeds(50 * count, first_seed):
        if made == count:
            return
        spec = _at_rest(sample_scene(seed, excluded_pairs=RESERVED_PAIRS))
        episode = _episode(spec, renderer, np.random.default_rng([seed, 0x91C]))
        if episode is not None:
            made += 1
            yield episode


def _at_rest(spec: SceneSpec) -> SceneSpec:
    """The scene with the arm in the best resting posture that touches nothing."""
    opened = replace(spec, arm_joints_rad=HOME_RAD, gripper_opening_m=GRIPPER_MAX_OPENING_M)
    with SimulatedCell(spec.seed, spec=opened) as cell:
        obstacles = CellObstacles(cell.arm.world, GRIPPER_MAX_OPENING_M)
        free = (q for q in cell.arm.resting_rad if obstacles.touched(np.array(q), margin_m=CLEARANCE_M, near_goal=False) is None)
        return replace(opened, arm_joints_rad=next(free, HOME_RAD))


def _episode(spec: SceneSpec, renderer: SceneRenderer, rng: np.random.Generator) -> Episode | None:
    bare = replace(spec, appearance=replace(spec.appearance, shadows=False))
    view = SceneView(renderer.render(bare))
    asker = Asker(view, rng, canonical=False, unknown_word=lambda: "thing")
    with SimulatedCell(spec.seed, spec=spec, renderer=renderer) as cell:
        for index in rng.permutation([item.index for item in view.present]):
            if view.supports_something(int(index)) or _visible_share(bare, view, int(index), renderer) < MIN_VISIBLE:
                continue
            words = _words(asker, int(index))
            if words is None or not can_be_grasped(cell, int(index)):
                continue
            place = _destination(asker, cell, int(index))
            if place is not None:
                phrase, region, room = place
                return Episode(spec, int(index), words, phrase, region, view.points_m[region][:, :2], room)
    return None


def _words(asker: Asker, index: int) -> str | None:
    """As short as is unique: attributes, else where it is among its like, else its relation to another object."""
    description = asker.unique_description(asker.view.objects[index])
    if description is not None:
        return asker.words(description)
    for kind in ("ordinal", "relative", "size"):
        for _ in range(6):
            question = asker.ask(kind)
            if question is not None and question.target == index:
                return question.expression
    return None


def _visible_share(spec: SceneSpec, view: SceneView, index: int, renderer: SceneRenderer) -> float:
    alone = renderer.render(replace(spec, objects=(spec.objects[index],), shelf=None))
    return float(view.objects[index].pixels / max(1, int((alone.instance == 0).sum())))


def can_be_grasped(cell: SimulatedCell, index: int) -> bool:
    """Whether a gripper that comes straight down can take the object and keep clear of everything else, by the true shapes."""
    item, pose = cell.spec.objects[index], cell.object_poses[index]
    for tool, opening in _true_grasps(item, pose):
        planner = planner_of(CellObstacles(cell.arm.world, opening, target=index), line_margin_m=CLEARANCE_M)
        if _stands_free(planner, tool):
            return True
    return False


def _stands_free(planner: PathPlanner, tool: Transform) -> bool:
    """Whether the arm can stand at a tool pose and straight above it."""
    before = Transform(tool.quaternion_xyzw, tool.translation_m + [0.0, 0.0, PREGRASP_M])
    return planner.can_stand(tool) and planner.can_stand(before)


def _true_grasps(item: ObjectSpec, world_from_object: Transform) -> Iterator[tuple[Transform, float]]:
    """Tool poses from above and the openings they need."""
    height = item.extent_m[2]
    if item.shape in ("cup", "bowl", "plate"):
        # The y extent leaves out a cup's handle.
        radius, opening, depth = item.extent_m[1] / 2 - 0.002, 0.03, min(0.015, height - 0.007)
        for yaw in _RIM_YAWS:
            out = np.array([np.cos(yaw), np.sin(yaw), 0.0])
            yield _downward(world_from_object, radius * out + [0.0, 0.0, height - depth], yaw), opening
        return
    depth = min(0.03, height - 0.008)
    sides = {"box": ((0.0, item.extent_m[0]), (np.pi / 2, item.extent_m[1]))}
    width = item.extent_m[1] if item.shape != "cone" else item.extent_m[1] * depth / height
    for yaw, across in sides.get(item.shape, tuple((float(yaw), width) for yaw in _ROUND_YAWS)):
        if across <= WIDEST_M:
            yield _downward(world_from_object, np.array([0.0, 0.0, height - depth]), yaw), min(across + 0.014, GRIPPER_MAX_OPENING_M)


def _downward(world_from_object: Transform, point_m: FloatArray, yaw_rad: float) -> Transform:
    closing = np.array([np.cos(yaw_rad), np.sin(yaw_rad), 0.0])
    axes = np.stack([closing, np.cross([0.0, 0.0, -1.0], closing), [0.0, 0.0, -1.0]], axis=1)
    return world_from_object @ Transform.from_rotation(axes, point_m)


def _destination(asker: Asker, cell: SimulatedCell, target: int) -> tuple[str, BoolImage, BoolImage] | None:
    """A place phrase, its pixels, and those of them at which the target has room: half of them at least."""
    view = asker.view
    for _ in range(8):
        found = asker.anchor(exclude=(target,), on_table=True)
        if found is None:
            return None
        anchor, name = found
        side = None if asker.rng.random() < 0.15 else list(DIRECTIONS)[int(asker.rng.integers(4))]
        region = direction_region(view, anchor, side)
        fits = region & _has_room(view, target)
        if fits.sum() < 0.0015 * region.size or fits.sum() < 0.5 * region.sum():
            continue
        room = fits & _in_reach(view)
        if not room.any():
            continue
        u, v = region_answer(room)
        if _can_be_placed(cell, view.points_m[int(v), int(u)]):
            return f"{asker.say(NEXT_TO if side is None else DIRECTIONS[side])} {name}", np.asarray(region), np.asarray(room)
    return None


def _has_room(view: SceneView, target: int) -> BoolImage:
    """Pixels whose point keeps the target and the gripper clear of all others and of the shelf, (H, W)."""
    apart = max(view.objects[target].radius_m + 0.02, PALM_CLEAR_M)
    points = view.points_m[..., :2]
    room = np.ones(points.shape[:2], dtype=bool)
    for item in view.objects:
        if item.index != target:
            room &= np.hypot(*np.moveaxis(points - item.centre_m[:2], -1, 0)) > item.radius_m + apart
    shelf = view.spec.shelf
    if shelf is not None:
        offset = points - np.array(shelf.top_center_m[:2])
        room &= np.hypot(offset[..., 0], offset[..., 1]) > 0.5 * float(np.hypot(*shelf.size_m[:2])) + apart
    return room


def _in_reach(view: SceneView) -> BoolImage:
    """Pixels at whose point a gripper that comes straight down is within the reach of the robot's profile, (H, W)."""
    reach = load_profile("ur5").reach
    assert reach is not None
    flange = view.points_m + [0.0, 0.0, GRIPPER_TIP_M + PREGRASP_M] - np.asarray(reach.shoulder_m)
    return np.asarray(np.linalg.norm(flange, axis=-1) < reach.max_m - REACH_SPARE_M)


def _can_be_placed(cell: SimulatedCell, point_m: FloatArray) -> bool:
    planner = planner_of(CellObstacles(cell.arm.world, GRIPPER_MAX_OPENING_M))
    stand = Transform(np.array([0.0, 0.0, 0.0, 1.0]), point_m)
    return any(_stands_free(planner, _downward(stand, np.array([0.0, 0.0, 0.05]), yaw)) for yaw in (0.0, np.pi / 2))
