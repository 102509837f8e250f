"""Questions with references: relative, between, closest to, and chains of relations of any length."""

from __future__ import annotations

import numpy as np

from roboref_node.relations.verdict import Outcome, judge
from roboref_node.relations.viewer import behind, in_front_of, left_of, right_of
from roboref_node.synth.drawing import Drawing, Reference
from roboref_node.synth.kinds_single import DISTANCE_MARGIN_M
from roboref_node.synth.language import DIRECTIONS, Description
from roboref_node.synth.question import Question
from roboref_node.synth.view import ObjectView, SceneView

LATERAL_MARGIN_M = 0.03
DEPTH_MARGIN_M = 0.04
CLOSEST = ("closest to", "nearest to", "next to")

_RELATION_OF = {"left": left_of, "right": right_of, "front": in_front_of, "behind": behind}
_LINK_ATTEMPTS = 14
_LINKS = ("", "that is ")


def _lies(view: SceneView, direction: str, item: ObjectView, anchor: ObjectView) -> Outcome:
    """Whether `item` lies in `direction` of `anchor`: the relation's definition and the centres must agree, each with a margin."""
    key = (direction, item.index, anchor.index)
    if key not in view.outcomes:
        margin = LATERAL_MARGIN_M if direction in ("left", "right") else DEPTH_MARGIN_M
        right, forward = item.right_m - anchor.right_m, item.forward_m - anchor.forward_m
        centres = judge({"left": -right, "right": right, "front": -forward, "behind": forward}[direction], margin, "m")
        defined = _RELATION_OF[direction](view.body(item.index), view.body(anchor.index), tolerance_m=0.5 * margin)
        view.outcomes[key] = centres.outcome if centres.outcome is defined.outcome else Outcome.AMBIGUOUS
    return view.outcomes[key]


def in_direction(view: SceneView, anchor: ObjectView, direction: str, members: tuple[ObjectView, ...]) -> ObjectView | None:
    """The one member that clearly lies in `direction` of `anchor`, when every other clearly does not."""
    outcomes = {o.index: _lies(view, direction, o, anchor) for o in members if o.index != anchor.index}
    if Outcome.AMBIGUOUS in outcomes.values():
        return None
    there = [o for o in members if outcomes.get(o.index) is Outcome.PASS]
    if len(there) != 1:
        return None
    if direction in ("left", "right"):
        image = (there[0].mean_uv[0] - anchor.mean_uv[0]) * (1 if direction == "right" else -1)
        if image < 0.02 * view.width:
            return None
    return there[0]


def closest(anchor: ObjectView, members: tuple[ObjectView, ...]) -> ObjectView | None:
    """The member clearly closest to `anchor`, of at least two."""
    others = [o for o in members if o.index != anchor.index]
    if len(others) < 2:
        return None
    gaps = {o.index: float(np.linalg.norm(o.centre_m - anchor.centre_m)) for o in others}
    ordered = sorted(others, key=lambda o: gaps[o.index])
    return ordered[0] if gaps[ordered[1].index] - gaps[ordered[0].index] >= DISTANCE_MARGIN_M else None


def relative(d: Drawing) -> Question | None:
    """An object in a direction of another."""
    found = d.anchor()
    group = d.group(1 if d.rng.random() < 0.25 else 2, generic=0.15)
    if found is None or group is None:
        return None
    anchor, name = found
    description, members = group
    direction = _direction(d)
    target = in_direction(d.view, anchor, direction, members)
    if target is None:
        return None
    return d.about("relative", f"{d.words(description)} {d.say(DIRECTIONS[direction])} {name}", target, ((name, anchor),))


