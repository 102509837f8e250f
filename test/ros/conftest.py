"""Fixtures of the tests with a running graph; what they are made of is in `live_graph`."""

from __future__ import annotations

import os

import pytest
from live_graph import Graph, ModelServer


@pytest.fixture(scope="session")
def graph(tmp_path_factory):
    for module in ("rclpy", "tf2_ros", "message_filters", "roboref.action"):
        pytest.importorskip(module, reason="needs ROS 2 and the built interfaces (make setup, . ./env.sh)")
    graph = Graph(tmp_path_factory.mktemp("processes"))
    yield graph
    graph.close()


@pytest.fixture(scope="session")
def model_server():
    server = ModelServer()
    yield server
    server.close()


@pytest.fixture(scope="session")
def model_file(model_server, tmp_path_factory):
    """A model configuration that asks `model_server`."""
    path = tmp_path_factory.mktemp("model") / "test_server.yaml"
    path.write_text(f"backend: roborefer_server\ndepth: none\nhttp:\n  url: {model_server.url}\n")
    return path


@pytest.fixture(scope="session")
def camera(graph):
    """A camera over a table, see `synthetic_camera`."""
    from synthetic_camera import SyntheticCamera

    camera = SyntheticCamera(graph.context)
    yield camera
    camera.close()


@pytest.fixture
def hide_package(tmp_path, monkeypatch):
    """Hides a package from the processes that the test starts, also where it is installed."""

    def hide(name):
        folder = tmp_path / "hidden" / name
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text(f"raise ModuleNotFoundError('No module named {name}', name='{name}')\n")
        monkeypatch.setenv("PYTHONPATH", str(folder.parent), prepend=os.pathsep)

    return hide
