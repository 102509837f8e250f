"""Each test plants one fault in a running robot, over DDS in a domain of its own; the doctor must name that one."""

import os
import threading
import time

import numpy as np
import pytest

pytest.importorskip("roboref.action", reason="needs ROS 2 and the built interfaces (make setup, . ./env.sh)")
pytest.importorskip("tf2_ros", reason="needs ROS 2 (make setup, . ./env.sh)")
import live_graph  # noqa: F401  # sets the domain of this test run
from planted_camera import BASE_FROM_OPTICAL, OPTICAL, Plan, PlantedCamera
from rclpy.qos import DurabilityPolicy
from sensor_msgs.msg import PointCloud2

from roboref_node.doctor import Level
from roboref_node.doctor.ports import domains_in_use
from roboref_node.doctor.robot import examine_robot
from roboref_node.geometry.transform import Transform

WARN, ERROR = Level.WARNING, Level.ERROR


def own_domain():
    return int(os.environ["ROS_DOMAIN_ID"])


def examine(plan, seconds=4.0, domain=None):
    """What the doctor says that is not well, by id."""
    camera = PlantedCamera(plan, own_domain() if domain is None else domain)
    try:
        return {f.id: f for f in examine_robot("camera", duration_s=seconds) if f.level in (WARN, ERROR)}
    finally:
        camera.close()


def changed(**fields):
    """An edit that sets fields of messages: ``depth__encoding="rgb8"``."""

    def edit(messages):
        for name, value in fields.items():
            key, _, field = name.partition("__")
            message = messages[key]
            current = getattr(message, field)
            setattr(message, field, value(current) if callable(value) else value)

    return edit


def removed(*keys):
    return lambda messages: [messages.pop(key) for key in keys]


def depth_values(function, encoding=None):
    """An edit of the depth pixels."""

    def edit(messages):
        message = messages["depth"]
        pixels = function(np.frombuffer(message.data, np.uint16).reshape(message.height, message.width))
        message.data = np.ascontiguousarray(pixels).tobytes()
        message.step = pixels.shape[1] * pixels.dtype.itemsize
        message.encoding = encoding or message.encoding

    return edit


def zeroed(messages):
    for key in ("color_info", "depth_info"):
        messages[key].k = [0.0] * 9
        messages[key].p = [0.0] * 12


def of_twice_the_size(messages):
    for key in ("color_info", "depth_info"):
        messages[key].k = [2.0 * x for x in messages[key].k[:8]] + [1.0]
        messages[key].p = [2.0 * x for x in messages[key].p[:10]] + [1.0, 0.0]


def with_the_info_of_another_camera(messages):
    messages["color_info"].header.frame_id = "infra1_optical_frame"


def in_a_frame_nobody_knows(messages):
    for message in messages.values():
        message.header.frame_id = "lost_optical_frame"


def with_depth_a_second_early(messages):
    messages["depth"].header.stamp.sec -= 1


