"""A node that asks a person and the speech node, over DDS: which yes counts, and what happens when one of the two is not there."""

import itertools
import json
import shutil
import threading
import time
from types import SimpleNamespace

import pytest

pytest.importorskip("std_srvs.srv", reason="needs ROS 2 (make setup, . ./env.sh)")
import rclpy
from live_graph import wait_until
from rclpy.executors import SingleThreadedExecutor
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger

from roboref_node.ros.inquiry import Answer, Asked, Inquiry, message_of
from roboref_node.ros.qos import LATCHED

SPEECH = "roboref_node.nodes.speech"


class Asker:
    """A node that asks as pick_place does, in this process."""

    def __init__(self, graph, name):
        self.node = rclpy.create_node(name, context=graph.context)
        self.inquiry = Inquiry(self.node)
        self._executor = SingleThreadedExecutor(context=graph.context)
        self._executor.add_node(self.node)
        self._spinning = threading.Thread(target=self._executor.spin, daemon=True)
        self._spinning.start()
        self._asking = None
        self.answer = None
        self.interrupted = False

    def ask(self, text="Pick the red cup?", timeout_s=60.0):
        self.answer, self.interrupted = None, False

        def check():
            if self.interrupted:
                raise InterruptedError

        def work():
            try:
                self.answer = self.inquiry.ask(text, timeout_s, check)
            except InterruptedError:
                self.answer = "interrupted"

        self._asking = threading.Thread(target=work, daemon=True)
        self._asking.start()
        wait_until(lambda: self.inquiry.is_open, "the question")

    def wait(self):
        self._asking.join(60.0)
        return self.answer

    def close(self):
        self.interrupted = True
        if self._asking is not None:
            self._asking.join(10.0)
        self._executor.shutdown(timeout_sec=2.0)
        self._spinning.join(2.0)
        self.node.destroy_node()


_numbers = itertools.count()


@pytest.fixture
def asker(graph):
    made = Asker(graph, f"asker_{next(_numbers)}")
    yield made
    made.close()


class Ears:
    """A speech node that passes answers to one asker."""

    def __init__(self, graph, name, asker, *parameters):
        words = ["-r", f"__node:={name}", "-r", f"instruction:=/{name}/instruction_out"]
        for parameter in (f"inquirers:=['{asker.node.get_name()}']", *(parameters or ("source:=none",))):
            words += ["-p", parameter]
        self.process = graph.start(SPEECH, "--ros-args", *words)
        self.process.wait_for_log("active:")
        self.said = graph.collect(String, f"/{name}/say")
        self.instructions = graph.collect(String, f"/{name}/instruction_out")
        self.events = graph.collect(String, f"/{name}/event")
        self._text = graph.publisher(String, f"/{name}/text")
        topics = {f"/{asker.node.get_name()}/{end}" for end in ("question", "answer")}
        wait_until(
            lambda: all(graph.node.count_subscribers(t) and graph.node.count_publishers(t) for t in topics),
            "asker and speech node to know each other",
        )

    def type(self, text):
        self._text.publish(String(data=text))

    def wait_said(self, words, times=1):
        wait_until(
            lambda: sum(words in m.data for m in self.said) >= times,
            lambda: f"{times} x {words!r} in {[m.data for m in self.said]}\n{self.process.log_end}",
        )


@pytest.fixture
def ears(graph, asker):
    node = Ears(graph, f"ears_{next(_numbers)}", asker)
    yield node
    assert node.process.end() == 0, node.process.log_end


def test_a_yes_to_the_speech_node_answers_the_question(asker, ears):
    ears.type("yes")  # to nobody
    asker.ask()
    ears.wait_said("Yes or no: Pick the red cup?")
    assert asker.inquiry.is_open
    ears.type("yes")
    assert asker.wait() is True
    asker.ask("Put the red cup on the table?")
    ears.wait_said("Yes or no: Put the red cup on the table?")
    assert asker.inquiry.is_open, "the yes to the first"
    ears.type("no")
    assert asker.wait() is False
    assert not ears.instructions


def test_stop_ends_the_question_and_what_is_typed_anew_declines_it(asker, ears):
    asker.ask()
    ears.wait_said("Yes or no: Pick the red cup?")
    ears.type("stop")
    assert asker.wait() is False
    asker.ask("Pick the green cup?")
    ears.wait_said("Yes or no: Pick the green cup?")
    ears.type("pick up the blue cup")
    ears.wait_said("Yes or no: Pick up the blue cup?")
    assert asker.inquiry.is_open
    ears.type("yes")
    assert asker.wait() is False, "the yes was for the blue cup"
    wait_until(lambda: ears.instructions, "the instruction")
    assert ears.instructions[0].data == "pick up the blue cup"


def test_the_service_and_silence_close_the_question_for_the_voice_too(graph, asker, ears):
    name = asker.node.get_name()
    asker.ask()
    ears.wait_said("Yes or no: Pick the red cup?")
    assert graph.call(SetBool, f"/{name}/confirm", SetBool.Request(data=True)).success
    assert asker.wait() is True
    assert not graph.call(SetBool, f"/{name}/confirm", SetBool.Request(data=True)).success
    asker.ask("Pick the green cup?", timeout_s=4.0)
    assert asker.wait() is False
    ears.wait_said("Nobody answered within 4 seconds, so I do nothing.")
    ears.type("yes")
    asker.ask("Pick the white cup?")
    ears.wait_said("Yes or no: Pick the white cup?")
    assert asker.inquiry.is_open, "the late yes to the green one"


