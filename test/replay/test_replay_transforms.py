"""TF of a bag: what tf2 and the live node would make of it."""

from __future__ import annotations

import numpy as np
import pytest

from roboref_node.geometry.transform import Transform
from roboref_node.replay import TransformTree
from roboref_node.status import Refused, Status


def test_tf_is_interpolated_and_never_extrapolated() -> None:
    tree = TransformTree()
    quarter = Transform([0.0, 0.0, np.sin(np.pi / 4), np.cos(np.pi / 4)], [2.0, 0.0, 0.0])
    tree.add("base", "arm", 1_000, Transform.identity(), static=False)
    tree.add("base", "arm", 2_000, quarter, static=False)
    tree.add("arm", "camera", 0, Transform([0, 0, 0, 1], [0.0, 1.0, 0.0]), static=True)
    halfway = tree.lookup("base", "camera", 1_500)
    np.testing.assert_allclose(halfway.translation_m, [1.0 - np.sin(np.pi / 4), np.cos(np.pi / 4), 0.0], atol=1e-9)
    back = tree.lookup("camera", "base", 1_500)
    np.testing.assert_allclose((halfway @ back).matrix, np.eye(4), atol=1e-12)
    for stamp in (999, 2_001):
        with pytest.raises(Refused) as caught:
            tree.lookup("base", "camera", stamp)
        assert caught.value.status is Status.TF_STALE
    with pytest.raises(Refused) as unknown:
        tree.lookup("map", "camera", 1_500)
    assert unknown.value.status is Status.TF_UNAVAILABLE and "base" in unknown.value.sentence


def test_a_frame_with_two_parents_is_not_looked_up_as_live() -> None:
    """The last one won, and with it a goal at a place that depended on the order of two messages."""
    tree = TransformTree()
    for parent, child, x in (("base", "tool", 1.0), ("tool", "camera", 0.1), ("base", "camera", 9.0), ("camera", "lens", 0.0)):
        tree.add(parent, child, 0, Transform([0, 0, 0, 1], [x, 0.0, 0.0]), static=True)
    with pytest.raises(Refused, match="camera has two parents in the bag's /tf_static, tool and base") as refusal:
        tree.lookup("base", "lens", 5)
    assert refusal.value.status is Status.TF_UNAVAILABLE
    assert tree.lookup("camera", "lens", 5).translation_m[0] == 0.0
    assert tree.lookup("base", "tool", 5).translation_m[0] == 1.0


def test_the_same_static_transform_may_be_told_again() -> None:
    tree = TransformTree()
    for _ in range(2):
        tree.add("base", "camera", 0, Transform.identity(), static=True)
    assert tree.lookup("base", "camera", 5).translation_m[0] == 0.0


@pytest.mark.parametrize(("parent", "child"), [("camera", "camera"), ("/camera", "camera"), ("", "camera"), ("camera", "")])
def test_what_tf2_passes_over_breaks_no_lookup(parent: str, child: str) -> None:
    tree = TransformTree()
    tree.add("base", "camera", 0, Transform.identity(), static=True)
    tree.add(parent, child, 0, Transform.identity(), static=True)
    assert tree.lookup("base", "camera", 5).translation_m[0] == 0.0
