"""Real processes over real DDS: an own domain per test run, conditions instead of sleeps, nothing left running."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WAIT_S = 25.0  # discovery alone can take 3 s; the machine may be busy
os.environ["ROS_DOMAIN_ID"] = str(1 + os.getpid() % 100)
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"


def wait_until(condition, what, timeout_s=WAIT_S):
    """Poll until `condition()` is true and return its value."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {what() if callable(what) else what}"
        time.sleep(0.01)
    return value


class Process:
    """One node as a process; its output goes to a file."""

    def __init__(self, module, arguments, folder):
        self.name = module.rsplit(".", 1)[-1]
        self._log = Path(folder) / f"{self.name}_{time.monotonic_ns()}.log"
        with self._log.open("wb") as sink:
            self._popen = subprocess.Popen(
                [sys.executable, "-u", "-m", module, *arguments],
                stdout=sink, stderr=subprocess.STDOUT, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, start_new_session=True,
            )  # fmt: skip

    @property
    def log(self):
        return self._log.read_text(errors="replace")

    @property
    def log_end(self):
        return self.log[-3000:]

    @property
    def alive(self):
        return self._popen.poll() is None

    def wait_for_log(self, words):
        wait_until(lambda: words in self.log or not self.alive, lambda: f"{words!r} in the output of {self.name}:\n{self.log}")
        assert words in self.log, f"{self.name} ended before {words!r}:\n{self.log}"

    def wait(self, timeout_s):
        """Exit status of a process that ends by itself."""
        return self._popen.wait(timeout_s)

    def send(self, number):
        """Send a signal."""
        if self.alive:
            self._popen.send_signal(number)

    def end(self, number=signal.SIGINT, timeout_s=15.0):
        """Send a signal once and return the exit status."""
        self.send(number)
        try:
            return self._popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait(5.0)
            raise AssertionError(f"{self.name} did not end within {timeout_s:g} s of signal {number}:\n{self.log}") from None

    def kill(self):
        if self.alive:
            self._popen.kill()
            self._popen.wait(5.0)


class Graph:
    """The test's own node, spinning, and the processes it has started."""

    def __init__(self, folder):
        import rclpy
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.node import Node

        self._folder = folder
        self._processes = []
        self.context = rclpy.Context()
        self.context.init()
        self.node = Node("test_client", context=self.context)
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._executor.spin, daemon=True)
        self._thread.start()

    def start(self, module, *arguments):
        process = Process(module, arguments, self._folder)
        self._processes.append(process)
        return process

    def do(self, function, *arguments, **keywords):
        """Call in the executor's thread: an action client drops an answer that arrives while another thread still asks."""
        task = self._executor.create_task(lambda: function(*arguments, **keywords))
        wait_until(task.done, function)
        return task.result()

    def collect(self, kind, topic, qos=10):
        """A list that fills with the messages of a topic; returns once those who publish it know that it is heard."""
        messages = []
        self.node.create_subscription(kind, topic, messages.append, qos)
        for name in wait_until(lambda: self._publishers(topic), f"a publisher of {topic}"):
            self._wait_until_known_to(name)
        return messages

    def _publishers(self, topic):
        """The nodes that publish it; none while the name of one is not known, which is told apart from its topics."""
        nodes = {f"{found.node_namespace.rstrip('/')}/{found.node_name}" for found in self.node.get_publishers_info_by_topic(topic)}
        return () if any("UNKNOWN" in name for name in nodes) else nodes

    def _wait_until_known_to(self, name):
        """Until a node has discovered what was made here so far.

        To know a publisher is not to be known to it: discovery goes each way by itself, and can be 3 s late in one. Endpoints are told in
        the order in which they were made; a node that answers a client made now therefore knows everything before it.
        """
        from rcl_interfaces.srv import ListParameters

        if name != self.node.get_fully_qualified_name():
            self.call(ListParameters, f"{name}/list_parameters", ListParameters.Request())

    def publisher(self, kind, topic, qos=10):
        """A publisher that somebody listens to."""
        publisher = self.node.create_publisher(kind, topic, qos)
        wait_until(lambda: publisher.get_subscription_count() > 0, f"a subscriber of {topic}")
        return publisher

    def call(self, kind, service, request):
        """The answer of a service.

        A server that has not yet discovered this client's reader answers into the void (a race in DDS discovery): a request whose answer
        does not come is sent again.
        """
        client = self.node.create_client(kind, service)
        assert client.wait_for_service(WAIT_S), f"no service {service}"
        deadline = time.monotonic() + WAIT_S
        while True:
            future = client.call_async(request)
            again = min(deadline, time.monotonic() + 8.0)
            while not future.done() and time.monotonic() < again:
                time.sleep(0.01)
            assert future.done() or time.monotonic() < deadline, f"no answer of {service} within {WAIT_S:g} s"
            if future.done():
                self.node.destroy_client(client)
                return future.result()

    def close(self):
        for process in self._processes:
            process.kill()
        self._executor.shutdown(timeout_sec=2.0)
        self._thread.join(2.0)
        self.node.destroy_node()
        self.context.try_shutdown()


class ModelServer:
    """A real HTTP server with RoboRefer's ``/query``.

    It answers `text`, or what that gives when called; while `gate` is clear it makes callers wait.
    """

    def __init__(self):
        outer = self
        self.text = "[(0.5, 0.5)]"
        self.gate = threading.Event()
        self.gate.set()
        self.asked = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                question = json.loads(self.rfile.read(int(self.headers["content-length"])))
                outer.asked.append(question["text"])
                outer.gate.wait(30.0)
                text = outer.text() if callable(outer.text) else outer.text
                body = json.dumps({"result": 1, "answer": text}).encode()
                try:
                    self.send_response(200)
                    self.send_header("content-type", "application/json")
                    self.send_header("content-length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)
                except OSError:
                    pass  # the caller has given up meanwhile

            def log_message(self, *arguments):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def close(self):
        self.gate.set()
        self._server.shutdown()
        self._server.server_close()
