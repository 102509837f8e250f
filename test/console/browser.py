"""A headless Chromium, driven through its DevTools protocol."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

from websockets.sync.client import connect

FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--disable-dev-shm-usage",
    "--no-first-run", "--disable-extensions", "--disable-background-networking", "--remote-debugging-port=0", "--window-size=960,600",
    "--hide-scrollbars",
)  # fmt: skip
PATIENCE_S = 240.0


class Browser:
    """One page.

    Args:
        program: Path of Chromium.
        url: What to open.
        folder: For its profile and its log.
    """

    def __init__(self, program: str, url: str, folder: Path) -> None:
        self._log = folder / "chromium.log"
        with self._log.open("wb") as sink:
            command = [program, *FLAGS, f"--user-data-dir={folder / 'profile'}", url]
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink)
        self._number = 0
        deadline = time.monotonic() + PATIENCE_S
        while (port := re.search(r"DevTools listening on ws://[^:]+:(\d+)/", self._log.read_text(errors="replace"))) is None:
            assert self._process.poll() is None and time.monotonic() < deadline, self._log.read_text(errors="replace")
            time.sleep(0.05)
        with urllib.request.urlopen(f"http://127.0.0.1:{port[1]}/json", timeout=PATIENCE_S) as answer:
            page = next(target for target in json.load(answer) if target["type"] == "page")
        self._socket = connect(page["webSocketDebuggerUrl"], max_size=None, open_timeout=PATIENCE_S)

    def command(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the protocol and its result."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(timeout=PATIENCE_S))
            if message.get("id") == self._number:
                assert "error" not in message, message
                return message["result"]

    def value(self, script: str) -> Any:
        """Of a JavaScript expression."""
        result = self.command("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def wait_for(self, script: str, timeout_s: float = PATIENCE_S) -> Any:
        """Poll an expression until it is true."""
        deadline = time.monotonic() + timeout_s
        while not (value := self.value(script)):
            assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {script}\n{self.value('document.body.innerText')}"
            time.sleep(0.1)
        return value

    def press(self, words: str) -> None:
        """Click the button with these words on it."""
        found = f"[...document.querySelectorAll('button')].find(b => b.innerText.trim() === {json.dumps(words)})"
        self.wait_for(f"!!({found}) && !({found}).disabled")
        self.value(f"({found}).click()")

    def type(self, field: str, text: str) -> None:
        """Put the cursor into a field, given as a JavaScript expression, and type."""
        self.wait_for(f"!!({field})")
        self.value(f"({field}).focus()")
        self.command("Input.insertText", text=text)

    def screenshot(self, path: Path) -> None:
        """The page as a PNG."""
        path.write_bytes(base64.b64decode(self.command("Page.captureScreenshot", format="png")["data"]))

    def close(self) -> None:
        """End the browser."""
        self._socket.close()
        self._process.terminate()
        try:
            self._process.wait(10.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(5.0)
