"""A process that is asked to end does, whichever of its threads the signal meets and however late."""

import signal
import subprocess
import sys

import pytest

WAITS = """
import os, signal, sys, threading
from roboref_node.termination import Termination

number = signal.Signals[sys.argv[1]]
termination = Termination()
if sys.argv[2] == "before":
    signal.raise_signal(number)
elif sys.argv[2] == "elsewhere":  # as a signal that comes just before the wait: its handler is due, and nothing wakes the main thread
    threading.Timer(0.3, lambda: signal.pthread_kill(threading.get_ident(), number)).start()
else:
    threading.Timer(0.3, lambda: os.kill(os.getpid(), number)).start()
termination.wait()
print("asked", termination.is_asked)
"""

FINISHES = """
import threading
from roboref_node.termination import Termination

finished = threading.Event()
threading.Timer(0.3, finished.set).start()
termination = Termination()
termination.wait(finished)
print("asked", termination.is_asked)
"""


def output(source, *arguments):
    return subprocess.run([sys.executable, "-c", source, *arguments], capture_output=True, text=True, timeout=20.0, check=True).stdout


@pytest.mark.parametrize("name", [signal.SIGINT.name, signal.SIGTERM.name])
@pytest.mark.parametrize("when", ["before", "elsewhere", "in the wait"])
def test_a_signal_ends_the_wait(name, when):
    """A node that was sent Ctrl-C at the moment of its start went on: its main thread had just begun to wait."""
    assert output(WAITS, name, when) == "asked True\n"


def test_work_that_is_done_ends_the_wait():
    assert output(FINISHES) == "asked False\n"
