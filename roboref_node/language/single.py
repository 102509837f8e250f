"""One thing at a time: what a phrase names beside it. Several things get a task each; what is said about them must not be lost on the way.

A model that is asked for "the red cup and the blue box", or for "the cup if it is full", points at something all the same.
"""

from __future__ import annotations

import re

from roboref_node.language.skeleton import place_word

_DETERMINERS = ("the", "a", "an", "my", "that", "this", "another")
_ADJECTIVES = (
    "red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "white", "black", "grey", "gray", "silver", "gold", "golden",
    "dark", "light", "bright", "small", "little", "large", "big", "tall", "short", "wide", "narrow", "long", "thin", "thick", "round",
    "square", "flat", "heavy", "empty", "full", "left", "right", "upper", "lower", "first", "second", "third", "last",
)  # fmt: skip
"""Words that can stand before a noun: "the red and white box" is one box."""
_NUMBERS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")

_A = rf"(?:{'|'.join(_DETERMINERS)})"
_RELATIVE = r"(?:that|which|who)(?:'s| is| are| was| has| stands| lies)\b"
_BETWEEN = re.compile(r"(\b(?:between|among)\b(?:(?! and ).)*) and ")
_JOINT = "\x00"
_LINK = re.compile(rf",? and also |,? and |,? as well as |,? plus |, (?={_A} )")
_STANDS_ASIDE = re.compile(r" (?:on|at|to) the (?:far )?(?:left|right)(?: side)?$")
_CROWD = re.compile(
    rf"(?:both|all|every|each|everything|anything|those|these|several|some of|most of|many|a few|a couple of|the rest|the others)\b.*|"
    rf"(?:(?:the|these|those|my) )?(?:{'|'.join(_NUMBERS)}|\d+)"
    r"(?: (?:\w+ )*\w+s\b.*)?"
)
_EITHER = re.compile(rf"\b(?:either|neither)\b|\b(?:or|nor) (?={_A} |(?:in|on|into|onto|at|behind|next|under) )|\bleft or right\b")
_TAKEN_BACK = re.compile(
    rf"\b(?:sorry|oops|i mean|i meant|actually|or rather|scratch that|make that|correction)\b.*"
    rf"|\bwait(?:$|,.*| no\b.*)|\bno,? (?:wait,? |not )*{_A}\b.*"
)
_EXCEPTION = re.compile(
    rf"\b(?:except|excluding|rather than|instead of|apart from)\b.*|\bbut (?:not|only|{_A})\b.*|(?<!is )(?<!are )\bnot {_A}\b.*"
)
_SEEN = "(?!viewed|seen|looking|looked|facing|counting|counted|you look|one looks)"
_CONDITION = re.compile(
    rf"\b(?:if|when) {_SEEN}.*|\b(?:unless|until|till|whenever|while|because|as soon as|in case|provided|so that|later|tomorrow|tonight)"
    r"\b.*|\b(?:before|after|once) (?:you|i|we|he|she|it|they|\w+ing|lunch|dinner|breakfast)\b.*"
    r"|\bin (?:a|an|\w+) (?:moments?|seconds?|minutes?|hours?|days?)\b.*"
)
_BROKEN_OFF = re.compile(r"(?:^| )(?:and|or|but|then|the|an?|my|of|to|with|from|between|behind|beside|near|next|into|onto|very)$")
_NO_THING = re.compile(
    r"(?:a|one|some|another) (?:break|seat|rest|picture|photo|hand|minute|moment|second|try|look|nap|breath|note|step|guess|shot)"
    r"(?: (?:of|back|forward|aside)\b.*)?|(?:your|the) (?:left |right |own |other )?(?:hands?|arms?|gripper|fingers?)"
    r"|(?:your|my|him|her)self"
)
_MEANS = re.compile(
    r"\bwithout (?:\w+ )?\w+ing\b.*|\b(?:with|using) (?:your|the|one|both) (?:\w+ )?(?:hands?|arms?|gripper|fingers)\b.*"
    r"|\bby (?:the|its) (?:handle|rim|neck|stem|lip|lid|base)\b.*|\b(?:twice|\w+ times)$"
)


_TOO = re.compile(r" (?:too|as well|also)$| and also ")
_SUPPORT = re.compile(r"(?:on|in|into|inside|onto|at|under|below|above|over|upon)\b(?! the (?:far )?(?:left|right))")
_DEED = re.compile(
    rf"(?!{_A} )[\w']+ (?:{_A}|it|them|me|there|here|still|back|up|down|away|around|on)\b"
    r"|(?:hold|stay|return|leave|look|turn|open|close|clean|wipe|push|pull|pour|throw|help|tell|say|keep)\b"
)


