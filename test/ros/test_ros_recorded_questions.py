"""Questions that failed are kept with their frames, within bounds, and can be explained and replayed without ROS."""

import json
import resource
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("roboref.action", reason="needs ROS 2 and the built interfaces (make setup, . ./env.sh)")
from live_graph import wait_until
from roboref.msg import Referral as ReferralMessage
from rosbags.highlevel import AnyReader
from rosbags.rosbag2 import Writer
from rosbags.typesys import Stores, get_typestore
from synthetic_camera import BASE_FROM_OPTICAL, CAMERA, OPTICAL, images

from roboref_node.cli import main
from roboref_node.demo.dialogue import answer_to_dict
from roboref_node.goals.profile import load_profile
from roboref_node.pipeline import Pipeline, PipelineSettings
from roboref_node.replay.recorded import QUESTION_TOPIC, read_recorded, recorded_bags
from roboref_node.rgbd import DepthTrust, RgbdPair, build_frame
from roboref_node.ros.camera_info import info_from_camera
from roboref_node.ros.evidence import Evidence
from roboref_node.ros.failures import QuestionRecorder
from roboref_node.ros.image import color_message, depth_message
from roboref_node.ros.record_settings import Recorded, RecordSettings
from roboref_node.ros.requests import Request
from roboref_node.task import parse_instruction

HOLE_PX, BOX_PX = (40.0, 40.0), (162.0, 109.5)
TRUST = DepthTrust(0.1, 10.0, aligned=False, rectified=False)


def asked(pixel, stamp_ns, trust=TRUST, *, scale=1.0, depth_frame=OPTICAL, skew_ns=0, d=(0.0,) * 5):
    """A request, its evidence and its answers, as the node has them."""
    rgb, depth_mm = images()
    depth_mm[20:60, 20:60] = 0
    depth_mm = (depth_mm * scale).astype(np.uint16)
    info = info_from_camera(CAMERA, stamp_ns=stamp_ns, frame_id=OPTICAL)
    info.d = list(d)
    depth = depth_message(depth_mm, stamp_ns=stamp_ns + skew_ns, frame_id=depth_frame)
    pair = RgbdPair(color_message(rgb, stamp_ns=stamp_ns, frame_id=OPTICAL), depth)
    evidence = Evidence(pair, info, info, {"base_link": BASE_FROM_OPTICAL})
    frame = build_frame(pair, info, info, trust, lambda *_: BASE_FROM_OPTICAL)
    request = Request("point at the box", finish=lambda request, messages: None, pixel=pixel)
    pipeline = Pipeline(None, load_profile("ur5"), PipelineSettings())
    return request, pipeline.refer_all(frame, parse_instruction("point at the box"), evidence.transforms, pixel=pixel), evidence


def recorder(folder, trust=TRUST, **settings):
    settings = {"questions": Recorded.FAILED, "min_free_megabytes": 0, **settings}
    return QuestionRecorder(RecordSettings(folder=str(folder), **settings), load_profile("ur5"), PipelineSettings(), "none", trust)


