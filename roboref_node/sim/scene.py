"""Random tabletop scenes as plain data: which object stands where, what the camera sees it with, and how it all looks.

World frame: z up, table top at z = 0, the UR5's base_link at the origin on the table edge, x pointing over the table.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from roboref_node.geometry.camera import CameraModel, DistortionModel
from roboref_node.geometry.transform import Transform
from roboref_node.sim.appearance import COLOURS, FAMILIES, Appearance, Rgb, sample_appearance, sample_colour
from roboref_node.sim.arm import HOME_RAD
from roboref_node.sim.meshes import SHAPES, SIZES, Variant, catalogue, variants_of

Pair = tuple[str, str]
FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class SceneSettings:
    """Ranges that `sample_scene` draws from. Lengths in metres, angles in degrees; pairs are (low, high).

    Args:
        appearance: ``train``, ``heldout`` (textures and lights never used in ``train``) or ``any``.
        shadows: True, False or None (two scenes in three have them).
        lookalike_probability: Chance that an object repeats the colour and shape of an earlier one.
        stack_probability: Chance that a scene has an object standing on another.
        clearance_m: Free space between the footprints of any two objects on one support.
    """

    appearance: str = "train"
    objects: tuple[int, int] = (3, 9)
    lookalike_probability: float = 0.35
    shelf_probability: float = 0.40
    stack_probability: float = 0.15
    cluster_probability: float = 0.30
    arm_probability: float = 0.6
    shadows: bool | None = None
    region_x_m: tuple[float, float] = (0.30, 0.78)
    region_y_m: tuple[float, float] = (-0.38, 0.38)
    clearance_m: float = 0.015
    shelf_height_m: tuple[float, float] = (0.06, 0.20)
    focal_px: tuple[float, float] = (520.0, 650.0)
    distance_m: tuple[float, float] = (0.55, 1.30)
    pitch_deg: tuple[float, float] = (25.0, 65.0)
    roll_deg: float = 3.0

    def __post_init__(self) -> None:
        if self.appearance not in (*FAMILIES, "any"):
            raise ValueError(f"appearance is {self.appearance!r}; it must be one of {(*FAMILIES, 'any')}")
        if not 1 <= self.objects[0] <= self.objects[1]:
            raise ValueError(f"objects is {self.objects}; it must be (low, high) with 1 <= low <= high")


@dataclass(frozen=True)
class ObjectSpec:
    """One object, standing upright.

    Args:
        shape, colour, size: Its names (`SHAPES`, `COLOURS`, `SIZES`).
        position_m: Middle of its base in the world.
        yaw_rad: Turn about the world's z axis.
        extent_m: True full extents along its own axes.
        radius_m: Radius of the circle around its axis that holds the footprint.
        support: ``table``, ``shelf`` or ``object:<index>``.
        variant: Index in `meshes.catalogue`.
        rgb: Its colour as drawn.
    """

    shape: str
    colour: str
    size: str
    position_m: tuple[float, float, float]
    yaw_rad: float
    extent_m: tuple[float, float, float]
    radius_m: float
    support: str
    variant: int
    rgb: Rgb

    @property
    def pair(self) -> Pair:
        """(colour, shape)."""
        return self.colour, self.shape

    @property
    def center_m(self) -> tuple[float, float, float]:
        """Middle of the object: half its height above the base."""
        return self.position_m[0], self.position_m[1], self.position_m[2] + self.extent_m[2] / 2

    @property
    def pose(self) -> Transform:
        """world_from_object; the object's frame stands on its base, z up."""
        return Transform(np.array([0.0, 0.0, np.sin(self.yaw_rad / 2), np.cos(self.yaw_rad / 2)]), np.array(self.position_m))


@dataclass(frozen=True)
class BoxRegion:
    """A flat-topped block: centre of its top (world), full size along its own axes, yaw."""

    top_center_m: tuple[float, float, float]
    size_m: tuple[float, float, float]
    yaw_rad: float = 0.0

    def distance_to_edge_m(self, x_m: float, y_m: float) -> float:
        """Distance of a point, seen from above, to the outline: positive outside, negative inside."""
        dx, dy = x_m - self.top_center_m[0], y_m - self.top_center_m[1]
        c, s = np.cos(self.yaw_rad), np.sin(self.yaw_rad)
        qx, qy = abs(c * dx + s * dy) - self.size_m[0] / 2, abs(c * dy - s * dx) - self.size_m[1] / 2
        return float(np.hypot(max(qx, 0.0), max(qy, 0.0)) + min(max(qx, qy), 0.0))


