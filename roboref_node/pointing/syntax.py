"""The concrete syntaxes of point answers but Molmo's tags (`roboref_node.pointing.molmo_syntax`), read into rows of numbers.

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

from roboref_node.pointing.remarks import denies, denies_itself, holds_a_position, is_cut_off, second_answer

Row = tuple[float, ...]
"""Two numbers (a point) or four (a box whose centre is meant), as written."""

MAX_POINTS = 64
"""More points than this in one answer is a model in a loop, not an answer."""
MAX_MARKS = 8 * MAX_POINTS
"""Brackets of JSON that are looked at: twice what the most points in the wordiest dialect need."""
MAX_TUPLE_MARKS = 3 * MAX_POINTS
"""As `MAX_MARKS`, brackets of tuples, which cost the most time each and of which a list of the most points has one more than points."""
MAX_NESTING = 8
BLANK = " \t\r\n"
_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,9}(?:\.[0-9]{0,24})?|\.[0-9]{1,24})")
_GROUP = re.compile(r"([(\[])([^()\[\]]*)(?=([()\[\]]|\Z))")
_CLOSING = {"(": ")", "[": "]"}
_OPENING = re.compile(r"[(\[]")
_SEPARATORS = re.compile(r"[ \t\r\n,]*")
_NUMBER_LIKE = re.compile(r"(?:[xyuv][ \t]{0,4}[=:][ \t]{0,4})?[+-]?(?:\.?\d|(?:nan|inf)\b)", re.IGNORECASE)
_DIGIT = re.compile(r"\d")
_PAIR_WITHOUT_COMMA = re.compile(r"[+-]?[0-9.]{1,24}[ \t\r\n;]{1,16}[+-]?[0-9.]{1,24}")
_OWNERS = {"point": "dialect 'gemini'", "point_2d": "dialect 'qwen25_vl' or 'qwen3_vl'"}
_STEP_KINDS = ("position", "orientation", "size")
_FENCE = re.compile(r"```[A-Za-z0-9]{0,16}")
_TRAILING_COMMA = re.compile(r",(?=[ \t\r\n]{0,64}[\]}])")
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


class AnswerSyntaxError(ValueError):
    """The text is not an answer in the declared dialect; the message says what was met."""


class FractionalNumber(float):
    """A number that was written with a decimal point, whatever its value: 1.0 is the right edge on one scale and pixel 1 on another."""


def read_number(text: str) -> float:
    """A decimal number in ASCII digits, without exponent; at most 9 digits before the point.

    Raises:
        AnswerSyntaxError: Anything else: empty, NaN, infinity, exponents, other digits than ASCII, huge values.
    """
    stripped = text.strip(BLANK)
    if not stripped:
        raise AnswerSyntaxError("a number is missing")
    if _NUMBER.fullmatch(stripped) is None:
        raise AnswerSyntaxError(f"{clip(stripped, 32)!r} is not a plain number")
    return FractionalNumber(stripped) if "." in stripped else float(stripped)


def legible(text: str) -> str:
    """`text` with U+FFFD for control characters (but tabs and line ends) and lone surrogates.

    A model's words end in messages, logs and terminals: a surrogate cannot be encoded there, NUL ends a string, and escape sequences
    are obeyed.
    """
    return _UNPRINTABLE.sub("\ufffd", text)


def clip(text: str, length: int = 120) -> str:
    """The beginning of `text`, for an error sentence."""
    return text if len(text) <= length else text[: length - 3] + "..."


def _holds_number(content: str) -> bool:
    """Whether there is a digit, "nan" or "inf"; one expression for the three is several times slower on a page of commas or of n's."""
    lowered = content.lower()
    return _DIGIT.search(content) is not None or "nan" in lowered or "inf" in lowered


