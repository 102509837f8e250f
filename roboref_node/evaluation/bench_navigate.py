"""``roboref bench navigate``: a simulated G1 walks to where it can see and reach what it was sent to, and looks again.

An episode begins where the head camera sees an object that lies on a table. The pipeline plans the stand-off goal from that one image
and the surveyed map; the robot walks there; the pipeline looks again and gives the hand's goal. What is out of the hand's reach then is
approached once more, as the `navigate` node does. The judges share nothing with the planner: the flat's true outlines, the true instance
image, and inverse kinematics of the robot's arms.
"""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from roboref_node.commands.arguments import natural, picture, positive
from roboref_node.geometry.transform import Transform
from roboref_node.goals.approach import Miss, hand_misses
from roboref_node.goals.profile import load_profile
from roboref_node.pipeline import Context, Pipeline
from roboref_node.referral import Referral
from roboref_node.task import Task, TaskKind

if TYPE_CHECKING:
    from roboref_node.goals.occupancy import OccupancyMap
    from roboref_node.sim_g1.render import HeadImage
    from roboref_node.sim_g1.world import SimulatedG1

FloatArray = NDArray[np.float64]
Pixel = tuple[float, float]

_HIT_M = 0.02
"""The second look must put the hand's goal this near to the object."""
_SEEN_PX = 60
_GRID_M = 0.04


@dataclass(frozen=True, eq=False)
class Episode:
    """What came of one walk.

    Args:
        seed: Flat.
        target: Index of the object.
        start: x, y, yaw in the map.
        first: The referral with the stand-off goal.
        second: The last referral with the hand's goal; None when the robot did not get there.
        misses: What the hand misses by the sphere that the `navigate` node goes by, for each arrival; None where nothing.
        reached: A goal was given, and the robot got there along known free floor without touching anything.
        in_view: On arrival the object is in the picture and the second referral lies on it.
        in_reach: One of its hands can get to the second referral's position.
        in_obstacle: The footprint at the goal lies over something, or over floor that is not known to be free.
        walked: Way points and the place of arrival, shape (N, 2).
    """

    seed: int
    target: int
    start: tuple[float, float, float]
    first: Referral
    second: Referral | None
    misses: tuple[Miss | None, ...]
    reached: bool
    in_view: bool
    in_reach: bool
    in_obstacle: bool
    walked: FloatArray

    @property
    def told_in_reach(self) -> bool:
        """Whether the `navigate` node gives the hand's goal."""
        return self.in_view and self.misses[-1] is None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the benchmark's arguments."""
    parser.add_argument(
        "--episodes", type=positive, default=50, help="walks to objects that can be seen and reached from somewhere (default 50)"
    )
    parser.add_argument("--seed", type=natural, default=0, help="first flat (default 0)")
    parser.add_argument(
        "--approaches", type=positive, default=2, help="walks until the hand gets there, as of the navigate node (default 2)"
    )
    parser.add_argument("--model", default="", help="walk once more by the pixel of this model (e.g. nano); printed, not part of the JSON")
    parser.add_argument("--picture", type=picture, help="write floor plan, goal ring, route and the views of the first episode to this PNG")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Walk all episodes; print what happened to each; return the JSON."""
    from roboref_node.pointing.registry import load_pointer
    from roboref_node.sim_g1.world import SimulatedG1

    pipeline = Pipeline(load_pointer(args.model) if args.model else None, load_profile("g1"))
    walks: list[Episode] = []
    by_model: list[Episode] = []
    beyond: Counter[str] = Counter()
    seed = args.seed
    while len(walks) < args.episodes:
        with SimulatedG1(seed) as world:
            for target in np.random.default_rng([seed, 0x65]).permutation(len(world.plan.objects)):
                rng = np.random.default_rng([seed, int(target), 0x66])
                if not world.start_facing(int(target), rng):
                    continue
                start = world.pose
                if not is_possible(world, int(target), pipeline):
                    referral = look(pipeline, world, int(target), TaskKind.NAVIGATE)
                    beyond["given a goal out of reach" if referral.ok else f"refused, {referral.status.value}"] += 1
                    continue
                walks.append(walk(pipeline, world, int(target), args.approaches))
                _tell(walks[-1])
                if args.picture and len(walks) == 1:
                    from roboref_node.evaluation.floor_plan_picture import write_floor_plan

                    write_floor_plan(args.picture, world, walks[0], pipeline.profile)
                if args.model:
                    world.place_robot(*start)
                    by_model.append(walk(pipeline, world, int(target), args.approaches, by_model=True))
                break
        seed += 1
    result = summarise(walks)
    print(f"{len(walks)} walks in flats {args.seed} to {seed - 1}; objects that no place fits, left out: {dict(beyond) or 'none'}")
    lengths = [float(np.linalg.norm(np.diff(episode.walked, axis=0), axis=1).sum()) for episode in walks]
    print(f"way walked: median {np.median(lengths):.2f} m, longest {max(lengths):.2f} m")
    again = [episode for episode in walks if len(episode.misses) > 1]
    print(
        f"the hand's goal is given after {sum(episode.told_in_reach for episode in walks)} walks; {len(again)} objects were gone to once "
        f"more, {sum(episode.told_in_reach for episode in again)} of them with success"
    )
    if by_model:
        print(f"by the pixel of {args.model}: {summarise(by_model)}")
    return result


def summarise(walks: list[Episode]) -> dict[str, Any]:
    """The benchmark's JSON: fractions of all episodes, and the number of goals that are not on free floor."""

    def share(name: str) -> float:
        return round(sum(bool(getattr(episode, name)) for episode in walks) / max(len(walks), 1), 4)

    rates = {name: share(name) for name in ("reached", "in_view", "in_reach")}
    return {"episodes": len(walks), **rates, "goals_in_obstacles": sum(episode.in_obstacle for episode in walks)}


