"""``roboref ask``: one question to a running refer node through its action, for where the ``ros2`` command is not installed."""

from __future__ import annotations

import argparse

from roboref_node.commands.arguments import above_zero
from roboref_node.commands.refusals import tell
from roboref_node.status import Refused, Status
from roboref_node.strict_json import to_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("instruction", help='what is asked, e.g. "pick up the red cup"')
    parser.add_argument("--pixel", help="U,V: skip the model and take this pixel")
    parser.add_argument("--role", default="", help="point, pick, place or navigate; default: from the instruction")
    parser.add_argument("--frame", default="", help="frame of the answer; default: the robot's goal frame")
    parser.add_argument("--node", default="/refer", help="name of the refer node (default /refer)")
    parser.add_argument("--timeout", type=above_zero, default=30.0, help="seconds to wait for the node and for the answer")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")


def run(args: argparse.Namespace) -> int:
    """Ask; 0 = every task has a goal, 1 = refused, 2 = could not ask."""
    from roboref_node.commands.refer import parse_pixel
    from roboref_node.demo.dialogue import Dialogue, answer_to_dict

    try:
        pixel = parse_pixel(args.pixel)
        with Dialogue(args.node) as dialogue:
            dialogue.wait_for_node(args.timeout, lambda: True)
            answers, _ = dialogue.ask(args.instruction, args.timeout, role=args.role, target_frame=args.frame, pixel=pixel)
    except (Refused, OSError) as error:
        return tell(error, as_json=args.json, referrals=[])
    found = [answer_to_dict(answer) for answer in answers]
    for entry in found:
        print(f"{entry['status']}: {entry['sentence']}")
    if args.json:
        first = next((entry for entry in found if entry["status"] != Status.OK.value), found[0])
        print(to_json({**first, "referrals": found}))
    return 0 if all(entry["status"] == Status.OK.value for entry in found) else 1
