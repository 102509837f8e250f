"""Questions with one right answer, drawn from a rendered scene; ambiguous ones are rejected by margins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from roboref_node.relations.verdict import Outcome, judge
from roboref_node.relations.viewer import behind, in_front_of, left_of, right_of
from roboref_node.sim.appearance import COLOURS
from roboref_node.sim.meshes import SHAPES
from roboref_node.synth.freespace import between_region, container_region, direction_region, region_answer
from roboref_node.synth.language import ANY_OBJECT, DIRECTIONS, NEXT_TO, ORDINALS, Description, pick, request
from roboref_node.synth.view import ObjectView, SceneView

LATERAL_MARGIN_M = 0.03
DEPTH_MARGIN_M = 0.04
DISTANCE_MARGIN_M = 0.035
ORDINAL_MARGIN_SHARE = 0.035
SIZE_RATIO = 1.2


@dataclass(frozen=True, eq=False)
class Question:
    """A question about one scene.

    Args:
        kind: One of `KINDS`.
        text: The whole request.
        expression: Only the referring expression or place phrase.
        place: True when free space is asked for.
        mask: Every pixel that is a right answer, bool (H, W); all False when nothing in the scene matches.
        answer_uv: The best answer, normalised to [0, 1]; None when nothing matches.
        references: Named reference points in the order in which one would look for them, normalised.
        target: Index of the object asked for; None for free space and for absent objects.
        steps: Number of things to find, the answer included.
    """

    kind: str
    text: str
    expression: str
    place: bool
    mask: NDArray[np.bool_]
    answer_uv: tuple[float, float] | None
    references: tuple[tuple[str, tuple[float, float]], ...] = ()
    target: int | None = None

    @property
    def steps(self) -> int:
        """Number of things to find: the references and the answer."""
        return 1 + len(self.references)


class Asker:
    """Draws questions about one scene.

    Args:
        view: The scene.
        rng: Source of all choices.
        canonical: Use the wording of `pointing.prompt` only.
        unknown_word: Draws a noun that no scene holds.
    """

    def __init__(self, view: SceneView, rng: np.random.Generator, *, canonical: bool, unknown_word: Callable[[], str]) -> None:
        self.view = view
        self.rng = rng
        self.canonical = canonical
        self.unknown_word = unknown_word

    def ask(self, kind: str) -> Question | None:
        """One question of `kind`, or None when this scene offers none."""
        return KINDS[kind](self)

    def choose(self, items: tuple[ObjectView, ...]) -> ObjectView | None:
        """A random item."""
        return items[int(self.rng.integers(len(items)))] if items else None

    def matching(self, description: Description) -> tuple[ObjectView, ...]:
        """Objects that can be seen and match; empty when a barely visible one matches too."""
        if any(description.matches(o) for o in self.view.marginal):
            return ()
        return tuple(o for o in self.view.present if description.matches(o))

    def unique_description(self, item: ObjectView) -> Description | None:
        """Attributes that single `item` out, chosen at random among the ways to do it."""
        options = [Description(item.shape), Description(item.shape, item.colour), Description(None, item.colour)]
        options += [Description(item.shape, item.colour, item.size), Description(item.shape, None, item.size)]
        weights = np.array([0.2, 0.5, 0.12, 0.1, 0.08])
        good = [i for i, d in enumerate(options) if len(self.matching(d)) == 1]
        if not good:
            return None
        p = weights[good] / weights[good].sum()
        return options[good[int(self.rng.choice(len(good), p=p))]]

    def anchor(self, exclude: tuple[int, ...] = (), on_table: bool = False) -> tuple[ObjectView, str] | None:
        """A uniquely named object with its words, article included."""
        items = [o for o in self.view.present if o.index not in exclude and (not on_table or o.support == "table")]
        self.rng.shuffle(items)
        for item in items:
            description = self.unique_description(item)
            if description is not None:
                return item, self.words(description)
        return None

    def words(self, description: Description) -> str:
        """Noun phrase with its article."""
        return f"the {description.words(self.rng, canonical=self.canonical)}"

    def say(self, options: tuple[str, ...]) -> str:
        """One wording of several."""
        return options[0] if self.canonical else pick(options, self.rng)

    def group(self, minimum: int, maximum: int = 5, *, generic: float = 0.15) -> tuple[Description, tuple[ObjectView, ...]] | None:
        """A description that several visible objects match."""
        options = [Description()] if self.rng.random() < generic else []
        items = list(self.view.present)
        self.rng.shuffle(items)
        for item in items:
            options += [Description(item.shape), Description(item.shape, item.colour), Description(None, item.colour)]
        for description in options:
            members = self.matching(description)
            if minimum <= len(members) <= maximum:
                return description, members
        return None

    def about(self, kind: str, expression: str, target: ObjectView, references: tuple[tuple[str, ObjectView], ...] = ()) -> Question:
        """Question whose answer is an object."""
        mask = self.view.rendered.instance == target.index
        named = tuple((name.removeprefix("the "), self.view.normalised(o.inner_uv)) for name, o in references)
        text = request(expression, False, self.rng, canonical=self.canonical)
        return Question(kind, text, expression, False, mask, self.view.normalised(target.inner_uv), named, target.index)

    def about_region(
        self, kind: str, expression: str, region: NDArray[np.bool_], references: tuple[tuple[str, ObjectView], ...], minimum_share: float
    ) -> Question | None:
        """Question whose answer is any pixel of a region; None when it is too small to point at."""
        if region.sum() < minimum_share * region.size:
            return None
        answer = self.view.normalised(region_answer(region))
        named = tuple((name.removeprefix("the "), self.view.normalised(o.inner_uv)) for name, o in references)
        text = request(expression, True, self.rng, canonical=self.canonical)
        return Question(kind, text, expression, True, region, answer, named)

    def nothing(self, expression: str, place: bool = False) -> Question:
        """Question about something that is not there."""
        mask = np.zeros(self.view.rendered.instance.shape, dtype=bool)
        text = request(expression, place, self.rng, canonical=self.canonical)
        return Question("absent", text, expression, place, mask, None)


def _attribute(a: Asker) -> Question | None:
    item = a.choose(a.view.present)
    description = a.unique_description(item) if item else None
    if item is None or description is None:
        return None
    return a.about("attribute", a.words(description), item)


def _size(a: Asker) -> Question | None:
    found = a.group(2, generic=0.25)
    if found is None:
        return None
    description, members = found
    ordered = sorted(members, key=lambda o: float(np.max(o.extent_m)))
    if a.rng.random() < 0.5:
        if np.max(ordered[-1].extent_m) < SIZE_RATIO * np.max(ordered[-2].extent_m):
            return None
        word, target = a.say(("largest", "biggest", *(("larger", "bigger") if len(members) == 2 else ()))), ordered[-1]
    else:
        if np.max(ordered[0].extent_m) * SIZE_RATIO > np.max(ordered[1].extent_m):
            return None
        word, target = a.say(("smallest", *(("smaller",) if len(members) == 2 else ()))), ordered[0]
    return a.about("size", f"the {word} {description.words(a.rng, canonical=a.canonical)}", target)


def _ordinal(a: Asker) -> Question | None:
    found = a.group(2)
    if found is None:
        return None
    description, members = found
    ordered = sorted(members, key=lambda o: o.mean_uv[0])
    gaps = np.diff([o.mean_uv[0] for o in ordered])
    if gaps.min() < ORDINAL_MARGIN_SHARE * a.view.width:
        return None
    noun = description.words(a.rng, canonical=a.canonical)
    rank = int(a.rng.integers(len(ordered)))
    if rank in (0, len(ordered) - 1) and a.rng.random() < 0.5:
        side = "left" if rank == 0 else "right"
        return a.about(
            "ordinal", a.say((f"the {side}most {noun}", f"the {noun} on the far {side}", f"the {noun} on the {side}")), ordered[rank]
        )
    if a.rng.random() < 0.5:
        return a.about("ordinal", f"the {ORDINALS[rank]} {noun} from the left", ordered[rank])
    return a.about("ordinal", f"the {ORDINALS[len(ordered) - 1 - rank]} {noun} from the right", ordered[rank])


_RELATION_OF = {"left": left_of, "right": right_of, "front": in_front_of, "behind": behind}


def _lies(view: SceneView, direction: str, item: ObjectView, anchor: ObjectView) -> Outcome:
    """Whether `item` lies in `direction` of `anchor`: the relation's definition and the centres must agree, each with a margin."""
    margin = LATERAL_MARGIN_M if direction in ("left", "right") else DEPTH_MARGIN_M
    right, forward = item.right_m - anchor.right_m, item.forward_m - anchor.forward_m
    centres = judge({"left": -right, "right": right, "front": -forward, "behind": forward}[direction], margin, "m")
    defined = _RELATION_OF[direction](view.body(item.index), view.body(anchor.index), tolerance_m=0.5 * margin)
    return centres.outcome if centres.outcome is defined.outcome else Outcome.AMBIGUOUS


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


