"""What the demonstration asks, and whether the answer is right: the only part that knows the simulated truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from roboref_node.sim.cell import SimulatedCell
from roboref_node.sim.meshes import SHAPES
from roboref_node.synth.questions import Asker, Question
from roboref_node.synth.resolve import resolve
from roboref_node.synth.view import ObjectView, SceneView
from roboref_node.task import TaskKind, parse_instruction

GRASPABLE_M = 0.075
_PICK_KINDS = ("attribute", "ordinal", "relative", "closest_to")
_PLACE_KINDS = ("free_space", "free_between", "container")


@dataclass(frozen=True)
class Verdict:
    """An answer held against the truth.

    Args:
        target: Words for what was meant, None when the sentence is beyond the truth's small grammar.
        hit: Whether the pixel lies on it; None without a target.
        error_mm: Distance of the lifted point from the true surface at its pixel; None without a point.
    """

    target: str | None
    hit: bool | None
    error_mm: float | None


class Script:
    """Questions about one simulated cell, and their truth.

    Args:
        seed: The cell's seed.
        width: Image width in pixels.
        height: Image height in pixels.
    """

    def __init__(self, seed: int, width: int = 640, height: int = 480) -> None:
        self.seed = seed
        self.cell = SimulatedCell(seed, width, height)
        clean = self.cell.render()
        truth = self.cell.truth()
        self.view = SceneView(type(clean)(rgb=clean.rgb, depth_m=truth.depth_m, instance=truth.instance, spec=truth.spec))
        self._rng = np.random.default_rng([seed, 0xDE30])
        self._asked: dict[str, Question] = {}

    def pick_instruction(self) -> str:
        """A sentence about an object that the gripper can hold, or the plainest one there is."""
        asker = self._asker()
        fallback = ""
        for attempt in range(400):
            question = asker.ask(_PICK_KINDS[attempt % len(_PICK_KINDS)])
            if question is None or question.target is None:
                continue
            sentence = f"pick up {question.expression}"
            self._asked[question.expression] = question
            fallback = fallback or sentence
            item = self.view.objects[question.target]
            if min(item.extent_m[0], item.extent_m[1]) <= GRASPABLE_M and item.shape not in ("plate", "bowl"):
                return sentence
        return fallback or "pick up the " + SHAPES[0]

    def place_instruction(self) -> str:
        """A sentence that asks for free space, or a second object where the scene has none to offer."""
        asker = self._asker()
        for attempt in range(200):
            question = asker.ask(_PLACE_KINDS[attempt % len(_PLACE_KINDS)])
            if question is not None:
                self._asked[question.expression] = question
                return f"put it {question.expression}"
        return self.pick_instruction().replace("pick up", "point at", 1)

    def judge(self, instruction: str, pixel: tuple[float, float] | None, position_m: Any) -> Verdict:
        """Hold one answer against the truth.

        Args:
            instruction: The sentence.
            pixel: The pixel of the answer; None when it has none.
            position_m: The lifted point in the robot's base frame (the world of the cell); None when it has none.
        """
        error_mm = None
        if pixel is not None and position_m is not None:
            truth = self.cell.surface_point(*pixel)
            error_mm = round(1e3 * float(np.linalg.norm(np.asarray(position_m) - truth)), 2)
        task = parse_instruction(instruction)[0]
        question = self._asked.get(task.expression)
        item: ObjectView | None = None
        if question is not None and question.target is not None:
            item = self.view.objects[question.target]
        elif question is None and task.kind is not TaskKind.PLACE:
            item = resolve(self.view, task.expression)
        if item is None and question is None:
            return Verdict(None, None, error_mm)
        words = f"the {item.size} {item.colour} {item.shape}" if item is not None else f"free space {task.expression}"
        if pixel is None:
            return Verdict(words, False, error_mm)
        mask = question.mask if question is not None else self.view.rendered.instance == (item.index if item is not None else -2)
        v, u = min(max(round(pixel[1]), 0), mask.shape[0] - 1), min(max(round(pixel[0]), 0), mask.shape[1] - 1)
        return Verdict(words, bool(mask[v, u]), error_mm)

    def close(self) -> None:
        """Free the renderer."""
        self.cell.close()

    def _asker(self) -> Asker:
        return Asker(self.view, self._rng, canonical=True, unknown_word=lambda: "banana")
