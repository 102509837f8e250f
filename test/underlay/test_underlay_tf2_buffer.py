"""The buffer of tf2_ros as roboref uses it. What only the underlay promises is marked; the rest also holds for the genuine package."""

import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

if importlib.util.find_spec("tf2_ros") is None:
    pytest.skip("neither a ROS distribution nor the underlay is sourced", allow_module_level=True)

import tf2_ros
from builtin_interfaces.msg import Time as TimeMessage
from rclpy.duration import Duration
from rclpy.time import Time
from tf2_ros import (
    Buffer,
    ConnectivityException,
    ExtrapolationException,
    InvalidArgumentException,
    LookupException,
    TransformException,
)
from tf2_stamps import MOVING, at, filled, rotation, seconds_of, stamped, xyz, yaw

ours_only = pytest.mark.skipif(
    "underlay" not in Path(tf2_ros.__file__).resolve().parts, reason="a promise of the underlay that the genuine package does not give"
)
LATEST = Time()


class TestLookup:
    def test_names_and_stamp_of_the_answer(self):
        answer = filled(stamped("base", "camera", 5, (1, 2, 3))).lookup_transform("base", "camera", at(5))
        assert (answer.header.frame_id, answer.child_frame_id, seconds_of(answer)) == ("base", "camera", 5.0)
        np.testing.assert_allclose(xyz(answer), [1, 2, 3])

    def test_inverse_direction(self):
        answer = filled(stamped("base", "camera", 5, (1, 2, 3), yaw=math.pi / 2)).lookup_transform("camera", "base", at(5))
        np.testing.assert_allclose(xyz(answer), [-2, 1, -3], atol=1e-12)
        assert yaw(answer) == pytest.approx(-math.pi / 2)

    @settings(max_examples=30, deadline=None)
    @given(st.integers(0, 2**32 - 1), st.integers(0, 5), st.integers(0, 5))
    def test_chain_over_a_common_parent_equals_the_product_of_its_parts(self, seed, up, down):
        rng = np.random.default_rng(seed)
        buffer = Buffer()
        ends = {}
        for branch, length in (("source", up), ("target", down)):
            parent, matrix = "root", np.eye(4)
            for index in range(length):
                turn, shift = Rotation.random(rng=rng), rng.uniform(-2, 2, 3)
                step = np.eye(4)
                step[:3, :3], step[:3, 3] = turn.as_matrix(), shift
                matrix = matrix @ step
                message = stamped(parent, f"{branch}{index}", 7, shift, quaternion=tuple(turn.as_quat()))
                if rng.integers(2):
                    buffer.set_transform_static(message, "test")
                else:
                    buffer.set_transform(message, "test")
                parent = f"{branch}{index}"
            ends[branch] = parent, matrix
        answer = buffer.lookup_transform(ends["target"][0], ends["source"][0], at(7))
        expected = np.linalg.inv(ends["target"][1]) @ ends["source"][1]
        np.testing.assert_allclose(xyz(answer), expected[:3, 3], atol=1e-9)
        np.testing.assert_allclose(rotation(answer).as_matrix(), expected[:3, :3], atol=1e-9)

    def test_interpolates_translation_and_rotation_over_the_shorter_arc(self):
        # 170 and 190 degrees: through 180, not through 0.
        buffer = filled(
            stamped("base", "camera", 1, (0, 0, 0), yaw=math.radians(170)), stamped("base", "camera", 3, (4, 0, 2), yaw=math.radians(190))
        )
        answer = buffer.lookup_transform("base", "camera", at(1.5))
        np.testing.assert_allclose(xyz(answer), [1, 0, 0.5])
        assert math.degrees(yaw(answer)) == pytest.approx(175)
        assert seconds_of(answer) == 1.5

    def test_interpolation_does_not_depend_on_the_sign_of_a_quaternion(self):
        turned = stamped("base", "camera", 3, yaw=math.radians(40))
        q = turned.transform.rotation
        q.x, q.y, q.z, q.w = -q.x, -q.y, -q.z, -q.w
        buffer = filled(stamped("base", "camera", 1, yaw=0.0), turned)
        assert math.degrees(yaw(buffer.lookup_transform("base", "camera", at(2)))) == pytest.approx(20)

    def test_out_of_order_arrival(self):
        buffer = filled(*(stamped("base", "camera", t, (t, 0, 0)) for t in (4, 1, 3, 2)))
        for t in (1.0, 1.75, 2.5, 3.25, 4.0):
            assert xyz(buffer.lookup_transform("base", "camera", at(t)))[0] == pytest.approx(t)

    def test_latest_is_the_newest_time_that_the_whole_chain_has(self):
        buffer = filled(
            *(stamped("map", "base", t, (t, 0, 0)) for t in (1, 2, 3)),
            *(stamped("base", "arm", t, (0, t, 0)) for t in (1, 2)),
            static=[stamped("arm", "camera", 0, (0, 0, 1))],
        )
        answer = buffer.lookup_transform("map", "camera", LATEST)
        assert seconds_of(answer) == 2.0
        np.testing.assert_allclose(xyz(answer), [2, 2, 1])
        assert buffer.get_latest_common_time("map", "camera").nanoseconds == 2_000_000_000

    def test_static_holds_at_every_time_and_has_stamp_zero_when_latest(self):
        buffer = filled(static=[stamped("base", "camera", 100, (1, 0, 0))])
        assert seconds_of(buffer.lookup_transform("base", "camera", LATEST)) == 0.0
        for t in (1, 50, 1e6):
            assert xyz(buffer.lookup_transform("base", "camera", at(t)))[0] == 1.0

    def test_same_frame_is_the_identity_even_when_unknown(self):
        answer = Buffer().lookup_transform("anything", "anything", at(3))
        assert rotation(answer).magnitude() == 0.0 and not xyz(answer).any() and seconds_of(answer) == 3.0

    def test_time_may_be_a_message(self):
        buffer = filled(stamped("base", "camera", 5, (1, 2, 3)))
        assert xyz(buffer.lookup_transform("base", "camera", TimeMessage(sec=5)))[0] == 1.0

    def test_through_a_fixed_frame_with_both_ends_moving(self):
        # The base drives along x at 1 m/s in odom; the mark moves along y at 2 m/s in odom.
        moving = [stamped("odom", "base", t, (t, 0, 0)) for t in (1, 2, 3, 4)] + [
            stamped("odom", "mark", t, (0, 2 * t, 0)) for t in (1, 2, 3, 4)
        ]
        buffer = filled(*moving)
        answer = buffer.lookup_transform_full("base", at(3.5), "mark", at(1.5), "odom")
        np.testing.assert_allclose(xyz(answer), [-3.5, 3.0, 0])
        assert seconds_of(answer) == 3.5
        assert buffer.can_transform_full("base", at(3.5), "mark", at(1.5), "odom")
        # The same frame at two times: how far the base has come.
        np.testing.assert_allclose(xyz(buffer.lookup_transform_full("base", at(1), "base", at(4), "odom")), [3, 0, 0])

    def test_new_parent(self):
        buffer = filled(
            stamped("map", "table", 1, (10, 0, 0)),
            stamped("map", "table", 9, (10, 0, 0)),
            stamped("map", "gripper", 1, (20, 0, 0)),
            stamped("map", "gripper", 9, (20, 0, 0)),
            stamped("table", "cup", 2, (1, 0, 0)),
            stamped("gripper", "cup", 4, (2, 0, 0)),
            stamped("gripper", "cup", 6, (4, 0, 0)),
        )
        assert xyz(buffer.lookup_transform("map", "cup", at(3.9)))[0] == pytest.approx(11)  # the older one holds until the change
        assert xyz(buffer.lookup_transform("map", "cup", at(5)))[0] == pytest.approx(23)

    def test_static_frame_that_begins_to_move(self):
        buffer = filled(static=[stamped("base", "camera", 0, (1, 0, 0))])
        buffer.set_transform(stamped("base", "camera", 5, (2, 0, 0)), "test")
        assert xyz(buffer.lookup_transform("base", "camera", LATEST))[0] == 2.0
        with pytest.raises(ExtrapolationException):
            buffer.lookup_transform("base", "camera", at(4))

    def test_leading_slash_of_a_sender_is_dropped(self):
        buffer = filled(stamped("/base", "/camera", 5, (1, 0, 0)))
        assert xyz(buffer.lookup_transform("base", "camera", at(5)))[0] == 1.0

    def test_quaternion_of_another_length_is_normalised(self):
        answer = filled(stamped("base", "camera", 5, (1, 0, 0), quaternion=(0.0, 0.0, 0.6, 0.6))).lookup_transform("camera", "base", at(5))
        np.testing.assert_allclose(xyz(answer), [0, 1, 0], atol=1e-12)
        q = answer.transform.rotation
        assert q.x**2 + q.y**2 + q.z**2 + q.w**2 == pytest.approx(1)


