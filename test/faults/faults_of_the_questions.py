"""Faults of what is asked: instructions, fields of a goal, too many at once, cancels, parameters, lifecycle."""

from __future__ import annotations

import json
import subprocess
import sys
import time

from fault_camera import BOX_PX
from fault_spoiling import nothing, restart_node
from fault_table import HARMLESS, Outcome, fault
from lifecycle_msgs.msg import State, Transition
from live_graph import ROOT, wait_until

INSTRUCTION_GROUP, GOAL_GROUP, NODE_GROUP = "Instructions", "Goals", "Parameters and lifecycle"


# ---- instructions ----------------------------------------------------------------------------------------------------------------


def _goal(text):
    return lambda bench: lambda: bench.ask(text)


def _spoken(text):
    def inject(bench):
        def say():
            count = len(bench.referrals)
            bench.asker.say(text)
            wait_until(lambda: bench.referrals[count:], lambda: f"an answer to {text[:40]!r}\n{bench.process.log_end}")
            return bench.referrals[count]

        return say

    return inject


for name, what, text, sentence in (
    ("empty", "An empty instruction", " \t ", r"the instruction is empty"),
    ("punctuation", "An instruction without a letter", "?! 123 ...", r"the instruction is empty"),
    ("long", "An instruction of 10 000 characters", "pick up the cup " * 625, r"10000 characters, the limit is 500"),
    ("control", "Control characters only", "\x01\x02\x1b[2J\x7f", r"understood|empty"),
    ("chinese", "Another script", "拿起红色的杯子", r'"拿起红色的杯子" is not understood'),
    ("arabic", "Another script, written from right to left", "التقط الكوب الأحمر", r"is not understood"),
    ("emoji", "Pictures instead of words", "🤖🥤👉📦", r"the instruction is empty"),
    ("chatter", "A sentence that asks for nothing", "blorp frobnicator yes no", r"is not understood; say for example"),
    ("pronoun", "A sentence that names nothing", "pick it up", r"does not say what; say for example"),
    ("json", "Markup instead of a sentence", json.dumps({"cmd": ["rm", "-rf", "/"]}), r"is not understood"),
):
    fault(
        INSTRUCTION_GROUP, f"instruction-{name}", what=what, injection=f"a goal with {text[:24]!r}{'...' if len(text) > 24 else ''}",
        status="BAD_REQUEST", sentence=sentence,
    )(_goal(text))  # fmt: skip

fault(
    INSTRUCTION_GROUP, "instruction-spoken-empty", what="An empty instruction on the topic", injection="~/instruction with ''",
    status="BAD_REQUEST", sentence=r"the instruction is empty",
)(_spoken(""))  # fmt: skip


@fault(
    INSTRUCTION_GROUP, "instruction-control-inside",
    what="Control characters inside a sentence", injection="'pick\\x00up\\tthe\\x1bred box' with a pixel",
    status=HARMLESS, sentence="the red box: pixel", recovery="none needed: they count as spaces",
)  # fmt: skip
def _(bench):
    return lambda: bench.look(instruction=bench.instruction.replace(" ", "\x1b", 1))


@fault(
    INSTRUCTION_GROUP, "role-unknown",
    what="An unknown role", injection="a goal with the role 'juggle'",
    status="BAD_REQUEST", sentence=r"the role 'juggle' is unknown; use one of: point, pick, place, navigate",
)  # fmt: skip
def _(bench):
    return lambda: bench.look(role="juggle")


@fault(
    INSTRUCTION_GROUP, "role-of-another-robot",
    what="An arm that is told to walk", injection="'go to the red box' to the profile ur5",
    status="BAD_REQUEST", sentence=r"robot 'ur5' is an arm",
)  # fmt: skip
def _(bench):
    return lambda: bench.look(instruction="go to the red box")


@fault(
    INSTRUCTION_GROUP, "instruction-replaced", bench="second",
    what="Two instructions at once",
    injection="three instructions on the topic while the server thinks: the second is replaced by the third",
    status="CANCELED", sentence=r'replaced by the later instruction "point at the third box"', within_s=5.0,
)  # fmt: skip
def _(bench):
    def ask():
        bench.server.behave = bench.server.hang
        count = len(bench.referrals)
        asked = bench.server.asked
        bench.asker.say("point at the first box")
        wait_until(lambda: bench.server.asked > asked, "the server being asked")
        bench.asker.say("point at the second box")
        bench.asker.say("point at the third box")
        found = lambda: [r for r in bench.referrals[count:] if r.instruction == "point at the second box"]  # noqa: E731
        wait_until(found, "the second answer")
        bench.server.mend()
        wait_until(lambda: len(bench.referrals) >= count + 3, "all three answers")
        return found()[0]

    return ask


