"""The speech node as a process: typed and spoken sentences, questions and answers, stop, and what is missing."""

from __future__ import annotations

import json
import shutil
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from live_graph import wait_until

SPEECH = "roboref_node.nodes.speech"


class Ears:
    """A speech node, and what it publishes."""

    def __init__(self, graph, name, *parameters):
        from std_msgs.msg import Empty, Header, String

        self.graph, self.name = graph, f"/{name}"
        arguments = [
            f"-r __node:={name}",
            f"-r instruction:=/{name}/instruction_out",
            f"-r stop:=/{name}/stop_out",
            f"-r cancel:=/{name}/cancel_out",
        ]
        words = [word for argument in (*arguments, *(f"-p {p}" for p in parameters)) for word in argument.split(" ", 1)]
        self.process = graph.start(SPEECH, "--ros-args", *words)
        self.process.wait_for_log("active:")
        self.said = graph.collect(String, f"/{name}/say")
        self.heard = graph.collect(String, f"/{name}/heard")
        self.instructions = graph.collect(String, f"/{name}/instruction_out")
        self.dialogue = graph.collect(String, f"/{name}/dialogue")
        self.events = graph.collect(String, f"/{name}/event")
        self.onsets = graph.collect(Header, f"/{name}/onset")
        self.stops = graph.collect(Empty, f"/{name}/stop_out")
        self._text = graph.publisher(String, f"/{name}/text")

    def type(self, text):
        from std_msgs.msg import String

        self._text.publish(String(data=text))

    def wait_said(self, words):
        wait_until(
            lambda: any(words in m.data for m in self.said),
            lambda: f"{words!r} in {[m.data for m in self.said]}; {[m.data for m in self.events]}\n{self.process.log_end}",
        )

    def event_names(self):
        return [json.loads(message.data)["event"] for message in self.events]


@contextmanager
def ears(graph, name, *parameters):
    node = Ears(graph, name, *parameters)
    yield node
    assert node.process.end() == 0, node.process.log_end


def test_a_typed_command_waits_for_the_service_and_keeps_its_onset(graph):
    from std_srvs.srv import SetBool, Trigger

    with ears(graph, "typed", "source:=none", "freeze_at_speech:=true") as node:
        assert not graph.call(SetBool, "/typed/confirm", SetBool.Request(data=True)).success, "no question is open"
        node.type("pick up the red cup")
        node.wait_said("Yes or no: Pick up the red cup?")
        assert node.instructions == []
        assert graph.call(SetBool, "/typed/confirm", SetBool.Request(data=True)).success
        wait_until(lambda: node.instructions, "the instruction")
        assert node.instructions[0].data == "pick up the red cup"
        assert node.onsets[0].stamp.sec > 0
        node.type("put the cup")
        node.wait_said("does not say where to put it")
        node.type("go to the table")
        node.wait_said("Yes or no: Go to the table?")
        assert graph.call(Trigger, "/typed/stop", Trigger.Request()).success
        wait_until(lambda: node.stops, "the stop")
        assert not graph.call(SetBool, "/typed/confirm", SetBool.Request(data=True)).success, "stop closes the question"
        assert [m.data for m in node.instructions] == ["pick up the red cup"]


def test_spoken_command_answer_and_stop(graph):
    from std_srvs.srv import Trigger

    for module in ("pocketsphinx", "silero_vad"):
        pytest.importorskip(module, reason="pip install 'roboref[speech]'")
    if shutil.which("flite") is None:
        pytest.skip("the program flite is not installed: sudo apt-get install -y flite")
    from roboref_node.ros.audio import AudioPlayer
    from roboref_node.speech.synthesis import Synthesiser

    called = threading.Event()

    def stop_arm(request, response):
        called.set()
        response.success = True
        return response

    graph.node.create_service(Trigger, "/spoken_arm/stop", stop_arm)
    voice = Synthesiser("flite:slt")
    with ears(graph, "spoken", "source:=topic", "confirm_timeout_s:=60.0", "stop_services:=['/spoken_arm/stop']") as node:
        player = AudioPlayer(graph.node, "/audio")
        wait_until(lambda: player.listeners, "a listener of audio")
        player.silence(0.3)
        player.play(voice("pick up the green ball"))
        node.wait_said("Yes or no: Pick up the green ball?")
        player.play(voice("yes"))
        wait_until(lambda: node.instructions, lambda: f"the instruction; heard {[m.data for m in node.heard]}")
        assert node.instructions[0].data == "pick up the green ball"
        wait_until(lambda: "published" in node.event_names(), "the event")
        names = node.event_names()
        assert [n for n in names if n != "heard"][:4] == ["onset", "end_of_speech", "asked", "onset"]
        player.play(voice("stop"))
        wait_until(lambda: node.stops, "the stop")
        wait_until(called.is_set, "the call of the arm's service")


