"""Picking one object: refer, look whether it is still there, grasp, look whether it has left its place."""

from __future__ import annotations

import numpy as np

from roboref_node.arm import Motion, MotionKind, MotionResult, Stage
from roboref_node.arm import Outcome as MotionOutcome
from roboref_node.goals.grasp import GraspCandidate
from roboref_node.goals.place import HeldObject
from roboref_node.pick_place.hand import UNKNOWN, Held, next_grasp
from roboref_node.pick_place.outcome import Ended, Outcome, State
from roboref_node.pick_place.ports import Look
from roboref_node.pick_place.session import FAILED, Session
from roboref_node.pick_place.verification import Presence, Sighting, presence, sight
from roboref_node.referral import Referral
from roboref_node.status import Refused, Status
from roboref_node.task import Task

_BEFORE_CONTACT = frozenset({Stage.PLAN, Stage.OPEN, Stage.APPROACH})
"""Stages of a motion in which the object should still stand where it stood."""
_HOPELESS = frozenset({Status.NOT_FOUND, Status.UNPARSEABLE, Status.AMBIGUOUS, Status.BAD_REQUEST, Status.MODEL_UNAVAILABLE})
"""Refusals of a place that taking the object away cannot mend."""


class Pick:
    """One PICK of a sentence.

    Args:
        session: The sentence.
        task: What to pick.
        place: The PLACE that follows in the sentence, or None.
    """

    def __init__(self, session: Session, task: Task, place: Task | None) -> None:
        self._session, self._settings = session, session.settings
        self._task, self._place = task, place
        self._tried: list[GraspCandidate] = []
        self._seen: Sighting | None = None
        self._failure: Ended | None = None
        self._asks = 0

    def run(self) -> str:
        """Pick it; returns a sentence.

        Raises:
            Ended: It did not work.
        """
        session, name = self._session, self._task.expression
        self._know_hand()
        while True:
            referral, seen = self._find()
            grasp = next_grasp(referral.grasps, self._tried)
            if grasp is None:
                raise self._failure or Ended(Outcome.UNREACHABLE, f"there is no grasp for {name}")
            held = HeldObject.of_grasp(seen.segment, grasp, seen.goal_from_optical)
            self._ask_ahead(held)
            session.ask_person(f"Pick {name}?")
            # A pick begins with opened fingers: what they hold would fall.
            session.know_gripper()
            self._check_hand()
            session.enter(State.VERIFY, f"is {name} still there?")
            # What hides it may be somebody's arm: nothing reaches there before it is seen again.
            if self._wait_for_view(seen, referral.stamp_ns).there_of_visible < self._settings.min_present:
                self._ask_again("before the arm moved")
                continue
            session.enter(State.MOVE, f"pick {name}: {grasp.kind} grasp, score {grasp.score:.2f}")
            motion = Motion(MotionKind.PICK, grasp.pregrasp, grasp.pose, grasp.width_m)
            result = session.move(motion, _Witness(self, seen), taking=Held(name, held, seen))
            if result.holding:
                # Also when the arm was blocked or stopped on the way up: another attempt would drop it.
                try:
                    return self._verify(seen)
                except Ended as end:
                    if end.outcome is not Outcome.LOST:
                        raise
                    self._fail(grasp, end)
            elif result.outcome is MotionOutcome.CANCELED:
                self._ask_again("while the arm approached")
            else:
                self._fail(grasp, self._name(seen, result))

    def _know_hand(self) -> None:
        """Refuse while something is held; what was held before may have been taken by a person, and then the hand is free."""
        if self._session.held is not None:
            try:
                self._session.know_gripper()
            except Ended as end:
                if end.outcome is not Outcome.LOST:
                    raise
        self._check_hand()

    def _check_hand(self) -> None:
        held = self._session.held
        if held is not None:
            raise Ended(
                Outcome.HAND_FULL, f"asked to pick {self._task.expression} while the gripper holds {held.name}: put that down first"
            )

    def has_moved(self, seen: Sighting, look: Look) -> bool:
        """True when enough of the object is in view and too little of that is where it was."""
        found = presence(seen.telling_m, look, seen.within_m)
        return found.visible >= self._settings.min_visible and found.there_of_visible < self._settings.min_present

    def _find(self) -> tuple[Referral, Sighting]:
        """Where the object is now; a refusal after a failure counts as that failure."""
        try:
            referral, look = self._session.refer(self._task)
            seen = self._sight(referral, look)
        except Ended as end:
            if self._failure is None or end.outcome is not Outcome.REFUSED:
                raise
            raise Ended(self._failure.outcome, f"{self._failure.sentence}; asked again: {end.sentence}") from end
        if self._seen is not None and float(np.linalg.norm(seen.centre_m - self._seen.centre_m)) > self._settings.jump_m:
            self._tried.clear()
        self._seen = seen
        return referral, seen

    def _sight(self, referral: Referral, look: Look) -> Sighting:
        if referral.pixel is None:
            raise Ended(Outcome.REFUSED, f"the answer for {self._task.expression} has no pixel")
        try:
            return sight(look, (referral.pixel.u_px, referral.pixel.v_px), self._settings.presence_tolerance_m)
        except Refused as refused:
            raise Ended(Outcome.REFUSED, f"{refused.status.value}: {refused.sentence}") from refused

    def _ask_ahead(self, held: HeldObject) -> None:
        """Refuse an impossible place while the gripper is still empty."""
        session, place = self._session, self._place
        if place is None or session.place_ahead is not None or not self._settings.ask_ahead:
            return
        session.enter(State.REFER, f"is there a place {place.expression}?")
        referral, _ = session.ask(place, held)
        if referral.status in _HOPELESS:
            raise Ended(Outcome.REFUSED, f"{referral.status.value}: {referral.sentence}")
        session.place_ahead = referral.position_m if referral.ok else None

    def _ask_again(self, when: str) -> None:
        """The object is not where it was.

        Raises:
            Ended: OBJECT_MOVED when it has been asked for often enough.
        """
        sentence = f"{self._task.expression} moved {when}"
        self._failure = Ended(Outcome.OBJECT_MOVED, sentence)
        if self._asks >= self._settings.max_asks:
            raise Ended(Outcome.OBJECT_MOVED, f"{sentence}, once more than loop.max_asks = {self._settings.max_asks} allows")
        self._asks += 1
        self._session.enter(State.RETRY, f"{sentence}: asked again")

    def _fail(self, grasp: GraspCandidate, failure: Ended) -> None:
        """Make ready for another candidate.

        Raises:
            Ended: With the failure's name, when it was the last attempt.
        """
        session = self._session
        self._tried.append(grasp)
        self._failure = failure
        if session.attempt >= self._settings.max_attempts:
            raise Ended(failure.outcome, f"{failure.sentence} (attempt {session.attempt} of loop.max_attempts)")
        session.attempt += 1
        session.enter(State.RETRY, failure.sentence)

    def _name(self, seen: Sighting, result: MotionResult) -> Ended:
        name = self._task.expression
        failed = FAILED.get(result.outcome, Outcome.GRIPPER_EMPTY)
        sentence = result.sentence or f"nothing is between the fingers after the pick of {name}"
        if failed is not Outcome.GRIPPER_EMPTY:
            return Ended(failed, sentence)
        self._session.clear_view()
        self._session.enter(State.VERIFY, f"where is {name} now?")
        found = presence(seen.telling_m, self._session.look_again(), seen.within_m)
        if found.visible >= self._settings.min_visible and found.gone_of_visible >= self._settings.min_gone:
            return Ended(Outcome.KNOCKED_AWAY, f"{name} left its place and is not in the gripper: {sentence}")
        return Ended(failed, sentence)

    def _verify(self, seen: Sighting) -> str:
        session, settings, name = self._session, self._settings, self._task.expression
        session.clear_view()
        session.enter(State.VERIFY, f"has {name} left its place?")
        found = self._wait_for_view(seen)
        if found.gone_of_visible < settings.min_gone:
            session.held = UNKNOWN
            raise Ended(
                Outcome.STILL_THERE,
                f"the gripper holds something, but only {found.gone_of_visible:.0%} of {name} have left the place "
                f"(loop.min_gone = {settings.min_gone:g})",
            )
        return f"{name} is in the gripper; {found.gone_of_visible:.0%} of what was seen of it have left the place"

    def _wait_for_view(self, seen: Sighting, newer_than_ns: int = 0) -> Presence:
        look = self._session.wait_for_view(seen.telling_m, f"the place of {self._task.expression}", newer_than_ns)
        return presence(seen.telling_m, look, seen.within_m)


class _Witness:
    """Sees the object leave its place while the arm is still on its way to it."""

    def __init__(self, pick: Pick, seen: Sighting) -> None:
        self._pick, self._seen = pick, seen
        self._eyes = pick._session.eyes
        self._stamp_ns = 0

    def __call__(self, stage: Stage) -> bool:
        if stage not in _BEFORE_CONTACT:
            return False
        look = self._eyes.glance()
        if look is None or look.frame.stamp_ns <= self._stamp_ns:
            return False
        self._stamp_ns = look.frame.stamp_ns
        return self._pick.has_moved(self._seen, look)
