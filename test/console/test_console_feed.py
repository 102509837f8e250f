"""Between graph and page: what is pressed arrives or the page says that it did not, and nothing published ends the page."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

pytest.importorskip("roboref.action", reason="needs ROS 2 and the built interfaces (make setup, . ./env.sh)")
pytest.importorskip("viser", reason="needs viser (make setup)")
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "ros"))
from live_graph import Graph, wait_until
from std_msgs.msg import String
from std_srvs.srv import Trigger

from roboref_node.console.feed import Feed
from roboref_node.ros import qos


@pytest.fixture
def graph(tmp_path):
    graph = Graph(tmp_path)
    yield graph
    graph.close()


@pytest.fixture
def feed(graph):
    feed = graph.do(lambda: Feed(graph.node, port=0))
    yield feed
    feed.close()


def test_what_nobody_takes_is_said(feed):
    status = feed.page._status
    feed._send("pick up the cup")
    assert "not sent" in status.content and "/pick_place/instruction" in status.content
    feed._answer(True)
    assert "not answered" in status.content
    feed._on_stop()
    assert "NOT STOPPED" in status.content and "emergency stop" in status.content


def test_stop_reaches_the_arm_when_pick_place_is_gone(feed, graph):
    called = []

    def stop(request, response):
        called.append(True)
        return response

    graph.node.create_service(Trigger, "/arm/stop", stop)
    wait_until(lambda: feed._stops[1].service_is_ready(), "the arm's service")
    feed._on_stop()
    wait_until(lambda: called, "the call")
    assert "NOT STOPPED" not in feed.page._status.content


def test_a_status_that_is_none_ends_nothing(feed, graph):
    publisher = graph.publisher(String, "/pick_place/status", qos.TIMELINE)
    for text in ("", "[1]", "null", "[" * 20_000, '{"state": 3, "instruction": ["x"]}'):
        publisher.publish(String(data=text))
    publisher.publish(String(data=json.dumps({"state": "ended", "outcome": "done", "instruction": "x" * 5_000, "sentence": "y"})))
    wait_until(lambda: "<b>done</b> y" in feed.page._status.content, "the last status")
    assert len(feed.page.history.entries[0].instruction) == 500
