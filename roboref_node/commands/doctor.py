"""``roboref doctor``: findings with what, why and fix; the exit status says whether a question would work."""

from __future__ import annotations

import argparse
import json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--model", default="nano", help="pointing model that is to be used (default nano)")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")


def run(args: argparse.Namespace) -> int:
    """Examine; 0 = a question would work, 1 = it would not."""
    from roboref_node.doctor import Level, examine_machine

    findings = examine_machine(args.model)
    ok = all(f.level is not Level.ERROR for f in findings)
    for finding in findings:
        print(f"{finding.level.value:<8}{finding.what}")
        if finding.why:
            print(f"        why: {finding.why}")
        if finding.fix:
            print(f"        fix: {finding.fix}")
    if args.json:
        print(json.dumps({"ok": ok, "findings": [f.to_dict() for f in findings]}))
    return 0 if ok else 1
