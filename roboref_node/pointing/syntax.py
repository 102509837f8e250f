"""The three concrete syntaxes of point answers, read into rows of numbers.

Each reader walks the text once: every pattern here has a bounded or negated-class repetition only, so that no answer, however hostile,
takes more than linear time. Nothing is evaluated. A reader returns no rows only for an explicit "nothing there" (``[]``,
"There are none."); everything that it does not understand is an `AnswerSyntaxError`.
"""

from __future__ import annotations

import json
import math
import re
from itertools import islice
from typing import Any

Row = tuple[float, ...]
"""Two numbers (a point) or four (a box whose centre is meant), as written."""

MAX_POINTS = 64
"""More points than this in one answer is a model in a loop, not an answer."""
MAX_MARKS = 8 * MAX_POINTS
"""Brackets, or equals signs of attributes, that are looked at: several times what the most points in the wordiest dialect need."""
MAX_NESTING = 8
_BLANK = " \t\r\n"
_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,9}(?:\.[0-9]{0,24})?|\.[0-9]{1,24})")
_GROUP = re.compile(r"([(\[])([^()\[\]]*)(?=([()\[\]]|\Z))")
_CLOSING = {"(": ")", "[": "]"}
_OPENING = re.compile(r"[(\[]")
_SEPARATORS = re.compile(r"[ \t\r\n,]*")
_NUMBER_LIKE = re.compile(r"[+-]?\.?\d|[+-]?(?:nan|inf)", re.IGNORECASE)
_FENCE = re.compile(r"```[A-Za-z0-9]{0,16}")
_TRAILING_COMMA = re.compile(r",(?=[ \t\r\n]{0,64}[\]}])")
_TAG = re.compile(r"<points?(?=[\s/>])([^<>]{0,8192})>")
_ATTRIBUTE = re.compile(r"""(?<![A-Za-z0-9_])([A-Za-z_][A-Za-z0-9_]{0,15})[ \t]{0,4}=[ \t]{0,4}(?:"([^"]*)"|'([^']*)')""")
_COORDINATE_NAME = re.compile(r"([xy])([0-9]{0,3})")
_NONE_THERE = re.compile(r"there (?:are|is) (?:none|no )", re.IGNORECASE)
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


class AnswerSyntaxError(ValueError):
    """The text is not an answer in the declared dialect; the message says what was met."""


def read_number(text: str) -> float:
    """A decimal number in ASCII digits, without exponent; at most 9 digits before the point.

    Raises:
        AnswerSyntaxError: Anything else: empty, NaN, infinity, exponents, other digits than ASCII, huge values.
    """
    stripped = text.strip(_BLANK)
    if _NUMBER.fullmatch(stripped) is None:
        raise AnswerSyntaxError(f"{clip(stripped, 32)!r} is not a plain number")
    return float(stripped)


def legible(text: str) -> str:
    """`text` with U+FFFD for control characters (but tabs and line ends) and lone surrogates.

    A model's words end in messages, logs and terminals: a surrogate cannot be encoded there, NUL ends a string, and escape sequences
    are obeyed.
    """
    return _UNPRINTABLE.sub("\ufffd", text)


def clip(text: str, length: int = 120) -> str:
    """The beginning of `text`, for an error sentence."""
    return text if len(text) <= length else text[: length - 3] + "..."


