"""Back-end: a RoboRefer model in this process, from the shipped nano to the published 8B."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from roboref_node.frame import Frame
from roboref_node.model import FramePrefix, ModelInputs
from roboref_node.pointing.dialect import Dialect
from roboref_node.pointing.local_model import LocalModel, within_memory
from roboref_node.pointing.local_settings import LocalModelSettings
from roboref_node.pointing.prompt import referring_phrase
from roboref_node.pointing.prompted import Prepared, PromptedPointer
from roboref_node.pointing.sent_image import model_depth
from roboref_node.status import Refused, Status
from roboref_node.task import Task


class LocalPointer(PromptedPointer[LocalModelSettings]):
    """Asks a model that is loaded here.

    Args:
        settings: Folder, device and limits.
        name: Name for provenance.

    Raises:
        Refused: See `LocalModel`.
    """

    def __init__(self, settings: LocalModelSettings, name: str = "local") -> None:
        super().__init__(settings, Dialect.ROBOREFER, name)
        self.model = LocalModel(settings)
        self._last_frame: weakref.ref[Frame] | None = None
        self._last_prefix: FramePrefix | None = None
        self._estimated: tuple[weakref.ref[Frame], NDArray[np.uint8]] | None = None

    def _prepare(self, frame: Frame, task: Task, prompt: str) -> Prepared:
        if self.settings.refuse_unknown_words:
            self._check_words(referring_phrase(task, self.settings.max_instruction_chars))
        depth, source = self._depth(frame)
        inputs = self.model.prepare(frame.rgb, depth, prompt)
        return Prepared(inputs, provenance={"depth": source})

    def _identity(self) -> Mapping[str, str]:
        return {"weights_sha256": self.model.weights_sha256}

    def _ask(self, frame: Frame, prepared: Prepared, canceled: Callable[[], bool] | None) -> tuple[str, float]:
        if canceled is not None and canceled():
            raise Refused(Status.CANCELED, "The question was canceled before the model was asked.")
        limit = self.settings.max_new_tokens
        prefix = self._prefix(frame, prepared.request) if self.settings.reuse_frames else None
        (answer,) = self.model.answer([prepared.request], limit, prefix=prefix, canceled=canceled)
        if not answer.finished:
            raise Refused(
                Status.UNPARSEABLE,
                f"The answer was cut off after {limit} tokens (`max_new_tokens`).",
                answer=answer.text[:120],
                max_new_tokens=limit,
            )
        return answer.text, answer.score

    def _depth(self, frame: Frame) -> tuple[NDArray[np.uint8] | None, str]:
        """The model's depth map, and where it is from."""
        if not self.model.takes_depth:
            return None, "none"
        if self.model.depth_estimator is not None:
            if self._estimated is None or self._estimated[0]() is not frame:
                with within_memory():
                    self._estimated = weakref.ref(frame), self.model.depth_estimator.relative_depth_image(frame.rgb)
            return self._estimated[1], "estimated"
        depth = model_depth(frame)
        return depth, "none" if depth is None else "sensor"

    def _check_words(self, phrase: str) -> None:
        unknown = self.model.unknown_words(phrase)
        if unknown:
            words = ", ".join(repr(word) for word in unknown)
            raise Refused(
                Status.NOT_FOUND, f"The model {self.name} does not know {words} (`refuse_unknown_words`).", unknown_words=list(unknown)
            )

    def _prefix(self, frame: Frame, inputs: ModelInputs) -> FramePrefix:
        """The pictures' part of the prompt, computed once per frame: pick and place are often asked about one look."""
        if self._last_prefix is None or self._last_frame is None or self._last_frame() is not frame:
            self._last_prefix = self.model.encode_frame(inputs)
            self._last_frame = weakref.ref(frame)
        return self._last_prefix
