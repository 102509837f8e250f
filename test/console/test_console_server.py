"""The page answers its own page only: another web site that is open in the same browser must not press its buttons."""

from __future__ import annotations

import socket

import pytest

pytest.importorskip("viser", reason="needs viser (make setup)")
import viser
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from roboref_node.console.page import Actions, Page
from roboref_node.console.server import is_own_page


@pytest.fixture(scope="module")
def page():
    page = Page(Actions(lambda text: None, lambda yes: None, lambda: None), port=0)
    yield page
    page.close()


def open_socket(page, **headers):
    return connect(page.url.replace("http", "ws"), subprotocols=[f"viser-v{viser.__version__}"], **headers)


@pytest.mark.parametrize("origin", ["http://evil.example", "https://127.0.0.1.evil.example:8080", "null", "file://", "http://[::1"])
def test_other_sites_are_refused(page, origin):
    with pytest.raises(InvalidStatus) as caught, open_socket(page, origin=origin):
        pass
    assert caught.value.response.status_code == 403
    assert not page.watched


def test_a_name_that_was_made_to_lead_here_is_refused(page):
    port = page.url.rsplit(":", 1)[1]
    host = f"evil.example:{port}"
    led_here = socket.create_connection(("127.0.0.1", int(port)), timeout=10.0)
    with led_here, pytest.raises(InvalidStatus) as caught, connect(f"ws://{host}", sock=led_here, origin=f"http://{host}"):
        pass
    assert caught.value.response.status_code == 403


@pytest.mark.parametrize("origin", [None, "http://127.0.0.1:8080", "http://localhost:9000", "http://[::1]:8080"])
def test_the_page_itself_a_forwarded_port_and_programs_are_served(page, origin):
    with open_socket(page, origin=origin) as connection:
        assert len(connection.recv(timeout=20.0)) > 0


def test_nobody_publishes_the_page_on_the_internet(page):
    assert page._server.request_share_url() is None
    assert page._server._share_tunnel is None


def test_on_other_addresses_the_page_is_its_own_origin():
    assert is_own_page("http://robot.local:8080", "robot.local:8080", "0.0.0.0")
    assert not is_own_page("http://evil.example", "robot.local:8080", "0.0.0.0")
    assert is_own_page(None, "robot.local:8080", "0.0.0.0")


def test_another_server_of_the_process_is_not_guarded(page):
    from websockets.asyncio import server

    assert server.serve.__module__ == "websockets.asyncio.server"