def read_tuples(text: str) -> list[Row]:
    """Points written as ``[(x, y), ...]``, ``(x, y)`` or ``[x, y]``, with prose around but not in between.

    Returns:
        One row (x, y) per point; no rows for ``[]`` and for "There is no red mug in the image.".

    Raises:
        AnswerSyntaxError: No list, more than one list, a list that is cut off, or a group of numbers that is not a pair.
    """
    if "{" in text:  # pairs inside JSON belong to a dialect with keys, and perhaps with the row first
        raise AnswerSyntaxError("a list of tuples is expected, and the answer looks like JSON")
    if "<point" in text:
        raise AnswerSyntaxError("a list of tuples is expected, and the answer holds a <point> tag")
    check_marks(text, "([", MAX_TUPLE_MARKS)
    rows: list[Row] = []
    empty_lists = 0
    first = last = 0
    for group in _GROUP.finditer(text):
        opening, content, terminator = group.groups()
        if not content.strip(BLANK):
            empty_lists += opening == "[" and terminator == "]"
            continue
        if not _holds_number(content):
            _check_is_no_step(group.group(), content)
            continue
        pieces = content.split(",", 4)
        if len(pieces) < 2 or not any(_NUMBER_LIKE.match(piece.strip()) for piece in pieces):
            _check_is_remark(group.group(), content)
            continue
        if terminator != _CLOSING[opening]:
            raise AnswerSyntaxError(f"the group of numbers {clip(group.group(), 40)!r} is not closed")
        if len(pieces) == 3 and not pieces[2].strip(BLANK):
            pieces.pop()
        if len(pieces) != 2:
            raise AnswerSyntaxError(f"a point has 2 numbers, and {clip(group.group(), 40)!r} is something else")
        if rows and text[last : group.start()].strip(BLANK + ",;"):
            raise AnswerSyntaxError("the answer holds more than one list of points")
        rows.append((read_number(pieces[0]), read_number(pieces[1])))
        check_count(len(rows))
        first = first if len(rows) > 1 else group.start()
        last = group.end() + 1
    if not rows:
        if empty_lists:
            _check_nothing(text)
            return rows
        if denies(text):
            return rows
        raise AnswerSyntaxError("the answer is cut off before its first point" if is_cut_off(text) else "the answer holds no point")
    if empty_lists:
        raise AnswerSyntaxError("the answer holds both an empty list and points")
    check_only_answer(text[:first].rstrip("([" + BLANK), text[_end_of_list(text, first, last) :], pairs=False)
    return rows


def _check_is_remark(group: str, content: str) -> None:
    """A group of brackets without a pair may be passed over only if it is prose: not a broken pair, nor the head of a reasoning step."""
    if _PAIR_WITHOUT_COMMA.fullmatch(content.strip(BLANK)):
        raise AnswerSyntaxError(f"a point has 2 numbers with a comma in between, and {clip(group, 40)!r} is something else")
    _check_is_no_step(group, content)


def _check_is_no_step(group: str, content: str) -> None:
    if group.startswith("[") and content.strip(BLANK).lower() in _STEP_KINDS:
        raise AnswerSyntaxError(f"{clip(group, 40) + ']'!r} begins a reasoning step, which is malformed or not part of this dialect")


def _end_of_list(text: str, first: int, last: int) -> int:
    """The brackets that open right before the first pair must close right after the last, and no others: a truncated list is no answer."""
    before = text[:first]
    expected = [_CLOSING[opening] for opening in reversed(_OPENING.findall(before, len(before.rstrip("([" + BLANK))))]
    if len(expected) > MAX_NESTING:
        raise AnswerSyntaxError(f"brackets are nested deeper than {MAX_NESTING}")
    for closing in expected:
        separators = _SEPARATORS.match(text, last)
        last = separators.end() if separators else last
        if not text.startswith(closing, last):
            raise AnswerSyntaxError(f"the list of points is not closed by {closing!r}")
        last += 1
    after = text[last : last + 64].lstrip(BLANK)
    for opening, closing in _CLOSING.items():
        if after.startswith(closing) and text.count(closing) > text.count(opening):
            raise AnswerSyntaxError(f"the list of points is closed by a {closing!r} that was not opened")
    return last


def read_json(text: str, point_key: str, box_key: str | None) -> list[Row]:
    """Points written as JSON objects, alone or in a list, bare or in one Markdown fence, with prose around.

    Args:
        text: The answer.
        point_key: Key of a list of two numbers.
        box_key: Key of a list of four, used by objects without `point_key`; None when boxes are not part of the dialect.

    Returns:
        One row of two or four numbers per object; no rows for ``[]`` and for "There is no red mug in the image.".

    Raises:
        AnswerSyntaxError: Not JSON, doubled keys, nested too deeply, or an object without a point.
    """
    if "[" not in text and "{" not in text and denies(text):
        return []
    before, region, after = _json_region(text)
    document = _load_json(region)
    entries = document if isinstance(document, list) else [document]
    check_count(len(entries))
    rows = [_json_row(entry, point_key, box_key) for entry in entries]
    if rows:
        check_only_answer(before, after)
    else:
        _check_nothing(f"{before}\n{after}")
    return rows