# ---- goals -----------------------------------------------------------------------------------------------------------------------


@fault(
    GOAL_GROUP, "queue-full", bench="second",
    what="Questions faster than answers",
    injection="max_queue:=2 and four goals while the server thinks: the fourth is rejected, three are answered",
    status="CANCELED", sentence=r"2 goals are waiting already, the limit is max_queue = 2", within_s=5.0,
    mend=lambda bench: bench.asker.set("max_queue", 4),
)  # fmt: skip
def _(bench):
    assert bench.asker.set("max_queue", 2).successful

    def ask():
        bench.server.behave = bench.server.hang
        accepted = [bench.send_to_model(), *(bench.asker.send("point at the red box") for _ in range(2))]
        count = len(bench.referrals)
        rejected = bench.asker.send("point at the fourth box")
        assert not rejected.accepted
        found = lambda: [r for r in bench.referrals[count:] if "fourth" in r.instruction]  # noqa: E731
        wait_until(found, "the refusal on ~/referral")
        bench.server.mend()
        for handle in accepted:
            assert bench.asker.result_of(handle).result.referrals[0].status_text == "OK"
        return found()[0]

    return ask


def canceled(bench, handle, ready):
    """The answer to a goal that is canceled once `ready()`."""
    wait_until(ready, "the stage to cancel at")
    cancel = bench.graph.do(handle.cancel_goal_async)
    wait_until(cancel.done, "the cancel's answer")
    result = bench.asker.result_of(handle)
    assert result.status == 5, result.status  # action_msgs/GoalStatus.STATUS_CANCELED
    return result.result.referrals[0]


@fault(
    GOAL_GROUP, "cancel-waiting", bench="second",
    what="A goal is canceled while it waits in the queue", injection="cancel of the second of two goals while the server thinks",
    status="CANCELED", sentence="canceled by the client", within_s=5.0,
)  # fmt: skip
def _(bench):
    def ask():
        bench.server.behave = bench.server.hang
        first = bench.send_to_model()
        answer = canceled(bench, bench.asker.send("pick up the red box"), lambda: True)
        bench.server.mend()
        bench.asker.result_of(first)
        return answer

    return ask


def _stage(stage, **fields):
    def ask(bench):
        stages = []
        handle = bench.asker.send("pick up the red box", feedback=lambda m: stages.append(m.feedback.stage), **fields)
        return canceled(bench, handle, lambda: stage in stages)

    return ask


@fault(
    GOAL_GROUP, "cancel-frame",
    what="A goal is canceled while it waits for an image",
    injection="the camera stands still, frame_timeout_s:=20, cancel at the stage 'frame'",
    status="CANCELED", sentence="canceled by the client", within_s=5.0, mend=lambda bench: bench.asker.set("frame_timeout_s", 0.3),
)  # fmt: skip
def _(bench):
    assert bench.asker.set("frame_timeout_s", 20.0).successful
    bench.camera.spoil["color"] = nothing
    restart_node(bench)
    return lambda: _stage("frame")(bench)


@fault(
    GOAL_GROUP, "cancel-transform",
    what="A goal is canceled while it waits for a transform", injection="unknown frame, tf_timeout_s:=20, cancel at the stage 'transform'",
    status="CANCELED", sentence="canceled by the client", within_s=5.0, mend=lambda bench: bench.asker.set("tf_timeout_s", 0.5),
)  # fmt: skip
def _(bench):
    assert bench.asker.set("tf_timeout_s", 20.0).successful
    return lambda: _stage("transform", use_pixel=True, pixel=list(BOX_PX), target_frame="moon")(bench)


@fault(
    GOAL_GROUP, "cancel-model", bench="second",
    what="A goal is canceled while the model thinks", injection="the server is silent, cancel when it has been asked",
    status="CANCELED", sentence="canceled by the client", within_s=5.0,
)  # fmt: skip
def _(bench):
    bench.server.behave = bench.server.hang

    def ask():
        return canceled(bench, bench.send_to_model("pick up the red box"), lambda: True)

    return ask


@fault(
    GOAL_GROUP, "cancel-afterwards",
    what="A cancel that comes too late", injection="cancel of a goal that has its result",
    status="rejected", sentence="0 goals canceled",
)  # fmt: skip
def _(bench):
    def ask():
        handle = bench.asker.send("point at the red box", use_pixel=True, pixel=list(BOX_PX))
        bench.asker.result_of(handle)
        cancel = bench.graph.do(handle.cancel_goal_async)
        wait_until(cancel.done, "the cancel's answer")
        return Outcome("rejected", f"{len(cancel.result().goals_canceling)} goals canceled")

    return ask


