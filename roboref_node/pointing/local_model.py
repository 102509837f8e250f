"""A RoboRefer model in this process: its settings, its loading, and answers to prepared questions; shared by pointer and server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

import roboref_node.model as model_package
from roboref_node.model import FramePrefix, GeneratedAnswer, Generator, ModelInputs, TokenGrammar, load_model, point_answer
from roboref_node.pointing.prompt import MAX_INSTRUCTION_CHARS
from roboref_node.pointing.weights_hash import weights_sha256
from roboref_node.status import Refused, Status

PACKAGE_PREFIX = "package:"


@dataclass(frozen=True)
class LocalModelSettings:
    """Settings of a local model.

    Args:
        folder: Model folder; ``package:`` in front means inside `roboref_node.model`, ``~`` is the home directory.
        device: ``auto`` (the GPU when there is one), ``cpu``, ``cuda``, ``cuda:1``.
        dtype: ``auto`` (bfloat16 on a GPU, float32 on the CPU), ``float32``, ``bfloat16`` or ``float16``.
        threads: CPU threads of the whole process; 0 leaves them as they are.
        think: Reasoning steps before the answer: ``never``, ``optional`` (as the model likes) or ``always``.
        constrained: Let the model write well-formed answers only.
        use_depth: Give the model the depth map.
        max_new_tokens: Longest answer.
        tile_budget: Most tiles per picture; 0 = the model's own. Fewer are faster and coarser.
        reuse_frames: Keep what was computed for the last frame, for the next question about it.
        format_suffix: Ask for the answer format in the prompt, as the published checkpoints expect.
        refuse_unknown_words: NOT_FOUND for expressions with words that the model's vocabulary lacks.
        max_instruction_chars: Longest expression.
        fetch: Command that gets the weights, for the sentence when they are missing.
    """

    folder: str
    device: str = "auto"
    dtype: str = "auto"
    threads: int = 0
    think: str = "optional"
    constrained: bool = True
    use_depth: bool = True
    max_new_tokens: int = 256
    tile_budget: int = 0
    reuse_frames: bool = True
    format_suffix: bool = True
    refuse_unknown_words: bool = True
    max_instruction_chars: int = MAX_INSTRUCTION_CHARS
    fetch: str = ""

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1 or self.threads < 0 or self.tile_budget < 0:
            raise Refused(Status.BAD_REQUEST, "`max_new_tokens` must be at least 1, `threads` and `tile_budget` not negative.")
        if self.think not in ("never", "optional", "always"):
            raise Refused(Status.BAD_REQUEST, f"`think` must be never, optional or always, not {self.think!r}.")

    @property
    def path(self) -> Path:
        """The folder as a path."""
        if self.folder.startswith(PACKAGE_PREFIX):
            return Path(model_package.__path__[0]) / self.folder.removeprefix(PACKAGE_PREFIX)
        return Path(self.folder).expanduser()


def check_weights(folder: Path, fetch: str) -> None:
    """Refuse a folder without weights, before anything heavy is loaded.

    Raises:
        Refused: MODEL_UNAVAILABLE with the folder and the command that fills it.
    """
    if not any(folder.rglob("*.safetensors")):
        advice = f"get them with: {fetch}" if fetch else "set `folder` to a model folder"
        raise Refused(Status.MODEL_UNAVAILABLE, f"There are no weights (*.safetensors) in {folder}: {advice}.", folder=str(folder))


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
                device=None if settings.device == "auto" else settings.device,
                dtype=None if settings.dtype == "auto" else settings.dtype,
                tile_budget=settings.tile_budget or None,
            )
        except (RuntimeError, AssertionError) as error:  # what torch raises for a device that does not exist
            raise Refused(Status.MODEL_UNAVAILABLE, f"{settings.path} cannot be loaded on device {settings.device!r}: {error}") from error
        self.weights_sha256 = weights_sha256(settings.path)
        self.takes_depth = settings.use_depth and bool(model.config.use_depth)
        self._generator = Generator(model, self.processor)
        self._grammar = (
            TokenGrammar(point_answer(think=settings.think), self.processor.tokenizer, model.config.stop_token_ids or ())
            if settings.constrained
            else None
        )

    def prepare(self, rgb: NDArray[np.uint8], depth_image: NDArray[np.uint8] | None, text: str) -> ModelInputs:
        """Tiles and token ids of a question.

        Raises:
            Refused: BAD_REQUEST when the question does not fit into the model's context.
        """
        try:
            return self.processor(rgb, depth_image if self.takes_depth else None, text)
        except ValueError as error:
            raise Refused(Status.BAD_REQUEST, f"The question cannot be put to the model: {error}.") from error

    def encode_frame(self, inputs: ModelInputs) -> FramePrefix:
        """What all questions about the pictures of `inputs` share."""
        return self._generator.encode_frame(inputs)

    def answer(
        self,
        questions: Sequence[ModelInputs],
        max_new_tokens: int,
        *,
        prefix: FramePrefix | None = None,
        canceled: Callable[[], bool] | None = None,
    ) -> list[GeneratedAnswer]:
        """Answer prepared questions together.

        Raises:
            Refused: CANCELED; MODEL_UNAVAILABLE when memory runs out.
        """
        try:
            return self._generator.generate_batch(
                questions, max_new_tokens=max_new_tokens, grammar=self._grammar, prefix=prefix, canceled=canceled
            )
        except torch.OutOfMemoryError as error:
            raise Refused(
                Status.MODEL_UNAVAILABLE, f"The GPU's memory ran out; a smaller `tile_budget` needs less. {str(error)[:200]}"
            ) from error

    def unknown_words(self, phrase: str) -> tuple[str, ...]:
        """Words of `phrase` that the vocabulary lacks; none for vocabularies that spell every word."""
        tokenizer = self.processor.tokenizer
        unknown = tokenizer.unk_token_id
        if unknown is None:
            return ()
        return tuple(word for word in phrase.split() if unknown in tokenizer(word, add_special_tokens=False)["input_ids"])
