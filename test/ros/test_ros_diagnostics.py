"""/diagnostics and the doctor of a running robot: all is well when it is, and the planted cause by its name when it is not."""

import json
import subprocess
import sys
import time

import pytest

pytest.importorskip("roboref.action", reason="needs ROS 2 and the built interfaces (make setup, . ./env.sh)")
pytest.importorskip("tf2_ros", reason="needs ROS 2 (make setup, . ./env.sh)")
from asker import REFER, Asker
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from live_graph import ROOT, wait_until
from rclpy.qos import QoSProfile, ReliabilityPolicy
from roboref.msg import Referral
from sensor_msgs.msg import Image
from synthetic_camera import OPTICAL

from roboref_node.doctor import Level
from roboref_node.doctor.robot import examine_robot
from roboref_node.ros.camera import COLOR, DEPTH
from roboref_node.ros.camera_reading import CameraReading, StreamReading
from roboref_node.ros.diagnostic_entries import AnswerCounts, Link, Snapshot, entries
from roboref_node.ros.qos import Offer
from roboref_node.ros.settings import ReferSettings
from roboref_node.status import Refused, Status

OK, WARN, ERROR, STALE = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR, DiagnosticStatus.STALE
CONCERNS = ["camera", "depth", "pairing", "TF", "model", "goals"]
SIM = "roboref_node.nodes.sim"
CELL_TF = [x for topic in ("/tf", "/tf_static", "/clock") for x in ("-r", f"{topic}:=/diagnosed{topic}")]


class Panel:
    """What a person would see of one node: its newest entry for each concern."""

    def __init__(self, graph, node, process):
        self.node, self.process = node, process
        self._messages = graph.collect(DiagnosticArray, "/diagnostics")

    def entry(self, concern):
        for message in reversed(list(self._messages)):
            for status in message.status:
                if status.name == f"{self.node}: {concern}":
                    return status
        return None

    def told(self):
        found = {concern: self.entry(concern) for concern in CONCERNS}
        return {concern: (entry.level, entry.message) for concern, entry in found.items() if entry is not None}

    def wait_for(self, concern, *levels, timeout_s=25.0):
        def settled():
            found = self.entry(concern)
            return found is not None and found.level in levels

        wait_until(settled, lambda: f"{concern} at {levels}: {self.told()}\n{self.process.log_end}", timeout_s)
        return self.entry(concern)

    def wait_for_all_ok(self):
        def healthy():
            found = self.told()
            return len(found) == len(CONCERNS) and all(level == OK for level, _ in found.values())

        wait_until(healthy, lambda: f"no complaint: {self.told()}\n{self.process.log_end}")


def values(status):
    return {pair.key: pair.value for pair in status.values}


@pytest.fixture(scope="module")
def refer(graph, camera):
    process = graph.start(REFER, "--ros-args", "-p", "model:=none", "-p", "tf_timeout_s:=0.3", "-r", "__node:=watched")
    yield Asker(graph, process, "/watched")
    process.end()


@pytest.fixture(scope="module")
def panel(graph, refer):
    return Panel(graph, "watched", refer.process)


@pytest.fixture(autouse=True)
def healthy(request):
    yield
    if "camera" in request.fixturenames:
        camera = request.getfixturevalue("camera")
        camera.running, camera.skew_ns, camera.frame_id, camera.stamp_offset_ns = True, 0, OPTICAL, 0


def test_a_healthy_camera_gives_six_entries_without_complaint(panel):
    panel.wait_for_all_ok()
    # Images may come before the graph tells who sends them.
    wait_until(lambda: values(panel.entry("camera"))["qos_offered"], lambda: values(panel.entry("camera")))
    camera, pairing = values(panel.entry("camera")), values(panel.entry("pairing"))
    assert camera["topic"] == f"/{COLOR}" and camera["encoding"] == "rgb8" and camera["frame_id"] == OPTICAL
    assert camera["qos_requested"] == "best_effort volatile" and camera["qos_offered"] == "reliable volatile"
    wait_until(lambda: 10 < float(values(panel.entry("camera"))["rate_hz"]) < 20, lambda: values(panel.entry("camera")))
    wait_until(lambda: 10 < float(values(panel.entry("pairing"))["pairs_hz"]) < 20, lambda: values(panel.entry("pairing")))
    assert float(pairing["skew_s"]) == 0 and camera["clock"] == "system"
    assert values(panel.entry("TF"))[f"lag_s of base_link from {OPTICAL}"] == "static"
    assert values(panel.entry("model"))["name"] == "none" and panel.entry("model").hardware_id == "ur5"


def test_a_stopped_camera_is_named_within_a_second_and_comes_back(panel, camera):
    panel.wait_for_all_ok()
    camera.running = False
    stopped_s = time.monotonic()
    entry = panel.wait_for("camera", STALE, ERROR, timeout_s=1.5)
    print(f"noticed after {time.monotonic() - stopped_s:.2f} s")
    assert f"/{COLOR}" in entry.message
    # The age of the last image may be what is noticed first.
    wait_until(lambda: "nothing" in panel.entry("camera").message, lambda: panel.told())
    assert f"/{DEPTH}" in panel.wait_for("depth", STALE, ERROR).message
    assert panel.wait_for("pairing", STALE).message
    camera.running = True
    panel.wait_for_all_ok()


