"""``roboref bench pickplace``: sentences in, objects moved; success is what the physics says, not what the loop believes.

Each episode is a fresh scene. The loop of the node ``pick_place`` is told "pick up X" and then "put it D", as two sentences, so that
the two figures stay apart. A pick counts when X, and nothing else, hangs in the air between the fingers; a place when X stands by
itself within 3 cm of the region that D names. The same scenes are done again with true pixels instead of the model's.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from roboref_node.commands.arguments import natural, positive

if TYPE_CHECKING:
    from roboref_node.evaluation.pickplace_episodes import Episode
    from roboref_node.evaluation.simulated_loop import Pixel, SimulatedLoop
    from roboref_node.pick_place.timeline import Report
    from roboref_node.pipeline import Pipeline
    from roboref_node.sim.cell import SimulatedCell
    from roboref_node.sim.render import SceneRenderer
    from roboref_node.task import Task

CLASSES = ("pointing", "lift", "grasp", "execution", "refused")
"""Why it failed: the point is not on the target (or the model gave none); the point is, but its depth is not known or it was lifted
elsewhere; the fingers closed, but not so that it held; the arm found no path, touched something or let go elsewhere; the point is
right, but no goal passed the checks."""
NEAR_M = 0.03
"""A placed object stands in a region when the middle of its base is within this of one of its points."""
LIFTED_WITHIN_M = 0.015
EDGE_PX, EDGE_STEP_M = 3, 0.02
"""A true pixel keeps clear of neighbours so near whose depth differs by more."""
SEEN_AS_BEFORE_M = 0.005
"""A pixel shows the place as long as its depth is what it was before anything moved."""
_LIFT = frozenset({"NO_DEPTH", "DEPTH_EDGE"})
_EXECUTION = frozenset({"unreachable", "collision", "arm_fault", "lost", "misplaced", "stopped", "no_view"})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the benchmark's arguments."""
    parser.add_argument("--episodes", type=positive, default=100, help="number of scenes (default 100)")
    parser.add_argument("--true-pixel", action="store_true", help="only the episodes with the true pixel; no model")
    parser.add_argument("--model", default="nano_careful", help="name or YAML file of the model (default nano_careful)")
    parser.add_argument("--start", type=natural, default=None, help="first reserved seed to look at")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Run the episodes; fractions of 1, counts of failures by class."""
    from roboref_node.evaluation.pickplace_episodes import FIRST_SEED, draw_episodes
    from roboref_node.goals.profile import load_profile
    from roboref_node.pipeline import Pipeline
    from roboref_node.sim.render import SceneRenderer

    profile = load_profile("ur5")
    by_pixel = Pipeline(None, profile)
    by_model = None
    if not args.true_pixel:
        from roboref_node.pointing.registry import load_pointer

        by_model = Pipeline(load_pointer(args.model), profile)
    tally = Tally()
    with SceneRenderer(640, 480) as renderer:
        first = FIRST_SEED if args.start is None else args.start
        for number, episode in enumerate(draw_episodes(args.episodes, renderer, first)):
            started = time.monotonic()
            lines = [pick_by_pixel(episode, by_pixel, renderer, tally)]
            if by_model is not None:
                lines.append(pick_and_place(episode, by_model, renderer, tally))
            tally.episodes += 1
            print(f"{number:3d} {_named(episode)} [{time.monotonic() - started:.1f} s]: {'; '.join(lines)}", file=sys.stderr, flush=True)
    return tally.result(asked_model=by_model is not None)


class Tally:
    """Counts over the episodes."""

    def __init__(self) -> None:
        self.episodes = 0
        self.pick = self.place = self.wrong = self.true_pick = self.true_place = 0
        self.failures: dict[str, Counter[str]] = {name: Counter() for name in ("pick", "place", "true_pixel_pick", "true_pixel_place")}

    def result(self, *, asked_model: bool) -> dict[str, Any]:
        """The benchmark's JSON; figures that were not measured are None."""
        count = max(self.episodes, 1)

        def share(number: int) -> float | None:
            return round(number / count, 4) if asked_model else None

        return {
            "episodes": self.episodes,
            "pick": share(self.pick),
            "pick_and_place": share(self.place),
            "wrong_object": share(self.wrong),
            "true_pixel_pick": round(self.true_pick / count, 4),
            "true_pixel_pick_and_place": round(self.true_place / count, 4),
            "failures": {name: {kind: counts[kind] for kind in CLASSES} for name, counts in self.failures.items()},
        }


def pick_by_pixel(episode: Episode, pipeline: Pipeline, renderer: SceneRenderer, tally: Tally) -> str:
    """Pick the target at its true pixel and put it at a true pixel of its place; returns a line for a person."""
    loop = _loop(episode, pipeline, renderer, by_pixel=True)
    report = loop.loop.run(f"pick up {episode.expression}")
    if loop.cell.held != episode.target:
        kind = classify_pick(episode, loop, report)
        tally.failures["true_pixel_pick"][kind] += 1
        tally.failures["true_pixel_place"][kind] += 1
        return f"true pixel: {kind} ({report.outcome.value}: {report.sentence})"
    tally.true_pick += 1
    report = loop.loop.run(f"put it {episode.place}")
    loop.settle()
    if stands_there(episode, loop.cell):
        tally.true_place += 1
        return f"true pixel: picked and put {episode.place}"
    kind = classify_place(episode, loop, report)
    tally.failures["true_pixel_place"][kind] += 1
    return f"true pixel: picked; put {episode.place}: {kind} ({report.outcome.value}: {report.sentence})"


