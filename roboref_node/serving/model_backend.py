"""The local model as the server uses it: batches of questions from several robots."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from roboref_node.model import ModelInputs
from roboref_node.model.sampling import Sampling
from roboref_node.pointing.local_model import LocalModel
from roboref_node.pointing.prompt import asked_phrase, without_format_suffix
from roboref_node.serving.question import Answer, Question, RequestError
from roboref_node.status import Refused, Status

_NOTHING = "[]"
"""How RoboRefer's dialect says that nothing fits; both APIs have no other way to tell a client NOT_FOUND."""


class ModelBackend:
    """Answers batches with one local model.

    Args:
        model: The model.
    """

    def __init__(self, model: LocalModel) -> None:
        self.model = model
        self._stopping = threading.Event()

    def interrupt(self) -> None:
        """End the batch that is being answered before its next token, and all that follow: the server stops."""
        self._stopping.set()

    def answer_batch(self, questions: Sequence[Question]) -> list[Answer]:
        """Answer all questions in one pass; to one with unknown words the answer is that nothing fits, as it is in process.

        Raises:
            RequestError: 400 when a question cannot be put to this model, 503 when memory runs out.
        """
        try:
            inputs = [self._prepare(question) for question in questions]
            known = [index for index, question in enumerate(questions) if self._knows(question)]
            longest = max(question.max_new_tokens for question in questions)
            asked = [inputs[index] for index in known]
            sampling = [_sampling(questions[index]) for index in known]
            generated = self.model.answer(asked, longest, canceled=self._stopping.is_set, sampling=sampling) if asked else []
        except Refused as refusal:
            if refusal.status is Status.CANCELED:
                raise RequestError(503, "the server is shutting down") from refusal
            raise RequestError(400 if refusal.status is Status.BAD_REQUEST else 503, refusal.sentence) from refusal
        answers = [Answer(_NOTHING, self.model.processor.sequence_length(prepared), 0, True) for prepared in inputs]
        for index, answer in zip(known, generated, strict=True):
            tokens = answer.token_ids[: questions[index].max_new_tokens]
            cut = len(tokens) < len(answer.token_ids)
            spelled = map(self.model.processor.token_text, tokens if questions[index].probabilities else ())
            answers[index] = replace(
                answers[index],
                text=self.model.processor.decode(tokens) if cut else answer.text,
                completion_tokens=len(tokens),
                complete=answer.finished and not cut,
                tokens=tuple(zip(spelled, answer.token_scores, strict=False)),
            )
        return answers

    def _prepare(self, question: Question) -> ModelInputs:
        history = [(role, self._text(text) if role == "user" else text) for role, text in question.history]
        return self.model.prepare(question.rgb, self._depth(question), self._text(question.text), history=history, system=question.system)

    def _knows(self, question: Question) -> bool:
        """False for words that the model would guess at (`refuse_unknown_words`), as `LocalPointer` refuses them."""
        asked = [question.text, *(text for role, text in question.history if role == "user")]
        return not (self.model.settings.refuse_unknown_words and any(self.model.unknown_words(asked_phrase(text)) for text in asked))

    def _depth(self, question: Question) -> NDArray[np.uint8] | None:
        if question.depth_image is not None or not question.estimate_depth or not self.model.takes_depth:
            return question.depth_image
        if self.model.depth_estimator is None:
            raise RequestError(
                400,
                "enable_depth is 1 without a depth map, and this server has no depth estimator: start it with --depth-model, send "
                "depth_url (`depth: sensor` in a model file of roboref), or enable_depth 0 (`depth: none`)",
            )
        return self.model.depth_estimator.relative_depth_image(question.rgb)

    def _text(self, asked: str) -> str:
        """RoboRefer's clients always append the request for the answer format; a model trained without it must not see it."""
        return asked if self.model.settings.format_suffix else without_format_suffix(asked)


def _sampling(question: Question) -> Sampling | None:
    return Sampling(question.temperature, question.top_p, question.seed) if question.temperature > 0 else None
