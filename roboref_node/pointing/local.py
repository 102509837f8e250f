"""Back-end: a RoboRefer model in this process, from the shipped nano to the published 8B."""

from __future__ import annotations

import hashlib
import time
import weakref
from collections.abc import Callable

from roboref_node.frame import Frame
from roboref_node.model import FramePrefix, ModelInputs
from roboref_node.pointing.dialect import Dialect
from roboref_node.pointing.local_model import LocalModel
from roboref_node.pointing.local_settings import LocalModelSettings
from roboref_node.pointing.parser import parse_points
from roboref_node.pointing.pointer import PixelPoint, PointAnswer
from roboref_node.pointing.prompt import build_prompt, referring_phrase
from roboref_node.pointing.sent_image import model_depth, size_px
from roboref_node.status import Refused, Status
from roboref_node.task import Task


class LocalPointer:
    """Asks a model that is loaded here.

    Args:
        settings: Folder, device and limits.
        name: Name for provenance.

    Raises:
        Refused: See `LocalModel`.
    """

    def __init__(self, settings: LocalModelSettings, name: str = "local") -> None:
        self.name = name
        self.settings = settings
        self.model = LocalModel(settings)
        self._last_frame: weakref.ref[Frame] | None = None
        self._last_prefix: FramePrefix | None = None

    def point(self, frame: Frame, task: Task, *, canceled: Callable[[], bool] | None = None) -> PointAnswer:
        """See `Pointer.point`."""
        started = time.perf_counter()
        settings = self.settings
        prompt = build_prompt(
            task, Dialect.ROBOREFER, format_suffix=settings.format_suffix, max_instruction_chars=settings.max_instruction_chars
        )
        if settings.refuse_unknown_words:
            self._check_words(referring_phrase(task, settings.max_instruction_chars))
        depth = model_depth(frame) if self.model.takes_depth else None
        inputs = self.model.prepare(frame.rgb, depth, prompt)
        prepared = time.perf_counter()
        if canceled is not None and canceled():
            raise Refused(Status.CANCELED, "The question was canceled before the model was asked.")
        prefix = self._prefix(frame, inputs) if settings.reuse_frames else None
        (answer,) = self.model.answer([inputs], settings.max_new_tokens, prefix=prefix, canceled=canceled)
        answered = time.perf_counter()
        if not answer.finished:
            raise Refused(
                Status.UNPARSEABLE,
                f"The answer was cut off after {settings.max_new_tokens} tokens (`max_new_tokens`).",
                answer=answer.text[:120],
                max_new_tokens=settings.max_new_tokens,
            )
        parsed = parse_points(answer.text, Dialect.ROBOREFER, size_px(frame.rgb))
        return PointAnswer(
            points=tuple(PixelPoint(point.u_px, point.v_px, answer.score) for point in parsed.points),
            text=answer.text,
            steps=parsed.steps,
            timings_ms={"prepare": 1e3 * (prepared - started), "model": 1e3 * (answered - prepared)},
            provenance={
                "model": self.name,
                "weights_sha256": self.model.weights_sha256,
                "depth": "none" if depth is None else "sensor",
                "prompt_sha256": hashlib.sha256(prompt.encode()).hexdigest(),
            },
        )

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
