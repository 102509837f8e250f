"""``roboref demo``: a simulated cell and a refer node as processes over DDS, one question each way, held against the truth."""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roboref_node.commands.arguments import above_zero, natural, picture, port
from roboref_node.picturefiles import write_picture
from roboref_node.status import Refused, Status
from roboref_node.strict_json import to_json

if TYPE_CHECKING:
    from roboref_node.demo.script import Script


SAY_SEED = 2090
"""A scene in which the sentence of the pages is answered on every frame, whatever the noise of its depth."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--instruction", help="what to say on the topic and ask through the action; default: drawn from the scene")
    parser.add_argument("--seed", type=natural, help=f"scene (default 3; with --say {SAY_SEED}, which has a red cup and a blue box)")
    parser.add_argument("--model", help="pointing model (default nano; nano_careful where the arm moves)")
    parser.add_argument("--headless", action="store_true", help="do not open the picture, even where there is a display")
    parser.add_argument("--out", type=picture, default="out/demo.png", help="where the overlay goes (default out/demo.png)")
    parser.add_argument("--timeout", type=above_zero, default=90.0, help="seconds to wait for the nodes and for each answer")
    more = parser.add_mutually_exclusive_group()
    more.add_argument(
        "--pick-place", action="store_true", help="the closed loop: the arm does what the sentence asks; pictures beside --out"
    )
    more.add_argument("--say", metavar="SENTENCE", help="from sound to a moved object: a synthetic voice says it, the arm does it")
    more.add_argument("--console", action="store_true", help="the closed loop with a page in the browser, until Ctrl-C")
    parser.add_argument("--port", type=port, default=8080, help="--console: port of the page (default 8080, or the next free one)")
    parser.add_argument("--confirm", action="store_true", help="--console: the arm moves only after a yes on the page")
    parser.add_argument("--seconds", type=above_zero, help="--console: end after so many seconds")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")


def run(args: argparse.Namespace) -> int:
    """Run the demonstration; 0 = it answered (a typed refusal or a named outcome is an answer), 2 = it could not run."""
    if not args.console and (args.confirm or args.seconds is not None):
        raise Refused(Status.BAD_REQUEST, "--confirm and --seconds are for --console: nothing else would heed them")
    if args.say is not None and not args.say.strip():
        raise Refused(Status.BAD_REQUEST, "--say needs a sentence, such as 'pick up the red cup'")
    if args.seed is None:
        args.seed = SAY_SEED if args.say else 3
    if args.model is None:
        args.model = "nano_careful" if args.say or args.pick_place or args.console else "nano"
    # The nodes must not be left behind; and a shell's background job begins with SIGINT ignored, where Python installs no handler.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    # A domain of its own, so that a robot on the network neither hears nor disturbs the demonstration.
    os.environ["ROS_DOMAIN_ID"] = os.environ.get("ROBOREF_DEMO_DOMAIN_ID", str(random.SystemRandom().randint(101, 200)))
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    result = _closed_loop(args) or _demonstrate(args)
    if not args.headless and os.environ.get("DISPLAY") and result.get("overlay"):
        from PIL import Image

        Image.open(result["overlay"]).show()
    if args.json:
        print(to_json(result))
    return 0


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _closed_loop(args: argparse.Namespace) -> dict[str, Any] | None:
    """What one of the switches asks for; None without any."""
    if args.pick_place:
        from roboref_node.demo.pick_place import demonstrate

        return demonstrate(args)
    if args.say:
        from roboref_node.demo.say import demonstrate as say

        return say(args)
    if args.console:
        from roboref_node.demo.console import demonstrate as serve

        return serve(args)
    return None


def _demonstrate(args: argparse.Namespace) -> dict[str, Any]:
    from roboref_node.demo.dialogue import Dialogue
    from roboref_node.demo.processes import NodeProcess
    from roboref_node.demo.script import Script

    started = time.monotonic()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="roboref_demo_")))
        sim_time = ["--ros-args", "-p", "use_sim_time:=true", "-p"]
        sim = stack.enter_context(NodeProcess("roboref_node.nodes.sim", ["--ros-args", "-p", f"seed:={args.seed}"], folder / "sim.log"))
        refer_arguments = [*sim_time, "robot:=ur5", "-p", f"model:={args.model}"]
        refer = stack.enter_context(NodeProcess("roboref_node.nodes.refer", refer_arguments, folder / "refer.log"))
        script = Script(args.seed)
        stack.callback(script.close)
        spoken = args.instruction or script.pick_instruction()
        asked = args.instruction or script.place_instruction()
        with Dialogue() as dialogue:
            try:
                dialogue.wait_for_node(args.timeout, lambda: sim.alive and refer.alive)
                ready_s = time.monotonic() - started
                print(
                    f"cell (seed {args.seed}) and refer node ready after {ready_s:.1f} s, domain {os.environ['ROS_DOMAIN_ID']}", flush=True
                )
                answers, overlay = dialogue.say(spoken, args.timeout)
                first = _report("topic  ~/instruction", spoken, answers, script)
                by_action, stages = dialogue.ask(asked, args.timeout)
                second = _report(f"action ~/refer ({' > '.join(stages)})", asked, by_action, script)
            except Refused as refusal:
                for node in (sim, refer):
                    if not node.alive or "[ERROR]" in node.last_words():
                        print(f"{node.module} {'says' if node.alive else 'ended'}:\n{node.last_words()}", file=sys.stderr)
                raise refusal
            picture = None
            if overlay is not None:
                write_picture(args.out, dialogue.picture(overlay))
                picture = str(args.out)
                print(f"picture: {picture}")
    return {**first, "ready_s": round(ready_s, 1), "overlay": picture, "action": second}


def _report(channel: str, instruction: str, answers: list[Any], script: Script) -> dict[str, Any]:
    """Print and return the first task's answer; further tasks of the sentence come under ``more``."""
    found = [_entry(answer, instruction if index == 0 else None, script) for index, answer in enumerate(answers)]
    print(f"\n{channel}: {instruction!r}")
    for entry in found:
        print(f"  {entry['status']}: {entry['sentence']}")
        if entry["pixel"] is not None:
            print(f"  pixel {entry['pixel'][0]:.1f} {entry['pixel'][1]:.1f}")
        if entry["position_m"] is not None:
            print("  point {:.4f} {:.4f} {:.4f} m".format(*entry["position_m"]), end="")
            print(f", {entry['error_mm']:.1f} mm from the true surface" if entry["error_mm"] is not None else "")
        if entry["goal"] is not None:
            goal = entry["goal"]
            print("  goal  {:.4f} {:.4f} {:.4f} m".format(*goal["position_m"]), end=", ")
            print("quaternion xyzw {:.3f} {:.3f} {:.3f} {:.3f}".format(*goal["quaternion_xyzw"]), f"in {goal['frame']}")
        if entry["target"] is not None:
            print(f"  meant was {entry['target']}: {'hit' if entry['hit'] else 'missed'}")
        print("  " + ", ".join(f"{name} {ms:.0f} ms" for name, ms in entry["timings_ms"].items()))
    return {**found[0], "instruction": instruction, "more": found[1:]}


def _entry(answer: Any, instruction: str | None, script: Script) -> dict[str, Any]:
    from roboref_node.demo.dialogue import answer_to_dict

    entry = answer_to_dict(answer)
    target, hit, error_mm = None, None, None
    if instruction is not None and answer.expression:
        pixel = entry["pixel"]
        # A place that was moved to where the object fits is not the point below its pixel: how far it is from there is no error.
        point = None if "place_moved_m" in entry["details"] else entry["position_m"]
        verdict = script.judge(instruction, None if pixel is None else (pixel[0], pixel[1]), point)
        target, hit, error_mm = verdict.target, verdict.hit, verdict.error_mm
    return {**entry, "target": target, "hit": hit, "error_mm": error_mm}
