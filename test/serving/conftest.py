"""A real server in this process, with a real small model or with a function that answers predictably."""

from __future__ import annotations

import base64
import io
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from roboref_node.frame import Frame
from roboref_node.geometry.camera import CameraModel
from roboref_node.serving import Answer, ModelServer, Question, ServeSettings

sys.path.append(str(Path(__file__).resolve().parents[1] / "model"))  # tiny_checkpoint

TOKEN = "a-token-for-tests"


def describe(questions: Sequence[Question]) -> list[Answer]:
    """Says what it was asked: sizes, depth, text."""
    answers = []
    for q in questions:
        depth = (
            "estimate" if q.estimate_depth else "none" if q.depth_image is None else f"{q.depth_image.shape[1]}x{q.depth_image.shape[0]}"
        )
        answers.append(Answer(f"{q.rgb.shape[1]}x{q.rgb.shape[0]}|{depth}|{q.text}|{q.max_new_tokens}", 12, 5, True))
    return answers


@pytest.fixture
def start() -> Iterator[Callable[..., ModelServer]]:
    """Start a server; arguments are those of `ServeSettings`, and `answer`."""
    servers: list[ModelServer] = []

    def starter(answer=describe, **settings) -> ModelServer:
        server = ModelServer(ServeSettings(**{"port": 0, "token": TOKEN, "grace_s": 2.0, **settings}), answer)
        server.start()
        servers.append(server)
        return server

    yield starter
    for server in servers:
        server.stop()


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with httpx.Client(headers={"authorization": f"Bearer {TOKEN}"}, timeout=10, trust_env=False) as http:
        yield http


def picture(width: int = 64, height: int = 48, mode: str = "RGB", kind: str = "PNG") -> str:
    """A base64 picture file."""
    shape = (height, width, 3) if mode == "RGB" else (height, width)
    values = np.random.default_rng(width).integers(0, 255, shape).astype(np.uint16 if mode.startswith("I") else np.uint8)
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, kind)
    return base64.b64encode(stream.getvalue()).decode()


@pytest.fixture
def encode() -> Callable[..., str]:
    return picture


@pytest.fixture
def query() -> dict:
    """A good request to /query."""
    return {"image_url": [picture()], "depth_url": [], "enable_depth": 0, "text": "Please point to the cup."}


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    camera = CameraModel(fx=110.0, fy=110.0, cx=79.5, cy=59.5, width=160, height=120)
    rng = np.random.default_rng(1)
    return [
        Frame(rng.integers(0, 255, (120, 160, 3), dtype=np.uint8), rng.uniform(0.5, 2.0, (120, 160)).astype(np.float32), camera)
        for _ in range(3)
    ]


@pytest.fixture
def token(monkeypatch) -> None:
    monkeypatch.setenv("ROBOREF_TEST_TOKEN", TOKEN)