def walk(pipeline: Pipeline, world: SimulatedG1, target: int, approaches: int = 2, *, by_model: bool = False) -> Episode:
    """One episode from where the robot stands.

    Args:
        pipeline: With the G1's profile; with a model when `by_model`.
        world: The flat; the robot has moved afterwards.
        target: Index of the object.
        approaches: How often it may walk until its hand gets there.
        by_model: Ask the model instead of giving the true pixel.
    """
    from roboref_node.sim_g1.body import hand_angles
    from roboref_node.sim_g1.world import Walk

    start, profile = world.pose, pipeline.profile
    assert profile.standoff is not None
    first = look(pipeline, world, target, TaskKind.NAVIGATE, by_model=by_model)
    goal, walked, bad = first.goal, [np.array([start[:2]])], False
    second: Referral | None = None
    misses: list[Miss | None] = []
    while goal is not None:
        x, y, _ = (float(value) for value in goal.translation_m)
        heading = goal.rotation[:, 0]
        bad |= is_in_obstacle(world, (x, y), profile.standoff.footprint_radius_m)
        world.go_to(x, y, float(np.arctan2(heading[1], heading[0])))
        walked += [] if world.route is None else [world.route.copy()]
        if world.walk_to_the_end() is not Walk.ARRIVED or world.touched:
            return Episode(world.seed, target, start, first, None, (), False, False, False, bad, np.vstack(walked))
        walked.append(np.array([world.pose[:2]]))
        second = look(pipeline, world, target, TaskKind.POINT, by_model=by_model)
        miss = hand_misses(second.position_m, world.map_from_pelvis, profile) if second.position_m is not None else None
        misses.append(miss)
        if miss is None or not miss.mendable or len(misses) == approaches:
            break
        nearer = look(pipeline, world, target, TaskKind.NAVIGATE, by_model=by_model)
        goal = nearer.goal
        if goal is not None and nearer.position_m is not None and hand_misses(nearer.position_m, goal, profile) is not None:
            break
    if second is None:
        return Episode(world.seed, target, start, first, None, (), False, False, False, False, np.vstack(walked))
    seen = int(np.count_nonzero(world.truth().instance == target)) >= _SEEN_PX
    on_it = second.ok and second.position_m is not None and world.distance_m(target, second.position_m) <= _HIT_M
    in_view = seen and on_it
    reachable = in_view and hand_angles(world.map_from_pelvis.inverse().apply(np.array(second.position_m))) is not None
    return Episode(world.seed, target, start, first, second, tuple(misses), True, in_view, reachable, bad, np.vstack(walked))


def look(pipeline: Pipeline, world: SimulatedG1, target: int, kind: TaskKind, *, by_model: bool = False) -> Referral:
    """One referral on what the camera sees now; with the true pixel unless the model is asked."""
    from roboref_node.frame import Frame
    from roboref_node.sim_g1.world import OPTICAL_FRAME

    item = world.plan.objects[target]
    expression = f"the {item.colour} {item.shape}"
    image = world.render()
    frame = Frame(image.rgb, image.depth_m, world.camera, stamp_ns=world.stamp_ns, frame_id=OPTICAL_FRAME)
    # An object that is not in the picture has no pixel; the middle of the image then stands for a wrong answer.
    pixel = None if by_model else true_pixel(image, target) or (0.5 * frame.camera.width, 0.5 * frame.camera.height)
    profile = pipeline.profile
    transforms = {
        profile.goal_frame: world.map_from_optical,
        profile.base_frame: world.map_from_pelvis.inverse() @ world.map_from_optical,
    }
    context = Context(occupancy=world.map, goal_from_base=world.map_from_pelvis)
    return pipeline.refer(frame, Task(kind, expression, f"go to {expression}"), transforms, pixel=pixel, context=context)


