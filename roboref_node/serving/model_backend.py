"""The local model as the server uses it: batches of questions from several robots."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from roboref_node.pointing.local_model import LocalModel
from roboref_node.pointing.prompt import asked_phrase, without_format_suffix
from roboref_node.serving.question import Answer, Question, RequestError
from roboref_node.status import Refused, Status

EstimateDepth = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
"""Colour uint8 (H, W, 3) to a relative depth map uint8 (H, W, 3), near = bright."""
_NOTHING = "[]"
"""How RoboRefer's dialect says that nothing fits; both APIs have no other way to tell a client NOT_FOUND."""


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
        """Answer all questions in one pass; to one with unknown words the answer is that nothing fits, as it is in process.

        Raises:
            RequestError: 400 when a question cannot be put to this model, 503 when memory runs out.
        """
        try:
            inputs = [self.model.prepare(q.rgb, self._depth(q), self._text(q)) for q in questions]
            known = [index for index, question in enumerate(questions) if self._knows(question)]
            longest = max(question.max_new_tokens for question in questions)
            generated = self.model.answer([inputs[index] for index in known], longest) if known else []
        except Refused as refusal:
            raise RequestError(400 if refusal.status is Status.BAD_REQUEST else 503, refusal.sentence) from refusal
        answers = [Answer(_NOTHING, self.model.processor.sequence_length(prepared), 0, True) for prepared in inputs]
        for index, answer in zip(known, generated, strict=True):
            tokens = answer.token_ids[: questions[index].max_new_tokens]
            cut = len(tokens) < len(answer.token_ids)
            answers[index] = replace(
                answers[index],
                text=self.model.processor.decode(tokens) if cut else answer.text,
                completion_tokens=len(tokens),
                complete=answer.finished and not cut,
            )
        return answers

    def _knows(self, question: Question) -> bool:
        """False for words that the model would guess at (`refuse_unknown_words`), as `LocalPointer` refuses them."""
        return not (self.model.settings.refuse_unknown_words and self.model.unknown_words(asked_phrase(question.text)))

    def _depth(self, question: Question) -> NDArray[np.uint8] | None:
        if question.depth_image is not None or not question.estimate_depth or not self.model.takes_depth:
            return question.depth_image
        if self._estimate_depth is None:
            raise RequestError(
                400,
                "enable_depth is 1 without a depth map, and this server has no depth estimator: send depth_url (`depth: sensor` in a model "
                "file of roboref), or enable_depth 0 (`depth: none`)",
            )
        return self._estimate_depth(question.rgb)

    def _text(self, question: Question) -> str:
        """RoboRefer's clients always append the request for the answer format; a model trained without it must not see it."""
        return question.text if self.model.settings.format_suffix else without_format_suffix(question.text)
