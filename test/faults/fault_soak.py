"""A long run: the simulated cell, one question a second, and something going wrong at random all the time."""

from __future__ import annotations

import dataclasses
import math
import os
import random
import signal
import statistics
import threading
import time
from itertools import pairwise

import numpy as np
import psutil
from asker import REFER, Asker
from diagnostic_msgs.msg import DiagnosticArray
from fault_bench import START_S
from fault_camera import BASE_FROM_OPTICAL
from fault_server import FaultyServer
from faults_of_the_processes import own_topics
from geometry_msgs.msg import PoseStamped
from live_graph import wait_until
from rclpy.qos import qos_profile_sensor_data
from roboref.msg import Referral
from sensor_msgs.msg import CameraInfo, Image
from tf2_msgs.msg import TFMessage

from roboref_node.goals.profile import load_profile
from roboref_node.goals.workspace import Workspace
from roboref_node.ros.camera import COLOR, COLOR_INFO, DEPTH
from roboref_node.ros.transforms import message_from_transform, transform_from_pose
from roboref_node.status import Refused

SIM = "roboref_node.nodes.sim"
NAMESPACE = "/soak"
WIDTH, HEIGHT, RATE_HZ = 160, 120, 20.0
QUIET_S = 3.0
"""A question is undisturbed when no fault was on from so long before it until its answer."""
LATEST_ANSWER_S = 30.0


@dataclasses.dataclass
class Asked:
    """One question and what became of it."""

    sent_s: float
    accepted: bool | None = None
    answered_s: float | None = None
    statuses: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Sample:
    """The refer process at one moment."""

    at_s: float
    rss: int
    threads: int
    files: int


