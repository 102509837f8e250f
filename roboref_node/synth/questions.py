"""Questions with one right answer, drawn from a rendered scene; ambiguous ones are rejected by margins."""

from __future__ import annotations

from collections.abc import Callable

from roboref_node.synth import kinds_place, kinds_relation, kinds_single
from roboref_node.synth.drawing import Drawing
from roboref_node.synth.kinds_relation import in_direction
from roboref_node.synth.question import Question

__all__ = ["KINDS", "Asker", "Question", "in_direction"]

KINDS: dict[str, Callable[[Drawing], Question | None]] = {
    "attribute": kinds_single.attribute,
    "size": kinds_single.size,
    "ordinal": kinds_single.ordinal,
    "relative": kinds_relation.relative,
    "between": kinds_relation.between,
    "distance": kinds_single.distance,
    "height": kinds_single.height,
    "closest_to": kinds_relation.closest_to,
    "multi_step": kinds_relation.multi_step,
    "chain": kinds_relation.chain,
    "free_space": kinds_place.free_space,
    "free_between": kinds_place.free_between,
    "free_chain": kinds_place.free_chain,
    "container": kinds_place.container,
    "absent": kinds_place.absent,
}
"""Every kind of question, by name."""


class Asker(Drawing):
    """Draws whole questions about one scene; see `Drawing` for the arguments."""

    def ask(self, kind: str) -> Question | None:
        """One question of `kind`, or None when this scene offers none."""
        return KINDS[kind](self)
