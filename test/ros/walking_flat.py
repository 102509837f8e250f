"""A simulated G1 in its flat as processes over DDS, and the same flat in the test's process, which knows where the pixels are."""

import json
import math

import numpy as np
import pytest
from geometry_msgs.msg import PoseStamped
from live_graph import wait_until
from nav_msgs.msg import OccupancyGrid, Path
from rclpy.action import ActionClient
from roboref.action import PickPlace
from std_msgs.msg import String

from roboref_node.evaluation.bench_navigate import true_pixel
from roboref_node.ros.qos import LATCHED
from roboref_node.ros.transforms import pose_stamped
from roboref_node.sim_g1.body import hand_angles
from roboref_node.sim_g1.world import CAMERA, SimulatedG1, flat_pose

SIM, REFER, NAVIGATE = "roboref_node.nodes.sim_g1", "roboref_node.nodes.refer", "roboref_node.nodes.navigate"
SEED, TARGET = 2, 0
LONG_S = 120.0  # a walk of some seconds, on a machine that has other things to do


def in_namespace(*parameters, remap=(), namespace="/flat"):
    arguments = ["--ros-args", "-r", f"__ns:={namespace}"]
    arguments += [x for topic in ("/tf", "/tf_static", "/clock") for x in ("-r", f"{topic}:={namespace}{topic}")]
    arguments += [x for rule in remap for x in ("-r", rule)]
    return [*arguments, *(x for parameter in parameters for x in ("-p", parameter))]


def answer(pixel):
    """What the model says of a pixel."""
    u, v = pixel
    return f"[({(u + 0.5) / CAMERA.width:.4f}, {(v + 0.5) / CAMERA.height:.4f})]"


def known_client(graph, name, process):
    """A client that the node has discovered, too: it answers others into the void (a race in DDS discovery)."""
    actions = ActionClient(graph.node, PickPlace, f"{name}/navigate")
    told = graph.collect(String, f"{name}/status", LATCHED)  # made after the client, hence known after it
    wait_until(lambda: told and actions.server_is_ready(), lambda: process.log)
    return actions


class Flat:
    """The nodes, and the same flat in this process to know where the pixels are."""

    def __init__(self, graph, model_server, model_file, namespace, *, drive, publish_goal_pose=True, remap=()):
        self.graph, self.server, self.namespace = graph, model_server, namespace

        def start(module, *parameters, remap=()):
            return graph.start(module, *in_namespace(*parameters, remap=remap, namespace=namespace))

        common = ("use_sim_time:=true", "robot:=g1")
        sim = start(SIM, f"seed:={SEED}", f"target:={TARGET}", "rate:=5.0", remap=remap)
        publish = f"publish_goal_pose:={str(publish_goal_pose).lower()}"
        refer = start(REFER, *common, f"model:={model_file}", "use_map:=true", publish, "max_frame_age_s:=1.0")
        navigate = start(NAVIGATE, *common, f"drive:={drive}", "settle_s:=1.2")
        self.processes = [navigate, refer, sim]
        # Three interpreters that load at once: longer than any one of them.
        for process, words in ((sim, f"flat {SEED} at"), (refer, "active: model"), (navigate, "ready: robot g1")):
            wait_until(lambda p=process, w=words: w in p.log or not p.alive, lambda: self.logs, LONG_S)
            assert words in process.log, process.log
        self.truth = graph.collect(String, f"{namespace}/sim_g1/truth", LATCHED)
        self.hands = graph.collect(PoseStamped, f"{namespace}/navigate/hand_pose")
        self.map = graph.collect(OccupancyGrid, f"{namespace}/map", LATCHED)
        self.routes = graph.collect(Path, f"{namespace}/sim_g1/path", LATCHED)
        self.actions = known_client(graph, f"{namespace}/navigate", navigate)
        wait_until(lambda: self.truth and self.map, lambda: self.logs)
        self.start = self.robot
        self.world = SimulatedG1(SEED)

    @property
    def robot(self):
        return json.loads(self.truth[-1].data)["robot"]

    @property
    def walk(self):
        return json.loads(self.truth[-1].data)["walk"]

    @property
    def logs(self):
        return "\n".join(process.log_end for process in self.processes)

    def point_from_here(self):
        """Let the model's server answer with the true pixel from where the robot stands now."""
        self.server.text = self.answer_from_here()

    def answer_from_here(self):
        """The model's answer with the true pixel from where the robot stands now."""
        self.world.place_robot(*self.robot)
        return answer(true_pixel(self.world.render(), TARGET) or pytest.fail(f"not in view from {self.robot}"))

    def send(self, instruction, actions=None, on_feedback=None):
        future = self.graph.do((actions or self.actions).send_goal_async, PickPlace.Goal(instruction=instruction), on_feedback)
        wait_until(future.done, lambda: self.logs)
        assert future.result().accepted
        return self.graph.do(future.result().get_result_async)

    def go(self, instruction, actions=None):
        """The whole walk; between the two looks the server waits until the pixel from the new place is known."""
        asked = len(self.server.asked)
        self.point_from_here()
        result = self.send(instruction, actions)
        wait_until(lambda: len(self.server.asked) > asked or result.done(), lambda: self.logs)
        self.server.gate.clear()
        try:
            wait_until(lambda: len(self.server.asked) > asked + 1 or result.done(), lambda: self.logs, LONG_S)
            self.point_from_here()
        finally:
            self.server.gate.set()
        wait_until(result.done, lambda: self.logs)
        return result.result().result

    def walk_to(self, pose):
        """Send the robot somewhere without the navigate node."""
        x, y, yaw = pose
        goal = pose_stamped(flat_pose(x, y, yaw), frame_id="map", stamp_ns=0)
        routes = len(self.routes)
        self.graph.publisher(PoseStamped, f"{self.namespace}/goal_pose").publish(goal)
        # It may stand near enough already, and would set out once the next goal is there.
        wait_until(lambda: len(self.routes) > routes, lambda: self.logs)
        wait_until(lambda: self.is_at(x, y, yaw) and self.walk == "arrived", lambda: f"at {self.robot}\n{self.logs}", LONG_S)

    def is_at(self, x, y, yaw):
        there_x, there_y, there_yaw = self.robot
        turned = (there_yaw - yaw + math.pi) % (2 * math.pi) - math.pi
        return math.hypot(there_x - x, there_y - y) < 0.06 and abs(turned) < 0.15

    def end(self):
        self.world.close()
        for process in self.processes:
            assert process.end() == 0, process.log


def check_arrival(flat, result, goal, *, looks=2):
    """It stands where it was sent, has touched nothing, and the hand's goal lies on the object and is reached by the real arm."""
    assert result.outcome == "done", f"{result.sentence}\n{flat.logs}"
    assert len(result.referrals) == looks and not json.loads(flat.truth[-1].data)["touched"]
    x, y, yaw = flat.robot
    assert math.hypot(goal.position.x - x, goal.position.y - y) <= 0.1
    hand = wait_until(lambda: flat.hands and flat.hands[-1], "a hand's goal").pose.position
    point = np.array([hand.x, hand.y, hand.z])
    assert flat.world.distance_m(TARGET, point) <= 0.02
    flat.world.place_robot(x, y, yaw)
    assert hand_angles(flat.world.map_from_pelvis.inverse().apply(point)) is not None