class Soak:
    """The run.

    Args:
        graph: The test's node and processes.
        folder: Where the model file goes.
        seed: Of the faults.
        duration_s: How long.
    """

    def __init__(self, graph, folder, seed, duration_s):
        self.graph, self.seed, self.duration_s = graph, seed, duration_s
        self.random = random.Random(seed)
        self.server = FaultyServer()
        model = folder / "soak.yaml"
        model.write_text(
            f"backend: roborefer_server\ndepth: none\nhttp:\n  url: {self.server.url}\n  connect_timeout_s: 0.3\n"
            "  read_timeout_s: 0.5\n  total_timeout_s: 0.8\n  retries: 1\n  retry_wait_s: 0.01\n  max_response_bytes: 65536\n"
        )
        remaps = [x for rule in own_topics(NAMESPACE) for x in ("-r", rule)]
        self._sim_arguments = ["--ros-args", "-r", f"__ns:={NAMESPACE}", *remaps]
        for name, value in (("width", WIDTH), ("height", HEIGHT), ("rate", RATE_HZ)):
            self._sim_arguments += ["-p", f"{name}:={value}"]
        self.sim = self._start_sim()
        self.process = graph.start(
            REFER, "--ros-args", "-r", f"__ns:={NAMESPACE}", *remaps, "-p", f"model:={model}", "-p", "use_sim_time:=true",
            "-p", "frame_timeout_s:=0.3", "-p", "max_queue:=4",
        )  # fmt: skip
        wait_until(lambda: "active: model" in self.process.log, lambda: f"an active node\n{self.process.log}", START_S)
        self.asker = Asker(graph, self.process, f"{NAMESPACE}/refer")
        self.regular = 0
        self.asked, self.samples, self.faults, self.goals, self.referrals, self.problems = [], [], [], [], [], []
        node = graph.node
        node.create_subscription(PoseStamped, f"{NAMESPACE}/refer/grasp_pose", self.goals.append, 50)
        node.create_subscription(PoseStamped, f"{NAMESPACE}/refer/place_pose", self.goals.append, 50)
        node.create_subscription(Referral, f"{NAMESPACE}/refer/referral", self.referrals.append, 50)
        self._looks_s, self._told_s = [], []
        node.create_subscription(
            CameraInfo, f"{NAMESPACE}/{COLOR_INFO}", lambda _: self._looks_s.append(time.monotonic()), qos_profile_sensor_data, raw=True
        )
        node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 50)
        self._junk = {name: node.create_publisher(Image, f"{NAMESPACE}/{name}", 5) for name in (COLOR, DEPTH)}
        self._tf = node.create_publisher(TFMessage, f"{NAMESPACE}/tf", 10)
        self._on = threading.Event()

    def run(self):
        """Ask once a second until the time is over, then wait for the last answers."""
        process = psutil.Process(self.process._popen.pid)
        wait_until(self._sees, lambda: f"a first good answer\n{self.process.log_end}")
        started = time.monotonic()
        injector = threading.Thread(target=self._injure, args=(started + self.duration_s,), daemon=True)
        injector.start()
        next_s = started
        while time.monotonic() < started + self.duration_s:
            next_s += 1.0
            self._ask()
            self.regular += 1
            if self.process.alive:
                self.samples.append(Sample(time.monotonic(), process.memory_info().rss, process.num_threads(), process.num_fds()))
            time.sleep(max(0.0, next_s - time.monotonic()))
        injector.join(START_S + 60.0)
        assert not injector.is_alive() and not self.problems, self.problems
        wait_until(
            lambda: not self._unanswered(),
            lambda: f"all answers, {len(self._unanswered())} are missing\n{self.process.log_end}",
            LATEST_ANSWER_S,
        )
        wait_until(self._sees, lambda: f"a last good answer\n{self.process.log_end}")

    def _unanswered(self):
        return [question for question in self.asked if question.accepted is not False and question.answered_s is None]

    def report(self):
        """What was seen, as numbers."""
        first, last = self._windows()
        answers = [status for question in self.asked for status in question.statuses]
        return {
            "seed": self.seed,
            "duration_s": self.duration_s,
            "questions": len(self.asked),
            "per_s": round(self.regular / self.duration_s, 3),
            "camera_hz": round(self._camera_hz(), 1),
            "longest_silence_s": round(max(b - a for a, b in pairwise(self._told_s)), 2),
            "rejected": sum(question.accepted is False for question in self.asked),
            "faults": len(self.faults),
            "statuses": {status: answers.count(status) for status in sorted(set(answers))},
            "without_answer": sum(question.answered_s is not None and not question.statuses for question in self.asked),
            "undisturbed": [len(window) for window in (first, last)],
            "p50_ms": [round(1e3 * float(np.median(window)), 1) if window else None for window in (first, last)],
            "p95_ms": [round(1e3 * float(np.percentile(window, 95)), 1) if window else None for window in (first, last)],
            "rss_mb": [round(self._median("rss", part) / 1e6, 1) for part in ("warm", "last")],
            "threads": [self._median("threads", part) for part in ("warm", "last")],
            "files": [self._median("files", part) for part in ("warm", "last")],
        }

    def wrong_goals(self):
        """Poses that no good referral told, or that lie where the robot may not go."""
        good = [r for r in self.referrals if r.status == Referral.OK]
        workspace = Workspace.of(load_profile("ur5"))
        wrong = []
        for pose in self.goals:
            try:
                workspace.check(transform_from_pose(pose.pose), transforms={})
            except (Refused, ValueError) as error:
                wrong.append(str(error))
            if not any(pose in (r.goal, r.approach) for r in good):
                wrong.append(f"a pose without its referral: {pose}")
        return wrong

    def _on_diagnostics(self, message):
        """The refer node tells of itself once a second, whatever it does; a longer silence is an executor that starves."""
        if any(status.name.startswith(f"{NAMESPACE.lstrip('/')}/refer") for status in message.status):
            self._told_s.append(time.monotonic())

    def _camera_hz(self):
        """Median of the images in each second of the run."""
        begin = self.asked[0].sent_s
        counts = np.bincount([int(at - begin) for at in self._looks_s if begin <= at < begin + self.duration_s])
        return float(np.median(counts))

    def _windows(self):
        """Latencies of undisturbed questions in the first and in the last sixth."""
        begin = self.asked[0].sent_s
        windows = ([], [])
        for question in self.asked:
            if question.answered_s is None or any(a < question.answered_s and b > question.sent_s - QUIET_S for _, a, b in self.faults):
                continue
            since_s = question.sent_s - begin
            if since_s < self.duration_s / 6:
                windows[0].append(question.answered_s - question.sent_s)
            elif since_s > self.duration_s * 5 / 6:
                windows[1].append(question.answered_s - question.sent_s)
        return windows

    def _median(self, name, part):
        begin = self.samples[0].at_s
        low, high = {"warm": (1 / 6, 1 / 3), "last": (5 / 6, 2.0)}[part]
        values = [getattr(s, name) for s in self.samples if low * self.duration_s <= s.at_s - begin <= high * self.duration_s]
        return statistics.median(values)

    # ---- questions ---------------------------------------------------------------------------------------------------------------

    def _ask(self, text="", **fields):
        """Send a goal and return at once."""
        question = Asked(time.monotonic())
        self.asked.append(question)
        text = text or self.random.choice(("pick up the red cube", "point at the table", "put it on the table"))
        if not fields and len(self.asked) % 2:
            fields = {"use_pixel": True, "pixel": [self.random.uniform(20, WIDTH - 20), self.random.uniform(40, HEIGHT - 20)]}
        goal = self.asker.actions._action_type.Goal(instruction=text, **fields)

        def accepted(future):
            handle = future.result()
            question.accepted = handle.accepted
            if handle.accepted:
                handle.get_result_async().add_done_callback(answered)

        def answered(future):
            question.answered_s = time.monotonic()
            question.statuses = tuple(r.status_text for r in future.result().result.referrals)

        self.graph.do(self.asker.actions.send_goal_async, goal).add_done_callback(accepted)
        return question

    def _sees(self):
        """Whether a question gets as far as a point in the robot's frame; the zones may still refuse what lies there."""
        return math.isfinite(self.asker.look_at((WIDTH / 2, HEIGHT / 2), instruction="point at the table").position.x)

    # ---- faults ------------------------------------------------------------------------------------------------------------------

    def _injure(self, end_s):
        """One fault after the other; about half of the time is without."""
        kinds = sorted(name for name in dir(self) if name.startswith("fault_"))
        while time.monotonic() < end_s - 15.0:
            time.sleep(self.random.uniform(3.0, 13.0))
            name = self.random.choice(kinds)
            began = time.monotonic()
            try:
                getattr(self, name)()
            except AssertionError as error:
                self.problems.append(f"{name}: {error}")
            finally:
                self.faults.append((name, began, time.monotonic()))

    def fault_camera_stands_still(self):
        """The simulation is stopped by a signal, and goes on."""
        os.kill(self.sim._popen.pid, signal.SIGSTOP)
        time.sleep(self.random.uniform(0.5, 4.0))
        os.kill(self.sim._popen.pid, signal.SIGCONT)

    def fault_camera_restarts(self):
        """The simulation is killed and begins again, back in time."""
        self.sim.kill()
        self.sim = self._start_sim()

    def fault_server(self):
        """The server misbehaves for a while."""
        behaviours = {
            "drip": self.server.drip, "hang": self.server.hang, "endless": self.server.endless,
            "500": lambda c: self.server.send(c, "500 Internal Server Error", b"<h1>no</h1>"),
            "half": lambda c: c.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{"),
        }  # fmt: skip
        self.server.behave = behaviours[self.random.choice(sorted(behaviours))]
        time.sleep(self.random.uniform(1.0, 4.0))
        self.server.mend()

    def fault_server_is_down(self):
        """The server ends and comes back."""
        self.server.stop()
        time.sleep(self.random.uniform(1.0, 4.0))
        self.server.mend()

    def fault_answers_are_nonsense(self):
        """The model says what is no point."""
        self.server.text = self.random.choice(("", "nan", "[(7, 7)]", "[(nan, 0.1)]", "x" * 30_000, "[(0.1, 0.1), (0.9, 0.9)]"))
        time.sleep(self.random.uniform(1.0, 4.0))
        self.server.mend()

    def fault_junk_images(self):
        """Somebody else publishes on the camera's topics."""
        for _ in range(20):
            image = Image(encoding=self.random.choice(("rgb8", "16UC1", "bayer")), width=self.random.randrange(2000), height=3, step=1)
            image.header.stamp.sec = self.random.choice((0, 10, 2_000_000_000))
            image.data = self.random.randbytes(self.random.randrange(5000))
            self._junk[self.random.choice((COLOR, DEPTH))].publish(image)
            time.sleep(0.05)

    def fault_contradicting_transforms(self):
        """Somebody else gives the camera another parent, with stamps of another time."""
        for _ in range(10):
            pose = message_from_transform(
                BASE_FROM_OPTICAL, parent="elsewhere", child="camera_link", stamp_ns=self.random.randrange(10**9, 2 * 10**12)
            )
            self._tf.publish(TFMessage(transforms=[pose]))
            time.sleep(0.05)

    def fault_bad_instructions(self):
        """Sentences that are none, as goals and on the topic."""
        for text in ("", "x" * 10_000, "\x00", "拿起红色的杯子", "juggle"):
            self._ask(text)
            self.asker.say(text)

    def fault_too_many_questions(self):
        """Twenty goals at once."""
        for _ in range(20):
            self._ask()

    def fault_canceled(self):
        """Five goals, canceled in no time."""
        for _ in range(5):
            future = self.graph.do(
                self.asker.actions.send_goal_async, self.asker.actions._action_type.Goal(instruction="point at the table")
            )
            wait_until(future.done, "an accepted goal")
            if future.result().accepted:
                self.graph.do(future.result().cancel_goal_async)

    def fault_parameters(self):
        """Parameters that may not be."""
        for name, value in (("max_queue", 0), ("tf_timeout_s", -1.0), ("robot", "g1"), ("sync_slop_s", "soon")):
            assert not self.asker.set(name, value).successful

    def _start_sim(self):
        process = self.graph.start(SIM, *self._sim_arguments)
        wait_until(lambda: "objects" in process.log, lambda: f"the simulated cell\n{process.log}", START_S)
        return process

    def close(self):
        """End everything."""
        self.sim.kill()
        self.process.kill()
        self.server.stop()
