"""The one parser for what pointing models say: text in a declared dialect in, pixels of the original image out.

Pixel mapping. A normalised coordinate x runs from 0 at the left edge of the image to 1 at its right edge; pixel (0, 0) is the *centre*
of the first pixel, so u = x·W − 0.5, clamped to [0, W − 1]. Rounding u gives the pixel that RoboRefer's own ``int(x·W)`` gives, but
the fraction is kept: the lift is sub-pixel, and taking int(x·W) as a centre would shift every point half a pixel up and left. The
clamp makes x = 1.0 the last pixel, where ``int(1.0·W)`` falls off the image.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import islice

from roboref_node.pointing.dialect import Convention, Dialect, Syntax
from roboref_node.pointing.molmo_syntax import read_molmo2_xml, read_molmo_xml
from roboref_node.pointing.pointer import PixelPoint, ReasoningStep
from roboref_node.pointing.reasoning import split_steps
from roboref_node.pointing.syntax import AnswerSyntaxError, FractionalNumber, Row, clip, read_json, read_tuples
from roboref_node.status import Refused, Status

MAX_ANSWER_CHARS = 24 * 1024
"""Longest answer that is looked at, thinking included."""
MAX_FINAL_CHARS = 6 * 1024
"""Longest final part (after the thinking): 64 points in the wordiest dialect need two thirds of it, and reading it all takes 0.7 ms."""
_TAG = re.compile(r"</?(?:think|answer)>")


@dataclass(frozen=True)
class ParsedAnswer:
    """What an answer says.

    Args:
        points: At least one point, in pixels of the original image, in the order of the answer (best first), without scores.
        steps: Reasoning steps in the order of the answer.
        malformed_steps: Number of steps in the thinking part that begin like one and are not, see `split_steps`; rewards count them.
    """

    points: tuple[PixelPoint, ...]
    steps: tuple[ReasoningStep, ...] = ()
    malformed_steps: int = 0


def parse_points(text: str, dialect: Dialect, image_size_px: tuple[int, int], sent_size_px: tuple[int, int] | None = None) -> ParsedAnswer:
    """Read the points of an answer.

    Args:
        text: What the model said, verbatim.
        dialect: The model's convention.
        image_size_px: (width, height) of the original image; the points are returned in its pixels.
        sent_size_px: (width, height) of the image that the model saw, which absolute dialects refer to; the original's when None.

    Raises:
        Refused: NOT_FOUND when the model says that nothing fits, OUT_OF_IMAGE when a number lies outside the dialect's range,
            UNPARSEABLE for everything that is not exactly one answer in the dialect. Values are never rescaled to make them fit.
    """
    if len(text) > MAX_ANSWER_CHARS:
        raise _unparseable(f"it has {len(text)} characters and the limit is {MAX_ANSWER_CHARS}", text, dialect)
    convention = dialect.convention
    try:
        thinking, final = split_thinking(text)
        steps: tuple[ReasoningStep, ...] = ()
        malformed = 0
        if convention.reasoning:
            _, steps, malformed = split_steps(thinking)
            final, final_steps, malformed_final = split_steps(final)
            if malformed_final:
                raise AnswerSyntaxError("a reasoning step is malformed")
            steps += final_steps
        if len(final) > MAX_FINAL_CHARS:
            raise AnswerSyntaxError(f"its final part has {len(final)} characters and the limit is {MAX_FINAL_CHARS}")
        rows = _read(final, dialect)
        if convention.integral:
            _check_integral(rows)
    except AnswerSyntaxError as error:
        raise _unparseable(str(error), text, dialect) from None
    if not rows:
        raise Refused(Status.NOT_FOUND, "The model says that nothing in the image fits the description.", answer=clip(text))
    seen_size = sent_size_px or image_size_px
    points = tuple(_to_pixel(row, convention, dialect, image_size_px, seen_size) for row in rows)
    return ParsedAnswer(points, steps, malformed)


def split_thinking(text: str) -> tuple[str, str]:
    """Thinking part and final part of an answer: ``<think>..</think>`` and ``<answer>..</answer>`` are optional, and may not be doubled.

    A closing ``</think>`` alone is accepted: chat templates that open the thinking for the model leave it out of the answer. So is an
    ``<answer>`` that ends with the text: whether it was cut off shows in its list of points.

    Raises:
        AnswerSyntaxError: The tags are incomplete or repeated, or text follows the answer.
    """
    tags = [tag.group() for tag in islice(_TAG.finditer(text), 5)]
    order = ["<think>", "</think>", "<answer>", "</answer>"]
    accepted = [order[i:j] for i in (0, 1) for j in (2, 3, 4)] + [order[2:3], order[2:]]
    if tags and tags not in accepted:
        raise AnswerSyntaxError(f"its think/answer tags are incomplete or repeated: {clip(' '.join(tags), 60)}")
    thinking, closed, final = text.partition("</think>")
    if not closed:
        thinking, final = "", text
    if "<answer>" in tags:
        remark, _, final = final.partition("<answer>")
        final, _, epilogue = final.partition("</answer>")
        if epilogue.strip():
            raise AnswerSyntaxError("text follows the </answer> tag")
        thinking += remark
    return thinking, final


def _read(final: str, dialect: Dialect) -> list[Row]:
    syntax = dialect.convention.syntax
    if syntax is Syntax.TUPLES:
        return read_tuples(final)
    if syntax is Syntax.XML:
        return read_molmo_xml(final) if dialect is Dialect.MOLMO else read_molmo2_xml(final)
    if dialect is Dialect.GEMINI:
        return read_json(final, "point", None)
    return read_json(final, "point_2d", "bbox_2d")


def _check_integral(rows: list[Row]) -> None:
    for row in rows:
        for value in row:
            if isinstance(value, FractionalNumber):
                raise AnswerSyntaxError(f"{float(value)} is written as a fraction, and this dialect has whole numbers only")


def _to_pixel(
    row: Row, convention: Convention, dialect: Dialect, image_size_px: tuple[int, int], seen_size_px: tuple[int, int]
) -> PixelPoint:
    ordered = [(row[i + 1], row[i]) if convention.row_first else (row[i], row[i + 1]) for i in range(0, len(row), 2)]
    pixel = []
    for axis, name in enumerate("xy"):
        values = [corner[axis] for corner in ordered]
        size, seen = image_size_px[axis], seen_size_px[axis]
        # Absolute: a point names a pixel (0 .. size - 1), while the sides of a box are edges between pixels (0 .. size).
        names_pixel = convention.is_absolute and len(values) == 1
        limit = float(seen - names_pixel) if convention.full_scale is None else convention.full_scale
        for value in values:
            if not 0.0 <= value <= limit:
                raise Refused(
                    Status.OUT_OF_IMAGE,
                    f"The model's {name} = {value:g} lies outside 0 to {limit:g}, the range of dialect {dialect.value!r}"
                    " (`dialect` in the model's YAML file).",
                    value=value,
                    limit=limit,
                )
        full_scale = float(seen) if convention.full_scale is None else convention.full_scale
        centre = sum(values) / len(values) + (0.5 if names_pixel else 0.0)
        pixel.append(min(max(centre / full_scale * size - 0.5, 0.0), size - 1.0))
    return PixelPoint(pixel[0], pixel[1])


def _unparseable(reason: str, text: str, dialect: Dialect) -> Refused:
    return Refused(
        Status.UNPARSEABLE,
        f"The model's answer {clip(text, 80)!r} is not in dialect {dialect.value!r} (`dialect` in the model's YAML file): {reason}.",
        answer=clip(text),
        dialect=dialect.value,
    )
