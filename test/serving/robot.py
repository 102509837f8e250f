"""A robot that asks a server: its questions, and what it makes of the answers."""

from __future__ import annotations

from roboref_node.frame import Frame
from roboref_node.pointing.http_settings import HttpSettings
from roboref_node.status import Refused, Status
from roboref_node.task import Task, TaskKind

TASKS = [
    Task(TaskKind.PICK, "the red cup left of the blue box", ""),
    Task(TaskKind.POINT, "the leftmost bottle", ""),
    Task(TaskKind.PLACE, "behind the bowl", ""),
]


def http(url: str, **changes) -> HttpSettings:
    return HttpSettings(url, **{"token_env": "ROBOREF_TEST_TOKEN", "retries": 0, **changes})


def said(pointer, frame: Frame, task: Task) -> str:
    """The answer's text, or the status of the refusal."""
    try:
        return pointer.point(frame, task).text
    except Refused as refusal:
        return refusal.status.value


def is_answer(outcome: str) -> bool:
    """The model was reached and understood, whatever random weights say."""
    return outcome.startswith("[") or outcome == Status.NOT_FOUND.value
