"""Messages by the name of their type: their class, and the definition of those that are no part of ROS itself."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ament_index_python import PackageNotFoundError, get_package_share_directory
from rosbags.interfaces import Nodetype
from rosbags.typesys import TypesysError, get_types_from_msg
from rosbags.typesys.store import Typestore

from roboref_node.status import Refused, Status


def message_class(kind: str, topic: str) -> Any:
    """The Python class of a topic's messages.

    Raises:
        Refused: BAD_REQUEST when it is not installed, or is that of an action or a service.
    """
    package, group, name = kind.split("/")
    try:
        if group == "msg":
            return getattr(importlib.import_module(f"{package}.msg"), name)
    except (ImportError, AttributeError):
        pass
    raise Refused(Status.BAD_REQUEST, f"the type {kind} of {topic} is not installed here")


def learn(store: Typestore, kind: str, topic: str) -> None:
    """Make a message, and those inside it, known to `store`.

    Args:
        store: What knows the messages of ROS itself.
        kind: For example ``roboref/msg/Referral``.
        topic: For the sentence.

    Raises:
        Refused: BAD_REQUEST when a definition is not installed here, or cannot be read.
    """
    waiting = [kind]
    types: dict[str, Any] = {}
    while waiting:
        name = waiting.pop()
        if name not in store.fielddefs and name not in types:
            types |= _defined(name, topic)
            waiting.extend(_names(types[name][1]))
    if types:
        store.register(types)


def _defined(kind: str, topic: str) -> Any:
    package, _, name = kind.split("/")
    try:
        text = (Path(get_package_share_directory(package)) / "msg" / f"{name}.msg").read_text(encoding="utf-8")
        return get_types_from_msg(text, kind)
    except (PackageNotFoundError, OSError, ValueError, TypesysError) as error:
        raise Refused(Status.BAD_REQUEST, f"the definition of {kind} of {topic} is not installed here: {error}") from None


def _names(node: Any) -> Iterator[str]:
    """Messages that a definition names, wherever in it."""
    if isinstance(node, tuple) and len(node) == 2 and node[0] is Nodetype.NAME:
        yield node[1]
    elif isinstance(node, (tuple, list)):
        for part in node:
            yield from _names(part)
