"""The simulated arm's own stack: plans a motion, follows it with motors, closes the gripper, and stops at any moment."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from roboref_node.arm.motion import Motion, MotionKind, MotionResult, Outcome, Stage
from roboref_node.arm.paths import Blocked, Path
from roboref_node.arm.tracks import Speeds, Track
from roboref_node.arm.ur5_kinematics import base_from_flange
from roboref_node.geometry.transform import Transform
from roboref_node.sim.arm import GRIPPER_MAX_OPENING_M
from roboref_node.sim.obstacles import CellObstacles
from roboref_node.sim.physics import TIMESTEP_S
from roboref_node.sim.resting import resting_postures
from roboref_node.sim.truth import distance_to_object_m
from roboref_node.sim.ways import FLANGE_FROM_TOOL, clear_way, planner_of, way_back, way_home, way_there
from roboref_node.sim.world import CellWorld, Touch

FloatArray = NDArray[np.float64]

FINGER_SPEED = 0.10
"""At which the opening changes, m/s."""
CLOSE_S, SETTLE_S = 1.6, 0.4
"""Longest time to close, and to come to rest at the end of a path."""
PUSH_N = 25.0
"""Force against anything but the object in the fingers at which the arm stops by itself."""
SQUEEZE_N = 40.0
"""Force of the open fingers on the object they are about to take: more means that they stand on it."""
TARGET_M = 0.04
"""An object farther than this from the middle between the fingers is not what is meant to be taken."""
WATCH_EVERY = 4
CARRYING = Speeds(joint=1.0, joint_acceleration=2.0, tool=0.15, tool_acceleration=0.5)


class ArmController:
    """Executes one motion at a time in a `CellWorld`.

    Args:
        world: The physics that the arm is part of.
    """

    def __init__(self, world: CellWorld) -> None:
        self.world = world
        self.resting_rad = resting_postures(world.spec)
        """Where it goes when it is sent home: the first posture that it can reach."""
        self.fault = False
        self.stage, self.progress = Stage.PLAN, 0.0
        self.result: MotionResult | None = None
        self.goal: Transform | None = None
        self._script: Iterator[None] | None = None
        self._stopping = False
        self._track: Track | None = None
        self._opening_m = world.opening_m
        self._joints = world.joints_rad
        self._target: int | None = None

    @property
    def busy(self) -> bool:
        """Whether a motion is under way."""
        return self._script is not None

    def start(self, motion: Motion, *, canceled: Callable[[], bool] = bool) -> None:
        """Plan a motion and begin it; `step` moves the arm, `result` tells how it ended.

        A motion that cannot be planned ends at once.

        Args:
            motion: What to do.
            canceled: Asked while planning.

        Raises:
            RuntimeError: A motion is under way.
        """
        if self.busy:
            raise RuntimeError("a motion is under way; stop it first")
        self.result, self.stage, self.progress, self._stopping = None, Stage.PLAN, 0.0, False
        self.goal = motion.goal
        self._joints = self.world.joints_rad
        if self.fault:
            self._end(Outcome.FAULT, "the arm reports a fault; it did not start")
            return
        try:
            self._script = self._plan(motion, canceled)
        except Blocked as blocked:
            self._end(blocked.outcome, blocked.sentence)

    def stop(self) -> None:
        """Brake on the path and hold; the motion ends with CANCELED. What is in the gripper stays in it."""
        if self.busy:
            self._stopping = True
            if self._track is not None:
                self._track.brake()

    def object_concerned(self) -> int | None:
        """The object in the gripper, else the one nearest to the last motion's goal or to the fingers; None in an empty cell."""
        held = self.world.held()
        return self._nearest(self.goal or Transform.identity(), np.inf) if held is None else held

    def step(self) -> None:
        """One step of the physics, `TIMESTEP_S` long."""
        if self.busy and self.fault and not self._stopping:
            self.stop()
        if self._script is not None:
            try:
                next(self._script)
            except StopIteration:
                self._script = None
            except _Ended as ended:
                self._end(ended.outcome, ended.sentence)
                self._script = None
        self.world.command_fingers(self._opening_m)
        self.world.step()

    def _plan(self, motion: Motion, canceled: Callable[[], bool]) -> Iterator[None]:
        """All paths of a motion, as a script that is run step by step.

        Raises:
            Blocked: There is no path.
        """
        world = self.world
        held = world.held()
        if motion.kind is MotionKind.HOME:
            planner = planner_of(CellObstacles(world, world.opening_m, held=held), canceled)
            return self._go_home(way_home(planner, world.joints_rad, self.resting_rad))
        assert motion.approach is not None and motion.goal is not None
        if motion.kind is MotionKind.PICK:
            opening = min(motion.width_m or GRIPPER_MAX_OPENING_M, GRIPPER_MAX_OPENING_M)
            self._target = self._nearest(motion.goal)
            planner = planner_of(CellObstacles(world, opening, target=self._target), canceled)
            free, straight = way_there(planner, world.joints_rad, motion)
            back = way_back(planner, straight, motion)
            return self._pick(free, straight, back, opening)
        planner = planner_of(CellObstacles(world, world.opening_m, held=held), canceled)
        free, straight = way_there(planner, world.joints_rad, motion)
        return self._place(free, straight, motion, held)

    def _pick(self, free: list[Path], line: Path, back: list[Path], opening: float) -> Iterator[None]:
        yield from self._turn_fingers(opening, Stage.OPEN, 0.02)
        for path in free:
            yield from self._follow(path, Speeds(), Stage.APPROACH, 0.05, 0.45)
        yield from self._follow(line, Speeds(tool=0.12), Stage.ADVANCE, 0.45, 0.65)
        yield from self._squeeze()
        for number, path in enumerate(back):
            yield from self._follow(path, CARRYING, Stage.RETREAT, 0.75 + 0.25 * number / len(back), 1.0)
        index = self.world.hanging()
        if index is None:
            self._end(Outcome.EMPTY, f"the gripper holds nothing after the lift: its opening is {1e3 * self.world.opening_m:.0f} mm")
        else:
            self._end(Outcome.DONE, f"{self._spoken(index)} hangs between the fingers, {1e3 * self.world.opening_m:.0f} mm apart")

    def _place(self, free: list[Path], line: Path, motion: Motion, held: int | None) -> Iterator[None]:
        assert motion.approach is not None and motion.goal is not None
        for path in free:
            yield from self._follow(path, CARRYING if held is not None else Speeds(), Stage.APPROACH, 0.0, 0.45)
        if held is not None and self.world.held() != held:
            raise _Ended(Outcome.EMPTY, f"{self._spoken(held)} was lost on the way")
        yield from self._follow(line, replace(CARRYING, tool=0.08), Stage.ADVANCE, 0.45, 0.7)
        yield from self._turn_fingers(GRIPPER_MAX_OPENING_M, Stage.OPEN, 0.8, gently=True)
        for path in clear_way(planner_of(CellObstacles(self.world, GRIPPER_MAX_OPENING_M)), line, motion):
            yield from self._follow(path, Speeds(tool=0.10), Stage.RETREAT, 0.8, 1.0)
        still = self.world.held()
        self._end(
            Outcome.DONE,
            "the gripper is open" if still is None else f"the gripper is open, {self._spoken(still)} still touches both fingers",
        )

    def _go_home(self, free: list[Path]) -> Iterator[None]:
        held = self.world.held()
        for number, path in enumerate(free):
            speeds = Speeds() if held is None else CARRYING
            yield from self._follow(path, speeds, Stage.RETREAT, number / len(free), (number + 1) / len(free))
        if held is not None and self.world.held() != held:
            self._end(Outcome.EMPTY, f"{self._spoken(held)} was lost on the way")
        else:
            self._end(Outcome.DONE, "the arm is in a resting posture")

    def _follow(self, path: Path, speeds: Speeds, stage: Stage, begin: float, end: float) -> Iterator[None]:
        """One path from rest to rest, and until the motors have caught up."""
        self.stage = stage
        length = float(np.linalg.norm(_tip(path.waypoints_rad[-1]) - _tip(path.waypoints_rad[0]))) if path.straight else 0.0
        self._track = Track(path, speeds, length)
        if self._stopping:
            self._track.brake()
        held = self.world.held()
        count = 0
        while not self._track.finished:
            self._joints, rates = self._track.advance(TIMESTEP_S)
            self.world.command_arm(self._joints, rates)
            self.progress = begin + (end - begin) * self._track.progress
            count += 1
            if count % WATCH_EVERY == 0:
                self._watch(stage, held)
            yield
        self._track = None
        for _ in range(round(SETTLE_S / TIMESTEP_S)):
            self.world.command_arm(self._joints, np.zeros(6))
            if float(np.abs(self.world.joints_rad - self._joints).max()) < 2e-3 and float(np.abs(self.world.joint_speeds).max()) < 0.02:
                break
            yield
        self._heed()

    def _turn_fingers(self, opening: float, stage: Stage, progress: float, *, gently: bool = False) -> Iterator[None]:
        """Drive the fingers to an opening and wait until they are there."""
        self.stage, self.progress = stage, progress
        speed = 0.5 * FINGER_SPEED if gently else FINGER_SPEED
        self._opening_m = self.world.opening_m
        for _ in range(round((GRIPPER_MAX_OPENING_M / speed + 0.3) / TIMESTEP_S)):
            step = float(np.clip(opening - self._opening_m, -speed * TIMESTEP_S, speed * TIMESTEP_S))
            self._opening_m += step
            self._heed()
            if step == 0.0 and abs(self.world.opening_m - opening) < 1e-3:
                return
            yield

    def _squeeze(self) -> Iterator[None]:
        """Close until the fingers stand still, pressing or empty."""
        self.stage, self.progress = Stage.CLOSE, 0.65
        still = 0
        self._opening_m = self.world.opening_m
        for _ in range(round(CLOSE_S / TIMESTEP_S)):
            # The servo's set point runs ahead of the fingers by what gives the full force, not more.
            self._opening_m = max(self._opening_m - FINGER_SPEED * TIMESTEP_S, self.world.opening_m - 0.03, -0.03)
            self._heed()
            still = still + 1 if abs(self.world.opening_speed) < 0.002 else 0
            if still * TIMESTEP_S > 0.15 and self._opening_m < self.world.opening_m - 0.02:
                break
            yield

    def _watch(self, stage: Stage, held: int | None) -> None:
        """Heed a request to stop, and stop when the arm presses against something.

        Raises:
            _Ended: COLLISION.
        """
        self._heed(moving=True)
        limit = {f"object/{held}"} if held is not None else set()
        target = set() if self._target is None else {f"object/{self._target}"}
        for touch in self.world.touches():
            side = next((n for n in (touch.first, touch.second) if n.startswith("finger/") or n == "arm"), None)
            if side is None:
                continue
            other = touch.other(side)
            if other in limit or (stage is Stage.RETREAT and other in target):
                continue
            if touch.force_n > (SQUEEZE_N if other in target and side != "arm" else PUSH_N):
                raise _Ended(Outcome.COLLISION, self._pressed(side, touch))

    def _heed(self, *, moving: bool = False) -> None:
        """End the motion when it was asked to stop and the arm stands.

        Raises:
            _Ended: CANCELED or FAULT.
        """
        if self._stopping and not (moving and self._track is not None and not self._track.finished):
            if self.fault:
                raise _Ended(Outcome.FAULT, f"the arm reports a fault; it stopped in stage {self.stage.value}")
            raise _Ended(Outcome.CANCELED, f"stopped in stage {self.stage.value} at {100 * self.progress:.0f} % of the motion")

    def _end(self, outcome: Outcome, sentence: str) -> None:
        if outcome is Outcome.COLLISION and self.busy:
            # Where the arm is, not where it was going: it must not go on pressing.
            self._joints = self.world.joints_rad
            self.world.command_arm(self._joints, np.zeros(6))
        self._target, self._track = None, None
        if outcome is Outcome.DONE:
            self.progress = 1.0
        holding = self.world.held() is not None
        self.result = MotionResult(outcome, sentence, holding, self.world.opening_m)

    def _pressed(self, side: str, touch: Touch) -> str:
        other = str(touch.other(side))
        name = self._spoken(int(other.removeprefix("object/"))) if other.startswith("object/") else f"the {other}"
        what = "the arm" if side == "arm" else "a finger"
        return f"{what} pressed against {name} with {touch.force_n:.0f} N (limit {PUSH_N:g} N); it stopped there"

    def _nearest(self, goal: Transform, within_m: float = TARGET_M) -> int | None:
        """The object between the fingers at a goal."""
        world = self.world
        middle = goal.apply([0.0, 0.0, -0.01])
        apart = {
            i: distance_to_object_m(item, world.object_pose(i), middle) for i, item in enumerate(world.spec.objects) if i not in world.gone
        }
        best = min(apart, key=lambda i: apart[i], default=None)
        return best if best is not None and apart[best] < within_m else None

    def _spoken(self, index: int) -> str:
        item = self.world.spec.objects[index]
        return f"the {item.colour} {item.shape}"


class _Ended(Exception):
    """The motion ends here."""

    def __init__(self, outcome: Outcome, sentence: str) -> None:
        super().__init__(sentence)
        self.outcome, self.sentence = outcome, sentence


def _tip(joints_rad: FloatArray) -> FloatArray:
    return (base_from_flange(joints_rad) @ FLANGE_FROM_TOOL).translation_m
