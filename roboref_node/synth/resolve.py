"""Which object of a simulated scene an expression means, found from the scene's state and not from its picture."""

from __future__ import annotations

from roboref_node.synth.kinds_relation import in_direction
from roboref_node.synth.language import ANY_OBJECT, DIRECTIONS, NEXT_TO, NOUNS, ORDINALS, SIZE_WORDS, Description
from roboref_node.synth.view import ObjectView, SceneView

_SHAPE_OF = {word: shape for shape, options in NOUNS.items() for word in options}
_SIZE_OF = {word: size for size, options in SIZE_WORDS.items() for word in options}
_DIRECTION_OF = {phrase: name for name, options in DIRECTIONS.items() for phrase in options}
_CLOSEST = ("closest to", "nearest to", *NEXT_TO)
_ARTICLES = ("the ", "a ", "an ", "that ", "this ", "my ")


def resolve(view: SceneView, expression: str) -> ObjectView | None:
    """The one object that `expression` describes, or None when it is none, several, or beyond this small grammar.

    Understood: colour, size and noun; a direction or "closest to" with another such phrase, nested; leftmost, rightmost and
    ranks from the left or right.

    Args:
        view: The scene.
        expression: E.g. "the red cup left of the blue box".
    """
    found = _candidates(view, " ".join(expression.lower().split()))
    return found[0] if len(found) == 1 else None


def _candidates(view: SceneView, text: str) -> tuple[ObjectView, ...]:
    relation = _first_relation(text)
    if relation is None:
        return _ranked(view, text)
    head, phrase, tail = relation
    members = _described(view, head.removesuffix(" that is").removesuffix(" that s"))
    anchors = _candidates(view, tail)
    if len(anchors) != 1 or not members:
        return ()
    if phrase in _DIRECTION_OF:
        target = in_direction(view, anchors[0], _DIRECTION_OF[phrase], members)
    else:
        others = sorted((o for o in members if o.index != anchors[0].index), key=lambda o: _apart(o, anchors[0]))
        target = others[0] if others else None
    return () if target is None else (target,)


def _first_relation(text: str) -> tuple[str, str, str] | None:
    """Head, relation phrase and tail at the earliest, and there the longest, relation phrase."""
    places = [(text.find(f" {p} "), -len(p), p) for p in (*_DIRECTION_OF, *_CLOSEST) if f" {p} " in text]
    if not places:
        return None
    at, _, phrase = min(places)
    return text[:at], phrase, text[at + len(phrase) + 2 :]


def _ranked(view: SceneView, text: str) -> tuple[ObjectView, ...]:
    bare = _bare(text)
    for side, reverse in (("left", False), ("right", True)):
        for rank, word in enumerate(ORDINALS):
            if bare.startswith(f"{word} ") and bare.endswith(f" from the {side}"):
                return _at_rank(view, bare.removeprefix(f"{word} ").removesuffix(f" from the {side}"), rank, reverse)
        if bare.startswith(f"{side}most "):
            return _at_rank(view, bare.removeprefix(f"{side}most "), 0, reverse)
        for suffix in (f" on the far {side}", f" on the {side}"):
            if bare.endswith(suffix):
                return _at_rank(view, bare.removesuffix(suffix), 0, reverse)
    return _described(view, text)


def _at_rank(view: SceneView, noun_phrase: str, rank: int, reverse: bool) -> tuple[ObjectView, ...]:
    members = sorted(_described(view, noun_phrase), key=lambda o: o.mean_uv[0], reverse=reverse)
    return tuple(members[rank : rank + 1])


def _described(view: SceneView, noun_phrase: str) -> tuple[ObjectView, ...]:
    words = _bare(noun_phrase).split()
    if not words or (words[-1] not in _SHAPE_OF and words[-1] not in (*ANY_OBJECT, "one")):
        return ()
    colours = {o.colour for o in view.objects}
    size, colour = None, None
    for word in words[:-1]:
        if word in _SIZE_OF:
            size = _SIZE_OF[word]
        elif word in colours:
            colour = word
        else:
            return ()
    description = Description(_SHAPE_OF.get(words[-1]), colour, size)
    return tuple(o for o in view.present if description.matches(o))


def _bare(text: str) -> str:
    article = next((a for a in _ARTICLES if text.startswith(a)), "")
    return text.removeprefix(article)


def _apart(one: ObjectView, other: ObjectView) -> float:
    offset = one.centre_m - other.centre_m
    return float((offset @ offset) ** 0.5)
