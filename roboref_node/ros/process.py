"""One process for one node: spinning that survives defects, and an orderly end on SIGINT and SIGTERM."""

# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

import gc
import logging
import os
import sys
import threading
from collections.abc import Callable, Sequence
from typing import NoReturn, Protocol

import rclpy
from rclpy.executors import ExternalShutdownException, ShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import remove_ros_args, try_shutdown

from roboref_node.termination import Termination

_JOIN_S = 1.0
"""With the node's own `close` this stays below the 5 s after which ``ros2 launch`` sends the next signal."""


class Runnable(Protocol):
    """What `run` needs of a node beside being one."""

    finished: threading.Event
    """Set by the node when its work is done and the process may end."""

    exit_status: int
    """Of the process; not 0 when the node could not do its work."""

    def start(self) -> None:
        """Called once, in the executor."""

    def close(self) -> bool:
        """Called once, on the main thread, while the executor still spins; False when a thread could not be stopped."""


def spin(executor: SingleThreadedExecutor, node: Node) -> None:
    """Spin until the executor is shut down.

    An exception out of a callback is logged; the node goes on.
    """
    while True:
        try:
            executor.spin()
            return
        except (ExternalShutdownException, ShutdownException):
            return
        except Exception as error:
            node.get_logger().error(f"a callback failed, the node goes on: {type(error).__name__}: {error}")


def run(make_node: Callable[[], Runnable], args: Sequence[str] | None = None) -> int:
    """Run one node until it is finished or a signal arrives.

    The main thread only waits, so that a signal is handled at once even while callbacks or a model are busy; rclpy's own
    handlers would shut the context down before the last answers are sent.

    The process ends with the node's exit status; a signal is no failure.

    Returns:
        2, when ROS itself could not start, or with arguments that say nothing to it.

    Raises:
        RuntimeError: A defect in a node's constructor.
    """
    termination = Termination()
    words = list(sys.argv[1:] if args is None else args)
    try:
        rclpy.init(args=words, signal_handler_options=SignalHandlerOptions.NO)
        if ignored := remove_ros_args(words):
            try_shutdown()
            print(f"not known: {' '.join(ignored)}; parameters are given as --ros-args -p NAME:=VALUE", file=sys.stderr)
            return 2
        node = make_node()
    except RuntimeError as error:
        if not type(error).__module__.startswith("rclpy"):  # rclpy's errors have no public base
            raise
        security = os.environ.get("ROS_SECURITY_ENABLE", "") == "true"
        keystore = os.environ.get("ROS_SECURITY_KEYSTORE") or "not set"
        hint = f" (ROS_SECURITY_ENABLE is true and ROS_SECURITY_KEYSTORE is {keystore})" if security else ""
        what = "after --ros-args these are not known: " if type(error).__name__ == "UnknownROSArgsError" else ""
        print(f"ROS could not be started: {what}{' '.join(str(error).split())}{hint}", file=sys.stderr)
        return 2
    assert isinstance(node, Node)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    thread = threading.Thread(target=spin, args=(executor, node), name="roboref_spin", daemon=True)
    thread.start()
    executor.create_task(node.start)
    termination.wait(node.finished)
    node.finished.set()
    stopped = node.close()
    executor.shutdown(timeout_sec=_JOIN_S)
    thread.join(_JOIN_S)
    status = node.exit_status
    if stopped and not thread.is_alive():
        node.destroy_node()
        # Goals and a lifecycle node's state machine keep it in the graph until they go; who just vanishes is listed for 20 s more.
        # What it has made, such as a transform listener, asks it once more when it goes, and would complain that nothing is left of it.
        sys.unraisablehook = lambda unraisable: None
        vars(node).clear()
        gc.collect()
    try_shutdown()
    _leave(status)


def _leave(status: int) -> NoReturn:
    """End the process without taking the interpreter down.

    With torch loaded that costs a second of CPU, several on a busy machine, and ``ros2 launch`` kills what is not gone after 5 s. A model
    that is loading or in the middle of a long call cannot be interrupted: ending the interpreter under it would crash.
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
