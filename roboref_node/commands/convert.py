"""``roboref convert``: a published RoboRefer checkpoint becomes one self-contained folder."""

from __future__ import annotations

import argparse

from roboref_node.strict_json import to_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "source", help="checkpoint folder with config.json, llm/, vision_tower/, mm_projector/, depth_tower/, depth_projector/"
    )
    parser.add_argument("destination", help="new folder; loadable with from_pretrained, tokenizer included")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")


def run(args: argparse.Namespace) -> int:
    """Convert; 0 when the folder was written, 2 when something is missing or wrong (one sentence says what)."""
    from roboref_node.model.checkpoint import convert

    config = convert(args.source, args.destination)
    summary = {"status": "OK", "destination": args.destination, "tiling": config.tiling, "projector_type": config.projector_type}
    print(to_json(summary) if args.json else f"wrote {args.destination} ({config.tiling}, {config.projector_type})")
    return 0
