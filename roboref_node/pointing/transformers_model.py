"""Back-end: any image-text-to-text model that transformers loads from a local folder, with a declared dialect."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from transformers import AutoModelForImageTextToText, AutoProcessor, StoppingCriteria, StoppingCriteriaList

from roboref_node.frame import Frame
from roboref_node.model.checkpoint import DTYPES
from roboref_node.model.config_checks import refusing
from roboref_node.model.pretrained import OFFLINE, load_whole, named_device, usable_device
from roboref_node.model.tensor_files import read_json
from roboref_node.model.tiling import as_rgb
from roboref_node.pointing.dialect import Dialect
from roboref_node.pointing.local_settings import check_weights
from roboref_node.pointing.prompt import MAX_INSTRUCTION_CHARS
from roboref_node.pointing.prompted import Prepared, PromptedPointer
from roboref_node.pointing.sent_image import SizeRule, resize, size_px
from roboref_node.pointing.weights_hash import weights_sha256
from roboref_node.status import Refused, Status
from roboref_node.task import Task


@dataclass(frozen=True)
class TransformersSettings:
    """Settings of a local transformers model.

    Args:
        folder: Model folder with configuration, weights, tokenizer and processor; nothing is downloaded, and no code in it is run.
            Qwen's processors need the Python package torchvision, in the version that belongs to the installed torch.
        dialect: How the model writes points.
        device: ``auto`` (the GPU when there is one), ``cpu``, ``cuda``, ``cuda:1``.
        dtype: ``auto`` (as stored), ``float32``, ``bfloat16`` or ``float16``.
        resize: Size in which the image is given to the processor; see `SizeRule` for why absolute dialects need one.
        max_new_tokens: Longest answer.
        format_suffix: Ask for the answer format in the prompt.
        max_instruction_chars: Longest expression.
        fetch: Command that gets the weights, for the sentence when they are missing.

    Raises:
        Refused: BAD_REQUEST for a value out of range.
    """

    folder: str
    dialect: Dialect
    device: str = "auto"
    dtype: str = "auto"
    resize: SizeRule = field(default_factory=SizeRule)
    max_new_tokens: int = 256
    format_suffix: bool = True
    max_instruction_chars: int = MAX_INSTRUCTION_CHARS
    fetch: str = ""

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise Refused(Status.BAD_REQUEST, f"`max_new_tokens` is {self.max_new_tokens}, expected at least 1.")
        if self.dtype not in ("auto", *DTYPES):
            raise Refused(Status.BAD_REQUEST, f"`dtype` is {self.dtype!r}, expected one of auto, {', '.join(DTYPES)}.")
        if self.device != "auto":
            named_device(self.device)
        self.resize.check(self.dialect)


class TransformersPointer(PromptedPointer[TransformersSettings]):
    """Asks a transformers model that is loaded here.

    Args:
        settings: Folder, dialect and limits.
        name: Name for provenance.

    Raises:
        Refused: MODEL_UNAVAILABLE when the folder holds no model that answers questions about pictures, or not all of it, or the device
            is not there.
    """

    def __init__(self, settings: TransformersSettings, name: str = "transformers") -> None:
        super().__init__(settings, settings.dialect, name)
        with refusing(f"`folder` {settings.folder!r} cannot be read"):  # the home directory of nobody, a path with a zero byte
            folder = Path(settings.folder).expanduser()
            check_weights(folder, settings.fetch)
        read_json(folder / "config.json", "a model folder for transformers")
        if (folder / "generation_config.json").exists():  # one that is no JSON is ignored, with the tokens that end an answer
            read_json(folder / "generation_config.json", "what transformers writes there")
        device = usable_device(None if settings.device == "auto" else settings.device)
        processors: Any = AutoProcessor  # untyped in transformers
        with refusing(f"{folder} holds no usable processor"):
            self._processor = processors.from_pretrained(folder, **OFFLINE)
        if getattr(self._processor, "image_processor", None) is None:  # transformers falls back to the tokenizer, which drops pictures
            raise Refused(
                Status.MODEL_UNAVAILABLE,
                f"{folder} holds no image processor (processor_config.json or preprocessor_config.json), only a "
                f"{type(self._processor).__name__}: the model would not see the picture.",
                folder=str(folder),
            )
        self._model = load_whole(AutoModelForImageTextToText, folder, device, dtype=settings.dtype)
        with refusing(f"{folder} cannot answer questions about pictures"):
            self._warm_up()
        with refusing(f"{folder}: the weights cannot be read again, for their hash"):
            self._weights_sha256 = weights_sha256(folder)

    def _warm_up(self) -> None:
        """One token about nothing: what is wrong with a template, a processor or numbers is found now and not at the first question."""
        if not self._stop_ids():
            raise Refused(
                Status.MODEL_UNAVAILABLE,
                f"No answer would end: neither generation_config.json nor config.json in {self.settings.folder} has an eos_token_id.",
            )
        blank = np.zeros((480, 640, 3), dtype=np.uint8)
        self._generate(self._inputs(resize(blank, self.settings.resize), "point to the object"), 1, None)

    def _inputs(self, sent: NDArray[np.uint8], prompt: str) -> Any:
        content = [{"type": "image", "image": Image.fromarray(sent)}, {"type": "text", "text": prompt}]
        inputs = self._processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
        )
        if self.dialect.convention.resizes and "image_grid_thw" in inputs:
            self._check_kept(inputs["image_grid_thw"][0], sent)
        return inputs.to(self._model.device, self._model.dtype)

    def _check_kept(self, grid: Tensor, sent: NDArray[np.uint8]) -> None:
        """The model must see the picture in the size that is sent, because that is whose pixels its answer is taken for.

        Raises:
            Refused: BAD_REQUEST when the folder's processor brings it to another one.
        """
        patch = self._processor.image_processor.patch_size
        seen = (int(grid[2]) * patch, int(grid[1]) * patch)
        if seen != size_px(sent):
            raise Refused(
                Status.BAD_REQUEST,
                f"`resize` gives the picture {sent.shape[1]}x{sent.shape[0]} pixels and the processor in {self.settings.folder} makes that "
                f"{seen[0]}x{seen[1]}, in whose pixels the model would answer: set `multiple`, `min_pixels` and `max_pixels` to the "
                "processor's own (preprocessor_config.json).",
                sent_px=list(size_px(sent)),
                seen_px=list(seen),
            )

    def _prepare(self, frame: Frame, task: Task, prompt: str) -> Prepared:
        # The model took a picture when it was loaded; what it does not take now is due to this one, or to its question.
        with refusing("The question cannot be put to the model", Status.BAD_REQUEST):
            sent = resize(as_rgb(frame.rgb), self.settings.resize)
            return Prepared(self._inputs(sent, prompt), size_px(sent), {"depth": "none"})

    def _identity(self) -> Mapping[str, str]:
        return {"weights_sha256": self._weights_sha256}

    def _ask(self, frame: Frame, prepared: Prepared, canceled: Callable[[], bool] | None) -> tuple[str, float]:
        limit = self.settings.max_new_tokens
        with refusing("The model failed while it was answering"):
            tokens, score = self._generate(prepared.request, limit, canceled)
        if canceled is not None and canceled():
            raise Refused(Status.CANCELED, "The question was canceled while the model was answering.")
        if len(tokens) >= limit and int(tokens[-1]) not in self._stop_ids():
            raise Refused(Status.UNPARSEABLE, f"The answer was cut off after {limit} tokens (`max_new_tokens`).", max_new_tokens=limit)
        return self._processor.decode(tokens, skip_special_tokens=True).strip(), score

    @torch.inference_mode()
    def _generate(self, inputs: Any, limit: int, canceled: Callable[[], bool] | None) -> tuple[Tensor, float]:
        """The best tokens [T], at most `limit`, and the model's probability of them.

        Raises:
            Refused: MODEL_UNAVAILABLE when memory runs out or the model computes NaN or infinity.
        """
        try:
            out = self._model.generate(
                **inputs,
                max_new_tokens=limit,
                do_sample=False,
                num_beams=1,  # a folder's generation_config.json may ask for several, and the score is that of one
                num_return_sequences=1,
                return_dict_in_generate=True,
                output_logits=True,
                stopping_criteria=StoppingCriteriaList([_Canceled(canceled)]),
            )
        except torch.OutOfMemoryError as error:
            raise Refused(
                Status.MODEL_UNAVAILABLE, f"The GPU's memory ran out; a smaller `resize.max_pixels` needs less. {str(error)[:200]}"
            ) from error
        steps = torch.stack([logits[0].float() for logits in out.logits]).log_softmax(dim=-1)  # [T, V]
        if steps.isnan().any():  # of NaN the best token is the first, again and again
            raise Refused(
                Status.MODEL_UNAVAILABLE,
                f"The model computes no finite numbers: the weights in {self.settings.folder} hold NaN or infinity, "
                f"or overflow {self._model.dtype} (`dtype` float32 or bfloat16 reaches further than float16).",
            )
        tokens = out.sequences[0, -len(steps) :]  # from the end: not every architecture repeats the question
        return tokens, float(steps.gather(1, tokens[:, None]).sum().exp())

    def _stop_ids(self) -> set[int]:
        stop = self._model.generation_config.eos_token_id
        return set(stop) if isinstance(stop, list) else {stop} - {None}


class _Canceled(StoppingCriteria):  # type: ignore[misc, unused-ignore]
    """Ends the generation as soon as the caller cancels."""

    def __init__(self, canceled: Callable[[], bool] | None) -> None:
        self._canceled = canceled

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        stop = self._canceled is not None and self._canceled()
        return torch.full((input_ids.shape[0],), stop, device=input_ids.device)