def test_an_instruction_that_nobody_listens_to_is_told(graph):
    """It was lost, and the event said published."""
    from std_msgs.msg import String

    process = graph.start(
        SPEECH, "--ros-args", "-r", "__node:=alone", "-r", "instruction:=/nobody", "-p", "source:=none", "-p", "confirm:=false"
    )
    process.wait_for_log("active:")
    said, events = graph.collect(String, "/alone/say"), graph.collect(String, "/alone/event")
    graph.publisher(String, "/alone/text").publish(String(data="pick up the red cup"))
    wait_until(lambda: any("The node that acts is not there" in m.data for m in said), lambda: process.log_end)
    assert not any(json.loads(m.data)["event"] == "published" for m in events)
    assert process.end() == 0


def test_a_file_takes_the_place_of_the_microphone(graph, tmp_path):
    for module in ("pocketsphinx", "silero_vad"):
        pytest.importorskip(module, reason="pip install 'roboref[speech]'")
    if shutil.which("flite") is None:
        pytest.skip("the program flite is not installed: sudo apt-get install -y flite")
    import wave

    from std_srvs.srv import SetBool

    from roboref_node.speech.audio import RATE_HZ, pcm16
    from roboref_node.speech.synthesis import Synthesiser

    with wave.open(str(tmp_path / "said.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes(pcm16(Synthesiser("flite:slt")("pick up the green ball").samples).tobytes())
    with ears(graph, "played", "source:=wav", f"wav:={tmp_path}/said.wav", "confirm_timeout_s:=120.0") as node:
        # It plays at once, so that the question may have been asked before anybody listened.
        wait_until(lambda: graph.call(SetBool, "/played/confirm", SetBool.Request(data=True)).success, lambda: node.process.log_end)
        wait_until(lambda: node.instructions, "the instruction")
        assert node.instructions[0].data == "pick up the green ball"


def test_a_stop_that_may_be_the_robots_own_voice_is_sent_and_not_answered(graph, tmp_path, monkeypatch):
    """It would hear its answer, stop, answer, and so on without end."""
    pytest.importorskip("pocketsphinx", reason="pip install 'roboref[speech]'")
    if shutil.which("flite") is None:
        pytest.skip("the program flite is not installed: sudo apt-get install -y flite")
    from roboref_node.ros.audio import AudioPlayer
    from roboref_node.speech.synthesis import Synthesiser

    stop = Synthesiser("flite:slt")("stop")
    loudspeaker = tmp_path / "espeak-ng"
    loudspeaker.write_text("#!/bin/sh\nexec sleep 20\n")
    loudspeaker.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with ears(graph, "echoing", "source:=topic", "voice:=espeak-ng") as node:
        player = AudioPlayer(graph.node, "/audio")
        wait_until(lambda: player.listeners, "a listener of audio")
        player.silence(0.3)
        player.play(stop)
        wait_until(lambda: len(node.stops) == 1, "the stop")
        node.wait_said("I have ended it.")
        player.silence(0.7)
        player.play(stop)
        wait_until(lambda: len(node.stops) == 2, "the second stop")
        player.silence(1.0)
        assert len(node.said) == 1


def test_a_listener_that_gets_no_time_for_a_while_loses_no_sound(graph):
    import numpy as np
    import rclpy
    from rclpy.executors import SingleThreadedExecutor
    from std_msgs.msg import Int16MultiArray

    from roboref_node.ros import qos
    from roboref_node.ros.audio import audio_message

    node, heard = rclpy.create_node("busy_listener", context=graph.context), []
    executor = SingleThreadedExecutor(context=graph.context)
    executor.add_node(node)
    try:
        node.create_subscription(Int16MultiArray, "/burst", heard.append, qos.SOUND)
        publisher = graph.publisher(Int16MultiArray, "/burst", qos.SOUND)
        for _ in range(100):  # three seconds of sound, while the executor is elsewhere
            publisher.publish(audio_message(np.zeros(512, dtype=np.float32)))
        deadline = time.monotonic() + 20.0
        while len(heard) < 100 and time.monotonic() < deadline:
            executor.spin_once(timeout_sec=0.2)
        assert len(heard) == 100
    finally:
        executor.remove_node(node)
        node.destroy_node()


def test_where_instructions_go_may_change_at_any_time(graph):
    from rcl_interfaces.srv import SetParameters
    from rclpy.action import ActionServer
    from rclpy.action.server import GoalResponse
    from rclpy.parameter import Parameter
    from roboref.action import Refer

    asked, answer = [], GoalResponse.ACCEPT

    def on_goal(goal):
        asked.append(goal.instruction)
        return answer

    def execute(handle):
        handle.succeed()
        return Refer.Result()

    def send_to(value):
        parameter = Parameter("send_to", value=value).to_parameter_msg()
        assert graph.call(SetParameters, "/moving/set_parameters", SetParameters.Request(parameters=[parameter])).results[0].successful

    with ears(graph, "moving", "source:=none", "confirm:=false") as node:
        node.type("go to the shelf")
        wait_until(lambda: len(node.instructions) == 1, "the instruction")
        send_to("refer")
        node.type("pick up the red cup")
        node.wait_said("The node that looks is not there")
        server = ActionServer(graph.node, Refer, "/refer/refer", execute, goal_callback=on_goal)
        try:

            def reach():
                if not asked:
                    node.type("pick up the red cup")
                    time.sleep(0.5)
                return asked

            wait_until(reach, "the goal")
            answer = GoalResponse.REJECT
            node.type("pick up the blue cup")
            node.wait_said("does not take it")
            send_to("topic")
            node.type("go to the table")
            wait_until(lambda: len(node.instructions) == 2, "the second instruction")
        finally:
            graph.do(server.destroy)
    assert [m.data for m in node.instructions] == ["go to the shelf", "go to the table"]


class SlowServer:
    """A language model that does not answer before it is let go."""

    def __init__(self):
        outer = self
        self.asked, self.gate = threading.Event(), threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                outer.asked.set()
                outer.gate.wait(60.0)
                self.close_connection = True

            def log_message(self, *arguments):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def close(self):
        self.gate.set()
        self._server.shutdown()
        self._server.server_close()


def test_a_typed_stop_does_not_wait_for_the_language_model(graph):
    server = SlowServer()
    try:
        with ears(graph, "thinking", "source:=none", "confirm:=false", f"language_model_url:={server.url}") as node:
            node.type("i would love to have the red cup")
            wait_until(server.asked.is_set, "the question to the language model")
            node.type("go to the table")
            node.type("stop")
            wait_until(lambda: node.stops, "the stop")
            assert not server.gate.is_set()
            server.gate.set()
            node.wait_said("Yes or no: Go to the table?")  # said before the stop: not without a yes
            assert node.instructions == []
    finally:
        server.close()


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        (("source:=wav",), "wav must be the path"),
        (("source:=wav", "wav:=/nonexistent.wav"), "no readable WAV file"),
        (("recogniser:=whisper", "source:=topic", "whisper_model:=/nonexistent"), "holds no config.json"),
        (("source:=none", "voice:=festival"), "must be none or begin with"),
    ],
)
def test_what_is_missing_is_said_and_the_process_ends(graph, parameters, words):
    process = graph.start(SPEECH, "--ros-args", *[word for p in parameters for word in ("-p", p)])
    process.wait_for_log(words)
    assert process.wait(30.0) == 1