class TestRefusals:
    def test_into_the_future(self):
        with pytest.raises(
            ExtrapolationException,
            match=r"extrapolation into the future.*Requested time 12\.000000 but the latest data is at time 11\.000000, "
            r"when looking up transform from frame \[camera\] to frame \[base\]",
        ):
            filled(*MOVING).lookup_transform("base", "camera", at(12))

    def test_into_the_past(self):
        with pytest.raises(
            ExtrapolationException,
            match=r"extrapolation into the past.*Requested time 9\.500000 but the earliest data is at time 10\.000000, "
            r"when looking up transform from frame \[base\] to frame \[camera\]",
        ):
            filled(*MOVING).lookup_transform("camera", "base", at(9.5))

    def test_one_sample_only(self):
        with pytest.raises(ExtrapolationException, match=r"only time 10\.000000 is in the buffer"):
            filled(MOVING[0]).lookup_transform("base", "camera", at(10.1))

    def test_of_several_frames_the_late_one_decides(self):
        buffer = filled(*MOVING, *(stamped("map", "base", t) for t in (10, 20)))
        with pytest.raises(ExtrapolationException, match=r"latest data is at time 11\.0.*from frame \[camera\] to frame \[map\]"):
            buffer.lookup_transform("map", "camera", at(15))

    def test_unknown_frame(self):
        with pytest.raises(LookupException, match='"nowhere" passed to lookupTransform argument source_frame does not exist'):
            filled(*MOVING).lookup_transform("base", "nowhere", LATEST)
        with pytest.raises(LookupException, match='"nowhere" passed to lookupTransform argument target_frame does not exist'):
            filled(*MOVING).lookup_transform("nowhere", "base", LATEST)

    @pytest.mark.parametrize("time", [LATEST, at(10)])
    def test_two_trees(self, time):
        buffer = filled(*MOVING, *(stamped("odom", "wheel", t) for t in (10, 11)))
        with pytest.raises(ConnectivityException, match="Could not find a connection between 'odom' and 'camera'.*unconnected trees"):
            buffer.lookup_transform("odom", "camera", time)
        with pytest.raises(TransformException, match="Could not find a connection between 'odom' and 'camera'"):
            buffer.get_latest_common_time("odom", "camera")

    @pytest.mark.parametrize("time", [LATEST, at(10)])
    def test_loop(self, time):
        buffer = filled(stamped("a", "b", 10), stamped("b", "a", 10), stamped("c", "d", 10))
        with pytest.raises(LookupException, match="contains a loop"):
            buffer.lookup_transform("c", "a", time)

    @pytest.mark.parametrize(("frame", "why"), [("/camera", "cannot start with a '/'"), ("", "cannot be empty")])
    def test_names_that_no_frame_can_have(self, frame, why):
        with pytest.raises(InvalidArgumentException, match=why):
            filled(*MOVING).lookup_transform("base", frame, LATEST)

    def test_all_are_transform_exceptions(self):
        for kind in (LookupException, ConnectivityException, ExtrapolationException, InvalidArgumentException):
            assert issubclass(kind, TransformException)

    def test_can_transform_gives_the_reason(self):
        buffer = filled(*MOVING)
        assert buffer.can_transform("base", "camera", at(10.5)) in (True, 1)
        for moment, source, reason in ((at(12), "camera", "into the future"), (at(9), "camera", "into the past"), (at(10), "cup", "cup")):
            possible, why = buffer.can_transform("base", source, moment, return_debug_tuple=True)
            assert not possible and reason in why
        possible, why = buffer.can_transform_full("base", at(10), "camera", at(12), "base", return_debug_tuple=True)
        assert not possible and "into the future" in why

    @pytest.mark.parametrize(
        "bad",
        [
            stamped("base", "base", 10),
            stamped("", "bad", 10),
            stamped("base", "", 10),
            stamped("base", "bad", 10, (math.nan, 0, 0)),
            stamped("base", "bad", 10, quaternion=(0.0, 0.0, 0.0, 0.0)),
            stamped("base", "bad", 10, quaternion=(0.0, 0.0, math.nan, 1.0)),
        ],
    )
    def test_senseless_input_is_ignored(self, bad):
        buffer = filled(*MOVING, bad)
        assert not buffer.can_transform("base", "bad", LATEST)
        assert buffer.can_transform("base", "camera", LATEST)


