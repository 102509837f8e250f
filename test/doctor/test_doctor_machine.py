"""Each test breaks one thing of a machine; the doctor must name that thing, and nothing when nothing is broken."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import planted_machine as planted
import pytest
from planted_machine import only

from roboref_node.doctor import Level
from roboref_node.doctor.host import Host
from roboref_node.doctor.machine import CHECKS
from roboref_node.doctor.middleware import check_discovery, check_implementation, check_security, check_segment, check_shared_memory
from roboref_node.doctor.python_setup import check_command, check_cv_bridge, check_python, check_virtual_environment
from roboref_node.doctor.resources import check_disk, check_libraries
from roboref_node.doctor.workspaces import check_imports, check_workspaces

HERE = Host()
IN_WHEELS = bool(HERE.prefixes) and (HERE.prefix / "lib" / "librcl.so").exists()
needs_ros = pytest.mark.skipif(not HERE.prefixes, reason="needs a sourced ROS 2 (make setup, . ./env.sh)")


def host_with(**environ):
    """This machine, except for some environment variables; None removes one."""
    kept = {key: value for key, value in os.environ.items() if key not in environ}
    return replace(HERE, environ=kept | {key: str(value) for key, value in environ.items() if value is not None})


# ---- Python ------------------------------------------------------------------------------------------------------------------


def test_a_python_that_is_too_old_is_named():
    assert "3.9.2" in only(check_python(replace(HERE, version=(3, 9, 2))), "python").what


def test_a_moved_virtual_environment_is_named_with_the_interpreter_that_is_gone(tmp_path):
    made = planted.virtual_environment(tmp_path / "before")
    moved = made.rename(tmp_path / "after")
    found = only(check_virtual_environment(Host(environ={}, prefix=moved)), "venv_shebang")
    assert str(made / "bin" / "python") in found.what and "make setup" in found.fix


def test_a_copied_virtual_environment_is_named_with_the_one_it_starts(tmp_path):
    made = planted.virtual_environment(tmp_path / "first")
    copied = shutil.copytree(made, tmp_path / "second", symlinks=True)
    assert str(made / "bin" / "python") in only(check_virtual_environment(Host(environ={}, prefix=copied)), "venv_shebang").what


def test_an_active_environment_that_is_not_this_python_is_a_warning(tmp_path):
    made = planted.virtual_environment(tmp_path / "mine")
    host = Host(environ={"VIRTUAL_ENV": "/somewhere/else"}, prefix=made)
    assert "/somewhere/else" in only(check_virtual_environment(host), "virtual_env", Level.WARNING).what


def test_a_missing_command_is_a_warning(tmp_path):
    assert "PATH" in only(check_command(host_with(PATH=tmp_path)), "command", Level.WARNING).what


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ("raise ImportError('numpy.core.multiarray failed to import (compiled with NumPy 1.26, running 2.4.6)')", "multiarray"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "signal 11"),
    ],
    ids=["import error", "crash"],
)
def test_a_cv_bridge_of_another_numpy_is_named(tmp_path, body, word):
    (tmp_path / "cv_bridge").mkdir()
    (tmp_path / "cv_bridge" / "__init__.py").write_text(body)
    found = only(check_cv_bridge(host_with(PYTHONPATH=tmp_path)), "cv_bridge_abi")
    assert word in found.what and "numpy<2" in found.fix


# ---- workspaces --------------------------------------------------------------------------------------------------------------


def sourced(*prefixes, **environ):
    return Host(environ={"AMENT_PREFIX_PATH": ":".join(map(str, prefixes)), **environ}, checkout=Path("/nonexistent"))


def test_a_distribution_for_another_python_is_named(tmp_path):
    other = f"3.{HERE.version[1] + 1}"
    distribution = planted.workspace(tmp_path / "jazzy", planted.BASE, python=other)
    found = only(check_workspaces(sourced(distribution)), "python_mismatch")
    assert f"Python {other}" in found.what and f"python{other}" in found.fix


def test_modules_of_another_python_on_pythonpath_are_named(tmp_path):
    distribution = planted.workspace(tmp_path / "jazzy", planted.BASE)
    found = only(check_workspaces(sourced(distribution, PYTHONPATH="/opt/ros/humble/lib/python3.8/site-packages")), "python_mismatch")
    assert "/opt/ros/humble/lib/python3.8" in found.what


def test_two_distributions_in_one_shell_are_named(tmp_path):
    humble, jazzy = (planted.workspace(tmp_path / name, planted.BASE) for name in ("humble", "jazzy"))
    found = only(check_workspaces(sourced(jazzy, humble)), "two_distributions")
    assert str(humble) in found.what and str(jazzy) in found.what


def test_a_distribution_that_is_sourced_after_the_workspace_is_named_with_what_it_hides(tmp_path):
    distribution = planted.workspace(tmp_path / "jazzy", planted.BASE)
    overlay = planted.workspace(tmp_path / "install", ("sensor_msgs", "my_robot"))
    found = only(check_workspaces(sourced(distribution, overlay)), "overlay_order")
    assert "sensor_msgs" in found.what and "my_robot" not in found.what
    assert not [f for f in check_workspaces(sourced(overlay, distribution)) if f.level is not Level.OK]


def test_the_underlay_in_front_of_a_distribution_is_named(tmp_path):
    distribution = planted.workspace(tmp_path / "jazzy", (*planted.BASE, "message_filters"))
    underlay = planted.workspace(tmp_path / "underlay", ("message_filters",), stand_in=True)
    assert "genuine message_filters" in only(check_workspaces(sourced(underlay, distribution)), "overlay_order").what


def test_a_workspace_that_was_removed_is_named(tmp_path):
    gone = tmp_path / "gone"
    assert str(gone) in only(check_workspaces(sourced(gone)), "overlay_missing").what


def test_roboref_in_two_workspaces_is_a_warning(tmp_path):
    first, second = (planted.workspace(tmp_path / name, ("roboref",)) for name in ("a", "b"))
    distribution = planted.workspace(tmp_path / "jazzy", planted.BASE)
    assert str(second) in only(check_workspaces(sourced(first, second, distribution)), "two_roborefs", Level.WARNING).what


@needs_ros
def test_messages_that_were_changed_and_not_built_are_named(tmp_path):
    (tmp_path / "msg").mkdir()
    (tmp_path / "package.xml").write_text("<package/>")
    original = HERE.checkout / "msg" / "Referral.msg"
    (tmp_path / "msg" / "Referral.msg").write_text(original.read_text() + "float64 one_more\n")
    assert "msg/Referral.msg" in only(check_workspaces(replace(HERE, checkout=tmp_path)), "stale_interfaces").what


def test_a_workspace_whose_libraries_are_not_on_the_path_is_named(tmp_path):
    overlay = planted.workspace(tmp_path / "install", ("my_msgs",))
    (overlay / "lib").mkdir()
    (overlay / "lib" / "libmy_msgs__rosidl_typesupport_c.so").touch()
    assert f"{overlay / 'lib'} is not on LD_LIBRARY_PATH" in only(check_workspaces(sourced(overlay)), "library_path").what
    assert all(f.level is Level.OK for f in check_workspaces(sourced(overlay, LD_LIBRARY_PATH=str(overlay / "lib"))))


@pytest.mark.skipif(not IN_WHEELS, reason="a distribution's libraries are also found without LD_LIBRARY_PATH")
def test_a_lost_library_path_is_named_and_so_is_the_library_that_fails():
    host = host_with(LD_LIBRARY_PATH=None, _ROS_WHEELS_BOOTSTRAP_COMPLETE="1")
    assert "LD_LIBRARY_PATH" in only(check_workspaces(host), "library_path").what
    found = check_imports(host)
    assert found and {f.id for f in found} <= {"system_library", "ros_package"} and any(".so" in f.what for f in found), found


def test_a_system_library_that_is_missing_is_named_with_its_package():
    found = only(check_libraries(HERE, {"libgomp1": "libgomp.so.1", "libabsent0": "libroboref_absent.so.0"}), "system_library")
    assert "libroboref_absent.so.0" in found.what and found.fix.endswith("install -y libabsent0")


# ---- middleware --------------------------------------------------------------------------------------------------------------


@needs_ros
def test_an_implementation_that_is_not_installed_is_named():
    found = only(check_implementation(host_with(RMW_IMPLEMENTATION="rmw_absent_cpp")), "rmw")
    assert "librmw_absent_cpp.so" in found.what and "rmw-absent-cpp" in found.fix


def profile(folder, text):
    file = folder / "profile.xml"
    file.write_text(text)
    return host_with(FASTRTPS_DEFAULT_PROFILES_FILE=file, RMW_IMPLEMENTATION=None)


@needs_ros
def test_a_missing_a_broken_a_small_and_an_unused_segment_are_told_apart(tmp_path):
    good = (HERE.checkout / "config" / "fastdds.xml").read_text()
    without = host_with(FASTRTPS_DEFAULT_PROFILES_FILE=None, FASTDDS_DEFAULT_PROFILES_FILE=None)
    assert "no Fast DDS profile" in only(check_segment(without), "fastdds_segment", Level.WARNING).what
    absent = host_with(FASTRTPS_DEFAULT_PROFILES_FILE=tmp_path / "absent.xml")
    assert "absent.xml" in only(check_segment(absent), "fastdds_segment").what
    assert "cannot be read" in only(check_segment(profile(tmp_path, good[:300])), "fastdds_segment").what
    small = profile(tmp_path, good.replace("33554432", "524288"))
    assert "524288" in only(check_segment(small), "fastdds_segment", Level.WARNING).what
    unused = profile(tmp_path, good.replace(' is_default_profile="true"', ""))
    assert "is_default_profile" in only(check_segment(unused), "fastdds_segment", Level.WARNING).what
    assert [f.level for f in check_segment(profile(tmp_path, good))] == [Level.OK]


@pytest.mark.parametrize(
    ("environ", "id", "level", "word"),
    [
        ({"ROS_DOMAIN_ID": "300"}, "domain", Level.ERROR, "'300'"),
        ({"ROS_DOMAIN_ID": "lab"}, "domain", Level.ERROR, "'lab'"),
        ({"ROS_DOMAIN_ID": "150"}, "domain", Level.WARNING, "above 101"),
        ({"ROS_AUTOMATIC_DISCOVERY_RANGE": "OFF"}, "discovery", Level.ERROR, "OFF"),
        ({"ROS_AUTOMATIC_DISCOVERY_RANGE": "LAN"}, "discovery", Level.WARNING, "'LAN'"),
        ({"ROS_LOCALHOST_ONLY": "1", "ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET"}, "discovery", Level.WARNING, "contradict"),
    ],
)
def test_a_wrong_domain_or_range_is_named(environ, id, level, word):
    assert word in only(check_discovery(Host(environ=environ)), id, level).what


def test_full_shared_memory_is_a_warning():
    # /proc is a file system without a single free block.
    assert "/proc has 0 MB" in only(check_shared_memory(replace(HERE, shared_memory=Path("/proc"))), "shm", Level.WARNING).what


@needs_ros
def test_security_that_cannot_be_had_is_named(tmp_path):
    enforced = {"ROS_SECURITY_ENABLE": "true", "ROS_SECURITY_STRATEGY": "Enforce", "ROS_SECURITY_KEYSTORE": tmp_path / "absent"}
    found = only(check_security(host_with(**enforced)), "security")
    assert ("built without security" if IN_WHEELS else "enclaves") in found.what
    relaxed = host_with(**{**enforced, "ROS_SECURITY_STRATEGY": "Permissive"})
    assert "without any protection" in only(check_security(relaxed), "security", Level.WARNING).why
    assert not check_security(host_with(ROS_SECURITY_ENABLE=None))


def test_a_keystore_with_an_incomplete_enclave_is_named(tmp_path):
    enclave = tmp_path / "enclaves" / "roboref" / "refer"
    enclave.mkdir(parents=True)
    (enclave / "cert.pem").touch()
    environ = {"ROS_SECURITY_ENABLE": "true", "ROS_SECURITY_STRATEGY": "Enforce", "ROS_SECURITY_KEYSTORE": str(tmp_path)}
    assert "governance.p7s" in only(check_security(Host(environ=environ)), "security").what
    assert "holds no folder" in only(check_security(Host(environ={**environ, "ROS_SECURITY_KEYSTORE": ""})), "security").what


# ---- disk --------------------------------------------------------------------------------------------------------------------


def test_a_log_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    found = only(check_disk(host_with(ROS_LOG_DIR=tmp_path / "file" / "log")), "folders")
    assert str(tmp_path / "file" / "log") in found.what and "ROS_LOG_DIR" in found.fix
    assert "/proc/log" in only(check_disk(host_with(ROS_LOG_DIR="/proc/log")), "folders").what


def test_a_disk_with_less_than_is_needed_is_a_warning():
    assert "1000000000.0 GB are advised" in only(check_disk(HERE, needed_bytes=10**18), "disk", Level.WARNING).what


# ---- health ------------------------------------------------------------------------------------------------------------------


@needs_ros
@pytest.mark.parametrize("name", [name for name in CHECKS if name != "rendering"])  # test/sim renders
def test_this_machine_is_healthy(name):
    assert not [f for f in CHECKS[name](HERE) if f.level in (Level.WARNING, Level.ERROR)]