CLIENT = """
import sys, rclpy
from rclpy.action import ActionClient
from roboref.action import Refer
rclpy.init()
node = rclpy.create_node("dying_client")
client = ActionClient(node, Refer, sys.argv[1])
client.wait_for_server()
future = client.send_goal_async(Refer.Goal(instruction="point at the red box"))
rclpy.spin_until_future_complete(node, future)
print("accepted", flush=True)
rclpy.spin(node)
"""


@fault(
    GOAL_GROUP, "client-dies",
    what="The client dies", injection="a client process is killed (-9) while the server thinks about its goal",
    status=HARMLESS, sentence="the red box: pixel", recovery="none needed: the goal is answered into the void, the next one is answered",
)  # fmt: skip
def _(bench):
    bench.server.behave = bench.server.hang
    client = subprocess.Popen([sys.executable, "-c", CLIENT, f"{bench.node}/refer"], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert client.stdout.readline().strip() == "accepted"
    finally:
        client.kill()
        client.wait()
        client.stdout.close()
    bench.server.mend()


# ---- parameters and lifecycle ----------------------------------------------------------------------------------------------------


def set_parameter(bench, name, value):
    """What setting a parameter came to."""
    result = bench.asker.set(name, value)
    return Outcome("set" if result.successful else "refused", result.reason)


for name, what, parameter, value, sentence in (
    ("out-of-range", "A parameter out of its range", "max_queue", 0, r"max_queue.*(0|range)"),
    ("wrong-type", "A parameter of the wrong type", "tf_timeout_s", "soon", r"expected 'Type\.DOUBLE' got 'Type\.STRING'"),
    ("nan", "A parameter that is not a number", "tf_timeout_s", float("nan"), r"tf_timeout_s"),
    ("fixed", "A parameter that is fixed while configured", "sync_slop_s", 0.5, r"sync_slop_s is fixed while the node is configured"),
    ("profile", "The robot's profile while configured", "profile.base_frame", "moon",
         r"profile.base_frame is fixed while the node is configured"),
):  # fmt: skip

    def _parameter(parameter=parameter, value=value):
        return lambda bench: lambda: set_parameter(bench, parameter, value)

    fault(
        NODE_GROUP, f"parameter-{name}", what=what, injection=f"{parameter}:={value!r} at run time",
        status="refused", sentence=sentence, recovery="none needed: the value in force stays",
    )(_parameter())  # fmt: skip


@fault(
    NODE_GROUP, "not-active",
    what="A question to a node that is not active", injection="deactivated, then asked on the topic",
    status="CANCELED", sentence=r"the node was deactivated", concern="camera", recovery="activating",
    mend=lambda bench: bench.asker.change_state(Transition.TRANSITION_ACTIVATE),
)  # fmt: skip
def _(bench):
    assert bench.asker.change_state(Transition.TRANSITION_DEACTIVATE)
    return _spoken("pick up the red box")(bench)


@fault(
    NODE_GROUP, "transition-invalid",
    what="An invalid lifecycle transition", injection="'configure' to an active node",
    status=HARMLESS, sentence="the red box: pixel", recovery="none needed: the node goes on as it was",
)  # fmt: skip
def _(bench):
    assert not bench.asker.change_state(Transition.TRANSITION_CONFIGURE)
    assert bench.asker.state() == State.PRIMARY_STATE_ACTIVE


@fault(
    NODE_GROUP, "model-name-unknown",
    what="A model that does not exist", injection="model:=gpt99, then activated",
    status="BAD_REQUEST", sentence=r"There is no model 'gpt99'; known are", concern="model",
    recovery="setting a model that exists, and activating",
    mend=lambda bench: bench.reactivate(model=str(bench.model_file)),
)  # fmt: skip
def _(bench):
    assert not bench.reactivate(model="gpt99")
    return _spoken("pick up the red box")(bench)


@fault(
    NODE_GROUP, "questions-at-full-speed",
    what="The same instruction 200 times at once", injection="200 messages on ~/instruction in a burst",
    status=HARMLESS, sentence="the red box: pixel", recovery="none needed: one is answered, one waits, the others are replaced",
)  # fmt: skip
def _(bench):
    for _ in range(200):
        bench.asker.say("point at the red box")
    deadline = time.monotonic() + 5.0
    wait_until(lambda: bench.server.asked > 0 or time.monotonic() > deadline, "a question")
