"""What stands around an answer's points, or in their place: remarks, second answers, and prose that says that nothing is there.

Every pattern here has a bounded or negated-class repetition only, see `roboref_node.pointing.syntax`.
"""

from __future__ import annotations

import re
from itertools import islice

_OPENS = re.compile(
    r"\W{0,4}(?:(?:no|sorry|unfortunately|i['\u2019]m (?:sorry|afraid)|i am (?:sorry|afraid)|i think|it (?:seems|looks like|appears))\b"
    r"(?: that\b)?[ ,.!]{1,4}){0,2}(?:(?:in|on) (?:the|this) (?:image|picture|photo|scene)[ ,]{1,3})?there (?:is|are) (none|no)\b"
    r"([^.,;:!?\r\n]{0,200})",
    re.IGNORECASE,
)
_IDIOM = re.compile(r" (?:doubt|problem|need|reason|trouble|objection|way|question (?:about|that)|issue with)\b", re.IGNORECASE)
_HALF_DENIED = re.compile(r"\b(?:other|another|more|else|further|additional|but|except|besides|is|are|was|were)\b", re.IGNORECASE)
_OF_THE_IMAGE = re.compile(
    r"\b(?:in|within|on) (?:the|this) (?:\w{1,16} )?(?:image|picture|photo|photograph|scene|frame|view)\b"
    r"|\b(?:visible|shown|present|here)\b",
    re.IGNORECASE,
)
_AFTER_NONE = re.compile(r"\s*\Z| (?:of|in|on|at|here|visible|shown|present)\b", re.IGNORECASE)
_IMAGE = r"(?:in|on) (?:the|this|that|your) (?:[a-z]{1,16} )?(?:image|picture|photo|photograph|scene|view)"
_UNSEEN = re.compile(
    # I cannot see a red cup. There does not appear to be one.
    r"\b(?:can(?: ?not|['\u2019]t)|could(?: not|n['\u2019]t)|(?:do|does|did)(?: not|n['\u2019]t)|unable to|not able to|failed to)"
    r" (?:[a-z]{1,16} ){0,2}?(?:see|view|find|locate|identify|detect|spot|recogni[sz]e|access|appear to be (?:an?|any|one))\b"
    r"[^.,;:!?\r\n]{0,80}"
    # The red cup is not visible. This isn't in the image.
    rf"|(?:\bnot|\b(?:is|are|was|were)n['\u2019]t) (?:[a-z]{{1,16}} ){{0,2}}?(?:visible|present|shown|depicted|found|{_IMAGE})\b"
    # No red cup is visible.
    rf"|\bno [^.,;:!?\r\n]{{1,60}}? (?:is|are|was|were|can be|could be) (?:[a-z]{{1,16}} )?(?:visible|present|shown|found|seen|{_IMAGE})\b"
    # The image does not contain a red cup.
    r"|\b(?:image|picture|photo|photograph|scene|view) (?:[a-z]{1,16} ){0,2}?do(?:es)?(?: not|n['\u2019]t)"
    r" (?:contain|show|include|depict|have)\b[^.,;:!?\r\n]{0,80}",
    re.IGNORECASE,
)
_QUALIFIED = re.compile(
    r"\b(?:other|another|more|else|further|additional|only|fully|completely|entirely|wholly|clearly|exactly|directly|partly|partially)\b",
    re.IGNORECASE,
)
_FREE_SPACE = re.compile(
    r"\b(?:objects?|items?|obstacles?|obstructions?|things?|clutter)\b(?! (?:that|which|match|fit|like|called|named|of\b))"
    r"(?!.*\b(?:image|picture|photo)\b)",
    re.IGNORECASE,
)
_NOTHING = re.compile(
    r"\W*(?:none|nothing|null|n/?a|not (?:found|visible|present|applicable)|no (?:match|target)|no (?:match|target|object) found)\W*",
    re.IGNORECASE,
)
_BLIND = re.compile(
    r"\b(?:see|view|access|find|process) (?:the |any |this |your |an? )?(?:[a-z]{1,16} )?(?:image|picture|photo|photograph)s?\b",
    re.IGNORECASE,
)
_RELATIVE = re.compile(r"\b(?:whose|which|that|who|where|with)\b", re.IGNORECASE)
_REMARK_CHARS = 240
"""A remark says within these that nothing is there, or not at all."""
_BLIND_CHARS = 4 * _REMARK_CHARS
"""A model that saw no picture says so early; the pattern is the costliest one here, and a model in a loop repeats its beginning."""
_DIGITS = re.compile(r"\d+")
_PAIR = re.compile(r"[(\[][ \t\r\n]{0,8}[-+]?[0-9.]{1,24}[ \t\r\n]{0,8},[ \t\r\n]{0,8}[-+]?[0-9.]")
_EMPTY_LIST = re.compile(r"\[[ \t\r\n]{0,8}\]")
_GOES_ON = re.compile(r"[ \t\r\n]{0,64},[ \t\r\n(\[{]{0,64}(?:[-+.]?\d|[)\]}])")
_CUT_OFF = re.compile(r"[(\[{][^()\[\]{}A-Za-z]{0,64}\Z|,\Z")
_BRACKETS = (("(", ")"), ("[", "]"), ("{", "}"))