def read_tuples(text: str) -> list[Row]:
    """Points written as ``[(x, y), ...]``, ``(x, y)`` or ``[x, y]``, with prose around but not in between.

    Returns:
        One row (x, y) per point; no rows for ``[]``.

    Raises:
        AnswerSyntaxError: No list, more than one list, a list that is cut off, or a group of numbers that is not a pair.
    """
    if "{" in text:  # pairs inside JSON belong to a dialect with keys, and perhaps with the row first
        raise AnswerSyntaxError("a list of tuples is expected, and the answer looks like JSON")
    _check_marks(text, "([")
    rows: list[Row] = []
    empty_lists = 0
    first = last = 0
    for group in _GROUP.finditer(text):
        opening, content, terminator = group.groups()
        if not content.strip(_BLANK):
            empty_lists += opening == "[" and terminator == "]"
            continue
        pieces = content.split(",", 4)
        if len(pieces) < 2 or not any(_NUMBER_LIKE.match(piece.strip()) for piece in pieces):
            continue  # a remark in brackets
        if terminator != _CLOSING[opening]:
            raise AnswerSyntaxError(f"the group of numbers {clip(group.group(), 40)!r} is not closed")
        if len(pieces) == 3 and not pieces[2].strip(_BLANK):
            pieces.pop()
        if len(pieces) != 2:
            raise AnswerSyntaxError(f"a point has 2 numbers, and {clip(group.group(), 40)!r} is something else")
        if rows and text[last : group.start()].strip(_BLANK + ",;"):
            raise AnswerSyntaxError("the answer holds more than one list of points")
        rows.append((read_number(pieces[0]), read_number(pieces[1])))
        _check_count(len(rows))
        first = first if len(rows) > 1 else group.start()
        last = group.end() + 1
    if not rows:
        if empty_lists:
            return rows
        raise AnswerSyntaxError("the answer holds no point")
    if empty_lists:
        raise AnswerSyntaxError("the answer holds both an empty list and points")
    _check_list_is_closed(text, first, last)
    return rows


def _check_list_is_closed(text: str, first: int, last: int) -> None:
    """The brackets that open right before the first pair must close right after the last: a truncated list is no answer."""
    before = text[:first]
    expected = [_CLOSING[opening] for opening in reversed(_OPENING.findall(before, len(before.rstrip("([" + _BLANK))))]
    if len(expected) > MAX_NESTING:
        raise AnswerSyntaxError(f"brackets are nested deeper than {MAX_NESTING}")
    for closing in expected:
        separators = _SEPARATORS.match(text, last)
        last = separators.end() if separators else last
        if not text.startswith(closing, last):
            raise AnswerSyntaxError(f"the list of points is not closed by {closing!r}")
        last += 1


def read_json(text: str, point_key: str, box_key: str | None) -> list[Row]:
    """Points written as JSON objects, alone or in a list, bare or in one Markdown fence, with prose around.

    Args:
        text: The answer.
        point_key: Key of a list of two numbers.
        box_key: Key of a list of four, used by objects without `point_key`; None when boxes are not part of the dialect.

    Returns:
        One row of two or four numbers per object; no rows for ``[]``.

    Raises:
        AnswerSyntaxError: Not JSON, doubled keys, nested too deeply, or an object without a point.
    """
    document = _load_json(_json_region(text))
    entries = document if isinstance(document, list) else [document]
    _check_count(len(entries))
    return [_json_row(entry, point_key, box_key) for entry in entries]


def _json_region(text: str) -> str:
    fences = list(islice(_FENCE.finditer(text), 3))
    if fences:
        if len(fences) != 2:
            raise AnswerSyntaxError("the Markdown fences are not exactly one opening and one closing mark")
        text = text[fences[0].end() : fences[1].start()]
    starts = [i for i in (text.find("["), text.find("{")) if i >= 0]
    end = max(text.rfind("]"), text.rfind("}"))
    if not starts or end < min(starts):
        raise AnswerSyntaxError("the answer holds no JSON")
    region = text[min(starts) : end + 1]
    if region.count(",") > 8 * MAX_POINTS:
        raise AnswerSyntaxError(f"the JSON has more entries than {MAX_POINTS} points need")
    _check_marks(region, "[]{}")
    depth = 0
    for bracket in re.finditer(r"[\[\]{}]", region):  # counts brackets in strings too, which only makes the limit stricter
        depth += 1 if bracket.group() in "[{" else -1
        if depth > MAX_NESTING:
            raise AnswerSyntaxError(f"JSON is nested deeper than {MAX_NESTING}")
    return region


def _load_json(region: str) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        entries = dict(pairs)
        if len(entries) != len(pairs):
            raise AnswerSyntaxError("a JSON object names the same key twice")
        return entries

    def reject(name: str) -> float:
        raise AnswerSyntaxError(f"{name} is not a number")

    try:
        return json.loads(
            _TRAILING_COMMA.sub("", region), object_pairs_hook=unique, parse_int=read_number, parse_float=read_number, parse_constant=reject
        )
    except json.JSONDecodeError as error:
        raise AnswerSyntaxError(f"the JSON is broken: {error}") from None


