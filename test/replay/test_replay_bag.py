"""Bags without a ROS graph: frames at a stamp, TF semantics, golden comparison, and the command."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rosbags.highlevel import AnyReader
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from roboref_node.cli import main
from roboref_node.frame import Frame
from roboref_node.geometry.camera import CameraModel
from roboref_node.geometry.transform import Transform
from roboref_node.replay import BagTopics, RgbdBag, load_questions
from roboref_node.replay.recorded import QUESTION_TOPIC, read_recorded
from roboref_node.replay.writing import RgbdBagWriter
from roboref_node.sim.cell import SimulatedCell
from roboref_node.status import Refused, Status

START_NS = 1_700_000_000_000_000_000
PERIOD_NS = 66_666_667


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[np.ndarray]]:
    """Ten frames at 15 Hz of a camera that moves by TF although the picture stands still."""
    folder = tmp_path_factory.mktemp("bags") / "cell"
    depths = []
    with SimulatedCell(3) as cell, RgbdBagWriter(folder) as writer:
        writer.add_transform("world", "base_link", START_NS, Transform.identity(), static=True)
        for index in range(10):
            stamp = START_NS + index * PERIOD_NS
            rendered = cell.render()
            depths.append(rendered.depth_m)
            writer.add_transform("base_link", "camera_color_optical_frame", stamp, cell.base_from_optical, static=False)
            writer.add_frame(Frame(rendered.rgb, rendered.depth_m, cell.camera, stamp_ns=stamp))
            cell.step(PERIOD_NS / 1e9)
    return folder, depths


def test_frames_come_back_as_they_were(bag: tuple[Path, list[np.ndarray]]) -> None:
    folder, depths = bag
    with RgbdBag(folder) as reader:
        assert reader.stamps_ns == [START_NS + i * PERIOD_NS for i in range(10)]
        frame = reader.frame_at(START_NS + 4 * PERIOD_NS + 1000)
        assert frame.stamp_ns == START_NS + 4 * PERIOD_NS
        assert frame.is_registered
        known = np.isfinite(depths[4])
        np.testing.assert_allclose(frame.depth_m[known], depths[4][known], atol=0.00051)
        assert np.isnan(frame.depth_m[~known]).all()
        with pytest.raises(Refused) as stale:
            reader.frame_at(START_NS + 60_000_000_000)
        assert stale.value.status is Status.FRAME_STALE


def test_images_recorded_at_one_time_are_told_apart_by_their_stamps(bag: tuple[Path, list[np.ndarray]], tmp_path: Path) -> None:
    """As `ros2 bag record --use-sim-time` does where /clock ticks slower than the camera."""
    store = get_typestore(Stores.ROS2_JAZZY)
    tick_ns = 4 * PERIOD_NS
    with AnyReader([bag[0]], default_typestore=store) as source, Writer(tmp_path / "bag", version=9) as copy:
        connections = {c.id: copy.add_connection(c.topic, c.msgtype, typestore=store) for c in source.connections}
        for connection, recorded_ns, raw in source.messages():
            copy.write(connections[connection.id], START_NS + (recorded_ns - START_NS) // tick_ns * tick_ns, raw)
    with RgbdBag(bag[0]) as expected, RgbdBag(tmp_path / "bag") as found:
        assert found.stamps_ns == expected.stamps_ns
        for stamp_ns in expected.stamps_ns:
            frame, same = found.frame_at(stamp_ns), expected.frame_at(stamp_ns)
            assert frame.stamp_ns == stamp_ns
            np.testing.assert_array_equal(frame.depth_m, same.depth_m)


def test_what_is_no_bag_is_told_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="does not exist"):
        RgbdBag(tmp_path / "absent")
    (tmp_path / "killed").mkdir()
    with pytest.raises(Refused, match=r"it has no metadata\.yaml$"):
        RgbdBag(tmp_path / "killed")
    (tmp_path / "killed/killed_0.db3").touch()
    with pytest.raises(Refused, match="ros2 bag reindex"):
        RgbdBag(tmp_path / "killed")


def test_an_mcap_file_without_its_end_is_not_given_back_as_its_own_cure(bag: tuple[Path, list[np.ndarray]], tmp_path: Path) -> None:
    """Neither the file itself nor new metadata helps: without its summary it is not read."""
    killed = tmp_path / "killed"
    killed.mkdir()
    whole = next(bag[0].glob("*.mcap"))
    (killed / "killed_0.mcap").write_bytes(whole.read_bytes()[:-1000])
    for given in (killed, killed / "killed_0.mcap"):
        with pytest.raises(Refused, match="mcap recover .*killed_0.mcap -o .*killed_0_recovered.mcap"):
            RgbdBag(given)
    (killed / "killed_0.mcap").write_bytes(whole.read_bytes())
    with pytest.raises(Refused, match="give .*killed_0.mcap"):
        RgbdBag(killed)
    with RgbdBag(killed / "killed_0.mcap") as reader:
        assert len(reader.stamps_ns) == 10


def test_a_bag_of_ros_1_is_told_how_to_convert_it(tmp_path: Path) -> None:
    """Its stamps and calibrations lie elsewhere: read as one of ROS 2 it ended with AttributeError."""
    file = tmp_path / "old.bag"
    file.write_bytes(b"#ROSBAG V2.0\n")
    for read in (RgbdBag, read_recorded):
        with pytest.raises(Refused, match="rosbags-convert --src .*old.bag --dst .*old --dst-typestore ros2_jazzy"):
            read(file)


@pytest.mark.parametrize(
    ("plugin", "mode"),
    [(StoragePlugin.SQLITE3, mode) for mode in (CompressionMode.MESSAGE, CompressionMode.FILE)]
    + [(StoragePlugin.MCAP, mode) for mode in (CompressionMode.STORAGE, CompressionMode.MESSAGE, CompressionMode.FILE)],
)
def test_compressed_bags_are_read_and_damaged_ones_refused(
    bag: tuple[Path, list[np.ndarray]], tmp_path: Path, plugin: StoragePlugin, mode: CompressionMode
) -> None:
    """zstd and SQLite have errors of their own for what is damaged."""
    store = get_typestore(Stores.ROS2_JAZZY)
    writer = Writer(tmp_path / "bag", version=9, storage_plugin=plugin)
    writer.set_compression(mode, CompressionFormat.ZSTD)
    with AnyReader([bag[0]], default_typestore=store) as source, writer:
        connections = {c.id: writer.add_connection(c.topic, c.msgtype, typestore=store) for c in source.connections}
        for connection, recorded_ns, raw in source.messages():
            writer.write(connections[connection.id], recorded_ns, raw)
    with RgbdBag(tmp_path / "bag") as reader:
        np.testing.assert_allclose(reader.frame_at(START_NS).depth_m, bag[1][0], atol=0.00051)
    (file,) = (p for p in (tmp_path / "bag").iterdir() if p.name != "metadata.yaml")
    whole = np.frombuffer(file.read_bytes(), np.uint8)
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(5):
        damaged = whole.copy()
        damaged[random.integers(0, len(damaged), 20)] ^= 0x5A
        file.write_bytes(damaged.tobytes())
        try:
            with RgbdBag(tmp_path / "bag") as reader:
                for stamp_ns in reader.stamps_ns:
                    reader.frame_at(stamp_ns)
        except Refused as refusal:
            refused += refusal.status is Status.BAD_REQUEST
    assert refused


@pytest.mark.parametrize(
    "content",
    [
        "",
        "questions: 3",
        "questions: [{at: 1}]",
        "questions: [{instruction: x, wrong: 1}]",
        "a: [",
        "questions: [{instruction: x, pixel: 3}]",
        "questions: [{instruction: x, pixel: '12'}]",
        "questions: [{instruction: x, pixel: [1, 2, 3]}]",
        "questions: [{instruction: x, pixel: {u: 1, v: 2}}]",
        "questions: [{instruction: x, pixel: [.nan, 2]}]",
        "questions: [{instruction: x, at: .nan}]",
        "questions: [{instruction: x, at: -1}]",
        "questions: [{instruction: x, at: 1e300}]",
        "questions: [{instruction: x, at: yes}]",
        "questions: [{instruction: x, stamp_ns: 1.5}]",
        "questions: [{instruction: x, at: 1, stamp_ns: 5}]",
        "questions: [{instruction: x, role: [pick]}]",
        "questions: [{instruction: x, 1: 2, wrong: 3}]",
    ],
)
def test_wrong_question_files_are_named(tmp_path: Path, content: str) -> None:
    file = tmp_path / "q.yaml"
    file.write_text(content)
    with pytest.raises(Refused) as caught:
        load_questions(file)
    assert caught.value.status is Status.BAD_REQUEST and "q.yaml" in caught.value.sentence


def test_unreadable_bags_are_refused(tmp_path: Path, bag: tuple[Path, list[np.ndarray]]) -> None:
    (tmp_path / "empty").mkdir()
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "metadata.yaml").write_text("rosbag2_bagfile_information: {version: 9}")
    for path in (tmp_path / "missing", tmp_path / "empty", broken, Path(__file__)):
        with pytest.raises(Refused) as caught:
            RgbdBag(path)
        assert caught.value.status is Status.BAD_REQUEST
    with pytest.raises(Refused, match="color/image_raw"):
        RgbdBag(bag[0], BagTopics(color="/nothing"))


@pytest.mark.parametrize("kind", ["std_msgs/msg/Int32", "geometry_msgs/msg/Point"])
def test_a_question_of_another_type_is_refused(tmp_path: Path, kind: str) -> None:
    store = get_typestore(Stores.ROS2_JAZZY)
    with Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection(QUESTION_TOPIC, kind, typestore=store)
        message = store.types[kind](*(1 for _ in store.get_msgdef(kind).fields))
        writer.write(connection, START_NS, store.serialize_cdr(message, kind))
    with pytest.raises(Refused, match=f"{QUESTION_TOPIC} is no std_msgs/String") as caught:
        read_recorded(tmp_path / "bag")
    assert caught.value.status is Status.BAD_REQUEST


def test_the_command_and_its_golden_file(bag: tuple[Path, list[np.ndarray]], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    questions, golden = tmp_path / "q.yaml", tmp_path / "golden.json"
    questions.write_text(
        "questions:\n"
        "  - {at: 0.2, instruction: 'point at the bottle', pixel: [258, 200]}\n"
        "  - {at: 0.4, instruction: 'pick up the bottle', pixel: [258, 200]}\n"
        "  - {at: 90, instruction: 'point at the bottle', pixel: [258, 200]}\n"
        "  - {at: 0.4, instruction: ''}\n"
    )
    arguments = ["replay", str(bag[0]), "--questions", str(questions), "--json", "--golden", str(golden), "--model", "nano"]
    # The last question has no pixel, so the model is loaded although the sentence is refused before it is asked.
    assert main([*arguments, "--write-golden"]) == 0
    told = capsys.readouterr().out
    assert f"written: {golden}, 4 answers" in told
    first = json.loads(told.splitlines()[-1])
    assert [a["status"] for a in first["answers"]] == ["OK", "OK", "FRAME_STALE", "BAD_REQUEST"]
    assert main(arguments) == 0
    assert f"the same 4 answers as in {golden}" in capsys.readouterr().out
    changed = json.loads(golden.read_text())
    changed["answers"][0]["goal"]["position_m"][0] += 0.02
    golden.write_text(json.dumps(changed))
    assert main(arguments) == 1
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert len(result["differences"]) == 1 and "20.0 mm" in result["differences"][0]


def _edited(bag: Path, folder: Path, edit: Callable[[str, Any], None]) -> Path:
    """A copy of a bag with every message edited: topic, message."""
    store = get_typestore(Stores.ROS2_JAZZY)
    with AnyReader([bag], default_typestore=store) as source, Writer(folder, version=9) as copy:
        connections = {c.id: copy.add_connection(c.topic, c.msgtype, typestore=store) for c in source.connections}
        for connection, recorded_ns, raw in source.messages():
            message = source.deserialize(raw, connection.msgtype)
            edit(connection.topic, message)
            copy.write(connections[connection.id], recorded_ns, store.serialize_cdr(message, connection.msgtype))
    return folder


def test_each_frame_has_the_calibration_of_its_time(bag: tuple[Path, list[np.ndarray]], tmp_path: Path) -> None:
    """Of a lens that zooms or focuses; the first calibration of the bag gave a wrong place to every later frame."""

    def zoom(topic: str, message: Any) -> None:
        if topic.endswith("camera_info"):
            step = round((message.header.stamp.sec * 10**9 + message.header.stamp.nanosec - START_NS) / PERIOD_NS)
            message.k = message.k + np.diag([step, step, 0.0]).ravel()

    with RgbdBag(bag[0]) as plain, RgbdBag(_edited(bag[0], tmp_path / "zooming", zoom)) as zooming:
        for step, stamp_ns in enumerate(plain.stamps_ns):
            assert zooming.frame_at(stamp_ns).camera.fx == pytest.approx(plain.frame_at(stamp_ns).camera.fx + step)
            assert zooming.frame_at(stamp_ns).is_registered


def test_calibrations_without_stamps_count_from_when_they_came(bag: tuple[Path, list[np.ndarray]], tmp_path: Path) -> None:
    def forget(topic: str, message: Any) -> None:
        if topic.endswith("camera_info"):
            message.header.stamp = type(message.header.stamp)(sec=0, nanosec=0)

    with RgbdBag(bag[0]) as plain, RgbdBag(_edited(bag[0], tmp_path / "unstamped", forget)) as unstamped:
        assert all(unstamped.frame_at(stamp_ns).camera == plain.frame_at(stamp_ns).camera for stamp_ns in plain.stamps_ns)


@pytest.mark.parametrize("everywhere", [True, False])
def test_a_slash_before_a_frame_does_not_count(bag: tuple[Path, list[np.ndarray]], tmp_path: Path, everywhere: bool) -> None:
    def slashed(topic: str, message: Any) -> None:
        for item in getattr(message, "transforms", []):
            item.header.frame_id, item.child_frame_id = f"/{item.header.frame_id}", f"/{item.child_frame_id}"
        if everywhere and hasattr(message, "header"):
            message.header.frame_id = f"/{message.header.frame_id}"

    with RgbdBag(bag[0]) as plain, RgbdBag(_edited(bag[0], tmp_path / "slashed", slashed)) as reader:
        frame = reader.frame_at(START_NS)
        found, expected = (b.transforms.lookup("base_link", frame.frame_id, START_NS) for b in (reader, plain))
        np.testing.assert_allclose(found.matrix, expected.matrix)


def test_other_topics_of_a_bag_are_none_of_our_business(bag: tuple[Path, list[np.ndarray]], tmp_path: Path) -> None:
    """ROS itself has another hash of std_msgs/Char than the library computes: with one such topic no image of the bag could be read."""
    store = get_typestore(Stores.ROS2_JAZZY)
    kind = "std_msgs/msg/Char"
    with AnyReader([bag[0]], default_typestore=store) as source, Writer(tmp_path / "keys", version=9) as copy:
        connections = {c.id: copy.add_connection(c.topic, c.msgtype, typestore=store) for c in source.connections}
        keys = copy.add_connection("/keys", kind, typestore=store)
        for connection, recorded_ns, raw in source.messages():
            copy.write(connections[connection.id], recorded_ns, raw)
        copy.write(keys, START_NS, store.serialize_cdr(store.types[kind](65), kind))
    (file,) = (tmp_path / "keys").glob("*.db3")
    metadata = tmp_path / "keys/metadata.yaml"
    wrong, right = store.hash_rihs01(kind), "RIHS01_3ad2d04dd29ba19d04b16659afa3ccaedd691914b02a64e82e252f2fa6a586a9"
    metadata.write_text(metadata.read_text().replace(wrong, right))
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("UPDATE topics SET type_description_hash = ? WHERE name = '/keys'", (right,))
        database.execute("UPDATE message_definitions SET type_description_hash = ? WHERE topic_type = ?", (right, kind))
    with RgbdBag(tmp_path / "keys") as reader:
        assert len(reader.stamps_ns) == 10 and reader.frame_at(START_NS).is_registered
    assert read_recorded(tmp_path / "keys") == ()


def test_what_is_declared_about_a_bag_is_set_by_the_names_that_refusals_give(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A camera for short distances whose depth comes 40 ms late and is registered although it names a frame of its own."""
    camera, names = CameraModel(300.0, 300.0, 79.5, 59.5, 160, 120), BagTopics()
    depth_m = np.full((120, 160), 0.06, np.float32)
    with RgbdBagWriter(tmp_path / "plain") as writer:
        writer.add_transform("base_link", "camera_color_optical_frame", START_NS, Transform([1.0, 0, 0, 0], [0.4, 0, 0.1]), static=True)
        writer.add_frame(Frame(np.zeros((120, 160, 3), np.uint8), depth_m, camera, stamp_ns=START_NS))

    def late_and_elsewhere(topic: str, message: Any) -> None:
        if topic == names.depth:
            message.header.frame_id = "depth_optical"
            message.header.stamp.nanosec += 40_000_000

    _edited(tmp_path / "plain", tmp_path / "bag", late_and_elsewhere)
    (tmp_path / "q.yaml").write_text("questions: [{instruction: point at the box, pixel: [80, 60]}]")
    command = ["replay", str(tmp_path / "bag"), "--questions", str(tmp_path / "q.yaml"), "--model", "none", "--json"]
    settings = ["sync_slop_s=0.05", "depth.aligned=true", "depth.near_m=0.02"]
    for count, refusal in enumerate(["SYNC_SKEW", "TF_UNAVAILABLE", "UNITS_IMPLAUSIBLE", "OK"]):
        assert main([*command, *(x for text in settings[:count] for x in ("--set", text))]) == 0
        (answer,) = json.loads(capsys.readouterr().out.splitlines()[-1])["answers"]
        assert answer["status"] == refusal, answer["sentence"]
        if refusal in ("SYNC_SKEW", "UNITS_IMPLAUSIBLE"):
            assert settings[count].partition("=")[0] in answer["sentence"]
    np.testing.assert_allclose(answer["position_m"], [0.4, 0.0, 0.04], atol=2e-3)
    for wrong in ("sync_slop_s=soon", "depth.near_m=-1", "depth.color=1", "slop=1"):
        assert main([*command, "--set", wrong]) == 2
        assert wrong.partition("=")[0].rpartition(".")[2] in json.loads(capsys.readouterr().out.splitlines()[-1])["sentence"]