def in_metres(depth_mm):
    return (depth_mm // 1000 + 1).astype(np.uint16)


LINK_POSE = Transform(np.array([0.0, 0, 0, 1]), BASE_FROM_OPTICAL.translation_m)
FAR_POSE = Transform(BASE_FROM_OPTICAL.quaternion_xyzw, 1000 * BASE_FROM_OPTICAL.translation_m)
TWO_PARENTS = (("base_link", OPTICAL), ("base_link", "mast"), ("mast", OPTICAL))

PLANTED = {
    "no colour": (Plan(edit=removed("color")), "color_topic", ERROR, "nothing arrives"),
    "depth of another type": (Plan(depth_type=PointCloud2), "depth_topic", ERROR, "PointCloud2, not sensor_msgs/msg/Image"),
    "low rate": (Plan(rate_hz=1.0), "color_topic", WARN, " Hz"),
    "no calibration": (Plan(edit=removed("color_info", "depth_info")), "camera_info", ERROR, "no camera info"),
    "calibration of zeros": (Plan(edit=zeroed), "camera_info", ERROR, "calibrat"),
    "calibration of another size": (Plan(edit=of_twice_the_size), "camera_info", ERROR, "cx 159.0"),
    "calibration says another size": (Plan(edit=changed(color_info__width=lambda w: 2 * w)), "camera_info", ERROR, "320x120"),
    "calibration of another camera": (
        Plan(edit=with_the_info_of_another_camera), "camera_info_frame", WARN, f"of infra1_optical_frame, its images are of {OPTICAL}",
    ),
    "colour as depth": (Plan(edit=changed(depth__encoding="rgb8")), "depth_encoding", ERROR, "'rgb8'"),
    "bayer colour": (Plan(edit=changed(color__encoding="bayer_rggb8")), "color_encoding", ERROR, "'bayer_rggb8'"),
    "metres called millimetres": (Plan(edit=depth_values(in_metres)), "depth_units", ERROR, "metres was read as"),
    "millimetres called metres": (Plan(edit=depth_values(np.float32, "32FC1")), "depth_units", ERROR, "millimetres was read"),
    "depth all unknown": (Plan(edit=depth_values(np.zeros_like)), "depth_known", ERROR, "unknown"),
    "depth beside colour": (Plan(edit=depth_values(lambda mm: np.roll(mm, 8, axis=1))), "depth_aligned", ERROR, "+8 columns"),
    "stamps apart": (Plan(edit=with_depth_a_second_early), "pairing", ERROR, "sync_slop_s"),
    "chain broken": (Plan(edit=in_a_frame_nobody_knows), "tf", ERROR, "lost_optical_frame"),
    "chain stale": (Plan(tf_stamp_offset_ns=-5 * 10**9), "tf", ERROR, "older than the image"),
    "a frame that is not optical": (Plan(pose=LINK_POSE), "view", ERROR, f"the axis z of {OPTICAL} points upwards (sine 1.00)"),
    "a pose in millimetres": (Plan(pose=FAR_POSE), "view", ERROR, "outside the nearest keep-in zone 'cell' (profile.zones.cell)"),
    "two parents": (Plan(parents=TWO_PARENTS), "tf_two_parents", ERROR, "base_link, mast"),
    "static transforms that are not latched": (
        Plan(static_durability=DurabilityPolicy.VOLATILE, tf_stamp_offset_ns=0), "tf_qos", ERROR, "/tf_static",
    ),
    "two cameras on one topic": (Plan(publishers=2), "color_publishers", ERROR, "2 nodes publish"),
    "two clocks": (Plan(clocks=(0, 0)), "clock_publishers", ERROR, "2 nodes publish /clock"),
    "stamps of another time": (Plan(stamp_ns=lambda: time.time_ns() - 3600 * 10**9), "clock", ERROR, "nobody publishes /clock"),
    "a clock that nobody follows": (Plan(clocks=(-9 * 10**15,)), "clock", WARN, "/clock is published"),
}  # fmt: skip


def names(found, id, level, words):
    """The fault is named, and what is unrelated to it is not called an error."""
    finding = found.get(id)
    if finding is None or finding.level is not level or words not in finding.what or not (finding.why and finding.fix):
        return False
    consequences = {"color_topic": {"depth_topic"}, "tf_qos": {"tf"}, "tf_two_parents": {"tf"}}.get(id, set())
    return {f.id for f in found.values() if f.level is ERROR} <= {id} | consequences


@pytest.mark.parametrize("name", PLANTED)
def test_the_planted_fault_is_named(name):
    plan, id, level, words = PLANTED[name]
    attempts = []
    for seconds in (3.0, 6.0, 12.0):  # a busy machine may need longer for discovery, and delays images
        attempts.append(examine(plan, seconds))
        if names(attempts[-1], id, level, words):
            return
    pytest.fail(f"{id} at {level} with {words!r} was not what the doctor said: {attempts[-1]}")


def test_a_healthy_camera_has_no_finding():
    assert not (examine(Plan()) and examine(Plan(), seconds=12.0))  # the second on a busy machine


def test_a_camera_that_is_discovered_late_is_listened_to_for_as_long_as_another():
    cameras = []
    later = threading.Timer(3.0, lambda: cameras.append(PlantedCamera(Plan(), own_domain())))
    later.start()
    try:
        found = {f.id: f.level for f in examine_robot("camera", duration_s=2.5)}
    finally:
        later.join()
        cameras[0].close()
    assert found["pairing"] is found["tf"] is Level.OK and ERROR not in found.values(), found


def test_a_camera_in_another_domain_is_told_with_its_number():
    elsewhere = 1 + own_domain() % 100
    found = examine(Plan(rate_hz=5.0), seconds=1.5, domain=elsewhere)
    assert f"{elsewhere}" in found["color_topic"].fix and "ROS_DOMAIN_ID" in found["color_topic"].fix, found
    assert elsewhere not in domains_in_use()  # it has gone


@pytest.mark.parametrize(("camera", "remaps", "words"), [("bad/name!", (), "bad/name!"), ("camera", ("garbage",), "'-r garbage'")])
def test_names_that_are_none_are_told(camera, remaps, words):
    (found,) = examine_robot(camera, remaps=remaps, duration_s=1.0)
    assert found.id == "topics" and found.level is ERROR and words in found.what and "FROM:=TO" in found.fix


def test_a_refer_node_that_cannot_hear_its_camera_is_told(graph):
    process = graph.start(
        "roboref_node.nodes.refer", "--ros-args", "-p", "model:=none", "-p", "image_reliability:=reliable", "-r", "__node:=deaf"
    )
    process.wait_for_log("active: model")
    found = examine(Plan(reliable=False))
    assert "/deaf" in found["qos"].what and "image_reliability:=best_effort" in found["qos"].fix, found
    assert process.end() == 0, process.log


def test_refer_nodes_that_wait_for_a_clock_or_to_be_activated_are_told(graph):
    process = graph.start(
        "roboref_node.nodes.refer", "--ros-args", "-p", "model:=none", "-p", "use_sim_time:=true", "-r", "__node:=timeless"
    )
    process.wait_for_log("active: model")
    found = examine(Plan())
    assert "/timeless" in found["use_sim_time"].what and "nobody publishes /clock" in found["use_sim_time"].what, found
    assert process.end() == 0, process.log
