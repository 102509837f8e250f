"""A G1 that walks through a flat: pose, map, head camera, and the truth behind them.

Time is simulated: it moves with `SimulatedG1.step` only. The base is kinematic: it turns and glides along the route of the grid
planner, and stops a little off its goal, as a walking robot does. Frames: map → odom → pelvis → ... → torso_link → d435_link →
optical frame.
"""

from __future__ import annotations

from enum import Enum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from roboref_node.geometry.camera import CameraModel
from roboref_node.geometry.transform import Transform
from roboref_node.goals.occupancy import OccupancyMap
from roboref_node.sim.frames import CAMERA_FROM_OPTICAL, FrameTransform
from roboref_node.sim.noise import DepthNoiseSettings, add_depth_noise
from roboref_node.sim.truth import distance_to_object_m
from roboref_node.sim_g1.body import BODY_RADIUS_M, CAMERA_LINK, PELVIS, PELVIS_HEIGHT_M, chain, pelvis_from
from roboref_node.sim_g1.floor_plan import FloorPlan, PlanSettings, sample_plan
from roboref_node.sim_g1.render import HeadImage, PlanRenderer
from roboref_node.sim_g1.route import find_route
from roboref_node.sim_g1.survey import survey

FloatArray = NDArray[np.float64]

MAP_FRAME, ODOM_FRAME = "map", "odom"
OPTICAL_FRAME = "camera_color_optical_frame"
CAMERA = CameraModel(fx=610.0, fy=610.0, cx=423.5, cy=239.5, width=848, height=480)
"""A D435's colour camera at 848x480."""
SPEED_M_S, TURN_RAD_S = 0.6, 1.2
ARRIVAL_M, ARRIVAL_RAD = 0.03, 0.05
"""How far from its goal, and how far turned from it, the walker stops at most."""

_MAP_FROM_ODOM = Transform(np.array([0.0, 0.0, np.sin(0.35), np.cos(0.35)]), np.array([0.6, -0.4, 0.0]))
"""Not the identity, so that whoever mixes the two frames up is found out."""
_START_TRIES = 4000
_LOOKS = 12
_SEEN_PX = 60


class Walk(str, Enum):
    """What the walker does."""

    STANDING = "standing"
    WALKING = "walking"
    ARRIVED = "arrived"
    NO_WAY = "no_way"
    STOPPED = "stopped"


def flat_pose(x_m: float, y_m: float, yaw_rad: float, z_m: float = 0.0) -> Transform:
    """A pose on the floor, or over it."""
    return Transform(np.array([0.0, 0.0, np.sin(yaw_rad / 2), np.cos(yaw_rad / 2)]), np.array([x_m, y_m, z_m]))


