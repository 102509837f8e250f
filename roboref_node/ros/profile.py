"""The robot profile as ROS parameters below ``profile``: the YAML file of the robot, with single values overridden."""

# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

from roboref_node.goals.profile import RobotProfile, load_profile
from roboref_node.ros.parameters import declare
from roboref_node.status import Refused, Status

_PREFIX = "profile"


class ProfileParameters:
    """Reads ``profile.*`` of a node; what is not given there comes from the file of the robot.

    Args:
        node: Made with ``automatically_declare_parameters_from_overrides=True``, so that zones of any name can be given.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._from_file: dict[str, Any] = {}
        self._frozen = False
        node.add_on_set_parameters_callback(self._on_set)

    def read(self, robot: str) -> RobotProfile:
        """The profile; all of it is then declared with descriptions and ranges.

        Args:
            robot: Name or path; the name of a new robot when its parameter file is given to the node in full.

        Raises:
            Refused: BAD_REQUEST naming the robot, or the key that is wrong.
        """
        names = self._node.get_parameters_by_prefix(_PREFIX)
        present = {name: _plain(self._node.get_parameter(f"{_PREFIX}.{name}").value) for name in names}
        # A value that this class declared itself is not "given": after a change of `robot` the new file counts.
        given = {name: value for name, value in present.items() if self._from_file.get(name) != value}
        try:
            base = load_profile(robot)
            name, from_file = base.name, {key: _plain(value) for key, value in base.to_parameters().items()}
        except Refused:
            if "base_frame" not in given:
                raise
            name, from_file = robot, {}
        profile = RobotProfile.from_parameters({**from_file, **given}, name=name)
        self._from_file = from_file
        for key in present:
            if key not in given:
                self._node.undeclare_parameter(f"{_PREFIX}.{key}")
        for item in profile.parameter_descriptions():
            problem = declare(self._node, dataclasses.replace(item, name=f"{_PREFIX}.{item.name}"))
            if problem is not None:
                raise Refused(Status.BAD_REQUEST, problem, parameter=item.name)
        return profile

    def freeze(self, frozen: bool) -> None:
        """With True, nothing below ``profile`` can be set."""
        self._frozen = frozen

    def _on_set(self, changes: list[Parameter]) -> SetParametersResult:
        names = [change.name for change in changes if change.name.startswith(f"{_PREFIX}.")]
        if not (self._frozen and names):
            return SetParametersResult(successful=True)
        reason = f"parameter {names[0]} is fixed while the node is configured: clean it up, set it, configure it again"
        return SetParametersResult(successful=False, reason=reason)


def _plain(value: Any) -> Any:
    """ROS arrays as lists, to be compared with those of a file."""
    return list(value) if isinstance(value, Iterable) and not isinstance(value, str) else value
