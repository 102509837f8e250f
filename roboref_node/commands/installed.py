"""What is not installed: named with the command that installs it, before anything is imported that needs it."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterable

from roboref_node.status import Refused, Status
from roboref_node.strict_json import to_json

ROS_IS_MISSING = 3
"""Exit status of a command that needs ROS 2 where there is none."""

_TRAINING = ("accelerate", "tensorboard", "tqdm")


def what_ros_lacks() -> str:
    """What of ROS 2 cannot be imported and how to mend that, in parentheses and half a sentence; "" when nothing is missing."""
    if importlib.util.find_spec("rclpy") is None:
        return "(rclpy is not importable): source your distribution's setup.bash, or `make setup` and `. ./env.sh`."
    try:
        found = importlib.util.find_spec("roboref.msg")
    except ModuleNotFoundError:
        found = None
    if found is None:
        return "(roboref's messages are not importable): source install/setup.bash of your workspace, or `make setup` and `. ./env.sh`."
    return ""


def tells_that_ros_is_missing(command: str, others: Iterable[str] = (), *, as_json: bool) -> bool:
    """True, and told, when ROS 2, or the messages of this package, cannot be imported.

    Args:
        command: What needs it.
        others: What works without it.
        as_json: Print a JSON object as the last line too.
    """
    lacking = what_ros_lacks()
    if not lacking:
        return False
    sentence = f"{command} needs ROS 2 {lacking}"
    print(sentence, file=sys.stderr)
    if others:
        print(f"Without ROS these work: {', '.join(others)}.", file=sys.stderr)
    if as_json:
        print(to_json({"status": Status.BAD_REQUEST.value, "sentence": sentence}))
    return True


def check_training_packages(command: str) -> None:
    """Whether training can run.

    Raises:
        Refused: BAD_REQUEST naming the packages that are not installed.
    """
    missing = [name for name in _TRAINING if importlib.util.find_spec(name) is None]
    if missing:
        how = "pip install 'roboref[train]' (requirements/train.txt)"
        raise Refused(Status.BAD_REQUEST, f"{command} needs {', '.join(missing)}, not installed here: {how}")