def test_a_failed_question_is_explained_and_replayed_to_the_same_answer(tmp_path, capsys):
    folder = recorder(tmp_path).record(*asked(HOLE_PX, 5_000_000_000))
    assert folder is not None and folder.name.endswith("_NO_DEPTH")
    (question,) = read_recorded(folder)
    assert question.pixel == HOLE_PX and question.profile == load_profile("ur5") and question.answers[0]["status"] == "NO_DEPTH"
    assert main(["explain", str(folder), "--out", str(tmp_path / "why.png"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["questions"][0]["repeated"] and not told["questions"][0]["differences"], told
    picture = cv2.imread(str(tmp_path / "why.png"))
    assert picture.shape[0] > 240 and picture.shape[1] > 320 and len(np.unique(picture.reshape(-1, 3), axis=0)) > 50
    assert main(["replay", str(folder), "--model", "none", "--json"]) == 0
    again = json.loads(capsys.readouterr().out.splitlines()[-1])["answers"][0]
    assert again["status"] == "NO_DEPTH" and again["sentence"] == question.answers[0]["sentence"]


@pytest.mark.parametrize(
    ("trust", "camera"),
    [
        (replace(TRUST, rectified=True), {"d": (-0.35, 0.1, 0.0, 0.0, 0.0)}),
        (replace(TRUST, aligned=True), {"depth_frame": "camera_depth_optical_frame"}),
        (replace(TRUST, near_m=0.05), {"scale": 0.1}),
        (TRUST, {"skew_ns": 40_000_000}),
    ],
    ids=["rectified", "aligned", "near", "slop"],
)
def test_what_was_declared_about_the_images_is_recorded_too(tmp_path, capsys, trust, camera):
    """Without it a rectified image was undistorted once more, aligned depth had no transform, and a near scene the wrong unit."""
    folder = recorder(tmp_path, trust, questions=Recorded.ALL).record(*asked(BOX_PX, 8_000_000_000, trust, **camera))
    (question,) = read_recorded(folder)
    assert question.trust == trust and question.answers[0]["status"] == "OK"
    assert main(["explain", str(folder), "--json"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])["questions"][0]
    assert told["repeated"] and not told["differences"] and not told["note"], told
    assert main(["replay", str(folder), "--model", "none", "--json"]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    again = json.loads(line)["answers"][0]
    np.testing.assert_allclose(again["position_m"], question.answers[0]["position_m"], atol=1e-6)
    (tmp_path / "again.json").write_text(line)  # and the answer of the replay is explained with what the replay went by
    assert main(["explain", str(tmp_path / "again.json"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])["questions"][0]
    assert told["repeated"] and not told["differences"], told


def test_a_question_recorded_before_its_declarations_were_kept_is_read(tmp_path):
    folder = recorder(tmp_path).record(*asked(HOLE_PX, 9_000_000_000))
    store = get_typestore(Stores.ROS2_JAZZY)
    with AnyReader([folder], default_typestore=store) as source, Writer(tmp_path / "old", version=9) as copy:
        for connection, stamp_ns, raw in source.messages():
            if connection.topic == QUESTION_TOPIC:
                message = source.deserialize(raw, connection.msgtype)
                data = {key: value for key, value in json.loads(message.data).items() if key != "declared"}
                raw = store.serialize_cdr(store.types[connection.msgtype](json.dumps(data)), connection.msgtype)
            copy.write(copy.add_connection(connection.topic, connection.msgtype, typestore=store), stamp_ns, raw)
    assert read_recorded(tmp_path / "old")[0].trust == TRUST


def test_a_stored_answer_that_no_longer_holds_is_told(tmp_path, capsys):
    request, (referral,), evidence = asked(BOX_PX, 6_000_000_000)
    folder = recorder(tmp_path, questions=Recorded.ALL).record(request, (referral,), evidence)
    assert folder.name.endswith("_OK") and main(["explain", str(folder)]) == 0
    answer = referral.to_dict()
    answer["goal"]["position_m"][0] += 0.05
    stored = tmp_path / "answer.json"
    answer["provenance"] = {**answer["provenance"], "source": {"bag": str(folder)}}
    stored.write_text(json.dumps(answer))
    capsys.readouterr()
    assert main(["explain", str(stored), "--json"]) == 1
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["status"] == "DIFFERENT" and "50.0 mm off" in told["questions"][0]["differences"][0]


def test_good_answers_and_questions_without_a_frame_are_not_recorded(tmp_path):
    request, referrals, evidence = asked(BOX_PX, 7_000_000_000)
    assert recorder(tmp_path).record(request, referrals, evidence) is None
    assert recorder(tmp_path).record(request, referrals, Evidence()) is None
    assert recorder(tmp_path, questions=Recorded.NONE).record(*asked(HOLE_PX, 1)) is None
    assert not list(tmp_path.iterdir())


def test_the_oldest_give_way_and_foreign_folders_stay(tmp_path):
    (tmp_path / "mine").mkdir()
    keeper = recorder(tmp_path, max_count=3)
    for second in range(1, 6):
        assert keeper.record(*asked(HOLE_PX, second * 10**9)) is not None
    kept = recorded_bags(tmp_path)
    assert [int(bag.name.split("_")[1]) // 10**9 for bag in kept] == [3, 4, 5] and (tmp_path / "mine").is_dir()
    size = sum(f.stat().st_size for bag in kept for f in bag.iterdir())
    assert recorder(tmp_path, max_megabytes=1).record(*asked(HOLE_PX, 9 * 10**9)) is not None
    assert sum(f.stat().st_size for bag in recorded_bags(tmp_path) for f in bag.iterdir()) <= max(10**6 + size // 3, size // 3)


def test_a_full_disk_costs_the_recording_only(tmp_path, caplog):
    assert recorder(tmp_path, min_free_megabytes=10**9).record(*asked(HOLE_PX, 1)) is None
    assert "record.min_free_megabytes" in caplog.text
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))  # the write itself fails, as on a full disk
    try:
        assert recorder(tmp_path).record(*asked(HOLE_PX, 2)) is None
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "could not be recorded" in caplog.text and not list(tmp_path.iterdir())
    assert recorder(tmp_path).record(*asked(HOLE_PX, 3)) is not None


def listening_sockets(pid):
    """Inodes of TCP sockets in state LISTEN (0A) that a process holds."""
    held = {p.readlink().name for p in Path(f"/proc/{pid}/fd").iterdir() if p.is_symlink() and "socket:" in str(p.readlink())}
    tables = [Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:] for name in ("tcp", "tcp6")]
    return [line for table in tables for line in table if line.split()[3] == "0A" and f"socket:[{line.split()[9]}]" in held]


def test_the_node_records_a_refusal_and_opens_no_port(graph, camera, tmp_path):
    from asker import REFER, Asker

    arguments = ["model:=none", "record.questions:=failed", f"record.folder:={tmp_path}", "record.min_free_megabytes:=0"]
    process = graph.start(REFER, "--ros-args", "-r", "__node:=recording", *[x for a in arguments for x in ("-p", a)])
    asker = Asker(graph, process, "/recording")
    wait_until(lambda: asker.look_at().status == ReferralMessage.OK, "a good answer")
    answer = asker.look_at(pixel=(-5.0, 10.0))
    assert answer.status_text == "OUT_OF_IMAGE"
    # What was asked before the camera was discovered is refused, and recorded too.
    (bag,) = wait_until(lambda: [b for b in recorded_bags(tmp_path) if b.name.endswith("_OUT_OF_IMAGE")], "a recorded question")
    assert not [b for b in recorded_bags(tmp_path) if b.name.endswith("_OK")]
    assert main(["explain", str(bag)]) == 0
    # What `roboref ask --json` prints has no images beside it: the workspace and the numbers are drawn.
    stored = tmp_path / "answer.json"
    stored.write_text(json.dumps(answer_to_dict(asker.look_at())))
    assert main(["explain", str(stored), "--out", str(tmp_path / "why.png")]) == 0
    assert cv2.imread(str(tmp_path / "why.png")).shape[0] > 700
    assert not listening_sockets(process._popen.pid)
    assert process.end() == 0, process.log
