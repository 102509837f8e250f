"""One bag, two ways: played into the live refer node, and answered by ``roboref replay``'s core without a graph. The goals agree."""

import numpy as np
import pytest

pytest.importorskip("roboref.action", reason="needs ROS 2 and the built interfaces (make setup, . ./env.sh)")
pytest.importorskip("tf2_ros", reason="needs ROS 2 (make setup, . ./env.sh)")
from asker import REFER, Asker
from builtin_interfaces.msg import Time
from live_graph import wait_until
from roboref.msg import Referral
from rosgraph_msgs.msg import Clock
from test_ros_sim_and_replay import REPLAY, in_namespace

from roboref_node.frame import Frame
from roboref_node.geometry.transform import Transform
from roboref_node.goals.profile import load_profile
from roboref_node.pipeline import Context, Pipeline
from roboref_node.pointing.registry import load_pointer
from roboref_node.replay import RgbdBag
from roboref_node.replay.writing import RgbdBagWriter
from roboref_node.ros.camera import COLOR, COLOR_INFO, DEPTH, DEPTH_INFO
from roboref_node.sim.cell import SimulatedCell
from roboref_node.synth.view import SceneView
from roboref_node.task import parse_instruction

START_NS, PERIOD_NS, FRAMES = 1_700_000_000_000_000_000, 66_666_667, 12


def test_live_goals_equal_replayed_goals(graph, tmp_path):
    folder = tmp_path / "bag"
    with SimulatedCell(3) as cell, RgbdBagWriter(folder) as writer:
        view = SceneView(cell.render())
        for index in range(FRAMES):
            rendered, stamp = cell.render(), START_NS + index * PERIOD_NS
            writer.add_transform("base_link", "camera_color_optical_frame", stamp, cell.base_from_optical, static=False)
            writer.add_frame(Frame(rendered.rgb, rendered.depth_m, cell.camera, stamp_ns=stamp))
            cell.step(PERIOD_NS / 1e9)
    item = view.present[0]
    instruction = f"point at the {item.colour} {item.shape}"
    stamps = [START_NS + index * PERIOD_NS for index in (4, 7)]

    pipeline = Pipeline(load_pointer("nano"), load_profile("ur5"))
    with RgbdBag(folder) as bag:
        offline = []
        for stamp in stamps:
            frame = bag.frame_at(stamp)
            transforms = {name: bag.transforms.lookup(name, frame.frame_id, frame.stamp_ns) for name in pipeline.frames_needed()}
            context = Context(goal_from_base=Transform.identity())
            offline.append(pipeline.refer_all(frame, parse_instruction(instruction), transforms, context=context)[0])

    # Reliable images: a busy machine may not lose the frames that are asked about.
    arguments = in_namespace("both", "use_sim_time:=true", "image_reliability:=reliable")
    node = Asker(graph, graph.start(REFER, *arguments), "/both/refer")
    clock = []
    graph.node.create_subscription(Clock, "/both/clock", clock.append, 10)
    arguments = [*in_namespace("both", f"bag:={folder}", f"wait_for:=/{COLOR},/{DEPTH},/tf", "loop:=true")]
    for name in (COLOR, DEPTH, COLOR_INFO, DEPTH_INFO):
        arguments += ["-r", f"/{name}:=/both/{name}"]
    player = graph.start(REPLAY, *arguments)
    player.wait_for_log("playing")
    too_early = (Referral.NO_CAMERA, Referral.FRAME_STALE, Referral.SYNC_SKEW, Referral.TF_STALE, Referral.TF_UNAVAILABLE)
    for stamp, expected in zip(stamps, offline, strict=True):
        when = Time(sec=stamp // 10**9, nanosec=stamp % 10**9)

        def ask(when=when):
            answer = node.result_of(node.send(instruction, stamp=when)).result.referrals[0]
            return None if answer.status in too_early else answer  # discovery takes a while; the bag comes round again

        answer = wait_until(ask, lambda: f"an answer about a frame of the bag\n{node.process.log_end}")
        assert answer.status_text == expected.status.value, (answer.sentence, expected.sentence)
        assert answer.header.stamp == when
        if expected.ok:
            assert answer.status == Referral.OK
            p = answer.goal.pose.position
            np.testing.assert_allclose([p.x, p.y, p.z], expected.goal.translation_m, atol=1e-6)
            np.testing.assert_allclose([answer.pixel_u, answer.pixel_v], [expected.pixel.u_px, expected.pixel.v_px], atol=1e-3)
    wait_until(lambda: clock, "a tick of the replayed clock")
    assert player.end() == 0, player.log
    assert node.process.end() == 0, node.process.log
