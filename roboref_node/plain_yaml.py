"""YAML as people mean it: plain data, every key once, and ``1e-3`` a number, as ROS reads it."""

from __future__ import annotations

import re
from typing import Any

import yaml

_FLOAT = "tag:yaml.org,2002:float"
_EXPONENT = re.compile(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)[eE][-+]?\d+$")


def parse_yaml(text: str, *, first: bool = False) -> Any:
    """The data in a YAML text; None when there is none.

    Args:
        text: One document.
        first: Take the first of several documents instead.

    Raises:
        ValueError: It is no YAML of plain data, or a mapping holds a key twice; one sentence, with the line.
    """
    try:
        loader = yaml.SafeLoader(text)
        known = loader.yaml_implicit_resolvers
        loader.yaml_implicit_resolvers = {mark: [*known.get(mark, ()), (_FLOAT, _EXPONENT)] for mark in {*known, *"-+.0123456789"}}
        try:
            node = loader.get_single_node() if not first else loader.get_node() if loader.check_node() else None
            if node is None:
                return None
            _check_keys(node, set())
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        where = "" if error.problem_mark is None else f" in line {error.problem_mark.line + 1}"
        raise ValueError(", ".join(part for part in (error.context, error.problem) if part) + where) from None
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _check_keys(node: yaml.Node, visited: set[int]) -> None:
    """Refuse a key given twice, of which the first would be lost unsaid; one that is merged (``<<``) may be replaced."""
    if id(node) in visited:
        return
    visited.add(id(node))
    if isinstance(node, yaml.MappingNode):
        names = set()
        for key, value in node.value:
            if (name := (key.tag, str(key.value))) in names:
                raise yaml.MarkedYAMLError(problem=f"the key '{key.value}' is given twice", problem_mark=key.start_mark)
            names.add(name)
            _check_keys(value, visited)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _check_keys(item, visited)
