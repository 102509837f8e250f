"""All checks of a machine, in the order in which one would fix what they find. None of them needs a running robot."""

from __future__ import annotations

from collections.abc import Callable

from roboref_node.doctor.findings import Finding, Level
from roboref_node.doctor.host import Host
from roboref_node.doctor.middleware import check_discovery, check_implementation, check_security, check_segment, check_shared_memory
from roboref_node.doctor.python_setup import check_command, check_cv_bridge, check_python, check_virtual_environment
from roboref_node.doctor.resources import check_disk, check_libraries, check_rendering
from roboref_node.doctor.weights import check_model
from roboref_node.doctor.workspaces import check_imports, check_workspaces

Check = Callable[[Host], list[Finding]]

CHECKS: dict[str, Check] = {
    "python": check_python,
    "virtual_env": check_virtual_environment,
    "command": check_command,
    "workspaces": check_workspaces,
    "ros": check_imports,
    "cv_bridge_abi": check_cv_bridge,
    "rmw": check_implementation,
    "fastdds_segment": check_segment,
    "discovery": check_discovery,
    "shm": check_shared_memory,
    "security": check_security,
    "system_library": check_libraries,
    "rendering": check_rendering,
    "disk": check_disk,
}


def examine_machine(model: str = "nano", host: Host | None = None) -> list[Finding]:
    """All checks.

    Args:
        model: Name or YAML file of the model that is to be used; ``none`` examines none.
        host: The machine; None examines this one.
    """
    host = host or Host()
    checks = dict(CHECKS)
    if model != "none":
        checks["model"] = lambda host: check_model(host, model)
    findings: list[Finding] = []
    for name, check in checks.items():
        try:
            findings += check(host)
        except Exception as error:  # A check that fails must not hide the others.
            what = f"this check failed itself: {type(error).__name__}: {error}"
            findings.append(Finding(name, Level.WARNING, what, "nothing is known about it"))
    return findings