def _json_region(text: str) -> tuple[str, str, str]:
    """What stands before the JSON, the JSON, and what stands after it."""
    before = after = ""
    fences = list(islice(_FENCE.finditer(text), 3))
    if fences:
        if len(fences) != 2:
            raise AnswerSyntaxError("the Markdown fences are not exactly one opening and one closing mark")
        before, text, after = text[: fences[0].start()], text[fences[0].end() : fences[1].start()], text[fences[1].end() :]
    starts = [i for i in (text.find("["), text.find("{")) if i >= 0]
    end = max(text.rfind("]"), text.rfind("}"))
    if not starts:
        raise AnswerSyntaxError("the answer holds no JSON")
    if end < min(starts) or is_cut_off(text[end + 1 :]):
        raise AnswerSyntaxError("the JSON is cut off")
    region = text[min(starts) : end + 1]
    if region.count(",") > 8 * MAX_POINTS:
        raise AnswerSyntaxError(f"the JSON has more entries than {MAX_POINTS} points need")
    check_marks(region, "[]{}")
    depth = 0
    for bracket in re.finditer(r"[\[\]{}]", region):  # counts brackets in strings too, which only makes the limit stricter
        depth += 1 if bracket.group() in "[{" else -1
        if depth > MAX_NESTING:
            raise AnswerSyntaxError(f"JSON is nested deeper than {MAX_NESTING}")
    return before + text[: min(starts)], region, text[end + 1 :] + after


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
        reason = "the JSON is cut off" if error.pos >= len(error.doc) else f"the JSON is broken: {error}"
        raise AnswerSyntaxError(reason) from None


def _json_row(entry: Any, point_key: str, box_key: str | None) -> Row:
    if not isinstance(entry, dict):
        raise AnswerSyntaxError(f"expected objects with {point_key!r}, found {clip(repr(entry), 40)}")
    label = entry.get("label")
    if isinstance(label, str) and denies_itself(label):
        raise AnswerSyntaxError(f"an object has the label {clip(label, 40)!r}, and a point all the same")
    box = _json_numbers(entry, box_key, 4) if box_key in entry and box_key is not None else None
    if box is not None and (box[0] > box[2] or box[1] > box[3]):  # perhaps x, y, width, height, which has its centre elsewhere
        raise AnswerSyntaxError(f"{box_key!r} must be left, top, right, bottom, and {clip(repr(entry[box_key]), 40)} is not in that order")
    if point_key not in entry:
        if box is None:
            keys = clip(", ".join(map(repr, entry)), 60)
            hint = next((f": it looks like {owner}" for key, owner in _OWNERS.items() if key in entry), "")
            raise AnswerSyntaxError(f"{point_key!r} is missing in an object with {f'the keys {keys}' if keys else 'no keys'}{hint}")
        return box
    point = _json_numbers(entry, point_key, 2)
    if box is not None and not (box[0] <= point[0] <= box[2] and box[1] <= point[1] <= box[3]):
        raise AnswerSyntaxError(f"{point_key!r} lies outside {box_key!r} of the same object")
    return point


def _json_numbers(entry: dict[str, Any], key: str, length: int) -> Row:
    values = entry[key]
    if (
        not isinstance(values, list)
        or len(values) != length
        or not all(isinstance(value, float) and math.isfinite(value) for value in values)
    ):
        raise AnswerSyntaxError(f"{key!r} must be a list of {length} numbers in every object")
    return tuple(values)


def check_only_answer(before: str, after: str, *, pairs: bool = True) -> None:
    """See `second_answer`."""
    reason = second_answer(before, after, pairs=pairs)
    if reason is not None:
        raise AnswerSyntaxError(reason)


def _check_nothing(text: str) -> None:
    """An empty list means "nothing there" only when no point stands beside it."""
    if holds_a_position(text):
        raise AnswerSyntaxError("the answer holds an empty list, and numbers or open brackets that could be a point")


def check_count(count: int) -> None:
    """More points than `MAX_POINTS` are no answer."""
    if count > MAX_POINTS:
        raise AnswerSyntaxError(f"the answer holds more than {MAX_POINTS} points")


def check_marks(text: str, marks: str, most: int = MAX_MARKS) -> None:
    """What is walked mark by mark must not have thousands of them, or a hostile answer costs milliseconds."""
    if sum(map(text.count, marks)) > most:
        raise AnswerSyntaxError(f"it has more than {most} of {' '.join(marks)}, which {MAX_POINTS} points do not need")
