"""What rewards read from a completion: tags, numbers, JSON, maps. Bounded patterns only; nothing a model says is evaluated."""

from __future__ import annotations

import json
import math
import re
from typing import Any, NamedTuple

MAX_CHARS = 64 * 1024
"""A longer completion earns nothing: it is a model in a loop."""

_TAG = re.compile(r"</?(?:think|answer)>")
_TAGS = ["<think>", "</think>", "<answer>", "</answer>"]
THINK_TO_ANSWER = re.compile(r"</think>\s*<answer>")
_NUMBER = re.compile(r"(?<![\w.])[-+]?\d{1,15}(?:\.\d{1,15})?(?![\w.]*\d)")
_FENCE = re.compile(r"\A```[A-Za-z0-9]{0,16}\n(.*)\n?```\Z", re.DOTALL)
_TRAILING_COMMA = re.compile(r",(?=\s{0,16}[\]}])")
_CATEGORY = re.compile(r"""["']([^"'\[\]]{1,80})["']\s{0,4}:\s{0,4}\[((?:[^\[\]]|\[[^\[\]]*\])*)\]""")
_CELL = re.compile(r"[\[(]([^\[\]()]*)[\])]")


class Sections(NamedTuple):
    """The two parts of a well-formed completion."""

    thinking: str
    answer: str


def sections(text: str) -> Sections | None:
    """Parts of ``<think>..</think><answer>..</answer>``: each tag once, in this order, and nothing but white space around them."""
    if len(text) > MAX_CHARS or _TAG.findall(text) != _TAGS:
        return None
    before, _, rest = text.partition("<think>")
    thinking, _, rest = rest.partition("</think>")
    between, _, rest = rest.partition("<answer>")
    answer, _, after = rest.partition("</answer>")
    return None if (before + between + after).strip() else Sections(thinking, answer)


def tags_in_order(text: str) -> bool:
    """Each of the four tags once and in order, whatever surrounds them."""
    return len(text) <= MAX_CHARS and _TAG.findall(text) == _TAGS


def spans_think_answer(text: str) -> bool:
    """The whole text matches ``<think>.*?</think>\\s*<answer>.*?</answer>``, in linear time; tags inside the parts are allowed."""
    if len(text) > MAX_CHARS or not (text.startswith("<think>") and text.endswith("</answer>")):
        return False
    return THINK_TO_ANSWER.search(text, len("<think>"), len(text) - len("</answer>")) is not None


def thinking_of(text: str) -> str:
    """What stands before ``</think>``; empty without that tag."""
    thinking, closed, _ = text[:MAX_CHARS].partition("</think>")
    return thinking.rpartition("<think>")[2] if closed else ""


def answer_of(text: str) -> str:
    """What stands in the first ``<answer>..</answer>``, trimmed; empty without it."""
    return _first_answer(text) or ""


def answer_or_all(text: str) -> str:
    """`answer_of`, or the whole text, trimmed, where there is no answer tag. An empty answer stays empty: thinking is no answer."""
    answer = _first_answer(text)
    return text[:MAX_CHARS].strip() if answer is None else answer


def _first_answer(text: str) -> str | None:
    _, opened, rest = text[:MAX_CHARS].partition("<answer>")
    answer, closed, _ = rest.partition("</answer>")
    return answer.strip() if opened and closed else None


def number_in(text: str) -> float | None:
    """The first decimal number, sign included; None without one."""
    found = _NUMBER.search(text[:MAX_CHARS].replace("−", "-"))
    return float(found.group()) if found else None


def json_in(text: str) -> Any:
    """The JSON document that the text is, fenced or bare, trailing commas forgiven.

    Raises:
        ValueError: It is no JSON, or holds NaN, an infinity or numbers beyond floating point.
    """
    body = text[:MAX_CHARS].strip()
    fenced = _FENCE.match(body)
    try:
        return json.loads(
            _TRAILING_COMMA.sub("", fenced.group(1) if fenced else body), parse_constant=_reject, parse_float=_finite, parse_int=_finite
        )
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _reject(name: str) -> float:
    raise ValueError(f"{name} is not a number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is not a finite number")
    return value


def numbers(values: Any, count: int) -> tuple[float, ...] | None:
    """A list of exactly `count` finite numbers from a JSON document; None for anything else."""
    if not isinstance(values, list) or len(values) != count or not all(type(value) is float for value in values):
        return None
    return tuple(values)


def map_in(text: str) -> dict[str, list[tuple[float, ...]]] | None:
    """Categories, in lower case, and cells of the first ``<map>{'chair': [[2, 3], [5, 3]]}</map>``; None without the tags.

    Quotes of either kind, round numbers too. A cell that is not numbers is kept as an empty one: it counts as a prediction and matches
    nothing.
    """
    _, opened, rest = text[:MAX_CHARS].partition("<map>")
    body, closed, _ = rest.partition("</map>")
    if not (opened and closed):
        return None
    objects: dict[str, list[tuple[float, ...]]] = {}
    for category in _CATEGORY.finditer(body):
        cells = objects.setdefault(category.group(1).strip().lower(), [])
        cells.extend(_cell(cell.group(1)) for cell in _CELL.finditer(category.group(2)))
    return objects


def _cell(text: str) -> tuple[float, ...]:
    try:
        values = tuple(float(number.strip(" \t\n'\"")) for number in text.split(",", 8))
    except ValueError:
        return ()
    return values if all(map(math.isfinite, values)) else ()
