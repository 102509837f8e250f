"""The local model as the server uses it: batches of questions from several robots."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from roboref_node.pointing.local_model import LocalModel
from roboref_node.pointing.prompt import without_format_suffix
from roboref_node.serving.question import Answer, Question, RequestError
from roboref_node.status import Refused, Status

EstimateDepth = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
"""Colour uint8 (H, W, 3) to a relative depth map uint8 (H, W, 3), near = bright."""


class ModelBackend:
    """Answers batches with one local model.

    Args:
        model: The model.
        estimate_depth: Monocular depth, for clients that want depth used and send none; None = such questions are refused.
    """

    def __init__(self, model: LocalModel, estimate_depth: EstimateDepth | None = None) -> None:
        self.model = model
        self._estimate_depth = estimate_depth

    def answer_batch(self, questions: Sequence[Question]) -> list[Answer]:
        """Answer all questions in one pass.

        Raises:
            RequestError: 400 when a question cannot be put to this model, 503 when memory runs out.
        """
        try:
            inputs = [self.model.prepare(q.rgb, self._depth(q), self._text(q)) for q in questions]
            longest = max(question.max_new_tokens for question in questions)
            generated = self.model.answer(inputs, longest)
        except Refused as refusal:
            raise RequestError(400 if refusal.status is Status.BAD_REQUEST else 503, refusal.sentence) from refusal
        answers = []
        for question, prepared, answer in zip(questions, inputs, generated, strict=True):
            tokens = answer.token_ids[: question.max_new_tokens]
            cut = len(tokens) < len(answer.token_ids)
            answers.append(
                Answer(
                    text=self.model.processor.decode(tokens) if cut else answer.text,
                    prompt_tokens=self.model.processor.sequence_length(prepared),
                    completion_tokens=len(tokens),
                    complete=answer.finished and not cut,
                )
            )
        return answers

    def _depth(self, question: Question) -> NDArray[np.uint8] | None:
        if question.depth_image is not None or not question.estimate_depth or not self.model.takes_depth:
            return question.depth_image
        if self._estimate_depth is None:
            raise RequestError(
                400, "enable_depth is 1 without a depth map, and this server has no depth estimator: send depth_url, or enable_depth 0"
            )
        return self._estimate_depth(question.rgb)

    def _text(self, question: Question) -> str:
        """RoboRefer's clients always append the request for the answer format; a model trained without it must not see it."""
        return question.text if self.model.settings.format_suffix else without_format_suffix(question.text)