def test_a_speech_node_that_comes_later_asks_what_is_open(graph, asker):
    asker.ask()
    node = Ears(graph, "late_ears", asker)
    # Asked before this test could listen; what is typed is answered in any case.
    wait_until(lambda: (node.type("yes"), time.sleep(0.2), asker.answer)[-1], "the answer")
    assert asker.wait() is True
    assert node.process.end() == 0
    asker.ask("Pick the green cup?", timeout_s=2.0)
    assert asker.wait() is False, "nobody speaks with the person"


def test_only_an_answer_that_names_the_open_question_counts(graph, asker):
    name = asker.node.get_name()
    answers, questions = graph.publisher(String, f"/{name}/answer"), graph.collect(String, f"/{name}/question", LATCHED)
    asker.ask()
    wait_until(lambda: questions and Asked.parse(questions[-1].data).is_open, "the question")
    first = Asked.parse(questions[-1].data)
    assert (first.text, first.timeout_s) == ("Pick the red cup?", 60.0)
    asker.interrupted = True
    assert asker.wait() == "interrupted"
    asker.ask()
    for wrong in ("yes", "[]", "{}", json.dumps({"id": first.id, "yes": "true"}), "[" * 100_000):
        answers.publish(String(data=wrong))
    answers.publish(message_of(Answer(first.id, True)))
    answers.publish(message_of(Answer("", True)))
    wait_until(lambda: Asked.parse(questions[-1].data).id != first.id, "the second question")
    assert asker.inquiry.is_open
    answers.publish(message_of(Answer(Asked.parse(questions[-1].data).id, True)))
    assert asker.wait() is True


class Gap(threading.Condition):
    """Does something as soon as who asks has seen the answer and let go."""

    def __init__(self, inquiry, deed):
        super().__init__()
        self._inquiry, self._deed = inquiry, deed

    def __exit__(self, *arguments):
        super().__exit__(*arguments)
        if threading.current_thread().name == "asking" and self._inquiry._value is not None and self._deed is not None:
            deed, self._deed = self._deed, None
            deed()


def test_a_no_right_after_the_yes_answers_nothing(asker):
    """It was taken as a second answer to a question that was over, and nobody heeded it: the node must end what the yes began."""
    inquiry, taken = asker.inquiry, []
    inquiry._changed = Gap(inquiry, lambda: taken.append(inquiry.give(False)))
    asked = threading.Thread(target=lambda: taken.append(inquiry.ask("Pick the red cup?", 60.0, lambda: None)), name="asking", daemon=True)
    asked.start()
    wait_until(lambda: inquiry.is_open, "the question")
    assert inquiry.give(True)
    asked.join(30.0)
    assert taken == [False, True]


def test_a_yes_in_the_last_moment_counts_if_it_was_taken(asker, monkeypatch):
    """Who gave it was told that it had been taken, and nothing happened."""
    taken, turns = [], iter([0.0])

    def monotonic():
        if (now_s := next(turns, None)) is None:
            taken.append(asker.inquiry.give(True))
        return float("inf") if now_s is None else now_s

    monkeypatch.setattr("roboref_node.ros.inquiry.time", SimpleNamespace(monotonic=monotonic))
    answer = asker.inquiry.ask("Pick the red cup?", 60.0, lambda: None)
    monkeypatch.undo()
    assert taken[:1] == [answer] == [True]


def test_a_node_that_asks_and_is_started_anew_asks_nothing(graph, ears, asker):
    asker.ask()
    ears.wait_said("Yes or no: Pick the red cup?")
    asker.node.create_publisher(String, "~/question", LATCHED).publish(message_of(Asked("", False, "", 0.0)))
    wait_until(lambda: any(json.loads(m.data)["event"] == "dropped" for m in ears.events), "the end of the question")
    ears.type("yes")
    ears.type("pick up the blue cup")  # answered after the yes
    ears.wait_said("Yes or no: Pick up the blue cup?")
    assert asker.inquiry.is_open, "nobody answered it"


def test_what_is_no_question_is_ignored(graph, asker, ears):
    questions = graph.publisher(String, f"/{asker.node.get_name()}/question", LATCHED)
    for wrong in ("", "[]", '{"id": "a"}', '{"id": "a", "is_open": true, "text": "Pick?", "timeout_s": NaN}', "[" * 100_000):
        questions.publish(String(data=wrong))
    asker.ask()
    ears.wait_said("Yes or no: Pick the red cup?")
    ears.type("yes")
    assert asker.wait() is True


def test_a_spoken_yes_answers_the_question(graph, asker):
    for module in ("pocketsphinx", "silero_vad"):
        pytest.importorskip(module, reason="pip install 'roboref[speech]'")
    if shutil.which("flite") is None:
        pytest.skip("the program flite is not installed: sudo apt-get install -y flite")
    from roboref_node.ros.audio import AudioPlayer
    from roboref_node.speech.synthesis import Synthesiser

    voice = Synthesiser("flite:slt")
    node = Ears(graph, "hearing", asker, "source:=topic")
    player = AudioPlayer(graph.node, "/audio")
    wait_until(lambda: player.listeners, "a listener of audio")
    player.silence(0.3)
    player.play(voice("yes"))
    asker.ask()
    node.wait_said("Yes or no: Pick the red cup?")
    assert asker.inquiry.is_open, "the yes before it"
    player.play(voice("yes"))
    assert asker.wait() is True
    stopped = threading.Event()
    graph.node.create_service(Trigger, "/pick_place/stop", lambda request, response: (stopped.set(), response)[1])
    asker.ask()
    node.wait_said("Yes or no: Pick the red cup?", times=2)
    player.play(voice("stop"))
    assert asker.wait() is False
    assert node.process.end() == 0, node.process.log_end