def denies(text: str) -> bool:
    """Whether prose says that nothing in the image fits, and says nothing else that could be an answer.

    "There are none." and "There is no red mug in the image." do, "I cannot view images" does not. A phrase alone proves nothing ("There
    is no doubt, ..."), so what it denies must be a thing, and what follows it may not be where the thing is: two numbers could be a
    point, and an explanation is only let through after words that are about the image.
    """
    return not holds_a_position(text) and (_begins_with_denial(text) or (_says_unseen(text) and _BLIND.search(text[:_BLIND_CHARS]) is None))


def denies_itself(label: str) -> bool:
    """Whether the label of a point says that the point is none, as in ``{"point": [0, 0], "label": "not found"}``.

    "mug whose handle is not visible" is the name of a thing.
    """
    label = label[:_REMARK_CHARS]
    names = _RELATIVE.search(label) is not None
    return _NOTHING.fullmatch(label) is not None or _begins_with_denial(label) or (_says_unseen(label) and not names)


def holds_a_position(text: str) -> bool:
    """Whether text that says that nothing is there could hold a point all the same: two numbers (a fraction is two), or one cut off."""
    numbers = list(islice(_DIGITS.finditer(text), 2))
    return len(numbers) > 1 or "<" in text or any(text.count(opening) > text.count(closing) for opening, closing in _BRACKETS)


def second_answer(before: str, after: str, *, pairs: bool = True) -> str | None:
    """What contradicts the points of an answer in the remarks around them, or shows that it was cut off; None when nothing does.

    Args:
        before: The remark before the points.
        after: The remark after them.
        pairs: Look for points and lists written as tuples too.
    """
    if is_cut_off(after):
        return "the answer goes on after its last whole point"
    remarks = f"{before}\n{after}"
    if "<point" in remarks:
        return "the answer holds a <point> tag beside its points"
    if "{" in remarks:
        return "the answer holds JSON beside its points"
    if pairs and _PAIR.search(remarks):
        return "the answer holds points in two notations"
    if pairs and _EMPTY_LIST.search(remarks):
        return "the answer holds both an empty list and points"
    if any(_begins_with_denial(remark, beside_a_point=True) or _says_unseen(remark) for remark in (before, after)):
        return "the answer says that there is nothing, and points all the same"
    return None


def is_cut_off(after: str) -> bool:
    """Whether the remark after the points is the beginning of one more point: a comma and a number, or a bracket that stays open."""
    return after.count("{") > after.count("}") or _GOES_ON.match(after) is not None or _CUT_OFF.search(after.rstrip()) is not None


def _says_unseen(text: str) -> bool:
    """Whether a remark says that the thing, or the image, is not seen.

    "I do not see any other cups" is about something else, and "No objects are visible there" about a place that is free.
    """
    denials = (match.group() for match in _UNSEEN.finditer(text[:_REMARK_CHARS]))
    return any(_QUALIFIED.search(denial) is None and _FREE_SPACE.search(denial) is None for denial in denials)


def _begins_with_denial(text: str, *, beside_a_point: bool = False) -> bool:
    match = _OPENS.match(text)
    if match is None:
        return False
    what = match.group(2)
    if match.group(1).lower() == "none":
        return _AFTER_NONE.match(what) is not None
    if beside_a_point and _FREE_SPACE.search(what):
        return False
    if _IDIOM.match(what) or _HALF_DENIED.search(what) or not re.search(r"\w", what):
        return False
    return _OF_THE_IMAGE.search(what) is not None or not re.search(r"\w", text[match.end() :])
