"""Simulated cell, refer node and pick_place node as processes, with their clients."""

import json

import numpy as np
from arm_client import ArmClient
from live_graph import ModelServer, wait_until
from rcl_interfaces.srv import SetParameters
from rclpy.action import ActionClient
from rclpy.parameter import Parameter
from roboref.action import MoveArm, PickPlace
from sensor_msgs.msg import CameraInfo, JointState
from std_msgs.msg import String
from std_srvs.srv import Trigger

from roboref_node.geometry.transform import Transform
from roboref_node.ros.qos import LATCHED, TIMELINE

BOTTLE, SPOT_M = 0, (0.62, -0.12, 0.0)
BOTH = "pick up the orange bottle and put it on the spot"
PATIENCE_S = 240.0  # a motion takes ten seconds of the cell's time, which is slow on a busy machine


class TruthServer(ModelServer):
    """Points at what the question names, wherever it is now."""

    def __init__(self):
        self.answer = lambda question: "[(0.5, 0.5)]"
        super().__init__()

    @property
    def text(self):
        return self.answer(self.asked[-1])

    @text.setter
    def text(self, value):
        pass


class Cell:
    """The processes and their clients."""

    def __init__(self, graph, folder):
        self.graph = graph
        self.server = TruthServer()
        model = folder / "truth.yaml"
        model.write_text(f"backend: roborefer_server\ndepth: none\nhttp:\n  url: {self.server.url}\n")
        sim_time = ("--ros-args", "-p", "use_sim_time:=true")
        remaps = ("-r", "__ns:=/cell", "-r", "/tf:=/cell/tf", "-r", "/tf_static:=/cell/tf_static", "-r", "/clock:=/cell/clock")
        self.sim_time, self.remaps = sim_time, remaps
        size = ("-p", "seed:=3", "-p", "width:=320", "-p", "height:=240", "-p", "rate:=5.0")
        self.sim = graph.start("roboref_node.nodes.sim", "--ros-args", *size, *remaps)
        age = ("-p", "max_frame_age_s:=2.0", "-p", "tf_timeout_s:=2.0")
        self.refer = graph.start("roboref_node.nodes.refer", *sim_time, "-p", f"model:={model}", *age, *remaps)
        self.node = graph.start("roboref_node.nodes.pick_place", *sim_time, *age, *remaps)
        for process, words in ((self.sim, "scene 3"), (self.refer, "active: model"), (self.node, "ready: robot")):
            wait_until(lambda p=process, w=words: w in p.log, lambda p=process: f"the start of {p.name}\n{p.log}", PATIENCE_S)
        self.truths = graph.collect(String, "/cell/sim/truth", LATCHED)
        self.status = graph.collect(String, "/cell/pick_place/status", TIMELINE)
        self.joints = graph.collect(JointState, "/cell/joint_states")
        infos = graph.collect(CameraInfo, "/cell/camera/color/camera_info")
        self.say = graph.publisher(String, "/cell/pick_place/instruction")
        self.actions = ActionClient(graph.node, PickPlace, "/cell/pick_place/pick_place")
        wait_until(lambda: infos and self.truths and self.actions.server_is_ready(), "the cell", 120.0)
        self.info = infos[0]
        self.arm = ArmClient(graph, "/cell")
        self.server.answer = self.where
        self.feedback = []

    def tidy(self):
        """The arm at rest and everything where the scene had it, in the images too: what one test knocks over is not the next one's."""
        _, result = self.arm.end(self.arm.send("home"))
        assert result.outcome == MoveArm.Result.DONE, result.sentence
        assert self.call(Trigger, "sim/reset_objects").success
        wait_until(lambda: not self.truth["removed"] and self.truth["holding"] is None, "everything back in its place", PATIENCE_S)
        self.check_at_rest()

    @property
    def truth(self):
        return json.loads(self.truths[-1].data)

    @property
    def bottle_m(self):
        return np.array(self.truth["objects"][BOTTLE]["position_m"])

    def where(self, question):
        truth = self.truth
        point = np.array(SPOT_M)
        if "bottle" in question:
            if BOTTLE in truth["removed"]:
                return "[]"
            item = truth["objects"][BOTTLE]
            point = Transform.from_dict(item).apply([0.0, 0.0, 0.4 * item["extent_m"][2]])
        x, y, z = Transform.from_dict(truth["base_from_optical"]).inverse().apply(point)
        k = self.info.k
        return f"[({(k[0] * x / z + k[2] + 0.5) / self.info.width:.4f}, {(k[4] * y / z + k[5] + 0.5) / self.info.height:.4f})]"

    def send(self, instruction):
        self.feedback = []
        goal = PickPlace.Goal(instruction=instruction)
        future = self.graph.do(self.actions.send_goal_async, goal, feedback_callback=lambda m: self.feedback.append(m.feedback))
        wait_until(future.done, lambda: f"an answer to a goal\n{self.node.log_end}", PATIENCE_S)
        return future.result()

    def result_of(self, handle):
        assert handle.accepted, self.node.log_end
        future = self.graph.do(handle.get_result_async)
        wait_until(future.done, lambda: f"the end of a sentence\n{self.node.log_end}\n{self.sim.log_end}", PATIENCE_S)
        return future.result()

    def do(self, instruction):
        return self.result_of(self.send(instruction)).result

    def wait_for_state(self, state, text=""):
        wait_until(
            lambda: any(f.state == state and text in f.sentence for f in list(self.feedback)),
            lambda: f"{state}\n{self.node.log_end}",
            PATIENCE_S,
        )

    def send_until(self, state, text=""):
        """The handle of a pick that has come to a state; where the noise of one frame leaves no grasp it is asked again."""
        for _ in range(6):
            handle = self.send("pick up the orange bottle")
            ended = self.graph.do(handle.get_result_async)

            def entered():
                return any(f.state == state and text in f.sentence for f in list(self.feedback))

            wait_until(lambda e=ended, p=entered: e.done() or p(), lambda: f"a motion\n{self.node.log_end}", PATIENCE_S)
            if entered():
                return handle
            assert ended.result().result.outcome == "refused", ended.result().result
        raise AssertionError(f"no grasp in six frames\n{self.node.log_end}")

    def send_until_it_moves(self):
        """The handle of a pick whose arm is well on its way."""
        handle = self.send_until("move", "pick")
        self.wait_for_motion()
        return handle

    def ask(self):
        """The handle of a pick that waits for a yes."""
        return self.send_until("confirm")

    def wait_for_motion(self):
        """The arm has moved by a tenth of a radian."""
        begin = self.angles
        wait_until(lambda: np.abs(self.angles - begin).max() > 0.1, lambda: f"a motion\n{self.node.log_end}", PATIENCE_S)

    @property
    def angles(self):
        wait_until(lambda: self.joints, "joint states", PATIENCE_S)
        return np.array(self.joints[-1].position)

    def call(self, kind, name, **request):
        return self.graph.call(kind, f"/cell/{name}", kind.Request(**request))

    def set(self, name, value):
        parameters = [Parameter(name, value=value).to_parameter_msg()]
        result = self.graph.call(SetParameters, "/cell/pick_place/set_parameters", SetParameters.Request(parameters=parameters)).results[0]
        assert result.successful, result.reason

    def check_at_rest(self):
        """Nothing moves for four frames."""
        seen = len(self.joints)
        wait_until(lambda: len(self.joints) > seen + 5, "frames", PATIENCE_S)
        recent = np.array([message.position for message in self.joints[-4:]])
        assert np.ptp(recent, axis=0).max() < 0.02, recent