def pick_and_place(episode: Episode, pipeline: Pipeline, renderer: SceneRenderer, tally: Tally) -> str:
    """Both sentences with the model's pixels; returns a line for a person."""
    loop = _loop(episode, pipeline, renderer, by_pixel=False)
    report = loop.loop.run(f"pick up {episode.expression}")
    tally.wrong += any(moved.hanging not in (None, episode.target) for moved in loop.motions)
    if loop.cell.held != episode.target:
        kind = classify_pick(episode, loop, report)
        tally.failures["pick"][kind] += 1
        tally.failures["place"][kind] += 1
        return f"model: {kind} ({report.outcome.value}: {report.sentence})"
    tally.pick += 1
    report = loop.loop.run(f"put it {episode.place}")
    loop.settle()
    if stands_there(episode, loop.cell):
        tally.place += 1
        return f"model: picked and put {episode.place}"
    kind = classify_place(episode, loop, report)
    tally.failures["place"][kind] += 1
    return f"model: picked; put {episode.place}: {kind} ({report.outcome.value}: {report.sentence})"


def classify_pick(episode: Episode, loop: SimulatedLoop, report: Report) -> str:
    """Which of `CLASSES` a failed pick belongs to."""
    answer = loop.referrals[-1] if loop.referrals else None
    if answer is None:
        return "refused"
    if answer.pixel is None or not _points_at(loop.cell, episode, (answer.pixel.u_px, answer.pixel.v_px)):
        return "pointing"
    lifted = answer.position_m
    elsewhere = lifted is None or loop.cell.distance_m(episode.target, lifted) > LIFTED_WITHIN_M
    # After a motion the object may be somewhere else: only an answer without one is held against the present truth.
    if not loop.motions and (answer.status.value in _LIFT or elsewhere):
        return "lift"
    if report.outcome.value in _EXECUTION:
        return "execution"
    return "grasp" if loop.motions else "refused"


def classify_place(episode: Episode, loop: SimulatedLoop, report: Report) -> str:
    """Which of `CLASSES` a failed place belongs to."""
    answer = loop.referrals[-1]
    if answer.task.kind.value != "place" or answer.pixel is None:
        return "pointing"
    if answer.status.value in _LIFT:
        return "lift"
    if answer.position_m is None or not in_region(episode, np.asarray(answer.position_m)[:2]):
        return "pointing"
    if report.outcome.value == "refused":
        return "refused"
    return "execution"


def stands_there(episode: Episode, cell: SimulatedCell) -> bool:
    """Whether the target stands by itself in the region that was asked for."""
    pose = cell.object_poses[episode.target]
    upright = float(pose.rotation[2, 2]) > 0.9 or episode.spec.objects[episode.target].shape == "ball"
    middle = pose.apply([0.0, 0.0, 0.5 * episode.spec.objects[episode.target].extent_m[2]])
    return cell.arm.world.held() is None and upright and in_region(episode, middle[:2])


def in_region(episode: Episode, point_m: np.ndarray[Any, np.dtype[np.float64]]) -> bool:
    """Whether a point of the table is where the place phrase means."""
    return bool(np.min(np.linalg.norm(episode.region_m - point_m, axis=1)) <= NEAR_M)


def _loop(episode: Episode, pipeline: Pipeline, renderer: SceneRenderer, *, by_pixel: bool) -> SimulatedLoop:
    from roboref_node.evaluation.simulated_loop import SimulatedLoop
    from roboref_node.sim.cell import SimulatedCell
    from roboref_node.task import TaskKind

    cell = SimulatedCell(episode.spec.seed, spec=episode.spec, renderer=renderer)

    before_m = cell.truth().depth_m

    def true_pixel(task: Task) -> Pixel | None:
        truth = cell.truth()
        if task.kind is not TaskKind.PLACE:
            return _middle_of(truth.instance == episode.target, truth.depth_m)
        unchanged = np.abs(truth.depth_m - before_m) < SEEN_AS_BEFORE_M
        return _middle_of(episode.room & unchanged, truth.depth_m)

    return SimulatedLoop(cell, pipeline, pixel=true_pixel if by_pixel else None)


def _middle_of(mask: np.ndarray[Any, np.dtype[np.bool_]], depth_m: np.ndarray[Any, np.dtype[np.float32]]) -> Pixel | None:
    """The pixel deepest inside a mask and clear of its inner depth edges, such as the rim of a cup; None when the mask is empty."""
    from scipy import ndimage

    from roboref_node.synth.freespace import region_answer

    if not mask.any():
        return None
    size = 2 * EDGE_PX + 1
    step = ndimage.maximum_filter(depth_m, size) - ndimage.minimum_filter(depth_m, size)
    smooth = mask & (step < EDGE_STEP_M)
    return region_answer(smooth if smooth.any() else mask)


def _points_at(cell: SimulatedCell, episode: Episode, pixel: Pixel) -> bool:
    """Whether a pixel of the scene's first image is on the target, with two pixels of grace."""
    from roboref_node.sim.render import SceneRenderer

    renderer = cell.renderer
    assert isinstance(renderer, SceneRenderer)
    instance = renderer.render(episode.spec).instance
    u, v = round(pixel[0]), round(pixel[1])
    near = instance[max(v - 2, 0) : v + 3, max(u - 2, 0) : u + 3]
    return bool((near == episode.target).any())


def _named(episode: Episode) -> str:
    item = episode.spec.objects[episode.target]
    return f"seed {episode.spec.seed}, {episode.expression} ({item.size} {item.shape} on {item.support})"
