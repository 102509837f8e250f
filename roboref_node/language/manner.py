"""Words around a name that are no part of it: how to move, by how much, which way up. What no goal can honour is refused, not dropped."""

from __future__ import annotations

import re

from roboref_node.language.skeleton import place_word

_ADVERBS = (
    "back", "right", "just", "directly", "straight", "exactly", "gently", "carefully", "slowly", "softly", "quickly", "safely",
    "immediately", "again", "somewhere", "up", "down", "over", "to",
)  # fmt: skip
_HOW = re.compile(rf"(?:^|\s)(?:{'|'.join(_ADVERBS)})$")
_CARE = re.compile(
    r"(?:^|\s)(?:(?:very|really|as) )?(?:gently|carefully|slowly|softly|quickly|safely|immediately|instead|(?<!far )(?<!est )away)$"
)
_PARTICLE = re.compile(r"(?<!facing)(?<!face)(?<!side) (?:up|down)$")
_WAY_UP = re.compile(r"(?:^|\s)(upside down|upright|sideways|face up|face down|on (?:its|the) (?:side|head|back|end)|on end)$")
_UNIT = r"(?:mm|cm|m|millimet(?:er|re)s?|centimet(?:er|re)s?|met(?:er|re)s?|inch(?:es)?|foot|feet)"
_COUNT = (
    "a|an|half an?|a few|some|several|one|two|three|four|five|six|seven|eight|nine|ten|twelve|fifteen|twenty|thirty|forty|fifty|hundred"
)
_AMOUNT = re.compile(rf"(?:^|\s)(\d\S* ?{_UNIT}|(?:{_COUNT}) {_UNIT})$")
_RELATED = ("next", "close", "closer", "closest", "near", "nearer", "nearest", "adjacent", "due", "attached", "belonging", "similar")
_DESTINATION = re.compile(
    rf"{''.join(f'(?<!{word})' for word in _RELATED)} (to (?:the|a|an|my|that|this) (?!(?:far )?(?:left|right|front|back)\b).+)$"
)
_STANDING = re.compile(r"(on the (?:far )?(?:left|right)) (to the (?:left|right|front|back)(?: side)? of .+)$")
_ON_ITS_SUPPORT = re.compile(r"((?:on|in|inside|at|under|behind) .+?) ((?:onto|into) .+)$")
_NEXT_OBJECT = re.compile(
    r"((?:in|into|inside|on|onto) (?!between\b|front of\b|back of\b|the (?:far )?(?:left|right) (?:side )?of\b).+?),? and "
    r"((?:the|a|an|my|that|this) .+)$"
)
_PERSON = re.compile(
    r"(?:in|into|on|onto|at) (?:me|him|her|them|us|you"
    r"|(?:my|your|his|her|their) (?:left |right )?(?:hands?|arms?|palm|lap|head|shoulder|knees?))"
)
_OVER = re.compile(r"^over (?=(?:to|on|onto|in|into|next|behind|near|beside|between)\b)")
_SUBORDINATE = re.compile(r"(?:before|after|in|on|at|upon) \w+ing\b|(?:before|after) (?:you|i|we|it)\b|(?:under|on|at|in|by) no\b")
_TO_SOMEBODY = re.compile(r" to (?!me\b)(?:\w+)$")
_FOR_SOMEBODY = re.compile(r"(?:him|her|them|\w+(?<!all)(?<!both)(?<!half)(?<!only)(?<!just)) (?:the|a|an|my|that|this) ")


def without_particle(thing: str) -> str:
    """ "the cup" of "pick the cup up"; a cup that is "facing up" stays one."""
    return _PARTICLE.sub("", thing)


def without_care(thing: str) -> str:
    """ "the cup" of "pick up the cup carefully": the robot knows one way to do it."""
    while (shorter := _CARE.sub("", thing)) != thing:
        thing = shorter
    return thing


def is_for_somebody_else(thing: str) -> bool:
    """True for "her the cup" and "the cup to john": a hand-over goes to the person who asks."""
    return _FOR_SOMEBODY.match(thing) is not None or _TO_SOMEBODY.search(thing) is not None


def without_adverbs(thing: str) -> str:
    """ "it" of "put it carefully back on the table"."""
    while (shorter := _HOW.sub("", thing)) != thing:
        thing = shorter
    return thing


def find_unplannable(thing: str) -> str | None:
    """What a goal cannot honour at the end of what is put down: a distance or which way up; None when there is nothing of that."""
    for pattern in (_WAY_UP, _AMOUNT):
        found = pattern.search(thing)
        if found is not None:
            return found[1]
    return None


def find_destination(thing: str) -> str | None:
    """ "to the kitchen" of "the cup to the kitchen"; None when the words only describe ("the cup closest to the box")."""
    found = _DESTINATION.search(thing)
    return None if found is None else found[1]


def without_over(place: str) -> str:
    """ "to the left of the bowl" of "over to the left of the bowl"."""
    return _OVER.sub("", place)


def split_place(thing: str, place: str) -> tuple[str, str]:
    """An object with its whereabouts, and where it shall go: "the cup on the left", "to the right of the box"."""
    found = _STANDING.fullmatch(place) or _ON_ITS_SUPPORT.fullmatch(place)
    return (thing, place) if found is None else (f"{thing} {found[1]}", found[2])


def split_next_object(place: str) -> tuple[str, str]:
    """The place, and what is put somewhere else without a verb of its own: "in the bowl", "the ball in the box"; "" for nothing.

    Nothing stands on two things, so that "on the plate and the bowl next to the can" can only mean two.
    """
    found = _NEXT_OBJECT.fullmatch(place)
    if found is None or place_word().search(f" {found[2]}") is None:
        return place, ""
    return found[1], found[2]


def is_of_a_person(place: str) -> bool:
    """True for "in my hand" and "on me": nothing is put down on people."""
    return _PERSON.fullmatch(place) is not None


def is_subordinate(place: str) -> bool:
    """True for "before picking up the cup" and "under no circumstances", which begin like a place."""
    return _SUBORDINATE.match(place) is not None
