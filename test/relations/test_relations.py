"""Relations: antisymmetry, mirror symmetry, rigid motion, and the verdict's three values."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import lsq_linear
from scipy.spatial.transform import Rotation

from roboref_node import relations as rel
from roboref_node.geometry.transform import Transform
from roboref_node.relations import Body, DistanceKind, Order, Outcome, Side, Verdict
from roboref_node.status import Refused, Status

UP = np.array([0.0, -1.0, 0.0])
seeds = st.integers(0, 2**31)


def random_body(rng: np.random.Generator, *, oriented: bool = True) -> Body:
    turn = Rotation.random(rng=rng).as_matrix()
    return Body(
        rng.uniform([-1, -1, 0.5], [1, 1, 3]),
        turn,
        rng.uniform(0.02, 0.3, 3),
        None,
        Rotation.random(rng=rng).as_matrix() if oriented else None,
    )


def cube(
    x: float, y: float, z: float, size: float | tuple[float, float, float] = 0.1, front: tuple[float, float, float] | None = None
) -> Body:
    """Axis-aligned in the optical frame, its own up against image y."""
    orientation = None
    if front is not None:
        f = np.asarray(front, dtype=float) / np.linalg.norm(front)
        orientation = np.stack([f, np.cross(UP, f), UP], axis=1)
    return Body(np.array([x, y, z]), np.eye(3), np.broadcast_to(size, 3).astype(float), None, orientation)


PAIRS: list[tuple[Callable[..., Verdict], Callable[..., Verdict], dict[str, object]]] = [
    (rel.left_of, rel.right_of, {}),
    (rel.in_front_of, rel.behind, {}),
    (rel.above_in_image, rel.below_in_image, {}),
    (rel.above_in_world, rel.below_in_world, {"up": UP}),
    (rel.bigger, rel.smaller, {}),
]


@pytest.mark.parametrize(("one", "other", "extra"), PAIRS)
@given(seed=seeds, tolerance=st.floats(0, 0.3))
@settings(max_examples=30, deadline=None)
def test_opposites_and_antisymmetry(
    one: Callable[..., Verdict], other: Callable[..., Verdict], extra: dict[str, object], seed: int, tolerance: float
) -> None:
    rng = np.random.default_rng(seed)
    a, b = random_body(rng), random_body(rng)
    key = "tolerance" if one is rel.bigger else "tolerance_m"
    ab, ba, opposite = (
        one(a, b, **extra, **{key: tolerance}),
        one(b, a, **extra, **{key: tolerance}),
        other(a, b, **extra, **{key: tolerance}),
    )
    assert ab.margin == pytest.approx(-ba.margin, abs=1e-12) and ab.margin == pytest.approx(-opposite.margin, abs=1e-12)
    assert (ab.outcome is Outcome.AMBIGUOUS) == (ba.outcome is Outcome.AMBIGUOUS) == (abs(ab.margin) <= tolerance)
    assert ab.holds != ba.holds or ab.outcome is Outcome.AMBIGUOUS
    assert one(a, a, **extra).outcome is Outcome.AMBIGUOUS


@pytest.mark.parametrize("measure", [rel.taller, rel.wider])
@given(seed=seeds)
@settings(max_examples=30, deadline=None)
def test_sizes_are_antisymmetric_and_relative(measure: Callable[..., Verdict], seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = random_body(rng), random_body(rng)
    assert measure(a, b, up=UP).margin == pytest.approx(-measure(b, a, up=UP).margin, abs=1e-12)
    scaled = [Body(3 * x.center_m, x.axes, 3 * x.size_m) for x in (a, b)]
    assert measure(*scaled, up=UP).margin == pytest.approx(measure(a, b, up=UP).margin, abs=1e-9)


def mirrored(body: Body) -> Body:
    """Seen in a mirror: x changes sign. Boxes stay boxes; a mirrored front, and what was left is right."""
    flip = np.diag([-1.0, 1.0, 1.0])
    axes = flip @ body.axes @ np.diag([-1.0, 1.0, 1.0])
    orientation = None if body.orientation is None else flip @ body.orientation @ np.diag([1.0, -1.0, 1.0])
    return Body(flip @ body.center_m, axes, body.size_m, None, orientation)


@given(seed=seeds)
@settings(max_examples=50, deadline=None)
def test_a_mirrored_scene_swaps_left_and_right_and_nothing_else(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b, c = (random_body(rng) for _ in range(3))
    ma, mb, mc = mirrored(a), mirrored(b), mirrored(c)
    assert rel.left_of(a, b).margin == pytest.approx(rel.right_of(ma, mb).margin)
    assert rel.at_left_of(a, b).margin == pytest.approx(rel.at_right_of(ma, mb).margin)
    for same in (rel.in_front_of, rel.above_in_image, rel.closer_to_viewer, rel.at_front_of, rel.facing, rel.near, rel.touching):
        assert same(a, b).margin == pytest.approx(same(ma, mb).margin, abs=1e-9)
    assert rel.between(a, b, c).margin == pytest.approx(rel.between(ma, mb, mc).margin)
    bodies, reflected = [a, b, c], [ma, mb, mc]
    assert np.array_equal(rel.ranks(bodies, Order.LEFT), rel.ranks(reflected, Order.RIGHT))


@given(seed=seeds)
@settings(max_examples=40, deadline=None)
def test_relations_without_a_viewer_do_not_change_with_the_frame(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b, c = (random_body(rng) for _ in range(3))
    move = Transform(Rotation.random(rng=rng).as_quat(), rng.normal(size=3))
    ma, mb, mc = (x.moved(move) for x in (a, b, c))
    for f in (
        rel.near,
        rel.far_from,
        rel.touching,
        rel.contains,
        rel.bigger,
        rel.at_front_of,
        rel.at_left_of,
        rel.facing,
        rel.back_to,
        rel.parallel,
    ):
        assert f(a, b).margin == pytest.approx(f(ma, mb).margin, abs=1e-6), f
    assert rel.between(a, b, c).margin == pytest.approx(rel.between(ma, mb, mc).margin, abs=1e-9)
    for f in (rel.above_in_world, rel.taller, rel.on):
        assert f(a, b, up=UP).margin == pytest.approx(f(ma, mb, up=move.rotate(UP)).margin, abs=1e-6), f


def test_a_moved_body_keeps_its_size() -> None:
    """A peer rotated the size vector: a 1 x 1 x 0.2 box turned by 45 degrees became 0 x 1.41 x 0.2."""
    turn = Transform.from_rotation(Rotation.from_euler("z", 45, degrees=True).as_matrix(), np.zeros(3))
    body = cube(0, 0, 1, (1.0, 1.0, 0.2)).moved(turn)
    assert np.array_equal(body.size_m, [1.0, 1.0, 0.2])
    assert np.ptp(body.corners_m, axis=0) == pytest.approx([np.sqrt(2), np.sqrt(2), 0.2])


def test_viewer_sense_by_example() -> None:
    left, right = cube(-0.3, 0, 1), cube(0.3, 0, 1)
    assert rel.left_of(left, right).margin == pytest.approx(0.6) and rel.left_of(left, right).holds
    # A deep box whose near edge is nearer is in front although its centre is farther away.
    deep, thin = cube(0, 0, 1.4, (0.1, 0.1, 1.0)), cube(0.3, 0, 1.2)
    assert rel.in_front_of(deep, thin).margin == pytest.approx(0.25)
    assert rel.closer_to_viewer(thin, deep).holds
    assert rel.above_in_image(cube(0, -0.2, 1), cube(0, 0, 1)).holds
    # A camera that looks down 45 degrees: what is farther away on the table is higher in the image but not in the world.
    up = np.array([0.0, -1.0, -1.0])
    far = cube(0, -0.2, 1.2)
    near = cube(0, 0.0, 1.0)
    assert rel.above_in_image(far, near).holds
    assert rel.above_in_world(far, near, up=up, tolerance_m=1e-9).outcome is Outcome.AMBIGUOUS
    assert rel.turn_to_face(cube(1, 0, 1)) == pytest.approx((np.pi / 4, 0.0))


@given(seed=seeds)
@settings(max_examples=30, deadline=None)
def test_after_both_turns_an_object_is_in_the_middle(seed: int) -> None:
    body = random_body(np.random.default_rng(seed))
    right, down = rel.turn_to_face(body)
    turned = Rotation.from_euler("YX", [right, -down]).as_matrix()
    assert turned.T @ body.center_m == pytest.approx([0.0, 0.0, np.linalg.norm(body.center_m)], abs=1e-12)


def test_own_sense_by_example() -> None:
    # The chair looks at the camera: its left is the viewer's right.
    chair = cube(0, 0, 2, front=(0, 0, -1))
    ball = cube(0.5, 0, 2)
    assert rel.at_left_of(ball, chair).margin == pytest.approx(np.pi / 2) and rel.right_of(ball, chair).holds
    assert rel.side_towards(chair, np.zeros(3)) == (Side.FRONT, pytest.approx(1.0))
    assert rel.facing(chair, cube(0.1, 0, 1)).holds and rel.back_to(chair, cube(0.1, 0, 3)).holds
    assert rel.facing(chair, cube(1.0, 0, 1.0)).outcome is Outcome.FAIL
    # A long wall is faced where the ray hits it, however far away its centre is.
    assert rel.facing(chair, cube(2.0, 0, 1, (5.0, 0.5, 0.1))).holds
    other = cube(0, 0, 1, front=(0.1, 0, -1))
    assert rel.same_direction(chair, other).holds and rel.parallel(chair, other).holds and not rel.opposite_direction(chair, other).holds
    assert rel.perpendicular(chair, cube(0, 0, 1, front=(1, 0, 0))).holds
    assert rel.faces_rather(chair, cube(0, 0, 1), ball).holds


def test_without_a_front_the_own_sense_is_refused() -> None:
    cup, box = cube(0, 0, 1), cube(0.3, 0, 1, front=(1, 0, 0))
    for f in (rel.at_left_of, rel.at_right_of, rel.at_front_of, rel.at_back_of):
        with pytest.raises(Refused) as caught:
            f(box, cup)
        assert caught.value.status is Status.AMBIGUOUS
        assert f(cup, box)
    with pytest.raises(Refused):
        rel.facing(cup, box)


def test_containment_and_support() -> None:
    bowl, pea, box = cube(0, 0, 1, 0.2), cube(0, 0, 1, 0.04), cube(0.12, -0.14, 1, 0.08)
    assert rel.contains(bowl, pea).margin == pytest.approx(0.7) and rel.inside(pea, bowl).holds
    assert not rel.inside(bowl, pea).holds
    assert rel.on(cube(0, -0.14, 1, 0.08), bowl, up=UP).margin == pytest.approx(1.0)
    assert rel.on(box, bowl, up=UP).outcome is Outcome.FAIL  # A quarter is over it, .7 is needed.
    assert rel.on(cube(0, -0.20, 1, 0.08), bowl, up=UP).outcome is Outcome.FAIL  # Floats 6 cm higher.
    assert rel.on(bowl, cube(0, -0.14, 1, 0.08), up=UP).outcome is Outcome.FAIL


def test_distances() -> None:
    a, b = cube(0, 0, 1, 0.1), cube(0.3, 0, 1, 0.1)
    assert rel.distance(a, b, DistanceKind.CENTRE) == pytest.approx(0.3)
    assert rel.distance(a, b, DistanceKind.GAP) == pytest.approx(0.2)
    assert 0.2 < rel.distance(a, b, DistanceKind.CHAMFER) < 0.32
    assert rel.distance(a, cube(0.05, 0, 1, 0.1)) == 0.0
    assert rel.touching(a, cube(0.105, 0, 1, 0.1)).holds and not rel.touching(a, b).holds
    assert rel.touching(a, cube(0.15, 0, 1, 0.1), within_m=0.1, kind=DistanceKind.CHAMFER).holds
    assert rel.far_from(a, cube(3, 0, 1)).holds


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (cube(0, 0, 1, (1.0, 0.02, 0.02)), cube(0.1, 0.1, 1, (0.02, 1.0, 0.02)), 0.0),  # bars that cross and share their middle
        (cube(0, 0, 1, (1.0, 0.02, 0.02)), cube(0.1, 0.1, 1.05, (0.02, 1.0, 0.02)), 0.03),  # 3 cm one behind the other
        (cube(0.15, -0.051, 1.1, (0.08, 0.1, 0.08)), cube(0, 0.02, 1, (1.2, 0.04, 0.8)), 0.001),  # a cup 1 mm over a table
        (cube(0.4, 0.3, 1.73, 0.4), cube(0, 0, 2, (3.0, 2.5, 0.1)), 0.02),  # a chair before a wall
        (cube(0, 0, 1, 1.0), cube(0.1, 0.1, 1, 0.1), 0.0),  # one in the other
        (cube(0, 0, 1, 0.2), cube(0.3, 0.3, 1.3, 0.2), 0.1 * np.sqrt(3)),  # corner to corner
        (cube(0, 0, 1, (0.2, 0.2, 0.0)), cube(0, 0, 1.2, 0.0), 0.2),  # a sheet and a point
    ],
)
def test_a_gap_is_exact_however_large_the_faces(one: Body, other: Body, expected: float) -> None:
    assert rel.distance(one, other) == pytest.approx(expected, abs=1e-12) == rel.distance(other, one)


@given(seed=seeds)
@settings(max_examples=60, deadline=None)
def test_a_gap_is_what_a_solver_finds(seed: int) -> None:
    """The points of both boxes, as one bounded least-squares problem of six coordinates."""
    rng = np.random.default_rng(seed)
    a, b = random_body(rng), random_body(rng)
    a = Body(0.3 * a.center_m, a.axes, a.size_m * rng.choice([0.1, 1.0, 10.0], 3))
    b = Body(0.3 * b.center_m, a.axes if rng.random() < 0.2 else b.axes, b.size_m)
    half = 0.5 * np.concatenate([a.size_m, b.size_m])
    solved = lsq_linear(np.hstack([a.axes, -b.axes]), b.center_m - a.center_m, (-half, half), method="bvls", tol=1e-14)
    assert rel.distance(a, b) == pytest.approx(np.sqrt(2.0 * solved.cost), abs=1e-7)


def test_a_cloud_is_measured_to_the_box_beside_it() -> None:
    """Its nearest point lies between the points of a grid on the wall."""
    wall = cube(0, 0, 2, (3.0, 2.5, 0.1))
    cloud = np.array([[0.4, 0.3, 1.9], [0.4, 0.3, 1.7], [0.5, 0.3, 1.8]])
    assert rel.distance(Body.from_cloud(cloud, UP), wall) == pytest.approx(0.05) == rel.distance(wall, Body.from_cloud(cloud, UP))
    inside = Body.from_cloud(cloud + [0.0, 0.0, 0.1], UP)
    assert rel.distance(inside, wall) == 0.0


@given(seed=seeds)
@settings(max_examples=30, deadline=None)
def test_between_is_symmetric_in_its_ends_and_true_for_the_middle(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b, c = (random_body(rng) for _ in range(3))
    assert rel.between(a, b, c).margin == pytest.approx(rel.between(a, c, b).margin)
    middle = Body(0.5 * (b.center_m + c.center_m), a.axes, a.size_m)
    assert rel.between(middle, b, c).margin == pytest.approx(0.5 * float(np.linalg.norm(b.center_m - c.center_m)))
    beyond = Body(c.center_m + (c.center_m - b.center_m), a.axes, a.size_m)
    assert rel.between(beyond, b, c).outcome is Outcome.FAIL


@given(seed=seeds, count=st.integers(1, 7))
@settings(max_examples=40, deadline=None)
def test_exactly_one_is_the_nth(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    bodies = [random_body(rng) for _ in range(count)]
    for order in Order:
        place = rel.ranks(bodies, order, up=UP)
        assert sorted(place) == list(range(1, count + 1))
        for n in range(1, count + 1):
            holding = [i for i in range(count) if rel.nth(bodies, i, n, order, up=UP).holds]
            assert holding == [int(np.flatnonzero(place == n)[0])]
    assert np.array_equal(rel.ranks(bodies, Order.LEFT) + rel.ranks(bodies, Order.RIGHT), np.full(count, count + 1))
    anchor = random_body(rng)
    assert sum(rel.nearest(bodies, i, anchor).holds for i in range(count)) == 1
    assert sum(rel.farthest(bodies, i, anchor).holds for i in range(count)) == 1


def test_ordinals_name_a_close_call() -> None:
    row = [cube(x, 0, 1) for x in (0.0, 0.3, 0.31, 0.7)]
    assert rel.nth(row, 1, 2, Order.LEFT).margin == pytest.approx(0.01)
    assert rel.nth(row, 1, 2, Order.LEFT, tolerance_m=0.02).outcome is Outcome.AMBIGUOUS
    assert rel.nth(row, 3, 1, Order.RIGHT, tolerance_m=0.02).holds
    assert rel.nth(row, 0, 4, Order.LEFT).margin == pytest.approx(-0.7)
    with pytest.raises(ValueError, match="number 5"):
        rel.nth(row, 0, 5, Order.LEFT)
    with pytest.raises(ValueError, match="up"):
        rel.ranks(row, Order.TOP)


def test_every_word_measures_something() -> None:
    rng = np.random.default_rng(0)
    a, b = random_body(rng), random_body(rng)
    for word in rel.RELATIONS:
        verdict = rel.compare(word, a, b, up=UP)
        assert np.isfinite(verdict.margin) and verdict.unit in ("m", "rad", "1")
    with pytest.raises(Refused) as caught:
        rel.compare("besides", a, b, up=UP)
    assert caught.value.status is Status.BAD_REQUEST and "left of" in caught.value.sentence


def test_verdicts() -> None:
    assert rel.judge(float("nan"), 0.0, "m").outcome is Outcome.AMBIGUOUS
    assert (-rel.judge(0.2, 0.1, "m")).outcome is Outcome.FAIL
    with pytest.raises(ValueError, match="tolerance"):
        rel.judge(0.1, -1.0, "m")


@given(seed=seeds)
@settings(max_examples=30, deadline=None)
def test_a_cloud_becomes_the_box_around_it(seed: int) -> None:
    rng = np.random.default_rng(seed)
    size = np.array([rng.uniform(0.05, 0.1), rng.uniform(0.15, 0.3), rng.uniform(0.05, 0.3)])
    yaw = np.radians(3.0 * rng.integers(0, 30))
    cloud = (rng.uniform(-0.5, 0.5, (4000, 3)) * size) @ Rotation.from_euler("z", yaw).as_matrix().T + [0, 0, 2]
    body = Body.from_cloud(cloud, (0, 0, 1))
    assert np.all(body.holds(cloud))
    assert sorted(body.size_m[:2]) == pytest.approx(sorted(size[:2]), rel=0.12) and body.size_m[2] == pytest.approx(size[2], rel=0.02)


@pytest.mark.parametrize(
    "broken", [{"size_m": np.array([0.1, -0.1, 0.1])}, {"axes": 2 * np.eye(3)}, {"center_m": np.array([np.nan, 0, 0])}]
)
def test_broken_bodies(broken: dict[str, np.ndarray]) -> None:
    with pytest.raises(ValueError, match="object"):
        Body(**{"center_m": np.zeros(3), "axes": np.eye(3), "size_m": np.ones(3), **broken})
