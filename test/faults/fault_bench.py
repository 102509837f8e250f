"""The bench that faults are injected at: a refer process, a camera and a model server that can be spoilt, and all that comes out."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np
from asker import REFER, Asker
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from fault_camera import BOX_M, BOX_PX, FaultyCamera
from fault_server import FaultyServer
from geometry_msgs.msg import PoseStamped
from lifecycle_msgs.msg import State, Transition
from live_graph import wait_until
from roboref.msg import Referral

POSES = ("grasp_pose", "pregrasp_pose", "place_pose")
POINT, PICK = "point at the red box", "pick up the red box"
"""Points are planned in a millisecond, grasps in fifty: waiting is done with the first, what counts is asked with the second."""

START_S = 120.0
"""Longest start of a process; a machine that is busy with other things takes half a minute to import what it needs."""

LATE = ("FRAME_STALE", "SYNC_SKEW", "TF_STALE")
"""What a question is told when the machine is too busy to pass images on in time."""

ATTEMPTS = 3
"""A time to notice is measured again when the machine was too busy for it; the best counts."""


@dataclass(frozen=True)
class Played:
    """What one fault came to.

    Args:
        status: Status of the answers while it lasted.
        sentence: One of their sentences.
        noticed_s: From the injection to the entry of /diagnostics, or to the first answer.
        recovered_s: From the mending to the first right answer.
    """

    status: str
    sentence: str
    noticed_s: float
    recovered_s: float


class Bench:
    """One refer process with everything around it.

    Args:
        graph: The test's node and processes.
        folder: Where model files go.
        name: Node name.
        namespace: Namespace of the node and its camera, "" for none.
        parameters: Further parameters of the node, ``name:=value``.
        remaps: Further remappings, ``from:=to``.
        patience_s: How long the node waits for its model server to say something; twice as long for all of its answer.
    """

    def __init__(self, graph, folder, *, name="faulted", namespace="", parameters=(), remaps=(), patience_s=0.5):
        self.graph, self.folder, self.instruction = graph, folder, POINT
        self.server = FaultyServer()
        self.camera = FaultyCamera(graph, namespace)
        self.model_file = folder / f"server_{name}.yaml"
        self.model_file.write_text(
            f"backend: roborefer_server\ndepth: none\nhttp:\n  url: {self.server.url}\n  connect_timeout_s: 0.5\n"
            f"  read_timeout_s: {patience_s}\n  total_timeout_s: {2 * patience_s}\n"
            "  retries: 1\n  retry_wait_s: 0.01\n  max_response_bytes: 65536\n"
        )
        self.node = f"{namespace}/{name}"
        # Faults follow each other faster than any person asks.
        settings = [f"model:={self.model_file}", "frame_timeout_s:=0.3", "max_questions_hz:=1000.0", *parameters]
        self.arguments = ["--ros-args", "-r", f"__node:={name}", *(["-r", f"__ns:={namespace}"] if namespace else [])]
        self.arguments += [x for setting in settings for x in ("-p", setting)] + [x for rule in remaps for x in ("-r", rule)]
        self.start()
        self.referrals, self.goals, self._entries = [], [], []
        node = graph.node
        for pose in POSES:
            node.create_subscription(PoseStamped, f"{self.node}/{pose}", lambda m, pose=pose: self.goals.append((pose, m)), 50)
        node.create_subscription(Referral, f"{self.node}/referral", self.referrals.append, 50)
        node.create_subscription(DiagnosticArray, "/diagnostics", lambda m: self._entries.append((time.monotonic(), m)), 50)

    def start(self):
        """Start the process, anew after it was killed."""
        self.process = self.graph.start(REFER, *self.arguments)
        wait_until(lambda: "active: model" in self.process.log, lambda: f"an active node\n{self.process.log}", START_S)
        self.asker = Asker(self.graph, self.process, self.node)
        self._injected_s = time.monotonic()
        return self

    # ---- questions ---------------------------------------------------------------------------------------------------------------

    def look(self, pixel=BOX_PX, **fields):
        """What is at a pixel; the model is not asked."""
        return self.asker.look_at(pixel, **{"instruction": self.instruction, **fields})

    def ask(self, text="", **fields):
        """A question that needs the model, as an action goal."""
        return self.asker.result_of(self.asker.send(text or self.instruction, **fields)).result.referrals[0]

    def send_to_model(self, text="point at the red box"):
        """The handle of a goal that the model server has been asked about."""
        for _ in range(10):
            asked = self.server.asked
            handle = self.asker.send(text)
            deadline = time.monotonic() + 3.0
            while time.monotonic() < deadline:
                if self.server.asked > asked:
                    return handle
                time.sleep(0.005)
        raise AssertionError(f"the server was never asked\n{self.process.log_end}")

    def right(self, referral):
        """True when `referral` is the goal on the box, with nothing in it that is not a number."""
        if referral.status != Referral.OK:
            return False
        p, goal = referral.position, referral.goal.pose
        numbers = [p.x, p.y, p.z, goal.position.x, goal.position.y, goal.position.z, goal.orientation.w, *referral.covariance]
        return all(map(math.isfinite, numbers)) and bool(np.allclose([p.x, p.y, p.z], BOX_M, atol=0.006))

    # ---- faults ------------------------------------------------------------------------------------------------------------------

    def mend(self):
        """Undo all faults of camera and server."""
        self.camera.mend()
        self.server.mend()

    def wait_until_right(self, ask=None):
        """Wait for a right answer; returns how long that took, in seconds."""
        started, answers = time.monotonic(), []

        def is_right():
            answers.append((ask or self.look)())
            return self.right(answers[-1])

        wait_until(is_right, lambda: f"a right answer, got {answers[-1].status_text}: {answers[-1].sentence}\n{self.process.log_end}")
        return time.monotonic() - started

    def entry(self, concern, since_s=0.0):
        """Newest diagnostics entry of this node and when it came; None before the first after `since_s`."""
        for arrived_s, message in reversed(list(self._entries)):
            if arrived_s < since_s:
                return None
            for status in message.status:
                if status.name == f"{self.node.lstrip('/')}: {concern}":
                    return arrived_s, status
        return None

    def wait_for_concern(self, concern, well, since_s=0.0):
        """Wait for an entry that is OK (`well`) or not; returns when it came and the entry."""

        def found():
            entry = self.entry(concern, since_s)
            return entry if entry is not None and (entry[1].level == DiagnosticStatus.OK) is well else None

        return wait_until(found, lambda: f"{concern} {'' if well else 'not '}OK, last {self.entry(concern)}\n{self.process.log_end}")

    def play(self, fault):
        """Inject one fault, watch it, mend it.

        Raises:
            AssertionError: The status, the sentence, the time to notice or the recovery is wrong, or a goal got out.
        """
        for _ in range(ATTEMPTS):
            try:
                played = self._play(fault)
            except BaseException:  # the next fault must find a healthy bench
                self.mend()
                if fault.mend is not None:
                    fault.mend(self)
                raise
            if played.noticed_s <= fault.within_s:
                break
        assert played.noticed_s <= fault.within_s, f"{fault.id}: noticed after {played.noticed_s:.2f} s, not within {fault.within_s:g} s"
        assert self.process.alive, self.process.log_end
        return played

    def _play(self, fault):
        self.instruction = POINT
        self.mend()
        self.wait_until_right()
        if fault.concern:
            self.wait_for_concern(fault.concern, well=True)
        self._injected_s = time.monotonic()
        ask = fault.inject(self) or self.look
        injected_s = self._injected_s
        noticed_s = math.inf
        if fault.concern:
            arrived_s, entry = self.wait_for_concern(fault.concern, well=False, since_s=injected_s)
            noticed_s = arrived_s - injected_s
            assert len(entry.message) > 5, f"{fault.id}: no hint at {fault.concern}"
        answers = []

        def settled():
            asked_s = time.monotonic()
            answers.append((asked_s, ask(), time.monotonic()))
            answer = answers[-1][1]
            # What the fault before this one has left in the buffers may be refused first, for its own reason.
            return answer.status_text == fault.status and fault.explains(answer.sentence)

        wait_until(
            settled,
            lambda: (
                f"{fault.id}: {fault.status} with {fault.sentence!r}, got {[(a.status_text, a.sentence) for _, a, _ in answers[-3:]]}\n"
                f"{self.process.log_end}"
            ),
        )
        asked_s, answer, answered_s = answers[-1]
        if not fault.concern:
            noticed_s = answered_s - asked_s
        self.instruction = PICK
        if fault.once:
            pass
        elif fault.harmless:
            answer = self._in_time(fault, ask)
            assert not isinstance(answer, Referral) or self.right(answer), f"{fault.id}: {answer.status_text}: {answer.sentence}"
        else:
            self._ask_in_vain(fault, ask)
        self.instruction = POINT
        mended_s = time.monotonic()
        self.mend()
        if fault.mend is not None:
            fault.mend(self)
        self.wait_until_right()
        recovered_s = time.monotonic() - mended_s
        self.check_goals()
        return Played(answer.status_text, answer.sentence, round(noticed_s, 2), round(recovered_s, 2))

    def _ask_in_vain(self, fault, ask):
        """Ask twice more while the fault lasts: the same status, and not one pose on any topic."""
        count = len(self.goals)
        for _ in range(2):
            answer = self._in_time(fault, ask)
            assert answer.status_text == fault.status, f"{fault.id}: then {answer.status_text}: {answer.sentence}"
            goal = getattr(answer, "goal", None)
            assert goal is None or goal.header.frame_id == "", f"{fault.id}: a refusal with a goal"
        late = [name for name, _ in self.goals[count:]]
        assert not late, f"{fault.id}: {late} published"

    def _in_time(self, fault, ask):
        """The answer; asked again when a busy machine has held images or transforms up, which is a fault of its own."""
        for _ in range(20):
            answer = ask()
            if answer.status_text == fault.status or answer.status_text not in LATE:
                break
        return answer

    def check_goals(self):
        """Every pose that was ever published belongs to a referral whose status is OK."""

        def told():
            good = [r for r in list(self.referrals) if r.status == Referral.OK]
            return [(name, pose) for name, pose in list(self.goals) if not any(pose in (r.goal, r.approach) for r in good)]

        wait_until(lambda: not told(), lambda: f"a referral for each goal, but {told()[:2]} has none")
        self.goals.clear()
        self.referrals.clear()

    # ---- lifecycle ---------------------------------------------------------------------------------------------------------------

    def reactivate(self, **parameters):
        """Deactivate, set parameters that are fixed while configured, activate again."""
        if self.asker.state() == State.PRIMARY_STATE_ACTIVE:
            assert self.asker.change_state(Transition.TRANSITION_DEACTIVATE), self.process.log_end
        if parameters:
            if self.asker.state() == State.PRIMARY_STATE_INACTIVE:
                assert self.asker.change_state(Transition.TRANSITION_CLEANUP)
            for name, value in parameters.items():
                assert self.asker.set(name, value).successful
            assert self.asker.change_state(Transition.TRANSITION_CONFIGURE), self.process.log_end
        active = self.asker.change_state(Transition.TRANSITION_ACTIVATE)
        self._injected_s = time.monotonic()  # a fault that needs a fresh node counts from its activation
        return active

    def close(self):
        """End everything."""
        self.camera.close()
        self.server.stop()
        self.process.kill()
