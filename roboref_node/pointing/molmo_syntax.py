"""Molmo's and Molmo 2's tags, read into rows of numbers, under the rules of `roboref_node.pointing.syntax`."""

from __future__ import annotations

import re

from roboref_node.pointing.remarks import denies
from roboref_node.pointing.syntax import (
    BLANK,
    MAX_POINTS,
    AnswerSyntaxError,
    Row,
    check_count,
    check_marks,
    check_only_answer,
    clip,
    read_number,
)

MAX_ATTRIBUTES = 4 * MAX_POINTS
"""Equals signs that are looked at: a tag per point has three attributes, x, y and alt."""
_TAG = re.compile(r"<points?(?=[\s/>])([^<>]{0,8192})>")
_LABEL = re.compile(r"[^<>]{0,8192}</points?>")
_ATTRIBUTE = re.compile(r"""(?<![A-Za-z0-9_])([A-Za-z_][A-Za-z0-9_]{0,15})[ \t]{0,4}=[ \t]{0,4}(?:"([^"]*)"|'([^']*)')""")
_COORDINATE_NAME = re.compile(r"([xy])([0-9]{0,3})")


def read_molmo_xml(text: str) -> list[Row]:
    """Points written as ``<point x="63.5" y="44.5" alt="..">..</point>`` or ``<points x1=".." y1=".." x2=".." y2="..">..</points>``.

    Returns:
        One row (x, y) per point, in the order of their indices; no rows for "There are none.".

    Raises:
        AnswerSyntaxError: No tag, a tag cut off, an x without its y, a number given twice, or another answer beside the tags.
    """
    rows: list[Row] = []
    for attributes in _tags(text, "coords", "molmo2"):
        columns: dict[str, dict[int, float]] = {"x": {}, "y": {}}
        names = [match for match in map(_COORDINATE_NAME.fullmatch, attributes) if match is not None]
        check_count(len(names) // 2)
        for name in names:
            columns[name.group(1)][int(name.group(2) or 0)] = read_number(attributes[name.group()])
        if not names or columns["x"].keys() != columns["y"].keys():
            raise AnswerSyntaxError("a tag does not give an x and a y for each of its points")
        if len(names) != 2 * len(columns["x"]) or (len(names) > 2 and not all(name.group(2) for name in names)):
            raise AnswerSyntaxError("a tag numbers its points in two ways")
        rows += [(columns["x"][i], columns["y"][i]) for i in sorted(columns["x"])]
        check_count(len(rows))
    return rows


def read_molmo2_xml(text: str) -> list[Row]:
    """Points written as ``<points coords="1 1 507 492 2 600 120">..</points>``: image number, then (point number, x, y) each.

    Returns:
        One row (x, y) per point; no rows for "There are none.".

    Raises:
        AnswerSyntaxError: No tag, a tag cut off, an incomplete triple, points in another image than the first, or another answer beside.
    """
    rows: list[Row] = []
    for attributes in _tags(text, "x", "molmo"):
        if "coords" not in attributes:
            raise AnswerSyntaxError("a tag has no attribute 'coords'")
        numbers = [read_number(number) for number in attributes["coords"].split(" ", 3 * MAX_POINTS + 1)]
        if len(numbers) < 4 or len(numbers) % 3 != 1:
            raise AnswerSyntaxError("coords must be an image number and three numbers per point")
        if numbers[0] != 1.0:
            raise AnswerSyntaxError(f"the points are in image {numbers[0]:g}, and only the first is asked about")
        rows += list(zip(numbers[2::3], numbers[3::3], strict=True))
        check_count(len(rows))
    return rows


def _tags(text: str, foreign: str, owner: str) -> list[dict[str, str]]:
    """Attributes of every ``<point>`` and ``<points>`` tag; none when the model says that there is nothing.

    Args:
        text: The answer.
        foreign: Coordinate (alone or numbered) that only the tags of the dialect `owner` have.
        owner: The other dialect with such tags.
    """
    check_marks(text, "=", MAX_ATTRIBUTES)
    found = list(_TAG.finditer(text))
    if len(found) != text.count("<point") or text.rfind("<") > text.rfind(">"):
        raise AnswerSyntaxError("a <point> tag is cut off or malformed")
    if not found:
        if denies(text):
            return []
        raise AnswerSyntaxError("the answer holds no <point> tag")
    check_count(len(found))
    tags = [_attributes(tag.group(1)) for tag in found]
    for attributes in tags:
        names = [name for name in attributes if name.rstrip("0123456789") == foreign]
        if names:
            missing = "" if foreign == "coords" or "coords" in attributes else ", and no 'coords'"
            raise AnswerSyntaxError(f"a tag has the attribute {names[0]!r}{missing}: it looks like dialect {owner!r}")
    remarks = []
    end = 0
    for tag in found:
        remarks.append(text[end : tag.start()])
        label = None if tag.group(1).endswith("/") else _LABEL.match(text, tag.end())
        if label is None and not tag.group(1).endswith("/"):
            raise AnswerSyntaxError("a <point> tag is not closed by a </point>")
        end = label.end() if label else tag.end()
    check_only_answer("\n".join(remarks), text[end:])
    return tags


def _attributes(text: str) -> dict[str, str]:
    values: dict[str, str] = {}
    end = 0
    for attribute in _ATTRIBUTE.finditer(text):
        name = attribute.group(1)
        if text[end : attribute.start()].strip(BLANK) or name in values:
            raise AnswerSyntaxError(f"the tag <point{clip(text, 40)}> is malformed")
        values[name] = attribute.group(2) if attribute.group(2) is not None else attribute.group(3)
        end = attribute.end()
    if text[end:].strip(BLANK + "/"):
        raise AnswerSyntaxError(f"the tag <point{clip(text, 40)}> is malformed")
    return values
