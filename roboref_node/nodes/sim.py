"""The ``sim`` node: a simulated UR5 cell behind the topics that a real one has, plus the truth.

Publishes colour (rgb8), registered depth (16UC1, millimetres), both camera infos, /tf, /tf_static, /joint_states and /clock;
serves ``arm/move`` (roboref/action/MoveArm), ``arm/stop`` and the faults of `ros.sim_arm` (docs/arm.md).
Time is simulated: it starts at `simulated_camera.START_NS` and moves by one frame period per frame, so that what is published
depends on the seed and the number of the frame only; a machine that is too slow makes time run slower.
"""

# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sensor_msgs.msg import JointState
from std_msgs.msg import String

from roboref_node.parameters import check_settings, setting
from roboref_node.ros import qos
from roboref_node.ros.messages import header
from roboref_node.ros.process import run
from roboref_node.ros.sim_arm import SimulatedArm
from roboref_node.ros.simulated_camera import START_NS, SimulatedCamera
from roboref_node.ros.working_node import WorkingNode
from roboref_node.sim.cell import SimulatedCell
from roboref_node.sim.frames import OPTICAL_FRAME
from roboref_node.sim.noise import DepthNoiseSettings


@dataclass(frozen=True)
class SimSettings:
    """Parameters of the ``sim`` node."""

    seed: int = setting("Scene, camera pose and noise.", default=0, minimum=0, maximum=2**31)
    width: int = setting("Width of the images.", default=640, unit="px", minimum=64, maximum=3840)
    height: int = setting("Height of the images.", default=480, unit="px", minimum=48, maximum=2160)
    rate: float = setting("Frames per second.", default=15.0, unit="Hz", minimum=0.1, maximum=120.0)
    noise: bool = setting("Depth noise: quadratic in range, holes at edges.", default=True)

    def __post_init__(self) -> None:
        check_settings(self)


class SimNode(WorkingNode[SimSettings]):
    """Renders and publishes on its own thread, which owns the GL context and the physics."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("sim", SimSettings, **kwargs)
        self._arm = SimulatedArm(self)

    def work(self, settings: SimSettings) -> None:
        """Simulate until the node ends."""
        noise = DepthNoiseSettings() if settings.noise else None
        try:
            with SimulatedCell(settings.seed, settings.width, settings.height, noise=noise) as cell:
                self._publish_forever(cell, settings)
        finally:
            self._arm.mover.abandon()

    def _publish_forever(self, cell: SimulatedCell, settings: SimSettings) -> None:
        cell.render()  # the first image can take seconds: nobody should see a camera that has none yet
        camera = SimulatedCamera(self, OPTICAL_FRAME)
        joints = self.create_publisher(JointState, "joint_states", qos.ANSWERS)
        truth = self.create_publisher(String, "~/truth", qos.LATCHED)
        camera.fix(cell.frames())
        told = _truth(cell)
        truth.publish(String(data=json.dumps(told)))
        self.get_logger().info(
            f"scene {settings.seed}: {len(cell.spec.objects)} objects, {settings.width}x{settings.height} at {settings.rate:g} Hz"
        )
        period_s = 1.0 / settings.rate
        for _ in self.turns(period_s):
            self._arm.step(cell, period_s)
            image = cell.render()
            stamp_ns = START_NS + cell.stamp_ns
            camera.move(cell.frames(), stamp_ns)
            joints.publish(JointState(header=header("", stamp_ns), name=list(cell.joint_names), position=list(cell.joint_positions_rad)))
            if (now := _truth(cell)) != told:
                told = now
                truth.publish(String(data=json.dumps(told)))
            camera.show(image.rgb, image.depth_m, cell.camera, stamp_ns)


def _truth(cell: SimulatedCell) -> dict[str, Any]:
    """The scene for tests and demos: objects with their poses in base_link now, what is held, and where the camera stands."""
    objects = [
        {
            "index": index,
            "shape": item.shape,
            "colour": item.colour,
            "size": item.size,
            "extent_m": [float(x) for x in item.extent_m],
            "support": item.support,
            **pose.to_dict(),
        }
        for index, (item, pose) in enumerate(zip(cell.spec.objects, cell.object_poses, strict=True))
    ]
    return {
        "seed": cell.seed,
        "objects": objects,
        "holding": cell.held,
        "removed": sorted(cell.removed),
        "base_from_optical": cell.base_from_optical.to_dict(),
    }


def main(args: Sequence[str] | None = None) -> int:
    """Simulate until a signal arrives."""
    return run(SimNode, args)


if __name__ == "__main__":
    sys.exit(main())
