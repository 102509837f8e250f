"""Collision-checked joint paths: the straight part first, because it decides the posture; then a way to its start."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation, Slerp

from roboref_node.arm.motion import Outcome
from roboref_node.arm.ur5_kinematics import base_from_flange, nearest_turns, postures
from roboref_node.geometry.transform import Transform

FloatArray = NDArray[np.float64]

STRAIGHT_STEP_M = 0.01
STRAIGHT_STEP_RAD = 0.05
JOINT_STEP_RAD = 0.05
"""Farthest that a joint moves between two checked configurations of a free path."""
MAX_JUMP_RAD = 0.35
"""Two neighbours on a straight path farther apart than this belong to different postures."""
TREE_NODES = 400
TREE_STEP_RAD = 0.35
SHORTCUTS = 40
SEARCHED = 3
"""Postures for which a way is searched at random, which takes a hundred times as long as trying the simple ones."""


class Obstacles(Protocol):
    """Answers what the arm would touch."""

    def touched(self, joints_rad: FloatArray, *, margin_m: float, near_goal: bool) -> str | None:
        """Name of what the arm, or what it holds, would come nearer to than a margin; None when it is free.

        Args:
            joints_rad: Shape (6,).
            margin_m: Smallest allowed distance.
            near_goal: The fingers may meet the object that is to be taken, and what is held the place where it is put.
        """
        ...


class Blocked(Exception):
    """There is no path: UNREACHABLE or COLLISION, and why.

    Args:
        outcome: The outcome of the motion.
        sentence: With the number or name that decides.
    """

    def __init__(self, outcome: Outcome, sentence: str) -> None:
        super().__init__(sentence)
        self.outcome, self.sentence = outcome, sentence


@dataclass(frozen=True, eq=False)
class Path:
    """A joint path through waypoints, shape (N, 6); `straight` where the tool moves on a line."""

    waypoints_rad: FloatArray
    straight: bool


@dataclass(frozen=True, eq=False)
class PathPlanner:
    """Plans for one arm.

    Args:
        limits_rad: Shape (6, 2).
        flange_from_tool: Where the finger tips are.
        home_rad: Resting posture, shape (6,).
        obstacles: What is in the way.
        margin_m: Distance that free paths keep.
        line_margin_m: Distance that straight paths keep; 0: they may pass as near as they like.
        canceled: Asked now and then; planning ends with CANCELED when it says so.
        seed: Of the random search.
    """

    limits_rad: FloatArray
    flange_from_tool: Transform
    home_rad: FloatArray
    obstacles: Obstacles
    margin_m: float = 0.004
    line_margin_m: float = 0.0
    canceled: Callable[[], bool] = bool
    seed: int = 0

    def reach(self, start_rad: FloatArray, stations: Sequence[Transform], *, named: Sequence[str]) -> tuple[list[Path], list[Path]]:
        """A free path to the first of some tool poses, and straight ones through all of them.

        Args:
            start_rad: Where the arm is, shape (6,).
            stations: base_from_tool; two or more.
            named: What each station is called in a refusal.

        Returns:
            Free paths to the first station, then one straight path per pair of neighbours.

        Raises:
            Blocked: UNREACHABLE, COLLISION or CANCELED.
        """
        lines = self._lines(start_rad, stations, named)
        tried: list[list[Path]] = []
        reason: Blocked | None = None
        for line in lines:
            tried.append(line)
            try:
                return self.free_path(start_rad, line[0].waypoints_rad[0], search=False), line
            except Blocked as blocked:
                reason = self._worse(reason, blocked)
        for line in tried[:SEARCHED]:  # the random search only when no posture has a simple way
            try:
                return self.free_path(start_rad, line[0].waypoints_rad[0]), line
            except Blocked as blocked:
                reason = self._worse(reason, blocked)
        assert reason is not None
        raise reason

    def straight(self, start_rad: FloatArray, end: Transform, *, near_goal: bool, check: bool = True) -> Path:
        """A straight path from where the arm is.

        Raises:
            Blocked: UNREACHABLE or COLLISION.
        """
        path = self._line(start_rad, self.tool_at(start_rad), end, "the end of the line")
        if check:
            self._check_line(path, near_goal)
        return path

    def can_stand(self, base_from_tool: Transform) -> bool:
        """Whether some posture with the tool at a pose touches nothing that it must not touch near the goal."""
        found = (nearest_turns(q, self.home_rad, self.limits_rad) for q in self._postures(base_from_tool))
        return any(q is not None and self.obstacles.touched(q, margin_m=self.line_margin_m, near_goal=True) is None for q in found)

    def tool_at(self, joints_rad: FloatArray) -> Transform:
        """base_from_tool."""
        return base_from_flange(joints_rad) @ self.flange_from_tool

    def free_path(self, start_rad: FloatArray, end_rad: FloatArray, *, search: bool = True) -> list[Path]:
        """Joint-space lines from one configuration to another: directly, over the resting posture, or searched for.

        Raises:
            Blocked: COLLISION or CANCELED.
        """
        hit = self._touched(end_rad)
        if hit is not None:
            raise Blocked(Outcome.COLLISION, f"where the free path ends the arm would touch {hit}")
        escape, start = self._escape(start_rad)
        raised_here, raised_there = self.home_rad.copy(), self.home_rad.copy()
        raised_here[0], raised_there[0] = start[0], end_rad[0]
        ways = [[start, end_rad], [start, raised_there, end_rad], [start, raised_here, raised_there, end_rad]]
        for way in ways:
            if all(self._free_line(a, b) for a, b in zip(way, way[1:], strict=False)):
                return [
                    *escape,
                    *(Path(np.stack(pair), False) for pair in zip(way, way[1:], strict=False) if np.ptp(pair, axis=0).max() > 1e-6),
                ]
        found = self._search(start, end_rad) if search else None
        if found is None:
            raise Blocked(Outcome.COLLISION, "every free path to there would touch something")
        return [*escape, *(Path(np.stack(pair), False) for pair in zip(found, found[1:], strict=False))]

    def _lines(self, start_rad: FloatArray, stations: Sequence[Transform], named: Sequence[str]) -> Iterator[list[Path]]:
        """The straight part for every posture that can do it, the one nearest to the start first.

        Raises:
            Blocked: No posture can, or planning was canceled.
        """
        solutions = [q for q in (nearest_turns(p, start_rad, self.limits_rad) for p in self._postures(stations[0])) if q is not None]
        if not solutions:
            raise self._unreachable(stations[0], named[0])
        # Nearest to the resting posture turned to the same side: reaching over the own base is the last choice. Of two such, the nearer.
        folded = np.array([0.0, 1.0, 1.0, 0.7, 0.7, 0.0])
        travel = np.array([0.7, 0.3, 0.3, 0.2, 0.2, 0.2])
        solutions.sort(key=lambda q: float(np.abs((q - self.home_rad) * folded).sum() + np.abs((q - start_rad) * travel).sum()))
        reason: Blocked | None = None
        found = False
        for solution in solutions:
            try:
                line: list[Path] = []
                for number in range(1, len(stations)):
                    here = line[-1].waypoints_rad[-1] if line else solution
                    line.append(self._line(here, stations[number - 1], stations[number], named[number]))
                    self._check_line(line[-1], near_goal=True)
            except Blocked as blocked:
                reason = self._worse(reason, blocked)
                continue
            found = True
            yield line
        if not found:
            assert reason is not None
            raise reason

    @staticmethod
    def _worse(first: Blocked | None, second: Blocked) -> Blocked:
        """Of two reasons the one that says more: a collision got farther than an unreachable pose. CANCELED is raised at once."""
        if second.outcome is Outcome.CANCELED:
            raise second
        return second if first is None or first.outcome is Outcome.UNREACHABLE else first

    def _line(self, start_rad: FloatArray, start: Transform, end: Transform, name: str) -> Path:
        """Joint angles along a line of the tool, without collision check."""
        self._heed()
        if len(self._postures(end)) == 0:  # before a line is laid out that may be kilometres long
            raise self._unreachable(end, name)
        turn = Rotation.from_quat(start.quaternion_xyzw).inv() * Rotation.from_quat(end.quaternion_xyzw)
        length, angle = float(np.linalg.norm(end.translation_m - start.translation_m)), float(turn.magnitude())
        count = max(2, int(np.ceil(max(length / STRAIGHT_STEP_M, angle / STRAIGHT_STEP_RAD))) + 1)
        share = np.linspace(0.0, 1.0, count)
        rotations = Slerp([0.0, 1.0], Rotation.from_quat(np.stack([start.quaternion_xyzw, end.quaternion_xyzw])))(share).as_quat()
        positions = start.translation_m + share[:, None] * (end.translation_m - start.translation_m)
        waypoints = [np.asarray(start_rad, dtype=np.float64)]
        for quaternion, position in zip(rotations[1:], positions[1:], strict=True):
            pose = Transform(quaternion, position)
            options = [q for q in (nearest_turns(p, waypoints[-1], self.limits_rad) for p in self._postures(pose)) if q is not None]
            if not options:
                raise self._unreachable(pose, name)
            nearest = min(options, key=lambda q: float(np.abs(q - waypoints[-1]).max()))
            if float(np.abs(nearest - waypoints[-1]).max()) > MAX_JUMP_RAD:
                raise Blocked(Outcome.UNREACHABLE, f"on the straight line to {name} the arm would have to change its posture")
            waypoints.append(nearest)
        return Path(np.stack(waypoints), True)

    def _check_line(self, path: Path, near_goal: bool) -> None:
        for joints in path.waypoints_rad:
            hit = self.obstacles.touched(joints, margin_m=self.line_margin_m, near_goal=near_goal)
            if hit is not None:
                raise Blocked(Outcome.COLLISION, f"on the straight part the arm would touch {hit}")

    def _escape(self, start_rad: FloatArray) -> tuple[list[Path], FloatArray]:
        """A short straight way out when the arm already stands too near to something; what it touches there is ignored."""
        if self._touched(start_rad) is None:
            return [], start_rad
        tool = self.tool_at(start_rad)
        up, back = np.array([0.0, 0.0, 1.0]), -tool.rotation[:, 2]
        for distance in (0.03, 0.06, 0.10, 0.15):
            for direction in (back, up, up + back):
                end = Transform(tool.quaternion_xyzw, tool.translation_m + distance * direction / np.linalg.norm(direction))
                try:
                    path = self._line(start_rad, tool, end, "a free place")
                except Blocked as blocked:
                    if blocked.outcome is Outcome.CANCELED:
                        raise
                    continue
                if self._touched(path.waypoints_rad[-1]) is None:
                    return [path], path.waypoints_rad[-1]
        return [], start_rad

    def _search(self, start: FloatArray, end: FloatArray) -> list[FloatArray] | None:
        """RRT-Connect (Kuffner and LaValle 2000) between two configurations, then short-cuts."""
        rng = np.random.default_rng(self.seed)
        low, high = np.minimum(start, end) - 1.0, np.maximum(start, end) + 1.0
        low, high = np.maximum(low, self.limits_rad[:, 0]), np.minimum(high, self.limits_rad[:, 1])
        trees: list[tuple[list[FloatArray], list[int]]] = [([start], [-1]), ([end], [-1])]
        for number in range(TREE_NODES):
            self._heed()
            own, other = trees[number % 2], trees[1 - number % 2]
            self._extend(own, rng.uniform(low, high))
            reached = self._connect(other, own[0][-1])
            if reached:
                first, second = _branch(own), _branch(other)
                way = [*first[::-1], *second[1:]]
                if number % 2:
                    way = way[::-1]
                return self._shortened(way, rng)
        return None

    def _extend(self, tree: tuple[list[FloatArray], list[int]], target: FloatArray) -> bool:
        nodes, parents = tree
        nearest = int(np.argmin(np.abs(np.stack(nodes) - target).max(axis=1)))
        offset = target - nodes[nearest]
        scale = float(np.abs(offset).max())
        new = nodes[nearest] + offset * min(1.0, TREE_STEP_RAD / max(scale, 1e-9))
        if not self._free_line(nodes[nearest], new):
            return False
        nodes.append(new)
        parents.append(nearest)
        return True

    def _connect(self, tree: tuple[list[FloatArray], list[int]], target: FloatArray) -> bool:
        while self._extend(tree, target):
            if float(np.abs(tree[0][-1] - target).max()) < 1e-9:
                return True
        return False

    def _shortened(self, way: list[FloatArray], rng: np.random.Generator) -> list[FloatArray]:
        for _ in range(SHORTCUTS):
            if len(way) < 3:
                break
            i, j = sorted(int(k) for k in rng.choice(len(way), 2, replace=False))
            if j - i > 1 and self._free_line(way[i], way[j]):
                way = [*way[: i + 1], *way[j:]]
        return way

    def _free_line(self, start: FloatArray, end: FloatArray) -> bool:
        count = max(2, int(np.ceil(float(np.abs(end - start).max()) / JOINT_STEP_RAD)) + 1)
        # From the middle outwards: that is where a line hits first.
        shares = np.linspace(0.0, 1.0, count)
        self._heed()
        return all(self._touched(start + share * (end - start)) is None for share in sorted(shares, key=lambda s: abs(s - 0.5)))

    def _touched(self, joints_rad: FloatArray) -> str | None:
        return self.obstacles.touched(joints_rad, margin_m=self.margin_m, near_goal=False)

    def _postures(self, base_from_tool: Transform) -> FloatArray:
        return postures(base_from_tool @ self.flange_from_tool.inverse())

    def _unreachable(self, pose: Transform, name: str) -> Blocked:
        x, y, z = (float(v) for v in pose.translation_m)
        return Blocked(Outcome.UNREACHABLE, f"no angles of the joints put the tool at {name}, ({x:.3f}, {y:.3f}, {z:.3f}) m in base_link")

    def _heed(self) -> None:
        if self.canceled():
            raise Blocked(Outcome.CANCELED, "canceled while planning; the arm did not start")


def _branch(tree: tuple[list[FloatArray], list[int]]) -> list[FloatArray]:
    """From the newest node back to the root."""
    nodes, parents = tree
    index = len(nodes) - 1
    way = []
    while index >= 0:
        way.append(nodes[index])
        index = parents[index]
    return way
