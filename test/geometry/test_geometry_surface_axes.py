"""The frame on a surface: right-handed, along the normal, level, and steady where a surface has no slope."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roboref_node.geometry.transform import surface_axes


@given(azimuth=st.floats(-np.pi, np.pi), slope=st.floats(np.radians(11), np.radians(179 - 11)))
def test_x_is_level_and_y_leads_up_the_slope(azimuth: float, slope: float) -> None:
    normal = np.array([np.sin(slope) * np.cos(azimuth), np.sin(slope) * np.sin(azimuth), np.cos(slope)])
    axes = surface_axes(normal)
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-12)
    assert np.linalg.det(axes) == pytest.approx(1.0)
    np.testing.assert_allclose(axes[:, 2], normal, atol=1e-12)
    assert axes[2, 0] == pytest.approx(0.0, abs=1e-12) and axes[2, 1] > 0.0


def test_a_slope_to_two_sides_still_has_a_level_direction() -> None:
    """Laid onto this one, the base's x would be 24 degrees off the level."""
    normal = np.array([0.5, 0.5, np.sqrt(0.5)])
    np.testing.assert_allclose(surface_axes(normal)[:, 0], np.array([-1.0, 1.0, 0.0]) / np.sqrt(2.0), atol=1e-12)


@given(azimuth=st.floats(-np.pi, np.pi), slope=st.floats(0.0, np.radians(3)), down=st.booleans())
def test_on_a_level_surface_noise_does_not_turn_the_frame(azimuth: float, slope: float, down: bool) -> None:
    normal = np.array([np.sin(slope) * np.cos(azimuth), np.sin(slope) * np.sin(azimuth), -np.cos(slope) if down else np.cos(slope)])
    axes = surface_axes(normal)
    assert axes[:, 0] @ [1.0, 0.0, 0.0] > np.cos(np.radians(4))
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-12)
