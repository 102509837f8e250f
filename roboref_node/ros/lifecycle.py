"""An answer to every request for a transition: rclpy raises instead of answering an impossible one, and its client waits for ever."""

# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

from typing import Any

from rclpy.lifecycle import LifecycleNode


def answer_impossible_transitions(node: LifecycleNode) -> None:
    """Have ``~/change_state`` answer "no success", as nodes in C++ do, where rclpy raises."""
    service = node._service_change_state
    change_state = service.callback

    def answer(request: Any, response: Any) -> Any:
        try:
            return change_state(request, response)
        except RuntimeError as error:  # rclpy's own errors have no public name
            wanted = request.transition.label or request.transition.id
            node.get_logger().error(f"the transition {wanted} is not possible now: {' '.join(str(error).split())}")
            response.success = False
            return response

    service.callback = answer
