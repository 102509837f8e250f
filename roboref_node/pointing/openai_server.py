"""Back-end: any server with OpenAI's chat completions API (vLLM, SGLang, `roboref serve`, hosted models) and a declared dialect."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from roboref_node.frame import Frame
from roboref_node.pointing.dialect import Dialect
from roboref_node.pointing.http import HttpClient
from roboref_node.pointing.http_settings import HttpSettings
from roboref_node.pointing.prompt import MAX_INSTRUCTION_CHARS
from roboref_node.pointing.prompted import Prepared, PromptedPointer
from roboref_node.pointing.sent_image import IMAGE_FORMATS, SizeRule, encode_base64, model_depth, resize, size_px
from roboref_node.status import Refused, Status
from roboref_node.task import Task


@dataclass(frozen=True)
class OpenAISettings:
    """Settings of the client.

    Args:
        http: Address (ending before ``/chat/completions``, usually in ``/v1``) and limits.
        model: Name of the model on the server; empty = the only one that it serves.
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

    def __post_init__(self) -> None:
        if self.max_tokens < 1 or not 0.0 <= self.temperature <= 2.0:
            raise Refused(
                Status.BAD_REQUEST,
                f"`max_tokens` must be at least 1 and `temperature` 0 to 2, not {self.max_tokens} and {self.temperature:g}.",
            )
        if self.image_format not in IMAGE_FORMATS:
            raise Refused(Status.BAD_REQUEST, f"`image_format` must be {' or '.join(IMAGE_FORMATS)}, not {self.image_format!r}.")
        if self.http.url.rstrip("/").endswith("/chat/completions"):
            raise Refused(Status.BAD_REQUEST, f"`url` ends before /chat/completions, which is added; it is {self.http.url!r}.")
        self.resize.check(self.dialect)


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
            **({"model": settings.model} if settings.model else {}),
            "messages": [{"role": "user", "content": [*content, {"type": "text", "text": prompt}]}],
            "max_tokens": settings.max_tokens,
            "temperature": settings.temperature,
            **({"logprobs": True} if settings.logprobs else {}),
        }
        provenance = {
            "model": f"{self.name}: {settings.model}" if settings.model else self.name,
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
        choices = reply.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
        text = _content(choice.get("message"))
        # These come first, because a model whose thinking took all tokens, or was withheld, has no content at all.
        if choice.get("finish_reason") == "content_filter":
            raise Refused(
                Status.UNPARSEABLE,
                f"{self.settings.http.url} withheld a part of the answer (finish_reason content_filter).",
                answer=(text or "")[:120],
            )
        if choice.get("finish_reason") == "length":
            thinking = "" if text else ", which its thinking took"
            raise Refused(
                Status.UNPARSEABLE,
                f"The answer was cut off after {self.settings.max_tokens} tokens (`max_tokens`){thinking}.",
                answer=(text or "")[:120],
                max_tokens=self.settings.max_tokens,
            )
        if text is None:
            said = _complaint(reply)
            raise Refused(Status.UNPARSEABLE, f"{self.settings.http.url} answers without choices[0].message.content{said}.")
        return text, _score(choice)


def _content(message: Any) -> str | None:
    """The text of a message: a string or, from servers that set thinking apart, a list of parts. None when there is none."""
    content = message.get("content") if isinstance(message, dict) else None
    if not isinstance(content, list):
        return content if isinstance(content, str) else None
    texts = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text"]
    return "".join(text for text in texts if isinstance(text, str)) if texts else None


def _complaint(reply: dict[str, Any]) -> str:
    """What the server says instead of an answer: an error, the model's refusal, or a call of a tool."""
    choices = reply.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    message = first.get("message") if isinstance(first, dict) else None
    error = reply.get("error")
    told = error.get("message") if isinstance(error, dict) else error
    if isinstance(message, dict):
        told = message.get("refusal") or ("a call of a tool" if message.get("tool_calls") else told)
    return f", but with {told[:200]!r}" if isinstance(told, str) and told else ""


def _score(choice: dict[str, Any]) -> float:
    """Geometric mean of the token probabilities of a choice, in [0, 1]; NaN without them."""
    try:
        logprobs = [float(token["logprob"]) for token in choice["logprobs"]["content"]]
        mean = sum(logprobs) / len(logprobs)
        return math.exp(min(mean, 0.0)) if math.isfinite(mean) else float("nan")
    except (KeyError, TypeError, ValueError, ZeroDivisionError, OverflowError):
        return float("nan")
