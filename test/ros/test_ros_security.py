"""The SROS2 policy against the graph of a real node, security that fails closed, and an enclave where sros2 exists."""

import os
import subprocess
import sys
import time
from importlib.util import find_spec
from xml.etree import ElementTree

import pytest

pytest.importorskip("roboref.action", reason="needs ROS 2 and the built interfaces (make setup, . ./env.sh)")
from live_graph import ROOT, wait_until

from roboref_node.doctor.host import Host
from roboref_node.doctor.middleware import check_security

POLICY = ROOT / "config" / "security" / "roboref.policy.xml"
OPTIONAL = {
    "/clock",
    "/goal_pose",
    "/map",
    "/camera/color/image_raw/compressed",
    "/camera/aligned_depth_to_color/image_raw/compressedDepth",
}
REFER = "roboref_node.nodes.refer"


def allowed(node, tag, kind):
    """Names that the policy allows to a node."""
    (profile,) = [p for p in ElementTree.parse(POLICY).iter("profile") if p.get("node") == node]
    names = [e.text for group in profile.iter(tag) if group.get(kind) == "ALLOW" for e in group]
    return {name.replace("~", f"/{node}") if name.startswith("~") else "/" + name.lstrip("/") for name in names}


def without_actions(names):
    return {name for name, _ in names if "/_action/" not in name}


def test_the_policy_allows_what_the_node_does_and_nothing_else(graph):
    process = graph.start(REFER, "--ros-args", "-p", "model:=none")
    process.wait_for_log("active: model")
    node = graph.node
    wait_until(lambda: {"refer", "refer_camera"} <= set(node.get_node_names()), "both nodes")

    def real():
        return {
            ("refer", "topics", "publish"): without_actions(node.get_publisher_names_and_types_by_node("refer", "/")),
            ("refer", "topics", "subscribe"): without_actions(node.get_subscriber_names_and_types_by_node("refer", "/")),
            ("refer", "services", "reply"): without_actions(node.get_service_names_and_types_by_node("refer", "/")),
            ("refer_camera", "topics", "publish"): without_actions(node.get_publisher_names_and_types_by_node("refer_camera", "/")),
            ("refer_camera", "topics", "subscribe"): without_actions(node.get_subscriber_names_and_types_by_node("refer_camera", "/")),
        }

    own = {"/parameter_events"}  # with use_sim_time the node listens to its own
    policy = {key: allowed(*key) for key in real()}
    wait_until(
        lambda: all(names - policy[key] == set() and policy[key] - names <= OPTIONAL | own for key, names in real().items()),
        lambda: {key: (sorted(names - policy[key]), sorted(policy[key] - names - OPTIONAL - own)) for key, names in real().items()},
    )
    assert allowed("refer", "actions", "execute") == {"/refer/refer"} == allowed("operator", "actions", "call")
    assert process.end() == 0, process.log


@pytest.mark.parametrize("enclave", ["missing", "empty"])
def test_a_node_that_cannot_be_protected_does_not_start(tmp_path, enclave):
    if enclave == "empty":  # found, and of no use: the node itself cannot be made
        (tmp_path / "absent" / "enclaves").mkdir(parents=True)
    secured = {"ROS_SECURITY_ENABLE": "true", "ROS_SECURITY_STRATEGY": "Enforce", "ROS_SECURITY_KEYSTORE": str(tmp_path / "absent")}
    environ = {**os.environ, **secured}
    done = subprocess.run(
        [sys.executable, "-m", REFER, "--ros-args", "-p", "model:=none"],
        cwd=ROOT, env=environ, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr[-1000:]
    assert str(tmp_path / "absent") in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr, done.stderr[-1000:]
    (finding,) = check_security(Host(environ=environ))
    assert finding.level.value == "error" and finding.fix


@pytest.mark.skipif(find_spec("sros2") is None, reason="needs sros2 (ros2 security), which a distribution brings and PyPI does not")
def test_the_node_runs_in_its_enclave(tmp_path):
    keystore = tmp_path / "keystore"
    for command in (
        ["create_keystore", str(keystore)],
        ["create_enclave", str(keystore), "/roboref/refer"],
        ["create_permission", str(keystore), "/roboref/refer", str(POLICY)],
    ):
        subprocess.run(["ros2", "security", *command], check=True, timeout=120)
    secured = {"ROS_SECURITY_ENABLE": "true", "ROS_SECURITY_STRATEGY": "Enforce", "ROS_SECURITY_KEYSTORE": str(keystore)}
    environ = {**os.environ, **secured, "ROS_SECURITY_ENCLAVE_OVERRIDE": "/roboref/refer"}
    log = tmp_path / "log"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [sys.executable, "-u", "-m", REFER, "--ros-args", "-p", "model:=none"], cwd=ROOT, env=environ, stdout=sink, stderr=sink
        )
    try:
        deadline = time.monotonic() + 60
        while "active: model" not in log.read_text():
            if "doesn't have the security libraries" in log.read_text():
                pytest.skip("this Fast DDS was built without security, as PyPI's is")
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        assert "/roboref/refer" in log.read_text()
    finally:
        process.kill()
        process.wait()