class TestHistory:
    def test_is_kept_for_the_cache_time(self):
        buffer = filled(*(stamped("base", "camera", t, (t, 0, 0)) for t in range(1, 21)), cache_time=Duration(seconds=4))
        assert xyz(buffer.lookup_transform("base", "camera", at(16.5)))[0] == pytest.approx(16.5)
        with pytest.raises(ExtrapolationException, match="into the past"):
            buffer.lookup_transform("base", "camera", at(14))

    def test_is_ten_seconds_by_default(self):
        buffer = filled(*(stamped("base", "camera", t / 2, (t / 2, 0, 0)) for t in range(2, 61)))
        assert buffer.can_transform("base", "camera", at(20.5))
        assert not buffer.can_transform("base", "camera", at(19))

    def test_older_than_that_is_refused(self):
        buffer = filled(stamped("base", "camera", 100, (1, 0, 0)), stamped("base", "camera", 50, (2, 0, 0)))
        assert not buffer.can_transform("base", "camera", at(50))
        assert xyz(buffer.lookup_transform("base", "camera", LATEST))[0] == 1.0

    def test_clear_forgets_what_moves_and_keeps_what_is_static(self):
        buffer = filled(*MOVING, static=[stamped("camera", "lens", 0)])
        buffer.clear()
        assert not buffer.can_transform("base", "camera", LATEST)
        assert buffer.can_transform("camera", "lens", LATEST)
        with pytest.raises(TransformException):
            buffer.lookup_transform("base", "camera", at(10))
        # After a jump back old stamps are new again.
        buffer.set_transform(stamped("base", "camera", 1, (7, 0, 0)), "test")
        assert xyz(buffer.lookup_transform("base", "lens", LATEST))[0] == 7.0

    def test_a_sender_whose_stamps_stand_still_does_not_fill_the_memory(self):
        """Each placement was kept and compared with all of the others: a minute of it took a core, and the next one more."""
        between = [stamped("base", "camera", 10.5, (20 + k, 0, 0)) for k in range(50)]
        for last in (between[-1], between[0], between[7]):
            buffer = filled(*MOVING, *between, last)
            x = [xyz(buffer.lookup_transform("base", "camera", at(t)))[0] for t in (10, 10.25, 10.5, 10.75, 11)]
            newest = 69.0 if last is between[0] else xyz(last)[0]  # the first is there already
            assert x == pytest.approx([10.0, 15.0, newest, (newest + 11.0) / 2, 11.0])
            frame = yaml.safe_load(buffer.all_frames_as_yaml())["camera"]
            assert frame["rate"] * frame["buffer_length"] == pytest.approx(4.0)

    def test_frames_as_text(self):
        buffer = filled(*MOVING, static=[stamped("camera", "lens", 0)])
        frames = yaml.safe_load(buffer.all_frames_as_yaml())
        assert frames.keys() == {"camera", "lens"}
        assert frames["camera"]["parent"] == "base" and frames["camera"]["broadcaster"] == "test"
        assert (frames["camera"]["oldest_transform"], frames["camera"]["most_recent_transform"]) == (10.0, 11.0)
        assert frames["camera"]["rate"] == pytest.approx(2.0)
        assert "Frame camera exists with parent base." in buffer.all_frames_as_string()
        assert yaml.safe_load(Buffer().all_frames_as_yaml()) == []
