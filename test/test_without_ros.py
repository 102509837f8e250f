"""The core and the offline commands import nothing of ROS; commands that need it say so."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BLOCK = """
import sys

for name in ("rclpy", "sensor_msgs", "std_msgs", "geometry_msgs", "nav_msgs", "tf2_ros", "message_filters", "cv_bridge", "roboref"):
    sys.modules[name] = None  # as if it were not installed
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", BLOCK + code], cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)


@pytest.mark.parametrize(
    "module",
    [
        "pipeline", "pointing", "model", "geometry", "goals.grasp", "relations", "replay", "rgbd", "imagefiles", "drawing",
        "commands.replay",
        "commands.refer", "commands.serve", "commands.bench", "evaluation.bench_pointing", "evaluation.bench_lift", "doctor",
    ],
)  # fmt: skip
def test_offline_modules_import_without_ros(module: str) -> None:
    done = run(f"import roboref_node.{module}")
    assert done.returncode == 0, done.stderr[-1500:]


def test_commands_that_need_ros_say_so() -> None:
    done = run("from roboref_node.cli import main; sys.exit(main(['demo']))")
    assert done.returncode == 3
    assert "needs ROS 2" in done.stderr and "replay" in done.stderr


@pytest.mark.parametrize("name", ["ingest", "e2e", "demo"])
def test_benchmarks_that_need_ros_say_so(name: str) -> None:
    done = run(f"from roboref_node.cli import main; sys.exit(main(['bench', '{name}']))")
    assert done.returncode == 3
    assert done.stdout == ""
    assert f"roboref bench {name} needs ROS 2" in done.stderr and "pointing" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("node", [path.stem for path in sorted((ROOT / "roboref_node/nodes").glob("[a-z]*.py"))])
def test_nodes_say_so(node: str) -> None:
    done = run(f"import runpy; runpy.run_module('roboref_node.nodes.{node}', run_name='__main__')")
    assert done.returncode == 3
    assert "a node of roboref needs ROS 2" in done.stderr and "Traceback" not in done.stderr


def test_a_workspace_that_is_not_sourced_is_told() -> None:
    code = "sys.modules.update(rclpy=sys); from roboref_node.cli import main; sys.exit(main(['ask', 'x', '--json']))"
    done = run(code)
    assert done.returncode == 3
    assert "roboref's messages are not importable" in json.loads(done.stdout)["sentence"] and "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["demo", "ask", "record"])
def test_help_needs_no_ros(command: str) -> None:
    done = run(f"from roboref_node.cli import main; sys.exit(main(['{command}', '--help']))")
    assert done.returncode == 0 and f"usage: roboref {command}" in done.stdout


@pytest.mark.parametrize("command", ["demo", "ask x", "bench e2e"])
def test_the_absence_is_told_in_json_too(command: str) -> None:
    done = run(f"from roboref_node.cli import main; sys.exit(main('{command} --json'.split()))")
    assert done.returncode == 3
    answer = json.loads(done.stdout)
    assert answer["status"] == "BAD_REQUEST" and "needs ROS 2" in answer["sentence"]


@pytest.mark.parametrize("stage", ["nano", "sft --recipe 2b_sft --init x --data x --out x", "rft", "ablation --table depth"])
def test_training_without_its_packages_names_the_extra(stage: str) -> None:
    absent = "sys.modules.update(dict.fromkeys(('accelerate', 'tensorboard', 'tqdm')))"
    done = run(f"{absent}; from roboref_node.cli import main; sys.exit(main('train {stage}'.split()))")
    assert done.returncode == 2 and "pip install 'roboref[train]'" in done.stderr and "Traceback" not in done.stderr


def test_the_doctor_reports_the_absence_as_a_warning() -> None:
    # The interpreter below the virtual environment has no rclpy.
    host = "Host(environ={}, python=Path(sys._base_executable))"
    code = "from roboref_node.doctor.host import Host; from roboref_node.doctor.workspaces import check_imports"
    done = run(f"from pathlib import Path; {code}; f = check_imports({host})[0]; print(f.level.value, f.fix)")
    assert done.returncode == 0, done.stderr[-1500:]
    assert done.stdout.startswith("warning")