def between(d: Drawing) -> Question | None:
    """The object in the strip between two others."""
    first = d.anchor()
    second = d.anchor(exclude=(first[0].index,)) if first else None
    if first is None or second is None:
        return None
    one, other = first[0], second[0]
    start = np.array([one.right_m, one.forward_m])
    axis = np.array([other.right_m, other.forward_m]) - start
    length = float(np.linalg.norm(axis))
    if length < 0.12:
        return None
    strict, loose = [], []
    for item in d.view.present:
        if item.index in (one.index, other.index):
            continue
        offset = np.array([item.right_m, item.forward_m]) - start
        along = float(offset @ axis) / length**2
        aside = abs(float(axis[0] * offset[1] - axis[1] * offset[0])) / length
        if 0.25 < along < 0.75 and aside < 0.06:
            strict.append(item)
        if 0.05 < along < 0.95 and aside < 0.10:
            loose.append(item)
    if not strict:
        return None
    target = strict[int(d.rng.integers(len(strict)))]
    for description in (Description(), Description(target.shape), Description(target.shape, target.colour)):
        if not d.may_say(description):
            continue
        if [o for o in loose if description.matches(o)] == [target] and d.rng.random() < 0.6:
            words = d.words(description)
            return d.about("between", f"{words} between {first[1]} and {second[1]}", target, ((first[1], one), (second[1], other)))
    return None


def closest_to(d: Drawing) -> Question | None:
    """The one of a group that is closest to another object."""
    found = d.anchor()
    group = d.group(2, 7, generic=0.3)
    if found is None or group is None:
        return None
    anchor, name = found
    description, members = group
    target = closest(anchor, members)
    if target is None:
        return None
    noun = d.noun(description)
    # No list of the look-alikes: along the picture it helps to count, but a distance to the anchor was judged worse with it.
    return d.about("closest_to", f"the {noun} {d.say(CLOSEST)} {name}", target, ((name, anchor),))


def link(d: Drawing, anchor: ObjectView, exclude: tuple[int, ...], *, by_distance: float = 0.0) -> tuple[ObjectView, str, str] | None:
    """One more hop of a chain: an object that a description and a relation to `anchor` single out.

    Args:
        d: The drawing.
        anchor: Where the hop starts.
        exclude: Objects that the chain has visited.
        by_distance: Share of "closest to" among the relations.

    Returns:
        The object, its words with article, and the relation's words; None when no hop was found.
    """
    candidates = tuple(o for o in d.view.present if o.index not in exclude)
    for attempt in range(_LINK_ATTEMPTS):
        target = d.choose(candidates)
        if target is None:
            return None
        draw = d.rng.random()
        description = Description(target.shape, target.colour if draw < 0.2 and not d.colourless else None) if draw < 0.9 else Description()
        members = d.matching(description)
        # A description that is unique already makes the relation idle, so it comes second.
        if len(members) < 2 and attempt < _LINK_ATTEMPTS // 2:
            continue
        if d.rng.random() < by_distance:
            if closest(anchor, members) is target:
                return target, d.words(description), d.say(CLOSEST)
            continue
        direction = _direction(d)
        if in_direction(d.view, anchor, direction, members) is target:
            return target, d.words(description), d.say(DIRECTIONS[direction])
    return None


def walk(d: Drawing, hops: int, *, by_distance: float = 0.0) -> tuple[list[Reference], str] | None:
    """A chain of `hops` relations from a uniquely named object on.

    Returns:
        Words and object of every stop, the named one first, and the phrase that describes the last; None when it broke off.
    """
    found = d.anchor()
    if found is None:
        return None
    stops: list[Reference] = [(found[1], found[0])]
    phrase = found[1]
    for _ in range(hops):
        hop = link(d, stops[-1][1], tuple(o.index for _, o in stops), by_distance=by_distance)
        if hop is None:
            return None
        target, words, relation = hop
        joint = "" if d.canonical else d.say(_LINKS)
        stops.append((words, target))
        phrase = f"{words} {joint}{relation} {phrase}"
    return stops, phrase


def multi_step(d: Drawing) -> Question | None:
    """The target stands in a direction of an object that is itself named by a direction: three things to find."""
    return _chain(d, "multi_step", 2, by_distance=0.0)


def chain(d: Drawing) -> Question | None:
    """Three relations, a quarter of the time four: four or five things to find."""
    return _chain(d, "chain", 3 if d.rng.random() < 0.75 else 4, by_distance=0.2)


def _chain(d: Drawing, kind: str, hops: int, *, by_distance: float) -> Question | None:
    for _ in range(3):
        found = walk(d, hops, by_distance=by_distance)
        if found is not None:
            stops, phrase = found
            return d.about(kind, phrase, stops[-1][1], tuple(stops[:-1]))
    return None


def _direction(d: Drawing) -> str:
    return list(DIRECTIONS)[int(d.rng.integers(len(DIRECTIONS)))]
