"""Questions about free space, and about what is not there."""

from __future__ import annotations

from roboref_node.sim.appearance import COLOURS
from roboref_node.sim.meshes import SHAPES
from roboref_node.synth.drawing import Drawing
from roboref_node.synth.freespace import between_region, container_region, direction_region
from roboref_node.synth.kinds_relation import walk
from roboref_node.synth.language import ANY_OBJECT, DIRECTIONS, NEXT_TO, Description
from roboref_node.synth.question import Question


def free_space(d: Drawing) -> Question | None:
    """Free table in a direction of an object, or around it."""
    found = d.anchor(on_table=True)
    if found is None:
        return None
    anchor, name = found
    if d.rng.random() < 0.12:
        region = direction_region(d.view, anchor, None)
        return d.about_region("free_space", f"{d.say(NEXT_TO)} {name}", region, ((name, anchor),), 0.004)
    direction = list(DIRECTIONS)[int(d.rng.integers(4))]
    region = direction_region(d.view, anchor, direction)
    return d.about_region("free_space", f"{d.say(DIRECTIONS[direction])} {name}", region, ((name, anchor),), 0.0025)


def free_between(d: Drawing) -> Question | None:
    """Free table between two objects."""
    first = d.anchor(on_table=True)
    second = d.anchor(exclude=(first[0].index,), on_table=True) if first else None
    if first is None or second is None:
        return None
    region = between_region(d.view, first[0], second[0])
    expression = f"between {first[1]} and {second[1]}"
    return d.about_region("free_between", expression, region, ((first[1], first[0]), (second[1], second[0])), 0.002)


def free_chain(d: Drawing) -> Question | None:
    """Free table in a direction of an object that is named by one relation, a fifth of the time by two."""
    hops = 1 if d.rng.random() < 0.8 else 2
    for _ in range(3):
        found = walk(d, hops)
        if found is not None and found[0][-1][1].support == "table":
            stops, phrase = found
            direction = list(DIRECTIONS)[int(d.rng.integers(4))]
            region = direction_region(d.view, stops[-1][1], direction)
            return d.about_region("free_chain", f"{d.say(DIRECTIONS[direction])} {phrase}", region, tuple(stops), 0.0025)
    return None


def container(d: Drawing) -> Question | None:
    """In a bowl or cup, on a plate or box."""
    items = tuple(o for o in d.view.present if o.shape in ("bowl", "plate", "box", "cup") and not d.view.supports_something(o.index))
    item = d.choose(items)
    description = d.unique_description(item) if item else None
    if item is None or description is None:
        return None
    name = d.words(description)
    preposition = d.say(("in", "into", "inside")) if item.shape in ("bowl", "cup") else d.say(("on", "onto", "on top of"))
    region = container_region(d.view, item)
    return d.about_region("container", f"{preposition} {name}", region, ((name, item),), 3e-4)


def absent(d: Drawing) -> Question | None:
    """An object that is not in the scene, alone or as the anchor of a relation."""
    draw = d.rng.random()
    if draw < 0.5:
        noun = d.unknown_word()
        coloured = d.choose(d.view.present)
        with_colour = coloured is not None and not d.colourless and d.rng.random() < 0.5
        name = f"the {coloured.colour} {noun}" if with_colour and coloured is not None else f"the {noun}"
    else:
        shape, colour = SHAPES[int(d.rng.integers(len(SHAPES)))], COLOURS[int(d.rng.integers(len(COLOURS)))]
        with_colour = draw < 0.85
        description = Description(shape, colour if with_colour else None)
        if with_colour and (d.colourless or (colour, shape) in d.unnamed):
            return None
        if any(description.matches(o) for o in d.view.objects):
            return None
        name = d.words(description)
    form = d.rng.random()
    direction = list(DIRECTIONS)[int(d.rng.integers(4))]
    if form < 0.7:
        return d.nothing(name)
    if form < 0.85:
        return d.nothing(f"the {d.say(ANY_OBJECT)} {d.say(DIRECTIONS[direction])} {name}")
    return d.nothing(f"{d.say(DIRECTIONS[direction])} {name}", place=True)