def _relative(a: Asker) -> Question | None:
    found = a.anchor()
    group = a.group(1 if a.rng.random() < 0.25 else 2, generic=0.15)
    if found is None or group is None:
        return None
    anchor, name = found
    description, members = group
    direction = list(DIRECTIONS)[int(a.rng.integers(4))]
    target = in_direction(a.view, anchor, direction, members)
    if target is None:
        return None
    return a.about("relative", f"{a.words(description)} {a.say(DIRECTIONS[direction])} {name}", target, ((name, anchor),))


def _between(a: Asker) -> Question | None:
    first = a.anchor()
    second = a.anchor(exclude=(first[0].index,)) if first else None
    if first is None or second is None:
        return None
    one, other = first[0], second[0]
    start = np.array([one.right_m, one.forward_m])
    axis = np.array([other.right_m, other.forward_m]) - start
    length = float(np.linalg.norm(axis))
    if length < 0.12:
        return None
    strict, loose = [], []
    for item in a.view.present:
        if item.index in (one.index, other.index):
            continue
        along = float((np.array([item.right_m, item.forward_m]) - start) @ axis) / length**2
        aside = abs(float(np.cross([*axis, 0.0], [item.right_m - start[0], item.forward_m - start[1], 0.0])[2])) / length
        if 0.25 < along < 0.75 and aside < 0.06:
            strict.append(item)
        if 0.05 < along < 0.95 and aside < 0.10:
            loose.append(item)
    if not strict:
        return None
    target = strict[int(a.rng.integers(len(strict)))]
    for description in (Description(), Description(target.shape), Description(target.shape, target.colour)):
        if [o for o in loose if description.matches(o)] == [target] and a.rng.random() < 0.6:
            words = a.words(description)
            return a.about("between", f"{words} between {first[1]} and {second[1]}", target, ((first[1], one), (second[1], other)))
    return None


