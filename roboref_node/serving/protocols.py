"""The two wire formats: RoboRefer's ``/query`` and OpenAI's chat completions. JSON in, `Question` out; `Answer` in, JSON out."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from typing import Any

from roboref_node.serving.question import Answer, ImageLimits, Question, RequestError, check_text, decode_image

_ACCEPTED: Mapping[str, tuple[Any, ...]] = {
    "stream": (False,),
    "n": (1,),
    "best_of": (1,),
    "temperature": (0,),
    "top_p": (1,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "stop": ([], ""),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
}
"""Parameters that would change the answer, and their values that do not; others, such as `seed` and `user`, change nothing here."""


def read_query(body: Mapping[str, Any], limits: ImageLimits, client: str, new_tokens: int) -> Question:
    """RoboRefer's request: ``image_url`` and ``depth_url`` (lists of base64 files), ``enable_depth`` (0 or 1) and ``text``.

    With ``enable_depth`` 1 and no depth picture the server estimates the depth, as the published server does; with 0 a depth picture
    is ignored. The request has no field for the longest answer: `new_tokens`.

    Raises:
        RequestError: 400 or 413, saying which field is wrong.
    """
    images, depths = body.get("image_url", []), body.get("depth_url", [])
    enable_depth = body.get("enable_depth", 0)
    if not isinstance(images, list) or not isinstance(depths, list):
        raise RequestError(400, "image_url and depth_url must be lists of base64 strings")
    if enable_depth not in (0, 1):
        raise RequestError(400, "enable_depth must be 0 or 1")
    if len(images) != 1 or (enable_depth and len(depths) > 1):
        raise RequestError(400, f"one image and at most one depth map are answered, not {len(images)} and {len(depths)}")
    return Question(
        rgb=decode_image(images[0], limits, "image_url[0]"),
        depth_image=decode_image(depths[0], limits, "depth_url[0]") if enable_depth and depths else None,
        estimate_depth=bool(enable_depth) and not depths,
        text=check_text(body.get("text"), limits),
        max_new_tokens=new_tokens,
        client=client,
    )


def write_query(answer: Answer) -> dict[str, Any]:
    """RoboRefer's reply."""
    return {"result": 1, "answer": answer.text}


def read_chat(body: Mapping[str, Any], limits: ImageLimits, client: str, *, new_tokens: int, max_new_tokens: int, model: str) -> Question:
    """A chat completion request with one user message: a text and one or two pictures as data URIs, the second being the depth map.

    Where it names no longest answer that is `new_tokens`; more than `max_new_tokens` cannot be asked for.

    Raises:
        RequestError: 400 or 413; 404 for another model than `model`. What this server does not do (streaming, sampling, several
            choices, tools, dialogues, pictures by address) is refused rather than ignored.
    """
    if body.get("model") not in (None, model):
        raise RequestError(404, f"model {str(body['model'])[:80]!r} is not served here, but {model!r}", "model_not_found")
    for key, accepted in _ACCEPTED.items():
        value = body.get(key)
        # JSON's true is no number, but Python's is.
        if value is not None and not any(value == other and isinstance(value, bool) == isinstance(other, bool) for other in accepted):
            raise RequestError(400, f"{key} = {str(value)[:40]!r} is not supported; this server answers greedily, once, with text only")
    given = [body[key] for key in ("max_completion_tokens", "max_tokens") if body.get(key) is not None]  # the second is the old name
    tokens = given[0] if given else new_tokens
    if type(tokens) is not int or not 1 <= tokens <= max_new_tokens:
        raise RequestError(400, f"max_completion_tokens and max_tokens must be 1 to {max_new_tokens}")
    messages = body.get("messages")
    if not isinstance(messages, list) or len(messages) != 1 or not isinstance(messages[0], dict) or messages[0].get("role") != "user":
        raise RequestError(400, "messages must hold exactly one message, of the role user")
    texts, urls = _content(messages[0].get("content"))
    if not 1 <= len(urls) <= 2:
        raise RequestError(400, f"one picture, and at most one depth map after it, are answered, not {len(urls)} pictures")
    pictures = [decode_image(_data_uri(url), limits, f"picture {i + 1}") for i, url in enumerate(urls)]
    return Question(
        rgb=pictures[0],
        depth_image=pictures[1] if len(pictures) == 2 else None,
        estimate_depth=False,
        text=check_text("\n".join(texts), limits),
        max_new_tokens=tokens,
        client=client,
    )


def write_chat(answer: Answer, model: str) -> dict[str, Any]:
    """A chat completion."""
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": answer.text},
                "finish_reason": "stop" if answer.complete else "length",
            }
        ],
        "usage": {
            "prompt_tokens": answer.prompt_tokens,
            "completion_tokens": answer.completion_tokens,
            "total_tokens": answer.prompt_tokens + answer.completion_tokens,
        },
    }


def write_models(model: str) -> dict[str, Any]:
    """The list of models: the one that is served."""
    return {"object": "list", "data": [write_model(model)]}


def write_model(model: str) -> dict[str, Any]:
    """What there is to say about the model."""
    return {"id": model, "object": "model", "created": 0, "owned_by": "roboref"}


def write_error(error: RequestError) -> dict[str, Any]:
    """An error in OpenAI's form; ``result`` is for clients of the other API."""
    kind = "invalid_request_error" if error.http_status < 500 else "server_error"
    return {"result": 0, "error": {"message": error.message, "type": kind, "code": error.code or error.http_status}}


def _content(content: Any) -> tuple[list[str], list[Any]]:
    """Texts and picture addresses of a message."""
    if isinstance(content, str):
        return [content], []
    if not isinstance(content, list):
        raise RequestError(400, "content must be a text or a list of parts")
    texts: list[str] = []
    urls: list[Any] = []
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text" and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif kind == "image_url" and isinstance(part.get("image_url"), dict):
            urls.append(part["image_url"].get("url"))
        else:
            raise RequestError(400, "every part must be a text or an image_url")
    return texts, urls


def _data_uri(url: Any) -> str:
    """The base64 part of a data URI; addresses are refused, or any client could make this server fetch from its network."""
    head, comma, data = url.partition(",") if isinstance(url, str) else ("", "", "")
    if not comma or not head.startswith("data:image/") or not head.endswith(";base64"):
        raise RequestError(400, "pictures must be data URIs (data:image/png;base64,...); addresses are not fetched")
    return data
