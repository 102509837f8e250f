"""All relations of two bodies under the words that instructions use."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType

from numpy.typing import ArrayLike

from roboref_node.relations import arrangement, own_sense, viewer
from roboref_node.relations.body import Body
from roboref_node.relations.verdict import Verdict
from roboref_node.status import Refused, Status

_PLAIN: dict[str, Callable[..., Verdict]] = {
    "left of": viewer.left_of,
    "right of": viewer.right_of,
    "in front of": viewer.in_front_of,
    "behind": viewer.behind,
    "above in image": viewer.above_in_image,
    "below in image": viewer.below_in_image,
    "closer than": viewer.closer_to_viewer,
    "near": arrangement.near,
    "far from": arrangement.far_from,
    "touching": arrangement.touching,
    "inside": arrangement.inside,
    "contains": arrangement.contains,
    "bigger than": viewer.bigger,
    "smaller than": viewer.smaller,
    "facing": own_sense.facing,
    "back to": own_sense.back_to,
    "at its front": own_sense.at_front_of,
    "at its back": own_sense.at_back_of,
    "at its left": own_sense.at_left_of,
    "at its right": own_sense.at_right_of,
}
_VERTICAL: dict[str, Callable[..., Verdict]] = {
    "above": viewer.above_in_world,
    "below": viewer.below_in_world,
    "taller than": viewer.taller,
    "wider than": viewer.wider,
    "on": arrangement.on,
}

RELATIONS = MappingProxyType({**_PLAIN, **_VERTICAL})
"""Word to function; those in the world's vertical take ``up``."""


def compare(relation: str, a: Body, b: Body, *, up: ArrayLike) -> Verdict:
    """Measure ``a <relation> b`` with the relation's default limits.

    Args:
        relation: A key of `RELATIONS`.
        a: The one that is spoken of, optical frame.
        b: The anchor, same frame.
        up: Vertical direction in that frame, shape (3,).

    Raises:
        Refused: BAD_REQUEST for an unknown relation (the known ones are listed); AMBIGUOUS when an orientation is missing.
    """
    if relation in _VERTICAL:
        return _VERTICAL[relation](a, b, up=up)
    if relation in _PLAIN:
        return _PLAIN[relation](a, b)
    raise Refused(Status.BAD_REQUEST, f"there is no relation '{relation}'; known are: {', '.join(RELATIONS)}", known=list(RELATIONS))
