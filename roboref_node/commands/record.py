"""``roboref record``: the simulated cell, or the topics of a running robot, into a rosbag2 that ``roboref replay`` reads."""

from __future__ import annotations

import argparse
import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from roboref_node.commands.arguments import above_zero, natural
from roboref_node.status import Refused, Status

_DEPTH = ("aligned_depth_to_color/image_raw", "aligned_depth_to_color/camera_info")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("bag", type=Path, help="folder of the new bag")
    parser.add_argument("--seconds", type=above_zero, default=5.0, help="how long to record once every topic is there (default 5)")
    parser.add_argument(
        "--seed", type=natural, default=None, help="start the simulated cell with this seed and record it; default: a running robot"
    )
    parser.add_argument("--camera", default="/camera", help="namespace of the camera (default /camera)")
    parser.add_argument("--topics", nargs="+", default=None, help="topics instead of the camera's, TF and clock")
    parser.add_argument("--timeout", type=above_zero, default=30.0, help="seconds to wait for the topics")


def run(args: argparse.Namespace) -> int:
    """Record; 0 = every topic has messages, 2 = could not record."""
    if args.seed is not None:
        os.environ["ROS_DOMAIN_ID"] = os.environ.get("ROBOREF_DEMO_DOMAIN_ID", str(random.SystemRandom().randint(101, 200)))
        os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    for topic, count in _record(args).items():
        print(f"{count:6d} {topic}")
    print(f"written: {args.bag}")
    return 0


def _remove_failed(bag: Path, complete: Callable[[], bool], kind: type[BaseException] | None, *_: object) -> None:
    """Remove a bag that was begun in vain, which would stand in the way of the next attempt; an interrupted recording is kept."""
    if kind is not None and (issubclass(kind, Refused) or not complete()):
        shutil.rmtree(bag, ignore_errors=True)


def _record(args: argparse.Namespace) -> dict[str, int]:
    import rclpy
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.utilities import try_shutdown

    from roboref_node.demo.processes import NodeProcess
    from roboref_node.ros.recorder import Recorder

    needed = [f"{args.camera.strip('/')}/{name}" for name in ("color/image_raw", *_DEPTH[:1], "color/camera_info", *_DEPTH[1:])]
    needed = args.topics if args.topics is not None else [*needed, "/tf_static"]
    needed = [f"/{topic.lstrip('/')}" for topic in needed]
    optional = [] if args.topics is not None else ["/tf", "/clock", "/joint_states"]
    with ExitStack() as stack:
        sim = None
        if args.seed is not None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="roboref_record_")))
            sim = stack.enter_context(NodeProcess("roboref_node.nodes.sim", ["--ros-args", "-p", f"seed:={args.seed}"], folder / "sim.log"))
        rclpy.init()
        stack.callback(try_shutdown)
        node = rclpy.create_node("roboref_record")
        stack.callback(node.destroy_node)
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        recorder = Recorder(node, args.bag, [*needed, *optional])
        stack.push(partial(_remove_failed, args.bag, lambda: all(recorder.counts.get(topic) for topic in needed)))
        stack.callback(recorder.close)
        deadline = time.monotonic() + args.timeout
        while missing := [t for t in needed if recorder.counts.get(t, 0) == 0]:
            recorder.look()
            executor.spin_once(timeout_sec=0.02)
            recorder.check()
            if sim is not None and not sim.alive:
                raise Refused(Status.NO_CAMERA, f"the simulated cell ended:\n{sim.last_words()}")
            if time.monotonic() > deadline:
                others = "" if args.topics is not None else "; --camera names another namespace, --topics other topics"
                raise Refused(Status.NO_CAMERA, f"nothing arrived on {', '.join(missing)} within {args.timeout:g} s (--timeout){others}")
        end = time.monotonic() + args.seconds
        while time.monotonic() < end:
            executor.spin_once(timeout_sec=0.02)
            recorder.check()
        return dict(recorder.counts)