class SimulatedG1:
    """The simulated robot in its flat. Deterministic: same arguments and same calls, same images.

    The GL context belongs to the thread of the first `render`.

    Args:
        seed: Flat, starting place and noise.
        noise: Depth noise; None gives perfect depth.
        settings: Ranges of the flat.
        start: (x, y, yaw) in the map instead of a random place; see `start_facing`.
    """

    def __init__(
        self,
        seed: int,
        *,
        noise: DepthNoiseSettings | None = DepthNoiseSettings(),  # noqa: B008  frozen
        settings: PlanSettings | None = None,
        start: tuple[float, float, float] | None = None,
    ) -> None:
        self.seed = seed
        self.plan: FloorPlan = sample_plan(seed, settings)
        self.map: OccupancyMap = survey(self.plan)
        self.camera = CAMERA
        self.walk = Walk.STANDING
        self.route: FloatArray | None = None
        self.touched = False
        """Whether the robot's outline has ever met a wall or furniture."""
        self._noise = noise
        self._goal: tuple[float, float, float] | None = None
        self._stop_at: tuple[float, float, float] | None = None
        self._rng = np.random.default_rng([seed, 0x64])
        self._stamp_ns = 0
        self._step_index = 0
        self._renderer: PlanRenderer | None = None
        self._clean: HeadImage | None = None
        self.place_robot(*(start if start is not None else self._any_place()))

    def close(self) -> None:
        """Free the GL context, in the thread that made it."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    def __enter__(self) -> SimulatedG1:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def stamp_ns(self) -> int:
        """Simulated time in nanoseconds since the start."""
        return self._stamp_ns

    @property
    def pose(self) -> tuple[float, float, float]:
        """x, y and yaw in the map."""
        return self._pose

    @property
    def map_from_pelvis(self) -> Transform:
        """Where the robot is."""
        return flat_pose(*self._pose, PELVIS_HEIGHT_M)

    @property
    def map_from_optical(self) -> Transform:
        """Where its camera is."""
        return self.map_from_pelvis @ pelvis_from(CAMERA_LINK) @ CAMERA_FROM_OPTICAL

    def frames(self) -> tuple[FrameTransform, ...]:
        """The frame tree; only odom → pelvis ever changes."""
        odom_from_pelvis = _MAP_FROM_ODOM.inverse() @ self.map_from_pelvis
        body = [FrameTransform(joint.parent, joint.child, joint.at(0.0), True) for joint in chain(CAMERA_LINK)]
        return (
            FrameTransform(MAP_FRAME, ODOM_FRAME, _MAP_FROM_ODOM, True),
            FrameTransform(ODOM_FRAME, PELVIS, odom_from_pelvis, False),
            *body,
            FrameTransform(CAMERA_LINK, OPTICAL_FRAME, CAMERA_FROM_OPTICAL, True),
        )

    def place_robot(self, x_m: float, y_m: float, yaw_rad: float) -> None:
        """Put the robot somewhere, standing."""
        self._pose = (float(x_m), float(y_m), float(np.arctan2(np.sin(yaw_rad), np.cos(yaw_rad))))
        self.walk, self.route, self.touched, self._clean = Walk.STANDING, None, False, None

    def start_facing(self, index: int, rng: np.random.Generator, nearest_m: float = 0.6) -> bool:
        """Put the robot at a random place of the known free floor from where its camera sees an object.

        Args:
            index: The object.
            rng: Source of the place.
            nearest_m: Smallest distance to the object.

        Returns:
            False when no such place was found; the robot then stands where it stood.
        """
        before = self._pose
        target = np.array(self.plan.objects[index].center_m)
        places = target[:2] + rng.uniform(-2.0, 2.0, (_START_TRIES, 2))
        kept = (np.linalg.norm(places - target[:2], axis=1) >= nearest_m) & (self.plan.clearance_m(places) >= BODY_RADIUS_M + 0.05)
        kept &= self.map.clearances(places) >= BODY_RADIUS_M
        places = places[kept]
        yaws = np.arctan2(*(target[:2] - places).T[::-1]) + rng.uniform(-0.35, 0.35, len(places))
        ahead = _turned(target[:2] - places, -yaws)
        in_pelvis = np.column_stack([ahead, np.full(len(places), target[2] - PELVIS_HEIGHT_M)])
        pelvis_from_optical = pelvis_from(CAMERA_LINK) @ CAMERA_FROM_OPTICAL
        seen = self.camera.contains(self.camera.project(pelvis_from_optical.inverse().apply(in_pelvis)))
        for x, y, yaw in np.column_stack([places, yaws])[seen][:_LOOKS]:
            self.place_robot(x, y, yaw)
            if np.count_nonzero(self.truth().instance == index) >= _SEEN_PX:
                return True
        self.place_robot(*before)
        return False

    def go_to(self, x_m: float, y_m: float, yaw_rad: float) -> bool:
        """Start to walk; False when the map has no way there."""
        self.route = find_route(self.map, self._pose[:2], (x_m, y_m), BODY_RADIUS_M)
        self._goal = (float(x_m), float(y_m), float(yaw_rad))
        if self.route is None:
            self.walk = Walk.NO_WAY
            return False
        angle, off = self._rng.uniform(0.0, 2.0 * np.pi), ARRIVAL_M * np.sqrt(self._rng.uniform())
        x, y = x_m + off * np.cos(angle), y_m + off * np.sin(angle)
        self._stop_at = (float(x), float(y), float(yaw_rad + self._rng.uniform(-ARRIVAL_RAD, ARRIVAL_RAD)))
        self.route[-1] = self._stop_at[:2]
        self.walk = Walk.WALKING
        return True

    def stop(self) -> None:
        """Stand still at once."""
        if self.walk is Walk.WALKING:
            self.walk = Walk.STOPPED

    def step(self, dt_s: float) -> None:
        """Let simulated time pass, and walk on.

        Raises:
            ValueError: `dt_s` is not positive.
        """
        if not dt_s > 0:
            raise ValueError(f"dt_s is {dt_s}; time only moves forward")
        self._stamp_ns += round(dt_s * 1e9)
        self._step_index += 1
        if self.walk is Walk.WALKING:
            self._walk_on(dt_s)
            self._clean = None
            self.touched |= bool(self.plan.clearance_m(np.array(self._pose[:2])) < BODY_RADIUS_M - 1e-6)

    def walk_to_the_end(self, dt_s: float = 0.1, limit_s: float = 120.0) -> Walk:
        """Step until the robot does not walk any more, without drawing."""
        for _ in range(int(limit_s / dt_s)):
            if self.walk is not Walk.WALKING:
                break
            self.step(dt_s)
        return self.walk

    def render(self) -> HeadImage:
        """What the head camera sees now: colour, depth with noise (NaN holes) registered to it, and the true instance ids."""
        clean = self.truth()
        if self._noise is None:
            return clean
        rng = np.random.default_rng([self.seed, self._step_index, 0xDE9])
        return HeadImage(clean.rgb, add_depth_noise(clean.depth_m, rng, self._noise), clean.instance)

    def truth(self) -> HeadImage:
        """The same without noise."""
        if self._clean is None:
            if self._renderer is None:
                self._renderer = PlanRenderer(self.plan, self.camera)
            self._clean = self._renderer.render(self.map_from_optical)
        return self._clean

    def distance_m(self, index: int, map_point_m: ArrayLike) -> float:
        """Distance of a point of the map to an object; 0 inside its material."""
        item = self.plan.objects[index]
        return distance_to_object_m(item, item.pose, map_point_m)

    def _any_place(self) -> tuple[float, float, float]:
        clearance = np.minimum(self.map.clearance_m - BODY_RADIUS_M, 0.3)
        rows, columns = np.nonzero(clearance >= min(0.1, float(clearance.max())))
        pick = int(self._rng.integers(len(rows)))
        cell = (np.array([columns[pick], rows[pick], 0.0]) + [0.5, 0.5, 0.0]) * self.map.resolution_m
        x, y, _ = self.map.origin.apply(cell)
        return float(x), float(y), float(self._rng.uniform(-np.pi, np.pi))

    def _walk_on(self, dt_s: float) -> None:
        """Turn towards the next way point, glide there, and at the end turn to the goal's heading."""
        assert self.route is not None and self._stop_at is not None
        x, y, yaw = self._pose
        left_s = dt_s
        while left_s > 1e-9:
            if len(self.route) == 0:
                yaw, left_s = _turn(yaw, self._stop_at[2], left_s)
                if abs(_difference(self._stop_at[2], yaw)) < 1e-6:
                    self.walk = Walk.ARRIVED
                    break
                continue
            delta = self.route[0] - (x, y)
            far = float(np.hypot(*delta))
            if far < 1e-6:
                self.route = self.route[1:]
                continue
            yaw, left_s = _turn(yaw, float(np.arctan2(delta[1], delta[0])), left_s)
            ahead = min(SPEED_M_S * left_s, far)
            x, y, left_s = x + delta[0] / far * ahead, y + delta[1] / far * ahead, left_s - ahead / SPEED_M_S
        self._pose = (float(x), float(y), float(yaw))


def _turned(xy: FloatArray, angle_rad: FloatArray) -> FloatArray:
    """Vectors of the plane, shape (N, 2), turned by angles of shape (N,)."""
    c, s = np.cos(angle_rad), np.sin(angle_rad)
    return np.stack([c * xy[:, 0] - s * xy[:, 1], s * xy[:, 0] + c * xy[:, 1]], axis=1)


def _difference(to_rad: float, from_rad: float) -> float:
    return float(np.arctan2(np.sin(to_rad - from_rad), np.cos(to_rad - from_rad)))


def _turn(yaw: float, wanted: float, time_s: float) -> tuple[float, float]:
    """New heading and the time that is left."""
    apart = _difference(wanted, yaw)
    needed = abs(apart) / TURN_RAD_S
    if needed <= time_s:
        return wanted, time_s - needed
    return yaw + float(np.sign(apart)) * TURN_RAD_S * time_s, 0.0
