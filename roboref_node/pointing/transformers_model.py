"""Back-end: any image-text-to-text model that transformers loads from a local folder, with a declared dialect."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor, StoppingCriteria, StoppingCriteriaList

from roboref_node.frame import Frame
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
        dialect: How the model writes points.
        device: ``auto`` (the GPU when there is one), ``cpu``, ``cuda``.
        dtype: ``auto`` (as stored), ``float32``, ``bfloat16`` or ``float16``.
        resize: Size in which the image is given to the processor; see `SizeRule` for why absolute dialects need one.
        max_new_tokens: Longest answer.
        format_suffix: Ask for the answer format in the prompt.
        max_instruction_chars: Longest expression.
        fetch: Command that gets the weights, for the sentence when they are missing.
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


class TransformersPointer(PromptedPointer[TransformersSettings]):
    """Asks a transformers model that is loaded here.

    Args:
        settings: Folder, dialect and limits.
        name: Name for provenance.

    Raises:
        Refused: MODEL_UNAVAILABLE when the folder holds no weights or cannot be loaded.
    """

    def __init__(self, settings: TransformersSettings, name: str = "transformers") -> None:
        super().__init__(settings, settings.dialect, name)
        folder = Path(settings.folder).expanduser()
        check_weights(folder, settings.fetch)
        device = settings.device if settings.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
        processors: Any = AutoProcessor  # untyped in transformers
        models: Any = AutoModelForImageTextToText
        options = {"local_files_only": True, "trust_remote_code": False}
        try:
            self._processor = processors.from_pretrained(folder, **options)
            self._model = models.from_pretrained(folder, dtype=settings.dtype, use_safetensors=True, **options).to(device)
        except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
            raise Refused(Status.MODEL_UNAVAILABLE, f"transformers cannot load {folder}: {str(error)[:300]}", folder=str(folder)) from error
        self._model.eval()
        self._weights_sha256 = weights_sha256(folder)

    def _prepare(self, frame: Frame, task: Task, prompt: str) -> Prepared:
        sent = resize(frame.rgb, self.settings.resize)
        content = [{"type": "image", "image": Image.fromarray(sent)}, {"type": "text", "text": prompt}]
        inputs = self._processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
        ).to(self._model.device, self._model.dtype)
        return Prepared(inputs, size_px(sent), {"depth": "none"})

    def _identity(self) -> Mapping[str, str]:
        return {"weights_sha256": self._weights_sha256}

    @torch.inference_mode()
    def _ask(self, frame: Frame, prepared: Prepared, canceled: Callable[[], bool] | None) -> tuple[str, float]:
        inputs = prepared.request
        limit = self.settings.max_new_tokens
        out = self._model.generate(
            **inputs,
            max_new_tokens=limit,
            do_sample=False,
            return_dict_in_generate=True,
            output_logits=True,
            stopping_criteria=StoppingCriteriaList([_Canceled(canceled)]),
        )
        if canceled is not None and canceled():
            raise Refused(Status.CANCELED, "The question was canceled while the model was answering.")
        tokens = out.sequences[0, inputs["input_ids"].shape[1] :]
        if len(tokens) >= limit and int(tokens[-1]) not in self._stop_ids():
            raise Refused(Status.UNPARSEABLE, f"The answer was cut off after {limit} tokens (`max_new_tokens`).", max_new_tokens=limit)
        steps = torch.stack([logits[0].float() for logits in out.logits]).log_softmax(dim=-1)  # [T, V]
        score = float(steps.gather(1, tokens[:, None]).sum().exp())
        return self._processor.decode(tokens, skip_special_tokens=True).strip(), score

    def _stop_ids(self) -> set[int]:
        stop = self._model.generation_config.eos_token_id
        return set(stop) if isinstance(stop, list) else {stop}


class _Canceled(StoppingCriteria):  # type: ignore[misc, unused-ignore]
    """Ends the generation as soon as the caller cancels."""

    def __init__(self, canceled: Callable[[], bool] | None) -> None:
        self._canceled = canceled

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        stop = self._canceled is not None and self._canceled()
        return torch.full((input_ids.shape[0],), stop, device=input_ids.device)
