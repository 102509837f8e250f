"""TF of a bag: between two samples, and static transforms that come late or are replaced."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from roboref_node.frame import Frame
from roboref_node.geometry.camera import CameraModel
from roboref_node.geometry.transform import Transform
from roboref_node.replay import RgbdBag, TransformTree
from roboref_node.replay.writing import RgbdBagWriter
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


def _recorded(folder: Path, *told: tuple[float, str, float]) -> RgbdBag:
    """A bag with images at 1.0, 1.1, 4.0 and 4.1 s, and static camera poses: recorded at, below which frame, metres along x."""
    camera = CameraModel(300.0, 300.0, 79.5, 59.5, 160, 120)
    written: list[tuple[int, Callable[[RgbdBagWriter], None]]] = []
    for at_s, parent, x_m in told:
        pose, stamp_ns = Transform([0, 0, 0, 1.0], [x_m, 0, 0]), round(at_s * 1e9)

        def tell(writer: RgbdBagWriter, stamp_ns: int = stamp_ns, parent: str = parent, pose: Transform = pose) -> None:
            writer.add_transform(parent, "camera_color_optical_frame", stamp_ns, pose, static=True)

        written.append((stamp_ns, tell))
    for stamp_ns in (1_000_000_000, 1_100_000_000, 4_000_000_000, 4_100_000_000):
        frame = Frame(np.zeros((120, 160, 3), np.uint8), np.ones((120, 160), np.float32), camera, stamp_ns=stamp_ns)
        written.append((stamp_ns, partial(RgbdBagWriter.add_frame, frame=frame)))
    with RgbdBagWriter(folder) as writer:
        writer.add_transform("base_link", "mast", 0, Transform([0, 0, 0, 1.0], [0, 7.0, 0]), static=True)
        for _, write in sorted(written, key=lambda entry: entry[0]):
            write(writer)
    return RgbdBag(folder)


def _camera_at(bag: RgbdBag) -> list[tuple[float, float]]:
    found = [bag.transforms.lookup("base_link", "camera_color_optical_frame", stamp_ns) for stamp_ns in bag.stamps_ns]
    return [(float(pose.translation_m[0]), float(pose.translation_m[1])) for pose in found]


def test_a_static_transform_counts_from_when_it_replaced_another(tmp_path: Path) -> None:
    """After a hand-eye calibration; the last one of the bag gave every image before it a pose that nobody had used then."""
    with _recorded(tmp_path / "b", (0.5, "base_link", 1.0), (1.15, "base_link", 2.0)) as bag:
        assert _camera_at(bag) == [(1.0, 0.0), (1.0, 0.0), (2.0, 0.0), (2.0, 0.0)]


@pytest.mark.parametrize("at_s", [1.05, 4.2])
def test_a_static_transform_that_was_recorded_late_counts_for_the_whole_bag(tmp_path: Path, at_s: float) -> None:
    """As in tf2, where it holds at every time; discovery takes a second, and what is latched comes when the images do already."""
    with _recorded(tmp_path / "b", (at_s, "base_link", 1.0)) as bag:
        assert _camera_at(bag) == [(1.0, 0.0)] * 4


def test_a_camera_that_was_put_elsewhere_has_another_parent_from_then_on(tmp_path: Path) -> None:
    with _recorded(tmp_path / "b", (0.5, "base_link", 1.0), (3.15, "mast", 2.0)) as bag:
        assert _camera_at(bag) == [(1.0, 0.0), (1.0, 0.0), (2.0, 7.0), (2.0, 7.0)]


def test_two_static_parents_at_about_the_same_time_contradict_each_other(tmp_path: Path) -> None:
    with _recorded(tmp_path / "b", (0.5, "base_link", 1.0), (1.05, "mast", 2.0)) as bag, pytest.raises(Refused, match="has two parents"):
        _camera_at(bag)


def test_a_moving_frame_that_changes_its_parent_keeps_both() -> None:
    tree = TransformTree()
    for stamp_ns, parent, x_m in ((1_000, "base", 1.0), (2_000, "base", 2.0), (3_000, "hand", 3.0), (4_000, "hand", 4.0)):
        tree.add(parent, "cup", stamp_ns, Transform([0, 0, 0, 1.0], [x_m, 0, 0]), static=False)
    assert tree.lookup("base", "cup", 1_500).translation_m[0] == pytest.approx(1.5)
    assert tree.lookup("base", "cup", 2_500).translation_m[0] == pytest.approx(2.0), "as tf2: between two parents nothing is interpolated"
    assert tree.lookup("hand", "cup", 3_500).translation_m[0] == pytest.approx(3.5)
    with pytest.raises(Refused, match="does not connect"):
        tree.lookup("base", "cup", 3_500)
