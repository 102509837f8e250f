"""``roboref explain``: what was seen and why it was refused or accepted, drawn again from a stored answer or a recorded question."""

from __future__ import annotations

import argparse
from pathlib import Path

from roboref_node.commands.arguments import picture
from roboref_node.commands.refusals import tell
from roboref_node.picturefiles import write_picture
from roboref_node.status import Refused
from roboref_node.strict_json import to_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "path", type=Path, metavar="REFERRAL.json|BAG", help="JSON of refer, ask or replay; a recorded question; a folder of them"
    )
    parser.add_argument("--out", type=picture, metavar="PNG", help="picture; of several questions: name-1.png, name-2.png, ...")
    parser.add_argument("--rgb", type=Path, help="colour picture of a JSON file that does not know its images")
    parser.add_argument("--depth", type=Path, help="its depth image")
    parser.add_argument("--camera", type=Path, help="its camera file")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")


def run(args: argparse.Namespace) -> int:
    """Explain; 0 = done, 1 = answered again, a stored answer comes out differently, 2 = the input cannot be read."""
    from roboref_node.explaining import cases_of, explain
    from roboref_node.explaining.panels import draw, words

    try:
        explanations = [explain(case) for case in cases_of(args.path, rgb=args.rgb, depth=args.depth, camera=args.camera)]
        pictures = []
        for number, explanation in enumerate(explanations, 1):
            title = [f"{explanation.case.name}:"] if len(explanations) > 1 else []
            print(*title, *words(explanation), sep="\n")
            if args.out is not None:
                out = args.out if len(explanations) == 1 else args.out.with_stem(f"{args.out.stem}-{number}")
                write_picture(out, draw(explanation))
                pictures.append(str(out))
    except (Refused, OSError) as error:
        return tell(error, as_json=args.json, questions=[])
    differences = [text for explanation in explanations for text in explanation.differences]
    if args.json:
        questions = [
            {
                "name": e.case.name,
                "answers": [{"status": a["status"], "sentence": a["sentence"]} for a in e.case.answers],
                "repeated": e.repeated,
                "differences": list(e.differences),
                "uncompared": list(e.uncompared),
                "note": e.case.note,
            }
            for e in explanations
        ]
        print(to_json({"status": "DIFFERENT" if differences else "OK", "questions": questions, "pictures": pictures}))
    return 1 if differences else 0
