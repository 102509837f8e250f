"""message_filters as roboref uses it. What only the underlay promises is marked; the rest also holds for the genuine package."""

import importlib.util
import threading
from pathlib import Path

import numpy as np
import pytest

if importlib.util.find_spec("message_filters") is None:
    pytest.skip("neither a ROS distribution nor the underlay is sourced", allow_module_level=True)

import message_filters
from message_filters import ApproximateTimeSynchronizer, SimpleFilter, Subscriber, TimeSynchronizer
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.qos import qos_profile_sensor_data
from rclpy.time import Time
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import String

ours_only = pytest.mark.skipif(
    "underlay" not in Path(message_filters.__file__).resolve().parts,
    reason="a promise of the underlay that the genuine package does not give",
)


def image(milliseconds, frame_id=""):
    message = Image()
    message.header.stamp = Time(nanoseconds=round(milliseconds * 1e6)).to_msg()
    message.header.frame_id = frame_id
    return message


def milliseconds_of(message):
    return Time.from_msg(message.header.stamp).nanoseconds / 1e6


class Bench:
    """Filters fed by hand, and what comes out."""

    def __init__(self, count, kind, *args, **options):
        self.inputs = [SimpleFilter() for _ in range(count)]
        self.synchronizer = kind(self.inputs, *args, **options)
        self.sets = []
        self.synchronizer.registerCallback(lambda *messages: self.sets.append(tuple(milliseconds_of(message) for message in messages)))

    def feed(self, *arrivals):
        for index, milliseconds in arrivals:
            self.inputs[index].signalMessage(image(milliseconds))
        return self.sets


class TestSimpleFilter:
    def test_callbacks_get_the_messages_and_then_their_own_arguments_in_order(self):
        seen = []
        simple = SimpleFilter()
        simple.registerCallback(lambda *args: seen.append(args), "extra", 7)
        simple.registerCallback(lambda *args: seen.append(args))
        simple.signalMessage("message")
        assert seen == [("message", "extra", 7), ("message",)]


class TestExactTime:
    def test_a_set_comes_with_its_last_message_in_the_order_of_the_filters(self):
        bench = Bench(3, TimeSynchronizer, 10)
        assert bench.feed((2, 100), (0, 100)) == []
        assert bench.feed((1, 100)) == [(100, 100, 100)]

    def test_a_nanosecond_apart_is_apart(self):
        bench = Bench(2, TimeSynchronizer, 10)
        assert bench.feed((0, 100), (1, 100.000001)) == []

    def test_a_message_is_used_once(self):
        bench = Bench(2, TimeSynchronizer, 10)
        assert bench.feed((0, 100), (1, 100), (1, 100)) == [(100, 100)]

    def test_interleaved_and_late_messages_find_their_partners(self):
        bench = Bench(2, TimeSynchronizer, 10)
        assert bench.feed((0, 1), (0, 2), (0, 3), (1, 3), (1, 1), (1, 2)) == [(3, 3), (1, 1), (2, 2)]

    def test_the_oldest_are_dropped_beyond_the_queue_size(self):
        bench = Bench(2, TimeSynchronizer, 2)
        assert bench.feed((0, 1), (0, 2), (0, 3), (1, 1)) == []
        assert bench.feed((1, 2), (1, 3)) == [(2, 2), (3, 3)]


class TestApproximateTime:
    def test_nearest_partner_within_the_slop(self):
        bench = Bench(2, ApproximateTimeSynchronizer, 10, 0.05)
        assert bench.feed((0, 100), (0, 130), (1, 120)) == [(130, 120)]

    @pytest.mark.parametrize(("gap_ms", "fits"), [(0, True), (49.999, True), (50, False), (50.001, False)])
    def test_the_slop_itself_is_already_too_much(self, gap_ms, fits):
        bench = Bench(2, ApproximateTimeSynchronizer, 10, 0.05)
        assert bool(bench.feed((0, 100), (1, 100 + gap_ms))) is fits

    def test_the_whole_set_must_fit_not_only_its_pairs(self):
        # 60 and 140 are both within 50 of 100, but 80 apart.
        bench = Bench(3, ApproximateTimeSynchronizer, 10, 0.05)
        assert bench.feed((0, 60), (1, 140), (2, 100)) == []
        assert bench.feed((1, 104)) == [(60, 104, 100)]

    def test_the_first_set_that_fits_goes_out(self):
        # 130 would be the better partner of 120, but 100 is there when 120 comes.
        bench = Bench(2, ApproximateTimeSynchronizer, 10, 0.05)
        assert bench.feed((0, 100), (1, 120), (0, 130)) == [(100, 120)]
        assert bench.feed((1, 131)) == [(100, 120), (130, 131)]

    def test_a_farther_partner_is_taken_when_the_nearest_does_not_fit_the_rest(self):
        # 91 is nearest to 100, but too far from 148; 110 fits both.
        bench = Bench(3, ApproximateTimeSynchronizer, 10, 0.05)
        assert bench.feed((0, 91), (0, 110), (1, 148), (2, 100)) == [(110, 148, 100)]

    def test_two_cameras_at_thirty_hertz_pair_frame_by_frame(self):
        bench = Bench(2, ApproximateTimeSynchronizer, 5, 0.012)
        rng = np.random.default_rng(3)
        expected = []
        for frame in range(200):
            first, second = frame * 33.0 + rng.uniform(0, 4), frame * 33.0 + rng.uniform(4, 11)
            order = ((0, first), (1, second)) if rng.integers(2) else ((1, second), (0, first))
            bench.feed(*order)
            expected.append((first, second))
        np.testing.assert_allclose(bench.sets, expected, atol=1e-5)

    def test_the_oldest_are_dropped_beyond_the_queue_size(self):
        bench = Bench(2, ApproximateTimeSynchronizer, 2, 0.05)
        assert bench.feed((0, 100), (0, 200), (0, 300), (1, 101)) == []
        assert bench.feed((1, 301)) == [(300, 301)]

    def test_headerless_messages_are_dropped_unless_allowed(self):
        seen = []
        for allowed in (False, True):
            inputs = [SimpleFilter(), SimpleFilter()]
            synchronizer = ApproximateTimeSynchronizer(inputs, 10, 5.0, allow_headerless=allowed)
            synchronizer.registerCallback(lambda *messages: seen.append(messages))
            inputs[0].signalMessage(String(data="a"))
            inputs[1].signalMessage(String(data="b"))
            assert len(seen) == int(allowed)
        assert [message.data for message in seen[0]] == ["a", "b"]