@dataclass(frozen=True)
class SceneSpec:
    """A complete scene; `SceneRenderer` draws it. `arm_joints_rad` is None where no robot stands at the table."""

    seed: int
    objects: tuple[ObjectSpec, ...]
    camera: CameraModel
    world_from_optical: Transform
    table: BoxRegion
    shelf: BoxRegion | None
    appearance: Appearance
    arm_joints_rad: tuple[float, ...] | None
    gripper_opening_m: float = 0.085


def sample_scene(
    seed: int,
    *,
    camera: CameraModel | None = None,
    excluded_pairs: frozenset[Pair] = frozenset(),
    required_pair: Pair | None = None,
    settings: SceneSettings | None = None,
) -> SceneSpec:
    """Draw one scene. The same arguments give the same scene in every process.

    Args:
        seed: Any non-negative integer.
        camera: Intrinsics to use; drawn when None. Must be without distortion, because the renderer is a pinhole.
        excluded_pairs: (colour, shape) pairs that never occur, except `required_pair`.
        required_pair: (colour, shape) that occurs at least once.
        settings: Ranges; `SceneSettings()` when None.

    Raises:
        ValueError: The camera has distortion, a pair has an unknown name, or all pairs are excluded.
    """
    settings = settings or SceneSettings()
    if camera is not None and camera.distortion_model is not DistortionModel.NONE:
        raise ValueError(f"the simulated camera has no distortion; got {camera.distortion_model.value}")
    for colour, shape in (*excluded_pairs, *([required_pair] if required_pair else [])):
        if colour not in COLOURS or shape not in SHAPES:
            raise ValueError(f"({colour!r}, {shape!r}) is not a (colour, shape) pair; colours are {COLOURS}, shapes are {SHAPES}")
    allowed = [(c, s) for c in COLOURS for s in SHAPES if (c, s) not in excluded_pairs]
    if not allowed:
        raise ValueError("excluded_pairs leaves no (colour, shape) pair to draw from")
    rng = np.random.default_rng([seed, 0x5CE2E])
    look_rng = np.random.default_rng([seed, 0xA99EA])
    family = FAMILIES[int(look_rng.integers(2))] if settings.appearance == "any" else settings.appearance
    shadows = bool(look_rng.random() < 2 / 3) if settings.shadows is None else settings.shadows
    appearance = sample_appearance(look_rng, family, shadows)
    arm = _sample_arm(rng) if rng.random() < settings.arm_probability else None
    while True:
        layout = _Layout(rng, settings, allowed, required_pair)
        if len(layout.objects) < settings.objects[0]:
            continue
        for _ in range(25):
            model = camera or _sample_camera(rng, settings)
            pose = _sample_view(rng, settings, layout.objects)
            if _sees_all(model, pose, layout.objects) and not (arm and _arm_blocks(pose, layout.objects)):
                table = BoxRegion(
                    (float(rng.uniform(0.38, 0.50)), 0.0, 0.0), (float(rng.uniform(1.1, 1.4)), float(rng.uniform(1.1, 1.7)), 0.04)
                )
                return SceneSpec(
                    seed, tuple(layout.objects), model, pose, table, layout.shelf, appearance, arm, float(rng.uniform(0.02, 0.085))
                )  # fmt: skip