def _extreme(a: Asker, kind: str, key: Callable[[ObjectView], float], low: tuple[str, ...], high: tuple[str, ...]) -> Question | None:
    found = a.group(2, 7, generic=0.3)
    if found is None:
        return None
    description, members = found
    ordered = sorted(members, key=key)
    noun = description.words(a.rng, canonical=a.canonical)
    if a.rng.random() < 0.5:
        target, runner_up, words = ordered[0], ordered[1], low
    else:
        target, runner_up, words = ordered[-1], ordered[-2], high
    if abs(key(target) - key(runner_up)) < DISTANCE_MARGIN_M:
        return None
    return a.about(kind, a.say(words).format(noun), target)


def _distance(a: Asker) -> Question | None:
    near = ("the nearest {}", "the closest {}", "the {} closest to the camera", "the {} nearest to me")
    far = ("the farthest {}", "the {} farthest from the camera", "the {} farthest away", "the most distant {}")
    return _extreme(a, "distance", lambda o: o.distance_m, near, far)


def _height(a: Asker) -> Question | None:
    found = a.group(2, 4, generic=0.0)
    raised = a.rng.random() < 0.6
    if found is not None and raised:
        description, members = found
        for support, words in (("shelf", ("on the shelf", "on the raised shelf")), ("table", ("on the table",))):
            there = [o for o in members if o.support == support]
            others = [o for o in members if o.support != support]
            if len(there) == 1 and others and a.rng.random() < 0.7:
                return a.about("height", f"{a.words(description)} {a.say(words)}", there[0])
    return _extreme(a, "height", lambda o: float(o.centre_m[2]), ("the lowest {}",), ("the highest {}", "the {} highest up"))


def _closest_to(a: Asker) -> Question | None:
    found = a.anchor()
    group = a.group(2, 7, generic=0.3)
    if found is None or group is None:
        return None
    anchor, name = found
    description, members = group
    others = [o for o in members if o.index != anchor.index]
    if len(others) < 2:
        return None
    ordered = sorted(others, key=lambda o: float(np.linalg.norm(o.centre_m - anchor.centre_m)))
    gaps = [float(np.linalg.norm(o.centre_m - anchor.centre_m)) for o in ordered[:2]]
    if gaps[1] - gaps[0] < DISTANCE_MARGIN_M:
        return None
    relation = a.say(("closest to", "nearest to", "next to"))
    return a.about("closest_to", f"{a.words(description)} {relation} {name}", ordered[0], ((name, anchor),))


