"""Back-end: any server with OpenAI's chat completions API (vLLM, SGLang, `roboref serve`, hosted models) and a declared dialect."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from roboref_node.frame import Frame
from roboref_node.pointing.dialect import Dialect
from roboref_node.pointing.http import HttpClient, HttpSettings
from roboref_node.pointing.prompt import MAX_INSTRUCTION_CHARS
from roboref_node.pointing.prompted import Prepared, PromptedPointer
from roboref_node.pointing.sent_image import SizeRule, encode_base64, model_depth, resize, size_px
from roboref_node.status import Refused, Status
from roboref_node.task import Task


@dataclass(frozen=True)
class OpenAISettings:
    """Settings of the client.

    Args:
        http: Address (ending before ``/chat/completions``, usually in ``/v1``) and limits.
        model: Name of the model on the server.
        dialect: How that model writes points.
        send_depth: Send the relative depth map as a second image; only for models that were trained on it.
        resize: Size in which the image is sent; see `SizeRule` for why absolute dialects need one.
        image_format: png or jpeg.
        max_tokens: Longest answer.
        temperature: 0 = greedy.
        logprobs: Ask for token probabilities to give the answer a score; not every server knows it.
        format_suffix: Ask for the answer format in the prompt.
        max_instruction_chars: Longest expression.
    """

    http: HttpSettings
    model: str
    dialect: Dialect
    send_depth: bool = False
    resize: SizeRule = field(default_factory=SizeRule)
    image_format: str = "png"
    max_tokens: int = 256
    temperature: float = 0.0
    logprobs: bool = False
    format_suffix: bool = True
    max_instruction_chars: int = MAX_INSTRUCTION_CHARS


class OpenAIPointer(PromptedPointer[OpenAISettings]):
    """Asks an OpenAI-compatible server.

    Args:
        settings: Address, model, dialect and limits.
        name: Name for provenance.
    """

    def __init__(self, settings: OpenAISettings, name: str = "openai") -> None:
        super().__init__(settings, settings.dialect, name)
        self._client = HttpClient(settings.http)

    def _prepare(self, frame: Frame, task: Task, prompt: str) -> Prepared:
        settings = self.settings
        sent = resize(frame.rgb, settings.resize)
        images = [sent]
        depth = model_depth(frame) if settings.send_depth else None
        if depth is not None:
            images.append(resize(depth, settings.resize))
        content: list[dict[str, Any]] = [
            {
                "type": "image_url",
                "image_url": {"url": f"data:image/{settings.image_format};base64,{encode_base64(i, settings.image_format)}"},
            }
            for i in images
        ]
        payload = {
            "model": settings.model,
            "messages": [{"role": "user", "content": [*content, {"type": "text", "text": prompt}]}],
            "max_tokens": settings.max_tokens,
            "temperature": settings.temperature,
            **({"logprobs": True} if settings.logprobs else {}),
        }
        provenance = {
            "model": f"{self.name}: {settings.model}",
            "server": settings.http.url,
            "depth": "none" if depth is None else "sensor",
        }
        return Prepared(payload, size_px(sent), provenance)

    def _ask(self, frame: Frame, prepared: Prepared, canceled: Callable[[], bool] | None) -> tuple[str, float]:
        return self._answer(self._client.post_json("/chat/completions", prepared.request, canceled=canceled))

    def close(self) -> None:
        """Drop the connections."""
        self._client.close()

    def _answer(self, reply: dict[str, Any]) -> tuple[str, float]:
        """Text of the first choice and its probability, NaN when the server gives none."""
        try:
            choice = reply["choices"][0]
            text = choice["message"]["content"]
        except (KeyError, IndexError, TypeError):
            text = None
        if not isinstance(text, str):
            raise Refused(Status.UNPARSEABLE, f"{self.settings.http.url} answers without choices[0].message.content.")
        if choice.get("finish_reason") == "length":
            raise Refused(
                Status.UNPARSEABLE,
                f"The answer was cut off after {self.settings.max_tokens} tokens (`max_tokens`).",
                answer=text[:120],
                max_tokens=self.settings.max_tokens,
            )
        return text, _score(choice)


def _score(choice: dict[str, Any]) -> float:
    """Geometric mean of the token probabilities of a choice, in [0, 1]; NaN without them."""
    try:
        logprobs = [float(token["logprob"]) for token in choice["logprobs"]["content"]]
        mean = sum(logprobs) / len(logprobs)
        return math.exp(min(mean, 0.0)) if math.isfinite(mean) else float("nan")
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return float("nan")
