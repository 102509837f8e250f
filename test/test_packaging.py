"""The package's descriptions say what the code needs, and what is built from them holds what the code reads."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parents[1]
# Import name -> distribution name, where they differ.
DISTRIBUTIONS = {
    "PIL": "pillow",
    "cv2": "opencv-python-headless",
    "yaml": "pyyaml",
    "pinocchio": "pin",
    "example_robot_data": "example-robot-data",
    "sklearn": "scikit-learn",
}
# Distribution -> rosdep key, for those that rosdep brings; the others have to be named in docs/installation.md.
ROSDEP_KEYS = {
    "httpx": "python3-httpx",
    "numpy": "python3-numpy",
    "pillow": "python3-pil",
    "psutil": "python3-psutil",
    "pyyaml": "python3-yaml",
    "rich": "python3-rich",
    "scipy": "python3-scipy",
    "transforms3d": "python3-transforms3d",
}
OWN = {"roboref", "roboref_node"}
# MoveIt's interfaces: imported when the adapter starts, which says how to install what is missing.
OPTIONAL = {"moveit_msgs", "shape_msgs", "trajectory_msgs", "control_msgs"}


def imported_modules(path: Path) -> set[str]:
    """Top-level names of the absolute imports of a file, those inside functions included."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names


def foreign_imports() -> dict[str, Path]:
    """Every imported module that is neither ours nor Python's, with a file that imports it."""
    found: dict[str, Path] = {}
    for folder in ("roboref_node", "launch"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for name in imported_modules(path) - OWN - set(sys.stdlib_module_names):
                found.setdefault(name, path.relative_to(ROOT))
    return found


def required(*files: str) -> set[str]:
    """Distribution names in requirements/FILE.txt."""
    lines = [line for file in files for line in (ROOT / "requirements" / f"{file}.txt").read_text().splitlines()]
    return {re.split(r"[\[<>=; ]", line)[0].lower() for line in lines if line and not line.startswith("#")}


def ros_dependencies() -> set[str]:
    """What package.xml depends on, at build or run time."""
    return {element.text or "" for element in ElementTree.parse(ROOT / "package.xml").getroot() if element.tag.endswith("depend")}


def test_every_import_is_declared() -> None:
    distributions, packages = required("offline", "train", "speech", "quantize"), ros_dependencies()
    undeclared = {
        name: str(path)
        for name, path in foreign_imports().items()
        if name not in packages | OPTIONAL and DISTRIBUTIONS.get(name, name.replace("_", "-")) not in distributions | {"open3d"}
    }
    assert not undeclared, "imported, but neither in package.xml nor in requirements/offline.txt, train.txt, speech.txt, quantize.txt"


def test_every_python_requirement_reaches_a_ros_distribution() -> None:
    documentation = (ROOT / "docs/installation.md").read_text()
    packages = ros_dependencies()
    for name in required("offline", "train", "speech", "quantize"):
        if name in ROSDEP_KEYS:
            assert ROSDEP_KEYS[name] in packages
        else:
            assert f"`{name}`" in documentation, f"{name} has no rosdep key in package.xml and is not named in docs/installation.md"


def test_package_xml_is_a_format_3_interface_package() -> None:
    package = ElementTree.parse(ROOT / "package.xml").getroot()
    assert package.get("format") == "3"
    assert package.findtext("name") == "roboref"
    assert package.findtext("member_of_group") == "rosidl_interface_packages"
    assert package.findtext("export/build_type") == "ament_cmake"
    assert {"rosidl_default_generators", "rosidl_default_runtime", "action_msgs"} <= ros_dependencies()


def test_versions_agree() -> None:
    from roboref_node import __version__

    assert ElementTree.parse(ROOT / "package.xml").getroot().findtext("version") == __version__


def test_cmake_generates_every_interface() -> None:
    cmake = (ROOT / "CMakeLists.txt").read_text()
    listed = set(re.findall(r"^\s+((?:msg|srv|action)/\w+\.(?:msg|srv|action))$", cmake, re.MULTILINE))
    present = {path.relative_to(ROOT).as_posix() for kind in ("msg", "srv", "action") for path in (ROOT / kind).glob(f"*.{kind}")}
    assert listed == present


def test_cmake_finds_the_packages_that_the_interfaces_use() -> None:
    cmake = (ROOT / "CMakeLists.txt").read_text()
    depends = set(re.search(r"DEPENDENCIES ([\w ]+)", cmake)[1].split())  # type: ignore[index]
    used = {"action_msgs"}  # every action uses it
    for kind in ("msg", "srv", "action"):
        for path in (ROOT / kind).glob(f"*.{kind}"):
            used |= set(re.findall(r"^(\w+)/\w+", path.read_text(), re.MULTILINE)) - {"roboref"}
    assert depends == used
    assert depends <= set(re.findall(r"find_package\((\w+) REQUIRED\)", cmake))
    assert depends <= ros_dependencies()


def test_entry_points_exist() -> None:
    lines = re.findall(r"^    (\w+) = ([\w.]+):(\w+)$", (ROOT / "setup.cfg").read_text(), re.MULTILINE)
    assert {name for name, _, _ in lines} >= {"roboref", "refer", "sim", "replay"}
    for name, module, function in lines:
        source = ROOT / (module.replace(".", "/") + ".py")
        assert source.is_file(), f"executable {name}: there is no {source.relative_to(ROOT)}"
        defined = {node.name for node in ast.parse(source.read_text()).body if isinstance(node, ast.FunctionDef)}
        assert function in defined, f"executable {name}: {module} defines no {function}"


@pytest.mark.parametrize("name", ["pick_place", "navigate"])
def test_a_launch_file_for_robots_simulates_nothing_unless_told_to(name: str) -> None:
    """A simulation beside a real robot would publish its camera, and send the real base where the simulated one should go.

    Read as text: launch is no wheel. What the files start is asked of launch itself in test/ros/test_ros_launch.py.
    """
    assert re.search(r'"sim": \("false", ', (ROOT / f"launch/{name}.launch.py").read_text())


def run_system_check(path: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    # A ROS wheel restarts Python to set LD_LIBRARY_PATH; -S keeps that out of a check that runs before any wheel exists.
    command = [sys.executable, "-I", "-S", str(ROOT / "setup_tools/system_check.py"), *arguments]
    return subprocess.run(command, env={"PATH": path}, capture_output=True, text=True, check=False)


def test_system_check_is_satisfied_here() -> None:
    result = run_system_check(os.environ["PATH"])
    assert (result.returncode, result.stdout) == (0, "")


def test_system_check_names_everything_missing_in_one_line(tmp_path: Path) -> None:
    result = run_system_check(str(tmp_path), "--library-path", str(tmp_path))
    assert result.returncode == 1
    (line,) = [line for line in result.stdout.splitlines() if "apt-get install" in line]
    libraries = {"libgl1", "libegl1", "libgl1-mesa-dri", "libusb-1.0-0", "libx11-6", "libudev1", "libidn2-0", "libgomp1"}
    assert libraries | {"g++", "make", "openssl"} == set(line.split("-y ")[1].split())


def test_system_check_names_only_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "make").symlink_to(shutil.which("true") or "/bin/true")
    result = run_system_check(str(tmp_path))
    (line,) = [line for line in result.stdout.splitlines() if "apt-get install" in line]
    assert line.split("-y ")[1].split() == ["g++", "openssl"]


def test_system_check_installs_as_root_only(tmp_path: Path) -> None:
    (tmp_path / "make").symlink_to(shutil.which("true") or "/bin/true")
    (tmp_path / "apt-get").write_text('#!/bin/sh\necho "$@" >> "${0%/*}/calls"\n')
    (tmp_path / "apt-get").chmod(0o755)
    result = run_system_check(str(tmp_path), "--install")
    assert result.returncode == 1  # this apt-get installs nothing, which must not pass for success
    assert "sudo apt-get install -y g++ openssl" in result.stdout
    calls = (tmp_path / "calls").read_text().splitlines() if (tmp_path / "calls").exists() else []
    assert calls == (["install -y --no-install-recommends g++ openssl"] if os.geteuid() == 0 else [])


def test_programs_of_the_tests_are_no_failure(tmp_path: Path) -> None:
    (tmp_path / "google-chrome").symlink_to(shutil.which("true") or "/bin/true")
    result = run_system_check(str(tmp_path), "--tests")
    assert (result.returncode, result.stdout) == (0, "The tests that need them are skipped without: sudo apt-get install -y flite\n")


def test_programs_of_the_tests_that_could_not_be_installed_are_a_failure(tmp_path: Path) -> None:
    """Else CI, which is root, would skip tests whenever a mirror is down."""
    (tmp_path / "apt-get").write_text("#!/bin/sh\n")
    (tmp_path / "apt-get").chmod(0o755)
    result = run_system_check(str(tmp_path), "--tests", "--install")
    assert result.returncode == (1 if os.geteuid() == 0 else 0)
    assert "sudo apt-get install -y flite chromium" in result.stdout


def test_installation_names_the_packages_of_the_system_check(tmp_path: Path) -> None:
    line = run_system_check(str(tmp_path), "--library-path", str(tmp_path)).stdout.split("-y ")[1]
    documentation = (ROOT / "docs/installation.md").read_text()
    assert all(package in documentation for package in line.split())


@pytest.mark.parametrize("change", ["content", "name", "word", "nothing"])
def test_fingerprint_changes_when_a_build_has_to(tmp_path: Path, change: str) -> None:
    (tmp_path / "msg").mkdir()
    (tmp_path / "code").mkdir()
    (tmp_path / "msg/A.msg").write_text("int32 a\n")
    (tmp_path / "code/a.py").write_text("a = 1\n")

    def fingerprint(word: str) -> str:
        command = [
            sys.executable,
            "-I",
            "-S",
            str(ROOT / "setup_tools/fingerprint.py"),
            "--contents",
            "msg",
            "--names",
            "code",
            "--text",
            word,
        ]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    before = fingerprint("1")
    (tmp_path / "code/a.py").write_text("a = 2\n")  # linked into the install: no reason to build
    if change == "content":
        (tmp_path / "msg/A.msg").write_text("int32 b\n")
    elif change == "name":
        (tmp_path / "code/b.py").write_text("")
    assert (fingerprint("2" if change == "word" else "1") == before) == (change == "nothing")


SOURCE_TWICE = 'cd /; . "$1/env.sh"; env | sort; echo ---; . "$1/env.sh"; env | sort; echo "--- $#"; compgen -A function -v _roboref'


def source_env(environment: dict[str, str], script: str = SOURCE_TWICE) -> subprocess.CompletedProcess[str]:
    command = ["bash", "--norc", "-c", script, "bash", str(ROOT)]
    return subprocess.run(command, env={"PATH": "/usr/bin:/bin", **environment}, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def _set_up() -> None:
    if not (ROOT / ".cache/ros/roboref/install/local_setup.bash").is_file():
        pytest.skip("this checkout was not set up by make setup (a ROS distribution?)")


@pytest.mark.usefixtures("_set_up")
def test_env_sourced_twice_is_the_same_as_once() -> None:
    result = source_env({"HOME": "/"})
    once, twice, rest = result.stdout.split("---")
    assert result.stderr == ""
    assert once.strip() == twice.strip()
    assert rest.split() == ["1"], "env.sh left variables or functions behind, or changed the shell's arguments"
    values = dict(line.split("=", 1) for line in once.strip().splitlines() if "=" in line)
    assert values["PYTHONPATH"].split(":")[0] == str(ROOT)
    assert values["FASTRTPS_DEFAULT_PROFILES_FILE"] == str(ROOT / "config/fastdds.xml")
    assert (values["ROS_AUTOMATIC_DISCOVERY_RANGE"], values["MUJOCO_GL"]) == ("LOCALHOST", "egl")
    assert all(len(set(value.split(":"))) == len(value.split(":")) for name, value in values.items() if name.endswith("PATH"))


@pytest.mark.usefixtures("_set_up")
def test_env_keeps_what_the_user_set() -> None:
    own = {
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET",
        "MUJOCO_GL": "osmesa",
        "FASTRTPS_DEFAULT_PROFILES_FILE": "/my.xml",
        "PYTHONPATH": "/mine",
    }
    lines = source_env(own).stdout.splitlines()
    assert all(f"{name}={value}" in lines for name, value in own.items() if name != "PYTHONPATH")
    assert any(line.startswith("PYTHONPATH=") and line.endswith(":/mine") for line in lines)


@pytest.mark.usefixtures("_set_up")
def test_env_leaves_a_distribution_alone() -> None:
    result = source_env({"AMENT_PREFIX_PATH": "/opt/ros/jazzy"}, 'env | sort >&1; echo ---; . "$1/env.sh"; env | sort')
    before, after = result.stdout.split("---")
    without = re.compile(r"^_=.*$", re.MULTILINE)
    assert without.sub("", before).strip() == without.sub("", after).strip()
    assert "not needed" in result.stderr


@pytest.mark.usefixtures("_set_up")
def test_env_gives_messages_and_the_code_of_the_checkout() -> None:
    program = "import rclpy, roboref.msg, roboref.action, roboref_node; print(roboref_node.__file__, roboref.msg.Referral.OK)"
    result = source_env({}, f'. "$1/env.sh"; command -v roboref; python -c "{program}"')
    launcher, code = result.stdout.splitlines()
    assert launcher == str(ROOT / ".cache/ros/roboref/install/roboref/bin/roboref")
    assert code == f"{ROOT}/roboref_node/__init__.py 0"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """The names inside the wheel, built from a copy (a build leaves folders beside its sources)."""
    pytest.importorskip("pip")
    copy, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for folder in ("roboref_node", "config", "launch", "requirements"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("setup.py", "setup.cfg", "pyproject.toml", "MANIFEST.in", "LICENSE"):
        shutil.copy(ROOT / file, copy)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "-w",
        str(out),
        str(copy),
    ]
    subprocess.run(command, check=True, capture_output=True, text=True)
    (built,) = out.glob("roboref-*.whl")
    yield zipfile.ZipFile(built).namelist()
    shutil.rmtree(out)
    shutil.rmtree(copy)


def test_wheel_holds_all_code_and_data(wheel: list[str]) -> None:
    data = [path for path in (ROOT / "roboref_node").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    left_out = {path.relative_to(ROOT).as_posix() for path in data} - set(wheel)
    assert not left_out, "a folder without __init__.py, or a kind of file that package_data in setup.py does not name?"


def test_wheel_holds_the_weights(wheel: list[str]) -> None:
    assert any(name.startswith("roboref_node/model/weights/") and name.endswith(".safetensors") for name in wheel)


@pytest.mark.parametrize("folder", ["config", "launch"])
def test_wheel_installs_share(wheel: list[str], folder: str) -> None:
    shared = {name.split("/data/", 1)[1] for name in wheel if "/data/share/" in name}
    files = {f"share/roboref/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / folder).rglob("*") if path.is_file()}
    assert {name for name in files if "__pycache__" not in name} == {name for name in shared if name.startswith(f"share/roboref/{folder}/")}


def test_wheel_has_the_entry_point_and_the_type_marker(wheel: list[str]) -> None:
    assert "roboref_node/py.typed" in wheel
    assert any(name.endswith(".dist-info/entry_points.txt") for name in wheel)
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in wheel)
