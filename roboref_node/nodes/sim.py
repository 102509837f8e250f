"""The ``sim`` node: a simulated UR5 cell behind the topics that a real one has, plus the truth.

Publishes colour (rgb8), registered depth (16UC1, millimetres), both camera infos, /tf, /tf_static, /joint_states and /clock;
serves ``arm/move`` (roboref/action/MoveArm), ``arm/stop`` and the faults of `ros.sim_arm` (docs/arm.md).
Time is simulated: it starts at `START_NS` and moves by one frame period per frame, so that what is published depends on the
seed and the number of the frame only; a machine that is too slow makes time run slower.
"""

# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_msgs.msg import String
from tf2_ros import StaticTransformBroadcaster, TransformBroadcaster

from roboref_node.parameters import check_settings, setting
from roboref_node.ros import qos
from roboref_node.ros.camera import COLOR, COLOR_INFO, DEPTH, DEPTH_INFO
from roboref_node.ros.camera_info import info_from_camera
from roboref_node.ros.image import color_message, depth_message
from roboref_node.ros.messages import header
from roboref_node.ros.process import run
from roboref_node.ros.sim_arm import SimulatedArm
from roboref_node.ros.transforms import message_from_transform
from roboref_node.ros.working_node import WorkingNode
from roboref_node.sim.cell import OPTICAL_FRAME, SimulatedCell
from roboref_node.sim.noise import DepthNoiseSettings

START_NS = 10_000_000_000
"""Time of the first frame is one period later. Not 0, which means "no time yet" in ROS."""


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
        camera_qos = qos.images(reliable=True)  # a reliable publisher serves best-effort subscribers too
        color, depth = self.create_publisher(Image, COLOR, camera_qos), self.create_publisher(Image, DEPTH, camera_qos)
        infos = [self.create_publisher(CameraInfo, name, camera_qos) for name in (COLOR_INFO, DEPTH_INFO)]
        joints = self.create_publisher(JointState, "joint_states", qos.ANSWERS)
        clock = self.create_publisher(Clock, "/clock", qos.ANSWERS)
        truth = self.create_publisher(String, "~/truth", qos.LATCHED)
        dynamic = TransformBroadcaster(self)
        fixed = StaticTransformBroadcaster(self)
        fixed.sendTransform(
            [
                message_from_transform(f.parent_from_child, parent=f.parent, child=f.child, stamp_ns=START_NS)
                for f in cell.frames()
                if f.is_static
            ]
        )
        told = _truth(cell)
        truth.publish(String(data=json.dumps(told)))
        self.get_logger().info(
            f"scene {settings.seed}: {len(cell.spec.objects)} objects, {settings.width}x{settings.height} at {settings.rate:g} Hz"
        )
        period_s = 1.0 / settings.rate
        next_s = time.monotonic()
        while not self.finished.wait(max(0.0, next_s - time.monotonic())):
            next_s = max(next_s + period_s, time.monotonic() - period_s)
            self._arm.step(cell, period_s)
            image = cell.render()
            stamp_ns = START_NS + cell.stamp_ns
            # Time and poses first: whoever gets the image can then place it.
            tick = Clock()
            tick.clock = header("", stamp_ns).stamp
            clock.publish(tick)
            dynamic.sendTransform(
                [
                    message_from_transform(f.parent_from_child, parent=f.parent, child=f.child, stamp_ns=stamp_ns)
                    for f in cell.frames()
                    if not f.is_static
                ]
            )
            joints.publish(JointState(header=header("", stamp_ns), name=list(cell.joint_names), position=list(cell.joint_positions_rad)))
            if (now := _truth(cell)) != told:
                told = now
                truth.publish(String(data=json.dumps(told)))
            for info in infos:
                info.publish(info_from_camera(cell.camera, stamp_ns=stamp_ns, frame_id=OPTICAL_FRAME))
            depth.publish(depth_message(_millimetres(image.depth_m), stamp_ns=stamp_ns, frame_id=OPTICAL_FRAME))
            color.publish(color_message(image.rgb, stamp_ns=stamp_ns, frame_id=OPTICAL_FRAME))


def _millimetres(depth_m: NDArray[np.float32]) -> NDArray[np.uint16]:
    """What a RealSense sends: whole millimetres, 0 where nothing is known or beyond 65.5 m."""
    millimetres = np.nan_to_num(depth_m, nan=0.0, posinf=0.0, neginf=0.0) * 1000.0
    return np.where(millimetres < 65_535.0, np.rint(millimetres), 0.0).astype(np.uint16)


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
