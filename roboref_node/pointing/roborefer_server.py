"""Back-end: RoboRefer's own HTTP server (its ``/query`` API), which `roboref serve` speaks too."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from roboref_node.frame import Frame
from roboref_node.pointing.dialect import Dialect
from roboref_node.pointing.http import HttpClient, HttpSettings
from roboref_node.pointing.parser import parse_points
from roboref_node.pointing.pointer import PointAnswer
from roboref_node.pointing.prompt import MAX_INSTRUCTION_CHARS, build_prompt
from roboref_node.pointing.sent_image import encode_base64, model_depth, size_px
from roboref_node.status import Refused, Status
from roboref_node.task import Task


class DepthSource(str, Enum):
    """Where the model's depth map comes from."""

    NONE = "none"
    """RGB only."""
    SERVER = "server"
    """The server estimates it from the colour image; its authors' robots did that, with better success than from camera depth."""
    SENSOR = "sensor"
    """The frame's metric depth, converted to a relative map."""


@dataclass(frozen=True)
class RoboReferServerSettings:
    """Settings of the client.

    Args:
        http: Address and limits.
        depth: Source of the depth map.
        format_suffix: Append the request for the answer format, as the published checkpoints expect.
        max_instruction_chars: Longest expression.
    """

    http: HttpSettings
    depth: DepthSource = DepthSource.SERVER
    format_suffix: bool = True
    max_instruction_chars: int = MAX_INSTRUCTION_CHARS


class RoboReferServerPointer:
    """Asks a RoboRefer server.

    Args:
        settings: Address, limits and depth source.
        name: Name for provenance.
    """

    def __init__(self, settings: RoboReferServerSettings, name: str = "roborefer_server") -> None:
        self.name = name
        self.settings = settings
        self._client = HttpClient(settings.http)

    def point(self, frame: Frame, task: Task, *, canceled: Callable[[], bool] | None = None) -> PointAnswer:
        """See `Pointer.point`."""
        started = time.perf_counter()
        settings = self.settings
        prompt = build_prompt(
            task, Dialect.ROBOREFER, format_suffix=settings.format_suffix, max_instruction_chars=settings.max_instruction_chars
        )
        depth = model_depth(frame) if settings.depth is DepthSource.SENSOR else None
        used = settings.depth if depth is not None or settings.depth is not DepthSource.SENSOR else DepthSource.NONE
        payload = {
            "image_url": [encode_base64(frame.rgb)],
            "depth_url": [] if depth is None else [encode_base64(depth)],
            "enable_depth": int(used is not DepthSource.NONE),
            "text": prompt,
        }
        encoded = time.perf_counter()
        reply = self._client.post_json("/query", payload, canceled=canceled)
        answered = time.perf_counter()
        text = reply.get("answer")
        if reply.get("result") != 1 or not isinstance(text, str):
            raise Refused(Status.UNPARSEABLE, f"{settings.http.url}/query answers without `result: 1` and an `answer` text.")
        parsed = parse_points(text, Dialect.ROBOREFER, size_px(frame.rgb))
        return PointAnswer(
            points=parsed.points,
            text=text,
            steps=parsed.steps,
            timings_ms={"encode": 1e3 * (encoded - started), "model": 1e3 * (answered - encoded)},
            provenance={
                "model": self.name,
                "server": settings.http.url,
                "depth": used.value,
                "prompt_sha256": hashlib.sha256(prompt.encode()).hexdigest(),
            },
        )

    def close(self) -> None:
        """Drop the connections."""
        self._client.close()
