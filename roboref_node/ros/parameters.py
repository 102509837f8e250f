"""One frozen dataclass is the description of a node's parameters: declared, bounded, documented and read from here."""

# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, Generic, TypeVar

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

from roboref_node.parameters import ParameterDescription, build, describe, unflatten
from roboref_node.status import Refused, Status

T = TypeVar("T")

_EVERYWHERE = ("use_sim_time", "start_type_description_service", "qos_overrides.")
"""Parameters that rclpy gives to every node."""

_UNBOUNDED = 1e300  # ROS ranges are closed; this stands for "no bound on this side"
_UNBOUNDED_INT = 2**62


class NodeParameters(Generic[T]):
    """The parameters of one node, as described by a frozen dataclass whose fields come from `parameters.setting`.

    Every field, of sections too, is declared at once with its doc, unit, range and choices. A wrong override (command line,
    YAML, launch) does not end the node: the default is declared, and `read` refuses until somebody sets a legal value.

    Args:
        node: Where to declare them; made with ``automatically_declare_parameters_from_overrides=True``.
        settings_class: Dataclass with a default for every field and `check_settings` in its ``__post_init__``.
        live: Dotted names that may change while `freeze` is in force; the others are refused with a reason.
    """

    def __init__(self, node: Node, settings_class: type[T], *, live: frozenset[str] = frozenset()) -> None:
        self._node = node
        self._class = settings_class
        self._live = live
        self._items = {item.name: item for item in describe(settings_class())}
        self._problems: dict[str, str] = {}
        self._frozen = False
        self.current: T = settings_class()
        """The values in force: those of the last `read`, and live changes since."""
        for item in self._items.values():
            problem = declare(node, item)
            if problem is not None:
                self._problems[item.name] = problem
        node.add_on_set_parameters_callback(self._on_set)

    @property
    def names(self) -> tuple[str, ...]:
        """Dotted names of all parameters."""
        return tuple(self._items)

    def warn_of_unknown(self, *others: str) -> None:
        """Log a warning for each parameter that was given to the node and that it does not have: a slip of the pen has no effect.

        Args:
            *others: Beginnings of names that the node reads elsewhere.
        """
        for name in self._node.get_parameters_by_prefix(""):
            if name in self._items or name.startswith((*_EVERYWHERE, *others)):
                continue
            near = get_close_matches(name, self._items, 1)
            meant = f"; is {near[0]} meant?" if near else ""
            self._node.get_logger().warning(f"parameter {name} is not known and has no effect{meant}")

    def read(self) -> T:
        """The node's values as a validated settings object.

        Raises:
            Refused: BAD_REQUEST naming every wrong parameter, its value and what is allowed.
        """
        if self._problems:
            raise Refused(Status.BAD_REQUEST, "; ".join(self._problems.values()), parameters=sorted(self._problems))
        self.current = self._build({name: self._node.get_parameter(name).value for name in self._items})
        return self.current

    def freeze(self, frozen: bool) -> None:
        """With True, only live parameters can be set from now on; with False, all of them."""
        self._frozen = frozen

    def _on_set(self, changes: list[Parameter]) -> SetParametersResult:
        wanted = {change.name: change.value for change in changes if change.name in self._items}
        present = {item.name: item.value for item in describe(self.current)}
        for name, value in wanted.items():
            problem = find_problem(self._items[name], value)
            if problem is None and self._frozen and name not in self._live and value != present[name]:
                problem = f"parameter {name} is fixed while the node is configured: clean it up, set it, configure it again"
            if problem is not None:
                return SetParametersResult(successful=False, reason=problem)
        if self._frozen:
            try:
                self.current = self._build({**present, **wanted})
            except Refused as refused:
                return SetParametersResult(successful=False, reason=refused.sentence)
        for name in wanted:
            self._problems.pop(name, None)
        return SetParametersResult(successful=True)

    def _build(self, values: dict[str, Any]) -> T:
        return build(self._class, unflatten(values), path="parameters")


def declare(node: Node, item: ParameterDescription) -> str | None:
    """Declare one parameter with its description, keeping a legal value that it was given.

    Returns:
        None, or the sentence that says why the given value was replaced by the default.
    """
    given = None
    if node.has_parameter(item.name):
        given = node.get_parameter(item.name).value
        node.undeclare_parameter(item.name)
    value = item.value if given is None else _widen(given, item)
    problem = find_problem(item, value)
    # Declared with its default, so that "param set" to a legal value can repair it.
    node.declare_parameter(item.name, item.value if problem else value, _descriptor(item), ignore_override=True)
    return problem


def allowed(item: ParameterDescription) -> str:
    """What a parameter accepts, for error sentences: "a number from 0 to 10 s"."""
    if item.choices:
        return f"one of {', '.join(item.choices)}"
    kind = {bool: "true or false", int: "an integer", float: "a number", str: "text"}.get(type(item.value), "a list")
    if item.minimum is not None and item.maximum is not None:
        kind += f" from {item.minimum:g} to {item.maximum:g}"
    elif item.minimum is not None:
        kind += f" of at least {item.minimum:g}"
    elif item.maximum is not None:
        kind += f" of at most {item.maximum:g}"
    return f"{kind} {item.unit}".rstrip()


def find_problem(item: ParameterDescription, value: Any) -> str | None:
    """A sentence with name, value and what is allowed when `value` has the wrong type or is out of range; else None."""
    is_list = isinstance(value, Iterable) and not isinstance(value, str)
    legal = is_list if isinstance(item.value, list) else type(value) is type(item.value)
    if legal and item.choices:
        legal = value in item.choices
    if legal and isinstance(value, (int, float)) and not isinstance(value, bool):
        legal = (item.minimum is None or value >= item.minimum) and (item.maximum is None or value <= item.maximum)
    return None if legal else f"parameter {item.name} is {value!r}, it must be {allowed(item)}"


def _widen(value: Any, item: ParameterDescription) -> Any:
    """A float parameter takes an integer: ``-p sync_slop_s:=0`` arrives as one."""
    if isinstance(item.value, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(item.value, list) and isinstance(value, Iterable) and not isinstance(value, str):
        return list(value)
    return value


def _descriptor(item: ParameterDescription) -> ParameterDescriptor:
    text = f"{item.doc} [{item.unit}]" if item.unit else item.doc
    descriptor = ParameterDescriptor(description=text, additional_constraints=allowed(item) if item.choices else "")
    if item.minimum is None and item.maximum is None:
        return descriptor
    if isinstance(item.value, int):
        low = -_UNBOUNDED_INT if item.minimum is None else int(item.minimum)
        high = _UNBOUNDED_INT if item.maximum is None else int(item.maximum)
        descriptor.integer_range = [IntegerRange(from_value=low, to_value=high, step=0)]
    elif isinstance(item.value, float):
        low_f = -_UNBOUNDED if item.minimum is None else float(item.minimum)
        high_f = _UNBOUNDED if item.maximum is None else float(item.maximum)
        descriptor.floating_point_range = [FloatingPointRange(from_value=low_f, to_value=high_f, step=0.0)]
    return descriptor
