"""The page in a real browser: an instruction is typed and sent, the bottle moves, the history says so, STOP stops."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import pytest

pytest.importorskip("roboref.action", reason="needs ROS 2 and the built interfaces (make setup, . ./env.sh)")
pytest.importorskip("viser", reason="needs viser (make setup)")
from browser import Browser

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
BOTTLE_PX, SPOT_PX = (257.0, 181.0), (157.0, 432.0)
"""Of scene 3 at 640x480: on the orange bottle, and on the table."""
PATIENCE_S = 400.0
FIELD = "[...document.querySelectorAll('input.mantine-TextInput-input')].at(-1)"
"""The first text field of the panel is viser's own address."""
SENTENCE = "pick up the orange bottle and put it on the spot"


@pytest.fixture
def model(tmp_path: Path) -> Iterator[Path]:
    """A real model server that knows where two things of scene 3 are: the page is tested here, not the nano."""

    class Handler(BaseHTTPRequestHandler):
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

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    path = tmp_path / "scene3.yaml"
    path.write_text(f"backend: roborefer_server\ndepth: none\nhttp:\n  url: http://127.0.0.1:{server.server_port}\n")
    yield path
    server.shutdown()
    server.server_close()


@pytest.fixture
def demo(model: Path, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [sys.executable, "-u", "-m", "roboref_node.cli", "demo", "--console", "--seed", "3", "--model", str(model), "--json"]
    command += ["--port", "0", "--timeout", str(PATIENCE_S), "--seconds", str(PATIENCE_S)]
    with (tmp_path / "demo.log").open("wb") as errors:
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, text=True)
    assert process.stdout is not None
    line = ""
    for line in process.stdout:
        if line.startswith("page: "):
            break
    assert line.startswith("page: http://127.0.0.1:"), (tmp_path / "demo.log").read_text()
    yield process, line.split()[1]
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        process.wait(60.0)


@pytest.mark.timeout(900)
@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium (apt install chromium)")
def test_type_send_see(demo: tuple[subprocess.Popen[str], str], tmp_path: Path) -> None:
    process, url = demo
    assert CHROMIUM is not None
    browser = Browser(CHROMIUM, url, tmp_path)
    try:
        browser.wait_for("!!document.querySelector('#roboref-history')")
        browser.wait_for("!!document.querySelector('canvas')")
        send(browser, SENTENCE, count=1)
        browser.wait_for(f"{newest('data-status')} === 'done'", PATIENCE_S)
        assert "cm from the middle of its place" in browser.value("document.querySelector('.roboref-entry').innerText")
        browser.wait_for("document.querySelectorAll('img').length > 0")
        look_at(browser, tmp_path)
        send(browser, "pick up the orange <b>bottle</b>", count=2)
        assert browser.value("document.querySelector('.roboref-entry b').innerText") == "pick up the orange <b>bottle</b>"
        browser.wait_for(f"{newest('data-status')} !== 'running'", PATIENCE_S)
        send(browser, "pick up the orange bottle", count=3)
        browser.wait_for("document.querySelector('#roboref-status').innerText.startsWith('move')", PATIENCE_S)
        browser.press("STOP")
        browser.wait_for(f"{newest('data-status')} === 'stopped'", PATIENCE_S)
    finally:
        browser.close()
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60.0)
    result = json.loads(output.splitlines()[-1])
    assert [entry["status"] for entry in result["history"]][-1] == "done"
    assert [change["object"] for change in result["moved"]] == ["large orange bottle"] and result["moved"][0]["moved_m"] > 0.1


def newest(attribute: str) -> str:
    return f"document.querySelector('.roboref-entry')?.getAttribute('{attribute}')"


def send(browser: Browser, text: str, *, count: int) -> None:
    """Type, press, and see the new entry; the page's text reaches the server a moment after the last key."""
    browser.type(FIELD, text)
    deadline = time.monotonic() + PATIENCE_S
    while browser.value("document.querySelectorAll('.roboref-entry').length") < count:
        assert time.monotonic() < deadline, browser.value("document.body.innerText")
        browser.press("Send")
        time.sleep(0.5)


def look_at(browser: Browser, folder: Path) -> None:
    """The screenshot shows something: the cloud and the panel are no empty page."""
    picture = folder / "console.png"
    browser.screenshot(picture)
    kept = os.environ.get("ROBOREF_CONSOLE_PICTURE")
    if kept:
        shutil.copy(picture, kept)
    image = cv2.imread(str(picture))
    assert image is not None and image.shape[0] > 400 and image.std() > 15.0