@pytest.mark.parametrize(("kind", "args"), [(TimeSynchronizer, (10,)), (ApproximateTimeSynchronizer, (10, 0.05))])
class TestCallbacks:
    def test_one_set_at_a_time_from_many_threads(self, kind, args):
        inputs = [SimpleFilter(), SimpleFilter()]
        synchronizer = kind(inputs, *args)
        inside, overlaps, sets = threading.Lock(), [], []

        def callback(*messages):
            if not inside.acquire(blocking=False):
                overlaps.append(messages)
                return
            sets.append(messages)
            inside.release()

        synchronizer.registerCallback(callback)
        threads = [
            threading.Thread(target=lambda source=source: [source.signalMessage(image(100 * step)) for step in range(1, 11)])
            for source in inputs
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not overlaps and len(sets) == 10

    @ours_only
    def test_the_next_message_passes_after_a_callback_has_raised(self, kind, args):
        inputs = [SimpleFilter(), SimpleFilter()]
        synchronizer = kind(inputs, *args)
        seen = []

        def callback(first, second):
            seen.append(milliseconds_of(first))
            if len(seen) == 1:
                raise ValueError("a defect of the user's callback")

        synchronizer.registerCallback(callback)
        inputs[0].signalMessage(image(100))
        with pytest.raises(ValueError, match="defect"):
            inputs[1].signalMessage(image(100))

        def next_set():
            inputs[0].signalMessage(image(200))
            inputs[1].signalMessage(image(200))

        # From another thread: a lock that the first one still holds would block it.
        thread = threading.Thread(target=next_set, daemon=True)
        thread.start()
        thread.join(timeout=10)
        assert not thread.is_alive()
        assert seen == [100, 200]

    @ours_only
    def test_a_callback_may_feed_the_synchronizer(self, kind, args):
        inputs = [SimpleFilter(), SimpleFilter()]
        synchronizer = kind(inputs, *args)
        seen = []

        def callback(first, second):
            seen.append(milliseconds_of(first))
            if len(seen) < 3:
                for source in inputs:
                    source.signalMessage(image(100 * (len(seen) + 1)))

        synchronizer.registerCallback(callback)
        thread = threading.Thread(target=lambda: [source.signalMessage(image(100)) for source in inputs], daemon=True)
        thread.start()
        thread.join(timeout=10)
        assert not thread.is_alive()
        assert seen == [100, 200, 300]


class TestLive:
    """Over DDS."""

    def test_images_and_camera_infos_pair(self, graph, until):
        receiver, sender = graph.node("receiver"), graph.node("sender")
        group = MutuallyExclusiveCallbackGroup()
        filters = [
            Subscriber(receiver, kind, topic, qos_profile=qos_profile_sensor_data, callback_group=group)
            for kind, topic in ((Image, "color"), (Image, "depth"), (CameraInfo, "info"))
        ]
        sets = []
        synchronizer = ApproximateTimeSynchronizer(filters, 10, 0.02)
        synchronizer.registerCallback(lambda *messages: sets.append(messages))
        publishers = [
            sender.create_publisher(kind, topic, qos_profile_sensor_data)
            for kind, topic in ((Image, "color"), (Image, "depth"), (CameraInfo, "info"))
        ]
        frame = 0

        def publish():
            nonlocal frame
            frame += 1
            for offset, publisher in enumerate(publishers):
                message = publisher.msg_type()
                message.header.stamp = Time(nanoseconds=frame * 33_000_000 + offset * 3_000_000).to_msg()
                publisher.publish(message)
            return len(sets) >= 5

        assert until(publish)
        for color, depth, info in sets:
            assert (type(color), type(depth), type(info)) == (Image, Image, CameraInfo)
            assert milliseconds_of(depth) - milliseconds_of(color) == pytest.approx(3)
            assert milliseconds_of(info) - milliseconds_of(color) == pytest.approx(6)
        assert filters[0].getTopic() == "color"

    def test_default_quality_of_service_and_the_attributes_of_the_subscription(self, graph, until):
        filter_ = Subscriber(graph.node("receiver"), String, "words")
        got = []
        filter_.registerCallback(got.append)
        publisher = graph.node("sender").create_publisher(String, "words", 10)

        def published():
            publisher.publish(String(data="hello"))
            return got

        assert until(published)
        assert got[0].data == "hello"
        assert filter_.topic_name == "/words"