def test_a_camera_that_stops_again_just_after_its_restart_is_named_as_fast(panel, camera):
    panel.wait_for_all_ok()
    for _ in range(2):
        camera.running = False
        panel.wait_for("camera", STALE, ERROR, timeout_s=1.5)
        camera.running = True
        panel.wait_for("camera", OK)


def test_colour_and_depth_apart_are_told_with_the_number(panel, camera):
    panel.wait_for_all_ok()
    camera.skew_ns = 30_000_000
    entry = panel.wait_for("pairing", ERROR)
    assert "sync_slop_s" in entry.message and panel.entry("camera").level == OK


def test_a_frame_that_tf_does_not_know_is_named_with_the_robots(panel, camera):
    panel.wait_for_all_ok()
    camera.frame_id = "unknown_optical_frame"
    entry = panel.wait_for("TF", ERROR)
    assert "unknown_optical_frame" in entry.message and "base_link" in entry.message
    assert "missing" in values(entry).values()


def test_a_transform_that_stops_is_told_with_its_age(panel, camera):
    panel.wait_for_all_ok()
    camera.publish_transform("once_optical_frame", time.time_ns())
    camera.frame_id = "once_optical_frame"
    entry = panel.wait_for("TF", ERROR)
    assert "once_optical_frame" in entry.message
    wait_until(lambda: "older than the newest image" in panel.entry("TF").message, lambda: panel.told())


def test_a_refusal_is_counted_and_repeated(panel, refer):
    answer = refer.result_of(refer.send("?!")).result.referrals[0]
    entry = panel.wait_for("goals", WARN)
    assert answer.sentence in entry.message and values(entry)["last_status"] == "BAD_REQUEST"
    assert int(values(entry)["count BAD_REQUEST"]) == 1
    wait_until(lambda: refer.look_at().status == Referral.OK, "a good answer")
    panel.wait_for("goals", OK)


def test_a_publisher_that_cannot_be_heard_is_counted(graph):
    process = graph.start(
        REFER, "--ros-args", "-p", "model:=none", "-p", "image_reliability:=reliable", "-r", "__ns:=/strict", "-r", "__node:=strict"
    )
    panel = Panel(graph, "strict/strict", process)
    publisher = graph.node.create_publisher(Image, f"/strict/{COLOR}", QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT))
    entry = panel.wait_for("camera", ERROR)
    wait_until(lambda: values(panel.entry("camera"))["incompatible_qos"] == "1", lambda: values(panel.entry("camera")))
    entry = panel.entry("camera")
    assert "QoS" in entry.message and f"/strict/{COLOR}" in entry.message
    assert values(entry)["qos_offered"] == "best_effort volatile" and values(entry)["qos_requested"] == "reliable volatile"
    graph.node.destroy_publisher(publisher)
    assert process.end() == 0, process.log


# ---- the entries themselves ----------------------------------------------------------------------------------------------------


def snapshot(**changes):
    streams = {key: StreamReading(f"/{key}", 100, silent_s=0.01, age_s=0.03, frame_id=OPTICAL, stamp_ns=1) for key in ("color", "depth")}
    streams |= {key: changes.pop(key) for key in ("color", "depth") if key in changes}
    camera = CameraReading(streams["color"], streams["depth"], pairs=100, skew_s=0.001)
    base = {
        "inactive": Refused(Status.CANCELED, "the node is not active"), "model": "nano", "settings": ReferSettings(), "camera": camera,
        "rates_hz": {"color": 30.0, "depth": 30.0, "pairs": 29.0}, "links": (Link("base_link", OPTICAL),),
    }  # fmt: skip
    return Snapshot(**(base | changes))


def by_concern(found):
    return {status.name.removeprefix("n: "): status for status in entries("n", "ur5", found)}


def test_every_entry_that_is_not_ok_has_a_hint():
    assert [status.level for status in by_concern(snapshot()).values()] == [OK] * 6
    for faulty in (
        snapshot(lost={"/color": 3}),
        snapshot(rates_hz={"color": 30.0, "depth": 30.0, "pairs": 3.0}),
        snapshot(full="4 goals are waiting already"),
        snapshot(links=()),
        snapshot(color=StreamReading("/color", problem="nobody publishes /color")),
        snapshot(camera=None),
    ):
        bad = [status for status in by_concern(faulty).values() if status.level != OK]
        assert bad and all(len(status.message) > 5 for status in bad)


def test_a_gpu_is_told_with_its_memory_and_simulated_time_with_its_name():
    found = by_concern(snapshot(gpu_mb={"free": 1000.4, "total": 8000.0, "model": 512.0}, clock="simulated (/clock)"))
    assert values(found["model"])["gpu_free_mb"] == "1000" and values(found["model"])["gpu_model_mb"] == "512"
    assert values(found["depth"])["clock"] == "simulated (/clock)"