class _Layout:
    """Objects placed one after the other without contact; fewer than asked for when the table is full."""

    def __init__(self, rng: np.random.Generator, settings: SceneSettings, allowed: list[Pair], required: Pair | None) -> None:
        self.rng, self.settings, self.allowed = rng, settings, allowed
        self.objects: list[ObjectSpec] = []
        (x0, x1), (y0, y1) = settings.region_x_m, settings.region_y_m
        if rng.random() < settings.cluster_probability:
            half = rng.uniform(0.13, 0.22)
            cx, cy = rng.uniform(x0 + 0.1, x1 - 0.1), rng.uniform(y0 + 0.1, y1 - 0.1)
            x0, x1, y0, y1 = max(x0, cx - half), min(x1, cx + half), max(y0, cy - half), min(y1, cy + half)
        self.region = (x0, x1, y0, y1)
        self.shelf = self._sample_shelf() if rng.random() < settings.shelf_probability else None
        count = int(rng.integers(settings.objects[0], settings.objects[1] + 1))
        stack = rng.random() < settings.stack_probability
        for number in range(count):
            pair = required if number == 0 and required else self._draw_pair()
            if stack and number == count - 1 and self._stack(pair):
                break
            self._place(pair)
        if required and all(o.pair != required for o in self.objects):
            self.objects.clear()
        if self.shelf and all(o.support != "shelf" for o in self.objects) and rng.random() < 0.8:
            self.objects.clear()  # an empty shelf is rarely worth a scene

    def _draw_pair(self) -> Pair:
        if self.objects and self.rng.random() < self.settings.lookalike_probability:
            return self.objects[int(self.rng.integers(len(self.objects)))].pair
        return self.allowed[int(self.rng.integers(len(self.allowed)))]

    def _sample_shelf(self) -> BoxRegion:
        rng, (x0, x1, y0, y1) = self.rng, self.region
        size = (float(rng.uniform(0.15, 0.26)), float(rng.uniform(0.18, 0.36)), float(rng.uniform(*self.settings.shelf_height_m)))
        x, y = float(rng.uniform(x0 + 0.04, x1)), float(rng.uniform(y0, y1))
        return BoxRegion((x, y, size[2]), size, float(rng.uniform(-0.5, 0.5)))

    def _variant(self, pair: Pair, size: str | None = None) -> Variant:
        options = variants_of(pair[1], size or SIZES[int(self.rng.integers(2))])
        return options[int(self.rng.integers(len(options)))]

    def _place(self, pair: Pair) -> None:
        rng, variant = self.rng, self._variant(pair)
        x0, x1, y0, y1 = self.region
        on_shelf = self.shelf is not None and rng.random() < 0.35
        for _ in range(30):
            if on_shelf and self.shelf is not None:
                u, v = (rng.uniform(-0.5, 0.5, 2) * self.shelf.size_m[:2]).tolist()
                c, s = np.cos(self.shelf.yaw_rad), np.sin(self.shelf.yaw_rad)
                x, y = self.shelf.top_center_m[0] + c * u - s * v, self.shelf.top_center_m[1] + s * u + c * v
                z, support = self.shelf.top_center_m[2], "shelf"
                fits = self.shelf.distance_to_edge_m(x, y) <= -variant.radius_m
            else:
                x, y, z, support = rng.uniform(x0, x1), rng.uniform(y0, y1), 0.0, "table"
                fits = self.shelf is None or self.shelf.distance_to_edge_m(x, y) >= variant.radius_m + self.settings.clearance_m
            if fits and all(
                np.hypot(x - o.position_m[0], y - o.position_m[1]) >= variant.radius_m + o.radius_m + self.settings.clearance_m
                for o in self.objects
            ):
                self._add(pair, variant, (float(x), float(y), float(z)), support)
                return

    def _stack(self, pair: Pair) -> bool:
        """Put a small object on top of one that can carry it."""
        variant = self._variant(pair, "small")
        for index in self.rng.permutation(len(self.objects)):
            below = self.objects[index]
            base = catalogue()[below.variant]
            slack = base.rest_radius_m - variant.radius_m
            if slack < -0.004 or base.rest_radius_m == 0.0:
                continue
            angle, offset = self.rng.uniform(0, 2 * np.pi), max(slack, 0.0) * self.rng.uniform()
            x, y = below.position_m[0] + offset * np.cos(angle), below.position_m[1] + offset * np.sin(angle)
            self._add(pair, variant, (float(x), float(y), below.position_m[2] + base.rest_height_m), f"object:{index}")
            return True
        return False

    def _add(self, pair: Pair, variant: Variant, position_m: tuple[float, float, float], support: str) -> None:
        rgb = sample_colour(pair[0], self.rng)
        yaw = float(self.rng.uniform(-np.pi, np.pi))
        shape, size = variant.shape, variant.size
        self.objects.append(
            ObjectSpec(shape, pair[0], size, position_m, yaw, variant.extent_m, variant.radius_m, support, variant.index, rgb)
        )


