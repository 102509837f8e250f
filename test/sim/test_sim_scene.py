import numpy as np
import pytest

from roboref_node.geometry.camera import CameraModel, DistortionModel
from roboref_node.sim import COLOURS, SHAPES, SIZES, SceneSettings, sample_scene
from roboref_node.sim.appearance import PLAIN, sample_colour, textures
from roboref_node.sim.meshes import catalogue, variants_of

SCENES = [sample_scene(seed) for seed in range(150)]


def plain(spec):
    """A scene as comparable plain values."""
    pose = spec.world_from_optical
    return (spec.objects, spec.table, spec.shelf, spec.appearance, spec.arm_joints_rad, spec.camera.to_dict(), pose.matrix.tolist())


def test_same_seed_same_scene_other_seed_other_scene():
    for seed in (0, 7, 12345678901):
        assert plain(sample_scene(seed)) == plain(sample_scene(seed))
    assert plain(SCENES[1]) != plain(SCENES[2])


def test_appearance_family_does_not_change_the_geometry():
    train, held = (sample_scene(3, settings=SceneSettings(appearance=name)) for name in ("train", "heldout"))
    assert train.objects == held.objects
    assert train.appearance != held.appearance


def footprint_gap_m(a, b):
    return np.hypot(a.position_m[0] - b.position_m[0], a.position_m[1] - b.position_m[1]) - a.radius_m - b.radius_m


def test_nothing_overlaps_and_everything_stands_on_its_support():
    supports = set()
    for spec in SCENES:
        for i, item in enumerate(spec.objects):
            supports.add(item.support.split(":")[0])
            x, y, z = item.position_m
            if item.support == "table":
                assert z == 0.0
                assert spec.table.distance_to_edge_m(x, y) < 0
                assert spec.shelf is None or spec.shelf.distance_to_edge_m(x, y) >= item.radius_m + 0.015 - 1e-9
            elif item.support == "shelf":
                assert z == spec.shelf.top_center_m[2] and spec.shelf.distance_to_edge_m(x, y) <= -item.radius_m
            else:
                below = spec.objects[int(item.support.split(":")[1])]
                assert z == pytest.approx(below.position_m[2] + catalogue()[below.variant].rest_height_m)
                assert np.hypot(x - below.position_m[0], y - below.position_m[1]) < below.radius_m
            for other in spec.objects[:i]:
                if item.support.startswith("object") or other.support.startswith("object"):
                    continue
                assert footprint_gap_m(item, other) >= 0.015 - 1e-9
    assert supports == {"table", "shelf", "object"}


def test_the_catalogue_is_what_the_names_say():
    assert {v.shape for v in catalogue()} == set(SHAPES) and {v.size for v in catalogue()} == set(SIZES)
    for shape in SHAPES:
        small, large = (np.array([v.extent_m for v in variants_of(shape, size)]) for size in SIZES)
        assert small[:, 1].max() * 1.25 < large[:, 1].min(), f"{shape}: the sizes must be separable by width"
        assert small.prod(axis=1).max() < large.prod(axis=1).min(), f"{shape}: the sizes must be separable by volume"


def test_meshes_are_closed_and_turned_outwards():
    for variant in catalogue():
        if variant.mesh is None:
            continue
        vertices, faces = variant.mesh.vertices_m, variant.mesh.faces
        edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
        directed = {tuple(edge) for edge in edges.tolist()}
        assert len(directed) == len(edges), "an edge is used twice in one direction"
        assert all((b, a) in directed for a, b in directed), "an edge has no partner: the surface is open"
        a, b, c = (vertices[faces[:, i]] for i in range(3))
        volume = np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6
        assert volume > 0
        if variant.shape in ("cup", "bowl", "plate"):
            assert volume < 0.6 * np.prod(variant.extent_m) * np.pi / 4, f"{variant.shape} is not hollow"
        assert vertices[:, 2].min() == pytest.approx(0.0, abs=1e-12)


