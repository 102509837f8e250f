"""Questions that name one group of objects and no reference: attribute, size, order, distance, height."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from roboref_node.synth.drawing import Drawing
from roboref_node.synth.language import ORDINALS
from roboref_node.synth.question import Question
from roboref_node.synth.view import ObjectView

DISTANCE_MARGIN_M = 0.035
ORDINAL_MARGIN_SHARE = 0.035
SIZE_RATIO = 1.2


def attribute(d: Drawing) -> Question | None:
    """An object by colour, shape and size."""
    item = d.choose(d.view.present)
    description = d.unique_description(item) if item else None
    if item is None or description is None:
        return None
    return d.about("attribute", d.words(description), item)


def size(d: Drawing) -> Question | None:
    """The largest or smallest of a group, by true size."""
    found = d.group(2, generic=0.25)
    if found is None:
        return None
    description, members = found
    ordered = sorted(members, key=lambda o: float(np.max(o.extent_m)))
    pair = len(members) == 2
    if d.rng.random() < 0.5:
        if np.max(ordered[-1].extent_m) < SIZE_RATIO * np.max(ordered[-2].extent_m):
            return None
        word, target = d.say(("largest", "biggest", *(("larger", "bigger") if pair else ()))), ordered[-1]
    else:
        if np.max(ordered[0].extent_m) * SIZE_RATIO > np.max(ordered[1].extent_m):
            return None
        word, target = d.say(("smallest", *(("smaller",) if pair else ()))), ordered[0]
    noun = d.noun(description)
    return d.about("size", f"the {word} {noun}", target, candidates=d.candidates(noun, members))


def ordinal(d: Drawing) -> Question | None:
    """The n-th of a group from the left or right of the picture."""
    found = d.group(2)
    if found is None:
        return None
    description, members = found
    ordered = sorted(members, key=lambda o: o.mean_uv[0])
    gaps = np.diff([o.mean_uv[0] for o in ordered])
    if gaps.min() < ORDINAL_MARGIN_SHARE * d.view.width:
        return None
    noun = d.noun(description)
    rank = int(d.rng.integers(len(ordered)))
    if rank in (0, len(ordered) - 1) and d.rng.random() < 0.5:
        side = "left" if rank == 0 else "right"
        expression = d.say((f"the {side}most {noun}", f"the {noun} on the far {side}", f"the {noun} on the {side}"))
    elif d.rng.random() < 0.5:
        side, expression = "left", f"the {ORDINALS[rank]} {noun} from the left"
    else:
        side, expression = "right", f"the {ORDINALS[len(ordered) - 1 - rank]} {noun} from the right"
    return d.about("ordinal", expression, ordered[rank], candidates=d.candidates(noun, members, from_right=side == "right"))


def distance(d: Drawing) -> Question | None:
    """The nearest or farthest of a group from the camera."""
    near = ("the nearest {}", "the closest {}", "the {} closest to the camera", "the {} nearest to me")
    far = ("the farthest {}", "the {} farthest from the camera", "the {} farthest away", "the most distant {}")
    return _extreme(d, "distance", lambda o: o.distance_m, near, far)


def height(d: Drawing) -> Question | None:
    """An object on the shelf or the table, or the highest or lowest of a group."""
    found = d.group(2, 4, generic=0.0)
    raised = d.rng.random() < 0.6
    if found is not None and raised:
        description, members = found
        for support, words in (("shelf", ("on the shelf", "on the raised shelf")), ("table", ("on the table",))):
            there = [o for o in members if o.support == support]
            others = [o for o in members if o.support != support]
            if len(there) == 1 and others and d.rng.random() < 0.7:
                noun = d.noun(description)
                return d.about("height", f"the {noun} {d.say(words)}", there[0], candidates=d.candidates(noun, members))
    return _extreme(d, "height", lambda o: float(o.centre_m[2]), ("the lowest {}",), ("the highest {}", "the {} highest up"))


def _extreme(d: Drawing, kind: str, key: Callable[[ObjectView], float], low: tuple[str, ...], high: tuple[str, ...]) -> Question | None:
    found = d.group(2, 7, generic=0.3)
    if found is None:
        return None
    description, members = found
    ordered = sorted(members, key=key)
    noun = d.noun(description)
    if d.rng.random() < 0.5:
        target, runner_up, words = ordered[0], ordered[1], low
    else:
        target, runner_up, words = ordered[-1], ordered[-2], high
    if abs(key(target) - key(runner_up)) < DISTANCE_MARGIN_M:
        return None
    return d.about(kind, d.say(words).format(noun), target, candidates=d.candidates(noun, members))
