import time

import numpy as np
import pytest

from roboref_node.geometry.depth import DepthNoise
from roboref_node.sim.noise import DepthNoiseSettings, add_depth_noise

CLEAN = DepthNoiseSettings(quantum_m=0.0, dropouts=0.0)


def flat(z_m, shape=(240, 320)):
    return np.full(shape, z_m, np.float32)


@pytest.mark.parametrize("z_m", [0.4, 0.7, 1.0, 2.0, 4.0])
def test_spread_follows_the_law(z_m):
    settings = DepthNoiseSettings(noise=DepthNoise(base_m=0.0004, quadratic_per_m=0.0015), quantum_m=0.0, dropouts=0.0)
    error = add_depth_noise(flat(z_m), np.random.default_rng(1), settings) - z_m
    assert error.std() == pytest.approx(0.0004 + 0.0015 * z_m**2, rel=0.02)
    assert abs(error.mean()) < 4 * error.std() / np.sqrt(error.size)


def test_readings_are_whole_millimetres():
    noisy = add_depth_noise(flat(0.8), np.random.default_rng(2), DepthNoiseSettings(dropouts=0.0))
    millimetres = noisy.astype(np.float64) * 1000
    assert np.abs(millimetres - np.rint(millimetres)).max() < 1e-3
    assert len(np.unique(noisy)) > 5


def test_holes_and_flying_pixels_only_at_edges():
    step = flat(0.6)
    step[:, 160:] = 1.2
    noisy = add_depth_noise(step, np.random.default_rng(3), CLEAN)
    at_edge = np.zeros(step.shape, bool)
    at_edge[:, 159:161] = True
    assert not np.isnan(noisy[~at_edge]).any()
    assert np.isnan(noisy[at_edge]).mean() == pytest.approx(CLEAN.edge_hole_probability, abs=0.08)
    flying = (noisy > 0.65) & (noisy < 1.15)
    assert not flying[~at_edge].any() and 0.02 < flying[at_edge].mean() < 0.12


def test_a_slanted_plane_has_no_edges():
    slope = np.repeat(np.linspace(0.5, 1.5, 480, dtype=np.float32)[::-1, None], 640, axis=1)
    assert not np.isnan(add_depth_noise(slope, np.random.default_rng(4), CLEAN)).any()


def test_dropouts_unknown_and_out_of_range():
    holes = np.isnan(add_depth_noise(flat(0.8, (480, 640)), np.random.default_rng(5), DepthNoiseSettings(dropouts=40.0)))
    assert 40 < holes.sum() < 40 * np.pi * 25
    depth = flat(0.8)
    depth[:50], depth[50:100], depth[100:150] = np.nan, 0.1, 9.0
    noisy = add_depth_noise(depth, np.random.default_rng(6), CLEAN)
    inside = np.ones(240, bool)
    inside[[99, 100, 149, 150]] = False  # readings beside an edge may fly
    assert np.isnan(noisy[:150][inside[:150]]).all() and not np.isnan(noisy[152:]).any()


def test_same_generator_same_image():
    first, second, other = (add_depth_noise(flat(0.8), np.random.default_rng(seed)) for seed in (7, 7, 8))
    np.testing.assert_array_equal(first, second)
    assert (first != other).any()
    source = flat(0.8)
    add_depth_noise(source, np.random.default_rng(0))
    assert (source == np.float32(0.8)).all(), "the input must not change"


def test_wrong_settings_are_refused():
    with pytest.raises(ValueError, match="sum to at most 1"):
        DepthNoiseSettings(edge_hole_probability=0.9, flying_probability=0.2)
    with pytest.raises(ValueError, match="range_m"):
        DepthNoiseSettings(range_m=(2.0, 1.0))


def test_speed():
    depth, rng = flat(0.8, (480, 640)), np.random.default_rng(9)
    best = np.inf
    for _ in range(20):
        start = time.perf_counter()
        add_depth_noise(depth, rng)
        best = min(best, time.perf_counter() - start)
    print(f"noise at 640x480: {best * 1e3:.1f} ms")
    assert best < 0.06
