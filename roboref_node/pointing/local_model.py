"""A RoboRefer model in this process: its loading, and answers to prepared questions; shared by pointer and server."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from roboref_node.model import FramePrefix, GeneratedAnswer, Generator, ModelInputs, TokenGrammar, load_model, point_answer
from roboref_node.model.conversation import Turn
from roboref_node.model.pretrained import usable_device
from roboref_node.model.sampling import Sampling
from roboref_node.pointing.local_settings import LocalModelSettings, check_weights
from roboref_node.pointing.weights_hash import weights_sha256
from roboref_node.status import Refused, Status

if TYPE_CHECKING:
    from roboref_node.model.monocular import MonocularDepth


class LocalModel:
    """A loaded model. Not thread-safe.

    Args:
        settings: Folder, device and limits.

    Raises:
        Refused: MODEL_UNAVAILABLE when weights are missing or wrong, or do not fit into memory; BAD_REQUEST for an unusable device.
    """

    def __init__(self, settings: LocalModelSettings) -> None:
        check_weights(settings.path, settings.fetch)
        self.settings = settings
        if settings.threads:
            torch.set_num_threads(settings.threads)
        try:
            model, self.processor = load_model(
                settings.path,
                device=usable_device(None if settings.device == "auto" else settings.device),
                dtype=None if settings.dtype == "auto" else settings.dtype,
                tile_budget=settings.tile_budget or None,
                quantize=settings.quantize or None,
                rgb_newline=settings.rgb_newline,
            )
        except RuntimeError as error:  # memory that runs out all the same
            raise Refused(Status.MODEL_UNAVAILABLE, f"{settings.path} cannot be loaded on device {settings.device!r}: {error}") from error
        self.weights_sha256 = weights_sha256(settings.path)
        self.takes_depth = settings.use_depth and bool(model.config.use_depth)
        self.depth_estimator = _depth_estimator(settings.depth_model, model.device) if settings.depth_model else None
        self._generator = Generator(model, self.processor)
        self._grammar = (
            TokenGrammar(point_answer(think=settings.think), self.processor.tokenizer, model.config.stop_token_ids or ())
            if settings.constrained
            else None
        )
        self._warm_up(1)

    def expect_batches(self, most: int) -> None:
        """Record now what batches of up to so many questions need on a GPU, so that no client waits for it."""
        size = 2
        while self._generator.fixed_cache and size < 2 * most:
            self._warm_up(min(size, most))
            size *= 2

    def _warm_up(self, batch: int) -> None:
        """The beginning of answers about nothing: the first one allocates and compiles, and no user should wait for that.

        With room for a whole answer, because caches and graphs are made for their length.
        """
        blank = np.zeros((48, 64, 3), dtype=np.uint8)
        polls = iter((False, False, False))
        question = self.prepare(blank, blank, "point to the object")
        try:
            self.answer([question] * batch, self.settings.max_new_tokens, canceled=lambda: next(polls, True))
        except Refused as refused:
            if refused.status is not Status.CANCELED:
                raise

    def prepare(
        self,
        rgb: NDArray[np.uint8],
        depth_image: NDArray[np.uint8] | None,
        text: str,
        *,
        history: Sequence[Turn] = (),
        system: str | None = None,
    ) -> ModelInputs:
        """Tiles and token ids of a question; `history` and `system` as `RoboReferProcessor` takes them.

        Raises:
            Refused: BAD_REQUEST when the question does not fit into the model's context, or its chat template knows no system message.
        """
        try:
            return self.processor(rgb, depth_image if self.takes_depth else None, text, history=history, system=system)
        except ValueError as error:
            raise Refused(Status.BAD_REQUEST, f"The question cannot be put to the model: {error}.") from error

    def encode_frame(self, inputs: ModelInputs) -> FramePrefix:
        """What all questions about the pictures of `inputs` share.

        Raises:
            Refused: MODEL_UNAVAILABLE when memory runs out.
        """
        with within_memory():
            return self._generator.encode_frame(inputs)

    def answer(
        self,
        questions: Sequence[ModelInputs],
        max_new_tokens: int,
        *,
        prefix: FramePrefix | None = None,
        canceled: Callable[[], bool] | None = None,
        sampling: Sequence[Sampling | None] | None = None,
    ) -> list[GeneratedAnswer]:
        """Answer prepared questions together, greedily where there is no `sampling`.

        Raises:
            Refused: CANCELED; MODEL_UNAVAILABLE when memory runs out or the model computes NaN or infinity.
        """
        with within_memory():
            return self._generator.generate_batch(
                questions, max_new_tokens=max_new_tokens, grammar=self._grammar, prefix=prefix, canceled=canceled, sampling=sampling
            )

    def unknown_words(self, phrase: str) -> tuple[str, ...]:
        """Words of `phrase` that the vocabulary lacks; none for vocabularies that spell every word."""
        tokenizer = self.processor.tokenizer
        unknown = tokenizer.unk_token_id
        if unknown is None:
            return ()
        return tuple(word for word in phrase.split() if unknown in tokenizer(word, add_special_tokens=False)["input_ids"])


@contextmanager
def within_memory() -> Iterator[None]:
    """Memory that runs out inside is a refusal that names the setting.

    Raises:
        Refused: MODEL_UNAVAILABLE.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise Refused(
            Status.MODEL_UNAVAILABLE, f"The GPU's memory ran out; a smaller `tile_budget` needs less. {str(error)[:200]}"
        ) from error


def _depth_estimator(folder: str, device: torch.device) -> MonocularDepth:
    from roboref_node.model.monocular import MonocularDepth  # takes a second, and few need it

    return MonocularDepth(Path(folder).expanduser(), device=str(device))
