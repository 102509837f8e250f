"""A real model server that knows where two things of scene 3 are: what is tested with it is everything but the nano."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

BOTTLE_PX, SPOT_PX = (257.0, 181.0), (157.0, 432.0)
"""At 640x480: on the orange bottle, and on the table."""
SENTENCE = "pick up the orange bottle and put it on the spot"


class Handler(BaseHTTPRequestHandler):
    """RoboRefer's ``/query``."""

    def do_POST(self) -> None:
        question = json.loads(self.rfile.read(int(self.headers["content-length"])))["text"]
        u, v = BOTTLE_PX if "bottle" in question else SPOT_PX
        body = json.dumps({"result": 1, "answer": f"[({(u + 0.5) / 640:.4f}, {(v + 0.5) / 480:.4f})]"}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


@pytest.fixture
def model(tmp_path: Path) -> Iterator[Path]:
    """Its configuration for the refer node."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    path = tmp_path / "scene3.yaml"
    path.write_text(f"backend: roborefer_server\ndepth: none\nhttp:\n  url: http://127.0.0.1:{server.server_port}\n")
    yield path
    server.shutdown()
    server.server_close()