def _multi_step(a: Asker) -> Question | None:
    """The target stands in a relation to an object that is itself named by a relation."""
    found = a.anchor()
    inner = a.group(2, generic=0.0)
    outer = a.group(1, generic=0.1)
    if found is None or inner is None or outer is None:
        return None
    anchor, name = found
    first, second = (list(DIRECTIONS)[int(i)] for i in a.rng.integers(4, size=2))
    middle = in_direction(a.view, anchor, first, inner[1])
    target = in_direction(a.view, middle, second, outer[1]) if middle is not None else None
    if middle is None or target is None or target.index == anchor.index:
        return None
    middle_words = f"{a.words(inner[0])} {a.say(DIRECTIONS[first])} {name}"
    link = a.say(("", "that is ")) if not a.canonical else ""
    expression = f"{a.words(outer[0])} {link}{a.say(DIRECTIONS[second])} {middle_words}"
    return a.about("multi_step", expression, target, ((name, anchor), (a.words(inner[0]), middle)))


def _free_space(a: Asker) -> Question | None:
    found = a.anchor(on_table=True)
    if found is None:
        return None
    anchor, name = found
    if a.rng.random() < 0.12:
        region = direction_region(a.view, anchor, None)
        return a.about_region("free_space", f"{a.say(NEXT_TO)} {name}", region, ((name, anchor),), 0.004)
    direction = list(DIRECTIONS)[int(a.rng.integers(4))]
    region = direction_region(a.view, anchor, direction)
    return a.about_region("free_space", f"{a.say(DIRECTIONS[direction])} {name}", region, ((name, anchor),), 0.0025)


def _free_between(a: Asker) -> Question | None:
    first = a.anchor(on_table=True)
    second = a.anchor(exclude=(first[0].index,), on_table=True) if first else None
    if first is None or second is None:
        return None
    region = between_region(a.view, first[0], second[0])
    expression = f"between {first[1]} and {second[1]}"
    return a.about_region("free_between", expression, region, ((first[1], first[0]), (second[1], second[0])), 0.002)


def _container(a: Asker) -> Question | None:
    items = tuple(o for o in a.view.present if o.shape in ("bowl", "plate", "box", "cup") and not a.view.supports_something(o.index))
    item = a.choose(items)
    description = a.unique_description(item) if item else None
    if item is None or description is None:
        return None
    name = a.words(description)
    preposition = a.say(("in", "into", "inside")) if item.shape in ("bowl", "cup") else a.say(("on", "onto", "on top of"))
    region = container_region(a.view, item)
    return a.about_region("container", f"{preposition} {name}", region, ((name, item),), 3e-4)


def _absent(a: Asker) -> Question | None:
    """An object that is not in the scene, alone or as the anchor of a relation."""
    draw = a.rng.random()
    if draw < 0.5:
        noun = a.unknown_word()
        colour = a.choose(a.view.present)
        name = f"the {colour.colour} {noun}" if colour is not None and a.rng.random() < 0.5 else f"the {noun}"
    else:
        shape, colour_word = SHAPES[int(a.rng.integers(len(SHAPES)))], COLOURS[int(a.rng.integers(len(COLOURS)))]
        description = Description(shape, colour_word if draw < 0.85 else None)
        if any(description.matches(o) for o in a.view.objects):
            return None
        name = a.words(description)
    form = a.rng.random()
    if form < 0.7:
        return a.nothing(name)
    direction = a.say(DIRECTIONS[list(DIRECTIONS)[int(a.rng.integers(4))]])
    if form < 0.85:
        return a.nothing(f"the {a.say(ANY_OBJECT)} {direction} {name}")
    return a.nothing(f"{direction} {name}", place=True)


KINDS: dict[str, Callable[[Asker], Question | None]] = {
    "attribute": _attribute,
    "size": _size,
    "ordinal": _ordinal,
    "relative": _relative,
    "between": _between,
    "distance": _distance,
    "height": _height,
    "closest_to": _closest_to,
    "multi_step": _multi_step,
    "free_space": _free_space,
    "free_between": _free_between,
    "container": _container,
    "absent": _absent,
}
"""Every kind of question, by name."""
