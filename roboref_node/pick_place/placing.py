"""Placing what is held: refer on a fresh frame, put down, look whether it stands where it should."""

from __future__ import annotations

import numpy as np

from roboref_node.arm import Motion, MotionKind
from roboref_node.arm import Outcome as MotionOutcome
from roboref_node.geometry.transform import Transform
from roboref_node.pick_place.hand import Held, place_candidates
from roboref_node.pick_place.outcome import Ended, Outcome, State
from roboref_node.pick_place.ports import Look
from roboref_node.pick_place.session import FAILED, Session
from roboref_node.pick_place.verification import Placed, placed
from roboref_node.referral import Referral
from roboref_node.task import Task


class Place:
    """One PLACE of a sentence.

    Args:
        session: The sentence.
        task: Where to put what is held.
    """

    def __init__(self, session: Session, task: Task) -> None:
        self._session, self._settings = session, session.settings
        self._task = task

    def run(self) -> str:
        """Put it down; returns a sentence.

        Raises:
            Ended: It did not work.
        """
        session, where = self._session, self._task.expression
        held = self._what_is_held()
        referral, before = self._confirmed_answer(held)
        failure = Ended(Outcome.UNREACHABLE, f"there is no pose to put {held.name} {where}")
        candidates = place_candidates(referral, held.size)[: self._settings.max_attempts]
        for session.attempt, (goal, approach) in enumerate(candidates, start=1):
            session.enter(State.MOVE, f"put {held.name} {where}")
            result = session.move(Motion(MotionKind.PLACE, approach, goal), lambda stage: False)
            if result.outcome is MotionOutcome.DONE:
                if session.held is not None:
                    raise Ended(Outcome.MISPLACED, f"the gripper has opened and still holds {held.name}: {result.sentence}")
                return self._verify(held, before, goal)
            if session.held is None:
                return self._find_out(held, before, goal, result.sentence)
            failure = Ended(FAILED.get(result.outcome, Outcome.STOPPED), result.sentence)
            if session.attempt < len(candidates):
                session.enter(State.RETRY, f"{result.sentence}: turned")
        raise failure

    def _what_is_held(self) -> Held:
        if self._session.held is None:
            # A person may have put something between the fingers since the last motion.
            self._session.clear_view(always=True)
        if self._session.held is None:
            raise Ended(Outcome.HAND_EMPTY, f"asked to put something {self._task.expression} with an empty gripper: pick something first")
        if self._session.held.size is None:
            raise Ended(
                Outcome.UNKNOWN_OBJECT,
                f"something is in the gripper that was not picked by this node, so that its size is not known and it cannot be put "
                f"{self._task.expression}: take it out by hand",
            )
        return self._session.held

    def _confirmed_answer(self, held: Held) -> tuple[Referral, Look]:
        """An answer that a person agrees to, and that still holds then: a yes may take long.

        Raises:
            Ended: NOT_CONFIRMED, LOST when it was taken out of the gripper meanwhile, UNSTEADY when the place is another one after each
                yes, and what `Session.refer` raises.
        """
        session, settings = self._session, self._settings
        referral, look = self._steady_answer(held)
        if not session.asks_person:
            return referral, look
        for _ in range(settings.max_asks + 1):
            session.ask_person(f"Put {held.name} {self._task.expression}?")
            session.clear_view(always=True)  # only the arm knows whether it still holds it
            agreed = referral.position_m
            referral, look = session.refer(self._task, held.size, newer_than_ns=session.eyes.now_ns())
            apart = _apart_m(agreed, referral.position_m)
            if apart <= settings.jump_m:
                return referral, look
            jumped = self._jumped(apart)
            session.enter(State.RETRY, f"{jumped} while the question was open")
        raise Ended(Outcome.UNSTEADY, f"{jumped} while each of {settings.max_asks + 1} questions was open (loop.max_asks)")

    def _jumped(self, apart_m: float) -> str:
        return f"the place {self._task.expression} jumped by {100 * apart_m:.1f} cm (loop.jump_m = {self._settings.jump_m:g} m)"

    def _steady_answer(self, held: Held) -> tuple[Referral, Look]:
        """An answer that the one before confirms: the scene is not changing.

        Raises:
            Ended: UNSTEADY when the answers keep jumping, and what `Session.refer` raises.
        """
        session, settings = self._session, self._settings
        known, session.place_ahead = session.place_ahead, None
        for ask in range(settings.max_asks + 1):
            referral, look = session.refer(self._task, held.size)
            apart = _apart_m(known, referral.position_m)
            if apart <= settings.jump_m:
                return referral, look
            jumped = self._jumped(apart)
            if ask < settings.max_asks:
                session.enter(State.RETRY, f"{jumped}: asked again")
            known = referral.position_m
        raise Ended(Outcome.UNSTEADY, f"{jumped} in the last of {settings.max_asks + 1} answers (loop.max_asks)")

    def _find_out(self, held: Held, before: Look, goal: Transform, sentence: str) -> str:
        """The motion failed and the gripper is empty: it was lost on the way, or put down before the arm was blocked."""
        try:
            return self._verify(held, before, goal)
        except Ended as end:
            if end.outcome is not Outcome.MISPLACED:
                raise
            raise Ended(Outcome.LOST, f"{held.name} fell out of the gripper: {sentence}; {end.sentence}") from end

    def _verify(self, held: Held, before: Look, goal: Transform) -> str:
        session, settings, name, where = self._session, self._settings, held.name, self._task.expression
        session.clear_view()
        session.enter(State.VERIFY, f"does {name} stand {where}?")
        assert held.size is not None and held.sighting is not None
        found = placed(
            before, session.look_again(), held.size, held.sighting, goal, session.release_height_m, settings.presence_tolerance_m,
            settings.place_tolerance_m,
        )  # fmt: skip
        self._check(found, name, float(held.size.size_m[2]))
        return f"{name} stands {where}, {100 * found.offset_m:.1f} cm from the middle of its place"

    def _check(self, found: Placed, name: str, height_m: float) -> None:
        settings = self._settings
        enough = settings.min_placed_share * found.expected_pixels
        if found.pixels < enough or not np.isfinite(found.offset_m):
            if found.visible < settings.min_visible:
                raise Ended(
                    Outcome.PLACE_UNSEEN,
                    f"{1.0 - found.visible:.0%} of {name} would be hidden at its place (loop.min_visible = {settings.min_visible:g})",
                )
            raise Ended(
                Outcome.MISPLACED,
                f"{found.pixels} new pixels at the place of {name}, needed are {max(enough, 20):.0f} "
                f"(loop.min_placed_share = {settings.min_placed_share:g})",
            )
        if found.offset_m > settings.place_tolerance_m:
            raise Ended(
                Outcome.MISPLACED,
                f"{name} stands {100 * found.offset_m:.1f} cm from its place (loop.place_tolerance_m = {settings.place_tolerance_m:g} m)",
            )
        share = found.height_m / max(height_m, 1e-3)
        if share < settings.min_height_share:
            raise Ended(
                Outcome.MISPLACED,
                f"{name} rises to {share:.0%} of its height: it lies on its side (loop.min_height_share = {settings.min_height_share:g})",
            )


def _apart_m(one: tuple[float, float, float] | None, other: tuple[float, float, float] | None) -> float:
    """Distance of two answers; 0 when one of them is not known."""
    return 0.0 if one is None or other is None else float(np.linalg.norm(np.subtract(one, other)))
