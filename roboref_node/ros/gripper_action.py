"""A gripper behind one of ros2_control's two actions."""

# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

from enum import Enum
from typing import Any

import control_msgs.action as actions
from rclpy.node import Node

from roboref_node.ros.action_call import ActionCaller
from roboref_node.status import Refused, Status


class GripperKind(str, Enum):
    """Actions of control_msgs; each controller serves one of them."""

    GRIPPER_COMMAND = "gripper_command"
    """GripperCommand: ``position_controllers/GripperActionController`` and its kind, up to Jazzy."""
    PARALLEL_GRIPPER_COMMAND = "parallel_gripper_command"
    """ParallelGripperCommand: ``parallel_gripper_action_controller/GripperActionController``, from Jazzy on."""


_ACTIONS = {GripperKind.GRIPPER_COMMAND: "GripperCommand", GripperKind.PARALLEL_GRIPPER_COMMAND: "ParallelGripperCommand"}


class GripperAction:
    """Goals and results of the two actions, alike.

    Args:
        node: Owns the client.
        kind: Which action.
        name: Its name.

    Raises:
        Refused: BAD_REQUEST when the installed control_msgs does not have it.
    """

    def __init__(self, node: Node, kind: GripperKind, name: str) -> None:
        wanted = _ACTIONS[kind]
        self._action: Any = getattr(actions, wanted, None)
        if self._action is None:
            raise Refused(Status.BAD_REQUEST, f"gripper_kind is {kind.value}, and the installed control_msgs has no {wanted}")
        self._is_parallel = kind is GripperKind.PARALLEL_GRIPPER_COMMAND
        self.caller = ActionCaller(node, self._action, name)

    def goal(self, position: float, effort: float) -> Any:
        """To bring the joint to a position with at most this effort (N or Nm)."""
        goal = self._action.Goal()
        if self._is_parallel:
            goal.command.position, goal.command.effort = [position], [effort]
        else:
            goal.command.position, goal.command.max_effort = position, effort
        return goal

    def position(self, result: Any) -> float:
        """Where the joint ended."""
        return float(result.state.position[0] if self._is_parallel else result.position)
