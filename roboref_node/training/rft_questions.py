"""What reinforcement fine-tuning asks: questions about rendered scenes or recorded frames, with what the rewards need to know."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from roboref_node.status import Refused, Status
from roboref_node.synth.questions import KINDS, Question
from roboref_node.training.augmentation import augment_depth, augment_rgb
from roboref_node.training.batches import draw_questions
from roboref_node.training.rewards import Reference
from roboref_node.training.rollouts import FrameQuestions
from roboref_node.training.scenes import SceneStore

if TYPE_CHECKING:
    from roboref_node.training.rft import RftRecipe

_STEP_VALUES = {"Position": 2, "Orientation": 3, "Size": 1}
SEED_STREAM = 9
"""Keeps this stream of questions apart from that of supervised training with the same seed."""


class QuestionSource(Protocol):
    """Where frames and questions come from."""

    def draw(self, step: int, number: int, questions: int) -> FrameQuestions:
        """One frame; the same arguments always give the same one.

        Args:
            step: Training step.
            number: Of the frame within the step, counted over all processes.
            questions: Most questions about it.
        """
        ...


class SceneQuestions:
    """Questions drawn anew from rendered scenes.

    Args:
        store: Rendered training scenes.
        kinds: Kind of question and its weight.
        seed: Of the stream.
        canonical: Share of the frames whose questions use the canonical wording.
        drop_depth: Share of the frames shown without depth.

    Raises:
        Refused: BAD_REQUEST for an unknown kind.
    """

    def __init__(self, store: SceneStore, kinds: Mapping[str, float], seed: int, *, canonical: float, drop_depth: float) -> None:
        unknown = sorted(set(kinds) - set(KINDS))
        if unknown or not kinds:
            known = ", ".join(KINDS)
            raise Refused(Status.BAD_REQUEST, f"`kinds` has {unknown[0] if unknown else 'no kind'}; known kinds of question: {known}")
        # Sorted, so that the order in which a file lists them does not change what is asked.
        self.store, self.kinds, self.seed = store, dict(sorted(kinds.items())), seed
        self.canonical, self.drop_depth = canonical, drop_depth

    def draw(self, step: int, number: int, questions: int) -> FrameQuestions:
        """See `QuestionSource.draw`."""
        rng = np.random.default_rng([self.seed, SEED_STREAM, step, number])
        while True:
            scene = self.store[int(rng.integers(len(self.store)))]
            asked = draw_questions(scene.view, rng, questions, canonical=bool(rng.random() < self.canonical), mix=self.kinds)
            if asked:
                break
        rgb = augment_rgb(scene.rgb, rng)
        depth = np.repeat(augment_depth(scene.depth_image, rng)[..., None], 3, axis=-1)
        shown = None if rng.random() < self.drop_depth else depth
        return FrameQuestions(rgb, shown, tuple(q.text for q in asked), tuple(scene_reference(q) for q in asked))


def open_source(recipe: RftRecipe, scenes: Path | None, records: Path | None) -> QuestionSource:
    """Questions about recorded frames where `records` is given, else about the scenes rendered in `scenes`.

    Raises:
        Refused: BAD_REQUEST when both are given, or nothing is rendered there.
    """
    if records is not None:
        if scenes is not None:
            raise Refused(Status.BAD_REQUEST, "give --scenes or --records, not both")
        return RecordedQuestions(records, recipe.seed)
    try:
        store = SceneStore(scenes or Path("runs/scenes"))
    except FileNotFoundError as error:
        raise Refused(Status.BAD_REQUEST, str(error)) from error
    return SceneQuestions(store, recipe.kinds, recipe.seed, canonical=recipe.canonical, drop_depth=recipe.drop_depth)


def scene_reference(question: Question) -> Reference:
    """What the rewards need to know of a question about a simulated scene; pixels are those of its mask."""
    height, width = question.mask.shape
    point = None
    if question.answer_uv is not None:
        point = (question.answer_uv[0] * width - 0.5, question.answer_uv[1] * height - 0.5)
    return {
        "kind": question.kind,
        "image_size_px": (width, height),
        "point_px": point,
        "mask": question.mask,
        "steps": [{"kind": "Position", "target": name, "values": [uv]} for name, uv in question.trace],
    }


class RecordedQuestions:
    """Questions from a JSON file: a list of frames ``{image, depth?, questions: [{text, point, mask?, steps?}]}``.

    `point` is normalised, or null when nothing fits; `mask` is the path of a picture that is not black where an answer is right;
    `steps` are the annotated key steps ``{kind, target, values}``; paths are relative to the file.

    Args:
        file: The JSON file.
        seed: Of the order.

    Raises:
        Refused: BAD_REQUEST when the file is not such a list.
    """

    def __init__(self, file: Path, seed: int) -> None:
        try:
            frames = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise Refused(Status.BAD_REQUEST, f"cannot read the questions in {file}: {error}") from error
        if not isinstance(frames, list) or not frames or not all(map(_is_frame, frames)):
            raise Refused(Status.BAD_REQUEST, f"{file} is not a list of frames, each with `image` and `questions`")
        for number, frame in enumerate(frames):
            if wrong := next(filter(None, map(_what_is_wrong, frame["questions"])), ""):
                raise Refused(Status.BAD_REQUEST, f"{file}, frame {number}: {wrong}")
        self.frames: list[dict[str, Any]] = frames
        self.folder, self.seed = file.parent, seed

    def draw(self, step: int, number: int, questions: int) -> FrameQuestions:
        """See `QuestionSource.draw`."""
        rng = np.random.default_rng([self.seed, SEED_STREAM, step, number])
        return self._frame(self.frames[int(rng.integers(len(self.frames)))], rng, questions)

    def _frame(self, record: dict[str, Any], rng: np.random.Generator, questions: int) -> FrameQuestions:
        rgb = _picture(self.folder / record["image"])
        depth = _picture(self.folder / record["depth"]) if record.get("depth") else None
        order = rng.permutation(len(record["questions"]))[:questions]
        asked = [record["questions"][int(i)] for i in order]
        size = (rgb.shape[1], rgb.shape[0])
        return FrameQuestions(rgb, depth, tuple(str(q["text"]) for q in asked), tuple(self._reference(q, size) for q in asked))

    def _reference(self, question: dict[str, Any], size_px: tuple[int, int]) -> Reference:
        point = question.get("point")
        reference: dict[str, Any] = {
            "kind": question.get("kind", ""),
            "image_size_px": size_px,
            "point_px": None if point is None else (point[0] * size_px[0] - 0.5, point[1] * size_px[1] - 0.5),
            "steps": question.get("steps", []),
        }
        if question.get("mask"):
            reference["mask"] = _picture(self.folder / question["mask"]).any(axis=-1)
        return reference


def _is_frame(frame: Any) -> bool:
    questions = frame.get("questions") if isinstance(frame, dict) else None
    return isinstance(questions, list) and bool(questions) and isinstance(frame.get("image"), str)


def _what_is_wrong(question: Any) -> str:
    """What a recorded question lacks; empty when it is whole. A point left out must not pass for "nothing fits"."""
    if not isinstance(question, dict) or not isinstance(question.get("text"), str) or "point" not in question:
        return f"a question needs `text` and `point` (null where nothing fits), not {str(question)[:80]}"
    point = question["point"]
    if point is not None and not (_numbers(point, 2) and all(0.0 <= value <= 1.0 for value in point)):
        return f"`point` is {point}, not two numbers between 0 and 1"
    steps = question.get("steps", [])
    if not isinstance(steps, list):
        return f"`steps` is {str(steps)[:80]}, not a list"
    for step in steps:
        rows = step.get("values") if isinstance(step, dict) else None
        rows = rows if isinstance(rows, list) and rows and isinstance(rows[0], list) else [rows if isinstance(rows, list) else [rows]]
        length = _STEP_VALUES.get(step.get("kind", "") if isinstance(step, dict) else "", 0)
        if not length or not isinstance(step.get("target"), str) or not all(_numbers(row, length) for row in rows):
            return f"a step needs `kind` ({', '.join(_STEP_VALUES)}), `target` and `values`, not {str(step)[:80]}"
    return ""


def _numbers(values: Any, count: int) -> bool:
    plain = isinstance(values, list) and len(values) == count and all(type(value) in (int, float) for value in values)
    return plain and bool(np.isfinite(values).all())


def _picture(file: Path) -> NDArray[np.uint8]:
    """uint8 (H, W, 3); grey pictures are repeated.

    Raises:
        Refused: BAD_REQUEST when there is no such picture.
    """
    try:
        with Image.open(file) as image:
            return np.asarray(image.convert("RGB"))
    except OSError as error:
        raise Refused(Status.BAD_REQUEST, f"cannot read the picture {file}: {error}") from error
