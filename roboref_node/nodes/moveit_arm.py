"""The ``moveit_arm`` node: serves ``arm/move`` (roboref/action/MoveArm) with an arm that MoveIt 2 moves."""

# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from roboref_node.ros.process import run
from roboref_node.status import Refused, Status

try:
    from roboref_node.ros.arm_server import ArmServer
    from roboref_node.ros.moveit_arm import MoveItMover, MoveItSettings
    from roboref_node.ros.working_node import WorkingNode

    MISSING = ""
except ModuleNotFoundError as absent:
    if absent.name is None or absent.name.split(".")[0] not in ("moveit_msgs", "control_msgs", "shape_msgs"):
        raise
    MISSING = absent.name.split(".")[0]

if not MISSING:

    class MoveItArmNode(WorkingNode[MoveItSettings]):
        """Waits for MoveIt, then serves motions until the process ends."""

        def __init__(self, **kwargs: Any) -> None:
            super().__init__("moveit_arm", MoveItSettings, **kwargs)

        def work(self, settings: MoveItSettings) -> None:
            """Serve the arm.

            Raises:
                Refused: MoveIt is not running.
            """
            mover = MoveItMover(self, settings)
            missing = mover.missing()
            if missing:
                raise Refused(
                    Status.BAD_REQUEST,
                    f"no server of {', '.join(missing)} within server_timeout_s = {settings.server_timeout_s:g} s: is move_group running?",
                )
            server = ArmServer(self, mover, (settings.base_frame,))
            self.get_logger().info(f"arm/move is served by MoveIt's group {settings.group}")
            self.finished.wait()
            mover.stop()
            server.close()


def main(args: Sequence[str] | None = None) -> int:
    """Serve until a signal arrives; 1 when MoveIt's messages are not installed."""
    if MISSING:
        print(
            f"moveit_arm needs the package {MISSING}, which is not in this environment: install MoveIt 2 "
            "(apt install ros-$ROS_DISTRO-moveit-msgs ros-$ROS_DISTRO-control-msgs) or serve arm/move yourself (docs/arm.md)",
            file=sys.stderr,
        )
        return 1
    return run(MoveItArmNode, args)


if __name__ == "__main__":
    sys.exit(main())
