"""Back-end: RoboRefer's own HTTP server (its ``/query`` API), which `roboref serve` speaks too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from roboref_node.frame import Frame
from roboref_node.pointing.dialect import Dialect
from roboref_node.pointing.http import HttpClient
from roboref_node.pointing.http_settings import HttpSettings
from roboref_node.pointing.prompt import MAX_INSTRUCTION_CHARS
from roboref_node.pointing.prompted import Prepared, PromptedPointer
from roboref_node.pointing.sent_image import encode_base64, model_depth
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
        depth: Source of the depth map: ``server`` (estimated there), ``sensor`` (the camera's) or ``none``.
        format_suffix: Append the request for the answer format, as the published checkpoints expect.
        max_instruction_chars: Longest expression.
    """

    http: HttpSettings
    depth: DepthSource = DepthSource.SERVER
    format_suffix: bool = True
    max_instruction_chars: int = MAX_INSTRUCTION_CHARS


class RoboReferServerPointer(PromptedPointer[RoboReferServerSettings]):
    """Asks a RoboRefer server.

    Args:
        settings: Address, limits and depth source.
        name: Name for provenance.
    """

    def __init__(self, settings: RoboReferServerSettings, name: str = "roborefer_server") -> None:
        super().__init__(settings, Dialect.ROBOREFER, name)
        self._client = HttpClient(settings.http)

    def _prepare(self, frame: Frame, task: Task, prompt: str) -> Prepared:
        wanted = self.settings.depth
        depth = model_depth(frame) if wanted is DepthSource.SENSOR else None
        used = DepthSource.NONE if wanted is DepthSource.SENSOR and depth is None else wanted
        payload = {
            "image_url": [encode_base64(frame.rgb)],
            "depth_url": [] if depth is None else [encode_base64(depth)],
            "enable_depth": int(used is not DepthSource.NONE),
            "text": prompt,
        }
        return Prepared(payload, provenance={"server": self.settings.http.url, "depth": used.value})

    def _ask(self, frame: Frame, prepared: Prepared, canceled: Callable[[], bool] | None) -> tuple[str, float]:
        reply = self._client.post_json("/query", prepared.request, canceled=canceled)
        text = reply.get("answer")
        if reply.get("result") != 1 or not isinstance(text, str):
            raise Refused(Status.UNPARSEABLE, f"{self.settings.http.url}/query answers without `result: 1` and an `answer` text.")
        return text, float("nan")

    def close(self) -> None:
        """Drop the connections."""
        self._client.close()