def test_two_cameras_on_one_topic_are_told_with_their_nodes():
    found = by_concern(snapshot(offered={"/color": Offer("reliable volatile", ("/left/driver", "/right/driver"))}))["camera"]
    assert found.level == WARN and "2 nodes publish /color (/left/driver, /right/driver)" in found.message
    assert values(found)["qos_offered"] == "reliable volatile"


def test_lost_images_and_missing_pairs_warn_with_their_numbers():
    assert "3 images of /color" in by_concern(snapshot(lost={"/color": 3}))["camera"].message
    assert "3.0 pairs per second of 30.0" in by_concern(snapshot(rates_hz={"color": 30.0, "depth": 30.0, "pairs": 3.0}))["pairing"].message


def test_a_model_that_is_not_there_is_an_error_before_and_after_activation():
    absent = snapshot(camera=None, inactive=Refused(Status.MODEL_UNAVAILABLE, "not activated: no weights"))
    assert by_concern(absent)["model"].level == ERROR and "no weights" in by_concern(absent)["model"].message
    answers = AnswerCounts()
    answers.note(Referral(status_text="OK", timing_names=["model"], timing_ms=[120.4], provenance_json='{"weights_sha256": "abc"}'))
    found = by_concern(snapshot(answers=answers))["model"]
    assert found.level == OK and values(found)["last_latency_ms"] == "120" and values(found)["weights_sha256"] == "abc"
    answers.note(Referral(status_text="MODEL_TIMEOUT", sentence="the server did not answer"))
    assert by_concern(snapshot(answers=answers))["model"].level == ERROR


# ---- the simulated cell, watched and examined ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cell(graph):
    process = graph.start(
        SIM, "--ros-args", "-r", "__ns:=/diagnosed", *CELL_TF, "-p", "width:=320", "-p", "height:=240", "-p", "rate:=10.0"
    )
    process.wait_for_log("objects")
    yield process
    process.end()


def examined(*arguments):
    """Findings of the robot's part of ``roboref doctor``, and its exit status."""
    remaps = [x for rule in CELL_TF[1::2] for x in ("--remap", rule)]
    command = [
        sys.executable,
        "-m",
        "roboref_node.cli",
        "doctor",
        "--topics",
        "--camera",
        "/diagnosed/camera",
        "--json",
        *remaps,
        *arguments,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, cwd=ROOT, check=False)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    return done.returncode, {finding["id"]: finding for finding in report["findings"]}, done.stdout


def test_a_node_at_the_healthy_cell_has_nothing_to_complain_about(graph, cell):
    process = graph.start(
        REFER, "--ros-args", "-p", "model:=none", "-p", "use_sim_time:=true", "-r", "__ns:=/diagnosed", "-r", "__node:=at_cell", *CELL_TF
    )
    panel = Panel(graph, "diagnosed/at_cell", process)
    panel.wait_for_all_ok()
    assert values(panel.entry("depth"))["encoding"] == "16UC1"
    assert process.end() == 0, process.log


def test_the_doctor_finds_nothing_wrong_with_the_healthy_cell(cell, model_file):
    status, found, text = examined("--model", str(model_file))
    assert status == 0 and "a question would work: 0 errors" in text, text
    robot = ("color_topic", "depth_topic", "pairing", "camera_info", "depth_aligned", "depth_units", "view", "tf", "clock")
    assert {key: found[key]["level"] for key in robot} == dict.fromkeys(robot, "ok"), text
    assert "16UC1" in found["depth_topic"]["what"] and "reliable volatile" in found["depth_topic"]["what"]


def test_the_doctor_names_a_missing_depth_topic_and_what_is_there_instead(cell, model_file):
    status, found, text = examined("--model", str(model_file), "--remap", f"{DEPTH}:=/nobody/depth")
    assert status == 1 and "a question would not work: 1 errors" in text, text
    depth = found["depth_topic"]
    assert depth["level"] == "error" and "nobody publishes /nobody/depth" in depth["what"], text
    assert f"/diagnosed/{DEPTH}" in depth["fix"] and found["color_topic"]["level"] == "ok"


def test_the_doctor_names_frames_that_are_not_connected(cell):
    rules = ["/tf_static:=/nobody/tf_static", *CELL_TF[1::2]]  # the first rule that fits counts
    found = {finding.id: finding for finding in examine_robot("/diagnosed/camera", remaps=rules)}
    assert {key: found[key].level for key in ("tf", "depth_units") if key in found} == {"tf": Level.ERROR, "depth_units": Level.OK}, found
    assert "camera_color_optical_frame" in found["tf"].what and "base_link" in found["tf"].what, found


def test_the_doctor_names_the_node_that_lives_by_another_clock(graph, cell):
    process = graph.start(REFER, "--ros-args", "-p", "model:=none", "-r", "__ns:=/diagnosed", "-r", "__node:=late", *CELL_TF)
    process.wait_for_log("active: model")
    found = {finding.id: finding for finding in examine_robot("/diagnosed/camera", remaps=CELL_TF[1::2])}
    assert found["clock"].level is Level.OK, found
    assert "/diagnosed/late" in found["use_sim_time"].what and "use_sim_time true" in found["use_sim_time"].fix, found
    assert process.end() == 0, process.log
