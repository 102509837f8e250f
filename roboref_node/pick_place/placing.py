"""Placing what is held: refer on a fresh frame, put down, look whether it stands where it should."""

from __future__ import annotations

import numpy as np

from roboref_node.arm import Motion, MotionKind, Stage
from roboref_node.arm import Outcome as MotionOutcome
from roboref_node.geometry.transform import Transform
from roboref_node.pick_place.hand import Held, hang_m, place_candidates
from roboref_node.pick_place.outcome import Ended, Outcome, State
from roboref_node.pick_place.ports import Look
from roboref_node.pick_place.session import FAILED, Session
from roboref_node.pick_place.verification import LEAST_PIXELS, Placed, Spot, placed, presence, spot
from roboref_node.referral import Referral
from roboref_node.task import Task

_BEFORE_ADVANCE = frozenset({Stage.PLAN, Stage.APPROACH})
"""Stages of a motion in which nothing that the arm carries is low over the place yet."""
_BELOW, _SWAY_M = 0.5, 0.02
"""Share of the straight way down, and distance to what the arm holds, below which what is seen over the place is something else."""


class Place:
    """One PLACE of a sentence.

    Args:
        session: The sentence.
        task: Where to put what is held.
    """

    def __init__(self, session: Session, task: Task) -> None:
        self._session, self._settings = session, session.settings
        self._task = task
        self._failure: Ended | None = None
        self._asks = 0

    def run(self) -> str:
        """Put it down; returns a sentence.

        Raises:
            Ended: It did not work.
        """
        held = self._what_is_held()
        while True:
            referral, before = self._answer(held)
            try:
                return self._put_down(held, referral, before)
            except _Taken as taken:
                self._ask_again(str(taken))

    def _put_down(self, held: Held, referral: Referral, before: Look) -> str:
        """Try one pose after the other; raises `_Taken` where the place is no longer free."""
        session, where = self._session, self._task.expression
        failure = Ended(Outcome.UNREACHABLE, f"there is no pose to put {held.name} {where}")
        candidates = place_candidates(referral, held.size)[: self._settings.max_attempts]
        for session.attempt, (goal, approach) in enumerate(candidates, start=1):
            assert held.size is not None
            place = spot(before, held.size, goal, session.release_height_m, self._settings.presence_tolerance_m)
            rise_m = float(approach.translation_m[2] - goal.translation_m[2])
            session.clear_view()  # an arm that was blocked on its way down would count as what has come there
            self._check_free(place, before, float(held.size.size_m[2]) + rise_m)
            session.enter(State.MOVE, f"put {held.name} {where}")
            witness = _Witness(self, place, min(_BELOW * rise_m, rise_m - hang_m(held.size) - _SWAY_M))
            result = session.move(Motion(MotionKind.PLACE, approach, goal), witness)
            if result.outcome is MotionOutcome.DONE:
                if session.held is not None:
                    raise Ended(Outcome.MISPLACED, f"the gripper has opened and still holds {held.name}: {result.sentence}")
                return self._verify(held, before, goal)
            if session.held is None:
                return self._find_out(held, before, goal, result.sentence)
            if result.outcome is MotionOutcome.CANCELED:
                raise _Taken(f"{witness.seen} while the arm approached")
            failure = Ended(FAILED.get(result.outcome, Outcome.STOPPED), result.sentence)
            if session.attempt < len(candidates):
                session.enter(State.RETRY, f"{result.sentence}: turned")
        raise failure

    def _check_free(self, place: Spot, before: Look, up_to_m: float) -> None:
        """Look once more at the place; what hides it may be somebody's arm, and nothing goes there before it is seen again."""
        session, where = self._session, self._task.expression
        session.enter(State.VERIFY, f"is the place {where} still free?")

        def is_taken(look: Look) -> bool:
            return bool(self.taken(place, look, up_to_m))

        look = session.wait_for_view(place.surface_m, f"the place {where}", before.frame.stamp_ns, enough=is_taken)
        if is_taken(look):
            raise _Taken(f"{self.taken(place, look, up_to_m)} before the arm moved")

    def taken(self, place: Spot, look: Look, up_to_m: float) -> str:
        """What has come onto the place, or gone from under it, as a clause; "" when it is as it was, or hidden."""
        settings, where = self._settings, self._task.expression
        new, most = place.new_pixels(look, up_to_m, settings.presence_tolerance_m), settings.max_covered * len(place.surface_m)
        if new > max(most, LEAST_PIXELS):
            return f"{new} new pixels over the place {where}, at most {max(most, LEAST_PIXELS):.0f} may be (loop.max_covered), were seen"
        found = presence(place.surface_m, look, settings.presence_tolerance_m)
        if found.visible >= settings.min_visible and found.there_of_visible < settings.min_present:
            return f"{found.gone_of_visible:.0%} of the place {where} went away (loop.min_present = {settings.min_present:g})"
        return ""

    def _answer(self, held: Held) -> tuple[Referral, Look]:
        """Where it may be put now; a refusal after the place was taken counts as that."""
        try:
            return self._confirmed_answer(held)
        except Ended as end:
            if self._failure is None or end.outcome is not Outcome.REFUSED:
                raise
            raise Ended(self._failure.outcome, f"{self._failure.sentence}; asked again: {end.sentence}") from end

    def _ask_again(self, why: str) -> None:
        """Make ready for another place.

        Raises:
            Ended: PLACE_TAKEN when it has been asked for often enough.
        """
        self._failure = Ended(Outcome.PLACE_TAKEN, why)
        if self._asks >= self._settings.max_asks:
            raise Ended(Outcome.PLACE_TAKEN, f"{why}, once more than loop.max_asks = {self._settings.max_asks} allows")
        self._asks += 1
        self._session.attempt = 1
        self._session.enter(State.RETRY, f"{why}: asked again")

    def _what_is_held(self) -> Held:
        if self._session.held is None:
            # A person may have put something between the fingers since the last motion.
            self._session.clear_view(always=True)
        else:
            self._session.know_gripper()
        if self._session.held is None:
            raise Ended(Outcome.HAND_EMPTY, f"asked to put something {self._task.expression} with an empty gripper: pick something first")
        if self._session.held.size is None:
            raise Ended(
                Outcome.UNKNOWN_OBJECT,
                f"what is in the gripper was not picked by this node, or not meant, so that its size is not known and it cannot be put "
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
                f"{found.pixels} new pixels at the place of {name}, needed are {max(enough, LEAST_PIXELS):.0f} "
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


class _Taken(Exception):
    """The place is not as it was when it was chosen; what is held is still held."""


class _Witness:
    """Sees what comes onto the place while the arm is still on its way to it."""

    def __init__(self, place: Place, chosen: Spot, up_to_m: float) -> None:
        self._place, self._chosen, self._up_to_m = place, chosen, up_to_m
        self._eyes = place._session.eyes
        self._stamp_ns = 0
        self.seen = ""

    def __call__(self, stage: Stage) -> bool:
        if stage not in _BEFORE_ADVANCE:
            return False
        look = self._eyes.glance()
        if look is None or look.frame.stamp_ns <= self._stamp_ns:
            return False
        self._stamp_ns = look.frame.stamp_ns
        self.seen = self._place.taken(self._chosen, look, self._up_to_m)
        return bool(self.seen)


def _apart_m(one: tuple[float, float, float] | None, other: tuple[float, float, float] | None) -> float:
    """Distance of two answers; 0 when one of them is not known."""
    return 0.0 if one is None or other is None else float(np.linalg.norm(np.subtract(one, other)))
