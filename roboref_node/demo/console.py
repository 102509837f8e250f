"""``roboref demo --console``: the closed loop with a page in the browser, until Ctrl-C or until the nodes end."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from roboref_node.console.feed import Feed
from roboref_node.demo.closed_loop import ClosedLoop, changes


def demonstrate(args: argparse.Namespace) -> dict[str, Any]:
    """Serve the page; the arguments are those of ``roboref demo``.

    Raises:
        Refused: The nodes did not start.
    """
    confirm = ("-p", "confirm:=true", "-p", "confirm_timeout_s:=600.0") if args.confirm else ()
    with (
        tempfile.TemporaryDirectory(prefix="roboref_demo_") as name,
        ClosedLoop(Path(name), args.seed, args.model, arguments=confirm) as cell,
    ):
        cell.wait_until_ready(args.timeout)
        before = cell.truth
        feed = Feed(cell.node, port=args.port)
        try:
            print(f"page: {feed.page.url}   (Ctrl-C ends it)", flush=True)
            if args.instruction:
                feed.page.note(args.instruction, "running", "")
                cell.say(args.instruction)
            _wait(cell, args.seconds)
        finally:
            feed.close()
        history = [{"instruction": e.instruction, "status": e.status, "sentence": e.sentence} for e in feed.page.history.entries]
        return {"url": feed.page.url, "history": history, "moved": changes(before, cell.truth)}


def _wait(cell: ClosedLoop, seconds: float | None) -> None:
    deadline = None if seconds is None else time.monotonic() + seconds
    try:
        while (deadline is None or time.monotonic() < deadline) and all(process.alive for process in cell.processes.values()):
            time.sleep(0.1)
    except KeyboardInterrupt:
        print()
