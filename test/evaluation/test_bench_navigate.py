"""bench navigate: its keys, its judges, and that a goal in the wrong place would be counted."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from roboref_node.evaluation import bench_navigate
from roboref_node.evaluation.bench_navigate import is_in_obstacle, is_possible, look, summarise, true_pixel, walk
from roboref_node.goals.profile import load_profile
from roboref_node.pipeline import Pipeline
from roboref_node.pointing.pointer import PixelPoint, PointAnswer
from roboref_node.sim_g1.world import SimulatedG1
from roboref_node.task import TaskKind


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return Pipeline(None, load_profile("g1"))


def test_two_episodes_end_to_end(tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    bench_navigate.add_arguments(parser)
    picture = tmp_path / "plan.png"
    result = bench_navigate.run(parser.parse_args(["--episodes", "2", "--seed", "2", "--picture", str(picture)]))
    assert result == {"episodes": 2, "reached": 1.0, "in_view": 1.0, "in_reach": 1.0, "goals_in_obstacles": 0}
    image = cv2.imread(str(picture))
    assert image is not None and image.std() > 20


def test_the_judges_see_what_is_wrong(pipeline: Pipeline) -> None:
    with SimulatedG1(2) as world:
        assert world.start_facing(0, np.random.default_rng([2, 0, 0x66]))
        start = world.pose
        assert is_possible(world, 0, pipeline)
        target = world.plan.objects[0].center_m
        assert is_in_obstacle(world, target[:2], 0.25), "in the table"
        beyond = np.asarray(world.map.origin.translation_m[:2]) - 1.0
        assert is_in_obstacle(world, (float(beyond[0]), float(beyond[1])), 0.25), "off the map"
        assert not is_in_obstacle(world, start[:2], 0.2)
        good = walk(pipeline, world, 0)
        assert good.reached and good.in_view and good.in_reach and not good.in_obstacle
        # From where it stands with its back to the object it sees nothing of it, and that is told.
        x, y, yaw = world.pose
        world.place_robot(x, y, yaw + np.pi)
        away = look(pipeline, world, 0, TaskKind.POINT)
        assert not away.ok or world.distance_m(0, away.position_m) > 0.02
        # A robot that is walled in is refused instead of given a goal that it cannot walk to.
        world.place_robot(*start)
        data = np.asarray(world.map.data).copy()
        column, row = world.map.cells(np.array(start[:2]))[0]
        rows, columns = np.indices(data.shape)
        ring = np.hypot(rows - row, columns - column) * world.map.resolution_m
        data[(ring > 0.28) & (ring < 0.36)] = 100
        world.map = dataclasses.replace(world.map, data=data)
        refused = look(pipeline, world, 0, TaskKind.NAVIGATE)
        assert refused.status.value == "OCCUPIED"
    bad = dataclasses.replace(good, reached=False, in_view=False, in_reach=False, in_obstacle=True)
    assert summarise([good, bad]) == {"episodes": 2, "reached": 0.5, "in_view": 0.5, "in_reach": 0.5, "goals_in_obstacles": 1}


class ErrsFromAfar:
    """A pointer that takes the floor in front of the table for the object until the robot has come near."""

    name = "errs"

    def __init__(self, world: SimulatedG1, target: int) -> None:
        self.world, self.target, self.start = world, target, world.pose

    def point(self, frame: Any, task: Any, *, canceled: Any = None) -> PointAnswer:
        pixel = (520.0, 420.0) if self.world.pose == self.start else true_pixel(self.world.render(), self.target)
        assert pixel is not None
        return PointAnswer((PixelPoint(*pixel),), "errs")


@pytest.mark.parametrize("approaches", [1, 2])
def test_what_is_out_of_reach_from_near_is_gone_to_once_more(approaches: int) -> None:
    with SimulatedG1(2) as world:
        assert world.start_facing(0, np.random.default_rng([2, 0, 0x66]))
        pipeline = Pipeline(ErrsFromAfar(world, 0), load_profile("g1"))
        episode = walk(pipeline, world, 0, approaches, by_model=True)
    first, *again = episode.misses
    assert first is not None and first.missing_m > 0.1 and episode.reached and episode.in_view and not episode.in_obstacle
    assert again == [None] * (approaches - 1)
    assert episode.in_reach == episode.told_in_reach == (approaches == 2)
