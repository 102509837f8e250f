"""Recognition by Whisper, or another speech-to-text model that transformers loads, from a folder that the user has."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roboref_node.language import read_dialogue
from roboref_node.speech.audio import RATE_HZ
from roboref_node.speech.recogniser import Heard
from roboref_node.status import Refused, Status

_MAX_TOKENS = 120
_SOUNDS = re.compile(r"\[[^\]]*\]|\([^)]*\)|[^\w\s,.'-]")
"""What Whisper writes for noises, "[Music]" or "(coughs)", and marks that no command has."""


class WhisperRecogniser:
    """Hears an utterance when it is over; knows every word, so that answers need no search of their own.

    Args:
        folder: Of the model, with its processor (``config.json``, ``preprocessor_config.json``, tokenizer, safetensors).
        language: Of the speaker, for multilingual models; "" = let the model find out.

    Raises:
        Refused: MODEL_UNAVAILABLE when the folder does not hold a speech-to-text model.
    """

    name = "whisper"

    def __init__(self, folder: str | Path, *, language: str = "en") -> None:
        self._processor, self._model = _load(Path(folder))
        self._language = language if getattr(self._model.generation_config, "lang_to_id", None) else ""
        self._utterance: list[NDArray[np.float32]] = []

    def start(self) -> None:
        """See `Recogniser`."""
        self._utterance = []

    def feed(self, samples: NDArray[np.float32]) -> None:
        """See `Recogniser`."""
        self._utterance.append(samples)

    def finish(self, *, answering: bool) -> Heard:
        """See `Recogniser`."""
        import torch

        if not self._utterance:
            return Heard("")
        samples = np.concatenate(self._utterance)
        inputs = self._processor(samples, sampling_rate=RATE_HZ, return_tensors="pt", return_attention_mask=True)
        inputs = {name: value.to(self._model.device) for name, value in inputs.items()}
        inputs["input_features"] = inputs["input_features"].to(self._model.dtype)
        options: dict[str, Any] = {"language": self._language, "task": "transcribe"} if self._language else {}
        with torch.inference_mode():
            tokens = self._model.generate(**inputs, max_new_tokens=_MAX_TOKENS, do_sample=False, num_beams=1, **options)
        text = str(self._processor.batch_decode(tokens, skip_special_tokens=True)[0])
        text = " ".join(_SOUNDS.sub(" ", text).lower().split()).strip(" .,")
        dialogue = read_dialogue(text) if text else None
        return Heard(text, is_answer=answering and dialogue is not None and not dialogue.rest)


def _load(folder: Path) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForSpeechSeq2Seq, AutoProcessor

    from roboref_node.model.config_checks import refusing
    from roboref_node.model.pretrained import OFFLINE, load_whole

    if not (folder / "config.json").is_file():
        raise Refused(
            Status.MODEL_UNAVAILABLE, f"{folder} (parameter whisper_model) holds no config.json: give the folder of a Whisper model"
        )
    device, dtype = ("cuda", "float16") if torch.cuda.is_available() else ("cpu", "float32")
    with refusing(f"{folder} (parameter whisper_model) cannot be loaded"):
        processors: Any = AutoProcessor  # untyped in transformers
        processor = processors.from_pretrained(folder, **OFFLINE)
    return processor, load_whole(AutoModelForSpeechSeq2Seq, folder, torch.device(device), dtype=dtype)
