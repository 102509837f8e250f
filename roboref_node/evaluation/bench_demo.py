"""``roboref bench demo``: the whole demonstration on many scenes, each in fresh processes, held against the truth (needs ROS 2)."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from roboref_node.commands.arguments import above_zero, natural, positive


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the benchmark's arguments."""
    parser.add_argument("--n", type=positive, default=50, help="number of scenes (default 50)")
    parser.add_argument("--start", type=natural, default=1000, help="first seed (default 1000)")
    parser.add_argument("--timeout", type=above_zero, default=120.0, help="seconds for the nodes to start and for each answer")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Run the demonstrations one after the other; a refusal is an answer, anything else than an answer is a crash."""
    answers: list[dict[str, Any]] = []
    crashed: list[int] = []
    with tempfile.TemporaryDirectory(prefix="roboref_bench_demo_") as folder:
        for seed in range(args.start, args.start + args.n):
            result = _demonstrate(seed, Path(folder), args.timeout)
            if result is None:
                crashed.append(seed)
                print(f"seed {seed}: CRASHED", flush=True)
                continue
            pair = [result, result["action"]]
            answers += pair
            print(
                f"seed {seed}: " + "; ".join(f"{a['instruction']!r} {a['status']} hit {a['hit']} {a['error_mm']} mm" for a in pair),
                flush=True,
            )
    errors = [a["error_mm"] for a in answers if a["hit"] and a["error_mm"] is not None]
    goals = [a for a in answers if a["goal"] is not None]
    return {
        "n": args.n,
        "crashed": crashed,
        "answers": len(answers),
        "statuses": dict(Counter(a["status"] for a in answers)),
        "goals": len(goals),
        "goals_without_ok": sum(a["status"] != "OK" for a in goals),
        "hit": round(float(np.mean([bool(a["hit"]) for a in answers])), 4) if answers else None,
        "error_median_mm": round(float(np.median(errors)), 2) if errors else None,
        "error_p95_mm": round(float(np.percentile(errors, 95)), 2) if errors else None,
    }


def _demonstrate(seed: int, folder: Path, timeout_s: float) -> dict[str, Any] | None:
    command = [sys.executable, "-m", "roboref_node.cli", "demo", "--seed", str(seed), "--headless", "--json"]
    command += ["--timeout", str(timeout_s), "--out", str(folder / f"{seed}.png")]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=4 * timeout_s, check=False)
        return dict(json.loads(done.stdout.splitlines()[-1])) if done.returncode == 0 else None
    except (subprocess.TimeoutExpired, IndexError, ValueError):
        return None