def test_scene_statistics():
    objects = [o for spec in SCENES for o in spec.objects]
    assert (
        {o.shape for o in objects} == set(SHAPES)
        and {o.colour for o in objects} == set(COLOURS)
        and {o.size for o in objects} == set(SIZES)
    )
    assert {len(spec.objects) for spec in SCENES} >= set(range(3, 9))
    lookalikes = np.mean([len({o.pair for o in spec.objects}) < len(spec.objects) for spec in SCENES])
    shelves = np.mean([spec.shelf is not None for spec in SCENES])
    stacks = np.mean([any(o.support.startswith("object") for o in spec.objects) for spec in SCENES])
    print(f"look-alikes {lookalikes:.2f}, shelves {shelves:.2f}, stacks {stacks:.2f}")
    assert lookalikes > 0.5 and 0.2 < shelves < 0.6 and 0.03 < stacks < 0.25


def test_pairs_are_excluded_unless_required():
    excluded = frozenset((c, s) for c in COLOURS for s in SHAPES if (COLOURS.index(c) + SHAPES.index(s)) % 2)
    for seed in range(40):
        assert not {o.pair for o in sample_scene(seed, excluded_pairs=excluded).objects} & excluded
    for seed in range(20):
        wanted = sorted(excluded)[seed % len(excluded)]
        found = {o.pair for o in sample_scene(seed, excluded_pairs=excluded, required_pair=wanted).objects}
        assert wanted in found and not (found - {wanted}) & excluded


def test_all_objects_are_in_view():
    for spec in SCENES:
        for item in spec.objects:
            uv = spec.camera.project(spec.world_from_optical.inverse().apply(np.array(item.center_m)))
            assert spec.camera.contains(uv).all()


def test_a_given_camera_is_kept():
    camera = CameraModel(fx=580.0, fy=575.0, cx=315.0, cy=244.0, width=640, height=480)
    assert sample_scene(5, camera=camera).camera == camera


def test_held_out_looks_share_nothing_with_training():
    def looks(appearance):
        specs = [sample_scene(seed, settings=SceneSettings(appearance=appearance)) for seed in range(60)]
        return {s.texture for spec in specs for s in (spec.appearance.table, spec.appearance.shelf, spec.appearance.floor)}, specs

    (train, train_specs), (held, held_specs) = looks("train"), looks("heldout")
    assert PLAIN in train and len(train) > 10 and len(held) > 5 and not train & held
    assert all(name == PLAIN or textures()[name].shape == (256, 256, 3) for name in train | held)
    lowest = min(-light.direction[2] for spec in train_specs for light in spec.appearance.lights)
    highest = max(-light.direction[2] for spec in held_specs for light in spec.appearance.lights if light.spot_position_m is None)
    assert highest < lowest, "held-out lamps stand lower than any training lamp"
    assert {spec.appearance.family for spec in (sample_scene(s, settings=SceneSettings(appearance="any")) for s in range(20))} == {
        "train",
        "heldout",
    }


def test_colour_names_stay_apart():
    rng = np.random.default_rng(0)
    samples = {name: np.array([sample_colour(name, rng) for _ in range(200)]) for name in COLOURS}
    for a in COLOURS:
        for b in COLOURS:
            if a < b:
                gap = np.linalg.norm(samples[a][:, None] - samples[b][None], axis=-1).min()
                assert gap > 0.15, f"{a} and {b} come within {gap:.2f}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"required_pair": ("pink", "cup")}, "pink"),
        ({"excluded_pairs": frozenset((c, s) for c in COLOURS for s in SHAPES)}, "no \\(colour, shape\\) pair"),
        ({"camera": CameraModel(500, 500, 320, 240, 640, 480, DistortionModel.PLUMB_BOB, (0.1, 0, 0, 0, 0))}, "distortion"),
    ],
)
def test_impossible_requests_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        sample_scene(0, **arguments)


@pytest.mark.parametrize("wrong", [{"appearance": "night"}, {"objects": (4, 2)}])
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValueError):
        SceneSettings(**wrong)