def true_pixel(image: HeadImage, target: int) -> Pixel | None:
    """The pixel of an object that is farthest from its outline and from holes in the depth; None when there is none."""
    mask = np.pad((image.instance == target) & np.isfinite(image.depth_m), 1)
    if not mask.any():
        return None
    row, column = np.unravel_index(int(np.argmax(ndimage.distance_transform_edt(mask))), mask.shape)
    return float(column - 1), float(row - 1)


def is_in_obstacle(world: SimulatedG1, xy_m: tuple[float, float], radius_m: float) -> bool:
    """Whether a disc meets the true outline of a block, or a cell of the map that is not known to be free."""
    if float(world.plan.clearance_m(np.array(xy_m))) < radius_m:
        return True
    return float(_distances_to_blocked(world.map, np.array([xy_m]))[0]) < radius_m


def is_possible(world: SimulatedG1, target: int, pipeline: Pipeline) -> bool:
    """Whether the object can be reached at all: a search over a dense grid of places, with the true outlines and the true arm.

    The robot must fit with its clearance on floor that it knows to be free, find a way there from where it stands, see the object's
    middle without a wall between, and get a hand there, also when it stops ``arrival_m`` too far away.
    """
    from roboref_node.sim.frames import CAMERA_FROM_OPTICAL
    from roboref_node.sim_g1.body import BODY_RADIUS_M, CAMERA_LINK, PELVIS_HEIGHT_M, hand_angles, pelvis_from
    from roboref_node.sim_g1.route import find_route
    from roboref_node.sim_g1.world import flat_pose

    settings = pipeline.profile.standoff
    assert settings is not None
    point = np.array(world.plan.objects[target].center_m)
    steps = np.arange(-0.75, 0.75, _GRID_M)
    places = point[:2] + np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    room = settings.footprint_radius_m + settings.clearance_m
    places = places[np.linalg.norm(places - point[:2], axis=1) < 0.75]
    places = places[(world.plan.clearance_m(places) >= room) & (_distances_to_blocked(world.map, places) >= room)]
    places = places[np.argsort(np.linalg.norm(places - point[:2], axis=1))]
    pelvis_from_optical = pelvis_from(CAMERA_LINK) @ CAMERA_FROM_OPTICAL
    for x, y in places[:40]:
        pose = flat_pose(float(x), float(y), float(np.arctan2(point[1] - y, point[0] - x)), PELVIS_HEIGHT_M)
        if not world.camera.contains(world.camera.project((pose @ pelvis_from_optical).inverse().apply(point))):
            continue
        if _wall_between(world, np.array([x, y]), point[:2]) or find_route(world.map, world.pose[:2], (x, y), BODY_RADIUS_M) is None:
            continue
        farther = pose @ Transform(np.array([0.0, 0.0, 0.0, 1.0]), np.array([-settings.arrival_m, 0.0, 0.0]))
        # The nearest place that passes decides: a hand that does not get there from here does not from farther away.
        return hand_angles(farther.inverse().apply(point)) is not None
    return False


def _wall_between(world: SimulatedG1, start: FloatArray, end: FloatArray) -> bool:
    from roboref_node.sim_g1.floor_plan import Kind

    line = start + np.linspace(0.0, 1.0, 30)[:, None] * (end - start)
    return any(bool(np.any(block.distance_m(line) < 0.0)) for block in world.plan.blocks if block.kind is Kind.WALL)


def _distances_to_blocked(occupancy: OccupancyMap, places: FloatArray) -> FloatArray:
    """Exact distance from places of an unrotated map, shape (N, 2), to the nearest square that is not known to be free."""
    data = np.asarray(occupancy.data)
    cell, low = occupancy.resolution_m, occupancy.origin.translation_m[:2]
    rows, columns = np.nonzero((data < 0) | (data >= occupancy.occupied_from))
    centres = low + (np.column_stack([columns, rows]) + 0.5) * cell
    distances = np.full(len(places), np.inf)
    for number, place in enumerate(places):
        near = np.all(np.abs(centres - place) < 0.6, axis=1)
        if near.any():
            off = np.maximum(np.abs(centres[near] - place) - 0.5 * cell, 0.0)
            distances[number] = float(np.linalg.norm(off, axis=1).min())
    high = low + np.array(data.shape[::-1]) * cell
    border = np.minimum(places - low, high - places).min(axis=1, initial=np.inf)
    return np.asarray(np.minimum(distances, border))


def _tell(episode: Episode) -> None:
    marks = ", ".join(f"{name} {'yes' if getattr(episode, name) else 'NO'}" for name in ("reached", "in_view", "in_reach"))
    why = ""
    if not episode.in_reach:
        last = episode.second or episode.first
        why = f" ({last.status.value}: {last.sentence})"
    missed = ["in reach" if miss is None else f"{1e3 * miss.missing_m:.1f} mm out of reach" for miss in episode.misses]
    how = f" ({', then '.join(missed)})" if any(episode.misses) else ""
    print(f"flat {episode.seed}, {episode.first.task.expression}: {marks}{why}{how}", flush=True)
