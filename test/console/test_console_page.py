"""The page in a real browser: what is sent and confirmed moves the bottle, STOP ends it; nothing typed becomes markup."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest

pytest.importorskip("roboref.action", reason="needs ROS 2 and the built interfaces (make setup, . ./env.sh)")
pytest.importorskip("viser", reason="needs viser (make setup)")
from browser import Browser
from scene3_server import SENTENCE, model

__all__ = ["model"]
ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PATIENCE_S = 120.0
FIELD = "[...document.querySelectorAll('input.mantine-TextInput-input')].at(-1)"
"""The first text field of the panel is viser's own address."""


@pytest.fixture
def demo(model: Path, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [sys.executable, "-u", "-m", "roboref_node.cli", "demo", "--console", "--seed", "3", "--model", str(model), "--json"]
    command += ["--confirm", "--port", "0", "--timeout", str(PATIENCE_S), "--seconds", "1500"]
    with (tmp_path / "demo.log").open("wb") as errors:
        # As a shell starts its background jobs: the demonstration must listen to SIGINT all the same.
        process = subprocess.Popen(
            ["sh", "-c", 'trap "" INT; exec "$@"', "sh", *command], cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, text=True
        )
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


@pytest.mark.timeout(600)
@pytest.mark.skipif(CHROMIUM is None, reason="needs a browser, which `make test` may install only as root: apt install chromium")
def test_type_send_see(demo: tuple[subprocess.Popen[str], str], tmp_path: Path) -> None:
    process, url = demo
    assert CHROMIUM is not None
    browser = Browser(CHROMIUM, url, tmp_path)
    try:
        browser.wait_for("!!document.querySelector('#roboref-history')")
        browser.wait_for("!!document.querySelector('canvas')")
        send(browser, SENTENCE, count=1)
        browser.wait_for(f"{newest('data-status')} === 'waiting'")
        browser.press("STOP")
        browser.wait_for(f"{newest('data-status')} === 'stopped'")
        send(browser, SENTENCE, count=2)
        for _ in ("the bottle", "its place"):
            browser.wait_for(f"{newest('data-status')} === 'waiting'")
            browser.press("Yes, do it")
            browser.wait_for(f"{newest('data-status')} !== 'waiting'")
        browser.wait_for(f"{newest('data-status')} === 'done'")
        assert "cm from the middle of its place" in browser.value("document.querySelector('.roboref-entry').innerText")
        browser.wait_for("document.querySelectorAll('img').length > 0")
        look_at(browser, tmp_path)
        send(browser, "pick up the orange <b>bottle</b>", count=3)
        assert browser.value("document.querySelector('.roboref-entry b').innerText") == "pick up the orange <b>bottle</b>"
    finally:
        browser.close()
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60.0)
    result = json.loads(output.splitlines()[-1])
    assert [entry["status"] for entry in result["history"]][:0:-1] == ["stopped", "done"]
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
