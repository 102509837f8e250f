"""Faults of whole processes: clocks of a simulation or bag, two robots, killed and ended nodes, full disks."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
import time

from asker import REFER, Asker
from fault_bench import START_S, Bench
from fault_table import HARMLESS, Outcome, fault
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from live_graph import ROOT, Process, wait_until
from rcl_interfaces.srv import SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rosgraph_msgs.msg import Clock

from roboref_node.ros.recorder import Recorder
from roboref_node.status import Refused

CLOCK_GROUP, PROCESS_GROUP = "Simulated time and bags", "Processes and disks"
START_NS = 100_000_000_000


def own_topics(namespace):
    """Remappings of TF and clock into a namespace, so that one domain holds several robots."""
    return [f"{topic}:={namespace}{topic}" for topic in ("/tf", "/tf_static", "/clock")]


class SimulatedBench(Bench):
    """A bench that lives by /clock; `jump_ns` moves it, `ticking` False stops it, `told` False hides it."""

    def __init__(self, graph, folder):
        self.jump_ns, self.ticking, self.told = 0, True, True
        self._started_ns, self._stood_ns = time.monotonic_ns(), 0
        self._clock = graph.node.create_publisher(Clock, "/simulated/clock", 10)
        super().__init__(
            graph, folder, name="simulated", namespace="/simulated", parameters=["use_sim_time:=true"], remaps=own_topics("/simulated")
        )
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._tick, daemon=True)
        self.mend()
        self._thread.start()

    def now_ns(self):
        """Simulated time."""
        if self.ticking:
            self._stood_ns = START_NS + time.monotonic_ns() - self._started_ns + self.jump_ns
        return self._stood_ns

    def mend(self):
        """Undo all faults."""
        super().mend()
        self.camera.clock_ns = self.now_ns
        self.ticking = self.told = True

    def _tick(self):
        while not self._stop.wait(0.02):
            if self.told:
                message = Clock()
                message.clock.sec, message.clock.nanosec = divmod(self.now_ns(), 1_000_000_000)
                self._clock.publish(message)

    def close(self):
        """End everything."""
        self._stop.set()
        self._thread.join(2.0)
        super().close()


class SecondBench(Bench):
    """Another robot in the same domain, which may be killed.

    Args:
        other: The bench of the first robot.
    """

    def __init__(self, graph, folder, other):
        self.other = other
        super().__init__(graph, folder, name="second", namespace="/second", remaps=own_topics("/second"), patience_s=20.0)


class SilentProcess(Process):
    """A node whose standard output is a full disk."""

    def __init__(self, graph, node, arguments):
        self.name, self._graph, self._node = "refer", graph, node
        with open("/dev/full", "wb") as sink:
            self._popen = subprocess.Popen(
                [sys.executable, "-u", "-m", REFER, *arguments],
                stdout=sink, stderr=subprocess.STDOUT, cwd=ROOT, start_new_session=True, env=dict(os.environ),
            )  # fmt: skip
        graph._processes.append(self)

    @property
    def log(self):
        """There is none."""
        return "(the log went to /dev/full)"

    def wait_for_log(self, words):
        """Wait until the node is active instead: there is no log."""

        def active():
            if not self._graph.node.count_publishers(f"{self._node}/referral"):
                return False  # not configured yet, and perhaps not there
            state = self._graph.call(GetState, f"{self._node}/get_state", GetState.Request())
            return state.current_state.id == State.PRIMARY_STATE_ACTIVE

        wait_until(active, "an active node", START_S)


# ---- simulated time --------------------------------------------------------------------------------------------------------------


@fault(
    CLOCK_GROUP, "clock-absent", bench="simulated",
    what="use_sim_time without /clock", injection="the node is restarted while nobody publishes /clock, the camera goes on",
    status="FRAME_STALE", sentence=r"use_sim_time is on and no /clock has arrived", concern="camera", within_s=2.0,
    recovery="the first /clock",
)  # fmt: skip
def _(bench):
    bench.told = False
    bench.process.kill()
    bench.start()


@fault(
    CLOCK_GROUP, "clock-jumps-back", bench="simulated",
    what="A bag begins again", injection="/clock and all stamps go back by 60 s while the node runs",
    status=HARMLESS, sentence="the red box: pixel", recovery="none needed: images and transforms of before the jump are forgotten",
)  # fmt: skip
def _(bench):
    bench.jump_ns -= 60_000_000_000


@fault(
    CLOCK_GROUP, "clock-jumps-forward", bench="simulated",
    what="/clock jumps forward", injection="/clock and all stamps go forward by an hour",
    status=HARMLESS, sentence="the red box: pixel", recovery="none needed: a question waits for the first pair after the jump",
)  # fmt: skip
def _(bench):
    bench.jump_ns += 3_600_000_000_000


@fault(
    CLOCK_GROUP, "clock-stops", bench="simulated",
    what="The simulation is paused", injection="/clock and images stand still",
    status=HARMLESS, sentence="the red box: pixel", recovery="none needed: the last pair is as old as simulated time says",
)  # fmt: skip
def _(bench):
    bench.ticking = bench.camera.running = False


@fault(
    CLOCK_GROUP, "simulation-ends", bench="simulated",
    what="The simulation ends", injection="/clock stands still, and the camera's publishers are destroyed",
    status="FRAME_STALE", sentence=r"nobody publishes \S+ any more: its newest image came \d+\.\d{3} s ago \(max_frame_age_s is 0\.5\)",
    concern="camera", recovery="the first pair of the next simulation",
)  # fmt: skip
def _(bench):
    bench.ticking = False
    bench.camera.shut()


@fault(
    CLOCK_GROUP, "clock-of-another-world", bench="simulated",
    what="A real camera beside a simulation", injection="images with stamps of the system's clock, the node with use_sim_time",
    status="FRAME_STALE", sentence=r"stamped \d+\.\d{3} s in the future: .*different clocks", concern="camera",
)  # fmt: skip
def _(bench):
    bench.camera.clock_ns = time.time_ns


# ---- processes -------------------------------------------------------------------------------------------------------------------


@fault(
    PROCESS_GROUP, "two-robots", bench="second",
    what="Two robots in one domain, one of them blind", injection="two nodes by namespace; the camera of the second stops",
    status="FRAME_STALE", sentence=r"newest image of /second/camera/color/image_raw is \d\.\d{3} s old", concern="camera",
)  # fmt: skip
def _(bench):
    bench.camera.running = False

    def ask():
        assert bench.other.right(bench.other.look()), "the first robot sees by itself"
        return bench.look()

    return ask


@fault(
    PROCESS_GROUP, "node-killed", bench="second",
    what="The node is killed in the middle of a goal", injection="kill -9 while the model thinks, then a new process",
    status=HARMLESS, sentence="the red box: pixel",
    recovery="a new process answers; what the old one was asked is lost, and no goal of it is sent", within_s=30.0,
)  # fmt: skip
def _(bench):
    bench.server.behave = bench.server.hang
    count = len(bench.goals)
    bench.send_to_model("pick up the red box")
    bench.process.kill()
    bench.server.mend()
    bench.start()
    bench.wait_until_right()
    assert len(bench.goals) == count


@fault(
    PROCESS_GROUP, "node-ended", bench="second", once=True,
    what="The node is ended while the model thinks", injection="SIGINT in the middle of a goal: answered, exit status 0",
    status="CANCELED", sentence="the node is shutting down", recovery="starting it again", within_s=10.0,
    mend=lambda bench: bench.start(),
)  # fmt: skip
def _(bench):
    bench.server.behave = bench.server.hang

    def ask():
        handle = bench.send_to_model("pick up the red box")
        bench.process.send(signal.SIGINT)
        future = bench.graph.do(handle.get_result_async)  # a client that is busy asks for its result that late
        assert bench.process.wait(15.0) == 0, bench.process.log
        wait_until(future.done, "the last answer")
        assert "Traceback" not in bench.process.log, bench.process.log
        return future.result().result.referrals[0]

    return ask


def _repair(bench):
    parameter = Parameter("sync_slop_s", value=0.02).to_parameter_msg()
    bench.graph.call(SetParameters, f"{bench.node}/set_parameters", SetParameters.Request(parameters=[parameter]))
    for transition in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
        request = ChangeState.Request(transition=Transition(id=transition))
        assert bench.graph.call(ChangeState, f"{bench.node}/change_state", request).success, bench.process.log
    bench.asker = Asker(bench.graph, bench.process, bench.node)


@fault(
    PROCESS_GROUP, "parameter-wrong-at-start", bench="second", once=True,
    what="A wrong parameter at the start", injection="sync_slop_s:=-1 on the command line",
    status="not configured", sentence=r"parameter sync_slop_s is -1\.0, it must be a number from 0 to 1 s", within_s=30.0,
    recovery="setting it, configuring and activating, without a restart", mend=_repair,
)  # fmt: skip
def _(bench):
    bench.process.kill()
    bench.process = bench.graph.start(REFER, *bench.arguments, "-p", "sync_slop_s:=-1.0")
    words = "not configured: "

    def ask():
        wait_until(lambda: words in bench.process.log, lambda: f"the refusal\n{bench.process.log}", START_S)
        return Outcome("not configured", bench.process.log.split(words)[1].splitlines()[0])

    return ask


@fault(
    PROCESS_GROUP, "disk-full-log", bench="second",
    what="No space left for logs", injection="standard output of the node is /dev/full",
    status=HARMLESS, sentence="the red box: pixel", recovery="none needed: the node works on in silence", within_s=30.0,
)  # fmt: skip
def _(bench):
    bench.process.kill()
    bench.process = SilentProcess(bench.graph, bench.node, bench.arguments)
    bench.asker = Asker(bench.graph, bench.process, bench.node)


@fault(
    PROCESS_GROUP, "disk-full-recording", once=True,
    what="No space left for a recording", injection="files of the recording process may not grow beyond 1 MB (RLIMIT_FSIZE)",
    status="BAD_REQUEST", sentence=r"could not be written after \d+ messages: .*(File too large|No space)", within_s=30.0,
    recovery="a recording on a disk with space",
)  # fmt: skip
def _(bench):
    def ask():
        node = Node("recorder", context=bench.graph.context)
        executor = SingleThreadedExecutor(context=bench.graph.context)
        executor.add_node(node)
        folder = bench.folder / f"bag_{time.monotonic_ns()}"
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        recorder = Recorder(node, folder, [bench.camera.topic("color"), bench.camera.topic("depth")])
        wait_until(lambda: not recorder.look(), "the camera's topics")
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
        try:
            deadline = time.monotonic() + 25.0
            while time.monotonic() < deadline:
                executor.spin_once(timeout_sec=0.02)
                recorder.check()
            recorder.close()
        except Refused as refused:
            return Outcome(refused.status.value, refused.sentence.replace(str(folder), "FOLDER"))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            executor.shutdown(timeout_sec=2.0)
            node.destroy_node()
        return Outcome("OK", f"{sum(recorder.counts.values())} messages")

    return ask
