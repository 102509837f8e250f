"""``roboref demo --pick-place``: one sentence from words to a moved object, as a timeline, a series of pictures and the truth."""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roboref_node.demo.closed_loop import ClosedLoop, changes
from roboref_node.demo.script import Script
from roboref_node.status import Refused
from roboref_node.synth.resolve import resolve
from roboref_node.task import TaskKind, parse_instruction

if TYPE_CHECKING:
    from roboref.action import PickPlace

PATIENCE = 4.0
"""A sentence may take this many times as long as one answer (``--timeout``): it has several answers and motions."""


def demonstrate(args: argparse.Namespace) -> dict[str, Any]:
    """Do one sentence in a fresh cell; the arguments are those of ``roboref demo``.

    Raises:
        Refused: It could not run.
    """
    started_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="roboref_demo_") as name, ClosedLoop(Path(name), args.seed, args.model) as cell:
        instruction, targets = choose_instruction(args.seed, args.instruction)
        cell.wait_until_ready(args.timeout)
        print(f"cell (seed {args.seed}), refer node and pick_place node ready after {time.monotonic() - started_s:.1f} s", flush=True)
        print(f"\n{instruction!r}")
        before = cell.truth
        timeline = Timeline(cell, args.out.parent / "pick_place")
        result = cell.do(instruction, PATIENCE * args.timeout, timeline.add)
        timeline.close(result.outcome)
        ending = {
            "outcome": result.outcome, "sentence": result.sentence, "tasks_done": int(result.tasks_done),
            "task_count": int(result.task_count), "holding": bool(result.holding),
            "referrals": [{"status": r.status_text, "role": r.role, "expression": r.expression} for r in result.referrals],
        }  # fmt: skip
        # The truth is told with the images: wait for one that is later than the result.
        time.sleep(0.3)
        return judged(instruction, targets, ending, timeline, before, cell.truth)


def choose_instruction(seed: int, given: str | None) -> tuple[str, tuple[int, ...]]:
    """The sentence, drawn from the scene when none is given, and the indices of the objects that it means; none when one is not known."""
    script = Script(seed)
    try:
        instruction = given or f"{script.pick_instruction()} and {script.place_instruction()}"
        try:
            picks = [task for task in parse_instruction(instruction) if task.kind is TaskKind.PICK]
        except Refused:
            return instruction, ()
        found = [item.index for task in picks if (item := resolve(script.view, task.expression)) is not None]
        return instruction, tuple(found) if len(found) == len(picks) else ()
    finally:
        script.close()


class Timeline:
    """Prints each state as it is entered and keeps a picture of the cell for it.

    Args:
        cell: Where the pictures come from.
        folder: Where they go; pictures of an earlier run are removed.
    """

    def __init__(self, cell: ClosedLoop, folder: Path) -> None:
        self._cell, self._folder = cell, folder
        self._lock = threading.Lock()
        self.lines: list[dict[str, Any]] = []
        self.pictures: list[str] = []
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("[0-9][0-9]_*.jpg"):
            old.unlink()

    def add(self, feedback: PickPlace.Feedback) -> None:
        """One state, from the action."""
        self.note(
            {
                "elapsed_s": round(float(feedback.elapsed_s), 2),
                "state": feedback.state,
                "task_index": int(feedback.task_index),
                "attempt": int(feedback.attempt),
                "sentence": feedback.sentence,
            }  # fmt: skip
        )

    def note(self, line: dict[str, Any]) -> None:
        """One state, as the topic ``~/status`` of the pick_place node tells it."""
        with self._lock:
            self.lines.append(line)
            print(f"  {line['elapsed_s']:7.2f} s  {line['state']:<8} {line['sentence']}", flush=True)
            self._keep(line["state"])

    def close(self, outcome: str) -> None:
        """The last picture."""
        with self._lock:
            self._keep(outcome)

    def _keep(self, name: str) -> None:
        import cv2

        picture = self._cell.picture()
        if picture is not None:
            path = self._folder / f"{len(self.pictures):02d}_{name}.jpg"
            cv2.imwrite(str(path), picture[..., ::-1])
            self.pictures.append(str(path))


def judged(
    instruction: str, targets: tuple[int, ...], ending: dict[str, Any], timeline: Timeline, before: dict[str, Any], after: dict[str, Any]
) -> dict[str, Any]:
    """Print and return how it ended, and what has really moved.

    Args:
        instruction: The sentence.
        targets: Indices of the objects that it means; empty when that is not known.
        ending: Outcome, sentence, tasks_done, task_count and holding.
        timeline: What happened meanwhile.
        before: Truth of the cell at the start.
        after: Truth of the cell at the end.
    """
    moved = changes(before, after)
    print(f"  {ending['outcome']}: {ending['sentence']}")
    for change in moved:
        where = "is in the gripper" if change["held"] else "stands at ({:.3f}, {:.3f}, {:.3f}) m".format(*change["to_m"])
        print(f"  truth: the {change['object']} {where}, {change['moved_m']:.3f} m from where it was")
    if not moved:
        print("  truth: nothing has moved")
    right = {change["index"] for change in moved} == set(targets) if targets else None
    if targets:
        objects = [before["objects"][target] for target in dict.fromkeys(targets)]
        meant = " and the ".join(f"{item['size']} {item['colour']} {item['shape']}" for item in objects)
        verdict = "that and nothing else has moved" if right else "that is not what has moved" if moved else "nothing has moved"
        print(f"  meant was the {meant}: {verdict}")
    print(f"  pictures: {timeline.pictures[0] if timeline.pictures else 'none'} and {max(0, len(timeline.pictures) - 1)} more")
    kept = ("outcome", "sentence", "tasks_done", "task_count", "holding", "referrals")
    return {
        "instruction": instruction, **{key: ending[key] for key in kept if key in ending}, "moved": moved, "right_object": right,
        "timeline": timeline.lines, "pictures": timeline.pictures,
    }  # fmt: skip
