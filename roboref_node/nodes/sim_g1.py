"""The ``sim_g1`` node: a simulated G1 in a furnished flat behind the topics that a real one has, plus the truth.

Publishes colour (rgb8), registered depth (16UC1, millimetres), both camera infos, /tf, /tf_static, /map and /clock; walks to what
arrives on ``goal_pose``, in the place of Nav2. Time is simulated: it starts at `simulated_camera.START_NS` and moves by one frame
period per frame; a machine that is too slow makes time run slower.
"""

# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

import json
import queue
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import OccupancyGrid, Path
from std_msgs.msg import String
from std_srvs.srv import Trigger

from roboref_node.parameters import check_settings, setting
from roboref_node.ros import qos
from roboref_node.ros.messages import header
from roboref_node.ros.occupancy import message_from_map
from roboref_node.ros.process import run
from roboref_node.ros.simulated_camera import START_NS, SimulatedCamera
from roboref_node.ros.transforms import pose_stamped, transform_from_pose
from roboref_node.ros.working_node import WorkingNode
from roboref_node.sim.noise import DepthNoiseSettings
from roboref_node.sim_g1.world import MAP_FRAME, OPTICAL_FRAME, SimulatedG1, Walk, flat_pose


@dataclass(frozen=True)
class SimG1Settings:
    """Parameters of the ``sim_g1`` node."""

    seed: int = setting("Flat, starting place and noise.", default=0, minimum=0, maximum=2**31)
    target: int = setting("Start where the head camera sees the object of this index; -1 = anywhere.", default=-1, minimum=-1, maximum=1000)
    rate: float = setting("Frames per second.", default=10.0, unit="Hz", minimum=0.1, maximum=60.0)
    noise: bool = setting("Depth noise: quadratic in range, holes at edges.", default=True)

    def __post_init__(self) -> None:
        check_settings(self)


class SimG1Node(WorkingNode[SimG1Settings]):
    """Walks, renders and publishes on its own thread, which owns the GL context; the executor only takes goals."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("sim_g1", SimG1Settings, **kwargs)
        self._asked: queue.Queue[Callable[[SimulatedG1], None]] = queue.Queue()
        self.create_subscription(PoseStamped, "goal_pose", self._on_goal, qos.ANSWERS)
        self.create_service(Trigger, "~/stop", self._on_stop)

    def work(self, settings: SimG1Settings) -> None:
        """Simulate until the node ends."""
        noise = DepthNoiseSettings() if settings.noise else None
        with SimulatedG1(settings.seed, noise=noise) as world:
            if settings.target >= 0:
                self._face(world, settings.target)
            self._publish_forever(world, settings)

    def _face(self, world: SimulatedG1, target: int) -> None:
        count = len(world.plan.objects)
        if target >= count or not world.start_facing(target, np.random.default_rng([world.seed, target, 0x66])):
            why = f"the flat has {count} objects" if target >= count else "the head camera sees it from nowhere"
            self.get_logger().warning(f"parameter target = {target}: {why}; the robot starts anywhere")

    def _on_goal(self, message: PoseStamped) -> None:
        if message.header.frame_id != MAP_FRAME:
            self.get_logger().error(f"goal_pose is in frame '{message.header.frame_id}', this walker knows '{MAP_FRAME}' only")
            return
        goal = transform_from_pose(message.pose)
        ahead = goal.rotation[:, 0]
        x, y, yaw = float(goal.translation_m[0]), float(goal.translation_m[1]), float(np.arctan2(ahead[1], ahead[0]))
        self._asked.put(lambda world: self._go(world, x, y, yaw))

    def _go(self, world: SimulatedG1, x: float, y: float, yaw: float) -> None:
        if world.go_to(x, y, yaw):
            self.get_logger().info(f"walking to ({x:.2f}, {y:.2f})")
        else:
            self.get_logger().error(f"the map has no way to ({x:.2f}, {y:.2f})")

    def _on_stop(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._asked.put(lambda world: world.stop())
        response.success = True
        return response

    def _publish_forever(self, world: SimulatedG1, settings: SimG1Settings) -> None:
        world.render()  # the first image can take seconds: nobody should see a camera that has none yet
        camera = SimulatedCamera(self, OPTICAL_FRAME)
        path = self.create_publisher(Path, "~/path", qos.LATCHED)
        truth = self.create_publisher(String, "~/truth", qos.LATCHED)
        camera.fix(world.frames())
        grid = self.create_publisher(OccupancyGrid, "map", qos.LATCHED)
        grid.publish(message_from_map(world.map, frame_id=MAP_FRAME, stamp_ns=START_NS))
        told, walk = "", world.walk
        names = ", ".join(f"{number} {item.colour} {item.shape}" for number, item in enumerate(world.plan.objects))
        self.get_logger().info(f"flat {settings.seed} at {settings.rate:g} Hz: {names}")
        period_s = 1.0 / settings.rate
        for _ in self.turns(period_s):
            is_asked = not self._asked.empty()
            while not self._asked.empty():
                self._asked.get()(world)
            world.step(period_s)
            image = world.render()
            stamp_ns = START_NS + world.stamp_ns
            camera.move(world.frames(), stamp_ns)
            now = json.dumps(_truth(world))
            if now != told:
                told = now
                truth.publish(String(data=told))
            if is_asked:  # after the truth: who hears of a route must not take the robot to stand still
                path.publish(_path(world, stamp_ns))
            camera.show(image.rgb, image.depth_m, world.camera, stamp_ns)
            if world.walk is not walk:
                walk = world.walk
                x, y, _ = world.pose
                self.get_logger().info(f"{walk.value} at ({x:.2f}, {y:.2f})")


def _path(world: SimulatedG1, stamp_ns: int) -> Path:
    """The route that is being walked; empty when there is none."""
    points = np.zeros((0, 2)) if world.route is None or world.walk is not Walk.WALKING else world.route
    poses = [pose_stamped(flat_pose(float(x), float(y), 0.0), frame_id=MAP_FRAME, stamp_ns=stamp_ns) for x, y in points]
    return Path(header=header(MAP_FRAME, stamp_ns), poses=poses)


def _truth(world: SimulatedG1) -> dict[str, Any]:
    """The flat for tests and demonstrations: objects with their poses in the map, and the robot."""
    objects = [
        {"index": index, "shape": item.shape, "colour": item.colour, "extent_m": list(item.extent_m), **item.pose.to_dict()}
        for index, item in enumerate(world.plan.objects)
    ]
    return {"seed": world.seed, "objects": objects, "robot": list(world.pose), "walk": world.walk.value, "touched": world.touched}


def main(args: Sequence[str] | None = None) -> int:
    """Simulate until a signal arrives."""
    return run(SimG1Node, args)


if __name__ == "__main__":
    sys.exit(main())