def split_things(phrase: str) -> tuple[str, ...] | None:
    """The things that a phrase names, as they were spoken; None when it can be read in more than one way.

    "the red cup and the blue box" are two, "the red and white box" and "the cup between the bowl and the box" are one. "the cup
    next to the bowl and the box" may be either.
    """
    kept = _BETWEEN.sub(rf"\1{_JOINT}", phrase)
    parts, links = _LINK.split(kept), _LINK.findall(kept)
    things = [parts[0]]
    for link, part in zip(links, parts[1:], strict=True):
        if _goes_on(things[-1], part):
            things[-1] += link + part
        elif _is_open(things[-1]) or _is_deed(part):
            return None
        else:
            things.append(part)
    if len(things) > 1:
        listed = any(" and " in link or "as well as" in link or "plus" in link for link in links)
        if not listed:  # "the mug, the red one": another name, or a correction
            return (phrase,) if things[-1].endswith(" one") and len(things) == 2 else None
        if any(_is_bare_adjective(thing) for thing in things):
            return None
    return tuple(thing.replace(_JOINT, " and ") for thing in things)


def find_crowd(phrase: str) -> str | None:
    """ "both cups", "all the boxes", "two balls": more than one thing, not named one by one; None for a single one."""
    found = _CROWD.fullmatch(phrase)
    return None if found is None else found[0]


def find_obstacle(phrase: str) -> str | None:
    """Why no goal follows from a phrase, as the rest of a sentence about it; None when nothing is in the way."""
    for pattern, problem in (
        (_TAKEN_BACK, 'takes something back ("{}"): say the whole order again'),
        (_CONDITION, 'says when or on what condition ("{}"), which is not planned: say it when it shall be done'),
        (_EXCEPTION, 'says what is not meant ("{}"): name only what is'),
        (_MEANS, 'says how ("{}"), which is not planned: leave it out'),
    ):
        found = pattern.search(phrase)
        if found is not None:
            return problem.format(found[0][:40])
    for place in place_word().finditer(f" {phrase}"):
        if f" {phrase}"[place.end() :] in (" it", " them", " that", " this") and " with " not in phrase:  # "the cup with tea in it"
            return f'says "{phrase[place.start() :]}", which only the sentence before could explain: name the thing'
    if _BROKEN_OFF.search(phrase):
        return "breaks off: say it to its end"
    if _NO_THING.fullmatch(phrase):
        return f'speaks of "{phrase[:40]}", which is nothing to be taken'
    return "leaves open which of two it shall be: say one" if _EITHER.search(phrase) else None


def names_more(place: str) -> bool:
    """True for "on the shelf and the blue cup too": a place phrase that goes on with something else."""
    if _TOO.search(place):
        return True
    _, *more = _LINK.split(_BETWEEN.sub(rf"\1{_JOINT}", place))
    if any(_is_deed(part) or place_word().search(f" {part.partition(' ')[2]}") for part in more):  # "and close it", "and ball in box"
        return True
    # One can put something behind two things, but not on two of them.
    named = any(re.match(rf"{_A} ", part) and not part.endswith(" one") for part in more)
    return named and _SUPPORT.match(place) is not None


def _goes_on(thing: str, part: str) -> bool:
    """Whether "and" joins parts of one description: "the red and white box", "the cup left of the box and behind the bowl"."""
    if re.match(_RELATIVE, part) or place_word().match(f" {part}") or re.match(r"(?:is|are|has|with|without|from)\b", part):
        return True
    if re.match(rf"{_A} ", part) or _is_deed(part):
        return False
    words = part.split()
    of_both = thing.split()[-1] in _ADJECTIVES or re.search(r" (?:of|with|for) (?:\w+ )?\w+$", thing) is not None
    return of_both or (len(words) > 1 and words[0] not in _ADJECTIVES)  # "the salt and pepper shaker"


def _is_deed(part: str) -> bool:
    """ "hold it" and "wipe the table": a verb that the grammar does not know."""
    return _DEED.match(part) is not None


def _is_open(thing: str) -> bool:
    """Whether what follows an "and" may still belong to the end of `thing`: "the cup next to the bowl"."""
    if _STANDS_ASIDE.search(thing):
        return False
    return re.search(rf" (?:with|of|from|for|than|{_RELATIVE})\b", thing) is not None or place_word().search(thing) is not None


def _is_bare_adjective(thing: str) -> bool:
    words = thing.split()
    return words[0] in _DETERMINERS and len(words) > 1 and all(word in _ADJECTIVES for word in words[1:])
