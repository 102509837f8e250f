"""Checks of a model that is asked over HTTP: token, connection, and whether it is the server that is meant."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from roboref_node.doctor.findings import Finding, Level
from roboref_node.doctor.host import Host
from roboref_node.pointing.http import HttpClient
from roboref_node.pointing.http_settings import HttpSettings
from roboref_node.pointing.registry import build_settings
from roboref_node.status import Refused, Status

_CONNECT_S, _READ_S, _TOTAL_S = 2.0, 3.0, 5.0
_NO_LIST = (404, 405, 501)
"""Statuses of a server that lives and has no list of its models: RoboRefer's own, for one."""

_NO_ANSWER = "no question can be answered without a pixel"
_START = "start the server (roboref serve, vllm serve), or correct http.url"


def check_server(host: Host, raw: Mapping[str, Any], label: str) -> list[Finding]:
    """The server of a model file; asked for its list of models, which costs it nothing.

    Args:
        host: Where the question would be asked.
        raw: The model file.
        label: Its name.
    """
    try:
        http: HttpSettings = build_settings(HttpSettings, raw["http"], label)
    except Refused as refusal:
        return [Finding("model", Level.ERROR, refusal.sentence, _NO_ANSWER, f"correct the section http of the model {label}")]
    if http.token_env and not host.environ.get(http.token_env, "").strip():
        what = f"the environment variable {http.token_env} (token_env) is not set"
        why = "the server refuses questions without its token"
        return [Finding("model_token", Level.ERROR, what, why, f"export {http.token_env}=<the token>")]
    parts = urlsplit(http.url)
    place = f"{parts.scheme}://{parts.netloc}"
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        socket.create_connection((parts.hostname or "", port), _CONNECT_S).close()
    except (OSError, ValueError) as error:
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno and error.errno > 0 else str(error)
        return [Finding("model_server", Level.ERROR, f"nothing answers at {place}: {reason}", _NO_ANSWER, _START)]
    return [_asked(http, place, raw)]


def _lists_models_below(client: HttpClient, path: str) -> bool:
    try:
        return isinstance(client.get_json(f"{path}/models").get("data"), list)
    except Refused:
        return False


def _asked(http: HttpSettings, place: str, raw: Mapping[str, Any]) -> Finding:
    """What the list of models says, or what its absence does."""
    openai = raw.get("backend") == "openai"
    limited = replace(http, connect_timeout_s=_CONNECT_S, read_timeout_s=_READ_S, total_timeout_s=_TOTAL_S, retries=0)
    client = HttpClient(limited)
    try:
        answer = client.get_json("/models" if openai else "/v1/models")
    except Refused as refusal:
        code = refusal.details.get("http_status")
        if code in (401, 403):
            fix = f"export {http.token_env or 'TOKEN'}=<the token of the server>; token_env names that variable in the model's file"
            return Finding("model_token", Level.ERROR, refusal.sentence, "the server refuses every question", fix)
        if openai and code == 404 and _lists_models_below(client, "/v1"):
            what = f"the server at {place} answers below /v1, and http.url is {http.url}"
            return Finding(
                "model_server", Level.ERROR, what, _NO_ANSWER, f"url: {http.url.rstrip('/')}/v1   in the section http of the file"
            )
        if code in _NO_LIST:
            return Finding("model_server", Level.OK, f"a server answers at {place}; it does not list its models")
        # RoboRefer's protocol has no such list, so what its server says to the question for one proves little.
        level = Level.WARNING if refusal.status is Status.UNPARSEABLE and not openai else Level.ERROR
        return Finding("model_server", level, refusal.sentence, "this is not the server that the model's file means", _START)
    finally:
        client.close()
    listed = answer.get("data")
    names = [str(m["id"]) for m in listed if isinstance(m, dict) and "id" in m] if isinstance(listed, list) else []
    wanted = str(raw.get("model", ""))
    fits = any(name == wanted or name.endswith(f"/{wanted}") for name in names) if wanted else len(names) == 1
    if openai and names and not fits:
        which = f"has no model {wanted!r}; it has" if wanted else "has several models, and the file names none:"
        what = f"the server at {place} {which} {', '.join(names[:6])}"
        fix = "set `model` in the model's file to one of these, or start the server with the other one"
        return Finding("model_server", Level.ERROR, what, _NO_ANSWER, fix)
    return Finding("model_server", Level.OK, f"a server answers at {place}" + (f" with {', '.join(names[:3])}" if names else ""))