def _json_row(entry: Any, point_key: str, box_key: str | None) -> Row:
    if not isinstance(entry, dict):
        raise AnswerSyntaxError(f"expected objects with {point_key!r}, found {clip(repr(entry), 40)}")
    key, length = (point_key, 2) if point_key in entry or box_key is None else (box_key, 4)
    values = entry.get(key)
    if not isinstance(values, list) or len(values) != length or not all(type(value) is float and math.isfinite(value) for value in values):
        raise AnswerSyntaxError(f"{key!r} must be a list of {length} numbers in every object")
    return tuple(values)


def read_molmo_xml(text: str) -> list[Row]:
    """Points written as ``<point x="63.5" y="44.5" alt="..">`` or ``<points x1=".." y1=".." x2=".." y2="..">``.

    Returns:
        One row (x, y) per point, in the order of their indices; no rows for "There are none.".

    Raises:
        AnswerSyntaxError: No tag, a tag cut off, an x without its y.
    """
    rows: list[Row] = []
    for attributes in _tags(text):
        columns: dict[str, dict[str, float]] = {"x": {}, "y": {}}
        for name, value in attributes.items():
            coordinate = _COORDINATE_NAME.fullmatch(name)
            if coordinate is not None:
                columns[coordinate.group(1)][coordinate.group(2)] = read_number(value)
        if not columns["x"] or columns["x"].keys() != columns["y"].keys():
            raise AnswerSyntaxError("a tag does not give an x and a y for each of its points")
        rows += [(columns["x"][i], columns["y"][i]) for i in sorted(columns["x"], key=lambda index: int(index or 0))]
        _check_count(len(rows))
    return rows


def read_molmo2_xml(text: str) -> list[Row]:
    """Points written as ``<points coords="1 1 507 492 2 600 120">``: image number, then (point number, x, y) each.

    Returns:
        One row (x, y) per point; no rows for "There are none.".

    Raises:
        AnswerSyntaxError: No tag, a tag cut off, an incomplete triple, or points in another image than the first.
    """
    rows: list[Row] = []
    for attributes in _tags(text):
        numbers = [read_number(number) for number in attributes.get("coords", "").split(" ", 3 * MAX_POINTS + 1)]
        if len(numbers) < 4 or len(numbers) % 3 != 1:
            raise AnswerSyntaxError("coords must be an image number and three numbers per point")
        if numbers[0] != 1.0:
            raise AnswerSyntaxError(f"the points are in image {numbers[0]:g}, and only the first is asked about")
        rows += list(zip(numbers[2::3], numbers[3::3], strict=True))
        _check_count(len(rows))
    return rows


def _tags(text: str) -> list[dict[str, str]]:
    """Attributes of every ``<point>`` and ``<points>`` tag; none when the model says that there is nothing."""
    _check_marks(text, "=")
    found = list(_TAG.finditer(text))
    if len(found) != text.count("<point"):
        raise AnswerSyntaxError("a <point> tag is cut off or malformed")
    if not found:
        if _NONE_THERE.search(text):
            return []
        raise AnswerSyntaxError("the answer holds no <point> tag")
    _check_count(len(found))
    return [_attributes(tag.group(1)) for tag in found]


def _attributes(text: str) -> dict[str, str]:
    values: dict[str, str] = {}
    end = 0
    for attribute in _ATTRIBUTE.finditer(text):
        name = attribute.group(1)
        if text[end : attribute.start()].strip(_BLANK) or name in values:
            raise AnswerSyntaxError(f"the tag <point{clip(text, 40)}> is malformed")
        values[name] = attribute.group(2) if attribute.group(2) is not None else attribute.group(3)
        end = attribute.end()
    if text[end:].strip(_BLANK + "/"):
        raise AnswerSyntaxError(f"the tag <point{clip(text, 40)}> is malformed")
    return values


def _check_count(count: int) -> None:
    if count > MAX_POINTS:
        raise AnswerSyntaxError(f"the answer holds more than {MAX_POINTS} points")


def _check_marks(text: str, marks: str) -> None:
    """What is walked mark by mark must not have thousands of them, or a hostile answer costs milliseconds."""
    if sum(map(text.count, marks)) > MAX_MARKS:
        raise AnswerSyntaxError(f"it has more than {MAX_MARKS} of {' '.join(marks)}, which {MAX_POINTS} points do not need")
