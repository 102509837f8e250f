"""Questions waiting for the one worker thread that answers them, and who gives way to whom.

The policy: one question is answered at a time, in the order of arrival. A spoken instruction (topic) replaces an instruction
that is still waiting, because the speaker has changed their mind; it does not interrupt the one being answered. Action goals
never replace each other: they queue up to a limit and are refused beyond it. A cancel takes effect at the next stage.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from roboref_node.status import Refused, Status

if TYPE_CHECKING:
    from roboref.msg import Referral as ReferralMessage

    from roboref_node.goals.place import HeldObject


@dataclass(eq=False)
class Request:
    """One question and the way back to who asked it.

    Args:
        instruction: The sentence.
        role: As in `parse_instruction`.
        target_frame: Frame of the answer, "" = the profile's goal frame.
        stamp_ns: Stamp of the wanted image, 0 = newest.
        pixel: Skips the model.
        held: What the gripper holds now, for places.
        replaceable: True for instructions from the topic: a later one takes its place while it waits.
        finish: Called exactly once, on any thread, with the answers.
        feedback: Called with the stage and the index of the task.
    """

    instruction: str
    finish: Callable[[Request, Sequence[ReferralMessage]], None]
    role: str = ""
    target_frame: str = ""
    stamp_ns: int = 0
    pixel: tuple[float, float] | None = None
    held: HeldObject | None = None
    replaceable: bool = False
    feedback: Callable[[str, int], None] = lambda stage, index: None
    canceled: threading.Event = field(default_factory=threading.Event)
    arrived_s: float = field(default_factory=time.monotonic)
    cancel_reason: str = "canceled by the client"


class RequestQueue:
    """Runs `answer` on a thread of its own for each request.

    Args:
        answer: Answers one request by calling its ``finish``; must not raise.
        refuse: Answers one request with a refusal, without work.
    """

    def __init__(self, answer: Callable[[Request], None], refuse: Callable[[Request, Refused], None]) -> None:
        self._answer = answer
        self._refuse = refuse
        self._waiting: deque[Request] = deque()
        self._running: Request | None = None
        self._stopping = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="roboref_worker", daemon=True)

    def start(self) -> None:
        """Start answering."""
        self._thread.start()

    def submit(self, request: Request, *, max_queue: int) -> None:
        """Put a request in line.

        Raises:
            Refused: CANCELED when the queue is stopped or `max_queue` goals wait already. The request is then not accepted.
        """
        replaced = []
        with self._changed:
            if self._stopping:
                raise Refused(Status.CANCELED, "the node is not active")
            refused = None if request.replaceable else self.full(max_queue)
            if refused is not None:
                raise refused
            if request.replaceable:
                replaced = [waiting for waiting in self._waiting if waiting.replaceable]
                self._waiting = deque(waiting for waiting in self._waiting if not waiting.replaceable)
            self._waiting.append(request)
            self._changed.notify()
        for old in replaced:
            self._refuse(old, Refused(Status.CANCELED, f'replaced by the later instruction "{request.instruction[:80]}"'))

    def full(self, max_queue: int) -> Refused | None:
        """The reason why one more goal would not be accepted now, or None."""
        with self._changed:
            goals = sum(not waiting.replaceable for waiting in self._waiting)
        if goals < max_queue:
            return None
        return Refused(Status.CANCELED, f"{goals} goals are waiting already, the limit is max_queue = {max_queue}", waiting=goals)

    @property
    def waiting(self) -> int:
        """Requests that wait."""
        with self._changed:
            return len(self._waiting)

    def cancel(self, request: Request, reason: str) -> None:
        """Stop a request at its next stage; one that still waits is answered at once."""
        request.cancel_reason = reason
        request.canceled.set()
        with self._changed:
            waiting = request in self._waiting
            if waiting:
                self._waiting.remove(request)
        if waiting:
            self._refuse(request, Refused(Status.CANCELED, reason))

    def cancel_all(self, reason: str) -> int:
        """Stop what runs at its next stage and answer all that waits with CANCELED; how many there were."""
        with self._changed:
            waiting, self._waiting = list(self._waiting), deque()
            running = self._running
            if running is not None:
                running.cancel_reason = reason
                running.canceled.set()
        for request in waiting:
            self._refuse(request, Refused(Status.CANCELED, reason))
        return len(waiting) + (running is not None)

    def stop(self, reason: str, timeout_s: float) -> bool:
        """Answer everything that waits with CANCELED, stop what runs at its next stage and end the thread.

        Returns:
            False when the thread was still busy after `timeout_s`.
        """
        with self._changed:
            self._stopping = True
            waiting, self._waiting = list(self._waiting), deque()
            if self._running is not None:
                self._running.cancel_reason = reason
                self._running.canceled.set()
            self._changed.notify()
        for request in waiting:
            self._refuse(request, Refused(Status.CANCELED, reason))
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._stopping:
                    self._changed.wait()
                if self._stopping:
                    return
                request = self._running = self._waiting.popleft()
            self._answer(request)
            with self._changed:
                self._running = None
