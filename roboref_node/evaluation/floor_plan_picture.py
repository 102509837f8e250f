"""A floor plan for people: map, furniture, the places on the ring with their scores, the route, and what the head camera saw."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from roboref_node.goals.profile import RobotProfile
from roboref_node.goals.standoff import standoff_places
from roboref_node.picturefiles import write_picture

if TYPE_CHECKING:
    from roboref_node.evaluation.bench_navigate import Episode
    from roboref_node.sim_g1.world import SimulatedG1

Image = NDArray[np.uint8]

_PX_PER_M = 110
_INK = {
    "outline": (70, 80, 110), "object": (150, 150, 150), "target": (220, 30, 30), "route": (20, 90, 220), "robot": (20, 20, 20),
    "goal": (0, 150, 60), "fair": (235, 160, 60), "good": (60, 190, 110),
}  # fmt: skip


def write_floor_plan(path: Path, world: SimulatedG1, episode: Episode, profile: RobotProfile) -> None:
    """Draw an episode to a PNG: the plan on the left, the first and the second look on the right.

    Args:
        path: The file.
        world: The flat; the robot stands where the episode left it, and stands there again afterwards.
        episode: What is drawn.
        profile: The robot, for the ring.
    """
    plan = draw_plan(world, episode, profile)
    before = world.pose
    views = []
    for place, referral in ((episode.start, episode.first), (before, episode.second)):
        world.place_robot(*place)
        view = np.ascontiguousarray(world.truth().rgb)
        if referral is not None and referral.pixel is not None:
            center = (round(referral.pixel.u_px), round(referral.pixel.v_px))
            cv2.drawMarker(view, center, (255, 255, 255), cv2.MARKER_CROSS, 34, 6)
            cv2.drawMarker(view, center, _INK["target"], cv2.MARKER_CROSS, 30, 3)
        views.append(view)
    column = np.concatenate(views)
    scale = plan.shape[0] / column.shape[0]
    column = cv2.resize(column, (round(column.shape[1] * scale), plan.shape[0]), interpolation=cv2.INTER_AREA).astype(np.uint8)
    write_picture(path, np.concatenate([plan, column], axis=1))


def draw_plan(world: SimulatedG1, episode: Episode, profile: RobotProfile) -> Image:
    """The map with everything on it: unknown floor grey, what is known to block black, the ring's places by score."""
    low = np.asarray(world.map.origin.translation_m[:2])
    data = np.asarray(world.map.data)
    shades = np.where(data < 0, 190, np.where(data >= world.map.occupied_from, 40, 255)).astype(np.uint8)
    size = np.array(data.shape[::-1]) * world.map.resolution_m * _PX_PER_M
    width, height = (round(float(side)) for side in size)
    picture = np.repeat(cv2.resize(shades[::-1], (width, height), interpolation=cv2.INTER_NEAREST)[..., None], 3, axis=2).astype(np.uint8)

    def at(xy_m: ArrayLike) -> NDArray[np.int32]:
        local = (np.asarray(xy_m, dtype=np.float64) - low) * _PX_PER_M
        return np.rint(np.stack([local[..., 0], height - local[..., 1]], axis=-1)).astype(np.int32)

    def dot(xy_m: ArrayLike, radius_px: int, ink: str, thickness: int = -1) -> None:
        cv2.circle(picture, tuple(int(v) for v in at(xy_m)), radius_px, _INK[ink], thickness, cv2.LINE_AA)

    for block in world.plan.blocks:
        region = block.region
        c, s = np.cos(region.yaw_rad), np.sin(region.yaw_rad)
        corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * 0.5 * np.asarray(region.size_m[:2])
        outline = corners @ np.array([[c, s], [-s, c]]) + region.top_center_m[:2]
        cv2.polylines(picture, [at(outline)], True, _INK["outline"], 2, cv2.LINE_AA)
    for number, item in enumerate(world.plan.objects):
        dot(item.position_m[:2], max(round(item.radius_m * _PX_PER_M), 3), "target" if number == episode.target else "object")
    if episode.first.position_m is not None and episode.first.goal is not None:
        ring = standoff_places(episode.first.position_m, episode.start, profile, world.map)
        for xy, good in zip(ring.xy_m, ring.in_view & ring.in_reach, strict=True):
            dot(xy, 2, "good" if good else "fair")
    if len(episode.walked) > 1:
        cv2.polylines(picture, [at(episode.walked)], False, _INK["route"], 2, cv2.LINE_AA)
    radius = 0.25 if profile.standoff is None else profile.standoff.footprint_radius_m
    poses = [(episode.start, "robot")]
    if episode.first.goal is not None:
        x, y, _ = episode.first.goal.translation_m
        heading = episode.first.goal.rotation[:, 0]
        poses.append(((float(x), float(y), float(np.arctan2(heading[1], heading[0]))), "goal"))
    for (x, y, yaw), ink in poses:
        dot((x, y), round(radius * _PX_PER_M), ink, 2)
        tip = np.array([x, y]) + radius * np.array([np.cos(yaw), np.sin(yaw)])
        cv2.arrowedLine(picture, tuple(at((x, y)).tolist()), tuple(at(tip).tolist()), _INK[ink], 2, cv2.LINE_AA, tipLength=0.35)
    return picture
