"""Frozen dataclasses as typed, documented, validated parameters: one description for YAML, ROS and the docs."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar

from roboref_node.status import Refused, Status

ParameterValue = bool | int | float | str | list[float] | list[str]
T = TypeVar("T")

SHARED: Mapping[str, Any] = types.MappingProxyType({"shared": True})
"""Metadata of a section that the owner of several settings gives to all of them: no parameter of its own."""


@dataclass(frozen=True)
class ParameterDescription:
    """One leaf parameter, enough to declare it in ROS or to print its documentation.

    Args:
        name: Dotted name, e.g. ``gripper.max_opening_m``.
        value: Current value; lists for sequences.
        doc: One sentence.
        unit: "m", "rad", ... or "".
        minimum: Inclusive lower bound or None.
        maximum: Inclusive upper bound or None.
        choices: Legal strings of an enumeration, else empty.
    """

    name: str
    value: ParameterValue
    doc: str
    unit: str
    minimum: float | None
    maximum: float | None
    choices: tuple[str, ...]


def setting(
    doc: str,
    *,
    default: Any = dataclasses.MISSING,
    unit: str = "",
    minimum: float | None = None,
    maximum: float | None = None,
) -> Any:
    """A dataclass field with a description; `check_settings` enforces the bounds (inclusive, on every element)."""
    metadata = {"doc": doc, "unit": unit, "min": minimum, "max": maximum}
    if default is dataclasses.MISSING:
        return dataclasses.field(metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def check_settings(instance: Any) -> None:
    """Coerce and validate every described field of a frozen dataclass; call it from ``__post_init__``.

    Integers become floats where a float is declared, lists become tuples, strings become members of a declared enumeration.

    Raises:
        ValueError: A value has the wrong type, is not finite or outside its bounds. The sentence names the key.
    """
    hints = typing.get_type_hints(type(instance))
    for item in dataclasses.fields(instance):
        if "doc" not in item.metadata:
            continue
        value = _coerce(item.name, getattr(instance, item.name), hints[item.name])
        low, high = item.metadata["min"], item.metadata["max"]
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, bool) or not isinstance(number, (int, float)):
                continue
            if not math.isfinite(number):
                raise ValueError(f"{item.name} is {number}, it must be finite")
            if low is not None and number < low:
                raise ValueError(f"{item.name} is {number:g}, it must be at least {low:g} {item.metadata['unit']}".rstrip())
            if high is not None and number > high:
                raise ValueError(f"{item.name} is {number:g}, it must be at most {high:g} {item.metadata['unit']}".rstrip())
        object.__setattr__(instance, item.name, value)


def _coerce(name: str, value: Any, hint: Any) -> Any:
    if typing.get_origin(hint) is tuple:
        elements = typing.get_args(hint)
        if not isinstance(value, (list, tuple)):
            raise ValueError(f"{name} is {value!r}, it must be a list")
        if elements[-1] is not Ellipsis and len(value) != len(elements):
            raise ValueError(f"{name} has {len(value)} elements, it must have {len(elements)}")
        return tuple(_coerce(name, element, elements[0]) for element in value)
    if isinstance(hint, type) and issubclass(hint, Enum):
        try:
            return hint(value)
        except ValueError:
            legal = ", ".join(str(member.value) for member in hint)
            raise ValueError(f"{name} is {value!r}, it must be one of {legal}") from None
    if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise ValueError(f"{name} is {value!r}, it must be of type {hint.__name__}")
    return value


def unflatten(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Nested dictionary from dotted names; mappings that are nested already stay so.

    Raises:
        Refused: BAD_REQUEST when a name is both a value and a section.
    """
    nested: dict[str, Any] = {}
    for name, value in parameters.items():
        *sections, leaf = str(name).split(".")
        level = nested
        for section in sections:
            level = level.setdefault(section, {})
            if not isinstance(level, dict):
                raise Refused(Status.BAD_REQUEST, f"parameter '{name}': '{section}' is a value, not a section")
        value = unflatten(value) if isinstance(value, Mapping) else value
        if isinstance(level.get(leaf), dict) and isinstance(value, dict):
            level[leaf] = {**level[leaf], **value}
        elif leaf in level:
            raise Refused(Status.BAD_REQUEST, f"parameter '{name}' is given twice")
        else:
            level[leaf] = value
    return nested


def build(kind: type[T], values: Mapping[str, Any], *, path: str) -> T:
    """Build dataclass `kind` from a nested mapping of its described fields and of fields that are such dataclasses.

    Args:
        kind: Frozen dataclass whose ``__post_init__`` calls `check_settings`.
        values: Nested mapping; keys that are no field are an error, never ignored.
        path: Where the mapping stands, for error sentences, e.g. ``profile.gripper``.

    Raises:
        Refused: BAD_REQUEST naming the key.
    """
    hints = typing.get_type_hints(kind)
    fields = {item.name for item in dataclasses.fields(kind) if "shared" not in item.metadata}  # type: ignore[arg-type]
    unknown = sorted(str(key) for key in values if key not in fields)
    if unknown:
        raise Refused(Status.BAD_REQUEST, f"{path} has no setting {', '.join(unknown)}; it has {', '.join(sorted(fields))}")
    arguments: dict[str, Any] = {}
    for key, value in values.items():
        section = section_type(hints[key])
        if section is not None and isinstance(value, Mapping):
            value = build(section, value, path=f"{path}.{key}")
        elif section is not None and value is not None:
            raise Refused(Status.BAD_REQUEST, f"{path}.{key} is a group of settings, it cannot be {value!r}")
        arguments[key] = value
    missing = [item.name for item in dataclasses.fields(kind) if item.name not in arguments and _has_no_default(item)]  # type: ignore[arg-type]
    if missing:
        raise Refused(Status.BAD_REQUEST, f"{path} needs {' and '.join(missing)}")
    try:
        return kind(**arguments)
    except (ValueError, TypeError) as error:
        raise Refused(Status.BAD_REQUEST, f"{path}: {error}") from error


def _has_no_default(item: dataclasses.Field[Any]) -> bool:
    return item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING


def section_type(hint: Any) -> type[Any] | None:
    """The dataclass in ``hint``, which is that class or ``class | None``; None when there is none."""
    options = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    return next((option for option in options if dataclasses.is_dataclass(option) and isinstance(option, type)), None)


def describe(instance: Any, prefix: str = "") -> tuple[ParameterDescription, ...]:
    """All described leaves of a dataclass and of the dataclasses inside it, in the order of declaration."""
    leaves: list[ParameterDescription] = []
    hints = typing.get_type_hints(type(instance))
    for item in dataclasses.fields(instance):
        value = getattr(instance, item.name)
        if "shared" in item.metadata:
            continue
        if dataclasses.is_dataclass(value):
            leaves += describe(value, f"{prefix}{item.name}.")
        elif "doc" in item.metadata:
            hint = hints[item.name]
            choices = tuple(str(member.value) for member in hint) if isinstance(hint, type) and issubclass(hint, Enum) else ()
            plain = value.value if isinstance(value, Enum) else list(value) if isinstance(value, tuple) else value
            meta = item.metadata
            leaves.append(ParameterDescription(prefix + item.name, plain, meta["doc"], meta["unit"], meta["min"], meta["max"], choices))
    return tuple(leaves)
