"""The question put to a pointing model, per dialect. The person's words are data: they are cleaned and quoted, never instructions."""

from __future__ import annotations

import re
import unicodedata

from roboref_node.pointing.dialect import Dialect
from roboref_node.status import Refused, Status
from roboref_node.task import Task, TaskKind

MAX_INSTRUCTION_CHARS = 500

# "into" and "onto" ask for the same free space as "in" and "on"; the models know the short forms.
_SHORT_FORMS = (
    (re.compile(r"^(?:into|inside of|inside|within)\b", re.IGNORECASE), "in"),
    (re.compile(r"^(?:onto|on top of|upon|atop)\b", re.IGNORECASE), "on"),
)
_RELATION = re.compile(
    r"^(?:in|on|at|behind|before|between|next to|near|close to|beside|by|under|below|beneath|above|over|around|against|across|opposite"
    r"|among|along|off|left of|right of|away from|from|to|farther|further|nearer"
    r"|(?:to |on |at )?the (?:left|right|front|back|far|near)\b.*? of)\b",
    re.IGNORECASE,
)
_MARKUP = re.compile(r"[<>{}`\"|\\]+")


def clean_expression(text: str, max_instruction_chars: int = MAX_INSTRUCTION_CHARS) -> str:
    """The person's words on one line, without control characters, and without the marks that models' templates are made of.

    Angle brackets, bars, braces and double quotes go because they spell media tokens (``<image>``), turn ends (``<|im_end|>``) and the
    quotes that set the expression apart; nobody says them to a robot.

    Raises:
        Refused: BAD_REQUEST when nothing is left or the text is longer than `max_instruction_chars`.
    """
    if len(text) > max_instruction_chars:
        raise Refused(
            Status.BAD_REQUEST,
            f"The instruction has {len(text)} characters and the limit is {max_instruction_chars} (`max_instruction_chars`).",
            characters=len(text),
        )
    printable = "".join(" " if unicodedata.category(character)[0] in "CZ" else character for character in text)
    cleaned = " ".join(_MARKUP.sub(" ", printable).split()).strip(" .,;:!?")
    if not cleaned:
        raise Refused(Status.BAD_REQUEST, "The instruction names nothing to point to.", instruction=text[:80])
    return cleaned


def referring_phrase(task: Task, max_instruction_chars: int = MAX_INSTRUCTION_CHARS) -> str:
    """What to point to: the noun phrase itself, or "the free space {place}" when something is to be put down there.

    PLACE expressions that begin with a relation ("behind the bowl", "in the bowl", "onto the plate") ask for the free space there;
    others name the place themselves ("the empty corner of the table") and are passed on.

    Raises:
        Refused: BAD_REQUEST, see `clean_expression`.
    """
    expression = clean_expression(task.expression, max_instruction_chars)
    if task.kind is not TaskKind.PLACE:
        return expression
    for pattern, short in _SHORT_FORMS:
        expression = pattern.sub(short, expression)
    return f"the free space {expression}" if _RELATION.match(expression) else expression


def build_prompt(task: Task, dialect: Dialect, *, format_suffix: bool = True, max_instruction_chars: int = MAX_INSTRUCTION_CHARS) -> str:
    """The text that goes to the model with the image.

    Args:
        task: Role and referring expression.
        dialect: Decides the wording.
        format_suffix: Ask for the answer format too. RoboRefer and RoboPoint checkpoints were trained with it; the nano without.
        max_instruction_chars: Longest expression.

    Raises:
        Refused: BAD_REQUEST when the expression is empty or too long.
    """
    phrase = referring_phrase(task, max_instruction_chars)
    if dialect in (Dialect.ROBOREFER, Dialect.ROBOPOINT):
        return f"Please point to {phrase}." + (f" {_TUPLE_SUFFIX}" if format_suffix else "")
    if dialect in (Dialect.MOLMO, Dialect.MOLMO2):
        return f"Point to {phrase}."
    wanted = f'Point to what this description refers to in the image: "{phrase}".'
    return f"{wanted} {_FORMATS[dialect]}" if format_suffix else wanted


def without_format_suffix(prompt: str) -> str:
    """`prompt` without the request for the answer format that RoboRefer's clients append, with or without a space in between."""
    return prompt.partition(_SUFFIX_START)[0].rstrip()


def asked_phrase(prompt: str) -> str:
    """What a prompt asks to point to, in whatever way its client put it: the inverse of `build_prompt` for RoboRefer's dialect.

    A prompt in other words than those is returned whole, without the request for the answer format.
    """
    question = without_format_suffix(prompt)
    return _REQUEST.sub("", question).rstrip(" .")


_REQUEST = re.compile(r"^\s*(?:please )?point to ", re.IGNORECASE)
_SUFFIX_START = "Your answer should be formatted as"
_TUPLE_SUFFIX = (
    f"{_SUFFIX_START} a list of tuples, i.e. [(x1, y1)], where each tuple contains the x and y coordinates of a point"
    " satisfying the conditions above. The coordinates should be between 0 and 1, indicating the normalized pixel locations of the points."
)
_NOTHING = "If nothing in the image fits the description, answer []."
_FORMATS = {
    Dialect.QWEN25_VL: 'Answer in JSON only: [{"point_2d": [x, y], "label": "..."}], in pixels of the image. ' + _NOTHING,
    Dialect.QWEN3_VL: 'Answer in JSON only: [{"point_2d": [x, y], "label": "..."}], whole numbers from 0 to 1000. ' + _NOTHING,
    Dialect.GEMINI: 'Answer in JSON only: [{"point": [y, x], "label": "..."}], whole numbers normalized to 0-1000. ' + _NOTHING,
    Dialect.ROBOBRAIN: "Answer with a list of points in pixels of the image: [(x, y)]. " + _NOTHING,
    Dialect.PIXELS: "Answer with a list of points in pixels of the image: [(x, y)]. " + _NOTHING,
}
