"""OpenAI's wire format, chat completions: JSON in, `Question` out; `Answer` in, JSON or server-sent events out."""

from __future__ import annotations

import json
import math
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from roboref_node.serving.question import Answer, ImageLimits, Question, RequestError, check_text, decode_image

MAX_TEMPERATURE = 2.0
_NEVER = -9999.0
"""What OpenAI writes for a probability of 0, which has no logarithm."""
_ACCEPTED: Mapping[str, tuple[Any, ...]] = {
    "n": (1,),
    "best_of": (1,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "top_logprobs": (0,),
    "stop": ([], ""),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    # Of vLLM and SGLang, whose clients may be pointed here.
    "top_k": (0, -1),
    "min_p": (0,),
    "repetition_penalty": (1,),
    "min_tokens": (0,),
    "ignore_eos": (False,),
    "stop_token_ids": ([],),
    **dict.fromkeys(("guided_json", "guided_regex", "guided_choice", "guided_grammar", "structured_outputs", "regex", "ebnf"), ()),
}
"""Parameters that would change the answer, and their values that do not; others, such as `user`, change nothing here."""


@dataclass(frozen=True, eq=False)
class ChatRequest:
    """A request for a chat completion.

    Args:
        question: What the model is asked.
        model: The model's name, for the reply.
        stream: Reply with server-sent events.
        stream_usage: With a last event that holds the numbers of tokens.
    """

    question: Question
    model: str
    stream: bool
    stream_usage: bool


@dataclass(frozen=True)
class _Dialogue:
    """What `messages` hold: pictures and text of the first question, what precedes it and what follows it."""

    system: str | None
    text: str
    urls: tuple[Any, ...]
    history: tuple[tuple[str, str], ...]


def read_chat(
    body: Mapping[str, Any], limits: ImageLimits, client: str, *, new_tokens: int, max_new_tokens: int, model: str
) -> ChatRequest:
    """A chat completion request: one or two pictures as data URIs in the first user message, the second being the depth map.

    Before that message may stand one of the role system or developer, behind it the later turns of a dialogue. Without `temperature`
    the answer is greedy. Where the request names no longest answer that is `new_tokens`; more than `max_new_tokens` cannot be asked for.

    Raises:
        RequestError: 400 or 413; 404 for another model than `model`. What this server does not do (several choices, tools, penalties,
            pictures by address) is refused rather than ignored.
    """
    if body.get("model") not in (None, model):
        raise RequestError(404, f"model {str(body['model'])[:80]!r} is not served here, but {model!r}", "model_not_found")
    for key, accepted in _ACCEPTED.items():
        value = body.get(key)
        # JSON's true is no number, but Python's is.
        if value is not None and not any(value == other and isinstance(value, bool) == isinstance(other, bool) for other in accepted):
            raise RequestError(400, f"{key} = {str(value)[:40]!r} is not supported; this server answers once, with text only")
    given = [body[key] for key in ("max_completion_tokens", "max_tokens") if body.get(key) is not None]  # the second is the old name
    tokens = given[0] if given else new_tokens
    if type(tokens) is not int or not 1 <= tokens <= max_new_tokens:
        raise RequestError(400, f"max_completion_tokens and max_tokens must be 1 to {max_new_tokens}")
    stream = _switch(body, "stream")
    options = {} if body.get("stream_options") is None else body["stream_options"]
    if not isinstance(options, dict) or (options and not stream):
        raise RequestError(400, "stream_options must be an object, and go with stream = true")
    sampling = _sampling(body)
    dialogue = _dialogue(body.get("messages"), limits)
    if not 1 <= len(dialogue.urls) <= 2:
        raise RequestError(400, f"one picture, and at most one depth map after it, are answered, not {len(dialogue.urls)} pictures")
    pictures = [decode_image(_data_uri(url), limits, f"picture {i + 1}") for i, url in enumerate(dialogue.urls)]
    question = Question(
        rgb=pictures[0],
        depth_image=pictures[1] if len(pictures) == 2 else None,
        estimate_depth=False,
        text=dialogue.text,
        max_new_tokens=tokens,
        client=client,
        system=dialogue.system,
        history=dialogue.history,
        probabilities=_switch(body, "logprobs"),
        **sampling,
    )
    return ChatRequest(question, model, stream, _switch(options, "include_usage"))


def write_chat(answer: Answer, request: ChatRequest) -> dict[str, Any]:
    """A chat completion."""
    choice = {"message": {"role": "assistant", "content": answer.text}, "finish_reason": _finish_reason(answer)}
    return _object("chat.completion", request, [{"index": 0, **choice, **_logprobs(answer, request)}], usage=_usage(answer))


def write_chat_events(answer: Answer, request: ChatRequest) -> str:
    """A chat completion as server-sent events: a few tokens, batched with those of other clients, come in one piece."""
    usage: dict[str, Any] = {"usage": None} if request.stream_usage else {}
    identity = _object("chat.completion.chunk", request, [])

    def chunk(delta: Mapping[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
        return {**identity, "choices": [{"index": 0, "delta": delta, "finish_reason": finish, **more}], **usage}

    events = [
        chunk({"role": "assistant", "content": ""}),
        chunk({"content": answer.text}, **_logprobs(answer, request)),
        chunk({}, _finish_reason(answer)),
    ]
    if request.stream_usage:
        events.append({**identity, "usage": _usage(answer)})
    return "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"


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


def _object(kind: str, request: ChatRequest, choices: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    identity = {"id": f"chatcmpl-{uuid.uuid4().hex}", "object": kind, "created": int(time.time()), "model": request.model}
    return {**identity, "choices": choices, **more}


def _finish_reason(answer: Answer) -> str:
    return "stop" if answer.complete else "length"


def _usage(answer: Answer) -> dict[str, int]:
    total = answer.prompt_tokens + answer.completion_tokens
    return {"prompt_tokens": answer.prompt_tokens, "completion_tokens": answer.completion_tokens, "total_tokens": total}


def _logprobs(answer: Answer, request: ChatRequest) -> dict[str, Any]:
    """The part of a choice that holds the tokens, when it was asked for."""
    if not request.question.probabilities:
        return {}
    content = [
        {
            "token": text,
            "logprob": math.log(share) if share > 0 else _NEVER,
            "bytes": None if "\ufffd" in text else list(text.encode()),  # a part of a character
            "top_logprobs": [],
        }
        for text, share in answer.tokens
    ]
    return {"logprobs": {"content": content, "refusal": None}}


def _switch(body: Mapping[str, Any], key: str) -> bool:
    value = body.get(key)
    if value is not None and not isinstance(value, bool):
        raise RequestError(400, f"{key} must be true or false")
    return bool(value)


def _sampling(body: Mapping[str, Any]) -> dict[str, Any]:
    """How the answer is drawn."""
    temperature, top_p, seed = body.get("temperature"), body.get("top_p"), body.get("seed")
    if temperature is not None and not (_is_number(temperature) and 0 <= temperature <= MAX_TEMPERATURE):
        raise RequestError(400, f"temperature must be a number from 0 to {MAX_TEMPERATURE:g}")
    if top_p is not None and not (_is_number(top_p) and 0 < top_p <= 1):
        raise RequestError(400, "top_p must be a number above 0, at most 1")
    if seed is not None and not (type(seed) is int and -(2**63) <= seed < 2**63):
        raise RequestError(400, "seed must be a whole number of 64 bit")
    return {"temperature": float(temperature or 0), "top_p": 1.0 if top_p is None else float(top_p), "seed": seed}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _dialogue(messages: Any, limits: ImageLimits) -> _Dialogue:
    """The messages of a request, their order checked.

    Raises:
        RequestError: 400, or 413 when all texts together are too long.
    """
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise RequestError(400, "messages must be a list of objects")
    read = [(message.get("role"), *_content(message.get("content"))) for message in messages]
    system = read.pop(0) if read and read[0][0] in ("system", "developer") else None
    roles = [role for role, _, _ in read]
    if not read or len(read) % 2 == 0 or any(role != ("user", "assistant")[i % 2] for i, role in enumerate(roles)):
        raise RequestError(
            400, "messages must be one of the role user, or user and assistant in turn, ending with user; a system message may precede them"
        )
    if (system and system[2]) or any(urls for _, _, urls in read[1:]):
        raise RequestError(400, "the pictures must be in the first user message")
    texts = ["\n".join(texts) for _, texts, _ in ([system] if system else []) + read]
    check_text("\n".join(texts), limits)
    asked, *later = [check_text(text, limits) for text in texts[1 if system else 0 :]]
    turns = tuple((str(role), text) for role, text in zip(roles[1:], later, strict=True))
    return _Dialogue(texts[0] if system and texts[0].strip() else None, asked, tuple(read[0][2]), turns)


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
    kind = head.lower()
    if not comma or not kind.startswith("data:image/") or not kind.endswith(";base64"):
        raise RequestError(400, "pictures must be data URIs (data:image/png;base64,...); addresses are not fetched")
    return data