def _sample_arm(rng: np.random.Generator) -> tuple[float, ...]:
    """A pose that keeps the whole arm clear of the object region: folded over the base, or stretched to a side or behind."""
    if rng.random() < 0.7:
        pan, lift, forearm = rng.uniform(-2.8, 2.8), HOME_RAD[1] + rng.uniform(-0.3, 0.1), rng.uniform(-0.6, 0.1)
    else:
        pan, lift, forearm = rng.choice([-1.0, 1.0]) * rng.uniform(1.75, 2.7), rng.uniform(-1.6, -1.0), rng.uniform(-0.4, 0.1)
    elbow = forearm - lift
    wrist = -np.pi / 2 - forearm + rng.uniform(-0.2, 0.2)
    return float(pan), float(lift), float(elbow), float(wrist), float(-np.pi / 2 + rng.uniform(-0.2, 0.2)), float(rng.uniform(-3.0, 3.0))


def _sample_camera(rng: np.random.Generator, settings: SceneSettings) -> CameraModel:
    """640x480, RealSense-like. The principal point is the exact image centre, as MuJoCo's own."""
    focal = float(rng.uniform(*settings.focal_px))
    return CameraModel(fx=focal, fy=focal * float(rng.uniform(0.99, 1.01)), cx=319.5, cy=239.5, width=640, height=480)


def _sample_view(rng: np.random.Generator, settings: SceneSettings, objects: list[ObjectSpec]) -> Transform:
    """world_from_optical of a camera that looks at about the middle of the objects."""
    centers = np.array([o.center_m for o in objects])
    middle = 0.5 * (centers.min(axis=0) + centers.max(axis=0))
    target = middle * [1, 1, 0.5] + rng.uniform(-0.06, 0.06, 3) * [1, 1, 0.3]
    kind = rng.random()
    if kind < 0.50:
        azimuth = rng.uniform(-0.9, 0.9)  # opposite the robot, looking at it
    elif kind < 0.65:
        azimuth = np.pi + rng.uniform(-0.6, 0.6)  # over the robot's shoulder
    else:
        azimuth = rng.uniform(-np.pi, np.pi)
    pitch, distance = np.radians(rng.uniform(*settings.pitch_deg)), rng.uniform(*settings.distance_m)
    back = np.array([np.cos(pitch) * np.cos(azimuth), np.cos(pitch) * np.sin(azimuth), np.sin(pitch)])
    return look_at(target + distance * back, target, np.radians(rng.uniform(-settings.roll_deg, settings.roll_deg)))


def look_at(position_m: FloatArray, target_m: FloatArray, roll_rad: float = 0.0) -> Transform:
    """world_from_optical of a camera at a position looking at a target, its x axis level up to a roll about the view axis."""
    forward = target_m - position_m
    forward = forward / np.linalg.norm(forward)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    c, s = np.cos(roll_rad), np.sin(roll_rad)
    return Transform.from_rotation(np.stack([c * right + s * down, c * down - s * right, forward], axis=1), position_m)


_RING = np.array([[np.cos(a), np.sin(a), z] for z in (0.0, 1.0) for a in np.arange(8) * np.pi / 4])


def _sees_all(camera: CameraModel, world_from_optical: Transform, objects: list[ObjectSpec]) -> bool:
    """True when at least nine tenths of every object's enclosing cylinder project into the image."""
    scale = np.array([[o.radius_m, o.radius_m, o.extent_m[2]] for o in objects])
    points = _RING * scale[:, None] + np.array([o.position_m for o in objects])[:, None]
    optical = (points - world_from_optical.translation_m) @ world_from_optical.rotation
    z = np.maximum(optical[..., 2], 1e-3)
    u, v = camera.fx * optical[..., 0] / z + camera.cx, camera.fy * optical[..., 1] / z + camera.cy
    inside = (optical[..., 2] > 0.2) & (u > -0.5) & (u < camera.width - 0.5) & (v > -0.5) & (v < camera.height - 0.5)
    return bool((inside.mean(axis=1) >= 0.9).all())


def _arm_blocks(world_from_optical: Transform, objects: list[ObjectSpec]) -> bool:
    """True when the camera is too near the robot or looks at any object through the column above the robot's base."""
    eye = world_from_optical.translation_m
    if np.linalg.norm(eye - [0.0, 0.0, 0.35]) < 0.6:
        return True
    ray = np.array([o.center_m for o in objects]) - eye
    along = np.clip(-(ray[:, :2] @ eye[:2]) / np.maximum((ray[:, :2] ** 2).sum(axis=1), 1e-9), 0.0, 1.0)
    nearest = eye + along[:, None] * ray
    return bool(((np.hypot(nearest[:, 0], nearest[:, 1]) < 0.24) & (nearest[:, 2] < 0.7)).any())
